//! What one JavaScript module exports: ECMAScript `export`s and CommonJS `exports`, with their JSDoc.
//!
//! Only exports that stand at the top of the file and are written out are seen; what a program puts together is not. Names that
//! begin with an underscore, private methods and constructors are left out.

use std::collections::BTreeMap;

use crate::docgen::crates::once;
use crate::docgen::item::{Item, Kind};
use crate::docgen::lexer::{Dialect, Lexed, What, first_line, lex};

/// Lists the module in `file`.
pub fn scan(text: &str, file: &str) -> Vec<Item> {
    let lexed = lex(text, Dialect::JavaScript);
    let name = file.rsplit_once('.').map_or(file, |(stem, _)| stem).to_string();
    let mut scanner = Scanner { lexed: &lexed, file, module: name, declared: Vec::new(), items: Vec::new() };
    scanner.declare();
    scanner.exports();
    if scanner.items.is_empty() {
        return Vec::new();
    }
    let first = lexed.comments_in(0, lexed.start(0)).find(|comment| comment.starts_with("/**"));
    let module = Item {
        kind: Kind::Module,
        name: scanner.module.clone(),
        signature: scanner.module.clone(),
        file: file.into(),
        line: 1,
        doc: first.and_then(first_line),
        counted: false,
    };
    let mut items = vec![module];
    items.extend(scanner.items);
    once(items)
}

/// What a file of declarations (`x.d.ts`) tells of the module beside it: the first line of each document, by exported name; methods as
/// `Class.method`.
pub fn declarations(text: &str) -> BTreeMap<String, String> {
    const BEFORE: [&str; 13] = [
        "export",
        "default",
        "declare",
        "abstract",
        "async",
        "static",
        "readonly",
        "public",
        "protected",
        "get",
        "set",
        "override",
        "accessor",
    ];
    let lexed = lex(text, Dialect::JavaScript);
    let (mut told, mut class) = (BTreeMap::new(), None::<(String, usize)>);
    let mut at = 0;
    while at < lexed.tokens.len() {
        class = class.filter(|(_, close)| at < *close);
        let start = at;
        while BEFORE.contains(&lexed.word(at)) && lexed.is_name(at + 1) {
            at += 1;
        }
        let default = (start..at).any(|n| lexed.word(n) == "default");
        let name = match lexed.word(at) {
            "function" | "class" | "const" | "let" | "var" => at + 1,
            "namespace" | "module" | "interface" => {
                // Its content follows.
                let open = (at..lexed.tokens.len()).find(|n| lexed.word(*n) == "{");
                let within = open.filter(|_| lexed.word(at) != "interface");
                at = within.map_or(lexed.after(open.unwrap_or(at)), |open| open + 1);
                continue;
            }
            _ => at,
        };
        let member = name == at;
        if lexed.is_name(name)
            && !(member && class.is_none())
            && let Some(doc) = doc_before(&lexed, start)
        {
            let within = class.as_ref().map_or(String::new(), |(class, _)| format!("{class}."));
            told.entry(format!("{within}{}", lexed.word(name))).or_insert_with(|| doc.clone());
            if default {
                told.entry("default".into()).or_insert(doc);
            }
        }
        if lexed.word(at) == "class"
            && let Some(open) = (name..lexed.tokens.len()).find(|n| lexed.word(*n) == "{")
        {
            let exported = if default { "default" } else { lexed.word(name) };
            class = Some((exported.into(), lexed.close(open)));
            at = open + 1;
            continue;
        }
        // On to behind the end of the statement.
        let end = class.as_ref().map_or(lexed.tokens.len(), |(_, close)| *close);
        at = lexed.after(at);
        while at < end && lexed.word(at - 1) != ";" && !starts(&lexed, at) {
            at = lexed.after(at);
        }
    }
    told
}

/// Whether token `n` begins a line.
fn starts(lexed: &Lexed<'_>, n: usize) -> bool {
    lexed.line(lexed.end(n - 1)) < lexed.line_of(n)
}

