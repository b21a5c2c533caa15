//! What is written for readers nobody here wrote, judged by them: SARIF by the standard's own schema, JUnit's XML by the reader of nextest,
//! graphs by graphviz.
//!
//! The schema comes with the package `serde-sarif` and stays where cargo keeps it. That each judge refuses what is wrong is seen beside what it
//! lets pass.
#![cfg(not(madsim))]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use boon::{Compiler, Draft, SchemaIndex, Schemas};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use quick_junit::{NonSuccessKind, Report, TestCaseStatus};
use serde_json::{Value, json};
use synod_agents::architect::dot::dot;
use synod_agents::architect::graph::{Edge, Graph, Kind, Node, Tie};
use synod_agents::finding::{Finding, Place, Severity};
use synod_agents::report::{self, RunResult};
use synod_agents::sarif;
use synod_agents::testbed::case::{Case, Outcome};
use synod_agents::testbed::{Ran, junit};
use synod_platform::process::{self, Output, Tool};
use synod_platform::{files, testing};

/// What cargo is told of where its packages are and how to get one.
const TELLING_CARGO: [&str; 9] = [
    "PATH",
    "HOME",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "HTTPS_PROXY",
    "https_proxy",
    "CARGO_HTTP_CAINFO",
    "SSL_CERT_FILE",
];

/// SARIF's schema, ready to judge.
struct Sarif {
    schemas: Schemas,
    log: SchemaIndex,
}

impl Sarif {
    /// Asks cargo where the package lies that holds the schema; cargo gets it as it gets everything it builds with.
    async fn official() -> Sarif {
        let output = Tool::new(env!("CARGO"))
            .args([
                "metadata",
                "--locked",
                "--format-version",
                "1",
                "--filter-platform",
                "x86_64-unknown-none",
            ])
            .directory(env!("CARGO_MANIFEST_DIR"))
            .inherit(&TELLING_CARGO)
            .output_limit(64 << 20)
            .time_limit(Duration::from_secs(120))
            .run()
            .await
            .expect("cargo runs this test, so it is here");
        assert!(output.is_success(), "no package serde-sarif: {}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let packages = told["packages"].as_array().expect("packages");
        let package = packages.iter().find(|package| package["name"] == "serde-sarif").expect("it is locked");
        let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
        let text =
            files::read(&manifest.with_file_name("src/schema.json"), 1 << 20).await.expect("the schema");
        let schema: Value = serde_json::from_slice(&text).expect("JSON");
        let id = schema["$id"].as_str().expect("an id").to_string();
        assert!(id.ends_with("/sarif-schema-2.1.0.json"), "{id}");

        let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
        compiler.set_default_draft(Draft::V7);
        compiler.enable_format_assertions();
        compiler.add_resource(&id, schema).expect("a schema");
        let log = compiler.compile(&id, &mut schemas).expect("a schema");
        Sarif { schemas, log }
    }

    /// What is wrong with a log, if anything is.
    fn refuses(&self, log: &Value) -> Option<String> {
        self.schemas.validate(log, self.log).err().map(|error| error.to_string())
    }
}

/// Paths that a tree can hold and an address cannot, as they are.
const ODD: [&str; 9] = [
    "a b.rs",
    "100%.c",
    "src/größe/日本.py",
    "q?x=1#top",
    "c:\\old.js",
    "mailto:x",
    "[1]/{2}/^`|.c",
    "bell\u{7}\u{1b}[31m\n.py",
    // What stands for a name that is not UTF-8.
    "caf\u{fffd}.txt",
];

#[test]
fn every_log_of_findings_is_what_the_schema_of_sarif_asks_for() {
    testing::run(1, || async {
        let official = Sarif::official().await;
        let odd = ODD.iter().flat_map(|path| {
            Severity::ALL.map(|severity| {
                Finding::new(
                    format!("rule of {path}"),
                    severity,
                    Place::file(*path),
                    "wrong\u{0}\r\n",
                    "mend it\u{9}",
                )
            })
        });
        let lines =
            [0, 1, u32::MAX].map(|line| Finding::new("r", Severity::Low, Place::line("x", line), "m", "d"));
        let columns = [0, 1, u32::MAX]
            .map(|column| Finding::new("r", Severity::Low, Place::at("x", 1, column), "m", "d"));
        let bare = [".", ""].map(|path| Finding::new("", Severity::Info, Place::file(path), "", ""));
        let all: Vec<Finding> = odd.chain(lines).chain(columns).chain(bare).collect();
        for findings in [&all[..], &all[..1], &[]] {
            let log = sarif::log("synod-linter", findings);
            assert_eq!(official.refuses(&log), None, "{log:#}");
            assert_eq!(log["runs"][0]["results"].as_array().expect("results").len(), findings.len());
        }

        // The same with whatever words.
        let severity = proptest::sample::select(&Severity::ALL[..]);
        let place = (any::<String>(), any::<Option<u32>>(), any::<Option<u32>>());
        let finding = (any::<String>(), severity, place, any::<String>(), any::<String>());
        let finding = finding.prop_map(|(rule, severity, (path, line, column), message, advice)| {
            Finding::new(rule, severity, Place { path, line, column }, message, advice)
        });
        let findings = proptest::collection::vec(finding, 0..8);
        TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() })
            .run(&findings, |findings| {
                prop_assert_eq!(official.refuses(&sarif::log("synod-security", &findings)), None);
                Ok(())
            })
            .expect("any findings");
    });
}

