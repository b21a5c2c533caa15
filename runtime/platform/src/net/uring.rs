//! The bytes of connections by an io_uring, one for each thread: a receive that goes on answering, into buffers the kernel picks from
//! a pool of the thread, and a send for a whole batch of frames.
//!
//! What is in flight owns its memory and its socket. A half that is dropped cancels what it has in flight; the memory goes when the kernel has
//! said that it is done. A reader that takes nothing is given at most [`HELD_MAX`] and what one turn brings; the rest waits at the sender.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use io_uring::types::{BufRingEntry, Fd};
use io_uring::{cqueue, opcode};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::frame::Encoder;
use crate::disk::{ALIGNMENT, Buffer};
use crate::uring::{self, Uring};

/// Bytes that a connection holds for its reader before it stops to receive.
const HELD_MAX: usize = 1 << 20;

/// Buffers in a thread's pool, a power of two, and bytes of each.
const BUFFERS: u16 = 32;
const BUFFER: usize = 32 << 10;

/// The pool's number.
const GROUP: u16 = 0;

/// The most pieces of one send, and bytes of one that must be copied first.
const PIECES: usize = 64;
const COPIED_MAX: usize = 64 << 10;

/// What the kernel granted, or why it refused. Asked once.
pub(super) fn probe() -> Result<&'static str, String> {
    static ANSWER: OnceLock<Result<&'static str, String>> = OnceLock::new();
    let needs = [
        (opcode::Recv::CODE, "receive"),
        (opcode::SendMsg::CODE, "send a message"),
        (opcode::AsyncCancel::CODE, "cancel"),
    ];
    ANSWER.get_or_init(|| uring::probe(&needs)).clone()
}

/// A thread's ring.
struct Ring {
    /// First, so that it goes first: the pool's memory is the kernel's until then.
    uring: RefCell<Uring<Flight>>,
    pool: Option<RefCell<Pool>>,
    /// An eventfd that is never read: each time it rings the executor is told once.
    doorbell: OwnedFd,
    next: Cell<u64>,
    driven: Cell<bool>,
    /// The kernel wants to be asked again.
    again: Cell<bool>,
    driver: RefCell<Option<Waker>>,
}

/// What the kernel works on.
enum Flight {
    Receive { inbox: Rc<RefCell<Inbox>>, buffer: Option<Box<[u8]>>, _socket: Rc<OwnedFd> },
    Send { outbox: Rc<RefCell<Outbox>>, _batch: Box<Batch>, _socket: Rc<OwnedFd> },
}

/// What came for one reader.
#[derive(Default)]
struct Inbox {
    bytes: BytesMut,
    /// The receive in flight.
    armed: Option<u64>,
    /// That one was told to end, as its reader is behind.
    held: bool,
    /// No more will come: the stream's end, or an error.
    ended: Option<Result<(), Errno>>,
    waker: Option<Waker>,
}

/// What one writer has in flight, and what became of it.
#[derive(Default)]
struct Outbox {
    flying: Option<u64>,
    answer: Option<Result<usize, Errno>>,
    waker: Option<Waker>,
}

/// The frames of one send, and the kernel's view of them.
struct Batch {
    _frames: Vec<Bytes>,
    pieces: Vec<libc::iovec>,
    head: libc::msghdr,
}

impl Batch {
    fn new(frames: Vec<Bytes>) -> Box<Self> {
        let piece =
            |frame: &Bytes| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        let pieces = frames.iter().map(piece).collect();
        // SAFETY: all zero is a message without address, control data or pieces.
        let head = unsafe { std::mem::zeroed() };
        let mut batch = Box::new(Self { _frames: frames, pieces, head });
        batch.head.msg_iov = batch.pieces.as_mut_ptr();
        batch.head.msg_iovlen = batch.pieces.len() as _;
        batch
    }
}

/// Buffers that the kernel picks from: a page that says which are free, and the buffers behind it.
struct Pool {
    memory: Buffer,
    tail: u16,
}

