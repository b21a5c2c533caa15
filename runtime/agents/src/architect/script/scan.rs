//! What a JavaScript or TypeScript file imports, and when.
//!
//! A scanner over tokens that knows comments, strings, templates and regular expressions. What loses it (prose in JSX with a
//! lone quote) costs at most the rest of that line. Only names that are plain strings are seen.

use super::super::graph::Tie;
use crate::language;

/// One import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// What is imported, as it is written: `./list.js`, `react`.
    pub name: String,
    /// The line, from 1.
    pub line: u32,
    /// When: as the file is loaded, when a function runs, or for the type checker alone.
    pub tie: Tie,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Text(&'a str),
    Sign(u8),
}

/// Scans one file; of a single-file component, its scripts.
pub fn scan(path: &str, text: &str) -> Vec<Import> {
    if !matches!(crate::tree::extension(path).as_str(), "vue" | "svelte") {
        return program(text, 1);
    }
    let mut imports = Vec::new();
    let mut from = 0;
    while let Some(open) = text[from..].find("<script").map(|at| from + at) {
        let Some(begin) = text[open..].find('>').map(|at| open + at + 1) else { break };
        let end = text[begin..].find("</script").map_or(text.len(), |at| begin + at);
        imports.extend(program(&text[begin..end], crate::tree::position(text, begin).0));
        from = end;
    }
    imports
}

fn program(text: &str, first: u32) -> Vec<Import> {
    let tokens = tokens(text, first);
    let mut imports: Vec<Import> = Vec::new();
    let mut depth = 0usize;
    let token = |at: usize| tokens.get(at).map(|(token, _)| *token);
    for (at, (now, line)) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).and_then(token);
        match now {
            Token::Sign(b'{') => depth += 1,
            Token::Sign(b'}') => depth = depth.saturating_sub(1),
            Token::Word(word @ ("import" | "export")) if before != Some(Token::Sign(b'.')) => {
                if let (Some(Token::Sign(b'(')), Some(Token::Text(name))) = (token(at + 1), token(at + 2)) {
                    if *word == "import" {
                        imports.push(Import { name: name.into(), line: *line, tie: Tie::Deferred });
                    }
                    continue;
                }
                if depth == 0
                    && let Some((name, types)) = clause(*word == "import", &tokens[at + 1..])
                {
                    let tie = if types { Tie::Types } else { Tie::Uses };
                    imports.push(Import { name: name.into(), line: *line, tie });
                }
            }
            Token::Word("require") if before != Some(Token::Sign(b'.')) => {
                if let (Some(Token::Sign(b'(')), Some(Token::Text(name)), Some(Token::Sign(b')'))) =
                    (token(at + 1), token(at + 2), token(at + 3))
                {
                    let tie = if depth == 0 { Tie::Uses } else { Tie::Deferred };
                    imports.push(Import { name: name.into(), line: *line, tie });
                }
            }
            _ => {}
        }
    }
    imports
}

