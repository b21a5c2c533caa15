//! The engine against stories told by hand, and against a plain reference that knows only the plan.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::Strategy as _;
use synod_control::units;
use synod_platform::time::Mono;

use super::{Action, Engine, Event, Fact, Outcome, State};
use crate::workflow::journal::Happened;
use crate::workflow::plan::{Compensation, Plan, Step, Strategy};

fn step(id: &str, needs: &[&str]) -> Step {
    Step::new(id, "a", "do", needs).retries(0)
}

fn plan(steps: Vec<Step>) -> Plan {
    Plan::new("try", "/t", steps)
}

fn ms(n: u64) -> Mono {
    Mono::from_nanos(n * 1_000_000)
}

/// An engine with a clock and a memory of what it asked for.
struct Story {
    engine: Engine,
    plan: Plan,
    now: Mono,
    facts: Vec<Fact>,
    actions: Vec<Action>,
}

impl Story {
    fn begin(plan: Plan) -> Self {
        let engine = Engine::new(&plan, ms(600_000)).expect("a plan");
        Self { engine, plan, now: ms(0), facts: Vec::new(), actions: Vec::new() }
    }

    /// The engine is gone, the facts are not.
    fn resume(&mut self) -> Vec<String> {
        self.engine = Engine::resume(&self.plan, ms(600_000), self.facts.clone()).expect("a plan");
        self.tell(Event::Tick)
    }

    /// What the engine wants after an event: `start lint 1`, `stop lint 1`, `undo x 1`, `ended Done`.
    fn tell(&mut self, event: Event) -> Vec<String> {
        self.actions.clear();
        self.engine.handle(event, self.now, 1.0, &mut self.actions);
        let name = |step: &u32| self.plan.steps[*step as usize].id.clone();
        let mut told = Vec::new();
        for action in &self.actions {
            match action {
                Action::Tell(fact) => self.facts.push(fact.clone()),
                Action::Start { step, attempt } => told.push(format!("start {} {attempt}", name(step))),
                Action::Stop { step, attempt } => told.push(format!("stop {} {attempt}", name(step))),
                Action::Compensate { step, attempt } => told.push(format!("undo {} {attempt}", name(step))),
                Action::Ended(outcome) => told.push(format!("ended {outcome:?}")),
            }
        }
        told
    }

    fn at(&self, id: &str) -> u32 {
        self.plan.steps.iter().position(|step| step.id == id).expect("a step of the plan") as u32
    }

    fn start(&mut self) -> Vec<String> {
        self.tell(Event::Tick)
    }

    fn done(&mut self, id: &str, attempt: u32) -> Vec<String> {
        let step = self.at(id);
        self.tell(Event::Done { step, attempt })
    }

    fn failed(&mut self, id: &str, attempt: u32) -> Vec<String> {
        let step = self.at(id);
        self.tell(Event::Failed { step, attempt, why: "no luck".into(), again: true })
    }

    fn veto(&mut self, id: &str) -> Vec<String> {
        let step = self.at(id);
        self.tell(Event::Veto { step, why: "a secret in it".into() })
    }

    fn lift(&mut self, id: &str) -> Vec<String> {
        let step = self.at(id);
        self.tell(Event::Lift { step, why: "it is gone".into() })
    }

    fn wait(&mut self, n: u64) -> Vec<String> {
        self.now += Duration::from_millis(n);
        self.tell(Event::Tick)
    }

    fn state(&self, id: &str) -> &State {
        self.engine.state(self.at(id))
    }

    fn journal(&self) -> Vec<String> {
        let name = |fact: &Fact| self.plan.steps[fact.step as usize].id.clone();
        self.facts.iter().map(|fact| format!("{} {}", name(fact), fact.event)).collect()
    }
}

fn diamond() -> Plan {
    plan(vec![
        step("top", &[]),
        step("left", &["top"]),
        step("right", &["top"]),
        step("end", &["left", "right"]),
    ])
}

#[test]
fn a_diamond_runs_its_middle_side_by_side_and_ends() {
    let mut story = Story::begin(diamond());
    assert_eq!(story.start(), ["start top 1"]);
    assert_eq!(story.done("top", 1), ["start left 1", "start right 1"]);
    assert_eq!(story.done("right", 1), [""; 0]);
    assert_eq!(story.done("left", 1), ["start end 1"]);
    assert_eq!(story.done("end", 1), ["ended Done"]);
    assert_eq!(story.done("end", 1), [""; 0], "after its end nothing is heeded");
}

