//! The frame: what a message looks like in a lane, on a link and in a log, and the checksum that guards it.
//!
//! - [`compact`] is the 16-byte form of shared-memory lanes; its four middle bytes are a [`Tag`] that a ring carries unread.
//! - [`full`] is the 64-byte form of links and logs, with two checksums and an [`extension`] area.
//! - [`stream`] cuts full frames out of a byte stream; [`body`] holds the payloads of the frames that nodes send each other.
//! - [`crc`] is CRC-32C, by the kernel that is fastest here ([`simd`]).
//!
//! The specification is `FORMAT.md` beside this crate. Every decoder is total: any bytes give a value or a named [`Error`].
//! Nothing here does I/O, reads a clock, encrypts or compresses.
//!
//! ```
//! use synod_wire::{Full, Head, Kind, Priority};
//!
//! let head = Head { priority: Priority::High, ..Head::new(Kind::Publish) };
//! let bytes = Full::new(head, b"42 units").on("orders.new").to_vec()?;
//! let (frame, used) = Full::decode(&bytes)?;
//! assert_eq!((frame.subject, frame.payload, used), (Some("orders.new"), &b"42 units"[..], 64 + 16 + 8));
//! # Ok::<(), synod_wire::Error>(())
//! ```

pub mod body;
pub mod compact;
pub mod crc;
mod error;
pub mod extension;
pub mod full;
mod kind;
mod priority;
pub mod simd;
pub mod stream;

pub use compact::{Compact, Descriptor, Extension, Tag};
pub use error::Error;
pub use full::{Full, Head};
pub use kind::Kind;
pub use priority::{Class, Priority};

/// The largest payload of one frame, in bytes: 16 MiB.
pub const PAYLOAD_MAX: usize = 16 << 20;

/// The longest subject, in bytes of UTF-8.
pub const SUBJECT_MAX: usize = 255;

/// An agent, or a node speaking for itself: unique in a fleet for as long as it lives. Zero is nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(pub u64);

impl AgentId {
    /// No agent: a broadcast's target, an anonymous source.
    pub const NOBODY: AgentId = AgentId(0);
}

/// A message, unique for its source for as long as that source lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);
