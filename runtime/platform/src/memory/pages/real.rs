//! The kernel's words for it: mbind(2) and move_pages(2), which moves nothing when it is given no place.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::io;
use std::ptr::{NonNull, null};

use rustix::mm::{Advice, madvise};
use rustix::param::page_size;

use crate::memory::MemoryError;

/// `MPOL_MF_STRICT | MPOL_MF_MOVE` of linux/mempolicy.h.
const STRICT_AND_MOVE: c_long = 0x1 | 0x2;

pub(super) fn bind(base: NonNull<u8>, len: usize, numa_node: usize) -> Result<(), MemoryError> {
    const WORD: usize = c_ulong::BITS as usize;
    let mut nodes: Vec<c_ulong> = vec![0; numa_node / WORD + 1];
    nodes[numa_node / WORD] |= 1 << (numa_node % WORD);
    // SAFETY: the kernel reads as many words as the mask has (it takes one bit off the count), and decides about pages alone: no byte
    // changes.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            base.as_ptr(),
            len,
            c_long::from(libc::MPOL_BIND),
            nodes.as_ptr(),
            nodes.len() * WORD + 1,
            STRICT_AND_MOVE,
        )
    };
    if answer == 0 {
        return Ok(());
    }
    let reason = format!("node {numa_node}: {}", io::Error::last_os_error());
    Err(MemoryError::System { doing: "binding memory to a NUMA node", reason })
}

pub(super) fn populate(base: NonNull<u8>, len: usize) -> Result<(), MemoryError> {
    let skipped = base.as_ptr() as usize % page_size();
    // SAFETY: the region's own pages, all mapped; the advice changes no byte.
    unsafe { madvise(base.as_ptr().wrapping_sub(skipped).cast(), len + skipped, Advice::LinuxPopulateWrite) }
        .map_err(|error| MemoryError::system("giving all pages their memory (since Linux 5.14)", error))
}

pub(super) fn located(base: NonNull<u8>, len: usize) -> Result<BTreeMap<usize, u64>, MemoryError> {
    let first = base.as_ptr() as usize / page_size();
    let last = (base.as_ptr() as usize + len).div_ceil(page_size());
    let pages: Vec<*const c_void> = (first..last).map(|page| (page * page_size()) as *const c_void).collect();
    let mut nodes: Vec<c_int> = vec![c_int::MIN; pages.len()];
    let (no_place, own_process, no_flags) = (null::<c_int>(), 0 as c_long, 0 as c_long);
    // SAFETY: the kernel reads as many addresses and stores as many answers as there are; without places it moves no page.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_move_pages,
            own_process,
            pages.len(),
            pages.as_ptr(),
            no_place,
            nodes.as_mut_ptr(),
            no_flags,
        )
    };
    if answer != 0 {
        return Err(MemoryError::system("asking where memory lies", io::Error::last_os_error()));
    }
    let mut found = BTreeMap::new();
    // Below zero it is the reason why there is no page.
    for node in nodes.into_iter().filter_map(|node| usize::try_from(node).ok()) {
        *found.entry(node).or_insert(0) += 1;
    }
    Ok(found)
}
