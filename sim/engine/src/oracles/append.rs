//! Acknowledged is durable, and what is recovered is a prefix.
//!
//! Definition: when a file is opened again, it holds the records that were appended since it was last opened, in order, after those it held then;
//! every acknowledged one is there; what is missing is a tail of records that were not acknowledged, or ones whose append failed. A
//! record that was recovered once stays. On a disk that rots the last batches may be lost, and a store that says that it is damaged is begun anew.
//! Source: the store's oracles of the house plan (acknowledged is durable; prefix property), after Pillai et al., OSDI 2014.
//! Known false positives: a wiped disk is excused. Rot in the last acknowledged batches of a lone node cannot be told from a torn tail: where
//! disks rot, the records of the last [`BATCHES_MAX`] are not missed.

use std::collections::BTreeMap;

use super::{Judgement, Oracle, time};
use crate::history::{Facts, History, Id, NodeNumber, What};
use crate::verdict::Kind;

/// The oracle.
pub const ORACLE: Oracle = Oracle {
    name: "disk.append",
    kind: Kind::Safety,
    only_if_named: false,
    means: "acknowledged is durable; recovered is a prefix",
    judge,
};

/// How many batches may be lost at the end where disks rot: one misdirected write may take two, and the next may be hit, too.
const BATCHES_MAX: usize = 3;

/// Records acknowledged within so long are one batch: the next takes at least a sync.
const BATCH_NS: u64 = 50_000;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Begun,
    /// When.
    Acknowledged(u64),
    Failed,
}

impl State {
    const fn acknowledged(self) -> Option<u64> {
        match self {
            State::Acknowledged(at_ns) => Some(at_ns),
            State::Begun | State::Failed => None,
        }
    }
}

fn judge(history: &History, facts: &Facts) -> Judgement {
    let mut found = Judgement::default();
    // What each file should hold, in order.
    let mut files: BTreeMap<(NodeNumber, usize), Vec<(Id, State)>> = BTreeMap::new();
    for entry in &history.entries {
        let node = entry.node;
        match &entry.what {
            What::Appending { id, work } => files.entry((node, *work)).or_default().push((*id, State::Begun)),
            What::Appended { id, work, acknowledged } => {
                found.judged += 1;
                let state = if *acknowledged { State::Acknowledged(entry.at_ns) } else { State::Failed };
                // Most often it is one of the last.
                let file = files.entry((node, *work)).or_default();
                if let Some(record) = file.iter_mut().rev().find(|(known, _)| known == id) {
                    record.1 = state;
                }
            }
            What::NodeEnded { wiped: true, .. } => files.retain(|(owner, _), _| *owner != node),
            What::BegunAnew { work } => drop(files.remove(&(node, *work))),
            What::Recovered { work, records } => {
                found.judged += 1;
                let file = files.entry((node, *work)).or_default();
                if let Some(complaint) = compare(file, records, facts.rots) {
                    found.accuse(format!(
                        "{}: on n{node} the file of workload {work} {complaint}",
                        time(entry.at_ns)
                    ));
                }
                let since: BTreeMap<Id, u64> =
                    file.iter().filter_map(|(id, state)| Some((*id, state.acknowledged()?))).collect();
                let acknowledged =
                    |id: &Id| State::Acknowledged(since.get(id).copied().unwrap_or(entry.at_ns));
                *file = records.iter().map(|id| (*id, acknowledged(id))).collect();
            }
            _ => {}
        }
    }
    found
}

