//! Lanes: from one context to another, one ring for the urgent classes and one for bulk, each made at its first record.
//!
//! A record names source, subject and receivers by an index into its ring's grant table, where the receiving side looks it up; an index
//! that means nothing there is a violation and the ring is cut. A payload above an eighth of the ring goes beside it, in the
//! same order, and the record carries its descriptor. A ring to another process that is full over and over gives way to a larger one.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;
use synod_platform::memory::{self, Handle};
use synod_platform::queue::{Damage, PutError};
use synod_platform::{task, time};
use synod_probe::{event, loss, reach};
use synod_ring::mailbox::ConnectError;
use synod_ring::{ClaimError, Hardware, LaneId, Producer, Record, RegionError, layout};
use synod_wire::simd;
use synod_wire::{Class, Compact, Descriptor, Extension, Kind, Priority, Tag};

use crate::attach::control::{LaneNumber, Means};
use crate::attach::outbound::{NotPassed, Outbound};
use crate::attach::payloads::{Name, Store};
use crate::attach::shape::{GROWTH, place};
use crate::attach::spool::{Spool, SpoolOut};
use crate::edge::Edge;
use crate::message::{Payload, Refusal};
use crate::registry::{ContextId, Entry, Shared, Station, SubId};
use crate::subject::Subject;

/// The smallest record in a ring, bytes: what bounds the payloads beside it.
const RECORD_MIN: usize = 64;

/// A message's way: who sends, on what, and over which edge it is accounted for.
#[derive(Debug)]
pub(crate) struct Passage {
    pub source: Arc<str>,
    pub subject: Subject,
    /// None for an answer, which its request accounts for.
    pub edge: Option<Arc<Edge>>,
}

/// What an index in a record means.
#[derive(Debug)]
pub(crate) enum Grant {
    /// A message, to these.
    Deliver(Vec<Arc<Passage>>),
    /// An answer from an instance.
    Answer { from: SubId, source: Arc<str> },
}

/// The grants of one ring: written by the sending side when a route is made, read by the receiving side.
#[derive(Debug, Default)]
struct GrantTable {
    slots: Mutex<Vec<Option<Arc<Grant>>>>,
    version: CachePadded<AtomicU64>,
    /// Records that the receiver has consumed.
    consumed: CachePadded<AtomicU64>,
}

impl GrantTable {
    fn set(&self, index: u16, grant: Arc<Grant>) {
        let mut slots = self.slots.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let index = usize::from(index);
        if slots.len() <= index {
            slots.resize(index + 1, None);
        }
        slots[index] = Some(grant);
        self.version.fetch_add(1, Release);
    }

    fn get(&self, index: u16) -> Option<Arc<Grant>> {
        let slots = self.slots.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        slots.get(usize::from(index)).cloned().flatten()
    }
}

/// One record to be sent.
pub(crate) struct Outgoing<'a> {
    pub kind: Kind,
    pub priority: Priority,
    pub grant: u16,
    /// Zero for none.
    pub correlation: u64,
    /// Nanoseconds of the monotonic clock; zero for none.
    pub deadline: u64,
    pub body: Body<'a>,
}

/// A payload on its way out: copied from a slice, or shared.
#[derive(Clone, Copy)]
pub(crate) enum Body<'a> {
    Slice(&'a [u8]),
    Shared(&'a Payload),
}

impl Body<'_> {
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Body::Slice(bytes) => bytes,
            Body::Shared(payload) => payload,
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Body::Slice(bytes) => bytes.len(),
            Body::Shared(payload) => payload.len(),
        }
    }

    pub fn copy_to(&self, into: &mut [u8]) {
        match self {
            Body::Slice(bytes) => simd::copy::copy(bytes, into),
            Body::Shared(payload) => payload.copy_to(0..payload.len(), into),
        }
    }

    #[inline]
    pub fn to_payload(self) -> Payload {
        match self {
            Body::Slice(bytes) => Payload::copy_from(bytes),
            Body::Shared(payload) => payload.clone(),
        }
    }
}

/// An answer that found the ring full: it goes out as soon as there is room. Bounded by the requests that wait for them.
struct Held {
    kind: Kind,
    priority: Priority,
    grant: u16,
    correlation: u64,
    payload: Payload,
}

/// The sending side of one ring.
struct OutRing {
    producer: Producer,
    /// What a lane inside this process has beside its ring.
    near: Option<Near>,
    held: VecDeque<Held>,
    /// Somebody of this context waits for room.
    wanted: bool,
    /// The longest payload that lies in the ring itself, but for BATCH.
    inline_max: usize,
    /// A larger ring, used once this one is empty; and how often this one was full.
    next: Option<Producer>,
    full: u32,
    /// More is to come at once: records that are not published yet.
    corked: Option<u32>,
}

/// Records of a batch that are published together: more would keep the receiver waiting for what it could take.
const BATCH: u32 = 16;

/// How often a ring to another process is found full before it grows.
const PRESSURE: u32 = 32;

