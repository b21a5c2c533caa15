//! A queue's file, the same in both arms: looked at and made while its end is locked, and only then mapped.
//!
//! A file is made in this order: its room, zeroed; what it holds; the word that says so. Whoever is killed in between leaves zeros, which the next
//! writer takes for its own.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::fs::fstat;
use rustix::io::{Errno, pread};
use synod_probe::reach;
use synod_ring::queue::{CONTROL, OpenError, Writer, make, memory_len, recognise};
use synod_ring::region::Region;
use synod_ring::{Hardware, LayoutError};

use super::{End, QueueError, arm};

/// Where the capacity stands, which may be there before the rest.
const CAPACITY: std::ops::Range<u64> = 8..16;

/// A file that is locked, mapped and a queue.
pub(super) struct Opened {
    pub memory: Hardware,
    pub file: Arc<OwnedFd>,
}

/// The mapping of a queue's file, and its lock.
struct FileRegion {
    mapping: arm::Mapped,
    len: usize,
    _locked: Arc<OwnedFd>,
}

// SAFETY: the mapping is page-aligned and has `len` bytes, which the file had when it was mapped, and stands until this value is dropped; the locks
// leave it one writer and one reader, and it is given to a queue alone, which takes it for memory that others write.
unsafe impl Region for FileRegion {
    fn base(&self) -> NonNull<u8> {
        self.mapping.base()
    }

    fn len(&self) -> usize {
        self.len
    }
}

/// Opens a queue for writing; makes it if it is not there.
pub(super) fn for_writer(path: &Path, capacity: usize) -> Result<Opened, QueueError> {
    let refused = |reason: LayoutError| QueueError::Refused { path: path.to_owned(), reason: reason.into() };
    let wanted = memory_len(capacity).map_err(refused)?;
    let file = arm::open(path, End::Writer)?;
    let found = length(&file, path)?;
    match look(&file, path, found) {
        Ok(()) if found == wanted as u64 => map(file, path, End::Writer, wanted),
        Ok(()) => {
            let (found, asked) = (found - CONTROL as u64, capacity as u64);
            Err(QueueError::Capacity { path: path.to_owned(), found, asked })
        }
        Err(QueueError::Refused { reason: OpenError::Unmade, .. }) => {
            if found > wanted as u64 || !is_blank(&file, path, found)? {
                let reason = OpenError::Alien { found: 0 };
                return Err(QueueError::Refused { path: path.to_owned(), reason });
            }
            reach!("queue.made");
            arm::allocate(&file, path, wanted as u64)?;
            let opened = map(file, path, End::Writer, wanted)?;
            make(&opened.memory).map_err(refused)?;
            Ok(opened)
        }
        Err(other) => Err(other),
    }
}

/// Opens a queue that is there for reading.
pub(super) fn for_reader(path: &Path) -> Result<Opened, QueueError> {
    let file = arm::open(path, End::Reader)?;
    let found = length(&file, path)?;
    look(&file, path, found)?;
    let len = usize::try_from(found).map_err(|_| failed(path, "mapping it", Errno::NOMEM))?;
    map(file, path, End::Reader, len)
}

/// Removes a queue that nobody has open and nothing waits in; false if it stays.
pub(super) fn remove_idle(path: &Path) -> Result<bool, QueueError> {
    let file = match arm::open_whole(path) {
        Err(QueueError::Taken { .. }) => return Ok(false),
        opened => opened?,
    };
    let found = length(&file, path)?;
    // The locks are held until it is removed: who opens it after that sees that it has no name.
    match look(&file, path, found) {
        Ok(()) => {
            let len = usize::try_from(found).map_err(|_| failed(path, "mapping it", Errno::NOMEM))?;
            let opened = map(file, path, End::Writer, len)?;
            let ring = Writer::open(opened.memory, synod_wire::crc::append);
            let damaged = |reason| QueueError::Refused { path: path.to_owned(), reason };
            let mut ring = ring.map_err(damaged)?;
            let drained = ring.is_drained().map_err(|damage| damaged(damage.into()))?;
            if drained { arm::remove(path).map(|()| true) } else { Ok(false) }
        }
        Err(QueueError::Refused { reason: OpenError::Unmade, .. }) if is_blank(&file, path, found)? => {
            arm::remove(path).map(|()| true)
        }
        Err(other) => Err(other),
    }
}

fn map(file: OwnedFd, path: &Path, end: End, len: usize) -> Result<Opened, QueueError> {
    let file = Arc::new(file);
    let mapping = arm::map(&file, path, end, len)?;
    let region = FileRegion { mapping, len, _locked: file.clone() };
    Ok(Opened { memory: Hardware::new(region), file })
}

fn length(file: &OwnedFd, path: &Path) -> Result<u64, QueueError> {
    fstat(file)
        .map(|found| found.st_size as u64)
        .map_err(|error| failed(path, "asking for its length", error))
}

/// Whether a queue starts the file, and is as long as the file.
fn look(file: &OwnedFd, path: &Path, len: u64) -> Result<(), QueueError> {
    let mut start = [0; 16];
    read_at(file, path, 0, &mut start)?;
    recognise(start, len).map_err(|reason| QueueError::Refused { path: path.to_owned(), reason })
}

/// Whether nothing is in the file but what a writer leaves that died while it made a queue.
fn is_blank(file: &OwnedFd, path: &Path, len: u64) -> Result<bool, QueueError> {
    let mut bytes = vec![0; 64 << 10];
    let mut at = 0;
    while at < len {
        let read = read_at(file, path, at, &mut bytes)? as u64;
        let strange =
            (at..).zip(&bytes[..read as usize]).any(|(at, byte)| *byte != 0 && !CAPACITY.contains(&at));
        if strange || read == 0 {
            return Ok(false);
        }
        at += read;
    }
    Ok(true)
}

/// Reads until the bytes are full or the file ends.
fn read_at(file: &OwnedFd, path: &Path, at: u64, into: &mut [u8]) -> Result<usize, QueueError> {
    let mut filled = 0;
    while filled < into.len() {
        match pread(file, &mut into[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(failed(path, "reading it", error)),
        }
    }
    Ok(filled)
}

/// The system's error, with its path.
pub(super) fn failed(path: &Path, doing: &'static str, error: Errno) -> QueueError {
    let path: PathBuf = path.to_owned();
    match error {
        Errno::NOENT => QueueError::NotFound { path },
        Errno::ACCESS | Errno::PERM | Errno::ROFS => QueueError::Denied { path },
        Errno::ISDIR | Errno::LOOP | Errno::NXIO | Errno::NODEV => QueueError::NotAFile { path },
        other => QueueError::System { path, doing, reason: other.to_string() },
    }
}
