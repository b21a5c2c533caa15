//! After the heal the fleet works again.
//!
//! Definition: once the faults have ended and the time to converge is over, (served) every client that asks then gets an answer at least once, and no request
//! ends otherwise than answered; (delivered) every publish is accepted by someone, and each workload is delivered again; (written) whoever
//! appended records appends again, and each append is acknowledged.
//! Source: the house plan's liveness after healing.
//! Known false positives: an overload that lasts past the heal refuses honestly; scenarios end their overloads with the heal.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judgement, Oracle, time};
use crate::history::{Facts, History, Id, NodeNumber, Outcome, What};
use crate::verdict::Kind;

/// Requests are answered again.
pub const SERVED: Oracle = Oracle {
    name: "liveness.served",
    kind: Kind::Liveness,
    only_if_named: true,
    means: "after the heal every client is answered, and no request fails",
    judge: served,
};

/// Publishes are delivered again.
pub const DELIVERED: Oracle = Oracle {
    name: "liveness.delivered",
    kind: Kind::Liveness,
    only_if_named: true,
    means: "after the heal every publish is accepted, and every workload is delivered",
    judge: delivered,
};

/// Appends are acknowledged again.
pub const WRITTEN: Oracle = Oracle {
    name: "liveness.written",
    kind: Kind::Liveness,
    only_if_named: true,
    means: "after the heal whoever appends does so again, and every append is acknowledged",
    judge: written,
};

fn served(history: &History, facts: &Facts) -> Judgement {
    let mut found = Judgement::default();
    let Some((_, converged_ns)) = facts.healed else { return found };
    let mut asked: BTreeMap<Id, (NodeNumber, usize, u32)> = BTreeMap::new();
    let mut clients: BTreeSet<(NodeNumber, usize, u32)> = BTreeSet::new();
    let mut fed: BTreeSet<(NodeNumber, usize, u32)> = BTreeSet::new();
    for entry in &history.entries {
        match &entry.what {
            What::Asked { id, work, client, .. } if entry.at_ns >= converged_ns => {
                clients.insert((entry.node, *work, *client));
                asked.insert(*id, (entry.node, *work, *client));
            }
            What::Ended { id, outcome } => {
                let Some(client) = asked.get(id) else { continue };
                found.judged += 1;
                if matches!(outcome, Outcome::Answered { .. }) {
                    fed.insert(*client);
                } else {
                    found.accuse(format!(
                        "{}: request {id} of n{} ended with {outcome:?} although the fleet was healed at {}",
                        time(entry.at_ns),
                        client.0,
                        time(converged_ns)
                    ));
                }
            }
            _ => {}
        }
    }
    for (node, work, client) in clients.difference(&fed) {
        found.accuse(format!(
            "client {client} of workload {work} on n{node} was never answered after the heal"
        ));
    }
    found
}

fn delivered(history: &History, facts: &Facts) -> Judgement {
    let mut found = Judgement::default();
    let Some((_, converged_ns)) = facts.healed else { return found };
    let mut sent: BTreeMap<Id, usize> = BTreeMap::new();
    let mut works: BTreeSet<usize> = BTreeSet::new();
    for entry in &history.entries {
        match &entry.what {
            What::Sending { id, work, .. } => {
                works.insert(*work);
                if entry.at_ns >= converged_ns {
                    sent.insert(*id, *work);
                }
            }
            What::Sent { id, accepted, .. } if sent.contains_key(id) => {
                found.judged += 1;
                if accepted.is_empty() {
                    found.accuse(format!(
                        "{}: nobody accepted message {id} although the fleet was healed at {}",
                        time(entry.at_ns),
                        time(converged_ns)
                    ));
                }
            }
            What::Delivered { id, .. } => {
                if let Some(work) = sent.get(id) {
                    works.remove(work);
                }
            }
            _ => {}
        }
    }
    for work in works {
        found.accuse(format!("nothing of workload {work} was delivered after the heal"));
    }
    found
}

