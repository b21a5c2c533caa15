//! A cached route: who takes what one source sends to one subject, by epoch.
//!
//! A publish reads the epoch and, while it stands, touches no table and no lock. One record goes to each receiving context; a receiver that has no
//! room is refused alone, and the record then names only the others.

use std::cell::{Cell, Ref, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;

use synod_probe::{event, plant, reach};
use synod_wire::{Class, Kind, PAYLOAD_MAX, Priority};

use crate::attach::control::TARGETS_MAX;
use crate::attach::spool::{Spool, record_len};
use crate::context::{Envelope, Inner, Queue, gone};
use crate::edge::Edge;
use crate::error::PublishError;
use crate::lane::{Body, Grant, INLINE_AWAY_MAX, OutLane, Outgoing, Passage};
use crate::message::{INLINE_MAX, Payload, Published, Receipt, Refusal};
use crate::registry::{ContextId, Entry};
use crate::subject::Subject;
use crate::tap::{Glance, Tapped};

/// From one source to one subject, as one context sees it.
pub(crate) struct Route {
    pub source: Arc<str>,
    pub subject: Subject,
    /// For what came from another node, which goes no further.
    local_only: bool,
    epoch: Cell<u64>,
    resolved: RefCell<Rc<Resolved>>,
}

/// What a route led to at one epoch; at first to nobody.
#[derive(Default)]
pub(crate) struct Resolved {
    /// Who receives what is published.
    pub events: Vec<Target>,
    /// Who may be asked.
    pub services: Vec<Target>,
    names: Arc<[Arc<str>]>,
    /// Indices into `events`: receivers in this context.
    here: Vec<usize>,
    /// Receivers in other contexts, by context.
    hops: Vec<Hop>,
    /// Who watches; no receivers.
    taps: Vec<Tapped>,
}

/// One receiver.
pub(crate) struct Target {
    pub entry: Arc<Entry>,
    pub edge: Arc<Edge>,
    passage: Arc<Passage>,
    way: Way,
}

enum Way {
    Here(Rc<Queue>),
    Lane {
        lane: Rc<RefCell<OutLane>>,
        grants: [Cell<Option<u16>>; 2],
        /// Where BACKGROUND messages are kept, for a receiver in another process.
        spool: Option<Spool>,
    },
}

/// Several receivers in one other context, as many as one grant names: one record for all of them.
struct Hop {
    members: Vec<usize>,
    lane: Rc<RefCell<OutLane>>,
    grants: [Cell<Option<u16>>; 2],
}

/// One message to be sent.
#[derive(Clone, Copy)]
pub(crate) struct Sending<'a> {
    pub priority: Priority,
    /// Zero for none.
    pub deadline: u64,
    /// Zero for a publish.
    pub correlation: u64,
    pub body: Body<'a>,
}

fn class_index(class: Class) -> usize {
    usize::from(class == Class::Bulk)
}

const CLASSES: [Class; 2] = [Class::Urgent, Class::Bulk];

impl Route {
    pub fn new(source: Arc<str>, subject: Subject, local_only: bool) -> Self {
        Self { source, subject, local_only, epoch: Cell::new(0), resolved: RefCell::default() }
    }

    /// A lane has ended: what it led to is looked up anew by the next send, and its memory is not kept until then.
    pub fn forget(&self, ended: &Rc<RefCell<OutLane>>) {
        let resolved = self.resolved.borrow().clone();
        let by_it =
            |target: &Target| matches!(&target.way, Way::Lane { lane, .. } if Rc::ptr_eq(lane, ended));
        let taps = resolved.taps.iter().map(Tapped::target);
        if resolved.events.iter().chain(&resolved.services).chain(taps).any(by_it) {
            self.epoch.set(0);
            self.resolved.take();
        }
    }