#[test]
fn a_sequence_keeps_the_order_of_the_plan_and_a_limit_is_never_exceeded() {
    let free = |strategy, limit| Plan {
        strategy,
        limit,
        ..plan(vec![step("c", &[]), step("b", &[]), step("a", &[])])
    };
    let mut story = Story::begin(free(Strategy::Sequential, 3));
    assert_eq!(story.start(), ["start c 1"]);
    assert_eq!(story.done("c", 1), ["start b 1"]);
    let mut story = Story::begin(free(Strategy::Parallel, 2));
    assert_eq!(story.start(), ["start c 1", "start b 1"]);
    assert_eq!(story.done("b", 1), ["start a 1"]);
}

#[test]
fn in_a_pipeline_each_agent_does_one_step_at_a_time_and_the_stages_overlap() {
    let of = |id: &str, agent: &str, needs: &[&str]| Step { agent: agent.into(), ..step(id, needs) };
    let steps = vec![
        of("cut1", "cutter", &[]),
        of("cut2", "cutter", &[]),
        of("cut3", "cutter", &[]),
        of("sew1", "sewer", &["cut1"]),
        of("sew2", "sewer", &["cut2"]),
    ];
    let mut story = Story::begin(Plan { strategy: Strategy::Pipeline, limit: 8, ..plan(steps) });
    assert_eq!(story.start(), ["start cut1 1"]);
    assert_eq!(story.done("cut1", 1), ["start cut2 1", "start sew1 1"]);
    assert_eq!(story.done("cut2", 1), ["start cut3 1"], "the sewer is busy");
    assert_eq!(story.done("sew1", 1), ["start sew2 1"]);
}

#[test]
fn two_steps_that_write_one_tree_never_run_side_by_side() {
    let writes = |id: &str, tree: &str| Step { writes: Some(tree.into()), ..step(id, &[]) };
    let mut story = Story::begin(plan(vec![writes("a", "/t"), writes("b", "/t"), writes("c", "/u")]));
    assert_eq!(story.start(), ["start a 1", "start c 1"]);
    assert_eq!(story.done("a", 1), ["start b 1"]);
}

#[test]
fn a_step_stopped_by_a_veto_while_it_waits_for_a_tree_keeps_nobody_else_from_it() {
    let writes = |id: &str, needs: &[&str]| Step { writes: Some("/t".into()), ..step(id, needs) };
    let mut story = Story::begin(plan(vec![
        step("make", &[]),
        writes("a", &[]),
        writes("b", &["make"]),
        writes("c", &[]),
    ]));
    assert_eq!(story.start(), ["start make 1", "start a 1"]);
    assert_eq!(story.done("make", 1), [""; 0], "the tree is taken");
    assert_eq!(story.veto("make"), [""; 0]);
    assert_eq!(story.done("a", 1), ["start c 1"], "not b, which is held");
    assert_eq!(story.lift("make"), [""; 0], "the tree is taken");
    assert_eq!(story.done("c", 1), ["start b 1"]);
    assert_eq!(story.done("b", 1), ["ended Done"]);
}

#[test]
fn a_failed_step_is_tried_again_after_pauses_that_double_and_then_given_up() {
    let mut story = Story::begin(plan(vec![step("a", &[]).retries(2), step("b", &["a"])]));
    assert_eq!(story.start(), ["start a 1"]);
    assert_eq!(story.failed("a", 1), [""; 0]);
    assert_eq!(story.wait(199), [""; 0]);
    assert_eq!(story.wait(1), ["start a 2"]);
    story.failed("a", 2);
    assert_eq!(story.wait(399), [""; 0]);
    assert_eq!(story.wait(1), ["start a 3"]);
    assert_eq!(story.failed("a", 3), ["ended Missed"]);
    assert_eq!(
        (story.state("a"), story.state("b")),
        (&State::Failed("no luck".into()), &State::Skipped("it needs `a`, which was not done".into()))
    );
}

#[test]
fn what_no_further_attempt_can_mend_is_not_tried_again() {
    let mut story = Story::begin(plan(vec![step("a", &[]).retries(5)]));
    story.start();
    assert_eq!(
        story.tell(Event::Failed { step: 0, attempt: 1, why: "wrong input".into(), again: false }),
        ["ended Missed"]
    );
}

