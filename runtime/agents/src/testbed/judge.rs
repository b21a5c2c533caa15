//! What results mean: failing tests are findings, what is missing on this machine is a warning.
//!
//! Pure. A test that passed when it was run again alone is a milder finding than one that fails always; one that fails only
//! because of its parts, which are told themselves, is none.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use synod_platform::process::Breach;

use super::case::{Case, Counts, Outcome, one_line};
use crate::finding::{Finding, Place, Severity};

/// One runner's results.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ran {
    /// What ran where, in a few words.
    pub label: String,
    /// The directory, relative to the tree; empty for its root.
    pub directory: String,
    /// The command that a person would give there.
    pub command: String,
    /// The cases, with what became of them when they were run again.
    pub cases: Vec<Case>,
    /// How many cases were counted, by the runner's rule.
    pub counted: Counts,
    /// How many the runner says there were, over all its parts; `None` if some part ended before it said.
    pub said: Option<Counts>,
    /// Whether some part ended before it said how many tests it had.
    #[serde(default)]
    pub unsaid: bool,
    /// What did not compile or could not be started.
    pub broken: Vec<Broken>,
    /// Bounds of the jail that it ran into, by name.
    #[serde(default)]
    pub bounds: BTreeSet<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What could not be done, and why.
    pub warnings: Vec<String>,
}

/// Something that kept tests from being run, and that is the tree's own fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// What is wrong, in one line.
    pub message: String,
    /// The file, relative to the root of the tree, if it is known.
    pub path: Option<String>,
    /// The line in that file.
    pub line: Option<u32>,
}

/// All findings of a run.
pub fn findings(ran: &[Ran]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for run in ran {
        for broken in &run.broken {
            findings.push(Finding::new(
                "test.build",
                Severity::High,
                place(broken.path.as_deref(), broken.line, &run.directory),
                format!("the tests cannot be built: {}", broken.message),
                format!("`{}` shows the whole complaint", run.command),
            ));
        }
        findings.extend(run.cases.iter().filter_map(|case| finding(case, run)));
        findings.extend(run.bounds.iter().map(|bound| bounded(bound, run)));
    }
    findings
}

/// A bound of the jail that the tests ran into. Processes that live on are untidy; all else was killed for it.
fn bounded(bound: &str, run: &Ran) -> Finding {
    let left = bound == Breach::LeftProcesses.name();
    let (severity, message) = if left {
        (Severity::Low, "the tests end while processes that they started live on".to_string())
    } else {
        (Severity::High, format!("the tests were stopped for their use of {bound}"))
    };
    let advice = if left { "wait for every process that is started" } else { "bound what the tests use" };
    let at = place(None, None, &run.directory);
    Finding::new("test.bound", severity, at, message, format!("{advice} ({})", run.label))
}

fn finding(case: &Case, run: &Ran) -> Option<Finding> {
    if !case.outcome.is_bad() || case.by_parts || case.needs.is_some() {
        return None;
    }
    let at = place(case.path.as_deref(), case.line, &run.directory);
    let name = one_line(&case.name);
    let (rule, severity, message) = match case.outcome {
        _ if case.flaky => (
            "test.flaky",
            Severity::Medium,
            format!("the test {name} failed, and passed when it was run again alone: {}", case.message),
        ),
        Outcome::TimedOut => {
            ("test.timeout", Severity::High, format!("the test {name} did not end in its time"))
        }
        Outcome::Error => {
            ("test.error", Severity::High, format!("the test {name} broke off: {}", case.message))
        }
        _ => ("test.failed", Severity::High, format!("the test {name} fails: {}", case.message)),
    };
    let advice = match rule {
        "test.flaky" => "find what it depends on besides the code: time, order, other tests, chance",
        "test.timeout" => "find what it waits for, and give every wait a bound",
        _ => "mend the code or the test",
    };
    let again = match case.again {
        0 => String::new(),
        1 => "; it was run again once".into(),
        times => format!("; it was run again {times} times"),
    };
    Some(Finding::new(rule, severity, at, message, format!("{advice} ({}{again})", run.label)))
}

fn place(path: Option<&str>, line: Option<u32>, directory: &str) -> Place {
    match (path, line) {
        (Some(path), Some(line)) => Place::line(path, line.max(1)),
        (Some(path), None) => Place::file(path),
        _ if directory.is_empty() => Place::file("."),
        _ => Place::file(directory),
    }
}

/// What was missing for how many tests, each need once.
pub fn needs(ran: &[Ran]) -> Vec<String> {
    let mut needs: BTreeMap<&str, usize> = BTreeMap::new();
    for case in ran.iter().flat_map(|run| &run.cases) {
        if let Some(need) = &case.needs {
            *needs.entry(need).or_default() += 1;
        }
    }
    let told = needs.into_iter().map(|(need, count)| {
        let tests = if count == 1 {
            "one test or file of tests".into()
        } else {
            format!("{count} tests or files of tests")
        };
        format!("unavailable: needs {need}, for {tests}")
    });
    told.collect()
}

/// Which cases are worth running again alone: those that failed by themselves, at most `max`; the second number is how
/// many were left.
pub fn again(cases: &[Case], max: usize) -> (Vec<usize>, usize) {
    let bad = |case: &Case| {
        matches!(case.outcome, Outcome::Failed | Outcome::Error) && !case.by_parts && case.needs.is_none()
    };
    let all: Vec<usize> =
        cases.iter().enumerate().filter(|(_, case)| bad(case)).map(|(index, _)| index).collect();
    let left = all.len().saturating_sub(max);
    (all.into_iter().take(max).collect(), left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(cases: Vec<Case>) -> Vec<Ran> {
        vec![Ran { label: "unittest".into(), directory: "sub".into(), cases, ..Ran::default() }]
    }

    #[test]
    fn a_failing_test_is_high_a_flaky_one_medium_and_a_passing_one_nothing() {
        let mut flaky = Case::new("s", "sometimes", Outcome::Failed).because("boo");
        flaky.flaky = true;
        flaky.again = 1;
        let bad = Case::new("s", "always", Outcome::Failed).because("boo").at(Some(("a.py".into(), 4)));
        let ran = run(vec![Case::new("s", "fine", Outcome::Passed), flaky, bad]);
        let found = findings(&ran);
        let told: Vec<_> = found.iter().map(|f| (f.rule.as_str(), f.severity, f.place.to_string())).collect();
        assert_eq!(
            told,
            [
                ("test.flaky", Severity::Medium, "sub".into()),
                ("test.failed", Severity::High, "a.py:4".into())
            ]
        );
    }

    #[test]
    fn what_this_machine_lacks_is_a_warning_and_no_finding() {
        let mut case = Case::new("s", "n", Outcome::Error);
        case.needs = Some("the Python module numpy".into());
        let ran = run(vec![case.clone(), case]);
        assert!(findings(&ran).is_empty());
        assert_eq!(
            needs(&ran),
            ["unavailable: needs the Python module numpy, for 2 tests or files of tests"]
        );
        assert_eq!(again(&ran[0].cases, 9), (vec![], 0));
    }

    #[test]
    fn a_test_that_fails_by_its_parts_is_told_by_them() {
        let mut whole = Case::new("s", "whole", Outcome::Failed);
        whole.by_parts = true;
        assert!(findings(&run(vec![whole])).is_empty());
    }

    #[test]
    fn only_so_many_are_run_again() {
        let cases: Vec<Case> = (0..5).map(|n| Case::new("s", n.to_string(), Outcome::Failed)).collect();
        assert_eq!(again(&cases, 2), (vec![0, 1], 3));
    }
}
