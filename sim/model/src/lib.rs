//! Fault models of disk, network, clock and memory: pure, no I/O.
//!
//! Each model is a value that is told what happens (a write, a frame, a crash, with the time where time matters) and answers
//! what the world does with it. All randomness comes in through [`Random`], so one seed gives one history. The platform's
//! simulated arm turns the answers into completions, arrivals and clocks; property tests drive the models alone.
//!
//! Times are nanoseconds of the simulator's own clock ("true" time), lengths are bytes, probabilities are `0.0..=1.0`.

pub mod clock;
pub mod delay;
pub mod disk;
pub mod link;
pub mod memory;
pub mod random;

pub use delay::Delay;
pub use random::{Random, Seeded};
