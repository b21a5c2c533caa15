//! Requests: each ends exactly once, with the answer that was given to it or with what became of it.

mod common;

use std::time::Duration;

use common::{beside, fabric, run, second};
use synod_fabric::{
    Agent, Context, Fabric, FabricConfig, Priority, ReplyError, RequestError, RequestOptions, Subscription,
};
use synod_platform::{task, time};
use synod_resilience::breaker;

const NORMAL: Priority = Priority::Normal;

/// An instance that answers each request with its own name and the payload.
async fn echo(context: &Context, name: &str, subject: &str) -> task::JoinHandle<()> {
    let agent = context.agent(name).unwrap();
    let mut requests = agent.serve(subject, 16).await.unwrap();
    task::spawn(async move {
        while let Some(request) = requests.recv().await {
            let answer = [agent.name().as_bytes(), b":", request.payload()].concat();
            let _ = request.reply(answer);
        }
    })
}

async fn ask(agent: &Agent, text: &str) -> Result<String, RequestError> {
    let answer = agent.request("echo", NORMAL, text, second(1)).await?;
    Ok(String::from_utf8(answer.payload().to_vec()).unwrap())
}

#[test]
fn a_request_gets_the_answer_of_the_instance_that_serves_it() {
    run(|| async {
        let here = fabric().enter("here").unwrap();
        let _echo = echo(&here, "one", "echo").await;
        let asker = here.agent("asker").unwrap();
        let answer = asker.request("echo", Priority::High, "hi", second(1)).await.unwrap();
        assert_eq!(
            (&**answer.payload(), answer.source(), answer.subject().as_str()),
            (&b"one:hi"[..], "one", "echo")
        );
        assert_eq!(answer.reply("again"), Err(ReplyError::NotARequest));
    });
}

#[test]
fn a_request_that_nobody_serves_says_so_at_once() {
    run(|| async {
        let here = fabric().enter("here").unwrap();
        let asker = here.agent("asker").unwrap();
        let _only_events = here.agent("listener").unwrap().subscribe("echo", 4).await.unwrap();
        let started = time::now();
        assert_eq!(ask(&asker, "x").await, Err(RequestError::NobodyListens("echo".into())));
        assert!(time::now().since(started) < second(1));
    });
}

#[test]
fn an_agent_is_reached_by_name() {
    run(|| async {
        let here = fabric().enter("here").unwrap();
        let mut inbox = here.agent("scout").unwrap().inbox(4).await.unwrap();
        let asker = here.agent("asker").unwrap();
        let _ = asker.publish("agent.scout", NORMAL, "event").unwrap();
        let asked =
            task::spawn(async move { asker.request("agent.scout", NORMAL, "question", second(1)).await });
        let (first, second) = (inbox.recv().await.unwrap(), inbox.recv().await.unwrap());
        assert!(!first.is_request() && second.is_request());
        second.reply("answer").unwrap();
        assert_eq!(&**asked.await.unwrap().unwrap().payload(), b"answer");
    });
}

#[test]
fn requests_take_turns_among_instances() {
    run(|| async {
        let here = fabric().enter("here").unwrap();
        let (_one, _two) = (echo(&here, "one", "echo").await, echo(&here, "two", "echo").await);
        let asker = here.agent("asker").unwrap();
        let mut ones = 0;
        for _ in 0..10 {
            ones += usize::from(ask(&asker, "").await.unwrap() == "one:");
        }
        assert_eq!(ones, 5);
    });
}

#[test]
fn the_least_loaded_instance_is_asked_though_it_is_the_turn_of_another() {
    run(|| async {
        let here = fabric().enter("here").unwrap();
        let mut busy = here.agent("busy").unwrap().serve("echo", 16).await.unwrap();
        let _free = echo(&here, "free", "echo").await;
        let asker = here.agent("asker").unwrap();
        let least = RequestOptions::within(second(9)).least_loaded();
        let first = asker.clone();
        let long = task::spawn(async move { first.request_with("echo", NORMAL, "long", least).await });
        let held = busy.recv().await.unwrap();
        for _ in 0..4 {
            let answer = asker.request_with("echo", NORMAL, "short", least).await.unwrap();
            assert_eq!(answer.source(), "free");
        }
        held.reply("done").unwrap();
        assert_eq!(long.await.unwrap().unwrap().source(), "busy");
    });
}

