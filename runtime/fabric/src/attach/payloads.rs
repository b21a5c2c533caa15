//! Long payloads between processes: written once into the sender's memory, passed by name, held until every receiver let go.
//!
//! The sender's books are its own: which slot of which region is out to whom. A receiver gives a slot back in its own memory; its
//! death, by the kernel's word, gives back all it held. A sender's death takes nothing away: what was mapped stays readable until it is let go.

use std::cell::OnceCell;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use synod_platform::memory::{Handle, MemoryError, dma};
use synod_platform::topology::Topology;
use synod_probe::reach;
use synod_ring::pool::{Loan, Pool, Slice, View};
use synod_ring::returns::Returns;
use synod_ring::wish::Wished;
use synod_ring::{Region as _, RegionError, Waiter};
use synod_wire::simd::copy::append_shared;

use super::holds::Parted;
use super::standing::Rung;
use crate::registry::{ContextId, Shared};

/// Bytes of the smallest slot; each size is four times the one before.
const SLOT_MIN: usize = 4 << 10;

/// Bytes that a region should have at least, unless its one slot is larger; and the most slots of a region.
const REGION_MIN: usize = 1 << 20;
const SLOTS_MAX: usize = 64;

/// Why there is no slot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSlot {
    /// All memory for long payloads is held by receivers.
    #[error("the {max} bytes for long payloads are all in use: wait until receivers let go, or allow more")]
    Full {
        /// The most bytes of one context.
        max: usize,
    },
    /// There is no memory.
    #[error(transparent)]
    Memory(#[from] RegionError),
    /// There is, but it cannot be shared.
    #[error(transparent)]
    Shared(#[from] MemoryError),
}

/// One region of slots.
pub(crate) struct Region {
    pool: Arc<Pool>,
    handle: Handle,
    bytes: usize,
}

/// A context's memory for long payloads: made as it is needed, up to a bound.
pub(crate) struct Store {
    /// By number; one that was given back leaves its number unused.
    regions: Vec<Option<Region>>,
    bytes: usize,
    shared: Arc<Shared>,
    /// The NUMA node near which it is made, once that was asked.
    near: OnceCell<Option<usize>>,
    given_back: Vec<u16>,
    /// What receivers hold of lanes that have ended.
    parted: Vec<Parted>,
}

/// A region as a receiver has to know it.
pub(crate) struct Offered {
    pub handle: Handle,
    pub bytes: usize,
    pub slot_len: usize,
}

/// What a slot is called between two processes: its region, its place there, and which use of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub region: u16,
    pub slot: u16,
    pub generation: u32,
}

impl Name {
    pub fn word(self) -> u64 {
        u64::from(self.region) << 48 | u64::from(self.slot) << 32 | u64::from(self.generation)
    }
}

impl Store {
    /// An empty one, that grows as far as the fabric's settings allow.
    pub fn new(shared: Arc<Shared>) -> Self {
        let (regions, given_back, parted) = Default::default();
        Self { regions, bytes: 0, shared, near: OnceCell::new(), given_back, parted }
    }

    /// A slot for `len` bytes, to be written.
    pub fn take(&mut self, len: usize) -> Result<Loan, NoSlot> {
        let slot_len = slot_len(len);
        let fitting = self.regions.iter().flatten().filter(|region| region.pool.slot_len() == slot_len);
        if let Some(loan) = fitting.filter_map(|region| region.pool.take(len)).next() {
            return Ok(loan);
        }
        if self.collect() {
            return self.take(len);
        }
        let slots = (REGION_MIN / slot_len).clamp(1, SLOTS_MAX);
        let (bytes, max) = (slots * slot_len, self.shared.config.payload_bytes);
        if self.bytes + bytes > max {
            self.give_back();
        }
        if self.bytes + bytes > max || self.regions.len() > usize::from(u16::MAX) {
            reach!("attach.payloads_full");
            self.parted.iter().for_each(Parted::want_back);
            if self.collect() {
                return self.take(len);
            }
            return Err(NoSlot::Full { max });
        }
        let region = self.region(bytes, slot_len)?;
        self.bytes += region.bytes;
        let loan = region.pool.take(len);
        self.regions.push(Some(region));
        loan.ok_or(NoSlot::Full { max })
    }

    /// New memory, as it shall be and this machine allows.
    fn region(&self, bytes: usize, slot_len: usize) -> Result<Region, NoSlot> {
        let height = self.shared.config.payload_memory.height();
        let climbs = height > dma::Height::Plain;
        let near = climbs.then(|| *self.near.get_or_init(Topology::own_numa_node)).flatten();
        let mut memory = dma::region(bytes, height, near)?;
        if climbs {
            self.shared.stand_on(memory.rungs().iter().map(Rung::from).collect());
        }
        let handle = memory.handle()?;
        memory.close();
        // Of huge pages there may be more than were asked for.
        let bytes = memory.len() / slot_len * slot_len;
        Ok(Region { pool: Arc::new(Pool::new(memory, slot_len)), handle, bytes })
    }

    /// A lane has ended of which its receiver holds this.
    pub fn keep(&mut self, parted: Parted) {
        self.parted.push(parted);
    }

    /// Whether a context holds something of a lane that has ended.
    pub fn is_held_by(&self, context: ContextId) -> bool {
        self.parted.iter().any(|parted| parted.to() == context)
    }

