//! What a scenario engine does to a node's disk. Simulated build only.
//!
//! Faults are set for a node and hold until they are set again, across crashes. A killed node's disk loses power (what that means is
//! `power_loss` of the faults); a node whose process panicked or finished keeps its cache.

pub use synod_sim_model::Delay;
pub use synod_sim_model::disk::{DiskFaults, PowerLoss, SECTOR};

use super::sim::{of, random};
use crate::simulation::{Node, NodeId};

/// The faults in force on a node's disk.
pub fn faults(node: NodeId) -> DiskFaults {
    of(node).with(|disk| disk.faults().clone())
}

/// Sets all faults of a node's disk.
pub fn set_faults(node: NodeId, faults: DiskFaults) {
    of(node).with(|disk| disk.set_faults(faults));
}

/// Changes some faults of a node's disk: `change(node, |faults| faults.stalled = true)`.
pub fn change(node: NodeId, change: impl FnOnce(&mut DiskFaults)) {
    let mut changed = faults(node);
    change(&mut changed);
    set_faults(node, changed);
}

/// A good disk again; what was lost stays lost.
pub fn restore(node: NodeId) {
    set_faults(node, DiskFaults::default());
}

/// Lets so many more operations of a node's disk complete and then none, or all again with `None`: for a loss of power after
/// each of them in turn.
pub fn stall_after(node: NodeId, operations: Option<u64>) {
    of(node).stall_after(operations);
}

/// Whether nothing completes on a node's disk.
pub fn is_stalled(node: NodeId) -> bool {
    of(node).is_stalled()
}

/// Kills a node as by loss of power: what its disk had not synced is lost as its faults say.
pub fn power_loss(node: Node) {
    node.kill();
}

/// Kills a node's process and leaves its machine running: everything it wrote is still there.
pub fn process_crash(node: Node) {
    of(node.id()).sparing_the_cache(|| node.kill());
}

/// Exchanges a node's disk for an empty one. The node must be down, or finds its files gone under it.
pub fn wipe(node: NodeId) {
    of(node).with(|disk| disk.wipe());
}

/// Turns one bit of a file on a node's disk; false if there is no such file or nothing of it is on the device.
pub fn rot(node: NodeId, path: &str) -> bool {
    of(node).with(|disk| disk.rot(path, &mut random()))
}

/// What a file would hold if power were lost now and nothing unsynced survived; `None` if its name would not be there.
pub fn durable(node: NodeId, path: &str) -> Option<Vec<u8>> {
    of(node).with(|disk| disk.durable(path).map(<[u8]>::to_vec))
}

/// Every file on a node's disk as a running process sees it, by path.
pub fn files(node: NodeId) -> Vec<String> {
    of(node).with(|disk| disk.files())
}