/// What an `import` or `export` clause names, and whether for types alone. `rest` begins behind the keyword.
fn clause<'a>(import: bool, rest: &[(Token<'a>, u32)]) -> Option<(&'a str, bool)> {
    let token = |at: usize| rest.get(at).map(|(token, _)| *token);
    if let (true, Some(Token::Text(name))) = (import, token(0)) {
        return Some((name, false));
    }
    let whole = token(0) == Some(Token::Word("type"))
        && !matches!(token(1), Some(Token::Word("from") | Token::Sign(b',' | b'=')));
    let mut at = usize::from(whole);
    let (mut named, mut typed) = (0, 0);
    let mut other = false;
    loop {
        match token(at)? {
            Token::Word("from") => {
                if let Some(Token::Text(name)) = token(at + 1) {
                    return Some((name, whole || (!other && named > 0 && named == typed)));
                }
                other = true;
                at += 1;
            }
            Token::Sign(b'{') => {
                at += 1;
                let mut fresh = true;
                loop {
                    match token(at)? {
                        Token::Sign(b'}') => break,
                        Token::Sign(b',') => fresh = true,
                        Token::Word(word) => {
                            if fresh {
                                named += 1;
                                let next = token(at + 1);
                                let is_type =
                                    word == "type" && matches!(next, Some(Token::Word(n)) if n != "as");
                                typed += usize::from(is_type);
                            }
                            fresh = false;
                        }
                        Token::Text(_) => fresh = false,
                        Token::Sign(_) => return None,
                    }
                    at += 1;
                }
                at += 1;
            }
            Token::Sign(b'*' | b',') | Token::Word("as") => at += 1,
            // `import fs = require("fs")` is found by its `require`.
            Token::Word(
                "import" | "export" | "const" | "let" | "var" | "function" | "class" | "default" | "enum"
                | "interface" | "async",
            ) => {
                return None;
            }
            Token::Word(_) => {
                other = true;
                at += 1;
            }
            _ => return None,
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// The tokens that matter, with their lines. A template counts as a text only if nothing is put into it.
fn tokens(text: &str, first: u32) -> Vec<(Token<'_>, u32)> {
    let bytes = text.as_bytes();
    let mut tokens: Vec<(Token<'_>, u32)> = Vec::new();
    let (mut at, mut line) = (0, first);
    // Open braces of code within templates: at how many open braces each ends.
    let (mut braces, mut templates) = (0usize, Vec::new());
    let get = |at: usize| bytes.get(at).copied().unwrap_or(0);
    while at < bytes.len() {
        let (start, byte) = (at, bytes[at]);
        match byte {
            b'/' if get(at + 1) == b'/' => {
                at = bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n);
            }
            b'/' if get(at + 1) == b'*' => {
                let end = bytes[at + 2..].windows(2).position(|pair| pair == b"*/");
                at = end.map_or(bytes.len(), |n| at + n + 4);
            }
            b'"' | b'\'' => match short(bytes, at) {
                Some(end) => {
                    tokens.push((Token::Text(text.get(at + 1..end - 1).unwrap_or("")), line));
                    at = end;
                }
                None => at += 1,
            },
            b'`' => {
                let (end, open) = template(bytes, at + 1);
                if open {
                    templates.push(braces);
                    braces += 1;
                    tokens.push((Token::Sign(b'{'), line));
                } else {
                    tokens.push((Token::Text(text.get(at + 1..end - 1).unwrap_or("")), line));
                }
                at = end;
            }
            b'}' if templates.last() == Some(&braces.saturating_sub(1)) && braces > 0 => {
                tokens.push((Token::Sign(b'}'), line));
                let (end, open) = template(bytes, at + 1);
                if open {
                    tokens.push((Token::Sign(b'{'), line));
                } else {
                    templates.pop();
                    braces -= 1;
                }
                at = end;
            }
            b'/' if expects_value(tokens.last().map(|(token, _)| *token)) => match expression(bytes, at) {
                Some(end) => {
                    tokens.push((Token::Sign(b'0'), line));
                    at = end;
                }
                None => at += 1,
            },
            b'0'..=b'9' => {
                while is_word(get(at)) {
                    at += 1;
                }
                tokens.push((Token::Sign(b'0'), line));
            }
            _ if is_word(byte) => {
                while at < bytes.len() && is_word(bytes[at]) {
                    at += 1;
                }
                tokens.push((Token::Word(text.get(start..at).unwrap_or("")), line));
            }
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            _ => {
                match byte {
                    b'{' => braces += 1,
                    b'}' => braces = braces.saturating_sub(1),
                    _ => {}
                }
                tokens.push((Token::Sign(byte), line));
                at += 1;
            }
        }
        line += u32::try_from(bytes[start..at].iter().filter(|b| **b == b'\n').count()).unwrap_or(0);
    }
    tokens
}

/// The end of a string on one line, behind its closing quote.
fn short(bytes: &[u8], at: usize) -> Option<usize> {
    let quote = bytes[at];
    let mut end = at + 1;
    while let Some(byte) = bytes.get(end) {
        match byte {
            b'\\' => end += 2,
            b'\n' => return None,
            byte if *byte == quote => return Some(end + 1),
            _ => end += 1,
        }
    }
    None
}

/// The end of a piece of a template: behind its closing quote, or behind a `${` (then true).
fn template(bytes: &[u8], mut at: usize) -> (usize, bool) {
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'`' => return (at + 1, false),
            b'$' if bytes.get(at + 1) == Some(&b'{') => return (at + 2, true),
            _ => at += 1,
        }
    }
    (bytes.len(), false)
}

/// Whether a slash behind this token begins a regular expression.
fn expects_value(before: Option<Token<'_>>) -> bool {
    match before {
        None => true,
        Some(Token::Sign(sign)) => !matches!(sign, b')' | b']' | b'}' | b'0'),
        Some(Token::Text(_)) => false,
        Some(Token::Word(word)) => language::expects_value(word),
    }
}

/// The end of a regular expression on one line.
fn expression(bytes: &[u8], at: usize) -> Option<usize> {
    let (mut end, mut class) = (at + 1, false);
    while let Some(byte) = bytes.get(end) {
        match byte {
            b'\\' => end += 1,
            b'\n' => return None,
            b'[' => class = true,
            b']' => class = false,
            b'/' if !class => return Some(end + 1),
            _ => {}
        }
        end += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        scan("a.ts", text).into_iter().map(|i| format!("{} {} {:?}", i.line, i.name, i.tie)).collect()
    }

    #[test]
    fn every_form_of_import_is_read() {
        let text = "\
import './a';
import b from './b';
import * as c from \"./c\"; import d, { e as f, default as g } from './d'
export * from './h'; export * as i from './i';
export { j,
  k } from './k';
export const l = 1; export default function m() {}
const n = require('./n'), { o } = require(`./o`);
import p = require('./p');
const q = () => { const r = require('./r'); };
import('./s').then(t => t);
import from from './u';
";
        assert_eq!(
            told(text),
            [
                "1 ./a Uses",
                "2 ./b Uses",
                "3 ./c Uses",
                "3 ./d Uses",
                "4 ./h Uses",
                "4 ./i Uses",
                "5 ./k Uses",
                "8 ./n Uses",
                "8 ./o Uses",
                "9 ./p Uses",
                "10 ./r Deferred",
                "11 ./s Deferred",
                "12 ./u Uses"
            ]
        );
    }

    #[test]
    fn types_alone_are_told_apart() {
        let text = "import type { A } from './a';\nimport { type B, type C } from './b';\nimport { type D, e } from './d';\nexport type { F } from './f';\nimport type from './g';\nimport { type } from './h';\nimport i, { type J } from './i';\nexport type K = string;\n";
        assert_eq!(
            told(text),
            [
                "1 ./a Types",
                "2 ./b Types",
                "3 ./d Uses",
                "4 ./f Types",
                "5 ./g Uses",
                "6 ./h Uses",
                "7 ./i Uses"
            ]
        );
    }

    #[test]
    fn text_comments_templates_and_expressions_import_nothing() {
        let text = "// import './no'\n/* require('./no') */\nconst a = \"import './no'\";\nconst b = `require('./no') ${f(`x ${'}'}`)} import './no'`;\nconst c = /import '.\\/no[/'\"]/g, d = 4 / 2 / 1;\nx.require('./no'); y.import('./no');\nconst e = <p>Don't</p>;\nrequire('./yes');\n";
        assert_eq!(told(text), ["8 ./yes Uses"]);
    }

    #[test]
    fn the_scripts_of_a_component_are_read() {
        let text = "<template>\n it's require('./no')\n</template>\n<script setup lang=\"ts\">\nimport a from './a.vue'\n</script>\n";
        let imports = scan("b.vue", text);
        assert_eq!((imports.len(), imports[0].line, imports[0].name.as_str()), (1, 5, "./a.vue"));
    }
}
