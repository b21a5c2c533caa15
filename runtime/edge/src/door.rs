//! The door: every address as a function of a request and the node's state, on one context, without sockets.
//!
//! It opens before the node is ready and says so, takes work while the node serves, and stays to answer while the node drains. It
//! holds no thread: its owner runs [`Door::serve`] on the node's own context, and a shell elsewhere feeds it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use synod_fabric::{Agent, AttachError, Context};
use synod_platform::{files, task, time};
use synod_probe::{event, reach};
use tokio::sync::{mpsc, oneshot};

use crate::exchange::{self, KEEP_ALIVE};
use crate::guard;
use crate::metrics::{self, Counted, Process, Seen};
use crate::pages;
use crate::problem::Problem;
use crate::pulse;
use crate::request::{Answer, Body, Method, Request, Via, escape};
use crate::runs::Runs;
use crate::runs::order::Order;
use crate::runs::record::Record;

/// Streams that may be open at a time: of the owner's socket, and of all others together, who cannot take the owner's.
pub const STREAMS_MAX: usize = 64;
/// How long a context may take to answer its pulse.
pub const PULSE: Duration = Duration::from_secs(5);
/// Largest order, in bytes: a plan of some ten thousand steps.
const ORDER_MAX: usize = 4 << 20;
/// Events that may wait for a reader's socket.
const PARTS: usize = 16;

/// The addresses, as `GET /api` lists them.
const ADDRESSES: [(&str, &str); 14] = [
    ("GET /livez", "200 while every context answers its pulse, 503 with the silent ones otherwise"),
    ("GET /readyz", "200 while work is taken, 503 with the reasons otherwise"),
    ("GET /metrics", "what a monitor reads, in OpenMetrics' text form"),
    ("GET /runs", "the runs, as a page"),
    ("GET /runs/ID/", "the report of a run, or how far it is, as a page"),
    ("GET /runs/ID/PATH", "a file of its folder"),
    ("GET /api/runs", "the runs"),
    (
        "POST /api/runs",
        "starts a run, or goes on with one: {workflow, path, out, plan, run, fail_on, within, tests}; 202 with its id",
    ),
    ("GET /api/runs/ID", "one run, with what it gave"),
    ("GET /api/runs/ID/events", "its progress and its end as server-sent events"),
    ("DELETE /api/runs/ID", "cancels it"),
    ("POST /api/pub/SUBJECT", "publishes the body; ?priority= ?within="),
    ("POST /api/req/SUBJECT", "asks with the body, answers with the answer; ?priority= ?within="),
    ("GET /api/sub/PATTERN", "streams what is published; ?count="),
];

/// Whether the node takes work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its agents are taking their places.
    Starting,
    /// It takes work.
    Serving,
    /// It finishes what it has.
    Draining,
}

/// What a door is set up with.
#[derive(Debug, Clone)]
pub struct DoorConfig {
    /// The node's name.
    pub node: String,
    /// Where run folders are made unless an order says otherwise, and where earlier runs are found; absolute.
    pub runs: PathBuf,
    /// The secret of those who may change things over TCP.
    pub token: Option<String>,
}

/// One call from a shell: a request, and where its answer goes. A shell that drops the receiver gives the request up.
#[derive(Debug)]
pub struct Call {
    /// The request.
    pub request: Request,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Answer>,
}

/// An agent that is or was on board.
#[derive(Debug, Clone)]
struct Aboard {
    agent: String,
    context: String,
    gone: Option<String>,
}

/// The door's place on the fabric.
#[derive(Debug, Clone)]
struct Place {
    context: Context,
    agent: Agent,
    contexts: Vec<String>,
}

/// The door of one node. Cheap to clone; stays on its context.
#[derive(Clone)]
pub struct Door(Rc<Inner>);

