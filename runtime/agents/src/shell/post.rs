//! An agent's place on the fabric: it drives the hooks, takes tasks one at a time, heeds cancels, deadlines and the node's phase.
//!
//! Panics are contained in every hook and told; so is a hook that never ends, unless it blocks its thread. A crash ends the
//! agent's life but not the post: tasks that wait are kept for the next life, if there is one.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use synod_fabric::{Agent as Member, AttachError, Context, Message, Subscription};
use synod_platform::task::{self, JoinError, panic_message};
use synod_platform::time;
use synod_platform::watch;
use synod_probe::{event, reach};

use super::agent::{Agent, Builtin, Hook, Part, Place, WorkError, each};
use super::answer::NoHandoff;
use super::desk::Desk;
use crate::Role;
use crate::task::{Handoff, Task, cancel_subject, task_subject};

/// Tasks that may wait at one agent, for each priority.
const QUEUE: usize = 64;
/// How long work may take to end by itself after its deadline.
const OVERTIME: Duration = Duration::from_millis(200);
/// How long work may take to end by itself after it was cancelled: long enough for a program to be told of it.
const HEED: Duration = Duration::from_secs(2);
/// How long each of the last hooks may take: `drain`, `stop` and `crash`.
const LAST: Duration = Duration::from_secs(3);

/// Whether agents take tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Tasks are taken.
    Serve,
    /// The present task is finished, no other is taken.
    Drain,
    /// The present task is given up.
    Stop,
}

/// Why a post, or one life at it, ended.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// It could not be opened.
    #[error("{agent} cannot take its place on the fabric: {why}")]
    Attach {
        /// Which agent.
        agent: &'static str,
        /// Why.
        why: AttachError,
    },
    /// It panicked.
    #[error("{agent} panicked in {part}: {message}")]
    Panicked {
        /// Which agent.
        agent: &'static str,
        /// Where in its life.
        part: Part,
        /// The panic's message.
        message: String,
    },
    /// A hook failed, or work did in a way that ends the life.
    #[error("{agent} failed in {part}: {why}")]
    Failed {
        /// Which agent.
        agent: &'static str,
        /// Where in its life.
        part: Part,
        /// Why.
        why: WorkError,
    },
    /// A hook took longer than it may.
    #[error("{agent} hung in {part}: given up after {} ms", limit.as_millis())]
    Hung {
        /// Which agent.
        agent: &'static str,
        /// Where in its life.
        part: Part,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The life crashed, and then the hook that should have tidied up did, too.
    #[error("{first}; then {then}")]
    Twice {
        /// Why the life ended.
        first: Box<PostError>,
        /// What its crash hook did.
        then: Box<PostError>,
    },
}

/// What an agent is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum State {
    /// In `init`, `start` or `ready`: tasks wait.
    Starting = 0,
    /// It waits for a task.
    Idle = 1,
    /// It does a task.
    Working = 2,
    /// It crashed and has not been started again.
    Crashed = 3,
    /// It crashed too often: tasks are answered with why.
    GivenUp = 4,
    /// It ended in good order.
    Ended = 5,
}

impl State {
    const ALL: [State; 6] =
        [State::Starting, State::Idle, State::Working, State::Crashed, State::GivenUp, State::Ended];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Idle => "idle",
            State::Working => "working",
            State::Crashed => "crashed",
            State::GivenUp => "given-up",
            State::Ended => "ended",
        }
    }
}

/// What a post has done so far; shared with whoever watches it, from any thread. Each count has one writer.
#[derive(Debug, Default)]
pub struct Counts {
    state: AtomicU8,
    done: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    /// What the agent is doing.
    pub fn state(&self) -> State {
        let state = self.state.load(Ordering::Relaxed);
        State::ALL.into_iter().find(|known| *known as u8 == state).unwrap_or(State::Ended)
    }

    /// Tasks that ended with a handoff.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Tasks that ended without one.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    fn enter(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }
}

/// Makes an agent for each of its lives.
pub type Make = Rc<dyn Fn() -> Rc<dyn Agent>>;

/// One agent's place on the fabric, with its subscriptions made.
pub struct Post {
    name: &'static str,
    context: String,
    make: Make,
    lives: u32,
    counts: Arc<Counts>,
    agent: Member,
    tasks: Subscription,
    cancels: Subscription,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("name", &self.name).field("lives", &self.lives).finish_non_exhaustive()
    }
}

impl Post {
    /// Opens the post of `role` in this context. When it returns, tasks can be sent.
    pub async fn open(context: &Context, role: Role) -> Result<Self, PostError> {
        Self::open_agent(context, role.name(), Rc::new(move || Rc::new(Builtin(role)))).await
    }

