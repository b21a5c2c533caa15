//! What `cargo chaos --json` and `cargo chaos plant --json` write: a sweep over scenarios and seeds, and the suite's score.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One sweep.
#[derive(Clone, Debug, Deserialize)]
pub struct Sweep {
    /// Real time it took, s.
    #[serde(default)]
    pub wall_seconds: f64,
    /// Per scenario.
    pub scenarios: Vec<Swept>,
    /// Runs that did not pass.
    #[serde(default)]
    pub failures: Vec<Failure>,
    /// Rare events that no run reached.
    #[serde(default)]
    pub holes: Vec<String>,
    /// How often each rare event was reached.
    #[serde(default)]
    pub reach: BTreeMap<String, u64>,
    /// Runs that were done again in another process.
    #[serde(default)]
    pub rerun: u64,
    /// Of those, runs whose traces differed.
    #[serde(default)]
    pub differed: u64,
    /// Whether the scenario that must always fail did.
    #[serde(default)]
    pub canary_failed: Option<bool>,
}

/// What became of one scenario's seeds.
#[derive(Clone, Debug, Deserialize)]
pub struct Swept {
    /// Which scenario.
    pub scenario: String,
    /// Runs that passed.
    pub pass: u64,
    /// Runs that failed.
    pub fail: u64,
    /// Runs with nothing to judge.
    #[serde(default)]
    pub unknown: u64,
    /// Virtual time, s, all runs together.
    #[serde(default)]
    pub sim_seconds: f64,
    /// Real time, s, all runs together.
    #[serde(default)]
    pub wall_seconds: f64,
}

impl Swept {
    /// All runs.
    pub fn runs(&self) -> u64 {
        self.pass + self.fail + self.unknown
    }
}

/// One run that did not pass.
#[derive(Clone, Debug, Deserialize)]
pub struct Failure {
    /// Which scenario.
    pub scenario: String,
    /// Under which seed.
    pub seed: u64,
    /// What was wrong, in words.
    #[serde(default)]
    pub what: String,
    /// The command that shows it again.
    #[serde(default)]
    pub replay: String,
}

/// The suite's score against planted bugs.
#[derive(Clone, Debug, Deserialize)]
pub struct Plants {
    /// Bug by bug.
    pub plants: Vec<Plant>,
}

/// How one planted bug fared.
#[derive(Clone, Debug, Deserialize)]
pub struct Plant {
    /// Its name.
    pub name: String,
    /// Seeds tried.
    pub seeds: u64,
    /// Seeds in which it was caught.
    pub caught: u64,
    /// Seeds in which its code ran at all.
    #[serde(default)]
    pub reached: u64,
    /// Median seeds to the first catch.
    #[serde(default)]
    pub median_seeds: Option<f64>,
    /// The oracle that was to catch it.
    #[serde(default)]
    pub expected: String,
    /// The oracles that did, and how often.
    #[serde(default)]
    pub fired: BTreeMap<String, u64>,
    /// Alarms of the same seeds without the bug: none are allowed.
    #[serde(default)]
    pub false_alarms: u64,
}
