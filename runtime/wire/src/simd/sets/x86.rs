//! Eight words a step; words without members are stepped over together.

use super::{cut, rest};
use std::arch::x86_64::*;

/// A step with more members than this has them written sixteen at a time.
const DENSE: usize = 64;

/// Eight words on a line of their own: stored at once, read one by one, and a store that crosses lines would be waited for.
#[repr(C, align(64))]
struct Step([u64; 8]);

/// By 256 bits. Only [`super::kernel`] and [`super::common`] call this, where the level is supported.
#[inline]
pub(super) fn avx2(sets: [&[u64]; 3], found: &mut Vec<u32>) {
    // SAFETY: the callers asked whether the processor can run it.
    unsafe { by_256(sets, found) }
}

/// By 512 bits. Called as [`avx2`] is.
#[inline]
pub(super) fn avx512(sets: [&[u64]; 3], found: &mut Vec<u32>) {
    // SAFETY: the callers asked whether the processor can run it.
    unsafe { by_512(sets, found) }
}

/// The sets in steps of eight words, and the index of the first word that no step covers.
#[inline(always)]
fn steps([a, b, c]: [&[u64]; 3]) -> (impl Iterator<Item = [&[u64; 8]; 3]>, usize) {
    let (a, b, c) = (a.as_chunks().0, b.as_chunks().0, c.as_chunks().0);
    (a.iter().zip(b).zip(c).map(|((a, b), c)| [a, b, c]), a.len() * 8)
}

#[target_feature(enable = "avx2,popcnt")]
fn by_256(sets: [&[u64]; 3], found: &mut Vec<u32>) {
    let sets = cut(sets);
    let (steps, covered) = steps(sets);
    for (step, [a, b, c]) in steps.enumerate() {
        let half = |from: usize| {
            // SAFETY: four words of each, `from` being 0 or 4 of 8.
            let load = |words: &[u64; 8]| unsafe { _mm256_loadu_si256(words.as_ptr().add(from).cast()) };
            _mm256_and_si256(_mm256_and_si256(load(a), load(b)), load(c))
        };
        let (low, high) = (half(0), half(4));
        let any = _mm256_or_si256(low, high);
        if _mm256_testz_si256(any, any) == 1 {
            continue;
        }
        let mut words = Step([0; 8]);
        // SAFETY: four words and four words.
        unsafe {
            _mm256_storeu_si256(words.0.as_mut_ptr().cast(), low);
            _mm256_storeu_si256(words.0.as_mut_ptr().add(4).cast(), high);
        }
        tell(&words, count(&words), step, found);
    }
    rest(sets, covered, found);
}

#[target_feature(enable = "avx512f,popcnt")]
fn by_512(sets: [&[u64]; 3], found: &mut Vec<u32>) {
    let sets = cut(sets);
    let (steps, covered) = steps(sets);
    for (step, three) in steps.enumerate() {
        // SAFETY: eight words of each.
        let [a, b, c] = three.map(|words| unsafe { _mm512_loadu_si512(words.as_ptr().cast()) });
        // Truth table 0x80 is a three-way and.
        let common = _mm512_ternarylogic_epi64::<0x80>(a, b, c);
        if _mm512_test_epi64_mask(common, common) == 0 {
            continue;
        }
        let mut words = Step([0; 8]);
        // SAFETY: eight words.
        unsafe { _mm512_storeu_si512(words.0.as_mut_ptr().cast(), common) };
        match count(&words) {
            few @ ..DENSE => tell(&words, few, step, found),
            many => tell_dense(&words, many, step, found),
        }
    }
    rest(sets, covered, found);
}

/// How many members eight words have.
#[inline]
#[target_feature(enable = "popcnt")]
fn count(words: &Step) -> usize {
    words.0.iter().map(|word| word.count_ones() as usize).sum()
}

/// Appends the `count` members in the eight words of a step.
#[inline]
#[target_feature(enable = "popcnt")]
fn tell(words: &Step, count: usize, step: usize, found: &mut Vec<u32>) {
    found.reserve(count);
    let mut next = found.spare_capacity_mut().as_mut_ptr().cast::<u32>();
    for (first, mut word) in (step as u32 * 512..).step_by(64).zip(words.0) {
        while word != 0 {
            // SAFETY: room was made for as many numbers as there are bits.
            unsafe {
                next.write(first + word.trailing_zeros());
                next = next.add(1);
            }
            word &= word - 1;
        }
    }
    // SAFETY: as many numbers were written as there are bits.
    unsafe { found.set_len(found.len() + count) };
}

/// As [`tell`], sixteen bits at a time.
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn tell_dense(words: &Step, count: usize, step: usize, found: &mut Vec<u32>) {
    // Sixteen numbers are written, of which those count that are members.
    found.reserve(count + 16);
    let mut next = found.spare_capacity_mut().as_mut_ptr().cast::<u32>();
    let mut numbers = _mm512_add_epi32(
        _mm512_set1_epi32(step as i32 * 512),
        _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
    );
    for bits in words.0.into_iter().flat_map(|word| [0, 16, 32, 48].map(|shift| (word >> shift) as u16)) {
        let members = _mm512_maskz_compress_epi32(bits, numbers);
        // SAFETY: room was made for as many numbers as there are bits, and sixteen more.
        unsafe {
            _mm512_storeu_si512(next.cast(), members);
            next = next.add(bits.count_ones() as usize);
        }
        numbers = _mm512_add_epi32(numbers, _mm512_set1_epi32(16));
    }
    // SAFETY: as many numbers were written as there are bits.
    unsafe { found.set_len(found.len() + count) };
}
