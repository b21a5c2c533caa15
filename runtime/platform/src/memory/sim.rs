//! Simulated memory: the heap's, counted for each node, and refused when its fault plan says so.

use std::cell::RefCell;
use std::collections::BTreeMap;

use synod_probe::event;
use synod_ring::region::RegionError;
use synod_sim_model::memory::Memory;

use crate::simulation::{self, Incarnation, NodeId};

/// What the engine sets and reads.
pub mod control {
    use super::{NodeId, with};

    pub use synod_sim_model::memory::MemoryFaults;

    /// Sets when a node's allocations of regions are refused.
    pub fn set_faults(node: NodeId, faults: MemoryFaults) {
        with(node, |memory| memory.set_faults(faults));
    }

    /// Bytes that a node's present life holds in regions.
    pub fn held(node: NodeId) -> u64 {
        with(node, |memory| memory.held())
    }

    /// How many allocations a node was refused so far.
    pub fn refused(node: NodeId) -> u64 {
        with(node, |memory| memory.refused())
    }
}

struct Memories(RefCell<BTreeMap<NodeId, Memory>>);

impl Default for Memories {
    fn default() -> Self {
        // A dead process holds nothing.
        simulation::on_crash(|life| with(life.node, Memory::crash));
        Self(RefCell::default())
    }
}

fn with<T>(node: NodeId, body: impl FnOnce(&mut Memory) -> T) -> T {
    let memories = simulation::state::<Memories>();
    let mut memories = memories.0.borrow_mut();
    body(memories.entry(node).or_default())
}

#[derive(Debug)]
pub(super) struct Grant {
    life: Incarnation,
    bytes: u64,
}

pub(super) fn grant(len: usize) -> Result<Grant, RegionError> {
    let (life, bytes) = (simulation::current(), len as u64);
    let answer = with(life.node, |memory| memory.allocate(bytes, &mut crate::random::u64));
    answer.map_err(|_| {
        event!("memory.refused", node = life.node.number(), bytes = bytes);
        RegionError::OutOfMemory { len }
    })?;
    Ok(Grant { life, bytes })
}

impl Drop for Grant {
    fn drop(&mut self) {
        // Held by a life that is over: its crash gave everything back, and after the run there is nobody to give to.
        if simulation::in_run() && simulation::is_alive(self.life) {
            with(self.life.node, |memory| memory.free(self.bytes));
        }
    }
}
