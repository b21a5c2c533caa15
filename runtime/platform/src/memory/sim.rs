//! Simulated memory: counted for each node, and refused when its fault plan says so; bells that wake tasks of any node.
//!
//! A shared region is the kernel's memory as in production. When its owner crashes, its mapping is cut off from it: what the dead life's
//! destructors still store reaches nobody, and readers keep what was there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use synod_probe::event;
use synod_ring::Waiter;
use synod_ring::region::RegionError;
use synod_sim_model::memory::Memory;

use super::sealed::{Mapping, kind};
use super::{MemoryError, TaskWaiter};
use crate::simulation::steps::{self, Step};
use crate::simulation::{self, Incarnation, NodeId};

/// What the engine sets and reads.
pub mod control {
    use super::{NodeId, with};

    pub use synod_sim_model::memory::MemoryFaults;

    /// Sets when a node's allocations of regions are refused.
    pub fn set_faults(node: NodeId, faults: MemoryFaults) {
        with(node, |memory| memory.set_faults(faults));
    }

    /// Bytes that a node's present life holds in regions.
    pub fn held(node: NodeId) -> u64 {
        with(node, |memory| memory.held())
    }

    /// How many allocations a node was refused so far.
    pub fn refused(node: NodeId) -> u64 {
        with(node, |memory| memory.refused())
    }
}

struct Memories {
    counts: RefCell<BTreeMap<NodeId, Memory>>,
    /// Regions that other processes may read, and whose they are.
    shared: RefCell<Vec<(Incarnation, Weak<Mapping>)>>,
}

impl Default for Memories {
    fn default() -> Self {
        // A dead process holds nothing and writes nothing.
        simulation::on_crash(|life| {
            with(life.node, Memory::crash);
            cut_off(life);
        });
        Self { counts: RefCell::default(), shared: RefCell::default() }
    }
}

fn with<T>(node: NodeId, body: impl FnOnce(&mut Memory) -> T) -> T {
    let memories = simulation::state::<Memories>();
    let mut counts = memories.counts.borrow_mut();
    body(counts.entry(node).or_default())
}

fn cut_off(dead: Incarnation) {
    let memories = simulation::state::<Memories>();
    memories.shared.borrow_mut().retain(|(life, mapping)| match mapping.upgrade() {
        Some(mapping) if *life == dead => {
            mapping.detach();
            false
        }
        still => still.is_some(),
    });
}

#[derive(Debug)]
pub(super) struct Grant {
    life: Incarnation,
    bytes: u64,
}

pub(super) fn grant(len: usize) -> Result<Grant, RegionError> {
    let (life, bytes) = (simulation::current(), len as u64);
    if !simulation::is_alive(life) {
        // What a dead process still asks for is held by nobody.
        return Ok(Grant { life, bytes });
    }
    let answer = with(life.node, |memory| memory.allocate(bytes, &mut crate::random::u64));
    answer.map_err(|_| {
        event!("memory.refused", node = life.node.number(), bytes = bytes);
        RegionError::OutOfMemory { len }
    })?;
    Ok(Grant { life, bytes })
}

impl Drop for Grant {
    fn drop(&mut self) {
        // Held by a life that is over: its crash gave everything back, and after the run there is nobody to give to.
        if simulation::in_run() && simulation::is_alive(self.life) {
            with(self.life.node, |memory| memory.free(self.bytes));
        }
    }
}

/// The mapping of a region's owner, which a crash of the owner cuts off.
#[derive(Debug)]
pub(super) struct Shared(Arc<Mapping>);

impl Shared {
    pub(super) fn new(mapping: Mapping) -> Self {
        let mapping = Arc::new(mapping);
        let life = simulation::current();
        if !simulation::is_alive(life) {
            mapping.detach();
        }
        let memories = simulation::state::<Memories>();
        let mut shared = memories.shared.borrow_mut();
        if shared.len() == shared.capacity() {
            shared.retain(|(_, mapping)| mapping.strong_count() > 0);
        }
        shared.push((life, Arc::downgrade(&mapping)));
        Self(mapping)
    }

    pub(super) fn mapping(&self) -> &Mapping {
        &self.0
    }
}

/// The running node stores into a shared region: its own, for it could not into another's.
pub(super) fn before_store() {
    steps::take(Step::Store);
}

/// What a node passes to another.
pub(crate) enum Handle {
    Memory(OwnedFd),
    Bell(Arc<dyn Waiter>),
}

impl From<OwnedFd> for Handle {
    fn from(descriptor: OwnedFd) -> Self {
        Self::Memory(descriptor)
    }
}

impl Handle {
    pub(super) fn try_clone(&self) -> Result<Self, MemoryError> {
        match self {
            Self::Memory(file) => file
                .try_clone()
                .map(Self::Memory)
                .map_err(|error| MemoryError::system("copying a descriptor", error)),
            Self::Bell(bell) => Ok(Self::Bell(bell.clone())),
        }
    }

    pub(super) fn memory(&self) -> Result<BorrowedFd<'_>, MemoryError> {
        match self {
            Self::Memory(file) => Ok(file.as_fd()),
            // As the real one is.
            Self::Bell(_) => Err(MemoryError::NotMemory { found: "a socket".into() }),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(file) => f.debug_tuple("Memory").field(file).finish(),
            Self::Bell(_) => f.write_str("Bell"),
        }
    }
}

/// The ringing end of a bell, as often as it was passed on. The last to close it tells the bell.
struct End {
    rings: Arc<dyn Waiter>,
    deserted: Arc<Deserted>,
}

#[derive(Debug, Default)]
struct Deserted {
    is_so: AtomicBool,
    task: AtomicWaker,
}

impl Waiter for End {
    fn wake(&self) {
        self.rings.wake();
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.deserted.is_so.store(true, Ordering::Release);
        self.deserted.task.wake();
    }
}

#[derive(Debug)]
pub(super) struct Bell {
    hears: TaskWaiter,
    deserted: Arc<Deserted>,
}

impl Bell {
    #[expect(clippy::unnecessary_wraps, reason = "the real arm can run out of descriptors")]
    pub(super) fn new() -> Result<(Self, Handle), MemoryError> {
        let (hears, deserted) = (TaskWaiter::new(), Arc::<Deserted>::default());
        let rings = Handle::Bell(Arc::new(End { rings: hears.waker(), deserted: deserted.clone() }));
        Ok((Self { hears, deserted }, rings))
    }

    pub(super) fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.hears.poll_parked(cx)
    }

    pub(super) fn poll_deserted(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.deserted.task.register(cx.waker());
        if self.deserted.is_so.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

pub(super) struct Ringer {
    bell: Arc<dyn Waiter>,
    life: Incarnation,
}

impl Ringer {
    pub(super) fn new(handle: Handle) -> Result<Self, MemoryError> {
        match handle {
            Handle::Bell(bell) => Ok(Self { bell, life: simulation::current() }),
            Handle::Memory(file) => Err(MemoryError::NotABell { found: kind(file.as_fd()) }),
        }
    }

    pub(super) fn ring(&self) {
        steps::take(Step::Ring);
        if simulation::is_alive(self.life) {
            self.bell.wake();
        }
    }
}

impl fmt::Debug for Ringer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ringer").field("life", &self.life).finish_non_exhaustive()
    }
}
