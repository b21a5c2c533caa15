//! PROJECT_ORCHESTRATOR: reads the tree, writes down what it is and what it lacks, and runs the plan in waves.
//!
//! The reading's core is [`crate::survey`], the ordering's [`crate::plan`]. Steps of one wave run side by side; a step that fails
//! is tried again as often as the plan says, and then left to DIRECTOR. What became of them is written to `steps.json`.

mod documents;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use synod_probe::{event, reach};

use crate::director::{Failure, Plan};
use crate::plan::Step;
use crate::shell::{Desk, WorkError};
use crate::survey::Survey;
use crate::task::{self, Handoff, Report, Task};
use crate::tree::Tree;
use crate::{finding, linter, reading};

/// What became of the steps, as it stands in `steps.json`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Steps {
    /// Handoffs of the steps that were done, in the order of their ends.
    pub done: Vec<Handoff>,
    /// Steps that were not done.
    pub failed: Vec<Failure>,
}

/// Does PROJECT_ORCHESTRATOR's part.
pub async fn work(desk: &Desk) -> Result<Handoff, WorkError> {
    let folder = desk.folder();
    let plan: Plan = folder.read_json(desk.input("plan")?).await?;
    let waves = plan.waves().map_err(|error| WorkError::Task(error.to_string()))?;

    let (tree, survey, warnings) = survey(desk).await?;
    let mut handoff = desk.handoff(task::DIRECTOR);
    let mut findings = survey.gaps(&tree);
    finding::arrange(&mut findings);
    let report = Report { agent: task::ORCHESTRATOR.into(), findings, warnings: warnings.clone() };
    handoff.outputs = vec![
        folder.write_json("tree.json", &tree).await?,
        folder.write_json("survey.json", &survey).await?,
        folder.write_json("findings.json", &report).await?,
        folder.write("AGENT_PLAN.md", documents::agent_plan(&plan, &survey).as_bytes()).await?,
        folder.write("REVIEW_CHECKLIST.md", documents::checklist(&survey, &tree).as_bytes()).await?,
    ];
    handoff.warnings = warnings;
    handoff.metrics.insert("files".into(), survey.files as f64);
    handoff.metrics.insert("code_lines".into(), survey.code_lines() as f64);

    let mut steps = Steps::default();
    let tree_file = handoff.outputs[0].clone();
    for wave in waves {
        let running: Vec<&Step> = plan
            .steps
            .iter()
            .filter(|step| wave.contains(&step.id))
            .filter(|step| step.agent != task::ORCHESTRATOR && step.agent != task::DIRECTOR)
            .collect();
        if running.is_empty() {
            continue;
        }
        let names: Vec<&str> = running.iter().map(|step| step.id.as_str()).collect();
        desk.progress(1.0, format!("waiting for {}", names.join(" and ")));
        // Futures of this task, not tasks of their own: if this work is given up, so are they.
        let ends = join_all(running.iter().map(|step| persist(desk, step, &tree_file, plan.retries))).await;
        desk.breathe().await?;
        for (step, end) in running.iter().zip(ends) {
            match end {
                Ok(done) => steps.done.push(done),
                Err(error) => steps.failed.push(Failure { step: step.id.clone(), why: error.to_string() }),
            }
        }
    }
    handoff.outputs.push(folder.write_json("steps.json", &steps).await?);
    desk.progress(
        1.0,
        format!("{} of {} steps done", steps.done.len(), steps.done.len() + steps.failed.len()),
    );
    handoff.next_actions.push("weigh the findings".into());
    Ok(handoff)
}

/// Does a step, and does it again if it fails, as often as the plan allows.
async fn persist(desk: &Desk, step: &Step, tree_file: &str, retries: u32) -> Result<Handoff, WorkError> {
    let mut tried = 0;
    loop {
        let mut order = Task { id: step.id.clone(), goal: step.goal.clone(), ..desk.task().clone() };
        order.inputs.clear();
        order.inputs.insert("tree".into(), tree_file.into());
        let error = match desk.delegate(&step.agent, order).await {
            Ok(handoff) => return Ok(handoff),
            Err(error) => error,
        };
        desk.breathe().await?;
        if tried == retries {
            reach!("review.step-given-up");
            return Err(error);
        }
        tried += 1;
        event!("review.step-again", step = step.id.as_str(), tried = tried);
        reach!("review.step-again");
    }
}

/// Reads the whole tree once: its entries, its languages.
async fn survey(desk: &Desk) -> Result<(Tree, Survey, Vec<String>), WorkError> {
    desk.progress(0.0, "listing the tree");
    let root = desk.task().tree.clone();
    let tree = reading::walk(&root).await?;
    let mut survey = Survey::begin(&tree);
    let mut warnings = Vec::new();
    let total = tree.entries.len().max(1);
    for (n, entry) in tree.entries.iter().enumerate() {
        if n % 32 == 0 {
            desk.breathe().await?;
        }
        if n % 256 == 0 {
            desk.progress(n as f32 / total as f32, format!("reading {}", entry.path));
        }
        if Survey::wants(entry) && entry.len <= linter::READ_MAX {
            // A file that cannot be read is told by LINTER, who reads all of them.
            if let Ok(content) = reading::read(&root, &entry.path, linter::READ_MAX).await {
                survey.file(&entry.path, &content);
            }
        }
    }
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
