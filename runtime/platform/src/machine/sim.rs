//! The simulated machine: always the same, so that no run depends on the host it ran on.

use super::{CpuFeature, Limit, Machine};

pub(super) fn io_uring() -> Result<Vec<(&'static str, bool)>, String> {
    Err("the simulated machine has no io_uring".to_owned())
}

pub(super) fn futex() -> Result<(), String> {
    Err("the simulated machine wakes tasks by itself".to_owned())
}

pub(super) fn look() -> Machine {
    const LIMIT: Limit = Limit { soft: Some(65_536), hard: Some(65_536) };
    Machine {
        kernel: "Simulated 1.0".to_owned(),
        architecture: "simulated",
        processor: Some("simulated processor".to_owned()),
        processors: 4,
        features: vec![CpuFeature { name: "none", present: false }],
        memory_kib: Some(8 << 20),
        locked_memory: LIMIT,
        open_files: LIMIT,
        transparent_huge_pages: None,
        huge_pages: Vec::new(),
    }
}
