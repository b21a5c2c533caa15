//! DIRECTOR's pure core: a goal becomes a plan with owners, budget and risks; reports become a verdict.
//!
//! The plan is a file that is edited and read again; the documents beside it are for people. The verdict never passes what was not seen.

pub mod documents;
pub mod work;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use synod_control::units;

use crate::finding::{Finding, Severity, Tally, arrange};
use crate::security::work::VETOES;
use crate::task::{self, Report};
use crate::workflow::plan::{Plan, Risk, Step};

/// The input that holds the severity from which on findings fail a review.
pub const THRESHOLD: &str = "fail_on";

/// The agents whose part in a review is to look at what the survey found, and not to look at each other's outputs.
struct Reviewer {
    step: &'static str,
    agent: &'static str,
    goal: &'static str,
    /// Minutes for one attempt.
    minutes: u64,
    retries: u32,
    /// Whether a verdict without it is none.
    essential: bool,
}

const REVIEWERS: [Reviewer; 5] = [
    Reviewer {
        step: "lint",
        agent: task::LINTER,
        goal: "find what is broken or untidy, by own checks and the linters that fit",
        minutes: 4,
        retries: 2,
        essential: true,
    },
    Reviewer {
        step: "secure",
        agent: task::SECURITY,
        goal: "find secrets, dangerous permissions, weak lock files",
        minutes: 3,
        retries: 2,
        essential: true,
    },
    Reviewer {
        step: "architect",
        agent: task::ARCHITECT,
        goal: "draw how the parts depend on each other, and find knots",
        minutes: 2,
        retries: 1,
        essential: false,
    },
    Reviewer {
        step: "testbed",
        agent: task::TESTBED,
        goal: "run the tree's own tests on a copy, in a jail",
        minutes: 6,
        retries: 1,
        essential: true,
    },
    Reviewer {
        step: "docgen",
        agent: task::DOCGEN,
        goal: "list what is public, hold the documentation against it",
        minutes: 2,
        retries: 1,
        essential: false,
    },
];

/// What is asked of a review.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The tree, as an absolute path.
    pub tree: String,
    /// The severity from which on findings fail it.
    pub fail_on: Severity,
    /// The whole time.
    pub within: Duration,
    /// Whether the tree's own tests are run.
    pub tests: bool,
}

/// The plan of a review, with the agents of these names that a review has work for.
pub fn review(wish: &Wish, agents: &[&str]) -> Plan {
    let at_most =
        |minutes: u64| Duration::from_secs(minutes * 60).min(wish.within.max(Duration::from_secs(1)));
    let reviewers = || {
        REVIEWERS.iter().filter(|reviewer| {
            agents.contains(&reviewer.agent) && (wish.tests || reviewer.agent != task::TESTBED)
        })
    };
    let mut steps = vec![
        Step::new("survey", task::ORCHESTRATOR, "read the tree: languages, manifests, gaps", &[])
            .within(at_most(2)),
    ];
    steps.extend(reviewers().map(|reviewer| {
        let mut step = Step::new(reviewer.step, reviewer.agent, reviewer.goal, &["survey"])
            .within(at_most(reviewer.minutes))
            .retries(reviewer.retries);
        step.essential = reviewer.essential;
        // Documents made from a tree in which something critical stands are not to be handed on.
        if reviewer.agent == task::SECURITY && agents.contains(&task::DOCGEN) {
            step = step.input(VETOES, "docgen");
        }
        step
    }));
    let needs: Vec<&str> = steps.iter().map(|step| step.id.as_str()).collect();
    let verdict = Step::new("verdict", task::DIRECTOR, "weigh all findings and decide", &needs)
        .within(at_most(1))
        .input(THRESHOLD, wish.fail_on.word());
    steps.push(verdict);
    let risk = |what: &str, answer: &str| Risk { what: what.into(), answer: answer.into() };
    Plan {
        within: units::Duration(wish.within),
        risks: vec![
            risk(
                "a tool is missing on this machine",
                "its check is told as unavailable, once; the others go on",
            ),
            risk(
                "a step fails",
                "it is tried again, then left out; without an essential step the verdict is `incomplete`",
            ),
            risk(
                "the tree is larger than the bounds of the walk",
                "what was not seen is told, and no absence is claimed",
            ),
            risk(
                "the tree is hostile",
                "it is read and never written; links are not followed; its own code runs on a copy, in a jail, if at all",
            ),
            risk("this process is killed", "the run is resumed, and repeats no finished step"),
        ],
        ..Plan::new(format!("review the source tree {}", wish.tree), wish.tree.clone(), steps)
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
    fn the_plan_of_a_review_takes_those_who_are_there_and_runs_no_tests_unless_wished() {
        let agents = [task::ORCHESTRATOR, task::LINTER, task::SECURITY, task::TESTBED, task::DIRECTOR];
        let ids = |tests: bool| {
            let wish = Wish { tests, ..wish() };
            let plan = review(&wish, &agents);
            plan.check(&agents).expect("a plan");
            plan.steps.into_iter().map(|step| step.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(true), ["survey", "lint", "secure", "testbed", "verdict"]);
        assert_eq!(ids(false), ["survey", "lint", "secure", "verdict"]);
    }

    fn wish() -> Wish {
        let within = Duration::from_secs(60);
        Wish { tree: "/t".into(), fail_on: Severity::High, within, tests: true }
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
