//! A sender in another process that stores whatever it likes into its region, whenever it likes: it reads as something it
//! published or is cut, and harms nobody else.
#![cfg(not(loom))]

use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use synod_ring::layout::{RECEIVER_LEN, footprint, largest_payload, sender_len};
use synod_ring::mailbox::control_len;
use synod_ring::{ClaimError, Class, Delivery, Flow, Hardware, LaneId, Mailbox, Memory, Producer, Waiter};

/// Wakes nobody: nobody sleeps here.
struct Nobody;

impl Waiter for Nobody {
    fn wake(&self) {}
}

const CAPACITY: usize = 1024;
const CLASSES: usize = 2;

fn memory(len: usize) -> Hardware {
    Hardware::heap(len).unwrap()
}

/// What the hostile sender does next.
#[derive(Clone, Debug)]
enum Act {
    /// Stores any word anywhere in its region.
    Scribble(usize, u64),
    /// Moves its tail from where it is by so many lines and bytes.
    Move(i64, u64),
    /// Writes a header so many lines behind its tail, with a length and a sequence that are almost right.
    Header(u64, u32, u64),
    /// Sends as an honest sender does.
    Send(usize),
    /// Says that it ends, or does not.
    Close(bool),
}

fn act() -> impl Strategy<Value = Act> {
    let len = prop_oneof![4 => 0..=600u32, 1 => Just(u32::MAX), 1 => any::<u32>()];
    prop_oneof![
        1 => (0..sender_len(CAPACITY) / 8, prop_oneof![any::<u64>(), 0..2048u64])
            .prop_map(|(word, value)| Act::Scribble(word * 8, value)),
        2 => (-2..12i64, prop_oneof![9 => Just(0), 1 => any::<u64>()])
            .prop_map(|(lines, off)| Act::Move(lines, off)),
        4 => (0..4u64, len, -1..2i64).prop_map(|(ahead, len, off)| Act::Header(ahead, len, off as u64)),
        20 => (0..=largest_payload(CAPACITY)).prop_map(Act::Send),
        1 => any::<bool>().prop_map(Act::Close),
    ]
}

struct Hostile {
    region: Hardware,
    producer: Producer,
    id: LaneId,
    /// Records that were delivered, and the bytes they took in the ring.
    sequence: u64,
    read: u64,
}

impl Hostile {
    fn put(&self, at: usize, value: u64) {
        // SAFETY: every caller gives an aligned word inside the region.
        unsafe { self.region.store(at, value, Ordering::Release) };
    }

    fn tail(&self) -> u64 {
        // SAFETY: the tail is the first word of the region.
        unsafe { self.region.load(0, Ordering::Acquire) }
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Scribble(at, value) => self.put(at, value),
            Act::Move(lines, off) => {
                self.put(0, self.tail().wrapping_add_signed(lines * 64).wrapping_add(off));
            }
            Act::Header(ahead, len, off) => {
                let at =
                    sender_len(0) + (self.tail().wrapping_add(ahead * 64) as usize & (CAPACITY - 1) & !63);
                self.put(at, u64::from(len));
                self.put(at + 8, self.sequence.wrapping_add(ahead).wrapping_add(off));
            }
            Act::Send(len) => {
                if self.producer.push([1; 4], &vec![1; len]).is_ok() {
                    self.producer.publish();
                }
            }
            Act::Close(closed) => self.put(192, u64::from(closed)),
        }
    }
}

/// A sender that keeps the rules, and what it sent.
struct Honest {
    producer: Producer,
    sent: u64,
    received: u64,
}

impl Honest {
    fn send(&mut self) {
        match self.producer.push([7; 4], &self.sent.to_le_bytes()) {
            Ok(_) => self.sent += 1,
            Err(refused) => assert_eq!(refused, ClaimError::Full),
        }
        self.producer.publish();
    }

