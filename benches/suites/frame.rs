//! Frames in and out: the compact form of lanes and the full form of links, by payload length.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use synod_benches::{PAYLOADS, payload};
use synod_wire::{Compact, Extension, Full, Head, Kind, Priority, Tag};

fn compact(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame/compact");
    for len in PAYLOADS {
        let payload = payload(len);
        let frame = Compact {
            tag: Tag::new(Kind::Publish, Priority::Normal, 7).extended(),
            sequence: 42,
            extension: Some(Extension { correlation: 1, deadline: 2 }),
            payload: &payload,
        };
        let mut bytes = Vec::with_capacity(2048);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("encode", len), |b| {
            b.iter(|| {
                bytes.clear();
                black_box(&frame).encode(&mut bytes);
                black_box(bytes.len())
            });
        });
        group.bench_function(BenchmarkId::new("decode", len), |b| {
            b.iter(|| Compact::decode(black_box(&bytes)).map(|(frame, used)| (frame.sequence, used)));
        });
    }
    group.finish();
}

fn full(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame/full");
    for len in PAYLOADS {
        let payload = payload(len);
        let head = Head { priority: Priority::High, ..Head::new(Kind::Publish) };
        let frame = Full::new(head, &payload).on("orders.eu.new");
        let mut bytes = Vec::with_capacity(2048);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("encode", len), |b| {
            b.iter(|| {
                bytes.clear();
                black_box(&frame).encode(&mut bytes).map(|()| bytes.len())
            });
        });
        group.bench_function(BenchmarkId::new("decode", len), |b| {
            b.iter(|| Full::decode(black_box(&bytes)).map(|(frame, used)| (frame.payload.len(), used)));
        });
    }
    group.finish();
}

criterion_group!(benches, compact, full);
criterion_main!(benches);
