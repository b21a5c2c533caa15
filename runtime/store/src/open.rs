//! Opening a store: the lock, every segment read in the order of its epoch, the torn tail ended.
//!
//! Nothing is changed before all is known to be well. What lay in the last batches may be in the cache alone (a sync that failed), so
//! they are written again before anyone is told that they are there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use synod_platform::disk::{self, Buffer, DiskError, Failure, File, OpenOptions, SyncKind};
use synod_platform::process;
use synod_probe::{event, plant, reach};

use crate::cipher::Keys;
use crate::error::OpenError;
use crate::format::{BLOCK, Header, NoHeader, VERSION};
use crate::pass::{Part, Progress, Wanted, pass};
use crate::rebuild::Rebuild;
use crate::segments::{Segment, Segments, id_of, path_of};
use crate::snapshot;
use crate::state::State;
use crate::writer::Active;

/// What an opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// How many segments hold something.
    pub segments: u64,
    /// How many records were read, copies and those no longer needed among them.
    pub records: u64,
    /// The torn tail: bytes behind the last whole batch that can be seen to have been written and were never acknowledged.
    pub cut: u64,
}

/// What an opening hands on.
pub(crate) struct Opened {
    pub(crate) lock: File,
    pub(crate) direct: bool,
    pub(crate) segments: Rc<Segments>,
    pub(crate) state: State,
    /// The highest epoch there ever was.
    pub(crate) epoch: u64,
    pub(crate) active: Active,
    pub(crate) recovered: Recovered,
}

/// Reads what the directory holds, which is made if it is not there.
pub(crate) async fn open(
    directory: &Path,
    keys: Keys,
    progress: impl FnMut(Progress),
) -> Result<Opened, OpenError> {
    disk::create_directories(directory).await?;
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        disk::sync_directory(parent).await?;
    }
    // A segment's name, too, may be in the cache alone: who made it may have died before it was durable.
    disk::sync_directory(directory).await?;
    let files = Files::of(directory, keys).await?;
    files.have_keys(directory)?;
    for path in &files.unfinished {
        reach!("store.unfinished_segment_removed");
        // The attempt at a snapshot has content in it, that at a segment none.
        if path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with(".snapshot")) {
            snapshot::wipe(path).await?;
        } else {
            disk::remove(path).await?;
        }
    }
    let epoch = files.order.last_key_value().map_or(0, |(epoch, _)| *epoch);
    let wanted: Vec<_> =
        files.order.iter().map(|(at, segment)| Wanted::whole(segment, *at == epoch)).collect();
    let mut recovered = Recovered { segments: wanted.len() as u64, ..Recovered::default() };
    let (mut rebuild, mut number) = (Rebuild::default(), 1);
    let mut tail = None;
    pass(directory, &wanted, &mut rebuild, progress, |part| {
        number = number.max(part.found.number);
        recovered.records += part.records;
        recovered.cut = part.found.torn;
        // The last one's end is made sure of even where it is sealed: a seal whose sync failed may be in the cache alone.
        tail = Some(part);
    })
    .await?;
    drop(wanted);
    let mut state = rebuild.finish(number)?;
    // What lies behind the end of any of them is not known.
    state.unclean = files.segments.all.borrow().keys().copied().collect();
    let mut active = Active::None;
    if let Some(tail) = tail {
        if !tail.found.sealed && plant!("wal.torn-tail-append") {
            active = Active::At(tail.segment, tail.found.end + tail.found.torn as u32);
        } else {
            end_tail(&tail).await?;
        }
    }
    snapshot::forget_all(directory, state.removed()).await?;
    event!("store.opened", records = recovered.records, cut = recovered.cut);
    let Files { lock, direct, segments, .. } = files;
    Ok(Opened { lock, direct, segments: Rc::new(segments), state, epoch, active, recovered })
}

/// A store's files, locked and opened, none of them read further than its header.
pub(crate) struct Files {
    pub(crate) lock: File,
    /// The file system lets a file be written past its cache.
    pub(crate) direct: bool,
    pub(crate) segments: Segments,
    /// Those that hold something, by epoch.
    pub(crate) order: BTreeMap<u64, Rc<Segment>>,
    /// Those whose making was interrupted.
    pub(crate) unfinished: Vec<PathBuf>,
}

