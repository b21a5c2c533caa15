//! How a node is set up: the settings, the strict TOML they are read from, and a documented example.
//!
//! A wrong key, type or value is refused with line, key and the nearest known key; nothing has two meanings.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use synod_agents::Role;
use synod_agents::external::Program;
use synod_control::{ConfigError, strict, units};
use synod_fabric::link::{LinkConfig, Peer};
use synod_platform::net::{Address, Choice, Credentials};

use crate::attach::{AttachConfig, AttachTable};
use crate::http::{HttpConfig, HttpTable};
use crate::placement::{self, PlacementConfig, PlacementTable};
use crate::supervise::Intensity;

/// The documented example, as `synod up --example-config` prints it. It is what a node does without any file.
pub const EXAMPLE: &str = include_str!("example.toml");

/// A node's settings.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// The node's name, unique among its peers.
    pub name: String,
    /// How many executor threads carry the agents; at least 1.
    pub contexts: usize,
    /// Whether each of them is given its place among the processors.
    pub pin: bool,
    /// Where they go on the machine's processors.
    pub placement: PlacementConfig,
    /// The agents on board.
    pub agents: Vec<Role>,
    /// How often an agent may crash and be restarted.
    pub restarts: Intensity,
    /// What single agents are given beside that.
    pub posts: BTreeMap<Role, PostConfig>,
    /// How long a drain may take before the rest is stopped.
    pub drain: Duration,
    /// Links to other nodes, if there are any.
    pub links: Option<LinkConfig>,
    /// How it is asked over HTTP; `synod up` serves it.
    pub http: HttpConfig,
    /// How processes of its machine take part; `synod up` admits them.
    pub attach: AttachConfig,
}

impl NodeConfig {
    /// A node of that name with all agents on board, two contexts and no links.
    pub fn named(name: impl Into<String>) -> Self {
        NodeConfig {
            name: name.into(),
            contexts: 2,
            pin: false,
            placement: PlacementConfig::default(),
            agents: Role::ALL.to_vec(),
            restarts: Intensity::default(),
            posts: BTreeMap::new(),
            drain: Duration::from_secs(10),
            links: None,
            http: HttpConfig::default(),
            attach: AttachConfig::default(),
        }
    }
}

/// What one agent is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PostConfig {
    /// Where it wants to live.
    pub affinity: Affinity,
    /// How often it may crash and be restarted, if not as often as all agents.
    pub restarts: Option<u32>,
    /// The program that does its work instead of this build.
    pub program: Option<Program>,
}

/// Which context an agent wants to live in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Affinity {
    /// Any: agents are spread over the node's contexts by turns.
    #[default]
    Spread,
    /// One of that name, together with all others that ask for it.
    Named(String),
    /// One that it shares with nobody.
    Own,
}

/// What a configuration says: a node's settings, with the files of its identity still to be read.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The node; its links carry a plain identity until [`Identity`] is read.
    pub node: NodeConfig,
    /// Where certificate, key and authority lie, if links are to be encrypted.
    pub identity: Option<Identity>,
}

/// Files of a TLS identity, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The node's certificate chain.
    pub certificate: String,
    /// Its private key.
    pub key: String,
    /// The authority that signed all peers' certificates.
    pub authority: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    node: NodeTable,
    placement: PlacementTable,
    agents: AgentsTable,
    links: LinksTable,
    http: HttpTable,
    attach: AttachTable,
    peer: Vec<PeerTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NodeTable {
    name: String,
    contexts: usize,
    pin: bool,
    drain: units::Duration,
}

struct AgentsTable {
    on_board: Vec<String>,
    restarts: u32,
    within: units::Duration,
    each: BTreeMap<Role, AgentTable>,
}

/// One agent's table, `[agents.linter]`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct AgentTable {
    context: Option<String>,
    restarts: Option<u32>,
    exec: Option<Vec<String>>,
    directory: Option<PathBuf>,
    environment: Option<Vec<String>>,
    ready_within: Option<units::Duration>,
    within: Option<units::Duration>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct LinksTable {
    listen: Option<String>,
    sockets: Sockets,
    identity: Option<Identity>,
}

