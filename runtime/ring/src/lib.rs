//! Lock-free byte ring, mailbox and doorbell over any region: what every message inside a machine travels on.
//!
//! - [`spsc`]: one producer, one consumer, records written and read in place, published in batches.
//! - [`mailbox`]: one receiver over many rings, in classes of priority, fair inside a class.
//! - [`doorbell`]: a sender wakes a receiver only if it sleeps, and a receiver a sender that waits for space.
//! - [`queue`]: records that outlive the processes of their writer and their reader, in memory that does.
//! - [`pool`] and [`returns`]: long payloads, written once, passed by name, and given back.
//! - [`wish`]: one side says that it waits for something that the other gives.
//! - [`Cells`]: counters with one writer that the other side reads.
//! - [`sync`]: the one door to shared memory, with its hardware, loom and journal arms.
//!
//! Nothing here knows time, tasks, threads or the operating system: who sleeps and who is woken is a [`Waiter`].
//! A record read from another process's memory is checked against what its ring allows; who breaks a rule is named by
//! a [`Violation`].

mod cells;
mod copy;
pub mod doorbell;
pub mod layout;
pub mod mailbox;
pub mod pool;
pub mod queue;
pub mod region;
pub mod returns;
pub mod spsc;
pub mod sync;
mod violation;
pub mod wish;

pub use cells::Cells;
pub use doorbell::Waiter;
pub use layout::{LayoutError, Tag};
pub use mailbox::{Class, Delivery, Flow, LaneId, Mailbox, Port};
pub use region::{Heap, Region, RegionError};
pub use spsc::{Batch, Claim, ClaimError, Consumer, ForeignRecord, Peeked, Producer, Record, Taken};
pub use sync::{Hardware, Memory};
pub use violation::Violation;
