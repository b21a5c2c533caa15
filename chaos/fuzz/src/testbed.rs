//! What TESTBED reads of test runners: places lie in the tree, lines are lines, and the XML tells every case.

use std::collections::BTreeSet;

use synod_agents::testbed::{Parsed, Paths, Ran, cargo, judge, junit, libtest, make, node, unittest};

/// What test runners print. The first byte chooses the runner.
pub fn runners(bytes: &[u8]) {
    let Some((choice, output)) = bytes.split_first() else { return };
    let Ok(output) = std::str::from_utf8(output) else { return };
    let known = BTreeSet::from(["src", "src/lib.rs", "tests", "tests/test_a.py", "test/a.test.js", "sum.c"]);
    let paths = Paths { root: "/t", known: &known };
    let each = |parsed: Parsed| {
        assert_eq!(parsed.counted.tests, parsed.cases.len() as u64, "every case is counted once");
        parsed
    };
    let parsed = match choice % 6 {
        0 => each(libtest::parse("unit", output, &paths, &["", "src"])),
        1 => {
            let (stdout, stderr) = output.split_once('\u{0}').unwrap_or((output, ""));
            unittest::parse(stdout, stderr, &paths, "")
        }
        2 => node::parse(output, &paths, ""),
        3 => each(make::parse("check", output)),
        4 => each(make::tap("tap", output)),
        _ => {
            let built = cargo::built(output);
            assert!(built.binaries.iter().all(|binary| !binary.label.is_empty()));
            let _ = (cargo::lacks(output), make::lacks(output, &paths), libtest::listed(output));
            assert!(libtest::definition(output, "a::b").is_none_or(|line| line >= 1));
            return;
        }
    };
    let mut cases = parsed.cases;
    cases.extend(parsed.open);
    for case in &cases {
        assert!(!case.message.contains('\n'), "a message is one line");
        assert!(
            case.path.as_deref().is_none_or(|path| known.contains(path)),
            "{:?} is not in the tree",
            case.path
        );
    }
    let count = cases.len();
    let ran = [Ran { label: "fuzzed".into(), command: "fuzz".into(), cases, ..Ran::default() }];
    for finding in judge::findings(&ran) {
        assert!(finding.place.line.is_none_or(|line| line >= 1));
        assert!(!finding.message.is_empty());
    }
    match junit::document(&ran, "2026-01-31T12:34:56", "localhost") {
        Ok(xml) => {
            let xml = String::from_utf8_lossy(&xml);
            assert_eq!(xml.matches("<testcase ").count(), count);
            assert!(
                xml.chars().all(|c| c == '\n' || c == '\t' || c >= ' '),
                "no character without a place in XML"
            );
        }
        Err(error) => panic!("memory can be written: {error}"),
    }
}
