//! What is common to all agents: taking tasks from the fabric, telling progress, heeding cancels and deadlines.
//!
//! A [`Post`] is one agent's place on the fabric; it does one task at a time, the most urgent first. The work itself gets a
//! [`Desk`]. A panic in the work is contained: its requester is told, the post ends, and whoever supervises it opens
//! it again. Work is idempotent per task id: doing it again writes the same files.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use synod_fabric::{
    Agent, AttachError, Context, Message, Priority, RequestError, RequestOptions, Subscription,
};
use synod_platform::task::{self, JoinError};
use synod_platform::time::{self, Mono};
use synod_platform::watch;
use synod_probe::{event, reach};

use crate::Role;
use crate::folder::{FolderError, RunFolder};
use crate::task::{Handoff, Progress, Task, cancel_subject, progress_subject, task_subject};

/// Tasks that may wait at one agent, for each priority.
const QUEUE: usize = 64;
/// How often a running task looks whether its requester still waits.
const LOOK: Duration = Duration::from_millis(100);

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

/// Why work was not done.
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
    /// The task lacks something, or has it in the wrong form.
    #[error("the task cannot be done: {0}")]
    Task(String),
    /// Another agent did not do its part.
    #[error("{agent} did not do its part: {why}")]
    Part {
        /// Which agent.
        agent: String,
        /// Why.
        why: RequestError,
    },
}

/// Why a post ended.
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
    /// Its work panicked.
    #[error("{agent} panicked: {message}")]
    Panicked {
        /// Which agent.
        agent: &'static str,
        /// The panic's message.
        message: String,
    },
}

/// What an agent does with a task.
type Work = Rc<dyn Fn(Desk) -> LocalBoxFuture<'static, Result<Handoff, WorkError>>>;

