//! Real chance: the kernel's generator, and a generator for each thread that is seeded from it.

use std::cell::RefCell;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use super::Rng;

pub(super) fn fill(mut bytes: &mut [u8]) {
    while !bytes.is_empty() {
        match getrandom(&mut *bytes, GetRandomFlags::empty()) {
            Ok(filled) => bytes = &mut bytes[filled..],
            Err(Errno::INTR) => {}
            Err(error) => panic!("the kernel gives no random bytes (getrandom: {error})"),
        }
    }
}

thread_local! {
    static RNG: RefCell<Rng> = RefCell::new({
        let mut state = [0; 32];
        fill(&mut state);
        let (words, _) = state.as_chunks::<8>();
        // All zero would be the generator's one fixed point.
        Rng { state: std::array::from_fn(|i| u64::from_le_bytes(words[i]) | u64::from(i == 0)) }
    });
}

pub(super) fn u64() -> u64 {
    RNG.with_borrow_mut(Rng::u64)
}
