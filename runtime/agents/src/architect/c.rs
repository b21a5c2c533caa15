//! C and C++: which file includes which.
//!
//! A quoted include is looked for beside its file, then in the folders that projects hand to the compiler (`include`, `src`, the
//! root, every folder above), then anywhere if one file alone fits. The compiler's own search path is not known here, so a
//! name that is found nowhere proves nothing. An include under a condition, beyond a file's own guard, is told as such.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::Tie;
use super::{Link, paths};
use crate::tree;

/// One `#include`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Include {
    /// What stands between the quotes or brackets.
    pub name: String,
    /// Whether it is quoted rather than in angle brackets.
    pub quoted: bool,
    /// The line, from 1.
    pub line: u32,
    /// [`Tie::Uses`], or [`Tie::Deferred`] under a condition.
    pub tie: Tie,
}

/// What one file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scan {
    /// What it includes.
    pub includes: Vec<Include>,
    /// Whether it keeps itself from being included twice.
    pub guarded: bool,
}

/// Scans one file.
pub fn scan(text: &str) -> Scan {
    let mut scan = Scan::default();
    // For each open condition, whether it is the guard of the whole file.
    let mut conditions: Vec<bool> = Vec::new();
    let mut guard: Option<String> = None;
    let mut first = true;
    for (number, line) in (1u32..).zip(blank_comments(text).lines()) {
        let Some(directive) = line.trim_start().strip_prefix('#') else {
            first &= line.trim().is_empty();
            continue;
        };
        let directive = directive.trim_start();
        let end = directive.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(directive.len());
        let (word, rest) = directive.split_at(end);
        let rest = rest.trim();
        match word {
            "ifndef" | "if" if first => {
                let inner = rest.strip_prefix("!defined").or_else(|| rest.strip_prefix("! defined"));
                let name = if word == "ifndef" { Some(rest) } else { inner };
                guard = name.map(|name| name.trim_matches(['(', ')', ' ']).to_string());
                conditions.push(guard.is_some());
            }
            "if" | "ifdef" | "ifndef" => conditions.push(false),
            // C++ or not: both ways include the same.
            "else" | "elif" | "elifdef" | "elifndef" => {
                if let Some(last) = conditions.last_mut() {
                    *last = false;
                }
            }
            "endif" => {
                conditions.pop();
            }
            "define" if guard.as_deref() == rest.split_whitespace().next() && conditions.len() == 1 => {
                scan.guarded = true;
            }
            "pragma" if rest.split_whitespace().next() == Some("once") => scan.guarded = true,
            "include" | "include_next" | "import" => {
                let (open, close) = match rest.chars().next() {
                    Some('"') => ('"', '"'),
                    Some('<') => ('<', '>'),
                    _ => continue,
                };
                let Some(name) = rest[1..].split(close).next().filter(|name| name.len() + 2 <= rest.len())
                else {
                    continue;
                };
                let tie = if conditions.iter().all(|guard| *guard) { Tie::Uses } else { Tie::Deferred };
                let name = name.replace('\\', "/");
                if !name.is_empty() && word != "include_next" {
                    scan.includes.push(Include { name, quoted: open == '"', line: number, tie });
                }
            }
            _ => {}
        }
        first = false;
    }
    scan
}

