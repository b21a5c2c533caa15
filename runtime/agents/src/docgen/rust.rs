//! The declarations of one Rust file, found by their first words: bodies and initialisers are passed over.
//!
//! What macros make is not seen, and what stands under `#[cfg(test)]` or `#[doc(hidden)]` is left out. All other conditions count as
//! met, so a reference lists the union of all builds. [`crate::docgen::crates`] puts files together.

use crate::docgen::item::Kind;
use crate::docgen::lexer::{Dialect, Lexed, What, first_line, lex};

/// How deep modules within one file are followed.
const DEPTH_MAX: usize = 64;

/// A module: a file, or what stands between the braces of `mod name { … }`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Module {
    /// The first line of its inner documentation.
    pub doc: Option<String>,
    /// What it declares, in order.
    pub items: Vec<Declaration>,
    /// Its imports and re-exports.
    pub uses: Vec<Use>,
    /// Methods by the name of the type they belong to.
    pub methods: Vec<(String, Member)>,
    /// Macro calls that stand where items stand: what they make is not seen.
    pub calls: usize,
}

/// A declared item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its declaration without a body.
    pub signature: String,
    /// Its line.
    pub line: u32,
    /// The first line of its documentation.
    pub doc: Option<String>,
    /// Whether it is `pub` without a bound.
    pub public: bool,
    /// Whether a macro is exported from the crate's root.
    pub exported: bool,
    /// Fields, variants, items of a trait.
    pub members: Vec<Member>,
    /// A module's content when it stands in the same file.
    pub body: Option<Module>,
    /// A module's file when an attribute names it.
    pub path: Option<String>,
}

/// A part of an item that is documented by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it is.
    pub kind: Kind,
    /// Its name; a field of a variant is `Variant::field`.
    pub name: String,
    /// Its declaration without a body.
    pub signature: String,
    /// Its line.
    pub line: u32,
    /// The first line of its documentation.
    pub doc: Option<String>,
}

/// One name brought in by a `use`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The path it comes from.
    pub path: Vec<String>,
    /// The name it has here; `*` for all names.
    pub name: String,
    /// Whether it is handed on with `pub`.
    pub public: bool,
    /// Its line.
    pub line: u32,
}

/// Reads a file.
pub fn scan(text: &str) -> Module {
    let lexed = lex(text, Dialect::Rust);
    Scanner { lexed: &lexed }.module(0, lexed.tokens.len(), 0, 0)
}

/// How often the word `unsafe` opens a block, function, trait or implementation in a file: comments and strings do not count.
pub fn count_unsafe(text: &str) -> usize {
    let lexed = lex(text, Dialect::Rust);
    (0..lexed.tokens.len()).filter(|n| lexed.is_name(*n) && lexed.word(*n) == "unsafe").count()
}

struct Scanner<'l, 't> {
    lexed: &'l Lexed<'t>,
}

/// What stands before an item.
#[derive(Default)]
struct Before {
    doc: Option<String>,
    hidden: bool,
    test: bool,
    exported: bool,
    path: Option<String>,
}

impl Scanner<'_, '_> {
    fn word(&self, n: usize) -> &str {
        self.lexed.word(n)
    }

    /// The module whose content are the tokens `from..to`; `byte` is where its text begins.
    fn module(&self, from: usize, to: usize, byte: usize, depth: usize) -> Module {
        let mut module = Module::default();
        let mut inner =
            self.lexed.comments_in(byte, self.lexed.start(from)).filter(|comment| is_inner(comment));
        module.doc = inner.find_map(first_line);
        let mut at = from;
        while self.word(at) == "#" && self.word(at + 1) == "!" && at < to {
            if module.doc.is_none() {
                module.doc = self.attribute_doc(at + 2);
            }
            let end = self.lexed.after(at + 2);
            let next = self.lexed.start(end);
            if module.doc.is_none() {
                let mut inner =
                    self.lexed.comments_in(self.lexed.start(at), next).filter(|comment| is_inner(comment));
                module.doc = inner.find_map(first_line);
            }
            at = end;
        }
        while at < to {
            at = self.item(at, to, &mut module, depth).max(at + 1);
        }
        module
    }

