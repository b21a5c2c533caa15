//! What a segment holds, as a function of its bytes: whole batches up to an end, and a verdict on what lies behind it.
//!
//! A batch that is not whole is a torn tail if nothing says that it was durable, and damage if anything does: a seal behind it, a later
//! segment, or a later batch that carries a mark above it. Damage is never skipped.

use crate::format::{BATCH_HEADER, BLOCK, Batch, Header, Record, Seed, aligned};

/// What was found in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Where the whole batches end.
    pub end: u32,
    /// Whether a seal, or the end of the file, says that the segment ends there.
    pub sealed: bool,
    /// Below this all was known to be durable when the last whole batch was written. Equal to `end` if there is none.
    pub proven: u32,
    /// The running number of the next record.
    pub number: u64,
    /// The highest mark of any batch, also behind the end: below it all was known to be durable.
    pub mark: u32,
    /// Bytes behind the end that can be seen to have been written: a torn tail's least length.
    pub torn: u64,
}

/// Something that was durable cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where the first batch that is not whole should begin.
    pub offset: u32,
    /// The running number of the first record that is lost.
    pub number: u64,
}

/// Reads a segment's bytes, header included, and hands each record of each whole batch to `visit`, with its offset.
/// `bytes` may end before the segment does; what is missing is then not whole.
pub fn scan(bytes: &[u8], header: &Header, visit: impl FnMut(u32, Record<'_>)) -> Scan {
    let mut scanner = Scanner::new(header);
    scanner.take(bytes.get(BLOCK..).unwrap_or_default(), true, visit);
    scanner.found
}

/// The same, piece by piece.
#[derive(Debug)]
pub struct Scanner {
    seed: Seed,
    /// The segment's length.
    len: usize,
    /// What comes next begins here.
    at: usize,
    phase: Phase,
    /// What was found so far.
    pub found: Scan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Whole batches, so far.
    Batches,
    /// Behind them, looking for marks.
    Behind,
    Ended,
}

impl Scanner {
    /// For a segment with this header; what comes first is the block behind it.
    pub fn new(header: &Header) -> Self {
        let found = Scan {
            end: BLOCK as u32,
            sealed: false,
            proven: BLOCK as u32,
            number: header.number,
            mark: 0,
            torn: 0,
        };
        Self { seed: header.seed(), len: header.len as usize, at: BLOCK, phase: Phase::Batches, found }
    }

    /// Takes what comes next, and answers how many bytes of it are done with: the others are to be shown again, with more behind them.
    /// `last` says that there is no more.
    pub fn take(&mut self, bytes: &[u8], last: bool, mut visit: impl FnMut(u32, Record<'_>)) -> usize {
        let from = self.at;
        let to = self.len.min(from + bytes.len());
        let rest = |at: usize| &bytes[at.min(to) - from..to - from];
        while self.phase == Phase::Batches
            && let Some(phase) = self.batch(rest(self.at), last, &mut visit)
        {
            self.phase = phase;
        }
        while self.phase == Phase::Behind && self.at + if last { BATCH_HEADER } else { BLOCK } <= to {
            if let Some(batch) = Batch::decode(self.seed, self.at as u32, rest(self.at)) {
                self.found.mark = self.found.mark.max(batch.durable);
                let end = aligned(self.at + batch.len as usize).min(self.len);
                self.found.torn = (end - self.found.end as usize) as u64;
            }
            self.at += BLOCK;
        }
        if last {
            self.found.torn = self.found.torn.min(to.saturating_sub(self.found.end as usize) as u64);
        }
        if self.phase == Phase::Ended { bytes.len() } else { self.at.min(to) - from }
    }

    /// Takes the batch that comes next, and answers what follows it; `None` if not enough of it is there yet.
    fn batch(&mut self, bytes: &[u8], last: bool, visit: &mut impl FnMut(u32, Record<'_>)) -> Option<Phase> {
        let (at, found) = (self.at, &mut self.found);
        if at + BLOCK > self.len {
            found.sealed = true;
            return Some(Phase::Ended);
        }
        if bytes.len() < BLOCK {
            return last.then_some(Phase::Ended);
        }
        let batch = Batch::decode(self.seed, at as u32, bytes);
        let Some(batch) = batch.filter(|batch| batch.is_seal() || batch.number == found.number) else {
            return Some(Phase::Behind);
        };
        found.mark = found.mark.max(batch.durable);
        if batch.is_seal() {
            found.sealed = true;
            return Some(Phase::Ended);
        }
        let len = batch.len as usize;
        let end = at + len;
        // The padding behind it, too, unless the file ends there.
        if end > self.len || bytes.len() < if last { len } else { aligned(len) } {
            return (last || end > self.len).then_some(Phase::Behind);
        }
        let records = &bytes[BATCH_HEADER..len];
        let mut offset = BATCH_HEADER;
        let mut whole = Vec::new();
        while whole.len() < batch.records as usize {
            let place = (at + offset) as u32;
            let Some(record) = Record::decode(self.seed, place, &records[offset - BATCH_HEADER..]) else {
                break;
            };
            whole.push((place, record));
            offset += record.size();
        }
        if whole.len() < batch.records as usize || at + offset != end {
            return Some(Phase::Behind);
        }
        for (place, record) in whole {
            visit(place, record);
        }
        found.proven = batch.durable.clamp(found.proven, at as u32);
        self.at = aligned(end);
        found.end = self.at as u32;
        found.number += u64::from(batch.records);
        Some(Phase::Batches)
    }
}

/// Whether a scan's end is the segment's: `last` says that no later segment was ever begun.
pub fn verdict(scan: &Scan, last: bool) -> Result<(), Damage> {
    if scan.sealed || (last && scan.mark <= scan.end) {
        return Ok(());
    }
    if synod_probe::plant!("wal.recover-past-hole") {
        return Ok(());
    }
    Err(Damage { offset: scan.end, number: scan.number })
}
