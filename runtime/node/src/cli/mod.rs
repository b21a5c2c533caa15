//! The commands of the binary `synod`: what they take, what they print, how they exit.
//!
//! Results go to standard output, progress and errors to standard error. Exit codes are the same for all commands and
//! stand in `--help`.

mod agents;
mod arguments;
mod client;
mod completion;
mod configuration;
mod doctor;
mod place;
mod plan;
mod problem;
mod progress;
mod pubsub;
mod review;
mod runs;
mod selftest;
mod store;
mod tap;
mod text;
mod token;
mod up;

use std::process::ExitCode;

use clap::Parser;

use self::arguments::{Arguments, Command, Run, RunOptions, Simd};
use self::problem::Problem;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, and nothing speaks against what was looked at.
    Fine = 0,
    /// Done, and findings (or failed checks) speak against it.
    Found = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// It could not be done, or not wholly.
    Failed = 3,
    /// It was cancelled by a signal.
    Cancelled = 4,
}

/// Runs the command that `arguments` (with the program's name first) ask for.
pub fn main(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are "errors" of clap's that end well; if they cannot be printed nobody reads them.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Exit::Usage as u8 } else { Exit::Fine as u8 });
        }
    };
    synod_wire::simd::force_scalar(arguments.simd == Simd::Scalar);
    let outcome = match arguments.command {
        Command::Run(RunOptions { job: Some(Run::Review(options)), .. }) => review::main(&options),
        Command::Run(options) => plan::run(&options),
        Command::Plan(planned) => plan::main(&planned),
        Command::Runs(options) => runs::main(&options),
        Command::Up(options) => up::main(&options),
        Command::Selftest(options) => selftest::main(&options),
        Command::Doctor(options) => doctor::main(&options),
        Command::Agents(options) => agents::main(&options),
        Command::Token(options) => token::main(&options),
        Command::Pub(options) => pubsub::publish(&options),
        Command::Sub(options) => pubsub::subscribe(&options),
        Command::Tap(options) => tap::main(&options),
        Command::Req(options) => pubsub::request(&options),
        Command::Store(command) => store::main(&command),
        Command::Completions(options) => completion::main(&options),
    };
    let exit = outcome.unwrap_or_else(|problem: Problem| {
        problem.print();
        problem.exit
    });
    ExitCode::from(exit as u8)
}
