//! Who keeps house: has empty segments ready before they are needed, and copies forward what is still needed of segments that are
//! mostly not, so that an idle log pins nothing; removes the files that this leaves over. Scrubs when it is asked to (`scrub`).
//!
//! Copies take their turn with everything else that is written. What goes wrong here is told by whoever needs what was not done: a write
//! that finds no segment, a read of a damaged record.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use synod_platform::disk::{Buffer, DiskError, Failure};
use synod_probe::{event, reach};

use crate::cipher::decrypted;
use crate::format::{BLOCK, RECORD_HEADER, Record};
use crate::segments::{RESERVE, Segment, Segments};
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
            // One to go on with, beside the reserve.
            if self.segments.provide(&self.shared, BLOCK, RESERVE + 1).await.is_err() {
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
            if self.segments.give_back(&self.shared).await.is_err() {
                reach!("store.not_given_back");
            }
            if !self.scrub_if_asked().await {
                self.shared.keep.notified().await;
            }
        }
        self.shared.scrubs().clear();
        self.segments.keeper_ended.set(true);
        self.shared.work.notify_one();
    }

    /// The segment with the smallest share of what is still needed, if that is small enough; where the disk is full also for the reserve.
    fn mostly_dead(&self, kept: &BTreeSet<u32>) -> Option<Rc<Segment>> {
        let most = self.most();
        let state = self.shared.state();
        let all = self.segments.all.borrow();
        let share = |segment: &Segment| {
            let live = state.live.get(&segment.id).copied().unwrap_or(0);
            live * 100 / segment.header.get().len
        };
        let candidates = all.values().filter(|segment| {
            state.live.get(&segment.id).is_some_and(|live| (1..=most).contains(live))
                && self.segments.active.get() != Some(segment.id)
                && !kept.contains(&segment.id)
                && share(segment) < u64::from(self.shared.options.live_share_min)
        });
        candidates.min_by_key(|segment| share(segment)).cloned()
    }

    /// The most that may be copied of a segment, bytes: where there is no more than the reserve a quarter of what is written to next, so that
    /// more fits in than one that fails.
    fn most(&self) -> u64 {
        if self.segments.count_free(&self.shared) > RESERVE {
            return u64::MAX;
        }
        let active = || self.segments.get(self.segments.active.get()?);
        let next = self.segments.free(&self.shared, BLOCK).or_else(active);
        next.map_or(0, |next| next.header.get().len / 4)
    }

    /// Copies what is needed of a segment, and reads nothing else of it; whether all of that could be read. Many small batches become
    /// few large ones, or a segment of small batches would be mostly padding again, and be copied for ever.
    pub(crate) async fn copy_forward(&self, segment: Rc<Segment>) -> Result<bool, DiskError> {
        reach!("store.copied_forward");
        let (seed, cipher) = (segment.header.get().seed(), segment.cipher.borrow().clone());
        let mut window = Window { segment: &segment, from: 0, bytes: Buffer::zeroed(0) };
        let (mut copied, mut last) = (0, None);
        // While writes fail nothing else waits, for what is refused has all that follows refused.
        let all = self.shared.options.waiting_max as u32;
        let _alone = match self.shared.is_degraded() {
            true => self.shared.room.acquire_many(all).await.ok(),
            false => None,
        };
        let places = self.shared.state().places_in(segment.id);
        for place in places {
            let bytes = window.get(place.offset, RECORD_HEADER + place.len as usize).await?;
            let Some(record) = Record::decode(seed, place.offset, bytes) else { return Ok(false) };
            let Ok(payload) = decrypted(cipher.as_deref(), &record, place.offset) else { return Ok(false) };
            let len = record.size();
            let record = Record { payload: &payload, ..record };
            if let Some(durable) = self.copy(&record, place) {
                copied += len;
                last = Some(durable);
            }
            if copied >= self.shared.options.batch_max {
                copied = 0;
                self.wait_for(last.take(), &segment).await?;
            }
        }
        self.wait_for(last, &segment).await?;
        Ok(self.shared.state().live.get(&segment.id).is_none_or(|live| *live == 0))
    }

    /// Has a record copied, if it is still needed.
    fn copy(&self, record: &Record<'_>, from: Place) -> Option<Durable> {
        let mut state = self.shared.state();
        (state.place_of(record) == Some(from)).then(|| {
            let (done, durable) = Durable::new();
            state.copy(record, from, done);
            durable
        })
    }

    /// Waits until copies are durable: what waits is written in order, so the last one speaks for all.
    async fn wait_for(&self, last: Option<Durable>, segment: &Segment) -> Result<(), DiskError> {
        let Some(last) = last else { return Ok(()) };
        self.shared.work.notify_one();
        last.await.map_err(|_| DiskError {
            operation: "copy forward from",
            path: segment.file.path().to_owned(),
            failure: Failure::Abandoned,
        })
    }
}

/// A part of a segment, read ahead.
struct Window<'a> {
    segment: &'a Segment,
    from: u32,
    bytes: Buffer,
}

/// How far ahead is read, bytes.
const AHEAD: usize = 256 << 10;

impl Window<'_> {
    async fn get(&mut self, at: u32, len: usize) -> Result<&[u8], DiskError> {
        let held = self.from as usize..self.from as usize + self.bytes.len();
        if !held.contains(&(at as usize)) || at as usize + len > held.end {
            let left = self.segment.header.get().len as usize - at as usize;
            if len > left {
                let path = self.segment.file.path().to_owned();
                return Err(DiskError { operation: "copy forward from", path, failure: Failure::EndOfFile });
            }
            let bytes = Buffer::zeroed(left.min(len.max(AHEAD)));
            let (read, bytes) = self.segment.file.read_exact_at(at.into(), bytes).await;
            read?;
            (self.from, self.bytes) = (at, bytes);
        }
        let start = (at - self.from) as usize;
        Ok(&self.bytes[start..start + len])
    }
}
