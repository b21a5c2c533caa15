//! The store and its logs, as their users hold them: handles that may be sent anywhere, over what one context writes and reads.

use std::fmt;
use std::ops::{Bound, Range, RangeBounds};
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use synod_platform::disk::{self, Backend, DiskError};
use synod_platform::task;
use synod_probe::plant;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use crate::cipher::{Keyring, Keys};
use crate::error::{OpenError, ReadError, SnapshotError, WriteError};
use crate::format::RECORD_HEADER;
use crate::keeper::Keeper;
use crate::open::{self, Recovered};
use crate::options::Options;
use crate::pace::Pace;
use crate::pass::Progress;
use crate::reader::{self, Request};
use crate::snapshot::{Errand, Snapshot};
use crate::state::{Ack, Found, LogState, SMALL, State};
use crate::writer::{Way, Writer};

/// How many reads may wait for the reader.
const READS: usize = 64;

/// Whether a store takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Good,
    /// The last write failed. Reading goes on; the next write tries again.
    Degraded(DiskError),
}

/// How what is appended reaches the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritePath {
    /// Past the file system's cache; through it, with a sync, where it has no other way.
    pub direct: bool,
    /// By whom operations are done.
    pub backend: Backend,
}

impl WritePath {
    pub(crate) fn of(direct: bool) -> Self {
        Self { direct, backend: disk::backend() }
    }
}

impl fmt::Display for WritePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.direct {
            "past the cache"
        } else {
            "through the cache (the file system refuses files past it)"
        };
        write!(f, "{way}; by {}", self.backend)
    }
}

/// Who is told that the store was scrubbed, or why not.
type Scrubbed = oneshot::Sender<Result<(), WriteError>>;

/// What handles, writer and reader share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    state: Mutex<State>,
    health: Mutex<Health>,
    /// The segment that is written to is so past the cache.
    pub(crate) direct: AtomicBool,
    /// Bytes that may still wait.
    pub(crate) room: Semaphore,
    /// Something waits to be written, or the store was closed.
    pub(crate) work: Notify,
    /// There may be something to keep house about, or the store was closed.
    pub(crate) keep: Notify,
    /// Who wants the store scrubbed.
    scrubs: Mutex<Vec<Scrubbed>>,
    closed: AtomicBool,
    /// Closed when the writer has ended.
    pub(crate) ended: Semaphore,
}

