//! What a run is ordered with, and what comes of it, as JSON that both ends of the API read and write.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use synod_agents::director::Verdict;
use synod_agents::survey::Survey;
use synod_agents::task::{Handoff, Progress};
use synod_agents::{Review, Reviewed, Severity};
use synod_control::units;

use crate::problem::Problem;

/// The name of the workflow that reviews a tree.
pub const REVIEW: &str = "review";
/// How long a run may take if its order does not say.
const WITHIN: &str = "9m";
/// The longest that an order may ask for, in seconds.
const WITHIN_MAX_S: u64 = 24 * 3600;

/// An order, as it is posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Which workflow; `review` is the one there is.
    pub workflow: String,
    /// The source tree, as an absolute path on the node's machine; read, never written.
    pub path: String,
    /// Where the run folder is made, as an absolute path outside of the tree; the node's folder for runs if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<String>,
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
    /// The order for a review.
    pub fn of(review: &Review) -> Self {
        Order {
            workflow: REVIEW.into(),
            path: review.tree.to_string_lossy().into_owned(),
            out: Some(review.out.to_string_lossy().into_owned()),
            fail_on: Some(review.fail_on),
            within: Some(units::Duration(review.within).to_string()),
            tests: Some(review.tests),
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

    /// The review that is ordered; `runs` is the node's own folder for runs.
    pub fn review(&self, runs: &std::path::Path) -> Result<Review, Problem> {
        if self.workflow != REVIEW {
            let what = format!("there is no workflow `{}`", self.workflow);
            return Err(Problem::new(422, what, "workflow", "the workflow of this build is `review`"));
        }
        let absolute = |text: &str, key: &str| {
            let path = PathBuf::from(text);
            if path.is_absolute() {
                return Ok(path);
            }
            let hint = "the node does not know the asker's directory: give an absolute path";
            Err(Problem::new(422, format!("`{text}` is not an absolute path"), key, hint))
        };
        let within: units::Duration = self
            .within
            .as_deref()
            .unwrap_or(WITHIN)
            .parse()
            .map_err(|error| Problem::new(422, format!("{error}"), "within", "as in 90s or 10m"))?;
        if within.get().as_secs() > WITHIN_MAX_S {
            return Err(Problem::new(422, "a run may take a day at most", "within", "as in 90s or 10m"));
        }
        Ok(Review {
            tree: absolute(&self.path, "path")?,
            out: self.out.as_deref().map_or_else(|| Ok(runs.to_path_buf()), |out| absolute(out, "out"))?,
            fail_on: self.fail_on.unwrap_or(Severity::High),
            within: within.get(),
            tests: self.tests.unwrap_or(true),
        })
    }
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
    use std::path::Path;
    use std::time::Duration;

    #[test]
    fn an_order_says_what_it_leaves_out_and_comes_back_from_a_review() {
        let order = Order::read(br#"{"workflow": "review", "path": "/t"}"#).expect("enough");
        let review = order.review(Path::new("/runs")).expect("right");
        assert_eq!((review.out.as_path(), review.fail_on), (Path::new("/runs"), Severity::High));
        assert_eq!(review.within, Duration::from_secs(540));
        let again = Order::of(&review).review(Path::new("/elsewhere")).expect("right");
        assert_eq!(format!("{again:?}"), format!("{review:?}"));
    }

    #[test]
    fn a_wrong_order_is_refused_by_the_key_that_is_wrong() {
        for (body, status, place) in [
            (r#"{"workflow": "dance", "path": "/t"}"#, 422, "workflow"),
            (r#"{"workflow": "review", "path": "t"}"#, 422, "path"),
            (r#"{"workflow": "review", "path": "/t", "out": "../x"}"#, 422, "out"),
            (r#"{"workflow": "review", "path": "/t", "within": "soon"}"#, 422, "within"),
            (r#"{"workflow": "review", "path": "/t", "within": "48h"}"#, 422, "within"),
            (r#"{"workflow": "review", "path": "/t", "fail_on": "bad"}"#, 400, "body"),
            (r#"{"workflow": "review", "path": "/t", "pth": 1}"#, 400, "body"),
            ("[", 400, "body"),
        ] {
            let error = Order::read(body.as_bytes()).and_then(|order| order.review(Path::new("/runs")));
            let problem = error.expect_err(body);
            assert_eq!((problem.status, problem.place.as_str()), (status, place), "{body}");
        }
    }
}
