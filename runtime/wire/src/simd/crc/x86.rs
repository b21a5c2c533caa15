//! CRC-32C by carry-less multiplication (Gopal and others, "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ", Intel 2009).
//!
//! A message is folded: a piece is multiplied by the remainder of `x` to the power of the distance to a later piece, and added to that
//! one, until 16 bytes are left; the processor's CRC instruction reduces those, and the bytes after the last whole block.
//! Nothing is read outside of the slice, and no alignment is assumed.

use std::arch::x86_64::*;

/// Whether [`clmul128`] may be called.
pub(super) fn has_clmul128() -> bool {
    is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("pclmulqdq")
}

/// Whether [`clmul256`] may be called.
pub(super) fn has_clmul256() -> bool {
    has_clmul128() && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("vpclmulqdq")
}

/// Whether [`clmul512`] may be called.
pub(super) fn has_clmul512() -> bool {
    has_clmul256() && is_x86_feature_detected!("avx512f")
}

/// Continues `crc` over `bytes`. Only [`super::Kernel::function`] and [`super::append`] call this, after [`has_clmul128`] said yes.
#[inline]
pub(super) fn clmul128(crc: u32, bytes: &[u8]) -> u32 {
    // SAFETY: the callers detected every feature that the function is compiled for.
    unsafe { by_128(crc, bytes) }
}

/// Continues `crc` over `bytes`. Only called after [`has_clmul256`] said yes.
#[inline]
pub(super) fn clmul256(crc: u32, bytes: &[u8]) -> u32 {
    // SAFETY: the callers detected every feature that the function is compiled for.
    unsafe { by_256(crc, bytes) }
}

/// Continues `crc` over `bytes`. Only called after [`has_clmul512`] said yes.
#[inline]
pub(super) fn clmul512(crc: u32, bytes: &[u8]) -> u32 {
    // SAFETY: the callers detected every feature that the function is compiled for.
    unsafe { by_512(crc, bytes) }
}

/// The two multipliers that move 16 bytes forward by `bits`: for the low half (the earlier bytes) and for the high half.
const fn forward(bits: u32) -> [i64; 2] {
    [reflected_power(bits + 32), reflected_power(bits - 32)]
}

/// The remainder of `x` to the `exponent`, bit-reflected, in the position that a product of reflected factors needs.
const fn reflected_power(exponent: u32) -> i64 {
    let mut remainder: u32 = 1 << 31;
    let mut step = 0;
    while step < exponent {
        remainder = remainder >> 1 ^ if remainder & 1 == 1 { super::scalar::POLYNOMIAL } else { 0 };
        step += 1;
    }
    (remainder as i64) << 1
}

const BY_128: [i64; 2] = forward(128);
const BY_256: [i64; 2] = forward(256);
const BY_384: [i64; 2] = forward(384);
const BY_512: [i64; 2] = forward(512);
const BY_1024: [i64; 2] = forward(1024);
const BY_2048: [i64; 2] = forward(2048);

#[inline]
#[target_feature(enable = "sse4.2,pclmulqdq")]
fn pair([low, high]: [i64; 2]) -> __m128i {
    _mm_set_epi64x(high, low)
}

