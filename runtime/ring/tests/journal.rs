//! A producer and a consumer that die after each of their steps: the survivor goes on, and what was published is whole.
//!
//! Both sides run their script on the journal's memory; a dead side's stores no longer reach it. "Step" is one store, of
//! a control word or of eight bytes of a record.
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use synod_ring::layout::{LINE, RECEIVER_LEN, sender_len};
use synod_ring::mailbox::control_len;
use synod_ring::sync::journal::{Journal, Journaled, Party};
use synod_ring::{ClaimError, Class, Consumer, Flow, Mailbox, Producer, Waiter};

const SENDER: Party = Party(0);
const RECEIVER: Party = Party(1);
const CAPACITY: usize = 256;

struct Rig {
    journal: Journal,
    producer: Producer<Journaled>,
    consumer: Consumer<Journaled>,
}

fn rig() -> Rig {
    let journal = Journal::new();
    let (own, peer) = (journal.region(sender_len(CAPACITY)), journal.region(RECEIVER_LEN));
    let producer = Producer::over(journal.handle(own, SENDER), journal.handle(peer, SENDER), None).unwrap();
    let consumer =
        Consumer::over(journal.handle(peer, RECEIVER), journal.handle(own, RECEIVER), None).unwrap();
    Rig { journal, producer, consumer }
}

/// Lengths that fill lines, cross them and wrap around the end.
const LENGTHS: [usize; 8] = [0, 48, 49, 100, 7, 112, 48, 60];

fn payload(index: usize) -> Vec<u8> {
    vec![index as u8 + 1; LENGTHS[index % LENGTHS.len()]]
}

/// Sends the record; false if the ring is full.
fn send(producer: &mut Producer<Journaled>, index: usize) -> bool {
    match producer.push([index as u8; 4], &payload(index)) {
        Ok(_) => {
            producer.publish();
            true
        }
        Err(ClaimError::Full) => false,
        Err(other) => panic!("{other}"),
    }
}

/// Takes all that is there; asserts that every record is whole and the next one.
fn receive_all(consumer: &mut Consumer<Journaled>, received: &mut usize) {
    while let Some(record) = consumer.peek().unwrap() {
        assert_eq!(record.sequence(), *received as u64);
        assert_eq!(record.tag(), [*received as u8; 4]);
        assert_eq!(record.payload(), payload(*received));
        record.free();
        *received += 1;
    }
}

#[test]
fn a_producer_that_dies_after_any_step_leaves_whole_records_to_its_consumer() {
    let mut last = 0;
    for steps in 0.. {
        let Rig { journal, mut producer, mut consumer } = rig();
        let before = journal.taken(SENDER);
        journal.kill_after(SENDER, before + steps);
        let mut received = 0;
        for index in 0..24 {
            // Whatever the dead side believes, its stores are gone; alive, it never finds the ring full.
            let sent = send(&mut producer, index);
            assert!(sent || received < index);
            receive_all(&mut consumer, &mut received);
        }
        assert!(received >= last, "a later death never loses an earlier record");
        last = received;
        if journal.taken(SENDER) < before + steps {
            assert_eq!(received, 24, "the run in which it lived");
            assert!(steps > 24 * 3, "the enumeration covered every record: {steps} steps");
            return;
        }
    }
}

#[test]
fn a_consumer_that_dies_after_any_step_leaves_its_producer_going_until_the_ring_is_full() {
    for steps in 0.. {
        let Rig { journal, mut producer, mut consumer } = rig();
        let before = journal.taken(RECEIVER);
        journal.kill_after(RECEIVER, before + steps);
        let dead = || journal.taken(RECEIVER) == before + steps;
        let (mut sent, mut received) = (0, 0);
        while sent < 24 && !dead() {
            assert!(send(&mut producer, sent));
            sent += 1;
            receive_all(&mut consumer, &mut received);
            assert_eq!(received, sent);
        }
        if !dead() {
            assert_eq!(sent, 24, "the run in which it lived");
            assert!(steps >= 24, "the enumeration covered every record: {steps} steps");
            return;
        }
        let freed = received;
        while send(&mut producer, sent) {
            sent += 1;
        }
        assert!((1..=CAPACITY / LINE).contains(&(sent - freed)), "the ring fills up, and no further");
        // Where it stood when it died, everything since is still there to read: nothing was written over.
        receive_all(&mut consumer, &mut received);
        assert_eq!(received, sent);
    }
}

