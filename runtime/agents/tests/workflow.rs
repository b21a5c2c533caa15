//! Plans run over the fabric by agents that crash, hang, lie and veto; the run is killed and goes on.
//!
//! The same bodies run on a real executor and in the simulator.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use synod_agents::shell::Desk;
use synod_agents::task::{self as messages, Handoff, Task, Urgency, Veto};
use synod_agents::workflow::journal::{Happened, Journal, Line};
use synod_agents::workflow::lease::{LeaseError, Leases};
use synod_agents::workflow::plan::{Compensation, Plan, Step};
use synod_agents::workflow::run::{self, Ran};
use synod_agents::{Phase, Post, WorkError};
use synod_control::units;
use synod_fabric::{Agent, Context, Fabric, FabricConfig, Priority, RequestError};
use synod_platform::watch;
use synod_platform::{disk, files, random, task, testing, time};

const WITHIN: Duration = Duration::from_secs(20);

fn context() -> Context {
    Fabric::new(FabricConfig::named("test")).enter("home").expect("the first context")
}

async fn folder() -> PathBuf {
    let folder = PathBuf::from(format!("/tmp/synod-workflow-{:016x}/run", random::u64()));
    files::create_directories(&folder).await.expect("a temporary folder");
    disk::create_directories(&folder).await.expect("a temporary folder");
    folder
}

async fn gone(folder: &Path) {
    files::remove_tree(folder.parent().expect("it has one")).await.expect("our own folder");
}

fn step(id: &str, agent: &str, needs: &[&str]) -> Step {
    let mut step = Step::new(id, agent, "do", needs).within(Duration::from_secs(5)).retries(2);
    step.back_off = units::Duration(Duration::from_millis(20));
    step
}

fn plan(steps: Vec<Step>) -> Plan {
    Plan::new("try", "/t", steps)
}

/// Agents at their posts, each opened again after a panic as supervision does, and the one who runs plans.
struct Stage {
    context: Context,
    folder: PathBuf,
    ran: Rc<RefCell<Option<Ran>>>,
    client: Agent,
    phase: watch::Sender<Phase>,
    follow: watch::Receiver<Phase>,
}

impl Stage {
    async fn set(plan: Plan) -> Self {
        let context = context();
        let (phase, follow) = watch::channel(Phase::Serve);
        let client = context.agent("client").expect("free");
        let stage = Stage { context, folder: folder().await, ran: Rc::default(), client, phase, follow };
        let ran = stage.ran.clone();
        stage
            .seat("runner", move |desk| {
                let (ran, plan) = (ran.clone(), plan.clone());
                async move {
                    let end = run::run(&desk, &plan, |step| {
                        Box::pin(async move { Err(WorkError::Task(format!("{} is nobody's", step.id))) })
                    });
                    *ran.borrow_mut() = Some(end.await?);
                    Ok(desk.handoff("client"))
                }
            })
            .await;
        stage
    }

    async fn seat<F>(&self, name: &'static str, work: impl Fn(Desk) -> F + Clone + 'static)
    where
        F: Future<Output = Result<Handoff, WorkError>> + 'static,
    {
        let (context, follow) = (self.context.clone(), self.follow.clone());
        let first = Post::open_with(&context, name, work.clone()).await.expect("its place is free");
        let life = async move {
            let mut post = first;
            while post.run(follow.clone()).await.is_err() {
                post = Post::open_with(&context, name, work.clone()).await.expect("its place is free again");
            }
        };
        task::spawn(life).detach();
    }

    async fn ask(&self, within: Duration) -> Result<Handoff, RequestError> {
        let order = Task {
            id: "run".into(),
            run: "r".into(),
            goal: "try".into(),
            tree: "/t".into(),
            folder: self.folder.to_string_lossy().into_owned(),
            inputs: BTreeMap::new(),
            within_ms: u64::try_from(within.as_millis()).expect("short"),
            priority: Urgency::Normal,
            lease: None,
        };
        let text = serde_json::to_vec(&order).expect("plain data");
        let subject = messages::task_subject("runner");
        let answer = self.client.request(&subject, Priority::Normal, text, within).await?;
        Ok(serde_json::from_slice(answer.payload()).expect("a handoff"))
    }

