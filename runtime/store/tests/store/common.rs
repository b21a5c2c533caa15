//! What the tests of the store share: a directory of their own in either build, small segments, numbered payloads.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use synod_platform::disk::{self, Failure, File, OpenOptions};
use synod_store::{Log, Options};

/// A directory that is gone after the test.
pub struct Directory(#[cfg(not(madsim))] tempfile::TempDir);

pub fn directory() -> Directory {
    Directory(
        #[cfg(not(madsim))]
        tempfile::tempdir().unwrap(),
    )
}

impl Directory {
    pub fn path(&self) -> &Path {
        #[cfg(not(madsim))]
        return self.0.path();
        #[cfg(madsim)]
        Path::new("/store")
    }
}

/// Segments of 64 KiB, so that few records need several.
pub fn small() -> Options {
    Options { segment_len: 64 << 10, batch_max: 16 << 10, waiting_max: 64 << 10, ..Options::default() }
}

/// Segments of five blocks, so that they are used again soon.
pub const TINY: Options =
    Options { segment_len: 20 << 10, batch_max: 4 << 10, waiting_max: 16 << 10, live_share_min: 25 };

/// A payload that tells its number and is of a length of its own.
pub fn payload(number: u64) -> Bytes {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(8 + (number * 37 % 700) as usize, number as u8);
    bytes.into()
}

pub fn payloads(numbers: std::ops::Range<u64>) -> Vec<Bytes> {
    numbers.map(payload).collect()
}

pub fn number(payload: &Bytes) -> u64 {
    let number = u64::from_le_bytes(payload[..8].try_into().unwrap());
    assert_eq!(*payload, self::payload(number));
    number
}

/// All files of a directory, if it is there, as they are on the disk.
pub async fn bytes_of_all_files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in disk::list(directory).await.unwrap_or_default() {
        let path = directory.join(entry.name);
        let file = match File::open(&path, OpenOptions::READ).await {
            // The store keeps house meanwhile.
            Err(error) if error.failure == Failure::NotFound => continue,
            file => file.unwrap(),
        };
        files.push((path, file.read_all(1 << 30).await.unwrap()));
    }
    files
}

/// The numbers of all entries of a log.
pub async fn entries(log: &Log) -> Vec<u64> {
    let entries = log.read(log.first().., usize::MAX).await.unwrap();
    let indexes = entries.iter().map(|entry| entry.index);
    assert!(indexes.eq(log.first()..=log.last()));
    entries.iter().map(|entry| number(&entry.payload)).collect()
}
