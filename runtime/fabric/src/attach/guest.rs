//! A process's end: attaches, does what the node tells, and attaches again when the node was lost.

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use synod_platform::local::{self, Channel, LocalError};
use synod_platform::{random, task, time, watch};
use synod_probe::{event, reach};

use super::control::{Ask, Malformed, NODE, Tell, VERSION};
use super::replica;
use super::standing::PayloadMemory;
use super::uplink::Uplink;
use crate::config::{FabricConfig, SPIN};
use crate::fabric::Fabric;
use crate::registry::Shared;

/// First and longest pause between two attempts to find the node again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// How a process attaches.
#[derive(Clone, Debug)]
pub struct AttachOptions {
    /// The node's socket.
    pub path: PathBuf,
    /// What the process calls itself.
    pub name: String,
    /// Shown to a node that asks for one.
    pub token: Option<String>,
    /// How long the node may take to admit it.
    pub within: Duration,
    /// Bytes of each ring of a new lane from this process; a power of two.
    pub lane_bytes: usize,
    /// How long its contexts look for more after something came, before they sleep; nothing for not at all.
    pub spin: Duration,
}

impl AttachOptions {
    /// The usual settings, for a process of that name.
    pub fn new(path: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        let (path, name, token) = (path.into(), name.into(), None);
        Self { path, name, token, within: Duration::from_secs(5), lane_bytes: 16 << 10, spin: SPIN }
    }
}

/// Why a process is not attached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetachReason {
    /// The socket.
    #[error(transparent)]
    Socket(#[from] LocalError),
    /// The node does not want it.
    #[error("the node does not admit this process: {0}")]
    Rejected(String),
    /// The node did not answer in time.
    #[error("the node did not answer in time: is it alive?")]
    Silent,
    /// The node closed the connection, or has ended.
    #[error("the node has ended, or closed the connection")]
    Closed,
    /// What listens there is no node of this protocol.
    #[error("what listens there speaks no language of ours: {0}")]
    Protocol(String),
}

impl From<Malformed> for DetachReason {
    fn from(error: Malformed) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// A process in its node's fabric. While this lives it attaches again, with back-off, whenever the node was lost.
pub struct Attachment {
    fabric: Fabric,
    state: watch::Receiver<Option<DetachReason>>,
    task: task::JoinHandle<()>,
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment").field("fabric", &self.fabric).finish_non_exhaustive()
    }
}

impl Attachment {
    /// The fabric: enter it for a context, in which agents are made with [`join`](crate::Context::join).
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// Why the process is not attached at this moment; `None` if it is.
    pub fn lost(&self) -> Option<DetachReason> {
        self.state.borrow().clone()
    }

