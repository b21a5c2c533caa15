//! Reading all segments once, in the order of their epochs: the disk reads ahead while the processor checks.
//!
//! In memory are what is read ahead, and the batch that is being looked at; never a segment.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use futures_util::{StreamExt, stream};
use synod_platform::disk::{Buffer, DiskError};
use synod_platform::task;
use synod_platform::time::{self, Duration};

use crate::error::OpenError;
use crate::format::BLOCK;
use crate::rebuild::Rebuild;
use crate::scan::{Scan, Scanner, verdict};
use crate::segments::{Segment, path_of};

/// How much one read of the disk takes, bytes.
const CHUNK: usize = 1 << 20;

/// How many reads are under way at a time.
const AHEAD: usize = 4;

/// How far the reading has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of segments read.
    pub read: u64,
    /// Bytes of all segments.
    pub total: u64,
    /// Since the first read.
    pub elapsed: Duration,
}

impl Progress {
    /// Bytes a second so far; 0 before there is a time to speak of.
    pub fn rate(&self) -> u64 {
        (u128::from(self.read) * 1_000_000_000).checked_div(self.elapsed.as_nanos()).unwrap_or(0) as u64
    }
}

/// A segment that is to be read.
pub(crate) struct Wanted {
    pub(crate) segment: Rc<Segment>,
    /// Up to here.
    pub(crate) len: u64,
    /// No later one was ever begun.
    pub(crate) last: bool,
}

impl Wanted {
    pub(crate) fn whole(segment: &Rc<Segment>, last: bool) -> Self {
        Self { len: segment.header.get().len, segment: segment.clone(), last }
    }

    /// Where its reads begin, behind the header.
    fn reads(&self) -> impl Iterator<Item = u64> + use<> {
        (BLOCK as u64..self.len).step_by(CHUNK)
    }
}

/// What was read of a segment.
pub(crate) struct Part {
    pub(crate) segment: Rc<Segment>,
    pub(crate) found: Scan,
    pub(crate) records: u64,
    /// The last whole batch of the last segment.
    pub(crate) batch: Vec<u8>,
}

/// Reads segments, hands their records to `rebuild`, and each one's part to `done`, up to the first that is damaged.
pub(crate) async fn pass(
    directory: &Path,
    wanted: &[Wanted],
    rebuild: &mut Rebuild,
    mut progress: impl FnMut(Progress),
    mut done: impl FnMut(Part),
) -> Result<(), OpenError> {
    let begun = time::now();
    let mut told = Progress { total: wanted.iter().map(|wanted| wanted.len).sum(), ..Progress::default() };
    let spare = RefCell::new(Vec::new());
    let reads = wanted.iter().flat_map(|wanted| wanted.reads().map(move |at| (wanted, at)));
    let mut chunks = stream::iter(reads).map(|(wanted, at)| read(wanted, at, &spare)).buffered(AHEAD);
    for wanted in wanted {
        let header = wanted.segment.header.get();
        let mut scanner = Scanner::new(&header);
        let (mut records, mut strange) = (0, None);
        let mut held: Vec<u8> = Vec::new();
        let mut batch = Vec::new();
        let mut left = wanted.reads().count();
        loop {
            if left > 0 {
                // Lets what is to be read next go to the disk before this is looked at.
                task::yield_now().await;
                let Some(chunk) = chunks.next().await else { break };
                let (len, buffer) = chunk?;
                held.extend_from_slice(&buffer[..len]);
                spare.borrow_mut().push(buffer);
                left -= 1;
            }
            let from = scanner.found.end;
            let through = scanner.take(&held, left == 0, |offset, record| {
                records += 1;
                if !rebuild.record(&record, wanted.segment.id, offset) {
                    strange.get_or_insert((offset, record.stamp));
                }
            });
            let Scan { proven, end, .. } = scanner.found;
            if wanted.last && from < end {
                batch.clear();
                batch.extend_from_slice(&held[(proven - from) as usize..(end - from) as usize]);
            }
            held.drain(..through);
            told.elapsed = time::now() - begun;
            if left == 0 {
                break;
            }
            progress(Progress { read: told.read + wanted.len - (left * CHUNK) as u64, ..told });
        }
        told.read += wanted.len;
        progress(told);
        let found = scanner.found;
        let damage = verdict(&found, wanted.last).err().map(|damage| (damage.offset, damage.number));
        if let Some((offset, number)) = strange.or(damage) {
            let file = path_of(directory, wanted.segment.id);
            return Err(OpenError::Corrupt { file, offset: u64::from(offset), number });
        }
        done(Part { segment: wanted.segment.clone(), found, records, batch });
    }
    Ok(())
}

/// Reads one piece of a segment, as much as there is of it.
async fn read(wanted: &Wanted, at: u64, spare: &RefCell<Vec<Buffer>>) -> Result<(usize, Buffer), DiskError> {
    let len = (wanted.len - at).min(CHUNK as u64) as usize;
    let held = spare.borrow_mut().pop().filter(|buffer: &Buffer| buffer.len() == len);
    let (read, buffer) = wanted.segment.file.fill_at(at, held.unwrap_or_else(|| Buffer::zeroed(len))).await;
    Ok((read?, buffer))
}
