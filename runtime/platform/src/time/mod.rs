//! Time: a monotonic clock, the wall clock, sleep, timeout and interval.
//!
//! [`now`] never steps and never runs backwards on one node; [`wall`] may do both, as real ones do. In simulation each
//! node has clocks of its own (skew, drift, steps), and time passes only when nothing is ready to run.
//! Sleeping is never shorter than asked; in production it is rounded up to a millisecond.

#[cfg(not(madsim))]
mod real;
#[cfg(madsim)]
mod sim;

use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::{Add, AddAssign, Sub};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
pub use std::time::Duration;

#[cfg(not(madsim))]
use real as arm;
#[cfg(madsim)]
use sim as arm;

/// A moment of this node's monotonic clock, in nanoseconds since an origin of the clock's own.
/// Comparable within one process only; never send one to another node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(u64);

impl Mono {
    /// The clock's origin.
    pub const ZERO: Self = Self(0);
    /// Later than every moment: a deadline that never comes.
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `nanos` after the clock's origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero when it is not later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// How long one who waits for another process looks again and again before it sleeps: for a while after something came, for more may
/// follow sooner than a wake-up takes. Never where time moves only when nothing is ready, nor on a machine with one processor.
#[derive(Debug)]
pub struct Spin {
    span: Duration,
    until: Mono,
    in_vain: u32,
}

/// How often a spinner looks in vain before it lets other threads of its processor run, one of which may be whom it waits for.
const IN_VAIN: u32 = 1;

impl Spin {
    /// One that goes on for `span` after each [`Self::renew`].
    pub fn new(span: Duration) -> Self {
        Self { span: arm::spin(span), until: Mono::ZERO, in_vain: 0 }
    }

    /// Something came.
    pub fn renew(&mut self) {
        if !self.span.is_zero() {
            self.until = now() + self.span;
            self.in_vain = 0;
        }
    }

    /// Nothing had come, and nobody looks for a moment.
    pub fn pause(&mut self) {
        self.in_vain += 1;
        if self.in_vain > IN_VAIN {
            arm::give_way();
        }
    }

    /// Whether to look again before sleeping.
    pub fn goes_on(&self) -> bool {
        self.until != Mono::ZERO && now() < self.until
    }
}

/// Saturates at [`Mono::MAX`].
impl Add<Duration> for Mono {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for Mono {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

/// Saturates at [`Mono::ZERO`].
impl Sub<Duration> for Mono {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl Sub for Mono {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// A moment of the wall clock, in nanoseconds since 1970-01-01T00:00:00Z. It may step in either direction: good for people
/// and certificates, never for measuring. Shown as `2026-11-23T01:15:00.123Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(u64);

impl Wall {
    /// The moment `nanos` after the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0 / 1_000_000;
        let (days, in_day) = (millis / 86_400_000, millis % 86_400_000);
        let (year, month, day) = civil(days);
        let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
        let (second, milli) = (in_day / 1000 % 60, in_day % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

/// Year, month and day of the proleptic Gregorian calendar, `days` after 1970-01-01. Counts in years that begin in March, so
/// that the leap day is a year's last, and in eras of 400 years, which all have the same length.
fn civil(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    let shifted = days + 719_468;
    let (era, in_era) = (shifted / ERA, shifted % ERA);
    let year_of_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / (ERA - 1)) / 365;
    let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// This node's monotonic clock.
#[inline]
pub fn now() -> Mono {
    arm::now()
}

/// This node's wall clock.
#[inline]
pub fn wall() -> Wall {
    arm::wall()
}

/// A wait until a moment of the monotonic clock; made by [`sleep`] and [`sleep_until`]. Dropping it ends the wait.
#[must_use = "a sleep does nothing unless it is awaited"]
pub struct Sleep(arm::Sleep);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sleep")
    }
}

/// Waits for `duration`.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(now() + duration)
}

/// Waits until [`now`] is at least `deadline`; [`Mono::MAX`] never comes.
pub fn sleep_until(deadline: Mono) -> Sleep {
    Sleep(arm::sleep_until(deadline))
}

/// The time given to a future passed before it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time given had passed before the work was done")]
pub struct Elapsed;

/// Gives `future` at most `duration`, then drops it. A future that is ready in the same instant wins.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    timeout_at(now() + duration, future).await
}

/// Gives `future` until `deadline`, then drops it. A future that is ready in the same instant wins.
pub async fn timeout_at<F: Future>(deadline: Mono, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut late = sleep_until(deadline);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut late).poll(cx).map(|()| Err(Elapsed))
    })
    .await
}

/// Ticks every `period`, first after one period; made by [`interval`].
#[derive(Debug)]
pub struct Interval {
    next: Mono,
    period: Duration,
}

/// Ticks every `period`, first after one period. A zero period counts as one nanosecond.
pub fn interval(period: Duration) -> Interval {
    let period = period.max(Duration::from_nanos(1));
    Interval { next: now() + period, period }
}

impl Interval {
    /// Waits for the next tick and returns when it was due. Ticks that were missed meanwhile are skipped, not made up for.
    pub async fn tick(&mut self) -> Mono {
        sleep_until(self.next).await;
        let due = self.next;
        let period = nanos(self.period);
        let missed = now().since(due).as_nanos() as u64 / period;
        self.next = Mono(due.0.saturating_add(period.saturating_mul(missed + 1)));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Mono, Wall};

    #[test]
    fn moments_saturate_instead_of_wrapping() {
        assert_eq!(Mono::from_nanos(5) + Duration::MAX, Mono::MAX);
        assert_eq!(Mono::from_nanos(5) - Duration::from_nanos(9), Mono::ZERO);
        assert_eq!(Mono::from_nanos(5).since(Mono::from_nanos(9)), Duration::ZERO);
        assert_eq!(Mono::from_nanos(9) - Mono::from_nanos(5), Duration::from_nanos(4));
    }

    #[test]
    fn the_wall_clock_reads_as_a_date_also_around_leap_days() {
        let shown = |seconds: u64| Wall::from_nanos(seconds * 1_000_000_000).to_string();
        assert_eq!(shown(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(shown(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(shown(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(shown(951_868_800), "2000-03-01T00:00:00.000Z");
        assert_eq!(shown(4_107_542_399), "2100-02-28T23:59:59.000Z");
        assert_eq!(shown(4_107_542_400), "2100-03-01T00:00:00.000Z");
        assert_eq!(Wall::from_nanos(1_795_396_500_123_000_000).to_string(), "2026-11-23T01:15:00.123Z");
    }
}
