//! The machine's shape: cores, NUMA nodes, caches; and where to put contexts on it ([`Topology::place`]).
//!
//! Real: what hwloc finds, restricted to what this process may use. Simulated: a plain machine of four cores. Memory sizes are not
//! taken from here: containers report the host's.

mod place;
#[cfg(not(madsim))]
mod real;

pub use place::{Party, PlaceError, Seat, Talk, Waits};

/// One core and its hardware threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Core {
    /// The logical processors of this core, by the operating system's number, ascending.
    pub processors: Vec<usize>,
    /// The NUMA node that it belongs to, as an index into [`Topology::numa_nodes`].
    pub numa_node: usize,
    /// What each of them can do, as the kernel tells: the machine's fastest can do 1024.
    pub capacity: u32,
}

/// One NUMA node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumaNode {
    /// The operating system's number.
    pub number: usize,
    /// The logical processors next to it, ascending.
    pub processors: Vec<usize>,
}

/// One data or unified cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// 1 is next to the core.
    pub level: usize,
    /// Bytes; `None` when the system does not tell.
    pub size: Option<u64>,
    /// Bytes of a line; `None` when the system does not tell.
    pub line: Option<usize>,
    /// The logical processors that share it, ascending.
    pub processors: Vec<usize>,
}

/// The shape of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Cores, in order of NUMA node and number.
    pub cores: Vec<Core>,
    /// NUMA nodes; at least one.
    pub numa_nodes: Vec<NumaNode>,
    /// Data and unified caches, nearest first.
    pub caches: Vec<Cache>,
}

/// The machine's shape cannot be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot find the machine's topology: {0}")]
pub struct TopologyError(String);

impl Topology {
    /// This machine's shape, as far as this process may use it. Takes some milliseconds: ask once.
    pub fn detect() -> Result<Self, TopologyError> {
        #[cfg(not(madsim))]
        return real::detect();
        #[cfg(madsim)]
        Ok(Self::uniform(1, 4, 1))
    }

    /// The logical processors that the kernel lets the calling thread use, ascending; asked anew.
    pub fn allowed() -> Result<Vec<usize>, TopologyError> {
        #[cfg(not(madsim))]
        return real::allowed();
        #[cfg(madsim)]
        Ok((0..4).collect())
    }

    /// The NUMA node next to all logical processors that the calling thread may use, by the operating system's number; nothing if they
    /// are next to several, or the kernel does not tell. Asks the kernel alone: who only wants memory nearby is spared hwloc.
    pub fn own_numa_node() -> Option<usize> {
        #[cfg(not(madsim))]
        return real::own_numa_node();
        #[cfg(madsim)]
        Some(0)
    }

    /// The machine of a hwloc description, as in `NUMANode:2 Core:8 PU:1`.
    #[cfg(not(madsim))]
    pub fn synthetic(description: &str) -> Result<Self, TopologyError> {
        real::synthetic(description)
    }

    /// A regular machine: so many NUMA nodes, cores in each, and threads in each core, numbered in this order, without caches.
    pub fn uniform(numa_nodes: usize, cores: usize, threads: usize) -> Self {
        let processors = |core: usize| (core * threads..(core + 1) * threads).collect::<Vec<_>>();
        Self {
            cores: (0..numa_nodes * cores)
                .map(|core| Core { processors: processors(core), numa_node: core / cores, capacity: 1024 })
                .collect(),
            numa_nodes: (0..numa_nodes)
                .map(|number| NumaNode {
                    number,
                    processors: (number * cores..(number + 1) * cores).flat_map(processors).collect(),
                })
                .collect(),
            caches: Vec::new(),
        }
    }

    /// How many logical processors there are.
    pub fn processors(&self) -> usize {
        self.cores.iter().map(|core| core.processors.len()).sum()
    }
}
