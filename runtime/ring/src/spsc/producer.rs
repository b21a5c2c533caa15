//! The writing end: claim, fill, commit, publish; one by one or in a batch; and how it waits for space.

use super::bell;
use crate::doorbell::{Bell, Waiter};
use crate::layout::{self, CLOSED, DATA, HEAD, HEADER, LayoutError, SLEEPING, TAIL, Tag, WAITING};
use crate::mailbox;
use crate::sync::{BytesMut, Hardware, Memory};
use crate::violation::Violation;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use synod_probe::{plant, reach};

/// How far ahead of a record the line that comes later is fetched for writing.
const AHEAD: usize = 512;

/// The writing end of a ring. Dropping it publishes what was committed and tells the consumer that nothing follows.
///
/// What is stored for every record (tail, sequence) has no such neighbour: a compiler that copies both at once, as a batch ends,
/// loads wider than was stored, and the processor then waits until every store before is out, contended lines and all.
#[repr(C)]
pub struct Producer<M: Memory = Hardware> {
    own: M,
    peer: M,
    /// Committed up to here.
    tail: u64,
    capacity: u64,
    /// The next record's sequence.
    sequence: u64,
    largest: usize,
    /// What may be written without another look: up to the limit, or to the end of the tail's lap.
    room: u64,
    /// Published up to here.
    published: u64,
    /// The consumer's head as last seen, and a capacity further: the tail must not pass that.
    limit: u64,
    bell: Option<Bell<M>>,
    waiting: bool,
    broken: Option<Violation>,
    _one_thread: PhantomData<Cell<()>>,
}

/// Why a claim was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// There is no space until the consumer frees some: nothing was written, try again or wait.
    #[error("the ring is full: wait for space, or try again")]
    Full,
    /// No record of that length ever fits.
    #[error(
        "a payload of {len} bytes, and this ring takes up to {largest}: send it by descriptor, or in parts"
    )]
    TooLarge {
        /// Bytes asked for.
        len: usize,
        /// The most that fit.
        largest: usize,
    },
    /// The consumer is gone: nothing sent here is read any more.
    #[error("the receiver is gone: look up the route again")]
    Closed,
    /// The consumer broke a rule.
    #[error(transparent)]
    Violation(#[from] Violation),
}

impl<M: Memory> Producer<M> {
    /// The writing end over its `own` region (tail and data) and the `peer`'s (head), which it only reads. `waiter` is the
    /// consumer's. The own control words are zeroed: they are already, if the consumer looked at them before.
    pub fn over(own: M, peer: M, waiter: Option<Arc<dyn Waiter>>) -> Result<Self, LayoutError> {
        let capacity = layout::capacity(own.len(), peer.len())?;
        layout::writable(&own)?;
        for word in [TAIL, WAITING, CLOSED] {
            // SAFETY: `capacity` checked that the control words lie inside the region, and it can be written.
            unsafe { own.store(word, 0, Relaxed) };
        }
        Ok(Self {
            bell: bell(&peer, SLEEPING, waiter),
            own,
            peer,
            tail: 0,
            capacity: capacity as u64,
            sequence: 0,
            largest: layout::largest_payload(capacity),
            room: capacity as u64,
            published: 0,
            limit: capacity as u64,
            waiting: false,
            broken: None,
            _one_thread: PhantomData,
        })
    }

    /// The writing end of a lane into a mailbox of another process: as [`over`](Self::over), but it rings `waiter` when the
    /// mailbox sleeps, as its `control` memory says, which is only read. The other side is
    /// [`Mailbox::admit_foreign`](crate::Mailbox::admit_foreign), before or after anything was published.
    pub fn into_mailbox(own: M, peer: M, control: M, waiter: Arc<dyn Waiter>) -> Result<Self, LayoutError> {
        let (len, needed) = (control.len(), mailbox::SLEEPING + size_of::<u64>());
        if len < needed {
            return Err(LayoutError::TooShort { len, needed });
        }
        let mut producer = Self::over(own, peer, None)?;
        producer.set_bell(Bell { control, sleeping: mailbox::SLEEPING, ready: None, waiter });
        Ok(producer)
    }

