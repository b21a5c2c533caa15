//! How a slice is measured: throughput, round trips, and one thread alone; and how rounds put slices side by side.
//!
//! Messages are numbered. A receiver counts what it got and checks every number, so a subject that loses, repeats or
//! reorders one stops the run.

use crate::machine::{Cores, pin};
use crate::statistics::percentile;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How much is measured, and where.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Rounds.
    pub rounds: usize,
    /// How long one subject runs before the next.
    pub slice: Duration,
    /// The two cores.
    pub cores: Cores,
}

/// The writing end of a subject.
pub trait Sender {
    /// Sends up to `count` messages, the first with that number, as one batch; returns how many were taken.
    fn send(&mut self, number: u64, count: usize) -> usize;
}

/// The reading end of a subject.
pub trait Receiver {
    /// Takes up to `count` messages that are there, the first having that number; returns how many.
    fn receive(&mut self, number: u64, count: usize) -> usize;
}

/// One reading: figures by metric name.
pub type Reading = Vec<(&'static str, f64)>;

/// Waits a little: first by spinning, then by giving the core away, as others may need it.
#[derive(Default)]
pub struct Idle(u32);

/// How often it spins first.
const SPINS: u32 = 4096;

impl Idle {
    /// For where others wait for the same core: it gives the core away at once, always.
    #[cfg(feature = "fabric")]
    pub fn crowded() -> Self {
        Self(u32::MAX)
    }

    /// Nothing was there.
    #[inline(always)]
    pub fn wait(&mut self) {
        self.0 = self.0.saturating_add(1);
        if self.0 < SPINS {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }

    /// Something was there.
    #[inline(always)]
    pub fn reset(&mut self) {
        if self.0 != u32::MAX {
            self.0 = 0;
        }
    }
}

/// Something that shares no cache line, and no pair of lines, with its neighbours: what one thread polls must not lie beside
/// what the other writes.
#[repr(align(128))]
struct Alone<T>(T);

/// Between two looks at the clock.
const BETWEEN_LOOKS: u64 = 1024;

/// One sender as fast as it can to one receiver, in batches: millions of messages a second.
pub fn throughput<S: Sender + Send, R: Receiver + Send>(
    (sender, receiver): (S, R),
    batch: usize,
    plan: &Plan,
) -> Reading {
    let start = Barrier::new(2);
    let total = Alone(AtomicU64::new(u64::MAX));
    let mut sender = Alone(sender);
    let (begun, received, ended) = std::thread::scope(|scope| {
        let (start, total) = (&start, &total);
        // Each end moves to the stack of its own thread: side by side on one they would share cache lines.
        let receiving = scope.spawn(move || {
            let mut receiver = Alone(receiver);
            pin(plan.cores.receiver);
            start.wait();
            let (mut received, mut idle) = (0, Idle::default());
            while received < total.0.load(Ordering::Acquire) {
                match receiver.0.receive(received, batch) {
                    0 => idle.wait(),
                    count => {
                        received += count as u64;
                        idle.reset();
                    }
                }
            }
            let ended = Instant::now();
            assert_eq!(receiver.0.receive(received, batch), 0, "more arrived than was sent");
            (received, ended)
        });
        pin(plan.cores.sender);
        start.wait();
        let begun = Instant::now();
        let (mut sent, mut idle) = (0, Idle::default());
        while begun.elapsed() < plan.slice {
            let until = sent + BETWEEN_LOOKS;
            while sent < until {
                match sender.0.send(sent, batch) {
                    0 => idle.wait(),
                    count => {
                        sent += count as u64;
                        idle.reset();
                    }
                }
            }
        }
        total.0.store(sent, Ordering::Release);
        let (received, ended) = receiving.join().expect("the receiver checks what it gets");
        assert_eq!(received, sent, "sent is not received");
        (begun, received, ended)
    });
    rate(received, ended.duration_since(begun).as_nanos() as u64)
}

/// So many messages in so many nanoseconds: millions a second.
pub fn rate(messages: u64, nanos: u64) -> Reading {
    vec![("messages", messages as f64 * 1e3 / nanos as f64)]
}

/// So many messages in so many nanoseconds: nanoseconds for each.
#[cfg(feature = "fabric")]
pub fn each(messages: u64, nanos: u64) -> Reading {
    vec![("time", nanos as f64 / messages as f64)]
}

/// There and back between two cores, one message at a time, both sides watching: nanoseconds.
pub fn round_trip<S: Sender + Send, R: Receiver + Send>(ping: (S, R), pong: (S, R), plan: &Plan) -> Reading {
    let ((ping, arrival), (pong, back)) = (ping, pong);
    let (mut ping, mut back) = (Alone(ping), Alone(back));
    let stop = Alone(AtomicU64::new(u64::MAX));
    let start = Barrier::new(2);
    let mut samples: Vec<u32> = Vec::with_capacity(1 << 20);
    std::thread::scope(|scope| {
        let (start, stop) = (&start, &stop);
        // Each end moves to the stack of its own thread: side by side on one they would share cache lines.
        scope.spawn(move || {
            let (mut arrival, mut pong) = (Alone(arrival), Alone(pong));
            pin(plan.cores.receiver);
            start.wait();
            let mut number = 0;
            let mut idle = Idle::default();
            while number < stop.0.load(Ordering::Relaxed) {
                if arrival.0.receive(number, 1) == 1 {
                    assert_eq!(pong.0.send(number, 1), 1, "an empty channel is not full");
                    number += 1;
                    idle.reset();
                } else {
                    idle.wait();
                }
            }
        });
        pin(plan.cores.sender);
        start.wait();
        let begun = Instant::now();
        let (mut number, mut last) = (0, begun);
        while last - begun < plan.slice || samples.is_empty() {
            assert_eq!(ping.0.send(number, 1), 1, "an empty channel is not full");
            let mut idle = Idle::default();
            while back.0.receive(number, 1) == 0 {
                idle.wait();
            }
            let now = Instant::now();
            samples.push((now - last).as_nanos().min(u128::from(u32::MAX)) as u32);
            (number, last) = (number + 1, now);
        }
        stop.0.store(number, Ordering::Relaxed);
    });
    quantiles(samples)
}

/// The middle and the slow ends of some samples.
pub fn quantiles(mut samples: Vec<u32>) -> Reading {
    samples.sort_unstable();
    [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)]
        .map(|(name, share)| (name, percentile(&samples, share)))
        .into()
}

/// One thread that does `work` again and again: nanoseconds of its own processor time for one of the `each` things that a
/// call of it does. Time in which others had the core is not counted.
pub fn alone(plan: &Plan, each: u64, mut work: impl FnMut()) -> Reading {
    pin(plan.cores.sender);
    let (begun, used) = (Instant::now(), processor_time());
    let mut calls = 0u64;
    while begun.elapsed() < plan.slice {
        for _ in 0..256 {
            work();
        }
        calls += 256;
    }
    let used = processor_time() - used;
    vec![("cost", used.as_nanos() as f64 / (calls * each) as f64)]
}

/// What this thread has used so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Bursts of `count` sends timed by themselves: the middle burst's nanoseconds a send. `work` is given a stopwatch, which
/// it holds to the sending, and answers with what that said.
#[cfg(feature = "fabric")]
pub fn burst(plan: &Plan, count: usize, mut work: impl FnMut(&mut Stopwatch<'_>) -> Duration) -> Reading {
    let begun = Instant::now();
    let mut samples = Vec::with_capacity(1 << 16);
    while begun.elapsed() < plan.slice || samples.is_empty() {
        let took = work(&mut |timed| {
            let begun = Instant::now();
            timed();
            begun.elapsed()
        });
        samples.push(took.as_nanos().min(u128::from(u32::MAX)) as u32);
    }
    samples.sort_unstable();
    vec![("send", percentile(&samples, 0.5) / count as f64)]
}

/// Runs a closure and says how long it took.
#[cfg(feature = "fabric")]
pub type Stopwatch<'a> = dyn FnMut(&mut dyn FnMut()) -> Duration + 'a;
