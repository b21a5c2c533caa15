//! One stream's index: which messages it has, where in the log they lie, what its consumers have done. It obeys facts and answers
//! questions; payloads stay in the log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use synod_platform::time::Wall;

use super::fact::Message;
use super::limits::Limits;
use super::window::{Seen, Window};

/// A message's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// The entry of the log that holds it.
    pub position: u64,
    /// When it was appended.
    pub at: Wall,
    /// What counts against the limit, bytes.
    pub size: u64,
    pub subject: Arc<str>,
}

/// How far a consumer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub sequence: u64,
    pub position: u64,
}

/// What makes a number a stream.
#[derive(Clone, Debug)]
pub(super) struct Definition {
    pub name: Arc<str>,
    pub limits: Limits,
    pub position: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// Absent only while a log is read whose definitions were carried behind messages.
    pub definition: Option<Definition>,
    /// Nobody has looked yet whether a subject has too many messages for the limits.
    pub new_limits: bool,
    /// The sequence of the next message.
    pub next: u64,
    pub messages: BTreeMap<u64, Slot>,
    /// Bytes of all messages.
    pub bytes: u64,
    /// The sequences of each subject, ascending.
    pub subjects: BTreeMap<Arc<str>, VecDeque<u64>>,
    pub window: Window,
    pub cursors: BTreeMap<Arc<str>, Cursor>,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            definition: None,
            new_limits: false,
            next: 1,
            messages: BTreeMap::new(),
            bytes: 0,
            subjects: BTreeMap::new(),
            window: Window::default(),
            cursors: BTreeMap::new(),
        }
    }
}

impl Stream {
    /// Obeys a message that lies at `position`; whether others went for it.
    pub fn insert(&mut self, position: u64, message: Message) -> bool {
        let Message { sequence, at, .. } = message;
        let before = self.messages.len();
        self.remove_below(message.floor);
        self.remove(message.replaced);
        let removed = self.messages.len() < before;
        self.window.forget_below(message.ids_floor);
        self.next = self.next.max(sequence + 1);
        let size = message.size();
        if let Some(id) = message.id {
            self.window.insert(id, Seen { sequence, at, position });
        }
        // One copy of each: most messages share theirs with others.
        let known = self.subjects.get_key_value(&message.subject).map(|(known, _)| known.clone());
        let subject = known.unwrap_or(message.subject);
        if let Some(slot) = self.messages.get_mut(&sequence) {
            slot.position = position;
            return removed;
        }
        let same = self.subjects.entry(subject.clone()).or_default();
        same.insert(same.partition_point(|other| *other < sequence), sequence);
        self.bytes += size;
        self.messages.insert(sequence, Slot { position, at, size, subject });
        removed
    }

    pub fn remove(&mut self, sequence: u64) {
        let Some(slot) = self.messages.remove(&sequence) else { return };
        self.bytes -= slot.size;
        let Some(same) = self.subjects.get_mut(&slot.subject) else { return };
        if let Ok(place) = same.binary_search(&sequence) {
            same.remove(place);
        }
        if same.is_empty() {
            self.subjects.remove(&slot.subject);
        }
    }

    pub fn remove_below(&mut self, floor: u64) {
        while let Some((first, _)) = self.messages.first_key_value().filter(|(first, _)| **first < floor) {
            let first = *first;
            self.remove(first);
        }
    }

    /// The lowest sequence that there is a message of, or will be.
    pub fn first(&self) -> u64 {
        self.messages.first_key_value().map_or(self.next, |(first, _)| *first)
    }

    /// The first message appended at `moment` or later, or the next. Times ascend with sequences, so halving finds it.
    pub fn at(&self, moment: Wall) -> u64 {
        let (mut low, mut high) = (self.first(), self.next);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.messages.range(middle..high).next() {
                Some((sequence, slot)) if slot.at < moment => low = sequence + 1,
                _ => high = middle,
            }
        }
        self.messages.range(low..).next().map_or(self.next, |(sequence, _)| *sequence)
    }

    /// The messages that their subjects have too many of.
    pub fn surplus(&self, limits: &Limits) -> impl Iterator<Item = u64> {
        let most =
            limits.per_subject.map_or(usize::MAX, |most| usize::try_from(most.get()).unwrap_or(usize::MAX));
        self.subjects
            .values()
            .flat_map(move |same| same.iter().take(same.len().saturating_sub(most)).copied())
    }

    /// The lowest sequence that may stay when a message of `coming` bytes (or none) joins, `gone` left already, at `now`.
    pub fn floor(&self, limits: &Limits, coming: Option<u64>, gone: u64, now: Wall) -> u64 {
        let gone_size = self.messages.get(&gone).map(|slot| slot.size);
        let mut count =
            self.messages.len() as u64 + u64::from(coming.is_some()) - u64::from(gone_size.is_some());
        let mut bytes = self.bytes + coming.unwrap_or(0) - gone_size.unwrap_or(0);
        let oldest = limits.age.and_then(|age| before(now, age));
        for (sequence, slot) in &self.messages {
            let over = limits.messages.is_some_and(|most| count > most.get())
                || limits.bytes.is_some_and(|most| bytes > most.get())
                || oldest.is_some_and(|oldest| slot.at <= oldest);
            if !over {
                return *sequence;
            }
            if *sequence != gone {
                count -= 1;
                bytes -= slot.size;
            }
        }
        self.next
    }

    /// The lowest sequence whose id may stay when one more joins (or none) at `now`.
    pub fn ids_floor(&self, limits: &Limits, coming: bool, now: Wall) -> u64 {
        let most = limits.window_ids.saturating_sub(u64::from(coming));
        self.window.floor(most, before(now, limits.window))
    }

    /// What is remembered of an id at `now`, when ids live as long as `limits` say.
    pub fn seen(&self, limits: &Limits, id: &[u8], now: Wall) -> Option<Seen> {
        self.window.get(id).filter(|seen| before(now, limits.window).is_none_or(|oldest| seen.at > oldest))
    }
}

/// The moment `age` before `now`, if there was one.
fn before(now: Wall, age: Duration) -> Option<Wall> {
    let age = u64::try_from(age.as_nanos()).ok()?;
    now.as_nanos().checked_sub(age).map(Wall::from_nanos)
}
