//! The doorbell: who publishes wakes the other side only if it sleeps.
//!
//! Both directions are the same protocol, after Dekker: write what the other waits for, fence, look whether it sleeps; against: say that one sleeps,
//! fence, look again. One of the two always sees the other, so no wake-up is lost, and nobody awake is rung for. How to sleep and to
//! wake is the [`Waiter`]'s.

use crate::sync::Memory;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use synod_probe::plant;

/// The wake side of a sleeper: a task's waker, a parked thread, a descriptor.
///
/// The sleep side is the owner's: after `fall_asleep` returned true it parks until `wake` was called, and a `wake` that
/// comes before it parks makes the parking return at once. Waking more than once, or for nothing, is allowed.
pub trait Waiter: Send + Sync + 'static {
    /// Wakes the sleeper.
    fn wake(&self);
}

/// Where a sender tells that its ring has something.
pub(crate) struct Bell<M> {
    /// Memory with the sleeper's word.
    pub control: M,
    /// Where that word is.
    pub sleeping: usize,
    /// The ring's bit in the receiver's mailbox, if it has one.
    pub ready: Option<Ready>,
    /// The sleeper.
    pub waiter: Arc<dyn Waiter>,
}

/// A ring's bit in a mailbox's readiness words.
#[derive(Clone, Copy)]
pub(crate) struct Ready {
    /// Where the word is.
    pub word: usize,
    /// The bit in it.
    pub bit: u64,
    /// Where the summary word is.
    pub summary: usize,
    /// The word's bit in the summary.
    pub summary_bit: u64,
}

impl Ready {
    /// Sets the bit, then the summary's: who takes the summary's bit sees the other.
    #[inline]
    pub fn set<M: Memory>(&self, control: &M) {
        // SAFETY: a mailbox makes `Ready` with words inside its control memory.
        unsafe {
            control.fetch_or(self.word, self.bit, AcqRel);
            control.fetch_or(self.summary, self.summary_bit, AcqRel);
        }
    }
}

impl<M: Memory> Bell<M> {
    /// Called after the tail (or the head) was stored.
    #[inline]
    pub fn ring(&self) {
        if !plant!("ring.doorbell-without-fence") {
            self.control.fence();
        }
        if let Some(ready) = &self.ready {
            // SAFETY: a mailbox makes `Ready` with words inside its control memory.
            let set = unsafe { self.control.load(ready.word, Relaxed) } & ready.bit != 0;
            if set {
                // Not drained since it was set, and whoever set it looked for a sleeper after that.
                return;
            }
            ready.set(&self.control);
            self.control.fence();
        }
        // SAFETY: the bell's maker gives a word inside the control memory.
        if unsafe { self.control.load(self.sleeping, Relaxed) } != 0 {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        synod_probe::reach!("ring.sleeper_woken");
        self.waiter.wake();
    }
}
