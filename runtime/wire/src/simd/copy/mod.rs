//! Copies of 2 KiB and more, and copies out of memory that another process may be writing.
//!
//! The C library's `memcpy` serves shorter local copies. From 2 KiB up it takes the processor's string move, which falls to half its
//! speed where the addresses are a few bytes apart modulo 4096, as payloads behind a 16-byte header are. Medians on a Zen 4, slices
//! alternating, memcpy / AVX2. With lengths (n to 2n) and places that nothing can foresee, ns a copy: 1 KiB 20 / 18, 2 KiB 40 / 30,
//! 4 KiB 69 / 57, 16 KiB 478 / 415. In GB/s at 2 KiB, 4 KiB, 64 KiB and 1 MiB: places equal modulo 4096 85 / 90, 83 / 102, 57 / 56, 48 / 45;
//! 16 apart 77 / 95, 40 / 83, 56 / 57, 48 / 46; 24 apart and odd 74 / 94, 36 / 83, 42 / 57, 47 / 45. Out of shared memory, ns by words / by
//! AVX2: 64 to 128 bytes 9 / 3, 256 to 512 bytes 18 / 9, 2 to 4 KiB 98 / 30.
//!
//! Not kept: AVX-512 (within a twentieth of AVX2 at all lengths, either way), loads aligned instead of stores (a tenth slower), ends
//! moved by ever shorter steps instead of overlapping ones (10 ns more a copy where lengths cannot be foreseen), and stores past the
//! caches: blocks of 1 to 4 MiB that another core copies out at once fall from 37 to 19 GB/s; those of 16 MiB gain a third.

#[cfg(target_arch = "x86_64")]
mod x86;

use super::Level;
use std::sync::atomic::AtomicU8;

/// The levels that have a kernel.
pub const LEVELS: [Level; 2] = [Level::Scalar, Level::Avx2];

/// Local copies from this length on are worth a kernel of their own.
const LOCAL_FROM: usize = 2048;

/// What [`copy`] does, by one kernel.
pub type Copier = fn(&[u8], &mut [u8]);

/// The kernel of a level, whatever the length, for tests and measurements; `None` where this processor cannot run it. It panics if
/// the lengths differ.
pub fn kernel(level: Level) -> Option<Copier> {
    match level {
        // SAFETY: the lengths are equal, and an exclusive slice overlaps nothing.
        Level::Scalar => Some(|from, into| unsafe { words(from.as_ptr(), place(from, into), from.len()) }),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 if level.is_supported() => {
            // SAFETY: as above, and the processor has AVX2.
            Some(|from, into| unsafe { x86::avx2(from.as_ptr(), place(from, into), from.len()) })
        }
        _ => None,
    }
}

/// Where a copy of `from` goes.
#[inline]
fn place(from: &[u8], into: &mut [u8]) -> *mut u8 {
    assert_eq!(from.len(), into.len(), "a copy is as long as what is copied");
    into.as_mut_ptr()
}

/// Copies `from` to `into`.
///
/// # Panics
/// If their lengths differ.
#[inline]
pub fn copy(from: &[u8], into: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if from.len() >= LOCAL_FROM && super::level() >= Level::Avx2 {
        // SAFETY: the lengths are equal, an exclusive slice overlaps nothing, and the level says that the processor has AVX2.
        return unsafe { x86::avx2(from.as_ptr(), place(from, into), from.len()) };
    }
    into.copy_from_slice(from);
}

/// Appends to `into` the bytes of `from`, which another process may be writing. Each byte of the copy comes from one read of the original;
/// another read of it, where two steps overlap, is written over before anybody saw it. Parse the copy, never the original.
#[inline]
pub fn append_shared(from: &[AtomicU8], into: &mut Vec<u8>) {
    let len = from.len();
    into.reserve(len);
    let (from, to) = (from.as_ptr().cast::<u8>(), into.spare_capacity_mut().as_mut_ptr().cast::<u8>());
    #[cfg(target_arch = "x86_64")]
    let copy = if super::level() >= Level::Avx2 { x86::avx2 } else { words };
    #[cfg(not(target_arch = "x86_64"))]
    let copy = words;
    // SAFETY: atomics may be read while others write them; the room was just made, is nobody else's, and is then filled. The
    // level says whether the processor has AVX2.
    unsafe {
        copy(from, to, len);
        into.set_len(into.len() + len);
    }
}

/// Eight bytes a step: the reference. Every access to `from` is volatile.
///
/// # Safety
/// `len` bytes must be readable at `from`, where others may change them meanwhile, and be the caller's alone at `to`; the ranges must
/// not overlap.
#[inline]
unsafe fn words(from: *const u8, to: *mut u8, len: usize) {
    if len < 8 {
        for at in 0..len {
            // SAFETY: inside both ranges.
            unsafe { to.add(at).write(from.add(at).read_volatile()) };
        }
        return;
    }
    // SAFETY: inside both ranges; a packed word may lie at any address.
    let word = |at| unsafe { to.add(at).cast::<Word>().write(from.add(at).cast::<Word>().read_volatile()) };
    let last = len - 8;
    (0..last).step_by(8).for_each(word);
    // It overlaps the one before.
    word(last);
}

/// A word that a volatile access may find at any address.
#[repr(C, packed)]
struct Word(u64);
