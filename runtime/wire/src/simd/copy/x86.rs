//! 128 bytes a step by AVX2, the destination aligned.
//!
//! Loads are assembly: the compiler may neither repeat one, for the memory may change meanwhile, nor make a call of `memcpy` of them.

use std::arch::asm;
use std::arch::x86_64::*;

/// What is moved at once.
const STEP: usize = 128;

/// Copies `len` bytes.
///
/// # Safety
/// As [`super::words`] says, and the processor has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: every step lies inside both ranges, by the lengths that are compared. The last overlaps the one before, instead of
    // becoming shorter and shorter: branches that cannot be foreseen would cost more than bytes moved twice.
    unsafe {
        if len < 32 {
            super::words(from, to, len);
        } else if len <= 64 {
            step::<1>(from, to);
            step::<1>(from.add(len - 32), to.add(len - 32));
        } else if len <= STEP {
            step::<2>(from, to);
            step::<2>(from.add(len - 64), to.add(len - 64));
        } else {
            step::<1>(from, to);
            let mut at = 32 - to.addr() % 32;
            while at + STEP < len {
                step::<4>(from.add(at), to.add(at));
                at += STEP;
            }
            step::<4>(from.add(len - STEP), to.add(len - STEP));
        }
    }
}

/// Copies 32 bytes `N` times.
///
/// # Safety
/// As [`super::words`] says of that many bytes, and the processor has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn step<const N: usize>(from: *const u8, to: *mut u8) {
    let mut loaded = [_mm256_setzero_si256(); N];
    for (index, loaded) in loaded.iter_mut().enumerate() {
        // SAFETY: reads 32 bytes of the range.
        unsafe {
            asm!(
                "vmovdqu {loaded}, [{from}]",
                from = in(reg) from.add(index * 32),
                loaded = out(ymm_reg) *loaded,
                options(nostack, readonly, preserves_flags),
            );
        }
    }
    for (index, loaded) in loaded.into_iter().enumerate() {
        // SAFETY: writes 32 bytes of the range.
        unsafe { _mm256_storeu_si256(to.add(index * 32).cast(), loaded) };
    }
}
