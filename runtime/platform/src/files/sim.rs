//! Simulated files: an in-memory tree for each node, which the engine fills and which outlives the node's crashes.
//!
//! Not modelled: space, latency, loss of what was written (every write here is whole and durable, as the real arm's is when it has
//! returned). Faults of storage are the simulated disk's work.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use super::{FilesError, Kind, Metadata};
use crate::simulation::{self, Incarnation, NodeId};

#[derive(Clone, Debug)]
enum Item {
    File { bytes: Vec<u8>, mode: u32 },
    Directory { mode: u32 },
    Link(PathBuf),
}

#[derive(Debug)]
struct Content {
    items: BTreeMap<PathBuf, Item>,
    refused: BTreeSet<PathBuf>,
}

impl Default for Content {
    fn default() -> Self {
        let root = (PathBuf::from("/"), Item::Directory { mode: 0o755 });
        Self { items: BTreeMap::from([root]), refused: BTreeSet::new() }
    }
}

/// The files of one node, as the engine sees them. Paths are absolute.
#[derive(Clone, Debug, Default)]
pub struct Tree(Rc<RefCell<Content>>);

#[derive(Default)]
struct Trees(RefCell<BTreeMap<NodeId, Tree>>);

/// The tree of a node; empty at first.
pub fn tree(node: NodeId) -> Tree {
    simulation::state::<Trees>().0.borrow_mut().entry(node).or_default().clone()
}

impl Tree {
    /// Puts a file of mode 0644, and the directories above it.
    pub fn put(&self, path: impl AsRef<Path>, bytes: impl Into<Vec<u8>>) {
        self.put_with_mode(path, bytes, 0o644);
    }

    /// Puts a file with these permission bits, and the directories above it.
    pub fn put_with_mode(&self, path: impl AsRef<Path>, bytes: impl Into<Vec<u8>>, mode: u32) {
        self.insert(path.as_ref(), Item::File { bytes: bytes.into(), mode });
    }

    /// Puts a directory, and those above it.
    pub fn directory(&self, path: impl AsRef<Path>) {
        self.insert(path.as_ref(), Item::Directory { mode: 0o755 });
    }

    /// Puts a symbolic link, and the directories above it.
    pub fn link(&self, path: impl AsRef<Path>, target: impl Into<PathBuf>) {
        self.insert(path.as_ref(), Item::Link(target.into()));
    }

    /// Lets every access to this path fail with "permission denied" from now on.
    pub fn refuse(&self, path: impl AsRef<Path>) {
        self.0.borrow_mut().refused.insert(absolute(path.as_ref()));
    }

    /// A file's bytes; `None` when there is no file.
    pub fn get(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        match self.0.borrow().items.get(&absolute(path.as_ref())) {
            Some(Item::File { bytes, .. }) => Some(bytes.clone()),
            _ => None,
        }
    }

    /// Every path in the tree but the root, in order.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.0.borrow().items.keys().skip(1).cloned().collect()
    }

    /// Removes everything: a wiped machine.
    pub fn wipe(&self) {
        *self.0.borrow_mut() = Content::default();
    }

    fn insert(&self, path: &Path, item: Item) {
        let path = absolute(path);
        let mut content = self.0.borrow_mut();
        for above in path.ancestors().skip(1) {
            content.items.entry(above.to_owned()).or_insert(Item::Directory { mode: 0o755 });
        }
        content.items.insert(path, item);
    }
}

