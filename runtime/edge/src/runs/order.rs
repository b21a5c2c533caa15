//! What a run is ordered with, and what comes of it, as JSON that both ends of the API read and write.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use synod_agents::director::Verdict;
use synod_agents::review::Job;
use synod_agents::survey::Survey;
use synod_agents::task::{Handoff, Progress};
use synod_agents::workflow::Plan;
use synod_agents::{Review, Reviewed, Role, Severity};
use synod_control::units;

use crate::problem::Problem;

/// The name of the workflow that reviews a tree.
pub const REVIEW: &str = "review";
/// The name of the workflow that goes on with a run that was interrupted.
pub const RESUME: &str = "resume";
/// The name of the workflow that is whatever its plan says.
pub const PLAN: &str = "plan";
/// How long a run may take if its order does not say.
const WITHIN: &str = "9m";
/// The longest that an order may ask for, in seconds.
const WITHIN_MAX_S: u64 = 24 * 3600;

/// An order, as it is posted. Of the keys after `out`, a review takes `path`, which it needs, and the last three; a plan takes `plan` alone,
/// and a run that is resumed `run`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Which workflow: `review`, `plan` or `resume`.
    pub workflow: String,
    /// Where the run folder is made, or lies, as an absolute path outside of the tree; the node's folder for runs if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
    /// The source tree, as an absolute path on the node's machine; read, never written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The plan: the text of its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The id of the run to go on with: the name of its folder in `out`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Findings of this severity and worse fail the review; `high` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_on: Option<Severity>,
    /// How long it may take, as in `90s`; `9m` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// Whether the tree's own tests are run, on a copy and in a jail; they are if this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<bool>,
}

impl Order {
    /// The order for a job.
    pub fn of(job: &Job) -> Self {
        let out = Some(job.out().to_string_lossy().into_owned());
        match job {
            Job::Review(review) => Order {
                workflow: REVIEW.into(),
                out,
                path: Some(review.tree.to_string_lossy().into_owned()),
                fail_on: Some(review.fail_on),
                within: Some(units::Duration(review.within).to_string()),
                tests: Some(review.tests),
                ..Order::default()
            },
            Job::Plan(plan, _) => {
                Order { workflow: PLAN.into(), out, plan: Some(plan.to_toml()), ..Order::default() }
            }
            Job::Rest(_) => Order { workflow: RESUME.into(), out, run: Some(job.id()), ..Order::default() },
        }
    }

