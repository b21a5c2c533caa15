//! A queue in memory that outlives its processes: one writer and one reader, each of which may die at any instruction and be
//! followed by another that opens the same memory and goes on.
//!
//! A record counts once the tail has passed it, which is one store after its bytes: what a writer left half written is not there. A
//! record is gone once the head has passed it, which is one store of the reader's: one that was read and not freed is read again, under
//! the same number. Positions count bytes and never wrap; records start at lines, carry their position and a checksum, and run on at the
//! start of the data where its end cuts them. Everything is read as memory that others may change: damage is an error by name.
//!
//! That at most one writer and one reader have it open at a time is for others to see to. Nothing is promised of a loss of power.

mod reader;
mod writer;

pub use reader::{Peeked, Reader};
pub use writer::{PutError, Writer};

use crate::layout::{self, LINE, LayoutError};
use crate::sync::{Hardware, Memory};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Goes on with the checksum of what came before (0 of nothing) over some bytes: CRC-32C, say.
pub type Checksum = fn(u32, &[u8]) -> u32;

/// What the memory starts with; its last byte is the layout's version.
const MAGIC: u64 = u64::from_le_bytes(*b"SYNODMQ\x01");
/// The bits of [`MAGIC`] that hold the version.
const VERSION: u64 = 0xff << 56;

/// Where [`MAGIC`] stands once all else does.
const START: usize = 0;
/// Bytes of data.
const CAPACITY: usize = 8;
/// The writer's word: the position up to which records are published.
const TAIL: usize = 128;
/// The reader's word: the position up to which they are freed.
const HEAD: usize = 256;
/// Bytes before the data.
pub const CONTROL: usize = 384;

/// Bytes before a payload: `checksum u32, 0 u32 | len u32, tag | position u64`, little endian. The checksum is over what follows its eight bytes.
const HEADER: usize = 24;

const _: () = assert!(TAIL - CAPACITY >= LINE && HEAD - TAIL >= 128 && CONTROL - HEAD >= 128);

/// Bytes that a record with a payload of `len` bytes takes in the queue.
pub const fn footprint(len: usize) -> usize {
    (HEADER + len).next_multiple_of(LINE)
}

/// The longest payload that a queue of `capacity` bytes takes.
pub const fn largest_payload(capacity: usize) -> usize {
    capacity - HEADER
}

/// Bytes of memory for a queue of `capacity` bytes, a power of two in [`layout::CAPACITY`].
pub fn memory_len(capacity: usize) -> Result<usize, LayoutError> {
    if capacity.is_power_of_two() && layout::CAPACITY.contains(&capacity) {
        Ok(CONTROL + capacity)
    } else {
        Err(LayoutError::Capacity { capacity })
    }
}

/// What the first sixteen bytes of some memory or file of `len` bytes say: whether a queue is there that may be opened.
pub fn recognise(start: [u8; 16], len: u64) -> Result<(), OpenError> {
    let [found, capacity] = [0, 8].map(|at| {
        let mut word = [0; 8];
        word.copy_from_slice(&start[at..at + 8]);
        u64::from_le_bytes(word)
    });
    match found {
        MAGIC => {}
        0 => return Err(OpenError::Unmade),
        _ if (found ^ MAGIC) & !VERSION == 0 => {
            return Err(OpenError::Version { found: found.to_le_bytes()[7] });
        }
        _ => return Err(OpenError::Alien { found }),
    }
    let expected = usize::try_from(capacity).ok().and_then(|capacity| memory_len(capacity).ok());
    if expected.is_some_and(|expected| expected as u64 == len) {
        Ok(())
    } else {
        Err(OpenError::Size { capacity, len })
    }
}

/// Makes an empty queue of zeroed memory, whose length says its capacity. Killed in between, none is there.
pub fn make<M: Memory>(memory: &M) -> Result<(), LayoutError> {
    layout::writable(memory)?;
    let capacity = memory.len().saturating_sub(CONTROL);
    memory_len(capacity)?;
    for (word, value) in [(START, 0), (TAIL, 0), (HEAD, 0), (CAPACITY, (capacity as u64).to_le())] {
        // SAFETY: the words lie before the data, which has its place, and the memory can be written.
        unsafe { memory.store(word, value, Relaxed) };
    }
    // SAFETY: as above.
    unsafe { memory.store(START, MAGIC.to_le(), Release) };
    Ok(())
}

