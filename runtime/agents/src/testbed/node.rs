//! Node's own test runner: what is read of its events, as [`REPORTER`] writes them.
//!
//! Tests within tests come before the test they belong to, and their names are joined by ` > `. A file that could not be run, or did not
//! end in its time, is a case of its own, as it is for the runner.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;

use super::case::{Case, Counts, Outcome, Parsed, Paths, one_line};

/// The module that Node loads as its reporter.
pub const REPORTER: &str = include_str!("reporter.mjs");

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    event: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    nesting: usize,
    file: Option<String>,
    line: Option<u32>,
    skip: Option<Flag>,
    todo: Option<Flag>,
    ms: Option<f64>,
    kind: Option<String>,
    error: Option<Failure>,
    #[serde(default)]
    message: String,
}

/// `true`, or the reason.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Word(String),
    Set(bool),
}

impl Flag {
    fn reason(&self) -> Option<&str> {
        match self {
            Flag::Word(word) => Some(word),
            Flag::Set(true) => Some(""),
            Flag::Set(false) => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    #[serde(default)]
    message: String,
    #[serde(default)]
    stack: String,
    failure_type: Option<String>,
    cause: Option<Box<Failure>>,
}

static FRAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:\(|at |^)(?:file://)?(/[^ \t\n():]+):([0-9]+)(?::[0-9]+)?\)?")
        .expect("the pattern is well-formed")
});
static MISSING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"Cannot find (?:module|package) '([^'\n]+)'").expect("the pattern is well-formed")
});

/// Reads the events of one run. `base` is the directory, relative to the tree, in which it ran.
pub fn parse(stdout: &str, paths: &Paths<'_>, base: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut spoken: BTreeMap<String, String> = BTreeMap::new();
    // Tests within a test are told before it: their cases wait for the names above theirs.
    let mut waiting: Vec<(usize, usize)> = Vec::new();
    let mut totals: BTreeMap<String, u64> = BTreeMap::new();
    for line in stdout.lines().filter(|line| line.starts_with('{')) {
        let Ok(line) = serde_json::from_str::<Line>(line) else { continue };
        match line.event.as_str() {
            "test:stderr" => {
                let said = spoken.entry(line.file.unwrap_or_default()).or_default();
                if said.len() < 64 << 10 {
                    said.push_str(&line.message);
                }
            }
            "test:diagnostic" => {
                if let Some((word, number)) = line.message.split_once(' ')
                    && let Ok(number) = number.parse()
                {
                    totals.insert(word.to_string(), number);
                }
            }
            "test:pass" | "test:fail" => {
                let from =
                    waiting.iter().position(|(depth, _)| *depth > line.nesting).unwrap_or(waiting.len());
                for (_, index) in waiting.iter().skip(from) {
                    let case = &mut parsed.cases[*index];
                    case.name = format!("{} > {}", line.name, case.name);
                }
                if line.nesting == 0 {
                    waiting.clear();
                } else {
                    for (depth, _) in waiting.iter_mut().skip(from) {
                        *depth = line.nesting;
                    }
                }
                let suite = line.kind.as_deref() == Some("suite");
                let case = case(&line, &spoken, paths, base);
                if !suite {
                    parsed.counted.add(case.outcome);
                }
                // A suite that fails for another reason than its parts (a hook) is told; one that does not is only a name.
                if suite && (!case.outcome.is_bad() || case.by_parts) {
                    continue;
                }
                if line.nesting > 0 {
                    waiting.push((line.nesting, parsed.cases.len()));
                }
                parsed.cases.push(case);
            }
            _ => {}
        }
    }
    let total = |word: &str| totals.get(word).copied();
    if let Some(tests) = total("tests") {
        let sum =
            |words: &[&str]| words.iter().filter_map(|word| total(word)).fold(0u64, u64::saturating_add);
        parsed.said =
            Some(Counts { tests, failed: sum(&["fail", "cancelled"]), skipped: sum(&["skipped", "todo"]) });
    }
    parsed
}

