//! Leases on trees: one writer at a time, and an old one that wakes up late writes nothing.
//!
//! [`Book`] is the pure core: who holds a tree, until when, under which fencing token. Tokens only grow. [`Leases`] keeps one book
//! for each tree in a folder that all runs of a machine share, changes it under a lock, and is the tree's guard: a write is let
//! through by its token alone, whoever brings it, and only the newest one passes. Who writes past the guard is not stopped: a lease
//! is an agreement, not a wall.

use std::cmp::Ordering;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use synod_platform::disk::{self, DiskError, Failure, File, OpenOptions};
use synod_platform::files::{self, FilesError, Kind};
use synod_platform::time;
use synod_probe::{event, plant, reach};

use crate::folder::sha256;

/// The folder of the books, beside the run folders.
pub const FOLDER: &str = "leases";
/// How long a lease lasts unless it is renewed.
pub const TERM: Duration = Duration::from_secs(10);
/// How long a locked book is waited for; it is held for a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is tried meanwhile.
const AGAIN: Duration = Duration::from_millis(5);
/// The longest book, in bytes.
const BOOK_MAX: u64 = 64 << 10;

/// Why a lease is not given, or no longer good.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else holds it.
    #[error("{tree} is being written by {holder}; its lease ends in {} ms unless it is renewed", left.as_millis())]
    Held {
        /// Which tree.
        tree: String,
        /// Who holds the lease.
        holder: String,
        /// For how long at least.
        left: Duration,
    },
    /// A newer lease was given meanwhile: whoever has the older one must stop.
    #[error("lease {token} on {tree} is over, lease {newest} was given since: stop writing")]
    Stale {
        /// Which tree.
        tree: String,
        /// The old token.
        token: u64,
        /// The newest token.
        newest: u64,
    },
    /// It was given back: its time for writing is over.
    #[error("lease {token} on {tree} was given back: stop writing")]
    GivenBack {
        /// Which tree.
        tree: String,
        /// Its token.
        token: u64,
    },
    /// Nobody was ever given this token.
    #[error(
        "lease {token} on {tree} was never given, {newest} is the newest: write with the token of the task"
    )]
    Unknown {
        /// Which tree.
        tree: String,
        /// The token that nobody has.
        token: u64,
        /// The newest token.
        newest: u64,
    },
    /// The book cannot be read or written.
    #[error("the book of leases: {0}")]
    Files(#[from] FilesError),
    /// The lock of the book.
    #[error("the book of leases: {0}")]
    Disk(#[from] DiskError),
    /// The book is damaged.
    #[error("{}: no book of leases: {why}; if nobody writes the tree, remove it", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: serde_json::Error,
    },
}

/// Who may write one tree. Times are wall times in milliseconds, since a book outlives processes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Book {
    /// The tree, for people who look into the book.
    pub tree: String,
    /// The newest token that was given; 0 if none was.
    pub token: u64,
    /// Who has it; nobody after it was given back.
    pub holder: Option<String>,
    /// When it ends unless it is renewed, in milliseconds of wall time.
    pub until_ms: u64,
}

impl Book {
    /// Gives the lease to `holder` for `term`, and its token. Who holds it already gets a newer one: of two lives under one
    /// name the later one counts.
    pub fn acquire(&mut self, holder: &str, now_ms: u64, term: Duration) -> Result<u64, LeaseError> {
        if let Some(other) = self.holder.as_deref().filter(|other| *other != holder && now_ms < self.until_ms)
        {
            return Err(LeaseError::Held {
                tree: self.tree.clone(),
                holder: other.into(),
                left: Duration::from_millis(self.until_ms - now_ms),
            });
        }
        self.token += 1;
        self.holder = Some(holder.into());
        self.until_ms = now_ms + millis(term);
        Ok(self.token)
    }

    /// Lengthens the lease. One that ran out is good again if nobody took it meanwhile.
    pub fn renew(&mut self, token: u64, now_ms: u64, term: Duration) -> Result<(), LeaseError> {
        self.admit(token)?;
        self.until_ms = now_ms + millis(term);
        Ok(())
    }

    /// Gives the lease back. One that is over already needs it not.
    pub fn release(&mut self, token: u64) {
        if self.token == token {
            self.holder = None;
            self.until_ms = 0;
        }
    }

