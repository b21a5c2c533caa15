//! What agents say to each other: tasks, handoffs, progress; and the subjects they say it on.
//!
//! All of it is JSON, so that an agent can be replaced by a program in any language. Large results are not sent: they
//! are files of the run folder, and messages name them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use synod_wire::Priority;

use crate::finding::Finding;

/// The name of DIRECTOR on the fabric.
pub const DIRECTOR: &str = "director";
/// The name of PROJECT_ORCHESTRATOR on the fabric.
pub const ORCHESTRATOR: &str = "project_orchestrator";
/// The name of ARCHITECT on the fabric.
pub const ARCHITECT: &str = "architect";
/// The name of LINTER on the fabric.
pub const LINTER: &str = "linter";
/// The name of SECURITY on the fabric.
pub const SECURITY: &str = "security";
/// The name of TESTBED on the fabric.
pub const TESTBED: &str = "testbed";
/// The name of DOCGEN on the fabric.
pub const DOCGEN: &str = "docgen";

/// The subject on which an agent takes tasks.
pub fn task_subject(agent: &str) -> String {
    format!("task.{agent}")
}

/// The subject on which the agents of a run tell their progress.
pub fn progress_subject(run: &str) -> String {
    format!("progress.{run}")
}

/// The subject on which a run is cancelled.
pub fn cancel_subject(run: &str) -> String {
    format!("cancel.{run}")
}

/// The subject on which the outputs of a run's steps are vetoed.
pub fn veto_subject(run: &str) -> String {
    format!("veto.{run}")
}

/// A veto on what a step has put out, or its lifting. What depends on it does not run meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Veto {
    /// The step whose output is meant, by its id in the plan.
    pub step: String,
    /// Why, in words.
    pub why: String,
    /// Whether the veto is lifted.
    #[serde(default)]
    pub lifted: bool,
}

/// Work for one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Unique within its run; the same id twice is the same work.
    pub id: String,
    /// The run it belongs to.
    pub run: String,
    /// What is to be achieved, in words.
    pub goal: String,
    /// The source tree, as an absolute path; read only.
    pub tree: String,
    /// The run folder, as an absolute path; the agent writes into its own folder there.
    pub folder: String,
    /// Further inputs by name: paths within the run folder, or values.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
    /// How long it may take from its arrival on, in milliseconds.
    pub within_ms: u64,
    /// Its priority, as a word.
    #[serde(default)]
    pub priority: Urgency,
    /// The lease on the tree that it may write, if it may write one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Granted>,
}

/// A lease on a tree, as it goes with a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Granted {
    /// The tree that may be written, as an absolute path.
    pub tree: String,
    /// The fencing token, which every write has to bring: the guard lets the newest one pass and no older one.
    pub token: u64,
}

/// The six priorities as words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    /// Before everything.
    Critical,
    /// Before ordinary work.
    High,
    /// Ordinary.
    #[default]
    Normal,
    /// After ordinary work.
    Low,
    /// In bulk.
    Batch,
    /// When nothing else is to do.
    Background,
}

impl From<Urgency> for Priority {
    fn from(urgency: Urgency) -> Self {
        match urgency {
            Urgency::Critical => Priority::Critical,
            Urgency::High => Priority::High,
            Urgency::Normal => Priority::Normal,
            Urgency::Low => Priority::Low,
            Urgency::Batch => Priority::Batch,
            Urgency::Background => Priority::Background,
        }
    }
}

/// Finished work, handed on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Handoff {
    /// Who did it.
    pub from: String,
    /// Who goes on with it.
    pub to: String,
    /// Which task it was.
    pub task: String,
    /// Files written, as paths within the run folder.
    pub outputs: Vec<String>,
    /// Counts and measures by name.
    pub metrics: BTreeMap<String, f64>,
    /// What could not be done, and why: `unavailable: needs <tool>` among them.
    pub warnings: Vec<String>,
    /// What the next one may do.
    pub next_actions: Vec<String>,
}

/// How far a task is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Which run.
    pub run: String,
    /// Which agent.
    pub agent: String,
    /// From 0 to 1.
    pub fraction: f32,
    /// What is being done, as one sentence without a full stop.
    pub sentence: String,
}

/// What a reviewing agent found, as it stands in its `findings.json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Which agent.
    pub agent: String,
    /// What was found, worst first.
    pub findings: Vec<Finding>,
    /// What could not be looked at, and why.
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_survives_json_and_a_stranger_s_key_is_refused() {
        let task = Task {
            id: "lint".into(),
            run: "r1".into(),
            goal: "look".into(),
            tree: "/t".into(),
            folder: "/f".into(),
            inputs: BTreeMap::new(),
            within_ms: 1000,
            priority: Urgency::High,
            lease: None,
        };
        let text = serde_json::to_string(&task).expect("plain data");
        assert_eq!(serde_json::from_str::<Task>(&text).expect("its own form"), task);
        let error =
            serde_json::from_str::<Task>(&text.replace("\"goal\"", "\"gaol\"")).expect_err("unknown key");
        assert!(error.to_string().contains("gaol"));
    }
}