    /// Runs the plan to its end and gives what became of it.
    async fn run(&self) -> Ran {
        self.ask(WITHIN).await.expect("it ends");
        self.ran.borrow_mut().take().expect("it ended")
    }

    async fn lines(&self) -> Vec<Line> {
        let (journal, lines) = Journal::open(&self.folder).await.expect("a whole journal");
        journal.close().await.expect("it closes");
        lines
    }

    async fn over(self) {
        self.phase.send_replace(Phase::Stop);
        gone(&self.folder).await;
    }
}

fn names(handoffs: &[Handoff]) -> Vec<&str> {
    handoffs.iter().map(|handoff| handoff.task.as_str()).collect()
}

/// How often each step was started, and how often it was done.
fn counts(lines: &[Line]) -> BTreeMap<&str, (u32, u32)> {
    let mut counts: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for line in lines.iter().filter(|line| !line.step.is_empty()) {
        let count = counts.entry(&line.step).or_default();
        count.0 += u32::from(line.event == Happened::Started);
        count.1 += u32::from(line.event == Happened::Done);
    }
    counts
}

#[test]
fn a_plan_runs_to_its_end_and_each_step_hears_what_those_it_needs_have_put_out() {
    testing::run(1, || async {
        let stage = Stage::set(plan(vec![step("make", "maker", &[]), step("use", "user", &["make"])])).await;
        stage
            .seat("maker", |desk| async move {
                Ok(Handoff { outputs: vec!["maker/x".into()], ..desk.handoff("user") })
            })
            .await;
        let heard = Rc::new(RefCell::new(String::new()));
        let hears = heard.clone();
        stage
            .seat("user", move |desk| {
                *hears.borrow_mut() = desk.input(run::NEEDS).expect("always there").to_string();
                async move { Ok(desk.handoff("client")) }
            })
            .await;
        let ran = stage.run().await;
        assert_eq!((names(&ran.done), ran.failed.len()), (vec!["make", "use"], 0));
        assert_eq!(*heard.borrow(), "{\"make\":[\"maker/x\"]}");
        stage.over().await;
    });
}

#[test]
fn an_agent_that_panics_is_asked_again_and_one_that_hangs_or_lies_is_given_up_and_told() {
    testing::run(2, || async {
        let hang = step("hang", "hanger", &[]).within(Duration::from_millis(300)).retries(1);
        let lie = step("lie", "liar", &[]).within(Duration::from_millis(300)).retries(0);
        let stage = Stage::set(plan(vec![
            step("crash", "crasher", &[]),
            hang,
            lie,
            step("after", "crasher", &["hang"]),
        ]))
        .await;
        let lives = Rc::new(Cell::new(0));
        stage
            .seat("crasher", move |desk| {
                lives.set(lives.get() + 1);
                let first = lives.get() == 1;
                async move {
                    assert!(!first, "out of luck");
                    Ok(desk.handoff("client"))
                }
            })
            .await;
        stage.seat("hanger", |_| std::future::pending()).await;
        stage
            .seat("liar", |desk| async move {
                desk.progress(f32::NAN, "done");
                desk.progress(1.0, "done");
                Err(desk.given_up().await)
            })
            .await;
        let ran = stage.run().await;
        assert_eq!(names(&ran.done), ["crash"]);
        let failed: Vec<&str> = ran.failed.iter().map(|failure| failure.step.as_str()).collect();
        assert_eq!(failed, ["hang", "lie", "after"]);
        assert!(ran.failed[2].why.contains("`hang`"), "{}", ran.failed[2].why);
        let lines = stage.lines().await;
        let counts = counts(&lines);
        // Whether the fabric asks the crashed agent's next life, or the plan a second time, is a matter of moments.
        assert_eq!(counts["crash"].1, 1);
        assert_eq!((counts["hang"], counts["lie"], counts["after"]), ((2, 0), (1, 0), (0, 0)));
        stage.over().await;
    });
}

