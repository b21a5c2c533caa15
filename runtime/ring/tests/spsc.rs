//! Scenarios of one ring on one thread: what each side sees, what is refused, and which lies a hostile peer is named for.
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use synod_ring::layout::{LINE, RECEIVER_LEN, footprint, sender_len};
use synod_ring::spsc::{ForeignConsumer, Waiters, channel, heap};
use synod_ring::{
    ClaimError, Consumer, Hardware, LayoutError, Memory, Producer, Tag, Taken, Violation, Waiter,
};

const TAG: Tag = [1, 2, 3, 4];

fn ring(capacity: usize) -> (Producer, Consumer) {
    heap(capacity, Waiters::default()).unwrap()
}

fn send(producer: &mut Producer, payload: &[u8]) -> u64 {
    let sequence = producer.push(TAG, payload).unwrap();
    producer.publish();
    sequence
}

fn receive(consumer: &mut Consumer) -> Option<Vec<u8>> {
    let record = consumer.peek().unwrap()?;
    let payload = record.payload().to_vec();
    record.free();
    Some(payload)
}

#[test]
fn a_record_arrives_with_its_tag_and_sequence_and_stays_until_it_is_freed() {
    let (mut producer, mut consumer) = ring(1024);
    assert_eq!(send(&mut producer, b"hello"), 0);
    for _ in 0..2 {
        let record = consumer.peek().unwrap().unwrap();
        assert_eq!((record.payload(), record.tag(), record.sequence()), (&b"hello"[..], TAG, 0));
    }
    assert_eq!(receive(&mut consumer).as_deref(), Some(&b"hello"[..]));
    assert_eq!(receive(&mut consumer), None);
}

#[test]
fn committed_records_are_seen_only_when_they_are_published_and_then_all_at_once() {
    let (mut producer, mut consumer) = ring(1024);
    for index in 0..3u8 {
        producer.push(TAG, &[index]).unwrap();
        assert_eq!(receive(&mut consumer), None);
    }
    producer.publish();
    for index in 0..3u8 {
        assert_eq!(receive(&mut consumer), Some(vec![index]));
    }
}

#[test]
fn a_batch_arrives_in_order_and_a_drain_takes_as_many_as_asked() {
    let (mut producer, mut consumer) = ring(4096);
    for lap in 0..50u64 {
        let mut batch = producer.batch();
        for index in 0..7u8 {
            assert_eq!(
                batch.push(TAG, &vec![index; 30 * usize::from(index)]),
                Ok(lap * 7 + u64::from(index))
            );
        }
        assert!(matches!(batch.push(TAG, &[0; 9999]), Err(ClaimError::TooLarge { len: 9999, .. })));
        batch.publish();
        let mut lengths = Vec::new();
        let mut note = |record: &synod_ring::Record<'_>| {
            assert_eq!(record.sequence(), lap * 7 + lengths.len() as u64);
            lengths.push(record.payload().len());
            Taken::Yes
        };
        assert_eq!(consumer.drain(5, &mut note), Ok(5));
        assert_eq!(consumer.drain(5, &mut note), Ok(2));
        assert_eq!(consumer.drain(5, &mut note), Ok(0));
        assert_eq!(lengths, [0, 30, 60, 90, 120, 150, 180]);
    }
}

#[test]
fn a_batch_that_is_dropped_sends_nothing_and_breaks_nothing() {
    let (mut producer, mut consumer) = ring(256);
    for lap in 0..40u64 {
        let mut batch = producer.batch();
        while batch.push(TAG, &[0xEE; 112]).is_ok() {}
        assert_eq!(producer.used(), 0);
        assert_eq!(send(&mut producer, &[lap as u8; 112]), lap);
        assert_eq!(receive(&mut consumer), Some(vec![lap as u8; 112]));
        assert!(consumer.peek().unwrap().is_none());
        producer.claim(112).unwrap().payload().fill(0);
    }
}

