//! A producer and a consumer that die after each of their steps: the survivor goes on, and what was published is whole.
//!
//! Both sides run their script on the journal's memory; a dead side's stores no longer reach it. "Step" is one store, of
//! a control word or of eight bytes of a record.
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use synod_ring::layout::{HEADER, LINE, RECEIVER_LEN, footprint, sender_len};
use synod_ring::mailbox::control_len;
use synod_ring::returns::{Returned, Returns, returns_len};
use synod_ring::sync::journal::{Journal, Journaled, Party};
use synod_ring::wish::Wish;
use synod_ring::{ClaimError, Class, Consumer, Delivery, Flow, LaneId, Mailbox, Producer, Waiter};

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
        assert!((1..=CAPACITY / HEADER).contains(&(sent - freed)), "the ring fills up, and no further");
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

/// A mailbox, its control memory, and how lanes from other processes come into it.
struct Host {
    journal: Journal,
    control: usize,
    bells: Arc<Bells>,
    mailbox: Mailbox<Journaled>,
}

/// A lane whose sender is a party of its own: its two regions, and both ends.
struct Foreign {
    own: usize,
    peer: usize,
    id: LaneId,
    producer: Producer<Journaled>,
    received: usize,
}

impl Host {
    fn new(journal: Journal) -> Self {
        let (control, bells) = (journal.region(control_len(1, 3)), Arc::new(Bells::default()));
        let mailbox = Mailbox::new(journal.handle(control, RECEIVER), 1, 3, bells.clone()).unwrap();
        Self { journal, control, bells, mailbox }
    }

    fn foreign(&mut self, party: Party) -> Foreign {
        let (own, peer) = (self.journal.region(sender_len(CAPACITY)), self.journal.region(RECEIVER_LEN));
        let handle = |region| self.journal.handle(region, party);
        let bells = self.bells.clone();
        let producer =
            Producer::into_mailbox(handle(own), handle(peer), handle(self.control), bells).unwrap();
        let id = self.admit(own, peer);
        Foreign { own, peer, id, producer, received: 0 }
    }

    fn admit(&mut self, own: usize, peer: usize) -> LaneId {
        let handle = |region| self.journal.handle(region, RECEIVER);
        self.mailbox.admit_foreign(Class(0), handle(peer), handle(own), None).unwrap()
    }

    /// Drains all that is there; every record is whole and the next of its lane. Returns the lanes that ended.
    fn drain(&mut self, mut received: impl FnMut(LaneId) -> usize) -> Vec<LaneId> {
        let mut ended = Vec::new();
        self.mailbox.drain(usize::MAX, |id, delivery| {
            match delivery {
                Delivery::Foreign(record) => {
                    let index = received(id);
                    let mut copy = vec![0; record.len()];
                    record.copy_into(&mut copy);
                    assert_eq!((record.sequence(), copy), (index as u64, payload(index)));
                    assert_eq!(record.tag(), [index as u8; 4]);
                }
                Delivery::Record(record) => {
                    let index = received(id);
                    assert_eq!((record.sequence(), record.payload()), (index as u64, &payload(index)[..]));
                }
                Delivery::Closed(violation) => {
                    assert_eq!(violation, None);
                    ended.push(id);
                }
            }
            Flow::Next
        });
        ended
    }
}

/// Counts a record of one of a few lanes; returns how many that lane had before.
fn count<const N: usize>(lanes: [(LaneId, &mut usize); N]) -> impl FnMut(LaneId) -> usize {
    let mut lanes = lanes;
    move |id| {
        let (_, received) = lanes.iter_mut().find(|(lane, _)| *lane == id).expect("a lane of this test");
        **received += 1;
        **received - 1
    }
}

const OTHER: Party = Party(2);

