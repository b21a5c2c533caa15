//! The segment files of an open store: made, begun anew, ended; shared by who writes and who reads.
//!
//! A file gets its name only when it is whole: zeroed, with the header of an empty segment, synced. A life begins when its header is
//! durable and ends when its seal is; a later one begins only then. Files beyond a few that are free are removed.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use synod_platform::disk::{self, Buffer, DiskError, Failure, File, OpenOptions, SyncKind};
use synod_probe::{event, reach};
use tokio::sync::{Mutex, oneshot};

use crate::cipher::{Cipher, Keys};
use crate::format::{BATCH_HEADER, BLOCK, Batch, Header};
use crate::state::State;
use crate::store::Shared;

/// One segment file.
pub(crate) struct Segment {
    pub(crate) id: u32,
    pub(crate) file: File,
    pub(crate) header: Cell<Header>,
    /// Of this life, if it is encrypted and the key is there.
    pub(crate) cipher: RefCell<Option<Rc<dyn Cipher>>>,
}

/// All of them.
pub(crate) struct Segments {
    pub(crate) directory: PathBuf,
    pub(crate) keys: Keys,
    pub(crate) all: RefCell<BTreeMap<u32, Rc<Segment>>>,
    /// The one that is written to.
    pub(crate) active: Cell<Option<u32>>,
    /// The keeper has ended, and nobody but the writer changes anything.
    pub(crate) keeper_ended: Cell<bool>,
    /// The writer is asked to end the one that is written to, if that is unclean, and to say when it did.
    pub(crate) leave: RefCell<Option<oneshot::Sender<Result<(), DiskError>>>>,
    /// Held while one is made.
    making: Mutex<()>,
}

/// The shortest segment that is made where the options allow longer ones, bytes.
const SEGMENT_MIN: u64 = 2 << 20;

/// How many free segments of full length are kept in any case, or their length in shorter ones: the reserve and one to go on with.
const SPARES: u64 = RESERVE as u64 + 1;

/// How many free segments are kept for what frees others when the disk is full: one of them is written to then, and another when the store
/// is opened again meanwhile, or the first is full of what no longer counts.
pub(crate) const RESERVE: usize = 2;

/// How much is zeroed at a time, bytes.
const ZEROS: usize = 1 << 20;

/// The segment's number in a file's name; `None` for other files.
pub(crate) fn id_of(name: &str) -> Option<u32> {
    let id = name.strip_suffix(".segment")?;
    (id.len() == 8).then(|| id.parse().ok())?
}

pub(crate) fn path_of(directory: &Path, id: u32) -> PathBuf {
    directory.join(format!("{id:08}.segment"))
}

impl Segments {
    pub(crate) fn new(directory: &Path, keys: Keys) -> Self {
        Self {
            directory: directory.to_owned(),
            keys,
            all: RefCell::default(),
            active: Cell::new(None),
            keeper_ended: Cell::new(false),
            leave: RefCell::default(),
            making: Mutex::new(()),
        }
    }

    pub(crate) fn get(&self, id: u32) -> Option<Rc<Segment>> {
        self.all.borrow().get(&id).cloned()
    }

    /// The longest of which nothing is needed and that nobody reads, with room for a batch of this length.
    pub(crate) fn free(&self, shared: &Shared, len: usize) -> Option<Rc<Segment>> {
        let state = shared.state();
        let fits = |segment: &&Rc<Segment>| segment.header.get().len >= (BLOCK + len) as u64;
        let all = self.all.borrow();
        let free = all.values().filter(|segment| is_free(&state, segment)).filter(fits);
        free.max_by_key(|segment| (segment.header.get().len, Reverse(segment.id))).cloned()
    }

    /// How many there are of which nothing is needed and that nobody reads.
    pub(crate) fn count_free(&self, shared: &Shared) -> usize {
        let state = shared.state();
        self.all.borrow().values().filter(|segment| is_free(&state, segment)).count()
    }

    /// The longest free one, with room for a batch of this length, of at least `count` free ones; made if they are not there.
    pub(crate) async fn provide(
        &self,
        shared: &Shared,
        len: usize,
        count: usize,
    ) -> Result<Rc<Segment>, DiskError> {
        let _making = self.making.lock().await;
        loop {
            // Counted before one of them is held.
            let there = self.count_free(shared);
            let missing = match self.free(shared, len) {
                Some(free) if there >= count => return Ok(free),
                Some(_) => BLOCK,
                None => len,
            };
            self.create(shared, missing).await?;
        }
    }

    /// One more: zeroed, because writing into space that was never written costs a sync more than its own.
    async fn create(&self, shared: &Shared, len: usize) -> Result<(), DiskError> {
        let len = self.next_len(shared).max((BLOCK + len) as u64);
        let id = self.all.borrow().last_key_value().map_or(1, |(id, _)| id + 1);
        let path = path_of(&self.directory, id);
        let unfinished = path.with_extension("new");
        let made = make(&unfinished, &path, len).await;
        if made.is_err() {
            // It may hold the space that others need. If this fails, too, the next opening removes it.
            drop(disk::remove(unfinished).await);
        }
        let header = made?;
        disk::sync_directory(&self.directory).await?;
        let file = File::open(path, OpenOptions::READ_WRITE).await?;
        let segment = Rc::new(Segment::new(id, file, header, &self.keys));
        self.all.borrow_mut().insert(id, segment);
        Ok(())
    }

    /// How long the next segment is to be: as much as is in use, so that a small store takes little and a busy one soon has long ones.
    fn next_len(&self, shared: &Shared) -> u64 {
        let (state, max) = (shared.state(), shared.options.segment_len);
        let all = self.all.borrow();
        let used = all.values().filter(|segment| !is_free(&state, segment));
        let used: u64 = used.map(|segment| segment.header.get().len).sum();
        used.next_multiple_of(BLOCK as u64).clamp(SEGMENT_MIN.min(max), max)
    }

