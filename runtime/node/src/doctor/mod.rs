//! What this machine gives to Synod: kernels and their speed, topology, disk, memory, limits, the jail for foreign code, tools.
//!
//! Read only. The speed of the checksum kernels is a short measurement of this moment, good for comparing them with each other.

pub mod placement;
pub mod transports;

use std::time::Duration;

use serde::Serialize;
use synod_platform::{disk, machine, process, time, topology::Topology};
use synod_wire::simd::{self, Kernel};

/// How long each kernel is measured.
const MEASURE: Duration = Duration::from_millis(20);

/// Everything that was found out.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// This program's version.
    pub synod: &'static str,
    /// Kernel, processor, architecture.
    pub system: Vec<Fact>,
    /// Extensions of the instruction set that our kernels can use, and whether they are there.
    pub features: Vec<Feature>,
    /// The CRC-32C kernels.
    pub crc32c: Vec<CrcKernel>,
    /// The machine's shape.
    pub topology: Vec<Fact>,
    /// Disk, memory, limits.
    pub resources: Vec<Fact>,
    /// What the jail is worth in which a tree's own code runs: each measure, and what enforces it here.
    pub jail: Vec<Fact>,
    /// Tools that agents call.
    pub tools: Vec<ToolFound>,
    /// What could be better, and how.
    pub advice: Vec<String>,
}

/// One thing found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What.
    pub name: &'static str,
    /// How it is.
    pub value: String,
}

/// An extension of the instruction set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Feature {
    /// Its name as Rust spells it.
    pub name: &'static str,
    /// Whether it is there.
    pub present: bool,
}

/// A kernel for CRC-32C.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CrcKernel {
    /// Its name.
    pub name: &'static str,
    /// Whether this processor can run it.
    pub supported: bool,
    /// Whether it is the one in use.
    pub in_use: bool,
    /// 10^9 bytes a second over 64 KiB blocks, now; absent if it cannot run.
    pub gb_per_s: Option<f64>,
}

/// A tool that some agent calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToolFound {
    /// Its name.
    pub name: &'static str,
    /// What it is good for.
    pub used_for: &'static str,
    /// Where it is; absent if it is missing.
    pub path: Option<String>,
}

/// The tools that agents call, and what for.
pub const TOOLS: [(&str, &str); 6] = [
    ("python3", "LINTER: parsing Python"),
    ("node", "LINTER: parsing JavaScript"),
    ("bash", "LINTER: parsing shell scripts"),
    ("rustfmt", "LINTER: the format of Rust"),
    ("ruff", "LINTER: style and bug checks of Python"),
    ("shellcheck", "LINTER: checks of shell scripts"),
];

/// Looks at everything.
pub async fn examine() -> Diagnosis {
    let machine = machine::look();
    let mut advice = Vec::new();
    let fact = |name, value: String| Fact { name, value };

    let mut system =
        vec![fact("kernel", machine.kernel.clone()), fact("architecture", machine.architecture.into())];
    system.extend(machine.processor.clone().map(|processor| fact("processor", processor)));
    system.push(fact("usable processors", machine.processors.to_string()));
    system.extend(machine.memory_kib.map(|kib| fact("memory", format!("{} MiB", kib >> 10))));

    let topology = match Topology::detect() {
        Ok(topology) => shape(&topology),
        Err(error) => {
            advice.push(format!("contexts cannot be placed: {error}"));
            Vec::new()
        }
    };

    let backend = disk::backend();
    if let disk::Backend::ThreadPool { reason } = &backend {
        advice.push(format!("the disk is driven by threads instead of io_uring: {reason}"));
    }
    let mut resources = vec![
        fact("disk operations", backend.to_string()),
        fact(
            "transparent huge pages",
            machine.transparent_huge_pages.clone().unwrap_or_else(|| "unknown".into()),
        ),
    ];
    for pages in &machine.huge_pages {
        resources.push(fact(
            "huge pages",
            format!("{} KiB each: {} reserved, {} free", pages.size_kib, pages.total, pages.free),
        ));
    }
    resources.push(fact("locked memory", bytes(machine.locked_memory)));
    resources.push(fact("open files", count(machine.open_files)));
    if machine.open_files.soft.is_some_and(|soft| soft < 4096) {
        advice.push("few open files are allowed: `ulimit -n 65536`, or LimitNOFILE= in the unit".into());
    }

    let tools: Vec<ToolFound> = TOOLS
        .into_iter()
        .map(|(name, used_for)| ToolFound {
            name,
            used_for,
            path: process::which(name).map(|path| path.display().to_string()),
        })
        .collect();
    for tool in tools.iter().filter(|tool| tool.path.is_none()) {
        advice.push(format!("{} is not installed ({})", tool.name, tool.used_for));
    }

    let jail = match process::containment().await {
        Ok(contained) => {
            advice.extend(contained.gaps().into_iter().map(|gap| format!("a tree's own code: {gap}")));
            contained.measures.iter().map(|(measure, held)| fact(measure.name(), held.to_string())).collect()
        }
        Err(error) => {
            advice.push(format!("a tree's own code cannot be jailed: {error}"));
            Vec::new()
        }
    };

    Diagnosis {
        synod: env!("CARGO_PKG_VERSION"),
        system,
        features: machine.features.iter().map(|f| Feature { name: f.name, present: f.present }).collect(),
        crc32c: kernels(),
        topology,
        resources,
        jail,
        tools,
        advice,
    }
}

