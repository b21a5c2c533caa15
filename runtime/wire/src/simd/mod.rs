//! The kernels that compute CRC-32C, and the choice among them.

/// Continues the CRC-32C `crc` over `bytes`.
#[inline]
pub fn append(crc: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, bytes)
}
