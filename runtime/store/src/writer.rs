//! Who writes: turns what waits into one aligned write that is durable when it is done, again and again.
//!
//! While one batch is on its way the next gathers; nobody waits on purpose. Where much waits, two are on their way, so that the device
//! has one while the processor has the other; they are acknowledged in their order, and a batch's mark says what was durable before
//! it was written. After an error everything that waits is refused, and the next thing to be written first ends the broken segment where it
//! was known to be durable and begins another. So a full disk is over when there is room, without a restart.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};

use synod_platform::disk::{Buffer, DiskError, Failure, File, OpenOptions, SyncKind};
use synod_platform::time::Duration;
use synod_platform::{random, task, time};
use synod_probe::{event, loss, plant, reach};

use crate::cipher::encrypted;
use crate::error::WriteError;
use crate::format::{BATCH_HEADER, BLOCK, Batch, Header, Kind, aligned};
use crate::pace::Pace;
use crate::segments::{RESERVE, Segment, Segments};
use crate::state::{Item, Place, State};
use crate::store::{Health, Shared};

/// Batches on their way at a time: one is made while the other is written. Each one's rot could pass for a torn tail.
const UNDER_WAY: usize = 2;

/// What waits is written in two halves when it is longer than this, bytes: below, a write costs the same however short it is.
const SPLIT: usize = 64 << 10;

/// The one who writes.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) segments: Rc<Segments>,
    /// Others hold it while they work on a snapshot.
    pub(crate) lock: Rc<File>,
    pub(crate) epoch: u64,
    pub(crate) active: Active,
    /// When the segment that is written to was chosen, the reserve was not there, or this is of it: the rest of it is for what frees others.
    pub(crate) scarce: bool,
    pub(crate) pace: Pace,
    pub(crate) way: Way,
}

/// What is on its way.
#[derive(Default)]
pub(crate) struct Way {
    batches: FuturesOrdered<Pin<Box<dyn Future<Output = Written>>>>,
    /// The file of the segment that is written to, past the cache, where the file system has that.
    direct: Option<Rc<File>>,
    /// All before this offset of the segment is durable.
    durable: u32,
    /// To encode the next ones in.
    spare: Vec<Buffer>,
}

