//! The circuit breaker: closed, open, half-open.
//!
//! Promises: an open breaker admits nothing before its time; a half-open one never has more probes in flight than its limit, counted
//! when they are *admitted*; an outcome that belongs to an earlier generation changes nothing, however late it comes. Open time doubles with each
//! opening that no closing interrupted, up to a cap. It does not time out calls: whoever holds a [`Permit`] reports an outcome.

use synod_probe::{plant, reach};

/// How many slices the failure-rate window is cut into; the window moves on by one slice at a time.
const SLICES: usize = 10;

/// When to open, for how long, and how to come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Opens after this many failures with no success between them; 0 switches this rule off.
    pub consecutive_failures: u32,
    /// Opens when this share of the calls in the window failed, in percent; 0 switches this rule off.
    pub failure_percent: u32,
    /// The fewest calls in the window that make a share worth believing.
    pub calls_min: u32,
    /// Length of the failure-rate window, nanoseconds.
    pub window_ns: u64,
    /// How long the first opening lasts, nanoseconds.
    pub open_ns: u64,
    /// The longest opening, nanoseconds.
    pub open_ns_max: u64,
    /// The most probes in flight while half-open; at least 1 is used.
    pub probes_max: u32,
    /// Successful probes that close it; at least 1 is used.
    pub probes_to_close: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_percent: 50,
            calls_min: 20,
            window_ns: 10_000_000_000,
            open_ns: 1_000_000_000,
            open_ns_max: 30_000_000_000,
            probes_max: 1,
            probes_to_close: 2,
        }
    }
}

/// What a breaker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Calls pass.
    Closed,
    /// Calls are refused until the given time (nanoseconds), at which probing may begin.
    Open {
        /// When the first probe may go out.
        until_ns: u64,
    },
    /// A few probes pass; the rest is refused.
    HalfOpen,
}

/// The right to make one call. Report what came of it exactly once: [`Breaker::success`], [`Breaker::failure`] or [`Breaker::cancel`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an admitted call that is never reported holds a probe's place for ever"]
pub struct Permit {
    generation: u64,
}

impl Permit {
    /// The generation of the breaker that admitted the call.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// The call was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The earliest time at which another attempt may be admitted; `None` while probes are out and everything hangs on them.
    pub retry_at_ns: Option<u64>,
}

/// One breaker, for one caller and one callee.
#[derive(Clone, Debug)]
pub struct Breaker {
    settings: Settings,
    state: State,
    /// Counts state changes; a permit of another generation is stale.
    generation: u64,
    /// Openings since it last closed: the exponent of the open time.
    openings: u32,
    consecutive: u32,
    window: Window,
    probes_in_flight: u32,
    probes_succeeded: u32,
    /// The latest time seen: an older one is taken as this.
    now_ns: u64,
}

impl Breaker {
    /// A closed breaker that has seen nothing.
    pub fn new(settings: Settings) -> Self {
        let window = Window::new(settings.window_ns);
        Self {
            settings,
            state: State::Closed,
            generation: 0,
            openings: 0,
            consecutive: 0,
            window,
            probes_in_flight: 0,
            probes_succeeded: 0,
            now_ns: 0,
        }
    }

    /// What it is doing. An open breaker whose time is over stays open until somebody asks to be admitted.
    pub fn state(&self) -> State {
        self.state
    }

    /// Counts state changes since it was made.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Probes admitted in this half-open generation and not yet reported.
    pub fn probes_in_flight(&self) -> u32 {
        self.probes_in_flight
    }