    /// Reads one item into `module` and gives the token after it.
    fn item(&self, start: usize, to: usize, module: &mut Module, depth: usize) -> usize {
        let (before, mut at) = self.before(start, to);
        let first = at;
        let mut public = false;
        if self.word(at) == "pub" {
            public = self.word(at + 1) != "(" || !is_bound(self.word(at + 2));
            at = if public { at + 1 } else { self.lexed.after(at + 1) };
        }
        at = self.qualifiers(at);
        let skipped = before.hidden || before.test;
        let keyword = self.word(at).to_string();
        let name = self.word(at + 1).to_string();
        let named = self.lexed.is_name(at + 1);
        let line = self.lexed.line_of(at);
        let mut declare = |kind, end: usize, members: Vec<Member>| {
            if !skipped && name != "_" {
                module.items.push(Declaration {
                    kind,
                    name: name.clone(),
                    signature: self.lexed.source(first, end),
                    line,
                    doc: before.doc.clone(),
                    public,
                    exported: before.exported,
                    members,
                    body: None,
                    path: before.path.clone(),
                });
            }
        };
        match keyword.as_str() {
            "fn" if named => {
                let end = self.find(at, to, &[";", "{"]);
                declare(Kind::Function, end, Vec::new());
                self.lexed.after(end)
            }
            "struct" | "union" if named => {
                let kind = if keyword == "struct" { Kind::Struct } else { Kind::Union };
                let end = self.find(at, to, &[";", "{"]);
                let members = match self.word(end) {
                    "{" => self.fields(end, "", true),
                    _ => Vec::new(),
                };
                declare(kind, end, members);
                self.lexed.after(end)
            }
            "enum" if named => {
                let end = self.find(at, to, &[";", "{"]);
                let members = self.variants(end);
                declare(Kind::Enum, end, members);
                self.lexed.after(end)
            }
            "trait" if named => {
                let end = self.find(at, to, &[";", "{", "="]);
                let members = if self.word(end) == "{" { self.associated(end, true) } else { Vec::new() };
                declare(Kind::Trait, end, members);
                let end = self.find(end, to, &[";", "{"]);
                self.lexed.after(end)
            }
            "type" if named => {
                let end = self.find(at, to, &[";"]);
                declare(Kind::Type, end, Vec::new());
                end + 1
            }
            "const" | "static" => {
                let mutable = usize::from(self.word(at + 1) == "mut");
                let end = self.find(at, to, &[";"]);
                let value = self.find(at, end, &["="]);
                if !skipped && self.lexed.is_name(at + 1 + mutable) && self.word(at + 1 + mutable) != "_" {
                    module.items.push(Declaration {
                        kind: if keyword == "const" { Kind::Constant } else { Kind::Variable },
                        name: self.word(at + 1 + mutable).into(),
                        signature: self.lexed.source(first, value),
                        line,
                        doc: before.doc,
                        public,
                        exported: false,
                        members: Vec::new(),
                        body: None,
                        path: None,
                    });
                }
                end + 1
            }
            "mod" if named => {
                let end = self.find(at, to, &[";", "{"]);
                declare(Kind::Module, end, Vec::new());
                if self.word(end) == "{" && !skipped && depth < DEPTH_MAX {
                    let close = self.lexed.close(end).min(to);
                    let body = self.module(end + 1, close, self.lexed.end(end), depth + 1);
                    if let Some(declared) = module.items.last_mut() {
                        declared.body = Some(body);
                    }
                }
                self.lexed.after(end)
            }
            "use" => {
                let end = self.find(at, to, &[";"]);
                if !skipped {
                    self.use_tree(at + 1, end, &mut Vec::new(), public, line, &mut module.uses, 0);
                }
                end + 1
            }
            "extern" if self.word(at + 1) == "crate" => {
                let end = self.find(at, to, &[";"]);
                let original = self.word(at + 2).to_string();
                let name = if self.word(at + 3) == "as" && self.lexed.is_name(at + 4) {
                    self.word(at + 4).to_string()
                } else {
                    original.clone()
                };
                if !skipped && self.lexed.is_name(at + 2) {
                    module.uses.push(Use { path: vec![original], name, public, line });
                }
                end + 1
            }
            "extern" => {
                let end = self.find(at, to, &[";", "{"]);
                if self.word(end) == "{" && !skipped {
                    let mut inside = end + 1;
                    let close = self.lexed.close(end).min(to);
                    while inside < close {
                        inside = self.item(inside, close, module, depth + 1).max(inside + 1);
                    }
                }
                self.lexed.after(end)
            }
            "impl" => {
                let end = self.find(at, to, &[";", "{"]);
                if let Some(of) = self.inherent(at + 1, end)
                    && !skipped
                {
                    module
                        .methods
                        .extend(self.associated(end, false).into_iter().map(|member| (of.clone(), member)));
                }
                self.lexed.after(end)
            }
            "macro_rules" if name == "!" && self.lexed.is_name(at + 2) => {
                let body = at + 3;
                if !skipped {
                    module.items.push(Declaration {
                        kind: Kind::Macro,
                        name: self.word(at + 2).into(),
                        signature: format!("macro_rules! {}", self.word(at + 2)),
                        line,
                        doc: before.doc,
                        public: false,
                        exported: before.exported,
                        members: Vec::new(),
                        body: None,
                        path: None,
                    });
                }
                let end = self.lexed.after(body);
                if self.word(end) == ";" { end + 1 } else { end }
            }
            "macro" if named => {
                let end = self.find(at, to, &["{"]);
                declare(Kind::Macro, (at + 2).min(end), Vec::new());
                self.lexed.after(end)
            }
            _ => {
                let end = self.find(at, to, &[";", "{", "!"]);
                if self.word(end) == "!"
                    && end > at
                    && self.word(end - 1).starts_with("cfg")
                    && self.word(end + 1) == "{"
                {
                    // By their custom these hand on what they hold, under a condition.
                    if !skipped && depth < DEPTH_MAX {
                        self.conditional(end + 1, to, module, depth);
                    }
                    return self.lexed.after(end + 1);
                }
                if self.word(end) == "!" {
                    module.calls += usize::from(!skipped);
                    let group =
                        (end + 1..to).find(|n| self.lexed.tokens[*n].what == What::Open).unwrap_or(to);
                    let after = self.lexed.after(group);
                    return if self.word(after) == ";" { after + 1 } else { after };
                }
                self.lexed.after(end)
            }
        }
    }

