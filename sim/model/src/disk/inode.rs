//! One file's content twice: as the running system sees it, and as it would be found after a loss of power.
//!
//! Between the two lie the changes that no sync covered yet, in order. A sync that was started after a change completed makes
//! it durable; a failed one forgets that it was dirty, as Linux does.

use std::collections::BTreeMap;

use super::faults::{PowerLoss, SECTOR};
use crate::Random;

#[derive(Clone, Debug)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    SetLength(u64),
}

/// A regular file's content.
#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// What reads see.
    pub(super) seen: Vec<u8>,
    /// What is on the device.
    pub(super) durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// How many changes were ever taken out of `unsynced`: marks stay valid across syncs.
    settled: u64,
}

/// Up to which change a sync covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64);

fn put(content: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}

/// The parts of a write that lie in one sector each: sector number and the range within the written bytes.
fn sectors(offset: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= len {
            return None;
        }
        let position = offset + at as u64;
        let end = len.min(at + (SECTOR - position % SECTOR) as usize);
        let part = (position / SECTOR, at..end);
        at = end;
        Some(part)
    })
}

impl Inode {
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        put(&mut self.seen, offset, bytes);
        self.unsynced.push(Change::Write { offset, bytes: bytes.to_vec() });
    }

    /// A write that is durable when it is done. With `misdirect` one sector of it went to another place.
    pub(super) fn write_durable(
        &mut self,
        offset: u64,
        bytes: &[u8],
        misdirect: bool,
        random: &mut impl Random,
    ) {
        self.settle_lengths();
        put(&mut self.seen, offset, bytes);
        self.overlay(offset, bytes);
        let before = misdirect.then(|| self.durable.clone());
        put(&mut self.durable, offset, bytes);
        if let Some(before) = before {
            self.misdirect(&before, &[Change::Write { offset, bytes: bytes.to_vec() }], random);
        }
    }

    /// Lengths are journaled, and a durable write takes them along; not what else was written to the file.
    fn settle_lengths(&mut self) {
        for at in 0..self.unsynced.len() {
            let Change::SetLength(len) = self.unsynced[at] else { continue };
            let len = len as usize;
            self.durable.resize(len, 0);
            for change in &mut self.unsynced[..at] {
                if let Change::Write { offset, bytes } = change {
                    bytes.truncate(len.saturating_sub(*offset as usize));
                }
            }
            // Marks count changes: this one stays, and changes nothing any more.
            self.unsynced[at] = Change::Write { offset: 0, bytes: Vec::new() };
        }
    }

    /// A write past the cache that failed: each of its sectors is on the device or not, and that is what reads see.
    pub(super) fn write_torn(&mut self, offset: u64, bytes: &[u8], random: &mut impl Random) {
        for (_, part) in sectors(offset, bytes.len()) {
            let at = offset + part.start as u64;
            let range = at as usize..at as usize + part.len();
            if range.end > self.durable.len() {
                return;
            }
            if random.chance(0.5) {
                self.overlay(at, &bytes[part.clone()]);
                put(&mut self.durable, at, &bytes[part]);
            }
            let found = self.durable[range].to_vec();
            put(&mut self.seen, at, &found);
        }
    }

    /// What is not synced yet holds, where it lies, this from now on: a later sync writes nothing older over it.
    fn overlay(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset + bytes.len() as u64;
        for change in &mut self.unsynced {
            let Change::Write { offset: at, bytes: old } = change else { continue };
            let (from, to) = (offset.max(*at), end.min(*at + old.len() as u64));
            if from < to {
                let new = &bytes[(from - offset) as usize..(to - offset) as usize];
                old[(from - *at) as usize..(to - *at) as usize].copy_from_slice(new);
            }
        }
    }

    pub(super) fn set_length(&mut self, len: u64) {
        if self.seen.len() as u64 != len {
            self.seen.resize(len as usize, 0);
            self.unsynced.push(Change::SetLength(len));
        }
    }

    pub(super) fn has_unsynced(&self) -> bool {
        !self.unsynced.is_empty()
    }

    /// What a sync started now will cover.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.settled + self.unsynced.len() as u64)
    }

    fn take_up_to(&mut self, mark: Mark) -> Vec<Change> {
        // Another sync may have settled these changes, or a crash all of them.
        let covered = (mark.0.saturating_sub(self.settled) as usize).min(self.unsynced.len());
        self.settled += covered as u64;
        self.unsynced.drain(..covered).collect()
    }

    /// A sync succeeded: what it covers is on the device. With `misdirect` one sector of it went to another place.
    pub(super) fn synced(&mut self, mark: Mark, misdirect: bool, random: &mut impl Random) {
        let changes = self.take_up_to(mark);
        let before = misdirect.then(|| self.durable.clone());
        for change in &changes {
            match change {
                Change::Write { offset, bytes } => put(&mut self.durable, *offset, bytes),
                Change::SetLength(len) => self.durable.resize(*len as usize, 0),
            }
        }
        if let Some(before) = before {
            self.misdirect(&before, &changes, random);
        }
    }

    /// Takes one written sector from where it belongs (the old content is there again) and puts it over another one.
    fn misdirect(&mut self, before: &[u8], changes: &[Change], random: &mut impl Random) {
        let mut written: Vec<u64> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Write { offset, bytes } => {
                    Some(sectors(*offset, bytes.len()).map(|(sector, _)| sector))
                }
                Change::SetLength(_) => None,
            })
            .flatten()
            .filter(|sector| sector * SECTOR < self.durable.len() as u64)
            .collect();
        written.sort_unstable();
        written.dedup();
        let count = (self.durable.len() as u64).div_ceil(SECTOR);
        if written.is_empty() || count < 2 {
            return;
        }
        let from = written[random.below(written.len() as u64) as usize];
        let to = (from + 1 + random.below(count - 1)) % count;
        let len = self.durable.len();
        let range = |sector: u64| (sector * SECTOR) as usize..(((sector + 1) * SECTOR) as usize).min(len);
        let moved = self.durable[range(from)].to_vec();
        for position in range(from) {
            self.durable[position] = before.get(position).copied().unwrap_or(0);
        }
        for (position, byte) in range(to).zip(moved) {
            self.durable[position] = byte;
        }
        synod_probe::reach!("disk.misdirected_write");
    }

    /// A sync failed: what it would have covered is clean in the cache and was never written.
    pub(super) fn sync_failed(&mut self, mark: Mark) {
        for change in self.take_up_to(mark) {
            // The length is journaled apart from the data, which stays what the device had: zeros in the new part.
            match change {
                Change::Write { offset, bytes } => {
                    let end = offset as usize + bytes.len();
                    if self.durable.len() < end {
                        self.durable.resize(end, 0);
                    }
                }
                Change::SetLength(len) => self.durable.resize(len as usize, 0),
            }
        }
    }

    /// Power is lost: the cache is gone, and of what was unsynced some has reached the device.
    pub(super) fn power_lost(&mut self, how: PowerLoss, random: &mut impl Random) {
        let all = self.mark();
        let changes = self.take_up_to(all);
        let count = changes.len() as u64;
        match how {
            PowerLoss::Keeps => self.durable.clone_from(&self.seen),
            PowerLoss::LosesUnsynced => {
                let kept = random.between(0, count);
                for change in changes.into_iter().take(kept as usize) {
                    match change {
                        Change::Write { offset, bytes } => put(&mut self.durable, offset, &bytes),
                        Change::SetLength(len) => self.durable.resize(len as usize, 0),
                    }
                }
                if kept < count {
                    synod_probe::reach!("disk.unsynced_write_lost");
                }
            }
            PowerLoss::LosesUnsyncedTorn => self.tear(&changes, random),
        }
        self.seen.clone_from(&self.durable);
    }

    /// Lengths survive up to some change; each sector's content up to some change of its own.
    fn tear(&mut self, changes: &[Change], random: &mut impl Random) {
        let count = changes.len() as u64;
        let lengths = random.between(0, count);
        let mut contents: BTreeMap<u64, u64> = BTreeMap::new();
        let mut lost = false;
        for (index, change) in changes.iter().enumerate() {
            let index = index as u64;
            match change {
                Change::SetLength(len) => {
                    if index < lengths {
                        self.durable.resize(*len as usize, 0);
                    }
                }
                Change::Write { offset, bytes } => {
                    let end = offset + bytes.len() as u64;
                    if index < lengths && (self.durable.len() as u64) < end {
                        self.durable.resize(end as usize, 0);
                    }
                    let mut taken = 0;
                    for (sector, part) in sectors(*offset, bytes.len()) {
                        let survives = *contents.entry(sector).or_insert_with(|| random.between(0, count));
                        let at = offset + part.start as u64;
                        let room =
                            (self.durable.len() as u64).saturating_sub(at).min(part.len() as u64) as usize;
                        if index < survives && room > 0 {
                            put(&mut self.durable, at, &bytes[part.start..part.start + room]);
                            taken += room;
                        }
                    }
                    if taken == 0 {
                        lost = true;
                    } else if taken < bytes.len() {
                        synod_probe::reach!("disk.write_torn");
                    }
                }
            }
        }
        if lost {
            synod_probe::reach!("disk.unsynced_write_lost");
        }
    }

    /// Turns one bit on the device. The cache has let go of the sector if it was clean, so that reads see it too.
    pub(super) fn rot(&mut self, random: &mut impl Random) -> bool {
        if self.durable.is_empty() {
            return false;
        }
        let at = random.below(self.durable.len() as u64);
        let sector = at / SECTOR;
        let dirty = self.unsynced.iter().any(|change| match change {
            Change::Write { offset, bytes } => sectors(*offset, bytes.len()).any(|(s, _)| s == sector),
            Change::SetLength(_) => true,
        });
        self.durable[at as usize] ^= 1 << random.below(8);
        if !dirty && let Some(byte) = self.seen.get_mut(at as usize) {
            *byte = self.durable[at as usize];
        }
        synod_probe::reach!("disk.bit_rot");
        true
    }
}