    /// What the route leads to now.
    #[inline]
    pub fn resolved(&self, inner: &Inner) -> Ref<'_, Rc<Resolved>> {
        if !self.is_current(inner) {
            let stale = plant!("fabric.stale-route") && self.epoch.get() != 0;
            if !stale {
                self.resolve(inner);
            }
        }
        self.resolved.borrow()
    }

    #[cold]
    fn resolve(&self, inner: &Inner) {
        // The epoch first: a change that comes after it makes another resolution, never a missed one.
        let epoch = inner.shared.epoch.load(Acquire);
        let matches = inner.shared.registry().matching(&self.subject, self.local_only);
        inner.tidy();
        let mut spools = BTreeSet::new();
        let mut spool = |entry: &Entry| {
            let spool = inner.shared.spool(&self.source, entry)?;
            // Of several subscriptions of one agent to one pattern the first has it.
            spools.insert(spool.name.clone()).then_some(spool)
        };
        let target = |entry: &Arc<Entry>, spool: Option<Spool>| {
            let edge = inner.edge_to(entry);
            let passage = Arc::new(Passage {
                source: self.source.clone(),
                subject: self.subject.clone(),
                edge: Some(edge.clone()),
            });
            let here = (entry.station.id == inner.id())
                .then(|| inner.queues.borrow().get(&entry.id).cloned())
                .flatten();
            let way = match here {
                Some(queue) => Way::Here(queue),
                None => Way::Lane { lane: inner.lane_to(&entry.station), grants: Default::default(), spool },
            };
            Target { entry: entry.clone(), edge, passage, way }
        };
        let events: Vec<_> =
            matches.iter().filter(|m| m.takes.events).map(|m| target(&m.entry, spool(&m.entry))).collect();
        let services: Vec<_> =
            matches.iter().filter(|m| m.takes.requests).map(|m| target(&m.entry, None)).collect();
        let taps =
            matches.iter().filter(|m| m.takes.tap).map(|m| Tapped::new(target(&m.entry, None))).collect();
        let mut here = Vec::new();
        let mut hops: Vec<(ContextId, Hop)> = Vec::new();
        for (index, target) in events.iter().enumerate() {
            match &target.way {
                Way::Here(_) => here.push(index),
                Way::Lane { lane, .. } => {
                    let context = target.entry.station.id;
                    let has_place =
                        |(id, hop): &&mut (ContextId, Hop)| *id == context && hop.members.len() < TARGETS_MAX;
                    match hops.iter_mut().find(has_place) {
                        Some((_, hop)) => hop.members.push(index),
                        None => hops.push((
                            context,
                            Hop { members: vec![index], lane: lane.clone(), grants: Default::default() },
                        )),
                    }
                }
            }
        }
        let hops = hops.into_iter().map(|(_, hop)| hop).collect();
        let names = events.iter().map(|target| target.entry.owner.clone()).collect();
        event!(
            "fabric.route",
            source = &*self.source,
            subject = self.subject.as_str(),
            receivers = events.len(),
            instances = services.len()
        );
        reach!("fabric.resolved");
        let whole = events.iter().chain(&services).all(|target| target.edge.is_counted());
        // One without a place for its counters is looked up again by the next send.
        self.epoch.set(if whole { epoch } else { 0 });
        let old = self.resolved.replace(Rc::new(Resolved { events, services, names, here, hops, taps }));
        drop(old);
    }

    /// Sends to every receiver, at once.
    #[inline]
    pub fn publish(&self, inner: &Inner, sending: Sending<'_>) -> Result<Receipt, PublishError> {
        let len = sending.body.bytes().len();
        if len > PAYLOAD_MAX {
            return Err(PublishError::TooLarge { len, max: PAYLOAD_MAX });
        }
        let resolved = self.resolved(inner);
        let receipt = resolved.publish_now(sending);
        if receipt.refused.is_empty() {
            return Ok(receipt);
        }
        judge(receipt)
    }

    /// Sends payloads in a row to every receiver, until somebody refuses one.
    pub fn publish_all<'p>(
        &self,
        inner: &Inner,
        priority: Priority,
        payloads: impl IntoIterator<Item = &'p [u8]>,
    ) -> Published {
        let (mut payloads, mut taken) = (payloads.into_iter().peekable(), 0);
        while payloads.peek().is_some() {
            let resolved = self.resolved(inner).clone();
            let _corked = Corked::new(&resolved, priority.class());
            for payload in payloads.by_ref() {
                let (body, len) = (Body::Slice(payload), payload.len());
                if len > PAYLOAD_MAX {
                    let stopped = Some(Err(PublishError::TooLarge { len, max: PAYLOAD_MAX }));
                    return Published { taken, stopped };
                }
                let mut refused = Vec::new();
                resolved.send(Sending { priority, deadline: 0, correlation: 0, body }, &mut refused);
                if !refused.is_empty() {
                    let receipt = Receipt { targets: Some(resolved.names.clone()), refused };
                    return Published { taken, stopped: Some(judge(receipt)) };
                }
                taken += 1;
                if !self.is_current(inner) {
                    // Who came meanwhile is sent the rest.
                    break;
                }
            }
        }
        Published { taken, stopped: None }
    }

    /// Shows taps what waits for their lanes, if those are there by now.
    pub fn flush_taps(&self) {
        self.resolved.borrow().taps.iter().for_each(Tapped::flush);
    }

    fn is_current(&self, inner: &Inner) -> bool {
        self.epoch.get() == inner.shared.epoch.load(Acquire)
    }
}

