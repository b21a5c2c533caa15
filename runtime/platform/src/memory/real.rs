//! Real memory and bells.
//!
//! A bell is a pair of connected sockets, not an eventfd: whether a write to an eventfd blocks is decided by a flag that every holder can
//! clear, so a hostile owner could fill its counter and stop whoever rings. A send that must not block says so itself.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{LazyLock, mpsc};
use std::task::{Context, Poll, ready};

use rustix::fs::fcntl_get_seals;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType, getpeername, getsockname,
    recv, send, socketpair, sockopt,
};
use synod_probe::reach;
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
pub(crate) struct Handle(ManuallyDrop<OwnedFd>);

impl From<OwnedFd> for Handle {
    fn from(descriptor: OwnedFd) -> Self {
        Self(ManuallyDrop::new(descriptor))
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the last use of the field.
        let descriptor = unsafe { ManuallyDrop::take(&mut self.0) };
        if !closes_at_once(descriptor.as_fd()) {
            close_elsewhere(descriptor);
        }
    }
}

/// Whether closing it waits for nobody: memory and Unix sockets do not; a file of the peer's own file system may, and a socket that lingers.
fn closes_at_once(descriptor: BorrowedFd<'_>) -> bool {
    fcntl_get_seals(descriptor).is_ok() || sockopt::socket_domain(descriptor) == Ok(AddressFamily::UNIX)
}

/// Closes what no honest peer sends in a thread that does nothing else, so that only who sent it waits.
fn close_elsewhere(descriptor: OwnedFd) {
    static CLOSER: LazyLock<Option<mpsc::Sender<OwnedFd>>> = LazyLock::new(|| {
        let (sender, receiver) = mpsc::channel();
        let close = move || receiver.into_iter().for_each(drop);
        std::thread::Builder::new().name("closes".to_owned()).spawn(close).ok().map(|_| sender)
    });
    reach!("memory.alien_descriptor");
    if let Some(closer) = &*CLOSER {
        // It comes back, and is closed here, when that thread is gone.
        let _ = closer.send(descriptor);
    }
}

impl Handle {
    fn into_descriptor(self) -> OwnedFd {
        let mut handle = ManuallyDrop::new(self);
        // SAFETY: the handle is not dropped, so this is the last use of the field.
        unsafe { ManuallyDrop::take(&mut handle.0) }
    }

    pub(super) fn try_clone(&self) -> Result<Self, MemoryError> {
        self.0.try_clone().map(Self::from).map_err(|error| MemoryError::system("copying a descriptor", error))
    }

    #[expect(clippy::unnecessary_wraps, reason = "a simulated handle can be a bell")]
    pub(super) fn memory(&self) -> Result<BorrowedFd<'_>, MemoryError> {
        Ok(self.0.as_fd())
    }
}

#[derive(Debug)]
pub(super) struct Bell(AsyncFd<OwnedFd>);

