//! The workflow engine: what one step costs it, and a plan of ten thousand steps from its file to its end.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use synod_agents::workflow::engine::{Action, Engine, Event};
use synod_agents::workflow::journal::parse;
use synod_agents::workflow::plan::{Plan, Step, Strategy};
use synod_platform::time::Mono;

/// Steps of the largest plan.
const LARGE: usize = 10_000;
/// Steps side by side in each rung of the ladder.
const RUNG: usize = 100;

/// A ladder: every step needs two of the rung before.
fn ladder(steps: usize, strategy: Strategy) -> Plan {
    let id = |n: usize| format!("s{n}");
    let steps = (0..steps).map(|n| {
        let before: Vec<String> = match n.checked_sub(RUNG) {
            None => Vec::new(),
            Some(below) => vec![id(below), id(n - n % RUNG - RUNG + (n + 1) % RUNG)],
        };
        let needs: Vec<&str> = before.iter().map(String::as_str).collect();
        Step::new(&id(n), ["linter", "security", "docgen"][n % 3], "look", &needs)
    });
    Plan { strategy, limit: 64, ..Plan::new("measure", "/t", steps.collect()) }
}

/// Runs a plan whose steps are done as soon as they are started.
fn run(mut engine: Engine) -> u32 {
    let (mut actions, mut started, mut done) = (Vec::new(), Vec::new(), 0);
    let mut event = Event::Tick;
    loop {
        engine.handle(event, Mono::from_nanos(u64::from(done)), 0.5, &mut actions);
        for action in actions.drain(..) {
            match action {
                Action::Start { step, attempt } => started.push((step, attempt)),
                Action::Ended(_) => return done,
                _ => {}
            }
        }
        let (step, attempt) = started.pop().expect("a run that goes on has something running");
        done += 1;
        event = Event::Done { step, attempt };
    }
}

fn steps(c: &mut Criterion) {
    let mut group = c.benchmark_group("workflow/run");
    group.sample_size(20);
    let all = [Strategy::Sequential, Strategy::Parallel, Strategy::Pipeline, Strategy::Adaptive];
    for (steps, strategies) in [(100, &all[1..2]), (1000, &all[1..2]), (LARGE, &all[..])] {
        for strategy in strategies {
            let plan = ladder(steps, *strategy);
            group.throughput(Throughput::Elements(steps as u64));
            group.bench_function(BenchmarkId::new(strategy.word(), steps), |b| {
                b.iter_batched(
                    || Engine::new(&plan, Mono::MAX).expect("a plan"),
                    |engine| assert_eq!(run(engine), steps as u32),
                    BatchSize::LargeInput,
                );
            });
        }
    }
    group.finish();
}

fn files(c: &mut Criterion) {
    let plan = ladder(LARGE, Strategy::Parallel);
    let agents = ["linter", "security", "docgen"];
    let text = plan.to_toml();
    let mut group = c.benchmark_group("workflow/files");
    group.sample_size(10);
    group.bench_function("plan-read-10000", |b| {
        b.iter(|| Plan::read(black_box(&text), "plan.toml", &agents).expect("its own form"));
    });
    group.bench_function("engine-made-10000", |b| {
        b.iter(|| Engine::new(black_box(&plan), Mono::MAX).expect("a plan"))
    });
    let line = "{\"at_ms\":1,\"step\":\"s1\",\"event\":\"started\",\"agent\":\"linter\",\"attempt\":1}\n";
    let journal = line.repeat(2 * LARGE);
    group.bench_function("journal-read-20000", |b| {
        b.iter(|| parse(black_box(journal.as_bytes())).expect("whole").0.len());
    });
    group.finish();
}

criterion_group!(benches, steps, files);
criterion_main!(benches);
