//! The reading end: peek, free; how it sleeps; and the rules a record must keep before anybody sees it.
//!
//! Everything read from the sender's region is read once, into a local, and checked there: the tail is monotone and at most a
//! capacity ahead, a length ends inside what was published, a sequence follows the last.

use super::bell;
use crate::doorbell::{Bell, Waiter};
use crate::layout::{
    self, CLOSED, DATA, HEAD, HEADER, LINE, LayoutError, PADDING, SLEEPING, TAIL, Tag, WAITING,
};
use crate::sync::{Bytes, Hardware, Memory};
use crate::violation::Violation;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use synod_probe::{plant, reach};

/// The reading end of a ring whose producer lives in this process. Dropping it tells the producer that nobody reads.
pub struct Consumer<M: Memory = Hardware> {
    own: M,
    peer: M,
    bell: Option<Bell<M>>,
    capacity: u64,
    /// Freed up to here.
    head: u64,
    /// Told to the producer up to here.
    released: u64,
    /// How far the tail may be ahead of the head; nothing once a rule was broken.
    allowed: u64,
    /// The producer's tail as last seen.
    tail: u64,
    /// The next record's sequence.
    sequence: u64,
    sleeping: bool,
    broken: Option<Violation>,
    _one_thread: PhantomData<Cell<()>>,
}

/// A record's header as it was read, once.
struct Header {
    len: usize,
    tag: Tag,
    sequence: u64,
    total: u64,
}

impl<M: Memory> Consumer<M> {
    /// The reading end over its `own` region (head) and the `peer`'s (tail and data). `waiter` is the producer's. The own
    /// control words are zeroed.
    pub fn over(own: M, peer: M, waiter: Option<Arc<dyn Waiter>>) -> Result<Self, LayoutError> {
        let capacity = layout::capacity(peer.len(), own.len())?;
        for word in [HEAD, SLEEPING, CLOSED] {
            // SAFETY: `capacity` checked that the control words lie inside the region.
            unsafe { own.store(word, 0, Relaxed) };
        }
        Ok(Self {
            bell: bell(&peer, WAITING, waiter),
            own,
            peer,
            capacity: capacity as u64,
            head: 0,
            released: 0,
            allowed: capacity as u64,
            tail: 0,
            sequence: 0,
            sleeping: false,
            broken: None,
            _one_thread: PhantomData,
        })
    }

