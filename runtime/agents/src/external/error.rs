//! How a program that stands in for an agent can fail, each way by its name.
//!
//! Every one of them ends the program: what it would say after it has broken the protocol once is not to be trusted.

use std::time::Duration;

use synod_platform::process::{End, ToolError};

/// Why a program's work is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExternalError {
    /// There is no such program.
    #[error("not found: `{0}` is not there; give its path, or put it into a directory of PATH")]
    NotFound(String),
    /// It could not be started.
    #[error("not started: {0}")]
    Start(#[from] ToolError),
    /// It did not say that it is ready in time.
    #[error("not ready: it said no `hello` and `ready` within {} ms", .0.as_millis())]
    NotReady(Duration),
    /// It speaks another version of the protocol.
    #[error("wrong version: it speaks protocol {told}, this node speaks {}", super::line::PROTOCOL)]
    Version {
        /// Which.
        told: u32,
    },
    /// A line is longer than a line may be.
    #[error("oversize line: longer than {max} bytes; write large results to files")]
    Oversize {
        /// The bound.
        max: usize,
    },
    /// A line is not what a program may say.
    #[error("bad line: {0}")]
    BadLine(String),
    /// A line speaks of a task that it was not given.
    #[error("wrong id: it speaks of task {told}, but does task {expected}")]
    WrongId {
        /// What it said.
        told: u64,
        /// What it was given.
        expected: u64,
    },
    /// A line that may not stand there.
    #[error("out of turn: `{said}` {place}")]
    OutOfTurn {
        /// The line's type.
        said: &'static str,
        /// Where it stood.
        place: &'static str,
    },
    /// A value within a line is wrong.
    #[error("bad value: {0}")]
    BadValue(String),
    /// It named an output that is not there, or not in its folder.
    #[error("bad output: `{path}` {why}")]
    BadOutput {
        /// What it named.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// It said more lines than anyone could use.
    #[error("flood: more than {0} lines for one task; tell progress less often")]
    Flood(u32),
    /// It said nothing final until the task's time was over.
    #[error("silent past the deadline: neither `handoff` nor `failed` within {} ms", .0.as_millis())]
    Silent(Duration),
    /// It does not read what it is told.
    #[error("deaf: it did not read a line within {} ms", .0.as_millis())]
    Deaf(Duration),
    /// It ended by itself.
    #[error("exited {when}: {}{}", ended(.end), last(.said))]
    Exited {
        /// In which part of its life.
        when: &'static str,
        /// How; unknown if it only closed its output.
        end: Option<End>,
        /// The last line of its standard error.
        said: String,
    },
}

impl ExternalError {
    /// Whether this is an exit with status 0.
    pub(super) fn is_good_exit(&self) -> bool {
        matches!(self, ExternalError::Exited { end: Some(End::Code(0)), .. })
    }
}

fn ended(end: &Option<End>) -> String {
    match end {
        Some(End::Code(code)) => format!("status {code}"),
        Some(End::Signal(signal)) => format!("signal {signal}"),
        Some(_) | None => "it closed its standard output".into(),
    }
}

fn last(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!("; its last words: {said}") }
}
