//! Processes and their node that die at any moment, over and over: whoever lives goes on, and what was accepted for one that lives arrives once.
#![cfg(madsim)]

#[path = "common/fleet.rs"]
mod fleet;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use fleet::{come_in, ip, listen, tell};
use synod_fabric::{Priority, PublishError, Refusal};
use synod_platform::memory::control;
use synod_platform::simulation::{self, Node};
use synod_platform::{random, task, time};

/// Seeds of a run in CI; each is a world of its own.
const SEEDS: u64 = 4;

/// The names of the writers and readers.
const WRITERS: [&str; 2] = ["w1", "w2"];
const READERS: [&str; 2] = ["r1", "r2"];

/// What the readers got: by writer's life and reader's life, the numbers in order, each with the node's life.
#[derive(Default)]
struct Ledger {
    lives: BTreeMap<&'static str, u64>,
    got: BTreeMap<(u64, u64), Vec<(u64, u64)>>,
    /// The life of each reader that everybody knows of.
    known: BTreeMap<&'static str, u64>,
    /// What was accepted for a reader in a life that was known: writer's life, reader's, node's, number.
    accepted: Vec<(u64, u64, u64, u64)>,
}

type Shared = Rc<RefCell<Ledger>>;

impl Ledger {
    /// A number for a life that begins.
    fn begin(&mut self, name: &'static str) -> u64 {
        let all: u64 = self.lives.values().sum();
        *self.lives.entry(name).or_default() += 1;
        all + 1
    }

    /// The node's present life.
    fn hub(&self) -> u64 {
        self.lives.get("hub").copied().unwrap_or(0)
    }

    /// A number of a writer's life arrived in a reader's.
    fn note(&mut self, writer: u64, reader: u64, number: u64) {
        let hub = self.hub();
        self.got.entry((writer, reader)).or_default().push((number, hub));
    }

    /// How many messages arrived.
    fn arrived(&self) -> usize {
        self.got.values().map(Vec::len).sum()
    }

    /// What was accepted for the lives that are the last ones has arrived, also from writers that died since.
    fn check_accepted(&self) {
        for (writer, reader, hub, number) in &self.accepted {
            if *hub == self.hub() && self.known.values().any(|last| last == reader) {
                let got = self.got.get(&(*writer, *reader)).is_some_and(|got| got.contains(&(*number, *hub)));
                assert!(
                    got,
                    "{number} from life {writer} was accepted for life {reader}, and did not arrive"
                );
            }
        }
    }

    /// Between two lives the numbers grow, none comes twice, and none is missing as long as the node lived.
    fn check(&self) {
        for ((writer, reader), numbers) in &self.got {
            for pair in numbers.windows(2) {
                let ((first, hub), (second, later)) = (pair[0], pair[1]);
                let right = if hub == later { second == first + 1 } else { second > first };
                assert!(
                    right,
                    "from life {writer} to life {reader}: {second} after {first}, in node {hub} and {later}"
                );
            }
        }
    }
}

/// Sends numbers to every reader; a number is used up when it was accepted.
async fn write(name: &'static str, ledger: Shared) {
    let life = ledger.borrow_mut().begin(name);
    let (_attachment, agent) = come_in(name).await;
    let mut numbers = [0u64; READERS.len()];
    loop {
        for (number, reader) in numbers.iter_mut().zip(READERS) {
            let mut payload = [life.to_le_bytes(), number.to_le_bytes()].concat();
            // Some go in the ring, some beside it.
            payload.resize(if *number % 5 == 4 { 5000 } else { 16 }, 7);
            let priority = Priority::Normal;
            let within = Duration::from_millis(200);
            let sent = agent.publish_wait(&format!("to.{reader}"), priority, payload, within).await;
            if sent.is_ok_and(|receipt| receipt.accepted_count() == 1) {
                let mut ledger = ledger.borrow_mut();
                if let Some(&known) = ledger.known.get(reader) {
                    let hub = ledger.hub();
                    ledger.accepted.push((life, known, hub, *number));
                }
                *number += 1;
            }
        }
        time::sleep(Duration::from_micros(random::below(2000))).await;
    }
}

