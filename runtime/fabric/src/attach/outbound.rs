//! The sending end of a lane to another process: its region, its rings once the receiver has answered, what it was granted.
//!
//! Made at the first send; until the node has brought the receiver's answer every send is refused for that reason, and whoever waits for
//! room is woken when it came. The same goes for each meaning that a record of the lane shall have: the node grants it once, and it stays.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use synod_platform::memory::{self, Bell, Handle, MemoryError};
use synod_platform::task;
use synod_probe::{event, reach};
use synod_ring::layout::sender_len;
use synod_ring::pool::Slice;
use synod_ring::returns::Returned;
use synod_ring::wish::Wish;
use synod_ring::{Cells, Hardware, LayoutError, Producer, RegionError, Waiter};
use synod_wire::Class;

use super::control::{Ask, LaneNumber, Means};
use super::holds::{Holds, Parted};
use super::payloads::{Name, NoSlot, Offered, Store};
use super::shape::{GROWTHS, HOLDS, Shape, place};
use super::uplink::Uplink;
use crate::edge::Edge;
use crate::intake::CONTROL_LEN;
use crate::lane::Violation;
use crate::message::Refusal;
use crate::registry::{ContextId, Station, SubId};

/// Why there is no lane to another process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoLane {
    #[error(transparent)]
    Refused(#[from] RegionError),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("its rings have grown as often as they can")]
    Grown,
    #[error("the node passed {found} handles where {wanted} belong")]
    Handles { found: usize, wanted: usize },
}

/// The handles that came, if they are as many as there should be.
pub(crate) fn exactly<const N: usize>(handles: Vec<Handle>) -> Result<[Handle; N], NoLane> {
    handles.try_into().map_err(|handles: Vec<_>| NoLane::Handles { found: handles.len(), wanted: N })
}

/// Why a slot is not passed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotPassed {
    #[error("not now")]
    Refused(Refusal),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Violation(#[from] Violation),
}

impl From<NoSlot> for NotPassed {
    fn from(why: NoSlot) -> Self {
        Self::Refused(if matches!(why, NoSlot::Full { .. }) {
            Refusal::MemoryFull
        } else {
            Refusal::NoMemory
        })
    }
}

/// A meaning, and whether the receiver knows it by now.
#[derive(Clone, Copy)]
struct Index {
    index: u16,
    known: bool,
    revoked: bool,
}

/// The receiver's side of a lane, as the sender sees it.
struct Peer {
    region: Hardware,
    page: Hardware,
    bell: Arc<dyn Waiter>,
}

/// The sending end.
pub(crate) struct Outbound {
    pub number: LaneNumber,
    shape: Shape,
    uplink: Arc<Uplink>,
    region: Hardware,
    wish: Wish,
    /// What the receiver answered with, once it has.
    peer: Option<Peer>,
    /// Larger rings that the receiver does not know yet, and how often each has grown, by class.
    growing: [Option<Hardware>; 2],
    grown: [usize; 2],
    edges: BTreeMap<SubId, (u16, Arc<Edge>)>,
    given: BTreeMap<Arc<Means>, Index>,
    by_index: Vec<Arc<Means>>,
    /// Regions of long payloads that the receiver was told of, and whether it has mapped them.
    regions: BTreeMap<u16, bool>,
    holds: Holds,
    /// Hears the receiver's rings, until the lane has parted.
    watch: Option<task::JoinHandle<()>>,
    /// Nothing in the receiver's process belongs to this lane any more.
    deserted: Rc<Cell<bool>>,
}

impl Drop for Outbound {
    fn drop(&mut self) {
        self.watch.iter().for_each(|watch| watch.abort());
        self.uplink.say(Ask::Close { lane: self.number, broke: None }, Vec::new());
    }
}

impl Outbound {
    /// Asks the node for a lane.
    pub fn open(
        number: LaneNumber,
        shape: Shape,
        from: &Arc<Station>,
        to: &Station,
        uplink: &Arc<Uplink>,
    ) -> Result<Self, NoLane> {
        let mut memory = memory::shared(shape.sender_len())?;
        let mut bell = Bell::new()?;
        let handles = vec![memory.handle()?, bell.handle()?];
        memory.close();
        bell.close();
        let region = Hardware::new(memory);
        let wish = shape.wish(&region)?;
        event!("attach.open", from = &*from.name, to = &*to.name, bytes = shape.ring);
        uplink.say(Ask::Open { lane: number, from: from.id, to: to.id, shape }, handles);
        let deserted = Rc::new(Cell::new(false));
        let watch = task::spawn(watch(bell, wish.clone(), from.clone(), deserted.clone()));
        let uplink = uplink.clone();
        Ok(Self {
            number,
            shape,
            uplink,
            region,
            wish,
            peer: None,
            growing: [None, None],
            grown: [0; 2],
            edges: BTreeMap::new(),
            given: BTreeMap::new(),
            by_index: Vec::new(),
            regions: BTreeMap::new(),
            holds: Holds::default(),
            watch: Some(watch),
            deserted,
        })
    }

