//! rtrb: push and pop of one element, and its chunks, written and read in place.

use super::{check, fill, message, places};
use crate::measure::{Receiver, Sender};
use rtrb::{Consumer, Producer, RingBuffer};
use std::mem::MaybeUninit;

/// One element at a time, by value.
pub struct Single<E>(pub E);

/// As many elements as the batch has, in place.
pub struct Chunk<E>(pub E);

/// The writing end for messages of N bytes, and the reading one.
type Writing<const N: usize> = Producer<[u8; N]>;
type Reading<const N: usize> = Consumer<[u8; N]>;

/// A ring for single elements.
pub fn single<const N: usize>() -> (Single<Writing<N>>, Single<Reading<N>>) {
    let (producer, consumer) = RingBuffer::new(places(N));
    (Single(producer), Single(consumer))
}

/// A ring for chunks.
pub fn chunk<const N: usize>() -> (Chunk<Writing<N>>, Chunk<Reading<N>>) {
    let (producer, consumer) = RingBuffer::new(places(N));
    (Chunk(producer), Chunk(consumer))
}

impl<const N: usize> Sender for Single<Writing<N>> {
    #[inline(always)]
    fn send(&mut self, number: u64, count: usize) -> usize {
        for sent in 0..count {
            if self.0.push(message(number + sent as u64)).is_err() {
                return sent;
            }
        }
        count
    }
}

impl<const N: usize> Receiver for Single<Reading<N>> {
    #[inline(always)]
    fn receive(&mut self, number: u64, count: usize) -> usize {
        for received in 0..count {
            match self.0.pop() {
                Ok(message) => check(&message, number + received as u64),
                Err(_) => return received,
            }
        }
        count
    }
}

impl<const N: usize> Sender for Chunk<Writing<N>> {
    #[inline(always)]
    fn send(&mut self, number: u64, count: usize) -> usize {
        let count = if self.0.cached_slots() >= count { count } else { self.0.slots().min(count) };
        let Ok(mut chunk) = self.0.write_chunk_uninit(count) else { return 0 };
        let (first, second) = chunk.as_mut_slices();
        for (offset, place) in first.iter_mut().chain(second).enumerate() {
            fill(initialised(place), number + offset as u64);
        }
        // SAFETY: every element of the chunk was written above.
        unsafe { chunk.commit_all() };
        count
    }
}

/// The element as bytes that may be written.
#[inline(always)]
fn initialised<const N: usize>(place: &mut MaybeUninit<[u8; N]>) -> &mut [u8; N] {
    // SAFETY: the queue's memory is written before anything is read: bytes have no invalid values, and `fill` writes all.
    unsafe { &mut *place.as_mut_ptr() }
}

impl<const N: usize> Receiver for Chunk<Reading<N>> {
    #[inline(always)]
    fn receive(&mut self, number: u64, count: usize) -> usize {
        let count = if self.0.cached_slots() >= count { count } else { self.0.slots().min(count) };
        let Ok(chunk) = self.0.read_chunk(count) else { return 0 };
        let (first, second) = chunk.as_slices();
        for (offset, message) in first.iter().chain(second).enumerate() {
            check(message, number + offset as u64);
        }
        chunk.commit_all();
        count
    }
}
