//! An agent whose work a program does: well, badly in each way that has a name, and cut short.
//!
//! The same bodies run against a Python program and, in the simulator, against a script that does the same.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use synod_agents::external::{External, Program};
use synod_agents::task::{
    Granted, Handoff, Report, Task, Urgency, cancel_subject, progress_subject, task_subject,
};
use synod_agents::workflow::lease::{Lease, LeaseError, Leases};
use synod_agents::workflow::plan::{Plan, Step};
use synod_agents::workflow::run;
use synod_agents::{Agent, Phase, Post, WorkError};
use synod_fabric::{Agent as Member, Fabric, FabricConfig, Priority, RequestError};
use synod_platform::{files, process, random, task, testing, time, watch};

const WITHIN: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(400);

/// In simulation, gives the node a Python that knows `program.py`.
fn with_python() {
    #[cfg(madsim)]
    synod_platform::process::child::control::program(
        synod_platform::simulation::current_node(),
        "python3",
        simulated::program,
    );
}

struct Stage {
    client: Member,
    folder: PathBuf,
    /// What ended each life of the agent.
    ends: Rc<RefCell<Vec<String>>>,
    phase: watch::Sender<Phase>,
    post: task::JoinHandle<()>,
}

impl Stage {
    async fn new(mode: &str) -> Self {
        let base = process::variable("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
        let runs = base.join(format!("synod-external-{:016x}", random::u64()));
        Self::at(runs.join("run"), mode).await
    }

    /// The agent of another node, for the run in `folder`.
    async fn at(folder: PathBuf, mode: &str) -> Self {
        with_python();
        let fabric = Fabric::new(FabricConfig::named("test"));
        let context = fabric.enter("home").expect("the first context");
        files::create_directories(&folder).await.expect("a temporary folder");
        let program = Program {
            exec: vec!["python3".into(), "program.py".into(), mode.into()],
            directory: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/external"),
            inherit: Vec::new(),
            ready_within: if mode == "never-ready" { SHORT } else { Duration::from_secs(30) },
            within: (mode == "silent").then_some(SHORT),
        };
        let make = move || -> Rc<dyn Agent> { Rc::new(External::new("worker", program.clone())) };
        let mut post = Post::open_agent(&context, "worker", Rc::new(make)).await.expect("its place is free");
        let (phase, follow) = watch::channel(Phase::Serve);
        let ends = Rc::new(RefCell::new(Vec::new()));
        let (told, client) = (ends.clone(), context.agent("client").expect("free"));
        let post = task::spawn(async move {
            for _ in 0..3 {
                match post.live(follow.clone()).await {
                    Ok(()) => return,
                    Err(error) => told.borrow_mut().push(error.to_string()),
                }
            }
            post.mourn("three lives are enough", follow).await;
        });
        Stage { client, folder, ends, phase, post }
    }

    fn runs(&self) -> &Path {
        self.folder.parent().expect("it has one")
    }

    async fn ask(&self) -> Result<Handoff, RequestError> {
        self.ask_with(None).await
    }

    async fn ask_with(&self, lease: Option<&Lease>) -> Result<Handoff, RequestError> {
        self.order("worker", lease).await
    }

    async fn order(&self, agent: &str, lease: Option<&Lease>) -> Result<Handoff, RequestError> {
        let task = Task {
            id: "t".into(),
            run: "r".into(),
            goal: "try".into(),
            tree: "/".into(),
            folder: self.folder.to_string_lossy().into_owned(),
            inputs: BTreeMap::new(),
            within_ms: 60_000,
            priority: Urgency::Normal,
            lease: lease.map(|lease| Granted { tree: lease.tree().into(), token: lease.token() }),
        };
        let payload = serde_json::to_vec(&task).expect("plain data");
        let answer = self.client.request(&task_subject(agent), Priority::Normal, payload, WITHIN).await?;
        Ok(serde_json::from_slice(answer.payload()).expect("a handoff"))
    }

    async fn file(&self, path: &str) -> String {
        let bytes = files::read(&self.folder.join(path), 1 << 20).await.expect(path);
        String::from_utf8(bytes).expect("text")
    }

    /// Waits until the program has written a file.
    async fn appears(&self, path: &str) {
        let there = async {
            while !files::exists(&self.folder.join(path)).await.expect("our own folder") {
                time::sleep(Duration::from_millis(5)).await;
            }
        };
        time::timeout(WITHIN, there).await.expect(path);
    }

    /// Ends the agent in good order and gives what ended its earlier lives.
    async fn end(self) -> Vec<String> {
        let runs = self.runs().to_owned();
        self.phase.send_replace(Phase::Drain);
        time::timeout(WITHIN, self.post).await.expect("it drains").expect("no panic");
        files::remove_tree(&runs).await.expect("our own folder");
        self.ends.take()
    }
}

#[test]
fn a_program_does_a_task_and_the_node_writes_what_every_agent_writes() {
    testing::run(1, || async {
        let stage = Stage::new("good").await;
        for _ in 0..2 {
            let handoff = stage.ask().await.expect("a handoff");
            assert_eq!((handoff.from.as_str(), handoff.to.as_str()), ("worker", "director"));
            assert_eq!(handoff.outputs, ["worker/findings.json", "worker/program.log"]);
            assert_eq!((handoff.metrics["lines"], handoff.metrics["findings"]), (3.0, 1.0));
            assert_eq!(handoff.warnings, ["none was left out"]);
            let report: Report =
                serde_json::from_str(&stage.file("worker/findings.json").await).expect("a report");
            assert_eq!((report.agent.as_str(), report.findings.len()), ("worker", 1));
            assert_eq!(stage.file("worker/program.log").await, "a word to the log\n");
        }
        assert!(stage.end().await.is_empty(), "one life was enough");
    });
}

#[test]
fn findings_that_a_program_wrote_itself_are_taken_as_they_stand() {
    testing::run(2, || async {
        let stage = Stage::new("own-findings").await;
        let handoff = stage.ask().await.expect("a handoff");
        assert_eq!(
            (handoff.outputs, handoff.metrics["findings"]),
            (vec!["worker/findings.json".into()], 2.0)
        );
        assert!(stage.end().await.is_empty());
    });
}

#[test]
fn a_program_that_says_it_failed_is_well() {
    testing::run(3, || async {
        let stage = Stage::new("fails").await;
        for _ in 0..2 {
            let error = stage.ask().await.expect_err("no handoff").to_string();
            assert!(error.contains("there is no compiler here"), "{error}");
        }
        assert!(stage.end().await.is_empty(), "that is no crash");
    });
}

#[test]
fn each_way_of_breaking_the_protocol_has_a_name_and_costs_the_program_its_life() {
    for (mode, name) in [
        ("oversize", "oversize line: longer than 1048576 bytes"),
        ("no-json", "bad line: "),
        ("wrong-id", "wrong id: it speaks of task 2, but does task 1"),
        ("after-handoff", "out of turn: `handoff` after the task had ended"),
        ("exits", "exited during a task: status 7; its last words: out of memory"),
        ("torn", "bad line: the output ended within a line"),
        ("no-such-output", "bad output: `nowhere.txt`"),
        ("silent", "silent past the deadline: neither `handoff` nor `failed` within 400 ms"),
    ] {
        testing::run(4, move || async move {
            let stage = Stage::new(mode).await;
            let error = stage.ask().await.expect_err("no handoff").to_string();
            assert!(error.contains(name), "{mode}: {error}");
            let again = stage.ask().await.expect_err("the next life is no better").to_string();
            assert!(again.contains(name), "{mode}: {again}");
            let ends = stage.end().await;
            assert_eq!(ends.len(), 2, "{mode}: {ends:?}");
            assert!(ends.iter().all(|end| end.starts_with("worker failed in work: ")), "{ends:?}");
        });
    }
}

#[test]
fn a_program_that_does_not_come_up_is_told_by_name_and_given_up_at_last() {
    for (mode, name) in [
        ("exits-at-once", "exited before it was ready: status 7; its last words: no licence"),
        ("never-ready", "not ready: it said no `hello` and `ready` within 400 ms"),
        ("wrong-version", "wrong version: it speaks protocol 2"),
    ] {
        testing::run(5, move || async move {
            let stage = Stage::new(mode).await;
            let error = stage.ask().await.expect_err("nobody works").to_string();
            assert!(error.contains("worker was given up: three lives are enough"), "{error}");
            let ends = stage.end().await;
            assert_eq!(ends.len(), 3, "{mode}: {ends:?}");
            assert!(
                ends.iter().all(|end| end.contains("in start") && end.contains(name)),
                "{mode}: {ends:?}"
            );
        });
    }
}

#[test]
fn a_program_that_is_not_there_is_told_before_anything_is_started() {
    testing::run(6, || async {
        let program = Program {
            exec: vec!["no-such-program-anywhere".into()],
            directory: "/".into(),
            inherit: Vec::new(),
            ready_within: SHORT,
            within: None,
        };
        let fabric = Fabric::new(FabricConfig::named("test"));
        let context = fabric.enter("home").expect("the first context");
        let make = move || -> Rc<dyn Agent> { Rc::new(External::new("worker", program.clone())) };
        let mut post = Post::open_agent(&context, "worker", Rc::new(make)).await.expect("its place is free");
        let (_phase, follow) = watch::channel(Phase::Serve);
        let error = post.live(follow).await.expect_err("it is not there").to_string();
        assert!(
            error.contains("in init") && error.contains("not found: `no-such-program-anywhere`"),
            "{error}"
        );
    });
}

#[test]
fn what_a_program_says_between_two_tasks_is_held_against_it_at_the_second() {
    testing::run(7, || async {
        let stage = Stage::new("later").await;
        stage.ask().await.expect("a handoff");
        files::write(&stage.folder.join("worker/go"), Vec::new()).await.expect("our own folder");
        stage.appears("worker/said").await;
        let error = stage.ask().await.expect_err("it has spoken").to_string();
        assert!(error.contains("out of turn: `progress` between two tasks"), "{error}");
        assert_eq!(stage.end().await.len(), 1);
    });
}

#[test]
fn a_program_that_ends_between_two_tasks_is_started_again_and_that_is_no_crash() {
    testing::run(8, || async {
        let stage = Stage::new("exits-afterwards").await;
        for _ in 0..5 {
            stage.ask().await.expect("a handoff");
        }
        assert!(stage.end().await.is_empty());
    });
}

#[test]
fn a_cancelled_task_ends_soon_whether_the_program_heeds_it_or_not() {
    for (mode, at_most) in [("heeds", Duration::from_secs(1)), ("silent-to-cancels", Duration::from_secs(5))]
    {
        testing::run(9, move || async move {
            let stage = Stage::new(mode).await;
            let cancels = stage.client.clone();
            let mut progress = cancels.subscribe(&progress_subject("r"), 8).await.expect("a subject");
            let cancel = task::spawn(async move {
                progress.recv().await.expect("it begins");
                let receipt = cancels.publish(&cancel_subject("r"), Priority::High, Vec::new());
                assert_eq!(receipt.expect("somebody listens").accepted_count(), 1);
                time::now()
            });
            let error = stage.ask().await.expect_err("cancelled").to_string();
            let took = time::now().since(cancel.await.expect("it was sent"));
            assert!(error.contains("cancelled"), "{error}");
            assert!(took < at_most, "{mode}: {took:?}");
            assert!(stage.end().await.is_empty(), "that is no crash");
        });
    }
}

#[test]
fn a_program_writes_a_tree_through_the_node_with_the_token_that_came_with_its_task() {
    testing::run(10, || async {
        let stage = Stage::new("writes").await;
        let tree = stage.runs().join("tree");
        files::create_directories(&tree.join("src")).await.expect("our own folder");
        let writes = |id: &str, needs: &[&str]| Step {
            writes: Some(tree.to_string_lossy().into()),
            ..Step::new(id, "worker", "write it", needs)
        };
        let plan = Plan::new("try", "/t", vec![writes("one", &[]), writes("two", &["one"])]);
        let runner = Post::open_with(stage.client.context(), "runner", move |desk| {
            let plan = plan.clone();
            async move {
                let nobody = |_| -> futures_util::future::LocalBoxFuture<'_, _> {
                    Box::pin(async { Err(WorkError::Task("all steps are the program's".into())) })
                };
                let ran = run::run(&desk, &plan, nobody).await?;
                assert!(ran.failed.is_empty(), "{:?}", ran.failed);
                assert!(ran.done.iter().all(|handoff| handoff.metrics["written"] == 1.0), "{:?}", ran.done);
                Ok(desk.handoff("client"))
            }
        });
        let (_phase, follow) = watch::channel(Phase::Serve);
        let runner = task::spawn(runner.await.expect("its place is free").run(follow));
        stage.order("runner", None).await.expect("it ends");
        runner.abort();
        let written = files::read(&tree.join("src/new.txt"), 100).await.expect("it was written");
        assert_eq!(String::from_utf8_lossy(&written), "by token 2\n");
        assert_eq!(stage.file("worker/new.txt").await, "by token 2\n");

        let error = stage.ask().await.expect_err("there is no lease").to_string();
        assert!(error.contains("it comes with no lease"), "{error}");
        assert!(stage.end().await.is_empty(), "that is no crash");
    });
}

