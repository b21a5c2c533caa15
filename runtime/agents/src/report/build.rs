//! Puts a [`RunResult`] together from what a run left behind: plan, journal, verdict, findings. Pure.
//!
//! The journal alone decides how a step stands; the plan says what was meant. What is missing is left out, never made up: a run
//! that was cut off has a result too.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{
    AgentResult, Attributed, Edge, FORM, FileResult, Judgement, RunResult, State, StepResult, StepState,
    Stretch, StretchEnd,
};
use crate::Role;
use crate::director::Verdict;
use crate::finding::{Finding, Tally, arrange};
use crate::survey::Survey;
use crate::task::Report;
use crate::workflow::journal::{self, Happened, Line};

/// How a warning begins that tells of something missing on this machine.
const UNAVAILABLE: &str = "unavailable";

/// A step as the plan has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Planned {
    /// Its name.
    pub id: String,
    /// Who does it.
    pub agent: String,
    /// What is to be achieved.
    #[serde(default)]
    pub goal: String,
    /// The steps it needs.
    #[serde(default)]
    pub needs: Vec<String>,
}

/// What a run left behind.
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// The run's id.
    pub run: String,
    /// What was to be achieved.
    pub goal: String,
    /// The source tree.
    pub tree: String,
    /// The plan, in its order.
    pub planned: Vec<Planned>,
    /// The journal, in its order.
    pub journal: Vec<Line>,
    /// DIRECTOR's verdict.
    pub verdict: Option<Verdict>,
    /// The findings of each agent.
    pub reports: Vec<Report>,
    /// What the tree consists of.
    pub survey: Option<Survey>,
    /// Messages by edge.
    pub messages: Vec<Edge>,
    /// The files of the run folder.
    pub files: Vec<FileResult>,
}

/// Puts the result together.
pub fn result(parts: Parts) -> RunResult {
    let began = parts.journal.first().map_or(0, |line| line.at_ms);
    let last = parts.journal.iter().map(|line| line.at_ms).max().unwrap_or(began);
    let steps = steps(&parts.planned, &parts.journal, began);
    let agents = agents(&steps, &parts);
    let findings = findings(&parts);
    let bare: Vec<Finding> = findings.iter().map(|one| one.finding.clone()).collect();
    RunResult {
        form: FORM,
        synod: env!("CARGO_PKG_VERSION").into(),
        state: state(&parts),
        began_ms: began,
        seconds: last.saturating_sub(began) as f64 / 1000.0,
        sittings: 1 + parts.journal.iter().filter(|line| line.event == Happened::Resumed).count() as u32,
        verdict: parts.verdict.map(|verdict| Judgement {
            outcome: verdict.outcome,
            because: verdict.because,
            threshold: verdict.threshold,
        }),
        tally: Tally::of(&bare),
        findings,
        steps,
        agents,
        messages: parts.messages,
        survey: parts.survey,
        files: parts.files,
        run: parts.run,
        goal: parts.goal,
        tree: parts.tree,
    }
}

/// A journal says by its last words on the whole run whether it ended; without a journal, a verdict does.
fn state(parts: &Parts) -> State {
    let last = parts
        .journal
        .iter()
        .rev()
        .find(|line| matches!(line.event, Happened::Ended | Happened::Resumed))
        .map(|line| line.event);
    match last {
        Some(Happened::Ended) => State::Ended,
        None if parts.journal.is_empty() && parts.verdict.is_some() => State::Ended,
        _ => State::Unfinished,
    }
}

