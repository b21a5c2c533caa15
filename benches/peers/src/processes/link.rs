//! Subjects that are a sending and a receiving end which both can be polled: every job in terms of the two.

use super::{Job, Meeting, Pair, Tally, now};
use crate::measure::{Idle, Plan, Reading, Receiver, Sender, quantiles, rate};
use crate::subjects::check;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The number from which a sender's messages are counted, where there are several: who it is stands in the upper bits.
pub const fn first_of(sender: usize) -> u64 {
    (sender as u64) << 48
}

/// Messages of several senders that come by one way: each sender's are checked for themselves.
pub struct InOrder(Vec<u64>);

impl InOrder {
    /// Of so many senders.
    pub fn of(senders: usize) -> Self {
        Self((0..senders).map(first_of).collect())
    }

    /// Reads a message, which must be its sender's next; who that is, and how many came of it.
    #[inline(always)]
    pub fn check(&mut self, message: &[u8]) -> (usize, u64) {
        let mut number = [0; 8];
        number.copy_from_slice(&message[..8]);
        let sender = (u64::from_ne_bytes(number) >> 48) as usize;
        let next = &mut self.0[sender];
        check(message, *next);
        *next += 1;
        (sender, *next - first_of(sender))
    }
}

/// Takes what comes from several senders.
pub trait Gather {
    /// Takes what is there, each sender's in order; returns how many.
    fn gather(&mut self) -> usize;
}

/// One end for one sender as for several: it hands out whole messages.
pub trait Take {
    /// Takes up to `count` messages that are there: each with its senders' order and its place among those taken; returns how many.
    fn take(&mut self, count: usize, read: impl FnMut(&mut InOrder, &[u8], usize)) -> usize;
}

impl<T: Take> Receiver for T {
    #[inline(always)]
    fn receive(&mut self, number: u64, count: usize) -> usize {
        self.take(count, |_, message, taken| check(message, number + taken as u64))
    }
}

impl<T: Take> Gather for T {
    fn gather(&mut self) -> usize {
        self.take(64, |senders, message, _| {
            senders.check(message);
        })
    }
}

/// What can be opened from both processes.
pub trait Link: Send + Sync {
    /// The sending end.
    type Sender: Sender;
    /// The receiving end.
    type Receiver: Receiver;
    /// The sending end of one to many.
    type Fan: Sender;
    /// The receiving end of many to one.
    type Gather: Gather;

    /// By which name.
    fn name(&self) -> &'static str;

    /// What it lacks.
    fn lacks(&self) -> Option<String> {
        None
    }

    /// Descriptors that both inherit.
    fn bring(&self, _job: Job) -> Vec<OwnedFd> {
        Vec::new()
    }

    /// Opens the sending end of a way; the other process opens the other at the same time.
    fn sender(&self, meeting: &Meeting, way: &str, size: usize) -> Self::Sender;

    /// Opens the receiving end.
    fn receiver(&self, meeting: &Meeting, way: &str, size: usize) -> Self::Receiver;

    /// Opens a sending end to many, each of which opens `receiver(way-N)`.
    fn fan(&self, meeting: &Meeting, way: &str, size: usize, receivers: usize) -> Self::Fan;

    /// Opens a receiving end for many, each of which opens `sender(way-N)`.
    fn gather(&self, meeting: &Meeting, way: &str, size: usize, senders: usize) -> Self::Gather;
}

/// The name of one of several ways.
pub fn nth(way: &str, number: usize) -> String {
    format!("{way}-{number}")
}

/// A link as a subject.
pub struct Over<L>(pub L);

impl<L: Link> Pair for Over<L> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn lacks(&self) -> Option<String> {
        self.0.lacks()
    }

    fn bring(&self, job: Job) -> Vec<OwnedFd> {
        self.0.bring(job)
    }

    fn measure(&self, meeting: &Meeting, job: Job, plan: &Plan) -> Reading {
        match job {
            Job::Throughput { size, batch } => {
                let mut sender = self.0.sender(meeting, "there", size);
                send_all(&mut sender, batch, 1, meeting, plan)
            }
            Job::FanOut { size, receivers } => {
                let mut fan = self.0.fan(meeting, "there", size, receivers);
                send_all(&mut fan, 1, receivers, meeting, plan)
            }
            Job::RoundTrip { size } => {
                let mut ping = self.0.sender(meeting, "there", size);
                let mut back = self.0.receiver(meeting, "back", size);
                trips(&mut ping, &mut back, meeting, plan)
            }
            Job::FanIn { size, senders } => {
                let mut gather = self.0.gather(meeting, "there", size, senders);
                gather_all(&mut gather, senders, meeting, plan)
            }
            Job::Asleep { .. } | Job::Large { .. } => unreachable!("no group asks a link for {job:?}"),
        }
    }

    fn serve(&self, meeting: &Meeting, job: Job) {
        match job {
            Job::Throughput { size, batch } => {
                let mut receiver = self.0.receiver(meeting, "there", size);
                receive_all(&mut receiver, batch, Idle::default, meeting);
            }
            Job::FanOut { size, .. } => {
                let mut receiver = self.0.receiver(meeting, &nth("there", meeting.number), size);
                receive_all(&mut receiver, 16, Idle::crowded, meeting);
            }
            Job::RoundTrip { size } => {
                let mut arrival = self.0.receiver(meeting, "there", size);
                let mut pong = self.0.sender(meeting, "back", size);
                answers(&mut arrival, &mut pong, meeting);
            }
            Job::FanIn { size, .. } => {
                let mut sender = self.0.sender(meeting, &nth("there", meeting.number), size);
                send_for(&mut sender, meeting);
            }
            Job::Asleep { .. } | Job::Large { .. } => unreachable!("no group asks a link for {job:?}"),
        }
    }
}