    pub(crate) fn set_bell(&mut self, bell: Bell<M>) {
        self.bell = Some(bell);
    }

    /// Bytes of data the ring holds.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// The longest payload this ring takes.
    pub fn largest(&self) -> usize {
        self.largest
    }

    /// Bytes committed and not known to be freed: how full the ring is, at most.
    pub fn used(&self) -> usize {
        (self.tail + self.capacity - self.limit) as usize
    }

    /// The sequence number that the next committed record gets; the first gets 0.
    pub fn next_sequence(&self) -> u64 {
        self.sequence
    }

    /// Space for a payload of `len` bytes, to be filled and committed. Dropping the claim gives the space back.
    #[inline]
    pub fn claim(&mut self, len: usize) -> Result<Claim<'_, M>, ClaimError> {
        let total = self.footprint(len)?;
        if self.tail + total > self.room {
            (self.tail, self.room) = self.make_room(self.tail, total)?;
        }
        let bytes = self.borrow(self.tail, total);
        Ok(Claim { tail: &mut self.tail, sequence: &mut self.sequence, bytes, len, total })
    }

    /// Many records in a row, published together: cheaper for each than claims of their own.
    #[inline]
    pub fn batch(&mut self) -> Batch<'_, M> {
        Batch { tail: self.tail, room: self.room, sequence: self.sequence, producer: self }
    }

    /// Bytes that a record with `len` bytes of payload takes, if it can ever fit.
    #[inline(always)]
    fn footprint(&self, len: usize) -> Result<u64, ClaimError> {
        if len > self.largest {
            return Err(ClaimError::TooLarge { len, largest: self.largest });
        }
        Ok(layout::footprint(len) as u64)
    }

    /// Starts the next lap if the record does not fit into this one, marking the rest of this one as unused; and looks at
    /// the consumer's head again if that is needed. Returns the tail and its room.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self, tail: u64, total: u64) -> Result<(u64, u64), ClaimError> {
        let at = tail & (self.capacity - 1);
        let left = self.capacity - at;
        let padding = if total > left { left } else { 0 };
        let needed = if plant!("ring.wrap-around") { total } else { padding + total };
        if tail + needed > self.limit {
            self.find_space(tail, needed)?;
        }
        if padding != 0 {
            reach!("ring.wrapped");
            // SAFETY: these bytes up to the end of the data are free, as was just made sure.
            let mut header = unsafe { self.own.write(DATA + at as usize, HEADER) };
            // SAFETY: sixteen bytes are borrowed; records are aligned to sixteen.
            unsafe { write_header(header.pointer(), layout::PADDING, Tag::default(), 0) };
        }
        let tail = tail + padding;
        Ok((tail, self.limit.min((tail | (self.capacity - 1)) + 1)))
    }

    /// The bytes of a record for which there is room at the tail.
    #[inline(always)]
    fn borrow(&self, tail: u64, total: u64) -> M::Writing {
        let at = (tail & (self.capacity - 1)) as usize;
        self.own.prefetch_for_write(DATA + ((at + AHEAD) & (self.capacity as usize - 1)));
        // SAFETY: the caller made sure that [tail, tail + total) is inside the data, free and in one piece; the
        // consumer does not look at it before the tail covers it.
        unsafe { self.own.write(DATA + at, total as usize) }
    }

    /// Looks at the consumer's head again.
    fn find_space(&mut self, tail: u64, needed: u64) -> Result<(), ClaimError> {
        if let Some(violation) = self.broken {
            return Err(violation.into());
        }
        // SAFETY: the control words of both regions were checked at the start.
        let (closed, head) = unsafe { (self.peer.load(CLOSED, Relaxed), self.peer.load(HEAD, Acquire)) };
        if closed != 0 {
            return Err(ClaimError::Closed);
        }
        let known = self.limit - self.capacity;
        if head < known || head > self.published || !head.is_multiple_of(HEADER as u64) {
            let violation = Violation::Head { known, found: head, tail: self.published };
            self.broken = Some(violation);
            return Err(violation.into());
        }
        self.limit = head + self.capacity;
        if tail + needed > self.limit {
            reach!("ring.full");
            return Err(ClaimError::Full);
        }
        self.wake_up();
        Ok(())
    }

    /// Makes every committed record visible to the consumer, and wakes it if it sleeps.
    #[inline]
    pub fn publish(&mut self) {
        if self.published == self.tail {
            return;
        }
        let order = if plant!("ring.relaxed-publish") { Relaxed } else { Release };
        // SAFETY: the control words were checked at the start.
        unsafe { self.own.store(TAIL, self.tail, order) };
        self.published = self.tail;
        self.ring();
    }

    /// Wakes the consumer if it sleeps, for something that was published beside this ring.
    pub fn ring(&self) {
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }

    /// Copies `payload` into the ring and commits it; returns its sequence. Not yet published.
    #[inline]
    pub fn push(&mut self, tag: Tag, payload: &[u8]) -> Result<u64, ClaimError> {
        let mut claim = self.claim(payload.len())?;
        claim.payload().copy_from_slice(payload);
        Ok(claim.commit(tag))
    }

    /// Whether the consumer is gone.
    pub fn is_closed(&self) -> bool {
        // SAFETY: the control words were checked at the start.
        unsafe { self.peer.load(CLOSED, Acquire) != 0 }
    }

    /// Says that this side is about to sleep until `len` bytes of payload fit. False: they fit now, stay awake. True:
    /// sleep until the waiter wakes, then claim again. What was committed is published first: otherwise nobody could free.
    ///
    /// The consumer must have been given this side's waiter.
    pub fn fall_asleep(&mut self, len: usize) -> Result<bool, ClaimError> {
        self.publish();
        self.waiting = true;
        // SAFETY: the control words were checked at the start.
        unsafe { self.own.store(WAITING, 1, Relaxed) };
        self.own.fence();
        match self.claim(len).map(drop) {
            Err(ClaimError::Full) => {
                reach!("ring.producer_sleeps");
                Ok(true)
            }
            other => {
                self.wake_up();
                other.map(|()| false)
            }
        }
    }

    /// The same, until the consumer has freed everything that was published. False: it has, or is gone.
    pub fn fall_asleep_until_empty(&mut self) -> Result<bool, ClaimError> {
        self.publish();
        self.waiting = true;
        // SAFETY: the control words were checked at the start.
        unsafe { self.own.store(WAITING, 1, Relaxed) };
        self.own.fence();
        match self.find_space(self.tail, self.capacity) {
            Err(ClaimError::Full) => Ok(true),
            other => {
                self.wake_up();
                other.map(|()| false)
            }
        }
    }

    /// Whether the consumer has freed everything that was published.
    pub fn is_drained(&mut self) -> bool {
        plant!("ring.drained-too-soon") || self.find_space(self.published, self.capacity).is_ok()
    }

    /// Says that this side no longer sleeps; a claim that succeeds says so too.
    pub fn wake_up(&mut self) {
        if self.waiting {
            self.waiting = false;
            // SAFETY: the control words were checked at the start.
            unsafe { self.own.store(WAITING, 0, Relaxed) };
        }
    }
}

