//! Simulated chance: every draw comes from the run's one generator, in the order in which the run makes them.

use madsim::rand::RngCore;

pub(super) fn fill(bytes: &mut [u8]) {
    madsim::rand::thread_rng().fill_bytes(bytes);
}

pub(super) fn u64() -> u64 {
    madsim::rand::thread_rng().next_u64()
}
