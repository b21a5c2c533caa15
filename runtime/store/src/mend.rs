//! Mending a damaged store from another that holds the same logs: a replica, or an older copy that reaches far enough.
//!
//! Running numbers tell which records a damaged region had. If just as many entries are missing from the logs, and each can have had one of those
//! numbers, those are what was lost, and the other store has them; whatever else was lost (a value, a purge, a copy) no other store knows, and
//! nothing is mended. That both mean the same log is shown by the entries around, which must be equal. A segment is written anew aside and takes the old one's
//! name when it is durable, so whatever is interrupted leaves either.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use synod_platform::disk::{self, Buffer, DiskError, File, OpenOptions, SyncKind};
use synod_probe::reach;

use crate::check::back_up;
use crate::cipher::Keys;
use crate::error::{OpenError, ReadError};
use crate::format::{BATCH_HEADER, BLOCK, Batch, Header, Kind, RECORD_HEADER, Record, Seed, aligned};
use crate::look::Look;
use crate::open::Files;
use crate::rebuild::{Missing, Rebuild, numbered};
use crate::scan::{scan, verdict};
use crate::segments::{Segment, path_of};
use crate::state::Place;

/// How many entries on each side of a gap are compared, as far as both stores have them.
const AROUND: u64 = 16;

/// Entries that were lost, and are to be had from the other store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mended {
    /// Of which log.
    pub log: String,
    /// The index of the first.
    pub first: u64,
    /// The index of the last.
    pub last: u64,
}

/// Why a store was not mended. Nothing was changed, unless the disk failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MendError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The store is in use, or something else than records is damaged.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The other store cannot be read.
    #[error("the store to mend from: {0}")]
    From(#[source] OpenError),
    /// An entry of one of the two cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What a record said is bound to its place in the segment's life, so another store's cannot take it without the key.
    #[error("{} is encrypted, and so cannot be mended from another store: cut it at the damage, or restore a copy", file.display())]
    Encrypted {
        /// Which segment.
        file: PathBuf,
    },
    /// Other things than entries of logs were lost.
    #[error(
        "{lost} records were lost and {missing} entries are missing: what else was lost no other store knows; cut it there, or restore a copy of the store"
    )]
    Unknown {
        /// How many records were lost, at most.
        lost: u64,
        /// How many entries the logs lack.
        missing: u64,
    },
    /// It ends with batches that were durable and are damaged: how much was lost cannot be told.
    #[error("{} is damaged at its end, where nothing tells how much was lost: cut it there, or restore a copy", file.display())]
    End {
        /// Which segment.
        file: PathBuf,
    },
    /// The other store does not have an entry.
    #[error("the other store does not have entry {index} of the log `{log}`: take one that has")]
    Absent {
        /// Which log.
        log: String,
        /// Which entry.
        index: u64,
    },
    /// Both have an entry and it is not the same.
    #[error("entry {index} of the log `{log}` is another in the other store: it does not hold the same log")]
    Differs {
        /// Which log.
        log: String,
        /// Which entry.
        index: u64,
    },
    /// The two stores have no entry around a gap in common.
    #[error(
        "no entry beside {index} of the log `{log}` is in both stores: nothing shows that they hold the same log"
    )]
    Alone {
        /// Which log.
        log: String,
        /// The first that is missing.
        index: u64,
    },
    /// What was lost is longer than the place where it lay.
    #[error("{} has no room for what the other store has in place of what was lost: it is not the same", file.display())]
    NoRoom {
        /// Which segment.
        file: PathBuf,
    },
}

/// A segment that something was lost of.
struct Torn {
    segment: Rc<Segment>,
    bytes: Vec<u8>,
    /// Where its whole batches begin.
    whole: Vec<(u32, Batch)>,
    /// How many records were lost before each of them, and behind the last.
    lost: Vec<u64>,
    /// A later segment was begun.
    ended: bool,
}

/// An entry from the other store.
struct Fetched {
    log: u32,
    index: u64,
    payload: Bytes,
}

