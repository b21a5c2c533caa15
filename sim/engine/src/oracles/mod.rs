//! Oracles: what must hold, each in a file with its definition, its source and its known false positives.
//!
//! An oracle reads the whole [`History`] of a run and answers how much it judged and what was wrong. All safety oracles
//! judge every run; a liveness oracle judges when the scenario names it. Each is tested here on histories written
//! by hand, good ones and bad ones.

pub mod append;
pub mod breaker;
pub mod canary;
pub mod containment;
pub mod liveness;
pub mod order;
pub mod purge;
pub mod raft;
pub mod receipts;
pub mod requests;
pub mod workflow;

use crate::history::{Facts, History};
use crate::verdict::{Kind, Violation};

/// What an oracle found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// How many things it judged: none is no evidence.
    pub judged: u64,
    /// What was wrong, one line each.
    pub wrong: Vec<String>,
}

impl Judgement {
    pub(crate) fn accuse(&mut self, what: String) {
        self.wrong.push(what);
    }
}

/// An oracle.
pub struct Oracle {
    /// Its name, as scenarios write it.
    pub name: &'static str,
    /// Whether it is about safety or liveness.
    pub kind: Kind,
    /// Whether it judges only where the scenario names it.
    pub only_if_named: bool,
    /// Its definition in a sentence.
    pub means: &'static str,
    /// What judges.
    pub judge: fn(&History, &Facts) -> Judgement,
}

/// Every oracle there is.
pub const ALL: [&Oracle; 16] = [
    &receipts::ORACLE,
    &requests::ORACLE,
    &order::ORACLE,
    &breaker::ORACLE,
    &append::ORACLE,
    &purge::ORACLE,
    &raft::VOTE,
    &raft::LOG,
    &raft::STATE,
    &containment::ORACLE,
    &workflow::ACCOUNTED,
    &workflow::ENDS,
    &liveness::SERVED,
    &liveness::DELIVERED,
    &liveness::WRITTEN,
    &canary::ORACLE,
];

/// Oracles of rooms that are not built: the form knows their names, this engine answers `unsupported`.
const PLANNED: [&str; 11] = [
    "raft.election_safety",
    "raft.leader_completeness",
    "raft.committed_on_quorum",
    "lock.one_holder",
    "lock.fencing_tokens_increase",
    "transaction.all_or_nothing",
    "linearizable",
    "queue.accepted_is_accounted",
    "queue.effect_at_most_once",
    "serves_writes",
    "replicas_identical",
];

/// Names that a scenario may write.
pub fn known() -> impl Iterator<Item = &'static str> + Clone {
    implemented().chain(PLANNED)
}

/// Names that this engine judges.
pub fn implemented() -> impl Iterator<Item = &'static str> + Clone {
    ALL.into_iter().map(|oracle| oracle.name)
}

/// The most violations told for one oracle in one run; the rest is counted.
const TOLD_MAX: usize = 10;

/// Lets every oracle judge that must. `named` are those the scenario names. Returns the violations, what each judged, and
/// which of the named had nothing to judge.
pub fn judge(
    history: &History,
    facts: &Facts,
    named: &[String],
) -> (Vec<Violation>, Vec<(&'static str, u64)>, Vec<String>) {
    let (mut violations, mut judged, mut empty) = (Vec::new(), Vec::new(), Vec::new());
    for oracle in ALL {
        let is_named = named.iter().any(|name| name == oracle.name);
        if oracle.only_if_named && !is_named {
            continue;
        }
        let Judgement { judged: count, wrong } = (oracle.judge)(history, facts);
        if is_named && count == 0 && wrong.is_empty() {
            empty.push(format!("{} had nothing to judge", oracle.name));
        }
        judged.push((oracle.name, count));
        let more = wrong.len().saturating_sub(TOLD_MAX);
        let mut told: Vec<String> = wrong.into_iter().take(TOLD_MAX).collect();
        if more > 0 {
            told.push(format!("and {more} more of the same"));
        }
        violations.extend(told.into_iter().map(|what| Violation {
            oracle: oracle.name.to_owned(),
            kind: oracle.kind,
            what,
        }));
    }
    (violations, judged, empty)
}

/// Virtual time as people read it.
pub(crate) fn time(at_ns: u64) -> String {
    format!("{}.{:06}s", at_ns / 1_000_000_000, at_ns / 1_000 % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_oracle_without_evidence_is_told() {
        let (violations, _, empty) =
            judge(&History::default(), &Facts::default(), &["fabric.receipts".to_owned()]);
        assert_eq!(
            (violations.len(), empty.as_slice()),
            (0, &["fabric.receipts had nothing to judge".to_owned()][..])
        );
    }

    #[test]
    fn the_canary_fires_only_where_it_is_named() {
        let named = ["canary.always".to_owned()];
        assert_eq!(judge(&History::default(), &Facts::default(), &[]).0.len(), 0);
        assert_eq!(judge(&History::default(), &Facts::default(), &named).0.len(), 1);
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = known().collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len() + PLANNED.len());
    }
}