/// The name of the file that is locked.
const LOCK: &str = "lock";

impl Files {
    /// Of a store that is there already: where none is, nothing is made.
    pub(crate) async fn of_a_store(directory: &Path, keys: Keys) -> Result<Self, OpenError> {
        let names = disk::list(directory).await?.into_iter().map(|entry| entry.name);
        if names
            .map(|name| name.to_string_lossy().into_owned())
            .any(|name| name == LOCK || id_of(&name).is_some())
        {
            return Self::of(directory, keys).await;
        }
        Err(OpenError::NoStore { directory: directory.to_owned() })
    }

    /// Changes nothing but the lock.
    pub(crate) async fn of(directory: &Path, keys: Keys) -> Result<Self, OpenError> {
        let lock = File::open(directory.join(LOCK), OpenOptions::CREATE).await?;
        match lock.lock().await {
            Err(error) if error.failure == Failure::Locked => {
                return Err(OpenError::Locked {
                    directory: directory.to_owned(),
                    holder: holder(&lock).await,
                });
            }
            locked => locked?,
        }
        // For whoever finds it locked; nothing depends on it.
        drop(lock.write_all_at(0, Buffer::copy_of(format!("{:<10}\n", process::pid()).as_bytes())).await);
        let direct = File::open(lock.path(), OpenOptions::DIRECT).await.is_ok();
        let (segments, mut order, mut unfinished) =
            (Segments::new(directory, keys), BTreeMap::new(), Vec::new());
        for entry in disk::list(directory).await? {
            let name = entry.name.to_string_lossy();
            let path = directory.join(&*name);
            let Some(id) = id_of(&name) else {
                unfinished.extend(name.ends_with(".new").then_some(path));
                continue;
            };
            let file = File::open(&path, OpenOptions::READ_WRITE).await?;
            let header = header_of(&file, &path).await?;
            let segment = Rc::new(Segment::new(id, file, header, &segments.keys));
            segments.all.borrow_mut().insert(id, segment.clone());
            if header.epoch > 0 && order.insert(header.epoch, segment).is_some() {
                return Err(OpenError::NoSegment { file: path });
            }
        }
        Ok(Self { lock, direct, segments, order, unfinished })
    }

    /// Refuses what is encrypted with a key that is not there.
    pub(crate) fn have_keys(&self, directory: &Path) -> Result<(), OpenError> {
        for segment in self.order.values().filter(|segment| segment.cipher.borrow().is_none()) {
            if let Some(key) = segment.header.get().key {
                return Err(OpenError::NoKey { file: path_of(directory, segment.id), key });
            }
        }
        Ok(())
    }
}

/// The process that says in the lock's file that it holds it.
async fn holder(lock: &File) -> Option<u32> {
    let said = lock.read_all(64).await.ok()?;
    std::str::from_utf8(&said).ok()?.trim().parse().ok()
}

async fn header_of(file: &File, path: &Path) -> Result<Header, OpenError> {
    let no_segment = || OpenError::NoSegment { file: path.to_owned() };
    let (read, block) = file.read_exact_at(0, Buffer::zeroed(BLOCK)).await;
    match read {
        Err(error) if error.failure == Failure::EndOfFile => return Err(no_segment()),
        read => read?,
    }
    Header::decode(&block).map_err(|why| match why {
        NoHeader::Unreadable => no_segment(),
        NoHeader::Version(found) => OpenError::Version { file: path.to_owned(), found, known: VERSION },
    })
}

/// Makes sure of what nothing proves durable, header or batches, and ends the segment behind it.
async fn end_tail(Part { segment, found, batch, .. }: &Part) -> Result<(), DiskError> {
    if found.torn > 0 {
        reach!("store.tail_cut");
        event!("store.tail_cut", bytes = found.torn);
    }
    // A batch is written only behind a header that is durable. Where none is, the header may be in the cache alone.
    if found.end == BLOCK as u32 {
        segment.write_header().await?;
    }
    if !batch.is_empty() {
        segment.file.write_all_at(u64::from(found.proven), Buffer::copy_of(batch)).await.0?;
        segment.file.sync(SyncKind::Data).await?;
    }
    segment.seal(found.end, found.number).await
}
