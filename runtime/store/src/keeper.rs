//! Who keeps house: has an empty segment ready before it is needed, and copies forward what is still needed of segments that are
//! mostly not, so that an idle log pins nothing.
//!
//! Copies take their turn with everything else that is written. What goes wrong here is told by whoever needs what was not done: a write
//! that finds no segment, a read of a damaged record.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use synod_platform::disk::{Buffer, DiskError, Failure};
use synod_probe::{event, reach};

use crate::format::{BATCH_HEADER, BLOCK, Batch, Record, aligned};
use crate::segments::{Segment, Segments};
use crate::state::Place;
use crate::store::{Durable, Shared};

/// Keeps a store's house.
pub(crate) struct Keeper {
    pub(crate) shared: Arc<Shared>,
    pub(crate) segments: Rc<Segments>,
}

impl Keeper {
    /// Looks around whenever it is told to, until the store is closed.
    pub(crate) async fn run(self) {
        // Segments that could not be copied whole: they stay, for whoever repairs them.
        let mut kept = BTreeSet::new();
        while !self.shared.is_closed() {
            if self.segments.free(&self.shared, BLOCK).is_none()
                && self.segments.create(&self.shared, BLOCK).await.is_err()
            {
                reach!("store.no_spare");
            }
            while !self.shared.is_closed()
                && let Some(segment) = self.mostly_dead(&kept)
            {
                let id = segment.id;
                match self.copy_forward(segment).await {
                    Ok(true) => event!("store.copied_forward", segment = id),
                    Ok(false) => drop(kept.insert(id)),
                    Err(_) => break,
                }
            }
            self.shared.keep.notified().await;
        }
        self.segments.keeper_ended.set(true);
        self.shared.work.notify_one();
    }

    /// The segment with the smallest share of what is still needed, if that is small enough.
    fn mostly_dead(&self, kept: &BTreeSet<u32>) -> Option<Rc<Segment>> {
        let state = self.shared.state();
        let all = self.segments.all.borrow();
        let share = |segment: &Segment| {
            let live = state.live.get(&segment.id).copied().unwrap_or(0);
            live * 100 / segment.header.get().len
        };
        let candidates = all.values().filter(|segment| {
            state.live.get(&segment.id).is_some_and(|live| *live > 0)
                && self.segments.active.get() != Some(segment.id)
                && !kept.contains(&segment.id)
                && share(segment) < u64::from(self.shared.options.live_share_min)
        });
        candidates.min_by_key(|segment| share(segment)).cloned()
    }

    /// Copies what is needed of a segment; whether all of it could be read.
    async fn copy_forward(&self, segment: Rc<Segment>) -> Result<bool, DiskError> {
        reach!("store.copied_forward");
        let header = segment.header.get();
        let seed = header.seed();
        let mut at = BLOCK as u32;
        while u64::from(at) + BLOCK as u64 <= header.len {
            let bytes = read(&segment, at, BLOCK).await?;
            let Some(batch) = Batch::decode(seed, at, &bytes).filter(|batch| !batch.is_seal()) else { break };
            let bytes = read(&segment, at, batch.len as usize).await?;
            let mut offset = BATCH_HEADER;
            let mut copied = None;
            for _ in 0..batch.records {
                let Some(record) = Record::decode(seed, at + offset as u32, &bytes[offset..]) else {
                    return Ok(false);
                };
                let place = Place {
                    segment: segment.id,
                    offset: at + offset as u32,
                    len: record.payload.len() as u32,
                };
                let mut state = self.shared.state();
                if state.place_of(&record) == Some(place) {
                    let (done, durable) = Durable::new();
                    state.copy(&record, place, done);
                    copied = Some(durable);
                }
                offset += record.size();
            }
            if let Some(durable) = copied {
                self.shared.work.notify_one();
                if durable.await.is_err() {
                    return Err(DiskError {
                        operation: "copy forward from",
                        path: segment.file.path().to_owned(),
                        failure: Failure::Abandoned,
                    });
                }
            }
            at += aligned(batch.len as usize) as u32;
        }
        Ok(self.shared.state().live.get(&segment.id).is_none_or(|live| *live == 0))
    }
}

async fn read(segment: &Segment, at: u32, len: usize) -> Result<Buffer, DiskError> {
    let (read, buffer) = segment.file.read_exact_at(at.into(), Buffer::zeroed(len)).await;
    read.map(|()| buffer)
}
