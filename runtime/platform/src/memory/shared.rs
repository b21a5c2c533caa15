//! Memory that one process owns and writes, and others only read; and the handles by which it is passed on.

use std::os::fd::OwnedFd;
use std::ptr::NonNull;

use rustix::fs::MemfdFlags;
use synod_ring::region::{Region, RegionError};

use super::{MemoryError, arm, sealed};

/// The most bytes that one shared region may have.
pub const SHARED_MAX: usize = 4 << 30;

/// What may be passed to another process over [`local`](crate::local): a shared region, or the ringing end of a bell.
#[derive(Debug)]
pub struct Handle(pub(crate) arm::Handle);

impl Handle {
    /// Another handle to the same thing.
    pub fn try_clone(&self) -> Result<Self, MemoryError> {
        self.0.try_clone().map(Self)
    }
}

/// Memory that this process writes and others may only read: zeroed, sealed, given back when dropped. Made by [`shared`].
#[derive(Debug)]
pub struct SharedRegion {
    memory: arm::Shared,
    /// As asked for, but whole pages where those are huge.
    len: usize,
    file: Option<OwnedFd>,
    _grant: arm::Grant,
}

/// Asks for `len` zeroed bytes that other processes may be allowed to read.
pub fn shared(len: usize) -> Result<SharedRegion, RegionError> {
    let made = SharedRegion::unsealed(len, MemfdFlags::empty())?;
    made.seal().map_err(|_| RegionError::OutOfMemory { len })?;
    Ok(made)
}

impl SharedRegion {
    /// One that must be sealed before a handle to it is passed on.
    pub(super) fn unsealed(len: usize, kind: MemfdFlags) -> Result<Self, RegionError> {
        let len = len.max(1);
        let grant = arm::grant(len)?;
        let refused = RegionError::OutOfMemory { len };
        let (file, mapping) =
            if len > SHARED_MAX { Err(refused) } else { sealed::make(len, kind).map_err(|_| refused) }?;
        let len = if kind.contains(MemfdFlags::HUGETLB) { mapping.len() } else { len };
        Ok(Self { memory: arm::Shared::new(mapping), len, file: Some(file), _grant: grant })
    }

    /// From now on nobody can resize it, or map it to write.
    pub(super) fn seal(&self) -> Result<(), MemoryError> {
        sealed::seal(self.file()?).map_err(|error| MemoryError::system("sealing memory", error))
    }

    pub(super) fn file(&self) -> Result<&OwnedFd, MemoryError> {
        self.file.as_ref().ok_or(MemoryError::Closed)
    }

    /// A handle to pass on: whoever gets it may read the region, and nobody may write through it.
    pub fn handle(&self) -> Result<Handle, MemoryError> {
        let copy =
            self.file()?.try_clone().map_err(|error| MemoryError::system("copying a descriptor", error))?;
        Ok(Handle(arm::Handle::from(copy)))
    }

    /// Closes the descriptor. The mapping stays; [`Self::handle`] fails from now on.
    pub fn close(&mut self) {
        self.file = None;
    }
}

// SAFETY: the mapping is page-aligned, has at least `len` zeroed bytes, and stands until this value is dropped; nobody else of this process
// writes it, and the seals keep other processes from writing it or changing its size.
unsafe impl Region for SharedRegion {
    fn base(&self) -> NonNull<u8> {
        self.memory.mapping().base()
    }

    fn len(&self) -> usize {
        self.len
    }

    #[cfg(madsim)]
    fn before_store(&self) {
        arm::before_store();
    }
}

/// Another process's memory, for reading only: a store to it would be this process's death. Made by [`open`].
#[derive(Debug)]
pub struct ForeignRegion {
    mapping: sealed::Mapping,
    len: usize,
}

/// Checks what the handle leads to and maps it: sealed memory of exactly `len` bytes (or that rounded up to pages).
/// Its size cannot change any more, and it stays readable when its owner is dead; its bytes may change at any moment.
pub fn open(handle: Handle, len: usize) -> Result<ForeignRegion, MemoryError> {
    check(&handle, len)?;
    let mapping = sealed::view(handle.0.memory()?)?;
    Ok(ForeignRegion { mapping, len })
}

/// Checks as [`open`] does, without mapping: for who passes a handle on.
pub fn check(handle: &Handle, len: usize) -> Result<(), MemoryError> {
    if len > SHARED_MAX {
        return Err(MemoryError::TooLarge { len, limit: SHARED_MAX });
    }
    sealed::check(handle.0.memory()?, len)
}

// SAFETY: the mapping is page-aligned and has `len` initialised bytes that stay mapped, for size and seals were checked. It says that it is not
// writable, and that another process writes it.
unsafe impl Region for ForeignRegion {
    fn base(&self) -> NonNull<u8> {
        self.mapping.base()
    }

    fn len(&self) -> usize {
        self.len
    }

    fn writable(&self) -> bool {
        false
    }
}
