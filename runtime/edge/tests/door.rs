//! The door without sockets, in production's arm and in the simulator's: health, runs, messages, metrics, on a small fabric.
//!
//! The agents are stand-ins: a DIRECTOR that does what the test wants.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use synod_agents::director::{self, Verdict};
use synod_agents::survey::Survey;
use synod_agents::workflow::journal::{Happened, Journal, Line};
use synod_agents::{Phase as PostPhase, Post, Severity, WorkError};
use synod_edge::door::STREAMS_MAX;
use synod_edge::runs::ACTIVE_MAX;
use synod_edge::runs::order::{State, Told};
use synod_edge::stream::{Events, Header, Messages};
use synod_edge::{Answer, Body, Call, Door, DoorConfig, Method, Phase, Request, Via, pulse};
use synod_fabric::{Context, Fabric, FabricConfig, Priority};
use synod_platform::{files, process, random, task, testing, watch};
use tokio::sync::{mpsc, oneshot};

async fn folder() -> PathBuf {
    let base = process::variable("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    let folder = base.join(format!("synod-door-{:016x}", random::u64()));
    files::create_directories(&folder.join("tree")).await.expect("a temporary folder");
    folder
}

fn door(base: &Path) -> Door {
    Door::new(DoorConfig { node: "n".into(), runs: base.join("runs"), token: None })
}

/// A context with a pulse, and a door that is open in it.
async fn open(base: &Path) -> (Door, Context) {
    let context = Fabric::new(FabricConfig::named("n")).enter("home").expect("a fabric");
    pulse::beat(&context).await.expect("free");
    let door = door(base);
    door.open(&context, [("director".to_string(), "home".to_string())]).expect("free");
    (door, context)
}

fn get(target: &str) -> Request {
    Request::new(Method::Get, target)
}

fn post(target: &str, body: &[u8]) -> Request {
    let mut request = Request::new(Method::Post, target);
    request.headers.push(("content-type".into(), "application/json".into()));
    request.body = body.to_vec().into();
    request
}

fn order(base: &Path) -> Request {
    let order = serde_json::json!({ "workflow": "review", "path": base.join("tree"), "within": "60s" });
    post("/api/runs", order.to_string().as_bytes())
}

async fn json(answer: Answer) -> Value {
    serde_json::from_slice(&answer.bytes().await).expect("JSON")
}

/// What the stand-in for DIRECTOR does with every task.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Pass,
    Hang,
}

/// Opens a DIRECTOR that gives a verdict, or never ends; it lives as long as the handle's task.
async fn director(context: &Context, does: Does) -> watch::Sender<PostPhase> {
    let post = Post::open_with(context, "director", move |desk| async move {
        desk.progress(0.5, "thinking");
        if does == Does::Hang {
            return Err(desk.given_up().await);
        }
        let (mut journal, _) = Journal::open(Path::new(&desk.task().folder)).await.expect("nobody has it");
        for (step, event) in [("lint", Happened::Started), ("lint", Happened::Done), ("", Happened::Ended)] {
            let line = Line { agent: "linter".into(), ..Line::now(step, event) };
            journal.append(&line).await.expect("it is ours");
        }
        journal.close().await.expect("it is ours");
        let verdict: Verdict = director::verdict(&[], Vec::new(), Severity::High);
        desk.folder().write_json("verdict.json", &verdict).await?;
        let root = Path::new(&desk.task().folder).to_path_buf();
        let survey = synod_agents::folder::RunFolder::of(root, "project_orchestrator");
        survey.write_json("survey.json", &Survey::default()).await?;
        Ok::<_, WorkError>(desk.handoff("client"))
    })
    .await
    .expect("nobody has that name");
    let (phase, watched) = watch::channel(PostPhase::Serve);
    task::spawn(async move { post.run(watched).await }).detach();
    phase
}