/// Most messages between two looks at the clock.
const BETWEEN_LOOKS: u64 = 1024;

/// Sends for a slice, in batches; what every receiver took in all.
pub fn send_all(
    sender: &mut impl Sender,
    batch: usize,
    receivers: usize,
    meeting: &Meeting,
    plan: &Plan,
) -> Reading {
    meeting.page.gather(receivers);
    let (clock, begun) = (Instant::now(), now());
    let (mut sent, mut idle) = (0, if receivers > 1 { Idle::crowded() } else { Idle::default() });
    let (mut several, mut looked) = (1, Duration::ZERO);
    while looked < plan.slice {
        let until = sent + several;
        while sent < until {
            match sender.send(sent, batch) {
                0 => idle.wait(),
                count => {
                    sent += count as u64;
                    idle.reset();
                }
            }
        }
        // As many as take a hundredth of the slice: long messages are few.
        let now = clock.elapsed();
        several = if now - looked < plan.slice / 100 {
            (2 * several).min(BETWEEN_LOOKS)
        } else {
            several.div_ceil(2)
        };
        looked = now;
    }
    meeting.page.word(Tally::Total).store(sent, Ordering::Release);
    let (received, ended) = meeting.page.finished(receivers);
    assert!(received.iter().all(|received| *received == sent), "sent is not received");
    rate(received.iter().sum(), ended - begun)
}

/// Receives until all that was sent is there.
pub fn receive_all(receiver: &mut impl Receiver, batch: usize, idle: fn() -> Idle, meeting: &Meeting) {
    meeting.page.arrive();
    let total = meeting.page.word(Tally::Total);
    let (mut received, mut idle) = (0, idle());
    while received < total.load(Ordering::Acquire) {
        match receiver.receive(received, batch) {
            0 => idle.wait(),
            count => {
                received += count as u64;
                idle.reset();
            }
        }
    }
    let ended = now();
    assert_eq!(receiver.receive(received, batch), 0, "more arrived than was sent");
    meeting.page.finish_since(meeting.number, received, ended);
}

/// There and back for a slice.
pub fn trips(ping: &mut impl Sender, back: &mut impl Receiver, meeting: &Meeting, plan: &Plan) -> Reading {
    meeting.page.gather(1);
    let mut samples: Vec<u32> = Vec::with_capacity(1 << 20);
    let begun = Instant::now();
    let (mut number, mut last) = (0, begun);
    while last - begun < plan.slice || samples.is_empty() {
        send_one(ping, number);
        let mut idle = Idle::default();
        while back.receive(number, 1) == 0 {
            idle.wait();
        }
        let now = Instant::now();
        samples.push((now - last).as_nanos().min(u128::from(u32::MAX)) as u32);
        (number, last) = (number + 1, now);
    }
    meeting.page.word(Tally::Total).store(number, Ordering::Release);
    let (answered, _) = meeting.page.finished(1);
    assert_eq!(answered, [number], "sent is not received");
    quantiles(samples)
}

/// Sends one message. An empty channel is not full, but some peers refuse until they have connected.
#[inline(always)]
fn send_one(sender: &mut impl Sender, number: u64) {
    let mut idle = Idle::default();
    while sender.send(number, 1) == 0 {
        idle.wait();
    }
}

/// Sends back whatever comes.
pub fn answers(arrival: &mut impl Receiver, pong: &mut impl Sender, meeting: &Meeting) {
    meeting.page.arrive();
    let total = meeting.page.word(Tally::Total);
    let (mut number, mut idle) = (0, Idle::default());
    while number < total.load(Ordering::Relaxed) {
        if arrival.receive(number, 1) == 1 {
            send_one(pong, number);
            number += 1;
            idle.reset();
        } else {
            idle.wait();
        }
    }
    meeting.page.finish(0, number);
}

