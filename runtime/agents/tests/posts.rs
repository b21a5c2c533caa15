//! Agents at their posts: tasks are answered, cancels and deadlines are heeded, a panic is told and ends the post.
//!
//! The same bodies run on a real executor and in the simulator.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use synod_agents::shell::{Counts, State};
use synod_agents::task::{Handoff, Progress, Task, Urgency, cancel_subject, progress_subject, task_subject};
use synod_agents::{Phase, Post, PostError};
use synod_fabric::{Agent, Context, Fabric, FabricConfig, Priority, RequestError};
use synod_platform::watch;
use synod_platform::{task, testing, time};

const WITHIN: Duration = Duration::from_secs(20);

fn context() -> Context {
    Fabric::new(FabricConfig::named("test")).enter("home").expect("the first context")
}

fn order(within: Duration) -> Vec<u8> {
    let task = Task {
        id: "t".into(),
        run: "r".into(),
        goal: "try".into(),
        tree: "/".into(),
        folder: "/".into(),
        inputs: BTreeMap::new(),
        within_ms: u64::try_from(within.as_millis()).expect("short"),
        priority: Urgency::Normal,
        lease: None,
    };
    serde_json::to_vec(&task).expect("plain data")
}

async fn ask(client: &Agent, payload: Vec<u8>) -> Result<Handoff, RequestError> {
    let answer = client.request(&task_subject("worker"), Priority::Normal, payload, WITHIN).await?;
    Ok(serde_json::from_slice(answer.payload()).expect("a handoff"))
}

#[test]
fn a_task_is_answered_with_a_handoff_and_its_progress_is_told() {
    testing::run(1, || async {
        let context = context();
        let post = Post::open_with(&context, "worker", |desk| async move {
            desk.progress(0.5, "half");
            desk.breathe().await?;
            Ok(desk.handoff("client"))
        });
        let post = post.await.expect("its place is free");
        let (_phase, phase) = watch::channel(Phase::Serve);
        let post = task::spawn(post.run(phase));
        let client = context.agent("client").expect("free");
        let mut progress = client.subscribe(&progress_subject("r"), 8).await.expect("a pattern");

        let handoff = ask(&client, order(WITHIN)).await.expect("an answer");
        assert_eq!(
            (handoff.from.as_str(), handoff.to.as_str(), handoff.task.as_str()),
            ("worker", "client", "t")
        );
        let told = progress.recv().await.expect("progress");
        let told: Progress = serde_json::from_slice(told.payload()).expect("its form");
        assert_eq!((told.agent.as_str(), told.fraction, told.sentence.as_str()), ("worker", 0.5, "half"));
        post.abort();
    });
}

#[test]
fn what_is_no_task_is_answered_with_why() {
    testing::run(1, || async {
        let context = context();
        let post = Post::open_with(&context, "worker", |desk| async move { Ok(desk.handoff("client")) });
        let post = post.await.expect("its place is free");
        let (_phase, phase) = watch::channel(Phase::Serve);
        task::spawn(post.run(phase)).detach();
        let client = context.agent("client").expect("free");
        let error = ask(&client, b"{\"id\": 3}".to_vec()).await.expect_err("no task").to_string();
        assert!(error.contains("this is no task"), "{error}");
        ask(&client, order(WITHIN)).await.expect("the next task is done all the same");
    });
}

#[test]
fn a_cancelled_run_ends_and_another_run_s_cancel_does_not_end_it() {
    testing::run(1, || async {
        let context = context();
        let (again, waits) = watch::channel(());
        let post = Post::open_with(&context, "worker", move |desk| {
            let mut waits = waits.clone();
            async move {
                desk.progress(0.0, "begun");
                tokio::select! {
                    biased;
                    why = desk.given_up() => return Err(why),
                    _ = waits.changed() => desk.progress(0.5, "still here"),
                }
                Err(desk.given_up().await)
            }
        });
        let post = post.await.expect("its place is free");
        let (_phase, phase) = watch::channel(Phase::Serve);
        task::spawn(post.run(phase)).detach();
        let client = context.agent("client").expect("free");
        let mut progress = client.subscribe(&progress_subject("r"), 8).await.expect("a pattern");
        let cancel = |run: &str| {
            let receipt = client.publish(&cancel_subject(run), Priority::High, Vec::new());
            assert_eq!(receipt.expect("somebody listens").accepted_count(), 1);
        };
        let story = async {
            progress.recv().await.expect("it begins");
            cancel("other");
            // The post hears of it before the work is asked whether it goes on.
            for _ in 0..10 {
                task::yield_now().await;
            }
            again.send_replace(());
            progress.recv().await.expect("the cancel was for another run");
            cancel("r");
        };
        let (end, ()) = futures_util::future::join(ask(&client, order(WITHIN)), story).await;
        let error = end.expect_err("cancelled").to_string();
        assert!(error.contains("cancelled"), "{error}");
    });
}

