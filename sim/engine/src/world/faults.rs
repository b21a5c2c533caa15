//! Faults as they happen: each waits for its time or its event, does its harm, and takes it back when its time is over.
//!
//! Whom a fault names as `any` is drawn from the seed when it happens, `busiest` is found in the run. At the heal every fault ends.

use std::sync::Arc;
use std::time::Duration;

use synod_control::units::{DelayRange, Probability};
use synod_platform::disk::control::{self as disk, DiskFaults, PowerLoss};
use synod_platform::memory::control::{self as memory, MemoryFaults};
use synod_platform::net::control::{self as net, LinkFaults};
use synod_platform::simulation::{self, Node, NodeId, Status};
use synod_platform::{random, time};
use synod_probe::event;
use synod_sim_model::Delay;

use super::fleet::{start_again, until};
use super::nanoseconds;
use super::shared::Shared;
use crate::history::What;
use crate::scenario::form::{Direction, Disk, Fault, LinkFault, Network, OnCrash};

/// Runs one fault: as often as it says, or until it is aborted.
pub async fn run(shared: Arc<Shared>, fault: Fault) {
    let times = fault.times.unwrap_or(1);
    let mut seen = 0;
    for round in 0..times {
        match (&fault.at, &fault.when) {
            (Some(at), _) => until(at.get() + fault.every.unwrap_or_default().get() * round).await,
            (None, Some(name)) => {
                seen = shared.event(name, seen).await;
                time::sleep(fault.after.unwrap_or_default().get()).await;
            }
            // Refused when the file was read.
            (None, None) => return,
        }
        once(&shared, &fault).await;
    }
}

async fn once(shared: &Shared, fault: &Fault) {
    let harm = fault.harms().first().copied().unwrap_or("");
    let lasts = fault.lasts.map(|lasts| lasts.get());
    if let Some(who) = &fault.crash
        && let Some(node) = pick(shared, who)
    {
        told(harm, node);
        end(shared, node, false, disk::process_crash);
        back(shared, node, fault.restart).await;
    }
    if let Some(who) = &fault.power_loss
        && let Some(node) = pick(shared, who)
    {
        told(harm, node);
        end(shared, node, false, disk::power_loss);
        back(shared, node, fault.restart).await;
    }
    if let Some(who) = &fault.wipe
        && let Some(node) = pick(shared, who)
    {
        told(harm, node);
        end(shared, node, true, disk::power_loss);
        disk::wipe(node.id());
        back(shared, node, fault.restart).await;
    }
    if let Some(who) = &fault.pause
        && let Some(node) = pick(shared, who)
    {
        told(harm, node);
        shared.note_for(node.id().number(), What::Paused);
        node.pause();
        after(lasts).await;
        resume(shared, node);
    }
    if let Some(who) = &fault.reset
        && let Some(node) = pick(shared, who)
    {
        told(harm, node);
        for other in simulation::nodes() {
            if other != node {
                net::reset(node.id(), other.id());
            }
        }
    }
    if let Some(partition) = &fault.partition
        && let Some(node) = pick(shared, &partition.isolate)
    {
        told(harm, node);
        let others: Vec<NodeId> = simulation::nodes()
            .into_iter()
            .filter(|other| {
                *other != node && (partition.from.is_empty() || partition.from.contains(&other.name()))
            })
            .map(Node::id)
            .collect();
        let half = partition.flapping.map(|period| period.get() / 2);
        let begun = simulation::clock::elapsed();
        loop {
            set_cut(node.id(), &others, partition.direction, true);
            let spent = simulation::clock::elapsed() - begun;
            let left = lasts.map(|lasts| lasts.saturating_sub(spent));
            match (half, left) {
                (None, left) => after(left).await,
                (Some(half), left) => time::sleep(left.map_or(half, |left| left.min(half))).await,
            }
            set_cut(node.id(), &others, partition.direction, false);
            let Some(half) = half else { break };
            time::sleep(half).await;
            if lasts.is_some_and(|lasts| simulation::clock::elapsed() - begun >= lasts) {
                break;
            }
        }
        event!("engine.fault_over", harm = harm, node = node.id().number());
    }
    if let Some(link) = &fault.link {
        let node = link.node.as_ref().and_then(|who| pick(shared, who));
        event!("engine.fault", harm = harm, node = node.map_or(0, |node| node.id().number()));
        let worse = worsened(links(&shared.scenario.network), link);
        let pairs = links_of(node);
        for (from, to) in &pairs {
            net::set_link(*from, *to, Some(worse));
        }
        after(lasts).await;
        for (from, to) in &pairs {
            net::set_link(*from, *to, None);
        }
        event!("engine.fault_over", harm = harm);
    }
    if let Some(clock) = &fault.clock
        && let Some(node) = pick(shared, &clock.node)
    {
        told(harm, node);
        if let Some(step) = clock.step {
            node.step_clock(step.nanoseconds());
        }
        if let Some(ppm) = clock.drift_ppm {
            node.set_drift(i64::from(ppm) * 1000);
        }
        if fault.lasts.is_some() {
            after(lasts).await;
            node.set_drift(0);
            if let Some(step) = clock.step {
                node.step_clock(-step.nanoseconds());
            }
        }
    }
    if let Some(wrong) = &fault.disk
        && let Some(node) = pick(shared, &wrong.node)
    {
        told(harm, node);
        disk::change(node.id(), |faults| {
            if let Some(latency) = wrong.latency {
                set_latency(faults, latency);
            }
            set(&mut faults.sync_error, wrong.fsync_error);
            set(&mut faults.write_error, wrong.write_error);
            set(&mut faults.short_write, wrong.short_write);
            faults.stalled |= wrong.stalled;
            if wrong.full {
                faults.capacity = Some(0);
            }
        });
        after(lasts).await;
        set_disk(node, &shared.scenario.disk);
        event!("engine.fault_over", harm = harm, node = node.id().number());
    }
    if let Some(sick) = &fault.sick
        && let Some((index, node)) = instance(shared, &sick.workload, &sick.node)
    {
        told(harm, node);
        let key = (index, node.id().number());
        shared.switches().sick.insert(key, ());
        after(lasts).await;
        shared.switches().sick.remove(&key);
        event!("engine.fault_over", harm = harm, node = node.id().number());
    }
    if let Some(slow) = &fault.slow
        && let Some((index, node)) = instance(shared, &slow.workload, &slow.node)
    {
        told(harm, node);
        let key = (index, node.id().number());
        shared.switches().slow.insert(key, slow.service);
        after(lasts).await;
        shared.switches().slow.remove(&key);
        event!("engine.fault_over", harm = harm, node = node.id().number());
    }
    if let Some(panic) = &fault.panic
        && let Some((index, node)) = instance(shared, &panic.workload, &panic.node)
    {
        told(harm, node);
        shared.switches().panic.insert((index, node.id().number()), ());
    }
    if let Some(overload) = &fault.overload
        && let Some(index) = workload(shared, &overload.workload)
    {
        event!("engine.fault", harm = harm, times = overload.times);
        shared.switches().overload.insert(index, overload.times);
        after(lasts).await;
        shared.switches().overload.remove(&index);
        event!("engine.fault_over", harm = harm);
    }
    if let Some(wrong) = &fault.memory
        && let Some(node) = pick(shared, &wrong.node)
    {
        told(harm, node);
        let faults = MemoryFaults { refuse: wrong.refuse.get(), ..MemoryFaults::default() };
        memory::set_faults(node.id(), faults);
        after(lasts).await;
        memory::set_faults(node.id(), MemoryFaults::default());
        event!("engine.fault_over", harm = harm, node = node.id().number());
    }
}

