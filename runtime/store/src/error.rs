//! What can go wrong with a store, in words that a caller can act on.
//!
//! Three moments: opening ([`OpenError`]), writing ([`WriteError`]; `Clone`, for one failed sync refuses many appends) and reading
//! ([`ReadError`]).

use std::path::PathBuf;

use synod_platform::disk::DiskError;

use crate::cipher::KeyName;

/// Why a store was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The disk failed or refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is none to look at. Nothing was made.
    #[error("{} holds no store", directory.display())]
    NoStore {
        /// Which directory.
        directory: PathBuf,
    },
    /// Another process has it open.
    #[error(
        "the store {} is in use by {}: stop it first",
        directory.display(),
        holder.map_or("another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// Which store.
        directory: PathBuf,
        /// Who holds it, by what it said when it opened the store.
        holder: Option<u32>,
    },
    /// Something is damaged that was known to be durable. Nothing was changed.
    #[error(
        "{} is damaged at byte {offset}, where record {number} should be, and that was durable: restore it from a copy, or cut it there",
        file.display()
    )]
    Corrupt {
        /// Which segment.
        file: PathBuf,
        /// The first byte that cannot be trusted.
        offset: u64,
        /// The running number of the first record that is lost.
        number: u64,
    },
    /// A segment's header cannot be read.
    #[error("{} does not begin with a segment's header: restore it from a copy", file.display())]
    NoSegment {
        /// Which file.
        file: PathBuf,
    },
    /// Written by another version of this program.
    #[error("{} has format version {found}, this program reads {known}: use the program that wrote it", file.display())]
    Version {
        /// Which segment.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The version that can be read.
        known: u32,
    },
    /// Something is encrypted with a key that was not given.
    #[error("{} is encrypted with the key {key}, which was not given: open the store with it", file.display())]
    NoKey {
        /// Which segment.
        file: PathBuf,
        /// The key's name.
        key: KeyName,
    },
    /// What is encrypted does not open, although it is undamaged.
    #[error(
        "{} does not open at byte {offset} with the key of the name that it has: give the right one, or somebody forged it",
        file.display()
    )]
    WrongKey {
        /// Which segment.
        file: PathBuf,
        /// Where the record begins.
        offset: u64,
    },
    /// Every record is whole, but one that must be there is not: a segment is missing.
    #[error(
        "the log `{log}` has no record {index}, although later ones are there: a segment is missing, restore it from a copy"
    )]
    Missing {
        /// Which log, by name or, if that is lost too, by number.
        log: String,
        /// The first index that is not there.
        index: u64,
    },
    /// The options contradict each other.
    #[error("the options cannot be: {0}")]
    Options(&'static str),
}

/// Why something was not written, or not made durable. What was refused may still be found after a crash, as anything
/// unacknowledged may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The disk failed. Reading goes on; each further write tries again to go on from what is known to be durable.
    #[error("not durable, and refused: {0}")]
    Disk(#[from] DiskError),
    /// One append is larger than the store ever holds in waiting, or than a segment.
    #[error("an append of {bytes} bytes is larger than the {max} allowed: split it")]
    TooLong {
        /// Its size with its headers.
        bytes: usize,
        /// What is allowed.
        max: usize,
    },
    /// A name is empty or longer than 255 bytes.
    #[error("a name of {len} bytes: it must have 1 to 255")]
    Name {
        /// Its length.
        len: usize,
    },
    /// What lies below has been purged.
    #[error("cannot truncate after {after}: the log begins at {first}")]
    Purged {
        /// What was asked for.
        after: u64,
        /// The first index that is left.
        first: u64,
    },
    /// The log goes on with another index than its writer believes.
    #[error(
        "the log goes on with {next}, not with {expected}: what was written before was refused, or others write; read it again"
    )]
    Moved {
        /// What the writer believes.
        expected: u64,
        /// What it is.
        next: u64,
    },
    /// The log was removed.
    #[error("the log `{log}` was removed: ask the store for another of that name")]
    Removed {
        /// Its name.
        log: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// Why something was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It was purged.
    #[error("record {index} was purged: the log begins at {first}")]
    Purged {
        /// What was asked for.
        index: u64,
        /// The first index that is left.
        first: u64,
    },
    /// It was there and is damaged now.
    #[error("{} is damaged at byte {offset}: record {index} is lost, restore it from a copy", file.display())]
    Corrupt {
        /// Which segment.
        file: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// Its index in its log.
        index: u64,
    },
    /// What is encrypted does not open, although it is undamaged: the key is another or not there, or somebody forged it.
    #[error("{} does not open at byte {offset}: open the store with the right key, or somebody forged it", file.display())]
    WrongKey {
        /// Which file.
        file: PathBuf,
        /// Where it begins, bytes.
        offset: u64,
    },
    /// The newest snapshot of a log is damaged, and what it stands for is purged.
    #[error("the snapshot {} is damaged: restore it from a copy", file.display())]
    Snapshot {
        /// Which.
        file: PathBuf,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a log's snapshot was not loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// It was not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log could not be moved behind it.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The log is purged further than its snapshots reach.
    #[error(
        "the log `{log}` begins at {first} and no snapshot holds what was before: restore it from a copy"
    )]
    Missing {
        /// Which log.
        log: String,
        /// The first index that is left.
        first: u64,
    },
}

impl ReadError {
    /// As the failure of a write that had to look at something.
    pub(crate) fn into_write(self) -> WriteError {
        match self {
            Self::Disk(error) => WriteError::Disk(error),
            _ => WriteError::Closed,
        }
    }
}
