//! Reading a source tree through the platform: the walk, and single files. Nothing is ever written here.
//!
//! Links are not followed, so that a tree cannot make an agent read what lies outside of it.

use std::path::Path;

use synod_platform::files::{self, FilesError, Kind, WalkLimits};

use crate::tree::{self, Entry, Skipped, Tree};

/// Why a tree cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the tree cannot be read: {0}")]
pub struct ReadError(#[from] FilesError);

/// Lists a tree.
pub async fn walk(root: &str) -> Result<Tree, ReadError> {
    let walk = files::walk(Path::new(root), WalkLimits::default()).await?;
    let mut found = Tree { truncated: walk.truncated, ..Tree::default() };
    for entry in walk.entries {
        let Some(path) = entry.path.to_str() else {
            let path = entry.path.to_string_lossy().into_owned();
            found.skipped.push(Skipped { path, why: "its name is not UTF-8".into() });
            continue;
        };
        let kind = match entry.kind {
            Kind::File => tree::Kind::File,
            Kind::Directory => tree::Kind::Directory,
            Kind::Link(_) => tree::Kind::Link,
            Kind::Other => tree::Kind::Other,
        };
        found.entries.push(Entry { path: path.into(), kind, len: entry.len, mode: entry.mode });
    }
    for unreadable in walk.unreadable {
        let path = unreadable.path.to_string_lossy().into_owned();
        found.skipped.push(Skipped { path, why: unreadable.error.to_string() });
    }
    for path in walk.too_deep {
        found
            .skipped
            .push(Skipped { path: path.to_string_lossy().into_owned(), why: "it lies too deep".into() });
    }
    Ok(found)
}

/// Reads one file of the tree, of at most `limit` bytes.
pub async fn read(root: &str, path: &str, limit: u64) -> Result<Vec<u8>, ReadError> {
    Ok(files::read_below(Path::new(root), Path::new(path), limit).await?)
}

/// Whether anything stands at `path` in the tree, also if the walk passed it over as ignored.
pub async fn exists(root: &str, path: &str) -> bool {
    // What cannot be told counts as there: nothing is claimed about it.
    files::exists(&Path::new(root).join(path)).await.unwrap_or(true)
}