fn written(history: &History, facts: &Facts) -> Judgement {
    let mut found = Judgement::default();
    let Some((_, converged_ns)) = facts.healed else { return found };
    // Who appends at all, and what is not acknowledged yet of what each appended since.
    let mut silent: BTreeSet<(NodeNumber, usize)> = BTreeSet::new();
    let mut waiting: BTreeSet<(NodeNumber, usize, Id)> = BTreeSet::new();
    for entry in &history.entries {
        match &entry.what {
            What::Appending { work, .. } if entry.at_ns < converged_ns => {
                silent.insert((entry.node, *work));
            }
            What::Appending { id, work } => {
                found.judged += 1;
                silent.remove(&(entry.node, *work));
                waiting.insert((entry.node, *work, *id));
            }
            What::Appended { id, work, acknowledged: true } => {
                waiting.remove(&(entry.node, *work, *id));
            }
            _ => {}
        }
    }
    for (node, work) in silent {
        found.accuse(format!("workload {work} on n{node} never appended after the heal"));
    }
    for (node, work, id) in waiting {
        found.accuse(format!(
            "record {id} of workload {work} on n{node} was not acknowledged although the fleet was healed at {}",
            time(converged_ns)
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::by_hand;
    use crate::scenario::form::Priority;

    const FACTS: Facts =
        Facts { losses: 0, healed: Some((5, 10)), clients_end_ns: 100, probes_max: 1, rots: false };

    fn asked(id: Id) -> What {
        What::Asked { id, work: 0, client: 0, deadline_ns: 99, idempotent: false }
    }
    fn ended(id: Id, outcome: Outcome) -> What {
        What::Ended { id, outcome }
    }

    #[test]
    fn failures_before_the_heal_are_excused_and_after_it_are_not() {
        let answered = |id| ended(id, Outcome::Answered { names: id, by: 2 });
        let good = by_hand([
            (1, 1, asked(1)),
            (2, 1, ended(1, Outcome::Resting)),
            (11, 1, asked(2)),
            (12, 1, answered(2)),
        ]);
        assert_eq!(served(&good, &FACTS).wrong, [""; 0]);
        let bad = by_hand([
            (11, 1, asked(2)),
            (12, 1, answered(2)),
            (13, 1, asked(3)),
            (14, 1, ended(3, Outcome::Resting)),
        ]);
        assert_eq!(served(&bad, &FACTS).wrong.len(), 1);
        let silent = by_hand([(1, 1, asked(1)), (2, 1, answered(1)), (11, 1, asked(2))]);
        assert_eq!(served(&silent, &FACTS).wrong.len(), 1);
    }

    #[test]
    fn publishes_after_the_heal_are_accepted_and_delivered() {
        let sending = |id| What::Sending { id, work: 0, client: 0, priority: Priority::Low };
        let sent =
            |id, accepted: &[NodeNumber]| What::Sent { id, accepted: accepted.to_vec(), refused: Vec::new() };
        let got = |id| What::Delivered { id, work: 0, priority: Priority::Low, whole: true };
        let good = by_hand([(11, 1, sending(1)), (11, 1, sent(1, &[2])), (12, 2, got(1))]);
        assert_eq!(delivered(&good, &FACTS).wrong, [""; 0]);
        let refused = by_hand([
            (11, 1, sending(1)),
            (11, 1, sent(1, &[])),
            (12, 1, sending(2)),
            (12, 1, sent(2, &[2])),
            (13, 2, got(2)),
        ]);
        assert_eq!(delivered(&refused, &FACTS).wrong.len(), 1);
        let lost = by_hand([(11, 1, sending(1)), (11, 1, sent(1, &[2]))]);
        assert_eq!(delivered(&lost, &FACTS).wrong.len(), 1);
    }

    #[test]
    fn an_append_that_waits_after_the_heal_is_told_and_so_is_a_writer_that_is_silent() {
        let facts = Facts { healed: Some((10, 20)), ..Facts::default() };
        let begin = |at, id| (at, 1, What::Appending { id, work: 0 });
        let done = |at, id, acknowledged| (at, 1, What::Appended { id, work: 0, acknowledged });
        let wrong = |steps: Vec<_>| written(&by_hand(steps), &facts).wrong.len();
        assert_eq!(wrong(vec![begin(1, 1), done(2, 1, false), begin(21, 2), done(22, 2, true)]), 0);
        assert_eq!(wrong(vec![begin(1, 1), done(2, 1, true)]), 1);
        assert_eq!(wrong(vec![begin(21, 2)]), 1);
        assert_eq!(wrong(vec![begin(21, 2), done(22, 2, false)]), 1);
    }
}
