//! The ladder on the real machine.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use io_uring::{IoUring, cqueue, opcode, types};
use rustix::fs::{
    MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create, open,
};
use rustix::io::Errno;
use rustix::mm::{ProtFlags, mlock};
use rustix::param::page_size;
use synod_ring::region::{Region, RegionError};

use super::{State, cuda};
use crate::memory::pages;
use crate::memory::sealed::Mapping;

/// Bytes that go through a rung for proof, at most.
const PROOF: usize = 64 << 10;

/// What reads the memory lies above it: fields are dropped in their order.
#[derive(Debug)]
pub(super) struct Memory {
    gpu: Option<cuda::Registration>,
    exported: Option<OwnedFd>,
    ring: Option<Registered>,
    mapping: Mapping,
    len: usize,
    file: OwnedFd,
}

/// A ring that knows the memory as its buffer 0.
struct Registered(IoUring);

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Registered").field(&self.0.as_raw_fd()).finish()
    }
}

// SAFETY: mapped with that length, page-aligned, zeroed before it is handed out, and unmapped on drop only.
unsafe impl Region for Memory {
    fn base(&self) -> NonNull<u8> {
        self.mapping.base()
    }

    fn len(&self) -> usize {
        self.len
    }
}

impl Memory {
    /// The region's bytes, while it is made.
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: mapped, initialised, and of this value alone until it is handed out.
        unsafe { std::slice::from_raw_parts_mut(self.base().as_ptr(), self.len) }
    }
}

/// The memory, and what became of each rung.
pub(super) fn climb(len: usize, numa_node: Option<usize>) -> Result<(Memory, Vec<State>), RegionError> {
    let (huge, memory) = match make(len, MemfdFlags::HUGETLB) {
        Ok((memory, page)) => (Ok(format!("of {} KiB", page >> 10)), Ok(memory)),
        Err(error) => {
            let needs =
                format!("free huge pages for {} KiB (sysctl vm.nr_hugepages): {error}", len.div_ceil(1024));
            (Err(needs), make(len, MemfdFlags::empty()).map(|(memory, _)| memory))
        }
    };
    let mut memory = memory.map_err(|_| RegionError::OutOfMemory { len })?;
    // Before the first touch, so that no page has to move; what came of it is seen after.
    let bound = match numa_node {
        Some(node) => pages::bind(&memory, node).map_err(|error| error.to_string()),
        None => Err("to be told the NUMA node".to_owned()),
    };
    let [locked, ring, exported, gpu] = match pages::populate(&memory) {
        Ok(()) => {
            let locked = lock(&memory);
            for (n, byte) in memory.bytes().iter_mut().enumerate() {
                *byte = (n % 251) as u8 + 1;
            }
            let proved = [locked, ring(&mut memory), export(&mut memory), gpu(&mut memory)];
            memory.bytes().fill(0);
            proved
        }
        // Then no byte is touched here: it could be the end of the process.
        Err(error) => [(); 4].map(|()| Err(format!("all its pages: {error}"))),
    };
    let bound = bound.and_then(|()| {
        let nodes = pages::located(&memory).map_err(|error| error.to_string())?;
        let told = nodes.iter().map(|(node, pages)| format!("{pages} pages on node {node}"));
        Ok(told.collect::<Vec<_>>().join(", "))
    });
    // Not before: who exports a memfd is refused when it can never be written again.
    let sealed = fcntl_add_seals(&memory.file, SealFlags::FUTURE_WRITE | SealFlags::SEAL)
        .map(|()| {
            format!("{} KiB, whose size nobody can change, and which nobody else can write", memory.len >> 10)
        })
        .map_err(|error| format!("a kernel that seals memory: {error}"));
    let states = [sealed, huge, locked, bound, ring, exported, gpu];
    Ok((memory, states.map(State::from).into()))
}

/// Memory that can be neither shrunk nor grown, and the size of its pages.
fn make(len: usize, kind: MemfdFlags) -> rustix::io::Result<(Memory, usize)> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | kind;
    let file = memfd_create("synod-dma", flags)?;
    // Of huge pages the file's block is one.
    let page = usize::try_from(fstat(&file)?.st_blksize).unwrap_or_default().max(page_size());
    let len = len.checked_next_multiple_of(page).ok_or(Errno::NOMEM)?;
    ftruncate(&file, len as u64)?;
    // Huge pages are reserved here, or refused.
    let mapping = Mapping::new(file.as_fd(), len, ProtFlags::READ | ProtFlags::WRITE)?;
    fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK)?;
    Ok((Memory { gpu: None, exported: None, ring: None, mapping, len, file }, page))
}

/// Keeps all pages in memory.
fn lock(memory: &Memory) -> Result<String, String> {
    // SAFETY: the mapping's own range; no byte changes.
    unsafe { mlock(memory.base().as_ptr().cast(), memory.len) }.map_err(|error| {
        format!("the limit on locked memory to be {} KiB (ulimit -l): {error}", memory.len.div_ceil(1024))
    })?;
    Ok(format!("{} KiB stay in memory", memory.len >> 10))
}

