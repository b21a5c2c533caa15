//! Streams: named sequences of messages, thousands of them over one log.
//!
//! [`Streams`] are their handle: append (with an expected sequence, once for an id), read from a sequence, a time or the end, cursors,
//! limits, deletion. What is deleted is never read again at once; it leaves the log when [`Streams::maintain`] finds that much no
//! longer counts, and every file of the store before [`Streams::erase`] returns.
//!
//! `fact` is what the log holds, `machine` all streams as a state machine over it, `log` the two together, `stream` the index of one,
//! `window` the ids that it remembers, `offline` streams of a store that nobody has open.

mod error;
mod fact;
mod handle;
mod limits;
mod log;
mod machine;
mod offline;
mod stream;
mod window;

pub use error::StreamError;
pub use fact::{DecodeError, Fact, Message, NAME_MAX, SUBJECT_MAX, StreamId, VERSION};
pub use handle::{Appended, LOG, Shortened, Stored, Streams};
pub use limits::Limits;
pub use machine::{Append, Consumer, Machine, PAYLOAD_MAX, Place, Start, StreamState, Verdict};
pub use offline::Offline;
