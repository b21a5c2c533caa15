//! How much the next batch may take, from how long the last ones took. Pure.
//!
//! A batch that costs hardly more time than a small one should have been larger; one that costs many times as much makes whoever comes
//! next wait for it. So the limit doubles and halves between the two; nobody ever sleeps for it.

use std::time::Duration;

/// A batch up to this, bytes, shows what a sync costs by itself.
const SMALL: usize = 16 << 10;

/// A full batch may take so many times as long as a small one before the limit falls; at half of that it still rises.
const COSTLY: u32 = 8;

/// The limit of a store's batches.
#[derive(Debug)]
pub(crate) struct Pace {
    limit: usize,
    max: usize,
    /// What a small batch takes, on average.
    small: Option<Duration>,
}

impl Pace {
    pub(crate) fn new(max: usize) -> Self {
        Self { limit: max.min(256 << 10), max, small: None }
    }

    /// How many bytes a batch may have.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// A batch of this length took this long to become durable.
    pub(crate) fn took(&mut self, len: usize, time: Duration) {
        if len <= SMALL {
            self.small = Some(self.small.map_or(time, |small| (small * 7 + time) / 8));
        } else if len * 2 > self.limit {
            let small = self.small.unwrap_or(time / COSTLY);
            if time > small * COSTLY {
                self.limit = (self.limit / 2).max(4 * SMALL).min(self.max);
            } else if time * 2 < small * COSTLY {
                self.limit = (self.limit * 2).min(self.max);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn batches_grow_while_their_length_costs_little_and_shrink_when_it_costs_much() {
        let mut pace = Pace::new(1 << 20);
        pace.took(4096, MS);
        for _ in 0..5 {
            pace.took(pace.limit(), 2 * MS);
        }
        assert_eq!(pace.limit(), 1 << 20);
        for _ in 0..10 {
            pace.took(pace.limit(), 20 * MS);
        }
        assert_eq!(pace.limit(), 64 << 10);
    }

    #[test]
    fn batches_that_were_not_full_say_nothing_and_a_small_bound_holds() {
        let mut pace = Pace::new(1 << 20);
        pace.took(4096, MS);
        pace.took(20_000, 100 * MS);
        assert_eq!(pace.limit(), 256 << 10);
        let mut tiny = Pace::new(8 << 10);
        tiny.took(8 << 10, 100 * MS);
        tiny.took(8 << 10, MS);
        assert_eq!(tiny.limit(), 8 << 10);
    }
}
