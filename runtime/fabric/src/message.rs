//! What is sent and what comes of it: payloads, messages, receipts.
//!
//! A receipt says *accepted*: the message has a place in that receiver's queue, or on the lane to it. It does not say delivered. Payloads up to
//! [`INLINE_MAX`] bytes are kept in place, those up to 1 KiB in a buffer that is used again, both without an allocation; longer ones
//! are shared, never copied again for another local receiver. A long one from another process stays in that process's memory.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use synod_ring::pool::{Loan, Slice};

use crate::attach::payloads::Lent;
use crate::block::Block;
use crate::error::PublishError;

/// The longest payload kept in place, bytes.
pub const INLINE_MAX: usize = 62;

/// A message's payload.
#[derive(Clone)]
pub struct Payload(Repr);

#[derive(Clone)]
enum Repr {
    Inline(u8, [u8; INLINE_MAX]),
    Block(Block),
    Shared(Bytes),
    /// In memory of this context that other processes may read.
    Slot(Slice),
    /// In another process's memory.
    Lent(Lent),
}

impl Payload {
    /// One in another process's memory.
    pub(crate) fn lent(lent: Lent) -> Self {
        Self(Repr::Lent(lent))
    }

    /// The slot it lies in, if other processes could read it there.
    pub(crate) fn slot(&self) -> Option<&Slice> {
        match &self.0 {
            Repr::Slot(slice) => Some(slice),
            _ => None,
        }
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        match &self.0 {
            Repr::Lent(lent) => lent.len(),
            _ => (**self).len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the bytes lie as long as this or a clone of it lives, for a language without references. If they are [another
    /// process's](Self::is_lent), that may change them at any moment.
    pub fn start(&self) -> *const u8 {
        match &self.0 {
            Repr::Lent(lent) => lent.start(),
            _ => (**self).as_ptr(),
        }
    }

    /// Whether the bytes lie in another process's memory, as those of a long payload from there do.
    pub fn is_lent(&self) -> bool {
        matches!(self.0, Repr::Lent(_))
    }

    /// Copies the bytes of `range` to `into`, which is as long. Of a long payload from another process nothing else is copied, where
    /// looking at it as a slice would copy it whole, once.
    pub fn copy_to(&self, range: std::ops::Range<usize>, into: &mut [u8]) {
        match &self.0 {
            Repr::Lent(lent) => lent.copy_to(range, into),
            _ => into.copy_from_slice(&self[range]),
        }
    }

    /// A payload of its own with these bytes.
    #[inline]
    pub fn copy_from(bytes: &[u8]) -> Self {
        if bytes.len() <= INLINE_MAX {
            let mut place = [0; INLINE_MAX];
            place[..bytes.len()].copy_from_slice(bytes);
            Self(Repr::Inline(bytes.len() as u8, place))
        } else {
            match Block::copy_from(bytes) {
                Some(block) => Self(Repr::Block(block)),
                None => Self(Repr::Shared(Bytes::copy_from_slice(bytes))),
            }
        }
    }

    /// The bytes as a shared buffer; copies only what was kept in place or in a buffer to be used again.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Repr::Inline(len, place) => Bytes::copy_from_slice(&place[..usize::from(len)]),
            Repr::Block(block) => Bytes::copy_from_slice(block.bytes()),
            Repr::Shared(bytes) => bytes,
            Repr::Slot(slice) => Bytes::copy_from_slice(&slice),
            Repr::Lent(lent) => Bytes::copy_from_slice(lent.bytes()),
        }
    }
}

impl From<Loan> for Payload {
    fn from(loan: Loan) -> Self {
        Self(Repr::Slot(loan.seal()))
    }
}

impl std::ops::Deref for Payload {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline(len, place) => &place[..usize::from(*len)],
            Repr::Block(block) => block.bytes(),
            Repr::Shared(bytes) => bytes,
            Repr::Slot(slice) => slice,
            Repr::Lent(lent) => lent.bytes(),
        }
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self(Repr::Shared(bytes))
    }
}

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        Self::copy_from(bytes)
    }
}

impl<const N: usize> From<&[u8; N]> for Payload {
    fn from(bytes: &[u8; N]) -> Self {
        Self::copy_from(bytes)
    }
}

impl From<&str> for Payload {
    fn from(text: &str) -> Self {
        Self::copy_from(text.as_bytes())
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Repr::Shared(bytes.into()))
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

/// Why one receiver did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its queue for that priority is full.
    QueueFull,
    /// The lane to its context is full.
    LaneFull,
    /// It is in another process, and the lane to it, or its leave to say this, is being made.
    Opening,
    /// It is in another process, and as much memory for long payloads is held by receivers as may be.
    MemoryFull,
    /// The memory that sending to it takes, for a lane, for its counters or for a long payload, is refused: nobody tells when there is
    /// some again, so nobody waits for that.
    NoMemory,
    /// It is in another process, and the node does not let this agent send that there.
    NotAllowed,
    /// It is in another process, and no file could be had that keeps BACKGROUND messages for it: `fabric.not_kept` tells why, as that its disk is full.
    NotKept,
    /// It is in another process, and the message is longer than what the file that keeps BACKGROUND messages for it takes: about a MiB.
    TooLong,
    /// It ended meanwhile.
    Gone,
    /// It is on a node whose link is down.
    Unreachable,
}

impl Refusal {
    /// Whether it may be otherwise later.
    pub fn may_pass(self) -> bool {
        self.is_told_over() || matches!(self, Self::NoMemory | Self::NotKept)
    }

    /// Whether who waits is woken when it is over.
    pub(crate) fn is_told_over(self) -> bool {
        matches!(self, Self::QueueFull | Self::LaneFull | Self::Opening | Self::MemoryFull)
    }
}

/// Who took a message and who did not. Fan-out is not atomic: both may be.
#[derive(Clone, Default)]
#[must_use = "a receiver may have refused: the receipt tells"]
pub struct Receipt {
    /// Every receiver that the route knew.
    pub(crate) targets: Option<Arc<[Arc<str>]>>,
    /// By index into `targets`.
    pub(crate) refused: Vec<(usize, Refusal)>,
}

impl Receipt {
    /// The names of the receivers that took it (agents here, `node` names for others).
    pub fn accepted(&self) -> impl Iterator<Item = &str> {
        let count = self.targets.as_ref().map_or(0, |targets| targets.len());
        (0..count).filter(|i| self.refused.iter().all(|(refused, _)| refused != i)).map(|i| self.name(i))
    }

    /// The receivers that did not, each with why.
    pub fn refused(&self) -> Vec<(&str, Refusal)> {
        self.refused.iter().map(|&(i, why)| (self.name(i), why)).collect()
    }

    /// How many took it.
    pub fn accepted_count(&self) -> usize {
        self.targets.as_ref().map_or(0, |targets| targets.len()) - self.refused.len()
    }

    fn name(&self, index: usize) -> &str {
        self.targets.as_ref().map_or("", |targets| &*targets[index])
    }
}

/// What became of payloads that were published in a row.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "it may have stopped before the last: it tells how many went"]
pub struct Published {
    /// How many everybody took, from the first on.
    pub taken: usize,
    /// What became of the next if somebody refused it. Those after it were not sent.
    pub stopped: Option<Result<Receipt, PublishError>>,
}

impl PartialEq for Receipt {
    fn eq(&self, other: &Self) -> bool {
        self.accepted().eq(other.accepted()) && self.refused() == other.refused()
    }
}

impl Eq for Receipt {}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("accepted", &self.accepted().collect::<Vec<_>>())
            .field("refused", &self.refused())
            .finish()
    }
}
