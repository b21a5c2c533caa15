//! Loom models of the shipping ring, doorbell and mailbox, and the planted bugs that each must find.
//!
//! Every model runs at preemption bound 3 (LOOM_MAX_PREEMPTIONS raises it) and asserts how many executions it explored: a model that
//! explored a handful proves nothing. Every planted bug must fail the model named for it, and for the reason expected.
#![cfg(loom)]

use loom::thread;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use synod_ring::layout::{LINE, RECEIVER_LEN};
use synod_ring::mailbox::control_len;
use synod_ring::queue;
use synod_ring::returns::{Returned, Returns, returns_len};
use synod_ring::spsc::{Waiters, channel};
use synod_ring::sync::Loom;
use synod_ring::wish::{Wish, Wished};
use synod_ring::{Cells, ClaimError, Class, Consumer, Delivery, Flow, Mailbox, Producer, Waiter};

/// Explores `model` and asserts that it took at least that many executions.
fn explore(at_least: usize, model: fn()) {
    let executions = Arc::new(AtomicUsize::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    let counter = executions.clone();
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let executions = executions.load(Ordering::Relaxed);
    println!("{executions} executions");
    assert!(
        executions >= at_least,
        "only {executions} executions: the model no longer explores what it should"
    );
}

/// Explores `model` with a bug planted, on a thread of its own; returns what it failed with.
fn failure_with(bug: &'static str, model: fn()) -> String {
    let planted = std::thread::spawn(move || synod_probe::plant::with(bug, || explore(1, model)));
    let panic: Box<dyn Any + Send> =
        planted.join().err().unwrap_or_else(|| panic!("{bug} survived its model"));
    assert!(synod_probe::plant::reached() > 0, "{bug} never ran");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string())).unwrap_or_default()
}

/// A sleeper in a model: a token under loom's lock. (loom's own park takes a wake-up for a finished join.)
#[derive(Default)]
struct Parking {
    token: loom::sync::Mutex<bool>,
    given: loom::sync::Condvar,
}

impl Parking {
    fn park(&self) {
        let mut token = self.token.lock().unwrap();
        while !*token {
            token = self.given.wait(token).unwrap();
        }
        *token = false;
    }
}

impl Waiter for Parking {
    fn wake(&self) {
        *self.token.lock().unwrap() = true;
        self.given.notify_one();
    }
}

fn sender_memory(capacity: usize) -> Loom {
    Loom::new(256, capacity)
}

fn receiver_memory() -> Loom {
    Loom::new(RECEIVER_LEN, 0)
}

fn ring(capacity: usize, waiters: Waiters) -> (Producer<Loom>, Consumer<Loom>) {
    channel(sender_memory(capacity), receiver_memory(), waiters).unwrap()
}

/// Sends one record as soon as there is space, polling.
fn send(producer: &mut Producer<Loom>, len: usize, fill: u8) {
    loop {
        match producer.claim(len) {
            Ok(mut claim) => {
                claim.payload().fill(fill);
                claim.commit([fill; 4]);
                break;
            }
            Err(ClaimError::Full) => thread::yield_now(),
            Err(other) => panic!("{other}"),
        }
    }
    producer.publish();
}

/// Takes the next record, polling, and asserts that it is the whole one expected.
fn receive(consumer: &mut Consumer<Loom>, len: usize, fill: u8) {
    loop {
        if let Some(record) = consumer.peek().unwrap() {
            assert_eq!(record.tag(), [fill; 4]);
            assert!(record.payload().len() == len && record.payload().iter().all(|byte| *byte == fill));
            record.free();
            return;
        }
        thread::yield_now();
    }
}

/// A record is seen only whole: its tail was published after it.
fn published_records_are_whole() {
    let (mut producer, mut consumer) = ring(256, Waiters::default());
    let sender = thread::spawn(move || {
        send(&mut producer, 48, 1);
        send(&mut producer, 60, 2);
        send(&mut producer, 48, 3);
    });
    receive(&mut consumer, 48, 1);
    receive(&mut consumer, 60, 2);
    receive(&mut consumer, 48, 3);
    sender.join().unwrap();
    assert!(consumer.ended().unwrap());
}

/// A record that does not fit before the end of the lap needs room for its padding as well.
fn a_lap_ends_without_touching_unread_records() {
    let (mut producer, mut consumer) = ring(256, Waiters::default());
    let sender = thread::spawn(move || {
        send(&mut producer, 48, 1);
        send(&mut producer, 100, 2);
        send(&mut producer, 100, 3);
    });
    receive(&mut consumer, 48, 1);
    receive(&mut consumer, 100, 2);
    receive(&mut consumer, 100, 3);
    sender.join().unwrap();
}

