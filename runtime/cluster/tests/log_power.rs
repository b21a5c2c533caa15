//! Power is lost after every disk operation of consensus's log: what was answered is durable, no vote and no cut suffix comes back, and nothing
//! is committed that the log has not. Each planted bug breaks that.
#![cfg(madsim)]

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use openraft::impls::leader_id_adv::LeaderId;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{LogIdOf, VoteOf};
use openraft::{Entry, EntryPayload, LogId, RaftLogReader};
use synod_cluster::{Consensus, LogStorage, Proposal};
use synod_platform::disk::control::{self, DiskFaults};
use synod_platform::testing::power_loss_everywhere;
use synod_platform::time::{self, Duration};
use synod_platform::{random, simulation, task, testing};
use synod_probe::plant;
use synod_store::{Options, Store};

type Id = LogIdOf<Consensus>;

/// What the log should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    purged: Option<Id>,
    entries: Vec<Id>,
    /// Terms ascend.
    vote: u64,
}

impl Model {
    fn next(&self) -> u64 {
        self.last().map_or(0, |last| last.index + 1)
    }

    fn last(&self) -> Option<Id> {
        self.entries.last().copied().or(self.purged)
    }
}

/// What is known outside of the store.
#[derive(Default)]
struct Ledger {
    answered: RefCell<Model>,
    /// What the log may hold since something was asked that was not answered.
    possible: RefCell<Vec<Model>>,
    /// The last that was said to be committed.
    committed: Cell<Option<Id>>,
}

impl Ledger {
    /// Something is asked: until it is answered, any of these may be found.
    fn asked(&self, possible: Vec<Model>) {
        *self.possible.borrow_mut() = possible;
    }

    fn was_answered(&self) {
        if let Some(last) = self.possible.take().pop() {
            *self.answered.borrow_mut() = last;
        }
    }

    fn found(&self, found: Model) {
        let mut answered = self.answered.borrow_mut();
        let possible = self.possible.take();
        assert!(
            found == *answered || possible.contains(&found),
            "found {found:?}, answered {answered:?}, possible {possible:?}"
        );
        *answered = found;
    }
}

fn id(term: u64, index: u64) -> Id {
    LogId { leader_id: LeaderId { term, node_id: 1 }, index }
}

async fn content(log: &mut LogStorage) -> Model {
    let state = log.get_log_state().await.unwrap();
    let entries: Vec<Id> =
        log.try_get_log_entries(..).await.unwrap().into_iter().map(|entry| entry.log_id).collect();
    let vote = log.read_vote().await.unwrap().map_or(0, |vote| vote.leader_id.term);
    let model = Model { purged: state.last_purged_log_id, entries, vote };
    assert_eq!(state.last_log_id, model.last());
    let first = model.purged.map_or(0, |purged| purged.index + 1);
    assert!(model.entries.iter().map(|id| id.index).eq(first..model.next()), "no hole: {model:?}");
    model
}

/// One life: opens, compares, asks one thing after the other.
async fn live(ledger: Rc<Ledger>, steps: usize, bug: Option<&'static str>) {
    if let Some(bug) = bug {
        plant::choose_here(bug);
    }
    let tiny = Options { segment_len: 20 << 10, batch_max: 4 << 10, ..Options::default() };
    let (store, _) = Store::open("/store", tiny).await.unwrap();
    let mut log = LogStorage::open(&store, "raft").await.unwrap();
    let found = content(&mut log).await;
    ledger.found(found.clone());
    let committed = log.read_committed().await.unwrap();
    assert!(committed <= ledger.committed.get(), "{committed:?} was never committed");
    assert!(committed <= found.last(), "{committed:?} is committed and not in the log");
    for _ in 0..steps {
        ask(&mut log, &ledger).await;
    }
    assert_eq!(content(&mut log).await, *ledger.answered.borrow());
    drop(log);
    store.close().await;
}

