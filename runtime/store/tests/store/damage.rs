//! Segments cut, spoiled and misdirected: what is read is a first part of what was written, each record in its place, and what was
//! durable is never missed in silence.

use proptest::prelude::*;
use synod_store::format::{BATCH_HEADER, BLOCK, Batch, Header, Kind, Record, aligned};
use synod_store::scan::{Scan, Scanner, scan, verdict};

const SECTOR: usize = 512;

/// A record as a test keeps it: where it lies, its index, its payload.
type Kept = (u32, u64, Vec<u8>);

/// A segment of these batches, each a list of payloads; each batch marks all before it as durable.
struct Segment {
    bytes: Vec<u8>,
    header: Header,
    kept: Vec<Kept>,
    /// How many records were durable for certain when the last batch was written.
    proven: usize,
    /// Where each batch begins, and where the last one ends.
    begins: Vec<usize>,
}

fn segment(batches: &[Vec<Vec<u8>>], sealed: bool) -> Segment {
    let header = Header { epoch: 2, salt: 77, len: 64 * BLOCK as u64, number: 1, key: None };
    let mut bytes = vec![0; header.len as usize];
    header.encode(&mut bytes);
    let (mut at, mut kept, mut proven, mut begins) = (BLOCK, Vec::new(), 0, vec![BLOCK]);
    for batch in batches {
        proven = kept.len();
        let mut offset = at + BATCH_HEADER;
        for payload in batch {
            let index = kept.len() as u64 + 1;
            let record = Record { log: 1, kind: Kind::Entry, index, stamp: index, payload };
            record.encode(header.seed(), offset as u32, &mut bytes[offset..]);
            kept.push((offset as u32, index, payload.clone()));
            offset += record.size();
        }
        let records = batch.len() as u32;
        let head =
            Batch { len: (offset - at) as u32, records, durable: at as u32, number: proven as u64 + 1 };
        head.encode(header.seed(), at as u32, &mut bytes[at..]);
        at = aligned(offset);
        begins.push(at);
    }
    if sealed {
        let number = kept.len() as u64 + 1;
        let seal = Batch { len: BATCH_HEADER as u32, records: 0, durable: at as u32, number };
        seal.encode(header.seed(), at as u32, &mut bytes[at..]);
    }
    Segment { bytes, header, kept, proven: if sealed { usize::MAX } else { proven }, begins }
}

impl Segment {
    /// What must hold of bytes that are no longer what was written.
    fn check(&self, spoiled: &[u8]) {
        let mut read = Vec::new();
        let found = scan(spoiled, &self.header, |offset, record| {
            read.push((offset, record.index, record.payload.to_vec()));
        });
        assert!(self.kept.starts_with(&read), "what is read is a first part of what was written");
        for step in [1000, BLOCK, 3 * BLOCK + 17] {
            assert_eq!(in_pieces(spoiled, &self.header, step), (found, read.len()), "in steps of {step}");
        }
        assert_eq!(found.number, read.len() as u64 + 1);
        let whole = read.len() == self.kept.len();
        if verdict(&found, true).is_ok() {
            assert!(whole || read.len() >= self.proven, "what was proven durable is missed in silence");
        }
        if verdict(&found, false).is_ok() {
            assert!(whole, "a segment that is not the last has an end");
        }
    }
}

/// What a scan finds that is shown so many bytes more at a time, and how many records.
fn in_pieces(bytes: &[u8], header: &Header, step: usize) -> (Scan, usize) {
    let (mut scanner, mut records) = (Scanner::new(header), 0);
    let (mut from, mut to) = (BLOCK, BLOCK);
    while to < bytes.len() {
        to = bytes.len().min(to + step);
        from += scanner.take(&bytes[from..to], to == bytes.len(), |_, _| records += 1);
    }
    (scanner.found, records)
}

