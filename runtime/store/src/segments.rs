//! The segment files of an open store: made, begun anew, ended; shared by who writes and who reads.
//!
//! A file gets its name only when it is whole: zeroed, with the header of an empty segment, synced. A life begins when its header is
//! durable and ends when its seal is; a later one begins only then.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use synod_platform::disk::{self, Buffer, DiskError, File, OpenOptions, SyncKind};

use crate::format::{BATCH_HEADER, BLOCK, Batch, Header};

/// One segment file.
pub(crate) struct Segment {
    pub(crate) id: u32,
    pub(crate) file: File,
    pub(crate) header: Cell<Header>,
}

/// All of them.
pub(crate) struct Segments {
    pub(crate) directory: PathBuf,
    pub(crate) all: RefCell<BTreeMap<u32, Rc<Segment>>>,
}

/// How much of a new file is zeroed at a time, bytes.
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
    pub(crate) fn get(&self, id: u32) -> Option<Rc<Segment>> {
        self.all.borrow().get(&id).cloned()
    }

    /// Makes one more, empty: zeroed, because writing into space that was never written costs a sync more than its own.
    pub(crate) async fn create(&self, len: u64) -> Result<Rc<Segment>, DiskError> {
        let id = self.all.borrow().last_key_value().map_or(1, |(id, _)| id + 1);
        let path = path_of(&self.directory, id);
        let unfinished = path.with_extension("new");
        let file = File::open(&unfinished, OpenOptions { truncate: true, ..OpenOptions::CREATE }).await?;
        file.allocate(0, len).await?;
        let header = Header { epoch: 0, salt: 0, len, number: 0 };
        let mut zeros = Buffer::zeroed(ZEROS.min(len as usize));
        let mut at = 0;
        while at < len {
            if len - at < zeros.len() as u64 {
                zeros = Buffer::zeroed((len - at) as usize);
            }
            let (written, returned) = file.write_all_at(at, zeros).await;
            written?;
            zeros = returned;
            at += zeros.len() as u64;
        }
        write_header(&file, &header).await?;
        file.sync(SyncKind::Full).await?;
        file.close().await?;
        disk::rename(unfinished, path.clone()).await?;
        disk::sync_directory(&self.directory).await?;
        let file = File::open(path, OpenOptions::READ_WRITE).await?;
        let segment = Rc::new(Segment { id, file, header: Cell::new(header) });
        self.all.borrow_mut().insert(id, segment.clone());
        Ok(segment)
    }
}

async fn write_header(file: &File, header: &Header) -> Result<(), DiskError> {
    let mut block = Buffer::zeroed(BLOCK);
    header.encode(&mut block);
    file.write_all_at(0, block).await.0
}

impl Segment {
    /// Begins a life. After an error either header may be found later, so the next life must begin here, too.
    pub(crate) async fn begin(&self, header: Header) -> Result<(), DiskError> {
        self.header.set(header);
        write_header(&self.file, &header).await?;
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
