//! A record through a queue in a mapped file, put and taken on one thread; checksum, copies and frees are in it, a switch of processes is not.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use synod_benches::payload;
use synod_platform::queue::{Reader, Writer};
use synod_platform::task;

const CAPACITY: usize = 64 << 10;

fn put_and_take(c: &mut Criterion) {
    let path = std::env::temp_dir().join(format!("synod-bench-queue-{}", std::process::id()));
    let (mut writer, mut reader) = task::block_on({
        let path = path.clone();
        async move {
            let writer = Writer::open(&path, CAPACITY).await.expect("a new file");
            (writer, Reader::open(&path).await.expect("just made"))
        }
    });
    let mut group = c.benchmark_group("queue/put-and-take");
    for len in [64, 1024] {
        let payload = payload(len);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            b.iter(|| {
                writer.try_put([1; 4], black_box(&payload)).expect("an empty queue is not full");
                let record = reader.try_next().expect("nobody damages it").expect("one was put");
                let last = record.payload()[payload.len() - 1];
                record.free();
                last
            });
        });
    }
    group.finish();
    // Somebody may have cleaned up before.
    let _ = std::fs::remove_file(&path);
}

criterion_group!(benches, put_and_take);
criterion_main!(benches);
