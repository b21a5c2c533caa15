//! The log of consensus on a log of the store: openraft's own suite for storage in either build; in the simulator, power lost after every
//! disk operation.

use std::io;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageError};
use synod_cluster::{Answer, Consensus, LogStorage};
use synod_platform::{task, testing};
use synod_store::{Options, Store};
use tokio::sync::{mpsc, oneshot};

/// What the suite wants of a state machine: it remembers how far it is, in memory.
#[derive(Clone, Default)]
struct Machine(Arc<Mutex<Applied>>);

#[derive(Default)]
struct Applied {
    last: Option<LogIdOf<Consensus>>,
    membership: StoredMembershipOf<Consensus>,
    snapshot: Option<SnapshotMetaOf<Consensus>>,
}

impl RaftSnapshotBuilder<Consensus> for Machine {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Consensus, Vec<u8>>, io::Error> {
        let mut applied = self.0.lock().unwrap();
        let meta = SnapshotMetaOf::<Consensus> {
            last_log_id: applied.last,
            last_membership: applied.membership.clone(),
        };
        applied.snapshot = Some(meta.clone());
        Ok(SnapshotOf::<Consensus, _> { meta, snapshot: Vec::new() })
    }
}

impl RaftStateMachine<Consensus> for Machine {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogIdOf<Consensus>>, StoredMembershipOf<Consensus>), io::Error> {
        let applied = self.0.lock().unwrap();
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Consensus>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let mut applied = self.0.lock().unwrap();
            applied.last = Some(entry.log_id);
            if let EntryPayload::Membership(members) = entry.payload {
                applied.membership = StoredMembershipOf::<Consensus>::new(Some(entry.log_id), members);
            }
            drop(applied);
            if let Some(responder) = responder {
                responder.send(Answer(Vec::new()));
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
        _: Vec<u8>,
    ) -> Result<(), io::Error> {
        let mut applied = self.0.lock().unwrap();
        applied.last = meta.last_log_id;
        applied.membership = meta.last_membership.clone();
        applied.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Consensus, Vec<u8>>>, io::Error> {
        let meta = self.0.lock().unwrap().snapshot.clone();
        Ok(meta.map(|meta| SnapshotOf::<Consensus, _> { meta, snapshot: Vec::new() }))
    }
}

/// Asks for stores: the suite's futures may be sent anywhere, opening one may not.
struct Builder(mpsc::Sender<oneshot::Sender<LogStorage>>);

impl StoreBuilder<Consensus, LogStorage, Machine> for Builder {
    async fn build(&self) -> Result<((), LogStorage, Machine), StorageError<Consensus>> {
        let (give, given) = oneshot::channel();
        self.0.send(give).await.expect("stores are opened as long as the test runs");
        Ok(((), given.await.expect("a store can be opened"), Machine::default()))
    }
}

#[test]
fn the_storage_suite_of_openraft_passes() {
    testing::run(1, || async {
        #[cfg(not(madsim))]
        let place = tempfile::tempdir().unwrap();
        #[cfg(not(madsim))]
        let root = place.path().to_owned();
        #[cfg(madsim)]
        let root = std::path::PathBuf::from("/");
        let (ask, mut asked) = mpsc::channel::<oneshot::Sender<LogStorage>>(1);
        task::spawn(async move {
            let options = Options { segment_len: 64 << 10, ..Options::default() };
            for number in 0.. {
                let Some(give) = asked.recv().await else { break };
                let (store, _) = Store::open(root.join(number.to_string()), options).await.unwrap();
                drop(give.send(LogStorage::open(&store, "raft").await.unwrap()));
            }
        })
        .detach();
        Suite::test_all(Builder(ask)).await.unwrap();
    });
}
