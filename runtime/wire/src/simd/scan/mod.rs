//! Which of many words changed: readiness words against zeros, tails against heads.
//!
//! Medians on a Zen 4, slices alternating, ns scalar / AVX2 for 32, 128, 1,024 and 4,096 words: nothing changed 18 / 11, 45 / 24, 303 / 109,
//! 1,409 / 614; every eighth changed 21 / 14, 51 / 36, 623 / 244, 1,812 / 1,006; every second 25 / 25, 79 / 76, 803 / 583, 3,506 / 2,279.
//!
//! Not kept: AVX-512 (as fast as AVX2, for both read 64 bytes a cycle), and gathering words that lie each on a line of its own (AVX2 as
//! fast as scalar loads from 256 words and slower below, AVX-512 two to three times slower): there the lines are what it costs. So it is with
//! a receiver's look at the tails of lanes from other processes, each on a page of its own: 1,000 lanes of two rings take 10.3 µs, of which
//! bringing the tails into one array for this kernel would take 9.4 µs. (Letting each lane's rings begin two lines further into their page than the
//! lane's before, so that the tails spread over a cache's sets, makes no difference: 10.4 µs.)

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "assembly: words that another process may be writing, read by wide registers")]
mod x86;

use super::Level;
use std::sync::atomic::{AtomicU64, Ordering};

/// The levels that have a kernel.
pub const LEVELS: [Level; 2] = [Level::Scalar, Level::Avx2];

/// From this many words on the wide kernel is worth its start.
const WIDE_FROM: usize = 32;

/// Appends to `found`, in rising order, the index of each word of `now` that differs from its neighbour in `seen`. Each word is read
/// once, as by a relaxed load: whoever must not miss a change puts its own fence before. What is told is a hint to look there again.
///
/// # Panics
/// If the lengths differ, or are more than an index of 32 bits can name.
#[inline]
pub fn changed(now: &[AtomicU64], seen: &[u64], found: &mut Vec<u32>) {
    #[cfg(target_arch = "x86_64")]
    if now.len() >= WIDE_FROM && super::level() >= Level::Avx2 {
        return x86::avx2(now, seen, found);
    }
    scalar(now, seen, found);
}

/// What [`changed`] does, by one kernel.
pub type Scan = fn(&[AtomicU64], &[u64], &mut Vec<u32>);

/// The kernel of a level, however few the words, for tests and measurements; `None` where this processor cannot run it.
pub fn kernel(level: Level) -> Option<Scan> {
    match level {
        Level::Scalar => Some(scalar),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 if level.is_supported() => Some(x86::avx2),
        _ => None,
    }
}

fn check(now: &[AtomicU64], seen: &[u64]) {
    assert_eq!(now.len(), seen.len(), "each word has what was seen of it");
    assert!(u32::try_from(now.len()).is_ok(), "{} words are more than can be told", now.len());
}

/// One word a step: the reference.
fn scalar(now: &[AtomicU64], seen: &[u64], found: &mut Vec<u32>) {
    check(now, seen);
    rest(now, seen, 0, found);
}

/// The words from `at` on.
#[inline(always)]
fn rest(now: &[AtomicU64], seen: &[u64], at: usize, found: &mut Vec<u32>) {
    for (index, (now, seen)) in (at as u32..).zip(now[at..].iter().zip(&seen[at..])) {
        if now.load(Ordering::Relaxed) != *seen {
            found.push(index);
        }
    }
}