#[test]
fn a_node_is_not_ready_before_it_serves_and_says_why() {
    testing::run(1, || async {
        let base = folder().await;
        let door = door(&base);
        let answer = door.answer(get("/readyz")).await;
        assert_eq!(answer.status, 503);
        assert!(json(answer).await["reasons"][0].as_str().expect("a reason").starts_with("starting"));
        assert_eq!(door.answer(order(&base)).await.status, 503, "no run is taken yet");
        assert_eq!(door.answer(post("/api/pub/a", b"x")).await.status, 503, "there is no fabric yet");
        assert_eq!(door.answer(get("/livez")).await.status, 200, "it is alive all the same");

        let (door, _context) = open(&base).await;
        assert_eq!(door.answer(get("/readyz")).await.status, 200);
        door.given_up("director", "boom");
        let answer = door.answer(get("/readyz")).await;
        assert_eq!(answer.status, 503);
        assert!(
            json(answer).await["reasons"][0]
                .as_str()
                .expect("a reason")
                .contains("director crashed too often")
        );
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn a_context_that_does_not_answer_its_pulse_is_not_alive() {
    testing::run(2, || async {
        let base = folder().await;
        let (_, context) = open(&base).await;
        let door = door(&base);
        let lost = [("linter".to_string(), "work-9".to_string())];
        drop(context);
        let context = Fabric::new(FabricConfig::named("n")).enter("home").expect("a fabric");
        door.open(&context, lost).expect("free");
        let answer = door.answer(get("/livez")).await;
        assert_eq!(answer.status, 503);
        assert_eq!(json(answer).await["silent"][0], "work-9");
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn a_run_is_ordered_followed_and_found_again_by_a_later_node() {
    testing::run(3, || async {
        let base = folder().await;
        let (door, context) = open(&base).await;
        let _director = director(&context, Does::Pass).await;
        let answer = door.answer(order(&base)).await;
        assert_eq!(answer.status, 202);
        let location = answer.header("location").expect("where it is").to_string();
        let id = json(answer).await["id"].as_str().expect("an id").to_string();
        assert_eq!(location, format!("/api/runs/{id}"));

        let told = door.answer(get(&format!("{location}/events"))).await.bytes().await;
        let mut events = Events::default();
        events.feed(&told);
        let (mut names, mut last) = (Vec::new(), None);
        while let Some(event) = events.take().expect("right") {
            names.push(event.name.clone());
            last = Some(event);
        }
        assert_eq!(names, ["progress", "end"]);
        let end: Told = serde_json::from_str(&last.expect("an end").data).expect("its form");
        assert_eq!((end.state, end.outcome.as_deref()), (State::Done, Some("clean")));
        assert!(end.given.expect("what it gave").folder.ends_with(&id));

        let mut late = get(&format!("{location}/events"));
        late.headers.push(("last-event-id".into(), "1".into()));
        let told = String::from_utf8(door.answer(late).await.bytes().await.to_vec()).expect("UTF-8");
        assert!(told.starts_with("id: 2\nevent: end\n"), "{told}");

        let metrics =
            String::from_utf8(door.answer(get("/metrics")).await.bytes().await.to_vec()).expect("UTF-8");
        for line in [
            "synod_runs_total{outcome=\"clean\"} 1.0",
            "synod_tasks_total{agent=\"linter\",outcome=\"done\"} 1.0",
            "synod_runs_active 0.0",
            "synod_ready 1.0",
        ] {
            assert!(metrics.lines().any(|is| is == line), "{line} in\n{metrics}");
        }
        assert!(
            metrics.contains("synod_messages_total{from=\"home\",to=\"director\",fate=\"delivered\"} 1.0"),
            "{metrics}"
        );

        let verdict = door.answer(get(&format!("/runs/{id}/director/verdict.json"))).await;
        assert_eq!((verdict.status, verdict.header("content-type")), (200, Some("application/json")));
        let (later, _context) = open(&base).await;
        let found = json(later.answer(get(&location)).await).await;
        assert_eq!((found["state"].as_str(), found["outcome"].as_str()), (Some("done"), Some("clean")));
        let listed = json(later.answer(get("/api/runs")).await).await;
        assert_eq!(listed["runs"][0]["id"], id.as_str());
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn a_past_run_is_read_again_when_it_has_changed_and_not_before() {
    testing::run(13, || async {
        let base = folder().await;
        let id = "review-20261123051500-0a1b2c";
        let run = base.join("runs").join(id);
        let result = run.join("result.json");
        files::create_directories(&run).await.expect("directories");
        let (door, _context) = open(&base).await;
        let told = async || json(door.answer(get("/api/runs")).await).await["runs"][0]["state"].clone();
        assert_eq!(told().await, "interrupted");
        files::write(&result, *b"{}").await.expect("a file");
        let why = json(door.answer(get("/api/runs")).await).await["runs"][0]["why"].clone();
        assert!(why.as_str().is_some_and(|why| why.contains("missing field")), "{why}");
        let whole = serde_json::json!({
            "form": 1, "synod": "0.1.0", "run": id, "goal": "g", "tree": "/t", "state": "ended", "began_ms": 0,
            "seconds": 1.0, "sittings": 1, "verdict": null, "tally": synod_agents::Tally::default(), "findings": [],
            "steps": [], "agents": [], "messages": [], "survey": null, "files": [],
        });
        let whole = whole.to_string();
        files::write(&result, whole.clone()).await.expect("a file");
        assert_eq!(told().await, "done");
        // As long as before, so nobody looks into it.
        files::write(&result, " ".repeat(whole.len())).await.expect("a file");
        assert_eq!(told().await, "done");
        files::write(&result, " ".repeat(whole.len() + 1)).await.expect("a file");
        assert_eq!(told().await, "interrupted");
        files::remove_tree(&run).await.expect("our own folder");
        assert_eq!(told().await, Value::Null);
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn a_run_that_its_node_left_behind_is_interrupted_and_its_pages_are_there() {
    testing::run(4, || async {
        let base = folder().await;
        let id = "review-20261123051500-0a1b2c";
        let run = base.join("runs").join(id);
        files::create_directories(&run.join("linter")).await.expect("directories");
        files::write(&run.join("linter/notes.md"), *b"# <b>\n").await.expect("a file");
        files::write(&base.join("secret"), *b"s").await.expect("a file");
        let (door, _context) = open(&base).await;
        let told = json(door.answer(get(&format!("/api/runs/{id}"))).await).await;
        assert_eq!(
            (told["state"].as_str(), told["began"].as_str()),
            (Some("interrupted"), Some("2026-11-23T05:15:00.000Z"))
        );
        let events = door.answer(get(&format!("/api/runs/{id}/events"))).await.bytes().await;
        assert!(events.starts_with(b"id: 1\nevent: end\n"));
        let page = door.answer(get(&format!("/runs/{id}/"))).await;
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(page.header("content-security-policy").expect("a policy").contains("default-src 'none'"));
        let page = String::from_utf8(page.bytes().await.to_vec()).expect("UTF-8");
        assert!(page.contains("linter/notes.md") && page.contains("interrupted"), "{page}");
        let notes = door.answer(get(&format!("/runs/{id}/linter/notes.md"))).await;
        assert_eq!(notes.header("content-type"), Some("text/plain; charset=utf-8"));
        assert!(notes.header("content-security-policy").expect("a policy").starts_with("sandbox"));

        files::write(&run.join("report.html"), *b"<p>report").await.expect("a file");
        let report = door.answer(get(&format!("/runs/{id}/"))).await;
        assert_eq!(&report.bytes().await[..], b"<p>report");
        for (path, status) in [
            (format!("/runs/{id}"), 303),
            (format!("/runs/{id}/../../secret"), 400),
            (format!("/runs/{id}/%2e%2e/%2e%2e/secret"), 400),
            (format!("/runs/{id}/..%2f..%2fsecret"), 400),
            (format!("/runs/{id}//secret"), 400),
            (format!("/runs/{id}/linter"), 404),
            (format!("/runs/{id}/linter/"), 404),
            (format!("/runs/{id}/nothing"), 404),
            ("/runs/..".into(), 400),
            ("/runs/.hidden/".into(), 404),
            ("/runs/absent/x".into(), 404),
        ] {
            assert_eq!(door.answer(get(&path)).await.status, status, "{path}");
        }
        let page = String::from_utf8(door.answer(get("/runs")).await.bytes().await.to_vec()).expect("UTF-8");
        assert!(page.contains(id), "{page}");
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn a_run_is_cancelled_on_demand_and_only_once() {
    testing::run(5, || async {
        let base = folder().await;
        let (door, context) = open(&base).await;
        let _director = director(&context, Does::Hang).await;
        let id = json(door.answer(order(&base)).await).await["id"].as_str().expect("an id").to_string();
        let delete = || Request::new(Method::Delete, format!("/api/runs/{id}"));
        let events = door.answer(get(&format!("/api/runs/{id}/events"))).await;
        assert_eq!(door.answer(delete()).await.status, 202);
        let told = String::from_utf8(events.bytes().await.to_vec()).expect("UTF-8");
        assert!(told.contains("event: end") && told.contains("cancelled"), "{told}");
        assert_eq!(door.answer(delete()).await.status, 409);
        assert_eq!(door.answer(Request::new(Method::Delete, "/api/runs/absent")).await.status, 404);
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn more_runs_than_the_node_can_do_are_refused_and_a_wrong_order_is_told_by_key() {
    testing::run(6, || async {
        let base = folder().await;
        let (door, context) = open(&base).await;
        let _director = director(&context, Does::Hang).await;
        for _ in 0..ACTIVE_MAX {
            assert_eq!(door.answer(order(&base)).await.status, 202);
        }
        assert_eq!(door.answer(order(&base)).await.status, 429);
        assert_eq!(door.runs().active(), ACTIVE_MAX);
        for (body, status, place) in [
            ("{}", 400, "body"),
            (r#"{"workflow": "review", "path": "/no/such/tree"}"#, 422, "path"),
            (r#"{"workflow": "review", "path": "relative"}"#, 422, "path"),
            (r#"{"workflow": "plan", "plan": "[["}"#, 422, "plan"),
        ] {
            let answer = door.answer(post("/api/runs", body.as_bytes())).await;
            assert_eq!(answer.status, status, "{body}");
            let told = json(answer).await;
            assert_eq!(told["error"]["where"], place, "{told}");
            assert!(!told["error"]["hint"].as_str().expect("a hint").is_empty());
        }
        let mut plain = order(&base);
        plain.headers = vec![("content-type".into(), "text/plain".into())];
        assert_eq!(door.answer(plain).await.status, 415, "what a form of another page could send");
        door.drain(Duration::ZERO).await;
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn draining_waits_for_the_run_that_is_going_takes_no_other_and_then_cancels() {
    testing::run(7, || async {
        let base = folder().await;
        let (door, context) = open(&base).await;
        let phase = director(&context, Does::Pass).await;
        let passing = json(door.answer(order(&base)).await).await["id"].as_str().expect("an id").to_string();
        assert_eq!(door.drain(Duration::from_secs(30)).await, 0, "nothing had to be cancelled");
        assert_eq!(door.phase(), Phase::Draining);
        let told = json(door.answer(get(&format!("/api/runs/{passing}"))).await).await;
        assert_eq!(told["state"], "done");
        assert_eq!(door.answer(order(&base)).await.status, 503);
        drop((phase, door, context));
        task::yield_now().await;

        let (door, context) = open(&base).await;
        let _director = director(&context, Does::Hang).await;
        let hanging = json(door.answer(order(&base)).await).await["id"].as_str().expect("an id").to_string();
        let drained = {
            let door = door.clone();
            task::spawn(async move { door.drain(Duration::from_secs(1)).await })
        };
        while door.phase() != Phase::Draining {
            task::yield_now().await;
        }
        let answer = door.answer(get("/readyz")).await;
        assert_eq!(answer.status, 503);
        let reasons = json(answer).await["reasons"][0].as_str().expect("a reason").to_string();
        assert!(reasons.contains("finishes 1 run"), "{reasons}");
        assert_eq!(drained.await, Ok(1));
        let told = door.answer(get(&format!("/api/runs/{hanging}/events"))).await.bytes().await;
        let told = String::from_utf8(told.to_vec()).expect("UTF-8");
        assert!(told.contains("its node was told to end"), "{told}");
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn messages_go_through_the_door_whatever_their_bytes() {
    testing::run(8, || async {
        let base = folder().await;
        let (door, context) = open(&base).await;
        let bytes: Vec<u8> = (0..=255).chain(*b"\n\n{}").collect();
        let reader = door.answer(get("/api/sub/orders.*?count=2")).await;
        assert_eq!(reader.status, 200);
        let receipt = json(door.answer(post("/api/pub/orders.eu?priority=high", &bytes)).await).await;
        assert_eq!(receipt["accepted"][0], "reader-1");
        let agent = context.agent("other").expect("free");
        let _ = agent.publish("orders.us", Priority::Low, b"").expect("taken");
        let mut messages = Messages::default();
        messages.feed(&reader.bytes().await);
        let header = |subject: &str, source: &str, priority: &str, bytes| Header {
            subject: subject.into(),
            source: source.into(),
            priority: priority.into(),
            bytes,
        };
        let first = messages.take().expect("right").expect("a message");
        assert_eq!(first, (header("orders.eu", "door", "high", 260), bytes.clone()));
        let second = messages.take().expect("right").expect("a message");
        assert_eq!(second, (header("orders.us", "other", "low", 0), Vec::new()));

        let mut echo = agent.serve("echo", 4).await.expect("free");
        let served = task::spawn(async move {
            let mut request = echo.recv().await.expect("a request");
            let payload = request.take_payload();
            request.reply(payload).expect("somebody waits");
        });
        let answer = door.answer(post("/api/req/echo", &bytes)).await;
        assert_eq!((answer.status, answer.header("synod-source")), (200, Some("other")));
        assert_eq!(&answer.bytes().await[..], &bytes[..]);
        served.await.expect("it served");

        for (request, status) in [
            (post("/api/req/nobody", b""), 404),
            (post("/api/pub/a..b", b""), 400),
            (post("/api/pub/a.*", b""), 400),
            (post("/api/pub/a?priority=urgent", b""), 400),
            (post("/api/pub/a?within=soon", b""), 400),
            (post("/api/pub/a?x=1", b""), 400),
            (get("/api/sub/a.>.b"), 400),
            (get("/api/sub/a?count=many"), 400),
            (get("/api/pub/a"), 405),
            (get("/readyz?x=1"), 400),
            (Request::new(Method::Other("BREW".into()), "/runs"), 405),
            (get("/teapot"), 404),
        ] {
            let target = request.target.clone();
            assert_eq!(door.answer(request).await.status, status, "{target}");
        }
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn a_reader_that_goes_ends_its_subscription_and_gives_its_place_back() {
    testing::run(9, || async {
        let base = folder().await;
        let (door, context) = open(&base).await;
        for _ in 0..200 {
            let reader = door.answer(get("/api/sub/a")).await;
            assert_eq!(reader.status, 200, "a place is free again");
            let Body::Stream(mut parts) = reader.body else { panic!("a stream") };
            parts.recv().await.expect("the sign that it stands");
            drop(parts);
            while context.fabric().snapshot().subscriptions.iter().any(|held| held.pattern == "a") {
                task::yield_now().await;
            }
        }
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn a_call_that_its_shell_gives_up_gives_its_request_up() {
    testing::run(10, || async {
        let base = folder().await;
        let (door, context) = open(&base).await;
        let (calls, taken) = mpsc::channel(4);
        let served = task::spawn(async move { door.serve(taken).await });
        let agent = context.agent("slow").expect("free");
        let mut asked = agent.serve("slow", 4).await.expect("free");
        let (answer, answered) = oneshot::channel();
        calls.send(Call { request: post("/api/req/slow?within=60s", b""), answer }).await.expect("it serves");
        let request = asked.recv().await.expect("a request");
        assert!(!request.is_cancelled());
        drop(answered);
        request.cancelled().await;
        drop(calls);
        served.await.expect("it ends with its last shell");
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn readers_over_loopback_take_no_stream_from_the_owner() {
    testing::run(11, || async {
        let base = folder().await;
        let (door, context) = open(&base).await;
        let _director = director(&context, Does::Hang).await;
        let id = json(door.answer(order(&base)).await).await["id"].as_str().expect("an id").to_string();
        let owner = get(&format!("/api/runs/{id}/events"));
        let mut stranger = owner.clone();
        stranger.via = Via::Loopback;
        stranger.headers.push(("host".into(), "localhost".into()));
        let mut open = Vec::new();
        for _ in 0..STREAMS_MAX {
            let answer = door.answer(stranger.clone()).await;
            assert_eq!(answer.status, 200);
            open.push(answer);
        }
        assert_eq!(door.answer(stranger.clone()).await.status, 429);
        assert_eq!(door.answer(owner).await.status, 200, "the owner's are the owner's");
        open.clear();
        while door.answer(stranger.clone()).await.status != 200 {
            task::yield_now().await;
        }
        files::remove_tree(&base).await.expect("our own folder");
    });
}

#[test]
fn strangers_over_loopback_may_read_and_change_nothing() {
    testing::run(11, || async {
        let base = folder().await;
        let (door, _context) = open(&base).await;
        let over = |mut request: Request, host: &str| {
            request.via = Via::Loopback;
            request.headers.push(("host".into(), host.into()));
            request
        };
        assert_eq!(door.answer(over(get("/runs"), "127.0.0.1:7677")).await.status, 200);
        assert_eq!(door.answer(over(get("/runs"), "evil.example")).await.status, 421);
        let answer = door.answer(over(order(&base), "127.0.0.1:7677")).await;
        assert_eq!(answer.status, 403);
        assert!(json(answer).await["error"]["hint"].as_str().expect("a hint").contains("http.token"));
        files::remove_tree(&base).await.expect("our own folder");
    });
}
