//! What copying alone takes: a message copied into shared memory by one process and out of it by the other, with a word of one
//! cache line to say so.

use super::bare::{bounce, bounce_back};
use super::{Job, Meeting, Page, Pair, Tally, UNDER_WAY, now};
use crate::measure::{Idle, Plan, Reading, each};
use rustix::io::dup;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Two copies and a word.
pub struct Copies;

/// The shared memory, and a message of this process's own.
struct Copier {
    shared: Page,
    own: Vec<u8>,
}

impl Copier {
    fn new(meeting: &Meeting, size: usize) -> Self {
        let shared = Page::of(dup(&meeting.brought[0]).expect("a descriptor"));
        Self { shared, own: vec![0xA5; size] }
    }

    fn place(&self, number: u64) -> *mut u8 {
        self.shared.bytes(self.own.len() * (number % UNDER_WAY as u64) as usize, self.own.len())
    }

    fn copy_in(&mut self, number: u64) {
        let len = self.own.len();
        self.own[..8].copy_from_slice(&number.to_ne_bytes());
        // SAFETY: both are as long; the other process does not look before the word says so.
        unsafe { self.place(number).copy_from_nonoverlapping(self.own.as_ptr(), len) };
    }

    fn copy_out(&mut self, number: u64) {
        let (from, len) = (self.place(number), self.own.len());
        // SAFETY: both are as long; the other process does not write before the word says so.
        unsafe { self.own.as_mut_ptr().copy_from_nonoverlapping(from, len) };
        assert_eq!(self.own[..8], number.to_ne_bytes(), "another message than the next");
    }
}

impl Pair for Copies {
    fn name(&self) -> &'static str {
        "two copies"
    }

    fn bring(&self, job: Job) -> Vec<OwnedFd> {
        let (Job::RoundTrip { size } | Job::Large { size, .. }) = job else { return Vec::new() };
        vec![dup(Page::with(2 * UNDER_WAY * size).as_fd()).expect("a descriptor")]
    }

    fn measure(&self, meeting: &Meeting, job: Job, plan: &Plan) -> Reading {
        match job {
            Job::RoundTrip { size } => {
                let copier = std::cell::RefCell::new(Copier::new(meeting, size));
                // Each direction has places of its own: even numbers there, odd ones back.
                let copy_in = |number| copier.borrow_mut().copy_in(2 * number);
                bounce(meeting, plan, copy_in, |number| copier.borrow_mut().copy_out(2 * number + 1))
            }
            Job::Large { size, .. } => {
                let mut copier = Copier::new(meeting, size);
                meeting.page.gather(1);
                let (there, back) = (meeting.page.word(Tally::There), meeting.page.word(Tally::Back));
                let mut post = |number: u64| {
                    let mut idle = Idle::default();
                    while number - back.load(Ordering::Acquire) >= UNDER_WAY as u64 {
                        idle.wait();
                    }
                    copier.copy_in(number);
                    there.store(number + 1, Ordering::Release);
                };
                // The first in each place finds its pages.
                let first = 2 * UNDER_WAY as u64;
                (0..first).for_each(&mut post);
                let (clock, begun, mut sent) = (Instant::now(), now(), first);
                while clock.elapsed() < plan.slice || sent == first {
                    post(sent);
                    sent += 1;
                }
                meeting.page.word(Tally::Total).store(sent, Ordering::Release);
                let (received, ended) = meeting.page.finished(1);
                assert_eq!(received, [sent], "sent is not received");
                each(sent - first, ended - begun)
            }
            _ => unreachable!("no group asks copies for {job:?}"),
        }
    }

    fn serve(&self, meeting: &Meeting, job: Job) {
        match job {
            Job::RoundTrip { size } => {
                let copier = std::cell::RefCell::new(Copier::new(meeting, size));
                let copy_out = |number| copier.borrow_mut().copy_out(2 * number);
                bounce_back(meeting, copy_out, |number| copier.borrow_mut().copy_in(2 * number + 1));
            }
            Job::Large { size, .. } => {
                let mut copier = Copier::new(meeting, size);
                meeting.page.arrive();
                let (there, back) = (meeting.page.word(Tally::There), meeting.page.word(Tally::Back));
                let (mut received, mut idle) = (0, Idle::default());
                while received < meeting.page.word(Tally::Total).load(Ordering::Acquire) {
                    if there.load(Ordering::Acquire) == received {
                        idle.wait();
                        continue;
                    }
                    copier.copy_out(received);
                    received += 1;
                    back.store(received, Ordering::Release);
                    idle.reset();
                }
                meeting.page.finish(0, received);
            }
            _ => unreachable!("no group asks copies for {job:?}"),
        }
    }
}
