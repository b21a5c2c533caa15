//! Supervision: what ends in a panic is started again, until it does so too often.
//!
//! The bound is an intensity, as in Erlang's supervisors: at most so many restarts within so much time. What exceeds it is
//! given up and told, for starting it again would only repeat the crash.

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use synod_platform::time::{self, Mono};
use synod_probe::{event, loss, reach};
use tokio::sync::mpsc;

/// At most `max` restarts within `within`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intensity {
    /// How many restarts; 0 means that the first panic is the end.
    pub max: u32,
    /// Within what time.
    pub within: Duration,
}

impl Default for Intensity {
    fn default() -> Self {
        Intensity { max: 3, within: Duration::from_secs(60) }
    }
}

/// The restarts so far.
#[derive(Debug, Clone)]
pub struct Restarts {
    intensity: Intensity,
    at: VecDeque<Mono>,
}

impl Restarts {
    /// None so far.
    pub fn new(intensity: Intensity) -> Self {
        Restarts { intensity, at: VecDeque::new() }
    }

    /// Asks for one more restart at `now`; counts it if it is allowed.
    pub fn allow(&mut self, now: Mono) -> bool {
        while self.at.front().is_some_and(|at| now.since(*at) >= self.intensity.within) {
            self.at.pop_front();
        }
        let allowed = self.at.len() < self.intensity.max as usize;
        if allowed {
            self.at.push_back(now);
        }
        allowed
    }
}

/// What a supervisor tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An agent crashed and was started again.
    Restarted {
        /// Which agent.
        agent: String,
        /// What its crash said.
        why: String,
    },
    /// An agent crashed too often, or could not be started again, and is no longer there.
    GivenUp {
        /// Which agent.
        agent: String,
        /// Its last words.
        why: String,
    },
}

/// Runs `life` again and again until it ends well or crashes too often; tells what happens.
pub async fn supervise<F, E>(
    agent: &str,
    intensity: Intensity,
    notices: &mpsc::Sender<Notice>,
    mut life: impl FnMut() -> F,
) where
    F: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let mut restarts = Restarts::new(intensity);
    while let Err(error) = life().await {
        let (agent, why) = (agent.to_string(), error.to_string());
        let goes_on = restarts.allow(time::now());
        if goes_on {
            reach!("node.agent-restarted");
            event!("agent.restarted", agent = agent.as_str());
        } else {
            reach!("node.agent-given-up");
            event!("agent.given-up", agent = agent.as_str());
        }
        let notice = if goes_on { Notice::Restarted { agent, why } } else { Notice::GivenUp { agent, why } };
        if notices.try_send(notice).is_err() {
            loss!("node.notices", "nobody reads them");
        }
        if !goes_on {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use synod_platform::testing;

    #[test]
    fn restarts_are_bounded_within_the_time_and_forgotten_after_it() {
        let mut restarts = Restarts::new(Intensity { max: 2, within: Duration::from_secs(10) });
        let at = |seconds: u64| Mono::from_nanos(seconds * 1_000_000_000);
        assert!(restarts.allow(at(0)) && restarts.allow(at(1)));
        assert!(!restarts.allow(at(9)), "a third within ten seconds");
        assert!(restarts.allow(at(10)), "the first is forgotten");
        assert!(!restarts.allow(at(10)));
    }

    #[test]
    fn what_crashes_too_often_is_given_up_and_what_ends_well_is_left_alone() {
        testing::run(1, || async {
            let (tell, mut told) = mpsc::channel(8);
            let lives = Cell::new(0);
            let intensity = Intensity { max: 2, within: Duration::from_secs(60) };
            supervise("a", intensity, &tell, || async {
                lives.set(lives.get() + 1);
                Err::<(), _>("boom")
            })
            .await;
            assert_eq!(lives.get(), 3, "one life and two restarts");
            let notices: Vec<Notice> = std::iter::from_fn(|| told.try_recv().ok()).collect();
            assert!(matches!(
                notices.as_slice(),
                [Notice::Restarted { .. }, Notice::Restarted { .. }, Notice::GivenUp { .. }]
            ));

            lives.set(0);
            supervise("a", intensity, &tell, || async {
                lives.set(lives.get() + 1);
                if lives.get() == 1 { Err("boom") } else { Ok(()) }
            })
            .await;
            assert_eq!(lives.get(), 2);
        });
    }
}
