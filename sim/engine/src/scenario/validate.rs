//! What the shape of a scenario file cannot refuse: names that nobody bears, times past the end, two harms in one fault.
//!
//! The first complaint is returned with the path of its key; the caller places it in the text.

use std::collections::BTreeSet;
use std::time::Duration;

use synod_control::strict::nearest;

use super::form::{Fault, Scenario, WorkloadKind};
use crate::oracles;

/// The first thing wrong, as `(path, problem)`.
pub fn complaint(scenario: &Scenario) -> Option<(String, String)> {
    check(scenario).err()
}

type Checked = Result<(), (String, String)>;

fn wrong(path: impl Into<String>, problem: impl Into<String>) -> Checked {
    Err((path.into(), problem.into()))
}

fn check(s: &Scenario) -> Checked {
    if s.schema != 1 {
        return wrong("schema", format!("must be 1, the only version of this form, but is {}", s.schema));
    }
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if s.name.is_empty() || !s.name.chars().all(good) {
        return wrong("name", "must be lower-case letters, digits and hyphens, as the file is called");
    }
    if s.why.trim().is_empty() {
        return wrong("why", "must say in a sentence what the scenario shows");
    }
    if !(1..=16).contains(&s.cluster.nodes) {
        return wrong("cluster.nodes", format!("must be from 1 to 16, but is {}", s.cluster.nodes));
    }
    if !(1..=8).contains(&s.cluster.contexts) {
        return wrong("cluster.contexts", format!("must be from 1 to 8, but is {}", s.cluster.contexts));
    }
    let limit = s.cluster.limit.get();
    if limit < Duration::from_millis(100) || limit > Duration::from_secs(3600) {
        return wrong("cluster.limit", format!("must be from 100ms to 1h, but is {}", s.cluster.limit));
    }
    if s.cluster.engines.is_empty() {
        return wrong("cluster.engines", "must name an engine");
    }
    workloads(s, limit)?;
    for (index, fault) in s.fault.iter().enumerate() {
        one_fault(s, fault, &format!("fault[{index}]"), limit)?;
    }
    if let Some(heal) = &s.heal
        && heal.at.get() + heal.converge.get() >= limit
    {
        return wrong(
            "heal",
            format!("ends (`at` + `converge`) past the run's limit of {}", s.cluster.limit),
        );
    }
    if s.heal.is_none() && !s.check.healed.is_empty() {
        return wrong("check.healed", "needs a [heal] that says when");
    }
    if s.heal.is_none() && s.swarm.is_some() {
        return wrong("swarm", "needs a [heal]: swarm faults are drawn over the time before it");
    }
    for (list, names) in
        [("always", &s.check.always), ("history", &s.check.history), ("healed", &s.check.healed)]
    {
        for (index, name) in names.iter().enumerate() {
            let bare = name.split_once(':').map_or(name.as_str(), |(bare, _)| bare);
            if !oracles::known().any(|known| known == bare) {
                return wrong(format!("check.{list}[{index}]"), unknown(name, "an oracle", oracles::known()));
            }
        }
    }
    match s.expect.verdict.as_deref() {
        None | Some("pass") => Ok(()),
        Some(verdict) => match verdict.strip_prefix("violates:") {
            Some(name) if oracles::known().any(|known| known == name) => Ok(()),
            Some(name) => wrong("expect.verdict", unknown(name, "an oracle", oracles::known())),
            None => wrong(
                "expect.verdict",
                format!("must be \"pass\" or \"violates:ORACLE\", but is \"{verdict}\""),
            ),
        },
    }
}

fn workloads(s: &Scenario, limit: Duration) -> Checked {
    let mut names = BTreeSet::new();
    for (index, work) in s.workload.iter().enumerate() {
        let path = format!("workload[{index}]");
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if work.name.is_empty() || !work.name.chars().all(good) {
            return wrong(format!("{path}.name"), "must be lower-case letters, digits and hyphens");
        }
        if !names.insert(&work.name) {
            return wrong(format!("{path}.name"), format!("repeats the name \"{}\"", work.name));
        }
        for (key, nodes) in [("from", &work.from), ("to", &work.to)] {
            for (at, node) in nodes.iter().enumerate() {
                node_name(s, node, &[], &format!("{path}.{key}[{at}]"))?;
            }
        }
        if work.clients == 0 {
            return wrong(format!("{path}.clients"), "must be at least 1");
        }
        if work.priorities.is_empty() {
            return wrong(format!("{path}.priorities"), "must name a priority");
        }
        if work.capacity == 0 {
            return wrong(format!("{path}.capacity"), "must be at least 1");
        }
        if work.payload > 16 << 20 {
            return wrong(format!("{path}.payload"), "must be at most 16777216 bytes");
        }
        let waits = matches!(work.kind, WorkloadKind::Request | WorkloadKind::Workflow);
        if waits && work.deadline.is_none_or(|deadline| deadline.get().is_zero()) {
            let kind = format!("{:?}", work.kind).to_lowercase();
            return wrong(&path, format!("of kind \"{kind}\" needs a `deadline`: every wait has one"));
        }
        if work.at.get() + work.lasts.map_or(Duration::ZERO, |lasts| lasts.get()) > limit {
            return wrong(&path, format!("ends past the run's limit of {}", s.cluster.limit));
        }
    }
    Ok(())
}

