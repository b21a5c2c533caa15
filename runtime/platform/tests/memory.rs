//! Conformance of `memory`, the same bodies on both arms; then what only the simulated arm can show.

use synod_platform::memory::{self, TaskWaiter};
use synod_platform::task::{self, Context};
use synod_platform::testing;
use synod_platform::time::{Duration, Elapsed, timeout};
use synod_ring::region::{ALIGN, Region, RegionError};

#[test]
fn a_region_is_zeroed_aligned_and_as_long_as_asked() {
    testing::run(1, || async {
        for len in [1, 64, 4096, 100_000] {
            let region = memory::region(len).unwrap();
            assert_eq!(region.len(), len);
            assert_eq!(region.base().as_ptr() as usize % ALIGN, 0);
            // SAFETY: the region's bytes are initialised, and nobody writes them.
            let bytes = unsafe { std::slice::from_raw_parts(region.base().as_ptr(), len) };
            assert!(bytes.iter().all(|&byte| byte == 0));
        }
    });
}

#[test]
fn more_memory_than_there_can_be_is_refused_not_fatal() {
    testing::run(2, || async {
        let refused = memory::region(usize::MAX / 2 - 4096);
        assert!(matches!(refused, Err(RegionError::OutOfMemory { .. })), "{refused:?}");
    });
}

#[test]
fn a_ring_before_the_wait_is_not_lost_and_counts_once() {
    testing::run(3, || async {
        let waiter = TaskWaiter::new();
        waiter.waker().wake();
        waiter.waker().wake();
        waiter.parked().await;
        assert_eq!(timeout(Duration::from_millis(3), waiter.parked()).await, Err(Elapsed));
    });
}

#[test]
fn a_task_that_waits_is_woken_from_another_context() {
    testing::run(4, || async {
        let waiter = TaskWaiter::new();
        for _ in 0..50 {
            let waker = waiter.waker();
            let context = Context::start("rings", None, move || async move {
                task::yield_now().await;
                waker.wake();
            });
            waiter.parked().await;
            context.unwrap().join().await.unwrap();
        }
    });
}

#[cfg(madsim)]
mod simulated {
    use super::*;
    use synod_platform::memory::control::{self, MemoryFaults};
    use synod_platform::simulation::{self, Node};
    use synod_platform::time::sleep;

    #[test]
    fn a_region_is_refused_when_the_fault_plan_says_so_and_what_is_dropped_is_given_back() {
        testing::run(1, || async {
            let node = simulation::current_node();
            control::set_faults(node, MemoryFaults { budget: Some(10_000), ..MemoryFaults::default() });
            let held = memory::region(8_000).unwrap();
            assert_eq!(control::held(node), 8_000);
            assert_eq!(memory::region(4_000).unwrap_err(), RegionError::OutOfMemory { len: 4_000 });
            drop(held);
            assert_eq!(control::held(node), 0);
            let _held = memory::region(4_000).unwrap();
            control::set_faults(node, MemoryFaults { refuse_next: 1, ..MemoryFaults::default() });
            assert!(memory::region(1).is_err());
            assert!(memory::region(1).is_ok());
            assert_eq!(control::refused(node), 2);
        });
    }

    #[test]
    fn a_crash_gives_back_what_the_dead_life_held_once() {
        simulation::run(1, Duration::from_secs(60), || async {
            let node = Node::create("a", [10, 0, 0, 1].into(), || async {
                let _region = memory::region(5_000).unwrap();
                std::future::pending::<()>().await;
            });
            sleep(Duration::from_millis(5)).await;
            assert_eq!(control::held(node.id()), 5_000);
            node.restart();
            sleep(Duration::from_millis(5)).await;
            assert_eq!(
                control::held(node.id()),
                5_000,
                "the new life's, and not less for the old one's destructor"
            );
            node.kill();
            assert_eq!(control::held(node.id()), 0);
        })
        .unwrap();
    }
}