    /// Items in the braces at `open` of a macro such as `cfg_if!` or `cfg_unix!`: bare, or in the braces of its branches.
    fn conditional(&self, open: usize, to: usize, module: &mut Module, depth: usize) {
        let close = self.lexed.close(open).min(to);
        let mut at = open + 1;
        while at < close {
            at = match self.word(at) {
                "if" | "else" => at + 1,
                // The condition of a branch stands before its brace; that of an item does not.
                "#" if self.word(self.lexed.after(at + 1)) == "{" => self.lexed.after(at + 1),
                "{" => {
                    let inner = self.lexed.close(at).min(close);
                    let mut inside = at + 1;
                    while inside < inner {
                        inside = self.item(inside, inner, module, depth + 1).max(inside + 1);
                    }
                    inner + 1
                }
                _ => self.item(at, close, module, depth + 1).max(at + 1),
            };
        }
    }

    /// Documentation and attributes from token `at` on, and the token after them.
    fn before(&self, start: usize, to: usize) -> (Before, usize) {
        let mut before = Before::default();
        let mut at = start;
        while self.word(at) == "#" && at < to {
            let group = at + 1 + usize::from(self.word(at + 1) == "!");
            if self.word(group) != "[" {
                break;
            }
            let close = self.lexed.close(group).min(to);
            let has = |word: &str| (group..close).any(|n| self.word(n) == word);
            match self.word(group + 1) {
                "doc" if has("hidden") => before.hidden = true,
                "doc" => before.doc = before.doc.or_else(|| self.attribute_doc(group)),
                "cfg" if has("test") && !has("not") && !has("any") => before.test = true,
                "test" => before.test = true,
                "macro_export" => before.exported = true,
                "path" if self.word(group + 2) == "=" => {
                    before.path = Some(self.word(group + 3).trim_matches('"').to_string());
                }
                _ => {}
            }
            at = close + 1;
        }
        let from = if start == 0 { 0 } else { self.lexed.end(start - 1) };
        let mut told = self.lexed.comments_in(from, self.lexed.start(at)).filter(|comment| is_outer(comment));
        let doc = told.find_map(first_line);
        before.doc = doc.or(before.doc);
        (before, at)
    }

