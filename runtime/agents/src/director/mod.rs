//! DIRECTOR's pure core: a goal becomes a plan with owners, budget and risks; reports become a verdict.
//!
//! The plan is data that reloads; the documents beside it are for people. The verdict never passes what was not seen.

pub mod documents;
pub mod work;

use serde::{Deserialize, Serialize};

use crate::finding::{Finding, Severity, Tally, arrange};
use crate::plan::{self, PlanError, Step};
use crate::task::{self, Report};

/// A goal turned into steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The goal in words.
    pub goal: String,
    /// The steps, each with its owner.
    pub steps: Vec<Step>,
    /// The whole time, in milliseconds.
    pub budget_ms: u64,
    /// How often a failed step is tried again before DIRECTOR plans anew.
    pub retries: u32,
    /// What may go wrong, and what is then done.
    pub risks: Vec<Risk>,
}

/// Something that may go wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Risk {
    /// What.
    pub what: String,
    /// What is done about it.
    pub answer: String,
}

/// The plan of a review.
pub fn review(tree: &str, budget_ms: u64) -> Plan {
    let step = |id: &str, agent: &str, goal: &str, needs: &[&str]| Step {
        id: id.into(),
        agent: agent.into(),
        goal: goal.into(),
        needs: needs.iter().map(ToString::to_string).collect(),
    };
    let risk = |what: &str, answer: &str| Risk { what: what.into(), answer: answer.into() };
    Plan {
        goal: format!("review the source tree {tree}"),
        steps: vec![
            step("survey", task::ORCHESTRATOR, "read the tree: languages, manifests, gaps", &[]),
            step(
                "lint",
                task::LINTER,
                "find what is broken or untidy, by own checks and tools that only parse",
                &["survey"],
            ),
            step(
                "security",
                task::SECURITY,
                "find secrets, dangerous permissions, weak lock files",
                &["survey"],
            ),
            step("verdict", task::DIRECTOR, "weigh all findings and decide", &["survey", "lint", "security"]),
        ],
        budget_ms,
        retries: 2,
        risks: vec![
            risk(
                "a tool is missing on this machine",
                "its check is told as unavailable, once; the others go on",
            ),
            risk("a step fails", "it is tried twice more, then left out; the verdict then is `incomplete`"),
            risk(
                "the tree is larger than the bounds of the walk",
                "what was not seen is told, and no absence is claimed",
            ),
            risk(
                "the tree is hostile",
                "it is read and never written; none of its code is run; links are not followed",
            ),
        ],
    }
}

impl Plan {
    /// The steps in waves.
    pub fn waves(&self) -> Result<Vec<Vec<String>>, PlanError> {
        plan::waves(&self.steps)
    }

    /// The plan without a step that failed for good: nobody waits for it any more.
    pub fn without(&self, failed: &str) -> Plan {
        let mut plan = self.clone();
        plan.steps.retain(|step| step.id != failed);
        for step in &mut plan.steps {
            step.needs.retain(|need| need != failed);
        }
        plan
    }
}

/// What a review comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing was found.
    Clean,
    /// Something was found, none of it as bad as the threshold.
    Pass,
    /// Something at least as bad as the threshold was found.
    Fail,
    /// A step could not be done, and nothing that was seen fails: no promise.
    Incomplete,
}

impl Outcome {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Clean => "clean",
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::Incomplete => "incomplete",
        }
    }
}

/// A step that was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which step.
    pub step: String,
    /// Why.
    pub why: String,
}

/// DIRECTOR's verdict, as it stands in `verdict.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The word.
    pub outcome: Outcome,
    /// One sentence that says why.
    pub because: String,
    /// The severity from which on findings fail the review.
    pub threshold: Severity,
    /// How many findings of each severity.
    pub tally: Tally,
    /// All findings, worst first.
    pub findings: Vec<Finding>,
    /// What could not be looked at, and why.
    pub warnings: Vec<String>,
    /// Steps that were not done.
    pub failures: Vec<Failure>,
}

/// Weighs the reports.
pub fn verdict(reports: &[Report], failures: Vec<Failure>, threshold: Severity) -> Verdict {
    let mut findings: Vec<Finding> =
        reports.iter().flat_map(|report| report.findings.iter().cloned()).collect();
    arrange(&mut findings);
    let mut warnings: Vec<String> = Vec::new();
    for warning in reports.iter().flat_map(|report| &report.warnings) {
        if !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }
    let tally = Tally::of(&findings);
    let bad = tally.at_least(threshold);
    let (outcome, because) = if bad > 0 {
        (Outcome::Fail, format!("{bad} of {} are {threshold} or worse", count(findings.len())))
    } else if let Some(failure) = failures.first() {
        (Outcome::Incomplete, format!("step `{}` was not done: {}", failure.step, failure.why))
    } else if findings.is_empty() {
        (Outcome::Clean, "nothing was found".into())
    } else {
        let not = if findings.len() == 1 { "and it is not" } else { "none of them" };
        (Outcome::Pass, format!("{}, {not} {threshold} or worse", count(findings.len())))
    };
    Verdict { outcome, because, threshold, tally, findings, warnings, failures }
}

fn count(findings: usize) -> String {
    if findings == 1 { "1 finding".into() } else { format!("{findings} findings") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Place;

    fn report(severities: &[Severity]) -> Report {
        let finding = |(n, severity): (usize, &Severity)| {
            Finding::new("r", *severity, Place::file(n.to_string()), "m", "d")
        };
        Report {
            agent: "linter".into(),
            findings: severities.iter().enumerate().map(finding).collect(),
            warnings: vec![],
        }
    }

    #[test]
    fn the_plan_of_a_review_is_three_waves_and_reloads() {
        let plan = review("/t", 1000);
        assert_eq!(
            plan.waves().expect("a plan"),
            [vec!["survey"], vec!["lint", "security"], vec!["verdict"]]
        );
        let text = serde_json::to_string(&plan).expect("plain data");
        assert_eq!(serde_json::from_str::<Plan>(&text).expect("its own form"), plan);
    }

    #[test]
    fn a_step_that_failed_for_good_is_planned_around() {
        let plan = review("/t", 1000).without("lint");
        assert_eq!(plan.waves().expect("still a plan"), [vec!["survey"], vec!["security"], vec!["verdict"]]);
    }

    #[test]
    fn the_threshold_decides_and_what_was_not_seen_never_passes() {
        use Severity::{High, Low, Medium};
        let outcome = |severities: &[Severity], failed: bool, threshold| {
            let failures =
                if failed { vec![Failure { step: "lint".into(), why: "no".into() }] } else { vec![] };
            verdict(&[report(severities)], failures, threshold).outcome
        };
        assert_eq!(outcome(&[], false, High), Outcome::Clean);
        assert_eq!(outcome(&[Low, Medium], false, High), Outcome::Pass);
        assert_eq!(outcome(&[Low, High], false, High), Outcome::Fail);
        assert_eq!(outcome(&[Low, Medium], false, Low), Outcome::Fail);
        assert_eq!(outcome(&[], true, High), Outcome::Incomplete);
        assert_eq!(outcome(&[High], true, High), Outcome::Fail, "a fail is certain whatever was not seen");
    }

    #[test]
    fn a_warning_is_told_once() {
        let mut one = report(&[]);
        one.warnings = vec!["unavailable: needs ruff".into()];
        assert_eq!(verdict(&[one.clone(), one], vec![], Severity::High).warnings.len(), 1);
    }
}