#[test]
fn a_program_that_hands_in_after_its_lease_went_to_another_writes_nothing_and_is_told() {
    testing::run(11, || async {
        let late = Stage::new("writes-late").await;
        let other = Stage::at(late.runs().join("other"), "writes").await;
        let tree = late.runs().join("tree");
        files::create_directories(&tree).await.expect("our own folder");
        let (leases, tree) = (Leases::beside(late.runs()), tree.to_string_lossy().into_owned());
        let first = leases.acquire(&tree, "late", SHORT).await.expect("free");
        let mut progress = late.client.subscribe(&progress_subject("r"), 8).await.expect("a subject");
        let story = async {
            progress.recv().await.expect("the first one works");
            let second = loop {
                match leases.acquire(&tree, "other", WITHIN).await {
                    Ok(lease) => break lease,
                    Err(LeaseError::Held { left, .. }) => time::sleep(left).await,
                    Err(error) => panic!("{error}"),
                }
            };
            other.ask_with(Some(&second)).await.expect("it holds the lease");
            files::write(&late.folder.join("worker/go"), Vec::new()).await.expect("our own folder");
        };
        let (end, ()) = futures_util::future::join(late.ask_with(Some(&first)), story).await;
        let (error, why) = (end.expect_err("too late").to_string(), "is over, lease 2 was given since");
        assert!(error.contains("lease 1 on ") && error.contains(why), "{error}");
        late.appears("worker/refused").await;
        assert!(late.file("worker/refused").await.contains(why));
        let written = files::read(&Path::new(&tree).join("src/new.txt"), 100).await.expect("it was written");
        assert_eq!(String::from_utf8_lossy(&written), "by token 2\n");
        other.phase.send_replace(Phase::Stop);
        assert!(late.end().await.is_empty(), "that is no crash");
    });
}

