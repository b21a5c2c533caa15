//! One node's share of consensus without the others: its log, its state machine and their snapshots, driven in terms and numbers.
//!
//! For workloads and oracles, which name nothing of openraft. Entries are counted from 0, an `end` is one more than the last. What is
//! proposed is made from term and place, so that a state tells which entries gave it.

use std::io;

use futures_util::stream;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine, StorageHelper};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{LogIdOf, VoteOf};
use openraft::{Entry, EntryPayload, LogId, RaftLogReader, RaftSnapshotBuilder};
use synod_store::Store;

use crate::log::LogStorage;
use crate::machine::{Application, Machine};
use crate::types::{Answer, Consensus, Proposal};

/// The node that this is.
const NODE: u64 = 1;

/// A state that depends on each proposal and on their order.
#[derive(Default)]
struct Chain(u64);

impl Application for Chain {
    fn apply(&mut self, proposal: &Proposal) -> Answer {
        for byte in &proposal.0 {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Answer(self.save())
    }

    fn save(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn load(bytes: &[u8]) -> Option<Self> {
        Some(Self(u64::from_le_bytes(bytes.try_into().ok()?)))
    }
}

/// What a log of consensus holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The term that was voted in.
    pub vote: u64,
    /// So many entries are purged.
    pub purged: u64,
    /// The terms of those that follow.
    pub terms: Vec<u64>,
}

impl Held {
    /// One more than the last entry.
    pub fn end(&self) -> u64 {
        self.purged + self.terms.len() as u64
    }
}

/// What was found before anything was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// So many entries are purged.
    pub purged: u64,
    /// So many the newest snapshot stands for.
    pub snapshot: u64,
}

/// A log and a state machine of consensus.
pub struct Rehearsal {
    log: LogStorage,
    machine: Machine<Chain>,
}

impl Rehearsal {
    /// Those of this name in a store.
    pub async fn open(store: &Store, name: &str) -> io::Result<(Self, Before)> {
        let mut all = Self { log: LogStorage::open(store, name).await?, machine: Machine::of(store, name)? };
        let purged = end(all.log.get_log_state().await?.last_purged_log_id);
        let snapshot = all.machine.get_current_snapshot().await?;
        let before =
            Before { purged, snapshot: snapshot.map_or(0, |snapshot| end(snapshot.meta.last_log_id)) };
        Ok((all, before))
    }

    /// Restores what openraft restores when it starts: the newest snapshot, and what is committed behind it.
    pub async fn restore(&mut self) -> io::Result<()> {
        let helper = &mut StorageHelper::new(&mut self.log, &mut self.machine).with_id(NODE);
        helper.get_initial_state().await.map(drop).map_err(io::Error::other)
    }

    /// What the log holds.
    pub async fn held(&mut self) -> io::Result<Held> {
        let purged = end(self.log.get_log_state().await?.last_purged_log_id);
        let entries = self.log.try_get_log_entries(..).await?;
        let vote = self.log.read_vote().await?.map_or(0, |vote| vote.leader_id.term);
        Ok(Held { vote, purged, terms: entries.iter().map(|entry| entry.log_id.leader_id.term).collect() })
    }

    /// How many entries are written down as committed.
    pub async fn committed(&mut self) -> io::Result<u64> {
        Ok(end(self.log.read_committed().await?))
    }

    /// How many entries are applied, and the state that they gave.
    pub async fn state(&mut self) -> io::Result<(u64, u64)> {
        let (last, _) = self.machine.applied_state().await?;
        Ok((end(last), self.machine.with(|chain| chain.0)))
    }

    /// Votes in a term: durable when this returns.
    pub async fn vote(&mut self, term: u64) -> io::Result<()> {
        self.log.save_vote(&VoteOf::<Consensus>::new(term, NODE)).await
    }

    /// Appends so many entries of a term: durable when this returns.
    pub async fn append(&mut self, term: u64, count: u64) -> io::Result<()> {
        let first = end(self.log.get_log_state().await?.last_log_id);
        let entry = |index: u64| {
            let bytes = [term.to_le_bytes(), index.to_le_bytes()].concat().repeat(1 + (index % 20) as usize);
            Entry { log_id: id(term, index), payload: EntryPayload::Normal(Proposal(bytes)) }
        };
        let (told, outcome) = Consensus::oneshot();
        let entries: Vec<_> = (first..first + count).map(entry).collect();
        self.log.append(entries, IOFlushed::signal(told)).await?;
        outcome.await.map_err(io::Error::other)?
    }

    /// Cuts the entries from `end` on, which are not applied: durable when this returns.
    pub async fn cut(&mut self, end: u64) -> io::Result<()> {
        let last = self.log.try_get_log_entries(..end).await?.pop().map(|entry| entry.log_id);
        let purged = self.log.get_log_state().await?.last_purged_log_id;
        self.log.truncate_after(last.or(purged)).await
    }

    /// Commits and applies the entries before `end`.
    pub async fn commit(&mut self, end: u64) -> io::Result<()> {
        let (applied, _) = self.state().await?;
        let entries = self.log.try_get_log_entries(applied..end).await?;
        if let Some(last) = entries.last() {
            self.log.save_committed(Some(last.log_id)).await?;
        }
        self.machine.apply(stream::iter(entries.into_iter().map(|entry| Ok((entry, None))))).await
    }

    /// Has a snapshot take the place of all that is applied: both durable when this returns.
    pub async fn compact(&mut self) -> io::Result<()> {
        match self.machine.build_snapshot().await?.meta.last_log_id {
            Some(last) => self.log.purge(last).await,
            None => Ok(()),
        }
    }
}

fn id(term: u64, index: u64) -> LogIdOf<Consensus> {
    LogId { leader_id: LeaderId { term, node_id: NODE }, index }
}

fn end(last: Option<LogIdOf<Consensus>>) -> u64 {
    last.map_or(0, |last| last.index + 1)
}
