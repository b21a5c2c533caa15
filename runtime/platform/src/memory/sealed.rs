//! Sealed memory, the same in both arms: what one process may do to another's mapping is the kernel's word, and stays it in the simulator.
//!
//! A memfd is sized, mapped writable once, and then sealed against growing, shrinking, any further writing and more seals. So its size cannot
//! change under a reader (which would be a SIGBUS), and nobody but its owner writes it, whoever re-opens the descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{NonNull, null_mut};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, fstatfs, ftruncate};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::MemoryError;

/// What must hold before memory is taken from another process.
const SEALS: SealFlags =
    SealFlags::GROW.union(SealFlags::SHRINK).union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

/// `HUGETLBFS_MAGIC` of linux/magic.h.
const HUGETLBFS: u64 = 0x9584_58f6;

/// Bytes of this process's address space, given back when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    mapped: usize,
}

impl Mapping {
    pub(crate) fn new(file: BorrowedFd<'_>, len: usize, protection: ProtFlags) -> rustix::io::Result<Self> {
        // SAFETY: a mapping at an address of the kernel's choice touches no other memory.
        let base = unsafe { mmap(null_mut(), len, protection, MapFlags::SHARED, file, 0) }?;
        let base = NonNull::new(base.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { base, mapped: len })
    }

    /// Puts private memory of the same bytes in its place: what is written from now on reaches nobody.
    #[cfg(madsim)]
    pub(crate) fn detach(&self) {
        let base = self.base.as_ptr();
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: the range is this mapping, writable, and stays mapped and initialised; the simulator has one thread, so nobody is between
        // two bytes of it.
        unsafe {
            let bytes = std::slice::from_raw_parts(base, self.mapped).to_vec();
            rustix::mm::mmap_anonymous(base.cast(), self.mapped, ProtFlags::READ | ProtFlags::WRITE, flags)
                .unwrap_or_else(|error| panic!("cannot cut off the memory of a dead node: {error}"));
            base.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
    }

    /// The first byte.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }
}

// SAFETY: the mapping belongs to this value alone, which hands out its address and touches nothing.
unsafe impl Send for Mapping {}
// SAFETY: as above; `base` only reads a field.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length, and unmapped only here. It cannot fail: the range is page-aligned and one mapping.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.mapped) };
    }
}

/// Makes `len` zeroed bytes, at least one: the descriptor, sealed, and the one writable mapping.
pub(super) fn make(len: usize) -> io::Result<(OwnedFd, Mapping)> {
    let file = unsealed()?;
    let size = page_rounded(len).ok_or(Errno::NOMEM)?;
    ftruncate(&file, size as u64)?;
    let mapping = Mapping::new(file.as_fd(), size, ProtFlags::READ | ProtFlags::WRITE)?;
    // Not before: the seal refuses new writable mappings, and the one that stands stays.
    fcntl_add_seals(&file, SEALS)?;
    Ok((file, mapping))
}

fn unsealed() -> rustix::io::Result<OwnedFd> {
    let create = |flags| rustix::fs::memfd_create("synod", MemfdFlags::CLOEXEC | flags);
    match create(MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL) {
        // Kernels before 6.3 do not know the second flag.
        Err(Errno::INVAL) => create(MemfdFlags::ALLOW_SEALING),
        made => made,
    }
}

/// Whether this is plain memory that nobody can resize or newly write, of `len` bytes or that rounded up to pages.
pub(super) fn check(file: BorrowedFd<'_>, len: usize) -> Result<(), MemoryError> {
    let failed = |error| MemoryError::system("looking at shared memory", error);
    let seals = match fcntl_get_seals(file) {
        Ok(seals) => seals,
        Err(Errno::INVAL) => return Err(MemoryError::NotMemory { found: kind(file) }),
        Err(error) => return Err(failed(error)),
    };
    if fstatfs(file).map_err(failed)?.f_type as u64 == HUGETLBFS {
        return Err(MemoryError::HugePages);
    }
    let missing = SEALS.difference(seals);
    if !missing.is_empty() {
        let missing = missing.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
        return Err(MemoryError::NotSealed { missing });
    }
    // Sealed by now: what is read here stays true.
    let found = fstat(file).map_err(failed)?.st_size as u64;
    let rounded = page_rounded(len).unwrap_or(usize::MAX);
    if (len as u64..=rounded as u64).contains(&found) {
        Ok(())
    } else {
        Err(MemoryError::WrongSize { found, expected: len as u64 })
    }
}

