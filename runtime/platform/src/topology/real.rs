//! The real machine's shape, by hwloc.

use std::path::Path;

use hwlocality::Topology as Found;
use hwlocality::object::TopologyObject;
use hwlocality::object::attributes::ObjectAttributes;
use hwlocality::object::types::ObjectType;
use hwlocality::topology::builder::TopologyBuilder;
use rustix::thread::{CpuSet, sched_getaffinity};

use super::{Cache, Core, NumaNode, Topology, TopologyError};

const CACHES: [ObjectType; 5] =
    [ObjectType::L1Cache, ObjectType::L2Cache, ObjectType::L3Cache, ObjectType::L4Cache, ObjectType::L5Cache];

fn told(error: impl std::fmt::Display) -> TopologyError {
    TopologyError(error.to_string())
}

pub(super) fn detect() -> Result<Topology, TopologyError> {
    let mut machine = shape(&Found::new().map_err(told)?)?;
    for core in &mut machine.cores {
        core.capacity = core.processors.first().and_then(|first| capacity(*first)).unwrap_or(core.capacity);
    }
    Ok(machine)
}

pub(super) fn allowed() -> Result<Vec<usize>, TopologyError> {
    let set = sched_getaffinity(None).map_err(told)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&processor| set.is_set(processor)).collect())
}

pub(super) fn own_numa_node() -> Option<usize> {
    let nodes = Path::new("/sys/devices/system/node");
    let processors = allowed().ok()?;
    let is_next = |node: usize, one| nodes.join(format!("node{node}/cpu{one}")).exists();
    let found = nodes.read_dir().ok()?.flatten().map(|entry| entry.file_name());
    let mut numbers = found.filter_map(|name| name.to_str()?.strip_prefix("node")?.parse().ok());
    numbers.find(|&node| processors.iter().all(|one| is_next(node, one)))
}

/// Kernels that know cores of one speed alone may not tell.
fn capacity(processor: usize) -> Option<u32> {
    let path = format!("/sys/devices/system/cpu/cpu{processor}/cpu_capacity");
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

pub(super) fn synthetic(description: &str) -> Result<Topology, TopologyError> {
    let builder = TopologyBuilder::new().from_synthetic(description).map_err(told)?;
    shape(&builder.build().map_err(told)?)
}

fn processors(object: &TopologyObject) -> Vec<usize> {
    object.cpuset().map(|set| set.iter_set().map(usize::from).collect()).unwrap_or_default()
}

fn shape(found: &Found) -> Result<Topology, TopologyError> {
    let numa_nodes: Vec<NumaNode> = found
        .objects_with_type(ObjectType::NUMANode)
        .map(|node| NumaNode { number: node.os_index().unwrap_or_default(), processors: processors(node) })
        .collect();
    let numa_node_of = |core: &[usize]| {
        core.first().and_then(|first| numa_nodes.iter().position(|node| node.processors.contains(first)))
    };
    let mut cores: Vec<Core> = found
        .objects_with_type(ObjectType::Core)
        .map(processors)
        .filter(|processors| !processors.is_empty())
        .map(|processors| Core {
            numa_node: numa_node_of(&processors).unwrap_or(0),
            processors,
            capacity: 1024,
        })
        .collect();
    if cores.is_empty() {
        // Some virtual machines tell of processors, and of no cores.
        let alone = found.objects_with_type(ObjectType::PU).map(processors);
        cores = alone
            .map(|processors| Core {
                numa_node: numa_node_of(&processors).unwrap_or(0),
                processors,
                capacity: 1024,
            })
            .collect();
    }
    if cores.is_empty() || numa_nodes.is_empty() {
        return Err(TopologyError("it tells of no processor, or of no NUMA node".to_owned()));
    }
    cores.sort_by(|a, b| (a.numa_node, &a.processors).cmp(&(b.numa_node, &b.processors)));
    let mut caches = Vec::new();
    for object in CACHES.into_iter().flat_map(|level| found.objects_with_type(level)) {
        if let Some(ObjectAttributes::Cache(cache)) = object.attributes() {
            caches.push(Cache {
                level: cache.depth(),
                size: cache.size().map(Into::into),
                line: cache.line_size().map(Into::into),
                processors: processors(object),
            });
        }
    }
    Ok(Topology { cores, numa_nodes, caches })
}
