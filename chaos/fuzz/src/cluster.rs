//! What consensus reads from a disk: votes, log ids, entries, snapshots.

use synod_cluster::Written;

/// The kind of an entry that holds JSON, which has several spellings.
const MEMBERSHIP: u8 = 0x12;

/// The first byte says which it is; what was read is written in one way, and what is no JSON could be written in no other.
pub fn consensus(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let written = match which % 4 {
        0 => Written::Vote,
        1 => Written::LogId,
        2 => Written::Entry,
        _ => Written::Snapshot,
    };
    let Ok(again) = written.again(bytes) else { return };
    let spelled = match written {
        Written::Snapshot => true,
        Written::Entry => bytes[0] == MEMBERSHIP,
        Written::Vote | Written::LogId => false,
    };
    if !spelled {
        assert_eq!(again, bytes, "it has one encoding");
    }
    let third = written.again(&again).expect("what was written can be read");
    assert_eq!(third, again, "it is written in one way");
}
