//! DIRECTOR at work: plans, has the plan run, weighs what comes back, writes the run's documents and manifest.
//!
//! The plan is a file of the run folder before anything runs. If one is there already (a person wrote it, or an earlier life of
//! this agent) it is the plan, and what its journal has is not done again.

use std::path::Path;
use std::time::Duration;

use synod_fabric::RequestError;
use synod_platform::{files, time};
use synod_probe::reach;

use crate::Role;
use crate::director::{self, Failure, THRESHOLD, Verdict, Wish, documents};
use crate::finding::Severity;
use crate::folder::{FolderError, RunFolder};
use crate::orchestrator::{self, Steps};
use crate::shell::{Desk, Unanswered, WorkError};
use crate::task::{self, Handoff, Report, Task};
use crate::workflow::journal::{self, Happened, Journal, Line};
use crate::workflow::plan::{self, Plan, Step};
use crate::workflow::run;

/// The input that says, by `no`, that the tree's own tests are not run.
pub const TESTS: &str = "tests";
/// How often PROJECT_ORCHESTRATOR is asked to go on with a plan before it is given up.
const ASKED_MAX: u32 = 3;
/// The pause before it is asked again: it is being started anew.
const PAUSE: Duration = Duration::from_millis(200);

/// Does DIRECTOR's part: a whole run.
pub async fn work(desk: &Desk) -> Result<Handoff, WorkError> {
    desk.breathe().await?;
    let order = desk.task();
    let folder = desk.folder();
    desk.progress(0.0, "planning");
    let plan = match run::load(&folder).await? {
        Some(plan) => plan,
        None => new_plan(order).await?,
    };
    let own: Vec<&Step> = plan.steps.iter().filter(|step| step.agent == task::DIRECTOR).collect();
    if let Some(handoff) = verdict_before(order, &own).await? {
        return Ok(handoff);
    }
    let mut outputs = vec![
        folder.write("STRATEGIC_PLAN.md", documents::strategic_plan(&plan).as_bytes()).await?,
        folder.write("resource_matrix.yaml", documents::resource_matrix(&plan).as_bytes()).await?,
    ];
    desk.progress(0.1, "waiting for the plan to be run");
    have_it_run(desk).await?;

    desk.progress(0.9, "weighing the findings");
    let (mut journal, lines) = Journal::open(Path::new(&order.folder)).await?;
    // Who runs the same plan at the same time was quicker.
    if let Some(handoff) = verdict_in(&lines, &own) {
        journal.close().await?;
        return Ok(handoff);
    }
    let vetoes = journal::vetoes(&lines);
    for (step, (agent, _)) in &vetoes {
        let why = journal::WEIGHED.into();
        journal.append(&Line { agent: agent.clone(), why, ..Line::now(step, Happened::Lifted) }).await?;
    }
    for step in &own {
        journal
            .append(&Line { agent: step.agent.clone(), attempt: 1, ..Line::now(&step.id, Happened::Started) })
            .await?;
    }
    let steps: Steps = folder.read_json(orchestrator::STEPS).await?;
    if !steps.failed.is_empty() {
        let rest = steps.failed.iter().fold(plan.clone(), |plan, failure| plan.without(&failure.step));
        folder.write("STRATEGIC_PLAN.md", documents::strategic_plan(&rest).as_bytes()).await?;
    }
    let (reports, unread) = reports_of(&folder, &plan, &steps).await?;
    let failures = steps.failed.into_iter().chain(unread).collect();
    let mut verdict: Verdict = director::verdict(&reports, failures, threshold(&own)?);
    let dropped = |failure: &Failure| format!("step `{}` was left out: {}", failure.step, failure.why);
    verdict.warnings.extend(steps.dropped.iter().map(dropped));
    let vetoed = |(step, (_, why)): (&String, &(String, String))| {
        format!("the output of step `{step}` was vetoed, hand it to nobody: {why}")
    };
    verdict.warnings.extend(vetoes.iter().map(vetoed));
    outputs.push(folder.write_json("verdict.json", &verdict).await?);
    outputs.push(folder.write("REPORT.md", documents::report(&plan.goal, &verdict).as_bytes()).await?);
    folder.write_manifest().await?;

    let mut handoff = desk.handoff("client");
    handoff.outputs = outputs;
    handoff.warnings = verdict.warnings;
    handoff.metrics.insert("findings".into(), verdict.findings.len() as f64);
    handoff.next_actions.push(match verdict.outcome {
        director::Outcome::Fail => "mend what is told first, and review again".into(),
        director::Outcome::Incomplete => "find out why a step was not done, and review again".into(),
        director::Outcome::Clean | director::Outcome::Pass => "go on".into(),
    });
    for step in &own {
        let line = Line {
            agent: step.agent.clone(),
            attempt: 1,
            handoff: Some(handoff.clone()),
            ..Line::now(&step.id, Happened::Done)
        };
        journal.append(&line).await?;
    }
    journal.append(&ended(&verdict.outcome)).await?;
    journal.close().await?;
    desk.progress(1.0, verdict.outcome.word());
    Ok(handoff)
}

