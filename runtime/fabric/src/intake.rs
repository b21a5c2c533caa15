//! What comes to a context: one mailbox over the lanes from all others, and what the records of each lane mean.
//!
//! The mailbox tells which lanes have something, whose turn it is, and whether the context may sleep. Here their records get a
//! meaning, and a lane whose sender breaks a rule is cut and named.

use std::collections::BTreeMap;
use std::sync::Arc;

use synod_platform::memory::{self, Handle};
use synod_probe::{event, loss, reach};
use synod_ring::mailbox::control_len;
use synod_ring::{Delivery, Flow, Hardware, LaneId, Mailbox, Port};
use synod_wire::Class;
use synod_wire::simd::copy::append_shared;

use crate::attach::control::LaneNumber;
use crate::attach::inbound::{Inbound, NotTaken};
use crate::attach::shape::Shape;
use crate::error::AttachError;
use crate::lane::{InLane, Incoming, Violation};
use crate::registry::{ContextId, Doorbell, Station};

/// Lanes of a class that end in one context: how many contexts a fabric has at most.
pub(crate) const LANES: usize = 256;

/// Urgent and bulk.
const CLASSES: usize = 2;

/// Bytes of a mailbox's control memory.
pub(crate) const CONTROL_LEN: usize = control_len(CLASSES, LANES);

/// A context's mailbox, and the fabric's part of each lane in it.
pub(crate) struct Intake {
    mailbox: Mailbox,
    lanes: BTreeMap<LaneId, InLane>,
    /// Lanes from other processes, and which of them each ring belongs to.
    foreign: BTreeMap<LaneNumber, Inbound>,
    rings: BTreeMap<LaneId, LaneNumber>,
    copy: Vec<u8>,
}

impl Intake {
    /// One without lanes, and its control page for other processes; `bell` wakes who drains it.
    pub fn new(bell: Arc<Doorbell>) -> Result<(Self, Handle), AttachError> {
        let memory = memory::shared(CONTROL_LEN)?;
        let page = memory.handle()?;
        let mailbox = Mailbox::new(Hardware::new(memory), CLASSES, LANES, bell)
            .expect("the control memory is as long as asked for");
        let (lanes, foreign, rings) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Ok((Self { mailbox, lanes, foreign, rings, copy: Vec::new() }, page))
    }

    /// Takes a lane in from a context of another process; returns what it is answered with.
    pub fn accept(
        &mut self,
        number: LaneNumber,
        shape: Shape,
        from: Arc<Station>,
        to: &Arc<Station>,
        handles: Vec<Handle>,
    ) -> Result<Vec<Handle>, NotTaken> {
        let (lane, answer) = Inbound::accept(number, shape, from, to, handles, &mut self.mailbox)?;
        for ring in &lane.rings {
            self.rings.insert(*ring, number);
        }
        self.foreign.insert(number, lane);
        Ok(answer)
    }

    /// A lane from another process, if it is still there.
    pub fn foreign(&mut self, number: LaneNumber) -> Option<&mut Inbound> {
        self.foreign.get_mut(&number)
    }

    /// Takes a larger ring of such a lane in; false if there is no such lane.
    pub fn grow(
        &mut self,
        number: LaneNumber,
        class: Class,
        bytes: u32,
        handles: Vec<Handle>,
    ) -> Result<bool, NotTaken> {
        let Some(lane) = self.foreign.get_mut(&number) else { return Ok(false) };
        let ring = lane.grow(class, bytes, handles, &mut self.mailbox)?;
        self.rings.insert(ring, number);
        Ok(true)
    }

    /// Whether other processes send here.
    pub fn has_foreign(&self) -> bool {
        !self.foreign.is_empty()
    }

    /// Ends a lane from another process; false if there is none.
    pub fn cut_foreign(&mut self, number: LaneNumber) -> bool {
        let Some(lane) = self.foreign.remove(&number) else { return false };
        for ring in &lane.rings {
            self.rings.remove(ring);
            self.mailbox.cut(*ring);
        }
        true
    }

