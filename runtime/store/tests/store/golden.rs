//! The bytes of version 1 with a record of every kind, and the header of version 2, as [FORMAT.md](../../FORMAT.md) has them: what is written today can be read for ever.

use synod_store::cipher::KeyName;
use synod_store::format::{
    BATCH_HEADER, BLOCK, Batch, Header, Kind, NoHeader, Record, value_of, value_payload,
};
use synod_store::scan::{scan, verdict};

const HEADER: Header =
    Header { epoch: 3, salt: 0x0102_0304_0506_0708, len: 4 * BLOCK as u64, number: 41, key: None };

fn records() -> [(Kind, u64, u64, Vec<u8>); 5] {
    [
        (Kind::Name, 0, 41, b"orders".to_vec()),
        (Kind::Entry, 1, 42, b"first".to_vec()),
        (Kind::Bounds, 1, 43, 1_u64.to_le_bytes().to_vec()),
        (Kind::Value, 0, 12, value_payload("vote", &[9])),
        (Kind::Removed, 0, 45, b"orders".to_vec()),
    ]
}

/// A segment with one batch and a seal.
fn segment() -> Vec<u8> {
    let mut bytes = vec![0; HEADER.len as usize];
    HEADER.encode(&mut bytes);
    let seed = HEADER.seed();
    let mut at = BLOCK + BATCH_HEADER;
    for (kind, index, stamp, payload) in &records() {
        let record = Record { log: 7, kind: *kind, index: *index, stamp: *stamp, payload };
        record.encode(seed, at as u32, &mut bytes[at..]);
        at += record.size();
    }
    let first = BLOCK as u32;
    let batch = Batch { len: (at - BLOCK) as u32, records: 5, durable: first, number: 41 };
    batch.encode(seed, first, &mut bytes[BLOCK..]);
    let seal = Batch { len: BATCH_HEADER as u32, records: 0, durable: 2 * first, number: 46 };
    seal.encode(seed, 2 * first, &mut bytes[2 * BLOCK..]);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_segment_of_version_1_has_these_bytes() {
    let bytes = segment();
    let header =
        "53594e4f4457414c010000003cb211380300000000000000080706050403020100400000000000002900000000000000";
    assert_eq!((&*hex(&bytes[..48]), &*hex(&bytes[2048..2096])), (header, header));
    assert_eq!(
        hex(&bytes[BLOCK..BLOCK + 64]),
        "abb0a1f353594e42ff00000005000000001000000010000029000000000000000000000000000000000000000000000000000000000000000000000000000000"
    );
    assert_eq!(
        hex(&bytes[BLOCK + 64..BLOCK + 102]),
        "ba7da01f060000000700000004000000000000000000000029000000000000006f7264657273"
    );
    assert_eq!(
        hex(&bytes[BLOCK + 102..BLOCK + 139]),
        "9d01f56705000000070000000100000001000000000000002a000000000000006669727374"
    );
    assert_eq!(
        hex(&bytes[BLOCK + 139..BLOCK + 179]),
        "e8a4c42908000000070000000200000001000000000000002b000000000000000100000000000000"
    );
    assert_eq!(
        hex(&bytes[BLOCK + 179..BLOCK + 217]),
        "b651c72c06000000070000000300000000000000000000000c0000000000000004766f746509"
    );
    assert_eq!(
        hex(&bytes[BLOCK + 217..BLOCK + 255]),
        "8bf72c6306000000070000000500000000000000000000002d000000000000006f7264657273"
    );
    assert_eq!(
        hex(&bytes[2 * BLOCK..2 * BLOCK + 64]),
        "796b312953594e45400000000000000000200000002000002e000000000000000000000000000000000000000000000000000000000000000000000000000000"
    );
}

#[test]
fn a_segment_of_version_1_is_read() {
    let bytes = segment();
    assert_eq!(Header::decode(&bytes), Ok(HEADER));
    let mut read = Vec::new();
    let found = scan(&bytes, &HEADER, |_, record| {
        assert_eq!(record.log, 7);
        read.push((record.kind, record.index, record.stamp, record.payload.to_vec()));
    });
    assert_eq!(read, records());
    assert!(found.sealed);
    assert_eq!(verdict(&found, false), Ok(()));
    assert_eq!((found.end, found.number), (2 * BLOCK as u32, 46));
    assert_eq!(value_of(&records()[3].3), Some(("vote", &[9][..])));
}

#[test]
fn the_header_of_an_encrypted_segment_has_these_bytes_and_is_read() {
    let mut bytes = segment();
    let encrypted = Header { key: Some(KeyName(*b"the key's name..")), ..HEADER };
    encrypted.encode(&mut bytes);
    let header = "53594e4f4457414c020000005bac75690300000000000000080706050403020100400000000000002900000000000000746865206b65792773206e616d652e2e";
    assert_eq!((&*hex(&bytes[..64]), &*hex(&bytes[2048..2112])), (header, header));
    assert_eq!(Header::decode(&bytes), Ok(encrypted));
    bytes[50] ^= 1;
    bytes[2048 + 50] ^= 1;
    assert_eq!(Header::decode(&bytes), Err(NoHeader::Unreadable));
}

#[test]
fn another_version_is_refused_by_its_number_and_another_file_as_one() {
    let mut bytes = segment();
    for copy in [0, 2048] {
        bytes[copy + 8] = 3;
    }
    assert_eq!(Header::decode(&bytes), Err(NoHeader::Version(3)));
    assert_eq!(Header::decode(&[0; BLOCK]), Err(NoHeader::Unreadable));
    assert_eq!(Header::decode(b"SYNODWAL"), Err(NoHeader::Unreadable));
}

#[test]
fn a_header_outlives_one_of_its_copies_and_the_later_life_holds() {
    let later = Header { epoch: 4, ..HEADER };
    let mut torn = segment();
    let mut new = vec![0; BLOCK];
    later.encode(&mut new);
    for taken in [0, 16, 17, 48, 2048, 2064] {
        torn[..taken].copy_from_slice(&new[..taken]);
        let expected = if taken > 16 { later } else { HEADER };
        assert_eq!(Header::decode(&torn), Ok(expected), "{taken} bytes of the new header were taken");
    }
}
