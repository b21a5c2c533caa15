//! The breaker against an independent reference machine, and the scenarios a reader would ask about.
//!
//! The reference keeps every event it ever saw and recomputes its answer from that history; it shares no code or representation with the
//! shipped machine. Time goes forward, stands still and (wrongly) backward.

use proptest::prelude::*;
use synod_resilience::breaker::{Breaker, Permit, Settings, State};

fn settings() -> Settings {
    Settings {
        consecutive_failures: 3,
        failure_percent: 50,
        calls_min: 6,
        window_ns: 1_000,
        open_ns: 100,
        open_ns_max: 350,
        probes_max: 2,
        probes_to_close: 2,
    }
}

fn opened(breaker: &mut Breaker, now: u64) {
    for _ in 0..3 {
        let permit = breaker.admit(now).unwrap();
        breaker.failure(permit, now);
    }
    assert!(matches!(breaker.state(), State::Open { .. }));
}

#[test]
fn three_failures_in_a_row_open_it_and_a_success_between_starts_the_count_again() {
    let mut breaker = Breaker::new(settings());
    for failed in [true, true, false, true, true] {
        let permit = breaker.admit(0).unwrap();
        if failed { breaker.failure(permit, 0) } else { breaker.success(permit, 0) }
    }
    assert_eq!(breaker.state(), State::Closed);
    let permit = breaker.admit(0).unwrap();
    breaker.failure(permit, 5);
    assert_eq!(breaker.state(), State::Open { until_ns: 105 });
    assert_eq!(breaker.admit(104).unwrap_err().retry_at_ns, Some(105));
}

#[test]
fn no_more_probes_are_in_flight_than_the_limit_however_few_have_come_back() {
    let mut breaker = Breaker::new(settings());
    opened(&mut breaker, 0);
    let first = breaker.admit(100).unwrap();
    let _second = breaker.admit(100).unwrap();
    assert_eq!(breaker.admit(100).unwrap_err().retry_at_ns, None);
    breaker.success(first, 100);
    let _third = breaker.admit(100).unwrap();
    assert!(breaker.admit(100).is_err());
}

#[test]
fn a_success_from_before_the_opening_does_not_close_it() {
    let mut breaker = Breaker::new(settings());
    let slow = breaker.admit(0).unwrap();
    opened(&mut breaker, 0);
    breaker.success(slow, 1);
    assert_eq!(breaker.state(), State::Open { until_ns: 100 });
}

#[test]
fn a_failure_from_before_the_closing_does_not_open_it_again() {
    let mut breaker = Breaker::new(settings());
    let slow = breaker.admit(0).unwrap();
    opened(&mut breaker, 0);
    for _ in 0..2 {
        let probe = breaker.admit(200).unwrap();
        breaker.success(probe, 200);
    }
    assert_eq!(breaker.state(), State::Closed);
    breaker.failure(slow, 201);
    for _ in 0..2 {
        let permit = breaker.admit(201).unwrap();
        breaker.failure(permit, 201);
    }
    assert_eq!(breaker.state(), State::Closed, "two failures of its own are not three");
}

#[test]
fn each_failed_probe_doubles_the_open_time_up_to_the_cap() {
    let mut breaker = Breaker::new(settings());
    opened(&mut breaker, 0);
    let mut now = 100;
    for length in [200, 350, 350] {
        let probe = breaker.admit(now).unwrap();
        breaker.failure(probe, now);
        assert_eq!(breaker.state(), State::Open { until_ns: now + length });
        now += length;
    }
}

#[test]
fn a_cancelled_probe_gives_its_place_back() {
    let mut breaker = Breaker::new(Settings { probes_max: 1, ..settings() });
    opened(&mut breaker, 0);
    let probe = breaker.admit(100).unwrap();
    assert!(breaker.admit(100).is_err());
    breaker.cancel(probe);
    assert!(breaker.admit(100).is_ok());
}

/// The reference: a history of outcomes since the last change of state, and plain recomputation.
struct Reference {
    settings: Settings,
    mode: Mode,
    era: u64,
    opened_in_a_row: u32,
    clock: u64,
    outcomes: Vec<(u64, bool)>,
    probes_out: Vec<u64>,
    probes_good: u32,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Mode {
    Shut,
    Barred(u64),
    Trying,
}

impl Reference {
    fn change(&mut self, mode: Mode) {
        self.mode = mode;
        self.era += 1;
        self.outcomes.clear();
        self.probes_out.clear();
        self.probes_good = 0;
    }

    fn bar(&mut self) {
        let mut length = self.settings.open_ns;
        for _ in 0..self.opened_in_a_row {
            length = (length * 2).min(self.settings.open_ns_max);
        }
        self.opened_in_a_row += 1;
        self.change(Mode::Barred(self.clock + length));
    }

    fn ask(&mut self, now: u64, id: u64) -> Option<u64> {
        self.clock = self.clock.max(now);
        if let Mode::Barred(until) = self.mode {
            if self.clock < until {
                return None;
            }
            self.change(Mode::Trying);
        }
        if self.mode == Mode::Trying {
            if self.probes_out.len() as u32 == self.settings.probes_max {
                return None;
            }
            self.probes_out.push(id);
        }
        Some(self.era)
    }

