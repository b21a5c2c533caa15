//! Folders for the while: made below a parent, removed when done, and found again after a crash.
//!
//! A process that is killed cannot remove its scratch folders, so each is held by a lock that dies with its holder, and [`sweep_scratch`] removes
//! those that nobody holds. Removal copes with what foreign code leaves: directories without permissions, and nested beyond any path's length.

use std::path::{Path, PathBuf};

use super::{FilesError, arm, off_the_loop};

/// Short, with eight digits after it: the path of a socket below has 107 bytes in all.
const PREFIX: &str = ".synod-s-";

/// A folder that goes when this is dropped. Better is [`Scratch::remove`], which waits and tells.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    hold: Option<arm::Hold>,
}

impl Scratch {
    /// Where it is; absolute if its parent was.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it with all in it.
    pub async fn remove(mut self) -> Result<(), FilesError> {
        let hold = self.hold.take();
        let removed = off_the_loop(&self.path, arm::remove_tree).await;
        drop(hold);
        removed.or_else(FilesError::unless_not_found)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            arm::remove_later(self.path.clone(), hold);
        }
    }
}

/// Makes an empty scratch folder below `parent`, which is made if it is missing.
pub async fn scratch(parent: &Path) -> Result<Scratch, FilesError> {
    off_the_loop(parent, |parent| {
        arm::create_directories(parent)?;
        loop {
            let path = parent.join(format!("{PREFIX}{:08x}", crate::random::u64() >> 32));
            // None: a sweep took it between its making and its locking.
            if let Some(hold) = arm::make_held(&path)? {
                return Ok(Scratch { path, hold: Some(hold) });
            }
        }
    })
    .await
}

/// Removes the scratch folders below `parent` whose holders are gone; says how many. A parent that is not there has none.
pub async fn sweep_scratch(parent: &Path) -> Result<u64, FilesError> {
    off_the_loop(parent, |parent| {
        let names = match arm::list(parent) {
            Ok(names) => names,
            Err(FilesError::NotFound { .. }) => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut swept = 0;
        for name in names.into_keys() {
            let is_scratch = name.to_str().is_some_and(|name| name.starts_with(PREFIX));
            let path = parent.join(&name);
            if is_scratch && let Some(hold) = arm::take_over(&path)? {
                arm::remove_tree(&path).or_else(FilesError::unless_not_found)?;
                drop(hold);
                swept += 1;
            }
        }
        Ok(swept)
    })
    .await
}
