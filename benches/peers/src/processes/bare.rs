//! The floor between two processes: a cache line there and back, and what the kernel has to wake a sleeper with.

use super::asleep::{at_once, follow, lead};
use super::{Job, Meeting, Pair, Tally};
use crate::measure::{Idle, Plan, Reading, quantiles};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, read, write};
use rustix::thread::futex;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// A word of one cache line there and another back.
pub struct CacheLine;

impl Pair for CacheLine {
    fn name(&self) -> &'static str {
        "cache line"
    }

    fn measure(&self, meeting: &Meeting, _job: Job, plan: &Plan) -> Reading {
        bounce(meeting, plan, |_| (), |_| ())
    }

    fn serve(&self, meeting: &Meeting, _job: Job) {
        bounce_back(meeting, |_| (), |_| ());
    }
}

/// The pinging side; what is done before the word is stored, and after the answer was seen.
pub fn bounce(
    meeting: &Meeting,
    plan: &Plan,
    mut before: impl FnMut(u64),
    mut after: impl FnMut(u64),
) -> Reading {
    meeting.page.gather(1);
    let (there, back) = (meeting.page.word(Tally::There), meeting.page.word(Tally::Back));
    let mut samples = Vec::with_capacity(1 << 20);
    let begun = Instant::now();
    let (mut number, mut last) = (1, begun);
    while last - begun < plan.slice || samples.is_empty() {
        before(number);
        there.store(number, Ordering::Release);
        let mut idle = Idle::default();
        while back.load(Ordering::Acquire) != number {
            idle.wait();
        }
        after(number);
        let now = Instant::now();
        samples.push((now - last).as_nanos().min(u128::from(u32::MAX)) as u32);
        (number, last) = (number + 1, now);
    }
    there.store(u64::MAX, Ordering::Release);
    quantiles(samples)
}

/// The other side; what is done after the word was seen, and before the answer is stored.
pub fn bounce_back(meeting: &Meeting, mut after: impl FnMut(u64), mut before: impl FnMut(u64)) {
    meeting.page.arrive();
    let (there, back) = (meeting.page.word(Tally::There), meeting.page.word(Tally::Back));
    let (mut number, mut idle) = (1, Idle::default());
    loop {
        match there.load(Ordering::Acquire) {
            u64::MAX => return,
            found if found == number => {
                after(number);
                before(number);
                back.store(number, Ordering::Release);
                number += 1;
                idle.reset();
            }
            _ => idle.wait(),
        }
    }
}

/// A word and a futex in each direction.
pub struct Futex;

impl Futex {
    fn post(meeting: &Meeting, way: Tally, number: u64) {
        let word = meeting.page.half(way);
        word.store(number as u32, Ordering::Release);
        futex::wake(word, futex::Flags::empty(), 1).expect("a futex");
    }

    fn wait(meeting: &Meeting, way: Tally, number: u64) {
        let word = meeting.page.half(way);
        loop {
            let found = word.load(Ordering::Acquire);
            if found == number as u32 {
                return;
            }
            match futex::wait(word, futex::Flags::empty(), found, None) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => panic!("a futex: {error}"),
            }
        }
    }
}

impl Pair for Futex {
    fn name(&self) -> &'static str {
        "futex"
    }

    fn measure(&self, meeting: &Meeting, _job: Job, plan: &Plan) -> Reading {
        let post = async |number| Self::post(meeting, Tally::There, number);
        at_once(lead(meeting, plan, post, async |number| Self::wait(meeting, Tally::Back, number)))
    }

    fn serve(&self, meeting: &Meeting, _job: Job) {
        let wait = async |number| Self::wait(meeting, Tally::There, number);
        at_once(follow(meeting, wait, async |number| Self::post(meeting, Tally::Back, number)));
    }
}

/// An eventfd in each direction.
pub struct Eventfd;

impl Eventfd {
    fn post(descriptor: &OwnedFd) {
        write(descriptor, &1u64.to_ne_bytes()).expect("an eventfd");
    }

    fn wait(descriptor: &OwnedFd) {
        read(descriptor, &mut [0; 8]).expect("an eventfd");
    }
}

impl Pair for Eventfd {
    fn name(&self) -> &'static str {
        "eventfd"
    }

    fn bring(&self, _job: Job) -> Vec<OwnedFd> {
        let inherited = || eventfd(0, EventfdFlags::empty()).expect("an eventfd");
        vec![inherited(), inherited()]
    }

    fn measure(&self, meeting: &Meeting, _job: Job, plan: &Plan) -> Reading {
        let [there, back] = &meeting.brought[..] else { panic!("two were brought") };
        at_once(lead(meeting, plan, async |_| Self::post(there), async |_| Self::wait(back)))
    }

    fn serve(&self, meeting: &Meeting, _job: Job) {
        let [there, back] = &meeting.brought[..] else { panic!("two were brought") };
        at_once(follow(meeting, async |_| Self::wait(there), async |_| Self::post(back)));
    }
}