/// Lanes on which more comes at once, published when this is dropped.
struct Corked<'r>(&'r Resolved, Class);

impl<'r> Corked<'r> {
    fn new(resolved: &'r Resolved, class: Class) -> Self {
        resolved.hops.iter().for_each(|hop| hop.lane.borrow_mut().cork(class, true));
        Self(resolved, class)
    }
}

impl Drop for Corked<'_> {
    fn drop(&mut self) {
        self.0.hops.iter().for_each(|hop| hop.lane.borrow_mut().cork(self.1, false));
    }
}

/// What a receipt with refusals amounts to.
#[cold]
pub(crate) fn judge(receipt: Receipt) -> Result<Receipt, PublishError> {
    if receipt.accepted_count() > 0 {
        reach!("fabric.partial");
        return Ok(receipt);
    }
    if receipt.refused.iter().any(|(_, why)| why.may_pass()) {
        reach!("fabric.would_block");
        Err(PublishError::WouldBlock(receipt))
    } else {
        reach!("fabric.unreachable");
        Err(PublishError::Unreachable(receipt))
    }
}

impl Resolved {
    #[inline]
    pub fn publish_now(&self, sending: Sending<'_>) -> Receipt {
        let mut receipt = Receipt { targets: Some(self.names.clone()), refused: Vec::new() };
        self.send(sending, &mut receipt.refused);
        receipt
    }

    /// Sends to every receiver; those that refuse are added, by their place, with why.
    #[inline]
    fn send(&self, sending: Sending<'_>, refused: &mut Vec<(usize, Refusal)>) {
        // A long slice is copied once, whoever many receive it.
        let shared;
        let sending = match sending.body {
            Body::Slice(bytes)
                if bytes.len() > INLINE_MAX && self.events.len() > usize::from(self.here.is_empty()) =>
            {
                let long = |hop: &Hop| hop.lane.borrow().share(bytes);
                let slot = (bytes.len() > INLINE_AWAY_MAX).then(|| self.hops.iter().find_map(long)).flatten();
                shared = slot.unwrap_or_else(|| Payload::copy_from(bytes));
                Sending { body: Body::Shared(&shared), ..sending }
            }
            _ => sending,
        };
        for &index in &self.here {
            if let Err(why) = self.events[index].send(sending) {
                refused.push((index, why));
            }
        }
        for hop in &self.hops {
            self.send_over(hop, sending, refused);
        }
        if !self.taps.is_empty() && (self.events.is_empty() || refused.len() < self.events.len()) {
            self.show_taps(sending);
        }
    }

    /// What somebody took, or nobody would have, is shown to those who watch.
    #[cold]
    fn show_taps(&self, sending: Sending<'_>) {
        let glance = Glance::at(sending.body);
        self.taps.iter().for_each(|tap| tap.show(sending.priority, &glance));
    }

