//! Relative links in Markdown that point at nothing in the tree.
//!
//! Judged are links whose target looks like a file (an extension that files have). Silent on anything a site
//! generator, a forge or a documentation tool may resolve by its own rules: absolute paths, targets without an
//! extension, `.html`, item paths, templates, and whatever leads out of the tree. Code is passed over.

use crate::finding::{Finding, Place, Severity};
use crate::tree;

const FILES: &[&str] = &[
    "md", "markdown", "mdx", "rst", "txt", "adoc", "png", "jpg", "jpeg", "gif", "svg", "webp", "ico", "pdf",
    "rs", "py", "pyi", "js", "mjs", "cjs", "ts", "tsx", "jsx", "go", "c", "h", "cc", "cpp", "hpp", "java",
    "rb", "sh", "toml", "json", "yaml", "yml", "xml", "csv", "ipynb", "sql", "proto", "lock", "cfg", "ini",
    "css", "scss", "mp4", "webm",
];

/// The name of the check.
pub const RULE: &str = "lint.broken-link";

/// The path from the root that a link in `file` to `target` names, if only a file of the tree can satisfy it.
pub fn target_path(file: &str, target: &str) -> Option<String> {
    tree::resolve(tree::parent(file), &file_target(target)?)
}

/// Finds links to nothing. `exists` takes a path relative to the root of the tree.
pub fn check(path: &str, text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !matches!(tree::extension(path).as_str(), "md" | "markdown")
        || path.to_ascii_lowercase().contains("template")
    {
        return findings;
    }
    for link in links(text) {
        if let Some(full) = target_path(path, &link.target)
            && !exists(&full)
        {
            findings.push(Finding::new(
                RULE,
                Severity::Low,
                Place::at(path, link.line, link.column),
                format!("the link to `{}` points at nothing in this tree", link.target),
                "correct the target, or add the file",
            ));
        }
    }
    findings
}

struct Link {
    target: String,
    line: u32,
    column: u32,
}

/// Inline links and images, and reference definitions, outside of code and comments.
fn links(text: &str) -> Vec<Link> {
    let mut links = Vec::new();
    let mut fence: Option<String> = None;
    let mut comment = false;
    let mut after_blank = true;
    for (number, raw) in (1u32..).zip(text.lines()) {
        let trimmed = raw.trim_start();
        let mark: String = trimmed.chars().take_while(|c| *c == '`' || *c == '~').collect();
        if let Some(open) = &fence {
            if mark.starts_with(open.as_str()) && trimmed[mark.len()..].trim().is_empty() {
                fence = None;
            }
            continue;
        }
        if mark.len() >= 3 && !trimmed[mark.len()..].contains('`') {
            fence = Some(mark);
            continue;
        }
        let indented = raw.starts_with("    ") || raw.starts_with('\t');
        let item = trimmed.starts_with(['-', '*', '+']) || trimmed.starts_with(|c: char| c.is_ascii_digit());
        if indented && after_blank && !item {
            continue;
        }
        after_blank = trimmed.is_empty();
        let line = without_code(raw, &mut comment);
        let mut from = 0;
        while let Some(found) = line[from..].find("](") {
            let start = from + found + 2;
            if let Some(target) = destination(&line[start..]) {
                links.push(Link { target, line: number, column: column(raw, start) });
            }
            from = start;
        }
        if let Some((label, rest)) =
            line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]:"))
            && !label.starts_with('^')
            && !label.contains(']')
            && let Some(target) = rest.split_whitespace().next()
        {
            let target = target.trim_start_matches('<').trim_end_matches('>').to_string();
            links.push(Link { target, line: number, column: 1 });
        }
    }
    links
}

fn column(line: &str, offset: usize) -> u32 {
    let cut = line.get(..offset).map_or(offset, |before| before.chars().count());
    u32::try_from(cut + 1).unwrap_or(u32::MAX)
}

