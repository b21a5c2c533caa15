//! The way from a process's contexts to its node: questions in order, some of them answered.
//!
//! Any thread may ask; one task, the process's end of the connection, takes the questions and completes the answers. When the
//! node is lost, those who wait are told so, and what is asked until it is found again is forgotten: it is told all anew then.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use synod_platform::memory::Handle;
use tokio::sync::{Notify, oneshot};

use super::control::Ask;

/// A question with its handles.
pub(crate) type Asked = (Ask, Vec<Handle>);

/// How a question ended.
pub(crate) type Outcome = Result<(), String>;

/// A question under way.
pub(crate) struct Answer(oneshot::Receiver<Outcome>);

impl Answer {
    /// Waits for the node's answer, or for its loss.
    pub async fn outcome(self) -> Outcome {
        self.0.await.unwrap_or_else(|_| Err("the connection to the node is lost".to_owned()))
    }
}

#[derive(Default)]
struct State {
    up: bool,
    questions: VecDeque<Asked>,
    waiting: BTreeMap<u64, oneshot::Sender<Outcome>>,
    last: u64,
}

/// The questions of one process to its node.
#[derive(Default)]
pub(crate) struct Uplink {
    state: Mutex<State>,
    work: Notify,
}

impl fmt::Debug for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uplink").field("up", &self.state().up).finish()
    }
}

impl Uplink {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks what needs no answer.
    pub fn say(&self, ask: Ask, handles: Vec<Handle>) {
        let mut state = self.state();
        if state.up {
            state.questions.push_back((ask, handles));
            drop(state);
            self.work.notify_one();
        }
    }

    /// Asks, under a number of its own.
    pub fn ask(&self, question: impl FnOnce(u64) -> Ask) -> Answer {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        if state.up {
            state.last += 1;
            let number = state.last;
            state.waiting.insert(number, sender);
            state.questions.push_back((question(number), Vec::new()));
            drop(state);
            self.work.notify_one();
        }
        Answer(receiver)
    }

    /// The node answered; zero was asked by nobody who waits.
    pub fn complete(&self, number: u64, outcome: Outcome) {
        if let Some(waiting) = self.state().waiting.remove(&number) {
            // Whoever asked may wait no longer.
            let _ = waiting.send(outcome);
        }
    }

    /// The node is there.
    pub fn come_up(&self) {
        self.state().up = true;
    }

    /// The node is lost: nobody waits for it in vain.
    pub fn go_down(&self) {
        let mut state = self.state();
        let last = state.last;
        *state = State { last, ..State::default() };
    }

    /// The next question, in order. For one task.
    pub async fn next(&self) -> Asked {
        loop {
            if let Some(asked) = self.state().questions.pop_front() {
                return asked;
            }
            self.work.notified().await;
        }
    }
}
