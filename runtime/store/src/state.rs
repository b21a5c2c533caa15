//! All logs in memory: what is durable of each, what waits to be, and how one becomes the other. Pure.
//!
//! What is durable is a replay of durable records in their order; over it lies a view that shows what was appended since. When a write
//! fails the view is thrown away. Recovery finds the same state from records in any order ([`Rebuild`](crate::rebuild::Rebuild)).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::cipher::growth;
use crate::error::WriteError;
use crate::format::{Kind, RECORD_HEADER, Record, value_of, value_payload};

/// Where a durable record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Which segment file.
    pub(crate) segment: u32,
    /// Where in it the record begins.
    pub(crate) offset: u32,
    /// Its payload's length, bytes.
    pub(crate) len: u32,
}

impl Place {
    fn size(self) -> u64 {
        RECORD_HEADER as u64 + u64::from(self.len)
    }
}

/// Called once, when what it belongs to is durable or refused.
pub(crate) type Ack = Box<dyn FnOnce(Result<(), WriteError>) + Send>;

/// A record that waits to be written.
pub(crate) struct Item {
    pub(crate) log: u32,
    pub(crate) kind: Kind,
    pub(crate) index: u64,
    /// Its running number; its stamp, too, unless it is copied.
    pub(crate) number: u64,
    pub(crate) stamp: u64,
    pub(crate) payload: Bytes,
    /// It lies there already and is copied.
    pub(crate) copied_from: Option<Place>,
    /// It puts an end to others, or grows nothing: the reserve of a full disk is for it.
    pub(crate) frees: bool,
    /// What it holds of the room for what waits, bytes.
    pub(crate) room: usize,
    pub(crate) ack: Option<Ack>,
}

/// The longest value that may go to the reserve, bytes of its record.
pub(crate) const SMALL: usize = 512;

impl Item {
    /// What it takes in a batch, bytes.
    pub(crate) fn size(&self, encrypted: bool) -> usize {
        RECORD_HEADER + self.payload.len() + growth(self.kind, encrypted)
    }

    pub(crate) fn record(&self) -> Record<'_> {
        Record {
            log: self.log,
            kind: self.kind,
            index: self.index,
            stamp: self.stamp,
            payload: &self.payload,
        }
    }
}

/// What is durable of a log.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    /// Entries up to here are purged.
    pub(crate) purged: u64,
    /// Where the entries after those lie.
    pub(crate) places: VecDeque<Place>,
    pub(crate) bounds: Option<Place>,
    pub(crate) named: Option<Place>,
    /// The log is no more. This stays, so that its number is not used again while records of it lie about.
    pub(crate) removed: Option<Place>,
}

impl Durable {
    pub(crate) fn last(&self) -> u64 {
        self.purged + self.places.len() as u64
    }
}

/// What readers see over it.
#[derive(Debug, Default)]
struct View {
    purged: u64,
    /// Durable entries are seen up to here.
    keep: u64,
    /// And these follow, with their stamps.
    entries: VecDeque<(u64, Bytes)>,
    removed: bool,
}

impl View {
    /// The log ends at `last`, and all up to `purged`, which is not above it, is gone.
    fn bound(&mut self, last: u64, purged: u64) {
        self.entries.truncate(last.saturating_sub(self.keep) as usize);
        self.keep = self.keep.min(last);
        if purged > self.keep {
            let gone = self.entries.len().min((purged - self.keep) as usize);
            self.entries.drain(..gone);
            self.keep = purged;
        }
        self.purged = purged;
    }
}

#[derive(Debug, Default)]
pub(crate) struct Value {
    pub(crate) durable: Option<(Bytes, Place)>,
    pub(crate) waiting: Option<(u64, Bytes)>,
}

/// One logical log.
#[derive(Debug, Default)]
pub(crate) struct LogState {
    pub(crate) name: String,
    name_waits: bool,
    pub(crate) durable: Durable,
    view: View,
    pub(crate) values: BTreeMap<String, Value>,
    /// It was removed, and its snapshots may still be there.
    pub(crate) leftovers: bool,
}

/// Where an entry is to be had.
pub(crate) enum Found {
    Here(Bytes),
    There(Place),
}

impl LogState {
    pub(crate) fn first(&self) -> u64 {
        self.view.purged + 1
    }

    pub(crate) fn last(&self) -> u64 {
        self.view.keep + self.view.entries.len() as u64
    }

    /// The durable part of what is seen ends here.
    pub(crate) fn durable_last(&self) -> u64 {
        self.view.keep
    }

    /// Whether it is no more, durably or not.
    pub(crate) fn is_removed(&self) -> bool {
        self.view.removed
    }

