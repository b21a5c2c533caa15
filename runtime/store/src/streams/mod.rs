//! Streams: named sequences of messages, thousands of them over one log.
//!
//! `fact` is what the log holds, `machine` all streams as a state machine over it, `stream` the index of one, `window` the ids that it remembers.

mod error;
mod fact;
mod limits;
mod machine;
mod stream;
mod window;

pub use error::StreamError;
pub use fact::{DecodeError, Fact, Message, NAME_MAX, SUBJECT_MAX, StreamId, VERSION};
pub use limits::Limits;
pub use machine::{Append, Machine, PAYLOAD_MAX, Start, StreamState, Verdict};