/// The JSDoc that stands right before token `n`.
fn doc_before(lexed: &Lexed<'_>, n: usize) -> Option<String> {
    let from = if n == 0 { 0 } else { lexed.end(n - 1) };
    let comment = lexed.comments_in(from, lexed.start(n)).next_back()?;
    (comment.starts_with("/**") && comment.len() > 4).then(|| first_line(comment))?
}

/// A declaration at the top of the file.
struct Declared {
    name: String,
    kind: Kind,
    /// Its first token.
    at: usize,
    /// The token after its header.
    end: usize,
    doc: Option<String>,
}

struct Scanner<'l, 't> {
    lexed: &'l Lexed<'t>,
    file: &'l str,
    module: String,
    declared: Vec<Declared>,
    items: Vec<Item>,
}

impl Scanner<'_, '_> {
    fn word(&self, n: usize) -> &str {
        self.lexed.word(n)
    }

    fn doc(&self, n: usize) -> Option<String> {
        doc_before(self.lexed, n)
    }

    fn declare(&mut self) {
        let mut at = 0;
        while at < self.lexed.tokens.len() {
            let start = at;
            let mut n = at;
            while matches!(self.word(n), "export" | "default" | "async") && self.lexed.is_name(n) {
                n += 1;
            }
            if let Some(declared) = self.declaration(start, n) {
                self.declared.push(declared);
            }
            at = self.lexed.after(n.max(at));
        }
    }

    /// The declaration whose keyword is at `n`; `start` is the first token of the statement.
    fn declaration(&self, start: usize, n: usize) -> Option<Declared> {
        if n > 0 && matches!(self.word(n - 1), "." | "=" | "?") {
            return None;
        }
        let (kind, name) = match self.word(n) {
            "function" => (Kind::Function, n + 1 + usize::from(self.word(n + 1) == "*")),
            "class" => (Kind::Class, n + 1),
            "const" | "let" | "var" => (Kind::Variable, n + 1),
            _ => return None,
        };
        if !self.lexed.is_name(name) || self.word(name) == "extends" {
            return None;
        }
        let mut end = name + 1;
        let mut kind = kind;
        if kind == Kind::Variable && self.word(end) == "=" {
            kind = self.value_kind(end + 1);
        } else if kind == Kind::Function {
            end = self.lexed.after(end);
        }
        Some(Declared { name: self.word(name).into(), kind, at: start, end, doc: self.doc(start) })
    }

    /// What kind of thing the expression at `n` is, as far as its first words tell.
    fn value_kind(&self, n: usize) -> Kind {
        let n = n + usize::from(self.word(n) == "async");
        let arrow = |after: usize| self.word(after) == "=" && self.word(after + 1) == ">";
        match self.word(n) {
            "function" => Kind::Function,
            "class" => Kind::Class,
            "(" if arrow(self.lexed.after(n)) => Kind::Function,
            _ if self.lexed.is_name(n) && arrow(n + 1) => Kind::Function,
            _ => Kind::Variable,
        }
    }

    fn push(&mut self, kind: Kind, name: &str, from: usize, end: usize, doc: Option<String>) {
        if name.starts_with('_') || name.is_empty() || name.contains(|c: char| c.is_ascii_control()) {
            return;
        }
        self.items.push(Item {
            kind,
            name: format!("{}.{name}", self.module),
            signature: self.lexed.source(from, end),
            file: self.file.into(),
            line: self.lexed.line_of(from),
            doc,
            counted: kind != Kind::Reexport,
        });
    }

    /// Tells something declared at the top of the file under its exported name.
    fn tell(&mut self, local: &str, exported: &str, at: usize, doc: Option<String>) {
        match self.declared.iter().find(|one| one.name == local) {
            Some(one) => {
                let (kind, from, end, doc) = (one.kind, one.at, one.end, doc.or_else(|| one.doc.clone()));
                self.push(kind, exported, from, end, doc);
                if kind == Kind::Class {
                    self.class(from, exported);
                }
            }
            None => self.push(Kind::Reexport, exported, at, at + 1, doc),
        }
    }

