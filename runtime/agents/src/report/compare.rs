//! Two runs beside each other: which findings are new, gone or the same, and which steps became slower. Pure.
//!
//! A finding is the same if rule, file and message are: its line may have moved. Times are compared only where both runs did the step,
//! and a difference counts when it is large both in itself and in proportion.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Attributed, RunResult, StepState};

/// A step counts as slower when it took half as long again.
const SLOWER: f64 = 1.5;
/// And at least this many milliseconds longer.
const SLOWER_MS: u64 = 500;

/// How a later run differs from an earlier one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The earlier run.
    pub before: String,
    /// The later run.
    pub after: String,
    /// The outcome's word in each, if there was a verdict.
    pub outcomes: [Option<&'static str>; 2],
    /// Findings that only the later run has.
    pub new: Vec<Attributed>,
    /// Findings that only the earlier run has.
    pub gone: Vec<Attributed>,
    /// How many findings both have.
    pub same: usize,
    /// Steps that became slower, the worst first.
    pub slower: Vec<Slower>,
    /// Steps whose state differs: name, state before, state after. A step that a run did not have is `absent`.
    pub changed: Vec<(String, &'static str, &'static str)>,
}

/// A step that became slower.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Slower {
    /// Its name.
    pub step: String,
    /// Milliseconds worked on it in the earlier run.
    pub before_ms: u64,
    /// Milliseconds worked on it in the later run.
    pub after_ms: u64,
}

/// Compares two runs.
pub fn compare(before: &RunResult, after: &RunResult) -> Comparison {
    let mut earlier: BTreeMap<(&str, &str, &str), Vec<&Attributed>> = BTreeMap::new();
    for one in before.findings.iter().rev() {
        earlier.entry(key(one)).or_default().push(one);
    }
    let (mut new, mut same) = (Vec::new(), 0);
    for one in &after.findings {
        match earlier.get_mut(&key(one)).and_then(Vec::pop) {
            Some(_) => same += 1,
            None => new.push(one.clone()),
        }
    }
    let mut gone: Vec<Attributed> = earlier.into_values().flatten().cloned().collect();
    gone.sort_by(|a, b| {
        b.finding.severity.cmp(&a.finding.severity).then_with(|| a.finding.place.cmp(&b.finding.place))
    });

    let was: BTreeMap<&str, _> = before.steps.iter().map(|step| (step.id.as_str(), step)).collect();
    let is: BTreeMap<&str, _> = after.steps.iter().map(|step| (step.id.as_str(), step)).collect();
    let (mut slower, mut changed) = (Vec::new(), Vec::new());
    for step in &after.steps {
        let Some(old) = was.get(step.id.as_str()) else {
            changed.push((step.id.clone(), "absent", step.state.word()));
            continue;
        };
        if old.state != step.state {
            changed.push((step.id.clone(), old.state.word(), step.state.word()));
        }
        let (before_ms, after_ms) = (old.worked_ms(), step.worked_ms());
        let both = old.state == StepState::Done && step.state == StepState::Done;
        if both && after_ms >= before_ms + SLOWER_MS && after_ms as f64 >= before_ms as f64 * SLOWER {
            slower.push(Slower { step: step.id.clone(), before_ms, after_ms });
        }
    }
    let left = before.steps.iter().filter(|step| !is.contains_key(step.id.as_str()));
    changed.extend(left.map(|step| (step.id.clone(), step.state.word(), "absent")));
    slower.sort_by_key(|one| std::cmp::Reverse(one.after_ms - one.before_ms));
    let outcome = |result: &RunResult| result.verdict.as_ref().map(|verdict| verdict.outcome.word());
    Comparison {
        before: before.run.clone(),
        after: after.run.clone(),
        outcomes: [outcome(before), outcome(after)],
        new,
        gone,
        same,
        slower,
        changed,
    }
}

fn key(one: &Attributed) -> (&str, &str, &str) {
    (&one.finding.rule, &one.finding.place.path, &one.finding.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::build::{result, tests::example};

    #[test]
    fn a_finding_that_moved_is_the_same_and_one_more_of_its_kind_is_new() {
        let before = result(example());
        let mut after = before.clone();
        after.findings[1].finding.place.line = Some(99);
        let again = after.findings[1].clone();
        after.findings.push(again);
        after.findings.remove(0);
        let told = compare(&before, &after);
        assert_eq!((told.new.len(), told.gone.len(), told.same), (1, 1, 2));
        assert_eq!(told.gone[0].finding.rule, "secret.t");
    }

    #[test]
    fn a_step_is_slower_only_if_much_and_by_much() {
        let before = result(example());
        let mut parts = example();
        let last = parts.journal.len() - 1;
        parts.journal[last - 1].at_ms += 400;
        assert_eq!(compare(&before, &result(parts.clone())).slower, [], "0.4 s is nothing");
        parts.journal[last - 1].at_ms += 400;
        let slower = compare(&before, &result(parts)).slower;
        assert_eq!(slower, [Slower { step: "verdict".into(), before_ms: 200, after_ms: 1000 }]);
    }

    #[test]
    fn a_step_that_came_went_or_ended_otherwise_is_told() {
        let before = result(example());
        let mut after = before.clone();
        after.steps[1].state = StepState::Failed;
        after.steps[2].id = "tests".into();
        let told = compare(&before, &after).changed;
        let told: Vec<(&str, &str, &str)> = told.iter().map(|(id, was, is)| (&**id, *was, *is)).collect();
        assert_eq!(
            told,
            [("lint", "done", "failed"), ("tests", "absent", "done"), ("secure", "done", "absent")]
        );
    }
}
