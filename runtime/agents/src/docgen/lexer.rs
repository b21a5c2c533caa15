//! Words, brackets and comments of a text in Rust, C or JavaScript: as much as it takes to find declarations.
//!
//! Never fails and never recurses: what is left open at the end of the text ends there. Comments are kept apart, by place. A regular
//! expression of JavaScript is told from a division by what stands before it, which is a rule of thumb.

use crate::language;

/// The languages whose texts can be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Nested comments, raw strings, lifetimes.
    Rust,
    /// Directives of the preprocessor are one token each.
    C,
    /// Templates and regular expressions.
    JavaScript,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A name or keyword.
    Word,
    /// A number, string, character, template, regular expression, or lifetime.
    Literal,
    /// One of `( [ {`.
    Open,
    /// One of `) ] }`.
    Close,
    /// Any other character.
    Sign,
    /// A whole line of the preprocessor, with its continuations.
    Directive,
}

/// A token, as a range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub what: What,
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

/// A text cut into tokens and comments.
#[derive(Debug, Clone)]
pub struct Lexed<'t> {
    text: &'t str,
    /// The tokens in order.
    pub tokens: Vec<Token>,
    /// The comments in order, as ranges of bytes with their marks.
    pub comments: Vec<(usize, usize)>,
    pairs: Vec<usize>,
    feeds: Vec<usize>,
}

impl<'t> Lexed<'t> {
    /// The text of token `n`; empty past the end.
    pub fn word(&self, n: usize) -> &'t str {
        self.tokens.get(n).map_or("", |token| &self.text[token.start..token.end])
    }

    /// Whether token `n` is a name.
    pub fn is_name(&self, n: usize) -> bool {
        self.tokens.get(n).is_some_and(|token| token.what == What::Word)
    }

    /// The token that closes the bracket at `n`, or the end of the text.
    pub fn close(&self, n: usize) -> usize {
        self.pairs.get(n).copied().unwrap_or(self.tokens.len())
    }

    /// The token after `n` and, if `n` opens a bracket, after what it holds.
    pub fn after(&self, n: usize) -> usize {
        match self.tokens.get(n) {
            Some(token) if token.what == What::Open => self.close(n) + 1,
            _ => n + 1,
        }
    }

    /// The line of a byte, from 1.
    pub fn line(&self, offset: usize) -> u32 {
        let before = self.feeds.partition_point(|feed| *feed < offset);
        u32::try_from(before + 1).unwrap_or(u32::MAX)
    }

    /// The line on which token `n` begins, from 1.
    pub fn line_of(&self, n: usize) -> u32 {
        self.line(self.tokens.get(n).map_or(self.text.len(), |token| token.start))
    }

    /// The first byte of token `n`, or the end of the text.
    pub fn start(&self, n: usize) -> usize {
        self.tokens.get(n).map_or(self.text.len(), |token| token.start)
    }

    /// The byte after token `n`, or the end of the text.
    pub fn end(&self, n: usize) -> usize {
        self.tokens.get(n).map_or(self.text.len(), |token| token.end)
    }

    /// The tokens `from..to` as they stand, with single spaces where there was any space or comment.
    pub fn source(&self, from: usize, to: usize) -> String {
        let mut out = String::new();
        for n in from..to.min(self.tokens.len()) {
            if n > from && self.end(n - 1) < self.start(n) {
                out.push(' ');
            }
            out.extend(self.word(n).split_inclusive('\n').map(str::trim_end));
        }
        out
    }

    /// The comments that lie within these bytes.
    pub fn comments_in(&self, from: usize, to: usize) -> impl DoubleEndedIterator<Item = &'t str> {
        let first = self.comments.partition_point(|(start, _)| *start < from);
        let last = self.comments.partition_point(|(_, end)| *end <= to).max(first);
        let text = self.text;
        self.comments[first..last].iter().map(move |(start, end)| &text[*start..*end])
    }
}

