//! Where the node's Unix socket lies: a folder that belongs to its user alone.
//!
//! The service manager's folder, the session's, the system's, or one under /tmp with the user's number, whichever is first there or can be
//! made. A folder that others may write into is refused: whoever can replace the socket can pose as the node.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use synod_platform::process;

/// No folder for the socket.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// It cannot be made or looked at.
    #[error("{}: {why}; name another place with http.socket", path.display())]
    Unusable {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// Somebody else can put something into it.
    #[error("{}: not a folder that only its owner may write to; make it one (chmod 700), or name another place with http.socket", .0.display())]
    Shared(PathBuf),
}

/// The folders that may hold the socket, the best first.
fn candidates() -> Vec<PathBuf> {
    let absolute =
        |name: &str| process::variable(name).filter(|path| path.starts_with('/')).map(PathBuf::from);
    let session = absolute("XDG_RUNTIME_DIR").map(|folder| folder.join("synod"));
    let managed = absolute("RUNTIME_DIRECTORY");
    let own = PathBuf::from(format!("/tmp/synod-{}", rustix::process::geteuid().as_raw()));
    managed.into_iter().chain(session).chain([PathBuf::from("/run/synod"), own]).collect()
}

/// The socket of the node of that name, in a folder that is there, or made now.
pub fn to_serve(node: &str) -> Result<PathBuf, FolderError> {
    let mut first = None;
    for folder in candidates() {
        match prepare(&folder) {
            Ok(()) => return Ok(socket(&folder, node)),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or_else(|| FolderError::Shared("/tmp".into())))
}

/// The socket of the node of that name, if one lies in any of the folders.
pub fn to_ask(node: &str) -> Option<PathBuf> {
    candidates().into_iter().map(|folder| socket(&folder, node)).find(|path| path.symlink_metadata().is_ok())
}

fn socket(folder: &Path, node: &str) -> PathBuf {
    folder.join(format!("{node}.sock"))
}

/// Makes a folder if it is not there (the one above it must be), and refuses one that is not its user's alone.
pub fn prepare(folder: &Path) -> Result<(), FolderError> {
    let unusable = |why| FolderError::Unusable { path: folder.into(), why };
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(unusable(error)),
    }
    let found = folder.symlink_metadata().map_err(unusable)?;
    let ours = found.uid() == rustix::process::geteuid().as_raw();
    if found.is_dir() && ours && found.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(FolderError::Shared(folder.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let base = tempfile::tempdir().expect("a temporary folder");
        let folder = base.path().join("run");
        prepare(&folder).expect("it is made");
        assert_eq!(folder.symlink_metadata().expect("there").mode() & 0o777, 0o700);
        prepare(&folder).expect("it is there");
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).expect("our own");
        assert!(matches!(prepare(&folder), Err(FolderError::Shared(_))));
        symlink(base.path(), base.path().join("link")).expect("a link");
        assert!(matches!(prepare(&base.path().join("link")), Err(FolderError::Shared(_))));
        assert!(matches!(prepare(&base.path().join("a/b")), Err(FolderError::Unusable { .. })));
    }
}
