//! A simulated child: a script that the engine gave to the node, run as a task.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::sync::mpsc;

use super::{End, Ended, Log, NotReading, Tool, ToolError};
use crate::simulation::{self, NodeId};
use crate::task::{self, JoinError, JoinHandle};
use crate::time;

/// Writes that a script has not read and that wait for it, as a pipe holds them.
const PIPE: usize = 64;

/// What the engine gives to a node.
pub mod control {
    use super::*;
    use crate::process::control::{Transcript, record};

    /// A script's end of the streams.
    pub struct Streams {
        /// The arguments it was started with.
        pub args: Vec<String>,
        pub(super) input: mpsc::Receiver<Vec<u8>>,
        pub(super) unread: Vec<u8>,
        pub(super) output: mpsc::UnboundedSender<Vec<u8>>,
        pub(super) log: Rc<RefCell<Log>>,
        pub(super) log_limit: usize,
    }

    impl Streams {
        /// The next line it is told, without the newline; `None` when its input was closed.
        pub async fn line(&mut self) -> Option<Vec<u8>> {
            loop {
                if let Some(at) = self.unread.iter().position(|byte| *byte == b'\n') {
                    let rest = self.unread.split_off(at + 1);
                    let mut line = std::mem::replace(&mut self.unread, rest);
                    line.truncate(at);
                    return Some(line);
                }
                self.unread.extend(self.input.recv().await?);
            }
        }

        /// Writes to its standard output.
        pub fn write(&self, bytes: impl Into<Vec<u8>>) {
            // Nobody hears a program whose parent is gone.
            let _ = self.output.send(bytes.into());
        }

        /// Writes to its standard error.
        pub fn complain(&self, bytes: &[u8]) {
            let mut log = self.log.borrow_mut();
            let kept = bytes.len().min(self.log_limit.saturating_sub(log.bytes.len()));
            log.bytes.extend_from_slice(&bytes[..kept]);
            log.lost += (bytes.len() - kept) as u64;
        }
    }

    /// Gives a node a program; it is found as `/usr/bin/<name>` and each child that is spawned from it runs `script`, which gives
    /// its exit status. A panic in it ends the child as by an abort.
    pub fn program<F>(node: NodeId, name: &str, script: impl Fn(Streams) -> F + 'static)
    where
        F: Future<Output = i32> + 'static,
    {
        record(node, Transcript::says(name, ""));
        let script: Script = Rc::new(move |streams| script(streams).boxed_local());
        simulation::state::<Programs>().0.borrow_mut().insert((node, name.to_owned()), script);
    }
}

type Script = Rc<dyn Fn(control::Streams) -> LocalBoxFuture<'static, i32>>;

#[derive(Default)]
struct Programs(RefCell<BTreeMap<(NodeId, String), Script>>);

pub(super) struct Child {
    input: Option<mpsc::Sender<Vec<u8>>>,
    output: mpsc::UnboundedReceiver<Vec<u8>>,
    log: Rc<RefCell<Log>>,
    script: JoinHandle<i32>,
}

pub(super) fn spawn(tool: Tool) -> Result<Child, ToolError> {
    let not_found =
        || ToolError::NotFound { program: tool.program.clone(), directory: tool.directory.clone() };
    let name = tool.program.strip_prefix("/usr/bin").ok().and_then(Path::to_str).ok_or_else(not_found)?;
    let programs = simulation::state::<Programs>();
    let key = (simulation::current_node(), name.to_owned());
    let script = programs.0.borrow().get(&key).cloned().ok_or_else(not_found)?;
    let (input, told) = mpsc::channel(PIPE);
    let (says, output) = mpsc::unbounded_channel();
    let log = Rc::<RefCell<Log>>::default();
    let streams = control::Streams {
        args: tool.args.clone(),
        input: told,
        unread: Vec::new(),
        output: says,
        log: log.clone(),
        log_limit: tool.output_limit,
    };
    Ok(Child { input: Some(input), output, log, script: task::spawn(script(streams)) })
}

impl Child {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), NotReading> {
        let input = self.input.as_mut().ok_or(NotReading)?;
        input.send(bytes.to_vec()).await.map_err(|_| NotReading)
    }

    /// Reads some more; false at the end.
    pub(super) async fn read(&mut self, into: &mut Vec<u8>) -> bool {
        match self.output.recv().await {
            Some(bytes) => {
                into.extend(bytes);
                true
            }
            None => false,
        }
    }

    pub(super) fn take_log(&mut self) -> Log {
        self.log.take()
    }

    pub(super) async fn end(mut self, grace: Duration) -> Ended {
        const ABORT: i32 = 6;
        const KILL: i32 = 9;
        self.input = None;
        let (end, killed) = match time::timeout(grace, &mut self.script).await {
            Ok(Ok(code)) => (End::Code(code), false),
            Ok(Err(JoinError::Panicked(_))) => (End::Signal(ABORT), false),
            Ok(Err(JoinError::Cancelled)) => (End::Signal(KILL), false),
            Err(_) => (End::Signal(KILL), true),
        };
        Ended { end, killed, log: self.log.take() }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.script.abort();
    }
}
