//! Simulated tools: recorded transcripts. A tool that was not recorded is not there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use synod_probe::{event, reach};

use super::{Breach, Contained, End, Held, Jail, Measure, Output, Tool, ToolError};
use crate::simulation::{self, NodeId};
use crate::time;

/// What the engine records.
pub mod control {
    use std::time::Duration;

    use super::{Breach, Contained, End, Held, Measure, NodeId, Output, here};

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
        /// The bounds that it ran into, if it is run in a jail. The first that kills (any but [`Breach::LeftProcesses`]) ends it.
        pub breaches: Vec<Breach>,
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
                breaches: Vec::new(),
            }
        }

        pub(super) fn output(&self, contained: Option<Contained>) -> Output {
            let jailed = contained.is_some();
            let breaches = if jailed { self.breaches.clone() } else { Vec::new() };
            let fatal = breaches.iter().copied().find(|breach| *breach != Breach::LeftProcesses);
            Output {
                end: fatal.map_or(End::Code(self.status), End::Breached),
                stdout: self.stdout.clone(),
                stderr: self.stderr.clone(),
                truncated: false,
                took: self.took,
                breaches,
                contained: contained.unwrap_or_default(),
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

    /// Sets how a measure of every jail on this node stands from now on; each is enforced whole at first.
    pub fn contain(node: NodeId, measure: Measure, held: Held) {
        here(node, |machine| machine.holds.insert(measure, held));
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
    holds: BTreeMap<Measure, Held>,
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
    let mut output = answer.output(tool.jail.as_ref().map(contained));
    for bytes in [&mut output.stdout, &mut output.stderr] {
        output.truncated |= bytes.len() > tool.output_limit;
        bytes.truncate(tool.output_limit);
    }
    let took = simulation::slowed(answer.took);
    if took > tool.time_limit {
        reach!("process.tool_timed_out");
        output = Output {
            end: End::TimedOut,
            stdout: Vec::new(),
            stderr: Vec::new(),
            truncated: false,
            took,
            breaches: Vec::new(),
            contained: output.contained,
        };
    }
    output.took = took.min(tool.time_limit);
    time::sleep(output.took).await;
    event!("process.tool", name = name, took_us = micros(output.took));
    Ok(output)
}

/// How the jails of this node stand, as the engine set it.
fn contained(jail: &Jail) -> Contained {
    here(simulation::current_node(), |machine| {
        let held = |measure| match measure {
            Measure::Network if jail.network => Held::Allowed,
            _ => machine.holds.get(&measure).cloned().unwrap_or_else(|| Held::By("simulation".to_owned())),
        };
        Contained { measures: Measure::ALL.map(|measure| (measure, held(measure))).to_vec() }
    })
}

pub(super) async fn containment() -> Result<Contained, ToolError> {
    Ok(contained(&Jail::new("/")))
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
