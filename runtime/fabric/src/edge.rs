//! Credits from one sending context to one subscription: back-pressure that never lies, inside a process and between two.
//!
//! For each priority the sender counts what it sent and the receiver what it took out of the queue; the difference is what lies between, and
//! never exceeds the capacity. Each counter has one writer, and the two writers' counters lie on lines of their own.

use std::fmt;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, fence};
use std::sync::{Arc, OnceLock, Weak};

use crossbeam_utils::CachePadded;
use synod_probe::{loss, reach};
use synod_ring::{Cells, Hardware, Waiter, wish};
use synod_wire::Priority;

use crate::attach::shape::{RECEIVER_WORDS, SENDER_WORDS};
use crate::registry::{Entry, Shared, Station};

/// Words that the sender writes: what it sent by priority, then what was refused.
const REFUSED: usize = Priority::COUNT;

/// Words that the receiver writes: the places freed by priority, and on the next line what became of the messages.
const DELIVERED: usize = 8;
const EXPIRED: usize = 9;
const CANCELLED: usize = 10;
const LOST: usize = 11;

/// How often a receiver looks whether a sender waits for room, while it takes a full queue.
const WORTH_WAKING: u64 = 8;

/// One sending context, one subscription.
pub(crate) struct Edge {
    pub from: Arc<Station>,
    pub to: Arc<Entry>,
    shared: Weak<Shared>,
    sender: Cells,
    /// Between processes not there before the lane's other end is.
    receiver: OnceLock<Cells>,
    /// The receiver's freed places as the sender last saw them.
    known_freed: CachePadded<[AtomicU64; Priority::COUNT]>,
    wish: Wish,
}

/// How a sender says that it waits for room.
enum Wish {
    /// Inside one process; a line of its own, written rarely.
    Near(CachePadded<AtomicBool>),
    /// To a receiver in another process: in the lane's memory.
    Mine(wish::Wish),
    /// From a sender in another process.
    Theirs { wished: wish::Wished, bell: Arc<dyn Waiter> },
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Edge").field("from", &self.from).field("to", &self.to).finish()
    }
}

/// What became of a message that leaves its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Delivered,
    Expired,
    Cancelled,
    Lost,
}

/// An edge's totals over all priorities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken by the fabric for that receiver.
    pub accepted: u64,
    /// Handed to the receiver.
    pub delivered: u64,
    /// Not taken: the sender was told.
    pub refused: u64,
    /// Given up because the deadline had passed.
    pub expired: u64,
    /// Requests given up because the requester no longer waited.
    pub cancelled: u64,
    /// Given up because the receiver ended.
    pub lost: u64,
}

impl Counts {
    /// Accepted and still on the lane or in the queue.
    pub fn waiting(&self) -> u64 {
        self.accepted - self.delivered - self.expired - self.cancelled - self.lost
    }

    pub(crate) fn add(&mut self, other: Counts) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        // A sender of another process may claim any number.
        self.refused = self.refused.saturating_add(other.refused);
        self.expired += other.expired;
        self.cancelled += other.cancelled;
        self.lost += other.lost;
    }
}

/// Adds one to a counter that only the caller writes.
#[inline]
fn bump(cells: &Cells, index: usize, order: std::sync::atomic::Ordering) {
    cells.store(index, cells.load(index, Relaxed) + 1, order);
}

impl Edge {
    /// Between two contexts of this process.
    pub fn near(from: Arc<Station>, to: Arc<Entry>, shared: &Arc<Shared>) -> Self {
        let row = |words: usize| {
            let memory = Hardware::heap(words * 8).expect("the allocator has two lines");
            Cells::own(memory, 0, words).expect("the memory is as long as asked for")
        };
        let receiver = OnceLock::from(row(RECEIVER_WORDS));
        let wish = Wish::Near(CachePadded::default());
        let shared = Arc::downgrade(shared);
        Self { from, to, shared, sender: row(SENDER_WORDS), receiver, known_freed: Default::default(), wish }
    }

    /// To a subscription of another process; its counters come with [`Self::meet`].
    pub fn outgoing(
        from: Arc<Station>,
        to: Arc<Entry>,
        shared: &Arc<Shared>,
        sender: Cells,
        wish: wish::Wish,
    ) -> Self {
        let (receiver, wish) = (OnceLock::new(), Wish::Mine(wish));
        let shared = Arc::downgrade(shared);
        Self { from, to, shared, sender, receiver, known_freed: Default::default(), wish }
    }

    /// From a context of another process.
    pub fn incoming(
        from: Arc<Station>,
        to: Arc<Entry>,
        shared: &Arc<Shared>,
        sender: Cells,
        receiver: Cells,
        wished: wish::Wished,
        bell: Arc<dyn Waiter>,
    ) -> Self {
        let (receiver, wish) = (OnceLock::from(receiver), Wish::Theirs { wished, bell });
        let shared = Arc::downgrade(shared);
        Self { from, to, shared, sender, receiver, known_freed: Default::default(), wish }
    }

    /// Sender: whether the receiver can see what it counts: false for one of another process for which no lane had a place.
    pub fn is_counted(&self) -> bool {
        self.to.station.away().is_none() || !matches!(self.wish, Wish::Near(_))
    }

