//! What one node's log of consensus answered is there after a restart, and nothing else: its vote, its entries, its state.
//!
//! Definition: of a log that is opened after a start, (vote) the vote is the one that was answered last, or one that was asked for since; (log) what
//! is purged and the terms of what follows are those that the answers left, or those of the one thing asked for since, an append in
//! part; (state) nothing is written down as committed that was not committed or is not in the log, what is written down can be restored, and
//! whoever applied the same number of entries came to the same state.
//! Source: Raft, Ongaro and Ousterhout, USENIX ATC 2014, figures 2 and 3 (persistent state, log matching, state machine safety).
//! Known false positives: none, as long as disks fail by losing power alone. A wiped disk is excused.

use std::collections::BTreeMap;

use super::{Judgement, Oracle, time};
use crate::history::{Entry, Facts, Held, History, NodeNumber, What};
use crate::verdict::Kind;

/// The oracle of votes.
pub const VOTE: Oracle = Oracle {
    name: "raft.monotonic_vote",
    kind: Kind::Safety,
    only_if_named: false,
    means: "a vote that was answered is found again",
    judge: |history, facts| judge(history, facts, Part::Vote),
};

/// The oracle of entries.
pub const LOG: Oracle = Oracle {
    name: "raft.log_matching",
    kind: Kind::Safety,
    only_if_named: false,
    means: "the log that was answered is found again",
    judge: |history, facts| judge(history, facts, Part::Log),
};

/// The oracle of states.
pub const STATE: Oracle = Oracle {
    name: "raft.state_machine_safety",
    kind: Kind::Safety,
    only_if_named: false,
    means: "only what was committed is restored, and gives one state",
    judge: |history, facts| judge(history, facts, Part::State),
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Vote,
    Log,
    State,
}

/// What is known of a node's log.
#[derive(Default)]
struct Known {
    answered: Held,
    possible: Vec<Held>,
    committed: u64,
    /// By how many entries are applied.
    states: BTreeMap<u64, u64>,
}

fn judge(history: &History, _: &Facts, part: Part) -> Judgement {
    let mut found = Judgement::default();
    let mut logs: BTreeMap<(NodeNumber, usize), Known> = BTreeMap::new();
    for entry in &history.entries {
        let work = match &entry.what {
            What::NodeEnded { wiped: true, .. } => {
                logs.retain(|(owner, _), _| *owner != entry.node);
                continue;
            }
            What::RaftAsked { work, .. }
            | What::RaftAnswered { work }
            | What::RaftCommitted { work, .. }
            | What::RaftApplied { work, .. }
            | What::RaftFound { work, .. }
            | What::RaftRefused { work, .. } => *work,
            _ => continue,
        };
        let known = logs.entry((entry.node, work)).or_default();
        if let Some(wrong) = take(known, entry, part, &mut found.judged) {
            found.accuse(format!(
                "{}: on n{} the log of workload {work} {wrong}",
                time(entry.at_ns),
                entry.node
            ));
        }
    }
    found
}

