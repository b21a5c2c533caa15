//! `synod up`: binds its sockets, starts a node, says what is ready, serves, drains at the first signal and stops at the second.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use synod_edge::shell::systemd::{self, Tell};
use synod_edge::shell::{Bind, Bound};
use synod_edge::{Door, DoorConfig, door};
use synod_fabric::attach::HostConfig;
use synod_platform::local::Access;
use synod_platform::local::folder::{self, Purpose};
use synod_platform::signals::Signals;
use synod_platform::task;
use synod_platform::time::{self, Duration};
use synod_platform::{files, process};
use tokio::sync::mpsc;

use super::arguments::UpOptions;
use super::{Exit, Problem, configuration, place, text};
use crate::config::{self, NodeConfig};
use crate::{AttachConfig, Drained, Node, Notice};

/// The unit file, as it is printed.
const UNIT: &str = include_str!("../synod.service");
/// How often links and the line for the service manager are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Requests that may wait for the door.
const CALLS: usize = 256;
/// The shortest token that is worth its name, in bytes.
const TOKEN_MIN: usize = 16;
/// Largest token file, in bytes.
const TOKEN_MAX: u64 = 4096;
/// Largest list of groups, in bytes.
const GROUPS_MAX: u64 = 16 << 20;

pub fn main(options: &UpOptions) -> Result<Exit, Problem> {
    if options.example_config {
        return text::print(config::EXAMPLE);
    }
    if options.systemd_unit {
        return text::print(UNIT);
    }
    task::block_on(async {
        let config = configuration::read(options.config.as_deref()).await?;
        if options.check {
            return match options.json {
                true => text::print_json(&json!({ "right": true, "node": config.name })),
                false => text::print("the configuration is right\n"),
            };
        }
        serve(config, Say { json: options.json }).await
    })
}

/// What is said on standard output as things happen: lines for people, or one JSON object a line.
#[derive(Clone, Copy)]
struct Say {
    json: bool,
}

impl Say {
    fn say(self, line: &str, event: &Value) -> Result<(), Problem> {
        let line = if self.json { format!("{event}\n") } else { format!("{line}\n") };
        text::print(&line).map(drop)
    }
}

async fn token(path: &Path) -> Result<String, Problem> {
    let wrong = |why: String| {
        Problem::usage(why, "http.token names a file of mode 600 with one line of at least 16 characters")
    };
    let mode = files::metadata(path).await.map_err(|error| wrong(error.to_string()))?.mode;
    if mode & 0o077 != 0 {
        return Err(wrong(format!("{}: others may read it (mode {:o})", path.display(), mode & 0o777)));
    }
    let bytes = files::read(path, TOKEN_MAX).await.map_err(|error| wrong(error.to_string()))?;
    let token = String::from_utf8(bytes).unwrap_or_default().trim().to_string();
    if token.len() < TOKEN_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong(format!("{}: it holds no token", path.display())));
    }
    Ok(token)
}

/// How processes attach, if they may.
async fn host(node: &str, config: &AttachConfig) -> Result<Option<HostConfig>, Problem> {
    if !config.on {
        return Ok(None);
    }
    let path = match &config.socket {
        Some(socket) => socket.clone(),
        None => {
            folder::to_serve(node, Purpose::Attach).map_err(|error| Problem::failed(error.to_string()))?
        }
    };
    let access = match &config.group {
        None => Access::Owner,
        Some(group) => Access::Group(number(group).await?),
    };
    let (taps, tokens, fence) = (config.tap.clone(), config.tokens, config.fence);
    Ok(Some(HostConfig { path, access, tokens, taps, fence }))
}

/// The number of a group.
async fn number(group: &str) -> Result<u32, Problem> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let groups = files::read(Path::new("/etc/group"), GROUPS_MAX).await.unwrap_or_default();
    let groups = String::from_utf8_lossy(&groups);
    let number = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() == Some(group) { fields.nth(1)?.parse().ok() } else { None }
    });
    number.ok_or_else(|| {
        Problem::usage(
            format!("/etc/group has no group `{group}`"),
            "attach.group may be a group's number, too",
        )
    })
}

