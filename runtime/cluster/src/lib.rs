//! Consensus ground: openraft over the seam.
//!
//! openraft reaches time, tasks, chance and channels through one trait; [`SeamRuntime`] implements it over `synod_platform`, so that
//! consensus runs in production and in the simulator unchanged. openraft's own conformance suite for such runtimes passes in
//! both builds. [`LogStorage`] is its log, on a log of the store, and [`Machine`] its state machine with snapshots beside that log;
//! openraft's suite for storage passes in both builds, too. The rest of this crate (membership, key-value, locks) stands on them when it comes.
//!
//! openraft calls its interfaces unstable: nothing outside this crate may name them.

mod channel;
mod entry;
mod log;
mod machine;
mod rehearsal;
mod runtime;
mod types;
mod watch;

pub use channel::{BoundedMpsc, FairMutex, LetterReceiver, SingleUse, SingleUseSender};
pub use entry::{DecodeError, Written};
pub use log::LogStorage;
pub use machine::{Application, Machine};
pub use rehearsal::{Before, Held, Rehearsal};
pub use runtime::{Moment, SeamRng, SeamRuntime, Timeout};
pub use types::{Answer, Consensus, Proposal};
pub use watch::{OrderedWatch, WatchRef};
