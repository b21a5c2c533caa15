//! Power is lost after every disk operation of a node that applies, builds snapshots, purges its log behind them and is given another's:
//! what openraft restores from snapshot and log has the state that the same entries give everywhere.
#![cfg(madsim)]

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use futures_util::stream;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine, StorageHelper};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, StoredMembershipOf};
use openraft::{Entry, EntryPayload, LogId, RaftLogReader, RaftSnapshotBuilder};
use synod_cluster::{Answer, Application, Consensus, LogStorage, Machine, Proposal};
use synod_platform::disk::control::DiskFaults;
use synod_platform::random;
use synod_platform::testing::power_loss_everywhere;
use synod_probe::plant;
use synod_store::{Options, Store};

/// A state that depends on each proposal and on their order.
#[derive(Default)]
struct Chain(u64);

impl Application for Chain {
    fn apply(&mut self, proposal: &Proposal) -> Answer {
        let number = u64::from_le_bytes(proposal.0[..8].try_into().unwrap());
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        Answer(self.0.to_le_bytes().to_vec())
    }

    fn save(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn load(bytes: &[u8]) -> Option<Self> {
        Some(Self(u64::from_le_bytes(bytes.try_into().ok()?)))
    }
}

fn proposal(index: u64) -> Proposal {
    let mut bytes = (index + 1).to_le_bytes().to_vec();
    bytes.resize(8 + (index * 97 % 400) as usize, 7);
    Proposal(bytes)
}

/// The state that the entries before this index give.
fn expected(end: u64) -> u64 {
    let mut chain = Chain::default();
    for index in 0..end {
        chain.apply(&proposal(index));
    }
    chain.0
}

/// What is known outside of the store: entries, in numbers.
#[derive(Default)]
struct Ledger {
    /// So many are durable in the log, or in a snapshot.
    durable: Cell<u64>,
}

fn id(index: u64) -> LogIdOf<Consensus> {
    LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index }
}

struct Node {
    log: LogStorage,
    machine: Machine<Chain>,
}

impl Node {
    /// How many entries are applied, and that the state is theirs.
    async fn applied(&mut self) -> u64 {
        let (last, _) = self.machine.applied_state().await.unwrap();
        let end = last.map_or(0, |last| last.index + 1);
        assert_eq!(self.machine.with(|chain| chain.0), expected(end), "the state that {end} entries give");
        end
    }

    async fn end_of_log(&mut self) -> u64 {
        self.log.get_log_state().await.unwrap().last_log_id.map_or(0, |last| last.index + 1)
    }

    async fn apply_up_to(&mut self, end: u64) {
        let begin = self.applied().await;
        let entries = self.log.try_get_log_entries(begin..end).await.unwrap();
        assert_eq!(
            entries.len() as u64,
            end.saturating_sub(begin),
            "nothing between snapshot and log is missing"
        );
        self.machine.apply(stream::iter(entries.into_iter().map(|entry| Ok((entry, None))))).await.unwrap();
        assert_eq!(self.applied().await, end.max(begin));
    }

    async fn append(&mut self) {
        let next = self.end_of_log().await;
        let entry = |index| Entry { log_id: id(index), payload: EntryPayload::Normal(proposal(index)) };
        let (told, outcome) = Consensus::oneshot();
        self.log
            .append((next..next + 2).map(entry).collect::<Vec<_>>(), IOFlushed::signal(told))
            .await
            .unwrap();
        outcome.await.unwrap().unwrap();
    }

    /// As a leader that is far ahead would have it: its snapshot, and then nothing of the log before.
    async fn be_given_a_snapshot(&mut self) {
        let end = self.end_of_log().await + 3;
        let meta = SnapshotMetaOf::<Consensus> {
            last_log_id: Some(id(end - 1)),
            last_membership: StoredMembershipOf::<Consensus>::default(),
        };
        self.machine.install_snapshot(&meta, expected(end).to_le_bytes().to_vec()).await.unwrap();
        self.log.purge(id(end - 1)).await.unwrap();
    }
}

/// One life: what openraft does when it starts, and then a few things drawn at random.
async fn live(ledger: Rc<Ledger>, steps: usize, bug: Option<&'static str>) {
    if let Some(bug) = bug {
        plant::choose_here(bug);
    }
    let tiny = Options { segment_len: 20 << 10, batch_max: 4 << 10, ..Options::default() };
    let (store, _) = Store::open("/store", tiny).await.unwrap();
    let (log, machine) =
        (LogStorage::open(&store, "raft").await.unwrap(), Machine::of(&store, "raft").unwrap());
    let mut node = Node { log, machine };
    let state = StorageHelper::new(&mut node.log, &mut node.machine).with_id(1).get_initial_state().await;
    state.expect("openraft starts from what is there");
    let end = node.end_of_log().await;
    node.apply_up_to(end).await;
    assert!(node.applied().await >= ledger.durable.get(), "acknowledged is durable");
    for _ in 0..steps {
        match random::below(6) {
            0 => node.be_given_a_snapshot().await,
            1 | 2 => {
                let end = node.end_of_log().await;
                node.apply_up_to(end).await;
                let built = node.machine.build_snapshot().await.unwrap();
                if let Some(last) = built.meta.last_log_id {
                    node.log.purge(last).await.unwrap();
                }
            }
            3 => {
                let last = node.log.get_log_state().await.unwrap().last_log_id;
                node.log.save_committed(last).await.unwrap();
            }
            _ => node.append().await,
        }
        ledger.durable.set(node.end_of_log().await);
    }
    drop(node);
    store.close().await;
}

fn cut_everywhere(seed: u64, lives: usize, steps: usize, bug: Option<&'static str>) -> u64 {
    power_loss_everywhere(seed, &DiskFaults::default(), lives, move |ledger| live(ledger, steps, bug))
}

#[test]
fn snapshot_and_log_restore_an_equal_state_wherever_power_is_lost() {
    let worlds: u64 = (0..8).map(|seed| cut_everywhere(seed, 1, 8, None)).sum();
    println!("{worlds} worlds");
    assert!(worlds > 8 * 20, "only {worlds} worlds");
}

#[test]
fn power_lost_again_in_the_next_life_leaves_snapshot_and_log_that_fit() {
    let worlds = cut_everywhere(20, 2, 4, None);
    println!("{worlds} worlds");
    assert!(worlds > 15 * 15, "only {worlds} worlds");
}

#[test]
fn a_log_purged_before_its_snapshot_is_durable_is_noticed() {
    let bug = Some("raft.purge-before-snapshot");
    let noticed = |seed: &u64| catch_unwind(AssertUnwindSafe(|| cut_everywhere(*seed, 1, 8, bug))).is_err();
    assert!((0..10).any(|seed| noticed(&seed)));
}
