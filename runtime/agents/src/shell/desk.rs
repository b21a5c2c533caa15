//! What the work on one task has at hand: the task, its time, the run folder, and the other agents.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use synod_fabric::{Agent as Member, Priority, RequestOptions, Subscription};
use synod_platform::time::{self, Mono};
use synod_platform::{task, watch};
use synod_probe::reach;

use super::WorkError;
use crate::folder::RunFolder;
use crate::task::{Handoff, Progress, Task, Veto, progress_subject, veto_subject};
use crate::workflow::lease::Leases;

/// What an agent's work has at hand. Cheap to clone; stays on its context.
#[derive(Debug, Clone)]
pub struct Desk {
    name: &'static str,
    agent: Member,
    task: Rc<Task>,
    deadline: Mono,
    cancelled: watch::Receiver<bool>,
}

impl Desk {
    pub(super) fn new(
        name: &'static str,
        agent: Member,
        task: Task,
        deadline: Mono,
        cancelled: watch::Receiver<bool>,
    ) -> Self {
        Desk { name, agent, task: Rc::new(task), deadline, cancelled }
    }

    /// The name of the agent that sits here.
    pub fn name(&self) -> &'static str {
        self.name
    }

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

    /// Whether the share of the task's time that reading the tree may take is gone: then what was read is worked on, and this is
    /// the warning that tells how far it came. To be asked between entries.
    pub(super) fn cut(&self, share: f32, read: usize, entries: usize) -> Option<String> {
        cut(self.left(), Duration::from_millis(self.task.within_ms), share).then(|| {
            reach!("agent.reading-cut");
            format!("the time for reading was up after {read} of {entries} entries of the tree: give the step more, or a smaller tree")
        })
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
        self.look()
    }

    /// Waits until the work shall not go on, and says why. To be raced with what has no breath to come up for.
    pub async fn given_up(&self) -> WorkError {
        let mut cancelled = self.cancelled.clone();
        loop {
            if let Err(why) = self.look() {
                return why;
            }
            // A post that is gone cancels nothing, and takes the work with it.
            let changed = async {
                if cancelled.changed().await.is_err() {
                    std::future::pending().await
                }
            };
            let _ = time::timeout(self.left(), changed).await;
        }
    }

    fn look(&self) -> Result<(), WorkError> {
        if *self.cancelled.borrow() {
            return Err(WorkError::Cancelled);
        }
        if self.left().is_zero() {
            return Err(WorkError::DeadlinePassed);
        }
        Ok(())
    }

    /// Listens to a subject while the work lasts; up to `queue` messages of each priority may wait.
    pub async fn listen(&self, subject: &str, queue: usize) -> Result<Subscription, WorkError> {
        let refused = |why| WorkError::Task(format!("cannot listen to {subject}: {why}"));
        self.agent.subscribe(subject, queue).await.map_err(refused)
    }

    /// Gives a task to another agent, for the time the task has and no longer than is left here, and waits for its handoff. Of several
    /// healthy instances the one gets it that this context keeps the least busy.
    pub async fn delegate(&self, agent: &str, mut task: Task) -> Result<Handoff, WorkError> {
        let left = self.left().min(Duration::from_millis(task.within_ms));
        task.within_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let options = RequestOptions::within(left).idempotent().least_loaded();
        let end = super::ask(&self.agent, agent, &task, options).await;
        end.map_err(|why| WorkError::Part { agent: agent.into(), why })
    }

    /// Puts files, named relative to it, into the tree that the task may write: all of them if `token` is the newest one for that tree,
    /// else none. The token alone decides, not who brings it.
    pub async fn write_tree(
        &self,
        token: u64,
        writes: impl IntoIterator<Item = (PathBuf, Vec<u8>)>,
    ) -> Result<(), WorkError> {
        let Some(lease) = &self.task.lease else {
            return Err(WorkError::Task("it comes with no lease, so that it may write no tree".into()));
        };
        self.look()?;
        let folder = Path::new(&self.task.folder);
        let leases = Leases::beside(folder.parent().unwrap_or(folder));
        Ok(leases.write(&lease.tree, token, writes).await?)
    }

    /// Vetoes what a step of this run puts out, until it is lifted: what depends on it does not run.
    pub fn veto(&self, step: &str, why: &str) -> Result<(), WorkError> {
        let veto = Veto { step: step.into(), why: why.into(), lifted: false };
        let text = serde_json::to_vec(&veto).map_err(|error| WorkError::Task(error.to_string()))?;
        let untold = |why: &str| WorkError::Task(format!("the veto on `{step}` could not be told: {why}"));
        let receipt = self.agent.publish(&veto_subject(&self.task.run), Priority::High, text);
        match receipt.map_err(|why| untold(&why.to_string()))?.accepted_count() {
            0 => Err(untold("nobody who runs the plan took it")),
            _ => Ok(()),
        }
    }

    /// A handoff from this agent, to be filled in.
    pub fn handoff(&self, to: &str) -> Handoff {
        Handoff { from: self.name.into(), to: to.into(), task: self.task.id.clone(), ..Handoff::default() }
    }
}

/// Whether more than `share` of the time `within` is gone when `left` of it is left.
fn cut(left: Duration, within: Duration, share: f32) -> bool {
    left < within.mul_f32(1.0 - share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_cut_when_its_share_of_the_time_is_gone() {
        let minute = |n: u64| Duration::from_secs(60 * n);
        assert!(!cut(minute(4), minute(4), 0.75));
        assert!(!cut(minute(1), minute(4), 0.75));
        assert!(cut(Duration::from_secs(59), minute(4), 0.75));
        assert!(cut(Duration::ZERO, minute(4), 0.75));
    }
}