#[test]
fn a_foreign_sender_that_dies_after_any_step_harms_no_other_and_its_records_arrive() {
    for steps in 0.. {
        let mut host = Host::new(Journal::new());
        let (mut victim, mut other) = (host.foreign(SENDER), host.foreign(OTHER));
        let (own, peer) = (host.journal.region(sender_len(CAPACITY)), host.journal.region(RECEIVER_LEN));
        let (own, peer) = (host.journal.handle(own, RECEIVER), host.journal.handle(peer, RECEIVER));
        let (near, mut local) = host.mailbox.port().connect(Class(0), own, peer, None).unwrap();
        let mut from_local = 0;
        let before = host.journal.taken(SENDER);
        host.journal.kill_after(SENDER, before + steps);
        for index in 0..10 {
            // It may believe that its ring is full; nobody else is held up.
            send(&mut victim.producer, index);
            assert!(send(&mut other.producer, index) && send(&mut local, index));
            host.drain(count([
                (victim.id, &mut victim.received),
                (other.id, &mut other.received),
                (near, &mut from_local),
            ]));
            assert_eq!((other.received, from_local), (index + 1, index + 1));
            assert!(host.mailbox.fall_asleep(), "nothing is left that only a dead sender could finish");
        }
        let lived = host.journal.taken(SENDER) < before + steps;
        let published = host.journal.memory(victim.own)[0];
        assert!(host.mailbox.orphan(victim.id));
        assert!(send(&mut other.producer, 10) && send(&mut local, 10));
        let ended = host.drain(count([(other.id, &mut other.received), (near, &mut from_local)]));
        assert_eq!((ended, other.received, from_local), (vec![victim.id], 11, 11));
        assert!(host.mailbox.fall_asleep());
        assert_eq!(host.journal.memory(victim.peer)[0], published, "all that it published was freed");
        let read = (0..victim.received).map(|index| footprint(payload(index).len()) as u64).sum::<u64>();
        // Less than half of every lap is padding.
        let laps = published.div_ceil(CAPACITY as u64);
        let most = read + laps * CAPACITY as u64 / 2;
        assert!(read <= published && published <= most, "{read} of {published} is records");
        if lived {
            assert_eq!(victim.received, 10, "the run in which it lived");
            assert!(steps > 10 * 5, "the enumeration covered every record: {steps} steps");
            return;
        }
    }
}

#[test]
fn a_sender_that_dies_after_any_step_of_going_over_to_another_ring_has_said_on_it_nothing_before_its_time() {
    let mut last = 0;
    for steps in 0.. {
        let mut host = Host::new(Journal::new());
        let (mut small, mut large) = (host.foreign(SENDER), host.foreign(SENDER));
        let before = host.journal.taken(SENDER);
        host.journal.kill_after(SENDER, before + steps);
        for index in 0..3 {
            send(&mut small.producer, index);
        }
        assert!(!small.producer.is_drained(), "nobody has read yet");
        for index in 0..3 {
            host.drain(count([(small.id, &mut small.received), (large.id, &mut large.received)]));
            // Whoever is dead waits for ever for the reading of what never came.
            if small.producer.is_drained() {
                send(&mut large.producer, index);
            }
        }
        host.drain(count([(small.id, &mut small.received), (large.id, &mut large.received)]));
        assert!(
            large.received == 0 || small.received == 3,
            "the smaller one first: dead after {steps} steps"
        );
        let received = small.received + large.received;
        assert!(received == last || received == last + 1, "each step publishes at most one record");
        last = received;
        assert!(host.mailbox.fall_asleep(), "nothing is left that only a dead sender could finish");
        if host.journal.taken(SENDER) < before + steps {
            assert_eq!(received, 6, "the run in which it lived");
            assert!(steps > 6 * 5, "the enumeration covered every record: {steps} steps");
            return;
        }
    }
}

