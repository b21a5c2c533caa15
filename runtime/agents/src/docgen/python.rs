//! The public names of one Python module: classes, functions and methods, by their indentation.
//!
//! Public is what `__all__` names where it is a plain list, else what does not begin with an underscore. Definitions within `if`, `try`
//! and `with` count; those within functions do not. Dunder methods, overloads and setters are left out.

use crate::docgen::crates::once;
use crate::docgen::item::{Item, Kind};

/// A line as Python sees it: with its continuations, without its comment.
struct Line<'t> {
    indent: usize,
    number: u32,
    text: &'t str,
}

/// A block that is open.
struct Block {
    indent: usize,
    /// The class's name with those around it; none for any other block.
    class: Option<String>,
    /// Whether nothing within it is public.
    closed: bool,
}

/// The name of the module in `file`; none if the path says that it is private or a script.
pub fn module_name(file: &str) -> Option<String> {
    let path = file.strip_suffix(".py")?;
    let path = path
        .strip_prefix("src/")
        .or_else(|| path.strip_prefix("lib/"))
        .or_else(|| path.strip_prefix("Lib/"))
        .unwrap_or(path);
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.last() == Some(&"__init__") && parts.len() > 1 {
        parts.pop();
    }
    let is_name = |part: &&str| {
        part.chars().all(|c| c.is_alphanumeric() || c == '_') && !part.starts_with(|c: char| c.is_numeric())
    };
    let private = parts.iter().any(|part| part.starts_with('_') && *part != "__init__");
    (!private && parts.iter().all(is_name)).then(|| parts.join("."))
}

/// Lists the module `name` in `file`.
pub fn scan(text: &str, name: &str, file: &str) -> Vec<Item> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = lines(text);
    let item = |kind, name: String, signature: String, line, doc, counted| Item {
        kind,
        name,
        signature,
        file: file.to_string(),
        line,
        doc,
        counted,
    };
    let doc = lines.first().and_then(|line| docstring(line.text));
    let module = item(Kind::Module, name.into(), name.into(), 1, doc, !text.trim().is_empty());
    let mut found = vec![];
    let mut all: Option<Vec<String>> = None;
    let mut variables: Vec<(String, u32)> = Vec::new();
    let mut open: Vec<Block> = Vec::new();
    let mut decorators: Vec<&str> = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        while open.last().is_some_and(|block| line.indent <= block.indent) {
            open.pop();
        }
        let closed = open.iter().any(|block| block.closed);
        if let Some(decorator) = line.text.strip_prefix('@') {
            decorators.push(decorator);
            continue;
        }
        let definition = line.text.strip_prefix("async ").map_or(line.text, str::trim_start);
        let class = definition.strip_prefix("class ").map(str::trim_start);
        let function = definition.strip_prefix("def ").map(str::trim_start);
        if let Some(rest) = class.or(function) {
            let short: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let header = header(line.text);
            let around = open.iter().rev().find_map(|block| block.class.as_deref());
            let shadowed = decorators.iter().any(|one| {
                let one = one.split('(').next().unwrap_or(one).trim();
                one == "overload"
                    || one.ends_with(".overload")
                    || one.ends_with(".setter")
                    || one.ends_with(".deleter")
            });
            let qualified = around.map_or_else(|| short.clone(), |around| format!("{around}.{short}"));
            let after = line.text[header.len()..].trim_start_matches(':').trim();
            let body = lines.get(n + 1).filter(|next| next.indent > line.indent);
            let doc =
                if after.is_empty() { body.and_then(|next| docstring(next.text)) } else { docstring(after) };
            let private = short.starts_with('_') || short.is_empty();
            if !closed && !shadowed && (around.is_none() || !private) {
                let kind = match (class.is_some(), around) {
                    (true, _) => Kind::Class,
                    (false, Some(_)) => Kind::Method,
                    (false, None) => Kind::Function,
                };
                found.push((
                    qualified.clone(),
                    item(kind, format!("{name}.{qualified}"), one_line(header), line.number, doc, true),
                ));
            }
            // A private class at the top may be public by `__all__`; within a class it is not.
            let closed = class.is_none() || (around.is_some() && private);
            open.push(Block { indent: line.indent, class: class.map(|_| qualified), closed });
        } else if open.iter().all(|block| block.class.is_none() && !block.closed) {
            if let Some(rest) = line.text.strip_prefix("__all__") {
                let rest = rest.trim_start();
                let names = rest.strip_prefix("+=").or_else(|| rest.strip_prefix('=')).and_then(plain_names);
                all = match (all, names) {
                    (Some(mut all), Some(names)) => {
                        all.extend(names);
                        Some(all)
                    }
                    (None, Some(names)) if !rest.starts_with('+') => Some(names),
                    _ => None,
                };
            }
            let short: String = line.text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let after = line.text[short.len()..].trim_start();
            if !short.is_empty()
                && (after.starts_with(':') || after.starts_with('=') && !after.starts_with("=="))
            {
                variables.push((short, line.number));
            }
            if line.text.ends_with(':') {
                open.push(Block { indent: line.indent, class: None, closed: line.text.contains("__main__") });
            }
        }
        decorators.clear();
    }
    let top = |qualified: &str| qualified.split('.').next().unwrap_or(qualified).to_string();
    let mut items = vec![module];
    match all {
        Some(all) => {
            items.extend(
                found
                    .iter()
                    .filter(|(qualified, _)| all.contains(&top(qualified)))
                    .map(|(_, item)| item.clone()),
            );
            for wanted in all.iter().filter(|wanted| !found.iter().any(|(qualified, _)| qualified == *wanted))
            {
                let variable = variables.iter().find(|(short, _)| short == wanted);
                let (kind, line) = variable.map_or((Kind::Reexport, 1), |(_, line)| (Kind::Variable, *line));
                items.push(item(kind, format!("{name}.{wanted}"), wanted.clone(), line, None, false));
            }
        }
        None => items.extend(
            found.into_iter().filter(|(qualified, _)| !qualified.starts_with('_')).map(|(_, item)| item),
        ),
    }
    once(items)
}

