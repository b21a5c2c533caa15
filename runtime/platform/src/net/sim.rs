//! The simulated arm: the same byte streams and datagrams, over the network of `network.rs`.
//! An identity is a name and the authority that vouches for it, both carried by the hello: no TLS, and no forging either.

use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use synod_probe::{loss, reach};

use super::connection::Connection;
use super::frame::Encoder;
use super::hello::Hello;
use super::network::{Shared, Spot, Step, lock, network, now_ns, until};
use super::{Address, Backend, Choice, Credentials, CredentialsError, NetError, PeerIdentity, Proof};
use crate::simulation::{self, Incarnation, Node, NodeId};

/// How long a connection attempt that nobody answered waits before it tries again; doubled each time, up to the longest.
const KNOCK_AGAIN: Duration = Duration::from_millis(200);
const KNOCK_AGAIN_LONGEST: Duration = Duration::from_secs(2);

/// The simulator's stand-in for a certificate and its key.
#[derive(Clone)]
pub(super) struct Keys {
    pub authority: String,
}

impl Keys {
    pub fn from_pem(
        _certificate: &[u8],
        _key: &[u8],
        _authority: &[u8],
    ) -> Result<(String, Self), CredentialsError> {
        Err(CredentialsError::NotSimulated)
    }
}

/// Sleeps until the network has something, or the time that it told.
#[derive(Default)]
struct Alarm(Option<Pin<Box<madsim::time::Sleep>>>);

impl Alarm {
    /// Whether the time has come already.
    fn set(&mut self, at: Option<u64>, cx: &mut Context<'_>) -> bool {
        let Some(at) = at else {
            self.0 = None;
            return false;
        };
        let mut timer = Box::pin(madsim::time::sleep(until(at)));
        let rings = timer.as_mut().poll(cx).is_ready();
        self.0 = Some(timer);
        rings
    }

