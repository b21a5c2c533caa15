//! Clippy: how it is asked, and how Cargo's messages are read.
//!
//! Clippy builds what it looks at, so build scripts and procedural macros of the tree run: it is called on a copy and in a jail. Pure;
//! [`crate::linter::foreign`] calls. One message for two targets of a package (a library and its tests) is one finding, as in Cargo's own count.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::finding::{Finding, Place, Severity};
use crate::tree;

/// Cargo's arguments, but for the manifest.
pub const ARGUMENTS: [&str; 6] =
    ["clippy", "--workspace", "--all-targets", "--offline", "--message-format", "json"];

/// The manifests that Cargo is called for: those with none above them in the tree. `manifests` are paths of `Cargo.toml` files.
pub fn roots<'p>(manifests: impl IntoIterator<Item = &'p str> + Clone) -> Vec<&'p str> {
    let folders: BTreeSet<&str> = manifests.clone().into_iter().map(tree::parent).collect();
    let alone = |path: &&str| {
        let folder = tree::parent(path);
        !tree::ancestors(folder).skip(1).any(|above| folders.contains(above))
    };
    manifests.into_iter().filter(|path| !tree::is_test_data(path)).filter(alone).collect()
}

#[derive(Deserialize)]
struct Line {
    reason: String,
    message: Option<Message>,
}

