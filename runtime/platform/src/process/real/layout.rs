//! The file tree that a jailed tool sees: an empty root into which the paths that it may use are mounted, and nothing else.
//!
//! What is not there cannot be opened, changed in its permissions, or talked to through a socket. The list is made before the fork, of ready
//! strings; the child works it off with system calls alone.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the child finds the old root, and builds the new one.
const OLD: &str = "/old";
const NEW: &str = "/new";

/// The system's own directories, readable for every tool. `/proc` and `/dev` are made anew.
pub(super) const SYSTEM: [&str; 11] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/nix", "/sys"];

/// Devices that harm nobody.
pub(super) const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// One step of the child.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make a directory; one that is there is well.
    Directory(CString),
    /// Make an empty file to mount on; one that is there is well.
    File(CString),
    /// Make a link with this text.
    Link { text: CString, at: CString },
    /// Show `from` at `at`, with what is mounted below it.
    Bind { from: CString, at: CString, show: Show },
}

/// As what something is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Show {
    /// To be read and executed.
    Readable,
    /// To be written too.
    Writable,
    /// A device, to be used.
    Device,
}

/// What the new root is made of. Paths are absolute; those that do not exist are left out.
pub(super) fn plan(readable: &[PathBuf], writable: &[PathBuf]) -> Vec<Step> {
    let mut plan = Plan { steps: Vec::new(), made: BTreeSet::new(), shown: Vec::new() };
    let mut paths: Vec<(PathBuf, bool)> = Vec::new();
    let given = readable.iter().map(|path| (path, false)).chain(writable.iter().map(|path| (path, true)));
    for (path, may_write) in given {
        // Under the name that was given, and under its real one, since programs resolve links.
        paths.extend(fs::canonicalize(path).ok().map(|real| (real, may_write)));
        paths.push((path.clone(), may_write));
    }
    // Outer ones first, so that an inner one lies over its outer one; a writable one over a readable one of the same path.
    paths.sort_by_key(|(path, may_write)| (path.components().count(), *may_write));
    for system in SYSTEM {
        plan.system(Path::new(system));
    }
    for device in DEVICES {
        plan.show(Path::new(device), Show::Device);
    }
    for (name, text) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        plan.link(&Path::new("/dev").join(name), Path::new(text));
    }
    for (path, may_write) in paths {
        plan.show(&path, if may_write { Show::Writable } else { Show::Readable });
    }
    plan.steps
}

struct Plan {
    steps: Vec<Step>,
    made: BTreeSet<PathBuf>,
    /// What is shown already, and as what.
    shown: Vec<(PathBuf, Show)>,
}

impl Plan {
    fn directory(&mut self, path: &Path) {
        let above: Vec<&Path> = path.ancestors().filter(|above| *above != Path::new("/")).collect();
        for above in above.into_iter().rev() {
            if self.made.insert(above.to_owned()) {
                self.steps.extend(inside(NEW, above).map(Step::Directory));
            }
        }
    }

    fn link(&mut self, at: &Path, text: &Path) {
        if let (Some(at), Ok(text)) = (inside(NEW, at), CString::new(text.as_os_str().as_bytes())) {
            self.steps.push(Step::Link { text, at });
        }
    }

    /// A directory of the system, or the link that stands in its place.
    fn system(&mut self, path: &Path) {
        match fs::read_link(path) {
            Ok(text) => {
                self.link(path, &text);
                // What lies under it by this name is shown by what it leads to.
                self.shown.push((path.to_owned(), Show::Readable));
            }
            Err(_) => self.show(path, Show::Readable),
        }
    }

    fn show(&mut self, path: &Path, show: Show) {
        let innermost = self
            .shown
            .iter()
            .filter(|(outer, _)| path.starts_with(outer))
            .max_by_key(|(outer, _)| outer.as_os_str().len());
        let covered = innermost.is_some_and(|(_, by)| *by == show);
        // Mounted from its real place: a link on the way would be resolved where nothing stands yet.
        let Ok(real) = fs::canonicalize(path) else { return };
        if covered {
            return;
        }
        if real.is_dir() {
            self.directory(path);
        } else {
            path.parent().into_iter().for_each(|above| self.directory(above));
            self.steps.extend(inside(NEW, path).map(Step::File));
        }
        if let (Some(from), Some(at)) = (inside(OLD, &real), inside(NEW, path)) {
            self.steps.push(Step::Bind { from, at, show });
            self.shown.push((path.to_owned(), show));
        }
    }
}

/// `/usr` as `/old/usr`.
fn inside(root: &str, path: &Path) -> Option<CString> {
    let mut whole = root.as_bytes().to_vec();
    whole.extend_from_slice(path.as_os_str().as_bytes());
    CString::new(whole).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inner_path_lies_over_its_outer_one_and_one_that_is_covered_is_not_shown_twice() {
        let place = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(place.path()).unwrap();
        for below in ["tree/out", "tree/src"] {
            fs::create_dir_all(root.join(below)).unwrap();
        }
        let readable = [root.join("tree"), root.join("tree/src"), root.join("missing")];
        let steps = plan(&readable, &[root.join("tree/out")]);
        let binds: Vec<_> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Bind { at, show, .. } => {
                    Some((Path::new(at.to_str().unwrap()).strip_prefix(NEW).unwrap().to_owned(), *show))
                }
                _ => None,
            })
            .filter(|(path, _)| Path::new("/").join(path).starts_with(&root))
            .map(|(path, show)| (Path::new("/").join(path), show))
            .collect();
        assert_eq!(binds, [(root.join("tree"), Show::Readable), (root.join("tree/out"), Show::Writable)]);
    }
}