/// The header of a definition: up to the colon that ends it.
fn header(text: &str) -> &str {
    let (mut depth, mut at) = (0i32, 0);
    let bytes = text.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            b':' if depth <= 0 => return &text[..at],
            b'\'' | b'"' => {
                at = string_end(bytes, at);
                continue;
            }
            b'#' => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    text
}

fn one_line(text: &str) -> String {
    let without: Vec<&str> = text
        .lines()
        .map(|line| if line.contains(['"', '\'']) { line } else { line.split('#').next().unwrap_or(line) })
        .collect();
    without.join(" ").replace('\\', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The names in a plain list or tuple of strings.
fn plain_names(text: &str) -> Option<Vec<String>> {
    let text = text.trim();
    let inner = text
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .or_else(|| text.strip_prefix('(').and_then(|t| t.strip_suffix(')')))?;
    let mut names = Vec::new();
    for part in inner.lines().map(|line| line.split('#').next().unwrap_or("")).collect::<String>().split(',')
    {
        let part = part.trim();
        if part.is_empty() {
            continue;
        }
        let name = part.trim_matches(['"', '\'']);
        if !part.starts_with(['"', '\'']) || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return None;
        }
        names.push(name.to_string());
    }
    Some(names)
}

/// The first line of a string that stands alone.
fn docstring(text: &str) -> Option<String> {
    let body = text.trim_start_matches(['r', 'R', 'u', 'U']);
    let mark = body.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    if text.len() - body.len() > 1 {
        return None;
    }
    let inner = body.trim_start_matches(mark);
    let first = inner.lines().map(str::trim).find(|line| line.chars().any(char::is_alphanumeric))?;
    Some(first.trim_end_matches(mark).trim().to_string())
}

/// The byte after the string that begins at `at`.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let mark = bytes[at];
    let triple = bytes[at..].starts_with(&[mark; 3]);
    let mut n = at + if triple { 3 } else { 1 };
    while n < bytes.len() {
        match bytes[n] {
            b'\\' => n += 2,
            b'\n' if !triple => return n,
            byte if byte == mark && (!triple || bytes[n..].starts_with(&[mark; 3])) => {
                return n + if triple { 3 } else { 1 };
            }
            _ => n += 1,
        }
    }
    bytes.len()
}

