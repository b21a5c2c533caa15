//! What comes to a context: one mailbox over the lanes from all others, and what the records of each lane mean.
//!
//! The mailbox tells which lanes have something, whose turn it is, and whether the context may sleep. Here their records get a
//! meaning, and a lane whose sender breaks a rule is cut and named.

use std::collections::BTreeMap;
use std::sync::Arc;

use synod_probe::{event, loss, reach};
use synod_ring::mailbox::control_len;
use synod_ring::{Delivery, Flow, Hardware, LaneId, Mailbox, Port, RegionError};

use crate::lane::{InLane, Incoming, Violation};
use crate::registry::{ContextId, Doorbell, Station};

/// Lanes of a class that end in one context: how many contexts a fabric has at most.
pub(crate) const LANES: usize = 256;

/// Urgent and bulk.
const CLASSES: usize = 2;

/// A context's mailbox, and the fabric's part of each lane in it.
pub(crate) struct Intake {
    mailbox: Mailbox,
    lanes: BTreeMap<LaneId, InLane>,
}

impl Intake {
    /// One without lanes; `bell` wakes who drains it.
    pub fn new(bell: Arc<Doorbell>) -> Result<Self, RegionError> {
        let control = Hardware::heap(control_len(CLASSES, LANES))?;
        let mailbox =
            Mailbox::new(control, CLASSES, LANES, bell).expect("the control memory is as long as asked for");
        Ok(Self { mailbox, lanes: BTreeMap::new() })
    }

    /// The door through which other contexts make lanes to this one.
    pub fn port(&self) -> Port {
        self.mailbox.port()
    }

    /// Hands up to `budget` records of `station`'s lanes to `accept`; true if there may be more.
    pub fn drain(
        &mut self,
        station: &Station,
        budget: usize,
        mut accept: impl FnMut(ContextId, Incoming),
    ) -> bool {
        let Self { mailbox, lanes } = self;
        let mut broken = Vec::new();
        let drained = mailbox.drain(budget, |id, delivery| {
            if !lanes.contains_key(&id) {
                lanes.extend(station.take_lanes());
            }
            match delivery {
                Delivery::Record(record) => {
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
                Delivery::Foreign(_) => {
                    broken.push((id, Violation::Foreign));
                    Flow::Pause
                }
                Delivery::Closed(violation) => {
                    if let (Some(lane), Some(violation)) = (lanes.remove(&id), violation) {
                        tell_cut(&lane, station, &violation.into());
                    }
                    Flow::Next
                }
            }
        });
        for (id, violation) in broken {
            mailbox.cut(id);
            if let Some(lane) = lanes.remove(&id) {
                tell_cut(&lane, station, &violation);
            }
        }
        drained.more
    }

    /// Says that the context is about to sleep; false if there is something after all.
    pub fn fall_asleep(&mut self) -> bool {
        self.mailbox.fall_asleep()
    }

    /// Cuts every lane: the context ends, and senders are to see it.
    pub fn close(&mut self, station: &Station) {
        self.lanes.extend(station.take_lanes());
        for id in std::mem::take(&mut self.lanes).into_keys() {
            self.mailbox.cut(id);
        }
    }
}

/// A sender broke a rule, and its lane is no more.
#[cold]
fn tell_cut(lane: &InLane, station: &Station, why: &Violation) {
    reach!("fabric.violation");
    loss!("fabric.lane", "the sender broke a rule and its lane was cut");
    event!("fabric.violation", from = &*lane.from.name, to = &*station.name, why = &why.to_string());
}
