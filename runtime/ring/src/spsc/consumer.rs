//! The reading end: peek and free, or drain; how it sleeps; and the rules a record must keep before anybody sees it.
//!
//! Everything read from the sender's region is read once, into a local, and checked there: the tail is monotone and at most a
//! capacity ahead, a length ends inside what was published, a sequence follows the last.

use super::{ForeignRecord, bell};
use crate::doorbell::{Bell, Waiter};
use crate::layout::{
    self, CLOSED, DATA, HEAD, HEADER, LINE, LayoutError, PADDING, SLEEPING, TAIL, Tag, WAITING,
};
use crate::sync::{Bytes, Hardware, Memory};
use crate::violation::Violation;
use std::cell::Cell;
use std::hint::{black_box, spin_loop};
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use synod_probe::{plant, reach};

/// Bytes read in a row, and not by fewer than four records, that a [paced](Consumer::paced) reader takes for a stream.
const BURST: u64 = 512;
/// How often it then pauses: measured, where 6 gained half as much and 24 no more.
const PAUSES: u32 = 12;

/// The reading end of a ring whose producer lives in this process. Dropping it tells the producer that nobody reads.
///
/// What is stored for every record (head, sequence) has no such neighbour, for the reason given at [`Producer`](crate::Producer).
#[repr(C)]
pub struct Consumer<M: Memory = Hardware> {
    own: M,
    peer: M,
    /// As in [`Position`], as are `sequence`, `end`, `tail` and `stride`.
    head: u64,
    capacity: u64,
    sequence: u64,
    /// How far the tail may be ahead of the head; nothing once a rule was broken.
    allowed: u64,
    end: u64,
    /// Told to the producer up to here.
    released: u64,
    tail: u64,
    /// The head at which it is told again.
    tell_at: u64,
    stride: u64,
    bell: Option<Bell<M>>,
    sleeping: bool,
    /// Whether an empty ring is left alone for a moment after a burst.
    paced: bool,
    broken: Option<Violation>,
    _one_thread: PhantomData<Cell<()>>,
}

/// Where the reading stands, in locals that stay in registers.
#[derive(Clone, Copy)]
struct Position {
    /// Freed up to here.
    head: u64,
    /// What may be read without another look: up to the tail, or to the end of the lap.
    end: u64,
    /// The producer's tail as last seen.
    tail: u64,
    /// The next record's sequence.
    sequence: u64,
    /// The last record's footprint.
    stride: u64,
}

impl Position {
    /// Steps past a record.
    #[inline(always)]
    fn pass(&mut self, total: u64) {
        // Records mostly have one size. A branch lets the processor guess where the next one starts; a sum would make it
        // wait for this one's length, record after record. (What black_box hides is that both are equal.)
        if total != self.stride {
            self.stride = black_box(total);
        }
        self.head += self.stride;
        self.sequence += 1;
    }
}

/// A record's header as it was read, once.
pub(super) struct Header {
    pub len: usize,
    pub tag: Tag,
    pub sequence: u64,
    total: u64,
}

impl<M: Memory> Consumer<M> {
    /// The reading end over its `own` region (head) and the `peer`'s (tail and data), which it only reads. `waiter` is the
    /// producer's. The own control words are zeroed: they are already, if the producer looked at them before.
    pub fn over(own: M, peer: M, waiter: Option<Arc<dyn Waiter>>) -> Result<Self, LayoutError> {
        if !peer.writable() {
            return Err(LayoutError::Foreign);
        }
        Self::over_any(own, peer, waiter)
    }

    /// As [`over`](Self::over), for who hands out no record but as a foreign one.
    pub(crate) fn over_any(own: M, peer: M, waiter: Option<Arc<dyn Waiter>>) -> Result<Self, LayoutError> {
        let capacity = layout::capacity(peer.len(), own.len())?;
        layout::writable(&own)?;
        for word in [HEAD, SLEEPING, CLOSED] {
            // SAFETY: `capacity` checked that the control words lie inside the region, and it can be written.
            unsafe { own.store(word, 0, Relaxed) };
        }
        Ok(Self {
            bell: bell(&peer, WAITING, waiter),
            own,
            peer,
            head: 0,
            capacity: capacity as u64,
            sequence: 0,
            allowed: capacity as u64,
            end: 0,
            released: 0,
            tail: 0,
            tell_at: capacity as u64 / 8,
            stride: LINE as u64,
            paced: false,
            sleeping: false,
            broken: None,
            _one_thread: PhantomData,
        })
    }

    /// For a reader that watches this ring and does nothing else: when it has read a burst and finds the ring empty, it pauses
    /// for about as long as a cache line takes there and back. Looking again at once would pull the tail away from a producer
    /// that is about to move it, once for every batch; left alone, it moves the tail several times at the price of one.
    pub fn paced(mut self) -> Self {
        self.paced = true;
        self
    }

    #[inline(always)]
    fn position(&self) -> Position {
        let Self { head, end, tail, sequence, stride, .. } = *self;
        Position { head, end, tail, sequence, stride }
    }

