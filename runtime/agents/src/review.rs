//! The workflow `review` from the client's side: a tree in, a verdict out.
//!
//! The agents must be on board somewhere on the fabric. Dropping the future cancels the run: the request's end is told to
//! DIRECTOR, who drops what it waits for in turn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use synod_fabric::{Agent, AttachError, Priority, RequestError};
use synod_platform::files::{self, FilesError};
use synod_platform::{random, time};

use crate::director::Verdict;
use crate::director::work::THRESHOLD;
use crate::finding::Severity;
use crate::folder::{FolderError, RunFolder};
use crate::survey::Survey;
use crate::task::{self, Handoff, Progress, Task, Urgency};

/// What is to be reviewed, and how.
#[derive(Debug, Clone)]
pub struct Review {
    /// The source tree; read, never written.
    pub tree: PathBuf,
    /// Where run folders are made; outside of the tree.
    pub out: PathBuf,
    /// The severity from which on findings fail the review.
    pub fail_on: Severity,
    /// How long it may take.
    pub within: Duration,
}

/// A review that came to its end.
#[derive(Debug, Clone)]
pub struct Reviewed {
    /// The run's id.
    pub run: String,
    /// The run folder, absolute.
    pub folder: PathBuf,
    /// The tree, absolute.
    pub tree: PathBuf,
    /// DIRECTOR's verdict with all findings.
    pub verdict: Verdict,
    /// What the tree consists of.
    pub survey: Survey,
    /// DIRECTOR's handoff.
    pub handoff: Handoff,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// The tree or the folder for runs.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The tree is no directory.
    #[error("{}: not a directory; name the root of a source tree", .0.display())]
    NoTree(PathBuf),
    /// The run folder would lie in the tree, which is never written.
    #[error("{}: lies within the tree under review, which is never written; name another folder with --out", .0.display())]
    OutWithinTree(PathBuf),
    /// The client cannot take its place on the fabric.
    #[error("the client cannot take its place on the fabric: {0}")]
    Attach(#[from] AttachError),
    /// DIRECTOR gave no verdict.
    #[error("no verdict: {0}")]
    Request(#[from] RequestError),
    /// The run folder has not what it should have.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// DIRECTOR's answer is no handoff.
    #[error("director answered with something that is no handoff: {0}")]
    Answer(serde_json::Error),
}

/// Runs a review under an id of its own and tells its progress as it comes.
pub async fn run(
    agent: &Agent,
    review: &Review,
    tell: impl FnMut(Progress),
) -> Result<Reviewed, ReviewError> {
    run_as(agent, review, run_id(), tell).await
}

/// Runs a review under an id that the caller has from [`run_id`] and may have told to others before the run begins.
pub async fn run_as(
    agent: &Agent,
    review: &Review,
    run: String,
    mut tell: impl FnMut(Progress),
) -> Result<Reviewed, ReviewError> {
    let tree = files::canonical(&review.tree).await?;
    if files::metadata(&tree).await?.kind != files::Kind::Directory {
        return Err(ReviewError::NoTree(review.tree.clone()));
    }
    outside(&review.out, &tree).await?;
    files::create_directories(&review.out).await?;
    let folder = files::canonical(&review.out).await?.join(&run);
    files::create_directories(&folder).await?;

    let order = Task {
        id: "review".into(),
        run: run.clone(),
        goal: format!("review the source tree {}", tree.display()),
        tree: tree.to_string_lossy().into_owned(),
        folder: folder.to_string_lossy().into_owned(),
        inputs: BTreeMap::from([(THRESHOLD.to_string(), review.fail_on.word().to_string())]),
        within_ms: u64::try_from(review.within.as_millis()).unwrap_or(u64::MAX),
        priority: Urgency::Normal,
    };
    let text = serde_json::to_vec(&order).map_err(ReviewError::Answer)?;
    let mut progress = agent.subscribe(&task::progress_subject(&run), 1024).await?;
    let subject = task::task_subject(task::DIRECTOR);
    let answer = {
        let mut request = std::pin::pin!(agent.request(&subject, Priority::Normal, text, review.within));
        loop {
            tokio::select! {
                biased;
                told = progress.recv() => {
                    if let Some(told) = told.and_then(|told| serde_json::from_slice(told.payload()).ok()) {
                        tell(told);
                    }
                }
                answer = &mut request => break answer?,
            }
        }
    };
    while let Some(told) = progress.try_recv() {
        if let Ok(told) = serde_json::from_slice(told.payload()) {
            tell(told);
        }
    }
    let handoff: Handoff = serde_json::from_slice(answer.payload()).map_err(ReviewError::Answer)?;
    let written = RunFolder::of(&folder, "client");
    let verdict = written.read_json("director/verdict.json").await?;
    let survey = written.read_json("project_orchestrator/survey.json").await?;
    Ok(Reviewed { run, folder, tree, verdict, survey, handoff })
}

/// Refuses a folder for runs that lies in the tree. It need not exist yet: what exists of its path decides.
async fn outside(out: &Path, tree: &Path) -> Result<(), ReviewError> {
    let mut missing = PathBuf::new();
    let start = if out.as_os_str().is_empty() { Path::new(".") } else { out };
    for above in start.ancestors() {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        if files::exists(above).await? {
            if files::canonical(above).await?.join(&missing).starts_with(tree) {
                return Err(ReviewError::OutWithinTree(out.to_path_buf()));
            }
            return Ok(());
        }
        missing = above.file_name().map(PathBuf::from).unwrap_or_default().join(&missing);
    }
    Ok(())
}

/// A run's id: when it began (UTC) and a random part, in characters that a subject and a file name may have.
pub fn run_id() -> String {
    let began: String = time::wall().to_string().chars().filter(char::is_ascii_digit).take(14).collect();
    format!("review-{began}-{:06x}", random::below(1 << 24))
}
