//! Names of slots on their way back to their owner: a word each, in the receiver's memory, told by a count.
//!
//! Whoever lends knows how many are out, and lends no more than there are places: so a place is never written before its owner has read it. A
//! receiver that returns what it never had is found out by the owner, in whose own books every name stands.

use crate::cells::Cells;
use crate::layout::LayoutError;
use crate::sync::{Hardware, Memory};
use crate::violation::Violation;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use synod_probe::plant;

/// Words before the places: the count, on a line of its own.
const PLACES: usize = 8;

/// Bytes that `places` need.
pub const fn returns_len(places: usize) -> usize {
    (PLACES + places) * 8
}

/// The receiver's end: writes.
pub struct Returns<M: Memory = Hardware> {
    cells: Cells<M>,
    places: u64,
    count: u64,
}

impl<M: Memory> Returns<M> {
    /// From byte `at` of memory that this side owns.
    pub fn new(memory: M, at: usize, places: usize) -> Result<Self, LayoutError> {
        let cells = Cells::own(memory, at, PLACES + places)?;
        cells.store(0, 0, Relaxed);
        Ok(Self { cells, places: places as u64, count: 0 })
    }

    /// Gives a name back.
    pub fn give(&mut self, name: u64) {
        let place = PLACES + (self.count % self.places) as usize;
        if plant!("ring.returned-too-early") {
            self.cells.store(0, self.count + 1, Release);
        }
        self.cells.store(place, name, Relaxed);
        self.count += 1;
        self.cells.store(0, self.count, Release);
    }
}

/// The owner's end: reads.
pub struct Returned<M: Memory = Hardware> {
    cells: Cells<M>,
    places: u64,
    count: u64,
}

impl<M: Memory> Returned<M> {
    /// From byte `at` of the receiver's memory.
    pub fn new(memory: M, at: usize, places: usize) -> Result<Self, LayoutError> {
        Ok(Self { cells: Cells::peer(memory, at, PLACES + places)?, places: places as u64, count: 0 })
    }

    /// Hands out what came back since the last call.
    pub fn collect(&mut self, mut take: impl FnMut(u64)) -> Result<(), Violation> {
        let count = self.cells.load(0, Acquire);
        if count < self.count || count - self.count > self.places {
            return Err(Violation::Returns { known: self.count, found: count });
        }
        while self.count < count {
            take(self.cells.load(PLACES + (self.count % self.places) as usize, Relaxed));
            self.count += 1;
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn pair(places: usize) -> (Hardware, Returns, Returned) {
        let memory = Hardware::heap(returns_len(places)).unwrap();
        let returns = Returns::new(memory.clone(), 0, places).unwrap();
        (memory.clone(), returns, Returned::new(memory, 0, places).unwrap())
    }

    fn collected(returned: &mut Returned) -> Vec<u64> {
        let mut names = Vec::new();
        returned.collect(|name| names.push(name)).unwrap();
        names
    }

    #[test]
    fn names_come_back_in_order_around_the_end_of_the_places() {
        let (_, mut returns, mut returned) = pair(4);
        for round in 0..5 {
            (0..3).for_each(|n| returns.give(round * 3 + n));
            assert_eq!(collected(&mut returned), [round * 3, round * 3 + 1, round * 3 + 2]);
            assert_eq!(collected(&mut returned), []);
        }
    }

    #[test]
    fn a_count_that_goes_back_or_too_far_is_a_violation() {
        for lie in [0, 1, 7, u64::MAX] {
            let (memory, mut returns, mut returned) = pair(4);
            returns.give(1);
            returns.give(2);
            assert_eq!(collected(&mut returned), [1, 2]);
            Cells::own(memory, 0, 1).unwrap().store(0, lie, Relaxed);
            assert_eq!(returned.collect(|_| {}), Err(Violation::Returns { known: 2, found: lie }));
        }
    }
}
