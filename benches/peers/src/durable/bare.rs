//! The bare device: the same bytes over and over into a file that was written whole before, past the cache, one write for all writers, durable
//! when it returns. By one system call, or by an io_uring, or by an io_uring with the writers in two halves: whichever is fastest in its slice.

use super::{Appends, Shape, Tally, Transacts, transactions};
use crate::subjects::pattern;
use io_uring::{IoUring, opcode, types};
use rustix::fs::{Mode, OFlags};
use rustix::io::ReadWriteFlags;
use std::io::IoSlice;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use synod_platform::disk::Buffer;

/// What a device writes at a time, bytes.
const BLOCK: usize = 4096;

/// The file's length, bytes.
const LENGTH: usize = 64 << 20;

/// The subject of this file.
pub struct Bare {
    shape: Shape,
    made: u64,
    write: Write,
}

/// How the next transaction is written.
#[derive(Clone, Copy)]
enum Way {
    Call,
    Ring,
    TwoHalves,
}

struct Write {
    file: OwnedFd,
    ring: IoUring,
    bytes: Buffer,
    at: usize,
    way: Way,
}

impl Write {
    /// Begins to write a part of the bytes.
    fn push(&mut self, range: Range<usize>) {
        let offset = (self.at + range.start) as u64;
        let part = &self.bytes[range];
        let entry = opcode::Write::new(types::Fd(self.file.as_raw_fd()), part.as_ptr(), part.len() as u32)
            .offset(offset)
            .rw_flags(ReadWriteFlags::DSYNC.bits() as i32)
            .build()
            .user_data(part.len() as u64);
        // SAFETY: the bytes live as long as the ring, are never changed, and each write is waited for before the next.
        unsafe { self.ring.submission().push(&entry).expect("a queue with room") };
    }

    fn wait(&mut self, writes: usize) {
        self.ring.submit_and_wait(writes).expect("an io_uring");
        for entry in self.ring.completion() {
            assert_eq!(entry.result() as u64, entry.user_data(), "the device takes all of it");
        }
    }
}

impl Transacts for Write {
    fn transact(&mut self, _: u64) {
        let len = self.bytes.len();
        if self.at + len > LENGTH {
            self.at = 0;
        }
        match self.way {
            Way::Call => {
                let part = IoSlice::new(&self.bytes);
                let written =
                    rustix::io::pwritev2(&self.file, &[part], self.at as u64, ReadWriteFlags::DSYNC);
                assert_eq!(written, Ok(len), "the device takes all of it");
            }
            Way::Ring => {
                self.push(0..len);
                self.wait(1);
            }
            Way::TwoHalves => {
                let half = (len / 2).next_multiple_of(BLOCK);
                self.push(0..half);
                self.push(half..len);
                self.wait(2);
            }
        }
        self.at += len;
    }
}

/// The same by one system call each: of which there is one for all writers.
pub struct OneCall(Bare);

impl Appends for OneCall {
    fn open(folder: &Path, shape: Shape) -> Self {
        Self(Bare::open(folder, shape))
    }

    fn append_for(&mut self, slice: Duration) -> Tally {
        self.0.write.way = Way::Call;
        transactions(&mut self.0.write, &mut self.0.made, self.0.shape, slice)
    }

    fn held(&mut self) -> u64 {
        self.0.held()
    }
}

impl Appends for Bare {
    fn open(folder: &Path, shape: Shape) -> Self {
        let path = folder.join("file");
        std::fs::write(&path, vec![0; LENGTH]).expect("room for a file");
        std::fs::File::open(&path).and_then(|file| file.sync_all()).expect("a device");
        let flags = OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::empty()).expect("a file system with direct writes");
        let mut bytes = Buffer::zeroed((shape.writers * shape.size).next_multiple_of(BLOCK));
        pattern(&mut bytes);
        let ring = IoUring::new(8).expect("an io_uring");
        Self { shape, made: 0, write: Write { file, ring, bytes, at: 0, way: Way::Call } }
    }

    fn append_for(&mut self, slice: Duration) -> Tally {
        let ways: &[Way] = match self.write.bytes.len() {
            BLOCK => &[Way::Call, Way::Ring],
            _ => &[Way::Call, Way::Ring, Way::TwoHalves],
        };
        let mut next = self.made;
        let tallies = ways.iter().map(|way| {
            self.write.way = *way;
            transactions(&mut self.write, &mut next, self.shape, slice / ways.len() as u32)
        });
        let rate = |tally: &Tally| tally.appends as f64 / tally.spent.took.as_secs_f64();
        let best = tallies.max_by(|left, right| rate(left).total_cmp(&rate(right))).expect("several ways");
        self.made += best.appends;
        best
    }

    fn held(&mut self) -> u64 {
        // It keeps nothing: each write was asked how much was taken.
        self.made
    }
}
