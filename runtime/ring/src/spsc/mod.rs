//! A ring from one producer to one consumer: records of any length, written and read in place.
//!
//! The producer *claims* space, fills it, *commits* it with a tag, and *publishes* all it committed at once; the consumer
//! *peeks* at the oldest record and *frees* it. Each side keeps its own position, and the last seen of the other's, in
//! locals; shared words are read only when the locals say empty or full. Positions count bytes and never wrap; a
//! record that does not fit before the end of the lap starts the next one, behind a padding record.

mod consumer;
mod foreign;
mod producer;

pub use consumer::{Consumer, Peeked, Record, Taken};
pub use foreign::{ForeignConsumer, ForeignPeeked, ForeignRecord};
pub use producer::{Batch, Claim, ClaimError, Producer};

use crate::doorbell::{Bell, Waiter};
use crate::layout::{self, LayoutError};
use crate::region::RegionError;
use crate::sync::{Hardware, Memory};
use std::sync::Arc;

/// Who is woken when a ring moves; without a waiter a side polls, and the other pays no fence.
#[derive(Clone, Default)]
pub struct Waiters {
    /// Woken when records are published while the consumer sleeps.
    pub records: Option<Arc<dyn Waiter>>,
    /// Woken when space is freed while the producer sleeps.
    pub space: Option<Arc<dyn Waiter>>,
}

/// A ring over the sender's and the receiver's region, both zeroed here and fresh.
///
/// The sender's has [`sender_len`](layout::sender_len) bytes for a capacity that is a power of two, the receiver's at least
/// [`RECEIVER_LEN`](layout::RECEIVER_LEN).
pub fn channel<M: Memory>(
    sender: M,
    receiver: M,
    waiters: Waiters,
) -> Result<(Producer<M>, Consumer<M>), LayoutError> {
    let producer = Producer::over(sender.clone(), receiver.clone(), waiters.records)?;
    let consumer = Consumer::over(receiver, sender, waiters.space)?;
    Ok((producer, consumer))
}

/// A ring of `capacity` bytes on the heap, both sides in this process.
pub fn heap(capacity: usize, waiters: Waiters) -> Result<(Producer, Consumer), HeapError> {
    let sender = Hardware::heap(layout::sender_len(capacity))?;
    let receiver = Hardware::heap(layout::RECEIVER_LEN)?;
    Ok(channel(sender, receiver, waiters)?)
}

/// Why there is no ring on the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeapError {
    /// The capacity makes no ring.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// There is no memory.
    #[error(transparent)]
    Region(#[from] RegionError),
}

/// The bell for whoever sleeps at `sleeping` in `control`, if somebody may.
fn bell<M: Memory>(control: &M, sleeping: usize, waiter: Option<Arc<dyn Waiter>>) -> Option<Bell<M>> {
    waiter.map(|waiter| Bell { control: control.clone(), sleeping, ready: None, waiter })
}