    /// One record for all members of a hop if all have room; else one for each that has.
    fn send_over(&self, hop: &Hop, sending: Sending<'_>, refused: &mut Vec<(usize, Refusal)>) {
        let goes =
            |target: &Target| target.spool(sending).is_none() && target.refusal(sending.priority).is_none();
        let whole = hop.members.len() > 1 && hop.members.iter().all(|&index| goes(&self.events[index]));
        if !whole {
            for &index in &hop.members {
                if let Err(why) = self.events[index].send(sending) {
                    refused.push((index, why));
                }
            }
            return;
        }
        let members = || hop.members.iter().map(|&index| &self.events[index]);
        let sent = send_on(
            &hop.lane,
            &hop.grants,
            Kind::Publish,
            sending,
            members().map(|target| &*target.edge),
            || Grant::Deliver(members().map(|target| target.passage.clone()).collect()),
        );
        match sent {
            Ok(()) => members().for_each(|target| target.tell_accepted(sending)),
            Err(why) => {
                members().for_each(|target| target.edge.count_refused());
                refused.extend(hop.members.iter().map(|&index| (index, why)));
            }
        }
    }

    /// Sends to those of `receipt` that refused and may have room by now.
    pub fn retry(&self, sending: Sending<'_>, receipt: &mut Receipt) {
        let was_taken = receipt.accepted_count() > 0;
        receipt.refused.retain_mut(|(index, why)| {
            if !why.may_pass() {
                return true;
            }
            match self.events[*index].send(sending) {
                Ok(()) => false,
                Err(now) => {
                    *why = now;
                    true
                }
            }
        });
        if !self.taps.is_empty() && !was_taken && receipt.accepted_count() > 0 {
            self.show_taps(sending);
        }
    }

    /// Asks for a wake-up of this context's station when those who refused have room. False: look again at once.
    pub fn ask_for_room(&self, sending: Sending<'_>, receipt: &Receipt) -> bool {
        receipt.refused.iter().filter(|(_, why)| why.is_told_over()).all(|&(index, why)| {
            let target = &self.events[index];
            match (&target.way, why) {
                (Way::Lane { lane, .. }, Refusal::LaneFull) => {
                    if let Some(spool) = target.spool(sending) {
                        let subject = target.passage.subject.as_str();
                        let len = record_len(subject, sending.body.len());
                        return lane.borrow_mut().want_kept(spool, len);
                    }
                    lane.borrow_mut().want_room(sending.priority.class(), sending.body.bytes().len())
                }
                // Whoever waits is woken when the node has answered.
                (_, Refusal::Opening) => true,
                (Way::Lane { lane, .. }, Refusal::MemoryFull) => lane.borrow_mut().want_memory(),
                _ => {
                    target.edge.ask_for_room();
                    target.refusal(sending.priority) == Some(Refusal::QueueFull)
                }
            }
        })
    }
}

/// The index under which a message goes, which is asked for at first use.
#[inline]
fn index_of<'e>(
    lane: &mut OutLane,
    grants: &[Cell<Option<u16>>; 2],
    sending: Sending<'_>,
    mut edges: impl Iterator<Item = &'e Edge>,
    grant: impl FnOnce() -> Grant,
) -> Result<u16, Refusal> {
    let class = sending.priority.class();
    let known = &grants[class_index(class)];
    match known.get() {
        Some(index) => Ok(index),
        None if !edges.all(Edge::is_counted) => Err(Refusal::NoMemory),
        None => {
            let index = lane.grant(class, Arc::new(grant()))?;
            known.set(Some(index));
            Ok(index)
        }
    }
}

/// Puts one record on a lane, under a grant that is made at first use. Counted as sent on each edge before it can be taken.
fn send_on<'e>(
    lane: &RefCell<OutLane>,
    grants: &[Cell<Option<u16>>; 2],
    kind: Kind,
    sending: Sending<'_>,
    edges: impl Iterator<Item = &'e Edge> + Clone,
    grant: impl FnOnce() -> Grant,
) -> Result<(), Refusal> {
    let mut lane = lane.borrow_mut();
    let index = index_of(&mut lane, grants, sending, edges.clone(), grant)?;
    edges.clone().for_each(|edge| edge.count_sent(sending.priority));
    let sent = lane.send(&Outgoing {
        kind,
        priority: sending.priority,
        grant: index,
        correlation: sending.correlation,
        deadline: sending.deadline,
        body: sending.body,
    });
    if sent.is_err() {
        edges.for_each(|edge| edge.uncount_sent(sending.priority));
    }
    sent
}

