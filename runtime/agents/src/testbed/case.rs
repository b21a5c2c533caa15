//! What a run of tests gave: cases with their outcomes, and how many the runner itself says there were.
//!
//! Every parser of a runner's output makes these, and nothing else of TESTBED knows how a runner speaks. Counting by the
//! runner's own rule is part of the parser's work, so that both counts can be held against each other.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::tree;

/// Longest message of a case, in bytes.
const MESSAGE_MAX: usize = 400;
/// Most of a failing case's output that is kept, in bytes.
const DETAIL_MAX: usize = 6 << 10;

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It passed.
    Passed,
    /// The runner or the test itself left it out.
    Skipped,
    /// What it asserts does not hold.
    Failed,
    /// It could not be carried through: an error outside of its assertions, or its process died.
    Error,
    /// It did not end in its time and was killed.
    TimedOut,
}

impl Outcome {
    /// Whether it counts against the tree.
    pub fn is_bad(self) -> bool {
        matches!(self, Outcome::Failed | Outcome::Error | Outcome::TimedOut)
    }
}

/// One test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// What it belongs to: a test binary, a class, a file, a make target.
    pub suite: String,
    /// Its name within the suite, as its runner takes it to run it alone.
    pub name: String,
    /// How it ended, at its first run.
    pub outcome: Outcome,
    /// How long it took, in seconds, where the runner tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Why it failed or was left out, in one line; empty if it passed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The end of what it said, if it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The file, relative to the root of the tree, where it failed or where it is defined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The line in that file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// How often it was run again by itself after it had failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub again: u32,
    /// Whether it passed when it was run again: it does not fail always.
    #[serde(default, skip_serializing_if = "is_false")]
    pub flaky: bool,
    /// Whether it failed only because cases within it did, which are told themselves.
    #[serde(default, skip_serializing_if = "is_false")]
    pub by_parts: bool,
    /// What it needs that is not on this machine, if that is why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the serialiser passes a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the serialiser passes a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Case {
    /// A case with nothing known but its end.
    pub fn new(suite: impl Into<String>, name: impl Into<String>, outcome: Outcome) -> Self {
        Case {
            suite: suite.into(),
            name: name.into(),
            outcome,
            seconds: None,
            message: String::new(),
            detail: String::new(),
            path: None,
            line: None,
            again: 0,
            flaky: false,
            by_parts: false,
            needs: None,
        }
    }

    /// Sets why, in one line.
    #[must_use]
    pub fn because(mut self, message: &str) -> Self {
        self.message = one_line(message);
        self
    }

    /// Sets what it said; of a long text the end is kept.
    #[must_use]
    pub fn said(mut self, detail: &str) -> Self {
        self.detail = tail(detail, DETAIL_MAX).to_string();
        self
    }

    /// Sets where.
    #[must_use]
    pub fn at(mut self, place: Option<(String, u32)>) -> Self {
        if let Some((path, line)) = place {
            self.path = Some(path);
            self.line = Some(line);
        }
        self
    }
}

/// `text` in one line of bounded length, without control characters.
pub fn one_line(text: &str) -> String {
    let mut line = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    if line.len() > MESSAGE_MAX {
        let mut cut = MESSAGE_MAX;
        while !line.is_char_boundary(cut) {
            cut -= 1;
        }
        line.truncate(cut);
        line.push('…');
    }
    line
}

/// The last `max` bytes of a text, from a character's beginning.
pub fn tail(text: &str, max: usize) -> &str {
    let mut cut = text.len().saturating_sub(max);
    while !text.is_char_boundary(cut) {
        cut += 1;
    }
    &text[cut..]
}

/// Numbers of tests, by a runner's own rule of counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// All, with those that were left out.
    pub tests: u64,
    /// Those that failed, errors and time-outs among them.
    pub failed: u64,
    /// Those that were left out.
    pub skipped: u64,
}

impl Counts {
    /// Counts cases, each once.
    pub fn of(cases: &[Case]) -> Self {
        let mut counts = Counts::default();
        for case in cases {
            counts.add(case.outcome);
        }
        counts
    }

    /// Counts one more.
    pub fn add(&mut self, outcome: Outcome) {
        self.tests += 1;
        self.failed += u64::from(outcome.is_bad());
        self.skipped += u64::from(outcome == Outcome::Skipped);
    }

