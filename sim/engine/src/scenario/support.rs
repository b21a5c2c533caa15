//! What the form knows and this engine cannot do yet: said by name, never skipped.

use super::form::{Core, Engine, Fault, OnCrash, Scenario, SwarmKind, WorkloadKind};
use crate::oracles;

/// Everything in the scenario that this engine cannot do, each with the key that asks for it; empty if it can run.
pub fn unsupported(s: &Scenario) -> Vec<String> {
    let mut list = Vec::new();
    if !s.cluster.engines.contains(&Engine::Sim) {
        list.push("cluster.engines: this file is not for the simulator".to_owned());
    }
    for (index, work) in s.workload.iter().enumerate() {
        if !matches!(work.kind, WorkloadKind::Publish | WorkloadKind::Request | WorkloadKind::Append) {
            list.push(format!("workload[{index}].kind: {:?}", work.kind).to_lowercase());
        }
    }
    for (index, fault) in s.fault.iter().enumerate() {
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
                list.push("swarm.from: reorder (no workload sends datagrams)".to_owned());
            }
        }
    }
    list
}

fn one_fault(fault: &Fault) -> Option<String> {
    let who = [&fault.crash, &fault.power_loss, &fault.wipe, &fault.pause, &fault.reset]
        .into_iter()
        .flatten()
        .chain(fault.partition.as_ref().map(|partition| &partition.isolate))
        .find(|who| ["leader", "follower", "one-follower"].contains(&who.as_str()));
    who.map(|who| format!("{}: {who} (nobody is elected)", fault.harms().join(", ")))
}
