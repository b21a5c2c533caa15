//! What a scenario engine does to the simulated network: faults by pair of nodes and direction, cuts, resets, counts.
//!
//! Links have a default, which a pair's own setting replaces; cuts come on top of either. Changes hold from now on: what is under
//! way still arrives when it would have. Traffic of a node with itself (loopback, Unix sockets) is never at fault.
//! Call from within a run.

pub use synod_sim_model::Delay;
pub use synod_sim_model::link::{Flapping, LinkFaults};

pub use super::network::Counts;
use super::network::{lock, network, now_ns};
use crate::simulation::{NodeId, nodes};

/// Which way of a node is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What comes to it.
    Inbound,
    /// What it sends.
    Outbound,
    /// Both.
    Both,
}

/// Sets the faults of every link that has no setting of its own.
pub fn set_default(faults: LinkFaults) {
    lock(&network()).set_default(faults);
}

/// Sets the faults of one direction of one link; `None` goes back to the default.
pub fn set_link(from: NodeId, to: NodeId, faults: Option<LinkFaults>) {
    lock(&network()).set_own(from, to, faults);
}

/// The faults in force in one direction of one link.
pub fn link(from: NodeId, to: NodeId) -> LinkFaults {
    lock(&network()).faults(from, to)
}

/// Lets nothing pass from one node to the other, until [`heal`].
pub fn cut(from: NodeId, to: NodeId) {
    lock(&network()).set_cut(from, to, true);
}

/// Takes back [`cut`] in this one direction.
pub fn heal(from: NodeId, to: NodeId) {
    lock(&network()).set_cut(from, to, false);
}

/// Cuts every link between a node of `one` and a node of `other`, both ways.
pub fn partition(one: &[NodeId], other: &[NodeId]) {
    set_cuts(one, other, true);
}

/// Takes back [`partition`].
pub fn unite(one: &[NodeId], other: &[NodeId]) {
    set_cuts(one, other, false);
}

fn set_cuts(one: &[NodeId], other: &[NodeId], cut: bool) {
    let network = network();
    for &a in one {
        for &b in other {
            lock(&network).set_cut(a, b, cut);
            lock(&network).set_cut(b, a, cut);
        }
    }
}

/// Cuts (or, with `cut` false, heals) all of a node's links with the others, in the direction given.
pub fn isolate(node: NodeId, direction: Direction, cut: bool) {
    let network = network();
    for other in nodes().into_iter().map(|other| other.id()).filter(|other| *other != node) {
        if direction != Direction::Outbound {
            lock(&network).set_cut(other, node, cut);
        }
        if direction != Direction::Inbound {
            lock(&network).set_cut(node, other, cut);
        }
    }
}

/// Ends every cut and every fault: all links are good again.
pub fn heal_all() {
    lock(&network()).heal_all();
}

/// Resets every connection between two nodes; answers how many there were.
pub fn reset(a: NodeId, b: NodeId) -> usize {
    lock(&network()).reset_between(a, b)
}

/// A link that flaps from now on: so long up, so long down, ns.
pub fn flapping(up_ns: u64, down_ns: u64) -> Flapping {
    Flapping { since_ns: now_ns(), up_ns, down_ns }
}

/// What the network has done so far in this run.
pub fn counts() -> Counts {
    lock(&network()).counts
}
