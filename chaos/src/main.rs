//! `cargo chaos`: sweeps scenarios over fresh seeds, scores planted bugs, replays what failed.
//!
//! Every run is a process of its own (this program again, with `one`), so nothing leaks from seed to seed.

mod child;
mod keep;
mod plants;
mod pool;
mod reachable;
mod score;
mod suite;
mod sweep;
mod twin;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use synod_sim::command::{self, CommandError, RunArguments};
use synod_sim::verdict::exit;

/// Sweeps all scenarios over fresh seeds within a time budget; fails if any run does, or if the canary does not.
#[derive(Parser)]
#[command(name = "cargo chaos", bin_name = "cargo chaos", version, after_help = HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Do>,
    #[command(flatten)]
    sweep: SweepArguments,
}

const HELP: &str = "\
Examples:
  cargo chaos                                        a minute of fresh seeds on all cores
  cargo chaos --budget 10m --json results/chaos.json
  cargo chaos --only failover-busy --seed-from 1 --budget 30s
  cargo chaos plants                                 the planted bugs, and what should catch each
  cargo chaos plant --all --seeds 200                what the suite catches
  cargo chaos twin --seeds 10000                     no alarm without a bug; goes on where it was interrupted
  cargo chaos replay results/chaos/<run>/<failure>   the same run again, with its trace

Exit statuses: 0 everything passed, 1 something failed, 2 wrong usage, 13 only unknowns (an expectation was not met).";

/// How to sweep.
#[derive(clap::Args)]
struct SweepArguments {
    /// How long to go on, as 60s or 10m.
    #[arg(long, default_value = "60s", value_parser = budget)]
    budget: Duration,
    /// The first seed; drawn from the clock, and printed, if not said.
    #[arg(long)]
    seed_from: Option<u64>,
    /// Processes at a time; as many as there are cores if not said.
    #[arg(long)]
    jobs: Option<usize>,
    /// Write everything as JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only the scenario of this name.
    #[arg(long, value_name = "SCENARIO")]
    only: Option<String>,
    /// The folder of scenarios.
    #[arg(long, default_value = "scenarios", global = true)]
    scenarios: PathBuf,
    /// Where failures are kept.
    #[arg(long, default_value = "results/chaos", value_name = "FOLDER")]
    keep: PathBuf,
}

#[derive(Subcommand)]
enum Do {
    /// Score planted bugs: is each caught, by which oracle, in how many seeds.
    Plant {
        /// The bug's name.
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        name: Option<String>,
        /// Every bug that a scenario can catch.
        #[arg(long)]
        all: bool,
        /// How many suite seeds; each draws a scenario.
        #[arg(long, default_value_t = 200)]
        seeds: u64,
        /// Only the scenario named for the bug, instead of all.
        #[arg(long)]
        named: bool,
        /// Processes at a time.
        #[arg(long)]
        jobs: Option<usize>,
        /// Write the table as JSON to this file.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Run suite seeds without any bug: none may raise an alarm. Goes on where it was interrupted.
    Twin {
        /// Up to which suite seed; each draws a scenario.
        #[arg(long, default_value_t = 10_000)]
        seeds: u64,
        /// Only scenarios whose names have this in them.
        #[arg(long, default_value = "", value_name = "PART")]
        only: String,
        /// Processes at a time.
        #[arg(long)]
        jobs: Option<usize>,
        /// Where what was run is written down.
        #[arg(long, default_value = "results/twin.json", value_name = "FILE")]
        file: PathBuf,
    },
    /// List the planted bugs.
    Plants,
    /// Run a kept failure again.
    Replay {
        /// Its folder.
        folder: PathBuf,
    },
    /// One run in this process: what the suite starts for each seed.
    #[command(hide = true)]
    One(RunArguments),
}

fn budget(text: &str) -> Result<Duration, String> {
    text.parse::<synod_control::units::Duration>()
        .map(|duration| duration.get())
        .map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let folder = arguments.sweep.scenarios.clone();
    let done = match arguments.command {
        None => suite::load(&folder).and_then(|suite| sweep::run(&suite, &arguments.sweep)),
        Some(Do::Plant { name, all: _, seeds, named, jobs, json }) => {
            suite::load(&folder).and_then(|suite| {
                score::run(&suite, name.as_deref(), &score::Options { seeds, named, jobs, json })
            })
        }
        Some(Do::Twin { seeds, only, jobs, file }) => suite::load(&folder)
            .and_then(|suite| twin::run(&suite, &twin::Options { seeds, only, jobs, file })),
        Some(Do::Plants) => Ok(plants::list()),
        Some(Do::Replay { folder }) => keep::replay(&folder),
        Some(Do::One(run)) => command::run(&run),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(exit::USAGE)
        }
    }
}

/// An error about something this program cannot do, with what.
fn cannot(what: impl Into<String>, error: impl std::fmt::Display) -> CommandError {
    CommandError::Child { what: what.into(), error: error.to_string() }
}
