//! Files as a person has them: trees to read, folders to write results into. Not for logs and stores: those use `disk`.
//!
//! Every read has a bound. A walk is bounded in entries and depth, honours `.gitignore`, follows no symbolic link, and reports
//! what it could not read instead of failing. A file written by [`write()`] is there whole or not at all, also after a
//! crash. In simulation each node has an in-memory tree that the engine fills.

mod copy;
mod error;
#[cfg(not(madsim))]
mod real;
mod scratch;
#[cfg(madsim)]
mod sim;
mod walk;

use std::path::{Path, PathBuf};

#[cfg(not(madsim))]
use real as arm;
#[cfg(madsim)]
use sim as arm;

pub use copy::{Copied, CopyLimits};
pub use error::FilesError;
pub use scratch::{Scratch, scratch, sweep_scratch};
#[cfg(madsim)]
pub use sim::{Tree, tree};
pub use walk::{Entry, Unreadable, Walk, WalkLimits};

use crate::task;

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link with this target, as written in it.
    Link(PathBuf),
    /// A socket, pipe or device.
    Other,
}

/// What is known of a name without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is; a link is not followed.
    pub kind: Kind,
    /// Bytes of a regular file; 0 for others.
    pub len: u64,
    /// Permission bits, with set-user-id, set-group-id and sticky: `0o7777` at most.
    pub mode: u32,
}

async fn off_the_loop<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> Result<T, FilesError> + Send + 'static,
) -> Result<T, FilesError> {
    let owned = path.to_owned();
    match task::blocking(move || work(&owned)).await {
        Ok(outcome) => outcome,
        Err(error) => Err(FilesError::Interrupted { path: path.to_owned(), reason: error.to_string() }),
    }
}

/// Lists everything below `root`, in order of path, within `limits`.
pub async fn walk(root: &Path, limits: WalkLimits) -> Result<Walk, FilesError> {
    off_the_loop(root, move |root| walk::walk(root, &limits)).await
}

/// Reads a file of at most `limit` bytes, whole. Links are followed.
pub async fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FilesError> {
    off_the_loop(path, move |path| arm::read(path, limit)).await
}

/// Reads the file `relative` below `root`, of at most `limit` bytes, whole, following no link in `relative`: for trees that
/// are not trusted. A path that is absolute or has `..` is refused.
pub async fn read_below(root: &Path, relative: &Path, limit: u64) -> Result<Vec<u8>, FilesError> {
    let relative = relative.to_owned();
    off_the_loop(root, move |root| {
        let plain = relative.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !plain || relative.as_os_str().is_empty() {
            return Err(FilesError::Outside { root: root.to_owned(), path: relative });
        }
        arm::read_below(root, &relative, limit)
    })
    .await
}

/// What stands under `path`; a link is not followed.
pub async fn metadata(path: &Path) -> Result<Metadata, FilesError> {
    off_the_loop(path, arm::metadata).await
}

/// Whether anything stands under `path`, also a broken link.
pub async fn exists(path: &Path) -> Result<bool, FilesError> {
    match metadata(path).await {
        Ok(_) => Ok(true),
        Err(FilesError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The absolute path of `path`, without links, `.` and `..`.
pub async fn canonical(path: &Path) -> Result<PathBuf, FilesError> {
    off_the_loop(path, arm::canonical).await
}

/// The names in a directory, sorted.
pub async fn list(path: &Path) -> Result<Vec<std::ffi::OsString>, FilesError> {
    off_the_loop(path, |path| Ok(arm::list(path)?.into_keys().collect())).await
}

/// Writes a file whole, durable when this returns: a temporary file beside it, synced, renamed over it, and the directory synced.
/// An old file of that name stays until then. The new one has mode 0644 less the process's mask.
pub async fn write(path: &Path, bytes: impl Into<Vec<u8>>) -> Result<(), FilesError> {
    let bytes = bytes.into();
    off_the_loop(path, move |path| arm::write(path, &bytes, 0o644)).await
}

/// The same for what this user alone may read: mode 0600 from the first byte on.
pub async fn write_secret(path: &Path, bytes: impl Into<Vec<u8>>) -> Result<(), FilesError> {
    let bytes = bytes.into();
    off_the_loop(path, move |path| arm::write(path, &bytes, 0o600)).await
}

/// Makes a directory and those above it that are missing. One that is there already is well.
pub async fn create_directories(path: &Path) -> Result<(), FilesError> {
    off_the_loop(path, arm::create_directories).await
}

/// Copies the tree `from` into the directory `to`, which is made, within `limits`. Regular files (sharing their blocks with the originals where the file
/// system can), their times and permissions without set-user-id, directories, and links that stay inside; what is left out is named. What
/// would pass the bounds is [`FilesError::TooLarge`], and what was copied until then stays. Nothing is written in `from`.
pub async fn copy_tree(from: &Path, to: &Path, limits: CopyLimits) -> Result<Copied, FilesError> {
    let to = to.to_owned();
    off_the_loop(from, move |from| copy::copy_tree(from, &to, &limits)).await
}

/// Sets the permission bits of a file or directory.
pub async fn set_mode(path: &Path, mode: u32) -> Result<(), FilesError> {
    off_the_loop(path, move |path| arm::set_mode(path, mode)).await
}

/// Removes a file or a link. What is not there is well.
pub async fn remove_file(path: &Path) -> Result<(), FilesError> {
    off_the_loop(path, |path| arm::remove_file(path).or_else(FilesError::unless_not_found)).await
}

/// Removes a directory with all below it, following no link, also where its directories have lost their permissions or lie deeper than any path
/// can say. What is not there is well.
pub async fn remove_tree(path: &Path) -> Result<(), FilesError> {
    off_the_loop(path, |path| arm::remove_tree(path).or_else(FilesError::unless_not_found)).await
}
