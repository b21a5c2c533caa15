//! A record through the ring on one thread: singly, in batches of sixteen, and with a doorbell that nobody sleeps behind.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::Arc;
use synod_benches::{PAYLOADS, payload};
use synod_ring::spsc::{Waiters, heap};
use synod_ring::{Consumer, Producer, Taken, Waiter};

const CAPACITY: usize = 64 << 10;
const BATCH: usize = 16;

/// Wakes nobody: these benchmarks never sleep.
struct Nobody;

impl Waiter for Nobody {
    fn wake(&self) {}
}

fn through(producer: &mut Producer, consumer: &mut Consumer, payload: &[u8]) -> u8 {
    producer.push([1; 4], payload).expect("an empty ring is not full");
    producer.publish();
    let record = consumer.peek().expect("the sender keeps the rules").expect("one was published");
    let last = record.payload()[payload.len() - 1];
    record.free();
    last
}

fn single(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring/single");
    for len in PAYLOADS {
        let payload = payload(len);
        group.throughput(Throughput::Elements(1));
        let (mut producer, mut consumer) = heap(CAPACITY, Waiters::default()).expect("a power of two");
        group.bench_function(BenchmarkId::new("polled", len), |b| {
            b.iter(|| through(&mut producer, &mut consumer, black_box(&payload)));
        });
        let waiters = Waiters { records: Some(Arc::new(Nobody)), space: Some(Arc::new(Nobody)) };
        let (mut producer, mut consumer) = heap(CAPACITY, waiters).expect("a power of two");
        group.bench_function(BenchmarkId::new("doorbell", len), |b| {
            b.iter(|| through(&mut producer, &mut consumer, black_box(&payload)));
        });
    }
    group.finish();
}

fn batch(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring/batch16");
    for len in PAYLOADS {
        let payload = payload(len);
        group.throughput(Throughput::Elements(BATCH as u64));
        let (mut producer, mut consumer) = heap(CAPACITY, Waiters::default()).expect("a power of two");
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| {
                let mut batch = producer.batch();
                for _ in 0..BATCH {
                    batch.push([1; 4], black_box(&payload)).expect("an empty ring is not full");
                }
                batch.publish();
                consumer.drain(BATCH, |record| {
                    black_box(record.payload());
                    Taken::Yes
                })
            });
        });
    }
    group.finish();
}

fn birth(c: &mut Criterion) {
    c.bench_function("ring/make-and-drop/16KiB", |b| {
        b.iter_batched(|| (), |()| heap(16 << 10, Waiters::default()), BatchSize::SmallInput);
    });
}

criterion_group!(benches, single, batch, birth);
criterion_main!(benches);