/// Space is not written again while its record is being read.
fn a_record_being_read_is_not_overwritten() {
    let (mut producer, mut consumer) = ring(256, Waiters::default());
    for fill in 0..4 {
        send(&mut producer, 48, fill);
    }
    let sender = thread::spawn(move || {
        send(&mut producer, 48, 4);
        send(&mut producer, 48, 5);
    });
    for fill in 0..6 {
        receive(&mut consumer, 48, fill);
    }
    sender.join().unwrap();
}

/// A consumer that goes to sleep while records are published is woken.
fn a_sleeping_consumer_is_woken() {
    let parking = Arc::new(Parking::default());
    let (mut producer, mut consumer) = ring(256, Waiters { records: Some(parking.clone()), space: None });
    let sender = thread::spawn(move || {
        send(&mut producer, 8, 1);
        send(&mut producer, 8, 2);
    });
    let mut received = 0;
    while !consumer.ended().unwrap() {
        if let Some(record) = consumer.peek().unwrap() {
            received += 1;
            assert_eq!(record.tag(), [received; 4]);
            record.free();
        } else if consumer.fall_asleep().unwrap() {
            parking.park();
        }
    }
    assert_eq!(received, 2);
    sender.join().unwrap();
}

/// A producer that goes to sleep while space is freed is woken.
fn a_producer_waiting_for_space_is_woken() {
    let parking = Arc::new(Parking::default());
    let (mut producer, mut consumer) = ring(256, Waiters { records: None, space: Some(parking.clone()) });
    for fill in 0..4 {
        send(&mut producer, 48, fill);
    }
    let sender = thread::spawn(move || {
        while let Err(refused) = producer.push([4; 4], &[4; 48]) {
            assert_eq!(refused, ClaimError::Full);
            if producer.fall_asleep(48).unwrap() {
                parking.park();
            }
        }
        producer.publish();
    });
    receive(&mut consumer, 48, 0);
    receive(&mut consumer, 48, 1);
    sender.join().unwrap();
    for fill in 2..5 {
        receive(&mut consumer, 48, fill);
    }
}

/// Drains until `expected` records came, sleeping whenever the mailbox allows it.
fn drain_all(mailbox: &mut Mailbox<Loom>, parking: &Parking, expected: usize) {
    let mut received = 0;
    while received < expected {
        received += mailbox.drain(8, |_, _| Flow::Next).records;
        if received < expected && mailbox.fall_asleep() {
            parking.park();
        }
    }
    assert_eq!(received, expected);
}

fn mailbox() -> (Mailbox<Loom>, Arc<Parking>) {
    let (mailbox, parking, _) = mailbox_seen();
    (mailbox, parking)
}

/// A lane whose bit was taken just as its sender published is visited again.
fn a_mailbox_misses_no_record() {
    let (mut mailbox, parking) = mailbox();
    let (_, mut producer) =
        mailbox.port().connect(Class(0), sender_memory(256), receiver_memory(), None).unwrap();
    let sender = thread::spawn(move || {
        send(&mut producer, 8, 1);
        send(&mut producer, 8, 2);
        // Kept: an end of the lane would be one more reason to look.
        producer
    });
    drain_all(&mut mailbox, &parking, 2);
    drop(sender.join().unwrap());
}

/// Two senders share a readiness word, and one joins while the mailbox may be asleep.
fn two_senders_share_a_word() {
    let (mut mailbox, parking) = mailbox();
    let port = mailbox.port();
    let (_, mut first) = port.connect(Class(0), sender_memory(256), receiver_memory(), None).unwrap();
    let sender = thread::spawn(move || {
        let (_, mut second) = port.connect(Class(0), sender_memory(256), receiver_memory(), None).unwrap();
        send(&mut second, 8, 2);
        second
    });
    send(&mut first, 8, 1);
    drain_all(&mut mailbox, &parking, 2);
    drop(sender.join().unwrap());
}

/// A lane's end is delivered after its records, and wakes the mailbox.
fn an_end_wakes_the_mailbox() {
    let (mut mailbox, parking) = mailbox();
    let (id, mut producer) =
        mailbox.port().connect(Class(0), sender_memory(256), receiver_memory(), None).unwrap();
    let sender = thread::spawn(move || {
        send(&mut producer, 8, 1);
    });
    let (mut records, mut ended) = (0, false);
    while !ended {
        mailbox.drain(8, |from, delivery| {
            assert_eq!(from, id);
            match delivery {
                Delivery::Record(_) | Delivery::Foreign(_) => records += 1,
                Delivery::Closed(violation) => {
                    assert_eq!((records, violation), (1, None));
                    ended = true;
                }
            }
            Flow::Next
        });
        if !ended && mailbox.fall_asleep() {
            parking.park();
        }
    }
    sender.join().unwrap();
}

