//! What a process used from one moment to another, by the kernel's books: time, processor time of all its threads, bytes from and to the device.

use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::time::{Duration, Instant};

/// What was used.
#[derive(Clone, Copy, Default)]
pub struct Spent {
    /// From the first moment to the second.
    pub took: Duration,
    /// Processor time of all threads, those included that the kernel runs for an io_uring. Of another process: of those alone that still live.
    pub processor: Duration,
    /// Bytes that came from the device.
    pub read: u64,
    /// Bytes that went to the device.
    pub written: u64,
}

/// Runs from the first moment to the second.
pub struct Watch {
    process: u32,
    /// The first moment.
    pub begun: Instant,
    before: Spent,
}

impl Watch {
    /// Over this process.
    pub fn here() -> Self {
        Self::over(std::process::id())
    }

    /// Over another.
    pub fn over(process: u32) -> Self {
        let before = so_far(process);
        Self { process, begun: Instant::now(), before }
    }

    /// At the second moment.
    pub fn stop(self) -> Spent {
        let (took, now) = (self.begun.elapsed(), so_far(self.process));
        Spent {
            took,
            processor: now.processor.saturating_sub(self.before.processor),
            read: now.read - self.before.read,
            written: now.written - self.before.written,
        }
    }
}

fn so_far(process: u32) -> Spent {
    let books = fs::read_to_string(format!("/proc/{process}/io")).unwrap_or_default();
    let of = |name: &str| {
        let line = books.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0)
    };
    let (read, written) = (of("read_bytes:"), of("write_bytes:"));
    Spent { took: Duration::ZERO, processor: processor(process), read, written }
}

fn processor(process: u32) -> Duration {
    if process == std::process::id() {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        return Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
    }
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let used = threads.filter_map(|thread| {
        let books = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        books.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(used.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_computes_stands_in_its_books() {
        let watch = Watch::here();
        while processor(watch.process) - watch.before.processor < Duration::from_millis(1) {}
        let spent = watch.stop();
        assert!(spent.processor >= Duration::from_millis(1) && spent.took > Duration::ZERO);
    }

    #[test]
    fn another_process_has_used_processor_time_too() {
        let mut child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let watch = Watch::over(child.id());
        while processor(child.id()) == watch.before.processor {
            std::thread::yield_now();
        }
        assert!(watch.stop().processor > Duration::ZERO);
        child.kill().and_then(|()| child.wait()).unwrap();
    }
}
