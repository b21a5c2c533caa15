//! The engine: what happens next in a run, given what happened so far.
//!
//! A pure state machine: events and the time go in, actions come out, in an order that depends on nothing else. Every step ends once, as
//! done, failed, dropped or skipped, and the last three with a reason; a run ends at its deadline at the latest. Work for each event
//! is proportional to the edges it touches. Nothing is started, stopped or written here: that is the shell's, in `run`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use synod_platform::time::Mono;
use synod_probe::{plant, reach};

use super::journal::Happened;
use super::limit::Limit;
use super::plan::{Plan, PlanError, Strategy};

/// The longest pause before a further attempt.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What the world tells the engine. Steps are told by their position in the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An attempt came to its end, well.
    Done {
        /// Which step.
        step: u32,
        /// Which attempt; an attempt that is not the running one is not heeded.
        attempt: u32,
    },
    /// An attempt failed.
    Failed {
        /// Which step.
        step: u32,
        /// Which attempt; one that is not the running one is not heeded.
        attempt: u32,
        /// Why.
        why: String,
        /// Whether a further attempt may help.
        again: bool,
    },
    /// The undoing of a step came to its end, well.
    Undone {
        /// Which step.
        step: u32,
        /// Which attempt.
        attempt: u32,
    },
    /// The undoing of a step failed.
    NotUndone {
        /// Which step.
        step: u32,
        /// Which attempt.
        attempt: u32,
        /// Why.
        why: String,
    },
    /// The output of a step is vetoed.
    Veto {
        /// Which step.
        step: u32,
        /// By whom and why.
        why: String,
    },
    /// A veto is lifted.
    Lift {
        /// Which step.
        step: u32,
        /// By whom and why.
        why: String,
    },
    /// The run is given up for now; it can be resumed.
    Cancel,
    /// Nothing but time has passed.
    Tick,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// To be written down before anything that follows is done.
    Tell(Fact),
    /// Have the step's agent make this attempt.
    Start {
        /// Which step.
        step: u32,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// Give up this attempt: whatever it still answers is not heeded.
    Stop {
        /// Which step.
        step: u32,
        /// Which attempt.
        attempt: u32,
    },
    /// Have the step undone.
    Compensate {
        /// Which step.
        step: u32,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// The run is over. Always the last action.
    Ended(Outcome),
}

/// Something that happened to a step, worth a line in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Which step.
    pub step: u32,
    /// What happened.
    pub event: Happened,
    /// Which attempt, from 1; 0 where none is meant.
    pub attempt: u32,
    /// Why; empty where nothing needs a reason.
    pub why: String,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All essential steps are done.
    Done,
    /// An essential step was not done.
    Missed,
    /// The time was over.
    OutOfTime,
    /// It was cancelled, and can be resumed.
    Cancelled,
}

impl Outcome {
    /// What it came to, in a few words.
    pub fn words(self) -> &'static str {
        match self {
            Outcome::Done => "all essential steps are done",
            Outcome::Missed => "an essential step was not done",
            Outcome::OutOfTime => "the time was over",
            Outcome::Cancelled => "cancelled",
        }
    }
}

/// Where a step stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Needs are missing.
    Waiting,
    /// All it needs is there; it waits for its turn.
    Ready,
    /// All it needs is there, but something it depends on is vetoed.
    Held,
    /// An attempt runs.
    Running,
    /// An attempt failed, the next one follows after a pause.
    Pausing,
    /// Done.
    Done,
    /// Not essential, and not done: those that need it go on without.
    Dropped(String),
    /// Essential, and failed for good.
    Failed(String),
    /// Essential, and not begun, or stopped for good through no fault of its own.
    Skipped(String),
}

impl State {
    /// Whether nothing changes it any more.
    pub fn is_final(&self) -> bool {
        matches!(self, State::Done | State::Dropped(_) | State::Failed(_) | State::Skipped(_))
    }
}