    /// Opens the post of an agent that is none of the built-in ones, or stands in for one: `work` does its tasks.
    pub async fn open_with<F>(
        context: &Context,
        name: &'static str,
        work: impl Fn(Desk) -> F + 'static,
    ) -> Result<Self, PostError>
    where
        F: Future<Output = Result<Handoff, WorkError>> + 'static,
    {
        let agent: Rc<dyn Agent> = Rc::new(each(work));
        Self::open_agent(context, name, Rc::new(move || agent.clone())).await
    }

    /// Opens the post of an agent with hooks of its own; `make` is called once for each life.
    pub async fn open_agent(context: &Context, name: &'static str, make: Make) -> Result<Self, PostError> {
        let attach = |why| PostError::Attach { agent: name, why };
        let agent = context.agent(name).map_err(attach)?;
        let cancels = agent.subscribe("cancel.*", QUEUE).await.map_err(attach)?;
        let tasks = agent.serve(&task_subject(name), QUEUE).await.map_err(attach)?;
        let counts = Arc::new(Counts::default());
        Ok(Post { name, context: context.name().to_owned(), make, lives: 0, counts, agent, tasks, cancels })
    }

    /// What it has done so far, for watching it.
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// Lives one life, and leaves the fabric: for agents that nobody starts again.
    pub async fn run(mut self, phase: watch::Receiver<Phase>) -> Result<(), PostError> {
        self.live(phase).await
    }

    /// Lives one life: makes the agent, does tasks until the phase says otherwise or the fabric ends, and calls the hooks. After
    /// an error it may be called again, for another life.
    pub async fn live(&mut self, mut phase: watch::Receiver<Phase>) -> Result<(), PostError> {
        self.lives += 1;
        self.counts.enter(State::Starting);
        let place = Place { agent: self.name, context: self.context.clone(), life: self.lives };
        let make = self.make.clone();
        let made = std::panic::catch_unwind(AssertUnwindSafe(|| make()));
        let (agent, end) = match made {
            Ok(agent) => {
                let end = self.life(&*agent, &place, &mut phase).await;
                (Some(agent), end)
            }
            Err(payload) => (None, Err(panicked(self.name, Part::Init, panic_message(&*payload)))),
        };
        let Err(first) = end else {
            self.counts.enter(State::Ended);
            return Ok(());
        };
        self.counts.enter(State::Crashed);
        event!("agent.crashed", agent = self.name, life = self.lives);
        let Some(agent) = agent else { return Err(first) };
        let why = first.to_string();
        match contained(self.name, Part::Crash, LAST, || agent.crash(&place, &why)).await {
            Ok(()) => Err(first),
            Err(then) => Err(PostError::Twice { first: Box::new(first), then: Box::new(then) }),
        }
    }

    /// Answers every task with `why` until the node drains or stops: for an agent that was given up, so that its requesters hear
    /// the reason at once.
    pub async fn mourn(mut self, why: &str, mut phase: watch::Receiver<Phase>) {
        self.counts.enter(State::GivenUp);
        while *phase.borrow_and_update() == Phase::Serve {
            tokio::select! {
                biased;
                changed = phase.changed() => if changed.is_err() { return },
                cancel = self.cancels.recv() => if cancel.is_none() { return },
                message = self.tasks.recv() => match message {
                    Some(message) => {
                        reach!("agent.task-to-the-given-up");
                        self.counts.failed.fetch_add(1, Ordering::Relaxed);
                        let why = NoHandoff::Failed(format!("{} was given up: {why}", self.name));
                        let _ = message.fail(&why.reason());
                    }
                    None => return,
                },
            }
        }
    }

    async fn life(
        &mut self,
        agent: &dyn Agent,
        place: &Place,
        phase: &mut watch::Receiver<Phase>,
    ) -> Result<(), PostError> {
        let (name, patience) = (self.name, agent.patience());
        let begin = async {
            contained(name, Part::Init, patience, || agent.init(place)).await?;
            contained(name, Part::Start, patience, || agent.start(place)).await?;
            contained(name, Part::Ready, patience, || agent.ready(place)).await
        };
        let begun = tokio::select! {
            biased;
            () = leaves_serve(phase) => false,
            begun = begin => begun.map(|()| true)?,
        };
        if begun {
            event!("agent.ready", agent = name);
            self.tasks(agent, phase).await?;
            if *phase.borrow() == Phase::Drain {
                contained(name, Part::Drain, LAST, || agent.drain(place)).await?;
            }
        }
        contained(name, Part::Stop, LAST, || agent.stop(place)).await
    }

