//! The simulated world: lives and deaths of nodes, and what must hold around them.
#![cfg(madsim)]

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use synod_platform::local::{self, Access, Listener};
use synod_platform::memory;
use synod_platform::simulation::steps::{self, Taken};
use synod_platform::simulation::{self, Exit, Node, NodeId, RunError, Status};
use synod_platform::task;
use synod_platform::time::{Duration, sleep};
use synod_ring::{Cells, Hardware};

const LIMIT: Duration = Duration::from_secs(600);

fn run<F: Future<Output = ()>>(body: impl FnOnce() -> F + Send + 'static) {
    simulation::run(1, LIMIT, body).unwrap();
}

fn node(name: &str, n: u8, counter: &Rc<Cell<u32>>) -> Node {
    let counter = counter.clone();
    Node::create(name, [10, 0, 0, n].into(), move || {
        let counter = counter.clone();
        async move {
            loop {
                counter.set(counter.get() + 1);
                sleep(Duration::from_millis(10)).await;
            }
        }
    })
}

#[test]
fn a_killed_node_stops_and_a_restarted_one_is_a_new_incarnation() {
    run(|| async {
        let beats = Rc::new(Cell::new(0));
        let node = node("a", 1, &beats);
        sleep(Duration::from_millis(101)).await;
        let (first, before) = (node.incarnation(), beats.get());
        assert!(before >= 10 && node.is_up() && simulation::is_alive(first));
        node.kill();
        assert_eq!(node.status(), Status::Down(Exit::Killed));
        assert!(!simulation::is_alive(first));
        sleep(Duration::from_millis(100)).await;
        assert_eq!(beats.get(), before);
        node.restart();
        sleep(Duration::from_millis(100)).await;
        assert!(beats.get() > before);
        assert!(!simulation::is_alive(first) && simulation::is_alive(node.incarnation()));
        assert_eq!((first.number, node.incarnation().number), (1, 2));
        node.restart();
        assert_eq!(node.incarnation().number, 3);
    });
}

#[test]
fn a_crash_bumps_the_incarnation_then_tells_the_hooks_and_only_then_drops_futures() {
    struct Watch(Rc<RefCell<Vec<String>>>);
    impl Drop for Watch {
        fn drop(&mut self) {
            let life = simulation::current();
            let alive = simulation::is_alive(life);
            self.0.borrow_mut().push(format!("drop in {life}, alive {alive}"));
        }
    }
    for paused in [false, true] {
        run(move || async move {
            let seen = Rc::new(RefCell::new(Vec::new()));
            let told = seen.clone();
            simulation::on_crash(move |life| {
                let alive = simulation::is_alive(life);
                told.borrow_mut().push(format!("hook for {life}, alive {alive}"));
            });
            let theirs = seen.clone();
            let node = Node::create("a", [10, 0, 0, 1].into(), move || {
                let watch = Watch(theirs.clone());
                async move {
                    let _watch = watch;
                    loop {
                        sleep(Duration::from_millis(1)).await;
                    }
                }
            });
            sleep(Duration::from_millis(5)).await;
            if paused {
                node.pause();
                sleep(Duration::from_millis(5)).await;
            }
            node.restart();
            sleep(Duration::from_millis(5)).await;
            assert_eq!(*seen.borrow(), ["hook for 1.1, alive false", "drop in 1.1, alive false"]);
        });
    }
}

#[test]
fn a_panic_of_a_node_is_that_nodes_end_and_not_the_runs() {
    run(|| async {
        let beats = Rc::new(Cell::new(0));
        let bystander = node("bystander", 1, &beats);
        let fragile = Node::create("fragile", [10, 0, 0, 2].into(), || async {
            sleep(Duration::from_millis(1)).await;
            panic!("cracked");
        });
        assert_eq!(fragile.exited().await, Exit::Panicked("cracked".into()));
        let before = beats.get();
        sleep(Duration::from_millis(100)).await;
        assert!(beats.get() > before && bystander.is_up() && !fragile.is_up());
        fragile.restart();
        assert_eq!(fragile.exited().await, Exit::Panicked("cracked".into()));
        assert_eq!(fragile.incarnation().number, 2);
    });
}

#[test]
fn a_node_whose_root_is_done_has_finished_and_its_tasks_end_with_it() {
    run(|| async {
        let beats = Rc::new(Cell::new(0));
        let theirs = beats.clone();
        let node = Node::create("brief", [10, 0, 0, 1].into(), move || {
            let beats = theirs.clone();
            async move {
                task::spawn(async move {
                    loop {
                        beats.set(beats.get() + 1);
                        sleep(Duration::from_millis(1)).await;
                    }
                })
                .detach();
                sleep(Duration::from_millis(10)).await;
            }
        });
        assert_eq!(node.exited().await, Exit::Finished);
        let before = beats.get();
        assert!(before > 5);
        sleep(Duration::from_millis(50)).await;
        assert_eq!(beats.get(), before);
    });
}