#[test]
fn an_attempt_that_takes_too_long_is_stopped_and_its_late_answer_changes_nothing() {
    let mut story = Story::begin(plan(vec![step("a", &[]).retries(1).within(Duration::from_secs(1))]));
    story.start();
    assert_eq!(story.engine.next_tick(), Some(ms(1000)));
    assert_eq!(story.wait(1000), ["stop a 1"]);
    assert_eq!(story.done("a", 1), [""; 0], "too late");
    assert_eq!(story.wait(200), ["start a 2"]);
    assert_eq!(story.done("a", 1), [""; 0], "still the old attempt");
    assert_eq!(story.done("a", 2), ["ended Done"]);
}

#[test]
fn a_step_that_is_not_essential_is_dropped_and_those_that_need_it_go_on() {
    let mut story = Story::begin(plan(vec![step("a", &[]).optional(), step("b", &["a"])]));
    story.start();
    assert_eq!(story.failed("a", 1), ["start b 1"]);
    assert_eq!(story.done("b", 1), ["ended Done"]);
    assert_eq!(story.state("a"), &State::Dropped("no luck".into()));
}

#[test]
fn a_failure_undoes_what_it_was_built_on_in_reverse_and_leaves_the_rest() {
    let undo = |id: &str, needs: &[&str]| Step {
        compensate: Some(Compensation {
            agent: "a".into(),
            goal: "undo".into(),
            within: units::Duration(Duration::from_secs(1)),
        }),
        ..step(id, needs)
    };
    let steps = vec![undo("a", &[]), undo("b", &["a"]), undo("aside", &[]), step("c", &["b"])];
    let mut story = Story::begin(Plan { limit: 1, ..plan(steps) });
    story.start();
    assert_eq!(story.done("a", 1), ["start b 1"]);
    assert_eq!(story.done("b", 1), ["start aside 1"]);
    assert_eq!(story.done("aside", 1), ["start c 1"]);
    assert_eq!(story.failed("c", 1), ["undo b 1"]);
    assert_eq!(story.tell(Event::Undone { step: 1, attempt: 1 }), ["undo a 1"]);
    let mut killed = Story::begin(story.plan.clone());
    killed.facts = story.facts.clone();
    assert_eq!(killed.resume(), ["undo a 1"], "what was undone is not undone again");
    assert_eq!(story.tell(Event::Undone { step: 0, attempt: 1 }), ["ended Missed"]);
    assert_eq!((story.engine.is_undone(1), story.engine.is_undone(2)), (true, false));
}

#[test]
fn an_undoing_that_hangs_or_fails_is_told_and_the_others_are_still_undone() {
    let within = units::Duration(Duration::from_secs(1));
    let undo = |id: &str, needs: &[&str]| Step {
        compensate: Some(Compensation { agent: "a".into(), goal: "undo".into(), within }),
        ..step(id, needs)
    };
    let mut story = Story::begin(plan(vec![undo("a", &[]), undo("b", &["a"]), step("c", &["b"])]));
    story.start();
    story.done("a", 1);
    story.done("b", 1);
    assert_eq!(story.failed("c", 1), ["undo b 1"]);
    assert_eq!(story.wait(1000), ["stop b 1", "undo a 1"]);
    assert_eq!(
        story.tell(Event::NotUndone { step: 0, attempt: 1, why: "stuck".into() }),
        ["stop a 1", "ended Missed"]
    );
}

#[test]
fn a_veto_stops_what_depends_on_the_output_and_a_lift_lets_it_start_anew() {
    let mut story = Story::begin(plan(vec![
        step("make", &[]),
        step("use", &["make"]),
        step("ship", &["use"]),
        step("aside", &[]),
    ]));
    assert_eq!(story.start(), ["start make 1", "start aside 1"]);
    assert_eq!(story.done("make", 1), ["start use 1"]);
    assert_eq!(story.veto("make"), ["stop use 1"]);
    assert_eq!(story.veto("make"), [""; 0], "once is enough");
    assert_eq!(story.done("use", 1), [""; 0], "its answer came after the veto");
    assert_eq!(story.done("aside", 1), [""; 0]);
    assert_eq!(story.wait(10_000), [""; 0]);
    assert_eq!(story.lift("make"), ["start use 2"]);
    assert_eq!(story.done("use", 2), ["start ship 1"]);
    assert_eq!(story.done("ship", 1), ["ended Done"]);
}

#[test]
fn a_veto_that_is_not_lifted_ends_the_run_when_nothing_else_is_left() {
    let mut story = Story::begin(plan(vec![step("make", &[]), step("use", &["make"])]));
    story.start();
    story.veto("make");
    assert_eq!(story.done("make", 1), [""; 0]);
    assert_eq!(story.wait(29_999), [""; 0]);
    assert_eq!(story.wait(1), ["ended Missed"]);
    assert_eq!(story.state("use"), &State::Skipped("`make` is vetoed: a secret in it".into()));
}

