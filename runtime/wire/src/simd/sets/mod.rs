//! The members that three sets have in common, as bitmaps: who subscribed, is allowed, and is healthy.
//!
//! Medians on a Zen 4, slices alternating: how many times as fast as scalar at 16, 256 and 4,096 words, AVX2 and then AVX-512. No member
//! 2.2, 3.9, 3.8 and 1.9, 3.9, 3.5; one in a thousand 1.5, 2.2, 2.3 and 1.4, 1.9, 2.2; one in a hundred 1.1, 1.4, 1.3 and 1.1, 1.2, 1.3;
//! one in ten 1.2, 1.5, 1.6 and 1.2, 1.4, 1.5; nearly all 1.1, 1.1, 0.95 and 6, 6, 6.
//!
//! Not kept: the scalar loop compiled for AVX2 and BMI (no faster); a sorted list tested against two bitmaps by gathering (1.5 times as
//! fast from 64 numbers, nothing below); two sorted lists, sixteen numbers against sixteen (slower than merging from 64 numbers on).
//!
//! The fabric's routes do not use it. What a sender may not say is refused by the index of its grant, and breakers are asked of one instance
//! at a time, so there is one set, the trie's answer; to look up who takes a subject with 1,024 subscriptions takes 270 µs, half for the trie
//! and half for a place to count in for each, against 0.1 µs for an intersection that would leave nothing of that out.

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "calls into code compiled for processor features that were detected")]
mod x86;

use super::Level;

/// The levels that have a kernel.
pub const LEVELS: [Level; 3] = Level::ALL;

/// From this many words on the wide kernels are worth their start.
const WIDE_FROM: usize = 16;

/// Appends to `found`, in rising order, each number whose bit is set in all three sets: bit `n % 64` of word `n / 64`. A set ends with its
/// words; what lies beyond is not in it.
///
/// # Panics
/// If the sets have members that 32 bits cannot name.
#[inline]
pub fn common(sets: [&[u64]; 3], found: &mut Vec<u32>) {
    #[cfg(target_arch = "x86_64")]
    if sets[0].len() >= WIDE_FROM {
        match super::level() {
            Level::Avx512 => return x86::avx512(sets, found),
            Level::Avx2 => return x86::avx2(sets, found),
            Level::Scalar => {}
        }
    }
    scalar(sets, found);
}

/// What [`common`] does, by one kernel.
pub type Intersection = fn([&[u64]; 3], &mut Vec<u32>);

/// The kernel of a level, however small the sets, for tests and measurements; `None` where this processor cannot run it.
pub fn kernel(level: Level) -> Option<Intersection> {
    match level {
        _ if !level.is_supported() => None,
        Level::Scalar => Some(scalar),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => Some(x86::avx2),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => Some(x86::avx512),
        #[cfg(not(target_arch = "x86_64"))]
        Level::Avx2 | Level::Avx512 => None,
    }
}

/// The sets cut to the shortest.
#[inline(always)]
fn cut([a, b, c]: [&[u64]; 3]) -> [&[u64]; 3] {
    let len = a.len().min(b.len()).min(c.len());
    assert!(len <= 1 << 26, "{len} words have members that 32 bits cannot name");
    [&a[..len], &b[..len], &c[..len]]
}

/// One word a step: the reference.
fn scalar(sets: [&[u64]; 3], found: &mut Vec<u32>) {
    rest(cut(sets), 0, found);
}

/// The words from `at` on of sets of equal length.
#[inline(always)]
fn rest([a, b, c]: [&[u64]; 3], at: usize, found: &mut Vec<u32>) {
    for (index, ((a, b), c)) in (at as u32..).zip(a[at..].iter().zip(&b[at..]).zip(&c[at..])) {
        let mut word = a & b & c;
        while word != 0 {
            found.push(index * 64 + word.trailing_zeros());
            word &= word - 1;
        }
    }
}