    /// Takes in the counts of another part.
    pub fn join(&mut self, other: Counts) {
        self.tests = self.tests.saturating_add(other.tests);
        self.failed = self.failed.saturating_add(other.failed);
        self.skipped = self.skipped.saturating_add(other.skipped);
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tests, {} failed, {} left out", self.tests, self.failed, self.skipped)
    }
}

/// What a parser made of one runner's output.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parsed {
    /// The cases, in the runner's order.
    pub cases: Vec<Case>,
    /// How many the parser counted, by the runner's rule.
    pub counted: Counts,
    /// How many the runner says there were; `None` if it ended before it said.
    pub said: Option<Counts>,
    /// The case that had begun and not ended when the output broke off.
    pub open: Option<Case>,
}

impl Parsed {
    /// What to tell when the two counts differ.
    pub fn disagreement(&self, suite: &str) -> Option<String> {
        let said = self.said.filter(|said| *said != self.counted)?;
        Some(format!("{suite}: its runner says {said}, but its output tells of {}", self.counted))
    }
}

/// Maps paths that a tool tells back to paths of the tree.
#[derive(Debug, Clone)]
pub struct Paths<'a> {
    /// Where the copy of the tree lies, without a slash at its end.
    pub root: &'a str,
    /// All paths of the tree.
    pub known: &'a BTreeSet<&'a str>,
}

impl Paths<'_> {
    /// The path in the tree that `told` means: absolute and within the copy, or relative to one of `bases`, the first that is there.
    pub fn resolve(&self, bases: &[&str], told: &str) -> Option<String> {
        let told = told.strip_prefix("file://").unwrap_or(told);
        if let Some(path) = tree::within(self.root, told) {
            return self.known.contains(path.as_str()).then_some(path);
        }
        if told.is_empty() || told.starts_with('/') {
            return None;
        }
        let mut found = bases.iter().filter_map(|base| tree::resolve(base, told));
        found.find(|path| self.known.contains(path.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_told_path_is_found_from_its_bases_and_never_outside_the_tree() {
        let known = BTreeSet::from(["a", "a/src", "a/src/lib.rs", "src/lib.rs"]);
        let paths = Paths { root: "/scratch/t", known: &known };
        let resolve = |told: &str| paths.resolve(&["", "a"], told);
        assert_eq!(resolve("/scratch/t/a/src/lib.rs").as_deref(), Some("a/src/lib.rs"));
        assert_eq!(resolve("file:///scratch/t/src/lib.rs").as_deref(), Some("src/lib.rs"));
        assert_eq!(resolve("src/lib.rs").as_deref(), Some("src/lib.rs"), "the first base first");
        assert_eq!(paths.resolve(&["a"], "./src/../src/lib.rs").as_deref(), Some("a/src/lib.rs"));
        for outside in ["/etc/passwd", "../x", "/scratch/tree/src/lib.rs", "", "nowhere.rs"] {
            assert_eq!(resolve(outside), None, "{outside}");
        }
    }

    #[test]
    fn messages_are_one_bounded_line_and_details_keep_their_end() {
        assert_eq!(one_line("a\n  b\u{7}\tc"), "a b c");
        assert!(one_line(&"ä".repeat(1000)).len() < 410);
        assert_eq!(tail("äöü", 3), "ü");
        let case = Case::new("s", "n", Outcome::Failed).said(&"x".repeat(100_000));
        assert_eq!(case.detail.len(), DETAIL_MAX);
    }

    #[test]
    fn two_counts_that_differ_are_told_both() {
        let cases = vec![Case::new("s", "a", Outcome::Passed), Case::new("s", "b", Outcome::TimedOut)];
        let counted = Counts::of(&cases);
        let mut parsed = Parsed { cases, counted, said: Some(counted), open: None };
        assert_eq!(parsed.disagreement("s"), None);
        parsed.said = Some(Counts { tests: 3, failed: 1, skipped: 0 });
        assert_eq!(
            parsed.disagreement("s").as_deref(),
            Some(
                "s: its runner says 3 tests, 1 failed, 0 left out, but its output tells of 2 tests, 1 failed, 0 left out"
            )
        );
    }
}