/// Puts back what damaged regions had, from the store in `from`, after all segments were copied to `backup`. Without that nothing is
/// changed, and the answer says what would be.
pub async fn mend(directory: &Path, from: &Path, backup: Option<&Path>) -> Result<Vec<Mended>, MendError> {
    let files = Files::of_a_store(directory, Keys::default()).await?;
    if let Some(segment) = files.order.values().find(|segment| segment.header.get().key.is_some()) {
        return Err(MendError::Encrypted { file: path_of(directory, segment.id) });
    }
    let (mut torn, mut rebuild, mut number) = (Vec::new(), Rebuild::default(), 1);
    let mut later = files.order.values().skip(1);
    for segment in files.order.values() {
        let next = later.next().map(|next| next.header.get().number);
        let found = examine(segment, next, &mut rebuild).await?;
        let records: u64 = found.whole.iter().map(|(_, batch)| u64::from(batch.records)).sum();
        let lost: u64 = found.lost.iter().sum();
        number = number.max(segment.header.get().number + records + lost);
        if lost > 0 || found.is_open() {
            torn.push(found);
        }
    }
    let lost: u64 = torn.iter().flat_map(|torn| &torn.lost).sum();
    let missing = rebuild.missing(lost);
    let Some(numbered) = numbered(&missing, torn.iter().flat_map(Torn::numbers)) else {
        return Err(MendError::Unknown { lost, missing: missing.len() as u64 });
    };
    let other = Look::open(from, |_| {}).await.map_err(MendError::From)?;
    let (mut mended, mut payloads) = (Vec::new(), BTreeMap::new());
    for run in missing.chunk_by(|one, next| one.log == next.log && one.index + 1 == next.index) {
        let (log, first, last) = (run[0].log, run[0].index, run[run.len() - 1].index);
        let name = rebuild.name(log).unwrap_or_default().to_owned();
        compare(&files, &rebuild, &other, (log, &name), first, last).await?;
        let entries = other.read(&name, first..last + 1, usize::MAX).await;
        let entries = entries.map_err(|error| absent(error, &name, first))?;
        if let Some(index) = (first..=last).nth(entries.len()) {
            return Err(MendError::Absent { log: name, index });
        }
        payloads.extend(entries.into_iter().map(|entry| ((log, entry.index), entry.payload)));
        mended.push(Mended { log: name, first, last });
    }
    let back = numbered.into_iter().filter_map(|Missing { log, index, .. }| {
        Some(Fetched { log, index, payload: payloads.remove(&(log, index))? })
    });
    let mut fetched: VecDeque<_> = back.collect();
    let mut anew = Vec::new();
    for torn in &torn {
        let bytes = torn.anew(&mut fetched, &mut rebuild);
        let file = || path_of(directory, torn.segment.id);
        anew.push((file(), bytes.ok_or_else(|| MendError::NoRoom { file: file() })?));
    }
    rebuild.finish(number)?;
    if let Some(backup) = backup {
        back_up(&files, backup).await?;
        for (path, bytes) in anew {
            replace(&path, bytes).await?;
            disk::sync_directory(directory).await?;
        }
        reach!("store.mended");
    }
    Ok(mended)
}

