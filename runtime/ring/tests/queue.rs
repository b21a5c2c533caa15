//! The queue that outlives its processes: against a model with ends that die and come again at any time, after each of their
//! steps, and in memory into which somebody else writes.
#![cfg(not(loom))]

use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use synod_ring::queue::{
    CONTROL, Damage, OpenError, PutError, Reader, Writer, footprint, largest_payload, make, memory_len,
};
use synod_ring::sync::journal::{Journal, Journaled, Party};
use synod_ring::{Hardware, LayoutError, Memory};

/// FNV-1a, which goes on where it stopped as a CRC does: the queue takes any.
fn sum(before: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(before, |sum, byte| (sum ^ 0x811c_9dc5 ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn queue(capacity: usize) -> Hardware {
    let memory = Hardware::heap(memory_len(capacity).unwrap()).unwrap();
    make(&memory).unwrap();
    memory
}

fn payload(number: u64, len: usize) -> Vec<u8> {
    (0..len).map(|byte| (number as usize).wrapping_mul(31).wrapping_add(byte) as u8).collect()
}

#[derive(Clone, Debug)]
enum Action {
    Put(usize),
    Peek,
    Free,
    NewWriter,
    NewReader,
}

fn action(capacity: usize) -> impl Strategy<Value = Action> {
    let largest = largest_payload(capacity);
    let len = prop_oneof![4 => 0..=100usize, 2 => 0..=largest, 1 => largest - 8..=largest + 8];
    prop_oneof![
        8 => len.prop_map(Action::Put),
        2 => Just(Action::Peek),
        8 => Just(Action::Free),
        1 => Just(Action::NewWriter),
        1 => Just(Action::NewReader),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_queue_is_a_queue_whenever_its_ends_are_opened_anew(
        (power, actions) in (8u32..13).prop_flat_map(|power| {
            (Just(power), prop::collection::vec(action(1 << power), 1..400))
        })
    ) {
        let capacity = 1usize << power;
        let memory = queue(capacity);
        let mut writer = Writer::open(memory.clone(), sum).unwrap();
        let mut reader = Reader::open(memory.clone(), sum).unwrap();
        let mut model: VecDeque<(u64, u64, Vec<u8>)> = VecDeque::new();
        let (mut number, mut end) = (0u64, 0u64);
        for action in actions {
            match action {
                Action::Put(len) => {
                    let bytes = payload(number, len);
                    let used: usize = model.iter().map(|(.., bytes)| footprint(bytes.len())).sum();
                    match writer.put((number as u32).to_le_bytes(), &bytes) {
                        Ok(at) => {
                            prop_assert_eq!(at, end);
                            prop_assert!(used + footprint(len) <= capacity);
                            end += footprint(len) as u64;
                            model.push_back((at, number, bytes));
                            number += 1;
                        }
                        Err(PutError::TooLarge { largest, .. }) => prop_assert!(len > largest),
                        Err(PutError::Full) => prop_assert!(used + footprint(len) > capacity),
                        Err(other) => prop_assert!(false, "{}", other),
                    }
                }
                Action::Peek | Action::Free => match (reader.peek().unwrap(), model.front()) {
                    (Some(record), Some((at, number, bytes))) => {
                        prop_assert_eq!(record.position(), *at);
                        prop_assert_eq!(record.tag(), (*number as u32).to_le_bytes());
                        prop_assert_eq!(record.payload(), &bytes[..]);
                        if matches!(action, Action::Free) {
                            record.free();
                            model.pop_front();
                        }
                    }
                    (None, None) => prop_assert!(writer.is_drained().unwrap()),
                    (record, expected) => prop_assert!(
                        false, "{:?} where {:?} was expected", record.map(|r| r.position()), expected
                    ),
                },
                Action::NewWriter => {
                    writer = Writer::open(memory.clone(), sum).unwrap();
                    prop_assert_eq!(writer.position(), end);
                }
                Action::NewReader => reader = Reader::open(memory.clone(), sum).unwrap(),
            }
        }
    }

    #[test]
    fn whatever_is_written_over_a_queue_reads_as_what_was_put_or_is_told_by_name(
        puts in prop::collection::vec(0..120usize, 1..40),
        scribbles in prop::collection::vec(
            (0..40usize, prop_oneof![0..CONTROL / 8, 0..(CONTROL + 512) / 8, Just(0), Just(1), Just(16), Just(32)],
             prop_oneof![any::<u64>(), 0..2048u64, (0..64u64).prop_map(|line| line * 64), (0..64u64).prop_map(|bit| 1 << bit)],
             any::<bool>()),
            1..6,
        ),
    ) {
        let memory = queue(512);
        let mut writer = Writer::open(memory.clone(), sum).unwrap();
        let mut reader = Reader::open(memory.clone(), sum).unwrap();
        let mut sent = Vec::new();
        for (round, len) in puts.into_iter().enumerate() {
            for (_, word, value, flips) in scribbles.iter().filter(|(when, ..)| *when == round) {
                let at = word * 8;
                // SAFETY: an aligned word inside the memory.
                unsafe {
                    let before = if *flips { memory.load(at, Ordering::Relaxed) } else { 0 };
                    memory.store(at, before ^ value, Ordering::Relaxed);
                }
            }
            let bytes = payload(round as u64, len);
            if writer.put([1; 4], &bytes).is_ok() {
                sent.push(bytes);
            }
            match reader.peek() {
                // A position moved to another true one skips or repeats; what is read was put all the same.
                Ok(Some(record)) => {
                    prop_assert!(sent.iter().any(|bytes| bytes == record.payload()));
                    record.free();
                }
                Ok(None) => {}
                Err(damage) => prop_assert_eq!(reader.peek().err(), Some(damage), "it stays broken"),
            }
            // A new end opens, or says why not.
            drop((Writer::open(memory.clone(), sum), Reader::open(memory.clone(), sum)));
        }
    }
}

#[test]
fn memory_that_holds_no_queue_is_refused_by_what_it_is() {
    let open = |memory: &Hardware| Writer::open(memory.clone(), sum).err().unwrap();
    let put = |memory: &Hardware, at: usize, value: u64| {
        // SAFETY: every caller gives an aligned word inside the memory.
        unsafe { memory.store(at, value, Ordering::Relaxed) }
    };
    let blank = Hardware::heap(memory_len(256).unwrap()).unwrap();
    assert_eq!(open(&blank), OpenError::Unmade);
    assert_eq!(Reader::open(blank.clone(), sum).err(), Some(OpenError::Unmade));
    let short = Hardware::heap(100).unwrap();
    assert_eq!(open(&short), OpenError::Layout(LayoutError::TooShort { len: 100, needed: CONTROL }));
    assert_eq!(make(&short), Err(LayoutError::Capacity { capacity: 0 }));
    assert_eq!(memory_len(300), Err(LayoutError::Capacity { capacity: 300 }));

    let memory = queue(256);
    put(&memory, 8, 512);
    assert_eq!(open(&memory), OpenError::Size { capacity: 512, len: 640 });
    put(&memory, 8, 256);
    put(&memory, 128, 64 * 5);
    let damage = Damage::Positions { head: 0, tail: 64 * 5, capacity: 256 };
    assert_eq!(open(&memory), OpenError::Damage(damage));
    put(&memory, 0, u64::from_le_bytes(*b"SYNODMQ\x02"));
    assert_eq!(open(&memory), OpenError::Version { found: 2 });
    put(&memory, 0, 7);
    assert_eq!(open(&memory), OpenError::Alien { found: 7 });
}

#[test]
fn a_head_that_goes_back_or_past_the_tail_stops_its_writer_for_good() {
    for head in [0, 64 * 3, 65] {
        let memory = queue(256);
        let mut writer = Writer::open(memory.clone(), sum).unwrap();
        let mut reader = Reader::open(memory.clone(), sum).unwrap();
        for _ in 0..2 {
            writer.put([0; 4], b"work").unwrap();
        }
        reader.peek().unwrap().unwrap().free();
        assert_eq!(writer.is_drained(), Ok(false));
        // SAFETY: an aligned word inside the memory.
        unsafe { memory.store(256, head, Ordering::Relaxed) };
        let damage = Damage::Positions { head, tail: 128, capacity: 256 };
        assert_eq!(writer.is_drained(), Err(damage));
        assert_eq!(writer.put([0; 4], &[0; 200]), Err(PutError::Damage(damage)));
    }
}

#[test]
fn one_turned_bit_of_a_record_is_found() {
    for bit in 0..8 * (24 + 40) {
        let memory = queue(256);
        Writer::open(memory.clone(), sum).unwrap().put([3; 4], &payload(1, 40)).unwrap();
        let at = CONTROL + bit / 64 * 8;
        // SAFETY: an aligned word inside the memory.
        unsafe {
            let word = memory.load(at, Ordering::Relaxed);
            memory.store(at, word ^ 1 << (bit % 64), Ordering::Relaxed);
        }
        let mut reader = Reader::open(memory, sum).unwrap();
        // Four bytes of the header mean nothing.
        let unused = (32..64).contains(&bit);
        assert_eq!(reader.peek().is_ok(), unused, "bit {bit}");
    }
}

const WRITER: Party = Party(0);
const READER: Party = Party(1);
const CAPACITY: usize = 256;

/// Lengths that fill lines, cross them and run over the end of the data.
const LENGTHS: [usize; 8] = [0, 40, 41, 100, 7, 200, 40, 60];

fn numbered(number: usize) -> Vec<u8> {
    vec![number as u8 + 1; LENGTHS[number % LENGTHS.len()]]
}

fn journalled() -> (Journal, usize) {
    let journal = Journal::new();
    let region = journal.region(memory_len(CAPACITY).unwrap());
    (journal, region)
}

/// Takes all that is there, each the next one or, once after `again`, one that was taken before.
fn take_all(reader: &mut Reader<Journaled>, taken: &mut usize, mut again: bool) {
    while let Some(record) = reader.peek().unwrap() {
        let number = record.tag()[0] as usize;
        if again && number + 1 == *taken {
            assert_eq!(record.payload(), numbered(number));
            record.free();
        } else {
            assert_eq!(number, *taken, "none is lost, none comes out of order");
            assert_eq!(record.payload(), numbered(number));
            record.free();
            *taken += 1;
        }
        again = false;
    }
}

#[test]
fn a_writer_that_dies_after_any_step_is_followed_by_one_that_goes_on() {
    let mut last = 0;
    for steps in 0.. {
        let (journal, region) = journalled();
        let mut next = Party(2);
        let memory = journal.handle(region, WRITER);
        journal.kill_after(WRITER, steps);
        make(&memory).unwrap();
        let mut taken = 0;
        if let Ok(mut writer) = Writer::open(memory, sum) {
            for number in 0..8 {
                // What a dead one believes does not count; alive, it never finds the queue full.
                let put = writer.put([number as u8; 4], &numbered(number));
                let mut reader = Reader::open(journal.handle(region, READER), sum).unwrap();
                take_all(&mut reader, &mut taken, false);
                assert!(put.is_ok() || taken < number);
            }
        }
        assert!(taken >= last, "a later death never loses an earlier record");
        last = taken;
        let lived = journal.taken(WRITER) < steps;
        // Whoever comes next goes on with the first that was not published.
        let mut follow = || {
            next = Party(next.0 + 1);
            journal.handle(region, next)
        };
        if Writer::open(follow(), sum).err() == Some(OpenError::Unmade) {
            make(&follow()).unwrap();
        }
        let mut writer = Writer::open(follow(), sum).unwrap();
        let mut reader = Reader::open(journal.handle(region, READER), sum).unwrap();
        while taken < 12 {
            let number = taken;
            writer.put([number as u8; 4], &numbered(number)).unwrap();
            take_all(&mut reader, &mut taken, false);
        }
        assert_eq!(taken, 12);
        if lived {
            assert!(steps > 8 * 4, "the enumeration covered every record: {steps} steps");
            return;
        }
    }
}

#[test]
fn a_reader_that_dies_after_any_step_is_followed_by_one_that_repeats_one_record_at_most() {
    for steps in 0.. {
        let (journal, region) = journalled();
        let memory = journal.handle(region, WRITER);
        make(&memory).unwrap();
        let mut writer = Writer::open(memory, sum).unwrap();
        journal.kill_after(READER, steps);
        let mut reader = Reader::open(journal.handle(region, READER), sum).unwrap();
        let (mut taken, mut number) = (0, 0);
        // Until it dies: what it frees then, nobody sees.
        while number < 12 && journal.taken(READER) == number {
            writer.put([number as u8; 4], &numbered(number)).unwrap();
            number += 1;
            take_all(&mut reader, &mut taken, false);
        }
        let died = journal.taken(READER) < number;
        let mut reader = Reader::open(journal.handle(region, Party(2)), sum).unwrap();
        take_all(&mut reader, &mut taken, died);
        assert_eq!(taken, number);
        if !died {
            assert!(steps >= 12, "the enumeration covered every record: {steps} steps");
            return;
        }
    }
}

#[test]
fn the_memory_after_any_prefix_of_both_ends_steps_reads_as_some_records_in_a_row() {
    let (journal, region) = journalled();
    let memory = journal.handle(region, WRITER);
    make(&memory).unwrap();
    let made = journal.steps().len();
    let mut writer = Writer::open(memory, sum).unwrap();
    let mut reader = Reader::open(journal.handle(region, READER), sum).unwrap();
    for number in 0..16 {
        while writer.put([number as u8; 4], &numbered(number)) == Err(PutError::Full) {
            reader.peek().unwrap().unwrap().free();
        }
    }
    for prefix in 0..=journal.steps().len() {
        let replayed = journal.replay(prefix);
        let opened = Reader::open(replayed.handle(region, READER), sum);
        if prefix < made {
            assert_eq!(opened.err(), Some(OpenError::Unmade), "after {prefix} steps");
            continue;
        }
        let mut reader = opened.unwrap();
        let mut expected = None;
        while let Some(record) = reader.peek().unwrap() {
            let number = record.tag()[0] as usize;
            assert_eq!(number, expected.unwrap_or(number), "after {prefix} steps");
            assert_eq!(record.payload(), numbered(number));
            expected = Some(number + 1);
            record.free();
        }
    }
}
