//! Nodes of a simulated world: started, killed, restarted, paused and resumed from outside.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use madsim::runtime::Handle;
use synod_probe::event;
use synod_sim_model::clock::Clock;

use super::clock;
use super::world::{try_world, world};
use crate::task::{self, JoinError};

/// A node of the run. Zero is the world outside of all nodes, where the engine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The world outside of all nodes.
    pub const OUTSIDE: Self = Self(0);

    /// The number: 0 outside, then 1, 2, 3 in order of creation.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One life of a node: from a start to the end that follows it. What an older incarnation still does counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation {
    /// Whose life.
    pub node: NodeId,
    /// The node's first start is 1; outside of nodes it is 0.
    pub number: u32,
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node, self.number)
    }
}

/// How a life ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The root future was done.
    Finished,
    /// The root future panicked, with this message.
    Panicked(String),
    /// Killed from outside.
    Killed,
}

/// What a node does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It runs.
    Running,
    /// It lives, and none of its tasks runs.
    Paused,
    /// It ended so, and was not restarted.
    Down(Exit),
}

type Init = dyn Fn() -> Pin<Box<dyn Future<Output = ()>>>;

pub(super) struct NodeState {
    name: Rc<str>,
    address: IpAddr,
    number: u32,
    /// Every incarnation is a node of its own to the simulator below, so that a task always knows whose life it is.
    below: madsim::task::NodeId,
    status: Status,
    init: Rc<Init>,
    pub(super) clock: Clock,
    slowness: f64,
    waiters: Vec<Waker>,
}

/// Runs `body` on a node's state. Panics on a node that is not of this run.
pub(super) fn with<T>(id: NodeId, body: impl FnOnce(&mut NodeState) -> T) -> T {
    let world = world();
    let mut nodes = world.nodes.borrow_mut();
    match nodes.get_mut(&id) {
        Some(node) => body(node),
        None => panic!("no node {id} in this run"),
    }
}

/// The life in which the calling code runs, also from a destructor during a crash.
pub fn current() -> Incarnation {
    const OUTSIDE: Incarnation = Incarnation { node: NodeId::OUTSIDE, number: 0 };
    if Handle::try_current().is_err() {
        return OUTSIDE;
    }
    let below = madsim::plugin::node();
    let found = world().incarnations.borrow().get(&below).copied();
    found.unwrap_or(OUTSIDE)
}

/// The node in which the calling code runs; [`NodeId::OUTSIDE`] for the engine's.
pub fn current_node() -> NodeId {
    current().node
}

/// Whether this life is its node's present one and has not ended. The outside always lives.
pub fn is_alive(incarnation: Incarnation) -> bool {
    if incarnation.node == NodeId::OUTSIDE {
        return true;
    }
    // A destructor may ask when the run is over already.
    let Some(world) = try_world() else { return false };
    let nodes = world.nodes.borrow();
    nodes
        .get(&incarnation.node)
        .is_some_and(|node| node.number == incarnation.number && !matches!(node.status, Status::Down(_)))
}

/// Calls `hook` at every end of a life (crash, panic, kill, root done), after it counts as ended and before its futures are dropped.
/// Hooks run in the order in which they were added. They must not kill or restart nodes.
pub fn on_crash(hook: impl Fn(Incarnation) + 'static) {
    world().hooks.borrow_mut().push(Rc::new(hook));
}

/// All nodes of the run, in order of creation.
pub fn nodes() -> Vec<Node> {
    world().nodes.borrow().keys().map(|id| Node(*id)).collect()
}

/// `duration` times the slowness of the running node.
pub(crate) fn slowed(duration: Duration) -> Duration {
    let world = world();
    let nodes = world.nodes.borrow();
    match nodes.get(&current_node()) {
        Some(node) => duration.mul_f64(node.slowness),
        None => duration,
    }
}

/// A node of the run, as its engine holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(pub(super) NodeId);