impl Shared {
    pub(crate) fn new(options: Options, state: State, direct: bool) -> Self {
        Self {
            options,
            state: Mutex::new(state),
            health: Mutex::new(Health::Good),
            direct: AtomicBool::new(direct),
            room: Semaphore::new(options.waiting_max),
            work: Notify::new(),
            keep: Notify::new(),
            scrubs: Mutex::default(),
            closed: AtomicBool::new(false),
            ended: Semaphore::new(0),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn scrubs(&self) -> MutexGuard<'_, Vec<Scrubbed>> {
        self.scrubs.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn is_degraded(&self) -> bool {
        *self.health.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) != Health::Good
    }

    pub(crate) fn set_health(&self, health: Health) {
        *self.health.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = health;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.room.close();
        self.work.notify_one();
        self.keep.notify_one();
    }

    /// Where the entries of a range are, as many as `bytes_max` allows, but the first in any case if `at_least_one`.
    pub(crate) fn find(
        &self,
        log: u32,
        range: Range<u64>,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<Vec<Found>, ReadError> {
        let state = self.state();
        let log = &state.logs[&log];
        if range.start < log.first() && !range.is_empty() {
            return Err(ReadError::Purged { index: range.start, first: log.first() });
        }
        let (mut found, mut bytes) = (Vec::new(), 0);
        for entry in range.map_while(|index| log.entry(index)) {
            bytes += match &entry {
                Found::Here(payload) => payload.len(),
                Found::There(place) => place.len as usize,
            };
            if bytes > bytes_max && !(at_least_one && found.is_empty()) {
                break;
            }
            found.push(entry);
        }
        Ok(found)
    }
}

/// Held by handles alone: when the last one is dropped, the store closes.
struct Handle {
    shared: Arc<Shared>,
    reads: mpsc::Sender<Request>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// An open store: one physical log with many logical ones. Cloning gives another handle.
///
/// On a full disk appends are refused, and what frees others goes on: truncations, purges, removals, deletions of messages, and values of
/// up to some hundred bytes, for which two free segments are kept. What they free is used again at once. A snapshot needs space of its own.
///
/// The context that opened it does its work; when that context ends, whatever still waits is [`WriteError::Closed`].
#[derive(Clone)]
pub struct Store {
    handle: Arc<Handle>,
}

impl Store {
    /// Opens the store in a directory, made if it is not there, and reads all of it; alone ([`OpenError::Locked`]).
    pub async fn open(
        directory: impl Into<PathBuf>,
        options: Options,
    ) -> Result<(Self, Recovered), OpenError> {
        Self::open_with(directory, options, |_| {}).await
    }

    /// The same, and what is written from now on is encrypted with the keys' current one. What was written without, or with another, stays as
    /// it is until its segment is used again; [`Store::scrub`] right after an opening leaves nothing of it.
    pub async fn open_encrypted(
        directory: impl Into<PathBuf>,
        options: Options,
        keys: Arc<dyn Keyring>,
        progress: impl FnMut(Progress),
    ) -> Result<(Self, Recovered), OpenError> {
        Self::open_keyed(directory.into(), options, Keys(Some(keys)), progress).await
    }

    /// The same as [`Store::open`], and tells every now and then how far it has come.
    pub async fn open_with(
        directory: impl Into<PathBuf>,
        options: Options,
        progress: impl FnMut(Progress),
    ) -> Result<(Self, Recovered), OpenError> {
        Self::open_keyed(directory.into(), options, Keys::default(), progress).await
    }

    async fn open_keyed(
        directory: PathBuf,
        options: Options,
        keys: Keys,
        progress: impl FnMut(Progress),
    ) -> Result<(Self, Recovered), OpenError> {
        options.check()?;
        let opened = open::open(&directory, keys, progress).await?;
        let shared = Arc::new(Shared::new(options, opened.state, opened.direct));
        let (reads, requests) = mpsc::channel(READS);
        let lock = Rc::new(opened.lock);
        let reading = reader::run(shared.clone(), opened.segments.clone(), Rc::downgrade(&lock), requests);
        task::spawn(reading).detach();
        let keeper = Keeper { shared: shared.clone(), segments: opened.segments.clone() };
        task::spawn(keeper.run()).detach();
        let writer = Writer {
            shared: shared.clone(),
            segments: opened.segments,
            lock,
            epoch: opened.epoch,
            active: opened.active,
            scarce: false,
            pace: Pace::new(options.batch_max),
            way: Way::default(),
        };
        task::spawn(writer.run()).detach();
        Ok((Self { handle: Arc::new(Handle { shared, reads }) }, opened.recovered))
    }

    /// The logical log of this name, 1 to 255 bytes; made if there is none, durable with the first thing written to it.
    pub fn log(&self, name: &str) -> Result<Log, WriteError> {
        name_of(name)?;
        let id = self.handle.shared.state().log(name);
        Ok(Log { handle: self.handle.clone(), id, name: name.into() })
    }

    /// The names of all logs, sorted.
    pub fn logs(&self) -> Vec<String> {
        let state = self.handle.shared.state();
        let mut names: Vec<_> =
            state.logs.values().filter(|log| !log.is_removed()).map(|log| log.name.clone()).collect();
        names.sort_unstable();
        names
    }

    /// Removes the log of that name with all that belongs to it, if there is one; when this returns, that is durable. Handles of it answer
    /// [`WriteError::Removed`] from the call on, or go on if it is refused; the name may be used again when this has succeeded. After an error
    /// of the disk it is to be called again: snapshots may have been left. What stays is a record of some forty bytes and its like in memory,
    /// so that the log's number never belongs to another.
    pub async fn remove(&self, name: &str) -> Result<(), WriteError> {
        name_of(name)?;
        let Some(id) = self.handle.shared.state().find(name) else { return Ok(()) };
        let log = Log { handle: self.handle.clone(), id, name: name.into() };
        let room = log.reserve_to_free(RECORD_HEADER + name.len()).await?;
        let errand = self.handle.reads.reserve().await.map_err(|_| WriteError::Closed)?;
        let (done, end) = Durable::new();
        {
            let mut state = self.handle.shared.state();
            if state.logs[&id].durable.removed.is_some() {
                done(Ok(()));
            } else {
                room.enqueue(&mut state, |state, id, room| state.remove(id, room, done))?;
            }
        }
        let (reply, answer) = oneshot::channel();
        // From here on it happens, also if nobody waits for it.
        errand.send(Request::Snapshot { name: name.into(), errand: Errand::Remove(end), reply });
        answer.await.unwrap_or(Err(ReadError::Closed)).map_err(ReadError::into_write)?;
        Ok(())
    }

    /// Whether it takes writes.
    pub fn health(&self) -> Health {
        self.handle.shared.health.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// How what is appended reaches the disk: as the last segment that was begun is written, before that as the file system allows.
    pub fn write_path(&self) -> WritePath {
        WritePath::of(self.handle.shared.direct.load(Ordering::Relaxed))
    }

    /// Writes zeros over all bytes of the store's files that no longer counted when it was called: entries that durably were purged or cut off,
    /// values that others replaced, what was refused, superseded snapshots. When this returns, that is durable. It costs a copy of
    /// what is needed in the segments concerned, and those segments once more in zeros; after an opening, all of the store.
    ///
    /// What a log's newest snapshot says stays until its owner saves another ([`Log::compact`] writes over the older one). A file system that
    /// does not write in place, a device that maps its blocks, and backups may still have copies.
    pub async fn scrub(&self) -> Result<(), WriteError> {
        let shared = &self.handle.shared;
        let (done, outcome) = oneshot::channel();
        {
            let mut scrubs = shared.scrubs();
            if shared.is_closed() {
                return Err(WriteError::Closed);
            }
            scrubs.push(done);
        }
        shared.keep.notify_one();
        outcome.await.unwrap_or(Err(WriteError::Closed))
    }

    /// Refuses further writes, waits until what waits is durable or refused, and lets go of the directory.
    pub async fn close(self) {
        self.handle.shared.close();
        // It never has a permit: this waits until it is closed.
        drop(self.handle.shared.ended.acquire().await);
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("logs", &self.logs().len()).field("health", &self.health()).finish()
    }
}

fn name_of(name: &str) -> Result<(), WriteError> {
    if (1..=255).contains(&name.len()) { Ok(()) } else { Err(WriteError::Name { len: name.len() }) }
}

/// An entry of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its index in its log; the first ever is 1.
    pub index: u64,
    /// What was appended.
    pub payload: Bytes,
}

/// Resolves when what was written is durable, or refused. Dropping it changes nothing.
#[must_use = "what is not durable yet may be lost: await it, or say `drop`"]
#[derive(Debug)]
pub struct Durable(oneshot::Receiver<Result<(), WriteError>>);

impl Durable {
    pub(crate) fn new() -> (Ack, Self) {
        let (sender, receiver) = oneshot::channel();
        (Box::new(move |outcome| drop(sender.send(outcome))), Self(receiver))
    }
}

impl Future for Durable {
    type Output = Result<(), WriteError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or(Err(WriteError::Closed)))
    }
}

/// Room for something to wait in until it is durable. Dropping it gives it back.
#[must_use = "room that is not used is given back"]
pub struct Room<'a> {
    log: &'a Log,
    bytes: usize,
    /// What is held beside, so that nothing else waits.
    alone: usize,
    frees: bool,
}

