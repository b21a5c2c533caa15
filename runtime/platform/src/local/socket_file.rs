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
        let placed = bind(&beside).and_then(|bound| {
            let inode = std::fs::symlink_metadata(&beside)?.ino();
            std::fs::rename(&beside, path)?;
            Ok((Self { path: path.to_owned(), inode }, bound))
        });
        if placed.is_err() {
            // The error that is told says more than one about the clean-up could.
            let _ = std::fs::remove_file(&beside);
        }
        placed
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_socket_that_could_not_get_its_mode_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let refused = SocketFile::place(&folder.path().join("socket"), |beside| {
            let _listener = UnixListener::bind(beside)?;
            Err::<(), _>(io::Error::from(io::ErrorKind::PermissionDenied))
        });
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_another_put_in_its_place_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (file, _listener) = SocketFile::place(&path, |beside| UnixListener::bind(beside)).unwrap();
        let (second, _other) = SocketFile::place(&path, |beside| UnixListener::bind(beside)).unwrap();
        drop(file);
        assert!(SocketFile::is_socket(&path));
        drop(second);
        assert!(!path.exists());
    }
}
