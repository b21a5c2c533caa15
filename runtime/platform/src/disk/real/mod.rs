//! The real disk: one port a thread, over an io_uring of its own or over the process's pool of threads.
//!
//! Reads, writes, syncs and allocations go to the ring; opening, names and locks are rare and always go to the pool. Both signal one
//! eventfd, which the executor of the port's thread watches: no other thread touches the port.

mod pool;
mod uring;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use rustix::io::Errno;
use synod_probe::event;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use self::pool::{Job, Mailbox, Raw};
use self::uring::Uring;
use super::error::Failure;
use super::operation::{Completion, FileId, Operation, OperationId, Outcome};
use super::queue::Queue;
use super::{Backend, Choice};

static THREADS_CHOSEN: AtomicBool = AtomicBool::new(false);

thread_local! {
    static QUEUE: Rc<Queue> = Queue::new(Port::new());
}

pub(super) fn queue() -> Rc<Queue> {
    QUEUE.with(Rc::clone)
}

pub(super) fn choose(choice: Choice) {
    THREADS_CHOSEN.store(choice == Choice::ThreadPool, Ordering::Relaxed);
}

pub(super) fn backend() -> Backend {
    if THREADS_CHOSEN.load(Ordering::Relaxed) {
        return Backend::ThreadPool { reason: "chosen by the configuration".to_owned() };
    }
    match uring::probe() {
        Ok(features) => Backend::IoUring { features },
        Err(reason) => Backend::ThreadPool { reason },
    }
}

pub(super) fn failure_of(error: Errno) -> Failure {
    match error {
        Errno::NOENT => Failure::NotFound,
        Errno::EXIST => Failure::Exists,
        Errno::ACCESS | Errno::PERM => Failure::Denied,
        Errno::ROFS => Failure::ReadOnly,
        Errno::NOSPC => Failure::NoSpace,
        Errno::DQUOT | Errno::FBIG => Failure::Quota,
        Errno::IO => Failure::Io,
        Errno::WOULDBLOCK => Failure::Locked,
        Errno::NOTDIR => Failure::NotDirectory,
        Errno::ISDIR => Failure::IsDirectory,
        Errno::NOTEMPTY => Failure::NotEmpty,
        Errno::BADF => Failure::NotOpen,
        Errno::INVAL => Failure::Invalid,
        Errno::OPNOTSUPP => Failure::Unsupported,
        other => Failure::Os(other.raw_os_error()),
    }
}