    /// Whether a write under this token may pass.
    pub fn admit(&self, token: u64) -> Result<(), LeaseError> {
        let (tree, newest) = (self.tree.clone(), self.token);
        match token.cmp(&newest) {
            _ if plant!("workflow.stale-lease") => Ok(()),
            Ordering::Less => {
                reach!("workflow.stale-lease-refused");
                Err(LeaseError::Stale { tree, token, newest })
            }
            Ordering::Equal if self.holder.is_some() => Ok(()),
            Ordering::Equal => Err(LeaseError::GivenBack { tree, token }),
            Ordering::Greater => Err(LeaseError::Unknown { tree, token, newest }),
        }
    }
}

fn millis(term: Duration) -> u64 {
    u64::try_from(term.as_millis()).unwrap_or(u64::MAX)
}

/// The books of a folder.
#[derive(Debug, Clone)]
pub struct Leases {
    folder: PathBuf,
}

/// A lease on a tree. It is not given back by being dropped: it runs out.
#[derive(Debug, Clone)]
pub struct Lease {
    leases: Leases,
    tree: String,
    token: u64,
}

impl Leases {
    /// The books that runs in `runs` share.
    pub fn beside(runs: &Path) -> Self {
        Leases { folder: runs.join(FOLDER) }
    }

    /// Takes the lease on a tree.
    pub async fn acquire(&self, tree: &str, holder: &str, term: Duration) -> Result<Lease, LeaseError> {
        let token = self.change(tree, |book, now| book.acquire(holder, now, term)).await?;
        event!("lease.acquired", tree = tree, holder = holder, token = token);
        Ok(Lease { leases: self.clone(), tree: tree.into(), token })
    }

