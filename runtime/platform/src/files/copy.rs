//! Copying a tree, so that what runs in the copy cannot harm the tree. The same code over real and simulated trees.
//!
//! Whole or refused: a copy that would pass its bounds is an error, since tests of half a tree say nothing. What can not or should not be copied
//! (sockets, pipes, devices, files that may not be read, links that lead out of the tree) is left out and named.

use std::path::{Component, Path, PathBuf};

use super::walk::{WalkLimits, walk};
use super::{FilesError, Kind, arm};

/// How much is copied at most, and of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyLimits {
    /// Which part of the tree: with `honour_ignores` what git would not ignore. Directories called `.git` are never copied.
    pub walk: WalkLimits,
    /// The most bytes of all files together.
    pub bytes: u64,
}

impl Default for CopyLimits {
    /// The default walk, and 1 GiB.
    fn default() -> Self {
        Self { walk: WalkLimits::default(), bytes: 1 << 30 }
    }
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// How many regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is missing from the copy, by its path relative to the tree, and why.
    pub left_out: Vec<(PathBuf, String)>,
}

pub(super) fn copy_tree(from: &Path, to: &Path, limits: &CopyLimits) -> Result<Copied, FilesError> {
    let found = walk(from, &limits.walk)?;
    if found.truncated {
        let reason =
            format!("the tree has more than the {} entries that are copied at most", limits.walk.entries);
        return Err(FilesError::Other { path: from.to_owned(), reason });
    }
    let too_large = || FilesError::TooLarge { path: from.to_owned(), limit: limits.bytes };
    if found.entries.iter().map(|entry| entry.len).fold(0, u64::saturating_add) > limits.bytes {
        return Err(too_large());
    }
    let mut copied = Copied::default();
    let mut leave_out = |path: PathBuf, why: String| copied.left_out.push((path, why));
    for unreadable in found.unreadable {
        leave_out(unreadable.path, unreadable.error.to_string());
    }
    for path in found.too_deep {
        leave_out(path, format!("more than {} directories deep", limits.walk.depth));
    }
    arm::create_directories(to)?;
    for entry in found.entries {
        let target = to.join(&entry.path);
        match entry.kind {
            Kind::Directory => arm::create_directories(&target)?,
            Kind::File => {
                let left = limits.bytes - copied.bytes;
                match arm::copy_file(from, &entry.path, &target, left) {
                    Ok(bytes) => {
                        copied.files += 1;
                        copied.bytes += bytes;
                    }
                    Err(FilesError::TooLarge { .. }) => return Err(too_large()),
                    // The space is the copy's, the rest the tree's: it may have changed, or may not be read.
                    Err(full @ FilesError::Full { .. }) => return Err(full),
                    Err(error) => copied.left_out.push((entry.path, error.to_string())),
                }
            }
            Kind::Link(leads_to) => {
                if stays_inside(&entry.path, &leads_to) {
                    arm::make_link(&target, &leads_to)?;
                } else {
                    let why = format!("a link out of the tree, to {}", leads_to.display());
                    copied.left_out.push((entry.path, why));
                }
            }
            Kind::Other => copied.left_out.push((entry.path, "a socket, pipe or device".to_owned())),
        }
    }
    copied.left_out.sort();
    Ok(copied)
}

/// Whether a link at `at` (relative to the tree) leads to something in the tree, by its text. Links on the way may still lead elsewhere, but only
/// to where other links of the tree lead, which stay inside too.
fn stays_inside(at: &Path, target: &Path) -> bool {
    let mut depth = at.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::Prefix(_) | Component::RootDir => return false,
            Component::CurDir => {}
            Component::Normal(_) => depth += 1,
            Component::ParentDir => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return false,
            },
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_stays_inside_while_its_text_climbs_no_further_than_the_root() {
        for (at, target, inside) in [
            ("a", "b", true),
            ("a", "../b", false),
            ("d/a", "../b", true),
            ("d/a", "../../b", false),
            ("d/a", "x/../../b", true),
            ("d/a", "/d/b", false),
            ("d/e/a", "./../../b", true),
        ] {
            assert_eq!(stays_inside(Path::new(at), Path::new(target)), inside, "{at} -> {target}");
        }
    }
}