/// The longest payload in a ring to another process: longer ones are passed by name.
pub(crate) const INLINE_AWAY_MAX: usize = 4 << 10;

/// The longest of BATCH, which shares its ring with NORMAL: some dozens of them leave room in the smallest.
const INLINE_BATCH_MAX: usize = 512;

/// Beside a ring inside one process: long payloads, and the grants, which the receiver reads where they are.
struct Near {
    beside: Arc<ArrayQueue<Bytes>>,
    grants: Arc<GrantTable>,
    granted: u32,
    /// Indices no longer used, each with the number of records that must be consumed before it may mean something else.
    idle: VecDeque<(u16, u64)>,
}

/// The sending side of a lane.
pub(crate) struct OutLane {
    from: Arc<Station>,
    to: Arc<Station>,
    shared: Arc<Shared>,
    rings: [Option<OutRing>; 2],
    answers: Vec<(SubId, [Option<u16>; 2])>,
    away: Away,
    /// The context's memory for long payloads.
    store: Rc<RefCell<Store>>,
    /// Answers that wait for a lane to another process, or for its grant.
    early: VecDeque<Early>,
    /// They wait for memory, and are tried again after a moment.
    pausing: Rc<Cell<bool>>,
    /// Records sent, when it was last asked whether the lane is idle.
    sent: u64,
    /// The context's sign that some lane holds something back, or is waited for.
    unsettled: Rc<Cell<bool>>,
    /// Spools to receivers of another process, by name, and how many records were put into them.
    spools: BTreeMap<String, Rc<RefCell<SpoolOut>>>,
    kept: u64,
}

/// The part of a lane to another process.
enum Away {
    /// The other context lives here, or nothing was sent yet.
    No,
    Yes(Box<Outbound>),
    /// There is none, and will be none.
    Ended,
}

/// How long answers wait until they are tried again for which there was no memory.
const PAUSE: Duration = Duration::from_millis(20);

/// An answer that cannot be put on its ring yet.
struct Early {
    from: SubId,
    source: Arc<str>,
    kind: Kind,
    priority: Priority,
    correlation: u64,
    payload: Payload,
}