fn one_fault(s: &Scenario, fault: &Fault, path: &str, limit: Duration) -> Checked {
    match (fault.at, &fault.when) {
        (None, None) => return wrong(path, "needs `at` (a time) or `when` (an event)"),
        (Some(_), Some(_)) => return wrong(path, "has both `at` and `when`: a fault has one beginning"),
        (Some(at), None) if at.get() >= limit => {
            return wrong(format!("{path}.at"), format!("is past the run's limit of {}", s.cluster.limit));
        }
        _ => {}
    }
    if fault.after.is_some() && fault.when.is_none() {
        return wrong(format!("{path}.after"), "needs a `when` beside it");
    }
    if fault.every.is_some() && (fault.at.is_none() || fault.times.is_none()) {
        return wrong(format!("{path}.every"), "needs `at` and `times` beside it");
    }
    if fault.times == Some(0) {
        return wrong(format!("{path}.times"), "must be at least 1");
    }
    if fault.at.is_some() && fault.times.is_some_and(|times| times > 1) && fault.every.is_none() {
        return wrong(
            format!("{path}.times"),
            "of a fault with `at` needs `every`: the time between repetitions",
        );
    }
    let harms = fault.harms();
    if harms.len() != 1 {
        let told = if harms.is_empty() { "none".to_owned() } else { harms.join(" and ") };
        return wrong(
            path,
            format!("must do exactly one harm ({}), but has {told}", Fault::HARMS.join(", ")),
        );
    }
    if fault.restart.is_some() && !["crash", "power_loss", "wipe"].contains(&harms[0]) {
        return wrong(format!("{path}.restart"), format!("does not go with `{}`", harms[0]));
    }
    if fault.lasts.is_some() && ["crash", "power_loss", "wipe", "reset", "panic"].contains(&harms[0]) {
        return wrong(
            format!("{path}.for"),
            format!("does not go with `{}`, which happens at once", harms[0]),
        );
    }
    for (key, who) in [
        ("crash", &fault.crash),
        ("power_loss", &fault.power_loss),
        ("wipe", &fault.wipe),
        ("pause", &fault.pause),
        ("reset", &fault.reset),
    ] {
        if let Some(who) = who {
            node_name(s, who, WHO, &format!("{path}.{key}"))?;
        }
    }
    if let Some(partition) = &fault.partition {
        node_name(s, &partition.isolate, WHO, &format!("{path}.partition.isolate"))?;
        for (at, node) in partition.from.iter().enumerate() {
            node_name(s, node, &[], &format!("{path}.partition.from[{at}]"))?;
        }
    }
    for (key, node) in [
        ("link", fault.link.as_ref().and_then(|f| f.node.as_ref())),
        ("clock", fault.clock.as_ref().map(|f| &f.node)),
        ("disk", fault.disk.as_ref().map(|f| &f.node)),
        ("memory", fault.memory.as_ref().map(|f| &f.node)),
        ("sick", fault.sick.as_ref().map(|f| &f.node)),
        ("slow", fault.slow.as_ref().map(|f| &f.node)),
        ("panic", fault.panic.as_ref().map(|f| &f.node)),
    ] {
        if let Some(node) = node {
            node_name(s, node, WHO, &format!("{path}.{key}.node"))?;
        }
    }
    for (key, workload) in [
        ("sick", fault.sick.as_ref().map(|f| &f.workload)),
        ("slow", fault.slow.as_ref().map(|f| &f.workload)),
        ("panic", fault.panic.as_ref().map(|f| &f.workload)),
        ("overload", fault.overload.as_ref().map(|f| &f.workload)),
    ] {
        if let Some(name) = workload
            && !s.workload.iter().any(|work| work.name == *name)
        {
            let known = s.workload.iter().map(|work| work.name.as_str());
            return wrong(format!("{path}.{key}.workload"), unknown(name, "a workload of this file", known));
        }
    }
    if fault.overload.as_ref().is_some_and(|overload| overload.times < 2) {
        return wrong(format!("{path}.overload.times"), "must be at least 2");
    }
    Ok(())
}

/// Who a fault may name besides a node: drawn from the seed, found in the run, or of a protocol that is not there yet.
pub(super) const WHO: &[&str] = &["any", "busiest", "leader", "follower", "one-follower"];

