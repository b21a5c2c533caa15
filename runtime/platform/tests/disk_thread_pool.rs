//! Conformance of `disk` where io_uring is not used: production build only, the whole process on the thread pool.

#![cfg(not(madsim))]

mod disk_conformance;

use std::future::Future;
use std::path::PathBuf;

use synod_platform::disk::{self, Backend, Choice};
use synod_platform::testing;

fn run<Fut: Future<Output = ()> + 'static>(body: impl FnOnce(PathBuf) -> Fut + Send + 'static) {
    disk::choose(Choice::ThreadPool);
    assert_eq!(disk::backend(), Backend::ThreadPool { reason: "chosen by the configuration".to_owned() });
    let place = tempfile::tempdir().unwrap();
    let path = place.path().to_owned();
    testing::run(1, move || body(path));
}

bodies!(run);
