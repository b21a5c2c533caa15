//! The ladder on the real machine.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use io_uring::{IoUring, cqueue, opcode, types};
use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, open};
use rustix::mm::{ProtFlags, mlock};
use rustix::param::page_size;
use synod_ring::region::{Region, RegionError};

use super::{Height, State, cuda};
use crate::memory::sealed::Mapping;
use crate::memory::{SharedRegion, pages};

/// Bytes that go through a rung for proof, at most.
const PROOF: usize = 64 << 10;

/// What knows the memory, to be dropped before it.
#[derive(Debug, Default)]
pub(super) struct Devices {
    gpu: Option<cuda::Registration>,
    exported: Option<OwnedFd>,
    ring: Option<Registered>,
}

/// A ring that knows the memory as its buffer 0.
struct Registered(IoUring);

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Registered").field(&self.0.as_raw_fd()).finish()
    }
}

/// The memory, what knows it, and what became of each rung.
pub(super) fn climb(
    len: usize,
    height: Height,
    numa_node: Option<usize>,
) -> Result<(Devices, SharedRegion, Vec<State>), RegionError> {
    let mut devices = Devices::default();
    let plain = || SharedRegion::unsealed(len, MemfdFlags::empty());
    let mut states = vec![State::NotAsked; 6];
    let memory = if height < Height::Local {
        plain()?
    } else {
        let (huge, memory) = match SharedRegion::unsealed(len, MemfdFlags::HUGETLB) {
            Ok(memory) => (Ok(format!("all of {} KiB", memory.len() >> 10)), memory),
            Err(_) => {
                let needs =
                    format!("free huge pages for {} KiB (sysctl vm.nr_hugepages)", len.div_ceil(1024));
                (Err(needs), plain()?)
            }
        };
        // Before the first touch, so that no page has to move; what came of it is seen after.
        let bound = match numa_node {
            Some(node) => pages::bind(&memory, node).map_err(|error| error.to_string()),
            None => Err("a NUMA node to be named: pin the context to a processor".to_owned()),
        };
        let there = pages::populate(&memory).map_err(|error| format!("all its pages: {error}"));
        let bound = bound.and_then(|()| located(&memory));
        let locked = there.clone().and_then(|()| lock(&memory));
        states[..3].clone_from_slice(&[huge, locked, bound].map(State::from));
        if height >= Height::Device {
            states.truncate(3);
            states.extend(match there {
                Ok(()) => reach(&memory, &mut devices, height),
                // Then no byte is touched here: it could be the end of the process.
                Err(why) => [(); 3].map(|()| State::Unavailable(why.clone())),
            });
        }
        memory
    };
    // Not before: who exports a memfd is refused when it can never be written again.
    let sealed = memory.seal().map_err(|error| format!("a kernel that seals memory: {error}"));
    let told = || {
        format!("{} KiB, whose size nobody can change, and which nobody else can write", memory.len() >> 10)
    };
    states.insert(0, sealed.map(|()| told()).into());
    Ok((devices, memory, states))
}

/// Lets devices at it, each proved by bytes that went through it.
fn reach(memory: &SharedRegion, devices: &mut Devices, height: Height) -> [State; 3] {
    for (n, byte) in bytes(memory).iter_mut().enumerate() {
        *byte = (n % 251) as u8 + 1;
    }
    let ring = match height {
        Height::Top => ring(memory, devices).into(),
        _ => State::NotAsked,
    };
    let reached = [ring, export(memory, devices).into(), gpu(memory, devices).into()];
    bytes(memory).fill(0);
    reached
}

/// The region's bytes, while it is made: one borrow at a time.
#[expect(clippy::mut_from_ref, reason = "the mapping is written through its address alone")]
fn bytes(memory: &SharedRegion) -> &mut [u8] {
    // SAFETY: mapped, initialised, and of `climb` alone until it is handed out, which keeps no two of these.
    unsafe { std::slice::from_raw_parts_mut(memory.base().as_ptr(), memory.len()) }
}

/// Where its pages lie.
fn located(memory: &SharedRegion) -> Result<String, String> {
    let nodes = pages::located(memory).map_err(|error| error.to_string())?;
    let told = nodes.iter().map(|(node, pages)| format!("{pages} pages on node {node}"));
    Ok(told.collect::<Vec<_>>().join(", "))
}

