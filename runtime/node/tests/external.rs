//! A review in which LINTER's work is done by a program: well, by the example that everybody gets, and badly.
//!
//! In production's arm the binary runs real programs; in the simulator a node runs scripted ones.

#[cfg(not(madsim))]
mod real {
    #![expect(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "these tests stand outside of the node: they start it as a process and look at its files"
    )]

    use std::fs;
    use std::path::Path;
    use std::process::{Command, Output};

    use serde_json::Value;
    use tempfile::TempDir;

    fn tree() -> TempDir {
        let tree = TempDir::new().expect("a temporary folder");
        fs::write(tree.path().join("README.md"), "# Small\n").expect("a file");
        fs::write(tree.path().join("LICENSE"), "Do as you like.\n").expect("a file");
        fs::create_dir(tree.path().join("src")).expect("a directory");
        let code = "#[test]\nfn it_is() {}\n// FIXME: it is not\n";
        fs::write(tree.path().join("src/lib.rs"), code).expect("a file");
        tree
    }

    fn review(tree: &Path, config: &Path, out: &Path) -> Output {
        Command::new(env!("CARGO_BIN_EXE_synod"))
            .args(["run", "review", "--no-tests", "--format", "json", "--path"])
            .arg(tree)
            .arg("--config")
            .arg(config)
            .arg("--out")
            .arg(out)
            .env("NO_COLOR", "1")
            .output()
            .expect("the binary under test starts")
    }

    fn told(output: &Output) -> Value {
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    #[test]
    fn twenty_lines_of_python_take_over_linter_s_role_by_configuration_alone() {
        let (tree, out) = (tree(), TempDir::new().expect("a temporary folder"));
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/external.toml");
        let told = told(&review(tree.path(), &config, out.path()));
        let findings = told["verdict"]["findings"].as_array().expect("findings");
        let fixme: Vec<&Value> = findings.iter().filter(|finding| finding["rule"] == "mine.fixme").collect();
        assert_eq!(fixme.len(), 1, "{findings:?}");
        assert_eq!(fixme[0]["place"], serde_json::json!({"path": "src/lib.rs", "line": 3}));
        assert!(
            !findings.iter().any(|finding| finding["rule"].as_str().is_some_and(|r| r.starts_with("lint."))),
            "LINTER of this build did not work"
        );
        let folder = told["folder"].as_str().expect("the run folder");
        let written = fs::read_to_string(Path::new(folder).join("linter/findings.json")).expect("its report");
        assert!(written.contains("mine.fixme"));
    }

    #[test]
    fn a_program_that_misbehaves_fails_its_step_by_name_and_the_run_goes_on() {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agents/tests/external/program.py");
        for (mode, name) in [
            ("oversize", "oversize line"),
            ("no-json", "bad line"),
            ("wrong-id", "wrong id"),
            ("after-handoff", "out of turn"),
            ("silent", "silent past the deadline"),
            ("exits", "exited during a task: status 7"),
            ("exits-at-once", "linter was given up: more than 1 crashes"),
        ] {
            let (tree, out) = (tree(), TempDir::new().expect("a temporary folder"));
            let config = out.path().join("node.toml");
            let text = format!(
                "[agents.linter]\nexec = [\"python3\", \"{}\", \"{mode}\"]\nwithin = \"300ms\"\nrestarts = {}\n",
                program.display(),
                if mode == "exits-at-once" { 1 } else { 9 },
            );
            fs::write(&config, text).expect("a configuration");
            let output = review(tree.path(), &config, &out.path().join("runs"));
            let told = told(&output);
            assert_eq!(told["verdict"]["outcome"], "incomplete", "{mode}");
            assert_eq!(output.status.code(), Some(3), "{mode}");
            let failures = told["verdict"]["failures"].as_array().expect("failures");
            assert!(
                failures.iter().any(|failure| {
                    failure["step"] == "lint" && failure["why"].as_str().is_some_and(|why| why.contains(name))
                }),
                "{mode}: {failures:?}"
            );
            let notices = String::from_utf8_lossy(&output.stderr).into_owned();
            let kind = if mode == "exits-at-once" { "linter was given up" } else { "linter was restarted" };
            assert!(notices.contains(kind), "{mode}: {notices}");
        }
    }
}

#[cfg(madsim)]
mod simulated {
    use std::cell::Cell;
    use std::path::{Path, PathBuf};
    use std::rc::Rc;
    use std::time::Duration;

