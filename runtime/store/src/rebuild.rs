//! From the records of all segments, in any order and with copies among them, to the state that they leave. Pure.
//!
//! Of two records that contradict each other the one with the higher stamp holds: the last word on a log's bounds, on a value, on an
//! index. Entries older than the bounds lie within them, younger ones above their end. A gap means that a segment is missing.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::error::OpenError;
use crate::format::{Kind, Record, value_of};
use crate::state::{LogState, Place, State, Value, purged_of};

/// The record with the highest stamp so far, and of copies the last.
type Latest<T> = Option<(u64, T)>;

fn latest<T>(held: &mut Latest<T>, stamp: u64, value: T) {
    if held.as_ref().is_none_or(|(other, _)| *other <= stamp) {
        *held = Some((stamp, value));
    }
}

/// Entries come in runs: so many are kept side by side, 24 bytes each.
const RUN: u64 = 64;

#[derive(Default)]
struct Pieces {
    name: Latest<(String, Place)>,
    bounds: Latest<(u64, u64, Place)>,
    /// By index in runs of [`RUN`]: the stamp, 0 where there is none, and the place.
    entries: BTreeMap<u64, Box<[(u64, Place); RUN as usize]>>,
    values: BTreeMap<String, Latest<(Bytes, Place)>>,
    removed: Latest<(String, Place)>,
}

impl Pieces {
    fn purged(&self) -> u64 {
        self.bounds.as_ref().map_or(0, |(_, (_, purged, _))| *purged)
    }

    /// Purged is purged, whatever else comes: nothing needs to be known of it.
    fn forget_purged(&mut self) {
        let run = self.purged() / RUN;
        if self.entries.first_key_value().is_some_and(|(first, _)| *first < run) {
            self.entries = self.entries.split_off(&run);
        }
    }
}

/// An entry that must be there and is not. Entries are stamped in their order, so those beside it say between which stamps its own was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) log: u32,
    pub(crate) index: u64,
    after: u64,
    before: u64,
}

/// Gives each running number that was lost to a missing entry that may have had it; `None` unless all of both find one another.
pub(crate) fn numbered(missing: &[Missing], lost: impl Iterator<Item = u64>) -> Option<Vec<Missing>> {
    let mut logs: BTreeMap<u32, VecDeque<Missing>> = BTreeMap::new();
    for missing in missing {
        logs.entry(missing.log).or_default().push_back(*missing);
    }
    let mut numbered = Vec::new();
    for number in lost {
        // Of those that may have it the one that can wait least.
        let may = logs.values_mut().filter(|log| log.front().is_some_and(|entry| entry.after < number));
        let entry = may.min_by_key(|log| log.front().map(|entry| entry.before))?.pop_front()?;
        numbered.push(Some(entry).filter(|entry| number < entry.before)?);
    }
    (numbered.len() == missing.len()).then_some(numbered)
}

/// Collects records.
#[derive(Default)]
pub(crate) struct Rebuild {
    logs: BTreeMap<u32, Pieces>,
}

impl Rebuild {
    /// Takes a record that lies there, decrypted unless it is an entry; false if its payload is not what its kind asks for.
    pub(crate) fn record(&mut self, record: &Record<'_>, place: Place) -> bool {
        let pieces = self.logs.entry(record.log).or_default();
        match record.kind {
            // Nothing else of it counts, whatever comes.
            Kind::Removed => {
                let Ok(name) = std::str::from_utf8(record.payload) else { return false };
                let Pieces { mut removed, .. } = std::mem::take(pieces);
                latest(&mut removed, record.stamp, (name.to_owned(), place));
                pieces.removed = removed;
            }
            _ if pieces.removed.is_some() => {}
            Kind::Entry if record.stamp == 0 => return false,
            Kind::Entry if pieces.purged() >= record.index => {}
            Kind::Entry => {
                let none = (0, Place { segment: 0, offset: 0, len: 0 });
                let run = pieces
                    .entries
                    .entry(record.index / RUN)
                    .or_insert_with(|| Box::new([none; RUN as usize]));
                let held = &mut run[(record.index % RUN) as usize];
                if held.0 <= record.stamp {
                    *held = (record.stamp, place);
                }
            }
            Kind::Bounds => {
                let Some(purged) = purged_of(record.payload).filter(|purged| *purged <= record.index) else {
                    return false;
                };
                latest(&mut pieces.bounds, record.stamp, (record.index, purged, place));
                pieces.forget_purged();
            }
            Kind::Value => {
                let Some((key, value)) = value_of(record.payload) else { return false };
                let held = pieces.values.entry(key.to_owned()).or_default();
                latest(held, record.stamp, (Bytes::copy_from_slice(value), place));
            }
            Kind::Name => {
                let Ok(name) = std::str::from_utf8(record.payload) else { return false };
                latest(&mut pieces.name, record.stamp, (name.to_owned(), place));
            }
        }
        true
    }

