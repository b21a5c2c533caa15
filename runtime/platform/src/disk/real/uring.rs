//! An io_uring owned by one thread: it alone submits, and it alone reaps.
//!
//! Entries are pushed as operations come and handed over together when the executor comes round. An entry in flight owns its buffer and
//! its file until the kernel has answered; when the ring is dropped it waits for them, because the kernel may still write to them.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types};
use rustix::io::{Errno, ReadWriteFlags};

use super::failure_of;
use super::pool::Job;
use crate::disk::buffer::Buffer;
use crate::disk::error::Failure;
use crate::disk::operation::{Completion, OperationId, Outcome, SyncKind};

/// Entries of the submission queue; more operations than that wait on our side.
const ENTRIES: u32 = 256;
/// The most that one entry transfers, bytes; the rest is a short transfer.
const TRANSFER_MAX: usize = 1 << 30;

const BEST: &str = "single issuer, deferred task work";

/// What the kernel granted, or why it refused. Asked once.
pub(super) fn probe() -> Result<&'static str, String> {
    static ANSWER: OnceLock<Result<&'static str, String>> = OnceLock::new();
    ANSWER
        .get_or_init(|| {
            let (ring, features) = build().map_err(|error| refusal(&error))?;
            let mut known = Probe::new();
            ring.submitter()
                .register_probe(&mut known)
                .map_err(|error| format!("io_uring does not say what it can do: {error}"))?;
            for (code, name) in [
                (opcode::Read::CODE, "read"),
                (opcode::Write::CODE, "write"),
                (opcode::Fsync::CODE, "fsync"),
                (opcode::Fallocate::CODE, "fallocate"),
            ] {
                if !known.is_supported(code) {
                    return Err(format!("this kernel's io_uring has no operation `{name}`"));
                }
            }
            Ok(features)
        })
        .clone()
}

/// Why there is no ring, and what could be done about it.
fn refusal(error: &std::io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSYS) => "this kernel has no io_uring".to_owned(),
        Some(Errno::PERM | Errno::ACCESS) => {
            "io_uring is forbidden here: see the sysctl kernel.io_uring_disabled and the container's seccomp profile".to_owned()
        }
        Some(Errno::NOMEM) => "no memory may be locked for io_uring: raise the limit `memlock`".to_owned(),
        _ => format!("io_uring cannot be set up: {error}"),
    }
}

fn build() -> std::io::Result<(IoUring, &'static str)> {
    let best = IoUring::builder()
        .dontfork()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .build(ENTRIES);
    match best {
        Ok(ring) => Ok((ring, BEST)),
        // Kernels before 6.1 refuse the flags, not the ring.
        Err(_) => Ok((IoUring::builder().dontfork().build(ENTRIES)?, "")),
    }
}

enum InFlight {
    Plain { _file: Arc<OwnedFd> },
    Transfer { _file: Arc<OwnedFd>, buffer: Buffer },
}

pub(super) struct Uring {
    ring: IoUring,
    in_flight: BTreeMap<u64, InFlight>,
    /// Pushed while the submission queue was full.
    waiting: Vec<squeue::Entry>,
}

impl Uring {
    /// A ring for this thread, which rings `doorbell` when something completes.
    pub(super) fn new(doorbell: Arc<OwnedFd>) -> Result<Self, String> {
        probe()?;
        let (ring, _) = build().map_err(|error| error.to_string())?;
        // The ring keeps its own reference to the eventfd.
        ring.submitter().register_eventfd(doorbell.as_raw_fd()).map_err(|error| error.to_string())?;
        Ok(Self { ring, in_flight: BTreeMap::new(), waiting: Vec::new() })
    }

