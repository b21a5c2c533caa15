//! The device's own sequential speed: the very files that an opening of ours reads, past the cache and looked at by nobody. By one call after the
//! other, or by an io_uring with several reads under way: whichever is faster in its slice.

use super::{Keeps, Lot, Ours};
use crate::durable::{Spent, Watch};
use io_uring::{IoUring, opcode, types};
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use synod_platform::disk::Buffer;

/// Bytes of one call's read.
const CALL: usize = 4 << 20;

/// Bytes of one of an io_uring's reads, and how many are under way.
const RING: (usize, usize) = (1 << 20, 4);

/// The subject of this file.
pub struct Device;

impl Keeps for Device {
    fn write(folder: &Path, lot: Lot) -> u64 {
        Ours::write(folder, lot)
    }

    fn open(folder: &Path, _: Lot, len: u64) -> Spent {
        let [calls, ring] = [by_calls, by_ring].map(|way| {
            let files = files(folder, len);
            let watch = Watch::here();
            way(&files);
            watch.stop()
        });
        if calls.took < ring.took { calls } else { ring }
    }

    fn read(folder: &Path, lot: Lot, len: u64) -> Spent {
        // As many bytes as the payload has: no way around it reads less.
        Self::open(folder, lot, len.min(lot.bytes()))
    }
}

/// The first files of the folder that together have that length, each with as much of it as counts.
fn files(folder: &Path, len: u64) -> Vec<(OwnedFd, u64)> {
    let entries = fs::read_dir(Ours::directory(folder)).expect("a log that was written");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a file of our own").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
    paths.sort_unstable();
    let mut left = len;
    let mut files = Vec::new();
    for path in paths {
        let flags = OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::empty()).expect("a file system with direct reads");
        let part = fs::metadata(&path).expect("a file of our own").len().min(left);
        left -= part;
        files.push((file, part));
    }
    assert_eq!(left, 0, "fewer bytes than an opening read");
    files
}

fn by_calls(files: &[(OwnedFd, u64)]) {
    let mut buffer = Buffer::zeroed(CALL);
    for (file, len) in files {
        let mut at = 0;
        while at < *len {
            match rustix::io::pread(file, &mut buffer[..], at).expect("a good disk") {
                0 => panic!("a file of ours became shorter"),
                read => at += read as u64,
            }
        }
    }
}

fn by_ring(files: &[(OwnedFd, u64)]) {
    let (size, under_way) = RING;
    let mut ring = IoUring::new(under_way as u32).expect("an io_uring");
    let mut buffers: Vec<Buffer> = (0..under_way).map(|_| Buffer::zeroed(size)).collect();
    let mut free: Vec<usize> = (0..under_way).collect();
    let mut reads = files.iter().flat_map(|(file, len)| {
        let part = move |at: u64| (file, at, (len - at).min(size as u64));
        (0..*len).step_by(size).map(part)
    });
    let mut asked = [0; RING.1];
    let mut more = true;
    while more || free.len() < under_way {
        while let Some(slot) = free.pop() {
            let Some((file, at, len)) = reads.next() else {
                free.push(slot);
                more = false;
                break;
            };
            let entry =
                opcode::Read::new(types::Fd(file.as_raw_fd()), buffers[slot].as_mut_ptr(), len as u32)
                    .offset(at)
                    .build()
                    .user_data(slot as u64);
            asked[slot] = len;
            // SAFETY: each buffer outlives the ring's reads, all of which are waited for, and has one of them at a time.
            unsafe { ring.submission().push(&entry).expect("a queue with room") };
        }
        if free.len() < under_way {
            ring.submit_and_wait(1).expect("an io_uring");
        }
        for entry in ring.completion() {
            let slot = entry.user_data() as usize;
            assert_eq!(i64::from(entry.result()), asked[slot] as i64, "the device gives all of it");
            free.push(slot);
        }
    }
}
