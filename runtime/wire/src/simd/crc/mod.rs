//! The kernels that compute CRC-32C, and the choice among them, made once when the first checksum is asked for.
//!
//! Every kernel gives the same answer as [`Kernel::Scalar`]; they differ in speed alone. Nothing here measures time: which kernel serves
//! which length was measured and is written down below.

mod scalar;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "calls into code compiled for processor features that were detected")]
mod x86;

use std::sync::atomic::{AtomicU8, Ordering};

/// A way to compute CRC-32C.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kernel {
    /// Tables, eight bytes a step, on any processor: what all others must equal.
    Scalar = 1,
    /// The `crc32c` crate: the processor's CRC instruction in three streams (or the crate's own tables without it).
    Crate = 2,
    /// Carry-less multiplication, four 16-byte folds at a time (SSE4.2, PCLMULQDQ).
    Clmul128 = 3,
    /// Carry-less multiplication, four 32-byte folds at a time (AVX2, VPCLMULQDQ).
    Clmul256 = 4,
    /// Carry-less multiplication, four 64-byte folds at a time (AVX-512F, VPCLMULQDQ).
    Clmul512 = 5,
}

/// From this length on the crate's three streams of the CRC instruction beat the 16-byte folds, which the wider folds do not
/// suffer: each of those is ahead of the narrower at all lengths. Median GB/s on a Zen 4, slices alternating, at 64 B, 256 B, 1 KiB, 4 KiB,
/// 64 KiB, 1 MiB: crate 5.1, 9.7, 17.4, 21.6, 26.2, 28.2; pclmul-128 9.5, 12.3, 13.5, 13.8, 13.9, 13.9; vpclmul-256 10.2, 22.0, 27.6, 29.0,
/// 29.4, 29.4; vpclmul-512 10.8, 24.6, 49.7, 57.2, 58.5, 58.4. Tables give 2.
#[cfg(target_arch = "x86_64")]
const CRATE_FROM: usize = 1024;

static CHOSEN: AtomicU8 = AtomicU8::new(0);

impl Kernel {
    /// Every kernel, the slowest first.
    pub const ALL: [Kernel; 5] =
        [Kernel::Scalar, Kernel::Crate, Kernel::Clmul128, Kernel::Clmul256, Kernel::Clmul512];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Kernel::Scalar => "scalar",
            Kernel::Crate => "crc32c-crate",
            Kernel::Clmul128 => "pclmul-128",
            Kernel::Clmul256 => "vpclmul-256",
            Kernel::Clmul512 => "vpclmul-512",
        }
    }

    /// What a processor must have for it.
    pub const fn needs(self) -> &'static str {
        match self {
            Kernel::Scalar | Kernel::Crate => "nothing",
            Kernel::Clmul128 => "SSE4.2 and PCLMULQDQ",
            Kernel::Clmul256 => "AVX2 and VPCLMULQDQ",
            Kernel::Clmul512 => "AVX-512F and VPCLMULQDQ",
        }
    }

    /// Whether this processor can run it.
    pub fn is_supported(self) -> bool {
        match self {
            Kernel::Scalar | Kernel::Crate => true,
            #[cfg(target_arch = "x86_64")]
            Kernel::Clmul128 => x86::has_clmul128(),
            #[cfg(target_arch = "x86_64")]
            Kernel::Clmul256 => x86::has_clmul256(),
            #[cfg(target_arch = "x86_64")]
            Kernel::Clmul512 => x86::has_clmul512(),
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Clmul128 | Kernel::Clmul256 | Kernel::Clmul512 => false,
        }
    }

    /// The kernel itself, whatever the length, for tests and measurements; `None` where this processor cannot run it.
    pub fn function(self) -> Option<fn(u32, &[u8]) -> u32> {
        if !self.is_supported() {
            return None;
        }
        Some(match self {
            Kernel::Scalar => scalar::append,
            Kernel::Crate => crc32c::crc32c_append,
            #[cfg(target_arch = "x86_64")]
            Kernel::Clmul128 => x86::clmul128,
            #[cfg(target_arch = "x86_64")]
            Kernel::Clmul256 => x86::clmul256,
            #[cfg(target_arch = "x86_64")]
            Kernel::Clmul512 => x86::clmul512,
            #[cfg(not(target_arch = "x86_64"))]
            Kernel::Clmul128 | Kernel::Clmul256 | Kernel::Clmul512 => return None,
        })
    }

    fn best() -> Kernel {
        Kernel::ALL.into_iter().rev().find(|kernel| kernel.is_supported()).unwrap_or(Kernel::Scalar)
    }
}

impl std::fmt::Display for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Continues the CRC-32C `crc` over `bytes` with the kernel that suits this processor and this length.
#[inline]
pub fn append(crc: u32, bytes: &[u8]) -> u32 {
    match CHOSEN.load(Ordering::Relaxed) {
        #[cfg(target_arch = "x86_64")]
        5 => x86::clmul512(crc, bytes),
        #[cfg(target_arch = "x86_64")]
        4 => x86::clmul256(crc, bytes),
        #[cfg(target_arch = "x86_64")]
        3 if bytes.len() < CRATE_FROM => x86::clmul128(crc, bytes),
        2 | 3 => crc32c::crc32c_append(crc, bytes),
        1 => scalar::append(crc, bytes),
        _ => {
            chosen();
            append(crc, bytes)
        }
    }
}

/// The kernel in use in this process; chooses one if none was chosen yet.
pub fn chosen() -> Kernel {
    let known = CHOSEN.load(Ordering::Relaxed);
    if let Some(kernel) = Kernel::ALL.into_iter().find(|&kernel| kernel as u8 == known) {
        return kernel;
    }
    let best = Kernel::best();
    // Whoever loses the race chose the same, or was forced meanwhile.
    match CHOSEN.compare_exchange(0, best as u8, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => best,
        Err(_) => chosen(),
    }
}

/// As [`super::force_scalar`], for these kernels.
pub(super) fn force_scalar(scalar: bool) {
    let kernel = if scalar { Kernel::Scalar } else { Kernel::best() };
    CHOSEN.store(kernel as u8, Ordering::Relaxed);
}
