//! Conformance of `memory`, the same bodies on both arms; then what only the simulated arm can show.

use synod_platform::memory::{self, Bell, MemoryError, SHARED_MAX, TaskWaiter};
use synod_platform::task::{self, Context};
use synod_platform::testing;
use synod_platform::time::{Duration, Elapsed, timeout};
use synod_ring::Waiter;
use synod_ring::region::{ALIGN, Region, RegionError};

/// Reads a byte of a region as memory that others may change.
fn byte(region: &impl Region, at: usize) -> u8 {
    assert!(at < region.len());
    // SAFETY: inside the region.
    unsafe { region.base().as_ptr().add(at).read_volatile() }
}

/// Writes a byte of an own region.
fn set(region: &memory::SharedRegion, at: usize, value: u8) {
    assert!(at < region.len());
    // SAFETY: inside the region, which is writable and which nobody else writes.
    unsafe { region.base().as_ptr().add(at).write_volatile(value) }
}

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

#[test]
fn what_an_owner_writes_others_read_also_after_it_gave_the_memory_back() {
    testing::run(5, || async {
        for len in [1, 64, 4096, 5000, 1 << 20] {
            let mut own = memory::shared(len).unwrap();
            assert_eq!((own.len(), own.base().as_ptr() as usize % ALIGN), (len, 0));
            assert!((0..len).all(|at| byte(&own, at) == 0));
            let handle = own.handle().unwrap();
            memory::check(&handle, len).unwrap();
            let again = handle.try_clone().unwrap();
            let (one, two) = (memory::open(handle, len).unwrap(), memory::open(again, len).unwrap());
            own.close();
            set(&own, len - 1, 7);
            assert_eq!((one.len(), byte(&one, len - 1), byte(&two, len - 1)), (len, 7, 7));
            drop((own, two));
            assert_eq!(byte(&one, len - 1), 7);
        }
    });
}

#[test]
fn what_is_closed_goes_on_and_gives_no_more_handles() {
    testing::run(6, || async {
        let mut bell = Bell::new().unwrap();
        let ringer = memory::ringer(bell.handle().unwrap()).unwrap();
        bell.close();
        assert_eq!(bell.handle().unwrap_err(), MemoryError::Closed);
        ringer.wake();
        bell.rung().await;
        drop(ringer);
        assert_eq!(
            timeout(Duration::from_millis(3), bell.rung()).await,
            Err(Elapsed),
            "nobody is left to ring"
        );
        let mut own = memory::shared(100).unwrap();
        own.close();
        assert_eq!(own.handle().unwrap_err(), MemoryError::Closed);
    });
}

#[test]
fn a_bell_knows_when_nobody_is_left_to_ring_it_and_not_before_the_last_ring_is_heard() {
    testing::run(6, || async {
        let mut bell = Bell::new().unwrap();
        let (first, second) = (bell.handle().unwrap(), memory::ringer(bell.handle().unwrap()).unwrap());
        bell.close();
        drop(first);
        assert_eq!(timeout(Duration::from_millis(3), bell.deserted()).await, Err(Elapsed));
        second.wake();
        drop(second);
        bell.rung().await;
        bell.deserted().await;
    });
}

#[test]
fn memory_of_another_length_or_kind_than_announced_is_refused_by_name() {
    testing::run(7, || async {
        let own = memory::shared(5000).unwrap();
        let open = |len| memory::open(own.handle().unwrap(), len).err();
        assert_eq!(open(5000), None);
        assert_eq!(open(8192), None, "its pages");
        for expected in [0, 1, 4096, 8193, 100_000] {
            let expected = expected as u64;
            assert_eq!(open(expected as usize), Some(MemoryError::WrongSize { found: 8192, expected }));
        }
        let (len, limit) = (SHARED_MAX + 1, SHARED_MAX);
        assert_eq!(open(len), Some(MemoryError::TooLarge { len, limit }));
        assert_eq!(memory::shared(len).unwrap_err(), RegionError::OutOfMemory { len });
        let bell = Bell::new().unwrap().handle().unwrap();
        assert_eq!(memory::check(&bell, 1), Err(MemoryError::NotMemory { found: "a socket".into() }));
        let refused = memory::ringer(own.handle().unwrap()).unwrap_err();
        assert_eq!(refused, MemoryError::NotABell { found: "memory".into() });
    });
}