fn node_name(s: &Scenario, name: &str, others: &[&str], path: &str) -> Checked {
    let count = s.cluster.nodes;
    let is_node = |name: &str| {
        name.strip_prefix('n').and_then(|n| n.parse::<u8>().ok()).is_some_and(|n| (1..=count).contains(&n))
    };
    if is_node(name) || others.contains(&name) {
        return Ok(());
    }
    let also = if others.is_empty() { String::new() } else { format!(", or one of {}", others.join(", ")) };
    wrong(path, format!("must be a node, n1 to n{count}{also}, but is \"{name}\""))
}

fn unknown<'a>(name: &str, what: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(near) => format!("is not {what}: \"{name}\"; did you mean \"{near}\"?"),
        None => format!("is not {what}: \"{name}\"; known: {}", known.collect::<Vec<_>>().join(", ")),
    }
}

impl Fault {
    /// The keys that say what a fault does.
    pub const HARMS: [&'static str; 14] = [
        "crash",
        "power_loss",
        "wipe",
        "pause",
        "partition",
        "link",
        "reset",
        "clock",
        "disk",
        "sick",
        "slow",
        "panic",
        "overload",
        "memory",
    ];

    /// The harms this fault does: exactly one, once validated.
    pub fn harms(&self) -> Vec<&'static str> {
        let present = [
            self.crash.is_some(),
            self.power_loss.is_some(),
            self.wipe.is_some(),
            self.pause.is_some(),
            self.partition.is_some(),
            self.link.is_some(),
            self.reset.is_some(),
            self.clock.is_some(),
            self.disk.is_some(),
            self.sick.is_some(),
            self.slow.is_some(),
            self.panic.is_some(),
            self.overload.is_some(),
            self.memory.is_some(),
        ];
        Self::HARMS.into_iter().zip(present).filter_map(|(name, present)| present.then_some(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::read;

    const BASE: &str = "schema = 1\nname = \"x\"\nwhy = \"because\"\n[cluster]\nnodes = 2\nlimit = \"10s\"\n\
        [[workload]]\nname = \"orders\"\nkind = \"request\"\nrate = \"5/s\"\ndeadline = \"1s\"\n";

    fn refused(more: &str) -> String {
        read(&format!("{BASE}{more}"), "x.toml").expect_err("refused").to_string()
    }

    #[test]
    fn a_plain_scenario_is_read() {
        let scenario = read(BASE, "x.toml").unwrap();
        assert_eq!((scenario.cluster.seeds.count(), scenario.workload.len()), (200, 1));
    }

    #[test]
    fn a_key_that_is_nobodys_is_refused_with_its_neighbour() {
        let told = refused("[[fault]]\nat = \"1s\"\ncrsh = \"n1\"\n");
        assert!(
            told.starts_with(
                "x.toml:14:1: `fault[0].crsh` is not a key here; did you mean `crash`? (known: "
            ),
            "{told}"
        );
    }

    #[test]
    fn a_fault_does_one_harm_at_one_time_to_someone_there() {
        assert_eq!(
            refused("[[fault]]\ncrash = \"n1\"\n"),
            "x.toml:12:1: `fault[0]` needs `at` (a time) or `when` (an event)"
        );
        assert!(refused("[[fault]]\nat = \"1s\"\n").contains("must do exactly one harm"));
        assert!(
            refused("[[fault]]\nat = \"1s\"\ncrash = \"n1\"\npause = \"n2\"\n")
                .contains("but has crash and pause")
        );
        assert_eq!(
            refused("[[fault]]\nat = \"1s\"\ncrash = \"n3\"\n"),
            "x.toml:14:1: `fault[0].crash` must be a node, n1 to n2, or one of any, busiest, leader, follower, one-follower, but is \"n3\""
        );
        assert_eq!(
            refused("[[fault]]\nat = \"1s\"\nsick = { workload = \"order\", node = \"n2\" }\n"),
            "x.toml:14:10: `fault[0].sick.workload` is not a workload of this file: \"order\"; did you mean \"orders\"?"
        );
        assert!(
            refused("[[fault]]\nat = \"11s\"\npause = \"n1\"\n")
                .contains("`fault[0].at` is past the run's limit of 10s")
        );
    }

    #[test]
    fn an_oracle_that_is_nobodys_is_refused() {
        assert_eq!(
            refused("[check]\nalways = [\"fabric.receipt\"]\n"),
            "x.toml:13:11: `check.always[0]` is not an oracle: \"fabric.receipt\"; did you mean \"fabric.receipts\"?"
        );
        assert!(refused("[check]\nhealed = [\"fabric.served\"]\n").contains("needs a [heal]"));
    }

    #[test]
    fn a_heal_must_fit_into_the_run() {
        assert!(refused("[heal]\nat = \"8s\"\nconverge = \"3s\"\n").starts_with("x.toml:12:"));
    }
}
