//! The simulated network: every link, connection, listener and datagram socket of one run, behind one lock.
//!
//! What a link does to a piece is the pure model's word (`synod_sim_model::link`); this file keeps the queues. A stream is cut
//! into pieces of up to 64 KiB; a piece waits at its sender while the link is cut, then arrives at the time the model drew. Like a real
//! kernel it takes up to 1 MiB from a sender whose peer does not read, answers for processes that crashed, and acknowledges
//! only when the way back is open. Not modelled: congestion, addresses that change, a machine that vanishes with its kernel.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use madsim::rand::RngCore;
use synod_probe::{event, loss, reach};
use synod_sim_model::Delay;
use synod_sim_model::link::{Flow, FrameFate, Link, LinkFaults};

use super::NetError;
use super::frame::Encoder;
use crate::simulation::{Incarnation, NodeId};

/// What a sender may have under way that the peer has not read, in bytes.
const WINDOW: usize = 1 << 20;
const PIECE_MAX: usize = 64 << 10;
/// What one read takes at most, in bytes.
const READ_MAX: usize = 256 << 10;
/// How long a sender whose window is full waits before it looks again, ns.
const PROBE_NS: u64 = 50_000_000;
/// Connections that a listener has not taken yet; a further one is not answered, and tries again.
pub(super) const BACKLOG: usize = 128;
const INBOX_MAX: usize = 4096;
const FIRST_FREE_PORT: u16 = 49_152;

pub(super) type Shared = Arc<Mutex<Network>>;

/// The run's network.
pub(super) fn network() -> Shared {
    let kept = crate::simulation::state::<Kept>();
    let mut hooked = kept.hooked.borrow_mut();
    if !*hooked {
        *hooked = true;
        let network = kept.network.clone();
        crate::simulation::on_crash(move |life| lock(&network).crash(life, now_ns()));
    }
    kept.network.clone()
}

#[derive(Default)]
struct Kept {
    network: Shared,
    hooked: std::cell::RefCell<bool>,
}

/// A panic while the lock was held is a broken invariant of this file, told where it happened; others go on.
pub(super) fn lock(network: &Shared) -> MutexGuard<'_, Network> {
    network.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The simulator's own clock, ns; no node's skew is in it.
pub(super) fn now_ns() -> u64 {
    u64::try_from(madsim::time::TimeHandle::current().elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn draw() -> u64 {
    madsim::rand::thread_rng().next_u64()
}

/// A door of a node: where a listener or a datagram socket can be bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spot {
    /// A port of the node's own address.
    Outer(u16),
    /// A port of loopback.
    Loop(u16),
    /// A port of both.
    Any(u16),
    /// A Unix socket's path.
    Path(PathBuf),
}

impl Spot {
    fn with_port(&self, port: u16) -> Self {
        match self {
            Spot::Outer(_) => Spot::Outer(port),
            Spot::Loop(_) => Spot::Loop(port),
            Spot::Any(_) => Spot::Any(port),
            Spot::Path(path) => Spot::Path(path.clone()),
        }
    }

    fn port(&self) -> Option<u16> {
        match self {
            Spot::Outer(port) | Spot::Loop(port) | Spot::Any(port) => Some(*port),
            Spot::Path(_) => None,
        }
    }

    /// Whether two sockets cannot be bound to both.
    fn clashes(&self, other: &Self) -> bool {
        self == other
            || (self.port().is_some()
                && self.port() == other.port()
                && (matches!(self, Spot::Any(_)) || matches!(other, Spot::Any(_))))
    }
}

/// What waits at the end of a step.
pub(super) enum Step<T> {
    /// It is done.
    Done(T),
    /// The waker will be called; or look again at this time, ns.
    Wait(Option<u64>),
}

/// What the network has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were made.
    pub connections: u64,
    /// Connections that were reset, by a fault or a crash.
    pub resets: u64,
    /// Bytes handed to streams.
    pub bytes: u64,
    /// Datagrams handed to the network.
    pub datagrams: u64,
    /// Datagrams that never arrived.
    pub datagrams_lost: u64,
}

