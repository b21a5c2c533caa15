//! The arm that remembers: every store of every party is a step, in order, and a party can be made to die after any of them.
//!
//! A party that is dead goes on running, but nothing it stores reaches memory any more: for the others it stopped between
//! two instructions, without unwinding. [`Journal::replay`] builds the memory as it was after any number of steps. Payload
//! bytes become steps of eight when their borrow ends. For one thread at a time; made for tests.

use super::{Bytes, BytesMut, Memory};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who stores: any small number the test likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Party(pub u8);

/// One store that reached memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who stored.
    pub party: Party,
    /// Into which region, by the order of their making.
    pub region: usize,
    /// At which byte, a multiple of eight.
    pub at: usize,
    /// The word that was stored.
    pub value: u64,
}

#[derive(Default)]
struct State {
    /// Memory as words; byte order is the machine's.
    regions: Vec<Vec<u64>>,
    steps: Vec<Step>,
    taken: BTreeMap<Party, usize>,
    allowed: BTreeMap<Party, usize>,
}

impl State {
    fn store(&mut self, step: Step) {
        let taken = self.taken.entry(step.party).or_default();
        if self.allowed.get(&step.party).is_some_and(|allowed| *taken >= *allowed) {
            return;
        }
        *taken += 1;
        self.regions[step.region][step.at / 8] = step.value;
        self.steps.push(step);
    }
}

/// The record of all stores into a few regions.
#[derive(Clone, Default)]
pub struct Journal {
    state: Arc<Mutex<State>>,
}

impl Journal {
    /// A journal without regions.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fresh zeroed region of `len` bytes, rounded up to eight; returns its number.
    pub fn region(&self, len: usize) -> usize {
        let mut state = self.state();
        state.regions.push(vec![0; len.div_ceil(8)]);
        state.regions.len() - 1
    }

    /// The handle through which `party` touches a region.
    pub fn handle(&self, region: usize, party: Party) -> Journaled {
        Journaled { journal: self.clone(), region, party }
    }

    /// Every step so far, in order.
    pub fn steps(&self) -> Vec<Step> {
        self.state().steps.clone()
    }

    /// From now on `party` dies after `steps` steps, counted from its first.
    pub fn kill_after(&self, party: Party, steps: usize) {
        self.state().allowed.insert(party, steps);
    }

    /// How many steps `party` took.
    pub fn taken(&self, party: Party) -> usize {
        self.state().taken.get(&party).copied().unwrap_or(0)
    }

    /// A new journal whose memory is as this one's was after the first `steps` steps.
    pub fn replay(&self, steps: usize) -> Journal {
        let state = self.state();
        let regions = state.regions.iter().map(|words| vec![0; words.len()]).collect();
        let mut replayed = State { regions, ..State::default() };
        for step in state.steps.iter().take(steps) {
            replayed.store(*step);
        }
        Journal { state: Arc::new(Mutex::new(replayed)) }
    }

    /// The words of a region as they are.
    pub fn memory(&self, region: usize) -> Vec<u64> {
        self.state().regions[region].clone()
    }
}

/// One party's handle to one region.
#[derive(Clone)]
pub struct Journaled {
    journal: Journal,
    region: usize,
    party: Party,
}

impl Journaled {
    fn put(&self, at: usize, value: u64) {
        let Self { ref journal, region, party } = *self;
        journal.state().store(Step { party, region, at, value });
    }

    fn get(&self, at: usize) -> u64 {
        self.journal.state().regions[self.region][at / 8]
    }

    fn update(&self, at: usize, change: impl FnOnce(u64) -> u64) -> u64 {
        let before = self.get(at);
        self.put(at, change(before));
        before
    }

    fn copy(&self, at: usize, len: usize) -> Box<[u64]> {
        let first = at / 8;
        self.journal.state().regions[self.region][first..first + len.div_ceil(8)].into()
    }
}

/// A copy of the bytes as they were when they were borrowed.
pub struct Copied(Box<[u64]>);

impl Bytes for Copied {
    fn pointer(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }
}

/// Bytes that become steps when this is dropped.
pub struct Draft {
    to: Journaled,
    at: usize,
    words: Box<[u64]>,
}

impl BytesMut for Draft {
    fn pointer(&mut self) -> *mut u8 {
        self.words.as_mut_ptr().cast()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        for (index, word) in self.words.iter().enumerate() {
            self.to.put(self.at + index * 8, *word);
        }
    }
}

// SAFETY: borrowed bytes are copies owned by the borrow, at least as long as asked; words change under one lock.
unsafe impl Memory for Journaled {
    type Reading = Copied;
    type Writing = Draft;

    fn len(&self) -> usize {
        self.journal.state().regions[self.region].len() * 8
    }

    unsafe fn load(&self, at: usize, _order: Ordering) -> u64 {
        self.get(at)
    }

    unsafe fn store(&self, at: usize, value: u64, _order: Ordering) {
        self.put(at, value);
    }

    unsafe fn swap(&self, at: usize, value: u64, _order: Ordering) -> u64 {
        self.update(at, |_| value)
    }

    unsafe fn fetch_or(&self, at: usize, bits: u64, _order: Ordering) -> u64 {
        self.update(at, |word| word | bits)
    }

    unsafe fn read(&self, at: usize, len: usize) -> Copied {
        Copied(self.copy(at, len))
    }

    unsafe fn write(&self, at: usize, len: usize) -> Draft {
        Draft { to: self.clone(), at, words: self.copy(at, len) }
    }

    fn fence(&self) {}
}
