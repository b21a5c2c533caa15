//! The ways that bytes can take on this machine: which of them a node uses, for what and why, and what the others would need.
//!
//! Each is tried here and now: memory is sealed and passed over a Unix socket, a bell is rung, the kernel is asked for its operations.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use synod_fabric::attach::PayloadMemory;
use synod_platform::local::{self, Access, Listener};
use synod_platform::memory::{self, Bell, Waiter, dma};
use synod_platform::net::Choice;
use synod_platform::queue::{Reader, Writer};
use synod_platform::topology::Topology;
use synod_platform::{disk, files, machine, time};
use synod_wire::simd;

use crate::config::NodeConfig;

/// How long what is tried may take.
const WITHIN: Duration = Duration::from_secs(5);
/// Bytes of a region that is passed on for proof.
const REGION: usize = 64 << 10;
/// Bytes of memory for devices; within what may be locked nearly everywhere.
const DMA: usize = 2 << 20;

/// Why links go by epoll where nothing else is asked for.
const AUTO: &str = "not used: epoll measured faster (`cargo peers --only links`), for an executor that sleeps in epoll hears of a ring's answers \
     by epoll, too; links.sockets = \"io-uring\" asks for it";

/// One way for bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Transport {
    /// Its name.
    pub name: String,
    /// Whether it is used.
    pub state: State,
    /// For what it is used and why, or why it is not.
    pub why: String,
}

/// Whether a transport is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A node here uses it.
    InUse,
    /// It works here, but a node uses another, or was not told to use it.
    Ready,
    /// It does not work here.
    Unavailable,
}

impl State {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            State::InUse => "in use",
            State::Ready => "ready",
            State::Unavailable => "unavailable",
        }
    }
}

fn transport(name: impl Into<String>, state: State, why: impl Into<String>) -> Transport {
    Transport { name: name.into(), state, why: why.into() }
}

/// In use for this reason if it works, unavailable for that if not.
fn tried(name: &str, tried: Result<(), String>, why: &str) -> Transport {
    match tried {
        Ok(()) => transport(name, State::InUse, why),
        Err(refused) => transport(name, State::Unavailable, refused),
    }
}

/// Tries every way that bytes could take for a node of this configuration.
pub async fn examine(config: &NodeConfig) -> Vec<Transport> {
    let (sockets, regions) = between_processes().await;
    let attach = |name, tried: Result<(), String>, why: &str| match tried {
        Ok(()) if !config.attach.on => {
            transport(name, State::Ready, "no process may attach: attach.on = false")
        }
        tried => self::tried(name, tried, why),
    };
    let mut all = vec![
        attach(
            "shared-memory rings",
            regions,
            "messages between processes of this machine, without a system call: each side writes only sealed memory of its own; \
             long payloads stay where they were written",
        ),
        attach(
            "doorbells: socket pairs",
            rung().await,
            "wake a process that sleeps: who rings never blocks, which whoever holds an eventfd can spoil",
        ),
        match machine::futex() {
            Ok(()) => transport(
                "doorbells: futex",
                State::Ready,
                "not used: it wakes a blocked thread sooner, but an executor sleeps on descriptors and timers at once; as an io_uring's wait, \
                 which it could watch, it measured no faster than the socket pair (`cargo peers --only processes-blocked`)",
            ),
            Err(why) => transport("doorbells: futex", State::Unavailable, why),
        },
    ];
    all.extend(io_uring(config));
    all.push(tried(
        "Unix sockets",
        sockets,
        "commands, and attaching processes with the handles of their memory: the kernel tells who is there",
    ));
    all.push(attach(
        "memory-mapped queues",
        queue().await,
        "BACKGROUND messages between processes of the node's own user: they wait in files beside its socket, whoever dies, but for a loss of \
         power; with a process of another user, who could cut a file under its reader, they go by the rings",
    ));
    all.push(links(config));
    all.extend(simd::kernels().into_iter().map(|(job, kernel)| {
        let best = "the widest that measured faster, and that this processor and --simd allow";
        let (state, why) = match job {
            "scan" => (
                State::Ready,
                format!("{kernel}: {best}; not used: the words that a receiver looks at lie apart"),
            ),
            "sets" => (
                State::Ready,
                format!("{kernel}: {best}; not used: routes are found by names, not in bitmaps"),
            ),
            _ => (State::InUse, format!("{kernel}: {best}")),
        };
        transport(format!("SIMD: {job}"), state, why)
    }));
    all.extend(ladder(config));
    all
}

fn io_uring(config: &NodeConfig) -> Vec<Transport> {
    let files = match disk::backend() {
        disk::Backend::ThreadPool { reason } => transport("io_uring: files", State::Unavailable, reason),
        backend => transport(
            "io_uring: files",
            State::InUse,
            format!("{backend}: what a context has to read and write goes to the kernel in one call"),
        ),
    };
    vec![files, sockets(config)]
}