    /// Reads an order from the body of a request.
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(body).map_err(|error| {
            Problem::new(
                400,
                format!("this is no order: {error}"),
                "body",
                "as in {\"workflow\": \"review\", \"path\": \"/home/me/project\"}",
            )
        })
    }

    /// The job that is ordered; `runs` is the node's own folder for runs.
    pub fn job(&self, runs: &Path) -> Result<Job, Problem> {
        let out = match &self.out {
            Some(out) => absolute(out, "out")?,
            None => runs.to_path_buf(),
        };
        match self.workflow.as_str() {
            REVIEW => self.review(out).map(Job::Review),
            PLAN => self.plan().map(|plan| Job::Plan(Box::new(plan), out)),
            RESUME => self.run().map(|run| Job::Rest(out.join(run))),
            other => {
                let what = format!("there is no workflow `{other}`");
                Err(Problem::new(
                    422,
                    what,
                    "workflow",
                    "the workflows of this build are `review`, `plan` and `resume`",
                ))
            }
        }
    }

    fn review(&self, out: PathBuf) -> Result<Review, Problem> {
        if self.plan.is_some() {
            let what = "a review makes its own plan";
            return Err(Problem::new(422, what, "plan", "order the workflow `plan` to have yours run"));
        }
        if self.run.is_some() {
            let what = "a review is a new run";
            return Err(Problem::new(422, what, "run", "order the workflow `resume` to go on with one"));
        }
        let Some(path) = &self.path else {
            let hint = "give the absolute path of a source tree on the node's machine";
            return Err(Problem::new(422, "a review needs a tree", "path", hint));
        };
        let within: units::Duration = self
            .within
            .as_deref()
            .unwrap_or(WITHIN)
            .parse()
            .map_err(|error| Problem::new(422, format!("{error}"), "within", "as in 90s or 10m"))?;
        Ok(Review {
            tree: absolute(path, "path")?,
            out,
            fail_on: self.fail_on.unwrap_or(Severity::High),
            within: bounded(within.get(), "within")?,
            tests: self.tests.unwrap_or(true),
        })
    }

    /// Refuses the keys that are for reviews, and one more, of an order whose plan says what they say.
    fn says_itself(&self, also: (&'static str, bool)) -> Result<(), Problem> {
        let twice = [
            ("path", self.path.is_some()),
            ("fail_on", self.fail_on.is_some()),
            ("within", self.within.is_some()),
            ("tests", self.tests.is_some()),
            also,
        ];
        match twice.into_iter().find(|(_, given)| *given) {
            Some((key, _)) => {
                let what = format!("a plan says `{key}` itself");
                Err(Problem::new(422, what, key, "change it in the plan"))
            }
            None => Ok(()),
        }
    }

    fn run(&self) -> Result<&str, Problem> {
        self.says_itself(("plan", self.plan.is_some()))?;
        let hint = "GET /api/runs lists the runs; its folder lies in `out`";
        match &self.run {
            Some(run) if is_name(run) => Ok(run),
            Some(run) => Err(Problem::new(422, format!("`{run}` is no run's id"), "run", hint)),
            None => Err(Problem::new(422, "which run is to be resumed was not said", "run", hint)),
        }
    }

    fn plan(&self) -> Result<Plan, Problem> {
        self.says_itself(("run", self.run.is_some()))?;
        let hint = "`synod plan review --path .` prints one with its keys explained";
        let Some(text) = &self.plan else {
            return Err(Problem::new(422, "there is no plan", "plan", hint));
        };
        let plan = Plan::read(text, "plan", &Role::ALL.map(Role::name))
            .map_err(|error| Problem::new(422, error.to_string(), "plan", hint))?;
        absolute(&plan.tree, "plan.tree")?;
        bounded(plan.within.get(), "plan.within")?;
        Ok(plan)
    }
}

/// Whether a text names something in a folder, and nothing elsewhere.
fn is_name(text: &str) -> bool {
    let mut parts = Path::new(text).components();
    matches!((parts.next(), parts.next()), (Some(Component::Normal(name)), None) if name == text)
}

fn absolute(text: &str, key: &str) -> Result<PathBuf, Problem> {
    let path = PathBuf::from(text);
    if path.is_absolute() {
        return Ok(path);
    }
    let hint = "the node does not know the asker's directory: give an absolute path";
    Err(Problem::new(422, format!("`{text}` is not an absolute path"), key, hint))
}

fn bounded(within: Duration, key: &str) -> Result<Duration, Problem> {
    if within.as_secs() > WITHIN_MAX_S {
        return Err(Problem::new(422, "a run may take a day at most", key, "as in 90s or 10m"));
    }
    Ok(within)
}

/// What a run gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Given {
    /// The run folder.
    pub folder: PathBuf,
    /// The tree.
    pub tree: PathBuf,
    /// The verdict with all findings.
    pub verdict: Verdict,
    /// What the tree consists of.
    pub survey: Survey,
    /// The last handoff.
    pub handoff: Handoff,
}

impl Given {
    /// What a finished review gave.
    pub fn of(reviewed: Reviewed) -> Self {
        let Reviewed { run: _, folder, tree, verdict, survey, handoff } = reviewed;
        Given { folder, tree, verdict, survey, handoff }
    }

    /// The finished review of that id.
    pub fn reviewed(self, run: String) -> Reviewed {
        let Given { folder, tree, verdict, survey, handoff } = self;
        Reviewed { run, folder, tree, verdict, survey, handoff }
    }
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is being worked on.
    Running,
    /// It came to its end, with a verdict.
    Done,
    /// It came to its end without a verdict.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// It was under way when its node ended, and nobody works on it.
    Interrupted,
}

impl State {
    /// The state as a word.
    pub fn word(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Done => "done",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
            State::Interrupted => "interrupted",
        }
    }
}

