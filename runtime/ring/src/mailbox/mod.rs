//! One receiver over many rings, each with its own sender: a flood in one does not delay a quiet sender in another.
//!
//! Every ring (a *lane*) has a bit in a readiness word, every word a bit in its class's summary. The receiver takes a
//! word's bits, then looks at tails: a sender either sees its bit taken and sets it again, or its tail is seen. A lane's turn
//! ends after [`QUOTA`] records, and its bit is set again. Classes are served strictly by rank, but one that was passed over [`PATIENCE`]
//! turns while it had something gets the next.
//!
//! A sender in another process ([`Mailbox::admit_foreign`]) sets no bit: it writes nothing but its own region. Its tail is looked
//! at instead, as a drain begins, every so many records of it, and before the mailbox sleeps. A lane found so has its bit set
//! in private words, and from there on is a lane like any other.

mod foreign;
mod port;

pub use port::{ConnectError, Port};

use crate::doorbell::{Ready, Waiter};
use crate::layout::{self, LayoutError};
use crate::spsc::{Consumer, ForeignRecord, Record, Taken};
use crate::sync::{Hardware, Memory};
use crate::violation::Violation;
use foreign::Watched;
use port::{Arrival, Shared};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use synod_probe::{plant, reach};

/// Records a lane delivers before the next lane's turn.
pub const QUOTA: usize = 32;
/// Turns of others after which a passed-over class is served.
pub const PATIENCE: u32 = 8;
/// Most classes of a mailbox.
pub const CLASSES: usize = 6;
/// Most lanes of a class.
pub const LANES: usize = 4096;

/// Distance of control words that are written by different parties.
const APART: usize = 128;
pub(crate) const SLEEPING: usize = 0;
const ARRIVALS: usize = APART;
const SUMMARIES: usize = 2 * APART;

/// A rank of lanes: 0 is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(pub u8);

/// Names a lane of a mailbox for as long as the mailbox lives: a place that is used again has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId {
    /// Its class.
    pub class: Class,
    /// Its place in the class.
    pub place: u16,
    /// How many lanes had that place before.
    pub generation: u32,
}

/// What a mailbox hands to its owner.
pub enum Delivery<'a, 'b, M: Memory> {
    /// A record, the oldest of its lane.
    Record(&'a Record<'b, M>),
    /// The same of a lane from another process, which may still change it: to be copied, then parsed.
    Foreign(ForeignRecord<'a, M>),
    /// The lane is finished: its sender is gone and everything was delivered, or the sender broke a rule and was cut off.
    Closed(Option<Violation>),
}

/// What the owner did with a delivery. For a closed lane the answer means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It took the record: it is freed.
    Next,
    /// It could not: the record stays, and its lane rests until [`Mailbox::resume`].
    Pause,
}

/// What a drain did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Records delivered.
    pub records: usize,
    /// Whether it stopped at its budget, with lanes still waiting for their turn.
    pub more: bool,
}

struct Lane<M: Memory> {
    consumer: Consumer<M>,
    generation: u32,
    paused: bool,
    /// Its bit was taken while it was paused.
    owed: bool,
    /// Its sender is another process.
    foreign: bool,
    /// Its sender is dead: what it published is its end.
    orphan: bool,
}

/// What a lane handed out in a turn.
struct Handed {
    records: usize,
    paused: bool,
    drained: Result<usize, Violation>,
}

impl<M: Memory> Lane<M> {
    /// Hands out up to `quota` records. Which of its two forms `deliver` gives a record is decided before, once a turn.
    #[inline(always)]
    fn hand_out<F>(&mut self, quota: usize, mut deliver: F) -> Handed
    where
        F: for<'a> FnMut(&Record<'a, M>) -> Flow,
    {
        let (mut records, mut paused) = (0, false);
        let drained = self.consumer.drain(quota, |record| match deliver(record) {
            Flow::Next => {
                records += 1;
                Taken::Yes
            }
            Flow::Pause => {
                paused = true;
                Taken::No
            }
        });
        Handed { records, paused, drained }
    }
}

/// One class: its lanes, and the readiness bits taken and not yet served.
struct Rank<M: Memory> {
    lanes: Vec<Option<Lane<M>>>,
    summary: u64,
    word: usize,
    bits: u64,
    passed_over: u32,
    watched: Watched,
}

/// The receiving end of many lanes. Owned by one thread; lanes are made through its [`Port`].
pub struct Mailbox<M: Memory = Hardware> {
    shared: Arc<Shared<M>>,
    ranks: Vec<Rank<M>>,
    /// Lanes from other processes, of all classes.
    foreign: usize,
    sleeping: bool,
}

