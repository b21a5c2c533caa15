//! Reach counters: how often a rare event happened. A sweep that never reached one has a hole.

#[cfg(feature = "observe")]
use std::collections::BTreeMap;
#[cfg(feature = "observe")]
use std::sync::Mutex;

#[cfg(feature = "observe")]
static REACHED: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// Counts one visit; called by [`reach!`](crate::reach!).
#[cfg(feature = "observe")]
pub fn hit(name: &'static str) {
    *REACHED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).entry(name).or_default() += 1;
}

/// Every event reached so far in this process, by name. Empty without the feature `observe`.
pub fn snapshot() -> Vec<(&'static str, u64)> {
    #[cfg(feature = "observe")]
    {
        let reached = REACHED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        reached.iter().map(|(name, count)| (*name, *count)).collect()
    }
    #[cfg(not(feature = "observe"))]
    Vec::new()
}

/// Marks a rare event: `reach!("wal.tail_truncated")`.
#[cfg(feature = "observe")]
#[macro_export]
macro_rules! reach {
    ($name:literal) => {
        $crate::reach::hit($name)
    };
}

/// Marks a rare event: `reach!("wal.tail_truncated")`. Nothing in this build.
#[cfg(not(feature = "observe"))]
#[macro_export]
macro_rules! reach {
    ($name:literal) => {};
}
