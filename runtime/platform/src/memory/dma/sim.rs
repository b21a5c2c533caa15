//! Simulated: sealed memory, which the fault plan may refuse, and no device that could reach it.

use synod_ring::region::RegionError;

use super::{Height, RUNGS, State};
use crate::memory::{self, SharedRegion};

pub(super) type Devices = ();

pub(super) fn climb(
    len: usize,
    _height: Height,
    _numa_node: Option<usize>,
) -> Result<(Devices, SharedRegion, Vec<State>), RegionError> {
    let mut states = vec![State::Unavailable("a real machine".to_owned()); RUNGS.len()];
    states[0] = State::Held("by the kernel, as on a real machine".to_owned());
    Ok(((), memory::shared(len)?, states))
}
