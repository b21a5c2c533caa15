//! A request ends exactly once, in time, with its own reply.
//!
//! Definition: every request ends once, by its deadline (plus [`GRACE_NS`]), unless its client's node ended. A reply names the request it
//! answers and comes from an instance that handled it. A request that is not idempotent is handled at most once, an idempotent one at most
//! [`ATTEMPTS_MAX`] times; nothing is handled that was not asked, or damaged, or whose deadline was over, by the
//! instance's clock, when it was handed over. "Nobody listens" is never said while an instance on the client's own node was there all the time. A request
//! that must not be repeated and whose instance is behind a link that was lost ends within [`TOLD_NS`] of that.
//! Source: the house's promises ("every wait has a deadline"); at-most-once in the sense of Birrell and Nelson (1984).
//! Known false positives: none. A client whose node stood still is given its whole time again from the moment it goes on.

use std::collections::BTreeMap;

use super::{Judgement, Oracle, time};
use crate::history::{Facts, History, Id, NodeNumber, Outcome, What};
use crate::verdict::Kind;

/// How long after its deadline a request may be told that it passed: one timer's slack.
pub const GRACE_NS: u64 = 10_000_000;
/// How long after the loss of its link a request may wait to be told.
pub const TOLD_NS: u64 = 100_000_000;
/// Instances that an idempotent request may reach.
pub const ATTEMPTS_MAX: u64 = 3;

/// The oracle.
pub const ORACLE: Oracle = Oracle {
    name: "fabric.requests",
    kind: Kind::Safety,
    only_if_named: false,
    means: "each request ends once, by its deadline, with its own reply, handled at most as often as it allows",
    judge,
};

struct Request {
    client: NodeNumber,
    work: usize,
    asked_ns: u64,
    deadline_ns: u64,
    within_ns: u64,
    idempotent: bool,
    served: Vec<NodeNumber>,
    /// When it must have ended because the link to its instance was lost, and when that was.
    told_by: Option<(u64, u64)>,
    ended: u64,
}

