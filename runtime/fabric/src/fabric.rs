//! The handles to a node's fabric and to one context of it, and what they show of themselves.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use synod_platform::{time, watch};

use crate::agent::{Agent, names};
use crate::attach::control::{Member, NODE};
use crate::config::FabricConfig;
use crate::context::Inner;
use crate::edge::Counts;
use crate::error::AttachError;
use crate::intake::Intake;
use crate::registry::{Doorbell, Shared};
use crate::route::Route;
use crate::subject::Subject;

/// How often one who waits for a flush looks.
const FLUSH_LOOK: Duration = Duration::from_millis(1);

/// One node's fabric. Cheap to clone; any thread may hold it.
#[derive(Clone, Debug)]
pub struct Fabric(Arc<Shared>);

impl Fabric {
    /// A fabric without contexts, agents or links.
    pub fn new(config: FabricConfig) -> Self {
        Self::of_member(config, NODE)
    }

    /// The same, for a process of that number.
    pub(crate) fn of_member(config: FabricConfig, member: Member) -> Self {
        Self(Arc::new(Shared::new(config, member)))
    }

    /// The node's name.
    pub fn node(&self) -> &str {
        &self.0.config.node
    }

    /// Binds the current executor thread under a name that is unique in this fabric, and starts the task that drains its lanes.
    /// To be called on the executor; the context ends when the last handle to it is dropped.
    pub fn enter(&self, name: &str) -> Result<Context, AttachError> {
        let bytes = self.0.config.lane_bytes;
        if u32::try_from(bytes).is_err() || !self.0.config.shape().is_good() {
            return Err(AttachError::Lane { bytes });
        }
        let doorbell = Arc::new(Doorbell::default());
        let (intake, page) = Intake::new(doorbell.clone())?;
        let station = self.0.add_station(name, doorbell, intake.port(), page)?;
        Ok(Context { inner: Inner::start(self.0.clone(), station, intake), fabric: self.clone() })
    }

    /// Takes nothing new: every subscription disappears from the routes, and its `recv` answers `None` once its queue is empty. What
    /// was accepted before is still delivered. There is no way back.
    pub fn drain(&self) {
        self.0.drain();
    }

    /// A way to wait for the next change of who subscribes to what, here or at a linked node.
    pub fn changes(&self) -> Changes {
        Changes(self.0.changes())
    }

    /// What there is and what it counted: consistent for each edge, not across edges.
    pub fn snapshot(&self) -> Snapshot {
        let registry = self.0.registry();
        let contexts = registry
            .stations
            .values()
            .map(|station| ContextSnapshot {
                name: station.name.to_string(),
                agents: names(&registry.agents, station.id).into_iter().collect(),
            })
            .collect();
        let subscriptions = registry
            .subscriptions
            .values()
            .flat_map(|listed| {
                listed.patterns.iter().map(|(pattern, takes)| SubscriptionSnapshot {
                    owner: listed.entry.owner.to_string(),
                    context: listed.entry.station.name.to_string(),
                    pattern: pattern.to_string(),
                    events: takes.events,
                    requests: takes.requests,
                    capacity: listed.entry.capacity,
                })
            })
            .collect();
        let living: Vec<_> = registry.edges.iter().filter_map(|edge| edge.upgrade()).collect();
        drop(registry);
        let edges: Vec<_> = living
            .iter()
            .map(|edge| EdgeSnapshot {
                from: edge.from.name.to_string(),
                to: edge.to.owner.to_string(),
                counts: edge.counts(),
            })
            .collect();
        let ended = self.0.retired();
        Snapshot { node: self.node().to_owned(), contexts, subscriptions, edges, ended }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

/// Tells of changes of who subscribes to what; from [`Fabric::changes`].
#[derive(Debug)]
pub struct Changes(watch::Receiver<u64>);

impl Changes {
    /// Waits for a change since the last call, or since this was made. Several changes may count as one.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // The fabric is gone: nothing will ever change.
            std::future::pending().await
        }
    }
}

/// One executor thread's part in the fabric. Cheap to clone; stays on its thread.
#[derive(Clone)]
pub struct Context {
    fabric: Fabric,
    inner: Rc<Inner>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Context {
    /// The same as [`Self::agent`], once the node agrees: for a process that has [attached](crate::attach).
    pub async fn join(&self, name: &str) -> Result<Agent, AttachError> {
        let agent = Agent::new(self, name)?;
        agent.announce().await?;
        Ok(agent)
    }

    /// Makes an agent. Its name is one token or more, unique in the node as long as any handle to it lives.
    pub fn agent(&self, name: &str) -> Result<Agent, AttachError> {
        Agent::new(self, name)
    }

    /// Waits up to `within` until all that was accepted here is on its lane: who leaves then takes nothing of it along. False if it is not.
    pub async fn flush(&self, within: Duration) -> bool {
        let until = time::now() + within;
        while !self.inner.is_flushed() {
            if time::now() >= until {
                return false;
            }
            time::sleep(FLUSH_LOOK).await;
        }
        true
    }

    /// The fabric.
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.station.name
    }

    pub(crate) fn inner(&self) -> &Rc<Inner> {
        &self.inner
    }
}

impl Inner {
    /// The one route from a source to a subject, shared by all who use it.
    pub(crate) fn route(&self, source: &Arc<str>, subject: &Subject, local_only: bool) -> Rc<Route> {
        let key = (source.clone(), subject.clone(), local_only);
        let mut routes = self.routes.borrow_mut();
        if let Some(route) = routes.get(&key).and_then(|weak| weak.upgrade()) {
            return route;
        }
        let route = Rc::new(Route::new(source.clone(), subject.clone(), local_only));
        routes.insert(key, Rc::downgrade(&route));
        route
    }
}

/// What a fabric looked like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The node's name.
    pub node: String,
    /// Every context, by age.
    pub contexts: Vec<ContextSnapshot>,
    /// Every subscription, one entry for each of its patterns, by age.
    pub subscriptions: Vec<SubscriptionSnapshot>,
    /// Every pair of sending context and subscription that was used and may still be.
    pub edges: Vec<EdgeSnapshot>,
    /// The sum over all pairs that are no more.
    pub ended: Counts,
}

impl Snapshot {
    /// The sum over everything, past and present.
    pub fn totals(&self) -> Counts {
        let mut totals = self.ended;
        self.edges.iter().for_each(|edge| totals.add(edge.counts));
        totals
    }
}

/// One context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextSnapshot {
    /// Its name.
    pub name: String,
    /// The names of its agents.
    pub agents: Vec<String>,
}

/// One pattern of one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionSnapshot {
    /// The agent's name, or `node:` and a peer's.
    pub owner: String,
    /// The context it lives in.
    pub context: String,
    /// What it subscribes to.
    pub pattern: String,
    /// Whether it takes what is published.
    pub events: bool,
    /// Whether it takes requests.
    pub requests: bool,
    /// Places for each priority and sending context.
    pub capacity: usize,
}

/// One sending context and one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeSnapshot {
    /// The sending context.
    pub from: String,
    /// The receiving agent, or `node:` and a peer's name.
    pub to: String,
    /// What it counted.
    pub counts: Counts,
}
