//! Links: nodes joined over `platform::net`, a full mesh of static peers, one hop.

use std::time::Duration;

use synod_platform::net::{Address, Credentials, NetError};

use crate::Context;

/// Another node of the mesh.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its node name, as it must prove it.
    pub name: String,
    /// Where it listens.
    pub address: Address,
}

/// How this node links to others.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Where to listen; nobody can dial in without.
    pub listen: Option<Address>,
    /// The other nodes. Of two peers, the one whose name sorts first dials.
    pub peers: Vec<Peer>,
    /// Who we are.
    pub credentials: Credentials,
    /// A ping goes out after this much silence of ours.
    pub ping: Duration,
    /// A peer silent for this long is taken as gone.
    pub silence: Duration,
    /// The most messages of one priority on their way to a peer that it has not yet taken.
    pub window: u32,
}

impl LinkConfig {
    /// The usual settings, nobody to link to yet.
    pub fn new(credentials: Credentials) -> Self {
        Self {
            listen: None,
            peers: Vec::new(),
            credentials,
            ping: Duration::from_millis(500),
            silence: Duration::from_secs(2),
            window: 64,
        }
    }
}

/// The links of a node, kept up in the background: connect, lose, connect again with back-off. Dropping it takes them down.
#[derive(Debug)]
pub struct Links(());

impl Links {
    /// Listens, starts to dial, and returns; links come up in the background.
    pub async fn start(context: &Context, config: LinkConfig) -> Result<Self, NetError> {
        unimplemented!("{context:?} {config:?}")
    }

    /// Where this node listens, with the port that the system chose.
    pub fn address(&self) -> Option<&Address> {
        unimplemented!()
    }

    /// The names of the peers that are linked now.
    pub fn up(&self) -> Vec<String> {
        unimplemented!()
    }

    /// Waits until the link to that peer is up, and what it announced is known here.
    pub async fn wait_for(&self, peer: &str) {
        unimplemented!("{peer}")
    }

    /// Says goodbye to every peer and takes the links down.
    pub async fn stop(self) {
        unimplemented!()
    }
}