#[test]
fn rings_before_a_wait_count_once_and_a_bell_can_be_rung_again() {
    testing::run(8, || async {
        let bell = Bell::new().unwrap();
        let ringer = memory::ringer(bell.handle().unwrap()).unwrap();
        assert_eq!(timeout(Duration::from_millis(3), bell.rung()).await, Err(Elapsed));
        for _ in 0..10 {
            ringer.wake();
            ringer.wake();
            bell.rung().await;
            assert_eq!(timeout(Duration::from_millis(3), bell.rung()).await, Err(Elapsed));
        }
    });
}

#[test]
fn a_task_that_waits_hears_its_bell_from_another_context() {
    testing::run(9, || async {
        let bell = Bell::new().unwrap();
        for _ in 0..50 {
            let ringer = memory::ringer(bell.handle().unwrap()).unwrap();
            let context = Context::start("rings", None, move || async move {
                task::yield_now().await;
                ringer.wake();
            });
            bell.rung().await;
            context.unwrap().join().await.unwrap();
        }
    });
}

#[test]
fn ringing_for_who_is_gone_or_never_listens_neither_fails_nor_blocks() {
    testing::run(10, || async {
        let bell = Bell::new().unwrap();
        let ringer = memory::ringer(bell.handle().unwrap()).unwrap();
        for _ in 0..10_000 {
            ringer.wake();
        }
        drop(bell);
        ringer.wake();
    });
}

#[cfg(madsim)]
mod simulated {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;
    use synod_platform::memory::control::{self, MemoryFaults};
    use synod_platform::simulation::{self, Node};
    use synod_platform::time::sleep;

    #[test]
    fn shared_memory_is_counted_and_refused_as_any_other() {
        testing::run(1, || async {
            let node = simulation::current_node();
            let held = memory::shared(8_000).unwrap();
            assert_eq!(control::held(node), 8_000);
            control::set_faults(node, MemoryFaults { refuse_next: 1, ..MemoryFaults::default() });
            assert_eq!(memory::shared(10).unwrap_err(), RegionError::OutOfMemory { len: 10 });
            drop(held);
            assert_eq!(control::held(node), 0);
        });
    }

    /// Writes when it is dropped, and rings: what a process killed by SIGKILL never does.
    struct LastWords(memory::SharedRegion, memory::Ringer);

    impl Drop for LastWords {
        fn drop(&mut self) {
            assert_eq!(byte(&self.0, 0), 1, "what it wrote alive is still there for its destructors");
            set(&self.0, 0, 2);
            self.1.wake();
        }
    }

    #[test]
    fn what_a_dead_life_still_does_reaches_nobody_and_what_it_wrote_alive_stays() {
        simulation::run(1, Duration::from_secs(60), || async {
            let bell = Bell::new().unwrap();
            let passed = Rc::new(RefCell::new(None));
            let (given, ringing) = (passed.clone(), bell.handle().unwrap());
            let node = Node::create("a", [10, 0, 0, 1].into(), move || {
                let (given, ringing) = (given.clone(), ringing.try_clone().unwrap());
                async move {
                    let own = memory::shared(100).unwrap();
                    set(&own, 0, 1);
                    *given.borrow_mut() = Some(own.handle().unwrap());
                    let _words = LastWords(own, memory::ringer(ringing).unwrap());
                    std::future::pending::<()>().await;
                }
            });
            sleep(Duration::from_millis(5)).await;
            let region = memory::open(passed.borrow_mut().take().unwrap(), 100).unwrap();
            assert_eq!(byte(&region, 0), 1);
            node.kill();
            assert_eq!(timeout(Duration::from_millis(5), bell.rung()).await, Err(Elapsed));
            assert_eq!(byte(&region, 0), 1);
        })
        .unwrap();
    }

    #[test]
    fn a_bell_of_another_node_rings_without_taking_time() {
        simulation::run(2, Duration::from_secs(60), || async {
            let bell = Bell::new().unwrap();
            let ringing = bell.handle().unwrap();
            Node::create("a", [10, 0, 0, 1].into(), move || {
                let ringer = memory::ringer(ringing.try_clone().unwrap()).unwrap();
                async move {
                    sleep(Duration::from_millis(5)).await;
                    ringer.wake();
                    std::future::pending::<()>().await;
                }
            });
            bell.rung().await;
            // A step of the simulator takes up to 100 ns.
            assert!(simulation::clock::elapsed() < Duration::from_micros(5_010));
        })
        .unwrap();
    }

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
