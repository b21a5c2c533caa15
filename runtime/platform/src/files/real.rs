//! Real files, by blocking calls: always called from a pool beside the contexts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{FilesError, Kind, Metadata};

/// The system's error, with its path.
fn failed(path: &Path, error: &io::Error) -> FilesError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => FilesError::NotFound { path },
        io::ErrorKind::PermissionDenied => FilesError::Denied { path },
        io::ErrorKind::NotADirectory => FilesError::NotADirectory { path },
        io::ErrorKind::IsADirectory => FilesError::NotAFile { path },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FilesError::Full { path },
        _ => FilesError::Other { path, reason: error.to_string() },
    }
}

fn told(path: &Path) -> impl Fn(io::Error) -> FilesError {
    move |error| failed(path, &error)
}

fn known(path: &Path, metadata: &fs::Metadata) -> io::Result<Metadata> {
    let file_type = metadata.file_type();
    let kind = if file_type.is_file() {
        Kind::File
    } else if file_type.is_dir() {
        Kind::Directory
    } else if file_type.is_symlink() {
        Kind::Link(fs::read_link(path)?)
    } else {
        Kind::Other
    };
    let len = if kind == Kind::File { metadata.len() } else { 0 };
    Ok(Metadata { kind, len, mode: metadata.permissions().mode() & 0o7777 })
}

pub(super) fn metadata(path: &Path) -> Result<Metadata, FilesError> {
    fs::symlink_metadata(path).and_then(|metadata| known(path, &metadata)).map_err(told(path))
}

pub(super) fn canonical(path: &Path) -> Result<PathBuf, FilesError> {
    fs::canonicalize(path).map_err(told(path))
}

/// Names that vanish between listing and looking are left out.
pub(super) fn list(path: &Path) -> Result<BTreeMap<OsString, Metadata>, FilesError> {
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(path).map_err(told(path))? {
        let entry = entry.map_err(told(path))?;
        let below = entry.path();
        match entry.metadata().and_then(|metadata| known(&below, &metadata)) {
            Ok(metadata) => {
                names.insert(entry.file_name(), metadata);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&below, &error)),
        }
    }
    Ok(names)
}

pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FilesError> {
    // Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
    let nonblock = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path).map_err(told(path))?;
    read_open(path, file, limit)
}

fn read_open(path: &Path, file: File, limit: u64) -> Result<Vec<u8>, FilesError> {
    let metadata = file.metadata().map_err(told(path))?;
    if !metadata.is_file() {
        return Err(FilesError::NotAFile { path: path.to_owned() });
    }
    let too_large = || FilesError::TooLarge { path: path.to_owned(), limit };
    if metadata.len() > limit {
        return Err(too_large());
    }
    // The length may lie (procfs) or grow while we read: the bound holds on what is read.
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(told(path))?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok(bytes) }
}

/// Opens one component after the other, none of them through a link, so that swapping one meanwhile leads nowhere.
pub(super) fn read_below(root: &Path, relative: &Path, limit: u64) -> Result<Vec<u8>, FilesError> {
    let whole = root.join(relative);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let directory = OFlags::DIRECTORY;
    let refused = |error: rustix::io::Errno| match error {
        rustix::io::Errno::LOOP => FilesError::Outside { root: root.to_owned(), path: relative.to_owned() },
        other => failed(&whole, &other.into()),
    };
    let mut at = openat(CWD, root, flags | directory, Mode::empty()).map_err(refused)?;
    let parts: Vec<_> = relative.components().collect();
    for (index, part) in parts.iter().enumerate() {
        let last = index + 1 == parts.len();
        let wanted = if last { flags } else { flags | directory };
        at = openat(&at, part.as_os_str(), wanted | OFlags::NOFOLLOW, Mode::empty()).map_err(|error| {
            // With O_DIRECTORY, a link is "not a directory".
            let link = error == rustix::io::Errno::NOTDIR
                && fs::symlink_metadata(root.join(parts[..=index].iter().collect::<PathBuf>()))
                    .is_ok_and(|metadata| metadata.is_symlink());
            refused(if link { rustix::io::Errno::LOOP } else { error })
        })?;
    }
    read_open(&whole, File::from(at), limit)
}

pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), FilesError> {
    let not_a_file = || FilesError::NotAFile { path: path.to_owned() };
    let name = path.file_name().ok_or_else(not_a_file)?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{:016x}.new", crate::random::u64()));
    let temporary = parent.join(hidden);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(parent)?.sync_all()
    })();
    written.map_err(|error: io::Error| {
        // After a rename there is nothing to remove, and after a failed creation neither.
        let _ = fs::remove_file(&temporary);
        failed(path, &error)
    })
}

pub(super) fn create_directories(path: &Path) -> Result<(), FilesError> {
    fs::create_dir_all(path).map_err(told(path))
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<(), FilesError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o7777)).map_err(told(path))
}

pub(super) fn remove_file(path: &Path) -> Result<(), FilesError> {
    fs::remove_file(path).map_err(told(path))
}

pub(super) fn remove_tree(path: &Path) -> Result<(), FilesError> {
    fs::remove_dir_all(path).map_err(told(path))
}
