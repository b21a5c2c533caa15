//! DIRECTOR at work: plans, has the plan run, weighs what comes back, writes the run's documents and manifest.

use crate::director::{self, Verdict, documents};
use crate::finding::Severity;
use crate::folder::{FolderError, RunFolder};
use crate::orchestrator::Steps;
use crate::shell::{Desk, WorkError};
use crate::task::{self, Handoff, Report, Task};

/// The input that holds the threshold.
pub const THRESHOLD: &str = "fail_on";

/// Does DIRECTOR's part: a whole review.
pub async fn work(desk: &Desk) -> Result<Handoff, WorkError> {
    let order = desk.task();
    let folder = desk.folder();
    let threshold: Severity = match order.inputs.get(THRESHOLD) {
        Some(word) => {
            word.parse().map_err(|error| WorkError::Task(format!("input `{THRESHOLD}`: {error}")))?
        }
        None => Severity::High,
    };
    desk.progress(0.0, "planning");
    let plan = director::review(&order.tree, order.within_ms);
    let mut outputs = vec![
        folder.write_json("plan.json", &plan).await?,
        folder.write("STRATEGIC_PLAN.md", documents::strategic_plan(&plan).as_bytes()).await?,
        folder.write("resource_matrix.yaml", documents::resource_matrix(&plan).as_bytes()).await?,
    ];
    let mut survey =
        Task { id: "survey".into(), goal: "read the tree and run the plan".into(), ..order.clone() };
    survey.inputs.clear();
    survey.inputs.insert("plan".into(), outputs[0].clone());
    desk.progress(0.1, "waiting for the plan to be run");
    desk.delegate(task::ORCHESTRATOR, survey).await?;

    desk.progress(0.9, "weighing the findings");
    let steps: Steps = folder.read_json("project_orchestrator/steps.json").await?;
    let mut plan = plan;
    for failure in &steps.failed {
        plan = plan.without(&failure.step);
    }
    if !steps.failed.is_empty() {
        folder.write_json("plan.json", &plan).await?;
        folder.write("STRATEGIC_PLAN.md", documents::strategic_plan(&plan).as_bytes()).await?;
    }
    let mut reports = Vec::new();
    for agent in [task::ORCHESTRATOR, task::LINTER, task::SECURITY] {
        if let Some(report) = report_of(&folder, agent, &steps).await? {
            reports.push(report);
        }
    }
    let verdict: Verdict = director::verdict(&reports, steps.failed, threshold);
    let goal = format!("review of {}", order.tree);
    outputs.push(folder.write_json("verdict.json", &verdict).await?);
    outputs.push(folder.write("REPORT.md", documents::report(&goal, &verdict).as_bytes()).await?);
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
    desk.progress(1.0, verdict.outcome.word());
    Ok(handoff)
}

/// An agent's findings; none if its step failed.
async fn report_of(folder: &RunFolder, agent: &str, steps: &Steps) -> Result<Option<Report>, FolderError> {
    let done = agent == task::ORCHESTRATOR || steps.done.iter().any(|handoff| handoff.from == agent);
    if !done {
        return Ok(None);
    }
    folder.read_json(&format!("{agent}/findings.json")).await.map(Some)
}
