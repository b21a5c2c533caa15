//! Real files: opened without following a link, locked by open file description, allocated whole.
//!
//! Each end locks one byte of the file, so that the writer and the reader do not exclude each other. A lock goes with the last
//! descriptor of its opening: the kernel gives it back however the process ends.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    FallocateFlags, FileType, Mode, OFlags, fallocate, fstat, fsync, ftruncate, open as open_file,
    rename as rename_file, unlink,
};
use rustix::io::{Errno, pwrite};
use rustix::mm::ProtFlags;

use super::file::failed;
use super::{End, QueueError};
use crate::memory::Mapping;

pub(super) type Mapped = Mapping;

/// Opens a file and locks its end; a writer's is made if it is not there.
pub(super) fn open(path: &Path, end: End) -> Result<OwnedFd, QueueError> {
    let create = if end == End::Writer { OFlags::CREATE } else { OFlags::empty() };
    locked(path, create, &[end])
}

/// Opens a file that is there and locks both its ends.
pub(super) fn open_whole(path: &Path) -> Result<OwnedFd, QueueError> {
    locked(path, OFlags::empty(), &[End::Writer, End::Reader])
}

fn locked(path: &Path, create: OFlags, ends: &[End]) -> Result<OwnedFd, QueueError> {
    // Without NONBLOCK, opening some devices would wait.
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | create;
    loop {
        let file = open_file(path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| failed(path, "opening it", error))?;
        let look = || fstat(&file).map_err(|error| failed(path, "asking what it is", error));
        if FileType::from_raw_mode(look()?.st_mode) != FileType::RegularFile {
            return Err(QueueError::NotAFile { path: path.to_owned() });
        }
        for end in ends {
            match lock(&file, *end) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::ACCESS) => {
                    return Err(QueueError::Taken { path: path.to_owned(), end: *end });
                }
                Err(error) => return Err(failed(path, "locking it", error)),
            }
        }
        // One that was removed before its lock was had has no name any more: whoever comes later would not find it.
        if look()?.st_nlink > 0 {
            return Ok(file);
        }
    }
}

/// Removes a file.
pub(super) fn remove(path: &Path) -> Result<(), QueueError> {
    unlink(path).map_err(|error| failed(path, "removing it", error))
}

/// Gives a file another name in its directory.
pub(super) fn rename(path: &Path, to: &Path) -> Result<(), QueueError> {
    rename_file(path, to).map_err(|error| failed(path, "renaming it", error))
}

/// The names in a directory; none if it is not there.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, QueueError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.and_then(Iterator::collect::<Result<Vec<_>, _>>),
    };
    let told =
        |error: &io::Error| failed(folder, "listing it", Errno::from_io_error(error).unwrap_or(Errno::IO));
    let entries = entries.map_err(|error| told(&error))?;
    let mut names: Vec<_> =
        entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

fn lock(file: &OwnedFd, end: End) -> rustix::io::Result<()> {
    let byte = match end {
        End::Writer => 0,
        End::Reader => 1,
    };
    let wanted = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and the kernel only reads the struct, which is whole.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const wanted) };
    if answer == 0 {
        Ok(())
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
    }
}

/// Gives the file all its room, zeroed; what could not be had whole is given back.
pub(super) fn allocate(file: &OwnedFd, path: &Path, len: u64) -> Result<(), QueueError> {
    let allocated = loop {
        match fallocate(file, FallocateFlags::empty(), 0, len) {
            Err(Errno::INTR) => {}
            // A file system that cannot promise room is given the bytes themselves.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => break write_zeros(file, len),
            other => break other,
        }
    };
    allocated.map_err(|error| {
        // It failed already: what the second failure says is less.
        let _ = ftruncate(file, 0);
        match error {
            Errno::NOSPC | Errno::DQUOT | Errno::FBIG => QueueError::NoSpace { path: path.to_owned(), len },
            other => failed(path, "allocating it", other),
        }
    })
}

fn write_zeros(file: &OwnedFd, len: u64) -> rustix::io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut at = 0;
    while at < len {
        let piece = (len - at).min(ZEROS.len() as u64) as usize;
        match pwrite(file, &ZEROS[..piece], at) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(written) => at += written as u64,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Maps the file for reading and writing.
pub(super) fn map(file: &OwnedFd, path: &Path, _: End, len: usize) -> Result<Mapped, QueueError> {
    let both = ProtFlags::READ | ProtFlags::WRITE;
    Mapping::new(file.as_fd(), len, both).map_err(|error| failed(path, "mapping it", error))
}

/// Writes the file and its name to the device.
pub(super) fn sync(file: &OwnedFd, path: &Path) -> Result<(), QueueError> {
    let told = |error| failed(path, "writing it to the device", error);
    // Linux writes what was stored through a mapping, too.
    fsync(file).map_err(told)?;
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    fsync(open_file(above, flags, Mode::empty()).map_err(told)?).map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_promises_no_room_is_given_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("queue");
        let file = open(&path, End::Writer).unwrap();
        write_zeros(&file, 100_000).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), vec![0; 100_000]);
    }
}
