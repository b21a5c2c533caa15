//! openraft's log on a log of the store: what is appended is readable at once and told when it is durable; the vote is durable before
//! anybody hears of it.
//!
//! An entry of consensus has the index `i`, from 0; in the store it is `i + 1`. Vote, committed and purged log id are named values beside
//! the entries. The store writes all in the order in which it was told, so no two of these can contradict each other after a crash.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::{LogState, OptionalSend, RaftLogReader};
use synod_probe::{plant, reach};
use synod_store::{Entry, Log, ReadError, Store, WriteError};

use crate::entry::{
    DecodeError, decode_entry, decode_log_id, decode_vote, encode_entry, encode_log_id, encode_vote,
};
use crate::types::Consensus;

const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";

/// How much one append to the store takes, bytes of entries (a single longer one goes alone).
const APPEND: usize = 1 << 20;

/// How much is read for one who may get less than he asked for, bytes.
const READ: usize = 1 << 20;

/// A log of consensus in a store. Cloning gives a reader of the same log; one alone may write.
#[derive(Clone)]
pub struct LogStorage {
    log: Log,
    /// What is committed and was not written yet: it goes with the next append, for it costs a sync and none depends on it.
    committed: Arc<Mutex<Option<LogIdOf<Consensus>>>>,
}

impl LogStorage {
    /// The log of consensus that has this name in the store. Completes a purge that a crash had cut short.
    pub async fn open(store: &Store, name: &str) -> Result<Self, io::Error> {
        let log = Self { log: store.log(name).map_err(io::Error::other)?, committed: Arc::default() };
        let purged = log.value(PURGED, decode_log_id)?.map_or(0, |purged| place(purged.index));
        if log.log.first() <= purged {
            reach!("raft.purge_completed");
            log.log.purge(purged).await.map_err(io::Error::other)?.await.map_err(io::Error::other)?;
        }
        Ok(log)
    }

    fn committed(&self) -> MutexGuard<'_, Option<LogIdOf<Consensus>>> {
        self.committed.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn value<T>(
        &self,
        key: &str,
        decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
    ) -> io::Result<Option<T>> {
        self.log.get(key).map(|bytes| decode(&bytes)).transpose().map_err(invalid)
    }

    async fn entries(&self, start: u64, end: u64, bytes: usize) -> io::Result<Vec<EntryOf<Consensus>>> {
        loop {
            let start = start.max(self.log.first());
            if start >= end {
                return Ok(Vec::new());
            }
            match self.log.read(start..end, bytes).await {
                // Somebody purged since we looked.
                Err(ReadError::Purged { .. }) => {}
                found => return found.map_err(io::Error::other)?.iter().map(entry).collect(),
            }
        }
    }
}

impl Debug for LogStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogStorage").field("log", &self.log.name()).finish_non_exhaustive()
    }
}

impl RaftLogReader<Consensus> for LogStorage {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<Consensus>>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(first) => *first,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.entries(place(start), place(end), usize::MAX).await
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<EntryOf<Consensus>>, io::Error> {
        self.entries(place(start), place(end), READ).await
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Consensus>>, io::Error> {
        self.value(VOTE, decode_vote)
    }
}

impl RaftLogStorage<Consensus> for LogStorage {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Consensus>, io::Error> {
        let last_purged_log_id = self.value(PURGED, decode_log_id)?;
        let last = self.log.last();
        let last_log_id = match self.entries(last, last + 1, READ).await?.pop() {
            Some(entry) => Some(entry.log_id),
            None => last_purged_log_id,
        };
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Consensus>) -> Result<(), io::Error> {
        let durable = self.log.put(VOTE, &encode_vote(vote)).await.map_err(io::Error::other)?;
        if plant!("raft.vote-unsynced") {
            return Ok(());
        }
        durable.await.map_err(io::Error::other)
    }

    async fn save_committed(&mut self, committed: Option<LogIdOf<Consensus>>) -> Result<(), io::Error> {
        *self.committed() = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<Consensus>>, io::Error> {
        let unwritten = *self.committed();
        if unwritten.is_some() { Ok(unwritten) } else { self.value(COMMITTED, decode_log_id) }
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Consensus>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Consensus>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut entries = entries.into_iter().peekable();
        let Some(first) = entries.peek().map(|entry| entry.log_id) else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        let mut next = self.log.last() + 1;
        if self.log.first() == next && place(first.index) > next {
            // A log that is empty may begin anywhere.
            drop(self.log.purge(first.index).await.map_err(io::Error::other)?);
            next = place(first.index);
        }
        let unwritten = self.committed().take();
        let committed = if plant!("raft.committed-too-high") { Some(first) } else { unwritten };
        if let Some(committed) = committed {
            drop(self.log.put(COMMITTED, &encode_log_id(&committed)).await.map_err(io::Error::other)?);
        }
        let mut callback = Some(callback);
        while entries.peek().is_some() {
            let (mut payloads, mut bytes) = (Vec::new(), 0);
            while bytes < APPEND
                && let Some(entry) = entries.next()
            {
                let expected = next + payloads.len() as u64;
                if place(entry.log_id.index) != expected {
                    return Err(invalid(format!(
                        "{} would leave a hole: the log goes on with index {}",
                        entry.log_id,
                        expected - 1
                    )));
                }
                let payload = Bytes::from(encode_entry(&entry));
                bytes += payload.len();
                payloads.push(payload);
            }
            // The last of several tells for all, since they become durable in order.
            let callback = if entries.peek().is_none() { callback.take() } else { None };
            let told = move |outcome: Result<(), WriteError>| {
                if let Some(callback) = callback {
                    callback.io_completed(outcome.map_err(io::Error::other));
                }
            };
            let size = self.log.size(&payloads).map_err(io::Error::other)?;
            let room = self.log.reserve(size).await.map_err(io::Error::other)?;
            next = room.append_at_then(next, payloads, told).map_err(io::Error::other)?.end;
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Consensus>>) -> Result<(), io::Error> {
        let after = last.map_or(0, |last| place(last.index)).max(self.log.first() - 1);
        let durable = self.log.truncate(after).await.map_err(io::Error::other)?;
        if plant!("raft.truncate-unsynced") {
            return Ok(());
        }
        durable.await.map_err(io::Error::other)
    }

    async fn purge(&mut self, log_id: LogIdOf<Consensus>) -> Result<(), io::Error> {
        // First what it is, then that it is gone: a crash between the two is made good when the log is opened. Never the second if the first
        // is refused.
        let named = self.log.put(PURGED, &encode_log_id(&log_id)).await.map_err(io::Error::other)?;
        named.await.map_err(io::Error::other)?;
        let durable = self.log.purge(place(log_id.index)).await.map_err(io::Error::other)?;
        durable.await.map_err(io::Error::other)
    }
}

/// The index in the store's log of an entry of consensus.
pub(crate) fn place(index: u64) -> u64 {
    index.saturating_add(1)
}

fn entry(entry: &Entry) -> io::Result<EntryOf<Consensus>> {
    let found = decode_entry(&entry.payload).map_err(invalid)?;
    if place(found.log_id.index) == entry.index {
        Ok(found)
    } else {
        Err(invalid(format!("entry {} of the store's log holds {}", entry.index, found.log_id)))
    }
}

pub(crate) fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
