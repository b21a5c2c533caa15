//! Files and directories as futures: what callers use, with short reads and writes made whole here.
//!
//! A [`File`] belongs to the context that opened it and is not `Send`. Dropping it closes it; dropping a future of it lets the
//! operation finish unobserved. A write is durable only after a sync that was started after the write completed.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::buffer::{ALIGNMENT, Buffer};
use super::error::{DiskError, Failure};
use super::operation::{
    Completion, Entry, FileId, Kind, Metadata, OpenOptions, Operation, Outcome, SyncKind,
};
use super::queue::Queue;

/// An open file.
pub struct File {
    queue: Rc<Queue>,
    id: FileId,
    path: PathBuf,
    /// What is read and written at a time, bytes.
    unit: usize,
    closed: bool,
}

impl File {
    /// Opens a file.
    pub async fn open(path: impl Into<PathBuf>, options: OpenOptions) -> Result<Self, DiskError> {
        let queue = super::queue();
        let path = path.into();
        let completion = queue.submit(Operation::Open { path: path.clone(), options }).await;
        match completion.result {
            Ok(Outcome::Opened(id)) => {
                let unit = if options.direct { ALIGNMENT } else { 1 };
                Ok(Self { queue, id, path, unit, closed: false })
            }
            result => Err(failed("open", &path, result)),
        }
    }

    /// The path under which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the advisory lock alone, without waiting; given up when the file is closed or its process dies.
    pub async fn lock(&self) -> Result<(), DiskError> {
        self.done("lock", Operation::Lock { file: self.id }).await
    }

    /// Makes sure that `offset..offset + len` has space, extending the file with zeros if it ends before. Some file systems do not:
    /// [`Failure::Unsupported`].
    pub async fn allocate(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        self.done("allocate space in", Operation::Allocate { file: self.id, offset, len }).await
    }

    /// Reads at most the buffer's length from `offset`; answers how much, 0 at the end. The buffer comes back in any case.
    pub async fn read_at(&self, offset: u64, buffer: Buffer) -> (Result<usize, DiskError>, Buffer) {
        let range = 0..buffer.len();
        self.read(offset, buffer, range).await
    }

    /// Fills the whole buffer from `offset`; [`Failure::EndOfFile`] if the file ends before.
    pub async fn read_exact_at(&self, offset: u64, buffer: Buffer) -> (Result<(), DiskError>, Buffer) {
        let (filled, buffer) = self.fill_at(offset, buffer).await;
        let whole = filled.and_then(|filled| match filled {
            filled if filled < buffer.len() => Err(self.error("read", Failure::EndOfFile)),
            _ => Ok(()),
        });
        (whole, buffer)
    }

