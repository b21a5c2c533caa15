//! Why a stream refused, in words that a caller can act on.

use super::fact::DecodeError;
use crate::error::{ReadError, WriteError};

/// Why a stream did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// There is no such stream, or no longer.
    #[error("there is no such stream: define it first")]
    Unknown,
    /// Something is too short or too long.
    #[error("the {field} has {len} bytes, {least} to {most} are allowed")]
    Length {
        /// What.
        field: &'static str,
        /// Its length, bytes.
        len: usize,
        /// The least allowed.
        least: usize,
        /// The most allowed.
        most: usize,
    },
    /// The stream's last sequence is another than the sender believes.
    #[error(
        "the stream's last sequence is {present}, not {expected} as expected: read what came between, then append again"
    )]
    WrongSequence {
        /// What the sender believes.
        expected: u64,
        /// What it is.
        present: u64,
    },
    /// The message alone is beyond the stream's limit.
    #[error("a message of {size} bytes does not fit into a stream limited to {most} bytes")]
    TooLarge {
        /// Its subject and payload, bytes.
        size: u64,
        /// The stream's limit.
        most: u64,
    },
    /// There is no message of this sequence, or no longer.
    #[error("there is no message {sequence}: the stream begins with {first}, its next is {next}")]
    NoMessage {
        /// Which.
        sequence: u64,
        /// The lowest that there is.
        first: u64,
        /// The sequence of the next message.
        next: u64,
    },
    /// A cursor cannot stand behind the stream's end.
    #[error("no consumer can have done {sequence}: the stream's last sequence is {last}")]
    BeyondEnd {
        /// Where it was to stand.
        sequence: u64,
        /// The last sequence given.
        last: u64,
    },
    /// All numbers for streams were given.
    #[error("all 2^32 numbers for streams were given: begin a new store")]
    NumbersUsed,
    /// The store did not make it durable, or not yet said so: it may be there after the next opening.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The store could not read it.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log does not have a message that it has an entry for.
    #[error("message {sequence} is not where the streams' log had it: check the store")]
    Lost {
        /// Which, or one behind it.
        sequence: u64,
    },
    /// An entry of the log is no fact of a stream, although its checksum holds.
    #[error("entry {position} of the streams' log cannot be read: {reason}")]
    Entry {
        /// Which.
        position: u64,
        /// Why not.
        #[source]
        reason: DecodeError,
    },
    /// The log has entries of a stream that it never named.
    #[error("the streams' log has entries of stream {stream} and does not say what that is")]
    Nameless {
        /// Its number.
        stream: u32,
    },
}
