//! A store that nobody has open, to be read and not changed: its lock is held, and nothing is written to it.

use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use synod_platform::disk::File;

use crate::check::look;
use crate::cipher::Keys;
use crate::error::{OpenError, ReadError};
use crate::open::Files;
use crate::options::Options;
use crate::pass::Progress;
use crate::reader::Reader;
use crate::state::LogState;
use crate::store::{Entry, Shared};

/// A store, locked and read through.
pub struct Look {
    reader: Reader,
    _lock: File,
}

impl Look {
    /// Reads all of a sound store; what is wrong with another is told as its opening would.
    pub async fn open(directory: &Path, progress: impl FnMut(Progress)) -> Result<Self, OpenError> {
        let files = Files::of_a_store(directory, Keys::default()).await?;
        files.have_keys(directory)?;
        let (found, state) = look(directory, &files, None, progress).await?;
        if let Some(problem) = found.problem {
            return Err(problem);
        }
        let shared = Arc::new(Shared::new(Options::default(), state.unwrap_or_default(), files.direct));
        Ok(Self { reader: Reader { shared, segments: Rc::new(files.segments) }, _lock: files.lock })
    }

    /// The indexes of a log's entries; none if there is no such log.
    pub fn range(&self, log: &str) -> Option<Range<u64>> {
        self.find(log, |_, state| state.first()..state.last() + 1)
    }

    /// The entries of a range of a log, as [`Log::read`](crate::Log::read) gives them; none if there is no such log.
    pub async fn read(
        &self,
        log: &str,
        range: Range<u64>,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        match self.find(log, |id, _| id) {
            Some(id) => self.reader.read(id, range, bytes_max).await,
            None => Ok(Vec::new()),
        }
    }

    fn find<T>(&self, name: &str, look: impl FnOnce(u32, &LogState) -> T) -> Option<T> {
        let state = self.reader.shared.state();
        state.find(name).map(|id| look(id, &state.logs[&id]))
    }
}

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Look").finish_non_exhaustive()
    }
}
