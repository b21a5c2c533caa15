//! Files in TOML and JSON that a parser of that language refuses, with line and column.
//!
//! Templates (with `{{` or `{%`) are not judged. JSON with comments or trailing commas is told mildly, not at all
//! where the tool that reads the file is known to allow them, and as broken where it is known to refuse them.

use serde::de::IgnoredAny;

use crate::finding::{Finding, Place, Severity};
use crate::tree;

/// Finds what does not parse.
pub fn check(path: &str, text: &str) -> Option<Finding> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if path.to_ascii_lowercase().contains("template") || text.contains("{{") || text.contains("{%") {
        return None;
    }
    match (tree::name(path), tree::extension(path).as_str()) {
        ("Cargo.lock" | "poetry.lock" | "uv.lock" | "Pipfile", _) | (_, "toml") => check_toml(path, text),
        ("composer.lock" | "Pipfile.lock", _) | (_, "json") => check_json(path, text),
        _ => None,
    }
}

fn check_toml(path: &str, text: &str) -> Option<Finding> {
    let error = toml::from_str::<toml::Table>(text).err()?;
    let (line, column) = tree::position(text, error.span().map_or(0, |span| span.start));
    Some(Finding::new(
        "lint.toml-syntax",
        Severity::High,
        Place::at(path, line, column),
        format!("not valid TOML: {}", one_line(error.message())),
        "correct the line; whatever reads this file stops here",
    ))
}

fn check_json(path: &str, text: &str) -> Option<Finding> {
    let error = serde_json::from_str::<IgnoredAny>(text).err()?;
    let place = || Place::at(path, number(error.line()).max(1), number(error.column()).max(1));
    if text.trim().is_empty() {
        return Some(Finding::new(
            "lint.json-empty",
            Severity::Low,
            Place::file(path),
            "an empty file is no JSON document",
            "write `{}` or `null`, or delete the file",
        ));
    }
    let documents = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    let documents: Result<Vec<_>, _> = documents.collect();
    if let Ok(documents) = documents {
        return Some(Finding::new(
            "lint.json-many",
            Severity::Info,
            place(),
            format!("{} JSON documents in one file; most readers stop after the first", documents.len()),
            "call it .jsonl or .ndjson, or make it one array",
        ));
    }
    if !is_strict(path) && serde_json::from_str::<IgnoredAny>(&without_comments(text)).is_ok() {
        if allows_comments(path) {
            return None;
        }
        return Some(Finding::new(
            "lint.json-comments",
            Severity::Info,
            place(),
            "comments or trailing commas: only lenient readers take this as JSON",
            "call it .jsonc or .json5, or take them out",
        ));
    }
    let reason = error.to_string();
    let reason = reason.split(" at line ").next().unwrap_or(&reason);
    Some(Finding::new(
        "lint.json-syntax",
        Severity::High,
        place(),
        format!("not valid JSON: {}", one_line(reason)),
        "correct the line; whatever reads this file stops here",
    ))
}

/// Manifests and lock files, which no package manager reads with comments or trailing commas in them.
fn is_strict(path: &str) -> bool {
    matches!(
        tree::name(path),
        "package.json"
            | "package-lock.json"
            | "npm-shrinkwrap.json"
            | "composer.json"
            | "composer.lock"
            | "Pipfile.lock"
    )
}

/// Files whose readers are known to allow comments.
fn allows_comments(path: &str) -> bool {
    let file = tree::name(path);
    let folder = tree::name(tree::parent(path));
    matches!(folder, ".vscode" | ".devcontainer" | ".zed" | ".cursor")
        || file.starts_with("tsconfig")
        || file.starts_with("jsconfig")
        || file.starts_with(".")
        || matches!(
            file,
            "devcontainer.json"
                | "deno.json"
                | "api-extractor.json"
                | "language-configuration.json"
                | "renovate.json"
                | "turbo.json"
                | "nx.json"
                | "biome.json"
                | "typedoc.json"
                | "settings.json"
                | "keybindings.json"
                | "launch.json"
                | "tasks.json"
        )
}

