//! What can be asked for, and the run that answers.

use crate::groups::{self, Rows};
use crate::machine::{Cores, Machine};
use crate::measure::Plan;
use crate::report;
use std::path::PathBuf;
use std::time::Duration;

/// Measures the ring beside its peers on two cores; prints a table and the ratios.
#[derive(clap::Parser)]
#[command(version)]
pub struct Arguments {
    /// Only this group (floor, same-thread, fabric, throughput, round-trip, blocked), or only this subject beside the one it is compared to
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
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
    let mut chosen = groups::all();
    if let Some(name) = &arguments.only {
        groups::narrow(&mut chosen, name)?;
    }
    let machine = Machine::look(&plan);
    report::heading(&machine, &plan, arguments.smoke);
    let mut rows = Rows::default();
    for group in chosen {
        let measured = group.run(&plan);
        report::group(&group, &measured);
        rows.extend(measured);
    }
    report::verdict(&rows, arguments.smoke);
    if let Some(file) = &arguments.json {
        let text = report::json(&machine, &rows)?;
        std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(())
}