    fn exports(&mut self) {
        let mut at = 0;
        while at < self.lexed.tokens.len() {
            let member = at > 0 && self.word(at - 1) == ".";
            match self.word(at) {
                "export" if self.lexed.is_name(at) && !member => self.export(at),
                "module" if self.word(at + 1) == "." && self.word(at + 2) == "exports" && !member => {
                    self.assigned(at, at + 3);
                }
                "exports" if !member => self.assigned(at, at + 1),
                _ => {}
            }
            at = self.lexed.after(at);
        }
    }

    fn export(&mut self, at: usize) {
        match self.word(at + 1) {
            "default" => {
                let value = at + 2;
                let kind = self.value_kind(value);
                let local = self.word(value).to_string();
                if kind == Kind::Variable && self.declared.iter().any(|one| one.name == local) {
                    let doc = self.doc(at);
                    self.tell(&local, "default", at, doc);
                    return;
                }
                let end = (value..self.lexed.tokens.len())
                    .find(|n| matches!(self.word(*n), "{" | ";" | "="))
                    .unwrap_or(value + 1);
                let doc = self.doc(at);
                self.push(kind, "default", at, end.min(value + 40), doc);
                if kind == Kind::Class {
                    self.class(at, "default");
                }
            }
            "{" => {
                let close = self.lexed.close(at + 1);
                let elsewhere = self.word(close + 1) == "from";
                let mut n = at + 2;
                while n < close {
                    let local = self.word(n).to_string();
                    let renamed = self.word(n + 1) == "as";
                    let exported =
                        self.word(if renamed { n + 2 } else { n }).trim_matches(['"', '\'']).to_string();
                    if elsewhere {
                        self.push(Kind::Reexport, &exported, n, n + if renamed { 3 } else { 1 }, None);
                    } else {
                        self.tell(&local, &exported, n, None);
                    }
                    n = (n..close).find(|n| self.word(*n) == ",").unwrap_or(close) + 1;
                }
            }
            "*" => {
                let end =
                    (at..self.lexed.tokens.len()).find(|n| self.word(*n) == "from").unwrap_or(at + 1) + 2;
                let name = if self.word(at + 2) == "as" {
                    self.word(at + 3).to_string()
                } else {
                    self.word(end - 1).trim_matches(['"', '\'']).to_string()
                };
                self.push(Kind::Reexport, &name, at, end, None);
            }
            _ => {
                let found = self.declared.iter().find(|one| one.at == at).map(|one| one.name.clone());
                if let Some(name) = found {
                    self.tell(&name, &name, at, None);
                }
            }
        }
    }

    /// `exports = …`, `exports.name = …`; `after` is the token after `exports`.
    fn assigned(&mut self, at: usize, after: usize) {
        let doc = self.doc(at);
        if self.word(after) == "."
            && self.lexed.is_name(after + 1)
            && self.word(after + 2) == "="
            && self.word(after + 3) != "="
        {
            let name = self.word(after + 1).to_string();
            let value = after + 3;
            let local = self.word(value).to_string();
            if self.lexed.is_name(value)
                && matches!(self.word(value + 1), ";" | "")
                && self.declared.iter().any(|one| one.name == local)
            {
                self.tell(&local, &name, at, doc);
            } else if !matches!(local.as_str(), "void" | "undefined") {
                let kind = self.value_kind(value);
                self.push(kind, &name, at, after + 2, doc);
                if kind == Kind::Class {
                    self.class(value, &name);
                }
            }
            return;
        }
        if self.word(after) != "=" || self.word(after + 1) == "=" {
            return;
        }
        let value = after + 1;
        if self.word(value) == "{" {
            self.object(value);
            return;
        }
        let local = self.word(value).to_string();
        if self.lexed.is_name(value)
            && self.declared.iter().any(|one| one.name == local)
            && !matches!(self.word(value + 1), "(" | "." | "[")
        {
            self.tell(&local, &local, at, doc);
            return;
        }
        let kind = self.value_kind(value);
        if kind != Kind::Variable {
            let named = value + 1 + usize::from(self.word(value) == "async");
            let name = if self.lexed.is_name(named) && self.word(named) != "extends" {
                self.word(named).to_string()
            } else {
                "default".into()
            };
            let end = (value..self.lexed.tokens.len())
                .find(|n| matches!(self.word(*n), "{" | ";"))
                .unwrap_or(value + 1);
            self.push(kind, &name, value, end.min(value + 40), doc);
            if kind == Kind::Class {
                self.class(value, &name);
            }
        }
    }

