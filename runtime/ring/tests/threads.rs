//! Two real threads over the shipping ring: a million messages of changing length, in order, whole, over thousands of laps.
#![cfg(not(loom))]

use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use synod_ring::spsc::{Waiters, heap};
use synod_ring::{ClaimError, Waiter};

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

#[test]
fn two_threads_that_sleep_whenever_they_may_never_miss_each_other() {
    const MESSAGES: u64 = 20_000;
    let (records, space) = (Arc::new(Parking::default()), Arc::new(Parking::default()));
    let waiters = Waiters { records: Some(records.clone()), space: Some(space.clone()) };
    let (mut producer, mut consumer) = heap(512, waiters).unwrap();
    let sender = thread::spawn(move || {
        for sent in 0..MESSAGES {
            while let Err(refused) = producer.push([0; 4], &sent.to_le_bytes()) {
                assert_eq!(refused, ClaimError::Full);
                if producer.fall_asleep(8).unwrap() {
                    space.park();
                }
            }
            producer.publish();
        }
    });
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
