//! A plan: steps that need each other, ordered into waves that may run side by side.
//!
//! Pure. A plan with a cycle, a dangling need or a doubled step is refused, and the error names the culprit.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// One step of a plan: one task for one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Name, unique in its plan.
    pub id: String,
    /// Which agent does it.
    pub agent: String,
    /// What is to be achieved.
    pub goal: String,
    /// Steps whose outputs this one reads.
    pub needs: Vec<String>,
}

/// Why a set of steps is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Steps wait for each other in a circle.
    #[error("the plan goes in a circle: {}; take one of these needs away", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// A step needs one that is not in the plan.
    #[error("step `{step}` needs `{missing}`, which is no step of this plan; add it or drop the need")]
    Dangling {
        /// The step that needs.
        step: String,
        /// What it needs.
        missing: String,
    },
    /// Two steps have one name.
    #[error("two steps are called `{0}`; rename one")]
    Doubled(String),
}

/// Orders steps into waves: every step stands in the first wave after all it needs. Within a wave, by name.
pub fn waves(steps: &[Step]) -> Result<Vec<Vec<String>>, PlanError> {
    let mut by_id = BTreeMap::new();
    for step in steps {
        if by_id.insert(step.id.as_str(), step).is_some() {
            return Err(PlanError::Doubled(step.id.clone()));
        }
    }
    for step in steps {
        if let Some(missing) = step.needs.iter().find(|need| !by_id.contains_key(need.as_str())) {
            return Err(PlanError::Dangling { step: step.id.clone(), missing: missing.clone() });
        }
    }
    let mut waves = Vec::new();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    while done.len() < by_id.len() {
        let wave: Vec<&str> = by_id
            .values()
            .filter(|step| !done.contains(step.id.as_str()))
            .filter(|step| step.needs.iter().all(|need| done.contains(need.as_str())))
            .map(|step| step.id.as_str())
            .collect();
        if wave.is_empty() {
            return Err(PlanError::Cycle(circle(&by_id, &done)));
        }
        done.extend(&wave);
        waves.push(wave.into_iter().map(String::from).collect());
    }
    Ok(waves)
}

/// Walks needs among the steps that are not done until one comes twice: that stretch is a circle.
fn circle(by_id: &BTreeMap<&str, &Step>, done: &BTreeSet<&str>) -> Vec<String> {
    let mut walked: Vec<&str> = Vec::new();
    let mut at = by_id.keys().copied().find(|id| !done.contains(id));
    while let Some(id) = at {
        if let Some(start) = walked.iter().position(|seen| *seen == id) {
            let mut ring: Vec<String> = walked[start..].iter().map(ToString::to_string).collect();
            ring.push(id.to_string());
            return ring;
        }
        walked.push(id);
        at = by_id[id].needs.iter().map(String::as_str).find(|need| !done.contains(need));
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn step(id: &str, needs: &[&str]) -> Step {
        Step {
            id: id.into(),
            agent: "linter".into(),
            goal: String::new(),
            needs: needs.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_diamond_overlaps_in_its_middle() {
        let steps = [
            step("end", &["left", "right"]),
            step("left", &["start"]),
            step("right", &["start"]),
            step("start", &[]),
        ];
        let expected = [vec!["start"], vec!["left", "right"], vec!["end"]];
        assert_eq!(waves(&steps).expect("a diamond is a plan"), expected);
    }

    #[test]
    fn a_circle_is_refused_by_name() {
        let steps = [step("a", &["c"]), step("b", &["a"]), step("c", &["b"]), step("free", &[])];
        let error = waves(&steps).expect_err("it goes in a circle");
        assert_eq!(
            error.to_string(),
            "the plan goes in a circle: a -> c -> b -> a; take one of these needs away"
        );
    }

    #[test]
    fn a_need_of_nothing_and_a_doubled_name_are_refused_by_name() {
        let error = waves(&[step("a", &["ghost"])]).expect_err("ghost is no step");
        assert_eq!(error, PlanError::Dangling { step: "a".into(), missing: "ghost".into() });
        assert_eq!(waves(&[step("a", &[]), step("a", &[])]), Err(PlanError::Doubled("a".into())));
    }

    proptest! {
        #[test]
        fn every_step_runs_once_and_after_all_it_needs(edges in proptest::collection::vec((0usize..12, 0usize..12), 0..40)) {
            // Needs point to smaller numbers only, so there is no circle.
            let mut steps: Vec<Step> = (0..12).map(|n| step(&format!("{n:02}"), &[])).collect();
            for (a, b) in edges {
                if b < a {
                    steps[a].needs.push(format!("{b:02}"));
                }
            }
            let waves = waves(&steps).expect("no circle");
            let wave_of: BTreeMap<&str, usize> = waves
                .iter()
                .enumerate()
                .flat_map(|(n, wave)| wave.iter().map(move |id| (id.as_str(), n)))
                .collect();
            prop_assert_eq!(waves.iter().map(Vec::len).sum::<usize>(), 12);
            for step in &steps {
                for need in &step.needs {
                    prop_assert!(wave_of[need.as_str()] < wave_of[step.id.as_str()]);
                }
            }
        }
    }
}
