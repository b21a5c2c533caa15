//! Agents that are programs of somebody else's: a role's work done over standard streams, a line of JSON at a time.
//!
//! `runtime/agents/EXTERNAL.md` is the protocol as its implementers read it. Here are its lines ([`line`]), one program's life from
//! `hello` to its end, the agent that puts it to work, and a name for each way in which a program can break the protocol.

mod agent;
mod error;
pub mod line;
mod session;

pub use agent::External;
pub use error::ExternalError;

use std::path::PathBuf;
use std::time::Duration;

/// A program that does an agent's work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The program and its arguments; without a `/` it is looked for in `PATH`.
    pub exec: Vec<String>,
    /// The directory it runs in, absolute.
    pub directory: PathBuf,
    /// Variables of the node's environment that are handed on; `PATH` and `LANG` are always set.
    pub inherit: Vec<String>,
    /// How long it may take until it is ready.
    pub ready_within: Duration,
    /// The longest that one task may take, if it is shorter than the task's own deadline.
    pub within: Option<Duration>,
}
