//! The scenario engine: reads a scenario file, runs the node crates in a simulated world, lets oracles judge, and says what it saw.
//!
//! One process runs one seed. Everything that a run draws comes from its seed, so the same file and seed give the same
//! trace, byte by byte. [`scenario`] is the form of a file, [`history`] what happened, [`oracles`] what must hold, [`trace`] the
//! record that is hashed, [`verdict`] what it came to; `world` (simulated build only) runs it.

pub mod command;
pub mod history;
pub mod oracles;
pub mod scenario;
pub mod trace;
pub mod verdict;
#[cfg(madsim)]
pub mod world;
