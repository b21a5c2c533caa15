//! A node put together: a fabric, contexts as executor threads, agents on board under supervision, links to peers.
//!
//! [`Node::start`] returns when every agent can be sent tasks and the listener is bound. [`Node::drain`] lets running work
//! finish within its time; [`Node::stop`] does not wait. Everything goes through the platform, so a node runs in the simulator as
//! it does in production.

use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use synod_agents::external::External;
use synod_agents::{Phase, Post, PostError, Role};
use synod_edge::pulse;
use synod_fabric::attach::{Host, HostConfig, HostError};
use synod_fabric::link::{LinkError, Links};
use synod_fabric::{AttachError, Context, Fabric, FabricConfig};
use synod_platform::net::Address;
use synod_platform::task::{self, ContextHandle, JoinError, JoinHandle, StartError};
use synod_platform::time;
use synod_platform::topology::{PlaceError, Seat, Topology, TopologyError};
use synod_platform::watch;
use synod_probe::{event, reach};
use tokio::sync::{mpsc, oneshot};

use crate::attach::Desk;
use crate::config::{Affinity, NodeConfig, PostConfig};
use crate::placement;
use crate::supervise::{Intensity, Notice, Roster, Supervisor};

/// Notices that wait to be read.
const NOTICES: usize = 256;
/// How long contexts that were told to stop may take to let go.
const LET_GO: Duration = Duration::from_secs(5);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartNodeError {
    /// A context could not be started.
    #[error(transparent)]
    Context(#[from] StartError),
    /// A context could not enter the fabric.
    #[error("a context cannot enter the fabric: {0}")]
    Enter(#[from] AttachError),
    /// An agent could not take its place.
    #[error(transparent)]
    Agent(#[from] PostError),
    /// A context ended before it was ready.
    #[error("context `{0}` ended before it was ready")]
    Vanished(String),
    /// Contexts are to be pinned, but to what is not known.
    #[error("contexts cannot be pinned: {0}; say `pin = false`")]
    Topology(#[from] TopologyError),
    /// A context is pinned to what it cannot have.
    #[error("contexts cannot be placed: {0}; see [placement] of the configuration")]
    Place(#[from] PlaceError),
    /// The links could not be set up.
    #[error("the links cannot be set up: {0}")]
    Links(#[from] LinkError),
    /// No process can attach.
    #[error("processes cannot attach: {0}; name another place (attach.socket), or say `attach.on = false`")]
    Host(#[from] HostError),
}

/// Which agent runs in which context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The agent.
    pub agent: Role,
    /// The context's name.
    pub context: String,
}

/// How a drain ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drained {
    /// All running work was finished.
    Clean,
    /// The time was over, or nobody wanted to wait: what still ran was given up.
    Cut,
    /// A context crashed.
    Crashed(String),
}

/// A running node. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Node {
    fabric: Fabric,
    home: Context,
    placements: Vec<Placement>,
    seats: Vec<Seat>,
    phase: watch::Sender<Phase>,
    contexts: Vec<ContextHandle<()>>,
    links: Option<Links>,
    roster: Roster,
    teller: Option<Teller>,
    desk: Option<Desk>,
    notices: mpsc::Receiver<Notice>,
}

/// The subject on which a node tells how its agents stand: an array of [`Standing`](crate::Standing)s in JSON.
pub fn standing_subject(node: &str) -> String {
    format!("agents.standing.{node}")
}

/// Answers who asks how the agents stand, for as long as it is kept.
#[derive(Debug)]
struct Teller(JoinHandle<()>);

impl Teller {
    async fn start(home: &Context, node: &str, roster: Roster) -> Result<Self, AttachError> {
        let mut asked = home.agent("roster")?.serve(&standing_subject(node), 16).await?;
        Ok(Teller(task::spawn(async move {
            while let Some(message) = asked.recv().await {
                // Who no longer waits needs no answer.
                let _ = match serde_json::to_vec(&roster.list()) {
                    Ok(text) => message.reply(text),
                    Err(error) => message.fail(&error.to_string()),
                };
            }
        })))
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Node {
    /// Starts a node. The caller's executor becomes its context `home`, which carries the links.
    pub async fn start(config: NodeConfig) -> Result<Self, StartNodeError> {
        event!("node.starting", node = config.name.as_str());
        let payload_memory = config.attach.payload_memory;
        let fabric = Fabric::new(FabricConfig { payload_memory, ..FabricConfig::named(&config.name) });
        let home = fabric.enter("home")?;
        let (phase, _) = watch::channel(Phase::Serve);
        let (notices, told) = mpsc::channel(NOTICES);
        let mut node = Node {
            fabric: fabric.clone(),
            home,
            placements: placements(&config),
            seats: seats(&config)?,
            phase,
            contexts: Vec::new(),
            links: None,
            roster: Roster::default(),
            teller: None,
            desk: None,
            notices: told,
        };
        let names: Vec<String> =
            placement::contexts(&node.placements).into_iter().map(str::to_owned).collect();
        let mut waiting = Vec::new();
        for name in names {
            let core = node.seats.iter().find(|seat| seat.name == name).and_then(|seat| seat.processor);
            let of = node.placements.iter().filter(|placement| placement.context == name);
            let posts = of
                .map(|placement| {
                    let role = placement.agent;
                    (role, config.posts.get(&role).cloned().unwrap_or_default())
                })
                .collect();
            let (ready, is_ready) = oneshot::channel();
            let work = Work {
                fabric: fabric.clone(),
                name: name.clone(),
                posts,
                restarts: config.restarts,
                phase: node.phase.subscribe(),
                roster: node.roster.clone(),
                notices: notices.clone(),
            };
            node.contexts.push(task::Context::start(&name, core, move || work.run(ready))?);
            waiting.push((name, is_ready));
        }
        for (name, is_ready) in waiting {
            is_ready.await.map_err(|_| StartNodeError::Vanished(name))??;
        }
        node.teller = Some(Teller::start(&node.home, &config.name, node.roster.clone()).await?);
        if let Some(links) = config.links {
            node.links = Some(Links::start(&node.home, links).await?);
        }
        event!("node.ready", node = config.name.as_str(), agents = node.placements.len());
        Ok(node)
    }

    /// Admits processes of this machine from now on, until the node ends.
    pub async fn admit(&mut self, config: HostConfig) -> Result<(), StartNodeError> {
        let host = Host::start(&self.home, config).await?;
        self.desk = Some(Desk::open(&self.home, host).await?);
        Ok(())
    }

    /// Where processes attach, if they may.
    pub fn host(&self) -> Option<&Host> {
        self.desk.as_ref().map(|desk| &*desk.host)
    }

    /// The node's fabric, to enter further contexts or look at it.
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// The context of the executor that started the node.
    pub fn context(&self) -> &Context {
        &self.home
    }

    /// Which agent runs where.
    pub fn placements(&self) -> &[Placement] {
        &self.placements
    }

    /// Where the contexts that were given a place are on the machine's processors, and why there.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// How the agents stand, to be looked at for as long as anyone likes.
    pub fn roster(&self) -> Roster {
        self.roster.clone()
    }

    /// The links to other nodes, if any are configured.
    pub fn links(&self) -> Option<&Links> {
        self.links.as_ref()
    }

    /// Where the node listens for others, with the port that the system chose.
    pub fn address(&self) -> Option<&Address> {
        self.links.as_ref().and_then(Links::address)
    }

    /// The next thing that supervision has to tell; `None` when the node's contexts have ended.
    pub async fn notice(&mut self) -> Option<Notice> {
        self.notices.recv().await
    }

    /// Takes no new task, waits up to `within` for running work to finish, then stops the rest.
    pub async fn drain(self, within: Duration) -> Drained {
        event!("node.draining", node = self.fabric.node());
        self.end(Phase::Drain, within).await
    }

    /// Stops at once: running work is given up and its requesters are told.
    pub async fn stop(self) -> Drained {
        event!("node.stopping", node = self.fabric.node());
        self.end(Phase::Stop, Duration::ZERO).await
    }

    async fn end(mut self, phase: Phase, within: Duration) -> Drained {
        // A context that has ended already does not hear it, and need not.
        self.phase.send_replace(phase);
        let contexts = std::mem::take(&mut self.contexts);
        let mut ends = Box::pin(join_all(contexts.into_iter().map(ContextHandle::join)));
        let mut cut = phase == Phase::Stop;
        let mut ended = if cut { None } else { time::timeout(within, &mut ends).await.ok() };
        if ended.is_none() {
            cut = true;
            reach!("node.drain-cut");
            self.phase.send_replace(Phase::Stop);
            ended = time::timeout(LET_GO, &mut ends).await.ok();
        }
        self.teller = None;
        self.desk = None;
        if let Some(links) = self.links.take() {
            links.stop().await;
        }
        event!("node.stopped", node = self.fabric.node());
        let crash = ended.iter().flatten().find_map(|end| match end {
            Err(JoinError::Panicked(text)) => Some(text.clone()),
            _ => None,
        });
        match crash {
            Some(text) => Drained::Crashed(text),
            None if cut => Drained::Cut,
            None => Drained::Clean,
        }
    }
}

/// A place for each context that shall have one. The machine is looked at only then.
fn seats(config: &NodeConfig) -> Result<Vec<Seat>, StartNodeError> {
    if !config.pin && config.placement.processors.is_empty() {
        return Ok(Vec::new());
    }
    let seats = placement::plan(config, &Topology::detect()?)?;
    for seat in &seats {
        let processor = seat.processor.map_or("any".to_owned(), |processor| processor.to_string());
        event!("node.placed", context = &seat.name, processor = &processor, reason = &seat.reason);
    }
    Ok(seats)
}

/// Which agent goes where: as its configuration asks, else by turns into the contexts `work-0`, `work-1` and so on.
pub fn placements(config: &NodeConfig) -> Vec<Placement> {
    let spread = |role: &Role| config.posts.get(role).is_none_or(|post| post.affinity == Affinity::Spread);
    let count = config.contexts.clamp(1, config.agents.iter().filter(|role| spread(role)).count().max(1));
    let mut turn = (0..count).cycle();
    let place = |agent: &Role| {
        let context = match config.posts.get(agent).map(|post| &post.affinity) {
            Some(Affinity::Named(name)) => name.clone(),
            Some(Affinity::Own) => agent.name().to_owned(),
            Some(Affinity::Spread) | None => format!("work-{}", turn.next().unwrap_or_default()),
        };
        Placement { agent: *agent, context }
    };
    config.agents.iter().map(place).collect()
}

/// What one context does: carries its agents until the phase ends them.
struct Work {
    fabric: Fabric,
    name: String,
    posts: Vec<(Role, PostConfig)>,
    restarts: Intensity,
    phase: watch::Receiver<Phase>,
    roster: Roster,
    notices: mpsc::Sender<Notice>,
}

impl Work {
    async fn run(self, ready: oneshot::Sender<Result<(), StartNodeError>>) {
        let context = match self.fabric.enter(&self.name) {
            Ok(context) => context,
            Err(error) => return drop(ready.send(Err(error.into()))),
        };
        if let Err(error) = pulse::beat(&context).await {
            return drop(ready.send(Err(error.into())));
        }
        let mut posts = Vec::new();
        for (role, config) in &self.posts {
            match self.open(&context, *role, config).await {
                Ok(post) => posts.push((*role, config, post)),
                Err(error) => return drop(ready.send(Err(error.into()))),
            }
        }
        if ready.send(Ok(())).is_err() {
            return;
        }
        join_all(posts.into_iter().map(|(role, config, post)| self.keep(role, config, post))).await;
    }

    async fn open(&self, context: &Context, role: Role, config: &PostConfig) -> Result<Post, PostError> {
        let post = match config.program.clone() {
            None => Post::open(context, role).await?,
            Some(program) => {
                let make = move || -> Rc<dyn synod_agents::Agent> {
                    Rc::new(External::new(role.name(), program.clone()))
                };
                Post::open_agent(context, role.name(), Rc::new(make)).await?
            }
        };
        let program = config.program.as_ref().map(|program| program.exec.join(" "));
        self.roster.add(role.name(), &self.name, program, post.counts());
        Ok(post)
    }

    /// Keeps an agent alive; when that is given up, its requesters hear why.
    async fn keep(&self, role: Role, config: &PostConfig, mut post: Post) {
        let supervisor = Supervisor {
            agent: role.name(),
            intensity: Intensity { max: config.restarts.unwrap_or(self.restarts.max), ..self.restarts },
            notices: &self.notices,
            roster: &self.roster,
        };
        if let Err(last) = supervisor.run(async || post.live(self.phase.clone()).await).await {
            post.mourn(&last, self.phase.clone()).await;
        }
    }
}