fn ended(outcome: &director::Outcome) -> Line {
    Line { why: outcome.word().into(), ..Line::now("", Happened::Ended) }
}

/// Plans, and writes the plan down before anything runs.
async fn new_plan(order: &Task) -> Result<Plan, WorkError> {
    let fail_on = match order.inputs.get(THRESHOLD) {
        Some(word) => {
            word.parse().map_err(|error| WorkError::Task(format!("input `{THRESHOLD}`: {error}")))?
        }
        None => Severity::High,
    };
    let wish = Wish {
        tree: order.tree.clone(),
        fail_on,
        within: Duration::from_millis(order.within_ms),
        tests: order.inputs.get(TESTS).is_none_or(|word| word != "no"),
    };
    let plan = director::review(&wish, &Role::ALL.map(Role::name));
    files::write(&Path::new(&order.folder).join(plan::FILE), plan.to_toml())
        .await
        .map_err(FolderError::from)?;
    Ok(plan)
}

/// The handoff of the verdict, if an earlier life gave one.
async fn verdict_before(order: &Task, own: &[&Step]) -> Result<Option<Handoff>, WorkError> {
    let (mut journal, lines) = Journal::open(Path::new(&order.folder)).await?;
    let last = verdict_in(&lines, own);
    if last.is_some() && lines.last().is_none_or(|line| line.event != Happened::Ended) {
        let folder = RunFolder::of(&order.folder, task::DIRECTOR);
        let verdict: Verdict = folder.read_json("director/verdict.json").await?;
        journal.append(&ended(&verdict.outcome)).await?;
    }
    journal.close().await?;
    Ok(last)
}

/// The handoff of the verdict, if the journal has it.
fn verdict_in(lines: &[Line], own: &[&Step]) -> Option<Handoff> {
    let step = own.last()?;
    lines.iter().rev().find(|line| line.step == step.id && line.event == Happened::Done)?.handoff.clone()
}

/// Has PROJECT_ORCHESTRATOR run the plan. One that crashes goes on from the journal when it is asked again.
async fn have_it_run(desk: &Desk) -> Result<(), WorkError> {
    let mut asked = 1;
    loop {
        let within = run::without_reserve(desk.left());
        let order = Task {
            id: "run".into(),
            goal: "run the plan".into(),
            within_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
            ..desk.task().clone()
        };
        let error = match desk.delegate(task::ORCHESTRATOR, order).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        desk.breathe().await?;
        let lost = match &error {
            WorkError::Part {
                why: Unanswered::Request(RequestError::NobodyListens(_) | RequestError::Resting { .. }),
                ..
            } => true,
            WorkError::Part { why, .. } => why.is_gone(),
            _ => false,
        };
        if !lost || asked == ASKED_MAX {
            return Err(error);
        }
        reach!("director.run-again");
        time::sleep(PAUSE * asked).await;
        asked += 1;
    }
}

/// The severity from which on findings fail the run, as the plan's verdict has it.
fn threshold(own: &[&Step]) -> Result<Severity, WorkError> {
    match own.iter().find_map(|step| step.inputs.get(THRESHOLD)) {
        Some(word) => word.parse().map_err(|error| WorkError::Task(format!("input `{THRESHOLD}`: {error}"))),
        None => Ok(Severity::High),
    }
}

/// The reports of all steps that were done, in the order of the plan, and the steps whose report cannot be read.
async fn reports_of(
    folder: &RunFolder,
    plan: &Plan,
    steps: &Steps,
) -> Result<(Vec<Report>, Vec<Failure>), FolderError> {
    let (mut reports, mut unread) = (Vec::new(), Vec::new());
    let mut agents: Vec<&str> = Vec::new();
    for step in &plan.steps {
        let done = steps.done.iter().any(|handoff| handoff.task == step.id);
        if !done || agents.contains(&step.agent.as_str()) {
            continue;
        }
        agents.push(&step.agent);
        // Without its report nothing tells that there was nothing to find.
        match folder.read_json(&format!("{}/findings.json", step.agent)).await {
            Ok(report) => reports.push(report),
            Err(error) => unread.push(Failure { step: step.id.clone(), why: error.to_string() }),
        }
    }
    Ok((reports, unread))
}