/// A run as the API tells it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The run's id.
    pub id: String,
    /// Where it is.
    pub state: State,
    /// The verdict in a word, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Why it is where it is: the verdict's reason, or what failed; empty while it runs.
    #[serde(default)]
    pub why: String,
    /// Whether it failed for what was ordered (no such tree), rather than for what happened.
    #[serde(default)]
    pub order_is_wrong: bool,
    /// When it began, UTC; empty if that is not known.
    #[serde(default)]
    pub began: String,
    /// How long it took, in seconds, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// The tree, if that is known.
    #[serde(default)]
    pub tree: String,
    /// How far each agent is, by name: the last that it told.
    #[serde(default)]
    pub agents: Vec<Progress>,
    /// What it gave, once it is done and if this node still knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<Given>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_agents::director::{self, Wish};

    fn job(body: &str) -> Result<Job, Problem> {
        Order::read(body.as_bytes()).and_then(|order| order.job(Path::new("/runs")))
    }

    fn plan(tree: &str, within: Duration) -> String {
        let wish = Wish { tree: tree.into(), fail_on: Severity::High, within, tests: false };
        let plan = director::review(&wish, &Role::ALL.map(Role::name)).to_toml();
        serde_json::json!({ "workflow": "plan", "plan": plan }).to_string()
    }

    #[test]
    fn an_order_says_what_it_leaves_out_and_comes_back_from_its_job() {
        let Ok(Job::Review(review)) = job(r#"{"workflow": "review", "path": "/t"}"#) else { panic!("right") };
        assert_eq!((review.out.as_path(), review.fail_on), (Path::new("/runs"), Severity::High));
        assert_eq!(review.within, Duration::from_secs(540));
        let planned = job(&plan("/t", Duration::from_secs(60))).expect("right");
        for job in [Job::Review(review), planned, Job::Rest("/runs/review-1".into())] {
            let again = Order::of(&job).job(Path::new("/elsewhere")).expect("right");
            assert_eq!(format!("{again:?}"), format!("{job:?}"));
        }
    }

    #[test]
    fn a_wrong_order_is_refused_by_the_key_that_is_wrong() {
        let relative = plan("t", Duration::from_secs(60));
        let endless = plan("/t", Duration::from_secs(48 * 3600));
        for (body, status, place) in [
            (r#"{"workflow": "dance", "path": "/t"}"#, 422, "workflow"),
            (r#"{"workflow": "review"}"#, 422, "path"),
            (r#"{"workflow": "review", "path": "t"}"#, 422, "path"),
            (r#"{"workflow": "review", "path": "/t", "plan": ""}"#, 422, "plan"),
            (r#"{"workflow": "review", "path": "/t", "out": "../x"}"#, 422, "out"),
            (r#"{"workflow": "review", "path": "/t", "within": "soon"}"#, 422, "within"),
            (r#"{"workflow": "review", "path": "/t", "within": "48h"}"#, 422, "within"),
            (r#"{"workflow": "review", "path": "/t", "fail_on": "bad"}"#, 400, "body"),
            (r#"{"workflow": "review", "path": "/t", "pth": 1}"#, 400, "body"),
            (r#"{"workflow": "plan"}"#, 422, "plan"),
            (r#"{"workflow": "plan", "plan": "goal = 1"}"#, 422, "plan"),
            (r#"{"workflow": "plan", "plan": "", "tests": false}"#, 422, "tests"),
            (r#"{"workflow": "plan", "plan": "", "run": "r"}"#, 422, "run"),
            (r#"{"workflow": "review", "path": "/t", "run": "r"}"#, 422, "run"),
            (r#"{"workflow": "resume"}"#, 422, "run"),
            (r#"{"workflow": "resume", "run": "../r"}"#, 422, "run"),
            (r#"{"workflow": "resume", "run": "r", "plan": ""}"#, 422, "plan"),
            (relative.as_str(), 422, "plan.tree"),
            (endless.as_str(), 422, "plan.within"),
            ("[", 400, "body"),
        ] {
            let problem = job(body).expect_err(body);
            assert_eq!((problem.status, problem.place.as_str()), (status, place), "{body}");
        }
    }
}