#[test]
fn the_log_of_a_run_is_what_the_schema_of_sarif_asks_for() {
    testing::run(1, || async {
        let official = Sarif::official().await;
        let agent = |name: &str, steps: &[&str], findings: usize, warnings: &[&str]| {
            json!({ "name": name, "steps": steps, "worked_ms": 5, "findings": findings, "outputs": [], "metrics": {},
                "unavailable": ["unavailable: needs gcc (it reads C)"], "refused": [], "retried": [], "warnings": warnings })
        };
        let step = |id: &str, agent: &str, state: &str| {
            json!({ "id": id, "agent": agent, "goal": "look", "needs": [], "wave": 0, "state": state, "attempts": 1,
                "began_ms": 0, "ended_ms": 5, "stretches": [], "why": null })
        };
        let found = |agent: &str, path: &str| json!({ "agent": agent, "rule": "r", "severity": "high", "place": { "path": path, "line": 3 }, "message": "m", "advice": "d" });
        let mut result = json!({
            "form": report::FORM, "synod": "0.1.0", "run": "r", "goal": "g", "tree": "/t", "state": "unfinished",
            "began_ms": 0, "seconds": 1.0, "sittings": 1, "verdict": null, "findings": [], "agents": [], "steps": [],
            "tally": { "critical": 0, "high": 2, "medium": 0, "low": 0, "info": 0 },
            "messages": [], "survey": null, "files": [],
        });
        for runs in [0, 3] {
            if runs > 0 {
                result["steps"] =
                    json!([step("lint", "linter", "done"), step("secure", "security", "failed")]);
                result["findings"] = json!([found("linter", "a b.c"), found("outsider", "größe.c")]);
                result["agents"] = json!([
                    agent("linter", &["lint"], 1, &["\u{1}", ""]),
                    agent("security", &["secure"], 0, &[]),
                    agent("outsider", &[], 1, &[]),
                    agent("idle", &[], 0, &[]),
                ]);
            }
            let result: RunResult = serde_json::from_value(result.clone()).expect("the form of a result");
            let log = report::log(&result);
            assert_eq!(official.refuses(&log), None, "{log:#}");
            assert_eq!(log["runs"].as_array().expect("runs").len(), runs);
        }
    });
}

#[test]
fn a_log_that_breaks_the_standard_is_refused() {
    testing::run(1, || async {
        let official = Sarif::official().await;
        let whole =
            sarif::log("synod-linter", &[Finding::new("r", Severity::Low, Place::at("x", 1, 1), "m", "d")]);
        let physical = "/runs/0/results/0/locations/0/physicalLocation";
        for (at, wrong) in [
            ("/version".to_string(), json!("2.2")),
            ("/runs/0/tool/driver/name".into(), json!(7)),
            ("/runs/0/results/0/level".into(), json!("high")),
            ("/runs/0/results/0/message".into(), json!({})),
            ("/runs/0/results/0/ruleIndex".into(), json!(-2)),
            (format!("{physical}/region/startLine"), json!(0)),
            (format!("{physical}/artifactLocation/uri"), json!("a b")),
            (physical.into(), json!({ "colour": "red" })),
        ] {
            let mut log = whole.clone();
            *log.pointer_mut(&at).expect(&at) = wrong;
            assert!(official.refuses(&log).is_some(), "{at}");
        }
    });
}

/// Results with every end that a case can have, and names that XML has no place for.
fn ran() -> Vec<Ran> {
    let mut late = Case::new("suite \"one\" <&>", "late", Outcome::TimedOut).because("it did not end");
    late.seconds = Some(2.5);
    let mut flaky = Case::new("suite \"one\" <&>", "flaky", Outcome::Failed).because("at times");
    flaky.flaky = true;
    let odd = Case::new("größe\u{7}", "", Outcome::Failed).because("1 \"is\" not <2> & 'never'\u{0}");
    let first = vec![
        Case::new("suite \"one\" <&>", "good", Outcome::Passed),
        Case::new("suite \"one\" <&>", "left", Outcome::Skipped).because("no network"),
        Case::new("suite \"one\" <&>", "died", Outcome::Error).because("signal 11"),
        late,
        flaky,
        odd.said("\u{1b}[31m]]> & <end>\u{fffe}").at(Some(("a&b/größe.rs".into(), 3))),
    ];
    let second = vec![Case::new("", "alone", Outcome::Passed)];
    let of = |label: &str, cases| Ran {
        label: label.into(),
        command: "x --y \"<z>\"\u{8}".into(),
        cases,
        ..Ran::default()
    };
    vec![of("cargo test in .", first), of("", second), of("nothing", Vec::new())]
}