/// Writes down what comes.
async fn read(name: &'static str, ledger: Shared) {
    let life = ledger.borrow_mut().begin(name);
    ledger.borrow_mut().known.remove(name);
    let (_attachment, agent) = come_in(name).await;
    let mut news = listen(&agent).await;
    ledger.borrow_mut().known.insert(name, life);
    while let Some(message) = news.recv().await {
        let payload = message.payload();
        let word = |at: usize| {
            let mut bytes = [0; 8];
            payload.copy_to(at..at + 8, &mut bytes);
            u64::from_le_bytes(bytes)
        };
        assert!(payload.len() == 16 || payload[4999] == 7, "a long one is whole");
        let (writer, number) = (word(0), word(8));
        ledger.borrow_mut().note(writer, life, number);
        if random::chance(0.1) {
            time::sleep(Duration::from_micros(random::below(5000))).await;
        }
    }
}

async fn host(ledger: Shared) {
    ledger.borrow_mut().begin("hub");
    fleet::host().await;
}

fn storm(seed: u64) {
    let done = simulation::run(seed, Duration::from_secs(600), || async {
        let ledger = Shared::default();
        let mut processes = Vec::new();
        let hub = ledger.clone();
        processes.push(Node::create("hub", ip(1), move || host(hub.clone())));
        for (at, name) in WRITERS.into_iter().enumerate() {
            let ledger = ledger.clone();
            processes.push(Node::create(name, ip(10 + at as u8), move || write(name, ledger.clone())));
        }
        for (at, name) in READERS.into_iter().enumerate() {
            let ledger = ledger.clone();
            processes.push(Node::create(name, ip(20 + at as u8), move || read(name, ledger.clone())));
        }
        for _ in 0..25 {
            time::sleep(Duration::from_millis(20 + random::below(300))).await;
            // The node dies now and then, the others more often.
            let at = if random::chance(0.1) { 0 } else { 1 + random::below(4) as usize };
            let process = processes[at];
            process.kill();
            time::sleep(Duration::from_millis(random::below(100))).await;
            process.restart();
            task::yield_now().await;
        }
        // All live: everybody hears from everybody within a few seconds. What is under way at the end is not looked for.
        time::sleep(Duration::from_secs(5)).await;
        let under_way = ledger.borrow().accepted.len();
        let before = ledger.borrow().got.values().map(Vec::len).collect::<Vec<_>>();
        time::sleep(Duration::from_secs(2)).await;
        let mut ledger = ledger.borrow_mut();
        ledger.check();
        ledger.accepted.truncate(under_way);
        ledger.check_accepted();
        let after = ledger.got.values().map(Vec::len).collect::<Vec<_>>();
        let growing = before.iter().zip(&after).filter(|(before, after)| after > before).count();
        assert_eq!(
            growing,
            WRITERS.len() * READERS.len(),
            "each pair of the last lives goes on: {before:?} {after:?}"
        );
        assert!(ledger.arrived() > 1000, "{}", ledger.arrived());
    });
    done.unwrap();
}

#[test]
fn processes_and_their_node_die_and_come_back_and_nobody_else_is_harmed() {
    for seed in 1..=SEEDS {
        storm(seed);
    }
}

#[test]
fn an_idle_lane_is_taken_back_and_made_again_when_there_is_something_to_send() {
    let done = simulation::run(3, Duration::from_secs(600), || async {
        let _hub = Node::create("hub", ip(1), fleet::host);
        tell("both", 2, || async {
            let ((_first, ada), (_second, ben)) = (come_in("ada").await, come_in("ben").await);
            let mut news = ben.subscribe("news", 4).await.unwrap();
            for round in 0..3 {
                let payload = "x".repeat(1 << (6 * round));
                let within = Duration::from_secs(1);
                let sent = ada.publish_wait("news", Priority::Low, payload, within).await;
                assert_eq!(sent.unwrap().accepted_count(), 1);
                assert!(news.recv().await.is_some());
                let marks = synod_probe::reach::snapshot();
                let back = marks.iter().find(|(name, _)| *name == "attach.taken_back");
                assert_eq!(back.map_or(0, |(_, hits)| *hits), round as u64);
                time::sleep(Duration::from_secs(130)).await;
            }
        })
        .await;
    });
    done.unwrap();
}