/// A bug is chosen for a thread, and the simulator runs on a thread of its own: so here alone.
#[cfg(not(madsim))]
#[test]
fn a_guard_that_lets_a_stale_token_pass_is_caught() {
    let scenario = a_program_that_hands_in_after_its_lease_went_to_another_writes_nothing_and_is_told;
    let end = std::panic::catch_unwind(|| synod_probe::plant::with("workflow.stale-lease", scenario));
    assert!(end.is_err(), "it was not caught");
}

/// What `program.py` does, for the simulator.
#[cfg(madsim)]
mod simulated {
    use std::path::Path;
    use std::time::Duration;

    use serde_json::{Value, json};
    use synod_platform::process::child::control::Streams;
    use synod_platform::{files, time};

    const LONG: Duration = Duration::from_secs(600);

    /// Waits until the test says so.
    async fn go(folder: &str) {
        while !files::exists(&Path::new(folder).join("go")).await.expect("its own folder") {
            time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn program(mut streams: Streams) -> i32 {
        let mode = streams.args[1].clone();
        let say = |streams: &Streams, line: Value| streams.write(format!("{line}\n"));
        match mode.as_str() {
            "exits-at-once" => {
                streams.complain(b"no licence\n");
                return 7;
            }
            "never-ready" => time::sleep(LONG).await,
            _ => {}
        }
        let finding = json!({"rule": "r", "severity": "low", "place": {"path": "a", "line": 1},
                             "message": "m", "advice": "a"});
        let mut folder = String::new();
        while let Some(line) = streams.line().await {
            let told: Value = serde_json::from_slice(&line).expect("the node speaks JSON");
            let id = told["id"].as_u64().unwrap_or_default();
            let handoff = json!({"type": "handoff", "id": id});
            match told["type"].as_str() {
                Some("hello") => {
                    let protocol = if mode == "wrong-version" { 2 } else { 1 };
                    say(&streams, json!({"type": "hello", "protocol": protocol}));
                    say(&streams, json!({"type": "ready"}));
                    continue;
                }
                Some("cancel") => say(&streams, json!({"type": "failed", "id": id, "why": "cancelled"})),
                Some("refused") => {
                    let path = Path::new(&folder).join("refused");
                    files::write(&path, told["why"].to_string().into_bytes()).await.expect("its own folder");
                }
                Some("task") => {}
                _ => continue,
            }
            if told["type"] != "task" {
                continue;
            }
            folder = told["folder"].as_str().expect("its folder").into();
            match mode.as_str() {
                "good" => {
                    say(&streams, json!({"type": "progress", "id": id, "fraction": 0.5, "sentence": "half"}));
                    streams.complain(b"a word to the log\n");
                    say(
                        &streams,
                        json!({"type": "handoff", "id": id, "findings": [finding], "metrics": {"lines": 3},
                               "warnings": ["none was left out"]}),
                    );
                }
                "own-findings" => {
                    let report = json!({"agent": "worker", "findings": [finding, finding], "warnings": []})
                        .to_string();
                    let path = Path::new(&folder).join("findings.json");
                    files::write(&path, report.into_bytes()).await.expect("its own folder");
                    say(&streams, json!({"type": "handoff", "id": id, "outputs": ["findings.json"]}));
                }
                "fails" => {
                    say(&streams, json!({"type": "failed", "id": id, "why": "there is no compiler here"}));
                }
                "oversize" => {
                    say(&streams, json!({"type": "failed", "id": id, "why": "x".repeat(2 << 20)}));
                }
                "no-json" => streams.write("Traceback\n"),
                "wrong-id" => say(&streams, json!({"type": "handoff", "id": id + 1})),
                "after-handoff" => streams.write(format!("{handoff}\n{handoff}\n")),
                "later" => {
                    say(&streams, handoff);
                    go(&folder).await;
                    say(
                        &streams,
                        json!({"type": "progress", "id": id, "fraction": 1.0, "sentence": "still here"}),
                    );
                    let path = Path::new(&folder).join("said");
                    files::write(&path, Vec::new()).await.expect("its own folder");
                }
                "exits" => {
                    streams.complain(b"out of memory\n");
                    return 7;
                }
                "exits-afterwards" => {
                    say(&streams, handoff);
                    return 0;
                }
                "torn" => {
                    streams.write("{\"type\":\"hand");
                    return 0;
                }
                "no-such-output" => {
                    say(&streams, json!({"type": "handoff", "id": id, "outputs": ["nowhere.txt"]}));
                }
                "writes" | "writes-late" => {
                    say(
                        &streams,
                        json!({"type": "progress", "id": id, "fraction": 0.0, "sentence": "begun"}),
                    );
                    if mode == "writes-late" {
                        go(&folder).await;
                    }
                    let token = told["task"]["lease"]["token"].as_u64().unwrap_or_default();
                    let text = format!("by token {token}\n").into_bytes();
                    files::write(&Path::new(&folder).join("new.txt"), text).await.expect("its own folder");
                    let writes = json!({"token": token, "files": {"src/new.txt": "new.txt"}});
                    say(&streams, json!({"type": "handoff", "id": id, "writes": writes}));
                }
                _ => {
                    say(
                        &streams,
                        json!({"type": "progress", "id": id, "fraction": 0.0, "sentence": "begun"}),
                    );
                    if mode != "heeds" {
                        time::sleep(LONG).await;
                    }
                }
            }
        }
        0
    }
}