/// A runner that is given up when its agents have told so many moments of their work (a step has two), and asked again; and once more,
/// until the run has ended.
async fn killed(moments: &[u32]) -> (Vec<String>, Vec<Line>) {
    let steps = vec![
        step("a", "one", &[]),
        step("b", "other", &["a"]),
        step("c", "one", &["a"]),
        step("d", "other", &["b", "c"]),
    ];
    let stage = Stage::set(plan(steps)).await;
    let (tell, mut told) = watch::channel(0);
    for name in ["one", "other"] {
        let tell = tell.clone();
        let moment = move || {
            tell.send_if_modified(|moments| {
                *moments += 1;
                true
            })
        };
        stage
            .seat(name, move |desk| {
                let moment = moment.clone();
                async move {
                    moment();
                    desk.breathe().await?;
                    moment();
                    Ok(desk.handoff("client"))
                }
            })
            .await;
    }
    for moments in moments {
        let until = *told.borrow_and_update() + moments;
        let comes = async {
            while *told.borrow_and_update() < until {
                told.changed().await.expect("the agents are there");
            }
        };
        // Nobody waits for it any more: the runner is given up in the midst of its work, if that is not over.
        futures_util::future::select(pin!(comes), pin!(stage.ask(WITHIN))).await;
    }
    let ran = stage.run().await;
    let mut done: Vec<String> = names(&ran.done).into_iter().map(String::from).collect();
    done.sort();
    let lines = stage.lines().await;
    stage.over().await;
    (done, lines)
}

#[test]
fn a_run_given_up_at_any_moment_goes_on_and_repeats_no_finished_step() {
    testing::run(3, || async {
        for moment in 0..10 {
            let (done, lines) = killed(&[moment, moment / 2]).await;
            assert_eq!(done, ["a", "b", "c", "d"], "given up at moment {moment}");
            for (step, (_, times)) in counts(&lines) {
                assert_eq!(times, 1, "{step}, given up at moment {moment}: {lines:#?}");
            }
            for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.event == Happened::Done) {
                let again = lines[at..]
                    .iter()
                    .any(|later| later.step == line.step && later.event == Happened::Started);
                assert!(!again, "{} was started after it was done", line.step);
            }
        }
    });
}

/// A run whose journal finds `room` bytes on the disk, then as much as it wants: why it ended first, if it did, and its journal in the end.
#[cfg(madsim)]
async fn filled(room: u64) -> (Option<String>, Vec<Line>) {
    use synod_platform::{disk::control, simulation};
    let steps = vec![step("a", "agent", &[]), step("b", "agent", &["a"]), step("c", "agent", &["b"])];
    let stage = Stage::set(plan(steps)).await;
    stage.seat("agent", |desk| async move { Ok(desk.handoff("client")) }).await;
    control::change(simulation::current_node(), |faults| faults.capacity = Some(room));
    let first = stage.ask(WITHIN).await.err().map(|error| error.to_string());
    control::restore(simulation::current_node());
    let before = stage.lines().await;
    let ran = stage.run().await;
    assert_eq!(names(&ran.done), ["a", "b", "c"], "with room for {room} bytes");
    let lines = stage.lines().await;
    assert_eq!(lines[..before.len()], before[..], "what was durable stays");
    // It would take up the room of the next run.
    control::wipe(simulation::current_node());
    stage.over().await;
    (first, lines)
}

#[cfg(madsim)]
#[test]
fn a_run_whose_disk_is_full_ends_saying_so_and_goes_on_when_there_is_space_again() {
    testing::run(10, || async {
        let (mut ended, mut room) = (0, 0);
        while room < 8 << 10 {
            let (first, lines) = filled(room).await;
            let counts = counts(&lines);
            assert!(counts.values().all(|(_, done)| *done == 1), "room for {room} bytes: {lines:#?}");
            for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.event == Happened::Done) {
                let again = |later: &Line| later.step == line.step && later.event == Happened::Started;
                assert!(!lines[at..].iter().any(again), "room for {room} bytes: {lines:#?}");
            }
            let Some(why) = first else { break };
            assert!(why.contains("the journal of the run") && why.contains("no space is left"), "{why}");
            (ended, room) = (ended + 1, room + 61);
        }
        assert!((10..100).contains(&ended), "the disk was full at {ended} moments");
    });
}

