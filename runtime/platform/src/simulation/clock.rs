//! The clocks of simulated nodes: virtual time seen through each node's skew, drift and steps.
//!
//! The monotonic clock runs at the node's rate and never steps; the wall clock is the monotonic one plus an offset that does.

use std::time::Duration;

use super::node::{self, NodeId};
use super::world::world;

/// 2026-01-01T00:00:00Z: what an honest wall clock shows when a run begins.
const WALL_AT_START: i128 = 1_767_225_600_000_000_000;
const MILLION: i128 = 1_000_000;

/// One node's clocks, as functions of virtual time.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeClock {
    /// Where the present rate began, in virtual and in node time.
    anchor_world: i128,
    anchor_mono: i128,
    drift_ppm: i128,
    wall_offset: i128,
}

impl NodeClock {
    fn mono(&self, world: i128) -> i128 {
        self.anchor_mono + (world - self.anchor_world) * (MILLION + self.drift_ppm) / MILLION
    }

    fn wall(&self, world: i128) -> i128 {
        WALL_AT_START + self.mono(world) + self.wall_offset
    }

    /// Virtual time from `world` until the node's monotonic clock shows at least `target`.
    fn until(&self, world: i128, target: i128) -> i128 {
        let rate = MILLION + self.drift_ppm;
        let elapsed = ((target - self.anchor_mono) * MILLION + rate - 1).div_euclid(rate);
        (self.anchor_world + elapsed - world).max(0)
    }

    fn set_drift(&mut self, world: i128, ppm: i128) {
        (self.anchor_mono, self.anchor_world) = (self.mono(world), world);
        self.drift_ppm = ppm;
    }
}

/// Virtual time since the run began, in nanoseconds: the engine's clock, the same for all nodes.
pub fn elapsed() -> Duration {
    madsim::time::TimeHandle::current().elapsed()
}

fn world_now() -> i128 {
    elapsed().as_nanos() as i128
}

fn read<T>(read: impl FnOnce(&NodeClock) -> T) -> T {
    let world = world();
    match world.nodes.borrow().get(&node::current_node()) {
        Some(node) => read(&node.clock),
        None => read(&world.outside.borrow()),
    }
}

fn clamp(nanos: i128) -> u64 {
    u64::try_from(nanos.max(0)).unwrap_or(u64::MAX)
}

pub(crate) fn mono() -> u64 {
    let now = world_now();
    clamp(read(|clock| clock.mono(now)))
}

pub(crate) fn wall() -> u64 {
    let now = world_now();
    clamp(read(|clock| clock.wall(now)))
}

/// How much virtual time passes until the running node's monotonic clock shows `target` nanoseconds.
pub(crate) fn world_time_until(target: u64) -> Duration {
    let now = world_now();
    Duration::from_nanos(clamp(read(|clock| clock.until(now, target.into()))))
}

pub(super) fn step(id: NodeId, nanos: i64) {
    node::with(id, |node| node.clock.wall_offset += i128::from(nanos));
}

pub(super) fn set_drift(id: NodeId, ppm: i32) {
    let now = world_now();
    node::with(id, |node| node.clock.set_drift(now, i128::from(ppm.max(-999_999))));
}

#[cfg(test)]
mod tests {
    use super::NodeClock;

    #[test]
    fn a_change_of_rate_never_steps_the_monotonic_clock_and_deadlines_are_met_not_missed() {
        let mut clock = NodeClock::default();
        assert_eq!(clock.mono(1_000_000), 1_000_000);
        clock.set_drift(1_000_000, 200_000);
        assert_eq!(clock.mono(1_000_000), 1_000_000);
        assert_eq!(clock.mono(2_000_000), 2_200_000);
        clock.set_drift(2_000_000, -500_000);
        assert_eq!(clock.mono(2_000_000), 2_200_000);
        assert_eq!(clock.mono(4_000_000), 3_200_000);
        for target in 3_200_000..3_200_050 {
            let due = 4_000_000 + clock.until(4_000_000, target);
            assert!(clock.mono(due) >= target, "early at {target}");
            assert!(clock.mono(due - 2) < target, "late at {target}");
        }
    }
}