#[test]
fn a_late_answer_reaches_nobody() {
    run(|| async {
        let here = fabric().enter("here").unwrap();
        let mut requests = here.agent("slow").unwrap().serve("echo", 4).await.unwrap();
        let asker = here.agent("asker").unwrap();
        let short = Duration::from_millis(10);
        let first = asker.clone();
        let asked = task::spawn(async move { first.request("echo", NORMAL, "1", short).await });
        let late = requests.recv().await.unwrap();
        assert!(matches!(asked.await.unwrap(), Err(RequestError::DeadlinePassed(_))));
        assert!(late.is_cancelled());
        let next = task::spawn(async move { asker.request("echo", NORMAL, "2", second(1)).await });
        task::yield_now().await;
        assert_eq!(late.reply("late"), Err(ReplyError::Cancelled));
        requests.recv().await.unwrap().reply("right").unwrap();
        assert_eq!(&**next.await.unwrap().unwrap().payload(), b"right");
    });
}

#[test]
fn a_handler_that_panics_with_a_request_in_hand_tells_its_requester_at_once() {
    run(|| async {
        let here = fabric().enter("here").unwrap();
        let mut requests = here.agent("fragile").unwrap().serve("echo", 4).await.unwrap();
        let handler = task::spawn(async move {
            let _request = requests.recv().await;
            panic!("a bug in the handler");
        });
        let asker = here.agent("asker").unwrap();
        let (first, second_) = (asker.clone(), asker.clone());
        let started = time::now();
        let in_hand = task::spawn(async move { first.request("echo", NORMAL, "1", second(9)).await });
        let queued = task::spawn(async move { second_.request("echo", NORMAL, "2", second(9)).await });
        assert!(handler.await.is_err());
        assert_eq!(in_hand.await.unwrap().unwrap_err(), RequestError::Abandoned("echo".into()));
        assert_eq!(queued.await.unwrap().unwrap_err(), RequestError::NobodyListens("echo".into()));
        assert!(time::now().since(started) < second(5));
    });
}

#[test]
fn a_request_still_queued_at_a_dead_instance_goes_to_another_and_one_in_its_hand_does_not() {
    run(|| async {
        let here = fabric().enter("here").unwrap();
        let mut dying = here.agent("dying").unwrap().serve("echo", 4).await.unwrap();
        let asker = here.agent("asker").unwrap();
        let (first, other) = (asker.clone(), asker.clone());
        let in_hand = task::spawn(async move { ask(&first, "1").await });
        let request = dying.recv().await.unwrap();
        let queued = task::spawn(async move { ask(&other, "2").await });
        task::yield_now().await;
        assert_eq!(dying.len(), 1);
        let _healthy = echo(&here, "healthy", "echo").await;
        drop(dying);
        drop(request);
        assert_eq!(queued.await.unwrap(), Ok("healthy:2".into()));
        assert_eq!(in_hand.await.unwrap(), Err(RequestError::Abandoned("echo".into())));
    });
}

#[test]
fn a_request_that_may_be_done_twice_is_asked_again_elsewhere() {
    run(|| async {
        let here = fabric().enter("here").unwrap();
        let mut silent = here.agent("silent").unwrap().serve("echo", 4).await.unwrap();
        let asker = here.agent("asker").unwrap();
        let options = RequestOptions::within(second(5)).attempt(Duration::from_millis(20)).idempotent();
        let asked = task::spawn(async move { asker.request_with("echo", NORMAL, "x", options).await });
        let kept = silent.recv().await.unwrap();
        let _healthy = echo(&here, "healthy", "echo").await;
        assert_eq!(&**asked.await.unwrap().unwrap().payload(), b"healthy:x");
        assert!(kept.is_cancelled());
    });
}

#[test]
fn an_instance_that_refuses_is_passed_over_and_its_reason_told_when_it_is_the_last() {
    run(|| async {
        let here = fabric().enter("here").unwrap();
        let mut busy = here.agent("busy").unwrap().serve("echo", 4).await.unwrap();
        let refusing = task::spawn(async move {
            while let Some(request) = busy.recv().await {
                let _ = request.refuse("not today");
            }
        });
        let asker = here.agent("asker").unwrap();
        let refused = RequestError::Refused { subject: "echo".into(), reason: "not today".into() };
        assert_eq!(ask(&asker, "").await, Err(refused));
        let _other = echo(&here, "other", "echo").await;
        for _ in 0..4 {
            assert_eq!(ask(&asker, "x").await, Ok("other:x".into()));
        }
        refusing.abort();
    });
}

