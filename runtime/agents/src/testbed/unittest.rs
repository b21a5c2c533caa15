//! Python's test runners: how they are started, and how what they tell is read.
//!
//! A small program drives the standard library's discovery, or pytest, and tells begin and end of each test as a line of JSON; the runner's own
//! result gives the totals. A test over its time is ended by the interpreter itself, which says where it was.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;

use super::case::{Case, Counts, Outcome, Parsed, Paths, one_line};

/// The program that drives unittest: its arguments are a directory, the seconds that one test may take, and tests to run alone.
pub const DRIVER: &str = include_str!("unittest.py");

/// The program that drives pytest, with the same arguments; what it collects, pytest's own settings say.
pub const PYTEST: &str = include_str!("pytest.py");

/// Asks an interpreter where it lives and what it has; run in `/`, away from the tree.
pub const PROBE: &str = "import importlib.util as u, json, sys; print(json.dumps({'program': sys.executable, 'version': '%d.%d' % sys.version_info[:2], 'prefixes': sorted({sys.prefix, sys.base_prefix}), 'pytest': u.find_spec('pytest') is not None}))";

/// What an interpreter says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Interpreter {
    /// Its real program, absolute.
    pub program: String,
    /// Its version, as in `3.11`.
    pub version: String,
    /// Where its library lies.
    pub prefixes: Vec<String>,
    /// Whether it has pytest.
    pub pytest: bool,
}

#[derive(Deserialize)]
struct Line {
    event: String,
    #[serde(default)]
    id: String,
    file: Option<String>,
    line: Option<u32>,
    seconds: Option<f64>,
    #[serde(default)]
    outcome: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    detail: String,
    part: Option<String>,
    #[serde(default)]
    run: u64,
    #[serde(default)]
    failures: u64,
    #[serde(default)]
    errors: u64,
    #[serde(default)]
    skipped: u64,
    #[serde(default)]
    unexpected: u64,
}

static FRAME: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"File "([^"\n]+)", line ([0-9]+)"#).expect("the pattern is well-formed"));
static MISSING: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"ModuleNotFoundError: No module named '([A-Za-z0-9_.]+)'")
        .expect("the pattern is well-formed")
});

static UNINSTALLED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"PackageNotFoundError: No package metadata was found for ([A-Za-z0-9_.-]+)")
        .expect("the pattern is well-formed")
});

/// Reads what [`DRIVER`] told. `base` is the directory, relative to the tree, in which it ran.
pub fn parse(stdout: &str, stderr: &str, paths: &Paths<'_>, base: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut open: Option<Case> = None;
    let mut defined: Option<(String, u32)> = None;
    // Results of the test that is open: its first bad one, and how many bad ones there are.
    let mut bad: u64 = 0;
    let mut ended = false;
    for line in stdout.lines() {
        let Ok(line) = serde_json::from_str::<Line>(line) else { continue };
        match line.event.as_str() {
            "start" => {
                let (suite, name) = split(&line.id);
                open = Some(Case::new(suite, name, Outcome::Passed));
                defined = line.file.zip(line.line);
                defined = defined.and_then(|(file, line)| Some((paths.resolve(&[base], &file)?, line)));
                (bad, ended) = (0, false);
                parsed.counted.tests = parsed.counted.tests.saturating_add(1);
            }
            "end" => {
                let outcome = match line.outcome.as_str() {
                    "failed" | "unexpected" => Outcome::Failed,
                    "error" => Outcome::Error,
                    "skipped" => Outcome::Skipped,
                    _ => Outcome::Passed,
                };
                parsed.counted.failed += u64::from(outcome.is_bad());
                parsed.counted.skipped += u64::from(outcome == Outcome::Skipped);
                let own = open.as_ref().is_some_and(|case| full_id(case) == line.id);
                if !own {
                    // A class or module that could not be set up or taken down: nobody started it.
                    let (suite, name) = fixture(&line.id);
                    let case = Case::new(suite, name, outcome);
                    parsed.cases.push(explain(case, &line, paths, base, None));
                    continue;
                }
                let Some(case) = open.as_mut() else { continue };
                ended = true;
                if outcome.is_bad() {
                    bad += 1;
                    if bad == 1 {
                        case.outcome = outcome;
                        *case = explain(case.clone(), &line, paths, base, defined.clone());
                        if let Some(part) = &line.part {
                            case.message = one_line(&format!("{part}: {}", case.message));
                        }
                    }
                } else if outcome == Outcome::Skipped && bad == 0 {
                    case.outcome = outcome;
                    case.message = one_line(&line.message);
                }
            }
            "stop" => {
                let Some(mut case) = open.take() else { continue };
                case.seconds = line.seconds;
                if bad > 1 {
                    case.message = format!("{} (and {} more like it)", case.message, bad - 1);
                }
                if !ended {
                    case.outcome = Outcome::Error;
                    case.message = "it told no result".into();
                }
                parsed.cases.push(case);
            }
            "done" => {
                parsed.said = Some(Counts {
                    tests: line.run,
                    failed: line.failures.saturating_add(line.errors).saturating_add(line.unexpected),
                    skipped: line.skipped,
                });
            }
            _ => {}
        }
    }
    parsed.open = open.map(|case| hung(case, stderr, paths, base, defined));
    parsed
}

