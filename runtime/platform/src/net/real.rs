//! The real arm: tokio's TCP, Unix and UDP sockets, with TLS from `tls.rs` where credentials have keys. A connection's bytes go by the
//! executor's epoll or, from `uring.rs`, by an io_uring; who listens and who dials waits by epoll.
//! A Unix socket appears at its path only when its mode is right; its listener takes it away again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use synod_probe::{loss, reach};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};

use super::connection::Connection;
use super::frame::Encoder;
use super::hello::Hello;
pub(super) use super::tls::Keys;
use super::{
    Address, Backend, Choice, Credentials, DATAGRAM_MAX, NetError, PeerIdentity, Proof, SLOWER, uring,
};
use crate::local::SocketFile;

/// What the configuration asks for; see [`choose`].
static CHOICE: AtomicU8 = AtomicU8::new(Choice::Automatic as u8);

pub(super) fn choose(choice: Choice) -> Result<(), NetError> {
    if choice == Choice::IoUring {
        uring::probe().map_err(|reason| NetError::NoIoUring { reason })?;
    }
    CHOICE.store(choice as u8, Ordering::Relaxed);
    Ok(())
}

pub(super) fn backend() -> Backend {
    let chosen = CHOICE.load(Ordering::Relaxed);
    if chosen == Choice::Automatic as u8 {
        return Backend::Epoll { reason: SLOWER };
    }
    match uring::probe() {
        Ok(features) if chosen == Choice::IoUring as u8 => Backend::IoUring { features },
        _ => Backend::Epoll { reason: "chosen by the configuration" },
    }
}

/// The writing end of a byte stream.
pub(super) enum WriteHalf {
    Stream(Box<dyn AsyncWrite + Unpin>),
    Ring(uring::Writer),
}

impl WriteHalf {
    /// Writes all that the encoder holds; what was written when the future is dropped is not written again.
    pub async fn write_all(&mut self, frames: &mut Encoder) -> Result<(), NetError> {
        let stream = match self {
            Self::Stream(stream) => stream,
            Self::Ring(writer) => return writer.write_all(frames).await.map_err(written),
        };
        loop {
            let chunk = frames.chunk();
            if chunk.is_empty() {
                return stream.flush().await.map_err(written);
            }
            match stream.write(&chunk).await.map_err(written)? {
                0 => return Err(NetError::Reset),
                n => frames.advance(n),
            }
        }
    }

    pub async fn shutdown(&mut self) -> Result<(), NetError> {
        let ended = match self {
            Self::Stream(stream) => stream.shutdown().await,
            Self::Ring(writer) => writer.shutdown(),
        };
        ended.map_err(|error| stream_error("closing a connection", &error))
    }
}

fn written(error: io::Error) -> NetError {
    stream_error("writing to a connection", &error)
}

/// The reading end of a byte stream.
pub(super) enum ReadHalf {
    Stream(Box<dyn AsyncRead + Unpin>),
    Ring(uring::Reader),
}

impl ReadHalf {
    /// Reads some bytes behind those in `buffer`; 0 is the stream's end.
    pub async fn read(&mut self, buffer: &mut BytesMut) -> Result<usize, NetError> {
        let read = match self {
            Self::Stream(stream) => stream.read_buf(buffer).await,
            Self::Ring(reader) => reader.read(buffer).await,
        };
        read.map_err(|error| stream_error("reading from a connection", &error))
    }
}

/// A connected socket, its bytes by epoll or by this thread's io_uring, as it was chosen.
enum Carried<S> {
    Epoll(S),
    Ring((uring::Reader, uring::Writer)),
}

/// Takes a socket from the executor, if its bytes are to go by a ring.
fn carry<S, O: Into<OwnedFd>>(
    stream: S,
    into_std: impl FnOnce(S) -> io::Result<O>,
) -> Result<Carried<S>, NetError> {
    match backend() {
        Backend::IoUring { .. } => into_std(stream)
            .and_then(|socket| uring::split(socket.into()))
            .map(Carried::Ring)
            .map_err(|error| stream_error("handing a connection to io_uring", &error)),
        _ => Ok(Carried::Epoll(stream)),
    }
}

