//! All streams of a log as one state machine: questions become facts, facts change the state, and facts alone.
//!
//! Deciding ([`Machine::append`] and its like) looks at limits and the time and changes nothing; [`Machine::apply`] obeys what was decided
//! and looks at neither. So the same log gives the same state, whoever reads it and whenever.
//!
//! The log loses its beginning when what still counts there has been carried to its end ([`Machine::carried`]). A message's removal is
//! written behind each of its copies, so no beginning that goes can bring one back.

use std::collections::BTreeMap;
use std::sync::Arc;

use synod_platform::time::Wall;

use super::error::StreamError;
use super::fact::{Fact, Message, NAME_MAX, SUBJECT_MAX, StreamId};
use super::limits::Limits;
use super::stream::{Cursor, Definition, Slot, Stream};

/// The longest payload of a message, bytes.
pub const PAYLOAD_MAX: usize = 8 << 20;

/// About what a message takes in the log beyond its subject and payload, bytes.
const OVERHEAD: u64 = 64;

/// What somebody wants appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Only if this is the stream's last sequence (0: it never had a message).
    pub expected: Option<u64>,
    /// The sender's own id for it: while the stream remembers it, a second message with it is not appended.
    pub id: Option<Arc<[u8]>>,
    /// What it is about.
    pub subject: Arc<str>,
    /// What it says.
    pub payload: Vec<u8>,
}

/// What becomes of a message that was to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has a place, once this is written.
    New(Message),
    /// It was appended before.
    Duplicate {
        /// As this.
        sequence: u64,
        /// By this entry of the log.
        position: u64,
    },
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With this sequence, or the first behind it that there is.
    Sequence(u64),
    /// With the first message appended at this moment or later.
    Time(Wall),
    /// With the next message.
    End,
}

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its place in the stream.
    pub sequence: u64,
    /// The entry of the log that holds it.
    pub position: u64,
    /// Bytes of its subject and payload.
    pub size: u64,
}

/// A stream as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// The lowest sequence that there is a message of; `next` if there is none.
    pub first: u64,
    /// The sequence of the next message.
    pub next: u64,
    /// How many messages there are.
    pub messages: u64,
    /// Bytes of their subjects and payloads.
    pub bytes: u64,
    /// How many ids are remembered.
    pub ids: u64,
    /// How many consumers have a cursor.
    pub consumers: u64,
}

/// How far somebody is who reads a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Its name.
    pub name: Arc<str>,
    /// The last sequence that it has done; 0 for none.
    pub done: u64,
    /// How many messages come after that.
    pub behind: u64,
}

/// All streams of one log.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    clock: Wall,
    next_stream: StreamId,
    /// The entry that holds the two above.
    base: Option<u64>,
    streams: BTreeMap<StreamId, Stream>,
    names: BTreeMap<Arc<str>, StreamId>,
    /// One beyond the last entry that ended something's life: what is dead lies below.
    dirty: u64,
}

impl Machine {
    /// Obeys a fact that lies at `position` of the log.
    pub fn apply(&mut self, position: u64, fact: Fact) {
        match fact {
            Fact::Base { clock, next_stream } => {
                self.clock = self.clock.max(clock);
                self.next_stream = self.next_stream.max(next_stream);
                self.base = Some(position);
            }
            Fact::Define { stream: number, next, limits, name } => {
                self.next_stream = self.next_stream.max(number.saturating_add(1));
                self.names.insert(name.clone(), number);
                let stream = self.streams.entry(number).or_default();
                stream.next = stream.next.max(next);
                stream.definition = Some(Definition { name, limits, position });
                stream.new_limits = true;
            }
            Fact::Message(message) => {
                self.clock = self.clock.max(message.at);
                let stream = self.streams.entry(message.stream).or_default();
                if stream.insert(position, message) {
                    self.dirty = position + 1;
                }
            }
            Fact::Seen { stream, sequence, at, id } => {
                let stream = self.streams.entry(stream).or_default();
                stream.next = stream.next.max(sequence + 1);
                stream.window.insert(id, super::window::Seen { sequence, at, position });
            }
            Fact::Cursor { stream, sequence, consumer } => {
                let stream = self.streams.entry(stream).or_default();
                stream.cursors.insert(consumer, Cursor { sequence, position });
            }
            Fact::CursorRemoved { stream, consumer } => {
                self.streams.entry(stream).or_default().cursors.remove(&consumer);
            }
            Fact::Deleted { stream, sequence } => {
                let stream = self.streams.entry(stream).or_default();
                stream.next = stream.next.max(sequence + 1);
                stream.remove(sequence);
                self.dirty = position + 1;
            }
            Fact::Floor { stream, messages, ids } => {
                let stream = self.streams.entry(stream).or_default();
                stream.remove_below(messages);
                stream.window.forget_below(ids);
                self.dirty = position + 1;
            }
            Fact::Dropped { stream } => {
                if let Some(definition) = self.streams.remove(&stream).and_then(|stream| stream.definition) {
                    self.names.remove(&definition.name);
                }
                self.dirty = position + 1;
            }
        }
    }