/// Maps the first `len` bytes of what was checked, for reading.
pub(super) fn view(file: BorrowedFd<'_>, len: usize) -> Result<Mapping, MemoryError> {
    Mapping::new(file, len, ProtFlags::READ)
        .map_err(|error| MemoryError::system("mapping shared memory", error))
}

/// What a descriptor is, in words. Its file is not asked: that may lie in a file system of the peer's own making, which never answers.
pub(super) fn kind(file: BorrowedFd<'_>) -> String {
    let link = rustix::fs::readlink(format!("/proc/self/fd/{}", file.as_raw_fd()), Vec::new());
    let name = link.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match name.split_once(':') {
        Some(("socket", _)) => "a socket",
        Some(("pipe", _)) => "a pipe",
        Some(("/memfd", _)) => "memory",
        _ if name.starts_with('/') => "a file",
        _ => "something else",
    }
    .to_owned()
}

fn page_rounded(len: usize) -> Option<usize> {
    len.checked_next_multiple_of(rustix::param::page_size())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{FallocateFlags, OFlags, fallocate, open};

    /// The kernel facts on which all trust in shared memory stands.
    #[test]
    fn what_is_sealed_can_be_neither_resized_nor_written_by_anyone_else() {
        let (file, mapping) = make(5000).unwrap();
        assert_eq!(mapping.mapped, page_rounded(5000).unwrap());
        let reopened = open(
            format!("/proc/self/fd/{}", file.as_raw_fd()),
            OFlags::RDWR | OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
        for fd in [&file, &reopened] {
            let writable = Mapping::new(fd.as_fd(), 4096, ProtFlags::READ | ProtFlags::WRITE);
            assert_eq!(writable.unwrap_err(), Errno::PERM);
            assert_eq!(ftruncate(fd, 0), Err(Errno::PERM), "shrinking");
            assert_eq!(ftruncate(fd, 1 << 20), Err(Errno::PERM), "growing");
            assert_eq!(rustix::io::pwrite(fd, b"x", 0), Err(Errno::PERM));
            let hole = fallocate(fd, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 4096);
            assert_eq!(hole, Err(Errno::PERM));
            assert_eq!(fcntl_add_seals(fd, SealFlags::WRITE), Err(Errno::PERM), "more seals");
        }
        let view = view(reopened.as_fd(), 5000).unwrap();
        // SAFETY: the mapping is this test's own.
        let raised = unsafe {
            rustix::mm::mprotect(
                view.base().as_ptr().cast(),
                4096,
                rustix::mm::MprotectFlags::READ | rustix::mm::MprotectFlags::WRITE,
            )
        };
        assert_eq!(raised, Err(Errno::ACCESS), "a view does not become writable");
        // SAFETY: inside both mappings, and nobody else touches them.
        unsafe {
            mapping.base().as_ptr().write_volatile(7);
            assert_eq!(view.base().as_ptr().read_volatile(), 7, "the owner still writes, the view sees it");
        }
    }

    #[test]
    fn memory_without_its_seals_is_told_by_what_is_missing() {
        let file = unsealed().unwrap();
        ftruncate(&file, 4096).unwrap();
        fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK).unwrap();
        let refused = check(file.as_fd(), 4096);
        assert_eq!(refused, Err(MemoryError::NotSealed { missing: "SEAL, FUTURE_WRITE".into() }));
    }

    #[test]
    fn huge_pages_are_refused_where_there_are_any() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB;
        // A kernel without them has nothing to refuse.
        let Ok(file) = rustix::fs::memfd_create("huge", flags) else { return };
        assert_eq!(check(file.as_fd(), 4096), Err(MemoryError::HugePages));
    }
}