impl Pool {
    /// `None` where the kernel has no such pools, or no receive that goes on.
    fn register(uring: &Uring<Flight>) -> Option<Self> {
        // Both came with the kernel's 6.0, as this operation did.
        uring::probe(&[(opcode::SendZc::CODE, "send without copying")]).ok()?;
        let mut pool = Self { memory: Buffer::zeroed(ALIGNMENT + usize::from(BUFFERS) * BUFFER), tail: 0 };
        let page = pool.memory.start() as u64;
        // SAFETY: the page is aligned, large enough for so many entries, and freed after the ring is gone.
        unsafe { uring.submitter().register_buf_ring_with_flags(page, BUFFERS, GROUP, 0) }.ok()?;
        (0..BUFFERS).for_each(|number| pool.give(number));
        Some(pool)
    }

    fn bytes(&self, number: u16, len: usize) -> &[u8] {
        &self.memory[ALIGNMENT + usize::from(number) * BUFFER..][..len]
    }

    /// Gives a buffer to the kernel.
    fn give(&mut self, number: u16) {
        let page = self.memory.start().cast::<BufRingEntry>();
        let at = self.memory.start().wrapping_add(ALIGNMENT + usize::from(number) * BUFFER);
        // SAFETY: the entry is inside the page, and the kernel reads it only once the tail says so.
        let entry = unsafe { &mut *page.add(usize::from(self.tail % BUFFERS)) };
        entry.set_addr(at as u64);
        entry.set_len(BUFFER as u32);
        entry.set_bid(number);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the page begins with an entry, whose unused field is the tail, aligned for a u16.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(page).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.doorbell.as_raw_fd()
    }
}

impl Ring {
    fn new(pooled: bool) -> Result<Rc<Self>, String> {
        probe()?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let doorbell = eventfd(0, flags).map_err(|error| error.to_string())?;
        let uring = Uring::new(&doorbell)?;
        let pool = if pooled { Pool::register(&uring) } else { None };
        Ok(Rc::new(Self {
            doorbell,
            uring: RefCell::new(uring),
            pool: pool.map(RefCell::new),
            next: Cell::new(0),
            driven: Cell::new(false),
            again: Cell::new(false),
            driver: RefCell::new(None),
        }))
    }

    /// This thread's.
    fn current() -> Result<Rc<Self>, String> {
        thread_local! {
            static RING: OnceCell<Rc<Ring>> = const { OnceCell::new() };
        }
        RING.with(|ring| match ring.get() {
            Some(ring) => Ok(ring.clone()),
            None => Self::new(true).map(|made| ring.get_or_init(|| made).clone()),
        })
    }

