//! A word by which one side says that it waits for something that the other gives: a credit, a slot, memory.
//!
//! The doorbell's protocol once more: say so, fence, look again; against: give, fence, ask whether it is wanted. One of the two sees the other.
//! The word is written rarely, so asking costs no line that moves.

use crate::cells::Cells;
use crate::layout::LayoutError;
use crate::sync::{Hardware, Memory};
use std::sync::atomic::Ordering::Relaxed;
use synod_probe::plant;

/// The side that waits.
#[derive(Clone, Debug)]
pub struct Wish<M: Memory = Hardware>(Cells<M>);

impl<M: Memory> Wish<M> {
    /// At byte `at` of memory that this side owns.
    pub fn new(memory: M, at: usize) -> Result<Self, LayoutError> {
        Ok(Self(Cells::own(memory, at, 1)?))
    }

    /// Says that this side waits. After that, look once more: who gave before rings nobody.
    pub fn say(&self) {
        self.0.store(0, 1, Relaxed);
        self.0.fence();
    }

    /// Says that it waits no longer.
    pub fn drop_it(&self) {
        self.0.store(0, 0, Relaxed);
    }
}

/// The side that gives.
#[derive(Clone, Debug)]
pub struct Wished<M: Memory = Hardware>(Cells<M>);

impl<M: Memory> Wished<M> {
    /// At byte `at` of the other side's memory.
    pub fn new(memory: M, at: usize) -> Result<Self, LayoutError> {
        Ok(Self(Cells::peer(memory, at, 1)?))
    }

    /// Whether the other side waits, asked after something was given: ring it if it does.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        if !plant!("ring.credit-without-fence") {
            self.0.fence();
        }
        self.0.load(0, Relaxed) != 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_seen_as_long_as_it_stands() {
        let memory = Hardware::heap(64).unwrap();
        let (wish, wished) = (Wish::new(memory.clone(), 8).unwrap(), Wished::new(memory, 8).unwrap());
        assert!(!wished.is_wanted());
        wish.say();
        assert!(wished.is_wanted());
        wish.drop_it();
        assert!(!wished.is_wanted());
    }
}
