//! TESTBED on real trees: planted failing, flaky and hanging tests are named with file and line, and clean twins give nothing.
//!
//! The trees are made here and need no package from anywhere. A runner that this machine lacks has to be told as missing, which is then all
//! that is checked of it.
#![cfg(not(madsim))]
#![expect(clippy::disallowed_methods, reason = "the trees are made from outside, past the seam under test")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use synod_agents::task::{Handoff, Report, Task, Urgency, task_subject};
use synod_agents::testbed::{Counts, Outcome, Ran};
use synod_agents::{Phase, Post, Role, Severity, reading};
use synod_fabric::{Fabric, FabricConfig, Priority};
use synod_platform::{files, process, task, testing, watch};

/// What TESTBED gave.
struct Tested {
    report: Report,
    ran: Vec<Ran>,
    xml: String,
}

impl Tested {
    /// Rule and place of each finding, and the words of its message that come first.
    fn found(&self) -> Vec<(String, String)> {
        self.report.findings.iter().map(|f| (f.rule.clone(), f.place.to_string())).collect()
    }

    fn counts(&self) -> Counts {
        Counts::of(&self.ran[0].cases)
    }

    fn agrees(&self) {
        assert_eq!(self.ran[0].said, Some(self.ran[0].counted), "{:?}", self.report.warnings);
        let cases = self.ran.iter().map(|ran| ran.cases.len()).sum::<usize>();
        assert_eq!(self.xml.matches("<testcase ").count(), cases);
    }
}

fn put(root: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("below the root")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }
}

/// Puts a tree, has TESTBED test it, and checks that the tree is as it was.
fn tested(name: &'static str, within: Duration, files: &'static [(&'static str, &'static str)]) -> Tested {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("testbed-{name}"));
    let _ = std::fs::remove_dir_all(&place);
    let tree = place.join("tree");
    put(&tree, files);
    let given = place.clone();
    let tested = testing::run(1, move || async move { of(&given, within).await });
    for (path, text) in files {
        let now = std::fs::read_to_string(tree.join(path)).expect("it is still there");
        assert_eq!(now, *text, "{path} was written");
    }
    let left = std::fs::read_dir(place.join("runs/.scratch")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "the copy is gone");
    tested
}

async fn of(place: &Path, within: Duration) -> Tested {
    let (tree, run) = (place.join("tree"), place.join("runs/r"));
    files::create_directories(&run.join("survey")).await.expect("a run folder");
    let listed = reading::walk(&tree.to_string_lossy()).await.expect("a tree");
    let text = serde_json::to_vec(&listed).expect("plain data");
    files::write(&run.join("survey/tree.json"), text).await.expect("written");

    let context = Fabric::new(FabricConfig::named("test")).enter("home").expect("the first context");
    let post = Post::open(&context, Role::Testbed).await.expect("its place is free");
    let (_phase, phase) = watch::channel(Phase::Serve);
    let post = task::spawn(post.run(phase));
    let client = context.agent("client").expect("free");
    let order = Task {
        id: "testbed".into(),
        run: "r".into(),
        goal: "test".into(),
        tree: tree.to_string_lossy().into_owned(),
        folder: run.to_string_lossy().into_owned(),
        inputs: BTreeMap::from([("tree".into(), "survey/tree.json".into())]),
        within_ms: u64::try_from(within.as_millis()).expect("short"),
        priority: Urgency::Normal,
        lease: None,
    };
    let payload = serde_json::to_vec(&order).expect("plain data");
    let subject = task_subject("testbed");
    let answer = client.request(&subject, Priority::Normal, payload, within).await.expect("an answer");
    let _: Handoff = serde_json::from_slice(answer.payload()).expect("a handoff");
    post.abort();
    let read =
        async |name: &str| files::read(&run.join("testbed").join(name), 64 << 20).await.expect("written");
    Tested {
        report: serde_json::from_slice(&read("findings.json").await).expect("a report"),
        ran: serde_json::from_slice(&read("test_results.json").await).expect("results"),
        xml: String::from_utf8(read("test_results.xml").await).expect("UTF-8"),
    }
}