fn sockets(config: &NodeConfig) -> Transport {
    const NAME: &str = "io_uring: sockets";
    let operations = match machine::io_uring() {
        Err(why) => return transport(NAME, State::Unavailable, why),
        Ok(operations) => operations,
    };
    let of = |there| {
        let names = operations.iter().filter(|operation| operation.1 == there).map(|operation| operation.0);
        names.collect::<Vec<_>>().join(", ")
    };
    let lacks = if of(false).is_empty() { "nothing".to_owned() } else { of(false) };
    let (state, chosen) = match config.links.as_ref().map(|links| links.sockets) {
        Some(Choice::IoUring) => (
            State::InUse,
            "messages between nodes, as links.sockets asks: one entry receives again and again, one sends a whole batch",
        ),
        Some(Choice::Epoll) => (State::Ready, "not used: links.sockets asks for epoll"),
        None | Some(Choice::Automatic) => (State::Ready, AUTO),
    };
    transport(NAME, state, format!("{chosen}; the kernel has {}, and lacks {lacks}", of(true)))
}

fn links(config: &NodeConfig) -> Transport {
    const NAME: &str = "links: TCP, TLS 1.3";
    let Some(links) = &config.links else {
        let why = "no other node is configured; beyond this machine links are encrypted, and both sides prove who they are";
        return transport(NAME, State::Ready, why);
    };
    let sealed = if links.credentials.authenticates() {
        "encrypted, both sides with certificates"
    } else {
        "plain, for they do not leave this machine"
    };
    let why = format!("messages between nodes: {} peers configured, {sealed}", links.peers.len());
    transport(NAME, State::InUse, why)
}

/// The rungs of memory for long payloads: those in use that the configuration asks for.
fn ladder(config: &NodeConfig) -> Vec<Transport> {
    let asked = match config.attach.payload_memory {
        _ if !config.attach.on => 0,
        PayloadMemory::Plain => 1,
        PayloadMemory::Local => 4,
        PayloadMemory::Device => dma::RUNGS.len(),
    };
    let near = Topology::detect().ok().and_then(|machine| Some(machine.numa_nodes.first()?.number));
    match dma::region(DMA, dma::Height::Top, near) {
        Ok(region) => region
            .rungs()
            .iter()
            .enumerate()
            .map(|(place, rung)| {
                let (state, why) = match &rung.state {
                    dma::State::Held(how) if rung.name == dma::RING => (
                        State::Ready,
                        format!("{how}; not used: what goes to files and sockets is copied first"),
                    ),
                    dma::State::Held(how) if place < asked => (
                        State::InUse,
                        format!("{how}: so is all memory for long payloads, once there is some"),
                    ),
                    dma::State::Held(how) => {
                        (State::Ready, format!("{how}; attach.payload_memory does not ask for it"))
                    }
                    dma::State::Unavailable(needs) => (State::Unavailable, format!("needs {needs}")),
                    dma::State::NotAsked => (State::Ready, rung.state.to_string()),
                };
                transport(format!("DMA: {}", rung.name), state, why)
            })
            .collect(),
        Err(error) => vec![transport("DMA", State::Unavailable, error.to_string())],
    }
}

/// A sealed region passed over a Unix socket: whether the socket did it, and whether the region can be used.
async fn between_processes() -> (Result<(), String>, Result<(), String>) {
    let passed = async {
        let scratch = files::scratch(Path::new("/tmp")).await.map_err(|error| error.to_string())?;
        let path = scratch.path().join("s");
        let mut listener = Listener::bind(&path, Access::Owner).await.map_err(|error| error.to_string())?;
        let (near, far) = futures_util::join!(local::connect(&path), listener.accept());
        let (mut near, _) = near.map_err(|error| error.to_string())?.split();
        let (_, mut far) = far.map_err(|error| error.to_string())?.split();
        let region = memory::shared(REGION).map_err(|error| error.to_string())?;
        let handle = region.handle().map_err(|error| error.to_string())?;
        near.send(b"region", vec![handle]).await.map_err(|error| error.to_string())?;
        let received = far.recv().await.map_err(|error| error.to_string())?;
        received
            .and_then(|(_, mut handles)| handles.pop())
            .ok_or_else(|| "the handle did not arrive".to_owned())
    };
    match time::timeout(WITHIN, passed).await {
        Ok(Ok(handle)) => (Ok(()), memory::open(handle, REGION).map(drop).map_err(|error| error.to_string())),
        Ok(Err(error)) => (Err(error.clone()), Err(error)),
        Err(_) => {
            (Err("a frame did not arrive in time".into()), Err("a region did not arrive in time".into()))
        }
    }
}

/// A record put into a file and taken out of it.
async fn queue() -> Result<(), String> {
    const RECORD: &[u8] = b"record";
    let scratch = files::scratch(Path::new("/tmp")).await.map_err(|error| error.to_string())?;
    let path = scratch.path().join("q");
    let mut writer = Writer::open(&path, REGION).await.map_err(|error| error.to_string())?;
    let mut reader = Reader::open(&path).await.map_err(|error| error.to_string())?;
    writer.try_put([0; 4], RECORD).map_err(|error| error.to_string())?;
    let taken =
        reader.try_next().map_err(|error| error.to_string())?.ok_or("a record was put and not found")?;
    if taken.payload() == RECORD { Ok(()) } else { Err("a record came back different".to_owned()) }
}

async fn rung() -> Result<(), String> {
    let bell = Bell::new().map_err(|error| error.to_string())?;
    let handle = bell.handle().map_err(|error| error.to_string())?;
    let ringer = memory::ringer(handle).map_err(|error| error.to_string())?;
    ringer.wake();
    time::timeout(WITHIN, bell.rung()).await.map_err(|_| "a bell was rung and not heard".to_owned())
}