/// Cuts a text into lines as Python sees them; blank lines and comments are left out.
fn lines(text: &str) -> Vec<Line<'_>> {
    let bytes = text.as_bytes();
    let mut lines = Vec::new();
    let (mut at, mut number) = (0, 1u32);
    while at < bytes.len() {
        let mut indent = 0;
        while let Some(byte @ (b' ' | b'\t' | 0x0c)) = bytes.get(at) {
            indent = if *byte == b'\t' { (indent / 8 + 1) * 8 } else { indent + 1 };
            at += 1;
        }
        let (start, first) = (at, number);
        let mut end = at;
        let mut depth = 0usize;
        while at < bytes.len() {
            let from = at;
            match bytes[at] {
                b'\n' if depth == 0 => break,
                b'#' => {
                    while at < bytes.len() && bytes[at] != b'\n' {
                        at += 1;
                    }
                    continue;
                }
                b'\'' | b'"' => at = string_end(bytes, at),
                b'\\' => at += if bytes.get(at + 1) == Some(&b'\r') { 3 } else { 2 },
                byte => {
                    match byte {
                        b'(' | b'[' | b'{' => depth += 1,
                        b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    at += 1;
                }
            }
            at = at.min(bytes.len());
            number += bytes[from..at].iter().filter(|byte| **byte == b'\n').count() as u32;
            if !bytes[at - 1].is_ascii_whitespace() {
                end = at;
            }
        }
        while !text.is_char_boundary(end) {
            end += 1;
        }
        if end > start {
            lines.push(Line { indent, number: first, text: &text[start..end] });
        }
        at += 1;
        number += 1;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str) -> Vec<String> {
        scan(text, "m", "m.py")
            .into_iter()
            .map(|item| format!("{} {} {}", item.kind.word(), item.name, item.line))
            .collect()
    }

    const TEXT: &str = r#"#!/usr/bin/env python3
"""A module.

More: def not_this(): pass
"""
import os

try:
    import json
except ImportError:
    def fallback(): 'Helps.'

@decorated("class Fake:")
class Door(
    Base,  # comment (
):
    '''Opens.'''
    size: int = 3

    def __init__(self): pass

    @property
    def width(self) -> "a: b": return {1: 2}

    @width.setter
    def width(self, value): pass

    class Lock:
        def turn(self,
                 key=lambda x: x):
            r"""Turns.
            Slowly."""
            def inner(): pass
            return "def no(): pass"

    def _own(self): pass

class _Hidden:
    def seen(self): pass

async def run(x, *, y="):"):
    class Local:
        def no(self): pass

if __name__ == "__main__":
    def main(): pass
"#;

    #[test]
    fn classes_functions_and_methods_are_found_with_lines_and_documents() {
        assert_eq!(
            listed(TEXT),
            [
                "module m 1",
                "function m.fallback 11",
                "class m.Door 14",
                "method m.Door.width 23",
                "class m.Door.Lock 28",
                "method m.Door.Lock.turn 29",
                "function m.run 41",
            ]
        );
        let items = scan(TEXT, "m", "m.py");
        let docs: Vec<_> = items.iter().map(|item| item.doc.as_deref()).collect();
        assert_eq!(
            docs,
            [Some("A module."), Some("Helps."), Some("Opens."), None, None, Some("Turns."), None]
        );
        assert_eq!(items[2].signature, "class Door( Base, )");
        assert_eq!(items[6].signature, "async def run(x, *, y=\"):\")");
        assert_eq!(items[5].signature, "def turn(self, key=lambda x: x)");
    }

    #[test]
    fn a_plain_list_of_all_decides_and_a_made_one_does_not() {
        let text = "__all__ = ['a', \"B\", # both\n  'elsewhere', 'SIZE']\ndef a(): pass\ndef c(): pass\nclass B:\n  def m(self): pass\nSIZE = 3\n";
        assert_eq!(
            listed(text),
            [
                "module m 1",
                "function m.a 3",
                "class m.B 5",
                "method m.B.m 6",
                "re-export m.elsewhere 1",
                "variable m.SIZE 7"
            ]
        );
        assert_eq!(listed("__all__ = made()\ndef a(): pass\n"), ["module m 1", "function m.a 2"]);
    }

    #[test]
    fn a_path_names_a_module_unless_it_is_private() {
        assert_eq!(module_name("src/house/door.py").as_deref(), Some("house.door"));
        assert_eq!(module_name("house/__init__.py").as_deref(), Some("house"));
        assert_eq!(module_name("house/_own/door.py"), None);
        assert_eq!(module_name("run-me.py"), None);
    }

    #[test]
    fn any_text_is_read_without_a_panic_and_lines_lie_in_it() {
        proptest::proptest!(|(text in "(def |class |@|a|ä|\\(|\\)|:|\"|'|\"\"\"|\\\\|\n|\n  |\t|#|__all__ = |\\[|\\]|,){0,60}")| {
            let lines = text.split('\n').count();
            for item in scan(&text, "m", "m.py") {
                proptest::prop_assert!((1..=lines).contains(&(item.line as usize)), "{item:?}");
            }
        });
    }
}