/// Words a class of `lanes` needs.
const fn words(lanes: usize) -> usize {
    lanes.div_ceil(64)
}

/// Bytes of control memory that a mailbox of that many classes and lanes a class needs.
pub const fn control_len(classes: usize, lanes: usize) -> usize {
    SUMMARIES + classes * APART + classes * words(lanes) * APART
}

const fn summary_at(class: usize) -> usize {
    SUMMARIES + class * APART
}

const fn word_at(classes: usize, lanes: usize, class: usize, word: usize) -> usize {
    SUMMARIES + classes * APART + (class * words(lanes) + word) * APART
}

impl<M: Memory> Mailbox<M> {
    /// An empty mailbox over `control` memory of [`control_len`] bytes; `waiter` wakes its owner.
    pub fn new(
        control: M,
        classes: usize,
        lanes: usize,
        waiter: Arc<dyn Waiter>,
    ) -> Result<Self, LayoutError> {
        if !(1..=CLASSES).contains(&classes) || !(1..=LANES).contains(&lanes) {
            return Err(LayoutError::Mailbox { classes, lanes });
        }
        let needed = control_len(classes, lanes);
        if control.len() < needed {
            return Err(LayoutError::TooShort { len: control.len(), needed });
        }
        layout::writable(&control)?;
        for at in (0..needed).step_by(APART) {
            // SAFETY: `needed` bytes are there and can be written, as checked above.
            unsafe { control.store(at, 0, Relaxed) };
        }
        let rank = || Rank {
            lanes: (0..lanes).map(|_| None).collect(),
            summary: 0,
            word: 0,
            bits: 0,
            passed_over: 0,
            watched: Watched::default(),
        };
        Ok(Self {
            shared: Arc::new(Shared::new(control, classes, lanes, waiter)),
            ranks: (0..classes).map(|_| rank()).collect(),
            foreign: 0,
            sleeping: false,
        })
    }

    /// The door through which senders make lanes.
    pub fn port(&self) -> Port<M> {
        Port::new(self.shared.clone())
    }

    /// Delivers up to `budget` records, lane by lane, until nothing is ready.
    pub fn drain<F>(&mut self, budget: usize, mut deliver: F) -> Drained
    where
        F: for<'a, 'b> FnMut(LaneId, Delivery<'a, 'b, M>) -> Flow,
    {
        self.wake_up();
        self.admit();
        let (mut records, mut look_at) = (0, if self.foreign == 0 { usize::MAX } else { 0 });
        while records < budget {
            if records >= look_at {
                self.look_at_tails();
                look_at = records.saturating_add(self.records_between_looks());
            }
            let Some(class) = self.choose() else {
                return Drained { records, more: false };
            };
            if let Some(place) = self.take(class) {
                records += self.turn(class, place, budget - records, &mut deliver);
            }
        }
        Drained { records, more: self.is_ready() }
    }

    /// One lane's turn; returns how many records it delivered.
    fn turn<F>(&mut self, class: usize, place: usize, budget: usize, deliver: &mut F) -> usize
    where
        F: for<'a, 'b> FnMut(LaneId, Delivery<'a, 'b, M>) -> Flow,
    {
        if self.ranks[class].lanes[place].is_none() {
            // Its bit came before its arrival was looked at.
            self.admit();
        }
        let Some(lane) = &mut self.ranks[class].lanes[place] else {
            return 0;
        };
        if lane.paused {
            lane.owed = true;
            return 0;
        }
        let id = LaneId { class: Class(class as u8), place: place as u16, generation: lane.generation };
        let quota = budget.min(QUOTA);
        let Handed { records, paused, drained } = if lane.foreign {
            lane.hand_out(quota, |record| deliver(id, Delivery::Foreign(record.foreign())))
        } else {
            lane.hand_out(quota, |record| deliver(id, Delivery::Record(record)))
        };
        if paused {
            reach!("ring.lane_paused");
            (lane.paused, lane.owed) = (true, true);
            lane.consumer.release();
            return records;
        }
        match drained.and_then(|_| lane.consumer.ended()) {
            Ok(false) if lane.consumer.has_more() => {
                reach!("ring.quota_ended");
                self.set_ready(class, place);
            }
            Ok(false) if lane.orphan => self.close(class, place, None, deliver),
            Ok(false) => {
                // The turn may have ended just there, before the ring was found empty.
                lane.consumer.release();
                if plant!("ring.ready-cleared-late") {
                    let ready = self.shared.ready(class, place);
                    // SAFETY: `ready` names words inside the control memory.
                    unsafe { self.shared.control.swap(ready.word, 0, AcqRel) };
                }
            }
            Ok(true) => self.close(class, place, None, deliver),
            Err(violation) => self.close(class, place, Some(violation), deliver),
        }
        records
    }

