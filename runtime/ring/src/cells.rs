//! A row of words in shared memory with one writer: counters that the other side, and whoever accounts for both, may read.
//!
//! What is read from the other side's row is a claim and no more: whoever uses it checks it against what it knows.

use crate::layout::{self, LayoutError};
use crate::sync::{Hardware, Memory};
use std::sync::atomic::Ordering;

/// Words of eight bytes in a row, written by one side.
#[derive(Clone)]
pub struct Cells<M: Memory = Hardware> {
    memory: M,
    at: usize,
    len: usize,
    own: bool,
}

impl<M: Memory> Cells<M> {
    /// `len` words from byte `at` of memory that this side owns.
    pub fn own(memory: M, at: usize, len: usize) -> Result<Self, LayoutError> {
        layout::writable(&memory)?;
        Self::over(memory, at, len, true)
    }

    /// `len` words from byte `at` of the other side's memory: to be read only.
    pub fn peer(memory: M, at: usize, len: usize) -> Result<Self, LayoutError> {
        Self::over(memory, at, len, false)
    }

    fn over(memory: M, at: usize, len: usize, own: bool) -> Result<Self, LayoutError> {
        let at = at.next_multiple_of(8);
        let needed = at + len * 8;
        if memory.len() < needed {
            return Err(LayoutError::TooShort { len: memory.len(), needed });
        }
        Ok(Self { memory, at, len, own })
    }

    /// The word at `index`.
    ///
    /// Panics if there is none.
    #[inline]
    pub fn load(&self, index: usize, order: Ordering) -> u64 {
        assert!(index < self.len, "word {index} of {}", self.len);
        // SAFETY: a row lies inside its memory, as was checked when it was made, and starts at a multiple of eight.
        unsafe { self.memory.load(self.at + index * 8, order) }
    }

    /// Stores the word at `index`.
    ///
    /// Panics if there is none, or if the row is the other side's.
    #[inline]
    pub fn store(&self, index: usize, value: u64, order: Ordering) {
        assert!(self.own && index < self.len, "word {index} of {}, own: {}", self.len, self.own);
        // SAFETY: as for `load`; the memory is this side's own.
        unsafe { self.memory.store(self.at + index * 8, value, order) }
    }

    /// A sequentially consistent fence.
    #[inline]
    pub fn fence(&self) {
        self.memory.fence();
    }
}

impl<M: Memory> std::fmt::Debug for Cells<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries((0..self.len).map(|index| self.load(index, Ordering::Relaxed))).finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn what_the_writer_stores_the_reader_sees_and_only_within_the_row() {
        let memory = Hardware::heap(256).unwrap();
        let (own, peer) =
            (Cells::own(memory.clone(), 64, 8).unwrap(), Cells::peer(memory.clone(), 64, 8).unwrap());
        own.store(7, 9, Relaxed);
        assert_eq!(peer.load(7, Relaxed), 9);
        let panics = |act: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).is_err();
        assert!(panics(&|| { _ = peer.load(8, Relaxed) }));
        assert!(panics(&|| peer.store(0, 1, Relaxed)));
        assert_eq!(Cells::own(memory, 200, 8).err(), Some(LayoutError::TooShort { len: 256, needed: 264 }));
    }
}
