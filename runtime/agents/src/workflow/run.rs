//! The shell of the engine: has the steps of a plan done by their agents, and writes down what happens before acting on it.
//!
//! Killed at any moment, a run goes on from its journal: what was finished stays finished, what was running is started again. Vetoes
//! are heeded while it runs; SECURITY and DIRECTOR may give them. A step that writes a tree gets a lease on it, renewed for as long
//! as it works.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures_util::future::{AbortHandle, Aborted, LocalBoxFuture, abortable};
use futures_util::stream::{FuturesUnordered, StreamExt};
use synod_fabric::Message;
use synod_platform::files::{self, FilesError};
use synod_platform::random;
use synod_platform::time::{self, Mono};
use synod_probe::{event, reach};

use super::engine::{Action, Engine, Event, Outcome, State};
use super::journal::{Happened, Journal, JournalError, Line, facts};
use super::lease::{self, LeaseError, Leases};
use super::plan::{self, Needs, Plan, Step};
use crate::Role;
use crate::director::Failure;
use crate::folder::{FolderError, RunFolder};
use crate::shell::{Desk, WorkError};
use crate::task::{self, Granted, Handoff, Progress, Task, Veto};

/// The input that holds, as JSON, the outputs of each step that a step needs.
pub const NEEDS: &str = "needs";
/// How much of the time is kept for telling what became of the steps: a twentieth, from half a second to five.
const RESERVE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// Vetoes and progress that may wait.
const QUEUE: usize = 256;
/// How often the progress of a step is written down at most.
const PROGRESS: Duration = Duration::from_secs(5);
/// How often a lease that another holds is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// What became of the steps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ran {
    /// Handoffs of the steps that were done, in the order of their ends.
    pub done: Vec<Handoff>,
    /// Essential steps that were not done.
    pub failed: Vec<Failure>,
    /// Steps that were dropped, since the goal is not missed without them.
    pub dropped: Vec<Failure>,
}

impl From<JournalError> for WorkError {
    fn from(error: JournalError) -> Self {
        WorkError::Task(error.to_string())
    }
}

/// The time that may be spent on work, of all that is left: the rest is for telling what came of it.
pub fn without_reserve(left: Duration) -> Duration {
    // Of very little time no more than a half is kept.
    left.saturating_sub((left / 20).clamp(RESERVE.0, RESERVE.1).min(left / 2))
}

/// The plan of a run folder, if it has one.
pub async fn load(folder: &RunFolder) -> Result<Option<Plan>, WorkError> {
    let text = match folder.read(plan::FILE).await {
        Ok(text) => text,
        Err(FolderError::Files(FilesError::NotFound { .. })) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let plan = Plan::read(&String::from_utf8_lossy(&text), plan::FILE, &Role::ALL.map(Role::name));
    plan.map(Some).map_err(|error| WorkError::Task(error.to_string()))
}

/// Something that came to its end.
enum End {
    Step { step: u32, attempt: u32, end: Result<Handoff, WorkError> },
    Undo { step: u32, attempt: u32, end: Result<Handoff, WorkError> },
}

/// Runs a plan to its end. Steps of the agent at this desk are done by `own`, all others are delegated. What stands in the journal is
/// not done again.
pub async fn run<'a>(
    desk: &'a Desk,
    plan: &Plan,
    own: impl Fn(Step) -> LocalBoxFuture<'a, Result<Handoff, WorkError>>,
) -> Result<Ran, WorkError> {
    let folder = Path::new(&desk.task().folder);
    let (mut journal, mut lines) = Journal::open(folder).await?;
    // DIRECTOR's own steps may be in the journal, for it may have been killed over the verdict; they are none of this part.
    lines.retain(|line| line.agent != task::DIRECTOR || plan.step(&line.step).is_some());
    let (before, handoffs) = facts(plan, &lines)?;
    let deadline = time::now() + without_reserve(desk.left().min(plan.within.get()));
    let wrong = |error: super::plan::PlanError| WorkError::Task(error.to_string());
    if !lines.is_empty() {
        reach!("workflow.resumed");
        journal.append(&Line::now("", Happened::Resumed)).await?;
    }
    let engine = Engine::resume(plan, deadline, before).map_err(wrong)?;
    let positions: BTreeMap<&str, u32> =
        plan.steps.iter().zip(0u32..).map(|(step, at)| (step.id.as_str(), at)).collect();
    let done = lines.iter().filter(|line| line.event == Happened::Done);
    let order = done.filter_map(|line| positions.get(line.step.as_str()).copied()).collect();
    let mut runner = Runner {
        desk,
        plan,
        needs: plan.needs().map_err(wrong)?,
        positions,
        own,
        engine,
        journal,
        handoffs,
        order,
        running: FuturesUnordered::new(),
        handles: BTreeMap::new(),
        told: BTreeMap::new(),
        leases: Leases::beside(folder.parent().unwrap_or(folder)),
    };
    let outcome = runner.drive().await?;
    event!("workflow.ended", outcome = outcome.words());
    let ran = runner.ran();
    runner.journal.close().await?;
    Ok(ran)
}

