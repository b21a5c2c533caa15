//! PROJECT_ORCHESTRATOR: reads the tree, writes down what it is and what it lacks, and runs the plan.
//!
//! The reading's core is [`crate::survey`], the running's [`crate::workflow`]. The survey is a step of the plan as any other; DIRECTOR's
//! own steps come after all others and are left to DIRECTOR. What became of the steps is written to `steps.json`.

mod documents;

use serde::{Deserialize, Serialize};

use crate::director::Failure;
use crate::folder::RunFolder;
use crate::shell::{Desk, WorkError};
use crate::survey::Survey;
use crate::task::{self, Handoff, Report};
use crate::tree::{Entry, Tree};
use crate::workflow::plan::{self, Plan, Step};
use crate::workflow::run;
use crate::{finding, linter, reading};

/// Where it stands in the run folder what became of the steps.
pub const STEPS: &str = "project_orchestrator/steps.json";
/// The share of its time that it reads the tree.
const READING: f32 = 0.75;

/// What became of the steps, as it stands in `steps.json`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Steps {
    /// Handoffs of the steps that were done, in the order of their ends.
    pub done: Vec<Handoff>,
    /// Essential steps that were not done.
    pub failed: Vec<Failure>,
    /// Other steps that were not done.
    #[serde(default)]
    pub dropped: Vec<Failure>,
}

/// Does PROJECT_ORCHESTRATOR's part: runs the plan of the run folder.
pub async fn work(desk: &Desk) -> Result<Handoff, WorkError> {
    let folder = desk.folder();
    let Some(plan) = run::load(&folder).await? else {
        return Err(WorkError::Task(format!("the run folder has no {}", plan::FILE)));
    };
    let part = without_director(&plan)?;
    let ran = run::run(desk, &part, |step| Box::pin(survey_step(desk, step))).await?;
    let mut handoff = desk.handoff(task::DIRECTOR);
    handoff.metrics.insert("steps_done".into(), ran.done.len() as f64);
    handoff.metrics.insert("steps_failed".into(), ran.failed.len() as f64);
    let steps = Steps { done: ran.done, failed: ran.failed, dropped: ran.dropped };
    handoff.outputs.push(folder.write_json("steps.json", &steps).await?);
    desk.progress(1.0, format!("{} of {} steps done", steps.done.len(), part.steps.len()));
    handoff.next_actions.push("weigh the findings".into());
    Ok(handoff)
}

/// The plan without DIRECTOR's steps: DIRECTOR waits for this run, so nothing in it may wait for DIRECTOR.
fn without_director(plan: &Plan) -> Result<Plan, WorkError> {
    let mut part = plan.clone();
    part.steps.retain(|step| step.agent != task::DIRECTOR);
    for step in &part.steps {
        if let Some(need) = step.needs.iter().find(|need| part.step(need).is_none()) {
            return Err(WorkError::Task(format!(
                "step `{}` needs `{need}`, which is DIRECTOR's: DIRECTOR's steps come last",
                step.id
            )));
        }
    }
    Ok(part)
}

/// The survey, as a step of the plan.
async fn survey_step(desk: &Desk, step: Step) -> Result<Handoff, WorkError> {
    let folder = desk.folder();
    let (tree, survey, warnings) = survey(desk).await?;
    let mut handoff = Handoff { task: step.id, ..desk.handoff(task::DIRECTOR) };
    let mut findings = survey.gaps(&tree);
    finding::arrange(&mut findings);
    let report = Report { agent: task::ORCHESTRATOR.into(), findings, warnings: warnings.clone() };
    handoff.outputs = vec![
        folder.write_json("tree.json", &tree).await?,
        folder.write_json("survey.json", &survey).await?,
        folder.write_json("findings.json", &report).await?,
    ];
    handoff.outputs.extend(documents_of(&folder, &survey, &tree).await?);
    handoff.warnings = warnings;
    handoff.metrics.insert("files".into(), survey.files as f64);
    handoff.metrics.insert("code_lines".into(), survey.code_lines() as f64);
    Ok(handoff)
}

async fn documents_of(folder: &RunFolder, survey: &Survey, tree: &Tree) -> Result<Vec<String>, WorkError> {
    let plan = run::load(folder).await?.unwrap_or_else(|| Plan::new("", "", Vec::new()));
    Ok(vec![
        folder.write("AGENT_PLAN.md", documents::agent_plan(&plan, survey).as_bytes()).await?,
        folder.write("REVIEW_CHECKLIST.md", documents::checklist(survey, tree).as_bytes()).await?,
    ])
}

/// Reads the whole tree once: its entries, its languages.
async fn survey(desk: &Desk) -> Result<(Tree, Survey, Vec<String>), WorkError> {
    desk.progress(0.0, "listing the tree");
    let root = desk.task().tree.clone();
    let tree = reading::walk(&root).await?;
    let mut survey = Survey::begin(&tree);
    let wants = |entry: &Entry| Survey::wants(entry) && entry.len <= linter::READ_MAX;
    let mut round = desk.round(&tree, READING, "reading", wants);
    while let Some(entry) = round.next().await? {
        // A file that cannot be read is told by LINTER, who reads all of them.
        if let Ok(content) = reading::read(&root, &entry.path, linter::READ_MAX).await {
            survey.file(&entry.path, &content);
        }
    }
    let mut warnings = Vec::from_iter(round.cut());
    for skipped in tree.skipped.iter().take(20) {
        warnings.push(format!("not read: {} ({})", skipped.path, skipped.why));
    }
    if tree.skipped.len() > 20 {
        warnings.push(format!("not read: {} more entries", tree.skipped.len() - 20));
    }
    if tree.truncated {
        warnings.push(format!("only the first {} entries of the tree were read", tree.entries.len()));
    }
    Ok((tree, survey, warnings))
}