    fn number(&self) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        number
    }

    /// Starts to receive.
    fn receive(&self, socket: &Rc<OwnedFd>, inbox: &Rc<RefCell<Inbox>>) {
        let id = self.number();
        inbox.borrow_mut().armed = Some(id);
        let fd = Fd(socket.as_raw_fd());
        let mut buffer = None;
        let entry = match &self.pool {
            Some(_) => opcode::RecvMulti::new(fd, GROUP).build(),
            None => {
                let memory = buffer.insert(vec![0; BUFFER].into_boxed_slice());
                opcode::Recv::new(fd, memory.as_mut_ptr(), BUFFER as u32).build()
            }
        };
        let flight = Flight::Receive { inbox: inbox.clone(), buffer, _socket: socket.clone() };
        self.uring.borrow_mut().push(id, entry, flight);
        self.turn();
    }

    /// Starts to send these, in one entry.
    fn send(&self, socket: &Rc<OwnedFd>, outbox: &Rc<RefCell<Outbox>>, frames: Vec<Bytes>) {
        let id = self.number();
        *outbox.borrow_mut() = Outbox { flying: Some(id), ..Outbox::default() };
        let batch = Batch::new(frames);
        // The kernel goes on after a part, rather than to answer with it.
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let entry = opcode::SendMsg::new(Fd(socket.as_raw_fd()), &batch.head).flags(flags as u32).build();
        let flight = Flight::Send { outbox: outbox.clone(), _batch: batch, _socket: socket.clone() };
        self.uring.borrow_mut().push(id, entry, flight);
        self.turn();
    }

    fn cancel(&self, id: Option<u64>) {
        if let Some(id) = id {
            self.uring.borrow_mut().cancel(id);
        }
        self.turn();
    }

    /// Hands over what was pushed, and hands out what was answered.
    fn turn(&self) {
        let mut wakers = Vec::new();
        let mut uring = self.uring.borrow_mut();
        loop {
            uring.hush(true);
            let mut behind = Vec::new();
            let content = uring.turn(|entry, flight| match flight {
                Flight::Receive { inbox, buffer, .. } => {
                    let mut inbox = inbox.borrow_mut();
                    self.received(entry, buffer.as_deref(), &mut inbox);
                    if let (Some(id), false) = (inbox.armed, inbox.held || inbox.bytes.len() < HELD_MAX) {
                        inbox.held = true;
                        behind.push(id);
                    }
                    wakers.extend(inbox.waker.take());
                }
                Flight::Send { outbox, .. } => {
                    let mut outbox = outbox.borrow_mut();
                    outbox.flying = None;
                    outbox.answer = Some(count_of(entry));
                    wakers.extend(outbox.waker.take());
                }
            });
            let more = !behind.is_empty();
            behind.into_iter().for_each(|id| uring.cancel(id));
            let came = uring.hush(false);
            if !content {
                self.again.set(true);
                wakers.extend(self.driver.borrow_mut().take());
                break;
            }
            if !more && !came {
                break;
            }
        }
        drop(uring);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Takes one answer to a receive.
    fn received(&self, entry: &cqueue::Entry, own: Option<&[u8]>, inbox: &mut Inbox) {
        match count_of(entry) {
            Ok(0) => inbox.ended = Some(Ok(())),
            Ok(count) => match (own, &self.pool, cqueue::buffer_select(entry.flags())) {
                (Some(own), ..) => inbox.bytes.extend_from_slice(&own[..count]),
                (None, Some(pool), Some(number)) => {
                    let mut pool = pool.borrow_mut();
                    inbox.bytes.extend_from_slice(pool.bytes(number, count));
                    pool.give(number);
                }
                _ => unreachable!("bytes that came lie in one of our buffers"),
            },
            // The pool was empty for a moment, or the reader was behind: it is asked for again when the reader has read.
            Err(Errno::NOBUFS | Errno::CANCELED | Errno::INTR | Errno::AGAIN) => {}
            Err(error) => inbox.ended = Some(Err(error)),
        }
        if !cqueue::more(entry.flags()) {
            inbox.armed = None;
            inbox.held = false;
        }
    }

    /// Has this executor come round when something is answered, unless it does already.
    fn drive(self: &Rc<Self>) {
        struct Driving(Rc<Ring>);
        impl Drop for Driving {
            fn drop(&mut self) {
                self.0.driven.set(false);
                // Another executor of this thread may still wait: whoever wakes first drives on.
                let mut wakers = Vec::new();
                self.0.uring.borrow_mut().each_owned(|flight| match flight {
                    Flight::Receive { inbox, .. } => wakers.extend(inbox.borrow_mut().waker.take()),
                    Flight::Send { outbox, .. } => wakers.extend(outbox.borrow_mut().waker.take()),
                });
                wakers.into_iter().for_each(Waker::wake);
            }
        }
        if self.driven.replace(true) {
            return;
        }
        let driving = Driving(self.clone());
        crate::task::spawn(async move {
            let ring = &driving.0;
            // SAFETY: the ring keeps the one descriptor that `as_raw_fd` names open for as long as the registration.
            let watch = unsafe { AsyncFd::register_with_interest(ring.clone(), Interest::READABLE) };
            let watch = watch.unwrap_or_else(|error| panic!("cannot watch an io_uring: {error}"));
            loop {
                ring.turn();
                if ring.again.replace(false) {
                    crate::task::yield_now().await;
                    continue;
                }
                poll_fn(|cx| {
                    *ring.driver.borrow_mut() = Some(cx.waker().clone());
                    match watch.poll_read_ready(cx) {
                        Poll::Ready(Ok(mut guard)) => guard.clear_ready(),
                        Poll::Ready(Err(error)) => panic!("cannot watch an io_uring: {error}"),
                        Poll::Pending if ring.again.get() => {}
                        Poll::Pending => return Poll::Pending,
                    }
                    Poll::Ready(())
                })
                .await;
            }
        })
        .detach();
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // A receive may wait for ever.
        self.uring.get_mut().cancel_all();
    }
}

