//! How long something takes: a distribution of delays, drawn from one at a time.
//!
//! Every draw is bounded, so that a scenario's limit can be reasoned about; there is no unbounded tail.

use crate::random::Random;

/// A distribution of delays in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    /// Always the same.
    Fixed {
        /// The delay, ns.
        ns: u64,
    },
    /// Every value from `low_ns` to `high_ns` alike.
    Uniform {
        /// The shortest, ns.
        low_ns: u64,
        /// The longest, ns.
        high_ns: u64,
    },
    /// Exponential with this mean above a floor, cut at `cap_ns`.
    Exponential {
        /// The shortest, ns.
        floor_ns: u64,
        /// The mean of what comes on top of the floor, ns.
        mean_ns: u64,
        /// The longest, ns.
        cap_ns: u64,
    },
    /// Mostly `usual_ns`, now and then `rare_ns`: a pause of a collector, a retry of a device.
    Spiky {
        /// The usual delay, ns.
        usual_ns: u64,
        /// The rare delay, ns.
        rare_ns: u64,
        /// How often the rare one comes, `0.0..=1.0`.
        rare: f64,
    },
}

impl Delay {
    /// No delay.
    pub const NONE: Self = Self::Fixed { ns: 0 };

    /// Every value from `low_ns` to `high_ns` alike.
    pub const fn between(low_ns: u64, high_ns: u64) -> Self {
        Self::Uniform { low_ns, high_ns }
    }

    /// One delay, ns.
    pub fn draw(&self, random: &mut impl Random) -> u64 {
        match *self {
            Self::Fixed { ns } => ns,
            Self::Uniform { low_ns, high_ns } => random.between(low_ns, high_ns),
            Self::Exponential { floor_ns, mean_ns, cap_ns } => {
                let on_top = -(1.0 - random.unit()).ln() * mean_ns as f64;
                floor_ns.saturating_add(on_top as u64).min(cap_ns.max(floor_ns))
            }
            Self::Spiky { usual_ns, rare_ns, rare } => {
                if random.chance(rare) {
                    rare_ns
                } else {
                    usual_ns
                }
            }
        }
    }

    /// The longest delay that can be drawn, ns.
    pub fn longest(&self) -> u64 {
        match *self {
            Self::Fixed { ns } => ns,
            Self::Uniform { low_ns, high_ns } => low_ns.max(high_ns),
            Self::Exponential { floor_ns, cap_ns, .. } => cap_ns.max(floor_ns),
            Self::Spiky { usual_ns, rare_ns, .. } => usual_ns.max(rare_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Seeded;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_draw_is_longer_than_the_longest(seed: u64, low in 0u64..1_000_000, high in 0u64..1_000_000, rare in 0.0f64..1.0) {
            let mut random = Seeded::new(seed);
            for delay in [
                Delay::Fixed { ns: low },
                Delay::between(low, high),
                Delay::Exponential { floor_ns: low, mean_ns: 1 + high / 4, cap_ns: high },
                Delay::Spiky { usual_ns: low, rare_ns: high, rare },
            ] {
                for _ in 0..20 {
                    prop_assert!(delay.draw(&mut random) <= delay.longest());
                }
            }
        }
    }

    #[test]
    fn an_exponential_delay_has_about_its_mean() {
        let mut random = Seeded::new(3);
        let delay = Delay::Exponential { floor_ns: 100, mean_ns: 1_000, cap_ns: 1_000_000 };
        let mean = (0..10_000).map(|_| delay.draw(&mut random)).sum::<u64>() / 10_000;
        assert!((1_050..1_150).contains(&mean), "{mean}");
    }
}