/// Everything of one run.
#[derive(Default)]
pub(super) struct Network {
    default: LinkFaults,
    own: BTreeMap<(NodeId, NodeId), LinkFaults>,
    cut: BTreeSet<(NodeId, NodeId)>,
    links: BTreeMap<(NodeId, NodeId), Link>,
    wires: BTreeMap<u64, Wire>,
    last_wire: u64,
    doors: BTreeMap<(NodeId, Spot), Door>,
    inboxes: BTreeMap<(NodeId, Spot), Inbox>,
    last_datagram: u64,
    pub counts: Counts,
}

struct Door {
    life: Incarnation,
    waiting: VecDeque<u64>,
    listener: Option<Waker>,
}

struct Inbox {
    life: Incarnation,
    arriving: BTreeMap<(u64, u64), (Bytes, SocketAddr)>,
    reader: Option<Waker>,
}

/// One connection. Lane 0 leads from the side that connected to the side that accepted.
struct Wire {
    lives: [Incarnation; 2],
    lanes: [Lane; 2],
    /// A side whose process crashed: what its futures still do counts for nothing.
    dead: [bool; 2],
    /// How many of a side's two halves were dropped.
    dropped: [u8; 2],
    reset: bool,
}

#[derive(Default)]
struct Lane {
    flow: Flow,
    held: VecDeque<(u64, Piece)>,
    arriving: VecDeque<(u64, Piece)>,
    /// Bytes taken from the sender and not yet acknowledged.
    outstanding: usize,
    /// Of those, bytes that the reader has taken.
    taken: usize,
    retry_at: Option<u64>,
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

enum Piece {
    Bytes(Bytes),
    End,
    Reset,
}

impl Piece {
    fn wire_bytes(&self) -> u64 {
        const HEADERS: u64 = 40;
        match self {
            Piece::Bytes(bytes) => HEADERS + bytes.len() as u64,
            Piece::End | Piece::Reset => HEADERS,
        }
    }
}

impl Network {
    // Links.

    /// The faults in force from one node to another.
    pub fn faults(&self, from: NodeId, to: NodeId) -> LinkFaults {
        if from == to {
            // Inside one machine: fast, and never at fault.
            return LinkFaults { latency: Delay::between(5_000, 30_000), ..LinkFaults::default() };
        }
        let pair = (from, to);
        let mut faults = *self.own.get(&pair).unwrap_or(&self.default);
        faults.cut |= self.cut.contains(&pair);
        faults
    }

    fn link(&mut self, from: NodeId, to: NodeId) -> &mut Link {
        let faults = self.faults(from, to);
        self.links.entry((from, to)).or_insert_with(|| Link::new(faults))
    }

    pub fn set_default(&mut self, faults: LinkFaults) {
        self.default = faults;
        self.refresh();
    }

    pub fn set_own(&mut self, from: NodeId, to: NodeId, faults: Option<LinkFaults>) {
        match faults {
            Some(faults) => self.own.insert((from, to), faults),
            None => self.own.remove(&(from, to)),
        };
        self.refresh();
    }

    pub fn set_cut(&mut self, from: NodeId, to: NodeId, cut: bool) {
        let changed = match cut {
            true => self.cut.insert((from, to)),
            false => self.cut.remove(&(from, to)),
        };
        if changed {
            let (from, to) = (u64::from(from.number()), u64::from(to.number()));
            event!("net.cut", from = from, to = to, cut = cut);
            self.refresh();
        }
    }

    pub fn heal_all(&mut self) {
        self.own.clear();
        self.default = LinkFaults::default();
        for (from, to) in std::mem::take(&mut self.cut) {
            event!("net.cut", from = u64::from(from.number()), to = u64::from(to.number()), cut = false);
        }
        self.refresh();
    }