impl<M: Memory> Drop for Producer<M> {
    fn drop(&mut self) {
        self.publish();
        // SAFETY: the control words were checked at the start.
        unsafe { self.own.store(CLOSED, 1, Release) };
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }
}

/// Many records in a row, sent together by [`publish`](Self::publish) or not at all: dropped before that, nothing was sent.
#[must_use = "a batch that is not published sends nothing"]
pub struct Batch<'a, M: Memory = Hardware> {
    tail: u64,
    room: u64,
    sequence: u64,
    producer: &'a mut Producer<M>,
}

impl<M: Memory> Batch<'_, M> {
    /// Adds a record with `len` bytes of payload, written in place by `fill`; returns its sequence number.
    #[inline(always)]
    pub fn write(&mut self, tag: Tag, len: usize, fill: impl FnOnce(&mut [u8])) -> Result<u64, ClaimError> {
        let total = self.producer.footprint(len)?;
        if self.tail + total > self.room {
            (self.tail, self.room) = self.producer.make_room(self.tail, total)?;
        }
        let mut bytes = self.producer.borrow(self.tail, total);
        let sequence = self.sequence;
        // Header first: stores leave for the other core's cache in order, and in address order they share the way.
        // SAFETY: the header's sixteen bytes are borrowed; records are aligned to sixteen.
        unsafe { write_header(bytes.pointer(), len as u32, tag, sequence) };
        // SAFETY: the borrow covers the header and `len` bytes behind it; regions are initialised.
        fill(unsafe { std::slice::from_raw_parts_mut(bytes.pointer().add(HEADER), len) });
        drop(bytes);
        self.sequence = sequence + 1;
        self.tail += total;
        Ok(sequence)
    }

    /// Adds a record with a copy of `payload`; returns its sequence number.
    #[inline(always)]
    pub fn push(&mut self, tag: Tag, payload: &[u8]) -> Result<u64, ClaimError> {
        self.write(tag, payload.len(), |place| place.copy_from_slice(payload))
    }

    /// Publishes the batch, and whatever was committed before.
    #[inline(always)]
    pub fn publish(self) {
        let Self { tail, room, sequence, producer } = self;
        producer.tail = tail;
        producer.room = room;
        producer.sequence = sequence;
        producer.publish();
    }
}

