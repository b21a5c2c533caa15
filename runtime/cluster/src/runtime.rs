//! openraft's runtime over the seam: its clock, tasks, timers and chance are `synod_platform`'s.
//! Tasks stay on the context that spawned them, though openraft's bounds would let them move.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use openraft_rt::{AsyncRuntime, Instant, OptionalSend};
use synod_platform::random;
use synod_platform::task::{self, JoinError, JoinHandle};
use synod_platform::time::{self, Elapsed, Mono, Sleep};

use crate::channel::{BoundedMpsc, FairMutex, SingleUse};
use crate::watch::OrderedWatch;

/// The runtime that openraft is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeamRuntime;

/// A moment of the node's monotonic clock, as openraft wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Mono);

impl Moment {
    /// The same moment, as the seam has it.
    pub fn mono(self) -> Mono {
        self.0
    }
}

impl From<Mono> for Moment {
    fn from(moment: Mono) -> Self {
        Self(moment)
    }
}

impl Instant for Moment {
    fn now() -> Self {
        Self(time::now())
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0 + duration)
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0 - duration)
    }
}

impl SubAssign<Duration> for Moment {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0.since(earlier.0)
    }
}

/// A future with a deadline.
pub struct Timeout<F> {
    future: Pin<Box<F>>,
    late: Sleep,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    /// A future that is ready in the same instant wins over its deadline.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut self.late).poll(cx).map(|()| Err(Elapsed))
    }
}

impl<F> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").field("late", &self.late).finish_non_exhaustive()
    }
}

/// The seam's chance, as a generator: the kernel's in production, the seed's in simulation.
#[derive(Clone, Copy, Debug)]
pub struct SeamRng;

impl rand::TryRng for SeamRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((random::u64() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(random::u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        random::fill(bytes);
        Ok(())
    }
}

impl AsyncRuntime for SeamRuntime {
    type JoinError = JoinError;
    type JoinHandle<T: OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = Sleep;
    type Instant = Moment;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = SeamRng;
    type Mpsc = BoundedMpsc;
    type Watch = OrderedWatch;
    type Oneshot = SingleUse;
    type Mutex<T: OptionalSend + 'static> = FairMutex<T>;

    fn spawn<T>(future: T) -> JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        task::spawn(future)
    }

    fn sleep(duration: Duration) -> Sleep {
        time::sleep(duration)
    }

    fn sleep_until(deadline: Moment) -> Sleep {
        time::sleep_until(deadline.0)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Timeout<F> {
        Self::timeout_at(Moment::now() + duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Moment, future: F) -> Timeout<F> {
        Timeout { future: Box::pin(future), late: time::sleep_until(deadline.0) }
    }

    fn is_panic(error: &JoinError) -> bool {
        matches!(error, JoinError::Panicked(_))
    }

    fn thread_rng() -> SeamRng {
        SeamRng
    }

    /// The number of threads is ignored: a context has one.
    fn new(_threads: usize) -> Self {
        Self
    }

    /// Each call is a context of its own; what an earlier one left behind has ended with it.
    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        task::block_on(future)
    }

    fn spawn_blocking<F, T>(work: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let work = task::blocking(work);
        async { work.await.map_err(io::Error::other) }
    }
}
