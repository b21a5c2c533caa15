//! Runs the same async test body in either build: on a real executor, or in a node of a simulated world.
//!
//! The conformance suites and the crates above use it, so that one test is two.

#[cfg(madsim)]
use std::cell::Cell;
use std::future::Future;
#[cfg(madsim)]
use std::rc::Rc;
#[cfg(madsim)]
use std::time::Duration;

#[cfg(madsim)]
use crate::disk::control::{self, DiskFaults};
#[cfg(madsim)]
use crate::simulation::{self, Exit, Node, Status};
#[cfg(madsim)]
use crate::time::sleep;

/// Runs `body` to its end and returns what it returned; a panic inside it (a failed assertion) is the caller's panic.
///
/// Production: on a context of its own on this thread, and the seed is unused. Simulation: as the root of a fresh node
/// called `test`, in a world made from `seed`, on a fresh thread; a body that is not done after an hour of virtual time fails.
pub fn run<F, Fut, T>(seed: u64, body: F) -> T
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = T> + 'static,
    T: Send + 'static,
{
    #[cfg(not(madsim))]
    {
        let _ = seed;
        crate::task::block_on(body())
    }
    #[cfg(madsim)]
    {
        use std::cell::RefCell;

        let outcome = simulation::run(seed, Duration::from_secs(3600), move || async move {
            let output = Rc::new(RefCell::new(None));
            let body = RefCell::new(Some(body));
            let filled = output.clone();
            let node = Node::create("test", [10, 0, 0, 1].into(), move || {
                let body = body.borrow_mut().take().expect("a test's node is started once");
                let filled = filled.clone();
                async move {
                    let output = body().await;
                    *filled.borrow_mut() = Some(output);
                }
            });
            match node.exited().await {
                Exit::Panicked(message) => Err(message),
                Exit::Finished | Exit::Killed => Ok(output.borrow_mut().take()),
            }
        });
        match outcome {
            Ok(Ok(Some(output))) => output,
            Ok(Ok(None)) => panic!("the test's own node was killed before its body was done"),
            Ok(Err(message)) => panic!("{message}"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Runs `life` in a node again and again and cuts the power after each of its disk operations in turn: after the first, after the
/// second, to the last. Each time the node starts anew and `life` runs to its end, uncut; with `lives` above 1 that many lives are cut,
/// each everywhere. What lives tell each other beside the disk is the ledger. Answers how many worlds there were; a panic in any of them is
/// the caller's, with the cuts that lead to it.
#[cfg(madsim)]
pub fn power_loss_everywhere<L, F, Fut>(seed: u64, faults: &DiskFaults, lives: usize, life: F) -> u64
where
    L: Default + 'static,
    F: Fn(Rc<L>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let mut cuts = vec![0; lives];
    let mut worlds = 0;
    loop {
        worlds += 1;
        // The first life that came to its end before its cut has no further one.
        let ended = cut_lives(seed, faults.clone(), cuts.clone(), life.clone());
        let Some(cut) = (0..ended).next_back() else { return worlds };
        cuts[cut] += 1;
        cuts[cut + 1..].fill(0);
    }
}

/// One world; answers which life came to its end although it was to be cut, or how many were cut if none did.
#[cfg(madsim)]
fn cut_lives<L, F, Fut>(seed: u64, faults: DiskFaults, cuts: Vec<u64>, life: F) -> usize
where
    L: Default + 'static,
    F: Fn(Rc<L>) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let told = format!("seed {seed}, power lost after {cuts:?} disk operations");
    let world = simulation::run(seed, Duration::from_secs(3600), move || async move {
        let (ledger, life) = (Rc::new(L::default()), Rc::new(life));
        let ended = Rc::new(Cell::new(0));
        let tell = ended.clone();
        let node = Node::create("test", [10, 0, 0, 1].into(), move || {
            let (ledger, life, tell) = (ledger.clone(), life.clone(), tell.clone());
            async move {
                life(ledger).await;
                tell.set(simulation::current().number);
                std::future::pending::<()>().await;
            }
        });
        control::set_faults(node.id(), faults);
        let mut uncut = None;
        for (at, cut) in cuts.iter().map(|cut| Some(*cut)).chain([None]).enumerate() {
            control::stall_after(node.id(), cut);
            if at > 0 {
                node.restart();
            }
            while !control::is_stalled(node.id()) && (ended.get() as usize) <= at {
                if let Status::Down(Exit::Panicked(message)) = node.status() {
                    return Err(message);
                }
                sleep(Duration::from_millis(1)).await;
            }
            if ended.get() as usize > at {
                uncut.get_or_insert(at);
            }
            control::power_loss(node);
        }
        Ok(uncut.unwrap_or(cuts.len()).min(cuts.len()))
    });
    match world {
        Ok(Ok(uncut)) => uncut,
        Ok(Err(message)) => panic!("{told}: {message}"),
        Err(error) => panic!("{told}: {error}"),
    }
}