    fn wait<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut step: impl FnMut(&mut Context<'_>) -> Step<T>,
    ) -> Poll<T> {
        loop {
            match step(cx) {
                Step::Done(output) => return Poll::Ready(output),
                Step::Wait(at) => {
                    if !self.set(at, cx) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

/// The writing end of a byte stream.
pub(super) struct WriteHalf {
    network: Shared,
    wire: u64,
    side: usize,
    alarm: Alarm,
}

impl WriteHalf {
    pub async fn write_all(&mut self, frames: &mut Encoder) -> Result<(), NetError> {
        poll_fn(|cx| {
            let Self { network, wire, side, alarm } = self;
            alarm.wait(cx, |cx| lock(network).write(*wire, *side, now_ns(), frames, cx.waker()))
        })
        .await
    }

    pub async fn shutdown(&mut self) -> Result<(), NetError> {
        lock(&self.network).end(self.wire, self.side, now_ns());
        Ok(())
    }
}

/// The reading end of a byte stream.
pub(super) struct ReadHalf {
    network: Shared,
    wire: u64,
    side: usize,
    alarm: Alarm,
}

impl ReadHalf {
    pub async fn read(&mut self, buffer: &mut BytesMut) -> Result<usize, NetError> {
        poll_fn(|cx| {
            let Self { network, wire, side, alarm } = self;
            alarm.wait(cx, |cx| lock(network).read(*wire, *side, now_ns(), buffer, cx.waker()))
        })
        .await
    }
}

/// Whether the run goes on; what is dropped after its end has no network to tell.
fn in_a_run() -> bool {
    madsim::time::TimeHandle::try_current().is_some()
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        if in_a_run() {
            lock(&self.network).half_dropped(self.wire, self.side, true);
        }
    }
}

impl Drop for ReadHalf {
    fn drop(&mut self) {
        if in_a_run() {
            lock(&self.network).half_dropped(self.wire, self.side, false);
        }
    }
}

/// Both halves of one side of a connection.
fn halves(network: &Shared, wire: u64, side: usize) -> (WriteHalf, ReadHalf) {
    let write = WriteHalf { network: network.clone(), wire, side, alarm: Alarm::default() };
    let read = ReadHalf { network: network.clone(), wire, side, alarm: Alarm::default() };
    (write, read)
}

/// Where a socket of this node is bound.
fn own_spot(life: Incarnation, address: &Address) -> Result<Spot, NetError> {
    match address {
        Address::Unix(path) => Ok(Spot::Path(path.clone())),
        Address::Tcp(at) if address.is_local() => Ok(Spot::Loop(at.port())),
        Address::Tcp(at) if at.ip().is_unspecified() => Ok(Spot::Any(at.port())),
        Address::Tcp(at) if owner_of(at.ip()) == Some(life.node) => Ok(Spot::Outer(at.port())),
        Address::Tcp(_) => Err(NetError::Unreachable { address: address.clone() }),
    }
}

fn owner_of(ip: IpAddr) -> Option<NodeId> {
    let nodes = simulation::nodes();
    nodes.into_iter().find(|node| node.address() == ip).map(Node::id)
}

/// Whose socket an address means when this node says it.
fn far_spot(from: NodeId, address: &Address) -> Result<(NodeId, Spot), NetError> {
    match address {
        Address::Unix(path) => Ok((from, Spot::Path(path.clone()))),
        Address::Tcp(at) if address.is_local() => Ok((from, Spot::Loop(at.port()))),
        Address::Tcp(at) => match owner_of(at.ip()) {
            Some(owner) => Ok((owner, Spot::Outer(at.port()))),
            None => Err(NetError::Unreachable { address: address.clone() }),
        },
    }
}

fn with_chosen_port(at: SocketAddr, spot: &Spot) -> SocketAddr {
    match spot {
        Spot::Outer(port) | Spot::Loop(port) | Spot::Any(port) => SocketAddr::new(at.ip(), *port),
        Spot::Path(_) => at,
    }
}

pub(super) fn choose(_choice: Choice) -> Result<(), NetError> {
    Ok(())
}

pub(super) fn backend() -> Backend {
    Backend::Simulated
}

/// A socket that listens.
pub(super) struct Socket {
    network: Shared,
    life: Incarnation,
    spot: Spot,
    address: Address,
}

/// A stream whose other end is not known yet.
pub(super) struct Incoming {
    halves: (WriteHalf, ReadHalf),
    from: NodeId,
    unix: bool,
}

impl Socket {
    pub async fn bind(address: &Address) -> Result<Self, NetError> {
        let life = simulation::current();
        let spot = own_spot(life, address)?;
        let network = network();
        let opened = lock(&network).open(life, &spot);
        let Some(spot) = opened else { return Err(NetError::AddressInUse { address: address.clone() }) };
        let address = match address {
            Address::Tcp(at) => Address::Tcp(with_chosen_port(*at, &spot)),
            Address::Unix(path) => Address::Unix(path.clone()),
        };
        Ok(Self { network, life, spot, address })
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub async fn take(&self) -> Result<Option<Incoming>, NetError> {
        let taken = poll_fn(|cx| match lock(&self.network).take(self.life, &self.spot, cx.waker()) {
            Some(taken) => Poll::Ready(taken),
            None => Poll::Pending,
        });
        let (wire, from) = taken.await;
        let halves = halves(&self.network, wire, 1);
        let unix = matches!(self.address, Address::Unix(_));
        Ok(Some(Incoming { halves, from, unix }))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if in_a_run() {
            lock(&self.network).shut(self.life, &self.spot);
        }
    }
}

/// Learns who an incoming stream's other end is.
pub(super) async fn welcome(incoming: Incoming, credentials: &Credentials) -> Result<Connection, NetError> {
    let (write, read) = incoming.halves;
    greet(write, read, credentials, incoming.unix.then_some(incoming.from)).await
}

async fn greet(
    write: WriteHalf,
    read: ReadHalf,
    credentials: &Credentials,
    over_unix: Option<NodeId>,
) -> Result<Connection, NetError> {
    // A Unix socket's peer is proven by the kernel in both arms, whatever keys there are.
    let keys = if over_unix.is_some() { None } else { credentials.keys.as_ref() };
    let authority = keys.map(|keys| keys.authority.clone()).unwrap_or_default();
    let ours = Hello { name: credentials.name().to_owned(), authority: authority.clone() };
    let prove = |hello: Hello| {
        if hello.authority != authority {
            reach!("net.untrusted");
            let reason = format!("`{}` does not vouch for it", authority);
            return Err(NetError::Untrusted { reason });
        }
        let proof = match (over_unix, authority.is_empty()) {
            (Some(node), _) => {
                Proof::Process { pid: i32::try_from(node.number()).ok(), uid: 1000, gid: 1000 }
            }
            (None, false) => Proof::Certificate,
            (None, true) => Proof::Claimed,
        };
        Ok(PeerIdentity::new(hello.name, proof))
    };
    Connection::greet(write, read, &ours, prove).await
}

pub(super) async fn connect(address: &Address, credentials: &Credentials) -> Result<Connection, NetError> {
    let life = simulation::current();
    let (owner, spot) = far_spot(life.node, address)?;
    let network = network();
    let mut patience = KNOCK_AGAIN;
    let mut again = async || {
        reach!("net.knock_again");
        madsim::time::sleep(patience).await;
        patience = (patience * 2).min(KNOCK_AGAIN_LONGEST);
    };
    loop {
        if !cross(&network, life.node, owner).await? {
            again().await;
            continue;
        }
        let made = lock(&network).make_wire(life, owner, &spot);
        let half = match made {
            Some(None) => {
                again().await;
                continue;
            }
            Some(Some(wire)) => Some(halves(&network, wire, 0)),
            None => None,
        };
        while !cross(&network, owner, life.node).await? {
            again().await;
        }
        let Some((write, read)) = half else {
            return Err(NetError::Refused { address: address.clone() });
        };
        let over_unix = matches!(address, Address::Unix(_)).then_some(owner);
        return greet(write, read, credentials, over_unix).await;
    }
}

/// Lets one packet cross from node to node; false when it was lost.
async fn cross(network: &Shared, from: NodeId, to: NodeId) -> Result<bool, NetError> {
    let arrival = lock(network).knock(from, to, now_ns())?;
    if let Some(at) = arrival {
        madsim::time::sleep(until(at)).await;
    }
    Ok(arrival.is_some())
}

/// A datagram socket.
pub(super) struct Datagram {
    network: Shared,
    life: Incarnation,
    spot: Spot,
    address: SocketAddr,
}

impl Datagram {
    pub async fn bind(address: SocketAddr) -> Result<Self, NetError> {
        let life = simulation::current();
        let spot = own_spot(life, &Address::Tcp(address))?;
        let network = network();
        let opened = lock(&network).open_inbox(life, &spot);
        let Some(spot) = opened else {
            return Err(NetError::AddressInUse { address: Address::Tcp(address) });
        };
        let address = with_chosen_port(address, &spot);
        Ok(Self { network, life, spot, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub async fn send_to(&self, payload: &[u8], to: SocketAddr) -> Result<(), NetError> {
        if !simulation::is_alive(self.life) {
            return Ok(());
        }
        let Ok((owner, spot)) = far_spot(self.life.node, &Address::Tcp(to)) else {
            loss!("net.datagram", "no route leads there");
            return Ok(());
        };
        let from = self.seen_from(owner);
        lock(&self.network).send_datagram((self.life.node, from), (owner, &spot), payload);
        Ok(())
    }

    /// The address that the receiver sees.
    fn seen_from(&self, receiver: NodeId) -> SocketAddr {
        if !self.address.ip().is_unspecified() {
            return self.address;
        }
        let own = Node::current().map(Node::address);
        let ip = own.filter(|_| receiver != self.life.node).unwrap_or(Ipv4Addr::LOCALHOST.into());
        SocketAddr::new(ip, self.address.port())
    }

    pub async fn recv_from(&self) -> Result<(Bytes, SocketAddr), NetError> {
        let mut alarm = Alarm::default();
        let step = |cx: &mut Context<'_>| {
            lock(&self.network).read_datagram(self.life, &self.spot, now_ns(), cx.waker())
        };
        Ok(poll_fn(|cx| alarm.wait(cx, step)).await)
    }
}

impl Drop for Datagram {
    fn drop(&mut self) {
        if in_a_run() {
            lock(&self.network).shut_inbox(self.life, &self.spot);
        }
    }
}
