//! The seam itself: what can be asked of a disk, and what it answers.
//!
//! An [`Operation`] goes in under an [`OperationId`], a [`Completion`] with that id comes out, once, in any order. An operation
//! owns its buffer and paths until then. A write may take less than it was given, a read may give less than it was asked.

use std::ops::Range;
use std::path::PathBuf;

use super::buffer::Buffer;
use super::error::Failure;

/// Names an operation until its completion; unique among those in flight on one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

/// Names an open file on the port that opened it. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

/// How a file is opened. The default opens nothing: choose reading, writing or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// It can be read.
    pub read: bool,
    /// It can be written.
    pub write: bool,
    /// It is made, mode 0600, if it is not there.
    pub create: bool,
    /// It is made, and an existing one is an error. Implies `create`.
    pub create_new: bool,
    /// Its content is thrown away.
    pub truncate: bool,
    /// It goes past the cache: what is read and written begins, in the file and in its buffer, and ends at a multiple of
    /// [`ALIGNMENT`](super::ALIGNMENT), or is [`Failure::Invalid`]. So is opening where a file system cannot do that.
    pub direct: bool,
}

impl OpenOptions {
    /// For reading.
    pub const READ: Self =
        Self { read: true, write: false, create: false, create_new: false, truncate: false, direct: false };
    /// For reading and writing; it must be there.
    pub const READ_WRITE: Self = Self { write: true, ..Self::READ };
    /// For reading and writing; made if it is not there.
    pub const CREATE: Self = Self { create: true, ..Self::READ_WRITE };
    /// For reading and writing; must not be there.
    pub const CREATE_NEW: Self = Self { create_new: true, ..Self::READ_WRITE };
    /// For reading and writing past the cache; it must be there.
    pub const DIRECT: Self = Self { direct: true, ..Self::READ_WRITE };
}

/// What a sync makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncKind {
    /// The content, and the length as far as reading it back needs (`fdatasync`).
    Data,
    /// That and all other metadata (`fsync`).
    Full,
}

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// Something else: a link, a socket, a device.
    Other,
}

/// What is known of a path without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// Its length in bytes; of directories whatever the file system says.
    pub len: u64,
}

/// One operation.
#[derive(Debug)]
pub enum Operation {
    /// Opens a file; answers [`Outcome::Opened`].
    Open {
        /// Which.
        path: PathBuf,
        /// How.
        options: OpenOptions,
    },
    /// Closes a file and gives up its lock. What was not synced stays unsynced.
    Close {
        /// Which.
        file: FileId,
    },
    /// Takes the file's advisory lock, alone, without waiting: [`Failure::Locked`] if another open file holds it.
    Lock {
        /// Which.
        file: FileId,
    },
    /// Makes sure that this range has space on the device; extends the file with zeros if the range ends beyond it.
    Allocate {
        /// Which.
        file: FileId,
        /// From here, bytes.
        offset: u64,
        /// This many bytes, at least 1.
        len: u64,
    },
    /// Writes `buffer[range]` at `offset`; answers [`Outcome::Count`], perhaps less than the range.
    Write {
        /// What was written is durable on completion, as if it had been synced with [`SyncKind::Data`]. If the device fails, so is
        /// nothing of it.
        durable: bool,
        /// Which.
        file: FileId,
        /// To here, bytes.
        offset: u64,
        /// Holds the bytes; comes back with the completion.
        buffer: Buffer,
        /// Which part of it.
        range: Range<usize>,
    },
    /// Reads from `offset` into `buffer[range]`; answers [`Outcome::Count`], perhaps less than the range, 0 at the end.
    Read {
        /// Which.
        file: FileId,
        /// From here, bytes.
        offset: u64,
        /// Takes the bytes; comes back with the completion.
        buffer: Buffer,
        /// Which part of it.
        range: Range<usize>,
    },
    /// Makes durable what had completed before this was submitted.
    Sync {
        /// Which.
        file: FileId,
        /// How much.
        kind: SyncKind,
    },
    /// Sets the file's length; what is beyond it is gone, what is new is zero.
    Truncate {
        /// Which.
        file: FileId,
        /// The new length, bytes.
        len: u64,
    },
    /// Gives a file or directory another name, replacing a file that has it, in one step.
    Rename {
        /// The old name.
        from: PathBuf,
        /// The new name.
        to: PathBuf,
    },
    /// Removes a file's name.
    Remove {
        /// Which.
        path: PathBuf,
    },
    /// Removes an empty directory.
    RemoveDirectory {
        /// Which.
        path: PathBuf,
    },
    /// Makes a directory, mode 0700; its parent must be there.
    CreateDirectory {
        /// Which.
        path: PathBuf,
    },
    /// Lists a directory; answers [`Outcome::Entries`], sorted by name.
    List {
        /// Which.
        path: PathBuf,
    },
    /// Looks at a path; answers [`Outcome::Metadata`]. Follows no link.
    Metadata {
        /// Which.
        path: PathBuf,
    },
    /// Makes durable which names a directory holds: creations, renames and removals that had completed before.
    SyncDirectory {
        /// Which.
        path: PathBuf,
    },
}

impl Operation {
    /// The operation as a verb, for errors and traces.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Close { .. } => "close",
            Self::Lock { .. } => "lock",
            Self::Allocate { .. } => "allocate space in",
            Self::Write { .. } => "write",
            Self::Read { .. } => "read",
            Self::Sync { .. } => "sync",
            Self::Truncate { .. } => "truncate",
            Self::Rename { .. } => "rename",
            Self::Remove { .. } => "remove",
            Self::RemoveDirectory { .. } => "remove directory",
            Self::CreateDirectory { .. } => "create directory",
            Self::List { .. } => "list",
            Self::Metadata { .. } => "look at",
            Self::SyncDirectory { .. } => "sync directory",
        }
    }
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The name, without its directory.
    pub name: PathBuf,
    /// What it is.
    pub kind: Kind,
}

/// What a successful operation answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, there is nothing more to say.
    Done,
    /// The file is open under this name.
    Opened(FileId),
    /// So many bytes were read or written.
    Count(usize),
    /// The directory's entries, sorted by name.
    Entries(Vec<Entry>),
    /// What the path is.
    Metadata(Metadata),
}

/// The end of an operation.
#[derive(Debug)]
pub struct Completion {
    /// Which operation.
    pub id: OperationId,
    /// What came of it.
    pub result: Result<Outcome, Failure>,
    /// The buffer of a read or write, also of a failed one.
    pub buffer: Option<Buffer>,
}
