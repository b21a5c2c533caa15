//! There and back between two sides that sleep until something comes, in a system call or in a future.

use super::{Meeting, Tally};
use crate::measure::{Plan, Reading, quantiles};
use std::cell::RefCell;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Trips before the measured ones, in which memory is mapped that is to be shared: a peer may take a whole slice for that.
const WARM_UP: u64 = 16;

/// The side that begins: sends, then sleeps until the answer is there.
pub async fn lead(
    meeting: &Meeting,
    plan: &Plan,
    mut send: impl AsyncFnMut(u64),
    mut receive: impl AsyncFnMut(u64),
) -> Reading {
    meeting.page.gather(1);
    let mut samples = Vec::with_capacity(1 << 16);
    let mut begun = Instant::now();
    let (mut number, mut last) = (1, begun);
    loop {
        if number <= WARM_UP {
            begun = last;
        }
        let is_last = last - begun >= plan.slice;
        if is_last {
            // The other side sleeps: it must know before.
            meeting.page.word(Tally::Total).store(number, Ordering::Release);
        }
        send(number).await;
        receive(number).await;
        let now = Instant::now();
        if number > WARM_UP {
            samples.push((now - last).as_nanos().min(u128::from(u32::MAX)) as u32);
        }
        (number, last) = (number + 1, now);
        if is_last {
            break;
        }
    }
    meeting.page.word(Tally::Heard).store(1, Ordering::Release);
    let (answered, _) = meeting.page.finished(1);
    assert_eq!(answered, [number - 1], "sent is not received");
    quantiles(samples)
}

/// The side that answers.
pub async fn follow(meeting: &Meeting, mut receive: impl AsyncFnMut(u64), mut send: impl AsyncFnMut(u64)) {
    meeting.page.arrive();
    let mut number = 1;
    loop {
        receive(number).await;
        let is_last = meeting.page.word(Tally::Total).load(Ordering::Acquire) == number;
        send(number).await;
        if is_last {
            break;
        }
        number += 1;
    }
    // Until then it is gone with its sender where it lies in that one's memory, as zenoh's from 1 KiB on.
    while meeting.page.word(Tally::Heard).load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
    meeting.page.finish(0, number);
}

/// One side's two ends, which sleep in system calls.
pub trait Ends {
    /// Sends a message.
    fn post(&mut self, number: u64);

    /// Sleeps until the next message is there.
    fn arrive(&mut self, number: u64);
}

/// [`lead`] with such ends.
pub fn leads(ends: impl Ends, meeting: &Meeting, plan: &Plan) -> Reading {
    let ends = RefCell::new(ends);
    let post = async |number| ends.borrow_mut().post(number);
    at_once(lead(meeting, plan, post, async |number| ends.borrow_mut().arrive(number)))
}

/// [`follow`] with such ends.
pub fn follows(ends: impl Ends, meeting: &Meeting) {
    let ends = RefCell::new(ends);
    let arrive = async |number| ends.borrow_mut().arrive(number);
    at_once(follow(meeting, arrive, async |number| ends.borrow_mut().post(number)));
}

/// What never waits but in system calls.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => unreachable!("it waits in system calls alone"),
    }
}
