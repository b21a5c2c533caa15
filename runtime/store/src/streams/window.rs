//! The ids that a stream remembers, so that a message sent twice is appended once.
//!
//! Which ids are forgotten is decided outside, by age and count, and written as a floor of sequences: the window itself only obeys.

use std::collections::BTreeMap;
use std::sync::Arc;

use synod_platform::time::Wall;

/// What is known of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The message that had it first.
    pub sequence: u64,
    /// When that was appended.
    pub at: Wall,
    /// Which entry of the log says so.
    pub position: u64,
}

/// The ids of one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    ids: BTreeMap<Arc<[u8]>, Seen>,
    by_sequence: BTreeMap<u64, Arc<[u8]>>,
}

impl Window {
    pub fn get(&self, id: &[u8]) -> Option<Seen> {
        self.ids.get(id).copied()
    }

    pub fn len(&self) -> u64 {
        self.ids.len() as u64
    }

    /// Remembers an id, or that a later entry of the log says the same of it.
    pub fn insert(&mut self, id: Arc<[u8]>, seen: Seen) {
        self.by_sequence.insert(seen.sequence, id.clone());
        if let Some(before) = self.ids.insert(id, seen)
            && before.sequence != seen.sequence
        {
            self.by_sequence.remove(&before.sequence);
        }
    }

    /// Forgets the ids of all messages below `floor`.
    pub fn forget_below(&mut self, floor: u64) {
        while let Some(first) = self.by_sequence.first_entry().filter(|first| *first.key() < floor) {
            self.ids.remove(&first.remove());
        }
    }

    /// The floor that leaves at most `most` ids, none of them appended at `oldest` or before.
    pub fn floor(&self, most: u64, oldest: Option<Wall>) -> u64 {
        let excess = self.len().saturating_sub(most);
        let stays = |id: &Arc<[u8]>| oldest.is_none_or(|oldest| self.ids[id].at > oldest);
        let mut ids = self.by_sequence.iter().zip(1..);
        match ids.find(|((_, id), number)| *number > excess && stays(id)) {
            Some(((sequence, _), _)) => *sequence,
            None => self.by_sequence.last_key_value().map_or(0, |(last, _)| last + 1),
        }
    }

    /// The lowest sequence whose id is remembered.
    pub fn first(&self) -> Option<u64> {
        self.by_sequence.first_key_value().map(|(first, _)| *first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(ids: &[(&[u8], u64)]) -> Window {
        let mut window = Window::default();
        for (id, sequence) in ids {
            let at = Wall::from_nanos(sequence * 10);
            window.insert(Arc::from(*id), Seen { sequence: *sequence, at, position: *sequence });
        }
        window
    }

    #[test]
    fn the_floor_leaves_the_newest_and_the_young() {
        let window = window(&[(b"c", 7), (b"a", 2), (b"b", 5)]);
        assert_eq!(window.floor(3, None), 2);
        assert_eq!(window.floor(2, None), 5);
        assert_eq!(window.floor(3, Some(Wall::from_nanos(50))), 7);
        assert_eq!(window.floor(0, None), 8);
        assert_eq!(Window::default().floor(0, None), 0);
    }

    #[test]
    fn what_lies_below_the_floor_is_forgotten_and_the_rest_is_not() {
        let mut window = window(&[(b"a", 2), (b"b", 5)]);
        window.forget_below(5);
        assert_eq!(window.get(b"a"), None);
        assert_eq!(window.get(b"b").map(|seen| seen.sequence), Some(5));
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn an_id_that_comes_again_after_it_was_forgotten_belongs_to_the_newer_message() {
        let mut window = window(&[(b"a", 2), (b"a", 9)]);
        window.forget_below(9);
        assert_eq!(window.get(b"a").map(|seen| seen.sequence), Some(9));
    }
}
