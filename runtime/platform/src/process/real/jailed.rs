//! The caller's side of a jail: gets everything ready, starts the tool, watches it, ends it whole, and says what held.
//!
//! The watch looks at what the kernel does not bound by itself: the sum of disk use, and where there is no control group the sums of processes
//! and memory. Between two looks a tool can pass a bound; it is killed at the next.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use synod_probe::reach;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Child;

use super::super::{Breach, End, JAILED, Jail, Output, Tool, ToolError};
use super::cgroup::Cgroup;
use super::keeper::{Orders, RECORD, Word, parse};
use super::measures::Facts;
use super::{Streams, command, ended, family, fence, layout, refused};
use crate::{task, time};

/// How often the processes are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How often the disk is looked at, if that is quick; else as often as keeps it under a tenth of the time.
const LOOK_AT_DISK: Duration = Duration::from_millis(250);

/// What stays free on the file system of the scratch folder, bytes, whatever the jail allows.
const KEPT_FREE: u64 = 256 << 20;

/// The most entries below the writable paths: who makes more fills the disk too.
const ENTRIES_MAX: u64 = 1_000_000;

/// How long the kernel may take to clear a killed jail away.
const CLEARING: Duration = Duration::from_secs(30);

/// What is made before the tool starts.
struct Ready {
    orders: Orders,
    records: OwnedFd,
    cgroup: Cgroup,
    landlock: Result<i32, String>,
    roots: Vec<PathBuf>,
    used_before: u64,
}

pub(super) async fn run(tool: Tool, jail: Jail) -> Result<Output, ToolError> {
    let start = time::now();
    let mut tool = tool.variable(JAILED, "1");
    for (name, below) in [("HOME", "home"), ("TMPDIR", "tmp"), ("XDG_CACHE_HOME", "home/.cache")] {
        if !tool.environment.iter().any(|(present, _)| present == name) {
            tool = tool.variable(name, jail.scratch.join(below).to_string_lossy());
        }
    }
    let (program, directory, bounds) = (tool.program.clone(), tool.directory.clone(), jail.clone());
    let parent = std::process::id().cast_signed();
    let ready = task::blocking(move || get_ready(&program, &directory, &bounds, parent)).await;
    let ready = ready.unwrap_or_else(|error| Err(io::Error::other(error.to_string())));
    let Ready { orders, records, mut cgroup, landlock, roots, used_before } =
        ready.map_err(|error| refused(&tool, &error))?;
    let mut records = Receiver::from_owned_fd(records).map_err(|error| refused(&tool, &error))?;

    let mut command = command(&tool);
    command.process_group(0);
    // SAFETY: what runs in the child makes system calls alone, on memory that is ready, as its module explains.
    unsafe { command.pre_exec(move || orders.carry_out()) };
    let child = task::unpinned(|| command.spawn()).map_err(|error| refused(&tool, &error))?;
    // With the orders go our ends of what the child needed: else the records would have no end.
    drop(command);
    let mut facts = Facts { landlock: Some(landlock), is_root: is_superuser(), ..Facts::default() };
    // All that was said before the program ran is in the pipe by now.
    facts.steps.extend(waiting_records(&records));
    if !facts.did(Word::Cgroup) {
        cgroup.disown();
    }
    (facts.group_pids, facts.group_memory) = (cgroup.has_pids(), cgroup.has_memory());
    let mut running = Running::of(child, &facts);
    let streams = Streams::of(&mut running.child, tool.output_limit, tool.input.clone());

    let keeper = running.number();
    let watch = Watch(Arc::new(Watched {
        jail: jail.clone(),
        cgroup,
        keeper,
        roots,
        used_before,
        refuses_in_silence: facts.did(Word::Limits) && !facts.is_root,
    }));
    let cause = {
        let told = async {
            while facts.value(Word::Ended).is_none() {
                let mut record = [0; RECORD];
                if records.read_exact(&mut record).await.is_err() {
                    break;
                }
                facts.steps.extend(parse(record));
            }
        };
        tokio::select! {
            biased;
            () = told => None,
            breach = watch.breached() => Some(End::Breached(breach)),
            () = time::sleep(tool.time_limit) => Some(End::TimedOut),
        }
    };
    if cause == Some(End::TimedOut) {
        reach!("process.tool_timed_out");
    }
    let running = running.end().await;
    facts.steps.extend(waiting_records(&records));
    let drained = streams.drain().await;

    let breaches = task::blocking(move || watch.last_look()).await.unwrap_or_default();
    let end = cause.unwrap_or_else(|| end(facts.value(Word::Ended), breaches.contains(&Breach::Memory)));
    let mut output = drained.output(end, start);
    output.breaches = breaches.into_iter().collect();
    if let End::Breached(breach) = end
        && !output.breaches.contains(&breach)
    {
        output.breaches.push(breach);
    }
    // Who is killed for a bound leaves nobody behind of his own will.
    if facts.value(Word::Left).is_some() {
        output.breaches.push(Breach::LeftProcesses);
    }
    output.breaches.sort();
    if !output.breaches.is_empty() {
        reach!("process.jail_breached");
    }
    output.contained = facts.contained(&jail);
    running.map_err(|error| refused(&tool, &error))?;
    Ok(output)
}