#[test]
fn a_drain_ends_at_a_record_that_is_kept_in_place() {
    let (mut producer, mut consumer) = ring(1024);
    (0..3u8).for_each(|index| {
        send(&mut producer, &[index]);
    });
    let keep = |record: &synod_ring::Record<'_>| {
        if record.payload()[0] == 1 { Taken::No } else { Taken::Yes }
    };
    assert_eq!(consumer.drain(9, keep), Ok(1));
    assert_eq!(consumer.drain(9, keep), Ok(0));
    assert_eq!(receive(&mut consumer), Some(vec![1]));
    assert_eq!(consumer.drain(9, keep), Ok(1));
}

#[test]
fn a_claim_that_is_dropped_sends_nothing_and_costs_no_space() {
    let (mut producer, mut consumer) = ring(256);
    for _ in 0..100 {
        producer.claim(100).unwrap().payload().fill(7);
    }
    assert_eq!(producer.used(), 0);
    assert_eq!(send(&mut producer, b"first"), 0);
    assert_eq!(receive(&mut consumer).as_deref(), Some(&b"first"[..]));
}

#[test]
fn a_full_ring_refuses_and_takes_again_what_was_freed() {
    let (mut producer, mut consumer) = ring(256);
    for index in 0..4u8 {
        send(&mut producer, &[index; 48]);
    }
    assert_eq!(producer.push(TAG, b"x"), Err(ClaimError::Full));
    assert_eq!(receive(&mut consumer), Some(vec![0; 48]));
    assert_eq!(send(&mut producer, &[4; 48]), 4);
    assert_eq!(producer.claim(0).err(), Some(ClaimError::Full));
}

#[test]
fn the_largest_payload_fits_wherever_the_tail_stands_and_one_byte_more_never() {
    let (mut producer, mut consumer) = ring(1024);
    let largest = producer.largest();
    assert_eq!(
        producer.push(TAG, &vec![0; largest + 1]),
        Err(ClaimError::TooLarge { len: largest + 1, largest })
    );
    for lines in 0..32 {
        for _ in 0..lines {
            send(&mut producer, b"step");
            receive(&mut consumer).unwrap();
        }
        let payload: Vec<u8> = (0..largest).map(|byte| (byte + lines) as u8).collect();
        send(&mut producer, &payload);
        assert_eq!(receive(&mut consumer), Some(payload));
    }
}

#[test]
fn a_receiver_learns_of_the_end_after_the_last_record() {
    let (mut producer, mut consumer) = ring(1024);
    producer.push(TAG, b"last words").unwrap();
    assert!(!consumer.ended().unwrap());
    drop(producer);
    assert!(!consumer.ended().unwrap(), "committed before the end, so published by it");
    assert_eq!(receive(&mut consumer).as_deref(), Some(&b"last words"[..]));
    assert!(consumer.ended().unwrap());
    assert!(!consumer.fall_asleep().unwrap(), "nobody would wake it");
}

#[test]
fn a_sender_learns_that_the_receiver_is_gone() {
    let (mut producer, consumer) = ring(256);
    assert!(!producer.is_closed());
    drop(consumer);
    assert!(producer.is_closed());
    for _ in 0..4 {
        producer.push(TAG, &[0; 48]).unwrap();
    }
    assert_eq!(producer.push(TAG, b"nobody"), Err(ClaimError::Closed));
}

#[derive(Default)]
struct Bells(AtomicUsize);