impl Room<'_> {
    /// Appends entries, which must need no more than was reserved, and answers their indexes. They are seen at once;
    /// `done` is called when they are durable or refused. The order of calls is the order of the log.
    pub fn append_then(
        self,
        payloads: Vec<Bytes>,
        done: impl FnOnce(Result<(), WriteError>) + Send + 'static,
    ) -> Result<Range<u64>, WriteError> {
        self.append_if(None, payloads, done)
    }

    /// The same, if the log goes on with the index `first`; [`WriteError::Moved`] if not, because others wrote or what was there
    /// before has been refused.
    pub fn append_at_then(
        self,
        first: u64,
        payloads: Vec<Bytes>,
        done: impl FnOnce(Result<(), WriteError>) + Send + 'static,
    ) -> Result<Range<u64>, WriteError> {
        self.append_if(Some(first), payloads, done)
    }

    fn append_if(
        self,
        expected: Option<u64>,
        payloads: Vec<Bytes>,
        done: impl FnOnce(Result<(), WriteError>) + Send + 'static,
    ) -> Result<Range<u64>, WriteError> {
        let bytes = size_of_all(&payloads);
        if bytes > self.bytes {
            return Err(WriteError::TooLong { bytes, max: self.bytes });
        }
        let log = self.log;
        let mut state = log.handle.shared.state();
        let next = state.logs[&log.id].last() + 1;
        if let Some(expected) = expected.filter(|expected| *expected != next) {
            return Err(WriteError::Moved { expected, next });
        }
        let end = next + payloads.len() as u64;
        if end == next {
            drop(state);
            done(Ok(()));
            return Ok(next..next);
        }
        let frees = self.frees;
        self.enqueue(&mut state, |state, id, room| state.append(id, payloads, frees, room, Box::new(done)))?;
        Ok(next..end)
    }

    /// The same, with a future.
    pub fn append(self, payloads: Vec<Bytes>) -> Result<(Range<u64>, Durable), WriteError> {
        let (done, durable) = Durable::new();
        Ok((self.append_then(payloads, done)?, durable))
    }

    fn enqueue<T>(
        mut self,
        state: &mut State,
        work: impl FnOnce(&mut State, u32, usize) -> T,
    ) -> Result<T, WriteError> {
        if state.logs[&self.log.id].is_removed() {
            return Err(WriteError::Removed { log: self.log.name.to_string() });
        }
        let result = work(state, self.log.id, std::mem::take(&mut self.bytes));
        self.log.handle.shared.work.notify_one();
        Ok(result)
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.log.handle.shared.room.add_permits(self.bytes + self.alone);
    }
}