fn shape(topology: &Topology) -> Vec<Fact> {
    let fact = |name, value: String| Fact { name, value };
    let mut facts = vec![
        fact("cores", format!("{} with {} logical processors", topology.cores.len(), topology.processors())),
        fact("NUMA nodes", topology.numa_nodes.len().to_string()),
    ];
    let mut told: Vec<(usize, Option<u64>)> = Vec::new();
    for cache in &topology.caches {
        if told.contains(&(cache.level, cache.size)) {
            continue;
        }
        told.push((cache.level, cache.size));
        let alike = topology.caches.iter().filter(|c| (c.level, c.size) == (cache.level, cache.size)).count();
        let size = cache.size.map_or("of unknown size".into(), |size| format!("{} KiB", size >> 10));
        let line = cache.line.map_or(String::new(), |line| format!(", lines of {line} bytes"));
        facts.push(fact(
            "cache",
            format!("L{}: {alike} × {size}{line}, shared by {}", cache.level, cache.processors.len()),
        ));
    }
    facts
}

fn kernels() -> Vec<CrcKernel> {
    let block: Vec<u8> = (0..65_536u32).map(|n| (n % 251) as u8).collect();
    let in_use = simd::chosen();
    Kernel::ALL
        .into_iter()
        .map(|kernel| CrcKernel {
            name: kernel.name(),
            supported: kernel.is_supported(),
            in_use: kernel == in_use,
            gb_per_s: kernel.function().map(|function| measure(function, &block)),
        })
        .collect()
}

/// The best of three slices: what disturbs a slice only makes it slower.
fn measure(kernel: fn(u32, &[u8]) -> u32, block: &[u8]) -> f64 {
    let mut best = 0.0f64;
    for _ in 0..3 {
        let (begin, mut blocks, mut crc) = (time::now(), 0u64, 0u32);
        let mut took = Duration::ZERO;
        while took < MEASURE / 3 {
            for _ in 0..8 {
                crc = kernel(crc, std::hint::black_box(block));
            }
            blocks += 8;
            took = time::now().since(begin);
        }
        std::hint::black_box(crc);
        best = best.max(blocks as f64 * block.len() as f64 / took.as_secs_f64() / 1e9);
    }
    (best * 100.0).round() / 100.0
}

fn bytes(limit: machine::Limit) -> String {
    let word =
        |value: Option<u64>| value.map_or("unlimited".to_string(), |bytes| format!("{} KiB", bytes >> 10));
    format!("{} (may be raised to {})", word(limit.soft), word(limit.hard))
}

fn count(limit: machine::Limit) -> String {
    let word = |value: Option<u64>| value.map_or("unlimited".to_string(), |n| n.to_string());
    format!("{} (may be raised to {})", word(limit.soft), word(limit.hard))
}
