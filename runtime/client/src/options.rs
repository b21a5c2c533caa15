//! How a process attaches: where the node is, and what holds for all it sends and receives unless it says otherwise.

use std::path::PathBuf;
use std::time::Duration;

use synod_fabric::Priority;
use synod_fabric::attach::{AttachOptions, attach};
use synod_platform::local::folder::{self, Purpose};
use synod_platform::process;

use crate::{Client, ClientError};

/// How a process attaches; what is not said comes from the environment or is the usual.
#[derive(Clone, Debug, Default)]
pub struct Options {
    socket: Option<PathBuf>,
    node: Option<String>,
    token: Option<String>,
    within: Option<Duration>,
    lane_bytes: Option<usize>,
    spin: Option<Duration>,
    pub(crate) defaults: Defaults,
}

/// What holds unless a call says otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    pub capacity: usize,
    pub priority: Priority,
    pub patience: Duration,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { capacity: 256, priority: Priority::Normal, patience: Duration::from_secs(5) }
    }
}

impl Options {
    /// The usual ones.
    pub fn new() -> Self {
        Self::default()
    }

    /// The node's socket, instead of the one that SYNOD_ATTACH names or the runtime folder has.
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = Some(path.into());
        self
    }

    /// The node whose socket is looked for in the runtime folder, instead of SYNOD_NODE's or `synod`.
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = Some(name.into());
        self
    }

    /// What is shown to a node that wants a token, instead of SYNOD_TOKEN's. Each is good
    /// once; when such a node was lost and is back, it knows who was let in.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// How long the node may take to let the process in; 5 s if nothing is said.
    pub fn within(mut self, within: Duration) -> Self {
        self.within = Some(within);
        self
    }

    /// Bytes of each of the two rings to another context; a power of two, 1 KiB to 64 MiB, 16 KiB if nothing is said.
    pub fn lane_bytes(mut self, bytes: usize) -> Self {
        self.lane_bytes = Some(bytes);
        self
    }

    /// How long this process looks for more after a message came, before it sleeps: what comes meanwhile costs no wake-up, but the looking
    /// costs processor time. 50 µs if nothing is said, zero for not at all.
    pub fn spin(mut self, span: Duration) -> Self {
        self.spin = Some(span);
        self
    }

    /// Places of a subscription for each priority and sending context; 256 if nothing is said.
    pub fn capacity(mut self, places: usize) -> Self {
        self.defaults.capacity = places;
        self
    }

    /// How urgent what is sent is; NORMAL if nothing is said.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.defaults.priority = priority;
        self
    }

    /// How long a publish waits for room, a request for its answer, a detach for answers that are not on their lanes; 5 s if nothing is said.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.defaults.patience = patience;
        self
    }

    /// Attaches; `name` is the process's and its first agent's, unique in the node.
    pub async fn attach(self, name: &str) -> Result<Client, ClientError> {
        let mut options = AttachOptions::new(self.find()?, name);
        options.token = self.token.or_else(|| process::variable("SYNOD_TOKEN"));
        options.within = self.within.unwrap_or(options.within);
        options.lane_bytes = self.lane_bytes.unwrap_or(options.lane_bytes);
        options.spin = self.spin.unwrap_or(options.spin);
        let attachment = attach(options).await?;
        Client::enter(attachment, name, self.defaults).await
    }

    /// The node's socket.
    fn find(&self) -> Result<PathBuf, ClientError> {
        let named = || process::variable("SYNOD_ATTACH").map(|path| process::absolute(path.as_ref()));
        if let Some(socket) = self.socket.clone().or_else(|| if self.node.is_none() { named() } else { None })
        {
            return Ok(socket);
        }
        let node = self.node.clone().or_else(|| process::variable("SYNOD_NODE"));
        let node = node.unwrap_or_else(|| "synod".into());
        folder::to_ask(&node, Purpose::Attach).ok_or(ClientError::NoNode(node))
    }
}
