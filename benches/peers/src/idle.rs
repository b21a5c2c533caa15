//! What attached agents cost that do nothing: processor time, wake-ups and memory, of the node and of all processes together.
//!
//! Twenty processes (or as many as there are agents) attach to a node in a process of its own. Each agent has an inbox and has sent one message to
//! an agent of the next process, so that lanes are there; then all of them are left alone, and the kernel's books are read
//! before and after. A figure of one run; no rounds.

use crate::groups::{Row, Rows};
use crate::machine::{Cores, pin_to_both};
use crate::processes::publish::{Node, Place};
use crate::processes::{Folder, Task, other};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use synod_platform::{task, time};

/// What `--only` calls it.
pub const NAME: &str = "idle";

/// Most processes.
const PROCESSES: usize = 20;

/// Who has not run for so long is at rest.
const REST: Duration = Duration::from_millis(20);

/// How long may pass until all have talked.
const SOON: Duration = Duration::from_secs(120);

/// One process's agents among all.
#[derive(Debug, Serialize, Deserialize)]
pub struct Idlers {
    process: usize,
    processes: usize,
    agents: usize,
    /// How many every process has at least: those talk.
    talkers: usize,
    cores: Cores,
}

fn name(process: usize, agent: usize) -> String {
    format!("p{process}-a{agent}")
}

/// Where a process says that its agents have talked.
fn talked(folder: &Path, process: usize) -> std::path::PathBuf {
    folder.join(format!("talked-{process}"))
}

/// The process's whole life: until it is ended.
pub fn attached(folder: &Path, idlers: &Idlers) -> Result<(), String> {
    pin_to_both(idlers.cores);
    task::block_on(async {
        let process = idlers.process;
        let place = Place::take(folder, &format!("p{process}"), |_| ()).await;
        let (mut agents, mut inboxes) = (Vec::new(), Vec::new());
        for number in 0..idlers.agents {
            let agent = place.context.join(&name(process, number)).await.map_err(|why| why.to_string())?;
            inboxes.push(agent.inbox(256).await.map_err(|why| why.to_string())?);
            agents.push(agent);
        }
        let next = (process + 1) % idlers.processes;
        for (number, agent) in agents.iter().enumerate().take(idlers.talkers) {
            let to = format!("agent.{}", name(next, number));
            let normal = synod_fabric::Priority::Normal;
            loop {
                let receipt = agent.publish_wait(&to, normal, "hello", SOON).await;
                match receipt.map_err(|why| why.to_string())?.accepted_count() {
                    // Its process is not there yet.
                    0 => time::sleep(Duration::from_millis(5)).await,
                    _ => break,
                }
            }
        }
        for inbox in inboxes.iter_mut().take(idlers.talkers) {
            inbox.recv().await.ok_or("the fabric has ended")?;
        }
        fs::write(talked(folder, process), "").map_err(|why| why.to_string())?;
        std::future::pending().await
    })
}

/// A node and agents attached to it that have talked once and then do nothing; ended when dropped.
pub struct Crowd {
    node: Node,
    children: Vec<Child>,
    took: Duration,
    folder: Folder,
}

impl Crowd {
    /// So many agents, when all have talked.
    pub fn gather(agents: usize, cores: Cores) -> Self {
        let folder = Folder::new();
        let node = Node::start(&folder.0, cores);
        let processes = PROCESSES.min(agents);
        let begun = Instant::now();
        let child = |process| {
            let own = (agents + processes - 1 - process) / processes;
            let idlers = Idlers { process, processes, agents: own, talkers: agents / processes, cores };
            other(&Task::Idle(folder.0.clone(), idlers), Stdio::null())
        };
        let children = (0..processes).map(child).collect();
        let mut crowd = Self { node, children, took: Duration::ZERO, folder };
        while !(0..processes).all(|process| talked(&crowd.folder.0, process).exists()) {
            crowd.took = begun.elapsed();
            assert!(crowd.took < SOON, "{processes} processes with {agents} agents did not all talk in time");
            std::thread::sleep(Duration::from_millis(10));
        }
        crowd
    }

