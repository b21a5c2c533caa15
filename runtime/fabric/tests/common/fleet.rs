//! What simulated fleets share: a node, processes that come in however often it takes, and a process whose story must come to its end.

use std::cell::Cell;
use std::future::Future;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use synod_fabric::attach::{AttachOptions, Attachment, Host, HostConfig, attach};
use synod_fabric::{Agent, Fabric, FabricConfig, Subscription};
use synod_platform::simulation::Node;
use synod_platform::time;

/// The node's socket.
const SOCKET: &str = "/run/synod/node.attach";

/// Between two tries.
const SOON: Duration = Duration::from_millis(10);

pub fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

/// A process with one agent, both of that name.
pub async fn come_in(name: &str) -> (Attachment, Agent) {
    loop {
        if let Ok(attachment) = attach(AttachOptions::new(SOCKET, name)).await {
            let context = attachment.fabric().enter("main").unwrap();
            if let Ok(agent) = context.join(name).await {
                return (attachment, agent);
            }
        }
        time::sleep(SOON).await;
    }
}

/// Subscribes an agent to what is sent to it.
pub async fn listen(agent: &Agent) -> Subscription {
    loop {
        match agent.subscribe(&format!("to.{}", agent.name()), 8).await {
            Ok(subscription) => return subscription,
            Err(_) => time::sleep(SOON).await,
        }
    }
}

/// The node's whole life.
pub async fn host() {
    let context = Fabric::new(FabricConfig::named("hub")).enter("main").unwrap();
    let _host = loop {
        match Host::start(&context, HostConfig::at(SOCKET)).await {
            Ok(host) => break host,
            Err(_) => time::sleep(SOON).await,
        }
    };
    std::future::pending::<()>().await;
}

/// Tells a story in a process of that name, to its end.
pub async fn tell<F, Fut>(name: &str, at: u8, story: F)
where
    F: Fn() -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let told = Rc::new(Cell::new(false));
    let telling = told.clone();
    let process = Node::create(name, ip(at), move || {
        let (story, telling) = (story(), telling.clone());
        async move {
            story.await;
            telling.set(true);
        }
    });
    let exit = process.exited().await;
    assert!(told.get(), "{exit:?}");
}
