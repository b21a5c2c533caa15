//! What the machine itself takes: a cache line there and back, a copy, a fence. Nothing above can be faster.

use super::{Compare, Group, Subject};
use crate::machine::pin;
use crate::measure::{Idle, Plan, Reading, alone, quantiles};
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Instant;

/// The floor's groups.
pub fn groups() -> Vec<Group> {
    let group = |about, size, mode, subjects| Group {
        name: "floor",
        about,
        size,
        mode,
        unit: "ns",
        compare: Compare::Ratio,
        baselines: Vec::new(),
        subjects,
    };
    vec![
        group(
            "a word of one cache line there and back",
            8,
            "two cores",
            vec![Subject::new("cache line", cache_line)],
        ),
        group("a hot copy", 64, "one core", vec![Subject::new("memcpy", copy::<64>)]),
        group("a hot copy", 1024, "one core", vec![Subject::new("memcpy", copy::<1024>)]),
        group(
            "a store and a sequentially consistent fence",
            0,
            "one core",
            vec![Subject::new("fence", fenced_store)],
        ),
    ]
}

#[repr(align(128))]
struct Line(AtomicU64);

/// Two threads that answer each other's word: the physical round trip.
pub fn cache_line(plan: &Plan) -> Reading {
    const STOP: u64 = u64::MAX;
    let (there, back) = (Line(AtomicU64::new(0)), Line(AtomicU64::new(0)));
    let start = Barrier::new(2);
    let mut samples = Vec::with_capacity(1 << 20);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pin(plan.cores.receiver);
            start.wait();
            let mut number = 1;
            let mut idle = Idle::default();
            loop {
                match there.0.load(Ordering::Acquire) {
                    STOP => return,
                    found if found == number => {
                        back.0.store(number, Ordering::Release);
                        number += 1;
                        idle.reset();
                    }
                    _ => idle.wait(),
                }
            }
        });
        pin(plan.cores.sender);
        start.wait();
        let begun = Instant::now();
        let (mut number, mut last) = (1, begun);
        while last - begun < plan.slice || samples.is_empty() {
            there.0.store(number, Ordering::Release);
            let mut idle = Idle::default();
            while back.0.load(Ordering::Acquire) != number {
                idle.wait();
            }
            let now = Instant::now();
            samples.push((now - last).as_nanos().min(u128::from(u32::MAX)) as u32);
            (number, last) = (number + 1, now);
        }
        there.0.store(STOP, Ordering::Release);
    });
    quantiles(samples)
}

/// A store and the fence after it, as a doorbell pays them.
fn fenced_store(plan: &Plan) -> Reading {
    let word = AtomicU64::new(0);
    alone(plan, 1, || {
        word.store(1, Ordering::Release);
        fence(Ordering::SeqCst);
        black_box(word.load(Ordering::Relaxed));
    })
}

fn copy<const N: usize>(plan: &Plan) -> Reading {
    let from = [7u8; N];
    let mut to = [0u8; N];
    alone(plan, 1, || black_box(&mut to).copy_from_slice(black_box(&from)))
}
