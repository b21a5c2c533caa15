//! The shape of a scenario file. Every table refuses keys it does not name.
//!
//! The doc lines here are the descriptions in `scenarios/schema.json`. The form is wider than the engine: what cannot be
//! run yet is listed in [`super::support`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use synod_control::units::{DelayRange, Duration, Probability, Rate, SeedRange, SignedDuration};

use super::schema as say;

/// A scenario: a small fleet, what it works on, what goes wrong, and what must hold.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Version of this form: 1.
    pub schema: u32,
    /// The scenario's name; the file is called the same.
    pub name: String,
    /// What a reader should believe after this scenario passed, in a sentence.
    pub why: String,
    /// The fleet.
    pub cluster: Cluster,
    /// What every link between two nodes does to traffic, all the time.
    #[serde(default)]
    pub network: Network,
    /// What every disk does, all the time, and what it keeps when its node loses power.
    #[serde(default)]
    pub disk: Disk,
    /// Who does what.
    #[serde(default)]
    pub workload: Vec<Workload>,
    /// What goes wrong, and when.
    #[serde(default)]
    pub fault: Vec<Fault>,
    /// Faults of which each seed draws a subset.
    pub swarm: Option<Swarm>,
    /// When everything is made whole again.
    pub heal: Option<Heal>,
    /// What must hold.
    #[serde(default)]
    pub check: Check,
    /// What the run must have seen, and how it must end.
    #[serde(default)]
    pub expect: Expect,
}

/// The fleet: nodes are called n1, n2, n3 and so on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// How many nodes, 1 to 16.
    pub nodes: u8,
    /// Executor threads (contexts) a node runs agents on; 1 if not said.
    #[serde(default = "one")]
    pub contexts: u8,
    /// Which engines may run this file.
    #[serde(default = "sim_only")]
    pub engines: Vec<Engine>,
    /// Which seeds a full sweep takes.
    #[serde(default = "all_seeds")]
    #[schemars(schema_with = "say::seeds")]
    pub seeds: SeedRange,
    /// How long the run lasts: virtual time when simulated.
    #[schemars(schema_with = "say::duration")]
    pub limit: Duration,
}

/// An engine that runs scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// The deterministic simulator.
    Sim,
    /// Real processes on one host.
    Real,
}

/// Faults of every link. A stream's loss costs retransmissions; datagrams are lost, doubled and overtaken for good.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// How long one crossing takes.
    #[schemars(schema_with = "say::delay", default)]
    pub delay: Option<DelayRange>,
    /// How often one transmission is lost.
    #[schemars(schema_with = "say::probability", default)]
    pub loss: Option<Probability>,
    /// How often a datagram arrives twice.
    #[schemars(schema_with = "say::probability", default)]
    pub duplicate: Option<Probability>,
    /// How often a datagram is overtaken by later ones.
    #[schemars(schema_with = "say::probability", default)]
    pub reorder: Option<Probability>,
    /// How often sending resets the connection.
    #[schemars(schema_with = "say::probability", default)]
    pub reset: Option<Probability>,
    /// Bytes a second each link carries, in each direction.
    pub bandwidth: Option<u64>,
}

/// Faults of every disk.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// What a power loss does to writes that were not synced. Everything unsynced is kept if the list is empty.
    #[serde(default)]
    pub on_crash: Vec<OnCrash>,
    /// How long an operation takes.
    #[schemars(schema_with = "say::delay", default)]
    pub latency: Option<DelayRange>,
    /// How often a sync fails; the dirty page is then clean, as on Linux.
    #[schemars(schema_with = "say::probability", default)]
    pub fsync_error: Option<Probability>,
    /// How often a write fails.
    #[schemars(schema_with = "say::probability", default)]
    pub write_error: Option<Probability>,
    /// How often a read fails.
    #[schemars(schema_with = "say::probability", default)]
    pub read_error: Option<Probability>,
    /// How often a write stops short.
    #[schemars(schema_with = "say::probability", default)]
    pub short_write: Option<Probability>,
    /// How often a write lands elsewhere.
    #[schemars(schema_with = "say::probability", default)]
    pub misdirected: Option<Probability>,
    /// How often a sector rots at rest.
    #[schemars(schema_with = "say::probability", default)]
    pub rot: Option<Probability>,
}