impl Bell {
    /// A bell and its ringing end.
    pub(super) fn new() -> Result<(Self, Handle), MemoryError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (hears, rings) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|error| MemoryError::system("making a bell", error))?;
        // SAFETY: the owned descriptor moves in, stays open and the same until the AsyncFd is dropped.
        let hears = unsafe { AsyncFd::register_with_interest(hears, Interest::READABLE) }
            .map_err(|error| MemoryError::system("watching a bell", error))?;
        Ok((Self(hears), Handle::from(rings)))
    }

    pub(super) fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // The executor ends: nobody will ring here any more.
            let Ok(mut guard) = ready!(self.0.poll_read_ready(cx)) else { return Poll::Pending };
            // More than an honest peer ever has under way; what a flood leaves is another ring.
            let mut rings = [0; 64];
            match recv(self.0.get_ref(), &mut rings, RecvFlags::DONTWAIT) {
                // Shut down by who rings, or nobody can ring any more: it would be ready forever.
                Ok((0, _)) => return Poll::Pending,
                Ok((heard, _)) => {
                    // It is silent now: the next wait need not ask.
                    if heard < rings.len() {
                        guard.clear_ready();
                    }
                    return Poll::Ready(());
                }
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(Errno::INTR) => {}
                Err(_) => return Poll::Pending,
            }
        }
    }

    pub(super) fn poll_deserted(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Ok(mut guard) = ready!(self.0.poll_read_ready(cx)) else { return Poll::Pending };
            match recv(self.0.get_ref(), &mut [0; 1], RecvFlags::DONTWAIT | RecvFlags::PEEK) {
                Ok((0, _)) => return Poll::Ready(()),
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(Errno::INTR) => {}
                // Rung since it was last heard: that comes first.
                Ok(_) => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
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
            Ok(Self(handle.into_descriptor()))
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
    // Its address is the family and no more.
    let unnamed = |address: SocketAddrAny| address.addr_len() as usize == size_of::<libc::sa_family_t>();
    Ok(sockopt::socket_domain(socket)? == AddressFamily::UNIX
        && sockopt::socket_type(socket)? == SocketType::STREAM
        && unnamed(getsockname(socket)?)
        && getpeername(socket)?.is_none_or(unnamed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{self, Bell as Sleeper, Handle as Passed};
    use crate::testing::run;
    use rustix::fs::{OFlags, fcntl_setfl};
    use rustix::net::{Shutdown, shutdown};
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::time::Duration;
    use synod_ring::Waiter;

    #[test]
    fn a_bells_owner_who_lets_it_fill_up_cannot_stop_who_rings() {
        let (owners, rings) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None).unwrap();
        // The owner decides about the flag of the end it passed on.
        fcntl_setfl(&rings, OFlags::empty()).unwrap();
        let ringer = memory::ringer(Passed(rings.into())).unwrap();
        for _ in 0..100_000 {
            ringer.wake();
        }
        drop(owners);
        ringer.wake();
    }

    #[test]
    fn a_bell_that_its_ringer_spoils_is_silent_instead_of_ringing_forever() {
        run(1, || async {
            let bell = Sleeper::new().unwrap();
            let rings = bell.handle().unwrap().0;
            shutdown(&rings, Shutdown::Both).unwrap();
            for _ in 0..10 {
                crate::task::yield_now().await;
                let silent = poll_fn(|cx| Poll::Ready(bell.poll_rung(cx).is_pending()));
                assert!(silent.await);
            }
        });
    }

    #[test]
    fn a_flood_of_rings_is_heard_and_ends_when_the_flood_does() {
        run(2, || async {
            let bell = Sleeper::new().unwrap();
            let ringer = memory::ringer(bell.handle().unwrap()).unwrap();
            for _ in 0..10_000 {
                ringer.wake();
            }
            let mut heard = 0;
            while crate::time::timeout(Duration::from_millis(3), bell.rung()).await.is_ok() {
                heard += 1;
            }
            assert!((1..10_000).contains(&heard), "{heard}");
        });
    }

    #[test]
    fn whatever_is_not_one_end_of_a_pair_is_no_bell() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service");
        let service = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let (server, _) = service.accept().unwrap();
        let (datagrams, _) = std::os::unix::net::UnixDatagram::pair().unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (pipe, _) = rustix::pipe::pipe().unwrap();
        let eventfd = rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).unwrap();
        let alien: [(OwnedFd, &str); 7] = [
            (service.into(), "a socket"),
            (client.into(), "a socket"),
            (server.into(), "a socket"),
            (datagrams.into(), "a socket"),
            (tcp.into(), "a socket"),
            (pipe, "a pipe"),
            (eventfd, "something else"),
        ];
        for (descriptor, found) in alien {
            let refused = memory::ringer(Passed(descriptor.into())).unwrap_err();
            assert_eq!(refused, MemoryError::NotABell { found: found.into() });
        }
    }

    #[test]
    fn files_and_sockets_are_not_taken_for_memory() {
        let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let directory = std::fs::File::open("/").unwrap();
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        let alien: [(OwnedFd, &str); 3] =
            [(socket.into(), "a socket"), (directory.into(), "a file"), (file.into(), "a file")];
        for (descriptor, found) in alien {
            let refused = memory::check(&Passed(descriptor.into()), 4096);
            assert_eq!(refused, Err(MemoryError::NotMemory { found: found.into() }));
        }
    }

    #[test]
    fn a_descriptor_that_takes_its_time_to_close_holds_up_nobody() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_never_reads, _) = listener.accept().unwrap();
        client.set_nonblocking(true).unwrap();
        while client.write(&[0; 1 << 16]).is_ok() {}
        sockopt::set_socket_linger(&client, Some(Duration::from_secs(5))).unwrap();
        let handle = Passed(OwnedFd::from(client).into());
        let begun = std::time::Instant::now();
        drop(handle);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }

    #[test]
    fn whatever_was_passed_is_closed_in_the_end() {
        let (mut read, write) = std::io::pipe().unwrap();
        drop(Passed(OwnedFd::from(write).into()));
        assert_eq!(read.read(&mut [0]).unwrap(), 0, "nobody is left to write");
    }
}
