//! Draining many rings through one mailbox: one hot lane among many quiet ones, and all of them a little busy; and what a look at the tails of
//! quiet lanes from other processes costs, each of which begins a page, or some way into it.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use synod_platform::memory;
use synod_ring::layout::{RECEIVER_LEN, sender_len};
use synod_ring::mailbox::{QUOTA, control_len};
use synod_ring::{Class, Delivery, Flow, Hardware, Mailbox, Producer, Waiter};

/// Wakes nobody: these benchmarks never sleep.
struct Nobody;

impl Waiter for Nobody {
    fn wake(&self) {}
}

fn mailbox(lanes: usize) -> (Mailbox, Vec<Producer>) {
    let memory = |len| Hardware::heap(len).expect("some memory");
    let mailbox =
        Mailbox::new(memory(control_len(1, lanes)), 1, lanes, Arc::new(Nobody)).expect("good sizes");
    let port = mailbox.port();
    let producers = (0..lanes)
        .map(|_| {
            let (_, producer) = port
                .connect(Class(0), memory(sender_len(16 << 10)), memory(RECEIVER_LEN), None)
                .expect("a place for each");
            producer
        })
        .collect();
    (mailbox, producers)
}

fn send(producer: &mut Producer) {
    producer.push([1; 4], &[7; 48]).expect("drained each time");
    producer.publish();
}

fn drain(mailbox: &mut Mailbox) -> usize {
    let drained = mailbox.drain(usize::MAX, |_, delivery| {
        if let Delivery::Record(record) = delivery {
            black_box(record.payload());
        }
        Flow::Next
    });
    drained.records
}

/// A mailbox of lanes from other processes, which send nothing. Each sender's memory has pages of its own, and its ring begins there `apart`
/// bytes later than the lane's before, up to a page.
fn foreign(lanes: usize, apart: usize) -> Mailbox {
    const RING: usize = 16 << 10;
    const PAGE: usize = 4 << 10;
    let heap = |len| Hardware::heap(len).expect("some memory");
    let mut mailbox =
        Mailbox::new(heap(control_len(1, lanes)), 1, lanes, Arc::new(Nobody)).expect("good sizes");
    for lane in 0..lanes {
        let mut pages = memory::shared(PAGE + sender_len(RING)).expect("some memory");
        pages.close();
        let sender = Hardware::new(pages).slice(lane * apart % PAGE, sender_len(RING));
        let sender = sender.expect("a place in its pages");
        mailbox.admit_foreign(Class(0), heap(RECEIVER_LEN), sender, None).expect("a place for each");
    }
    mailbox
}

fn looks(c: &mut Criterion) {
    let mut group = c.benchmark_group("mailbox/look-at-foreign-tails");
    for lanes in [64, 256, 1000] {
        for (place, apart) in [("at-page-starts", 0), ("two-lines-apart", 128)] {
            let mut mailbox = foreign(lanes, apart);
            group.throughput(Throughput::Elements(lanes as u64));
            group.bench_function(BenchmarkId::new(place, lanes), |b| {
                b.iter(|| {
                    assert!(mailbox.fall_asleep());
                    mailbox.wake_up();
                });
            });
        }
    }
    group.finish();
}

fn suite(c: &mut Criterion) {
    let mut group = c.benchmark_group("mailbox");
    for lanes in [1, 16, 256] {
        let (mut mailbox, mut producers) = mailbox(lanes);
        group.throughput(Throughput::Elements(QUOTA as u64));
        group.bench_function(BenchmarkId::new("one-hot-lane-of", lanes), |b| {
            b.iter(|| {
                for _ in 0..QUOTA {
                    send(&mut producers[lanes / 2]);
                }
                assert_eq!(drain(&mut mailbox), QUOTA);
            });
        });
        group.throughput(Throughput::Elements(lanes as u64));
        group.bench_function(BenchmarkId::new("one-message-in-each-of", lanes), |b| {
            b.iter(|| {
                producers.iter_mut().for_each(send);
                assert_eq!(drain(&mut mailbox), lanes);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, suite, looks);
criterion_main!(benches);