    use serde_json::{Value, json};
    use synod_agents::director::Outcome;
    use synod_agents::external::Program;
    use synod_agents::shell::State;
    use synod_agents::{Review, Role, Severity, review};
    use synod_fabric::Priority;
    use synod_node::config::{Affinity, PostConfig};
    use synod_node::node::standing_subject;
    use synod_node::{Drained, Node, NodeConfig, Standing};
    use synod_platform::process::child::control::{Streams, program};
    use synod_platform::{files, simulation, testing, time};

    /// A linter that dies in the middle of each of its first `deaths` tasks.
    fn mortal(deaths: u32) {
        let left = Rc::new(Cell::new(deaths));
        program(simulation::current_node(), "mortal", move |mut streams: Streams| {
            let left = left.clone();
            async move {
                while let Some(line) = streams.line().await {
                    let told: Value = serde_json::from_slice(&line).expect("the node speaks JSON");
                    let say = |line: Value| streams.write(format!("{line}\n"));
                    match told["type"].as_str() {
                        Some("hello") => {
                            say(json!({"type": "hello", "protocol": 1}));
                            say(json!({"type": "ready"}));
                        }
                        Some("task") => {
                            time::sleep(Duration::from_millis(50)).await;
                            if left.get() > 0 {
                                left.set(left.get() - 1);
                                streams.complain(b"killed by the dark\n");
                                return 137;
                            }
                            say(json!({"type": "handoff", "id": told["id"]}));
                        }
                        _ => return 0,
                    }
                }
                0
            }
        });
    }

    async fn reviewed(deaths: u32, restarts: u32) -> (Outcome, String, Standing) {
        mortal(deaths);
        let tree = PathBuf::from("/tree");
        files::create_directories(&tree).await.expect("a tree");
        for (path, text) in [("README.md", "# Small\n"), ("LICENSE", "Do as you like.\n")] {
            files::write(&tree.join(path), text.as_bytes()).await.expect("a file");
        }
        let mut config = NodeConfig::named("test");
        let program = Program {
            exec: vec!["mortal".into()],
            directory: "/".into(),
            inherit: Vec::new(),
            ready_within: Duration::from_secs(1),
            within: None,
        };
        let post = PostConfig { affinity: Affinity::Own, restarts: Some(restarts), program: Some(program) };
        config.posts.insert(Role::Linter, post);
        let node = Node::start(config).await.expect("a node");
        let client = node.context().agent("client").expect("free");
        let order = Review {
            tree,
            out: Path::new("/runs").into(),
            fail_on: Severity::High,
            within: Duration::from_secs(600),
            tests: false,
        };
        let end = review::run(&client, &order, |_| ()).await.expect("a verdict");
        let subject = standing_subject(node.fabric().node());
        let answer = client.request(&subject, Priority::Normal, Vec::new(), Duration::from_secs(5)).await;
        let told = answer.expect("a node tells how its agents stand");
        let all: Vec<Standing> = serde_json::from_slice(told.payload()).expect("their form");
        assert_eq!(all, node.roster().list());
        let standing = all.into_iter().find(|one| one.agent == "linter").expect("on board");
        drop(client);
        assert_eq!(node.drain(Duration::from_secs(5)).await, Drained::Clean);
        let why = end.verdict.failures.first().map_or(String::new(), |failure| failure.why.clone());
        (end.verdict.outcome, why, standing)
    }

    #[test]
    fn a_program_that_dies_in_mid_task_is_started_again_and_the_step_is_done() {
        for seed in 0..8 {
            testing::run(seed, || async {
                let (outcome, _, standing) = reviewed(2, 3).await;
                assert_ne!(outcome, Outcome::Incomplete);
                assert_eq!((standing.restarts, standing.done, standing.failed), (2, 1, 2));
                assert_eq!(
                    (standing.context.as_str(), standing.program.as_deref()),
                    ("linter", Some("mortal"))
                );
                assert!(standing.crashes.iter().all(|crash| crash.why.contains("killed by the dark")));
            });
        }
    }

    #[test]
    fn a_program_that_always_dies_is_given_up_and_the_run_ends_with_its_name() {
        for seed in 0..8 {
            testing::run(seed, || async {
                let (outcome, why, standing) = reviewed(u32::MAX, 0).await;
                assert_eq!(outcome, Outcome::Incomplete);
                assert!(why.contains("linter was given up: more than 0 crashes within 60 s"), "{why}");
                assert!(why.contains("status 137; its last words: killed by the dark"), "{why}");
                assert_eq!((standing.state, standing.restarts), (Some(State::GivenUp), 0));
            });
        }
    }
}
