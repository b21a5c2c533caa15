//! Conformance of `disk`: the simulated disk in the simulated build, and in production what this machine's kernel allows.

mod disk_conformance;

use std::future::Future;
use std::path::PathBuf;

use synod_platform::disk::{self, Backend};
use synod_platform::testing;

#[cfg(not(madsim))]
fn run<Fut: Future<Output = ()> + 'static>(body: impl FnOnce(PathBuf) -> Fut + Send + 'static) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().to_owned();
    testing::run(1, move || body(path));
}

#[cfg(madsim)]
fn run<Fut: Future<Output = ()> + 'static>(body: impl FnOnce(PathBuf) -> Fut + Clone + Send + 'static) {
    for seed in 0..20 {
        let body = body.clone();
        testing::run(seed, move || async move {
            disk::create_directory("/place").await.unwrap();
            body(PathBuf::from("/place")).await;
        });
    }
}

bodies!(run);

#[test]
fn the_backend_says_what_it_is_and_why() {
    let backend = disk::backend();
    println!("{backend}");
    let simulated = backend == Backend::Simulated;
    assert_eq!(simulated, cfg!(madsim));
    if let Backend::ThreadPool { reason } = backend {
        assert!(reason.contains("io_uring"), "{reason}");
    }
}

#[cfg(not(madsim))]
#[test]
fn a_file_whose_opening_nobody_waits_for_any_more_is_closed() {
    run(|place| async move {
        let path = place.join("file");
        disk_conformance::written(path.clone(), b"").await.close().await.unwrap();
        let mut opening = Box::pin(disk::File::open(&path, disk::OpenOptions::READ));
        assert!(disk_conformance::poll_once(&mut opening).await.is_pending());
        drop(opening);
        let open = || {
            let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
            descriptors
                .flatten()
                .filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to == path))
                .count()
        };
        // Operations complete in any order: the pool may come to it late, but come to it and close it.
        let mut seen = false;
        for _ in 0..500 {
            disk::metadata(&path).await.unwrap();
            seen |= open() > 0;
            if seen && open() == 0 {
                return;
            }
        }
        assert_eq!(open(), 0, "the descriptor leaked");
    });
}

#[cfg(not(madsim))]
#[test]
fn the_next_executor_of_a_thread_finds_the_disk_in_order() {
    let place = tempfile::tempdir().unwrap();
    for round in 0..3u8 {
        let path = place.path().join("file");
        testing::run(1, move || async move {
            let file = disk_conformance::written(path, &[round; 64]).await;
            assert_eq!(file.read_all(100).await.unwrap(), [round; 64]);
            // In flight when the executor ends: the next one gets its completion, and nobody waits for it.
            let mut write = Box::pin(file.write_at(0, disk::Buffer::copy_of(&[9; 8])));
            assert!(disk_conformance::poll_once(&mut write).await.is_pending());
        });
    }
}
