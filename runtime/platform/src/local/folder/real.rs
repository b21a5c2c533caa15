//! The folders of a real machine.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::FolderError;
use crate::process;

/// The folders that may hold the socket, the best first.
pub(super) fn candidates() -> Vec<PathBuf> {
    let absolute =
        |name: &str| process::variable(name).filter(|path| path.starts_with('/')).map(PathBuf::from);
    let session = absolute("XDG_RUNTIME_DIR").map(|folder| folder.join("synod"));
    let managed = absolute("RUNTIME_DIRECTORY");
    let own = PathBuf::from(format!("/tmp/synod-{}", rustix::process::geteuid().as_raw()));
    managed.into_iter().chain(session).chain([PathBuf::from("/run/synod"), own]).collect()
}

pub(super) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

pub(super) fn prepare(folder: &Path) -> Result<(), FolderError> {
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
    use super::super::{FolderError, prepare};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

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