/// Why memory cannot be opened as a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The memory is too short, or cannot be written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Nothing was made of it yet, or whoever did died before it was done.
    #[error("there is no queue in it yet: let its writer open it first")]
    Unmade,
    /// It is something else.
    #[error("it starts with {found:#x} and is no queue: choose another path, or move it away")]
    Alien {
        /// Its first word.
        found: u64,
    },
    /// It was made by another version.
    #[error(
        "it is a queue of version {found}, and this program reads version 1: empty it with the program that wrote it"
    )]
    Version {
        /// The version it names.
        found: u8,
    },
    /// It is not as long as it says.
    #[error(
        "it claims {capacity} bytes of data and has {len} in all: it was cut or damaged, so move it away"
    )]
    Size {
        /// The bytes of data it claims.
        capacity: u64,
        /// Its bytes in all.
        len: u64,
    },
    /// Its positions make no sense.
    #[error(transparent)]
    Damage(#[from] Damage),
}

/// What is wrong with the words or bytes of a queue: somebody else wrote there. It stays where it is, and its end says so from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Head and tail are no lines of one lap.
    #[error(
        "head {head} and tail {tail} cannot be of a queue of {capacity} bytes: it is damaged, so move it away"
    )]
    Positions {
        /// The reader's position.
        head: u64,
        /// The writer's position.
        tail: u64,
        /// Bytes of data.
        capacity: u64,
    },
    /// A record is not the one that belongs there, or is longer than what was published.
    #[error(
        "the record at {at} says that it is {found} with {len} bytes where {published} are published: the queue is damaged, so move it away"
    )]
    Record {
        /// Its position.
        at: u64,
        /// The position it names.
        found: u64,
        /// The length it claims.
        len: u32,
        /// Bytes published from there on, its header's among them.
        published: u64,
    },
    /// A record's bytes are not those that were written.
    #[error(
        "the record at {at} has checksum {found:#010x} where {expected:#010x} belongs to its bytes: the queue is damaged, so move it away"
    )]
    Checksum {
        /// Its position.
        at: u64,
        /// The checksum it carries.
        found: u32,
        /// The checksum of its bytes.
        expected: u32,
    },
}

/// The memory of a queue that was recognised.
struct Opened<M: Memory = Hardware> {
    memory: M,
    capacity: u64,
    checksum: Checksum,
}

impl<M: Memory> Opened<M> {
    /// Opens what [`make`] made; with its head and tail.
    fn new(memory: M, checksum: Checksum) -> Result<(Self, u64, u64), OpenError> {
        layout::writable(&memory)?;
        let len = memory.len();
        if len < CONTROL {
            return Err(LayoutError::TooShort { len, needed: CONTROL }.into());
        }
        let mut start = [0; 16];
        // SAFETY: both words lie before the data, for which there is room, as do those below.
        let words = unsafe { [memory.load(START, Acquire), memory.load(CAPACITY, Relaxed)] };
        for (bytes, word) in start.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        recognise(start, len as u64)?;
        let opened = Self { memory, capacity: (len - CONTROL) as u64, checksum };
        // The head first: it only grows, and never past a tail that was there before.
        let head = opened.position(HEAD);
        let tail = opened.position(TAIL);
        opened.check(head, tail)?;
        Ok((opened, head, tail))
    }

    /// A side's word.
    fn position(&self, word: usize) -> u64 {
        // SAFETY: one of the words before the data, for which `new` saw room.
        u64::from_le(unsafe { self.memory.load(word, Acquire) })
    }

    /// Moves a side's word, and with it all that was done before.
    fn move_to(&self, word: usize, position: u64) {
        // SAFETY: as above, and `new` saw that the memory can be written.
        unsafe { self.memory.store(word, position.to_le(), Release) };
    }

    fn check(&self, head: u64, tail: u64) -> Result<(), Damage> {
        let Self { capacity, .. } = *self;
        if tail.wrapping_sub(head) <= capacity && (head | tail).is_multiple_of(LINE as u64) {
            Ok(())
        } else {
            Err(Damage::Positions { head, tail, capacity })
        }
    }

    /// Where `len` bytes from a position on lie: up to the end of the data, and from its start.
    fn pieces(&self, position: u64, len: usize) -> [(usize, usize); 2] {
        let offset = (position & (self.capacity - 1)) as usize;
        let first = len.min(self.capacity as usize - offset);
        [(CONTROL + offset, first), (CONTROL, len - first)]
    }
}
