//! What one C header declares: functions, types, variables and macros, with the comments beside them.
//!
//! What stands under `#ifdef __cplusplus` is passed over, and a header that is C++ all the same gives nothing. A comment belongs to the
//! declaration right below it, or on its line, or right above it where a blank line follows. Names with a leading underscore,
//! include guards, and declarations whose name a macro makes are left out.

use crate::docgen::crates::once;
use crate::docgen::item::{Item, Kind};
use crate::docgen::lexer::{Dialect, Lexed, What, first_line, lex};

/// Words that stand before a bracket and are no function's name.
const NO_NAMES: &[&str] = &[
    "__attribute__",
    "__attribute",
    "__declspec",
    "_Alignas",
    "alignas",
    "_Static_assert",
    "static_assert",
    "__asm__",
    "__asm",
    "asm",
    "__extension__",
    "__typeof__",
    "typeof",
    "sizeof",
    "defined",
    "if",
    "while",
    "for",
    "switch",
    "return",
];
/// Macros around the parameters of a prototype, for compilers of old.
const AROUND_PARAMETERS: &[&str] =
    &["OF", "P", "PROTO", "__P", "ARGS", "_ANSI_ARGS_", "_", "Z_ARG", "PARAMS"];

/// Lists the header `file`; `None` if it is C++.
pub fn scan(text: &str, file: &str) -> Option<Vec<Item>> {
    let lexed = lex(text, Dialect::C);
    let kept = without_cplusplus(&lexed);
    if kept.iter().any(|n| matches!(lexed.word(*n), "namespace" | "template" | "class" | "constexpr")) {
        return None;
    }
    let mut scanner = Scanner { lexed: &lexed, text, file, items: Vec::new() };
    scanner.macros(&kept);
    let code: Vec<usize> = kept.into_iter().filter(|n| lexed.tokens[*n].what != What::Directive).collect();
    scanner.declarations(&code);
    if scanner.items.is_empty() {
        return Some(Vec::new());
    }
    scanner.items.sort_by_key(|item| item.line);
    let module = Item {
        kind: Kind::Module,
        name: file.into(),
        signature: format!("#include \"{}\"", crate::tree::name(file)),
        file: file.into(),
        line: 1,
        doc: lexed.comments_in(0, lexed.start(0)).find_map(first_line),
        counted: false,
    };
    let mut items = vec![module];
    items.extend(scanner.items);
    Some(once(items))
}

/// The tokens that a C compiler may see: none between `#ifdef __cplusplus` and its `#else` or `#endif`.
fn without_cplusplus(lexed: &Lexed<'_>) -> Vec<usize> {
    let mut kept = Vec::new();
    // For each open condition: whether it asks for C++, and whether its present branch is for C++ alone.
    let mut open: Vec<(bool, bool)> = Vec::new();
    for n in 0..lexed.tokens.len() {
        if lexed.tokens[n].what == What::Directive {
            let line = lexed.word(n).trim_start_matches('#').trim_start();
            let word: String = line.chars().take_while(char::is_ascii_alphabetic).collect();
            let asks = line.contains("__cplusplus");
            match word.as_str() {
                "if" | "ifdef" => {
                    open.push((asks, asks && !line.contains("!defined") && !line.contains("! defined")))
                }
                "ifndef" => open.push((asks, false)),
                "else" | "elif" => {
                    if let Some((asks, foreign)) = open.last_mut() {
                        *foreign = *asks && !*foreign && word == "else";
                    }
                }
                "endif" => {
                    open.pop();
                }
                _ => {}
            }
        }
        if !open.iter().any(|(_, foreign)| *foreign) {
            kept.push(n);
        }
    }
    kept
}

struct Scanner<'l, 't> {
    lexed: &'l Lexed<'t>,
    text: &'t str,
    file: &'l str,
    items: Vec<Item>,
}

impl Scanner<'_, '_> {
    fn word(&self, n: usize) -> &str {
        self.lexed.word(n)
    }

    fn push(
        &mut self,
        kind: Kind,
        name: &str,
        signature: String,
        line: u32,
        doc: Option<String>,
        counted: bool,
    ) {
        if name.is_empty() || name.starts_with('_') {
            return;
        }
        self.items.push(Item {
            kind,
            name: name.into(),
            signature,
            file: self.file.into(),
            line,
            doc,
            counted,
        });
    }

