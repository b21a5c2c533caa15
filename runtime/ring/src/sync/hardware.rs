//! The arm that ships: atomics and plain pointers over a region. Every method is one instruction or none.

use super::{Bytes, BytesMut, Memory};
use crate::layout::LayoutError;
use crate::region::{ALIGN, Heap, Region, RegionError};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A handle to a region's memory as the processor sees it.
#[derive(Clone)]
pub struct Hardware {
    base: NonNull<u8>,
    len: usize,
    region: Arc<dyn Region>,
}

impl Hardware {
    /// A handle to `region`, which is kept until the last clone is dropped.
    pub fn new(region: impl Region) -> Self {
        let base = region.base();
        assert!(base.as_ptr().addr().is_multiple_of(ALIGN), "a region's base is aligned to {ALIGN} bytes");
        Self { base, len: region.len(), region: Arc::new(region) }
    }

    /// A fresh zeroed region of `len` bytes on the heap.
    pub fn heap(len: usize) -> Result<Self, RegionError> {
        Heap::new(len).map(Self::new)
    }

    /// A handle to `len` bytes from byte `at` of the same region, a multiple of [`ALIGN`].
    pub fn slice(&self, at: usize, len: usize) -> Result<Self, LayoutError> {
        assert!(at.is_multiple_of(ALIGN), "a part of a region starts at a multiple of {ALIGN}");
        let needed = at.saturating_add(len);
        if needed > self.len {
            return Err(LayoutError::TooShort { len: self.len, needed });
        }
        // SAFETY: `at` lies inside the region, or at its end.
        let base = unsafe { self.base.add(at) };
        Ok(Self { base, len, region: self.region.clone() })
    }

    #[inline(always)]
    unsafe fn word(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at.is_multiple_of(8) && at + 8 <= self.len);
        // SAFETY: the caller gives an aligned word inside the region, and words are only ever touched as atomics.
        unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(at).cast()) }
    }
}

// SAFETY: the pointer belongs to the region, which is Send and Sync and kept alive; words are atomics, and who may touch
// which bytes when is the ring's business, by the contracts of `read` and `write`.
unsafe impl Send for Hardware {}
// SAFETY: as above.
unsafe impl Sync for Hardware {}

/// A bare pointer to borrowed bytes.
pub struct Raw(*mut u8);

impl Bytes for Raw {
    #[inline(always)]
    fn pointer(&self) -> *const u8 {
        self.0
    }
}

impl BytesMut for Raw {
    #[inline(always)]
    fn pointer(&mut self) -> *mut u8 {
        self.0
    }
}

// SAFETY: pointers come from a region kept alive by the handle; words are processor atomics.
unsafe impl Memory for Hardware {
    type Reading = Raw;
    type Writing = Raw;

    #[inline(always)]
    fn len(&self) -> usize {
        self.len
    }

    fn writable(&self) -> bool {
        self.region.writable()
    }

    #[inline(always)]
    unsafe fn load(&self, at: usize, order: Ordering) -> u64 {
        // SAFETY: the caller's promise is passed on.
        let word = unsafe { self.word(at) };
        if order != Ordering::Acquire {
            return word.load(order);
        }
        // In memory mapped for reading only, relaxed loads alone are sure to be plain loads.
        let value = word.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        value
    }

    #[inline(always)]
    unsafe fn store(&self, at: usize, value: u64, order: Ordering) {
        #[cfg(madsim)]
        self.region.before_store();
        // SAFETY: the caller's promise is passed on.
        unsafe { self.word(at) }.store(value, order);
    }

    #[inline(always)]
    unsafe fn swap(&self, at: usize, value: u64, order: Ordering) -> u64 {
        #[cfg(madsim)]
        self.region.before_store();
        // SAFETY: the caller's promise is passed on.
        unsafe { self.word(at) }.swap(value, order)
    }

    #[inline(always)]
    unsafe fn fetch_or(&self, at: usize, bits: u64, order: Ordering) -> u64 {
        #[cfg(madsim)]
        self.region.before_store();
        // SAFETY: the caller's promise is passed on.
        unsafe { self.word(at) }.fetch_or(bits, order)
    }

    #[inline(always)]
    unsafe fn read(&self, at: usize, len: usize) -> Raw {
        debug_assert!(at + len <= self.len);
        // SAFETY: the caller gives a range inside the region.
        Raw(unsafe { self.base.as_ptr().add(at) })
    }

    #[inline(always)]
    unsafe fn write(&self, at: usize, len: usize) -> Raw {
        #[cfg(madsim)]
        self.region.before_store();
        debug_assert!(at + len <= self.len);
        // SAFETY: the caller gives a range inside the region.
        Raw(unsafe { self.base.as_ptr().add(at) })
    }

    #[inline(always)]
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }

    #[inline(always)]
    fn prefetch_for_write(&self, at: usize) {
        let line = self.base.as_ptr().wrapping_add(at);
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        // SAFETY: a prefetch has no effect but on caches, whatever the address.
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) line, options(nostack, preserves_flags, readonly));
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = line;
    }
}
