//! Channels between processes of one machine: frames that arrive whole and in order, and handles to memory and bells that travel with them.
//!
//! Real: Unix sockets that keep the boundaries of frames, with the kernel's word for who the peer is. Simulated: in memory, between
//! any two nodes of the world, for the whole world is one machine; it takes no time and loses nothing. In both a frame is sent whole or
//! not at all; a channel ends when the peer closed it, that is both its halves, or when the peer *process* has ended, although a child
//! that it forked may hold the socket open. What the peer sent before its end is still received.
//!
//! Nothing a peer sends is trusted: what is too large or too many is an error that says so, and the handles that came with it are closed.

mod error;
pub mod folder;
#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod sim;
#[cfg(not(madsim))]
mod socket_file;

use std::fmt;
use std::path::Path;

use bytes::Bytes;

use crate::memory::Handle;
pub use error::LocalError;
#[cfg(not(madsim))]
use real as arm;
#[cfg(madsim)]
use sim as arm;
#[cfg(not(madsim))]
pub(crate) use socket_file::SocketFile;

/// The most bytes that one frame has.
pub const FRAME_MAX: usize = 64 << 10;
/// The most handles that one frame carries.
pub const HANDLES_MAX: usize = 8;

/// The most bytes that a path has, with what the kernel takes and what is needed to put a socket there in one step.
const PATH_MAX: usize = 106;

fn fitting(path: &Path) -> Result<&Path, LocalError> {
    if path.as_os_str().len() > PATH_MAX {
        return Err(LocalError::PathTooLong { path: path.to_owned(), limit: PATH_MAX });
    }
    Ok(path)
}

/// Who may connect. Simulated processes all belong to one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Processes of this process's user (mode 0600).
    Owner,
    /// Also those of a group, by its number (mode 0660).
    Group(u32),
}

/// The process at the other end, by the kernel's word at the time it connected, or began to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProcess {
    /// Its process id, in this process's view; 0 when it has none here. In simulation the node's number.
    pub pid: u32,
    /// Its effective user id.
    pub uid: u32,
    /// Its effective group id.
    pub gid: u32,
}

/// Waits for other processes to connect. Dropping it removes its socket.
pub struct Listener(arm::Listener);

impl Listener {
    /// Listens at `path`. A socket file that nobody listens at any more is replaced. The socket appears there with its mode, never with
    /// another.
    pub async fn bind(path: &Path, access: Access) -> Result<Self, LocalError> {
        arm::Listener::bind(fitting(path)?, access).await.map(Self)
    }

    /// The next process that connects. A peer that leaves before it is taken is no error. Dropping the future loses nobody.
    pub async fn accept(&mut self) -> Result<Channel, LocalError> {
        self.0.accept().await.map(Channel::new)
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Connects to whoever listens at `path`; waits while its queue of those who want in is full, so set a deadline.
pub async fn connect(path: &Path) -> Result<Channel, LocalError> {
    arm::connect(fitting(path)?).await.map(Channel::new)
}

/// The effective user id of this process, as its peers see it.
pub fn user() -> u32 {
    arm::user()
}

/// A channel to another process. The context in which it was made must live as long: its executor watches the sockets.
pub struct Channel {
    sender: Sender,
    receiver: Receiver,
    peer: PeerProcess,
}

impl Channel {
    fn new((sender, receiver, peer): (arm::Sender, arm::Receiver, PeerProcess)) -> Self {
        Self { sender: Sender(sender), receiver: Receiver(receiver), peer }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> PeerProcess {
        self.peer
    }

    /// Its two directions. The channel closes when both are dropped.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

/// The sending half.
pub struct Sender(arm::Sender);

impl Sender {
    /// Sends a frame of 1 to [`FRAME_MAX`] bytes with up to [`HANDLES_MAX`] handles, which are closed here. Waits while the peer does not read.
    /// When the future is dropped before it is done, nothing was sent.
    pub async fn send(&mut self, frame: &[u8], handles: Vec<Handle>) -> Result<(), LocalError> {
        let (size, limit) = (frame.len(), FRAME_MAX);
        match size {
            0 => Err(LocalError::Empty),
            _ if size > limit => Err(LocalError::TooLarge { size, limit }),
            _ if handles.len() > HANDLES_MAX => Err(LocalError::TooManyHandles { limit: HANDLES_MAX }),
            _ => self.0.send(frame, handles).await,
        }
    }
}

/// The receiving half.
pub struct Receiver(arm::Receiver);

impl Receiver {
    /// The next frame; `None` when the peer has closed or its process has ended, as soon as that is known, and all it sent before was
    /// received. After an error the next frame can be received. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Result<Option<(Bytes, Vec<Handle>)>, LocalError> {
        self.0.recv().await
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("path", &self.path()).finish()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}
