//! Who writes: turns what waits into one aligned write and one sync, again and again.
//!
//! While one batch is on its way the next gathers; nobody waits on purpose. After an error everything that waits is refused, and the
//! next thing to be written first ends the broken segment where it was known to be durable and begins another. So a full disk is over
//! when there is room, without a restart.

use std::rc::Rc;
use std::sync::Arc;

use synod_platform::disk::{Buffer, DiskError, Failure, File, SyncKind};
use synod_platform::{random, task, time};
use synod_probe::{event, loss, plant, reach};

use crate::cipher::encrypted;
use crate::error::WriteError;
use crate::format::{BATCH_HEADER, BLOCK, Batch, Header, Kind, aligned};
use crate::pace::Pace;
use crate::segments::{Segment, Segments};
use crate::state::{Item, Place};
use crate::store::{Health, Shared};

/// The one who writes.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) segments: Rc<Segments>,
    /// Others hold it while they work on a snapshot.
    pub(crate) lock: Rc<File>,
    pub(crate) epoch: u64,
    pub(crate) active: Active,
    pub(crate) pace: Pace,
}

/// Where the next batch goes.
pub(crate) enum Active {
    /// Into a segment that is yet to be chosen.
    None,
    /// Into this one, whose header may or may not be durable.
    Beginning(Rc<Segment>),
    /// Here; all before it is durable.
    At(Rc<Segment>, u32),
    /// Nowhere: a write failed, and the segment must be ended here first.
    Broken(Rc<Segment>, u32),
}

impl Active {
    fn segment(&self) -> Option<&Rc<Segment>> {
        match self {
            Self::None => None,
            Self::Beginning(segment) | Self::At(segment, _) | Self::Broken(segment, _) => Some(segment),
        }
    }
}

impl Writer {
    /// Writes until the store is closed, nothing waits, and nothing more is copied: then others may have the directory.
    pub(crate) async fn run(mut self) {
        loop {
            let asked = self.segments.leave.take();
            if let Some(left) = asked {
                drop(left.send(self.leave_unclean().await));
            }
            let items =
                self.shared.state().take(self.pace.limit() - BATCH_HEADER, self.segments.keys.are_there());
            if !items.is_empty() {
                self.commit(items).await;
                // Whoever was woken by that may have the next batch's records ready.
                task::yield_now().await;
            } else if self.shared.is_closed()
                && self.segments.keeper_ended.get()
                && Rc::strong_count(&self.lock) == 1
            {
                break;
            } else {
                self.shared.work.notified().await;
            }
        }
        // Nothing unsynced is left: an error changes nothing.
        if let Some(lock) = Rc::into_inner(self.lock) {
            drop(lock.close().await);
        }
        self.shared.ended.close();
    }

    async fn commit(&mut self, items: Vec<Item>) {
        let first = items[0].number;
        let written = self.write(&items).await;
        let mut settled = Vec::new();
        let outcome = match written {
            Ok(places) => {
                if items.iter().any(|item| item.kind != Kind::Entry) {
                    self.shared.keep.notify_one();
                }
                let mut state = self.shared.state();
                for (item, place) in items.into_iter().zip(places) {
                    state.durable(&item, place);
                    settled.push(item);
                }
                drop(state);
                event!("store.durable", number = first, records = settled.len());
                self.shared.set_health(Health::Good);
                Ok(())
            }
            Err(error) if error.failure == Failure::NoSpace && plant!("wal.enospc-batch-ack") => {
                settled.extend(items);
                Ok(())
            }
            Err(error) => {
                reach!("store.write_failed");
                event!("store.refused", number = first);
                self.shared.set_health(Health::Degraded(error.clone()));
                settled.extend(items);
                let mut state = self.shared.state();
                state.unclean.extend(self.active.segment().map(|segment| segment.id));
                settled.extend(state.refuse());
                drop(state);
                loss!("store.append", "write or sync failed", settled.len() as u64);
                Err(WriteError::Disk(error))
            }
        };
        for item in settled {
            self.shared.room.add_permits(item.room);
            if let Some(ack) = item.ack {
                ack(outcome.clone());
            }
        }
    }

    async fn write(&mut self, items: &[Item]) -> Result<Vec<Place>, DiskError> {
        let encrypted = self.segments.keys.are_there();
        let len = BATCH_HEADER + items.iter().map(|item| item.size(encrypted)).sum::<usize>();
        let (segment, at) = self.make_room(aligned(len), items[0].number).await?;
        let (buffer, places) = encode(items, &segment, at, len);
        self.active = Active::Broken(segment.clone(), at);
        let begun = time::now();
        persist(&segment.file, at.into(), buffer).await?;
        self.pace.took(len, time::now() - begun);
        self.active = Active::At(segment, at + aligned(len) as u32);
        Ok(places)
    }