    #[inline(always)]
    fn stand_at(&mut self, at: Position) {
        self.head = at.head;
        self.end = at.end;
        self.tail = at.tail;
        self.sequence = at.sequence;
        self.stride = at.stride;
    }

    /// The oldest record that was published and not freed.
    #[inline]
    pub fn peek(&mut self) -> Result<Option<Peeked<'_, M>>, Violation> {
        let mut at = self.position();
        let next = self.next(&mut at);
        (self.head, self.end, self.tail) = (at.head, at.end, at.tail);
        Ok(next?.map(|record| Peeked { consumer: self, record }))
    }

    /// Hands out up to `most` records, oldest first, and frees each that was taken, until `take` keeps one in place or
    /// nothing more is there; returns how many were taken. Cheaper for each than a peek of its own.
    #[inline]
    pub fn drain<F>(&mut self, most: usize, mut take: F) -> Result<usize, Violation>
    where
        F: for<'a> FnMut(&Record<'a, M>) -> Taken,
    {
        let mut drain = Drain { at: self.position(), consumer: self };
        let mut taken = 0;
        while taken < most {
            let Some(record) = drain.consumer.next(&mut drain.at)? else {
                break;
            };
            if take(&record) == Taken::No {
                break;
            }
            let total = record.header.total;
            drop(record);
            drain.at.pass(total);
            drain.consumer.keep_told(drain.at.head);
            taken += 1;
        }
        Ok(taken)
    }

    /// The next record, checked; padding is stepped over.
    #[inline(always)]
    fn next<'a>(&mut self, at: &mut Position) -> Result<Option<Record<'a, M>>, Violation> {
        loop {
            if at.head == at.end {
                if at.head == at.tail {
                    match self.look(*at)? {
                        Some(tail) => at.tail = tail,
                        None => return Ok(None),
                    }
                }
                at.end = at.tail.min((at.head | (self.capacity - 1)) + 1);
            }
            let offset = (at.head & (self.capacity - 1)) as usize;
            // SAFETY: records are aligned to sixteen and at least a header lies between head and tail.
            let header = unsafe { self.peer.read(DATA + offset, HEADER) };
            let words = header.pointer().cast::<u64>();
            // SAFETY: sixteen aligned bytes are borrowed; volatile, because a hostile sender may write at any time.
            let (first, sequence) = unsafe { (words.read_volatile(), words.add(1).read_volatile()) };
            drop(header);
            let (first, sequence) = (u64::from_le(first), u64::from_le(sequence));
            let len = first as u32;
            let total = layout::footprint(len as usize) as u64;
            if total > at.end - at.head || sequence != at.sequence {
                // Padding is as long as nothing can be.
                let skipped = self.skip(*at, len, sequence);
                at.head = skipped.inspect_err(|_| (at.end, at.tail) = (at.head, at.head))?;
                continue;
            }
            if plant!("ring.freed-too-early") {
                // SAFETY: the control words were checked at the start.
                unsafe { self.own.store(HEAD, at.head + total, Release) };
            }
            // SAFETY: as was just checked, the payload lies inside the data and was published; the producer does not
            // write it again before the head has passed.
            let bytes = unsafe { self.peer.read(DATA + offset + HEADER, len as usize) };
            let tag = ((first >> 32) as u32).to_le_bytes();
            let header = Header { len: len as usize, tag, sequence, total };
            return Ok(Some(Record { bytes, header, _ring: PhantomData }));
        }
    }

    /// Looks at the producer's tail again, all known records being read; returns it if there is something. Tells the
    /// producer what was freed if there is not.
    #[inline(always)]
    fn look(&mut self, at: Position) -> Result<Option<u64>, Violation> {
        // SAFETY: the control words of both regions were checked at the start.
        let tail = unsafe { self.peer.load(TAIL, Acquire) };
        let ahead = tail.wrapping_sub(at.head);
        if ahead.wrapping_sub(1) >= self.allowed || !tail.is_multiple_of(HEADER as u64) {
            return self.nothing_good(at, tail).map(|()| None);
        }
        self.wake_up();
        Ok(Some(tail))
    }

    /// The tail did not move, or moved where it must not.
    #[cold]
    #[inline(never)]
    fn nothing_good(&mut self, at: Position, tail: u64) -> Result<(), Violation> {
        if let Some(violation) = self.broken {
            return Err(violation);
        }
        if tail == at.tail {
            if self.paced && at.head - self.released >= BURST.max(4 * at.stride) {
                reach!("ring.paced");
                (0..PAUSES).for_each(|_| spin_loop());
            }
            self.release_to(at.head);
            return Ok(());
        }
        if tail < at.tail {
            return Err(self.broke(Violation::TailWentBack { known: at.tail, found: tail }));
        }
        if tail - at.head > self.capacity {
            let (head, capacity) = (at.head, self.capacity);
            return Err(self.broke(Violation::TailTooFar { head, found: tail, capacity }));
        }
        Err(self.broke(Violation::Misaligned { found: tail }))
    }

    /// What lies at the head is not the next record: where the lap after its padding starts, or which rule it breaks.
    #[cold]
    #[inline(never)]
    fn skip(&mut self, at: Position, len: u32, sequence: u64) -> Result<u64, Violation> {
        let published = at.end - at.head;
        // No record needs half a lap of padding; if it could, a hostile sender kept its reader at skipping for ever.
        if len == PADDING && at.end.is_multiple_of(self.capacity) && published < self.capacity / 2 {
            return Ok(at.end);
        }
        if layout::footprint(len as usize) as u64 > published {
            return Err(self.broke(Violation::RecordTooLong { at: at.head, len, published }));
        }
        Err(self.broke(Violation::Sequence { at: at.head, expected: at.sequence, found: sequence }))
    }

    #[cold]
    fn broke(&mut self, violation: Violation) -> Violation {
        reach!("ring.violation");
        // From here on every look answers with the violation; the caller forgets the tail.
        self.broken = Some(violation);
        self.allowed = 0;
        violation
    }

    /// Tells the producer at every eighth of the capacity.
    #[inline(always)]
    fn keep_told(&mut self, head: u64) {
        if head >= self.tell_at {
            self.release_to(head);
        }
    }

    /// Tells the producer what was freed so far, and wakes it if it waits for space. Happens by itself at every eighth of
    /// the capacity and whenever the ring is found empty.
    pub fn release(&mut self) {
        self.release_to(self.head);
    }

    #[inline(never)]
    fn release_to(&mut self, head: u64) {
        if self.released == head {
            return;
        }
        self.released = head;
        self.tell_at = head + self.capacity / 8;
        // SAFETY: the control words were checked at the start.
        unsafe { self.own.store(HEAD, head, Release) };
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }

    /// Whether the producer is gone and everything it published was read.
    pub fn ended(&mut self) -> Result<bool, Violation> {
        // In this order: what was published before the close is seen after it.
        Ok(self.is_closed() && self.peek()?.is_none())
    }

    /// Whether the producer said that nothing follows what it published.
    pub(crate) fn is_closed(&self) -> bool {
        // SAFETY: the control words were checked at the start.
        unsafe { self.peer.load(CLOSED, Acquire) != 0 }
    }

    /// Whether something is there to be read (or to be called a violation).
    pub(crate) fn has_more(&self) -> bool {
        // SAFETY: the control words were checked at the start.
        self.head != unsafe { self.peer.load(TAIL, Acquire) }
    }

    /// Says that this side is about to sleep. False: there is something (or the producer is gone), stay awake. True: sleep until
    /// the waiter wakes, then peek again.
    pub fn fall_asleep(&mut self) -> Result<bool, Violation> {
        self.sleeping = true;
        // SAFETY: the control words were checked at the start.
        unsafe { self.own.store(SLEEPING, 1, Relaxed) };
        self.own.fence();
        let awake = self.is_closed() || self.peek()?.is_some();
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

/// What a drain's callback did with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is done with: freed.
    Yes,
    /// It stays the oldest, and the drain ends.
    No,
}

