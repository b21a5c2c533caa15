//! The log and state machine of consensus on a log of the store: openraft's own suite for storage in either build; in the simulator, power lost after every
//! disk operation.

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use synod_cluster::{Answer, Application, Consensus, LogStorage, Machine, Proposal};
use synod_platform::{task, testing};
use synod_store::{Options, Store};
use tokio::sync::{mpsc, oneshot};

/// What proposals mean to the suite: nothing.
#[derive(Default)]
struct Nothing;

impl Application for Nothing {
    fn apply(&mut self, _: &Proposal) -> Answer {
        Answer(Vec::new())
    }

    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    fn load(_: &[u8]) -> Option<Self> {
        Some(Self)
    }
}

type Storage = (LogStorage, Machine<Nothing>);

/// Asks for stores: the suite's futures may be sent anywhere, opening one may not.
struct Builder(mpsc::Sender<oneshot::Sender<Storage>>);

impl StoreBuilder<Consensus, LogStorage, Machine<Nothing>> for Builder {
    async fn build(&self) -> Result<((), LogStorage, Machine<Nothing>), StorageError<Consensus>> {
        let (give, given) = oneshot::channel();
        self.0.send(give).await.expect("stores are opened as long as the test runs");
        let (log, machine) = given.await.expect("a store can be opened");
        Ok(((), log, machine))
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
        let (ask, mut asked) = mpsc::channel::<oneshot::Sender<Storage>>(1);
        task::spawn(async move {
            let options = Options { segment_len: 64 << 10, ..Options::default() };
            for number in 0.. {
                let Some(give) = asked.recv().await else { break };
                let (store, _) = Store::open(root.join(number.to_string()), options).await.unwrap();
                let log = LogStorage::open(&store, "raft").await.unwrap();
                drop(give.send((log, Machine::of(&store, "raft").unwrap())));
            }
        })
        .detach();
        Suite::test_all(Builder(ask)).await.unwrap();
    });
}