    /// The segment and offset for a batch of this length; ends one segment and begins another where it must.
    async fn make_room(&mut self, len: usize, number: u64) -> Result<(Rc<Segment>, u32), DiskError> {
        if let Active::At(segment, at) = &self.active
            && u64::from(*at) + len as u64 <= segment.header.get().len
        {
            return Ok((segment.clone(), *at));
        }
        self.end(number).await?;
        let segment = match &self.active {
            Active::Beginning(segment) => segment.clone(),
            _ => match self.segments.free(&self.shared, len) {
                Some(segment) => {
                    reach!("store.segment_used_again");
                    segment
                }
                None => self.segments.create(&self.shared, len).await?,
            },
        };
        self.begin(segment.clone(), number).await?;
        Ok((segment, BLOCK as u32))
    }

    /// Begins a segment.
    async fn begin(&mut self, segment: Rc<Segment>, number: u64) -> Result<(), DiskError> {
        self.epoch += 1;
        let key = self.segments.keys.current();
        let header = Header { epoch: self.epoch, salt: random::u64(), number, key, ..segment.header.get() };
        self.active = Active::Beginning(segment.clone());
        segment.begin(header, &self.segments.keys).await?;
        self.segments.active.set(Some(segment.id));
        self.shared.keep.notify_one();
        event!("store.segment_begun", segment = segment.id, epoch = self.epoch);
        self.active = Active::At(segment, BLOCK as u32);
        Ok(())
    }

    /// Ends the segment that is written to, if one is.
    async fn end(&mut self, number: u64) -> Result<(), DiskError> {
        if let Active::At(segment, at) | Active::Broken(segment, at) = &self.active {
            let (segment, at) = (segment.clone(), *at);
            self.active = Active::Broken(segment.clone(), at);
            segment.seal(at, number).await?;
            self.active = Active::None;
            self.segments.active.set(None);
        }
        Ok(())
    }

    /// Ends the segment that is written to if it is unclean, so that it can be scrubbed.
    async fn leave_unclean(&mut self) -> Result<(), DiskError> {
        let Some(segment) = self.active.segment().cloned() else { return Ok(()) };
        let number = {
            let state = self.shared.state();
            if !state.unclean.contains(&segment.id) {
                return Ok(());
            }
            state.queue.front().map_or(state.number, |item| item.number)
        };
        if matches!(self.active, Active::Beginning(_)) {
            self.begin(segment, number).await?;
        }
        self.end(number).await
    }
}

/// Writes all of it, then syncs. An error of either is final: after a failed sync the next may succeed without the data.
async fn persist(file: &File, at: u64, buffer: Buffer) -> Result<(), DiskError> {
    if plant!("wal.short-write-after-fsync") {
        let (written, buffer) = file.write_at(at, buffer).await;
        let written = written?;
        file.sync(SyncKind::Data).await?;
        return file.write_all_at(at + written as u64, Buffer::copy_of(&buffer[written..])).await.0;
    }
    file.write_all_at(at, buffer).await.0?;
    if plant!("wal.ack-before-fsync") {
        return Ok(());
    }
    if plant!("wal.fsync-retry-ok") && file.sync(SyncKind::Data).await.is_err() {
        return file.sync(SyncKind::Data).await;
    }
    file.sync(SyncKind::Data).await
}

/// A batch of these records for this place, and where each record will lie.
fn encode(items: &[Item], segment: &Segment, at: u32, len: usize) -> (Buffer, Vec<Place>) {
    let (seed, cipher) = (segment.header.get().seed(), segment.cipher.borrow().clone());
    let mut payload = Vec::new();
    let mut buffer = Buffer::zeroed(aligned(len));
    let batch = Batch { len: len as u32, records: items.len() as u32, durable: at, number: items[0].number };
    batch.encode(seed, at, &mut buffer);
    let mut from = BATCH_HEADER;
    let mut places = Vec::with_capacity(items.len());
    for item in items {
        let offset = at + from as u32;
        let record = match &cipher {
            Some(cipher) => encrypted(&**cipher, &item.record(), offset, &mut payload),
            None => item.record(),
        };
        record.encode(seed, offset, &mut buffer[from..]);
        places.push(Place { segment: segment.id, offset, len: record.payload.len() as u32 });
        from += record.size();
    }
    (buffer, places)
}
