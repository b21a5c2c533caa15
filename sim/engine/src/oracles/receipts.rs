//! Receipts tell the truth.
//!
//! Definition: every message that a receipt calls accepted by a receiver is delivered to that receiver exactly once, or its
//! loss was counted, or one of the two nodes ended meanwhile. Nothing is delivered twice, damaged, with another priority, to a receiver that refused it,
//! or without having been sent. A receiver on the sender's own node whose subscription was acknowledged before the sending began is offered
//! the message: it took it or had no room.
//! Source: the house's promises ("accepted is never dropped in silence", "a receipt tells the truth").
//! Known false positives: none. Known blind spot: losses are compared in number (all reasons together), not one by one, so a
//! silent loss can hide behind a counted loss of something else in the same run.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judgement, Oracle, time};
use crate::history::{Facts, History, Id, NodeNumber, What};
use crate::scenario::form::Priority;
use crate::verdict::Kind;

/// The oracle.
pub const ORACLE: Oracle = Oracle {
    name: "fabric.receipts",
    kind: Kind::Safety,
    only_if_named: false,
    means: "accepted = delivered + counted as lost + in flight at a crash; nothing twice, nothing damaged, nothing unsent",
    judge,
};

struct Message {
    sender: NodeNumber,
    work: usize,
    priority: Priority,
    begun_ns: u64,
    /// Whether the workload has a receiver on the sender's node, since before.
    at_home: bool,
    receipt: Option<(u64, Vec<NodeNumber>)>,
    delivered: BTreeMap<NodeNumber, u64>,
}