    /// Applies changed faults to links that are in use, and lets go on what they no longer hold.
    fn refresh(&mut self) {
        let pairs: Vec<(NodeId, NodeId)> = self.links.keys().copied().collect();
        for (from, to) in pairs {
            let faults = self.faults(from, to);
            self.link(from, to).set_faults(faults);
        }
        let now = now_ns();
        let wires: Vec<u64> = self.wires.keys().copied().collect();
        for id in wires {
            for side in 0..2 {
                let Some(wire) = self.wires.get_mut(&id) else { break };
                for (queued, _) in &mut wire.lanes[side].held {
                    *queued = (*queued).max(now);
                }
                self.pump(id, side, now);
                self.acknowledge(id, side, now);
            }
        }
    }

    /// One small packet that opens a connection: when it arrives, or `None` when it is lost for now.
    pub fn knock(&mut self, from: NodeId, to: NodeId, now: u64) -> Result<Option<u64>, NetError> {
        match self.link(from, to).frame(&mut Flow::default(), now, 40, &mut draw) {
            FrameFate::Arrives(at) => Ok(Some(at)),
            FrameFate::Held(_) => Ok(None),
            FrameFate::Reset => Err(NetError::Reset),
        }
    }

    // Listeners.

    fn taken(bound: &BTreeMap<(NodeId, Spot), impl Sized>, node: NodeId, spot: &Spot) -> bool {
        bound.keys().any(|(owner, other)| *owner == node && other.clashes(spot))
    }

    /// The spot itself, or with a free port where it asks for one.
    fn choose(bound: &BTreeMap<(NodeId, Spot), impl Sized>, node: NodeId, spot: &Spot) -> Option<Spot> {
        if spot.port() != Some(0) {
            return (!Self::taken(bound, node, spot)).then(|| spot.clone());
        }
        (FIRST_FREE_PORT..=u16::MAX)
            .map(|port| spot.with_port(port))
            .find(|spot| !Self::taken(bound, node, spot))
    }

    fn find(bound: &BTreeMap<(NodeId, Spot), impl Sized>, node: NodeId, spot: &Spot) -> Option<Spot> {
        if bound.contains_key(&(node, spot.clone())) {
            return Some(spot.clone());
        }
        let any = Spot::Any(spot.port()?);
        bound.contains_key(&(node, any.clone())).then_some(any)
    }

    /// Opens a door; `None` when it is taken.
    pub fn open(&mut self, life: Incarnation, spot: &Spot) -> Option<Spot> {
        let spot = Self::choose(&self.doors, life.node, spot)?;
        let door = Door { life, waiting: VecDeque::new(), listener: None };
        self.doors.insert((life.node, spot.clone()), door);
        Some(spot)
    }

    pub fn shut(&mut self, life: Incarnation, spot: &Spot) {
        let place = (life.node, spot.clone());
        if self.doors.get(&place).is_none_or(|door| door.life != life) {
            return;
        }
        let door = self.doors.remove(&place);
        for id in door.into_iter().flat_map(|door| door.waiting) {
            self.half_dropped(id, 1, true);
            self.half_dropped(id, 1, false);
        }
    }

    /// A connection that somebody made to this door.
    pub fn take(&mut self, life: Incarnation, spot: &Spot, waker: &Waker) -> Option<(u64, NodeId)> {
        let door = self.doors.get_mut(&(life.node, spot.clone())).filter(|door| door.life == life)?;
        match door.waiting.pop_front() {
            Some(id) => Some((id, self.wires[&id].lives[0].node)),
            None => {
                door.listener = Some(waker.clone());
                None
            }
        }
    }

