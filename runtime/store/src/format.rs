//! The bytes of a segment: header, batches, records, and the checksums over them. [FORMAT.md](../FORMAT.md) is the specification.
//!
//! Pure, and strict: what is decoded was written by `encode` for this very place of this very life of the segment, or is refused.

use synod_wire::crc;

use crate::cipher::KeyName;

/// The unit in which batches are aligned, bytes.
pub const BLOCK: usize = 4096;

/// The highest version that this program reads. It writes it where something is encrypted, and 1 where nothing is.
pub const VERSION: u32 = 2;

/// The longest segment, bytes.
pub const SEGMENT_MAX: u64 = 1 << 30;

/// Bytes in front of a batch's records.
pub const BATCH_HEADER: usize = 64;

/// Bytes in front of each record's payload.
pub const RECORD_HEADER: usize = 32;

const SEGMENT_MAGIC: &[u8; 8] = b"SYNODWAL";
const SEGMENT_HEADER: usize = 48;

/// Of version 2: a key's name follows.
const ENCRYPTED_HEADER: usize = 64;

/// Where the copies of a segment's header begin: in different sectors, because a write may end anywhere.
const COPIES: [usize; 2] = [0, BLOCK / 2];
const BATCH_MAGIC: &[u8; 4] = b"SYNB";
const SEAL_MAGIC: &[u8; 4] = b"SYNE";

/// One life of a segment file: from its header's being written to the next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which segment of the log it is; 0 while it holds nothing.
    pub epoch: u64,
    /// Drawn anew for each life, so that no payload can pass for a batch.
    pub salt: u64,
    /// The file's length, bytes.
    pub len: u64,
    /// The running number of its first record.
    pub number: u64,
    /// The key that it is encrypted with, if it is.
    pub key: Option<KeyName>,
}

/// Why a segment's header is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHeader {
    /// It is another file, or damaged.
    Unreadable,
    /// It has this version.
    Version(u32),
}

impl Header {
    /// Of a segment of this length that holds nothing.
    pub(crate) fn of_none(len: u64) -> Self {
        Self { epoch: 0, salt: 0, len, number: 0, key: None }
    }

    /// The segment's first block.
    pub fn encode(&self, block: &mut [u8]) {
        for copy in COPIES {
            let len = if self.key.is_some() { ENCRYPTED_HEADER } else { SEGMENT_HEADER };
            let bytes = &mut block[copy..copy + len];
            bytes[..8].copy_from_slice(SEGMENT_MAGIC);
            bytes[8..12].copy_from_slice(&(1 + u32::from(self.key.is_some())).to_le_bytes());
            for (at, value) in [(16, self.epoch), (24, self.salt), (32, self.len), (40, self.number)] {
                bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
            if let Some(key) = self.key {
                bytes[SEGMENT_HEADER..].copy_from_slice(&key.0);
            }
            let crc = Self::checksum(bytes);
            bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        }
    }

    /// From a segment's first block: of two copies the later life, for one of them may be torn or rotten.
    pub fn decode(block: &[u8]) -> Result<Self, NoHeader> {
        let [first, second] = COPIES.map(|copy| Self::decode_copy(block.get(copy..)));
        match (first, second) {
            (Ok(first), Ok(second)) => Ok(if first.epoch >= second.epoch { first } else { second }),
            (Ok(header), _) | (_, Ok(header)) => Ok(header),
            (Err(NoHeader::Unreadable), why) | (why, _) => why,
        }
    }

    fn decode_copy(bytes: Option<&[u8]>) -> Result<Self, NoHeader> {
        let bytes = bytes.and_then(|bytes| bytes.get(..ENCRYPTED_HEADER)).ok_or(NoHeader::Unreadable)?;
        if bytes[..8] != *SEGMENT_MAGIC {
            return Err(NoHeader::Unreadable);
        }
        let (bytes, key) = match u32_at(bytes, 8) {
            1 => (&bytes[..SEGMENT_HEADER], None),
            VERSION => (bytes, bytes.last_chunk().copied().map(KeyName)),
            other => return Err(NoHeader::Version(other)),
        };
        let len = u64_at(bytes, 32);
        let possible = (2 * BLOCK as u64..=SEGMENT_MAX).contains(&len) && len.is_multiple_of(BLOCK as u64);
        if !possible || u32_at(bytes, 12) != Self::checksum(bytes) {
            return Err(NoHeader::Unreadable);
        }
        Ok(Self { epoch: u64_at(bytes, 16), salt: u64_at(bytes, 24), len, number: u64_at(bytes, 40), key })
    }

    fn checksum(bytes: &[u8]) -> u32 {
        crc::append(crc::checksum(&bytes[..12]), &bytes[16..])
    }

    /// What every checksum of this life begins with.
    pub fn seed(&self) -> Seed {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[8..].copy_from_slice(&self.salt.to_le_bytes());
        Seed(crc::checksum(&bytes))
    }
}

/// The checksum of a segment's epoch and salt: a batch or record of another life does not fit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u32);

impl Seed {
    /// The checksum of `bytes` at this place: what was written elsewhere does not fit either.
    fn at(self, offset: u32, bytes: &[u8]) -> u32 {
        crc::append(crc::append(self.0, &offset.to_le_bytes()), bytes)
    }
}

/// What stands in front of a batch's records. A batch without records is the seal that ends a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Header and records, bytes; the next batch begins at the next whole block.
    pub len: u32,
    /// How many records; 0 is a seal.
    pub records: u32,
    /// Below this offset of the segment all was known to be durable when this was written.
    pub durable: u32,
    /// The running number of its first record.
    pub number: u64,
}

