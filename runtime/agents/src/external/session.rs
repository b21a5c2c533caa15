//! One program's life: started, greeted, given tasks one after the other, ended.
//!
//! A session that has given an error is only good for being ended. Dropping it kills the program.

use std::path::{Path, PathBuf};
use std::time::Duration;

use synod_platform::process::child::{Child, Ended, LineError, Log};
use synod_platform::process::{self, Tool};
use synod_platform::time;

use super::line::{Given, LINE_MAX, PROTOCOL, Said, Told};
use super::{ExternalError, Program};
use crate::shell::{Desk, WorkError};

/// How long a program may take to read a line that it is told.
const HEED: Duration = Duration::from_secs(5);
/// How long it is listened to after the end of a task, for what should not come.
const SETTLE: Duration = Duration::from_millis(5);
/// How long it may take to end a task that was cancelled.
const CANCEL: Duration = Duration::from_secs(1);
/// How long it may take to end after its output has ended.
const EXIT: Duration = Duration::from_secs(1);
/// How many lines it may say for one task.
const LINES_MAX: u32 = 100_000;
/// How much of its standard error is kept for one task, bytes.
const LOG_MAX: usize = 1 << 20;

/// How a task went, as far as the program says it.
pub(super) enum Outcome {
    /// It is done.
    Done(Given),
    /// It could not be done.
    Failed(String),
}

/// How a task ended otherwise.
pub(super) enum Broken {
    /// Its requester cancelled it; the program may or may not have heeded that.
    Cancelled {
        /// Whether the program ended the task in good order.
        heeded: bool,
    },
    /// The program broke the protocol.
    Program(ExternalError),
    /// Its output ended.
    Gone,
}

impl From<ExternalError> for Broken {
    fn from(error: ExternalError) -> Self {
        Broken::Program(error)
    }
}

/// A running program that has said it is ready.
#[derive(Debug)]
pub(super) struct Session {
    child: Child,
    next: u64,
    /// Whether it has said anything of its present task.
    heard: bool,
}

/// The program's path: as it stands, seen from its directory, or as `PATH` leads to it.
pub(super) fn find(program: &Program) -> Result<PathBuf, ExternalError> {
    let Some(name) = program.exec.first() else { return Err(ExternalError::NotFound(String::new())) };
    if name.contains('/') {
        return Ok(program.directory.join(name));
    }
    process::which(name).ok_or_else(|| ExternalError::NotFound(name.clone()))
}

impl Session {
    /// Starts the program and waits until it is ready.
    pub(super) async fn begin(agent: &str, program: &Program) -> Result<Self, ExternalError> {
        let inherit: Vec<&str> = program.inherit.iter().map(String::as_str).collect();
        let child = Tool::new(find(program)?)
            .args(program.exec.iter().skip(1).cloned())
            .directory(&program.directory)
            .inherit(&inherit)
            .output_limit(LOG_MAX)
            .spawn()?;
        let mut session = Session { child, next: 1, heard: false };
        let greeted = time::timeout(program.ready_within, session.greet(agent)).await;
        match greeted {
            Ok(Ok(())) => Ok(session),
            Ok(Err(Broken::Gone)) => Err(session.exited("before it was ready").await.0),
            Ok(Err(Broken::Program(error))) => Err(error),
            Ok(Err(Broken::Cancelled { .. })) | Err(_) => Err(ExternalError::NotReady(program.ready_within)),
        }
    }

    async fn greet(&mut self, agent: &str) -> Result<(), Broken> {
        self.tell(&Told::Hello { protocol: PROTOCOL, agent: agent.into() }).await?;
        match self.hear().await? {
            Said::Hello { protocol: PROTOCOL } => {}
            Said::Hello { protocol } => return Err(ExternalError::Version { told: protocol }.into()),
            other => return Err(out_of_turn(&other, "before `hello`")),
        }
        match self.hear().await? {
            Said::Ready {} => Ok(()),
            other => Err(out_of_turn(&other, "before `ready`")),
        }
    }

    /// Whether it has done a task and has said nothing of the one after it: then it may have ended before it was told of that.
    pub(super) fn may_have_left_before(&self) -> bool {
        self.next > 2 && !self.heard
    }

    /// Whether it still runs and has said nothing since its last task.
    pub(super) async fn is_idle(&mut self) -> Result<bool, ExternalError> {
        match time::timeout(SETTLE, self.hear()).await {
            Err(_) => Ok(true),
            Ok(Err(Broken::Program(error))) => Err(error),
            Ok(Err(Broken::Gone | Broken::Cancelled { .. })) => Ok(false),
            Ok(Ok(said)) => Err(ExternalError::OutOfTurn { said: said.kind(), place: "between two tasks" }),
        }
    }