fn judge(history: &History, facts: &Facts) -> Judgement {
    let mut found = Judgement::default();
    let mut requests: BTreeMap<Id, Request> = BTreeMap::new();
    let mut attached: BTreeMap<(NodeNumber, usize), u64> = BTreeMap::new();
    for entry in &history.entries {
        let (at, node) = (time(entry.at_ns), entry.node);
        match &entry.what {
            What::Attached { work, serves: true } => {
                attached.entry((node, *work)).or_insert(entry.at_ns);
            }
            What::Detached { work } => {
                attached.remove(&(node, *work));
            }
            What::NodeEnded { .. } => attached.retain(|(owner, _), _| *owner != node),
            What::Resumed => {
                for request in requests.values_mut().filter(|r| r.client == node && r.ended == 0) {
                    request.deadline_ns = request.deadline_ns.max(entry.at_ns + request.within_ns);
                    request.told_by = None;
                }
            }
            What::LinkDown { peer } => {
                for request in requests.values_mut().filter(|r| r.client == node && r.ended == 0) {
                    if !request.idempotent && request.served == [*peer] && request.told_by.is_none() {
                        request.told_by = Some((entry.at_ns + TOLD_NS, entry.at_ns));
                    }
                }
            }
            What::Asked { id, work, deadline_ns, idempotent, .. } => {
                requests.insert(
                    *id,
                    Request {
                        client: node,
                        work: *work,
                        asked_ns: entry.at_ns,
                        deadline_ns: *deadline_ns,
                        within_ns: deadline_ns.saturating_sub(entry.at_ns),
                        idempotent: *idempotent,
                        served: Vec::new(),
                        told_by: None,
                        ended: 0,
                    },
                );
            }
            What::Served { id, whole, late, .. } => {
                found.judged += 1;
                let Some(request) = requests.get_mut(id) else {
                    found.accuse(format!("{at}: n{node} handled request {id}, which nobody asked"));
                    continue;
                };
                if !whole {
                    found.accuse(format!(
                        "{at}: n{node} handled request {id} with another payload than was asked"
                    ));
                }
                if *late {
                    found.accuse(format!("{at}: n{node} was handed request {id} after its deadline"));
                }
                request.served.push(node);
                let most = if request.idempotent { ATTEMPTS_MAX } else { 1 };
                if request.served.len() as u64 == most + 1 {
                    found.accuse(format!(
                        "{at}: request {id} was handled {} times (on {:?}); it allows {most}",
                        most + 1,
                        request.served
                    ));
                }
            }
            What::Ended { id, outcome } => {
                found.judged += 1;
                let Some(request) = requests.get_mut(id) else {
                    found.accuse(format!("{at}: request {id} ended, and was never asked"));
                    continue;
                };
                request.ended += 1;
                if request.ended == 2 {
                    found.accuse(format!("{at}: request {id} ended twice"));
                }
                if entry.at_ns > request.deadline_ns + GRACE_NS {
                    found.accuse(format!(
                        "{at}: request {id} ended ({outcome:?}) after its deadline {}",
                        time(request.deadline_ns)
                    ));
                }
                if let Some((_, lost)) = request.told_by.filter(|(by, _)| entry.at_ns > *by) {
                    found.accuse(format!(
                        "{at}: request {id} ended ({outcome:?}) {} ms after the link to its instance was lost at {}: it should have been told at once",
                        (entry.at_ns - lost) / 1_000_000,
                        time(lost)
                    ));
                }
                match outcome {
                    Outcome::Answered { names, by } => {
                        if names != id {
                            found
                                .accuse(format!("{at}: request {id} was given the reply to request {names}"));
                        } else if !request.served.contains(by) {
                            found.accuse(format!(
                                "{at}: request {id} was answered by n{by}, which never handled it"
                            ));
                        }
                    }
                    Outcome::NobodyListens => {
                        if let Some(since) = attached.get(&(request.client, request.work))
                            && *since < request.asked_ns
                        {
                            found.accuse(format!(
                                "{at}: request {id} was told that nobody listens, while an instance on its own node n{node} did since {}",
                                time(*since)
                            ));
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    let ends = history.ends();
    let last_ns = history.entries.last().map_or(0, |entry| entry.at_ns).max(facts.clients_end_ns);
    for (id, request) in &requests {
        let client_ended = ends.iter().any(|(node, at)| *node == request.client && *at >= request.asked_ns);
        if request.ended == 0 && !client_ended && last_ns > request.deadline_ns + GRACE_NS {
            found.accuse(format!(
                "request {id} of n{}, asked at {} with deadline {}, never ended",
                request.client,
                time(request.asked_ns),
                time(request.deadline_ns)
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::by_hand;

    fn asked(id: Id, idempotent: bool) -> What {
        What::Asked { id, work: 0, client: 0, deadline_ns: 100_000_000, idempotent }
    }
    fn served(id: Id) -> What {
        What::Served { id, work: 0, whole: true, late: false }
    }
    fn ended(id: Id, outcome: Outcome) -> What {
        What::Ended { id, outcome }
    }
    fn answered(id: Id, by: NodeNumber) -> What {
        ended(id, Outcome::Answered { names: id, by })
    }
    fn wrong(entries: Vec<(u64, NodeNumber, What)>) -> Vec<String> {
        judge(&by_hand(entries), &Facts::default()).wrong
    }

    #[test]
    fn a_request_answered_by_who_handled_it_is_good() {
        assert_eq!(wrong(vec![(1, 1, asked(7, false)), (2, 2, served(7)), (3, 1, answered(7, 2))]), [""; 0]);
    }

    #[test]
    fn a_reply_to_another_request_is_told() {
        let crossed = ended(7, Outcome::Answered { names: 6, by: 2 });
        assert_eq!(
            wrong(vec![(1, 1, asked(7, false)), (2, 2, served(7)), (3, 1, crossed)]),
            ["0.000000s: request 7 was given the reply to request 6"]
        );
    }

    #[test]
    fn an_answer_from_nowhere_is_told() {
        assert_eq!(wrong(vec![(1, 1, asked(7, false)), (3, 1, answered(7, 2))]).len(), 1);
    }

    #[test]
    fn handling_twice_is_told_unless_it_is_harmless() {
        let history = |idempotent| {
            vec![(1, 1, asked(7, idempotent)), (2, 2, served(7)), (3, 3, served(7)), (4, 1, answered(7, 3))]
        };
        assert_eq!((wrong(history(false)).len(), wrong(history(true)).len()), (1, 0));
    }

    #[test]
    fn ending_late_twice_or_never_is_told() {
        let late = vec![(1, 1, asked(7, false)), (200_000_000, 1, ended(7, Outcome::DeadlinePassed))];
        assert_eq!(wrong(late).len(), 1);
        let twice = vec![
            (1, 1, asked(7, false)),
            (2, 1, ended(7, Outcome::Resting)),
            (3, 1, ended(7, Outcome::Resting)),
        ];
        assert_eq!(wrong(twice).len(), 1);
        assert_eq!(wrong(vec![(1, 1, asked(7, false)), (300_000_000, 0, What::Healed)]).len(), 1);
        let crashed = What::NodeEnded { declared: true, panic: None, wiped: false };
        assert_eq!(
            wrong(vec![(1, 1, asked(7, false)), (2, 1, crashed), (300_000_000, 0, What::Healed)]).len(),
            0
        );
    }

    #[test]
    fn a_request_whose_link_is_lost_is_told_at_once_or_its_silence_is() {
        let lost = || vec![(1, 1, asked(7, false)), (2, 2, served(7)), (3, 1, What::LinkDown { peer: 2 })];
        let mut told = lost();
        told.push((4, 1, ended(7, Outcome::Failed("unreachable"))));
        assert_eq!(wrong(told), [""; 0]);
        let mut silent = lost();
        silent.push((104_000_000, 1, ended(7, Outcome::DeadlinePassed)));
        assert_eq!(wrong(silent).len(), 1);
    }

    #[test]
    fn a_request_handed_over_after_its_deadline_is_told() {
        let late = What::Served { id: 7, work: 0, whole: true, late: true };
        assert_eq!(
            wrong(vec![(1, 1, asked(7, false)), (2, 1, ended(7, Outcome::Resting)), (3, 1, late)]).len(),
            1
        );
    }

    #[test]
    fn nobody_listens_is_a_lie_while_somebody_here_does() {
        let there = What::Attached { work: 0, serves: true };
        let told = ended(7, Outcome::NobodyListens);
        assert_eq!(
            wrong(vec![(1, 1, there.clone()), (2, 1, asked(7, false)), (2, 1, told.clone())]).len(),
            1
        );
        assert_eq!(
            wrong(vec![(1, 2, there.clone()), (2, 1, asked(7, false)), (2, 1, told.clone())]).len(),
            0
        );
        let gone = What::Detached { work: 0 };
        assert_eq!(wrong(vec![(1, 1, there), (1, 1, gone), (2, 1, asked(7, false)), (2, 1, told)]).len(), 0);
    }
}