/// Ends every fault and starts every node that is down.
pub fn heal(shared: &Shared) {
    event!("engine.heal");
    net::heal_all();
    net::set_default(links(&Network::default()));
    {
        let mut switches = shared.switches();
        switches.sick.clear();
        switches.slow.clear();
        switches.panic.clear();
        switches.overload.clear();
    }
    for node in simulation::nodes() {
        disk::restore(node.id());
        memory::set_faults(node.id(), MemoryFaults::default());
        node.set_drift(0);
        resume(shared, node);
        // A node that died of itself stays dead: that is a finding, not a fault to heal.
        if node.status() == Status::Down(simulation::Exit::Killed) {
            start_again(shared, node);
        }
    }
    shared.note_for(0, What::Healed);
}

fn told(harm: &str, node: Node) {
    event!("engine.fault", harm = harm, node = node.id().number());
}

fn resume(shared: &Shared, node: Node) {
    if node.status() == Status::Paused {
        node.resume();
        shared.note_for(node.id().number(), What::Resumed);
    }
}

fn end(shared: &Shared, node: Node, wiped: bool, how: impl FnOnce(Node)) {
    if node.is_up() {
        shared.switches().ending.insert(node.id().number(), wiped);
        how(node);
    }
}

async fn back(shared: &Shared, node: Node, restart: Option<synod_control::units::Duration>) {
    if let Some(restart) = restart {
        time::sleep(restart.get()).await;
        start_again(shared, node);
    }
}

/// Waits for the end of a fault; for ever if it lasts to the heal.
async fn after(lasts: Option<Duration>) {
    match lasts {
        Some(lasts) => time::sleep(lasts).await,
        None => std::future::pending().await,
    }
}

