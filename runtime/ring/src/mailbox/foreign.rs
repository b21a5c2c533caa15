//! Lanes from other processes: who may write nothing but its own region sets no readiness bit, so its tail is looked at.

use super::{Class, ConnectError, LaneId, Mailbox, QUOTA};
use crate::doorbell::Waiter;
use crate::spsc::Consumer;
use crate::sync::Memory;
use std::sync::Arc;
use synod_probe::plant;

/// Tails that are looked at for each quota of records delivered: what a look costs is shared by as many.
const TAILS: usize = 8;

/// One class's foreign lanes, and the readiness bits that stand for them, which nobody else sees.
#[derive(Default)]
pub(super) struct Watched {
    places: Vec<u16>,
    /// Empty until there is a lane.
    words: Vec<u64>,
    summary: u64,
}

impl Watched {
    /// Whether a bit may be set.
    #[inline(always)]
    pub fn any(&self) -> bool {
        self.summary != 0
    }

    /// Sets the bit of a lane that was added.
    pub fn set(&mut self, place: usize) {
        self.words[place / 64] |= 1 << (place % 64);
        self.summary |= 1 << (place / 64);
    }

    /// Takes the summary: which words have bits.
    pub fn take_summary(&mut self) -> u64 {
        std::mem::take(&mut self.summary)
    }

    /// Takes a word's bits.
    #[inline(always)]
    pub fn take(&mut self, word: usize) -> u64 {
        self.words.get_mut(word).map_or(0, std::mem::take)
    }

    fn add(&mut self, place: u16) {
        let word = usize::from(place) / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.places.push(place);
    }

    /// The lane is no more.
    pub fn forget(&mut self, place: usize) {
        self.places.retain(|other| usize::from(*other) != place);
    }
}

impl<M: Memory> Mailbox<M> {
    /// Takes in a lane of `class` whose sender is another process: `own` is this side's region of it, `peer` the sender's,
    /// which is only read. `space` wakes the sender when it waits for space. The sender makes its end with
    /// [`Producer::into_mailbox`](crate::Producer::into_mailbox), and may have published before this: a mailbox that was said
    /// to sleep is awake again, and its waiter woken.
    pub fn admit_foreign(
        &mut self,
        class: Class,
        own: M,
        peer: M,
        space: Option<Arc<dyn Waiter>>,
    ) -> Result<LaneId, ConnectError> {
        let consumer = Consumer::over_any(own, peer, space)?;
        let id = self.shared.occupy(class)?;
        self.seat(id, consumer, true);
        self.ranks[usize::from(class.0)].watched.add(id.place);
        self.foreign += 1;
        if self.sleeping && !plant!("ring.admitted-in-sleep") {
            // Whoever published before saw a sleeper that did not look at this tail.
            self.wake_up();
            self.shared.waiter.wake();
        }
        Ok(id)
    }

    /// Looks at the tails of all foreign lanes; true if one has something, which then has its turn.
    #[cold]
    #[inline(never)]
    pub(super) fn look_at_tails(&mut self) -> bool {
        let mut found = false;
        if self.foreign == 0 {
            return found;
        }
        for rank in &mut self.ranks {
            for at in 0..rank.watched.places.len() {
                let place = usize::from(rank.watched.places[at]);
                let lane = rank.lanes[place].as_ref().filter(|lane| !lane.paused);
                if lane.is_some_and(|lane| lane.consumer.has_more() || lane.consumer.is_closed()) {
                    rank.watched.set(place);
                    found = true;
                }
            }
        }
        found
    }

    /// Records after which the foreign tails are looked at again although other lanes are ready.
    pub(super) fn records_between_looks(&self) -> usize {
        QUOTA * (1 + self.foreign / TAILS)
    }
}
