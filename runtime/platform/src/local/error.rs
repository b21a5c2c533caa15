//! What can go wrong between two processes of one machine, by name.

use std::path::PathBuf;

/// Why a socket, a channel or a frame failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocalError {
    /// Nobody listens there.
    #[error("nobody listens at {}: start the node, or correct the path", path.display())]
    NobodyListens {
        /// Where.
        path: PathBuf,
    },
    /// Another process listens there, or the file is no socket of a listener that is gone.
    #[error("{} is in use: another process listens there, or it is no socket; choose another path or remove it", path.display())]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// This user may not.
    #[error("permission denied at {}: ask its owner, or become a member of the group it admits", path.display())]
    Denied {
        /// Where.
        path: PathBuf,
    },
    /// Everyone could put another socket in its place.
    #[error("{} may be written by everyone: take that right away (chmod o-w) or choose another directory", path.display())]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The kernel takes no path that long for a socket.
    #[error("{} is too long for a socket, which takes up to {limit} bytes: choose a shorter path", path.display())]
    PathTooLong {
        /// Where.
        path: PathBuf,
        /// Bytes that a path may have.
        limit: usize,
    },
    /// A frame has at least one byte.
    #[error("a frame without a byte cannot be sent: an empty one means the end")]
    Empty,
    /// A frame is larger than allowed. Nothing of it was sent, or it was received and thrown away; the channel goes on.
    #[error("a frame of {size} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Its bytes.
        size: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// More handles than allowed. Nothing was sent, or all were closed and the frame thrown away; the channel goes on.
    #[error("a frame came with more than {limit} handles")]
    TooManyHandles {
        /// The limit.
        limit: usize,
    },
    /// This process cannot take a descriptor more; the frame and what came with it were thrown away.
    #[error("this process has no descriptors left: raise the limit `nofile`, or close some")]
    NoDescriptors,
    /// The peer process closed the channel, or died.
    #[error("the peer process has closed the channel, or died")]
    Closed,
    /// Anything else that the system says.
    #[error("{doing}: {reason}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The system's words.
        reason: String,
    },
}
