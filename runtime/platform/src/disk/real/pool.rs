//! Threads that make the blocking calls: for everything where io_uring is refused, and always for opening, names and locks.
//!
//! At most [`THREADS`] for the process, started when there is work and none is idle. A job owns what it works on; its answer goes into
//! the mailbox of the port it came from, and rings that port's doorbell.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{self, FileType, FlockOperation, Mode, OFlags};
use rustix::io::{self, Errno, ReadWriteFlags};

use super::failure_of;
use crate::disk::buffer::Buffer;
use crate::disk::error::Failure;
use crate::disk::operation::{Entry, Kind, Metadata, OpenOptions, OperationId, Outcome, SyncKind};
use crate::task;

/// The most threads of the process that wait for disks.
const THREADS: usize = 4;

/// An operation with its file resolved: what a thread can do without its port.
pub(super) enum Job {
    Open { path: PathBuf, options: OpenOptions },
    Close { file: Arc<OwnedFd> },
    Lock { file: Arc<OwnedFd> },
    Allocate { file: Arc<OwnedFd>, offset: u64, len: u64 },
    Write { file: Arc<OwnedFd>, offset: u64, buffer: Buffer, range: Range<usize>, durable: bool },
    Read { file: Arc<OwnedFd>, offset: u64, buffer: Buffer, range: Range<usize> },
    Sync { file: Arc<OwnedFd>, kind: SyncKind },
    Truncate { file: Arc<OwnedFd>, len: u64 },
    Rename { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
    RemoveDirectory { path: PathBuf },
    CreateDirectory { path: PathBuf },
    List { path: PathBuf },
    Metadata { path: PathBuf },
    SyncDirectory { path: PathBuf },
}

/// What a job answers; an opened file has no id yet.
pub(super) enum Raw {
    Opened(OwnedFd),
    Outcome(Outcome),
}

type Answer = (OperationId, Result<Raw, Failure>, Option<Buffer>);

/// Where the answers for one port gather.
pub(super) struct Mailbox {
    answers: Mutex<Vec<Answer>>,
    doorbell: Arc<OwnedFd>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mailbox {
    pub(super) fn new() -> Arc<Self> {
        let doorbell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let doorbell = doorbell.unwrap_or_else(|error| {
            panic!("cannot make an eventfd: {error}; is the limit on open files reached?")
        });
        Arc::new(Self { answers: Mutex::new(Vec::new()), doorbell: Arc::new(doorbell) })
    }

    pub(super) fn doorbell(&self) -> Arc<OwnedFd> {
        self.doorbell.clone()
    }

    pub(super) fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut *lock(&self.answers))
    }

    fn put(&self, answer: Answer) {
        lock(&self.answers).push(answer);
        // Fails only when 2^64 - 2 rings were not heard: it is ringing then.
        let _ = io::write(&*self.doorbell, &1u64.to_ne_bytes());
    }
}

struct Work {
    jobs: VecDeque<(Job, OperationId, Arc<Mailbox>)>,
    threads: usize,
    idle: usize,
}

static WORK: Mutex<Work> = Mutex::new(Work { jobs: VecDeque::new(), threads: 0, idle: 0 });
static THERE_IS_WORK: Condvar = Condvar::new();

/// Has a job done by some thread of the pool; by this one if no thread can be had.
pub(super) fn run(job: Job, id: OperationId, mailbox: &Arc<Mailbox>) {
    let mut work = lock(&WORK);
    work.jobs.push_back((job, id, mailbox.clone()));
    if work.idle >= work.jobs.len() || work.threads == THREADS {
        drop(work);
        THERE_IS_WORK.notify_one();
        return;
    }
    let started = task::unpinned(|| std::thread::Builder::new().name("disk".to_owned()).spawn(serve));
    if started.is_ok() {
        work.threads += 1;
    } else if work.threads == 0
        && let Some((job, id, mailbox)) = work.jobs.pop_back()
    {
        drop(work);
        finish(job, id, &mailbox);
    }
}

fn serve() {
    let mut work = lock(&WORK);
    loop {
        if let Some((job, id, mailbox)) = work.jobs.pop_front() {
            drop(work);
            finish(job, id, &mailbox);
            work = lock(&WORK);
        } else {
            work.idle += 1;
            work = THERE_IS_WORK.wait(work).unwrap_or_else(PoisonError::into_inner);
            work.idle -= 1;
        }
    }
}

