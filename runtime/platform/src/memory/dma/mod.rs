//! Memory that others may read and devices can reach, as well prepared as is asked for and this machine allows.
//!
//! The ladder: a sealed memfd; huge pages, if some are reserved; populated and locked, so that nothing is paged out; bound to a NUMA node;
//! registered with io_uring; exported as a DMA buffer; registered with CUDA by the driver, which is loaded when asked for. Each rung that is
//! asked for is tried, those of devices proved by bytes that went through them; what is missing is left out and told. Simulated: the lowest rung.

#[cfg(not(madsim))]
mod cuda;
#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod sim;

use std::fmt;
use std::ptr::NonNull;

#[cfg(not(madsim))]
use real as arm;
#[cfg(madsim)]
use sim as arm;
use synod_ring::region::{Region, RegionError};

use super::{Handle, MemoryError, SharedRegion};

/// How far up the ladder memory is to climb.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Height {
    /// Sealed, its pages taken as they are touched: what is not used costs nothing.
    #[default]
    Plain,
    /// All of it there before the first touch, in huge pages where some are reserved, locked as far as the limit allows, near who writes it.
    Local,
    /// Beside that, within reach of devices: takes the time that a GPU's driver needs to start.
    Device,
    /// Every rung, those that nothing of ours uses too, to see what the machine has.
    Top,
}

/// The rung that nothing of ours uses.
pub const RING: &str = "registered with io_uring";

/// The rungs, in their order.
pub const RUNGS: [&str; 7] = [
    "sealed memory",
    "huge pages",
    "populated and locked",
    "bound to a NUMA node",
    RING,
    "exported as a DMA buffer",
    "registered with CUDA",
];

/// One rung, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Its name, one of [`RUNGS`].
    pub name: &'static str,
    /// What it gives here, or what it would need.
    pub state: State,
}

/// What became of a rung.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is there; how, in words.
    Held(String),
    /// It is not there: it needs this.
    Unavailable(String),
    /// It was not asked for.
    NotAsked,
}

impl From<Result<String, String>> for State {
    fn from(tried: Result<String, String>) -> Self {
        match tried {
            Ok(how) => State::Held(how),
            Err(needs) => State::Unavailable(needs),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Held(how) => f.write_str(how),
            State::Unavailable(needs) => write!(f, "unavailable: needs {needs}"),
            State::NotAsked => f.write_str("ready: not asked for"),
        }
    }
}

/// Zeroed memory that others may read, and the rungs that it stands on; all is given back when it is dropped. Made by [`region`].
#[derive(Debug)]
pub struct DmaRegion {
    /// What reads the memory is dropped before it.
    _devices: arm::Devices,
    memory: SharedRegion,
    rungs: Vec<Rung>,
}

/// Asks for at least `len` zeroed bytes that climb to `height`, on `numa_node` (the operating system's number) if one is named.
pub fn region(len: usize, height: Height, numa_node: Option<usize>) -> Result<DmaRegion, RegionError> {
    let (devices, memory, states) = arm::climb(len, height, numa_node)?;
    let rungs = RUNGS.into_iter().zip(states).map(|(name, state)| Rung { name, state }).collect();
    Ok(DmaRegion { _devices: devices, memory, rungs })
}

impl DmaRegion {
    /// What became of each rung, in their order.
    pub fn rungs(&self) -> &[Rung] {
        &self.rungs
    }

    /// A handle to pass on, as of any [shared](super::shared) region.
    pub fn handle(&self) -> Result<Handle, MemoryError> {
        self.memory.handle()
    }

    /// Closes the descriptor. The mapping stays; [`Self::handle`] fails from now on.
    pub fn close(&mut self) {
        self.memory.close();
    }
}

// SAFETY: every answer is the shared region's, which keeps the promise. Devices that it is registered with touch it only when this process tells
// them to, and nothing here does once it is made.
unsafe impl Region for DmaRegion {
    fn base(&self) -> NonNull<u8> {
        self.memory.base()
    }

    fn len(&self) -> usize {
        self.memory.len()
    }

    #[cfg(madsim)]
    fn before_store(&self) {
        self.memory.before_store();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory;

    #[test]
    fn a_region_is_zeroed_and_tells_of_each_rung_what_it_is_worth_here() {
        crate::testing::run(1, || async {
            let region = region(100_000, Height::Top, Some(0)).unwrap();
            assert!(region.len() >= 100_000);
            // SAFETY: the region's own bytes, which nothing else touches.
            let bytes = unsafe { std::slice::from_raw_parts(region.base().as_ptr(), region.len()) };
            assert!(bytes.iter().all(|byte| *byte == 0), "what proved the rungs is wiped");
            let names: Vec<_> = region.rungs().iter().map(|rung| rung.name).collect();
            assert_eq!(names, RUNGS);
            for rung in region.rungs() {
                assert_ne!(rung.state, State::NotAsked, "{}", rung.name);
                assert!(!rung.state.to_string().is_empty());
            }
            assert_eq!(State::Unavailable("x".into()).to_string(), "unavailable: needs x");
        });
    }

    #[test]
    fn whatever_it_climbed_to_others_may_read_it_and_find_it_sealed() {
        crate::testing::run(1, || async {
            for (height, climbed) in [(Height::Plain, 1), (Height::Local, 4), (Height::Device, 6)] {
                let mut region = region(10_000, height, Some(0)).unwrap();
                let asked = region.rungs().iter().filter(|rung| rung.state != State::NotAsked).count();
                assert_eq!(asked, if cfg!(madsim) { RUNGS.len() } else { climbed }, "{height:?}");
                assert!(matches!(region.rungs()[0].state, State::Held(_)));
                let theirs = memory::open(region.handle().unwrap(), region.len()).unwrap();
                region.close();
                // SAFETY: inside both mappings, which nobody else touches.
                unsafe {
                    region.base().as_ptr().write_volatile(7);
                    assert_eq!(theirs.base().as_ptr().read_volatile(), 7);
                }
            }
        });
    }
}
