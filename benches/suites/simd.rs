//! Copies, scans and intersections by every kernel that this processor can run, and by the one that is chosen.
//!
//! Both sides of a comparison stand in one group, but criterion measures one after the other: the figures that decided which kernel stays
//! were taken in alternating slices, and stand at the head of each kernel's module.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::sync::atomic::{AtomicU8, AtomicU64};
use synod_benches::payload;
use synod_wire::simd::{copy, scan, sets};

/// Both on a page's start; the destination 16 bytes behind, as a payload behind its header is.
const PLACES: [(&str, usize, usize); 2] = [("aligned", 0, 0), ("16-apart", 0, 16)];

fn copies(c: &mut Criterion) {
    let mut group = c.benchmark_group("copy");
    for len in [2 << 10, 4 << 10, 16 << 10, 64 << 10, 1 << 20] {
        let (from, mut into) = (payload(len + 8192), payload(len + 8192));
        let page = |bytes: &[u8]| bytes.as_ptr().align_offset(4096);
        group.throughput(Throughput::Bytes(len as u64));
        for (place, from_at, into_at) in PLACES {
            let from = &from[page(&from) + from_at..][..len];
            let at = page(&into) + into_at;
            let into = &mut into[at..][..len];
            let id = |name: &str| BenchmarkId::new(format!("{name}/{place}"), len);
            group.bench_function(id("memcpy"), |b| {
                b.iter(|| black_box(&mut *into).copy_from_slice(black_box(from)));
            });
            for level in copy::LEVELS {
                let Some(copy) = copy::kernel(level) else { continue };
                group.bench_function(id(level.name()), |b| {
                    b.iter(|| copy(black_box(from), black_box(&mut *into)));
                });
            }
            group.bench_function(id("chosen"), |b| {
                b.iter(|| copy::copy(black_box(from), black_box(&mut *into)));
            });
        }
    }
    group.finish();
}

fn shared(c: &mut Criterion) {
    let mut group = c.benchmark_group("copy-shared");
    for len in [48, 256, 1 << 10, 2 << 10, 64 << 10] {
        let from: Vec<AtomicU8> = payload(len).into_iter().map(AtomicU8::new).collect();
        let mut into = Vec::with_capacity(len);
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("chosen", len), |b| {
            b.iter(|| {
                into.clear();
                copy::append_shared(black_box(&from), &mut into);
                black_box(&into);
            });
        });
    }
    group.finish();
}

/// Words of which none, one in 64, or every second changed.
fn scans(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    for len in [64u64, 1 << 10, 16 << 10] {
        let now: Vec<AtomicU64> = (0..len).map(AtomicU64::new).collect();
        for (change, every) in [("quiet", u64::MAX), ("1-in-64", 64), ("1-in-2", 2)] {
            let seen: Vec<u64> = (0..len).map(|word| word + u64::from(word % every == 1)).collect();
            let mut found = Vec::with_capacity(now.len());
            group.throughput(Throughput::Elements(len));
            for level in scan::LEVELS {
                let Some(changed) = scan::kernel(level) else { continue };
                group.bench_function(BenchmarkId::new(format!("{level}/{change}"), len), |b| {
                    b.iter(|| {
                        found.clear();
                        changed(black_box(&now), black_box(&seen), &mut found);
                        black_box(&found);
                    });
                });
            }
        }
    }
    group.finish();
}

/// Sets of which the first has no member, one in 512, one in 32, or all, and the others nearly all.
fn intersections(c: &mut Criterion) {
    let mut group = c.benchmark_group("sets");
    for words in [16usize, 256, 4096] {
        let most = vec![!(1 << 17 | 1 << 40); words];
        for (density, every) in [("empty", 0), ("1-in-512", 512), ("1-in-32", 32), ("full", 1)] {
            let members = |word: usize| {
                let has = |bit: &usize| every != 0 && (word * 64 + bit).is_multiple_of(every);
                (0..64).filter(has).fold(0, |set, bit| set | 1 << bit)
            };
            let some: Vec<u64> = (0..words).map(members).collect();
            let three = [&some[..], &most, &most];
            let mut found = Vec::with_capacity(words * 64);
            group.throughput(Throughput::Elements(words as u64));
            for level in sets::LEVELS {
                let Some(common) = sets::kernel(level) else { continue };
                group.bench_function(BenchmarkId::new(format!("{level}/{density}"), words), |b| {
                    b.iter(|| {
                        found.clear();
                        common(black_box(three), &mut found);
                        black_box(&found);
                    });
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, copies, shared, scans, intersections);
criterion_main!(benches);
