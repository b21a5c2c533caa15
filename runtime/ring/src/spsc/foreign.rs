//! Records from a producer in another process, which may write at any time: they are copied out, each byte read once, and the
//! copy is parsed. There is no `&[u8]` over bytes that somebody else may change.

use super::consumer::{Consumer, Header, Peeked};
use crate::copy::copy_changing;
use crate::doorbell::Waiter;
use crate::layout::{LayoutError, Tag};
use crate::sync::{Bytes, Hardware, Memory};
use crate::violation::Violation;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

/// The reading end of a ring whose producer is another process.
pub struct ForeignConsumer<M: Memory = Hardware>(Consumer<M>);

impl<M: Memory> ForeignConsumer<M> {
    /// As [`Consumer::over`], over a `peer`'s region that only its process writes.
    pub fn over(own: M, peer: M, waiter: Option<Arc<dyn Waiter>>) -> Result<Self, LayoutError> {
        Consumer::over_any(own, peer, waiter).map(Self)
    }

    /// The oldest record that was published and not freed.
    pub fn peek(&mut self) -> Result<Option<ForeignPeeked<'_, M>>, Violation> {
        Ok(self.0.peek()?.map(ForeignPeeked))
    }

    /// As [`Consumer::paced`].
    pub fn paced(self) -> Self {
        Self(self.0.paced())
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

/// The oldest record of a [`ForeignConsumer`]. Dropped without [`free`](Self::free) it stays the oldest.
pub struct ForeignPeeked<'a, M: Memory = Hardware>(Peeked<'a, M>);

impl<M: Memory> ForeignPeeked<'_, M> {
    /// What can be known of it.
    pub fn record(&self) -> ForeignRecord<'_, M> {
        self.0.foreign()
    }

    /// Gives the space back.
    pub fn free(self) {
        self.0.free();
    }
}

/// A record in memory that its sender may still change. Tag, sequence and length are as they were read once, and checked.
pub struct ForeignRecord<'a, M: Memory = Hardware> {
    bytes: &'a M::Reading,
    header: &'a Header,
}

impl<'a, M: Memory> ForeignRecord<'a, M> {
    #[inline(always)]
    pub(super) fn new(bytes: &'a M::Reading, header: &'a Header) -> Self {
        Self { bytes, header }
    }

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

    /// Bytes of payload.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.header.len
    }

    /// Whether the payload is empty.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The payload as it is shared, for who has a faster way to copy it. Parse the copy, never this.
    #[inline]
    pub fn shared(&self) -> &[AtomicU8] {
        // SAFETY: `len` bytes are borrowed; bytes that others may write are read as atomics, which are laid out like bytes.
        unsafe { std::slice::from_raw_parts(self.bytes.pointer().cast(), self.len()) }
    }

    /// Appends the payload to `into`, each byte read once. Parse the copy, never the original.
    #[inline]
    pub fn copy_to(&self, into: &mut Vec<u8>) {
        let before = into.len();
        into.reserve(self.len());
        // SAFETY: that many bytes were reserved behind the length, and then are initialised.
        unsafe {
            self.copy(into.as_mut_ptr().add(before));
            into.set_len(before + self.len());
        }
    }

    /// Copies the payload over `into`, which is exactly as long, each byte read once.
    #[inline]
    pub fn copy_into(&self, into: &mut [u8]) {
        assert_eq!(into.len(), self.len(), "a place exactly as long as the payload");
        // SAFETY: as long as the payload, as was just made sure.
        unsafe { self.copy(into.as_mut_ptr()) };
    }

    /// Copies the payload.
    ///
    /// # Safety
    /// `len` bytes at `to` may be written.
    #[inline(always)]
    unsafe fn copy(&self, to: *mut u8) {
        let (from, len) = (self.bytes.pointer(), self.len());
        // SAFETY: inside the borrowed range, and by the caller's promise.
        unsafe { copy_changing(from, to, len) };
    }
}
