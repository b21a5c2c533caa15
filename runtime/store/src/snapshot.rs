//! Snapshots: what all entries of a log up to an index amount to, in a file of its own, so that the entries can go.
//!
//! A snapshot is written aside, synced, renamed, and its directory synced; only then is the log purged, and only after that are older snapshots
//! written over with zeros and removed. What is loaded is checked by its hash; a newest snapshot that is damaged is told, never passed over for an older one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use synod_platform::disk::{self, Buffer, DiskError, File, OpenOptions, SyncKind};
use synod_platform::random;
use synod_probe::event;

use crate::cipher::{KeyName, Keys, Life, TAG, WrongKey};
use crate::error::{ReadError, WriteError};
use crate::segments::{Segments, zero};
use crate::store::Durable;

const MAGIC: &[u8; 8] = b"SYNODSNP";
/// 2 is encrypted.
const VERSION: u32 = 1;
const HEADER: usize = 64;

/// What an encrypted one has behind the header: the key's name, the salt.
const KEY: usize = 24;

/// The nonce that no place in a segment has.
const NONCE: u64 = u64::MAX;

/// The longest snapshot, bytes.
const SNAPSHOT_MAX: u64 = 1 << 32;

/// What all entries of a log up to an index amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Up to here.
    pub index: u64,
    /// As it was saved.
    pub content: Bytes,
}

/// What is asked about snapshots of one log.
pub(crate) enum Errand {
    /// Makes one durable.
    Save(Snapshot),
    /// Removes those below this index.
    Forget(u64),
    /// The newest.
    Load,
    /// Removes all when the log's end is durable.
    Remove(Durable),
}

/// Does an errand for the log of that name; answers what was loaded.
pub(crate) async fn run(
    segments: &Segments,
    name: &str,
    errand: Errand,
) -> Result<Option<Snapshot>, ReadError> {
    let (directory, keys) = (&*segments.directory, &segments.keys);
    match errand {
        Errand::Save(snapshot) => save(directory, keys, name, &snapshot).await?,
        Errand::Forget(below) => {
            for (_, path) in list(directory, name).await?.into_iter().filter(|(index, _)| *index < below) {
                wipe(&path).await?;
            }
        }
        Errand::Remove(end) => {
            end.await.map_err(|error| match error {
                WriteError::Disk(error) => ReadError::Disk(error),
                _ => ReadError::Closed,
            })?;
            forget_all(directory, [name].into_iter()).await?;
        }
        Errand::Load => {
            let newest = list(directory, name).await?.pop();
            let Some((index, path)) = newest else { return Ok(None) };
            let file = File::open(&path, OpenOptions::READ).await?;
            let bytes = file.read_all(SNAPSHOT_MAX).await?;
            return match decode(keys, name, index, bytes) {
                Ok(Some(content)) => Ok(Some(Snapshot { index, content })),
                Ok(None) => Err(ReadError::Snapshot { file: path }),
                Err(WrongKey) => Err(ReadError::WrongKey { file: path, offset: HEADER as u64 }),
            };
        }
    }
    Ok(None)
}

async fn save(directory: &Path, keys: &Keys, name: &str, snapshot: &Snapshot) -> Result<(), DiskError> {
    let path = directory.join(format!("{}-{:020}.snapshot", key(name), snapshot.index));
    let aside = path.with_extension("snapshot.new");
    let file = File::open(&aside, OpenOptions { truncate: true, ..OpenOptions::CREATE }).await?;
    file.write_all_at(0, encode(keys, name, snapshot)).await.0?;
    file.sync(SyncKind::Full).await?;
    file.close().await?;
    disk::rename(aside, path).await?;
    disk::sync_directory(directory).await?;
    event!("store.snapshot", index = snapshot.index, bytes = snapshot.content.len());
    Ok(())
}

/// Removes all snapshots of these logs, durably.
pub(crate) async fn forget_all(directory: &Path, names: impl Iterator<Item = &str>) -> Result<(), DiskError> {
    let keys: BTreeSet<String> = names.map(key).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let mut found = false;
    for entry in disk::list(directory).await? {
        let file = entry.name.to_string_lossy();
        let key = file.strip_suffix(".snapshot").and_then(|stem| stem.split_once('-'));
        if key.is_some_and(|(key, _)| keys.contains(key)) {
            wipe(&directory.join(&*file)).await?;
            found = true;
        }
    }
    if found { disk::sync_directory(directory).await } else { Ok(()) }
}

/// Removes a snapshot and what it says: zeros are written over it first.
pub(crate) async fn wipe(path: &Path) -> Result<(), DiskError> {
    let file = File::open(path, OpenOptions::READ_WRITE).await?;
    zero(&file, 0..disk::metadata(path).await?.len).await?;
    file.sync(SyncKind::Data).await?;
    file.close().await?;
    disk::remove(path).await
}

