//! What this machine is and allows: for `doctor`, reports and choices at start.

#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod sim;

#[cfg(not(madsim))]
use real as arm;
#[cfg(madsim)]
use sim as arm;

/// An extension of the instruction set that some kernel of ours can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuFeature {
    /// Its name, as Rust's target features spell it.
    pub name: &'static str,
    /// Whether this processor (and the system) has it.
    pub present: bool,
}

/// A limit that the system sets on this process; `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// In force now.
    pub soft: Option<u64>,
    /// Up to which this process may raise it.
    pub hard: Option<u64>,
}

/// One size of explicit huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HugePages {
    /// Size of a page, KiB.
    pub size_kib: u64,
    /// Pages reserved.
    pub total: u64,
    /// Pages free.
    pub free: u64,
}

/// What the system tells of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The kernel's name and release, as in `Linux 6.12.1`.
    pub kernel: String,
    /// The processor's architecture, as in `x86_64`.
    pub architecture: &'static str,
    /// The processor's name, when the system tells.
    pub processor: Option<String>,
    /// Logical processors that this process may use.
    pub processors: usize,
    /// Extensions that matter to our kernels.
    pub features: Vec<CpuFeature>,
    /// Memory, KiB, as the kernel tells (a container's bound may be lower).
    pub memory_kib: Option<u64>,
    /// Memory that may be locked, bytes.
    pub locked_memory: Limit,
    /// Open files.
    pub open_files: Limit,
    /// The mode of transparent huge pages (`always`, `madvise`, `never`), when the system tells.
    pub transparent_huge_pages: Option<String>,
    /// Explicit huge pages, smallest first.
    pub huge_pages: Vec<HugePages>,
}

/// Whether the kernel's io_uring has each operation that a transport would use, or why there is none. Makes a ring to ask.
pub fn io_uring() -> Result<Vec<(&'static str, bool)>, String> {
    arm::io_uring()
}

/// Whether the kernel lets a thread sleep on a word of memory that processes share, or why not.
pub fn futex() -> Result<(), String> {
    arm::futex()
}

/// Looks at this machine, now.
pub fn look() -> Machine {
    arm::look()
}
