//! The simulated arm: queues in the world's memory, between any two nodes. A crash closes what the dead life had, in the order of creation.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::{Access, LocalError, PeerProcess};
use crate::memory::Handle;
use crate::simulation::steps::{self, Step};
use crate::simulation::{self, Incarnation};

/// Peers that have connected and were not taken yet; a further one waits.
const BACKLOG: usize = 128;
/// Bytes that a sender may have under way, and what a frame counts beside its own: as with a kernel's usual buffers.
const WINDOW: usize = 208 << 10;
const OVERHEAD: usize = 768;

type Frame = (Bytes, Vec<Handle>);

/// All processes of the machine are of one user, with a group of its own.
pub(super) fn user() -> u32 {
    1000
}

#[derive(Default)]
struct Machine {
    listeners: BTreeMap<PathBuf, Door>,
    links: BTreeMap<u64, [Side; 2]>,
    made: u64,
    /// Woken when nobody holds the machine any more.
    woken: Vec<Waker>,
}

struct Door {
    life: Incarnation,
    waiting: VecDeque<u64>,
    taker: Option<Waker>,
    knockers: Vec<Waker>,
}

struct Side {
    life: Incarnation,
    /// Halves that were not dropped; none is closed.
    halves: u8,
    inbox: VecDeque<Frame>,
    bytes: usize,
    /// Waits for the inbox.
    reader: Option<Waker>,
    /// Waits for room in the other's inbox.
    writer: Option<Waker>,
}

impl Side {
    fn new(life: Incarnation) -> Self {
        Self { life, halves: 2, inbox: VecDeque::new(), bytes: 0, reader: None, writer: None }
    }

    fn peer(&self) -> PeerProcess {
        PeerProcess { pid: self.life.node.number(), uid: user(), gid: user() }
    }
}

struct Kept(RefCell<Machine>);

impl Default for Kept {
    fn default() -> Self {
        simulation::on_crash(|life| with(|machine| machine.crash(life)));
        Self(RefCell::default())
    }
}

fn with<T>(body: impl FnOnce(&mut Machine) -> T) -> T {
    let kept = simulation::state::<Kept>();
    let (answer, woken) = {
        let mut machine = kept.0.borrow_mut();
        let answer = body(&mut machine);
        (answer, std::mem::take(&mut machine.woken))
    };
    for waker in woken {
        waker.wake();
    }
    answer
}

impl Machine {
    fn knock(
        &mut self,
        path: &Path,
        life: Incarnation,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Ends, LocalError>> {
        let Some(door) = self.listeners.get_mut(path) else {
            return Poll::Ready(Err(LocalError::NobodyListens { path: path.to_owned() }));
        };
        if door.waiting.len() >= BACKLOG {
            door.knockers.push(cx.waker().clone());
            return Poll::Pending;
        }
        let link = self.made;
        self.made += 1;
        door.waiting.push_back(link);
        self.woken.extend(door.taker.take());
        let sides = [Side::new(life), Side::new(door.life)];
        let ends = Half::both(link, 0, &sides);
        self.links.insert(link, sides);
        Poll::Ready(Ok(ends))
    }

    fn take(&mut self, path: &Path, life: Incarnation, cx: &mut Context<'_>) -> Poll<Ends> {
        let Some(door) = self.listeners.get_mut(path).filter(|door| door.life == life) else {
            return Poll::Pending;
        };
        self.woken.append(&mut door.knockers);
        while let Some(link) = door.waiting.pop_front() {
            if let Some(sides) = self.links.get(&link) {
                return Poll::Ready(Half::both(link, 1, sides));
            }
        }
        door.taker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Removes a listener; who waits before it finds its channel closed.
    fn shut(&mut self, path: &Path) {
        if let Some(door) = self.listeners.remove(path) {
            self.woken.extend(door.knockers);
            for link in door.waiting {
                self.close(link, 1);
            }
        }
    }

    fn close(&mut self, link: u64, side: usize) {
        let Some(sides) = self.links.get_mut(&link) else { return };
        sides[side].halves = 0;
        sides[side].inbox.clear();
        let other = &mut sides[1 - side];
        self.woken.extend(other.reader.take());
        self.woken.extend(other.writer.take());
        if other.halves == 0 {
            self.links.remove(&link);
        }
    }

    fn crash(&mut self, dead: Incarnation) {
        let doors = self.listeners.iter().filter(|(_, door)| door.life == dead);
        for path in doors.map(|(path, _)| path.clone()).collect::<Vec<_>>() {
            self.shut(&path);
        }
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            for side in 0..2 {
                if self.links.get(&link).is_some_and(|sides| sides[side].life == dead) {
                    self.close(link, side);
                }
            }
        }
    }
}

/// A name in the world at which a node listens.
pub(super) struct Listener {
    path: PathBuf,
    life: Incarnation,
}

impl Listener {
    #[expect(clippy::unused_async, reason = "the real arm's signature")]
    pub(super) async fn bind(path: &Path, _access: Access) -> Result<Self, LocalError> {
        let life = simulation::current();
        let path = path.to_owned();
        if !simulation::is_alive(life) {
            // What a dead process still asks for is nobody's.
            return Ok(Self { path, life });
        }
        with(|machine| {
            if machine.listeners.contains_key(&path) {
                return Err(LocalError::InUse { path });
            }
            let door = Door { life, waiting: VecDeque::new(), taker: None, knockers: Vec::new() };
            machine.listeners.insert(path.clone(), door);
            Ok(Self { path, life })
        })
    }

