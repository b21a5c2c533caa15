//! Frames on a byte stream: a length of four bytes, least significant first, then so many bytes.
//! Pure: the encoder holds what is not yet written, the decoder what is not yet a whole frame, so a dropped future tears nothing.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::NetError;

/// The longest frame, in bytes: a payload of 16 MiB and 1 KiB for headers.
pub const FRAME_MAX: usize = (16 << 20) + 1024;

/// Bytes before each frame.
const PREFIX: usize = 4;

/// Payloads up to this size are copied beside their length; larger ones are written from where they are.
const COPY_MAX: usize = 4096;

/// Frames on their way out: bytes that the stream has not taken yet.
#[derive(Default)]
pub(super) struct Encoder {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    queued: usize,
}

impl Encoder {
    /// Puts a frame behind those that wait.
    pub fn push(&mut self, frame: Bytes) -> Result<(), NetError> {
        if frame.len() > FRAME_MAX {
            return Err(NetError::TooLarge { size: frame.len() as u64, limit: FRAME_MAX as u64 });
        }
        self.queued += PREFIX + frame.len();
        self.tail.put_u32_le(frame.len() as u32);
        if frame.len() <= COPY_MAX {
            self.tail.put_slice(&frame);
        } else {
            self.chunks.push_back(self.tail.split().freeze());
            self.chunks.push_back(frame);
        }
        Ok(())
    }

    /// Bytes that the stream has not taken.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// The next bytes to write; empty when nothing waits.
    pub fn chunk(&mut self) -> Bytes {
        self.chunks(1).pop().unwrap_or_default()
    }

    /// The next bytes to write, in at most so many pieces.
    pub fn chunks(&mut self, most: usize) -> Vec<Bytes> {
        if self.chunks.len() < most && !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
        self.chunks.iter().take(most).cloned().collect()
    }

    /// The stream took the first `n` bytes of what waits.
    pub fn advance(&mut self, mut n: usize) {
        self.queued -= n;
        while let Some(front) = self.chunks.front_mut() {
            let of_this = n.min(front.len());
            front.advance(of_this);
            n -= of_this;
            if !front.is_empty() {
                return;
            }
            self.chunks.pop_front();
        }
    }
}

/// Bytes on their way in, cut into frames.
#[derive(Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// The next whole frame of at most `limit` bytes, if it is all there.
    pub fn next(&mut self, limit: usize) -> Result<Option<Bytes>, NetError> {
        let Some(length) = self.announced() else { return Ok(None) };
        if length > limit {
            return Err(NetError::TooLarge { size: length as u64, limit: limit as u64 });
        }
        if self.buffer.len() < PREFIX + length {
            return Ok(None);
        }
        self.buffer.advance(PREFIX);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Where the stream puts what comes in. Room is made for what is announced, in steps: an announcement alone costs the
    /// peer four bytes and shall not cost us sixteen million.
    pub fn buffer(&mut self) -> &mut BytesMut {
        const STEP: usize = 256 << 10;
        let missing = self.missing() as usize;
        self.buffer.reserve(missing.clamp(8 << 10, STEP));
        &mut self.buffer
    }

    /// How many bytes lack to the frame that has begun; 0 at a boundary between frames.
    pub fn missing(&self) -> u64 {
        match (self.buffer.len(), self.announced()) {
            (0, _) => 0,
            (held, None) => (PREFIX - held) as u64,
            (held, Some(length)) => (PREFIX + length).saturating_sub(held) as u64,
        }
    }

    fn announced(&self) -> Option<usize> {
        let prefix = self.buffer.first_chunk::<PREFIX>()?;
        Some(u32::from_le_bytes(*prefix) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drain(encoder: &mut Encoder, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        loop {
            let chunk = encoder.chunk();
            if chunk.is_empty() {
                assert_eq!(encoder.queued(), 0);
                return out;
            }
            let n = step.min(chunk.len());
            out.extend_from_slice(&chunk[..n]);
            encoder.advance(n);
        }
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_stream_is_cut(
            sizes in prop::collection::vec(prop_oneof![0usize..64, 4090usize..4100, 9000usize..9001], 0..12),
            written in 1usize..3000,
            read in 1usize..3000,
        ) {
            let frames: Vec<Bytes> =
                sizes.iter().enumerate().map(|(i, n)| Bytes::from(vec![i as u8; *n])).collect();
            let mut encoder = Encoder::default();
            for frame in &frames {
                encoder.push(frame.clone()).unwrap();
            }
            let stream = drain(&mut encoder, written);
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for piece in stream.chunks(read) {
                decoder.buffer().put_slice(piece);
                while let Some(frame) = decoder.next(FRAME_MAX).unwrap() {
                    got.push(frame);
                }
            }
            prop_assert_eq!(got, frames);
            prop_assert_eq!(decoder.missing(), 0);
        }
    }

    #[test]
    fn a_frame_that_is_announced_too_large_is_refused_before_a_byte_of_it_is_awaited() {
        let mut decoder = Decoder::default();
        decoder.buffer().put_u32_le(FRAME_MAX as u32 + 1);
        let limit = FRAME_MAX as u64;
        assert_eq!(decoder.next(FRAME_MAX), Err(NetError::TooLarge { size: limit + 1, limit }));
        let mut encoder = Encoder::default();
        let huge = Bytes::from(vec![0; FRAME_MAX + 1]);
        assert_eq!(encoder.push(huge), Err(NetError::TooLarge { size: limit + 1, limit }));
        assert_eq!(encoder.queued(), 0);
    }

    #[test]
    fn what_is_missing_is_counted_from_the_prefix_on() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.missing(), 0);
        decoder.buffer().put_slice(&[5, 0]);
        assert_eq!(decoder.missing(), 2);
        decoder.buffer().put_slice(&[0, 0]);
        assert_eq!(decoder.missing(), 5);
        decoder.buffer().put_slice(b"abc");
        assert_eq!(decoder.missing(), 2);
    }

    #[test]
    fn an_announcement_alone_does_not_reserve_its_size() {
        let mut decoder = Decoder::default();
        decoder.buffer().put_u32_le(FRAME_MAX as u32);
        assert!(decoder.buffer().capacity() < 1 << 20);
    }
}