/// Cuts a text.
pub fn lex(text: &str, dialect: Dialect) -> Lexed<'_> {
    let mut cutter =
        Cutter { text, bytes: text.as_bytes(), at: 0, dialect, tokens: Vec::new(), comments: Vec::new() };
    cutter.cut();
    let (tokens, comments) = (cutter.tokens, cutter.comments);
    let mut pairs = vec![tokens.len(); tokens.len()];
    let mut open = Vec::new();
    for (n, token) in tokens.iter().enumerate() {
        match token.what {
            What::Open => open.push(n),
            What::Close => {
                if let Some(opened) = open.pop() {
                    pairs[opened] = n;
                }
            }
            _ => {}
        }
    }
    let feeds = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
    Lexed { text, tokens, comments, pairs, feeds }
}

struct Cutter<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    dialect: Dialect,
    tokens: Vec<Token>,
    comments: Vec<(usize, usize)>,
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

impl Cutter<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn push(&mut self, what: What, start: usize) {
        self.at = self.at.min(self.bytes.len());
        while !self.text.is_char_boundary(self.at) {
            self.at += 1;
        }
        self.tokens.push(Token { what, start, end: self.at });
    }

    fn cut(&mut self) {
        let mut line_start = true;
        while self.at < self.bytes.len() {
            let start = self.at;
            let byte = self.peek(0);
            match byte {
                b'\n' => {
                    self.at += 1;
                    line_start = true;
                    continue;
                }
                byte if byte.is_ascii_whitespace() || byte.is_ascii_control() => {
                    self.at += 1;
                    continue;
                }
                b'/' if self.peek(1) == b'/' => {
                    self.skip_line(self.dialect == Dialect::C);
                    self.comments.push((start, self.at));
                    continue;
                }
                b'/' if self.peek(1) == b'*' => {
                    self.block_comment();
                    self.comments.push((start, self.at));
                    continue;
                }
                b'#' if line_start && self.dialect == Dialect::C => {
                    self.directive();
                    self.push(What::Directive, start);
                }
                b'#' if start == 0 && self.peek(1) == b'!' && self.peek(2) != b'[' => {
                    self.skip_line(false);
                    continue;
                }
                byte if byte.is_ascii_digit() => {
                    self.number();
                    self.push(What::Literal, start);
                }
                byte if is_word(byte) || (byte == b'$' && self.dialect == Dialect::JavaScript) => {
                    self.word(start);
                }
                b'"' => {
                    self.string(b'"');
                    self.push(What::Literal, start);
                }
                b'\'' if self.dialect == Dialect::Rust => {
                    self.quote();
                    self.push(What::Literal, start);
                }
                b'\'' => {
                    self.string(b'\'');
                    self.push(What::Literal, start);
                }
                b'`' if self.dialect == Dialect::JavaScript => {
                    self.template();
                    self.push(What::Literal, start);
                }
                b'/' if self.dialect == Dialect::JavaScript && self.regex_may_start() => {
                    self.regex();
                    self.push(What::Literal, start);
                }
                b'(' | b'[' | b'{' => {
                    self.at += 1;
                    self.push(What::Open, start);
                }
                b')' | b']' | b'}' => {
                    self.at += 1;
                    self.push(What::Close, start);
                }
                _ => {
                    self.at += 1;
                    self.push(What::Sign, start);
                }
            }
            line_start = false;
        }
    }

    fn skip_line(&mut self, continues: bool) {
        while self.at < self.bytes.len() && self.peek(0) != b'\n' {
            self.at += if continues && self.peek(0) == b'\\' && self.peek(1) == b'\n' { 2 } else { 1 };
        }
    }

    /// A directive ends with its line, unless a comment in it goes on.
    fn directive(&mut self) {
        while self.at < self.bytes.len() && self.peek(0) != b'\n' {
            match (self.peek(0), self.peek(1)) {
                (b'\\', b'\n') => self.at += 2,
                (b'\\', b'\r') => self.at += 3,
                (b'/', b'*') => return,
                (b'/', b'/') => return,
                _ => self.at += 1,
            }
        }
        self.at = self.at.min(self.bytes.len());
    }

    fn block_comment(&mut self) {
        let mut depth = 0u32;
        while self.at < self.bytes.len() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') if depth == 0 || self.dialect == Dialect::Rust => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
        self.at = self.bytes.len();
    }

    fn number(&mut self) {
        while is_word(self.peek(0)) || (self.peek(0) == b'.' && self.peek(1).is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn word(&mut self, start: usize) {
        while is_word(self.peek(0)) || (self.peek(0) == b'$' && self.dialect == Dialect::JavaScript) {
            self.at += 1;
        }
        let word = &self.bytes[start..self.at];
        let prefix = match self.dialect {
            Dialect::Rust => matches!(word, b"b" | b"r" | b"c" | b"br" | b"cr"),
            Dialect::C => matches!(word, b"L" | b"u" | b"U" | b"u8"),
            Dialect::JavaScript => false,
        };
        if prefix
            && self.dialect == Dialect::Rust
            && word.ends_with(b"r")
            && matches!(self.peek(0), b'"' | b'#')
        {
            let hashes = self.bytes[self.at..].iter().take_while(|byte| **byte == b'#').count();
            if self.peek(hashes) == b'"' {
                self.at += hashes + 1;
                self.raw_string(hashes);
                self.push(What::Literal, start);
                return;
            }
            if word == b"r" && hashes == 1 && is_word(self.peek(1)) {
                self.at += 1;
                let name = self.at;
                while is_word(self.peek(0)) {
                    self.at += 1;
                }
                self.push(What::Word, name);
                return;
            }
        } else if prefix && self.peek(0) == b'"' {
            self.string(b'"');
            self.push(What::Literal, start);
            return;
        } else if prefix && self.peek(0) == b'\'' && (self.dialect == Dialect::C || word == b"b") {
            self.string(b'\'');
            self.push(What::Literal, start);
            return;
        }
        self.push(What::Word, start);
    }

    fn string(&mut self, mark: u8) {
        self.at += 1;
        let spans_lines = self.dialect == Dialect::Rust;
        while self.at < self.bytes.len() {
            match self.peek(0) {
                b'\\' => self.at += 2,
                b'\n' if !spans_lines => return,
                byte => {
                    self.at += 1;
                    if byte == mark {
                        return;
                    }
                }
            }
        }
        self.at = self.bytes.len();
    }

    fn raw_string(&mut self, hashes: usize) {
        while self.at < self.bytes.len() {
            let closes = self.peek(0) == b'"'
                && self.bytes[self.at + 1..].iter().take_while(|byte| **byte == b'#').count() >= hashes;
            if closes {
                self.at += 1 + hashes;
                return;
            }
            self.at += 1;
        }
    }

    /// A character, or a lifetime, which has no closing quote.
    fn quote(&mut self) {
        if self.peek(1) == b'\\' {
            self.string(b'\'');
            return;
        }
        let rest = self.text.get(self.at + 1..).unwrap_or("");
        let mut characters = rest.char_indices();
        let first = characters.next();
        match (first, characters.next()) {
            (Some(_), Some((width, '\''))) => self.at += 1 + width + 1,
            _ => {
                self.at += 1;
                while is_word(self.peek(0)) {
                    self.at += 1;
                }
            }
        }
    }

    /// A template with its `${…}` parts, which may hold templates again.
    fn template(&mut self) {
        // What is open: `None` a template, `Some(n)` a part with `n` braces open in it.
        let mut open: Vec<Option<u32>> = vec![None];
        self.at += 1;
        while self.at < self.bytes.len() {
            let byte = self.peek(0);
            match (open.last_mut(), byte) {
                (None, _) => return,
                (_, b'\\') => self.at += 1,
                (Some(None), b'`') => {
                    open.pop();
                    if open.is_empty() {
                        self.at += 1;
                        return;
                    }
                }
                (Some(None), b'$') if self.peek(1) == b'{' => {
                    open.push(Some(0));
                    self.at += 1;
                }
                (Some(Some(braces)), b'{') => *braces += 1,
                (Some(Some(0)), b'}') => {
                    open.pop();
                }
                (Some(Some(braces)), b'}') => *braces -= 1,
                (Some(Some(_)), b'`') => open.push(None),
                (Some(Some(_)), b'"' | b'\'') => {
                    self.string(byte);
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    fn regex_may_start(&self) -> bool {
        let Some(last) = self.tokens.last() else { return true };
        let word = &self.text[last.start..last.end];
        match last.what {
            What::Word => language::expects_value(word),
            What::Literal => false,
            What::Close => word == "}",
            _ => true,
        }
    }

    fn regex(&mut self) {
        let start = self.at;
        let mut class = false;
        self.at += 1;
        loop {
            match self.peek(0) {
                // No regular expression ends like this: it was a division.
                0 | b'\n' => {
                    self.at = start + 1;
                    return;
                }
                b'\\' => self.at += 2,
                b'[' => {
                    class = true;
                    self.at += 1;
                }
                b']' => {
                    class = false;
                    self.at += 1;
                }
                b'/' if !class => break,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        while self.peek(0).is_ascii_alphabetic() {
            self.at += 1;
        }
    }
}

/// The first line of documentation in a comment, without its marks; none if the comment says nothing.
pub fn first_line(comment: &str) -> Option<String> {
    let inner = comment.strip_suffix("*/").unwrap_or(comment);
    inner
        .lines()
        .map(|line| line.trim().trim_start_matches(['/', '*', '!']).trim_start_matches('<').trim())
        .find(|line| line.chars().any(char::is_alphanumeric))
        .map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, dialect: Dialect) -> Vec<&str> {
        let lexed = lex(text, dialect);
        (0..lexed.tokens.len()).map(|n| lexed.word(n)).collect()
    }

    #[test]
    fn strings_lifetimes_and_nested_comments_of_rust_are_one_each() {
        let text = "fn f<'a>(x: &'a str) { /* { /* } */ */ r#\"}\"# b'}' '\\'' 'ä' \"\\\"}\" }";
        let words = words(text, Dialect::Rust);
        assert_eq!(words.last(), Some(&"}"));
        for word in ["'a", "r#\"}\"#", "b'}'", "'\\''", "'ä'", "\"\\\"}\""] {
            assert!(words.contains(&word), "{word} in {words:?}");
        }
        let lexed = lex(text, Dialect::Rust);
        let brace = (0..lexed.tokens.len()).find(|n| lexed.word(*n) == "{").expect("a body");
        assert_eq!(lexed.close(brace), lexed.tokens.len() - 1);
    }

    #[test]
    fn templates_and_regular_expressions_of_javascript_are_one_each() {
        let words = words("a = `x ${ {b: `}`} } y`; c = d / e / f; g = /[/{]\\/}/gi;", Dialect::JavaScript);
        assert!(words.contains(&"`x ${ {b: `}`} } y`"), "{words:?}");
        assert!(words.contains(&"/[/{]\\/}/gi"), "{words:?}");
        assert_eq!(words.iter().filter(|word| **word == "/").count(), 2);
    }

    #[test]
    fn a_directive_of_c_is_one_token_with_its_continuations() {
        let words = words("#define A(x) \\\n  { x\nint f(void);\n# endif // }\n", Dialect::C);
        assert_eq!(words, ["#define A(x) \\\n  { x", "int", "f", "(", "void", ")", ";", "# endif "]);
    }

    #[test]
    fn a_comment_gives_its_first_line_that_says_something() {
        assert_eq!(first_line("/**\n * \n * Opens it.\n * More.\n */").as_deref(), Some("Opens it."));
        assert_eq!(first_line("/// Opens it.").as_deref(), Some("Opens it."));
        assert_eq!(first_line("/**< the size */").as_deref(), Some("the size"));
        assert_eq!(first_line("/* ---- */"), None);
    }

    #[test]
    fn any_text_is_cut_without_a_panic_and_in_order() {
        proptest::proptest!(|(text in "[a-zä0-9'\"`/*\\\\{}()\\[\\]#$!r<>.\n =-]{0,120}")| {
            for dialect in [Dialect::Rust, Dialect::C, Dialect::JavaScript] {
                let lexed = lex(&text, dialect);
                let mut last = 0;
                for token in &lexed.tokens {
                    proptest::prop_assert!(last <= token.start && token.start < token.end);
                    last = token.end;
                }
                for n in 0..lexed.tokens.len() {
                    lexed.word(n);
                    proptest::prop_assert!(lexed.after(n) > n);
                }
            }
        });
    }
}