/// Keeps all pages in memory.
fn lock(memory: &SharedRegion) -> Result<String, String> {
    // SAFETY: the mapping's own range; no byte changes.
    unsafe { mlock(memory.base().as_ptr().cast(), memory.len()) }.map_err(|error| {
        let kib = memory.len().div_ceil(1024);
        format!("the limit on locked memory to leave room for {kib} KiB (ulimit -l): {error}")
    })?;
    Ok(format!("{} KiB stay in memory", memory.len() >> 10))
}

/// Registers the memory as a buffer, writes its beginning to a file, and reads that back to behind it.
fn ring(memory: &SharedRegion, devices: &mut Devices) -> Result<String, String> {
    let told = |doing: &str, error: io::Error| format!("an io_uring that takes it ({doing}: {error})");
    let mut ring = IoUring::builder().dontfork().build(2).map_err(|error| told("set up", error))?;
    let buffer = libc::iovec { iov_base: memory.base().as_ptr().cast(), iov_len: memory.len() };
    // SAFETY: the mapping outlives the ring, which is dropped first.
    unsafe { ring.submitter().register_buffers(&[buffer]) }.map_err(|error| told("register", error))?;
    let scratch =
        memfd_create("synod-proof", MemfdFlags::CLOEXEC).map_err(|error| told("scratch", error.into()))?;
    let (file, first, half) =
        (types::Fd(scratch.as_raw_fd()), memory.base().as_ptr(), (memory.len() / 2).min(PROOF));
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
    let (wrote, rest) = bytes(memory).split_at(half);
    if *wrote != rest[..half] {
        return Err(format!("an io_uring that carries what is there: {half} bytes came back different"));
    }
    devices.ring = Some(Registered(ring));
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
fn export(memory: &SharedRegion, devices: &mut Devices) -> Result<String, String> {
    const CREATE: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<Create>(b'u', 0x42);
    let device = open("/dev/udmabuf", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| format!("/dev/udmabuf (modprobe udmabuf): {error}"))?;
    let file = memory.file().map_err(|error| error.to_string())?;
    let (memory_fd, size) = (file.as_raw_fd() as u32, memory.len().next_multiple_of(page_size()) as u64);
    let create = Create { memory: memory_fd, flags: CLOSE_ON_EXEC, offset: 0, size };
    // SAFETY: the device reads one `Create`, and answers with a new descriptor or -1.
    let answer = unsafe { libc::ioctl(device.as_raw_fd(), CREATE as _, &create) };
    if answer < 0 {
        return Err(format!("a /dev/udmabuf that takes it: {}", io::Error::last_os_error()));
    }
    // SAFETY: made for us just now, and of nobody else.
    let exported = unsafe { OwnedFd::from_raw_fd(answer) };
    let view = Mapping::new(exported.as_fd(), memory.len(), ProtFlags::READ)
        .map_err(|error| format!("a DMA buffer that can be mapped: {error}"))?;
    // SAFETY: mapped with that length, and nobody writes the memory meanwhile.
    let seen = unsafe { std::slice::from_raw_parts(view.base().as_ptr(), memory.len()) };
    if *seen != *bytes(memory) {
        return Err("a DMA buffer of the same memory: it shows other bytes".to_owned());
    }
    devices.exported = Some(exported);
    Ok(format!("of {} KiB, all bytes equal", memory.len() >> 10))
}

/// Lets a GPU at the memory.
fn gpu(memory: &SharedRegion, devices: &mut Devices) -> Result<String, String> {
    // SAFETY: the mapping stands until the registration is dropped, which comes first; this thread alone has it.
    let (registration, how) = unsafe { cuda::register(memory.base(), memory.len()) }?;
    devices.gpu = Some(registration);
    Ok(how)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::dma::{RUNGS, region};

    #[test]
    fn where_there_is_no_gpu_the_last_rung_says_what_it_needs() {
        let region = region(1 << 20, Height::Device, None).unwrap();
        let last = region.rungs()[RUNGS.len() - 1].state.to_string();
        assert!(last.ends_with("all equal") || last.contains("CUDA") || last.contains("NVIDIA"), "{last}");
    }

    #[test]
    fn a_registered_region_stays_what_a_ring_may_carry_until_it_is_dropped() {
        let mut region = region(256 << 10, Height::Top, None).unwrap();
        let (first, len) = (region.base().as_ptr(), region.len());
        // A kernel or a container that forbids io_uring says so.
        let Some(Registered(ring)) = &mut region._devices.ring else { return };
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
