//! Slots for long payloads in memory that this side owns and others read: written once, passed by name, free again when nobody holds them.
//!
//! A [`Loan`] is written by whoever took it; sent, it becomes a [`Slice`], which nobody writes any more. The slot is free when the last
//! clone is gone: whoever passes its name to another process keeps a clone for as long as that process may read. The other
//! side reads through a [`View`], which copies: the bytes are its neighbour's, and may change.

use crate::copy::copy_changing;
use crate::region::Region;
use std::fmt;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU8;
use std::sync::{Arc, Mutex, PoisonError};

/// Slots of one size in one region.
pub struct Pool {
    region: Box<dyn Region>,
    slot_len: usize,
    slots: Mutex<Vec<Slot>>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    taken: bool,
    generation: u32,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} bytes in slots of {})", self.region.len(), self.slot_len)
    }
}

impl Pool {
    /// As many slots of `slot_len` bytes as the region, which this side writes, has room for.
    pub fn new(region: impl Region, slot_len: usize) -> Self {
        let count = region.len().checked_div(slot_len).unwrap_or(0);
        Self { region: Box::new(region), slot_len, slots: Mutex::new(vec![Slot::default(); count]) }
    }

    /// Bytes of each slot.
    pub fn slot_len(&self) -> usize {
        self.slot_len
    }

    /// Whether every slot is free.
    pub fn is_idle(&self) -> bool {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).iter().all(|slot| !slot.taken)
    }

    /// A free slot, of which `len` bytes are used; nothing if all are taken, or `len` is more than a slot has.
    pub fn take(self: &Arc<Self>, len: usize) -> Option<Loan> {
        if len > self.slot_len {
            return None;
        }
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let index = slots.iter().position(|slot| !slot.taken)?;
        slots[index].taken = true;
        let generation = slots[index].generation;
        drop(slots);
        Some(Loan(Taken { pool: self.clone(), index, generation, len }))
    }

    fn free(&self, index: usize) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = &mut slots[index];
        *slot = Slot { taken: false, generation: slot.generation.wrapping_add(1) };
    }
}

/// A slot in somebody's hands.
#[derive(Debug)]
struct Taken {
    pool: Arc<Pool>,
    index: usize,
    generation: u32,
    len: usize,
}

impl Taken {
    fn pointer(&self) -> NonNull<u8> {
        // SAFETY: a pool has no slot that does not lie inside its region.
        unsafe { self.pool.region.base().add(self.index * self.pool.slot_len) }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the first `len` bytes of the slot are initialised, as all of a region are, and nobody writes them: this side alone could, and while
        // the slot is taken it does so through the one `Loan` alone, which is borrowed, or gone.
        unsafe { std::slice::from_raw_parts(self.pointer().as_ptr(), self.len) }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.pool.free(self.index);
    }
}

/// A slot to be written. Dropped, it is free again.
#[derive(Debug)]
pub struct Loan(Taken);

impl Loan {
    /// Nobody writes it any more.
    pub fn seal(self) -> Slice {
        Slice(Arc::new(self.0))
    }

    /// Whether it lies in that pool.
    pub fn is_of(&self, pool: &Arc<Pool>) -> bool {
        Arc::ptr_eq(&self.0.pool, pool)
    }

    /// Uses less of it than was asked for.
    pub fn truncate(&mut self, len: usize) {
        self.0.len = self.0.len.min(len);
    }
}

impl Deref for Loan {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `Taken::bytes`; this is the one `Loan` of the slot, borrowed for writing.
        unsafe { std::slice::from_raw_parts_mut(self.0.pointer().as_ptr(), self.0.len) }
    }
}

/// A slot that was written. Its clones are the same bytes.
#[derive(Clone, Debug)]
pub struct Slice(Arc<Taken>);

impl Slice {
    /// Which slot of its pool.
    pub fn slot(&self) -> u32 {
        self.0.index as u32
    }

    /// Which use of the slot.
    pub fn generation(&self) -> u32 {
        self.0.generation
    }

    /// Whether it lies in that pool.
    pub fn is_of(&self, pool: &Arc<Pool>) -> bool {
        Arc::ptr_eq(&self.0.pool, pool)
    }
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// Bytes of another side's region, to be copied out.
#[derive(Clone)]
pub struct View {
    region: Arc<dyn Region>,
    at: usize,
    len: usize,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({} bytes at {})", self.len, self.at)
    }
}

impl View {
    /// `len` bytes from byte `at`; nothing if they do not lie inside the region.
    pub fn new(region: Arc<dyn Region>, at: usize, len: usize) -> Option<Self> {
        let end = at.checked_add(len)?;
        (end <= region.len()).then_some(Self { region, at, len })
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies the bytes of `range` to `into`, each read once. Parse the copy, never the original.
    ///
    /// Panics if the range is not inside, or not as long as `into`.
    pub fn copy_to(&self, range: Range<usize>, into: &mut [u8]) {
        assert!(range.end <= self.len && range.len() == into.len(), "{range:?} of {} bytes", self.len);
        // SAFETY: checked when the view was made, and here.
        let from = unsafe { self.region.base().add(self.at + range.start) };
        // SAFETY: the bytes are inside the region, which is mapped as long as `self` lives; `into` is this side's.
        unsafe { copy_changing(from.as_ptr(), into.as_mut_ptr(), into.len()) };
    }

    /// Where the first byte lies, for who hands the place on to a language without references: the bytes stay mapped as long as a clone of this
    /// lives, and their owner may change them at any moment.
    pub fn start(&self) -> *const u8 {
        // SAFETY: checked when the view was made.
        unsafe { self.region.base().add(self.at) }.as_ptr()
    }

    /// The bytes as they are shared, for who has a faster way to copy them.
    pub fn shared(&self) -> &[AtomicU8] {
        // SAFETY: checked when the view was made; bytes that others may write are read as atomics, which are laid out like bytes.
        unsafe { std::slice::from_raw_parts(self.region.base().add(self.at).as_ptr().cast(), self.len) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::region::Heap;
    use std::sync::atomic::Ordering;

    #[test]
    fn a_slot_is_free_when_the_last_of_those_who_hold_it_lets_go() {
        let pool = Arc::new(Pool::new(Heap::new(8192).unwrap(), 4096));
        let mut first = pool.take(5).unwrap();
        first.copy_from_slice(b"first");
        let second = pool.take(4096).unwrap();
        assert!(pool.take(1).is_none(), "two slots, both taken");
        assert!(pool.take(4097).is_none());
        let slice = first.seal();
        let held = slice.clone();
        assert_eq!((&*held, held.slot(), held.generation()), (&b"first"[..], 0, 0));
        drop(slice);
        assert!(pool.take(1).is_none(), "somebody still holds it");
        drop((held, second));
        assert!(pool.is_idle());
        let again = pool.take(1).unwrap().seal();
        assert_eq!((again.slot(), again.generation()), (0, 1), "another use of the same slot");
    }

    #[test]
    fn a_view_copies_what_lies_inside_and_there_is_none_of_what_does_not() {
        let region = Heap::new(4096).unwrap();
        let region: Arc<dyn Region> = Arc::new(region);
        assert!(View::new(region.clone(), 4000, 97).is_none());
        assert!(View::new(region.clone(), usize::MAX, 2).is_none());
        let view = View::new(region, 3, 21).unwrap();
        let all: Vec<_> = view.shared().iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
        assert_eq!(all, [0; 21]);
        let mut part = [1; 4];
        view.copy_to(17..21, &mut part);
        assert_eq!(part, [0; 4]);
    }
}
