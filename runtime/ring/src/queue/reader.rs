//! The reading end: a record is copied out, checked, handed out, and freed by one store when whoever got it is done with it.

use super::{Checksum, Damage, HEAD, HEADER, OpenError, Opened, TAIL, footprint, largest_payload};
use crate::copy::copy_changing;
use crate::layout::Tag;
use crate::sync::{Bytes, Hardware, Memory};
use synod_probe::{plant, reach};

/// Bytes of a header that the checksum covers.
const COVERED: usize = HEADER - 8;

/// The reading end of a queue.
pub struct Reader<M: Memory = Hardware> {
    queue: Opened<M>,
    head: u64,
    /// The writer's as last seen.
    tail: u64,
    /// The record that was read last, from the covered part of its header on.
    record: Vec<u8>,
    /// Whether that is the one at the head.
    has_read: bool,
    broken: Option<Damage>,
}

impl<M: Memory> Reader<M> {
    /// Goes on where the last reader of this memory stopped: what that read and did not free comes again. It must be the only one.
    pub fn open(memory: M, checksum: Checksum) -> Result<Self, OpenError> {
        let (queue, head, tail) = Opened::new(memory, checksum)?;
        Ok(Self { queue, head, tail, record: Vec::new(), has_read: false, broken: None })
    }

    /// The oldest record that was published and not freed.
    pub fn peek(&mut self) -> Result<Option<Peeked<'_, M>>, Damage> {
        if let Some(damage) = self.broken {
            return Err(damage);
        }
        if !self.has_read {
            self.has_read = self.read().inspect_err(|damage| {
                reach!("queue.damaged");
                self.broken = Some(*damage);
            })?;
        }
        Ok(self.has_read.then_some(Peeked { reader: self }))
    }

    /// Reads the record at the head; false if none is published.
    fn read(&mut self) -> Result<bool, Damage> {
        let at = self.head;
        if at == self.tail {
            let tail = self.queue.position(TAIL);
            self.queue.check(at, tail)?;
            if at == tail {
                return Ok(false);
            }
            self.tail = tail;
        }
        let mut header = [0; HEADER];
        self.copy(at, &mut header);
        let [found, len] = [0, 8].map(|at| {
            let mut number = [0; 4];
            number.copy_from_slice(&header[at..at + 4]);
            u32::from_le_bytes(number)
        });
        let published = self.tail.wrapping_sub(at);
        if header[16..] != at.to_le_bytes()
            || len as usize > largest_payload(self.queue.capacity as usize)
            || footprint(len as usize) as u64 > published
        {
            let mut position = [0; 8];
            position.copy_from_slice(&header[16..]);
            return Err(Damage::Record { at, found: u64::from_le_bytes(position), len, published });
        }
        if plant!("queue.freed-too-early") {
            self.queue.move_to(HEAD, at.wrapping_add(footprint(len as usize) as u64));
        }
        // Out of the way while the queue is borrowed.
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        record.extend_from_slice(&header[8..]);
        record.resize(COVERED + len as usize, 0);
        self.copy(at.wrapping_add(HEADER as u64), &mut record[COVERED..]);
        self.record = record;
        let expected = (self.queue.checksum)(0, &self.record);
        if found == expected { Ok(true) } else { Err(Damage::Checksum { at, found, expected }) }
    }

    /// Copies published bytes, each read once.
    fn copy(&self, at: u64, into: &mut [u8]) {
        let pieces = self.queue.pieces(at, into.len());
        let (first, second) = into.split_at_mut(pieces[0].1);
        for ((offset, len), into) in pieces.into_iter().zip([first, second]) {
            // SAFETY: the pieces lie inside the data and were published; the writer of this process, if there is one, does not write there before
            // the head has passed.
            let bytes = unsafe { self.queue.memory.read(offset, len) };
            // SAFETY: `len` bytes are borrowed; the target is this process's own.
            unsafe { copy_changing(bytes.pointer(), into.as_mut_ptr(), len) };
        }
    }
}

/// A record that was read. Dropped, it is the next one still; [`free`](Self::free) it when nothing of it is needed any more.
pub struct Peeked<'a, M: Memory = Hardware> {
    reader: &'a mut Reader<M>,
}

impl<M: Memory> Peeked<'_, M> {
    /// Its number: a record that comes again has the same, and each has a greater one than those before.
    pub fn position(&self) -> u64 {
        self.reader.head
    }

    /// What its writer said about it.
    pub fn tag(&self) -> Tag {
        let mut tag = Tag::default();
        tag.copy_from_slice(&self.reader.record[4..8]);
        tag
    }

    /// Its bytes.
    pub fn payload(&self) -> &[u8] {
        &self.reader.record[COVERED..]
    }

    /// Gives its room back: it never comes again.
    pub fn free(self) {
        let Self { reader } = self;
        let total = footprint(reader.record.len() - COVERED) as u64;
        reader.head = reader.head.wrapping_add(total);
        reader.has_read = false;
        reader.queue.move_to(HEAD, reader.head);
    }
}
