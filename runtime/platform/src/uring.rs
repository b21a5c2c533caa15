//! An io_uring owned by one thread: it alone submits, and it alone reaps. The disk has one, and so have the sockets of links.
//!
//! Entries are pushed as operations come and handed over together in a turn. What an entry in flight uses (buffers, files) is kept here
//! until the kernel has answered for the last time; when the ring is dropped it waits for that, because the kernel may still write there.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{Ordering, fence};

use io_uring::{IoUring, Probe, Submitter, cqueue, opcode, squeue};
use rustix::io::Errno;

/// Entries of the submission queue; more operations than that wait on our side.
const ENTRIES: u32 = 256;

/// The number of entries that cancel others: their answers say nothing that those others' do not.
const CANCELS: u64 = u64::MAX;

const BEST: &str = "single issuer, deferred task work";

/// What the kernel granted, or why it refused a ring with these operations.
pub(crate) fn probe(operations: &[(u8, &str)]) -> Result<&'static str, String> {
    let (ring, features) = build().map_err(|error| refusal(&error))?;
    let mut known = Probe::new();
    ring.submitter()
        .register_probe(&mut known)
        .map_err(|error| format!("io_uring does not say what it can do: {error}"))?;
    match operations.iter().find(|(code, _)| !known.is_supported(*code)) {
        Some((_, name)) => Err(format!("this kernel's io_uring has no operation `{name}`")),
        None => Ok(features),
    }
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

/// A ring whose entries in flight each own a `T`.
pub(crate) struct Uring<T> {
    ring: IoUring,
    in_flight: BTreeMap<u64, T>,
    /// Pushed while the submission queue was full.
    waiting: Vec<squeue::Entry>,
}

impl<T> Uring<T> {
    /// A ring for this thread, which rings `doorbell`, an eventfd, when there is something for a turn to do.
    pub(crate) fn new(doorbell: &OwnedFd) -> Result<Self, String> {
        let (ring, _) = build().map_err(|error| refusal(&error))?;
        // The ring keeps its own reference to the eventfd.
        ring.submitter().register_eventfd(doorbell.as_raw_fd()).map_err(|error| error.to_string())?;
        Ok(Self { ring, in_flight: BTreeMap::new(), waiting: Vec::new() })
    }

    /// For what is registered with it.
    pub(crate) fn submitter(&self) -> Submitter<'_> {
        self.ring.submitter()
    }

    /// Prepares an entry for the next turn; `id` is not in flight, and `owned` keeps alive all that the entry points to.
    pub(crate) fn push(&mut self, id: u64, entry: squeue::Entry, owned: T) {
        assert!(id != CANCELS && !self.in_flight.contains_key(&id), "operation {id} is in flight already");
        self.in_flight.insert(id, owned);
        self.waiting.push(entry.user_data(id));
    }

    /// Asks the kernel, in the next turn, to answer `id` soon, whatever it waits for.
    pub(crate) fn cancel(&mut self, id: u64) {
        self.waiting.push(opcode::AsyncCancel::new(id).build().user_data(CANCELS));
    }

    /// [`cancel`](Self::cancel) for all.
    pub(crate) fn cancel_all(&mut self) {
        for id in self.in_flight.keys() {
            self.waiting.push(opcode::AsyncCancel::new(*id).build().user_data(CANCELS));
        }
    }

    /// Shows what each entry in flight owns.
    pub(crate) fn each_owned(&self, each: impl FnMut(&T)) {
        self.in_flight.values().for_each(each);
    }

    /// Hands over what waits, and looks for nothing. What the kernel does not take now is for the next turn.
    pub(crate) fn hand_over(&mut self) {
        self.fill();
        drop(self.ring.submit());
    }

    /// Hands over what waits, and shows each answer with what its entry owns, which is let go after the last. False if the kernel is short of
    /// something and wants to be asked again.
    pub(crate) fn turn(&mut self, mut each: impl FnMut(&cqueue::Entry, &mut T)) -> bool {
        loop {
            self.fill();
            let (idle, deferred) = self.pending();
            // Also runs the work that the kernel deferred to this thread.
            let submitted = if idle && !deferred { Ok(0) } else { self.ring.submit() };
            self.reap(&mut each);
            match submitted {
                Ok(_) if self.waiting.is_empty() && !self.pending().1 => return true,
                Ok(_) => {}
                Err(error) if retry_later(&error) => return false,
                Err(error) if interrupted(&error) => {}
                Err(error) => panic!("the kernel refused an io_uring's entries: {error}"),
            }
        }
    }

    /// Whether nothing is to be handed over, and whether the kernel has work for this thread.
    fn pending(&mut self) -> (bool, bool) {
        let queue = self.ring.submission();
        (queue.is_empty(), queue.taskrun() || queue.cq_overflow())
    }

    /// Keeps the doorbell still for what is answered during a turn. To be taken back before waiting for it; says whether something came
    /// until then. Not for entries that the kernel hands to workers of its own: those ring without a look at what this thread does.
    pub(crate) fn hush(&mut self, hushed: bool) -> bool {
        if hushed {
            self.ring.completion().disable_eventfd();
            return false;
        }
        self.ring.completion().enable_eventfd();
        // Either the kernel sees the bell enabled, or this thread what came before: the kernel's side marks deferred work in the same way.
        fence(Ordering::SeqCst);
        self.pending().1 || !self.ring.completion().is_empty()
    }

    /// Moves what waits into the submission queue, as much as fits.
    fn fill(&mut self) {
        let mut queue = self.ring.submission();
        let room = queue.capacity() - queue.len();
        let count = room.min(self.waiting.len());
        for entry in self.waiting.drain(..count) {
            // SAFETY: what the entry points to is owned by `in_flight` until its last completion was taken in `reap`, and `drop`
            // waits for that, so the kernel never sees freed memory or a reused descriptor.
            let pushed = unsafe { queue.push(&entry) };
            assert!(pushed.is_ok(), "there was room for {count} entries");
        }
    }

    fn reap(&mut self, each: &mut impl FnMut(&cqueue::Entry, &mut T)) {
        for entry in self.ring.completion() {
            let id = entry.user_data();
            if id == CANCELS {
                continue;
            }
            let owned = self.in_flight.get_mut(&id);
            each(&entry, owned.unwrap_or_else(|| panic!("io_uring answered {id} once more")));
            if !cqueue::more(entry.flags()) {
                self.in_flight.remove(&id);
            }
        }
    }
}

fn interrupted(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::Interrupted
}

fn retry_later(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::BUSY | Errno::AGAIN))
}

impl<T> Drop for Uring<T> {
    fn drop(&mut self) {
        // What was never handed over has no claim on memory; a cancel must be.
        self.waiting.retain(|entry| {
            let id = entry.get_user_data();
            self.in_flight.remove(&id);
            id == CANCELS
        });
        while !self.in_flight.is_empty() {
            self.fill();
            match self.ring.submit_and_wait(1) {
                Ok(_) => self.reap(&mut |_, _| {}),
                Err(error) if interrupted(&error) || retry_later(&error) => self.reap(&mut |_, _| {}),
                Err(_) => {
                    // Better to leak what is owned than to free what the kernel may write to.
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
}