#[test]
fn a_lane_that_a_receiver_had_no_memory_for_is_asked_for_again_by_the_next_who_sends() {
    let done = simulation::run(5, Duration::from_secs(600), || async {
        let ledger = Shared::default();
        let _hub = Node::create("hub", ip(1), fleet::host);
        let short = Node::create("r1", ip(2), move || read("r1", ledger.clone()));
        tell("ada", 3, move || async move {
            let (_attachment, ada) = come_in("ada").await;
            time::sleep(Duration::from_secs(1)).await;
            let faults = control::MemoryFaults { refuse_next: 1, ..Default::default() };
            control::set_faults(short.id(), faults);
            let within = Duration::from_secs(1);
            let refused = ada.publish_wait("to.r1", Priority::Normal, [0; 16].as_slice(), within).await;
            assert!(refused.is_err(), "{refused:?}");
            let sent = ada.publish_wait("to.r1", Priority::Normal, [0; 16].as_slice(), within).await;
            assert_eq!(sent.unwrap().accepted_count(), 1);
        })
        .await;
    });
    done.unwrap();
}

#[test]
fn who_has_no_memory_to_send_is_told_so_at_once_and_sends_when_there_is_some() {
    let done = simulation::run(6, Duration::from_secs(600), || async {
        let ledger = Shared::default();
        let _hub = Node::create("hub", ip(1), fleet::host);
        let _reader = Node::create("r1", ip(2), move || read("r1", ledger.clone()));
        tell("ada", 3, move || async move {
            let (_attachment, ada) = come_in("ada").await;
            time::sleep(Duration::from_secs(1)).await;
            // First there is none for the lane, then for a payload that does not go into its ring.
            for len in [16, 5000] {
                let send =
                    || ada.publish_wait("to.r1", Priority::Normal, vec![7; len], Duration::from_secs(1));
                let faults = control::MemoryFaults { refuse_next: 1, ..Default::default() };
                control::set_faults(Node::current().unwrap().id(), faults);
                let began = time::now();
                let refused = send().await;
                let Err(PublishError::WouldBlock(receipt)) = refused else { panic!("{refused:?}") };
                assert_eq!(receipt.refused(), [("r1", Refusal::NoMemory)]);
                assert!(time::now().since(began) < Duration::from_millis(1), "nobody would wake it");
                assert_eq!(send().await.unwrap().accepted_count(), 1);
            }
        })
        .await;
    });
    done.unwrap();
}

#[test]
fn an_answer_for_which_there_was_no_memory_goes_out_when_there_is_some() {
    let done = simulation::run(7, Duration::from_secs(600), || async {
        let _hub = Node::create("hub", ip(1), fleet::host);
        let _server = Node::create("server", ip(2), || async {
            let (_attachment, server) = come_in("server").await;
            let mut asked = server.serve("sum", 4).await.unwrap();
            while let Some(message) = asked.recv().await {
                let faults = control::MemoryFaults { refuse_next: 2, ..Default::default() };
                control::set_faults(Node::current().unwrap().id(), faults);
                message.reply("6").unwrap();
            }
        });
        tell("ada", 3, move || async move {
            let (_attachment, ada) = come_in("ada").await;
            time::sleep(Duration::from_secs(1)).await;
            let answer = ada.request("sum", Priority::Normal, "123", Duration::from_secs(1)).await;
            assert_eq!(&**answer.unwrap().payload(), b"6");
        })
        .await;
    });
    done.unwrap();
}
