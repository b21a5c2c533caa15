//! What can be wrong with memory or a bell that comes from another process, by name.

use std::io;

/// Why memory or a bell cannot be shared, or another's cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// It is no memory that could be sealed.
    #[error("the handle is {found}, not memory made to be shared: pass a sealed memfd")]
    NotMemory {
        /// What it is.
        found: String,
    },
    /// Its pages are huge and not all there: whoever reads one that is missing may die of it.
    #[error(
        "the memory lies in huge pages of which {found} of {expected} bytes are there: its owner must touch them all before it passes it on"
    )]
    NotPopulated {
        /// Bytes that are there.
        found: u64,
        /// Its bytes.
        expected: u64,
    },
    /// Its owner could still change its size, or others write it.
    #[error(
        "the memory can still be changed: the seals {missing} are missing; its owner must set them before it passes it on"
    )]
    NotSealed {
        /// The missing seals.
        missing: String,
    },
    /// It is not as long as was said.
    #[error("the memory has {found} bytes where {expected} were announced")]
    WrongSize {
        /// Its bytes.
        found: u64,
        /// The bytes that were announced.
        expected: u64,
    },
    /// More than one region may have.
    #[error("a region of {len} bytes exceeds the limit of {limit}: ask for a smaller one")]
    TooLarge {
        /// Bytes asked for.
        len: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// It is not the ringing end of a bell.
    #[error("the handle is {found}, not a bell: pass what the bell's owner gave")]
    NotABell {
        /// What it is.
        found: String,
    },
    /// The descriptor was closed before.
    #[error("it is closed already: take handles before closing what they lead to")]
    Closed,
    /// The system refused.
    #[error("{doing}: {reason}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// The system's words.
        reason: String,
    },
}

impl MemoryError {
    pub(super) fn system(doing: &'static str, error: impl Into<io::Error>) -> Self {
        Self::System { doing, reason: error.into().to_string() }
    }
}
