//! Simulated: plain memory, which the fault plan may refuse, and no device that could reach it.

use synod_ring::region::RegionError;

use super::{RUNGS, State};
use crate::memory::{self, HeapRegion};

pub(super) type Memory = HeapRegion;

pub(super) fn climb(len: usize, _numa_node: Option<usize>) -> Result<(Memory, Vec<State>), RegionError> {
    let none = State::Unavailable("a real machine".to_owned());
    Ok((memory::region(len)?, vec![none; RUNGS.len()]))
}