/// Registers the memory as a buffer, writes its beginning to a file, and reads that back to behind it.
fn ring(memory: &mut Memory) -> Result<String, String> {
    let told = |doing: &str, error: io::Error| format!("an io_uring that takes it ({doing}: {error})");
    let mut ring = IoUring::builder().dontfork().build(2).map_err(|error| told("set up", error))?;
    let buffer = libc::iovec { iov_base: memory.base().as_ptr().cast(), iov_len: memory.len };
    // SAFETY: the mapping outlives the ring, which is dropped first.
    unsafe { ring.submitter().register_buffers(&[buffer]) }.map_err(|error| told("register", error))?;
    let scratch =
        memfd_create("synod-proof", MemfdFlags::CLOEXEC).map_err(|error| told("scratch", error.into()))?;
    let (file, first, half) =
        (types::Fd(scratch.as_raw_fd()), memory.base().as_ptr(), (memory.len / 2).min(PROOF));
    let write = opcode::WriteFixed::new(file, first, half as u32, 0).build();
    let read = opcode::ReadFixed::new(file, first.wrapping_add(half), half as u32, 0).build();
    for entry in [write, read] {
        // SAFETY: both transfers stay in the mapping and in the open file, and are waited for before either is touched or dropped.
        unsafe { ring.submission().push(&entry) }.map_err(|error| told("submit", io::Error::other(error)))?;
        ring.submit_and_wait(1).map_err(|error| told("submit", error))?;
        let answer = ring.completion().next().map_or(-1, |done: cqueue::Entry| done.result());
        if answer != half as i32 {
            return Err(format!("an io_uring that takes it (transferred {answer} of {half} bytes)"));
        }
    }
    let (wrote, rest) = memory.bytes().split_at(half);
    if *wrote != rest[..half] {
        return Err(format!("an io_uring that carries what is there: {half} bytes came back different"));
    }
    memory.ring = Some(Registered(ring));
    Ok(format!("as a fixed buffer; {half} bytes went to a file and back, all equal"))
}

/// What `linux/udmabuf.h` calls `struct udmabuf_create`.
#[repr(C)]
struct Create {
    memory: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

/// `UDMABUF_FLAGS_CLOEXEC`.
const CLOSE_ON_EXEC: u32 = 1;

/// Makes a DMA buffer of the memory, which drivers take by its descriptor, and looks at the memory through it.
fn export(memory: &mut Memory) -> Result<String, String> {
    const CREATE: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<Create>(b'u', 0x42);
    let device = open("/dev/udmabuf", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| format!("/dev/udmabuf (modprobe udmabuf): {error}"))?;
    let create = Create {
        memory: memory.file.as_raw_fd() as u32,
        flags: CLOSE_ON_EXEC,
        offset: 0,
        size: memory.len as u64,
    };
    // SAFETY: the device reads one `Create`, and answers with a new descriptor or -1.
    let answer = unsafe { libc::ioctl(device.as_raw_fd(), CREATE as _, &create) };
    if answer < 0 {
        return Err(format!("a /dev/udmabuf that takes it: {}", io::Error::last_os_error()));
    }
    // SAFETY: made for us just now, and of nobody else.
    let exported = unsafe { OwnedFd::from_raw_fd(answer) };
    let view = Mapping::new(exported.as_fd(), memory.len, ProtFlags::READ)
        .map_err(|error| format!("a DMA buffer that can be mapped: {error}"))?;
    // SAFETY: mapped with that length, and nobody writes the memory meanwhile.
    let seen = unsafe { std::slice::from_raw_parts(view.base().as_ptr(), memory.len) };
    if *seen != *memory.bytes() {
        return Err("a DMA buffer of the same memory: it shows other bytes".to_owned());
    }
    memory.exported = Some(exported);
    Ok(format!("of {} KiB, all bytes equal", memory.len >> 10))
}

/// Lets a GPU at the memory.
fn gpu(memory: &mut Memory) -> Result<String, String> {
    // SAFETY: the mapping stands until the registration is dropped, which comes first; this thread alone has it.
    let (registration, how) = unsafe { cuda::register(memory.base(), memory.len) }?;
    memory.gpu = Some(registration);
    Ok(how)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::dma::{RUNGS, region};

    #[test]
    fn where_there_is_no_gpu_the_last_rung_says_what_it_needs() {
        let region = region(1 << 20, None).unwrap();
        let last = &region.rungs()[RUNGS.len() - 1];
        match &last.state {
            State::Held(how) => assert!(how.ends_with("all equal"), "{how}"),
            State::Unavailable(needs) => {
                assert!(needs.contains("CUDA") || needs.contains("NVIDIA"), "{needs}")
            }
        }
    }

    #[test]
    fn a_registered_region_stays_what_a_ring_may_carry_until_it_is_dropped() {
        let mut region = region(256 << 10, None).unwrap();
        let (first, len) = (region.base().as_ptr(), region.len());
        // A kernel or a container that forbids io_uring says so.
        let Some(Registered(ring)) = &mut region.memory.ring else { return };
        // SAFETY: the region's own bytes.
        unsafe { first.write_bytes(7, len) };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = std::fs::File::create(&path).unwrap();
        let write = opcode::WriteFixed::new(types::Fd(file.as_raw_fd()), first, len as u32, 0).build();
        // SAFETY: within the region, and waited for.
        unsafe { ring.submission().push(&write) }.unwrap();
        ring.submit_and_wait(1).unwrap();
        assert_eq!(ring.completion().next().unwrap().result(), len as i32);
        assert_eq!(std::fs::read(path).unwrap(), vec![7; len]);
    }
}