#[inline]
#[target_feature(enable = "sse4.2,pclmulqdq")]
fn load_128(block: &[u8; 16]) -> __m128i {
    // SAFETY: the reference covers 16 readable bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse4.2,pclmulqdq")]
fn fold_128(state: __m128i, by: __m128i, next: __m128i) -> __m128i {
    let low = _mm_clmulepi64_si128::<0x00>(state, by);
    let high = _mm_clmulepi64_si128::<0x11>(state, by);
    _mm_xor_si128(_mm_xor_si128(low, high), next)
}

/// The remainder of 16 folded bytes.
#[inline]
#[target_feature(enable = "sse4.2,pclmulqdq")]
fn reduce(state: __m128i) -> u32 {
    let low = _mm_crc32_u64(0, _mm_cvtsi128_si64(state) as u64);
    _mm_crc32_u64(low, _mm_extract_epi64::<1>(state) as u64) as u32
}

/// Continues an inverted state over bytes that are too few to fold.
#[inline]
#[target_feature(enable = "sse4.2,pclmulqdq")]
fn finish(state: u32, bytes: &[u8]) -> u32 {
    let (words, mut tail) = bytes.as_chunks::<8>();
    let mut wide = u64::from(state);
    for word in words {
        wide = _mm_crc32_u64(wide, u64::from_le_bytes(*word));
    }
    let mut state = wide as u32;
    if let Some((four, rest)) = tail.split_first_chunk::<4>() {
        state = _mm_crc32_u32(state, u32::from_le_bytes(*four));
        tail = rest;
    }
    if let Some((two, rest)) = tail.split_first_chunk::<2>() {
        state = _mm_crc32_u16(state, u16::from_le_bytes(*two));
        tail = rest;
    }
    if let Some(&one) = tail.first() {
        state = _mm_crc32_u8(state, one);
    }
    state
}

#[target_feature(enable = "sse4.2,pclmulqdq")]
fn by_128(crc: u32, bytes: &[u8]) -> u32 {
    let (blocks, tail) = bytes.as_chunks::<16>();
    let start = _mm_cvtsi32_si128(!crc as i32);
    let Some((first, mut blocks)) = blocks.split_first_chunk::<4>() else {
        return !finish(!crc, bytes);
    };
    let mut lanes = first.each_ref().map(|block| load_128(block));
    lanes[0] = _mm_xor_si128(lanes[0], start);
    let by = pair(BY_512);
    while let Some((next, rest)) = blocks.split_first_chunk::<4>() {
        for (lane, block) in lanes.iter_mut().zip(next) {
            *lane = fold_128(*lane, by, load_128(block));
        }
        blocks = rest;
    }
    let by = pair(BY_128);
    let [a, b, c, d] = lanes;
    let mut state = fold_128(fold_128(fold_128(a, by, b), by, c), by, d);
    for block in blocks {
        state = fold_128(state, by, load_128(block));
    }
    !finish(reduce(state), tail)
}

#[inline]
#[target_feature(enable = "avx2,vpclmulqdq,sse4.2,pclmulqdq")]
fn load_256(block: &[u8; 32]) -> __m256i {
    // SAFETY: the reference covers 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(block.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,vpclmulqdq,sse4.2,pclmulqdq")]
fn fold_256(state: __m256i, by: __m256i, next: __m256i) -> __m256i {
    let low = _mm256_clmulepi64_epi128::<0x00>(state, by);
    let high = _mm256_clmulepi64_epi128::<0x11>(state, by);
    _mm256_xor_si256(_mm256_xor_si256(low, high), next)
}

#[target_feature(enable = "avx2,vpclmulqdq,sse4.2,pclmulqdq")]
fn by_256(crc: u32, bytes: &[u8]) -> u32 {
    let (blocks, tail) = bytes.as_chunks::<32>();
    let Some((first, mut blocks)) = blocks.split_first() else {
        return !finish(!crc, bytes);
    };
    let start = _mm256_zextsi128_si256(_mm_cvtsi32_si128(!crc as i32));
    let mut state = _mm256_xor_si256(load_256(first), start);
    let by = _mm256_broadcastsi128_si256(pair(BY_256));
    if let Some((next, rest)) = blocks.split_first_chunk::<3>() {
        let mut lanes = [state, load_256(&next[0]), load_256(&next[1]), load_256(&next[2])];
        blocks = rest;
        let far = _mm256_broadcastsi128_si256(pair(BY_1024));
        while let Some((next, rest)) = blocks.split_first_chunk::<4>() {
            for (lane, block) in lanes.iter_mut().zip(next) {
                *lane = fold_256(*lane, far, load_256(block));
            }
            blocks = rest;
        }
        let [a, b, c, d] = lanes;
        state = fold_256(fold_256(fold_256(a, by, b), by, c), by, d);
    }
    for block in blocks {
        state = fold_256(state, by, load_256(block));
    }
    let (early, late) = (_mm256_castsi256_si128(state), _mm256_extracti128_si256::<1>(state));
    !finish(reduce(fold_128(early, pair(BY_128), late)), tail)
}

#[inline]
#[target_feature(enable = "avx512f,avx2,vpclmulqdq,sse4.2,pclmulqdq")]
fn load_512(block: &[u8; 64]) -> __m512i {
    // SAFETY: the reference covers 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(block.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx2,vpclmulqdq,sse4.2,pclmulqdq")]
fn fold_512(state: __m512i, by: __m512i, next: __m512i) -> __m512i {
    let low = _mm512_clmulepi64_epi128::<0x00>(state, by);
    let high = _mm512_clmulepi64_epi128::<0x11>(state, by);
    // Truth table 0x96 is a three-way exclusive or.
    _mm512_ternarylogic_epi64::<0x96>(low, high, next)
}

#[target_feature(enable = "avx512f,avx2,vpclmulqdq,sse4.2,pclmulqdq")]
fn by_512(crc: u32, bytes: &[u8]) -> u32 {
    let (blocks, tail) = bytes.as_chunks::<64>();
    let Some((first, mut blocks)) = blocks.split_first() else {
        return !finish(!crc, bytes);
    };
    let start = _mm512_zextsi128_si512(_mm_cvtsi32_si128(!crc as i32));
    let mut state = _mm512_xor_si512(load_512(first), start);
    let by = _mm512_broadcast_i32x4(pair(BY_512));
    if let Some((next, rest)) = blocks.split_first_chunk::<3>() {
        let mut lanes = [state, load_512(&next[0]), load_512(&next[1]), load_512(&next[2])];
        blocks = rest;
        let far = _mm512_broadcast_i32x4(pair(BY_2048));
        while let Some((next, rest)) = blocks.split_first_chunk::<4>() {
            for (lane, block) in lanes.iter_mut().zip(next) {
                *lane = fold_512(*lane, far, load_512(block));
            }
            blocks = rest;
        }
        let [a, b, c, d] = lanes;
        state = fold_512(fold_512(fold_512(a, by, b), by, c), by, d);
    }
    for block in blocks {
        state = fold_512(state, by, load_512(block));
    }
    // The first three quarters move to the fourth at once, each by its own distance.
    let [a, b, c] = [BY_384, BY_256, BY_128];
    let by = _mm512_set_epi64(0, 0, c[1], c[0], b[1], b[0], a[1], a[0]);
    let low = _mm512_clmulepi64_epi128::<0x00>(state, by);
    let high = _mm512_clmulepi64_epi128::<0x11>(state, by);
    let moved = _mm512_xor_si512(low, high);
    let half = _mm256_xor_si256(_mm512_castsi512_si256(moved), _mm512_extracti64x4_epi64::<1>(moved));
    let quarter = _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
    let last = _mm512_extracti32x4_epi32::<3>(state);
    !finish(reduce(_mm_xor_si128(quarter, last)), tail)
}
