//! Conformance of `net` with connections by io_uring: production build only, where the kernel has it.

#![cfg(not(madsim))]

mod net_conformance;

use std::future::Future;

use synod_platform::net::{self, Backend, Choice};
use synod_platform::testing;

fn run<F: Future<Output = ()> + 'static>(seed: u64, body: impl FnOnce() -> F + Send + 'static) {
    if let Err(why) = net::choose(Choice::IoUring) {
        eprintln!("nothing to show: {why}");
        return;
    }
    assert!(matches!(net::backend(), Backend::IoUring { .. }));
    testing::run(seed, body);
}
