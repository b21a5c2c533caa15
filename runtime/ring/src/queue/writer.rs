//! The writing end: bytes first, then one store that publishes them. Full is refused; nothing that was not freed is written over.

use super::{Checksum, Damage, HEAD, HEADER, OpenError, Opened, TAIL, footprint, largest_payload};
use crate::layout::Tag;
use crate::sync::{BytesMut, Hardware, Memory};
use synod_probe::{plant, reach};

/// The writing end of a queue.
pub struct Writer<M: Memory = Hardware> {
    queue: Opened<M>,
    tail: u64,
    /// The reader's as last seen.
    head: u64,
    broken: Option<Damage>,
}

/// Why a record was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// There is no room until the reader frees some: nothing was written.
    #[error("the queue is full: wait for its reader, or try again")]
    Full,
    /// No record of that length ever fits.
    #[error(
        "a payload of {len} bytes, and this queue takes up to {largest}: send it in parts, or make a larger queue"
    )]
    TooLarge {
        /// Bytes of the payload.
        len: usize,
        /// The most that fit.
        largest: usize,
    },
    /// The reader's position makes no sense.
    #[error(transparent)]
    Damage(#[from] Damage),
}

impl<M: Memory> Writer<M> {
    /// Goes on where the last writer of this memory stopped. It must be the only one.
    pub fn open(memory: M, checksum: Checksum) -> Result<Self, OpenError> {
        let (queue, head, tail) = Opened::new(memory, checksum)?;
        Ok(Self { queue, tail, head, broken: None })
    }

    /// Bytes of data.
    pub fn capacity(&self) -> usize {
        self.queue.capacity as usize
    }

    /// The longest payload that is taken.
    pub fn largest(&self) -> usize {
        largest_payload(self.capacity())
    }

    /// The position that the next record gets. After the death of a writer it tells its follower which of the dead one's records count.
    pub fn position(&self) -> u64 {
        self.tail
    }

    /// Whether everything that was put has been freed.
    pub fn is_drained(&mut self) -> Result<bool, Damage> {
        self.look()?;
        Ok(self.head == self.tail)
    }

    /// Whether a payload of `len` bytes would find room now.
    pub fn has_room(&mut self, len: usize) -> Result<bool, Damage> {
        let total = footprint(len) as u64;
        if total > self.room() {
            self.look()?;
        }
        Ok(total <= self.room())
    }

    /// Puts a record and publishes it; returns its position, which is its number: no other record of this queue ever has the same.
    pub fn put(&mut self, tag: Tag, payload: &[u8]) -> Result<u64, PutError> {
        let (len, largest) = (payload.len(), self.largest());
        if len > largest {
            return Err(PutError::TooLarge { len, largest });
        }
        if !self.has_room(len)? {
            reach!("queue.full");
            return Err(PutError::Full);
        }
        let total = footprint(len) as u64;
        let at = self.tail;
        self.tail = at.wrapping_add(total);
        if plant!("queue.published-too-early") {
            self.queue.move_to(TAIL, self.tail);
        }
        self.write(at, &self.header(at, tag, payload));
        self.write(at.wrapping_add(HEADER as u64), payload);
        self.queue.move_to(TAIL, self.tail);
        Ok(at)
    }

    fn room(&self) -> u64 {
        self.queue.capacity - self.tail.wrapping_sub(self.head)
    }

    /// Looks at the reader's head again.
    fn look(&mut self) -> Result<(), Damage> {
        if let Some(damage) = self.broken {
            return Err(damage);
        }
        let head = self.queue.position(HEAD);
        let moved = head.wrapping_sub(self.head) <= self.tail.wrapping_sub(self.head);
        let damage = Damage::Positions { head, tail: self.tail, capacity: self.queue.capacity };
        let checked = if moved { self.queue.check(head, self.tail) } else { Err(damage) };
        self.broken = checked.err();
        checked.map(|()| self.head = head)
    }

    fn header(&self, at: u64, tag: Tag, payload: &[u8]) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        // The length is at most the capacity's 2^30.
        header[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        header[12..16].copy_from_slice(&tag);
        header[16..].copy_from_slice(&at.to_le_bytes());
        let checksum = (self.queue.checksum)((self.queue.checksum)(0, &header[8..]), payload);
        header[..4].copy_from_slice(&checksum.to_le_bytes());
        header
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        let pieces = self.queue.pieces(at, bytes.len());
        let (first, second) = bytes.split_at(pieces[0].1);
        for ((offset, len), bytes) in pieces.into_iter().zip([first, second]) {
            // SAFETY: the pieces lie inside the data and are free, as was made sure; the reader of this process, if there is one, does not look
            // there before the tail has passed.
            let mut place = unsafe { self.queue.memory.write(offset, len) };
            // SAFETY: `len` bytes are borrowed, and the source is this process's own.
            unsafe { place.pointer().copy_from_nonoverlapping(bytes.as_ptr(), len) };
        }
    }
}
