//! The ring against a queue: any order of claims, commits, publishes, peeks and frees, with lengths up to the largest.
#![cfg(not(loom))]

use proptest::prelude::*;
use std::collections::VecDeque;
use synod_ring::layout::footprint;
use synod_ring::spsc::{Waiters, heap};
use synod_ring::{ClaimError, Taken};

#[derive(Clone, Debug)]
enum Action {
    Commit(usize),
    Batch(usize, usize),
    Drain(usize),
    Abandon(usize),
    Publish,
    Peek,
    Free,
    Release,
}

fn action(largest: usize) -> impl Strategy<Value = Action> {
    let length = prop_oneof![3 => 0..=64usize, 2 => 0..=largest, 1 => largest - 8..=largest + 8];
    prop_oneof![
        6 => length.clone().prop_map(Action::Commit),
        1 => length.clone().prop_map(Action::Abandon),
        2 => (0..20usize, length).prop_map(|(count, len)| Action::Batch(count, len)),
        2 => (0..20usize).prop_map(Action::Drain),
        3 => Just(Action::Publish),
        1 => Just(Action::Peek),
        6 => Just(Action::Free),
        1 => Just(Action::Release),
    ]
}

fn payload(sequence: u64, len: usize) -> Vec<u8> {
    (0..len).map(|byte| (sequence as usize).wrapping_mul(31).wrapping_add(byte) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_ring_is_a_queue(
        paced: bool,
        (power, actions) in (8u32..13).prop_flat_map(|power| {
            (Just(power), prop::collection::vec(action((1 << power) / 2 - 16), 1..400))
        })
    ) {
        let capacity = 1usize << power;
        let (mut producer, mut consumer) = heap(capacity, Waiters::default()).unwrap();
        if paced {
            consumer = consumer.paced();
        }
        let largest = producer.largest();
        let mut queue: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
        let (mut sequence, mut published) = (0u64, 0u64);
        for action in actions {
            match action {
                Action::Commit(len) => match producer.claim(len) {
                    Ok(mut claim) => {
                        let bytes = payload(sequence, len);
                        prop_assert_eq!(claim.payload().len(), len);
                        claim.payload().copy_from_slice(&bytes);
                        prop_assert_eq!(claim.commit((sequence as u32).to_le_bytes()), sequence);
                        queue.push_back((sequence, bytes));
                        sequence += 1;
                    }
                    Err(ClaimError::TooLarge { .. }) => prop_assert!(len > largest),
                    Err(ClaimError::Full) => {
                        // A padding, an eighth not yet told, and the record itself: less than that must be in use.
                        let held: usize = queue.iter().map(|(_, bytes)| footprint(bytes.len())).sum();
                        prop_assert!(held + capacity / 8 + 3 * footprint(largest) / 2 >= capacity - footprint(len));
                    }
                    Err(other) => prop_assert!(false, "{}", other),
                },
                Action::Batch(count, len) => {
                    let mut batch = producer.batch();
                    for _ in 0..count {
                        let bytes = payload(sequence, len);
                        match batch.push((sequence as u32).to_le_bytes(), &bytes) {
                            Ok(got) => prop_assert_eq!(got, sequence),
                            Err(ClaimError::Full) => break,
                            Err(ClaimError::TooLarge { .. }) => {
                                prop_assert!(len > largest);
                                break;
                            }
                            Err(other) => prop_assert!(false, "{}", other),
                        }
                        queue.push_back((sequence, bytes));
                        sequence += 1;
                    }
                    batch.publish();
                    published = sequence;
                }
                Action::Drain(most) => {
                    let mut got = Vec::new();
                    let taken = consumer.drain(most, |record| {
                        got.push((record.sequence(), record.payload().to_vec()));
                        Taken::Yes
                    });
                    let there = queue.iter().filter(|(front, _)| *front < published).count();
                    prop_assert_eq!(taken, Ok(most.min(there)));
                    prop_assert_eq!(got, queue.drain(..most.min(there)).collect::<Vec<_>>());
                }
                Action::Abandon(len) => {
                    if let Ok(mut claim) = producer.claim(len) {
                        claim.payload().fill(0xEE);
                    }
                }
                Action::Publish => {
                    producer.publish();
                    published = sequence;
                }
                Action::Peek | Action::Free => {
                    let free = matches!(action, Action::Free);
                    let expected = queue.front().filter(|(front, _)| *front < published);
                    match (consumer.peek().unwrap(), expected) {
                        (Some(record), Some((sequence, bytes))) => {
                            prop_assert_eq!(record.sequence(), *sequence);
                            prop_assert_eq!(record.tag(), (*sequence as u32).to_le_bytes());
                            prop_assert_eq!(record.payload(), &bytes[..]);
                            if free {
                                record.free();
                                queue.pop_front();
                            }
                        }
                        (None, None) => {}
                        (record, expected) => prop_assert!(
                            false, "{:?} where {:?} was expected", record.map(|r| r.sequence()), expected
                        ),
                    }
                }
                Action::Release => consumer.release(),
            }
        }
        // Whatever happened, everything committed comes out in the end, and the ring is of use again.
        producer.publish();
        while let Some((sequence, bytes)) = queue.pop_front() {
            let record = consumer.peek().unwrap().unwrap();
            prop_assert_eq!((record.sequence(), record.payload()), (sequence, &bytes[..]));
            record.free();
        }
        prop_assert!(consumer.peek().unwrap().is_none());
        prop_assert!(producer.claim(largest).is_ok());
    }
}