fn batches() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    let payload = prop_oneof![prop::collection::vec(any::<u8>(), 0..60), Just(vec![7; 5000])];
    prop::collection::vec(prop::collection::vec(payload, 1..5), 0..5)
}

proptest! {
    #[test]
    fn a_segment_spoiled_anywhere_gives_a_first_part_or_is_called_damaged(
        batches in batches(), sealed: bool, at: prop::sample::Index, bit in 0u8..8
    ) {
        let segment = segment(&batches, sealed);
        segment.check(&segment.bytes);
        let mut spoiled = segment.bytes.clone();
        // Behind the header, whose copies have tests of their own.
        let at = BLOCK + at.index(*segment.begins.last().unwrap());
        spoiled[at] ^= 1 << bit;
        segment.check(&spoiled);
    }

    #[test]
    fn a_segment_of_which_a_batch_is_torn_gives_a_first_part_or_is_called_damaged(
        batches in batches(), sealed: bool, which: prop::sample::Index, lost in prop::collection::vec(any::<bool>(), 1..30)
    ) {
        let segment = segment(&batches, sealed);
        let begins = segment.begins.windows(2).collect::<Vec<_>>();
        prop_assume!(!begins.is_empty());
        let batch = begins[which.index(begins.len())];
        let mut torn = segment.bytes.clone();
        for (from, _) in (batch[0]..batch[1]).step_by(SECTOR).zip(lost.iter().cycle()).filter(|(_, lost)| **lost) {
            torn[from..from + SECTOR].fill(0);
        }
        segment.check(&torn);
    }
}

/// Each sector of the second batch in turn is written over each other one that is there by then, and the old content stays where it
/// belongs; then the third batch is written.
fn misdirect_everything() {
    // Payloads of such a length that each sector holds one record's header at the same place.
    let batches = vec![vec![vec![0; SECTOR - 32]; 7]; 3];
    let segment = segment(&batches, false);
    let [first, second, third] = segment.begins[..3] else { panic!("three batches") };
    for from in (second..third).step_by(SECTOR) {
        for to in (first..third).step_by(SECTOR).filter(|to| *to != from) {
            let mut spoiled = segment.bytes.clone();
            spoiled.copy_within(from..from + SECTOR, to);
            spoiled[from..from + SECTOR].fill(0);
            segment.check(&spoiled);
        }
    }
}

#[test]
fn a_sector_written_to_any_wrong_place_is_never_taken_for_what_belongs_there() {
    misdirect_everything();
}

#[test]
fn a_batch_inside_a_payload_is_not_taken_for_one() {
    let inner = segment(&[vec![b"forged".to_vec()]], false);
    // As if the block of a large batch that holds it had reached the device, and the batch's own header had not.
    let other = Header { salt: 78, ..inner.header };
    let mut outer = vec![0; inner.bytes.len()];
    other.encode(&mut outer);
    outer[2 * BLOCK..3 * BLOCK].copy_from_slice(&inner.bytes[BLOCK..2 * BLOCK]);
    let found = scan(&outer, &other, |_, record| panic!("read {record:?}"));
    assert_eq!(verdict(&found, true), Ok(()));
}

#[cfg(madsim)]
mod planted {
    use std::panic::catch_unwind;

    use synod_probe::plant;

    use super::{BLOCK, misdirect_everything, segment};

    #[test]
    fn a_checksum_without_the_header_is_noticed() {
        let caught = catch_unwind(|| plant::with("wal.crc-without-header", misdirect_everything));
        assert!(caught.is_err());
    }

    #[test]
    fn going_on_past_a_hole_is_noticed() {
        let segment = segment(&[vec![vec![1]], vec![vec![2]]], true);
        let mut spoiled = segment.bytes.clone();
        spoiled[BLOCK] ^= 1;
        segment.check(&spoiled);
        let past = || plant::with("wal.recover-past-hole", || segment.check(&spoiled));
        assert!(catch_unwind(std::panic::AssertUnwindSafe(past)).is_err());
    }
}