    pub(crate) fn entry(&self, index: u64) -> Option<Found> {
        if index < self.first() || index > self.last() {
            return None;
        }
        if index > self.view.keep {
            return Some(Found::Here(self.view.entries[(index - self.view.keep - 1) as usize].1.clone()));
        }
        Some(Found::There(self.durable.places[(index - self.durable.purged - 1) as usize]))
    }

    pub(crate) fn value(&self, key: &str) -> Option<Bytes> {
        let value = self.values.get(key).filter(|_| !self.view.removed)?;
        let waiting = value.waiting.as_ref().map(|(_, bytes)| bytes);
        waiting.or(value.durable.as_ref().map(|(bytes, _)| bytes)).cloned()
    }

    /// Shows what is durable and nothing else.
    pub(crate) fn reset(&mut self) {
        self.view = View {
            purged: self.durable.purged,
            keep: self.durable.last(),
            entries: VecDeque::new(),
            removed: self.durable.removed.is_some(),
        };
        self.name_waits = false;
        for value in self.values.values_mut() {
            value.waiting = None;
        }
        self.values.retain(|_, value| value.durable.is_some());
    }

    /// Shows what waits as well.
    fn show(&mut self, item: &Item) {
        match item.kind {
            _ if item.copied_from.is_some() => {}
            Kind::Entry => self.view.entries.push_back((item.stamp, item.payload.clone())),
            Kind::Bounds => {
                let purged = purged_of(&item.payload).expect("encoded by this program");
                self.view.bound(item.index, purged);
            }
            Kind::Name => self.name_waits = true,
            Kind::Removed => self.view = View { removed: true, ..View::default() },
            Kind::Value => {
                let (key, bytes) = value_of(&item.payload).expect("encoded by this program");
                let waiting = Some((item.stamp, item.payload.slice_ref(bytes)));
                self.values.entry(key.to_owned()).or_default().waiting = waiting;
            }
        }
    }

    /// Every place of this log.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        let values = self.values.values().filter_map(|value| Some(value.durable.as_ref()?.1));
        let Durable { bounds, named, removed, .. } = &self.durable;
        let single = [bounds, named, removed].into_iter().flatten().copied();
        self.durable.places.iter().copied().chain(single).chain(values)
    }

    /// Where the durable record lies that this one is, or would be a copy of.
    fn place_of(&self, record: &Record<'_>) -> Option<Place> {
        match record.kind {
            Kind::Entry => {
                let at = record.index.checked_sub(self.durable.purged + 1)?;
                self.durable.places.get(usize::try_from(at).ok()?).copied()
            }
            Kind::Bounds => self.durable.bounds,
            Kind::Name => self.durable.named,
            Kind::Removed => self.durable.removed,
            Kind::Value => Some(self.values.get(value_of(record.payload)?.0)?.durable.as_ref()?.1),
        }
    }
}

/// All logs, and what waits to be written.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) logs: BTreeMap<u32, LogState>,
    /// The running number of the next record.
    pub(crate) number: u64,
    pub(crate) queue: VecDeque<Item>,
    /// Bytes of records in each segment that are still needed.
    pub(crate) live: BTreeMap<u32, u64>,
    /// Segments in whose files bytes lie, or may lie, that no longer count.
    pub(crate) unclean: BTreeSet<u32>,
}