#[derive(Debug)]
struct Node {
    state: State,
    /// Needs that are neither done nor dropped.
    open: u32,
    /// Vetoed steps among all it depends on.
    vetoes: u32,
    /// The latest attempt.
    attempt: u32,
    failures: u32,
    since: Mono,
    timer: Option<Mono>,
    agent: u32,
    /// What only one step at a time may have: in a pipeline its agent's stage, then the tree it writes.
    exclusive: [Option<u32>; 2],
    /// How many of these it has.
    has: u8,
    essential: bool,
    retries: u32,
    back_off: Duration,
    within: Duration,
    undo_within: Option<Duration>,
    undone: bool,
}

/// Something that one step at a time may have.
#[derive(Debug, Default)]
struct Exclusive {
    taken: bool,
    waiting: BinaryHeap<Reverse<u32>>,
}

#[derive(Debug)]
enum Phase {
    Working,
    /// Steps still to be undone, the next one last.
    Undoing {
        left: Vec<u32>,
        attempt: u32,
        until: Mono,
    },
    Ended,
}

/// A run of a plan.
#[derive(Debug)]
pub struct Engine {
    nodes: Vec<Node>,
    heirs: Vec<Vec<u32>>,
    needs: Vec<Vec<u32>>,
    ready: BinaryHeap<Reverse<u32>>,
    exclusives: Vec<Exclusive>,
    timers: BTreeSet<(Mono, u32)>,
    limit: Limit,
    running: u32,
    unsettled: u32,
    finished: Vec<u32>,
    vetoed: BTreeMap<u32, String>,
    veto_wait: Duration,
    /// Until when vetoed work is waited for, if nothing else is left.
    patience: Option<Mono>,
    deadline: Mono,
    phase: Phase,
    names: Vec<Box<str>>,
    out: Vec<Action>,
}

impl Engine {
    /// A run from the beginning, to end by `deadline`. The first actions come with the first [`Event::Tick`].
    pub fn new(plan: &Plan, deadline: Mono) -> Result<Self, PlanError> {
        plan.levels()?;
        let needs = plan.needs()?;
        let mut heirs: Vec<Vec<u32>> = vec![Vec::new(); needs.len()];
        for (at, of) in (0u32..).zip(&needs) {
            for need in of {
                heirs[*need as usize].push(at);
            }
        }
        let (mut agents, mut trees): (BTreeMap<&str, u32>, BTreeMap<&str, u32>) = Default::default();
        for step in &plan.steps {
            let next = agents.len() as u32;
            agents.entry(&step.agent).or_insert(next);
        }
        let stages = if plan.strategy == Strategy::Pipeline { agents.len() as u32 } else { 0 };
        for tree in plan.steps.iter().filter_map(|step| step.writes.as_deref()) {
            let next = stages + trees.len() as u32;
            trees.entry(tree).or_insert(next);
        }
        let mut nodes = Vec::with_capacity(needs.len());
        for (step, needs) in plan.steps.iter().zip(&needs) {
            let agent = agents[step.agent.as_str()];
            let stage = (plan.strategy == Strategy::Pipeline).then_some(agent);
            let tree = step.writes.as_deref().map(|tree| trees[tree]);
            nodes.push(Node {
                state: State::Waiting,
                open: needs.len() as u32,
                vetoes: 0,
                attempt: 0,
                failures: 0,
                since: Mono::ZERO,
                timer: None,
                agent,
                exclusive: if stage.is_some() { [stage, tree] } else { [tree, None] },
                has: 0,
                essential: step.essential,
                retries: step.retries,
                back_off: step.back_off.get(),
                within: step.within.get(),
                undo_within: step.compensate.as_ref().map(|undo| undo.within.get()),
                undone: false,
            });
        }
        let exclusives = (0..stages as usize + trees.len()).map(|_| Exclusive::default()).collect();
        let mut engine = Engine {
            unsettled: nodes.len() as u32,
            nodes,
            heirs,
            needs,
            ready: BinaryHeap::new(),
            exclusives,
            timers: BTreeSet::new(),
            limit: Limit::new(plan.strategy, plan.limit, agents.len()),
            running: 0,
            finished: Vec::new(),
            vetoed: BTreeMap::new(),
            veto_wait: plan.veto_wait.get(),
            patience: None,
            deadline,
            phase: Phase::Working,
            names: plan.steps.iter().map(|step| step.id.as_str().into()).collect(),
            out: Vec::new(),
        };
        for at in 0..engine.nodes.len() as u32 {
            if engine.nodes[at as usize].open == 0 {
                engine.make_ready(at);
            }
        }
        Ok(engine)
    }

