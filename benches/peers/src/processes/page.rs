//! A page that two processes share: words of one cache line pair each, for counting and for the floor; and longer memory for copies.

use crate::measure::Idle;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::time::{ClockId, clock_gettime};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Distance of two words.
const APART: usize = 128;

/// Words of a page that only counts.
const WORDS: usize = 64;

/// Most children of one job.
const CHILDREN: usize = 16;

/// What the words of a counting page are.
#[derive(Clone, Copy)]
pub enum Tally {
    /// Children that are there.
    Ready,
    /// How many messages there are, once that is known.
    Total,
    /// Children that are done.
    Done,
    /// Whether a sender may go on, or what the floor likes.
    There,
    /// As much, from the other side.
    Back,
    /// Where a server listens.
    Port,
    /// Whether the last answer was heard.
    Heard,
    /// What a child counted.
    Counted(usize),
    /// When a child was done.
    Ended(usize),
    /// How many messages were taken of a child's, or by it.
    Taken(usize),
}

impl Tally {
    fn place(self) -> usize {
        match self {
            Self::Ready => 0,
            Self::Total => 1,
            Self::Done => 2,
            Self::There => 3,
            Self::Back => 4,
            Self::Port => 5,
            Self::Heard => 6,
            Self::Counted(child) => 8 + child % CHILDREN,
            Self::Ended(child) => 8 + CHILDREN + child % CHILDREN,
            Self::Taken(child) => 8 + 2 * CHILDREN + child % CHILDREN,
        }
    }
}

/// Memory that both processes write.
pub struct Page {
    file: OwnedFd,
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value; its words are atomic, and who uses `bytes` says that nobody else does.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    /// A fresh page for counting.
    pub fn new() -> Self {
        let page = Self::with(WORDS * APART);
        page.word(Tally::Total).store(u64::MAX, Ordering::Relaxed);
        page
    }

    /// Fresh shared memory of at least so many bytes. Its descriptor is inherited.
    pub fn with(len: usize) -> Self {
        let len = len.next_multiple_of(4096);
        let file = memfd_create("peers", MemfdFlags::empty()).expect("a memfd");
        ftruncate(&file, len as u64).expect("room for the page");
        Self::map(file, len)
    }

    /// The page behind an inherited descriptor.
    pub fn of(file: OwnedFd) -> Self {
        let len = rustix::fs::fstat(&file).expect("an open descriptor").st_size as usize;
        Self::map(file, len)
    }

    fn map(file: OwnedFd, len: usize) -> Self {
        // SAFETY: a mapping at an address of the kernel's choice touches no other memory.
        let base =
            unsafe { mmap(null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0) };
        let base = NonNull::new(base.expect("the page maps").cast()).expect("never at zero");
        Self { file, base, len }
    }

    /// A word.
    pub fn word(&self, tally: Tally) -> &AtomicU64 {
        let at = tally.place() * APART;
        // SAFETY: inside the mapping, aligned, initialised, and only ever used as an atomic.
        unsafe { self.base.add(at).cast::<AtomicU64>().as_ref() }
    }

    /// The lower half of a word, for a futex.
    pub fn half(&self, tally: Tally) -> &AtomicU32 {
        // SAFETY: as for the whole; who uses the half does not use the whole.
        unsafe { self.base.add(tally.place() * APART).cast::<AtomicU32>().as_ref() }
    }

    /// The bytes from `at` on.
    pub fn bytes(&self, at: usize, len: usize) -> *mut u8 {
        assert!(at + len <= self.len);
        // SAFETY: inside the mapping, as just made sure.
        unsafe { self.base.add(at) }.as_ptr()
    }

    /// Says that this child is there, and waits until the parent begins.
    pub fn arrive(&self) {
        self.word(Tally::Ready).fetch_add(1, Ordering::AcqRel);
    }

    /// Waits until that many children are there.
    pub fn gather(&self, children: usize) {
        self.wait(|| self.word(Tally::Ready).load(Ordering::Acquire) >= children as u64);
    }

    /// Says that this child is done.
    pub fn finish(&self, child: usize, counted: u64) {
        self.finish_since(child, counted, now());
    }

    /// Says that this child is done, and since when.
    pub fn finish_since(&self, child: usize, counted: u64, ended: u64) {
        self.word(Tally::Counted(child)).store(counted, Ordering::Relaxed);
        self.word(Tally::Ended(child)).store(ended, Ordering::Relaxed);
        self.word(Tally::Done).fetch_add(1, Ordering::AcqRel);
    }

    /// Waits until all are done; what each counted, and when the last was.
    pub fn finished(&self, children: usize) -> (Vec<u64>, u64) {
        self.wait(|| self.word(Tally::Done).load(Ordering::Acquire) >= children as u64);
        let all = 0..children;
        let counted = all.clone().map(|child| self.word(Tally::Counted(child)).load(Ordering::Relaxed));
        let ended = all.map(|child| self.word(Tally::Ended(child)).load(Ordering::Relaxed)).max();
        (counted.collect(), ended.unwrap_or(0))
    }

    fn wait(&self, done: impl Fn() -> bool) {
        let mut idle = Idle::default();
        while !done() {
            idle.wait();
        }
    }
}

impl AsFd for Page {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with this length, and unmapped only here.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// The machine's monotonic clock, the same in all processes, nanoseconds.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
