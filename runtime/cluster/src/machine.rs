//! openraft's state machine over an application in memory: what is applied lives there, snapshots of it lie beside the log in the store.
//!
//! A snapshot is durable before anybody hears of it, so that the log may be purged up to it. After a restart openraft loads the newest one
//! and applies again what is committed behind it.

use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use synod_platform::task;
use synod_probe::plant;
use synod_store::{Log, Store};

use crate::entry::{decode_snapshot, encode_snapshot};
use crate::log::{invalid, place};
use crate::types::{Answer, Consensus, Proposal};

/// What proposals mean. Each node's comes to the same by the same proposals: no clock, no chance, no order of hashes.
pub trait Application: Default + Send + Sync + 'static {
    /// Does what is proposed.
    fn apply(&mut self, proposal: &Proposal) -> Answer;
    /// All of it as bytes.
    fn save(&self) -> Vec<u8>;
    /// From the bytes that were saved; nothing if they are no such bytes.
    fn load(bytes: &[u8]) -> Option<Self>;
}

/// The state machine of an application. Cloning gives another handle of the same.
pub struct Machine<A> {
    log: Log,
    applied: Arc<Mutex<Applied<A>>>,
}

/// An application with how far it is.
#[derive(Debug, Default)]
struct Applied<A> {
    last: Option<LogIdOf<Consensus>>,
    membership: StoredMembershipOf<Consensus>,
    application: A,
}

impl<A: Application> Machine<A> {
    /// For the log of consensus that has this name in the store, as yet with nothing applied.
    pub fn of(store: &Store, name: &str) -> Result<Self, io::Error> {
        Ok(Self { log: store.log(name).map_err(io::Error::other)?, applied: Arc::default() })
    }

    /// Looks at the application.
    pub fn with<T>(&self, look: impl FnOnce(&A) -> T) -> T {
        look(&self.applied().application)
    }

    fn applied(&self) -> MutexGuard<'_, Applied<A>> {
        self.applied.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Makes a snapshot durable.
    async fn save(&self, meta: &SnapshotMetaOf<Consensus>, state: &[u8]) -> Result<(), io::Error> {
        let index = meta.last_log_id.map_or(0, |last| place(last.index));
        let (log, content) = (self.log.clone(), Bytes::from(encode_snapshot(meta, state)));
        if plant!("raft.purge-before-snapshot") {
            task::spawn(async move { log.save(index, content).await }).detach();
            return Ok(());
        }
        log.save(index, content).await.map_err(io::Error::other)
    }
}

impl<A> Clone for Machine<A> {
    fn clone(&self) -> Self {
        Self { log: self.log.clone(), applied: self.applied.clone() }
    }
}

impl<A> Debug for Machine<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("log", &self.log.name()).finish_non_exhaustive()
    }
}

impl<A: Application> RaftSnapshotBuilder<Consensus> for Machine<A> {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Consensus, Vec<u8>>, io::Error> {
        let (meta, snapshot) = {
            let applied = self.applied();
            let (last_log_id, last_membership) = (applied.last, applied.membership.clone());
            (SnapshotMetaOf::<Consensus> { last_log_id, last_membership }, applied.application.save())
        };
        self.save(&meta, &snapshot).await?;
        Ok(SnapshotOf::<Consensus, _> { meta, snapshot })
    }
}

impl<A: Application> RaftStateMachine<Consensus> for Machine<A> {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<Consensus>>, StoredMembershipOf<Consensus>), io::Error> {
        let applied = self.applied();
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Consensus>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let answer = {
                let mut applied = self.applied();
                applied.last = Some(entry.log_id);
                match entry.payload {
                    EntryPayload::Blank => Answer(Vec::new()),
                    EntryPayload::Normal(proposal) => applied.application.apply(&proposal),
                    EntryPayload::Membership(members) => {
                        applied.membership =
                            StoredMembershipOf::<Consensus>::new(Some(entry.log_id), members);
                        Answer(Vec::new())
                    }
                }
            };
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Consensus>,
        snapshot: Vec<u8>,
    ) -> Result<(), io::Error> {
        let application =
            A::load(&snapshot).ok_or_else(|| invalid("the snapshot holds no state of this application"))?;
        self.save(meta, &snapshot).await?;
        let (last, membership) = (meta.last_log_id, meta.last_membership.clone());
        *self.applied() = Applied { last, membership, application };
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Consensus, Vec<u8>>>, io::Error> {
        let Some(saved) = self.log.saved().await.map_err(io::Error::other)? else { return Ok(None) };
        let (meta, snapshot) = decode_snapshot(&saved.content).map_err(invalid)?;
        Ok(Some(SnapshotOf::<Consensus, _> { meta, snapshot: snapshot.to_vec() }))
    }
}
