//! Simulated tools: recorded transcripts. A tool that was not recorded is not there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use synod_probe::{event, reach};

use super::{End, Output, Tool, ToolError};
use crate::simulation::{self, NodeId};
use crate::time;

/// What the engine records.
pub mod control {
    use std::time::Duration;

    use super::{End, NodeId, Output, here};

    /// What a tool once answered.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Transcript {
        /// The tool's name; it is found as `/usr/bin/<name>`.
        pub tool: String,
        /// The arguments to which this is the answer; `None` for all that have no other.
        pub args: Option<Vec<String>>,
        /// The exit status.
        pub status: i32,
        /// The standard output.
        pub stdout: Vec<u8>,
        /// The standard error.
        pub stderr: Vec<u8>,
        /// How long it took, in virtual time.
        pub took: Duration,
    }

    impl Transcript {
        /// A tool that succeeds at once and says `stdout`, whatever its arguments.
        pub fn says(tool: &str, stdout: impl Into<Vec<u8>>) -> Self {
            Self {
                tool: tool.to_owned(),
                args: None,
                status: 0,
                stdout: stdout.into(),
                stderr: Vec::new(),
                took: Duration::from_millis(1),
            }
        }

        pub(super) fn output(&self) -> Output {
            Output {
                end: End::Code(self.status),
                stdout: self.stdout.clone(),
                stderr: self.stderr.clone(),
                truncated: false,
                took: self.took,
            }
        }
    }

    /// Gives a node a tool, or one answer more of a tool that it has. A later answer to the same arguments replaces an earlier one.
    pub fn record(node: NodeId, transcript: Transcript) {
        here(node, |machine| {
            let answers = machine.tools.entry(transcript.tool.clone()).or_default();
            answers.retain(|answer| answer.args != transcript.args);
            answers.push(transcript);
        });
    }

    /// Sets a variable of a node's environment.
    pub fn set_variable(node: NodeId, name: &str, value: &str) {
        here(node, |machine| machine.variables.insert(name.to_owned(), value.to_owned()));
    }
}

use control::Transcript;

#[derive(Default)]
struct Machine {
    tools: BTreeMap<String, Vec<Transcript>>,
    variables: BTreeMap<String, String>,
}

#[derive(Default)]
struct Machines(RefCell<BTreeMap<NodeId, Machine>>);

fn here<T>(node: NodeId, body: impl FnOnce(&mut Machine) -> T) -> T {
    body(simulation::state::<Machines>().0.borrow_mut().entry(node).or_default())
}

const TOOLS: &str = "/usr/bin";

pub(super) async fn run(tool: Tool) -> Result<Output, ToolError> {
    let not_found =
        || ToolError::NotFound { program: tool.program.clone(), directory: tool.directory.clone() };
    let name = tool.program.strip_prefix(TOOLS).ok().and_then(Path::to_str).ok_or_else(not_found)?;
    let answer = here(simulation::current_node(), |machine| {
        let answers = machine.tools.get(name).ok_or_else(not_found)?;
        let exact = answers.iter().find(|answer| answer.args.as_ref() == Some(&tool.args));
        let any = || answers.iter().find(|answer| answer.args.is_none());
        exact.or_else(any).cloned().ok_or_else(|| ToolError::Refused {
            program: tool.program.clone(),
            reason: format!("no answer was recorded for `{}`", tool.line()),
        })
    })?;
    let mut output = answer.output();
    for bytes in [&mut output.stdout, &mut output.stderr] {
        output.truncated |= bytes.len() > tool.output_limit;
        bytes.truncate(tool.output_limit);
    }
    let took = simulation::slowed(answer.took);
    if took > tool.time_limit {
        reach!("process.tool_timed_out");
        output =
            Output { end: End::TimedOut, stdout: Vec::new(), stderr: Vec::new(), truncated: false, took };
    }
    output.took = took.min(tool.time_limit);
    time::sleep(output.took).await;
    event!("process.tool", name = name, took_us = micros(output.took));
    Ok(output)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

pub(super) fn which(name: &str) -> Option<PathBuf> {
    let there = here(simulation::current_node(), |machine| machine.tools.contains_key(name));
    there.then(|| Path::new(TOOLS).join(name))
}

pub(super) fn variable(name: &str) -> Option<String> {
    here(simulation::current_node(), |machine| machine.variables.get(name).cloned())
}

/// Different for every life, as a restarted process's is.
pub(super) fn pid() -> u32 {
    let life = simulation::current();
    life.node.number() * 1_000 + life.number
}

pub(super) fn directory() -> PathBuf {
    PathBuf::from("/")
}

pub(super) fn program() -> Option<PathBuf> {
    Some(Path::new(TOOLS).join("synod"))
}