    /// Gives it a task and listens until the task ends; `within` bounds the time beside the desk's own.
    pub(super) async fn task(
        &mut self,
        desk: &Desk,
        folder: &Path,
        within: Option<Duration>,
    ) -> Result<Outcome, Broken> {
        let id = self.next;
        self.next += 1;
        self.heard = false;
        let begin = time::now();
        let limit = within.map_or(desk.left(), |within| within.min(desk.left()));
        let told =
            Told::Task { id, folder: folder.to_string_lossy().into_owned(), task: desk.task().clone() };
        self.tell(&told).await?;
        let outcome = tokio::select! {
            biased;
            outcome = self.listen(desk, id) => outcome?,
            why = desk.given_up() => match why {
                WorkError::Cancelled => return Err(self.cancel(desk, id).await),
                _ => return Err(ExternalError::Silent(time::now().since(begin)).into()),
            },
            () = time::sleep(limit) => return Err(ExternalError::Silent(limit).into()),
        };
        match time::timeout(SETTLE, self.hear()).await {
            Ok(Ok(said)) => Err(out_of_turn(&said, "after the task had ended")),
            Ok(Err(Broken::Program(error))) => Err(error.into()),
            // One that ends after its task has done what it should: the next task starts it again.
            Ok(Err(Broken::Gone | Broken::Cancelled { .. })) | Err(_) => Ok(outcome),
        }
    }

    /// Listens to what it says of task `id` until that ends.
    async fn listen(&mut self, desk: &Desk, id: u64) -> Result<Outcome, Broken> {
        for _ in 0..LINES_MAX {
            let said = self.hear().await?;
            self.heard = true;
            if let Some(told) = said.id().filter(|told| *told != id) {
                return Err(ExternalError::WrongId { told, expected: id }.into());
            }
            match said {
                Said::Progress { fraction, sentence, .. } => desk.progress(fraction, sentence),
                Said::Handoff(given) => return Ok(Outcome::Done(given)),
                Said::Failed { why, .. } => return Ok(Outcome::Failed(why)),
                other @ (Said::Hello { .. } | Said::Ready {}) => {
                    return Err(out_of_turn(&other, "during a task"));
                }
            }
        }
        Err(ExternalError::Flood(LINES_MAX).into())
    }

    async fn cancel(&mut self, desk: &Desk, id: u64) -> Broken {
        let heeded = async {
            self.tell(&Told::Cancel { id }).await?;
            self.listen(desk, id).await
        };
        Broken::Cancelled { heeded: matches!(time::timeout(CANCEL, heeded).await, Ok(Ok(_))) }
    }

    /// Tells it that its last handoff was not written into the tree.
    pub(super) async fn refuse(&mut self, why: String) -> Result<(), Broken> {
        self.tell(&Told::Refused { id: self.next - 1, why }).await
    }

    /// What it has written to its standard error since this was last asked.
    pub(super) fn take_log(&mut self) -> Log {
        self.child.take_log()
    }

    /// Asks it to end, and sees that it does within `grace`.
    pub(super) async fn stop(mut self, grace: Duration) -> Ended {
        // One that does not read is killed.
        let _ = time::timeout(grace, self.tell(&Told::Stop {})).await;
        self.child.end(grace).await
    }

    /// Ends it at once.
    pub(super) async fn kill(self) -> Log {
        self.child.end(Duration::ZERO).await.log
    }

    /// Sees how it ended, after its output has.
    pub(super) async fn exited(self, when: &'static str) -> (ExternalError, Log) {
        let Ended { end, killed, log } = self.child.end(EXIT).await;
        let text = String::from_utf8_lossy(&log.bytes);
        let said = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let said = said.trim().chars().take(200).collect();
        (ExternalError::Exited { when, end: (!killed).then_some(end), said }, log)
    }

    async fn tell(&mut self, told: &Told) -> Result<(), Broken> {
        match time::timeout(HEED, self.child.write(&told.line())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Broken::Gone),
            Err(_) => Err(ExternalError::Deaf(HEED).into()),
        }
    }

    async fn hear(&mut self) -> Result<Said, Broken> {
        match self.child.line(LINE_MAX).await {
            Ok(Some(line)) => Ok(Said::read(&line)?),
            Ok(None) => Err(Broken::Gone),
            Err(LineError::TooLong { max }) => Err(ExternalError::Oversize { max }.into()),
            Err(torn @ LineError::Torn { .. }) => Err(ExternalError::BadLine(torn.to_string()).into()),
        }
    }
}

fn out_of_turn(said: &Said, place: &'static str) -> Broken {
    ExternalError::OutOfTurn { said: said.kind(), place }.into()
}