    /// Writes files of a tree, named relative to it, if `token` is the newest that was given for it; else none of them.
    pub async fn write(
        &self,
        tree: &str,
        token: u64,
        writes: impl IntoIterator<Item = (PathBuf, Vec<u8>)>,
    ) -> Result<(), LeaseError> {
        let mut placed = Vec::new();
        for (relative, bytes) in writes {
            placed.push((inside(Path::new(tree), &relative).await?, bytes));
        }
        // Under the lock of the book, so that no newer lease is given between the look and the writes.
        let lock = self.lock(tree).await?;
        self.read(tree).await?.admit(token)?;
        for (path, bytes) in placed {
            let mode = match files::metadata(&path).await {
                Ok(old) if old.kind == Kind::File => Some(old.mode),
                Ok(_) | Err(FilesError::NotFound { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            if let Some(parent) = path.parent() {
                files::create_directories(parent).await?;
            }
            files::write(&path, bytes).await?;
            if let Some(mode) = mode {
                files::set_mode(&path, mode).await?;
            }
        }
        event!("lease.wrote", tree = tree, token = token);
        lock.close().await?;
        Ok(())
    }

    /// The book of a tree as it stands.
    async fn read(&self, tree: &str) -> Result<Book, LeaseError> {
        let path = self.path(tree, "json");
        match files::read(&path, BOOK_MAX).await {
            Ok(text) => serde_json::from_slice(&text).map_err(|why| LeaseError::Damaged { path, why }),
            Err(FilesError::NotFound { .. }) => Ok(Book { tree: tree.into(), ..Book::default() }),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes the book of a tree, alone.
    async fn change<T>(
        &self,
        tree: &str,
        change: impl FnOnce(&mut Book, u64) -> Result<T, LeaseError>,
    ) -> Result<T, LeaseError> {
        let lock = self.lock(tree).await?;
        let path = self.path(tree, "json");
        let mut book = self.read(tree).await?;
        let before = book.clone();
        let changed = change(&mut book, time::wall().as_nanos() / 1_000_000)?;
        if book != before {
            let text =
                serde_json::to_vec(&book).map_err(|why| LeaseError::Damaged { path: path.clone(), why })?;
            files::write(&path, text).await?;
        }
        lock.close().await?;
        Ok(changed)
    }

    async fn lock(&self, tree: &str) -> Result<File, LeaseError> {
        files::create_directories(&self.folder).await?;
        disk::create_directories(&self.folder).await?;
        let file = File::open(self.path(tree, "lock"), OpenOptions::CREATE).await?;
        let until = time::now() + PATIENCE;
        loop {
            match file.lock().await {
                Ok(()) => return Ok(file),
                Err(error) if error.failure != Failure::Locked || time::now() >= until => {
                    return Err(error.into());
                }
                Err(_) => time::sleep(AGAIN).await,
            }
        }
    }

    fn path(&self, tree: &str, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", &sha256(tree.as_bytes())[..16]))
    }
}

impl Lease {
    /// The fencing token.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// The tree.
    pub fn tree(&self) -> &str {
        &self.tree
    }

    /// Lengthens it.
    pub async fn renew(&self, term: Duration) -> Result<(), LeaseError> {
        self.leases.change(&self.tree, |book, now| book.renew(self.token, now, term)).await
    }

    /// Gives it back.
    pub async fn release(self) -> Result<(), LeaseError> {
        event!("lease.released", tree = self.tree.as_str(), token = self.token);
        self.leases
            .change(&self.tree, |book, _| {
                book.release(self.token);
                Ok(())
            })
            .await
    }
}

/// Where a file of the tree lies. A path that leads out of the tree, by its words or through a link, is refused.
async fn inside(tree: &Path, relative: &Path) -> Result<PathBuf, LeaseError> {
    let outside = || FilesError::Outside { root: tree.into(), path: relative.into() };
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || relative.file_name().is_none() {
        return Err(outside().into());
    }
    let (path, root) = (tree.join(relative), files::canonical(tree).await?);
    for above in path.ancestors().skip(1) {
        match files::canonical(above).await {
            Ok(real) if real.starts_with(&root) => return Ok(path),
            Err(FilesError::NotFound { .. }) if !files::exists(above).await? => {}
            Ok(_) | Err(FilesError::NotFound { .. }) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Err(outside().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TERM: Duration = Duration::from_millis(100);

    fn book() -> Book {
        Book { tree: "/t".into(), ..Book::default() }
    }

    #[test]
    fn a_lease_is_one_holder_s_until_it_runs_out_or_is_given_back() {
        let mut book = book();
        let first = book.acquire("a", 0, TERM).expect("free");
        let error = book.acquire("b", 60, TERM).expect_err("held").to_string();
        assert_eq!(error, "/t is being written by a; its lease ends in 40 ms unless it is renewed");
        book.renew(first, 60, TERM).expect("still the newest");
        assert!(book.acquire("b", 159, TERM).is_err());
        let second = book.acquire("b", 160, TERM).expect("it ran out");
        assert!(second > first);
        book.release(first);
        assert!(book.acquire("c", 161, TERM).is_err(), "an old holder gives nothing back");
        book.release(second);
        book.acquire("c", 161, TERM).expect("given back");
    }

    #[test]
    fn a_second_life_under_one_name_fences_the_first_one_out() {
        let mut book = book();
        let first = book.acquire("a", 0, TERM).expect("free");
        let second = book.acquire("a", 1, TERM).expect("its own");
        assert!(matches!(book.admit(first), Err(LeaseError::Stale { newest, .. }) if newest == second));
        assert!(book.renew(first, 2, TERM).is_err());
        book.admit(second).expect("the newest");
        assert!(matches!(book.admit(second + 1), Err(LeaseError::Unknown { .. })), "nobody was given it");
        book.release(second);
        assert!(matches!(book.admit(second), Err(LeaseError::GivenBack { .. })), "it gave it back");
    }

    proptest! {
        #[test]
        fn at_any_time_one_token_passes_and_it_is_the_newest(moves in prop::collection::vec((0u8..3, 0u8..4, 0u64..80), 0..60)) {
            let (mut book, mut now) = (book(), 0);
            let mut given: Vec<(u8, u64)> = Vec::new();
            for (holder, what, passes) in moves {
                now += passes;
                let mine = given.iter().rev().find(|(of, _)| *of == holder).map(|(_, token)| *token);
                match (what, mine) {
                    (0 | 1, _) => {
                        let free = book.holder.is_none() || now >= book.until_ms || book.holder.as_deref() == Some(&holder.to_string());
                        let got = book.acquire(&holder.to_string(), now, TERM);
                        prop_assert_eq!(got.is_ok(), free);
                        if let Ok(token) = got {
                            prop_assert!(given.iter().all(|(_, older)| *older < token));
                            given.push((holder, token));
                        }
                    }
                    (2, Some(token)) => book.release(token),
                    (_, Some(token)) => drop(book.renew(token, now, TERM)),
                    (_, None) => {}
                }
                let passing: Vec<u64> = (0..=book.token + 1).filter(|token| book.admit(*token).is_ok()).collect();
                let newest = given.last().map(|(_, token)| *token).filter(|_| book.holder.is_some());
                prop_assert_eq!(passing, newest.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