/// Asks for one thing, drawn at random, and waits for the answer.
async fn ask(log: &mut LogStorage, ledger: &Ledger) {
    let before = ledger.answered.borrow().clone();
    let mut after = before.clone();
    let committed = ledger.committed.get();
    let first_free = committed.map_or(0, |committed| committed.index + 1);
    match random::below(8) {
        0 => {
            after.vote += 1;
            ledger.asked(vec![after.clone()]);
            log.save_vote(&VoteOf::<Consensus>::new(after.vote, 1)).await.unwrap();
        }
        1 if first_free < before.next() => {
            let cut = first_free + random::below(before.next() - first_free);
            after.entries.retain(|id| id.index < cut);
            ledger.asked(vec![after.clone()]);
            log.truncate_after(after.last()).await.unwrap();
        }
        2 => {
            let Some(purged) = committed.filter(|committed| after.entries.contains(committed)) else {
                return;
            };
            after.purged = Some(purged);
            after.entries.retain(|id| id.index > purged.index);
            ledger.asked(vec![after]);
            log.purge(purged).await.unwrap();
        }
        3 | 4 => {
            let newer = before.entries.iter().filter(|id| Some(**id) > committed).count() as u64;
            let chosen = before
                .entries
                .iter()
                .filter(|id| Some(**id) > committed)
                .nth(random::below(newer.max(1)) as usize);
            if let Some(chosen) = chosen {
                ledger.committed.set(Some(*chosen));
                log.save_committed(Some(*chosen)).await.unwrap();
            }
            return;
        }
        _ => {
            let mut possible = Vec::new();
            let mut entries = Vec::new();
            for _ in 0..=random::below(3) {
                let log_id = id(before.vote, after.next());
                let payload = EntryPayload::Normal(Proposal(vec![log_id.index as u8; 300]));
                entries.push(Entry { log_id, payload });
                after.entries.push(log_id);
                possible.push(after.clone());
            }
            ledger.asked(possible);
            let (told, outcome) = Consensus::oneshot();
            log.append(entries, IOFlushed::signal(told)).await.unwrap();
            assert_eq!(content(log).await, after, "what is appended is seen at once");
            outcome.await.unwrap().unwrap();
        }
    }
    ledger.was_answered();
}

fn cut_everywhere(seed: u64, lives: usize, steps: usize, bug: Option<&'static str>) -> u64 {
    power_loss_everywhere(seed, &DiskFaults::default(), lives, move |ledger| live(ledger, steps, bug))
}

#[test]
fn what_was_answered_is_durable_wherever_power_is_lost() {
    let worlds: u64 = (0..8).map(|seed| cut_everywhere(seed, 1, 10, None)).sum();
    assert!(worlds > 8 * 20, "only {worlds} worlds");
}

#[test]
fn power_lost_again_in_the_next_life_changes_nothing_of_that() {
    let worlds = cut_everywhere(20, 2, 3, None);
    assert!(worlds > 15 * 15, "only {worlds} worlds");
}

#[test]
fn each_planted_bug_of_the_log_of_consensus_is_noticed() {
    for bug in ["raft.vote-unsynced", "raft.truncate-unsynced", "raft.committed-too-high"] {
        let noticed =
            |seed: &u64| catch_unwind(AssertUnwindSafe(|| cut_everywhere(*seed, 1, 10, Some(bug)))).is_err();
        let seed = (100..130).find(noticed).unwrap_or_else(|| panic!("{bug} was not noticed"));
        // And the world is right without it.
        cut_everywhere(seed, 1, 10, None);
        println!("{bug}: noticed under seed {seed}");
    }
}

#[test]
fn a_log_is_purged_only_when_what_was_purged_is_named_whenever_the_disk_is_good_again() {
    for after in 0..60 {
        testing::run(after, move || async move {
            let (store, _) = Store::open("/store", Options::default()).await.unwrap();
            let mut log = LogStorage::open(&store, "raft").await.unwrap();
            let entry =
                |index| Entry { log_id: id(1, index), payload: EntryPayload::Normal(Proposal(vec![7; 300])) };
            let (told, outcome) = Consensus::oneshot();
            log.append((0..10).map(entry), IOFlushed::signal(told)).await.unwrap();
            outcome.await.unwrap().unwrap();
            let node = simulation::current_node();
            control::change(node, |faults| faults.write_error = 1.0);
            log.save_vote(&VoteOf::<Consensus>::new(2, 1)).await.unwrap_err();
            task::spawn(async move {
                time::sleep(Duration::from_micros(10 * after)).await;
                control::restore(simulation::current_node());
            })
            .detach();
            let purged = log.purge(id(1, 4)).await;
            let first = if purged.is_ok() { 5 } else { 0 };
            let found = content(&mut log).await;
            // The name alone may have become durable: then the next opening purges.
            assert!(found.entries.first() == Some(&id(1, first)), "{purged:?} left {found:?}");
        });
    }
}
