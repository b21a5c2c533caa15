//! How a store is kept: sizes and bounds, checked when it is opened.

use crate::cipher::TAG;
use crate::error::OpenError;
use crate::format::{BATCH_HEADER, BLOCK, RECORD_HEADER, SEGMENT_MAX};

/// How a store is kept. Sizes may differ from one opening to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The length of a segment file, bytes; whole blocks of 4096.
    pub segment_len: u64,
    /// The most that one aligned write takes together, bytes (a single larger record goes alone).
    pub batch_max: usize,
    /// The most that waits to become durable, bytes; who appends more waits.
    pub waiting_max: usize,
    /// A segment of which a smaller share than this is still needed has that copied forward, and is used again. In percent.
    pub live_share_min: u8,
}

impl Default for Options {
    /// Segments of 64 MiB, writes of up to 1 MiB, 16 MiB in waiting, copying below 25 %.
    fn default() -> Self {
        Self { segment_len: 64 << 20, batch_max: 1 << 20, waiting_max: 16 << 20, live_share_min: 25 }
    }
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let wrong = if !self.segment_len.is_multiple_of(BLOCK as u64)
            || !(4 * BLOCK as u64..=SEGMENT_MAX).contains(&self.segment_len)
        {
            "a segment has whole blocks of 4096 bytes, from four of them to 1 GiB"
        } else if self.batch_max < BLOCK {
            "a write takes at least 4096 bytes"
        } else if self.waiting_max < BLOCK || self.waiting_max > 1 << 30 {
            "what waits is bounded by 4096 bytes to 1 GiB"
        } else if self.live_share_min > 90 {
            "copying above 90 % live copies for nothing"
        } else {
            return Ok(());
        };
        Err(OpenError::Options(wrong))
    }

    /// The most that one append may ask for, bytes with headers.
    pub(crate) fn append_max(&self) -> usize {
        self.waiting_max
    }

    /// The longest payload of a record, whether it will be encrypted or not.
    pub(crate) fn payload_max(&self) -> usize {
        (self.segment_len as usize - BLOCK - BATCH_HEADER - RECORD_HEADER - TAG)
            .min(self.waiting_max - RECORD_HEADER)
    }
}
