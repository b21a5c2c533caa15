//! Which processor each of a node's contexts gets: what the configuration says of it, and the plan that is made of that.
//!
//! Contexts sleep between messages. Who talks with whom is known before the first message: PROJECT_ORCHESTRATOR hands every other agent its
//! steps, so its context talks with theirs, as much as they carry agents.

use std::collections::BTreeMap;

use serde::Deserialize;
use synod_agents::Role;
use synod_platform::topology::{Party, PlaceError, Seat, Talk, Topology, Waits};

use crate::config::NodeConfig;
use crate::node::{Placement, placements};

/// The settings of `[placement]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementConfig {
    /// The most that a context needs, percent of the fastest processor.
    pub load: u32,
    /// The most that contexts may be given of one processor together, percent.
    pub limit: u32,
    /// The processors of contexts that are pinned by name.
    pub processors: BTreeMap<String, usize>,
}

impl Default for PlacementConfig {
    fn default() -> Self {
        PlacementConfig { load: 100, limit: 100, processors: BTreeMap::new() }
    }
}

/// The table as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PlacementTable {
    load: u32,
    limit: u32,
    processors: BTreeMap<String, usize>,
}

impl Default for PlacementTable {
    fn default() -> Self {
        let PlacementConfig { load, limit, processors } = PlacementConfig::default();
        PlacementTable { load, limit, processors }
    }
}

impl PlacementTable {
    /// What the table asks for, or which of its keys is wrong and why.
    pub(crate) fn read(self) -> Result<PlacementConfig, (&'static str, String)> {
        let PlacementTable { load, limit, processors } = self;
        if !(1..=100).contains(&limit) {
            return Err(("limit", "must be from 1 to 100 percent".into()));
        }
        if !(1..=limit).contains(&load) {
            return Err(("load", format!("must be from 1 to {limit} percent, which is the limit")));
        }
        Ok(PlacementConfig { load, limit, processors })
    }
}

/// The names of a node's contexts, in the order in which they start.
pub(crate) fn contexts(placements: &[Placement]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for placement in placements {
        if !names.contains(&placement.context.as_str()) {
            names.push(&placement.context);
        }
    }
    names
}

/// A pin of a context that the node does not have.
pub(crate) fn unknown_pin(config: &NodeConfig) -> Option<&String> {
    let placed = placements(config);
    let known = contexts(&placed);
    config.placement.processors.keys().find(|name| !known.contains(&name.as_str()))
}

/// A place for each context: for all of them with `pin`, else for those that are pinned by name.
pub fn plan(config: &NodeConfig, machine: &Topology) -> Result<Vec<Seat>, PlaceError> {
    let placed = placements(config);
    let PlacementConfig { load, limit, processors } = &config.placement;
    let seated = contexts(&placed).into_iter().filter(|name| config.pin || processors.contains_key(*name));
    let parties: Vec<Party> = seated
        .map(|name| Party {
            name: name.to_owned(),
            load: *load,
            waits: Waits::Asleep,
            pin: processors.get(name).copied(),
        })
        .collect();
    let at = |placement: &Placement| parties.iter().position(|party| party.name == placement.context);
    let conductor = placed.iter().find(|placement| placement.agent == Role::Orchestrator).and_then(at);
    let talks: Vec<Talk> = conductor
        .into_iter()
        .flat_map(|conductor| placed.iter().filter_map(at).map(move |other| (conductor, other)))
        .map(|between| Talk { between, weight: 1 })
        .collect();
    machine.place(&parties, &talks, *limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Affinity, PostConfig};

    fn node(load: u32) -> NodeConfig {
        let own = PostConfig { affinity: Affinity::Own, ..PostConfig::default() };
        NodeConfig {
            pin: true,
            contexts: 1,
            agents: vec![Role::Linter, Role::Orchestrator, Role::Security],
            posts: [(Role::Linter, own.clone()), (Role::Security, own)].into(),
            placement: PlacementConfig { load, ..PlacementConfig::default() },
            ..NodeConfig::named("a")
        }
    }

    fn processors(seats: &[Seat]) -> Vec<(&str, Option<usize>)> {
        seats.iter().map(|seat| (seat.name.as_str(), seat.processor)).collect()
    }

    #[test]
    fn contexts_that_need_a_processor_each_get_one_and_small_ones_share_the_conductors() {
        let machine = Topology::uniform(2, 2, 1);
        let seats = plan(&node(100), &machine).expect("nothing is pinned");
        assert_eq!(processors(&seats), [("linter", Some(1)), ("work-0", Some(0)), ("security", Some(2))]);
        let seats = plan(&node(50), &machine).expect("nothing is pinned");
        assert_eq!(processors(&seats), [("linter", Some(0)), ("work-0", Some(0)), ("security", Some(1))]);
    }

    #[test]
    fn without_pin_those_alone_are_placed_that_are_pinned_by_name() {
        let mut config = NodeConfig { pin: false, ..node(100) };
        assert_eq!(plan(&config, &Topology::uniform(1, 2, 1)), Ok(Vec::new()));
        config.placement.processors.insert("linter".into(), 1);
        let seats = plan(&config, &Topology::uniform(1, 2, 1)).expect("there is such a processor");
        assert_eq!(processors(&seats), [("linter", Some(1))]);
        let error = plan(&config, &Topology::uniform(1, 1, 1)).expect_err("there is none");
        assert!(matches!(error, PlaceError::NoSuchProcessor { processor: 1, .. }));
    }

    #[test]
    fn a_wrong_placement_is_refused_by_its_key() {
        let refused = |table: &str| {
            let text = format!("[placement]\n{table}\n");
            config::parse(&text, "node.toml").expect_err("it is wrong").to_string()
        };
        let told = refused("limit = 40");
        assert!(told.contains("placement.load") && told.contains("from 1 to 40 percent"), "{told}");
        assert!(refused("limit = 101").contains("from 1 to 100 percent"));
        let told = refused("processors = { work-7 = 0 }");
        assert!(told.contains("placement.processors.work-7") && told.contains("no context"), "{told}");
    }
}
