//! The doorbell of a context inside this process: a ring's other side wakes the task that waits here.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use synod_ring::Waiter;

#[derive(Default)]
struct Signal {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Waiter for Signal {
    fn wake(&self) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// The sleep side of a doorbell whose sleeper is a task. One task waits at a time; any number of senders may wake it.
#[derive(Default)]
pub struct TaskWaiter {
    signal: Arc<Signal>,
}

impl TaskWaiter {
    /// A doorbell that nobody has rung.
    pub fn new() -> Self {
        Self::default()
    }

    /// The wake side, for a ring or a mailbox.
    pub fn waker(&self) -> Arc<dyn Waiter> {
        self.signal.clone()
    }

    /// Waits until it is rung. A ring that came since the last wait counts: then this returns at once.
    pub async fn parked(&self) {
        poll_fn(|cx| self.poll_parked(cx)).await;
    }

    /// As [`Self::parked`], for those who poll by hand.
    pub fn poll_parked(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.signal.rung.swap(false, Ordering::Acquire) {
            return Poll::Ready(());
        }
        self.signal.task.register(cx.waker());
        // Rung between the look and the registration: nobody would wake this task.
        if self.signal.rung.swap(false, Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl fmt::Debug for TaskWaiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskWaiter").field("rung", &self.signal.rung.load(Ordering::Relaxed)).finish()
    }
}
