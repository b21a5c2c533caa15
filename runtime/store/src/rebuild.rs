//! From the records of all segments, in any order and with copies among them, to the state that they leave. Pure.
//!
//! Of two records that contradict each other the one with the higher stamp holds: the last word on a log's bounds, on a value, on an
//! index. Entries older than the bounds lie within them, younger ones above their end. A gap means that a segment is missing.

use std::collections::BTreeMap;

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

#[derive(Default)]
struct Pieces {
    name: Latest<(String, Place)>,
    bounds: Latest<(u64, u64, Place)>,
    entries: BTreeMap<u64, Latest<Place>>,
    values: BTreeMap<String, Latest<(Bytes, Place)>>,
}

/// Collects records.
#[derive(Default)]
pub(crate) struct Rebuild {
    logs: BTreeMap<u32, Pieces>,
}

impl Rebuild {
    /// Takes a record that lies at `offset` of `segment`; false if its payload is not what its kind asks for.
    pub(crate) fn record(&mut self, record: &Record<'_>, segment: u32, offset: u32) -> bool {
        let place = Place { segment, offset, len: record.payload.len() as u32 };
        let pieces = self.logs.entry(record.log).or_default();
        match record.kind {
            Kind::Entry => latest(pieces.entries.entry(record.index).or_default(), record.stamp, place),
            Kind::Bounds => {
                let Some(purged) = purged_of(record.payload).filter(|purged| *purged <= record.index) else {
                    return false;
                };
                latest(&mut pieces.bounds, record.stamp, (record.index, purged, place));
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

    /// The state that all of them leave; `number` is the next record's.
    pub(crate) fn finish(self, number: u64) -> Result<State, OpenError> {
        let mut state = State { number, ..State::default() };
        for (id, pieces) in self.logs {
            let mut log = LogState::default();
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
            for (index, held) in pieces.entries {
                let Some((written, place)) = held else { continue };
                if index <= log.durable.purged || (written < stamp && index > last) {
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