fn finish(job: Job, id: OperationId, mailbox: &Mailbox) {
    let (result, buffer) = perform(job);
    mailbox.put((id, result.map_err(failure_of), buffer));
}

/// Repeats a call that a signal interrupted.
fn whole<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

const fn done(_: ()) -> Raw {
    Raw::Outcome(Outcome::Done)
}

const fn count(count: usize) -> Raw {
    Raw::Outcome(Outcome::Count(count))
}

fn perform(job: Job) -> (Result<Raw, Errno>, Option<Buffer>) {
    let result = match job {
        Job::Write { file, offset, buffer, range, durable } => {
            let flags = if durable { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
            let part = IoSlice::new(&buffer[range]);
            let result = whole(|| io::pwritev2(&*file, &[part], offset, flags));
            return (result.map(count), Some(buffer));
        }
        Job::Read { file, offset, mut buffer, range } => {
            let result = whole(|| io::pread(&*file, &mut buffer[range.clone()], offset));
            return (result.map(count), Some(buffer));
        }
        Job::Open { path, options } => open(&path, options).map(Raw::Opened),
        Job::Close { file } => {
            drop(file);
            Ok(done(()))
        }
        Job::Lock { file } => whole(|| fs::flock(&*file, FlockOperation::NonBlockingLockExclusive)).map(done),
        Job::Allocate { file, offset, len } => {
            whole(|| fs::fallocate(&*file, fs::FallocateFlags::empty(), offset, len)).map(done)
        }
        Job::Sync { file, kind: SyncKind::Data } => whole(|| fs::fdatasync(&*file)).map(done),
        Job::Sync { file, kind: SyncKind::Full } => whole(|| fs::fsync(&*file)).map(done),
        Job::Truncate { file, len } => whole(|| fs::ftruncate(&*file, len)).map(done),
        Job::Rename { from, to } => whole(|| fs::rename(&from, &to)).map(done),
        Job::Remove { path } => whole(|| fs::unlink(&path)).map(done),
        Job::RemoveDirectory { path } => whole(|| fs::rmdir(&path)).map(done),
        Job::CreateDirectory { path } => whole(|| fs::mkdir(&path, Mode::RWXU)).map(done),
        Job::List { path } => list(&path).map(|entries| Raw::Outcome(Outcome::Entries(entries))),
        Job::Metadata { path } => whole(|| fs::lstat(&path)).map(|found| {
            let kind = kind(FileType::from_raw_mode(found.st_mode));
            let len = u64::try_from(found.st_size).unwrap_or(0);
            Raw::Outcome(Outcome::Metadata(Metadata { kind, len }))
        }),
        Job::SyncDirectory { path } => {
            directory(&path).and_then(|directory| whole(|| fs::fsync(&directory))).map(done)
        }
    };
    (result, None)
}

fn open(path: &PathBuf, options: OpenOptions) -> Result<OwnedFd, Errno> {
    let OpenOptions { read, write, create, create_new, truncate, direct } = options;
    let mut flags = OFlags::CLOEXEC;
    flags |= match (read, write) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (true, false) if !(create || create_new || truncate) => OFlags::RDONLY,
        _ => return Err(Errno::INVAL),
    };
    flags.set(OFlags::CREATE, create || create_new);
    flags.set(OFlags::EXCL, create_new);
    flags.set(OFlags::TRUNC, truncate);
    flags.set(OFlags::DIRECT, direct);
    let file = whole(|| fs::open(path, flags, Mode::RUSR | Mode::WUSR))?;
    // A directory can be opened for reading, and then refuses to be read.
    if read && !write && FileType::from_raw_mode(fs::fstat(&file)?.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    Ok(file)
}

fn directory(path: &PathBuf) -> Result<OwnedFd, Errno> {
    whole(|| fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()))
}

fn kind(found: FileType) -> Kind {
    match found {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        _ => Kind::Other,
    }
}

fn list(path: &PathBuf) -> Result<Vec<Entry>, Errno> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let directory = directory(path)?;
    let mut entries = Vec::new();
    for entry in fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            // Some file systems do not say it in the listing.
            FileType::Unknown => {
                let found = fs::statat(&directory, name, fs::AtFlags::SYMLINK_NOFOLLOW)?;
                kind(FileType::from_raw_mode(found.st_mode))
            }
            known => kind(known),
        };
        entries.push(Entry { name: PathBuf::from(OsStr::from_bytes(name.to_bytes())), kind });
    }
    entries.sort();
    Ok(entries)
}
