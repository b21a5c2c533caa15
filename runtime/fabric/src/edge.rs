//! Credits from one sending context to one subscription: back-pressure that never lies.
//!
//! For each priority the sender counts what it sent and the receiver what it took out of the queue; the difference is what lies between, and
//! never exceeds the capacity. Each counter has one writer, and the two writers' counters lie on lines of their own.

use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, fence};

use crossbeam_utils::CachePadded;
use synod_probe::{loss, reach};
use synod_wire::Priority;

use crate::registry::{Entry, Shared, Station};

type Counters = [AtomicU64; Priority::COUNT];

/// One sending context, one subscription.
#[derive(Debug)]
pub(crate) struct Edge {
    pub from: Arc<Station>,
    pub to: Arc<Entry>,
    shared: Weak<Shared>,
    sender: CachePadded<SenderSide>,
    receiver: CachePadded<ReceiverSide>,
    /// The sender waits for room; a line of its own, written rarely.
    waiting: CachePadded<AtomicBool>,
}

#[derive(Debug, Default)]
struct SenderSide {
    sent: Counters,
    /// The receiver's `freed` as last seen.
    known_freed: Counters,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct ReceiverSide {
    freed: Counters,
    delivered: AtomicU64,
    expired: AtomicU64,
    cancelled: AtomicU64,
    lost: AtomicU64,
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
        self.refused += other.refused;
        self.expired += other.expired;
        self.cancelled += other.cancelled;
        self.lost += other.lost;
    }
}

/// Adds one to a counter that only the caller writes.
#[inline]
fn bump(counter: &AtomicU64, order: std::sync::atomic::Ordering) {
    counter.store(counter.load(Relaxed) + 1, order);
}

impl Edge {
    pub fn new(from: Arc<Station>, to: Arc<Entry>, shared: Weak<Shared>) -> Self {
        Self {
            from,
            to,
            shared,
            sender: CachePadded::default(),
            receiver: CachePadded::default(),
            waiting: CachePadded::default(),
        }
    }

    /// Sender: whether a message of that priority has a place.
    #[inline]
    pub fn has_room(&self, priority: Priority) -> bool {
        let p = priority.index();
        let sent = self.sender.sent[p].load(Relaxed);
        let capacity = self.to.capacity as u64;
        if sent - self.sender.known_freed[p].load(Relaxed) < capacity {
            return true;
        }
        let freed = self.receiver.freed[p].load(Acquire);
        self.sender.known_freed[p].store(freed, Relaxed);
        sent - freed < capacity
    }

    /// Sender: a message was given to the queue or the lane.
    #[inline]
    pub fn count_sent(&self, priority: Priority) {
        bump(&self.sender.sent[priority.index()], Relaxed);
    }

    /// Sender: the message just counted was not given after all.
    pub fn uncount_sent(&self, priority: Priority) {
        let sent = &self.sender.sent[priority.index()];
        sent.store(sent.load(Relaxed) - 1, Relaxed);
    }

    /// Sender: a message was not taken.
    pub fn count_refused(&self) {
        bump(&self.sender.refused, Relaxed);
    }

    /// Sender: wants its station's `space` rung when the receiver frees a place. Look again after this.
    pub fn ask_for_room(&self) {
        self.waiting.store(true, SeqCst);
        fence(SeqCst);
    }

    /// Receiver: a message left the queue.
    #[inline]
    pub fn free(&self, priority: Priority, fate: Fate) {
        let counter = match fate {
            Fate::Delivered => &self.receiver.delivered,
            Fate::Expired => &self.receiver.expired,
            Fate::Cancelled => &self.receiver.cancelled,
            Fate::Lost => &self.receiver.lost,
        };
        bump(counter, Relaxed);
        bump(&self.receiver.freed[priority.index()], Release);
        self.tell_sender();
    }

    /// Wakes a sender that waits for room, or for the news that there never will be.
    #[inline]
    pub fn tell_sender(&self) {
        fence(SeqCst);
        if self.waiting.load(Relaxed) && self.waiting.swap(false, SeqCst) {
            reach!("fabric.sender_woken");
            self.from.space.notify_waiters();
        }
    }

    pub fn counts(&self) -> Counts {
        // The receiver's first: what it took was sent before.
        let delivered = self.receiver.delivered.load(Acquire);
        let expired = self.receiver.expired.load(Acquire);
        let cancelled = self.receiver.cancelled.load(Acquire);
        let lost = self.receiver.lost.load(Acquire);
        fence(SeqCst);
        let accepted = self.sender.sent.iter().map(|sent| sent.load(Relaxed)).sum();
        let accepted = std::cmp::max(accepted, delivered + expired + cancelled + lost);
        Counts { accepted, delivered, refused: self.sender.refused.load(Relaxed), expired, cancelled, lost }
    }
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
