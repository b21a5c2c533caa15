//! A program that lives beside this one: told and heard line by line, for as long as both sides like.
//!
//! Started from a [`Tool`] in a process group of its own, with the environment it is given and no other. What it writes to its
//! standard output is read only when somebody asks for a line, so it cannot fill this process's memory; what it writes to its standard
//! error is kept up to the tool's output limit. When the [`Child`] is dropped, the whole group is killed. The tool's
//! input and time limit mean nothing here; a tool with a jail is refused, for only tools that run to their end are jailed.

#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod sim;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

#[cfg(not(madsim))]
use real as arm;
#[cfg(madsim)]
use sim as arm;
#[cfg(madsim)]
pub use sim::control;

use super::{End, Tool, ToolError};

/// A running program. Dropping it kills its whole group.
pub struct Child {
    arm: arm::Child,
    name: PathBuf,
    /// What was read and not yet given out.
    buffer: Vec<u8>,
    /// How much of it is known to hold no newline.
    scanned: usize,
    ended: bool,
}

/// Why there is no line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It is longer than asked for. What follows is unusable.
    #[error("a line is longer than {max} bytes")]
    TooLong {
        /// The bound.
        max: usize,
    },
    /// The output ended in the middle of a line.
    #[error("the output ended within a line, after {bytes} bytes without a newline")]
    Torn {
        /// How much there was of it.
        bytes: usize,
    },
}

/// The program does not read any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the program has closed its standard input, or ended")]
pub struct NotReading;

/// What a program wrote to its standard error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The first of it, up to the tool's output limit.
    pub bytes: Vec<u8>,
    /// How many bytes more there were.
    pub lost: u64,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its status, or the signal that ended it.
    pub end: End,
    /// Whether it had to be killed, because it did not end by itself.
    pub killed: bool,
    /// What it wrote to its standard error and nobody took before.
    pub log: Log,
}

impl Tool {
    /// Starts it as a program to talk with.
    pub fn spawn(self) -> Result<Child, ToolError> {
        if !self.program.is_absolute() {
            return Err(ToolError::NotAbsolute { program: self.program });
        }
        if self.jail.is_some() {
            let reason = "a program to talk with cannot be jailed; run it to its end instead".into();
            return Err(ToolError::Refused { program: self.program, reason });
        }
        let name = self.program.clone();
        Ok(Child { arm: arm::spawn(self)?, name, buffer: Vec::new(), scanned: 0, ended: false })
    }
}

impl Child {
    /// Writes to its standard input, and waits until the pipe has taken all of it. If the future is dropped before, a part may have been
    /// written.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), NotReading> {
        self.arm.write(bytes).await
    }

    /// The next line of its standard output, without the newline; `None` when that has ended. A line longer than `max` bytes is an
    /// error. Nothing is lost when the future is dropped.
    pub async fn line(&mut self, max: usize) -> Result<Option<Vec<u8>>, LineError> {
        loop {
            let found = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n');
            let length = found.map_or(self.buffer.len(), |at| self.scanned + at);
            if length > max {
                return Err(LineError::TooLong { max });
            }
            if found.is_some() {
                let rest = self.buffer.split_off(length + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.truncate(length);
                self.scanned = 0;
                return Ok(Some(line));
            }
            self.scanned = length;
            if self.ended {
                return match std::mem::take(&mut self.buffer).len() {
                    0 => Ok(None),
                    bytes => {
                        self.scanned = 0;
                        Err(LineError::Torn { bytes })
                    }
                };
            }
            self.ended = !self.arm.read(&mut self.buffer).await;
        }
    }

    /// What it wrote to its standard error since this was last asked.
    pub fn take_log(&mut self) -> Log {
        self.arm.take_log()
    }

    /// Closes its standard input, gives it `grace` to end by itself, then kills its group.
    pub async fn end(self, grace: Duration) -> Ended {
        self.arm.end(grace).await
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("program", &self.name).finish_non_exhaustive()
    }
}
