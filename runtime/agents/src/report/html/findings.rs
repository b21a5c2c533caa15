//! The findings on the page: by severity, each with its place, what is wrong, what to do, and who says so; and a filter.
//!
//! The filter is the script's: without it the page shows all findings and no dead controls.

use std::collections::BTreeSet;

use super::super::safe::{html, prose};
use super::super::{Attributed, RESULT, RunResult, State, figures};
use crate::finding::Severity;

/// Findings of one severity that are shown; the others stand in `result.json`.
const SHOWN_MAX: usize = 1000;
/// More remarks than this are folded away at first.
const OPEN_MAX: usize = 12;

/// The whole section.
pub fn section(result: &RunResult) -> String {
    let mut out = String::from("<section aria-labelledby=\"findings\">\n<h2 id=\"findings\">Findings</h2>\n");
    if result.findings.is_empty() {
        let word =
            if result.state == State::Ended { "Nothing was found." } else { "Nothing was found so far." };
        out.push_str(&format!("<p class=\"card none\">{word}</p>\n</section>\n"));
        return out;
    }
    out.push_str(&filter(result));
    for severity in Severity::ALL.into_iter().rev() {
        let of: Vec<&Attributed> =
            result.findings.iter().filter(|one| one.finding.severity == severity).collect();
        if !of.is_empty() {
            out.push_str(&group(severity, &of));
        }
    }
    out.push_str("</section>\n");
    out
}

fn filter(result: &RunResult) -> String {
    let severities: BTreeSet<Severity> = result.findings.iter().map(|one| one.finding.severity).collect();
    let agents: BTreeSet<&str> = result.findings.iter().map(|one| one.agent.as_str()).collect();
    let boxes: String = severities
        .iter()
        .rev()
        .map(|severity| {
            format!("<label><input type=\"checkbox\" value=\"{severity}\" checked>{severity}</label>")
        })
        .collect();
    let choice = if agents.len() < 2 {
        String::new()
    } else {
        let options: String = agents
            .iter()
            .map(|agent| {
                format!("<option value=\"{}\">{}</option>", html(agent), html(&agent.to_uppercase()))
            })
            .collect();
        format!(
            "<select name=\"agent\" aria-label=\"Agent\"><option value=\"\">all agents</option>{options}</select>"
        )
    };
    format!(
        "<form id=\"filter\" hidden role=\"search\"><input type=\"search\" name=\"words\" aria-label=\"Filter findings\" \
         placeholder=\"Filter by file, rule or words ( / )\">{choice}<fieldset aria-label=\"Severities\">{boxes}</fieldset>\
         <output id=\"shown\" class=\"soft\" aria-live=\"polite\"></output></form>\n"
    )
}

fn group(severity: Severity, of: &[&Attributed]) -> String {
    let folded = severity == Severity::Info && of.len() > OPEN_MAX;
    let mut out = format!(
        "<details class=\"card group {severity}\" id=\"{severity}\"{}><summary>{} <span>{}</span></summary>\n<ol>\n",
        if folded { "" } else { " open" },
        super::capital(severity.word()),
        figures::count(of.len() as u64),
    );
    for one in of.iter().take(SHOWN_MAX) {
        out.push_str(&row(one));
    }
    out.push_str("</ol>\n");
    if of.len() > SHOWN_MAX {
        let more = figures::count((of.len() - SHOWN_MAX) as u64);
        out.push_str(&format!(
            "<p class=\"more\">{more} more stand in <a href=\"./{RESULT}\">{RESULT}</a>.</p>\n"
        ));
    }
    out.push_str("</details>\n");
    out
}

fn row(one: &Attributed) -> String {
    let finding = &one.finding;
    let position = match (finding.place.line, finding.place.column) {
        (Some(line), Some(column)) => format!(":<b>{line}</b>:{column}"),
        (Some(line), None) => format!(":<b>{line}</b>"),
        _ => String::new(),
    };
    let by =
        if one.agent.is_empty() { String::new() } else { format!(" · {}", html(&one.agent.to_uppercase())) };
    format!(
        "<li class=\"finding\" data-severity=\"{}\" data-agent=\"{}\"><div class=\"place\"><code><bdi>{}</bdi>{position}</code></div>\
         <div><p>{}</p><p class=\"advice\">{}</p><p class=\"by\"><code>{}</code>{by}</p></div></li>\n",
        finding.severity,
        html(&one.agent),
        html(&finding.place.path),
        prose(&finding.message),
        prose(&finding.advice),
        html(&finding.rule),
    )
}