fn steps(planned: &[Planned], lines: &[Line], began: u64) -> Vec<StepResult> {
    let waves = waves(planned);
    let mut order: Vec<StepResult> = planned
        .iter()
        .map(|step| StepResult {
            id: step.id.clone(),
            agent: step.agent.clone(),
            goal: step.goal.clone(),
            needs: step.needs.clone(),
            wave: waves.get(step.id.as_str()).copied().unwrap_or(0),
            state: StepState::Waiting,
            attempts: 0,
            began_ms: None,
            ended_ms: None,
            stretches: Vec::new(),
            why: None,
        })
        .collect();
    let mut index: BTreeMap<String, usize> =
        order.iter().enumerate().map(|(n, step)| (step.id.clone(), n)).collect();
    let mut heard = 0;
    for line in lines {
        let at = line.at_ms.saturating_sub(began);
        if line.event == Happened::Resumed {
            for step in &mut order {
                cut(step, heard);
            }
        }
        heard = at;
        if line.step.is_empty() {
            continue;
        }
        // A plan that was edited in between may lack a step that the journal knows.
        let n = *index.entry(line.step.clone()).or_insert_with(|| {
            order.push(StepResult {
                id: line.step.clone(),
                agent: line.agent.clone(),
                goal: String::new(),
                needs: Vec::new(),
                wave: 0,
                state: StepState::Waiting,
                attempts: 0,
                began_ms: None,
                ended_ms: None,
                stretches: Vec::new(),
                why: None,
            });
            order.len() - 1
        });
        take(&mut order[n], line, at);
    }
    let vetoes = journal::vetoes(lines);
    for step in &mut order {
        if let Some(open) = open(step) {
            open.to_ms = heard;
        }
        if let (StepState::Done, Some((_, why))) = (step.state, vetoes.get(&step.id)) {
            (step.state, step.why) = (StepState::Vetoed, Some(why.clone()));
        }
    }
    order
}

/// The attempt that has begun and not ended: the last one, while the step runs.
fn open(step: &mut StepResult) -> Option<&mut Stretch> {
    let running = step.state == StepState::Running;
    step.stretches.last_mut().filter(|last| running && last.end == StretchEnd::Cut)
}

/// The process that ran it is gone: what was heard last bounds what it worked.
fn cut(step: &mut StepResult, heard: u64) {
    if let Some(open) = open(step) {
        open.to_ms = heard;
        step.state = StepState::Waiting;
    }
}

fn take(step: &mut StepResult, line: &Line, at: u64) {
    let why = Some(line.why.clone()).filter(|why| !why.is_empty());
    let close = |step: &mut StepResult, end| {
        if let Some(open) = open(step) {
            (open.to_ms, open.end, open.why) = (at, end, why.clone());
        }
        step.ended_ms = Some(at);
    };
    match line.event {
        Happened::Progress | Happened::Resumed | Happened::Ended => return,
        Happened::Started => {
            cut(step, at);
            step.attempts += 1;
            step.began_ms.get_or_insert(at);
            step.stretches.push(Stretch { from_ms: at, to_ms: at, end: StretchEnd::Cut, why: None });
            step.state = StepState::Running;
        }
        Happened::Done => {
            close(step, StretchEnd::Done);
            (step.state, step.why) = (StepState::Done, None);
        }
        Happened::Retried => {
            close(step, StretchEnd::Failed);
            step.state = StepState::Waiting;
        }
        Happened::Stopped => {
            close(step, StretchEnd::Cut);
            step.state = StepState::Waiting;
        }
        Happened::Failed => {
            close(step, StretchEnd::Failed);
            step.state = StepState::Failed;
        }
        // It is the output that is vetoed: a step that runs goes on.
        Happened::Vetoed if step.state == StepState::Running => {}
        Happened::Vetoed => step.state = StepState::Vetoed,
        Happened::Lifted => {
            if step.state == StepState::Vetoed {
                step.state = if step.was_done() { StepState::Done } else { StepState::Waiting };
            }
            step.why = None;
        }
        Happened::Skipped => step.state = StepState::Skipped,
        Happened::Compensated => step.state = StepState::Compensated,
    }
    if why.is_some() && line.event != Happened::Done && line.event != Happened::Lifted {
        step.why = why;
    }
}

/// The wave of each step: after all it needs. What stands in a circle, or needs what is not there, is put as early as may be.
fn waves(planned: &[Planned]) -> BTreeMap<&str, usize> {
    let known: BTreeSet<&str> = planned.iter().map(|step| step.id.as_str()).collect();
    let mut missing: BTreeMap<&str, usize> = BTreeMap::new();
    let mut needed_by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for step in planned {
        let needs: BTreeSet<&str> =
            step.needs.iter().map(String::as_str).filter(|need| known.contains(need)).collect();
        missing.insert(&step.id, needs.len());
        for need in needs {
            needed_by.entry(need).or_default().push(&step.id);
        }
    }
    let mut waves = BTreeMap::new();
    let mut ready: Vec<&str> = missing.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    let mut wave = 0;
    while !ready.is_empty() {
        let mut next = Vec::new();
        for id in ready {
            waves.insert(id, wave);
            for after in needed_by.get(id).into_iter().flatten() {
                if let Some(count) = missing.get_mut(after) {
                    *count -= 1;
                    if *count == 0 {
                        next.push(*after);
                    }
                }
            }
        }
        ready = next;
        wave += 1;
    }
    waves
}

