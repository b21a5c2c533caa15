//! A result as plain text for a terminal: verdict first, findings by severity, what was left out, where everything lies.
//!
//! Nothing that a tree under review brings with it can steer the terminal.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::compare::Comparison;
use super::safe::visible;
use super::{Attributed, PAGE, RunResult, State, StepState, figures};
use crate::finding::Severity;
use crate::survey::Survey;

/// Remarks that are told one by one; more of them are told by rule.
const REMARKS: usize = 10;

/// The whole result. `all` tells remarks one by one, too, however many there are.
pub fn result(result: &RunResult, folder: &Path, all: bool) -> String {
    let mut out = head(result);
    let _ = writeln!(out, "{}", result.tally);
    match &result.survey {
        Some(survey) => {
            let _ = writeln!(out, "{}: {}", visible(&result.tree), consists(survey));
        }
        None => {
            let _ = writeln!(out, "{}", visible(&result.tree));
        }
    }
    for severity in Severity::ALL.into_iter().rev() {
        let of: Vec<&Attributed> =
            result.findings.iter().filter(|one| one.finding.severity == severity).collect();
        if of.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n{severity}");
        if severity == Severity::Info && !all && of.len() > REMARKS {
            remarks(&mut out, &of);
            continue;
        }
        for one in of {
            finding(&mut out, one, "  ");
            if severity > Severity::Info {
                let _ = writeln!(out, "      {}", visible(&one.finding.advice));
            }
        }
    }
    for step in &result.steps {
        if matches!(step.state, StepState::Failed | StepState::Vetoed | StepState::Skipped) {
            let why = step.why.as_deref().unwrap_or("no reason was told");
            let _ = match step.was_done() {
                true => writeln!(out, "\n{}: {}: {}", step.state.word(), step.id, visible(why)),
                false => writeln!(out, "\nnot done: {} ({}): {}", step.id, step.state.word(), visible(why)),
            };
        }
    }
    left_out(&mut out, result);
    let (took, page) = (figures::seconds(result.seconds), folder.join(PAGE));
    let _ = writeln!(out, "\n{took}; the report: {}", page.display());
    let _ = writeln!(out, "everything lies in {}", folder.display());
    out
}

fn head(result: &RunResult) -> String {
    match (&result.verdict, result.state) {
        (Some(verdict), State::Ended) => {
            format!("{}: {}\n", verdict.outcome.word().to_uppercase(), visible(&verdict.because))
        }
        (_, State::Unfinished) => {
            let done = result.steps.iter().filter(|step| step.state == StepState::Done).count();
            format!("UNFINISHED: {done} of {} steps are done\n", result.steps.len())
        }
        (None, State::Ended) => {
            let done = result.steps.iter().filter(|step| step.state == StepState::Done).count();
            format!("ENDED: {done} of {} steps were done\n", result.steps.len())
        }
    }
}

fn finding(out: &mut String, one: &Attributed, indent: &str) {
    let finding = &one.finding;
    let place = visible(&finding.place.to_string());
    let _ = writeln!(out, "{indent}{place}: {} [{}]", visible(&finding.message), visible(&finding.rule));
}

fn remarks(out: &mut String, of: &[&Attributed]) {
    let mut kinds: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    for one in of {
        let first = || (0, visible(&one.finding.place.to_string()));
        kinds.entry(&one.finding.rule).or_insert_with(first).0 += 1;
    }
    for (rule, (count, first)) in kinds {
        let _ = writeln!(out, "  {}: {count}, the first at {first}", visible(rule));
    }
    out.push_str("  (--all lists each of them)\n");
}

fn left_out(out: &mut String, result: &RunResult) {
    let mut told: Vec<&str> = Vec::new();
    for agent in &result.agents {
        for warning in agent.unavailable.iter().chain(&agent.warnings) {
            if !told.contains(&warning.as_str()) {
                told.push(warning);
            }
        }
    }
    if told.is_empty() {
        return;
    }
    out.push_str("\nnot looked at\n");
    for warning in told {
        let _ = writeln!(out, "  {}", visible(warning));
    }
}

