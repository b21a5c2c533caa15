//! What happened in a run, as the oracles see it: who sent, received, asked, answered, appended, ended, and when.
//!
//! Workloads write it as they go; it is outside the simulated world, so a crash loses none of it. Times are the
//! engine's (virtual nanoseconds, the same for all nodes).

use synod_agents::workflow::Plan;
use synod_agents::workflow::journal::{Happened, Line};
pub use synod_cluster::Held;

use crate::scenario::form::Priority;

/// A node by its number, from 1.
pub type NodeNumber = u32;
/// A message, request or record of the run, unique over all workloads.
pub type Id = u64;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, virtual nanoseconds.
    pub at_ns: u64,
    /// Where; 0 is the engine.
    pub node: NodeNumber,
    /// What.
    pub what: What,
}

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered, with the id that the reply names and the instance that gave it.
    Answered {
        /// The request that the reply says it answers.
        names: Id,
        /// The node of the instance that answered.
        by: NodeNumber,
    },
    /// Nobody serves the subject.
    NobodyListens,
    /// No answer before the deadline.
    DeadlinePassed,
    /// Every instance rests behind an open breaker.
    Resting,
    /// Another error, by its name.
    Failed(&'static str),
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A receiver or server of a workload is there: its subscription was acknowledged.
    Attached {
        /// The workload, by its place in the file.
        work: usize,
        /// Whether it serves requests.
        serves: bool,
    },
    /// It is there no more: it ended, panicked, or its node did.
    Detached {
        /// The workload.
        work: usize,
    },
    /// Publishing a message begins.
    Sending {
        /// The message.
        id: Id,
        /// The workload.
        work: usize,
        /// Which client of the workload on this node.
        client: u32,
        /// Its priority.
        priority: Priority,
    },
    /// Publishing it is over: who took it, by node.
    Sent {
        /// The message.
        id: Id,
        /// Nodes whose receiver took it, or to which a link took it.
        accepted: Vec<NodeNumber>,
        /// Nodes whose receiver refused it for want of room, or that could not be reached. One that was told to be gone is in neither.
        refused: Vec<NodeNumber>,
    },
    /// A receiver got a message.
    Delivered {
        /// The message, as its payload says.
        id: Id,
        /// The workload.
        work: usize,
        /// The priority it was delivered with.
        priority: Priority,
        /// Whether the payload is what was sent.
        whole: bool,
    },
    /// A request begins.
    Asked {
        /// The request.
        id: Id,
        /// The workload.
        work: usize,
        /// Which client of the workload on this node.
        client: u32,
        /// When it must have ended.
        deadline_ns: u64,
        /// Whether it may be handled twice.
        idempotent: bool,
    },
    /// A server begins to handle a request.
    Served {
        /// The request, as its payload says.
        id: Id,
        /// The workload.
        work: usize,
        /// Whether the payload is what was sent.
        whole: bool,
        /// Whether its deadline, as this node knows it, was over when it was handed over.
        late: bool,
    },
    /// A request ended for its client.
    Ended {
        /// The request.
        id: Id,
        /// How.
        outcome: Outcome,
    },
    /// An append begins.
    Appending {
        /// The record.
        id: Id,
        /// The workload.
        work: usize,
    },
    /// An append was acknowledged as durable, or failed.
    Appended {
        /// The record.
        id: Id,
        /// The workload.
        work: usize,
        /// Whether it was acknowledged.
        acknowledged: bool,
    },
    /// A file was opened after a start, and holds these records.
    Recovered {
        /// The workload.
        work: usize,
        /// The records' ids in order; a record that is not one of ours is `Id::MAX`.
        records: Vec<Id>,
    },
    /// A log was opened after a start: how far it is purged, and up to where a snapshot stands for what was there.
    Purged {
        /// The workload.
        work: usize,
        /// The last index that is purged.
        purged: u64,
        /// The index of the newest snapshot; 0 if there is none.
        snapshot: u64,
    },
    /// A store said that it is damaged, where the disk does that, and another was begun in its place.
    BegunAnew {
        /// The workload.
        work: usize,
    },
    /// A log of consensus was asked for something: until it answers, any of these may be found after a restart.
    RaftAsked {
        /// The workload.
        work: usize,
        /// What it may then hold; the last is what it holds once it answered.
        possible: Vec<Held>,
    },
    /// It answered.
    RaftAnswered {
        /// The workload.
        work: usize,
    },
    /// Entries of it were committed.
    RaftCommitted {
        /// The workload.
        work: usize,
        /// How many, from the first.
        committed: u64,
    },
    /// Entries of it were applied.
    RaftApplied {
        /// The workload.
        work: usize,
        /// How many, from the first.
        applied: u64,
        /// The state that they gave.
        state: u64,
    },
    /// It was opened after a start, and holds this.
    RaftFound {
        /// The workload.
        work: usize,
        /// What.
        held: Held,
        /// How many entries are written down as committed.
        committed: u64,
    },
    /// It could not be restored, or gone on with.
    RaftRefused {
        /// The workload.
        work: usize,
        /// Why.
        why: String,
    },
    /// A run of a workflow is asked for, or resumed.
    FlowAsked {
        /// The run.
        id: Id,
        /// The workload.
        work: usize,
        /// When it must have ended.
        deadline_ns: u64,
    },
    /// A run was given back: its plan, and what its journal says.
    Flow {
        /// The run.
        id: Id,
        /// The workload.
        work: usize,
        /// The plan's steps.
        steps: Vec<FlowStep>,
        /// The journal's lines.
        lines: Vec<FlowLine>,
        /// Whether its conductor answered.
        told: bool,
    },
    /// A breaker was asked to admit a call, or told of its outcome, or changed its state.
    Breaker(BreakerStep),
    /// An agent panicked, as a fault had it do.
    Panicked {
        /// The workload.
        work: usize,
    },
    /// An agent panicked of itself.
    AgentDied {
        /// The workload.
        work: usize,
        /// The panic's text.
        text: String,
    },
    /// A node noticed that its link to another was lost.
    LinkDown {
        /// The other.
        peer: NodeNumber,
    },
    /// A node stands still.
    Paused,
    /// It goes on.
    Resumed,
    /// A node's life ended.
    NodeEnded {
        /// Whether a fault had it end.
        declared: bool,
        /// The panic's text, if it was one.
        panic: Option<String>,
        /// Whether its disk was emptied.
        wiped: bool,
    },
    /// A node was started.
    NodeStarted,
    /// Every fault has ended.
    Healed,
}