fn compare(file: &[(Id, State)], records: &[Id], rots: bool) -> Option<String> {
    let mut expected = file.iter();
    for (place, record) in records.iter().enumerate() {
        loop {
            match expected.next() {
                Some((id, _)) if id == record => break,
                Some((_, State::Failed)) => {}
                Some((id, state)) => {
                    let was = state.acknowledged().map_or("", |_| ", which was acknowledged");
                    return Some(format!(
                        "holds record {record} in place {place}, where record {id} should be{was}"
                    ));
                }
                None => {
                    return Some(format!(
                        "holds record {record} in place {place}, which was never appended there"
                    ));
                }
            }
        }
    }
    let lost: Vec<(Id, u64)> =
        expected.filter_map(|(id, state)| Some((*id, state.acknowledged()?))).collect();
    let gaps = lost.windows(2).filter(|pair| pair[1].1 > pair[0].1 + BATCH_NS).count();
    if rots && gaps < BATCHES_MAX {
        return None;
    }
    lost.first().map(|(first, _)| {
        format!(
            "lost {} acknowledged records, from {first} on; it holds {} records",
            lost.len(),
            records.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::by_hand;

    fn begin(id: Id) -> What {
        What::Appending { id, work: 0 }
    }
    fn done(id: Id, acknowledged: bool) -> What {
        What::Appended { id, work: 0, acknowledged }
    }
    fn recovered(records: &[Id]) -> What {
        What::Recovered { work: 0, records: records.to_vec() }
    }
    fn wrong(steps: Vec<What>) -> Vec<String> {
        judge(&by_hand(steps.into_iter().map(|what| (1, 1, what))), &Facts::default()).wrong
    }

    #[test]
    fn a_lost_tail_that_nobody_acknowledged_is_good() {
        let base = || vec![recovered(&[]), begin(1), done(1, true), begin(2)];
        for kept in [&[1][..], &[1, 2]] {
            let mut steps = base();
            steps.push(recovered(kept));
            assert_eq!(wrong(steps), [""; 0]);
        }
    }

    #[test]
    fn an_acknowledged_record_that_is_gone_is_told() {
        assert_eq!(
            wrong(vec![begin(1), done(1, true), begin(2), done(2, true), recovered(&[1])]),
            [
                "0.000000s: on n1 the file of workload 0 lost 1 acknowledged records, from 2 on; it holds 1 records"
            ]
        );
    }

    #[test]
    fn a_record_recovered_once_must_stay() {
        assert_eq!(wrong(vec![begin(1), recovered(&[1]), recovered(&[])]).len(), 1);
    }

    #[test]
    fn a_hole_a_stranger_and_a_swap_are_told() {
        let base = || vec![begin(1), done(1, true), begin(2), done(2, true)];
        for bad in [&[2][..], &[1, 9], &[2, 1], &[1, 2, 2]] {
            let mut steps = base();
            steps.push(recovered(bad));
            assert_eq!(wrong(steps).len(), 1, "{bad:?}");
        }
    }

    #[test]
    fn a_failed_append_may_be_there_or_not() {
        let base = || vec![begin(1), done(1, false), begin(2), done(2, true)];
        for kept in [&[1, 2][..], &[2]] {
            let mut steps = base();
            steps.push(recovered(kept));
            assert_eq!(wrong(steps), [""; 0]);
        }
    }

    #[test]
    fn where_disks_rot_the_last_batches_may_be_lost_and_nothing_before() {
        let batches = |count: u64| {
            (1..=count).flat_map(|id| [(id * 1_000_000, 1, begin(id)), (id * 1_000_000, 1, done(id, true))])
        };
        let lost = |count, kept: &[Id]| {
            let found = (99_000_000, 1, recovered(kept));
            let facts = Facts { rots: true, ..Facts::default() };
            judge(&by_hand(batches(count).chain([found])), &facts).wrong.len()
        };
        assert_eq!((lost(5, &[1, 2]), lost(5, &[1]), lost(3, &[1, 3])), (0, 1, 1));
    }

    #[test]
    fn a_store_that_was_begun_anew_holds_nothing_of_the_damaged_one() {
        let anew = What::BegunAnew { work: 0 };
        assert_eq!(wrong(vec![begin(1), done(1, true), anew.clone(), recovered(&[])]), [""; 0]);
        assert_eq!(wrong(vec![begin(1), done(1, true), anew, recovered(&[1])]).len(), 1);
    }

    #[test]
    fn a_wiped_disk_is_excused() {
        let wiped = What::NodeEnded { declared: true, panic: None, wiped: true };
        assert_eq!(wrong(vec![begin(1), done(1, true), wiped, recovered(&[])]), [""; 0]);
    }
}
