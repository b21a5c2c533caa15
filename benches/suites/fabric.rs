//! The fabric inside one context: a publish to one subscriber and its receipt, and a request with its reply.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use synod_benches::{PAYLOADS, payload};
use synod_fabric::{Fabric, FabricConfig, Priority};
use synod_platform::task;

/// Publishes between two drains of the subscriber's queue.
const BURST: usize = 64;

fn publish(c: &mut Criterion) {
    let mut group = c.benchmark_group("fabric/publish-and-receive");
    for len in PAYLOADS {
        let payload = payload(len);
        group.throughput(Throughput::Elements(BURST as u64));
        group.bench_function(BenchmarkId::from_parameter(len), |b| {
            task::block_on(async {
                let context = Fabric::new(FabricConfig::named("bench")).enter("main").expect("a new fabric");
                let reader = context.agent("reader").expect("a free name");
                let mut events = reader.subscribe("bench.event", BURST).await.expect("a good subject");
                let writer = context.agent("writer").expect("a free name");
                let publisher = writer.publisher("bench.event").expect("a good subject");
                b.iter(|| {
                    for _ in 0..BURST {
                        let receipt = publisher.publish(Priority::Normal, black_box(&payload));
                        assert_eq!(receipt.expect("there is room").accepted_count(), 1);
                    }
                    for _ in 0..BURST {
                        black_box(events.try_recv().expect("it was accepted"));
                    }
                });
            });
        });
    }
    group.finish();
}

fn request(c: &mut Criterion) {
    c.bench_function("fabric/request-and-reply/48", |b| {
        let payload = payload(48);
        b.iter_custom(|iterations| {
            task::block_on(async {
                let context = Fabric::new(FabricConfig::named("bench")).enter("main").expect("a new fabric");
                let server = context.agent("server").expect("a free name");
                let mut asked = server.serve("bench.service", BURST).await.expect("a good subject");
                let serving = task::spawn(async move {
                    while let Some(message) = asked.recv().await {
                        let answer = message.payload().clone();
                        message.reply(answer).expect("the requester waits");
                    }
                });
                let client = context.agent("client").expect("a free name");
                let begun = synod_platform::time::now();
                for _ in 0..iterations {
                    let within = Duration::from_secs(60);
                    let answer =
                        client.request("bench.service", Priority::Normal, &payload[..], within).await;
                    black_box(answer.expect("it is served"));
                }
                let took = synod_platform::time::now().since(begun);
                serving.abort();
                took
            })
        });
    });
}

criterion_group!(benches, publish, request);
criterion_main!(benches);
