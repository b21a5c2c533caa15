//! How a node is set up to be asked over HTTP: where it listens, who may change things, where its runs lie.
//!
//! Loopback and the node's own Unix socket are open without further ado; an address that others reach needs a token.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use synod_control::strict;

/// Where a node listens for HTTP if nobody says otherwise.
pub const LISTEN: SocketAddr =
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 7677));

/// The settings of `[http]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// The TCP address; none is off.
    pub listen: Option<SocketAddr>,
    /// The Unix socket, if it is not to lie in the user's runtime folder under the node's name.
    pub socket: Option<PathBuf>,
    /// The file whose content is the token of those who may change things over TCP.
    pub token: Option<PathBuf>,
    /// Where run folders are made, if not in the user's folder for state.
    pub runs: Option<PathBuf>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig { listen: Some(LISTEN), socket: None, token: None, runs: None }
    }
}

/// The table as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HttpTable {
    listen: Option<String>,
    socket: Option<PathBuf>,
    token: Option<PathBuf>,
    runs: Option<PathBuf>,
}

impl HttpTable {
    /// What the table asks for, or which of its keys is wrong and why.
    pub(crate) fn read(self) -> Result<HttpConfig, (&'static str, String)> {
        let listen = match self.listen.as_deref() {
            None => Some(LISTEN),
            Some("off") => None,
            Some(text) => Some(text.parse().map_err(|_| {
                let near = strict::nearest(text, ["off"]).map_or("", |_| "; did you mean \"off\"?");
                ("listen", format!("must be an address and a port, as in \"{LISTEN}\", or \"off\", but is \"{text}\"{near}"))
            })?),
        };
        if listen.is_some_and(|address: SocketAddr| !address.ip().is_loopback()) && self.token.is_none() {
            let problem =
                "can be reached by others: name a file with a token (http.token), or listen on loopback";
            return Err(("listen", problem.into()));
        }
        Ok(HttpConfig { listen, socket: self.socket, token: self.token, runs: self.runs })
    }
}
