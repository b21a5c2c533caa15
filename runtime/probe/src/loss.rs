//! Loss counters: what was given up, where and why. Always on, one relaxed addition each.
//!
//! "Accepted is never dropped in silence": wherever a message, a byte or a request is given up, `loss!` says so, and
//! [`snapshot`] lists every counter that ever moved.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One place and reason; a `static` made by [`loss!`](crate::loss!).
pub struct Counter {
    place: &'static str,
    reason: &'static str,
    count: AtomicU64,
    listed: AtomicBool,
}

static LISTED: Mutex<Vec<&'static Counter>> = Mutex::new(Vec::new());

impl Counter {
    /// A counter at zero, unlisted until it first moves.
    pub const fn new(place: &'static str, reason: &'static str) -> Self {
        Self { place, reason, count: AtomicU64::new(0), listed: AtomicBool::new(false) }
    }

    /// Adds `n` losses.
    pub fn add(&'static self, n: u64) {
        self.count.fetch_add(n, Ordering::Relaxed);
        if !self.listed.load(Ordering::Relaxed) && !self.listed.swap(true, Ordering::Relaxed) {
            LISTED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(self);
        }
    }
}

/// What one counter said when asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loss {
    /// Where: crate and part, as in `fabric.mailbox`.
    pub place: &'static str,
    /// Why, in a few words.
    pub reason: &'static str,
    /// How many since the process started.
    pub count: u64,
}

/// Every counter that ever moved, by place and reason; equal pairs are added up.
pub fn snapshot() -> Vec<Loss> {
    let listed = LISTED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut losses: Vec<Loss> = listed
        .iter()
        .map(|c| Loss { place: c.place, reason: c.reason, count: c.count.load(Ordering::Relaxed) })
        .collect();
    drop(listed);
    losses.sort();
    losses.dedup_by(|later, first| {
        let same = (later.place, later.reason) == (first.place, first.reason);
        if same {
            first.count += later.count;
        }
        same
    });
    losses
}

/// Counts a loss: `loss!("fabric.mailbox", "deadline passed")`, or with a third argument how many.
#[macro_export]
macro_rules! loss {
    ($place:literal, $reason:literal) => {
        $crate::loss!($place, $reason, 1)
    };
    ($place:literal, $reason:literal, $n:expr) => {{
        static COUNTER: $crate::loss::Counter = $crate::loss::Counter::new($place, $reason);
        COUNTER.add($n);
    }};
}

#[cfg(test)]
mod tests {
    #[test]
    fn losses_are_listed_by_place_and_reason_and_equal_pairs_add_up() {
        crate::loss!("test.place", "full");
        crate::loss!("test.place", "full", 4);
        let found: Vec<_> = super::snapshot().into_iter().filter(|l| l.place == "test.place").collect();
        assert_eq!(found, [super::Loss { place: "test.place", reason: "full", count: 5 }]);
    }
}
