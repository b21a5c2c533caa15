//! The receiving end of lanes from other processes: what came is copied, then read, and means what the node said it may.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use synod_platform::memory::{self, Bell, Handle};
use synod_platform::task;
use synod_probe::{event, reach};
use synod_ring::layout::sender_len;
use synod_ring::mailbox::ConnectError;
use synod_ring::pool::View;
use synod_ring::returns::Returns;
use synod_ring::{Cells, Class as Rank, Hardware, LaneId, LayoutError, Mailbox, Region, Waiter};
use synod_wire::{Class, Compact, Descriptor};

use super::control::{LaneNumber, Means};
use super::outbound::{NoLane, exactly};
use super::payloads::{GiveBack, Lent, Name};
use super::shape::{GROWTHS, HOLDS, Shape, place};
use crate::edge::Edge;
use crate::lane::{Grant, Incoming as Record, Passage, Violation};
use crate::message::Payload;
use crate::registry::{Entry, Shared, Station, SubId};
use crate::subject::Subject;

/// Why a lane is not taken in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    #[error(transparent)]
    Lane(#[from] NoLane),
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl From<memory::MemoryError> for NotTaken {
    fn from(error: memory::MemoryError) -> Self {
        NoLane::from(error).into()
    }
}

impl From<LayoutError> for NotTaken {
    fn from(error: LayoutError) -> Self {
        NoLane::from(error).into()
    }
}

/// What an index means.
#[derive(Clone)]
enum Known {
    May(Arc<Grant>),
    /// It may no longer be said; what was under way is not delivered.
    Revoked(Arc<Grant>),
}

impl Known {
    fn grant(&self) -> &Arc<Grant> {
        match self {
            Self::May(grant) | Self::Revoked(grant) => grant,
        }
    }
}

/// The receiving end of one lane.
pub(crate) struct Inbound {
    pub number: LaneNumber,
    pub from: Arc<Station>,
    /// Its rings in the mailbox.
    pub rings: Vec<LaneId>,
    /// How often each has grown, by class.
    grown: [usize; 2],
    shape: Shape,
    own: Hardware,
    peer: Hardware,
    pub back: Arc<GiveBack>,
    /// The sender's memory for long payloads, each with the size of its slots.
    regions: BTreeMap<u16, (Arc<dyn Region>, usize)>,
    known: Vec<Option<Known>>,
    /// By place: whose counters lie there, for good.
    edges: BTreeMap<u16, (SubId, Arc<Edge>)>,
    watch: task::JoinHandle<()>,
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Inbound {
    /// Takes a lane in that another process offers; returns what it is to be answered with.
    pub fn accept(
        number: LaneNumber,
        shape: Shape,
        from: Arc<Station>,
        to: &Arc<Station>,
        handles: Vec<Handle>,
        mailbox: &mut Mailbox,
    ) -> Result<(Self, Vec<Handle>), NotTaken> {
        let [sender, bell] = exactly(handles)?;
        let peer = Hardware::new(memory::open(sender, shape.sender_len())?);
        let ringer: Arc<dyn Waiter> = Arc::new(memory::ringer(bell)?);
        let mut memory = memory::shared(shape.receiver_len()).map_err(NoLane::from)?;
        let mut bell = Bell::new()?;
        let answer = vec![memory.handle()?, bell.handle()?];
        memory.close();
        bell.close();
        let own = Hardware::new(memory);
        let mut admit = |class| -> Result<LaneId, NotTaken> {
            let (own, peer) = (shape.receiver_ring(&own, class, 0)?, shape.sender_ring(&peer, class)?);
            let rank = Rank(place(class) as u8);
            Ok(mailbox.admit_foreign(rank, own, peer, Some(ringer.clone()))?)
        };
        let urgent = admit(Class::Urgent)?;
        let bulk = match admit(Class::Bulk) {
            Ok(bulk) => bulk,
            Err(error) => {
                mailbox.cut(urgent);
                return Err(error);
            }
        };
        let wished = shape.wished(&peer)?;
        reach!("attach.accepted");
        event!("attach.accepted", from = &*from.name, to = &*to.name);
        let watch = task::spawn(watch(bell, to.clone()));
        let returns = Mutex::new(Returns::new(own.clone(), shape.returns(), HOLDS)?);
        let back = Arc::new(GiveBack { returns, wished, bell: ringer });
        let (rings, grown) = (vec![urgent, bulk], [0; 2]);
        let (regions, known, edges) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        Ok((
            Self { number, from, rings, grown, shape, own, peer, back, regions, known, edges, watch },
            answer,
        ))
    }

    /// An index has a meaning from now on. Receivers among it that have ended are left out: what is for them is lost as
    /// with any receiver that ended.
    pub fn learn(
        &mut self,
        index: u16,
        means: Means,
        shared: &Arc<Shared>,
        entry: impl Fn(SubId) -> Option<Arc<Entry>>,
    ) -> Result<(), Violation> {
        let grant = match means {
            Means::Answer { from } => Grant::Answer {
                from,
                source: shared.owner_of(from).unwrap_or_else(|| self.from.name.clone()),
            },
            // Its context opens it.
            Means::Keep { .. } => return Ok(()),
            Means::Deliver { source, subject, to } => {
                let source: Arc<str> = source.into();
                let subject = Subject::new(&subject).map_err(|_| Violation::Grant(index))?;
                let mut passages = Vec::with_capacity(to.len());
                for (sub, place) in to {
                    let Some(edge) = self.edge(sub, place, shared, &entry)? else { continue };
                    let (source, subject) = (source.clone(), subject.clone());
                    passages.push(Arc::new(Passage { source, subject, edge: Some(edge) }));
                }
                Grant::Deliver(passages)
            }
        };
        let at = usize::from(index);
        if self.known.len() <= at {
            self.known.resize(at + 1, None);
        }
        self.known[at] = Some(Known::May(Arc::new(grant)));
        Ok(())
    }

    /// What an index means may no longer be said.
    pub fn revoke(&mut self, index: u16) {
        if let Some(known) = self.known.get_mut(usize::from(index)).and_then(Option::as_mut) {
            *known = Known::Revoked(known.grant().clone());
        }
    }

    fn edge(
        &mut self,
        sub: SubId,
        place: u16,
        shared: &Arc<Shared>,
        entry: &impl Fn(SubId) -> Option<Arc<Entry>>,
    ) -> Result<Option<Arc<Edge>>, Violation> {
        if let Some((whose, edge)) = self.edges.get(&place) {
            return if *whose == sub { Ok(Some(edge.clone())) } else { Err(Violation::Place(place)) };
        }
        if place >= self.shape.edges {
            return Err(Violation::Place(place));
        }
        let Some(entry) = entry(sub) else { return Ok(None) };
        let (at, words) = self.shape.receiver_edge(place);
        let own = Cells::own(self.own.clone(), at, words).map_err(|_| Violation::Place(place))?;
        let (at, words) = self.shape.sender_edge(place);
        let peer = Cells::peer(self.peer.clone(), at, words).map_err(|_| Violation::Place(place))?;
        let edge = Edge::incoming(
            self.from.clone(),
            entry,
            shared,
            peer,
            own,
            self.back.wished.clone(),
            self.back.bell.clone(),
        );
        let edge = Arc::new(edge);
        shared.hold(&edge);
        self.edges.insert(place, (sub, edge.clone()));
        Ok(Some(edge))
    }

    /// Takes a larger ring of a class in, which the sender uses once the present one is empty.
    pub fn grow(
        &mut self,
        class: Class,
        bytes: u32,
        handles: Vec<Handle>,
        mailbox: &mut Mailbox,
    ) -> Result<LaneId, NotTaken> {
        let [handle] = exactly(handles)?;
        let grown = &mut self.grown[place(class)];
        if *grown == GROWTHS {
            return Err(NoLane::Grown.into());
        }
        let peer = Hardware::new(memory::open(handle, sender_len(bytes as usize))?);
        let own = self.shape.receiver_ring(&self.own, class, *grown + 1)?;
        let ring =
            mailbox.admit_foreign(Rank(place(class) as u8), own, peer, Some(self.back.bell.clone()))?;
        *grown += 1;
        self.rings.push(ring);
        Ok(ring)
    }

    /// Maps memory for long payloads that the sender has.
    pub fn map(&mut self, region: u16, bytes: u32, slot: u32, handles: Vec<Handle>) -> Result<(), NotTaken> {
        let [handle] = exactly(handles)?;
        let memory: Arc<dyn Region> = Arc::new(memory::open(handle, bytes as usize)?);
        self.regions.insert(region, (memory, slot as usize));
        Ok(())
    }

    /// Lets go of such memory; what is still held of it stays readable.
    pub fn unmap(&mut self, region: u16) {
        self.regions.remove(&region);
    }

    /// The payload that a descriptor names.
    fn lent(&self, named: Descriptor) -> Option<Payload> {
        let (region, slot) = (u16::try_from(named.region).ok()?, u16::try_from(named.slot).ok()?);
        let (memory, slot_len) = self.regions.get(&region)?;
        let len = usize::try_from(named.len).ok().filter(|len| len <= slot_len)?;
        let view = View::new(memory.clone(), usize::from(slot).checked_mul(*slot_len)?, len)?;
        let name = Name { region, slot, generation: named.generation };
        Some(Payload::lent(Lent::new(view, name, self.back.clone())))
    }

    /// What a copied record says.
    pub fn read(&self, tag: [u8; 4], sequence: u64, body: &[u8]) -> Result<Record, Violation> {
        let compact = Compact::read(tag, sequence, body)?;
        let index = compact.tag.grant;
        let grant = self.known.get(usize::from(index)).and_then(Option::as_ref);
        let known = grant.ok_or(Violation::Grant(index))?;
        let grant = known.grant().clone();
        let payload = match compact.tag.descriptor {
            true => self.lent(Descriptor::decode(compact.payload)?).ok_or(Violation::Descriptor)?,
            false => Payload::copy_from(compact.payload),
        };
        let extension = compact.extension.unwrap_or_default();
        Ok(Record {
            revoked: matches!(known, Known::Revoked(_)),
            kind: compact.tag.kind,
            priority: compact.tag.priority,
            correlation: extension.correlation,
            deadline: extension.deadline,
            grant,
            payload,
        })
    }
}

/// The sender rang: something came.
async fn watch(bell: Bell, to: Arc<Station>) {
    loop {
        bell.rung().await;
        if let Some(here) = to.at_home() {
            here.doorbell.wake();
        }
    }
}