/// A mailbox, and its control memory as another process has it.
fn mailbox_seen() -> (Mailbox<Loom>, Arc<Parking>, Loom) {
    let (control, parking) = (Loom::new(control_len(1, 2), 0), Arc::new(Parking::default()));
    (Mailbox::new(control.clone(), 1, 2, parking.clone()).unwrap(), parking, control)
}

/// A sender in another process, and how its lane is admitted.
fn foreign(
    control: &Loom,
    parking: &Arc<Parking>,
) -> (Producer<Loom>, impl FnOnce(&mut Mailbox<Loom>) + use<>) {
    let (sender, receiver) = (sender_memory(256), receiver_memory());
    let producer =
        Producer::into_mailbox(sender.clone(), receiver.clone(), control.clone(), parking.clone()).unwrap();
    (producer, |mailbox| {
        mailbox.admit_foreign(Class(0), receiver, sender, None).unwrap();
    })
}

/// A mailbox that takes in a lane and goes to sleep while its sender in another process publishes is woken.
fn a_mailbox_misses_no_foreign_record() {
    let (mut mailbox, parking, control) = mailbox_seen();
    let (mut producer, admit) = foreign(&control, &parking);
    let sender = thread::spawn(move || {
        send(&mut producer, 8, 1);
        send(&mut producer, 8, 2);
        // Kept: an end of the lane would be one more reason to look.
        producer
    });
    admit(&mut mailbox);
    drain_all(&mut mailbox, &parking, 2);
    drop(sender.join().unwrap());
}

/// A foreign sender and one of this process, in one mailbox: neither hides the other.
fn foreign_and_local_senders_share_a_mailbox() {
    let (mut mailbox, parking, control) = mailbox_seen();
    let (mut far, admit) = foreign(&control, &parking);
    let (_, mut near) =
        mailbox.port().connect(Class(0), sender_memory(256), receiver_memory(), None).unwrap();
    admit(&mut mailbox);
    let senders = [
        thread::spawn(move || {
            send(&mut far, 8, 1);
            far
        }),
        thread::spawn(move || {
            send(&mut near, 8, 2);
            near
        }),
    ];
    drain_all(&mut mailbox, &parking, 2);
    senders.into_iter().for_each(|sender| drop(sender.join().unwrap()));
}

/// A lane is handed over while its sender publishes and the mailbox has said that it sleeps.
fn a_lane_is_handed_over_while_its_sender_publishes() {
    let (mut mailbox, parking, control) = mailbox_seen();
    let (mut producer, admit) = foreign(&control, &parking);
    let sender = thread::spawn(move || {
        send(&mut producer, 8, 1);
        producer
    });
    assert!(mailbox.fall_asleep(), "it knows of no lane");
    admit(&mut mailbox);
    parking.park();
    drain_all(&mut mailbox, &parking, 1);
    drop(sender.join().unwrap());
}

/// A lane's larger ring is used once everything on the smaller one was taken, so that the order stays; who waits for that is woken.
fn a_larger_ring_is_read_after_the_smaller_one() {
    let (mut mailbox, parking, control) = mailbox_seen();
    let space = Arc::new(Parking::default());
    let mut ring = || {
        let (sender, receiver) = (sender_memory(256), receiver_memory());
        mailbox.admit_foreign(Class(0), receiver.clone(), sender.clone(), Some(space.clone())).unwrap();
        Producer::into_mailbox(sender, receiver, control.clone(), parking.clone()).unwrap()
    };
    let (mut small, mut large) = (ring(), ring());
    let sender = thread::spawn(move || {
        send(&mut small, 8, 0);
        while !small.is_drained() {
            if small.fall_asleep_until_empty().unwrap() {
                space.park();
            }
        }
        send(&mut large, 8, 1);
        (small, large)
    });
    let mut next = 0;
    while next < 2 {
        mailbox.drain(8, |_, delivery| {
            let Delivery::Foreign(record) = delivery else { panic!("the lane goes on") };
            assert_eq!(record.tag(), [next; 4]);
            next += 1;
            Flow::Next
        });
        if next < 2 && mailbox.fall_asleep() {
            parking.park();
        }
    }
    drop(sender.join().unwrap());
}

