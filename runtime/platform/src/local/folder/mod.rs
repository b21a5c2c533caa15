//! Where a node's sockets lie: a folder that belongs to its user alone.
//!
//! The service manager's folder, the session's, the system's, or one under /tmp with the user's number, whichever is first there or can be
//! made. A folder that others may write into is refused: whoever can replace the socket can pose as the node. In simulation there is one.

#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod sim;

use std::io;
use std::path::{Path, PathBuf};

#[cfg(not(madsim))]
use real as arm;
#[cfg(madsim)]
use sim as arm;

/// No folder for the socket.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be made or looked at.
    #[error("{}: {why}; name another place for the socket", path.display())]
    Unusable {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// Somebody else can put something into it.
    #[error("{}: not a folder that only its owner may write to; make it one (chmod 700), or name another place for the socket", .0.display())]
    Shared(PathBuf),
}

/// What a node listens for at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// HTTP and commands.
    Commands,
    /// Processes that attach.
    Attach,
}

impl Purpose {
    fn socket(self, folder: &Path, node: &str) -> PathBuf {
        match self {
            Self::Commands => folder.join(format!("{node}.sock")),
            Self::Attach => folder.join(format!("{node}.attach")),
        }
    }
}

/// The socket of the node of that name, in a folder that is there, or made now.
pub fn to_serve(node: &str, purpose: Purpose) -> Result<PathBuf, FolderError> {
    let mut first = None;
    for folder in arm::candidates() {
        match prepare(&folder) {
            Ok(()) => return Ok(purpose.socket(&folder, node)),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or_else(|| FolderError::Shared("/tmp".into())))
}

/// The socket of the node of that name, if one lies in any of the folders.
pub fn to_ask(node: &str, purpose: Purpose) -> Option<PathBuf> {
    arm::candidates().into_iter().map(|folder| purpose.socket(&folder, node)).find(|path| arm::is_there(path))
}

/// Makes a folder if it is not there (the one above it must be), and refuses one that is not its user's alone.
pub fn prepare(folder: &Path) -> Result<(), FolderError> {
    arm::prepare(folder)
}