#[test]
fn the_memory_after_any_prefix_of_a_senders_steps_reads_as_a_prefix_of_its_records() {
    let Rig { journal, mut producer, .. } = rig();
    for index in 0..3 {
        assert!(send(&mut producer, index));
    }
    let steps = journal.steps();
    let mut last = 0;
    for prefix in 0..=steps.len() {
        let replayed = journal.replay(prefix);
        assert_eq!(replayed.steps(), steps[..prefix]);
        let (own, peer) = (replayed.handle(1, RECEIVER), replayed.handle(0, RECEIVER));
        let mut consumer = Consumer::over(own, peer, None).unwrap();
        let mut received = 0;
        receive_all(&mut consumer, &mut received);
        assert!(received == last || received == last + 1, "each step publishes at most one record");
        last = received;
    }
    assert_eq!(last, 3);
    assert_eq!(journal.replay(steps.len()).memory(0), journal.memory(0));
}

#[test]
fn a_batch_is_published_by_one_step() {
    let Rig { journal, mut producer, .. } = rig();
    for index in 0..2 {
        producer.push([index; 4], &payload(usize::from(index))).unwrap();
    }
    producer.publish();
    let steps = journal.steps().len();
    for (prefix, expected) in [(steps - 1, 0), (steps, 2)] {
        let replayed = journal.replay(prefix);
        let (own, peer) = (replayed.handle(1, RECEIVER), replayed.handle(0, RECEIVER));
        let mut consumer = Consumer::over(own, peer, None).unwrap();
        let mut received = 0;
        receive_all(&mut consumer, &mut received);
        assert_eq!(received, expected);
    }
}

#[derive(Default)]
struct Bells(AtomicUsize);

impl Waiter for Bells {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_sender_that_dies_after_any_step_holds_up_no_other_lane_and_is_read_to_its_last_record_when_cut() {
    for steps in 0.. {
        let journal = Journal::new();
        let control = journal.region(control_len(1, 2));
        let receivers = journal.handle(control, RECEIVER);
        let mut mailbox = Mailbox::new(receivers, 1, 2, Arc::new(Bells::default())).unwrap();
        let lane = |party| {
            let (own, peer) = (journal.region(sender_len(CAPACITY)), journal.region(RECEIVER_LEN));
            let (own, peer) = (journal.handle(own, party), journal.handle(peer, party));
            mailbox.port().connect(Class(0), own, peer, None).unwrap()
        };
        let (doomed, mut victim) = lane(SENDER);
        let (healthy, mut survivor) = lane(RECEIVER);
        mailbox.drain(9, |_, _| Flow::Next);
        let before = journal.taken(SENDER);
        journal.kill_after(SENDER, before + steps);
        let (mut from_victim, mut from_survivor) = (0, 0);
        for index in 0..4 {
            send(&mut victim, index);
            assert!(send(&mut survivor, index));
            mailbox.drain(9, |id, _| {
                *(if id == doomed { &mut from_victim } else { &mut from_survivor }) += 1;
                Flow::Next
            });
            assert_eq!(from_survivor, index + 1, "{healthy:?} is not held up");
        }
        let lived = journal.taken(SENDER) < before + steps;
        assert!(mailbox.fall_asleep(), "nothing is left that only a dead sender could finish");
        assert!(mailbox.cut(doomed));
        if lived {
            assert_eq!(from_victim, 4);
            return;
        }
    }
}