    pub(super) async fn accept(&mut self) -> Result<Ends, LocalError> {
        Ok(poll_fn(|cx| with(|machine| machine.take(&self.path, self.life, cx))).await)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // What a dead life had was taken at its crash, and its name may be another's by now.
        if simulation::in_run() && simulation::is_alive(self.life) {
            with(|machine| machine.shut(&self.path));
        }
    }
}

pub(super) async fn connect(path: &Path) -> Result<Ends, LocalError> {
    let life = simulation::current();
    let knock = |cx: &mut Context<'_>| match simulation::is_alive(life) {
        true => with(|machine| machine.knock(path, life, cx)),
        false => Poll::Pending,
    };
    poll_fn(knock).await
}

/// Both halves of one side, and who is at the other.
type Ends = (Sender, Receiver, PeerProcess);

/// One half of one side.
struct Half {
    link: u64,
    side: usize,
    life: Incarnation,
}

impl Half {
    fn both(link: u64, side: usize, sides: &[Side; 2]) -> Ends {
        let life = sides[side].life;
        (Sender(Self { link, side, life }), Receiver(Self { link, side, life }), sides[1 - side].peer())
    }

    /// What this side and the other have, while this one lives and the other may have something for it.
    fn with<T>(&self, body: impl FnOnce(&mut Side, &mut Side, &mut Vec<Waker>) -> T) -> Option<T> {
        with(|machine| {
            let [first, second] = machine.links.get_mut(&self.link)?;
            let (own, other) = if self.side == 0 { (first, second) } else { (second, first) };
            (own.halves > 0).then(|| body(own, other, &mut machine.woken))
        })
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        if simulation::in_run() && simulation::is_alive(self.life) {
            let last = self.with(|own, _, _| {
                own.halves -= 1;
                own.halves == 0
            });
            if last == Some(true) {
                with(|machine| machine.close(self.link, self.side));
            }
        }
    }
}

/// The sending end.
pub(super) struct Sender(Half);

impl Sender {
    pub(super) async fn send(&mut self, frame: &[u8], handles: Vec<Handle>) -> Result<(), LocalError> {
        steps::take(Step::Frame);
        let weight = frame.len() + OVERHEAD;
        let mut packet = Some((Bytes::copy_from_slice(frame), handles));
        let sent = poll_fn(|cx| {
            let step = self.0.with(|own, other, woken| {
                if other.halves == 0 {
                    return Poll::Ready(Err(LocalError::Closed));
                }
                if !other.inbox.is_empty() && other.bytes + weight > WINDOW {
                    own.writer = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                other.bytes += weight;
                other.inbox.extend(packet.take());
                woken.extend(other.reader.take());
                Poll::Ready(Ok(()))
            });
            step.unwrap_or(Poll::Ready(Err(LocalError::Closed)))
        });
        sent.await
    }
}

/// The receiving end.
pub(super) struct Receiver(Half);

impl Receiver {
    pub(super) async fn recv(&mut self) -> Result<Option<Frame>, LocalError> {
        let received = poll_fn(|cx| {
            let step = self.0.with(|own, other, woken| match own.inbox.pop_front() {
                Some(packet) => {
                    own.bytes -= packet.0.len() + OVERHEAD;
                    woken.extend(other.writer.take());
                    Poll::Ready(Some(packet))
                }
                None if other.halves == 0 => Poll::Ready(None),
                None => {
                    own.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            });
            step.unwrap_or(Poll::Ready(None))
        });
        Ok(received.await)
    }
}