/// How the tool ended, by the status that was told. Without one, its namespace was ended from outside.
fn end(status: Option<i32>, ran_out_of_memory: bool) -> End {
    let Some(status) = status else {
        return if ran_out_of_memory { End::Breached(Breach::Memory) } else { End::Signal(libc::SIGKILL) };
    };
    let status = ExitStatus::from_raw(status);
    match (status.code(), status.signal().unwrap_or_default()) {
        (Some(code), _) => End::Code(code),
        (None, libc::SIGXCPU) => End::Breached(Breach::Cpu),
        (None, libc::SIGXFSZ) => End::Breached(Breach::FileSize),
        (None, libc::SIGKILL) if ran_out_of_memory => End::Breached(Breach::Memory),
        (None, signal) => End::Signal(signal),
    }
}

/// The records that are in the pipe now. It is asked itself: the event loop knows of them only after a turn.
fn waiting_records(records: impl AsFd) -> Vec<(Word, i32)> {
    let mut found = Vec::new();
    let mut record = [0; RECORD];
    // Records are written whole, so none is read in part.
    while let Ok(RECORD) = rustix::io::read(&records, &mut record) {
        found.extend(parse(record));
    }
    found
}

/// Whether we are the machine's superuser, whom no limit on processes binds; not one who is so called in a user namespace.
fn is_superuser() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let lines =
        map.lines().map(|line| line.split_ascii_whitespace().flat_map(str::parse).collect::<Vec<u32>>());
    let outside = lines.filter(|line| line.first() == Some(&0)).find_map(|line| line.get(1).copied());
    rustix::process::geteuid().is_root() && outside.is_none_or(|outside| outside == 0)
}

fn get_ready(program: &Path, directory: &Path, jail: &Jail, parent: i32) -> io::Result<Ready> {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
    fs::create_dir_all(&jail.scratch)?;
    for below in ["home", "home/.cache", "tmp"] {
        own_directory(&jail.scratch.join(below))?;
    }
    let mut readable = jail.readable.clone();
    readable.push(program.to_owned());
    let mut writable = vec![jail.scratch.clone()];
    writable.extend(jail.writable.iter().cloned());
    let fenced: Vec<PathBuf> =
        layout::SYSTEM.iter().chain(&["/proc"]).map(PathBuf::from).chain(readable.iter().cloned()).collect();
    let fence = fence::make(&fenced, &writable, &layout::DEVICES, !jail.network);
    let (records, report) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&records, true)?;
    let mut cgroup = Cgroup::make(jail);
    let number = |resource: libc::__rlimit_resource_t, limit: u64| (resource as i32, limit, limit);
    let seconds = jail.cpu.as_secs().max(1);
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let orders = Orders {
        parent,
        report,
        doors: std::mem::take(&mut cgroup.doors),
        maps: [CString::new(format!("{user} {user} 1"))?, CString::new(format!("{group} {group} 1"))?],
        network: jail.network,
        layout: layout::plan(&readable, &writable),
        memory_files: CString::new(format!("mode=1777,size={}", jail.memory.min(jail.disk) / 4))?,
        directory: text(directory)?,
        limits: vec![
            number(libc::RLIMIT_CORE, 0),
            number(libc::RLIMIT_FSIZE, jail.file_size),
            number(libc::RLIMIT_NOFILE, jail.open_files),
            // What may be written, not what is reserved: garbage-collected languages reserve far more than they use.
            number(libc::RLIMIT_DATA, jail.memory),
            // First a signal that names the reason, then the end.
            (libc::RLIMIT_CPU as i32, seconds, seconds + 5),
        ],
        // The keeper and the first process count too.
        processes: jail.processes.saturating_add(2),
        processes_of_user: (!is_superuser())
            .then(|| family::threads_of(user).saturating_add(jail.processes).saturating_add(2)),
        fence: None,
    };
    let (landlock, fence) = match fence {
        Ok(fence) => (Ok(fence.abi), Some(fence)),
        Err(why) => (Err(why), None),
    };
    let used_before = used(&writable);
    Ok(Ready { orders: Orders { fence, ..orders }, records, cgroup, landlock, roots: writable, used_before })
}

/// Makes a directory, or finds it made. A tool that ran in this jail before may have put a link in its place, which is not followed.
fn own_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(_) if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) => Ok(()),
        made => made,
    }
}

/// A jail that runs. Dropping it ends it, without waiting.
struct Running {
    child: Child,
    /// The keeper; none once it has been waited for.
    keeper: Option<Pid>,
    /// The first process, if it lives: a descriptor that means it and nobody else, and its number.
    first: Option<(OwnedFd, u32)>,
    has_pids: bool,
}

