//! The parts of an agent's life: their order, and what becomes of one that fails, panics or hangs in any of them.
//!
//! The same bodies run on a real executor and in the simulator.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use synod_agents::shell::{Done, Hook, Part, Place, State};
use synod_agents::task::{Handoff, Task, Urgency, task_subject};
use synod_agents::{Agent, Desk, Phase, Post, PostError, WorkError};
use synod_fabric::{Agent as Member, Context, Fabric, FabricConfig, Priority, RequestError};
use synod_platform::watch;
use synod_platform::{task, testing, time};

const WITHIN: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_millis(200);

/// What goes wrong in a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Fails,
    Panics,
    PanicsAtOnce,
    Hangs,
}

/// Writes down each part of its life; goes wrong in one.
struct Diary {
    lived: Rc<RefCell<Vec<String>>>,
    wrong: Vec<(Part, Wrong)>,
}

impl Diary {
    fn part<'a>(&'a self, part: Part, place: &Place) -> Hook<'a> {
        self.lived.borrow_mut().push(format!("{part} {}", place.life));
        let wrong = self.wrong.iter().find(|(at, _)| *at == part).map(|(_, wrong)| *wrong);
        assert!(wrong != Some(Wrong::PanicsAtOnce), "at once in {part}");
        async move {
            match wrong {
                None => Ok(()),
                Some(Wrong::Fails) => Err(WorkError::Task("cannot".into())),
                Some(Wrong::Hangs) => std::future::pending().await,
                Some(_) => panic!("later in {part}"),
            }
        }
        .boxed_local()
    }
}

impl Agent for Diary {
    fn init<'a>(&'a self, place: &'a Place) -> Hook<'a> {
        self.part(Part::Init, place)
    }

    fn start<'a>(&'a self, place: &'a Place) -> Hook<'a> {
        self.part(Part::Start, place)
    }

    fn ready<'a>(&'a self, place: &'a Place) -> Hook<'a> {
        self.part(Part::Ready, place)
    }

    fn work(&self, desk: Desk) -> Done {
        let place = Place { agent: "worker", context: String::new(), life: 0 };
        let wrong = self.wrong.iter().any(|(at, wrong)| *at == Part::Work && *wrong == Wrong::Panics);
        drop(self.part(Part::Work, &place));
        async move {
            assert!(!wrong, "later in work");
            Ok(desk.handoff("client"))
        }
        .boxed_local()
    }

    fn drain<'a>(&'a self, place: &'a Place) -> Hook<'a> {
        self.part(Part::Drain, place)
    }

    fn stop<'a>(&'a self, place: &'a Place) -> Hook<'a> {
        self.part(Part::Stop, place)
    }

    fn crash<'a>(&'a self, place: &'a Place, why: &'a str) -> Hook<'a> {
        assert!(why.starts_with("worker "), "{why}");
        self.part(Part::Crash, place)
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

fn context() -> Context {
    Fabric::new(FabricConfig::named("test")).enter("home").expect("the first context")
}

/// A post whose agent goes wrong, in its first life only, as told.
async fn post(context: &Context, wrong: &[(Part, Wrong)]) -> (Post, Rc<RefCell<Vec<String>>>) {
    let lived = Rc::new(RefCell::new(Vec::new()));
    let (diary, wrong, lives) = (lived.clone(), wrong.to_vec(), Cell::new(0));
    let make = move || -> Rc<dyn Agent> {
        lives.set(lives.get() + 1);
        let wrong = if lives.get() == 1 { wrong.clone() } else { Vec::new() };
        Rc::new(Diary { lived: diary.clone(), wrong })
    };
    (Post::open_agent(context, "worker", Rc::new(make)).await.expect("its place is free"), lived)
}

async fn ask(client: &Member) -> Result<Handoff, RequestError> {
    let task = Task {
        id: "t".into(),
        run: "r".into(),
        goal: "try".into(),
        tree: "/".into(),
        folder: "/".into(),
        inputs: BTreeMap::new(),
        within_ms: 20_000,
        priority: Urgency::Normal,
        lease: None,
    };
    let payload = serde_json::to_vec(&task).expect("plain data");
    let answer = client.request(&task_subject("worker"), Priority::Normal, payload, WITHIN).await?;
    Ok(serde_json::from_slice(answer.payload()).expect("a handoff"))
}

#[test]
fn a_life_in_good_order_calls_each_hook_once_and_in_order() {
    testing::run(1, || async {
        let context = context();
        let (mut post, lived) = post(&context, &[]).await;
        let counts = post.counts();
        let (phase, follow) = watch::channel(Phase::Serve);
        let client = context.agent("client").expect("free");
        let end = task::spawn(async move { post.live(follow).await });
        ask(&client).await.expect("a handoff");
        assert_eq!((counts.state(), counts.done(), counts.failed()), (State::Idle, 1, 0));
        phase.send_replace(Phase::Drain);
        end.await.expect("no panic").expect("a good end");
        assert_eq!(*lived.borrow(), ["init 1", "start 1", "ready 1", "work 0", "drain 1", "stop 1"]);
        assert_eq!(counts.state(), State::Ended);
    });
}

