//! Encryption at rest, as far as the store has to do with it: who has keys is asked for a cipher of each life of a segment.
//!
//! What records and snapshots say is encrypted; how long they are, to which log they belong and in which order is not. Checksums go over what
//! is on the disk, so that damage is told from a wrong key, and is found and cut without any. Where keys come from is not decided here.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use crate::format::{Header, Kind, RECORD_HEADER, Record};

/// Bytes that prove that nobody changed what was encrypted; they follow it.
pub const TAG: usize = 16;

/// What is checked with a payload and not encrypted: its record's header but for the checksum.
const HEAD: usize = RECORD_HEADER - 4;

/// Names a key without telling it: stands in the clear in front of all that the key encrypts. Printed as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyName(pub [u8; 16]);

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyName({self})")
    }
}

/// What no two things encrypted under one key have in common: a segment's epoch and salt, a snapshot's index and salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Which in the order.
    pub epoch: u64,
    /// Drawn at random for each.
    pub salt: u64,
}

/// Who has the keys.
pub trait Keyring: Send + Sync {
    /// The key for what is written from now on; it must be there.
    fn current(&self) -> KeyName;

    /// The cipher of one life under the key of that name, `None` if there is none. Its own key must follow from both.
    fn cipher(&self, key: KeyName, life: Life) -> Option<Box<dyn Cipher>>;
}

/// An authenticated cipher with a key of its own.
pub trait Cipher {
    /// Encrypts `bytes` where they are, and answers the tag over them and `head`. No nonce comes twice, unless with the same bytes.
    fn encrypt(&self, nonce: u64, head: &[u8], bytes: &mut [u8]) -> [u8; TAG];

    /// The way back; false if the tag does not fit, and `bytes` are of no use then.
    fn decrypt(&self, nonce: u64, head: &[u8], bytes: &mut [u8], tag: &[u8; TAG]) -> bool;
}

/// The keys that a store was opened with, if any.
#[derive(Clone, Default)]
pub(crate) struct Keys(pub(crate) Option<Arc<dyn Keyring>>);

impl Keys {
    /// What a new life is encrypted with.
    pub(crate) fn current(&self) -> Option<KeyName> {
        self.0.as_ref().map(|keys| keys.current())
    }

    pub(crate) fn are_there(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn cipher(&self, key: Option<KeyName>, life: Life) -> Option<Rc<dyn Cipher>> {
        self.0.as_ref()?.cipher(key?, life).map(Rc::from)
    }

    pub(crate) fn of_segment(&self, header: &Header) -> Option<Rc<dyn Cipher>> {
        self.cipher(header.key, Life { epoch: header.epoch, salt: header.salt })
    }
}

/// What was encrypted does not open: another key has this name, or somebody changed it and its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongKey;

/// How much longer a record's payload is on the disk than it is.
pub(crate) fn growth(kind: Kind, encrypted: bool) -> usize {
    if encrypted && kind != Kind::Bounds { TAG } else { 0 }
}

/// The record as it is written at `offset`.
pub(crate) fn encrypted<'a>(
    cipher: &dyn Cipher,
    record: &Record<'_>,
    offset: u32,
    payload: &'a mut Vec<u8>,
) -> Record<'a> {
    payload.clear();
    payload.extend_from_slice(record.payload);
    if record.kind != Kind::Bounds {
        let tag = cipher.encrypt(offset.into(), &head(record, payload.len()), payload);
        payload.extend_from_slice(&tag);
    }
    Record { payload, ..*record }
}

/// What the record that lies at `offset` says.
pub(crate) fn decrypted<'a>(
    cipher: Option<&dyn Cipher>,
    record: &Record<'a>,
    offset: u32,
) -> Result<Cow<'a, [u8]>, WrongKey> {
    let Some(cipher) = cipher.filter(|_| record.kind != Kind::Bounds) else {
        return Ok(Cow::Borrowed(record.payload));
    };
    let (payload, tag) = record.payload.split_last_chunk().ok_or(WrongKey)?;
    let mut payload = payload.to_vec();
    let fits = cipher.decrypt(offset.into(), &head(record, payload.len()), &mut payload, tag);
    if fits { Ok(Cow::Owned(payload)) } else { Err(WrongKey) }
}

/// What of a record is not encrypted and nobody may change.
fn head(record: &Record<'_>, len: usize) -> [u8; HEAD] {
    let mut bytes = [0; RECORD_HEADER];
    Record { payload: &[], ..*record }.describe((len + TAG) as u32, &mut bytes);
    bytes[RECORD_HEADER - HEAD..].try_into().expect("of that length")
}