    /// A run that goes on where `facts`, in the order of their writing, end: what was finished is not repeated, what was running
    /// starts again.
    pub fn resume(
        plan: &Plan,
        deadline: Mono,
        facts: impl IntoIterator<Item = Fact>,
    ) -> Result<Self, PlanError> {
        let mut engine = Self::new(plan, deadline)?;
        let mut settled = BTreeSet::new();
        for fact in facts {
            let node = &mut engine.nodes[fact.step as usize];
            node.attempt = node.attempt.max(fact.attempt);
            let open = !node.state.is_final();
            match fact.event {
                Happened::Done if plant!("workflow.repeat-finished") => {}
                Happened::Done if open => {
                    settled.insert(fact.step);
                    engine.finish(fact.step);
                }
                Happened::Failed if open => {
                    settled.insert(fact.step);
                    engine.lose(fact.step, true, fact.why);
                }
                Happened::Skipped if open => {
                    settled.insert(fact.step);
                    engine.lose(fact.step, false, fact.why);
                }
                Happened::Skipped => {
                    settled.insert(fact.step);
                }
                Happened::Retried => node.failures += 1,
                Happened::Vetoed => engine.veto(fact.step, fact.why),
                Happened::Lifted => engine.lift(fact.step, fact.why),
                Happened::Compensated => node.undone = true,
                Happened::Done
                | Happened::Failed
                | Happened::Started
                | Happened::Progress
                | Happened::Stopped
                | Happened::Resumed
                | Happened::Ended => {}
            }
        }
        // The journal has what was settled already, unless the end came between a failure and its consequences.
        engine.out.retain(|action| match action {
            Action::Tell(fact) => fact.event == Happened::Skipped && !settled.contains(&fact.step),
            _ => false,
        });
        Ok(engine)
    }

    /// Takes an event at `now` and adds what is to be done to `actions`. `jitter`, from 0 to 1, scatters the pause before
    /// a further attempt.
    pub fn handle(&mut self, event: Event, now: Mono, jitter: f64, actions: &mut Vec<Action>) {
        match event {
            _ if matches!(self.phase, Phase::Ended) => return,
            Event::Done { step, attempt } if self.runs(step, attempt) => {
                let node = &self.nodes[step as usize];
                self.limit.done(node.agent, now.since(node.since), self.running);
                self.leave(step);
                self.finish(step);
            }
            Event::Failed { step, attempt, why, again } if self.runs(step, attempt) => {
                self.fail(step, why, again, now, jitter);
            }
            Event::Undone { step, attempt } if self.undoes(step, attempt) => {
                self.nodes[step as usize].undone = true;
                self.tell(step, Happened::Compensated, attempt, String::new());
                self.next_undo();
            }
            Event::NotUndone { step, attempt, why } if self.undoes(step, attempt) => {
                self.undo_failed(why, now);
            }
            Event::Veto { step, why } => self.veto(step, why),
            Event::Lift { step, why } => self.lift(step, why),
            Event::Cancel => self.stop_all(Outcome::Cancelled),
            Event::Done { .. }
            | Event::Failed { .. }
            | Event::Undone { .. }
            | Event::NotUndone { .. }
            | Event::Tick => {}
        }
        self.clock(now, jitter);
        self.dispatch(now);
        self.conclude(now);
        actions.append(&mut self.out);
    }

