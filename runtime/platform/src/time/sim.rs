//! Simulated time: the run's virtual clock, read through the node's own skewed, drifting and stepped clocks.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{Mono, Wall};
use crate::simulation::clock;

pub(super) fn now() -> Mono {
    Mono(clock::mono())
}

pub(super) fn wall() -> Wall {
    Wall(clock::wall())
}

/// Time moves only when nothing is ready: who spins would stop it.
pub(super) fn spin(_span: Duration) -> Duration {
    Duration::ZERO
}

/// Nobody spins, so nobody gives way.
pub(super) fn give_way() {}

/// Sleeps to the nanosecond. Asks the virtual clock again when it wakes: the node's rate may have changed meanwhile.
pub(super) struct Sleep {
    deadline: Mono,
    timer: Option<(madsim::time::Sleep, Waker)>,
    polled: bool,
}

pub(super) fn sleep_until(deadline: Mono) -> Sleep {
    Sleep { deadline, timer: None, polled: false }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let first = !std::mem::replace(&mut self.polled, true);
        if now() >= self.deadline {
            if first {
                // As on a real event loop, also a sleep of no time lets the others run; or a loop over it would stop time.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(());
        }
        if self.deadline == Mono::MAX {
            return Poll::Pending;
        }
        // A timer that is set stays set: polling again for another reason must not pile up timers.
        if let Some((timer, waker)) = &self.timer
            && !timer.is_elapsed()
            && waker.will_wake(cx.waker())
        {
            return Poll::Pending;
        }
        let left = clock::world_time_until(self.deadline.as_nanos());
        let mut timer = madsim::time::sleep(Duration::ZERO);
        let due = madsim::time::TimeHandle::current().now_instant() + left;
        // The constructor would round up to a millisecond; service times are shorter.
        Pin::new(&mut timer).reset(due);
        if Pin::new(&mut timer).poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.timer = Some((timer, cx.waker().clone()));
        Poll::Pending
    }
}
