//! The workflow `review` and edited plans of it from the client's side: a tree in, a verdict out.
//!
//! The agents must be on board somewhere on the fabric. Dropping the future cancels the run: the request's end is told to
//! DIRECTOR, who drops what it waits for in turn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use synod_control::ConfigError;
use synod_fabric::{Agent, AttachError, RequestError, RequestOptions};
use synod_platform::files::{self, FilesError};
use synod_platform::{random, time};
use synod_probe::reach;

use crate::Role;
use crate::director::THRESHOLD;
use crate::director::Verdict;
use crate::director::work::TESTS;
use crate::finding::Severity;
use crate::folder::{FolderError, RunFolder};
use crate::report;
use crate::shell::{self, Unanswered};
use crate::survey::Survey;
use crate::task::{self, Handoff, Progress, Task, Urgency};
use crate::workflow::plan::{self, Plan};

/// How often DIRECTOR is asked before it is given up.
const ASKED_MAX: u32 = 5;
/// The pause before it is asked again, which grows with each time.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest plan that is read, in bytes.
const PLAN_MAX: u64 = 16 << 20;

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
    /// Whether the tree's own tests are run, on a copy and in a jail.
    pub tests: bool,
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
    /// There is nothing to go on with.
    #[error("{}: no run that can be resumed: it has no plan.toml, so nothing was begun; run it anew", .0.display())]
    NoPlan(PathBuf),
    /// The plan is wrong.
    #[error(transparent)]
    Plan(#[from] ConfigError),
    /// The client cannot take its place on the fabric.
    #[error("the client cannot take its place on the fabric: {0}")]
    Attach(#[from] AttachError),
    /// DIRECTOR gave no verdict.
    #[error("no verdict: {0}")]
    Unanswered(#[from] Unanswered),
    /// The run folder has not what it should have.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The report could not be made.
    #[error("no report: {0}")]
    Report(#[from] report::ReportError),
}

/// A run that is to be begun, or gone on with.
#[derive(Debug, Clone)]
pub enum Job {
    /// A review, planned anew.
    Review(Review),
    /// A plan, as somebody wrote it, and where its run folder is made.
    Plan(Box<Plan>, PathBuf),
    /// The rest of the run in this folder, which was interrupted.
    Rest(PathBuf),
}

impl Job {
    /// Where its run folder is made, or lies.
    pub fn out(&self) -> &Path {
        match self {
            Job::Review(review) => &review.out,
            Job::Plan(_, out) => out,
            Job::Rest(folder) => folder.parent().unwrap_or(folder),
        }
    }

    /// The id of its run: a new one each time, unless the run has one already.
    pub fn id(&self) -> String {
        match self {
            Job::Review(_) | Job::Plan(..) => run_id(),
            Job::Rest(folder) => name_of(folder),
        }
    }

    /// Has it done under an id that the caller has from [`Job::id`] and may have told to others before it begins.
    pub async fn run_as(
        &self,
        agent: &Agent,
        run: String,
        tell: impl FnMut(Progress),
    ) -> Result<Reviewed, ReviewError> {
        match self {
            Job::Review(review) => run_as(agent, review, run, tell).await,
            Job::Plan(plan, out) => run_plan(agent, plan, out, run, tell).await,
            Job::Rest(folder) => resume(agent, folder, tell).await,
        }
    }
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
    tell: impl FnMut(Progress),
) -> Result<Reviewed, ReviewError> {
    let tree = files::canonical(&review.tree).await?;
    if files::metadata(&tree).await?.kind != files::Kind::Directory {
        return Err(ReviewError::NoTree(review.tree.clone()));
    }
    outside(&review.out, &tree).await?;
    files::create_directories(&review.out).await?;
    let folder = files::canonical(&review.out).await?.join(&run);
    files::create_directories(&folder).await?;

    let mut inputs = BTreeMap::from([(THRESHOLD.to_string(), review.fail_on.word().to_string())]);
    if !review.tests {
        inputs.insert(TESTS.into(), "no".into());
    }
    let goal = format!("review the source tree {}", tree.display());
    follow(agent, order(goal, run, &tree, &folder, review.within, inputs), tell).await
}

/// Runs a plan, which a person may have edited, under an id that the caller has from [`run_id`].
pub async fn run_plan(
    agent: &Agent,
    plan: &Plan,
    out: &Path,
    run: String,
    tell: impl FnMut(Progress),
) -> Result<Reviewed, ReviewError> {
    let tree = files::canonical(Path::new(&plan.tree)).await?;
    if files::metadata(&tree).await?.kind != files::Kind::Directory {
        return Err(ReviewError::NoTree(plan.tree.clone().into()));
    }
    outside(out, &tree).await?;
    files::create_directories(out).await?;
    let folder = files::canonical(out).await?.join(&run);
    files::create_directories(&folder).await?;
    let plan = Plan { tree: tree.to_string_lossy().into_owned(), ..plan.clone() };
    files::write(&folder.join(plan::FILE), plan.to_toml()).await?;
    let order = order(plan.goal.clone(), run, &tree, &folder, plan.within.get(), BTreeMap::new());
    follow(agent, order, tell).await
}

/// Goes on with the run in `folder` where it was interrupted. One that has ended gives its result again.
pub async fn resume(
    agent: &Agent,
    folder: &Path,
    tell: impl FnMut(Progress),
) -> Result<Reviewed, ReviewError> {
    let folder = files::canonical(folder).await?;
    let (plan, run) = (plan_of(&folder).await?, name_of(&folder));
    let mut tree = PathBuf::from(&plan.tree);
    // A run that has ended gives its result again, also when its tree is gone.
    if files::exists(&tree).await? {
        tree = files::canonical(&tree).await?;
        outside(&folder, &tree).await?;
    }
    let order = order(plan.goal.clone(), run, &tree, &folder, plan.within.get(), BTreeMap::new());
    follow(agent, order, tell).await
}

/// The plan of the run in `folder`.
pub async fn plan_of(folder: &Path) -> Result<Plan, ReviewError> {
    let file = folder.join(plan::FILE);
    if !files::exists(&file).await? {
        return Err(ReviewError::NoPlan(folder.into()));
    }
    let text = String::from_utf8_lossy(&files::read(&file, PLAN_MAX).await?).into_owned();
    Ok(Plan::read(&text, &file.to_string_lossy(), &Role::ALL.map(Role::name))?)
}

/// The id of the run in `folder`: the folder's name.
fn name_of(folder: &Path) -> String {
    folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn order(
    goal: String,
    run: String,
    tree: &Path,
    folder: &Path,
    within: Duration,
    inputs: BTreeMap<String, String>,
) -> Task {
    Task {
        id: "review".into(),
        run,
        goal,
        tree: tree.to_string_lossy().into_owned(),
        folder: folder.to_string_lossy().into_owned(),
        inputs,
        within_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
        priority: Urgency::Normal,
        lease: None,
    }
}

/// Gives DIRECTOR the order, tells progress as it comes, and reads the result. A DIRECTOR that crashed goes on when it is
/// asked again.
async fn follow(agent: &Agent, order: Task, mut tell: impl FnMut(Progress)) -> Result<Reviewed, ReviewError> {
    let (run, tree, folder) = (order.run.clone(), PathBuf::from(&order.tree), PathBuf::from(&order.folder));
    let mut progress = agent.subscribe(&task::progress_subject(&run), 1024).await?;
    let fabric = agent.context().fabric();
    let before = fabric.snapshot();
    let handoff = {
        let mut request = std::pin::pin!(ask(agent, &order));
        loop {
            tokio::select! {
                biased;
                Some(told) = progress.recv() => {
                    if let Ok(told) = serde_json::from_slice(told.payload()) {
                        tell(told);
                    }
                }
                handoff = &mut request => break handoff?,
            }
        }
    };
    while let Some(told) = progress.try_recv() {
        if let Ok(told) = serde_json::from_slice(told.payload()) {
            tell(told);
        }
    }
    let written = RunFolder::of(&folder, "client");
    let verdict = written.read_json("director/verdict.json").await?;
    // A plan need not have a survey, nor a survey an end.
    let survey = match written.read_json("project_orchestrator/survey.json").await {
        Err(FolderError::Files(FilesError::NotFound { .. })) => Survey::default(),
        survey => survey?,
    };
    let messages = report::traffic::between(&before, &fabric.snapshot());
    report::write(&folder, Some(&messages)).await?;
    Ok(Reviewed { run, folder, tree, verdict, survey, handoff })
}

/// Asks DIRECTOR, and again if it crashed over the work: what was done by then is in the run's journal.
async fn ask(agent: &Agent, order: &Task) -> Result<Handoff, Unanswered> {
    let until = time::now() + Duration::from_millis(order.within_ms);
    let mut asked = 1;
    loop {
        let left = until.since(time::now());
        let error = match shell::ask(agent, task::DIRECTOR, order, RequestOptions::within(left)).await {
            Ok(handoff) => return Ok(handoff),
            Err(error) => error,
        };
        let crashed = match &error {
            // It is being started anew.
            Unanswered::Request(RequestError::NobodyListens(_)) => asked > 1,
            error => error.is_gone(),
        };
        if !crashed || asked == ASKED_MAX || until <= time::now() {
            return Err(error);
        }
        reach!("review.director-again");
        time::sleep(PAUSE * asked).await;
        asked += 1;
    }
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
