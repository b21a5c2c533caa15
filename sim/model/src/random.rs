//! Where the models' chance comes from: a source of 64-bit numbers, and what is drawn from it.
//!
//! The simulator passes its own generator (any `FnMut() -> u64` will do), tests pass [`Seeded`]. Nothing here reads entropy.

/// A source of uniformly distributed 64-bit numbers.
pub trait Random {
    /// The next number.
    fn next(&mut self) -> u64;

    /// A number in `0..bound`; 0 when `bound` is 0. The bias (below `bound / 2^64`) does not matter to a fault plan.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `low..=high`; `low` when the range is empty.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        match high.checked_sub(low) {
            None | Some(0) => low,
            Some(u64::MAX) => self.next(),
            Some(width) => low + self.below(width + 1),
        }
    }

    /// A number in `0.0..1.0`.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with this probability. Draws nothing when the answer is certain, so a fault that is off does not shift
    /// the history of the others.
    fn chance(&mut self, probability: f64) -> bool {
        if probability <= 0.0 {
            false
        } else if probability >= 1.0 {
            true
        } else {
            self.unit() < probability
        }
    }
}

impl<F: FnMut() -> u64> Random for F {
    fn next(&mut self) -> u64 {
        self()
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, good enough to draw faults, the same everywhere.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// The generator of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }
}

impl Random for Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_in_their_range_and_certain_answers_draw_nothing() {
        let mut random = Seeded::new(1);
        for bound in [1, 2, 3, 10, u64::MAX] {
            assert!((0..200).all(|_| random.below(bound) < bound));
            assert!((0..200).all(|_| (5..=bound.max(5)).contains(&random.between(5, bound))));
        }
        assert_eq!(random.below(0), 0);
        let mut before = random.clone();
        assert!(!random.chance(0.0) && random.chance(1.0));
        assert_eq!(random.next(), before.next());
    }

    #[test]
    fn chance_is_about_as_often_as_told() {
        let mut random = Seeded::new(7);
        let hits = (0..10_000).filter(|_| random.chance(0.25)).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
    }
}
