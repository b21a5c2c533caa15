//! Scenarios of one mailbox on one thread.

use super::*;
use crate::layout::{RECEIVER_LEN, sender_len};
use crate::spsc::{ClaimError, Producer};
use std::sync::atomic::AtomicUsize;

/// Counts how often it was woken.
#[derive(Default)]
struct Bells(AtomicUsize);

impl Waiter for Bells {
    fn wake(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

impl Bells {
    fn rung(&self) -> usize {
        self.0.load(Relaxed)
    }
}

const URGENT: Class = Class(0);
const BULK: Class = Class(1);

fn mailbox(classes: usize, lanes: usize) -> (Mailbox, Arc<Bells>) {
    let bells = Arc::new(Bells::default());
    let control = Hardware::heap(control_len(classes, lanes)).unwrap();
    (Mailbox::new(control, classes, lanes, bells.clone()).unwrap(), bells)
}

fn connect(port: &Port, class: Class) -> Result<(LaneId, Producer), ConnectError> {
    let sender = Hardware::heap(sender_len(16384)).unwrap();
    port.connect(class, sender, Hardware::heap(RECEIVER_LEN).unwrap(), None)
}

fn send(producer: &mut Producer, payload: &[u8]) {
    producer.push([0; 4], payload).unwrap();
    producer.publish();
}

/// Drains up to `budget` records; returns them as lane and first byte, and which lanes ended.
fn drained(mailbox: &mut Mailbox, budget: usize) -> (Vec<(LaneId, u8)>, Vec<LaneId>) {
    let (mut records, mut ended) = (Vec::new(), Vec::new());
    mailbox.drain(budget, |id, delivery| {
        match delivery {
            Delivery::Record(record) => records.push((id, record.payload()[0])),
            Delivery::Foreign(record) => {
                let mut copy = Vec::new();
                record.copy_to(&mut copy);
                records.push((id, copy[0]));
            }
            Delivery::Closed(violation) => {
                assert_eq!(violation, None);
                ended.push(id);
            }
        }
        Flow::Next
    });
    (records, ended)
}

#[test]
fn a_mailbox_asleep_is_woken_once_for_the_first_record_and_not_while_it_is_awake() {
    let (mut mailbox, bells) = mailbox(1, 4);
    let (id, mut producer) = connect(&mailbox.port(), URGENT).unwrap();
    assert_eq!(bells.rung(), 0);
    drained(&mut mailbox, 1);
    send(&mut producer, b"a");
    assert_eq!(bells.rung(), 0, "nobody slept");
    assert!(!mailbox.fall_asleep(), "something is there");
    assert_eq!(drained(&mut mailbox, 10).0, [(id, b'a')]);
    assert!(mailbox.fall_asleep());
    send(&mut producer, b"b");
    assert_eq!(bells.rung(), 1);
    send(&mut producer, b"c");
    assert_eq!(bells.rung(), 1, "the bit was set already");
    assert_eq!(drained(&mut mailbox, 10).0, [(id, b'b'), (id, b'c')]);
}

#[test]
fn a_lane_made_while_the_mailbox_sleeps_wakes_it() {
    let (mut mailbox, bells) = mailbox(2, 4);
    assert!(mailbox.fall_asleep());
    let (_, _producer) = connect(&mailbox.port(), BULK).unwrap();
    assert_eq!(bells.rung(), 1);
    assert!(!mailbox.fall_asleep());
}

#[test]
fn a_quiet_sender_beside_a_flood_waits_one_quota() {
    let (mut mailbox, _) = mailbox(1, 4);
    let port = mailbox.port();
    let (flood, mut loud) = connect(&port, URGENT).unwrap();
    let (single, mut quiet) = connect(&port, URGENT).unwrap();
    for _ in 0..200 {
        send(&mut loud, b"x");
    }
    send(&mut quiet, b"q");
    let (records, _) = drained(&mut mailbox, 1000);
    assert_eq!(records.len(), 201);
    assert_eq!(records.iter().position(|(id, _)| *id == single), Some(QUOTA));
    assert!(records[..QUOTA].iter().all(|(id, _)| *id == flood));
}

#[test]
fn the_urgent_class_goes_first_and_the_bulk_class_still_moves() {
    let (mut mailbox, _) = mailbox(2, 4);
    let port = mailbox.port();
    let (_, mut bulk) = connect(&port, BULK).unwrap();
    let lanes: Vec<_> = (0..4).map(|_| connect(&port, URGENT).unwrap()).collect();
    send(&mut bulk, b"b");
    let mut urgent: Vec<_> = lanes.into_iter().map(|(_, producer)| producer).collect();
    for producer in &mut urgent {
        for _ in 0..128 {
            send(producer, b"u");
        }
    }
    let (records, _) = drained(&mut mailbox, 1000);
    let at = records.iter().position(|(id, _)| id.class == BULK).unwrap();
    assert_eq!(at, PATIENCE as usize * QUOTA, "served after so many turns of the other class");
    assert_eq!(records.len(), 4 * 128 + 1);
}

#[test]
fn a_budget_ends_a_drain_and_says_that_there_is_more() {
    let (mut mailbox, _) = mailbox(1, 4);
    let (_, mut producer) = connect(&mailbox.port(), URGENT).unwrap();
    for _ in 0..10 {
        send(&mut producer, b"x");
    }
    let done = mailbox.drain(4, |_, _| Flow::Next);
    assert_eq!(done, Drained { records: 4, more: true });
    assert!(!mailbox.fall_asleep());
    assert_eq!(mailbox.drain(100, |_, _| Flow::Next), Drained { records: 6, more: false });
    assert!(mailbox.fall_asleep());
}

#[test]
fn a_sender_gets_all_space_back_when_a_turn_ends_with_the_last_record() {
    let (mut mailbox, _) = mailbox(1, 4);
    let (_, mut producer) = connect(&mailbox.port(), URGENT).unwrap();
    send(&mut producer, &[0; 7168 - 16]);
    for _ in 0..17 {
        send(&mut producer, b"x");
    }
    assert_eq!(mailbox.drain(18, |_, _| Flow::Next), Drained { records: 18, more: false });
    assert!(mailbox.fall_asleep());
    // Behind a padding of almost half the ring: all but one line of it.
    let largest = producer.largest();
    assert!(!producer.fall_asleep(largest).unwrap(), "nobody would ever wake it");
}

#[test]
fn a_paused_lane_keeps_its_record_and_lets_others_pass_and_the_mailbox_sleep() {
    let (mut mailbox, _) = mailbox(1, 4);
    let port = mailbox.port();
    let (stuck, mut first) = connect(&port, URGENT).unwrap();
    let (open, mut second) = connect(&port, URGENT).unwrap();
    send(&mut first, b"a");
    send(&mut second, b"b");
    let mut seen = Vec::new();
    mailbox.drain(10, |id, _| {
        seen.push(id);
        if id == stuck { Flow::Pause } else { Flow::Next }
    });
    assert_eq!(seen, [stuck, open]);
    send(&mut first, b"c");
    assert_eq!(drained(&mut mailbox, 10).0, []);
    assert!(mailbox.fall_asleep());
    mailbox.resume(stuck);
    assert!(!mailbox.fall_asleep());
    assert_eq!(drained(&mut mailbox, 10).0, [(stuck, b'a'), (stuck, b'c')]);
}

#[test]
fn a_lane_ends_after_its_last_record_and_its_place_is_used_again_under_another_generation() {
    let (mut mailbox, _) = mailbox(1, 1);
    let port = mailbox.port();
    let (old, mut producer) = connect(&port, URGENT).unwrap();
    assert_eq!(connect(&port, URGENT).err(), Some(ConnectError::NoPlace { lanes: 1 }));
    send(&mut producer, b"z");
    drop(producer);
    assert_eq!(drained(&mut mailbox, 10), (vec![(old, b'z')], vec![old]));
    let (new, mut producer) = connect(&port, URGENT).unwrap();
    assert_eq!((new.place, new.generation), (old.place, old.generation + 1));
    send(&mut producer, b"n");
    assert!(!mailbox.cut(old));
    assert_eq!(drained(&mut mailbox, 10).0, [(new, b'n')]);
    assert!(mailbox.cut(new));
    assert!(producer.is_closed());
}

#[test]
fn a_sender_learns_that_the_mailbox_is_gone() {
    let (mailbox, _) = mailbox(1, 4);
    let port = mailbox.port();
    let (_, mut producer) = connect(&port, URGENT).unwrap();
    drop(mailbox);
    assert!(producer.is_closed());
    assert_eq!(connect(&port, URGENT).err(), Some(ConnectError::Gone));
    let refused = loop {
        if let Err(refused) = producer.push([0; 4], b"unread") {
            break refused;
        }
    };
    assert_eq!(refused, ClaimError::Closed);
}

#[test]
fn lanes_in_every_word_of_a_large_class_are_found() {
    let (mut mailbox, _) = mailbox(1, 200);
    let port = mailbox.port();
    let mut lanes: Vec<_> = (0..200).map(|_| connect(&port, URGENT).unwrap()).collect();
    for (index, (_, producer)) in lanes.iter_mut().enumerate() {
        send(producer, &[index as u8]);
    }
    let (mut records, _) = drained(&mut mailbox, 1000);
    records.sort();
    let expected: Vec<_> = lanes.iter().enumerate().map(|(index, (id, _))| (*id, index as u8)).collect();
    assert_eq!(records, expected);
}

#[test]
fn a_mailbox_that_cannot_be_is_refused() {
    let control = Hardware::heap(1024).unwrap();
    let waiter = Arc::new(Bells::default());
    let refused = |classes, lanes| Mailbox::new(control.clone(), classes, lanes, waiter.clone()).err();
    assert_eq!(refused(7, 1), Some(LayoutError::Mailbox { classes: 7, lanes: 1 }));
    assert_eq!(refused(2, 0), Some(LayoutError::Mailbox { classes: 2, lanes: 0 }));
    assert_eq!(refused(2, 999), Some(LayoutError::TooShort { len: 1024, needed: control_len(2, 999) }));
}
