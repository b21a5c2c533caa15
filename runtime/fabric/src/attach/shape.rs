//! Where things lie in a lane between processes: two regions, one of each side, with both rings and every pair's counters.
//!
//! The sender's: a line for its wish for room, a line of counters for each receiver of this lane, the urgent ring, the bulk ring. The
//! receiver's: the control words of both rings and of larger ones to come, the slots it gives back, then two lines of counters for each receiver. Each word has one
//! writer.

use serde::{Deserialize, Serialize};
use synod_ring::layout::{RECEIVER_LEN, sender_len};
use synod_ring::returns::returns_len;
use synod_ring::wish::{Wish, Wished};
use synod_ring::{Hardware, LayoutError};
use synod_wire::Class;

/// Words of counters that the sender writes for one receiver: a cache line.
pub(crate) const SENDER_WORDS: usize = 8;

/// Words that the receiver writes for it: what frees room on one line, the rest on another.
pub(crate) const RECEIVER_WORDS: usize = 16;

/// The most slots of long payloads that one lane's receiver may hold.
pub(crate) const HOLDS: usize = 504;

/// Bytes of the sender's first words.
const HEAD: usize = 128;

/// How often each ring of a lane can be replaced by a larger one, and by how much.
pub(crate) const GROWTHS: usize = 3;
pub(crate) const GROWTH: u32 = 4;

/// Where the receiver gives slots back: behind the control words of both rings, as they are and as they may grow.
const RETURNS: usize = 2 * (1 + GROWTHS) * RECEIVER_LEN;

/// Where the receiver's counters begin.
const EDGES: usize = RETURNS + returns_len(HOLDS);

const _: () = assert!(EDGES.is_multiple_of(128), "the receiver's counters share lines");

/// The sizes of a lane between processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shape {
    /// Bytes of each ring; a power of two.
    pub ring: u32,
    /// Receivers that it can count for; even.
    pub edges: u16,
}

impl Shape {
    /// Whether rings and counters of that size can be.
    pub fn is_good(self) -> bool {
        self.ring.is_power_of_two()
            && (1 << 10..=1 << 26).contains(&self.ring)
            && self.edges.is_multiple_of(2)
            && (2..=1 << 14).contains(&self.edges)
    }

    fn edges_len(self) -> usize {
        usize::from(self.edges) * SENDER_WORDS * 8
    }

    /// Bytes of the sender's region.
    pub fn sender_len(self) -> usize {
        HEAD + self.edges_len() + 2 * sender_len(self.ring as usize)
    }

    /// Bytes of the receiver's region.
    pub fn receiver_len(self) -> usize {
        EDGES + usize::from(self.edges) * RECEIVER_WORDS * 8
    }

    /// The sender's part of the ring of a class.
    pub fn sender_ring(self, region: &Hardware, class: Class) -> Result<Hardware, LayoutError> {
        let len = sender_len(self.ring as usize);
        region.slice(HEAD + self.edges_len() + place(class) * len, len)
    }

    /// The receiver's part of it, as it has grown so often.
    pub fn receiver_ring(
        self,
        region: &Hardware,
        class: Class,
        growth: usize,
    ) -> Result<Hardware, LayoutError> {
        region.slice((2 * growth + place(class)) * RECEIVER_LEN, RECEIVER_LEN)
    }

    /// Where the sender's counters for a receiver begin, and how many there are.
    pub fn sender_edge(self, edge: u16) -> (usize, usize) {
        (HEAD + usize::from(edge) * SENDER_WORDS * 8, SENDER_WORDS)
    }

    /// Where the receiver's begin.
    pub fn receiver_edge(self, edge: u16) -> (usize, usize) {
        (EDGES + usize::from(edge) * RECEIVER_WORDS * 8, RECEIVER_WORDS)
    }

    /// Where the receiver gives slots back.
    pub fn returns(self) -> usize {
        RETURNS
    }

    /// The word in which the sender says that it waits for a place at some receiver, or for a slot.
    pub fn wish(self, region: &Hardware) -> Result<Wish, LayoutError> {
        Wish::new(region.clone(), 0)
    }

    /// The same, for the receiver.
    pub fn wished(self, region: &Hardware) -> Result<Wished, LayoutError> {
        Wished::new(region.clone(), 0)
    }
}

/// Of the two rings of a lane, which.
pub(crate) fn place(class: Class) -> usize {
    match class {
        Class::Urgent => 0,
        Class::Bulk => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_ring::Cells;

    #[test]
    fn no_two_parts_of_a_lane_share_a_byte_and_all_lie_inside() {
        let shape = Shape { ring: 1 << 14, edges: 240 };
        assert!(shape.is_good());
        let sender = Hardware::heap(shape.sender_len()).unwrap();
        let receiver = Hardware::heap(shape.receiver_len()).unwrap();
        for class in [Class::Urgent, Class::Bulk] {
            assert!(shape.sender_ring(&sender, class).is_ok());
            assert!((0..=GROWTHS).all(|growth| shape.receiver_ring(&receiver, class, growth).is_ok()));
        }
        let (at, words) = shape.sender_edge(239);
        assert!(Cells::own(sender, at, words).is_ok());
        assert_eq!(at + words * 8, HEAD + shape.edges_len());
        let (at, words) = shape.receiver_edge(239);
        assert_eq!(at + words * 8, shape.receiver_len());
    }

    #[test]
    fn sizes_that_make_no_lane_are_known_as_such() {
        for shape in [(0, 2), (1000, 2), (1 << 30, 2), (1 << 14, 0), (1 << 14, 3)] {
            assert!(!Shape { ring: shape.0, edges: shape.1 }.is_good(), "{shape:?}");
        }
    }
}