    /// Where the counters of a receiver lie, with its place; nothing if the lane counts for as many as it can.
    pub fn place(&self) -> Option<(u16, Cells, Wish)> {
        let place = u16::try_from(self.edges.len()).ok().filter(|place| *place < self.shape.edges)?;
        let (at, words) = self.shape.sender_edge(place);
        let cells = Cells::own(self.region.clone(), at, words).ok()?;
        Some((place, cells, self.wish.clone()))
    }

    /// An edge counts in that place from now on.
    pub fn hold(&mut self, place: u16, edge: Arc<Edge>) {
        if let Some(peer) = &self.peer {
            edge.meet(receiver_cells(self.shape, &peer.region, place));
        }
        self.edges.insert(edge.to.id, (place, edge));
    }

    /// Whether the receiver has answered.
    pub fn is_open(&self) -> bool {
        self.peer.is_some()
    }

    /// The receiver has answered: the two rings, by class.
    pub fn opened(&mut self, handles: Vec<Handle>) -> Result<[Producer; 2], NoLane> {
        let [receiver, bell, page] = exactly(handles)?;
        let peer = Hardware::new(memory::open(receiver, self.shape.receiver_len())?);
        let page = Hardware::new(memory::open(page, CONTROL_LEN)?);
        let bell: Arc<dyn Waiter> = Arc::new(memory::ringer(bell)?);
        let ring = |class| {
            let (own, peer) =
                (self.shape.sender_ring(&self.region, class)?, self.shape.receiver_ring(&peer, class, 0)?);
            Producer::into_mailbox(own, peer, page.clone(), bell.clone())
        };
        let rings = [ring(Class::Urgent)?, ring(Class::Bulk)?];
        for (place, edge) in self.edges.values() {
            edge.meet(receiver_cells(self.shape, &peer, *place));
        }
        self.holds.meet(Returned::new(peer.clone(), self.shape.returns(), HOLDS)?);
        self.peer = Some(Peer { region: peer, page, bell });
        reach!("attach.opened");
        Ok(rings)
    }

    /// Asks for a larger ring of a class, of `bytes`; false if it has grown as often as it can, or is growing.
    pub fn grow(&mut self, class: Class, bytes: u32) -> Result<bool, NoLane> {
        let at = place(class);
        if self.peer.is_none() || self.growing[at].is_some() || self.grown[at] == GROWTHS {
            return Ok(false);
        }
        let mut memory = memory::shared(sender_len(bytes as usize))?;
        let handle = memory.handle()?;
        memory.close();
        self.growing[at] = Some(Hardware::new(memory));
        let class = at as u8;
        self.uplink.say(Ask::Grow { lane: self.number, class, bytes }, vec![handle]);
        Ok(true)
    }

    /// The receiver has taken the larger ring in.
    pub fn grown(&mut self, class: Class) -> Result<Option<Producer>, NoLane> {
        let at = place(class);
        let (Some(own), Some(peer)) = (self.growing[at].take(), &self.peer) else { return Ok(None) };
        self.grown[at] += 1;
        reach!("attach.grown");
        let theirs = self.shape.receiver_ring(&peer.region, class, self.grown[at])?;
        Ok(Some(Producer::into_mailbox(own, theirs, peer.page.clone(), peer.bell.clone())?))
    }

    /// Whether nothing is asked of the receiver, and it holds nothing.
    pub fn is_quiet(&mut self) -> bool {
        let settled = self.given.values().all(|index| index.known || index.revoked)
            && self.regions.values().all(|mapped| *mapped);
        settled
            && self.peer.is_some()
            && self.growing.iter().all(Option::is_none)
            && self.collect().is_ok()
            && self.holds.out() == 0
            && self.edges.values().all(|(_, edge)| edge.counts().waiting() == 0)
    }