/// A drain's own position, given back to its consumer however the drain ends.
struct Drain<'a, M: Memory> {
    at: Position,
    consumer: &'a mut Consumer<M>,
}

impl<M: Memory> Drop for Drain<'_, M> {
    #[inline(always)]
    fn drop(&mut self) {
        self.consumer.stand_at(self.at);
    }
}

/// A record in place.
pub struct Record<'a, M: Memory = Hardware> {
    bytes: M::Reading,
    header: Header,
    _ring: PhantomData<&'a [u8]>,
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

    /// This record as one that its sender may still change.
    #[inline(always)]
    pub(crate) fn foreign(&self) -> ForeignRecord<'_, M> {
        ForeignRecord::new(&self.bytes, &self.header)
    }

    /// The payload, in place.
    #[inline(always)]
    pub fn payload(&self) -> &[u8] {
        // SAFETY: `bytes` borrows `len` initialised bytes, which a producer of this process leaves alone until they are
        // freed, and nothing frees them while this record lives. (Another process's records are never handed out as this.)
        unsafe { std::slice::from_raw_parts(self.bytes.pointer(), self.header.len) }
    }
}

/// The oldest record, in place. Dropped without [`free`](Self::free) it stays the oldest.
pub struct Peeked<'a, M: Memory = Hardware> {
    consumer: &'a mut Consumer<M>,
    record: Record<'a, M>,
}

impl<'a, M: Memory> Deref for Peeked<'a, M> {
    type Target = Record<'a, M>;

    #[inline(always)]
    fn deref(&self) -> &Record<'a, M> {
        &self.record
    }
}

impl<M: Memory> Peeked<'_, M> {
    /// Gives the space back: the next peek sees the next record.
    #[inline(always)]
    pub fn free(self) {
        let Self { consumer, record } = self;
        let total = record.header.total;
        drop(record);
        let mut at = consumer.position();
        at.pass(total);
        (consumer.head, consumer.sequence, consumer.stride) = (at.head, at.sequence, at.stride);
        consumer.keep_told(at.head);
    }
}
