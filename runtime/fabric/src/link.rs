//! Links: nodes joined over `platform::net`, a full mesh of static peers, one hop.
//!
//! Each side tells the other what its agents subscribe to and serve. A peer is then a receiver like any other: what it wants is queued for it by
//! priority, and a priority goes out as long as the peer has taken enough of what went before, so a slow receiver there
//! holds back its own priority alone. Pings notice a silent partition. When a link goes down, requests on it end at once, what was queued is counted as
//! lost, and the side that dials tries again with back-off. What a peer sends reaches this node's agents only.
//!
//! Not done: fragments (a large frame delays what comes after it), cancelling a request at the far node, routing over more than one hop.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Release;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use synod_platform::net::{self, Address, Connection, Credentials, Listener, NetError, Receiver, Sender};
use synod_platform::time::{self, Mono};
use synod_platform::{random, task};
use synod_probe::{event, loss, plant, reach};
use synod_wire::body::{Hello, Reason, Refusal};
use synod_wire::extension::{self, Builder, Elements};
use synod_wire::{Full, Head, Kind, PAYLOAD_MAX, Priority};
use tokio::sync::Notify;

use crate::RequestOptions;
use crate::agent::{Message, Subscription, publish_wait};
use crate::context::Answer;
use crate::error::{AttachError, RequestError};
use crate::fabric::Context;
use crate::mailbox::{ALL, Mailbox};
use crate::message::Payload;
use crate::registry::Takes;
use crate::request;
use crate::subject::{Pattern, Subject};

/// The time a peer has to say hello once connected.
const GREETING: Duration = Duration::from_secs(5);

/// The time to reach a peer that is dialled.
const DIALLING: Duration = Duration::from_secs(3);

/// The time that a message from a peer may wait for room here when it has no deadline of its own.
const PATIENCE: Duration = Duration::from_secs(5);

/// First and longest pause between two attempts to dial.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The most patterns a peer may announce.
const PATTERNS_MAX: usize = 65_536;

/// Another node of the mesh.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its node name, as it must prove it.
    pub name: String,
    /// Where it listens.
    pub address: Address,
}

/// How this node links to others.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Where to listen; without it nobody can dial in.
    pub listen: Option<Address>,
    /// The other nodes. Of two peers, the one whose name sorts first dials.
    pub peers: Vec<Peer>,
    /// Who we are; the name must be the fabric's node name.
    pub credentials: Credentials,
    /// A ping goes out this often.
    pub ping: Duration,
    /// A peer that is silent for this long is taken as gone.
    pub silence: Duration,
    /// The most messages of one priority on their way to a peer that it has not yet taken; also the places that each
    /// sending context has in the queue before them. The same on all nodes.
    pub window: u32,
    /// What waits for the bytes of links. It holds for all of the process that link from now on.
    pub sockets: net::Choice,
}

impl LinkConfig {
    /// The usual settings, with nobody to link to yet.
    pub fn new(credentials: Credentials) -> Self {
        Self {
            listen: None,
            peers: Vec::new(),
            credentials,
            ping: Duration::from_millis(500),
            silence: Duration::from_secs(2),
            window: 256,
            sockets: net::Choice::Automatic,
        }
    }
}

/// Why links were not started.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The listener.
    #[error(transparent)]
    Net(#[from] NetError),
    /// A peer's name or the window.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Credentials of another name.
    #[error("the credentials are for `{credentials}`, and this node is `{node}`: peers would not know it")]
    Name {
        /// The name in the credentials.
        credentials: String,
        /// The node's.
        node: String,
    },
}

/// A node's links, kept up in the background: connect, lose, connect again. Dropping this takes them down.
pub struct Links {
    mesh: Rc<Mesh>,
    address: Option<Address>,
    _tasks: Tasks,
}

/// Tasks that end with whoever holds this.
struct Tasks(Vec<task::JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(|task| task.abort());
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("address", &self.address).field("up", &self.up()).finish()
    }
}

struct Mesh {
    context: Context,
    config: LinkConfig,
    peers: BTreeMap<String, Rc<Far>>,
    /// Larger after each start of this node.
    incarnation: u64,
    changed: Notify,
}