#[test]
fn the_run_ends_at_its_deadline_whatever_hangs() {
    let mut story =
        Story::begin(plan(vec![step("a", &[]).within(Duration::from_secs(10_000)), step("b", &["a"])]));
    story.start();
    assert_eq!(story.wait(600_000), ["stop a 1", "ended OutOfTime"]);
    assert_eq!(story.journal(), ["a started", "a failed", "b skipped"]);
}

#[test]
fn a_cancelled_run_tells_no_end_of_its_steps_and_can_be_resumed() {
    let mut story = Story::begin(diamond());
    story.start();
    story.done("top", 1);
    assert_eq!(story.tell(Event::Cancel), ["stop left 1", "stop right 1", "ended Cancelled"]);
    assert_eq!(story.resume(), ["start left 2", "start right 2"]);
}

#[test]
fn a_resumed_run_repeats_no_finished_step_and_starts_again_what_was_running() {
    let mut story = Story::begin(diamond());
    story.start();
    story.done("top", 1);
    story.done("left", 1);
    assert_eq!(story.resume(), ["start right 2"]);
    assert_eq!(story.done("right", 1), [""; 0], "the answer to the life before");
    assert_eq!(story.done("right", 2), ["start end 1"]);
    story.done("end", 1);
    assert_eq!(story.resume(), ["ended Done"]);
}

#[test]
fn a_resumed_run_remembers_failures_and_vetoes() {
    let mut story = Story::begin(plan(vec![step("a", &[]).retries(1), step("b", &["a"]), step("c", &[])]));
    story.start();
    story.failed("a", 1);
    story.veto("a");
    assert_eq!(story.resume(), ["start a 2", "start c 2"]);
    story.done("c", 2);
    assert_eq!(story.done("a", 2), [""; 0], "its output is vetoed");
    assert_eq!(story.lift("a"), ["start b 1"]);
    let mut story = Story::begin(plan(vec![step("a", &[]).retries(1)]));
    story.start();
    story.failed("a", 1);
    story.resume();
    assert_eq!(story.failed("a", 2), ["ended Missed"], "one retry in all, not one a life");
}

#[test]
fn a_kill_between_a_failure_and_its_consequences_loses_neither() {
    let mut story = Story::begin(plan(vec![step("a", &[]), step("b", &["a"]), step("c", &[])]));
    story.start();
    story.failed("a", 1);
    story
        .facts
        .truncate(story.facts.iter().position(|fact| fact.event == Happened::Failed).expect("told") + 1);
    story.resume();
    assert!(story.journal().contains(&"b skipped".to_string()), "{:?}", story.journal());
    assert!(matches!(story.state("b"), State::Skipped(_)));
}

#[test]
fn ten_thousand_steps_are_dispatched_without_looking_at_all_of_them_each_time() {
    // A ladder of a hundred rungs: every step needs two of the rung before.
    let id = |n: usize| format!("s{n}");
    let steps: Vec<Step> = (0..10_000)
        .map(|n| {
            let needs =
                if n < 100 { vec![] } else { vec![id(n - 100), id(n - n % 100 - 100 + (n + 1) % 100)] };
            let needs: BTreeSet<String> = needs.into_iter().collect();
            Step { needs: needs.into_iter().collect(), ..step(&id(n), &[]) }
        })
        .collect();
    let plan = Plan { limit: 64, ..plan(steps) };
    let mut engine = Engine::new(&plan, Mono::MAX).expect("a plan");
    let (mut actions, mut next, mut done) = (Vec::new(), Vec::new(), 0);
    engine.handle(Event::Tick, ms(0), 0.0, &mut actions);
    loop {
        for action in actions.drain(..) {
            match action {
                Action::Start { step, attempt } => next.push((step, attempt)),
                Action::Ended(outcome) => {
                    assert_eq!((outcome, done), (Outcome::Done, 10_000));
                    return;
                }
                _ => {}
            }
        }
        let (step, attempt) = next.pop().expect("something runs until the end");
        done += 1;
        engine.handle(Event::Done { step, attempt }, ms(done), 0.0, &mut actions);
    }
}

/// What a world does to a run; everything is drawn beforehand.
#[derive(Debug, Clone)]
struct World {
    steps: Vec<Drawn>,
    strategy: Strategy,
    limit: u32,
    /// Which of the running steps ends next, how, and what else happens.
    moves: Vec<(u8, u8, u8)>,
}

