//! Simulated files: memory of the one machine on which all nodes' processes run, as for [`local`](crate::local), by path.
//!
//! It outlives every process. When a life ends, its mappings are cut off: what its destructors still put reaches nobody. A machine's loss of
//! power is not simulated, so a sync does nothing. Of a disk's faults those of the writer's node are heeded that can refuse a new file.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::ProtFlags;

use super::file::failed;
use super::{End, QueueError};
use crate::disk;
use crate::memory::Mapping;
use crate::simulation::{self, Incarnation};

pub(super) type Mapped = Arc<Mapping>;

struct File {
    memory: OwnedFd,
    /// Who maps it: as which end, in which life.
    mapped: Vec<(End, Incarnation, Weak<Mapping>)>,
}

struct Files(RefCell<BTreeMap<PathBuf, File>>);

impl Default for Files {
    fn default() -> Self {
        simulation::on_crash(|dead| {
            let files = simulation::state::<Self>();
            for file in files.0.borrow_mut().values_mut() {
                for (_, _, mapping) in file.mapped.extract_if(.., |(_, life, _)| *life == dead) {
                    if let Some(mapping) = mapping.upgrade() {
                        mapping.detach();
                    }
                }
            }
        });
        Self(RefCell::default())
    }
}

/// Opens a file, if its end is free; a writer's is made if it is not there.
pub(super) fn open(path: &Path, end: End) -> Result<OwnedFd, QueueError> {
    let files = simulation::state::<Files>();
    let mut files = files.0.borrow_mut();
    if end == End::Writer && !files.contains_key(path) {
        if disk::control::faults(simulation::current_node()).read_only {
            return Err(failed(path, "opening it", Errno::ROFS));
        }
        let memory = memfd_create("queue", MemfdFlags::CLOEXEC);
        let memory = memory.map_err(|error| failed(path, "making its memory", error))?;
        files.insert(path.to_owned(), File { memory, mapped: Vec::new() });
    }
    let file = files.get_mut(path).ok_or_else(|| failed(path, "opening it", Errno::NOENT))?;
    file.give(path, &[end])
}

impl File {
    /// Its memory, if those ends are free.
    fn give(&mut self, path: &Path, ends: &[End]) -> Result<OwnedFd, QueueError> {
        self.mapped.retain(|(_, _, mapping)| mapping.strong_count() > 0);
        if let Some((end, ..)) = self.mapped.iter().find(|(of, ..)| ends.contains(of)) {
            return Err(QueueError::Taken { path: path.to_owned(), end: *end });
        }
        let copied = self.memory.try_clone();
        copied.map_err(|error| failed(path, "opening it", Errno::from_io_error(&error).unwrap_or(Errno::IO)))
    }
}

/// Opens a file that is there, if both its ends are free.
pub(super) fn open_whole(path: &Path) -> Result<OwnedFd, QueueError> {
    let files = simulation::state::<Files>();
    let mut files = files.0.borrow_mut();
    let file = files.get_mut(path).ok_or_else(|| failed(path, "opening it", Errno::NOENT))?;
    file.give(path, &[End::Writer, End::Reader])
}

/// Removes a file.
pub(super) fn remove(path: &Path) -> Result<(), QueueError> {
    let removed = simulation::state::<Files>().0.borrow_mut().remove(path);
    removed.map(drop).ok_or_else(|| failed(path, "removing it", Errno::NOENT))
}

/// Gives a file another name.
pub(super) fn rename(path: &Path, to: &Path) -> Result<(), QueueError> {
    let files = simulation::state::<Files>();
    let mut files = files.0.borrow_mut();
    let file = files.remove(path).ok_or_else(|| failed(path, "renaming it", Errno::NOENT))?;
    files.insert(to.to_owned(), file);
    Ok(())
}

/// The names in a directory, which is there once a file is.
#[expect(clippy::unnecessary_wraps, reason = "the real arm's can fail")]
pub(super) fn names(folder: &Path) -> Result<Vec<String>, QueueError> {
    let files = simulation::state::<Files>();
    let files = files.0.borrow();
    let here = files.keys().filter(|path| path.parent() == Some(folder));
    Ok(here.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
}

/// Gives the file all its room, zeroed.
pub(super) fn allocate(file: &OwnedFd, path: &Path, len: u64) -> Result<(), QueueError> {
    let faults = disk::control::faults(simulation::current_node());
    if faults.capacity.is_some_and(|capacity| len > capacity) {
        return Err(QueueError::NoSpace { path: path.to_owned(), len });
    }
    ftruncate(file, len).map_err(|error| failed(path, "allocating it", error))
}

/// Maps the file for reading and writing, for as long as this life lasts.
pub(super) fn map(file: &OwnedFd, path: &Path, end: End, len: usize) -> Result<Mapped, QueueError> {
    let life = simulation::current();
    let both = ProtFlags::READ | ProtFlags::WRITE;
    let mapping = Mapping::new(file.as_fd(), len, both);
    let mapping = Arc::new(mapping.map_err(|error| failed(path, "mapping it", error))?);
    if !simulation::is_alive(life) {
        mapping.detach();
    }
    let files = simulation::state::<Files>();
    if let Some(file) = files.0.borrow_mut().get_mut(path) {
        file.mapped.push((end, life, Arc::downgrade(&mapping)));
    }
    Ok(mapping)
}

/// Does nothing: no power is lost.
#[expect(clippy::unnecessary_wraps, reason = "the real arm's can fail")]
pub(super) fn sync(_file: &OwnedFd, _path: &Path) -> Result<(), QueueError> {
    Ok(())
}
