//! Conformance of `task`, the same bodies on both arms; then what only the simulated arm can show.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;

use synod_platform::task::{self, Context, JoinError};
use synod_platform::testing;
use synod_platform::time::{Duration, sleep};

struct Tells(Rc<Cell<bool>>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn a_task_gives_what_it_returned_and_may_hold_what_cannot_cross_threads() {
    testing::run(1, || async {
        let shared = Rc::new(Cell::new(1));
        let theirs = shared.clone();
        let task = task::spawn(async move {
            task::yield_now().await;
            theirs.set(2);
            theirs
        });
        assert_eq!(shared.get(), 1, "a task does not run before its spawner waits");
        assert_eq!(task.await.unwrap().get(), 2);
    });
}

#[test]
fn a_panic_ends_its_task_alone_and_its_handle_tells_the_words() {
    testing::run(2, || async {
        let task = task::spawn(async { panic!("out of {}", "cheese") });
        assert_eq!(task.await, Err::<(), _>(JoinError::Panicked("out of cheese".into())));
        let bystander = task::spawn(async { 4 });
        assert_eq!(bystander.await, Ok(4));
    });
}

#[test]
fn a_panic_of_a_detached_task_ends_nothing_else() {
    testing::run(3, || async {
        task::spawn(async { panic!("unwatched") as () }).detach();
        sleep(Duration::from_millis(2)).await;
        assert_eq!(task::spawn(async { 4 }).await, Ok(4));
    });
}

#[test]
fn an_aborted_task_is_dropped_and_its_handle_says_cancelled() {
    testing::run(4, || async {
        let dropped = Rc::new(Cell::new(false));
        let guard = Tells(dropped.clone());
        let task = task::spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        task::yield_now().await;
        assert!(!task.is_finished());
        task.abort();
        assert_eq!(task.await, Err(JoinError::Cancelled));
        assert!(dropped.get());
        let done = task::spawn(async { 1 });
        sleep(Duration::from_millis(2)).await;
        assert!(done.is_finished());
        done.abort();
        assert_eq!(done.await, Ok(1), "what is done stays done");
    });
}

#[test]
fn a_dropped_handle_lets_its_task_run_on() {
    testing::run(5, || async {
        let done = Rc::new(Cell::new(false));
        let theirs = done.clone();
        drop(task::spawn(async move {
            sleep(Duration::from_millis(1)).await;
            theirs.set(true);
        }));
        sleep(Duration::from_millis(30)).await;
        assert!(done.get());
    });
}

#[test]
fn a_context_gives_what_its_root_returned_and_drops_the_tasks_left_on_it() {
    testing::run(6, || async {
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let context = Context::start("side", None, || async move {
            let task = task::spawn(async move {
                let _tell = tell;
                pending::<()>().await;
            });
            drop(task);
            task::yield_now().await;
            task::spawn(async { 40 }).await.unwrap() + 2
        });
        assert_eq!(context.unwrap().join().await, Ok(42));
        assert!(told.await.is_err(), "the task left behind was dropped with its context");
    });
}

#[test]
fn a_panic_of_a_contexts_root_is_told_to_who_joins_it() {
    testing::run(7, || async {
        let context = Context::start("side", Some(0), || async { panic!("the root broke") as () }).unwrap();
        assert_eq!(context.join().await, Err(JoinError::Panicked("the root broke".into())));
        let context =
            Context::start("side", None, || -> std::future::Ready<()> { panic!("before its first step") });
        assert_eq!(context.unwrap().join().await, Err(JoinError::Panicked("before its first step".into())));
    });
}

#[test]
fn messages_cross_between_contexts() {
    testing::run(8, || async {
        let (to, mut from) = tokio::sync::mpsc::unbounded_channel();
        let (back, mut answers) = tokio::sync::mpsc::unbounded_channel();
        let context = Context::start("echo", None, || async move {
            while let Some(n) = from.recv().await {
                back.send(n * 2).unwrap();
            }
        });
        for n in 0..100_u64 {
            to.send(n).unwrap();
            assert_eq!(answers.recv().await, Some(n * 2));
        }
        drop(to);
        context.unwrap().join().await.unwrap();
    });
}

#[test]
fn blocking_work_gives_its_result_and_its_panic() {
    testing::run(9, || async {
        assert_eq!(task::blocking(|| 6 * 7).await, Ok(42));
        assert_eq!(
            task::blocking(|| panic!("blocked")).await,
            Err::<(), _>(JoinError::Panicked("blocked".into()))
        );
    });
}

#[test]
fn yielding_lets_the_others_run() {
    testing::run(10, || async {
        let turns = Rc::new(RefCell::new(Vec::new()));
        let tasks: Vec<_> = (0..2)
            .map(|who| {
                let turns = turns.clone();
                task::spawn(async move {
                    for _ in 0..50 {
                        turns.borrow_mut().push(who);
                        task::yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let turns = turns.borrow();
        assert!(turns.windows(2).filter(|pair| pair[0] != pair[1]).count() > 10, "{turns:?}");
    });
}

#[cfg(madsim)]
mod simulated {
    use super::*;
    use synod_platform::simulation::Node;
    use synod_platform::time::now;

    #[test]
    fn service_times_of_one_context_queue_up_and_those_of_two_overlap() {
        testing::run(1, || async {
            let cost = Duration::from_millis(10);
            let start = now();
            let tasks: Vec<_> = (0..4).map(|_| task::spawn(task::service(cost))).collect();
            let side = Context::start("side", None, move || async move {
                task::service(cost).await;
                now().since(start)
            });
            let beside = side.unwrap().join().await.unwrap();
            assert!(beside >= cost && beside < cost * 2, "{beside:?}");
            for task in tasks {
                task.await.unwrap();
            }
            let took = now().since(start);
            assert!(took >= cost * 4 && took < cost * 5, "{took:?}");
        });
    }

    #[test]
    fn a_slow_core_multiplies_service_times() {
        testing::run(2, || async {
            Node::current().unwrap().set_slowness(8.0);
            let start = now();
            task::service(Duration::from_millis(1)).await;
            let took = now().since(start);
            assert!(took >= Duration::from_millis(8) && took < Duration::from_millis(9), "{took:?}");
        });
    }

    #[test]
    fn the_order_of_tasks_is_drawn_from_the_seed_alone() {
        fn order(seed: u64) -> Vec<u32> {
            testing::run(seed, || async {
                let turns = Rc::new(RefCell::new(Vec::new()));
                let tasks: Vec<_> = (0..20)
                    .map(|who| {
                        let turns = turns.clone();
                        task::spawn(async move {
                            for _ in 0..5 {
                                turns.borrow_mut().push(who);
                                task::yield_now().await;
                            }
                        })
                    })
                    .collect();
                for task in tasks {
                    task.await.unwrap();
                }
                turns.take()
            })
        }
        assert_eq!(order(11), order(11));
        assert_ne!(order(11), order(12));
    }

    #[test]
    fn a_panic_in_a_destructor_of_an_aborted_task_does_not_end_the_run() {
        struct Bad;
        impl Drop for Bad {
            fn drop(&mut self) {
                panic!("in drop");
            }
        }
        testing::run(3, || async {
            let task = task::spawn(async {
                let _bad = Bad;
                pending::<()>().await;
            });
            task::yield_now().await;
            sleep(Duration::from_millis(1)).await;
            task.abort();
            assert_eq!(task.await, Err(JoinError::Panicked("in drop".into())));
        });
    }
}
