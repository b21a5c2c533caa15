//! What a Python file imports, and when: always as it is loaded, perhaps (in a function, under a condition), or for type
//! checkers alone.
//!
//! A scanner over logical lines: it knows strings, brackets, continued lines and indentation, and no more of the grammar. A
//! file with a syntax error is read as far as it makes sense. What is imported by a call (`importlib`) is not seen.

use super::super::graph::Tie;

/// One imported name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// How many dots it begins with: 0 is absolute, 1 the same package.
    pub dots: usize,
    /// The parts of the module's name; may be empty behind dots.
    pub module: Vec<String>,
    /// The name taken from the module by `from … import`, if it is one; `*` for all.
    pub name: Option<String>,
    /// The line, from 1.
    pub line: u32,
    /// When it is imported.
    pub tie: Tie,
}

/// A logical line: several lines joined, without strings and comments.
struct Line {
    indent: usize,
    number: u32,
    text: String,
}

/// Scans one file.
pub fn scan(text: &str) -> Vec<Import> {
    let mut imports = Vec::new();
    // Open blocks: the indentation of their heads, what being in them means, and what an `else` to them means.
    let mut blocks: Vec<(usize, Tie, Tie)> = Vec::new();
    for line in lines(text) {
        let mut otherwise = Tie::Uses;
        while let Some((_, _, other)) = blocks.pop_if(|(indent, _, _)| *indent >= line.indent) {
            otherwise = other;
        }
        let around = blocks.last().map_or(Tie::Uses, |(_, tie, _)| *tie);
        let mut rest = line.text.trim();
        let mut tie = around;
        if let Some((head, body)) = head(rest) {
            let (own, other) = meaning(head, otherwise);
            tie = around.min(own);
            blocks.push((line.indent, tie, other));
            rest = body;
        }
        for statement in rest.split(';') {
            one(statement.trim(), line.number, tie, &mut imports);
        }
    }
    imports
}

/// Splits `if x: y` into its head and what stands behind the colon.
fn head(line: &str) -> Option<(&str, &str)> {
    const HEADS: &[&str] = &[
        "def", "async", "class", "if", "elif", "else", "try", "except", "finally", "with", "for", "while",
        "match", "case",
    ];
    let word = line.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    if !HEADS.contains(&word) {
        return None;
    }
    let (mut depth, mut lambdas) = (0usize, 0usize);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'l' if depth == 0 && line[at..].starts_with("lambda") => lambdas += 1,
            b':' if depth == 0 && lambdas > 0 => lambdas -= 1,
            b':' if depth == 0 && line.as_bytes().get(at + 1) != Some(&b'=') => {
                return Some((&line[..at], &line[at + 1..]));
            }
            _ => {}
        }
    }
    None
}

/// What a block means for the imports in it, and what an `else` to it means. `otherwise` is what the block before means for an `else`.
fn meaning(head: &str, otherwise: Tie) -> (Tie, Tie) {
    let head: String = head.split_whitespace().collect::<Vec<_>>().join(" ");
    let (word, condition) = head.split_once(' ').unwrap_or((&head, ""));
    match (word, condition.trim_matches(['(', ')', ' '])) {
        ("def", _) => (Tie::Deferred, Tie::Uses),
        ("async", rest) if rest.starts_with("def ") => (Tie::Deferred, Tie::Uses),
        ("else", _) => (otherwise, Tie::Uses),
        // What fails, or may be false, is not always imported.
        ("except" | "case" | "for" | "while", _) => (Tie::Deferred, Tie::Uses),
        ("if", "False" | "0") => (Tie::Types, Tie::Uses),
        ("if", name) if !name.contains(' ') && name.rsplit('.').next() == Some("TYPE_CHECKING") => {
            (Tie::Types, Tie::Uses)
        }
        ("if" | "elif", _) => (Tie::Deferred, Tie::Deferred),
        _ => (Tie::Uses, Tie::Uses),
    }
}

/// Reads one simple statement.
fn one(statement: &str, line: u32, tie: Tie, imports: &mut Vec<Import>) {
    let dotted = |text: &str| -> Option<Vec<String>> {
        let name = |c: char| c.is_alphanumeric() || c == '_';
        let parts: Vec<String> = text.split('.').map(|part| part.trim().to_string()).collect();
        parts.iter().all(|part| !part.is_empty() && part.chars().all(name)).then_some(parts)
    };
    // `a as b`: the name before `as`.
    let named = |part: &str| part.split_whitespace().next().map(str::to_string);
    if let Some(list) = statement.strip_prefix("import ") {
        for part in list.split(',') {
            // Blanks around a dot are allowed, if nobody writes them.
            let module = part.split(" as ").next().and_then(|part| dotted(part.trim()));
            if let Some(module) = module {
                imports.push(Import { dots: 0, module, name: None, line, tie });
            }
        }
    } else if let Some(rest) = statement.strip_prefix("from")
        && rest.starts_with([' ', '.'])
        && let Some((module, names)) = rest.split_once("import")
        && names.starts_with([' ', '(', '*'])
    {
        let module = module.trim();
        let dots = module
            .bytes()
            .take_while(|byte| matches!(byte, b'.' | b' '))
            .filter(|byte| *byte == b'.')
            .count();
        let module = module.trim_start_matches(['.', ' ']);
        let Some(module) = (if module.is_empty() { Some(Vec::new()) } else { dotted(module) }) else {
            return;
        };
        if module.is_empty() && dots == 0 {
            return;
        }
        for name in names.trim().trim_start_matches('(').trim_end_matches(')').split(',').filter_map(named) {
            imports.push(Import { dots, module: module.clone(), name: Some(name), line, tie });
        }
    }
}

