//! What openraft may rely on: its own suite for runtimes, and what the suite does not ask; in production and in the simulator.

use openraft_rt::AsyncRuntime;
use openraft_rt::testing::Suite;
use synod_cluster::SeamRuntime;
use synod_platform::testing::run;

/// Compiles only while the trait that openraft wants is the one that is implemented.
#[test]
fn openraft_takes_the_runtime() {
    fn accepts<R: openraft::AsyncRuntime>() {}
    accepts::<SeamRuntime>();
}

#[test]
fn the_suite_of_openraft_passes() {
    Suite::<SeamRuntime>::test_all();
}

#[test]
fn blocking_work_returns_its_result_and_its_panic_is_an_error() {
    run(1, || async {
        assert_eq!(SeamRuntime::spawn_blocking(|| 6 * 7).await.unwrap(), 42);
        let failed = SeamRuntime::spawn_blocking(|| panic!("no such page")).await;
        assert!(failed.unwrap_err().to_string().contains("no such page"));
    });
}

#[test]
fn a_panic_of_a_task_is_told_apart_from_its_cancellation() {
    run(2, || async {
        let panicked = SeamRuntime::spawn(async { panic!("lost the term") }).await.unwrap_err();
        assert!(SeamRuntime::is_panic(&panicked));
        let pending = SeamRuntime::spawn(std::future::pending::<()>());
        pending.abort();
        assert!(!SeamRuntime::is_panic(&pending.await.unwrap_err()));
    });
}

/// Elections must be replayable: the random part of their timeouts is the seed's.
#[cfg(madsim)]
#[test]
fn one_seed_gives_one_sequence_of_chances_and_wakings() {
    use std::time::Duration;

    use rand::RngExt;

    fn history(seed: u64) -> Vec<(u64, u64)> {
        run(seed, || async {
            let mut tasks = Vec::new();
            for i in 0..20u64 {
                tasks.push(SeamRuntime::spawn(async move {
                    let pause: u64 = SeamRuntime::thread_rng().random_range(1..50);
                    SeamRuntime::sleep(Duration::from_millis(pause)).await;
                    (i, pause)
                }));
            }
            let mut history = Vec::new();
            for task in tasks {
                history.push(task.await.unwrap());
            }
            history
        })
    }
    assert_eq!(history(5), history(5));
    assert_ne!(history(5), history(6));
}