fn judge(history: &History, facts: &Facts) -> Judgement {
    let mut found = Judgement::default();
    let mut messages: BTreeMap<Id, Message> = BTreeMap::new();
    let mut attached: BTreeSet<(NodeNumber, usize)> = BTreeSet::new();
    for entry in &history.entries {
        match &entry.what {
            What::Attached { work, serves: false } => {
                attached.insert((entry.node, *work));
            }
            What::Detached { work } | What::Panicked { work } | What::AgentDied { work, .. } => {
                attached.remove(&(entry.node, *work));
                // Whoever is sending just now may find it gone.
                for message in messages.values_mut().filter(|m| m.sender == entry.node && m.work == *work) {
                    message.at_home &= message.receipt.is_some();
                }
            }
            What::NodeEnded { .. } => attached.retain(|(owner, _)| *owner != entry.node),
            What::Sending { id, work, priority, .. } => {
                messages.insert(
                    *id,
                    Message {
                        sender: entry.node,
                        work: *work,
                        priority: *priority,
                        begun_ns: entry.at_ns,
                        at_home: attached.contains(&(entry.node, *work)),
                        receipt: None,
                        delivered: BTreeMap::new(),
                    },
                );
            }
            What::Sent { id, accepted, refused } => {
                if let Some(message) = messages.get_mut(id) {
                    let node = entry.node;
                    if message.at_home && !accepted.contains(&node) && !refused.contains(&node) {
                        found.accuse(format!(
                            "{}: message {id} was not offered to the receiver on its own node n{node}, whose subscription was acknowledged before",
                            time(entry.at_ns)
                        ));
                    }
                    message.receipt = Some((entry.at_ns, accepted.clone()));
                }
            }
            What::Delivered { id, work, priority, whole } => {
                found.judged += 1;
                let (at, node) = (time(entry.at_ns), entry.node);
                let Some(message) = messages.get_mut(id) else {
                    found.accuse(format!("{at}: n{node} was delivered message {id}, which nobody sent"));
                    continue;
                };
                if !whole {
                    found.accuse(format!(
                        "{at}: n{node} was delivered message {id} with another payload than was sent"
                    ));
                }
                if *work != message.work || *priority != message.priority {
                    found.accuse(format!(
                        "{at}: n{node} was delivered message {id} as {priority:?} of workload {work}, sent as {:?} of {}",
                        message.priority, message.work
                    ));
                }
                let times = message.delivered.entry(node).or_default();
                *times += 1;
                if *times == 2 {
                    found.accuse(format!("{at}: n{node} was delivered message {id} twice"));
                }
            }
            _ => {}
        }
    }

    let ends = history.ends();
    let mut missing = Vec::new();
    for (id, message) in &messages {
        let Some((receipt_ns, accepted)) = &message.receipt else { continue };
        for receiver in accepted {
            found.judged += 1;
            let ended =
                |node: NodeNumber| ends.iter().any(|(ended, at)| *ended == node && *at >= message.begun_ns);
            if !message.delivered.contains_key(receiver) && !ended(*receiver) && !ended(message.sender) {
                missing.push((*id, *receiver, *receipt_ns));
            }
        }
        for receiver in message.delivered.keys() {
            if !accepted.contains(receiver) {
                found.accuse(format!(
                    "message {id} was delivered on n{receiver}, whose receiver had refused it"
                ));
            }
        }
    }
    let silent = (missing.len() as u64).saturating_sub(facts.losses);
    if silent > 0 {
        let (id, receiver, at_ns) = missing[0];
        found.accuse(format!(
            "{} accepted messages were never delivered and {} losses were counted: {silent} vanished in silence; the first missing is \
             message {id}, accepted for n{receiver} at {}",
            missing.len(),
            facts.losses,
            time(at_ns)
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::by_hand;

    fn sending(id: Id) -> What {
        What::Sending { id, work: 0, client: 0, priority: Priority::Normal }
    }
    fn sent(id: Id, accepted: &[NodeNumber]) -> What {
        What::Sent { id, accepted: accepted.to_vec(), refused: Vec::new() }
    }
    fn delivered(id: Id) -> What {
        What::Delivered { id, work: 0, priority: Priority::Normal, whole: true }
    }
    fn ended() -> What {
        What::NodeEnded { declared: true, panic: None, wiped: false }
    }
    fn wrong(entries: Vec<(u64, NodeNumber, What)>, losses: u64) -> Vec<String> {
        judge(&by_hand(entries), &Facts { losses, ..Facts::default() }).wrong
    }

    #[test]
    fn what_was_accepted_and_delivered_once_is_good() {
        let history =
            vec![(1, 1, sending(7)), (1, 1, sent(7, &[1, 2])), (2, 1, delivered(7)), (9, 2, delivered(7))];
        assert_eq!(wrong(history, 0), [""; 0]);
    }

    #[test]
    fn a_delivery_may_come_before_the_receipt_is_told() {
        assert_eq!(wrong(vec![(1, 1, sending(7)), (2, 2, delivered(7)), (3, 1, sent(7, &[2]))], 0), [""; 0]);
    }

    #[test]
    fn a_receiver_at_home_that_is_not_offered_the_message_is_told() {
        let attached = || (0, 1, What::Attached { work: 0, serves: false });
        let full = What::Sent { id: 7, accepted: Vec::new(), refused: vec![1] };
        assert_eq!(wrong(vec![attached(), (1, 1, sending(7)), (1, 1, sent(7, &[]))], 0).len(), 1);
        assert_eq!(wrong(vec![attached(), (1, 1, sending(7)), (1, 1, full)], 0).len(), 0);
        let panicked = (1, 1, What::Panicked { work: 0 });
        assert_eq!(wrong(vec![attached(), panicked, (2, 1, sending(7)), (2, 1, sent(7, &[]))], 0).len(), 0);
    }

    #[test]
    fn a_message_that_vanishes_is_told_unless_it_was_counted() {
        let history = || vec![(1, 1, sending(7)), (1, 1, sent(7, &[2]))];
        assert_eq!(wrong(history(), 0).len(), 1);
        assert_eq!(wrong(history(), 1).len(), 0);
    }

    #[test]
    fn a_crash_after_the_sending_excuses_and_a_crash_before_does_not() {
        let after = vec![(1, 1, sending(7)), (1, 1, sent(7, &[2])), (5, 2, ended())];
        let before = vec![(1, 2, ended()), (2, 1, sending(7)), (2, 1, sent(7, &[2]))];
        assert_eq!((wrong(after, 0).len(), wrong(before, 0).len()), (0, 1));
    }

    #[test]
    fn twice_damaged_unsent_or_after_a_refusal_is_told() {
        let twice =
            vec![(1, 1, sending(7)), (1, 1, sent(7, &[2])), (2, 2, delivered(7)), (3, 2, delivered(7))];
        assert_eq!(wrong(twice, 0), ["0.000000s: n2 was delivered message 7 twice"]);
        let damaged = What::Delivered { id: 7, work: 0, priority: Priority::Normal, whole: false };
        assert_eq!(wrong(vec![(1, 1, sending(7)), (1, 1, sent(7, &[2])), (2, 2, damaged)], 0).len(), 1);
        let inverted = What::Delivered { id: 7, work: 0, priority: Priority::Low, whole: true };
        assert_eq!(wrong(vec![(1, 1, sending(7)), (1, 1, sent(7, &[2])), (2, 2, inverted)], 0).len(), 1);
        assert_eq!(wrong(vec![(2, 2, delivered(8))], 0).len(), 1);
        assert_eq!(wrong(vec![(1, 1, sending(7)), (1, 1, sent(7, &[])), (2, 2, delivered(7))], 0).len(), 1);
    }
}