    /// Sender: the receiver's counters are there.
    pub fn meet(&self, receiver: Cells) {
        let _met_before = self.receiver.set(receiver);
    }

    /// Sender: whether a message of that priority has a place.
    #[inline]
    pub fn has_room(&self, priority: Priority) -> bool {
        let p = priority.index();
        let sent = self.sender.load(p, Relaxed);
        let capacity = self.to.capacity as u64;
        let known = self.known_freed[p].load(Relaxed);
        if sent - known < capacity {
            return true;
        }
        let freed = self.receiver.get().map_or(0, |receiver| receiver.load(p, Acquire));
        // Another process's claim: more than was sent, or less than before, harms nobody but itself.
        let freed = freed.clamp(known, sent);
        self.known_freed[p].store(freed, Relaxed);
        sent - freed < capacity
    }

    /// Sender: a message was given to the queue or the lane.
    #[inline]
    pub fn count_sent(&self, priority: Priority) {
        bump(&self.sender, priority.index(), Relaxed);
    }

    /// Sender: the message just counted was not given after all.
    pub fn uncount_sent(&self, priority: Priority) {
        let p = priority.index();
        self.sender.store(p, self.sender.load(p, Relaxed) - 1, Relaxed);
    }

    /// Sender: a message was not taken.
    pub fn count_refused(&self) {
        bump(&self.sender, REFUSED, Relaxed);
    }

    /// Sender: wants its station's `space` rung when the receiver has freed an eighth of its places. Look again after this.
    pub fn ask_for_room(&self) {
        match &self.wish {
            Wish::Near(waiting) => {
                waiting.store(true, SeqCst);
                fence(SeqCst);
            }
            Wish::Mine(wish) => wish.say(),
            Wish::Theirs { .. } => {}
        }
    }

    /// Receiver: a message left the queue.
    #[inline]
    pub fn free(&self, priority: Priority, fate: Fate) {
        let counter = match fate {
            Fate::Delivered => DELIVERED,
            Fate::Expired => EXPIRED,
            Fate::Cancelled => CANCELLED,
            Fate::Lost => LOST,
        };
        let Some(receiver) = self.receiver.get() else { return self.tell_sender() };
        let p = priority.index();
        let freed = receiver.load(p, Relaxed) + 1;
        bump(receiver, counter, Relaxed);
        receiver.store(p, freed, Release);
        // A sender that waited would be back for each place. With a full queue before it the receiver comes by here again.
        if freed.is_multiple_of((self.to.capacity as u64 / WORTH_WAKING).max(1)) {
            self.tell_sender();
        }
    }

    /// Wakes a sender that waits for room, or for the news that there never will be.
    #[inline]
    pub fn tell_sender(&self) {
        match &self.wish {
            Wish::Near(waiting) => {
                fence(SeqCst);
                if waiting.load(Relaxed) && waiting.swap(false, SeqCst) {
                    reach!("fabric.sender_woken");
                    self.from.tell_room();
                }
            }
            Wish::Theirs { wished, bell } => {
                if wished.is_wanted() {
                    reach!("attach.sender_woken");
                    bell.wake();
                }
            }
            // Its process tells that it ended.
            Wish::Mine(_) => self.from.tell_room(),
        }
    }

    pub fn counts(&self) -> Counts {
        let most = (self.to.capacity * Priority::COUNT) as u64;
        counted(&self.sender, self.receiver.get(), most)
    }
}

/// What two sides counted. One of them may be another process's claim: it counts for no more than `most` under way.
pub(crate) fn counted(sender: &Cells, receiver: Option<&Cells>, most: u64) -> Counts {
    // The receiver's first: what it took was sent before.
    let of = |index| receiver.map_or(0, |receiver| receiver.load(index, Acquire));
    let (delivered, expired, cancelled, lost) = (of(DELIVERED), of(EXPIRED), of(CANCELLED), of(LOST));
    fence(SeqCst);
    let done = delivered.saturating_add(expired).saturating_add(cancelled).saturating_add(lost);
    let sent = (0..Priority::COUNT).map(|p| sender.load(p, Relaxed)).fold(0, u64::saturating_add);
    let accepted = sent.clamp(done, done.saturating_add(most));
    let refused = sender.load(REFUSED, Relaxed);
    Counts { accepted, delivered, refused, expired, cancelled, lost }
}

impl Drop for Edge {
    /// Nobody can deliver any more what has not been: it is lost with the receiver's context.
    fn drop(&mut self) {
        let mut counts = self.counts();
        let stranded = counts.waiting();
        if stranded > 0 {
            reach!("fabric.stranded");
            loss!("fabric.lane", "the receiving context ended", stranded);
            counts.lost += stranded;
        }
        if let Some(shared) = self.shared.upgrade() {
            shared.retire(counts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn what_foreign_senders_claim_to_have_been_refused_adds_up_whatever_it_is() {
        let mut totals = Counts::default();
        for _ in 0..2 {
            totals.add(Counts { refused: u64::MAX, accepted: 1, ..Counts::default() });
        }
        assert_eq!((totals.refused, totals.accepted), (u64::MAX, 2));
    }
}
