//! Every bug planted in the fabric is seen by a check that passes without it.
#![cfg(all(feature = "plant", not(madsim)))]

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use synod_fabric::{Fabric, FabricConfig, Priority, RequestError};
use synod_platform::{task, time};
use synod_probe::plant;

const NORMAL: Priority = Priority::Normal;

fn fabric() -> Fabric {
    Fabric::new(FabricConfig::named("test"))
}

/// Runs `check` without and with the bug: true must become false.
fn catches<F, Fut>(name: &'static str, check: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = bool>,
{
    assert!(task::block_on(check()), "{name}: an alarm without the bug");
    assert!(!plant::with(name, || task::block_on(check())), "{name} was not caught");
}

#[test]
fn what_was_accepted_arrives() {
    catches("fabric.full-drops-silently", || async {
        let here = fabric().enter("here").unwrap();
        let mut subscription = here.agent("r").unwrap().subscribe("x", 1).await.unwrap();
        let sender = here.agent("s").unwrap();
        let accepted = (0..3).filter(|_| sender.publish("x", NORMAL, "x").is_ok()).count();
        std::iter::from_fn(|| subscription.try_recv()).count() == accepted
    });
}

#[test]
fn the_urgent_go_first() {
    catches("fabric.priority-inverted", || async {
        let here = fabric().enter("here").unwrap();
        let mut subscription = here.agent("r").unwrap().subscribe("x", 4).await.unwrap();
        let sender = here.agent("s").unwrap();
        for priority in [Priority::Low, Priority::Critical] {
            let _ = sender.publish("x", priority, "x").unwrap();
        }
        subscription.try_recv().unwrap().priority() == Priority::Critical
    });
}

#[test]
fn the_lowest_get_their_turn() {
    catches("fabric.low-starves", || async {
        let here = fabric().enter("here").unwrap();
        let mut subscription = here.agent("r").unwrap().subscribe("x", 4).await.unwrap();
        let sender = here.agent("s").unwrap();
        let _ = sender.publish("x", Priority::Background, "x").unwrap();
        (0..200).any(|_| {
            let _ = sender.publish("x", Priority::Critical, "x").unwrap();
            subscription.try_recv().unwrap().priority() == Priority::Background
        })
    });
}

#[test]
fn a_publish_after_subscribe_returned_is_seen() {
    catches("fabric.stale-route", || async {
        let here = fabric().enter("here").unwrap();
        let publisher = here.agent("s").unwrap().publisher("x").unwrap();
        let _ = publisher.publish(NORMAL, b"x").unwrap();
        let _subscription = here.agent("r").unwrap().subscribe("x", 4).await.unwrap();
        publisher.publish(NORMAL, b"x").unwrap().accepted_count() == 1
    });
}

#[test]
fn an_answer_belongs_to_its_request() {
    catches("fabric.late-reply-delivered", || async {
        let here = fabric().enter("here").unwrap();
        let mut requests = here.agent("r").unwrap().serve("x", 4).await.unwrap();
        let asker = here.agent("s").unwrap();
        let first = asker.clone();
        let short = Duration::from_millis(5);
        let asked = task::spawn(async move { first.request("x", NORMAL, "1", short).await.is_err() });
        let late = requests.recv().await.unwrap();
        assert!(asked.await.unwrap());
        let second = Duration::from_secs(1);
        let next = task::spawn(async move { asker.request("x", NORMAL, "2", second).await });
        let in_time = requests.recv().await.unwrap();
        let _ = late.reply("1");
        let _ = in_time.reply("2");
        **next.await.unwrap().unwrap().payload() == *b"2"
    });
}

#[test]
fn what_is_too_late_is_not_delivered() {
    catches("fabric.expired-delivered", || async {
        let here = fabric().enter("here").unwrap();
        let mut subscription = here.agent("r").unwrap().subscribe("x", 4).await.unwrap();
        let publisher = here.agent("s").unwrap().publisher("x").unwrap();
        let _ = publisher.publish_by(NORMAL, &"x".into(), Some(time::now())).unwrap();
        subscription.try_recv().is_none()
    });
}

#[test]
fn what_may_have_been_done_is_not_done_again() {
    catches("fabric.failover-repeats", || async {
        let here = fabric().enter("here").unwrap();
        let done = Rc::new(Cell::new(0));
        for name in ["a", "b"] {
            let mut requests = here.agent(name).unwrap().serve("x", 4).await.unwrap();
            let done = done.clone();
            task::spawn(async move {
                while requests.recv().await.is_some() {
                    done.set(done.get() + 1);
                }
            })
            .detach();
        }
        let asker = here.agent("s").unwrap();
        let ended = asker.request("x", NORMAL, "x", Duration::from_secs(1)).await;
        assert_eq!(ended.unwrap_err(), RequestError::Abandoned("x".into()));
        done.get() == 1
    });
}