/// What waits for the bytes of links, as it is written.
#[derive(Clone, Copy, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
enum Sockets {
    #[default]
    Auto,
    Epoll,
    IoUring,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerTable {
    name: String,
    address: String,
}

impl Default for NodeTable {
    fn default() -> Self {
        let node = NodeConfig::named("synod");
        NodeTable {
            name: node.name,
            contexts: node.contexts,
            pin: node.pin,
            drain: units::Duration(node.drain),
        }
    }
}

impl Default for AgentsTable {
    fn default() -> Self {
        let restarts = Intensity::default();
        let on_board = Role::ALL.iter().map(|role| role.name().to_string()).collect();
        let within = units::Duration(restarts.within);
        AgentsTable { on_board, restarts: restarts.max, within, each: BTreeMap::new() }
    }
}

/// A key of `[agents]`: one of its own, or the name of an agent.
enum AgentsKey {
    OnBoard,
    Restarts,
    Within,
    Agent(Role),
}

impl AgentsKey {
    const OWN: [&'static str; 3] = ["on_board", "restarts", "within"];
    const KNOWN: [&'static str; Self::OWN.len() + Role::ALL.len()] = {
        let mut all = [Self::OWN[0]; Self::OWN.len() + Role::ALL.len()];
        let mut n = 1;
        while n < all.len() {
            all[n] = if n < Self::OWN.len() { Self::OWN[n] } else { Role::ALL[n - Self::OWN.len()].name() };
            n += 1;
        }
        all
    };
}

impl<'de> Deserialize<'de> for AgentsKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;
        impl Visitor<'_> for Key {
            type Value = AgentsKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<AgentsKey, E> {
                match key {
                    "on_board" => Ok(AgentsKey::OnBoard),
                    "restarts" => Ok(AgentsKey::Restarts),
                    "within" => Ok(AgentsKey::Within),
                    name => {
                        let unknown = || E::unknown_field(name, &AgentsKey::KNOWN);
                        Role::named(name).map(AgentsKey::Agent).ok_or_else(unknown)
                    }
                }
            }
        }
        deserializer.deserialize_identifier(Key)
    }
}

impl<'de> Deserialize<'de> for AgentsTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = AgentsTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AgentsTable, A::Error> {
                let mut table = AgentsTable::default();
                while let Some(key) = map.next_key()? {
                    match key {
                        AgentsKey::OnBoard => table.on_board = map.next_value()?,
                        AgentsKey::Restarts => table.restarts = map.next_value()?,
                        AgentsKey::Within => table.within = map.next_value()?,
                        AgentsKey::Agent(role) => {
                            table.each.insert(role, map.next_value()?);
                        }
                    }
                }
                Ok(table)
            }
        }
        deserializer.deserialize_map(Table)
    }
}

impl AgentTable {
    /// What the table asks for, or which of its keys is wrong and why.
    fn read(&self) -> Result<PostConfig, (&'static str, String)> {
        let affinity = match self.context.as_deref() {
            None => Affinity::Spread,
            Some("own") => Affinity::Own,
            Some(name) if is_context_name(name) => Affinity::Named(name.to_owned()),
            Some(name) => {
                let problem = format!(
                    "must be \"own\" or a name of letters, digits, `-` and `_` other than \"home\", but is \"{name}\""
                );
                return Err(("context", problem));
            }
        };
        let Some(exec) = &self.exec else {
            let given = [
                ("directory", self.directory.is_some()),
                ("environment", self.environment.is_some()),
                ("ready_within", self.ready_within.is_some()),
                ("within", self.within.is_some()),
            ];
            return match given.into_iter().find(|(_, given)| *given) {
                Some((key, _)) => Err((key, "says how a program runs, but `exec` names none".into())),
                None => Ok(PostConfig { affinity, restarts: self.restarts, program: None }),
            };
        };
        if exec.first().is_none_or(String::is_empty) || exec.iter().any(|part| part.contains('\0')) {
            return Err(("exec", "must name a program and its arguments".into()));
        }
        let inherit = self.environment.clone().unwrap_or_default();
        if let Some(name) = inherit.iter().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            let problem = format!("must name variables of the node's own environment, but has \"{name}\"");
            return Err(("environment", problem));
        }
        let ready_within = self.ready_within.map_or(READY_WITHIN, units::Duration::get);
        for (key, time) in [("ready_within", Some(ready_within)), ("within", self.within.map(|w| w.get()))] {
            if time.is_some_and(|time| time.is_zero()) {
                return Err((key, "must be longer than nothing".into()));
            }
        }
        let program = Program {
            exec: exec.clone(),
            directory: self.directory.clone().unwrap_or_default(),
            inherit,
            ready_within,
            within: self.within.map(units::Duration::get),
        };
        Ok(PostConfig { affinity, restarts: self.restarts, program: Some(program) })
    }
}

/// How long a program may take until it is ready, if the configuration does not say.
const READY_WITHIN: Duration = Duration::from_secs(10);

fn is_context_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=32).contains(&name.len()) && name.chars().all(fits) && name != "home"
}

