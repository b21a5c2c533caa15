//! Reads what `make check`, CTest and other runners of C projects print: Automake's lines and summary, TAP, CTest's table.
//!
//! Output of none of these forms gives no cases; the exit status is then all that is known, and is told as one case.

use std::sync::LazyLock;

use regex::Regex;

use super::case::{Case, Counts, Outcome, Parsed, Paths, one_line};

static AUTOMAKE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^(PASS|FAIL|SKIP|XFAIL|XPASS|ERROR): ([^ \t\n].*)$").expect("the pattern is well-formed")
});
static SUMMARY: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^# (TOTAL|PASS|SKIP|XFAIL|FAIL|XPASS|ERROR): +([0-9]+)$")
        .expect("the pattern is well-formed")
});
static TAP: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"^(not )?ok(?-u:\b) *([0-9]+)?(?: *-)? *([^#]*?) *(?:# *(SKIP|TODO|skip|todo)[^ \t\n]* *(.*))?$",
    )
    .expect("the pattern is well-formed")
});
static PLAN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^1\.\.([0-9]+)").expect("the pattern is well-formed"));
static CTEST: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^ *[0-9]+/[0-9]+ +Test +#[0-9]+: ([^ \t\n]+) [ .]*(?:\*\*\*)?(Passed|Failed|Not Run|Timeout|Exception: [^ \t\n]+|Skipped|Not Run \(Disabled\)|Failed +Required.*|Subprocess aborted|SEGFAULT)[ \t\n]+([0-9.]+) sec")
        .expect("the pattern is well-formed")
});
static CTEST_SUM: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[0-9]+% tests passed, ([0-9]+) tests failed out of ([0-9]+)")
        .expect("the pattern is well-formed")
});
static PLACE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"([A-Za-z0-9_./+@-]+\.(?:c|h|cc|cpp|cxx|hpp|hh|C|y|l|m|s|S|sh|py|pl|t|am|in|mk|test|js)|(?:[A-Za-z0-9_./-]*/)?(?:GNUm|M|m)akefile):([0-9]+)"#)
        .expect("the pattern is well-formed")
});

/// Reads what a runner printed, all of it told as `suite`.
pub fn parse(suite: &str, stdout: &str) -> Parsed {
    let automake = automake(suite, stdout);
    if !automake.cases.is_empty() || automake.said.is_some() {
        return automake;
    }
    let ctest = ctest(suite, stdout);
    if !ctest.cases.is_empty() {
        return ctest;
    }
    tap(suite, stdout)
}

fn automake(suite: &str, stdout: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut said = Counts::default();
    let mut summed = false;
    for line in stdout.lines() {
        if let Some(found) = SUMMARY.captures(line) {
            let number = found[2].parse().unwrap_or(u64::MAX);
            match &found[1] {
                "TOTAL" => said.tests = said.tests.saturating_add(number),
                "FAIL" | "XPASS" | "ERROR" => said.failed = said.failed.saturating_add(number),
                "SKIP" => said.skipped = said.skipped.saturating_add(number),
                _ => {}
            }
            summed = true;
        } else if let Some(found) = AUTOMAKE.captures(line) {
            let (outcome, message) = match &found[1] {
                "PASS" => (Outcome::Passed, ""),
                "XFAIL" => (Outcome::Passed, ""),
                "SKIP" => (Outcome::Skipped, ""),
                "XPASS" => (Outcome::Failed, "it passes, but is marked as an expected failure"),
                "ERROR" => (Outcome::Error, "it could not be carried through"),
                _ => (Outcome::Failed, "it failed"),
            };
            parsed.counted.add(outcome);
            parsed.cases.push(Case::new(suite, one_line(&found[2]), outcome).because(message));
        }
    }
    parsed.said = summed.then_some(said);
    parsed
}

