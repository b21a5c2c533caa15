//! Queues in mapped files: records from one process to another that outlive both, for what has time.
//!
//! A [`Writer`] and a [`Reader`], each the only one of its file, map it and pass records as [`synod_ring::queue`] does. Either may be killed
//! at any instruction and be followed by another, which goes on: what was put is read in order, and what was read but not freed is read
//! again, under the same position. Not so after a loss of power: the kernel writes pages back when it likes, unless
//! [`Writer::sync_to_disk`] returned. Who waits here looks again after a pause that doubles from [`PAUSE_MIN`] to [`PAUSE_MAX`], for a file has no bell: the fabric rings a lane's.
//!
//! All room is allocated when the file is made, so that a full disk is an error then and no signal later. A signal there is all the same
//! (SIGBUS, the end of the process) when something cuts or punches the file while it is mapped, as another process of its user could, when
//! its device fails, and when a file system that copies on write has no room for the copy. The file is made with mode 0600 for that reason.

mod error;
mod file;
#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod sim;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use synod_probe::reach;
use synod_ring::Tag;

pub use error::QueueError;
#[cfg(not(madsim))]
use real as arm;
#[cfg(madsim)]
use sim as arm;
pub use synod_ring::queue::{Damage, OpenError, Peeked, PutError};

use crate::{task, time};

/// The first pause of who waits.
pub const PAUSE_MIN: Duration = Duration::from_millis(1);
/// Its longest: what a record may wait for a reader that has long found none.
pub const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Which end of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The one that puts.
    Writer,
    /// The one that takes.
    Reader,
}

/// A pause that doubles.
struct Pause(Duration);

impl Pause {
    const fn new() -> Self {
        Self(PAUSE_MIN)
    }

    async fn wait(&mut self) {
        time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSE_MAX);
    }
}

/// The one writing end of a queue's file.
pub struct Writer {
    ring: synod_ring::queue::Writer,
    file: Arc<OwnedFd>,
    path: PathBuf,
}

impl Writer {
    /// Opens the queue, or makes it with `capacity` bytes for records, a power of two from 256 to 2^30. It goes on where the last writer stopped.
    pub async fn open(path: &Path, capacity: usize) -> Result<Self, QueueError> {
        let (path, owned) = (path.to_owned(), path.to_owned());
        let opened = off_the_loop(&path, move || file::for_writer(&owned, capacity)).await?;
        let ring = synod_ring::queue::Writer::open(opened.memory, synod_wire::crc::append)
            .map_err(|reason| QueueError::Refused { path: path.clone(), reason })?;
        Ok(Self { ring, file: opened.file, path })
    }

    /// Puts a record if there is room; returns its position, which no other record of this queue has.
    pub fn try_put(&mut self, tag: Tag, payload: &[u8]) -> Result<u64, PutError> {
        self.ring.put(tag, payload)
    }

    /// Puts a record, waiting for room. Given up while it waits, nothing was put.
    pub async fn put(&mut self, tag: Tag, payload: &[u8]) -> Result<u64, PutError> {
        let mut pause = Pause::new();
        loop {
            match self.ring.put(tag, payload) {
                Err(PutError::Full) => {
                    reach!("queue.waits_for_room");
                    pause.wait().await;
                }
                done => return done,
            }
        }
    }

    /// The position that the next record gets. After the death of a writer it tells its follower which of the dead one's records count.
    pub fn position(&self) -> u64 {
        self.ring.position()
    }

    /// Whether a payload of `len` bytes would find room now.
    pub fn has_room(&mut self, len: usize) -> Result<bool, Damage> {
        self.ring.has_room(len)
    }

    /// Whether everything that was put has been freed by the reader.
    pub fn is_drained(&mut self) -> Result<bool, Damage> {
        self.ring.is_drained()
    }

    /// The longest payload that is taken.
    pub fn largest(&self) -> usize {
        self.ring.largest()
    }

    /// Has the file and its name written to the device: what was put before outlives a loss of power after this returned.
    pub async fn sync_to_disk(&self) -> Result<(), QueueError> {
        let (file, path) = (self.file.clone(), self.path.clone());
        off_the_loop(&self.path, move || arm::sync(&file, &path)).await
    }
}

/// The one reading end of a queue's file.
pub struct Reader {
    ring: synod_ring::queue::Reader,
}

impl Reader {
    /// Opens the queue that a writer made. What the last reader read and did not free comes again.
    pub async fn open(path: &Path) -> Result<Self, QueueError> {
        let (path, owned) = (path.to_owned(), path.to_owned());
        let opened = off_the_loop(&path, move || file::for_reader(&owned)).await?;
        let ring = synod_ring::queue::Reader::open(opened.memory, synod_wire::crc::append)
            .map_err(|reason| QueueError::Refused { path, reason })?;
        Ok(Self { ring })
    }

    /// The oldest record, if there is one. [Free](Peeked::free) it when it is done with.
    pub fn try_next(&mut self) -> Result<Option<Peeked<'_>>, Damage> {
        self.ring.peek()
    }

    /// The oldest record, waiting for one. [Free](Peeked::free) it when it is done with.
    pub async fn next(&mut self) -> Result<Peeked<'_>, Damage> {
        let mut pause = Pause::new();
        while self.ring.peek()?.is_none() {
            pause.wait().await;
        }
        self.ring
            .peek()
            .map(|record| record.unwrap_or_else(|| unreachable!("it was there, and stays until it is freed")))
    }
}

/// The names of the files in a directory, sorted; none if it is not there.
pub async fn list(folder: &Path) -> Result<Vec<String>, QueueError> {
    let owned = folder.to_owned();
    off_the_loop(folder, move || arm::names(&owned)).await
}

/// Removes a queue that nobody has open and nothing waits in; false if it stays. Who opens it at that moment makes another.
pub async fn remove_idle(path: &Path) -> Result<bool, QueueError> {
    let owned = path.to_owned();
    off_the_loop(path, move || file::remove_idle(&owned)).await
}

/// Gives a damaged queue another name, `.damaged` behind its own, so that another can be made; whoever has it open keeps it.
pub async fn set_aside(path: &Path) -> Result<(), QueueError> {
    let mut to = path.as_os_str().to_owned();
    to.push(".damaged");
    let owned = path.to_owned();
    off_the_loop(path, move || arm::rename(&owned, Path::new(&to))).await
}

async fn off_the_loop<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, QueueError> + Send + 'static,
) -> Result<T, QueueError> {
    task::blocking(work).await.unwrap_or_else(|error| {
        Err(QueueError::System { path: path.to_owned(), doing: "its work", reason: error.to_string() })
    })
}
