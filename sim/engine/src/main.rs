//! `cargo sim`: runs scenarios on the deterministic simulator.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use synod_sim::command::{self, RunArguments};
use synod_sim::scenario::schema;
use synod_sim::verdict::exit;

/// Runs scenarios on the deterministic simulator: one seed, one trace.
#[derive(Parser)]
#[command(name = "cargo sim", bin_name = "cargo sim", version, after_help = HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Do,
}

const HELP: &str = "\
Examples:
  cargo sim list
  cargo sim run scenarios/failover-busy.toml --seed 7
  cargo sim run scenarios/failover-busy.toml --seed 7 --trace /tmp/trace.txt --json -
  cargo sim check scenarios/failover-busy.toml --seed 7

Exit statuses:
  0 pass    2 wrong usage or file    10 safety violation    11 liveness violation    12 crash
  13 unknown (an oracle had nothing to judge)    14 unsupported    15 two runs of one seed differ";

#[derive(Subcommand)]
enum Do {
    /// Run a scenario once, print what came of it.
    Run(RunArguments),
    /// Run it twice, in two processes, and compare the traces byte by byte.
    Check {
        /// The scenario file.
        file: PathBuf,
        /// The seed.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// List the scenarios of a folder, and why each is there.
    List {
        /// The folder.
        #[arg(default_value = "scenarios")]
        folder: PathBuf,
    },
    /// List the oracles: what must hold.
    Oracles,
    /// Print the JSON schema of scenario files.
    Schema,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Do::Run(arguments) => command::run(&arguments),
        Do::Check { file, seed } => command::check(&file, seed),
        Do::List { folder } => command::list(&folder),
        Do::Oracles => Ok(command::oracles()),
        Do::Schema => {
            print!("{}", schema::text());
            Ok(exit::PASS)
        }
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(exit::USAGE)
        }
    }
}
