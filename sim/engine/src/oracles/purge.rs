//! A log is purged only behind a durable snapshot.
//!
//! Definition: whenever a log is opened after a start, the index up to which it is purged is at most that of its newest snapshot.
//! Source: the store's oracles of the house plan (purged ≤ snapshot); Raft, Ongaro and Ousterhout, USENIX ATC 2014, section 7.
//! Known false positives: none. A snapshot that is damaged is not told here: where disks rot, the store says so itself.

use super::{Judgement, Oracle, time};
use crate::history::{Facts, History, What};
use crate::verdict::Kind;

/// The oracle.
pub const ORACLE: Oracle = Oracle {
    name: "store.purged_below_snapshot",
    kind: Kind::Safety,
    only_if_named: false,
    means: "a log is purged only behind a durable snapshot",
    judge,
};

fn judge(history: &History, _: &Facts) -> Judgement {
    let mut found = Judgement::default();
    for entry in &history.entries {
        let What::Purged { work, purged, snapshot } = &entry.what else { continue };
        found.judged += 1;
        if purged > snapshot {
            found.accuse(format!(
                "{}: on n{} the log of workload {work} is purged up to {purged}, its newest snapshot stands for {snapshot}",
                time(entry.at_ns),
                entry.node
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::by_hand;

    #[test]
    fn a_log_purged_further_than_its_snapshot_is_told() {
        let told = |purged, snapshot| {
            let opened = (1, 1, What::Purged { work: 0, purged, snapshot });
            judge(&by_hand([opened]), &Facts::default()).wrong.len()
        };
        assert_eq!((told(0, 0), told(7, 7), told(3, 7), told(8, 7)), (0, 0, 0, 1));
    }
}
