//! The shells of TESTBED: a copy of the tree, the jail around every call, and one file for each kind of runner.
//!
//! A runner that is missing, or a call that the system refuses, is a warning of that runner's results and never the end of the work.

pub mod bench;
pub mod c;
pub mod node;
pub mod python;
pub mod rust;

use synod_platform::process::{End, Output};

use super::case::{Case, Outcome, one_line};

/// How a process ended, in words for a report.
fn end(output: &Output) -> String {
    match output.end {
        End::Code(code) => format!("it exited with status {code}"),
        End::Signal(signal) => format!("signal {signal} ended it"),
        End::TimedOut => "it did not end in its time".into(),
        End::Breached(breach) => format!("it was killed for its use of {breach}"),
    }
}

/// What a runner printed to its standard output.
fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a runner printed to its standard error.
fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The outcome of a process that stands for one test and says nothing but its status.
fn outcome(output: &Output) -> Outcome {
    match output.end {
        End::Code(0) => Outcome::Passed,
        End::Code(_) => Outcome::Failed,
        End::TimedOut => Outcome::TimedOut,
        End::Signal(_) | End::Breached(_) => Outcome::Error,
    }
}

/// Marks a case with the result of being run again alone.
fn tried(case: &mut Case, passed: bool) {
    case.again += 1;
    case.flaky |= passed;
}

/// A sentence for a suite whose last words are told.
fn broke_off(suite: &str, output: &Output) -> String {
    one_line(&format!("{suite}: {} before it told its totals", end(output)))
}
