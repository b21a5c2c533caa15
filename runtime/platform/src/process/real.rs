//! Real tools: child processes in groups of their own.
//!
//! The group is killed while its leader is dead or alive but not yet waited for, so that its number cannot have gone to
//! somebody else. Children of the tool that leave its group are beyond reach, and we say so.

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

use super::{Contained, End, Output, Tool, ToolError};
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
    let Tool { program, args, directory, environment, input, time_limit, output_limit, jail: _ } = tool;
    let start = time::now();
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            ToolError::NotFound { program: program.clone(), directory: directory.clone() }
        }
        _ => ToolError::Refused { program: program.clone(), reason: error.to_string() },
    };
    let mut command = Command::new(&program);
    command
        .args(&args)
        .current_dir(&directory)
        .env_clear()
        .envs(environment)
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = command.spawn().map_err(&refused)?;
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let mut running = Running { child, group };

    let (stdout, stderr) = (Rc::<RefCell<Captured>>::default(), Rc::<RefCell<Captured>>::default());
    let mut helpers = Vec::new();
    if let Some(pipe) = running.child.stdout.take() {
        helpers.push(Helper(task::spawn(capture(pipe, output_limit, stdout.clone()))));
    }
    if let Some(pipe) = running.child.stderr.take() {
        helpers.push(Helper(task::spawn(capture(pipe, output_limit, stderr.clone()))));
    }
    // A tool need not read all its input, so nobody waits for this one.
    let _feeder = running.child.stdin.take().map(|mut pipe| {
        Helper(task::spawn(async move {
            // A tool that does not read on closes the pipe: its affair.
            let _ = pipe.write_all(&input).await;
        }))
    });

    let in_time = time::timeout(time_limit, ended(group)).await;
    if in_time.is_err() {
        reach!("process.tool_timed_out");
    }
    running.kill();
    let drained = async {
        for helper in &mut helpers {
            // The reader ends at the pipe's end; how is in what it captured.
            let _ = (&mut helper.0).await;
        }
    };
    let lingering = time::timeout(LINGER, drained).await.is_err();
    // Waited for from here on: its number is no longer ours to kill.
    running.group = None;
    let status = running.child.wait().await.map_err(&refused)?;
    let end = match (in_time, status.code(), status.signal()) {
        (Err(time::Elapsed), _, _) => End::TimedOut,
        (Ok(()), Some(code), _) => End::Code(code),
        (Ok(()), None, signal) => End::Signal(signal.unwrap_or_default()),
    };
    let (stdout, stderr) = (stdout.take(), stderr.take());
    Ok(Output {
        end,
        truncated: stdout.truncated || stderr.truncated || lingering,
        stdout: stdout.bytes,
        stderr: stderr.bytes,
        took: time::now().since(start),
        breaches: Vec::new(),
        contained: Contained::default(),
    })
}

pub(super) async fn containment() -> Result<Contained, ToolError> {
    Ok(Contained::default())
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
