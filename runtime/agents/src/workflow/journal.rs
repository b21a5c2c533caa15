//! The journal of a run: `journal.jsonl` at the root of its folder, one line for everything that happened to a step.
//!
//! A line is durable before the next one is written, so only the last one can be torn: it is cut when the journal is opened
//! again. Damage anywhere else is refused by its line number. An open journal is locked: one process a run.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::task::Handoff;

/// The journal's name within the run folder.
pub const FILE: &str = "journal.jsonl";

/// What happened to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Happened {
    /// It was given to its agent.
    Started,
    /// Its agent told how far it is; told now and then, not every time.
    Progress,
    /// It is done; the line has the handoff.
    Done,
    /// It failed for good.
    Failed,
    /// An attempt failed, and another follows after a pause.
    Retried,
    /// Its output was vetoed: nothing that depends on it starts.
    Vetoed,
    /// The veto on its output was lifted.
    Lifted,
    /// It was stopped without fault of its own, and starts again later.
    Stopped,
    /// It is not done in this run, and will not be; the line says why.
    Skipped,
    /// What it had done was undone, since a later step failed.
    Compensated,
    /// The run went on after an interruption; the step is empty.
    Resumed,
    /// The run came to its end; the step is empty.
    Ended,
}

impl Happened {
    /// The lower-case word of the journal.
    pub fn word(self) -> &'static str {
        match self {
            Happened::Started => "started",
            Happened::Progress => "progress",
            Happened::Done => "done",
            Happened::Failed => "failed",
            Happened::Retried => "retried",
            Happened::Vetoed => "vetoed",
            Happened::Lifted => "lifted",
            Happened::Stopped => "stopped",
            Happened::Skipped => "skipped",
            Happened::Compensated => "compensated",
            Happened::Resumed => "resumed",
            Happened::Ended => "ended",
        }
    }
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// When, in milliseconds of wall time since 1970 (UTC).
    pub at_ms: u64,
    /// Which step, by its id in the plan; empty for what concerns the whole run.
    #[serde(default)]
    pub step: String,
    /// What happened.
    pub event: Happened,
    /// The step's agent; empty for what concerns the whole run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub agent: String,
    /// Which attempt, from 1; 0 where none is meant.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempt: u32,
    /// Why, in words; empty where nothing needs a reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What the step handed on, if it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handoff: Option<Handoff>,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}