/// What a tree consists of, in a line: its files, and its most used languages.
fn consists(survey: &Survey) -> String {
    let code = survey.code_lines();
    let mut line = format!("{} files, {code} lines of code", survey.files);
    let languages = survey.ranked().into_iter().filter(|(_, share)| share.code && share.lines > 0).take(4);
    for (n, (name, share)) in languages.enumerate() {
        let percent = (share.lines * 100 + code / 2) / code.max(1);
        let _ = write!(
            line,
            "{} {name} {}",
            if n == 0 { ":" } else { "," },
            if percent == 0 { "<1 %".into() } else { format!("{percent} %") }
        );
    }
    line
}

/// Two runs beside each other.
pub fn comparison(told: &Comparison) -> String {
    let word = |outcome: Option<&str>| outcome.unwrap_or("no verdict").to_string();
    let mut out = format!(
        "{} ({}) -> {} ({})\n{} new, {} gone, {} the same\n",
        told.before,
        word(told.outcomes[0]),
        told.after,
        word(told.outcomes[1]),
        told.new.len(),
        told.gone.len(),
        told.same
    );
    for (title, findings) in [("new", &told.new), ("gone", &told.gone)] {
        if !findings.is_empty() {
            let _ = writeln!(out, "\n{title}");
        }
        for one in findings {
            finding(&mut out, one, &format!("  {:<8} ", one.finding.severity));
        }
    }
    if !told.slower.is_empty() {
        out.push_str("\nslower\n");
        for one in &told.slower {
            let (was, is) = (figures::millis(one.before_ms), figures::millis(one.after_ms));
            let _ = writeln!(out, "  {}: {was} -> {is}", one.step);
        }
    }
    if !told.changed.is_empty() {
        out.push_str("\nsteps that ended otherwise\n");
        for (step, was, is) in &told.changed {
            let _ = writeln!(out, "  {step}: {was} -> {is}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::build::{result as built, tests::example};

    #[test]
    fn the_verdict_comes_first_and_the_report_s_place_last() {
        let text = result(&built(example()), Path::new("/runs/r"), false);
        assert!(text.starts_with("FAIL: 1 of 3 findings are high or worse\n"), "{text}");
        assert!(text.contains("a.py:2:1: a token [secret.t]\n      revoke it\n"), "{text}");
        assert!(text.contains("not looked at\n  unavailable: needs ruff\n"), "{text}");
        assert!(
            text.ends_with("5.2 s; the report: /runs/r/report.html\neverything lies in /runs/r\n"),
            "{text}"
        );
    }

    #[test]
    fn a_step_that_was_done_under_a_veto_is_told_as_vetoed_and_not_as_undone() {
        let mut vetoed = built(example());
        let step = vetoed.steps.iter_mut().find(|step| step.was_done()).expect("one was done");
        (step.state, step.why) = (StepState::Vetoed, Some("SECURITY: a secret in it".into()));
        let told = format!("\nvetoed: {}: SECURITY: a secret in it\n", step.id);
        let text = result(&vetoed, Path::new("/runs/r"), false);
        assert!(text.contains(&told), "{text}");
    }

    #[test]
    fn a_file_name_cannot_steer_the_terminal() {
        let mut parts = example();
        parts.verdict = None;
        parts.reports[0].findings[0].place.path = "\u{1b}]0;owned\u{7}.rs".into();
        let text = result(&built(parts), Path::new("/runs/r"), true);
        assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}]0;owned\\u{7}.rs:3"), "{text}");
    }

    #[test]
    fn a_comparison_names_what_is_new_and_what_became_slower() {
        let before = built(example());
        let mut parts = example();
        let last = parts.journal.len() - 1;
        parts.journal[last - 1].at_ms += 2000;
        let mut after = built(parts);
        after.findings[0].finding.message = "another token".into();
        let text = comparison(&super::super::compare::compare(&before, &after));
        assert!(text.contains("1 new, 1 gone, 2 the same"), "{text}");
        assert!(text.contains("  high     a.py:2:1: another token [secret.t]"), "{text}");
        assert!(text.contains("  verdict: 200 ms -> 2.2 s"), "{text}");
    }
}
