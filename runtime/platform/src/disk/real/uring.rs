//! The disk's io_uring: a job as an entry, an answer as a completion. An entry in flight owns its buffer and its file.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use io_uring::{cqueue, opcode, types};
use rustix::io::{Errno, ReadWriteFlags};

use super::failure_of;
use super::pool::Job;
use crate::disk::buffer::Buffer;
use crate::disk::error::Failure;
use crate::disk::operation::{Completion, OperationId, Outcome, SyncKind};
use crate::uring;

/// The most that one entry transfers, bytes; the rest is a short transfer.
const TRANSFER_MAX: usize = 1 << 30;

/// What the kernel granted, or why it refused. Asked once.
pub(super) fn probe() -> Result<&'static str, String> {
    static ANSWER: OnceLock<Result<&'static str, String>> = OnceLock::new();
    let needs = [
        (opcode::Read::CODE, "read"),
        (opcode::Write::CODE, "write"),
        (opcode::Fsync::CODE, "fsync"),
        (opcode::Fallocate::CODE, "fallocate"),
    ];
    ANSWER.get_or_init(|| uring::probe(&needs)).clone()
}

struct InFlight {
    _file: Arc<OwnedFd>,
    /// Of a transfer.
    buffer: Option<Buffer>,
}

pub(super) struct Uring(uring::Uring<InFlight>);

impl Uring {
    /// A ring for this thread, which rings `doorbell` when something completes.
    pub(super) fn new(doorbell: Arc<OwnedFd>) -> Result<Self, String> {
        probe()?;
        uring::Uring::new(&doorbell).map(Self)
    }

    /// Prepares an operation for the next turn. Jobs that are not transfers, syncs or allocations go to the pool instead.
    pub(super) fn push(&mut self, job: Job, id: OperationId) {
        let (entry, file, buffer) = match job {
            Job::Write { file, offset, mut buffer, range, durable } => {
                let fd = types::Fd(file.as_raw_fd());
                let len = range.len().min(TRANSFER_MAX) as u32;
                let start = buffer.start().wrapping_add(range.start);
                let flags = if durable { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
                let flags = flags.bits() as i32;
                let entry = opcode::Write::new(fd, start, len).offset(offset).rw_flags(flags).build();
                (entry, file, Some(buffer))
            }
            Job::Read { file, offset, mut buffer, range } => {
                let fd = types::Fd(file.as_raw_fd());
                let len = range.len().min(TRANSFER_MAX) as u32;
                let start = buffer.start().wrapping_add(range.start);
                (opcode::Read::new(fd, start, len).offset(offset).build(), file, Some(buffer))
            }
            Job::Sync { file, kind } => {
                let flags = match kind {
                    SyncKind::Data => types::FsyncFlags::DATASYNC,
                    SyncKind::Full => types::FsyncFlags::empty(),
                };
                (opcode::Fsync::new(types::Fd(file.as_raw_fd())).flags(flags).build(), file, None)
            }
            Job::Allocate { file, offset, len } => {
                let entry = opcode::Fallocate::new(types::Fd(file.as_raw_fd()), len).offset(offset).build();
                (entry, file, None)
            }
            _ => unreachable!("the port sends everything else to the pool"),
        };
        self.0.push(id.0, entry, InFlight { _file: file, buffer });
    }

    /// Hands over what waits, and looks for nothing.
    pub(super) fn hand_over(&mut self) {
        self.0.hand_over();
    }

    /// Hands over what waits, takes what is complete. False if the kernel is short of something and wants to be asked again.
    pub(super) fn turn(&mut self, into: &mut Vec<Completion>) -> bool {
        self.0.turn(|entry, owned| into.push(completion(entry, owned.buffer.take())))
    }
}

fn completion(entry: &cqueue::Entry, buffer: Option<Buffer>) -> Completion {
    let result = match entry.result() {
        count if count >= 0 && buffer.is_some() => Ok(Outcome::Count(count as usize)),
        done if done >= 0 => Ok(Outcome::Done),
        refused => Err(match Errno::from_raw_os_error(-refused) {
            // Only a lock can be held by another; here the kernel could not get on.
            Errno::AGAIN => Failure::Os(-refused),
            error => failure_of(error),
        }),
    };
    Completion { id: OperationId(entry.user_data()), result, buffer }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fewer than a ring has entries: one turn hands over all.
    const WRITES: u64 = 128;

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
        for number in 0..WRITES {
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
        ring.push(Job::Sync { file: file.clone(), kind: SyncKind::Full }, OperationId(WRITES));
        drop(ring);
        assert_eq!(Arc::strong_count(&file), 1, "nothing in flight holds the file any more");
        assert_eq!(std::fs::read(path).unwrap(), vec![7; WRITES as usize * 4096]);
    }
}
