//! CRC-32C (Castagnoli): polynomial 0x1EDC6F41 reflected, initial value and final xor of all ones. `"123456789"` gives 0xE3069283.
//!
//! [`append`] continues a checksum over more bytes, [`combine`] joins the checksums of two neighbours without their bytes.

use crate::simd;

/// The CRC-32C of `bytes`.
#[inline]
pub fn checksum(bytes: &[u8]) -> u32 {
    append(0, bytes)
}

/// The CRC-32C of what gave `crc`, followed by `bytes`.
#[inline]
pub fn append(crc: u32, bytes: &[u8]) -> u32 {
    simd::append(crc, bytes)
}

/// The CRC-32C of two pieces one after the other, from the checksum of each and the length of the second in bytes.
pub fn combine(first: u32, second: u32, second_len: usize) -> u32 {
    crc32c::crc32c_combine(first, second, second_len)
}
