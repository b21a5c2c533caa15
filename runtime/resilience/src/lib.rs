//! Pure state machines that keep callers alive when callees are not.
//!
//! Nothing here reads a clock, waits or does I/O: every call takes the time as nanoseconds of one monotonic clock, so that the
//! same decisions run in production, under the simulator and in property tests.
//!
//! - [`breaker`]: stops asking an instance that keeps failing, and finds out when it is well again.
//! - [`choose`](choose::choose): picks one instance among several by what their breakers say.

pub mod breaker;
pub mod choose;
