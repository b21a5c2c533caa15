//! Our ring. Its sixteen-byte header carries the message's number, length and tag, so a message of N bytes is that header and
//! N − 16 bytes of payload: the same bytes in memory as a peer's. [`Apart`] gives the payload all N, with the header on top.

use super::{CAPACITY_BYTES, PATTERN, check, fill, touch};
use crate::measure::{Receiver, Sender};
use synod_ring::spsc::{Waiters, heap};
use synod_ring::{ClaimError, Consumer, Producer, Taken};

/// What every record says in its four bytes.
pub const TAG: synod_ring::Tag = [1, 0, 0, 0];
/// Bytes of a record's header.
pub const HEADER: usize = synod_ring::layout::HEADER;

/// A ring whose N-byte messages include the header.
pub struct Whole<E, const N: usize>(pub E);

/// A ring whose N-byte messages are payload.
pub struct Apart<E, const N: usize>(pub E);

/// Both ends of a ring of the common capacity.
pub fn ends(waiters: Waiters) -> (Producer, Consumer) {
    heap(CAPACITY_BYTES, waiters).expect("the capacity is a power of two")
}

/// A ring, headers included. Its reader does nothing but read, and says so.
pub fn whole<const N: usize>() -> (Whole<Producer, N>, Whole<Consumer, N>) {
    let (producer, consumer) = ends(Waiters::default());
    (Whole(producer), Whole(consumer.paced()))
}

/// A ring, headers apart.
pub fn apart<const N: usize>() -> (Apart<Producer, N>, Apart<Consumer, N>) {
    let (producer, consumer) = ends(Waiters::default());
    (Apart(producer), Apart(consumer.paced()))
}

/// Sends up to `count` records of `len` bytes as one batch.
#[inline(always)]
pub fn send(
    producer: &mut Producer,
    count: usize,
    len: usize,
    mut write: impl FnMut(&mut [u8], u64),
) -> usize {
    if count == 1 {
        let mut claim = match producer.claim(len) {
            Ok(claim) => claim,
            Err(refused) => return full(refused),
        };
        write(claim.payload(), 0);
        claim.commit(TAG);
        producer.publish();
        return 1;
    }
    let mut batch = producer.batch();
    let mut sent = 0;
    while sent < count {
        match batch.write(TAG, len, |payload| write(payload, sent as u64)) {
            Ok(_) => sent += 1,
            Err(refused) => {
                full(refused);
                break;
            }
        }
    }
    batch.publish();
    sent
}

/// Nothing more was taken, and that for the one good reason.
#[cold]
pub fn full(refused: ClaimError) -> usize {
    assert_eq!(refused, ClaimError::Full);
    0
}

#[inline(always)]
fn receive(consumer: &mut Consumer, count: usize, mut read: impl FnMut(&[u8], u64, u64)) -> usize {
    if count == 1 {
        let Some(record) = consumer.peek().expect("the sender keeps the rules") else { return 0 };
        read(record.payload(), record.sequence(), 0);
        record.free();
        return 1;
    }
    let mut received = 0;
    let drained = consumer.drain(count, |record| {
        read(record.payload(), record.sequence(), received);
        received += 1;
        Taken::Yes
    });
    drained.expect("the sender keeps the rules")
}

impl<const N: usize> Sender for Whole<Producer, N> {
    #[inline(always)]
    fn send(&mut self, number: u64, count: usize) -> usize {
        debug_assert_eq!(self.0.next_sequence(), number);
        send(&mut self.0, count, N - HEADER, |payload, _| payload.copy_from_slice(&PATTERN[..N - HEADER]))
    }
}

impl<const N: usize> Receiver for Whole<Consumer, N> {
    #[inline(always)]
    fn receive(&mut self, number: u64, count: usize) -> usize {
        receive(&mut self.0, count, |payload, sequence, offset| {
            assert!(
                sequence == number + offset && payload.len() == N - HEADER,
                "another message than the next"
            );
            touch(payload, 64 - HEADER);
        })
    }
}

impl<const N: usize> Sender for Apart<Producer, N> {
    #[inline(always)]
    fn send(&mut self, number: u64, count: usize) -> usize {
        send(&mut self.0, count, N, |payload, offset| fill(payload, number + offset))
    }
}

impl<const N: usize> Receiver for Apart<Consumer, N> {
    #[inline(always)]
    fn receive(&mut self, number: u64, count: usize) -> usize {
        receive(&mut self.0, count, |payload, _, offset| check(payload, number + offset))
    }
}
