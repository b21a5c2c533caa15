//! The real arm: Unix sockets of sequenced packets, descriptors in their ancillary data, and the peer's pidfd where the kernel gives one.

use std::cell::RefCell;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, recvmsg, sendmsg,
};
use synod_probe::reach;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Access, FRAME_MAX, HANDLES_MAX, LocalError, PeerProcess, SocketFile};
use crate::memory::Handle;

/// Peers that have connected and were not taken yet; a further one waits.
const BACKLOG: i32 = 128;
/// Frames that are still taken when the peer process is known to have ended: more than usual buffers hold. A child of its may go on sending.
const LATE_MAX: usize = 512;
/// How long one that found the queue full waits before it tries again, and the longest it waits.
const KNOCK_AGAIN: Duration = Duration::from_millis(1);
const KNOCK_AGAIN_LONGEST: Duration = Duration::from_millis(50);

/// A socket that listens, and its file.
pub(super) struct Listener {
    /// First, so that it goes first: while the socket is open no other file can have its inode's number.
    file: SocketFile,
    socket: AsyncFd<OwnedFd>,
}

impl Listener {
    pub(super) async fn bind(path: &Path, access: Access) -> Result<Self, LocalError> {
        refuse_open_directory(path)?;
        let in_use = LocalError::InUse { path: path.to_owned() };
        match knock(path) {
            // Also one whose queue is full, and one of another type.
            Ok(_) | Err(Errno::AGAIN | Errno::PROTOTYPE) => return Err(in_use),
            Err(Errno::CONNREFUSED) if SocketFile::is_socket(path) => {
                reach!("local.stale_socket_replaced");
            }
            Err(Errno::CONNREFUSED) => return Err(in_use),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(path_error("connecting", path, error)),
        }
        let placed = SocketFile::place(path, |beside| listen(beside, access));
        let (file, socket) = placed.map_err(|error| path_error("listening", path, error))?;
        let socket =
            watched(socket, Interest::READABLE).map_err(|error| system("watching a socket", error))?;
        Ok(Self { file, socket })
    }

    pub(super) async fn accept(&mut self) -> Result<(Sender, Receiver, PeerProcess), LocalError> {
        let failed = |error| system("accepting a process", error);
        loop {
            let mut guard = self.socket.readable().await.map_err(failed)?;
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match guard.try_io(|socket| accept_with(socket, flags).map_err(Into::into).and_then(halves)) {
                Ok(Ok(halves)) => return Ok(halves),
                // Out of descriptors, most often: trying again at once would spin.
                Ok(Err(error)) if crate::net::passes(&error) => {
                    reach!("local.accept_retried");
                    crate::time::sleep(Duration::from_millis(10)).await;
                }
                Ok(Err(error)) => return Err(failed(error)),
                Err(_would_block) => {}
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }
}

/// Who may write a directory may replace the socket in it and be taken for its listener.
fn refuse_open_directory(path: &Path) -> Result<(), LocalError> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mode = std::fs::metadata(directory)
        .map_err(|error| path_error("listening", path, error))?
        .permissions()
        .mode();
    if mode & 0o1002 == 0o0002 {
        return Err(LocalError::OpenDirectory { path: directory.to_owned() });
    }
    Ok(())
}

fn listen(path: &Path, access: Access) -> io::Result<OwnedFd> {
    let socket = open()?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    let mode = match access {
        Access::Owner => 0o600,
        Access::Group(group) => {
            std::os::unix::fs::lchown(path, None, Some(group))?;
            0o660
        }
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    // Nobody could connect before.
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn open() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

fn knock(path: &Path) -> rustix::io::Result<OwnedFd> {
    let socket = open()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

pub(super) async fn connect(path: &Path) -> Result<(Sender, Receiver, PeerProcess), LocalError> {
    let mut patience = KNOCK_AGAIN;
    loop {
        match knock(path) {
            Ok(socket) => return halves(socket).map_err(|error| system("watching a socket", error)),
            Err(Errno::AGAIN) => {
                reach!("local.knock_again");
                crate::time::sleep(patience).await;
                patience = (patience * 2).min(KNOCK_AGAIN_LONGEST);
            }
            Err(error) => return Err(path_error("connecting", path, error)),
        }
    }
}

/// A connected socket, and the process at its other end.
struct Link {
    socket: AsyncFd<OwnedFd>,
    process: Option<AsyncFd<OwnedFd>>,
}

impl Link {
    /// Waits until the peer process has ended; forever when the kernel does not tell.
    async fn ended(&self) {
        let told = match &self.process {
            Some(process) => process.readable().await.is_ok(),
            None => false,
        };
        if !told {
            std::future::pending::<()>().await;
        }
    }
}

fn halves(socket: OwnedFd) -> io::Result<(Sender, Receiver, PeerProcess)> {
    let peer = credentials(&socket)?;
    let process = match process(&socket)? {
        Some(process) => Some(watched(process, Interest::READABLE)?),
        None => None,
    };
    let link = Link { socket: watched(socket, Interest::READABLE | Interest::WRITABLE)?, process };
    let link = Arc::new(link);
    Ok((Sender { link: link.clone() }, Receiver { link, late: 0 }, peer))
}

fn watched(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the owned descriptor moves in, stays open and the same until the AsyncFd is dropped.
    unsafe { AsyncFd::register_with_interest(descriptor, interest) }.map_err(io::Error::from)
}

/// Asks for an option of `SOL_SOCKET` whose value is a `T`.
///
/// # Safety
///
/// Any bytes that the kernel writes for this option make a `T`.
unsafe fn option<T: Copy>(socket: &OwnedFd, name: libc::c_int, mut value: T) -> io::Result<T> {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: value and length are valid for writing, and the kernel writes at most `len` bytes.
    let answer = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut len)
    };
    if answer == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

pub(super) fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Not by rustix, whose process ids are never 0: a peer outside of this process's namespace has that.
fn credentials(socket: &OwnedFd) -> io::Result<PeerProcess> {
    let unknown = libc::ucred { pid: 0, uid: libc::uid_t::MAX, gid: libc::gid_t::MAX };
    // SAFETY: three integers.
    let found = unsafe { option(socket, libc::SO_PEERCRED, unknown) }?;
    Ok(PeerProcess { pid: u32::try_from(found.pid).unwrap_or(0), uid: found.uid, gid: found.gid })
}

/// The peer's pidfd; `None` from kernels before 6.5, and for a peer that is gone already: its socket will tell.
fn process(socket: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    // SAFETY: an integer.
    match unsafe { option(socket, libc::SO_PEERPIDFD, -1) } {
        // SAFETY: the kernel made this descriptor for us just now.
        Ok(descriptor) => Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) })),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::NOPROTOOPT | Errno::SRCH | Errno::NODATA | Errno::INVAL) => Ok(None),
            _ => Err(error),
        },
    }
}