#[test]
fn a_veto_stops_the_step_that_reads_the_output_until_it_is_lifted_and_only_its_owners_may_give_it() {
    testing::run(4, || async {
        let stage = Stage::set(plan(vec![step("make", "maker", &[]), step("use", "user", &["make"])])).await;
        stage.seat("maker", |desk| async move { Ok(desk.handoff("user")) }).await;
        let story = Story(Rc::new(watch::channel(Vec::new()).0));
        let (tell, begun) = (story.clone(), Rc::new(Cell::new(0)));
        let counted = begun.clone();
        stage
            .seat("user", move |desk| {
                let story = tell.clone();
                counted.set(counted.get() + 1);
                let first = counted.get() == 1;
                async move {
                    if first {
                        story.tell("user works");
                        let why = desk.given_up().await;
                        story.tell("user stopped");
                        return Err(why);
                    }
                    Ok(desk.handoff("client"))
                }
            })
            .await;
        let say = |agent: &Agent, lifted: bool| {
            let veto = Veto { step: "make".into(), why: "a secret in it".into(), lifted };
            let text = serde_json::to_vec(&veto).expect("plain data");
            let told = agent.publish(&messages::veto_subject("r"), Priority::Critical, text);
            assert!(told.is_ok_and(|receipt| receipt.accepted_count() > 0), "somebody listens");
        };
        let security = stage.context.agent("security").expect("free");
        let stranger = stage.context.agent("stranger").expect("free");
        let vetoes = async {
            story.wait("user works").await;
            say(&stranger, false);
            say(&security, false);
            story.wait("user stopped").await;
            assert!(stage.ran.borrow().is_none(), "the run waits for the veto");
            say(&security, true);
        };
        let (ran, ()) = futures_util::future::join(stage.run(), vetoes).await;
        assert_eq!((names(&ran.done), begun.get()), (vec!["make", "use"], 2));
        let lines = stage.lines().await;
        let told: Vec<Happened> =
            lines.iter().filter(|line| line.event != Happened::Progress).map(|line| line.event).collect();
        use Happened::{Done, Lifted, Started, Stopped, Vetoed};
        assert_eq!(told, [Started, Done, Started, Vetoed, Stopped, Lifted, Started, Done], "{lines:#?}");
        let vetoed = lines.iter().find(|line| line.event == Vetoed).map(|line| line.why.as_str());
        assert_eq!(vetoed, Some("SECURITY: a secret in it"), "a stranger vetoes nothing");
        stage.over().await;
    });
}

