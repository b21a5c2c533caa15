//! A node with its door in the simulator: killed in the middle of a run, started again, and asked what became of it.
#![cfg(madsim)]

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use synod_agents::{Phase, Post, Role};
use synod_edge::{Door, DoorConfig, Method, Request};
use synod_node::{Drained, Node, NodeConfig};
use synod_platform::simulation::{self, Exit};
use synod_platform::{files, task, time, watch};

const HOUR: Duration = Duration::from_secs(3600);

fn get(target: impl Into<String>) -> Request {
    Request::new(Method::Get, target)
}

fn order() -> Request {
    let mut request = Request::new(Method::Post, "/api/runs");
    request.headers.push(("content-type".into(), "application/json".into()));
    request.body = br#"{"workflow": "review", "path": "/tree", "tests": false}"#.as_slice().into();
    request
}

async fn json(door: &Door, request: Request) -> (u16, Value) {
    let answer = door.answer(request).await;
    let status = answer.status;
    (status, serde_json::from_slice(&answer.bytes().await).expect("JSON"))
}

/// What outlives the node's lives: the id of the run that was going when it was killed.
type Known = Rc<RefCell<Option<String>>>;

/// A life whose LINTER never ends: a run begins, and goes on until the node is killed.
async fn hangs(known: Known) {
    files::create_directories(Path::new("/tree")).await.expect("a tree");
    files::write(Path::new("/tree/README.md"), *b"# Small\n").await.expect("a file");
    let mut config = NodeConfig::named("n");
    config.agents.retain(|role| *role != Role::Linter);
    let node = Node::start(config).await.expect("a node");
    let post = Post::open_with(node.context(), "linter", |desk| async move {
        loop {
            time::sleep(Duration::from_millis(50)).await;
            desk.breathe().await?;
        }
    });
    let (_phase, phase) = watch::channel(Phase::Serve);
    task::spawn(post.await.expect("nobody has that name").run(phase)).detach();
    let door = open(&node);
    let (status, told) = json(&door, order()).await;
    assert_eq!(status, 202, "{told}");
    let id = told["id"].as_str().expect("an id").to_string();
    while json(&door, get(format!("/api/runs/{id}"))).await.1["agents"].as_array().is_none_or(Vec::is_empty) {
        time::sleep(Duration::from_millis(10)).await;
    }
    *known.borrow_mut() = Some(id);
    std::future::pending::<()>().await;
}

fn door() -> Door {
    Door::new(DoorConfig { node: "n".into(), runs: "/runs".into(), token: None })
}

fn open(node: &Node) -> Door {
    let door = door();
    let aboard = node.placements().iter().map(|at| (at.agent.name().to_string(), at.context.clone()));
    door.open(node.context(), aboard).expect("free");
    door
}

/// The next life: it says what became of the run, does another, and drains while that is going.
async fn asks(known: Known) {
    let waits = door();
    assert_eq!(json(&waits, get("/readyz")).await.0, 503, "not before it has started");
    let node = Node::start(NodeConfig::named("n")).await.expect("a node");
    let door = open(&node);
    assert_eq!(json(&door, get("/readyz")).await.0, 200);
    assert_eq!(json(&door, get("/livez")).await.0, 200, "every context answers its pulse");

    let id = known.borrow().clone().expect("a run was going");
    let (status, told) = json(&door, get(format!("/api/runs/{id}"))).await;
    assert_eq!((status, &told["state"]), (200, &Value::from("interrupted")), "{told}");
    let events = door.answer(get(format!("/api/runs/{id}/events"))).await.bytes().await;
    assert!(events.starts_with(b"id: 1\nevent: end\n"), "a reader does not wait for ever");

    let (_, told) = json(&door, order()).await;
    let second = told["id"].as_str().expect("an id").to_string();
    let drained = {
        let door = door.clone();
        task::spawn(async move { door.drain(Duration::from_secs(600)).await })
    };
    while door.phase() != synod_edge::Phase::Draining {
        task::yield_now().await;
    }
    let (status, told) = json(&door, get("/readyz")).await;
    assert_eq!(status, 503);
    assert!(told["reasons"][0].as_str().expect("a reason").contains("finishes 1 run"), "{told}");
    assert_eq!(json(&door, order()).await.0, 503, "no further run");
    assert_eq!(drained.await, Ok(0), "the run had its time");
    let (_, told) = json(&door, get(format!("/api/runs/{second}"))).await;
    assert_eq!(told["state"], "done", "{told}");
    door.close();
    assert_eq!(node.drain(Duration::from_secs(10)).await, Drained::Clean);
    assert_eq!(json(&door, get(format!("/api/runs/{second}"))).await.0, 200, "still answered at the end");
}

#[test]
fn a_run_that_its_killed_node_left_is_told_as_interrupted_and_the_next_life_takes_work() {
    for seed in 1..=3 {
        let end = simulation::run(seed, HOUR, || async {
            let known = Known::default();
            let (lives, told) = (Cell::new(0), known.clone());
            let node = simulation::Node::create("n", [10, 0, 0, 1].into(), move || {
                lives.set(lives.get() + 1);
                let (first, known) = (lives.get() == 1, told.clone());
                async move { if first { hangs(known).await } else { asks(known).await } }
            });
            while known.borrow().is_none() {
                assert!(node.is_up(), "{:?}", node.status());
                time::sleep(Duration::from_millis(10)).await;
            }
            node.kill();
            node.restart();
            node.exited().await
        });
        assert_eq!(end.expect("the world ends"), Exit::Finished, "seed {seed}");
    }
}
