//! Real files, by blocking calls: always called from a pool beside the contexts.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat};

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

pub(super) fn read_below(root: &Path, relative: &Path, limit: u64) -> Result<Vec<u8>, FilesError> {
    read_open(&root.join(relative), open_below(root, relative)?, limit)
}

/// Opens one component after the other, none of them through a link, so that swapping one meanwhile leads nowhere.
fn open_below(root: &Path, relative: &Path) -> Result<File, FilesError> {
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
    Ok(File::from(at))
}

/// Copies a regular file of at most `limit` bytes to the new file `to`; gives its length.
pub(super) fn copy_file(root: &Path, relative: &Path, to: &Path, limit: u64) -> Result<u64, FilesError> {
    let path = root.join(relative);
    let from = open_below(root, relative)?;
    let metadata = from.metadata().map_err(told(&path))?;
    if !metadata.is_file() {
        return Err(FilesError::NotAFile { path });
    }
    let too_large = || FilesError::TooLarge { path: path.clone(), limit };
    if metadata.len() > limit {
        return Err(too_large());
    }
    // Its owner must be able to work with it, and nobody gets another's rights by it.
    let mode = metadata.permissions().mode() & 0o777 | 0o600;
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(mode).open(to).map_err(told(to))?;
    let copied = match rustix::fs::ioctl_ficlone(&copy, &from) {
        Ok(()) => copy.metadata().map_err(told(to))?.len(),
        // Another file system, or one that cannot share blocks.
        Err(_) => io::copy(&mut from.take(limit.saturating_add(1)), &mut copy).map_err(told(to))?,
    };
    if copied > limit {
        return Err(too_large());
    }
    // Build systems compare times. A file system that keeps none is no reason to fail.
    let _ = metadata.modified().and_then(|modified| copy.set_modified(modified));
    Ok(copied)
}

/// Makes the link `path` with this text.
pub(super) fn make_link(path: &Path, target: &Path) -> Result<(), FilesError> {
    std::os::unix::fs::symlink(target, path).map_err(told(path))
}

pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FilesError> {
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
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
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

/// A lock on a directory, which goes with its descriptor.
#[derive(Debug)]
pub(super) struct Hold {
    _directory: File,
}

/// Makes the directory `path` and locks it; `None` when somebody has taken it away meanwhile.
pub(super) fn make_held(path: &Path) -> Result<Option<Hold>, FilesError> {
    fs::DirBuilder::new().mode(0o700).create(path).map_err(told(path))?;
    take_over(path)
}

/// Locks the directory `path`; `None` when another holds it or it is gone.
pub(super) fn take_over(path: &Path) -> Result<Option<Hold>, FilesError> {
    use rustix::fs::{FlockOperation, flock};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || openat(CWD, path, flags, Mode::empty());
    let directory = match open() {
        Err(rustix::io::Errno::ACCESS) => {
            // What ran in it may have shut it.
            set_mode(path, 0o700)?;
            open()
        }
        opened => opened,
    };
    let directory = match directory {
        Ok(directory) => File::from(directory),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(failed(path, &error.into())),
    };
    if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(None);
    }
    let held = directory.metadata().map_err(told(path))?;
    let same =
        fs::symlink_metadata(path).is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino()));
    Ok(same.then_some(Hold { _directory: directory }))
}

/// Removes a tree that nobody waits for, on a thread of its own. If that comes to nothing, the next sweep finds it.
pub(super) fn remove_later(path: PathBuf, hold: Hold) {
    let work = move || {
        let _ = remove_tree(&path);
        drop(hold);
    };
    let _ = std::thread::Builder::new().name("remove-scratch".into()).spawn(work);
}

/// Goes down and up by descriptors, never by a long path, and holds one of them at a time, so that no depth is too deep.
/// A directory that may not be opened or changed is opened up first: its owner may.
pub(super) fn remove_tree(path: &Path) -> Result<(), FilesError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let error = |error: rustix::io::Errno| failed(path, &error.into());
    let enter = |at: BorrowedFd<'_>, name: &CStr| {
        let opened = openat(at, name, flags, Mode::empty());
        let opened = match opened {
            Err(rustix::io::Errno::ACCESS) => {
                rustix::fs::chmodat(at, name, Mode::RWXU, AtFlags::empty())?;
                openat(at, name, flags, Mode::empty())?
            }
            opened => opened?,
        };
        // Without the right to write, nothing in it could be removed.
        if rustix::fs::fstat(&opened)?.st_mode & 0o700 != 0o700 {
            rustix::fs::fchmod(&opened, Mode::RWXU)?;
        }
        Ok(opened)
    };
    let top = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| FilesError::NotFound { path: path.to_owned() })?;
    let mut at = enter(CWD, &top).map_err(error)?;
    let mut names: Vec<CString> = Vec::new();
    loop {
        let mut below = None;
        // Anew from the start, as what was listed before has been removed.
        let mut entries = rustix::fs::Dir::read_from(&at).map_err(error)?;
        while let Some(entry) = entries.read() {
            let entry = entry.map_err(error)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            match rustix::fs::unlinkat(&at, name, AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {
                    match rustix::fs::unlinkat(&at, name, AtFlags::REMOVEDIR) {
                        Ok(()) => {}
                        Err(_) => {
                            below = Some(name.to_owned());
                            break;
                        }
                    }
                }
                Err(other) => return Err(error(other)),
            }
        }
        match below {
            Some(name) => {
                at = enter(at.as_fd(), &name).map_err(error)?;
                names.push(name);
            }
            None => match names.pop() {
                Some(name) => {
                    at = openat(&at, c"..", flags, Mode::empty()).map_err(error)?;
                    rustix::fs::unlinkat(&at, &name, AtFlags::REMOVEDIR).map_err(error)?;
                }
                None => return fs::remove_dir(path).map_err(told(path)),
            },
        }
    }
}