#[test]
fn a_mailbox_that_dies_after_any_step_leaves_its_foreign_senders_going_until_their_rings_are_full() {
    for steps in 0.. {
        let mut host = Host::new(Journal::new());
        let (mut first, mut second) = (host.foreign(SENDER), host.foreign(OTHER));
        let before = host.journal.taken(RECEIVER);
        host.journal.kill_after(RECEIVER, before + steps);
        let (mut sent, journal) = (0, host.journal.clone());
        let dead = || journal.taken(RECEIVER) == before + steps;
        while sent < 24 && !dead() {
            assert!(send(&mut first.producer, sent) && send(&mut second.producer, sent));
            sent += 1;
            host.drain(count([(first.id, &mut first.received), (second.id, &mut second.received)]));
            assert_eq!((first.received, second.received), (sent, sent));
            assert!(host.mailbox.fall_asleep());
        }
        if !dead() {
            assert_eq!(sent, 24, "the run in which it lived");
            assert!(steps > 24 * 3, "the enumeration covered every record: {steps} steps");
            return;
        }
        let sent = [&mut first, &mut second].map(|lane| {
            let (mut more, freed) = (sent, lane.received);
            while send(&mut lane.producer, more) {
                more += 1;
            }
            assert!(more - freed <= CAPACITY / HEADER, "the ring fills up, and no further");
            let len = payload(more).len();
            assert!(lane.producer.fall_asleep(len).unwrap(), "it may wait for what the node tells");
            more
        });
        // Where it stood when it died, everything since is still there to read: nothing was written over.
        host.drain(count([(first.id, &mut first.received), (second.id, &mut second.received)]));
        assert_eq!([first.received, second.received], sent);
    }
}

#[test]
fn a_lane_handed_over_after_any_step_of_its_sender_reads_as_a_prefix_of_its_records() {
    let mut host = Host::new(Journal::new());
    let before = host.journal.steps().len();
    let mut lane = host.foreign(SENDER);
    for index in 0..3 {
        assert!(send(&mut lane.producer, index));
    }
    drop(lane.producer);
    let (mut last, steps) = (0, host.journal.steps());
    for prefix in before..=steps.len() {
        let mut replayed = Host::new(host.journal.replay(prefix));
        let (id, mut received) = (replayed.admit(lane.own, lane.peer), 0);
        let ended = replayed.drain(count([(id, &mut received)]));
        assert!(received == last || received == last + 1, "each step publishes at most one record");
        assert_eq!(!ended.is_empty(), prefix == steps.len(), "the last step is the end");
        assert!(replayed.mailbox.fall_asleep());
        last = received;
    }
    assert_eq!(last, 3);
}

#[test]
fn who_sends_into_a_foreign_mailbox_stores_in_its_own_region_alone_and_so_does_the_mailbox() {
    let mut host = Host::new(Journal::new());
    let mut lane = host.foreign(SENDER);
    let wishes = host.journal.region(LINE);
    let wish = Wish::new(host.journal.handle(wishes, SENDER), 0).unwrap();
    for index in 0..40 {
        wish.say();
        if !send(&mut lane.producer, index) {
            assert!(lane.producer.fall_asleep(payload(index).len()).unwrap());
            host.drain(count([(lane.id, &mut lane.received)]));
            assert!(send(&mut lane.producer, index));
        }
        wish.drop_it();
    }
    host.drain(count([(lane.id, &mut lane.received)]));
    assert!(host.mailbox.fall_asleep());
    host.mailbox.wake_up();
    let Foreign { own, peer, id, producer, .. } = lane;
    drop(producer);
    assert_eq!(host.drain(count([])), [id]);
    for step in host.journal.steps() {
        let whose = if [own, wishes].contains(&step.region) { SENDER } else { RECEIVER };
        let host = host.control;
        assert_eq!(
            step.party, whose,
            "{step:?}: {own} and {wishes} are the sender's, {peer} and {host} are not"
        );
    }
}

#[test]
fn a_receiver_that_dies_after_any_step_has_given_back_a_prefix_of_what_it_meant_to() {
    const NAMES: [u64; 6] = [11, 12, 13, 14, 15, 16];
    for steps in 0.. {
        let journal = Journal::new();
        let region = journal.region(returns_len(4));
        let mut returns = Returns::new(journal.handle(region, RECEIVER), 0, 4).unwrap();
        let mut returned = Returned::new(journal.handle(region, SENDER), 0, 4).unwrap();
        let before = journal.taken(RECEIVER);
        journal.kill_after(RECEIVER, before + steps);
        let mut back = Vec::new();
        for name in NAMES {
            returns.give(name);
            returned.collect(|name| back.push(name)).unwrap();
        }
        assert_eq!(back, NAMES[..back.len()], "dead after {steps} steps");
        if journal.taken(RECEIVER) < before + steps {
            assert_eq!(back.len(), NAMES.len(), "the run in which it lived");
            return;
        }
        assert_eq!(back.len(), steps / 2, "two steps a name");
    }
}
