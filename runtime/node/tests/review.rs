//! The whole review, by a node with all agents on board, in production's arm and in the simulator's.
//!
//! The trees are written through the platform: files of a temporary folder there, an in-memory tree here. Secrets are
//! put together as the test runs, so that none stands in this file.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use synod_agents::director::Outcome;
use synod_agents::folder::{Listed, sha256};
use synod_agents::shell::Unanswered;
use synod_agents::task::Report;
use synod_agents::workflow::journal::{Happened, Journal};
use synod_agents::workflow::{Plan, Step};
use synod_agents::{Phase, Post, Review, Reviewed, Role, Severity, WorkError, review};
use synod_fabric::RequestError;
use synod_node::{Drained, Node, NodeConfig};
use synod_platform::watch;
use synod_platform::{files, process, random, task, testing, time};

async fn folder() -> PathBuf {
    let base = process::variable("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    let folder = base.join(format!("synod-review-{:016x}", random::u64()));
    files::create_directories(&folder).await.expect("a temporary folder");
    folder
}

async fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    files::create_directories(path.parent().expect("it has one")).await.expect("directories");
    files::write(&path, text.as_bytes()).await.expect("a file");
}

fn token() -> String {
    let body: String = "k3Zp9QwLx7Vt2RnB5YdJ8HsGc4Mf6TbXeAoU".chars().collect();
    format!("{}_{body}", ["gh", "p"].concat())
}

/// A small project without a fault.
async fn clean(root: &Path) {
    put(
        root,
        "README.md",
        "# Small\n\nSee [the code](src/lib.rs).\n\nUsage: install it; its licence is beside it.\n",
    )
    .await;
    put(root, "LICENSE", "Do as you like.\n").await;
    put(root, "src/lib.rs", "//! Small.\n\n#[test]\nfn it_is() {}\n").await;
    put(root, "settings.json", "{ \"deep\": [1, 2] }\n").await;
    put(root, "pyproject.toml", "[project]\nname = \"small\"\n").await;
}

async fn reviewed(
    tree: &Path,
    out: &Path,
    within: Duration,
) -> (Result<Reviewed, review::ReviewError>, usize) {
    let node = Node::start(NodeConfig::named("test")).await.expect("a node");
    let client = node.context().agent("client").expect("free");
    let order = Review { tree: tree.into(), out: out.into(), fail_on: Severity::High, within, tests: false };
    let mut told = 0;
    let end = review::run(&client, &order, |_| told += 1).await;
    drop(client);
    assert_eq!(node.drain(Duration::from_secs(5)).await, Drained::Clean);
    (end, told)
}