struct Runner<'a, 'p, O> {
    desk: &'a Desk,
    plan: &'p Plan,
    needs: Needs,
    positions: BTreeMap<&'p str, u32>,
    own: O,
    engine: Engine,
    journal: Journal,
    handoffs: BTreeMap<u32, Handoff>,
    /// Steps that are done, in the order of their ends.
    order: Vec<u32>,
    running: FuturesUnordered<LocalBoxFuture<'a, Result<End, Aborted>>>,
    handles: BTreeMap<(u32, u32), AbortHandle>,
    /// When the progress of a running step was last written down.
    told: BTreeMap<u32, Mono>,
    leases: Leases,
}

impl<'a, 'p, O: Fn(Step) -> LocalBoxFuture<'a, Result<Handoff, WorkError>>> Runner<'a, 'p, O> {
    async fn drive(&mut self) -> Result<Outcome, WorkError> {
        let run = &self.desk.task().run;
        let mut vetoes = self.desk.listen(&task::veto_subject(run), QUEUE).await?;
        let mut progress = self.desk.listen(&task::progress_subject(run), QUEUE).await?;
        let mut event = Event::Tick;
        loop {
            if let Some(outcome) = self.take(event).await? {
                return Ok(outcome);
            }
            let wake = self.engine.next_tick().unwrap_or(Mono::MAX);
            event = tokio::select! {
                biased;
                // Whatever runs is given up with this future, and the journal tells where to go on.
                why = self.desk.given_up() => return Err(why),
                Some(message) = vetoes.recv() => self.heard(&message).unwrap_or(Event::Tick),
                Some(end) = self.running.next(), if !self.running.is_empty() => self.ended(end),
                Some(message) = progress.recv() => {
                    self.note(&message).await?;
                    Event::Tick
                }
                () = time::sleep_until(wake) => Event::Tick,
            };
        }
    }

    /// Takes an event; does what the engine then wants, in its order.
    async fn take(&mut self, event: Event) -> Result<Option<Outcome>, WorkError> {
        let jitter = random::below(1 << 20) as f64 / f64::from(1 << 20);
        let mut actions = Vec::new();
        self.engine.handle(event, time::now(), jitter, &mut actions);
        // Told only when something has changed: what is told here is heard here, too.
        let changed = !actions.is_empty();
        for action in actions {
            match action {
                Action::Tell(fact) => {
                    let step = &self.plan.steps[fact.step as usize];
                    if fact.event == Happened::Done {
                        self.order.push(fact.step);
                    }
                    let handoff = self.handoffs.get(&fact.step).filter(|_| fact.event == Happened::Done);
                    let line = Line {
                        agent: step.agent.clone(),
                        attempt: fact.attempt,
                        why: fact.why,
                        handoff: handoff.cloned(),
                        ..Line::now(&step.id, fact.event)
                    };
                    self.journal.append(&line).await?;
                }
                Action::Start { step, attempt } => self.start(step, attempt),
                Action::Compensate { step, attempt } => self.undo(step, attempt),
                Action::Stop { step, attempt } => {
                    if let Some(handle) = self.handles.remove(&(step, attempt)) {
                        handle.abort();
                    }
                }
                Action::Ended(outcome) => return Ok(Some(outcome)),
            }
        }
        if changed {
            self.tell();
        }
        Ok(None)
    }

    fn ended(&mut self, end: Result<End, Aborted>) -> Event {
        let Ok(end) = end else { return Event::Tick };
        match end {
            End::Step { step, attempt, end: Ok(handoff) } => {
                self.handles.remove(&(step, attempt));
                if *self.engine.state(step) == State::Running {
                    self.handoffs.insert(step, handoff);
                }
                Event::Done { step, attempt }
            }
            End::Step { step, attempt, end: Err(why) } => {
                self.handles.remove(&(step, attempt));
                Event::Failed { step, attempt, why: why.to_string(), again: true }
            }
            End::Undo { step, attempt, end: Ok(_) } => Event::Undone { step, attempt },
            End::Undo { step, attempt, end: Err(why) } => {
                Event::NotUndone { step, attempt, why: why.to_string() }
            }
        }
    }

    fn start(&mut self, at: u32, attempt: u32) {
        let step = self.plan.steps[at as usize].clone();
        let order = self.order_for(at);
        let (desk, leases) = (self.desk, self.leases.clone());
        let own = (step.agent == desk.name()).then(|| (self.own)(step.clone()));
        let work = async move {
            let end = match own {
                Some(own) => own.await,
                None => delegate(desk, &leases, &step, &step.agent, order).await,
            };
            End::Step { step: at, attempt, end }
        };
        self.launch(at, attempt, work);
    }

    fn undo(&mut self, at: u32, attempt: u32) {
        let step = self.plan.steps[at as usize].clone();
        let Some(undo) = step.compensate.clone() else { return };
        let mut order = self.order_for(at);
        order.id = format!("undo.{}", step.id);
        order.goal = undo.goal;
        order.within_ms = millis(undo.within.get());
        let (desk, leases) = (self.desk, self.leases.clone());
        let work = async move {
            let end = delegate(desk, &leases, &step, &undo.agent, order).await;
            End::Undo { step: at, attempt, end }
        };
        self.launch(at, attempt, work);
    }

    fn launch(&mut self, at: u32, attempt: u32, work: impl Future<Output = End> + 'a) {
        let (work, handle) = abortable(work);
        self.handles.insert((at, attempt), handle);
        self.running.push(Box::pin(work));
    }

    fn order_for(&self, at: u32) -> Task {
        let step = &self.plan.steps[at as usize];
        let outputs: BTreeMap<&str, &[String]> = self.needs[at as usize]
            .iter()
            .filter_map(|need| {
                let id = self.plan.steps[*need as usize].id.as_str();
                Some((id, self.handoffs.get(need)?.outputs.as_slice()))
            })
            .collect();
        let mut inputs = step.inputs.clone();
        inputs.entry("tree".into()).or_insert_with(|| format!("{}/tree.json", task::ORCHESTRATOR));
        inputs.insert(NEEDS.into(), serde_json::to_string(&outputs).unwrap_or_default());
        Task {
            id: step.id.clone(),
            goal: step.goal.clone(),
            inputs,
            within_ms: millis(step.within.get()),
            ..self.desk.task().clone()
        }
    }

    /// A veto, if it is one and its sender may give it.
    fn heard(&self, message: &Message) -> Option<Event> {
        let veto: Veto = match serde_json::from_slice(message.payload()) {
            Ok(veto) => veto,
            Err(_) => {
                reach!("workflow.no-veto");
                return None;
            }
        };
        // Who is on a linked node is told as `node/agent`, by the name that the node has proved.
        let source = message.source();
        let name = source.split_once('/').map_or(source, |(_, name)| name);
        if ![task::SECURITY, task::DIRECTOR].contains(&name) {
            reach!("workflow.veto-of-a-stranger");
            event!("workflow.veto-of-a-stranger", source = source);
            return None;
        }
        let step = *self.positions.get(veto.step.as_str())?;
        let why = format!("{}: {}", name.to_uppercase(), veto.why);
        Some(if veto.lifted { Event::Lift { step, why } } else { Event::Veto { step, why } })
    }

    /// Writes down how far an agent says it is, now and then. It is told, not believed: only a handoff ends a step.
    async fn note(&mut self, message: &Message) -> Result<(), WorkError> {
        let Ok(progress) = serde_json::from_slice::<Progress>(message.payload()) else { return Ok(()) };
        let Some((at, step)) = self.at_work().find(|(_, step)| step.agent == progress.agent) else {
            return Ok(());
        };
        let now = time::now();
        if self.told.get(&at).is_some_and(|told| now.since(*told) < PROGRESS) {
            return Ok(());
        }
        let first = self.told.insert(at, now).is_none();
        if first {
            return Ok(());
        }
        let line = Line {
            agent: step.agent.clone(),
            why: format!("{:.0} %: {}", progress.fraction.clamp(0.0, 1.0) * 100.0, progress.sentence),
            ..Line::now(&step.id, Happened::Progress)
        };
        Ok(self.journal.append(&line).await?)
    }

    /// The steps that run, by position. Those being undone are none of them.
    fn at_work(&self) -> impl Iterator<Item = (u32, &'p Step)> {
        self.handles
            .keys()
            .filter(|(at, _)| *self.engine.state(*at) == State::Running)
            .map(|(at, _)| (*at, &self.plan.steps[*at as usize]))
    }

    /// Tells how far the run is.
    fn tell(&self) {
        let names: Vec<&str> = self.at_work().map(|(_, step)| step.id.as_str()).take(8).collect();
        if !names.is_empty() {
            let fraction = self.engine.settled() as f32 / self.plan.steps.len() as f32;
            self.desk.progress(fraction, format!("waiting for {}", names.join(" and ")));
        }
    }

    fn ran(&self) -> Ran {
        let mut ran = Ran {
            done: self.order.iter().filter_map(|at| self.handoffs.get(at).cloned()).collect(),
            ..Ran::default()
        };
        for (at, step) in (0u32..).zip(&self.plan.steps) {
            let failure = |why: &String| Failure { step: step.id.clone(), why: why.clone() };
            match self.engine.state(at) {
                State::Failed(why) | State::Skipped(why) => ran.failed.push(failure(why)),
                State::Dropped(why) => ran.dropped.push(failure(why)),
                _ => {}
            }
        }
        ran
    }
}