/// Hands every whole record of a segment to `rebuild`, and counts those that are lost; `next` is the running number with which the next
/// segment begins.
async fn examine(segment: &Rc<Segment>, next: Option<u64>, rebuild: &mut Rebuild) -> Result<Torn, MendError> {
    let header = segment.header.get();
    let file = || segment.file.path().to_owned();
    let mut bytes = segment.file.read_all(header.len).await?;
    let seed = header.seed();
    if next.is_none() {
        let found = scan(&bytes, &header, |_, _| {});
        if verdict(&found, true).is_ok() {
            // What lies behind was never acknowledged: of two batches on their way the later may be whole.
            bytes.truncate(found.end as usize);
        }
    }
    let mut torn = Torn {
        segment: segment.clone(),
        bytes: Vec::new(),
        whole: Vec::new(),
        lost: Vec::new(),
        ended: next.is_some(),
    };
    let (mut at, mut end, mut mark, mut number) = (BLOCK, BLOCK, 0, header.number);
    let mut sealed = false;
    while let Some(block) = bytes.get(at..at + BLOCK) {
        let batch = Batch::decode(seed, at as u32, block);
        mark = batch.map_or(mark, |batch| mark.max(batch.durable as usize));
        let records = batch.and_then(|batch| records(&bytes, seed, at, &batch));
        match (batch, records) {
            (Some(batch), _) if batch.is_seal() => {
                sealed = at == end;
                break;
            }
            (Some(batch), Some(records)) if batch.number >= number => {
                torn.lost.push(batch.number - number);
                number = batch.number + u64::from(batch.records);
                for (offset, record) in records {
                    let place = Place { segment: segment.id, offset, len: record.payload.len() as u32 };
                    if !rebuild.record(&record, place) {
                        return Err(OpenError::Corrupt { file: file(), offset: offset.into(), number }.into());
                    }
                }
                torn.whole.push((at as u32, batch));
                at += aligned(batch.len as usize);
                end = at;
            }
            _ => at += BLOCK,
        }
    }
    // Nothing is lost where the seal follows, even if numbers were given to what was refused then.
    torn.lost.push(if sealed { 0 } else { next.map_or(0, |next| next.saturating_sub(number)) });
    if next.is_none() && !sealed && mark > end {
        return Err(MendError::End { file: file() });
    }
    if torn.lost.iter().any(|lost| *lost > 0) || (torn.ended && !sealed && end + BLOCK <= bytes.len()) {
        torn.bytes = bytes;
    }
    Ok(torn)
}

/// The records of a batch, if all of it is whole.
fn records<'a>(bytes: &'a [u8], seed: Seed, at: usize, batch: &Batch) -> Option<Vec<(u32, Record<'a>)>> {
    let all = bytes.get(at..at + batch.len as usize)?;
    let (mut offset, mut records) = (BATCH_HEADER, Vec::new());
    while offset < all.len() {
        let record = Record::decode(seed, (at + offset) as u32, &all[offset..])?;
        records.push(((at + offset) as u32, record));
        offset += record.size();
    }
    (records.len() == batch.records as usize).then_some(records)
}

/// Whether what is beside a gap is the same in both stores.
async fn compare(
    files: &Files,
    rebuild: &Rebuild,
    other: &Look,
    (log, name): (u32, &str),
    first: u64,
    last: u64,
) -> Result<(), MendError> {
    let Some(range) = other.range(name) else {
        return Err(MendError::Absent { log: name.to_owned(), index: first });
    };
    let mut same = 0;
    for index in (first.saturating_sub(AROUND)..first).chain(last + 1..=last + AROUND) {
        let Some(place) = rebuild.place(log, index).filter(|_| range.contains(&index)) else { continue };
        let theirs = other.read(name, index..index + 1, usize::MAX).await?.pop().map(|entry| entry.payload);
        if theirs.as_deref() != Some(&*payload(files, place, name, index).await?) {
            return Err(MendError::Differs { log: name.to_owned(), index });
        }
        same += 1;
    }
    if same > 0 { Ok(()) } else { Err(MendError::Alone { log: name.to_owned(), index: first }) }
}

async fn payload(files: &Files, place: Place, log: &str, index: u64) -> Result<Vec<u8>, MendError> {
    let absent = || MendError::Absent { log: log.to_owned(), index };
    let segment = files.segments.get(place.segment).ok_or_else(absent)?;
    let buffer = Buffer::zeroed(RECORD_HEADER + place.len as usize);
    let (read, buffer) = segment.file.read_exact_at(place.offset.into(), buffer).await;
    read?;
    let record = Record::decode(segment.header.get().seed(), place.offset, &buffer).ok_or_else(absent)?;
    Ok(record.payload.to_vec())
}