/// What has happened in a test, and who waits for it.
#[derive(Clone)]
struct Story(Rc<watch::Sender<Vec<&'static str>>>);

impl Story {
    fn tell(&self, what: &'static str) {
        let mut told = self.0.subscribe().borrow_and_update().clone();
        told.push(what);
        self.0.send_replace(told);
    }

    async fn wait(&self, what: &'static str) {
        let mut told = self.0.subscribe();
        while !told.borrow_and_update().contains(&what) {
            told.changed().await.expect("the test goes on");
        }
    }
}

#[test]
fn a_veto_before_during_or_after_a_step_keeps_its_output_from_those_who_need_it() {
    testing::run(8, || async {
        // What the guard waits for before its veto, and what waits for the veto.
        for (moment, waits) in [("begun", "first"), ("maker works", "maker"), ("user works", "nobody")] {
            let mut plan = plan(vec![
                step("first", "first", &[]),
                step("guard", "security", &[]),
                step("make", "maker", &["first"]),
                step("use", "user", &["make"]),
            ]);
            plan.veto_wait = units::Duration(Duration::from_millis(100));
            let stage = Stage::set(plan).await;
            let story = Story(Rc::new(watch::channel(vec!["begun"]).0));
            for (name, works) in [("first", "first works"), ("maker", "maker works")] {
                let story = story.clone();
                stage
                    .seat(name, move |desk| {
                        let story = story.clone();
                        async move {
                            story.tell(works);
                            if name == waits {
                                story.wait("vetoed").await;
                            }
                            Ok(desk.handoff("client"))
                        }
                    })
                    .await;
            }
            let told = story.clone();
            stage
                .seat("user", move |desk| {
                    let story = told.clone();
                    async move {
                        story.tell("user works");
                        Err(desk.given_up().await)
                    }
                })
                .await;
            stage
                .seat("security", move |desk| {
                    let story = story.clone();
                    async move {
                        story.wait(moment).await;
                        desk.veto("make", "a secret in it")?;
                        story.tell("vetoed");
                        Ok(desk.handoff("client"))
                    }
                })
                .await;
            let ran = stage.run().await;
            let mut done = names(&ran.done);
            done.sort_unstable();
            assert_eq!(done, ["first", "guard", "make"], "vetoed when {moment}");
            let why = ran.failed.iter().map(|failure| failure.why.as_str()).collect::<Vec<_>>();
            assert_eq!(why, ["`make` is vetoed: SECURITY: a secret in it"], "vetoed when {moment}");
            let lines = stage.lines().await;
            let vetoed = lines.iter().position(|line| line.event == Happened::Vetoed).expect("it was heard");
            let after = |line: &Line| line.step == "use" && line.event == Happened::Started;
            assert!(!lines[vetoed..].iter().any(after), "vetoed when {moment}: {lines:#?}");
            stage.over().await;
        }
    });
}

#[test]
fn what_was_done_is_undone_by_its_agent_when_what_builds_on_it_fails() {
    testing::run(5, || async {
        let mut make = step("make", "maker", &[]);
        let within = units::Duration(Duration::from_secs(5));
        make.compensate = Some(Compensation { agent: "maker".into(), goal: "take it back".into(), within });
        let stage = Stage::set(plan(vec![make, step("use", "user", &["make"]).retries(0)])).await;
        let goals = Rc::new(RefCell::new(Vec::new()));
        let heard = goals.clone();
        stage
            .seat("maker", move |desk| {
                heard.borrow_mut().push(desk.task().goal.clone());
                async move { Ok(desk.handoff("user")) }
            })
            .await;
        stage.seat("user", |_| async { Err(WorkError::Task("no use".into())) }).await;
        let ran = stage.run().await;
        assert_eq!(*goals.borrow(), ["do", "take it back"]);
        assert_eq!(ran.failed.iter().map(|failure| failure.step.as_str()).collect::<Vec<_>>(), ["use"]);
        assert!(
            stage.lines().await.iter().any(|line| line.step == "make" && line.event == Happened::Compensated)
        );
        stage.over().await;
    });
}

#[test]
fn steps_that_write_one_tree_hold_its_lease_in_turn_each_with_a_newer_token() {
    testing::run(6, || async {
        let writes = |id: &str| Step { writes: Some("/some/tree".into()), ..step(id, "writer", &[]) };
        let stage = Stage::set(plan(vec![writes("one"), writes("two")])).await;
        let tokens = Rc::new(RefCell::new(Vec::new()));
        let told = tokens.clone();
        stage
            .seat("writer", move |desk| {
                let lease = desk.task().lease.clone().expect("a writer has one");
                told.borrow_mut().push((lease.tree, lease.token));
                async move { Ok(desk.handoff("client")) }
            })
            .await;
        stage.run().await;
        let tree = || "/some/tree".to_string();
        assert_eq!(*tokens.borrow(), [(tree(), 1), (tree(), 2)]);
        stage.over().await;
    });
}

/// It waits for a lease's whole term, which only virtual time passes quickly.
#[cfg(madsim)]
#[test]
fn a_writer_waits_for_the_lease_of_one_that_was_stopped_to_run_out() {
    testing::run(9, || async {
        let writes =
            |id: &str, agent: &str| Step { writes: Some("/some/tree".into()), ..step(id, agent, &[]) };
        let hangs = writes("one", "hanger").within(Duration::from_secs(1)).retries(0).optional();
        let stage =
            Stage::set(plan(vec![hangs, writes("two", "writer").within(Duration::from_secs(60))])).await;
        stage.seat("hanger", |_| std::future::pending()).await;
        stage.seat("writer", |desk| async move { Ok(desk.handoff("client")) }).await;
        let ran = stage.run().await;
        assert_eq!((names(&ran.done), ran.dropped.len()), (vec!["two"], 1), "{ran:?}");
        let lines = stage.lines().await;
        assert_eq!(counts(&lines)["two"], (1, 1), "no attempt is wasted: {lines:#?}");
        stage.over().await;
    });
}

#[test]
fn a_writer_that_slept_through_its_lease_writes_nothing_any_more() {
    testing::run(7, || async {
        let folder = folder().await;
        let tree = folder.join("tree");
        files::create_directories(&tree).await.expect("our own folder");
        let (leases, tree) = (Leases::beside(&folder), tree.to_string_lossy().into_owned());
        let term = Duration::from_millis(100);
        let first = leases.acquire(&tree, "one", term).await.expect("free");
        let write = |token: u64, path: &str, text: &str| {
            let (leases, tree, writes) = (leases.clone(), tree.clone(), [(path.into(), text.into())]);
            async move { leases.write(&tree, token, writes).await }
        };
        write(first.token(), "a", "one").await.expect("it holds the lease");
        let second = loop {
            match leases.acquire(&tree, "two", term).await {
                Ok(lease) => break lease,
                Err(LeaseError::Held { holder, left, .. }) if holder == "one" => time::sleep(left).await,
                Err(error) => panic!("{error}"),
            }
        };
        assert!(second.token() > first.token());
        write(second.token(), "a", "two").await.expect("it holds the lease");
        let stale = write(first.token(), "a", "one again").await.expect_err("it woke up too late");
        assert!(matches!(stale, LeaseError::Stale { newest, .. } if newest == second.token()), "{stale}");
        assert!(first.renew(term).await.is_err());
        assert_eq!(files::read(&Path::new(&tree).join("a"), 100).await.expect("it is there"), b"two");
        assert!(write(second.token(), "../out", "x").await.is_err(), "a lease is on the tree alone");
        write(second.token(), "new/folder/b", "two").await.expect("what is missing of a path is made");
        let token = second.token();
        second.release().await.expect("its own");
        let over = write(token, "a", "two again").await.expect_err("it gave the lease back");
        assert!(matches!(over, LeaseError::GivenBack { .. }), "{over}");
        leases.acquire(&tree, "one", term).await.expect("given back");
        gone(&folder).await;
    });
}

#[test]
fn a_run_that_gets_too_little_time_ends_in_it_and_tells_what_was_not_done() {
    testing::run(8, || async {
        let stage =
            Stage::set(plan(vec![step("hang", "hanger", &[]), step("after", "hanger", &["hang"])])).await;
        stage.seat("hanger", |_| std::future::pending()).await;
        stage.ask(Duration::from_secs(2)).await.expect("an answer in time");
        let ran = stage.ran.borrow_mut().take().expect("it ended");
        assert!(ran.done.is_empty() && ran.failed.len() == 2, "{ran:?}");
        assert!(ran.failed.iter().all(|failure| failure.why == "the time was over"), "{ran:?}");
        stage.over().await;
    });
}

/// Each planted bug must make a scenario above fail; without the bug it passes, as its own test says. A bug is chosen for a thread, and
/// the simulator runs on a thread of its own: so here alone.
#[cfg(not(madsim))]
mod planted {
    use super::*;
    use synod_probe::plant;

    fn caught(bug: &'static str, scenario: fn()) {
        let end = std::panic::catch_unwind(|| plant::with(bug, scenario));
        assert!(end.is_err(), "{bug} was not caught");
    }

    #[test]
    fn a_finished_step_that_is_repeated_is_caught() {
        caught("workflow.repeat-finished", a_run_given_up_at_any_moment_goes_on_and_repeats_no_finished_step);
    }

    #[test]
    fn a_veto_that_is_not_heeded_is_caught() {
        caught(
            "workflow.ignore-veto",
            a_veto_stops_the_step_that_reads_the_output_until_it_is_lifted_and_only_its_owners_may_give_it,
        );
    }

    #[test]
    fn a_stale_lease_that_passes_is_caught() {
        caught("workflow.stale-lease", a_writer_that_slept_through_its_lease_writes_nothing_any_more);
    }
}
