//! Simulated: one kind of memory.

use std::collections::BTreeMap;
use std::ptr::NonNull;

use crate::memory::MemoryError;

fn none(doing: &'static str) -> MemoryError {
    MemoryError::System { doing, reason: "the simulated machine has no NUMA nodes".to_owned() }
}

pub(super) fn bind(_base: NonNull<u8>, _len: usize, _numa_node: usize) -> Result<(), MemoryError> {
    Err(none("binding memory to a NUMA node"))
}

pub(super) fn populate(_base: NonNull<u8>, _len: usize) -> Result<(), MemoryError> {
    Ok(())
}

pub(super) fn located(_base: NonNull<u8>, _len: usize) -> Result<BTreeMap<usize, u64>, MemoryError> {
    Err(none("asking where memory lies"))
}
