//! The simulated disk: one model a node, operations that take virtual time, crashes that nothing survives by accident.
//!
//! A port belongs to one life of a node. Its operations take effect when their time is over, not before; when the life ends, what is
//! in flight is decided there and then (a write was taken in part, or not), and the port is dead: whatever destructors of the old life still
//! submit does nothing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use madsim::rand::RngCore;
use madsim::time::Sleep;
use synod_probe::{event, reach};
use synod_sim_model::Random;
use synod_sim_model::disk::{self as model, Class, DirectorySync, Disk, FileSync, Handle, Open};

use super::buffer::Buffer;
use super::error::Failure;
use super::operation::{
    Completion, Entry, FileId, Kind, Metadata, OpenOptions, Operation, OperationId, Outcome, SyncKind,
};
use super::queue::Queue;
use super::{Backend, Choice};
use crate::simulation::{self, Exit, Incarnation, NodeId, Status};

/// The run's disks.
#[derive(Default)]
pub(super) struct Disks {
    hooked: Cell<bool>,
    shared: RefCell<BTreeMap<NodeId, Rc<Shared>>>,
    queues: RefCell<BTreeMap<Incarnation, Rc<Queue>>>,
}

/// One node's disk, with what is in flight on it.
pub(super) struct Shared {
    node: NodeId,
    disk: RefCell<Disk>,
    in_flight: RefCell<BTreeMap<(u64, u64), InFlight>>,
    next: Cell<u64>,
    /// How many operations may still complete before the disk stalls; without end if none.
    left: Cell<Option<u64>>,
    /// Set while a life is ended whose machine goes on running.
    cache_survives: Cell<bool>,
    /// Woken when something may complete earlier than thought: the disk goes on, or there is something new.
    waker: RefCell<Option<Waker>>,
}

struct InFlight {
    life: Incarnation,
    id: OperationId,
    verb: &'static str,
    step: Step,
}

/// An operation on its way; a sync has noted at submission what it covers.
enum Step {
    Plain(Operation),
    Sync(Result<FileSync, model::Failure>, SyncKind),
    SyncDirectory(Result<DirectorySync, model::Failure>),
}

fn disks() -> Rc<Disks> {
    let disks = simulation::state::<Disks>();
    if !disks.hooked.replace(true) {
        simulation::on_crash(|life| {
            let disks = simulation::state::<Disks>();
            disks.queues.borrow_mut().remove(&life);
            let node = simulation::nodes().into_iter().find(|node| node.id() == life.node);
            // Only being killed may be a loss of power: a panic or a finished root is the end of a process.
            let killed = node.is_some_and(|node| node.status() == Status::Down(Exit::Killed));
            of(life.node).life_ended(life, killed);
        });
    }
    disks
}

/// The disk of a node; made at first use.
pub(super) fn of(node: NodeId) -> Rc<Shared> {
    disks().shared.borrow_mut().entry(node).or_insert_with(|| Shared::new(node)).clone()
}

pub(super) fn queue() -> Rc<Queue> {
    let life = simulation::current();
    let shared = of(life.node);
    disks().queues.borrow_mut().entry(life).or_insert_with(|| Queue::new(Port { life, shared })).clone()
}

pub(super) fn choose(_: Choice) {}

pub(super) fn backend() -> Backend {
    Backend::Simulated
}

/// The run's generator, as the models want it.
pub(super) fn random() -> impl Random {
    || madsim::rand::thread_rng().next_u64()
}

fn now() -> u64 {
    madsim::time::TimeHandle::current().elapsed().as_nanos() as u64
}

fn failure_of(failure: model::Failure) -> Failure {
    match failure {
        model::Failure::NotFound => Failure::NotFound,
        model::Failure::Exists => Failure::Exists,
        model::Failure::Denied => Failure::Denied,
        model::Failure::ReadOnly => Failure::ReadOnly,
        model::Failure::NoSpace => Failure::NoSpace,
        model::Failure::Quota => Failure::Quota,
        model::Failure::Io => Failure::Io,
        model::Failure::Locked => Failure::Locked,
        model::Failure::NotDirectory => Failure::NotDirectory,
        model::Failure::IsDirectory => Failure::IsDirectory,
        model::Failure::NotEmpty => Failure::NotEmpty,
        model::Failure::BadHandle => Failure::NotOpen,
        model::Failure::Invalid => Failure::Invalid,
        model::Failure::Unsupported => Failure::Unsupported,
    }
}

fn class(operation: &Operation) -> Class {
    match operation {
        Operation::Read { .. } | Operation::List { .. } | Operation::Metadata { .. } => Class::Read,
        Operation::Sync { .. } | Operation::SyncDirectory { .. } | Operation::Write { durable: true, .. } => {
            Class::Sync
        }
        _ => Class::Write,
    }
}

