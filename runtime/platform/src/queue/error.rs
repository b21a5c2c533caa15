//! Why a queue's file cannot be opened, by name.

use std::path::PathBuf;

use synod_ring::queue::OpenError;

use super::End;

/// Why a queue's file cannot be opened or kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// Nothing stands there.
    #[error("{}: there is no such queue; let its writer make it, in a directory that is there", path.display())]
    NotFound {
        /// Where.
        path: PathBuf,
    },
    /// Not allowed.
    #[error("{}: permission denied; check its owner and mode, and those of the directories above it", path.display())]
    Denied {
        /// Where.
        path: PathBuf,
    },
    /// It is a directory, a link, a device.
    #[error("{}: not a regular file, which a queue needs; choose another path", path.display())]
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// The file system or the user's quota has no room for it.
    #[error("{}: no room for {len} bytes, which are allocated ahead; free some, raise the quota, or ask for a smaller queue", path.display())]
    NoSpace {
        /// Where.
        path: PathBuf,
        /// Bytes of the file.
        len: u64,
    },
    /// Somebody else has that end.
    #[error("{}: it has a {} already, and only one at a time may be; stop that one, or choose another path", path.display(), match end { End::Writer => "writer", End::Reader => "reader" })]
    Taken {
        /// Where.
        path: PathBuf,
        /// Which end.
        end: End,
    },
    /// It was made with another capacity.
    #[error("{}: it was made for {found} bytes and {asked} are asked for; open it with {found}, or have it read empty and remove it", path.display())]
    Capacity {
        /// Where.
        path: PathBuf,
        /// Its bytes for records.
        found: u64,
        /// The bytes asked for.
        asked: u64,
    },
    /// What is in it is no queue that can be gone on with.
    #[error("{}: {reason}", path.display())]
    Refused {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        reason: OpenError,
    },
    /// The system refused.
    #[error("{}: {doing}: {reason}", path.display())]
    System {
        /// Where.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The system's words.
        reason: String,
    },
}
