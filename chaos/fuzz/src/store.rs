//! What the store reads from a disk: the entries that streams leave in their log.

use synod_platform::time::Wall;
use synod_store::streams::{Fact, Machine};

/// Entries, each behind two bytes of length: one encoding each, and whatever they say can be obeyed, asked about and carried on.
pub fn streams(bytes: &[u8]) {
    let mut machine = Machine::default();
    let mut log = Vec::new();
    let mut rest = bytes;
    while let Some((len, behind)) = rest.split_first_chunk::<2>() {
        let (entry, behind) = behind.split_at(behind.len().min(u16::from_le_bytes(*len).into()));
        rest = behind;
        let Ok(fact) = Fact::decode(entry) else { continue };
        assert_eq!(fact.encode(), entry, "a fact has one encoding");
        machine.apply(log.len() as u64, fact);
        log.push(entry);
    }
    for fact in machine.overdue(Wall::from_nanos(u64::MAX), 100) {
        machine.apply(log.len() as u64, fact);
    }
    for (position, entry) in log.iter().enumerate() {
        let fact = Fact::decode(entry).expect("it was read before");
        if let Some(carried) = machine.carried(position as u64, fact) {
            assert_eq!(Fact::decode(&carried.encode()), Ok(carried.clone()));
            machine.apply((log.len() + position) as u64, carried);
        }
    }
}