fn absent(error: ReadError, log: &str, index: u64) -> MendError {
    match error {
        ReadError::Purged { .. } => MendError::Absent { log: log.to_owned(), index },
        error => error.into(),
    }
}

impl Torn {
    /// The running numbers of the records that were lost.
    fn numbers(&self) -> impl Iterator<Item = u64> + use<'_> {
        let mut number = self.segment.header.get().number;
        self.lost.iter().enumerate().flat_map(move |(place, lost)| {
            let from = number;
            let whole = self.whole.get(place).map_or(0, |(_, batch)| u64::from(batch.records));
            number += lost + whole;
            from..from + lost
        })
    }

    /// Whether the end that it must have is not there.
    fn is_open(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// The segment as it was, or with the same records in other batches; `None` if they do not fit.
    fn anew(&self, fetched: &mut VecDeque<Fetched>, rebuild: &mut Rebuild) -> Option<Vec<u8>> {
        let header = self.segment.header.get();
        let mut out = Anew { bytes: vec![0; header.len as usize], at: BLOCK, header };
        out.bytes[..BLOCK].copy_from_slice(&self.bytes[..BLOCK]);
        let mut number = header.number;
        for (place, lost) in self.lost.iter().enumerate() {
            let back: Vec<_> = fetched.drain(..(*lost as usize).min(fetched.len())).collect();
            let records: Vec<_> = back
                .iter()
                .zip(number..)
                .map(|(Fetched { log, index, payload }, stamp)| Record {
                    log: *log,
                    kind: Kind::Entry,
                    index: *index,
                    stamp,
                    payload,
                })
                .collect();
            for record in &records {
                let place = Place { segment: self.segment.id, offset: 0, len: record.payload.len() as u32 };
                rebuild.record(record, place);
            }
            out.batch(number, &records)?;
            number += lost;
            if let Some((at, batch)) = self.whole.get(place) {
                let whole = records_of(&self.bytes, header.seed(), *at, batch);
                out.batch(number, &whole)?;
                number += u64::from(batch.records);
            }
        }
        if self.ended && out.at + BLOCK <= out.bytes.len() {
            let at = out.at as u32;
            let seal = Batch { len: BATCH_HEADER as u32, records: 0, durable: at, number };
            seal.encode(header.seed(), at, &mut out.bytes[out.at..]);
        }
        Some(out.bytes)
    }
}

fn records_of<'a>(bytes: &'a [u8], seed: Seed, at: u32, batch: &Batch) -> Vec<Record<'a>> {
    let found = records(bytes, seed, at as usize, batch).unwrap_or_default();
    found.into_iter().map(|(_, record)| record).collect()
}

/// A segment that is being put together.
struct Anew {
    bytes: Vec<u8>,
    at: usize,
    header: Header,
}

impl Anew {
    /// Puts a batch of these records, if there are any, behind the others.
    fn batch(&mut self, number: u64, records: &[Record<'_>]) -> Option<()> {
        if records.is_empty() {
            return Some(());
        }
        let len = BATCH_HEADER + records.iter().map(Record::size).sum::<usize>();
        let (seed, at) = (self.header.seed(), self.at as u32);
        let out = self.bytes.get_mut(self.at..self.at + aligned(len))?;
        let batch = Batch { len: len as u32, records: records.len() as u32, durable: at, number };
        batch.encode(seed, at, out);
        let mut from = BATCH_HEADER;
        for record in records {
            record.encode(seed, at + from as u32, &mut out[from..]);
            from += record.size();
        }
        self.at += aligned(len);
        Some(())
    }
}

/// Gives a file these bytes, all of them or none.
async fn replace(path: &Path, bytes: Vec<u8>) -> Result<(), DiskError> {
    let aside = path.with_extension("new");
    let file = File::open(&aside, OpenOptions { truncate: true, ..OpenOptions::CREATE }).await?;
    file.write_all_at(0, Buffer::copy_of(&bytes)).await.0?;
    file.sync(SyncKind::Full).await?;
    file.close().await?;
    disk::rename(aside, path).await
}
