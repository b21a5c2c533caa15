//! What a Rust file says of modules: which it declares, and which paths it names.
//!
//! A scanner over tokens, not a parser: it also reads what stands inside macro calls, does not stop at a syntax error, and
//! needs no stack for deep nesting. It expands no macro, so what only an expansion names is not seen.

/// A module declared in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The modules of the same file that it stands in, outermost first.
    pub scope: Vec<String>,
    /// Its name.
    pub name: String,
    /// The file that a `#[path]` attribute names.
    pub path: Option<String>,
    /// Whether its body stands in this file.
    pub inline: bool,
    /// Whether it is there for tests alone.
    pub test: bool,
}

/// A path named in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The modules of the same file that it stands in, outermost first.
    pub scope: Vec<String>,
    /// Its segments; an empty first one says that it begins with `::`.
    pub path: Vec<String>,
    /// The line, from 1.
    pub line: u32,
    /// Whether it is named in tests alone.
    pub test: bool,
}

/// What one file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scan {
    /// The modules it declares.
    pub declared: Vec<Declared>,
    /// The paths it names.
    pub named: Vec<Named>,
    /// Its string literals that end like a Rust file: what `include!` and its like may name.
    pub files: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Text(&'a str),
    /// `::`
    Path,
    Sign(u8),
}

/// Nesting of groups in one `use` that is still followed.
const DEEP: usize = 32;

/// Scans one file.
pub fn scan(text: &str) -> Scan {
    let tokens = tokens(text);
    let mut scan = Scan::default();
    for (token, _) in &tokens {
        if let Token::Text(text) = token
            && text.ends_with(".rs")
        {
            scan.files.push((*text).to_string());
        }
    }
    Walk { tokens: &tokens, at: 0, scope: Vec::new(), frames: Vec::new(), scan }.file()
}

/// A pair of braces that is open.
struct Frame {
    module: bool,
    test: bool,
}

struct Walk<'a> {
    tokens: &'a [(Token<'a>, u32)],
    at: usize,
    scope: Vec<String>,
    frames: Vec<Frame>,
    scan: Scan,
}

