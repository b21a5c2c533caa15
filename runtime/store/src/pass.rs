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
use synod_probe::reach;

use crate::cipher::{WrongKey, decrypted};
use crate::error::OpenError;
use crate::format::{BLOCK, Kind, Record};
use crate::rebuild::Rebuild;
use crate::scan::{Scan, Scanner, verdict};
use crate::segments::{Segment, path_of};
use crate::state::Place;

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
    /// The whole batches of the last segment that nothing proves durable.
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
    // One for all, that it does not leave its places in memory to what stays.
    let mut held: Vec<u8> = Vec::new();
    for wanted in wanted {
        held.clear();
        let header = wanted.segment.header.get();
        let mut scanner = Scanner::new(&header);
        let (mut records, mut strange, mut unopened) = (0, None, None);
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
            let Scan { proven: kept, end: from, .. } = scanner.found;
            let through = scanner.take(&held, left == 0, |offset, record| {
                records += 1;
                match hand_on(rebuild, &wanted.segment, offset, &record) {
                    Ok(true) => {}
                    Ok(false) => drop(strange.get_or_insert((offset, record.stamp))),
                    Err(WrongKey) => drop(unopened.get_or_insert(offset)),
                }
            });
            let Scan { proven, end, .. } = scanner.found;
            if wanted.last && from < end {
                batch.extend_from_slice(&held[..(end - from) as usize]);
                batch.drain(..(proven - kept) as usize);
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
        if let Some(offset) = unopened {
            let file = path_of(directory, wanted.segment.id);
            return Err(OpenError::WrongKey { file, offset: offset.into() });
        }
        if let Some((offset, number)) = strange.or(damage) {
            reach!("store.damage_told");
            let file = path_of(directory, wanted.segment.id);
            return Err(OpenError::Corrupt { file, offset: u64::from(offset), number });
        }
        done(Part { segment: wanted.segment.clone(), found, records, batch });
    }
    Ok(())
}

/// Hands a record to `rebuild`; of names and values it sees what they say. Without the key a log is called by its number, and values
/// are not looked at.
fn hand_on(
    rebuild: &mut Rebuild,
    segment: &Segment,
    offset: u32,
    record: &Record<'_>,
) -> Result<bool, WrongKey> {
    let place = Place { segment: segment.id, offset, len: record.payload.len() as u32 };
    let cipher = segment.cipher.borrow();
    let locked = segment.header.get().key.is_some() && cipher.is_none();
    let payload = match record.kind {
        Kind::Value if locked => return Ok(true),
        Kind::Name | Kind::Removed if locked => format!("number {}", record.log).into_bytes().into(),
        Kind::Entry | Kind::Bounds => record.payload.into(),
        Kind::Name | Kind::Removed | Kind::Value => decrypted(cipher.as_deref(), record, offset)?,
    };
    Ok(rebuild.record(&Record { payload: &payload, ..*record }, place))
}

/// Reads one piece of a segment, as much as there is of it.
async fn read(wanted: &Wanted, at: u64, spare: &RefCell<Vec<Buffer>>) -> Result<(usize, Buffer), DiskError> {
    let len = (wanted.len - at).min(CHUNK as u64) as usize;
    let buffer = spare.borrow_mut().pop().unwrap_or_else(|| Buffer::zeroed(CHUNK));
    let (read, buffer) = wanted.segment.file.fill_at(at, buffer).await;
    Ok((read?.min(len), buffer))
}
