//! The node's end: admits processes, checks what they pass, and carries out what the broker decides.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use synod_platform::local::{self, Access, Channel, Listener, LocalError, PeerProcess};
use synod_platform::memory::{self, Handle, MemoryError};
use synod_platform::time::Mono;
use synod_platform::{queue, random, task, time};
use synod_probe::{event, loss, reach};
use tokio::sync::Notify;

use super::broker::{Breach, Broker};
use super::comeback::Comebacks;
use super::control::{Ask, Malformed, Member, NODE, Tell, VERSION, Wanted};
use super::replica;
use super::spool;
use super::standing::Rung;
use super::statistics::{LaneSnapshot, Statistics};
use super::uplink::Uplink;
use crate::fabric::Context;
use crate::registry::{Shared, SubId};
use crate::subject::{Pattern, Subject};

/// The time a process has to say hello once connected.
const GREETING: Duration = Duration::from_secs(5);

/// Frames that may wait for a process before it is taken for one that does not read.
const BACKLOG: usize = 65_536;

/// How often spools that nobody uses are looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// How a node admits processes.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Where its socket is. Beside it, with the ending `spools`, BACKGROUND messages between processes of this user are kept, unless the path
    /// depends on the current directory.
    pub path: PathBuf,
    /// Who may connect.
    pub access: Access,
    /// Whether a process must show a token that [`Host::token`] gave; each is good once. Whoever was let in is so again, also after a restart,
    /// by what the node gave it, and keeps beside its socket for its user alone.
    pub tokens: bool,
    /// What may be tapped, by any process that is admitted; nothing if nothing is said.
    pub taps: Vec<Pattern>,
    /// A process that has not taken note of a change for this long is cut off, so that no subscriber waits for it.
    pub fence: Duration,
}

impl HostConfig {
    /// Admits processes of this user, without tokens.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            access: Access::Owner,
            tokens: false,
            taps: Vec::new(),
            fence: Duration::from_secs(5),
        }
    }
}

/// Why a node admits nobody.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The socket.
    #[error(transparent)]
    Socket(#[from] LocalError),
    /// This fabric has a host, or has attached to one.
    #[error("this fabric takes part in a node already: a fabric has one host")]
    Second,
}

/// A node that admits processes, as long as this lives.
pub struct Host {
    inner: Rc<Inner>,
    path: PathBuf,
    tasks: Vec<task::JoinHandle<()>>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("path", &self.path).field("attached", &self.attached()).finish()
    }
}

/// A process that has attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// What it calls itself.
    pub name: String,
    /// Who it is by the kernel's word.
    pub process: PeerProcess,
    /// The names of its agents.
    pub agents: Vec<String>,
    /// What its newest memory for long payloads stands on; nothing if it has none, or that is [plain](super::PayloadMemory::Plain).
    pub memory: Vec<Rung>,
}

struct Inner {
    shared: Arc<Shared>,
    uplink: Arc<Uplink>,
    config: HostConfig,
    broker: RefCell<Broker<Rc<Handle>>>,
    sessions: RefCell<BTreeMap<Member, Rc<Session>>>,
    tokens: RefCell<BTreeSet<String>>,
    /// How those come back who had to show one, if that is wanted.
    comebacks: Option<Comebacks>,
    /// Rung when something was told, so that somebody may owe an answer.
    told: Notify,
    /// Rung when something was asked, so that somebody may be answered.
    changed: Notify,
    statistics: RefCell<Statistics>,
}

/// One process, while it is attached.
struct Session {
    about: Attached,
    /// What lets it in again.
    secret: String,
    /// What it taps.
    taps: RefCell<BTreeMap<SubId, String>>,
    backlog: RefCell<VecDeque<(Tell, Vec<Rc<Handle>>)>>,
    work: Notify,
    end: Notify,
}

