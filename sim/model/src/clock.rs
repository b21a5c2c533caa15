//! A node's clocks against true time: monotonic and wall, each at the same wrong rate, the wall also skewed and stepped.
//!
//! Promise: the monotonic clock never goes back and never steps, whatever is done to the clock; it may run fast or slow. The
//! wall clock goes wherever it is put. Time here is a number; nobody sleeps.

/// The largest rate error that a model accepts, in parts per billion: half or one and a half times true speed.
pub const DRIFT_LIMIT_PPB: i64 = 500_000_000;

/// One node's clocks. True time is the simulator's; it only moves forward.
#[derive(Clone, Debug)]
pub struct Clock {
    anchor_true_ns: u64,
    anchor_local_ns: u64,
    drift_ppb: i64,
    /// What the wall clock shows beyond the monotonic one: the epoch, the skew, and all steps so far.
    wall_offset_ns: i128,
}

impl Clock {
    /// A clock that is right: monotonic from 0 at true time 0, and the wall clock at `epoch_ns` there.
    pub const fn new(epoch_ns: u64) -> Self {
        Self { anchor_true_ns: 0, anchor_local_ns: 0, drift_ppb: 0, wall_offset_ns: epoch_ns as i128 }
    }

    /// The monotonic clock at this true time, ns since true time 0 by this clock's own rate.
    pub fn mono(&self, true_ns: u64) -> u64 {
        let passed = i128::from(true_ns.saturating_sub(self.anchor_true_ns));
        let local = passed + passed * i128::from(self.drift_ppb) / 1_000_000_000;
        self.anchor_local_ns.saturating_add(u64::try_from(local).unwrap_or(u64::MAX))
    }

    /// The wall clock at this true time, ns since the Unix epoch; 0 if it was stepped to before that.
    pub fn wall(&self, true_ns: u64) -> u64 {
        let shown = i128::from(self.mono(true_ns)) + self.wall_offset_ns;
        u64::try_from(shown.max(0)).unwrap_or(u64::MAX)
    }

    /// How much true time passes while this clock's monotonic time advances by `local_ns`; rounded up, so that who sleeps
    /// this long never wakes early by its own clock.
    pub fn true_wait(&self, local_ns: u64) -> u64 {
        let rate = i128::from(1_000_000_000 + self.drift_ppb);
        let scaled = i128::from(local_ns) * 1_000_000_000;
        u64::try_from((scaled + rate - 1) / rate).unwrap_or(u64::MAX)
    }

    /// Steps the wall clock by this much, forward or back. The monotonic clock does not notice.
    pub fn step(&mut self, by_ns: i64) {
        self.wall_offset_ns += i128::from(by_ns);
    }

    /// Lets both clocks run at a wrong rate from this true time on: +100_000 ppb gains 100 µs a second. Beyond
    /// [`DRIFT_LIMIT_PPB`] either way the limit is taken. Neither clock jumps.
    pub fn set_drift(&mut self, true_ns: u64, ppb: i64) {
        let now = true_ns.max(self.anchor_true_ns);
        self.anchor_local_ns = self.mono(now);
        self.anchor_true_ns = now;
        self.drift_ppb = ppb.clamp(-DRIFT_LIMIT_PPB, DRIFT_LIMIT_PPB);
    }

    /// The rate error in force, parts per billion.
    pub const fn drift_ppb(&self) -> i64 {
        self.drift_ppb
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Act {
        Pass(u64),
        Step(i64),
        Drift(i64),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let act = prop_oneof![
            (0u64..10_000_000_000).prop_map(Act::Pass),
            any::<i32>().prop_map(|s| Act::Step(i64::from(s) * 1_000)),
            (-600_000_000i64..600_000_000).prop_map(Act::Drift),
        ];
        prop::collection::vec(act, 1..40)
    }

    proptest! {
        #[test]
        fn monotonic_time_never_goes_back_and_never_steps(acts in acts()) {
            let mut clock = Clock::new(1_700_000_000_000_000_000);
            let mut now = 0;
            let mut last = clock.mono(0);
            for act in acts {
                match act {
                    Act::Pass(ns) => now += ns,
                    Act::Step(ns) => clock.step(ns),
                    Act::Drift(ppb) => clock.set_drift(now, ppb),
                }
                let shown = clock.mono(now);
                prop_assert!(shown >= last);
                if !matches!(act, Act::Pass(_)) {
                    prop_assert_eq!(shown, last, "only passing time moves it");
                }
                last = shown;
            }
        }

        #[test]
        fn a_sleeper_never_wakes_early_by_its_own_clock(start in 0u64..1 << 40, drift in -500_000_000i64..500_000_000, sleep in 0u64..1 << 40) {
            let mut clock = Clock::new(0);
            clock.set_drift(start, drift);
            let woken = start + clock.true_wait(sleep);
            let slept = clock.mono(woken) - clock.mono(start);
            prop_assert!(slept >= sleep, "{slept} < {sleep}");
            prop_assert!(slept <= sleep + 2, "{slept} is more than rounding over {sleep}");
        }
    }

    #[test]
    fn a_step_moves_the_wall_clock_alone() {
        let mut clock = Clock::new(1_000_000);
        assert_eq!((clock.mono(500), clock.wall(500)), (500, 1_000_500));
        clock.step(-400);
        assert_eq!((clock.mono(500), clock.wall(500)), (500, 1_000_100));
        clock.step(30_000);
        assert_eq!(clock.wall(500), 1_030_100);
    }

    #[test]
    fn a_fast_clock_gains_what_it_was_told_to() {
        let mut clock = Clock::new(0);
        clock.set_drift(0, 100_000);
        assert_eq!(clock.mono(1_000_000_000), 1_000_100_000);
        assert_eq!(clock.wall(1_000_000_000), 1_000_100_000);
    }

    #[test]
    fn a_wall_clock_put_before_the_epoch_shows_the_epoch() {
        let mut clock = Clock::new(5);
        clock.step(-1_000);
        assert_eq!(clock.wall(10), 0);
    }
}