impl Running {
    fn of(child: Child, facts: &Facts) -> Self {
        let keeper = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let first = facts.value(Word::First).and_then(Pid::from_raw).and_then(|first| {
            let descriptor = pidfd_open(first, PidfdFlags::empty()).ok()?;
            // It may have ended before it was opened, and its number be somebody else's: then that is no child of the keeper's.
            let number = first.as_raw_pid().cast_unsigned();
            let keeper = keeper?.as_raw_pid().cast_unsigned();
            family::descendants(keeper)
                .iter()
                .any(|member| member.pid == number)
                .then_some((descriptor, number))
        });
        Self { child, keeper, first, has_pids: facts.did(Word::PidNamespace) }
    }

    fn number(&self) -> Option<u32> {
        self.keeper.map(|keeper| keeper.as_raw_pid().cast_unsigned())
    }

    /// Kills all but the keeper, which then ends by itself, after the others have.
    fn kill(&self) {
        match (&self.first, self.number()) {
            (Some((first, _)), _) if self.has_pids => {
                // One that has ended is what we want.
                let _ = pidfd_send_signal(first, Signal::KILL);
            }
            (first, Some(keeper)) => {
                family::kill(keeper, first.as_ref().map(|(_, number)| *number));
            }
            (_, None) => {}
        }
    }

    /// Kills it and waits until nothing of it is left.
    async fn end(mut self) -> io::Result<()> {
        self.kill();
        let over = time::timeout(CLEARING, ended(self.keeper)).await;
        if over.is_err()
            && let Some(keeper) = self.keeper
        {
            // With the keeper goes the rest, as soon as the kernel lets it.
            let _ = kill_process(keeper, Signal::KILL);
        }
        self.keeper = None;
        self.child.wait().await.map(drop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper {
            self.kill();
            let _ = kill_process(keeper, Signal::KILL);
        }
    }
}

/// What looks after a running jail.
struct Watch(Arc<Watched>);

struct Watched {
    jail: Jail,
    cgroup: Cgroup,
    keeper: Option<u32>,
    roots: Vec<PathBuf>,
    used_before: u64,
    /// Whether the kernel refuses more processes without telling us: then all that may be are too many.
    refuses_in_silence: bool,
}

impl Watch {
    /// Waits until a bound is passed.
    async fn breached(&self) -> Breach {
        let mut disk_at = time::now() + LOOK_AT_DISK;
        loop {
            time::sleep(LOOK).await;
            let watched = self.0.clone();
            if let Ok(Some(breach)) = task::blocking(move || watched.look()).await {
                return breach;
            }
            let begin = time::now();
            if begin >= disk_at {
                let watched = self.0.clone();
                if let Ok(true) = task::blocking(move || watched.fills_the_disk()).await {
                    return Breach::Disk;
                }
                let now = time::now();
                disk_at = now + LOOK_AT_DISK.max(now.since(begin) * 10);
            }
        }
    }

    /// What was run into, once all is over. The groups go with it.
    fn last_look(self) -> BTreeSet<Breach> {
        let watched = self.0;
        let ran_into = [
            (Breach::Processes, watched.cgroup.refused_processes()),
            (Breach::Memory, watched.cgroup.killed_for_memory()),
            (Breach::Disk, watched.fills_the_disk()),
        ];
        ran_into.into_iter().filter(|(_, ran_into)| *ran_into).map(|(breach, _)| breach).collect()
    }
}

impl Watched {
    fn look(&self) -> Option<Breach> {
        if self.cgroup.refused_processes() {
            return Some(Breach::Processes);
        }
        if self.cgroup.killed_for_memory() {
            return Some(Breach::Memory);
        }
        let (true, Some(keeper)) = (!self.cgroup.has_pids() || !self.cgroup.has_memory(), self.keeper) else {
            return None;
        };
        // The first process is ours.
        let most = self.jail.processes.saturating_add(u64::from(!self.refuses_in_silence));
        let usage = family::usage(keeper, most);
        if !self.cgroup.has_pids() && usage.threads > most {
            Some(Breach::Processes)
        } else if !self.cgroup.has_memory() && usage.memory > self.jail.memory {
            Some(Breach::Memory)
        } else {
            None
        }
    }

    fn fills_the_disk(&self) -> bool {
        let nearly_full = rustix::fs::statvfs(&self.jail.scratch)
            .is_ok_and(|system| system.f_bavail.saturating_mul(system.f_frsize) < KEPT_FREE);
        nearly_full || used(&self.roots).saturating_sub(self.used_before) > self.jail.disk
    }
}

/// The bytes on disk below these paths; what has several names counts once. More entries than anyone may have are more bytes than anyone may.
fn used(roots: &[PathBuf]) -> u64 {
    let (mut bytes, mut entries) = (0u64, 0u64);
    let mut counted = BTreeSet::new();
    let mut left: Vec<PathBuf> = roots.to_vec();
    while let Some(path) = left.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        entries += 1;
        if entries > ENTRIES_MAX {
            return u64::MAX;
        }
        if metadata.is_dir() {
            // What cannot be listed is bounded by what must stay free.
            left.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
        if metadata.nlink() == 1 || metadata.is_dir() || counted.insert((metadata.dev(), metadata.ino())) {
            bytes = bytes.saturating_add(metadata.blocks() * 512);
        }
    }
    bytes
}