    /// Makes a connection to whoever listens there: `None` when nobody does, `Some(None)` when its backlog is full.
    pub fn make_wire(&mut self, from: Incarnation, to: NodeId, spot: &Spot) -> Option<Option<u64>> {
        let spot = Self::find(&self.doors, to, spot)?;
        let door = self.doors.get_mut(&(to, spot))?;
        if door.waiting.len() >= BACKLOG {
            reach!("net.backlog_full");
            return Some(None);
        }
        self.last_wire += 1;
        let id = self.last_wire;
        door.waiting.push_back(id);
        let waker = door.listener.take();
        let wire = Wire {
            lives: [from, door.life],
            lanes: Default::default(),
            dead: [false; 2],
            dropped: [0; 2],
            reset: false,
        };
        self.wires.insert(id, wire);
        self.counts.connections += 1;
        waker.into_iter().for_each(Waker::wake);
        Some(Some(id))
    }

    // Streams.

    /// Hands to the link what waits at the sender of this lane, as far as the link lets it pass.
    fn pump(&mut self, id: u64, side: usize, now: u64) {
        loop {
            let Some(wire) = self.wires.get_mut(&id) else { return };
            let [from, to] = [wire.lives[side].node, wire.lives[1 - side].node];
            let lane = &mut wire.lanes[side];
            let Some((queued, piece)) = lane.held.front() else { return };
            let (queued, bytes) = (*queued, piece.wire_bytes());
            let mut flow = lane.flow;
            let fate = self.link(from, to).frame(&mut flow, queued, bytes, &mut draw);
            let Some(wire) = self.wires.get_mut(&id) else { return };
            let lane = &mut wire.lanes[side];
            lane.retry_at = None;
            match fate {
                FrameFate::Arrives(at) => {
                    lane.flow = flow;
                    let piece = lane.held.pop_front().map(|(_, piece)| piece);
                    lane.arriving.extend(piece.map(|piece| (at, piece)));
                    lane.reader.take().into_iter().for_each(Waker::wake);
                }
                FrameFate::Held(Some(at)) if at <= now => {
                    if let Some((queued, _)) = lane.held.front_mut() {
                        *queued = at;
                    }
                }
                FrameFate::Held(at) => {
                    reach!("net.stream_held");
                    lane.retry_at = at;
                    // A waiting reader must set its alarm for when the link comes back by itself.
                    lane.reader.take().into_iter().for_each(Waker::wake);
                    return;
                }
                FrameFate::Reset => {
                    self.break_wire(id);
                    return;
                }
            }
        }
    }

    /// Gives the lane's sender back the room of what was read, if the way back is open.
    fn acknowledge(&mut self, id: u64, side: usize, now: u64) {
        let Some(wire) = self.wires.get(&id) else { return };
        let [from, to] = [wire.lives[side].node, wire.lives[1 - side].node];
        if self.link(to, from).is_cut(now) {
            return;
        }
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let lane = &mut wire.lanes[side];
        let taken = std::mem::take(&mut lane.taken);
        lane.outstanding -= taken;
        if taken > 0 {
            lane.writer.take().into_iter().for_each(Waker::wake);
        }
    }

    fn push(&mut self, id: u64, side: usize, piece: Piece, now: u64) {
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.lanes[side].held.push_back((now, piece));
            self.pump(id, side, now);
        }
    }