/// A peer as this node knows it, linked or not.
struct Far {
    name: String,
    /// What is queued for it.
    queue: RefCell<Subscription>,
    /// What it wants.
    wants: RefCell<BTreeMap<Pattern, Takes>>,
    up: Cell<bool>,
    /// Which session is the present one, and how to end it.
    session: Cell<u64>,
    end: Notify,
}

impl Links {
    /// Listens, starts to dial, and returns; links come up in the background.
    pub async fn start(context: &Context, config: LinkConfig) -> Result<Self, LinkError> {
        let node = context.fabric().node().to_owned();
        if config.credentials.name() != node {
            return Err(LinkError::Name { credentials: config.credentials.name().to_owned(), node });
        }
        net::choose(config.sockets)?;
        let mut peers = BTreeMap::new();
        for peer in &config.peers {
            let owner: Arc<str> = format!("node:{}", peer.name).into();
            let queue = Subscription::of_link(context, owner, config.window as usize)?;
            queue.queue().entry.gone.store(true, Release);
            let far = Far {
                name: peer.name.clone(),
                queue: RefCell::new(queue),
                wants: RefCell::default(),
                up: Cell::new(false),
                session: Cell::new(0),
                end: Notify::new(),
            };
            peers.insert(peer.name.clone(), Rc::new(far));
        }
        let listener = match &config.listen {
            Some(address) => Some(Listener::bind(address, &config.credentials).await?),
            None => None,
        };
        let address = listener.as_ref().map(|listener| listener.address().clone());
        let dialled: Vec<_> = config.peers.iter().filter(|peer| node < peer.name).cloned().collect();
        let incarnation = time::wall().as_nanos();
        let mesh =
            Rc::new(Mesh { context: context.clone(), config, peers, incarnation, changed: Notify::new() });
        let mut tasks = Vec::new();
        if let Some(listener) = listener {
            tasks.push(task::spawn(listen(mesh.clone(), listener)));
        }
        for peer in dialled {
            tasks.push(task::spawn(dial(mesh.clone(), peer)));
        }
        Ok(Self { mesh, address, _tasks: Tasks(tasks) })
    }

    /// Where this node listens, with the port that the system chose.
    pub fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }

    /// The names of the peers that are linked now.
    pub fn up(&self) -> Vec<String> {
        self.mesh.peers.values().filter(|far| far.up.get()).map(|far| far.name.clone()).collect()
    }

    /// Waits until the link to that peer is up and what it wants is known here; for ever if there is no such peer.
    pub async fn wait_for(&self, peer: &str) {
        self.wait_until(peer, true).await;
    }

    /// Waits until the link to that peer is seen to be down.
    pub async fn wait_for_loss_of(&self, peer: &str) {
        self.wait_until(peer, false).await;
    }

    async fn wait_until(&self, peer: &str, up: bool) {
        loop {
            let changed = self.mesh.changed.notified();
            if self.mesh.peers.get(peer).is_some_and(|far| far.up.get() == up) {
                return;
            }
            changed.await;
        }
    }

    /// Takes the links down. Peers see the connections end.
    pub async fn stop(self) {
        for far in self.mesh.peers.values() {
            far.end.notify_waiters();
        }
        task::yield_now().await;
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.mesh.peers.values().for_each(|far| {
            far.session.set(u64::MAX);
            far.end.notify_waiters();
        });
    }
}

async fn listen(mesh: Rc<Mesh>, mut listener: Listener) {
    loop {
        match listener.accept().await {
            Ok(connection) => task::spawn(greet(mesh.clone(), connection)).detach(),
            Err(error) => {
                event!("link.listener_failed", why = &error.to_string());
                time::sleep(PAUSE.1).await;
            }
        }
    }
}

