//! The review by its seven agents over an in-memory tree and recorded tools, while members panic, hang, lie and are cut off, DIRECTOR
//! dies in mid-plan, the node is killed and vetoes come and go: all drawn from the seed.
//!
//! What the journal says in the end is judged by the engine's own oracle. The lies end after a while, so that every run must.
#![cfg(madsim)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};
use synod_agents::director::{self, Verdict, Wish};
use synod_agents::shell::{Agent, Builtin};
use synod_agents::task::{Handoff, Report, Veto, veto_subject};
use synod_agents::workflow::Plan;
use synod_agents::workflow::journal::{Happened, Journal, Line};
use synod_agents::{Desk, Phase, Post, Role, Severity, WorkError, review, testbed};
use synod_control::units;
use synod_fabric::link::{LinkConfig, Peer};
use synod_fabric::{Context, Priority};
use synod_node::{Node, NodeConfig};
use synod_platform::net::{self, Address, Credentials};
use synod_platform::process::control::{Transcript, record};
use synod_platform::simulation::{self, Node as Machine, NodeId};
use synod_platform::{disk, files, random, task, time, watch};
use synod_sim::history::{Facts, History, What};
use synod_sim::oracles::workflow;

const HOUR: Duration = Duration::from_secs(3600);
/// When the members have come to their senses, counted from the beginning.
const SICK: Duration = Duration::from_secs(90);
/// How often a client goes on with a run that came back without a verdict.
const RESUMED_MAX: u32 = 20;

/// What a seed does to a run.
#[derive(Clone, Copy, Default)]
struct Faults {
    sick: bool,
    kills: bool,
    cuts: bool,
    vetoes: bool,
}

const ALL: Faults = Faults { sick: true, kills: true, cuts: true, vetoes: true };

/// What is seen from outside the simulated world's nodes, and outlives their lives.
#[derive(Default)]
struct Story {
    faults: Faults,
    /// The fencing tokens in the order in which writers got them.
    tokens: RefCell<Vec<u64>>,
    lives: Cell<u32>,
    end: RefCell<Option<(Verdict, Vec<Line>)>>,
}

/// How a member takes a task.
enum Mood {
    Well,
    Panics,
    Hangs,
    Lies,
    Boasts,
    Fails,
}

impl Story {
    fn mood(&self, role: Role) -> Mood {
        if !self.faults.sick || clock() > SICK || random::chance(0.5) {
            return Mood::Well;
        }
        match (role, random::below(5)) {
            // Whoever leads may die, but does not lie about the work of others.
            (Role::Director | Role::Orchestrator, _) | (_, 0) => Mood::Panics,
            (_, 1) => Mood::Hangs,
            (_, 2) => Mood::Lies,
            (_, 3) => Mood::Boasts,
            _ => Mood::Fails,
        }
    }
}

fn clock() -> Duration {
    simulation::clock::elapsed()
}

fn some(most: Duration) -> Duration {
    most.mul_f64(random::below(1000) as f64 / 1000.0)
}

/// A task as this member takes it today.
async fn work(story: Rc<Story>, role: Role, desk: Desk) -> Result<Handoff, WorkError> {
    if let Some(lease) = &desk.task().lease {
        story.tokens.borrow_mut().push(lease.token);
    }
    match story.mood(role) {
        Mood::Well => {
            // Whoever leads takes no longer than the others do.
            if !matches!(role, Role::Director | Role::Orchestrator) {
                time::sleep(some(Duration::from_secs(2))).await;
            }
            Builtin(role).work(desk).await
        }
        Mood::Panics => {
            let moment = time::sleep(some(Duration::from_secs(3)));
            match select(Builtin(role).work(desk), pin!(moment)).await {
                Either::Left((end, _)) => end,
                // As a panic, but without a word on the terminal.
                Either::Right(_) => std::panic::resume_unwind(Box::new("out of luck")),
            }
        }
        Mood::Hangs => std::future::pending().await,
        Mood::Lies => loop {
            desk.progress(f32::NAN, "done");
            desk.progress(1.0, "done");
            time::sleep(Duration::from_millis(500)).await;
            desk.breathe().await?;
        },
        Mood::Boasts => {
            let outputs = vec![format!("{}/findings.json", role.name()), "../../etc/passwd".into()];
            Ok(Handoff { outputs, ..desk.handoff("director") })
        }
        Mood::Fails => Err(WorkError::Task("not today".into())),
    }
}