/// A foreign lane's end is delivered after its records, and wakes the mailbox.
fn a_foreign_end_wakes_the_mailbox() {
    let (mut mailbox, parking, control) = mailbox_seen();
    let (mut producer, admit) = foreign(&control, &parking);
    admit(&mut mailbox);
    let sender = thread::spawn(move || {
        send(&mut producer, 8, 1);
    });
    let (mut records, mut ended) = (0, false);
    while !ended {
        mailbox.drain(8, |_, delivery| {
            match delivery {
                Delivery::Record(_) | Delivery::Foreign(_) => records += 1,
                Delivery::Closed(violation) => {
                    assert_eq!((records, violation), (1, None));
                    ended = true;
                }
            }
            Flow::Next
        });
        if !ended && mailbox.fall_asleep() {
            parking.park();
        }
    }
    sender.join().unwrap();
}

/// A sender that waits for a credit while the receiver gives it is woken.
fn a_sender_waiting_for_a_credit_is_woken() {
    let parking = Arc::new(Parking::default());
    let wishes = Loom::new(LINE, 0);
    let (wish, wished) = (Wish::new(wishes.clone(), 0).unwrap(), Wished::new(wishes, 0).unwrap());
    let credits = Loom::new(LINE, 0);
    let (given, seen) = (Cells::own(credits.clone(), 0, 1).unwrap(), Cells::peer(credits, 0, 1).unwrap());
    let waiter = parking.clone();
    let receiver = thread::spawn(move || {
        for credit in 1..=2 {
            given.store(0, credit, Ordering::Release);
            if wished.is_wanted() {
                waiter.wake();
            }
        }
    });
    while seen.load(0, Ordering::Acquire) < 2 {
        wish.say();
        if seen.load(0, Ordering::Acquire) < 2 {
            parking.park();
        }
        wish.drop_it();
    }
    receiver.join().unwrap();
}

/// Going on with a checksum, cheaply.
fn sum(before: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(before, |sum, byte| sum.rotate_left(5) ^ u32::from(*byte))
}

/// A record of the queue is seen whole or not at all, its room is not written before it was freed, and a reader that is followed by another
/// loses nothing.
fn a_queue_hands_over_whole_records() {
    const LENGTHS: [usize; 4] = [100, 20, 150, 30];
    let memory = Loom::new(queue::CONTROL, 256);
    queue::make(&memory).unwrap();
    let mut writer = queue::Writer::open(memory.clone(), sum).unwrap();
    let sender = thread::spawn(move || {
        for (fill, len) in LENGTHS.into_iter().enumerate() {
            while writer.put([fill as u8; 4], &vec![fill as u8; len]) == Err(queue::PutError::Full) {
                thread::yield_now();
            }
        }
    });
    let mut reader = queue::Reader::open(memory.clone(), sum).unwrap();
    for (fill, len) in LENGTHS.into_iter().enumerate() {
        while reader.peek().unwrap().is_none() {
            thread::yield_now();
        }
        if fill == 2 {
            reader = queue::Reader::open(memory.clone(), sum).unwrap();
        }
        let record = reader.peek().unwrap().unwrap();
        assert_eq!((record.tag(), record.payload()), ([fill as u8; 4], &vec![fill as u8; len][..]));
        record.free();
    }
    sender.join().unwrap();
}

/// What an owner finds given back is what the receiver held; an owner that waits for it is woken.
fn a_slot_given_back_is_the_one_that_was_held() {
    const PLACES: usize = 2;
    let parking = Arc::new(Parking::default());
    let len = returns_len(PLACES).next_multiple_of(LINE);
    let (places, wishes) = (Loom::new(len, 0), Loom::new(LINE, 0));
    let (wish, wished) = (Wish::new(wishes.clone(), 0).unwrap(), Wished::new(wishes, 0).unwrap());
    let mut returns = Returns::new(places.clone(), 0, PLACES).unwrap();
    let mut returned = Returned::new(places, 0, PLACES).unwrap();
    let waiter = parking.clone();
    let receiver = thread::spawn(move || {
        for name in [7, 8] {
            returns.give(name);
            if wished.is_wanted() {
                waiter.wake();
            }
        }
    });
    let mut names = Vec::new();
    while names.len() < 2 {
        returned.collect(|name| names.push(name)).unwrap();
        if names.len() < 2 {
            wish.say();
            let before = names.len();
            returned.collect(|name| names.push(name)).unwrap();
            if names.len() == before {
                parking.park();
            }
            wish.drop_it();
        }
    }
    assert_eq!(names, [7, 8]);
    receiver.join().unwrap();
}

