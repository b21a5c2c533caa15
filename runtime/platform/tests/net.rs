//! Conformance of `net` in both builds; in production with connections by the executor's epoll.

mod net_conformance;

use std::future::Future;

use synod_platform::net::{self, Choice};
use synod_platform::testing;

fn run<F: Future<Output = ()> + 'static>(seed: u64, body: impl FnOnce() -> F + Send + 'static) {
    net::choose(Choice::Epoll).unwrap();
    testing::run(seed, body);
}