async fn seat(context: &Context, role: Role, story: &Rc<Story>) {
    let story = story.clone();
    let body = move |desk: Desk| work(story.clone(), role, desk);
    let mut post = Post::open_with(context, role.name(), body).await.expect("its place is free");
    let life = async move {
        let (_phase, serve) = watch::channel(Phase::Serve);
        while post.live(serve.clone()).await.is_err() {
            time::sleep(Duration::from_millis(20)).await;
        }
    };
    task::spawn(life).detach();
}

async fn start(own: u8, other: u8) -> Node {
    let name = |number: u8| format!("n{number}");
    let at = |number: u8| Address::Tcp(SocketAddr::new([10, 0, 0, number].into(), 7400));
    let mut links = LinkConfig::new(Credentials::simulated(&name(own), "fleet").expect("a name"));
    links.listen = Some(at(own));
    links.peers.push(Peer { name: name(other), address: at(other) });
    let config = NodeConfig { links: Some(links), agents: Vec::new(), ..NodeConfig::named(name(own)) };
    Node::start(config).await.expect("a node")
}

/// A review whose steps build on each other, and two of which write one tree.
fn plan() -> Plan {
    let wish = Wish {
        tree: "/tree".into(),
        fail_on: Severity::High,
        within: 10 * Duration::from_secs(60),
        tests: true,
    };
    let mut plan = director::review(&wish, &Role::ALL.map(Role::name));
    plan.veto_wait = units::Duration(Duration::from_secs(20));
    for step in plan.steps.iter_mut().filter(|step| step.agent != Role::Director.name()) {
        step.within = units::Duration(Duration::from_secs(15));
        step.retries = 2;
        match step.agent.as_str() {
            "security" | "docgen" => step.needs.push("lint".into()),
            "testbed" => step.needs.push("architect".into()),
            _ => {}
        }
        if ["linter", "testbed"].contains(&step.agent.as_str()) {
            step.writes = Some("/elsewhere".into());
        }
    }
    plan
}

/// A life of the node where the run is: whoever lives again goes on with it.
async fn home(story: Rc<Story>) {
    story.lives.set(story.lives.get() + 1);
    let node = start(1, 2).await;
    for role in Role::ALL.into_iter().filter(|role| *role != Role::Docgen) {
        seat(node.context(), role, &story).await;
    }
    let client = node.context().agent("client").expect("free");
    let mut why = String::new();
    for _ in 0..RESUMED_MAX {
        let begun = files::exists(Path::new("/runs/r/plan.toml")).await.expect("a good disk");
        let reviewed = if begun {
            review::resume(&client, Path::new("/runs/r"), |_| ()).await
        } else {
            review::run_plan(&client, &plan(), Path::new("/runs"), "r".into(), |_| ()).await
        };
        match reviewed {
            Ok(reviewed) => {
                let (journal, lines) = Journal::open(Path::new("/runs/r")).await.expect("a whole journal");
                journal.close().await.expect("a good disk");
                *story.end.borrow_mut() = Some((reviewed.verdict, lines));
                return;
            }
            Err(error) => why = error.to_string(),
        }
        time::sleep(Duration::from_secs(5)).await;
    }
    panic!("resumed {RESUMED_MAX} times, and no verdict: {why}");
}

/// A life of the other node: DOCGEN works there, on a disk that both share, and somebody there may give vetoes.
async fn away(faults: Faults, home: NodeId) {
    let node = start(2, 1).await;
    let docgen = Post::open_with(node.context(), "docgen", move |desk| async move {
        time::sleep(some(Duration::from_secs(4))).await;
        desk.breathe().await?;
        let report = Report { agent: "docgen".into(), ..Report::default() };
        let text = serde_json::to_vec(&report).expect("plain data");
        files::tree(home).put("/runs/r/docgen/findings.json", text);
        Ok(desk.handoff("director"))
    });
    let (_phase, serve) = watch::channel(Phase::Serve);
    task::spawn(docgen.await.expect("its place is free").run(serve)).detach();
    let security = node.context().agent("security").expect("free here");
    let steps: Vec<String> = plan().steps.into_iter().map(|step| step.id).collect();
    while faults.vetoes && clock() < SICK {
        time::sleep(some(Duration::from_secs(4))).await;
        let step = steps[random::below(steps.len() as u64) as usize].clone();
        let say = |lifted| {
            let veto = Veto { step: step.clone(), why: "drawn from the seed".into(), lifted };
            let text = serde_json::to_vec(&veto).expect("plain data");
            // While the nodes are cut off, or no run is going, nobody hears it, and the journal has none.
            let _ = security.publish(&veto_subject("r"), Priority::High, text);
        };
        say(false);
        time::sleep(some(Duration::from_secs(3))).await;
        if random::chance(0.8) {
            say(true);
        }
    }
    std::future::pending().await
}