    fn receive(&mut self, payload: [u8; 8]) {
        assert_eq!(u64::from_le_bytes(payload), self.received);
        self.received += 1;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_sender_that_scribbles_over_all_it_may_write_harms_nobody_else(
        class in 0..CLASSES as u8,
        laps in prop::collection::vec((prop::collection::vec(act(), 0..8), 1..40usize), 1..40),
    ) {
        let control = memory(control_len(CLASSES, 4));
        let mut mailbox = Mailbox::new(control.clone(), CLASSES, 4, Arc::new(Nobody)).unwrap();
        let foreign = |mailbox: &mut Mailbox, class| {
            let (own, peer) = (memory(sender_len(CAPACITY)), memory(RECEIVER_LEN));
            let producer =
                Producer::into_mailbox(own.clone(), peer.clone(), control.clone(), Arc::new(Nobody)).unwrap();
            let id = mailbox.admit_foreign(class, peer, own.clone(), None).unwrap();
            (own, producer, id)
        };
        let (region, producer, id) = foreign(&mut mailbox, Class(class));
        let mut hostile = Some(Hostile { region, producer, id, sequence: 0, read: 0 });
        let mut published = 0;
        let (_, producer, far) = foreign(&mut mailbox, Class(0));
        let mut abroad = Honest { producer, sent: 0, received: 0 };
        let port = mailbox.port();
        let (near, producer) =
            port.connect(Class(0), memory(sender_len(CAPACITY)), memory(RECEIVER_LEN), None).unwrap();
        let mut within = Honest { producer, sent: 0, received: 0 };
        for (acts, budget) in laps {
            abroad.send();
            within.send();
            if let Some(hostile) = &mut hostile {
                acts.iter().for_each(|act| hostile.act(act));
                published = published.max(hostile.tail());
            }
            let (mut delivered, mut ended) = (0, false);
            let drained = mailbox.drain(budget, |id, delivery| {
                let mut number = [0; 8];
                match delivery {
                    Delivery::Record(record) => {
                        assert_eq!(id, near);
                        number.copy_from_slice(record.payload());
                        within.receive(number);
                    }
                    Delivery::Foreign(record) if id == far => {
                        record.copy_into(&mut number);
                        abroad.receive(number);
                    }
                    Delivery::Foreign(record) => {
                        let hostile = hostile.as_mut().expect("it was not cut");
                        assert_eq!((id, record.sequence()), (hostile.id, hostile.sequence));
                        hostile.read += footprint(record.len()) as u64;
                        assert!(hostile.read <= published && footprint(record.len()) <= CAPACITY);
                        let mut copy = Vec::new();
                        record.copy_to(&mut copy);
                        assert_eq!(copy.len(), record.len());
                        hostile.sequence += 1;
                    }
                    Delivery::Closed(_) => {
                        assert_eq!(Some(id), hostile.as_ref().map(|hostile| hostile.id));
                        ended = true;
                    }
                }
                delivered += 1;
                Flow::Next
            });
            prop_assert!(drained.records <= budget && drained.records + usize::from(ended) == delivered);
            if ended {
                hostile = None;
            }
        }
        // Whatever it did, the others go on, and once it is cut the mailbox may sleep.
        if let Some(hostile) = hostile {
            prop_assert!(mailbox.cut(hostile.id));
        }
        abroad.send();
        within.send();
        mailbox.drain(usize::MAX, |id, delivery| {
            let mut number = [0; 8];
            match delivery {
                Delivery::Record(record) => {
                    number.copy_from_slice(record.payload());
                    within.receive(number);
                }
                Delivery::Foreign(record) => {
                    assert_eq!(id, far);
                    record.copy_into(&mut number);
                    abroad.receive(number);
                }
                Delivery::Closed(_) => panic!("nobody else broke a rule"),
            }
            Flow::Next
        });
        prop_assert_eq!((abroad.received, within.received), (abroad.sent, within.sent));
        prop_assert!(abroad.sent > 0 && within.sent > 0);
        prop_assert!(mailbox.fall_asleep());
    }
}
