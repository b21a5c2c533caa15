//! The simulated world: what a scenario engine drives, and what the simulated arms ask.
//!
//! A run is one seed, one thread, one virtual clock. It holds nodes; a node is started, killed, restarted, paused and
//! resumed from outside, and each start is a new [`Incarnation`]. A crash first bumps the incarnation, then tells the simulated
//! disk, network and memory ([`on_crash`]), and only then are the node's futures dropped: their destructors run, and change nothing.
//! A panic of a node's root future is that node's end, not the run's.
//!
//! One process can make several runs, each on a thread of its own; for traces that must be equal byte by byte use one
//! process for each run, because third-party crates may keep state between runs.

pub mod clock;
mod node;
pub mod steps;
mod world;

use std::future::Future;
use std::time::Duration;

pub(crate) use node::slowed;
pub use node::{Exit, Incarnation, Node, NodeId, Status, current, current_node, is_alive, nodes, on_crash};
pub use world::{in_run, state};

use crate::task::panic_message;

/// Why a run has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The run's own future (the engine, not a node) panicked.
    #[error("the run panicked: {0}")]
    Panicked(String),
    /// The virtual time given was over before the run was.
    #[error("the run was not over after {0:?} of virtual time")]
    TimeLimit(Duration),
    /// Every task waits and no timer is set: nothing can ever happen again.
    #[error("the run is stuck: every task waits for another and no timer is set")]
    Stuck,
}

/// Runs `body` as the world's own future (outside of any node) on a fresh thread, with every choice drawn from `seed`, for at
/// most `limit` of virtual time. When it is done all nodes are killed.
pub fn run<F, Fut>(seed: u64, limit: Duration, body: F) -> Result<Fut::Output, RunError>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future,
    Fut::Output: Send + 'static,
{
    let thread = std::thread::Builder::new()
        .name(format!("seed {seed}"))
        .stack_size(16 << 20)
        .spawn(move || here(seed, Some(limit), async { body().await }))
        .unwrap_or_else(|error| panic!("cannot start a thread for the run: {error}"));
    thread.join().map_err(|payload| {
        let message = panic_message(&*payload);
        // The two ways in which the simulator itself gives up are panics of its own, known by their text.
        if message.starts_with("time limit exceeded") {
            RunError::TimeLimit(limit)
        } else if message.starts_with("no events, all tasks will block forever") {
            RunError::Stuck
        } else {
            RunError::Panicked(message)
        }
    })
}

/// Runs `future` as a world on this thread.
pub(crate) fn here<F: Future>(seed: u64, limit: Option<Duration>, future: F) -> F::Output {
    // Outlives the runtime: destructors of what is left may still ask it.
    let _world = world::enter();
    let mut runtime = madsim::runtime::Runtime::with_seed_and_config(seed, madsim::Config::default());
    if let Some(limit) = limit {
        runtime.set_time_limit(limit);
    }
    runtime.block_on(async {
        let output = future.await;
        for node in nodes() {
            node.kill();
        }
        // The killed nodes' futures are dropped when they are next scheduled.
        madsim::time::sleep(Duration::from_millis(5)).await;
        output
    })
}