async fn serve(config: NodeConfig, say: Say) -> Result<Exit, Problem> {
    let drain = config.drain;
    let failed = |error: String| Problem::failed(error);
    let http = config.http.clone();
    let mut signals = Signals::listen().map_err(|error| failed(error.to_string()))?;
    let socket = match &http.socket {
        Some(socket) => process::absolute(socket),
        None => {
            folder::to_serve(&config.name, Purpose::Commands).map_err(|error| failed(error.to_string()))?
        }
    };
    let token = match &http.token {
        Some(path) => Some(token(path).await?),
        None => None,
    };
    let runs = place::runs(http.runs.as_deref())?;
    let host = host(&config.name, &config.attach).await?;
    let bound = Bound::open(&Bind { tcp: http.listen, socket: Some(socket) })
        .map_err(|error| failed(error.to_string()))?;
    let (address, socket) = (bound.address(), bound.socket().map(Path::to_path_buf));

    let door = Door::new(DoorConfig { node: config.name.clone(), runs, token: token.clone() });
    let (calls, taken) = mpsc::channel(CALLS);
    let server = bound.serve(calls, token).map_err(|error| failed(error.to_string()))?;
    let answering = {
        let door = door.clone();
        task::spawn(async move { door.serve(taken).await })
    };
    let mut node = Node::start(config).await.map_err(|error| failed(error.to_string()))?;
    if let Some(host) = host {
        node.admit(host).await.map_err(|error| failed(error.to_string()))?;
    }
    let aboard = node.placements().iter().map(|at| (at.agent.name().to_string(), at.context.clone()));
    door.open(node.context(), aboard).map_err(|error| failed(error.to_string()))?;

    ready(&node, address, socket.as_deref(), say)?;
    systemd::tell(&Tell::Ready);
    if let Some(period) = systemd::watchdog() {
        task::spawn(feed(door.clone(), period)).detach();
    }
    let mut tells = true;
    let mut linked: Vec<String> = Vec::new();
    let mut status = String::new();
    let mut look = time::interval(LOOK);
    let signal = loop {
        tokio::select! {
            biased;
            signal = signals.next() => break signal,
            notice = node.notice(), if tells => match notice {
                Some(notice) => {
                    match &notice {
                        Notice::Restarted { agent, .. } => door.restarted(agent),
                        Notice::GivenUp { agent, why } => door.given_up(agent, why),
                    }
                    eprintln!("{notice}");
                }
                None => tells = false,
            },
            _ = look.tick() => {
                let up = node.links().map_or_else(Vec::new, |links| links.up());
                changes(&linked, &up, say)?;
                linked = up;
                let now = standing(&door, node.placements().len());
                if now != status {
                    systemd::tell(&Tell::Status(now.clone()));
                    status = now;
                }
            }
        }
    };
    systemd::tell(&Tell::Stopping(drain + LOOK));
    eprintln!("{signal}: draining for up to {} s; a second signal stops at once", drain.as_secs_f64());
    let end = async {
        let until = time::now() + drain;
        // Runs need agents that take tasks: they end first, then the agents.
        let cancelled = door.drain(drain).await;
        door.close();
        let drained = node.drain(until.since(time::now()).max(LOOK)).await;
        server.stop().await;
        // It ends when the shell is gone.
        let _ = answering.await;
        (cancelled, drained)
    };
    let (cancelled, drained) = tokio::select! {
        biased;
        second = signals.next() => {
            eprintln!("{second}: stopped at once");
            return Ok(Exit::Cancelled);
        }
        ended = end => ended,
    };
    match drained {
        Drained::Clean if cancelled == 0 => {
            say.say("drained and stopped", &json!({ "event": "stopped", "drained": true }))?;
            Ok(Exit::Fine)
        }
        Drained::Clean | Drained::Cut => {
            let event = json!({ "event": "stopped", "drained": false, "runs_cancelled": cancelled });
            say.say("stopped; work that was not done in time was given up", &event)?;
            Ok(Exit::Cancelled)
        }
        Drained::Crashed(why) => Err(failed(format!("a context crashed: {why}"))),
    }
}

/// Tells the service manager that the node is alive, for as long as every context answers its pulse.
async fn feed(door: Door, period: Duration) {
    let mut beat = time::interval(period / 3);
    loop {
        beat.tick().await;
        let silent = door.silent((period / 3).min(door::PULSE)).await;
        if silent.is_empty() {
            systemd::tell(&Tell::Alive);
        } else {
            eprintln!("no pulse in {}", silent.join(", "));
        }
    }
}

/// One line for the service manager.
fn standing(door: &Door, agents: usize) -> String {
    let runs = match door.runs().active() {
        0 => "no run".to_string(),
        1 => "1 run".to_string(),
        n => format!("{n} runs"),
    };
    let reasons = door.reasons();
    if reasons.is_empty() { format!("{agents} agents, {runs} under way") } else { reasons.join("; ") }
}

/// Says which links came and went.
fn changes(before: &[String], now: &[String], say: Say) -> Result<(), Problem> {
    for peer in now.iter().filter(|peer| !before.contains(peer)) {
        say.say(&format!("linked with {peer}"), &json!({ "event": "linked", "peer": peer }))?;
    }
    for peer in before.iter().filter(|peer| !now.contains(peer)) {
        say.say(&format!("lost the link to {peer}"), &json!({ "event": "link-lost", "peer": peer }))?;
    }
    Ok(())
}

fn ready(node: &Node, http: Option<SocketAddr>, socket: Option<&Path>, say: Say) -> Result<(), Problem> {
    let name = node.fabric().node();
    let mut out = format!("node {name} is ready\n");
    for placement in node.placements() {
        out.push_str(&format!("  {:<21} in {}\n", placement.agent.name().to_uppercase(), placement.context));
    }
    match node.address() {
        Some(address) => out.push_str(&format!("listens for other nodes at {address}\n")),
        None => out.push_str("listens for no other nodes (links.listen is not set)\n"),
    }
    match http {
        Some(address) => out.push_str(&format!("answers HTTP at http://{address}\n")),
        None => out.push_str("answers no HTTP over TCP (http.listen is off)\n"),
    }
    if let Some(socket) = socket {
        out.push_str(&format!("answers HTTP and commands at {}\n", socket.display()));
    }
    match node.host() {
        Some(host) => out.push_str(&format!("processes attach at {}\n", host.path().display())),
        None => out.push_str("processes cannot attach (attach.on is false)\n"),
    }
    out.push_str("ends with SIGINT or SIGTERM");
    let agents: Vec<_> = node
        .placements()
        .iter()
        .map(|at| json!({ "agent": at.agent.name(), "context": at.context }))
        .collect();
    let event = json!({
        "event": "ready",
        "node": name,
        "agents": agents,
        "links": node.address().map(ToString::to_string),
        "http": http.map(|address| address.to_string()),
        "socket": socket,
        "attach": node.host().map(|host| host.path().to_path_buf()),
    });
    say.say(&out, &event)
}
