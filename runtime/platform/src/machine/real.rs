//! The real machine, from the kernel's files and calls. What it does not tell is left out, not guessed.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicU32;

use io_uring::{IoUring, Probe, opcode};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use rustix::system::uname;
use rustix::thread::futex;

use super::{CpuFeature, HugePages, Limit, Machine};

pub(super) fn look() -> Machine {
    let system = uname();
    Machine {
        kernel: format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy()),
        architecture: std::env::consts::ARCH,
        processor: field("/proc/cpuinfo", "model name"),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        features: features(),
        memory_kib: field("/proc/meminfo", "MemTotal").as_deref().and_then(first_number),
        locked_memory: limit(Resource::Memlock),
        open_files: limit(Resource::Nofile),
        transparent_huge_pages: transparent(),
        huge_pages: huge_pages(),
    }
}

pub(super) fn io_uring() -> Result<Vec<(&'static str, bool)>, String> {
    let told = |error: std::io::Error| format!("io_uring cannot be set up: {error}");
    let ring = IoUring::new(2).map_err(told)?;
    let mut known = Probe::new();
    ring.submitter().register_probe(&mut known).map_err(told)?;
    let operations = [
        ("read", opcode::Read::CODE),
        ("write", opcode::Write::CODE),
        ("fixed buffers", opcode::WriteFixed::CODE),
        ("fsync", opcode::Fsync::CODE),
        ("fallocate", opcode::Fallocate::CODE),
        ("receive", opcode::Recv::CODE),
        ("send", opcode::Send::CODE),
        ("send without copying", opcode::SendZc::CODE),
        ("message to a ring", opcode::MsgRingData::CODE),
        ("futex wait", opcode::FutexWait::CODE),
    ];
    Ok(operations.map(|(name, code)| (name, known.is_supported(code))).into())
}

pub(super) fn futex() -> Result<(), String> {
    let word = AtomicU32::new(1);
    // It is not 0: who may wait at all is told so at once.
    match futex::wait(&word, futex::Flags::empty(), 0, None) {
        Ok(()) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// The value of the first line `key : value`.
fn field(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let values = text.lines().filter_map(|line| line.split_once(':'));
    values.filter(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned()).next()
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

fn number(path: &Path) -> Option<u64> {
    first_number(&fs::read_to_string(path).ok()?)
}

fn limit(resource: Resource) -> Limit {
    let limit = getrlimit(resource);
    Limit { soft: limit.current, hard: limit.maximum }
}

/// The kernel marks the mode in force with brackets.
fn transparent() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(mode, _)| mode.to_owned())
}

fn huge_pages() -> Vec<HugePages> {
    let Ok(sizes) = fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let mut pages: Vec<HugePages> = sizes
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name();
            let size_kib = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let total = number(&entry.path().join("nr_hugepages"))?;
            let free = number(&entry.path().join("free_hugepages"))?;
            Some(HugePages { size_kib, total, free })
        })
        .collect();
    pages.sort_by_key(|pages| pages.size_kib);
    pages
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<CpuFeature> {
    macro_rules! detected {
        ($($name:tt),*) => {
            vec![$(CpuFeature { name: $name, present: std::arch::is_x86_feature_detected!($name) }),*]
        };
    }
    detected!("sse4.2", "pclmulqdq", "aes", "bmi2", "avx2", "avx512f", "avx512bw", "avx512vl", "vpclmulqdq")
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<CpuFeature> {
    macro_rules! detected {
        ($($name:tt),*) => {
            vec![$(CpuFeature { name: $name, present: std::arch::is_aarch64_feature_detected!($name) }),*]
        };
    }
    detected!("neon", "crc", "aes", "sha3", "lse", "sve")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<CpuFeature> {
    Vec::new()
}
