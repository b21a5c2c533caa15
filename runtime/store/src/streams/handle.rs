//! The streams of a store, as their users hold them: what was answered is durable, and so is every message that is read.

use std::pin::pin;
use std::sync::Arc;

use synod_platform::time::{Wall, wall};
use synod_probe::{event, plant, reach};

use super::error::StreamError;
use super::fact::{Fact, Message, StreamId};
use super::limits::Limits;
use super::log::{Index, StateLog, decode, size};
use super::machine::{Append, Consumer, Machine, Place, Start, StreamState, Verdict};
use crate::error::ReadError;
use crate::format::RECORD_HEADER;
use crate::store::{Health, Store};

/// The log of a store that its streams are kept in.
pub const LOG: &str = "streams";

/// A log is shortened when it has twice the bytes that count, and so many more.
const SLACK: u64 = 1 << 20;

/// How much of the log is looked at in one step of shortening it, bytes; what is written for it must fit into any store's room.
const STEP: usize = 16 << 10;

/// How much is carried where writes fail, bytes, beside a quarter of what is gone for it: more would fill the store's reserve before it frees
/// a segment.
const CARRIED: u64 = 4 << 10;

/// How many facts are written in one step of ending what is overdue.
const OVERDUE: usize = 64;

/// What an append needs beside its id, subject and payload, at most, bytes.
const APPEND: usize = RECORD_HEADER + 64;

/// A message as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the stream.
    pub sequence: u64,
    /// When it was appended, by the streams' own time, which never runs backwards.
    pub at: Wall,
    /// What it is about.
    pub subject: Arc<str>,
    /// What it says.
    pub payload: Vec<u8>,
}

impl From<Message> for Stored {
    fn from(message: Message) -> Self {
        let Message { sequence, at, subject, payload, .. } = message;
        Self { sequence, at, subject, payload }
    }
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The message's place in the stream.
    pub sequence: u64,
    /// It had been appended before, under the same id.
    pub duplicate: bool,
}

/// What left the log, because it no longer counts or was written again at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortened {
    /// How many entries left.
    pub entries: u64,
    /// How many were written again.
    pub carried: u64,
}

/// The streams of a store. Cloning gives another handle; open them once a store.
///
/// In memory they take about 110 bytes a message, 180 more if its subject is its own, 170 an id that is remembered, 700 a stream; what
/// messages say stays in the log.
#[derive(Clone)]
pub struct Streams(Arc<Inner>);

struct Inner {
    store: Store,
    log: StateLog,
    /// Held by who shortens the log.
    shortening: tokio::sync::Mutex<()>,
}

impl Streams {
    /// Opens the streams of a store: reads their log from its beginning.
    pub async fn open(store: &Store) -> Result<Self, StreamError> {
        let log = StateLog::open(store.log(LOG)?).await?;
        Ok(Self(Arc::new(Inner { store: store.clone(), log, shortening: tokio::sync::Mutex::default() })))
    }

    /// Makes a stream, or gives the one of this name other limits; what lies beyond them is deleted. Doing it again changes nothing.
    pub async fn define(&self, name: &str, limits: &Limits) -> Result<StreamId, StreamError> {
        let (stream, changed) = self
            .0
            .log
            .write(0, |machine| {
                let (stream, fact) = machine.define(name, limits)?;
                Ok(((stream, fact.is_some()), fact.into_iter().collect()))
            })
            .await?;
        if changed {
            self.end_overdue(Wall::default()).await?;
        }
        Ok(stream)
    }

    /// Appends a message and answers its place when it is durable; a duplicate gets the place of the first. Waits while the store has
    /// no room. Dropping the future does not take the message back.
    pub async fn append(&self, stream: StreamId, append: Append) -> Result<Appended, StreamError> {
        let size = APPEND
            + append.id.as_ref().map_or(0, |id| id.len())
            + append.subject.len()
            + append.payload.len();
        loop {
            let refusals = self.0.log.settled.borrow().refusals;
            let (sequence, before) = self
                .0
                .log
                .write(size, |machine| match machine.append(stream, &append, wall())? {
                    Verdict::New(message) => Ok(((message.sequence, None), vec![Fact::Message(message)])),
                    Verdict::Duplicate { sequence, position } => Ok(((sequence, Some(position)), vec![])),
                })
                .await?;
            let Some(position) = before else { return Ok(Appended { sequence, duplicate: false }) };
            reach!("streams.duplicate");
            if self.0.log.is_durable(position, refusals).await {
                return Ok(Appended { sequence, duplicate: true });
            }
        }
    }