fn ctest(suite: &str, stdout: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for line in stdout.lines() {
        if let Some(found) = CTEST_SUM.captures(line) {
            let number = |n: usize| found[n].parse().unwrap_or(u64::MAX);
            // Tests that did not run for want of a condition are counted neither way.
            parsed.said =
                Some(Counts { tests: number(2), failed: number(1), skipped: parsed.counted.skipped });
        } else if let Some(found) = CTEST.captures(line) {
            let outcome = match &found[2] {
                "Passed" => Outcome::Passed,
                "Skipped" | "Not Run (Disabled)" => Outcome::Skipped,
                "Timeout" => Outcome::TimedOut,
                word if word.starts_with("Failed") => Outcome::Failed,
                _ => Outcome::Error,
            };
            parsed.counted.add(outcome);
            let mut case = Case::new(suite, &found[1], outcome);
            case.seconds = found[3].parse().ok();
            parsed.cases.push(if outcome == Outcome::Passed { case } else { case.because(&found[2]) });
        }
    }
    parsed
}

/// Reads TAP. The plan is what the runner says of the number of tests.
pub fn tap(suite: &str, stdout: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut planned: Option<u64> = None;
    for line in stdout.lines() {
        if let Some(found) = PLAN.captures(line) {
            let number = found[1].parse().unwrap_or(u64::MAX);
            planned = Some(planned.unwrap_or(0).saturating_add(number));
        } else if let Some(found) = TAP.captures(line) {
            let directive = found.get(4).map(|word| word.as_str().to_ascii_lowercase());
            let outcome = match (directive.as_deref(), found.get(1).is_some()) {
                (Some(_), _) => Outcome::Skipped,
                (None, true) => Outcome::Failed,
                (None, false) => Outcome::Passed,
            };
            let number = found.get(2).map_or("?", |number| number.as_str());
            let name = match one_line(&found[3]) {
                name if name.is_empty() => format!("test {number}"),
                name => name,
            };
            let mut case = Case::new(suite, name, outcome);
            if let Some(reason) = found.get(5).filter(|_| outcome == Outcome::Skipped) {
                case = case.because(reason.as_str());
            }
            if outcome == Outcome::Failed {
                case = case.because("not ok");
            }
            parsed.counted.add(outcome);
            parsed.cases.push(case);
        } else if let Some(case) = parsed.cases.last_mut().filter(|case| case.outcome == Outcome::Failed)
            && (line.starts_with('#') || line.starts_with("  "))
            && case.detail.len() < 4096
        {
            case.detail.push_str(line);
            case.detail.push('\n');
        }
    }
    // Words like `ok` alone are no TAP: it has a plan.
    let Some(tests) = planned else { return Parsed::default() };
    parsed.said = Some(Counts { tests, ..parsed.counted });
    parsed
}

/// The first file and line of the tree that `text` names; failed assertions and compilers' errors have this form.
pub fn place(text: &str, paths: &Paths<'_>, bases: &[&str]) -> Option<(String, u32)> {
    PLACE
        .captures_iter(text)
        .find_map(|found| Some((paths.resolve(bases, &found[1])?, found[2].parse().ok()?)))
}

/// The line of `text` that says best what went wrong, for runners that only fail.
pub fn telling(text: &str) -> &str {
    const WORDS: [&str; 9] =
        ["Assertion", "error:", "FAIL", "fail", "Error ", "not ok", "mismatch", "expected", "Segmentation"];
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
    let hit = WORDS.iter().find_map(|word| lines().find(|line| line.contains(word)));
    hit.or_else(|| lines().next_back()).unwrap_or("it failed and said nothing")
}

