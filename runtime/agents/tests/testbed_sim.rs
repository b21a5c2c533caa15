//! TESTBED in the simulator, over an in-memory tree and recorded transcripts: the same shell, without a tool on the machine.
#![cfg(madsim)]

use std::collections::BTreeMap;
use std::time::Duration;

use synod_agents::task::{Report, Task, Urgency, cancel_subject, task_subject};
use synod_agents::testbed::{Counts, Outcome, Ran, unittest};
use synod_agents::tree::{Entry, Kind, Tree};
use synod_agents::{Phase, Post, Role};
use synod_fabric::{Fabric, FabricConfig, Priority, RequestError};
use synod_platform::process::control::{Transcript, record};
use synod_platform::{files, simulation, task, testing, time, watch};

const PROBED: &str =
    r#"{"program": "/usr/bin/python3", "version": "3.11", "prefixes": ["/usr"], "pytest": false}"#;
const WITHIN: Duration = Duration::from_secs(300);

/// Puts the tree and its list, and lets TESTBED work; `cancel` after this time.
async fn work(tree: &[(&str, &str)], cancel: Option<Duration>) -> Result<(Report, Vec<Ran>), RequestError> {
    let node = simulation::current_node();
    let disk = files::tree(node);
    let mut listed = Tree::default();
    for (path, text) in tree {
        disk.put(format!("/t/{path}"), *text);
        let entry = Entry { path: (*path).into(), kind: Kind::File, len: text.len() as u64, mode: 0o644 };
        listed.entries.push(entry);
    }
    listed.entries.sort_by(|a, b| a.path.cmp(&b.path));
    disk.put("/runs/r/survey/tree.json", serde_json::to_vec(&listed).expect("plain data"));

    let context = Fabric::new(FabricConfig::named("test")).enter("home").expect("the first context");
    let post = Post::open(&context, Role::Testbed).await.expect("its place is free");
    let (_phase, phase) = watch::channel(Phase::Serve);
    task::spawn(post.run(phase)).detach();
    let client = context.agent("client").expect("free");
    let order = Task {
        id: "testbed".into(),
        run: "r".into(),
        goal: "test".into(),
        tree: "/t".into(),
        folder: "/runs/r".into(),
        inputs: BTreeMap::from([("tree".into(), "survey/tree.json".into())]),
        within_ms: u64::try_from(WITHIN.as_millis()).expect("short"),
        priority: Urgency::Normal,
        lease: None,
    };
    if let Some(after) = cancel {
        let other = client.clone();
        task::spawn(async move {
            time::sleep(after).await;
            let _ = other.publish(&cancel_subject("r"), Priority::High, Vec::new());
        })
        .detach();
    }
    let payload = serde_json::to_vec(&order).expect("plain data");
    client.request(&task_subject("testbed"), Priority::Normal, payload, WITHIN).await?;
    let read = |name: &str| disk.get(format!("/runs/r/testbed/{name}")).expect("written");
    assert!(read("test_results.xml").starts_with(b"<?xml"));
    Ok((
        serde_json::from_slice(&read("findings.json")).expect("a report"),
        serde_json::from_slice(&read("test_results.json")).expect("results"),
    ))
}

fn python(stdout: &str, took: Duration) {
    let node = simulation::current_node();
    let probe = ["-I", "-c", unittest::PROBE].map(String::from).to_vec();
    record(node, Transcript { args: Some(probe), ..Transcript::says("python3", PROBED) });
    record(node, Transcript { took, ..Transcript::says("python3", stdout) });
}

const TREE: [(&str, &str); 3] = [
    ("tests/__init__.py", ""),
    ("tests/test_a.py", "import unittest\n"),
    ("tests/test_b.py", "import unittest\n"),
];

#[test]
fn a_recorded_run_of_python_gives_its_findings_and_counts() {
    testing::run(1, || async {
        python(include_str!("transcripts/unittest-planted.jsonl"), Duration::from_secs(2));
        let (report, ran) = work(&TREE, None).await.expect("an answer");
        // What was recorded ran in `/t`; the copy lies elsewhere, so that no place is the tree's, and none is claimed.
        assert_eq!(report.findings.len(), 5, "{:?}", report.findings);
        assert!(report.findings.iter().all(|finding| finding.rule != "test.flaky"));
        assert!(report.warnings.iter().any(|told| told.contains("needs the Python module not_there_at_all")));
        assert_eq!(ran[0].said, Some(Counts { tests: 8, failed: 6, skipped: 1 }));
        assert_eq!(ran[0].said, Some(ran[0].counted));
    });
}

