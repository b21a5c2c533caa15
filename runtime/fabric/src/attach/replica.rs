//! What the node tells a process is done here: contexts and subscriptions of other processes appear and go, lanes are told to their contexts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Release;

use synod_platform::memory::Handle;
use synod_probe::reach;
use synod_wire::Class;

use super::LaneNote;
use super::control::{Ask, Tell, Want};
use super::uplink::Uplink;
use crate::registry::{ContextId, Note, Shared};
use crate::subject::Pattern;

/// Does what was told. What concerns a context that has ended meanwhile is dropped: the node knows by now, or will.
pub(crate) fn apply(shared: &Arc<Shared>, uplink: &Arc<Uplink>, tell: Tell, handles: Vec<Handle>) {
    match tell {
        Tell::Context { id, name, spools } => shared.add_away(id, &name, uplink.clone(), spools),
        Tell::Withheld { change, source, subject } => {
            shared.withhold(source, subject);
            uplink.say(Ask::Applied { change }, Vec::new());
        }
        Tell::ContextGone { id } => {
            reach!("attach.context_gone");
            shared.remove_station(id);
        }
        Tell::Subscribed { change, sub } => {
            let station = shared.registry().stations.get(&sub.context).cloned();
            if let Some(station) = station {
                // One that changes what it wants keeps what was counted for it.
                let known = shared.registry().subscriptions.get(&sub.id).map(|listed| listed.entry.clone());
                let entry = known.unwrap_or_else(|| {
                    let (owner, capacity) = (sub.owner.as_str().into(), sub.capacity as usize);
                    Shared::away_entry(sub.id, station, owner, capacity, sub.link)
                });
                shared.list(&entry, wanted(&sub.wants));
            }
            uplink.say(Ask::Applied { change }, Vec::new());
        }
        Tell::Unsubscribed { change, sub } => {
            let entry = shared.registry().subscriptions.get(&sub).map(|listed| listed.entry.clone());
            if let Some(entry) = entry {
                entry.gone.store(true, Release);
                shared.unlist(&entry);
                // Whoever waits for room at it waits in vain: let it see that.
                shared.tell_room();
            }
            uplink.say(Ask::Applied { change }, Vec::new());
        }
        Tell::Done { ask } => uplink.complete(ask, Ok(())),
        Tell::Refused { ask, why } => uplink.complete(ask, Err(why)),
        Tell::Offer { lane, from, to, shape } => {
            note(shared, to, LaneNote::Offer { lane, from, shape, handles });
        }
        Tell::Opened { lane, from } => note(shared, from, LaneNote::Opened { lane, handles }),
        Tell::Declined { lane, from, .. } => note(shared, from, LaneNote::Closed { lane }),
        Tell::Closed { lane, at } => note(shared, at, LaneNote::Closed { lane }),
        Tell::Grant { lane, to, index, means } => note(shared, to, LaneNote::Grant { lane, index, means }),
        Tell::Revoke { lane, to, index } => note(shared, to, LaneNote::Revoke { lane, index }),
        Tell::Revoked { lane, from, index } => note(shared, from, LaneNote::Revoked { lane, index }),
        Tell::Granted { lane, from, index } => note(shared, from, LaneNote::Granted { lane, index }),
        Tell::Region { lane, to, region, bytes, slot } => {
            note(shared, to, LaneNote::Region { lane, region, bytes, slot, handles });
        }
        Tell::Mapped { lane, from, region } => note(shared, from, LaneNote::Mapped { lane, region }),
        Tell::Grow { lane, to, class, bytes } => {
            note(shared, to, LaneNote::Grow { lane, class: class_of(class), bytes, handles });
        }
        Tell::Grown { lane, from, class } => {
            note(shared, from, LaneNote::Grown { lane, class: class_of(class) });
        }
        Tell::Unmap { lane, to, region } => note(shared, to, LaneNote::Unmap { lane, region }),
        Tell::Cancel { from, to, correlation } => {
            let station = shared.registry().stations.get(&to).cloned();
            if let Some(here) = station.as_ref().and_then(|station| station.at_home()) {
                here.tell(Note::Cancel { from, correlation });
            }
        }
        // The greeting's, and the guest's to heed.
        Tell::Welcome { .. } | Tell::Again { .. } | Tell::Rejected { .. } | Tell::Settled | Tell::Drain => {}
    }
}

fn note(shared: &Shared, context: ContextId, note: LaneNote) {
    let station = shared.registry().stations.get(&context).cloned();
    if let Some(here) = station.as_ref().and_then(|station| station.at_home()) {
        here.tell(Note::Lane(note));
    }
}

/// The class of a ring as a frame names it.
fn class_of(class: u8) -> Class {
    if class == 0 { Class::Urgent } else { Class::Bulk }
}

fn wanted(wants: &[Want]) -> BTreeMap<Pattern, crate::registry::Takes> {
    wants.iter().filter_map(|want| Some((Pattern::new(&want.pattern).ok()?, want.takes))).collect()
}
