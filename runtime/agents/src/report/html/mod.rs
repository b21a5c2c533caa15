//! `report.html`: one page that needs nothing beside it. The verdict comes first, then findings, steps, agents, messages, files.
//!
//! It works from a disk, on a phone, on paper, by keyboard and without its script; its colours follow the reader's setting. All text
//! of the run is escaped, and the page's own policy lets nothing else run.

mod findings;
mod picture;
mod policy;

use std::collections::BTreeMap;

use synod_platform::time::Wall;

use super::safe::{html, link, prose};
use super::{AgentResult, RESULT, RunResult, SARIF, State, StepResult, StepState, figures};
use crate::director::Outcome;
use crate::finding::Severity;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Languages that are told by name; the rest is summed up.
const TONGUES: usize = 5;
/// Files of the run folder that are listed.
const FILES_MAX: usize = 2000;
/// Lines under one heading of an agent that are told at once.
const LINES: usize = 6;
/// What is told where a reason should be.
const NO_REASON: &str = "no reason was told";

/// The whole page.
pub fn page(result: &RunResult) -> String {
    let word = word(result);
    let mut body = verdict(result);
    body.push_str(&findings::section(result));
    body.push_str(&left_out(result));
    body.push_str(&picture::section(result));
    body.push_str(&agents(result));
    body.push_str(&messages(result));
    body.push_str(&tongues(result));
    body.push_str(&files(result));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{word}: {} - Synod</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#findings\">To the findings</a>\n\
         <header><strong>Synod</strong><nav aria-label=\"Parts of this page\"><a href=\"#findings\">Findings</a>\
         <a href=\"#steps\">Steps</a><a href=\"#agents\">Agents</a><a href=\"#messages\">Messages</a>\
         <a href=\"#files\">Files</a></nav></header>\n<main>\n{body}</main>\n\
         <footer><p>Run <code>{}</code>, told by Synod {}. The same for programs: <a href=\"./{RESULT}\">{RESULT}</a>, \
         <a href=\"./{SARIF}\">{SARIF}</a>.</p></footer>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        html(&policy::policy(STYLE, SCRIPT)),
        html(last_part(&result.tree)),
        html(&result.run),
        html(&result.synod),
    )
}

fn word(result: &RunResult) -> &'static str {
    match (&result.verdict, result.state) {
        (_, State::Unfinished) => "Unfinished",
        (Some(verdict), State::Ended) => match verdict.outcome {
            Outcome::Clean => "Clean",
            Outcome::Pass => "Pass",
            Outcome::Fail => "Fail",
            Outcome::Incomplete => "Incomplete",
        },
        (None, State::Ended) if result.steps.iter().all(|step| step.state == StepState::Done) => "Pass",
        (None, State::Ended) => "Incomplete",
    }
}

/// The sign beside the word, so that colour is not all that tells.
fn sign(word: &str) -> &'static str {
    match word {
        "Clean" | "Pass" => "M5 12.5l4.5 4.5L19 7.5",
        "Fail" => "M6 6l12 12M18 6L6 18",
        "Incomplete" => "M12 5v9M12 18v.5",
        _ => "M12 6v6l4 3",
    }
}

