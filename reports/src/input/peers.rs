//! What `cargo peers --json` writes: rows of medians with their intervals, and the machine they were taken on.

use serde::Deserialize;

/// One file of measurements.
#[derive(Clone, Debug, Deserialize)]
pub struct Peers {
    /// Where they were taken; absent in bare lists of rows.
    #[serde(default)]
    pub machine: Option<Machine>,
    /// The measurements.
    pub rows: Vec<Row>,
    /// What was seen once, in no rounds: what idle agents cost.
    #[serde(default)]
    pub observations: Vec<Row>,
    /// Who could not be measured.
    #[serde(default)]
    pub unavailable: Vec<Unavailable>,
}

/// Somebody who could not be measured.
#[derive(Clone, Debug, Deserialize)]
pub struct Unavailable {
    /// Who.
    pub subject: String,
    /// What is missing.
    pub needs: String,
}

/// Where measurements were taken.
#[derive(Clone, Debug, Deserialize)]
pub struct Machine {
    /// The processor's name.
    #[serde(default)]
    pub processor: String,
    /// Usable cores.
    #[serde(default)]
    pub cores: u64,
    /// Kernel and release.
    #[serde(default)]
    pub kernel: String,
    /// How many wanted a core before the run, over 1, 5 and 15 minutes.
    #[serde(default)]
    pub load: String,
    /// Peers and their versions.
    #[serde(default)]
    pub versions: Vec<(String, String)>,
}

/// One figure: the median over rounds with its 95 % interval.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    /// What was measured.
    pub group: String,
    /// Whose figure it is.
    pub subject: String,
    /// Message size in bytes; 0 where it has no meaning.
    pub size_bytes: u64,
    /// How: batch size, who waits.
    pub mode: String,
    /// Which figure of the measurement.
    pub metric: String,
    /// Its unit; `x` for a ratio within rounds.
    pub unit: String,
    /// The median.
    pub median: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Rounds.
    pub rounds: u64,
}

impl Row {
    /// Whether the figure is ours.
    pub fn ours(&self) -> bool {
        self.subject.starts_with("synod") || self.subject.starts_with("fabric")
    }
}