    /// Which entries must be there and are not, by log and index: at most one more than `most`.
    pub(crate) fn missing(&self, most: u64) -> Vec<Missing> {
        let mut missing = Vec::new();
        for (log, pieces) in &self.logs {
            let bounds = pieces.bounds.as_ref().map(|(stamp, (last, ..))| (*stamp, *last));
            let (stamp, last) = bounds.unwrap_or((0, 0));
            let (mut next, mut after) = (pieces.purged() + 1, 0);
            let held = pieces.entries.iter().flat_map(|(run, held)| (run * RUN..).zip(held.iter()));
            let held = held.map(|(index, (written, _))| (index, *written));
            let there = held.filter(|(index, written)| *written > 0 && !(*written < stamp && *index > last));
            for (index, before) in there.chain([(last + 1, u64::MAX)]) {
                let room = (most as usize + 1).saturating_sub(missing.len());
                let gap = (next..index).map(|index| Missing { log: *log, index, after, before });
                missing.extend(gap.take(room));
                (next, after) = (next.max(index + 1), before);
            }
        }
        missing
    }

    /// Where an entry lies.
    pub(crate) fn place(&self, log: u32, index: u64) -> Option<Place> {
        let (written, place) = self.logs.get(&log)?.entries.get(&(index / RUN))?[(index % RUN) as usize];
        (written > 0).then_some(place)
    }

    pub(crate) fn name(&self, log: u32) -> Option<&str> {
        self.logs.get(&log)?.name.as_ref().map(|(_, (name, _))| &**name)
    }