    /// Whether [`admit`](Self::admit) would say yes at `now_ns`.
    pub fn would_admit(&self, now_ns: u64) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until_ns } => now_ns.max(self.now_ns) >= until_ns,
            State::HalfOpen => self.has_room_for_a_probe(),
        }
    }

    /// Asks for the right to make one call.
    pub fn admit(&mut self, now_ns: u64) -> Result<Permit, Rejected> {
        self.advance(now_ns);
        if let State::Open { until_ns } = self.state {
            if self.now_ns < until_ns {
                return Err(Rejected { retry_at_ns: Some(until_ns) });
            }
            self.enter(State::HalfOpen);
            reach!("breaker.half_open");
        }
        if self.state == State::HalfOpen {
            if !self.has_room_for_a_probe() {
                reach!("breaker.probe_refused");
                return Err(Rejected { retry_at_ns: None });
            }
            self.probes_in_flight += 1;
        }
        Ok(Permit { generation: self.generation })
    }

    /// The call was answered.
    pub fn success(&mut self, permit: Permit, now_ns: u64) {
        self.advance(now_ns);
        if permit.generation != self.generation {
            reach!("breaker.late_success");
            if plant!("breaker.late-success-closes") && self.state != State::Closed {
                self.openings = 0;
                self.enter(State::Closed);
            }
            return;
        }
        match self.state {
            State::Closed => {
                self.consecutive = 0;
                self.window.record(self.now_ns, false);
            }
            State::HalfOpen => {
                self.probes_in_flight -= 1;
                self.probes_succeeded += 1;
                if self.probes_succeeded >= self.settings.probes_to_close.max(1) {
                    self.openings = 0;
                    self.enter(State::Closed);
                    reach!("breaker.closed");
                }
            }
            State::Open { .. } => {
                unreachable!("no permit is given while open, and every change of state makes a generation")
            }
        }
    }

    /// The call failed, or nobody answered in time.
    pub fn failure(&mut self, permit: Permit, now_ns: u64) {
        self.advance(now_ns);
        if permit.generation != self.generation {
            reach!("breaker.late_failure");
            return;
        }
        match self.state {
            State::Closed => {
                self.consecutive += 1;
                self.window.record(self.now_ns, true);
                if self.has_failed_too_often() {
                    self.open();
                }
            }
            State::HalfOpen => {
                self.probes_in_flight -= 1;
                self.open();
            }
            State::Open { .. } => {
                unreachable!("no permit is given while open, and every change of state makes a generation")
            }
        }
    }

    /// The call was given up by the caller: it says nothing about the callee, and frees a probe's place.
    pub fn cancel(&mut self, permit: Permit) {
        if permit.generation == self.generation && self.state == State::HalfOpen {
            self.probes_in_flight -= 1;
        }
    }

    fn advance(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
    }

    fn has_room_for_a_probe(&self) -> bool {
        if plant!("breaker.half-open-stampede") {
            return self.probes_succeeded < self.settings.probes_max.max(1);
        }
        self.probes_in_flight < self.settings.probes_max.max(1)
    }

    fn has_failed_too_often(&self) -> bool {
        let s = &self.settings;
        if s.consecutive_failures > 0 && self.consecutive >= s.consecutive_failures {
            return true;
        }
        let (calls, failures) = self.window.totals(self.now_ns);
        s.failure_percent > 0
            && calls >= u64::from(s.calls_min.max(1))
            && failures * 100 >= calls * u64::from(s.failure_percent)
    }

    fn open(&mut self) {
        let doubled =
            self.settings.open_ns.saturating_mul(1u64.checked_shl(self.openings).unwrap_or(u64::MAX));
        let length_ns = doubled.min(self.settings.open_ns_max.max(self.settings.open_ns));
        self.openings = self.openings.saturating_add(1);
        self.enter(State::Open { until_ns: self.now_ns.saturating_add(length_ns) });
        reach!("breaker.opened");
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
        self.consecutive = 0;
        self.probes_in_flight = 0;
        self.probes_succeeded = 0;
        self.window = Window::new(self.settings.window_ns);
    }
}

/// Calls and failures of the last [`SLICES`] slices.
#[derive(Clone, Debug)]
struct Window {
    slice_ns: u64,
    /// Per place: the number of the slice it holds, its calls, its failures.
    slices: [(u64, u64, u64); SLICES],
}

impl Window {
    fn new(window_ns: u64) -> Self {
        Self { slice_ns: (window_ns / SLICES as u64).max(1), slices: [(0, 0, 0); SLICES] }
    }

    fn record(&mut self, now_ns: u64, failed: bool) {
        let number = now_ns / self.slice_ns;
        let slice = &mut self.slices[(number % SLICES as u64) as usize];
        if slice.0 != number {
            *slice = (number, 0, 0);
        }
        slice.1 += 1;
        slice.2 += u64::from(failed);
    }

    fn totals(&self, now_ns: u64) -> (u64, u64) {
        let newest = now_ns / self.slice_ns;
        self.slices
            .iter()
            .filter(|(number, ..)| number + SLICES as u64 > newest)
            .fold((0, 0), |(calls, failures), (_, c, f)| (calls + c, failures + f))
    }
}
