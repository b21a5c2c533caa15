//! What the form knows and this engine cannot do yet: said by name, never skipped.

use synod_control::units::Probability;

use super::form::{Core, Engine, Fault, KeepAlive, OnCrash, Scenario, SwarmKind, WorkloadKind};
use crate::oracles;

/// Faults of datagrams are accepted by the network, and would harm nobody: no workload sends any.
const NO_DATAGRAMS: &str = "no workload sends datagrams";

/// Everything in the scenario that this engine cannot do, each with the key that asks for it; empty if it can run.
pub fn unsupported(s: &Scenario) -> Vec<String> {
    let mut list = Vec::new();
    if !s.cluster.engines.contains(&Engine::Sim) {
        list.push("cluster.engines: this file is not for the simulator".to_owned());
    }
    for (index, work) in s.workload.iter().enumerate() {
        use WorkloadKind::{Append, Consensus, Publish, Request, Store, Workflow};
        if !matches!(work.kind, Publish | Request | Append | Store | Consensus | Workflow) {
            list.push(format!("workload[{index}].kind: {:?}", work.kind).to_lowercase());
        }
    }
    for (key, chance) in [("duplicate", s.network.duplicate), ("reorder", s.network.reorder)] {
        list.extend(is_asked(chance).then(|| format!("network.{key} ({NO_DATAGRAMS})")));
    }
    for (index, fault) in s.fault.iter().enumerate() {
        let link = fault.link.as_ref();
        for (key, chance) in
            [("duplicate", link.and_then(|l| l.duplicate)), ("reorder", link.and_then(|l| l.reorder))]
        {
            list.extend(is_asked(chance).then(|| format!("fault[{index}].link.{key} ({NO_DATAGRAMS})")));
        }
        list.extend(one_fault(fault).map(|what| format!("fault[{index}].{what}")));
    }
    if s.heal.as_ref().is_some_and(|heal| heal.core == Core::Majority) {
        list.push("heal.core: majority (only a healed whole is judged)".to_owned());
    }
    for name in [&s.check.always, &s.check.history, &s.check.healed].into_iter().flatten() {
        let bare = name.split_once(':').map_or(name.as_str(), |(bare, _)| bare);
        if !oracles::implemented().any(|known| known == bare) {
            list.push(format!("check: {name}"));
        }
    }
    if s.disk.on_crash.contains(&OnCrash::Torn) && !s.disk.on_crash.contains(&OnCrash::LoseUnsynced) {
        list.push("disk.on_crash: torn without lose-unsynced".to_owned());
    }
    if let Some(swarm) = &s.swarm {
        for kind in &swarm.from {
            if *kind == SwarmKind::Reorder {
                list.push(format!("swarm.from: reorder ({NO_DATAGRAMS})"));
            }
        }
        // A swarm harms one node at a time, which is what both words promise in a large enough fleet.
        let enough = match swarm.keep_alive {
            KeepAlive::Majority => 3,
            KeepAlive::AllButOne => 2,
        };
        if s.cluster.nodes < enough {
            list.push(format!("swarm.keep_alive: needs at least {enough} nodes, as one is harmed at a time"));
        }
    }
    list
}

fn is_asked(chance: Option<Probability>) -> bool {
    chance.is_some_and(|chance| chance.get() > 0.0)
}

fn one_fault(fault: &Fault) -> Option<String> {
    let who = [&fault.crash, &fault.power_loss, &fault.wipe, &fault.pause, &fault.reset]
        .into_iter()
        .flatten()
        .chain(fault.partition.as_ref().map(|partition| &partition.isolate))
        .find(|who| ["leader", "follower", "one-follower"].contains(&who.as_str()));
    who.map(|who| format!("{}: {who} (nobody is elected)", fault.harms().join(", ")))
}
