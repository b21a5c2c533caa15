//! The pages: runs as a list, and the files of one run, as a browser may safely show them.
//!
//! What a tree under review says ends up in these files, so none of it is trusted: only `report.html` is shown as HTML, without any
//! right to load or send anything; everything else is text, an image in a sandbox, or a download.

use std::fmt::Write as _;
use std::path::Path;

use synod_platform::files::{self, FilesError, Kind, WalkLimits};

use crate::problem::Problem;
use crate::request::{Answer, escape};
use crate::runs::order::{State, Told};

/// The page of a run that its result is told on.
pub const REPORT: &str = "report.html";
/// Largest file that is served, in bytes.
const FILE_MAX: u64 = 64 << 20;
/// What a page of ours may do: show itself with its own styles.
const OWN: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// What the report may do: what its own policy, which names its script by hash, leaves of this.
const REPORTED: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// What a file of a run may do: nothing.
const NOTHING: &str =
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.35rem .75rem .35rem 0;border-bottom:1px solid #d8dde3;vertical-align:top}\
td.id{font-family:ui-monospace,monospace;white-space:nowrap}a{color:#0b57d0}progress{width:8rem}.quiet{color:#57606a}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th,td{border-color:#30363d}a{color:#79b8ff}.quiet{color:#9198a1}}";

fn page(title: &str, refresh: bool, body: &str) -> Answer {
    let again = if refresh { "<meta http-equiv=\"refresh\" content=\"2\">" } else { "" };
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         {again}<title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>{body}</body></html>\n",
        title = text(title)
    );
    Answer::page(200, html).with("content-security-policy", OWN).with("cache-control", "no-store")
}

/// Text within HTML.
fn text(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The list of runs.
pub fn list(node: &str, runs: &[Told], more: bool) -> Answer {
    let mut body = String::new();
    if runs.is_empty() {
        body.push_str("<p>No run yet. <code>synod run review --path TREE</code> starts one.</p>");
    } else {
        body.push_str("<table><tr><th>Run<th>Began<th>State<th>Why</tr>");
        for run in runs {
            let state = run.outcome.as_deref().unwrap_or(run.state.word());
            let _ = write!(
                body,
                "<tr><td class=\"id\"><a href=\"/runs/{}/\">{}</a><td>{}<td>{}<td>{}</tr>",
                escape(&run.id),
                text(&run.id),
                text(&run.began),
                text(state),
                text(&run.why)
            );
        }
        body.push_str("</table>");
    }
    if more {
        body.push_str("<p class=\"quiet\">Older runs are left out: see their folder.</p>");
    }
    page(&format!("Runs of {node}"), runs.iter().any(|run| run.state == State::Running), &body)
}

/// The page of a run that has no report: how far it is, or the files it left.
pub async fn run(told: &Told, folder: &Path) -> Answer {
    let mut body = format!(
        "<p><a href=\"/runs\">All runs</a></p><p><strong>{}</strong>",
        text(told.outcome.as_deref().unwrap_or(told.state.word()))
    );
    if !told.why.is_empty() {
        let _ = write!(body, ": {}", text(&told.why));
    }
    body.push_str("</p>");
    if !told.tree.is_empty() {
        let _ = write!(body, "<p>{}, begun {}</p>", text(&told.tree), text(&told.began));
    }
    if told.state == State::Running {
        body.push_str("<table><tr><th>Agent<th>So far<th>Doing</tr>");
        for agent in &told.agents {
            let percent = (agent.fraction * 100.0).round();
            let _ = write!(
                body,
                "<tr><td>{}<td><progress max=\"100\" value=\"{percent}\">{percent} %</progress><td>{}</tr>",
                text(&agent.agent.to_uppercase()),
                text(&agent.sentence)
            );
        }
        body.push_str("</table>");
    } else {
        let limits = WalkLimits { honour_ignores: false, ..WalkLimits::default() };
        // A run that failed early has no folder.
        let entries = files::walk(folder, limits).await.map(|walk| walk.entries).unwrap_or_default();
        body.push_str("<ul>");
        for entry in entries.iter().filter(|entry| entry.kind == Kind::File) {
            let path = entry.path.to_string_lossy();
            let link: Vec<String> = path.split('/').map(escape).collect();
            let _ = write!(
                body,
                "<li><a href=\"/runs/{}/{}\">{}</a>",
                escape(&told.id),
                link.join("/"),
                text(&path)
            );
        }
        body.push_str("</ul>");
    }
    page(&told.id, told.state == State::Running, &body)
}

/// One file of a run folder. Links are not followed, and nothing outside of the folder is reached.
pub async fn file(folder: &Path, parts: &[String], place: &str) -> Result<Answer, Problem> {
    let relative = parts.join("/");
    let bytes = match files::read_below(folder, Path::new(&relative), FILE_MAX).await {
        Ok(bytes) => bytes,
        Err(error @ FilesError::TooLarge { .. }) => {
            return Err(Problem::new(413, error.to_string(), place, "read it from the run folder itself"));
        }
        Err(_) => return Err(Problem::absent(place)),
    };
    let (media, rights) = media(&relative);
    let answer = Answer::of(200, media, bytes)
        .with("content-security-policy", rights)
        .with("cache-control", "no-cache");
    Ok(if media == "application/octet-stream" {
        answer.with("content-disposition", "attachment")
    } else {
        answer
    })
}

/// How a file is shown, by its name, and what it may do.
fn media(name: &str) -> (&'static str, &'static str) {
    if name == REPORT {
        return ("text/html; charset=utf-8", REPORTED);
    }
    let extension =
        name.rsplit('/').next().unwrap_or(name).rsplit_once('.').map_or("", |(_, extension)| extension);
    let media = match extension.to_ascii_lowercase().as_str() {
        "json" | "sarif" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "md" | "txt" | "toml" | "yaml" | "yml" | "jsonl" | "log" | "xml" | "dot" | "csv" | "html"
        | "lcov" | "info" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    (media, NOTHING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_report_is_html_and_what_is_unknown_is_a_download() {
        assert_eq!(media("report.html").0, "text/html; charset=utf-8");
        for (name, is) in [
            ("docgen/report.html", "text/plain; charset=utf-8"),
            ("x.HTML", "text/plain; charset=utf-8"),
            ("a/b.sarif", "application/json"),
            ("graph.svg", "image/svg+xml"),
            ("a.b/noextension", "application/octet-stream"),
            ("x.js", "application/octet-stream"),
        ] {
            assert_eq!(media(name), (is, NOTHING), "{name}");
        }
    }

    #[test]
    fn what_a_run_says_of_itself_is_text_and_no_markup() {
        assert_eq!(text("<b a='1'>&\""), "&lt;b a=&#39;1&#39;&gt;&amp;&quot;");
    }
}
