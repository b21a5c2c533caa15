//! Subjects between two true processes: this program starts itself again as the other one, and both meet over inherited descriptors.
//!
//! For each slice one process measures, pinned to the sender's core; its children serve, pinned to the receiver's. What both count lies in a shared
//! page. Who fails stops the run; a slice that does not end is ended, with all its processes, and told of.

#[cfg(feature = "aeron")]
pub mod aeron;
pub mod asleep;
pub mod awaited;
pub mod bare;
mod child;
pub mod copies;
pub mod faces;
#[cfg(feature = "iceoryx2")]
pub mod iceoryx;
pub mod link;
pub mod nats;
mod page;
pub mod publish;
pub mod ring;
pub mod sockets;
pub mod unix;
#[cfg(feature = "zenoh")]
pub mod zenoh;
#[cfg(feature = "zmq")]
pub mod zeromq;

use crate::measure::{Plan, Reading};
#[cfg(feature = "store")]
pub use child::command;
pub use child::{Folder, Slice, Task, other};
pub use page::{Page, Tally, now};
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use synod_platform::net::Choice;

/// What is measured between processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Job {
    /// One sender as fast as it can, one receiver.
    Throughput {
        /// Bytes of a message.
        size: usize,
        /// Messages in a batch.
        batch: usize,
    },
    /// There and back, both watching.
    RoundTrip {
        /// Bytes of a message.
        size: usize,
    },
    /// There and back, both asleep in between.
    Asleep {
        /// Bytes of a message.
        size: usize,
    },
    /// One sender, each message to every receiver.
    FanOut {
        /// Bytes of a message.
        size: usize,
        /// Receiving processes.
        receivers: usize,
    },
    /// Several senders, one receiver.
    FanIn {
        /// Bytes of a message.
        size: usize,
        /// Sending processes.
        senders: usize,
    },
    /// One after the other by name, few under way.
    Large {
        /// Bytes of a message.
        size: usize,
        /// Whether both sides touch every cache line of it.
        touch: bool,
    },
}

/// Long messages under way at most.
pub const UNDER_WAY: usize = 8;

impl Job {
    /// Bytes of a message.
    pub fn size(self) -> usize {
        let (Self::Throughput { size, .. }
        | Self::RoundTrip { size }
        | Self::Asleep { size }
        | Self::FanOut { size, .. }
        | Self::FanIn { size, .. }
        | Self::Large { size, .. }) = self;
        size
    }

    /// Processes beside the one that measures.
    pub fn others(self) -> usize {
        match self {
            Self::FanOut { receivers: others, .. } | Self::FanIn { senders: others, .. } => others,
            _ => 1,
        }
    }
}

/// Where two processes meet.
pub struct Meeting {
    /// What both see.
    pub page: Page,
    /// A folder of their own, for sockets.
    pub folder: PathBuf,
    /// What a subject brought along, inherited by the children.
    pub brought: Vec<OwnedFd>,
    /// Which child this is.
    pub number: usize,
}

/// A subject between processes.
pub trait Pair: Send + Sync {
    /// By which name.
    fn name(&self) -> &'static str;

    /// What it lacks on this machine or in this build.
    fn lacks(&self) -> Option<String> {
        None
    }

    /// Descriptors that the children inherit.
    fn bring(&self, _job: Job) -> Vec<OwnedFd> {
        Vec::new()
    }

    /// The side that measures.
    fn measure(&self, meeting: &Meeting, job: Job, plan: &Plan) -> Reading;

    /// The other side.
    fn serve(&self, meeting: &Meeting, job: Job);
}

/// Every subject, for a child to find its own.
fn pairs() -> Vec<Box<dyn Pair>> {
    let mut pairs: Vec<Box<dyn Pair>> = vec![
        Box::new(bare::CacheLine),
        Box::new(bare::Futex),
        Box::new(bare::Eventfd),
        Box::new(unix::UnixSocket),
        Box::new(copies::Copies),
        Box::new(nats::Nats),
        Box::new(link::Over(ring::Whole)),
        Box::new(link::Over(ring::Apart)),
        Box::new(link::Over(ring::IntoMailbox)),
        Box::new(ring::Belled),
        Box::new(publish::Publish),
        Box::new(faces::Face::Blocking),
        Box::new(faces::Face::C),
        Box::new(sockets::Sockets(Choice::Epoll)),
        Box::new(sockets::Sockets(Choice::IoUring)),
    ];
    pairs.extend(awaited::Awaited::ALL.map(|means| Box::new(means) as Box<dyn Pair>));
    #[cfg(feature = "aeron")]
    pairs.push(Box::new(aeron::AeronIpc));
    #[cfg(feature = "iceoryx2")]
    pairs.push(Box::new(iceoryx::Iceoryx));
    #[cfg(feature = "zenoh")]
    pairs.push(Box::new(zenoh::Zenoh));
    #[cfg(feature = "zmq")]
    pairs.push(Box::new(zeromq::ZeroMq));
    pairs
}
