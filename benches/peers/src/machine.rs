//! Which processor, kernel and versions a report was made with, and which two cores its threads stay on.

use crate::measure::Plan;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

/// The cores that the two sides of every subject are pinned to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Cores {
    /// The sending side's, or none if the system does not let us pin.
    pub sender: Option<usize>,
    /// The receiving side's.
    pub receiver: Option<usize>,
}

impl Cores {
    /// The first two cores this process may use.
    pub fn choose() -> Self {
        let Ok(allowed) = sched_getaffinity(None) else { return Self { sender: None, receiver: None } };
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        Self { sender: cores.next(), receiver: cores.next() }
    }
}

/// Keeps this thread on a core, if one was chosen; where that is refused the scheduler decides.
pub fn pin(core: Option<usize>) {
    if let Some(core) = core {
        let mut set = CpuSet::new();
        set.set(core);
        let _ = sched_setaffinity(None, &set);
    }
}

/// Leaves this thread, and whatever it starts, both cores.
#[cfg(feature = "fabric")]
pub fn pin_to_both(cores: Cores) {
    let mut set = CpuSet::new();
    [cores.sender, cores.receiver].into_iter().flatten().for_each(|core| set.set(core));
    let _ = sched_setaffinity(None, &set);
}

/// What stands on every report.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many this process may use.
    pub cores: usize,
    /// Which of them were used.
    pub pinned: Cores,
    /// The kernel's name and release.
    pub kernel: String,
    /// How many wanted a core before the run, over 1, 5 and 15 minutes.
    pub load: String,
    /// Name and version of every subject that is not ours, and of the compiler's target.
    pub versions: Vec<(String, String)>,
}

impl Machine {
    /// Looks at the machine.
    pub fn look(plan: &Plan) -> Self {
        let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let kernel = rustix::system::uname();
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        Self {
            processor: processor.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            pinned: plan.cores,
            kernel: format!("{} {}", text(kernel.sysname()), text(kernel.release())),
            load: load.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
            versions: PEERS.iter().map(|name| ((*name).to_owned(), locked(name))).collect(),
        }
    }
}

/// Packages of this build that are not ours.
const PEERS: &[&str] = &[
    "rtrb",
    "crossbeam-channel",
    #[cfg(feature = "queues")]
    "disruptor",
    #[cfg(feature = "queues")]
    "kanal",
    #[cfg(feature = "queues")]
    "flume",
    #[cfg(feature = "queues")]
    "tokio",
    #[cfg(feature = "iceoryx2")]
    "iceoryx2",
    #[cfg(feature = "aeron")]
    "rusteron-media-driver",
    #[cfg(feature = "zenoh")]
    "zenoh",
    #[cfg(feature = "zmq")]
    "zeromq-src",
    #[cfg(feature = "databases")]
    "redb",
    #[cfg(feature = "databases")]
    "fjall",
    #[cfg(feature = "databases")]
    "libsqlite3-sys",
];

/// The version of a package in this workspace's lock file.
fn locked(name: &str) -> String {
    let lock = include_str!("../Cargo.lock");
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{name}\"\n")));
    let version = entry.and_then(|entry| entry.lines().find_map(|line| line.strip_prefix("version = ")));
    version.map_or("unknown", |version| version.trim_matches('"')).to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_come_from_the_lock_file() {
        assert!(super::locked("rtrb").starts_with("0.4"));
        assert_eq!(super::locked("no-such-package"), "unknown");
    }
}