async fn dial(mesh: Rc<Mesh>, peer: Peer) {
    let mut pause = PAUSE.0;
    loop {
        let deadline = time::now() + DIALLING;
        match net::connect(&peer.address, &mesh.config.credentials, deadline).await {
            Ok(connection) if connection.peer().name() == peer.name => {
                let started = time::now();
                greet(mesh.clone(), connection).await;
                if time::now().since(started) > mesh.config.silence {
                    pause = PAUSE.0;
                }
            }
            Ok(connection) => {
                reach!("link.wrong_peer");
                event!("link.wrong_peer", wanted = &peer.name, found = connection.peer().name());
            }
            Err(error) => {
                reach!("link.dial_failed");
                event!("link.dial_failed", peer = &peer.name, why = &error.to_string());
            }
        }
        let half = (pause.as_nanos() as u64 / 2).max(1);
        time::sleep(Duration::from_nanos(half + random::below(half))).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Frame(#[from] synod_wire::Error),
    #[error("the peer closed the link")]
    Closed,
    #[error("the peer is silent")]
    Silent,
    #[error("another connection took over, or the links were stopped")]
    Replaced,
    #[error("the peer broke the protocol: {0}")]
    Protocol(&'static str),
}

/// Takes a fresh connection through its whole life.
async fn greet(mesh: Rc<Mesh>, connection: Connection) {
    let name = connection.peer().name().to_owned();
    let Some(far) = mesh.peers.get(&name).cloned() else {
        reach!("link.stranger");
        event!("link.stranger", peer = &name);
        return;
    };
    let (mut sender, mut receiver) = connection.split();
    let greeting = time::timeout(GREETING, say_hello(&mesh, &name, &mut sender, &mut receiver)).await;
    match greeting.map_err(|_| Ended::Silent).and_then(|greeted| greeted) {
        Ok(()) => {}
        Err(why) => {
            event!("link.no_greeting", peer = &name, why = &why.to_string());
            return;
        }
    }
    let number = match far.session.get() {
        u64::MAX => return,
        last => last + 1,
    };
    far.session.set(number);
    far.end.notify_waiters();
    event!("link.connected", peer = &name);
    let session = Rc::new(Session::new(mesh.clone(), far.clone()));
    let forwarders =
        Tasks(Priority::ALL.map(|priority| task::spawn(forward(session.clone(), priority))).into());
    far.wants.borrow_mut().clear();
    let why = {
        let replaced = far.end.notified();
        tokio::select! {
            biased;
            () = replaced => Ended::Replaced,
            why = session.read(&mut receiver) => why,
            why = session.write(&mut sender) => why,
        }
    };
    drop(forwarders);
    session.end(&why, far.session.get() == number || far.session.get() == u64::MAX);
}

async fn say_hello(
    mesh: &Mesh,
    peer: &str,
    sender: &mut Sender,
    receiver: &mut Receiver,
) -> Result<(), Ended> {
    let node = mesh.context.fabric().node();
    let hello = Hello {
        oldest: 1,
        newest: 1,
        node: u64::from(synod_wire::crc::checksum(node.as_bytes())),
        incarnation: mesh.incarnation,
        payload_max: PAYLOAD_MAX as u32,
        name: node,
    };
    sender.send(Full::new(Head::new(Kind::Hello), &hello.encode()).to_vec()?.into()).await?;
    let frame = receiver.recv().await?.ok_or(Ended::Closed)?;
    let full = Full::decode_exact(&frame)?;
    if full.head.kind != Kind::Hello {
        return Err(Ended::Protocol("its first frame is no hello"));
    }
    let theirs = Hello::decode(full.payload)?;
    if theirs.name != peer {
        return Err(Ended::Protocol("it says another name than it proved"));
    }
    match hello.common_version(&theirs) {
        Some(_) => Ok(()),
        None => Err(Ended::Protocol("the versions have nothing in common")),
    }
}

type Six<T> = [T; Priority::COUNT];

/// One connection to a peer, while it lasts.
struct Session {
    mesh: Rc<Mesh>,
    far: Rc<Far>,
    /// Frames of the link itself, ahead of all others.
    control: RefCell<VecDeque<Bytes>>,
    /// Answers on their way out.
    answers: RefCell<Mailbox<Bytes>>,
    /// Something is to be written.
    work: Notify,
    /// Requests sent and not answered.
    awaiting: RefCell<BTreeMap<u64, Message>>,
    numbers: Cell<u64>,
    /// Messages sent to the peer, and those it says it has taken.
    sent: Six<Cell<u64>>,
    taken_there: Six<Cell<u64>>,
    /// Messages from the peer, those that found their receiver here, and those it was told of.
    inbox: Six<RefCell<VecDeque<Came>>>,
    came: Six<Notify>,
    taken_here: Six<Cell<u64>>,
    told: Cell<u64>,
    announced: RefCell<BTreeMap<Pattern, Takes>>,
    /// The peer has said all it wants: what comes is a change.
    settled: Cell<bool>,
}

/// A message from the peer.
struct Came {
    source: Arc<str>,
    subject: Subject,
    payload: Payload,
    deadline: Option<Mono>,
    /// Zero for what was published.
    correlation: u64,
}

impl Session {
    fn new(mesh: Rc<Mesh>, far: Rc<Far>) -> Self {
        Self {
            mesh,
            far,
            control: RefCell::default(),
            answers: RefCell::new(Mailbox::new()),
            work: Notify::new(),
            awaiting: RefCell::default(),
            numbers: Cell::new(0),
            sent: Default::default(),
            taken_there: Default::default(),
            inbox: Default::default(),
            came: Default::default(),
            taken_here: Default::default(),
            told: Cell::new(0),
            announced: RefCell::default(),
            settled: Cell::new(false),
        }
    }

    fn window(&self) -> u64 {
        u64::from(self.mesh.config.window)
    }

    /// Sends what there is, in order of priority, as far as the peer has room; announces changes of interest; pings.
    async fn write(&self, sender: &mut Sender) -> Ended {
        let shared = self.mesh.context.fabric().shared().clone();
        let mut changes = shared.changes();
        if let Err(why) = self.announce() {
            return why;
        }
        self.ping();
        let mut ping = time::interval(self.mesh.config.ping);
        loop {
            enum Next {
                Frame(Bytes),
                Message(Message),
                Changed,
                Ping,
                Look,
            }
            let control = self.control.borrow_mut().pop_front();
            let next = match control {
                Some(frame) => Next::Frame(frame),
                None => tokio::select! {
                    biased;
                    _ = changes.changed() => Next::Changed,
                    next = self.next_by_priority() => match next {
                        Ok(frame) => Next::Frame(frame),
                        Err(message) => Next::Message(message),
                    },
                    () = self.work.notified() => Next::Look,
                    _ = ping.tick() => Next::Ping,
                },
            };
            let frame = match next {
                Next::Frame(frame) => frame,
                Next::Message(message) => match self.frame_of(message) {
                    Ok(Some(frame)) => frame,
                    Ok(None) => continue,
                    Err(why) => return why.into(),
                },
                Next::Changed => {
                    if let Err(why) = self.announce() {
                        return why;
                    }
                    continue;
                }
                Next::Ping => {
                    self.ping();
                    continue;
                }
                Next::Look => continue,
            };
            if let Err(why) = sender.send(frame).await {
                return why.into();
            }
        }
    }

    /// The most urgent answer or message that may go out now.
    async fn next_by_priority(&self) -> Result<Bytes, Message> {
        poll_fn(|cx| {
            let open = (0..Priority::COUNT)
                .filter(|&p| self.sent[p].get() - self.taken_there[p].get() < self.window())
                .fold(0u8, |open, p| open | 1 << p);
            let subscription = self.far.queue.borrow();
            let best_message = subscription.queue().mailbox.borrow().best(open);
            let best_answer = self.answers.borrow().best(ALL);
            if let Some(answer) = best_answer
                && best_message.is_none_or(|message| answer <= message)
                && let Some(frame) = self.answers.borrow_mut().take(ALL)
            {
                return Poll::Ready(Ok(frame));
            }
            match subscription.queue().poll_take(open, cx) {
                Poll::Ready(Some(envelope)) => {
                    Poll::Ready(Err(Message::received(&self.mesh.context, envelope)))
                }
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// The frame for a message; `None` if its time is up.
    fn frame_of(&self, mut message: Message) -> Result<Option<Bytes>, synod_wire::Error> {
        let priority = message.priority();
        let left = match message.deadline() {
            Some(deadline) => match deadline.since(time::now()).as_nanos() as u64 {
                0 => {
                    loss!("fabric.link", "the deadline had passed");
                    return Ok(None);
                }
                left => left,
            },
            None => 0,
        };
        self.numbers.set(self.numbers.get() + 1);
        let number = self.numbers.get();
        let payload = message.take_payload();
        let mut head = Head::new(if message.is_request() { Kind::Request } else { Kind::Publish });
        head.priority = priority;
        head.message = synod_wire::MessageId(number);
        head.deadline = left;
        if message.is_request() {
            head.correlation = number;
        }
        let source = Builder::new().element(extension::SOURCE, message.source().as_bytes())?;
        let full = Full {
            head,
            subject: Some(message.subject().as_str()),
            elements: source.elements(),
            payload: &payload,
        };
        let frame = full.to_vec()?.into();
        let sent = &self.sent[priority.index()];
        sent.set(sent.get() + 1);
        if message.is_request() {
            self.awaiting.borrow_mut().insert(number, message);
        }
        Ok(Some(frame))
    }

    fn control(&self, frame: Vec<u8>) {
        self.control.borrow_mut().push_back(frame.into());
        self.work.notify_one();
    }

    /// Tells the peer that we live, and how much of what it sent has found its receiver.
    fn ping(&self) {
        let mut counts = Vec::with_capacity(8 * Priority::COUNT);
        self.taken_here.iter().for_each(|taken| counts.extend_from_slice(&taken.get().to_le_bytes()));
        self.told.set(self.taken_here.iter().map(Cell::get).sum());
        if let Ok(frame) = Full::new(Head::new(Kind::Ping), &counts).to_vec() {
            self.control(frame);
        }
    }

    fn took(&self, priority: Priority) {
        let taken = &self.taken_here[priority.index()];
        taken.set(taken.get() + 1);
        let total: u64 = self.taken_here.iter().map(Cell::get).sum();
        if total - self.told.get() >= (self.window() / 4).max(1) {
            self.ping();
        }
    }

    /// Tells the peer what changed in what this node's agents want.
    fn announce(&self) -> Result<(), Ended> {
        let wanted = self.mesh.context.fabric().shared().registry().interest();
        let mut announced = self.announced.borrow_mut();
        for pattern in announced.keys().filter(|pattern| !wanted.contains_key(*pattern)) {
            self.control(Full::new(Head::new(Kind::Uninterest), &[]).on(pattern.as_str()).to_vec()?);
        }
        for (pattern, takes) in
            wanted.iter().filter(|(pattern, takes)| announced.get(*pattern) != Some(*takes))
        {
            let bits = u8::from(takes.events) | u8::from(takes.requests) << 1;
            let elements = Builder::new().element(extension::INTEREST, &[bits])?;
            let full = Full {
                head: Head::new(Kind::Interest),
                subject: Some(pattern.as_str()),
                elements: elements.elements(),
                payload: &[],
            };
            self.control(full.to_vec()?);
        }
        *announced = wanted;
        Ok(())
    }

    /// Takes frames until the link ends.
    async fn read(self: &Rc<Self>, receiver: &mut Receiver) -> Ended {
        loop {
            let frame = match time::timeout(self.mesh.config.silence, receiver.recv()).await {
                Err(_) => {
                    reach!("link.silent");
                    return Ended::Silent;
                }
                Ok(Err(why)) => return why.into(),
                Ok(Ok(None)) => return Ended::Closed,
                Ok(Ok(Some(frame))) => frame,
            };
            if let Err(why) = self.take(&frame) {
                return why;
            }
        }
    }

    fn take(&self, frame: &Bytes) -> Result<(), Ended> {
        let full = Full::decode_exact(frame)?;
        let head = full.head;
        let payload = || Payload::from(frame.slice_ref(full.payload));
        match head.kind {
            Kind::Publish | Kind::Request => {
                let subject = Subject::new(full.subject.unwrap_or_default())
                    .map_err(|_| Ended::Protocol("a message without a proper subject"))?;
                let name =
                    full.elements.get(extension::SOURCE).and_then(|name| std::str::from_utf8(name).ok());
                let came = Came {
                    source: format!("{}/{}", self.far.name, name.unwrap_or("?")).into(),
                    subject,
                    payload: payload(),
                    deadline: (head.deadline != 0).then(|| time::now() + Duration::from_nanos(head.deadline)),
                    correlation: if head.kind == Kind::Request { head.correlation } else { 0 },
                };
                let p = head.priority.index();
                let mut inbox = self.inbox[p].borrow_mut();
                if inbox.len() as u64 >= self.window() {
                    return Err(Ended::Protocol("it sent more than the window allows"));
                }
                inbox.push_back(came);
                self.came[p].notify_one();
            }
            Kind::Reply => {
                let source = format!("node:{}", self.far.name).into();
                self.answered(
                    head.correlation,
                    Answer::Reply { source, priority: head.priority, payload: payload() },
                );
            }
            Kind::NoListener => self.answered(head.correlation, Answer::NobodyListens),
            Kind::Refused => {
                let said = Refusal::decode(full.payload)?;
                self.answered(
                    head.correlation,
                    Answer::Refused { reason: said.reason, text: said.text.to_owned() },
                );
            }
            Kind::Interest | Kind::Uninterest => {
                let pattern = Pattern::new(full.subject.unwrap_or_default())
                    .map_err(|_| Ended::Protocol("an interest without a proper pattern"))?;
                self.heed_interest(head.kind == Kind::Interest, pattern, full.elements)?;
            }
            Kind::Ping => {
                self.heed_counts(full.payload)?;
                self.came_up();
                let mut head = Head::new(Kind::Pong);
                head.correlation = full.head.correlation;
                self.control(Full::new(head, full.payload).to_vec()?);
            }
            Kind::Pong => {}
            Kind::Goodbye => return Err(Ended::Closed),
            Kind::Hello => return Err(Ended::Protocol("a second hello")),
            Kind::Release => return Err(Ended::Protocol("a release, which never travels on links")),
        }
        Ok(())
    }

    fn heed_counts(&self, payload: &[u8]) -> Result<(), Ended> {
        if payload.len() != 8 * Priority::COUNT {
            return Err(Ended::Protocol("a ping without six counts"));
        }
        for (p, bytes) in payload.chunks_exact(8).enumerate() {
            let taken = bytes.iter().rev().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
            if taken < self.taken_there[p].get() || taken > self.sent[p].get() {
                return Err(Ended::Protocol("it took back, or more than was sent"));
            }
            self.taken_there[p].set(taken);
        }
        self.work.notify_one();
        Ok(())
    }

    fn heed_interest(&self, wants: bool, pattern: Pattern, elements: Elements<'_>) -> Result<(), Ended> {
        let mut all = self.far.wants.borrow_mut();
        if wants {
            let bits =
                elements.get(extension::INTEREST).and_then(|value| value.first().copied()).unwrap_or(3);
            all.insert(pattern, Takes { events: bits & 1 != 0, requests: bits & 2 != 0, tap: false });
            if all.len() > PATTERNS_MAX {
                return Err(Ended::Protocol("it wants too many patterns"));
            }
        } else {
            all.remove(&pattern);
        }
        drop(all);
        if self.settled.get() {
            self.list();
        }
        Ok(())
    }

    /// Makes known here what the peer wants.
    fn list(&self) {
        let entry = self.far.queue.borrow().queue().entry.clone();
        self.mesh.context.fabric().shared().list(&entry, self.far.wants.borrow().clone());
    }

    /// The peer's first ping: everything it wants has been said.
    fn came_up(&self) {
        if self.settled.replace(true) {
            return;
        }
        self.far.up.set(true);
        self.far.queue.borrow().queue().entry.gone.store(false, Release);
        self.list();
        event!("link.up", peer = &self.far.name);
        self.mesh.changed.notify_waiters();
    }

    /// The peer answered a request.
    fn answered(&self, correlation: u64, answer: Answer) {
        let Some(message) = self.awaiting.borrow_mut().remove(&correlation) else {
            reach!("link.stray_answer");
            loss!("fabric.link", "an answer to no request");
            return;
        };
        if message.pass_on(answer).is_err() {
            reach!("link.late_answer");
            loss!("fabric.link", "the requester no longer waited for the answer");
        }
    }

    /// The connection is over: nobody waits for it in vain.
    fn end(&self, why: &Ended, was_present: bool) {
        reach!("link.lost");
        event!("link.down", peer = &self.far.name, why = &why.to_string());
        if plant!("fabric.link-loss-untold") {
            self.awaiting.borrow_mut().values_mut().for_each(Message::forget);
        }
        for (_, message) in std::mem::take(&mut *self.awaiting.borrow_mut()) {
            reach!("link.request_lost");
            if message.pass_on(Answer::Lost).is_err() {
                loss!("fabric.link", "the requester no longer waited for the answer");
            }
        }
        let unknown: u64 = (0..Priority::COUNT).map(|p| self.sent[p].get() - self.taken_there[p].get()).sum();
        if unknown > 0 {
            loss!("fabric.link", "under way when the link was lost: fate unknown", unknown);
        }
        let stranded: usize = self.inbox.iter().map(|inbox| inbox.borrow().len()).sum();
        if stranded > 0 {
            loss!("fabric.link", "came just before the link was lost", stranded as u64);
        }
        if !was_present {
            return;
        }
        self.far.wants.borrow_mut().clear();
        if self.far.up.replace(false) {
            let subscription = self.far.queue.borrow();
            let queue = subscription.queue();
            queue.entry.gone.store(true, Release);
            loop {
                let envelope = queue.mailbox.borrow_mut().take(ALL);
                let Some(envelope) = envelope else { break };
                self.mesh.context.inner().give_up(envelope, "the link was lost");
            }
        }
        self.mesh.changed.notify_waiters();
    }
}

/// Hands messages of one priority from the peer to their receivers here.
async fn forward(session: Rc<Session>, priority: Priority) {
    let p = priority.index();
    let context = session.mesh.context.clone();
    loop {
        let next = session.inbox[p].borrow_mut().pop_front();
        let Some(came) = next else {
            session.came[p].notified().await;
            continue;
        };
        let route = context.inner().route(&came.source, &came.subject, true);
        if came.correlation == 0 {
            let until = came.deadline.unwrap_or_else(|| time::now() + PATIENCE);
            let deadline = came.deadline.map_or(0, Mono::as_nanos);
            match publish_wait(context.inner(), &route, priority, &came.payload, deadline, until).await {
                Ok(receipt) if receipt.accepted_count() == 0 => {
                    reach!("link.nobody_here");
                    loss!("fabric.link", "nobody subscribes here any more");
                }
                Ok(_) => {}
                Err(why) => {
                    reach!("link.no_room_here");
                    loss!("fabric.link", "the receivers here had no room in time");
                    event!("link.no_room", subject = came.subject.as_str(), why = &why.to_string());
                }
            }
            session.took(priority);
            continue;
        }
        let session = session.clone();
        let context = context.clone();
        task::spawn(async move {
            let within = came.deadline.map_or(PATIENCE, |deadline| deadline.since(time::now()));
            let options = RequestOptions::within(within);
            let answer = request::ask(&context, &route, priority, &came.payload, options).await;
            session.took(priority);
            if let Ok(frame) = answer_frame(came.correlation, priority, &answer) {
                session.answers.borrow_mut().put(priority, frame.into());
                session.work.notify_one();
            }
        })
        .detach();
    }
}

fn answer_frame(
    correlation: u64,
    priority: Priority,
    answer: &Result<Message, RequestError>,
) -> Result<Vec<u8>, synod_wire::Error> {
    let refusal;
    let (kind, payload) = match answer {
        Ok(message) => (Kind::Reply, &**message.payload()),
        Err(RequestError::NobodyListens(_)) => (Kind::NoListener, &[][..]),
        Err(error) => {
            let text = error.to_string();
            let (reason, text) = match error {
                RequestError::WouldBlock(_) | RequestError::Resting { .. } => {
                    (Reason::WouldBlock, text.as_str())
                }
                RequestError::DeadlinePassed(_) => (Reason::DeadlinePassed, ""),
                RequestError::Abandoned(_) => (Reason::Failed, ""),
                RequestError::Failed { reason, .. } => (Reason::Failed, reason.as_str()),
                RequestError::Refused { reason, .. } => (Reason::NotAllowed, reason.as_str()),
                RequestError::Unreachable(_) => (Reason::Unreachable, ""),
                _ => (Reason::Protocol, text.as_str()),
            };
            refusal = Refusal { reason, text }.encode();
            (Kind::Refused, &refusal[..])
        }
    };
    let mut head = Head::new(kind);
    head.correlation = correlation;
    head.priority = priority;
    Full::new(head, payload).to_vec()
}