/// Reads a configuration; `file` is its name for messages.
pub fn parse(text: &str, file: &str) -> Result<Settings, ConfigError> {
    let read: File = strict::parse(text, file)?;
    let refuse = |path: &str, problem: &str| strict::refuse(text, file, path, problem);
    if !(1..=256).contains(&read.node.contexts) {
        return Err(refuse("node.contexts", "must be from 1 to 256"));
    }
    let mut agents = Vec::new();
    for (n, name) in read.agents.on_board.iter().enumerate() {
        let path = format!("agents.on_board[{n}]");
        let Some(role) = Role::named(name) else {
            let known: Vec<&str> = Role::ALL.iter().map(|role| role.name()).collect();
            let hint = strict::nearest(name, known.iter().copied())
                .map_or(String::new(), |near| format!("; did you mean \"{near}\"?"));
            return Err(refuse(
                &path,
                &format!("must be one of {}, but is \"{name}\"{hint}", known.join(", ")),
            ));
        };
        if agents.contains(&role) {
            return Err(refuse(&path, &format!("names {name} a second time")));
        }
        agents.push(role);
    }
    let mut posts = BTreeMap::new();
    for (role, table) in &read.agents.each {
        let path = format!("agents.{}", role.name());
        if !agents.contains(role) {
            return Err(refuse(&path, "is given to an agent that is not on board"));
        }
        let post = table.read().map_err(|(key, problem)| refuse(&format!("{path}.{key}"), &problem))?;
        posts.insert(*role, post);
    }
    let credentials = Credentials::plain(&read.node.name)
        .map_err(|error| refuse("node.name", &format!("is wrong: {error}")))?;
    let address = |path: &str, text: &str| -> Result<Address, ConfigError> {
        text.parse().map_err(|error| refuse(path, &format!("is wrong: {error}")))
    };
    let mut links = LinkConfig::new(credentials);
    if let Some(listen) = &read.links.listen {
        links.listen = Some(address("links.listen", listen)?);
    }
    links.sockets = match read.links.sockets {
        Sockets::Auto => Choice::Automatic,
        Sockets::Epoll => Choice::Epoll,
        Sockets::IoUring => Choice::IoUring,
    };
    for (n, peer) in read.peer.iter().enumerate() {
        if peer.name == read.node.name {
            return Err(refuse(&format!("peer[{n}].name"), "is this node's own name"));
        }
        let address = address(&format!("peer[{n}].address"), &peer.address)?;
        links.peers.push(Peer { name: peer.name.clone(), address });
    }
    let wants_links = links.listen.is_some() || !links.peers.is_empty();
    let exposed =
        links.listen.iter().chain(links.peers.iter().map(|peer| &peer.address)).any(|a| !a.is_local());
    if exposed && read.links.identity.is_none() {
        return Err(refuse(
            "links",
            "reaches beyond this machine: give it an identity (certificate, key, authority)",
        ));
    }
    let http = read.http.read().map_err(|(key, problem)| refuse(&format!("http.{key}"), &problem))?;
    let attach = read.attach.read().map_err(|(key, problem)| refuse(&format!("attach.{key}"), &problem))?;
    let placement =
        read.placement.read().map_err(|(key, problem)| refuse(&format!("placement.{key}"), &problem))?;
    let node = NodeConfig {
        name: read.node.name,
        contexts: read.node.contexts,
        pin: read.node.pin,
        placement,
        agents,
        restarts: Intensity { max: read.agents.restarts, within: read.agents.within.get() },
        posts,
        drain: read.node.drain.get(),
        links: wants_links.then_some(links),
        http,
        attach,
    };
    if let Some(name) = placement::unknown_pin(&node) {
        return Err(refuse(&format!("placement.processors.{name}"), "names no context of this node"));
    }
    Ok(Settings { node, identity: read.links.identity })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse(text, "node.toml").expect_err("it is wrong").to_string()
    }

    #[test]
    fn the_example_is_what_a_node_does_without_a_file() {
        let example = parse(EXAMPLE, "example.toml").expect("the example is right");
        let none = parse("", "node.toml").expect("nothing is a configuration");
        assert_eq!(format!("{example:?}"), format!("{none:?}"));
    }

    #[test]
    fn every_line_that_the_example_comments_out_is_right_too() {
        let all: String = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        let settings = parse(&all, "example.toml").expect("the commented lines are right");
        assert_eq!(settings.node.links.expect("links").peers.len(), 1);
    }

    #[test]
    fn an_agent_s_table_says_where_it_lives_and_who_does_its_work() {
        let text = "[agents]\non_board = [\"director\", \"project_orchestrator\", \"linter\", \"security\"]\n\
                    [agents.linter]\nexec = [\"python3\", \"l.py\"]\nenvironment = [\"HOME\"]\nwithin = \"1m\"\n\
                    restarts = 1\n[agents.security]\ncontext = \"tools\"\n[agents.director]\ncontext = \"own\"\n";
        let node = parse(text, "node.toml").expect("right").node;
        let program = Program {
            exec: vec!["python3".into(), "l.py".into()],
            directory: PathBuf::new(),
            inherit: vec!["HOME".into()],
            ready_within: READY_WITHIN,
            within: Some(Duration::from_secs(60)),
        };
        let linter = PostConfig { affinity: Affinity::Spread, restarts: Some(1), program: Some(program) };
        assert_eq!(node.posts[&Role::Linter], linter);
        let place = |role| {
            let placements = crate::node::placements(&node);
            placements.into_iter().find(|at| at.agent == role).expect("on board").context
        };
        assert_eq!(place(Role::Security), "tools");
        assert_eq!(place(Role::Director), "director");
        assert_eq!(place(Role::Orchestrator), "work-0");
        assert_eq!(place(Role::Linter), "work-1");
    }

    #[test]
    fn a_wrong_key_names_its_line_and_the_nearest_key() {
        let message = refused("[node]\nname = \"a\"\ncontext = 3\n");
        assert!(
            message.starts_with("node.toml:3:1:") && message.contains("did you mean `contexts`"),
            "{message}"
        );
    }

    #[test]
    fn a_wrong_value_names_its_line_and_what_is_expected() {
        for (text, place, part) in [
            ("[node]\ncontexts = 0\n", "node.toml:2:", "from 1 to 256"),
            ("[node]\ncontexts = \"two\"\n", "node.toml:2:", "whole number"),
            (
                "[agents]\non_board = [\"linter\", \"directer\"]\n",
                "node.toml:2:",
                "did you mean \"director\"",
            ),
            ("[agents]\non_board = [\"linter\", \"linter\"]\n", "node.toml:2:", "second time"),
            ("[agents.lintr]\ncontext = \"own\"\n", "node.toml:1:", "did you mean `linter`"),
            ("[agents.linter]\nexce = [\"x\"]\n", "node.toml:2:", "did you mean `exec`"),
            ("[agents.linter]\nexec = []\n", "node.toml:2:", "must name a program"),
            ("[agents.linter]\nexec = \"x\"\n", "node.toml:2:", "must be an array"),
            ("[agents.linter]\ndirectory = \"/x\"\n", "node.toml:2:", "`exec` names none"),
            ("[agents.linter]\nexec = [\"x\"]\nenvironment = [\"A=1\"]\n", "node.toml:3:", "A=1"),
            ("[agents.linter]\nexec = [\"x\"]\nwithin = \"0s\"\n", "node.toml:3:", "longer than nothing"),
            ("[agents.linter]\ncontext = \"home\"\n", "node.toml:2:", "other than"),
            (
                "[agents]\non_board = [\"director\"]\n[agents.linter]\nrestarts = 1\n",
                "node.toml:3:",
                "not on board",
            ),
            ("[links]\nlisten = \"nowhere\"\n", "node.toml:2:", "links.listen"),
            ("[links]\nsockets = \"iouring\"\n", "node.toml:2:", "io-uring"),
            ("[http]\nlisten = \"of\"\n", "node.toml:2:", "did you mean \"off\""),
            ("[http]\nlisten = \"0.0.0.0:7677\"\n", "node.toml:2:", "http.token"),
            ("[http]\nlissen = \"off\"\n", "node.toml:2:", "did you mean `listen`"),
            ("[attach]\ntoken = true\n", "node.toml:2:", "did you mean `tokens`"),
            ("[attach]\nfence = \"1ms\"\n", "node.toml:2:", "100 ms"),
            ("[attach]\ntap = [\"a..b\"]\n", "node.toml:2:", "a..b"),
            ("[attach]\nsocket = \"here\"\n", "node.toml:2:", "absolute"),
            ("[attach]\ngroup = \"staff\"\n", "node.toml:2:", "attach.socket"),
            ("[node]\ndrain = \"soon\"\n", "node.toml:2:", "drain"),
            ("[links]\nlisten = \"192.0.2.1:7400\"\n", "node.toml:1:", "identity"),
            ("[[peer]]\nname = \"synod\"\naddress = \"127.0.0.1:1\"\n", "node.toml:2:", "own name"),
        ] {
            let message = refused(text);
            assert!(message.starts_with(place) && message.contains(part), "{text}: {message}");
        }
    }
}