    /// A stream that has entries and no name: nothing that was written whole leaves one when all of it is read.
    pub fn nameless(&self) -> Option<StreamId> {
        self.streams.iter().find(|(_, stream)| stream.definition.is_none()).map(|(number, _)| *number)
    }

    /// What makes a stream of this name with these limits, or gives the one that there is these limits; and its number. What lies
    /// beyond new limits is [`Self::overdue`].
    pub fn define(&self, name: &str, limits: &Limits) -> Result<(StreamId, Option<Fact>), StreamError> {
        length("name of a stream", name.len(), 1, NAME_MAX)?;
        let (stream, next) = match self.find(name) {
            None => (self.next_stream, 1),
            Some(number) => {
                let (stream, definition) = self.get(number)?;
                if definition.limits == *limits {
                    return Ok((number, None));
                }
                (number, stream.next)
            }
        };
        stream.checked_add(1).ok_or(StreamError::NumbersUsed)?;
        Ok((stream, Some(Fact::Define { stream, next, limits: limits.clone(), name: name.into() })))
    }

    /// What becomes of a message that comes now.
    pub fn append(&self, number: StreamId, append: &Append, now: Wall) -> Result<Verdict, StreamError> {
        let (stream, Definition { limits, .. }) = self.get(number)?;
        let at = self.clock.max(now);
        let Append { expected, id, subject, payload } = append;
        length("subject", subject.len(), 1, SUBJECT_MAX)?;
        length("payload", payload.len(), 0, PAYLOAD_MAX)?;
        if let Some(id) = &id {
            length("id", id.len(), 1, NAME_MAX)?;
            // Before the expectation: who sends again has no other.
            if let Some(seen) = stream.seen(limits, id, at) {
                return Ok(Verdict::Duplicate { sequence: seen.sequence, position: seen.position });
            }
        }
        let present = stream.next - 1;
        if let Some(expected) = expected.filter(|expected| *expected != present) {
            return Err(StreamError::WrongSequence { expected, present });
        }
        let size = (subject.len() + payload.len()) as u64;
        if let Some(most) = limits.bytes.filter(|most| size > most.get()) {
            return Err(StreamError::TooLarge { size, most: most.get() });
        }
        let same = stream.subjects.get(subject);
        let replaced =
            same.filter(|same| limits.per_subject.is_some_and(|most| same.len() as u64 >= most.get()));
        let replaced = replaced.and_then(|same| same.front()).copied().unwrap_or(0);
        let id = id.clone().filter(|_| limits.window_ids > 0);
        Ok(Verdict::New(Message {
            stream: number,
            sequence: stream.next,
            at,
            floor: stream.floor(limits, Some(size), replaced, at),
            replaced,
            ids_floor: stream.ids_floor(limits, id.is_some(), at),
            id,
            subject: subject.clone(),
            payload: payload.clone(),
        }))
    }

    /// What sets a consumer's cursor: it has done all up to `sequence`. It may go back.
    pub fn move_cursor(&self, number: StreamId, consumer: &str, sequence: u64) -> Result<Fact, StreamError> {
        let (stream, _) = self.get(number)?;
        length("name of a consumer", consumer.len(), 1, NAME_MAX)?;
        let last = stream.next - 1;
        if sequence > last {
            return Err(StreamError::BeyondEnd { sequence, last });
        }
        Ok(Fact::Cursor { stream: number, sequence, consumer: consumer.into() })
    }