    /// The index under which a record says that; asked for if it is new.
    pub fn grant(&mut self, means: Means) -> Result<u16, Refusal> {
        match self.given.get(&means) {
            Some(Index { revoked: true, .. }) => return Err(Refusal::NotAllowed),
            Some(Index { index, known: true, .. }) => return Ok(*index),
            Some(_) => return Err(Refusal::Opening),
            None => {}
        }
        let index = u16::try_from(self.by_index.len()).map_err(|_| Refusal::NoMemory)?;
        let means = Arc::new(means);
        self.given.insert(means.clone(), Index { index, known: false, revoked: false });
        self.by_index.push(means.clone());
        self.uplink.say(Ask::Grant { lane: self.number, index, means: (*means).clone() }, Vec::new());
        Err(Refusal::Opening)
    }

    /// What an index means may not be said.
    pub fn revoked(&mut self, index: u16) {
        if let Some(known) = self.by_index.get(usize::from(index)).and_then(|means| self.given.get_mut(means))
        {
            known.revoked = true;
        }
    }

    /// The receiver knows an index.
    pub fn granted(&mut self, index: u16) {
        if let Some(known) = self.by_index.get(usize::from(index)).and_then(|means| self.given.get_mut(means))
        {
            known.known = true;
        }
    }

    /// Whether slots of a region may be passed; the receiver is told of it if it was not. Also looks what it gave back.
    pub fn may_pass(&mut self, region: u16, store: &Store) -> Result<(), NotPassed> {
        match self.regions.get(&region) {
            Some(true) => {}
            Some(false) => return Err(NotPassed::Refused(Refusal::Opening)),
            None => {
                let Offered { handle, bytes, slot_len } = store.offer(region)?;
                let (bytes, slot) = (bytes as u32, slot_len as u32);
                self.uplink.say(Ask::Region { lane: self.number, region, bytes, slot }, vec![handle]);
                self.regions.insert(region, false);
                return Err(NotPassed::Refused(Refusal::Opening));
            }
        }
        self.collect()?;
        if self.holds.out() >= HOLDS {
            reach!("attach.holds_full");
            return Err(NotPassed::Refused(Refusal::MemoryFull));
        }
        Ok(())
    }

    /// The receiver has mapped a region.
    pub fn mapped(&mut self, region: u16) {
        if let Some(mapped) = self.regions.get_mut(&region) {
            *mapped = true;
        }
    }

    /// Regions were given back: the receiver lets go of those it knows.
    pub fn unmap(&mut self, regions: &[u16]) {
        for region in regions {
            if self.regions.remove(region).is_some() {
                self.uplink.say(Ask::Unmap { lane: self.number, region: *region }, Vec::new());
            }
        }
    }

    /// A slot is passed.
    pub fn hold_slot(&mut self, name: Name, slice: Slice) {
        self.holds.hold(name, slice);
    }

    /// Looks what the receiver gave back.
    pub fn collect(&mut self) -> Result<(), Violation> {
        self.holds.collect()
    }

    /// How many slots the receiver holds.
    pub fn held(&self) -> usize {
        self.holds.out()
    }

    /// The lane ends: what its receiver `to`, which may live, holds still.
    pub fn part(mut self, to: ContextId) -> Option<Parted> {
        // A rule broken now ends its holding, too.
        let holds = !self.deserted.get() && self.collect().is_ok() && self.held() > 0;
        let watch = self.watch.take_if(|_| holds)?;
        let (holds, wish) = (std::mem::take(&mut self.holds), self.wish.clone());
        Some(Parted::new(to, holds, wish, watch, self.deserted.clone()))
    }

    /// Wants its bell rung when the receiver gives something back. Look again after this.
    pub fn want_back(&self) {
        self.wish.say();
    }

    /// The place in which the receiver counts for a subscription.
    pub fn place_of(&self, sub: SubId) -> Option<u16> {
        self.edges.get(&sub).map(|(place, _)| *place)
    }
}

fn receiver_cells(shape: Shape, peer: &Hardware, place: u16) -> Cells {
    let (at, words) = shape.receiver_edge(place);
    Cells::peer(peer.clone(), at, words).expect("a place of the shape lies inside its region")
}

/// The receiver rang: a ring or a queue has room. Whoever waits looks again, and says again if it still wants. Its end is room, too.
async fn watch(bell: Bell, wish: Wish, from: Arc<Station>, deserted: Rc<Cell<bool>>) {
    while !deserted.get() {
        tokio::select! {
            biased;
            () = bell.rung() => {}
            () = bell.deserted() => deserted.set(true),
        }
        wish.drop_it();
        if let Some(here) = from.at_home() {
            here.space.notify_waiters();
            here.doorbell.wake();
        }
    }
}