fn verdict(result: &RunResult) -> String {
    let word = word(result);
    let because = match (&result.verdict, result.state) {
        (_, State::Unfinished) => "this run was cut off, or goes on still".into(),
        (Some(verdict), State::Ended) => verdict.because.clone(),
        (None, State::Ended) => {
            let done = result.steps.iter().filter(|step| step.state == StepState::Done).count();
            format!("{done} of {} steps were done", result.steps.len())
        }
    };
    let mut facts = String::new();
    let mut fact = |name: &str, value: String| {
        facts.push_str(&format!("<div><dt>{name}</dt><dd>{value}</dd></div>"));
    };
    fact("Tree", format!("<code>{}</code>", html(&result.tree)));
    if result.began_ms > 0 {
        let began = Wall::from_nanos(result.began_ms.saturating_mul(1_000_000)).to_string();
        let told = format!("{} {} UTC", &began[..10], &began[11..16]);
        fact("Begun", format!("<time datetime=\"{began}\">{told}</time>"));
        let rests = if result.sittings > 1 { ", rests included" } else { "" };
        fact("Took", format!("{}{rests}", figures::seconds(result.seconds)));
    }
    if result.sittings > 1 {
        fact("Resumed", times(result.sittings - 1));
    }
    if let Some(verdict) = &result.verdict {
        fact("Fails from", verdict.threshold.word().into());
    }
    if let Some(survey) = &result.survey {
        let (files, lines) = (figures::count(survey.files), figures::count(survey.code_lines()));
        fact("Seen", format!("{files} files, {lines} lines of code"));
    }
    let mut tiles = String::new();
    for severity in Severity::ALL.into_iter().rev() {
        let count = result.findings.iter().filter(|one| one.finding.severity == severity).count();
        tiles.push_str(&if count == 0 {
            format!("<span class=\"tile\"><b>0</b>{severity}</span>")
        } else {
            let count = figures::count(count as u64);
            format!("<a class=\"{severity}\" href=\"#{severity}\"><b>{count}</b>{severity}</a>")
        });
    }
    let missed: String = missed(result)
        .map(|step| {
            let why = step.why.as_deref().unwrap_or(NO_REASON);
            format!("<li><b>{}</b> {}: {}</li>", html(&step.id), step.state.word(), prose(why))
        })
        .collect();
    let missed = if missed.is_empty() { missed } else { format!("<ul class=\"missed\">{missed}</ul>") };
    format!(
        "<section class=\"card verdict {}\" aria-labelledby=\"verdict\">\n<h1 id=\"verdict\">\
         <svg viewBox=\"0 0 24 24\" aria-hidden=\"true\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"3\" \
         stroke-linecap=\"round\" stroke-linejoin=\"round\"><path d=\"{}\"/></svg>{word}</h1>\n\
         <p class=\"because\">{}</p>\n{missed}<dl class=\"facts\">{facts}</dl>\n<div class=\"tiles\">{tiles}</div>\n</section>\n",
        word.to_lowercase(),
        sign(word),
        prose(&capital(&because)),
    )
}

/// The steps that were not done, though their turn had come, and those whose output is vetoed.
fn missed(result: &RunResult) -> impl Iterator<Item = &StepResult> {
    let missed = [StepState::Failed, StepState::Vetoed, StepState::Skipped];
    result.steps.iter().filter(move |step| missed.contains(&step.state))
}