    /// Removes free segments, the shortest first, until few are left: who writes much soon has long ones, and makes and removes
    /// none. Each is erased before: so what was scrubbed stays gone, and a file whose removal is lost with the power holds nothing.
    pub(crate) async fn give_back(&self, shared: &Shared) -> Result<(), DiskError> {
        // While the name is being removed nobody makes another file of that name.
        let _making = self.making.lock().await;
        while let Some(segment) = self.surplus(shared) {
            let id = segment.id;
            self.all.borrow_mut().remove(&id);
            if let Err(error) = remove(&segment).await {
                self.all.borrow_mut().insert(id, segment);
                return Err(error);
            }
            shared.state().forget(id);
            disk::sync_directory(&self.directory).await?;
            reach!("store.segment_removed");
            event!("store.segment_removed", segment = id);
        }
        Ok(())
    }

    /// The shortest free segment, if [`SPARES`] and a quarter of what is in use are free without it: what is purged and written again
    /// in turns makes and removes none. Nothing is taken while no segment is written to: the highest epoch and number must stay to
    /// be found.
    fn surplus(&self, shared: &Shared) -> Option<Rc<Segment>> {
        let state = shared.state();
        let all = self.all.borrow();
        let active = all.get(&self.active.get()?)?.header.get().epoch;
        let free: Vec<_> = all
            .values()
            .filter(|segment| segment.header.get().epoch < active && is_free(&state, segment))
            .collect();
        let len = |segment: &Rc<Segment>| segment.header.get().len;
        let (there, left) = (all.values().map(len).sum::<u64>(), free.iter().copied().map(len).sum::<u64>());
        let kept = SPARES * shared.options.segment_len + (there - left) / 4;
        let shortest = free.into_iter().min_by_key(|segment| len(segment))?;
        (left - len(shortest) >= kept).then(|| Rc::clone(shortest))
    }
}

/// Whether nothing of it is needed and nobody holds it.
fn is_free(state: &State, segment: &Rc<Segment>) -> bool {
    Rc::strong_count(segment) == 1 && state.live.get(&segment.id).copied().unwrap_or(0) == 0
}

async fn remove(segment: &Segment) -> Result<(), DiskError> {
    segment.erase().await?;
    disk::remove(segment.file.path()).await
}

/// Makes a whole file under one name and gives it the other.
async fn make(unfinished: &Path, path: &Path, len: u64) -> Result<Header, DiskError> {
    let file = File::open(unfinished, OpenOptions { truncate: true, ..OpenOptions::CREATE }).await?;
    match file.allocate(0, len).await {
        // The zeros take the space.
        Err(error) if error.failure == Failure::Unsupported => {}
        allocated => allocated?,
    }
    let header = Header::of_none(len);
    zero(&file, 0..len).await?;
    write_header(&file, &header).await?;
    file.sync(SyncKind::Full).await?;
    file.close().await?;
    disk::rename(unfinished, path).await?;
    Ok(header)
}

/// Writes zeros over a part of a file.
pub(crate) async fn zero(file: &File, range: Range<u64>) -> Result<(), DiskError> {
    let (mut zeros, mut at) = (Buffer::zeroed(0), range.start);
    while at < range.end {
        let len = (range.end - at).min(ZEROS as u64) as usize;
        if zeros.len() != len {
            zeros = Buffer::zeroed(len);
        }
        let (written, returned) = file.write_all_at(at, zeros).await;
        written?;
        zeros = returned;
        at += len as u64;
    }
    Ok(())
}

async fn write_header(file: &File, header: &Header) -> Result<(), DiskError> {
    let mut block = Buffer::zeroed(BLOCK);
    header.encode(&mut block);
    file.write_all_at(0, block).await.0
}

impl Segment {
    pub(crate) fn new(id: u32, file: File, header: Header, keys: &Keys) -> Self {
        Self { id, file, header: Cell::new(header), cipher: RefCell::new(keys.of_segment(&header)) }
    }

    /// Begins a life. After an error either header may be found later, so the next life must begin here, too.
    pub(crate) async fn begin(&self, header: Header, keys: &Keys) -> Result<(), DiskError> {
        let cipher = keys.of_segment(&header);
        assert_eq!(cipher.is_some(), header.key.is_some(), "a keyring has the key that it calls current");
        self.header.set(header);
        self.cipher.replace(cipher);
        self.write_header().await
    }

    /// Writes the header that it has, durably.
    pub(crate) async fn write_header(&self) -> Result<(), DiskError> {
        write_header(&self.file, &self.header.get()).await?;
        self.file.sync(SyncKind::Data).await
    }

    /// Writes zeros over all of it. First it holds nothing, so that whatever is interrupted leaves a segment that may be used.
    pub(crate) async fn erase(&self) -> Result<(), DiskError> {
        let header = self.header.get();
        self.begin(Header::of_none(header.len), &Keys::default()).await?;
        zero(&self.file, BLOCK as u64..header.len).await?;
        self.file.sync(SyncKind::Data).await
    }

    /// Ends a life here: whatever lies behind is not the segment's. Nothing to do where no block is left.
    pub(crate) async fn seal(&self, at: u32, number: u64) -> Result<(), DiskError> {
        let header = self.header.get();
        if u64::from(at) + BLOCK as u64 > header.len {
            return Ok(());
        }
        let mut block = Buffer::zeroed(BLOCK);
        let seal = Batch { len: BATCH_HEADER as u32, records: 0, durable: at, number };
        seal.encode(header.seed(), at, &mut block);
        self.file.write_all_at(u64::from(at), block).await.0?;
        self.file.sync(SyncKind::Data).await
    }
}
