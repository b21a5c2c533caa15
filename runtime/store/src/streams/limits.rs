//! What a stream keeps: how old, how much, how many, how many of a subject; and how long it remembers the ids of its messages.

use std::num::NonZeroU64;
use std::time::Duration;

/// The limits of a stream. What lies beyond one is deleted, oldest first; without limits nothing is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The age at which a message goes, by the wall clock of who appends and maintains; the streams' own time is the latest that it ever
    /// showed, so a clock set back makes messages stay longer, one set ahead makes them go sooner.
    pub age: Option<Duration>,
    /// The most that all messages have together, bytes of subject and payload.
    pub bytes: Option<NonZeroU64>,
    /// The most messages.
    pub messages: Option<NonZeroU64>,
    /// The most messages of one subject: 1 keeps each subject's last value.
    pub per_subject: Option<NonZeroU64>,
    /// How long an id is remembered, so that a second message with it is known.
    pub window: Duration,
    /// How many ids are remembered at most, also those of messages that are gone; 0 for none.
    pub window_ids: u64,
}

/// All is kept; two minutes of ids, 65,536 of them at most.
impl Default for Limits {
    fn default() -> Self {
        Self {
            age: None,
            bytes: None,
            messages: None,
            per_subject: None,
            window: Duration::from_secs(120),
            window_ids: 1 << 16,
        }
    }
}
