//! What a process that means harm needs to know, and the parsers that it meets: for the fuzzer and for tests that play one.

use super::control::{Ask, Tell};
use super::shape::Shape;
use super::spool;

/// Bytes of a mailbox's control page.
pub const PAGE_LEN: usize = crate::intake::CONTROL_LEN;

/// Reads what a process says to its node, and writes it again.
pub fn ask(frame: &[u8]) -> Option<Vec<u8>> {
    Ask::decode(frame).ok().map(|ask| ask.encode())
}

/// Reads what a node says to a process, and writes it again.
pub fn tell(frame: &[u8]) -> Option<Vec<u8>> {
    Tell::decode(frame).ok().and_then(|tell| tell.encode().ok())
}

/// Bytes of the receiver's region of a lane, and where in it slots are given back: a count, and from the eighth word on their names.
pub fn receiver_len(ring: u32, edges: u16) -> Option<(usize, usize)> {
    let shape = Shape { ring, edges };
    shape.is_good().then(|| (shape.receiver_len(), shape.returns()))
}

/// Reads a record of a spool, and writes it again.
pub fn kept(record: &[u8]) -> Option<Vec<u8>> {
    spool::again(record)
}

/// Bytes of the sender's region of a lane, if there can be such a lane.
pub fn sender_len(ring: u32, edges: u16) -> Option<usize> {
    let shape = Shape { ring, edges };
    shape.is_good().then(|| shape.sender_len())
}
