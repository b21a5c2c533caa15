//! Kernels in wide registers, each with a scalar twin, and the choice among them, made once when the first is asked for.
//!
//! - CRC-32C: [`append`], by the kernels of [`Kernel`].
//! - [`copy`] moves bytes, also out of memory that another process may be writing; [`scan`] finds words that changed;
//!   [`sets`] intersects bitmaps.
//!
//! All kernels of one job give the same answer and differ in speed alone, and one is here only where it measured faster: the figures, and
//! what was tried and not kept, stand at the head of its module. The processor's features decide, [`force_scalar`] overrules them.

#[expect(unsafe_code, reason = "copies through pointers")]
pub mod copy;
mod crc;
pub mod scan;
pub mod sets;

use std::sync::atomic::{AtomicU8, Ordering};

pub use crc::{Kernel, append, chosen};

/// Which registers the kernels of [`copy`], [`scan`] and [`sets`] use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Those that every processor has: what the others must equal.
    Scalar = 1,
    /// 256 bits wide.
    Avx2 = 2,
    /// 512 bits wide, with masks (AVX-512F, BW).
    Avx512 = 3,
}

static LEVEL: AtomicU8 = AtomicU8::new(0);

impl Level {
    /// Every level, the narrowest first.
    pub const ALL: [Level; 3] = [Level::Scalar, Level::Avx2, Level::Avx512];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Scalar => "scalar",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        }
    }

    /// What a processor must have for it.
    pub const fn needs(self) -> &'static str {
        match self {
            Level::Scalar => "nothing",
            Level::Avx2 => "AVX2",
            Level::Avx512 => "AVX-512F and BW",
        }
    }

    /// Whether this processor can run it.
    pub fn is_supported(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        let wide = |level| match level {
            Level::Scalar => true,
            Level::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt"),
            Level::Avx512 => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw"),
        };
        #[cfg(not(target_arch = "x86_64"))]
        let wide = |level| level == Level::Scalar;
        // Whatever has the wider registers has the narrower ones.
        Level::ALL.into_iter().take_while(|&level| level <= self).all(wide)
    }

    fn best() -> Level {
        Level::ALL.into_iter().rev().find(|level| level.is_supported()).unwrap_or(Level::Scalar)
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// The widest level in use in this process; chooses it if it was not chosen yet.
#[inline]
pub fn level() -> Level {
    match LEVEL.load(Ordering::Relaxed) {
        1 => Level::Scalar,
        2 => Level::Avx2,
        3 => Level::Avx512,
        _ => choose(),
    }
}

#[cold]
fn choose() -> Level {
    // Whoever loses the race chose the same, or was forced meanwhile.
    match LEVEL.compare_exchange(0, Level::best() as u8, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => Level::best(),
        Err(_) => level(),
    }
}

/// From now on uses the scalar kernels in this process (`true`), or the best ones (`false`): for comparing, and for distrusting hardware.
pub fn force_scalar(scalar: bool) {
    let level = if scalar { Level::Scalar } else { Level::best() };
    LEVEL.store(level as u8, Ordering::Relaxed);
    crc::force_scalar(scalar);
}

/// Each job, and the name of the kernel that does it in this process.
pub fn kernels() -> [(&'static str, &'static str); 4] {
    let of = |levels: &[Level]| {
        levels.iter().rev().find(|&&one| one <= level()).map_or(Level::Scalar.name(), |one| one.name())
    };
    [
        ("crc32c", chosen().name()),
        ("copy", of(&copy::LEVELS)),
        ("scan", of(&scan::LEVELS)),
        ("sets", of(&sets::LEVELS)),
    ]
}
