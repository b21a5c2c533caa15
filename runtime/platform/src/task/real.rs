//! Real tasks: a tokio event loop for each thread, which runs that thread's futures alone.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context as Poller, Poll};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use synod_probe::event;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::oneshot;

use super::{JoinError, StartError, panic_message};

/// How long the end of a context waits for blocking work that is still under way.
const STUCK: Duration = Duration::from_secs(5);

thread_local! {
    /// Where this thread could run before it was pinned, if it is.
    static FREE: Cell<Option<CpuSet>> = const { Cell::new(None) };
}

fn runtime() -> std::io::Result<LocalRuntime> {
    let mut builder = Builder::new_current_thread();
    // A thread that is started inherits its starter's place; the pool's shall run where the context could before it was pinned.
    if let Ok(free) = sched_getaffinity(None) {
        builder.on_thread_start(move || restrict(&free));
    }
    builder.enable_all().build_local(LocalOptions::default())
}

/// What was allowed a moment ago is so still, or the thread stays where it is.
fn restrict(to: &CpuSet) {
    let _ = sched_setaffinity(None, to);
}

/// Starts a process or a thread that is not to inherit this context's pin.
pub(crate) fn unpinned<T>(start: impl FnOnce() -> T) -> T {
    let (Some(free), Ok(pinned)) = (FREE.get(), sched_getaffinity(None)) else { return start() };
    restrict(&free);
    let started = start();
    restrict(&pinned);
    started
}

pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    match runtime() {
        Ok(runtime) => {
            let output = runtime.block_on(future);
            runtime.shutdown_timeout(STUCK);
            output
        }
        Err(error) => panic!("cannot make an event loop: {error}; is the limit on open files reached?"),
    }
}

pub(super) struct JoinHandle<T>(tokio::task::JoinHandle<T>);

pub(super) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    JoinHandle(tokio::task::spawn_local(future))
}

fn told(error: tokio::task::JoinError) -> JoinError {
    match error.try_into_panic() {
        Ok(payload) => JoinError::Panicked(panic_message(&*payload)),
        Err(_) => JoinError::Cancelled,
    }
}

impl<T> JoinHandle<T> {
    pub(super) fn abort(&self) {
        self.0.abort();
    }

    pub(super) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_err(told)
    }
}

pub(super) struct ContextHandle<T> {
    done: oneshot::Receiver<Result<T, JoinError>>,
    thread: std::thread::JoinHandle<()>,
}

pub(super) fn start<M, F>(
    name: String,
    core: Option<usize>,
    make: M,
) -> Result<ContextHandle<F::Output>, StartError>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    let refused = |error: std::io::Error| StartError { name: name.clone(), reason: error.to_string() };
    let (tell, done) = oneshot::channel();
    // The loop is made on its own thread; whether that worked must be known before this returns.
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let named = std::thread::Builder::new().name(name.clone());
    let thread = unpinned(|| {
        named.spawn(move || {
            let runtime = match runtime() {
                Ok(runtime) => {
                    // The starter waits for exactly this message.
                    let _ = ready.send(Ok(()));
                    runtime
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            pin(core);
            let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(async { make().await })));
            // Tasks that are left end here, before the context is told to have ended; a destructor's panic is theirs alone.
            let cleared = catch_unwind(AssertUnwindSafe(|| runtime.shutdown_timeout(STUCK)));
            let outcome = match (ended, cleared) {
                (Ok(output), Ok(())) => Ok(output),
                (Err(payload), _) | (_, Err(payload)) => Err(JoinError::Panicked(panic_message(&*payload))),
            };
            // Nobody may be waiting any more.
            let _ = tell.send(outcome);
        })
    })
    .map_err(&refused)?;
    match started.recv() {
        Ok(Ok(())) => Ok(ContextHandle { done, thread }),
        Ok(Err(error)) => Err(refused(error)),
        Err(_) => Err(refused(std::io::Error::other("its thread ended before its event loop was made"))),
    }
}

fn pin(core: Option<usize>) {
    let Some(core) = core else { return };
    let mut cores = CpuSet::new();
    if core < CpuSet::MAX_CPU {
        cores.set(core);
    }
    let free = sched_getaffinity(None);
    match sched_setaffinity(None, &cores) {
        Ok(()) => FREE.set(free.ok()),
        Err(_) => event!("task.unpinned", core = core),
    }
}

impl<T: Send + 'static> ContextHandle<T> {
    pub(super) async fn join(self) -> Result<T, JoinError> {
        let outcome = self.done.await.unwrap_or(Err(JoinError::Cancelled));
        // It has told its outcome as its last act: this join waits for the thread's exit alone.
        let _ = self.thread.join();
        outcome
    }
}

pub(super) async fn yield_now() {
    tokio::task::yield_now().await;
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    tokio::task::spawn_blocking(work).await.map_err(told)
}

pub(super) async fn service(_duration: Duration) {}
