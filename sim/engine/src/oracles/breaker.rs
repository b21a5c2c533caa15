//! Breakers are what the textbook says they are.
//!
//! Definition: every step of every breaker is followed by a reference of our own. States go closed → open (by a failure) → half-open (by an
//! admission) → closed (by a success) or open (by a failure); each change is one generation; a call of an earlier generation changes nothing; nothing is
//! admitted while open; while half-open, at most the configured number of probes is in flight, counted when admitted.
//! Source: Nygard, *Release It!*, 2nd ed., ch. 5; generations and bounded probes as the house plan has them.
//! Known false positives: none. A breaker that is forgotten (its instance ended) and made anew starts at generation 0 and closed.

use std::collections::BTreeMap;

use super::{Judgement, Oracle, time};
use crate::history::{BreakerStep, Facts, History, NodeNumber, What};
use crate::verdict::Kind;

/// The oracle.
pub const ORACLE: Oracle = Oracle {
    name: "fabric.breaker",
    kind: Kind::Safety,
    only_if_named: false,
    means: "closed, open, half-open in that order, a generation each; half-open in-flight within its limit",
    judge,
};

/// What the reference knows of one breaker.
#[derive(Clone, Copy)]
struct Machine<'a> {
    state: &'a str,
    generation: u64,
    /// Calls admitted in the present half-open generation and not yet reported.
    probes: u64,
}

fn judge(history: &History, facts: &Facts) -> Judgement {
    let mut found = Judgement::default();
    let mut machines: BTreeMap<(NodeNumber, &str), Machine<'_>> = BTreeMap::new();
    for entry in &history.entries {
        let node = entry.node;
        match &entry.what {
            What::NodeEnded { .. } => machines.retain(|(owner, _), _| *owner != node),
            What::Breaker(step) => {
                found.judged += 1;
                let fresh = Machine { state: "closed", generation: 0, probes: 0 };
                let before = machines.get(&(node, step.breaker.as_str())).copied().unwrap_or(fresh);
                let (after, complaint) = advance(before, step, facts.probes_max);
                machines.insert((node, &step.breaker), after);
                if let Some(complaint) = complaint {
                    found.accuse(format!(
                        "{}: on n{node} the breaker {} {complaint}",
                        time(entry.at_ns),
                        step.breaker
                    ));
                }
            }
            _ => {}
        }
    }
    found
}

/// The machine after a step, and what was wrong with the step.
fn advance<'a>(before: Machine<'a>, step: &'a BreakerStep, probes_max: u64) -> (Machine<'a>, Option<String>) {
    let changed = step.state != before.state || step.generation != before.generation;
    let renewed = changed && step.generation == 0;
    let mut after = Machine { state: &step.state, generation: step.generation, probes: before.probes };
    if changed {
        after.probes = 0;
    }
    if step.state == "half-open" && step.permit == step.generation {
        match step.step.as_str() {
            "admitted" => after.probes += 1,
            _ => after.probes = after.probes.saturating_sub(1),
        }
    }
    let shown = format!(
        "from {} (generation {}) to {} (generation {})",
        before.state, before.generation, step.state, step.generation
    );
    let complaint = if changed && !renewed && step.step != "admitted" && step.permit != before.generation {
        Some(format!("went {shown} by a call of generation {}, which was over", step.permit))
    } else if changed && !renewed && step.generation != before.generation + 1 {
        Some(format!("went {shown}: a change of state is one generation"))
    } else if changed && !renewed && !is_legal(before.state, &step.state, &step.step) {
        Some(format!("went {shown} when a call was {}", step.step))
    } else if step.step == "admitted" && step.state == "open" {
        Some("admitted a call while open".to_owned())
    } else if after.probes > probes_max {
        Some(format!("has {} probes in flight while half-open; its limit is {probes_max}", after.probes))
    } else {
        None
    };
    (after, complaint)
}

fn is_legal(from: &str, to: &str, step: &str) -> bool {
    matches!(
        (from, to, step),
        ("closed" | "half-open", "open", "bad")
            | ("open", "half-open", "admitted")
            | ("half-open", "closed", "good")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::by_hand;

    /// `(step, permit, state, generation)`
    fn wrong(steps: &[(&str, u64, &str, u64)]) -> Vec<String> {
        let facts = Facts { probes_max: 1, ..Facts::default() };
        let entries = steps.iter().map(|(step, permit, state, generation)| {
            let step = BreakerStep {
                breaker: "work/7".to_owned(),
                step: (*step).to_owned(),
                permit: *permit,
                state: (*state).to_owned(),
                generation: *generation,
            };
            (1, 1, What::Breaker(step))
        });
        judge(&by_hand(entries), &facts).wrong
    }

    #[test]
    fn the_textbooks_way_is_good() {
        let way = [
            ("admitted", 0, "closed", 0),
            ("admitted", 0, "closed", 0),
            ("bad", 0, "open", 1),
            ("good", 0, "open", 1),
            ("admitted", 2, "half-open", 2),
            ("bad", 2, "open", 3),
            ("admitted", 4, "half-open", 4),
            ("given up", 4, "half-open", 4),
            ("admitted", 4, "half-open", 4),
            ("good", 4, "half-open", 4),
            ("admitted", 4, "half-open", 4),
            ("good", 4, "closed", 5),
        ];
        assert_eq!(wrong(&way), [""; 0]);
    }

    #[test]
    fn a_late_success_that_closes_is_told() {
        let way = [("admitted", 0, "closed", 0), ("bad", 0, "open", 1), ("good", 0, "closed", 2)];
        assert_eq!(
            wrong(&way),
            [
                "0.000000s: on n1 the breaker work/7 went from open (generation 1) to closed (generation 2) by a call of generation 0, which was over"
            ]
        );
    }

    #[test]
    fn a_stampede_of_probes_is_told() {
        let way = [("bad", 0, "open", 1), ("admitted", 2, "half-open", 2), ("admitted", 2, "half-open", 2)];
        assert_eq!(wrong(&way).len(), 1);
    }

    #[test]
    fn a_short_cut_and_a_lost_generation_are_told() {
        assert_eq!(wrong(&[("bad", 0, "half-open", 1)]).len(), 1);
        assert_eq!(wrong(&[("bad", 0, "open", 2)]).len(), 1);
        assert_eq!(wrong(&[("bad", 0, "open", 1), ("admitted", 1, "open", 1)]).len(), 1);
    }

    #[test]
    fn a_new_breaker_of_an_old_name_starts_again() {
        assert_eq!(
            wrong(&[("bad", 0, "open", 1), ("admitted", 0, "closed", 0), ("bad", 0, "open", 1)]),
            [""; 0]
        );
    }
}
