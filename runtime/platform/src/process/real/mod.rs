//! Real tools: child processes in groups of their own, or in jails.
//!
//! The group is killed while its leader is dead or alive but not yet waited for, so that its number cannot have gone to
//! somebody else. Children of the tool that leave its group are beyond reach without a jail.

mod cgroup;
mod family;
mod fence;
mod jailed;
mod keeper;
mod layout;
mod measures;

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use synod_probe::reach;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::{Contained, End, Jail, Output, Tool, ToolError};
use crate::files;
use crate::task::{self, JoinHandle};
use crate::time;

/// How long the outputs of a tool that has ended are waited for, if someone outside its group still holds them.
const LINGER: Duration = Duration::from_secs(1);

struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Running {
    /// Kills the group; only before its leader is waited for.
    fn kill(&self) {
        if let Some(group) = self.group {
            // None left is what we want.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ends a helper task with the run it helps.
struct Helper(JoinHandle<()>);

impl Drop for Helper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Default)]
struct Captured {
    bytes: Vec<u8>,
    truncated: bool,
}

async fn capture(mut from: impl AsyncRead + Unpin, limit: usize, into: Rc<RefCell<Captured>>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => {
                let captured = &mut *into.borrow_mut();
                let kept = read.min(limit - captured.bytes.len());
                captured.bytes.extend_from_slice(&buffer[..kept]);
                captured.truncated |= kept < read;
            }
        }
    }
}

pub(super) async fn run(tool: Tool) -> Result<Output, ToolError> {
    if let Some(jail) = tool.jail.clone() {
        return jailed::run(tool, jail).await;
    }
    let start = time::now();
    let mut command = command(&tool);
    let child =
        task::unpinned(|| command.process_group(0).spawn()).map_err(|error| refused(&tool, &error))?;
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let mut running = Running { child, group };
    let streams = Streams::of(&mut running.child, tool.output_limit, tool.input.clone());

    let in_time = time::timeout(tool.time_limit, ended(group)).await;
    if in_time.is_err() {
        reach!("process.tool_timed_out");
    }
    running.kill();
    let drained = streams.drain().await;
    // Waited for from here on: its number is no longer ours to kill.
    running.group = None;
    let status = running.child.wait().await.map_err(|error| refused(&tool, &error))?;
    let end = match (in_time, status.code(), status.signal()) {
        (Err(time::Elapsed), _, _) => End::TimedOut,
        (Ok(()), Some(code), _) => End::Code(code),
        (Ok(()), None, signal) => End::Signal(signal.unwrap_or_default()),
    };
    Ok(drained.output(end, start))
}

fn command(tool: &Tool) -> Command {
    let mut command = Command::new(&tool.program);
    command
        .args(&tool.args)
        .current_dir(&tool.directory)
        .env_clear()
        .envs(tool.environment.iter().cloned())
        .stdin(if tool.input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn refused(tool: &Tool, error: &io::Error) -> ToolError {
    let program = tool.program.clone();
    match error.kind() {
        io::ErrorKind::NotFound => ToolError::NotFound { program, directory: tool.directory.clone() },
        _ => ToolError::Refused { program, reason: error.to_string() },
    }
}

/// What a tool reads and writes, while it runs.
struct Streams {
    stdout: Rc<RefCell<Captured>>,
    stderr: Rc<RefCell<Captured>>,
    readers: Vec<Helper>,
    _feeder: Option<Helper>,
}

impl Streams {
    fn of(child: &mut Child, limit: usize, input: Vec<u8>) -> Self {
        let (stdout, stderr) = (Rc::<RefCell<Captured>>::default(), Rc::<RefCell<Captured>>::default());
        let mut readers = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            readers.push(Helper(task::spawn(capture(pipe, limit, stdout.clone()))));
        }
        if let Some(pipe) = child.stderr.take() {
            readers.push(Helper(task::spawn(capture(pipe, limit, stderr.clone()))));
        }
        // A tool need not read all its input, so nobody waits for this one.
        let feeder = child.stdin.take().map(|mut pipe| {
            Helper(task::spawn(async move {
                // A tool that does not read on closes the pipe: its affair.
                let _ = pipe.write_all(&input).await;
            }))
        });
        Self { stdout, stderr, readers, _feeder: feeder }
    }

    /// Reads what is left, once the tool has ended.
    async fn drain(mut self) -> Drained {
        let drained = async {
            for reader in &mut self.readers {
                // The reader ends at the pipe's end; how is in what it captured.
                let _ = (&mut reader.0).await;
            }
        };
        let lingering = time::timeout(LINGER, drained).await.is_err();
        Drained { stdout: self.stdout.take(), stderr: self.stderr.take(), lingering }
    }
}

/// What a tool wrote.
struct Drained {
    stdout: Captured,
    stderr: Captured,
    lingering: bool,
}

impl Drained {
    fn output(self, end: End, start: time::Mono) -> Output {
        Output {
            end,
            truncated: self.stdout.truncated || self.stderr.truncated || self.lingering,
            stdout: self.stdout.bytes,
            stderr: self.stderr.bytes,
            took: time::now().since(start),
            breaches: Vec::new(),
            contained: Contained::default(),
        }
    }
}

pub(super) async fn containment() -> Result<Contained, ToolError> {
    let program = || PathBuf::from("/usr/bin/true");
    let scratch = files::scratch(&std::env::temp_dir())
        .await
        .map_err(|error| ToolError::Refused { program: program(), reason: error.to_string() })?;
    let tool = Tool::new(which("true").unwrap_or_else(program)).jail(Jail::new(scratch.path()));
    let output = tool.run().await;
    // If it stays, a sweep of that directory finds it.
    let _ = scratch.remove().await;
    Ok(output?.contained)
}

/// Waits until the process has ended, without waiting *for* it: it stays a zombie, and its number its own.
async fn ended(leader: Option<Pid>) {
    let Some(leader) = leader else { return };
    let descriptor = pidfd_open(leader, PidfdFlags::empty()).ok();
    // SAFETY: the owned descriptor moves in, stays open and the same until the AsyncFd is dropped.
    let register = |owned: OwnedFd| unsafe { AsyncFd::register_with_interest(owned, Interest::READABLE) };
    let watched = descriptor.and_then(|owned| register(owned).ok());
    match watched {
        Some(descriptor) => {
            // Readable means ended; an error means that the loop is being shut down.
            let _ = descriptor.readable().await;
        }
        None => {
            // An old or forbidding kernel: ask, with growing pauses.
            let mut pause = Duration::from_millis(1);
            while !is_zombie(leader) {
                time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
        }
    }
}

fn is_zombie(pid: Pid) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
}

pub(super) fn which(name: &str) -> Option<PathBuf> {
    if name.is_empty() || name.contains('/') {
        return None;
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|candidate| {
            std::fs::metadata(candidate).is_ok_and(|metadata| metadata.is_file())
                && accessat(CWD, candidate, Access::EXEC_OK, AtFlags::empty()).is_ok()
        })
}

pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

pub(super) fn pid() -> u32 {
    std::process::id()
}

pub(super) fn directory() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
}

pub(super) fn program() -> Option<PathBuf> {
    std::env::current_exe().ok()
}