/// The line with inline code and HTML comments blanked out, length kept; `comment` carries over lines.
fn without_code(line: &str, comment: &mut bool) -> String {
    let mut out = line.as_bytes().to_vec();
    let mut at = 0;
    while at < out.len() {
        if *comment {
            let end = line[at..].find("-->").map(|found| at + found + 3);
            *comment = end.is_none();
            let end = end.unwrap_or(out.len());
            out[at..end].fill(b' ');
            at = end;
        } else if out[at..].starts_with(b"<!--") {
            *comment = true;
        } else if out[at] == b'`' {
            let ticks = out[at..].iter().take_while(|byte| **byte == b'`').count();
            let body = at + ticks;
            let close = "`".repeat(ticks);
            let end = line[body..].find(&close).map_or(body, |found| body + found + ticks);
            out[at..end].fill(b' ');
            at = end;
        } else if out[at] == b'\\' {
            at += 2;
        } else {
            at += 1;
        }
        while at < out.len() && !line.is_char_boundary(at) {
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The destination of an inline link, given what follows its opening parenthesis.
fn destination(rest: &str) -> Option<String> {
    let rest = rest.trim_start();
    if let Some(angled) = rest.strip_prefix('<') {
        return angled.split_once('>').map(|(target, _)| target.to_string());
    }
    let mut depth = 0;
    for (at, character) in rest.char_indices() {
        match character {
            '(' => depth += 1,
            ')' if depth == 0 => return Some(rest[..at].to_string()),
            ')' => depth -= 1,
            character if character.is_whitespace() => {
                return rest[at..].contains(')').then(|| rest[..at].to_string());
            }
            _ => {}
        }
    }
    None
}

/// The path a link names, if it is one that only a file in the tree can satisfy.
fn file_target(target: &str) -> Option<String> {
    let path = target.split(['#', '?']).next().unwrap_or("");
    let odd =
        |c: char| matches!(c, '{' | '}' | '$' | '<' | '>' | '*' | '|' | '\\' | '"' | '\'' | ',' | ';' | '=');
    if path.is_empty() || path.starts_with(['/', '@', '~', '%']) || path.contains(':') || path.contains(odd) {
        return None;
    }
    let path = decode(path)?;
    let extension = tree::extension(&path);
    let example = path.contains("path/to") || path.contains("...") || path.contains("example.");
    (FILES.contains(&extension.as_str()) && !example).then_some(path)
}

fn decode(path: &str) -> Option<String> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(text: &str) -> Vec<String> {
        let exists = |path: &str| ["docs/a.md", "img/logo.svg", "LICENSE.txt"].contains(&path);
        check("docs/guide.md", text, &exists).into_iter().map(|finding| finding.place.to_string()).collect()
    }

    #[test]
    fn a_link_to_nothing_is_found_with_line_and_column() {
        assert_eq!(broken("see\n\nthe [plan](plan.md) and [a](a.md#top)\n"), ["docs/guide.md:3:12"]);
        assert_eq!(broken("[![logo](../img/logo.svg)](../img/gone.svg)"), ["docs/guide.md:1:28"]);
        assert_eq!(broken("[ref]: ./gone.md \"title\"\n"), ["docs/guide.md:1:1"]);
        assert_eq!(broken("[x](a%2emd) [y](<gone too.md>)").len(), 1);
    }

    #[test]
    fn what_others_resolve_is_left_to_them() {
        for text in [
            "[web](https://example.org/x.md) [mail](mailto:a@b.md) [top](#top)",
            "[item](crate::Thing) [doc](struct.Thing.html) [site](/x.md) [forge](../../issues) [page](page)",
            "[out](../../other/x.md)",
            "[tpl]({{ site }}/x.md) [var]($x.md)",
            "[call](function(a.b))",
        ] {
            assert!(broken(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn code_and_comments_hold_no_links() {
        for text in [
            "```\n[x](gone.md)\n```\n",
            "~~~~ text\n[x](gone.md)\n~~~~\n",
            "`[x](gone.md)` and ``[y](`gone.md)``",
            "para\n\n    [x](gone.md)\n",
            "<!-- [x](gone.md)\n[y](gone.md) -->",
        ] {
            assert!(broken(text).is_empty(), "{text}");
        }
        assert_eq!(broken("```\ncode\n```\n[x](gone.md)").len(), 1, "after the fence it counts again");
    }

    #[test]
    fn any_text_is_read_without_a_panic() {
        proptest::proptest!(|(text in "[\\[\\]()`<>!~ a-zä\\\\#.\n-]{0,80}")| {
            broken(&text);
        });
    }
}
