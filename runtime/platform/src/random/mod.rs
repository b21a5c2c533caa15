//! Chance: unpredictable in production, drawn from the run's seed in simulation.
//!
//! [`fill`] is fit for keys in production. [`u64()`], [`below`] and [`chance`] are for jitter and choices. [`Rng`] is a small
//! generator with a seed of its own, the same in every build: for tests, workloads and pure code.

#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod sim;

#[cfg(not(madsim))]
use real as arm;
#[cfg(madsim)]
use sim as arm;

/// Fills `bytes` with random bytes: the kernel's generator in production, the run's in simulation.
pub fn fill(bytes: &mut [u8]) {
    arm::fill(bytes);
}

/// A random number.
pub fn u64() -> u64 {
    arm::u64()
}

/// A random number below `bound`, each equally likely; zero when `bound` is zero.
pub fn below(bound: u64) -> u64 {
    below_from(bound, u64)
}

/// True with `probability` (0.0 never, 1.0 always).
pub fn chance(probability: f64) -> bool {
    chance_from(probability, u64)
}

fn below_from(bound: u64, mut draw: impl FnMut() -> u64) -> u64 {
    if bound == 0 {
        return 0;
    }
    // Multiply and keep the high half; redraw the few low halves that would favour some results (Lemire 2019).
    let unfair = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(draw()) * u128::from(bound);
        if product as u64 >= unfair {
            return (product >> 64) as u64;
        }
    }
}

fn chance_from(probability: f64, mut draw: impl FnMut() -> u64) -> bool {
    // Draws nothing when the answer is certain, so that a fault that is off does not shift the rest of a run.
    if probability <= 0.0 || probability >= 1.0 {
        return probability >= 1.0;
    }
    // 53 bits: every value is exact in an f64, and 1.0 is never drawn.
    ((draw() >> 11) as f64) < probability * (1_u64 << 53) as f64
}

/// A small generator (xoshiro256++ by Blackman and Vigna, seeded through splitmix64): one seed, one sequence, in every
/// build. Not fit for secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator of this seed.
    pub fn from_seed(seed: u64) -> Self {
        let mut mixer = seed;
        let state = std::array::from_fn(|_| {
            mixer = mixer.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = mixer;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        });
        Self { state }
    }

    /// The next number.
    pub fn u64(&mut self) -> u64 {
        let s = &mut self.state;
        let drawn = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        drawn
    }

    /// The next number below `bound`, each equally likely; zero when `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        below_from(bound, || self.u64())
    }

    /// True with `probability` (0.0 never, 1.0 always).
    pub fn chance(&mut self, probability: f64) -> bool {
        chance_from(probability, || self.u64())
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn one_seed_is_one_sequence() {
        let mut rng = Rng::from_seed(7);
        let first: Vec<u64> = (0..4).map(|_| rng.u64()).collect();
        let mut again = Rng::from_seed(7);
        assert_eq!(first, (0..4).map(|_| again.u64()).collect::<Vec<_>>());
        assert_ne!(first[0], Rng::from_seed(8).u64());
    }

    #[test]
    fn the_generator_is_the_published_one() {
        // The authors' reference: the first outputs of xoshiro256++ from the state 1, 2, 3, 4.
        let mut rng = Rng { state: [1, 2, 3, 4] };
        assert_eq!([rng.u64(), rng.u64(), rng.u64()], [41_943_041, 58_720_359, 3_588_806_011_781_223]);
    }

    #[test]
    fn below_reaches_every_value_and_stays_below() {
        let mut rng = Rng::from_seed(1);
        let mut seen = [0_u32; 6];
        for _ in 0..6_000 {
            seen[rng.below(6) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
        assert_eq!(rng.below(1), 0);
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn chance_is_never_at_zero_and_always_at_one() {
        let mut rng = Rng::from_seed(3);
        assert!((0..1000).all(|_| !rng.chance(0.0) && rng.chance(1.0)));
        let hits = (0..10_000).filter(|_| rng.chance(0.25)).count();
        assert!((2_300..2_700).contains(&hits), "{hits}");
    }
}