    /// Both ends see a reset at once; what was under way is lost.
    fn break_wire(&mut self, id: u64) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        if std::mem::replace(&mut wire.reset, true) {
            return;
        }
        self.counts.resets += 1;
        reach!("net.connection_reset");
        event!("net.reset", wire = id);
        for lane in &mut wire.lanes {
            lane.held.clear();
            lane.arriving.clear();
            lane.reader.take().into_iter().for_each(Waker::wake);
            lane.writer.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Resets every connection between the two nodes; answers how many.
    pub fn reset_between(&mut self, a: NodeId, b: NodeId) -> usize {
        let between = |wire: &Wire| {
            let [first, second] = [wire.lives[0].node, wire.lives[1].node];
            !wire.reset && ((first, second) == (a, b) || (first, second) == (b, a))
        };
        let found: Vec<u64> =
            self.wires.iter().filter(|(_, wire)| between(wire)).map(|(id, _)| *id).collect();
        for id in &found {
            self.break_wire(*id);
        }
        found.len()
    }

    /// The peer's reset has come in to this side.
    fn reset_arrived(wire: &Wire, side: usize, now: u64) -> bool {
        let incoming = &wire.lanes[1 - side].arriving;
        wire.reset || matches!(incoming.back(), Some((at, Piece::Reset)) if *at <= now)
    }

    pub fn write(
        &mut self,
        id: u64,
        side: usize,
        now: u64,
        frames: &mut Encoder,
        waker: &Waker,
    ) -> Step<Result<(), NetError>> {
        loop {
            self.acknowledge(id, side, now);
            let Some(wire) = self.wires.get_mut(&id) else { return Step::Done(Err(NetError::Reset)) };
            if wire.dead[side] {
                return Step::Wait(None);
            }
            if Self::reset_arrived(wire, side, now) {
                return Step::Done(Err(NetError::Reset));
            }
            let chunk = frames.chunk();
            if chunk.is_empty() {
                return Step::Done(Ok(()));
            }
            let lane = &mut wire.lanes[side];
            let room = WINDOW - lane.outstanding;
            if room == 0 {
                reach!("net.window_full");
                lane.writer = Some(waker.clone());
                return Step::Wait(Some(now + PROBE_NS));
            }
            let n = chunk.len().min(room).min(PIECE_MAX);
            lane.outstanding += n;
            let peer_gone = wire.dropped[1 - side] == 2;
            frames.advance(n);
            self.counts.bytes += n as u64;
            self.push(id, side, Piece::Bytes(chunk.slice(..n)), now);
            if peer_gone {
                // Nobody holds the other end any more: its kernel answers with a reset.
                self.push(id, 1 - side, Piece::Reset, now);
            }
        }
    }

    pub fn read(
        &mut self,
        id: u64,
        side: usize,
        now: u64,
        buffer: &mut BytesMut,
        waker: &Waker,
    ) -> Step<Result<usize, NetError>> {
        let incoming = 1 - side;
        // Who reads is awake: woken by its own look at a held lane it would look for ever.
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.lanes[incoming].reader = None;
        }
        self.pump(id, incoming, now);
        let Some(wire) = self.wires.get_mut(&id) else { return Step::Done(Err(NetError::Reset)) };
        if wire.dead[side] {
            return Step::Wait(None);
        }
        let reset = wire.reset;
        let lane = &mut wire.lanes[incoming];
        let mut got = 0;
        while let Some((at, piece)) = lane.arriving.front() {
            if *at > now || got >= READ_MAX {
                break;
            }
            match piece {
                Piece::Bytes(bytes) => {
                    got += bytes.len();
                    buffer.extend_from_slice(bytes);
                    lane.arriving.pop_front();
                }
                // Both stay where they are: every later read says the same.
                Piece::End if got == 0 => return Step::Done(Ok(0)),
                Piece::Reset if got == 0 => return Step::Done(Err(NetError::Reset)),
                Piece::End | Piece::Reset => break,
            }
        }
        if got > 0 {
            lane.taken += got;
            self.acknowledge(id, incoming, now);
            return Step::Done(Ok(got));
        }
        if reset {
            return Step::Done(Err(NetError::Reset));
        }
        lane.reader = Some(waker.clone());
        let next = lane.arriving.front().map(|(at, _)| *at);
        Step::Wait(next.into_iter().chain(lane.retry_at).min())
    }