    /// The oldest record that was published and not freed.
    #[inline]
    pub fn peek(&mut self) -> Result<Option<Record<'_, M>>, Violation> {
        let Some(header) = self.next()? else { return Ok(None) };
        let at = (self.head & (self.capacity - 1)) as usize;
        // SAFETY: `next` checked that the payload lies inside the data and was published; the producer does not write it
        // again before the head has passed.
        let bytes = unsafe { self.peer.read(DATA + at + HEADER, header.len) };
        Ok(Some(Record { consumer: self, bytes, header }))
    }

    /// The next record's header, checked; padding is stepped over.
    #[inline(always)]
    fn next(&mut self) -> Result<Option<Header>, Violation> {
        loop {
            if self.head == self.tail && !self.look()? {
                return Ok(None);
            }
            let at = (self.head & (self.capacity - 1)) as usize;
            // SAFETY: records are aligned to 64 and at least one line lies between head and tail.
            let header = unsafe { self.peer.read(DATA + at, HEADER) };
            let words = header.pointer().cast::<u64>();
            // SAFETY: sixteen aligned bytes are borrowed; volatile, because a hostile sender may write at any time.
            let (first, sequence) = unsafe { (words.read_volatile(), words.add(1).read_volatile()) };
            drop(header);
            let (first, sequence) = (u64::from_le(first), u64::from_le(sequence));
            let len = first as u32;
            let left = self.capacity - at as u64;
            let published = left.min(self.tail - self.head);
            if len == PADDING {
                self.skip(left)?;
                continue;
            }
            let total = layout::footprint(len as usize) as u64;
            if total > published {
                return Err(self.broke(Violation::RecordTooLong { at: self.head, len, published }));
            }
            if sequence != self.sequence {
                let (at, expected) = (self.head, self.sequence);
                return Err(self.broke(Violation::Sequence { at, expected, found: sequence }));
            }
            if plant!("ring.freed-too-early") {
                // SAFETY: the control words were checked at the start.
                unsafe { self.own.store(HEAD, self.head + total, Release) };
            }
            let tag = ((first >> 32) as u32).to_le_bytes();
            return Ok(Some(Header { len: len as usize, tag, sequence, total }));
        }
    }

    /// Looks at the producer's tail again, all known records being read; whether there is something. Tells the producer
    /// what was freed if there is not.
    #[inline]
    fn look(&mut self) -> Result<bool, Violation> {
        // SAFETY: the control words of both regions were checked at the start.
        let tail = unsafe { self.peer.load(TAIL, Acquire) };
        let ahead = tail.wrapping_sub(self.head);
        if ahead.wrapping_sub(1) >= self.allowed || !tail.is_multiple_of(LINE as u64) {
            return self.nothing_good(tail);
        }
        self.tail = tail;
        self.wake_up();
        Ok(true)
    }

    /// The tail did not move, or moved where it must not.
    #[cold]
    #[inline(never)]
    fn nothing_good(&mut self, tail: u64) -> Result<bool, Violation> {
        if let Some(violation) = self.broken {
            return Err(violation);
        }
        if tail == self.tail {
            self.release();
            return Ok(false);
        }
        if tail < self.tail {
            return Err(self.broke(Violation::TailWentBack { known: self.tail, found: tail }));
        }
        if tail - self.head > self.capacity {
            let (head, capacity) = (self.head, self.capacity);
            return Err(self.broke(Violation::TailTooFar { head, found: tail, capacity }));
        }
        Err(self.broke(Violation::Misaligned { found: tail }))
    }

    /// Steps over the unused rest of a lap.
    #[cold]
    fn skip(&mut self, left: u64) -> Result<(), Violation> {
        if left > self.tail - self.head {
            let published = self.tail - self.head;
            return Err(self.broke(Violation::RecordTooLong { at: self.head, len: PADDING, published }));
        }
        self.advance(left);
        Ok(())
    }

    #[cold]
    fn broke(&mut self, violation: Violation) -> Violation {
        reach!("ring.violation");
        // From here on every look answers with the violation.
        self.broken = Some(violation);
        self.allowed = 0;
        self.tail = self.head;
        violation
    }

    #[inline(always)]
    fn advance(&mut self, bytes: u64) {
        self.head += bytes;
        if self.head - self.released >= self.capacity / 8 {
            self.release();
        }
    }

    /// Tells the producer what was freed so far, and wakes it if it waits for space. Happens by itself at every eighth of
    /// the capacity and whenever the ring is found empty.
    #[inline]
    pub fn release(&mut self) {
        if self.released == self.head {
            return;
        }
        self.released = self.head;
        // SAFETY: the control words were checked at the start.
        unsafe { self.own.store(HEAD, self.head, Release) };
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }

    /// Whether the producer is gone and everything it published was read.
    pub fn ended(&mut self) -> Result<bool, Violation> {
        // SAFETY: the control words were checked at the start.
        let closed = unsafe { self.peer.load(CLOSED, Acquire) } != 0;
        // In this order: what was published before the close is seen after it.
        Ok(closed && self.next()?.is_none())
    }

    /// Whether a record is known to be there, without looking at shared memory.
    pub(crate) fn has_seen_more(&self) -> bool {
        self.head != self.tail
    }

    /// Says that this side is about to sleep. False: there is something (or the producer is gone), stay awake. True: sleep until
    /// the waiter wakes, then peek again.
    pub fn fall_asleep(&mut self) -> Result<bool, Violation> {
        self.sleeping = true;
        // SAFETY: the control words were checked at the start.
        unsafe { self.own.store(SLEEPING, 1, Relaxed) };
        self.own.fence();
        // SAFETY: the control words were checked at the start.
        let closed = unsafe { self.peer.load(CLOSED, Acquire) } != 0;
        let awake = closed || self.next()?.is_some();
        if awake {
            self.wake_up();
        }
        Ok(!awake)
    }

    /// Says that this side no longer sleeps; a peek that finds something says so too.
    pub fn wake_up(&mut self) {
        if self.sleeping {
            self.sleeping = false;
            // SAFETY: the control words were checked at the start.
            unsafe { self.own.store(SLEEPING, 0, Relaxed) };
        }
    }
}