fn agents(steps: &[StepResult], parts: &Parts) -> Vec<AgentResult> {
    let mut agents: BTreeMap<String, AgentResult> = BTreeMap::new();
    let mut of = |name: &str, change: &mut dyn FnMut(&mut AgentResult)| {
        let new = || AgentResult { name: name.into(), ..AgentResult::default() };
        if !name.is_empty() {
            change(agents.entry(name.into()).or_insert_with(new));
        }
    };
    for step in steps {
        of(&step.agent, &mut |agent| {
            agent.steps.push(step.id.clone());
            agent.worked_ms += step.worked_ms();
        });
    }
    for report in &parts.reports {
        of(&report.agent, &mut |agent| {
            agent.findings = report.findings.len();
            say(agent, &report.warnings);
        });
    }
    for line in &parts.journal {
        let told = format!("{}: {}", line.step, line.why);
        of(&line.agent, &mut |agent| match line.event {
            Happened::Retried => agent.retried.push(told.clone()),
            Happened::Vetoed => agent.refused.push(told.clone()),
            Happened::Done => {
                let Some(handoff) = &line.handoff else { return };
                for output in &handoff.outputs {
                    if !agent.outputs.contains(output) {
                        agent.outputs.push(output.clone());
                    }
                }
                agent.metrics.extend(handoff.metrics.iter().map(|(name, value)| (name.clone(), *value)));
                say(agent, &handoff.warnings);
            }
            _ => {}
        });
    }
    // DIRECTOR passes on what the others said: it is told once, by whom it comes from.
    if let Some(mut director) = agents.remove(Role::Director.name()) {
        let others = |warning: &String| {
            agents.values().any(|one| one.unavailable.contains(warning) || one.warnings.contains(warning))
        };
        director.unavailable.retain(|warning| !others(warning));
        director.warnings.retain(|warning| !others(warning));
        agents.insert(director.name.clone(), director);
    }
    agents.into_values().collect()
}

/// Notes what an agent has to say, each thing once.
fn say(agent: &mut AgentResult, warnings: &[String]) {
    for warning in warnings {
        let place =
            if warning.starts_with(UNAVAILABLE) { &mut agent.unavailable } else { &mut agent.warnings };
        if !place.contains(warning) {
            place.push(warning.clone());
        }
    }
}

/// The verdict's findings, each with the agent that made it; without a verdict, what the agents have so far.
fn findings(parts: &Parts) -> Vec<Attributed> {
    let mut made_by: BTreeMap<(&str, &str, Option<u32>, &str), &str> = BTreeMap::new();
    for report in &parts.reports {
        for finding in &report.findings {
            made_by.entry(key(finding)).or_insert(&report.agent);
        }
    }
    let mut all: Vec<Finding> = match &parts.verdict {
        Some(verdict) => verdict.findings.clone(),
        None => parts.reports.iter().flat_map(|report| report.findings.iter().cloned()).collect(),
    };
    arrange(&mut all);
    all.into_iter()
        .map(|finding| Attributed {
            agent: made_by.get(&key(&finding)).copied().unwrap_or_default().into(),
            finding,
        })
        .collect()
}

