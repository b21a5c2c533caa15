//! What can be asked for, and the run that answers.

#[cfg(feature = "store")]
use crate::calls;
use crate::groups::{self, Rows};
#[cfg(feature = "fabric")]
use crate::idle;
use crate::machine::{Cores, Machine};
use crate::measure::Plan;
use crate::report::{self, Results};
use std::path::PathBuf;
use std::time::Duration;

/// Measures the ring and the fabric beside their peers, in one process and between two, on two cores; prints tables and ratios.
#[derive(clap::Parser)]
#[command(
    version,
    after_help = "Peers that take long to build are built by `ci/peers`, which takes the same arguments and builds all that this machine can: \
        iceoryx2 (needs libclang), zenoh, ZeroMQ (a C++ compiler), Aeron (CMake 3.30 and libclang), redb, fjall and SQLite (a C compiler). NATS is measured where \
        nats-server is in the search path. TMPDIR chooses the device of the groups durable, recovery, read-back and calls; calls needs strace. What is missing answers `unavailable: needs …`."
)]
pub struct Arguments {
    /// Only these groups (floor, same-thread, fabric, throughput, round-trip, blocked, processes-throughput, processes-round-trip,
    /// processes-blocked, processes-fan, processes-large, processes-faces, links, processes-among, durable, recovery, read-back, idle, calls), or these subjects beside those they are
    /// compared to
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Seconds for which agents are idle in the group idle
    #[cfg(feature = "fabric")]
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=600))]
    idle_s: u16,
    /// Also opens a log of so many GiB in the group recovery, which takes that much of the device, and tells how far it has come
    #[cfg(feature = "store")]
    #[arg(long, value_parser = clap::value_parser!(u16).range(2..=1024))]
    log_gib: Option<u16>,
    /// Rounds; each runs every subject once
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Milliseconds of a slice
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=5000))]
    slice_ms: u16,
    /// Two rounds of short slices: shows that everything runs, measures nothing
    #[arg(long)]
    smoke: bool,
    /// Write the rows as JSON too, after each group
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The groups that are no comparison.
const OBSERVED: &[&str] = &[
    #[cfg(feature = "fabric")]
    idle::NAME,
    #[cfg(feature = "store")]
    calls::NAME,
];

/// Runs what was asked for.
pub fn run(arguments: &Arguments) -> Result<(), String> {
    let plan = if arguments.smoke {
        Plan { rounds: 2, slice: Duration::from_millis(2), cores: Cores::choose() }
    } else {
        Plan {
            rounds: usize::from(arguments.rounds),
            slice: Duration::from_millis(u64::from(arguments.slice_ms)),
            cores: Cores::choose(),
        }
    };
    #[cfg(feature = "store")]
    let log_gib = arguments.log_gib;
    #[cfg(not(feature = "store"))]
    let log_gib = None;
    let mut chosen = groups::all(arguments.smoke, log_gib);
    if !arguments.only.is_empty() {
        groups::narrow(&mut chosen, &arguments.only, OBSERVED)?;
    }
    let machine = Machine::look(&plan);
    report::heading(&machine, &plan, arguments.smoke);
    let mut results =
        Results { machine, rows: Rows::new(), observations: Rows::new(), unavailable: Vec::new() };
    for mut group in chosen {
        let measured = group.run(&plan);
        report::group(&group, &measured);
        results.rows.extend(measured);
        results.unavailable.extend(group.unavailable());
        keep(arguments, &results)?;
    }
    #[cfg(feature = "fabric")]
    let wanted =
        |observed: &str| arguments.only.is_empty() || arguments.only.iter().any(|name| name == observed);
    #[cfg(feature = "fabric")]
    if wanted(idle::NAME) {
        results.observations = if arguments.smoke {
            idle::run(&[1, 8], Duration::from_millis(200), plan.cores)
        } else {
            idle::run(&[1, 64, 100, 256, 1000], Duration::from_secs(u64::from(arguments.idle_s)), plan.cores)
        };
        report::observed(
            "idle: attached agents that have talked once and then do nothing",
            &results.observations,
            &[],
        );
    }
    #[cfg(feature = "store")]
    if wanted(calls::NAME) {
        let (rows, unavailable) = calls::run(arguments.smoke, plan.cores);
        report::observed("calls, 4096 B: of each durable append, watched by strace", &rows, &unavailable);
        results.observations.extend(rows);
        results.unavailable.extend(unavailable);
    }
    report::verdict(&results.rows, arguments.smoke);
    keep(arguments, &results)
}

/// Writes what there is so far, so that a run that is stopped has not measured in vain.
fn keep(arguments: &Arguments, results: &Results) -> Result<(), String> {
    let Some(file) = &arguments.json else { return Ok(()) };
    std::fs::write(file, results.json()?).map_err(|error| format!("{}: {error}", file.display()))
}