    /// Ends a lane and says so.
    #[cold]
    fn close<F>(&mut self, class: usize, place: usize, violation: Option<Violation>, deliver: &mut F)
    where
        F: for<'a, 'b> FnMut(LaneId, Delivery<'a, 'b, M>) -> Flow,
    {
        let Some(lane) = &self.ranks[class].lanes[place] else {
            return;
        };
        let id = LaneId { class: Class(class as u8), place: place as u16, generation: lane.generation };
        self.remove(class, place);
        deliver(id, Delivery::Closed(violation));
    }

    /// The class whose turn it is, if any has something.
    fn choose(&mut self) -> Option<usize> {
        if let [rank] = self.ranks.as_slice() {
            return (rank.ready_here() || self.shared.summary(0) != 0).then_some(0);
        }
        let mut ready = [false; CLASSES];
        let mut chosen = None;
        for (class, rank) in self.ranks.iter().enumerate() {
            ready[class] = rank.ready_here() || self.shared.summary(class) != 0;
            let first = chosen.is_none();
            let overdue = rank.passed_over >= PATIENCE
                && chosen.is_none_or(|other: usize| rank.passed_over > self.ranks[other].passed_over);
            if ready[class] && (first || overdue) {
                chosen = Some(class);
            }
        }
        let chosen = chosen?;
        for (class, rank) in self.ranks.iter_mut().enumerate() {
            if class == chosen || !ready[class] {
                rank.passed_over = 0;
            } else {
                rank.passed_over += 1;
            }
        }
        Some(chosen)
    }

    /// Takes the next ready lane of a class, clearing its bit before anybody looks at its tail.
    fn take(&mut self, class: usize) -> Option<usize> {
        let rank = &mut self.ranks[class];
        loop {
            if rank.bits != 0 {
                let bit = rank.bits.trailing_zeros() as usize;
                rank.bits &= rank.bits - 1;
                return Some(rank.word * 64 + bit);
            }
            let control = &self.shared.control;
            if rank.summary == 0 {
                if rank.watched.any() {
                    rank.summary = rank.watched.take_summary();
                }
                if rank.summary == 0 || self.shared.summary(class) != 0 {
                    // SAFETY: the class exists, so its summary lies inside the control memory.
                    rank.summary |= unsafe { control.swap(summary_at(class), 0, AcqRel) };
                }
                if rank.summary == 0 {
                    return None;
                }
            }
            rank.word = rank.summary.trailing_zeros() as usize;
            rank.summary &= rank.summary - 1;
            let found = rank.watched.take(rank.word);
            let at = self.shared.word_at(class, rank.word);
            if at >= control.len() {
                // A bit that no lane of this mailbox has.
                continue;
            }
            rank.bits = found;
            // SAFETY: checked above.
            if found != 0 && unsafe { control.load(at, Acquire) } == 0 {
                continue;
            }
            if plant!("ring.ready-cleared-late") {
                // SAFETY: checked above.
                rank.bits |= unsafe { control.load(at, Acquire) };
            } else {
                // SAFETY: checked above.
                rank.bits |= unsafe { control.swap(at, 0, AcqRel) };
            }
            let beyond = rank.lanes.len().saturating_sub(rank.word * 64);
            if beyond < 64 {
                rank.bits &= (1 << beyond) - 1;
            }
            // The swap alone is not ordered against a sender that stored its tail and found its bit still set.
            control.fence();
        }
    }

    /// Takes in lanes that were made since the last look.
    fn admit(&mut self) {
        // SAFETY: the word lies inside the control memory.
        if unsafe { self.shared.control.load(ARRIVALS, Acquire) } == 0 {
            return;
        }
        // SAFETY: as above.
        unsafe { self.shared.control.swap(ARRIVALS, 0, AcqRel) };
        for Arrival { id, consumer } in self.shared.arrived() {
            self.seat(id, consumer, false);
        }
    }

    fn seat(&mut self, id: LaneId, consumer: Consumer<M>, foreign: bool) {
        let lane =
            Lane { consumer, generation: id.generation, paused: false, owed: false, foreign, orphan: false };
        self.ranks[usize::from(id.class.0)].lanes[usize::from(id.place)] = Some(lane);
    }

    fn remove(&mut self, class: usize, place: usize) {
        let rank = &mut self.ranks[class];
        if rank.lanes[place].take().is_some_and(|lane| lane.foreign) {
            rank.watched.forget(place);
            self.foreign -= 1;
        }
        self.shared.vacate(class, place);
    }

