//! Who reads: entries that are durable and no longer in memory, each checked again when it is read.
//!
//! A record may be copied elsewhere and its segment used again while it is being read. So one that does not fit is looked up again; if it
//! still lies there, it is damaged.

use std::borrow::Cow;
use std::ops::Range;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use bytes::Bytes;
use synod_platform::disk::{Buffer, File};
use synod_platform::task;
use synod_probe::reach;
use tokio::sync::{mpsc, oneshot};

use crate::cipher::{WrongKey, decrypted};
use crate::error::ReadError;
use crate::format::{RECORD_HEADER, Record};
use crate::segments::{Segments, path_of};
use crate::snapshot::{self, Errand, Snapshot};
use crate::state::{Found, Place};
use crate::store::{Entry, Shared};

/// The most that one read of the disk takes, bytes (a single larger record is read alone).
const READ_MAX: u32 = 1 << 20;

/// The most entries that are looked up at a time.
const LOOK_UP: u64 = 1024;

/// Somebody's question. Whoever asked may have gone when it is answered.
pub(crate) enum Request {
    /// For entries.
    Entries { log: u32, range: Range<u64>, bytes_max: usize, reply: Reply<Vec<Entry>> },
    /// For something with the snapshots of a log.
    Snapshot { name: Box<str>, errand: Errand, reply: Reply<Option<Snapshot>> },
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, ReadError>>;

/// Answers requests, several at a time, until nobody can ask any more. The store's lock is held while a snapshot is worked on.
pub(crate) async fn run(
    shared: Arc<Shared>,
    segments: Rc<Segments>,
    lock: Weak<File>,
    mut requests: mpsc::Receiver<Request>,
) {
    while let Some(request) = requests.recv().await {
        let reader = Reader { shared: shared.clone(), segments: segments.clone() };
        let lock = lock.upgrade();
        task::spawn(async move {
            match request {
                Request::Entries { log, range, bytes_max, reply } => {
                    drop(reply.send(reader.read(log, range, bytes_max).await));
                }
                Request::Snapshot { name, errand, reply } => {
                    let removes = matches!(errand, Errand::Remove(_));
                    let answer = match &lock {
                        Some(_) => snapshot::run(&reader.segments, &name, errand).await,
                        None => Err(ReadError::Closed),
                    };
                    drop(lock);
                    if removes && answer.is_ok() {
                        reader.shared.state().forget_leftovers(&name);
                    }
                    reader.shared.work.notify_one();
                    drop(reply.send(answer));
                }
            }
        })
        .detach();
    }
}

pub(crate) struct Reader {
    pub(crate) shared: Arc<Shared>,
    pub(crate) segments: Rc<Segments>,
}

impl Reader {
    pub(crate) async fn read(
        &self,
        log: u32,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut room = bytes_max;
        let mut next = range.start;
        let mut doubted = None;
        while next < range.end {
            let found =
                self.shared.find(log, next..range.end.min(next + LOOK_UP), room, entries.is_empty())?;
            if found.is_empty() {
                break;
            }
            let mut rest = &found[..];
            while let Some((first, later)) = rest.split_first() {
                let place = match first {
                    Found::Here(payload) => {
                        room = room.saturating_sub(payload.len());
                        entries.push(Entry { index: next, payload: payload.clone() });
                        next += 1;
                        rest = later;
                        continue;
                    }
                    Found::There(place) => *place,
                };
                let run = run_from(place, later);
                let (before, read) = (next, self.read_run(place, &run).await?);
                for payload in read {
                    room = room.saturating_sub(payload.len());
                    entries.push(Entry { index: next, payload });
                    next += 1;
                }
                rest = &rest[(next - before) as usize..];
                if next - before < 1 + run.len() as u64 {
                    let place = if next == before { place } else { run[(next - before - 1) as usize] };
                    if doubted.replace((next, place)) == Some((next, place)) {
                        reach!("store.read_damaged");
                        let file = path_of(&self.segments.directory, place.segment);
                        return Err(ReadError::Corrupt { file, offset: place.offset.into(), index: next });
                    }
                    reach!("store.read_moved");
                    break;
                }
            }
        }
        Ok(entries)
    }

    /// The payloads at a place and at those that follow it in the same segment, as far as they are whole.
    async fn read_run(&self, first: Place, run: &[Place]) -> Result<Vec<Bytes>, ReadError> {
        let Some(segment) = self.segments.get(first.segment) else { return Ok(Vec::new()) };
        let (seed, cipher) = (segment.header.get().seed(), segment.cipher.borrow().clone());
        let last = run.last().copied().unwrap_or(first);
        let len = last.offset - first.offset + RECORD_HEADER as u32 + last.len;
        let (read, buffer) = segment.file.fill_at(first.offset.into(), Buffer::zeroed(len as usize)).await;
        // A shorter segment may have taken the name of one that was removed.
        let buffer = &buffer[..read?];
        let mut payloads = Vec::new();
        for place in std::iter::once(&first).chain(run) {
            let bytes = buffer.get((place.offset - first.offset) as usize..).unwrap_or_default();
            match Record::decode(seed, place.offset, bytes) {
                Some(record) if record.payload.len() == place.len as usize => {
                    let payload =
                        decrypted(cipher.as_deref(), &record, place.offset).map_err(|WrongKey| {
                            let file = path_of(&self.segments.directory, place.segment);
                            ReadError::WrongKey { file, offset: place.offset.into() }
                        })?;
                    payloads.push(match payload {
                        Cow::Borrowed(payload) => Bytes::copy_from_slice(payload),
                        Cow::Owned(payload) => payload.into(),
                    });
                }
                _ => break,
            }
        }
        Ok(payloads)
    }
}

/// The places behind this one that one read of the disk may take along.
fn run_from(first: Place, later: &[Found]) -> Vec<Place> {
    let mut run: Vec<Place> = Vec::new();
    for found in later {
        let before = run.last().copied().unwrap_or(first);
        match found {
            Found::There(place)
                if place.segment == first.segment
                    && place.offset > before.offset
                    && place.offset + place.len - first.offset <= READ_MAX =>
            {
                run.push(*place);
            }
            _ => break,
        }
    }
    run
}