#[derive(Debug, Clone)]
struct Drawn {
    needs: Vec<usize>,
    agent: u8,
    writes: Option<u8>,
    essential: bool,
    retries: u32,
    undo: bool,
}

fn world() -> impl proptest::strategy::Strategy<Value = World> {
    let drawn = (
        prop::collection::vec(0usize..12, 0..3),
        0u8..3,
        prop::option::weighted(0.3, 0u8..2),
        any::<bool>(),
        0u32..3,
        any::<bool>(),
    )
        .prop_map(|(needs, agent, writes, essential, retries, undo)| Drawn {
            needs,
            agent,
            writes,
            essential,
            retries,
            undo,
        });
    let strategies = prop::sample::select(vec![
        Strategy::Sequential,
        Strategy::Parallel,
        Strategy::Pipeline,
        Strategy::Adaptive,
    ]);
    (
        prop::collection::vec(drawn, 1..12),
        strategies,
        1u32..4,
        prop::collection::vec(any::<(u8, u8, u8)>(), 0..120),
    )
        .prop_map(|(steps, strategy, limit, moves)| World { steps, strategy, limit, moves })
}

impl World {
    fn plan(&self) -> Plan {
        let id = |n: usize| format!("s{n}");
        let steps = self.steps.iter().enumerate().map(|(n, drawn)| {
            // Only to smaller numbers, each once: no circle.
            let needs: BTreeSet<usize> = drawn.needs.iter().copied().filter(|need| *need < n).collect();
            Step {
                agent: format!("agent{}", drawn.agent),
                needs: needs.into_iter().map(id).collect(),
                writes: drawn.writes.map(|tree| format!("/tree{tree}")),
                essential: drawn.essential,
                retries: drawn.retries,
                compensate: drawn.undo.then(|| Compensation {
                    agent: "a".into(),
                    goal: "undo".into(),
                    within: units::Duration(Duration::from_secs(5)),
                }),
                ..step(&id(n), &[])
            }
        });
        Plan { strategy: self.strategy, limit: self.limit, ..plan(steps.collect()) }
    }
}

/// The reference: what must hold of any run, said by sets alone.
struct Reference<'a> {
    plan: &'a Plan,
    needs: Vec<Vec<u32>>,
    done: BTreeSet<u32>,
    lost: BTreeSet<u32>,
    vetoed: BTreeSet<u32>,
    running: BTreeSet<(u32, u32)>,
    undoing: Option<(u32, u32)>,
    attempts: BTreeSet<(u32, u32)>,
    order: Vec<u32>,
    undone: Vec<u32>,
    ended: Option<Outcome>,
}

