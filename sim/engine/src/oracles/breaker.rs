//! Breakers are what the textbook says they are.
//!
//! Definition: a breaker's states follow closed → open → half-open → closed or open; each change of state is a new generation, one above the
//! last; while half-open, at most the configured number of probes is in flight, counted when admitted.
//! Source: Nygard, *Release It!*, 2nd ed., ch. 5; generations and bounded probes as the house plan has them.
//! Known false positives: none. A breaker that is forgotten (its instance ended) and made anew starts at generation 0 and closed.

use std::collections::BTreeMap;

use super::{Judgement, Oracle, time};
use crate::history::{Facts, History, NodeNumber, What};
use crate::verdict::Kind;

/// The oracle.
pub const ORACLE: Oracle = Oracle {
    name: "fabric.breaker",
    kind: Kind::Safety,
    only_if_named: false,
    means: "closed, open, half-open in that order, a generation each; half-open in-flight within its limit",
    judge,
};

fn judge(history: &History, facts: &Facts) -> Judgement {
    let mut found = Judgement::default();
    let mut machines: BTreeMap<(NodeNumber, &str), (&str, u64)> = BTreeMap::new();
    for entry in &history.entries {
        let (at, node) = (time(entry.at_ns), entry.node);
        match &entry.what {
            What::NodeEnded { .. } => machines.retain(|(owner, _), _| *owner != node),
            What::Breaker(step) => {
                found.judged += 1;
                let now = (step.state.as_str(), step.generation);
                let before = machines.insert((node, &step.breaker), now).unwrap_or(("closed", 0));
                let name = &step.breaker;
                let legal = match (before.0, now.0) {
                    (a, b) if a == b => now.1 == before.1,
                    ("closed", "open") | ("open", "half-open") | ("half-open", "open" | "closed") => {
                        now.1 == before.1 + 1
                    }
                    (_, "closed") => now.1 == 0,
                    _ => false,
                };
                if !legal {
                    found.accuse(format!(
                        "{at}: on n{node} the breaker {name} went from {} (generation {}) to {} (generation {})",
                        before.0, before.1, now.0, now.1
                    ));
                }
                if now.0 == "half-open" && step.in_flight > facts.probes_max {
                    found.accuse(format!(
                        "{at}: on n{node} the half-open breaker {name} has {} probes in flight; its limit is {}",
                        step.in_flight, facts.probes_max
                    ));
                }
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{BreakerStep, by_hand};

    fn wrong(steps: &[(&str, u64, u64)]) -> usize {
        let facts = Facts { probes_max: 1, ..Facts::default() };
        let entries = steps.iter().map(|(state, generation, in_flight)| {
            let step = BreakerStep {
                breaker: "a/b".to_owned(),
                state: (*state).to_owned(),
                generation: *generation,
                in_flight: *in_flight,
            };
            (1, 1, What::Breaker(step))
        });
        judge(&by_hand(entries), &facts).wrong.len()
    }

    #[test]
    fn the_textbooks_way_is_good() {
        let way = [
            ("open", 1, 0),
            ("half-open", 2, 1),
            ("open", 3, 0),
            ("half-open", 4, 1),
            ("half-open", 4, 0),
            ("half-open", 4, 1),
            ("closed", 5, 0),
            ("open", 6, 0),
        ];
        assert_eq!(wrong(&way), 0);
    }

    #[test]
    fn a_short_cut_a_lost_generation_and_a_stampede_are_told() {
        assert_eq!(wrong(&[("open", 1, 0), ("closed", 2, 0)]), 1);
        assert_eq!(wrong(&[("half-open", 1, 0)]), 1);
        assert_eq!(wrong(&[("open", 2, 0)]), 1);
        assert_eq!(wrong(&[("open", 1, 0), ("half-open", 2, 2)]), 1);
    }

    #[test]
    fn a_new_breaker_of_an_old_name_starts_again() {
        assert_eq!(wrong(&[("open", 1, 0), ("closed", 0, 0), ("open", 1, 0)]), 0);
    }
}