impl Shared {
    fn new(node: NodeId) -> Rc<Self> {
        Rc::new(Self {
            node,
            disk: RefCell::new(Disk::default()),
            in_flight: RefCell::new(BTreeMap::new()),
            next: Cell::new(0),
            left: Cell::new(None),
            cache_survives: Cell::new(false),
            waker: RefCell::new(None),
        })
    }

    /// Looks at or changes the model itself; for control.
    pub(super) fn with<T>(&self, body: impl FnOnce(&mut Disk) -> T) -> T {
        let result = body(&mut self.disk.borrow_mut());
        self.wake();
        result
    }

    /// Lets so many operations complete, and then none.
    pub(super) fn stall_after(&self, operations: Option<u64>) {
        self.left.set(operations);
        self.wake();
    }

    /// Whether nothing completes.
    pub(super) fn is_stalled(&self) -> bool {
        self.left.get() == Some(0) || self.disk.borrow().faults().stalled
    }

    /// Runs `end`, in which lives end as processes do: the cache survives them.
    pub(super) fn sparing_the_cache(&self, end: impl FnOnce()) {
        self.cache_survives.set(true);
        end();
        self.cache_survives.set(false);
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn submit(&self, life: Incarnation, operation: Operation, id: OperationId) {
        let at = self.disk.borrow_mut().completes_at(now(), class(&operation), &mut random());
        let verb = operation.verb();
        let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let step = match operation {
            Operation::Sync { file, kind } => {
                Step::Sync(self.disk.borrow_mut().sync_begin(handle(file)), kind)
            }
            Operation::SyncDirectory { path: of } => {
                Step::SyncDirectory(self.disk.borrow_mut().sync_directory_begin(&path(&of)))
            }
            operation => Step::Plain(operation),
        };
        let number = self.next.get();
        self.next.set(number + 1);
        self.in_flight.borrow_mut().insert((at, number), InFlight { life, id, verb, step });
        self.wake();
    }

    /// A life ended: what it had in flight is decided now.
    fn life_ended(&self, life: Incarnation, killed: bool) {
        let mut random = random();
        let mut disk = self.disk.borrow_mut();
        for (_, in_flight) in std::mem::take(&mut *self.in_flight.borrow_mut()) {
            if in_flight.life != life {
                continue;
            }
            reach!("disk.operation_died_with_its_life");
            if let Step::Plain(Operation::Write { file, offset, buffer, range, .. }) = in_flight.step {
                disk.write_interrupted(handle(file), offset, &buffer[range], &mut random);
            }
        }
        if killed && !self.cache_survives.get() {
            event!("disk.power_loss", node = self.node.number(), incarnation = life.number);
            disk.power_loss(&mut random);
        } else {
            disk.crash();
        }
    }

    /// Takes the first operation whose time is over.
    fn due(&self, now: u64) -> Option<InFlight> {
        if self.is_stalled() {
            return None;
        }
        let mut in_flight = self.in_flight.borrow_mut();
        let first = in_flight.first_entry().filter(|first| first.key().0 <= now)?;
        self.left.set(self.left.get().map(|left| left - 1));
        Some(first.remove())
    }

    /// When the next operation's time is over; `None` while stalled or idle.
    fn next_due(&self) -> Option<u64> {
        if self.is_stalled() {
            reach!("disk.stalled");
            return None;
        }
        self.in_flight.borrow().keys().next().map(|(at, _)| *at)
    }

    fn finish(&self, in_flight: InFlight) -> Completion {
        let mut disk = self.disk.borrow_mut();
        let mut random = random();
        let mut buffer = None;
        let result = match in_flight.step {
            // The model's metadata is the length alone, which both kinds make durable.
            Step::Sync(begun, kind) => {
                let result = begun.and_then(|sync| disk.sync_end(sync, &mut random));
                let (node, full) = (self.node.number(), kind == SyncKind::Full);
                event!("disk.sync", node = node, full = full, ok = result.is_ok());
                result.map(|()| Outcome::Done)
            }
            Step::SyncDirectory(begun) => {
                begun.and_then(|sync| disk.sync_directory_end(sync, &mut random)).map(|()| Outcome::Done)
            }
            Step::Plain(operation) => perform(&mut disk, operation, &mut buffer, &mut random),
        };
        let result = result.map_err(failure_of);
        if let Err(failure) = &result {
            let failure = failure.to_string();
            event!(
                "disk.failed",
                node = self.node.number(),
                operation = in_flight.verb,
                why = failure.as_str()
            );
        }
        Completion { id: in_flight.id, result, buffer }
    }
}

/// Handles are unique on a disk for ever, so they serve as file ids as they are.
fn handle(file: FileId) -> Handle {
    Handle::from_number(file.0)
}

fn perform(
    disk: &mut Disk,
    operation: Operation,
    returned: &mut Option<Buffer>,
    random: &mut impl Random,
) -> Result<Outcome, model::Failure> {
    let text = |path: &std::path::Path| path.to_str().map(str::to_owned).ok_or(model::Failure::Invalid);
    match operation {
        Operation::Open { path, options } => {
            let OpenOptions { read, write, create, create_new, truncate, direct } = options;
            let how = Open { read, write, create, create_new, truncate, direct };
            let opened = disk.open(&text(&path)?, how)?;
            Ok(Outcome::Opened(FileId(opened.number())))
        }
        Operation::Close { file } => disk.close(handle(file)).map(|()| Outcome::Done),
        Operation::Lock { file } => disk.lock(handle(file)).map(|()| Outcome::Done),
        Operation::Allocate { file, offset, len } => {
            disk.allocate(handle(file), offset, len).map(|()| Outcome::Done)
        }
        Operation::Write { file, offset, buffer, range, durable } => {
            let result = match buffer.get(range) {
                Some(bytes) if durable => disk.write_durable(handle(file), offset, bytes, random),
                Some(bytes) => disk.write(handle(file), offset, bytes, random),
                None => Err(model::Failure::Invalid),
            };
            *returned = Some(buffer);
            result.map(Outcome::Count)
        }
        Operation::Read { file, offset, mut buffer, range } => {
            let result = match buffer.get_mut(range) {
                Some(into) => disk.read(handle(file), offset, into, random).map(Outcome::Count),
                None => Err(model::Failure::Invalid),
            };
            *returned = Some(buffer);
            result
        }
        Operation::Truncate { file, len } => disk.truncate(handle(file), len).map(|()| Outcome::Done),
        Operation::Rename { from, to } => disk.rename(&text(&from)?, &text(&to)?).map(|()| Outcome::Done),
        Operation::Remove { path } => disk.remove(&text(&path)?).map(|()| Outcome::Done),
        Operation::RemoveDirectory { path } => disk.remove_directory(&text(&path)?).map(|()| Outcome::Done),
        Operation::CreateDirectory { path } => disk.create_directory(&text(&path)?).map(|()| Outcome::Done),
        Operation::List { path } => {
            let list = disk.list(&text(&path)?)?;
            let entry = |(name, directory): (String, bool)| Entry {
                name: name.into(),
                kind: if directory { Kind::Directory } else { Kind::File },
            };
            Ok(Outcome::Entries(list.into_iter().map(entry).collect()))
        }
        Operation::Metadata { path } => {
            let found = match disk.length(&text(&path)?)? {
                Some(len) => Metadata { kind: Kind::File, len },
                None => Metadata { kind: Kind::Directory, len: 0 },
            };
            Ok(Outcome::Metadata(found))
        }
        Operation::Sync { .. } | Operation::SyncDirectory { .. } => unreachable!("begun at submission"),
    }
}

/// One life's access to its node's disk.
pub(super) struct Port {
    life: Incarnation,
    shared: Rc<Shared>,
}

impl Port {
    pub(super) fn submit(&self, operation: Operation, id: OperationId) {
        if simulation::is_alive(self.life) {
            self.shared.submit(self.life, operation, id);
        } else {
            reach!("disk.operation_of_an_older_life");
        }
    }

