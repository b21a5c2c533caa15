//! A panic stays where it happened.
//!
//! Definition: no node and no agent ends of itself: every end of a node's life and every panic was asked for by a fault. After an agent's panic its node lives on, and each
//! other workload that was being received or served there at the time is received or served there again afterwards, if it still gets work.
//! Source: the house plan ("a panicking agent is contained, told and restarted").
//! Known false positives: none. Whether the panicked agent itself comes back is judged by liveness.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judgement, Oracle, time};
use crate::history::{Facts, History, NodeNumber, What};
use crate::verdict::Kind;

/// The oracle.
pub const ORACLE: Oracle = Oracle {
    name: "node.contained",
    kind: Kind::Crash,
    only_if_named: false,
    means: "no node ends of itself; an agent's panic harms no other agent",
    judge,
};

/// Work of others that must be seen again on the node after a panic, if at least so much was sent to it.
const WORK_MIN: u64 = 3;

fn judge(history: &History, _: &Facts) -> Judgement {
    let mut found = Judgement::default();
    let mut panics: Vec<(usize, u64, NodeNumber, usize)> = Vec::new();
    let mut attached: BTreeSet<(NodeNumber, usize)> = BTreeSet::new();
    for (index, entry) in history.entries.iter().enumerate() {
        let node = entry.node;
        match &entry.what {
            What::Attached { work, .. } => {
                attached.insert((node, *work));
            }
            What::Detached { work } => {
                attached.remove(&(node, *work));
            }
            What::Panicked { work } => {
                found.judged += 1;
                panics.push((index, entry.at_ns, node, *work));
            }
            What::AgentDied { work, text } => {
                found.accuse(format!(
                    "{}: an agent of workload {work} on n{node} panicked of itself: {text}",
                    time(entry.at_ns)
                ));
            }
            What::NodeEnded { declared, panic, .. } => {
                if !declared {
                    let how = panic
                        .as_deref()
                        .map_or("ended of itself".to_owned(), |text| format!("panicked: {text}"));
                    found.accuse(format!("{}: n{node} {how}", time(entry.at_ns)));
                }
                attached.retain(|(owner, _)| *owner != node);
            }
            _ => {}
        }
    }
    for (index, at_ns, node, work) in panics {
        let after = &history.entries[index..];
        let life = after
            .iter()
            .position(|entry| {
                entry.node == node && matches!(entry.what, What::NodeEnded { .. } | What::NodeStarted)
            })
            .unwrap_or(after.len());
        let mut sent: BTreeMap<usize, u64> = BTreeMap::new();
        let mut got: BTreeMap<usize, u64> = BTreeMap::new();
        for entry in &after[..life] {
            match &entry.what {
                What::Sending { work, .. } | What::Asked { work, .. } if entry.node == node => {
                    *sent.entry(*work).or_default() += 1;
                }
                What::Delivered { work, .. } | What::Served { work, .. } if entry.node == node => {
                    *got.entry(*work).or_default() += 1;
                }
                _ => {}
            }
        }
        for (other, sent) in sent {
            if other != work
                && sent >= WORK_MIN
                && attached.contains(&(node, other))
                && !got.contains_key(&other)
            {
                found.accuse(format!(
                    "{}: after an agent of workload {work} panicked on n{node}, workload {other} got nothing there any more ({sent} sent)",
                    time(at_ns)
                ));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::by_hand;
    use crate::scenario::form::Priority;

    fn wrong(steps: Vec<What>) -> usize {
        judge(&by_hand(steps.into_iter().map(|what| (1, 1, what))), &Facts::default()).wrong.len()
    }
    fn others(count: u64, delivered: bool) -> Vec<What> {
        let mut steps = vec![What::Attached { work: 1, serves: false }, What::Panicked { work: 0 }];
        for id in 0..count {
            steps.push(What::Sending { id, work: 1, client: 0, priority: Priority::Normal });
            if delivered {
                steps.push(What::Delivered { id, work: 1, priority: Priority::Normal, whole: true });
            }
        }
        steps
    }

    #[test]
    fn a_panic_after_which_the_others_go_on_is_good() {
        assert_eq!(wrong(others(5, true)), 0);
    }

    #[test]
    fn a_panic_that_takes_the_others_along_is_told() {
        assert_eq!(wrong(others(5, false)), 1);
        assert_eq!(wrong(others(1, false)), 0);
    }

    #[test]
    fn a_node_that_ends_of_itself_is_told() {
        let ended = |declared| What::NodeEnded { declared, panic: Some("oh".to_owned()), wiped: false };
        assert_eq!((wrong(vec![ended(true)]), wrong(vec![ended(false)])), (0, 1));
    }
}