/// The logical lines of a file. Strings are left out, so that no quote, bracket or keyword in one is taken for code.
fn lines(text: &str) -> Vec<Line> {
    let bytes = text.strip_prefix('\u{feff}').unwrap_or(text).as_bytes();
    let (mut at, mut number, mut lines) = (0, 1u32, Vec::new());
    while at < bytes.len() {
        let first = number;
        let mut indent = 0;
        while let Some(byte @ (b' ' | b'\t' | b'\x0c')) = bytes.get(at) {
            indent = match byte {
                b'\t' => indent / 8 * 8 + 8,
                b' ' => indent + 1,
                _ => 0,
            };
            at += 1;
        }
        let (mut out, mut depth) = (Vec::new(), 0usize);
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'\n' => {
                    at += 1;
                    number += 1;
                    if depth == 0 {
                        break;
                    }
                    out.push(b' ');
                }
                b'\\' if matches!(bytes.get(at + 1), Some(b'\n')) => {
                    at += 2;
                    number += 1;
                    out.push(b' ');
                }
                b'\\' if bytes[at..].starts_with(b"\\\r\n") => {
                    at += 3;
                    number += 1;
                    out.push(b' ');
                }
                b'#' => at = bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n),
                b'"' | b'\'' => {
                    let end = string(bytes, at);
                    number += count(&bytes[at..end]);
                    out.push(b'"');
                    at = end;
                }
                b'\r' => at += 1,
                byte => {
                    match byte {
                        b'(' | b'[' | b'{' => depth += 1,
                        b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                        _ => {}
                    }
                    out.push(if *byte == b'\t' { b' ' } else { *byte });
                    at += 1;
                }
            }
        }
        let text = String::from_utf8_lossy(&out).into_owned();
        if !text.trim().is_empty() {
            lines.push(Line { indent, number: first, text });
        }
    }
    lines
}

fn count(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(0)
}

/// The end of the string that begins at `at`, behind its closing quotes; a short one ends with its line at the latest.
fn string(bytes: &[u8], at: usize) -> usize {
    let quote = bytes[at];
    let long = bytes[at..].starts_with(&[quote; 3]);
    let mut at = at + if long { 3 } else { 1 };
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'\n' if !long => return at,
            byte if byte == quote && (!long || bytes[at..].starts_with(&[quote; 3])) => {
                return at + if long { 3 } else { 1 };
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        scan(text)
            .into_iter()
            .map(|import| {
                let name = import.name.map_or(String::new(), |name| format!(":{name}"));
                let tie = format!("{:?}", import.tie);
                format!("{} {}{}{name} {tie}", import.line, ".".repeat(import.dots), import.module.join("."))
            })
            .collect()
    }

    #[test]
    fn every_form_of_import_is_read() {
        let text = "import a, b.c as d; import e\nfrom . import f\nfrom .g import (h,\n  i as j,  # why\n)\nfrom ..k.l import *\nfrom m import\\\n  n\nimport_x = 1\nfromage = 2\n";
        assert_eq!(
            told(text),
            [
                "1 a Uses",
                "1 b.c Uses",
                "1 e Uses",
                "2 .:f Uses",
                "3 .g:h Uses",
                "3 .g:i Uses",
                "6 ..k.l:* Uses",
                "7 m:n Uses"
            ]
        );
    }

    #[test]
    fn text_and_comments_import_nothing() {
        let text = "\"\"\"Doc\nimport no\n\"\"\"\nx = 'import no'; y = f\"{z['import no']}\"\n# import no\ns = (\nimport_no,\n)\nimport yes\n";
        assert_eq!(told(text), ["9 yes Uses"]);
    }

    #[test]
    fn where_an_import_stands_tells_when_it_happens() {
        let text = "\
try:
    import a
except ImportError:
    import b
else:
    import aa
if sys.platform == 'win32':
    import ab
elif x:
    import ac
else:
    import ad
if TYPE_CHECKING:
    from c import d
else:
    import e
if typing.TYPE_CHECKING: import f
def g(x: int = {1: 2}[1]) -> None:
    import h
    if x:
        import i
class J:
    import k
    def l(self):
        import m
if __name__ == '__main__':
    import n
async def o(): import p
with (lambda: q)(): import r
import s
";
        assert_eq!(
            told(text),
            [
                "2 a Uses",
                "4 b Deferred",
                "6 aa Uses",
                "8 ab Deferred",
                "10 ac Deferred",
                "12 ad Deferred",
                "14 c:d Types",
                "16 e Uses",
                "17 f Types",
                "19 h Deferred",
                "21 i Deferred",
                "23 k Uses",
                "25 m Deferred",
                "27 n Deferred",
                "28 p Deferred",
                "29 r Uses",
                "30 s Uses"
            ]
        );
    }
}