#[test]
fn planted_defects_are_found_where_they_are_and_the_clean_twin_has_none() {
    testing::run(7, || async {
        let base = folder().await;
        let (tree, out) = (base.join("tree"), base.join("runs"));
        clean(&tree).await;
        let (end, told) = reviewed(&tree, &out, Duration::from_secs(60)).await;
        let end = end.expect("a verdict");
        assert_eq!(end.verdict.findings, [], "the clean twin");
        assert_eq!(end.verdict.outcome, Outcome::Clean);
        assert!(told >= 4, "progress was told {told} times");

        put(&tree, "src/config.py", &format!("import os\nTOKEN = \"{}\"\n", token())).await;
        put(&tree, "settings.json", "{\n  \"a\": 1\n  \"b\": 2\n}\n").await;
        put(&tree, "pyproject.toml", "[project]\nname = \n").await;
        let (open, middle, close) = ("<".repeat(7), "=".repeat(7), ">".repeat(7));
        put(&tree, "src/merge.c", &format!("int a;\n{open} HEAD\nint b;\n{middle}\nint c;\n{close} x\n"))
            .await;
        put(
            &tree,
            "README.md",
            "# Small\n\nSee [the plan](doc/plan.md).\n\nUsage: install it; its licence is beside it.\n",
        )
        .await;
        files::set_mode(&tree.join("LICENSE"), 0o666).await.expect("our own file");
        let end = reviewed(&tree, &out, Duration::from_secs(60)).await.0.expect("a verdict");
        let found: Vec<String> = end
            .verdict
            .findings
            .iter()
            .map(|finding| format!("{} {}", finding.place, finding.rule))
            .collect();
        assert_eq!(
            found,
            [
                "src/config.py:2 secret.github-token",
                "pyproject.toml:2:8 lint.toml-syntax",
                "settings.json:3:3 lint.json-syntax",
                "src/merge.c:2 lint.merge-conflict",
                "LICENSE permissions.world-writable",
                "README.md:3:16 lint.broken-link",
            ]
        );
        assert_eq!(end.verdict.outcome, Outcome::Fail);
        assert!(!end.verdict.findings[0].message.contains(&token()), "a secret is never told in full");
        let about = |warning: &&String| warning.contains("`docgen` was vetoed, hand it to nobody: SECURITY");
        assert_eq!(end.verdict.warnings.iter().filter(about).count(), 1, "{:?}", end.verdict.warnings);
        let (journal, lines) = Journal::open(&end.folder).await.expect("a journal");
        journal.close().await.expect("it closes");
        let told = |step, event| lines.iter().position(|line| line.step == step && line.event == event);
        let order = [
            told("docgen", Happened::Vetoed),
            told("docgen", Happened::Lifted),
            told("verdict", Happened::Started),
        ];
        assert!(order[0].is_some() && order.is_sorted(), "DIRECTOR overrules before it weighs: {lines:#?}");
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn the_run_folder_holds_every_output_and_its_manifest_is_true() {
    testing::run(8, || async {
        let base = folder().await;
        let (tree, out) = (base.join("tree"), base.join("runs"));
        clean(&tree).await;
        let end = reviewed(&tree, &out, Duration::from_secs(60)).await.0.expect("a verdict");
        let manifest = files::read(&end.folder.join("manifest.json"), 1 << 20).await.expect("a manifest");
        let listed: Vec<Listed> = serde_json::from_slice(&manifest).expect("its form");
        for listed in &listed {
            let bytes = files::read(&end.folder.join(&listed.path), 1 << 20).await.expect("a listed file");
            assert_eq!(
                (listed.bytes, &listed.sha256),
                (bytes.len() as u64, &sha256(&bytes)),
                "{}",
                listed.path
            );
        }
        for path in [
            "director/STRATEGIC_PLAN.md",
            "director/resource_matrix.yaml",
            "director/verdict.json",
            "director/REPORT.md",
            "project_orchestrator/AGENT_PLAN.md",
            "project_orchestrator/REVIEW_CHECKLIST.md",
            "linter/lint_report.json",
            "linter/lint_report.sarif",
            "security/security_report.md",
            "security/findings.sarif",
        ] {
            assert!(listed.iter().any(|listed| listed.path == path), "{path}");
        }
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn the_tree_is_never_written_not_even_by_a_run_folder_within_it() {
    testing::run(9, || async {
        let base = folder().await;
        clean(&base).await;
        let before = files::walk(&base, files::WalkLimits::default()).await.expect("a tree");
        let (end, _) = reviewed(&base, &base.join("new/runs"), Duration::from_secs(60)).await;
        assert!(matches!(end, Err(review::ReviewError::OutWithinTree(_))));
        assert_eq!(files::walk(&base, files::WalkLimits::default()).await.expect("a tree"), before);
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn a_run_is_not_resumed_within_the_tree_that_its_edited_plan_names() {
    testing::run(14, || async {
        let base = folder().await;
        clean(&base).await;
        let plan =
            Plan::new("review it", base.to_string_lossy(), vec![Step::new("lint", "linter", "look", &[])]);
        put(&base, "runs/r/plan.toml", &plan.to_toml()).await;
        let before = files::walk(&base, files::WalkLimits::default()).await.expect("a tree");
        let node = Node::start(NodeConfig::named("test")).await.expect("a node");
        let client = node.context().agent("client").expect("free");
        let end = review::resume(&client, &base.join("runs/r"), |_| ()).await;
        assert!(matches!(end, Err(review::ReviewError::OutWithinTree(_))), "{end:?}");
        assert_eq!(files::walk(&base, files::WalkLimits::default()).await.expect("a tree"), before);
        drop(client);
        let _ = node.stop().await;
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn a_review_without_time_or_without_a_tree_says_so() {
    testing::run(10, || async {
        let base = folder().await;
        clean(&base.join("tree")).await;
        let (end, _) = reviewed(&base.join("tree"), &base.join("runs"), Duration::ZERO).await;
        assert!(
            matches!(
                end,
                Err(review::ReviewError::Unanswered(
                    Unanswered::Request(RequestError::DeadlinePassed(_)) | Unanswered::Failed(_)
                ))
            ),
            "{end:?}"
        );
        let (end, _) =
            reviewed(&base.join("tree/README.md"), &base.join("runs"), Duration::from_secs(60)).await;
        assert!(matches!(end, Err(review::ReviewError::NoTree(_))));
        let (end, _) = reviewed(&base.join("nowhere"), &base.join("runs"), Duration::from_secs(60)).await;
        assert!(end.expect_err("no tree").to_string().contains("nowhere"));
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn a_step_that_fails_is_tried_again_and_an_agent_of_one_s_own_can_stand_in() {
    testing::run(12, || async {
        let base = folder().await;
        clean(&base.join("tree")).await;
        for (failures, outcome) in [(2, Outcome::Clean), (3, Outcome::Incomplete)] {
            let mut config = NodeConfig::named("test");
            config.agents.retain(|role| *role != Role::Linter);
            let node = Node::start(config).await.expect("a node");
            let tries = Rc::new(Cell::new(0));
            let counted = tries.clone();
            let post = Post::open_with(node.context(), "linter", move |desk| {
                counted.set(counted.get() + 1);
                let fails = counted.get() <= failures;
                async move {
                    if fails {
                        return Err(WorkError::Task("not today".into()));
                    }
                    let report = Report { agent: "linter".into(), ..Report::default() };
                    desk.folder().write_json("findings.json", &report).await?;
                    Ok(desk.handoff("director"))
                }
            });
            let (_phase, phase) = watch::channel(Phase::Serve);
            let post = task::spawn(post.await.expect("nobody has that name").run(phase));
            let client = node.context().agent("client").expect("free");
            let order = Review {
                tree: base.join("tree"),
                out: base.join("runs"),
                fail_on: Severity::High,
                within: Duration::from_secs(60),
                tests: false,
            };
            let end = review::run(&client, &order, |_| ()).await.expect("a verdict");
            assert_eq!((end.verdict.outcome, tries.get()), (outcome, 3), "{}", end.verdict.because);
            post.abort();
            drop(client);
            let _ = node.stop().await;
        }
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn agents_that_are_not_on_board_make_the_review_fail_by_name() {
    testing::run(11, || async {
        let base = folder().await;
        clean(&base.join("tree")).await;
        let mut config = NodeConfig::named("test");
        config.agents.retain(|role| *role != Role::Linter);
        let node = Node::start(config).await.expect("a node");
        let client = node.context().agent("client").expect("free");
        let order = Review {
            tree: base.join("tree"),
            out: base.join("runs"),
            fail_on: Severity::High,
            within: Duration::from_secs(60),
            tests: false,
        };
        let end = review::run(&client, &order, |_| ()).await.expect("a verdict all the same");
        assert_eq!(end.verdict.outcome, Outcome::Incomplete);
        assert_eq!(end.verdict.failures.len(), 1);
        assert!(
            end.verdict.because.contains("`lint`") && end.verdict.because.contains("nobody listens"),
            "{}",
            end.verdict.because
        );
        drop(client);
        let _ = node.stop().await;
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn a_review_whose_node_was_stopped_in_its_midst_is_resumed_by_another_to_the_same_verdict() {
    testing::run(13, || async {
        let base = folder().await;
        let tree = base.join("tree");
        clean(&tree).await;
        for n in 0..40 {
            put(&tree, &format!("src/part{n}.json"), "{\n  \"a\": 1\n  \"b\": 2\n}\n").await;
        }
        let whole = reviewed(&tree, &base.join("whole"), Duration::from_secs(60)).await.0.expect("a verdict");
        let (moments, mut unbegun) = ([1, 10, 100, 1000], 0);
        for moment in moments {
            let out = base.join(format!("stopped{moment}"));
            let order = Review {
                tree: tree.clone(),
                out: out.clone(),
                fail_on: Severity::High,
                within: Duration::from_secs(60),
                tests: false,
            };
            let run = review::run_id();
            let node = Node::start(NodeConfig::named("first")).await.expect("a node");
            let client = node.context().agent("client").expect("free");
            let begun = review::run_as(&client, &order, run.clone(), |_| ());
            let _ = time::timeout(Duration::from_millis(moment), begun).await;
            drop(client);
            let _ = node.stop().await;

            let node = Node::start(NodeConfig::named("second")).await.expect("a node");
            let client = node.context().agent("client").expect("free");
            let resumed = review::resume(&client, &out.join(&run), |_| ()).await;
            match resumed {
                Ok(end) => assert_eq!(
                    (end.verdict.findings, end.verdict.outcome),
                    (whole.verdict.findings.clone(), whole.verdict.outcome),
                    "stopped after {moment} ms"
                ),
                Err(review::ReviewError::NoPlan(_) | review::ReviewError::Files(_)) => unbegun += 1,
                Err(error) => panic!("stopped after {moment} ms: {error}"),
            }
            drop(client);
            let _ = node.stop().await;
        }
        assert!(unbegun < moments.len(), "no moment was late enough for a plan");
        files::remove_tree(&base).await.expect("our own folder");
    });
}