    /// Fills the buffer from `offset` as far as the file goes; answers how far that is.
    pub async fn fill_at(&self, offset: u64, mut buffer: Buffer) -> (Result<usize, DiskError>, Buffer) {
        let mut filled = 0;
        while filled < buffer.len() {
            let range = filled..buffer.len();
            let (result, returned) = self.read(offset + filled as u64, buffer, range).await;
            buffer = returned;
            match result {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) => return (Err(error), buffer),
            }
            if filled < buffer.len() {
                synod_probe::reach!("disk.short_read_continued");
            }
        }
        (Ok(filled), buffer)
    }

    /// Reads the whole file, refusing one longer than `limit` bytes with [`Failure::Quota`].
    pub async fn read_all(&self, limit: u64) -> Result<Vec<u8>, DiskError> {
        const CHUNK: usize = 256 << 10;
        let mut content = Vec::new();
        let mut chunk = Buffer::zeroed(CHUNK);
        loop {
            let (read, returned) = self.read_at(content.len() as u64, chunk).await;
            chunk = returned;
            match read? {
                0 => return Ok(content),
                count => content.extend_from_slice(&chunk[..count]),
            }
            if content.len() as u64 > limit {
                return Err(self.error("read", Failure::Quota));
            }
        }
    }

    /// Writes at `offset`, perhaps less than the buffer holds; answers how much. The buffer comes back in any case.
    pub async fn write_at(&self, offset: u64, buffer: Buffer) -> (Result<usize, DiskError>, Buffer) {
        let range = 0..buffer.len();
        self.write(offset, buffer, range, false).await
    }

    /// Writes the whole buffer at `offset`, in as many writes as it takes. After an error some of it may be written.
    pub async fn write_all_at(&self, offset: u64, buffer: Buffer) -> (Result<(), DiskError>, Buffer) {
        let len = buffer.len();
        self.write_all(offset, buffer, len, false).await
    }

    /// Writes the buffer's first `len` bytes, which are durable when it returns: one operation instead of a write and a
    /// [`sync`](Self::sync). After an error the same holds as after that of a sync.
    pub async fn write_durably_at(
        &self,
        offset: u64,
        buffer: Buffer,
        len: usize,
    ) -> (Result<(), DiskError>, Buffer) {
        self.write_all(offset, buffer, len, true).await
    }

    async fn write_all(
        &self,
        offset: u64,
        mut buffer: Buffer,
        len: usize,
        durable: bool,
    ) -> (Result<(), DiskError>, Buffer) {
        let mut written = 0;
        while written < len {
            let range = written..len;
            let (result, returned) = self.write(offset + written as u64, buffer, range, durable).await;
            buffer = returned;
            match result {
                Ok(0) => return (Err(self.error("write", Failure::WroteNothing)), buffer),
                Ok(count) => written += count,
                Err(error) => return (Err(error), buffer),
            }
            if written < len {
                synod_probe::reach!("disk.short_write_continued");
                if synod_probe::plant!("disk.short-write-lost") {
                    break;
                }
            }
        }
        (Ok(()), buffer)
    }

    async fn read(
        &self,
        offset: u64,
        buffer: Buffer,
        range: Range<usize>,
    ) -> (Result<usize, DiskError>, Buffer) {
        if !self.takes(offset, &range) {
            return (Err(self.error("read", Failure::Invalid)), buffer);
        }
        self.counted("read", Operation::Read { file: self.id, offset, buffer, range }).await
    }

    /// One write; of a file past the cache only whole units count, so that the rest can follow.
    async fn write(
        &self,
        offset: u64,
        buffer: Buffer,
        range: Range<usize>,
        durable: bool,
    ) -> (Result<usize, DiskError>, Buffer) {
        if !self.takes(offset, &range) {
            return (Err(self.error("write", Failure::Invalid)), buffer);
        }
        let write = Operation::Write { file: self.id, offset, buffer, range, durable };
        let (count, buffer) = self.counted("write", write).await;
        (count.map(|count| count / self.unit * self.unit), buffer)
    }

    fn takes(&self, offset: u64, range: &Range<usize>) -> bool {
        let whole = |at: usize| at.is_multiple_of(self.unit);
        offset.is_multiple_of(self.unit as u64) && whole(range.start) && whole(range.end)
    }

    /// Makes durable what was written before. After [`Failure::Io`] the data may be lost although another sync would
    /// succeed: Linux marks the pages clean. Write it again elsewhere, or stop.
    pub async fn sync(&self, kind: SyncKind) -> Result<(), DiskError> {
        self.done("sync", Operation::Sync { file: self.id, kind }).await
    }

    /// Sets the length.
    pub async fn truncate(&self, len: u64) -> Result<(), DiskError> {
        self.done("truncate", Operation::Truncate { file: self.id, len }).await
    }

    /// Closes it and waits until that is done.
    pub async fn close(mut self) -> Result<(), DiskError> {
        self.closed = true;
        self.done("close", Operation::Close { file: self.id }).await
    }

    async fn done(&self, verb: &'static str, operation: Operation) -> Result<(), DiskError> {
        expect_done(verb, &self.path, self.queue.submit(operation).await.result)
    }

    async fn counted(&self, verb: &'static str, operation: Operation) -> (Result<usize, DiskError>, Buffer) {
        let Completion { result, buffer, .. } = self.queue.submit(operation).await;
        let buffer = buffer.unwrap_or_else(|| Buffer::zeroed(0));
        match result {
            Ok(Outcome::Count(count)) => (Ok(count), buffer),
            result => (Err(failed(verb, &self.path, result)), buffer),
        }
    }

    fn error(&self, operation: &'static str, failure: Failure) -> DiskError {
        DiskError { operation, path: self.path.clone(), failure }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if !self.closed {
            self.queue.submit_detached(Operation::Close { file: self.id });
        }
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "File({})", self.path.display())
    }
}