    /// Ends all lanes from a context.
    pub fn cut_from(&mut self, context: ContextId) {
        for number in self.foreign_from(context) {
            self.cut_foreign(number);
        }
    }

    /// All lanes from a context of another process.
    pub fn foreign_from(&self, context: ContextId) -> Vec<LaneNumber> {
        self.foreign.values().filter(|lane| lane.from.id == context).map(|lane| lane.number).collect()
    }

    /// The door through which other contexts make lanes to this one.
    pub fn port(&self) -> Port {
        self.mailbox.port()
    }

    /// Hands up to `budget` records of `station`'s lanes to `accept`; true if there may be more.
    /// Rules that senders in other processes broke are returned, by lane.
    pub fn drain(
        &mut self,
        station: &Station,
        budget: usize,
        mut accept: impl FnMut(ContextId, Incoming),
    ) -> (bool, Vec<(LaneNumber, Violation)>) {
        let Self { mailbox, lanes, foreign, rings, copy } = self;
        let (mut broken, mut foreign_broken) = (Vec::new(), Vec::new());
        let drained = mailbox.drain(budget, |id, delivery| match delivery {
            Delivery::Foreign(record) => {
                let Some(lane) = rings.get(&id).and_then(|number| foreign.get(number)) else {
                    return Flow::Pause;
                };
                copy.clear();
                append_shared(record.shared(), copy);
                match lane.read(record.tag(), record.sequence(), copy) {
                    Ok(incoming) => {
                        accept(lane.from.id, incoming);
                        Flow::Next
                    }
                    Err(violation) => {
                        foreign_broken.push((lane.number, violation));
                        Flow::Pause
                    }
                }
            }
            Delivery::Record(record) => {
                if !lanes.contains_key(&id) {
                    lanes.extend(station.home().take_lanes());
                }
                let lane = lanes.get_mut(&id).expect("a lane is announced before its first record");
                match lane.read(record) {
                    Ok(incoming) => {
                        accept(lane.from.id, incoming);
                        Flow::Next
                    }
                    Err(violation) => {
                        broken.push((id, violation));
                        Flow::Pause
                    }
                }
            }
            Delivery::Closed(violation) => {
                if let Some(number) = rings.remove(&id) {
                    if let Some(violation) = violation {
                        foreign_broken.push((number, violation.into()));
                    } else if !rings.values().any(|other| *other == number) {
                        foreign.remove(&number);
                    }
                }
                if !lanes.contains_key(&id) {
                    lanes.extend(station.home().take_lanes());
                }
                if let (Some(lane), Some(violation)) = (lanes.remove(&id), violation) {
                    tell_cut(&lane, station, &violation.into());
                }
                Flow::Next
            }
        });
        for (id, violation) in broken {
            mailbox.cut(id);
            if let Some(lane) = lanes.remove(&id) {
                tell_cut(&lane, station, &violation);
            }
        }
        (drained.more, foreign_broken)
    }

    /// Whether something is there to be drained.
    pub fn is_ready(&mut self) -> bool {
        self.mailbox.is_ready()
    }

    /// Whether the context said that it sleeps, and nothing was drained since.
    pub fn is_asleep(&self) -> bool {
        self.mailbox.is_asleep()
    }

    /// Says that the context is about to sleep; false if there is something after all.
    pub fn fall_asleep(&mut self) -> bool {
        self.mailbox.fall_asleep()
    }

    /// Cuts every lane: the context ends, and senders are to see it.
    pub fn close(&mut self, station: &Station) {
        self.lanes.extend(station.home().take_lanes());
        for id in
            std::mem::take(&mut self.lanes).into_keys().chain(std::mem::take(&mut self.rings).into_keys())
        {
            self.mailbox.cut(id);
        }
        self.foreign.clear();
    }
}

/// A sender broke a rule, and its lane is no more.
#[cold]
fn tell_cut(lane: &InLane, station: &Station, why: &Violation) {
    reach!("fabric.violation");
    loss!("fabric.lane", "the sender broke a rule and its lane was cut");
    event!("fabric.violation", from = &*lane.from.name, to = &*station.name, why = &why.to_string());
}
