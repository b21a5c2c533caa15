//! The one door to shared memory. Rings, mailboxes and doorbells touch shared words and bytes only through [`Memory`].
//!
//! Three arms: [`Hardware`] is plain atomics and memcpy on a region and inlines to nothing more; `Loom` runs the same
//! shipping types under the model checker; `Journal` records every store, so that a party can be made to die after each of
//! its steps. The arm is a type parameter of the shipping types, not a second copy of them.

mod hardware;
#[cfg(feature = "journal")]
pub mod journal;
#[cfg(loom)]
mod loom;

pub use self::hardware::Hardware;
#[cfg(loom)]
pub use self::loom::Loom;

use std::sync::atomic::Ordering;

/// A handle to one region's memory: words are atomic, data is plain bytes borrowed in place.
///
/// # Safety
///
/// An implementation hands out pointers to memory of its own that stays valid as long as any clone of the handle,
/// at least as long as `len` says, and words behave as atomics of one modification order.
pub unsafe trait Memory: Clone + Send + Sync + 'static {
    /// Bytes being read in place.
    type Reading: Bytes;
    /// Bytes being written in place; what was written stays when it is dropped.
    type Writing: BytesMut;

    /// Bytes of the region.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this handle may store.
    fn writable(&self) -> bool {
        true
    }

    /// Loads the word at byte `at`.
    ///
    /// # Safety
    /// `at` is a multiple of 8 and a whole word inside the region, in its control part.
    unsafe fn load(&self, at: usize, order: Ordering) -> u64;

    /// Stores the word at byte `at`.
    ///
    /// # Safety
    /// As [`load`](Self::load), and the handle is [`writable`](Self::writable).
    unsafe fn store(&self, at: usize, value: u64, order: Ordering);

    /// Swaps the word at byte `at`, returning what it was.
    ///
    /// # Safety
    /// As [`store`](Self::store).
    unsafe fn swap(&self, at: usize, value: u64, order: Ordering) -> u64;

    /// Sets bits of the word at byte `at`, returning what it was.
    ///
    /// # Safety
    /// As [`store`](Self::store).
    unsafe fn fetch_or(&self, at: usize, bits: u64, order: Ordering) -> u64;

    /// Borrows `len` bytes at `at` for reading.
    ///
    /// # Safety
    /// The range lies in the region's data, and no party of this process writes it until the borrow is dropped.
    unsafe fn read(&self, at: usize, len: usize) -> Self::Reading;

    /// Borrows `len` bytes at `at` for writing.
    ///
    /// # Safety
    /// The range lies in the region's data, nobody else of this process touches it until the borrow is dropped, and the
    /// handle is [`writable`](Self::writable).
    unsafe fn write(&self, at: usize, len: usize) -> Self::Writing;

    /// A sequentially consistent fence.
    fn fence(&self);

    /// Tells the processor that the line at `at` will be written soon; any `at` is good.
    #[inline(always)]
    fn prefetch_for_write(&self, at: usize) {
        let _ = at;
    }
}

/// Bytes borrowed for reading.
pub trait Bytes {
    /// The first of them, valid while this value lives.
    fn pointer(&self) -> *const u8;
}

/// Bytes borrowed for writing.
pub trait BytesMut {
    /// The first of them, valid while this value lives.
    fn pointer(&mut self) -> *mut u8;
}