    async fn tasks(
        &mut self,
        agent: &dyn Agent,
        phase: &mut watch::Receiver<Phase>,
    ) -> Result<(), PostError> {
        loop {
            self.counts.enter(State::Idle);
            if *phase.borrow_and_update() != Phase::Serve {
                return Ok(());
            }
            let message = tokio::select! {
                biased;
                changed = phase.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return Ok(()),
                },
                // A cancel for a run that is not being worked on finds nothing to end.
                cancel = self.cancels.recv() => match cancel {
                    Some(_) => continue,
                    None => return Ok(()),
                },
                message = self.tasks.recv() => match message {
                    Some(message) => message,
                    None => return Ok(()),
                },
            };
            self.counts.enter(State::Working);
            self.take(agent, message, phase).await?;
        }
    }

    /// Does one task and answers its requester.
    async fn take(
        &mut self,
        agent: &dyn Agent,
        message: Message,
        phase: &mut watch::Receiver<Phase>,
    ) -> Result<(), PostError> {
        let name = self.name;
        let task: Task = match serde_json::from_slice(message.payload()) {
            Ok(task) => task,
            Err(error) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                let _ = message.fail(&NoHandoff::Failed(format!("this is no task: {error}")).reason());
                return Ok(());
            }
        };
        let within = time::now() + Duration::from_millis(task.within_ms);
        let deadline = message.deadline().map_or(within, |deadline| deadline.min(within));
        event!("agent.task", agent = name, task = task.id.as_str());
        let run = task.run.clone();
        let (cancel, cancelled) = watch::channel(false);
        let desk = Desk::new(name, self.agent.clone(), task, deadline, cancelled);
        let end = match std::panic::catch_unwind(AssertUnwindSafe(|| agent.work(desk))) {
            Err(payload) => Err(WorkError::Panicked(panic_message(&*payload))),
            Ok(work) => {
                let mut work = Working(task::spawn(work));
                // Work that does not come up for breath is given up then.
                let (mut until, mut given_up) = (deadline + OVERTIME, WorkError::DeadlinePassed);
                loop {
                    let waits = !*cancel.borrow();
                    tokio::select! {
                        biased;
                        end = &mut work.0 => break match end {
                            Ok(end) => end,
                            Err(JoinError::Panicked(text)) => Err(WorkError::Panicked(text)),
                            Err(JoinError::Cancelled) => Err(WorkError::Stopped),
                        },
                        changed = phase.changed() => {
                            if changed.is_err() || *phase.borrow_and_update() == Phase::Stop {
                                break Err(WorkError::Stopped);
                            }
                            continue;
                        }
                        // A fabric that drains has no more of them, and lets the task go on.
                        Some(told) = self.cancels.recv() => {
                            if !waits || told.subject().as_str() != cancel_subject(&run) {
                                continue;
                            }
                            reach!("agent.cancelled");
                        }
                        // Its requester waits no more.
                        () = message.cancelled(), if waits => {
                            reach!("agent.requester-gone");
                        }
                        () = time::sleep_until(until) => {
                            reach!("agent.work-given-up");
                            break Err(given_up);
                        }
                    }
                    cancel.send_replace(true);
                    (until, given_up) = (until.min(time::now() + HEED), WorkError::Cancelled);
                }
            }
        };
        match end {
            Ok(handoff) => {
                self.counts.done.fetch_add(1, Ordering::Relaxed);
                event!("agent.done", agent = name, outputs = handoff.outputs.len());
                // A requester that no longer waits finds the outputs in the run folder.
                let _ = message.reply(serde_json::to_vec(&handoff).unwrap_or_default());
                Ok(())
            }
            Err(error) => {
                self.counts.failed.fetch_add(1, Ordering::Relaxed);
                event!("agent.failed", agent = name);
                let _ = message.fail(&NoHandoff::from(&error).reason());
                match error {
                    WorkError::Panicked(text) => Err(panicked(name, Part::Work, text)),
                    why if why.is_crash() => Err(PostError::Failed { agent: name, part: Part::Work, why }),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// Ends the work with its post, whatever ends that.
struct Working(task::JoinHandle<Result<Handoff, WorkError>>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn panicked(agent: &'static str, part: Part, message: String) -> PostError {
    reach!("agent.panicked");
    PostError::Panicked { agent, part, message }
}

/// Runs a hook to its end, but not past its time, and turns its panic into an error.
async fn contained<'a>(
    agent: &'static str,
    part: Part,
    limit: Duration,
    hook: impl FnOnce() -> Hook<'a>,
) -> Result<(), PostError> {
    let called = AssertUnwindSafe(async move { hook().await }).catch_unwind();
    match time::timeout(limit, called).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(why))) => Err(PostError::Failed { agent, part, why }),
        Ok(Err(payload)) => Err(panicked(agent, part, panic_message(&*payload))),
        Err(_) => {
            reach!("agent.hook-hung");
            Err(PostError::Hung { agent, part, limit })
        }
    }
}

/// Returns when the phase is another than serving.
async fn leaves_serve(phase: &mut watch::Receiver<Phase>) {
    while *phase.borrow_and_update() == Phase::Serve {
        if phase.changed().await.is_err() {
            return;
        }
    }
}