/// What becomes of unsynced writes when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnCrash {
    /// Each may be lost.
    LoseUnsynced,
    /// Each may be written in part, at sector size.
    Torn,
}

/// A kind of work, by which agents, on which nodes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Its name, also the subject its agents use.
    pub name: String,
    /// What its agents do.
    pub kind: WorkloadKind,
    /// Nodes of the agents that send, or that write; all nodes if empty.
    #[serde(default)]
    pub from: Vec<String>,
    /// Nodes of the agents that receive or serve; all nodes if empty.
    #[serde(default)]
    pub to: Vec<String>,
    /// How many sending agents on each node of `from`.
    #[serde(default = "one")]
    pub clients: u8,
    /// How often each client sends.
    #[schemars(schema_with = "say::rate")]
    pub rate: Rate,
    /// When the clients begin.
    #[serde(default)]
    #[schemars(schema_with = "say::duration")]
    pub at: Duration,
    /// How long the clients go on; to one fifth before the limit if not said.
    #[serde(rename = "for")]
    #[schemars(schema_with = "say::duration", default)]
    pub lasts: Option<Duration>,
    /// Priorities in use, drawn evenly for each message: critical, high, normal, low, batch, background.
    #[serde(default = "normal")]
    pub priorities: Vec<Priority>,
    /// Largest payload in bytes; each message draws its own.
    #[serde(default = "small")]
    pub payload: u32,
    /// Messages a receiver's queue holds, for each priority.
    #[serde(default = "sixteen")]
    pub capacity: u32,
    /// What handling one message costs its receiver, in virtual time.
    #[serde(default)]
    #[schemars(schema_with = "say::delay")]
    pub service: DelayRange,
    /// How long a client waits: for the reply to a request, for room when publishing (a full queue is an answer at once if
    /// not said).
    #[schemars(schema_with = "say::duration", default)]
    pub deadline: Option<Duration>,
    /// Whether a request may be handled twice, so that it may go to another instance after the first had it.
    #[serde(default)]
    pub idempotent: bool,
}

/// What the agents of a workload do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadKind {
    /// Publish to every subscriber.
    Publish,
    /// Ask one instance among several, and wait for its reply.
    Request,
    /// Append records to a file of the node's disk, and read it again after each restart.
    Append,
    /// Append records to a log of a store on the node's disk, and read them again after each restart.
    Store,
    /// Vote in a log of consensus, append to it, cut it, commit, and have snapshots take its place; restore it after each restart.
    Consensus,
    /// Run plans of steps, done by workers on the nodes of `to`, vetoed now and then, resumed after the node's death.
    Workflow,
    /// Take and release locks.
    Lock,
    /// Lease, acknowledge and give back work.
    Queue,
    /// Read and write keys.
    Kv,
    /// Move money between accounts.
    Transaction,
    /// Write and read durable streams.
    Stream,
}

/// Priority of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Priority {
    /// Before everything.
    Critical,
    /// Soon.
    High,
    /// As usual.
    Normal,
    /// When there is time.
    Low,
    /// In bulk.
    Batch,
    /// When nothing else is there.
    Background,
}

