//! A listening Unix socket's file: it appears at its path only when its mode is right, and goes with its listener unless someone else
//! has put another in its place.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The file, removed when dropped.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl SocketFile {
    /// Lets `bind` make the socket, with the mode it is to have, beside the path, and moves it there.
    pub(crate) fn place<T>(path: &Path, bind: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<(Self, T)> {
        let mut beside = path.as_os_str().to_owned();
        beside.push("~");
        let beside = PathBuf::from(beside);
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let bound = bind(&beside)?;
        let inode = std::fs::symlink_metadata(&beside)?.ino();
        std::fs::rename(&beside, path)?;
        Ok((Self { path: path.to_owned(), inode }, bound))
    }

    /// Whether a socket stands there: what refuses a connection may also be a file, which is not ours to replace.
    pub(crate) fn is_socket(path: &Path) -> bool {
        std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            // Nothing to be done if this fails: the next listener replaces the stale file.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