#[test]
fn a_slot_given_back_is_the_one_that_was_held_and_one_told_too_early_is_found() {
    explore(100, a_slot_given_back_is_the_one_that_was_held);
    let failure = failure_with("ring.returned-too-early", a_slot_given_back_is_the_one_that_was_held);
    assert!(failure.contains("left"), "{failure}");
}

#[test]
fn published_records_are_whole_and_a_relaxed_publish_is_found() {
    explore(250, published_records_are_whole);
    let failure = failure_with("ring.relaxed-publish", published_records_are_whole);
    assert!(failure.contains("Causality violation"), "{failure}");
}

#[test]
fn a_lap_ends_well_and_a_wrong_wrap_around_is_found() {
    explore(1000, a_lap_ends_without_touching_unread_records);
    let failure = failure_with("ring.wrap-around", a_lap_ends_without_touching_unread_records);
    assert!(!failure.contains("deadlock") && !failure.contains("executions"), "{failure}");
}

#[test]
fn a_record_being_read_is_safe_and_freeing_too_early_is_found() {
    explore(6000, a_record_being_read_is_not_overwritten);
    let failure = failure_with("ring.freed-too-early", a_record_being_read_is_not_overwritten);
    assert!(!failure.contains("deadlock") && !failure.contains("executions"), "{failure}");
}

#[test]
fn sleepers_are_woken_and_a_doorbell_without_its_fence_is_found() {
    explore(6000, a_sleeping_consumer_is_woken);
    explore(130, a_producer_waiting_for_space_is_woken);
    for model in [a_sleeping_consumer_is_woken, a_producer_waiting_for_space_is_woken] {
        let failure = failure_with("ring.doorbell-without-fence", model);
        assert!(failure.contains("deadlock"), "{failure}");
    }
}

#[test]
fn a_mailbox_misses_nothing_and_readiness_cleared_after_draining_is_found() {
    explore(500, a_mailbox_misses_no_record);
    explore(1200, two_senders_share_a_word);
    explore(400, an_end_wakes_the_mailbox);
    let failure = failure_with("ring.ready-cleared-late", a_mailbox_misses_no_record);
    assert!(failure.contains("deadlock"), "{failure}");
}

#[test]
fn foreign_lanes_miss_nothing_and_a_mailbox_that_sleeps_without_a_look_is_found() {
    explore(1200, a_mailbox_misses_no_foreign_record);
    explore(12000, foreign_and_local_senders_share_a_mailbox);
    explore(700, a_foreign_end_wakes_the_mailbox);
    for bug in ["ring.asleep-without-a-look", "ring.doorbell-without-fence"] {
        let failure = failure_with(bug, a_mailbox_misses_no_foreign_record);
        assert!(failure.contains("deadlock"), "{failure}");
    }
}

#[test]
fn a_lane_is_handed_over_whole_and_one_admitted_in_sleep_is_found() {
    explore(250, a_lane_is_handed_over_while_its_sender_publishes);
    let failure = failure_with("ring.admitted-in-sleep", a_lane_is_handed_over_while_its_sender_publishes);
    assert!(failure.contains("deadlock"), "{failure}");
}

#[test]
fn a_lane_that_grows_keeps_its_order_and_one_that_does_not_wait_for_its_reader_is_found() {
    explore(1000, a_larger_ring_is_read_after_the_smaller_one);
    let failure = failure_with("ring.drained-too-soon", a_larger_ring_is_read_after_the_smaller_one);
    assert!(failure.contains("left"), "{failure}");
    let failure = failure_with("ring.doorbell-without-fence", a_larger_ring_is_read_after_the_smaller_one);
    assert!(failure.contains("deadlock"), "{failure}");
}

#[test]
fn a_wanted_credit_is_told_and_one_given_without_a_fence_is_found() {
    explore(400, a_sender_waiting_for_a_credit_is_woken);
    let failure = failure_with("ring.credit-without-fence", a_sender_waiting_for_a_credit_is_woken);
    assert!(failure.contains("deadlock"), "{failure}");
}

#[test]
fn a_queue_is_whole_and_what_is_published_or_freed_too_early_is_found() {
    explore(12000, a_queue_hands_over_whole_records);
    for bug in ["queue.published-too-early", "queue.freed-too-early"] {
        let failure = failure_with(bug, a_queue_hands_over_whole_records);
        assert!(!failure.contains("deadlock") && !failure.contains("executions"), "{failure}");
    }
}