    /// Waits until the process is attached, or is not.
    pub async fn changed_to(&self, attached: bool) {
        let mut state = self.state.clone();
        while state.borrow_and_update().is_none() != attached {
            if state.changed().await.is_err() {
                // Its task has ended: nothing will ever change.
                std::future::pending().await
            }
        }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Attaches to the node that listens at a socket. To be called on the executor that is to keep the connection.
pub async fn attach(options: AttachOptions) -> Result<Attachment, DetachReason> {
    let member = loop {
        let member = random::u64() as u32;
        if member != NODE {
            break member;
        }
    };
    let until = time::now() + options.within;
    let greeted = time::timeout_at(until, greet(&options, member, options.token.clone())).await;
    let ((node, payload_memory), spools, mut channel) = greeted.map_err(|_| DetachReason::Silent)??;
    let AttachOptions { lane_bytes, spin, .. } = options;
    let fabric = Fabric::of_member(
        FabricConfig { lane_bytes, payload_memory, spin, ..FabricConfig::named(node) },
        member,
    );
    let uplink = Arc::new(Uplink::default());
    uplink.come_up();
    fabric.shared().join(uplink.clone());
    fabric.shared().keep_in(spools);
    let again = RefCell::new(options.token.clone());
    let guest = Guest { options, member, shared: fabric.shared().clone(), uplink, again };
    let settled = time::timeout_at(until, guest.settle(&mut channel)).await;
    settled.map_err(|_| DetachReason::Silent)??;
    let (tell, state) = watch::channel(None);
    let task = task::spawn(guest.stay(channel, tell));
    Ok(Attachment { fabric, state, task })
}

type Halves = (local::Sender, local::Receiver);

/// Says hello and waits to be let in; returns the node's name, what memory it wants for long payloads, and the folder of its spools.
async fn greet(
    options: &AttachOptions,
    member: u32,
    token: Option<String>,
) -> Result<((String, PayloadMemory), Option<PathBuf>, Halves), DetachReason> {
    let channel: Channel = local::connect(&options.path).await?;
    // Files are mapped for a node of this process's own user alone: another's could be cut under it.
    let own = channel.peer().uid == local::user();
    let (mut sender, mut receiver) = channel.split();
    let name = options.name.clone();
    let hello = Ask::Hello { oldest: VERSION, newest: VERSION, member, name, token };
    sender.send(&hello.encode(), Vec::new()).await?;
    let (frame, _) = receiver.recv().await?.ok_or(DetachReason::Closed)?;
    match Tell::decode(&frame)? {
        Tell::Welcome { version: VERSION, node, spools, memory } => {
            Ok(((node, memory), spools.filter(|_| own).map(PathBuf::from), (sender, receiver)))
        }
        Tell::Rejected { why } => Err(DetachReason::Rejected(why)),
        other => Err(DetachReason::Protocol(format!("its first frame is {other:?}"))),
    }
}

struct Guest {
    options: AttachOptions,
    member: u32,
    shared: Arc<Shared>,
    uplink: Arc<Uplink>,
    /// What lets it in after the node was lost, if a token did at first.
    again: RefCell<Option<String>>,
}

impl Guest {
    /// Learns everything there is.
    async fn settle(&self, (_, receiver): &mut Halves) -> Result<(), DetachReason> {
        loop {
            let (frame, handles) = receiver.recv().await?.ok_or(DetachReason::Closed)?;
            match Tell::decode(&frame)? {
                Tell::Settled => return Ok(()),
                tell => replica::apply(&self.shared, &self.uplink, tell, handles),
            }
        }
    }

    /// Stays attached, and attaches again.
    async fn stay(self, mut channel: Halves, tell: watch::Sender<Option<DetachReason>>) {
        let mut pause = PAUSE.0;
        loop {
            let why = self.take_part(&mut channel).await;
            drop(channel);
            reach!("attach.node_lost");
            event!("attach.node_lost", why = &why.to_string());
            self.uplink.go_down();
            self.shared.lose_all_away();
            tell.send_replace(Some(why));
            channel = loop {
                let half = (pause.as_nanos() as u64 / 2).max(1);
                time::sleep(Duration::from_nanos(half + random::below(half))).await;
                let again = async {
                    let shown = self.again.borrow().clone();
                    let (_, spools, mut channel) = greet(&self.options, self.member, shown).await?;
                    self.shared.keep_in(spools);
                    self.uplink.come_up();
                    self.settle(&mut channel).await?;
                    Ok::<_, DetachReason>(channel)
                };
                match time::timeout(self.options.within, again).await {
                    Ok(Ok(channel)) => break channel,
                    failed => {
                        self.uplink.go_down();
                        self.shared.lose_all_away();
                        let why = failed.map_or(DetachReason::Silent, |refused| match refused {
                            Err(why) => why,
                            Ok(_) => DetachReason::Closed,
                        });
                        event!("attach.again_failed", why = &why.to_string());
                        tell.send_replace(Some(why));
                        pause = (pause * 2).min(PAUSE.1);
                    }
                }
            };
            reach!("attach.again");
            event!("attach.again", node = &self.shared.config.node);
            pause = PAUSE.0;
            self.shared.tell_all();
            tell.send_replace(None);
        }
    }

    /// Does what the node tells, and tells it what is asked here, until the node is lost.
    async fn take_part(&self, (sender, receiver): &mut Halves) -> DetachReason {
        let read = async {
            loop {
                match receiver.recv().await {
                    Ok(Some((frame, handles))) => match Tell::decode(&frame) {
                        Ok(Tell::Again { secret }) => *self.again.borrow_mut() = Some(secret),
                        Ok(tell) => replica::apply(&self.shared, &self.uplink, tell, handles),
                        Err(error) => return DetachReason::from(error),
                    },
                    Ok(None) => return DetachReason::Closed,
                    Err(error) => return error.into(),
                }
            }
        };
        let write = async {
            loop {
                let (ask, handles) = self.uplink.next().await;
                if let Err(error) = sender.send(&ask.encode(), handles).await {
                    return DetachReason::from(error);
                }
            }
        };
        tokio::select! {
            biased;
            why = read => why,
            why = write => why,
        }
    }
}
