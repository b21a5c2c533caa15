//! The rules a peer can break in shared memory. Whoever breaks one is cut off, and the rule is told by name.

/// A rule of the ring that the other side broke: its memory is damaged, or it is hostile.
///
/// Every end that returns one is finished: it returns the same violation from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The producer's tail went backwards.
    #[error("the sender's tail went back from {known} to {found}: cut the lane")]
    TailWentBack {
        /// Byte position known before.
        known: u64,
        /// Byte position found.
        found: u64,
    },
    /// The producer's tail is further ahead than the ring is large.
    #[error("the sender's tail {found} is more than {capacity} bytes ahead of the head {head}: cut the lane")]
    TailTooFar {
        /// Byte position of the head.
        head: u64,
        /// Byte position found.
        found: u64,
        /// Bytes in the ring.
        capacity: u64,
    },
    /// A tail or head is not a multiple of 64.
    #[error("the position {found} is not a multiple of 64: cut the lane")]
    Misaligned {
        /// Byte position found.
        found: u64,
    },
    /// A record claims more bytes than were published, or than are left before the end of the ring.
    #[error("the record at {at} claims {len} bytes where {published} are there: cut the lane")]
    RecordTooLong {
        /// Byte position of the record.
        at: u64,
        /// Payload length it claims.
        len: u32,
        /// Bytes published from there on, up to the end of the ring.
        published: u64,
    },
    /// A record's sequence number is not the one that follows.
    #[error("the record at {at} has sequence {found} where {expected} follows: cut the lane")]
    Sequence {
        /// Byte position of the record.
        at: u64,
        /// Sequence that follows.
        expected: u64,
        /// Sequence found.
        found: u64,
    },
    /// The consumer's head went backwards, or past what was published.
    #[error("the receiver's head moved from {known} to {found} with the tail at {tail}: cut the lane")]
    Head {
        /// Byte position known before.
        known: u64,
        /// Byte position found.
        found: u64,
        /// Published byte position, which a head cannot pass.
        tail: u64,
    },
    /// The count of slots given back went backwards, or by more than there are places for.
    #[error("the count of returned slots moved from {known} to {found}: cut the lane")]
    Returns {
        /// Count known before.
        known: u64,
        /// Count found.
        found: u64,
    },
}