/// The snapshots of a log by index, the newest last.
async fn list(directory: &Path, name: &str) -> Result<Vec<(u64, PathBuf)>, DiskError> {
    let key = key(name);
    let mut found = Vec::new();
    for entry in disk::list(directory).await? {
        let file = entry.name.to_string_lossy();
        let index =
            file.strip_suffix(".snapshot").and_then(|stem| stem.strip_prefix(&*key)?.strip_prefix('-'));
        if let Some(index) = index.and_then(|index| index.parse().ok()) {
            found.push((index, directory.join(&*file)));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// A log's name as a part of a file's: names may hold anything.
fn key(name: &str) -> String {
    Sha256::digest(name).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// The header: magic, version, the name's length, the index, the content's length; then the hash over all but itself. Name and content follow,
/// or, encrypted, the key's name, the salt, and what both became.
fn encode(keys: &Keys, name: &str, snapshot: &Snapshot) -> Buffer {
    let salt = if keys.are_there() { random::u64() } else { 0 };
    let key = keys.current();
    let cipher = keys.cipher(key, Life { epoch: snapshot.index, salt });
    assert_eq!(cipher.is_some(), key.is_some(), "a keyring has the key that it calls current");
    let (key_len, tag_len) = if cipher.is_some() { (KEY, TAG) } else { (0, 0) };
    let plain = name.len() + snapshot.content.len();
    let mut bytes = Buffer::zeroed(HEADER + key_len + plain + tag_len);
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&(VERSION + u32::from(cipher.is_some())).to_le_bytes());
    bytes[12..16].copy_from_slice(&(name.len() as u32).to_le_bytes());
    bytes[16..24].copy_from_slice(&snapshot.index.to_le_bytes());
    bytes[24..32].copy_from_slice(&(snapshot.content.len() as u64).to_le_bytes());
    let (head, rest) = bytes.split_at_mut(HEADER);
    let (key_bytes, body) = rest.split_at_mut(key_len);
    body[..name.len()].copy_from_slice(name.as_bytes());
    body[name.len()..plain].copy_from_slice(&snapshot.content);
    if let (Some(key), Some(cipher)) = (key, cipher) {
        key_bytes[..16].copy_from_slice(&key.0);
        key_bytes[16..].copy_from_slice(&salt.to_le_bytes());
        let tag = cipher.encrypt(NONCE, &head[..32], &mut body[..plain]);
        body[plain..].copy_from_slice(&tag);
    }
    let hash = hash(&bytes);
    bytes[32..HEADER].copy_from_slice(&hash);
    bytes
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(&bytes[..32]).chain_update(&bytes[HEADER..]).finalize().into()
}

/// The content, if these are the bytes of that snapshot of that log.
fn decode(keys: &Keys, name: &str, index: u64, mut bytes: Vec<u8>) -> Result<Option<Bytes>, WrongKey> {
    let whole = bytes.len() >= HEADER && bytes[32..HEADER] == hash(&bytes);
    let start = |version: u32| {
        [&MAGIC[..], &version.to_le_bytes(), &(name.len() as u32).to_le_bytes(), &index.to_le_bytes()]
            .concat()
    };
    if !whole {
        return Ok(None);
    }
    if bytes[..24] == start(VERSION + 1) {
        let (head, rest) = bytes.split_at_mut(HEADER);
        let Some((key, rest)) = rest.split_first_chunk_mut() else { return Ok(None) };
        let Some((salt, body)) = rest.split_first_chunk_mut() else { return Ok(None) };
        let Some((body, tag)) = body.split_last_chunk_mut() else { return Ok(None) };
        let life = Life { epoch: index, salt: u64::from_le_bytes(*salt) };
        let cipher = keys.cipher(Some(KeyName(*key)), life).ok_or(WrongKey)?;
        if !cipher.decrypt(NONCE, &head[..32], body, tag) {
            return Err(WrongKey);
        }
        bytes.drain(HEADER..HEADER + KEY);
        bytes.truncate(bytes.len() - TAG);
    } else if bytes[..24] != start(VERSION) {
        return Ok(None);
    }
    let content = HEADER + name.len();
    let its_own = bytes.get(HEADER..content) == Some(name.as_bytes());
    Ok(its_own.then(|| Bytes::from(bytes).split_off(content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_with_any_bit_turned_or_of_another_log_or_index_is_refused() {
        let snapshot = Snapshot { index: 7, content: Bytes::from_static(b"state") };
        let none = Keys::default();
        let decode = |name, index, bytes| decode(&none, name, index, bytes).unwrap_or_default();
        let bytes = encode(&none, "log", &snapshot).to_vec();
        assert_eq!(decode("log", 7, bytes.clone()), Some(snapshot.content));
        assert_eq!(decode("log", 8, bytes.clone()), None);
        assert_eq!(decode("gol", 7, bytes.clone()), None);
        assert_eq!(decode("lo", 7, bytes.clone()), None);
        for at in 0..bytes.len() {
            let mut spoiled = bytes.clone();
            spoiled[at] ^= 1;
            assert_eq!(decode("log", 7, spoiled), None, "byte {at}");
            assert_eq!(decode("log", 7, bytes[..at].to_vec()), None, "cut at {at}");
        }
    }
}