/// A batch, and what became of its write.
struct Written {
    items: Vec<Item>,
    places: Vec<Place>,
    segment: Rc<Segment>,
    at: u32,
    len: usize,
    took: Duration,
    outcome: Result<(), DiskError>,
    buffer: Buffer,
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
                let settled = self.settle_all().await;
                drop(left.send(match settled {
                    Ok(()) => self.leave_unclean().await,
                    error => error,
                }));
            }
            let under_way = self.way.batches.len();
            if under_way < UNDER_WAY && !self.shared.state().queue.is_empty() {
                self.start().await;
                // Hands it to the disk before the next one is looked for.
                if let Some(Some(written)) = self.way.batches.next().now_or_never() {
                    drop(self.settle(written).await);
                }
            } else if under_way == 0
                && self.shared.is_closed()
                && self.segments.keeper_ended.get()
                && Rc::strong_count(&self.lock) == 1
            {
                break;
            } else {
                tokio::select! {
                    biased;
                    Some(written) = self.way.batches.next() => {
                        drop(self.settle(written).await);
                        // Whoever was woken by that may have the next batch's records ready.
                        task::yield_now().await;
                    }
                    () = self.shared.work.notified() => {}
                }
            }
        }
        // Nothing unsynced is left: an error changes nothing.
        if let Some(lock) = Rc::into_inner(self.lock) {
            drop(lock.close().await);
        }
        self.shared.ended.close();
    }

    /// Sends what waits on its way, or a half of it if nothing else is.
    async fn start(&mut self) {
        let mut limit = self.pace.limit() - BATCH_HEADER;
        let waiting = self.shared.options.waiting_max - self.shared.room.available_permits();
        if self.way.batches.is_empty() && waiting > SPLIT {
            limit = limit.min(waiting / 2);
        }
        let encrypted = self.segments.keys.are_there();
        let mut items = self.shared.state().take(limit, encrypted);
        let mut frees = items.iter().all(|item| item.frees);
        let (len, segment, at) = loop {
            let len = BATCH_HEADER + items.iter().map(|item| item.size(encrypted)).sum::<usize>();
            if (self.scarce || !self.fits(aligned(len)))
                && let Err(error) = self.settle_all().await
            {
                return self.refuse(items, error);
            }
            match self.make_room(aligned(len), items[0].number, frees).await {
                Ok((segment, at)) => break (len, segment, at),
                Err(error) if frees => return self.refuse(items, error),
                Err(error) => {
                    self.refuse_by(State::refuse_growing, items, error);
                    items = self.shared.state().take_freeing(limit, encrypted);
                    frees = true;
                    if items.is_empty() {
                        return;
                    }
                    reach!("store.reserve_wanted");
                }
            }
        };
        let buffer = self.way.spare.pop().unwrap_or_else(|| Buffer::zeroed(0));
        let (buffer, places) = encode(&items, &segment, at, self.way.durable, len, buffer);
        self.active = Active::At(segment.clone(), at + aligned(len) as u32);
        // Past the cache one block is never written in part.
        let direct = self.way.direct.clone().filter(|_| !plant!("wal.short-write-after-fsync"));
        self.way.batches.push_back(Box::pin(async move {
            let begun = time::now();
            let file = direct.as_deref().unwrap_or(&segment.file);
            let (outcome, buffer) = persist(file, at.into(), buffer, aligned(len)).await;
            Written { items, places, segment, at, len, took: time::now() - begun, outcome, buffer }
        }));
    }

    /// Waits for everything that is on its way.
    async fn settle_all(&mut self) -> Result<(), DiskError> {
        while let Some(written) = self.way.batches.next().await {
            self.settle(written).await?;
        }
        Ok(())
    }

    /// Tells those who wait for a batch what became of it. If it failed, nothing is on its way any more.
    async fn settle(&mut self, written: Written) -> Result<(), DiskError> {
        let Written { items, places, segment, at, len, took, outcome, buffer } = written;
        if let Err(error) = outcome {
            // Nothing is written to a segment that is ended while something is on its way there.
            let mut all = items;
            while let Some(later) = self.way.batches.next().await {
                all.extend(later.items);
            }
            self.active = Active::Broken(segment, at);
            self.refuse(all, error.clone());
            return Err(error);
        }
        if buffer.len() <= 2 * self.shared.options.batch_max && self.way.spare.len() < UNDER_WAY {
            self.way.spare.push(buffer);
        }
        self.pace.took(len, took);
        self.way.durable = at + aligned(len) as u32;
        if items.iter().any(|item| item.kind != Kind::Entry) {
            self.shared.keep.notify_one();
        }
        let mut state = self.shared.state();
        for (item, place) in items.iter().zip(places) {
            state.durable(item, place);
        }
        drop(state);
        event!("store.durable", number = items[0].number, records = items.len());
        if !self.scarce {
            self.shared.set_health(Health::Good);
        }
        self.answer(items, &Ok(()));
        Ok(())
    }

    /// Refuses these and all that waits.
    fn refuse(&mut self, items: Vec<Item>, error: DiskError) {
        self.refuse_by(State::refuse, items, error);
    }

    fn refuse_by(
        &mut self,
        refuse: fn(&mut State, Vec<Item>) -> Vec<Item>,
        items: Vec<Item>,
        error: DiskError,
    ) {
        if error.failure == Failure::NoSpace && plant!("wal.enospc-batch-ack") {
            return self.answer(items, &Ok(()));
        }
        reach!("store.write_failed");
        event!("store.refused", number = items[0].number);
        self.shared.set_health(Health::Degraded(error.clone()));
        let mut state = self.shared.state();
        state.unclean.extend(self.active.segment().map(|segment| segment.id));
        let items = refuse(&mut state, items);
        drop(state);
        loss!("store.append", "write or sync failed", items.len() as u64);
        self.answer(items, &Err(WriteError::Disk(error)));
    }

    fn answer(&self, items: Vec<Item>, outcome: &Result<(), WriteError>) {
        self.shared.room.add_permits(items.iter().map(|item| item.room).sum());
        for ack in items.into_iter().filter_map(|item| item.ack) {
            ack(outcome.clone());
        }
    }

    /// Whether a batch of this length has room where the last one ended.
    fn fits(&self, len: usize) -> bool {
        let Active::At(segment, at) = &self.active else { return false };
        u64::from(*at) + len as u64 <= segment.header.get().len
    }

    /// The segment and offset for a batch of this length; ends one segment and begins another where it must. Only for what frees others if the
    /// reserve must be taken for it.
    async fn make_room(
        &mut self,
        len: usize,
        number: u64,
        frees: bool,
    ) -> Result<(Rc<Segment>, u32), DiskError> {
        if self.scarce {
            match self.segments.provide(&self.shared, BLOCK, RESERVE).await {
                Ok(_) => self.scarce = false,
                Err(error) if !frees => return Err(error),
                Err(_) => {
                    reach!("store.reserve_written");
                }
            }
        }
        if let Active::At(segment, at) = &self.active
            && self.fits(len)
        {
            return Ok((segment.clone(), *at));
        }
        self.end(number).await?;
        let segment = match &self.active {
            Active::Beginning(segment) => segment.clone(),
            _ => self.choose(len, frees).await?,
        };
        self.begin(segment.clone(), number).await?;
        Ok((segment, BLOCK as u32))
    }

    /// A free segment with room for a batch of this length. What frees nothing takes one only for another that is made.
    async fn choose(&mut self, len: usize, frees: bool) -> Result<Rc<Segment>, DiskError> {
        let segments = &self.segments;
        let there = segments.count_free(&self.shared);
        let segment = match segments.provide(&self.shared, len, (there + 1).min(RESERVE + 1)).await {
            Ok(segment) => segment,
            Err(error) if frees => segments.free(&self.shared, len).ok_or(error)?,
            Err(error) => return Err(error),
        };
        if segment.header.get().epoch > 0 {
            reach!("store.segment_used_again");
        }
        self.scarce = segments.count_free(&self.shared) < RESERVE;
        Ok(segment)
    }

    /// Begins a segment.
    async fn begin(&mut self, segment: Rc<Segment>, number: u64) -> Result<(), DiskError> {
        self.epoch += 1;
        let key = self.segments.keys.current();
        let header = Header { epoch: self.epoch, salt: random::u64(), number, key, ..segment.header.get() };
        self.active = Active::Beginning(segment.clone());
        segment.begin(header, &self.segments.keys).await?;
        self.way.durable = BLOCK as u32;
        // Past the cache, where one operation makes it durable without a copy; where that cannot be, through it.
        let direct = File::open(segment.file.path(), OpenOptions::DIRECT).await;
        self.way.direct = direct.ok().map(Rc::new);
        self.segments.active.set(Some(segment.id));
        self.shared.keep.notify_one();
        let direct = self.way.direct.is_some();
        self.shared.direct.store(direct, Ordering::Relaxed);
        event!("store.segment_begun", segment = segment.id, epoch = self.epoch, direct = direct);
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
            self.way.direct = None;
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

/// Writes the buffer's first `len` bytes durably. An error is final: after it a sync may succeed without the data.
async fn persist(file: &File, at: u64, buffer: Buffer, len: usize) -> (Result<(), DiskError>, Buffer) {
    if plant!("wal.ack-before-fsync") {
        return file.write_all_at(at, Buffer::copy_of(&buffer[..len])).await;
    }
    if plant!("wal.short-write-after-fsync") {
        return synced_too_soon(file, at, Buffer::copy_of(&buffer[..len])).await;
    }
    let (written, buffer) = file.write_durably_at(at, buffer, len).await;
    if plant!("wal.fsync-retry-ok") && written.is_err() {
        return (file.sync(SyncKind::Data).await, buffer);
    }
    (written, buffer)
}

/// As a planted bug would have it: the sync comes before the rest of a short write.
async fn synced_too_soon(file: &File, at: u64, buffer: Buffer) -> (Result<(), DiskError>, Buffer) {
    let (written, buffer) = file.write_at(at, buffer).await;
    let rest = match written {
        Ok(written) => Buffer::copy_of(&buffer[written..]),
        Err(error) => return (Err(error), buffer),
    };
    if let Err(error) = file.sync(SyncKind::Data).await {
        return (Err(error), buffer);
    }
    file.write_all_at(at + (buffer.len() - rest.len()) as u64, rest).await
}

/// A batch of these records for this place, before which all up to `durable` is so, and where each record will lie. In `buffer`, if
/// that is long enough.
fn encode(
    items: &[Item],
    segment: &Segment,
    at: u32,
    durable: u32,
    len: usize,
    mut buffer: Buffer,
) -> (Buffer, Vec<Place>) {
    let (seed, cipher) = (segment.header.get().seed(), segment.cipher.borrow().clone());
    let mut payload = Vec::new();
    if buffer.len() < len {
        buffer = Buffer::zeroed(aligned(len).next_power_of_two());
    }
    let batch = Batch { len: len as u32, records: items.len() as u32, durable, number: items[0].number };
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
    buffer[len..aligned(len)].fill(0);
    (buffer, places)
}