/// What could not be looked at: by agent, what is missing on this machine first.
fn left_out(result: &RunResult) -> String {
    let rows: String = result
        .agents
        .iter()
        .flat_map(|agent| agent.unavailable.iter().chain(&agent.warnings).map(move |told| (agent, told)))
        .map(|(agent, told)| {
            format!("<tr><td>{}</td><td>{}</td></tr>", html(&agent.name.to_uppercase()), prose(told))
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "<section aria-labelledby=\"left\">\n<h2 id=\"left\">Not looked at</h2>\n<div class=\"card panel wide\" tabindex=\"0\">\
         <table><thead><tr><th>Agent</th><th>What, and why</th></tr></thead><tbody>{rows}</tbody></table></div>\n</section>\n"
    )
}

fn agents(result: &RunResult) -> String {
    let cards: String = result.agents.iter().map(|agent| card(agent, result)).collect();
    let cards =
        if cards.is_empty() { "<p class=\"soft\">No agent has worked yet.</p>".into() } else { cards };
    format!(
        "<section aria-labelledby=\"agents\">\n<h2 id=\"agents\">Agents</h2>\n<div class=\"agents\">\n{cards}</div>\n</section>\n"
    )
}

fn card(agent: &AgentResult, result: &RunResult) -> String {
    let states: BTreeMap<&str, StepState> =
        result.steps.iter().map(|step| (step.id.as_str(), step.state)).collect();
    let steps: Vec<String> = agent
        .steps
        .iter()
        .map(|id| {
            let word = states.get(id.as_str()).map_or("unknown", |state| state.word());
            format!("{} <span class=\"state {word}\">{word}</span>", html(id))
        })
        .collect();
    let mut metrics = format!("<span><b>{}</b> worked</span>", figures::millis(agent.worked_ms));
    if agent.findings > 0 {
        let word = if agent.findings == 1 { "finding" } else { "findings" };
        metrics.push_str(&format!("<span><b>{}</b> {word}</span>", figures::count(agent.findings as u64)));
    }
    for (name, value) in agent.metrics.iter().filter(|(name, _)| *name != "findings") {
        let name = html(&name.replace('_', " "));
        metrics.push_str(&format!("<span><b>{}</b> {name}</span>", figures::number(*value)));
    }
    let mut lists = String::new();
    let missed: Vec<String> = missed(result)
        .filter(|step| step.agent == agent.name && !step.was_done())
        .map(|step| format!("{}: {}", step.id, step.why.as_deref().unwrap_or(NO_REASON)))
        .collect();
    for (title, tone, lines) in [
        ("Not done", "high", &missed),
        ("Refused", "high", &agent.refused),
        ("Could not do", "medium", &agent.unavailable),
        ("Did again", "medium", &agent.retried),
        ("Says", "info", &agent.warnings),
    ] {
        lists.push_str(&list(title, tone, lines));
    }
    if !agent.outputs.is_empty() {
        let links: Vec<String> = agent
            .outputs
            .iter()
            .map(|path| format!("<a href=\"{}\">{}</a>", html(&link(path)), html(last_part(path))))
            .collect();
        lists.push_str(&format!("<h4>Wrote</h4><p>{}</p>", links.join(", ")));
    }
    let worked = if steps.is_empty() {
        "<span class=\"soft\">no step of its own</span>".into()
    } else {
        steps.join(", ")
    };
    format!(
        "<article class=\"card\"><h3>{}</h3><p>{worked}</p><div class=\"metrics\">{metrics}</div>{lists}</article>\n",
        html(&agent.name.to_uppercase())
    )
}

fn list(title: &str, tone: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let items = |lines: &[String]| -> String {
        lines.iter().map(|line| format!("<li>{}</li>", prose(line))).collect()
    };
    let (first, rest) = lines.split_at(lines.len().min(LINES));
    let rest = match rest.len() {
        0 => String::new(),
        more => format!(
            "<details class=\"quiet\"><summary>{more} more</summary><ul>{}</ul></details>",
            items(rest)
        ),
    };
    format!("<div class=\"hard {tone}\"><h4>{title}</h4><ul>{}</ul>{rest}</div>", items(first))
}

fn messages(result: &RunResult) -> String {
    let mut out = String::from("<section aria-labelledby=\"messages\">\n<h2 id=\"messages\">Messages</h2>\n");
    if result.messages.is_empty() {
        out.push_str("<p class=\"soft\">Nobody counted the messages of this run.</p>\n</section>\n");
        return out;
    }
    out.push_str(
        "<div class=\"card panel wide\" tabindex=\"0\" role=\"region\" aria-label=\"Messages by edge\"><table><thead><tr><th>From</th>\
         <th>To</th><th class=\"n\">Accepted</th><th class=\"n\">Delivered</th><th class=\"n\">Refused</th><th class=\"n\">Expired</th>\
         <th class=\"n\">Cancelled</th><th class=\"n\">Lost</th></tr></thead><tbody>\n",
    );
    for edge in &result.messages {
        let plain = |count: u64| format!("<td class=\"n\">{}</td>", figures::count(count));
        let loss = |count: u64| match count {
            0 => "<td class=\"n soft\">0</td>".to_string(),
            count => format!("<td class=\"n loss\">{}</td>", figures::count(count)),
        };
        let agents =
            if edge.agents.is_empty() { String::new() } else { format!(" ({})", edge.agents.join(", ")) };
        out.push_str(&format!(
            "<tr><td>{}<span class=\"soft\">{}</span></td><td>{}</td>{}{}{}{}{}{}</tr>\n",
            html(&edge.from),
            html(&agents),
            html(&edge.to),
            plain(edge.accepted),
            plain(edge.delivered),
            loss(edge.refused),
            loss(edge.expired),
            loss(edge.cancelled),
            loss(edge.lost),
        ));
    }
    out.push_str(
        "</tbody></table></div>\n<p class=\"soft\">Counted by the fabric for each sending context and receiving agent; replies travel \
         beside these.</p>\n</section>\n",
    );
    out
}

/// The languages of the tree as one bar.
fn tongues(result: &RunResult) -> String {
    let Some(survey) = &result.survey else { return String::new() };
    let code: Vec<(&str, u64)> = survey
        .ranked()
        .into_iter()
        .filter(|(_, share)| share.code && share.lines > 0)
        .map(|(name, share)| (name, share.lines))
        .collect();
    let total: u64 = code.iter().map(|(_, lines)| lines).sum();
    if total == 0 {
        return String::new();
    }
    let (named, others) = code.split_at(code.len().min(TONGUES));
    let mut shares: Vec<(&str, u64)> = named.to_vec();
    if !others.is_empty() {
        shares.push(("others", others.iter().map(|(_, lines)| lines).sum()));
    }
    let (mut bar, mut key, mut at) = (String::new(), String::new(), 0.0);
    for (n, (name, lines)) in shares.iter().enumerate() {
        let width = *lines as f64 * 1000.0 / total as f64;
        bar.push_str(&format!("<rect class=\"t{n}\" x=\"{at:.1}\" width=\"{width:.1}\" height=\"14\"/>"));
        at += width;
        key.push_str(&format!(
            "<span><svg class=\"swatch\" viewBox=\"0 0 1 1\" aria-hidden=\"true\"><rect class=\"t{n}\" width=\"1\" height=\"1\"/></svg>\
             {} <span class=\"soft\">{} lines</span></span>",
            html(name),
            figures::count(*lines)
        ));
    }
    format!(
        "<section aria-labelledby=\"tree\">\n<h2 id=\"tree\">The tree</h2>\n<div class=\"card panel\">\
         <svg viewBox=\"0 0 1000 14\" width=\"100%\" height=\"14\" preserveAspectRatio=\"none\" aria-hidden=\"true\">{bar}</svg>\
         <div class=\"tongues\">{key}</div></div>\n</section>\n"
    )
}

fn files(result: &RunResult) -> String {
    let mut out =
        String::from("<section aria-labelledby=\"files\">\n<h2 id=\"files\">Files of the run</h2>\n");
    out.push_str("<div class=\"card panel\"><ul class=\"files\">\n");
    for file in result.files.iter().take(FILES_MAX) {
        out.push_str(&format!(
            "<li><a href=\"{}\"><code>{}</code></a><span class=\"soft\">{}</span></li>\n",
            html(&link(&file.path)),
            html(&file.path),
            figures::bytes(file.bytes)
        ));
    }
    if result.files.len() > FILES_MAX {
        out.push_str(&format!(
            "<li class=\"soft\">and {} more in the run folder</li>\n",
            figures::count((result.files.len() - FILES_MAX) as u64)
        ));
    }
    out.push_str("</ul></div>\n</section>\n");
    out
}

fn times(count: u32) -> String {
    if count == 1 { "once".into() } else { format!("{count} times") }
}

fn last_part(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Finding, Place};
    use crate::report::build::{Parts, Planned, result, tests::example};
    use crate::report::{Edge, FileResult};
    use crate::task::Report;

    const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u{202e}";

    /// A run in which everything that can bear a name bears a hostile one.
    fn hostile() -> Parts {
        let name = HOSTILE.to_string();
        let finding = Finding {
            rule: name.clone(),
            severity: Severity::High,
            place: Place::line(&name, 1),
            message: name.clone(),
            advice: name.clone(),
        };
        let mut parts = example();
        parts.verdict = None;
        (parts.run, parts.goal, parts.tree) = (name.clone(), name.clone(), name.clone());
        parts.planned.push(Planned {
            id: name.clone(),
            agent: name.clone(),
            goal: name.clone(),
            needs: vec![name.clone(), "lint".into()],
        });
        parts.reports.push(Report {
            agent: name.clone(),
            findings: vec![finding],
            warnings: vec![name.clone(), format!("unavailable: {name}")],
        });
        for line in &mut parts.journal {
            line.why = name.clone();
            if let Some(handoff) = &mut line.handoff {
                handoff.outputs.push(name.clone());
                handoff.metrics.insert(name.clone(), 1.0);
            }
        }
        parts.messages.push(Edge {
            from: name.clone(),
            agents: vec![name.clone()],
            to: name.clone(),
            accepted: 1,
            delivered: 1,
            refused: 0,
            expired: 0,
            cancelled: 0,
            lost: 0,
        });
        parts.files.push(FileResult { path: format!("javascript:{name}"), bytes: 1 });
        parts
    }

    #[test]
    fn no_name_however_hostile_becomes_markup() {
        let page = page(&result(hostile()));
        assert_eq!(page.matches("<script>").count(), 1, "our own");
        assert!(!page.contains("<img") && !page.contains("onerror=alert(2)>"), "markup came through");
        assert!(!page.contains('\u{202e}') && !page.contains("\"javascript:"));
        let quoted = page.split("onerror").count() - 1;
        assert!(quoted > 10, "the names are shown all the same, {quoted} times");
    }

    #[test]
    fn the_page_loads_nothing_and_lets_only_its_own_script_run() {
        let page = page(&result(example()));
        for outside in ["http://", "https://", "src=", "@import", "url(", " style=", " onclick="] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("default-src &#39;none&#39;; style-src &#39;sha256-"));
        assert!(page.contains(&format!("<script>{SCRIPT}</script>")), "hashed as it stands");
    }

    #[test]
    fn the_verdict_comes_before_everything_and_every_part_is_there() {
        let page = page(&result(example()));
        let parts = [
            "id=\"verdict\"",
            "id=\"findings\"",
            "id=\"left\"",
            "id=\"steps\"",
            "id=\"agents\"",
            "id=\"messages\"",
            "id=\"files\"",
        ];
        let at: Vec<usize> = parts.map(|part| page.find(part).expect(part)).into();
        assert!(at.is_sorted(), "{at:?}");
        for told in
            ["1 of 3 findings are high or worse", "needs ruff", "secure: it panicked", "Resumed", "×3"]
        {
            assert!(page.contains(told), "{told}");
        }
    }
}
