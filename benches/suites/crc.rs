//! CRC-32C by every kernel that this processor can run, and by the one that is chosen for each length.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use synod_benches::payload;
use synod_wire::crc;
use synod_wire::simd::Kernel;

const LENGTHS: [usize; 6] = [64, 256, 1 << 10, 4 << 10, 64 << 10, 1 << 20];

fn kernels(c: &mut Criterion) {
    let mut group = c.benchmark_group("crc");
    for len in LENGTHS {
        let bytes = payload(len);
        group.throughput(Throughput::Bytes(len as u64));
        for kernel in Kernel::ALL {
            let Some(append) = kernel.function() else { continue };
            group.bench_function(BenchmarkId::new(kernel.name(), len), |b| {
                b.iter(|| append(0, black_box(&bytes)));
            });
        }
        group
            .bench_function(BenchmarkId::new("chosen", len), |b| b.iter(|| crc::checksum(black_box(&bytes))));
    }
    group.finish();
}

criterion_group!(benches, kernels);
criterion_main!(benches);
