//! The agent whose work a program does: keeps the program running, checks what it gives, and writes what every agent writes.
//!
//! The program is started with the agent's life. One that was killed for not heeding a cancel, or that ended between two tasks, is started
//! again with the next task; one that breaks the protocol ends the life, so that the supervisor counts it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use synod_platform::files;
use synod_platform::process::child::Log;
use synod_probe::{event, reach};

use super::line::{Given, Writes, finding_fits};
use super::session::{Broken, Outcome, Session, find};
use super::{ExternalError, Program};
use crate::finding::arrange;
use crate::folder::FolderError;
use crate::shell::{Agent, Desk, Done, Hook, Place, WorkError};
use crate::task::{self, Handoff, Report};

/// The file of findings that every agent writes.
const FINDINGS: &str = "findings.json";
/// The file that keeps the program's standard error.
const LOG: &str = "program.log";
/// The largest file that is put into a tree, in bytes.
const WRITE_MAX: u64 = 64 << 20;
/// How long a program may take to end when it is asked to.
const STOP: Duration = Duration::from_secs(1);

/// An agent whose work a program does.
#[derive(Debug, Clone)]
pub struct External {
    name: &'static str,
    program: Rc<Program>,
    /// The running program; taken out while it works, so that work which is dropped kills it.
    session: Rc<RefCell<Option<Session>>>,
}

impl External {
    /// The agent `name`, done by `program`. Nothing is started yet.
    pub fn new(name: &'static str, program: Program) -> Self {
        External { name, program: Rc::new(program), session: Rc::default() }
    }

    async fn begin(&self) -> Result<Session, ExternalError> {
        let session = Session::begin(self.name, &self.program).await?;
        event!("external.ready", agent = self.name);
        Ok(session)
    }

    /// The program, running and idle.
    async fn session(&self) -> Result<Session, WorkError> {
        let kept = self.session.take();
        if let Some(mut session) = kept {
            if session.is_idle().await? {
                return Ok(session);
            }
            self.left(session).await?;
        }
        reach!("external.started-with-a-task");
        Ok(self.begin().await?)
    }

    /// A program whose output ended between two tasks: with status 0 it may be started again.
    async fn left(&self, session: Session) -> Result<(), ExternalError> {
        match session.exited("between two tasks").await.0 {
            error if error.is_good_exit() => Ok(()),
            error => Err(error),
        }
    }

    async fn task(&self, desk: &Desk) -> Result<Handoff, WorkError> {
        let folder = PathBuf::from(&desk.task().folder).join(self.name);
        files::create_directories(&folder).await.map_err(FolderError::from)?;
        let mut session = self.session().await?;
        let mut outcome = session.task(desk, &folder, self.program.within).await;
        if matches!(outcome, Err(Broken::Gone)) && session.may_have_left_before() {
            self.left(session).await?;
            session = self.begin().await?;
            outcome = session.task(desk, &folder, self.program.within).await;
        }
        let (log, outcome) = match outcome {
            Ok(outcome) => {
                let log = session.take_log();
                self.session.replace(Some(session));
                (log, Ok(outcome))
            }
            Err(Broken::Cancelled { heeded }) => {
                let log = session.take_log();
                if heeded {
                    reach!("external.cancel-heeded");
                    self.session.replace(Some(session));
                } else {
                    reach!("external.cancel-unheeded");
                }
                (log, Err(WorkError::Cancelled))
            }
            Err(Broken::Program(error)) => (session.kill().await, Err(error.into())),
            Err(Broken::Gone) => {
                let (error, log) = session.exited("during a task").await;
                (log, Err(error.into()))
            }
        };
        let kept = keep_log(desk, log).await?;
        match outcome? {
            Outcome::Done(given) => {
                let end = self.handoff(desk, &folder, given, kept).await;
                if let Err(WorkError::Lease(why)) = &end
                    && let Some(mut session) = self.session.take()
                    && session.refuse(why.to_string()).await.is_ok()
                {
                    reach!("external.write-refused");
                    self.session.replace(Some(session));
                }
                end
            }
            Outcome::Failed(why) => Err(WorkError::Task(why)),
        }
    }