/// The text with `//` and `/* */` comments and trailing commas blanked out, outside of strings; offsets stay.
fn without_comments(text: &str) -> String {
    let mut out: Vec<u8> = text.as_bytes().to_vec();
    let (mut at, mut comma) = (0, None);
    while at < out.len() {
        let rest = &out[at..];
        if rest[0] == b'"' {
            comma = None;
            at += 1;
            while at < out.len() && out[at] != b'"' {
                at += if out[at] == b'\\' { 2 } else { 1 };
            }
            at += 1;
        } else if rest.starts_with(b"//") || rest.starts_with(b"/*") {
            let end = if rest[1] == b'/' {
                rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
            } else {
                rest.windows(2).skip(2).position(|pair| pair == b"*/").map_or(rest.len(), |found| found + 4)
            };
            out[at..at + end].fill(b' ');
            at += end;
        } else {
            match rest[0] {
                b',' => comma = Some(at),
                b']' | b'}' => {
                    if let Some(comma) = comma.take() {
                        out[comma] = b' ';
                    }
                }
                byte if byte.is_ascii_whitespace() => {}
                _ => comma = None,
            }
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &str, text: &str) -> Option<(String, String)> {
        check(path, text).map(|finding| (finding.rule.clone(), finding.place.to_string()))
    }

    #[test]
    fn broken_toml_and_json_are_found_at_their_line_and_column() {
        assert_eq!(
            told("Cargo.toml", "[package]\nname = \n"),
            Some(("lint.toml-syntax".into(), "Cargo.toml:2:8".into()))
        );
        assert_eq!(
            told("a.json", "{\n  \"a\": 1\n  \"b\": 2\n}"),
            Some(("lint.json-syntax".into(), "a.json:3:3".into()))
        );
        assert_eq!(
            told("a.json", "{\"a\": 1e999, \"deep\": [[[]]], \"s\": \"\\ud800\"}"),
            None,
            "valid, if odd"
        );
    }

    #[test]
    fn valid_files_and_templates_are_silent() {
        assert_eq!(told("a.toml", "a = 1\n[b]\nc = [1, 2]\n"), None);
        assert_eq!(told("a.json", "\u{feff}{\"a\": [1, 2]}"), None);
        assert_eq!(told("a.json", "{\"name\": \"{{ cookiecutter.name }}\", }"), None);
        assert_eq!(told("a.txt", "{"), None);
    }

    #[test]
    fn comments_are_told_mildly_and_only_where_no_reader_allows_them() {
        let text = "{\n  // why\n  \"url\": \"http://x\", /* so */\n  \"b\": [1, 2,],\n}";
        let finding = check("data/a.json", text).expect("strict readers refuse it");
        assert_eq!((finding.rule.as_str(), finding.severity), ("lint.json-comments", Severity::Info));
        assert_eq!(told("tsconfig.base.json", text), None);
        assert_eq!(told(".vscode/x.json", text), None);
    }

    #[test]
    fn manifests_and_lock_files_are_broken_by_what_their_readers_refuse() {
        let finding = check("web/package.json", "{\n  \"name\": \"x\",\n}\n").expect("npm refuses it");
        assert_eq!((finding.rule.as_str(), finding.severity), ("lint.json-syntax", Severity::High));
        assert_eq!(finding.place.to_string(), "web/package.json:3:1");
        assert_eq!(
            told("Cargo.lock", "version = 4\n<<<<<<< HEAD\n"),
            Some(("lint.toml-syntax".into(), "Cargo.lock:2:9".into()))
        );
        assert_eq!(told("Cargo.lock", "version = 4\n"), None);
    }

    #[test]
    fn many_documents_or_none_are_told_as_such() {
        assert_eq!(told("a.json", "{}\n{}\n").map(|t| t.0), Some("lint.json-many".into()));
        assert_eq!(told("a.json", " \n").map(|t| t.0), Some("lint.json-empty".into()));
    }
}
