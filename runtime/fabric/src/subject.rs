//! Subjects and patterns: dot-separated tokens, as in `orders.eu.created`.
//!
//! A [`Subject`] is exact. A [`Pattern`] may hold `*` for exactly one token, and `>` as its last token for one or more. Both are checked when
//! made, cheap to clone, and compare by their text.

use std::fmt;
use std::sync::Arc;

/// The longest subject or pattern, in bytes.
pub const LENGTH_MAX: usize = synod_wire::SUBJECT_MAX;

/// The most tokens of one subject or pattern.
pub const TOKENS_MAX: usize = 32;

/// Why a text is no subject or no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// Nothing there.
    #[error("a subject has at least one token, as in `orders.created`")]
    Empty,
    /// Longer than [`LENGTH_MAX`] bytes.
    #[error("`{text}…` is {len} bytes long: at most {LENGTH_MAX} are allowed")]
    TooLong {
        /// Its beginning.
        text: String,
        /// Its length, bytes.
        len: usize,
    },
    /// More than [`TOKENS_MAX`] tokens.
    #[error("`{0}` has more than {TOKENS_MAX} tokens")]
    TooManyTokens(String),
    /// Two dots in a row, or a dot at either end.
    #[error("`{0}` has an empty token: dots stand between tokens only")]
    EmptyToken(String),
    /// A character that no token may hold.
    #[error(
        "`{text}` holds {character:?}: tokens are made of printable characters other than space, `.`, `*` and `>`"
    )]
    Character {
        /// The text.
        text: String,
        /// The first such character.
        character: char,
    },
    /// `*` or `>` where it means nothing.
    #[error(
        "`{0}`: `*` stands for one whole token and `>` for all remaining ones at the end; a subject to send to has neither"
    )]
    Wildcard(String),
}

/// An exact subject.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(Arc<str>);

impl Subject {
    /// Checks a text; wildcards are refused.
    pub fn new(text: &str) -> Result<Self, SubjectError> {
        check(text, false)?;
        Ok(Self(text.into()))
    }

    /// The subject as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its tokens, first to last.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }
}

/// A subject with wildcards, or without.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Checks a text.
    pub fn new(text: &str) -> Result<Self, SubjectError> {
        check(text, true)?;
        Ok(Self(text.into()))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its tokens, first to last; `*` and `>` among them.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// Whether every subject that `other` means is one of those meant.
    pub fn covers(&self, other: &Self) -> bool {
        let (mut mine, mut others) = (self.tokens(), other.tokens());
        loop {
            match (mine.next(), others.next()) {
                (Some(">"), Some(_)) => return true,
                (Some("*"), Some(other)) if other != ">" => {}
                (Some(mine), Some(other)) if mine == other => {}
                (None, None) => return true,
                _ => return false,
            }
        }
    }

    /// Whether `subject` is one of those meant.
    pub fn matches(&self, subject: &Subject) -> bool {
        let mut wanted = self.tokens();
        let mut given = subject.tokens();
        loop {
            match (wanted.next(), given.next()) {
                (Some(">"), Some(_)) => return true,
                (Some("*"), Some(_)) => {}
                (Some(w), Some(g)) if w == g => {}
                (None, None) => return true,
                _ => return false,
            }
        }
    }
}

fn check(text: &str, wildcards: bool) -> Result<(), SubjectError> {
    if text.is_empty() {
        return Err(SubjectError::Empty);
    }
    if text.len() > LENGTH_MAX {
        return Err(SubjectError::TooLong { text: text.chars().take(24).collect(), len: text.len() });
    }
    if text.split('.').count() > TOKENS_MAX {
        return Err(SubjectError::TooManyTokens(text.to_owned()));
    }
    let mut tokens = text.split('.').peekable();
    while let Some(token) = tokens.next() {
        match token {
            "" => return Err(SubjectError::EmptyToken(text.to_owned())),
            "*" if wildcards => {}
            ">" if wildcards && tokens.peek().is_none() => {}
            _ => {
                if token.contains(['*', '>']) {
                    return Err(SubjectError::Wildcard(text.to_owned()));
                }
                if let Some(character) = token.chars().find(|c| c.is_control() || c.is_whitespace()) {
                    return Err(SubjectError::Character { text: text.to_owned(), character });
                }
            }
        }
    }
    Ok(())
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({})", self.0)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{LENGTH_MAX, Pattern, Subject, SubjectError, TOKENS_MAX};

    #[test]
    fn a_pattern_covers_another_when_it_means_all_that_the_other_does() {
        let covers = |a, b| Pattern::new(a).unwrap().covers(&Pattern::new(b).unwrap());
        for (wide, narrow) in [
            ("a.>", "a.b"),
            ("a.>", "a.*.c"),
            ("a.>", "a.>"),
            ("*.b", "a.b"),
            ("*.b", "*.b"),
            (">", ">"),
            ("a", "a"),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (narrow, wide) in
            [("a.*", "a.>"), ("a.b", "a.*"), ("a.>", "a"), ("a", "a.b"), ("*", ">"), ("a.>", ">")]
        {
            assert!(!covers(narrow, wide), "{narrow} {wide}");
        }
    }

    #[test]
    fn a_subject_is_refused_with_what_is_wrong_about_it() {
        assert_eq!(Subject::new(""), Err(SubjectError::Empty));
        assert_eq!(Subject::new("a..b"), Err(SubjectError::EmptyToken("a..b".into())));
        assert_eq!(Subject::new(".a"), Err(SubjectError::EmptyToken(".a".into())));
        assert_eq!(Subject::new("a."), Err(SubjectError::EmptyToken("a.".into())));
        assert_eq!(Subject::new("a.*"), Err(SubjectError::Wildcard("a.*".into())));
        assert_eq!(Subject::new("a b"), Err(SubjectError::Character { text: "a b".into(), character: ' ' }));
        assert!(matches!(Subject::new(&"x".repeat(LENGTH_MAX + 1)), Err(SubjectError::TooLong { .. })));
        assert!(matches!(
            Subject::new(&["t"; TOKENS_MAX + 1].join(".")),
            Err(SubjectError::TooManyTokens(_))
        ));
        assert!(Subject::new(&"x".repeat(LENGTH_MAX)).is_ok());
        assert!(Subject::new("Wörter.und_zahlen-9").is_ok());
    }

    #[test]
    fn a_wildcard_stands_for_whole_tokens_and_the_tail_only_at_the_end() {
        for bad in ["a*", "a.b>", ">.a", "a.>.b", "**"] {
            assert_eq!(Pattern::new(bad), Err(SubjectError::Wildcard(bad.into())), "{bad}");
        }
        for good in ["*", ">", "a.*.c", "a.>", "*.>"] {
            assert!(Pattern::new(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn patterns_match_what_they_mean() {
        let cases = [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("a.>", "a", false),
            ("a.>", "a.b.c", true),
            (">", "x", true),
            ("*.b", "a.b", true),
        ];
        for (pattern, subject, expected) in cases {
            let matched = Pattern::new(pattern).unwrap().matches(&Subject::new(subject).unwrap());
            assert_eq!(matched, expected, "{pattern} on {subject}");
        }
    }
}
