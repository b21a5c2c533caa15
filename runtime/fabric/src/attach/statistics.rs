//! What lanes between processes count, read by the node where the two sides write it: nobody is asked, and nobody is slowed.

use std::collections::BTreeMap;

use synod_platform::memory::{self, Handle, MemoryError};
use synod_ring::{Cells, Hardware};

use super::broker::Known;
use super::control::{Ask, LaneNumber};
use super::shape::Shape;
use crate::edge::{Counts, counted};

/// A lane between contexts of two processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneSnapshot {
    /// The sending context's name.
    pub from: String,
    /// The receiving context's.
    pub to: String,
    /// What was counted for each receiving agent.
    pub pairs: Vec<PairSnapshot>,
}

/// What a lane counted for one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairSnapshot {
    /// The receiving agent.
    pub to: String,
    /// What both sides counted: claims of theirs, made plausible.
    pub counts: Counts,
}

/// One lane's memory, mapped for reading.
struct Seen {
    shape: Shape,
    sender: Hardware,
    receiver: Option<Hardware>,
}

/// The memory of all lanes that were opened through the node.
#[derive(Default)]
pub(crate) struct Statistics(BTreeMap<LaneNumber, Seen>);

impl Statistics {
    /// Keeps sight of the memory that comes with a question about a lane; it was checked before.
    pub fn see(&mut self, ask: &Ask, handles: &[Handle]) -> Result<(), MemoryError> {
        let map = |len| handles.first().map(|handle| memory::open(handle.try_clone()?, len)).transpose();
        match ask {
            Ask::Open { lane, shape, .. } => {
                if let Some(sender) = map(shape.sender_len())? {
                    let (shape, sender) = (*shape, Hardware::new(sender));
                    self.0.entry(*lane).or_insert(Seen { shape, sender, receiver: None });
                }
            }
            Ask::Ready { lane } => {
                if let Some(seen) = self.0.get_mut(lane) {
                    seen.receiver = map(seen.shape.receiver_len())?.map(Hardware::new);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Forgets lanes that are no more.
    pub fn keep(&mut self, is_there: impl Fn(LaneNumber) -> bool) {
        self.0.retain(|lane, _| is_there(*lane));
    }

    /// What was counted on a lane so far.
    pub fn of(&self, lane: Known) -> Option<LaneSnapshot> {
        let seen = self.0.get(&lane.number)?;
        let receiver = seen.receiver.as_ref()?;
        let pair = |(place, to): (u16, String)| {
            let (at, words) = lane.shape.sender_edge(place);
            let sender = Cells::peer(seen.sender.clone(), at, words).ok()?;
            let (at, words) = lane.shape.receiver_edge(place);
            let receiver = Cells::peer(receiver.clone(), at, words).ok()?;
            Some(PairSnapshot { to, counts: counted(&sender, Some(&receiver), u64::MAX) })
        };
        let pairs = lane.places.into_iter().filter_map(pair).collect();
        Some(LaneSnapshot { from: lane.from, to: lane.to, pairs })
    }
}