/// One thread's disk.
pub(super) struct Port {
    ring: Option<RefCell<Uring>>,
    mailbox: Arc<Mailbox>,
    files: RefCell<BTreeMap<FileId, Arc<OwnedFd>>>,
    next_file: Cell<u64>,
    /// Completed without having been anywhere.
    ready: RefCell<Vec<Completion>>,
    kicked: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Port {
    fn new() -> Self {
        let mailbox = Mailbox::new();
        let ring = if THREADS_CHOSEN.load(Ordering::Relaxed) {
            None
        } else {
            match Uring::new(mailbox.doorbell()) {
                Ok(ring) => Some(RefCell::new(ring)),
                Err(reason) => {
                    event!("disk.no_io_uring", reason = reason.as_str());
                    None
                }
            }
        };
        Self {
            ring,
            mailbox,
            files: RefCell::new(BTreeMap::new()),
            next_file: Cell::new(0),
            ready: RefCell::new(Vec::new()),
            kicked: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// Starts an operation. What goes to the ring is handed to the kernel when the executor comes round, together with
    /// whatever else was submitted until then; a durable write at once, for somebody waits for it.
    pub(super) fn submit(&self, operation: Operation, id: OperationId) {
        match operation {
            Operation::Open { path, options } => self.pool(id, Job::Open { path, options }),
            Operation::Close { file } => match self.files.borrow_mut().remove(&file) {
                Some(file) => self.pool(id, Job::Close { file }),
                None => self.complete(id, Err(Failure::NotOpen)),
            },
            Operation::Lock { file } => self.with_file(id, file, |file| self.pool(id, Job::Lock { file })),
            Operation::Truncate { file, len } => {
                self.with_file(id, file, |file| self.pool(id, Job::Truncate { file, len }));
            }
            Operation::Allocate { file, offset, len } => {
                self.with_file(id, file, |file| self.transfer(id, Job::Allocate { file, offset, len }));
            }
            Operation::Sync { file, kind } => {
                self.with_file(id, file, |file| self.transfer(id, Job::Sync { file, kind }));
            }
            Operation::Write { file, offset, buffer, range, durable } => match self.file(file) {
                _ if range.start > range.end || range.end > buffer.len() => {
                    self.complete_with(id, Err(Failure::Invalid), Some(buffer));
                }
                Some(file) => self.transfer(id, Job::Write { file, offset, buffer, range, durable }),
                None => self.complete_with(id, Err(Failure::NotOpen), Some(buffer)),
            },
            Operation::Read { file, offset, buffer, range } => match self.file(file) {
                _ if range.start > range.end || range.end > buffer.len() => {
                    self.complete_with(id, Err(Failure::Invalid), Some(buffer));
                }
                Some(file) => self.transfer(id, Job::Read { file, offset, buffer, range }),
                None => self.complete_with(id, Err(Failure::NotOpen), Some(buffer)),
            },
            Operation::Rename { from, to } => self.pool(id, Job::Rename { from, to }),
            Operation::Remove { path } => self.pool(id, Job::Remove { path }),
            Operation::RemoveDirectory { path } => self.pool(id, Job::RemoveDirectory { path }),
            Operation::CreateDirectory { path } => self.pool(id, Job::CreateDirectory { path }),
            Operation::List { path } => self.pool(id, Job::List { path }),
            Operation::Metadata { path } => self.pool(id, Job::Metadata { path }),
            Operation::SyncDirectory { path } => self.pool(id, Job::SyncDirectory { path }),
        }
    }

    /// What completes on this port, for the executor that runs on its thread now.
    pub(super) fn completions(&self) -> Completions<'_> {
        // SAFETY: the `Arc` keeps the one descriptor that `as_raw_fd` names open for as long as the registration.
        let descriptor =
            unsafe { AsyncFd::register_with_interest(self.mailbox.doorbell(), Interest::READABLE) };
        let descriptor =
            descriptor.unwrap_or_else(|error| panic!("cannot watch the disk's eventfd: {error}"));
        Completions { port: self, descriptor }
    }

    fn file(&self, file: FileId) -> Option<Arc<OwnedFd>> {
        self.files.borrow().get(&file).cloned()
    }

    fn with_file(&self, id: OperationId, file: FileId, go: impl FnOnce(Arc<OwnedFd>)) {
        match self.file(file) {
            Some(file) => go(file),
            None => self.complete(id, Err(Failure::NotOpen)),
        }
    }

    fn pool(&self, id: OperationId, job: Job) {
        pool::run(job, id, &self.mailbox);
    }

    fn transfer(&self, id: OperationId, job: Job) {
        match &self.ring {
            Some(ring) => {
                let urgent = matches!(job, Job::Write { durable: true, .. });
                let mut ring = ring.borrow_mut();
                ring.push(job, id);
                if urgent {
                    ring.hand_over();
                }
                drop(ring);
                self.kick();
            }
            None => self.pool(id, job),
        }
    }

    fn complete(&self, id: OperationId, result: Result<Outcome, Failure>) {
        self.complete_with(id, result, None);
    }

    fn complete_with(
        &self,
        id: OperationId,
        result: Result<Outcome, Failure>,
        buffer: Option<super::Buffer>,
    ) {
        self.ready.borrow_mut().push(Completion { id, result, buffer });
        self.kick();
    }

    /// Lets the executor come round.
    fn kick(&self) {
        self.kicked.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Hands over what was submitted and takes what is complete, without waiting. False if that should be tried again soon.
    fn turn(&self, into: &mut Vec<Completion>) -> bool {
        let content = self.ring.as_ref().is_none_or(|ring| ring.borrow_mut().turn(into));
        for (id, result, buffer) in self.mailbox.take() {
            let result = result.map(|raw| match raw {
                Raw::Opened(file) => {
                    let id = FileId(self.next_file.get());
                    self.next_file.set(id.0 + 1);
                    self.files.borrow_mut().insert(id, Arc::new(file));
                    Outcome::Opened(id)
                }
                Raw::Outcome(outcome) => outcome,
            });
            into.push(Completion { id, result, buffer });
        }
        into.append(&mut self.ready.borrow_mut());
        content
    }

    fn poll_doorbell(&self, descriptor: &AsyncFd<Arc<OwnedFd>>, cx: &mut Context<'_>) -> Poll<()> {
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        if self.kicked.replace(false) {
            return Poll::Ready(());
        }
        match descriptor.poll_read_ready(cx) {
            Poll::Ready(Ok(mut guard)) => {
                // Each ring of the bell is an edge of its own: it need not be read.
                guard.clear_ready();
                Poll::Ready(())
            }
            Poll::Ready(Err(error)) => panic!("cannot watch the disk's eventfd: {error}"),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// A port's completions, as one executor sees them.
pub(super) struct Completions<'a> {
    port: &'a Port,
    descriptor: AsyncFd<Arc<OwnedFd>>,
}

impl Completions<'_> {
    /// Waits until something completed.
    pub(super) async fn next(&mut self, into: &mut Vec<Completion>) {
        loop {
            self.port.kicked.set(false);
            let content = self.port.turn(into);
            if !into.is_empty() {
                return;
            }
            if !content {
                tokio::task::yield_now().await;
                continue;
            }
            poll_fn(|cx| self.port.poll_doorbell(&self.descriptor, cx)).await;
        }
    }
}
