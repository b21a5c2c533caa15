//! Waiting for peers. Streams that came in prove who they are beside each other, so that a slow stranger holds up nobody.

use std::time::Duration;

use futures_util::future::{FutureExt, LocalBoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use synod_probe::{event, reach};

use super::{Address, Connection, Credentials, NetError, arm};

/// The longest a peer may take to prove who it is after its connection was taken.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// Peers that may be proving who they are at one listener at a time; further ones wait in the system's backlog.
pub const HANDSHAKES_MAX: usize = 64;

/// Waits for peers at one address.
pub struct Listener {
    socket: arm::Socket,
    credentials: Credentials,
    handshakes: FuturesUnordered<LocalBoxFuture<'static, Result<Connection, NetError>>>,
    refused: u64,
}

impl Listener {
    /// Listens at `address` as the one whom `credentials` name. Port 0 lets the system choose: see [`address`](Self::address).
    ///
    /// A Unix socket is created with mode 0600; a socket file that nobody listens at any more is replaced.
    pub async fn bind(address: &Address, credentials: &Credentials) -> Result<Self, NetError> {
        credentials.allow(address)?;
        let socket = arm::Socket::bind(address).await?;
        let credentials = credentials.clone();
        Ok(Self { socket, credentials, handshakes: FuturesUnordered::new(), refused: 0 })
    }

    /// The next peer that proved who it is.
    ///
    /// Peers that fail to, or take longer than [`HANDSHAKE_LIMIT`], are turned away, counted in [`refused`](Self::refused), and
    /// do not hold up others. An error is the listener's own: it cannot go on. Dropping the future loses no peer.
    pub async fn accept(&mut self) -> Result<Connection, NetError> {
        loop {
            let room = self.handshakes.len() < HANDSHAKES_MAX;
            tokio::select! {
                biased;
                Some(finished) = self.handshakes.next() => match finished {
                    Ok(connection) => return Ok(connection),
                    Err(_) => {
                        self.refused += 1;
                        reach!("net.peer_refused");
                        event!("net.peer_refused");
                    }
                },
                taken = self.socket.take(), if room => {
                    if let Some(incoming) = taken? {
                        self.handshakes.push(welcome(incoming, self.credentials.clone()).boxed_local());
                    }
                }
            }
        }
    }

    /// Where it listens, with the port that the system chose.
    pub fn address(&self) -> &Address {
        self.socket.address()
    }

    /// How many peers were turned away because they did not prove who they are.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

async fn welcome(incoming: arm::Incoming, credentials: Credentials) -> Result<Connection, NetError> {
    match crate::time::timeout(HANDSHAKE_LIMIT, arm::welcome(incoming, &credentials)).await {
        Ok(connection) => connection,
        Err(_) => Err(NetError::HandshakeTooSlow { limit: HANDSHAKE_LIMIT }),
    }
}