/// Takes what several send for a slice; what all of them sent.
pub fn gather_all(gather: &mut impl Gather, senders: usize, meeting: &Meeting, plan: &Plan) -> Reading {
    meeting.page.gather(senders);
    meeting.page.word(Tally::There).store(1, Ordering::Release);
    let (clock, begun) = (Instant::now(), now());
    let (mut received, mut idle) = (0u64, Idle::crowded());
    let done = meeting.page.word(Tally::Done);
    let mut total = u64::MAX;
    while received < total {
        match gather.gather() {
            0 => {
                if total == u64::MAX && done.load(Ordering::Acquire) >= senders as u64 {
                    total = meeting.page.finished(senders).0.iter().sum();
                }
                idle.wait();
            }
            count => {
                received += count as u64;
                idle.reset();
            }
        }
        if clock.elapsed() >= plan.slice {
            meeting.page.word(Tally::There).store(2, Ordering::Release);
        }
    }
    let ended = now();
    assert_eq!((received, gather.gather()), (total, 0), "sent is not received");
    meeting.page.word(Tally::Back).store(1, Ordering::Release);
    rate(received, ended - begun)
}

/// Sends until it is told to stop.
pub fn send_for(sender: &mut impl Sender, meeting: &Meeting) {
    meeting.page.arrive();
    let there = meeting.page.word(Tally::There);
    let mut idle = Idle::crowded();
    while there.load(Ordering::Acquire) == 0 {
        idle.wait();
    }
    let mut sent = 0;
    while there.load(Ordering::Relaxed) == 1 {
        match sender.send(first_of(meeting.number) + sent, 1) {
            0 => idle.wait(),
            count => {
                sent += count as u64;
                idle.reset();
            }
        }
    }
    meeting.page.finish(meeting.number, sent);
    // What some subjects sent is gone with its sender.
    while meeting.page.word(Tally::Back).load(Ordering::Acquire) == 0 {
        std::thread::yield_now();
    }
}

/// Sends each message to every one of several ends.
pub struct Many<S> {
    ends: Vec<(S, u64)>,
}

impl<S> Many<S> {
    /// All of them.
    pub fn new(ends: impl Iterator<Item = S>) -> Self {
        Self { ends: ends.map(|end| (end, 0)).collect() }
    }
}

impl<S: Sender> Sender for Many<S> {
    fn send(&mut self, number: u64, count: usize) -> usize {
        let until = number + count as u64;
        for (end, sent) in &mut self.ends {
            if *sent < until {
                *sent += end.send(*sent, (until - *sent) as usize) as u64;
            }
        }
        if self.ends.iter().all(|(_, sent)| *sent == until) { count } else { 0 }
    }
}

/// Looks at several ends in turn.
pub struct AnyOf<R> {
    ends: Vec<(R, u64)>,
}

impl<R> AnyOf<R> {
    /// All of them, in the order of their senders.
    pub fn new(ends: impl Iterator<Item = R>) -> Self {
        Self { ends: ends.enumerate().map(|(sender, end)| (end, first_of(sender))).collect() }
    }
}

impl<R: Receiver> Gather for AnyOf<R> {
    fn gather(&mut self) -> usize {
        let mut received = 0;
        for (end, number) in &mut self.ends {
            let count = end.receive(*number, 16);
            *number += count as u64;
            received += count;
        }
        received
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subjects::rtrb::{Single, single};

    #[test]
    fn a_message_to_many_of_whom_one_is_full_is_sent_to_the_others_once() {
        let (roomy, mut first) = single::<64>();
        let (narrow, second) = rtrb::RingBuffer::<[u8; 64]>::new(1);
        let (narrow, mut second) = (Single(narrow), Single(second));
        let mut many = Many::new([roomy, narrow].into_iter());
        assert_eq!(many.send(0, 1), 1);
        assert_eq!((many.send(1, 1), many.send(1, 1)), (0, 0), "the second is full");
        assert_eq!(second.receive(0, 1), 1);
        assert_eq!(many.send(1, 1), 1);
        assert_eq!((first.receive(0, 16), second.receive(1, 16)), (2, 1));
    }

    #[test]
    fn what_several_sent_is_checked_for_each_by_itself() {
        let (mut one, first) = single::<64>();
        let (mut other, second) = single::<64>();
        let mut any = AnyOf::new([first, second].into_iter());
        assert_eq!((one.send(first_of(0), 2), other.send(first_of(1), 3)), (2, 3));
        assert_eq!((any.gather(), any.gather()), (5, 0));
    }
}