    /// The text of `[doc = "…"]` in the group at `group`.
    fn attribute_doc(&self, group: usize) -> Option<String> {
        if self.word(group + 1) != "doc" || self.word(group + 2) != "=" {
            return None;
        }
        let value = self.word(group + 3);
        if value.starts_with('"') || value.starts_with('r') {
            let text = value.trim_start_matches(['r', '#']).trim_end_matches('#').trim_matches('"');
            return first_line(text);
        }
        Some("(its documentation stands in another file)".into())
    }

    fn qualifiers(&self, mut at: usize) -> usize {
        loop {
            let next = self.word(at + 1);
            let is_qualifier = match self.word(at) {
                "const" => matches!(next, "fn" | "unsafe" | "async" | "extern" | "trait"),
                "async" | "safe" => matches!(next, "fn" | "unsafe" | "extern" | "static"),
                "default" => matches!(next, "fn" | "unsafe" | "async" | "const" | "type" | "impl"),
                "unsafe" => true,
                "auto" => next == "trait",
                "extern" if next == "fn" => true,
                "extern" if self.word(at + 2) == "fn" => {
                    at += 1;
                    true
                }
                _ => false,
            };
            if !is_qualifier {
                return at;
            }
            at += 1;
        }
    }

    /// The first of these tokens from `at` on that stands in no bracket, or `to`.
    fn find(&self, mut at: usize, to: usize, wanted: &[&str]) -> usize {
        while at < to {
            if wanted.contains(&self.word(at)) {
                return at;
            }
            at = self.lexed.after(at);
        }
        to
    }

    /// The next comma from `at` on that stands in no bracket, angled ones included, or `to`.
    fn comma(&self, mut at: usize, to: usize) -> usize {
        let mut angles = 0usize;
        while at < to {
            match self.word(at) {
                "," if angles == 0 => return at,
                "<" => angles += 1,
                ">" if !matches!(self.word(at - 1), "-" | "=") => angles = angles.saturating_sub(1),
                _ => {}
            }
            at = self.lexed.after(at);
        }
        to
    }

    /// Named fields in the braces at `open`; `all` says whether only `pub` ones are members.
    fn fields(&self, open: usize, prefix: &str, only_public: bool) -> Vec<Member> {
        let close = self.lexed.close(open);
        let mut members = Vec::new();
        let mut at = open + 1;
        while at < close {
            let (before, first) = self.before(at, close);
            let mut name = first;
            let mut public = !only_public;
            if self.word(name) == "pub" {
                let bound = self.word(name + 1) == "(";
                public = !bound;
                name = if bound { self.lexed.after(name + 1) } else { name + 1 };
            }
            let end = self.comma(name, close);
            if public
                && !before.hidden
                && !before.test
                && self.lexed.is_name(name)
                && self.word(name + 1) == ":"
            {
                members.push(Member {
                    kind: Kind::Field,
                    name: format!("{prefix}{}", self.word(name)),
                    signature: self.lexed.source(first, end),
                    line: self.lexed.line_of(name),
                    doc: before.doc,
                });
            }
            at = end + 1;
        }
        members
    }