/// The tree and the tools of the node where the run is.
fn furnish(node: NodeId) {
    let tree = files::tree(node);
    for (path, text) in [
        ("README.md", "# Small\n\nUsage: install it; its licence is beside it.\n\n[gone](gone.md)\n"),
        ("LICENSE", "Do as you like.\n"),
        ("pyproject.toml", "[project]\nname = \"small\"\n"),
        ("small/__init__.py", "from small import b\n"),
        ("small/b.py", "import small\n"),
        ("settings.json", "{\n  \"a\": 1\n  \"b\": 2\n}\n"),
        ("tests/__init__.py", ""),
        ("tests/test_a.py", "import unittest\n"),
    ] {
        tree.put(format!("/tree/{path}"), text);
    }
    let probed =
        r#"{"program": "/usr/bin/python3", "version": "3.11", "prefixes": ["/usr"], "pytest": false}"#;
    let args = Some(["-I", "-c", testbed::unittest::PROBE].map(String::from).to_vec());
    record(node, Transcript { args, ..Transcript::says("python3", probed) });
    let told = include_str!("../../../runtime/agents/tests/transcripts/unittest-planted.jsonl");
    record(node, Transcript { took: Duration::from_secs(2), ..Transcript::says("python3", told) });
}

/// Runs one review under these faults and gives what was seen.
fn told(seed: u64, faults: Faults) -> (Verdict, Vec<Line>, Vec<u64>, u32) {
    #[cfg(feature = "plant")]
    if let Ok(bug) = std::env::var(PLANT) {
        synod_probe::plant::choose(&bug).expect("one bug a process");
    }
    let world = simulation::run(seed, HOUR, move || async move {
        let story = Rc::new(Story { faults, ..Story::default() });
        let lives = story.clone();
        let home = Machine::create("n1", [10, 0, 0, 1].into(), move || home(lives.clone()));
        furnish(home.id());
        let id = home.id();
        let away = Machine::create("n2", [10, 0, 0, 2].into(), move || away(faults, id));
        let kills = async {
            while faults.kills && clock() < SICK && story.end.borrow().is_none() {
                time::sleep(some(Duration::from_secs(12))).await;
                if random::chance(0.5) {
                    disk::control::power_loss(home);
                } else {
                    disk::control::process_crash(home);
                }
                time::sleep(some(Duration::from_secs(2))).await;
                if story.end.borrow().is_none() {
                    home.restart();
                }
            }
        };
        let cuts = async {
            while faults.cuts && clock() < SICK {
                time::sleep(some(Duration::from_secs(5))).await;
                net::control::partition(&[home.id()], &[away.id()]);
                time::sleep(some(Duration::from_secs(10))).await;
                net::control::unite(&[home.id()], &[away.id()]);
            }
        };
        let ends = async {
            while story.end.borrow().is_none() {
                if let simulation::Status::Down(simulation::Exit::Panicked(why)) = home.status() {
                    panic!("{why}");
                }
                time::sleep(Duration::from_millis(100)).await;
            }
        };
        futures_util::join!(kills, cuts, ends);
        let (verdict, lines) = story.end.take().expect("it ended");
        (verdict, lines, story.tokens.take(), story.lives.get())
    });
    world.unwrap_or_else(|error| panic!("seed {seed}: {error}"))
}

