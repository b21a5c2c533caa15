//! A file of records that only grows: what was acknowledged is there after a loss of power, and what is there is a prefix of what was
//! appended.
//!
//! A record is `length u32 | CRC-32C u32 | number u64 | payload`, little-endian, numbers from 1 without a gap, the checksum over all but
//! itself. Opening reads up to the first record that is not whole, writes that much again (a failed sync may have left it in the cache
//! alone), cuts the rest, and syncs file and directory. After any failed write or sync the file refuses to go on: only opening it again tells
//! what it holds. Rot in the last acknowledged record cannot be told from a torn tail, and cuts it.

use std::path::{Path, PathBuf};

use synod_probe::{event, loss, plant, reach};

use super::buffer::Buffer;
use super::error::DiskError;
use super::file::{self, File};
use super::operation::{OpenOptions, SyncKind};

/// Bytes in front of each payload.
pub const HEADER: usize = 16;

/// The longest payload of a record, bytes.
pub const RECORD_MAX: usize = 16 << 20;

/// Why a record was not appended, or a file not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// An earlier append failed, so what the file holds is not known.
    #[error("an earlier append to {} failed: open the file again to find out what it holds", path.display())]
    Failed {
        /// Which file.
        path: PathBuf,
    },
    /// The payload is longer than a record may be.
    #[error("a record of {len} bytes is longer than the {RECORD_MAX} allowed: split it")]
    TooLong {
        /// Its length, bytes.
        len: usize,
    },
}

/// What was found when a file was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The payloads of all whole records, in order; the first has number 1.
    pub records: Vec<Vec<u8>>,
    /// Bytes behind them that were no whole record, and were cut.
    pub cut: u64,
}

/// An open file of records.
#[derive(Debug)]
pub struct AppendFile {
    file: File,
    end: u64,
    next: u64,
    failed: bool,
}

impl AppendFile {
    /// Opens or makes the file, alone (a second opener gets [`Failure::Locked`](super::Failure::Locked)), and reads what it holds, refusing a file longer than
    /// `limit` bytes with [`Failure::Quota`](super::Failure::Quota). When this returns, what was recovered is durable.
    pub async fn open(path: impl Into<PathBuf>, limit: u64) -> Result<(Self, Recovered), AppendError> {
        let path = path.into();
        let file = File::open(&path, OpenOptions::CREATE).await?;
        file.lock().await?;
        let content = file.read_all(limit).await?;
        let (records, end) = scan(&content);
        let cut = (content.len() - end) as u64;
        if cut > 0 {
            reach!("append.tail_cut");
            event!("append.tail_cut", bytes = cut, records = records.len());
        }
        file.write_all_at(0, Buffer::copy_of(&content[..end])).await.0?;
        file.truncate(end as u64).await?;
        file.sync(SyncKind::Full).await?;
        if let Some(parent) = directory_of(&path) {
            file::sync_directory(parent).await?;
        }
        event!("append.opened", records = records.len());
        let next = records.len() as u64 + 1;
        Ok((Self { file, end: end as u64, next, failed: false }, Recovered { records, cut }))
    }

    /// Appends a record and answers its number when it is durable. After an error it may or may not be there, and the file
    /// refuses further records. Dropping the future before it is done counts as an error.
    pub async fn append(&mut self, payload: &[u8]) -> Result<u64, AppendError> {
        if payload.len() > RECORD_MAX {
            return Err(AppendError::TooLong { len: payload.len() });
        }
        if self.failed {
            return Err(AppendError::Failed { path: self.file.path().to_owned() });
        }
        let number = self.next;
        // Until all is well nothing is: also when this future is dropped half-way.
        self.failed = true;
        let record = encode(number, payload);
        let len = record.len() as u64;
        let durable = self.write(record).await;
        if let Err(error) = durable {
            reach!("append.failed");
            loss!("disk.append", "write or sync failed");
            event!("append.failed", number = number);
            return Err(error.into());
        }
        self.failed = false;
        self.end += len;
        self.next += 1;
        event!("append.acknowledged", number = number);
        Ok(number)
    }

