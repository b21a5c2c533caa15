//! What a monitor reads at `/metrics`: the fabric's own counts, what supervision and runs told, and what the process costs.
//!
//! Written by prometheus-client in OpenMetrics' text form from a snapshot taken at that moment, in a fixed order. An edge's counters go
//! when either end goes: their sum goes on under `to="(ended)"`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use synod_agents::workflow::journal::{Happened, Line};
use synod_fabric::{Counts, Snapshot};
use synod_platform::files;
use synod_probe::loss;

/// The media type of the text.
pub const MEDIA: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Upper bounds of the buckets of a step's duration, in seconds.
const BUCKETS: [f64; 12] = [0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// Ticks of processor time in a second, as Linux tells them to programs.
const TICKS: f64 = 100.0;
/// Largest file of the kernel's that is read, in bytes.
const KERNEL_FILE_MAX: u64 = 1 << 16;

/// Labels with their values.
type Labels = Vec<(&'static str, String)>;

/// What is counted as it happens.
#[derive(Debug, Default)]
pub struct Counted(RefCell<Tallies>);

#[derive(Debug, Default)]
struct Tallies {
    restarts: BTreeMap<String, u64>,
    tasks: BTreeMap<(String, &'static str), u64>,
    steps: BTreeMap<String, Steps>,
    runs: BTreeMap<String, u64>,
    requests: BTreeMap<(&'static str, u16), u64>,
}

#[derive(Debug, Clone, Default)]
struct Steps {
    sum: f64,
    count: u64,
    buckets: [u64; BUCKETS.len() + 1],
}

impl Counted {
    /// An agent was started again after a crash.
    pub fn restart(&self, agent: &str) {
        *self.0.borrow_mut().restarts.entry(agent.into()).or_default() += 1;
    }

    /// A run ended with that outcome.
    pub fn run(&self, outcome: &str) {
        *self.0.borrow_mut().runs.entry(outcome.into()).or_default() += 1;
    }

    /// A request was answered; `room` is the first part of its path, if that is one of ours.
    pub fn request(&self, room: &'static str, status: u16) {
        *self.0.borrow_mut().requests.entry((room, status)).or_default() += 1;
    }

    /// The journal of a run that ended: its tasks by agent and outcome, and how long its steps took.
    pub fn journal(&self, lines: &[Line]) {
        let mut counts = self.0.borrow_mut();
        let mut started: BTreeMap<&str, u64> = BTreeMap::new();
        for line in lines {
            match line.event {
                Happened::Started => {
                    started.insert(&line.step, line.at_ms);
                }
                Happened::Done | Happened::Failed | Happened::Retried => {
                    *counts.tasks.entry((line.agent.clone(), line.event.word())).or_default() += 1;
                    if let Some(from) = started.remove(line.step.as_str()) {
                        let seconds = line.at_ms.saturating_sub(from) as f64 / 1000.0;
                        let steps = counts.steps.entry(line.agent.clone()).or_default();
                        steps.sum += seconds;
                        steps.count += 1;
                        let bucket =
                            BUCKETS.iter().position(|most| seconds <= *most).unwrap_or(BUCKETS.len());
                        steps.buckets[bucket] += 1;
                    }
                }
                _ => {}
            }
        }
    }
}

/// What is looked at when somebody asks.
#[derive(Debug)]
pub struct Seen {
    /// The node's name.
    pub node: String,
    /// The version of this build.
    pub version: &'static str,
    /// Whether the node takes work.
    pub ready: bool,
    /// Seconds since it started.
    pub uptime: f64,
    /// Agents with their contexts, and whether they are still on board.
    pub agents: Vec<(String, String, bool)>,
    /// Runs under way.
    pub active: usize,
    /// The fabric, once there is one.
    pub fabric: Option<Snapshot>,
    /// What the process costs, as far as the kernel tells.
    pub process: Process,
}

/// What a process costs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    /// Resident memory, in bytes.
    pub memory: Option<f64>,
    /// Processor time used, in seconds.
    pub cpu: Option<f64>,
    /// Open descriptors.
    pub descriptors: Option<f64>,
}

impl Process {
    /// Looks at this process.
    pub async fn look() -> Self {
        let text = |path: &'static str| async move {
            let bytes = files::read(Path::new(path), KERNEL_FILE_MAX).await.ok()?;
            String::from_utf8(bytes).ok()
        };
        let descriptors = files::list(Path::new("/proc/self/fd")).await.ok().map(|all| all.len() as f64);
        Process {
            memory: text("/proc/self/status").await.and_then(|status| resident(&status)),
            cpu: text("/proc/self/stat").await.and_then(|stat| processor(&stat)),
            descriptors,
        }
    }
}

fn resident(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0)
}

fn processor(stat: &str) -> Option<f64> {
    // The program's name stands in brackets and may hold anything; the numbers follow the last one. User time is the 14th field of the
    // line, system time the 15th; state is the 3rd.
    let (_, numbers) = stat.rsplit_once(')')?;
    let mut fields = numbers.split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<f64>().ok());
    Some((ticks()? + ticks()?) / TICKS)
}

