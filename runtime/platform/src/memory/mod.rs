//! Memory that contexts and processes share, and how one waits for the other.
//!
//! Inside a process: [`region`] gives zeroed heap memory for rings, [`TaskWaiter`] is the doorbell of a context: a ring's other side wakes the
//! task that waits here. Between processes: [`shared`] gives memory that its owner alone writes, for good; another process gets a
//! [`Handle`] to it over [`local`](crate::local) and may [`open`] it for reading, after its seals and its size were checked. [`Bell`] and
//! [`Ringer`] are the doorbell that goes with it. Memory can be refused, and in simulation the fault plan refuses it. [`pages`] says where it
//! lies, [`dma`] gives memory that devices can reach.

mod bell;
pub mod dma;
mod error;
pub mod pages;
#[cfg(not(madsim))]
mod real;
mod sealed;
mod shared;
#[cfg(madsim)]
mod sim;
mod waiter;

use std::ptr::NonNull;

use synod_ring::region::{Heap, Region, RegionError};

pub use bell::{Bell, Ringer, ringer};
pub use error::MemoryError;
#[cfg(not(madsim))]
use real as arm;
pub(crate) use sealed::Mapping;
pub use shared::{ForeignRegion, Handle, SHARED_MAX, SharedRegion, check, open, shared};
#[cfg(madsim)]
use sim as arm;
#[cfg(madsim)]
pub use sim::control;
pub use synod_ring::Waiter;
pub use waiter::TaskWaiter;

/// Zeroed memory for a ring, given back when dropped; made by [`region`].
#[derive(Debug)]
pub struct HeapRegion {
    heap: Heap,
    _grant: arm::Grant,
}

/// Asks for `len` zeroed bytes, aligned for a ring.
pub fn region(len: usize) -> Result<HeapRegion, RegionError> {
    let grant = arm::grant(len)?;
    Ok(HeapRegion { heap: Heap::new(len)?, _grant: grant })
}

// SAFETY: every answer is the heap region's, which keeps the promise; the grant only counts.
unsafe impl Region for HeapRegion {
    fn base(&self) -> NonNull<u8> {
        self.heap.base()
    }

    fn len(&self) -> usize {
        self.heap.len()
    }
}
