//! The fleet's life: nodes are started, work and faults run, everything is healed, and in the end all is taken down.

use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use synod_fabric::link::{LinkConfig, Peer};
use synod_node::NodeConfig;
use synod_platform::net::{Address, Credentials};
use synod_platform::simulation::{self, Exit, Node, Status, clock};
use synod_platform::{net, task, time};
use synod_probe::event;

use super::faults;
use super::shared::Shared;
use super::swarm;
use super::work::{self, Role};
use crate::history::{NodeNumber, What};
use crate::scenario::form::WorkloadKind;

/// The port every node listens on.
const PORT: u16 = 7400;

/// How long nodes get to link up before work begins.
pub const WARM_UP: Duration = Duration::from_millis(500);

/// The world's own future.
pub async fn live(shared: Arc<Shared>) {
    quiet_planned_panics();
    shared.start_recording();
    let watcher = shared.clone();
    simulation::on_crash(move |life| note_end(&watcher, life.node.number()));

    let scenario = shared.scenario.clone();
    net::control::set_default(faults::links(&scenario.network));
    for number in 1..=u32::from(scenario.cluster.nodes) {
        shared.note_for(number, What::NodeStarted);
        let body = shared.clone();
        let node = Node::create(name(number), ip(number), move || live_node(body.clone(), number));
        faults::set_disk(node, &scenario.disk);
    }

    let mut running = Vec::new();
    for fault in scenario.fault.iter().cloned().chain(swarm::draw(&scenario)) {
        running.push(task::spawn(faults::run(shared.clone(), fault)));
    }
    if let Some(heal) = &scenario.heal {
        until(heal.at.get()).await;
        for fault in running.drain(..) {
            fault.abort();
        }
        faults::heal(&shared);
    }
    until(scenario.cluster.limit.get()).await;
    event!("engine.end");
    shared.note_end();
    // What follows is teardown: how a node is dropped is not part of the story.
    shared.stop_recording();
    for fault in running {
        fault.abort();
    }
    for node in simulation::nodes() {
        node.kill();
    }
    time::sleep(Duration::from_millis(5)).await;
}

/// Waits until this virtual time of the run.
pub async fn until(at: Duration) {
    time::sleep(at.saturating_sub(clock::elapsed())).await;
}

/// Starts a node again, if it is down.
pub fn start_again(shared: &Shared, node: Node) {
    if !node.is_up() {
        shared.note_for(node.id().number(), What::NodeStarted);
        node.restart();
    }
}

fn note_end(shared: &Shared, number: NodeNumber) {
    let ordered = {
        let mut switches = shared.switches();
        switches.busy.remove(&number);
        switches.ending.remove(&number)
    };
    let status = simulation::nodes().into_iter().find(|node| node.id().number() == number).map(Node::status);
    let panic = match status {
        Some(Status::Down(Exit::Panicked(message))) => Some(message),
        _ => None,
    };
    let declared = ordered.is_some() && panic.is_none();
    shared.note_for(number, What::NodeEnded { declared, panic, wiped: ordered == Some(true) });
}

fn name(number: NodeNumber) -> String {
    format!("n{number}")
}

fn ip(number: NodeNumber) -> IpAddr {
    // A fleet has at most 16 nodes.
    Ipv4Addr::new(10, 0, 0, number as u8).into()
}

/// A node's root: its fabric, its links, its agents, until it is killed.
async fn live_node(shared: Arc<Shared>, number: NodeNumber) {
    let cluster = &shared.scenario.cluster;
    let credentials = match Credentials::simulated(&name(number), "fleet") {
        Ok(credentials) => credentials,
        Err(error) => panic!("n{number} has no credentials: {error}"),
    };
    let address = |number| Address::Tcp(SocketAddr::new(ip(number), PORT));
    let mut links = LinkConfig::new(credentials);
    links.listen = Some(address(number));
    links.peers = (1..=u32::from(cluster.nodes))
        .filter(|peer| *peer != number)
        .map(|peer| Peer { name: name(peer), address: address(peer) })
        .collect();
    let mut config = NodeConfig { links: Some(links), ..NodeConfig::named(name(number)) };
    if shared.scenario.workload.iter().any(|work| work.kind == WorkloadKind::Workflow) {
        // The scenario gives the vetoes of SECURITY itself.
        config.agents.retain(|role| *role != synod_agents::Role::Security);
    }
    let node = match synod_node::Node::start(config).await {
        Ok(node) => node,
        Err(error) => panic!("n{number} does not start: {error}"),
    };
    let (main, fabric) = (node.context().clone(), node.fabric().clone());

    let roles = work::roles(&shared.scenario, number);
    let on = |context: usize| -> Vec<Role> {
        roles.iter().filter(|role| role.context(usize::from(cluster.contexts)) == context).copied().collect()
    };
    let mut contexts = Vec::new();
    for index in 1..usize::from(cluster.contexts) {
        let (shared, fabric, roles) = (shared.clone(), fabric.clone(), on(index));
        let started = task::Context::start(format!("worker-{index}"), None, move || async move {
            let context = match fabric.enter(&format!("worker-{index}")) {
                Ok(context) => context,
                Err(error) => panic!("n{number} cannot enter its own fabric: {error}"),
            };
            work::run(shared, context, roles).await;
        });
        match started {
            Ok(handle) => contexts.push(handle),
            Err(error) => panic!("n{number}: {error}"),
        }
    }
    work::run(shared.clone(), main, on(0)).await;
    pending::<()>().await;
    drop((node, contexts));
}

/// Panics that a fault ordered are the scenario's, not the terminal's.
fn quiet_planned_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let planned =
            info.payload().downcast_ref::<&str>().is_some_and(|text| text.starts_with(work::PLANNED));
        if !planned {
            usual(info);
        }
    }));
}