fn count_of(entry: &cqueue::Entry) -> Result<usize, Errno> {
    match entry.result() {
        count if count >= 0 => Ok(count as usize),
        error => Err(Errno::from_raw_os_error(-error)),
    }
}

/// The halves of a connected socket, on this thread's ring.
pub(super) fn split(socket: OwnedFd) -> io::Result<(Reader, Writer)> {
    halves(&Ring::current().map_err(io::Error::other)?, socket)
}

fn halves(ring: &Rc<Ring>, socket: OwnedFd) -> io::Result<(Reader, Writer)> {
    // The ring answers `EAGAIN` for a socket that is not to block, instead of waiting for it.
    fcntl_setfl(&socket, fcntl_getfl(&socket)? - OFlags::NONBLOCK)?;
    let socket = Rc::new(socket);
    let reader = Reader { ring: ring.clone(), socket: socket.clone(), inbox: Rc::default() };
    let writer = Writer { ring: ring.clone(), socket, outbox: Rc::default() };
    Ok((reader, writer))
}

/// The reading half.
pub(super) struct Reader {
    ring: Rc<Ring>,
    socket: Rc<OwnedFd>,
    inbox: Rc<RefCell<Inbox>>,
}

impl Reader {
    /// Puts what came behind what is in `buffer`; 0 is the stream's end.
    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|cx| self.poll_filled(cx)).await?;
        let came = &mut self.inbox.borrow_mut().bytes;
        let count = came.len();
        if buffer.is_empty() {
            std::mem::swap(buffer, came);
        } else {
            buffer.extend_from_slice(came);
            came.clear();
        }
        Ok(count)
    }

    /// Waits until there are bytes, or there will be none any more.
    fn poll_filled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut inbox = self.inbox.borrow_mut();
            if !inbox.bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if let Some(ended) = inbox.ended {
                return Poll::Ready(ended.map_err(io::Error::from));
            }
            if inbox.armed.is_some() {
                inbox.waker = Some(cx.waker().clone());
                drop(inbox);
                self.ring.drive();
                return Poll::Pending;
            }
            drop(inbox);
            self.ring.receive(&self.socket, &self.inbox);
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let armed = self.inbox.borrow().armed;
        self.ring.cancel(armed);
    }
}

/// The writing half. One send is in flight at a time.
pub(super) struct Writer {
    ring: Rc<Ring>,
    socket: Rc<OwnedFd>,
    outbox: Rc<RefCell<Outbox>>,
}

impl Writer {
    /// Writes all that the encoder holds; what was in flight when the future is dropped is not sent again.
    pub(super) async fn write_all(&mut self, frames: &mut Encoder) -> io::Result<()> {
        loop {
            if !self.is_busy() {
                let batch = frames.chunks(PIECES);
                if batch.is_empty() {
                    return Ok(());
                }
                self.ring.send(&self.socket, &self.outbox, batch);
            }
            match poll_fn(|cx| self.poll_sent(cx)).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                sent => frames.advance(sent),
            }
        }
    }

    /// Whether a send is in flight, or its answer not yet taken.
    fn is_busy(&self) -> bool {
        let outbox = self.outbox.borrow();
        outbox.flying.is_some() || outbox.answer.is_some()
    }

    /// Waits for the answer to what is in flight: how many bytes the socket took.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut outbox = self.outbox.borrow_mut();
        if let Some(answer) = outbox.answer.take() {
            return Poll::Ready(answer.map_err(io::Error::from));
        }
        outbox.waker = Some(cx.waker().clone());
        drop(outbox);
        self.ring.drive();
        Poll::Pending
    }

    /// Ends the stream for the peer.
    pub(super) fn shutdown(&mut self) -> io::Result<()> {
        Ok(shutdown(&self.socket, Shutdown::Write)?)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let flying = self.outbox.borrow().flying;
        self.ring.cancel(flying);
        // A peer that is gone needs no end.
        let _ = self.shutdown();
    }
}

