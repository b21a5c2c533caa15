//! What a segment holds, as a function of its bytes: whole batches up to an end, and a verdict on what lies behind it.
//!
//! A batch that is not whole is a torn tail if nothing says that it was durable, and damage if anything does: a seal behind it, a later
//! segment, or a later batch that carries a mark above it. Damage is never skipped.

use crate::format::{BATCH_HEADER, BLOCK, Batch, Header, Record, aligned};

/// What was found in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Where the whole batches end.
    pub end: u32,
    /// Whether a seal, or the end of the file, says that the segment ends there.
    pub sealed: bool,
    /// Where the last whole batch begins: what is below was durable when that was written. Equal to `end` if there is none.
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
pub fn scan(bytes: &[u8], header: &Header, mut visit: impl FnMut(u32, Record<'_>)) -> Scan {
    let seed = header.seed();
    let len = (header.len as usize).min(bytes.len());
    let mut scan = Scan {
        end: BLOCK as u32,
        sealed: false,
        proven: BLOCK as u32,
        number: header.number,
        mark: 0,
        torn: 0,
    };
    let batch_at = |offset: usize| Batch::decode(seed, offset as u32, bytes.get(offset..len)?);
    loop {
        let at = scan.end as usize;
        if at + BLOCK > len {
            scan.sealed = at as u64 + BLOCK as u64 > header.len;
            return scan;
        }
        let Some(batch) = batch_at(at).filter(|batch| batch.is_seal() || batch.number == scan.number) else {
            break;
        };
        scan.mark = scan.mark.max(batch.durable);
        if batch.is_seal() {
            scan.sealed = true;
            return scan;
        }
        let end = at + batch.len as usize;
        let Some(records) = bytes.get(at + BATCH_HEADER..end.min(len)).filter(|_| end <= len) else { break };
        let mut offset = at + BATCH_HEADER;
        let mut whole = Vec::new();
        while whole.len() < batch.records as usize {
            let from = offset - at - BATCH_HEADER;
            let Some(record) = Record::decode(seed, offset as u32, &records[from..]) else { break };
            whole.push((offset as u32, record));
            offset += record.size();
        }
        if whole.len() < batch.records as usize || offset != end {
            break;
        }
        for (offset, record) in whole {
            visit(offset, record);
        }
        scan.proven = at as u32;
        scan.end = aligned(end) as u32;
        scan.number += u64::from(batch.records);
    }
    let end = scan.end as usize;
    for at in (end..len.saturating_sub(BATCH_HEADER - 1)).step_by(BLOCK) {
        if let Some(batch) = batch_at(at) {
            scan.mark = scan.mark.max(batch.durable);
            scan.torn = (aligned(at + batch.len as usize).min(len) - end) as u64;
        }
    }
    scan
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
