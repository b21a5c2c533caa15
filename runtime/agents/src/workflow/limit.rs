//! How many steps may run at a time: fixed, or following what was measured.
//!
//! Pure. The adaptive limit grows by one for each round of steps that took no longer than such steps take at best, shrinks when they
//! take twice as long, and halves at a failure (additive increase, multiplicative decrease, as congestion control has it).
//! Times are compared among steps of one agent only.

use std::time::Duration;

use super::plan::Strategy;

/// Above this many times the best time, more at a time only makes all of them slower.
const CROWDED: f64 = 2.0;
/// How much of the smoothed ratio one measurement changes.
const WEIGHT: f64 = 0.25;
/// By how much the best time of an agent is forgotten with each measurement.
const FORGET: f64 = 1.001;

/// How many steps may run at a time.
#[derive(Debug, Clone)]
pub struct Limit {
    most: u32,
    adaptive: Option<Adaptive>,
}

#[derive(Debug, Clone)]
struct Adaptive {
    now: f64,
    ratio: f64,
    best: Vec<Option<f64>>,
}

impl Limit {
    /// The limit of a plan with that strategy and at most `most` steps at a time, done by so many agents.
    pub fn new(strategy: Strategy, most: u32, agents: usize) -> Self {
        let adaptive = (strategy == Strategy::Adaptive).then(|| Adaptive {
            now: 1.0,
            ratio: 1.0,
            best: vec![None; agents],
        });
        Limit { most: if strategy == Strategy::Sequential { 1 } else { most.max(1) }, adaptive }
    }

    /// The limit at this moment; at least 1.
    pub fn now(&self) -> u32 {
        self.adaptive.as_ref().map_or(self.most, |adaptive| (adaptive.now as u32).clamp(1, self.most))
    }

    /// A step of this agent was done in that time, while `running` ran, itself among them.
    pub fn done(&mut self, agent: u32, took: Duration, running: u32) {
        let (now, most) = (self.now(), f64::from(self.most));
        let Some(adaptive) = &mut self.adaptive else { return };
        let took = took.as_secs_f64().max(1e-9);
        let best = &mut adaptive.best[agent as usize];
        let least = best.map_or(took, |best| (best * FORGET).min(took));
        *best = Some(least);
        adaptive.ratio += WEIGHT * (took / least - adaptive.ratio);
        if adaptive.ratio > CROWDED {
            adaptive.now = (adaptive.now - 1.0 / adaptive.now).max(1.0);
        } else if running >= now {
            // Growing while there is room would measure nothing.
            adaptive.now = (adaptive.now + 1.0 / adaptive.now).min(most);
        }
    }

    /// A step failed.
    pub fn failed(&mut self) {
        if let Some(adaptive) = &mut self.adaptive {
            adaptive.now = (adaptive.now / 2.0).max(1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(100);

    fn grown() -> Limit {
        let mut limit = Limit::new(Strategy::Adaptive, 8, 1);
        for _ in 0..100 {
            let running = limit.now();
            limit.done(0, STEP, running);
        }
        limit
    }

    #[test]
    fn a_fixed_limit_stays_and_a_sequence_is_one_at_a_time() {
        let mut limit = Limit::new(Strategy::Parallel, 3, 1);
        limit.failed();
        limit.done(0, STEP, 3);
        assert_eq!((limit.now(), Limit::new(Strategy::Sequential, 3, 1).now()), (3, 1));
    }

    #[test]
    fn steps_that_take_no_longer_let_the_limit_grow_to_the_most() {
        assert_eq!(grown().now(), 8);
    }

    #[test]
    fn steps_that_take_thrice_as_long_let_it_shrink_and_a_failure_halves_it() {
        let mut limit = grown();
        limit.failed();
        assert_eq!(limit.now(), 4);
        for _ in 0..60 {
            limit.done(0, STEP * 3, 8);
        }
        assert!(limit.now() < 4, "{limit:?}");
    }

    #[test]
    fn it_does_not_grow_while_there_is_room_nor_compare_one_agent_with_another() {
        let mut limit = Limit::new(Strategy::Adaptive, 8, 2);
        limit.done(0, STEP, 0);
        assert_eq!(limit.now(), 1);
        for _ in 0..50 {
            let running = limit.now();
            limit.done(0, STEP, running);
            limit.done(1, STEP * 50, running);
        }
        assert_eq!(limit.now(), 8);
    }
}
