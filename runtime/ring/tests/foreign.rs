//! Scenarios of one mailbox with senders in other processes, on one thread: they share no word that they write, and yet their
//! lanes have their turns, rests and ends as all others do.
#![cfg(not(loom))]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use synod_ring::layout::{RECEIVER_LEN, sender_len};
use synod_ring::mailbox::{ConnectError, Drained, PATIENCE, QUOTA, control_len};
use synod_ring::{
    ClaimError, Class, Consumer, Delivery, Flow, Hardware, Heap, LaneId, LayoutError, Mailbox, Memory,
    Producer, Region, Violation, Waiter,
};

const URGENT: Class = Class(0);
const BULK: Class = Class(1);

/// Where a sender's records start.
const DATA: usize = sender_len(0);

/// Counts how often it was woken.
#[derive(Default)]
struct Bells(AtomicUsize);

impl Waiter for Bells {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn memory(len: usize) -> Hardware {
    Hardware::heap(len).unwrap()
}

/// A mailbox, and what a sender in another process gets to see of it.
struct Rig {
    mailbox: Mailbox,
    control: Hardware,
    bells: Arc<Bells>,
}

/// A lane's end, and the rule that was broken.
type Ended = (LaneId, Option<Violation>);

/// The two regions of a lane that is on its way.
struct Regions {
    sender: Hardware,
    receiver: Hardware,
}

impl Rig {
    fn new(classes: usize, lanes: usize) -> Self {
        let (control, bells) = (memory(control_len(classes, lanes)), Arc::new(Bells::default()));
        let mailbox = Mailbox::new(control.clone(), classes, lanes, bells.clone()).unwrap();
        Self { mailbox, control, bells }
    }

    fn rung(&self) -> usize {
        self.bells.0.load(Ordering::Relaxed)
    }

    /// A sender whose lane the mailbox does not know yet.
    fn sender(&self) -> (Regions, Producer) {
        let regions = Regions { sender: memory(sender_len(16384)), receiver: memory(RECEIVER_LEN) };
        let (own, peer) = (regions.sender.clone(), regions.receiver.clone());
        let producer = Producer::into_mailbox(own, peer, self.control.clone(), self.bells.clone()).unwrap();
        (regions, producer)
    }

    fn admit(&mut self, class: Class, regions: &Regions) -> Result<LaneId, ConnectError> {
        self.mailbox.admit_foreign(class, regions.receiver.clone(), regions.sender.clone(), None)
    }

    fn foreign(&mut self, class: Class) -> (LaneId, Producer) {
        let (regions, producer) = self.sender();
        (self.admit(class, &regions).unwrap(), producer)
    }

    fn local(&mut self, class: Class) -> (LaneId, Producer) {
        let port = self.mailbox.port();
        port.connect(class, memory(sender_len(16384)), memory(RECEIVER_LEN), None).unwrap()
    }