/// Why a process is no longer attached.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Socket(#[from] LocalError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Breach(#[from] Breach),
    #[error("it passed memory that cannot be used: {0}")]
    Memory(#[from] MemoryError),
    #[error("it passed {found} handles where {wanted} belong")]
    Handles { found: usize, wanted: usize },
    #[error("it closed the connection, or has ended")]
    Closed,
    #[error("it did not take note of a change in time, or does not read")]
    Fenced,
    #[error("it said no hello in time")]
    Silent,
    #[error("{0}")]
    Rejected(String),
}

impl Host {
    /// Listens, and admits processes in the background of this executor.
    pub async fn start(context: &Context, config: HostConfig) -> Result<Self, HostError> {
        let listener = Listener::bind(&config.path, config.access).await?;
        let shared = context.fabric().shared().clone();
        let uplink = Arc::new(Uplink::default());
        uplink.come_up();
        if !shared.join(uplink.clone()) {
            return Err(HostError::Second);
        }
        let path = config.path.clone();
        let comebacks = if config.tokens { Some(Comebacks::of(&path).await) } else { None };
        let folder = path.is_absolute().then(|| path.with_extension("spools"));
        let told = folder.as_ref().and_then(|folder| folder.to_str()).map(str::to_owned);
        shared.keep_in(folder.filter(|_| told.is_some()));
        shared.tell_all();
        let mut broker = Broker::new(shared.config.node.clone(), told);
        broker.prefer(shared.config.payload_memory);
        let broker = RefCell::new(broker);
        let (sessions, tokens) = Default::default();
        let (told, changed, statistics) = (Notify::new(), Notify::new(), RefCell::default());
        let inner = Rc::new(Inner {
            shared,
            uplink,
            config,
            broker,
            sessions,
            tokens,
            comebacks,
            told,
            changed,
            statistics,
        });
        inner.shared.recall();
        event!("attach.listening", node = &inner.shared.config.node);
        let tasks = vec![
            task::spawn(inner.clone().serve_own()),
            task::spawn(inner.clone().admit(listener)),
            task::spawn(inner.clone().fence()),
            task::spawn(inner.clone().sweep()),
        ];
        Ok(Self { inner, path, tasks })
    }

    /// Where its socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new token: whoever shows it first is admitted.
    pub fn token(&self) -> String {
        let token = secret();
        self.inner.tokens.borrow_mut().insert(token.clone());
        token
    }

    /// Takes an agent's leave away to send on a subject to other processes, as long as this node lives. When this returns no receiver delivers
    /// any more of it, also of what was under way, or was cut off; what the agent sends from now on is refused. Returns over how many
    /// lanes it could send.
    pub async fn revoke(&self, agent: &str, subject: &Subject) -> usize {
        let inner = &self.inner;
        let revoked = inner.broker.borrow_mut().revoke(agent, subject.as_str(), time::now().as_nanos());
        inner.dispatch();
        let until = time::now() + inner.config.fence;
        loop {
            let changed = inner.changed.notified();
            let waiting = inner.broker.borrow().revoking_at(&revoked);
            if waiting.is_empty() {
                return revoked.0.iter().map(|(lane, _)| *lane).collect::<BTreeSet<_>>().len();
            }
            if time::timeout_at(until, changed).await.is_err() {
                reach!("attach.fenced");
                waiting.into_iter().for_each(|member| inner.end(member));
                task::yield_now().await;
            }
        }
    }

    /// What lanes between processes have counted so far, as both sides write it.
    pub fn lanes(&self) -> Vec<LaneSnapshot> {
        let statistics = self.inner.statistics.borrow();
        self.inner.broker.borrow().lanes().filter_map(|lane| statistics.of(lane)).collect()
    }

    /// What the node's own newest memory for long payloads stands on, as [`Attached::memory`] tells of others.
    pub fn memory(&self) -> Vec<Rung> {
        self.inner.broker.borrow().memory_of(NODE)
    }

    /// Who is attached now.
    pub fn attached(&self) -> Vec<Attached> {
        let (sessions, broker) = (self.inner.sessions.borrow(), self.inner.broker.borrow());
        let about = |(member, session): (&Member, &Rc<Session>)| Attached {
            agents: broker.agents_of(*member),
            memory: broker.memory_of(*member),
            ..session.about.clone()
        };
        sessions.iter().map(about).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.tasks.iter().for_each(|task| task.abort());
        let members: Vec<_> = self.inner.sessions.borrow().keys().copied().collect();
        for member in members {
            self.inner.end(member);
        }
        self.inner.uplink.go_down();
    }
}

