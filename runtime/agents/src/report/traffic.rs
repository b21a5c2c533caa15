//! Message counts by edge, from what the fabric counted while a run went on.
//!
//! The fabric counts for each pair of sending context and receiving agent. On a node that serves several runs at once the
//! difference of two snapshots holds what all of them said meanwhile.

use std::collections::BTreeMap;

use synod_fabric::{Counts, Snapshot};

use super::Edge;

/// What was counted between two snapshots of one fabric, the busiest edge first.
pub fn between(before: &Snapshot, after: &Snapshot) -> Vec<Edge> {
    let sums = |snapshot: &Snapshot| {
        let mut sums: BTreeMap<(String, String), Vec<Counts>> = BTreeMap::new();
        for edge in &snapshot.edges {
            sums.entry((edge.from.clone(), edge.to.clone())).or_default().push(edge.counts);
        }
        sums
    };
    let earlier = sums(before);
    let mut edges: Vec<Edge> = sums(after)
        .into_iter()
        .map(|((from, to), counts)| {
            let was = earlier.get(&(from.clone(), to.clone())).map_or(&[][..], Vec::as_slice);
            let sum = |pick: fn(&Counts) -> u64| {
                let of = |counts: &[Counts]| counts.iter().map(pick).sum::<u64>();
                of(&counts).saturating_sub(of(was))
            };
            Edge {
                agents: agents(after, &from),
                accepted: sum(|counts| counts.accepted),
                delivered: sum(|counts| counts.delivered),
                refused: sum(|counts| counts.refused),
                expired: sum(|counts| counts.expired),
                cancelled: sum(|counts| counts.cancelled),
                lost: sum(|counts| counts.lost),
                from,
                to,
            }
        })
        .filter(|edge| edge.accepted + edge.refused > 0)
        .collect();
    edges.sort_by(|a, b| b.accepted.cmp(&a.accepted).then_with(|| (&a.from, &a.to).cmp(&(&b.from, &b.to))));
    edges
}

fn agents(snapshot: &Snapshot, context: &str) -> Vec<String> {
    let found = snapshot.contexts.iter().find(|one| one.name == context);
    found.map_or_else(Vec::new, |context| context.agents.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_fabric::{EdgeSnapshot, Fabric, FabricConfig};

    #[test]
    fn only_what_was_said_meanwhile_counts_and_silent_edges_are_left_out() {
        let edge = |to: &str, accepted| EdgeSnapshot {
            from: "work-0".into(),
            to: to.into(),
            counts: Counts { accepted, delivered: accepted, ..Counts::default() },
        };
        let empty = Fabric::new(FabricConfig::named("n")).snapshot();
        let mut before = empty.clone();
        before.edges = vec![edge("linter", 3), edge("client", 5)];
        let mut after = empty;
        after.edges = vec![edge("linter", 4), edge("linter", 1), edge("client", 5), edge("security", 9)];
        let told: Vec<(String, u64)> =
            between(&before, &after).into_iter().map(|edge| (edge.to, edge.accepted)).collect();
        assert_eq!(told, [("security".to_string(), 9), ("linter".to_string(), 2)]);
    }
}
