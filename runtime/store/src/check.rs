//! Looking at a store that nobody has open, and cutting it where it is damaged.
//!
//! [`check`] changes nothing. [`cut`] drops everything from a place on, in the order in which it was written, after a copy was made; it is
//! tried first, and refused if what is left would not be sound: a needed record may have been copied behind the place.

use std::path::{Path, PathBuf};

use synod_platform::disk::{self, Buffer, DiskError, File, OpenOptions, SyncKind};

use crate::cipher::Keys;
use crate::error::OpenError;
use crate::format::Header;
use crate::open::Files;
use crate::pass::{Progress, Wanted, pass};
use crate::rebuild::Rebuild;
use crate::segments::{id_of, path_of};
use crate::state::{LogState, State};
use crate::store::WritePath;

/// A segment, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFound {
    /// Its file.
    pub file: PathBuf,
    /// Which it is in the order of the log.
    pub epoch: u64,
    /// How many whole records it has, those no longer needed among them.
    pub records: u64,
    /// Where its whole batches end, bytes.
    pub end: u64,
    /// What can be seen of a torn tail behind that, bytes.
    pub torn: u64,
}

/// A log, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFound {
    /// Its name.
    pub name: String,
    /// The index of its first entry.
    pub first: u64,
    /// The index of its last entry; one less than the first if it has none.
    pub last: u64,
}

/// What a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// How it would be written to.
    pub write_path: WritePath,
    /// Its segments up to the first that is damaged, in their order.
    pub segments: Vec<SegmentFound>,
    /// Its logs, by name; none if it is damaged.
    pub logs: Vec<LogFound>,
    /// Why it would not be opened.
    pub problem: Option<OpenError>,
}

/// Everything from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The name of a segment's file.
    pub segment: String,
    /// The batch in which this byte lies is the first that is dropped.
    pub offset: u64,
}

/// Reads a store that nobody has open. An error says that it could not be looked at; what is wrong with it is told in the answer.
pub async fn check(directory: &Path) -> Result<Found, OpenError> {
    check_with(directory, |_| {}).await
}

/// The same, and tells every now and then how far it has come.
pub async fn check_with(directory: &Path, progress: impl FnMut(Progress)) -> Result<Found, OpenError> {
    let files = Files::of_a_store(directory, Keys::default()).await?;
    Ok(look(directory, &files, None, progress).await?.0)
}

/// What a store would hold after that cut.
pub async fn try_cut(directory: &Path, cut: &Cut) -> Result<Found, OpenError> {
    let files = Files::of_a_store(directory, Keys::default()).await?;
    Ok(look(directory, &files, Some(cut), |_| {}).await?.0)
}

/// Copies all segments into the directory `backup`, which must not hold any of their names, and cuts. Nothing is changed if what is
/// left would not be sound.
pub async fn cut(directory: &Path, cut: &Cut, backup: &Path) -> Result<Found, OpenError> {
    let files = Files::of_a_store(directory, Keys::default()).await?;
    let (left, _) = look(directory, &files, Some(cut), |_| {}).await?;
    if left.problem.is_some() {
        return Ok(left);
    }
    back_up(&files, backup).await?;
    // From the end: whatever is interrupted leaves a store that asks for the same cut again.
    let end = left.segments.last().map_or((0, 0), |last| (last.epoch, last.end as u32));
    for (_, segment) in files.order.iter().rev().take_while(|(epoch, _)| **epoch > end.0) {
        segment.begin(Header::of_none(segment.header.get().len), &Keys::default()).await?;
    }
    if let Some(segment) = files.order.get(&end.0) {
        segment.seal(end.1, 0).await?;
    }
    Ok(left)
}

/// What the files hold, up to the cut; the state only if that is sound.
pub(crate) async fn look(
    directory: &Path,
    files: &Files,
    cut: Option<&Cut>,
    progress: impl FnMut(Progress),
) -> Result<(Found, Option<State>), OpenError> {
    let cut_at = cut.and_then(|cut| Some((id_of(&cut.segment)?, cut.offset)));
    if cut.is_some() && !cut_at.is_some_and(|(id, _)| files.order.values().any(|segment| segment.id == id)) {
        return Err(OpenError::Options("the store has no such segment with something in it to cut"));
    }
    let mut found = Found {
        write_path: WritePath::of(files.direct),
        segments: Vec::new(),
        logs: Vec::new(),
        problem: None,
    };
    let (mut rebuild, mut number) = (Rebuild::default(), 1);
    let last = files.order.last_key_value().map_or(0, |(epoch, _)| *epoch);
    let mut wanted = Vec::new();
    for (epoch, segment) in &files.order {
        let here = cut_at.filter(|(id, _)| *id == segment.id).map(|(_, offset)| offset);
        let whole = Wanted::whole(segment, *epoch == last || here.is_some());
        wanted.push(Wanted { len: here.unwrap_or(whole.len).min(whole.len), ..whole });
        if here.is_some() {
            break;
        }
    }
    let passed = pass(directory, &wanted, &mut rebuild, progress, |part| {
        number = number.max(part.found.number);
        found.segments.push(SegmentFound {
            file: path_of(directory, part.segment.id),
            epoch: part.segment.header.get().epoch,
            records: part.records,
            end: part.found.end.into(),
            torn: part.found.torn,
        });
    });
    match passed.await {
        Ok(()) => {}
        Err(OpenError::Disk(error)) => return Err(error.into()),
        Err(problem) => {
            found.problem = Some(problem);
            return Ok((found, None));
        }
    }
    let state = match rebuild.finish(number) {
        Ok(state) => state,
        Err(problem) => {
            found.problem = Some(problem);
            return Ok((found, None));
        }
    };
    let log = |log: &LogState| LogFound { first: log.first(), last: log.last(), name: log.name.clone() };
    found.logs = state.logs.values().filter(|log| !log.is_removed()).map(log).collect();
    found.logs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok((found, Some(state)))
}

/// Copies all segments into a directory, durably.
pub(crate) async fn back_up(files: &Files, backup: &Path) -> Result<(), DiskError> {
    disk::create_directories(backup).await?;
    let segments: Vec<_> = files.segments.all.borrow().values().cloned().collect();
    for segment in segments {
        copy(&segment.file, &path_of(backup, segment.id)).await?;
    }
    disk::sync_directory(backup).await?;
    let parent = backup.parent().filter(|parent| !parent.as_os_str().is_empty());
    disk::sync_directory(parent.unwrap_or(Path::new("."))).await
}

async fn copy(from: &File, to: &Path) -> Result<(), DiskError> {
    let to = File::open(to, OpenOptions::CREATE_NEW).await?;
    let (mut at, mut chunk) = (0, Buffer::zeroed(1 << 20));
    loop {
        let (read, returned) = from.read_at(at, chunk).await;
        let count = read?;
        if count == 0 {
            break;
        }
        to.write_all_at(at, Buffer::copy_of(&returned[..count])).await.0?;
        at += count as u64;
        chunk = returned;
    }
    to.sync(SyncKind::Full).await
}
