//! Senders, receivers and their node that die at any moment: what was accepted as BACKGROUND is done in order, by whoever comes after.
#![cfg(madsim)]

#[path = "common/fleet.rs"]
mod fleet;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use fleet::{come_in, host, ip, listen, tell};
use synod_fabric::{Priority, PublishError, Refusal};
use synod_platform::disk::control::{self, DiskFaults};
use synod_platform::simulation::{self, Node};
use synod_platform::{queue, random, task, time};

/// Beside the node's socket.
const FOLDER: &str = "/run/synod/node.spools";

/// Seeds of a run in CI; each is a world of its own.
const SEEDS: u64 = 4;

const WRITERS: [&str; 2] = ["w1", "w2"];
const READERS: [&str; 2] = ["r1", "r2"];

/// What became of the messages from each writer to each reader, over all their lives.
#[derive(Default)]
struct Way {
    /// So many numbers were accepted, from 0 on.
    accepted: u64,
    /// Numbers that were done, each with the reader's life.
    done: Vec<(u64, u64)>,
}

#[derive(Default)]
struct Ledger {
    lives: u64,
    ways: BTreeMap<(String, String), Way>,
    stopped: bool,
}

type Shared = Rc<RefCell<Ledger>>;

impl Ledger {
    fn way(&mut self, writer: &str, reader: &str) -> &mut Way {
        self.ways.entry((writer.to_owned(), reader.to_owned())).or_default()
    }
}

/// Sends numbers to every reader, going on where its last life stopped; a number is used up when it was accepted.
async fn write(name: &'static str, ledger: Shared) {
    let (_attachment, agent) = come_in(name).await;
    while !ledger.borrow().stopped {
        for reader in READERS {
            let number = ledger.borrow_mut().way(name, reader).accepted;
            let mut payload = number.to_le_bytes().to_vec();
            // Long enough that the file is full now and then.
            payload.resize(8 + random::below(60_000) as usize, number as u8);
            let within = Duration::from_millis(50);
            let sent =
                agent.publish_wait(&format!("to.{reader}"), Priority::Background, payload, within).await;
            if sent.is_ok_and(|receipt| receipt.accepted_count() == 1) {
                ledger.borrow_mut().way(name, reader).accepted += 1;
            }
        }
        time::sleep(Duration::from_micros(random::below(4000))).await;
    }
    std::future::pending::<()>().await;
}

/// Works on what comes, and writes down what is done.
async fn read(name: &'static str, ledger: Shared) {
    ledger.borrow_mut().lives += 1;
    let life = ledger.borrow().lives;
    let (_attachment, agent) = come_in(name).await;
    let mut work = listen(&agent).await;
    while let Some(message) = work.recv().await {
        let bytes = message.payload();
        let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        assert!(bytes[8..].iter().all(|byte| *byte == number as u8), "it is whole");
        if random::chance(0.3) {
            time::sleep(Duration::from_micros(random::below(20_000))).await;
        }
        ledger.borrow_mut().way(message.source(), name).done.push((number, life));
    }
}

fn storm(seed: u64) {
    let done = simulation::run(seed, Duration::from_secs(600), || async {
        let ledger = Shared::default();
        let mut processes = vec![Node::create("hub", ip(1), host)];
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
            let process = processes[random::below(5) as usize];
            process.kill();
            time::sleep(Duration::from_millis(random::below(100))).await;
            process.restart();
            task::yield_now().await;
        }
        ledger.borrow_mut().stopped = true;
        // Time enough to come in again and do what waits, to take idle lanes back, and for the node to sweep.
        time::sleep(Duration::from_secs(300)).await;
        for ((writer, reader), way) in &ledger.borrow().ways {
            let mut last: Option<(u64, u64)> = None;
            for &(number, life) in &way.done {
                let right = match last {
                    None => number == 0,
                    Some((before, of)) => number == before + 1 || (number == before && life != of),
                };
                assert!(right, "from {writer} to {reader}: {number} in life {life} after {last:?}");
                last = Some((number, life));
            }
            assert_eq!(last.map_or(0, |(last, _)| last + 1), way.accepted, "from {writer} to {reader}");
            assert!(way.accepted > 20, "from {writer} to {reader} only {}", way.accepted);
        }
        assert_eq!(ledger.borrow().ways.len(), WRITERS.len() * READERS.len());
        let left = queue::list(Path::new(FOLDER)).await.unwrap();
        assert_eq!(left, [""; 0], "what was read empty is removed");
    });
    done.unwrap();
}

#[test]
fn what_was_accepted_is_done_in_order_however_often_sender_receiver_and_node_die() {
    for seed in 1..=SEEDS {
        storm(seed);
    }
}

#[test]
fn a_disk_without_room_is_told_to_the_sender_and_to_nobody_else() {
    let done = simulation::run(1, Duration::from_secs(60), || async {
        let ledger = Shared::default();
        let _hub = Node::create("hub", ip(1), host);
        let _reader = Node::create("r1", ip(2), move || read("r1", ledger.clone()));
        tell("w1", 3, || async {
            let (_attachment, agent) = come_in("w1").await;
            time::sleep(Duration::from_secs(1)).await;
            let me = simulation::current_node();
            control::set_faults(me, DiskFaults { capacity: Some(1000), ..Default::default() });
            let send = async |priority| {
                agent.publish_wait("to.r1", priority, [0; 8].as_slice(), Duration::from_secs(1)).await
            };
            let refused = send(Priority::Background).await.unwrap_err();
            let PublishError::WouldBlock(receipt) = refused else { panic!("{refused}") };
            assert_eq!(receipt.refused(), [("r1", Refusal::NotKept)]);
            assert_eq!(send(Priority::Low).await.unwrap().accepted_count(), 1);
            control::set_faults(me, DiskFaults::default());
            assert_eq!(send(Priority::Background).await.unwrap().accepted_count(), 1);
        })
        .await;
    });
    done.unwrap();
}
