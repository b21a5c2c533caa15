//! One run of this node: where it is, and the events that tell it, numbered so that a reader can go on after a break.
//!
//! The events kept are bounded: the oldest progress is forgotten first, the end never.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use synod_agents::task::Progress;
use synod_platform::time::{self, Mono, Wall};
use synod_platform::watch;

use super::order::{Given, State, Told};
use crate::stream::Event;

/// Events that are kept for late readers.
const EVENTS_MAX: usize = 2048;

/// How a run ended.
#[derive(Debug, Clone)]
pub enum End {
    /// With a verdict.
    Done(Box<Given>),
    /// Without one.
    Failed {
        /// Why.
        why: String,
        /// Whether what was ordered is wrong.
        order_is_wrong: bool,
    },
    /// It was cancelled.
    Cancelled(String),
}

/// A run of this node's present life.
#[derive(Debug)]
pub struct Record {
    id: String,
    tree: String,
    out: PathBuf,
    wall: Wall,
    began: Mono,
    took: Cell<Option<Duration>>,
    end: RefCell<Option<End>>,
    agents: RefCell<BTreeMap<String, Progress>>,
    events: RefCell<VecDeque<Event>>,
    told: watch::Sender<u64>,
}

impl Record {
    /// A run that begins now; `out` is where its folder is made.
    pub fn new(id: String, tree: String, out: PathBuf) -> Self {
        Record {
            id,
            tree,
            out,
            wall: time::wall(),
            began: time::now(),
            took: Cell::new(None),
            end: RefCell::default(),
            agents: RefCell::default(),
            events: RefCell::default(),
            told: watch::Sender::new(0),
        }
    }

    /// The run's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its run folder; it need not be there yet.
    pub fn folder(&self) -> PathBuf {
        self.out.join(&self.id)
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// Takes an agent's progress.
    pub fn progress(&self, progress: Progress) {
        self.add("progress", &progress);
        self.agents.borrow_mut().insert(progress.agent.clone(), progress);
    }

    /// Takes the end; only the first counts.
    pub fn end(&self, end: End) {
        if self.is_over() {
            return;
        }
        self.took.set(Some(time::now().since(self.began)));
        *self.end.borrow_mut() = Some(end);
        self.add("end", &self.told());
    }

    fn add(&self, name: &str, value: &impl serde::Serialize) {
        let data = serde_json::to_string(value).unwrap_or_default();
        self.told.send_if_modified(|last| {
            *last += 1;
            let mut events = self.events.borrow_mut();
            if events.len() >= EVENTS_MAX {
                events.pop_front();
            }
            events.push_back(Event { id: *last, name: name.into(), data });
            true
        });
    }

    /// The first event after number `after`, if there is one.
    pub fn event_after(&self, after: u64) -> Option<Event> {
        let events = self.events.borrow();
        let at = events.partition_point(|event| event.id <= after);
        events.get(at).cloned()
    }

    /// Tells of new events.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    /// The run as the API tells it.
    pub fn told(&self) -> Told {
        let mut told = Told {
            id: self.id.clone(),
            state: State::Running,
            outcome: None,
            why: String::new(),
            order_is_wrong: false,
            began: self.wall.to_string(),
            seconds: self.took.get().map(|took| took.as_secs_f64()),
            tree: self.tree.clone(),
            agents: self.agents.borrow().values().cloned().collect(),
            given: None,
        };
        match &*self.end.borrow() {
            None => {}
            Some(End::Done(given)) => {
                told.state = State::Done;
                told.outcome = Some(given.verdict.outcome.word().into());
                told.why = given.verdict.because.clone();
                told.given = Some((**given).clone());
            }
            Some(End::Failed { why, order_is_wrong }) => {
                told.state = State::Failed;
                told.why = why.clone();
                told.order_is_wrong = *order_is_wrong;
            }
            Some(End::Cancelled(why)) => {
                told.state = State::Cancelled;
                told.why = why.clone();
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_platform::testing;

    fn progress(n: usize) -> Progress {
        Progress { run: "r".into(), agent: "linter".into(), fraction: 0.5, sentence: format!("step {n}") }
    }

    #[test]
    fn a_reader_goes_on_where_it_was_and_a_late_one_still_learns_the_end() {
        testing::run(1, || async {
            let record = Record::new("r".into(), "/t".into(), "/runs".into());
            for n in 0..EVENTS_MAX + 10 {
                record.progress(progress(n));
            }
            record.end(End::Cancelled("enough".into()));
            record.end(End::Failed { why: "too late".into(), order_is_wrong: false });
            assert_eq!(record.event_after(0).expect("what is kept").id, 12, "the oldest are forgotten");
            assert_eq!(record.event_after(100).expect("kept").id, 101);
            let last = record.event_after(EVENTS_MAX as u64 + 10).expect("the end");
            assert_eq!(last.name, "end");
            assert_eq!(record.event_after(last.id), None);
            assert_eq!((record.told().state, record.told().why.as_str()), (State::Cancelled, "enough"));
        });
    }
}
