//! Where a node's contexts would go on this machine, why, and whether the kernel does as the plan says.
//!
//! For each context a thread is started where its seat is, asks the kernel where it may run, and has memory bound to its NUMA node.

use std::collections::BTreeMap;

use serde::Serialize;
use synod_platform::memory::{self, pages};
use synod_platform::task;
use synod_platform::topology::{Seat, Topology};

use crate::config::NodeConfig;
use crate::node::{StartNodeError, placements};
use crate::placement;

/// Bytes of the memory that is bound.
const REGION: usize = 64 << 10;

/// The plan of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether a node of this configuration places all its contexts (`node.pin`), or those alone that are pinned by name.
    pub pins: bool,
    /// Its contexts as with `node.pin = true`, in the order in which they start.
    pub contexts: Vec<Placed>,
}

/// A context, its seat, and what the kernel says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Placed {
    /// The context.
    pub context: String,
    /// Its agents.
    pub agents: Vec<&'static str>,
    /// The logical processor; absent if the scheduler decides.
    pub processor: Option<usize>,
    /// The NUMA node of its rings and pages.
    pub numa_node: Option<usize>,
    /// Why there.
    pub reason: String,
    /// The processors that the kernel lets a thread use which was started there.
    pub allowed: Vec<usize>,
    /// On which NUMA nodes pages lie that were bound for it; absent if it has no seat, or the kernel does not bind.
    pub pages: Option<BTreeMap<usize, u64>>,
    /// Why its pages were not bound.
    pub unbound: Option<String>,
    /// Whether thread and pages are where the plan says; pages that could not be bound say nothing against it.
    pub agrees: bool,
}

/// Makes the plan and tries each seat.
pub async fn examine(config: &NodeConfig) -> Result<Report, StartNodeError> {
    let machine = Topology::detect()?;
    let seats = placement::plan(&NodeConfig { pin: true, ..config.clone() }, &machine)?;
    let mut contexts = Vec::new();
    for seat in seats {
        contexts.push(sit(config, seat).await?);
    }
    Ok(Report { pins: config.pin, contexts })
}

async fn sit(config: &NodeConfig, seat: Seat) -> Result<Placed, StartNodeError> {
    let node = seat.numa_node;
    let look = move || async move {
        let pages = node.map(bound);
        (Topology::allowed(), pages)
    };
    let thread = task::Context::start(&seat.name, seat.processor, look)?;
    let (allowed, pages) = thread.join().await.map_err(|_| StartNodeError::Vanished(seat.name.clone()))?;
    let allowed = allowed?;
    let (pages, unbound) = match pages {
        None => (None, None),
        Some(Ok(pages)) => (Some(pages), None),
        Some(Err(why)) => (None, Some(why)),
    };
    let there = seat.processor.is_none_or(|processor| allowed == [processor]);
    let near = pages.iter().flat_map(BTreeMap::keys).all(|lies| Some(*lies) == seat.numa_node);
    let aboard = placements(config).into_iter().filter(|placement| placement.context == seat.name);
    Ok(Placed {
        agents: aboard.map(|placement| placement.agent.name()).collect(),
        context: seat.name,
        processor: seat.processor,
        numa_node: seat.numa_node,
        reason: seat.reason,
        allowed,
        pages,
        unbound,
        agrees: there && near,
    })
}

/// Binds memory to that node: where the kernel put it, or why it did not.
fn bound(node: usize) -> Result<BTreeMap<usize, u64>, String> {
    let region = memory::shared(REGION).map_err(|error| error.to_string())?;
    let located = pages::bind(&region, node)
        .and_then(|()| pages::populate(&region))
        .and_then(|()| pages::located(&region));
    located.map_err(|error| error.to_string())
}
