//! Sixteen words a step, in assembly: Rust has no wide load of memory that others may be writing.
//!
//! No processor promises that a wide load takes each of its words at one moment. None need: a word of which a part was already new
//! differs where that part differs, and one whose new part is as the old one was is as it was before.

use super::{check, rest};
use std::arch::asm;
use std::sync::atomic::AtomicU64;

/// Only [`super::kernel`] and [`super::changed`] call this, where the level is supported.
#[inline]
pub(super) fn avx2(now: &[AtomicU64], seen: &[u64], found: &mut Vec<u32>) {
    // SAFETY: the callers asked whether the processor can run it.
    unsafe { by_256(now, seen, found) }
}

/// Appends the place of each bit of `bits`, `at` being the first one's.
#[inline(always)]
fn tell(mut bits: u32, at: usize, found: &mut Vec<u32>) {
    while bits != 0 {
        found.push(at as u32 + bits.trailing_zeros());
        bits &= bits - 1;
    }
}

#[target_feature(enable = "avx2")]
fn by_256(now: &[AtomicU64], seen: &[u64], found: &mut Vec<u32>) {
    check(now, seen);
    let whole = now.len() - now.len() % 16;
    let mut at = 0;
    while at < whole {
        let (a, b, c, d): (u32, u32, u32, u32);
        // SAFETY: reads 16 words a step of both slices, from `at` on and below `whole`; stops behind a step with a difference, or
        // behind the last, with a bit for each equal word of that step.
        unsafe {
            asm!(
                "2:",
                "vmovdqu {x}, [{now} + {at}*8]",
                "vmovdqu {y}, [{now} + {at}*8 + 32]",
                "vmovdqu {z}, [{now} + {at}*8 + 64]",
                "vmovdqu {w}, [{now} + {at}*8 + 96]",
                "vpcmpeqq {x}, {x}, [{seen} + {at}*8]",
                "vpcmpeqq {y}, {y}, [{seen} + {at}*8 + 32]",
                "vpcmpeqq {z}, {z}, [{seen} + {at}*8 + 64]",
                "vpcmpeqq {w}, {w}, [{seen} + {at}*8 + 96]",
                "vpand {v}, {x}, {y}",
                "vpand {u}, {z}, {w}",
                "vpand {v}, {v}, {u}",
                "add {at}, 16",
                "vpmovmskb {a:e}, {v}",
                "cmp {a:e}, -1",
                "jne 3f",
                "cmp {at}, {whole}",
                "jb 2b",
                "3:",
                "vmovmskpd {a:e}, {x}",
                "vmovmskpd {b:e}, {y}",
                "vmovmskpd {c:e}, {z}",
                "vmovmskpd {d:e}, {w}",
                "vzeroupper",
                now = in(reg) now.as_ptr(),
                seen = in(reg) seen.as_ptr(),
                whole = in(reg) whole,
                at = inout(reg) at,
                a = out(reg) a, b = out(reg) b, c = out(reg) c, d = out(reg) d,
                x = out(ymm_reg) _, y = out(ymm_reg) _, z = out(ymm_reg) _,
                w = out(ymm_reg) _, v = out(ymm_reg) _, u = out(ymm_reg) _,
                options(nostack, readonly),
            );
        }
        tell(!(a | b << 4 | c << 8 | d << 12) & 0xFFFF, at - 16, found);
    }
    rest(now, seen, whole, found);
}