    fn variants(&self, open: usize) -> Vec<Member> {
        let close = self.lexed.close(open);
        let mut members = Vec::new();
        let mut at = open + 1;
        while at < close {
            let (before, name) = self.before(at, close);
            let mut end = name + 1;
            let group = (self.word(end) == "{").then_some(end);
            if matches!(self.word(end), "(" | "{") {
                end = self.lexed.after(end);
            }
            let next = self.find(end, close, &[","]);
            if !before.hidden && !before.test && self.lexed.is_name(name) {
                members.push(Member {
                    kind: Kind::Variant,
                    name: self.word(name).into(),
                    signature: self
                        .lexed
                        .source(name, if group.is_some() { name + 1 } else { end.min(close) }),
                    line: self.lexed.line_of(name),
                    doc: before.doc,
                });
                if let Some(group) = group {
                    members.extend(self.fields(group, &format!("{}::", self.word(name)), false));
                }
            }
            at = next + 1;
        }
        members
    }

    /// Functions, constants and types in the braces at `open`: all of a trait, the `pub` ones of an implementation.
    fn associated(&self, open: usize, of_trait: bool) -> Vec<Member> {
        let mut inside = Module::default();
        let close = self.lexed.close(open);
        let mut at = open + 1;
        // Nothing nests here: an item of an implementation has no items but in its body, which is passed over.
        while at < close {
            at = self.item(at, close, &mut inside, DEPTH_MAX).max(at + 1);
        }
        inside
            .items
            .into_iter()
            .filter(|item| of_trait || item.public)
            .map(|item| Member {
                kind: Kind::Method,
                name: item.name,
                signature: item.signature,
                line: item.line,
                doc: item.doc,
            })
            .collect()
    }

    /// The type of an inherent implementation whose header are the tokens `from..to`; none for a trait's.
    fn inherent(&self, from: usize, to: usize) -> Option<String> {
        let mut at = from;
        let mut angles = 0usize;
        let mut name = None;
        if self.word(at) == "<" {
            at = self.after_angles(at, to);
        }
        while at < to {
            match self.word(at) {
                "<" => angles += 1,
                ">" if !matches!(self.word(at - 1), "-" | "=") => angles = angles.saturating_sub(1),
                "where" if angles == 0 => break,
                "for" if angles == 0 && self.word(at + 1) != "<" => return None,
                word if angles == 0 && self.lexed.is_name(at) && !matches!(word, "dyn" | "mut" | "const") => {
                    name = Some(word.to_string());
                }
                _ => {}
            }
            at = self.lexed.after(at);
        }
        name
    }

    fn after_angles(&self, mut at: usize, to: usize) -> usize {
        let mut angles = 0usize;
        while at < to {
            match self.word(at) {
                "<" => angles += 1,
                ">" if !matches!(self.word(at - 1), "-" | "=") => {
                    angles = angles.saturating_sub(1);
                    if angles == 0 {
                        return at + 1;
                    }
                }
                _ => {}
            }
            at = self.lexed.after(at);
        }
        to
    }

