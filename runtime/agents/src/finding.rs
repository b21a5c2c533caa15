//! A finding: what is wrong, where, how bad it is, and what to do about it.
//!
//! Findings are the common coin of all reviewing agents; reports, SARIF files and exit codes are made of them.
//! This module only describes and orders them: who finds what is the agents' business.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How bad a finding is; later variants are worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// True and worth knowing, nobody has to act.
    Info,
    /// Untidy: worth fixing when somebody passes by.
    Low,
    /// A defect that will bite under some circumstance.
    Medium,
    /// A defect that bites now, or a likely leak.
    High,
    /// A live secret or an open door: act today.
    Critical,
}

impl Severity {
    /// All severities, mildest first.
    pub const ALL: [Severity; 5] =
        [Severity::Info, Severity::Low, Severity::Medium, Severity::High, Severity::Critical];

    /// The lower-case word used in reports, JSON and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A word that names no severity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no severity: use one of info, low, medium, high, critical")]
pub struct UnknownSeverity(pub String);

impl FromStr for Severity {
    type Err = UnknownSeverity;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Severity::ALL
            .into_iter()
            .find(|severity| severity.word() == word)
            .ok_or_else(|| UnknownSeverity(word.into()))
    }
}

/// Where in the tree: a path relative to its root, with `/` between parts, and a position if there is one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Path relative to the root of the tree; `.` is the tree itself.
    pub path: String,
    /// Line, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Column in characters, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
}

impl Place {
    /// A whole file or directory.
    pub fn file(path: impl Into<String>) -> Self {
        Place { path: path.into(), line: None, column: None }
    }

    /// A line of a file.
    pub fn line(path: impl Into<String>, line: u32) -> Self {
        Place { path: path.into(), line: Some(line), column: None }
    }

    /// A line and a column of a file.
    pub fn at(path: impl Into<String>, line: u32, column: u32) -> Self {
        Place { path: path.into(), line: Some(line), column: Some(column) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        Ok(())
    }
}

/// One thing that is wrong (or worth knowing) at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable name of the check, such as `lint.merge-conflict` or `secret.aws-access-key-id`.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub place: Place,
    /// What is wrong, as one sentence without a full stop; never contains a secret in full.
    pub message: String,
    /// What to do about it.
    pub advice: String,
}

impl Finding {
    /// Puts a finding together.
    pub fn new(
        rule: impl Into<String>,
        severity: Severity,
        place: Place,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Finding { rule: rule.into(), severity, place, message: message.into(), advice: advice.into() }
    }
}

/// Sorts for reading: worst first, then by place, then by rule; equal findings are kept once.
pub fn arrange(findings: &mut Vec<Finding>) {
    findings.sort_by(|a, b| {
        b.severity
            .cmp(&a.severity)
            .then_with(|| a.place.cmp(&b.place))
            .then_with(|| a.rule.cmp(&b.rule))
            .then_with(|| a.message.cmp(&b.message))
    });
    findings.dedup();
}

/// How many findings there are of each severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Findings of severity `critical`.
    pub critical: usize,
    /// Findings of severity `high`.
    pub high: usize,
    /// Findings of severity `medium`.
    pub medium: usize,
    /// Findings of severity `low`.
    pub low: usize,
    /// Findings of severity `info`.
    pub info: usize,
}

impl Tally {
    /// Counts `findings`.
    pub fn of(findings: &[Finding]) -> Self {
        let mut tally = Tally::default();
        for finding in findings {
            *tally.slot(finding.severity) += 1;
        }
        tally
    }

    fn slot(&mut self, severity: Severity) -> &mut usize {
        match severity {
            Severity::Info => &mut self.info,
            Severity::Low => &mut self.low,
            Severity::Medium => &mut self.medium,
            Severity::High => &mut self.high,
            Severity::Critical => &mut self.critical,
        }
    }

    /// How many findings are at least as bad as `threshold`.
    pub fn at_least(mut self, threshold: Severity) -> usize {
        Severity::ALL.into_iter().filter(|severity| *severity >= threshold).map(|s| *self.slot(s)).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} critical, {} high, {} medium, {} low, {} info",
            self.critical, self.high, self.medium, self.low, self.info
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_ordered_and_named_both_ways() {
        for pair in Severity::ALL.windows(2) {
            assert!(pair[0] < pair[1]);
        }
        for severity in Severity::ALL {
            assert_eq!(severity.word().parse::<Severity>(), Ok(severity));
        }
        assert_eq!(
            "severe".parse::<Severity>().map_err(|e| e.to_string()),
            Err("`severe` is no severity: use one of info, low, medium, high, critical".into())
        );
    }

    #[test]
    fn the_worst_comes_first_and_nothing_twice() {
        let low = Finding::new("a", Severity::Low, Place::line("x", 1), "m", "d");
        let high = Finding::new("b", Severity::High, Place::line("z", 1), "m", "d");
        let mut findings = vec![low.clone(), high.clone(), low.clone()];
        arrange(&mut findings);
        assert_eq!(findings, vec![high, low]);
        let tally = Tally::of(&findings);
        assert_eq!((tally.at_least(Severity::Medium), tally.at_least(Severity::Info)), (1, 2));
    }
}
