//! Six queues, by priority, strict with ageing.
//!
//! The most urgent message goes first, unless a queue that is not empty was passed over [`PATIENCE`] times in a row: then the one
//! passed over most often goes first. So every waiting head is taken within [`WAIT_MAX`] takes, whatever floods the queues above it,
//! and a CRITICAL message waits for at most five others. Inside one queue the order is first in, first out. Bounds are the
//! senders' credits, not kept here.

use std::collections::VecDeque;

use synod_probe::{plant, reach};
use synod_wire::Priority;

/// How often a waiting queue is passed over before it goes first.
pub const PATIENCE: u32 = 64;

/// A waiting head is taken at the latest by this many takes after it became one.
pub const WAIT_MAX: u32 = PATIENCE + Priority::COUNT as u32;

/// Six queues.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    queues: [VecDeque<T>; Priority::COUNT],
    /// Takes in a row that passed over the queue while something waited in it.
    passed: [u32; Priority::COUNT],
    /// Which queues are not empty, by bit.
    waiting: u8,
    len: usize,
}

/// Every priority: the set for [`Mailbox::take`] when nothing is held back.
pub(crate) const ALL: u8 = (1 << Priority::COUNT) - 1;

impl<T> Mailbox<T> {
    pub fn new() -> Self {
        Self { queues: Default::default(), passed: [0; Priority::COUNT], waiting: 0, len: 0 }
    }

    #[inline]
    pub fn put(&mut self, priority: Priority, item: T) {
        self.queues[priority.index()].push_back(item);
        self.waiting |= 1 << priority.index();
        self.len += 1;
    }

    /// Takes the next item of those priorities whose bit is set in `among`.
    #[inline]
    pub fn take(&mut self, among: u8) -> Option<T> {
        let waiting = self.waiting & among;
        if waiting == 0 {
            return None;
        }
        let index = if waiting & (waiting - 1) == 0 {
            waiting.trailing_zeros() as usize
        } else {
            self.choose(waiting)
        };
        self.passed[index] = 0;
        let item = self.queues[index].pop_front();
        if self.queues[index].is_empty() {
            self.waiting &= !(1 << index);
        }
        self.len -= 1;
        item
    }

    /// Among two or more that wait: the most urgent, or the one out of patience.
    fn choose(&mut self, waiting: u8) -> usize {
        let mut chosen = waiting.trailing_zeros() as usize;
        if plant!("fabric.priority-inverted") {
            chosen = 7 - waiting.leading_zeros() as usize;
        }
        let mut longest = PATIENCE - 1;
        for index in (0..Priority::COUNT).filter(|index| waiting & 1 << index != 0) {
            if self.passed[index] > longest && !plant!("fabric.low-starves") {
                longest = self.passed[index];
                chosen = index;
                reach!("fabric.aged");
            }
        }
        for index in (0..Priority::COUNT).filter(|index| waiting & 1 << index != 0) {
            self.passed[index] += 1;
        }
        chosen
    }

    /// Takes every item that `unwanted` names, in order.
    pub fn extract(&mut self, mut unwanted: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for index in 0..Priority::COUNT {
            for item in std::mem::take(&mut self.queues[index]) {
                if unwanted(&item) {
                    taken.push(item);
                } else {
                    self.queues[index].push_back(item);
                }
            }
            if self.queues[index].is_empty() {
                self.waiting &= !(1 << index);
                self.passed[index] = 0;
            }
        }
        self.len -= taken.len();
        taken
    }

    /// The most urgent priority that waits, as its index.
    pub fn best(&self, among: u8) -> Option<usize> {
        let waiting = self.waiting & among;
        (waiting != 0).then(|| waiting.trailing_zeros() as usize)
    }

    pub fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, Mailbox, PATIENCE, WAIT_MAX};
    use proptest::prelude::*;
    use synod_wire::Priority;

    #[test]
    fn the_urgent_go_first_and_equals_in_order() {
        let mut mailbox = Mailbox::new();
        for (n, priority) in
            [Priority::Low, Priority::Critical, Priority::Normal, Priority::Critical].into_iter().enumerate()
        {
            mailbox.put(priority, n);
        }
        let order: Vec<_> = std::iter::from_fn(|| mailbox.take(ALL)).collect();
        assert_eq!(order, [1, 3, 2, 0]);
    }

    #[test]
    fn under_a_flood_of_critical_each_low_message_still_gets_its_turn() {
        let mut mailbox = Mailbox::new();
        mailbox.put(Priority::Low, 0);
        for n in 1..=PATIENCE {
            mailbox.put(Priority::Critical, n);
            assert_eq!(mailbox.take(ALL), Some(n));
            mailbox.put(Priority::Critical, n);
            mailbox.take(1).unwrap();
        }
        mailbox.put(Priority::Critical, 99);
        mailbox.put(Priority::Critical, 99);
        let next = [mailbox.take(ALL), mailbox.take(ALL)];
        assert!(next.contains(&Some(0)), "{next:?}");
    }

    #[test]
    fn what_is_held_back_is_not_taken_and_keeps_its_place() {
        let mut mailbox = Mailbox::new();
        mailbox.put(Priority::Critical, 1);
        mailbox.put(Priority::Normal, 2);
        assert_eq!(mailbox.take(ALL & !1), Some(2));
        assert_eq!(mailbox.take(ALL & !1), None);
        assert_eq!(mailbox.take(ALL), Some(1));
    }

    proptest! {
        #[test]
        fn every_waiting_head_is_taken_within_the_stated_bound(floods in prop::collection::vec(0usize..6, 200..1200)) {
            let mut mailbox = Mailbox::new();
            for priority in Priority::ALL {
                mailbox.put(priority, priority);
            }
            let mut waited = [0u32; 6];
            for flood in floods {
                mailbox.put(Priority::ALL[flood], Priority::ALL[flood]);
                let taken = mailbox.take(ALL).unwrap();
                for priority in Priority::ALL {
                    let waits = priority != taken && mailbox.best(1 << priority.index()).is_some();
                    waited[priority.index()] = if waits { waited[priority.index()] + 1 } else { 0 };
                    prop_assert!(waited[priority.index()] < WAIT_MAX);
                }
            }
        }

        #[test]
        fn each_queue_is_first_in_first_out_and_nothing_is_lost(puts in prop::collection::vec((0usize..6, any::<bool>()), 0..300)) {
            let mut mailbox = Mailbox::new();
            let mut next_in = [0u32; 6];
            let mut next_out = [0u32; 6];
            let mut check = |(priority, n): (usize, u32)| {
                let right = next_out[priority] == n;
                next_out[priority] += 1;
                right
            };
            for (priority, take) in puts {
                mailbox.put(Priority::ALL[priority], (priority, next_in[priority]));
                next_in[priority] += 1;
                if take {
                    prop_assert!(check(mailbox.take(ALL).unwrap()));
                }
            }
            while let Some(item) = mailbox.take(ALL) {
                prop_assert!(check(item));
            }
            prop_assert_eq!(next_in, next_out);
            prop_assert_eq!(mailbox.len(), 0);
        }
    }
}
