//! Memory that devices can reach, as well prepared as this machine allows.
//!
//! The ladder: a sealed memfd; huge pages, if some are reserved; populated and locked, so that nothing is paged out; bound to a NUMA node;
//! registered with io_uring; exported as a DMA buffer; registered with CUDA by the driver, which is loaded when asked for. Each rung is
//! tried, and proved by bytes that went through it; what is missing is left out and told. Simulated: plain memory, and no rung.

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

/// The rungs, in their order.
pub const RUNGS: [&str; 7] = [
    "sealed memory",
    "huge pages",
    "populated and locked",
    "bound to a NUMA node",
    "registered with io_uring",
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
        }
    }
}

/// Zeroed memory and the rungs that it stands on; all is given back when it is dropped. Made by [`region`].
#[derive(Debug)]
pub struct DmaRegion {
    memory: arm::Memory,
    rungs: Vec<Rung>,
}

/// Asks for `len` zeroed bytes, on `numa_node` (the operating system's number) if one is named.
/// Takes milliseconds, and where there is a GPU the time that its driver needs to start.
pub fn region(len: usize, numa_node: Option<usize>) -> Result<DmaRegion, RegionError> {
    let (memory, states) = arm::climb(len.max(1), numa_node)?;
    let rungs = RUNGS.into_iter().zip(states).map(|(name, state)| Rung { name, state }).collect();
    Ok(DmaRegion { memory, rungs })
}

impl DmaRegion {
    /// What became of each rung, in their order.
    pub fn rungs(&self) -> &[Rung] {
        &self.rungs
    }
}

// SAFETY: the memory is zeroed, page-aligned (the simulated: aligned for rings) and stands until this value is dropped. Devices that it is
// registered with touch it only when this process tells them to, and nothing here does once it is made.
unsafe impl Region for DmaRegion {
    fn base(&self) -> NonNull<u8> {
        self.memory.base()
    }

    fn len(&self) -> usize {
        self.memory.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_zeroed_and_tells_of_each_rung_what_it_is_worth_here() {
        crate::testing::run(1, || async {
            let region = region(100_000, Some(0)).unwrap();
            assert!(region.len() >= 100_000);
            // SAFETY: the region's own bytes, which nothing else touches.
            let bytes = unsafe { std::slice::from_raw_parts(region.base().as_ptr(), region.len()) };
            assert!(bytes.iter().all(|byte| *byte == 0), "what proved the rungs is wiped");
            let names: Vec<_> = region.rungs().iter().map(|rung| rung.name).collect();
            assert_eq!(names, RUNGS);
            for rung in region.rungs() {
                match &rung.state {
                    State::Held(how) => assert!(!how.is_empty()),
                    State::Unavailable(needs) => assert!(!needs.is_empty(), "{}", rung.name),
                }
            }
            assert_eq!(State::Unavailable("x".into()).to_string(), "unavailable: needs x");
        });
    }
}
