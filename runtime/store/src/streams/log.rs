//! The streams' log and the state that it leaves, kept together: deciding, queueing and obeying a fact are one step under a lock, so the
//! order of the log is the order of decisions.
//!
//! When the store refuses what waited, the state has obeyed facts that never were: it is read from the log again before anything
//! else is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use synod_platform::watch;
use synod_probe::{event, reach};
use tokio::sync::{Notify, oneshot};

use super::error::StreamError;
use super::fact::{Fact, StreamId};
use super::machine::Machine;
use crate::error::WriteError;
use crate::format::RECORD_HEADER;
use crate::store::{Entry, Log};

/// How much of the log is read in one step, bytes.
const READ: usize = 1 << 20;

/// Tells whether what was queued is durable or refused.
type Outcome = oneshot::Receiver<Result<(), WriteError>>;

pub(super) struct StateLog {
    pub(super) entries: Log,
    index: Mutex<Index>,
    /// Held by who reads the log again.
    reading: tokio::sync::Mutex<()>,
    pub(super) settled: watch::Sender<Settled>,
    arrivals: Arrivals,
}

/// Who waits for messages, by stream, so that nobody is woken for another's.
#[derive(Clone, Default)]
struct Arrivals(Arc<Mutex<BTreeMap<StreamId, Arc<Notify>>>>);

impl Arrivals {
    /// What is told when a stream has something new.
    fn of(&self, stream: StreamId) -> Arc<Notify> {
        self.waiting().entry(stream).or_default().clone()
    }

    /// Wakes who waits for one of these, and forgets those for which nobody does.
    fn wake(&self, streams: &BTreeSet<StreamId>) {
        let mut waiting = self.waiting();
        for stream in streams {
            let Some(notify) = waiting.get(stream) else { continue };
            notify.notify_waiters();
            if Arc::strong_count(notify) == 1 {
                waiting.remove(stream);
            }
        }
    }

