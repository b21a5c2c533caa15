//! What was asked of a store and what it acknowledged, kept outside of it; and the model of what it should then hold.
//!
//! What is recovered must be what the model holds after all that was acknowledged and some first part of the rest. What was refused may
//! be found until something later is acknowledged; then it is gone.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future::{MaybeDone, maybe_done};
use synod_platform::disk::control::{self, DiskFaults};
use synod_platform::{random, simulation};
use synod_probe::plant;
use synod_store::{Durable, Health, Log, Options, Store, WriteError};

use crate::common::{directory, entries, number, payload};

/// One thing asked of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Append { log: &'static str, number: u64 },
    Truncate { log: &'static str, after: u64 },
    Purge { log: &'static str, up_to: u64 },
    Put { log: &'static str, key: &'static str, number: u64 },
}

/// What a log should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ModelLog {
    purged: u64,
    entries: VecDeque<u64>,
    values: BTreeMap<&'static str, u64>,
}

impl ModelLog {
    fn last(&self) -> u64 {
        self.purged + self.entries.len() as u64
    }
}

/// What a store should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    logs: BTreeMap<&'static str, ModelLog>,
}

const LOGS: [&str; 3] = ["a", "b", "idle"];
const KEYS: [&str; 2] = ["vote", "committed"];

impl Model {
    fn apply(&mut self, operation: &Operation) {
        let (Operation::Append { log, .. }
        | Operation::Truncate { log, .. }
        | Operation::Purge { log, .. }
        | Operation::Put { log, .. }) = operation;
        let name = *log;
        let log = self.logs.entry(name).or_default();
        match operation {
            Operation::Append { number, .. } => log.entries.push_back(*number),
            Operation::Truncate { after, .. } => {
                log.entries.truncate((after - log.purged) as usize);
            }
            Operation::Purge { up_to, .. } => {
                let gone = log.entries.len().min((up_to - log.purged) as usize);
                log.entries.drain(..gone);
                log.purged = *up_to;
            }
            Operation::Put { key, number, .. } => drop(log.values.insert(key, *number)),
        }
        if *log == ModelLog::default() {
            self.logs.remove(name);
        }
    }
}

/// What is known outside of the store.
#[derive(Debug, Default)]
pub struct Ledger {
    /// What everything acknowledged, or found after a loss of power, leaves.
    base: RefCell<Model>,
    /// What may follow on disk: each a list of which some first part may be found.
    tails: RefCell<Vec<Vec<Operation>>>,
    next: Cell<u64>,
    /// How many records were refused.
    pub refused: Cell<u64>,
}

impl Ledger {
    fn number(&self) -> u64 {
        self.next.set(self.next.get() + 1);
        self.next.get()
    }

    /// What the running store shows: the base and all of the present tail.
    fn shown(&self) -> Model {
        let mut model = self.base.borrow().clone();
        self.tails.borrow().last().into_iter().flatten().for_each(|operation| model.apply(operation));
        model
    }

    fn asked(&self, operation: Operation) {
        let mut tails = self.tails.borrow_mut();
        if tails.is_empty() {
            tails.push(Vec::new());
        }
        tails.last_mut().expect("just pushed").push(operation);
    }

    /// The oldest of the present tail is durable, and so nothing of other tails is.
    fn acknowledged(&self) {
        let mut tails = self.tails.borrow_mut();
        let mut present = tails.pop().expect("something was asked");
        tails.clear();
        self.base.borrow_mut().apply(&present.remove(0));
        tails.push(present);
    }

    /// The present tail was refused; another begins.
    fn refuse(&self) {
        let mut tails = self.tails.borrow_mut();
        if tails.last().is_some_and(|tail| !tail.is_empty()) {
            tails.push(Vec::new());
        }
        self.refused.set(self.refused.get() + 1);
    }

    /// Compares what was found after a loss of power, and goes on from it.
    fn found(&self, found: Model) {
        let (mut base, mut tails) = (self.base.borrow_mut(), self.tails.borrow_mut());
        let possible = tails.iter().any(|tail| {
            let mut model = base.clone();
            found == model
                || tail.iter().any(|operation| {
                    model.apply(operation);
                    found == model
                })
        });
        assert!(
            possible || found == *base,
            "acknowledged is durable, recovered equals the model: found {found:#?}, acknowledged {base:#?}, \
             what may follow {tails:?}"
        );
        *base = found;
        tails.clear();
    }
}

/// What a life does after it compared what it found.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    pub operations: usize,
    /// How many may be unacknowledged.
    pub in_flight: usize,
    pub options: Options,
    /// What is wrong with the disk once the store is open.
    pub faults: fn(&mut DiskFaults),
    /// The bug that is planted.
    pub plant: Option<&'static str>,
}

/// One life of a store: opens it, compares it with the ledger, does what the script says with things drawn at random, and
/// compares again.
pub async fn live(ledger: Rc<Ledger>, script: Script) {
    if let Some(bug) = script.plant {
        plant::choose_here(bug);
    }
    let place = directory();
    good_disk();
    let (store, _) = Store::open(place.path(), script.options).await.unwrap();
    go_on(ledger, script, store).await;
}

