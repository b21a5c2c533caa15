//! What messages of a run say: their id and a pattern made from it, so that damage is seen.

use crate::history::Id;

/// The least a payload needs: its id.
const HEADER: usize = 8;

/// A payload of `len` bytes (at least the id's eight).
pub fn make(id: Id, len: usize) -> Vec<u8> {
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend((HEADER..len).map(|place| pattern(id, place)));
    bytes
}

/// The id that a payload names, and whether all of it is as it was made. Nothing for one too short for an id.
pub fn read(bytes: &[u8]) -> Option<(Id, bool)> {
    let (id, rest) = bytes.split_first_chunk::<HEADER>()?;
    let id = Id::from_le_bytes(*id);
    let whole = rest.iter().enumerate().all(|(place, byte)| *byte == pattern(id, place + HEADER));
    Some((id, whole))
}

fn pattern(id: Id, place: usize) -> u8 {
    (id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8 ^ (place as u8).wrapping_mul(31) ^ (place >> 8) as u8
}

#[cfg(test)]
mod tests {
    use super::{make, read};

    #[test]
    fn a_payload_names_its_id_and_shows_damage() {
        for len in [0, 8, 9, 300] {
            let mut bytes = make(77, len);
            assert_eq!(read(&bytes), Some((77, true)));
            if bytes.len() > 8 {
                *bytes.last_mut().unwrap() ^= 1;
                assert_eq!(read(&bytes), Some((77, false)));
            }
        }
        assert_eq!(read(b"short"), None);
    }
}
