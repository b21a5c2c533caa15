//! Tasks and contexts.
//!
//! A **context** is an executor: in production an operating-system thread with its own event loop, in simulation a group of tasks of its
//! node. A **task** runs on the context that spawned it and never moves, so its future need not be `Send`. A panic inside a task
//! is contained: its [`JoinHandle`] tells it. When a context's own future is done, the tasks left on it are dropped.

#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod sim;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

#[cfg(not(madsim))]
use real as arm;
#[cfg(not(madsim))]
pub(crate) use real::unpinned;
#[cfg(madsim)]
use sim as arm;
#[cfg(madsim)]
pub(crate) use sim::root;

/// Why a task, context or blocking closure has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// It panicked, with this message.
    #[error("it panicked: {0}")]
    Panicked(String),
    /// It was aborted, or its context (or simulated node) ended first.
    #[error("it was cancelled before it was done")]
    Cancelled,
}

/// A context could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the executor thread `{name}`: {reason}")]
pub struct StartError {
    /// The context's name.
    pub name: String,
    /// What the operating system said.
    pub reason: String,
}

/// The text of a caught panic.
pub fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a text".to_owned()
    }
}

/// Runs `future` as the root of a context on this thread, until it is done. The way into the runtime from `main`.
/// In simulation it is a world of its own, with seed 0.
pub fn block_on<F: Future>(future: F) -> F::Output {
    arm::block_on(future)
}

/// Starts a task on this context. Panics outside of a context.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    JoinHandle(arm::spawn(future))
}

/// A task's end. Awaiting it gives what the task returned; dropping it lets the task run on by itself.
#[must_use = "dropping the handle lets the task run on: say so with `drop` or `detach`"]
pub struct JoinHandle<T>(arm::JoinHandle<T>);

impl<T> JoinHandle<T> {
    /// Ends the task at its next suspension; its handle then gives [`JoinError::Cancelled`]. Does nothing to a task that is done.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Whether the task is done, panicked or cancelled.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// Lets the task run on by itself.
    pub fn detach(self) {}
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").field("finished", &self.is_finished()).finish()
    }
}

/// An executor beside the one that calls.
#[derive(Debug)]
pub struct Context;

impl Context {
    /// Starts a context whose root is the future that `make` returns, made and run on the new thread. `core` pins it to one
    /// logical processor; a core that this process may not use is told by an event and the context runs unpinned.
    /// What it starts is not pinned with it: [`blocking`] work and tools run where they could without.
    pub fn start<M, F>(
        name: impl Into<String>,
        core: Option<usize>,
        make: M,
    ) -> Result<ContextHandle<F::Output>, StartError>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        arm::start(name.into(), core, make).map(ContextHandle)
    }
}

/// A context's end. Dropping it lets the context run on by itself.
#[must_use = "a context whose handle is dropped runs on unobserved"]
pub struct ContextHandle<T>(arm::ContextHandle<T>);

impl<T: Send + 'static> ContextHandle<T> {
    /// Waits until the context's root is done and its thread has let go of everything, and gives what the root returned.
    pub async fn join(self) -> Result<T, JoinError> {
        self.0.join().await
    }
}

impl<T> fmt::Debug for ContextHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContextHandle")
    }
}

/// Lets every other ready task of this context run first.
pub async fn yield_now() {
    arm::yield_now().await;
}

/// Runs a closure that may block its thread (a system call without an asynchronous form, a long computation) on a pool beside
/// the contexts. In simulation it runs in place and takes no virtual time. Dropping the future does not stop the closure.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    arm::blocking(work).await
}

/// Declares that the work just done costs `duration` of this context's processor.
///
/// Production: nothing, the work cost what it cost. Simulation: occupies the context for that long in virtual time, behind what
/// already occupies it, times the node's slowness; so load is real there.
pub async fn service(duration: Duration) {
    arm::service(duration).await;
}
