//! One executor thread's part in the fabric: its queues, its lanes, the requests it waits for, and the task that drains.
//!
//! Everything here stays on its thread. The drain task takes records off the lanes and puts them where they belong; it sleeps
//! when all lanes are empty and is woken by the first record after that.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::task::{Context as Poller, Poll, Waker};
use std::time::Duration;

use synod_platform::memory::Handle;
use synod_platform::queue::Damage;
use synod_platform::time::Spin;
use synod_platform::{task, time};
use synod_probe::{event, loss, plant, reach};
use synod_resilience::breaker::Breaker;
use synod_ring::Waiter;
use synod_ring::pool::Loan;
use synod_wire::body::{Reason, Refusal as Said};
use synod_wire::{Kind, Priority};

use crate::attach::control::{Ask, LaneNumber, Means};
use crate::attach::payloads::Store;
use crate::attach::shape::place;
use crate::attach::spool::{self, SpoolIn, Spools};
use crate::attach::{LaneNote, NoSlot};
use crate::edge::{Edge, Fate};
use crate::intake::Intake;
use crate::lane::{Grant, OutLane, Passage, Violation};
use crate::mailbox::{ALL, Mailbox};
use crate::message::{Payload, Refusal};
use crate::registry::{ContextId, Entry, Note, Shared, Station, SubId};
use crate::route::Route;

/// Records taken off the lanes before other tasks of the context have their turn.
const BUDGET: usize = 512;

/// Looks at the lanes in a row while spinning, before other tasks of the context have their turn: a few microseconds.
const LOOKS: usize = 128;

/// How long a lane is kept whose sender may live without its node and has not closed it, and what one who left without the node's loss holds.
const LINGER: Duration = Duration::from_secs(10);

/// A message on its way to a handler.
pub(crate) struct Envelope {
    pub passage: Arc<Passage>,
    pub priority: Priority,
    /// Zero for none.
    pub deadline: u64,
    /// Zero when nobody waits for an answer.
    pub correlation: u64,
    pub payload: Payload,
}

impl Envelope {
    pub fn edge(&self) -> &Edge {
        self.passage.edge.as_deref().expect("what is queued came over an edge: answers are not queued")
    }

    fn is_late(&self) -> bool {
        self.deadline != 0 && time::now().as_nanos() >= self.deadline
    }
}

/// A subscription's queue, on the receiver's thread.
pub(crate) struct Queue {
    pub entry: Arc<Entry>,
    pub mailbox: RefCell<Mailbox<Envelope>>,
    waker: RefCell<Option<Waker>>,
    pub closed: Cell<bool>,
    /// What other processes' BACKGROUND messages to it are kept in, and those of them that turned out to be damaged.
    pub spools: Spools,
    damaged: RefCell<Vec<(SpoolIn, Damage)>>,
    shared: Arc<Shared>,
}