    /// The state that all of them leave; `number` is the next record's.
    pub(crate) fn finish(self, number: u64) -> Result<State, OpenError> {
        let mut state = State { number, ..State::default() };
        for (id, pieces) in self.logs {
            let mut log = LogState::default();
            if let Some((_, (name, place))) = pieces.removed {
                (log.name, log.durable.removed) = (name, Some(place));
                log.reset();
                state.logs.insert(id, log);
                continue;
            }
            let nameless = || OpenError::Missing { log: format!("number {id}"), index: 0 };
            let (_, (name, named)) = pieces.name.ok_or_else(nameless)?;
            (log.name, log.durable.named) = (name, Some(named));
            let mut end = (0, 0);
            if let Some((stamp, (last, purged, place))) = pieces.bounds {
                log.durable.purged = purged;
                log.durable.bounds = Some(place);
                end = (stamp, last);
            }
            let (stamp, last) = end;
            let mut found = 0;
            log.durable.places.reserve_exact(pieces.entries.len() * RUN as usize);
            let runs = pieces.entries.into_iter();
            let entries = runs.flat_map(|(run, held)| (run * RUN..).zip(*held));
            for (index, (written, place)) in entries {
                if written == 0 || index <= log.durable.purged || (written < stamp && index > last) {
                    continue;
                }
                found = index;
                if index != log.durable.last() + 1 {
                    break;
                }
                log.durable.places.push_back(place);
            }
            if log.durable.last() < found.max(last) {
                return Err(OpenError::Missing { log: log.name, index: log.durable.last() + 1 });
            }
            for (key, held) in pieces.values {
                let durable = held.map(|(_, value)| value);
                log.values.insert(key, Value { durable, ..Value::default() });
            }
            log.reset();
            state.logs.insert(id, log);
        }
        state.count_live();
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::state::Item;

    fn lack(log: u32, index: u64, after: u64, before: u64) -> Missing {
        Missing { log, index, after, before }
    }

    #[test]
    fn lost_numbers_go_to_entries_that_may_have_had_them_or_to_none() {
        // The first log's second entry was lost late, the other log's early.
        let missing = [lack(1, 5, 9, 12), lack(1, 9, 48, u64::MAX), lack(2, 3, 2, 20), lack(2, 7, 40, 60)];
        let found = numbered(&missing, [10, 11, 50, 51].into_iter()).unwrap();
        assert_eq!(found, [missing[0], missing[2], missing[3], missing[1]]);
        // The entry behind is older than what was lost: that was a copy, or the end of what had been behind.
        assert_eq!(numbered(&[lack(1, 6, 10, 12)], [30].into_iter()), None);
        assert_eq!(numbered(&[lack(1, 6, 10, 12)], [9].into_iter()), None);
        assert_eq!(numbered(&[lack(1, 6, 10, 12)], [11, 11].into_iter()), None);
        assert_eq!(numbered(&[lack(1, 6, 10, 13), lack(1, 7, 10, 13)], [11].into_iter()), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Append(u32, u8),
        Truncate(u32, prop::sample::Index),
        Purge(u32, prop::sample::Index, bool),
        Put(u32, u8),
        Remove(u32),
        /// So many of what waits become durable.
        Commit(usize),
        /// All that waits is refused, or what is not for the reserve.
        Refuse {
            growing: bool,
        },
        /// What is needed of a segment is copied.
        Copy(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        let log = 0..2_u32;
        let at = any::<prop::sample::Index>();
        prop_oneof![
            6 => (log.clone(), any::<u8>()).prop_map(|(log, byte)| Step::Append(log, byte)),
            1 => (log.clone(), at.clone()).prop_map(|(log, at)| Step::Truncate(log, at)),
            1 => (log.clone(), at.clone(), any::<bool>()).prop_map(|(log, at, over)| Step::Purge(log, at, over)),
            1 => (log.clone(), any::<u8>()).prop_map(|(log, byte)| Step::Put(log, byte)),
            1 => log.prop_map(Step::Remove),
            4 => (1..6_usize).prop_map(Step::Commit),
            1 => any::<bool>().prop_map(|growing| Step::Refuse { growing }),
            2 => at.prop_map(Step::Copy),
        ]
    }

    /// A disk of segments with eight records each.
    #[derive(Default)]
    struct Disk {
        records: Vec<(Place, Item)>,
        next: u32,
    }

    fn done() -> crate::state::Ack {
        Box::new(drop)
    }

    impl Disk {
        fn commit(&mut self, state: &mut State) {
            for item in state.take(usize::MAX, false) {
                let place =
                    Place { segment: self.next / 8, offset: self.next % 8, len: item.payload.len() as u32 };
                self.next += 1;
                state.durable(&item, place);
                self.records.push((place, item));
            }
        }

        fn copy(&self, state: &mut State, segment: u32) {
            for (place, item) in self.records.iter().filter(|(place, _)| place.segment == segment) {
                if state.place_of(&item.record()) == Some(*place) {
                    state.copy(&item.record(), *place, done());
                }
            }
        }

        /// Segments of which nothing is needed are written over.
        fn forget_the_dead(&mut self, state: &State) {
            let active = self.next / 8;
            self.records.retain(|(place, _)| {
                place.segment == active || state.live.get(&place.segment).is_some_and(|live| *live > 0)
            });
        }
    }

    /// A log as it is seen: id, name, up to where it is purged, entries, values.
    type Shown = (u32, String, u64, Vec<Bytes>, Vec<(String, Bytes)>);

    fn shown(state: &State, disk: &Disk) -> Vec<Shown> {
        // Of two copies either may be the one that counts: what they hold is the same.
        let payload = |place: &Place| {
            let (_, item) = disk.records.iter().find(|(other, _)| other == place).expect("it is on disk");
            item.payload.clone()
        };
        let log = |(id, log): (&u32, &LogState)| {
            let value =
                |(key, value): (&String, &Value)| Some((key.clone(), value.durable.as_ref()?.0.clone()));
            let values = log.values.iter().filter_map(value).collect();
            let entries = log.durable.places.iter().map(payload).collect();
            log.durable.named?;
            Some((*id, log.name.clone(), log.durable.purged, entries, values))
        };
        state.logs.iter().filter_map(log).collect()
    }

    proptest! {
        #[test]
        fn what_is_found_again_is_what_was_durable_however_records_were_copied_and_segments_used_again(
            steps in prop::collection::vec(step(), 1..120), backwards: bool, tidy: bool
        ) {
            let (mut state, mut disk) = (State { number: 1, ..State::default() }, Disk::default());
            for step in steps {
                let logs = [state.log("a"), state.log("b")];
                match step {
                    // Refused by those who ask, until its end is durable.
                    Step::Append(log, _) | Step::Truncate(log, _) | Step::Purge(log, ..) | Step::Put(log, _)
                        if state.logs[&logs[log as usize]].is_removed() => {}
                    Step::Remove(log) => state.remove(logs[log as usize], 0, done()),
                    Step::Append(log, byte) => {
                        state.append(logs[log as usize], vec![vec![byte].into()], byte < 64, 0, done());
                    }
                    Step::Truncate(log, at) => {
                        let id = logs[log as usize];
                        let (first, last) = (state.logs[&id].first(), state.logs[&id].last());
                        state.truncate(id, first - 1 + at.index((last + 2 - first) as usize) as u64, 0, done());
                    }
                    Step::Purge(log, at, over) => {
                        let id = logs[log as usize];
                        let (first, last) = (state.logs[&id].first(), state.logs[&id].last());
                        let up_to = first - 1 + at.index((last + 2 - first) as usize) as u64;
                        state.purge(id, up_to + 3 * u64::from(over), 0, done());
                    }
                    Step::Put(log, byte) => {
                        state.put(logs[log as usize], "key", &[byte], 0, done());
                    }
                    Step::Commit(count) => {
                        // What does not fit into this batch waits in front of all else.
                        let mut rest = state.take(usize::MAX, false);
                        let later = rest.split_off(count.min(rest.len()));
                        state.queue.extend(rest);
                        disk.commit(&mut state);
                        state.queue.extend(later);
                    }
                    Step::Refuse { growing: false } => drop(state.refuse(Vec::new())),
                    Step::Refuse { growing: true } => {
                        let taken = state.take(3 * crate::format::RECORD_HEADER, false);
                        let (before, number) = (taken.len() + state.queue.len(), state.number);
                        let refused = state.refuse_growing(taken);
                        prop_assert_eq!(state.number + refused.len() as u64, number);
                        prop_assert_eq!(before, refused.len() + state.queue.len());
                        prop_assert!(state.queue.iter().all(|item| item.frees));
                        prop_assert!(refused.first().is_none_or(|item| !item.frees));
                        for (at, item) in state.queue.iter().enumerate() {
                            prop_assert_eq!(item.number, state.number - (state.queue.len() - at) as u64);
                        }
                    }
                    Step::Copy(which) => {
                        let segment = which.index(disk.next as usize / 8 + 1) as u32;
                        disk.copy(&mut state, segment);
                    }
                }
                if tidy {
                    disk.forget_the_dead(&state);
                }
                let mut rebuild = Rebuild::default();
                let mut records: Vec<_> = disk.records.iter().collect();
                // Of copies with one stamp the last holds, so only those may not change places.
                if backwards {
                    records.sort_by_key(|(_, item)| std::cmp::Reverse(item.stamp));
                }
                for (place, item) in records {
                    prop_assert!(rebuild.record(&item.record(), *place));
                }
                let found = rebuild.finish(state.number).unwrap();
                prop_assert_eq!(shown(&found, &disk), shown(&state, &disk));
                let live = |state: &State| state.live.values().sum::<u64>();
                prop_assert_eq!(live(&found), live(&state), "bytes that are needed");
            }
        }
    }
}