    /// Gives a lane another turn.
    fn set_ready(&mut self, class: usize, place: usize) {
        let rank = &mut self.ranks[class];
        if rank.lanes[place].as_ref().is_some_and(|lane| lane.foreign) {
            rank.watched.set(place);
        } else {
            self.shared.ready(class, place).set(&self.shared.control);
        }
    }

    /// Ends a lane from this side, as after its sender's death: what it still holds is lost, the sender's claims fail.
    /// Returns false if there is no such lane any more.
    pub fn cut(&mut self, id: LaneId) -> bool {
        self.admit();
        let (class, place) = (usize::from(id.class.0), usize::from(id.place));
        let there = self.lane(id).is_some();
        if there {
            reach!("ring.lane_cut");
            self.remove(class, place);
        }
        there
    }

    /// Ends a lane whose sender is dead, and so will never say that it ends: what it published is delivered, then its
    /// closing. Returns false if there is no such lane any more. (A sender that may still live is [`cut`](Self::cut).)
    pub fn orphan(&mut self, id: LaneId) -> bool {
        self.admit();
        let Some(lane) = self.lane(id) else {
            return false;
        };
        lane.orphan = true;
        self.set_ready(usize::from(id.class.0), usize::from(id.place));
        true
    }

    /// Gives a paused lane its turns again, beginning with the record that was refused.
    pub fn resume(&mut self, id: LaneId) {
        let ready = match self.lane(id) {
            Some(lane) if lane.paused => {
                lane.paused = false;
                std::mem::take(&mut lane.owed)
            }
            _ => false,
        };
        if ready {
            self.set_ready(usize::from(id.class.0), usize::from(id.place));
        }
    }

    fn lane(&mut self, id: LaneId) -> Option<&mut Lane<M>> {
        let rank = self.ranks.get_mut(usize::from(id.class.0))?;
        let lane = rank.lanes.get_mut(usize::from(id.place))?.as_mut()?;
        (lane.generation == id.generation).then_some(lane)
    }

    fn ready_here(&self) -> bool {
        self.ranks.iter().any(Rank::ready_here)
    }

    fn ready_there(&self) -> bool {
        // SAFETY: the word lies inside the control memory.
        (0..self.ranks.len()).any(|class| self.shared.summary(class) != 0)
            || unsafe { self.shared.control.load(ARRIVALS, Acquire) } != 0
    }

    /// Whether something is there to be drained. Changes nothing for a sleeper.
    pub fn is_ready(&mut self) -> bool {
        self.ready_here() || self.ready_there() || self.look_at_tails()
    }

    /// Whether the owner said that it is about to sleep, and has not said otherwise.
    pub fn is_asleep(&self) -> bool {
        self.sleeping
    }

    /// Says that the owner is about to sleep. False: something is ready, drain. True: sleep until the waiter wakes, then
    /// drain.
    pub fn fall_asleep(&mut self) -> bool {
        if self.ready_here() {
            return false;
        }
        self.sleeping = true;
        // SAFETY: the word lies inside the control memory.
        unsafe { self.shared.control.store(SLEEPING, 1, Relaxed) };
        self.shared.control.fence();
        let awake = self.ready_there() || (!plant!("ring.asleep-without-a-look") && self.look_at_tails());
        if awake {
            self.wake_up();
        }
        !awake
    }

    /// Says that the owner no longer sleeps; a drain says so too.
    pub fn wake_up(&mut self) {
        if self.sleeping {
            self.sleeping = false;
            // SAFETY: the word lies inside the control memory.
            unsafe { self.shared.control.store(SLEEPING, 0, Relaxed) };
        }
    }
}

impl<M: Memory> Rank<M> {
    fn ready_here(&self) -> bool {
        self.bits != 0 || self.summary != 0 || self.watched.any()
    }
}

impl<M: Memory> Drop for Mailbox<M> {
    fn drop(&mut self) {
        drop(self.shared.leave());
    }
}

impl<M: Memory> Shared<M> {
    fn word_at(&self, class: usize, word: usize) -> usize {
        if word >= words(self.lanes) {
            return usize::MAX;
        }
        word_at(self.classes, self.lanes, class, word)
    }

    fn summary(&self, class: usize) -> u64 {
        // SAFETY: the class exists, so its summary lies inside the control memory.
        unsafe { self.control.load(summary_at(class), Acquire) }
    }

    fn ready(&self, class: usize, place: usize) -> Ready {
        Ready {
            word: self.word_at(class, place / 64),
            bit: 1 << (place % 64),
            summary: summary_at(class),
            summary_bit: 1 << (place / 64),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