/// The test that was running when the interpreter ended: over its time if the interpreter says so, else it took the interpreter with it.
fn hung(mut case: Case, stderr: &str, paths: &Paths<'_>, base: &str, defined: Option<(String, u32)>) -> Case {
    let dump = stderr.rfind("Timeout (").map(|at| &stderr[at..]);
    let detail = dump.unwrap_or(stderr);
    let frames = FRAME.captures_iter(detail);
    let mut here =
        frames.filter_map(|found| Some((paths.resolve(&[base], &found[1])?, found[2].parse().ok()?)));
    let place = if dump.is_some() { here.next() } else { None }.or(defined);
    case.outcome = if dump.is_some() { Outcome::TimedOut } else { Outcome::Error };
    let message = if dump.is_some() { "it did not end in its time" } else { "it ended the interpreter" };
    case.because(message).said(detail).at(place)
}

fn explain(case: Case, line: &Line, paths: &Paths<'_>, base: &str, defined: Option<(String, u32)>) -> Case {
    let frames = FRAME.captures_iter(&line.detail);
    let here = frames.filter_map(|found| Some((paths.resolve(&[base], &found[1])?, found[2].parse().ok()?)));
    let place = here.last().or(defined);
    // A module that cannot be imported brings a whole traceback as its message: what raised stands last.
    let lines = || line.message.lines().filter(|line| !line.trim().is_empty());
    let first = lines().next().unwrap_or_default();
    let message = match lines().next_back() {
        Some(last) if first.contains("Failed to import test module") => format!("{first}: {last}"),
        _ => line.message.clone(),
    };
    let mut case = case.because(&message).said(&line.detail).at(place);
    case.needs = lacks(&line.detail, paths);
    if case.needs.is_some() {
        case.outcome = Outcome::Error;
    }
    case
}

/// What a traceback says is missing: a module, unless the tree has it, or a package that is asked for its version, so has to be installed.
pub fn lacks(text: &str, paths: &Paths<'_>) -> Option<String> {
    if let Some(found) = UNINSTALLED.captures(text) {
        return Some(format!("the Python package {} installed", &found[1]));
    }
    let found = MISSING.captures(text)?;
    let module = found[1].split('.').next().unwrap_or_default();
    (!in_tree(module, paths)).then(|| format!("the Python module {module}"))
}

/// Whether the tree has a module of that name anywhere: then its absence is the tree's own affair.
fn in_tree(module: &str, paths: &Paths<'_>) -> bool {
    let file = format!("{module}.py");
    paths.known.iter().any(|path| {
        let name = path.rsplit('/').next().unwrap_or(path);
        name == file || name == module
    })
}

/// The name by which its runner takes a case alone.
pub fn full_id(case: &Case) -> String {
    let of_pytest = case.suite.ends_with(".py") || case.suite.contains(".py::");
    match case.suite.as_str() {
        "" => case.name.clone(),
        suite if of_pytest => format!("{suite}::{}", case.name),
        suite => format!("{suite}.{}", case.name),
    }
}

fn split(id: &str) -> (&str, &str) {
    // A module that cannot be loaded is a test of unittest's own class, and its name the module's.
    if let Some(module) = id.strip_prefix("unittest.loader._FailedTest.") {
        return ("unittest.loader._FailedTest", module);
    }
    // pytest's: a file, classes, the test, and perhaps parameters in brackets, which may hold anything.
    let plain = &id[..id.find('[').unwrap_or(id.len())];
    match plain.rfind("::") {
        Some(at) => (&id[..at], &id[at + 2..]),
        None => id.rsplit_once('.').unwrap_or(("", id)),
    }
}

/// `setUpClass (package.Class)` as a suite and a name.
fn fixture(id: &str) -> (String, String) {
    match id.split_once(" (") {
        Some((name, of)) => (of.trim_end_matches(')').to_string(), name.to_string()),
        None => (String::new(), id.to_string()),
    }
}

/// Cases by the full name under which they can be run alone: those that unittest itself could load.
pub fn can_run_alone(case: &Case) -> bool {
    !case.suite.starts_with("unittest.loader") && !case.name.contains(' ') && !case.name.starts_with("setUp")
}