    /// Messages in order from `start`: at most so many, and so many bytes of subject and payload, but one if there is any. Waits until they
    /// are durable, but not for messages to come.
    pub async fn read(
        &self,
        stream: StreamId,
        start: Start,
        messages: usize,
        bytes: u64,
    ) -> Result<Vec<Stored>, StreamError> {
        let mut before = None;
        loop {
            let (refusals, places) = self
                .0
                .log
                .look(|index| {
                    let mut size = 0;
                    let fits = |place: &Place| {
                        let first = size == 0;
                        size += place.size;
                        first || size <= bytes
                    };
                    let from = index.machine.start(stream, start)?;
                    let places = index.machine.places(stream, from)?.take(messages).take_while(fits);
                    Ok((index.refusals, places.collect::<Vec<_>>()))
                })
                .await?;
            if let Some(found) = self.fetch(stream, &places, refusals).await? {
                return Ok(found);
            }
            // They were refused, or are elsewhere since the log was shortened.
            let seen = Some((refusals, places));
            if seen == before {
                let place = seen.and_then(|(_, places)| places.first().copied());
                return Err(StreamError::Lost { sequence: place.map_or(0, |place| place.sequence) });
            }
            before = seen;
        }
    }

    /// Waits until there is a message with this sequence or a later one, durably.
    pub async fn arrived(&self, stream: StreamId, sequence: u64) -> Result<(), StreamError> {
        loop {
            let arrivals = self.0.log.arrivals(stream);
            let mut news = pin!(arrivals.notified());
            // From here on nothing is missed.
            news.as_mut().enable();
            let durable = self.0.log.settled.borrow().durable;
            let first = self.0.log.look(|index| Ok(index.machine.places(stream, sequence)?.next())).await?;
            if first.is_some_and(|place| place.position <= durable) {
                return Ok(());
            }
            news.await;
        }
    }

    /// Says durably that a consumer has done all up to `sequence`. It may go back.
    pub async fn move_cursor(
        &self,
        stream: StreamId,
        consumer: &str,
        sequence: u64,
    ) -> Result<(), StreamError> {
        self.0.log.write(0, |machine| Ok(((), vec![machine.move_cursor(stream, consumer, sequence)?]))).await
    }

    /// Forgets how far a consumer is.
    pub async fn remove_cursor(&self, stream: StreamId, consumer: &str) -> Result<(), StreamError> {
        self.0
            .log
            .write(0, |machine| Ok(((), machine.remove_cursor(stream, consumer)?.into_iter().collect())))
            .await
    }

    /// How far a consumer is: the last sequence that it has done. None: it has no cursor.
    pub async fn cursor(&self, stream: StreamId, consumer: &str) -> Result<Option<u64>, StreamError> {
        self.0.log.look(|index| index.machine.cursor(stream, consumer)).await
    }

    /// The consumers of a stream.
    pub async fn consumers(&self, stream: StreamId) -> Result<Vec<Consumer>, StreamError> {
        self.0.log.look(|index| index.machine.consumers(stream)).await
    }

    /// Deletes one message. It is never read again; [`Self::erase`] takes it off the disk.
    pub async fn delete(&self, stream: StreamId, sequence: u64) -> Result<(), StreamError> {
        self.0.log.free(|machine| Ok(((), vec![machine.delete(stream, sequence)?]))).await
    }

    /// Deletes all messages below a sequence.
    pub async fn delete_below(&self, stream: StreamId, sequence: u64) -> Result<(), StreamError> {
        self.0
            .log
            .free(|machine| Ok(((), machine.delete_below(stream, sequence)?.into_iter().collect())))
            .await
    }

    /// Drops a stream with all that it has. Its name may be defined again, as another stream.
    pub async fn drop_stream(&self, stream: StreamId) -> Result<(), StreamError> {
        self.0.log.free(|machine| Ok(((), vec![machine.drop_stream(stream)?]))).await
    }

    /// The stream of this name.
    pub async fn find(&self, name: &str) -> Result<Option<StreamId>, StreamError> {
        self.0.log.look(|index| Ok(index.machine.find(name))).await
    }

    /// The names of all streams, in order.
    pub async fn names(&self) -> Result<Vec<String>, StreamError> {
        self.0.log.look(|index| Ok(index.machine.names().map(str::to_owned).collect())).await
    }

    /// A stream as it is, with what is on its way to being durable.
    pub async fn state(&self, stream: StreamId) -> Result<StreamState, StreamError> {
        self.0.log.look(|index| index.machine.state(stream)).await
    }

    /// What a stream keeps.
    pub async fn limits(&self, stream: StreamId) -> Result<Limits, StreamError> {
        self.0.log.look(|index| index.machine.limits(stream).cloned()).await
    }

    /// The last message of a subject, if there is one.
    pub async fn last(&self, stream: StreamId, subject: &str) -> Result<Option<Stored>, StreamError> {
        loop {
            let Some(last) = self.0.log.look(|index| index.machine.last(stream, subject)).await? else {
                return Ok(None);
            };
            let found = self.read(stream, Start::Sequence(last), 1, 0).await?.pop();
            // A newer one may have replaced it meanwhile.
            if found.as_ref().is_some_and(|found| found.sequence == last) {
                return Ok(found);
            }
        }
    }

    /// Deletes what has become too old, and shortens the log if much of it no longer counts. Call it now and then. Where the disk is full it
    /// shortens the log as far as little is to be carried for that.
    pub async fn maintain(&self) -> Result<Shortened, StreamError> {
        self.end_overdue(wall()).await?;
        self.shorten(|index, _, gone| index.bytes - gone.min(index.bytes) > 2 * index.machine.live() + SLACK)
            .await
    }