/// Whether a tool is here; without it the run has to say so.
fn is_here(tool: &str, tested: &Tested) -> bool {
    let here = process::which(tool).is_some();
    if !here {
        assert!(tested.report.warnings.iter().any(|told| told.contains("unavailable: needs")), "{tool}");
        assert!(tested.report.findings.is_empty());
    }
    here
}

const MINUTES: Duration = Duration::from_secs(240);

#[test]
fn a_rust_crate_s_failing_flaky_and_dying_tests_are_named() {
    let tested = tested(
        "rust",
        MINUTES,
        &[
            ("Cargo.toml", "[package]\nname = \"planted\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
            (
                "src/lib.rs",
                "/// ```\n/// assert_eq!(planted::two(), 2);\n/// ```\npub fn two() -> u32 {\n    2\n}\n\n#[cfg(test)]\nmod tests {\n    \
                 #[test]\n    fn counts() {\n        assert_eq!(super::two(), 2);\n    }\n\n    #[test]\n    fn breaks() {\n        \
                 assert_eq!(super::two(), 3);\n    }\n\n    #[test]\n    fn fails_at_first() {\n        \
                 let mark = concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/mark\");\n        if !std::path::Path::new(mark).exists() {\n            \
                 std::fs::write(mark, \"\").unwrap();\n            panic!(\"the first time\");\n        }\n    }\n}\n",
            ),
            (
                "tests/dies.rs",
                "#[test]\nfn aborts() {\n    std::process::abort();\n}\n\n#[test]\nfn lives() {}\n",
            ),
        ],
    );
    if !is_here("cargo", &tested) {
        return;
    }
    let found = tested.found();
    let has = |rule: &str, place: &str| found.contains(&(rule.into(), place.into()));
    assert!(has("test.failed", "src/lib.rs:17"), "{found:?} {:?}", tested.report.warnings);
    assert!(has("test.flaky", "src/lib.rs:25"), "{found:?}");
    assert!(has("test.error", "tests/dies.rs:2"), "{found:?}");
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(tested.counts(), Counts { tests: 6, failed: 3, skipped: 0 });
    let lives = tested.ran[0].cases.iter().find(|case| case.name == "lives").expect("it was run after all");
    assert_eq!(lives.outcome, Outcome::Passed);
}

#[test]
fn a_clean_rust_crate_gives_no_finding_and_cargo_s_own_count() {
    let tested = tested(
        "rust-clean",
        MINUTES,
        &[
            ("Cargo.toml", "[workspace]\nmembers = [\"a\"]\nresolver = \"2\"\n"),
            ("a/Cargo.toml", "[package]\nname = \"a\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
            (
                "a/src/lib.rs",
                "/// ```\n/// assert!(a::yes());\n/// ```\npub fn yes() -> bool {\n    true\n}\n",
            ),
            (
                "a/tests/t.rs",
                "#[test]\nfn one() {\n    assert!(a::yes());\n}\n#[test]\n#[ignore]\nfn two() {}\n",
            ),
        ],
    );
    if is_here("cargo", &tested) {
        assert!(tested.report.findings.is_empty(), "{:?}", tested.report.findings);
        assert_eq!(tested.counts(), Counts { tests: 3, failed: 0, skipped: 1 });
        tested.agrees();
    }
}

#[test]
fn a_crate_that_does_not_compile_is_a_finding_at_its_line() {
    let tested = tested(
        "rust-broken",
        MINUTES,
        &[
            ("Cargo.toml", "[package]\nname = \"broken\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
            ("src/lib.rs", "pub fn one() -> u32 {\n    \"one\"\n}\n"),
        ],
    );
    if is_here("cargo", &tested) {
        assert!(
            tested.found().contains(&("test.build".into(), "src/lib.rs:2".into())),
            "{:?}",
            tested.found()
        );
        assert!(tested.report.findings.iter().all(|finding| finding.severity == Severity::High));
    }
}

#[test]
fn python_tests_that_fail_hang_and_end_the_interpreter_are_named_and_the_rest_goes_on() {
    let tested = tested(
        "python",
        Duration::from_secs(60),
        &[
            ("setup.py", ""),
            (
                "tests/test_a.py",
                "import os, time, unittest\n\n\nclass A(unittest.TestCase):\n    def test_a_hangs(self):\n        time.sleep(600)\n\n    \
                 def test_b_breaks(self):\n        self.assertEqual(1, 2)\n\n    def test_c_exits(self):\n        os._exit(3)\n\n    \
                 def test_d_fails_at_first(self):\n        if not os.path.exists(\"mark\"):\n            open(\"mark\", \"w\").close()\n            \
                 self.fail(\"the first time\")\n\n    def test_e_passes(self):\n        pass\n",
            ),
            ("tests/test_b.py", "import unittest\nimport nowhere_at_all\n"),
        ],
    );
    if !is_here("python3", &tested) {
        return;
    }
    let found = tested.found();
    let has = |rule: &str, place: &str| found.contains(&(rule.into(), place.into()));
    assert!(has("test.timeout", "tests/test_a.py:6"), "{found:?} {:?}", tested.report.warnings);
    assert!(has("test.failed", "tests/test_a.py:9"), "{found:?}");
    assert!(has("test.error", "tests/test_a.py:11"), "{found:?}");
    assert!(has("test.flaky", "tests/test_a.py:17"), "{found:?}");
    assert_eq!(found.len(), 4, "{found:?}");
    let needs = "unavailable: needs the Python module nowhere_at_all, for one test or file of tests";
    assert!(tested.report.warnings.iter().any(|told| told == needs), "{:?}", tested.report.warnings);
    assert!(tested.ran[0].cases.iter().any(|c| c.name == "test_e_passes" && c.outcome == Outcome::Passed));
}

#[test]
fn tests_for_pytest_are_run_by_it_or_it_is_told_as_missing() {
    let tested = tested(
        "pytest",
        MINUTES,
        &[
            ("pyproject.toml", "[project]\nname = \"x\"\nversion = \"1\"\n"),
            ("src/x.py", "def two():\n    return 2\n"),
            (
                "tests/test_x.py",
                "import subprocess, sys\n\nimport pytest, x\n\n\n@pytest.mark.parametrize(\"n\", [2, 3.5])\ndef test_two(n):\n    \
                 assert x.two() == n\n\n\ndef test_below():\n    subprocess.run([sys.executable, \"-c\", \"import x\"], check=True)\n",
            ),
        ],
    );
    if tested.report.warnings.iter().any(|told| told.contains("unavailable: needs py")) {
        assert!(tested.report.findings.is_empty());
        return;
    }
    assert_eq!(tested.found(), [("test.failed".into(), "tests/test_x.py:8".into())]);
    assert_eq!(tested.counts(), Counts { tests: 3, failed: 1, skipped: 0 });
    tested.agrees();
}

#[test]
fn a_clean_python_package_gives_no_finding_and_unittest_s_own_count() {
    let tested = tested(
        "python-clean",
        Duration::from_secs(60),
        &[
            ("pkg/__init__.py", "def two():\n    return 2\n"),
            (
                "pkg/test_two.py",
                "import unittest\nfrom pkg import two\n\n\nclass T(unittest.TestCase):\n    def test_two(self):\n        \
                 self.assertEqual(two(), 2)\n\n    @unittest.skip(\"later\")\n    def test_later(self):\n        pass\n",
            ),
        ],
    );
    if is_here("python3", &tested) {
        assert!(tested.report.findings.is_empty(), "{:?}", tested.report.findings);
        assert_eq!(tested.counts(), Counts { tests: 2, failed: 0, skipped: 1 });
        tested.agrees();
    }
}

#[test]
fn javascript_tests_that_fail_and_hang_are_named() {
    let tested = tested(
        "node",
        Duration::from_secs(40),
        &[
            ("package.json", "{\"scripts\": {\"test\": \"node --test\"}}"),
            (
                "test/a.test.js",
                "const test = require(\"node:test\");\nconst assert = require(\"node:assert\");\n\ntest(\"adds\", () => {});\n\
                 test(\"breaks\", () => {\n  assert.equal(1, 2);\n});\ntest(\"outer\", async (t) => {\n  await t.test(\"inner\", () => {\n    \
                 throw new Error(\"boo\");\n  });\n});\n",
            ),
            ("test/spins.test.js", "for (;;) {}\n"),
        ],
    );
    if !is_here("node", &tested) {
        return;
    }
    let found = tested.found();
    let has = |rule: &str, place: &str| found.contains(&(rule.into(), place.into()));
    assert!(has("test.failed", "test/a.test.js:6"), "{found:?} {:?}", tested.report.warnings);
    assert!(has("test.failed", "test/a.test.js:10"), "{found:?}");
    assert!(has("test.timeout", "test/spins.test.js:1"), "{found:?}");
    assert_eq!(found.len(), 3, "{found:?}");
    tested.agrees();
}

#[test]
fn a_directory_of_the_copy_that_a_test_replaced_by_a_link_is_not_written_through() {
    const VICTIM: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/testbed-victim");
    let _ = std::fs::remove_dir_all(VICTIM);
    put(Path::new(VICTIM), &[("web/kept", "")]);
    let tested = tested(
        "link",
        Duration::from_secs(60),
        &[
            (".gitignore", "node_modules\n"),
            ("a/package.json", "{\"scripts\": {\"test\": \"node --test\"}}"),
            (
                "a/test/a.test.js",
                concat!(
                    "const fs = require(\"node:fs\");\nfs.rmSync(\"../web\", { recursive: true });\nfs.symlinkSync(\"",
                    env!("CARGO_TARGET_TMPDIR"),
                    "/testbed-victim/web\", \"../web\");\n"
                ),
            ),
            ("web/package.json", "{\"scripts\": {\"test\": \"node --test\"}}"),
            ("web/test/b.test.js", "require(\"node:test\")(\"adds\", () => {});\n"),
            ("web/node_modules/x/index.js", "// installed\n"),
        ],
    );
    if !is_here("node", &tested) {
        return;
    }
    assert_eq!(tested.ran.len(), 2, "{:?}", tested.report.warnings);
    let left: Vec<_> = std::fs::read_dir(Path::new(VICTIM).join("web"))
        .expect("it is there")
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    assert_eq!(left, ["kept"], "nothing was written out of the copy");
}

#[test]
fn a_runner_of_javascript_that_ends_before_any_test_is_a_finding() {
    let tested = tested(
        "node-gone",
        MINUTES,
        &[("package.json", "{\"scripts\": {\"test\": \"node --test test/gone.test.js\"}}")],
    );
    if !is_here("node", &tested) {
        return;
    }
    assert_eq!(tested.found(), [("test.build".into(), ".".into())], "{:?}", tested.report.warnings);
}

#[test]
fn a_failing_c_check_is_told_at_its_assertion_and_a_clean_one_passes() {
    const SOURCE: &str = "#include <assert.h>\nint main(void) {\n    assert(1 + 1 == 3);\n    return 0;\n}\n";
    let broken = tested(
        "c",
        MINUTES,
        &[("Makefile", "check: a\n\t./a\na: a.c\n\t$(CC) -o $@ a.c\n"), ("a.c", SOURCE)],
    );
    if !is_here("make", &broken) || process::which("cc").is_none() {
        return;
    }
    if process::variable(process::JAILED).is_some() {
        println!("unavailable: needs to run outside of a jail, where the words of an assertion come through");
        return;
    }
    assert_eq!(broken.found(), [("test.failed".into(), "a.c:3".into())], "{:?}", broken.report.warnings);
    assert_eq!(broken.ran[0].cases[0].again, 2);
    let clean = tested(
        "c-clean",
        MINUTES,
        &[
            ("Makefile", "check: a\n\t./a\na: a.c\n\t$(CC) -o $@ a.c\n"),
            ("a.c", "int main(void) {\n    return 0;\n}\n"),
        ],
    );
    assert!(clean.report.findings.is_empty());
    clean.agrees();
}

#[test]
fn a_tree_without_tests_says_so() {
    let tested = tested("none", MINUTES, &[("README.md", "# nothing\n")]);
    assert!(tested.report.findings.is_empty() && tested.ran.is_empty());
    assert!(tested.report.warnings.iter().any(|told| told.starts_with("no tests were found")));
}
