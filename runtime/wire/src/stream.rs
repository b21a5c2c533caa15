//! Cuts full frames out of a byte stream that arrives in any pieces.
//!
//! Holds at most one frame and what was pushed with it. A length is believed only after the header's checksum, so a damaged or hostile
//! stream cannot make it wait for, or allocate, what no frame needs. After an error the stream is lost: frames cannot be found again.

use crate::full::{Full, Length};
use crate::{Error, PAYLOAD_MAX};

/// A reader of one stream of full frames.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
    payload_max: usize,
    failed: Option<Error>,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new()
    }
}

impl Decoder {
    /// A decoder that takes every payload the format allows.
    pub fn new() -> Decoder {
        Decoder::with_payload_max(PAYLOAD_MAX)
    }

    /// A decoder that refuses payloads above `payload_max` bytes.
    pub fn with_payload_max(payload_max: usize) -> Decoder {
        Decoder { buffer: Vec::new(), start: 0, payload_max, failed: None }
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; `None` while more bytes are needed; an error once, and then ever again, when the stream is broken.
    #[expect(
        clippy::should_implement_trait,
        reason = "the frame borrows from the decoder, which an iterator cannot say"
    )]
    pub fn next(&mut self) -> Result<Option<Full<'_>>, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match take(&self.buffer[self.start..], self.payload_max) {
            Ok(Some((frame, used))) => {
                self.start += used;
                Ok(Some(frame))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.failed = Some(error);
                Err(error)
            }
        }
    }

    /// Bytes that are held and not yet part of a frame handed out. Not zero at the end of a stream means that it was cut off.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }
}

fn take(bytes: &[u8], payload_max: usize) -> Result<Option<(Full<'_>, usize)>, Error> {
    match Full::length(bytes)? {
        Length::Needs(_) => Ok(None),
        Length::Is { payload, .. } if payload > payload_max => {
            Err(Error::TooLarge { len: payload, limit: payload_max })
        }
        Length::Is { total, .. } if total > bytes.len() => Ok(None),
        Length::Is { .. } => Full::decode(bytes).map(Some),
    }
}
