//! What can be wrong with a file, said with its path and what to do.

use std::path::{Path, PathBuf};

/// Why a file or tree could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilesError {
    /// Nothing stands there.
    #[error("{}: there is no such file or directory", path.display())]
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
    /// More bytes than the caller accepts.
    #[error("{}: larger than the {limit} bytes that are read at most", path.display())]
    TooLarge {
        /// Where.
        path: PathBuf,
        /// The most that the caller accepts, bytes.
        limit: u64,
    },
    /// A file was expected.
    #[error("{}: not a regular file", path.display())]
    NotAFile {
        /// Where.
        path: PathBuf,
    },
    /// A directory was expected.
    #[error("{}: not a directory", path.display())]
    NotADirectory {
        /// Where.
        path: PathBuf,
    },
    /// A path that leaves its tree, by `..`, by being absolute, or through a link.
    #[error("{}: leads out of {}", path.display(), root.display())]
    Outside {
        /// The tree.
        root: PathBuf,
        /// The path that leaves it.
        path: PathBuf,
    },
    /// No space, or no quota.
    #[error("{}: no space is left to write it", path.display())]
    Full {
        /// Where.
        path: PathBuf,
    },
    /// Anything else that the system says.
    #[error("{}: {reason}", path.display())]
    Other {
        /// Where.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// The work was given up before it was done.
    #[error("{}: the file work was interrupted: {reason}", path.display())]
    Interrupted {
        /// Where.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl FilesError {
    /// Where.
    pub fn path(&self) -> &Path {
        match self {
            Self::NotFound { path }
            | Self::Denied { path }
            | Self::TooLarge { path, .. }
            | Self::NotAFile { path }
            | Self::NotADirectory { path }
            | Self::Outside { path, .. }
            | Self::Full { path }
            | Self::Other { path, .. }
            | Self::Interrupted { path, .. } => path,
        }
    }

    pub(super) fn unless_not_found(self) -> Result<(), Self> {
        match self {
            Self::NotFound { .. } => Ok(()),
            other => Err(other),
        }
    }
}
