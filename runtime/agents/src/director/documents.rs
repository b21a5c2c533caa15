//! DIRECTOR's documents: the strategic plan, the resource matrix and the report, as text.
//!
//! Pure: data in, text out. The YAML uses JSON's quoting for strings, which YAML shares.

use std::fmt::Write as _;

use super::Verdict;
use crate::finding::{Finding, Severity};
use crate::workflow::plan::Plan;

/// `STRATEGIC_PLAN.md`.
pub fn strategic_plan(plan: &Plan) -> String {
    let mut out = format!(
        "# Plan\n\nGoal: {}.\n\nBudget: {} in all; {}, {} steps at a time at most.\n",
        plan.goal,
        plan.within,
        plan.strategy.word(),
        plan.limit
    );
    out.push_str(
        "\n## Steps\n\n| wave | step | owner | goal | needs | within | retries |\n|---|---|---|---|---|---|---|\n",
    );
    for (number, wave) in (1..).zip(plan.waves().unwrap_or_default()) {
        for step in wave.into_iter().map(|at| &plan.steps[at]) {
            let needs = if step.needs.is_empty() { "–".to_string() } else { step.needs.join(", ") };
            let _ = writeln!(
                out,
                "| {number} | {}{} | {} | {} | {needs} | {} | {} |",
                step.id,
                if step.essential { "" } else { " (optional)" },
                step.agent.to_uppercase(),
                step.goal,
                step.within,
                step.retries
            );
        }
    }
    if !plan.risks.is_empty() {
        out.push_str("\n## Risks\n\n");
    }
    for risk in &plan.risks {
        let _ = writeln!(out, "- {}: {}.", capital(&risk.what), risk.answer);
    }
    out
}

/// `resource_matrix.yaml`: who does what in which wave, within which time.
pub fn resource_matrix(plan: &Plan) -> String {
    let mut out = format!(
        "goal: {}\nwithin_ms: {}\nstrategy: {}\nlimit: {}\nwaves:\n",
        quoted(&plan.goal),
        plan.within.get().as_millis(),
        plan.strategy.word(),
        plan.limit
    );
    for wave in plan.waves().unwrap_or_default() {
        out.push_str("  -");
        for (n, step) in wave.into_iter().map(|at| &plan.steps[at]).enumerate() {
            let needs: Vec<String> = step.needs.iter().map(|need| quoted(need)).collect();
            let indent = if n == 0 { " " } else { "    " };
            let _ = writeln!(
                out,
                "{indent}- step: {}\n      agent: {}\n      needs: [{}]\n      within_ms: {}\n      retries: {}",
                quoted(&step.id),
                quoted(&step.agent),
                needs.join(", "),
                step.within.get().as_millis(),
                step.retries
            );
        }
    }
    out
}

/// `REPORT.md`: the verdict first, then all findings by severity.
pub fn report(goal: &str, verdict: &Verdict) -> String {
    let mut out = format!(
        "# {}: {}\n\n{}.\n\n{}.\n",
        capital(verdict.outcome.word()),
        goal,
        capital(&verdict.because),
        verdict.tally
    );
    for failure in &verdict.failures {
        let _ = writeln!(out, "\nStep `{}` was not done: {}.", failure.step, failure.why);
    }
    for severity in Severity::ALL.into_iter().rev() {
        let of: Vec<&Finding> =
            verdict.findings.iter().filter(|finding| finding.severity == severity).collect();
        if of.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n## {} ({})\n", capital(severity.word()), of.len());
        for finding in of {
            let _ = writeln!(
                out,
                "- `{}`: {}. *{}* (`{}`)",
                finding.place, finding.message, finding.advice, finding.rule
            );
        }
    }
    if !verdict.warnings.is_empty() {
        out.push_str("\n## Not looked at\n\n");
        for warning in &verdict.warnings {
            let _ = writeln!(out, "- {warning}");
        }
    }
    out
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::director;
    use crate::finding::Place;
    use crate::task::{self, Report};

    fn plan(tree: &str) -> Plan {
        let agents = [task::LINTER, task::SECURITY];
        let within = Duration::from_secs(60);
        let wish = director::Wish { tree: tree.into(), fail_on: Severity::High, within, tests: true };
        director::review(&wish, &agents)
    }

    #[test]
    fn the_plan_names_every_step_with_its_owner() {
        let text = strategic_plan(&plan("/t"));
        for part in ["Budget: 1m in all", "| 2 | lint | LINTER |", "| 3 | verdict | DIRECTOR |", "## Risks"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn the_matrix_is_yaml_with_one_list_a_wave() {
        let text = resource_matrix(&plan("/a \"b\""));
        assert!(
            text.starts_with("goal: \"review the source tree /a \\\"b\\\"\"\nwithin_ms: 60000\n"),
            "{text}"
        );
        let wave = "  - - step: \"lint\"\n      agent: \"linter\"\n      needs: [\"survey\"]\n      within_ms: 60000\n      retries: 2\n    - step: \"secure\"";
        assert!(text.contains(wave), "{text}");
    }

    #[test]
    fn the_report_says_the_verdict_first_and_then_the_worst() {
        let findings = vec![
            Finding::new("a", Severity::Low, Place::file("x"), "untidy", "tidy up"),
            Finding::new("b", Severity::High, Place::line("y", 2), "broken", "mend it"),
        ];
        let report =
            Report { agent: "linter".into(), findings, warnings: vec!["unavailable: needs ruff".into()] };
        let verdict = director::verdict(&[report], vec![], Severity::High);
        let text = super::report("review", &verdict);
        assert!(text.starts_with("# Fail: review\n"));
        let (high, low) = (text.find("`y:2`").expect("told"), text.find("`x`").expect("told"));
        assert!(high < low && text.contains("needs ruff"));
    }
}