/// The sending end.
pub(super) struct Sender {
    link: Arc<Link>,
}

impl Sender {
    pub(super) async fn send(&mut self, frame: &[u8], handles: Vec<Handle>) -> Result<(), LocalError> {
        let descriptors: Vec<BorrowedFd<'_>> = handles.iter().map(|handle| handle.0.as_fd()).collect();
        loop {
            let mut guard = tokio::select! {
                biased;
                () = self.link.ended() => return Err(LocalError::Closed),
                guard = self.link.socket.writable() => guard.map_err(|error| system("sending a frame", error))?,
            };
            match guard.try_io(|socket| put(socket.as_fd(), frame, &descriptors)) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => return Err(channel_error("sending a frame", error)),
                Err(_would_block) => {}
            }
        }
    }
}

/// Sends one packet; the kernel takes it whole or not at all.
fn put(socket: BorrowedFd<'_>, frame: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDLES_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
        assert!(fits, "the space was made for {HANDLES_MAX} descriptors, {} are sent", descriptors.len());
    }
    loop {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match sendmsg(socket, &[IoSlice::new(frame)], &mut control, flags) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// The receiving end.
pub(super) struct Receiver {
    link: Arc<Link>,
    /// Frames taken since the peer process had ended.
    late: usize,
}

type Frame = (Bytes, Vec<Handle>);

impl Receiver {
    pub(super) async fn recv(&mut self) -> Result<Option<Frame>, LocalError> {
        loop {
            let ready = tokio::select! {
                biased;
                () = self.link.ended() => None,
                guard = self.link.socket.readable() => Some(guard),
            };
            let taken = match ready {
                Some(guard) => {
                    match guard.map_err(|error| system("receiving a frame", error))?.try_io(take) {
                        Ok(taken) => taken,
                        Err(_would_block) => continue,
                    }
                }
                None if self.late == LATE_MAX => Ok(Ok(None)),
                // What it sent before its end still comes.
                None => match take(&self.link.socket) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Ok(None)),
                    taken => {
                        self.late += 1;
                        taken
                    }
                },
            };
            return taken.map_err(|error| channel_error("receiving a frame", error))?;
        }
    }
}

thread_local! {
    /// Where a packet is received before its size is known: one for each thread, for most channels are idle.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; FRAME_MAX]);
}

/// Takes one packet. Descriptors that are not handed out are closed when the control buffer is dropped.
fn take(socket: &AsyncFd<OwnedFd>) -> io::Result<Result<Option<Frame>, LocalError>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDLES_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC | RecvFlags::TRUNC;
        let packet = loop {
            match recvmsg(socket, &mut [IoSliceMut::new(scratch)], &mut control, flags) {
                // Told once by the kernel when the peer left frames of ours unread; what it sent comes behind.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                other => break other?,
            }
        };
        let size = packet.bytes;
        let mut handles = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                handles.extend(descriptors.map(|descriptor| Handle(descriptor.into())));
            }
        }
        let truncated = packet.flags.contains(ReturnFlags::CTRUNC);
        Ok(if truncated && handles.len() < HANDLES_MAX {
            reach!("local.no_descriptors");
            Err(LocalError::NoDescriptors)
        } else if truncated || handles.len() > HANDLES_MAX {
            // Alignment leaves room for one or two more than were asked for.
            reach!("local.handles_refused");
            Err(LocalError::TooManyHandles { limit: HANDLES_MAX })
        } else if size > FRAME_MAX {
            reach!("local.frame_refused");
            Err(LocalError::TooLarge { size, limit: FRAME_MAX })
        } else if size == 0 {
            Ok(None)
        } else {
            Ok(Some((Bytes::copy_from_slice(&scratch[..size]), handles)))
        })
    })
}

fn path_error(doing: &'static str, path: &Path, error: impl Into<io::Error>) -> LocalError {
    let error = error.into();
    let path = path.to_owned();
    match Errno::from_io_error(&error) {
        Some(Errno::CONNREFUSED | Errno::NOENT | Errno::PROTOTYPE) => LocalError::NobodyListens { path },
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => LocalError::Denied { path },
        Some(Errno::MFILE | Errno::NFILE) => LocalError::NoDescriptors,
        _ => LocalError::System { doing, reason: format!("{}: {error}", path.display()) },
    }
}

fn channel_error(doing: &'static str, error: io::Error) -> LocalError {
    match Errno::from_io_error(&error) {
        Some(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN | Errno::CONNREFUSED) => LocalError::Closed,
        _ => system(doing, error),
    }
}

fn system(doing: &'static str, error: io::Error) -> LocalError {
    LocalError::System { doing, reason: error.to_string() }
}