impl<M: Memory> Drop for Consumer<M> {
    fn drop(&mut self) {
        // SAFETY: the control words were checked at the start.
        unsafe { self.own.store(CLOSED, 1, Release) };
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }
}

/// A record in place. Dropped without [`free`](Self::free) it stays the oldest.
pub struct Record<'a, M: Memory = Hardware> {
    consumer: &'a mut Consumer<M>,
    bytes: M::Reading,
    header: Header,
}

impl<M: Memory> Record<'_, M> {
    /// What the sender said in four bytes.
    #[inline(always)]
    pub fn tag(&self) -> Tag {
        self.header.tag
    }

    /// Which record of this ring it is, from 0.
    #[inline(always)]
    pub fn sequence(&self) -> u64 {
        self.header.sequence
    }

    /// The payload, in place.
    #[inline(always)]
    pub fn payload(&self) -> &[u8] {
        // SAFETY: `bytes` borrows `len` initialised bytes, which a producer of this process leaves alone until they are
        // freed, and freeing takes this record.
        unsafe { std::slice::from_raw_parts(self.bytes.pointer(), self.header.len) }
    }

    /// Gives the space back: the next peek sees the next record.
    #[inline(always)]
    pub fn free(self) {
        let Self { consumer, bytes, header } = self;
        drop(bytes);
        consumer.sequence += 1;
        consumer.advance(header.total);
    }
}

/// The reading end of a ring whose producer is another process, which may write at any time: payloads are only copied out.
pub struct ForeignConsumer<M: Memory = Hardware>(Consumer<M>);

impl<M: Memory> From<Consumer<M>> for ForeignConsumer<M> {
    fn from(consumer: Consumer<M>) -> Self {
        Self(consumer)
    }
}

impl<M: Memory> ForeignConsumer<M> {
    /// The oldest record that was published and not freed.
    pub fn peek(&mut self) -> Result<Option<ForeignRecord<'_, M>>, Violation> {
        Ok(self.0.peek()?.map(ForeignRecord))
    }

    /// As [`Consumer::fall_asleep`].
    pub fn fall_asleep(&mut self) -> Result<bool, Violation> {
        self.0.fall_asleep()
    }

    /// As [`Consumer::ended`].
    pub fn ended(&mut self) -> Result<bool, Violation> {
        self.0.ended()
    }
}

/// A record in memory that its sender may still change.
pub struct ForeignRecord<'a, M: Memory = Hardware>(Record<'a, M>);

impl<M: Memory> ForeignRecord<'_, M> {
    /// What the sender said in four bytes, as read once.
    pub fn tag(&self) -> Tag {
        self.0.tag()
    }

    /// Which record of this ring it is, from 0.
    pub fn sequence(&self) -> u64 {
        self.0.sequence()
    }

    /// Bytes of payload, as read once.
    pub fn len(&self) -> usize {
        self.0.header.len
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the payload to `into`, each byte read once. Parse the copy, never the original.
    pub fn copy_to(&self, into: &mut Vec<u8>) {
        let (from, len) = (self.0.bytes.pointer(), self.len());
        into.reserve(len);
        let words = len / 8;
        for word in 0..words {
            // SAFETY: inside the borrowed range; records are aligned to 64 and the payload starts at 16. Volatile,
            // because another process may be writing.
            let value = unsafe { from.cast::<u64>().add(word).read_volatile() };
            into.extend_from_slice(&value.to_ne_bytes());
        }
        for byte in words * 8..len {
            // SAFETY: as above.
            into.push(unsafe { from.add(byte).read_volatile() });
        }
    }

    /// Gives the space back.
    pub fn free(self) {
        self.0.free();
    }
}
