//! How a node is set up: the settings, the strict TOML they are read from, and a documented example.
//!
//! A wrong key, type or value is refused with line, key and the nearest known key; nothing has two meanings.

use std::time::Duration;

use serde::Deserialize;
use synod_agents::Role;
use synod_control::{ConfigError, strict, units};
use synod_fabric::link::{LinkConfig, Peer};
use synod_platform::net::{Address, Credentials};

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
    /// Whether each of them is pinned to a core of its own.
    pub pin: bool,
    /// The agents on board.
    pub agents: Vec<Role>,
    /// How often an agent may panic and be restarted.
    pub restarts: Intensity,
    /// How long a drain may take before the rest is stopped.
    pub drain: Duration,
    /// Links to other nodes, if there are any.
    pub links: Option<LinkConfig>,
}

impl NodeConfig {
    /// A node of that name with all agents on board, two contexts and no links.
    pub fn named(name: impl Into<String>) -> Self {
        NodeConfig {
            name: name.into(),
            contexts: 2,
            pin: false,
            agents: Role::ALL.to_vec(),
            restarts: Intensity::default(),
            drain: Duration::from_secs(10),
            links: None,
        }
    }
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
    agents: AgentsTable,
    links: LinksTable,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct AgentsTable {
    on_board: Vec<String>,
    restarts: u32,
    within: units::Duration,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct LinksTable {
    listen: Option<String>,
    identity: Option<Identity>,
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
        AgentsTable { on_board, restarts: restarts.max, within: units::Duration(restarts.within) }
    }
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
    let credentials = Credentials::plain(&read.node.name)
        .map_err(|error| refuse("node.name", &format!("is wrong: {error}")))?;
    let address = |path: &str, text: &str| -> Result<Address, ConfigError> {
        text.parse().map_err(|error| refuse(path, &format!("is wrong: {error}")))
    };
    let mut links = LinkConfig::new(credentials);
    if let Some(listen) = &read.links.listen {
        links.listen = Some(address("links.listen", listen)?);
    }
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
    Ok(Settings {
        node: NodeConfig {
            name: read.node.name,
            contexts: read.node.contexts,
            pin: read.node.pin,
            agents,
            restarts: Intensity { max: read.agents.restarts, within: read.agents.within.get() },
            drain: read.node.drain.get(),
            links: wants_links.then_some(links),
        },
        identity: read.links.identity,
    })
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
            ("[links]\nlisten = \"nowhere\"\n", "node.toml:2:", "links.listen"),
            ("[node]\ndrain = \"soon\"\n", "node.toml:2:", "drain"),
            ("[links]\nlisten = \"192.0.2.1:7400\"\n", "node.toml:1:", "identity"),
            ("[[peer]]\nname = \"synod\"\naddress = \"127.0.0.1:1\"\n", "node.toml:2:", "own name"),
        ] {
            let message = refused(text);
            assert!(message.starts_with(place) && message.contains(part), "{text}: {message}");
        }
    }
}
