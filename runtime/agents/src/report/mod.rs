//! What a run came to, for people and for programs: `result.json`, `result.sarif` and `report.html` in the run folder.
//!
//! [`RunResult`] is the one form that all three, `synod runs` and the run pages are made of. It is put together from what the
//! agents left in the run folder, so it can be made again at any time, also for a run that never ended. RESULT.md describes it.

pub mod build;
pub mod compare;
pub mod figures;
pub mod html;
mod read;
pub mod safe;
pub mod shelf;
pub mod text;
pub mod traffic;
mod write;

use serde::{Deserialize, Serialize};

use crate::director::Outcome;
use crate::finding::{Finding, Severity, Tally};
use crate::survey::Survey;

pub use read::{ReportError, journal, read, result_of};
pub use write::{Written, log, write};

/// The version of the form of [`RunResult`].
pub const FORM: u32 = 1;

/// The file that holds the [`RunResult`], in the run folder.
pub const RESULT: &str = "result.json";
/// The file that holds all findings as SARIF 2.1.0, in the run folder.
pub const SARIF: &str = "result.sarif";
/// The page for people, in the run folder.
pub const PAGE: &str = "report.html";
/// The file that holds the message counts by edge, in the run folder.
pub const MESSAGES: &str = "messages.json";

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// Version of this form: [`FORM`].
    pub form: u32,
    /// Version of Synod that wrote it.
    pub synod: String,
    /// The run's id: the name of its folder.
    pub run: String,
    /// What was to be achieved.
    pub goal: String,
    /// The source tree, as an absolute path.
    pub tree: String,
    /// Whether the run came to its end.
    pub state: State,
    /// When it began: wall time in milliseconds since 1970; 0 if nothing tells.
    pub began_ms: u64,
    /// From its begin to the last thing it told, in seconds, rests between sittings included.
    pub seconds: f64,
    /// How often it was begun: 1, and 1 more for each resumption.
    pub sittings: u32,
    /// DIRECTOR's verdict, if there is one.
    pub verdict: Option<Judgement>,
    /// How many findings of each severity.
    pub tally: Tally,
    /// All findings, worst first.
    pub findings: Vec<Attributed>,
    /// The steps of the plan, in its order.
    pub steps: Vec<StepResult>,
    /// What each agent did, by name.
    pub agents: Vec<AgentResult>,
    /// Messages by edge, the busiest first; empty if nobody counted.
    pub messages: Vec<Edge>,
    /// What the tree consists of, if it was read.
    pub survey: Option<Survey>,
    /// Every file of the run folder but those made from this result, by path.
    pub files: Vec<FileResult>,
}

/// Whether a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has a verdict, or its journal says that it ended.
    Ended,
    /// It was cut off, or goes on still; it can be resumed.
    Unfinished,
}

/// A verdict without its findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The word.
    pub outcome: Outcome,
    /// One sentence that says why.
    pub because: String,
    /// The severity from which on findings fail the run.
    pub threshold: Severity,
}

/// A finding with who found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributed {
    /// The agent.
    pub agent: String,
    /// What it found.
    #[serde(flatten)]
    pub finding: Finding,
}

/// What became of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResult {
    /// Its name.
    pub id: String,
    /// Who does it.
    pub agent: String,
    /// What is to be achieved.
    pub goal: String,
    /// The steps that it needs.
    pub needs: Vec<String>,
    /// The wave it stands in, counted from 0.
    pub wave: usize,
    /// How it stands.
    pub state: StepState,
    /// How often it was begun.
    pub attempts: u32,
    /// When it was first begun, in milliseconds after the run began.
    pub began_ms: Option<u64>,
    /// When it last ended, in milliseconds after the run began.
    pub ended_ms: Option<u64>,
    /// Every stretch of work on it, in order.
    pub stretches: Vec<Stretch>,
    /// Why it failed, was vetoed or was left out; the last word on it.
    pub why: Option<String>,
}

impl StepResult {
    /// Whether its last attempt ended well, whatever became of its output.
    pub fn was_done(&self) -> bool {
        self.stretches.last().is_some_and(|last| last.end == StretchEnd::Done)
    }

    /// The time worked on it, over all stretches, in milliseconds.
    pub fn worked_ms(&self) -> u64 {
        self.stretches.iter().map(|stretch| stretch.to_ms.saturating_sub(stretch.from_ms)).sum()
    }
}

/// One attempt at a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// Its begin, in milliseconds after the run began.
    pub from_ms: u64,
    /// Its end, in milliseconds after the run began; for one that was cut off, the last that was heard of the run.
    pub to_ms: u64,
    /// How it ended.
    pub end: StretchEnd,
    /// Why, if it did not end well.
    pub why: Option<String>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StretchEnd {
    /// Well.
    Done,
    /// With an error.
    Failed,
    /// Not at all: the run was cut off, or still goes on.
    Cut,
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Done.
    Done,
    /// Failed for good.
    Failed,
    /// Its output is vetoed, and nobody lifted that; it may have been done.
    Vetoed,
    /// Left out, since what it needs was not done.
    Skipped,
    /// Done, and then undone.
    Compensated,
    /// Begun, not ended.
    Running,
    /// Not begun.
    Waiting,
}

impl StepState {
    /// The word for people, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            StepState::Done => "done",
            StepState::Failed => "failed",
            StepState::Vetoed => "vetoed",
            StepState::Skipped => "skipped",
            StepState::Compensated => "compensated",
            StepState::Running => "running",
            StepState::Waiting => "waiting",
        }
    }
}

/// What one agent did in this run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AgentResult {
    /// Its name.
    pub name: String,
    /// Its steps, by name.
    pub steps: Vec<String>,
    /// How long it worked, in milliseconds.
    pub worked_ms: u64,
    /// How many findings it made.
    pub findings: usize,
    /// Files it wrote, relative to the run folder.
    pub outputs: Vec<String>,
    /// Counts and measures by name.
    pub metrics: std::collections::BTreeMap<String, f64>,
    /// What it could not do for want of something on this machine.
    pub unavailable: Vec<String>,
    /// What it was refused: vetoes.
    pub refused: Vec<String>,
    /// What it did again, and why.
    pub retried: Vec<String>,
    /// What else it has to say.
    pub warnings: Vec<String>,
}

/// Messages from a sending context to a receiving agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// The context that sent.
    pub from: String,
    /// The agents of that context.
    pub agents: Vec<String>,
    /// Who received.
    pub to: String,
    /// Taken by the fabric for that receiver.
    pub accepted: u64,
    /// Handed to the receiver.
    pub delivered: u64,
    /// Not taken; the sender was told.
    pub refused: u64,
    /// Given up because the deadline had passed.
    pub expired: u64,
    /// Requests given up because the requester no longer waited.
    pub cancelled: u64,
    /// Given up because the receiver ended.
    pub lost: u64,
}

/// A file of the run folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileResult {
    /// Path relative to the run folder.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
}