impl Target {
    /// Why a message of that priority would not be taken now, but for want of room on the lane.
    #[inline]
    pub fn refusal(&self, priority: Priority) -> Option<Refusal> {
        if self.entry.gone.load(Acquire) {
            return Some(gone(&self.entry));
        }
        (!self.edge.has_room(priority)).then_some(Refusal::QueueFull)
    }

    /// Where that is kept for this receiver, if it goes by no lane.
    #[inline]
    fn spool(&self, sending: Sending<'_>) -> Option<&Spool> {
        match &self.way {
            Way::Lane { spool, .. }
                if sending.priority == Priority::Background && sending.correlation == 0 =>
            {
                spool.as_ref()
            }
            _ => None,
        }
    }

    /// Sends to this receiver alone.
    #[inline]
    pub fn send(&self, sending: Sending<'_>) -> Result<(), Refusal> {
        if let Some(why) = self.refusal(sending.priority) {
            if why == Refusal::QueueFull && plant!("fabric.full-drops-silently") {
                return Ok(());
            }
            self.edge.count_refused();
            return Err(why);
        }
        match &self.way {
            Way::Here(queue) => {
                self.edge.count_sent(sending.priority);
                self.tell_accepted(sending);
                queue.put(Envelope {
                    passage: self.passage.clone(),
                    priority: sending.priority,
                    deadline: sending.deadline,
                    correlation: sending.correlation,
                    payload: sending.body.to_payload(),
                });
                Ok(())
            }
            Way::Lane { lane, grants, .. } => {
                let grant = || Grant::Deliver(vec![self.passage.clone()]);
                let edges = std::iter::once(&*self.edge);
                if let Some(spool) = self.spool(sending) {
                    let mut lane = lane.borrow_mut();
                    let subject = &self.passage.subject;
                    // The node has to allow it, as what goes by the lane.
                    let kept = index_of(&mut lane, grants, sending, edges, grant)
                        .and_then(|_| lane.keep(spool, &self.entry, subject, sending.deadline, sending.body));
                    match kept {
                        Ok(()) => self.tell_accepted(sending),
                        Err(_) => self.edge.count_refused(),
                    }
                    return kept;
                }
                let kind = if sending.correlation == 0 { Kind::Publish } else { Kind::Request };
                let sent = send_on(lane, grants, kind, sending, edges, grant);
                match sent {
                    Ok(()) => self.tell_accepted(sending),
                    Err(_) => self.edge.count_refused(),
                }
                sent
            }
        }
    }

    /// Sends to this receiver alone, if there is room; counts no refusal.
    pub fn offer(&self, sending: Sending<'_>) -> Result<(), Refusal> {
        if let Some(why) = self.refusal(sending.priority) {
            return Err(why);
        }
        match &self.way {
            Way::Here(_) => self.send(sending),
            Way::Lane { lane, grants, .. } => {
                let grant = || Grant::Deliver(vec![self.passage.clone()]);
                send_on(lane, grants, Kind::Publish, sending, std::iter::once(&*self.edge), grant)
            }
        }
    }

    #[inline]
    fn tell_accepted(&self, sending: Sending<'_>) {
        event!(
            "fabric.accepted",
            to = &*self.entry.owner,
            source = &*self.passage.source,
            subject = self.passage.subject.as_str(),
            priority = sending.priority.index(),
            request = sending.correlation != 0,
        );
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Way::Lane { lane, grants, .. } = &self.way {
            retire(lane, grants);
        }
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        retire(&self.lane, &self.grants);
    }
}

fn retire(lane: &RefCell<OutLane>, grants: &[Cell<Option<u16>>; 2]) {
    for class in CLASSES {
        if let Some(index) = grants[class_index(class)].take() {
            lane.borrow_mut().retire(class, index);
        }
    }
}
