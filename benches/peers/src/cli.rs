//! What can be asked for, and the run that answers.

use crate::groups::{self, Rows};
#[cfg(feature = "fabric")]
use crate::idle;
use crate::machine::{Cores, Machine};
use crate::measure::Plan;
use crate::report;
use std::path::PathBuf;
use std::time::Duration;

/// Measures the ring and the fabric beside their peers, in one process and between two, on two cores; prints tables and ratios.
#[derive(clap::Parser)]
#[command(
    version,
    after_help = "Peers that take long to build are asked for when building:\n  \
        cargo run --release --manifest-path benches/peers/Cargo.toml --target-dir target/peers --features iceoryx2,zmq -- --only processes-throughput\n\
        iceoryx2 needs libclang, zmq a C++ compiler; NATS is measured where nats-server is in the search path. What is missing answers \
        `unavailable: needs …`."
)]
pub struct Arguments {
    /// Only this group (floor, same-thread, fabric, throughput, round-trip, blocked, processes-throughput, processes-round-trip,
    /// processes-blocked, processes-fan, processes-large, idle), or only this subject beside those it is compared to
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Seconds for which agents are idle in the group idle
    #[cfg(feature = "fabric")]
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=600))]
    idle_s: u16,
    /// Rounds; each runs every subject once
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Milliseconds of a slice
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=5000))]
    slice_ms: u16,
    /// Two rounds of short slices: shows that everything runs, measures nothing
    #[arg(long)]
    smoke: bool,
    /// Write the rows as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The group that is no comparison.
const IDLE: &str = "idle";

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
    let mut chosen = groups::all(arguments.smoke);
    match arguments.only.as_deref() {
        Some(IDLE) => chosen.clear(),
        Some(name) => groups::narrow(&mut chosen, name)?,
        None => {}
    }
    let machine = Machine::look(&plan);
    report::heading(&machine, &plan, arguments.smoke);
    let (mut rows, mut unavailable) = (Rows::default(), Vec::new());
    for group in chosen {
        let measured = group.run(&plan);
        report::group(&group, &measured);
        rows.extend(measured);
        unavailable.extend(group.unavailable());
    }
    #[cfg_attr(not(feature = "fabric"), expect(unused_mut, reason = "nothing attaches"))]
    let mut observed = Rows::new();
    #[cfg(feature = "fabric")]
    if arguments.only.as_deref().is_none_or(|name| name == IDLE) {
        let measured = if arguments.smoke {
            idle::run(&[1, 8], Duration::from_millis(200), plan.cores)
        } else {
            idle::run(&[1, 64, 100, 256, 1000], Duration::from_secs(u64::from(arguments.idle_s)), plan.cores)
        };
        report::idle(&measured);
        observed = measured;
    }
    report::verdict(&rows, arguments.smoke);
    if let Some(file) = &arguments.json {
        let text = report::json(&machine, &rows, &observed, &unavailable)?;
        std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(())
}