    /// This side will send no more.
    pub fn end(&mut self, id: u64, side: usize, now: u64) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let lane = &mut wire.lanes[side];
        if !wire.dead[side] && !std::mem::replace(&mut lane.ended, true) {
            self.push(id, side, Piece::End, now);
        }
    }

    /// One of a side's halves was dropped, in this or any other life.
    pub fn half_dropped(&mut self, id: u64, side: usize, sending: bool) {
        if sending {
            self.end(id, side, now_ns());
        }
        let Some(wire) = self.wires.get_mut(&id) else { return };
        wire.dropped[side] += 1;
        if wire.dropped == [2, 2] {
            self.wires.remove(&id);
        }
    }

    // Datagrams.

    pub fn open_inbox(&mut self, life: Incarnation, spot: &Spot) -> Option<Spot> {
        let spot = Self::choose(&self.inboxes, life.node, spot)?;
        let inbox = Inbox { life, arriving: BTreeMap::new(), reader: None };
        self.inboxes.insert((life.node, spot.clone()), inbox);
        Some(spot)
    }

    pub fn shut_inbox(&mut self, life: Incarnation, spot: &Spot) {
        let place = (life.node, spot.clone());
        if self.inboxes.get(&place).is_some_and(|inbox| inbox.life == life) {
            self.inboxes.remove(&place);
        }
    }

    pub fn send_datagram(&mut self, from: (NodeId, SocketAddr), to: (NodeId, &Spot), payload: &[u8]) {
        const HEADERS: u64 = 28;
        let now = now_ns();
        self.counts.datagrams += 1;
        let arrivals = self.link(from.0, to.0).datagram(now, HEADERS + payload.len() as u64, &mut draw);
        if arrivals.count() == 0 {
            self.counts.datagrams_lost += 1;
        }
        for at in arrivals.iter() {
            let place = Self::find(&self.inboxes, to.0, to.1);
            let inbox = place.and_then(|spot| self.inboxes.get_mut(&(to.0, spot)));
            let Some(inbox) = inbox else {
                loss!("net.datagram", "nobody listens there");
                self.counts.datagrams_lost += 1;
                return;
            };
            if inbox.arriving.len() >= INBOX_MAX {
                loss!("net.datagram", "the receiver's buffer is full");
                self.counts.datagrams_lost += 1;
                return;
            }
            self.last_datagram += 1;
            let payload = Bytes::copy_from_slice(payload);
            inbox.arriving.insert((at, self.last_datagram), (payload, from.1));
            inbox.reader.take().into_iter().for_each(Waker::wake);
        }
    }

    pub fn read_datagram(
        &mut self,
        life: Incarnation,
        spot: &Spot,
        now: u64,
        waker: &Waker,
    ) -> Step<(Bytes, SocketAddr)> {
        let inbox = self.inboxes.get_mut(&(life.node, spot.clone())).filter(|inbox| inbox.life == life);
        let Some(inbox) = inbox else { return Step::Wait(None) };
        match inbox.arriving.first_entry() {
            Some(first) if first.key().0 <= now => Step::Done(first.remove()),
            first => {
                let next = first.map(|first| first.key().0);
                inbox.reader = Some(waker.clone());
                Step::Wait(next)
            }
        }
    }

    // Crashes.

    /// A process ended: its kernel closes its doors and resets its connections; its futures, still undropped, can do nothing more.
    fn crash(&mut self, life: Incarnation, now: u64) {
        self.doors.retain(|_, door| door.life != life);
        self.inboxes.retain(|_, inbox| inbox.life != life);
        let wires: Vec<u64> = self.wires.keys().copied().collect();
        for id in wires {
            for side in 0..2 {
                let Some(wire) = self.wires.get_mut(&id) else { break };
                if wire.lives[side] != life || wire.dead[side] {
                    continue;
                }
                wire.dead[side] = true;
                if !wire.reset && wire.dropped[side] < 2 {
                    self.counts.resets += 1;
                    reach!("net.reset_by_crash");
                    self.push(id, side, Piece::Reset, now);
                }
            }
        }
    }
}

/// How long until a moment of the simulator's clock.
pub(super) fn until(at: u64) -> Duration {
    Duration::from_nanos(at.saturating_sub(now_ns()))
}