fn workload(shared: &Shared, name: &str) -> Option<usize> {
    shared.scenario.workload.iter().position(|work| work.name == name)
}

fn instance(shared: &Shared, workload_name: &str, who: &str) -> Option<(usize, Node)> {
    Some((workload(shared, workload_name)?, pick(shared, who)?))
}

/// The node that a fault means: one that is up, for `any` and `busiest`.
fn pick(shared: &Shared, who: &str) -> Option<Node> {
    let up: Vec<Node> =
        simulation::nodes().into_iter().filter(|node| node.status() == Status::Running).collect();
    match who {
        "any" if up.is_empty() => None,
        "any" => up.get(random::below(up.len() as u64) as usize).copied(),
        "busiest" => {
            let switches = shared.switches();
            let busy = |node: &Node| switches.busy.get(&node.id().number()).copied().unwrap_or(0);
            // The first among equals; only nodes that have work at all.
            let most = up.iter().map(busy).max().filter(|most| *most > 0);
            match most {
                Some(most) => up.iter().find(|node| busy(node) == most).copied(),
                None => servers(shared).into_iter().find(|node| up.contains(node)),
            }
        }
        name => Node::find(name),
    }
}

/// Nodes that serve some workload, in the order of the file.
fn servers(shared: &Shared) -> Vec<Node> {
    let named = shared.scenario.workload.iter().flat_map(|work| work.to.iter());
    named.filter_map(|name| Node::find(name)).collect()
}

fn set_cut(node: NodeId, others: &[NodeId], direction: Direction, cut: bool) {
    let set = |from, to| if cut { net::cut(from, to) } else { net::heal(from, to) };
    for other in others {
        if direction != Direction::Outbound {
            set(*other, node);
        }
        if direction != Direction::Inbound {
            set(node, *other);
        }
    }
}

/// Both directions of the links of a node, or of all nodes.
fn links_of(node: Option<Node>) -> Vec<(NodeId, NodeId)> {
    let all = simulation::nodes();
    let mut pairs = Vec::new();
    for from in &all {
        for to in &all {
            if from != to && node.is_none_or(|node| node == *from || node == *to) {
                pairs.push((from.id(), to.id()));
            }
        }
    }
    pairs
}

/// The faults that every link has, as the scenario says.
pub fn links(network: &Network) -> LinkFaults {
    let mut faults = LinkFaults::default();
    if let Some(delay) = network.delay {
        faults.latency = delay_of(delay);
    }
    set(&mut faults.loss, network.loss);
    set(&mut faults.duplicate, network.duplicate);
    set(&mut faults.reorder, network.reorder);
    set(&mut faults.reset, network.reset);
    faults.bandwidth = network.bandwidth;
    faults
}

fn worsened(mut faults: LinkFaults, link: &LinkFault) -> LinkFaults {
    if let Some(delay) = link.delay {
        faults.latency = delay_of(delay);
    }
    set(&mut faults.loss, link.loss);
    set(&mut faults.duplicate, link.duplicate);
    set(&mut faults.reorder, link.reorder);
    set(&mut faults.reset, link.reset);
    faults.bandwidth = link.bandwidth.or(faults.bandwidth);
    faults
}

/// Gives a node the disk that the scenario says.
pub fn set_disk(node: Node, disk_form: &Disk) {
    let mut faults = DiskFaults {
        power_loss: match (
            disk_form.on_crash.contains(&OnCrash::LoseUnsynced),
            disk_form.on_crash.contains(&OnCrash::Torn),
        ) {
            (_, true) => PowerLoss::LosesUnsyncedTorn,
            (true, false) => PowerLoss::LosesUnsynced,
            (false, false) => PowerLoss::Keeps,
        },
        ..DiskFaults::default()
    };
    if let Some(latency) = disk_form.latency {
        set_latency(&mut faults, latency);
    }
    set(&mut faults.sync_error, disk_form.fsync_error);
    set(&mut faults.write_error, disk_form.write_error);
    set(&mut faults.read_error, disk_form.read_error);
    set(&mut faults.short_write, disk_form.short_write);
    set(&mut faults.misdirected, disk_form.misdirected);
    set(&mut faults.rot, disk_form.rot);
    disk::set_faults(node.id(), faults);
}

fn set(place: &mut f64, said: Option<Probability>) {
    if let Some(said) = said {
        *place = said.get();
    }
}

fn set_latency(faults: &mut DiskFaults, latency: DelayRange) {
    let delay = delay_of(latency);
    (faults.read, faults.write, faults.sync) = (delay, delay, delay);
}

fn delay_of(range: DelayRange) -> Delay {
    Delay::between(nanoseconds(range.low), nanoseconds(range.high))
}
