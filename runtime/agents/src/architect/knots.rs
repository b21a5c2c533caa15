//! Knots: sets of nodes that all reach each other, and a shortest loop through each.
//!
//! Strongly connected components by Tarjan (SIAM J. Comput. 1, 1972), with a stack of its own instead of recursion, so that a
//! long chain of imports costs heap and not stack. A single node is no knot.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// From how many nodes of one knot a shortest loop is looked for, at most: a bound on time in huge knots.
const STARTS: usize = 256;

/// Nodes that all reach each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Knot {
    /// All of them, in ascending order.
    pub members: Vec<usize>,
    /// A shortest loop: each uses the next, the last uses the first.
    pub around: Vec<usize>,
}

/// The strongly connected components; each in ascending order, each after all that it reaches.
pub fn components(targets: &[Vec<usize>]) -> Vec<Vec<usize>> {
    const NEW: usize = usize::MAX;
    let n = targets.len();
    let (mut index, mut low, mut on_stack) = (vec![NEW; n], vec![0; n], vec![false; n]);
    let (mut stack, mut calls, mut found) = (Vec::new(), Vec::new(), Vec::new());
    let mut next = 0;
    for root in 0..n {
        if index[root] != NEW {
            continue;
        }
        calls.push((root, 0));
        while let Some((node, child)) = calls.pop() {
            if child == 0 {
                index[node] = next;
                low[node] = next;
                next += 1;
                stack.push(node);
                on_stack[node] = true;
            }
            if let Some(&target) = targets[node].get(child) {
                calls.push((node, child + 1));
                if index[target] == NEW {
                    calls.push((target, 0));
                } else if on_stack[target] {
                    low[node] = low[node].min(index[target]);
                }
                continue;
            }
            if let Some(&(above, _)) = calls.last() {
                low[above] = low[above].min(low[node]);
            }
            if low[node] == index[node] {
                let from = stack.iter().rposition(|&member| member == node).unwrap_or(0);
                let mut members = stack.split_off(from);
                members.iter().for_each(|&member| on_stack[member] = false);
                members.sort_unstable();
                found.push(members);
            }
        }
    }
    found
}

/// The knots, by their first member.
pub fn knots(targets: &[Vec<usize>]) -> Vec<Knot> {
    let mut knots: Vec<Knot> = components(targets)
        .into_iter()
        .filter(|members| members.len() > 1)
        .map(|members| Knot { around: shortest(targets, &members), members })
        .collect();
    knots.sort_by(|a, b| a.members.cmp(&b.members));
    knots
}

/// A shortest loop within `members`, which all reach each other.
fn shortest(targets: &[Vec<usize>], members: &[usize]) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::new();
    for &start in members.iter().take(STARTS) {
        let mut from = vec![usize::MAX; members.len()];
        let mut queue = VecDeque::from([start]);
        'search: while let Some(node) = queue.pop_front() {
            for &target in &targets[node] {
                if target == start && node != start {
                    let mut around = vec![node];
                    while let Some(&last) = around.last()
                        && last != start
                        && let Ok(at) = members.binary_search(&last)
                    {
                        around.push(from[at]);
                    }
                    around.reverse();
                    if best.is_empty() || around.len() < best.len() {
                        best = around;
                    }
                    break 'search;
                }
                if target != start
                    && let Ok(at) = members.binary_search(&target)
                    && from[at] == usize::MAX
                {
                    from[at] = node;
                    queue.push_back(target);
                }
            }
        }
        if best.len() == 2 {
            break;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reach(targets: &[Vec<usize>]) -> Vec<Vec<bool>> {
        let n = targets.len();
        let mut reach = vec![vec![false; n]; n];
        for (from, all) in targets.iter().enumerate() {
            for &to in all {
                reach[from][to] = true;
            }
        }
        for by in 0..n {
            for from in 0..n {
                for to in 0..n {
                    reach[from][to] |= reach[from][by] && reach[by][to];
                }
            }
        }
        reach
    }

    fn adjacency(n: usize, edges: Vec<(usize, usize)>) -> Vec<Vec<usize>> {
        let mut targets = vec![Vec::new(); n];
        for (from, to) in edges {
            if !targets[from % n].contains(&(to % n)) {
                targets[from % n].push(to % n);
            }
        }
        targets
    }

    proptest! {
        #[test]
        fn components_are_what_reaches_each_other_both_ways(
            n in 1usize..12,
            edges in proptest::collection::vec((0usize..12, 0usize..12), 0..30),
        ) {
            let targets = adjacency(n, edges);
            let (reach, found) = (reach(&targets), components(&targets));
            let mut of = vec![usize::MAX; n];
            for (at, members) in found.iter().enumerate() {
                for &member in members {
                    prop_assert_eq!(of[member], usize::MAX, "each node once");
                    of[member] = at;
                }
            }
            for a in 0..n {
                for b in 0..n {
                    let together = a == b || (reach[a][b] && reach[b][a]);
                    prop_assert_eq!(of[a] == of[b], together);
                    prop_assert!(!reach[a][b] || of[b] <= of[a], "what is reached comes first");
                }
            }
        }

        #[test]
        fn the_loop_of_a_knot_is_a_shortest_one(
            n in 2usize..10,
            edges in proptest::collection::vec((0usize..10, 0usize..10), 0..30),
        ) {
            let targets = adjacency(n, edges);
            for knot in knots(&targets) {
                let around = &knot.around;
                prop_assert!(around.len() >= 2);
                for (at, &node) in around.iter().enumerate() {
                    prop_assert!(targets[node].contains(&around[(at + 1) % around.len()]));
                    prop_assert!(knot.members.contains(&node));
                }
                prop_assert_eq!(around.len(), naive(&targets, &knot.members));
            }
        }
    }

    /// The length of a shortest loop of two nodes or more, by trying every length of walk.
    fn naive(targets: &[Vec<usize>], members: &[usize]) -> usize {
        let n = targets.len();
        let mut best = usize::MAX;
        for &start in members {
            let mut at: Vec<bool> = (0..n).map(|node| node == start).collect();
            for length in 1..=n {
                let mut next = vec![false; n];
                for (node, _) in at.iter().enumerate().filter(|(_, here)| **here) {
                    targets[node].iter().filter(|&&to| to != node).for_each(|&to| next[to] = true);
                }
                if next[start] {
                    best = best.min(length);
                    break;
                }
                at = next;
            }
        }
        best
    }

    #[test]
    fn a_chain_of_a_hundred_thousand_needs_no_stack() {
        let n = 100_000;
        let targets: Vec<Vec<usize>> =
            (0..n).map(|at| if at + 1 < n { vec![at + 1] } else { vec![] }).collect();
        assert_eq!(components(&targets).len(), n);
        assert!(knots(&targets).is_empty());
    }

    #[test]
    fn a_knot_is_named_by_its_shortest_loop() {
        let targets = vec![vec![1], vec![2], vec![3], vec![0, 2], vec![0, 4]];
        assert_eq!(knots(&targets), [Knot { members: vec![0, 1, 2, 3], around: vec![2, 3] }]);
    }
}
