//! BACKGROUND messages between true processes, any of which is killed at any moment: what was accepted is done, in order, by who comes after.

use std::fs;
use std::time::Duration;

use synod_client::{Priority, Subscription};
use synod_platform::{task, time};

use crate::ledger::Ledger;
use crate::roles::{IDLE, Play};
use crate::world::{self, Process, World, number};

const WRITERS: [&str; 2] = ["w0", "w1"];

impl Play {
    /// The last number in a process's own ledger; nothing in one that was not begun.
    fn last(&self) -> Option<u64> {
        numbers(&fs::read_to_string(self.folder.join(format!("{}.ledger", self.name))).unwrap_or_default())
            .last()
            .copied()
    }

    /// Sends numbers, going on where its last life stopped, and writes down which were accepted.
    pub async fn kept_writer(&self) {
        let client = self.attach().await;
        let mut next = self.last().map_or(0, |last| last + 1);
        let mut ledger = Ledger::open(&self.folder, &self.name);
        let publisher = client.publisher("later").expect("a subject");
        while !self.is_told("stop") {
            let mut bytes = next.to_le_bytes().to_vec();
            // Long enough that the file is full now and then.
            bytes.resize(8 + (next * 7919 % 20_000) as usize, next as u8);
            let sent = publisher.publish_wait(Priority::Background, bytes, Duration::from_millis(100)).await;
            match sent {
                Ok(receipt) if receipt.accepted_count() == 1 => {
                    ledger.line(&format!("{next}\n"));
                    next += 1;
                }
                _ => time::sleep(Duration::from_millis(1)).await,
            }
        }
        client.detach().await.expect("nothing is held back");
    }

    /// Works on what comes, and writes down what is done and of whom.
    pub async fn kept_reader(&self) {
        let client = self.attach().await;
        let mut ledger = Ledger::open(&self.folder, &self.name);
        let mut later = loop {
            match client.subscribe("later").await {
                Ok(later) => break later,
                Err(_) => client.attached().await,
            }
        };
        while let Some((number, source)) = self.next(&mut later).await {
            task::yield_now().await;
            ledger.line(&format!("{number} {source}\n"));
        }
    }

    async fn next(&self, later: &mut Subscription) -> Option<(u64, String)> {
        loop {
            match time::timeout(IDLE, later.recv()).await {
                Ok(message) => {
                    let message = message.expect("the subscription lives");
                    let (number, rest) = message.payload().split_first_chunk().expect("a number");
                    let number = u64::from_le_bytes(*number);
                    assert!(rest.iter().all(|byte| *byte == number as u8), "{number} arrived whole");
                    return Some((number, message.source().to_owned()));
                }
                Err(_) if self.is_told("stop-readers") => return None,
                Err(_) => {}
            }
        }
    }
}

/// The first number of each whole line.
fn numbers(ledger: &str) -> Vec<u64> {
    let whole = ledger.rfind('\n').map_or("", |end| &ledger[..end]);
    whole
        .lines()
        .map(|line| line.split(' ').next().and_then(|word| word.parse().ok()).expect("a number"))
        .collect()
}

#[test]
fn background_messages_are_done_in_order_however_often_sender_receiver_and_node_are_killed() {
    let world = World::new("kept");
    let mut chance = world::Chance::new();
    let mut node = world.node();
    let start = |slot: usize| -> Process {
        match slot {
            0 => world.start("kept-reader", "r0", &[]),
            slot => world.start("kept-writer", WRITERS[slot - 1], &[]),
        }
    };
    let mut all: Vec<Process> = (0..3).map(start).collect();
    for _ in 0..number("SYNOD_KILLS").unwrap_or(30) {
        std::thread::sleep(Duration::from_millis(chance.below(200)));
        match chance.below(4) as usize {
            3 => {
                node.kill();
                node = world.node();
            }
            slot => {
                all[slot].kill();
                all[slot] = start(slot);
            }
        }
    }
    world.grows("r0.ledger");
    world.tell("stop");
    all.split_off(1).iter_mut().for_each(Process::ends_well);
    let done = |writer: &str| {
        let ledger = fs::read_to_string(world.folder().join("r0.ledger")).unwrap_or_default();
        let of_writer: String =
            ledger.split_inclusive('\n').filter(|line| line.trim_end().ends_with(writer)).collect();
        numbers(&of_writer)
    };
    for writer in WRITERS {
        let accepted = numbers(&world.read(&format!("{writer}.ledger")));
        let last = accepted.last().copied().expect("some were accepted");
        world::eventually("all that was accepted is done", || done(writer).last() >= Some(&last));
        let done = done(writer);
        // One may come twice: a reader that was killed had not said that it is done, or a writer had not written down that it was accepted.
        let mut expected = 0;
        for number in &done {
            assert!(
                *number == expected || number + 1 == expected,
                "{writer}: {number} came where {expected} belongs"
            );
            expected = number + 1;
        }
        let again = done.len() as u64 - expected;
        eprintln!("{writer}: {expected} done in order, {again} of them twice; seed {}", chance.seed);
    }
    world.tell("stop-readers");
    all.iter_mut().for_each(Process::ends_well);
    node.kill();
    let node = world.node();
    let folder = world.socket().with_extension("spools");
    world::eventually("what was read empty is removed", || {
        world::listed(&folder.to_string_lossy()).is_empty()
    });
    node.forgets();
}