    fn wake_all(&self) {
        self.waiting().values().for_each(|notify| notify.notify_waiters());
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<StreamId, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// All that was appended to the log, durable or not.
#[derive(Default)]
pub(super) struct Index {
    pub(super) machine: Machine,
    /// The position of the next entry.
    pub(super) next: u64,
    /// How many bytes the log's entries have.
    pub(super) bytes: u64,
    /// How often something had been refused when the log was read.
    pub(super) refusals: u64,
}

/// What became of what was appended.
#[derive(Clone, Copy)]
pub(super) struct Settled {
    /// The last entry known to be durable.
    pub(super) durable: u64,
    /// How often something was refused.
    pub(super) refusals: u64,
}

/// What one try to write came to.
enum Try<T> {
    Queued(T, Outcome),
    Nothing(T),
    Needs(usize),
    Outdated,
}

impl StateLog {
    pub(super) async fn open(entries: Log) -> Result<Self, StreamError> {
        // One refusal that the empty index does not know of.
        let settled = watch::Sender::new(Settled { durable: 0, refusals: 1 });
        let (index, reading, arrivals) = Default::default();
        let log = Self { entries, index, reading, settled, arrivals };
        log.refresh().await?;
        Ok(log)
    }

    /// Queues what `decide` makes of the present state, obeys it, and waits until it is durable. It may be asked several times.
    pub(super) async fn write<T>(
        &self,
        size: usize,
        decide: impl FnMut(&mut Machine) -> Result<(T, Vec<Fact>), StreamError>,
    ) -> Result<T, StreamError> {
        settled(self.submit(false, size, decide).await?).await
    }

    /// The same of what puts an end to messages, and is little: also where the disk is full ([`Log::reserve_to_free`]).
    pub(super) async fn free<T>(
        &self,
        decide: impl FnMut(&mut Machine) -> Result<(T, Vec<Fact>), StreamError>,
    ) -> Result<T, StreamError> {
        settled(self.submit(true, 0, decide).await?).await
    }

    /// The same without the waiting; `frees` as in [`Self::free`], `size` is a guess at what it needs of the store's room.
    pub(super) async fn submit<T>(
        &self,
        frees: bool,
        mut size: usize,
        mut decide: impl FnMut(&mut Machine) -> Result<(T, Vec<Fact>), StreamError>,
    ) -> Result<(T, Option<Outcome>), StreamError> {
        loop {
            let room = match frees {
                true => self.entries.reserve_to_free(size).await?,
                false => self.entries.reserve(size).await?,
            };
            let tried = {
                let mut index = self.index();
                let index = &mut *index;
                if index.refusals != self.settled.borrow().refusals {
                    Try::Outdated
                } else {
                    let (answer, facts) = decide(&mut index.machine)?;
                    let payloads: Vec<Bytes> = facts.iter().map(|fact| fact.encode().into()).collect();
                    let needed = self.entries.size(&payloads)?;
                    if facts.is_empty() {
                        Try::Nothing(answer)
                    } else if needed > size {
                        Try::Needs(needed)
                    } else {
                        let (told, outcome) = self.told(&facts, index.next + facts.len() as u64 - 1);
                        match room.append_at_then(index.next, payloads, told) {
                            Ok(range) => {
                                index.next = range.end;
                                index.bytes += needed as u64;
                                range
                                    .zip(facts)
                                    .for_each(|(position, fact)| index.machine.apply(position, fact));
                                Try::Queued(answer, outcome)
                            }
                            Err(WriteError::Moved { .. }) => {
                                self.settled.send_if_modified(|settled| {
                                    settled.refusals += 1;
                                    true
                                });
                                Try::Outdated
                            }
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
            };
            match tried {
                Try::Queued(answer, outcome) => return Ok((answer, Some(outcome))),
                Try::Nothing(answer) => return Ok((answer, None)),
                Try::Needs(needed) => size = needed,
                Try::Outdated => self.refresh().await?,
            }
        }
    }

    /// What the store calls when these facts, up to an entry, are durable or refused, and who is told.
    fn told(
        &self,
        facts: &[Fact],
        last: u64,
    ) -> (impl FnOnce(Result<(), WriteError>) + Send + 'static, Outcome) {
        let (settled, arrivals) = (self.settled.clone(), self.arrivals.clone());
        let streams: BTreeSet<_> = facts.iter().filter_map(awaited).collect();
        let (done, outcome) = oneshot::channel();
        let told = move |result: Result<(), WriteError>| {
            settled.send_if_modified(|settled| {
                match result {
                    Ok(()) => settled.durable = settled.durable.max(last),
                    Err(_) => settled.refusals += 1,
                }
                true
            });
            match result {
                Ok(()) => arrivals.wake(&streams),
                Err(_) => arrivals.wake_all(),
            }
            // Whoever waited may have gone.
            drop(done.send(result));
        };
        (told, outcome)
    }

    /// Waits until an entry is durable; false if something was refused since there were so many refusals.
    pub(super) async fn is_durable(&self, position: u64, refusals: u64) -> bool {
        let mut settled = self.settled.subscribe();
        loop {
            let now = *settled.borrow_and_update();
            if now.refusals != refusals {
                return false;
            }
            if now.durable >= position {
                return true;
            }
            if settled.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Looks at what is, after it was read again if it must be.
    pub(super) async fn look<T>(
        &self,
        look: impl Fn(&Index) -> Result<T, StreamError>,
    ) -> Result<T, StreamError> {
        loop {
            {
                let index = self.index();
                if index.refusals == self.settled.borrow().refusals {
                    return look(&index);
                }
            }
            self.refresh().await?;
        }
    }

    /// Reads the log again if something was refused since it was read. All that is left then is durable.
    async fn refresh(&self) -> Result<(), StreamError> {
        let _alone = self.reading.lock().await;
        let refusals = self.settled.borrow().refusals;
        if self.index().refusals == refusals {
            return Ok(());
        }
        let mut read = Index { next: self.entries.first(), refusals, ..Index::default() };
        loop {
            let entries = self.entries.read(read.next.., READ).await?;
            let Some(last) = entries.last() else { break };
            read.next = last.index + 1;
            read.bytes += entries.iter().map(size).sum::<u64>();
            for entry in &entries {
                read.machine.apply(entry.index, decode(entry)?);
            }
        }
        if let Some(stream) = read.machine.nameless() {
            return Err(StreamError::Nameless { stream });
        }
        reach!("streams.read");
        event!("streams.read", entries = read.next - self.entries.first());
        let durable = read.next - 1;
        *self.index() = read;
        self.settled.send_if_modified(|settled| {
            settled.durable = settled.durable.max(durable);
            true
        });
        self.arrivals.wake_all();
        Ok(())
    }

    /// What is told when a message of this stream may have become durable, or the stream is gone.
    pub(super) fn arrivals(&self, stream: StreamId) -> Arc<Notify> {
        self.arrivals.of(stream)
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Waits until what was queued is durable.
pub(super) async fn settled<T>((answer, outcome): (T, Option<Outcome>)) -> Result<T, StreamError> {
    if let Some(outcome) = outcome {
        outcome.await.unwrap_or(Err(WriteError::Closed))?;
    }
    Ok(answer)
}

/// The stream whose readers a fact is news for.
fn awaited(fact: &Fact) -> Option<StreamId> {
    match fact {
        Fact::Message(message) => Some(message.stream),
        Fact::Dropped { stream } => Some(*stream),
        _ => None,
    }
}

pub(super) fn decode(entry: &Entry) -> Result<Fact, StreamError> {
    Fact::decode(&entry.payload).map_err(|reason| StreamError::Entry { position: entry.index, reason })
}

pub(super) fn size(entry: &Entry) -> u64 {
    (RECORD_HEADER + entry.payload.len()) as u64
}
