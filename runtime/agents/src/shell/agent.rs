//! The trait that every agent fills: one hook for each part of its life, all but `work` with a default body.
//!
//! The order is `init`, `start`, `ready`, then tasks one at a time, then `drain` (if there is time) and `stop`. Whatever fails or
//! panics on that way ends the life with `crash`; a restart is a new value with a life of its own. Hooks run on the agent's
//! context, so they may suspend but not block; each has a bound on its time.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::{Desk, Unanswered};
use crate::Role;
use crate::external::ExternalError;
use crate::folder::FolderError;
use crate::task::Handoff;
use crate::workflow::lease::LeaseError;

/// What a hook gives: it went well, or why not.
pub type Hook<'a> = LocalBoxFuture<'a, Result<(), WorkError>>;
/// What work gives: a handoff, or why there is none. It may be dropped at any suspension.
pub type Done = LocalBoxFuture<'static, Result<Handoff, WorkError>>;

/// Where an agent lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name on the fabric.
    pub agent: &'static str,
    /// The name of its context.
    pub context: String,
    /// Which life this is, counted from 1: one more than the restarts before it.
    pub life: u32,
}

/// One agent in one life.
pub trait Agent {
    /// Looks whether all is there that it needs. Tasks may wait already, none is taken yet.
    fn init<'a>(&'a self, _place: &'a Place) -> Hook<'a> {
        done()
    }

    /// Starts what it needs for its work.
    fn start<'a>(&'a self, _place: &'a Place) -> Hook<'a> {
        done()
    }

    /// The last hook before tasks are taken.
    fn ready<'a>(&'a self, _place: &'a Place) -> Hook<'a> {
        done()
    }

    /// Does one task. Doing the same task again must write the same files.
    fn work(&self, desk: Desk) -> Done;

    /// No further task will come, and none is being done.
    fn drain<'a>(&'a self, _place: &'a Place) -> Hook<'a> {
        done()
    }

    /// The life ends in good order: lets go of what it holds.
    fn stop<'a>(&'a self, _place: &'a Place) -> Hook<'a> {
        done()
    }

    /// The life ends because of `why`: lets go of what it holds. Nothing durable may depend on it, for a killed process
    /// calls nothing.
    fn crash<'a>(&'a self, _place: &'a Place, _why: &'a str) -> Hook<'a> {
        done()
    }

    /// How long each of `init`, `start` and `ready` may take.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// A hook that has nothing to do.
pub fn done<'a>() -> Hook<'a> {
    std::future::ready(Ok(())).boxed_local()
}

/// A part of an agent's life, for telling where it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Being made, and [`Agent::init`].
    Init,
    /// [`Agent::start`].
    Start,
    /// [`Agent::ready`].
    Ready,
    /// [`Agent::work`].
    Work,
    /// [`Agent::drain`].
    Drain,
    /// [`Agent::stop`].
    Stop,
    /// [`Agent::crash`].
    Crash,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Part::Init => "init",
            Part::Start => "start",
            Part::Ready => "ready",
            Part::Work => "work",
            Part::Drain => "drain",
            Part::Stop => "stop",
            Part::Crash => "crash",
        })
    }
}

/// An agent of this build: its role's work, and nothing to do in the other hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Builtin(pub Role);

impl Agent for Builtin {
    fn work(&self, desk: Desk) -> Done {
        let role = self.0;
        async move { role.work(&desk).await }.boxed_local()
    }
}

/// An agent that is a function of the desk alone.
struct Each<W>(W);

impl<W, F> Agent for Each<W>
where
    W: Fn(Desk) -> F,
    F: Future<Output = Result<Handoff, WorkError>> + 'static,
{
    fn work(&self, desk: Desk) -> Done {
        (self.0)(desk).boxed_local()
    }
}

/// An agent that calls `work` for each task and has nothing to do in the other hooks.
pub fn each<F>(work: impl Fn(Desk) -> F) -> impl Agent
where
    F: Future<Output = Result<Handoff, WorkError>> + 'static,
{
    Each(work)
}

/// Why work was not done, or a hook failed.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The requester cancelled it.
    #[error("cancelled")]
    Cancelled,
    /// Its time was over.
    #[error("the deadline passed: give it more time, or a smaller tree")]
    DeadlinePassed,
    /// The node stops.
    #[error("the node stops")]
    Stopped,
    /// The work panicked.
    #[error("the work panicked: {0}")]
    Panicked(String),
    /// A file of the run folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The tree cannot be read.
    #[error(transparent)]
    Tree(#[from] crate::reading::ReadError),
    /// The tree could not be written.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The task lacks something, or has it in the wrong form.
    #[error("the task cannot be done: {0}")]
    Task(String),
    /// Another agent did not do its part.
    #[error("{agent} did not do its part: {why}")]
    Part {
        /// Which agent.
        agent: String,
        /// Why.
        why: Unanswered,
    },
    /// The program that does this agent's work did not keep the protocol, or is gone.
    #[error("external program: {0}")]
    External(#[from] ExternalError),
}

impl WorkError {
    /// Whether this ends the agent's life, so that it is started anew; else only the task failed.
    pub fn is_crash(&self) -> bool {
        matches!(self, WorkError::Panicked(_) | WorkError::External(_))
    }
}