/// One agent's place on the fabric, with its subscriptions made.
pub struct Post {
    name: &'static str,
    work: Work,
    agent: Agent,
    tasks: Subscription,
    cancels: Subscription,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Post {
    /// Opens the post of `role` in this context. When it returns, tasks can be sent.
    pub async fn open(context: &Context, role: Role) -> Result<Self, PostError> {
        Self::open_with(context, role.name(), move |desk| async move { role.work(&desk).await }).await
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
        let attach = |why| PostError::Attach { agent: name, why };
        let agent = context.agent(name).map_err(attach)?;
        let cancels = agent.subscribe("cancel.*", QUEUE).await.map_err(attach)?;
        let tasks = agent.serve(&task_subject(name), QUEUE).await.map_err(attach)?;
        event!("agent.ready", agent = name);
        Ok(Post { name, work: Rc::new(move |desk| work(desk).boxed_local()), agent, tasks, cancels })
    }

    /// Does tasks until the phase says otherwise or the fabric ends.
    pub async fn run(mut self, mut phase: watch::Receiver<Phase>) -> Result<(), PostError> {
        loop {
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
            self.take(message, &mut phase).await?;
        }
    }

    /// Does one task and answers its requester.
    async fn take(&mut self, message: Message, phase: &mut watch::Receiver<Phase>) -> Result<(), PostError> {
        let name = self.name;
        let task: Task = match serde_json::from_slice(message.payload()) {
            Ok(task) => task,
            Err(error) => {
                let _ = message.fail(&format!("this is no task: {error}"));
                return Ok(());
            }
        };
        let within = time::now() + Duration::from_millis(task.within_ms);
        let deadline = message.deadline().map_or(within, |deadline| deadline.min(within));
        event!("agent.task", agent = name, task = task.id.as_str());
        let run = task.run.clone();
        let desk = Desk {
            name,
            agent: self.agent.clone(),
            task: Rc::new(task),
            deadline,
            cancelled: Rc::new(Cell::new(false)),
        };
        let cancelled = desk.cancelled.clone();
        let mut work = task::spawn((self.work)(desk));
        let mut look = time::interval(LOOK);
        let end = loop {
            tokio::select! {
                biased;
                end = &mut work => break match end {
                    Ok(end) => end,
                    Err(JoinError::Panicked(text)) => Err(WorkError::Panicked(text)),
                    Err(JoinError::Cancelled) => Err(WorkError::Stopped),
                },
                changed = phase.changed() => {
                    if changed.is_err() || *phase.borrow_and_update() == Phase::Stop {
                        break Err(WorkError::Stopped);
                    }
                }
                cancel = self.cancels.recv() => {
                    if cancel.is_some_and(|cancel| cancel.subject().as_str() == cancel_subject(&run)) {
                        reach!("agent.cancelled");
                        cancelled.set(true);
                    }
                }
                _ = look.tick() => {
                    if message.is_cancelled() {
                        cancelled.set(true);
                    }
                    // Work that does not come up for breath is given up.
                    if time::now() > deadline + LOOK + LOOK {
                        break Err(WorkError::DeadlinePassed);
                    }
                }
            }
        };
        work.abort();
        match end {
            Ok(handoff) => {
                event!("agent.done", agent = name, outputs = handoff.outputs.len());
                // A requester that no longer waits finds the outputs in the run folder.
                let _ = message.reply(serde_json::to_vec(&handoff).unwrap_or_default());
                Ok(())
            }
            Err(error) => {
                event!("agent.failed", agent = name);
                let _ = message.fail(&error.to_string());
                match error {
                    WorkError::Panicked(text) => {
                        reach!("agent.panicked");
                        Err(PostError::Panicked { agent: name, message: text })
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

/// What an agent's work has at hand. Cheap to clone; stays on its context.
#[derive(Debug, Clone)]
pub struct Desk {
    name: &'static str,
    agent: Agent,
    task: Rc<Task>,
    deadline: Mono,
    cancelled: Rc<Cell<bool>>,
}

impl Desk {
    /// The task.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// An input of the task by name.
    pub fn input(&self, name: &str) -> Result<&str, WorkError> {
        let input = self.task.inputs.get(name);
        input.map(String::as_str).ok_or_else(|| WorkError::Task(format!("it names no input `{name}`")))
    }

    /// The agent's own folder within the run folder.
    pub fn folder(&self) -> RunFolder {
        RunFolder::of(&self.task.folder, self.name)
    }

    /// The time that is left.
    pub fn left(&self) -> Duration {
        self.deadline.since(time::now())
    }

    /// Tells how far the work is. Nobody has to listen.
    pub fn progress(&self, fraction: f32, sentence: impl Into<String>) {
        let progress = Progress {
            run: self.task.run.clone(),
            agent: self.name.into(),
            fraction: fraction.clamp(0.0, 1.0),
            sentence: sentence.into(),
        };
        if let Ok(text) = serde_json::to_vec(&progress) {
            // Progress is worth no waiting: a listener that is behind misses a sentence, the next one tells more.
            if self.agent.publish(&progress_subject(&self.task.run), Priority::Low, text).is_err() {
                reach!("agent.progress-refused");
            }
        }
    }

    /// Lets others run, then says whether the work shall go on. To be called between small pieces of work.
    pub async fn breathe(&self) -> Result<(), WorkError> {
        task::yield_now().await;
        if self.cancelled.get() {
            return Err(WorkError::Cancelled);
        }
        if self.left().is_zero() {
            return Err(WorkError::DeadlinePassed);
        }
        Ok(())
    }

    /// Gives a task to another agent and waits for its handoff.
    pub async fn delegate(&self, agent: &str, mut task: Task) -> Result<Handoff, WorkError> {
        let left = self.left();
        task.within_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let text = serde_json::to_vec(&task).map_err(|error| WorkError::Task(error.to_string()))?;
        let answer = self
            .agent
            .request_with(
                &task_subject(agent),
                task.priority.into(),
                text,
                RequestOptions::within(left).idempotent(),
            )
            .await
            .map_err(|why| WorkError::Part { agent: agent.into(), why })?;
        serde_json::from_slice(answer.payload()).map_err(|error| {
            WorkError::Task(format!("{agent} answered with something that is no handoff: {error}"))
        })
    }

    /// A handoff from this agent, to be filled in.
    pub fn handoff(&self, to: &str) -> Handoff {
        Handoff { from: self.name.into(), to: to.into(), task: self.task.id.clone(), ..Handoff::default() }
    }
}
