//! Sealed memory, the same in both arms: what one process may do to another's mapping is the kernel's word, and stays it in the simulator.
//!
//! A memfd is sized, mapped writable once, and then sealed against growing, shrinking, any further writing and more seals. So its size cannot
//! change under a reader (which would be a SIGBUS), and nobody but its owner writes it, whoever re-opens the descriptor.

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

    /// Its bytes, whole pages of them.
    pub(crate) fn len(&self) -> usize {
        self.mapped
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

/// Makes `len` zeroed bytes, at least one: the descriptor, to be [sealed](seal), and the one writable mapping. Of huge pages with
/// [`MemfdFlags::HUGETLB`], if so many are free.
pub(super) fn make(len: usize, kind: MemfdFlags) -> rustix::io::Result<(OwnedFd, Mapping)> {
    let file = unsealed(kind)?;
    let size = len.checked_next_multiple_of(pages_of(&file)?.0).ok_or(Errno::NOMEM)?;
    ftruncate(&file, size as u64)?;
    // Huge pages are reserved here, or refused.
    let mapping = Mapping::new(file.as_fd(), size, ProtFlags::READ | ProtFlags::WRITE)?;
    Ok((file, mapping))
}

/// Sets what others [check](check). Not before it is mapped: the seals refuse new writable mappings, and the one that stands stays.
pub(super) fn seal(file: &OwnedFd) -> rustix::io::Result<()> {
    fcntl_add_seals(file, SEALS)
}

fn unsealed(kind: MemfdFlags) -> rustix::io::Result<OwnedFd> {
    let create = |flags| rustix::fs::memfd_create("synod", MemfdFlags::CLOEXEC | kind | flags);
    match create(MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL) {
        // Kernels before 6.3 do not know the second flag.
        Err(Errno::INVAL) => create(MemfdFlags::ALLOW_SEALING),
        made => made,
    }
}

/// The size of its pages, and whether they are huge.
fn pages_of(file: impl AsFd) -> rustix::io::Result<(usize, bool)> {
    let about = fstatfs(file)?;
    let huge = about.f_type as u64 == HUGETLBFS;
    Ok((if huge { about.f_bsize as usize } else { rustix::param::page_size() }, huge))
}

/// Whether this is memory that nobody can resize or newly write, of `len` bytes or that rounded up to pages. Huge pages must all be there: a
/// plain page is found when a reader touches it, a huge one may be given to somebody else by then, and the reader would die of it.
pub(super) fn check(file: BorrowedFd<'_>, len: usize) -> Result<(), MemoryError> {
    let failed = |error| MemoryError::system("looking at shared memory", error);
    let seals = match fcntl_get_seals(file) {
        Ok(seals) => seals,
        Err(Errno::INVAL) => return Err(MemoryError::NotMemory { found: kind(file) }),
        Err(error) => return Err(failed(error)),
    };
    let missing = SEALS.difference(seals);
    if !missing.is_empty() {
        let missing = missing.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join(", ");
        return Err(MemoryError::NotSealed { missing });
    }
    // Sealed by now: what is read here stays true.
    let about = fstat(file).map_err(failed)?;
    let found = about.st_size as u64;
    let (page, huge) = pages_of(file).map_err(failed)?;
    let rounded = len.checked_next_multiple_of(page).unwrap_or(usize::MAX);
    if !(len as u64..=rounded as u64).contains(&found) {
        return Err(MemoryError::WrongSize { found, expected: len as u64 });
    }
    // The seals also refuse holes, so that what is there stays.
    let there = about.st_blocks as u64 * 512;
    if huge && there < found {
        return Err(MemoryError::NotPopulated { found: there, expected: found });
    }
    Ok(())
}

/// Maps what was checked, for reading.
pub(super) fn view(file: BorrowedFd<'_>) -> Result<Mapping, MemoryError> {
    let mapped = fstat(file).and_then(|about| Mapping::new(file, about.st_size as usize, ProtFlags::READ));
    mapped.map_err(|error| MemoryError::system("mapping shared memory", error))
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{FallocateFlags, OFlags, fallocate, open};

    /// The kernel facts on which all trust in shared memory stands.
    #[test]
    fn what_is_sealed_can_be_neither_resized_nor_written_by_anyone_else() {
        let (file, mapping) = make(5000, MemfdFlags::empty()).unwrap();
        seal(&file).unwrap();
        assert_eq!(mapping.len(), 5000usize.next_multiple_of(rustix::param::page_size()));
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
        let view = view(reopened.as_fd()).unwrap();
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
        let file = unsealed(MemfdFlags::empty()).unwrap();
        ftruncate(&file, 4096).unwrap();
        fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK).unwrap();
        let refused = check(file.as_fd(), 4096);
        assert_eq!(refused, Err(MemoryError::NotSealed { missing: "SEAL, FUTURE_WRITE".into() }));
    }

    #[test]
    fn huge_pages_are_taken_when_all_of_them_are_there_and_not_before() {
        // A machine that has reserved none has nothing to share.
        let Ok((file, mapping)) = make(5000, MemfdFlags::HUGETLB) else { return };
        seal(&file).unwrap();
        let expected = mapping.len() as u64;
        assert_eq!(check(file.as_fd(), 5000), Err(MemoryError::NotPopulated { found: 0, expected }));
        // SAFETY: inside the mapping, and nobody else touches it.
        unsafe { mapping.base().as_ptr().write_volatile(7) };
        assert_eq!(check(file.as_fd(), 5000), Ok(()));
        let view = view(file.as_fd()).unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { view.base().as_ptr().read_volatile() }, 7);
    }
}