/// What must hold of every run, whatever its members did.
fn judge(seed: u64, faults: Faults, whole: &Verdict) -> (Verdict, Vec<Line>) {
    let (verdict, lines, tokens, lives) = told(seed, faults);
    let mut history = History::default();
    // DIRECTOR weighs what there is, also if steps failed that its verdict needs.
    let mut plan = plan();
    plan.steps.retain(|step| step.agent != Role::Director.name());
    history.push(0, 1, What::flow(1, 0, &plan, &lines, true));
    let judged = (workflow::ACCOUNTED.judge)(&history, &Facts::default());
    assert_eq!((judged.judged, judged.wrong), (1, Vec::new()), "seed {seed}: {lines:#?}");
    let ends = lines.iter().filter(|line| line.event == Happened::Ended).count();
    assert_eq!((ends, lines.last().map(|line| line.event)), (1, Some(Happened::Ended)), "seed {seed}");

    assert!(tokens.is_sorted_by(|a, b| a < b), "seed {seed}: one holder after another: {tokens:?}");

    // What was not done is told, and all that was done is the same as without faults.
    let done: BTreeSet<&str> =
        lines.iter().filter(|line| line.event == Happened::Done).map(|line| line.step.as_str()).collect();
    for step in plan.steps.iter().filter(|step| !done.contains(step.id.as_str())) {
        let told = verdict.failures.iter().any(|failure| failure.step == step.id)
            || verdict.warnings.iter().any(|warning| warning.contains(&format!("`{}`", step.id)));
        assert!(told, "seed {seed}, {lives} lives: nobody tells of `{}`: {verdict:#?}", step.id);
    }
    // How often a test was tried again depends on the time it had; what it came to does not.
    let found = |verdict: &Verdict| -> Vec<String> {
        verdict.findings.iter().map(|finding| format!("{} {}", finding.place, finding.rule)).collect()
    };
    let (found, all) = (found(&verdict), found(whole));
    assert!(found.iter().all(|finding| all.contains(finding)), "seed {seed}: {found:?}");
    if verdict.failures.is_empty() && done.len() == plan.steps.len() + 1 {
        assert_eq!(found, all, "seed {seed}");
    }
    (verdict, lines)
}

fn sweep(seeds: std::ops::Range<u64>, faults: Faults) -> Vec<(Verdict, Vec<Line>)> {
    let (whole, ..) = told(1, Faults::default());
    assert!(whole.failures.is_empty() && whole.findings.len() >= 3, "{whole:#?}");
    seeds.map(|seed| judge(seed, faults, &whole)).collect()
}

/// So many runs at least had such a line: else nothing was shown.
fn all_of(runs: &[(Verdict, Vec<Line>)], events: &[(Happened, usize)]) {
    for (event, least) in events {
        let had = runs.iter().filter(|(_, lines)| lines.iter().any(|line| line.event == *event)).count();
        assert!(had >= *least, "{event} in {had} runs of {}", runs.len());
    }
}

#[test]
fn a_review_whose_members_panic_hang_and_lie_ends_and_tells_what_became_of_each_step() {
    let runs = sweep(1..17, Faults { sick: true, ..Faults::default() });
    all_of(&runs, &[(Happened::Retried, 8), (Happened::Failed, 1), (Happened::Resumed, 4)]);
}

#[test]
fn a_review_that_is_killed_again_and_again_comes_to_the_verdict_of_one_that_was_not() {
    let runs = sweep(1..17, Faults { kills: true, ..Faults::default() });
    all_of(&runs, &[(Happened::Resumed, 8)]);
    assert!(runs.iter().all(|(verdict, _)| verdict.failures.is_empty()));
}

#[test]
fn a_review_whose_members_are_cut_off_and_whose_outputs_are_vetoed_runs_no_step_on_them_and_ends() {
    let runs = sweep(1..17, Faults { cuts: true, vetoes: true, ..Faults::default() });
    all_of(
        &runs,
        &[(Happened::Vetoed, 8), (Happened::Lifted, 4), (Happened::Stopped, 3), (Happened::Skipped, 1)],
    );
}

#[test]
fn a_review_to_which_everything_happens_at_once_is_accounted_for_and_ends() {
    let runs = sweep(1..25, ALL);
    all_of(
        &runs,
        &[(Happened::Retried, 15), (Happened::Resumed, 15), (Happened::Vetoed, 15), (Happened::Stopped, 5)],
    );
}

/// Names the bug of this process.
#[cfg(feature = "plant")]
const PLANT: &str = "SYNOD_TEST_PLANT";

/// A bug is chosen for a whole process, so this program is started again for each.
#[cfg(feature = "plant")]
#[test]
fn planted_bugs_of_workflows_are_caught_by_the_oracle() {
    for (bug, test, says) in [
        (
            "workflow.ignore-veto",
            "a_review_whose_members_are_cut_off_and_whose_outputs_are_vetoed_runs_no_step_on_them_and_ends",
            "starts on the vetoed output of step",
        ),
        (
            "workflow.repeat-finished",
            "a_review_that_is_killed_again_and_again_comes_to_the_verdict_of_one_that_was_not",
            "was done, and is started again",
        ),
    ] {
        let program = std::env::current_exe().expect("this program");
        let run = std::process::Command::new(program).args(["--exact", test]).env(PLANT, bug).output();
        let run = run.expect("it starts");
        let told = String::from_utf8_lossy(&run.stdout);
        assert!(!run.status.success() && told.contains(says), "{bug} was not caught: {told}");
    }
}
