//! The real arm: tokio's TCP, Unix and UDP sockets, with TLS from `tls.rs` where credentials have keys.
//! Hellos and handshakes run beside each other inside `accept`, so that a slow stranger holds up nobody.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use futures_util::future::{FutureExt, LocalBoxFuture};
use futures_util::stream::{FuturesUnordered, StreamExt};
use synod_probe::{event, loss, reach};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};

use super::connection::Connection;
use super::frame::Encoder;
use super::hello::Hello;
pub(super) use super::tls::Keys;
use super::{
    Address, Credentials, DATAGRAM_MAX, HANDSHAKE_LIMIT, HANDSHAKES_MAX, NetError, PeerIdentity, Proof,
};

/// The writing end of a byte stream.
pub(super) struct WriteHalf(Box<dyn AsyncWrite + Send + Unpin>);

impl WriteHalf {
    /// Writes all that the encoder holds; what was written when the future is dropped is not written again.
    pub async fn write_all(&mut self, frames: &mut Encoder) -> Result<(), NetError> {
        loop {
            let chunk = frames.chunk();
            if chunk.is_empty() {
                return self.0.flush().await.map_err(|error| stream_error("writing to a connection", &error));
            }
            match self.0.write(&chunk).await {
                Ok(0) => return Err(NetError::Reset),
                Ok(n) => frames.advance(n),
                Err(error) => return Err(stream_error("writing to a connection", &error)),
            }
        }
    }

    pub async fn shutdown(&mut self) -> Result<(), NetError> {
        self.0.shutdown().await.map_err(|error| stream_error("closing a connection", &error))
    }
}

/// The reading end of a byte stream.
pub(super) struct ReadHalf(Box<dyn AsyncRead + Send + Unpin>);

impl ReadHalf {
    /// Reads some bytes behind those in `buffer`; 0 is the stream's end.
    pub async fn read(&mut self, buffer: &mut BytesMut) -> Result<usize, NetError> {
        self.0.read_buf(buffer).await.map_err(|error| stream_error("reading from a connection", &error))
    }
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

pub(super) struct Listener {
    socket: Socket,
    address: Address,
    credentials: Credentials,
    handshakes: FuturesUnordered<LocalBoxFuture<'static, Result<Connection, NetError>>>,
    refused: u64,
}

impl Listener {
    pub async fn bind(address: &Address, credentials: &Credentials) -> Result<Self, NetError> {
        let (socket, address) = match address {
            Address::Tcp(at) => {
                let listener = TcpListener::bind(at).await.map_err(|error| bind_error(address, &error))?;
                let at = listener.local_addr().map_err(|error| bind_error(address, &error))?;
                (Socket::Tcp(listener), Address::Tcp(at))
            }
            Address::Unix(path) => {
                let (listener, file) = SocketFile::bind(path).await?;
                (Socket::Unix(listener, file), address.clone())
            }
        };
        let credentials = credentials.clone();
        Ok(Self { socket, address, credentials, handshakes: FuturesUnordered::new(), refused: 0 })
    }

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
                taken = take(&self.socket), if room => match taken {
                    Ok(accepted) => {
                        let handshake = welcome(accepted, self.credentials.clone());
                        self.handshakes.push(handshake.boxed_local());
                    }
                    Err(error) if passes(&error) => {
                        // Out of descriptors, or a peer that left again: the listener is sound, but must not spin.
                        reach!("net.accept_retried");
                        crate::time::sleep(std::time::Duration::from_millis(10)).await;
                    }
                    Err(error) => return Err(io_error("accepting a connection", &error)),
                },
            }
        }
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn refused(&self) -> u64 {
        self.refused
    }
}

async fn take(socket: &Socket) -> io::Result<Accepted> {
    match socket {
        Socket::Tcp(listener) => Ok(Accepted::Tcp(listener.accept().await?.0)),
        Socket::Unix(listener, _) => Ok(Accepted::Unix(listener.accept().await?.0)),
    }
}