    fn macros(&mut self, kept: &[usize]) {
        let mut guard: Option<String> = None;
        for n in kept.iter().copied().filter(|n| self.lexed.tokens[*n].what == What::Directive) {
            let line = self.word(n).trim_start_matches('#').trim_start();
            if let Some(name) = line.strip_prefix("ifndef") {
                guard = Some(name.trim().to_string());
                continue;
            }
            let Some(rest) = line.strip_prefix("define") else {
                guard = None;
                continue;
            };
            let rest = rest.trim_start();
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let after = &rest[name.len()..];
            let is_guard = guard.take().is_some_and(|guard| guard == name) && after.trim().is_empty();
            if is_guard {
                continue;
            }
            let parameters = match after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
                Some((inner, _)) => format!("({})", inner.split_whitespace().collect::<Vec<_>>().join(" ")),
                None => String::new(),
            };
            let doc = self.doc(n, n);
            let (name, line) = (name.clone(), self.lexed.line_of(n));
            self.push(Kind::Macro, &name, format!("#define {name}{parameters}"), line, doc, false);
        }
    }

    /// The comment of the declaration from token `first` to token `last`.
    fn doc(&self, first: usize, last: usize) -> Option<String> {
        let (start, end) = (self.lexed.start(first), self.lexed.end(last));
        let line_end = self.text[end..].find('\n').map_or(self.text.len(), |feed| end + feed);
        let next = |byte: usize| {
            self.lexed.comments.get(self.lexed.comments.partition_point(|(from, _)| *from < byte))
        };
        let beside = next(end).filter(|(from, _)| *from < line_end);
        let beside = beside.map(|(from, to)| &self.text[*from..*to]);
        let at = self.lexed.comments.partition_point(|(_, to)| *to <= start);
        let mut first_above = None;
        let mut below = start;
        for (from, to) in self.lexed.comments[..at].iter().rev() {
            let own_line =
                self.text[..*from].rsplit('\n').next().is_some_and(|before| before.trim().is_empty());
            if self.text[*to..below].bytes().filter(|byte| *byte == b'\n').count() > 1
                || !self.text[*to..below].trim().is_empty()
                || !own_line
            {
                break;
            }
            first_above = Some(&self.text[*from..*to]);
            below = *from;
            if !first_above.is_some_and(|comment| comment.starts_with("//")) {
                break;
            }
        }
        let above = first_above.and_then(first_line);
        let after = || {
            let (from, to) = next(line_end)?;
            let next_line = self.text[line_end..*from].trim().is_empty()
                && self.text[line_end..*from].bytes().filter(|byte| *byte == b'\n').count() == 1;
            let rest = &self.text[*to..];
            let blank = rest.trim_start_matches([' ', '\t', '\r']).strip_prefix('\n').is_some_and(|rest| {
                rest.trim_start_matches([' ', '\t', '\r']).starts_with('\n') || rest.trim().is_empty()
            });
            (next_line && blank).then(|| first_line(&self.text[*from..*to]))?
        };
        above.or_else(|| beside.and_then(first_line)).or_else(after)
    }

    fn declarations(&mut self, code: &[usize]) {
        let mut at = 0;
        while at < code.len() {
            let start = at;
            // `extern "C" {` without `#ifdef`, and what is left of one.
            if self.word(code[at]) == "}" || self.word(code[at]) == ";" {
                at += 1;
                continue;
            }
            if self.word(code[at]) == "extern"
                && code.get(at + 1).is_some_and(|n| self.word(*n).starts_with('"'))
            {
                at += 2;
                at += usize::from(code.get(at).is_some_and(|n| self.word(*n) == "{"));
                continue;
            }
            let (mut depth, mut body) = (0usize, None);
            while at < code.len() {
                match self.word(code[at]) {
                    "(" | "[" => depth += 1,
                    "{" => {
                        if depth == 0 && body.is_none() {
                            body = Some(at);
                        }
                        depth += 1;
                    }
                    ")" | "]" => depth = depth.saturating_sub(1),
                    "}" => {
                        if depth == 0 {
                            break;
                        }
                        depth -= 1;
                        let ends =
                            depth == 0 && body.is_some_and(|open| self.is_function_body(code, start, open));
                        if ends {
                            break;
                        }
                    }
                    ";" if depth == 0 => break,
                    _ => {}
                }
                at += 1;
            }
            let end = at.min(code.len());
            if end > start {
                self.declaration(
                    &code[start..end],
                    body.map(|open| open - start),
                    code[end.min(code.len() - 1)],
                );
            }
            at += 1;
        }
    }

    /// Whether the brace at `open` follows parameters, so that no semicolon ends what it ends.
    fn is_function_body(&self, code: &[usize], start: usize, open: usize) -> bool {
        open > start && self.word(code[open - 1]) == ")" && !matches!(self.word(code[start]), "typedef")
    }

    /// Reads one declaration; `last` is the token that ends it.
    fn declaration(&mut self, code: &[usize], body: Option<usize>, last: usize) {
        let first = code[0];
        let line = self.lexed.line_of(first);
        let word = |n: usize| code.get(n).map_or("", |n| self.lexed.word(*n));
        let header_end = body.unwrap_or(code.len());
        let signature = |to: usize| {
            let mut out = String::new();
            for (n, token) in code[..to.min(code.len())].iter().enumerate() {
                let spaced = n > 0 && self.lexed.end(code[n - 1]) < self.lexed.start(*token);
                out.push_str(if spaced { " " } else { "" });
                out.push_str(&self.lexed.word(*token).split_whitespace().collect::<Vec<_>>().join(" "));
            }
            out
        };
        let doc = self.doc(first, last);
        if word(0) == "typedef" {
            if let Some(name) = self.defined_type(code) {
                let name = name.to_string();
                self.push(Kind::Type, &name, signature(header_end), line, doc, true);
            }
            return;
        }
        let tag = code[..header_end]
            .iter()
            .position(|n| matches!(self.lexed.word(*n), "struct" | "union" | "enum"));
        if let (Some(open), Some(tag)) = (body, tag)
            && !code[..open].iter().any(|n| self.lexed.word(*n) == "(")
        {
            let kind = match word(tag) {
                "struct" => Kind::Struct,
                "union" => Kind::Union,
                _ => Kind::Enum,
            };
            let named = open > tag + 1 && self.lexed.is_name(code[open - 1]);
            let name = if named { word(open - 1).to_string() } else { String::new() };
            self.push(kind, &name, signature(open), line, doc, true);
            return;
        }
        if let Some(name) = self.function(&code[..header_end]) {
            let hidden = word(0) == "static"
                && !code[..header_end].iter().any(|n| {
                    self.lexed.word(*n).contains("inline") || self.lexed.word(*n).contains("INLINE")
                });
            if !hidden {
                let name = name.to_string();
                self.push(Kind::Function, &name, signature(header_end), line, doc, true);
            }
            return;
        }
        if code.iter().any(|n| self.lexed.word(*n) == "extern") && body.is_none() {
            let end = code
                .iter()
                .position(|n| matches!(self.lexed.word(*n), "[" | "=" | "("))
                .unwrap_or(code.len());
            if end > 1 && self.lexed.is_name(code[end - 1]) && word(end) != "(" {
                let name = word(end - 1).to_string();
                self.push(Kind::Variable, &name, signature(header_end), line, doc, true);
            }
        }
    }

    /// The name that a `typedef` gives: the last at no depth, or within `(*name)`.
    fn defined_type(&self, code: &[usize]) -> Option<&str> {
        let mut depth = 0usize;
        let mut name = None;
        for (n, token) in code.iter().enumerate() {
            match self.lexed.word(*token) {
                "(" if depth == 0 => {
                    let pointer = (n + 1..code.len())
                        .find(|m| self.lexed.word(code[*m]) != "*" && self.lexed.word(code[*m]) != "const");
                    let starred = pointer.is_some_and(|m| m > n + 1);
                    // Calling conventions may stand before the star.
                    let close = (n..code.len()).find(|m| self.lexed.word(code[*m]) == ")")?;
                    let has_star = code[n..close].iter().any(|m| self.lexed.word(*m) == "*");
                    if (starred || has_star)
                        && self.lexed.word(code[close + 1..].first().copied().unwrap_or(usize::MAX)) == "("
                    {
                        let at = code[n..close].iter().rev().find(|m| self.lexed.is_name(**m))?;
                        return Some(self.lexed.word(*at));
                    }
                    // A function's type: its name stands before the parameters.
                    return name;
                }
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth = depth.saturating_sub(1),
                word if depth == 0 && self.lexed.is_name(*token) && !NO_NAMES.contains(&word) => {
                    name = Some(word)
                }
                _ => {}
            }
        }
        name
    }

    /// The name of a function's prototype or definition.
    fn function(&self, code: &[usize]) -> Option<&str> {
        let mut depth = 0usize;
        let mut candidates = Vec::new();
        for (n, token) in code.iter().enumerate() {
            match self.lexed.word(*token) {
                "=" if depth == 0 => return None,
                "(" => {
                    let before = n.checked_sub(1).map(|n| code[n]);
                    let inner = code.get(n + 1).map_or("", |n| self.lexed.word(*n));
                    if depth == 0
                        && let Some(before) = before
                        && self.lexed.is_name(before)
                        && !NO_NAMES.contains(&self.lexed.word(before))
                        && inner != "*"
                    {
                        let wrapped = AROUND_PARAMETERS.contains(&self.lexed.word(before))
                            && n >= 2
                            && self.lexed.is_name(code[n - 2]);
                        candidates.push(if wrapped { n - 2 } else { n - 1 });
                    } else if depth == 0 && inner == "*" && candidates.is_empty() {
                        return None;
                    }
                    depth += 1;
                }
                "{" | "[" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        let shouts = |n: usize| {
            self.lexed.word(code[n]).chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        };
        let quiet = candidates.iter().copied().find(|n| !shouts(*n));
        let at = quiet.or_else(|| candidates.first().copied().filter(|n| *n > 0))?;
        // A name alone is a macro's call, not a declaration.
        (at > 0).then(|| self.lexed.word(code[at]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str) -> Vec<String> {
        let items = scan(text, "a.h").expect("it is C");
        items
            .into_iter()
            .skip(1)
            .map(|item| {
                format!("{} {} {} {}", item.kind.word(), item.name, item.line, item.doc.unwrap_or_default())
            })
            .collect()
    }

    const TEXT: &str = r#"/* A library. */
#ifndef A_H
#define A_H
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
class Never;
#endif

/* Largest size. */
#define A_MAX 10 /* of bytes */
#define A_MIN(a, b) ((a) < (b) \
    ? (a) : (b))

/** Opens a door.
 *  @param name its name */
extern int a_open(const char *name, int (*call)(void));
A_API(char *) a_name(void);
ZEXTERN int ZEXPORT a_close OF((int door));
/*
     Closes a door.
*/

int a_plain(void) __attribute__((pure)) A_PRINTF(1, 2);   /* plain */
typedef struct a_thing { int x; struct { int y; } z; } a_thing;
typedef int (*a_call)(int, void *);
typedef unsigned long a_size, *a_sizep;
// Kinds
// of things.
enum a_kind { ONE, TWO };
struct a_open_struct;
static inline int a_twice(int x) { return x * 2; }
extern const char a_version[];
extern void (*a_hook)(void);
static int hidden(void);
int _private(void);
A_DECLARE(x)
#ifdef __cplusplus
}
#endif
#endif
"#;

    #[test]
    fn declarations_are_found_with_their_comments() {
        assert_eq!(
            listed(TEXT),
            [
                "macro A_MAX 11 Largest size.",
                "macro A_MIN 12 ",
                "function a_open 17 Opens a door.",
                "function a_name 18 ",
                "function a_close 19 Closes a door.",
                "function a_plain 24 plain",
                "type a_thing 25 ",
                "type a_call 26 ",
                "type a_sizep 27 ",
                "enum a_kind 30 Kinds",
                "function a_twice 32 ",
                "variable a_version 33 ",
            ]
        );
        let items = scan(TEXT, "a.h").expect("it is C");
        let signature = |name: &str| {
            items.iter().find(|item| item.name == name).map(|item| item.signature.clone()).expect(name)
        };
        assert_eq!(signature("a_open"), "extern int a_open(const char *name, int (*call)(void))");
        assert_eq!(signature("A_MIN"), "#define A_MIN(a, b)");
        assert_eq!(signature("a_twice"), "static inline int a_twice(int x)");
        assert_eq!(items[0].doc.as_deref(), Some("A library."));
    }

    #[test]
    fn a_header_of_another_language_gives_nothing() {
        assert_eq!(scan("namespace a { int f(); }", "a.h"), None);
        assert_eq!(
            scan("#ifndef __cplusplus\nint f(void);\n#else\nnamespace x {}\n#endif\n", "a.h")
                .map(|items| items.len()),
            Some(2)
        );
    }

    #[test]
    fn any_text_is_read_without_a_panic_and_lines_lie_in_it() {
        proptest::proptest!(|(text in "(typedef |struct |int |a|\\(|\\)|\\*|\\{|\\}|;|,|=|\\[|\\]|\n|#define A|#ifdef __cplusplus\n|#endif\n|#else\n|/\\* d \\*/|// e\n|extern |\"C\"|enum |ä|static ){0,60}")| {
            let lines = text.split('\n').count();
            for item in scan(&text, "a.h").unwrap_or_default() {
                proptest::prop_assert!((1..=lines).contains(&(item.line as usize)), "{item:?}");
            }
        });
    }
}
