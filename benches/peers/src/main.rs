//! `cargo peers`: the ring beside rtrb, crossbeam's and std's bounded channels and the physical floor.
//!
//! All subjects run in this process on the same two cores, in slices of about 50 ms that alternate inside a round; a ratio
//! is taken inside its round, and what is judged is the median ratio with its 95 % interval over all rounds. Every
//! slice asserts that what was received is what was sent. Absolute figures between two cores move with the machine: compare ratios.

mod cli;
mod groups;
mod machine;
mod measure;
mod report;
mod statistics;
mod subjects;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match cli::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("peers: {problem}");
            ExitCode::FAILURE
        }
    }
}
