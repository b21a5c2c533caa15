//! Real memory and bells.
//!
//! A bell is a pair of connected sockets, not an eventfd: whether a write to an eventfd blocks is decided by a flag that every holder can
//! clear, so a hostile owner could fill its counter and stop whoever rings. A send that must not block says so itself.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, getpeername, getsockname,
    recv, send, socketpair, sockopt,
};
use synod_ring::region::RegionError;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::MemoryError;
use super::sealed::{Mapping, kind};

/// The allocator alone says no.
#[derive(Debug)]
pub(super) struct Grant;

#[expect(clippy::unnecessary_wraps, reason = "the simulated arm refuses here")]
pub(super) fn grant(_len: usize) -> Result<Grant, RegionError> {
    Ok(Grant)
}

/// The mapping of a region's owner.
#[derive(Debug)]
pub(super) struct Shared(Mapping);

impl Shared {
    pub(super) fn new(mapping: Mapping) -> Self {
        Self(mapping)
    }

    pub(super) fn mapping(&self) -> &Mapping {
        &self.0
    }
}

/// A descriptor of whatever another process sent.
#[derive(Debug)]
pub(crate) struct Handle(OwnedFd);

impl From<OwnedFd> for Handle {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Handle {
    pub(super) fn try_clone(&self) -> Result<Self, MemoryError> {
        self.0.try_clone().map(Self).map_err(|error| MemoryError::system("copying a descriptor", error))
    }

    #[expect(clippy::unnecessary_wraps, reason = "a simulated handle can be a bell")]
    pub(super) fn memory(&self) -> Result<BorrowedFd<'_>, MemoryError> {
        Ok(self.0.as_fd())
    }
}

#[derive(Debug)]
pub(super) struct Bell {
    hears: AsyncFd<OwnedFd>,
    rings: OwnedFd,
}

impl Bell {
    pub(super) fn new() -> Result<Self, MemoryError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (hears, rings) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|error| MemoryError::system("making a bell", error))?;
        // SAFETY: the owned descriptor moves in, stays open and the same until the AsyncFd is dropped.
        let hears = unsafe { AsyncFd::register_with_interest(hears, Interest::READABLE) }
            .map_err(|error| MemoryError::system("watching a bell", error))?;
        Ok(Self { hears, rings })
    }

    pub(super) fn handle(&self) -> Result<Handle, MemoryError> {
        self.rings.try_clone().map(Handle).map_err(|error| MemoryError::system("copying a bell", error))
    }

    pub(super) fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // The executor ends: nobody will ring here any more.
            let Ok(mut guard) = ready!(self.hears.poll_read_ready(cx)) else { return Poll::Pending };
            // More than an honest peer ever has under way; what a flood leaves is another ring.
            match recv(self.hears.get_ref(), &mut [0; 64], RecvFlags::DONTWAIT) {
                // Shut down by who rings: it would be ready forever.
                Ok((0, _)) => return Poll::Pending,
                Ok(_) => return Poll::Ready(()),
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(Errno::INTR) => {}
                Err(_) => return Poll::Pending,
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Ringer(OwnedFd);

impl Ringer {
    pub(super) fn new(handle: Handle) -> Result<Self, MemoryError> {
        if is_bell(handle.as_fd()).unwrap_or(false) {
            Ok(Self(handle.0))
        } else {
            Err(MemoryError::NotABell { found: kind(handle.as_fd()) })
        }
    }

    pub(super) fn ring(&self) {
        // No room is as good as rung; an owner that is gone hears nothing.
        let _ = send(&self.0, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

/// Whether this is one of two sockets that were made as a pair: a connection to some service, which would take our ring for a word of
/// ours, has a name at one end.
fn is_bell(socket: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    let unnamed = |address| SocketAddrUnix::try_from(address).is_ok_and(|address| address.is_unnamed());
    Ok(sockopt::socket_domain(socket)? == AddressFamily::UNIX
        && sockopt::socket_type(socket)? == SocketType::STREAM
        && unnamed(getsockname(socket)?)
        && getpeername(socket)?.is_none_or(unnamed))
}
