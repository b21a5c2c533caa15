//! What the store reads from disks that may have torn it: segments and their headers.

use synod_store::format::{BLOCK, Header};
use synod_store::scan::{Scan, scan, verdict};

/// A record as it was read: offset, log, kind, index, stamp, payload.
type Read = (u32, u32, u8, u64, u64, Vec<u8>);

/// What follows a segment's header: the batches read fill what was kept, and are read again from that alone.
pub fn segment(bytes: &[u8]) {
    if let Ok(header) = Header::decode(bytes) {
        let mut block = vec![0; BLOCK];
        header.encode(&mut block);
        assert_eq!(Header::decode(&block), Ok(header), "a header has one encoding");
    }
    let len = (2 * BLOCK + bytes.len()).next_multiple_of(BLOCK);
    let header = Header { epoch: 1, salt: 0, len: len as u64, number: 1, key: None };
    let mut segment = vec![0; len];
    header.encode(&mut segment);
    segment[BLOCK..BLOCK + bytes.len()].copy_from_slice(bytes);
    assert_eq!(Header::decode(&segment), Ok(header));

    let (found, records) = read(&segment, &header);
    let end = found.end as usize;
    assert!(end.is_multiple_of(BLOCK) && (BLOCK..=len).contains(&end));
    assert!(found.proven <= found.end && end as u64 + found.torn <= len as u64);
    assert_eq!(found.number, 1 + records.len() as u64, "each record has a number");
    assert!(records.is_sorted_by_key(|record| record.0), "records are read in their order");
    if verdict(&found, false).is_ok() {
        assert_eq!(verdict(&found, true), Ok(()));
    }
    let (again, same) = read(&segment[..end], &header);
    assert_eq!((again.end, same), (found.end, records), "what was kept is kept again");
}

fn read(segment: &[u8], header: &Header) -> (Scan, Vec<Read>) {
    let mut records = Vec::new();
    let found = scan(segment, header, |offset, record| {
        let payload = record.payload.to_vec();
        records.push((offset, record.log, record.kind as u8, record.index, record.stamp, payload));
    });
    (found, records)
}