impl Batch {
    /// Into the first [`BATCH_HEADER`] bytes of `bytes`, for this place.
    pub fn encode(&self, seed: Seed, offset: u32, bytes: &mut [u8]) {
        let header = &mut bytes[..BATCH_HEADER];
        header.fill(0);
        header[4..8].copy_from_slice(if self.is_seal() { SEAL_MAGIC } else { BATCH_MAGIC });
        for (at, value) in [(8, self.len), (12, self.records), (16, self.durable), (20, offset)] {
            header[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        header[24..32].copy_from_slice(&self.number.to_le_bytes());
        let crc = seed.at(offset, &header[4..]);
        header[..4].copy_from_slice(&crc.to_le_bytes());
    }

    /// From the bytes at this place; `None` if no batch of this life begins here.
    pub fn decode(seed: Seed, offset: u32, bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..BATCH_HEADER)?;
        let batch = Self {
            len: u32_at(header, 8),
            records: u32_at(header, 12),
            durable: u32_at(header, 16),
            number: u64_at(header, 24),
        };
        let magic = if batch.is_seal() { SEAL_MAGIC } else { BATCH_MAGIC };
        let placed = header[4..8] == *magic && u32_at(header, 20) == offset;
        (placed && batch.len as usize >= BATCH_HEADER && u32_at(header, 0) == seed.at(offset, &header[4..]))
            .then_some(batch)
    }

    /// Whether this ends the segment.
    pub fn is_seal(&self) -> bool {
        self.records == 0
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// An entry of a log, at its index.
    Entry = 1,
    /// The log now ends at this index; the payload is the index up to which it is purged.
    Bounds = 2,
    /// A named value of a log: the payload is the length of the name, the name, the value.
    Value = 3,
    /// The log's name.
    Name = 4,
    /// The log is no more; the payload is the name it had.
    Removed = 5,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::Entry, Self::Bounds, Self::Value, Self::Name, Self::Removed]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Which log.
    pub log: u32,
    /// What it says.
    pub kind: Kind,
    /// At which index of the log; 0 where there is none.
    pub index: u64,
    /// Its running number when it was first written: of two that contradict each other the higher holds. A copy keeps it.
    pub stamp: u64,
    /// What was appended.
    pub payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// Its length in a batch, bytes.
    pub fn size(&self) -> usize {
        RECORD_HEADER + self.payload.len()
    }

    /// Into the first [`size`](Self::size) bytes of `bytes`, for this place.
    pub fn encode(&self, seed: Seed, offset: u32, bytes: &mut [u8]) {
        let bytes = &mut bytes[..self.size()];
        self.describe(self.payload.len() as u32, bytes);
        bytes[RECORD_HEADER..].copy_from_slice(self.payload);
        let crc = checksum(seed, offset, bytes);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
    }

    /// The header of a record with a payload of this length, but for the checksum.
    pub(crate) fn describe(&self, len: u32, bytes: &mut [u8]) {
        bytes[4..8].copy_from_slice(&len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.log.to_le_bytes());
        bytes[12..16].copy_from_slice(&[self.kind as u8, 0, 0, 0]);
        bytes[16..24].copy_from_slice(&self.index.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.stamp.to_le_bytes());
    }

    /// From the bytes at this place, which may be followed by others; `None` if it is not whole.
    pub fn decode(seed: Seed, offset: u32, bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..RECORD_HEADER)?;
        let bytes = bytes.get(..RECORD_HEADER.checked_add(u32_at(header, 4) as usize)?)?;
        if u32_at(header, 0) != checksum(seed, offset, bytes) || header[13..16] != [0; 3] {
            return None;
        }
        Some(Self {
            log: u32_at(header, 8),
            kind: Kind::of(header[12])?,
            index: u64_at(header, 16),
            stamp: u64_at(header, 24),
            payload: &bytes[RECORD_HEADER..],
        })
    }
}

fn checksum(seed: Seed, offset: u32, record: &[u8]) -> u32 {
    if synod_probe::plant!("wal.crc-without-header") {
        return crc::checksum(&record[RECORD_HEADER..]);
    }
    seed.at(offset, &record[4..])
}

/// The payload of [`Kind::Value`].
pub fn value_payload(name: &str, value: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(1 + name.len() + value.len());
    payload.push(name.len() as u8);
    payload.extend_from_slice(name.as_bytes());
    payload.extend_from_slice(value);
    payload
}

/// The name and value in the payload of [`Kind::Value`].
pub fn value_of(payload: &[u8]) -> Option<(&str, &[u8])> {
    let (len, rest) = payload.split_first()?;
    let (name, value) = rest.split_at_checked(usize::from(*len))?;
    Some((std::str::from_utf8(name).ok()?, value))
}

/// `len` up to the next whole block.
pub fn aligned(len: usize) -> usize {
    len.next_multiple_of(BLOCK)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