struct Inner {
    config: DoorConfig,
    began: time::Mono,
    phase: Cell<Phase>,
    place: RefCell<Option<Place>>,
    agents: RefCell<Vec<Aboard>>,
    runs: Runs,
    counted: Rc<Counted>,
    /// Open streams of others, and of the owner's socket.
    streams: [Cell<usize>; 2],
    readers: Cell<u64>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Door({} {:?})", self.0.config.node, self.0.phase.get())
    }
}

impl Door {
    /// A door of a node that is about to start.
    pub fn new(config: DoorConfig) -> Self {
        let counted = Rc::new(Counted::default());
        Door(Rc::new(Inner {
            runs: Runs::new(config.runs.clone(), counted.clone()),
            config,
            began: time::now(),
            phase: Cell::new(Phase::Starting),
            place: RefCell::default(),
            agents: RefCell::default(),
            counted,
            streams: Default::default(),
            readers: Cell::new(0),
        }))
    }

    /// Takes its place in `context`, which must be that of the caller's executor: from now on work is taken. `aboard` names each agent
    /// with the context that carries it; each of those contexts has a [`pulse`].
    pub fn open(
        &self,
        context: &Context,
        aboard: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), AttachError> {
        let agent = context.agent("door")?;
        let agents: Vec<Aboard> =
            aboard.into_iter().map(|(agent, context)| Aboard { agent, context, gone: None }).collect();
        let mut contexts: Vec<String> = agents.iter().map(|aboard| aboard.context.clone()).collect();
        contexts.sort();
        contexts.dedup();
        *self.0.agents.borrow_mut() = agents;
        *self.0.place.borrow_mut() = Some(Place { context: context.clone(), agent, contexts });
        self.0.phase.set(Phase::Serving);
        event!("edge.open", node = self.0.config.node.as_str());
        Ok(())
    }

    /// An agent crashed and was started again.
    pub fn restarted(&self, agent: &str) {
        self.0.counted.restart(agent);
    }

    /// An agent crashed too often and is gone: the node is not ready any more.
    pub fn given_up(&self, agent: &str, why: &str) {
        if let Some(aboard) = self.0.agents.borrow_mut().iter_mut().find(|aboard| aboard.agent == agent) {
            aboard.gone = Some(why.into());
        }
    }

    /// Takes no new run, waits up to `within` for those under way, cancels the rest, and says how many that were. Everything else is
    /// still answered.
    pub async fn drain(&self, within: Duration) -> usize {
        self.0.phase.set(Phase::Draining);
        event!("edge.draining", node = self.0.config.node.as_str());
        self.0.runs.drain(within, "its node was told to end").await
    }

    /// Leaves the fabric. Only health, metrics and earlier runs are still answered.
    pub fn close(&self) {
        self.0.phase.set(Phase::Draining);
        self.0.place.borrow_mut().take();
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        self.0.phase.get()
    }

    /// The runs.
    pub fn runs(&self) -> &Runs {
        &self.0.runs
    }