fn case(line: &Line, spoken: &BTreeMap<String, String>, paths: &Paths<'_>, base: &str) -> Case {
    let file = line.file.as_deref().unwrap_or_default();
    let inside = paths.resolve(&[base], file);
    let suite = inside.clone().unwrap_or_else(|| "node".into());
    // The case of a whole file has the file's name.
    let whole = line.nesting == 0 && line.name == file;
    let name = if whole { suite.clone() } else { one_line(&line.name) };
    let skip = line.skip.as_ref().and_then(Flag::reason);
    let todo = line.todo.as_ref().and_then(Flag::reason);
    let kind = line.error.as_ref().and_then(|error| error.failure_type.as_deref()).unwrap_or_default();
    let outcome = match (skip.or(todo), line.event.as_str()) {
        (Some(_), _) => Outcome::Skipped,
        (None, "test:pass") => Outcome::Passed,
        _ if kind == "testTimeoutFailure" => Outcome::TimedOut,
        _ if matches!(kind, "cancelledByParent" | "testAborted" | "uncaughtException" | "hookFailed") => {
            Outcome::Error
        }
        _ => Outcome::Failed,
    };
    let mut case = Case::new(suite, name, outcome);
    case.seconds = line.ms.map(|ms| ms / 1000.0);
    if outcome == Outcome::Skipped {
        return case.because(skip.or(todo).unwrap_or_default());
    }
    let defined = inside.zip(line.line);
    let Some(error) = line.error.as_ref().filter(|_| outcome.is_bad()) else { return case.at(defined) };
    case.by_parts = kind == "subtestsFailed";
    let mut deepest = error;
    while let Some(cause) = deepest.cause.as_deref().filter(|cause| !cause.stack.is_empty()) {
        deepest = cause;
    }
    let mut detail = deepest.stack.clone();
    let mut message = deepest.message.clone();
    let said = spoken.get(file).map(String::as_str).unwrap_or_default();
    if whole && outcome != Outcome::TimedOut && !said.is_empty() {
        detail = said.to_string();
        let telling = said.lines().find(|line| line.contains("Error"));
        message = telling.unwrap_or("the file could not be run").to_string();
    }
    if outcome == Outcome::TimedOut {
        message = "it did not end in its time".into();
    }
    case.needs = MISSING
        .captures(&detail)
        .map(|found| found[1].to_string())
        .filter(|module| !module.starts_with(['.', '/', '#']))
        .map(|module| format!("the package {module}"));
    let frames = FRAME.captures_iter(&detail);
    let mut here =
        frames.filter_map(|found| Some((paths.resolve(&[base], &found[1])?, found[2].parse().ok()?)));
    let place = here.next().or(defined);
    case.because(&message).said(&detail).at(place)
}

/// The name of the outermost test of a case: what it takes to run it alone.
pub fn outermost(case: &Case) -> &str {
    case.name.split(" > ").next().unwrap_or(&case.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const PLANTED: &str = include_str!("../../tests/transcripts/node-planted.jsonl");

    fn read(stdout: &str) -> Parsed {
        let known = BTreeSet::from(["test/a.test.js", "test/broken.test.js", "test/hang.test.js"]);
        parse(stdout, &Paths { root: "/t", known: &known }, "")
    }

    fn case<'a>(parsed: &'a Parsed, name: &str) -> &'a Case {
        parsed.cases.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("{name} in {parsed:#?}"))
    }

    #[test]
    fn a_recorded_run_gives_each_case_with_why_and_where() {
        let parsed = read(PLANTED);
        assert_eq!(parsed.said, Some(Counts { tests: 10, failed: 5, skipped: 2 }));
        assert_eq!(parsed.disagreement("node"), None);
        assert_eq!(parsed.cases.len(), 10);
        let breaks = case(&parsed, "breaks");
        assert_eq!((breaks.path.as_deref(), breaks.line), (Some("test/a.test.js"), Some(4)));
        assert_eq!(breaks.message, "3 == 4");
        assert_eq!(case(&parsed, "outer > inner bad").message, "x second");
        assert!(case(&parsed, "outer").by_parts);
        assert_eq!(case(&parsed, "suite > b").message, "later");
        assert_eq!(case(&parsed, "suite > c").outcome, Outcome::Skipped, "yet to be done");
        assert_eq!(outermost(case(&parsed, "suite > a")), "suite");
    }

    #[test]
    fn a_file_that_cannot_be_loaded_and_one_that_hangs_are_told_by_name() {
        let parsed = read(PLANTED);
        let broken = case(&parsed, "test/broken.test.js");
        assert_eq!(broken.needs.as_deref(), Some("the package nowhere-at-all"));
        assert_eq!((broken.outcome, broken.line), (Outcome::Failed, Some(1)));
        assert_eq!(case(&parsed, "test/hang.test.js").outcome, Outcome::TimedOut);
    }

    #[test]
    fn names_of_tests_within_tests_are_joined_from_the_outside() {
        let events = [("c", 2), ("b", 1), ("d", 1), ("a", 0), ("e", 0)];
        let lines: Vec<String> = events
            .iter()
            .map(|(name, nesting)| format!(r#"{{"type":"test:pass","name":"{name}","nesting":{nesting}}}"#))
            .collect();
        let names: Vec<String> = read(&lines.join("\n")).cases.into_iter().map(|case| case.name).collect();
        assert_eq!(names, ["a > b > c", "a > b", "a > d", "a", "e"]);
    }
}
