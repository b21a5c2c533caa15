//! What openraft may rely on: its own suite for runtimes, and what the suite does not ask; in production and in the simulator.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openraft_rt::testing::Suite;
use openraft_rt::{AsyncRuntime, Watch, WatchReceiver, WatchSender};
use synod_cluster::{OrderedWatch, SeamRuntime};
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

#[test]
fn watchers_are_woken_in_the_order_in_which_they_were_made_whenever_they_began_to_wait() {
    run(3, || async {
        let (sender, first) = OrderedWatch::channel(0);
        let watchers: Vec<_> = (0..20).map(|_| first.clone()).collect();
        let woken = Arc::new(Mutex::new(Vec::new()));
        struct Note(usize, Arc<Mutex<Vec<usize>>>);
        impl std::task::Wake for Note {
            fn wake(self: Arc<Self>) {
                self.1.lock().unwrap().push(self.0);
            }
        }
        let mut waits: Vec<_> = watchers
            .into_iter()
            .enumerate()
            .map(|(i, mut watcher)| (i, Box::pin(async move { watcher.changed().await })))
            .collect();
        for (i, wait) in waits.iter_mut().rev() {
            let waker = Arc::new(Note(*i, woken.clone())).into();
            assert!(wait.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        }
        sender.send(1).unwrap();
        assert_eq!(*woken.lock().unwrap(), (0..20).collect::<Vec<_>>());
    });
}

#[test]
fn a_watcher_that_gave_up_waiting_still_sees_the_change_and_then_the_end() {
    run(4, || async {
        let (sender, mut watcher) = OrderedWatch::channel("old");
        let waited = SeamRuntime::timeout(Duration::from_millis(1), watcher.changed()).await;
        assert!(waited.is_err());
        sender.send("new").unwrap();
        drop(sender);
        assert_eq!(watcher.changed().await, Ok(()));
        assert_eq!(*watcher.borrow_watched(), "new");
        assert!(watcher.changed().await.is_err());
    });
}

#[test]
fn a_value_that_nobody_watches_comes_back_to_its_sender() {
    let (sender, watcher) = OrderedWatch::channel(1);
    drop(watcher);
    assert_eq!(sender.send(2).unwrap_err().0, 2);
    assert_eq!(*sender.borrow_watched(), 1);
    let mut late = sender.subscribe();
    sender.send(3).unwrap();
    assert_eq!(*late.borrow_and_update(), 3);
}

/// Elections must be replayable: the random part of their timeouts is the seed's.
#[cfg(madsim)]
#[test]
fn one_seed_gives_one_sequence_of_chances_and_wakings() {
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
