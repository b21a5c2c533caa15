//! Copies, scans and intersections: every kernel equal to its scalar twin at every short length and alignment, and at random large ones.

use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use synod_wire::simd::{Level, copy, scan, sets};

/// The kernels of `levels` that this processor can run; says which it cannot.
fn kernels<F>(job: &str, levels: &[Level], kernel: impl Fn(Level) -> Option<F>) -> Vec<(Level, F)> {
    let mut found = Vec::new();
    for &level in levels {
        match kernel(level) {
            Some(function) => found.push((level, function)),
            None => println!("{job} by {level}: unavailable: needs {}", level.needs()),
        }
        assert_eq!(found.last().is_some_and(|(last, _)| *last == level), level.is_supported(), "{job}");
    }
    found
}

fn noise(len: usize) -> impl Iterator<Item = u64> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    std::iter::repeat_with(next).take(len)
}

/// A source and a destination with room around each piece.
struct Room {
    from: Vec<u8>,
    into: Vec<u8>,
}

const AROUND: usize = 128;
const CANARY: u8 = 0xA5;

impl Room {
    fn new(len_max: usize) -> Self {
        let size = len_max + 2 * AROUND;
        Self { from: noise(size).map(|word| word as u8).collect(), into: vec![CANARY; size] }
    }

    /// Copies `len` bytes between these alignments, and looks at every byte in and around the copy.
    fn try_copy(&mut self, copy: fn(&[u8], &mut [u8]), len: usize, [from_at, into_at]: [usize; 2]) -> bool {
        let from = &self.from[self.from.as_ptr().align_offset(64) + from_at..][..len];
        let at = self.into.as_ptr().align_offset(64) + into_at;
        copy(from, &mut self.into[at..][..len]);
        let (before, rest) = self.into.split_at(at);
        let (copied, after) = rest.split_at(len);
        let around = before.iter().rev().take(AROUND).chain(after.iter().take(AROUND));
        let right = copied == from && around.into_iter().all(|&byte| byte == CANARY);
        self.into[at..][..len].fill(CANARY);
        right
    }
}

#[test]
fn every_copy_is_exact_for_lengths_to_300_at_all_alignments_of_both_sides() {
    let mut room = Room::new(300);
    for (level, kernel) in kernels("copy", &copy::LEVELS, copy::kernel) {
        for from_at in 0..64 {
            for into_at in 0..64 {
                // All lengths at the same alignments, and a different third of them at each pair of others.
                let step = if from_at == into_at { 1 } else { 3 };
                for len in ((from_at + into_at) % step..=300).step_by(step) {
                    assert!(
                        room.try_copy(kernel, len, [from_at, into_at]),
                        "{level}: {len} from {from_at} to {into_at}"
                    );
                }
            }
        }
    }
}

