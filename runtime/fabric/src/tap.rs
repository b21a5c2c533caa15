//! Taps: who watches what others publish, without being on the way of it.
//!
//! After a message has gone to those who receive it, whoever taps its subject is sent how long it is and how it begins, never more: no memory
//! of the sender's waits for a tap. What finds no room there is counted and gone, so that a tap holds up nobody. To a tap whose lane is
//! being made the first few wait.

use std::cell::RefCell;
use std::collections::VecDeque;

use synod_probe::reach;
use synod_wire::Priority;

use crate::lane::Body;
use crate::message::{Payload, Refusal};
use crate::route::{Sending, Target};

/// The most bytes of a payload that a tap sees.
pub const TAP_HEAD: usize = 120;

/// Bytes before them: how long the payload is.
const LEN: usize = 8;

/// The most that wait until the lane to a tap is there.
const EARLY: usize = 64;

/// What a tap is sent of a message.
pub(crate) struct Glance {
    bytes: [u8; LEN + TAP_HEAD],
    len: usize,
}

impl Glance {
    pub fn at(body: Body<'_>) -> Self {
        let head = body.len().min(TAP_HEAD);
        let mut bytes = [0; LEN + TAP_HEAD];
        bytes[..LEN].copy_from_slice(&(body.len() as u64).to_le_bytes());
        match body {
            Body::Slice(slice) => bytes[LEN..LEN + head].copy_from_slice(&slice[..head]),
            Body::Shared(payload) => payload.copy_to(0..head, &mut bytes[LEN..LEN + head]),
        }
        Self { bytes, len: LEN + head }
    }

    /// How long the payload is, and how it begins, as it came; nothing if that is no glance.
    pub fn read(bytes: &[u8]) -> Option<(u64, &[u8])> {
        let (len, head) = bytes.split_first_chunk::<LEN>()?;
        Some((u64::from_le_bytes(*len), head))
    }
}

/// A tap, as a sender sees it.
pub(crate) struct Tapped {
    target: Target,
    early: RefCell<VecDeque<(Priority, Payload)>>,
}

impl Tapped {
    pub fn new(target: Target) -> Self {
        Self { target, early: RefCell::default() }
    }

    /// Where it is.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Shows it a message, if there is room.
    pub fn show(&self, priority: Priority, glance: &Glance) {
        let bytes = &glance.bytes[..glance.len];
        let mut early = self.early.borrow_mut();
        let shown = match early.is_empty() {
            true => self.put(priority, Body::Slice(bytes)),
            false => Err(Refusal::Opening),
        };
        match shown {
            Ok(()) => {}
            Err(Refusal::Opening) if early.len() < EARLY => {
                early.push_back((priority, Payload::copy_from(bytes)));
            }
            Err(_) => self.lose(),
        }
    }

    /// Shows it what waits for its lane, if that is there by now.
    pub fn flush(&self) {
        let mut early = self.early.borrow_mut();
        while let Some((priority, payload)) = early.front() {
            match self.put(*priority, Body::Shared(payload)) {
                Err(Refusal::Opening) => return,
                Err(_) => self.lose(),
                Ok(()) => {}
            }
            early.pop_front();
        }
    }

    fn put(&self, priority: Priority, body: Body<'_>) -> Result<(), Refusal> {
        self.target.offer(Sending { priority, deadline: 0, correlation: 0, body })
    }

    fn lose(&self) {
        reach!("fabric.tap_lost");
        self.target.edge.count_refused();
    }
}

impl Drop for Tapped {
    fn drop(&mut self) {
        self.early.take().iter().for_each(|_| self.lose());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_tells_the_length_of_all_and_the_beginning() {
        for len in [0, 1, TAP_HEAD, TAP_HEAD + 1, 100_000] {
            let payload = vec![7; len];
            let glance = Glance::at(Body::Slice(&payload));
            let (told, head) = Glance::read(&glance.bytes[..glance.len]).unwrap();
            assert_eq!((told, head), (len as u64, &payload[..len.min(TAP_HEAD)]));
        }
        assert_eq!(Glance::read(b"short"), None);
    }
}
