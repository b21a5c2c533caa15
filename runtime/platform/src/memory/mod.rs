//! Memory that contexts share, and how one waits for the other.
//!
//! [`region`] gives zeroed heap memory for rings; it can be refused, and in simulation the fault plan refuses it.
//! [`TaskWaiter`] is the doorbell of a context inside this process: a ring's other side wakes the task that waits here.

#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod sim;

use std::fmt;
use std::future::poll_fn;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use synod_ring::Waiter;
use synod_ring::region::{Heap, Region, RegionError};

#[cfg(not(madsim))]
use real as arm;
#[cfg(madsim)]
use sim as arm;
#[cfg(madsim)]
pub use sim::control;

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

#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Waiter for Bell {
    fn wake(&self) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// The sleep side of a doorbell whose sleeper is a task. One task waits at a time; any number of senders may wake it.
#[derive(Default)]
pub struct TaskWaiter {
    bell: Arc<Bell>,
}

impl TaskWaiter {
    /// A doorbell that nobody has rung.
    pub fn new() -> Self {
        Self::default()
    }

    /// The wake side, for a ring or a mailbox.
    pub fn waker(&self) -> Arc<dyn Waiter> {
        self.bell.clone()
    }

    /// Waits until it is rung. A ring that came since the last wait counts: then this returns at once.
    pub async fn parked(&self) {
        poll_fn(|cx| self.poll_parked(cx)).await;
    }

    /// As [`Self::parked`], for those who poll by hand.
    pub fn poll_parked(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.bell.rung.swap(false, Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.bell.task.register(cx.waker());
        // Rung between the look and the registration: nobody would wake this task.
        if self.bell.rung.swap(false, Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl fmt::Debug for TaskWaiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskWaiter").field("rung", &self.bell.rung.load(Ordering::Relaxed)).finish()
    }
}
