//! Where things lie in a ring's two regions, and the sixteen bytes before every payload.
//!
//! The sender's region holds its control words and the data, the receiver's region only control words, so that each
//! can be mapped writable by its owner alone. Words that different sides write are at least 128 bytes apart (two lines: the
//! hardware fetches lines in pairs). A record's header is the same sixteen bytes as the frame's compact form:
//! `len u32 | tag 4 bytes | seq u64`, little endian; the tag is carried, not understood.

use crate::sync::Memory;

/// What a user says about a record in four bytes, carried as they are: the frame's kind, flags and grant.
pub type Tag = [u8; 4];

/// Bytes of a cache line.
pub const LINE: usize = 64;
/// Bytes of a record's header; records start at multiples of it, so that short ones share lines and less has to cross.
pub const HEADER: usize = 16;

/// Sender's region: byte position up to which records are published.
pub(crate) const TAIL: usize = 0;
/// Sender's region: 1 while the sender sleeps until space is freed.
pub(crate) const WAITING: usize = 128;
/// Sender's region: 1 once the producer is gone. Receiver's region: 1 once the consumer is gone.
pub(crate) const CLOSED: usize = 192;
/// Sender's region: the first byte of data.
pub(crate) const DATA: usize = 256;

/// Receiver's region: byte position up to which records are freed.
pub(crate) const HEAD: usize = 0;
/// Receiver's region: 1 while the receiver sleeps until something is published.
pub(crate) const SLEEPING: usize = 128;

/// Bytes a receiver's region needs.
pub const RECEIVER_LEN: usize = 256;

/// Smallest and largest capacity of a ring in bytes.
pub const CAPACITY: std::ops::RangeInclusive<usize> = 256..=1 << 30;

const _: () = {
    assert!(usize::BITS == 64, "lengths of 32 bits are added up in a usize");
    assert!(WAITING - TAIL >= 128 && DATA - CLOSED >= LINE, "the sender's words share lines");
    assert!(SLEEPING - HEAD >= 128 && RECEIVER_LEN - SLEEPING >= 128, "the receiver's words share lines");
    assert!(DATA.is_multiple_of(LINE), "forty-eight bytes and their header do not share a line");
};

/// The length that marks the rest of the lap as unused.
pub(crate) const PADDING: u32 = u32::MAX;

/// Bytes a sender's region needs for a ring of `capacity` bytes.
pub const fn sender_len(capacity: usize) -> usize {
    DATA + capacity
}

/// The longest payload that a ring of `capacity` bytes takes: half of it, so that it fits wherever the tail stands.
pub const fn largest_payload(capacity: usize) -> usize {
    capacity / 2 - HEADER
}

/// Bytes that a record with a payload of `len` bytes takes in the ring.
pub const fn footprint(len: usize) -> usize {
    (len + HEADER + HEADER - 1) & !(HEADER - 1)
}

/// What is wrong with the regions given to a ring or a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The data part is not a power of two inside [`CAPACITY`].
    #[error("a ring of {capacity} bytes: take a power of two from 256 to 2^30")]
    Capacity {
        /// Bytes after the control words.
        capacity: usize,
    },
    /// A region is shorter than its control words.
    #[error("a region of {len} bytes where {needed} are needed")]
    TooShort {
        /// Bytes of the region.
        len: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// A region that its side writes cannot be written.
    #[error("a region that can only be read where this side keeps its own words: map it for writing")]
    ReadOnly,
    /// A region that another process writes, where records are to be read in place.
    #[error(
        "a sender's region that another process writes: take its lane as a foreign one, whose records are copied"
    )]
    Foreign,
    /// More lanes or classes than a mailbox holds, or none.
    #[error("a mailbox of {classes} classes and {lanes} lanes each: take 1 to 6 classes and 1 to 4096 lanes")]
    Mailbox {
        /// Classes asked for.
        classes: usize,
        /// Lanes a class asked for.
        lanes: usize,
    },
}

/// Whether the side that `own` belongs to can keep its words in it.
pub(crate) fn writable<M: Memory>(own: &M) -> Result<(), LayoutError> {
    if own.writable() { Ok(()) } else { Err(LayoutError::ReadOnly) }
}

/// The capacity of the ring whose sender's region has `len` bytes, if it is a good one.
pub(crate) fn capacity(sender: usize, receiver: usize) -> Result<usize, LayoutError> {
    if sender < DATA {
        return Err(LayoutError::TooShort { len: sender, needed: sender_len(*CAPACITY.start()) });
    }
    if receiver < RECEIVER_LEN {
        return Err(LayoutError::TooShort { len: receiver, needed: RECEIVER_LEN });
    }
    let capacity = sender - DATA;
    if !capacity.is_power_of_two() || !CAPACITY.contains(&capacity) {
        return Err(LayoutError::Capacity { capacity });
    }
    Ok(capacity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forty_eight_bytes_share_a_line_with_their_header() {
        assert_eq!(footprint(0), 16);
        assert_eq!(footprint(48), 64);
        assert_eq!(footprint(49), 80);
        assert_eq!(footprint(largest_payload(1024)), 512);
    }

    #[test]
    fn a_region_that_makes_no_ring_is_refused_by_what_is_wrong() {
        assert_eq!(capacity(DATA + 1024, RECEIVER_LEN), Ok(1024));
        assert_eq!(capacity(DATA + 1000, RECEIVER_LEN), Err(LayoutError::Capacity { capacity: 1000 }));
        assert_eq!(capacity(DATA + 128, RECEIVER_LEN), Err(LayoutError::Capacity { capacity: 128 }));
        assert_eq!(capacity(10, RECEIVER_LEN), Err(LayoutError::TooShort { len: 10, needed: DATA + 256 }));
        assert_eq!(capacity(DATA + 1024, 8), Err(LayoutError::TooShort { len: 8, needed: RECEIVER_LEN }));
    }
}