/// The modules that were missing, with how many cases each stopped.
pub fn needs(cases: &[Case]) -> BTreeMap<String, usize> {
    let mut needs = BTreeMap::new();
    for need in cases.iter().filter_map(|case| case.needs.as_ref()) {
        *needs.entry(need.clone()).or_default() += 1;
    }
    needs
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const PLANTED: &str = include_str!("../../tests/transcripts/unittest-planted.jsonl");

    fn read(stdout: &str, stderr: &str) -> Parsed {
        let known = BTreeSet::from(["tests", "tests/test_a.py", "tests/test_b.py"]);
        parse(stdout, stderr, &Paths { root: "/t", known: &known }, "")
    }

    fn case<'a>(parsed: &'a Parsed, name: &str) -> &'a Case {
        parsed.cases.iter().find(|case| case.name == name).expect(name)
    }

    #[test]
    fn a_recorded_run_gives_each_case_with_why_and_where() {
        let parsed = read(PLANTED, "");
        assert_eq!(parsed.said, Some(Counts { tests: 8, failed: 6, skipped: 1 }));
        assert_eq!(parsed.disagreement("unittest"), None);
        let bad = case(&parsed, "test_bad");
        assert_eq!((bad.suite.as_str(), bad.outcome), ("tests.test_a.A", Outcome::Failed));
        assert_eq!((bad.path.as_deref(), bad.line), (Some("tests/test_a.py"), Some(5)));
        assert_eq!(bad.message, "AssertionError: 1 != 2 : sums");
        assert_eq!(case(&parsed, "test_error").outcome, Outcome::Error);
        assert_eq!(case(&parsed, "test_skip").message, "later");
        assert_eq!(case(&parsed, "test_xfail").outcome, Outcome::Passed);
        assert_eq!(case(&parsed, "test_xpass").outcome, Outcome::Failed);
        assert_eq!(case(&parsed, "test_sub").message, "(n=1): AssertionError: 1 == 1");
        let class = case(&parsed, "setUpClass");
        assert_eq!((class.suite.as_str(), class.line), ("tests.test_a.B", Some(20)));
        assert!(!can_run_alone(class) && can_run_alone(bad));
    }

    #[test]
    fn a_recorded_run_of_pytest_gives_the_same_and_names_that_it_takes_again() {
        let parsed = read(include_str!("../../tests/transcripts/pytest-planted.jsonl"), "");
        assert_eq!(parsed.said, Some(Counts { tests: 9, failed: 4, skipped: 2 }));
        assert_eq!(parsed.disagreement("pytest"), None);
        let two = case(&parsed, "test_p[2.5]");
        assert_eq!((two.suite.as_str(), two.line), ("tests/test_a.py", Some(15)));
        assert_eq!(full_id(two), "tests/test_a.py::test_p[2.5]");
        assert_eq!(full_id(case(&parsed, "test_m")), "tests/test_a.py::TestC::test_m");
        assert_eq!(case(&parsed, "test_fix").outcome, Outcome::Error);
        let broken = case(&parsed, "tests/test_b.py");
        assert_eq!((broken.line, broken.needs.as_deref()), (Some(1), Some("the Python module no_such_xyz")));
        assert_eq!(case(&parsed, "test_xf").outcome, Outcome::Passed);
    }

    #[test]
    fn a_missing_module_is_told_as_a_need_unless_the_tree_has_it() {
        let parsed = read(PLANTED, "");
        let stopped = case(&parsed, "tests.test_b");
        assert_eq!(stopped.needs.as_deref(), Some("the Python module not_there_at_all"));
        assert_eq!((stopped.path.as_deref(), stopped.line), (Some("tests/test_b.py"), Some(1)));
        let told = "ImportError: Failed to import test module: tests.test_b: ModuleNotFoundError: No module named 'not_there_at_all'";
        assert_eq!(stopped.message, told);
        let own = PLANTED.replace("not_there_at_all", "test_a");
        assert_eq!(case(&read(&own, ""), "tests.test_b").needs, None);
        let told = "importlib.metadata.PackageNotFoundError: No package metadata was found for test_a\n";
        let known = BTreeSet::from(["test_a"]);
        let needs = lacks(told, &Paths { root: "/t", known: &known });
        assert_eq!(needs.as_deref(), Some("the Python package test_a installed"));
    }

    #[test]
    fn a_test_that_hangs_is_named_with_the_line_it_was_at() {
        let stdout =
            r#"{"id": "tests.test_a.A.test_ok", "file": "/t/tests/test_a.py", "line": 3, "event": "start"}"#;
        let stderr = "Timeout (0:00:01)!\nThread 0x1 (most recent call first):\n  File \"/usr/lib/x.py\", line 1 in wait\n  File \"/t/tests/test_a.py\", line 9 in test_ok\n";
        let open = read(stdout, stderr).open.expect("it had begun");
        assert_eq!((open.outcome, open.line), (Outcome::TimedOut, Some(9)));
        let died = read(stdout, "killed").open.expect("it had begun");
        assert_eq!((died.outcome, died.line), (Outcome::Error, Some(3)));
    }
}
