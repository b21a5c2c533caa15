//! Levels: how high each node stands above what it uses, as the longest path down tells it.
//!
//! What uses nothing stands on level 0; the members of one knot share a level. An edge between two knots, or between nodes of none,
//! always leads from a higher level to a lower one.

use super::knots::components;

/// The level of each node.
pub fn levels(targets: &[Vec<usize>]) -> Vec<usize> {
    let found = components(targets);
    let mut of = vec![0; targets.len()];
    for (at, members) in found.iter().enumerate() {
        members.iter().for_each(|&member| of[member] = at);
    }
    // Components come after all that they reach, so one pass is enough.
    let mut height: Vec<usize> = Vec::with_capacity(found.len());
    for (at, members) in found.iter().enumerate() {
        let below = members.iter().flat_map(|&member| &targets[member]).map(|&target| of[target]);
        height.push(below.filter(|&below| below != at).map(|below| height[below] + 1).max().unwrap_or(0));
    }
    of.into_iter().map(|at| height[at]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_edge_between_components_leads_down_and_no_level_is_higher_than_it_must(
            n in 1usize..14,
            edges in proptest::collection::vec((0usize..14, 0usize..14), 0..40),
        ) {
            let mut targets = vec![Vec::new(); n];
            for (from, to) in edges {
                targets[from % n].push(to % n);
            }
            let levels = levels(&targets);
            for members in components(&targets) {
                let level = levels[members[0]];
                let mut needed = 0;
                for &member in &members {
                    prop_assert_eq!(levels[member], level);
                    for &target in targets[member].iter().filter(|target| !members.contains(target)) {
                        prop_assert!(levels[target] < level);
                        needed = needed.max(levels[target] + 1);
                    }
                }
                prop_assert_eq!(level, needed);
            }
        }
    }

    #[test]
    fn a_diamond_has_three_levels() {
        assert_eq!(levels(&[vec![1, 2], vec![3], vec![3], vec![]]), [2, 1, 1, 0]);
    }
}
