//! Reads what a Rust test binary and `rustdoc --test` print in their stable form.
//!
//! A test that writes past the capture may spoil its own line; then the count differs from the one in `test result:`, which is told.
//! Lines within the output of failing tests are never taken for results.

use std::sync::LazyLock;

use regex::Regex;

use super::case::{Case, Counts, Outcome, Parsed, Paths};

static CASE: LazyLock<Regex> = LazyLock::new(|| {
    let text = r"(?:^|[ \t\n]|[^A-Za-z0-9_])test ([^ \t\n]+|[^ \t\n]+ - .*?\(line [0-9]+\))((?: - should panic| - compile fail| - compile)*) \.\.\. (ok|FAILED|ignored|bench:)([,: <(].*)?$";
    Regex::new(text).expect("the pattern is well-formed")
});
static RESULT: LazyLock<Regex> = LazyLock::new(|| {
    let text = r"^test result: (?:ok|FAILED)\. ([0-9]+) passed; ([0-9]+) failed; ([0-9]+) ignored; ([0-9]+) measured;";
    Regex::new(text).expect("the pattern is well-formed")
});
static PANIC: LazyLock<Regex> = LazyLock::new(|| {
    let text = r"(?:panicked at |did not panic as expected at )(?:'(?s:(.*?))', )?([^ \t\n:'][^:\n]*):([0-9]+):[0-9]+";
    Regex::new(text).expect("the pattern is well-formed")
});
static RUNNING: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^running [0-9]+ tests?$").expect("the pattern is well-formed"));
static DOC: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(.+?) - .*\(line ([0-9]+)\)$").expect("the pattern is well-formed"));

#[derive(PartialEq)]
enum Within {
    /// Before and after a harness's own lines.
    Nothing,
    /// Among the lines with results.
    Results,
    /// In what failing tests said.
    Output,
}

/// Reads the standard output of one or more harnesses, all of them told as `suite`. `bases` are directories, relative to the
/// tree, from which the paths of panics may be told.
pub fn parse(suite: &str, stdout: &str, paths: &Paths<'_>, bases: &[&str]) -> Parsed {
    let mut parsed = Parsed::default();
    let mut within = Within::Nothing;
    let mut block = 0;
    let mut said: Vec<Counts> = Vec::new();
    let mut speaker: Option<usize> = None;
    let mut details: Vec<String> = Vec::new();
    for line in stdout.lines() {
        if within != Within::Output && RUNNING.is_match(line) {
            within = Within::Results;
            block = parsed.cases.len();
        } else if let Some(found) = RESULT.captures(line) {
            let number = |n: usize| found[n].parse::<u64>().unwrap_or(u64::MAX);
            let tests = (1..=4).fold(0u64, |sum, n| sum.saturating_add(number(n)));
            let counts = Counts { tests, failed: number(2), skipped: number(3) };
            // A second one without a harness that began: the first was some test's own words.
            if within == Within::Nothing {
                said.pop();
            }
            said.push(counts);
            within = Within::Nothing;
            speaker = None;
        } else if within == Within::Results && matches!(line, "failures:" | "successes:") {
            within = Within::Output;
        } else if within == Within::Results {
            if let Some(found) = CASE.captures(line) {
                let outcome = match &found[3] {
                    "FAILED" => Outcome::Failed,
                    "ignored" => Outcome::Skipped,
                    _ => Outcome::Passed,
                };
                let mut case = Case::new(suite, &found[1], outcome);
                if outcome == Outcome::Skipped
                    && let Some(reason) = found.get(4)
                {
                    case = case.because(reason.as_str().trim_start_matches([',', ' ']));
                }
                parsed.counted.add(outcome);
                parsed.cases.push(case);
                details.push(String::new());
            }
        } else if within == Within::Output {
            let header = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" ----"));
            let named = header.and_then(|rest| rest.strip_suffix(" stdout").or(rest.strip_suffix(" stderr")));
            let owner = named.and_then(|name| {
                let mut cases = parsed.cases[block..].iter();
                Some(block + cases.position(|case| case.outcome.is_bad() && case.name == name)?)
            });
            if let Some(owner) = owner {
                speaker = Some(owner);
            } else if line == "failures:" {
                speaker = None;
            } else if let Some(owner) = speaker
                && details[owner].len() < 64 << 10
            {
                details[owner].push_str(line);
                details[owner].push('\n');
            }
        }
    }
    if !said.is_empty() {
        parsed.said = Some(said.into_iter().fold(Counts::default(), |mut sum, counts| {
            sum.join(counts);
            sum
        }));
    }
    for (case, detail) in parsed.cases.iter_mut().zip(details) {
        if case.outcome.is_bad() {
            explain(case, detail.trim(), paths, bases);
        }
    }
    parsed
}

