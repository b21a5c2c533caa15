//! Supervision: what ends in a panic is started again, until it does so too often.
//!
//! The bound is an intensity, as in Erlang's supervisors: at most so many restarts within so much time. What exceeds it is
//! given up and told, for starting it again would only repeat the crash. One-for-one: nobody but the crashed one is touched. Why it
//! crashed is remembered in the [`Roster`].

use std::collections::VecDeque;
use std::fmt::{self, Display};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use synod_agents::shell::{Counts, State};
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

impl Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Restarted { agent, why } => write!(f, "{agent} was restarted: {why}"),
            Notice::GivenUp { agent, why } => write!(f, "{agent} was given up, it crashes too often: {why}"),
        }
    }
}

/// A crash, as it is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// When, in UTC, as RFC 3339 writes it.
    pub at: String,
    /// Where in the agent's life, and why.
    pub why: String,
}

/// How an agent stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Which agent.
    pub agent: String,
    /// The context that carries it.
    pub context: String,
    /// The program that does its work, if it is none of this build's.
    pub program: Option<String>,
    /// What it is doing; nothing in a node that does not run.
    pub state: Option<State>,
    /// Tasks that ended with a handoff.
    pub done: u64,
    /// Tasks that ended without one.
    pub failed: u64,
    /// How often it was started again.
    pub restarts: u64,
    /// The last crashes, the latest last.
    pub crashes: Vec<Crash>,
}

/// Crashes that are remembered of each agent.
const REMEMBERED: usize = 8;

/// How the agents of a node stand. Cheap to clone, and to be read from any thread.
#[derive(Debug, Clone, Default)]
pub struct Roster(Arc<Mutex<Vec<Listed>>>);

#[derive(Debug)]
struct Listed {
    agent: &'static str,
    context: String,
    program: Option<String>,
    counts: Arc<Counts>,
    restarts: u64,
    crashes: VecDeque<Crash>,
}

impl Roster {
    /// How each agent stands now, in the order of their names.
    pub fn list(&self) -> Vec<Standing> {
        let standing = |listed: &Listed| Standing {
            agent: listed.agent.into(),
            context: listed.context.clone(),
            program: listed.program.clone(),
            state: Some(listed.counts.state()),
            done: listed.counts.done(),
            failed: listed.counts.failed(),
            restarts: listed.restarts,
            crashes: listed.crashes.iter().cloned().collect(),
        };
        let mut all: Vec<Standing> = self.listed().iter().map(standing).collect();
        all.sort_by(|a, b| a.agent.cmp(&b.agent));
        all
    }

    /// Adds an agent.
    pub(crate) fn add(
        &self,
        agent: &'static str,
        context: &str,
        program: Option<String>,
        counts: Arc<Counts>,
    ) {
        let (context, crashes) = (context.to_owned(), VecDeque::new());
        self.listed().push(Listed { agent, context, program, counts, restarts: 0, crashes });
    }

    fn crashed(&self, agent: &str, why: &str, restarted: bool) {
        let mut listed = self.listed();
        let Some(of) = listed.iter_mut().find(|listed| listed.agent == agent) else { return };
        of.restarts += u64::from(restarted);
        if of.crashes.len() == REMEMBERED {
            of.crashes.pop_front();
        }
        of.crashes.push_back(Crash { at: time::wall().to_string(), why: why.to_owned() });
    }

    fn listed(&self) -> MutexGuard<'_, Vec<Listed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one agent's supervisor does with crashes: how many it bears, and whom it tells.
#[derive(Debug)]
pub struct Supervisor<'a> {
    /// The agent's name.
    pub agent: &'a str,
    /// How often it is started again.
    pub intensity: Intensity,
    /// Who hears of it at once.
    pub notices: &'a mpsc::Sender<Notice>,
    /// Where it is remembered.
    pub roster: &'a Roster,
}

impl Supervisor<'_> {
    /// Runs `life` again and again until it ends well, or crashes too often: then gives its last words.
    pub async fn run<E: Display>(&self, mut life: impl AsyncFnMut() -> Result<(), E>) -> Result<(), String> {
        let mut restarts = Restarts::new(self.intensity);
        while let Err(error) = life().await {
            let (agent, why) = (self.agent.to_string(), error.to_string());
            let goes_on = restarts.allow(time::now());
            self.roster.crashed(&agent, &why, goes_on);
            if goes_on {
                reach!("node.agent-restarted");
                event!("agent.restarted", agent = agent.as_str());
            } else {
                reach!("node.agent-given-up");
                event!("agent.given-up", agent = agent.as_str());
            }
            let last = (!goes_on).then(|| {
                let Intensity { max, within } = self.intensity;
                format!("more than {max} crashes within {} s, the last: {why}", within.as_secs())
            });
            let notice =
                if goes_on { Notice::Restarted { agent, why } } else { Notice::GivenUp { agent, why } };
            if self.notices.try_send(notice).is_err() {
                loss!("node.notices", "nobody reads them");
            }
            if let Some(last) = last {
                return Err(last);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            let roster = Roster::default();
            roster.add("a", "work-0", None, Arc::default());
            let intensity = Intensity { max: 2, within: Duration::from_secs(60) };
            let supervisor = Supervisor { agent: "a", intensity, notices: &tell, roster: &roster };
            let mut lives = 0;
            let last = supervisor
                .run(async || {
                    lives += 1;
                    Err(format!("boom {lives}"))
                })
                .await;
            assert_eq!(lives, 3, "one life and two restarts");
            assert_eq!(last, Err("more than 2 crashes within 60 s, the last: boom 3".into()));
            let notices: Vec<Notice> = std::iter::from_fn(|| told.try_recv().ok()).collect();
            assert!(matches!(
                notices.as_slice(),
                [Notice::Restarted { .. }, Notice::Restarted { .. }, Notice::GivenUp { .. }]
            ));
            let standing = roster.list().remove(0);
            let crashes: Vec<&str> = standing.crashes.iter().map(|crash| crash.why.as_str()).collect();
            assert_eq!((standing.restarts, crashes), (2, vec!["boom 1", "boom 2", "boom 3"]));

            lives = 0;
            let end = supervisor
                .run(async || {
                    lives += 1;
                    if lives == 1 { Err("boom") } else { Ok(()) }
                })
                .await;
            assert_eq!((lives, end), (2, Ok(())));
            assert_eq!(roster.list()[0].restarts, 3);
        });
    }

    #[test]
    fn only_the_last_crashes_are_remembered() {
        testing::run(1, || async {
            let roster = Roster::default();
            roster.add("a", "work-0", None, Arc::default());
            for n in 0..20 {
                roster.crashed("a", &n.to_string(), true);
            }
            let crashes = roster.list().remove(0).crashes;
            assert_eq!((crashes.len(), crashes[7].why.as_str()), (8, "19"));
        });
    }
}