    /// Why the node does not take work; empty if it does.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        match self.phase() {
            Phase::Starting => reasons.push("starting: its agents are taking their places".to_string()),
            Phase::Serving => {}
            Phase::Draining => reasons.push(match self.0.runs.active() {
                0 => "draining: it was told to end".to_string(),
                1 => "draining: it was told to end, and finishes 1 run".to_string(),
                n => format!("draining: it was told to end, and finishes {n} runs"),
            }),
        }
        let agents = self.0.agents.borrow();
        for aboard in agents.iter() {
            if let Some(why) = &aboard.gone {
                reasons.push(format!("{} crashed too often and is gone: {why}", aboard.agent));
            }
        }
        reasons
    }

    /// The contexts that do not answer their pulse within `within`; empty if all is alive. Before the door is open and after it was closed
    /// it is itself the only one that is asked.
    pub async fn silent(&self, within: Duration) -> Vec<String> {
        let place = self.0.place.borrow().clone();
        match place {
            Some(place) => pulse::silent(&place.agent, &place.contexts, within).await,
            None => Vec::new(),
        }
    }

    /// Answers calls until every shell is gone. A call that its shell gave up is dropped, and what it had begun with it.
    pub async fn serve(&self, mut calls: mpsc::Receiver<Call>) {
        while let Some(Call { request, mut answer }) = calls.recv().await {
            let door = self.clone();
            task::spawn(async move {
                let given = tokio::select! {
                    biased;
                    () = answer.closed() => {
                        reach!("edge.call-given-up");
                        return;
                    }
                    given = door.answer(request) => given,
                };
                // The shell may have gone this very moment.
                let _ = answer.send(given);
            })
            .detach();
        }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request) -> Answer {
        let token = self.0.config.token.as_deref();
        let (room, given) = match guard::admit(&request, token).and_then(|()| request.parts()) {
            Ok(parts) => {
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                (room(&parts), self.route(&request, &parts).await)
            }
            Err(problem) => ("refused", Err(problem)),
        };
        let answer = given.unwrap_or_else(Answer::from);
        self.0.counted.request(room, answer.status);
        answer
    }

    async fn route(&self, request: &Request, parts: &[&str]) -> Result<Answer, Problem> {
        use Method::{Delete, Get, Post};
        let place = format!("/{}", parts.join("/"));
        let runs = &self.0.runs;
        if !matches!(parts, ["api", "pub" | "req" | "sub", ..]) {
            request.query(&[])?;
        }
        match (&request.method, parts) {
            (Get, [""]) => Ok(Answer::see("/runs".into())),
            (Get, ["livez"]) => {
                let silent = self.silent(PULSE).await;
                let status = if silent.is_empty() { 200 } else { 503 };
                Ok(Answer::json(status, &json!({ "alive": silent.is_empty(), "silent": silent })))
            }
            (Get, ["readyz"]) => {
                let reasons = self.reasons();
                let status = if reasons.is_empty() { 200 } else { 503 };
                let node = &self.0.config.node;
                Ok(Answer::json(
                    status,
                    &json!({ "ready": reasons.is_empty(), "node": node, "reasons": reasons }),
                ))
            }
            (Get, ["metrics"]) => Ok(Answer::of(200, metrics::MEDIA, self.metrics().await)),
            (Get, ["runs"]) => {
                let (list, more) = runs.list().await;
                Ok(pages::list(&self.0.config.node, &list, more))
            }
            (Get, ["runs", id]) => match runs.find(id).await {
                Some(_) => Ok(Answer::see(format!("/runs/{}/", escape(id)))),
                None => Err(no_run(id)),
            },
            (Get, ["runs", id, path @ ..]) => {
                let folder = runs.folder_of(id).await.ok_or_else(|| no_run(id))?;
                if *path == [""] {
                    let over = runs.known(id).is_none_or(|record| record.is_over());
                    if over && files::exists(&folder.join(pages::REPORT)).await.unwrap_or(false) {
                        return pages::file(&folder, &[pages::REPORT.into()], &place).await;
                    }
                    let told = runs.find(id).await.ok_or_else(|| no_run(id))?;
                    return Ok(pages::run(&told, &folder).await);
                }
                let path: Vec<String> = path.iter().map(ToString::to_string).collect();
                pages::file(&folder, &path, &place).await
            }
            (Get, ["api"]) => {
                let addresses: Vec<_> = ADDRESSES
                    .iter()
                    .map(|(address, does)| json!({ "address": address, "does": does }))
                    .collect();
                Ok(Answer::json(200, &addresses))
            }
            (Get, ["api", "runs"]) => {
                let (list, more) = runs.list().await;
                Ok(Answer::json(200, &json!({ "runs": list, "more": more })))
            }
            (Post, ["api", "runs"]) => self.start(request).await,
            (Get, ["api", "runs", id]) => {
                let told = runs.find(id).await.ok_or_else(|| no_run(id))?;
                Ok(Answer::json(200, &told))
            }
            (Delete, ["api", "runs", id]) => {
                let told = runs.find(id).await.ok_or_else(|| no_run(id))?;
                if runs.cancel(id, "its client cancelled it") {
                    return Ok(Answer::json(202, &json!({ "id": told.id, "cancelled": true })));
                }
                let what = format!("the run is not under way: it is {}", told.state.word());
                Err(Problem::new(409, what, place, ""))
            }
            (Get, ["api", "runs", id, "events"]) => match runs.known(id) {
                Some(record) => self.follow(&record, request),
                None => {
                    let told = runs.find(id).await.ok_or_else(|| no_run(id))?;
                    let data = serde_json::to_string(&told).unwrap_or_default();
                    let end = crate::stream::Event { id: 1, name: "end".into(), data };
                    Ok(Answer::of(200, "text/event-stream", end.encode()).with("cache-control", "no-store"))
                }
            },
            (Post, ["api", "pub", subject]) => {
                exchange::publish(&self.place()?.agent, subject, request).await
            }
            (Post, ["api", "req", subject]) => {
                exchange::request(&self.place()?.agent, subject, request).await
            }
            (Get, ["api", "sub", pattern]) => {
                let place = self.place()?;
                let stream = self.stream(request.via)?;
                let number = self.0.readers.get() + 1;
                self.0.readers.set(number);
                let name = format!("reader-{number}");
                let mut answer = exchange::subscribe(&place.context, &name, pattern, request).await?;
                stream.guard(&mut answer);
                Ok(answer)
            }
            (method, parts) => Err(wrong_method(method, parts).unwrap_or_else(|| Problem::absent(&place))),
        }
    }

    fn place(&self) -> Result<Place, Problem> {
        self.0.place.borrow().clone().ok_or_else(|| {
            Problem::new(
                503,
                "the node has no fabric now",
                self.reasons().join("; "),
                "ask again when /readyz answers 200",
            )
        })
    }

    async fn start(&self, request: &Request) -> Result<Answer, Problem> {
        if request.body.len() > ORDER_MAX {
            let what = format!("an order has at most {ORDER_MAX} bytes");
            return Err(Problem::new(413, what, "body", "run a plan that long with `synod run --embedded`"));
        }
        let media = request.header("content-type").unwrap_or_default();
        if media.split(';').next().map(str::trim) != Some("application/json") {
            let hint = "send `Content-Type: application/json`";
            return Err(Problem::new(415, "an order is JSON", "Content-Type", hint));
        }
        let order = Order::read(&request.body)?;
        if self.phase() != Phase::Serving {
            let reasons = self.reasons().join("; ");
            return Err(Problem::new(
                503,
                format!("the node takes no runs now: {reasons}"),
                "",
                "ask again later",
            ));
        }
        let place = self.place()?;
        let record = self.0.runs.start(&place.context, &order).await?;
        let id = record.id();
        let links = json!({ "id": id, "run": format!("/api/runs/{id}"), "events": format!("/api/runs/{id}/events"), "page": format!("/runs/{id}/") });
        Ok(Answer::json(202, &links).with("location", format!("/api/runs/{id}")))
    }

    /// Streams a run's events from the one after `Last-Event-ID` on, until its end was told.
    fn follow(&self, record: &Rc<Record>, request: &Request) -> Result<Answer, Problem> {
        let mut after = match request.header("last-event-id") {
            Some(text) => text.parse().map_err(|_| Problem::bad("Last-Event-ID", "it is no number"))?,
            None => 0,
        };
        let stream = self.stream(request.via)?;
        let record = record.clone();
        let mut news = record.watch();
        let (send, parts) = mpsc::channel(PARTS);
        task::spawn(async move {
            let mut alive = time::interval(KEEP_ALIVE);
            loop {
                while let Some(event) = record.event_after(after) {
                    after = event.id;
                    if send.send(Bytes::from(event.encode())).await.is_err() || event.name == "end" {
                        return;
                    }
                }
                tokio::select! {
                    biased;
                    () = send.closed() => return,
                    changed = news.changed() => if changed.is_err() { return },
                    _ = alive.tick() => if send.send(Bytes::from_static(b": alive\n\n")).await.is_err() { return },
                }
            }
        })
        .detach();
        let mut answer = Answer {
            status: 200,
            headers: vec![("content-type", "text/event-stream".into()), ("cache-control", "no-store".into())],
            body: Body::Stream(parts),
        };
        stream.guard(&mut answer);
        Ok(answer)
    }

    /// A place among the streams that may be open at a time.
    fn stream(&self, via: Via) -> Result<Stream, Problem> {
        let owner = usize::from(via == Via::Unix);
        let open = &self.0.streams[owner];
        if open.get() >= STREAMS_MAX {
            reach!("edge.streams-full");
            let what = format!("{STREAMS_MAX} streams are open, which is the most at a time");
            return Err(Problem::new(429, what, "", "end one first"));
        }
        open.set(open.get() + 1);
        Ok(Stream(self.clone(), owner))
    }

    async fn metrics(&self) -> String {
        let fabric = self.0.place.borrow().as_ref().map(|place| place.context.fabric().snapshot());
        let aboard = self.0.agents.borrow().clone();
        let agents = aboard.into_iter().map(|a| (a.agent, a.context, a.gone.is_none())).collect();
        let seen = Seen {
            node: self.0.config.node.clone(),
            version: env!("CARGO_PKG_VERSION"),
            ready: self.reasons().is_empty(),
            uptime: time::now().since(self.0.began).as_secs_f64(),
            agents,
            active: self.0.runs.active(),
            fabric,
            process: Process::look().await,
        };
        metrics::text(&self.0.counted, &seen)
    }
}

