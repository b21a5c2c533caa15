//! CRC-32C: known answers, every kernel equal to the scalar one at every short length and alignment, and pieces that add up.

use proptest::prelude::*;
use synod_wire::crc;
use synod_wire::simd::{self, Kernel, Level};

type Append = fn(u32, &[u8]) -> u32;

/// The kernels that this processor can run; says which it cannot.
fn kernels() -> impl Iterator<Item = (Kernel, Append)> {
    Kernel::ALL.into_iter().filter_map(|kernel| {
        let function = kernel.function();
        if function.is_none() {
            println!("CRC-32C by {kernel}: unavailable: needs {}", kernel.needs());
        }
        assert_eq!(function.is_some(), kernel.is_supported(), "{kernel}");
        Some((kernel, function?))
    })
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// One bit at a time, from the definition: shares nothing with the kernels.
fn by_definition(bytes: &[u8]) -> u32 {
    let mut state = !0u32;
    for &byte in bytes {
        state ^= u32::from(byte);
        for _ in 0..8 {
            state = state >> 1 ^ if state & 1 == 1 { 0x82F6_3B78 } else { 0 };
        }
    }
    !state
}

#[test]
fn known_answers_come_out_of_every_kernel() {
    let rising: Vec<u8> = (0..32).collect();
    let falling: Vec<u8> = (0..32).rev().collect();
    // The last four are those of RFC 3720, B.4.
    let known: [(&[u8], u32); 6] = [
        (b"", 0),
        (b"123456789", 0xE306_9283),
        (&[0; 32], 0x8A91_36AA),
        (&[0xFF; 32], 0x62A8_AB43),
        (&rising, 0x46DD_794E),
        (&falling, 0x113F_DB5C),
    ];
    for (kernel, append) in kernels() {
        for (bytes, answer) in known {
            assert_eq!(append(0, bytes), answer, "{kernel} over {} bytes", bytes.len());
        }
    }
    assert_eq!(crc::checksum(b"123456789"), 0xE306_9283);
}

#[test]
fn every_kernel_equals_the_scalar_one_for_lengths_to_4096_at_all_64_alignments() {
    let bytes = noise(64 + 4096 + 64);
    let base = bytes.as_ptr().align_offset(64);
    let scalar = Kernel::Scalar.function().expect("the scalar kernel runs everywhere");
    let others: Vec<_> = kernels().skip(1).collect();
    for alignment in 0..64 {
        for len in 0..=4096 {
            let piece = &bytes[base + alignment..][..len];
            let start = (len as u32).wrapping_mul(0x9E37_79B9);
            let expected = scalar(start, piece);
            for &(kernel, append) in &others {
                assert_eq!(append(start, piece), expected, "{kernel}: {len} bytes at alignment {alignment}");
            }
        }
    }
}

#[test]
fn the_scalar_kernel_follows_the_definition() {
    let bytes = noise(600);
    let scalar = Kernel::Scalar.function().expect("the scalar kernel runs everywhere");
    for len in 0..bytes.len() {
        assert_eq!(scalar(0, &bytes[..len]), by_definition(&bytes[..len]), "{len} bytes");
    }
}

#[test]
fn large_blocks_agree_over_every_kernel_and_the_choice() {
    let bytes = noise((1 << 20) + 77);
    let expected = crc32c::crc32c(&bytes);
    for (kernel, append) in kernels() {
        assert_eq!(append(0, &bytes), expected, "{kernel}");
    }
    assert_eq!(crc::checksum(&bytes), expected);
}

#[test]
fn forcing_scalar_shows_and_can_be_taken_back() {
    let before = simd::chosen();
    simd::force_scalar(true);
    assert_eq!((simd::chosen(), simd::level()), (Kernel::Scalar, Level::Scalar));
    assert!(simd::kernels().iter().all(|(_, kernel)| *kernel == "scalar"), "{:?}", simd::kernels());
    assert_eq!(crc::checksum(b"123456789"), 0xE306_9283);
    simd::force_scalar(false);
    assert_eq!(simd::chosen(), before);
    assert!(before.is_supported() && simd::level().is_supported());
    assert_eq!(simd::kernels()[0], ("crc32c", before.name()));
}

proptest! {
    #[test]
    fn pieces_add_up_whether_continued_or_combined(
        bytes in proptest::collection::vec(any::<u8>(), 0..9000),
        cut in any::<proptest::sample::Index>(),
    ) {
        let cut = cut.index(bytes.len() + 1);
        let (first, second) = bytes.split_at(cut);
        let whole = crc::checksum(&bytes);
        prop_assert_eq!(crc::append(crc::checksum(first), second), whole);
        prop_assert_eq!(crc::combine(crc::checksum(first), crc::checksum(second), second.len()), whole);
        prop_assert_eq!(by_definition(&bytes), whole);
    }
}
