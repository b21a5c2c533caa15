//! The seam to the world: real and simulated arms side by side.
//!
//! Everything a node wants from outside itself (time, chance, threads of execution, files, tools, memory, signals, disk,
//! network) it gets here. The arm is chosen when the crate is compiled (`--cfg madsim` or not), so production pays
//! nothing for the simulator. Each module is a folder: `mod.rs` holds the promise and what both arms share, `real.rs`
//! and `sim.rs` the arms; one conformance suite under `tests/` runs the same bodies on both.
//!
//! | module | promise |
//! |---|---|
//! | [`time`] | monotonic and wall clock, sleep, timeout, interval |
//! | [`task`] | tasks, contexts (executor threads), blocking work, declared service times |
//! | [`random`] | unpredictable in production, drawn from the seed in simulation |
//!
//! In the simulated build the module `simulation` is what a scenario engine drives: nodes with incarnations, crashes, pauses, clocks.
//! [`testing::run`] runs one async body in either build.

pub mod disk;
pub mod files;
pub mod memory;
pub mod net;
pub mod random;
pub mod signals;
#[cfg(madsim)]
pub mod simulation;
pub mod task;
pub mod testing;
pub mod time;