/// Errors of `accept` that concern one peer or a passing shortage (accept(2)).
fn passes(error: &io::Error) -> bool {
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

async fn welcome(accepted: Accepted, credentials: Credentials) -> Result<Connection, NetError> {
    let handshake = async {
        match accepted {
            Accepted::Tcp(stream) => match &credentials.keys {
                Some(keys) => {
                    prepare(&stream)?;
                    let (stream, name) = keys.accept(stream).await?;
                    Ok(over_tls(stream, name))
                }
                None => greet_tcp(stream, &credentials).await,
            },
            Accepted::Unix(stream) => greet_unix(stream, &credentials).await,
        }
    };
    match crate::time::timeout(HANDSHAKE_LIMIT, handshake).await {
        Ok(connection) => connection,
        Err(_) => Err(NetError::HandshakeTooSlow { limit: HANDSHAKE_LIMIT }),
    }
}

pub(super) async fn connect(address: &Address, credentials: &Credentials) -> Result<Connection, NetError> {
    match address {
        Address::Tcp(at) => {
            let stream = TcpStream::connect(at).await.map_err(|error| connect_error(address, &error))?;
            match &credentials.keys {
                Some(keys) => {
                    prepare(&stream)?;
                    let (stream, name) = keys.connect(stream).await?;
                    Ok(over_tls(stream, name))
                }
                None => greet_tcp(stream, credentials).await,
            }
        }
        Address::Unix(path) => {
            let stream =
                UnixStream::connect(path).await.map_err(|error| connect_error(address, &error))?;
            greet_unix(stream, credentials).await
        }
    }
}

/// Small frames must not wait for more to come: batching is the sender's, by `queue` and `flush`.
fn prepare(stream: &TcpStream) -> Result<(), NetError> {
    stream.set_nodelay(true).map_err(|error| stream_error("preparing a connection", &error))
}

fn over_tls(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, name: String) -> Connection {
    let (read, write) = tokio::io::split(stream);
    let peer = PeerIdentity::new(name, Proof::Certificate);
    Connection::proven(WriteHalf(Box::new(write)), ReadHalf(Box::new(read)), peer)
}

fn our_hello(credentials: &Credentials) -> Hello {
    Hello { name: credentials.name().to_owned(), authority: String::new() }
}

async fn greet_tcp(stream: TcpStream, credentials: &Credentials) -> Result<Connection, NetError> {
    prepare(&stream)?;
    let (read, write) = stream.into_split();
    let prove = |hello: Hello| Ok(PeerIdentity::new(hello.name, Proof::Claimed));
    let (write, read) = (WriteHalf(Box::new(write)), ReadHalf(Box::new(read)));
    Connection::greet(write, read, &our_hello(credentials), prove).await
}

async fn greet_unix(stream: UnixStream, credentials: &Credentials) -> Result<Connection, NetError> {
    let process =
        stream.peer_cred().map_err(|error| stream_error("asking who is at a Unix socket", &error))?;
    let proof = Proof::Process { pid: process.pid(), uid: process.uid(), gid: process.gid() };
    let (read, write) = stream.into_split();
    let prove = |hello: Hello| Ok(PeerIdentity::new(hello.name, proof));
    let (write, read) = (WriteHalf(Box::new(write)), ReadHalf(Box::new(read)));
    Connection::greet(write, read, &our_hello(credentials), prove).await
}

/// A Unix socket's file, removed with its listener unless someone else has put another in its place.
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl SocketFile {
    /// Binds beside the path and moves the socket there when its mode is right, so that nobody meets it with another.
    async fn bind(path: &Path) -> Result<(UnixListener, Self), NetError> {
        let address = Address::Unix(path.to_owned());
        match UnixStream::connect(path).await {
            Ok(_) => return Err(NetError::AddressInUse { address }),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // A file that is no socket refuses too: it is not ours to replace.
                use std::os::unix::fs::FileTypeExt;
                let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
                if !is_socket {
                    return Err(NetError::AddressInUse { address });
                }
                reach!("net.stale_socket_replaced");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(bind_error(&address, &error)),
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push("~");
        let beside = PathBuf::from(beside);
        let bound = (|| {
            match std::fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(&beside)?;
            std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600))?;
            let inode = std::fs::symlink_metadata(&beside)?.ino();
            std::fs::rename(&beside, path)?;
            Ok((listener, Self { path: path.to_owned(), inode }))
        })();
        bound.map_err(|error| bind_error(&address, &error))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            // Nothing to be done if this fails: the next listener replaces the stale file.
            let _ = std::fs::remove_file(&self.path);
        }
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