    /// When a [`Event::Tick`] is due, if nothing else happens before.
    pub fn next_tick(&self) -> Option<Mono> {
        match &self.phase {
            Phase::Ended => None,
            Phase::Undoing { until, .. } => Some((*until).min(self.deadline)),
            Phase::Working => {
                let timer = self.timers.first().map(|(at, _)| *at);
                timer.into_iter().chain(self.patience).chain([self.deadline]).min()
            }
        }
    }

    /// Where a step stands.
    pub fn state(&self, step: u32) -> &State {
        &self.nodes[step as usize].state
    }

    /// How many steps run.
    pub fn running(&self) -> u32 {
        self.running
    }

    /// How many steps have ended, well or not.
    pub fn settled(&self) -> u32 {
        self.nodes.len() as u32 - self.unsettled
    }

    /// The most steps that may run at a time, at this moment.
    pub fn limit(&self) -> u32 {
        self.limit.now()
    }

    /// The vetoed steps, and why each is.
    pub fn vetoed(&self) -> impl Iterator<Item = (u32, &str)> {
        self.vetoed.iter().map(|(step, why)| (*step, why.as_str()))
    }

    /// Whether the step's undoing was done.
    pub fn is_undone(&self, step: u32) -> bool {
        self.nodes[step as usize].undone
    }

    fn runs(&self, step: u32, attempt: u32) -> bool {
        let node = self.nodes.get(step as usize);
        let runs = node.is_some_and(|node| node.state == State::Running && node.attempt == attempt);
        if !runs {
            reach!("workflow.late-answer");
        }
        runs
    }

    fn undoes(&self, step: u32, attempt: u32) -> bool {
        matches!(&self.phase, Phase::Undoing { left, attempt: this, .. } if left.last() == Some(&step) && *this == attempt)
    }

    fn tell(&mut self, step: u32, event: Happened, attempt: u32, why: String) {
        self.out.push(Action::Tell(Fact { step, event, attempt, why }));
    }

    fn make_ready(&mut self, at: u32) {
        let node = &mut self.nodes[at as usize];
        let held = node.vetoes > 0 && !plant!("workflow.ignore-veto");
        node.state = if held { State::Held } else { State::Ready };
        if !held {
            self.ready.push(Reverse(at));
        }
    }

    /// A running step runs no more: its timer and what it alone had are free again.
    fn leave(&mut self, at: u32) {
        self.running -= 1;
        self.stop_timer(at);
        self.give_back(at);
    }

    fn give_back(&mut self, at: u32) {
        let node = &mut self.nodes[at as usize];
        let had = std::mem::take(&mut node.has);
        for which in node.exclusive.into_iter().flatten().take(usize::from(had)) {
            self.exclusives[which as usize].taken = false;
        }
        self.nudge(at);
    }

    /// Lets the next one try that waits for what `at` no longer has or wants.
    fn nudge(&mut self, at: u32) {
        for which in self.nodes[at as usize].exclusive.into_iter().flatten() {
            let exclusive = &mut self.exclusives[which as usize];
            if !exclusive.taken
                && let Some(next) = exclusive.waiting.pop()
            {
                self.ready.push(next);
            }
        }
    }

    fn start_timer(&mut self, at: u32, when: Mono) {
        self.nodes[at as usize].timer = Some(when);
        self.timers.insert((when, at));
    }

    fn stop_timer(&mut self, at: u32) {
        if let Some(when) = self.nodes[at as usize].timer.take() {
            self.timers.remove(&(when, at));
        }
    }

    /// A step is done, live or in the journal.
    fn finish(&mut self, at: u32) {
        let attempt = self.nodes[at as usize].attempt;
        self.nodes[at as usize].state = State::Done;
        self.unsettled -= 1;
        self.finished.push(at);
        self.tell(at, Happened::Done, attempt, String::new());
        self.satisfy_heirs(at);
    }