fn size_of_all(payloads: &[Bytes]) -> usize {
    payloads.iter().map(|payload| RECORD_HEADER + payload.len()).sum()
}

/// A logical log: entries with indexes from 1 on without a gap, and named values beside them.
///
/// Whoever writes to a log should be one, or agree with the others: the log knows no expectations.
#[derive(Clone)]
pub struct Log {
    handle: Arc<Handle>,
    id: u32,
    name: Box<str>,
}

impl Log {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The index of the first entry that is not purged; one more than the last if there is none.
    pub fn first(&self) -> u64 {
        self.with(LogState::first)
    }

    /// The index of the last entry, durable or not; one less than the first if there is none.
    pub fn last(&self) -> u64 {
        self.with(LogState::last)
    }

    /// The index up to which entries are known to be durable.
    pub fn durable(&self) -> u64 {
        self.with(LogState::durable_last)
    }

    /// Waits until `bytes` more may wait; [`Log::size`] says how many an append needs.
    pub async fn reserve(&self, bytes: usize) -> Result<Room<'_>, WriteError> {
        let shared = &self.handle.shared;
        let max = shared.options.append_max();
        if bytes > max {
            return Err(WriteError::TooLong { bytes, max });
        }
        let permits = shared.room.acquire_many(bytes as u32).await.map_err(|_| WriteError::Closed)?;
        permits.forget();
        Ok(Room { log: self, bytes, alone: 0, frees: false })
    }

    /// The same for what puts an end to other things, or leads to it, and is little: it may go to the reserve that the store keeps for when the
    /// disk is full ([`Store`]). While writes fail it waits until nothing else does, for what is refused has all that follows refused;
    /// so whoever holds other room uses it or drops it first.
    pub async fn reserve_to_free(&self, bytes: usize) -> Result<Room<'_>, WriteError> {
        let shared = &self.handle.shared;
        let max = shared.options.append_max();
        let alone = if shared.is_degraded() { max.saturating_sub(bytes) } else { 0 };
        let mut room = self.reserve(bytes + alone).await?;
        (room.bytes, room.alone) = (bytes, alone);
        room.frees = true;
        Ok(room)
    }

    /// What an append of these payloads needs of the room for what waits, bytes. Refuses a payload that no segment holds.
    pub fn size(&self, payloads: &[Bytes]) -> Result<usize, WriteError> {
        let max = self.handle.shared.options.payload_max();
        match payloads.iter().find(|payload| payload.len() > max) {
            Some(payload) => Err(WriteError::TooLong { bytes: payload.len(), max }),
            None => Ok(size_of_all(payloads)),
        }
    }

    /// Appends entries as soon as there is room, and answers their indexes and what resolves when they are durable. They are seen
    /// by readers when this returns. Several entries may become durable one after the other.
    pub async fn append(&self, payloads: Vec<Bytes>) -> Result<(Range<u64>, Durable), WriteError> {
        let bytes = self.size(&payloads)?;
        self.reserve(bytes).await?.append(payloads)
    }

    /// Drops all entries after this index, as soon as there is room. Seen at once.
    pub async fn truncate(&self, after: u64) -> Result<Durable, WriteError> {
        let room = self.reserve_to_free(RECORD_HEADER + 8).await?;
        let first = self.first();
        if after + 1 < first {
            return Err(WriteError::Purged { after, first });
        }
        let (done, durable) = Durable::new();
        room.enqueue(&mut self.handle.shared.state(), |state, id, room| {
            state.truncate(id, after, room, done)
        })?;
        Ok(durable)
    }

    /// Drops all entries up to this index, as soon as there is room; the log goes on behind it even if it was shorter. Seen at once.
    pub async fn purge(&self, up_to: u64) -> Result<Durable, WriteError> {
        let room = self.reserve_to_free(RECORD_HEADER + 8).await?;
        let (done, durable) = Durable::new();
        room.enqueue(&mut self.handle.shared.state(), |state, id, room| state.purge(id, up_to, room, done))?;
        Ok(durable)
    }

    /// Gives a named value (1 to 255 bytes of name) a new content, as soon as there is room. Seen at once, and kept in memory:
    /// for small things. Durable in the order of all writes to this store.
    pub async fn put(&self, key: &str, value: &[u8]) -> Result<Durable, WriteError> {
        name_of(key)?;
        let (len, max) = (1 + key.len() + value.len(), self.handle.shared.options.payload_max());
        if len > max {
            return Err(WriteError::TooLong { bytes: len, max });
        }
        let len = RECORD_HEADER + len;
        let room = if len > SMALL { self.reserve(len).await? } else { self.reserve_to_free(len).await? };
        let (done, durable) = Durable::new();
        room.enqueue(&mut self.handle.shared.state(), |state, id, room| {
            state.put(id, key, value, room, done)
        })?;
        Ok(durable)
    }

    /// The named value, durable or not.
    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.handle.shared.state().logs[&self.id].value(key)
    }

    /// The entries of a range, in order, as far as they are there: up to `bytes_max` of payload, but at least one if there is any.
    /// [`ReadError::Purged`] if the range begins below the first.
    pub async fn read(
        &self,
        range: impl RangeBounds<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        let range = start_of(&range)..end_of(&range);
        let found = self.handle.shared.find(self.id, range.clone(), bytes_max, true)?;
        if found.iter().all(|found| matches!(found, Found::Here(_))) {
            let here = found.into_iter().zip(range.start..).filter_map(|(found, index)| match found {
                Found::Here(payload) => Some(Entry { index, payload }),
                Found::There(_) => None,
            });
            return Ok(here.collect());
        }
        let (reply, answer) = oneshot::channel();
        let request = Request::Entries { log: self.id, range, bytes_max, reply };
        self.handle.reads.send(request).await.map_err(|_| ReadError::Closed)?;
        answer.await.map_err(|_| ReadError::Closed)?
    }

    /// Saves what all entries up to `index` amount to, and then drops them: when this returns, both are durable. Of what is
    /// interrupted at any point either the entries or the snapshot are there.
    pub async fn compact(&self, index: u64, content: Bytes) -> Result<(), WriteError> {
        if plant!("snapshot.purge-first") {
            self.purge(index).await?.await?;
        }
        self.snapshots(Errand::Save(Snapshot { index, content })).await.map_err(ReadError::into_write)?;
        self.purge(index).await?.await?;
        self.snapshots(Errand::Forget(index)).await.map_err(ReadError::into_write)?;
        Ok(())
    }

    /// Saves what all entries up to `index` amount to, in the place of what was saved before: durable when this returns. The entries stay, for
    /// whoever purges them.
    pub async fn save(&self, index: u64, content: Bytes) -> Result<(), WriteError> {
        self.snapshots(Errand::Save(Snapshot { index, content })).await.map_err(ReadError::into_write)?;
        self.snapshots(Errand::Forget(index)).await.map_err(ReadError::into_write)?;
        Ok(())
    }

    /// What was saved last, whatever entries there are.
    pub async fn saved(&self) -> Result<Option<Snapshot>, ReadError> {
        self.snapshots(Errand::Load).await
    }

    /// The newest snapshot, on which the entries after it build. If the log ends before it (it was saved when the entries were not
    /// durable yet), the log goes on behind it when this returns.
    pub async fn snapshot(&self) -> Result<Option<Snapshot>, SnapshotError> {
        let found = self.saved().await?;
        let index = found.as_ref().map_or(0, |snapshot| snapshot.index);
        if index + 1 < self.first() {
            return Err(SnapshotError::Missing { log: self.name.to_string(), first: self.first() });
        }
        if index > self.last() {
            self.purge(index).await?.await?;
        }
        Ok(found)
    }

    async fn snapshots(&self, errand: Errand) -> Result<Option<Snapshot>, ReadError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Snapshot { name: self.name.clone(), errand, reply };
        self.handle.reads.send(request).await.map_err(|_| ReadError::Closed)?;
        answer.await.map_err(|_| ReadError::Closed)?
    }

    fn with<T>(&self, look: impl FnOnce(&LogState) -> T) -> T {
        look(&self.handle.shared.state().logs[&self.id])
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = self.first()..=self.last();
        f.debug_struct("Log").field("name", &self.name).field("entries", &range).finish()
    }
}

fn start_of(range: &impl RangeBounds<u64>) -> u64 {
    match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 1,
    }
}

fn end_of(range: &impl RangeBounds<u64>) -> u64 {
    match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    }
}