    fn tell(&mut self, now: u64, id: u64, era: u64, outcome: Outcome) {
        if outcome != Outcome::Cancelled {
            self.clock = self.clock.max(now);
        }
        if era != self.era {
            return;
        }
        self.probes_out.retain(|&out| out != id);
        match (self.mode, outcome) {
            (_, Outcome::Cancelled) => {}
            (Mode::Shut, Outcome::Good) => self.outcomes.push((self.clock, true)),
            (Mode::Shut, Outcome::Bad) => {
                self.outcomes.push((self.clock, false));
                let row = self.outcomes.iter().rev().take_while(|(_, good)| !good).count() as u32;
                let slice = self.settings.window_ns / 10;
                let recent: Vec<bool> = self
                    .outcomes
                    .iter()
                    .filter(|(at, _)| self.clock / slice - at / slice < 10)
                    .map(|(_, good)| *good)
                    .collect();
                let bad = recent.iter().filter(|good| !**good).count();
                let many = recent.len() >= self.settings.calls_min as usize
                    && bad * 100 >= recent.len() * self.settings.failure_percent as usize;
                if row >= self.settings.consecutive_failures || many {
                    self.bar();
                }
            }
            (Mode::Trying, Outcome::Good) => {
                self.probes_good += 1;
                if self.probes_good == self.settings.probes_to_close {
                    self.opened_in_a_row = 0;
                    self.change(Mode::Shut);
                }
            }
            (Mode::Trying, Outcome::Bad) => self.bar(),
            (Mode::Barred(_), _) => panic!("nobody was admitted in this era"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Good,
    Bad,
    Cancelled,
}

#[derive(Clone, Debug)]
enum Step {
    Wait(i64),
    Ask,
    Tell(usize, Outcome),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (-40i64..260).prop_map(Step::Wait),
        4 => Just(Step::Ask),
        2 => (any::<prop::sample::Index>()).prop_map(|i| Step::Tell(i.index(64), Outcome::Good)),
        4 => (any::<prop::sample::Index>()).prop_map(|i| Step::Tell(i.index(64), Outcome::Bad)),
        1 => (any::<prop::sample::Index>()).prop_map(|i| Step::Tell(i.index(64), Outcome::Cancelled)),
    ];
    prop::collection::vec(step, 1..120)
}

fn agree(settings: Settings, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut breaker = Breaker::new(settings.clone());
    let mut reference = Reference {
        settings,
        mode: Mode::Shut,
        era: 0,
        opened_in_a_row: 0,
        clock: 0,
        outcomes: Vec::new(),
        probes_out: Vec::new(),
        probes_good: 0,
    };
    let mut now = 0u64;
    let mut out: Vec<(u64, u64, Permit)> = Vec::new();
    for (id, step) in steps.into_iter().enumerate() {
        let id = id as u64;
        match step {
            Step::Wait(by) => now = now.saturating_add_signed(by),
            Step::Ask => {
                let would = breaker.would_admit(now);
                let admitted = breaker.admit(now);
                prop_assert_eq!(would, admitted.is_ok());
                let expected = reference.ask(now, id);
                prop_assert_eq!(admitted.is_ok(), expected.is_some());
                if let (Ok(permit), Some(era)) = (admitted, expected) {
                    out.push((id, era, permit));
                }
            }
            Step::Tell(which, outcome) if !out.is_empty() => {
                let (id, era, permit) = out.remove(which % out.len());
                match outcome {
                    Outcome::Good => breaker.success(permit, now),
                    Outcome::Bad => breaker.failure(permit, now),
                    Outcome::Cancelled => breaker.cancel(permit),
                }
                reference.tell(now, id, era, outcome);
            }
            Step::Tell(..) => {}
        }
        let expected = match reference.mode {
            Mode::Shut => State::Closed,
            Mode::Barred(until_ns) => State::Open { until_ns },
            Mode::Trying => State::HalfOpen,
        };
        prop_assert_eq!(breaker.state(), expected);
        prop_assert_eq!(breaker.probes_in_flight() as usize, reference.probes_out.len());
        prop_assert!(breaker.probes_in_flight() <= 2);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_the_reference_machine_does(steps in steps()) {
        agree(settings(), steps)?;
    }
}

#[cfg(feature = "plant")]
mod planted {
    use super::*;
    use proptest::test_runner::TestRunner;

    /// Whether the comparison above finds the bug of that name.
    fn is_caught(name: &'static str) -> bool {
        synod_probe::plant::with(name, || {
            let mut runner = TestRunner::new(ProptestConfig {
                cases: 5_000,
                failure_persistence: None,
                ..ProptestConfig::default()
            });
            runner.run(&steps(), |steps| agree(settings(), steps)).is_err()
        })
    }

    #[test]
    fn the_reference_machine_catches_every_bug_planted_in_the_breaker() {
        assert!(is_caught("breaker.half-open-stampede"));
        assert!(is_caught("breaker.late-success-closes"));
    }
}