#[test]
fn a_paused_node_stands_still_and_goes_on_where_it_stood() {
    run(|| async {
        let beats = Rc::new(Cell::new(0));
        let node = node("a", 1, &beats);
        sleep(Duration::from_millis(55)).await;
        node.pause();
        node.pause();
        assert_eq!(node.status(), Status::Paused);
        let before = beats.get();
        sleep(Duration::from_millis(500)).await;
        assert_eq!(beats.get(), before);
        node.resume();
        sleep(Duration::from_millis(55)).await;
        let after = beats.get();
        assert!(after > before && after <= before + 7, "{before} {after}");
        assert_eq!(node.incarnation().number, 1);
    });
}

#[test]
fn code_knows_in_which_node_it_runs() {
    run(|| async {
        assert_eq!(simulation::current_node(), NodeId::OUTSIDE);
        assert_eq!(Node::current(), None);
        let seen = Rc::new(RefCell::new(Vec::new()));
        for n in 1..=2_u8 {
            let seen = seen.clone();
            Node::create(format!("n{n}"), [10, 0, 0, n].into(), move || {
                let seen = seen.clone();
                async move {
                    let context =
                        task::Context::start("side", None, || async { Node::current().unwrap().name() });
                    let name = context.unwrap().join().await.unwrap();
                    seen.borrow_mut().push((simulation::current_node().number(), name));
                }
            });
        }
        sleep(Duration::from_millis(5)).await;
        seen.borrow_mut().sort();
        assert_eq!(*seen.borrow(), [(1, "n1".to_owned()), (2, "n2".to_owned())]);
        assert_eq!(Node::find("n2").map(Node::id), Some(simulation::nodes()[1].id()));
        assert_eq!(Node::find("n3"), None);
    });
}

#[test]
fn a_run_that_cannot_go_on_says_why() {
    let failed = simulation::run(1, LIMIT, || async { panic!("engine {}", 1) as () });
    assert_eq!(failed, Err(RunError::Panicked("engine 1".into())));
    let stuck = simulation::run(1, LIMIT, pending::<()>);
    assert_eq!(stuck, Err(RunError::Stuck));
    let limit = Duration::from_secs(5);
    let long = simulation::run(1, limit, || async {
        loop {
            sleep(Duration::from_secs(1)).await;
        }
    });
    assert_eq!(long, Err::<(), _>(RunError::TimeLimit(limit)));
}

#[test]
fn each_run_has_a_world_of_its_own() {
    #[derive(Default)]
    struct Count(Cell<u32>);
    for _ in 0..2 {
        run(|| async {
            let count = simulation::state::<Count>();
            count.0.set(count.0.get() + 1);
            assert_eq!(simulation::state::<Count>().0.get(), 1);
            assert_eq!(simulation::nodes(), []);
        });
    }
}

#[test]
fn at_the_end_of_a_run_every_node_is_dropped() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    struct Gone(Arc<AtomicBool>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let gone = Arc::new(AtomicBool::new(false));
    let theirs = gone.clone();
    run(|| async move {
        Node::create("a", [10, 0, 0, 1].into(), move || {
            let guard = Gone(theirs.clone());
            async move {
                let _guard = guard;
                pending::<()>().await;
            }
        });
        sleep(Duration::from_millis(5)).await;
    });
    assert!(gone.load(Ordering::SeqCst));
}

#[test]
fn a_node_dies_at_the_step_it_was_told_to_and_what_it_still_does_reaches_nobody() {
    run(|| async {
        let passed = Rc::new(RefCell::new(None));
        let pass = passed.clone();
        let doomed = Node::create("doomed", [10, 0, 0, 1].into(), move || {
            let pass = pass.clone();
            async move {
                let mut region = memory::shared(64).unwrap();
                *pass.borrow_mut() = Some(region.handle().unwrap());
                region.close();
                let cells = Cells::own(Hardware::new(region), 0, 1).unwrap();
                (1..=9).for_each(|number| cells.store(0, number, Relaxed));
                // It does not know yet that it is dead: the name is free for others, and nobody hears it knock.
                assert!(Listener::bind("/run/dead".as_ref(), Access::Owner).await.is_ok());
                pending::<()>().await;
            }
        });
        steps::die_after(doomed.id(), 5);
        assert_eq!(doomed.exited().await, Exit::Killed);
        let region = memory::open(passed.take().unwrap(), 64).unwrap();
        let cells = Cells::peer(Hardware::new(region), 0, 1).unwrap();
        assert_eq!(cells.load(0, Relaxed), 5);
        assert_eq!(steps::taken(doomed.id()), Taken { stores: 5, frames: 0, rings: 0 });
        assert_eq!(memory::control::held(doomed.id()), 0);
        assert!(local::connect("/run/dead".as_ref()).await.is_err(), "nobody listens there");
    });
}