/// Gives a file or directory another name, replacing a file that has it. Durable after [`sync_directory`] of both parents.
pub async fn rename(from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> Result<(), DiskError> {
    let (from, to) = (from.into(), to.into());
    simple(from.clone(), Operation::Rename { from, to }).await
}

/// Removes a file's name. Durable after [`sync_directory`] of its parent.
pub async fn remove(path: impl Into<PathBuf>) -> Result<(), DiskError> {
    let path = path.into();
    simple(path.clone(), Operation::Remove { path }).await
}

/// Removes an empty directory.
pub async fn remove_directory(path: impl Into<PathBuf>) -> Result<(), DiskError> {
    let path = path.into();
    simple(path.clone(), Operation::RemoveDirectory { path }).await
}

/// Makes one directory; its parent must be there. Durable after [`sync_directory`] of its parent.
pub async fn create_directory(path: impl Into<PathBuf>) -> Result<(), DiskError> {
    let path = path.into();
    simple(path.clone(), Operation::CreateDirectory { path }).await
}

/// Makes a directory and those above it that are missing; fine if it is there.
pub async fn create_directories(path: impl Into<PathBuf>) -> Result<(), DiskError> {
    let path = path.into();
    let mut missing = Vec::new();
    let mut at = Some(path.as_path());
    while let Some(directory) = at {
        match metadata(directory).await {
            Ok(found) if found.kind == Kind::File => {
                return Err(DiskError {
                    operation: "create directory",
                    path: directory.to_owned(),
                    failure: Failure::NotDirectory,
                });
            }
            Ok(_) => break,
            Err(error) if error.failure == Failure::NotFound => missing.push(directory.to_owned()),
            Err(error) => return Err(error),
        }
        at = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    }
    for directory in missing.into_iter().rev() {
        match create_directory(directory).await {
            Err(error) if error.failure != Failure::Exists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Makes durable which names a directory holds.
pub async fn sync_directory(path: impl Into<PathBuf>) -> Result<(), DiskError> {
    let path = path.into();
    simple(path.clone(), Operation::SyncDirectory { path }).await
}

/// A directory's entries, sorted by name.
pub async fn list(path: impl Into<PathBuf>) -> Result<Vec<Entry>, DiskError> {
    let path = path.into();
    match super::queue().submit(Operation::List { path: path.clone() }).await.result {
        Ok(Outcome::Entries(entries)) => Ok(entries),
        result => Err(failed("list", &path, result)),
    }
}

/// What a path is, without opening it.
pub async fn metadata(path: impl Into<PathBuf>) -> Result<Metadata, DiskError> {
    let path = path.into();
    match super::queue().submit(Operation::Metadata { path: path.clone() }).await.result {
        Ok(Outcome::Metadata(metadata)) => Ok(metadata),
        result => Err(failed("look at", &path, result)),
    }
}

async fn simple(path: PathBuf, operation: Operation) -> Result<(), DiskError> {
    let verb = operation.verb();
    expect_done(verb, &path, super::queue().submit(operation).await.result)
}

fn expect_done(verb: &'static str, path: &Path, result: Result<Outcome, Failure>) -> Result<(), DiskError> {
    match result {
        Ok(Outcome::Done) => Ok(()),
        result => Err(failed(verb, path, result)),
    }
}

/// The error of a failed operation. An outcome of another operation's shape would be a broken arm.
fn failed(verb: &'static str, path: &Path, result: Result<Outcome, Failure>) -> DiskError {
    match result {
        Err(failure) => DiskError { operation: verb, path: path.to_owned(), failure },
        Ok(outcome) => panic!("to {verb} {} was answered {outcome:?}", path.display()),
    }
}