/// A place among the open streams; free again when dropped.
struct Stream(Door, usize);

impl Stream {
    /// Keeps the place for as long as the answer's stream is read.
    fn guard(self, answer: &mut Answer) {
        let Body::Stream(parts) = &mut answer.body else { return };
        let (send, guarded) = mpsc::channel(1);
        let mut parts = std::mem::replace(parts, guarded);
        task::spawn(async move {
            loop {
                let part = tokio::select! {
                    biased;
                    () = send.closed() => break,
                    part = parts.recv() => part,
                };
                let Some(part) = part else { break };
                if send.send(part).await.is_err() {
                    break;
                }
            }
            drop(self);
        })
        .detach();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let streams = &self.0.0.streams[self.1];
        streams.set(streams.get() - 1);
    }
}

fn no_run(id: &str) -> Problem {
    Problem::new(404, format!("there is no run `{id}`"), "id", "GET /api/runs lists them")
}

/// The first part of an address for the metrics: one of ours, whatever strangers ask for.
fn room(parts: &[&str]) -> &'static str {
    const ROOMS: [&str; 5] = ["livez", "readyz", "metrics", "runs", "api"];
    ROOMS.into_iter().find(|room| parts.first() == Some(room)).unwrap_or("other")
}

/// A problem that names the right method, if the address is right.
fn wrong_method(method: &Method, parts: &[&str]) -> Option<Problem> {
    let right = match parts {
        [""] | ["livez" | "readyz" | "metrics" | "runs" | "api"] | ["runs", ..] => "GET",
        ["api", "runs"] => "GET, POST",
        ["api", "runs", _] => "GET, DELETE",
        ["api", "runs", _, "events"] | ["api", "sub", _] => "GET",
        ["api", "pub" | "req", _] => "POST",
        _ => return None,
    };
    let word = match method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Delete => "DELETE",
        Method::Other(word) => word,
    };
    let what = format!("this address does not take {word}");
    Some(Problem::new(405, what, "", format!("it takes {right}")))
}