impl Queue {
    pub fn new(entry: Arc<Entry>, shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            entry,
            mailbox: RefCell::new(Mailbox::new()),
            waker: RefCell::default(),
            closed: Cell::new(false),
            spools: RefCell::default(),
            damaged: RefCell::default(),
            shared,
        })
    }

    /// Its receiver asks for a message: what it had before is done with, and the next of each spool comes into the queue.
    #[cold]
    fn turn_spools(&self) {
        let mut spools = self.spools.borrow_mut();
        let mut next = 0;
        while let Some(spool) = spools.get_mut(next) {
            match spool.turn(&self.shared, self.closed.get()) {
                Ok(envelope) => {
                    if let Some(envelope) = envelope {
                        self.mailbox.borrow_mut().put(envelope.priority, envelope);
                    } else if spool.is_over() {
                        spools.swap_remove(next);
                        continue;
                    }
                    next += 1;
                }
                Err(damage) => {
                    self.damaged.borrow_mut().push((spools.swap_remove(next), damage));
                    self.entry.station.home().doorbell.wake();
                }
            }
        }
    }

    /// Wakes its receiver if a spool has something that the queue has not, and lets go of those that are over; false if none is left.
    fn look_at_spools(&self) -> bool {
        let mut spools = self.spools.borrow_mut();
        spools.retain_mut(|spool| !spool.is_over());
        let there = !spools.is_empty();
        if spools.iter_mut().any(SpoolIn::has_news) {
            drop(spools);
            self.wake();
        }
        there
    }

    #[inline]
    pub fn put(&self, envelope: Envelope) {
        self.mailbox.borrow_mut().put(envelope.priority, envelope);
        self.wake();
    }

    pub fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// The next message that is still wanted.
    #[inline]
    pub fn take(&self, among: u8) -> Option<Envelope> {
        loop {
            if !self.spools.borrow().is_empty() {
                self.turn_spools();
            }
            let envelope = self.mailbox.borrow_mut().take(among)?;
            if envelope.priority == Priority::Background
                && let Some(spool) = self.spools.borrow_mut().iter_mut().find(|spool| spool.has(&envelope))
            {
                spool.hand();
            }
            if envelope.is_late() && !plant!("fabric.expired-delivered") {
                reach!("fabric.expired");
                loss!("fabric.mailbox", "the deadline had passed");
                event!(
                    "fabric.expired",
                    to = &*self.entry.owner,
                    subject = envelope.passage.subject.as_str()
                );
                envelope.edge().free(envelope.priority, Fate::Expired);
                continue;
            }
            event!(
                "fabric.delivered",
                to = &*self.entry.owner,
                source = &*envelope.passage.source,
                subject = envelope.passage.subject.as_str(),
                priority = envelope.priority.index(),
                request = envelope.correlation != 0,
            );
            envelope.edge().free(envelope.priority, Fate::Delivered);
            return Some(envelope);
        }
    }

    pub fn poll_take(&self, among: u8, cx: &mut Poller<'_>) -> Poll<Option<Envelope>> {
        if let Some(envelope) = self.take(among) {
            return Poll::Ready(Some(envelope));
        }
        if self.closed.get() {
            return Poll::Ready(None);
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// How a request ended, as told by whoever ended it.
#[derive(Debug)]
pub(crate) enum Answer {
    Reply {
        source: Arc<str>,
        priority: Priority,
        payload: Payload,
    },
    NobodyListens,
    Refused {
        reason: Reason,
        text: String,
    },
    /// The context or node that had it is gone.
    Lost,
}

/// A request that waits for its answer.
pub(crate) struct Pending {
    /// Who was asked, and where.
    pub asked: SubId,
    pub station: Arc<Station>,
    pub answer: Option<Answer>,
    pub waker: Option<Waker>,
}

/// Shared by a request's message and the context that may hear of its cancellation.
#[derive(Default)]
pub(crate) struct Cancel {
    pub cancelled: Cell<bool>,
    pub waker: RefCell<Option<Waker>>,
}

/// Source, subject, and whether links are left out.
pub(crate) type RouteKey = (Arc<str>, crate::Subject, bool);

pub(crate) struct Inner {
    me: Weak<Inner>,
    /// A task takes idle lanes back.
    tidying: Cell<bool>,
    /// Something may be held back on a lane from here, or somebody waits for its room.
    unsettled: Rc<Cell<bool>>,
    /// Something came over a lane since the last turn, and how long to look for more.
    came: Cell<bool>,
    spin: RefCell<Spin>,
    pub shared: Arc<Shared>,
    pub station: Arc<Station>,
    pub queues: RefCell<BTreeMap<SubId, Rc<Queue>>>,
    pub edges: RefCell<BTreeMap<SubId, Arc<Edge>>>,
    pub outgoing: RefCell<BTreeMap<ContextId, Rc<RefCell<OutLane>>>>,
    intake: RefCell<Intake>,
    /// Memory for long payloads that other processes may read.
    pub store: Rc<RefCell<Store>>,
    pub routes: RefCell<BTreeMap<RouteKey, Weak<Route>>>,
    pub pending: RefCell<BTreeMap<u64, Pending>>,
    correlations: Cell<u64>,
    pub breakers: RefCell<BTreeMap<SubId, Breaker>>,
    pub turn: Cell<u64>,
    /// Requests in hand here, by requester.
    in_hand: RefCell<BTreeMap<(ContextId, u64), std::rc::Weak<Cancel>>>,
    /// Queues that have spools.
    spooled: RefCell<Vec<Weak<Queue>>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({})", self.station.name)
    }
}

impl Inner {
    /// A context on the current executor, with its drain task started.
    pub fn start(shared: Arc<Shared>, station: Arc<Station>, intake: Intake) -> Rc<Self> {
        let store = Rc::new(RefCell::new(Store::new(shared.clone())));
        let inner = Rc::new_cyclic(|me: &Weak<Self>| Self {
            me: me.clone(),
            tidying: Cell::new(false),
            unsettled: Rc::default(),
            came: Cell::new(false),
            spin: RefCell::new(Spin::new(shared.config.spin)),
            shared,
            station: station.clone(),
            queues: RefCell::default(),
            edges: RefCell::default(),
            outgoing: RefCell::default(),
            intake: RefCell::new(intake),
            store,
            routes: RefCell::default(),
            pending: RefCell::default(),
            correlations: Cell::new(0),
            breakers: RefCell::default(),
            turn: Cell::new(0),
            in_hand: RefCell::default(),
            spooled: RefCell::default(),
        });
        event!("fabric.enter", context = &*station.name);
        task::spawn(drain(Rc::downgrade(&inner), station)).detach();
        inner
    }

    pub fn id(&self) -> ContextId {
        self.station.id
    }

    pub fn next_correlation(&self) -> u64 {
        self.correlations.set(self.correlations.get() + 1);
        self.correlations.get()
    }

    /// The lane to a context, which exists from now on.
    pub fn lane_to(&self, station: &Arc<Station>) -> Rc<RefCell<OutLane>> {
        let stale = |lane: &Rc<RefCell<OutLane>>| lane.borrow().is_stale();
        if !station.is_gone() && self.outgoing.borrow().get(&station.id).is_some_and(stale) {
            // It was taken away and has come again.
            self.part_from(station.id);
        }
        let mut outgoing = self.outgoing.borrow_mut();
        let lane = outgoing.entry(station.id).or_insert_with(|| {
            let (from, to) = (self.station.clone(), station.clone());
            let (shared, store) = (self.shared.clone(), self.store.clone());
            Rc::new(RefCell::new(OutLane::new(from, to, shared, store, self.unsettled.clone())))
        });
        let lane = lane.clone();
        drop(outgoing);
        if station.away().is_some() && !self.tidying.replace(true) {
            task::spawn(take_back(self.me.clone())).detach();
        }
        lane
    }

    /// Takes lanes to other processes back over which nothing went since the last call; false if none is left.
    fn take_back_idle(&self) -> bool {
        let outgoing = self.outgoing.borrow();
        let idle: Vec<_> = outgoing
            .iter()
            .filter(|(_, lane)| lane.borrow_mut().is_idle())
            .map(|(context, _)| *context)
            .collect();
        drop(outgoing);
        for context in idle {
            reach!("attach.taken_back");
            self.end_lane(context);
            // Routes that know the lane look anew, and make another.
            self.shared.look_anew();
        }
        self.outgoing.borrow().values().any(|lane| lane.borrow().number().is_some())
    }

    /// Ends the lane to a context of another process, if there is one, with what was counted on it.
    fn end_lane(&self, context: ContextId) {
        let lane = self.outgoing.borrow_mut().remove(&context);
        if let Some(lane) = lane.filter(|lane| lane.borrow().leads_away()) {
            lane.borrow_mut().end();
            let routes: Vec<_> = self.routes.borrow().values().filter_map(Weak::upgrade).collect();
            routes.iter().for_each(|route| route.forget(&lane));
            self.edges.borrow_mut().retain(|_, edge| edge.to.station.id != context);
            if !self.outgoing.borrow().values().any(|lane| lane.borrow().leads_away()) {
                self.store.borrow_mut().give_back();
            }
        }
    }

    /// A slot for a long payload, after a look at what receivers gave back if it must be.
    pub fn loan(&self, len: usize) -> Result<Loan, NoSlot> {
        let taken = self.store.borrow_mut().take(len);
        if !matches!(taken, Err(NoSlot::Full { .. })) {
            return taken;
        }
        self.outgoing.borrow().values().for_each(|lane| lane.borrow_mut().collect());
        self.store.borrow_mut().take(len)
    }

    /// The credits towards a subscription.
    pub fn edge_to(&self, entry: &Arc<Entry>) -> Arc<Edge> {
        if let Some(edge) = self.edges.borrow().get(&entry.id) {
            return edge.clone();
        }
        let near = || Arc::new(Edge::near(self.station.clone(), entry.clone(), &self.shared));
        let edge = match entry.station.away() {
            None => near(),
            Some(_) => match self.lane_to(&entry.station).borrow_mut().edge_to(entry) {
                Some(edge) => edge,
                // No lane can count for it: every send says so, and the next route tries again.
                None => return near(),
            },
        };
        self.shared.hold(&edge);
        self.edges.borrow_mut().insert(entry.id, edge.clone());
        edge
    }

    /// Forgets what concerns subscriptions that have ended.
    pub fn tidy(&self) {
        let registry = self.shared.registry();
        // A link that is down stays listed: it may come up again.
        self.edges
            .borrow_mut()
            .retain(|id, edge| !edge.to.gone.load(Acquire) || registry.subscriptions.contains_key(id));
        drop(registry);
        let edges = self.edges.borrow();
        self.breakers.borrow_mut().retain(|id, _| edges.contains_key(id));
        self.routes.borrow_mut().retain(|_, route| route.strong_count() > 0);
    }

    /// Drains; if nothing came but may soon, looks for a moment, and drains again when it does.
    fn turn(&self) -> Next {
        match self.drain() {
            Next::Spin if self.watch() => self.drain(),
            next => next,
        }
    }

    /// Moves what came to where it belongs, and what was held back on.
    fn drain(&self) -> Next {
        let notes = self.station.home().take_notes();
        if !notes.is_empty() {
            notes.into_iter().for_each(|note| self.heed(note));
            // Lanes to taps may be there now.
            self.routes.borrow().values().filter_map(Weak::upgrade).for_each(|route| route.flush_taps());
        }
        let given_back = self.store.borrow_mut().take_given_back();
        if !given_back.is_empty() {
            self.outgoing.borrow().values().for_each(|lane| lane.borrow_mut().unmap(&given_back));
        }
        if self.unsettled.get() {
            self.flush();
        }
        let more = self.drain_lanes();
        let came = self.came.replace(false);
        if came {
            self.spin.borrow_mut().renew();
        }
        // Whoever got something is to have it before anybody spins.
        let next = if more || came || self.station.home().has_notes() {
            Next::Drain
        } else if self.spin.borrow().goes_on() && self.intake.borrow().has_foreign() {
            Next::Spin
        } else if self.intake.borrow_mut().fall_asleep() {
            Next::Sleep
        } else {
            Next::Drain
        };
        // After it said that it sleeps: who puts something from now on rings.
        self.spooled.borrow_mut().retain(|queue| queue.upgrade().is_some_and(|queue| self.look_at(&queue)));
        next
    }

    /// Looks what there is in a queue's spools; false if it has none any more.
    fn look_at(&self, queue: &Queue) -> bool {
        for (spool, damage) in queue.damaged.take() {
            reach!("attach.spool_damaged");
            loss!("fabric.spool", "a spool was damaged and set aside");
            event!("fabric.spool_damaged", to = &*queue.entry.owner, why = &damage.to_string());
            let (me, path, lane) = (self.me.clone(), spool.path.clone(), spool.lane);
            drop(spool);
            task::spawn(async move {
                if let Err(why) = synod_platform::queue::set_aside(&path).await {
                    event!("fabric.spool_not_set_aside", why = &why.to_string());
                }
                // Its sender makes another with its next lane.
                if let (Some(inner), Some(lane)) = (me.upgrade(), lane) {
                    inner.cut(&mut inner.intake.borrow_mut(), lane, &damage.into());
                }
            })
            .detach();
        }
        queue.look_at_spools()
    }

    /// Looks after the spools of a queue, if it has some, from now on.
    pub fn tend(&self, queue: &Rc<Queue>) {
        let mut spooled = self.spooled.borrow_mut();
        if queue.spools.borrow().is_empty() {
            return;
        }
        if !spooled.iter().any(|known| known.as_ptr() == Rc::as_ptr(queue)) {
            spooled.push(Rc::downgrade(queue));
        }
        drop(spooled);
        self.station.home().doorbell.wake();
    }

    /// The sender at the other end of a lane has its end of a spool: has the other opened.
    fn take_spool(&self, lane: LaneNumber, index: u16, source: String, to: SubId) {
        let back = self.intake.borrow_mut().foreign(lane).map(|lane| lane.back.clone());
        let queue = self.queues.borrow().get(&to).cloned();
        // Whose end has come is told so.
        let (Some(back), Some(queue)) = (back, queue) else { return };
        let (me, shared) = (self.me.clone(), self.shared.clone());
        task::spawn(async move {
            let there = spool::welcome(&queue.spools, &source, &queue.entry, &shared, lane, &back).await;
            if let Some(inner) = me.upgrade() {
                inner.tend(&queue);
                let said = if there { Ask::Known { lane, index } } else { Ask::Barred { lane, index } };
                inner.say(said, Vec::new());
            }
        })
        .detach();
    }

    /// Sends on what was held back, and tells who waits for room that there is some.
    fn flush(&self) {
        let (mut room, mut unsettled) = (false, false);
        for lane in self.outgoing.borrow().values() {
            let mut lane = lane.borrow_mut();
            room |= lane.flush();
            unsettled |= !lane.is_settled();
        }
        self.unsettled.set(unsettled);
        if room {
            self.station.tell_room();
        }
    }

    /// Looks at the lanes for a moment, since a wake-up from another process takes longer; true if something came.
    fn watch(&self) -> bool {
        let mut intake = self.intake.borrow_mut();
        let came = (0..LOOKS).any(|_| {
            std::hint::spin_loop();
            intake.is_ready()
        });
        if !came {
            self.spin.borrow_mut().pause();
        }
        came
    }

    /// Takes in what is on the lanes now, without waiting for the drain task's turn.
    pub fn look(&self) {
        let slept = self.intake.borrow().is_asleep();
        if self.drain_lanes() || slept {
            // Awake now: the drain task goes on, or falls asleep anew.
            self.station.home().doorbell.0.wake();
        }
    }

    /// Whether all that was accepted here is on its lane.
    pub fn is_flushed(&self) -> bool {
        self.outgoing.borrow().values().all(|lane| lane.borrow().is_flushed())
    }

    /// Takes records off the lanes; true if there may be more.
    fn drain_lanes(&self) -> bool {
        let mut intake = self.intake.borrow_mut();
        let (more, broken) = intake.drain(&self.station, BUDGET, |from, record| self.accept(from, record));
        for (lane, why) in broken {
            self.cut(&mut intake, lane, &why);
        }
        more
    }

    /// A sender in another process broke a rule: its lane is no more, and the node is told.
    #[cold]
    fn cut(&self, intake: &mut Intake, lane: LaneNumber, why: &Violation) {
        let from = intake.foreign(lane).map_or_else(|| "?".into(), |lane| lane.from.name.clone());
        reach!("attach.violation");
        loss!("fabric.lane", "a process broke a rule and its lane was cut");
        event!("fabric.violation", from = &*from, to = &*self.station.name, why = &why.to_string());
        intake.cut_foreign(lane);
        self.say(Ask::Close { lane, broke: Some(why.to_string()) }, Vec::new());
    }

    fn say(&self, ask: Ask, handles: Vec<Handle>) {
        if let Some(uplink) = self.shared.uplink() {
            uplink.say(ask, handles);
        }
    }

    /// What the node says of lanes between processes.
    fn heed_lane(&self, note: LaneNote) {
        let outgoing = |number| {
            let lanes = self.outgoing.borrow();
            lanes.values().find(|lane| lane.borrow().number() == Some(number)).cloned()
        };
        match note {
            LaneNote::Offer { lane, from, shape, handles } => {
                let station = self.shared.registry().stations.get(&from).cloned();
                let Some(station) = station else { return };
                // One from before the node was lost has been closed there: what is on it comes first.
                while self.drain_lanes() {}
                self.intake.borrow_mut().cut_from(from);
                let accepted = self.intake.borrow_mut().accept(lane, shape, station, &self.station, handles);
                match accepted {
                    Ok(answer) => self.say(Ask::Ready { lane }, answer),
                    Err(why) => {
                        reach!("attach.declined");
                        event!("attach.declined", at = &*self.station.name, why = &why.to_string());
                        self.say(Ask::Decline { lane, why: why.to_string() }, Vec::new());
                    }
                }
            }
            LaneNote::Opened { lane, handles } => {
                if let Some(lane) = outgoing(lane) {
                    lane.borrow_mut().opened(handles);
                }
                self.station.tell_room();
            }
            LaneNote::Revoke { lane, index } => {
                if let Some(incoming) = self.intake.borrow_mut().foreign(lane) {
                    incoming.revoke(index);
                }
                self.say(Ask::Withheld { lane, index }, Vec::new());
            }
            LaneNote::Revoked { lane, index } => {
                if let Some(lane) = outgoing(lane) {
                    lane.borrow_mut().revoked(index);
                }
                // Routes that hold the index forget it.
                self.shared.look_anew();
                self.station.tell_room();
            }
            LaneNote::Granted { lane, index } => {
                if let Some(lane) = outgoing(lane) {
                    lane.borrow_mut().granted(index);
                }
                self.station.tell_room();
            }
            LaneNote::Grant { lane, index, means: Means::Keep { source, to } } => {
                self.take_spool(lane, index, source, to);
            }
            LaneNote::Grant { lane, index, means } => {
                let mut intake = self.intake.borrow_mut();
                let Some(incoming) = intake.foreign(lane) else { return };
                let entry = |sub| self.queues.borrow().get(&sub).map(|queue| queue.entry.clone());
                match incoming.learn(index, means, &self.shared, entry) {
                    Ok(()) => self.say(Ask::Known { lane, index }, Vec::new()),
                    Err(why) => self.cut(&mut intake, lane, &why),
                }
            }
            LaneNote::Region { lane, region, bytes, slot, handles } => {
                let mut intake = self.intake.borrow_mut();
                let Some(incoming) = intake.foreign(lane) else { return };
                match incoming.map(region, bytes, slot, handles) {
                    Ok(()) => self.say(Ask::Mapped { lane, region }, Vec::new()),
                    Err(why) => {
                        event!("attach.declined", at = &*self.station.name, why = &why.to_string());
                        intake.cut_foreign(lane);
                        self.say(Ask::Close { lane, broke: None }, Vec::new());
                    }
                }
            }
            LaneNote::Grow { lane, class, bytes, handles } => {
                let taken = self.intake.borrow_mut().grow(lane, class, bytes, handles);
                match taken {
                    Ok(true) => self.say(Ask::Grown { lane, class: place(class) as u8 }, Vec::new()),
                    Ok(false) => {}
                    // The sender goes on with the ring it has.
                    Err(why) => {
                        reach!("attach.not_grown");
                        event!("attach.not_grown", at = &*self.station.name, why = &why.to_string());
                    }
                }
            }
            LaneNote::Grown { lane, class } => {
                if let Some(lane) = outgoing(lane) {
                    lane.borrow_mut().grown(class);
                }
                self.station.tell_room();
            }
            LaneNote::Unmap { lane, region } => {
                if let Some(incoming) = self.intake.borrow_mut().foreign(lane) {
                    incoming.unmap(region);
                }
            }
            LaneNote::Mapped { lane, region } => {
                if let Some(lane) = outgoing(lane) {
                    lane.borrow_mut().mapped(region);
                }
                self.station.tell_room();
            }
            LaneNote::Closed { lane } => {
                if let Some(lane) = outgoing(lane) {
                    // The other context lives: who sends to it next looks anew, and asks for another lane.
                    reach!("attach.lane_closed");
                    let to = lane.borrow().to();
                    self.end_lane(to);
                    self.shared.look_anew();
                    self.station.tell_room();
                } else {
                    // What was said before it ended counts.
                    while self.drain_lanes() {}
                    self.intake.borrow_mut().cut_foreign(lane);
                }
            }
        }
    }

    fn heed(&self, note: Note) {
        match note {
            Note::Ended(context) => {
                // What it said before it ended counts.
                while self.drain_lanes() {}
                self.intake.borrow_mut().cut_from(context);
                self.part_from(context);
                self.forget_later(context);
            }
            Note::Lost(context) => {
                self.part_from(context);
                self.linger(context);
            }
            Note::Cancel { from, correlation } => self.cancelled(from, correlation),
            Note::Lane(note) => self.heed_lane(note),
            Note::Recall => {
                for queue in self.queues.borrow().values() {
                    let Some(pattern) = self.shared.pattern_of(queue.entry.id) else { continue };
                    let (me, shared, queue) = (self.me.clone(), self.shared.clone(), queue.clone());
                    task::spawn(async move {
                        spool::recall(&queue.spools, &queue.entry, &pattern, &shared).await;
                        if let Some(inner) = me.upgrade() {
                            inner.tend(&queue);
                        }
                    })
                    .detach();
                }
            }
            Note::Drain => {
                let queues: Vec<_> =
                    self.queues.borrow().values().filter(|queue| !queue.entry.is_link).cloned().collect();
                for queue in queues {
                    queue.closed.set(true);
                    queue.wake();
                }
            }
        }
    }

    /// Nothing more goes to a context, and nobody here waits for it.
    fn part_from(&self, context: ContextId) {
        self.end_lane(context);
        // Whoever waits for its room, or for a lane to it, waits in vain: let it see that.
        self.station.tell_room();
        let asked: Vec<u64> = self
            .pending
            .borrow()
            .iter()
            .filter(|(_, pending)| pending.station.id == context && pending.answer.is_none())
            .map(|(correlation, _)| *correlation)
            .collect();
        for correlation in asked {
            reach!("fabric.context_lost_request");
            self.complete(correlation, None, Answer::Lost);
        }
    }

    /// Lanes from a context that may live without its node end when it closes them: it hears of the node's end at a time of its own,
    /// and what it sent until then counts. If it has died, too, they are taken back after a while.
    fn linger(&self, context: ContextId) {
        let numbers = self.intake.borrow().foreign_from(context);
        if numbers.is_empty() || self.me.strong_count() == 0 {
            return;
        }
        let me = self.me.clone();
        task::spawn(async move {
            time::sleep(LINGER).await;
            if let Some(inner) = me.upgrade() {
                while inner.drain_lanes() {}
                let mut intake = inner.intake.borrow_mut();
                let left = numbers.into_iter().filter(|number| intake.cut_foreign(*number)).count();
                if left > 0 {
                    reach!("attach.lingered");
                    // Spools may be over with their lanes.
                    inner.station.home().doorbell.wake();
                }
            }
        })
        .detach();
    }

    /// A context has left the node, or was cut off. Its process may live and read what it holds of ours: it has a while to let go.
    fn forget_later(&self, context: ContextId) {
        if self.me.strong_count() == 0 || !self.store.borrow().is_held_by(context) {
            return;
        }
        let me = self.me.clone();
        task::spawn(async move {
            time::sleep(LINGER).await;
            if let Some(inner) = me.upgrade()
                && !inner.shared.registry().stations.contains_key(&context)
            {
                reach!("attach.forgotten");
                inner.store.borrow_mut().forget(context);
            }
        })
        .detach();
    }

    /// A record came over a lane.
    fn accept(&self, from: ContextId, record: crate::lane::Incoming) {
        self.came.set(true);
        if record.revoked {
            return self.withhold(from, &record);
        }
        match (&*record.grant, record.kind) {
            (Grant::Deliver(passages), Kind::Publish | Kind::Request) => {
                let correlation = if record.kind == Kind::Request { record.correlation } else { 0 };
                let (priority, deadline) = (record.priority, record.deadline);
                let Some((last, others)) = passages.split_last() else { return };
                for passage in others {
                    let (passage, payload) = (passage.clone(), record.payload.clone());
                    self.deliver(Envelope { passage, priority, deadline, correlation, payload });
                }
                let (passage, payload) = (last.clone(), record.payload);
                self.deliver(Envelope { passage, priority, deadline, correlation, payload });
            }
            (Grant::Answer { from: instance, source }, kind) => {
                let answer = match kind {
                    Kind::Reply => Answer::Reply {
                        source: source.clone(),
                        priority: record.priority,
                        payload: record.payload,
                    },
                    Kind::NoListener => Answer::NobodyListens,
                    _ => match Said::decode(&record.payload) {
                        Ok(said) => Answer::Refused { reason: said.reason, text: said.text.to_owned() },
                        Err(error) => Answer::Refused { reason: Reason::Protocol, text: error.to_string() },
                    },
                };
                self.complete(record.correlation, Some(*instance), answer);
            }
            (Grant::Deliver(_), kind) => {
                reach!("fabric.violation");
                loss!("fabric.lane", "a record's kind and grant do not go together");
                event!("fabric.misfit", from = from, kind = kind as u8);
            }
        }
    }

    /// A record came that its sender may no longer send: nobody gets it, and its places are free again.
    #[cold]
    fn withhold(&self, from: ContextId, record: &crate::lane::Incoming) {
        reach!("attach.withheld");
        event!("attach.withheld", from = from);
        if let Grant::Deliver(passages) = &*record.grant {
            loss!("fabric.lane", "the sender's leave was taken away", passages.len() as u64);
            for edge in passages.iter().filter_map(|passage| passage.edge.as_ref()) {
                edge.free(record.priority, Fate::Lost);
            }
        }
    }

    /// Puts a message into the queue it is for.
    #[inline]
    pub fn deliver(&self, envelope: Envelope) {
        let queues = self.queues.borrow();
        match queues.get(&envelope.edge().to.id) {
            Some(queue) => queue.put(envelope),
            None => {
                drop(queues);
                self.give_up(envelope, "the receiver had ended");
            }
        }
    }

    /// A message that was accepted will not be delivered: counts it, and tells a requester that nothing was done.
    pub fn give_up(&self, envelope: Envelope, why: &'static str) {
        reach!("fabric.given_up");
        loss!("fabric.mailbox", "the receiver had ended");
        event!(
            "fabric.lost",
            to = &*envelope.edge().to.owner,
            subject = envelope.passage.subject.as_str(),
            why = why
        );
        envelope.edge().free(envelope.priority, Fate::Lost);
        if envelope.correlation != 0 {
            self.answer(&envelope, Answer::Refused { reason: Reason::Draining, text: String::new() });
        }
    }

    /// Sends an answer back to the requester of `envelope`.
    pub fn answer(&self, envelope: &Envelope, answer: Answer) {
        let edge = envelope.edge();
        self.answer_to(&edge.from, &edge.to, envelope.correlation, envelope.priority, answer);
    }

    pub fn answer_to(
        &self,
        requester: &Arc<Station>,
        instance: &Arc<Entry>,
        correlation: u64,
        priority: Priority,
        answer: Answer,
    ) {
        self.in_hand.borrow_mut().remove(&(requester.id, correlation));
        if requester.id == self.id() {
            self.complete(correlation, Some(instance.id), answer);
            return;
        }
        let refused = |reason, text: &str| Payload::from(Said { reason, text }.encode());
        let (kind, payload) = match answer {
            Answer::Reply { payload, .. } => (Kind::Reply, payload),
            Answer::NobodyListens => (Kind::NoListener, Payload::copy_from(&[])),
            Answer::Refused { reason, text } => (Kind::Refused, refused(reason, &text)),
            Answer::Lost => (Kind::Refused, refused(Reason::Unreachable, "")),
        };
        // To one who has left there is a lane at most that was made before: another would stay, for nobody's end will be told.
        let leads_nowhere = requester.is_gone() && !self.outgoing.borrow().contains_key(&requester.id);
        let sent = !leads_nowhere && {
            let (lane, to) = (self.lane_to(requester), instance);
            lane.borrow_mut().answer(to.id, &to.owner, kind, priority, correlation, payload).is_ok()
        };
        if !sent {
            reach!("fabric.requester_ended");
            loss!("fabric.request", "the requester's context ended before its answer");
        }
    }

    /// An answer came for one of this context's requests.
    pub fn complete(&self, correlation: u64, from: Option<SubId>, answer: Answer) {
        let mut pending = self.pending.borrow_mut();
        let mut wanted = correlation;
        if plant!("fabric.late-reply-delivered")
            && !pending.contains_key(&correlation)
            && let Some((&other, _)) = pending.iter().find(|(_, pending)| pending.answer.is_none())
        {
            wanted = other;
        }
        let planted = wanted != correlation;
        let Some(waiting) = pending.get_mut(&wanted) else {
            reach!("fabric.late_reply");
            loss!("fabric.request", "the answer came too late");
            event!("fabric.late_reply", correlation = correlation);
            return;
        };
        if !planted && (from.is_some_and(|from| from != waiting.asked) || waiting.answer.is_some()) {
            reach!("fabric.violation");
            loss!("fabric.request", "an answer came from one who was not asked");
            return;
        }
        waiting.answer = Some(answer);
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
    }

    /// A message is handed to a handler: from now on the requester's cancellation is told to it.
    pub fn take_in_hand(&self, from: ContextId, correlation: u64) -> Rc<Cancel> {
        let cancel = Rc::new(Cancel::default());
        self.in_hand.borrow_mut().insert((from, correlation), Rc::downgrade(&cancel));
        cancel
    }

    /// This context gives up a request of its own: told to whoever has it.
    pub fn cancel(&self, station: &Arc<Station>, correlation: u64) {
        reach!("fabric.cancelled");
        event!("fabric.cancel", correlation = correlation);
        if station.id == self.id() {
            self.cancelled(self.id(), correlation);
        } else {
            station.tell(Note::Cancel { from: self.id(), correlation });
        }
    }

    /// A requester gave up: its request leaves its queue, or its handler is told.
    fn cancelled(&self, from: ContextId, correlation: u64) {
        if let Some(cancel) =
            self.in_hand.borrow_mut().remove(&(from, correlation)).and_then(|weak| weak.upgrade())
        {
            cancel.cancelled.set(true);
            if let Some(waker) = cancel.waker.take() {
                waker.wake();
            }
            return;
        }
        let queues: Vec<_> = self.queues.borrow().values().cloned().collect();
        for queue in queues {
            let dropped = queue
                .mailbox
                .borrow_mut()
                .extract(|envelope| envelope.correlation == correlation && envelope.edge().from.id == from);
            for envelope in dropped {
                reach!("fabric.cancelled_in_queue");
                loss!("fabric.mailbox", "the requester no longer waited");
                envelope.edge().free(envelope.priority, Fate::Cancelled);
            }
        }
    }

    /// A subscription ends: nothing new reaches it, and what waits in it is given up.
    pub fn close(&self, queue: &Queue) {
        let entry = &queue.entry;
        entry.gone.store(true, Release);
        queue.closed.set(true);
        self.shared.unlist(entry);
        self.queues.borrow_mut().remove(&entry.id);
        event!("fabric.unsubscribe", agent = &*entry.owner);
        loop {
            let envelope = queue.mailbox.borrow_mut().take(ALL);
            let Some(envelope) = envelope else { break };
            if queue.spools.borrow().iter().any(|spool| spool.has(&envelope)) {
                continue;
            }
            self.give_up(envelope, "its queue was dropped");
        }
        queue.spools.take().into_iter().for_each(SpoolIn::let_go);
        // Whoever waits for room here waits in vain: let it see that.
        let edges: Vec<_> = self.shared.registry().edges.iter().filter_map(|edge| edge.upgrade()).collect();
        for edge in edges.iter().filter(|edge| edge.to.id == entry.id) {
            edge.tell_sender();
        }
        let lanes: Vec<_> = self.outgoing.borrow().values().cloned().collect();
        for lane in lanes {
            lane.borrow_mut().forget_answers(entry.id);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        event!("fabric.leave", context = &*self.station.name);
        // What the lanes still hold is for subscriptions that have ended: requesters among the senders are told.
        for note in self.station.home().take_notes() {
            self.heed(note);
        }
        while self.drain_lanes() {}
        self.intake.borrow_mut().close(&self.station);
        self.shared.remove_station(self.station.id);
        self.station.home().doorbell.wake();
    }
}

/// Whether a refusal means that the receiver has ended.
pub(crate) fn gone(entry: &Entry) -> Refusal {
    if entry.is_link { Refusal::Unreachable } else { Refusal::Gone }
}

/// How long nothing must go over a lane to another process before it is taken back; at most twice that. Looking for it wakes the
/// process a few times, and idle ones are to sleep.
const IDLE: Duration = Duration::from_secs(60);

/// Takes idle lanes back as long as there are any.
async fn take_back(inner: Weak<Inner>) {
    loop {
        time::sleep(IDLE).await;
        let Some(inner) = inner.upgrade() else { return };
        if !inner.take_back_idle() {
            inner.tidying.set(false);
            return;
        }
    }
}

/// What the drain task does after it has drained.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// There may be more.
    Drain,
    /// Nothing is there, but something may come soon.
    Spin,
    /// It is woken when something comes.
    Sleep,
}

/// Drains a context's lanes; ends with the context. Between two turns everybody else of the context has theirs, the executor's root and the
/// kernel's news included: a task that only woke itself would keep those waiting for many turns.
async fn drain(inner: Weak<Inner>, station: Arc<Station>) {
    let turn = |cx: &mut Poller<'_>| {
        station.home().doorbell.0.register(cx.waker());
        let Some(inner) = inner.upgrade() else { return Poll::Ready(false) };
        match inner.turn() {
            Next::Sleep => Poll::Pending,
            Next::Drain | Next::Spin => Poll::Ready(true),
        }
    };
    while poll_fn(turn).await {
        task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::Inner;
    use crate::agent::{Agent, Subscription};
    use crate::registry::Takes;
    use crate::{Fabric, FabricConfig, Pattern, Priority};
    use synod_platform::{task, testing};

    /// One request, answered by an instance that ends after that.
    async fn ask_once(asker: &Agent, mut instance: Subscription) {
        let asking = asker.request("job", Priority::Normal, "x", Duration::from_secs(1));
        let answering = async move {
            let message = instance.recv().await.unwrap();
            message.reply("y").unwrap();
        };
        let answering = task::spawn(answering);
        asking.await.unwrap();
        answering.await.unwrap();
    }

    fn known(inner: &Inner) -> (usize, usize) {
        (inner.breakers.borrow().len(), inner.edges.borrow().len())
    }

    #[test]
    fn instances_and_links_that_ended_leave_neither_breakers_nor_edges_behind() {
        testing::run(1, || async {
            let fabric = Fabric::new(FabricConfig::named("n"));
            let (here, there) = (fabric.enter("here").unwrap(), fabric.enter("there").unwrap());
            let asker = here.agent("asker").unwrap();
            let server = there.agent("server").unwrap();
            for _ in 0..20 {
                ask_once(&asker, server.serve("job", 4).await.unwrap()).await;
                let link = Subscription::of_link(&there, "node:far".into(), 4).unwrap();
                let wants = BTreeMap::from([(
                    Pattern::new("job").unwrap(),
                    Takes { requests: true, ..Takes::default() },
                )]);
                fabric.shared().list(&link.queue().entry, wants);
                ask_once(&asker, link).await;
                assert_eq!(known(here.inner()), (1, 1), "what ended is forgotten with the next route");
            }
        });
    }
}