    /// Takes all that was deleted before, or has become too old, out of the log and off the disk ([`Store::scrub`]): when this returns, no file
    /// of the store has it. Who promises that deleted bytes are gone within a time calls it as often.
    pub async fn erase(&self) -> Result<Shortened, StreamError> {
        self.end_overdue(wall()).await?;
        let mut all = Shortened::default();
        loop {
            let dirty = self.0.log.look(|index| Ok(index.machine.dirty())).await?;
            if self.0.log.entries.first() >= dirty {
                break;
            }
            // Nothing, if something was refused on the way.
            let shortened = self.shorten(|_, first, _| first < dirty).await?;
            all.entries += shortened.entries;
            all.carried += shortened.carried;
        }
        self.0.store.scrub().await?;
        Ok(all)
    }

    async fn end_overdue(&self, now: Wall) -> Result<(), StreamError> {
        loop {
            let overdue = |machine: &mut Machine| {
                let facts = machine.overdue(now, OVERDUE);
                Ok((facts.len(), facts))
            };
            if self.0.log.free(overdue).await? == 0 {
                return Ok(());
            }
        }
    }

    /// Lets the log begin later, while `go_on` says so of where it would begin and of the bytes that would be gone.
    async fn shorten(&self, go_on: impl Fn(&Index, u64, u64) -> bool) -> Result<Shortened, StreamError> {
        let _alone = self.0.shortening.lock().await;
        let (end, refusals) = self.0.log.look(|index| Ok((index.next, index.refusals))).await?;
        let begin = self.0.log.entries.first();
        let (mut first, mut gone, mut carried) = (begin, 0, 0);
        let mut full = self.0.store.health() != Health::Good;
        let mut carried_bytes = 0;
        while first < end && go_on(&self.0.log.index(), first, gone) {
            let entries = self.0.log.entries.read(first..end, STEP).await?;
            let Some(last) = entries.last() else { break };
            let next = last.index + 1;
            if plant!("streams.purge-before-carry") {
                drop(self.0.log.entries.purge(next - 1).await?);
            }
            let passed = gone + entries.iter().map(size).sum::<u64>();
            let carry = |most: u64| {
                let entries = &entries;
                move |machine: &mut Machine| {
                    let mut facts = Vec::new();
                    for entry in entries {
                        facts.extend(machine.carried(entry.index, decode(entry)?));
                    }
                    let bytes: u64 = facts.iter().map(|fact| fact.encode().len() as u64).sum();
                    if bytes > most {
                        return Ok((None, Vec::new()));
                    }
                    Ok((Some((facts.len() as u64, bytes)), facts))
                }
            };
            let most = if full { (CARRIED + passed / 4).saturating_sub(carried_bytes) } else { u64::MAX };
            let (count, bytes) = match self.0.log.submit(full, 0, carry(most)).await?.0 {
                Some(step) => step,
                None if first > begin => break,
                None => {
                    // Refused, unless the disk is good again.
                    reach!("streams.much_to_carry");
                    full = false;
                    self.0.log.write(0, carry(u64::MAX)).await?.unwrap_or_default()
                }
            };
            carried += count;
            carried_bytes += bytes;
            (first, gone) = (next, passed);
        }
        if first == begin {
            return Ok(Shortened::default());
        }
        self.0.log.free(|machine| Ok(((), machine.base(first).into_iter().collect()))).await?;
        // Written last, so all that was carried is durable, unless something was refused on the way.
        if self.0.log.settled.borrow().refusals != refusals {
            reach!("streams.shortening_refused");
            return Ok(Shortened::default());
        }
        self.0.log.entries.purge(first - 1).await?.await?;
        let mut index = self.0.log.index();
        index.bytes -= gone.min(index.bytes);
        event!("streams.shortened", entries = first - begin, carried = carried);
        Ok(Shortened { entries: first - begin, carried })
    }

    /// The messages at these places; none if one is no longer there.
    async fn fetch(
        &self,
        stream: StreamId,
        places: &[Place],
        refusals: u64,
    ) -> Result<Option<Vec<Stored>>, StreamError> {
        let last = places.iter().map(|place| place.position).max().unwrap_or(0);
        if !self.0.log.is_durable(last, refusals).await {
            return Ok(None);
        }
        let mut found = Vec::with_capacity(places.len());
        for run in places.chunk_by(|one, next| one.position + 1 == next.position) {
            let first = run[0].position;
            let entries = match self.0.log.entries.read(first..first + run.len() as u64, usize::MAX).await {
                Err(ReadError::Purged { .. }) => return Ok(None),
                entries => entries?,
            };
            if entries.len() < run.len() {
                return Ok(None);
            }
            for (entry, place) in entries.iter().zip(run) {
                match decode(entry)? {
                    Fact::Message(message)
                        if (message.stream, message.sequence) == (stream, place.sequence) =>
                    {
                        found.push(message.into());
                    }
                    _ => return Ok(None),
                }
            }
        }
        Ok(Some(found))
    }
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").field("next", &self.0.log.index().next).finish_non_exhaustive()
    }
}
