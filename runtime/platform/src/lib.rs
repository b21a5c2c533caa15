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
//! | [`net`] | framed connections and datagrams, with the peer's identity |
//! | [`local`] | frames and handles between processes of one machine |
//! | [`disk`] | operations and completions: what logs and stores are built on |
//! | [`files`] | trees to read within bounds, results written whole or not at all |
//! | [`process`] | tools run within limits and killed as a group; environment |
//! | [`memory`] | regions for rings, on the heap and shared with other processes, for devices, on a NUMA node; wakers and bells for sleepers |
//! | [`queue`] | records in a mapped file, from one process to another, that outlive both |
//! | [`topology`], [`machine`] | cores, NUMA nodes, caches, and who belongs where; kernel, limits, processor features |
//! | [`signals`] | SIGINT and SIGTERM, each of them |
//! | [`watch`] | a watched value whose receivers wake in order (tokio's wake by a chance that no seed reaches) |
//!
//! What the two arms have and what they do not: both run futures that need not be `Send`, contain panics in the handle of the task that
//! panicked, and drop what is left on a context when its root is done. The simulated arm has no threads, no host entropy and no host
//! files; it takes no time for work unless the work declares it ([`task::service`]), so nothing above may spin.
//!
//! In the simulated build the module `simulation` is what a scenario engine drives: nodes with incarnations, crashes, pauses, clocks.
//! [`testing::run`] runs one async body in either build.

pub mod disk;
pub mod files;
pub mod local;
pub mod machine;
pub mod memory;
pub mod net;
pub mod process;
pub mod queue;
pub mod random;
pub mod signals;
#[cfg(madsim)]
pub mod simulation;
pub mod task;
pub mod testing;
pub mod time;
pub mod topology;
#[cfg(not(madsim))]
mod uring;
pub mod watch;
