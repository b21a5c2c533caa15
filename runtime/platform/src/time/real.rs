//! Real time: the kernel's clocks and the executor's timer wheel.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use synod_probe::reach;

use super::{Mono, Wall};

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[inline]
pub(super) fn now() -> Mono {
    Mono(read(ClockId::Monotonic))
}

#[inline]
pub(super) fn wall() -> Wall {
    Wall(read(ClockId::Realtime))
}

/// A spin of `span`, or none where it would keep the other side from running. A thread that is pinned may have one processor of many:
/// what counts is how many the machine has.
pub(super) fn spin(span: Duration) -> Duration {
    // SAFETY: the call only asks for a number.
    let processors = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    if processors == 1 { Duration::ZERO } else { span }
}

/// Lets another thread that waits for this processor run.
pub(super) fn give_way() {
    reach!("time.gave_way");
    std::thread::yield_now();
}

/// The executor's timer rounds up to a millisecond of its own clock, so that this never ends early.
pub(super) struct Sleep(Option<Pin<Box<tokio::time::Sleep>>>);

pub(super) fn sleep_until(deadline: Mono) -> Sleep {
    const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
    let left = deadline.since(now());
    Sleep((left < FAR).then(|| Box::pin(tokio::time::sleep(left))))
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