/// Values by labels, in order.
struct Table {
    kind: MetricType,
    rows: Vec<(Labels, f64)>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} rows)", self.rows.len())
    }
}

fn write(row: &mut MetricEncoder, kind: MetricType, value: f64) -> fmt::Result {
    match kind {
        MetricType::Counter => row.encode_counter::<NoLabelSet, f64, u64>(&value, None),
        _ => row.encode_gauge(&value),
    }
}

impl EncodeMetric for Table {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        for (labels, value) in &self.rows {
            if labels.is_empty() {
                write(&mut encoder, self.kind, *value)?;
            } else {
                write(&mut encoder.encode_family(labels)?, self.kind, *value)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }
}

/// A histogram of durations for each agent.
#[derive(Debug)]
struct Durations(Vec<(Labels, Steps)>);

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        for (labels, steps) in &self.0 {
            let bounds = BUCKETS.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(steps.buckets).collect();
            encoder.encode_family(labels)?.encode_histogram::<NoLabelSet>(
                steps.sum,
                steps.count,
                &buckets,
                None,
            )?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// The text that a monitor reads.
pub fn text(counted: &Counted, seen: &Seen) -> String {
    let mut registry = Registry::default();
    let counts = counted.0.borrow();
    let mut table = |name: &str, help: &str, kind: MetricType, rows: Vec<(Labels, f64)>| {
        if !rows.is_empty() {
            registry.register(name, help, Table { kind, rows });
        }
    };
    let (gauge, counter) = (MetricType::Gauge, MetricType::Counter);
    let version = vec![("node", seen.node.clone()), ("version", seen.version.to_string())];
    table("synod_build", "This build, as labels", gauge, vec![(version, 1.0)]);
    table(
        "synod_ready",
        "Whether the node takes work",
        gauge,
        vec![(vec![], f64::from(u8::from(seen.ready)))],
    );
    table("synod_uptime_seconds", "Seconds since the node started", gauge, vec![(vec![], seen.uptime)]);
    let agents = seen.agents.iter().map(|(agent, context, there)| {
        (vec![("agent", agent.clone()), ("context", context.clone())], f64::from(u8::from(*there)))
    });
    table("synod_agents", "Agents: 1 on board, 0 given up", gauge, agents.collect());
    let restarts = seen.agents.iter().map(|(agent, ..)| {
        (vec![("agent", agent.clone())], counts.restarts.get(agent).copied().unwrap_or(0) as f64)
    });
    table("synod_agent_restarts", "Restarts after crashes", counter, restarts.collect());
    let tasks = counts.tasks.iter().map(|((agent, outcome), n)| {
        (vec![("agent", agent.clone()), ("outcome", outcome.to_string())], *n as f64)
    });
    table("synod_tasks", "Tasks of this node's runs, by agent and outcome", counter, tasks.collect());
    let runs = counts.runs.iter().map(|(outcome, n)| (vec![("outcome", outcome.clone())], *n as f64));
    table("synod_runs", "Runs that ended, by outcome", counter, runs.collect());
    table("synod_runs_active", "Runs under way", gauge, vec![(vec![], seen.active as f64)]);
    let requests = counts.requests.iter().map(|((room, status), n)| {
        (vec![("room", room.to_string()), ("status", status.to_string())], *n as f64)
    });
    table("synod_http_requests", "Requests answered, by room and status", counter, requests.collect());
    let losses = loss::snapshot().into_iter().map(|loss| {
        (vec![("place", loss.place.to_string()), ("reason", loss.reason.to_string())], loss.count as f64)
    });
    table("synod_losses", "What was accepted and given up, by place and reason", counter, losses.collect());
    if let Some(fabric) = &seen.fabric {
        table("synod_messages", "Messages by sending context, receiver and fate", counter, messages(fabric));
        table("synod_mailbox_depth", "Messages that wait for a receiver", gauge, depths(fabric));
        let held = fabric.subscriptions.len() as f64;
        table("synod_subscriptions", "Patterns subscribed to and served", gauge, vec![(vec![], held)]);
    }
    let one = |value: Option<f64>| value.map(|value| (vec![], value)).into_iter().collect::<Vec<_>>();
    table("process_resident_memory_bytes", "Resident memory", gauge, one(seen.process.memory));
    table("process_open_fds", "Open descriptors", gauge, one(seen.process.descriptors));
    let cpu = one(seen.process.cpu);
    table("process_cpu_seconds", "Processor time used by this process so far, in seconds", counter, cpu);
    let steps = counts.steps.iter().map(|(agent, steps)| (vec![("agent", agent.clone())], steps.clone()));
    let durations = Durations(steps.collect());
    registry.register_with_unit(
        "synod_step",
        "How long steps of runs took, by agent",
        Unit::Seconds,
        durations,
    );
    let mut out = String::new();
    // Writing into a string does not fail.
    let _ = text::encode(&mut out, &registry);
    out
}

fn messages(fabric: &Snapshot) -> Vec<(Labels, f64)> {
    // A receiver may have several subscriptions: one row for each pair of names.
    let mut pairs: BTreeMap<(&str, &str), Vec<Counts>> = BTreeMap::new();
    for edge in &fabric.edges {
        pairs.entry((&edge.from, &edge.to)).or_default().push(edge.counts);
    }
    pairs.entry(("(ended)", "(ended)")).or_default().push(fabric.ended);
    let mut rows = Vec::new();
    for ((from, to), counts) in pairs {
        let sum = |of: fn(&Counts) -> u64| counts.iter().map(of).sum::<u64>();
        for (fate, count) in [
            ("accepted", sum(|c| c.accepted)),
            ("delivered", sum(|c| c.delivered)),
            ("refused", sum(|c| c.refused)),
            ("expired", sum(|c| c.expired)),
            ("cancelled", sum(|c| c.cancelled)),
            ("lost", sum(|c| c.lost)),
        ] {
            let labels = vec![("from", from.to_string()), ("to", to.to_string()), ("fate", fate.to_string())];
            rows.push((labels, count as f64));
        }
    }
    rows
}

fn depths(fabric: &Snapshot) -> Vec<(Labels, f64)> {
    let mut depths: BTreeMap<&str, u64> = BTreeMap::new();
    for edge in &fabric.edges {
        *depths.entry(&edge.to).or_default() += edge.counts.waiting();
    }
    depths.into_iter().map(|(to, depth)| (vec![("to", to.to_string())], depth as f64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_ms: u64, step: &str, event: Happened) -> Line {
        Line {
            at_ms,
            step: step.into(),
            event,
            agent: "linter".into(),
            attempt: 1,
            why: String::new(),
            handoff: None,
        }
    }

    #[test]
    fn a_journal_becomes_outcomes_and_durations_and_labels_are_escaped() {
        let counted = Counted::default();
        counted.journal(&[
            line(1_000, "lint", Happened::Started),
            line(1_200, "lint", Happened::Retried),
            line(2_000, "lint", Happened::Started),
            line(5_000, "lint", Happened::Done),
        ]);
        counted.run("pass");
        let seen = Seen {
            node: "a\"b\\c".into(),
            version: "1",
            ready: true,
            uptime: 2.5,
            agents: vec![("linter".into(), "work-0".into(), true)],
            active: 0,
            fabric: None,
            process: Process { memory: Some(4096.0), cpu: None, descriptors: None },
        };
        let text = text(&counted, &seen);
        for line in [
            r#"synod_build{node="a\"b\\c",version="1"} 1.0"#,
            r#"synod_ready 1.0"#,
            r#"synod_agent_restarts_total{agent="linter"} 0.0"#,
            r#"synod_tasks_total{agent="linter",outcome="done"} 1.0"#,
            r#"synod_tasks_total{agent="linter",outcome="retried"} 1.0"#,
            r#"synod_runs_total{outcome="pass"} 1.0"#,
            r#"synod_step_seconds_sum{agent="linter"} 3.2"#,
            r#"synod_step_seconds_count{agent="linter"} 2"#,
            r#"synod_step_seconds_bucket{le="0.5",agent="linter"} 1"#,
            r#"synod_step_seconds_bucket{le="5.0",agent="linter"} 2"#,
            r#"synod_step_seconds_bucket{le="+Inf",agent="linter"} 2"#,
            r#"process_resident_memory_bytes 4096.0"#,
        ] {
            assert!(text.lines().any(|is| is == line), "{line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        assert!(!text.contains("process_cpu_seconds"), "what is not known is left out");
    }

    #[test]
    fn the_kernel_s_lines_are_read_whatever_the_program_is_called() {
        let stat = "42 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20";
        assert_eq!(processor(stat), Some(3.0));
        assert_eq!(resident("VmPeak:\t 9 kB\nVmRSS:\t   12 kB\n"), Some(12288.0));
        assert_eq!((processor("nothing"), resident("nothing")), (None, None));
    }
}