/// What a build lacked: a header, a library or a program that is not on this machine.
pub fn lacks(text: &str, paths: &Paths<'_>) -> Option<String> {
    static HEADER: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"fatal error: ([A-Za-z0-9_./+-]+): No such file or directory")
            .expect("the pattern is well-formed")
    });
    static LIBRARY: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"cannot find -l([A-Za-z0-9_+.-]+)").expect("the pattern is well-formed")
    });
    static PROGRAM: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?:make(?:\[[0-9]+\])?: ([A-Za-z0-9_.+-]+): No such file or directory|sh: (?:[0-9]+: )?(?:line [0-9]+: )?([A-Za-z0-9_.+-]+): (?:command )?not found|configure: error: (?:no acceptable )?([A-Za-z0-9_ .+-]+?)(?: not found| is required| compiler found))")
            .expect("the pattern is well-formed")
    });
    if let Some(found) = HEADER.captures(text) {
        let name = found[1].rsplit('/').next().unwrap_or_default().to_string();
        let own = paths.known.iter().any(|path| path.rsplit('/').next() == Some(name.as_str()));
        return (!own).then(|| format!("the header {}", &found[1]));
    }
    if let Some(found) = LIBRARY.captures(text) {
        return Some(format!("the library {}", &found[1]));
    }
    let found = PROGRAM.captures(text)?;
    let name = (1..=3).find_map(|n| found.get(n))?.as_str();
    Some(name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const AUTOMAKE: &str = include_str!("../../tests/transcripts/automake-planted.txt");

    #[test]
    fn automake_s_lines_and_summary_agree() {
        let parsed = parse("check", AUTOMAKE);
        assert_eq!(parsed.said, Some(Counts { tests: 6, failed: 3, skipped: 1 }));
        assert_eq!(parsed.disagreement("check"), None);
        let bad: Vec<&str> =
            parsed.cases.iter().filter(|case| case.outcome.is_bad()).map(|case| case.name.as_str()).collect();
        assert_eq!(bad, ["bad", "hard", "xpass"]);
    }

    #[test]
    fn ctest_s_table_is_read() {
        let parsed = parse(
            "ctest",
            "    Start 1: adds\n1/3 Test #1: adds .............................   Passed    0.01 sec\n\
             2/3 Test #2: breaks ...........................***Failed    0.02 sec\n\
             3/3 Test #3: spins ............................***Timeout   1.02 sec\n\n33% tests passed, 2 tests failed out of 3\n",
        );
        assert_eq!(parsed.said, Some(Counts { tests: 3, failed: 2, skipped: 0 }));
        assert_eq!(parsed.disagreement("ctest"), None);
        assert_eq!(parsed.cases[2].outcome, Outcome::TimedOut);
    }

    #[test]
    fn tap_is_read_with_its_directives_and_plan() {
        let parsed = parse(
            "tap",
            "1..4\nok 1 - adds\nnot ok 2 - breaks\n# at sum.c:4\nok 3 # SKIP no network\nnot ok 4 - later # TODO write it\n",
        );
        assert_eq!(parsed.said, Some(Counts { tests: 4, failed: 1, skipped: 2 }));
        assert_eq!(parsed.disagreement("tap"), None);
        assert_eq!(parsed.cases[1].detail, "# at sum.c:4\n");
        assert_eq!(
            (parsed.cases[2].name.as_str(), parsed.cases[2].message.as_str()),
            ("test 3", "no network")
        );
        let short = parse("tap", "1..3\nok 1\n");
        assert!(short.disagreement("tap").is_some(), "two are missing");
        assert!(parse("tap", "ok, everything is fine\nok\n").cases.is_empty(), "no plan");
    }

    #[test]
    fn places_of_assertions_and_of_compile_errors_are_found_in_the_tree_alone() {
        let known = BTreeSet::from(["sum.c", "src/x.c", "Makefile"]);
        let paths = Paths { root: "/t", known: &known };
        let at = |text: &str| place(text, &paths, &["", "src"]);
        assert_eq!(at("a.out: sum.c:12: main: Assertion `0' failed."), Some(("sum.c".into(), 12)));
        assert_eq!(at("/usr/include/stdio.h:3:1: note: x\nx.c:7:2: error: y"), Some(("src/x.c".into(), 7)));
        assert_eq!(at("/t/sum.c:5"), Some(("sum.c".into(), 5)));
        assert_eq!(at("make: *** [Makefile:9: check] Error 1"), Some(("Makefile".into(), 9)));
        assert_eq!(at("nothing here"), None);
    }

    #[test]
    fn what_a_build_lacks_is_told_unless_it_is_the_tree_s_own() {
        let known = BTreeSet::from(["own.h"]);
        let paths = Paths { root: "/t", known: &known };
        let lacks = |text: &str| lacks(text, &paths);
        let text = "a.c:1:10: fatal error: zlib.h: No such file or directory";
        assert_eq!(lacks(text).as_deref(), Some("the header zlib.h"));
        assert_eq!(lacks(&text.replace("zlib.h", "own.h")), None);
        assert_eq!(lacks("ld: cannot find -lcheck: No such file").as_deref(), Some("the library check"));
        assert_eq!(lacks("make: pkg-config: No such file or directory").as_deref(), Some("pkg-config"));
        assert_eq!(lacks("sum.c:1: error: expected expression"), None);
    }
}