    /// Does something at its node, given that one's folder, while the crowd is there and at rest. Before and after all of it is stopped,
    /// so that what it cost, were it anything, would be felt by whom it is there for alone.
    pub fn attend<T>(&self, work: impl FnOnce(&Path) -> T) -> T {
        self.signal(Signal::CONT);
        self.settle();
        let done = work(&self.folder.0);
        self.signal(Signal::STOP);
        done
    }

    fn ids(&self) -> impl Iterator<Item = u32> {
        std::iter::once(self.node.id()).chain(self.children.iter().map(Child::id))
    }

    fn signal(&self, signal: Signal) {
        for process in self.ids().filter_map(|id| Pid::from_raw(id as i32)) {
            kill_process(process, signal).expect("a child of ours");
        }
    }

    /// Waits until none of it has run for a while.
    fn settle(&self) {
        let begun = Instant::now();
        let mut before = 0.0;
        loop {
            let used = self.ids().flat_map(|id| threads(id).into_values()).map(|(used, _)| used).sum();
            if used == before {
                return;
            }
            assert!(begun.elapsed() < SOON, "agents that do nothing do not come to rest");
            before = used;
            std::thread::sleep(REST);
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

/// Of each thread: nanoseconds on a core, and times it slept and was woken.
type Threads = BTreeMap<String, (f64, f64)>;

fn threads(process: u32) -> Threads {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let threads = tasks.map(|task| {
        let of = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let (used, woken) = (first(&of("schedstat")), field(&of("status"), "voluntary_ctxt_switches:"));
        (task.path().display().to_string(), (used, woken))
    });
    threads.collect()
}

/// What the kernel knows of a process.
#[derive(Clone, Default)]
struct Books {
    threads: Threads,
    /// KiB that are its own, and its share of what it shares.
    pss: f64,
    /// KiB of shared memory, its share.
    shared: f64,
    /// KiB in memory.
    rss: f64,
    mappings: f64,
    descriptors: f64,
}

impl Books {
    fn of(process: u32) -> Self {
        let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
        let count =
            |folder: &str| fs::read_dir(format!("/proc/{process}/{folder}")).map_or(0, Iterator::count);
        let memory = read("smaps_rollup");
        Self {
            threads: threads(process),
            pss: field(&memory, "Pss:"),
            shared: field(&memory, "Pss_Shmem:"),
            rss: field(&memory, "Rss:"),
            mappings: read("maps").lines().count() as f64,
            descriptors: count("fd") as f64,
        }
    }

    fn sum(processes: &[u32]) -> Self {
        processes.iter().map(|process| Self::of(*process)).fold(Self::default(), |sum, of| Self {
            threads: sum.threads.into_iter().chain(of.threads).collect(),
            pss: sum.pss + of.pss,
            shared: sum.shared + of.shared,
            rss: sum.rss + of.rss,
            mappings: sum.mappings + of.mappings,
            descriptors: sum.descriptors + of.descriptors,
        })
    }

    /// What its threads used since then, and how often they were woken. What a thread did that has ended is not known any more.
    fn since(&self, before: &Self) -> (f64, f64) {
        let since = self.threads.iter().map(|(thread, (used, woken))| {
            let then = before.threads.get(thread).copied().unwrap_or_default();
            (used - then.0, woken - then.1)
        });
        since.fold((0.0, 0.0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
    }
}

/// The first number of a text.
fn first(text: &str) -> f64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// The number behind a name that begins a line.
fn field(text: &str, name: &str) -> f64 {
    text.lines().find_map(|line| line.strip_prefix(name)).map_or(0.0, first)
}

/// For each number of agents: attaches them, leaves them alone, and reads the books.
pub fn run(counts: &[usize], idle: Duration, cores: Cores) -> Rows {
    let mut rows = Rows::new();
    let mut memory = Vec::new();
    for count in counts {
        let (node, processes) = observe(*count, idle, cores, &mut rows);
        memory.push((*count, node.pss, node.pss + processes.shared, node.pss + processes.pss));
    }
    let at = |agents: usize| memory.iter().find(|(count, ..)| *count == agents);
    if let (Some(few), Some(many)) = (at(100), at(1000)) {
        let slope = |few: f64, many: f64| (many - few) / 900.0;
        rows.push(row("from 100 to 1000", 0, "node memory an agent", "KiB", slope(few.1, many.1)));
        rows.push(row("from 100 to 1000", 0, "node and shared memory an agent", "KiB", slope(few.2, many.2)));
        rows.push(row("from 100 to 1000", 0, "all memory an agent", "KiB", slope(few.3, many.3)));
    }
    rows
}

fn observe(count: usize, idle: Duration, cores: Cores, rows: &mut Rows) -> (Books, Books) {
    let crowd = Crowd::gather(count, cores);
    let processes = crowd.children.len();
    // What was begun comes to its end; helper threads do after ten seconds.
    std::thread::sleep(idle.min(Duration::from_secs(12)));
    let ids: Vec<u32> = crowd.children.iter().map(Child::id).collect();
    let books = || (Books::of(crowd.node.id()), Books::sum(&ids));
    let (before, clock) = (books(), Instant::now());
    std::thread::sleep(idle);
    let (after, seconds) = (books(), clock.elapsed().as_secs_f64());
    let (of_node, of_all) = (after.0.since(&before.0), after.1.since(&before.1));
    let (used, woken) = (of_node.0 + of_all.0, of_node.1 + of_all.1);
    let (node, all) = after;
    let figures = [
        ("processor time of all", "% of a core", used / seconds / 1e7),
        ("wake-ups of all", "1/s", woken / seconds),
        ("proportional memory of the node", "KiB", node.pss),
        ("resident memory of the node", "KiB", node.rss),
        ("mappings of the node", "", node.mappings),
        ("descriptors of the node", "", node.descriptors),
        ("proportional memory of a process", "KiB", all.pss / processes as f64),
        ("of it shared", "KiB", all.shared / processes as f64),
        ("resident memory of a process", "KiB", all.rss / processes as f64),
        ("mappings of a process", "", all.mappings / processes as f64),
        ("descriptors of a process", "", all.descriptors / processes as f64),
        ("until all had talked", "ms", crowd.took.as_secs_f64() * 1e3),
    ];
    let subject = match count {
        1 => "synod, 1 agent",
        8 => "synod, 8 agents",
        64 => "synod, 64 agents",
        100 => "synod, 100 agents",
        256 => "synod, 256 agents",
        1000 => "synod, 1000 agents",
        _ => "synod, some agents",
    };
    rows.extend(figures.map(|(metric, unit, figure)| row(subject, processes, metric, unit, figure)));
    (node, all)
}

fn row(subject: &'static str, processes: usize, metric: &str, unit: &'static str, figure: f64) -> Row {
    let mode = if processes == PROCESSES { "20 processes" } else { "few processes" };
    Row::seen((NAME, subject, mode), 0, metric.to_owned(), unit, figure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_number_behind_the_name_that_begins_its_line() {
        let status = "Name:\tpeers\nvoluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t4\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), 17.0);
        assert_eq!(field(status, "nonvoluntary_ctxt_switches:"), 4.0);
        assert_eq!(field(status, "Pss:"), 0.0);
    }

    #[test]
    fn this_process_has_used_time_and_memory_by_the_kernels_books() {
        let books = Books::of(std::process::id());
        assert!(books.pss > 0.0 && books.rss >= books.pss, "a process that runs");
        assert!(books.mappings > 5.0 && books.descriptors >= 3.0);
    }
}
