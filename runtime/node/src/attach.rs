//! How a node admits processes of its machine: where its socket lies, who may connect, and what it tells of those who have.
//!
//! `synod up` admits them; the nodes that other commands start for themselves do not.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use synod_control::units;
use synod_fabric::attach::{Attached, Host, PayloadMemory, Rung};
use synod_fabric::{AttachError, Context, Pattern};
use synod_platform::task::{self, JoinHandle};

/// How long a process may take to note a change if nobody says otherwise.
const FENCE: Duration = Duration::from_secs(5);

/// The settings of `[attach]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachConfig {
    /// Whether processes may attach.
    pub on: bool,
    /// The socket, if it is not to lie in the user's runtime folder under the node's name.
    pub socket: Option<PathBuf>,
    /// The group, by name or number, whose processes may attach beside the node's own user's.
    pub group: Option<String>,
    /// Whether each process must show a token, which `synod token` prints.
    pub tokens: bool,
    /// What any process that attached may tap, as `synod tap` does.
    pub tap: Vec<Pattern>,
    /// A process that has not noted a change for this long is cut off.
    pub fence: Duration,
    /// What memory for long payloads shall be like, the node's own and that of who attaches.
    pub payload_memory: PayloadMemory,
}

impl Default for AttachConfig {
    fn default() -> Self {
        AttachConfig {
            on: true,
            socket: None,
            group: None,
            tokens: false,
            tap: Vec::new(),
            fence: FENCE,
            payload_memory: PayloadMemory::Plain,
        }
    }
}

/// The table as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AttachTable {
    on: bool,
    socket: Option<PathBuf>,
    group: Option<String>,
    tokens: bool,
    tap: Vec<String>,
    fence: units::Duration,
    payload_memory: PayloadMemory,
}

impl Default for AttachTable {
    fn default() -> Self {
        let AttachConfig { on, socket, group, tokens, tap: _, fence, payload_memory } =
            AttachConfig::default();
        let fence = units::Duration(fence);
        AttachTable { on, socket, group, tokens, tap: Vec::new(), fence, payload_memory }
    }
}

impl AttachTable {
    /// What the table asks for, or which of its keys is wrong and why.
    pub(crate) fn read(self) -> Result<AttachConfig, (&'static str, String)> {
        let fence = self.fence.get();
        if !(Duration::from_millis(100)..=Duration::from_secs(600)).contains(&fence) {
            return Err(("fence", "must be from 100 ms to 10 minutes".into()));
        }
        if self.socket.as_ref().is_some_and(|socket| !socket.is_absolute()) {
            return Err(("socket", "must be an absolute path".into()));
        }
        if self.group.as_ref().is_some_and(String::is_empty) {
            return Err(("group", "must be a group's name or number".into()));
        }
        if self.group.is_some() && self.socket.is_none() {
            let problem = "cannot enter the user's runtime folder: name a socket in a folder that it can (attach.socket)";
            return Err(("group", problem.into()));
        }
        let tap = self.tap.iter().map(|pattern| Pattern::new(pattern)).collect::<Result<_, _>>();
        let tap = tap.map_err(|error| ("tap", error.to_string()))?;
        let AttachTable { on, socket, group, tokens, payload_memory, .. } = self;
        Ok(AttachConfig { on, socket, group, tokens, tap, fence, payload_memory })
    }
}

/// A process that has attached, as the node tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// What it calls itself.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// Its user's id.
    pub uid: u32,
    /// The names of its agents.
    pub agents: Vec<String>,
    /// What its memory for long payloads stands on; nothing if it has none yet, or plain memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<Rung>,
}

impl From<Attached> for Process {
    fn from(Attached { name, process, agents, memory }: Attached) -> Self {
        Process { name, pid: process.pid, uid: process.uid, agents, memory }
    }
}

/// The subject on which a node tells who is attached: an array of [`Process`]es in JSON.
pub fn attached_subject(node: &str) -> String {
    format!("attach.processes.{node}")
}

/// The subject on which a node gives a token that admits one process.
pub fn token_subject(node: &str) -> String {
    format!("attach.token.{node}")
}

/// A node's host, which answers who asks about it, for as long as it is kept.
#[derive(Debug)]
pub(crate) struct Desk {
    pub host: Rc<Host>,
    answering: JoinHandle<()>,
}

impl Desk {
    pub async fn open(home: &Context, host: Host) -> Result<Self, AttachError> {
        let host = Rc::new(host);
        let (agent, node) = (home.agent("attach")?, home.fabric().node());
        let mut who = agent.serve(&attached_subject(node), 16).await?;
        let mut token = agent.serve(&token_subject(node), 16).await?;
        let asked = host.clone();
        let answering = task::spawn(async move {
            loop {
                // Who no longer waits needs no answer.
                tokio::select! {
                    biased;
                    Some(message) = who.recv() => {
                        let all: Vec<Process> = asked.attached().into_iter().map(Process::from).collect();
                        let _ = match serde_json::to_vec(&all) {
                            Ok(text) => message.reply(text),
                            Err(error) => message.fail(&error.to_string()),
                        };
                    }
                    Some(message) = token.recv() => {
                        // Another node's agents are not of this machine.
                        let _ = match message.source().contains('/') {
                            true => message.refuse("tokens are for processes of this machine"),
                            false => message.reply(asked.token()),
                        };
                    }
                    else => break,
                }
            }
        });
        Ok(Self { host, answering })
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.answering.abort();
    }
}