    async fn write(&self, record: Buffer) -> Result<(), DiskError> {
        self.file.write_all_at(self.end, record).await.0?;
        if plant!("disk.ack-before-sync") {
            return Ok(());
        }
        self.file.sync(SyncKind::Data).await
    }

    /// How many records it holds.
    pub fn records(&self) -> u64 {
        self.next - 1
    }

    /// Its length, bytes.
    pub fn len(&self) -> u64 {
        self.end
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// Closes it; another may open it then.
    pub async fn close(self) -> Result<(), AppendError> {
        Ok(self.file.close().await?)
    }
}

fn directory_of(path: &Path) -> Option<PathBuf> {
    path.parent()
        .map(|parent| if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_owned() })
}

fn encode(number: u64, payload: &[u8]) -> Buffer {
    let mut record = Buffer::zeroed(HEADER + payload.len());
    record[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    record[8..16].copy_from_slice(&number.to_le_bytes());
    record[HEADER..].copy_from_slice(payload);
    let crc = checksum(&record);
    record[4..8].copy_from_slice(&crc.to_le_bytes());
    record
}

/// Over a whole record but its checksum.
fn checksum(record: &[u8]) -> u32 {
    let crc = synod_wire::crc::checksum(&record[..4]);
    synod_wire::crc::append(crc, &record[8..])
}

/// The payloads of the whole records at the start, and where they end. Open to the fuzzer and to nobody else.
#[doc(hidden)]
pub fn scan(content: &[u8]) -> (Vec<Vec<u8>>, usize) {
    let mut records = Vec::new();
    let mut end = 0;
    while let Some(record) = whole(&content[end..], records.len() as u64 + 1) {
        records.push(record[HEADER..].to_vec());
        end += record.len();
    }
    (records, end)
}

/// The record at the start, if it is whole and has this number.
fn whole(content: &[u8], number: u64) -> Option<&[u8]> {
    let (len, rest) = content.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (found, _) = rest.split_first_chunk::<8>()?;
    let len = u32::from_le_bytes(*len) as usize;
    if len > RECORD_MAX || u64::from_le_bytes(*found) != number {
        return None;
    }
    let record = content.get(..HEADER + len)?;
    (checksum(record) == u32::from_le_bytes(*crc)).then_some(record)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file_of(payloads: &[Vec<u8>]) -> Vec<u8> {
        let records = payloads.iter().zip(1..).map(|(payload, number)| encode(number, payload));
        records.flat_map(|record| record.to_vec()).collect()
    }

    proptest! {
        #[test]
        fn what_is_recovered_from_a_file_cut_or_spoiled_anywhere_is_a_prefix(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8), cut: u16, at: u16, bit in 0u8..8
        ) {
            let whole = file_of(&payloads);
            prop_assert_eq!(scan(&whole), (payloads.clone(), whole.len()));
            let mut spoiled = whole.clone();
            spoiled.truncate(usize::from(cut) % (whole.len() + 1));
            let untouched = scan(&spoiled).0;
            prop_assert_eq!(&untouched[..], &payloads[..untouched.len()]);
            if !spoiled.is_empty() {
                let at = usize::from(at) % spoiled.len();
                spoiled[at] ^= 1 << bit;
            }
            let found = scan(&spoiled).0;
            prop_assert!(found.len() <= untouched.len());
            prop_assert_eq!(&found[..], &payloads[..found.len()]);
        }
    }

    #[test]
    fn zeros_are_no_record_and_a_record_of_another_place_is_none_either() {
        assert_eq!(scan(&[0; 100]), (vec![], 0));
        let second = encode(2, b"second");
        assert_eq!(scan(&second), (vec![], 0));
    }

    #[test]
    fn the_layout_is_the_one_described() {
        let record = encode(1, b"ab");
        assert_eq!(&record[..4], &[2, 0, 0, 0]);
        assert_eq!(&record[8..], &[1, 0, 0, 0, 0, 0, 0, 0, b'a', b'b']);
        assert_eq!(record.len(), HEADER + 2);
    }
}
