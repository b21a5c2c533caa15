//! Framed connections and datagrams between nodes and processes, with the peer's identity.
//!
//! Promises, in both arms: a frame arrives whole or not at all, in order, and at most [`FRAME_MAX`] bytes long; a connection
//! is handed out only after both ends know each other's [`PeerIdentity`]; every wait of this module that another process
//! could stretch has a bound; a future that is dropped half-way never tears a frame. Not promised: that a frame whose `send`
//! returned was received (the peer's own answer says that), and any notice of a silent partition (send pings).
//!
//! Real: TLS 1.3 with certificates on both sides over TCP; Unix sockets of mode 0600 whose peer the kernel names; or,
//! with [`Credentials::plain`], claimed names on loopback alone. Simulated: the same frames and hello over an in-memory
//! network with latency, loss, partitions and resets, driven by `net::control`; identities without TLS, whose randomness would
//! cost "one seed, one trace".

mod address;
mod connection;
mod error;
mod frame;
mod hello;
mod identity;
mod listener;

#[cfg(madsim)]
pub mod control;
#[cfg(madsim)]
mod network;
#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod sim;
#[cfg(not(madsim))]
mod tls;
#[cfg(not(madsim))]
mod uring;

#[cfg(not(madsim))]
use real as arm;
#[cfg(not(madsim))]
pub(crate) use real::passes;
#[cfg(madsim)]
use sim as arm;

pub use address::{Address, AddressError};
pub use connection::{Connection, Receiver, Sender};
pub use error::NetError;
pub use frame::FRAME_MAX;

/// The parsers of strangers' bytes, open to the fuzzer and to nobody else.
#[doc(hidden)]
pub mod foreign {
    pub use super::frame::Decoder;
    pub use super::hello::Hello;
}
pub use identity::{Credentials, CredentialsError, PeerIdentity, Proof};
pub use listener::{HANDSHAKE_LIMIT, HANDSHAKES_MAX, Listener};

use std::net::SocketAddr;

use bytes::Bytes;

use crate::time::Mono;

/// The largest datagram, in bytes: it fits one Ethernet frame over IPv6.
pub const DATAGRAM_MAX: usize = 1232;

/// What waits for the bytes of connections, as a process wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// What measured better.
    #[default]
    Automatic,
    /// The executor's epoll.
    Epoll,
    /// An io_uring in each context.
    IoUring,
}

/// What waits for the bytes of connections here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The executor's epoll.
    Epoll {
        /// Why not io_uring.
        reason: &'static str,
    },
    /// An io_uring in each context.
    IoUring {
        /// What the kernel granted beyond the least.
        features: &'static str,
    },
    /// The simulator.
    Simulated,
}

/// Why connections go by epoll where nothing else was asked for.
#[cfg(not(madsim))]
const SLOWER: &str = "it measured faster";

/// Chooses for the connections that this process makes from now on. Fails where io_uring is asked for and the kernel refuses it.
pub fn choose(choice: Choice) -> Result<(), NetError> {
    arm::choose(choice)
}

/// How the bytes of a connection made now will go, and why.
pub fn backend() -> Backend {
    arm::backend()
}

/// Connects to whoever listens at `address`, and proves both sides' identities, before `deadline`.
///
/// Whether the peer is the one that was meant is the caller's to decide, by [`Connection::peer`].
pub async fn connect(
    address: &Address,
    credentials: &Credentials,
    deadline: Mono,
) -> Result<Connection, NetError> {
    credentials.allow(address)?;
    match crate::time::timeout_at(deadline, arm::connect(address, credentials)).await {
        Ok(connected) => connected,
        Err(_) => Err(NetError::TimedOut { address: address.clone() }),
    }
}

/// A socket for single datagrams of at most [`DATAGRAM_MAX`] bytes, which may be lost, doubled or reordered.
///
/// A datagram proves nothing about its sender: the address can be forged, and whoever needs more seals the content. So
/// with [`Credentials::plain`] it is bound to loopback alone.
pub struct Datagram {
    inner: arm::Datagram,
}

impl Datagram {
    /// Binds to `address`; port 0 lets the system choose.
    pub async fn bind(address: SocketAddr, credentials: &Credentials) -> Result<Self, NetError> {
        credentials.allow(&Address::Tcp(address))?;
        Ok(Self { inner: arm::Datagram::bind(address).await? })
    }

    /// The address that it is bound to.
    pub fn address(&self) -> SocketAddr {
        self.inner.address()
    }

    /// Hands one datagram to the network.
    pub async fn send_to(&self, payload: &[u8], to: SocketAddr) -> Result<(), NetError> {
        if payload.len() > DATAGRAM_MAX {
            return Err(NetError::TooLarge { size: payload.len() as u64, limit: DATAGRAM_MAX as u64 });
        }
        self.inner.send_to(payload, to).await
    }

    /// The next datagram, and where it says it came from. Longer ones than [`DATAGRAM_MAX`] are dropped and counted.
    pub async fn recv_from(&self) -> Result<(Bytes, SocketAddr), NetError> {
        self.inner.recv_from().await
    }
}
