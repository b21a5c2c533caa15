//! What can go wrong with a disk operation, in words that a caller can act on.
//!
//! [`Failure`] is what the arms answer, the same kinds in both; [`DiskError`] adds which operation on which path.

use std::path::PathBuf;

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No such file or directory (`ENOENT`).
    #[error("there is no such file or directory")]
    NotFound,
    /// It exists and was to be made new (`EEXIST`).
    #[error("it exists already")]
    Exists,
    /// Permissions forbid it (`EACCES`, `EPERM`).
    #[error("permission denied: give this user access to it")]
    Denied,
    /// The file system is mounted read-only (`EROFS`), as Linux does after errors of the device.
    #[error("the file system is read-only: look for device errors in the kernel's log, then remount it")]
    ReadOnly,
    /// The file system is full (`ENOSPC`).
    #[error("no space is left on the device: free some and try again")]
    NoSpace,
    /// The user's quota is used up (`EDQUOT`), or the process's file size limit (`EFBIG`).
    #[error("the quota or file size limit is reached: free space or raise the limit")]
    Quota,
    /// The device failed (`EIO`). After a failed sync the data may be lost although a later sync succeeds: do not retry
    /// the sync, write the data again elsewhere.
    #[error("the device reported an error: what was not synced before may be lost")]
    Io,
    /// Somebody else holds the lock (`EWOULDBLOCK`).
    #[error("it is locked by another owner")]
    Locked,
    /// A part of the path is not a directory (`ENOTDIR`).
    #[error("a part of the path is not a directory")]
    NotDirectory,
    /// It is a directory and a file was needed (`EISDIR`).
    #[error("it is a directory, a file was expected")]
    IsDirectory,
    /// The directory has entries (`ENOTEMPTY`).
    #[error("the directory is not empty")]
    NotEmpty,
    /// The file is not open, or not open for this (`EBADF`).
    #[error("the file is not open for this operation")]
    NotOpen,
    /// An argument is refused (`EINVAL`), such as a path with a zero byte.
    #[error("the arguments are not valid for this operation")]
    Invalid,
    /// The file system has no such operation (`EOPNOTSUPP`).
    #[error("the file system does not support it: use another one")]
    Unsupported,
    /// The end of the file came before all bytes were read.
    #[error("the file ends before the bytes that were asked for")]
    EndOfFile,
    /// A write took nothing although there was something to take.
    #[error("the device accepted no byte of a write")]
    WroteNothing,
    /// The context that owned the operation ended before it completed.
    #[error("the executor ended before the operation completed")]
    Abandoned,
    /// Another error of the operating system, by its number.
    #[error("operating system error {0}")]
    Os(i32),
}

/// A failed operation: what, on which path, why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {operation} {}: {failure}", path.display())]
pub struct DiskError {
    /// What was tried, as a verb.
    pub operation: &'static str,
    /// On which file or directory.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub failure: Failure,
}
