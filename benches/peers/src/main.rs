//! `cargo peers`: the ring and the fabric beside other people's queues and the physical floor, in one process and between two.
//!
//! All subjects run on the same two cores, in slices of about 50 ms that alternate inside a round; a ratio
//! is taken inside its round, and what is judged is the median ratio with its 95 % interval over all rounds. Every
//! slice asserts that what was received is what was sent. Absolute figures between two cores move with the machine: compare ratios.

#[cfg(feature = "store")]
mod calls;
mod cli;
#[cfg(feature = "store")]
mod durable;
mod groups;
#[cfg(feature = "fabric")]
mod idle;
#[cfg(feature = "store")]
mod kept;
mod machine;
mod measure;
#[cfg(feature = "fabric")]
mod processes;
mod report;
mod statistics;
mod subjects;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    // This program starts itself again for the other side of a pair of processes.
    #[cfg(feature = "fabric")]
    if let [_, word, task] = &std::env::args().collect::<Vec<_>>()[..]
        && word == "other"
    {
        return ended(processes::Task::read(task).and_then(processes::Task::run));
    }
    ended(cli::run(&cli::Arguments::parse()))
}

fn ended(done: Result<(), String>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("peers: {problem}");
            ExitCode::FAILURE
        }
    }
}