/// Why there is no ring to a context.
#[derive(Debug, thiserror::Error)]
enum NoLane {
    #[error(transparent)]
    Memory(#[from] RegionError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// A ring of `bytes` into the mailbox of `to`, in the platform's memory, which can be refused.
fn connect(to: &Station, class: Class, bytes: usize, from: &Station) -> Result<(LaneId, Producer), NoLane> {
    let sender = Hardware::new(memory::region(layout::sender_len(bytes))?);
    let receiver = Hardware::new(memory::region(layout::RECEIVER_LEN)?);
    let rank = synod_ring::Class(place(class) as u8);
    Ok(to.home().port.connect(rank, sender, receiver, Some(from.home().doorbell.clone()))?)
}

impl OutLane {
    pub fn new(
        from: Arc<Station>,
        to: Arc<Station>,
        shared: Arc<Shared>,
        store: Rc<RefCell<Store>>,
        unsettled: Rc<Cell<bool>>,
    ) -> Self {
        let (rings, answers, early) = ([None, None], Vec::new(), VecDeque::new());
        let (away, pausing, sent) = (Away::No, Rc::default(), 0);
        let (spools, kept) = (BTreeMap::new(), 0);
        Self { from, to, shared, rings, answers, away, store, early, pausing, sent, unsettled, spools, kept }
    }

    /// The ring of a class, made now if this is its first use.
    fn ring(&mut self, class: Class) -> Result<&mut OutRing, Refusal> {
        if self.rings[place(class)].is_none() {
            if self.to.away().is_some() {
                // Whoever waits for room is woken when it is there.
                return self.outbound().and(Err(Refusal::Opening));
            }
            self.make_near(class)?;
        }
        self.rings[place(class)].as_mut().ok_or(Refusal::LaneFull)
    }

    /// A ring inside this process.
    fn make_near(&mut self, class: Class) -> Result<(), Refusal> {
        let bytes = self.shared.config.lane_bytes;
        let (id, producer) = connect(&self.to, class, bytes, &self.from).map_err(|error| {
            self.tell_refused(&error.to_string());
            match error {
                NoLane::Connect(ConnectError::Gone) => Refusal::Gone,
                NoLane::Connect(_) => Refusal::LaneFull,
                NoLane::Memory(_) => Refusal::NoMemory,
            }
        })?;
        event!("fabric.lane", from = &*self.from.name, to = &*self.to.name, bytes = bytes);
        let grants = Arc::new(GrantTable::default());
        let beside = Arc::new(ArrayQueue::new(bytes / RECORD_MIN));
        let incoming = InLane {
            from: self.from.clone(),
            beside: beside.clone(),
            grants: grants.clone(),
            known: Vec::new(),
            known_version: 0,
        };
        self.to.home().announce(id, incoming);
        let near = Near { beside, grants, granted: 0, idle: VecDeque::new() };
        self.rings[place(class)] = Some(OutRing::new(producer, Some(near)));
        Ok(())
    }

    fn tell_refused(&self, why: &str) {
        reach!("fabric.lane_refused");
        event!("fabric.lane_refused", from = &*self.from.name, to = &*self.to.name, why = why);
    }

    /// The part of a lane to another process, asked for now if this is its first use.
    fn outbound(&mut self) -> Result<&mut Outbound, Refusal> {
        if matches!(self.away, Away::No) {
            let uplink = self.to.away().ok_or(Refusal::Gone)?;
            let shape = self.shared.config.shape();
            let opened = Outbound::open(self.shared.next_lane(), shape, &self.from, &self.to, uplink);
            self.away = match opened {
                Ok(outbound) => Away::Yes(Box::new(outbound)),
                Err(why) => {
                    self.tell_refused(&why.to_string());
                    return Err(Refusal::NoMemory);
                }
            };
        }
        match &mut self.away {
            Away::Yes(outbound) => Ok(outbound),
            Away::No | Away::Ended => Err(Refusal::Gone),
        }
    }

    /// The context it leads to.
    pub fn to(&self) -> ContextId {
        self.to.id
    }

    /// Whether it leads to a context that was taken away.
    pub fn is_stale(&self) -> bool {
        self.to.is_gone()
    }

    /// Whether it leads to another process.
    pub fn leads_away(&self) -> bool {
        self.to.away().is_some()
    }

    /// The number of the lane, if it leads to another process and has not ended.
    pub fn number(&self) -> Option<LaneNumber> {
        match &self.away {
            Away::Yes(outbound) => Some(outbound.number),
            Away::No | Away::Ended => None,
        }
    }

    /// The credits towards a subscription of another process, counted in this lane; none if it counts for as many as it can.
    pub fn edge_to(&mut self, entry: &Arc<Entry>) -> Option<Arc<Edge>> {
        let (from, shared) = (self.from.clone(), self.shared.clone());
        let outbound = self.outbound().ok()?;
        let (place, cells, wish) = outbound.place()?;
        let edge = Arc::new(Edge::outgoing(from, entry.clone(), &shared, cells, wish));
        outbound.hold(place, edge.clone());
        Some(edge)
    }

    /// The other process has answered: the lane is open.
    pub fn opened(&mut self, handles: Vec<Handle>) {
        let Away::Yes(outbound) = &mut self.away else { return };
        match outbound.opened(handles) {
            Ok([urgent, bulk]) => {
                event!("fabric.lane", from = &*self.from.name, to = &*self.to.name, away = true);
                self.rings = [urgent, bulk].map(|producer| Some(OutRing::new(producer, None)));
            }
            Err(why) => {
                self.tell_refused(&why.to_string());
                self.end();
            }
        }
    }

    /// The other process knows an index.
    pub fn granted(&mut self, index: u16) {
        if let Away::Yes(outbound) = &mut self.away {
            outbound.granted(index);
        }
    }

    /// What an index means may not be said: whoever would looks anew, and is told.
    pub fn revoked(&mut self, index: u16) {
        if let Away::Yes(outbound) = &mut self.away {
            outbound.revoked(index);
        }
    }

    /// The lane has ended: what was held back for it is lost. What its receiver holds stays with it.
    pub fn end(&mut self) {
        if let Away::Yes(outbound) = std::mem::replace(&mut self.away, Away::Ended) {
            outbound.part(self.to.id).into_iter().for_each(|parted| self.store.borrow_mut().keep(parted));
        }
        let held: usize = self.rings.iter().flatten().map(|ring| ring.held.len()).sum();
        let lost = held + self.early.len();
        if lost > 0 {
            loss!("fabric.lane", "the requester's context ended before its answer", lost as u64);
        }
        self.early.clear();
        self.rings = [None, None];
        self.spools.clear();
    }

    /// Puts a message into the spool to a receiver, which is made at its first use.
    pub fn keep(
        &mut self,
        spool: &Spool,
        to: &Arc<Entry>,
        subject: &Subject,
        deadline: u64,
        body: Body<'_>,
    ) -> Result<(), Refusal> {
        if !self.outbound()?.is_open() {
            return Err(Refusal::Opening);
        }
        let out = match self.spools.get(&spool.name) {
            Some(out) => out.clone(),
            None => {
                let folder = self.shared.spools().ok_or(Refusal::NotKept)?;
                let out = SpoolOut::open(folder, &spool.name, &self.from, to, &self.shared);
                self.spools.insert(spool.name.clone(), out.clone());
                out
            }
        };
        let mut out = out.borrow_mut();
        let open = match &mut *out {
            SpoolOut::Opening => return Err(Refusal::Opening),
            SpoolOut::Open(open) => open,
            SpoolOut::Failed(why) => {
                // The next send tries again.
                self.spools.remove(&spool.name);
                return Err(self.not_kept(to, why));
            }
        };
        if open.granted != Some(spool.to) {
            let means = Means::Keep { source: spool.source.to_string(), to: spool.to };
            match self.outbound()?.grant(means) {
                Ok(_) => open.granted = Some(spool.to),
                Err(Refusal::NotAllowed) => {
                    return Err(self.not_kept(to, "its process cannot read what is kept for it"));
                }
                Err(why) => return Err(why),
            }
        }
        match open.put(subject.as_str(), deadline, body) {
            Ok(()) => {}
            Err(PutError::Full) => return Err(Refusal::LaneFull),
            Err(PutError::TooLarge { .. }) => return Err(Refusal::TooLong),
            Err(PutError::Damage(damage)) => return Err(self.not_kept(to, &damage.to_string())),
        }
        self.kept += 1;
        if let Some(ring) = &self.rings[place(Class::Bulk)] {
            ring.producer.ring();
        }
        Ok(())
    }

    #[cold]
    fn not_kept(&self, to: &Entry, why: &str) -> Refusal {
        reach!("fabric.not_kept");
        event!("fabric.not_kept", from = &*self.from.name, to = &*to.owner, why = why);
        Refusal::NotKept
    }

    /// Somebody waits for room in a spool for a record of `len` bytes: woken when there is some. False: there is, look again.
    pub fn want_kept(&mut self, spool: &Spool, len: usize) -> bool {
        let (Away::Yes(outbound), Some(out)) = (&self.away, self.spools.get(&spool.name)) else {
            return true;
        };
        outbound.want_back();
        match &mut *out.borrow_mut() {
            // A damaged one is told by the next send.
            SpoolOut::Open(open) => open.writer.has_room(len) == Ok(false),
            SpoolOut::Opening | SpoolOut::Failed(_) => true,
        }
    }

    /// An index for `grant` on the ring of a class.
    pub fn grant(&mut self, class: Class, grant: Arc<Grant>) -> Result<u16, Refusal> {
        if self.to.away().is_some() {
            let outbound = self.outbound()?;
            return match outbound.is_open() {
                true => outbound.grant(means_of(&grant, outbound)?),
                false => Err(Refusal::Opening),
            };
        }
        let ring = self.ring(class)?;
        let near = ring.near.as_mut().ok_or(Refusal::Gone)?;
        let consumed = near.grants.consumed.load(Acquire);
        let index = match near.idle.front() {
            Some(&(index, after)) if after <= consumed => {
                near.idle.pop_front();
                reach!("fabric.grant_reused");
                index
            }
            _ => {
                let index = u16::try_from(near.granted).map_err(|_| Refusal::LaneFull)?;
                near.granted += 1;
                index
            }
        };
        near.grants.set(index, grant);
        Ok(index)
    }

    /// An index is no longer used by this side. One that the node granted stays: it means the same next time.
    pub fn retire(&mut self, class: Class, index: u16) {
        if let Some(OutRing { producer, near: Some(near), .. }) = &mut self.rings[place(class)] {
            near.idle.push_back((index, producer.next_sequence()));
        }
    }

    /// Puts one record on its ring and publishes it.
    #[inline]
    pub fn send(&mut self, record: &Outgoing<'_>) -> Result<(), Refusal> {
        let ring = self.ring(record.priority.class())?;
        if !ring.held.is_empty() {
            return Err(Refusal::LaneFull);
        }
        if ring.near.is_some() {
            return ring.put(record, None);
        }
        if ring.next.is_some() {
            self.switch(record.priority.class())?;
        }
        let ring = self.ring(record.priority.class())?;
        let sent = match record.body.len() > ring.inline_max(record.priority) {
            true => self.send_long(record),
            false => ring.put(record, None),
        };
        if sent == Err(Refusal::LaneFull) {
            self.feel_pressure(record.priority.class());
        }
        sent
    }

    /// Goes over to the larger ring, once the receiver has taken everything from the present one.
    #[cold]
    fn switch(&mut self, class: Class) -> Result<(), Refusal> {
        let Some(ring) = &mut self.rings[place(class)] else { return Ok(()) };
        ring.producer.publish();
        if !ring.producer.is_drained() {
            return Err(Refusal::LaneFull);
        }
        if let Some(next) = ring.next.take() {
            event!(
                "fabric.lane_grown",
                from = &*self.from.name,
                to = &*self.to.name,
                bytes = next.capacity()
            );
            let corked = ring.corked.map(|_| 0);
            *ring = OutRing { corked, ..OutRing::new(next, None) };
        }
        Ok(())
    }

    /// More records of a class come at once, and may be published together; or no more do.
    pub fn cork(&mut self, class: Class, more: bool) {
        if let Some(ring) = &mut self.rings[place(class)] {
            ring.cork(more);
        }
    }

    /// A ring to another process was full: one that is so over and over grows.
    #[cold]
    fn feel_pressure(&mut self, class: Class) {
        let (Away::Yes(outbound), Some(ring)) = (&mut self.away, &mut self.rings[place(class)]) else {
            return;
        };
        ring.full += 1;
        if ring.full < PRESSURE || ring.next.is_some() {
            return;
        }
        ring.full = 0;
        let bytes = ring.producer.capacity() as u32 * GROWTH;
        if let Err(why) = outbound.grow(class, bytes) {
            self.tell_refused(&why.to_string());
        }
    }

    /// The other process has taken a larger ring in.
    pub fn grown(&mut self, class: Class) {
        let (Away::Yes(outbound), Some(ring)) = (&mut self.away, &mut self.rings[place(class)]) else {
            return;
        };
        match outbound.grown(class) {
            Ok(next) => ring.next = next,
            Err(why) => self.tell_refused(&why.to_string()),
        }
    }

    /// Whether nothing went over this lane since the last call, and nothing is under way on it.
    pub fn is_idle(&mut self) -> bool {
        let Away::Yes(outbound) = &mut self.away else { return false };
        let in_rings: u64 = self.rings.iter().flatten().map(|ring| ring.producer.next_sequence()).sum();
        let sent = in_rings + self.kept;
        let before = std::mem::replace(&mut self.sent, sent);
        sent == before
            && self.early.is_empty()
            && self
                .rings
                .iter_mut()
                .flatten()
                .all(|ring| !ring.wanted && ring.next.is_none() && ring.producer.is_drained())
            && self.spools.values().all(|spool| spool.borrow_mut().is_drained())
            && outbound.is_quiet()
    }

    /// Passes a long payload to another process by name.
    #[cold]
    fn send_long(&mut self, record: &Outgoing<'_>) -> Result<(), Refusal> {
        match self.pass(record) {
            Ok(()) => Ok(()),
            Err(NotPassed::Refused(why)) => Err(why),
            Err(NotPassed::Memory(why)) => {
                self.tell_refused(&why.to_string());
                Err(Refusal::NoMemory)
            }
            Err(NotPassed::Violation(why)) => {
                reach!("attach.violation");
                loss!("fabric.lane", "a process broke a rule and its lane was cut");
                event!(
                    "fabric.violation",
                    from = &*self.to.name,
                    to = &*self.from.name,
                    why = &why.to_string()
                );
                self.end();
                Err(Refusal::Gone)
            }
        }
    }

    fn pass(&mut self, record: &Outgoing<'_>) -> Result<(), NotPassed> {
        let mut store = self.store.borrow_mut();
        let (Away::Yes(outbound), Some(ring)) =
            (&mut self.away, &mut self.rings[place(record.priority.class())])
        else {
            return Err(NotPassed::Refused(Refusal::Gone));
        };
        // A copy is for nothing unless the record has a place.
        let room = Extension::LEN + Descriptor::LEN;
        ring.producer.claim(room).map(drop).map_err(|error| NotPassed::Refused(refusal(&error)))?;
        let shared = match record.body {
            Body::Shared(payload) => payload.slot().and_then(|slot| Some((slot.clone(), store.name(slot)?))),
            Body::Slice(_) => None,
        };
        let (slice, name) = match shared {
            Some((slice, name)) => {
                outbound.may_pass(name.region, &store)?;
                (slice, name)
            }
            None => {
                outbound.collect()?;
                let len = record.body.len();
                let mut loan = store.take(len)?;
                outbound.may_pass(store.region_of(&loan), &store)?;
                record.body.copy_to(&mut loan);
                let slice = loan.seal();
                let name = store.name(&slice).ok_or(NotPassed::Refused(Refusal::MemoryFull))?;
                (slice, name)
            }
        };
        let len = slice.len() as u32;
        let Name { region, slot, generation } = name;
        let descriptor = Descriptor { region: region.into(), slot: slot.into(), generation, len };
        ring.put(record, Some(descriptor)).map_err(NotPassed::Refused)?;
        outbound.hold_slot(name, slice);
        Ok(())
    }

    /// A payload in memory that other processes may read, if this lane leads to one and the payload is too long for a ring.
    pub fn share(&self, bytes: &[u8]) -> Option<Payload> {
        self.to.away()?;
        let mut loan = self.store.borrow_mut().take(bytes.len()).ok()?;
        loan.copy_from_slice(bytes);
        Some(loan.into())
    }

    /// The other process has mapped memory for long payloads.
    pub fn mapped(&mut self, region: u16) {
        if let Away::Yes(outbound) = &mut self.away {
            outbound.mapped(region);
        }
    }

    /// The context gave memory for long payloads back.
    pub fn unmap(&mut self, regions: &[u16]) {
        if let Away::Yes(outbound) = &mut self.away {
            outbound.unmap(regions);
        }
    }

    /// Looks what the other process gave back. A rule broken here is told by the next send.
    pub fn collect(&mut self) {
        if let Away::Yes(outbound) = &mut self.away {
            let _seen_again = outbound.collect();
        }
    }

    /// Somebody waits for memory for long payloads. False: some came back, look again.
    pub fn want_memory(&mut self) -> bool {
        let Away::Yes(outbound) = &mut self.away else { return true };
        let before = outbound.held();
        outbound.want_back();
        // A rule broken here is told by the next send.
        outbound.collect().is_ok() && outbound.held() == before
    }

    /// Sends an answer, or holds it until there is room. Only a receiver that is gone refuses.
    pub fn answer(
        &mut self,
        from: SubId,
        source: &Arc<str>,
        kind: Kind,
        priority: Priority,
        correlation: u64,
        payload: Payload,
    ) -> Result<(), Refusal> {
        let class = priority.class();
        if !self.early.is_empty() {
            let source = source.clone();
            self.defer(Early { from, source, kind, priority, correlation, payload });
            return Ok(());
        }
        let known = self.answers.iter().position(|(id, _)| *id == from).unwrap_or_else(|| {
            self.answers.push((from, [None; 2]));
            self.answers.len() - 1
        });
        let grant = match self.answers[known].1[place(class)] {
            Some(grant) => grant,
            None => {
                let grant = match self.grant(class, Arc::new(Grant::Answer { from, source: source.clone() }))
                {
                    Err(why @ (Refusal::Opening | Refusal::NoMemory)) => {
                        reach!("attach.answer_early");
                        if why == Refusal::NoMemory {
                            self.look_later();
                        }
                        let source = source.clone();
                        self.defer(Early { from, source, kind, priority, correlation, payload });
                        return Ok(());
                    }
                    granted => granted?,
                };
                self.answers[known].1[place(class)] = Some(grant);
                grant
            }
        };
        let record =
            Outgoing { kind, priority, grant, correlation, deadline: 0, body: Body::Shared(&payload) };
        match self.send(&record) {
            Err(why) if why.may_pass() && self.to.away().is_some() => {
                let wait = match why {
                    Refusal::LaneFull => self.want_room(class, payload.len()),
                    Refusal::NoMemory => self.look_later(),
                    _ => self.want_memory(),
                };
                let source = source.clone();
                self.defer(Early { from, source, kind, priority, correlation, payload });
                if !wait {
                    // There is room after all: the drain that follows finds it.
                    self.from.home().doorbell.0.wake();
                }
                return Ok(());
            }
            Err(Refusal::LaneFull) => {}
            done => return done,
        }
        reach!("fabric.answer_held");
        self.unsettled.set(true);
        let ring = self.ring(class)?;
        let len = payload.len();
        ring.held.push_back(Held { kind, priority, grant, correlation, payload });
        ring.wake_for(len);
        Ok(())
    }

    /// Nobody tells when there is memory again: the drain looks after a moment. Always true.
    fn look_later(&self) -> bool {
        if !self.pausing.replace(true) {
            let (pausing, from) = (self.pausing.clone(), self.from.clone());
            let pause = async move {
                time::sleep(PAUSE).await;
                pausing.set(false);
                from.home().doorbell.0.wake();
            };
            task::spawn(pause).detach();
        }
        true
    }

    fn defer(&mut self, early: Early) {
        self.early.push_back(early);
        self.unsettled.set(true);
    }

    /// A subscription of this side ended: it answers no more.
    pub fn forget_answers(&mut self, from: SubId) {
        if let Some(known) = self.answers.iter().position(|(id, _)| *id == from) {
            let (_, grants) = self.answers.swap_remove(known);
            for (class, grant) in [Class::Urgent, Class::Bulk].into_iter().zip(grants) {
                if let Some(grant) = grant {
                    self.retire(class, grant);
                }
            }
        }
    }

    /// Somebody waits to send `len` bytes: the station's doorbell rings when there is room. False: there is, look again.
    pub fn want_room(&mut self, class: Class, len: usize) -> bool {
        // To another process: whoever waits is woken when the lane, or the grant, is there.
        let Some(ring) = &mut self.rings[place(class)] else { return true };
        ring.wanted = true;
        self.unsettled.set(true);
        if ring.next.is_some() {
            return matches!(ring.producer.fall_asleep_until_empty(), Ok(true));
        }
        !ring.held.is_empty() || ring.wake_for(len)
    }

    /// Sends what was held back; true if somebody who waits for room should look again.
    pub fn flush(&mut self) -> bool {
        for early in std::mem::take(&mut self.early) {
            let Early { from, source, kind, priority, correlation, payload } = early;
            if self.answer(from, &source, kind, priority, correlation, payload).is_err() {
                loss!("fabric.lane", "the requester's context ended before its answer");
            }
        }
        let mut look_again = false;
        for ring in self.rings.iter_mut().flatten() {
            ring.flush();
            if ring.held.is_empty() && std::mem::take(&mut ring.wanted) {
                look_again = true;
            }
        }
        look_again
    }

    /// Whether nothing is held back, and nobody waits for room.
    pub fn is_settled(&self) -> bool {
        self.is_flushed() && self.rings.iter().flatten().all(|ring| !ring.wanted)
    }

    /// Whether nothing is held back.
    pub fn is_flushed(&self) -> bool {
        self.early.is_empty() && self.rings.iter().flatten().all(|ring| ring.held.is_empty())
    }
}

/// What a full or broken ring means to whoever sends.
fn refusal(error: &ClaimError) -> Refusal {
    match error {
        ClaimError::Full | ClaimError::TooLarge { .. } => Refusal::LaneFull,
        ClaimError::Closed | ClaimError::Violation(_) => Refusal::Gone,
    }
}

/// What a grant says to the node.
fn means_of(grant: &Grant, lane: &Outbound) -> Result<Means, Refusal> {
    match grant {
        Grant::Answer { from, .. } => Ok(Means::Answer { from: *from }),
        Grant::Deliver(passages) => {
            let first = passages.first().ok_or(Refusal::Gone)?;
            let place = |passage: &Arc<Passage>| {
                let sub = passage.edge.as_ref()?.to.id;
                Some((sub, lane.place_of(sub)?))
            };
            let to = passages.iter().map(place).collect::<Option<_>>().ok_or(Refusal::NoMemory)?;
            let (source, subject) = (first.source.to_string(), first.subject.as_str().to_owned());
            Ok(Means::Deliver { source, subject, to })
        }
    }
}

impl OutRing {
    fn new(producer: Producer, near: Option<Near>) -> Self {
        let mut inline_max = (producer.capacity() / 8).min(producer.largest()) - Extension::LEN;
        if near.is_none() {
            inline_max = inline_max.min(INLINE_AWAY_MAX);
        }
        Self {
            producer,
            near,
            held: VecDeque::new(),
            wanted: false,
            inline_max,
            next: None,
            full: 0,
            corked: None,
        }
    }

    /// The longest payload of a priority that lies in the ring itself.
    #[inline]
    fn inline_max(&self, priority: Priority) -> usize {
        match priority {
            Priority::Batch if self.near.is_none() => self.inline_max.min(INLINE_BATCH_MAX),
            _ => self.inline_max,
        }
    }

    #[inline]
    fn put(&mut self, record: &Outgoing<'_>, passed: Option<Descriptor>) -> Result<(), Refusal> {
        let mut tag = Tag::new(record.kind, record.priority, record.grant);
        let extended = record.correlation != 0 || record.deadline != 0;
        if extended {
            tag = tag.extended();
        }
        let len = record.body.len();
        let by_descriptor = len > self.inline_max(record.priority);
        let payload_len = if by_descriptor { Descriptor::LEN } else { len };
        let skip = tag.extension_len();
        let number = self.producer.next_sequence();
        let mut claim = match self.producer.claim(skip + payload_len) {
            Ok(claim) => claim,
            Err(error) => {
                // What is there can be taken, and makes room.
                self.producer.publish();
                return Err(refusal(&error));
            }
        };
        let room = claim.payload();
        if extended {
            let extension = Extension { correlation: record.correlation, deadline: record.deadline };
            room[..skip].copy_from_slice(&extension.encode());
        }
        if by_descriptor {
            reach!("fabric.by_descriptor");
            tag = tag.by_descriptor();
            let beside = Descriptor { region: 0, slot: 0, generation: number as u32, len: len as u32 };
            room[skip..].copy_from_slice(&passed.unwrap_or(beside).encode());
            if passed.is_none() {
                // As many places as the ring has records: it cannot be full when the claim succeeded.
                let near = self.near.as_ref().ok_or(Refusal::LaneFull)?;
                if near.beside.push(record.body.to_payload().into_bytes()).is_err() {
                    return Err(Refusal::LaneFull);
                }
            }
        } else {
            room[skip..].copy_from_slice(record.body.bytes());
        }
        claim.commit(tag.encode());
        match &mut self.corked {
            Some(records) if *records + 1 < BATCH => *records += 1,
            corked => {
                corked.iter_mut().for_each(|records| *records = 0);
                self.producer.publish();
            }
        }
        Ok(())
    }

    /// More records come at once, or no more do: those before are published then.
    fn cork(&mut self, more: bool) {
        self.corked = more.then_some(0);
        if !more {
            self.producer.publish();
        }
    }

    fn flush(&mut self) {
        while let Some(held) = self.held.pop_front() {
            let record = Outgoing {
                kind: held.kind,
                priority: held.priority,
                grant: held.grant,
                correlation: held.correlation,
                deadline: 0,
                body: Body::Shared(&held.payload),
            };
            match self.put(&record, None) {
                Ok(()) => {}
                Err(Refusal::LaneFull) => {
                    let len = held.payload.len();
                    self.held.push_front(held);
                    if self.wake_for(len) {
                        return;
                    }
                }
                Err(_) => {
                    loss!(
                        "fabric.lane",
                        "the requester's context ended before its answer",
                        1 + self.held.len() as u64
                    );
                    self.held.clear();
                }
            }
        }
    }

    /// Arms the wake-up for when a payload of `len` bytes fits; false if it fits already, or never will.
    fn wake_for(&mut self, len: usize) -> bool {
        let payload_len = if len > self.inline_max { Descriptor::LEN } else { len };
        matches!(self.producer.fall_asleep(Extension::LEN + payload_len), Ok(true))
    }
}

/// The receiving side of one ring.
pub(crate) struct InLane {
    pub from: Arc<Station>,
    beside: Arc<ArrayQueue<Bytes>>,
    grants: Arc<GrantTable>,
    known: Vec<Option<Arc<Grant>>>,
    known_version: u64,
}

/// A record as it came.
pub(crate) struct Incoming {
    /// The node took the sender's leave to say this away.
    pub revoked: bool,
    pub kind: Kind,
    pub priority: Priority,
    pub correlation: u64,
    pub deadline: u64,
    pub grant: Arc<Grant>,
    pub payload: Payload,
}

/// Why a lane was cut.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Violation {
    #[error(transparent)]
    Ring(#[from] synod_ring::Violation),
    #[error(transparent)]
    Record(#[from] synod_wire::Error),
    #[error("grant {0} was never given")]
    Grant(u16),
    #[error("the payload of a record by descriptor is missing")]
    Descriptor,
    #[error("the counters at place {0} are another receiver's, or outside of the lane")]
    Place(u16),
    #[error("the slot {0:#x} was given back, and was not held")]
    NotHeld(u64),
    #[error("its spool: {0}")]
    Spool(#[from] Damage),
}

impl InLane {
    /// What a record says.
    #[inline]
    pub fn read(&mut self, record: &Record<'_>) -> Result<Incoming, Violation> {
        let compact = Compact::read(record.tag(), record.sequence(), record.payload())?;
        let version = self.grants.version.load(Acquire);
        if version != self.known_version {
            self.known.clear();
            self.known_version = version;
        }
        let index = compact.tag.grant;
        let grant = match self.known.get(usize::from(index)) {
            Some(Some(grant)) => grant.clone(),
            _ => {
                let grant = self.grants.get(index).ok_or(Violation::Grant(index))?;
                if self.known.len() <= usize::from(index) {
                    self.known.resize(usize::from(index) + 1, None);
                }
                self.known[usize::from(index)] = Some(grant.clone());
                grant
            }
        };
        let extension = compact.extension.unwrap_or_default();
        let (kind, priority) = (compact.tag.kind, compact.tag.priority);
        let payload = if compact.tag.descriptor {
            let announced = Descriptor::decode(compact.payload)?.len as usize;
            let bytes = self.beside.pop().filter(|bytes| bytes.len() == announced);
            Payload::from(bytes.ok_or(Violation::Descriptor)?)
        } else {
            Payload::copy_from(compact.payload)
        };
        self.grants.consumed.store(compact.sequence + 1, Release);
        Ok(Incoming {
            revoked: false,
            kind,
            priority,
            correlation: extension.correlation,
            deadline: extension.deadline,
            grant,
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Body, Outgoing};
    use crate::message::Refusal;
    use crate::{Fabric, FabricConfig, Priority};
    use synod_platform::{task, testing};
    use synod_probe::loss;
    use synod_wire::Kind;

    /// Lets drain tasks run until nothing more happens.
    async fn settle() {
        for _ in 0..8 {
            task::yield_now().await;
        }
    }

    #[test]
    fn a_record_under_a_grant_that_was_never_given_cuts_its_lane_and_is_named() {
        testing::run(1, || async {
            let fabric = Fabric::new(FabricConfig::named("n"));
            let (honest, attacked) = (fabric.enter("honest").unwrap(), fabric.enter("attacked").unwrap());
            let lane = honest.inner().lane_to(&attacked.inner().station);
            let record = Outgoing {
                kind: Kind::Publish,
                priority: Priority::Normal,
                grant: 7,
                correlation: 0,
                deadline: 0,
                body: Body::Slice(b"x"),
            };
            assert_eq!(lane.borrow_mut().send(&record), Ok(()));
            settle().await;
            let why = "the sender broke a rule and its lane was cut";
            assert!(loss::snapshot().iter().any(|loss| loss.reason == why));
            let mut last = Ok(());
            for _ in 0..1000 {
                last = lane.borrow_mut().send(&record);
                if last.is_err() {
                    break;
                }
            }
            assert_eq!(last, Err(Refusal::Gone));
        });
    }

    #[test]
    fn indices_of_grants_come_back_however_often_routes_change() {
        testing::run(1, || async {
            let fabric = Fabric::new(FabricConfig::named("n"));
            let (here, there) = (fabric.enter("here").unwrap(), fabric.enter("there").unwrap());
            let mut subscription = there.agent("receiver").unwrap().subscribe("news", 4).await.unwrap();
            let sender = here.agent("sender").unwrap();
            let other = here.agent("other").unwrap();
            for _ in 0..100 {
                let _changes_the_epoch = other.subscribe("elsewhere", 1).await.unwrap();
                assert_eq!(sender.publish("news", Priority::Normal, "x").unwrap().accepted_count(), 1);
                assert!(subscription.recv().await.is_some());
            }
            let lane = here.inner().lane_to(&there.inner().station);
            let granted = lane.borrow().rings[1].as_ref().unwrap().near.as_ref().unwrap().granted;
            assert!(granted < 8, "{granted}");
        });
    }
}