    /// A context is no more, and holds nothing.
    pub fn forget(&mut self, context: ContextId) {
        self.parted.retain(|parted| parted.to() != context);
    }

    /// Whether a receiver let go of something that it held of a lane that has ended.
    fn collect(&mut self) -> bool {
        let held = |parted: &[Parted]| parted.iter().map(Parted::held).sum::<usize>();
        let before = held(&self.parted);
        self.parted.retain_mut(Parted::is_held);
        held(&self.parted) < before
    }

    /// What a slot is called; nothing if it is another context's.
    pub fn name(&self, slice: &Slice) -> Option<Name> {
        let region = self.position(|pool| slice.is_of(pool))?;
        Some(Name { region: region as u16, slot: slice.slot() as u16, generation: slice.generation() })
    }

    /// The region in which a loan lies, which this store made.
    pub fn region_of(&self, loan: &Loan) -> u16 {
        let region = self.position(|pool| loan.is_of(pool));
        region.expect("a store's loans lie in its regions") as u16
    }

    fn position(&self, is_it: impl Fn(&Arc<Pool>) -> bool) -> Option<usize> {
        self.regions.iter().position(|region| region.as_ref().is_some_and(|region| is_it(&region.pool)))
    }

    /// Gives regions back in which nothing is held: for those of another size, or because there is nobody to send to.
    pub fn give_back(&mut self) {
        for (number, place) in self.regions.iter_mut().enumerate() {
            if let Some(region) = place.take_if(|region| region.pool.is_idle()) {
                reach!("attach.region_given_back");
                self.bytes -= region.bytes;
                self.given_back.push(number as u16);
            }
        }
    }

    /// Regions given back since the last call: receivers are to let go of them. The last who let go of a lane that has ended leaves none behind.
    pub fn take_given_back(&mut self) -> Vec<u16> {
        if !self.parted.is_empty() && self.collect() && self.parted.is_empty() {
            self.give_back();
        }
        std::mem::take(&mut self.given_back)
    }

    /// A region, to be passed on.
    pub fn offer(&self, region: u16) -> Result<Offered, MemoryError> {
        let region = self.regions.get(usize::from(region)).and_then(Option::as_ref);
        let Region { pool, handle, bytes } = region.ok_or(MemoryError::Closed)?;
        Ok(Offered { handle: handle.try_clone()?, bytes: *bytes, slot_len: pool.slot_len() })
    }
}

/// The size of slot that takes `len` bytes.
fn slot_len(len: usize) -> usize {
    let mut slot = SLOT_MIN;
    while slot < len {
        slot *= 4;
    }
    slot
}

/// Where a receiver gives slots of one lane back.
pub(crate) struct GiveBack {
    pub returns: Mutex<Returns>,
    pub wished: Wished,
    pub bell: Arc<dyn Waiter>,
}

impl GiveBack {
    fn give(&self, name: u64) {
        self.returns.lock().unwrap_or_else(PoisonError::into_inner).give(name);
        self.tell();
    }

    /// Rings the sender if it waits, after something was given back.
    pub fn tell(&self) {
        if self.wished.is_wanted() {
            self.bell.wake();
        }
    }
}

/// A long payload in another process's memory. Let go when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Lent(Arc<Held>);

struct Held {
    view: View,
    copy: OnceLock<Vec<u8>>,
    name: Name,
    back: Arc<GiveBack>,
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lent({:?})", self.0.view)
    }
}

impl Lent {
    pub fn new(view: View, name: Name, back: Arc<GiveBack>) -> Self {
        Self(Arc::new(Held { view, copy: OnceLock::new(), name, back }))
    }

    pub fn len(&self) -> usize {
        self.0.view.len()
    }

    /// Where they lie.
    pub fn start(&self) -> *const u8 {
        self.0.view.start()
    }

    /// The bytes, copied at the first call: its owner could change them under a reader.
    pub fn bytes(&self) -> &[u8] {
        self.0.copy.get_or_init(|| {
            let mut copy = Vec::new();
            append_shared(self.0.view.shared(), &mut copy);
            copy
        })
    }

    /// Copies a part without the whole.
    pub fn copy_to(&self, range: Range<usize>, into: &mut [u8]) {
        match self.0.copy.get() {
            Some(copy) => into.copy_from_slice(&copy[range]),
            None => self.0.view.copy_to(range, into),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.back.give(self.name.word());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach::control::NODE;
    use crate::config::FabricConfig;

    #[test]
    fn slots_come_in_sizes_that_waste_at_most_three_quarters_and_memory_is_bounded() {
        synod_platform::testing::run(1, || async {
            let of = |payload_bytes| FabricConfig { payload_bytes, ..FabricConfig::named("node") };
            let store = |bytes| Store::new(Arc::new(Shared::new(of(bytes), NODE)));
            let (other, mut store) = (store(0), store(8 << 20));
            let small = store.take(5000).unwrap().seal();
            assert_eq!(store.name(&small), Some(Name { region: 0, slot: 0, generation: 0 }));
            let large = store.take(3 << 20).unwrap();
            assert_eq!(store.take(3 << 20).map(drop), Err(NoSlot::Full { max: 8 << 20 }));
            drop(large);
            let again = store.take(3 << 20).unwrap().seal();
            assert_eq!(store.name(&again).unwrap().generation, 1);
            assert_eq!(other.name(&small), None, "another context's");
        });
    }
}
