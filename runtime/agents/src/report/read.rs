//! Reads a run folder: the result that stands in it, or all from which a result is made.
//!
//! What is missing is left out. What is there and broken is told, for a result made of half a truth would be a lie; only the
//! journal's last line may be torn, as a crash leaves it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use synod_platform::disk::{DiskError, Failure, File, OpenOptions};
use synod_platform::files::{self, FilesError, Kind, WalkLimits};

use super::build::{self, Parts, Planned};
use super::{Edge, FileResult, MESSAGES, PAGE, RESULT, RunResult, SARIF};
use crate::folder::{FolderError, RunFolder};
use crate::task::Report;
use crate::workflow::journal::{self, JournalError, Line};
use crate::workflow::plan;

/// The most files of a run folder that are listed.
const FILES_MAX: usize = 20_000;
/// Largest journal that is read, in bytes.
const JOURNAL_MAX: u64 = 1 << 30;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file of the run folder could not be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The run folder could not be read or written.
    #[error("run folder: {0}")]
    Files(#[from] FilesError),
    /// It is no run folder.
    #[error("{}: no run folder, for it has neither a plan nor a journal nor a result", .0.display())]
    NoRun(PathBuf),
    /// The journal is damaged.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal could not be read.
    #[error("the journal of the run: {0}")]
    Disk(#[from] DiskError),
    /// The plan is damaged.
    #[error("run folder: {path} is no plan: {why}")]
    Plan {
        /// The plan.
        path: &'static str,
        /// What is wrong with it.
        why: Box<toml::de::Error>,
    },
}

/// The result of the run in `folder`: as it was written when the run ended, or else from what is there.
pub async fn read(folder: &Path) -> Result<RunResult, ReportError> {
    let run = RunFolder::of(folder, "client");
    match optional(run.read_json::<RunResult>(RESULT).await)? {
        Some(result) => Ok(result),
        None => result_of(folder).await,
    }
}

/// Makes the result of the run in `folder` from what the agents and the engine left there.
pub async fn result_of(folder: &Path) -> Result<RunResult, ReportError> {
    let run = RunFolder::of(folder, "client");
    let mut parts = Parts {
        run: folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        journal: journal(folder).await?,
        verdict: json(&run, "director/verdict.json").await?,
        survey: json(&run, "project_orchestrator/survey.json").await?,
        messages: json::<Vec<Edge>>(&run, MESSAGES).await?.unwrap_or_default(),
        ..Parts::default()
    };
    let plan = planned(&run).await?;
    if plan.is_none() && parts.journal.is_empty() && parts.verdict.is_none() {
        return Err(ReportError::NoRun(folder.into()));
    }
    let plan = plan.unwrap_or_default();
    (parts.goal, parts.tree, parts.planned) = (plan.goal, plan.tree, plan.steps);
    let limits = WalkLimits { honour_ignores: false, entries: FILES_MAX, ..WalkLimits::default() };
    for entry in files::walk(folder, limits).await?.entries {
        let path = entry.path.to_string_lossy().into_owned();
        if entry.kind != Kind::File || [RESULT, SARIF, PAGE, "manifest.json"].contains(&path.as_str()) {
            continue;
        }
        if let [_agent, "findings.json"] = *path.split('/').collect::<Vec<_>>() {
            parts.reports.extend(json::<Report>(&run, &path).await?);
        }
        parts.files.push(FileResult { path, bytes: entry.len });
    }
    Ok(build::result(parts))
}

async fn json<T: DeserializeOwned>(run: &RunFolder, path: &str) -> Result<Option<T>, ReportError> {
    optional(run.read_json(path).await)
}

fn optional<T>(read: Result<T, FolderError>) -> Result<Option<T>, ReportError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(FolderError::Files(FilesError::NotFound { .. })) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The lines of the journal of the run in `folder`; none if there is no journal yet.
pub async fn journal(folder: &Path) -> Result<Vec<Line>, ReportError> {
    let path = folder.join(journal::FILE);
    let file = match File::open(&path, OpenOptions::READ).await {
        Ok(file) => file,
        Err(error) if error.failure == Failure::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let content = file.read_all(JOURNAL_MAX).await;
    // Read only, so nothing can be lost by a close that fails.
    let _ = file.close().await;
    // A last line without its end is one that a crash tore, or that is being written this moment.
    let (lines, _) =
        journal::parse(&content?).map_err(|(line, why)| JournalError::Damaged { path, line, why })?;
    Ok(lines)
}

/// What a report needs of a plan.
#[derive(Debug, Default, Deserialize)]
struct Plan {
    #[serde(default)]
    goal: String,
    #[serde(default)]
    tree: String,
    #[serde(default, rename = "step")]
    steps: Vec<Planned>,
}

async fn planned(run: &RunFolder) -> Result<Option<Plan>, ReportError> {
    let Some(bytes) = optional(run.read(plan::FILE).await)? else { return Ok(None) };
    let plan = toml::from_str(&String::from_utf8_lossy(&bytes));
    plan.map(Some).map_err(|why| ReportError::Plan { path: plan::FILE, why: Box::new(why) })
}
