//! Real threads over the shipping types: a million messages of changing length through a ring, in order, whole, over thousands
//! of laps; and sleepers of all kinds under load, who never miss each other.
#![cfg(not(loom))]

use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use synod_ring::layout::{RECEIVER_LEN, sender_len};
use synod_ring::mailbox::control_len;
use synod_ring::spsc::{Waiters, heap};
use synod_ring::{ClaimError, Class, Delivery, Flow, Hardware, Mailbox, Producer, Waiter};

fn len_of(sequence: u64) -> usize {
    (sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 57) as usize
}

#[test]
fn a_million_messages_arrive_in_order_and_whole() {
    const MESSAGES: u64 = 1_000_000;
    let (mut producer, mut consumer) = heap(4096, Waiters::default()).unwrap();
    let sender = thread::spawn(move || {
        let mut sent = 0;
        while sent < MESSAGES {
            match producer.claim(len_of(sent)) {
                Ok(mut claim) => {
                    claim.payload().fill(sent as u8);
                    assert_eq!(claim.commit((sent as u32).to_le_bytes()), sent);
                    sent += 1;
                    if sent % 7 == 0 {
                        producer.publish();
                    }
                }
                Err(ClaimError::Full) => {
                    producer.publish();
                    thread::yield_now();
                }
                Err(other) => panic!("{other}"),
            }
        }
    });
    let mut received = 0;
    while !consumer.ended().unwrap() {
        let Some(record) = consumer.peek().unwrap() else {
            thread::yield_now();
            continue;
        };
        assert_eq!(record.sequence(), received);
        assert_eq!(record.tag(), (received as u32).to_le_bytes());
        assert_eq!(record.payload().len(), len_of(received));
        assert!(record.payload().iter().all(|byte| *byte == received as u8));
        record.free();
        received += 1;
    }
    sender.join().unwrap();
    assert_eq!(received, MESSAGES);
}

/// A sleeper on a lock and a condition.
#[derive(Default)]
struct Parking {
    token: Mutex<bool>,
    given: Condvar,
}

impl Parking {
    fn park(&self) {
        let mut token = self.given.wait_while(self.token.lock().unwrap(), |token| !*token).unwrap();
        *token = false;
    }
}

impl Waiter for Parking {
    fn wake(&self) {
        *self.token.lock().unwrap() = true;
        self.given.notify_one();
    }
}

/// Sends the numbers up to `count`, each published at once, sleeping whenever there is no space.
fn send_numbers(mut producer: Producer, count: u64, space: &Parking) {
    for sent in 0..count {
        while let Err(refused) = producer.push([0; 4], &sent.to_le_bytes()) {
            assert_eq!(refused, ClaimError::Full);
            if producer.fall_asleep(8).unwrap() {
                space.park();
            }
        }
        producer.publish();
    }
}

#[test]
fn two_threads_that_sleep_whenever_they_may_never_miss_each_other() {
    const MESSAGES: u64 = 20_000;
    let (records, space) = (Arc::new(Parking::default()), Arc::new(Parking::default()));
    let waiters = Waiters { records: Some(records.clone()), space: Some(space.clone()) };
    let (producer, mut consumer) = heap(512, waiters).unwrap();
    let sender = thread::spawn(move || send_numbers(producer, MESSAGES, &space));
    let mut received = 0u64;
    while !consumer.ended().unwrap() {
        if let Some(record) = consumer.peek().unwrap() {
            assert_eq!(record.payload(), received.to_le_bytes());
            record.free();
            received += 1;
        } else if consumer.fall_asleep().unwrap() {
            records.park();
        }
    }
    sender.join().unwrap();
    assert_eq!(received, MESSAGES);
}

#[test]
fn two_foreign_senders_and_one_within_never_miss_a_mailbox_that_sleeps_whenever_it_may() {
    const MESSAGES: u64 = 20_000;
    let memory = |len| Hardware::heap(len).unwrap();
    let (bell, control) = (Arc::new(Parking::default()), memory(control_len(1, 3)));
    let mut mailbox = Mailbox::new(control.clone(), 1, 3, bell.clone()).unwrap();
    let mut senders = Vec::new();
    for foreign in [true, false, true] {
        let (own, peer) = (memory(sender_len(512)), memory(RECEIVER_LEN));
        let space = Arc::new(Parking::default());
        let producer = if foreign {
            let producer =
                Producer::into_mailbox(own.clone(), peer.clone(), control.clone(), bell.clone()).unwrap();
            mailbox.admit_foreign(Class(0), peer, own, Some(space.clone())).unwrap();
            producer
        } else {
            mailbox.port().connect(Class(0), own, peer, Some(space.clone())).unwrap().1
        };
        senders.push(thread::spawn(move || send_numbers(producer, MESSAGES, &space)));
    }
    let (mut received, mut ended) = ([0u64; 3], 0);
    while ended < senders.len() {
        let drained = mailbox.drain(64, |id, delivery| {
            let mut number = [0; 8];
            match delivery {
                Delivery::Record(record) => number.copy_from_slice(record.payload()),
                Delivery::Foreign(record) => record.copy_into(&mut number),
                Delivery::Closed(violation) => {
                    assert_eq!(violation, None);
                    ended += 1;
                    return Flow::Next;
                }
            }
            let next = &mut received[usize::from(id.place)];
            assert_eq!(u64::from_le_bytes(number), *next);
            *next += 1;
            Flow::Next
        });
        if !drained.more && ended < senders.len() && mailbox.fall_asleep() {
            bell.park();
        }
    }
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    assert_eq!(received, [MESSAGES; 3]);
}