    /// What removes a consumer's cursor, if it has one.
    pub fn remove_cursor(&self, number: StreamId, consumer: &str) -> Result<Option<Fact>, StreamError> {
        let (stream, _) = self.get(number)?;
        let known = stream.cursors.get_key_value(consumer);
        Ok(known.map(|(consumer, _)| Fact::CursorRemoved { stream: number, consumer: consumer.clone() }))
    }

    /// What deletes one message.
    pub fn delete(&self, number: StreamId, sequence: u64) -> Result<Fact, StreamError> {
        let (stream, _) = self.get(number)?;
        if !stream.messages.contains_key(&sequence) {
            return Err(StreamError::NoMessage { sequence, first: stream.first(), next: stream.next });
        }
        Ok(Fact::Deleted { stream: number, sequence })
    }

    /// What deletes all messages below `floor`, if there are any; their ids stay remembered.
    pub fn delete_below(&self, number: StreamId, floor: u64) -> Result<Option<Fact>, StreamError> {
        let (stream, _) = self.get(number)?;
        let messages = floor.min(stream.next);
        Ok((stream.first() < messages).then_some(Fact::Floor { stream: number, messages, ids: 0 }))
    }

    /// What drops a stream.
    pub fn drop_stream(&self, number: StreamId) -> Result<Fact, StreamError> {
        self.get(number).map(|_| Fact::Dropped { stream: number })
    }

    /// What ends messages and ids that lie beyond their stream's limits because time passed or the limits are new: up to `most` facts.
    /// When they are obeyed there may be more.
    pub fn overdue(&mut self, now: Wall, most: usize) -> Vec<Fact> {
        let now = self.clock.max(now);
        let mut facts = Vec::new();
        for (number, stream) in &mut self.streams {
            if facts.len() >= most {
                break;
            }
            let Some(Definition { limits, .. }) = stream.definition.clone() else { continue };
            let before = facts.len();
            if stream.new_limits {
                let surplus = stream.surplus(&limits).take(most - before);
                facts.extend(surplus.map(|sequence| Fact::Deleted { stream: *number, sequence }));
                stream.new_limits = facts.len() > before;
            }
            // The floor depends on what the others leave.
            if facts.len() == before {
                facts.extend(floor(*number, stream, &limits, now));
            }
        }
        facts
    }

    /// The number of the stream of this name.
    pub fn find(&self, name: &str) -> Option<StreamId> {
        self.names.get(name).copied()
    }

