//! A real child: three pipes and a process group.
//!
//! As for tools, the group is killed while its leader is alive or not yet waited for, so that its number cannot have gone to
//! somebody else.

use std::cell::RefCell;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{self as system, ChildStderr, ChildStdin, ChildStdout, Command};

use super::{End, Ended, Log, NotReading, Tool, ToolError};
use crate::task::{self, JoinHandle};
use crate::time;

/// How long the standard error of a program that has ended is waited for, if someone outside its group still holds it.
const LINGER: Duration = Duration::from_millis(200);
/// The longest pause between two looks whether a program has ended.
const LOOK: Duration = Duration::from_millis(20);
/// How much is read at a time, bytes.
const CHUNK: usize = 16 << 10;

pub(super) struct Child {
    running: Running,
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
    log: Rc<RefCell<Log>>,
    logger: JoinHandle<()>,
}

struct Running {
    child: system::Child,
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

    /// Whether the leader has ended. It stays a zombie, and its number its own.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.group.is_none_or(|leader| !matches!(waitid(WaitId::Pid(leader), options), Ok(None)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(super) fn spawn(tool: Tool) -> Result<Child, ToolError> {
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            ToolError::NotFound { program: tool.program.clone(), directory: tool.directory.clone() }
        }
        _ => ToolError::Refused { program: tool.program.clone(), reason: error.to_string() },
    };
    let mut command = Command::new(&tool.program);
    command
        .args(&tool.args)
        .current_dir(&tool.directory)
        .env_clear()
        .envs(tool.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = task::unpinned(|| command.spawn()).map_err(refused)?;
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let log = Rc::<RefCell<Log>>::default();
    let logger = task::spawn(keep(errors, tool.output_limit, log.clone()));
    Ok(Child { running: Running { child, group }, input, output, log, logger })
}

async fn keep(from: Option<ChildStderr>, limit: usize, log: Rc<RefCell<Log>>) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; CHUNK];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let mut log = log.borrow_mut();
        let kept = read.min(limit.saturating_sub(log.bytes.len()));
        log.bytes.extend_from_slice(&buffer[..kept]);
        log.lost += (read - kept) as u64;
    }
}

impl Child {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), NotReading> {
        let input = self.input.as_mut().ok_or(NotReading)?;
        let written = async {
            input.write_all(bytes).await?;
            input.flush().await
        };
        written.await.map_err(|_: io::Error| NotReading)
    }

    /// Reads some more; false at the end.
    pub(super) async fn read(&mut self, into: &mut Vec<u8>) -> bool {
        let Some(output) = &mut self.output else { return false };
        into.reserve(CHUNK);
        matches!(output.read_buf(into).await, Ok(1..))
    }

    pub(super) fn take_log(&mut self) -> Log {
        self.log.take()
    }

    pub(super) async fn end(mut self, grace: Duration) -> Ended {
        self.input = None;
        let by_itself = async {
            let mut pause = Duration::from_millis(1);
            while !self.running.has_ended() {
                time::sleep(pause).await;
                pause = (pause * 2).min(LOOK);
            }
        };
        let killed = time::timeout(grace, by_itself).await.is_err();
        self.running.kill();
        // Its end is the pipe's end.
        let _ = time::timeout(LINGER, &mut self.logger).await;
        // Waited for from here on: its number is no longer ours to kill.
        self.running.group = None;
        let end = match self.running.child.wait().await {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => End::Code(code),
                (None, signal) => End::Signal(signal.unwrap_or_default()),
            },
            Err(_) => End::Signal(Signal::KILL.as_raw()),
        };
        Ended { end, killed, log: self.log.take() }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.logger.abort();
    }
}
