//! The other processes: started for one slice with a task on their command lines, and watched while they run.

use super::publish::Node;
use super::{Job, Meeting, Page, Pair, pairs};
use crate::groups::Measured;
use crate::machine::Cores;
use crate::machine::pin;
use crate::measure::Plan;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, set_parent_process_death_signal,
};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How much longer than its slice the processes that measure it may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What this program is started again for.
#[derive(Debug, Serialize, Deserialize)]
pub enum Task {
    /// A slice, and an empty folder for it.
    Measure(Slice, PathBuf),
    /// The other side of a subject.
    Serve(Errand),
    /// A node at a socket in a folder.
    Node(PathBuf, Cores),
    /// Agents that do nothing, attached to such a node.
    Idle(PathBuf, crate::idle::Idlers),
    /// Appends that are watched, into an empty folder.
    #[cfg(feature = "store")]
    Append(crate::calls::Watched, PathBuf),
}

impl Task {
    /// Reads what stands on the command line.
    pub fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("a task for another process: {error}"))
    }

    /// The process's whole life.
    pub fn run(self) -> Result<(), String> {
        // Its parent's end is its own, too.
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| error.to_string())?;
        match self {
            Self::Measure(slice, folder) => slice.run(folder),
            Self::Serve(errand) => errand.run(),
            Self::Node(folder, cores) => super::publish::node(&folder, cores),
            Self::Idle(folder, idlers) => crate::idle::attached(&folder, &idlers),
            #[cfg(feature = "store")]
            Self::Append(watched, folder) => watched.run(&folder),
        }
    }
}

/// What a child is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct Errand {
    subject: String,
    job: Job,
    plan: Plan,
    page: RawFd,
    brought: Vec<RawFd>,
    folder: PathBuf,
    number: usize,
}

/// One slice of a subject.
#[derive(Debug, Serialize, Deserialize)]
pub struct Slice {
    /// Whose.
    pub subject: String,
    /// What is measured.
    pub job: Job,
    /// For how long, and where.
    pub plan: Plan,
    /// The folder of a node that is there already, if it is not to have its own.
    pub node: Option<PathBuf>,
}

impl Slice {
    /// Measures it in a process of its own: whatever a peer waits for in vain, the run goes on. An error says what it would need.
    pub fn measure(self) -> Measured {
        let (who, folder, limit) = (self.subject.clone(), Folder::new(), self.plan.slice + PATIENCE);
        if let Some(node) = &self.node {
            symlink(Node::socket(node), Node::socket(&folder.0)).expect("a fresh folder");
        }
        let mut slice = command(&Task::Measure(self, folder.0.clone()));
        let mut child =
            slice.process_group(0).stdout(Stdio::piped()).spawn().expect("this program starts again");
        if !ends_within(&child, limit) {
            // With all it started.
            let _ = Pid::from_raw(child.id() as i32).map(|group| kill_process_group(group, Signal::KILL));
            let _ = child.wait();
            return Err(format!("an end: a slice did not end within {limit:?} and was ended"));
        }
        let mut text = String::new();
        let read = child.stdout.take().map(|mut pipe| pipe.read_to_string(&mut text));
        let succeeded = child.wait().is_ok_and(|status| status.success()) && matches!(read, Some(Ok(_)));
        // Its names live as long as the run; they are short.
        match serde_json::from_str(text.leak()) {
            Ok(reading) if succeeded => Ok(reading),
            _ => {
                eprintln!("peers: {who}: the process that measures failed");
                std::process::exit(1)
            }
        }
    }

    /// In that process: with as many children as the job has.
    fn run(self, folder: PathBuf) -> Result<(), String> {
        let Self { subject, job, plan, .. } = self;
        let pair = named(&subject)?;
        let brought = pair.bring(job);
        let meeting = Meeting { page: Page::new(), folder, brought, number: 0 };
        let children: Vec<Child> = (0..job.others())
            .map(|number| {
                let errand = Errand {
                    subject: subject.clone(),
                    job,
                    plan,
                    page: meeting.page.as_fd().as_raw_fd(),
                    brought: meeting.brought.iter().map(AsRawFd::as_raw_fd).collect(),
                    folder: meeting.folder.clone(),
                    number,
                };
                other(&Task::Serve(errand), Stdio::null())
            })
            .collect();
        let reading = std::thread::scope(|scope| {
            let who = &subject;
            for child in children {
                scope.spawn(move || see_through(child, who));
            }
            pin(plan.cores.sender);
            pair.measure(&meeting, job, &plan)
        });
        print!("{}", serde_json::to_string(&reading).map_err(|error| error.to_string())?);
        Ok(())
    }
}

/// How this program is started again for a task.
pub fn command(task: &Task) -> Command {
    let program = std::env::current_exe().expect("this program has a file");
    let task = serde_json::to_string(task).expect("a task is plain data");
    let mut command = Command::new(program);
    command.args(["other", &task]).stdin(Stdio::null());
    command
}

/// Starts it.
pub fn other(task: &Task, input: Stdio) -> Child {
    command(task).stdin(input).spawn().expect("this program starts again")
}

fn ends_within(child: &Child, limit: Duration) -> bool {
    let pidfd = Pid::from_raw(child.id() as i32).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: 0 };
    // Who cannot be watched is waited for.
    pidfd.is_none_or(|pidfd| poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)) != Ok(0))
}

/// Waits for a child's end. One that fails would be waited for in vain: the run stops.
fn see_through(mut child: Child, who: &str) {
    let outcome = child.wait();
    if !outcome.as_ref().is_ok_and(ExitStatus::success) {
        eprintln!("peers: {who}: the other process ({}) failed: {outcome:?}", child.id());
        std::process::exit(1);
    }
}

/// The subject of that name.
fn named(subject: &str) -> Result<Box<dyn Pair>, String> {
    let pair = pairs().into_iter().find(|pair| pair.name() == subject);
    pair.ok_or_else(|| format!("this build has no subject `{subject}`"))
}

impl Errand {
    fn run(self) -> Result<(), String> {
        let pair = named(&self.subject)?;
        // SAFETY: inherited for this purpose, and owned by nothing else of this process.
        let own = |descriptor: &RawFd| unsafe { OwnedFd::from_raw_fd(*descriptor) };
        let meeting = Meeting {
            page: Page::of(own(&self.page)),
            folder: self.folder,
            brought: self.brought.iter().map(own).collect(),
            number: self.number,
        };
        pin(self.plan.cores.receiver);
        pair.serve(&meeting, self.job);
        Ok(())
    }
}

/// A fresh folder, gone when dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    /// In the system's place for temporary files.
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("peers-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a fresh folder for temporary files");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_stays_itself_on_its_way_over_a_command_line_and_nothing_else_is_one() {
        let cores = crate::machine::Cores { sender: Some(0), receiver: None };
        let plan = Plan { rounds: 2, slice: Duration::from_millis(50), cores };
        let (subject, folder) = ("cache line".to_owned(), PathBuf::from("/tmp/x"));
        let job = Job::Throughput { size: 64, batch: 16 };
        let errand = Errand { subject, job, plan, page: 3, brought: vec![4, 5], folder, number: 1 };
        let text = serde_json::to_string(&Task::Serve(errand)).unwrap();
        let Ok(Task::Serve(read)) = Task::read(&text) else { panic!("{text}") };
        assert_eq!((read.job, read.page, &read.brought[..], read.number), (job, 3, &[4, 5][..], 1));
        assert!(Task::read("{}").is_err());
    }

    #[test]
    fn every_subject_of_a_child_has_a_name_of_its_own() {
        let mut names: Vec<&str> = pairs().iter().map(|pair| pair.name()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
