//! Simulated tasks: tasks of the running node in the simulator's one thread, in an order drawn from the seed.
//!
//! Every future is wrapped: its panic, also one in its destructor, goes to its handle instead of ending the run, and it
//! knows which context it belongs to, so that declared service times queue up behind each other as on one processor.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as Poller, Poll, Waker};
use std::time::Duration;

use madsim::task::AbortHandle;
use synod_probe::{event, loss};

use super::{JoinError, StartError, panic_message};
use crate::simulation;
use crate::time::{self, Mono};

/// What the tasks of one context share.
pub(crate) struct ContextState {
    busy_until: Cell<Mono>,
    tasks: RefCell<Vec<AbortHandle>>,
}

impl ContextState {
    fn new() -> Rc<Self> {
        Rc::new(Self { busy_until: Cell::new(Mono::ZERO), tasks: RefCell::new(Vec::new()) })
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<ContextState>>> = const { RefCell::new(None) };
}

fn current() -> Option<Rc<ContextState>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Runs `body` as a part of `context`.
fn within<T>(context: &Rc<ContextState>, body: impl FnOnce() -> T) -> T {
    struct Restore(Option<Rc<ContextState>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _restore = Restore(CURRENT.replace(Some(context.clone())));
    body()
}

/// Ends the tasks of a context when its root ends, however that ends.
struct EndsTasks(Rc<ContextState>);

impl Drop for EndsTasks {
    fn drop(&mut self) {
        for task in self.0.tasks.borrow_mut().drain(..) {
            task.abort();
        }
    }
}

/// Runs `future` as the root of a new context of the running node; a panic is told instead of passed on.
pub(crate) async fn root<F: Future>(make: impl FnOnce() -> F) -> Result<F::Output, JoinError> {
    let context = ContextState::new();
    let _ends = EndsTasks(context.clone());
    let shared = Shared::new();
    let made = catch_unwind(AssertUnwindSafe(|| within(&context, make)));
    match made {
        Ok(future) => Contained::new(future, context, shared.clone()).await,
        Err(payload) => return Err(JoinError::Panicked(panic_message(&*payload))),
    }
    let outcome = shared.lock().outcome.take();
    outcome.unwrap_or(Err(JoinError::Cancelled))
}

pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    simulation::here(0, None, future)
}

struct State<T> {
    outcome: Option<Result<T, JoinError>>,
    finished: bool,
    watched: bool,
    waker: Option<Waker>,
}

struct Shared<T>(Mutex<State<T>>);

impl<T> Shared<T> {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { outcome: None, finished: false, watched: true, waker: None })))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, outcome: Result<T, JoinError>) {
        let mut state = self.lock();
        if state.finished {
            return;
        }
        state.finished = true;
        if !state.watched
            && let Err(JoinError::Panicked(message)) = &outcome
        {
            event!("task.panicked_unwatched", message = message);
            loss!("platform.task", "a detached task panicked");
        }
        state.outcome = Some(outcome);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Contained<F: Future> {
    future: Option<Pin<Box<F>>>,
    context: Rc<ContextState>,
    shared: Arc<Shared<F::Output>>,
}

impl<F: Future> Contained<F> {
    fn new(future: F, context: Rc<ContextState>, shared: Arc<Shared<F::Output>>) -> Self {
        Self { future: Some(Box::pin(future)), context, shared }
    }

    /// Drops the future as a part of its context; true when that went without a panic.
    fn clear(&mut self) -> Result<(), JoinError> {
        let future = self.future.take();
        catch_unwind(AssertUnwindSafe(|| within(&self.context, || drop(future))))
            .map_err(|payload| JoinError::Panicked(panic_message(&*payload)))
    }
}

impl<F: Future> Future for Contained<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(future) = &mut this.future else { return Poll::Ready(()) };
        let polled = catch_unwind(AssertUnwindSafe(|| within(&this.context, || future.as_mut().poll(cx))));
        let outcome = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => this.clear().map(|()| output),
            Err(payload) => {
                // The first panic is the one to tell.
                let _ = this.clear();
                Err(JoinError::Panicked(panic_message(&*payload)))
            }
        };
        this.shared.finish(outcome);
        Poll::Ready(())
    }
}

impl<F: Future> Drop for Contained<F> {
    fn drop(&mut self) {
        if self.future.is_some() {
            let cleared = self.clear();
            self.shared.finish(cleared.and(Err(JoinError::Cancelled)));
        }
    }
}

pub(super) struct JoinHandle<T> {
    shared: Arc<Shared<T>>,
    abort: AbortHandle,
}

pub(super) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let context = current().unwrap_or_else(ContextState::new);
    spawn_on(context, future)
}

fn spawn_on<F>(context: Rc<ContextState>, future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let shared = Shared::new();
    let task = madsim::task::spawn_local(Contained::new(future, context.clone(), shared.clone()));
    let abort = task.abort_handle();
    let mut tasks = context.tasks.borrow_mut();
    if tasks.len() == tasks.capacity() {
        tasks.retain(|task| !task.is_finished());
    }
    tasks.push(abort.clone());
    JoinHandle { shared, abort }
}

impl<T> JoinHandle<T> {
    pub(super) fn abort(&self) {
        self.abort.abort();
    }

    pub(super) fn is_finished(&self) -> bool {
        self.shared.lock().finished
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.lock();
        match state.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        self.shared.lock().watched = false;
    }
}

pub(super) struct ContextHandle<T>(JoinHandle<Result<T, JoinError>>);

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
    event!("task.context", name = &name, pinned = core.is_some());
    // The root's tasks are the new context's; the task that carries the root belongs to nobody's clean-up but its node's.
    Ok(ContextHandle(spawn_on(ContextState::new(), root(make))))
}

impl<T: Send + 'static> ContextHandle<T> {
    pub(super) async fn join(self) -> Result<T, JoinError> {
        self.0.await?
    }
}

pub(super) async fn yield_now() {
    madsim::task::yield_now().await;
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    yield_now().await;
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| JoinError::Panicked(panic_message(&*payload)))
}

pub(super) async fn service(duration: Duration) {
    let Some(context) = current() else { return };
    let cost = simulation::slowed(duration);
    let until = context.busy_until.get().max(time::now()) + cost;
    context.busy_until.set(until);
    time::sleep_until(until).await;
}
