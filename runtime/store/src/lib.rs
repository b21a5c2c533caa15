//! One write-ahead log under everything that must last: acknowledged means durable.
//!
//! A [`Store`] is a directory of segments, opened by one process alone. In it lie many logical [`Log`]s over one physical one, so that one
//! sync serves all who wait. What is appended is seen at once and acknowledged when it is durable. [FORMAT.md](../FORMAT.md) is the
//! specification of the bytes.
//!
//! Decisions are pure: the bytes in `format`, what a segment holds in `scan`, what all records leave in `rebuild`, all logs in memory in
//! `state`. Around them `open`, `writer` and `reader` do the I/O, on the context that opened the store.
//!
//! [`streams`] stand on one of the logs.

pub mod check;
pub mod cipher;
pub mod format;
pub mod mend;
pub mod scan;
pub mod streams;

mod error;
mod keeper;
mod look;
mod open;
mod options;
mod pace;
mod pass;
mod reader;
mod rebuild;
mod scrub;
mod segments;
mod snapshot;
mod state;
mod store;
mod writer;

pub use error::{OpenError, ReadError, SnapshotError, WriteError};
pub use look::Look;
pub use open::Recovered;
pub use options::Options;
pub use pass::Progress;
pub use snapshot::Snapshot;
pub use store::{Durable, Entry, Health, Log, Room, Store, WritePath};