impl Node {
    /// Adds a node and starts it: `init` makes its root future, now and at every restart. Panics when the name or the address
    /// is taken.
    pub fn create<F, Fut>(name: impl Into<String>, address: IpAddr, init: F) -> Self
    where
        F: Fn() -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let name: Rc<str> = name.into().into();
        let world = world();
        let id = {
            let mut nodes = world.nodes.borrow_mut();
            for node in nodes.values() {
                assert!(node.name != name, "the node name `{name}` is taken");
                assert!(
                    node.address != address,
                    "`{name}`: the address {address} is taken by `{}`",
                    node.name
                );
            }
            let id = NodeId(nodes.len() as u32 + 1);
            let init: Rc<Init> = Rc::new(move || Box::pin(init()));
            let state = NodeState {
                name,
                address,
                number: 0,
                below: madsim::plugin::node(),
                status: Status::Down(Exit::Killed),
                init,
                clock: clock::honest(),
                slowness: 1.0,
                waiters: Vec::new(),
            };
            nodes.insert(id, state);
            id
        };
        let node = Self(id);
        node.start();
        node
    }

    /// The node of that name.
    pub fn find(name: &str) -> Option<Self> {
        let world = world();
        let nodes = world.nodes.borrow();
        nodes.iter().find(|(_, node)| &*node.name == name).map(|(id, _)| Self(*id))
    }

    /// The node in whose task this is called; `None` outside of nodes.
    pub fn current() -> Option<Self> {
        let id = current_node();
        (id != NodeId::OUTSIDE).then_some(Self(id))
    }

    /// Its number.
    pub fn id(self) -> NodeId {
        self.0
    }

    /// Its name.
    pub fn name(self) -> String {
        with(self.0, |node| node.name.to_string())
    }

    /// Its network address.
    pub fn address(self) -> IpAddr {
        with(self.0, |node| node.address)
    }

    /// Its present or last life.
    pub fn incarnation(self) -> Incarnation {
        Incarnation { node: self.0, number: with(self.0, |node| node.number) }
    }

    /// What it does now.
    pub fn status(self) -> Status {
        with(self.0, |node| node.status.clone())
    }

    /// Whether it lives (also paused).
    pub fn is_up(self) -> bool {
        !matches!(self.status(), Status::Down(_))
    }

    fn start(self) {
        let id = self.0;
        let name = with(id, |node| {
            node.number += 1;
            node.status = Status::Running;
            node.name.clone()
        });
        let life = self.incarnation();
        event!("node.start", node = &*name, incarnation = life.number);
        // The simulator wants a factory that could cross threads; this one finds the real one in this thread's world.
        let below = Handle::current()
            .create_node()
            .name(format!("{name}.{}", life.number))
            .init(move || async move {
                let init = with(life.node, |node| node.init.clone());
                let exit = match task::root(move || init()).await {
                    Ok(()) => Exit::Finished,
                    Err(JoinError::Panicked(message)) => Exit::Panicked(message),
                    Err(JoinError::Cancelled) => Exit::Killed,
                };
                end(life, exit);
            })
            .build()
            .id();
        with(id, |node| node.below = below);
        world().incarnations.borrow_mut().insert(below, life);
    }

    /// Kills it, as by loss of power to its process: its life counts as ended at once, and its futures are dropped when they are next
    /// scheduled. Does nothing to a node that is down.
    pub fn kill(self) {
        if !self.is_up() {
            return;
        }
        let life = self.incarnation();
        let (below, paused) = with(self.0, |node| (node.below, node.status == Status::Paused));
        end(life, Exit::Killed);
        if paused {
            // Futures of a paused node would be dropped here and now, as if they were the engine's own.
            Handle::current().resume(below);
        }
        Handle::current().kill(below);
    }

    /// Starts it again as a new incarnation, killing it first if it is up.
    pub fn restart(self) {
        self.kill();
        self.start();
    }

    /// Stops scheduling its tasks; time goes on for everyone.
    pub fn pause(self) {
        let paused = with(self.0, |node| {
            let running = node.status == Status::Running;
            if running {
                node.status = Status::Paused;
            }
            running.then(|| (node.below, node.name.clone()))
        });
        if let Some((below, name)) = paused {
            event!("node.pause", node = &*name);
            Handle::current().pause(below);
        }
    }

    /// Lets a paused node run on.
    pub fn resume(self) {
        let resumed = with(self.0, |node| {
            let paused = node.status == Status::Paused;
            if paused {
                node.status = Status::Running;
            }
            paused.then(|| (node.below, node.name.clone()))
        });
        if let Some((below, name)) = resumed {
            event!("node.resume", node = &*name);
            Handle::current().resume(below);
        }
    }

    /// Multiplies the declared service times of its handlers: 1.0 is healthy, 10.0 a core ten times slower.
    pub fn set_slowness(self, factor: f64) {
        assert!(factor.is_finite() && factor >= 0.0, "a slowness of {factor} has no meaning");
        with(self.0, |node| node.slowness = factor);
    }

    /// Steps its wall clock by `nanos`, forward or backward. The monotonic clock does not move.
    pub fn step_clock(self, nanos: i64) {
        clock::step(self.0, nanos);
    }

    /// Lets both its clocks run fast (positive) or slow (negative) by parts per billion from now on; at most by a half.
    pub fn set_drift(self, parts_per_billion: i64) {
        clock::set_drift(self.0, parts_per_billion);
    }

    /// Waits until it is down, and tells how its life ended.
    pub async fn exited(self) -> Exit {
        poll_fn(|cx| {
            with(self.0, |node| match &node.status {
                Status::Down(exit) => Poll::Ready(exit.clone()),
                Status::Running | Status::Paused => {
                    node.waiters.push(cx.waker().clone());
                    Poll::Pending
                }
            })
        })
        .await
    }
}

/// Ends a life: it counts as ended, then the simulated arms are told. Does nothing for a life that is over.
fn end(life: Incarnation, exit: Exit) {
    if !is_alive(life) {
        return;
    }
    let how = match &exit {
        Exit::Finished => "finished",
        Exit::Panicked(_) => "panicked",
        Exit::Killed => "killed",
    };
    let (name, waiters) = with(life.node, |node| {
        node.status = Status::Down(exit);
        (node.name.clone(), std::mem::take(&mut node.waiters))
    });
    event!("node.end", node = &*name, incarnation = life.number, how = how);
    let hooks = world().hooks.borrow().clone();
    for hook in hooks {
        hook(life);
    }
    for waiter in waiters {
        waiter.wake();
    }
}