#[test]
fn whatever_goes_wrong_in_a_hook_is_told_by_its_part_and_the_next_life_does_the_waiting_task() {
    for part in [Part::Init, Part::Start, Part::Ready] {
        for wrong in [Wrong::Fails, Wrong::Panics, Wrong::PanicsAtOnce, Wrong::Hangs] {
            testing::run(2, move || async move {
                let context = context();
                let (mut post, lived) = post(&context, &[(part, wrong)]).await;
                let client = context.agent("client").expect("free");
                let (_phase, follow) = watch::channel(Phase::Serve);
                let answer = task::spawn(async move { ask(&client).await });
                let begin = time::now();
                let error = post.live(follow.clone()).await.expect_err("it goes wrong");
                let told = match &error {
                    PostError::Failed { part, .. } => (*part, Wrong::Fails),
                    PostError::Panicked { part, message, .. } if message.contains("at once") => {
                        (*part, Wrong::PanicsAtOnce)
                    }
                    PostError::Panicked { part, .. } => (*part, Wrong::Panics),
                    PostError::Hung { part, .. } => (*part, Wrong::Hangs),
                    other => panic!("{other}"),
                };
                assert_eq!(told, (part, wrong), "{error}");
                assert!(wrong != Wrong::Hangs || time::now().since(begin) >= PATIENCE);
                assert_eq!(lived.borrow().last().expect("lived"), "crash 1");
                assert_eq!(post.counts().state(), State::Crashed);
                let second = task::spawn(async move { post.live(follow).await });
                answer.await.expect("no panic").expect("the task waited for the second life");
                second.abort();
            });
        }
    }
}

#[test]
fn a_panic_in_work_is_told_to_the_requester_and_the_next_life_works() {
    for wrong in [Wrong::Panics, Wrong::PanicsAtOnce] {
        testing::run(3, move || async move {
            let context = context();
            let (mut post, _) = post(&context, &[(Part::Work, wrong)]).await;
            let client = context.agent("client").expect("free");
            let (_phase, follow) = watch::channel(Phase::Serve);
            let asking = client.clone();
            let answer = task::spawn(async move { ask(&asking).await });
            let error = post.live(follow.clone()).await.expect_err("it panics");
            assert!(matches!(error, PostError::Panicked { part: Part::Work, .. }), "{error}");
            let told = answer.await.expect("no panic").expect_err("no handoff").to_string();
            assert!(told.contains("in work"), "{told}");
            let second = task::spawn(async move { post.live(follow).await });
            ask(&client).await.expect("a handoff");
            second.abort();
        });
    }
}

#[test]
fn what_goes_wrong_in_the_last_hooks_is_told_and_does_not_hold_up_the_end() {
    for (part, wrong) in [
        (Part::Drain, Wrong::Panics),
        (Part::Stop, Wrong::PanicsAtOnce),
        // Given up after seconds, which only virtual time passes quickly.
        #[cfg(madsim)]
        (Part::Drain, Wrong::Hangs),
        #[cfg(madsim)]
        (Part::Stop, Wrong::Hangs),
    ] {
        testing::run(4, move || async move {
            let context = context();
            let (mut post, lived) = post(&context, &[(part, wrong)]).await;
            let (phase, serve) = watch::channel(Phase::Serve);
            let counts = post.counts();
            let end = task::spawn(async move { post.live(serve).await });
            while counts.state() != State::Idle {
                task::yield_now().await;
            }
            phase.send_replace(Phase::Drain);
            let error = end.await.expect("contained").expect_err("it goes wrong");
            assert!(error.to_string().contains(&format!("in {part}")), "{error}");
            assert_eq!(lived.borrow().last().expect("lived"), "crash 1");
        });
    }
}

#[test]
fn a_crash_hook_that_panics_too_is_told_with_what_came_before_it() {
    testing::run(5, || async {
        let context = context();
        let (mut post, _) =
            post(&context, &[(Part::Start, Wrong::Fails), (Part::Crash, Wrong::Panics)]).await;
        let (_phase, follow) = watch::channel(Phase::Serve);
        let error = post.live(follow).await.expect_err("both go wrong").to_string();
        assert!(error.contains("failed in start: ") && error.contains("panicked in crash: "), "{error}");
    });
}

#[test]
fn an_agent_that_cannot_be_made_is_a_crash_like_any_other() {
    testing::run(6, || async {
        let context = context();
        let make = || -> Rc<dyn Agent> { panic!("no parts") };
        let mut post = Post::open_agent(&context, "worker", Rc::new(make)).await.expect("its place is free");
        let (_phase, follow) = watch::channel(Phase::Serve);
        let error = post.live(follow).await.expect_err("it cannot be made");
        assert!(matches!(error, PostError::Panicked { part: Part::Init, .. }), "{error}");
    });
}

#[test]
fn who_was_given_up_answers_with_the_reason_until_the_node_ends() {
    testing::run(7, || async {
        let context = context();
        let (post, lived) = post(&context, &[]).await;
        let counts = post.counts();
        let (phase, follow) = watch::channel(Phase::Serve);
        let mourning = task::spawn(async move { post.mourn("it crashed too often", follow).await });
        let client = context.agent("client").expect("free");
        let error = ask(&client).await.expect_err("nobody works").to_string();
        assert!(error.contains("worker was given up: it crashed too often"), "{error}");
        assert_eq!((counts.state(), counts.failed()), (State::GivenUp, 1));
        assert!(lived.borrow().is_empty(), "it lives no further life");
        phase.send_replace(Phase::Drain);
        mourning.await.expect("it ends with the node");
    });
}