#[test]
fn long_copies_are_exact_where_string_moves_are_slow() {
    let mut room = Room::new(70_000);
    let kernels = kernels("copy", &copy::LEVELS, copy::kernel).into_iter();
    let named = kernels.map(|(level, kernel)| (level.name(), kernel));
    for (name, kernel) in named.chain([("the choice", copy::copy as _)]) {
        for len in (2040..2240).chain([4095, 4096, 4097, 65_535, 65_536, 70_000]) {
            for places in [[0, 0], [0, 16], [16, 0], [16, 32], [5, 29], [63, 1]] {
                assert!(room.try_copy(kernel, len, places), "{name}: {len} from and to {places:?}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "a copy is as long as what is copied")]
fn a_copy_into_less_than_what_is_copied_is_refused() {
    copy::kernel(Level::Scalar).expect("runs everywhere")(&[0; 9], &mut [0; 8]);
}

#[test]
fn shared_bytes_are_appended_to_what_was_there() {
    let shared: Vec<AtomicU8> = noise(5000).map(|word| AtomicU8::new(word as u8)).collect();
    for len in (0..300).chain([2047, 2048, 5000]) {
        let mut copied = b"before".to_vec();
        copy::append_shared(&shared[5000 - len..], &mut copied);
        let expected = shared[5000 - len..].iter().map(|byte| byte.load(Relaxed));
        assert!(copied.iter().copied().eq(b"before".iter().copied().chain(expected)), "{len} bytes");
    }
}

#[test]
fn a_copy_of_bytes_that_change_meanwhile_holds_only_what_was_there() {
    let shared: Vec<AtomicU8> = (0..777).map(|_| AtomicU8::new(0x11)).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for value in [0x22, 0x11].into_iter().cycle() {
                shared.iter().for_each(|byte| byte.store(value, Relaxed));
                if done.load(Relaxed) {
                    return;
                }
            }
        });
        let foreign = (0..777).cycle().take(5000).find(|&len| {
            let mut copied = Vec::new();
            copy::append_shared(&shared[..len], &mut copied);
            copied.len() != len || copied.iter().any(|byte| ![0x11, 0x22].contains(byte))
        });
        // Before anything can panic, or the other thread would write for ever.
        done.store(true, Relaxed);
        assert_eq!(foreign, None, "the first length with a byte that never was there");
    });
}

fn scanned(kernel: fn(&[AtomicU64], &[u64], &mut Vec<u32>), now: &[AtomicU64], seen: &[u64]) -> Vec<u32> {
    let mut found = vec![u32::MAX];
    kernel(now, seen, &mut found);
    assert_eq!(found.remove(0), u32::MAX, "what was there stays");
    found
}

#[test]
fn every_scan_finds_a_single_change_wherever_it_is() {
    for (level, kernel) in kernels("scan", &scan::LEVELS, scan::kernel) {
        for (first, len) in (0..8).flat_map(|first| (0..=100).map(move |len| (first, len))) {
            let seen: Vec<u64> = noise(first + len).collect();
            let now: Vec<AtomicU64> = seen.iter().map(|&word| AtomicU64::new(word)).collect();
            let (now, seen) = (&now[first..], &seen[first..]);
            assert_eq!(scanned(kernel, now, seen), [], "{level}: {len} words");
            for changed in 0..len {
                // Each single bit of a word is looked at.
                now[changed].fetch_xor(1 << ((changed * 7 + len) % 64), Relaxed);
                assert_eq!(scanned(kernel, now, seen), [changed as u32], "{level}: {len} words");
                now[changed].store(seen[changed], Relaxed);
            }
        }
    }
}

#[test]
#[should_panic(expected = "each word has what was seen of it")]
fn a_scan_against_fewer_words_is_refused() {
    scan::changed(&[AtomicU64::new(0), AtomicU64::new(1)], &[0], &mut Vec::new());
}

fn common(kernel: fn([&[u64]; 3], &mut Vec<u32>), sets: [&[u64]; 3]) -> Vec<u32> {
    let mut found = vec![u32::MAX];
    kernel(sets, &mut found);
    assert_eq!(found.remove(0), u32::MAX, "what was there stays");
    found
}

/// Member by member, from the definition.
fn common_by_definition(sets: [&[u64]; 3]) -> Vec<u32> {
    let has = |set: &[u64], n: u32| set.get(n as usize / 64).is_some_and(|word| word >> (n % 64) & 1 == 1);
    (0..sets[0].len() as u32 * 64).filter(|&n| sets.iter().all(|set| has(set, n))).collect()
}

#[test]
fn every_intersection_follows_the_definition_for_short_sets_from_empty_to_full() {
    let words: Vec<u64> = noise(64).collect();
    let full = [u64::MAX; 40];
    for (level, kernel) in kernels("sets", &sets::LEVELS, sets::kernel) {
        for len in 0..=40 {
            for other in [0, 1, 7, 8, 9, 16, 31, 40] {
                let some = &words[len % 5..][..len];
                for sets in [
                    [some, &full[..other], &words[24..]],
                    [&full[..len], &full, &full[..other]],
                    [&full, some, &full],
                    [&[0; 40][..len], &full, &full],
                ] {
                    assert_eq!(
                        common(kernel, sets),
                        common_by_definition(sets),
                        "{level}: {len} and {other} words"
                    );
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn copies_of_any_length_at_any_place_are_exact(
        len in 0usize..20_000,
        places in [0usize..64, 0usize..64],
    ) {
        let mut room = Room::new(len);
        for (_, kernel) in kernels("copy", &copy::LEVELS, copy::kernel) {
            prop_assert!(room.try_copy(kernel, len, places));
        }
        prop_assert!(room.try_copy(copy::copy, len, places));
    }

    #[test]
    fn scans_tell_every_change_however_many(
        words in proptest::collection::vec((any::<u64>(), 0u32..8), 0..500),
        rarely in 0u32..8,
    ) {
        let seen: Vec<u64> = words.iter().map(|(word, _)| *word).collect();
        let changes = |&(word, luck): &(u64, u32)| word ^ u64::from(luck < rarely) << (luck * 9);
        let now: Vec<AtomicU64> = words.iter().map(|word| AtomicU64::new(changes(word))).collect();
        let expected: Vec<u32> = (0u32..).zip(&words).filter(|(_, w)| w.1 < rarely).map(|(index, _)| index).collect();
        for (level, kernel) in kernels("scan", &scan::LEVELS, scan::kernel) {
            prop_assert_eq!(scanned(kernel, &now, &seen), &expected[..], "{}", level);
        }
        prop_assert_eq!(scanned(scan::changed, &now, &seen), expected);
    }

    #[test]
    fn intersections_of_any_density_follow_the_definition(
        words in proptest::collection::vec(any::<[u64; 3]>(), 0..120),
        density in [0u32..4, 0u32..4, 0u32..4],
        cuts in any::<[proptest::sample::Index; 3]>(),
    ) {
        // Density 0 to 3: one bit in 64 or none, one in four, half, three in four.
        let shaped = |which: usize, word: &[u64; 3]| match density[which] {
            0 => 1u64.checked_shl((word[which] % 128) as u32).unwrap_or(0),
            1 => word[0] & word[1],
            2 => word[which],
            _ => word[1] | word[2],
        };
        let all: [Vec<u64>; 3] = std::array::from_fn(|which| {
            words.iter().take(cuts[which].index(words.len() + 1)).map(|word| shaped(which, word)).collect()
        });
        let three = all.each_ref().map(|set| &set[..]);
        let expected = common_by_definition(three);
        for (level, kernel) in kernels("sets", &sets::LEVELS, sets::kernel) {
            prop_assert_eq!(common(kernel, three), &expected[..], "{}", level);
        }
        prop_assert_eq!(common(sets::common, three), expected);
    }
}
