//! The clocks of simulated nodes: virtual time seen through each node's skew, drift and steps, by the model in `synod-sim-model`.

use std::time::Duration;

use synod_sim_model::clock::Clock;

use super::node::{self, NodeId};
use super::world::world;

/// 2026-01-01T00:00:00Z: what an honest wall clock shows when a run begins.
const WALL_AT_START: u64 = 1_767_225_600_000_000_000;

pub(super) fn honest() -> Clock {
    Clock::new(WALL_AT_START)
}

/// Virtual time since the run began: the engine's clock, the same for all nodes.
pub fn elapsed() -> Duration {
    madsim::time::TimeHandle::current().elapsed()
}

fn elapsed_nanos() -> u64 {
    u64::try_from(elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn read<T>(read: impl FnOnce(&Clock) -> T) -> T {
    let world = world();
    let nodes = world.nodes.borrow();
    match nodes.get(&node::current_node()) {
        Some(node) => read(&node.clock),
        None => read(&honest()),
    }
}

pub(crate) fn mono() -> u64 {
    let now = elapsed_nanos();
    read(|clock| clock.mono(now))
}

pub(crate) fn wall() -> u64 {
    let now = elapsed_nanos();
    read(|clock| clock.wall(now))
}

/// How much virtual time passes until the running node's monotonic clock shows `target` nanoseconds, or a rounding less.
pub(crate) fn world_time_until(target: u64) -> Duration {
    let now = elapsed_nanos();
    Duration::from_nanos(read(|clock| clock.true_wait(target.saturating_sub(clock.mono(now)))))
}

pub(super) fn step(id: NodeId, nanos: i64) {
    node::with(id, |node| node.clock.step(nanos));
}

pub(super) fn set_drift(id: NodeId, parts_per_billion: i64) {
    let now = elapsed_nanos();
    node::with(id, |node| node.clock.set_drift(now, parts_per_billion));
}
