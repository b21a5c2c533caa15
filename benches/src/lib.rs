//! Criterion benchmarks of the hot paths: `cargo bench -p synod-benches`, one suite a file in `suites/`.
//!
//! They tell one version of this tree from another on one machine. How we stand beside others is measured by `cargo peers`, with both
//! sides in one process. Here is only what the suites share: which sizes are measured.

/// Payload lengths, bytes: what shares a line with a record's header, small, and a page-like message.
pub const PAYLOADS: [usize; 3] = [48, 256, 1024];

/// A payload of `len` bytes without a pattern that a kernel could profit from.
pub fn payload(len: usize) -> Vec<u8> {
    (0..len as u64).map(|byte| (byte.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_payload_has_the_length_asked_for_and_is_not_uniform() {
        let payload = super::payload(300);
        assert_eq!(payload.len(), 300);
        assert!(payload.iter().any(|byte| *byte != payload[0]));
    }
}