/// The simulated working directory is the root.
fn absolute(path: &Path) -> PathBuf {
    let mut whole = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => whole.push(name),
            Component::ParentDir => {
                whole.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    whole
}

impl Content {
    fn item(&self, path: &Path) -> Result<&Item, FilesError> {
        let path = absolute(path);
        let blocked = path.ancestors().any(|above| self.refused.contains(above));
        if blocked {
            return Err(FilesError::Denied { path });
        }
        self.items.get(&path).ok_or(FilesError::NotFound { path })
    }

    /// Follows links in every component; a chain of more than 40 is a loop, as Linux has it.
    fn resolve(&self, path: &Path) -> Result<PathBuf, FilesError> {
        // What is still to be walked, the next component last.
        let mut left: Vec<OsString> = absolute(path).iter().skip(1).map(OsString::from).collect();
        left.reverse();
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = left.pop() {
            let next = absolute(&at.join(name));
            let Item::Link(target) = self.item(&next)? else {
                at = next;
                continue;
            };
            links += 1;
            if links > 40 {
                let reason = "too many levels of symbolic links".to_owned();
                return Err(FilesError::Other { path: path.to_owned(), reason });
            }
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            left.extend(target.iter().filter(|part| *part != "/").map(OsString::from).rev());
        }
        Ok(at)
    }

    fn bytes(&self, path: &Path, resolved: &Path, limit: u64) -> Result<Vec<u8>, FilesError> {
        let Item::File { bytes, .. } = self.item(resolved)? else {
            return Err(FilesError::NotAFile { path: path.to_owned() });
        };
        if bytes.len() as u64 > limit {
            return Err(FilesError::TooLarge { path: path.to_owned(), limit });
        }
        Ok(bytes.clone())
    }

    fn directory(&self, path: &Path) -> Result<PathBuf, FilesError> {
        let path = self.resolve(path)?;
        match self.item(&path)? {
            Item::Directory { .. } => Ok(path),
            Item::File { .. } | Item::Link(_) => Err(FilesError::NotADirectory { path }),
        }
    }
}

fn known(item: &Item) -> Metadata {
    match item {
        Item::File { bytes, mode } => Metadata { kind: Kind::File, len: bytes.len() as u64, mode: *mode },
        Item::Directory { mode } => Metadata { kind: Kind::Directory, len: 0, mode: *mode },
        Item::Link(target) => Metadata { kind: Kind::Link(target.clone()), len: 0, mode: 0o777 },
    }
}

fn look<T>(look: impl FnOnce(&Content) -> Result<T, FilesError>) -> Result<T, FilesError> {
    look(&tree(simulation::current_node()).0.borrow())
}

/// What a life that is over still wants to change stays as it was.
fn change(
    path: &Path,
    change: impl FnOnce(&mut Content) -> Result<(), FilesError>,
) -> Result<(), FilesError> {
    let life = simulation::current();
    if !simulation::is_alive(life) {
        return Err(FilesError::Interrupted {
            path: path.to_owned(),
            reason: "this life is over".to_owned(),
        });
    }
    change(&mut tree(life.node).0.borrow_mut())
}

/// The path itself with links resolved above it, for what works on a name and not on what it leads to.
fn named(content: &Content, path: &Path) -> Result<PathBuf, FilesError> {
    let path = absolute(path);
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(content.resolve(parent)?.join(name)),
        _ => Ok(path),
    }
}

pub(super) fn metadata(path: &Path) -> Result<Metadata, FilesError> {
    look(|content| Ok(known(content.item(&named(content, path)?)?)))
}

pub(super) fn canonical(path: &Path) -> Result<PathBuf, FilesError> {
    look(|content| content.resolve(path))
}

pub(super) fn list(path: &Path) -> Result<BTreeMap<OsString, Metadata>, FilesError> {
    look(|content| {
        let path = content.directory(path)?;
        // Paths are ordered by component, so what lies below a directory follows it in one piece.
        let below = content.items.range(path.clone()..).take_while(|(name, _)| name.starts_with(&path));
        let below = below.filter(|(name, _)| name.parent() == Some(&path));
        Ok(below.filter_map(|(name, item)| Some((name.file_name()?.to_owned(), known(item)))).collect())
    })
}

pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FilesError> {
    look(|content| content.bytes(path, &content.resolve(path)?, limit))
}

pub(super) fn read_below(root: &Path, relative: &Path, limit: u64) -> Result<Vec<u8>, FilesError> {
    look(|content| {
        let root_itself = content.resolve(root)?;
        let mut at = root_itself;
        for part in relative.components() {
            at.push(part);
            if matches!(content.item(&at)?, Item::Link(_)) {
                return Err(FilesError::Outside { root: root.to_owned(), path: relative.to_owned() });
            }
        }
        content.bytes(&root.join(relative), &at, limit)
    })
}

pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FilesError> {
    change(path, |content| {
        let path = named(content, path)?;
        let Some(parent) = path.parent() else { return Err(FilesError::NotAFile { path }) };
        content.directory(parent)?;
        if matches!(content.item(&path), Ok(Item::Directory { .. })) {
            return Err(FilesError::NotAFile { path });
        }
        content.items.insert(path, Item::File { bytes: bytes.to_vec(), mode });
        Ok(())
    })
}

pub(super) fn create_directories(path: &Path) -> Result<(), FilesError> {
    change(path, |content| {
        let mut at = PathBuf::from("/");
        for part in absolute(path).iter().skip(1) {
            let next = at.join(part);
            at = match content.item(&next) {
                Ok(_) => content.directory(&next)?,
                Err(FilesError::NotFound { .. }) => {
                    content.items.insert(next.clone(), Item::Directory { mode: 0o755 });
                    next
                }
                Err(error) => return Err(error),
            };
        }
        Ok(())
    })
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<(), FilesError> {
    change(path, |content| {
        let path = content.resolve(path)?;
        content.item(&path)?;
        if let Some(Item::File { mode: present, .. } | Item::Directory { mode: present }) =
            content.items.get_mut(&path)
        {
            *present = mode & 0o7777;
        }
        Ok(())
    })
}

pub(super) fn remove_file(path: &Path) -> Result<(), FilesError> {
    change(path, |content| {
        let path = named(content, path)?;
        if matches!(content.item(&path)?, Item::Directory { .. }) {
            return Err(FilesError::NotAFile { path });
        }
        content.items.remove(&path);
        Ok(())
    })
}

pub(super) fn remove_tree(path: &Path) -> Result<(), FilesError> {
    change(path, |content| {
        let path = named(content, path)?;
        if !matches!(content.item(&path)?, Item::Directory { .. }) {
            return Err(FilesError::NotADirectory { path });
        }
        content.items.retain(|below, _| !below.starts_with(&path) || below == Path::new("/"));
        Ok(())
    })
}

/// Copies a regular file of at most `limit` bytes to the new file `to`; gives its length.
pub(super) fn copy_file(root: &Path, relative: &Path, to: &Path, limit: u64) -> Result<u64, FilesError> {
    let bytes = read_below(root, relative, limit)?;
    let mode = metadata(&root.join(relative))?.mode & 0o777 | 0o600;
    write(to, &bytes, 0o644)?;
    set_mode(to, mode)?;
    Ok(bytes.len() as u64)
}

/// Makes the link `path` with this text.
pub(super) fn make_link(path: &Path, target: &Path) -> Result<(), FilesError> {
    change(path, |content| {
        let path = named(content, path)?;
        content.items.insert(path, Item::Link(target.to_owned()));
        Ok(())
    })
}

#[derive(Default)]
struct Holders(RefCell<BTreeMap<(NodeId, PathBuf), Incarnation>>);

/// A lock on a directory, which goes with the life that has it.
#[derive(Debug)]
pub(super) struct Hold {
    _path: PathBuf,
}

/// Makes the directory `path` and locks it.
pub(super) fn make_held(path: &Path) -> Result<Option<Hold>, FilesError> {
    create_directories(path)?;
    take_over(path)
}

/// Locks the directory `path`; `None` when a life that is not over holds it or it is gone.
pub(super) fn take_over(path: &Path) -> Result<Option<Hold>, FilesError> {
    let life = simulation::current();
    if matches!(metadata(path), Err(FilesError::NotFound { .. })) {
        return Ok(None);
    }
    let holders = simulation::state::<Holders>();
    let mut holders = holders.0.borrow_mut();
    let key = (life.node, absolute(path));
    if holders.get(&key).is_some_and(|holder| simulation::is_alive(*holder)) {
        return Ok(None);
    }
    holders.insert(key, life);
    Ok(Some(Hold { _path: path.to_owned() }))
}

/// Removes a tree that nobody waits for; a life that is over leaves it.
pub(super) fn remove_later(path: PathBuf, hold: Hold) {
    let _ = remove_tree(&path);
    drop(hold);
}