    /// Drains up to `budget` records; returns them as lane and first byte, and the ends of lanes.
    fn drained(&mut self, budget: usize) -> (Vec<(LaneId, u8)>, Vec<Ended>) {
        let (mut records, mut ended) = (Vec::new(), Vec::new());
        self.mailbox.drain(budget, |id, delivery| {
            match delivery {
                Delivery::Record(record) => records.push((id, record.payload()[0])),
                Delivery::Foreign(record) => {
                    let mut copy = Vec::new();
                    record.copy_to(&mut copy);
                    records.push((id, copy[0]));
                }
                Delivery::Closed(violation) => ended.push((id, violation)),
            }
            Flow::Next
        });
        (records, ended)
    }
}

fn send(producer: &mut Producer, payload: &[u8]) {
    producer.push([0; 4], payload).unwrap();
    producer.publish();
}

#[test]
fn a_foreign_sender_wakes_a_mailbox_that_sleeps_and_no_other() {
    let mut rig = Rig::new(1, 4);
    let (id, mut producer) = rig.foreign(URGENT);
    send(&mut producer, b"a");
    assert_eq!(rig.rung(), 0, "nobody slept");
    assert!(!rig.mailbox.fall_asleep(), "something is there");
    assert_eq!(rig.drained(10).0, [(id, b'a')]);
    assert!(rig.mailbox.fall_asleep());
    send(&mut producer, b"b");
    assert_eq!(rig.rung(), 1);
    assert_eq!(rig.drained(10).0, [(id, b'b')]);
    send(&mut producer, b"c");
    assert_eq!(rig.rung(), 1, "awake again");
}

#[test]
fn what_was_published_before_the_lane_was_handed_over_arrives_and_a_sleeper_learns_of_it() {
    let mut rig = Rig::new(1, 4);
    let (regions, mut producer) = rig.sender();
    send(&mut producer, b"e");
    assert_eq!(rig.drained(10).0, []);
    assert!(rig.mailbox.fall_asleep(), "it knows of no lane");
    let id = rig.admit(URGENT, &regions).unwrap();
    assert_eq!(rig.rung(), 1, "it looks for itself: the sender rings no more");
    assert_eq!(rig.drained(10).0, [(id, b'e')]);
}

#[test]
fn a_quiet_foreign_sender_beside_a_flood_within_waits_two_quotas_at_most() {
    let mut rig = Rig::new(1, 4);
    let (_, mut loud) = rig.local(URGENT);
    let (quiet, mut producer) = rig.foreign(URGENT);
    (0..200).for_each(|_| send(&mut loud, b"x"));
    let (mut records, mut at) = (0, None);
    rig.mailbox.drain(usize::MAX, |id, _| {
        if records == 3 {
            send(&mut producer, b"q");
        }
        if id == quiet {
            at = Some(records);
        }
        records += 1;
        Flow::Next
    });
    assert_eq!(records, 201);
    assert!(at.is_some_and(|at| at <= 2 * QUOTA), "{at:?}");
}

#[test]
fn a_flood_from_another_process_ends_its_turn_after_a_quota_as_well() {
    let mut rig = Rig::new(1, 4);
    let (flood, mut loud) = rig.foreign(URGENT);
    let (single, mut quiet) = rig.foreign(URGENT);
    (0..200).for_each(|_| send(&mut loud, b"x"));
    send(&mut quiet, b"q");
    let (records, _) = rig.drained(1000);
    assert_eq!(records.len(), 201);
    assert_eq!(records.iter().position(|(id, _)| *id == single), Some(QUOTA));
    assert!(records[..QUOTA].iter().all(|(id, _)| *id == flood));
}

#[test]
fn classes_count_for_foreign_lanes_too_and_the_bulk_class_still_moves() {
    let mut rig = Rig::new(2, 4);
    let (_, mut bulk) = rig.foreign(BULK);
    let mut urgent: Vec<_> = (0..4).map(|_| rig.foreign(URGENT)).collect();
    send(&mut bulk, b"b");
    for (_, producer) in &mut urgent {
        (0..128).for_each(|_| send(producer, b"u"));
    }
    let (records, _) = rig.drained(1000);
    let at = records.iter().position(|(id, _)| id.class == BULK);
    assert_eq!(at, Some(PATIENCE as usize * QUOTA), "served after so many turns of the other class");
    assert_eq!(records.len(), 4 * 128 + 1);
}

#[test]
fn an_urgent_record_from_another_process_overtakes_bulk_that_is_being_drained() {
    let mut rig = Rig::new(2, 4);
    let (urgent, mut producer) = rig.foreign(URGENT);
    let (_, mut local) = rig.local(BULK);
    let (_, mut foreign) = rig.foreign(BULK);
    for _ in 0..100 {
        send(&mut local, b"l");
        send(&mut foreign, b"f");
    }
    let (mut records, mut at) = (0, None);
    rig.mailbox.drain(usize::MAX, |id, _| {
        if records == 3 {
            send(&mut producer, b"!");
        }
        if id == urgent {
            at = Some(records);
        }
        records += 1;
        Flow::Next
    });
    assert_eq!((records, at), (201, Some(QUOTA)));
}

#[test]
fn a_budget_ends_a_drain_and_says_whether_a_foreign_lane_has_more() {
    let mut rig = Rig::new(1, 4);
    let (_, mut first) = rig.foreign(URGENT);
    let (_, mut second) = rig.foreign(URGENT);
    (0..10).for_each(|_| send(&mut first, b"x"));
    let drained = rig.mailbox.drain(10, |_, _| {
        send(&mut second, b"y");
        Flow::Next
    });
    assert_eq!(drained, Drained { records: 10, more: true });
    assert!(!rig.mailbox.fall_asleep());
    assert_eq!(rig.mailbox.drain(100, |_, _| Flow::Next), Drained { records: 10, more: false });
    assert!(rig.mailbox.fall_asleep());
}

#[test]
fn a_paused_foreign_lane_keeps_its_record_and_lets_the_mailbox_sleep() {
    let mut rig = Rig::new(1, 4);
    let (stuck, mut first) = rig.foreign(URGENT);
    let (open, mut second) = rig.foreign(URGENT);
    send(&mut first, b"a");
    send(&mut second, b"b");
    let mut seen = Vec::new();
    rig.mailbox.drain(10, |id, _| {
        seen.push(id);
        if id == stuck { Flow::Pause } else { Flow::Next }
    });
    assert_eq!(seen, [stuck, open]);
    send(&mut first, b"c");
    assert_eq!(rig.drained(10).0, []);
    assert!(rig.mailbox.fall_asleep());
    rig.mailbox.resume(stuck);
    assert!(!rig.mailbox.fall_asleep());
    assert_eq!(rig.drained(10).0, [(stuck, b'a'), (stuck, b'c')]);
}

#[test]
fn a_foreign_lane_ends_after_its_last_record_and_its_place_is_used_again() {
    let mut rig = Rig::new(1, 1);
    let (old, mut producer) = rig.foreign(URGENT);
    let (regions, mut next) = rig.sender();
    assert_eq!(rig.admit(URGENT, &regions), Err(ConnectError::NoPlace { lanes: 1 }));
    assert!(next.is_closed(), "a sender that was refused is told so");
    assert!(rig.mailbox.fall_asleep());
    send(&mut producer, b"z");
    drop(producer);
    assert_eq!(rig.rung(), 2, "for the record and for the end");
    assert_eq!(rig.drained(10), (vec![(old, b'z')], vec![(old, None)]));
    let (new, producer) = rig.foreign(URGENT);
    next = producer;
    assert_eq!((new.place, new.generation), (old.place, old.generation + 1));
    send(&mut next, b"n");
    assert!(!rig.mailbox.cut(old));
    assert_eq!(rig.drained(10).0, [(new, b'n')]);
    assert!(rig.mailbox.cut(new));
    assert!(next.is_closed());
    assert!(rig.mailbox.fall_asleep());
    let (id, mut producer) = rig.local(URGENT);
    send(&mut producer, b"l");
    assert_eq!(rig.drained(10).0, [(id, b'l')]);
}

#[test]
fn the_lane_of_a_sender_that_died_is_read_to_its_end_and_closed() {
    let mut rig = Rig::new(1, 4);
    for lane in [Rig::foreign, Rig::local] {
        let (id, mut producer) = lane(&mut rig, URGENT);
        (0..40).for_each(|_| send(&mut producer, b"d"));
        // It died: it drops nothing.
        std::mem::forget(producer);
        assert!(rig.mailbox.orphan(id));
        assert!(!rig.mailbox.fall_asleep());
        let (records, ended) = rig.drained(1000);
        assert_eq!((records.len(), ended), (40, vec![(id, None)]));
        assert!(!rig.mailbox.orphan(id));
        assert!(rig.mailbox.fall_asleep());
    }
}

#[test]
fn foreign_lanes_in_every_word_of_a_large_class_are_found_among_others() {
    let mut rig = Rig::new(1, 200);
    let mut lanes: Vec<_> =
        (0..200).map(|index| if index % 3 == 0 { rig.local(URGENT) } else { rig.foreign(URGENT) }).collect();
    for lap in 0..3 {
        for (index, (_, producer)) in lanes.iter_mut().enumerate() {
            send(producer, &[index as u8 ^ lap]);
        }
        let (mut records, _) = rig.drained(1000);
        records.sort();
        let expected: Vec<_> =
            lanes.iter().enumerate().map(|(index, (id, _))| (*id, index as u8 ^ lap)).collect();
        assert_eq!(records, expected);
    }
    lanes.drain(..).skip(1).step_by(2).for_each(drop);
    rig.drained(1000);
    assert!(rig.mailbox.fall_asleep());
}

#[test]
fn a_foreign_sender_that_breaks_a_rule_is_cut_by_name_and_the_others_go_on() {
    /// What the sender stores, as words of its region, and what it is told for it.
    type Lie = (&'static [(usize, u64)], Violation);
    let capacity = 16384;
    let lies: [Lie; 5] = [
        (&[(0, 16384 + 128)], Violation::TailTooFar { head: 64, found: 16384 + 128, capacity }),
        (&[(0, 0)], Violation::TailWentBack { known: 64, found: 0 }),
        (&[(0, 65)], Violation::Misaligned { found: 65 }),
        (
            &[(DATA + 64, 4000), (DATA + 72, 1), (0, 128)],
            Violation::RecordTooLong { at: 64, len: 4000, published: 64 },
        ),
        (&[(DATA + 64, 8), (DATA + 72, 7), (0, 128)], Violation::Sequence { at: 64, expected: 1, found: 7 }),
    ];
    for (lie, violation) in lies {
        let mut rig = Rig::new(1, 4);
        let (regions, mut liar) = rig.sender();
        let cut = rig.admit(URGENT, &regions).unwrap();
        let (foreign, mut first) = rig.foreign(URGENT);
        let (local, mut second) = rig.local(URGENT);
        send(&mut liar, &[b'a'; 48]);
        assert_eq!(rig.drained(10).0, [(cut, b'a')]);
        assert!(rig.mailbox.fall_asleep());
        for (at, word) in lie {
            // SAFETY: words inside the region; the sender itself is not at work.
            unsafe { regions.sender.store(*at, *word, Ordering::Release) };
        }
        send(&mut first, b"f");
        send(&mut second, b"l");
        let (records, ended) = rig.drained(10);
        assert_eq!((records, ended), (vec![(foreign, b'f'), (local, b'l')], vec![(cut, Some(violation))]));
        assert!(liar.is_closed());
        assert!(rig.mailbox.fall_asleep());
        send(&mut first, b"g");
        assert_eq!(rig.drained(10).0, [(foreign, b'g')]);
    }
}

/// A region as another process sees it.
struct Mapped(Heap);

// SAFETY: every answer is the heap's, but that less is allowed.
unsafe impl Region for Mapped {
    fn base(&self) -> NonNull<u8> {
        self.0.base()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn writable(&self) -> bool {
        false
    }
}

#[test]
fn what_is_mapped_for_reading_only_serves_as_the_others_region_and_never_as_ones_own() {
    let readable = |len| Hardware::new(Mapped(Heap::new(len).unwrap()));
    let mut rig = Rig::new(1, 4);
    let refused = LayoutError::ReadOnly;
    let bells = rig.bells.clone();
    let producer = |own, peer| Producer::into_mailbox(own, peer, readable(256), bells.clone());
    assert!(producer(memory(sender_len(256)), readable(RECEIVER_LEN)).is_ok());
    assert_eq!(producer(readable(sender_len(256)), memory(RECEIVER_LEN)).err(), Some(refused));
    let mut admit = |own, peer| rig.mailbox.admit_foreign(URGENT, own, peer, None);
    assert!(admit(memory(RECEIVER_LEN), readable(sender_len(256))).is_ok());
    assert_eq!(admit(readable(RECEIVER_LEN), memory(sender_len(256))), Err(ConnectError::Layout(refused)));
    let in_place = Consumer::over(memory(RECEIVER_LEN), readable(sender_len(256)), None);
    assert_eq!(in_place.err(), Some(LayoutError::Foreign), "no reference to what another process writes");
    let mailbox = Mailbox::new(readable(control_len(1, 1)), 1, 1, bells.clone());
    assert_eq!(mailbox.err(), Some(refused));
    let short = Producer::into_mailbox(memory(sender_len(256)), memory(RECEIVER_LEN), memory(4), bells);
    assert_eq!(short.err(), Some(LayoutError::TooShort { len: 4, needed: 8 }));
}

#[test]
fn a_foreign_receiver_that_lies_about_its_head_is_named_to_the_sender() {
    let rig = Rig::new(1, 4);
    let (regions, mut producer) = rig.sender();
    // SAFETY: the head is the first word of the receiver's region.
    unsafe { regions.receiver.store(0, 1 << 40, Ordering::Release) };
    let refused = loop {
        if let Err(refused) = producer.push([0; 4], b"x") {
            break refused;
        }
    };
    assert_eq!(refused, ClaimError::Violation(Violation::Head { known: 0, found: 1 << 40, tail: 0 }));
}
