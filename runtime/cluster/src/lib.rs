//! Consensus ground: openraft over the seam.
//!
//! openraft reaches time, tasks, chance and channels through one trait; [`SeamRuntime`] implements it over `synod_platform`, so that
//! consensus runs in production and in the simulator unchanged. openraft's own conformance suite for such runtimes passes in
//! both builds. The rest of this crate (membership, the log, key-value, locks) stands on it when it comes.
//!
//! openraft calls its interfaces unstable: nothing outside this crate may name them.

mod channel;
mod runtime;
mod watch;

pub use channel::{BoundedMpsc, FairMutex, LetterReceiver, SingleUse, SingleUseSender};
pub use runtime::{Moment, SeamRng, SeamRuntime, Timeout};
pub use watch::{OrderedWatch, WatchRef};