    /// Prepares an operation for the next turn. Jobs that are not transfers, syncs or allocations go to the pool instead.
    pub(super) fn push(&mut self, job: Job, id: OperationId) {
        let (entry, in_flight) = match job {
            Job::Write { file, offset, mut buffer, range, durable } => {
                let fd = types::Fd(file.as_raw_fd());
                let len = range.len().min(TRANSFER_MAX) as u32;
                let start = buffer.start().wrapping_add(range.start);
                let flags = if durable { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
                let flags = flags.bits() as i32;
                let entry = opcode::Write::new(fd, start, len).offset(offset).rw_flags(flags).build();
                (entry, InFlight::Transfer { _file: file, buffer })
            }
            Job::Read { file, offset, mut buffer, range } => {
                let fd = types::Fd(file.as_raw_fd());
                let len = range.len().min(TRANSFER_MAX) as u32;
                let start = buffer.start().wrapping_add(range.start);
                let entry = opcode::Read::new(fd, start, len).offset(offset).build();
                (entry, InFlight::Transfer { _file: file, buffer })
            }
            Job::Sync { file, kind } => {
                let flags = match kind {
                    SyncKind::Data => types::FsyncFlags::DATASYNC,
                    SyncKind::Full => types::FsyncFlags::empty(),
                };
                let entry = opcode::Fsync::new(types::Fd(file.as_raw_fd())).flags(flags).build();
                (entry, InFlight::Plain { _file: file })
            }
            Job::Allocate { file, offset, len } => {
                let entry = opcode::Fallocate::new(types::Fd(file.as_raw_fd()), len).offset(offset).build();
                (entry, InFlight::Plain { _file: file })
            }
            _ => unreachable!("the port sends everything else to the pool"),
        };
        self.in_flight.insert(id.0, in_flight);
        self.waiting.push(entry.user_data(id.0));
    }

    /// Hands over what waits, and looks for nothing. What the kernel does not take now is for the next turn.
    pub(super) fn hand_over(&mut self) {
        self.fill();
        drop(self.ring.submit());
    }

    /// Hands over what waits, takes what is complete. False if the kernel is short of something and wants to be asked again.
    pub(super) fn turn(&mut self, into: &mut Vec<Completion>) -> bool {
        loop {
            self.fill();
            let (idle, deferred) = self.pending();
            // Also runs the work that the kernel deferred to this thread.
            let submitted = if idle && !deferred { Ok(0) } else { self.ring.submit() };
            self.reap(into);
            match submitted {
                Ok(_) if self.waiting.is_empty() && !self.pending().1 => return true,
                Ok(_) => {}
                Err(error) if retry_later(&error) => return false,
                Err(error) if interrupted(&error) => {}
                Err(error) => panic!("the kernel refused the disk's io_uring: {error}"),
            }
        }
    }

    /// Whether nothing is to be handed over, and whether the kernel has work for this thread.
    fn pending(&mut self) -> (bool, bool) {
        let queue = self.ring.submission();
        (queue.is_empty(), queue.taskrun() || queue.cq_overflow())
    }

    /// Moves what waits into the submission queue, as much as fits.
    fn fill(&mut self) {
        let mut queue = self.ring.submission();
        let room = queue.capacity() - queue.len();
        let count = room.min(self.waiting.len());
        for entry in self.waiting.drain(..count) {
            // SAFETY: the entry's buffer and file are owned by `in_flight` until its completion was taken in `reap`, and `drop`
            // waits for that, so the kernel never sees freed memory or a reused descriptor.
            let pushed = unsafe { queue.push(&entry) };
            assert!(pushed.is_ok(), "there was room for {count} entries");
        }
    }

    fn reap(&mut self, into: &mut Vec<Completion>) {
        for entry in self.ring.completion() {
            into.push(completion(&entry, &mut self.in_flight));
        }
    }
}

fn interrupted(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::Interrupted
}

fn retry_later(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::BUSY | Errno::AGAIN))
}

fn completion(entry: &cqueue::Entry, in_flight: &mut BTreeMap<u64, InFlight>) -> Completion {
    let number = entry.user_data();
    let found = in_flight.remove(&number).unwrap_or_else(|| panic!("io_uring completed {number} twice"));
    let id = OperationId(number);
    let answer = entry.result();
    let failed = |answer: i32| match Errno::from_raw_os_error(-answer) {
        // Only a lock can be held by another; here the kernel could not get on.
        Errno::AGAIN => Failure::Os(-answer),
        error => failure_of(error),
    };
    match found {
        InFlight::Transfer { buffer, .. } => {
            let result = match answer {
                count if count >= 0 => Ok(Outcome::Count(count as usize)),
                error => Err(failed(error)),
            };
            Completion { id, result, buffer: Some(buffer) }
        }
        InFlight::Plain { .. } => {
            let result = if answer >= 0 { Ok(Outcome::Done) } else { Err(failed(answer)) };
            Completion { id, result, buffer: None }
        }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        // What was never handed over has no claim on memory.
        for entry in self.waiting.drain(..) {
            self.in_flight.remove(&entry.get_user_data());
        }
        let mut ignored = Vec::new();
        while !self.in_flight.is_empty() {
            match self.ring.submit_and_wait(1) {
                Ok(_) => self.reap(&mut ignored),
                Err(error) if interrupted(&error) || retry_later(&error) => self.reap(&mut ignored),
                Err(_) => {
                    // Better to leak the buffers than to free what the kernel may write to.
                    std::mem::forget(std::mem::take(&mut self.in_flight));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    #[test]
    fn a_refused_ring_is_explained_by_what_refused_it() {
        for (errno, words) in [
            (Errno::NOSYS, "this kernel has no io_uring"),
            (Errno::PERM, "kernel.io_uring_disabled"),
            (Errno::NOMEM, "memlock"),
            (Errno::MFILE, "io_uring cannot be set up"),
        ] {
            let told = refusal(&Error::from_raw_os_error(errno.raw_os_error()));
            assert!(told.contains(words), "{told}");
        }
    }

    #[test]
    fn a_ring_dropped_with_operations_in_flight_waits_for_them() {
        // Where the kernel refuses io_uring there is no ring to drop.
        if probe().is_err() {
            return;
        }
        let doorbell = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        let mut ring = Uring::new(Arc::new(doorbell)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file: Arc<OwnedFd> = Arc::new(std::fs::File::create(&path).unwrap().into());
        for number in 0..ENTRIES as u64 / 2 {
            let buffer = Buffer::copy_of(&[7; 4096]);
            ring.push(
                Job::Write {
                    file: file.clone(),
                    offset: number * 4096,
                    buffer,
                    range: 0..4096,
                    durable: false,
                },
                OperationId(number),
            );
        }
        let mut completions = Vec::new();
        ring.turn(&mut completions);
        let last = OperationId(u64::MAX);
        ring.push(Job::Sync { file: file.clone(), kind: SyncKind::Full }, last);
        drop(ring);
        assert_eq!(Arc::strong_count(&file), 1, "nothing in flight holds the file any more");
        assert_eq!(std::fs::read(path).unwrap(), vec![7; ENTRIES as usize / 2 * 4096]);
    }
}