/// The text with comments blanked out, lines kept; strings stay, and hide what looks like a comment.
fn blank_comments(text: &str) -> String {
    let mut out = text.as_bytes().to_vec();
    let mut at = 0;
    while at < out.len() {
        match out[at] {
            quote @ (b'"' | b'\'') => {
                at += 1;
                while at < out.len() && out[at] != quote && out[at] != b'\n' {
                    at += if out[at] == b'\\' && out.get(at + 1) != Some(&b'\n') { 2 } else { 1 };
                }
                at += 1;
            }
            b'/' if out.get(at + 1) == Some(&b'/') => {
                while at < out.len() && out[at] != b'\n' {
                    // A comment goes on behind a backslash at the end of its line.
                    if out[at] == b'\\' && out.get(at + 1) == Some(&b'\n') {
                        out[at] = b' ';
                        at += 2;
                        continue;
                    }
                    out[at] = b' ';
                    at += 1;
                }
            }
            b'/' if out.get(at + 1) == Some(&b'*') => {
                let end = out[at + 2..].windows(2).position(|pair| pair == b"*/");
                let end = end.map_or(out.len(), |n| at + n + 4);
                out[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
                at = end;
            }
            _ => at += 1,
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What is known of the includes of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Includes {
    /// Who includes whom.
    pub links: Vec<Link>,
    /// Quoted includes that name no file of the tree: file, line, name.
    pub unresolved: Vec<(String, u32, String)>,
}

/// Resolves the includes of every file.
pub fn link(scans: &BTreeMap<String, Scan>) -> Includes {
    let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for path in scans.keys() {
        by_name.entry(tree::name(path)).or_default().push(path);
    }
    let mut found = Includes::default();
    for (file, scan) in scans {
        let mut seen = BTreeSet::new();
        for include in &scan.includes {
            match resolve(file, include, scans, &by_name) {
                Some(to) if to != *file => {
                    // A template that is included on purpose to complete a header ties nothing by itself.
                    let tie = if completes(&to, file) || completes(file, &to) {
                        Tie::Deferred
                    } else {
                        include.tie
                    };
                    if seen.insert((to.clone(), tie)) {
                        found.links.push(Link { from: file.clone(), to, tie, line: include.line });
                    }
                }
                None if include.quoted => {
                    found.unresolved.push((file.clone(), include.line, include.name.clone()));
                }
                _ => {}
            }
        }
    }
    found
}

/// Whether `part` is the body that a header of the same stem takes in: `list-inl.h` for `list.h`.
fn completes(part: &str, header: &str) -> bool {
    let stem = |path: &str| tree::name(path).split('.').next().unwrap_or("").to_string();
    let (part_stem, header_stem) = (stem(part), stem(header));
    let inline =
        matches!(tree::extension(part).as_str(), "inl" | "inc" | "ipp" | "tpp" | "tcc" | "txx" | "ixx");
    let tail = part_stem.strip_prefix(header_stem.as_str()).unwrap_or("").trim_start_matches(['-', '_']);
    (inline && part_stem == header_stem)
        || matches!(tail, "inl" | "inline" | "impl" | "detail" | "template" | "private" | "internal" | "ext")
}

fn resolve(
    file: &str,
    include: &Include,
    scans: &BTreeMap<String, Scan>,
    by_name: &BTreeMap<&str, Vec<&str>>,
) -> Option<String> {
    let there = |path: Option<String>| path.filter(|path| scans.contains_key(path));
    let folder = tree::parent(file);
    if include.quoted
        && let Some(path) = there(paths::resolve(folder, &include.name))
    {
        return Some(path);
    }
    for above in tree::ancestors(folder) {
        for usual in ["include", "inc", "src", ""] {
            if usual.is_empty() && !include.quoted {
                continue;
            }
            if let Some(path) = there(paths::resolve(&tree::join(above, usual), &include.name)) {
                return Some(path);
            }
        }
    }
    // A system header of the same name may be meant by angle brackets.
    if !include.quoted || include.name.contains("..") {
        return None;
    }
    let end = format!("/{}", include.name);
    let mut fits = by_name.get(tree::name(&include.name))?.iter().filter(|path| path.ends_with(&end));
    match (fits.next(), fits.next()) {
        (Some(path), None) => Some((*path).to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn includes(sources: &[(&str, &str)]) -> Includes {
        link(&sources.iter().map(|(path, text)| (path.to_string(), scan(text))).collect())
    }

    fn told(found: &Includes) -> Vec<String> {
        found.links.iter().map(|l| format!("{}:{} {} {:?}", l.from, l.line, l.to, l.tie)).collect()
    }

    #[test]
    fn includes_are_found_beside_the_file_and_where_projects_keep_headers() {
        let found = includes(&[
            (
                "src/a.c",
                "#include \"a.h\"\n#  include <lib/b.h>\n#include <stdio.h>\n#include \"config.h\"\n#include \"deep.h\"\n#include \"../util/u.h\"\n",
            ),
            (
                "src/a.h",
                "// #include \"no.h\"\n/*\n#include \"no.h\"\n*/\nchar *s = \"/*\";\n#include \"c.h\" /* why */\n",
            ),
            ("src/c.h", ""),
            ("include/lib/b.h", ""),
            ("x/y/deep.h", ""),
            ("util/u.h", ""),
            ("stdio.h", ""),
        ]);
        assert_eq!(
            told(&found),
            [
                "src/a.c:1 src/a.h Uses",
                "src/a.c:2 include/lib/b.h Uses",
                "src/a.c:5 x/y/deep.h Uses",
                "src/a.c:6 util/u.h Uses",
                "src/a.h:6 src/c.h Uses",
            ]
        );
        assert_eq!(found.unresolved, [("src/a.c".to_string(), 4, "config.h".to_string())]);
    }

    #[test]
    fn two_files_that_fit_alike_are_no_answer() {
        let found = includes(&[("m/a.c", "#include \"x.h\"\n"), ("p/x.h", ""), ("q/x.h", "")]);
        assert!(found.links.is_empty());
    }

    #[test]
    fn a_guard_is_no_condition_and_everything_else_is() {
        let scan = scan(
            "/* licence */\n#ifndef A_H\n#define A_H 1\n#include \"a.h\"\n#ifdef X\n#include \"b.h\"\n#else\n#include \"c.h\"\n#endif\n#include \"d.h\"\n#endif\n",
        );
        let ties: Vec<_> = scan.includes.iter().map(|i| (i.name.as_str(), i.tie)).collect();
        assert_eq!(
            ties,
            [("a.h", Tie::Uses), ("b.h", Tie::Deferred), ("c.h", Tie::Deferred), ("d.h", Tie::Uses)]
        );
        assert!(scan.guarded);
        assert!(
            super::scan("#pragma once\n").guarded
                && !super::scan("int x;\n#ifndef Y\n#define Y\n#endif\n").guarded
        );
    }

    #[test]
    fn a_header_completed_by_its_template_is_tied_loosely() {
        let found = includes(&[("v.h", "#include \"v-inl.h\"\n"), ("v-inl.h", "#include \"v.h\"\n")]);
        assert!(found.links.iter().all(|link| link.tie == Tie::Deferred));
    }
}