impl Inner {
    /// What the node's own contexts ask.
    async fn serve_own(self: Rc<Self>) {
        loop {
            let (ask, handles) = self.uplink.next().await;
            if let Err(breach) = self.put(NODE, ask, handles) {
                reach!("attach.own_breach");
                event!("attach.own_breach", why = &breach.to_string());
            }
            self.dispatch();
        }
    }

    async fn admit(self: Rc<Self>, mut listener: Listener) {
        loop {
            match listener.accept().await {
                Ok(channel) => task::spawn(self.clone().attend(channel)).detach(),
                Err(error) => {
                    event!("attach.listener_failed", why = &error.to_string());
                    time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Cuts processes off that hold a subscriber up.
    async fn fence(self: Rc<Self>) {
        loop {
            let Some(since) = self.broker.borrow().behind_since() else {
                self.told.notified().await;
                continue;
            };
            let until = Mono::from_nanos(since) + self.config.fence;
            time::sleep_until(until).await;
            let late = self.broker.borrow().behind(since + 1);
            for member in late {
                reach!("attach.fenced");
                self.end(member);
            }
            // Who was cut off is no more in the broker's books once its session has ended.
            task::yield_now().await;
        }
    }

    /// Removes spools that are empty and that nobody has open, so that what ended leaves nothing behind.
    async fn sweep(self: Rc<Self>) {
        let Some(folder) = self.shared.spools() else { return };
        loop {
            match queue::list(&folder).await {
                Ok(names) => {
                    for name in names.iter().filter(|name| spool::is_one(name)) {
                        match queue::remove_idle(&folder.join(name)).await {
                            Ok(true) => {
                                reach!("attach.spool_removed");
                            }
                            Ok(false) => {}
                            Err(why) => {
                                event!("attach.spool_kept", why = &why.to_string());
                            }
                        }
                    }
                }
                Err(why) => {
                    event!("attach.spools_unseen", why = &why.to_string());
                }
            }
            time::sleep(SWEEP).await;
        }
    }

    fn end(&self, member: Member) {
        if let Some(session) = self.sessions.borrow().get(&member) {
            session.end.notify_one();
        }
    }

    /// A process from its connection to its end.
    async fn attend(self: Rc<Self>, channel: Channel) {
        let process = channel.peer();
        let (mut sender, mut receiver) = channel.split();
        let greeted = time::timeout(GREETING, receiver.recv()).await;
        let greeted = match greeted {
            Err(_) => Err(Ended::Silent),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(None)) => Err(Ended::Closed),
            Ok(Ok(Some((frame, _)))) => self.greet(&frame, process).await,
        };
        let (member, session) = match greeted {
            Ok(greeted) => greeted,
            Err(why) => {
                reach!("attach.rejected");
                event!("attach.rejected", pid = process.pid, why = &why.to_string());
                let said = Tell::Rejected { why: why.to_string() }.encode();
                if let Ok(frame) = said {
                    // It is told if it still listens.
                    let _ = sender.send(&frame, Vec::new()).await;
                }
                return;
            }
        };
        event!("attach.attached", name = &session.about.name, pid = process.pid);
        self.dispatch();
        if let Some(comebacks) = &self.comebacks {
            comebacks.keep(&session.secret).await;
            self.tell(member, Tell::Again { secret: session.secret.clone() }, Vec::new());
        }
        let why = tokio::select! {
            biased;
            () = session.end.notified() => Ended::Fenced,
            why = self.read(member, &mut receiver) => why,
            why = write(&session, &mut sender) => why,
        };
        self.sessions.borrow_mut().remove(&member);
        if let Some(comebacks) = &self.comebacks {
            match why {
                Ended::Fenced => comebacks.rest(&session.secret).await,
                _ => comebacks.forget(&session.secret).await,
            }
        }
        if !matches!(why, Ended::Closed) {
            reach!("attach.cut_off");
            loss!("fabric.attach", "a process was cut off");
        }
        session.taps.take().values().for_each(|pattern| tell_of_tap("closed", &session.about, pattern));
        event!("attach.ended", name = &session.about.name, pid = process.pid, why = &why.to_string());
        let names = self.broker.borrow_mut().leave(member);
        let broker = self.broker.borrow();
        self.statistics.borrow_mut().keep(|lane| broker.has_lane(lane));
        drop(broker);
        names.iter().for_each(|name| self.shared.remove_agent(name));
        self.dispatch();
    }

    /// Takes a process in that said a proper hello.
    async fn greet(&self, frame: &[u8], process: PeerProcess) -> Result<(Member, Rc<Session>), Ended> {
        let Ask::Hello { oldest, newest, member, name, token } = Ask::decode(frame)? else {
            return Err(Breach::Stranger.into());
        };
        let rejected = |why: &str| Err(Ended::Rejected(why.to_owned()));
        if !(oldest..=newest).contains(&VERSION) {
            return Err(Ended::Rejected(format!(
                "the node speaks version {VERSION} and the process {oldest} to {newest}: use the node's release of the client"
            )));
        }
        let shown = token.unwrap_or_default();
        let comes_back = match &self.comebacks {
            Some(comebacks) => comebacks.admits(&shown).await,
            None => false,
        };
        // Nothing is waited for from here on.
        if member == NODE || self.broker.borrow().has(member) {
            return rejected("its number is taken: attach again with another");
        }
        if self.config.tokens && !comes_back && !self.tokens.borrow_mut().remove(&shown) {
            return rejected("it showed no token that is good: each is good once, ask the node for another");
        }
        let secret = if comes_back { shown } else { secret() };
        let about = Attached { name, process, agents: Vec::new(), memory: Vec::new() };
        let session = Session {
            about,
            secret,
            taps: RefCell::default(),
            backlog: RefCell::default(),
            work: Notify::new(),
            end: Notify::new(),
        };
        let session = Rc::new(session);
        self.sessions.borrow_mut().insert(member, session.clone());
        self.broker.borrow_mut().join(member, process.uid == local::user());
        Ok((member, session))
    }

    /// Takes a process's questions until it ends.
    async fn read(&self, member: Member, receiver: &mut local::Receiver) -> Ended {
        loop {
            let (frame, handles) = match receiver.recv().await {
                Ok(Some(came)) => came,
                Ok(None) => return Ended::Closed,
                Err(error) => return error.into(),
            };
            if let Err(why) = self.take(member, &frame, handles) {
                return why;
            }
            self.dispatch();
        }
    }

    fn take(&self, member: Member, frame: &[u8], handles: Vec<Handle>) -> Result<(), Ended> {
        let ask = Ask::decode(frame)?;
        let wanted = ask.wants();
        if handles.len() != wanted.len() {
            return Err(Ended::Handles { found: handles.len(), wanted: wanted.len() });
        }
        for (handle, wanted) in handles.iter().zip(wanted) {
            match (wanted, &ask) {
                (Wanted::Region(_), Ask::Ready { lane }) => {
                    if let Some(len) = self.broker.borrow().receiver_len(*lane) {
                        memory::check(handle, len)?;
                    }
                }
                (Wanted::Region(len), _) => memory::check(handle, len)?,
                // Whoever is to ring it finds out whether it is one.
                (Wanted::Bell, _) => {}
            }
        }
        if let Ask::Agent { ask, name, context } = &ask
            && let Err(error) = self.shared.add_agent(&name.as_str().into(), *context)
        {
            self.tell(member, Tell::Refused { ask: *ask, why: error.to_string() }, Vec::new());
            return Ok(());
        }
        if let Err(why) = self.heed_taps(member, &ask) {
            if let Ask::Subscribe { ask, .. } = ask {
                self.tell(member, Tell::Refused { ask, why }, Vec::new());
            }
            return Ok(());
        }
        let gone = match &ask {
            Ask::AgentGone { name } => Some(name.clone()),
            _ => None,
        };
        self.put(member, ask, handles)?;
        if let Some(name) = gone {
            self.shared.remove_agent_of(&name, |at| super::control::member_of_context(at) == member);
        }
        Ok(())
    }

    /// Takes note of taps that a process opens and closes; those that the policy does not open are refused.
    fn heed_taps(&self, member: Member, ask: &Ask) -> Result<(), String> {
        let Some(session) = self.sessions.borrow().get(&member).cloned() else { return Ok(()) };
        match ask {
            Ask::Subscribe { sub, .. } => {
                for want in sub.wants.iter().filter(|want| want.takes.tap) {
                    let wanted = Pattern::new(&want.pattern).map_err(|error| error.to_string())?;
                    if !self.config.taps.iter().any(|open| open.covers(&wanted)) {
                        reach!("attach.tap_refused");
                        tell_of_tap("refused", &session.about, &want.pattern);
                        return Err(format!(
                            "`{wanted}` may not be tapped: `tap` in the node's `[attach]` names no pattern that covers it"
                        ));
                    }
                    tell_of_tap("opened", &session.about, &want.pattern);
                    session.taps.borrow_mut().insert(sub.id, want.pattern.clone());
                }
            }
            Ask::Unsubscribe { sub } => {
                if let Some(pattern) = session.taps.borrow_mut().remove(sub) {
                    tell_of_tap("closed", &session.about, &pattern);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Puts a question to the broker.
    fn put(&self, member: Member, ask: Ask, handles: Vec<Handle>) -> Result<(), Ended> {
        let mut broker = self.broker.borrow_mut();
        let mut statistics = self.statistics.borrow_mut();
        statistics.see(&ask, &handles)?;
        let ends = matches!(ask, Ask::Close { .. } | Ask::ContextGone { .. });
        let handles = handles.into_iter().map(Rc::new).collect();
        broker.ask(member, ask, handles, time::now().as_nanos())?;
        if ends {
            statistics.keep(|lane| broker.has_lane(lane));
        }
        Ok(())
    }

    /// Tells everybody what the broker decided.
    fn dispatch(&self) {
        loop {
            let out = self.broker.borrow_mut().take();
            if out.is_empty() {
                self.told.notify_one();
                self.changed.notify_waiters();
                return;
            }
            for out in out {
                self.tell(out.to, out.tell, out.handles);
            }
        }
    }

    fn tell(&self, to: Member, tell: Tell, handles: Vec<Rc<Handle>>) {
        if to == NODE {
            if let Ok(handles) = owned(handles) {
                replica::apply(&self.shared, &self.uplink, tell, handles);
            }
            return;
        }
        if let Some(session) = self.sessions.borrow().get(&to) {
            let mut backlog = session.backlog.borrow_mut();
            backlog.push_back((tell, handles));
            if backlog.len() > BACKLOG {
                reach!("attach.does_not_read");
                session.end.notify_one();
            }
            session.work.notify_one();
        }
    }
}

/// What nobody can guess.
fn secret() -> String {
    let mut bytes = [0; 16];
    random::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Says that a tap was opened, closed or refused, and whose.
fn tell_of_tap(what: &'static str, who: &Attached, pattern: &str) {
    let Attached { name, process, .. } = who;
    event!("attach.tap", what = what, pattern = pattern, name = name, pid = process.pid, uid = process.uid);
}

/// Handles to be given away; only those that others keep are copied.
fn owned(handles: Vec<Rc<Handle>>) -> Result<Vec<Handle>, MemoryError> {
    handles.into_iter().map(|handle| Rc::try_unwrap(handle).or_else(|kept| kept.try_clone())).collect()
}

/// Tells a process what waits for it.
async fn write(session: &Session, sender: &mut local::Sender) -> Ended {
    loop {
        let next = session.backlog.borrow_mut().pop_front();
        let Some((tell, handles)) = next else {
            session.work.notified().await;
            continue;
        };
        let sent = async { Ok(sender.send(&tell.encode()?, owned(handles)?).await?) };
        if let Err(why) = sent.await {
            return why;
        }
    }
}
