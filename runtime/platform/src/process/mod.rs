//! Other programs: finding a tool, running it within limits, and what this process knows of itself.
//!
//! A tool gets the environment it is given and no other, a process group of its own, and a bound on time and output; when the
//! time is over, or nobody waits for it any more, its whole group is killed. Nothing here runs a shell. In simulation a
//! node has the tools, and the tools give the answers, that the engine recorded for it.
//!
//! A tool that runs foreign code (a tree's own tests, build scripts, configuration that is code) runs in a [`Jail`].

pub mod child;
mod jail;
#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod sim;

use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(not(madsim))]
use real as arm;
#[cfg(madsim)]
use sim as arm;
#[cfg(madsim)]
pub use sim::control;

pub use child::Child;
pub use jail::{Breach, Contained, Held, JAILED, Jail, Measure};

/// A tool to run: built with [`Tool::new`] and the methods that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    program: PathBuf,
    args: Vec<String>,
    directory: PathBuf,
    environment: Vec<(String, String)>,
    input: Vec<u8>,
    time_limit: Duration,
    output_limit: usize,
    jail: Option<Jail>,
}

impl Tool {
    /// The program at this absolute path, without arguments, in the directory `/`, with `PATH` and `LANG` alone in its environment, an
    /// empty input, a minute of time, and at most 1 MiB kept of each of its outputs.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            directory: PathBuf::from("/"),
            environment: vec![
                ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
                ("LANG".into(), "C.UTF-8".into()),
            ],
            input: Vec::new(),
            time_limit: Duration::from_secs(60),
            output_limit: 1 << 20,
            jail: None,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<String>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets the directory in which it runs.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.retain(|(present, _)| present != name);
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Hands on those of these variables that this process has itself.
    #[must_use]
    pub fn inherit(mut self, names: &[&str]) -> Self {
        for name in names {
            if let Some(value) = variable(name) {
                self = self.variable(name, value);
            }
        }
        self
    }

    /// Sets what it reads from its standard input.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Sets how long it may take.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Sets how many bytes are kept of each of its outputs; the rest is read and thrown away.
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    /// Runs it in this jail: for every tool that runs code of the tree it looks at. What was really enforced is in [`Output::contained`].
    #[must_use]
    pub fn jail(mut self, jail: Jail) -> Self {
        self.jail = Some(jail);
        self
    }

    /// The program and its arguments, for messages.
    pub fn line(&self) -> String {
        let mut line = self.program.display().to_string();
        for arg in &self.args {
            line.push(' ');
            line.push_str(arg);
        }
        line
    }

    /// Runs it to its end. Dropping the future kills it. When this returns for a jailed tool, none of its descendants is left.
    pub async fn run(self) -> Result<Output, ToolError> {
        if !self.program.is_absolute() {
            return Err(ToolError::NotAbsolute { program: self.program });
        }
        arm::run(self).await
    }
}

/// How a tool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It exited with this status.
    Code(i32),
    /// A signal of this number ended it.
    Signal(i32),
    /// It was killed because its time was over.
    TimedOut,
    /// It ran into a bound of its jail and was killed for it.
    Breached(Breach),
}

/// What a tool left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub end: End,
    /// What it wrote to its standard output, up to the limit.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error, up to the limit.
    pub stderr: Vec<u8>,
    /// Whether it wrote more than was kept.
    pub truncated: bool,
    /// How long it took.
    pub took: Duration,
    /// The bounds of its jail that it ran into, each once, in order; also those that it survived.
    pub breaches: Vec<Breach>,
    /// What of its jail was enforced; empty without a jail.
    pub contained: Contained,
}

impl Output {
    /// Whether it exited with status 0.
    pub fn is_success(&self) -> bool {
        self.end == End::Code(0)
    }
}

/// Why a tool did not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// A tool is named by its absolute path.
    #[error("`{}` is not an absolute path: find the tool with `which` first", program.display())]
    NotAbsolute {
        /// The program.
        program: PathBuf,
    },
    /// There is no such program, or not the directory to run it in.
    #[error("cannot run {}: it, its interpreter or the directory {} is not there", program.display(), directory.display())]
    NotFound {
        /// The program.
        program: PathBuf,
        /// Where it should have run.
        directory: PathBuf,
    },
    /// The system refused.
    #[error("cannot run {}: {reason}", program.display())]
    Refused {
        /// The program.
        program: PathBuf,
        /// Its words.
        reason: String,
    },
}

/// What a jail is worth here: how each measure stands for a tool that is jailed now. It runs `true` in a jail to find out.
pub async fn containment() -> Result<Contained, ToolError> {
    arm::containment().await
}

/// The absolute path of the executable file `name` in one of the directories of `PATH`, the first found.
pub fn which(name: &str) -> Option<PathBuf> {
    arm::which(name)
}

/// A variable of this process's environment; `None` when it is unset or not Unicode.
pub fn variable(name: &str) -> Option<String> {
    arm::variable(name)
}

/// The number of this process.
pub fn pid() -> u32 {
    arm::pid()
}

/// The directory in which this process works; `/` when the system does not tell.
pub fn directory() -> PathBuf {
    arm::directory()
}

/// The program that this process runs, when the system tells.
pub fn program() -> Option<PathBuf> {
    arm::program()
}

/// `path` as it stands when it is absolute, else below the working directory.
pub fn absolute(path: &Path) -> PathBuf {
    directory().join(path)
}