/// Fills in why a case failed, and where: at its panic, or at its beginning for an example of the documentation.
pub fn explain(case: &mut Case, detail: &str, paths: &Paths<'_>, bases: &[&str]) {
    let place = |path: &str, line: &str| Some((paths.resolve(bases, path)?, line.parse().ok()?));
    let panic = PANIC.captures(detail);
    let mut at = panic.as_ref().and_then(|found| place(&found[2], &found[3]));
    // An example's panic is told by the lines of the program that rustdoc makes of it.
    if let Some(found) = DOC.captures(&case.name) {
        at = place(&found[1], &found[2]);
    }
    let message = match &panic {
        Some(found) if found.get(1).is_some() => found[1].to_string(),
        Some(found) if found[0].starts_with("did not") => "it did not panic as it should".into(),
        Some(found) => {
            let after = &detail[found.get(0).map_or(0, |whole| whole.end())..];
            let after = after.trim_start_matches(':');
            let end =
                ["\nstack backtrace:", "\nnote: ", "\n\n"].iter().filter_map(|stop| after.find(stop)).min();
            after[..end.unwrap_or(after.len())].to_string()
        }
        None => detail.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed").to_string(),
    };
    *case = case.clone().because(&message).said(detail).at(at);
}

/// The names in the answer to `--list --format terse`: what the binary would run.
pub fn listed(stdout: &str) -> Vec<String> {
    let names = stdout.lines().filter_map(|line| line.strip_suffix(": test"));
    names.map(str::to_string).collect()
}

/// The line in `text` on which the function that `name` (a path with `::`) ends in is defined.
pub fn definition(text: &str, name: &str) -> Option<u32> {
    let function = name.rsplit("::").next()?;
    let defines = |line: &str| {
        let Some((_, rest)) = line.split_once("fn ") else { return false };
        rest.trim_start().strip_prefix(function).is_some_and(|rest| rest.starts_with(['(', '<', ' ']))
    };
    let line = text.lines().position(defines)?;
    u32::try_from(line + 1).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const PLANTED: &str = include_str!("../../tests/transcripts/libtest-planted.txt");
    const DOCTESTS: &str = include_str!("../../tests/transcripts/rustdoc-planted.txt");

    fn read(stdout: &str) -> Parsed {
        let known = BTreeSet::from(["src/lib.rs"]);
        parse("unit", stdout, &Paths { root: "/t", known: &known }, &[""])
    }

    fn case<'a>(parsed: &'a Parsed, name: &str) -> &'a Case {
        parsed.cases.iter().find(|case| case.name == name).expect(name)
    }

    #[test]
    fn a_recorded_run_gives_each_case_with_why_and_where() {
        let parsed = read(PLANTED);
        assert_eq!(parsed.said, Some(Counts { tests: 7, failed: 3, skipped: 2 }));
        assert_eq!(parsed.disagreement("unit"), None);
        let breaks = case(&parsed, "tests::breaks");
        assert_eq!((breaks.path.as_deref(), breaks.line), (Some("src/lib.rs"), Some(19)));
        assert_eq!(breaks.message, "assertion `left == right` failed: sums left: 3 right: 4");
        let quiet = case(&parsed, "tests::does_not");
        assert_eq!((quiet.line, quiet.message.as_str()), (Some(25), "it did not panic as it should"));
        assert_eq!(case(&parsed, "tests::gives_up").message, "Error: \"no\"");
        assert_eq!(case(&parsed, "tests::later").message, "slow");
        assert_eq!(case(&parsed, "tests::panics").outcome, Outcome::Passed);
    }

    #[test]
    fn an_example_of_the_documentation_is_told_where_it_stands() {
        let parsed = read(DOCTESTS);
        assert_eq!(parsed.said, Some(Counts { tests: 3, failed: 1, skipped: 1 }));
        assert_eq!(parsed.disagreement("doc"), None);
        let example = case(&parsed, "src/lib.rs - add (line 6)");
        assert_eq!((example.path.as_deref(), example.line), (Some("src/lib.rs"), Some(6)));
    }

    #[test]
    fn what_a_failing_test_prints_is_not_taken_for_results() {
        let parsed = read(
            "\nrunning 2 tests\ntest a ... FAILED\nraw bytes test b ... ok\n\nfailures:\n\n---- a stdout ----\nrunning 9 tests\n\
             test inner ... FAILED\ntest result: ok. 9 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\nboom\n\nfailures:\n    a\n\n\
             test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
        );
        assert_eq!(parsed.cases.len(), 2);
        assert_eq!(parsed.said, Some(Counts { tests: 2, failed: 1, skipped: 0 }));
    }

    #[test]
    fn a_spoiled_line_shows_in_the_counts() {
        let parsed = read(
            "running 2 tests\ntest a ... ok\ntest b ... spilled\nok\n\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        assert!(parsed.disagreement("unit").is_some());
    }

    #[test]
    fn an_output_that_breaks_off_says_no_totals() {
        let parsed = read("running 3 tests\ntest a ... ok\n");
        assert_eq!((parsed.cases.len(), parsed.said), (1, None));
    }

    #[test]
    fn lists_and_definitions_are_found() {
        assert_eq!(listed("a::b: test\nc: benchmark\n\n1 test, 1 benchmark\n"), ["a::b"]);
        let text = "fn other() {}\n#[test]\nasync fn breaks() {\n";
        assert_eq!(definition(text, "tests::breaks"), Some(3));
        assert_eq!(definition(text, "tests::break"), None);
    }
}
