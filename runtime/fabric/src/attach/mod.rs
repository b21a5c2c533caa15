//! Processes of one machine in one fabric: they attach to the node, find everybody there, and send to each other directly.
//!
//! A [`Host`] at the node admits processes over a Unix socket; [`attach`] is how a process comes in. The node brokers:
//! it knows who is there and who subscribes to what, tells everybody, passes the memory of lanes from one end to the other, and grants what each
//! lane may say. Messages never pass through it: they go over the lanes, shared memory between two contexts.
//!
//! What is published as BACKGROUND to an agent of another process of the same user waits in a file instead, and outlives sender, receiver and
//! node, but no loss of power. It is there for the next subscription of that agent to that pattern, in order, and at least once: a receiver
//! is done with a message when it asks for the next one or ends its subscription, and the one it had when it was killed comes again. What is
//! published while nobody subscribes is for nobody, as with every priority; requests are not kept, nor is what goes to another node. A file takes
//! a MiB of records; one that is not read empty stays until it is.
//!
//! Nothing in that memory is trusted. Each side writes its own region alone, which the node has seen sealed, and reads the other's as claims that
//! it checks; a record is copied before it is parsed, and what it may say is what the node granted its lane, which the receiver keeps in
//! memory of its own. Whoever breaks a rule is cut off and named, and the others go on. Processes of one user can
//! always reach each other by other ways: that is no boundary.

mod broker;
mod comeback;
pub(crate) mod control;
#[doc(hidden)]
pub mod foreign;
mod guest;
pub(crate) mod holds;
mod host;
pub(crate) mod inbound;
pub(crate) mod outbound;
pub(crate) mod payloads;
mod replica;
pub(crate) mod shape;
pub(crate) mod spool;
mod standing;
mod statistics;
mod tap;
pub(crate) mod uplink;

pub use guest::{AttachOptions, Attachment, DetachReason, attach};
pub use host::{Attached, Host, HostConfig, HostError};
pub use payloads::NoSlot;
pub use standing::{PayloadMemory, Rung};
pub use statistics::{LaneSnapshot, PairSnapshot};
pub use tap::{Glimpse, Tap};

use control::{LaneNumber, Means};
use shape::Shape;
use synod_platform::memory::Handle;
use synod_wire::Class;

use crate::registry::ContextId;

/// What a context is told of lanes to and from other processes.
pub(crate) enum LaneNote {
    /// Another process opens one; with the sender's region and its bell.
    Offer { lane: LaneNumber, from: ContextId, shape: Shape, handles: Vec<Handle> },
    /// One from here is open; with the receiver's region, its bell and its control page.
    Opened { lane: LaneNumber, handles: Vec<Handle> },
    /// One will not come to be, or has ended.
    Closed { lane: LaneNumber },
    /// An index of one that ends here has a meaning.
    Grant { lane: LaneNumber, index: u16, means: Means },
    /// What an index of one that ends here means may no longer be said.
    Revoke { lane: LaneNumber, index: u16 },
    /// What an index of one from here means may not be said.
    Revoked { lane: LaneNumber, index: u16 },
    /// An index of one from here may be used.
    Granted { lane: LaneNumber, index: u16 },
    /// The sender of one that ends here has memory for long payloads.
    Region { lane: LaneNumber, region: u16, bytes: u32, slot: u32, handles: Vec<Handle> },
    /// Slots of a region may be passed on one from here.
    Mapped { lane: LaneNumber, region: u16 },
    /// There is nothing any more in a region of one that ends here.
    Unmap { lane: LaneNumber, region: u16 },
    /// A larger ring of one that ends here; with the sender's region.
    Grow { lane: LaneNumber, class: Class, bytes: u32, handles: Vec<Handle> },
    /// The other process has taken a larger ring in.
    Grown { lane: LaneNumber, class: Class },
}