    fn satisfy_heirs(&mut self, at: u32) {
        for n in 0..self.heirs[at as usize].len() {
            let heir = self.heirs[at as usize][n];
            let node = &mut self.nodes[heir as usize];
            node.open -= 1;
            if node.open == 0 && node.state == State::Waiting {
                self.make_ready(heir);
            }
        }
    }

    /// An attempt failed: again after a pause, or for good.
    fn fail(&mut self, at: u32, why: String, again: bool, now: Mono, jitter: f64) {
        self.limit.failed();
        self.leave(at);
        let node = &mut self.nodes[at as usize];
        node.failures += 1;
        let attempt = node.attempt;
        if !again || node.failures > node.retries {
            reach!("workflow.step-given-up");
            self.lose(at, true, why);
            return;
        }
        reach!("workflow.step-again");
        let doubled = node.back_off.saturating_mul(1u32 << (node.failures - 1).min(20)).min(PAUSE_MAX);
        // From half of the pause to the whole of it.
        let pause = doubled.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0));
        node.state = State::Pausing;
        self.tell(at, Happened::Retried, attempt, why);
        self.start_timer(at, now + pause);
    }

    /// A step will not be done, and with it those that cannot go on without it.
    fn lose(&mut self, at: u32, failed: bool, why: String) {
        let mut lost = vec![(at, failed, why)];
        while let Some((at, failed, why)) = lost.pop() {
            let node = &mut self.nodes[at as usize];
            if node.state.is_final() {
                continue;
            }
            let (attempt, was) = (node.attempt, node.state.clone());
            node.state = match (node.essential, failed) {
                (false, _) => State::Dropped(why.clone()),
                (true, true) => State::Failed(why.clone()),
                (true, false) => State::Skipped(why.clone()),
            };
            let essential = node.essential;
            self.unsettled -= 1;
            self.stop_timer(at);
            if was == State::Ready {
                self.give_back(at);
            }
            self.tell(at, if failed { Happened::Failed } else { Happened::Skipped }, attempt, why);
            if !essential {
                self.satisfy_heirs(at);
                continue;
            }
            let because = format!("it needs `{}`, which was not done", self.names[at as usize]);
            lost.extend(self.heirs[at as usize].iter().rev().map(|heir| (*heir, false, because.clone())));
        }
    }

    fn veto(&mut self, at: u32, why: String) {
        if self.vetoed.contains_key(&at) || matches!(self.phase, Phase::Undoing { .. }) {
            return;
        }
        self.vetoed.insert(at, why.clone());
        self.tell(at, Happened::Vetoed, 0, why.clone());
        for heir in self.descendants(at) {
            let node = &mut self.nodes[heir as usize];
            node.vetoes += 1;
            if plant!("workflow.ignore-veto") {
                continue;
            }
            match node.state {
                State::Running => {
                    let attempt = node.attempt;
                    node.state = State::Held;
                    reach!("workflow.stopped-by-veto");
                    self.leave(heir);
                    self.out.push(Action::Stop { step: heir, attempt });
                    let because = format!("`{}` was vetoed: {why}", self.names[at as usize]);
                    self.tell(heir, Happened::Stopped, attempt, because);
                }
                State::Ready => {
                    node.state = State::Held;
                    self.give_back(heir);
                }
                State::Pausing => {
                    node.state = State::Held;
                    self.stop_timer(heir);
                }
                _ => {}
            }
        }
    }

    fn lift(&mut self, at: u32, why: String) {
        if self.vetoed.remove(&at).is_none() {
            return;
        }
        self.patience = None;
        self.tell(at, Happened::Lifted, 0, why);
        for heir in self.descendants(at) {
            let node = &mut self.nodes[heir as usize];
            node.vetoes -= 1;
            if node.vetoes == 0 && node.state == State::Held {
                self.make_ready(heir);
            }
        }
    }

    /// All that depend on a step, near or far, by position.
    fn descendants(&self, at: u32) -> Vec<u32> {
        reached(&self.heirs, [at])
    }

    /// What the time alone brings.
    fn clock(&mut self, now: Mono, jitter: f64) {
        if now >= self.deadline && !matches!(self.phase, Phase::Ended) {
            self.stop_all(Outcome::OutOfTime);
            return;
        }
        if let Phase::Undoing { until, .. } = self.phase {
            if now >= until {
                self.undo_failed("it took longer than it may".into(), now);
            }
            return;
        }
        while let Some((when, at)) = self.timers.first().copied().filter(|(when, _)| *when <= now) {
            self.timers.remove(&(when, at));
            let node = &mut self.nodes[at as usize];
            node.timer = None;
            match node.state {
                State::Running => {
                    reach!("workflow.step-timed-out");
                    let (attempt, within) = (node.attempt, node.within);
                    self.out.push(Action::Stop { step: at, attempt });
                    let why = format!("it took longer than the {} s it may", within.as_secs_f64());
                    self.fail(at, why, true, now, jitter);
                }
                State::Pausing => self.make_ready(at),
                _ => {}
            }
        }
        if self.patience.is_some_and(|until| until <= now) {
            self.patience = None;
            reach!("workflow.veto-outlasted");
            let why = match self.vetoed.iter().next() {
                Some((step, why)) => format!("`{}` is vetoed: {why}", self.names[*step as usize]),
                None => "a veto was not lifted".into(),
            };
            let held: Vec<u32> = (0..self.nodes.len() as u32)
                .filter(|at| self.nodes[*at as usize].state == State::Held)
                .collect();
            for at in held {
                self.lose(at, false, why.clone());
            }
        }
    }

    /// Starts what may start.
    fn dispatch(&mut self, now: Mono) {
        if !matches!(self.phase, Phase::Working) {
            return;
        }
        while self.running < self.limit.now() {
            let Some(Reverse(at)) = self.ready.pop() else { return };
            if self.nodes[at as usize].state != State::Ready {
                // It waited for something in vain: that is for the next one who waits for it.
                self.nudge(at);
            } else if self.take_exclusives(at) {
                self.running += 1;
                let node = &mut self.nodes[at as usize];
                node.state = State::Running;
                node.attempt += 1;
                node.since = now;
                let (attempt, until) = (node.attempt, now + node.within);
                self.start_timer(at, until);
                self.tell(at, Happened::Started, attempt, String::new());
                self.out.push(Action::Start { step: at, attempt });
            }
        }
    }

    /// Takes what the step alone may have, in one order for all; if a part is taken, it waits there and keeps what it has.
    fn take_exclusives(&mut self, at: u32) -> bool {
        let node = &mut self.nodes[at as usize];
        for which in node.exclusive.into_iter().flatten().skip(usize::from(node.has)) {
            let exclusive = &mut self.exclusives[which as usize];
            if exclusive.taken {
                exclusive.waiting.push(Reverse(at));
                return false;
            }
            exclusive.taken = true;
            node.has += 1;
        }
        true
    }

    /// Looks whether the run is at its end, or stuck behind a veto.
    fn conclude(&mut self, now: Mono) {
        if !matches!(self.phase, Phase::Working) {
            if let Phase::Undoing { left, attempt: 0, .. } = &self.phase
                && let Some(step) = left.last().copied()
            {
                self.undo(step, 1, now);
            }
            return;
        }
        if self.unsettled > 0 {
            if self.running == 0 && self.timers.is_empty() && self.patience.is_none() {
                // A DAG that neither runs nor pauses is held by a veto alone.
                assert!(!self.vetoed.is_empty(), "a run without a veto is stuck");
                self.patience = Some(now + self.veto_wait);
            }
            return;
        }
        let lost: Vec<u32> = (0..self.nodes.len() as u32)
            .filter(|at| matches!(self.state(*at), State::Failed(_) | State::Skipped(_)))
            .collect();
        if lost.is_empty() {
            return self.end(Outcome::Done);
        }
        let before = reached(&self.needs, lost);
        let left: Vec<u32> = self
            .finished
            .iter()
            .copied()
            .filter(|at| before.binary_search(at).is_ok())
            .filter(|at| self.nodes[*at as usize].undo_within.is_some() && !self.nodes[*at as usize].undone)
            .collect();
        match left.last().copied() {
            None => self.end(Outcome::Missed),
            Some(step) => {
                reach!("workflow.undoing");
                self.phase = Phase::Undoing { left, attempt: 0, until: Mono::MAX };
                self.undo(step, 1, now);
            }
        }
    }

    fn undo(&mut self, step: u32, this: u32, now: Mono) {
        let within = self.nodes[step as usize].undo_within.unwrap_or_default();
        if let Phase::Undoing { attempt, until, .. } = &mut self.phase {
            (*attempt, *until) = (this, now + within);
            self.out.push(Action::Compensate { step, attempt: this });
        }
    }

    fn next_undo(&mut self) {
        if let Phase::Undoing { left, attempt, until } = &mut self.phase {
            left.pop();
            (*attempt, *until) = (0, Mono::MAX);
            if left.is_empty() {
                self.end(Outcome::Missed);
            }
        }
    }

    fn undo_failed(&mut self, why: String, now: Mono) {
        let Phase::Undoing { left, attempt, .. } = &self.phase else { return };
        let (Some(step), attempt) = (left.last().copied(), *attempt) else { return };
        self.out.push(Action::Stop { step, attempt });
        if attempt <= self.nodes[step as usize].retries {
            return self.undo(step, attempt + 1, now);
        }
        reach!("workflow.not-undone");
        self.tell(step, Happened::Stopped, attempt, format!("it could not be undone: {why}"));
        self.next_undo();
    }

    /// Gives up whatever runs or waits.
    fn stop_all(&mut self, outcome: Outcome) {
        for at in 0..self.nodes.len() as u32 {
            let node = &self.nodes[at as usize];
            let (runs, attempt) = (node.state == State::Running, node.attempt);
            if runs {
                self.leave(at);
                self.out.push(Action::Stop { step: at, attempt });
            }
            if !self.nodes[at as usize].state.is_final() {
                self.settle_at_end(at, runs, outcome);
            }
        }
        if let Phase::Undoing { left, attempt, .. } = &self.phase
            && let Some(step) = left.last()
        {
            self.out.push(Action::Stop { step: *step, attempt: *attempt });
        }
        self.end(outcome);
    }

    /// A cancelled step can be resumed, so the journal says nothing of its end; one whose time is over has ended.
    fn settle_at_end(&mut self, at: u32, ran: bool, outcome: Outcome) {
        self.stop_timer(at);
        self.unsettled -= 1;
        let (node, why) = (&mut self.nodes[at as usize], outcome.words().to_string());
        let attempt = node.attempt;
        node.state = match (node.essential, ran) {
            (false, _) => State::Dropped(why.clone()),
            (true, true) => State::Failed(why.clone()),
            (true, false) => State::Skipped(why.clone()),
        };
        if outcome == Outcome::OutOfTime {
            self.tell(at, if ran { Happened::Failed } else { Happened::Skipped }, attempt, why);
        }
    }

    fn end(&mut self, outcome: Outcome) {
        self.phase = Phase::Ended;
        self.out.push(Action::Ended(outcome));
    }
}

/// All positions that the edges lead to from `from`, without those, in order.
fn reached(edges: &[Vec<u32>], from: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut seen = vec![false; edges.len()];
    let mut next: Vec<u32> = from.into_iter().collect();
    while let Some(at) = next.pop() {
        for to in &edges[at as usize] {
            if !std::mem::replace(&mut seen[*to as usize], true) {
                next.push(*to);
            }
        }
    }
    (0u32..).zip(seen).filter(|(_, seen)| *seen).map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests;