impl Waiter for Bells {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn the_bell_is_rung_for_a_sleeper_only() {
    let bells = Arc::new(Bells::default());
    let rung = || bells.0.load(Ordering::Relaxed);
    let (mut producer, mut consumer) =
        heap(1024, Waiters { records: Some(bells.clone()), space: None }).unwrap();
    send(&mut producer, b"a");
    assert_eq!(rung(), 0);
    assert!(!consumer.fall_asleep().unwrap(), "something is there");
    receive(&mut consumer).unwrap();
    assert!(consumer.fall_asleep().unwrap());
    producer.push(TAG, b"b").unwrap();
    assert_eq!(rung(), 0, "not published yet");
    producer.publish();
    assert_eq!(rung(), 1);
    receive(&mut consumer).unwrap();
    send(&mut producer, b"c");
    assert_eq!(rung(), 1, "awake again");
}

#[test]
fn a_sender_that_waits_for_space_is_woken_when_enough_was_freed_to_be_told() {
    let bells = Arc::new(Bells::default());
    let rung = || bells.0.load(Ordering::Relaxed);
    let (mut producer, mut consumer) =
        heap(1024, Waiters { records: None, space: Some(bells.clone()) }).unwrap();
    assert!(!producer.fall_asleep(8).unwrap(), "there is space");
    while producer.push(TAG, &[0; 48]).is_ok() {}
    assert!(producer.fall_asleep(8).unwrap());
    receive(&mut consumer).unwrap();
    assert_eq!(rung(), 0, "an eighth of the ring at a time");
    receive(&mut consumer).unwrap();
    assert_eq!(rung(), 1);
    producer.push(TAG, b"y").unwrap();
    while receive(&mut consumer).is_some() {}
    assert_eq!(rung(), 1, "awake again");
}

#[test]
fn regions_that_make_no_ring_are_refused() {
    let memory = |len| Hardware::heap(len).unwrap();
    let refused = |sender, receiver| channel(memory(sender), memory(receiver), Waiters::default()).err();
    assert_eq!(refused(sender_len(1000), RECEIVER_LEN), Some(LayoutError::Capacity { capacity: 1000 }));
    assert_eq!(
        refused(sender_len(1024), 128),
        Some(LayoutError::TooShort { len: 128, needed: RECEIVER_LEN })
    );
}

/// A consumer and the raw memory of a sender who keeps no rule: words 0 is the tail, data starts at `DATA`.
struct Hostile {
    memory: Hardware,
    consumer: Consumer,
}

const DATA: usize = sender_len(0);

impl Hostile {
    fn new() -> Self {
        let memory = Hardware::heap(sender_len(1024)).unwrap();
        let own = Hardware::heap(RECEIVER_LEN).unwrap();
        let consumer = Consumer::over(own, memory.clone(), None).unwrap();
        Self { memory, consumer }
    }

    fn put(&self, at: usize, word: u64) {
        // SAFETY: every caller gives an aligned word inside the region.
        unsafe { self.memory.store(at, word, Ordering::Release) };
    }

    fn record(&self, position: usize, len: u32, sequence: u64) {
        self.put(DATA + position % 1024, u64::from(len));
        self.put(DATA + position % 1024 + 8, sequence);
    }

    /// What the consumer says now, and asserts that it says so from then on.
    fn violation(&mut self) -> Violation {
        let first = self.consumer.peek().err().expect("a violation");
        self.put(0, 64);
        assert_eq!(self.consumer.peek().err(), Some(first), "a broken ring stays broken");
        assert_eq!(self.consumer.fall_asleep(), Err(first));
        first
    }

