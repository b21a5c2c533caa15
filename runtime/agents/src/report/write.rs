//! Writes the result of a run into its folder, in its three forms, and lists them in the manifest.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use synod_platform::files;

use super::{Edge, MESSAGES, PAGE, RESULT, ReportError, RunResult, SARIF, StepResult, html, result_of};
use crate::finding::Finding;
use crate::folder::{FolderError, RunFolder};
use crate::sarif;

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The result.
    pub result: RunResult,
    /// The page for people, as a path.
    pub page: PathBuf,
}

/// Makes the result of the run in `folder` from what stands there, and writes `result.json`, `result.sarif` and `report.html`. If
/// the `messages` of the run were counted, they are written down first; else those that stand there are kept.
pub async fn write(folder: &Path, messages: Option<&[Edge]>) -> Result<Written, ReportError> {
    if let Some(messages) = messages {
        write_json(folder, MESSAGES, &messages).await?;
    }
    let result = result_of(folder).await?;
    write_json(folder, RESULT, &result).await?;
    write_json(folder, SARIF, &log(&result)).await?;
    let page = folder.join(PAGE);
    files::write(&page, html::page(&result)).await?;
    RunFolder::of(folder, "client").write_manifest().await?;
    Ok(Written { result, page })
}

async fn write_json(folder: &Path, name: &str, value: &impl serde::Serialize) -> Result<(), ReportError> {
    let form = |source| FolderError::Form { path: name.into(), source };
    let mut text = serde_json::to_vec_pretty(value).map_err(form)?;
    text.push(b'\n');
    Ok(files::write(&folder.join(name), text).await?)
}

/// All findings as one SARIF log: one run for each agent, with what it could not do as notifications.
pub fn log(result: &RunResult) -> Value {
    let runs: Vec<Value> = result
        .agents
        .iter()
        .filter(|agent| !agent.steps.is_empty() || agent.findings > 0)
        .map(|agent| {
            let findings: Vec<Finding> = result
                .findings
                .iter()
                .filter(|one| one.agent == agent.name)
                .map(|one| one.finding.clone())
                .collect();
            let mut log = sarif::log(&format!("synod-{}", agent.name), &findings);
            let mut run = log["runs"][0].take();
            let told: Vec<Value> = agent
                .unavailable
                .iter()
                .chain(&agent.warnings)
                .map(|warning| json!({ "level": "warning", "message": { "text": warning } }))
                .collect();
            let well = result.steps.iter().filter(|step| step.agent == agent.name).all(StepResult::was_done);
            run["invocations"] = json!([{ "executionSuccessful": well, "toolExecutionNotifications": told }]);
            run
        })
        .collect();
    json!({ "$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": runs })
}
