//! What `cargo chaos --json` and `cargo chaos plant --json` write: a sweep over scenarios and seeds, and the suite's score.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Verdict, Violation};

/// One sweep.
#[derive(Clone, Debug, Deserialize)]
pub struct Sweep {
    /// The verdict of the whole.
    pub verdict: Verdict,
    /// The first seed.
    pub seed_from: u64,
    /// Real time it took, s.
    pub seconds: f64,
    /// Whether every scenario that must fail did.
    pub canary_seen: bool,
    /// Rare events that no run reached.
    pub holes: Vec<String>,
    /// Per scenario.
    pub scenarios: Vec<Swept>,
    /// Runs that did not pass.
    pub failures: Vec<Failure>,
    /// Scenarios that the engine cannot run, with why.
    #[serde(default)]
    pub unsupported: Vec<(String, Vec<String>)>,
}

/// What became of one scenario's seeds.
#[derive(Clone, Debug, Deserialize)]
pub struct Swept {
    /// Which scenario.
    pub scenario: String,
    /// Seeds run.
    pub seeds: u64,
    /// Runs that passed.
    pub pass: u64,
    /// Runs that failed.
    pub fail: u64,
    /// Runs with nothing to judge.
    pub unknown: u64,
    /// Runs that were done again in another process.
    pub repeated: u64,
    /// Of those, runs whose traces differed.
    pub differed: u64,
    /// Virtual time, s, all runs together.
    pub sim_seconds: f64,
    /// Real time, s, all runs together.
    pub wall_seconds: f64,
    /// What was to be reached and was not often enough.
    #[serde(default)]
    pub unmet: Vec<String>,
    /// How often each rare event was reached.
    #[serde(default)]
    pub reach: BTreeMap<String, u64>,
}

/// One run that did not pass.
#[derive(Clone, Debug, Deserialize)]
pub struct Failure {
    /// Which scenario.
    pub scenario: String,
    /// Under which seed.
    pub seed: u64,
    /// What was wrong.
    pub violations: Vec<Violation>,
    /// Where it is kept.
    pub folder: String,
}

/// The suite's score against planted bugs.
#[derive(Clone, Debug, Deserialize)]
pub struct Plants {
    /// Suite seeds for each bug.
    pub seeds: u64,
    /// Alarms of runs without a bug: none is allowed.
    pub twin_alarms: u64,
    /// Bug by bug.
    pub plants: Vec<Plant>,
}

/// How one planted bug fared.
#[derive(Clone, Debug, Deserialize)]
pub struct Plant {
    /// Its name.
    pub plant: String,
    /// What the code then does wrong.
    #[serde(default)]
    pub wrong: String,
    /// Caught, survived, not reached, or scored elsewhere.
    pub result: String,
    /// Seeds tried.
    pub seeds: u64,
    /// Seeds in which its code ran at all.
    pub reached: u64,
    /// Seeds in which it was caught.
    pub caught: u64,
    /// Median seeds to the first catch.
    pub median_seeds: Option<f64>,
    /// The oracles that fired, and in how many seeds.
    pub oracles: BTreeMap<String, u64>,
    /// Which were expected to.
    pub expected: Vec<String>,
    /// Whether an expected one did.
    pub as_expected: bool,
}
