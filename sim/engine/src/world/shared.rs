//! What all parts of a run share: the history, the trace, and the switches that faults turn and workloads read.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use synod_platform::simulation::{self, clock};
use synod_probe::trace::{Event, Value};

use super::nanoseconds;
use crate::history::{BreakerStep, History, Id, NodeNumber, What};
use crate::scenario::Scenario;
use crate::trace::{Recorder, Summary};
use synod_control::units::DelayRange;

/// Shared by the engine and all nodes of a run. It is outside of the simulated world: no crash reaches it.
pub struct Shared {
    pub scenario: Arc<Scenario>,
    recording: AtomicBool,
    recorder: Mutex<Option<Recorder>>,
    history: Mutex<History>,
    switches: Mutex<Switches>,
    next_id: AtomicU64,
    ended_ns: AtomicU64,
}

/// What faults turn and workloads read.
#[derive(Default)]
pub struct Switches {
    /// Instances that take requests and never answer, by workload and node.
    pub sick: BTreeMap<(usize, NodeNumber), ()>,
    /// Instances that take longer.
    pub slow: BTreeMap<(usize, NodeNumber), DelayRange>,
    /// Agents that panic at their next message.
    pub panic: BTreeMap<(usize, NodeNumber), ()>,
    /// How many times as often clients send, by workload.
    pub overload: BTreeMap<usize, u32>,
    /// Nodes whose end a fault has ordered; the value says whether their disks go with them.
    pub ending: BTreeMap<NodeNumber, bool>,
    /// Messages a node's instances have taken and not yet handled.
    pub busy: BTreeMap<NodeNumber, u64>,
    /// Runs of workflows that have not ended, by workload, node and client.
    pub flows: BTreeMap<(usize, NodeNumber, u32), super::flow::Order>,
    /// How many stores were given up as damaged, by what the oracles call their workload and by node.
    pub stores: BTreeMap<(usize, NodeNumber), u32>,
    /// How many entries of a log of consensus are committed, by the same.
    pub committed: BTreeMap<(usize, NodeNumber), u64>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Shared {
    pub fn new(scenario: Arc<Scenario>, trace: Option<Box<dyn Write + Send>>) -> Arc<Self> {
        Arc::new(Self {
            scenario,
            recording: AtomicBool::new(false),
            recorder: Mutex::new(Some(Recorder::new(trace))),
            history: Mutex::default(),
            switches: Mutex::default(),
            next_id: AtomicU64::new(1),
            ended_ns: AtomicU64::new(0),
        })
    }

    /// From now on events are taken down; called inside the world.
    pub fn start_recording(&self) {
        self.recording.store(true, Ordering::Relaxed);
    }

    /// No event is taken down any more: the world's end must not depend on how it is torn down.
    pub fn stop_recording(&self) {
        self.recording.store(false, Ordering::Relaxed);
    }

    /// Notes the virtual time at which the run ended.
    pub fn note_end(&self) {
        self.ended_ns.store(nanoseconds(clock::elapsed()), Ordering::Relaxed);
    }

    /// The virtual time at which the run ended.
    pub fn ended_at(&self) -> Duration {
        Duration::from_nanos(self.ended_ns.load(Ordering::Relaxed))
    }

    /// A new id for a message, request or record.
    pub fn next_id(&self) -> Id {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds to the history, at this time and on the node in which it is called. What a dead node's destructors say counts for
    /// nothing.
    pub fn note(&self, what: What) {
        if self.recording.load(Ordering::Relaxed) && !simulation::is_alive(simulation::current()) {
            return;
        }
        self.note_for(simulation::current_node().number(), what);
    }

    /// Adds to the history for a node.
    pub fn note_for(&self, node: NodeNumber, what: What) {
        if self.recording.load(Ordering::Relaxed) {
            lock(&self.history).push(nanoseconds(clock::elapsed()), node, what);
        }
    }

    pub fn with_history<T>(&self, read: impl FnOnce(&History) -> T) -> T {
        read(&lock(&self.history))
    }

    pub fn switches(&self) -> MutexGuard<'_, Switches> {
        lock(&self.switches)
    }

    /// Waits for the next event of that name after the first `seen` ones; answers how many there were by then.
    pub async fn event(&self, name: &str, seen: u64) -> u64 {
        poll_fn(|cx| {
            let mut recorder = lock(&self.recorder);
            let Some(recorder) = recorder.as_mut() else { return Poll::Pending };
            let count = recorder.seen(name);
            if count > seen {
                return Poll::Ready(count);
            }
            recorder.watch(name, cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Ends the trace; to be called once.
    pub fn finish_trace(&self) -> io::Result<Summary> {
        match lock(&self.recorder).take() {
            Some(recorder) => recorder.finish(),
            None => Err(io::Error::other("the trace was ended before")),
        }
    }

    fn take_down(&self, event: &Event<'_>) {
        if !self.recording.load(Ordering::Relaxed) {
            return;
        }
        let (at_ns, node) = (nanoseconds(clock::elapsed()), simulation::current_node().number());
        let wakers = match lock(&self.recorder).as_mut() {
            Some(recorder) => recorder.record(at_ns, node, event),
            None => Vec::new(),
        };
        match event.name {
            "fabric.breaker" => self.note(What::Breaker(breaker_step(event))),
            "link.down" => self.note(What::LinkDown { peer: peer(event) }),
            _ => {}
        }
        for waker in wakers {
            waker.wake();
        }
    }
}

/// The fabric's event of a breaker: `context`, `instance`, `step`, `permit`, `state`, `generation`.
fn breaker_step(event: &Event<'_>) -> BreakerStep {
    let field = |key: &str| event.fields.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    let text = |key: &str| match field(key) {
        Some(Value::Str(text)) => text.to_owned(),
        _ => String::new(),
    };
    let number = |key: &str| match field(key) {
        Some(Value::U64(number)) => number,
        _ => 0,
    };
    BreakerStep {
        breaker: format!("{}/{}", text("context"), number("instance")),
        step: text("step"),
        permit: number("permit"),
        state: text("state"),
        generation: number("generation"),
    }
}

/// The number of the node that a link's event names as `peer`; 0 for a stranger.
fn peer(event: &Event<'_>) -> NodeNumber {
    let name = event.fields.iter().find_map(|(name, value)| match value {
        Value::Str(text) if *name == "peer" => Some(*text),
        _ => None,
    });
    name.and_then(|name| name.strip_prefix('n')).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Makes the run's recorder the process's sink. A process makes one run.
pub fn install(shared: &Arc<Shared>) {
    let sink = shared.clone();
    synod_probe::trace::install(Box::new(move |event| sink.take_down(event)));
}
