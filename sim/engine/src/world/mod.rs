//! The world of one run: the fleet on the simulated platform, its work, its faults, and what was seen of it.
//!
//! Everything here runs in virtual time on one thread. Nodes run the product's own crates; the engine stands outside of them,
//! injects faults, and keeps the history, which no crash takes away.

mod consensus;
mod faults;
mod fleet;
mod flow;
mod payload;
mod shared;
mod store;
mod swarm;
mod work;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use synod_platform::simulation::{self, RunError};
use synod_probe::{loss, reach};

use crate::history::Facts;
use crate::oracles;
use crate::scenario::Scenario;
use crate::verdict::{Kind, Report, Violation, judge};
use shared::Shared;

/// How a run is made.
#[derive(Default)]
pub struct Options {
    /// Gets every line of the trace.
    pub trace: Option<Box<dyn Write + Send>>,
    /// The planted bug that this process runs with.
    pub plant: Option<String>,
}

/// Runs a scenario with a seed, once in a process: counters and the trace are the process's own.
pub fn run(scenario: Scenario, seed: u64, options: Options) -> std::io::Result<Report> {
    let scenario = Arc::new(scenario);
    let shared = Shared::new(scenario.clone(), options.trace);
    shared::install(&shared);
    let begun = Instant::now();
    // Twice the limit: the engine ends the run itself, so more virtual time than the limit is a hang.
    let limit = scenario.cluster.limit.get() * 2 + Duration::from_secs(60);
    let body = shared.clone();
    let ended = simulation::run(seed, limit, move || fleet::live(body));
    shared.stop_recording();
    let wall_seconds = begun.elapsed().as_secs_f64();

    let mut violations = Vec::new();
    if let Err(error) = &ended {
        let kind = if matches!(error, RunError::Panicked(_)) { Kind::Crash } else { Kind::Liveness };
        violations.push(Violation { oracle: "engine.run".to_owned(), kind, what: error.to_string() });
    }
    let losses: BTreeMap<String, u64> =
        loss::snapshot().into_iter().map(|l| (format!("{}: {}", l.place, l.reason), l.count)).collect();
    let facts = Facts {
        losses: losses.iter().filter(|(name, _)| is_of_messages(name)).map(|(_, count)| count).sum(),
        healed: scenario.heal.as_ref().map(|heal| {
            let at = heal.at.get();
            (nanoseconds(at), nanoseconds(at + heal.converge.get()))
        }),
        clients_end_ns: nanoseconds(scenario.clients_end()),
        probes_max: u64::from(synod_resilience::breaker::Settings::default().probes_max),
        rots: scenario.disk.rots(),
    };
    let check = &scenario.check;
    let named: Vec<String> =
        [&check.always, &check.history, &check.healed].into_iter().flatten().cloned().collect();
    let (found, judged, mut unknown) = shared.with_history(|history| oracles::judge(history, &facts, &named));
    violations.extend(found);
    let verdict = judge(scenario.expect.verdict.as_deref(), &mut violations, &unknown);
    if violations.is_empty() {
        unknown.dedup();
    }
    let summary = shared.finish_trace()?;
    Ok(Report {
        scenario: scenario.name.clone(),
        seed,
        engine: "sim".to_owned(),
        verdict,
        violations,
        unknown,
        trace_hash: summary.hash,
        events: summary.events,
        sim_seconds: shared.ended_at().as_secs_f64(),
        wall_seconds,
        reach: reach::snapshot().into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        losses,
        judged: judged.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
        plant: options.plant,
        plant_reached: plant_reached(),
    })
}

/// Whether a loss counter may be about a published message: those about replies and deadlines are not.
fn is_of_messages(name: &str) -> bool {
    name.starts_with("fabric.")
        && !name.starts_with("fabric.request")
        && !["answer", "requester", "deadline"].iter().any(|word| name.contains(word))
}

#[cfg(feature = "plant")]
fn plant_reached() -> u64 {
    synod_probe::plant::reached()
}

#[cfg(not(feature = "plant"))]
fn plant_reached() -> u64 {
    0
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
