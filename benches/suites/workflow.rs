//! The workflow engine: what one step costs it, and a plan of ten thousand steps from its file to its end, with its memory.
//!
//! `run` is the pure engine; `shell` is a run as PROJECT_ORCHESTRATOR has it, over the fabric, to agents that have nothing to do. Its
//! journal is synced twice a step: in memory that costs next to nothing, on a disk it is most of the time.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use synod_agents::task::{Task, Urgency, task_subject};
use synod_agents::workflow::engine::{Action, Engine, Event};
use synod_agents::workflow::journal::parse;
use synod_agents::workflow::plan::{Plan, Step, Strategy};
use synod_agents::workflow::run;
use synod_agents::{Phase, Post, WorkError};
use synod_fabric::{Context, Fabric, FabricConfig, Priority};
use synod_platform::time::{self, Mono};
use synod_platform::{files, random, task, watch};

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
        Step::new(&id(n), AGENTS[n % 3], "look", &needs)
    });
    Plan { strategy, limit: 64, ..Plan::new("measure", "/t", steps.collect()) }
}

/// The agents of the ladder.
const AGENTS: [&str; 3] = ["linter", "security", "docgen"];

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
    let text = plan.to_toml();
    let mut group = c.benchmark_group("workflow/files");
    group.sample_size(10);
    group.bench_function("plan-read-10000", |b| {
        b.iter(|| Plan::read(black_box(&text), "plan.toml", &AGENTS).expect("its own form"));
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

/// A run of `plan` under an order, journal and all, in a new folder below `place`; how long it took.
async fn ordered(plan: &Plan, place: &Path) -> Duration {
    let folder = place.join(format!("synod-bench-{:016x}", random::u64())).join("run");
    files::create_directories(&folder).await.expect("a folder");
    let context = Fabric::new(FabricConfig::named("bench")).enter("main").expect("a new fabric");
    let (phase, _) = watch::channel(Phase::Serve);
    for agent in AGENTS {
        let post = Post::open_with(&context, agent, |desk| async move { Ok(desk.handoff("client")) });
        seat(post.await.expect("a free name"), &phase);
    }
    let runs = plan.clone();
    let runner = Post::open_with(&context, "runner", move |desk| {
        let plan = runs.clone();
        async move {
            let nobody = |step: Step| async move { Err(WorkError::Task(step.id)) };
            let ran = run::run(&desk, &plan, |step| Box::pin(nobody(step))).await?;
            assert_eq!(ran.done.len(), plan.steps.len());
            Ok(desk.handoff("client"))
        }
    });
    seat(runner.await.expect("a free name"), &phase);
    let took = ask(&context, &folder).await;
    phase.send_replace(Phase::Stop);
    files::remove_tree(folder.parent().expect("it has one")).await.expect("our own folder");
    took
}

fn seat(post: Post, phase: &watch::Sender<Phase>) {
    let phase = phase.subscribe();
    task::spawn(async move { post.run(phase).await.expect("it does not panic") }).detach();
}

async fn ask(context: &Context, folder: &Path) -> Duration {
    let within = Duration::from_secs(600);
    let order = Task {
        id: "run".into(),
        run: "bench".into(),
        goal: "measure".into(),
        tree: "/t".into(),
        folder: folder.to_string_lossy().into_owned(),
        inputs: BTreeMap::new(),
        within_ms: 600_000,
        priority: Urgency::Normal,
        lease: None,
    };
    let text = serde_json::to_vec(&order).expect("plain data");
    let client = context.agent("client").expect("a free name");
    let begun = time::now();
    client.request(&task_subject("runner"), Priority::Normal, text, within).await.expect("it ends");
    time::now().since(begun)
}

fn shell(c: &mut Criterion) {
    let mut group = c.benchmark_group("workflow/shell");
    group.sample_size(10);
    let (memory, disk) = (Path::new("/dev/shm").to_path_buf(), std::env::temp_dir());
    for (name, place, steps) in [
        ("in-memory", &memory, 100),
        ("in-memory", &memory, 1000),
        ("in-memory", &memory, LARGE),
        ("on-disk", &disk, 1000),
    ] {
        let plan = ladder(steps, Strategy::Parallel);
        group.throughput(Throughput::Elements(steps as u64));
        group.bench_function(BenchmarkId::new(name, steps), |b| {
            b.iter_custom(|runs| {
                let all = async {
                    let mut took = Duration::ZERO;
                    for _ in 0..runs {
                        took += ordered(&plan, place).await;
                    }
                    took
                };
                task::block_on(all)
            });
        });
    }
    group.finish();
}

/// What the process holds in memory, bytes.
fn resident() -> usize {
    let told = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = told.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    pages * 4096
}

/// The memory of a large plan and of its engine: told, not timed, and first of all, while the heap is fresh.
fn memory(_: &mut Criterion) {
    let kib = |from: usize, to: usize| to.saturating_sub(from) >> 10;
    let before = resident();
    let plan = ladder(LARGE, Strategy::Parallel);
    let planned = resident();
    let engine = Engine::new(&plan, Mono::MAX).expect("a plan");
    let made = resident();
    assert_eq!(run(engine), LARGE as u32);
    let (plan, engine, more) = (kib(before, planned), kib(planned, made), kib(made, resident()));
    println!("workflow/memory/{LARGE}: plan {plan} KiB, engine {engine} KiB, {more} KiB more for its run");
}

criterion_group!(benches, memory, steps, files, shell);
criterion_main!(benches);