fn boxed(
    (read, write): (impl AsyncRead + Unpin + 'static, impl AsyncWrite + Unpin + 'static),
) -> (WriteHalf, ReadHalf) {
    (WriteHalf::Stream(Box::new(write)), ReadHalf::Stream(Box::new(read)))
}

/// A socket that listens.
pub(super) struct Socket {
    kind: Kind,
    address: Address,
}

enum Kind {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

/// A stream whose other end is not known yet.
pub(super) enum Incoming {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    pub async fn bind(address: &Address) -> Result<Self, NetError> {
        let (kind, address) = match address {
            Address::Tcp(at) => {
                let listener = TcpListener::bind(at).await.map_err(|error| bind_error(address, &error))?;
                let at = listener.local_addr().map_err(|error| bind_error(address, &error))?;
                (Kind::Tcp(listener), Address::Tcp(at))
            }
            Address::Unix(path) => (Kind::Unix(UnixSocket::bind(path).await?), address.clone()),
        };
        Ok(Self { kind, address })
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The next stream; `None` when there was none after all, or a shortage that passes.
    pub async fn take(&self) -> Result<Option<Incoming>, NetError> {
        let taken = match &self.kind {
            Kind::Tcp(listener) => listener.accept().await.map(|(stream, _)| Incoming::Tcp(stream)),
            Kind::Unix(socket) => socket.listener.accept().await.map(|(stream, _)| Incoming::Unix(stream)),
        };
        match taken {
            Ok(incoming) => Ok(Some(incoming)),
            Err(error) if passes(&error) => {
                // Out of descriptors, most often: trying again at once would spin.
                reach!("net.accept_retried");
                crate::time::sleep(Duration::from_millis(10)).await;
                Ok(None)
            }
            Err(error) => Err(io_error("accepting a connection", &error)),
        }
    }
}

/// Errors of `accept` that concern one peer or a passing shortage (accept(2)).
pub(crate) fn passes(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let Some(errno) = Errno::from_io_error(error) else { return false };
    [
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::PERM,
        Errno::PROTO,
    ]
    .contains(&errno)
}

/// Learns who an incoming stream's other end is.
pub(super) async fn welcome(incoming: Incoming, credentials: &Credentials) -> Result<Connection, NetError> {
    match incoming {
        Incoming::Tcp(stream) => over_tcp(stream, credentials, None).await,
        Incoming::Unix(stream) => greet_unix(stream, credentials).await,
    }
}

pub(super) async fn connect(address: &Address, credentials: &Credentials) -> Result<Connection, NetError> {
    match address {
        Address::Tcp(at) => {
            let stream = TcpStream::connect(at).await.map_err(|error| connect_error(address, &error))?;
            over_tcp(stream, credentials, Some(at.ip())).await
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(|error| connect_error(address, &error))?;
            greet_unix(stream, credentials).await
        }
    }
}

/// A connection over TCP, of which this side is the client if it says whom it has reached.
async fn over_tcp(
    stream: TcpStream,
    credentials: &Credentials,
    reached: Option<IpAddr>,
) -> Result<Connection, NetError> {
    // Small frames must not wait for more to come: batching is the sender's, by `queue` and `flush`.
    stream.set_nodelay(true).map_err(|error| stream_error("preparing a connection", &error))?;
    let carried = carry(stream, TcpStream::into_std)?;
    if let Some(keys) = &credentials.keys {
        return match carried {
            Carried::Epoll(stream) => over_tls(keys, stream, reached).await,
            Carried::Ring(halves) => over_tls(keys, uring::Stream::new(halves), reached).await,
        };
    }
    let (write, read) = match carried {
        Carried::Epoll(stream) => boxed(stream.into_split()),
        Carried::Ring((reader, writer)) => (WriteHalf::Ring(writer), ReadHalf::Ring(reader)),
    };
    let prove = |hello: Hello| Ok(PeerIdentity::new(hello.name, Proof::Claimed));
    Connection::greet(write, read, &our_hello(credentials), prove).await
}

async fn over_tls<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    keys: &Keys,
    stream: S,
    reached: Option<IpAddr>,
) -> Result<Connection, NetError> {
    let (stream, name) = match reached {
        Some(at) => keys.connect(at, stream).await?,
        None => keys.accept(stream).await?,
    };
    let (write, read) = boxed(tokio::io::split(stream));
    Ok(Connection::proven(write, read, PeerIdentity::new(name, Proof::Certificate)))
}

fn our_hello(credentials: &Credentials) -> Hello {
    Hello { name: credentials.name().to_owned(), authority: String::new() }
}

async fn greet_unix(stream: UnixStream, credentials: &Credentials) -> Result<Connection, NetError> {
    let process =
        stream.peer_cred().map_err(|error| stream_error("asking who is at a Unix socket", &error))?;
    let proof = Proof::Process { pid: process.pid(), uid: process.uid(), gid: process.gid() };
    let (write, read) = match carry(stream, UnixStream::into_std)? {
        Carried::Epoll(stream) => boxed(stream.into_split()),
        Carried::Ring((reader, writer)) => (WriteHalf::Ring(writer), ReadHalf::Ring(reader)),
    };
    let prove = |hello: Hello| Ok(PeerIdentity::new(hello.name, proof));
    Connection::greet(write, read, &our_hello(credentials), prove).await
}

/// A Unix socket that listens, and its file.
struct UnixSocket {
    /// First, so that it goes first: while the socket is open no other file can have its inode's number.
    _file: SocketFile,
    listener: UnixListener,
}

impl UnixSocket {
    async fn bind(path: &Path) -> Result<Self, NetError> {
        let address = Address::Unix(path.to_owned());
        match UnixStream::connect(path).await {
            Ok(_) => return Err(NetError::AddressInUse { address }),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                if !SocketFile::is_socket(path) {
                    return Err(NetError::AddressInUse { address });
                }
                reach!("net.stale_socket_replaced");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(bind_error(&address, &error)),
        }
        let placed = SocketFile::place(path, |beside| {
            let listener = UnixListener::bind(beside)?;
            std::fs::set_permissions(beside, std::fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        });
        let (file, listener) = placed.map_err(|error| bind_error(&address, &error))?;
        Ok(Self { _file: file, listener })
    }
}

pub(super) struct Datagram {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Datagram {
    pub async fn bind(address: SocketAddr) -> Result<Self, NetError> {
        let failed = |error: io::Error| bind_error(&Address::Tcp(address), &error);
        let socket = UdpSocket::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub async fn send_to(&self, payload: &[u8], to: SocketAddr) -> Result<(), NetError> {
        match self.socket.send_to(payload, to).await {
            Ok(_) => Ok(()),
            // An earlier datagram's bounce: this one was not sent, and datagrams may be lost.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                loss!("net.datagram", "nobody listens there");
                Ok(())
            }
            Err(error) => Err(connect_error(&Address::Tcp(to), &error)),
        }
    }