    /// Flattens `a::{b, c as d, e::*}`.
    #[expect(
        clippy::too_many_arguments,
        reason = "a walk with its place in the text, its place in the tree, and its harvest"
    )]
    fn use_tree(
        &self,
        from: usize,
        to: usize,
        prefix: &mut Vec<String>,
        public: bool,
        line: u32,
        uses: &mut Vec<Use>,
        depth: usize,
    ) {
        let base = prefix.len();
        let mut at = from;
        while at < to {
            let end = self.find(at, to, &[","]);
            let mut alias = None;
            let mut group = None;
            let mut n = at;
            while n < end {
                match self.word(n) {
                    "{" => {
                        group = Some(n);
                        break;
                    }
                    "as" if self.lexed.is_name(n + 1) => {
                        alias = Some(self.word(n + 1).to_string());
                        break;
                    }
                    ":" => {}
                    word if word == "*" || self.lexed.is_name(n) => prefix.push(word.to_string()),
                    // No path of Rust: the text is not, or half written.
                    _ => return prefix.truncate(base),
                }
                n += 1;
            }
            match group {
                Some(open) if depth < DEPTH_MAX => {
                    self.use_tree(
                        open + 1,
                        self.lexed.close(open).min(to),
                        prefix,
                        public,
                        line,
                        uses,
                        depth + 1,
                    );
                }
                Some(_) => {}
                None if prefix.len() > base => {
                    let mut path = prefix.clone();
                    if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
                        path.pop();
                    }
                    let name = alias.unwrap_or_else(|| path.last().cloned().unwrap_or_default());
                    if name != "_" {
                        uses.push(Use { path, name, public, line });
                    }
                }
                None => {}
            }
            prefix.truncate(base);
            at = end + 1;
        }
    }
}

fn is_bound(word: &str) -> bool {
    matches!(word, "crate" | "super" | "self" | "in")
}

fn is_inner(comment: &str) -> bool {
    comment.starts_with("//!") || comment.starts_with("/*!")
}

