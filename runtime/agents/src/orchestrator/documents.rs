//! PROJECT_ORCHESTRATOR's documents: the plan by waves, and a checklist that fits the tree.

use std::fmt::Write as _;

use crate::survey::Survey;
use crate::tree::Tree;
use crate::workflow::plan::Plan;

/// `AGENT_PLAN.md`: what the tree is, and who does what in which wave.
pub fn agent_plan(plan: &Plan, survey: &Survey) -> String {
    let mut out = format!(
        "# Agent plan\n\n{} files, {} bytes, {} lines of code.\n\n| language | files | lines |\n|---|---|---|\n",
        survey.files,
        survey.bytes,
        survey.code_lines()
    );
    for (name, share) in survey.ranked() {
        let _ = writeln!(out, "| {name} | {} | {} |", share.files, share.lines);
    }
    if !survey.manifests.is_empty() {
        out.push_str("\nManifests:\n\n");
        for manifest in &survey.manifests {
            let _ = writeln!(out, "- `{}` ({})", manifest.path, manifest.system);
        }
    }
    out.push_str("\n## Waves\n\n");
    for (number, wave) in (1..).zip(plan.waves().unwrap_or_default()) {
        for step in wave.into_iter().map(|at| &plan.steps[at]) {
            let _ = writeln!(out, "{number}. {} ({}): {}", step.id, step.agent.to_uppercase(), step.goal);
        }
    }
    out
}

/// `REVIEW_CHECKLIST.md`: what was and what people should still look at in a tree like this one.
pub fn checklist(survey: &Survey, tree: &Tree) -> String {
    let mut out = String::from("# Review checklist\n\nDone by the agents:\n\n");
    for line in [
        "unresolved merge conflicts, files that do not parse, links to nothing, line endings, very large and compiled files",
        "secrets, permission bits, lock files and their sources",
        "README, licence, tests",
    ] {
        let _ = writeln!(out, "- [x] {line}");
    }
    out.push_str("\nLeft to people:\n\n");
    let has = |name: &str| survey.languages.contains_key(name);
    let mut left = vec!["does it do what its README says?", "is an error told with what to do about it?"];
    if has("Rust") || has("C") || has("C++") {
        left.push("is each unsafe or pointer-handling block justified where it stands?");
    }
    if has("Shell") || has("Make") {
        left.push("do the scripts survive a path with a blank, and a failing command?");
    }
    if has("SQL") || has("Python") || has("JavaScript") || has("PHP") {
        left.push("does input reach a query, a shell or a path unchecked?");
    }
    if survey.manifests.iter().any(|manifest| manifest.system == "docker") {
        left.push("does the image run as a user other than root?");
    }
    if survey.first_test.is_none() {
        left.push("what would tell that a change broke it? There is no test yet");
    }
    for line in left {
        let _ = writeln!(out, "- [ ] {line}");
    }
    if tree.truncated {
        out.push_str("\nOnly a part of the tree was seen.\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::plan::Step;

    #[test]
    fn the_documents_fit_the_tree() {
        let mut survey = Survey::default();
        survey.file("a.sh", b"echo\n");
        let steps = vec![
            Step::new("survey", "project_orchestrator", "", &[]),
            Step::new("lint", "linter", "", &["survey"]),
        ];
        let plan = agent_plan(&Plan::new("", "/t", steps), &survey);
        assert!(plan.contains("| Shell | 1 | 1 |") && plan.contains("2. lint (LINTER)"), "{plan}");
        let checklist = checklist(&survey, &Tree::default());
        assert!(checklist.contains("path with a blank") && !checklist.contains("unsafe"), "{checklist}");
    }
}
