//! The tree of names twice: as the running system sees it, and as it would be found after a loss of power.
//!
//! A change of names is durable once the directory it happened in was synced. Until then it survives a loss of power or
//! not, each by itself, but never without the earlier changes it builds on. A rename is one change: both names or neither.

use std::collections::BTreeMap;

use super::faults::{Failure, PowerLoss};
use crate::Random;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(u64),
    Directory,
}

#[derive(Clone, Debug)]
enum Change {
    Link { path: String, node: Node },
    Unlink { path: String },
    Rename { from: String, to: String },
}

/// Names to nodes, absolute paths without a slash at the end; the root is the empty path.
type Tree = BTreeMap<String, Node>;

#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) seen: Tree,
    durable: Tree,
    unsynced: Vec<(u64, Change)>,
    next: u64,
}

/// Up to which change a sync covers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark(u64);

/// The path in the form in which names are kept: `/a/b`; relative ones begin at the root. `..` is refused.
pub(super) fn normal(path: &str) -> Result<String, Failure> {
    let mut out = String::with_capacity(path.len() + 1);
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." || part.contains('\0') {
            return Err(Failure::Invalid);
        }
        out.push('/');
        out.push_str(part);
    }
    Ok(out)
}

/// The directory that holds this name; the root holds itself.
pub(super) fn parent(path: &str) -> &str {
    path.rfind('/').map_or("", |slash| &path[..slash])
}

fn within(path: &str, directory: &str) -> bool {
    path == directory || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

impl Change {
    fn apply(&self, tree: &mut Tree) {
        match self {
            Self::Link { path, node } => {
                tree.insert(path.clone(), *node);
            }
            Self::Unlink { path } => {
                tree.remove(path);
            }
            Self::Rename { from, to } => {
                let moved: Vec<String> = tree.keys().filter(|path| within(path, from)).cloned().collect();
                for path in moved {
                    if let Some(node) = tree.remove(&path) {
                        tree.insert(format!("{to}{}", &path[from.len()..]), node);
                    }
                }
            }
        }
    }

    fn paths(&self) -> [&str; 2] {
        match self {
            Self::Link { path, .. } | Self::Unlink { path } => [path, path],
            Self::Rename { from, to } => [from, to],
        }
    }

    fn happens_in(&self, directory: &str) -> bool {
        self.paths().iter().any(|path| parent(path) == directory)
    }

    /// Whether this change makes no sense without `earlier`: it touches the same name, or one above or below it.
    fn builds_on(&self, earlier: &Self) -> bool {
        self.paths()
            .iter()
            .any(|mine| earlier.paths().iter().any(|theirs| within(mine, theirs) || within(theirs, mine)))
    }
}

impl Names {
    pub(super) fn new() -> Self {
        let root = Tree::from([(String::new(), Node::Directory)]);
        Self { seen: root.clone(), durable: root, unsynced: Vec::new(), next: 0 }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.unsynced.push((self.next, change));
        self.next += 1;
    }

    pub(super) fn link(&mut self, path: &str, node: Node) {
        self.change(Change::Link { path: path.to_owned(), node });
    }

    pub(super) fn unlink(&mut self, path: &str) {
        self.change(Change::Unlink { path: path.to_owned() });
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        self.change(Change::Rename { from: from.to_owned(), to: to.to_owned() });
    }

    pub(super) fn get(&self, path: &str) -> Option<Node> {
        self.seen.get(path).copied()
    }

    pub(super) fn durable_node(&self, path: &str) -> Option<Node> {
        self.durable.get(path).copied()
    }

    /// The names directly below a directory.
    pub(super) fn children<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = (&'a str, Node)> {
        self.seen.iter().filter_map(move |(path, node)| {
            let name = path.strip_prefix(directory)?.strip_prefix('/')?;
            (!name.contains('/')).then_some((name, *node))
        })
    }

    /// Every file that a name leads to, now or after a loss of power: all that must be kept.
    pub(super) fn files(&self) -> impl Iterator<Item = u64> + '_ {
        let linked = self.unsynced.iter().filter_map(|(_, change)| match change {
            Change::Link { node, .. } => Some(*node),
            _ => None,
        });
        self.seen.values().chain(self.durable.values()).copied().chain(linked).filter_map(|node| match node {
            Node::File(inode) => Some(inode),
            Node::Directory => None,
        })
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.next)
    }

    /// A sync of this directory succeeded.
    pub(super) fn synced(&mut self, directory: &str, mark: Mark) {
        let wanted: Vec<bool> = self
            .unsynced
            .iter()
            .map(|(number, change)| *number < mark.0 && change.happens_in(directory))
            .collect();
        self.settle(wanted);
    }

    /// Makes the wanted changes durable, with all they build on; the rest stays unsynced.
    fn settle(&mut self, mut wanted: Vec<bool>) {
        for later in (0..wanted.len()).rev() {
            if wanted[later] {
                let change = &self.unsynced[later].1;
                for (wanted, (_, earlier)) in wanted[..later].iter_mut().zip(&self.unsynced) {
                    *wanted |= change.builds_on(earlier);
                }
            }
        }
        let mut index = 0;
        let durable = &mut self.durable;
        self.unsynced.retain(|(_, change)| {
            let settled = wanted[index];
            index += 1;
            if settled {
                change.apply(durable);
            }
            !settled
        });
    }

    /// Power is lost.
    pub(super) fn power_lost(&mut self, how: PowerLoss, random: &mut impl Random) {
        let mut survives: Vec<bool> = Vec::with_capacity(self.unsynced.len());
        for (_, change) in &self.unsynced {
            // What it builds on must have survived; then it is a coin.
            let grounded = self
                .unsynced
                .iter()
                .zip(&survives)
                .all(|((_, earlier), survived)| *survived || !change.builds_on(earlier));
            survives.push(how == PowerLoss::Keeps || (grounded && random.chance(0.5)));
        }
        if survives.contains(&false) {
            synod_probe::reach!("disk.unsynced_name_lost");
        }
        self.settle(survives);
        self.unsynced.clear();
        self.seen.clone_from(&self.durable);
    }
}
