//! What a run came to: the verdict, why, and the exit status that says it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a run ended. The exit statuses of all commands are these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything that had to hold did.
    Pass,
    /// Something that must never happen did, or what must happen did not, or a process died of itself.
    Fail,
    /// An oracle that the scenario names had nothing to judge.
    Unknown,
}

/// What kind of failure a violation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Something that must never happen.
    Safety,
    /// Something that must happen and did not in time.
    Liveness,
    /// A process died of itself.
    Crash,
}

/// One thing that was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The oracle that saw it.
    pub oracle: String,
    /// Its kind.
    pub kind: Kind,
    /// What it saw, with times and ids.
    pub what: String,
}

/// The result of one run, as `--json` writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// The engine: `sim`.
    pub engine: String,
    /// The verdict.
    pub verdict: Verdict,
    /// What was wrong.
    pub violations: Vec<Violation>,
    /// Why the verdict is unknown, if it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
    /// SHA-256 of the trace.
    pub trace_hash: String,
    /// Events in the trace.
    pub events: u64,
    /// Virtual time the run lasted, seconds.
    pub sim_seconds: f64,
    /// Real time it took, seconds.
    pub wall_seconds: f64,
    /// Rare events reached, and how often.
    pub reach: BTreeMap<String, u64>,
    /// Losses counted, by `place: reason`.
    #[serde(default)]
    pub losses: BTreeMap<String, u64>,
    /// What each oracle judged.
    #[serde(default)]
    pub judged: BTreeMap<String, u64>,
    /// The planted bug, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plant: Option<String>,
    /// How often the planted bug ran.
    #[serde(default)]
    pub plant_reached: u64,
}

/// Exit statuses.
pub mod exit {
    /// Pass.
    pub const PASS: u8 = 0;
    /// Wrong usage, or a file that cannot be read as a scenario.
    pub const USAGE: u8 = 2;
    /// A safety violation.
    pub const SAFETY: u8 = 10;
    /// A liveness violation.
    pub const LIVENESS: u8 = 11;
    /// A process died of itself, or the engine did.
    pub const CRASH: u8 = 12;
    /// The verdict is unknown.
    pub const UNKNOWN: u8 = 13;
    /// The scenario asks for what this engine cannot do.
    pub const UNSUPPORTED: u8 = 14;
    /// Two runs of one seed differ.
    pub const DIFFERS: u8 = 15;
}

impl Report {
    /// The exit status: the worst kind among the violations decides.
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Pass => exit::PASS,
            Verdict::Unknown => exit::UNKNOWN,
            Verdict::Fail => match self.violations.iter().map(|v| v.kind).max() {
                Some(Kind::Crash) => exit::CRASH,
                Some(Kind::Liveness) if self.violations.iter().all(|v| v.kind == Kind::Liveness) => {
                    exit::LIVENESS
                }
                _ => exit::SAFETY,
            },
        }
    }
}

/// The verdict of a run, given what was found and what the scenario expects (`pass` or `violates:ORACLE`).
///
/// An expected violation turns the verdict round: a run that shows it passes, one that does not fails.
pub fn judge(expected: Option<&str>, violations: &mut Vec<Violation>, unknown: &[String]) -> Verdict {
    match expected.and_then(|expected| expected.strip_prefix("violates:")) {
        Some(oracle) if violations.iter().any(|v| v.oracle == oracle) => {
            violations.retain(|v| v.oracle != oracle);
        }
        Some(oracle) => violations.push(Violation {
            oracle: oracle.to_owned(),
            kind: Kind::Safety,
            what: "the scenario expects this oracle to fire, and it did not".to_owned(),
        }),
        None => {}
    }
    if !violations.is_empty() {
        Verdict::Fail
    } else if unknown.is_empty() {
        Verdict::Pass
    } else {
        Verdict::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violation(kind: Kind) -> Violation {
        Violation { oracle: "a.b".to_owned(), kind, what: String::new() }
    }

    fn code(kinds: &[Kind]) -> u8 {
        let mut violations: Vec<_> = kinds.iter().copied().map(violation).collect();
        let verdict = judge(None, &mut violations, &[]);
        Report {
            scenario: String::new(),
            seed: 0,
            engine: "sim".to_owned(),
            verdict,
            violations,
            unknown: Vec::new(),
            trace_hash: String::new(),
            events: 0,
            sim_seconds: 0.0,
            wall_seconds: 0.0,
            reach: BTreeMap::new(),
            losses: BTreeMap::new(),
            judged: BTreeMap::new(),
            plant: None,
            plant_reached: 0,
        }
        .exit_code()
    }

    #[test]
    fn exit_statuses_tell_crash_safety_and_liveness_apart() {
        assert_eq!(code(&[]), exit::PASS);
        assert_eq!(code(&[Kind::Liveness]), exit::LIVENESS);
        assert_eq!(code(&[Kind::Liveness, Kind::Safety]), exit::SAFETY);
        assert_eq!(code(&[Kind::Safety, Kind::Crash]), exit::CRASH);
    }

    #[test]
    fn an_expected_violation_passes_and_its_absence_fails() {
        let mut seen = vec![violation(Kind::Safety)];
        assert_eq!(judge(Some("violates:a.b"), &mut seen, &[]), Verdict::Pass);
        assert_eq!(judge(Some("violates:a.b"), &mut Vec::new(), &[]), Verdict::Fail);
        let mut other =
            vec![violation(Kind::Safety), Violation { oracle: "c.d".to_owned(), ..violation(Kind::Safety) }];
        assert_eq!(judge(Some("violates:a.b"), &mut other, &[]), Verdict::Fail);
    }

    #[test]
    fn an_oracle_without_evidence_makes_the_verdict_unknown_but_never_hides_a_failure() {
        let unknown = ["x judged nothing".to_owned()];
        assert_eq!(judge(None, &mut Vec::new(), &unknown), Verdict::Unknown);
        assert_eq!(judge(None, &mut vec![violation(Kind::Safety)], &unknown), Verdict::Fail);
    }
}
