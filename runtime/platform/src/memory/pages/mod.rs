//! On which NUMA nodes a region's pages lie: told to the kernel, and asked of it. The simulated machine has none to tell apart.
//!
//! Without being told the kernel takes a page from the node of the thread that touches it first; of a ring that is its writer. So a
//! context that is pinned has its own pages near, and who wants it otherwise binds before the first touch.

#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod sim;

use std::collections::BTreeMap;

#[cfg(not(madsim))]
use real as arm;
#[cfg(madsim)]
use sim as arm;
use synod_ring::region::Region;

use crate::memory::MemoryError;

/// Has the region's pages taken from that node alone, by the operating system's number; those that lie elsewhere already are moved.
pub fn bind(region: &impl Region, numa_node: usize) -> Result<(), MemoryError> {
    arm::bind(region.base(), region.len(), numa_node)
}

/// Gives every page its memory, so that no touch can fail or wait.
pub fn populate(region: &impl Region) -> Result<(), MemoryError> {
    assert!(region.writable(), "memory of another process is populated by its owner");
    arm::populate(region.base(), region.len())
}

/// How many of the region's pages lie on which node, by the operating system's numbers. Pages that nobody touched lie nowhere.
pub fn located(region: &impl Region) -> Result<BTreeMap<usize, u64>, MemoryError> {
    arm::located(region.base(), region.len())
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;
    use crate::memory;

    #[test]
    fn pages_lie_on_the_node_that_they_were_bound_to_and_the_kernel_agrees() {
        let region = memory::shared(64 << 10).unwrap();
        assert_eq!(located(&region).unwrap(), BTreeMap::new(), "nobody touched them");
        // A kernel without NUMA, or a container that forbids it, says so.
        if let Err(error) = bind(&region, 0) {
            assert!(error.to_string().contains("node 0: "), "{error}");
            return;
        }
        populate(&region).unwrap();
        assert_eq!(located(&region).unwrap(), BTreeMap::from([(0, 16)]));
        let address = format!("{:x} bind:0 ", region.base().as_ptr() as usize);
        let maps = std::fs::read_to_string("/proc/self/numa_maps").unwrap();
        assert!(
            maps.lines().any(|line| line.trim_start_matches('0').starts_with(&address)),
            "{address}\n{maps}"
        );
    }

    #[test]
    fn a_node_that_is_not_there_is_an_error() {
        let region = memory::shared(4096).unwrap();
        let error = bind(&region, 900).unwrap_err();
        assert!(error.to_string().contains("node 900: "), "{error}");
    }
}
