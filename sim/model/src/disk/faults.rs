//! What is wrong with a disk, and what its operations answer.

use crate::Delay;

/// The unit that a device writes whole or not at all, bytes.
pub const SECTOR: u64 = 512;

/// The unit in which files are read and written past the cache, bytes.
pub const DIRECT: u64 = 4096;

/// Why an operation failed; the names of the system's error numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// `ENOENT`
    NotFound,
    /// `EEXIST`
    Exists,
    /// `EACCES`
    Denied,
    /// `EROFS`
    ReadOnly,
    /// `ENOSPC`
    NoSpace,
    /// `EDQUOT`
    Quota,
    /// `EIO`
    Io,
    /// `EWOULDBLOCK` of a lock
    Locked,
    /// `ENOTDIR`
    NotDirectory,
    /// `EISDIR`
    IsDirectory,
    /// `ENOTEMPTY`
    NotEmpty,
    /// `EBADF`
    BadHandle,
    /// `EINVAL`
    Invalid,
    /// `EOPNOTSUPP`
    Unsupported,
}

/// What a loss of power does to what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerLoss {
    /// Everything survives: a cache with a battery.
    Keeps,
    /// For each file some first part of the unsynced changes survives, each change whole; each unsynced change of a directory
    /// survives or not.
    LosesUnsynced,
    /// That, and changes are torn: each sector of each write survives or not by itself, and a length may survive without
    /// the data below it.
    LosesUnsyncedTorn,
}

/// What is wrong with one disk. Probabilities are `0.0..=1.0` an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct DiskFaults {
    /// How long a read takes.
    pub read: Delay,
    /// How long a write, or a change of names or lengths, takes.
    pub write: Delay,
    /// How long a sync takes.
    pub sync: Delay,
    /// Multiplies every delay: a slow disk.
    pub slow: u32,
    /// Nothing completes while this is set: a stalled disk.
    pub stalled: bool,
    /// Operations complete in the order in which they were submitted; otherwise each when its own delay is over.
    pub in_order: bool,
    /// A write takes only a part of what it was given.
    pub short_write: f64,
    /// A read gives only a part of what there is.
    pub short_read: f64,
    /// A read fails with [`Failure::Io`].
    pub read_error: f64,
    /// A write fails with [`Failure::Io`]; some first part of it may have been taken.
    pub write_error: f64,
    /// A sync fails with [`Failure::Io`], and as on Linux the dirty pages are then clean: a later sync succeeds although
    /// their content never reached the device.
    pub sync_error: f64,
    /// A sync puts one sector at another place of its file: the old content stays where the new belongs. Seen after the
    /// cache is gone.
    pub misdirected: f64,
    /// A read finds one bit of what lies on the device turned.
    pub rot: f64,
    /// The most that all files together may hold, bytes.
    pub capacity: Option<u64>,
    /// Running out answers [`Failure::Quota`] instead of [`Failure::NoSpace`].
    pub quota: bool,
    /// No file can be opened to go past the cache: [`Failure::Invalid`], as some file systems answer.
    pub no_direct: bool,
    /// Space cannot be allocated before it is written: [`Failure::Unsupported`], as some file systems answer.
    pub no_allocate: bool,
    /// Every change is refused with [`Failure::ReadOnly`].
    pub read_only: bool,
    /// Opening or changing anything at or below these paths is refused with [`Failure::Denied`].
    pub denied: Vec<String>,
    /// What a loss of power does.
    pub power_loss: PowerLoss,
}

impl Default for DiskFaults {
    /// A good disk: reads of 20 to 100 µs, writes to the cache of 5 to 20 µs, syncs of 200 µs to 2 ms; out of order; a loss
    /// of power loses what was not synced, torn.
    fn default() -> Self {
        Self {
            read: Delay::between(20_000, 100_000),
            write: Delay::between(5_000, 20_000),
            sync: Delay::between(200_000, 2_000_000),
            slow: 1,
            stalled: false,
            in_order: false,
            short_write: 0.0,
            short_read: 0.0,
            read_error: 0.0,
            write_error: 0.0,
            sync_error: 0.0,
            misdirected: 0.0,
            rot: 0.0,
            capacity: None,
            quota: false,
            no_direct: false,
            no_allocate: false,
            read_only: false,
            denied: Vec::new(),
            power_loss: PowerLoss::LosesUnsyncedTorn,
        }
    }
}
