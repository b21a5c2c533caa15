//! Runs the same async test body in either build: on a real executor, or in a node of a simulated world.
//!
//! The conformance suites and the crates above use it, so that one test is two.

use std::future::Future;

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
        use std::rc::Rc;

        use crate::simulation::{self, Exit, Node};

        let outcome = simulation::run(seed, crate::time::Duration::from_secs(3600), move || async move {
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