/// The same from where the store was opened.
pub async fn go_on(ledger: Rc<Ledger>, script: Script, store: Store) {
    ledger.found(content(&store).await);
    control::change(simulation::current_node(), script.faults);
    let refused = ledger.refused.get();
    let mut waiting = VecDeque::<MaybeDone<Durable>>::new();
    for _ in 0..script.operations {
        // What was answered is known before more is asked: what is asked after a refusal is not refused by it. On a full disk a refusal may be
        // told before what was asked earlier is durable.
        let answered = waiting.iter_mut().rposition(is_answered).map_or(0, |last| last + 1);
        for _ in 0..answered {
            let Some(oldest) = waiting.pop_front() else { break };
            settle(&ledger, &mut waiting, oldest).await;
        }
        let operation = draw(&ledger);
        let mut asking = pin!(ask(&store, operation.clone()));
        let mut asked = asking.as_mut().now_or_never();
        if asked.is_none() {
            // It waits for room: what is answered meanwhile is answered before it is asked.
            while let Some(oldest) = waiting.pop_front() {
                settle(&ledger, &mut waiting, oldest).await;
            }
        }
        ledger.asked(operation);
        let durable = match asked.take() {
            Some(durable) => durable,
            None => asking.await,
        };
        waiting.push_back(maybe_done(durable.unwrap_or_else(|error| panic!("{error}"))));
        while waiting.len() >= script.in_flight
            && let Some(oldest) = waiting.pop_front()
        {
            settle(&ledger, &mut waiting, oldest).await;
        }
        if ledger.refused.get() == refused + HEALED_AFTER {
            good_disk();
        }
    }
    while let Some(oldest) = waiting.pop_front() {
        settle(&ledger, &mut waiting, oldest).await;
    }
    assert_eq!(content(&store).await, ledger.shown(), "what is read is what was written");
    if ledger.refused.get() > refused + HEALED_AFTER {
        assert_eq!(store.health(), Health::Good, "a store needs no restart when its disk is good again");
    }
    store.close().await;
}

/// After so many refusals the disk is good again.
const HEALED_AFTER: u64 = 3;

/// The file system stays what it is.
pub fn good_disk() {
    control::change(simulation::current_node(), |faults| {
        let DiskFaults { power_loss, no_direct, no_allocate, .. } = *faults;
        *faults = DiskFaults { power_loss, no_direct, no_allocate, ..DiskFaults::default() };
    });
}

/// Takes down what became of the oldest; when it was refused, so is all that was asked after it.
async fn settle(ledger: &Ledger, waiting: &mut VecDeque<MaybeDone<Durable>>, oldest: MaybeDone<Durable>) {
    match answer(oldest).await {
        Ok(()) => ledger.acknowledged(),
        Err(WriteError::Disk(_)) => {
            for refused in waiting.drain(..) {
                assert!(answer(refused).await.is_err(), "what follows a refused record is refused");
            }
            ledger.refuse();
        }
        Err(error) => panic!("{error}"),
    }
}

fn is_answered(asked: &mut MaybeDone<Durable>) -> bool {
    asked.now_or_never().is_some()
}

async fn answer(asked: MaybeDone<Durable>) -> Result<(), WriteError> {
    let mut asked = pin!(asked);
    asked.as_mut().await;
    asked.take_output().expect("it is done")
}

fn draw(ledger: &Ledger) -> Operation {
    let shown = ledger.shown();
    let log = LOGS[random::below(3) as usize];
    let held = shown.logs.get(log).cloned().unwrap_or_default();
    let number = ledger.number();
    match random::below(12) {
        0 if log != "idle" => {
            let after = held.purged + random::below(held.entries.len() as u64 + 1);
            Operation::Truncate { log, after }
        }
        1 | 2 if log != "idle" => {
            let up_to = held.last() - random::below(held.entries.len() as u64 / 2 + 1);
            Operation::Purge { log, up_to }
        }
        3 | 4 => Operation::Put { log, key: KEYS[random::below(2) as usize], number },
        _ => Operation::Append { log, number },
    }
}

async fn ask(store: &Store, operation: Operation) -> Result<Durable, WriteError> {
    let at = |name| store.log(name);
    match operation {
        Operation::Append { log, number } => Ok(at(log)?.append(vec![payload(number)]).await?.1),
        Operation::Truncate { log, after } => at(log)?.truncate(after).await,
        Operation::Purge { log, up_to } => at(log)?.purge(up_to).await,
        Operation::Put { log, key, number } => at(log)?.put(key, &payload(number)).await,
    }
}

/// Everything that a store shows.
async fn content(store: &Store) -> Model {
    let mut model = Model::default();
    for name in LOGS.into_iter().filter(|name| store.logs().iter().any(|log| log == name)) {
        let log: Log = store.log(name).unwrap();
        let entries = entries(&log).await.into();
        let value = |key: &&'static str| Some((*key, number(&log.get(key)?)));
        let values = KEYS.iter().filter_map(value).collect();
        model.logs.insert(name, ModelLog { purged: log.first() - 1, entries, values });
    }
    model.logs.retain(|_, log| *log != ModelLog::default());
    model
}