/// Claimed space, filled in place. Dropped without a commit, nothing was sent.
#[must_use = "a claim that is not committed is given back"]
pub struct Claim<'a, M: Memory = Hardware> {
    tail: &'a mut u64,
    sequence: &'a mut u64,
    bytes: M::Writing,
    len: usize,
    total: u64,
}

impl<M: Memory> Claim<'_, M> {
    /// The payload, to be written. It holds what an earlier lap left there.
    #[inline(always)]
    pub fn payload(&mut self) -> &mut [u8] {
        // SAFETY: the claim borrows `len` bytes behind the header for itself; regions are initialised.
        unsafe { std::slice::from_raw_parts_mut(self.bytes.pointer().add(HEADER), self.len) }
    }

    /// Makes the record part of the next publish; returns its sequence number.
    #[inline(always)]
    pub fn commit(self, tag: Tag) -> u64 {
        let Self { tail, sequence: next, mut bytes, len, total } = self;
        let sequence = *next;
        // SAFETY: the header's sixteen bytes are borrowed by the claim; records are aligned to sixteen.
        unsafe { write_header(bytes.pointer(), len as u32, tag, sequence) };
        drop(bytes);
        *next = sequence + 1;
        *tail += total;
        sequence
    }
}

/// Writes a record's header, in one store where the processor has one that wide: what waits for a contended line waits in a
/// queue of few places.
///
/// # Safety
/// `at` is aligned to 16, and sixteen bytes there may be written.
#[inline(always)]
unsafe fn write_header(at: *mut u8, len: u32, tag: Tag, sequence: u64) {
    let first = u64::from(len) | u64::from(u32::from_le_bytes(tag)) << 32;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's promise; every processor of this architecture has the instruction.
    unsafe {
        use std::arch::x86_64::{_mm_set_epi64x, _mm_store_si128};
        _mm_store_si128(at.cast(), _mm_set_epi64x(sequence.cast_signed(), first.cast_signed()));
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the caller's promise.
    unsafe {
        at.cast::<u64>().write(first.to_le());
        at.cast::<u64>().add(1).write(sequence.to_le());
    }
}
