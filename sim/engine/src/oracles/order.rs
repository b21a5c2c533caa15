//! Messages come in order: the urgent first, and first in first out among equals.
//!
//! Definition: (1) for each client, receiver and priority, messages are delivered in the order in which they were sent.
//! (2) While a message waits in a receiver on its sender's own node, at most [`OVERTAKEN_BASE`] + n / [`AGEING`] of the n deliveries there are of
//! a lower priority. (3) An accepted message that waits there sees at most [`WAIT_MAX`] deliveries of a higher priority go first
//! while its own priority stands still.
//! Source: the mailbox's promise (strict by priority, with ageing so that none starves).
//! Known false positives: none known. Known blind spot: (2) and (3) judge senders on the receiver's node only, where acceptance is arrival;
//! across a link the time of arrival is not observed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judgement, Oracle, time};
use crate::history::{Facts, History, Id, NodeNumber, What};
use crate::scenario::form::Priority;
use crate::verdict::Kind;

/// Deliveries of a lower priority that may slip in before a waiting message: one aged head of each of the five others, and what
/// was on its way between two contexts.
pub const OVERTAKEN_BASE: u64 = 8;
/// One in so many deliveries may be an aged message of lower priority: five queues, each at most once in
/// [`PATIENCE`](synod_fabric::PATIENCE) deliveries.
pub const AGEING: u64 = synod_fabric::PATIENCE as u64 / 5;
/// Deliveries of a higher priority that a message may see go first while nothing of its own priority is delivered: the mailbox's
/// bound, twice, because a message may wait on its lane first.
pub const WAIT_MAX: u64 = 2 * synod_fabric::WAIT_MAX as u64;

/// The oracle.
pub const ORACLE: Oracle = Oracle {
    name: "fabric.order",
    kind: Kind::Safety,
    only_if_named: false,
    means: "first in first out by sender, receiver and priority; the urgent first; none starves",
    judge,
};

/// What is in order: sending node and client, receiving node, workload, priority.
type Stream = (NodeNumber, u32, NodeNumber, usize, Priority);

#[derive(Clone, Copy)]
struct Sent {
    node: NodeNumber,
    client: u32,
    sequence: u64,
}

struct Waiting {
    id: Id,
    priority: Priority,
    since_ns: u64,
    lower: u64,
    higher: u64,
    deliveries: u64,
    told: bool,
}

fn judge(history: &History, _: &Facts) -> Judgement {
    let mut found = Judgement::default();
    let mut sent: BTreeMap<Id, Sent> = BTreeMap::new();
    let mut last: BTreeMap<Stream, (u64, Id)> = BTreeMap::new();
    // Messages that wait in the receiver of a workload on a node.
    let mut waiting: BTreeMap<(NodeNumber, usize), Vec<Waiting>> = BTreeMap::new();
    let mut here: BTreeSet<(NodeNumber, Id)> = BTreeSet::new();
    let mut meta: BTreeMap<Id, (usize, Priority)> = BTreeMap::new();
    for (sequence, entry) in history.entries.iter().enumerate() {
        let node = entry.node;
        match &entry.what {
            What::Sending { id, work, client, priority } => {
                sent.insert(*id, Sent { node, client: *client, sequence: sequence as u64 });
                meta.insert(*id, (*work, *priority));
            }
            What::Sent { id, accepted, .. } if accepted.contains(&node) => {
                if let Some((work, priority)) = meta.get(id).filter(|_| !here.contains(&(node, *id))) {
                    waiting.entry((node, *work)).or_default().push(Waiting {
                        id: *id,
                        priority: *priority,
                        since_ns: entry.at_ns,
                        lower: 0,
                        higher: 0,
                        deliveries: 0,
                        told: false,
                    });
                }
            }
            What::Delivered { id, work, priority, .. } => {
                found.judged += 1;
                if let Some(from) = sent.get(id) {
                    let key = (from.node, from.client, node, *work, *priority);
                    if let Some((before, earlier)) = last.insert(key, (from.sequence, *id))
                        && before > from.sequence
                    {
                        found.accuse(format!(
                            "{}: n{node} was delivered message {id} after {earlier}, which the same client sent later with the same priority",
                            time(entry.at_ns)
                        ));
                    }
                }
                here.insert((node, *id));
                let Some(queue) = waiting.get_mut(&(node, *work)) else { continue };
                queue.retain(|message| message.id != *id);
                for message in queue.iter_mut() {
                    message.deliveries += 1;
                    if *priority > message.priority {
                        message.lower += 1;
                    } else if *priority < message.priority {
                        message.higher += 1;
                    } else {
                        message.higher = 0;
                    }
                    let bound = OVERTAKEN_BASE + message.deliveries / AGEING;
                    if (message.lower > bound || message.higher > WAIT_MAX) && !message.told {
                        message.told = true;
                        found.accuse(format!(
                            "{}: message {} ({:?}) waits on n{node} since {}: of {} deliveries {} were less urgent (at most {bound}), {} more urgent",
                            time(entry.at_ns),
                            message.id,
                            message.priority,
                            time(message.since_ns),
                            message.deliveries,
                            message.lower,
                            message.higher,
                        ));
                    }
                }
            }
            What::Detached { work } => {
                waiting.remove(&(node, *work));
            }
            What::NodeEnded { .. } => waiting.retain(|(owner, _), _| *owner != node),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::by_hand;

    fn send(id: Id, priority: Priority) -> [(u64, NodeNumber, What); 2] {
        [
            (id, 1, What::Sending { id, work: 0, client: 0, priority }),
            (id, 1, What::Sent { id, accepted: vec![1], refused: Vec::new() }),
        ]
    }
    fn deliver(id: Id, priority: Priority) -> (u64, NodeNumber, What) {
        (1000 + id, 1, What::Delivered { id, work: 0, priority, whole: true })
    }
    fn wrong(entries: Vec<(u64, NodeNumber, What)>) -> Vec<String> {
        judge(&by_hand(entries), &Facts::default()).wrong
    }

    #[test]
    fn first_in_first_out_with_the_urgent_first_is_good() {
        let mut history = Vec::new();
        for id in 0..20 {
            history.extend(send(id, Priority::Low));
        }
        history.extend(send(20, Priority::Critical));
        history.push(deliver(20, Priority::Critical));
        history.extend((0..20).map(|id| deliver(id, Priority::Low)));
        assert_eq!(wrong(history), [""; 0]);
    }

    #[test]
    fn equals_out_of_order_are_told() {
        let mut history = Vec::from(send(1, Priority::Normal));
        history.extend(send(2, Priority::Normal));
        history.extend([deliver(2, Priority::Normal), deliver(1, Priority::Normal)]);
        assert_eq!(wrong(history).len(), 1);
    }

    #[test]
    fn an_urgent_message_behind_many_lesser_ones_is_told_once() {
        let mut history = Vec::from(send(100, Priority::Critical));
        for id in 0..20 {
            history.extend(send(id, Priority::Low));
        }
        history.extend((0..20).map(|id| deliver(id, Priority::Low)));
        history.push(deliver(100, Priority::Critical));
        assert_eq!(wrong(history).len(), 1);
    }

    #[test]
    fn a_low_message_that_starves_is_told() {
        let mut history = Vec::from(send(1, Priority::Low));
        for id in 10..10 + WAIT_MAX + 2 {
            history.extend(send(id, Priority::Critical));
            history.push(deliver(id, Priority::Critical));
        }
        assert_eq!(wrong(history).len(), 1);
    }
}