/// One step of a breaker, as the fabric tells it, and what the breaker came to by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerStep {
    /// Which breaker: the requester's context and the instance.
    pub breaker: String,
    /// What it was told: `admitted`, `good`, `bad` or `given up`.
    pub step: String,
    /// The generation of the call's permit.
    pub permit: u64,
    /// The state it came to: `closed`, `open` or `half-open`.
    pub state: String,
    /// The generation it came to.
    pub generation: u64,
}

/// A step of a workflow's plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowStep {
    /// The steps it needs, by their places in the plan: earlier ones.
    pub needs: Vec<usize>,
    /// Whether the goal is missed without it.
    pub essential: bool,
    /// How often it may be tried again after it failed.
    pub retries: u32,
}

/// A line of a run's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowLine {
    /// The step, by its place in the plan; none for the whole run.
    pub step: Option<usize>,
    /// What happened.
    pub happened: Happened,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Whether it says why.
    pub reasoned: bool,
}

/// The whole run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order in which it happened.
    pub entries: Vec<Entry>,
}

/// What the oracles know besides the history.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Losses that the fabric counted, all reasons together.
    pub losses: u64,
    /// When the faults ended, and when the fleet must have recovered (virtual ns).
    pub healed: Option<(u64, u64)>,
    /// When clients stopped sending (virtual ns).
    pub clients_end_ns: u64,
    /// Half-open probes a breaker may have in flight.
    pub probes_max: u64,
    /// Whether disks lose what was durable: rot, or writes that go elsewhere.
    pub rots: bool,
}

impl What {
    /// A run that was given back, from its plan and its journal. Lines about steps that are not in the plan count as the run's.
    pub fn flow(id: Id, work: usize, plan: &Plan, lines: &[Line], told: bool) -> Self {
        let at = |name: &str| plan.steps.iter().position(|step| step.id == name);
        let steps = plan.steps.iter().map(|step| FlowStep {
            needs: step.needs.iter().filter_map(|need| at(need)).collect(),
            essential: step.essential,
            retries: step.retries,
        });
        let lines = lines.iter().map(|line| FlowLine {
            step: at(&line.step),
            happened: line.event,
            attempt: line.attempt,
            reasoned: !line.why.is_empty(),
        });
        What::Flow { id, work, steps: steps.collect(), lines: lines.collect(), told }
    }
}

impl History {
    /// Adds what happened.
    pub fn push(&mut self, at_ns: u64, node: NodeNumber, what: What) {
        self.entries.push(Entry { at_ns, node, what });
    }

    /// Times at which each node's life ended, in order, as `(node, time)`.
    pub fn ends(&self) -> Vec<(NodeNumber, u64)> {
        self.entries
            .iter()
            .filter(|entry| matches!(entry.what, What::NodeEnded { .. }))
            .map(|entry| (entry.node, entry.at_ns))
            .collect()
    }
}

/// A history written by hand: what the oracles' tests are made of.
#[cfg(test)]
pub(crate) fn by_hand(entries: impl IntoIterator<Item = (u64, NodeNumber, What)>) -> History {
    let mut history = History::default();
    for (at_ns, node, what) in entries {
        history.push(at_ns, node, what);
    }
    history
}