    /// Makes a handoff of what the program gave, once all of it has been checked.
    async fn handoff(
        &self,
        desk: &Desk,
        folder: &Path,
        given: Given,
        log: Option<String>,
    ) -> Result<Handoff, WorkError> {
        let Given { id: _, to, mut findings, mut outputs, writes, metrics, warnings, next_actions } = given;
        for path in writes.iter().flat_map(|writes| writes.files.values()) {
            if !outputs.contains(path) {
                outputs.push(path.clone());
            }
        }
        for path in &outputs {
            is_file_below(folder, path).await?;
        }
        let mut handoff = desk.handoff(to.as_deref().unwrap_or(task::DIRECTOR));
        let own = outputs.iter().any(|path| path == FINDINGS);
        if own {
            if !findings.is_empty() {
                let problem = format!("`findings` are given in the handoff and in `{FINDINGS}`; choose one");
                return Err(ExternalError::BadValue(problem).into());
            }
            findings = self.own_findings(desk).await?;
        } else {
            arrange(&mut findings);
            let report =
                Report { agent: self.name.into(), findings: findings.clone(), warnings: warnings.clone() };
            handoff.outputs.push(desk.folder().write_json(FINDINGS, &report).await?);
        }
        handoff.outputs.extend(outputs.iter().map(|path| format!("{}/{path}", self.name)));
        handoff.outputs.extend(log);
        handoff.metrics = metrics;
        handoff.metrics.insert("findings".into(), findings.len() as f64);
        handoff.warnings = warnings;
        handoff.next_actions = next_actions;
        // Last, when nothing else can be wrong with it.
        if let Some(Writes { token, files: named }) = writes {
            let mut writes = Vec::with_capacity(named.len());
            for (to, from) in named {
                writes.push((
                    to.into(),
                    files::read(&folder.join(from), WRITE_MAX).await.map_err(FolderError::from)?,
                ));
            }
            handoff.metrics.insert("written".into(), writes.len() as f64);
            desk.write_tree(token, writes).await?;
        }
        Ok(handoff)
    }

    /// The findings of a program that wrote `findings.json` itself.
    async fn own_findings(&self, desk: &Desk) -> Result<Vec<crate::Finding>, WorkError> {
        let bad = |why: String| ExternalError::BadOutput { path: FINDINGS.into(), why };
        let path = format!("{}/{FINDINGS}", self.name);
        let report: Report = match desk.folder().read_json(&path).await {
            Ok(report) => report,
            Err(FolderError::Form { source, .. }) => {
                return Err(bad(format!("is no report: {source}")).into());
            }
            Err(error) => return Err(error.into()),
        };
        if report.agent != self.name {
            return Err(bad(format!("is a report of `{}`, not of `{}`", report.agent, self.name)).into());
        }
        report.findings.iter().try_for_each(finding_fits)?;
        Ok(report.findings)
    }
}

impl Agent for External {
    fn init<'a>(&'a self, _place: &'a Place) -> Hook<'a> {
        async { Ok(find(&self.program).map(drop)?) }.boxed_local()
    }

    fn start<'a>(&'a self, _place: &'a Place) -> Hook<'a> {
        async {
            let session = self.begin().await?;
            self.session.replace(Some(session));
            Ok(())
        }
        .boxed_local()
    }

    fn work(&self, desk: Desk) -> Done {
        let agent = self.clone();
        async move { agent.task(&desk).await }.boxed_local()
    }

    fn stop<'a>(&'a self, _place: &'a Place) -> Hook<'a> {
        async {
            let session = self.session.take();
            if let Some(session) = session
                && session.stop(STOP).await.killed
            {
                reach!("external.stop-unheeded");
            }
            Ok(())
        }
        .boxed_local()
    }

    fn crash<'a>(&'a self, _place: &'a Place, _why: &'a str) -> Hook<'a> {
        async {
            drop(self.session.take());
            Ok(())
        }
        .boxed_local()
    }

    fn patience(&self) -> Duration {
        // The program's own limit tells more, and comes first.
        self.program.ready_within + Duration::from_secs(5)
    }
}

/// Writes what the program complained of beside its outputs, if it did.
async fn keep_log(desk: &Desk, log: Log) -> Result<Option<String>, FolderError> {
    if log.bytes.is_empty() {
        return Ok(None);
    }
    let mut bytes = log.bytes;
    if log.lost > 0 {
        bytes.extend(format!("\n[{} bytes more were not kept]\n", log.lost).into_bytes());
    }
    desk.folder().write(LOG, &bytes).await.map(Some)
}

/// Refuses an output that is not there, no plain file, or elsewhere behind a link.
async fn is_file_below(folder: &Path, path: &str) -> Result<(), ExternalError> {
    let bad = |why: String| ExternalError::BadOutput { path: path.into(), why };
    let told = |error: files::FilesError| bad(format!("cannot be used: {error}"));
    let whole = files::canonical(&folder.join(path)).await.map_err(told)?;
    if !whole.starts_with(files::canonical(folder).await.map_err(told)?) {
        return Err(bad("leads out of the agent's folder".into()));
    }
    match files::metadata(&whole).await.map_err(told)?.kind {
        files::Kind::File => Ok(()),
        _ => Err(bad("is no file".into())),
    }
}
