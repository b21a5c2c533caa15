//! What a tool may do at most when it runs code that nobody vouches for, and what of that really held.
//!
//! A [`Jail`] is what the caller asks for; [`Contained`] is what this kernel, these rights and this container gave, each
//! measure with the means that enforced it or the reason why nothing did. A measure that could not be had does not keep the tool from
//! running: who wants that asks [`containment`](super::containment) first. It is no virtual machine: a hole in the kernel is a way out.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The variable that is `1` for whatever runs in a jail.
pub const JAILED: &str = "SYNOD_JAILED";

/// Bounds for a tool and all its descendants. Everything that is not named here is refused, as far as the kernel lets us.
///
/// Readable and executable are, without being named, the system's own directories (`/usr`, `/bin`, `/lib…`, `/etc`, `/opt`, `/nix`, `/sys`, `/proc`,
/// and harmless devices), the program itself, and what is writable. A toolchain that lives in somebody's home (`~/.cargo`, `~/.rustup`,
/// `~/.pyenv`) has to be given in `readable`. The tool's working directory must lie in one of these.
///
/// `HOME`, `TMPDIR` and `XDG_CACHE_HOME` of the tool lie in `scratch`, unless the caller has set them, and [`JAILED`] tells it where it is. Nothing writes the reviewed tree: copy it
/// with [`files::copy_tree`](crate::files::copy_tree) into a [`files::Scratch`](crate::files::Scratch), and make that writable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jail {
    /// A directory of the caller's, writable, which holds the tool's home and temporary files.
    pub scratch: PathBuf,
    /// Further directories and files that may be read and executed. Those that do not exist are left out.
    pub readable: Vec<PathBuf>,
    /// Further directories and files that may be written, read and executed. Those that do not exist are left out.
    pub writable: Vec<PathBuf>,
    /// Whether it may use the network. If not, it has a loopback interface of its own, which reaches nobody else.
    pub network: bool,
    /// The most memory, bytes: of each process what it may map to write, and of all together what they hold.
    pub memory: u64,
    /// The most processes and threads at a time.
    pub processes: u64,
    /// The largest file that it may write, bytes.
    pub file_size: u64,
    /// The most open files of each process.
    pub open_files: u64,
    /// The most processor time of each process.
    pub cpu: Duration,
    /// How many bytes may be added below the scratch folder and the writable paths.
    pub disk: u64,
}

impl Jail {
    /// Nothing writable but `scratch`, no network, 2 GiB of memory, 512 processes, files of 512 MiB, 1024 open files, five minutes of processor
    /// time for each process, and 2 GiB of disk: enough for the test suites of most trees.
    pub fn new(scratch: impl Into<PathBuf>) -> Self {
        Self {
            scratch: scratch.into(),
            readable: Vec::new(),
            writable: Vec::new(),
            network: false,
            memory: 2 << 30,
            processes: 512,
            file_size: 512 << 20,
            open_files: 1024,
            cpu: Duration::from_secs(300),
            disk: 2 << 30,
        }
    }

    /// Adds a path that may be read and executed.
    #[must_use]
    pub fn read(mut self, path: impl Into<PathBuf>) -> Self {
        self.readable.push(path.into());
        self
    }

    /// Adds a path that may be written, read and executed.
    #[must_use]
    pub fn write(mut self, path: impl Into<PathBuf>) -> Self {
        self.writable.push(path.into());
        self
    }
}

/// A bound that a jailed tool ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breach {
    /// It held more memory than it may.
    Memory,
    /// It wanted more processes than it may have.
    Processes,
    /// It wrote more below its writable paths than it may, or nearly filled the disk.
    Disk,
    /// It wanted a file larger than it may write.
    FileSize,
    /// It used more processor time than it may.
    Cpu,
    /// It ended while processes that it had started lived on. They were killed.
    LeftProcesses,
}

impl Breach {
    /// Its name, as reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "processes",
            Self::Disk => "disk",
            Self::FileSize => "file size",
            Self::Cpu => "processor time",
            Self::LeftProcesses => "processes left behind",
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that a jail is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Every descendant is killed with the tool, also those that left its group or session.
    WholeKill,
    /// Processes outside cannot be signalled or traced.
    Outsiders,
    /// Nothing is written but what is writable.
    Writes,
    /// Nothing is read but what is readable.
    Reads,
    /// No network.
    Network,
    /// The bound on memory.
    Memory,
    /// The bound on the number of processes.
    Processes,
    /// The bounds on file size, open files, processor time and core dumps.
    Limits,
    /// The bound on what is added to the disk.
    Disk,
    /// No capability, and none to be gained by set-user-id programs.
    Privileges,
}

impl Measure {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 10] = [
        Self::WholeKill,
        Self::Outsiders,
        Self::Writes,
        Self::Reads,
        Self::Network,
        Self::Memory,
        Self::Processes,
        Self::Limits,
        Self::Disk,
        Self::Privileges,
    ];

    /// Its name, as reports and `synod doctor` have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::WholeKill => "killed whole",
            Self::Outsiders => "other processes",
            Self::Writes => "writing files",
            Self::Reads => "reading files",
            Self::Network => "network",
            Self::Memory => "memory",
            Self::Processes => "number of processes",
            Self::Limits => "limits a process",
            Self::Disk => "disk space",
            Self::Privileges => "privileges",
        }
    }
}

/// How a measure stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Enforced, by these means.
    By(String),
    /// Enforced in part: by these means, and not against this.
    Partly {
        /// The means.
        by: String,
        /// What it leaves open.
        open: String,
    },
    /// Not enforced, and why.
    Not(String),
    /// The jail allows it.
    Allowed,
}

/// What of a jail was really enforced. Empty for a tool that ran without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contained {
    /// Each measure and how it stood, in the order of [`Measure::ALL`].
    pub measures: Vec<(Measure, Held)>,
}

impl Contained {
    /// How a measure stood; `None` without a jail.
    pub fn held(&self, measure: Measure) -> Option<&Held> {
        self.measures.iter().find(|(present, _)| *present == measure).map(|(_, held)| held)
    }

    /// Whether this measure was enforced whole.
    pub fn holds(&self, measure: Measure) -> bool {
        matches!(self.held(measure), Some(Held::By(_)))
    }

    /// What was asked for and not enforced, or in part only: a sentence each, such as `not contained: network (the kernel …)`.
    pub fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        for (measure, held) in &self.measures {
            match held {
                Held::By(_) | Held::Allowed => {}
                Held::Not(why) => gaps.push(format!("not contained: {} ({why})", measure.name())),
                Held::Partly { by, open } => {
                    gaps.push(format!("contained in part: {} (by {by}; not against {open})", measure.name()));
                }
            }
        }
        gaps
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::By(by) => f.write_str(by),
            Self::Partly { by, open } => write!(f, "{by}; not against {open}"),
            Self::Not(why) => write!(f, "not contained: {why}"),
            Self::Allowed => f.write_str("allowed"),
        }
    }
}