impl State {
    /// The log of that name; also one whose end is not durable yet, or that left snapshots, which are not to become another's.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        let is_it = |log: &LogState| log.name == name && (log.durable.removed.is_none() || log.leftovers);
        self.logs.iter().find(|(_, log)| is_it(log)).map(|(id, _)| *id)
    }

    /// The log of that name, made if there is none.
    pub(crate) fn log(&mut self, name: &str) -> u32 {
        if let Some(id) = self.find(name) {
            return id;
        }
        let id = self.logs.last_key_value().map_or(1, |(id, _)| id + 1);
        self.logs.insert(id, LogState { name: name.to_owned(), ..LogState::default() });
        id
    }

    fn queue(
        &mut self,
        log: u32,
        kind: Kind,
        index: u64,
        payload: Bytes,
        room: usize,
        ack: Option<Ack>,
    ) -> u64 {
        let state = self.logs.get_mut(&log).expect("a log is never forgotten");
        let needs_name = !matches!(kind, Kind::Name | Kind::Removed);
        if needs_name && state.durable.named.is_none() && !state.name_waits {
            state.name_waits = true;
            let name = Bytes::copy_from_slice(state.name.as_bytes());
            self.queue(log, Kind::Name, 0, name, 0, None);
        }
        let frees = match kind {
            Kind::Entry => false,
            Kind::Value => RECORD_HEADER + payload.len() <= SMALL,
            Kind::Bounds | Kind::Name | Kind::Removed => true,
        };
        let stamp = self.number;
        self.number += 1;
        self.queue.push_back(Item {
            log,
            kind,
            index,
            number: stamp,
            stamp,
            payload,
            copied_from: None,
            frees,
            room,
            ack,
        });
        stamp
    }

    /// Appends entries; they are seen at once. Answers the index of the first. `frees`: they put an end to others.
    pub(crate) fn append(
        &mut self,
        log: u32,
        payloads: Vec<Bytes>,
        frees: bool,
        room: usize,
        ack: Ack,
    ) -> u64 {
        let first = self.logs[&log].last() + 1;
        let count = payloads.len();
        let (mut ack, mut room) = (Some(ack), room);
        for (at, payload) in payloads.into_iter().enumerate() {
            let index = first + at as u64;
            // The last one acknowledges and gives the room back for all.
            let last = at + 1 == count;
            let ack = if last { ack.take() } else { None };
            let room = if last { std::mem::take(&mut room) } else { 0 };
            let stamp = self.queue(log, Kind::Entry, index, payload.clone(), room, ack);
            self.queue.back_mut().expect("just queued").frees = frees;
            self.logs.get_mut(&log).expect("just used").view.entries.push_back((stamp, payload));
        }
        first
    }

    /// Drops all entries after this one; not one that was purged.
    pub(crate) fn truncate(&mut self, log: u32, after: u64, room: usize, ack: Ack) {
        let purged = self.logs[&log].view.purged;
        self.bounds(log, after.min(self.logs[&log].last()), purged, room, ack);
    }

    /// Drops all entries up to this one; beyond the end it moves the end, too.
    pub(crate) fn purge(&mut self, log: u32, up_to: u64, room: usize, ack: Ack) {
        let state = &self.logs[&log];
        let purged = state.view.purged.max(up_to);
        self.bounds(log, state.last().max(purged), purged, room, ack);
    }

    fn bounds(&mut self, log: u32, last: u64, purged: u64, room: usize, ack: Ack) {
        self.logs.get_mut(&log).expect("a log is never forgotten").view.bound(last, purged);
        self.queue(log, Kind::Bounds, last, Bytes::copy_from_slice(&purged.to_le_bytes()), room, Some(ack));
    }

    pub(crate) fn put(&mut self, log: u32, key: &str, value: &[u8], room: usize, ack: Ack) {
        let payload = Bytes::from(value_payload(key, value));
        let value = payload.slice(1 + key.len()..);
        let stamp = self.queue(log, Kind::Value, 0, payload, room, Some(ack));
        let log = self.logs.get_mut(&log).expect("just used");
        log.values.entry(key.to_owned()).or_default().waiting = Some((stamp, value));
    }

    /// Puts an end to a log: nothing of it is seen any more.
    pub(crate) fn remove(&mut self, log: u32, room: usize, ack: Ack) {
        let state = self.logs.get_mut(&log).expect("a log is never forgotten");
        state.view = View { removed: true, ..View::default() };
        let name = Bytes::copy_from_slice(state.name.as_bytes());
        self.queue(log, Kind::Removed, 0, name, room, Some(ack));
    }

    /// Nothing is left of the log of that name that was removed: it may begin anew.
    pub(crate) fn forget_leftovers(&mut self, name: &str) {
        for log in self.logs.values_mut().filter(|log| log.name == name) {
            log.leftovers = false;
        }
    }

    /// The names of logs that are no more, of which there is no other.
    pub(crate) fn removed(&self) -> impl Iterator<Item = &str> {
        let names = self.logs.values().filter(|log| log.durable.removed.is_some()).map(|log| &*log.name);
        names.filter(|name| self.find(name).is_none())
    }

    /// A segment's file is no more.
    pub(crate) fn forget(&mut self, segment: u32) {
        self.unclean.remove(&segment);
        self.live.remove(&segment);
    }

    /// Where the durable record lies that this one is, or would be a copy of.
    pub(crate) fn place_of(&self, record: &Record<'_>) -> Option<Place> {
        self.logs.get(&record.log)?.place_of(record)
    }

    /// Where the durable records of a segment lie that are still needed, in its order.
    pub(crate) fn places_in(&self, segment: u32) -> Vec<Place> {
        let all = self.logs.values().flat_map(LogState::places);
        let mut places: Vec<_> = all.filter(|place| place.segment == segment).collect();
        places.sort_unstable();
        places
    }

    /// Queues a copy of a durable record that is still needed.
    pub(crate) fn copy(&mut self, record: &Record<'_>, from: Place, ack: Ack) {
        let number = self.number;
        self.number += 1;
        self.queue.push_back(Item {
            number,
            log: record.log,
            kind: record.kind,
            index: record.index,
            stamp: record.stamp,
            payload: Bytes::copy_from_slice(record.payload),
            copied_from: Some(from),
            // It ends what it is a copy of.
            frees: true,
            room: 0,
            ack: Some(ack),
        });
    }

    /// Takes what waits, in order, as far as the records fit into `limit` bytes, but at least one.
    pub(crate) fn take(&mut self, limit: usize, encrypted: bool) -> Vec<Item> {
        self.take_while(limit, encrypted, |_| true)
    }

    /// The same up to the first that needs more than the reserve.
    pub(crate) fn take_freeing(&mut self, limit: usize, encrypted: bool) -> Vec<Item> {
        self.take_while(limit, encrypted, |item| item.frees)
    }

    fn take_while(&mut self, limit: usize, encrypted: bool, wanted: impl Fn(&Item) -> bool) -> Vec<Item> {
        let (mut size, mut count) = (0, 0);
        for item in self.queue.iter().take_while(|item| wanted(item)) {
            size += item.size(encrypted);
            if size > limit && count > 0 {
                break;
            }
            count += 1;
        }
        self.queue.drain(..count).collect()
    }

    /// This record is durable, there.
    pub(crate) fn durable(&mut self, item: &Item, place: Place) {
        let log = self.logs.get_mut(&item.log).expect("a log is never forgotten");
        let mut gone = Vec::new();
        let moved = item.copied_from.is_some();
        if moved && log.place_of(&item.record()) != item.copied_from {
            self.unclean.insert(place.segment);
            return;
        }
        match item.kind {
            Kind::Entry if moved => {
                let at = (item.index - log.durable.purged - 1) as usize;
                gone.push(std::mem::replace(&mut log.durable.places[at], place));
            }
            Kind::Entry => {
                assert_eq!(item.index, log.durable.last() + 1, "entries become durable in order");
                log.durable.places.push_back(place);
                if log.view.entries.front().is_some_and(|(stamp, _)| *stamp == item.stamp) {
                    log.view.entries.pop_front();
                    log.view.keep += 1;
                }
            }
            Kind::Bounds => {
                gone.extend(log.durable.bounds.replace(place));
                if !moved {
                    let purged = purged_of(&item.payload).expect("encoded by this program");
                    let durable = &mut log.durable;
                    let keep = durable.places.len().min((item.index - durable.purged) as usize);
                    gone.extend(durable.places.drain(keep..));
                    let drop = durable.places.len().min((purged - durable.purged) as usize);
                    gone.extend(durable.places.drain(..drop));
                    durable.purged = purged;
                }
            }
            Kind::Name => gone.extend(log.durable.named.replace(place)),
            Kind::Removed if moved => gone.extend(log.durable.removed.replace(place)),
            Kind::Removed => {
                gone.extend(log.places());
                log.durable = Durable { removed: Some(place), ..Durable::default() };
                log.values.clear();
                log.leftovers = true;
            }
            Kind::Value => {
                let (key, bytes) = value_of(&item.payload).expect("encoded by this program");
                let value = log.values.entry(key.to_owned()).or_default();
                let bytes = item.payload.slice_ref(bytes);
                gone.extend(value.durable.replace((bytes, place)).map(|(_, place)| place));
                value.waiting.take_if(|(stamp, _)| *stamp == item.stamp);
            }
        }
        *self.live.entry(place.segment).or_default() += place.size();
        for place in gone {
            self.unclean.insert(place.segment);
            *self.live.entry(place.segment).or_default() -= place.size();
        }
    }

    /// Everything that waits is refused after what was `taken`, and nothing of it is seen any more.
    pub(crate) fn refuse(&mut self, mut taken: Vec<Item>) -> Vec<Item> {
        for log in self.logs.values_mut() {
            log.reset();
        }
        taken.extend(self.queue.drain(..));
        taken
    }

    /// The same, but what is for the reserve waits on if it is before all else. Nothing of what was `taken` was written: its numbers are given
    /// again.
    pub(crate) fn refuse_growing(&mut self, taken: Vec<Item>) -> Vec<Item> {
        let mut kept = self.refuse(taken);
        let stay = kept.iter().take_while(|item| item.frees).count();
        let refused = kept.split_off(stay);
        self.number -= refused.len() as u64;
        for item in kept {
            self.logs.get_mut(&item.log).expect("a log is never forgotten").show(&item);
            self.queue.push_back(item);
        }
        refused
    }

    /// Counts the live bytes anew, from the places.
    pub(crate) fn count_live(&mut self) {
        self.live.clear();
        for place in self.logs.values().flat_map(LogState::places) {
            *self.live.entry(place.segment).or_default() += place.size();
        }
    }
}

/// The index in the payload of [`Kind::Bounds`].
pub(crate) fn purged_of(payload: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(payload.try_into().ok()?))
}