fn key(finding: &Finding) -> (&str, &str, Option<u32>, &str) {
    (&finding.rule, &finding.place.path, finding.place.line, &finding.message)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::director;
    use crate::finding::{Place, Severity};
    use crate::task::Handoff;

    pub fn planned(id: &str, agent: &str, needs: &[&str]) -> Planned {
        Planned {
            id: id.into(),
            agent: agent.into(),
            goal: format!("do {id}"),
            needs: needs.iter().map(ToString::to_string).collect(),
        }
    }

    pub fn line(at_ms: u64, event: Happened, step: &str, agent: &str, why: &str) -> Line {
        Line {
            at_ms: 1_000_000 + at_ms,
            step: step.into(),
            event,
            agent: agent.into(),
            attempt: 0,
            why: why.into(),
            handoff: None,
        }
    }

    /// A review that was retried, cut off and resumed, and that says something of everything.
    pub fn example() -> Parts {
        let handoff = Handoff {
            from: "linter".into(),
            to: "director".into(),
            task: "lint".into(),
            outputs: vec!["linter/lint_report.json".into()],
            metrics: BTreeMap::from([("files_checked".into(), 12.0)]),
            warnings: vec!["unavailable: needs ruff".into(), "1 file was too large".into()],
            next_actions: vec![],
        };
        let mut done = line(4000, Happened::Done, "lint", "linter", "");
        done.handoff = Some(handoff);
        let findings = vec![
            Finding::new("lint.x", Severity::Low, Place::line("b.rs", 3), "untidy", "tidy up"),
            Finding::new("lint.y", Severity::Info, Place::file("c.rs"), "long", "none needed"),
        ];
        let lint =
            Report { agent: "linter".into(), findings, warnings: vec!["unavailable: needs ruff".into()] };
        let secret =
            Finding::new("secret.t", Severity::High, Place::at("a.py", 2, 1), "a token", "revoke it");
        let secure = Report { agent: "security".into(), findings: vec![secret], warnings: vec![] };
        Parts {
            run: "review-20261123010203-abcdef".into(),
            goal: "review the source tree /t".into(),
            tree: "/t".into(),
            planned: vec![
                planned("survey", "project_orchestrator", &[]),
                planned("lint", "linter", &["survey"]),
                planned("secure", "security", &["survey"]),
                planned("verdict", "director", &["survey", "lint", "secure"]),
            ],
            journal: vec![
                line(0, Happened::Started, "survey", "project_orchestrator", ""),
                line(1000, Happened::Done, "survey", "project_orchestrator", ""),
                line(1000, Happened::Started, "lint", "linter", ""),
                line(1000, Happened::Started, "secure", "security", ""),
                line(1500, Happened::Retried, "secure", "security", "it panicked"),
                line(2000, Happened::Started, "secure", "security", ""),
                line(2500, Happened::Progress, "secure", "security", ""),
                line(3000, Happened::Resumed, "", "", ""),
                line(3000, Happened::Started, "lint", "linter", ""),
                line(3000, Happened::Started, "secure", "security", ""),
                done,
                line(5000, Happened::Done, "secure", "security", ""),
                line(5000, Happened::Started, "verdict", "director", ""),
                line(5200, Happened::Done, "verdict", "director", ""),
                line(5200, Happened::Ended, "", "", ""),
            ],
            verdict: Some(director::verdict(&[lint.clone(), secure.clone()], vec![], Severity::High)),
            reports: vec![lint, secure],
            ..Parts::default()
        }
    }

    #[test]
    fn every_attempt_is_told_with_its_time_also_one_that_was_cut_off() {
        let result = result(example());
        let secure = &result.steps[2];
        assert_eq!((secure.state, secure.attempts, secure.wave), (StepState::Done, 3, 1));
        let stretches: Vec<(u64, u64, StretchEnd)> =
            secure.stretches.iter().map(|one| (one.from_ms, one.to_ms, one.end)).collect();
        assert_eq!(
            stretches,
            [(1000, 1500, StretchEnd::Failed), (2000, 2500, StretchEnd::Cut), (3000, 5000, StretchEnd::Done)]
        );
        assert_eq!((secure.worked_ms(), result.sittings, result.seconds), (3000, 2, 5.2));
        assert_eq!((result.state, result.steps[3].wave), (State::Ended, 2));
    }

    #[test]
    fn an_agent_tells_what_it_wrote_what_it_lacked_and_what_it_did_again_each_once() {
        let result = result(example());
        let of = |name: &str| result.agents.iter().find(|agent| agent.name == name).expect("it worked");
        assert_eq!(of("linter").unavailable, ["unavailable: needs ruff"]);
        assert_eq!(of("linter").warnings, ["1 file was too large"]);
        assert_eq!(of("linter").outputs, ["linter/lint_report.json"]);
        assert_eq!(of("security").retried, ["secure: it panicked"]);
        assert_eq!(of("security").findings, 1);
    }

    #[test]
    fn findings_come_worst_first_and_name_their_agent() {
        let told = result(example());
        let who: Vec<(&str, &str)> =
            told.findings.iter().map(|one| (one.agent.as_str(), one.finding.rule.as_str())).collect();
        assert_eq!(who, [("security", "secret.t"), ("linter", "lint.x"), ("linter", "lint.y")]);
        assert_eq!((told.tally.high, told.tally.low, told.tally.info), (1, 1, 1));
    }

    #[test]
    fn a_run_that_was_cut_off_has_a_result_without_a_verdict() {
        let mut parts = example();
        parts.journal.truncate(7);
        parts.verdict = None;
        let result = result(parts);
        assert_eq!((result.state, result.verdict.is_none()), (State::Unfinished, true));
        let states: Vec<StepState> = result.steps.iter().map(|step| step.state).collect();
        assert_eq!(states, [StepState::Done, StepState::Running, StepState::Running, StepState::Waiting]);
        assert_eq!(result.steps[1].stretches[0].to_ms, 2500, "heard of last");
        assert_eq!(result.findings.len(), 3, "what is known so far");
    }

    #[test]
    fn what_director_passes_on_is_told_by_whom_it_comes_from() {
        let mut parts = example();
        let verdict =
            parts.journal.iter_mut().find(|line| line.agent == "director" && line.event == Happened::Done);
        verdict.expect("a verdict").handoff = Some(Handoff {
            from: "director".into(),
            to: String::new(),
            task: "verdict".into(),
            outputs: vec![],
            metrics: BTreeMap::new(),
            warnings: vec!["unavailable: needs ruff".into(), "planned anew".into()],
            next_actions: vec![],
        });
        let result = result(parts);
        let director = result.agents.iter().find(|agent| agent.name == "director").expect("DIRECTOR");
        assert!(director.unavailable.is_empty());
        assert_eq!(director.warnings, ["planned anew"]);
    }

    #[test]
    fn a_veto_stands_until_it_is_lifted_and_a_step_that_was_left_out_says_why() {
        let mut parts = example();
        parts.journal.truncate(2);
        parts.journal.push(line(
            1100,
            Happened::Vetoed,
            "survey",
            "project_orchestrator",
            "it holds a secret",
        ));
        parts.journal.push(line(1200, Happened::Skipped, "lint", "linter", "its input was vetoed"));
        let vetoed = result(parts.clone());
        assert_eq!((vetoed.steps[0].state, vetoed.steps[1].state), (StepState::Vetoed, StepState::Skipped));
        assert_eq!(vetoed.steps[1].why.as_deref(), Some("its input was vetoed"));
        let agent = vetoed.agents.iter().find(|agent| agent.name == "project_orchestrator");
        assert_eq!(agent.expect("it worked").refused, ["survey: it holds a secret"]);
        parts.journal.push(line(1300, Happened::Lifted, "survey", "project_orchestrator", "a false alarm"));
        let lifted = result(parts);
        assert_eq!((lifted.steps[0].state, lifted.steps[0].why.as_deref()), (StepState::Done, None));
    }

    #[test]
    fn a_veto_on_a_step_that_runs_does_not_end_it() {
        let mut parts = example();
        let veto = |at_ms, event, why| line(at_ms, event, "secure", "security", why);
        parts.journal.insert(10, veto(3500, Happened::Vetoed, "a secret"));
        let told = |parts: &Parts| {
            let step = result(parts.clone()).steps.swap_remove(2);
            (step.state, step.stretches.last().map(|last| last.to_ms - last.from_ms))
        };
        assert_eq!(told(&parts), (StepState::Vetoed, Some(2000)));
        parts.journal.push(veto(5300, Happened::Lifted, journal::WEIGHED));
        assert_eq!(told(&parts), (StepState::Vetoed, Some(2000)));
        parts.journal.push(veto(5400, Happened::Lifted, "a false alarm"));
        assert_eq!(told(&parts), (StepState::Done, Some(2000)));
    }

    #[test]
    fn a_plan_with_a_circle_still_has_a_result() {
        let parts = Parts {
            planned: vec![planned("a", "x", &["b"]), planned("b", "x", &["a"]), planned("c", "x", &["gone"])],
            ..Parts::default()
        };
        assert!(result(parts).steps.iter().all(|step| step.wave == 0));
    }
}
