//! Deletion that is real: zeros are written over every byte of the store's files that no longer counts.
//!
//! Of a segment in which such bytes lie (records that others put an end to, refused batches, what an earlier life left behind its end) what is
//! needed is copied forward; then it is a segment that holds nothing, durably; then zeros are written over it, durably. Whatever is
//! interrupted leaves a store that asks for the same again, for what lay in a segment before the last opening is not known.

use std::rc::Rc;

use synod_platform::disk::{DiskError, Failure};
use synod_probe::{event, reach};
use tokio::sync::oneshot;

use crate::error::WriteError;
use crate::keeper::Keeper;
use crate::segments::Segment;

impl Keeper {
    /// Scrubs for whoever asked; whether anybody did.
    pub(crate) async fn scrub_if_asked(&self) -> bool {
        let asked = std::mem::take(&mut *self.shared.scrubs());
        if asked.is_empty() {
            return false;
        }
        let outcome = self.scrub().await;
        for done in asked {
            // Whoever asked may have gone.
            drop(done.send(outcome.clone()));
        }
        true
    }

    async fn scrub(&self) -> Result<(), WriteError> {
        // Held, so that nobody takes one of them for free.
        let mut unclean: Vec<_> =
            self.shared.state().unclean.iter().filter_map(|id| self.segments.get(*id)).collect();
        self.leave_active().await?;
        // The dead ones first: copies of the others find room in them.
        unclean.sort_by_key(|segment| self.live(segment));
        for segment in unclean {
            if self.shared.is_closed() {
                return Err(WriteError::Closed);
            }
            self.clean(segment).await?;
        }
        reach!("store.scrubbed");
        Ok(())
    }

    /// Has the writer end the segment that it writes to, if that is unclean.
    async fn leave_active(&self) -> Result<(), WriteError> {
        let (left, answer) = oneshot::channel();
        self.segments.leave.replace(Some(left));
        self.shared.work.notify_one();
        Ok(answer.await.map_err(|_| WriteError::Closed)??)
    }

    async fn clean(&self, segment: Rc<Segment>) -> Result<(), WriteError> {
        if self.live(&segment) > 0 && !self.copy_forward(segment.clone()).await? {
            let path = segment.file.path().to_owned();
            return Err(DiskError { operation: "copy forward from", path, failure: Failure::Io }.into());
        }
        segment.erase().await?;
        self.shared.state().unclean.remove(&segment.id);
        event!("store.segment_erased", segment = segment.id);
        Ok(())
    }

    fn live(&self, segment: &Segment) -> u64 {
        self.shared.state().live.get(&segment.id).copied().unwrap_or(0)
    }
}