    pub async fn recv_from(&self) -> Result<(Bytes, SocketAddr), NetError> {
        let mut buffer = [0; DATAGRAM_MAX + 1];
        loop {
            match self.socket.recv_from(&mut buffer).await {
                Ok((size, _)) if size > DATAGRAM_MAX => loss!("net.datagram", "longer than the limit"),
                Ok((size, from)) => return Ok((Bytes::copy_from_slice(&buffer[..size]), from)),
                // The bounce of something this socket sent: not a datagram.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(io_error("receiving a datagram", &error)),
            }
        }
    }
}

fn bind_error(address: &Address, error: &io::Error) -> NetError {
    match error.kind() {
        io::ErrorKind::AddrInUse => NetError::AddressInUse { address: address.clone() },
        io::ErrorKind::AddrNotAvailable => NetError::Unreachable { address: address.clone() },
        _ => NetError::Io { doing: "listening", reason: format!("{address}: {error}") },
    }
}

fn connect_error(address: &Address, error: &io::Error) -> NetError {
    let address = address.clone();
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => NetError::Refused { address },
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable => NetError::Unreachable { address },
        io::ErrorKind::TimedOut => NetError::TimedOut { address },
        _ => NetError::Io { doing: "connecting", reason: format!("{address}: {error}") },
    }
}

pub(super) fn stream_error(doing: &'static str, error: &io::Error) -> NetError {
    match error.kind() {
        // A TLS stream that ends without its closing word may have been cut by anyone: a reset, not an end.
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::NotConnected
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::TimedOut => NetError::Reset,
        _ => io_error(doing, error),
    }
}

fn io_error(doing: &'static str, error: &io::Error) -> NetError {
    NetError::Io { doing, reason: error.to_string() }
}