impl<'a> Walk<'a> {
    fn token(&self, ahead: usize) -> Option<Token<'a>> {
        self.tokens.get(self.at + ahead).map(|(token, _)| *token)
    }

    fn before(&self, back: usize) -> Option<Token<'a>> {
        self.at.checked_sub(back).and_then(|at| self.tokens.get(at)).map(|(token, _)| *token)
    }

    fn file(mut self) -> Scan {
        let (mut test, mut path, mut module, mut round) = (false, None, None, 0usize);
        let mut whole = false;
        while let Some((token, line)) = self.tokens.get(self.at).copied() {
            let within = whole || self.frames.last().is_some_and(|frame| frame.test);
            match token {
                Token::Sign(b'#') => {
                    let inner = self.token(1) == Some(Token::Sign(b'!'));
                    if self.token(if inner { 2 } else { 1 }) == Some(Token::Sign(b'[')) {
                        self.at += if inner { 3 } else { 2 };
                        let (is_test, named) = self.attribute();
                        match (inner, is_test) {
                            (false, _) => test |= is_test,
                            (true, true) => match self.frames.last_mut() {
                                Some(frame) => frame.test = true,
                                None => whole = true,
                            },
                            (true, false) => {}
                        }
                        path = named.or(path);
                        continue;
                    }
                }
                Token::Sign(b'{') => {
                    let name: Option<String> = module.take();
                    self.frames.push(Frame { module: name.is_some(), test: within || test });
                    self.scope.extend(name);
                    (test, path) = (false, None);
                }
                Token::Sign(b'}') => {
                    if self.frames.pop().is_some_and(|frame| frame.module) {
                        self.scope.pop();
                    }
                    (test, path) = (false, None);
                }
                Token::Sign(b'(') => round += 1,
                Token::Sign(b')') => round = round.saturating_sub(1),
                Token::Sign(b';') => (test, path) = (false, None),
                Token::Sign(b',') if round == 0 => (test, path) = (false, None),
                Token::Word("mod") => {
                    if let (Some(Token::Word(name)), Some(next)) = (self.token(1), self.token(2)) {
                        let inline = next == Token::Sign(b'{');
                        if inline || next == Token::Sign(b';') {
                            self.scan.declared.push(Declared {
                                scope: self.scope.clone(),
                                name: plain(name),
                                path: path.take(),
                                inline,
                                test: within || test,
                            });
                            module = inline.then(|| plain(name));
                        }
                        self.at += 1;
                    }
                }
                Token::Word("use") if self.token(1) != Some(Token::Sign(b'<')) => {
                    self.at += 1;
                    let mut paths = Vec::new();
                    self.tree(&mut Vec::new(), &mut paths, 0);
                    self.name(paths, within || test);
                    continue;
                }
                Token::Word("crate") if self.before(1) == Some(Token::Word("extern")) => {
                    if let Some(Token::Word(name)) = self.token(1) {
                        self.name(vec![(vec![String::new(), plain(name)], line)], within || test);
                    }
                }
                Token::Word(first) if self.token(1) == Some(Token::Path) => {
                    let path = self.path(first);
                    let joined = matches!(self.before(1), Some(Token::Path | Token::Sign(b'.')));
                    let visibility = self.before(1) == Some(Token::Word("in"))
                        && self.before(2) == Some(Token::Sign(b'('))
                        && self.before(3) == Some(Token::Word("pub"));
                    let modules = first.starts_with(|c: char| c.is_lowercase() || c == '_');
                    if modules && !joined && !visibility && path.len() > 1 {
                        self.name(vec![(path.clone(), line)], within || test);
                    }
                    self.at += path.len() * 2 - 1;
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
        self.scan
    }

    fn name(&mut self, paths: Vec<(Vec<String>, u32)>, test: bool) {
        for (path, line) in paths {
            self.scan.named.push(Named { scope: self.scope.clone(), path, line, test });
        }
    }

    /// The segments from here on: `first`, and each word after a `::`.
    fn path(&self, first: &str) -> Vec<String> {
        let mut path = vec![plain(first)];
        let mut ahead = 1;
        while self.token(ahead) == Some(Token::Path)
            && let Some(Token::Word(next)) = self.token(ahead + 1)
        {
            path.push(plain(next));
            ahead += 2;
        }
        path
    }

    /// What an attribute says, from behind its bracket to behind its end: whether it is for tests, and the path it gives.
    fn attribute(&mut self) -> (bool, Option<String>) {
        let (start, mut depth) = (self.at, 1);
        while depth > 0
            && let Some(token) = self.token(0)
        {
            match token {
                Token::Sign(b'[') => depth += 1,
                Token::Sign(b']') => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        let words = || {
            self.tokens[start..self.at].iter().filter_map(|(token, _)| match token {
                Token::Word(word) => Some(*word),
                _ => None,
            })
        };
        let test = match words().next() {
            Some("cfg") => words().any(|word| word == "test") && !words().any(|word| word == "not"),
            // `test`, `tokio::test(…)`: the last word of the attribute's own name.
            _ => {
                let name = self.tokens[start..self.at].iter().map(|(token, _)| *token);
                let name = name.take_while(|token| matches!(token, Token::Word(_) | Token::Path));
                name.last() == Some(Token::Word("test"))
            }
        };
        let named = match &self.tokens[start..self.at] {
            [(Token::Word("path"), _), (Token::Sign(b'='), _), (Token::Text(path), _), ..] => {
                Some((*path).to_string())
            }
            _ => None,
        };
        (test, named)
    }

    /// One tree of a `use`, below `prefix`; ends before `,`, `}` or `;`.
    fn tree(&mut self, prefix: &mut Vec<String>, paths: &mut Vec<(Vec<String>, u32)>, depth: usize) {
        let line = self.tokens.get(self.at).map_or(1, |(_, line)| *line);
        let own = prefix.len();
        let mut group = false;
        while let Some(token) = self.token(0) {
            match token {
                Token::Path => {
                    if prefix.is_empty() {
                        prefix.push(String::new());
                    }
                }
                Token::Word("as") => {
                    self.at += 2;
                    continue;
                }
                Token::Word("self") if !prefix.is_empty() => {}
                Token::Word(word) => prefix.push(plain(word)),
                Token::Sign(b'*') => {}
                Token::Sign(b'{') if depth < DEEP => {
                    group = true;
                    self.at += 1;
                    while !matches!(self.token(0), None | Some(Token::Sign(b'}' | b';'))) {
                        let from = self.at;
                        self.tree(prefix, paths, depth + 1);
                        if self.token(0) == Some(Token::Sign(b',')) || self.at == from {
                            self.at += 1;
                        }
                    }
                    if self.token(0) == Some(Token::Sign(b'}')) {
                        self.at += 1;
                    }
                    continue;
                }
                _ => break,
            }
            self.at += 1;
        }
        if !group && !prefix.is_empty() {
            paths.push((prefix.clone(), line));
        }
        prefix.truncate(own);
    }
}

/// A name without the mark of a raw identifier.
fn plain(word: &str) -> String {
    word.strip_prefix("r#").unwrap_or(word).to_string()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The tokens that matter, with their lines: no comments, numbers, characters or lifetimes.
fn tokens(text: &str) -> Vec<(Token<'_>, u32)> {
    let bytes = text.as_bytes();
    let (mut at, mut line, mut tokens) = (0, 1u32, Vec::new());
    let get = |at: usize| bytes.get(at).copied().unwrap_or(0);
    while at < bytes.len() {
        let (start, byte) = (at, bytes[at]);
        match byte {
            b'/' if get(at + 1) == b'/' => {
                at = bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n);
            }
            b'/' if get(at + 1) == b'*' => {
                let mut depth = 0usize;
                while at < bytes.len() {
                    if get(at) == b'/' && get(at + 1) == b'*' {
                        depth += 1;
                        at += 2;
                    } else if get(at) == b'*' && get(at + 1) == b'/' {
                        depth -= 1;
                        at += 2;
                        if depth == 0 {
                            break;
                        }
                    } else {
                        at += 1;
                    }
                }
                at = at.min(bytes.len());
            }
            b'"' => {
                at = quoted(bytes, at + 1);
                let end = if at > start + 1 && get(at - 1) == b'"' { at - 1 } else { at };
                tokens.push((Token::Text(text.get(start + 1..end).unwrap_or("")), line));
            }
            b'\'' => {
                // A character if it ends behind one character or an escape, else a lifetime.
                let rest = text.get(at + 1..).unwrap_or("");
                let mut chars = rest.chars();
                match (chars.next(), chars.next()) {
                    (Some('\\'), Some(escaped)) => {
                        let from = at + 2 + escaped.len_utf8();
                        let stop = |b: &u8| *b == b'\'' || *b == b'\n';
                        at = bytes[from..].iter().position(stop).map_or(bytes.len(), |n| from + n);
                        at += usize::from(get(at) == b'\'');
                    }
                    (Some(one), Some('\'')) if one != '\'' => at += 2 + one.len_utf8(),
                    _ => at += 1,
                }
            }
            b'0'..=b'9' => {
                while is_word(get(at)) {
                    at += 1;
                }
            }
            _ if is_word(byte) => {
                while at < bytes.len() && is_word(bytes[at]) {
                    at += 1;
                }
                let word = text.get(start..at).unwrap_or("");
                let hashes = bytes[at..].iter().take_while(|b| **b == b'#').count();
                let raw = matches!(word, "r" | "br" | "cr");
                if raw && get(at + hashes) == b'"' {
                    let from = at + hashes + 1;
                    let mut end = from;
                    let closes = |end: usize| {
                        bytes[end] == b'"'
                            && bytes.len() - end > hashes
                            && bytes[end + 1..=end + hashes].iter().all(|b| *b == b'#')
                    };
                    while end < bytes.len() && !closes(end) {
                        end += 1;
                    }
                    tokens.push((Token::Text(text.get(from..end).unwrap_or("")), line));
                    at = (end + 1 + hashes).min(bytes.len());
                } else if word == "r" && hashes == 1 && is_word(get(at + 1)) {
                    at += 1;
                    while at < bytes.len() && is_word(bytes[at]) {
                        at += 1;
                    }
                    tokens.push((Token::Word(text.get(start..at).unwrap_or("")), line));
                } else if !(matches!(word, "b" | "c") && matches!(get(at), b'"' | b'\'')) {
                    tokens.push((Token::Word(word), line));
                }
            }
            b':' if get(at + 1) == b':' => {
                tokens.push((Token::Path, line));
                at += 2;
            }
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            _ => {
                tokens.push((Token::Sign(byte), line));
                at += 1;
            }
        }
        line += u32::try_from(bytes[start..at].iter().filter(|b| **b == b'\n').count()).unwrap_or(0);
    }
    tokens
}

/// The end of a string that begins at `at`, behind its closing quote.
fn quoted(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Vec<String> {
        let path = |named: &Named| {
            let test = if named.test { " test" } else { "" };
            format!("{}: {}{test}", named.line, named.path.join("::"))
        };
        scan(text).named.iter().map(path).collect()
    }

    #[test]
    fn uses_are_taken_apart() {
        let text = "use crate::a::{self, b::{C, d}, E as F};\npub(crate) use super::g::*;\nuse ::serde::Ser;\nextern crate alloc;\nuse one;";
        assert_eq!(
            named(text),
            [
                "1: crate::a",
                "1: crate::a::b::C",
                "1: crate::a::b::d",
                "1: crate::a::E",
                "2: super::g",
                "3: ::serde::Ser",
                "4: ::alloc",
                "5: one"
            ]
        );
    }

    #[test]
    fn paths_in_code_and_macros_are_seen_and_those_in_text_are_not() {
        let text = "fn f<'a>(x: &'a str) -> crate::x::T {\n  // use crate::no;\n  /* a /* crate::no::x */ b */\n  let c = '\"'; let d = '\\''; let s = \"crate::no::y\"; let r = r#\"\"crate::no::z\"#;\n  m!(self::y::z, Vec::<u8>::new(), v.iter::<u8>());\n  $crate::q::r!(); b\"use crate::no;\";\n}\npub(in crate::hidden::place) fn g() -> impl Sized + use<'a> {}";
        assert_eq!(named(text), ["1: crate::x::T", "5: self::y::z", "6: crate::q::r"]);
    }

    #[test]
    fn what_is_for_tests_is_told_apart() {
        let text = "#[cfg(test)]\nuse a::b;\nuse c::d;\n#[cfg(not(test))] use e::f;\n#[cfg(test)]\nmod tests { use super::*; #[test] fn t() {} }\nuse g::h;\n#[tokio::test] async fn z() { crate::i::j() }\nfn k() { crate::l::m() }";
        assert_eq!(
            named(text),
            [
                "2: a::b test",
                "3: c::d",
                "4: e::f",
                "6: super test",
                "7: g::h",
                "8: tokio::test",
                "8: crate::i::j test",
                "9: crate::l::m"
            ]
            .into_iter()
            .filter(|path| !path.contains("tokio"))
            .collect::<Vec<_>>()
        );
    }

    #[test]
    fn an_attribute_that_only_mentions_tests_hides_nothing() {
        let text = "#![cfg_attr(all(test, feature = \"x\"), feature(test))]\n#[cfg_attr(test, derive(Debug))] struct S { a: crate::b::C }\n#[tokio::test(flavor = \"x\")] async fn t() { crate::d::e() }";
        assert_eq!(named(text).join(", "), "2: crate::b::C, 3: crate::d::e test");
    }

    #[test]
    fn modules_are_declared_inline_or_in_files_of_their_own() {
        let text = "mod a;\n#[path = \"odd.rs\"]\npub mod b;\nmod c { mod d; mod r#e { } }\n#[cfg(test)] mod tests;\nmacro_rules! m { ($name:ident) => { mod $name; } }";
        let told: Vec<String> = scan(text)
            .declared
            .iter()
            .map(|m| {
                let scope =
                    if m.scope.is_empty() { String::new() } else { format!("{}::", m.scope.join("::")) };
                format!(
                    "{scope}{}{}{}",
                    m.name,
                    if m.inline { " {}" } else { "" },
                    if m.test { " test" } else { "" }
                )
            })
            .collect();
        assert_eq!(told, ["a", "b", "c {}", "c::d", "c::e {}", "tests test"]);
        assert_eq!(scan(text).declared[1].path.as_deref(), Some("odd.rs"));
    }
}