/// One thing that goes wrong: when (`at`, or `when` with `after` and `times`), for how long, and exactly one kind of harm.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// At this time of the run.
    #[schemars(schema_with = "say::duration", default)]
    pub at: Option<Duration>,
    /// Whenever an event of this name happens.
    pub when: Option<String>,
    /// So long after the event.
    #[schemars(schema_with = "say::duration", default)]
    pub after: Option<Duration>,
    /// How many times: events answered, or repetitions `every`.
    pub times: Option<u32>,
    /// Time between repetitions of a fault with `at`.
    #[schemars(schema_with = "say::duration", default)]
    pub every: Option<Duration>,
    /// How long it lasts; to the heal, or the end, if not said.
    #[serde(rename = "for")]
    #[schemars(schema_with = "say::duration", default)]
    pub lasts: Option<Duration>,

    /// The node's processes die; its disk keeps what the operating system had.
    pub crash: Option<String>,
    /// The node loses power; its disk keeps what was synced, and of the rest what `disk.on_crash` leaves.
    pub power_loss: Option<String>,
    /// The node loses power, and comes back with an empty disk.
    pub wipe: Option<String>,
    /// After `crash`, `power_loss` or `wipe`: started again so long after.
    #[schemars(schema_with = "say::duration", default)]
    pub restart: Option<Duration>,
    /// The node stands still.
    pub pause: Option<String>,
    /// Nodes cannot hear each other.
    pub partition: Option<Partition>,
    /// Links get worse.
    pub link: Option<LinkFault>,
    /// Every connection of the node is reset, once.
    pub reset: Option<String>,
    /// The node's wall clock goes wrong.
    pub clock: Option<ClockFault>,
    /// The node's disk goes wrong.
    pub disk: Option<DiskFault>,
    /// An instance of a workload falls silent: it takes requests and never answers.
    pub sick: Option<At>,
    /// An instance of a workload takes longer.
    pub slow: Option<Slow>,
    /// An agent of a workload panics at its next message.
    pub panic: Option<At>,
    /// Clients of a workload send so many times as often.
    pub overload: Option<Overload>,
    /// Allocations of message regions are refused.
    pub memory: Option<MemoryFault>,
}

/// Who cannot hear whom.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// This node, from all others.
    pub isolate: String,
    /// Only from these; all others if empty.
    #[serde(default)]
    pub from: Vec<String>,
    /// What is cut, as the isolated node sees it.
    #[serde(default)]
    pub direction: Direction,
    /// Up and down again with this period, half of it each.
    #[schemars(schema_with = "say::duration", default)]
    pub flapping: Option<Duration>,
}

/// Which way is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Nothing passes.
    #[default]
    Both,
    /// It hears nothing, and is heard.
    Inbound,
    /// It hears, and is not heard.
    Outbound,
}

/// Links that get worse, both ways: those of `node`, or all.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkFault {
    /// The node whose links are meant; all links if not said.
    pub node: Option<String>,
    /// How long one crossing takes.
    #[schemars(schema_with = "say::delay", default)]
    pub delay: Option<DelayRange>,
    /// How often one transmission is lost.
    #[schemars(schema_with = "say::probability", default)]
    pub loss: Option<Probability>,
    /// How often a datagram arrives twice.
    #[schemars(schema_with = "say::probability", default)]
    pub duplicate: Option<Probability>,
    /// How often a datagram is overtaken by later ones.
    #[schemars(schema_with = "say::probability", default)]
    pub reorder: Option<Probability>,
    /// How often sending resets the connection.
    #[schemars(schema_with = "say::probability", default)]
    pub reset: Option<Probability>,
    /// Bytes a second.
    pub bandwidth: Option<u64>,
}

/// A wall clock that is wrong. Monotonic time never steps.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockFault {
    /// Whose.
    pub node: String,
    /// Set forward or back at once.
    #[schemars(schema_with = "say::signed", default)]
    pub step: Option<SignedDuration>,
    /// Parts per million it runs too fast, or too slow if negative.
    pub drift_ppm: Option<i32>,
}

/// A disk that goes wrong.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskFault {
    /// Whose.
    pub node: String,
    /// How long an operation takes.
    #[schemars(schema_with = "say::delay", default)]
    pub latency: Option<DelayRange>,
    /// How often a sync fails.
    #[schemars(schema_with = "say::probability", default)]
    pub fsync_error: Option<Probability>,
    /// How often a write fails.
    #[schemars(schema_with = "say::probability", default)]
    pub write_error: Option<Probability>,
    /// How often a write stops short.
    #[schemars(schema_with = "say::probability", default)]
    pub short_write: Option<Probability>,
    /// No room is left.
    #[serde(default)]
    pub full: bool,
    /// Nothing completes.
    #[serde(default)]
    pub stalled: bool,
}

