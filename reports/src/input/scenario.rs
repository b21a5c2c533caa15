//! What `cargo sim run --json` writes: one run of one scenario under one seed.

use std::collections::BTreeMap;

use serde::Deserialize;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All that had to hold did.
    Pass,
    /// Something was wrong.
    Fail,
    /// There was nothing to judge.
    Unknown,
}

impl Verdict {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Unknown => "unknown",
        }
    }
}

/// One thing that was wrong.
#[derive(Clone, Debug, Deserialize)]
pub struct Violation {
    /// Who saw it.
    pub oracle: String,
    /// Safety, liveness or crash.
    #[serde(default)]
    pub kind: String,
    /// What was seen.
    #[serde(default)]
    pub what: String,
}

/// One run.
#[derive(Clone, Debug, Deserialize)]
pub struct Run {
    /// Which scenario.
    pub scenario: String,
    /// Under which seed.
    pub seed: u64,
    /// On which engine.
    pub engine: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was wrong.
    pub violations: Vec<Violation>,
    /// The trace's hash.
    pub trace_hash: String,
    /// Events in the trace.
    pub events: u64,
    /// Virtual time, s.
    pub sim_seconds: f64,
    /// Real time, s.
    pub wall_seconds: f64,
    /// Rare events reached.
    pub reach: BTreeMap<String, u64>,
    /// Losses by place and reason.
    #[serde(default)]
    pub losses: BTreeMap<String, u64>,
    /// The planted bug, if there was one.
    #[serde(default)]
    pub plant: Option<String>,
}