    /// The properties of the object at `open`.
    fn object(&mut self, open: usize) {
        let close = self.lexed.close(open);
        let mut n = open + 1;
        while n < close {
            let start = n;
            while matches!(self.word(n), "async" | "get" | "set" | "*")
                && !matches!(self.word(n + 1), "," | ":" | "(")
                && n + 1 < close
            {
                n += 1;
            }
            let name = self.word(n).trim_matches(['"', '\'']).to_string();
            let named = self.lexed.is_name(n) || self.lexed.tokens[n].what == What::Literal;
            let doc = self.doc(start);
            let next = self.comma(n, close);
            if named {
                match self.word(n + 1) {
                    "(" => self.push(Kind::Function, &name, start, self.lexed.after(n + 1), doc),
                    ":" => {
                        let local = self.word(n + 2).to_string();
                        if n + 3 == next && self.declared.iter().any(|one| one.name == local) {
                            self.tell(&local, &name, start, doc);
                        } else {
                            let kind = self.value_kind(n + 2);
                            self.push(kind, &name, start, n + 1, doc);
                        }
                    }
                    _ if n + 1 == next => self.tell(&name, &name, start, doc),
                    _ => {}
                }
            }
            n = next + 1;
        }
    }

    fn comma(&self, mut at: usize, to: usize) -> usize {
        while at < to && self.word(at) != "," {
            at = self.lexed.after(at);
        }
        at.min(to)
    }