/// An agent of a workload, by its node.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct At {
    /// The workload.
    pub workload: String,
    /// The node, or `busiest`.
    pub node: String,
}

/// An instance that takes longer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Slow {
    /// The workload.
    pub workload: String,
    /// The node, or `busiest`.
    pub node: String,
    /// What handling one message then costs.
    #[schemars(schema_with = "say::delay")]
    pub service: DelayRange,
}

/// Clients that send more.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overload {
    /// The workload.
    pub workload: String,
    /// How many times its rate, from 2.
    pub times: u32,
}

/// Allocations that fail.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryFault {
    /// Whose.
    pub node: String,
    /// How often one is refused.
    #[schemars(schema_with = "say::probability")]
    pub refuse: Probability,
}

/// Faults of which each seed draws its own, over the time before the heal.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Swarm {
    /// Kinds to draw from.
    pub from: Vec<SwarmKind>,
    /// How many of the nodes are never crashed, paused or cut at one time.
    #[serde(default)]
    pub keep_alive: KeepAlive,
}

/// A kind of fault that a swarm may draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SwarmKind {
    /// A crash with a restart.
    Crash,
    /// A node that stands still.
    Pause,
    /// A partition, one way or both.
    Partition,
    /// Links that lose.
    Loss,
    /// Slow links.
    Delay,
    /// A reset of a node's connections.
    Reset,
    /// A clock that steps.
    Clock,
    /// A slow disk.
    SlowDisk,
    /// A power loss with a restart.
    PowerLoss,
    /// Overtaking datagrams.
    Reorder,
}

/// How many nodes a swarm leaves alone at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeepAlive {
    /// More than half.
    #[default]
    Majority,
    /// All but one.
    AllButOne,
}

/// When faults end, and how long the fleet has to recover.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Heal {
    /// At this time every fault ends and every node is started.
    #[schemars(schema_with = "say::duration")]
    pub at: Duration,
    /// Which nodes are made whole.
    #[serde(default)]
    pub core: Core,
    /// After so long what `check.healed` names must hold.
    #[schemars(schema_with = "say::duration")]
    pub converge: Duration,
}

/// Which nodes are made whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Core {
    /// All.
    #[default]
    All,
    /// More than half; the rest stays broken.
    Majority,
}

/// What must hold. Every safety oracle judges every run; one named here must also have had something to judge.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Safety: at every moment.
    #[serde(default)]
    pub always: Vec<String>,
    /// Of the whole history.
    #[serde(default)]
    pub history: Vec<String>,
    /// Liveness: after the heal, within its `converge`.
    #[serde(default)]
    pub healed: Vec<String>,
}

/// What must have been seen.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Rare events, and how often a sweep must reach each.
    #[serde(default)]
    pub reach: BTreeMap<String, u64>,
    /// `pass`, or `violates:ORACLE`.
    pub verdict: Option<String>,
}

impl Disk {
    /// Whether what was durable may be lost.
    pub fn rots(&self) -> bool {
        [self.misdirected, self.rot].into_iter().flatten().any(|chance| chance.get() > 0.0)
    }
}

impl Scenario {
    /// When clients stop sending, so that what is under way can arrive: a fifth of the run before its end.
    pub fn clients_end(&self) -> std::time::Duration {
        self.cluster.limit.get() / 5 * 4
    }
}

fn one() -> u8 {
    1
}

fn sixteen() -> u32 {
    16
}

fn small() -> u32 {
    64
}

fn normal() -> Vec<Priority> {
    vec![Priority::Normal]
}

fn sim_only() -> Vec<Engine> {
    vec![Engine::Sim]
}

fn all_seeds() -> SeedRange {
    SeedRange { first: 1, last: 200 }
}