/// Takes what happened to a log; what was wrong with it, if that is the part to judge.
fn take(known: &mut Known, entry: &Entry, part: Part, judged: &mut u64) -> Option<String> {
    match &entry.what {
        What::RaftAsked { possible, .. } => known.possible.clone_from(possible),
        What::RaftAnswered { .. } => known.answered = known.possible.drain(..).next_back()?,
        What::RaftCommitted { committed, .. } => known.committed = *committed,
        What::RaftApplied { applied, state, .. } if part == Part::State => {
            *judged += 1;
            let before = *known.states.entry(*applied).or_insert(*state);
            return (before != *state)
                .then(|| format!("gave the state {state:#x} by {applied} entries, and {before:#x} before"));
        }
        What::RaftFound { held, committed, .. } => {
            *judged += 1;
            let possible = std::mem::take(&mut known.possible);
            let answered = std::mem::replace(&mut known.answered, held.clone());
            let mut may = possible.iter().chain([&answered]);
            return match part {
                Part::Vote if !may.any(|may| may.vote == held.vote) => {
                    Some(format!("has the vote {}, {} was answered", held.vote, answered.vote))
                }
                Part::Log if !may.any(|may| (may.purged, &may.terms) == (held.purged, &held.terms)) => {
                    Some(format!("holds {held:?}, answered was {answered:?}"))
                }
                Part::State if *committed > known.committed.min(held.end()) => Some(format!(
                    "has {committed} entries written down as committed, {} were, and it ends at {}",
                    known.committed,
                    held.end()
                )),
                _ => None,
            };
        }
        What::RaftRefused { why, .. } if part == Part::State => {
            return Some(format!("cannot be gone on with: {why}"));
        }
        _ => {}
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::by_hand;

    fn held(vote: u64, purged: u64, terms: &[u64]) -> Held {
        Held { vote, purged, terms: terms.to_vec() }
    }

    /// How often each part accuses.
    fn wrong(steps: Vec<What>) -> [usize; 3] {
        let history = by_hand(steps.into_iter().map(|what| (1, 1, what)));
        [Part::Vote, Part::Log, Part::State].map(|part| judge(&history, &Facts::default(), part).wrong.len())
    }

    fn asked(possible: Vec<Held>) -> What {
        What::RaftAsked { work: 0, possible }
    }

    fn found(held: Held, committed: u64) -> What {
        What::RaftFound { work: 0, held, committed }
    }

    fn answered() -> What {
        What::RaftAnswered { work: 0 }
    }

    #[test]
    fn what_was_answered_is_found_and_what_was_asked_since_may_be() {
        let base = || {
            vec![
                asked(vec![held(1, 0, &[1]), held(1, 0, &[1, 1])]),
                answered(),
                asked(vec![held(2, 0, &[1, 1])]),
            ]
        };
        for good in [held(1, 0, &[1, 1]), held(2, 0, &[1, 1])] {
            assert_eq!(wrong([base(), vec![found(good, 0)]].concat()), [0, 0, 0]);
        }
        assert_eq!(
            wrong([base(), vec![found(held(0, 0, &[1, 1]), 0)]].concat()),
            [1, 0, 0],
            "a vote is lost"
        );
        assert_eq!(wrong([base(), vec![found(held(1, 0, &[1]), 0)]].concat()), [0, 1, 0], "an entry is lost");
    }

    #[test]
    fn what_was_found_once_must_stay() {
        let steps =
            vec![asked(vec![held(1, 0, &[1])]), found(held(1, 0, &[1]), 0), found(held(0, 0, &[]), 0)];
        assert_eq!(wrong(steps), [1, 1, 0]);
    }

    #[test]
    fn only_what_was_committed_and_is_there_is_committed() {
        let base = |committed| {
            vec![asked(vec![held(1, 0, &[1, 1])]), answered(), What::RaftCommitted { work: 0, committed }]
        };
        assert_eq!(wrong([base(2), vec![found(held(1, 0, &[1, 1]), 2)]].concat()), [0, 0, 0]);
        assert_eq!(wrong([base(1), vec![found(held(1, 0, &[1, 1]), 2)]].concat()), [0, 0, 1]);
        assert_eq!(wrong([base(9), vec![found(held(1, 0, &[1, 1]), 3)]].concat()), [0, 0, 1]);
    }

    #[test]
    fn one_number_of_entries_gives_one_state() {
        let applied = |state| What::RaftApplied { work: 0, applied: 3, state };
        assert_eq!(wrong(vec![applied(7), applied(7)]), [0, 0, 0]);
        assert_eq!(wrong(vec![applied(7), applied(8)]), [0, 0, 1]);
        assert_eq!(wrong(vec![What::RaftRefused { work: 0, why: "a hole".to_owned() }]), [0, 0, 1]);
    }
}