    /// What completes on this port.
    pub(super) fn completions(&self) -> Completions<'_> {
        Completions { port: self, timer: None }
    }
}

/// A port's completions.
pub(super) struct Completions<'a> {
    port: &'a Port,
    timer: Option<(u64, Pin<Box<Sleep>>)>,
}

impl Completions<'_> {
    /// Waits until something completed.
    pub(super) async fn next(&mut self, into: &mut Vec<Completion>) {
        let shared = &self.port.shared;
        let timer = &mut self.timer;
        poll_fn(|cx| {
            loop {
                while let Some(due) = shared.due(now()) {
                    into.push(shared.finish(due));
                }
                if !into.is_empty() {
                    return Poll::Ready(());
                }
                *shared.waker.borrow_mut() = Some(cx.waker().clone());
                let Some(at) = shared.next_due() else {
                    *timer = None;
                    return Poll::Pending;
                };
                if timer.as_ref().is_none_or(|(set, _)| *set != at) {
                    let wait = Duration::from_nanos(at.saturating_sub(now()));
                    *timer = Some((at, Box::pin(madsim::time::sleep(wait))));
                }
                if let Some((_, sleep)) = timer {
                    match sleep.as_mut().poll(cx) {
                        Poll::Ready(()) => *timer = None,
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
        })
        .await;
    }
}