#[test]
fn a_recorded_run_of_cargo_runs_each_binary_and_tries_failures_again() {
    testing::run(1, || async {
        let node = simulation::current_node();
        let artifact = r#"{"reason":"compiler-artifact","package_id":"path+file:///t#planted@0.1.0","manifest_path":"/t/Cargo.toml","target":{"kind":["lib"],"name":"planted"},"profile":{"test":true},"executable":"/usr/bin/planted-tests"}"#;
        record(node, Transcript::says("rustc", "/usr\n"));
        let built = format!("{artifact}\n{{\"reason\":\"build-finished\",\"success\":true}}\n");
        record(node, Transcript { took: Duration::from_secs(30), ..Transcript::says("cargo", built) });
        let planted = include_str!("transcripts/libtest-planted.txt");
        record(node, Transcript { status: 101, ..Transcript::says("planted-tests", planted) });
        let alone = ["--exact", "tests::breaks", "--test-threads=1"].map(String::from).to_vec();
        let passes = "\nrunning 1 test\ntest tests::breaks ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 6 filtered out\n";
        record(node, Transcript { args: Some(alone), ..Transcript::says("planted-tests", passes) });
        let tree =
            [("Cargo.toml", "[package]\nname = \"planted\"\n"), ("src/lib.rs", "\n\nfn gives_up() {}\n")];
        let (report, ran) = work(&tree, None).await.expect("an answer");
        let told: Vec<(&str, String)> =
            report.findings.iter().map(|f| (f.rule.as_str(), f.place.to_string())).collect();
        assert_eq!(
            told,
            [
                ("test.failed", "src/lib.rs:3".into()),
                ("test.failed", "src/lib.rs:25".into()),
                ("test.flaky", "src/lib.rs:19".into())
            ],
            "the one without a place is told where it is defined"
        );
        assert_eq!(ran[0].said, Some(Counts { tests: 7, failed: 3, skipped: 2 }));
        assert!(ran[0].seconds >= 30.0, "virtual time");
    });
}

#[test]
fn a_runner_that_never_ends_is_told_and_the_results_come_in_time() {
    testing::run(1, || async {
        python("", Duration::from_secs(7200));
        let begin = time::now();
        let (report, ran) = work(&TREE, None).await.expect("an answer");
        assert!(time::now().since(begin) < WITHIN);
        assert!(ran[0].cases.is_empty() && ran[0].said.is_none());
        let told = "unittest in .: it did not end in its time before it told its totals";
        assert!(report.warnings.iter().any(|warning| warning.contains(told)), "{:?}", report.warnings);
    });
}

#[test]
fn a_test_that_is_open_when_the_interpreter_is_killed_is_named() {
    testing::run(1, || async {
        let open = r#"{"event": "start", "id": "tests.test_a.A.test_spins"}"#;
        python(open, Duration::from_secs(1));
        let (report, ran) = work(&TREE, None).await.expect("an answer");
        assert!(report.findings.iter().any(|f| f.rule == "test.error" && f.message.contains("test_spins")));
        assert!(ran[0].cases.iter().all(|case| case.outcome == Outcome::Error));
    });
}

#[test]
fn a_cancel_ends_the_call_that_runs_and_leaves_no_copy() {
    testing::run(1, || async {
        python("", Duration::from_secs(250));
        let begin = time::now();
        let error = work(&TREE, Some(Duration::from_secs(20))).await.expect_err("cancelled").to_string();
        assert!(error.contains("cancelled"), "{error}");
        assert!(time::now().since(begin) < Duration::from_secs(30), "it did not wait for the tool");
        time::sleep(Duration::from_secs(1)).await;
        let left = files::list("/runs/.scratch".as_ref()).await.unwrap_or_default();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn missing_tools_are_told_by_name_and_nothing_is_found() {
    testing::run(1, || async {
        let tree = [
            ("Cargo.toml", "[package]\nname = \"a\"\n"),
            ("tests/test_a.py", "import unittest\n"),
            ("web/package.json", "{\"scripts\": {\"test\": \"node --test\"}}"),
            ("c/Makefile", "check:\n\ttrue\n"),
            ("c/a.c", ""),
        ];
        let (report, ran) = work(&tree, None).await.expect("an answer");
        assert!(report.findings.is_empty());
        assert_eq!(ran.len(), 4);
        for tool in ["cargo and rustc", "python3", "node", "make"] {
            let needs = format!("unavailable: needs {tool}");
            assert!(
                report.warnings.iter().any(|told| told.contains(&needs)),
                "{tool}: {:?}",
                report.warnings
            );
        }
    });
}