fn is_outer(comment: &str) -> bool {
    (comment.starts_with("///") && !comment.starts_with("////"))
        || (comment.starts_with("/**") && !comment.starts_with("/***") && comment.len() > 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"//! A house.
//! More.
#![forbid(unsafe_code)]

use std::fmt::{self, Display as Show};
pub use self::inner::{Door, windows::*};

/// A wall.
///
/// Of stone.
#[derive(Debug)]
pub struct Wall<'a, T: Into<Vec<u8>> = Vec<u8>>
where
    T: Clone,
{
    /// How high.
    pub height: u32,
    pub map: Map<K, fn(A) -> B>,
    pub(crate) own: u8,
    hidden: &'a T,
}

pub struct Pair(pub u8, u8);

/** Kinds. */
pub enum Kind {
    /// One.
    One = 1 << 3,
    Two(u8, u8),
    /// Three.
    Three {
        /// Its part.
        part: u8,
    },
    #[doc(hidden)]
    Four,
}

impl<'a, T: Clone> Wall<'a, T> {
    /// Builds it.
    pub const unsafe fn build<const N: usize>(self) -> [u8; N] where T: Sized { loop {} }
    fn secret() {}
    pub const HIGH: u32 = { 3 };
}

impl<T> fmt::Display for Wall<'_, T> { fn fmt(&self) {} }

pub trait Climb: Send {
    type Step;
    /// Climbs.
    fn climb(&self) -> Self::Step { unimplemented!() }
}

#[cfg(test)]
mod tests { pub fn not_seen() {} }

mod inner {
    //! Within.
    pub fn deep() -> impl Fn() -> u8 { || 3 }
}

#[macro_export]
macro_rules! brick { () => { pub fn not_this() {} } }
vec_of! { pub fn nor_this() {} }
pub static mut COUNT: u8 = 0;
pub(super) fn near() {}
pub type Alias<T> = Result<T, Box<dyn Error>>;
extern "C" { /** From C. */ pub fn outside(x: u8); }
#[path = "other.rs"]
pub mod elsewhere;
"#;

    #[test]
    fn declarations_are_found_with_their_lines_documents_and_parts() {
        let module = scan(TEXT);
        assert_eq!(module.doc.as_deref(), Some("A house."));
        let names: Vec<_> = module.items.iter().map(|item| (item.name.as_str(), item.public)).collect();
        assert_eq!(
            names,
            [
                ("Wall", true),
                ("Pair", true),
                ("Kind", true),
                ("Climb", true),
                ("inner", false),
                ("brick", false),
                ("COUNT", true),
                ("near", false),
                ("Alias", true),
                ("outside", true),
                ("elsewhere", true),
            ]
        );
        let wall = &module.items[0];
        assert_eq!((wall.line, wall.doc.as_deref()), (12, Some("A wall.")));
        assert_eq!(wall.signature, "pub struct Wall<'a, T: Into<Vec<u8>> = Vec<u8>> where T: Clone,");
        let members = |n: usize| module.items[n].members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>();
        assert_eq!(members(0), ["height", "map"]);
        assert_eq!(members(2), ["One", "Two", "Three", "Three::part"]);
        assert_eq!(members(3), ["Step", "climb"]);
        assert_eq!(module.items[2].doc.as_deref(), Some("Kinds."));
        assert_eq!(
            module.items[4].body.as_ref().map(|body| body.items[0].signature.as_str()),
            Some("pub fn deep() -> impl Fn() -> u8")
        );
        assert!(module.items[5].exported);
        assert_eq!(module.items[10].path.as_deref(), Some("other.rs"));
        assert_eq!(module.calls, 1);
    }

    #[test]
    fn methods_belong_to_types_and_only_public_ones_count() {
        let module = scan(TEXT);
        let methods: Vec<_> =
            module.methods.iter().map(|(of, method)| (of.as_str(), method.name.as_str())).collect();
        assert_eq!(methods, [("Wall", "build"), ("Wall", "HIGH")]);
        assert_eq!(
            module.methods[0].1.signature,
            "pub const unsafe fn build<const N: usize>(self) -> [u8; N] where T: Sized"
        );
    }

    #[test]
    fn a_tree_of_uses_is_flattened() {
        let uses: Vec<_> =
            scan(TEXT).uses.into_iter().map(|one| (one.path.join("::"), one.name, one.public)).collect();
        let one = |path: &str, name: &str, public| (path.to_string(), name.to_string(), public);
        assert_eq!(
            uses,
            [
                one("std::fmt", "fmt", false),
                one("std::fmt::Display", "Show", false),
                one("self::inner::Door", "Door", true),
                one("self::inner::windows::*", "*", true),
            ]
        );
    }

    #[test]
    fn what_stands_in_conditional_macros_is_found() {
        let text = "cfg_rt! { /// R.\n pub mod rt; pub use rt::Rt; }\ncfg_if::cfg_if! { if #[cfg(a)] { #[inline]\n pub fn f() {} } else if #[cfg(b)] { pub fn g() {} } else { pub struct H; } }\npub fn last() {}\n";
        let module = scan(text);
        let names: Vec<_> = module.items.iter().map(|item| item.name.as_str()).collect();
        assert_eq!(names, ["rt", "f", "g", "H", "last"]);
        assert_eq!((module.items[0].doc.as_deref(), module.uses.len(), module.calls), (Some("R."), 1, 0));
    }

    #[test]
    fn unsafe_is_counted_where_it_is_code() {
        assert_eq!(count_unsafe("// unsafe\nunsafe fn f() { unsafe { \"unsafe\" } }\nunsafe_code!()"), 2);
    }

    #[test]
    fn any_text_is_read_without_a_panic_and_lines_lie_in_it() {
        proptest::proptest!(|(parts in proptest::collection::vec(proptest::sample::select(vec![
            "pub ", "fn ", "a", "struct ", "enum ", "impl ", "for ", "trait ", "mod ", "use ", "{", "}", "(", ")", "<", ">", "->", ",", ";",
            "::", "*", "#[", "]", "doc", "=", "\"x\"", "!", "'a", "/// d\n", "//! i\n", "/*", "*/", "macro_rules", "\n", "extern ", "const ", "as ", "where ",
        ]), 0..60))| {
            let text = parts.concat();
            let module = scan(&text);
            let lines = text.split('\n').count();
            for item in &module.items {
                proptest::prop_assert!((1..=lines).contains(&(item.line as usize)));
            }
        });
    }
}