#[derive(Deserialize)]
struct Message {
    message: String,
    level: String,
    code: Option<Code>,
    #[serde(default)]
    spans: Vec<Span>,
    rendered: Option<String>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Span {
    file_name: String,
    line_start: u32,
    column_start: u32,
    is_primary: bool,
    expansion: Option<Box<Expansion>>,
}

#[derive(Deserialize)]
struct Expansion {
    span: Span,
}

impl Span {
    /// The place in the tree: of the span itself, else of the macro call that led to it. `within` maps a file to its path in the tree.
    fn place(&self, within: &dyn Fn(&str) -> Option<String>) -> Option<Place> {
        let mut span = self;
        loop {
            if let Some(path) = within(&span.file_name) {
                return Some(Place::at(path, span.line_start.max(1), span.column_start.max(1)));
            }
            span = &span.expansion.as_ref()?.span;
        }
    }
}

/// Turns Cargo's JSON lines into findings, one for each message that Cargo would print. `within` maps the file of a message to its path in the
/// tree, and gives nothing for files that lie elsewhere.
pub fn read(stdout: &str, within: &dyn Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for line in stdout.lines() {
        let Ok(Line { reason, message: Some(message) }) = serde_json::from_str::<Line>(line) else {
            continue;
        };
        let severity = match message.level.as_str() {
            "warning" => Severity::Low,
            "error" => Severity::Medium,
            _ => continue,
        };
        let Some(code) = message.code.map(|code| code.code) else {
            // A sum ("3 warnings emitted"), or an error without a name, which has a place.
            if message.level == "error"
                && let Some(place) = place(&message.spans, within)
                && seen.insert(message.rendered.unwrap_or_default())
            {
                findings.push(finding("rustc.error".into(), Severity::Medium, place, message.message, None));
            }
            continue;
        };
        if reason != "compiler-message"
            || !seen.insert(message.rendered.unwrap_or_else(|| message.message.clone()))
        {
            continue;
        }
        let Some(place) = place(&message.spans, within) else { continue };
        let (rule, advice) = match code.strip_prefix("clippy::") {
            Some(lint) => (
                format!("clippy.{lint}"),
                Some(format!("https://rust-lang.github.io/rust-clippy/master/index.html#{lint} explains it")),
            ),
            None if code.starts_with('E') && code[1..].bytes().all(|byte| byte.is_ascii_digit()) => {
                (format!("rustc.{code}"), Some(format!("`rustc --explain {code}` explains it")))
            }
            None => (format!("rustc.{code}"), None),
        };
        findings.push(finding(rule, severity, place, message.message, advice));
    }
    findings
}

fn place(spans: &[Span], within: &dyn Fn(&str) -> Option<String>) -> Option<Place> {
    spans.iter().filter(|span| span.is_primary).find_map(|span| span.place(within))
}

fn finding(
    rule: String,
    severity: Severity,
    place: Place,
    message: String,
    advice: Option<String>,
) -> Finding {
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    Finding::new(
        rule,
        severity,
        place,
        message,
        advice.unwrap_or_else(|| "see what `cargo clippy` says of this line".into()),
    )
}

/// Why Cargo gave up before it compiled anything of the tree, in its own words; `None` if it compiled.
pub fn refused(stdout: &str, stderr: &str) -> Option<String> {
    if stdout.contains("\"reason\":\"compiler-message\"")
        || stdout.contains("\"build-finished\",\"success\":true")
    {
        return None;
    }
    let mut errors = stderr.lines().filter_map(|line| line.strip_prefix("error: "));
    let first = errors.next()?;
    let cause =
        stderr.lines().rev().find(|line| line.starts_with("  ") && !line.trim().is_empty()).map(str::trim);
    Some(match cause {
        Some(cause) if !first.contains(cause) => format!("{first} ({cause})"),
        _ => first.to_string(),
    })
}

/// How many findings there are of each rule, as a reader compares them with the tool's own.
pub fn tally(findings: &[Finding]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for finding in findings {
        *counts.entry(finding.rule.as_str()).or_insert(0) += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: &str, code: &str, file: &str, line: u32) -> String {
        format!(
            r#"{{"reason":"compiler-message","package_id":"x","message":{{"rendered":"{level} {code} {file} {line}","message":"the thing\n is odd","level":"{level}","code":{{"code":"{code}","explanation":null}},"spans":[{{"file_name":"{file}","line_start":{line},"column_start":5,"is_primary":true,"expansion":null}}]}}}}"#
        )
    }

    fn within(file: &str) -> Option<String> {
        (!file.starts_with('/')).then(|| format!("a/{file}"))
    }

    #[test]
    fn messages_keep_the_tools_names_and_doubles_count_once() {
        let output = [
            message("warning", "clippy::needless_return", "src/lib.rs", 3),
            message("warning", "clippy::needless_return", "src/lib.rs", 3),
            message("warning", "unused_variables", "src/lib.rs", 4),
            message("error", "E0308", "src/lib.rs", 5),
            message("error", "clippy::never_loop", "src/lib.rs", 6),
            message("warning", "dead_code", "/registry/x.rs", 1),
            r#"{"reason":"compiler-message","message":{"rendered":"w","message":"3 warnings emitted","level":"warning","code":null,"spans":[]}}"#.into(),
            r#"{"reason":"build-finished","success":false}"#.into(),
            "   Compiling x".into(),
        ]
        .join("\n");
        let told: Vec<_> = read(&output, &within)
            .into_iter()
            .map(|f| format!("{} {} {}", f.severity, f.rule, f.place))
            .collect();
        assert_eq!(
            told,
            [
                "low clippy.needless_return a/src/lib.rs:3:5",
                "low rustc.unused_variables a/src/lib.rs:4:5",
                "medium rustc.E0308 a/src/lib.rs:5:5",
                "medium clippy.never_loop a/src/lib.rs:6:5",
            ]
        );
    }

    #[test]
    fn what_a_macro_of_others_says_is_told_at_its_call() {
        let inner = r#"{"file_name":"/std/macros.rs","line_start":1,"column_start":1,"is_primary":true,"expansion":{"span":{"file_name":"src/b.rs","line_start":9,"column_start":2,"is_primary":false,"expansion":null}}}"#;
        let line = format!(
            r#"{{"reason":"compiler-message","message":{{"rendered":"r","message":"m","level":"warning","code":{{"code":"clippy::x"}},"spans":[{inner}]}}}}"#
        );
        assert_eq!(read(&line, &within)[0].place, Place::at("a/src/b.rs", 9, 2));
    }

    #[test]
    fn a_refusal_is_told_in_cargos_words_and_a_build_is_none() {
        let stderr = "    Updating index\nerror: no matching package named `gone` found\nlocation searched: crates.io index\n  required by package `x`\n";
        let told = refused("", stderr).expect("it refused");
        assert!(told.starts_with("no matching package named `gone` found"), "{told}");
        assert_eq!(refused(r#"{"reason":"build-finished","success":true}"#, ""), None);
    }

    #[test]
    fn only_manifests_at_the_top_are_asked() {
        let manifests = ["Cargo.toml", "a/Cargo.toml", "tests/data/Cargo.toml"];
        assert_eq!(roots(manifests), ["Cargo.toml"]);
        assert_eq!(
            roots(["a/Cargo.toml", "a/b/Cargo.toml", "c/Cargo.toml"]),
            ["a/Cargo.toml", "c/Cargo.toml"]
        );
    }
}