#[test]
fn work_stops_at_its_deadline_and_when_its_requester_gives_up() {
    testing::run(1, || async {
        let context = context();
        let (story, mut told) = watch::channel((0, 0));
        let post = Post::open_with(&context, "worker", move |desk| {
            let tell = story.clone();
            async move {
                tell.send_if_modified(|(begun, _)| {
                    *begun += 1;
                    true
                });
                let why = desk.given_up().await;
                desk.breathe().await.expect_err("it is over for pieces of work, too");
                tell.send_if_modified(|(_, ended)| {
                    *ended += 1;
                    true
                });
                Err(why)
            }
        });
        let post = post.await.expect("its place is free");
        let (_phase, phase) = watch::channel(Phase::Serve);
        task::spawn(post.run(phase)).detach();
        let client = context.agent("client").expect("free");

        let error = ask(&client, order(Duration::from_millis(50))).await.expect_err("too short").to_string();
        assert!(error.contains("deadline"), "{error}");
        assert_eq!(*told.borrow_and_update(), (1, 1));

        let asking = task::spawn(async move { ask(&client, order(WITHIN)).await });
        while *told.borrow_and_update() != (2, 1) {
            told.changed().await.expect("the post is there");
        }
        asking.abort();
        let noticed = async {
            while *told.borrow_and_update() != (2, 2) {
                told.changed().await.expect("the post is there");
            }
        };
        time::timeout(WITHIN / 2, noticed).await.expect("the work noticed that nobody waits");
    });
}

#[test]
fn work_that_heeds_nothing_is_given_up_soon_after_its_requester_did() {
    testing::run(1, || async {
        let context = context();
        let (began, begun) = watch::channel(0);
        let post = Post::open_with(&context, "worker", move |desk| {
            let first = began.send_if_modified(|times| std::mem::replace(times, 1) == 0);
            async move {
                if first {
                    std::future::pending::<()>().await;
                }
                Ok(desk.handoff("client"))
            }
        });
        let post = post.await.expect("its place is free");
        let (_phase, phase) = watch::channel(Phase::Serve);
        task::spawn(post.run(phase)).detach();
        let client = context.agent("client").expect("free");
        let (asking, mut begun) = (client.clone(), begun);
        let long = Duration::from_secs(3600);
        let hung = task::spawn(async move { ask(&asking, order(long)).await });
        begun.changed().await.expect("it begins");
        hung.abort();
        ask(&client, order(long)).await.expect("the post is free for the next task");
    });
}

#[test]
fn a_panic_is_told_to_the_requester_and_ends_the_post_which_can_be_opened_again() {
    testing::run(1, || async {
        let context = context();
        let (_phase, phase) = watch::channel(Phase::Serve);
        let client = context.agent("client").expect("free");
        for _ in 0..2 {
            let post = Post::open_with(&context, "worker", |_| async { panic!("out of luck") });
            let post = task::spawn(post.await.expect("its place is free").run(phase.clone()));
            let error = ask(&client, order(WITHIN)).await.expect_err("it panics").to_string();
            assert!(error.contains("out of luck"), "{error}");
            let end = post.await.expect("the post itself does not panic");
            assert!(matches!(end, Err(PostError::Panicked { agent: "worker", .. })));
        }
    });
}

/// A post whose work goes on when it is told to, at work on a first task.
struct Busy {
    context: Context,
    counts: Arc<Counts>,
    phase: watch::Sender<Phase>,
    go: watch::Sender<bool>,
    post: task::JoinHandle<Result<(), PostError>>,
    first: task::JoinHandle<Result<Handoff, RequestError>>,
}

impl Busy {
    async fn begin() -> Self {
        let context = context();
        let (go, waits) = watch::channel(false);
        let post = Post::open_with(&context, "worker", move |desk| {
            let mut waits = waits.clone();
            async move {
                while !*waits.borrow_and_update() {
                    waits.changed().await.expect("the test goes on");
                }
                Ok(desk.handoff("client"))
            }
        });
        let post = post.await.expect("its place is free");
        let counts = post.counts();
        let (phase, follow) = watch::channel(Phase::Serve);
        let post = task::spawn(post.run(follow));
        let client = context.agent("client").expect("free");
        let first = task::spawn(async move { ask(&client, order(WITHIN)).await });
        while counts.state() != State::Working {
            task::yield_now().await;
        }
        Busy { context, counts, phase, go, post, first }
    }
}

#[test]
fn a_drain_lets_the_present_task_finish_and_takes_no_other() {
    testing::run(1, || async {
        let busy = Busy::begin().await;
        busy.phase.send_replace(Phase::Drain);
        busy.go.send_replace(true);
        busy.first.await.expect("no panic").expect("the present task is finished");
        busy.post.await.expect("no panic").expect("the post ends well");
        let client = busy.context.agent("another").expect("free");
        let error = ask(&client, order(WITHIN)).await.expect_err("nobody is there any more");
        assert!(matches!(error, RequestError::NobodyListens(_)), "{error}");
    });
}

#[test]
fn a_fabric_that_drains_lets_the_present_task_finish() {
    testing::run(1, || async {
        let busy = Busy::begin().await;
        busy.context.fabric().drain();
        // The post hears of it while it works.
        for _ in 0..10 {
            task::yield_now().await;
        }
        busy.go.send_replace(true);
        busy.post.await.expect("no panic").expect("the post ends well");
        assert_eq!((busy.counts.done(), busy.counts.state()), (1, State::Ended));
        busy.first.abort();
    });
}
