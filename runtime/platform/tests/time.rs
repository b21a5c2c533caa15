//! Conformance of `time`, the same bodies on both arms; then what only the simulated arm can show.

use std::future::pending;

use synod_platform::testing;
use synod_platform::time::{Duration, Elapsed, Mono, interval, now, sleep, sleep_until, timeout, wall};

const SHORT: Duration = Duration::from_millis(3);

#[test]
fn a_sleep_is_never_shorter_than_asked() {
    testing::run(1, || async {
        let before = now();
        sleep(SHORT).await;
        assert!(now().since(before) >= SHORT);
        sleep_until(before + SHORT * 2).await;
        assert!(now().since(before) >= SHORT * 2);
        sleep_until(before).await;
    });
}

#[test]
fn the_monotonic_clock_never_runs_backwards_and_the_wall_clock_is_of_this_century() {
    testing::run(2, || async {
        let mut last = now();
        for _ in 0..1_000 {
            let next = now();
            assert!(next >= last);
            last = next;
        }
        assert!(wall().to_string().starts_with("20"), "{}", wall());
    });
}

#[test]
fn a_timeout_drops_what_is_late_and_returns_what_is_in_time() {
    struct Dropped<'a>(&'a std::cell::Cell<bool>);
    impl Drop for Dropped<'_> {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    testing::run(3, || async {
        assert_eq!(timeout(Duration::from_secs(60), async { 5 }).await, Ok(5));
        assert_eq!(
            timeout(Duration::ZERO, async { 6 }).await,
            Ok(6),
            "ready at once wins over a deadline that has passed"
        );
        let dropped = std::cell::Cell::new(false);
        let late = timeout(SHORT, async {
            let _guard = Dropped(&dropped);
            pending::<()>().await;
        });
        assert_eq!(late.await, Err(Elapsed));
        assert!(dropped.get());
    });
}

#[test]
fn a_deadline_that_never_comes_never_comes() {
    testing::run(4, || async {
        assert_eq!(timeout(SHORT, sleep_until(Mono::MAX)).await, Err(Elapsed));
        assert_eq!(timeout(SHORT, sleep(Duration::MAX)).await, Err(Elapsed));
    });
}

#[test]
fn an_interval_keeps_its_beat_and_skips_what_it_missed() {
    testing::run(5, || async {
        let start = now();
        let mut beat = interval(SHORT);
        let first = beat.tick().await;
        assert!(first >= start + SHORT && now() >= first);
        let second = beat.tick().await;
        // On a loaded machine a beat can be missed; it is then skipped whole.
        assert_eq!(second.since(first).as_nanos() % SHORT.as_nanos(), 0);
        sleep(SHORT * 3 + SHORT / 2).await;
        let caught_up = beat.tick().await;
        assert!(now().since(caught_up) >= Duration::ZERO && caught_up > second);
        let next = beat.tick().await;
        assert!(next.since(caught_up) >= SHORT * 3, "missed beats were made up for");
    });
}

#[cfg(madsim)]
mod simulated {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use synod_platform::simulation::{self, Node, clock};

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn microseconds_are_slept_as_microseconds() {
        testing::run(1, || async {
            let before = now();
            sleep(Duration::from_micros(20)).await;
            let slept = now().since(before);
            assert!(slept >= Duration::from_micros(20) && slept < Duration::from_micros(21), "{slept:?}");
        });
    }

    #[test]
    fn a_loop_over_sleeps_of_no_time_does_not_stop_time() {
        testing::run(1, || async {
            let ended = timeout(Duration::from_millis(1), async {
                loop {
                    sleep(Duration::ZERO).await;
                }
            });
            assert_eq!(ended.await, Err::<(), _>(Elapsed));
        });
    }

    #[test]
    fn a_wait_that_is_polled_often_wakes_once() {
        testing::run(1, || async {
            let mut wakes = 0;
            let mut wait = std::pin::pin!(sleep(Duration::from_secs(1)));
            std::future::poll_fn(|cx| {
                wakes += 1;
                for _ in 0..100 {
                    if std::future::Future::poll(wait.as_mut(), cx).is_ready() {
                        return std::task::Poll::Ready(());
                    }
                }
                std::task::Poll::Pending
            })
            .await;
            assert_eq!(wakes, 2);
        });
    }

    #[test]
    fn a_stepped_wall_clock_moves_on_one_node_alone_and_its_monotonic_clock_stays() {
        simulation::run(1, HOUR, || async {
            let seen = Rc::new(RefCell::new(Vec::new()));
            let mut nodes = Vec::new();
            for n in 1..=2_u8 {
                let seen = seen.clone();
                nodes.push(Node::create(format!("n{n}"), [10, 0, 0, n].into(), move || {
                    let seen = seen.clone();
                    async move {
                        let (mono, before) = (now(), wall());
                        sleep(Duration::from_secs(10)).await;
                        let moved = wall().as_nanos() as i128 - before.as_nanos() as i128;
                        seen.borrow_mut().push((
                            n,
                            now().since(mono).as_secs(),
                            moved.div_euclid(1_000_000_000),
                        ));
                    }
                }));
            }
            sleep(Duration::from_secs(1)).await;
            nodes[1].step_clock(-30_000_000_000);
            for node in nodes {
                node.exited().await;
            }
            seen.borrow_mut().sort();
            assert_eq!(*seen.borrow(), [(1, 10, 10), (2, 10, -20)]);
        })
        .unwrap();
    }

    #[test]
    fn a_fast_clock_wakes_its_node_early_by_the_worlds_clock_and_on_time_by_its_own() {
        simulation::run(1, HOUR, || async {
            let node = Node::create("fast", [10, 0, 0, 1].into(), || async {
                // The drift is set while this sleep is under way.
                let before = now();
                sleep(Duration::from_secs(10)).await;
                let slept = now().since(before);
                assert!(
                    slept >= Duration::from_secs(10) && slept < Duration::from_millis(10_001),
                    "{slept:?}"
                );
                let before = now();
                sleep(Duration::from_secs(10)).await;
                let slept = now().since(before);
                assert!(
                    slept >= Duration::from_secs(10) && slept < Duration::from_millis(10_001),
                    "{slept:?}"
                );
            });
            sleep(Duration::from_millis(1)).await;
            // Slower by a fifth: the timer that was set is too early now, and must not end the sleep.
            node.set_drift(-200_000_000);
            assert_eq!(node.exited().await, simulation::Exit::Finished);
            let elapsed = clock::elapsed().as_millis();
            assert!((24_990..25_010).contains(&elapsed), "{elapsed}");
        })
        .unwrap();
    }
}