    /// The methods of the class whose header begins at `from`.
    fn class(&mut self, from: usize, name: &str) {
        let Some(open) = (from..self.lexed.tokens.len()).find(|n| self.word(*n) == "{") else { return };
        let close = self.lexed.close(open);
        let mut n = open + 1;
        while n < close {
            let start = n;
            while matches!(self.word(n), "static" | "async" | "get" | "set" | "*" | "accessor")
                && !matches!(self.word(n + 1), "(" | "=" | ";")
                && n + 1 < close
            {
                n += 1;
            }
            let method = self.word(n).to_string();
            if self.lexed.is_name(n) && self.word(n + 1) == "(" && (n == 0 || self.word(n - 1) != "#") {
                let body = self.lexed.after(n + 1);
                if self.word(body) == "{" && method != "constructor" && !method.starts_with('_') {
                    let doc = self.doc(start);
                    self.push(Kind::Method, &format!("{name}.{method}"), start, body, doc);
                }
                n = self.lexed.after(body);
                continue;
            }
            // A field: it ends with a semicolon, or before the next line that is not within brackets.
            let line = self.lexed.line_of(n);
            n = self.lexed.after(n);
            while n < close
                && self.word(n - 1) != ";"
                && self.lexed.line(self.lexed.end(n - 1)) >= self.lexed.line_of(n).max(line)
            {
                n = self.lexed.after(n);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str) -> Vec<String> {
        let mut items = scan(text, "lib/a.js").into_iter().map(|item| {
            format!(
                "{} {} {} {}",
                item.kind.word(),
                item.name.trim_start_matches("lib/a."),
                item.line,
                item.doc.unwrap_or_default()
            )
        });
        items.next();
        items.collect()
    }

    #[test]
    fn exports_of_a_module_are_found_with_their_documents() {
        let text = r#"/** About it. */
import x from "x";
/** Opens.
 * @param {string} name */
export function open(name, { a } = {}) { return `${name}}`; }
export default class Door extends Base {
  #own = 1;
  size = () => { return 1 }
  /** Pushes. */
  push(x) { if (x) { export_(); } }
  static async *all() {}
  _hidden() {}
  constructor() {}
  get width() { return 1 }
}
/** Later. */
const later = async (x) => x;
const other = 1;
export { later, other as another };
export { far } from "./far.js";
export * as ns from './ns.js';
export const LIMIT = 3;
"#;
        assert_eq!(
            listed(text),
            [
                "function open 5 Opens.",
                "class default 6 ",
                "method default.push 10 Pushes.",
                "method default.all 11 ",
                "method default.width 14 ",
                "function later 17 Later.",
                "variable another 18 ",
                "re-export far 20 ",
                "re-export ns 21 ",
                "variable LIMIT 22 ",
            ]
        );
    }

    #[test]
    fn exports_of_commonjs_are_found() {
        let text = r#"'use strict';
/** Adds. */
function add(a, b) { return a / b; }
class Box { /** Opens. */ open() {} }
module.exports = { add, Box, sub: (a, b) => a - b, /** Runs. */ run() {}, ...rest, value: add(1), 'quoted': 2 };
exports.later = function () {};
/** Named. */
module.exports.named = add;
exports._own = 1;
if (x) { exports.inner = 2; }
foo.exports.not = 1;
"#;
        assert_eq!(
            listed(text),
            [
                "function add 3 Adds.",
                "class Box 4 ",
                "method Box.open 4 Opens.",
                "function sub 5 ",
                "function run 5 Runs.",
                "variable value 5 ",
                "variable quoted 5 ",
                "function later 6 ",
                "function named 3 Named.",
            ]
        );
    }

    #[test]
    fn declarations_tell_the_documents_of_what_they_declare() {
        let text = r#"/** About it. */
import type { Other } from "./other";
/** Opens. */
export function open(name: string, how?: { a: number }): Promise<void>;
/** Opens otherwise. */
export declare function open(name: number): void;
export declare class Door<T extends object> extends Base<T> implements Other {
  /** How wide. */
  readonly width: number
  /** Pushes. */
  push(x: T, ...rest: Array<{ y: T }>): this;
  private own: string;
  constructor(x: T);
  /** All. */ static all<T>(): Door<T>[]
}
/** A form. */
export interface Form { /** No value. */ size: number; }
/** Main. */
export default function main(): void;
declare namespace inner {
  /** Deep. */
  const deep: string;
}
export const bare: 1, open2: 2;
/** Last. */ export type Last = `a${string}` | "b";
"#;
        let told = declarations(text);
        let told: Vec<String> = told.iter().map(|(name, doc)| format!("{name}: {doc}")).collect();
        assert_eq!(
            told,
            [
                "Door.all: All.",
                "Door.push: Pushes.",
                "Door.width: How wide.",
                "deep: Deep.",
                "default: Main.",
                "main: Main.",
                "open: Opens.",
            ]
        );
    }

    #[test]
    fn a_module_without_exports_offers_nothing() {
        assert!(
            scan("(function(root, factory) { root.x = factory(); })(this, function() {});", "a.js")
                .is_empty()
        );
    }

    #[test]
    fn any_text_is_read_without_a_panic_and_lines_lie_in_it() {
        proptest::proptest!(|(text in "(export |default |class |function |const |module|exports|\\.|=|\\{|\\}|\\(|\\)|,|;|a|b |as |from |\\*|'x'|`|\\$\\{|/|\n|/\\*\\* d \\*/|=>|static |#){0,60}")| {
            let lines = text.split('\n').count();
            declarations(&text);
            for item in scan(&text, "m.js") {
                proptest::prop_assert!((1..=lines).contains(&(item.line as usize)), "{item:?}");
            }
        });
    }
}