impl<'a> Reference<'a> {
    fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            needs: plan.needs().expect("a plan"),
            done: BTreeSet::new(),
            lost: BTreeSet::new(),
            vetoed: BTreeSet::new(),
            running: BTreeSet::new(),
            undoing: None,
            attempts: BTreeSet::new(),
            order: Vec::new(),
            undone: Vec::new(),
            ended: None,
        }
    }

    fn depends_on_veto(&self, step: u32) -> bool {
        self.needs[step as usize].iter().any(|need| self.vetoed.contains(need) || self.depends_on_veto(*need))
    }

    fn take(&mut self, actions: &[Action], limit: u32) {
        for action in actions {
            assert_eq!(self.ended, None, "nothing follows the end");
            match action {
                Action::Start { step, attempt } => {
                    let of = |at: u32| &self.plan.steps[at as usize];
                    for need in &self.needs[*step as usize] {
                        let dropped = self.lost.contains(need) && !of(*need).essential;
                        assert!(self.done.contains(need) || dropped, "a step starts after its needs");
                    }
                    assert!(!self.depends_on_veto(*step), "no step starts on vetoed input");
                    assert!(!self.done.contains(step) && !self.lost.contains(step), "a settled step rests");
                    assert!(self.attempts.insert((*step, *attempt)), "an attempt is made once");
                    for (other, _) in &self.running {
                        let (this, other) = (of(*step), of(*other));
                        assert!(this.writes.is_none() || this.writes != other.writes, "one writer a tree");
                        if self.plan.strategy == Strategy::Pipeline {
                            assert_ne!(this.agent, other.agent, "one step a stage");
                        }
                    }
                    self.running.insert((*step, *attempt));
                    assert!(
                        self.running.len() as u32 <= limit.min(self.plan.limit),
                        "never more than the limit"
                    );
                }
                Action::Stop { step, attempt } => {
                    let was = self.running.remove(&(*step, *attempt));
                    assert!(was || self.undoing.take() == Some((*step, *attempt)), "what is stopped ran");
                }
                Action::Compensate { step, attempt } => {
                    assert!(self.running.is_empty() && self.undoing.is_none(), "undoing is done alone");
                    assert!(self.done.contains(step) && !self.undone.contains(step));
                    self.undoing = Some((*step, *attempt));
                }
                Action::Tell(fact) => match fact.event {
                    Happened::Done => {
                        assert!(self.done.insert(fact.step), "a step is done once");
                        self.order.push(fact.step);
                    }
                    Happened::Failed | Happened::Skipped => {
                        assert!(!fact.why.is_empty(), "what is not done is told why");
                        assert!(self.lost.insert(fact.step) && !self.done.contains(&fact.step));
                    }
                    Happened::Vetoed => assert!(self.vetoed.insert(fact.step)),
                    Happened::Lifted => assert!(self.vetoed.remove(&fact.step)),
                    Happened::Compensated => self.undone.push(fact.step),
                    _ => {}
                },
                Action::Ended(outcome) => {
                    assert!(self.running.is_empty() && self.undoing.is_none(), "nothing runs at the end");
                    let settled = self.done.len() + self.lost.len();
                    assert_eq!(settled, self.plan.steps.len(), "every step is done or told why not");
                    let missed = self.lost.iter().any(|step| self.plan.steps[*step as usize].essential);
                    assert!(*outcome == Outcome::OutOfTime || (*outcome == Outcome::Missed) == missed);
                    self.ended = Some(*outcome);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(madsim) { 64 } else { 512 }))]

    #[test]
    fn whatever_the_world_does_the_run_keeps_its_promises_and_ends(world in world()) {
        let plan = world.plan();
        let mut engine = Engine::new(&plan, ms(600_000)).expect("a plan");
        let mut reference = Reference::new(&plan);
        let (mut now, mut facts, mut actions) = (ms(0), Vec::new(), Vec::new());
        let mut moves = world.moves.iter();
        let mut event = Event::Tick;
        while reference.ended.is_none() {
            actions.clear();
            let before = engine.limit();
            engine.handle(event, now, 0.5, &mut actions);
            facts.extend(actions.iter().filter_map(|action| match action {
                Action::Tell(fact) => Some(fact.clone()),
                _ => None,
            }));
            reference.take(&actions, before.max(engine.limit()));
            if reference.ended.is_some() {
                break;
            }
            let Some((which, how, aside)) = moves.next() else {
                // The world stands still: time alone must end the run.
                now = engine.next_tick().expect("a run that goes on waits for something");
                event = Event::Tick;
                continue;
            };
            let step = u32::from(*aside) % plan.steps.len() as u32;
            let running = reference.running.iter().nth(usize::from(*which) % reference.running.len().max(1)).copied();
            event = match (how % 16, running, reference.undoing) {
                (0, ..) => Event::Veto { step, why: "no".into() },
                (1 | 2, ..) => Event::Lift { step: reference.vetoed.first().copied().unwrap_or(step), why: "yes".into() },
                (3, ..) => {
                    // Killed, and resumed from what was written down: what ran, runs no more.
                    engine = Engine::resume(&plan, ms(600_000), facts.clone()).expect("a plan");
                    reference.running.clear();
                    reference.undoing = None;
                    Event::Tick
                }
                (4, ..) => {
                    now += Duration::from_secs(20);
                    Event::Tick
                }
                (5..=7, Some((step, attempt)), _) => {
                    reference.running.remove(&(step, attempt));
                    Event::Failed { step, attempt, why: "no luck".into(), again: *how < 240 }
                }
                (_, Some((step, attempt)), _) => {
                    reference.running.remove(&(step, attempt));
                    Event::Done { step, attempt }
                }
                (5..=7, None, Some((step, attempt))) => Event::NotUndone { step, attempt, why: "stuck".into() },
                (_, None, Some((step, attempt))) => {
                    reference.undoing = None;
                    Event::Undone { step, attempt }
                }
                (_, None, None) => {
                    now = engine.next_tick().expect("a run that goes on waits for something");
                    Event::Tick
                }
            };
        }
        let expected: Vec<u32> = reference.order.iter().rev().copied().filter(|step| reference.undone.contains(step)).collect();
        prop_assert_eq!(reference.undone, expected, "undone in reverse");
    }
}
