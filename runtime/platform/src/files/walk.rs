//! The walk over a tree: bounded, aware of `.gitignore`, deaf to links. The same code over real and simulated trees.
//!
//! Ignored is what git would ignore by the `.gitignore` files from the root downward and `.git/info/exclude`; those above the root, and a user's
//! global excludes, are not read, so that a walk is a function of its tree. Directories called `.git` are never entered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::{FilesError, Kind, Metadata, arm};

/// The most that a `.gitignore` is read, bytes.
const IGNORE_FILE_MAX: u64 = 1 << 20;

/// How far a walk goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkLimits {
    /// The most entries to return.
    pub entries: usize,
    /// How many directories deep; the root's own entries have depth 1.
    pub depth: usize,
    /// Whether `.gitignore` and `.git/info/exclude` are honoured.
    pub honour_ignores: bool,
}

impl Default for WalkLimits {
    /// 200,000 entries, 64 directories deep, ignores honoured.
    fn default() -> Self {
        Self { entries: 200_000, depth: 64, honour_ignores: true }
    }
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its path relative to the root.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Bytes of a regular file; 0 for others.
    pub len: u64,
    /// Permission bits: `0o7777` at most.
    pub mode: u32,
}

/// Something that could not be read, and so is missing from the walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its path relative to the root.
    pub path: PathBuf,
    /// Why.
    pub error: FilesError,
}

/// What a walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    /// Files, directories, links and others, in order of path.
    pub entries: Vec<Entry>,
    /// What could not be read, in order of path; its metadata may still stand among the entries.
    pub unreadable: Vec<Unreadable>,
    /// How many entries were left out because they are ignored (an ignored directory counts once).
    pub ignored: u64,
    /// Directories that were not entered because they lie too deep.
    pub too_deep: Vec<PathBuf>,
    /// Whether the bound on entries ended the walk early: then there is more than this.
    pub truncated: bool,
}

pub(super) fn walk(root: &Path, limits: &WalkLimits) -> Result<Walk, FilesError> {
    if arm::metadata(&arm::canonical(root)?)?.kind != Kind::Directory {
        return Err(FilesError::NotADirectory { path: root.to_owned() });
    }
    let mut walker = Walker { root, limits, ignores: Vec::new(), found: Walk::default() };
    // The root itself must be readable; below it, what is not is reported.
    let names = arm::list(root)?;
    if limits.honour_ignores {
        walker.exclude_file();
    }
    walker.directory(Path::new(""), names, 1);
    let mut found = walker.found;
    found.entries.sort_by(|a, b| a.path.cmp(&b.path));
    found.unreadable.sort_by(|a, b| a.path.cmp(&b.path));
    found.too_deep.sort();
    Ok(found)
}

struct Walker<'a> {
    root: &'a Path,
    limits: &'a WalkLimits,
    /// Matchers of the directories from the root to here; a later one decides first.
    ignores: Vec<Gitignore>,
    found: Walk,
}

type Names = BTreeMap<std::ffi::OsString, Metadata>;

impl Walker<'_> {
    fn directory(&mut self, relative: &Path, names: Names, depth: usize) {
        let before = self.ignores.len();
        if self.limits.honour_ignores && names.get(std::ffi::OsStr::new(".gitignore")).is_some_and(is_file) {
            self.ignore_file(relative, Path::new(".gitignore"));
        }
        for (name, metadata) in names {
            if self.found.truncated {
                break;
            }
            let path = relative.join(&name);
            let is_directory = metadata.kind == Kind::Directory;
            if is_directory && name == ".git" {
                continue;
            }
            if self.is_ignored(&path, is_directory) {
                self.found.ignored += 1;
                continue;
            }
            if self.found.entries.len() == self.limits.entries {
                self.found.truncated = true;
                break;
            }
            let Metadata { kind, len, mode } = metadata;
            self.found.entries.push(Entry { path: path.clone(), kind, len, mode });
            if !is_directory {
                continue;
            }
            if depth == self.limits.depth {
                self.found.too_deep.push(path);
                continue;
            }
            match arm::list(&self.root.join(&path)) {
                Ok(below) => self.directory(&path, below, depth + 1),
                Err(error) => self.found.unreadable.push(Unreadable { path, error }),
            }
        }
        self.ignores.truncate(before);
    }

    fn is_ignored(&self, path: &Path, is_directory: bool) -> bool {
        for ignore in self.ignores.iter().rev() {
            match ignore.matched(path, is_directory) {
                Match::None => {}
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
            }
        }
        false
    }

    fn exclude_file(&mut self) {
        let path = Path::new(".git/info/exclude");
        if arm::metadata(&self.root.join(path)).is_ok_and(|metadata| is_file(&metadata)) {
            self.ignore_file(Path::new(""), path);
        }
    }

    /// Adds the patterns of the file `name` in `directory`. Lines that are no pattern are passed over, as git does.
    fn ignore_file(&mut self, directory: &Path, name: &Path) {
        let path = directory.join(name);
        let text = match arm::read_below(self.root, &path, IGNORE_FILE_MAX) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => {
                self.found.unreadable.push(Unreadable { path, error });
                return;
            }
        };
        let mut builder = GitignoreBuilder::new(directory);
        for line in text.lines() {
            // What is wrong with one line says nothing about the others.
            let _ = builder.add_line(None, line);
        }
        if let Ok(ignore) = builder.build() {
            self.ignores.push(ignore);
        }
    }
}

fn is_file(metadata: &Metadata) -> bool {
    metadata.kind == Kind::File
}
