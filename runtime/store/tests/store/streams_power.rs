//! Streams on a disk that loses its power after each operation, or refuses some: what was answered is there, in its place, once; what was
//! refused may be there until something later is answered. What was erased is in no file.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::join_all;
use synod_platform::disk::control::{self, DiskFaults};
use synod_platform::testing::power_loss_everywhere;
use synod_platform::time::Duration;
use synod_platform::{random, simulation};
use synod_probe::plant;
use synod_store::streams::{Append, Appended, Limits, Start, StreamError, StreamId, Streams};
use synod_store::{Options, Store};

use crate::common::{bytes_of_all_files, directory};

const TINY: Options =
    Options { segment_len: 20 << 10, batch_max: 4 << 10, waiting_max: 64 << 10, live_share_min: 25 };

const NAMES: [&str; 3] = ["all", "few", "values"];
const SUBJECTS: [&str; 2] = ["a", "b"];

fn limits(name: &str) -> Limits {
    let limits = Limits { window: Duration::from_secs(3600), ..Limits::default() };
    match name {
        "few" => Limits { messages: NonZeroU64::new(4), ..limits },
        "values" => Limits { per_subject: NonZeroU64::new(1), ..limits },
        _ => limits,
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Append { name: &'static str, subject: &'static str, id: u64, number: u64 },
    Delete { name: &'static str, sequence: u64 },
    DeleteBelow { name: &'static str, floor: u64 },
    MoveCursor { name: &'static str, sequence: u64 },
    Erase,
}

/// What a stream should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stream {
    last: u64,
    /// Sequence, subject, number.
    messages: Vec<(u64, String, u64)>,
    cursor: Option<u64>,
}

/// What all should hold, and which ids were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    streams: BTreeMap<&'static str, Stream>,
    ids: BTreeMap<(&'static str, u64), u64>,
}

impl Model {
    /// What the operation should answer, if it appends.
    fn apply(&mut self, operation: &Operation) -> Option<Appended> {
        match *operation {
            Operation::Append { name, subject, id, number } => {
                if let Some(sequence) = self.ids.get(&(name, id)) {
                    return Some(Appended { sequence: *sequence, duplicate: true });
                }
                let stream = self.stream(name);
                stream.last += 1;
                let sequence = stream.last;
                if name == "values" {
                    stream.messages.retain(|message| message.1 != subject);
                }
                stream.messages.push((sequence, subject.to_owned(), number));
                if name == "few" && stream.messages.len() > 4 {
                    stream.messages.remove(0);
                }
                self.ids.insert((name, id), sequence);
                return Some(Appended { sequence, duplicate: false });
            }
            Operation::Delete { name, sequence } => {
                self.stream(name).messages.retain(|message| message.0 != sequence)
            }
            Operation::DeleteBelow { name, floor } => {
                self.stream(name).messages.retain(|message| message.0 >= floor)
            }
            Operation::MoveCursor { name, sequence } => self.stream(name).cursor = Some(sequence),
            Operation::Erase => {}
        }
        None
    }

    fn stream(&mut self, name: &'static str) -> &mut Stream {
        self.streams.entry(name).or_default()
    }

    /// What can be looked at: ids can only be tried.
    fn seen(&self) -> BTreeMap<&'static str, Stream> {
        let mut seen = self.streams.clone();
        seen.retain(|_, stream| *stream != Stream::default());
        seen
    }
}

/// What is known outside of the store.
#[derive(Default)]
struct Ledger {
    base: RefCell<Model>,
    /// What was not answered, or refused: of one of these some first part may be found.
    tails: RefCell<Vec<Vec<Operation>>>,
    next: Cell<u64>,
    refused: Cell<u64>,
    /// The numbers of messages that were erased.
    erased: RefCell<BTreeSet<u64>>,
}

impl Ledger {
    /// An erasing was answered: of all numbers that were given those stay whose messages are there, or may be.
    fn erased(&self) {
        let (base, tails) = (self.base.borrow(), self.tails.borrow());
        let messages = base.streams.values().flat_map(|stream| &stream.messages);
        let waiting = tails.iter().flatten().filter_map(|operation| match operation {
            Operation::Append { number, .. } => Some(*number),
            _ => None,
        });
        let stay: BTreeSet<_> = messages.map(|message| message.2).chain(waiting).collect();
        self.erased.borrow_mut().extend((1..=self.next.get()).filter(|number| !stay.contains(number)));
    }

    /// No file has a byte of what was erased.
    async fn look_for_erased(&self, place: &Path) {
        for (file, bytes) in bytes_of_all_files(place).await {
            for found in bytes.windows(8).filter(|bytes| bytes[0] == b'<' && bytes[7] == b'>') {
                let number = std::str::from_utf8(&found[1..7]).ok().and_then(|text| text.parse().ok());
                let erased = number.is_some_and(|number| self.erased.borrow().contains(&number));
                assert!(!erased, "message {number:?} was erased and is in {}", file.display());
            }
        }
    }

    /// Compares what was found, which the base then is.
    fn found(&self, found: &BTreeMap<&'static str, Stream>) {
        let (mut base, tails) = (self.base.borrow_mut(), self.tails.take());
        let mut possible = vec![base.clone()];
        for tail in &tails {
            let mut model = base.clone();
            for operation in tail {
                model.apply(operation);
                possible.push(model.clone());
            }
        }
        match possible.into_iter().rfind(|model| model.seen() == *found) {
            Some(model) => *base = model,
            None => panic!("found {found:#?}, answered {:#?}, what may follow {tails:?}", base.seen()),
        }
    }
}

#[derive(Clone, Copy)]
struct Script {
    rounds: usize,
    faults: fn(&mut DiskFaults),
    plant: Option<&'static str>,
}

/// One life: opens, compares, asks several things at a time, compares.
async fn live(ledger: Rc<Ledger>, script: Script) {
    if let Some(bug) = script.plant {
        plant::choose_here(bug);
    }
    good_disk();
    let place = directory();
    ledger.look_for_erased(place.path()).await;
    let (store, _) = Store::open(place.path(), TINY).await.unwrap();
    let streams = Streams::open(&store).await.unwrap();
    ledger.found(&content(&streams).await);
    let mut numbers = BTreeMap::new();
    for name in NAMES {
        numbers.insert(name, streams.define(name, &limits(name)).await.unwrap());
    }
    let refused = ledger.refused.get();
    control::change(simulation::current_node(), script.faults);
    for _ in 0..script.rounds {
        let operations = draw(&ledger);
        ledger.tails.borrow_mut().push(operations.clone());
        let answers = join_all(operations.iter().map(|operation| ask(&streams, &numbers, operation))).await;
        let erased = matches!((&operations[..], &answers[..]), ([Operation::Erase], [Ok(_)]));
        settle(&ledger, operations, answers);
        if erased {
            ledger.erased();
            ledger.look_for_erased(place.path()).await;
        }
        if ledger.refused.get() > refused + 2 {
            good_disk();
        }
    }
    assert_eq!(content(&streams).await, ledger.base.borrow().seen(), "what is read is what was answered");
    drop(streams);
    store.close().await;
}

fn good_disk() {
    control::change(simulation::current_node(), |faults| {
        *faults = DiskFaults { power_loss: faults.power_loss, ..DiskFaults::default() };
    });
}

/// What was answered belongs to the base. What was refused may be found later, until more is answered.
fn settle(ledger: &Ledger, operations: Vec<Operation>, answers: Vec<Result<Option<Appended>, StreamError>>) {
    let mut base = ledger.base.borrow_mut();
    let mut tails = ledger.tails.borrow_mut();
    tails.pop();
    let mut refused = Vec::new();
    for (operation, answer) in operations.into_iter().zip(answers) {
        match answer {
            Ok(answer) => {
                let before = base.clone();
                assert_eq!(base.apply(&operation), answer, "{operation:?}");
                if *base != before {
                    tails.clear();
                    refused.clear();
                }
            }
            Err(StreamError::Write(_)) => {
                ledger.refused.set(ledger.refused.get() + 1);
                refused.push(operation);
            }
            Err(error) => panic!("{operation:?}: {error}"),
        }
    }
    tails.push(refused);
}

async fn ask(
    streams: &Streams,
    numbers: &BTreeMap<&'static str, StreamId>,
    operation: &Operation,
) -> Result<Option<Appended>, StreamError> {
    match *operation {
        Operation::Append { name, subject, id, number } => {
            let mut payload = format!("<{number:06}>").into_bytes();
            payload.resize(8 + (number * 370 % 3000) as usize, number as u8);
            let append = Append {
                expected: None,
                id: Some(Arc::from(id.to_le_bytes())),
                subject: subject.into(),
                payload,
            };
            return streams.append(numbers[name], append).await.map(Some);
        }
        Operation::Delete { name, sequence } => streams.delete(numbers[name], sequence).await?,
        Operation::DeleteBelow { name, floor } => streams.delete_below(numbers[name], floor).await?,
        Operation::MoveCursor { name, sequence } => {
            streams.move_cursor(numbers[name], "reader", sequence).await?
        }
        Operation::Erase => drop(streams.erase().await?),
    }
    Ok(None)
}

/// Up to three appends, or one other thing.
fn draw(ledger: &Ledger) -> Vec<Operation> {
    let base = ledger.base.borrow();
    let name = NAMES[random::below(3) as usize];
    let stream = base.streams.get(name).cloned().unwrap_or_default();
    let any = random::below(stream.messages.len().max(1) as u64) as usize;
    match (random::below(8), stream.messages.get(any)) {
        (0, Some((sequence, ..))) => vec![Operation::Delete { name, sequence: *sequence }],
        (1, Some((sequence, ..))) => vec![Operation::DeleteBelow { name, floor: *sequence }],
        (2, _) => vec![Operation::MoveCursor { name, sequence: random::below(stream.last + 1) }],
        (3, _) => vec![Operation::Erase],
        _ => {
            // One that was answered: of two alike at once the second would be appended if the first is refused.
            let before = ledger.next.get();
            let append = |_| {
                ledger.next.set(ledger.next.get() + 1);
                let number = ledger.next.get();
                let id = if random::chance(0.25) { random::below(before + 1) } else { number };
                let (name, subject) = (NAMES[random::below(3) as usize], SUBJECTS[random::below(2) as usize]);
                Operation::Append { name, subject, id, number }
            };
            (0..=random::below(3)).map(append).collect()
        }
    }
}

async fn content(streams: &Streams) -> BTreeMap<&'static str, Stream> {
    let mut content = Model::default();
    for name in NAMES {
        let Some(number) = streams.find(name).await.unwrap() else { continue };
        let read = streams.read(number, Start::Sequence(0), usize::MAX, u64::MAX).await.unwrap();
        let message = |(sequence, subject, payload): (u64, &str, &[u8])| {
            let number: u64 = std::str::from_utf8(&payload[1..7]).unwrap().parse().unwrap();
            assert!(payload[8..].iter().all(|byte| *byte == number as u8));
            (sequence, subject.to_owned(), number)
        };
        let messages =
            read.iter().map(|stored| message((stored.sequence, &stored.subject, &stored.payload))).collect();
        let last = streams.state(number).await.unwrap().next - 1;
        let cursor = streams.cursor(number, "reader").await.unwrap();
        content.streams.insert(name, Stream { last, messages, cursor });
    }
    content.seen()
}

fn failing(faults: &mut DiskFaults) {
    (faults.write_error, faults.sync_error, faults.short_write) = (0.03, 0.05, 0.2);
}

fn cut_everywhere(seeds: std::ops::Range<u64>, lives: usize, script: Script) -> u64 {
    let cut =
        |seed| power_loss_everywhere(seed, &DiskFaults::default(), lives, move |ledger| live(ledger, script));
    seeds.map(cut).sum()
}

#[test]
fn what_was_answered_is_there_in_its_place_once_wherever_power_is_lost() {
    let worlds = cut_everywhere(0..4, 1, Script { rounds: 12, faults: |_| {}, plant: None });
    assert!(worlds > 4 * 30, "only {worlds} worlds");
}

#[test]
fn power_lost_again_in_the_next_life_changes_nothing_of_that() {
    let worlds = cut_everywhere(50..51, 2, Script { rounds: 2, faults: |_| {}, plant: None });
    assert!(worlds > 20 * 20, "only {worlds} worlds");
}

#[test]
fn what_was_refused_leaves_no_trace_in_what_is_read_and_streams_go_on_when_the_disk_does() {
    let worlds = cut_everywhere(100..104, 1, Script { rounds: 12, faults: failing, plant: None });
    assert!(worlds > 4 * 30, "only {worlds} worlds");
}

#[test]
fn a_log_that_loses_its_beginning_before_what_counts_there_was_carried_is_noticed() {
    let script = Script { rounds: 12, faults: failing, plant: None };
    let planted = Script { plant: Some("streams.purge-before-carry"), ..script };
    let passes =
        |seed, script| catch_unwind(AssertUnwindSafe(|| cut_everywhere(seed..seed + 1, 1, script))).is_ok();
    let noticed = (200..240).find(|seed| !passes(*seed, planted));
    assert!(passes(noticed.expect("the planted bug was not noticed"), script));
}
