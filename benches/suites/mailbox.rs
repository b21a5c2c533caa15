//! Draining many rings through one mailbox: one hot lane among many quiet ones, and all of them a little busy.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
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

criterion_group!(benches, suite);
criterion_main!(benches);
