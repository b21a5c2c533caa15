//! The subjects: one file each, all moving the same numbered messages.
//!
//! A message of N bytes is its number in the first eight and a pattern behind it, written whole by the sender; the
//! receiver checks the number and reads a word of every cache line.

pub mod channels;
#[cfg(feature = "queues")]
pub mod queues;
pub mod rtrb;
pub mod synod;

#[cfg(feature = "fabric")]
pub use synod::apart;

use std::hint::black_box;

/// Bytes a ring or queue holds, whatever the size of its messages.
pub const CAPACITY_BYTES: usize = 64 * 1024;

/// How many messages of `size` bytes a queue of the common capacity holds.
pub const fn places(size: usize) -> usize {
    CAPACITY_BYTES / size
}

/// What messages are made of.
pub static PATTERN: [u8; 1024] = [0xA5; 1024];

/// Writes the message with that number.
#[inline(always)]
pub fn fill(into: &mut [u8], number: u64) {
    let (head, rest) = into.split_at_mut(8);
    head.copy_from_slice(&number.to_ne_bytes());
    pattern(rest);
}

/// Writes what messages are made of.
#[inline(always)]
pub fn pattern(into: &mut [u8]) {
    match PATTERN.get(..into.len()) {
        Some(pattern) => into.copy_from_slice(pattern),
        None => into.fill(PATTERN[0]),
    }
}

/// The message with that number, by value.
#[inline(always)]
pub fn message<const N: usize>(number: u64) -> [u8; N] {
    let mut message = *PATTERN.first_chunk::<N>().expect("no message is longer than the pattern");
    message[..8].copy_from_slice(&number.to_ne_bytes());
    message
}

/// Reads a message, which must have that number.
#[inline(always)]
pub fn check(message: &[u8], number: u64) {
    let mut found = [0; 8];
    found.copy_from_slice(&message[..8]);
    let found = u64::from_ne_bytes(found);
    assert!(found == number, "message {found} where {number} comes next");
    touch(message, 64);
}

/// Reads a byte of every line from `first` on.
#[inline(always)]
pub fn touch(message: &[u8], first: usize) {
    let mut sum = 0u8;
    for byte in message.iter().skip(first).step_by(64) {
        sum = sum.wrapping_add(*byte);
    }
    black_box(sum);
}
