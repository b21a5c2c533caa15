//! The other process: started for one slice with an errand on its command line, watched while it runs, and ended by its id.

use super::{Job, Meeting, Page, Pair, pairs};
use crate::machine::Cores;
use crate::machine::pin;
use crate::measure::{Plan, Reading};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How much longer than its slice a child may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What this program is started again for.
#[derive(Debug, Serialize, Deserialize)]
pub enum Task {
    /// The other side of a subject.
    Serve(Errand),
    /// A node at a socket in a folder.
    Node(PathBuf, Cores),
    /// Agents that do nothing, attached to such a node.
    Idle(PathBuf, crate::idle::Idlers),
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
            Self::Serve(errand) => errand.run(),
            Self::Node(folder, cores) => super::publish::node(&folder, cores),
            Self::Idle(folder, idlers) => crate::idle::attached(&folder, &idlers),
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

/// Measures one slice of a subject, with as many children as the job has.
pub fn errand(pair: &dyn Pair, job: Job, plan: &Plan) -> Reading {
    let folder = Folder::new();
    let meeting =
        Meeting { page: Page::new(), folder: folder.0.clone(), brought: pair.bring(job), number: 0 };
    let children: Vec<Child> = (0..job.others())
        .map(|number| {
            let errand = Errand {
                subject: pair.name().to_owned(),
                job,
                plan: *plan,
                page: meeting.page.as_fd().as_raw_fd(),
                brought: meeting.brought.iter().map(AsRawFd::as_raw_fd).collect(),
                folder: folder.0.clone(),
                number,
            };
            other(&Task::Serve(errand), Stdio::null())
        })
        .collect();
    let limit = plan.slice + PATIENCE;
    std::thread::scope(|scope| {
        let who = pair.name();
        for child in children {
            scope.spawn(move || see_through(child, who, limit));
        }
        pin(plan.cores.sender);
        pair.measure(&meeting, job, plan)
    })
}

/// This program once more, for a task.
pub fn other(task: &Task, input: Stdio) -> Child {
    let program = std::env::current_exe().expect("this program has a file");
    let task = serde_json::to_string(task).expect("a task is plain data");
    Command::new(program).args(["other", &task]).stdin(input).spawn().expect("this program starts again")
}

/// Waits for a child's end. One that fails, or does not end, would be waited for in vain: the run stops.
fn see_through(mut child: Child, who: &str, limit: Duration) {
    let id = child.id();
    let ended = Pid::from_raw(id as i32).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()).and_then(
        |pidfd| {
            let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: 0 };
            poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).ok()
        },
    );
    if ended == Some(0) {
        let _ = child.kill();
        let _ = child.wait();
        eprintln!("peers: {who}: the other process ({id}) did not end within {limit:?} and was ended");
        std::process::exit(1);
    }
    match child.wait() {
        Ok(status) if status.success() => {}
        outcome => {
            eprintln!("peers: {who}: the other process ({id}) failed: {outcome:?}");
            std::process::exit(1);
        }
    }
}

impl Errand {
    fn run(self) -> Result<(), String> {
        let pair = pairs().into_iter().find(|pair| pair.name() == self.subject);
        let pair = pair.ok_or_else(|| format!("this build has no subject `{}`", self.subject))?;
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
