//! The memory a ring lies in: anything with a base, a length and a promise. The heap's is here; shared ones are platform's.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Bytes to which a region's base is aligned: two cache lines.
pub const ALIGN: usize = 128;

/// A piece of memory that two sides share.
///
/// A side of a ring stores only into its *own* region. The *peer's* it reads, so that one may be mapped for reading only, and
/// so may a mailbox's control memory in a process that only sends to it. Who gives a read-only region where words are stored is refused.
///
/// # Safety
///
/// From the moment a region is given to a ring until it is dropped, `base` points to `len` readable, initialised
/// bytes, aligned to [`ALIGN`], which can also be written if `writable` says so; the answers never change; in this process
/// nothing reads or writes these bytes but through the ring; and other processes write them only if `writable` says no. (What such
/// a peer wrote is delivered as a [`ForeignRecord`](crate::spsc::ForeignRecord) alone.) A region that both write may be given to a
/// [`queue`](crate::queue) alone, which copies before it looks.
pub unsafe trait Region: Send + Sync + 'static {
    /// The first byte.
    fn base(&self) -> NonNull<u8>;
    /// How many bytes.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Called in the simulator before each store through a ring: between any two a process can be made to die.
    #[cfg(madsim)]
    fn before_store(&self) {}
    /// Whether it is mapped for writing too.
    fn writable(&self) -> bool {
        true
    }
}

/// Why there is no region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// The allocator had no such piece.
    #[error("no memory for a region of {len} bytes: free some, or ask for a smaller ring")]
    OutOfMemory {
        /// Bytes asked for.
        len: usize,
    },
}

/// A zeroed region on the heap, for rings inside one process.
#[derive(Debug)]
pub struct Heap {
    base: NonNull<u8>,
    layout: Layout,
}

impl Heap {
    /// A zeroed region of `len` bytes.
    pub fn new(len: usize) -> Result<Self, RegionError> {
        let refused = RegionError::OutOfMemory { len };
        let layout = Layout::from_size_align(len.max(1), ALIGN).map_err(|_| refused)?;
        // SAFETY: the layout's size is at least one.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(refused)?;
        Ok(Self { base, layout })
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed only here.
        unsafe { dealloc(self.base.as_ptr(), self.layout) }
    }
}

// SAFETY: the allocation belongs to this value alone, which hands out its address and touches nothing.
unsafe impl Send for Heap {}
// SAFETY: as above; `base` and `len` only read fields.
unsafe impl Sync for Heap {}

// SAFETY: allocated zeroed with that size and alignment, freed on drop only, never touched otherwise.
unsafe impl Region for Heap {
    fn base(&self) -> NonNull<u8> {
        self.base
    }

    fn len(&self) -> usize {
        self.layout.size()
    }
}