#[test]
fn test_results_are_read_by_a_reader_of_junit_with_every_count_and_word() {
    let ran = ran();
    let xml = junit::document(&ran, "2026-01-31T12:34:56Z", "localhost").expect("memory is written");
    let xml = String::from_utf8(xml).expect("UTF-8");
    let read = Report::deserialize_from_str(&xml).unwrap_or_else(|error| panic!("{error}: {xml}"));
    let cases: Vec<_> = read.test_suites.iter().flat_map(|suite| &suite.test_cases).collect();
    assert_eq!(cases.len(), ran.iter().map(|run| run.cases.len()).sum::<usize>());
    let with = |wanted: NonSuccessKind| {
        cases
            .iter()
            .filter(|case| matches!(&case.status, TestCaseStatus::NonSuccess { kind, .. } if *kind == wanted))
            .count()
    };
    let of = |count: fn(&quick_junit::TestSuite) -> usize| read.test_suites.iter().map(count).sum::<usize>();
    assert_eq!((of(|suite| suite.tests), of(|suite| suite.failures), of(|suite| suite.errors)), (7, 2, 2));
    assert_eq!((with(NonSuccessKind::Failure), with(NonSuccessKind::Error)), (2, 2));
    assert_eq!(of(|suite| suite.skipped), 1);
    let names: BTreeSet<&str> = read.test_suites.iter().map(|suite| suite.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["suite \"one\" <&>", "größe", "-"]));
    assert!(read.test_suites.iter().all(|suite| suite.timestamp.is_some() && suite.time.is_some()));

    let odd = cases.iter().find(|case| case.name.as_str() == "-").expect("a case without a name");
    let TestCaseStatus::NonSuccess { message, ty, description, .. } = &odd.status else { panic!("{odd:?}") };
    assert_eq!(message.as_ref().map(|text| text.as_str()), Some("1 \"is\" not <2> & 'never'"));
    assert_eq!(ty.as_ref().map(|text| text.as_str()), Some("failed"));
    let said = description.as_ref().expect("where and what").as_str();
    assert!(said.starts_with("a&b/größe.rs:3\n") && said.contains("]]> & <end>"), "{said}");

    for (is, wrong) in [
        ("tests=\"5\"", "tests=\"five\""),
        ("name=\"died\" ", ""),
        ("</testsuites>", ""),
        ("&lt;end", "&end"),
    ] {
        let broken = xml.replacen(is, wrong, 1);
        assert_ne!(broken, xml, "{is}");
        assert!(Report::deserialize_from_str(&broken).is_err(), "{wrong} was read");
    }
}

/// Has graphviz read a graph, if it is here.
async fn drawn(graph: &str) -> Option<Output> {
    let Some(tool) = process::which("dot") else {
        eprintln!("unavailable: needs graphviz");
        return None;
    };
    let scratch = files::scratch(&std::env::temp_dir()).await.expect("a folder for the while");
    let path = scratch.path().join("a.dot");
    files::write(&path, graph.as_bytes()).await.expect("a file");
    let tool = Tool::new(tool).args(["-Tplain", &path.to_string_lossy()]).inherit(&["PATH", "HOME"]);
    Some(tool.time_limit(Duration::from_secs(60)).run().await.expect("it runs"))
}

#[test]
fn graphviz_reads_the_graph_with_every_node_and_edge() {
    testing::run(1, || async {
        let node = |name: &str, kind| Node {
            name: name.into(),
            kind,
            language: "C".into(),
            path: "x".into(),
            files: 1,
            lines: 7,
            test: false,
        };
        let names = [
            "plain",
            "with \"quotes\"",
            "back\\slash\\",
            "größe",
            "new\nline",
            "<b>&amp;</b>",
            "digraph",
            "",
            "a;b}{",
        ];
        let kinds = [Kind::Crate, Kind::Package, Kind::Module, Kind::Folder];
        let nodes =
            names.iter().zip(kinds.into_iter().cycle()).map(|(name, kind)| node(name, kind)).collect();
        let ties = [Tie::Uses, Tie::Build, Tie::Deferred, Tie::Test, Tie::Types];
        let edges = ties
            .iter()
            .enumerate()
            .map(|(n, tie)| Edge { from: n, to: n + 1, tie: *tie, place: Place::line("x", 1) })
            .collect();
        let text = dot(&Graph { nodes, edges }, &[]);
        let Some(output) = drawn(&text).await else { return };
        assert!(output.is_success(), "{}: {text}", String::from_utf8_lossy(&output.stderr));
        let plain = String::from_utf8(output.stdout).expect("UTF-8");
        let of = |kind: &str| plain.lines().filter(|line| line.starts_with(kind)).count();
        assert_eq!((of("node "), of("edge ")), (names.len(), ties.len()), "{plain}");

        let broken = drawn(&text.replacen("label=", "label", 1)).await.expect("it was here");
        assert!(!broken.is_success(), "what is no graph was drawn");
    });
}