/// Has a step done, or undone. If it writes a tree, that happens under a lease, which goes with the order and is renewed for as long as
/// the agent works.
async fn delegate(
    desk: &Desk,
    leases: &Leases,
    step: &Step,
    agent: &str,
    mut order: Task,
) -> Result<Handoff, WorkError> {
    let Some(named) = &step.writes else { return desk.delegate(agent, order).await };
    let holder = format!("{}/{}", order.run, step.id);
    // A tree has one book, whatever it is called; one that is not there yet is called what the plan calls it.
    let tree =
        files::canonical(Path::new(named)).await.map_or(named.clone(), |tree| tree.to_string_lossy().into());
    let tree = tree.as_str();
    // Who was killed or stopped gives no lease back: it runs out within its term.
    let until = time::now() + lease::TERM;
    let lease = loop {
        match leases.acquire(tree, &holder, lease::TERM).await {
            Err(LeaseError::Held { left, .. }) if time::now() < until => {
                reach!("workflow.lease-awaited");
                time::sleep(left.min(AGAIN)).await;
            }
            end => break end?,
        }
    };
    order.lease = Some(Granted { tree: tree.into(), token: lease.token() });
    let renewing = async {
        let mut due = time::interval(lease::TERM / 3);
        loop {
            due.tick().await;
            if let Err(error) = lease.renew(lease::TERM).await {
                return error;
            }
        }
    };
    let end = tokio::select! {
        biased;
        end = desk.delegate(agent, order) => end,
        lost = renewing => Err(lost.into()),
    };
    // A lease that cannot be given back runs out.
    let _ = lease.release().await;
    end
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