/// Both halves as one stream of bytes, for TLS to stand on.
pub(super) struct Stream {
    reader: Reader,
    writer: Writer,
    /// Written to this stream, and not yet taken by the socket.
    left: Bytes,
}

impl Stream {
    pub(super) fn new((reader, writer): (Reader, Writer)) -> Self {
        Self { reader, writer, left: Bytes::new() }
    }

    /// Waits until the socket has taken all that was written.
    fn poll_taken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.left.is_empty() {
            if !self.writer.is_busy() {
                self.writer.ring.send(&self.writer.socket, &self.writer.outbox, vec![self.left.clone()]);
            }
            match ready!(self.writer.poll_sent(cx))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.left.advance(sent),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.reader.poll_filled(cx))?;
        let came = &mut self.reader.inbox.borrow_mut().bytes;
        let count = came.len().min(into.remaining());
        into.put_slice(&came.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_taken(cx))?;
        let count = bytes.len().min(COPIED_MAX);
        self.left = Bytes::copy_from_slice(&bytes[..count]);
        // It is under way, and whether it arrived is the next call's to say.
        if let Poll::Ready(Err(error)) = self.poll_taken(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_taken(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_taken(cx))?;
        Poll::Ready(self.writer.shutdown())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;
    use crate::task::block_on;
    use crate::time::timeout;

    /// Two connected sockets on a ring, where the kernel has one.
    fn pair(pooled: bool) -> Option<((Reader, Writer), (Reader, Writer))> {
        let ring = Ring::new(pooled).ok()?;
        let (one, other) = UnixStream::pair().unwrap();
        Some((halves(&ring, one.into()).unwrap(), halves(&ring, other.into()).unwrap()))
    }

    fn frames(bytes: &[u8]) -> Encoder {
        let mut encoder = Encoder::default();
        encoder.push(Bytes::copy_from_slice(bytes)).unwrap();
        encoder
    }

    async fn read(reader: &mut Reader, len: usize) -> BytesMut {
        let mut came = BytesMut::new();
        while came.len() < len {
            assert_ne!(
                reader.read(&mut came).await.unwrap(),
                0,
                "the stream ended after {} bytes",
                came.len()
            );
        }
        came
    }

    #[test]
    fn a_kernel_without_pools_of_buffers_receives_into_the_reader_s_own() {
        let Some(((_reader, mut writer), (mut reader, peer))) = pair(false) else { return };
        block_on(async {
            for size in [1, BUFFER, 5 * BUFFER] {
                let mut batch = frames(&vec![7; size]);
                let (sent, came) =
                    futures_util::join!(writer.write_all(&mut batch), read(&mut reader, 4 + size));
                sent.unwrap();
                assert!(came.len() == 4 + size && came[4..].iter().all(|byte| *byte == 7));
            }
            drop((writer, peer));
            assert_eq!(reader.read(&mut BytesMut::new()).await.unwrap(), 0);
        });
    }

    #[test]
    fn a_connection_outlives_the_executor_that_it_was_first_used_on() {
        let Some(((_reader, mut writer), (mut reader, _peer))) = pair(true) else { return };
        block_on(async {
            assert!(timeout(Duration::from_millis(5), reader.read(&mut BytesMut::new())).await.is_err());
        });
        block_on(async {
            let waits = crate::task::spawn(async move { read(&mut reader, 5).await });
            crate::task::yield_now().await;
            writer.write_all(&mut frames(b"x")).await.unwrap();
            assert_eq!(waits.await.unwrap()[..], [1, 0, 0, 0, b'x']);
        });
    }

    #[test]
    fn halves_dropped_with_everything_in_flight_close_their_socket_at_once() {
        let Some(((mut reader, mut writer), peer)) = pair(true) else { return };
        let socket = Rc::downgrade(&reader.socket);
        block_on(async {
            let (mut huge, mut came) = (frames(&vec![7; 16 << 20]), BytesMut::new());
            let both = async { futures_util::join!(reader.read(&mut came), writer.write_all(&mut huge)) };
            assert!(timeout(Duration::from_millis(50), both).await.is_err());
            drop((reader, writer));
            assert!(socket.upgrade().is_none(), "something in flight holds the socket");
        });
        drop(peer);
    }
}