#[test]
fn a_sick_instance_is_given_a_rest_probed_and_taken_back() {
    run(|| async {
        let settings = breaker::Settings {
            consecutive_failures: 3,
            open_ns: 100_000_000,
            probes_to_close: 1,
            ..Default::default()
        };
        let fabric = Fabric::new(FabricConfig { breaker: settings, ..FabricConfig::named("n") });
        let here = fabric.enter("here").unwrap();
        let mut sick = here.agent("sick").unwrap().serve("echo", 4).await.unwrap();
        let serving = task::spawn(async move {
            let mut asked = 0;
            while let Some(request) = sick.recv().await {
                asked += 1;
                let _ = if asked <= 4 { request.fail("fever") } else { request.reply("well") };
            }
        });
        let asker = here.agent("asker").unwrap();
        let failed = RequestError::Failed { subject: "echo".into(), reason: "fever".into() };
        for _ in 0..3 {
            assert_eq!(ask(&asker, "").await, Err(failed.clone()));
        }
        let Err(RequestError::Resting { retry_in, .. }) = ask(&asker, "").await else {
            panic!("it was to rest")
        };
        time::sleep(retry_in).await;
        assert_eq!(ask(&asker, "").await, Err(failed), "the probe fails");
        let Err(RequestError::Resting { retry_in, .. }) = ask(&asker, "").await else {
            panic!("it was to rest again")
        };
        assert!(retry_in > Duration::from_millis(100));
        time::sleep(retry_in).await;
        for _ in 0..3 {
            assert_eq!(ask(&asker, "").await, Ok("well".into()));
        }
        serving.abort();
    });
}

#[test]
fn a_dropped_request_leaves_the_queue_or_is_told_to_the_handler() {
    run(|| async {
        let fabric = fabric();
        let here = fabric.enter("here").unwrap();
        let mut requests = here.agent("worker").unwrap().serve("echo", 4).await.unwrap();
        let asker = here.agent("asker").unwrap();
        let (first, other) = (asker.clone(), asker.clone());
        let taken = task::spawn(async move { ask(&first, "1").await });
        let in_hand = requests.recv().await.unwrap();
        let queued = task::spawn(async move { ask(&other, "2").await });
        task::yield_now().await;
        assert_eq!(requests.len(), 1);
        taken.abort();
        queued.abort();
        in_hand.cancelled().await;
        task::yield_now().await;
        assert!(requests.try_recv().is_none());
        let counts = fabric.snapshot().totals();
        assert_eq!((counts.accepted, counts.delivered, counts.cancelled, counts.waiting()), (2, 1, 1, 0));
    });
}

async fn echo_beside(fabric: &Fabric) -> (task::ContextHandle<()>, tokio::sync::oneshot::Receiver<u32>) {
    beside(fabric, |context| async move {
        let requests = context.agent("far").unwrap().serve("echo", 64).await.unwrap();
        (requests, |mut requests: Subscription| async move {
            let mut answered = 0;
            while let Some(mut request) = requests.recv().await {
                if **request.payload() == *b"stop" {
                    break;
                }
                let payload = request.take_payload();
                if request.reply(payload).is_ok() {
                    answered += 1;
                }
            }
            answered
        })
    })
    .await
}

#[test]
fn requests_and_answers_of_every_size_cross_contexts() {
    run(|| async {
        let fabric = fabric();
        let (there, answered) = echo_beside(&fabric).await;
        let asker = fabric.enter("here").unwrap().agent("asker").unwrap();
        for size in [0, 1, 48, 500, 5_000, 500_000] {
            let payload: Vec<u8> = (0..size).map(|i| i as u8).collect();
            let answer = asker.request("echo", NORMAL, payload.clone(), second(5)).await.unwrap();
            assert!(answer.payload().as_ref() == payload, "{size}");
            assert_eq!(answer.source(), "far");
        }
        let stopped = asker.request("echo", NORMAL, "stop", second(5)).await;
        assert_eq!(stopped.unwrap_err(), RequestError::Abandoned("echo".into()));
        assert_eq!(answered.await.unwrap(), 6);
        there.join().await.unwrap();
        assert_eq!(ask(&asker, "").await, Err(RequestError::NobodyListens("echo".into())));
    });
}

#[test]
fn many_requests_at_once_each_get_their_own_answer() {
    run(|| async {
        let fabric = fabric();
        let (there, answered) = echo_beside(&fabric).await;
        let here = fabric.enter("here").unwrap();
        let asker = here.agent("asker").unwrap();
        let asked: Vec<_> = (0..60u32)
            .map(|n| {
                let asker = asker.clone();
                let payload = n.to_le_bytes().repeat(400);
                task::spawn(async move {
                    (payload.clone(), asker.request("echo", NORMAL, payload, second(5)).await)
                })
            })
            .collect();
        let mut right = 0;
        for asked in asked {
            let (sent, answer) = asked.await.unwrap();
            match answer {
                Ok(answer) => {
                    assert!(answer.payload().as_ref() == sent);
                    right += 1;
                }
                Err(error) => assert_eq!(error, RequestError::WouldBlock("echo".into())),
            }
        }
        assert!(right >= 8, "{right}");
        let _ = asker.request("echo", NORMAL, "stop", second(5)).await;
        assert_eq!(answered.await.unwrap(), right);
        there.join().await.unwrap();
    });
}