    /// The names of all streams, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(|name| &**name)
    }

    /// A stream as it is now.
    pub fn state(&self, number: StreamId) -> Result<StreamState, StreamError> {
        let (stream, _) = self.get(number)?;
        Ok(StreamState {
            first: stream.first(),
            next: stream.next,
            messages: stream.messages.len() as u64,
            bytes: stream.bytes,
            ids: stream.window.len(),
            consumers: stream.cursors.len() as u64,
        })
    }

    /// What a stream keeps.
    pub fn limits(&self, number: StreamId) -> Result<&Limits, StreamError> {
        self.get(number).map(|(_, definition)| &definition.limits)
    }

    /// The sequence that reading begins with.
    pub fn start(&self, number: StreamId, start: Start) -> Result<u64, StreamError> {
        let (stream, _) = self.get(number)?;
        Ok(match start {
            Start::Sequence(sequence) => {
                stream.messages.range(sequence..).next().map_or(stream.next, |(found, _)| *found)
            }
            Start::Time(moment) => stream.at(moment),
            Start::End => stream.next,
        })
    }

    /// The messages from `sequence` on, in order.
    pub fn places(
        &self,
        number: StreamId,
        sequence: u64,
    ) -> Result<impl Iterator<Item = Place>, StreamError> {
        let (stream, _) = self.get(number)?;
        let place = |(sequence, slot): (&u64, &Slot)| Place {
            sequence: *sequence,
            position: slot.position,
            size: slot.size,
        };
        Ok(stream.messages.range(sequence..).map(place))
    }

    /// The last message of a subject, if there is one.
    pub fn last(&self, number: StreamId, subject: &str) -> Result<Option<u64>, StreamError> {
        let (stream, _) = self.get(number)?;
        Ok(stream.subjects.get(subject).and_then(|same| same.back()).copied())
    }

    /// How far a consumer is: the last sequence that it has done. None: it has no cursor.
    pub fn cursor(&self, number: StreamId, consumer: &str) -> Result<Option<u64>, StreamError> {
        let (stream, _) = self.get(number)?;
        Ok(stream.cursors.get(consumer).map(|cursor| cursor.sequence))
    }

    /// The consumers that have a cursor, how far each is, and how many messages it has not done.
    pub fn consumers(&self, number: StreamId) -> Result<Vec<Consumer>, StreamError> {
        let (stream, _) = self.get(number)?;
        let consumer = |(name, cursor): (&Arc<str>, &Cursor)| Consumer {
            name: name.clone(),
            done: cursor.sequence,
            behind: stream.messages.range(cursor.sequence + 1..).count() as u64,
        };
        Ok(stream.cursors.iter().map(consumer).collect())
    }

    /// What of the entry at `position` still counts, in the form in which it is written again at the log's end.
    pub fn carried(&self, position: u64, fact: Fact) -> Option<Fact> {
        match fact {
            Fact::Message(message) => {
                let stream = self.streams.get(&message.stream)?;
                let id = message
                    .id
                    .filter(|id| stream.window.get(id).is_some_and(|seen| seen.position == position));
                if stream.messages.get(&message.sequence).is_some_and(|slot| slot.position == position) {
                    return Some(Fact::Message(Message {
                        floor: 0,
                        replaced: 0,
                        ids_floor: 0,
                        id,
                        ..message
                    }));
                }
                let Message { stream, sequence, at, .. } = message;
                id.map(|id| Fact::Seen { stream, sequence, at, id })
            }
            Fact::Seen { stream, ref id, .. } => {
                let seen = self.streams.get(&stream)?.window.get(id)?;
                (seen.position == position).then_some(fact)
            }
            Fact::Define { stream: number, .. } => {
                let stream = self.streams.get(&number)?;
                let definition =
                    stream.definition.as_ref().filter(|definition| definition.position == position)?;
                let Definition { name, limits, .. } = definition.clone();
                Some(Fact::Define { stream: number, next: stream.next, limits, name })
            }
            Fact::Cursor { stream, ref consumer, .. } => {
                let cursor = self.streams.get(&stream)?.cursors.get(consumer)?;
                (cursor.position == position).then_some(fact)
            }
            Fact::Base { .. }
            | Fact::CursorRemoved { .. }
            | Fact::Deleted { .. }
            | Fact::Floor { .. }
            | Fact::Dropped { .. } => None,
        }
    }

    /// What else must be written before the log may begin at `first`: what no stream owns.
    pub fn base(&self, first: u64) -> Option<Fact> {
        let stays = self.base.is_some_and(|base| base >= first);
        (!stays).then_some(Fact::Base { clock: self.clock, next_stream: self.next_stream })
    }

    /// About how many bytes of the log still count.
    pub fn live(&self) -> u64 {
        let small = |stream: &Stream| stream.messages.len() + stream.cursors.len() + 1;
        let streams = self.streams.values();
        streams.map(|stream| stream.bytes + OVERHEAD * (small(stream) as u64 + stream.window.len())).sum()
    }

    /// Where the log must begin at least, so that nothing is in it that was deleted before now.
    pub fn dirty(&self) -> u64 {
        self.dirty
    }

    fn get(&self, number: StreamId) -> Result<(&Stream, &Definition), StreamError> {
        let stream = self.streams.get(&number);
        stream.and_then(|stream| Some((stream, stream.definition.as_ref()?))).ok_or(StreamError::Unknown)
    }
}

/// What leaves a stream when its limits are these and nothing comes.
fn floor(number: StreamId, stream: &Stream, limits: &Limits, now: Wall) -> Option<Fact> {
    let messages = stream.floor(limits, None, 0, now);
    let ids = stream.ids_floor(limits, false, now);
    let nothing = messages <= stream.first() && stream.window.first().is_none_or(|first| ids <= first);
    (!nothing).then_some(Fact::Floor { stream: number, messages, ids })
}

fn length(field: &'static str, len: usize, least: usize, most: usize) -> Result<(), StreamError> {
    if (least..=most).contains(&len) { Ok(()) } else { Err(StreamError::Length { field, len, least, most }) }
}