    fn take(&mut self) {
        self.consumer.peek().unwrap().unwrap().free();
    }
}

#[test]
fn a_tail_that_lies_is_named() {
    let mut hostile = Hostile::new();
    hostile.put(0, 1024 + 64);
    let found = 1024 + 64;
    assert_eq!(hostile.violation(), Violation::TailTooFar { head: 0, found, capacity: 1024 });

    let mut hostile = Hostile::new();
    hostile.put(0, 65);
    assert_eq!(hostile.violation(), Violation::Misaligned { found: 65 });

    let mut hostile = Hostile::new();
    hostile.record(0, 100, 0);
    hostile.put(0, 128);
    hostile.take();
    hostile.put(0, 64);
    assert_eq!(hostile.violation(), Violation::TailWentBack { known: 128, found: 64 });
}

#[test]
fn a_length_that_lies_is_named_before_anything_is_read_by_it() {
    for len in [49, 1000, u32::MAX - 1, 1 << 31] {
        let mut hostile = Hostile::new();
        hostile.record(0, len, 0);
        hostile.put(0, 64);
        assert_eq!(hostile.violation(), Violation::RecordTooLong { at: 0, len, published: 64 });
    }
    // Published, but around the end of the ring.
    let mut hostile = Hostile::new();
    for position in (0..896).step_by(64) {
        hostile.record(position, 48, position as u64 / 64);
    }
    hostile.record(896, 200, 14);
    hostile.put(0, 896);
    (0..14).for_each(|_| hostile.take());
    hostile.put(0, 1024 + 512);
    assert_eq!(hostile.violation(), Violation::RecordTooLong { at: 896, len: 200, published: 128 });
    // Padding up to the end of the lap, of which only a part was published.
    let mut hostile = Hostile::new();
    hostile.record(0, u32::MAX, 0);
    hostile.put(0, 128);
    assert_eq!(hostile.violation(), Violation::RecordTooLong { at: 0, len: u32::MAX, published: 128 });
}

#[test]
fn a_sender_that_publishes_nothing_but_padding_is_named_and_does_not_keep_its_reader_at_skipping() {
    let mut hostile = Hostile::new();
    hostile.record(0, u32::MAX, 0);
    hostile.put(0, 1024);
    assert_eq!(hostile.violation(), Violation::RecordTooLong { at: 0, len: u32::MAX, published: 1024 });
    // As little before the end of the lap as an honest sender leaves, it is padding.
    let mut hostile = Hostile::new();
    for position in (0..576).step_by(64) {
        hostile.record(position, 48, position as u64 / 64);
    }
    hostile.record(576, u32::MAX, 9);
    hostile.put(0, 1024);
    (0..9).for_each(|_| hostile.take());
    assert!(hostile.consumer.peek().unwrap().is_none());
    hostile.record(1024, 8, 9);
    hostile.put(0, 1024 + 64);
    hostile.take();
}

#[test]
fn a_sequence_that_skips_is_named() {
    let mut hostile = Hostile::new();
    hostile.record(0, 48, 0);
    hostile.record(64, 48, 2);
    hostile.put(0, 128);
    hostile.take();
    assert_eq!(hostile.violation(), Violation::Sequence { at: 64, expected: 1, found: 2 });
}

#[test]
fn a_head_that_lies_is_named_to_the_sender() {
    for (found, known) in [(4096, 0), (63, 0), (320, 0)] {
        let own = Hardware::heap(sender_len(256)).unwrap();
        let peer = Hardware::heap(RECEIVER_LEN).unwrap();
        let mut producer = Producer::over(own, peer.clone(), None).unwrap();
        while producer.push(TAG, b"x").is_ok() {}
        producer.publish();
        // SAFETY: the head is the first word of the receiver's region.
        unsafe { peer.store(0, found, Ordering::Release) };
        let refused = Err(ClaimError::Violation(Violation::Head { known, found, tail: 256 }));
        assert_eq!(producer.push(TAG, b"x"), refused);
        // SAFETY: as above.
        unsafe { peer.store(0, 64, Ordering::Release) };
        assert_eq!(producer.push(TAG, b"x"), refused, "a broken ring stays broken");
    }
}

#[test]
fn a_foreign_record_is_copied_out_whole_at_every_length() {
    let (sender, receiver) =
        (Hardware::heap(sender_len(4096)).unwrap(), Hardware::heap(RECEIVER_LEN).unwrap());
    let mut producer = Producer::over(sender.clone(), receiver.clone(), None).unwrap();
    let mut foreign = ForeignConsumer::over(receiver, sender, None).unwrap();
    for len in 0..300usize {
        let payload: Vec<u8> = (0..len).map(|byte| byte as u8 ^ len as u8).collect();
        send(&mut producer, &payload);
        let peeked = foreign.peek().unwrap().unwrap();
        let record = peeked.record();
        assert_eq!((record.len(), record.tag(), record.sequence()), (len, TAG, len as u64));
        let mut copy = b"before".to_vec();
        record.copy_to(&mut copy);
        assert_eq!(&copy[..6], b"before");
        assert_eq!(&copy[6..], payload);
        let mut exact = vec![0; len];
        record.copy_into(&mut exact);
        assert_eq!(exact, payload);
        peeked.free();
    }
    assert!(foreign.peek().unwrap().is_none());
}

#[test]
fn space_is_counted_in_sixteens() {
    let (mut producer, _consumer) = ring(1024);
    producer.push(TAG, &[0; 48]).unwrap();
    assert_eq!(producer.used(), LINE);
    producer.push(TAG, &[0; 49]).unwrap();
    assert_eq!(producer.used(), LINE + footprint(49));
}
