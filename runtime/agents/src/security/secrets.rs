//! Secrets in files, found by the corpus of patterns in `corpus.toml`.
//!
//! A match counts only if its secret is random enough, holds the characters such a secret holds, and is no obvious
//! placeholder. What is told shows the first four characters at most. Files are scanned as bytes, so that the
//! encoding does not matter; nothing is ever sent anywhere to find out whether a secret is live.

use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

use crate::finding::{Finding, Place, Severity};
use crate::tree;

/// The corpus as text, as documented at its top.
pub const CORPUS: &str = include_str!("corpus.toml");

/// A corpus that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// The text does not have the form the corpus has.
    #[error("the corpus of secrets does not parse: {0}")]
    Form(#[from] toml::de::Error),
    /// An expression is none.
    #[error("rule `{rule}` of the corpus of secrets has a bad expression: {source}")]
    Pattern {
        /// Which rule, or `allow`.
        rule: String,
        /// What the regex engine says.
        source: Box<regex::Error>,
    },
    /// A rule leaves out what its findings say or what it looks for.
    #[error("rule `{rule}` of the corpus of secrets leaves `{field}` empty: every finding needs it")]
    Empty {
        /// Which rule.
        rule: String,
        /// Which of its fields.
        field: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    allow: Allow,
    rule: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allow {
    words: Vec<String>,
    lines: Vec<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Class {
    Upper,
    Lower,
    Digit,
}

impl Class {
    fn holds(self, byte: u8) -> bool {
        match self {
            Class::Upper => byte.is_ascii_uppercase(),
            Class::Lower => byte.is_ascii_lowercase(),
            Class::Digit => byte.is_ascii_digit(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    id: String,
    what: String,
    severity: Severity,
    keywords: Vec<String>,
    pattern: String,
    entropy: f64,
    #[serde(default)]
    needs: Vec<Class>,
    #[serde(default)]
    files: Option<String>,
    #[serde(default)]
    guess: bool,
    advice: String,
    sample: String,
    #[serde(default)]
    allow: Vec<String>,
}

impl RuleText {
    /// A rule without words gives findings that nobody understands; one without keywords never finds anything.
    fn must_say_all(&self) -> Result<(), CorpusError> {
        let said = [
            ("id", !self.id.trim().is_empty()),
            ("what", !self.what.trim().is_empty()),
            (
                "keywords",
                !self.keywords.is_empty() && self.keywords.iter().all(|keyword| !keyword.is_empty()),
            ),
            ("pattern", !self.pattern.is_empty()),
            ("advice", !self.advice.trim().is_empty()),
        ];
        match said.into_iter().find(|(_, said)| !said) {
            Some((field, _)) => Err(CorpusError::Empty { rule: self.id.clone(), field }),
            None => Ok(()),
        }
    }
}

struct Rule {
    text: RuleText,
    pattern: Regex,
    files: Option<Regex>,
    allow: Vec<Regex>,
}

/// A compiled corpus.
pub struct Corpus {
    rules: Vec<Rule>,
    words: Vec<String>,
    lines: Vec<Regex>,
    keywords: Regex,
}

impl Rule {
    /// Whether it finds private keys, which begin with a line that is not secret.
    fn is_key(&self) -> bool {
        self.text.id.ends_with("private-key")
    }
}

impl Corpus {
    /// Reads and compiles a corpus.
    pub fn parse(text: &str) -> Result<Self, CorpusError> {
        let file: File = toml::from_str(text)?;
        let compile = |rule: &str, pattern: &str| {
            RegexBuilder::new(pattern)
                .unicode(false)
                .build()
                .map_err(|source| CorpusError::Pattern { rule: rule.into(), source: Box::new(source) })
        };
        let lines = file.allow.lines.iter().map(|line| compile("allow", line)).collect::<Result<_, _>>()?;
        let words = file.allow.words.iter().map(|word| word.to_ascii_lowercase()).collect();
        let mut rules = Vec::new();
        let mut keywords = Vec::new();
        for mut text in file.rule {
            text.must_say_all()?;
            for keyword in &mut text.keywords {
                keyword.make_ascii_lowercase();
                keywords.push(escape(keyword));
            }
            let pattern = compile(&text.id, &text.pattern)?;
            let files = text.files.as_deref().map(|one| compile(&text.id, &format!("(?i){one}")));
            let files = files.transpose()?;
            let allow = text.allow.iter().map(|one| compile(&text.id, one)).collect::<Result<_, _>>()?;
            rules.push(Rule { text, pattern, files, allow });
        }
        let keywords = compile("keywords", &format!("(?i){}", keywords.join("|")))?;
        Ok(Corpus { rules, words, lines, keywords })
    }

    /// The corpus that is built in.
    pub fn built_in() -> &'static Corpus {
        static CORPUS_READ: OnceLock<Corpus> = OnceLock::new();
        CORPUS_READ.get_or_init(|| match Corpus::parse(CORPUS) {
            Ok(corpus) => corpus,
            Err(error) => unreachable!("the corpus is part of the program and tested with it: {error}"),
        })
    }

    /// Ids and descriptions of all rules, and how a made-up secret of each is built (see the top of the corpus).
    pub fn rules(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.rules
            .iter()
            .map(|rule| (rule.text.id.as_str(), rule.text.what.as_str(), rule.text.sample.as_str()))
    }

    /// Finds secrets in one file.
    pub fn scan(&self, path: &str, content: &[u8]) -> Vec<Finding> {
        let mut findings: Vec<(usize, usize, Finding)> = Vec::new();
        if !self.keywords.is_match(content) {
            return Vec::new();
        }
        let lower = content.to_ascii_lowercase();
        let in_tests = tree::is_test_data(path);
        for rule in &self.rules {
            if rule.text.guess && (in_tests || tree::is_documentation(path)) {
                continue;
            }
            if rule.files.as_ref().is_some_and(|files| !files.is_match(path.as_bytes())) {
                continue;
            }
            if !rule.text.keywords.iter().any(|keyword| contains(&lower, keyword.as_bytes())) {
                continue;
            }
            for captures in rule.pattern.captures_iter(content) {
                let Some(secret) = captures.name("secret").or_else(|| captures.get(0)) else { continue };
                let taken = findings.iter().any(|(from, to, _)| secret.start() < *to && *from < secret.end());
                if !taken && !self.is_harmless(rule, content, secret.as_bytes(), secret.start()) {
                    let whole = captures.get(0).filter(|_| rule.is_key());
                    let start = whole.map_or(secret.start(), |whole| whole.start());
                    let finding = told(rule, path, content, secret.as_bytes(), start, in_tests);
                    findings.push((secret.start(), secret.end(), finding));
                }
            }
        }
        findings.into_iter().map(|(_, _, finding)| finding).collect()
    }

    fn is_harmless(&self, rule: &Rule, content: &[u8], secret: &[u8], offset: usize) -> bool {
        let line = line_around(content, offset);
        let lower = secret.to_ascii_lowercase();
        let body = rule.text.pattern.starts_with("-----");
        entropy(secret) < rule.text.entropy
            || rule.text.needs.iter().any(|class| !secret.iter().any(|byte| class.holds(*byte)))
            || (!body && self.words.iter().any(|word| contains(&lower, word.as_bytes())))
            || has_run(secret, if body { 16 } else { 5 })
            || self.lines.iter().any(|allowed| allowed.is_match(line))
            || rule.allow.iter().any(|allowed| allowed.is_match(secret) || allowed.is_match(line))
    }
}

fn told(rule: &Rule, path: &str, content: &[u8], secret: &[u8], offset: usize, in_tests: bool) -> Finding {
    let line = content[..offset].iter().filter(|byte| **byte == b'\n').count() + 1;
    let shown = if rule.is_key() {
        String::new()
    } else {
        format!(
            " ({}…, {} characters)",
            String::from_utf8_lossy(&secret[..secret.len().min(4)]),
            secret.len()
        )
    };
    let before = &content[..offset];
    let in_tests = in_tests || (path.ends_with(".rs") && contains(before, b"#[cfg(test)]"));
    let source_line = line_around(content, offset).trim_ascii_start();
    let in_documentation =
        tree::is_documentation(path) || source_line.starts_with(b"///") || source_line.starts_with(b"//!");
    let (severity, aside) = if rule.is_key() && in_tests {
        (Severity::Info, "; among test data, so harmless if nothing else trusts it")
    } else if in_documentation {
        (milder(rule.text.severity), "; in documentation, so make sure that it is a dead example")
    } else {
        (rule.text.severity, "")
    };
    Finding::new(
        format!("secret.{}", rule.text.id),
        severity,
        Place::line(path, u32::try_from(line).unwrap_or(u32::MAX)),
        format!("{}{shown}{aside}", rule.text.what),
        rule.text.advice.clone(),
    )
}

fn milder(severity: Severity) -> Severity {
    Severity::ALL.into_iter().rev().find(|other| *other < severity).unwrap_or(severity)
}

/// Shannon entropy in bits a byte.
pub fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
    let total = bytes.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / total;
            -share * share.log2()
        })
        .sum()
}

fn has_run(bytes: &[u8], length: usize) -> bool {
    bytes.windows(length).any(|window| window.iter().all(|byte| *byte == window[0]))
}

fn line_around(content: &[u8], offset: usize) -> &[u8] {
    let start = content[..offset].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let end =
        content[offset..].iter().position(|byte| *byte == b'\n').map_or(content.len(), |at| offset + at);
    &content[start..end]
}

fn contains(content: &[u8], word: &[u8]) -> bool {
    let Some((first, rest)) = word.split_first() else { return true };
    let mut from = 0;
    while let Some(found) = content[from..].iter().position(|byte| byte == first) {
        from += found + 1;
        if content[from..].starts_with(rest) {
            return true;
        }
    }
    false
}

fn escape(word: &str) -> String {
    word.chars().flat_map(|c| (!c.is_ascii_alphanumeric()).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_says_nothing_is_refused_by_its_empty_field() {
        let rule = |advice: &str, keywords: &str| {
            format!(
                "[allow]\nwords = []\nlines = []\n[[rule]]\nid = \"token\"\nwhat = \"a token\"\nseverity = \"high\"\n\
                 keywords = [{keywords}]\npattern = \"tok_[a-z]+\"\nentropy = 1.0\nadvice = \"{advice}\"\nsample = \"tok_a\"\n"
            )
        };
        assert!(Corpus::parse(&rule("revoke it", "'tok_'")).is_ok());
        for (text, field) in [
            (rule("", "'tok_'"), "advice"),
            (rule("revoke it", ""), "keywords"),
            (rule("x", "''"), "keywords"),
        ] {
            let refused = Corpus::parse(&text).err().map(|error| error.to_string());
            let says = format!(
                "rule `token` of the corpus of secrets leaves `{field}` empty: every finding needs it"
            );
            assert_eq!(refused, Some(says));
        }
    }

    /// A small generator, so that each run plants the same made-up secrets.
    struct Draw(u64);

    impl Draw {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % bound
        }
    }

    fn expand(class: &str) -> Vec<char> {
        let letters: Vec<char> = class.chars().collect();
        let mut all = Vec::new();
        let mut at = 0;
        while at < letters.len() {
            if letters.get(at + 1) == Some(&'-') && at + 2 < letters.len() {
                all.extend(letters[at]..=letters[at + 2]);
                at += 3;
            } else {
                all.push(letters[at]);
                at += 1;
            }
        }
        all
    }

    /// Fills `{SET:N}` of a sample; the clean twin repeats one word instead of drawing.
    fn build(sample: &str, draw: Option<&mut Draw>) -> String {
        let mut draw = draw;
        let mut out = String::new();
        let mut rest = sample;
        while let Some((before, after)) = rest.split_once('{') {
            let (hole, after) = after.split_once('}').expect("a hole is closed");
            let (class, count) = hole.rsplit_once(':').expect("a hole has a count");
            let (class, count) = (expand(class), count.parse::<usize>().expect("a number"));
            out.push_str(before);
            for n in 0..count {
                out.push(match &mut draw {
                    Some(draw) => class[draw.below(class.len())],
                    None => class[usize::from(n % 2 == 1) % class.len()],
                });
            }
            rest = after;
        }
        out + rest
    }

    #[test]
    fn every_rule_finds_its_planted_secret_on_the_right_line_and_under_its_own_name() {
        let corpus = Corpus::built_in();
        let mut draw = Draw(7);
        for (id, _, sample) in corpus.rules() {
            let mut found = 0;
            for _ in 0..20 {
                let text = format!(
                    "first line\n# configuration\n{}\nlast line\n",
                    build(sample, Some(&mut draw)).trim()
                );
                for finding in corpus.scan("src/.env", text.as_bytes()) {
                    assert_eq!(finding.rule, format!("secret.{id}"), "{text}");
                    assert_eq!(finding.place.line, Some(3), "{text}");
                    assert!(finding.message.len() < 120, "the secret is not told in full");
                    found += 1;
                }
            }
            // Now and then a drawn secret looks like a placeholder; never often.
            assert!(found >= 18, "{id}: only {found} of 20 were found");
        }
    }

    #[test]
    fn the_clean_twin_of_every_secret_is_none() {
        let corpus = Corpus::built_in();
        for (id, _, sample) in corpus.rules() {
            let text = build(sample, None);
            assert_eq!(corpus.scan("src/.env", text.as_bytes()), [], "{id}: {text}");
        }
    }

    #[test]
    fn placeholders_variables_and_allowed_lines_are_no_secrets() {
        let corpus = Corpus::built_in();
        let token = build("ghp_{A-Za-z0-9:36}", Some(&mut Draw(3)));
        assert_eq!(corpus.scan("a.py", token.as_bytes()).len(), 1);
        for text in [
            format!("{token}  # synod: not a secret"),
            "key = AKIAIOSFODNN7EXAMPLE".into(),
            "password = \"${DATABASE_PASSWORD_FROM_ENV1}\"".into(),
            "secret = \"the-Name-of-a-Kubernetes-Secret-Number-1\"".into(),
            "token = \"MyApplicationTokenProviderFactory2\"".into(),
            "redis://user:pass@redis.example.com:6379".into(),
            "http://user:password123@proxy.corp.org".into(),
            "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----".into(),
            "if line == '-----BEGIN RSA PRIVATE KEY-----':".into(),
        ] {
            assert_eq!(corpus.scan("a.py", text.as_bytes()), [], "{text}");
        }
    }

    #[test]
    fn a_key_among_test_data_is_told_mildly_and_guesses_are_not_made_there() {
        let corpus = Corpus::built_in();
        let sample = |id: &str| corpus.rules().find(|rule| rule.0 == id).map(|rule| rule.2).expect("a rule");
        let key = build(sample("private-key"), Some(&mut Draw(5)));
        assert_eq!(corpus.scan("tests/key.pem", key.as_bytes())[0].severity, Severity::Info);
        assert_eq!(corpus.scan("deploy/key.pem", key.as_bytes())[0].severity, Severity::High);
        let guess = build(sample("assigned-credential"), Some(&mut Draw(5)));
        assert_eq!(corpus.scan("tests/a.py", guess.as_bytes()), []);
        assert_eq!(corpus.scan("app/a.py", guess.as_bytes()).len(), 1);
    }

    #[test]
    fn settings_hold_credentials_without_quotes_and_sources_hold_variables() {
        let corpus = Corpus::built_in();
        let mut draw = Draw(9);
        let mut word = || build("{A-Z:2}7{a-z:4}{A-Z0-9:6}x4", Some(&mut draw));
        for (path, text) in [
            ("deploy/prod.env", format!("A=1\nDB_PASSWORD={}\n", word())),
            ("config/app.yaml", format!("db:\n  password: \"{}\"\n", word())),
            ("setup.cfg", format!("[db]\ndb.secret = {}  # of the database\n", word())),
            ("src/a.h", format!("\n#define DB_PASSWORD \"{}\"\n", word())),
            ("src/a.rs", format!("\nconst API_TOKEN: &str = \"{}{}\";\n", word(), word())),
            ("src/a.py", format!("\npassword: str = \"{}\"\n", word())),
        ] {
            let lines: Vec<_> =
                corpus.scan(path, text.as_bytes()).iter().map(|finding| finding.place.line).collect();
            assert_eq!(lines, [Some(2)], "{path}: {text}");
        }
        for (path, text) in [
            ("src/a.py", format!("password: {}\nself.token = {}\n", word(), word())),
            (
                "app.yaml",
                "secret: ${DB_Secret1Value}\ntoken: *anchorToken12\npassword: /run/Secret12/pw\n".into(),
            ),
            (
                "app.env",
                "TOKEN=MyApplicationTokenProvider2\nPASSWORD=\nSECRET=$(cat /run/A1b2c3d4e5)\n".into(),
            ),
        ] {
            assert_eq!(corpus.scan(path, text.as_bytes()), [], "{path}: {text}");
        }
    }

    #[test]
    fn a_secret_in_documentation_is_told_one_step_milder() {
        let token = build("ghp_{A-Za-z0-9:36}", Some(&mut Draw(3)));
        let severity = |path: &str| Corpus::built_in().scan(path, token.as_bytes())[0].severity;
        assert_eq!((severity("src/a.rs"), severity("docs/a.rst")), (Severity::Critical, Severity::High));
    }

    #[test]
    fn a_bad_corpus_names_its_rule() {
        let bad = CORPUS.replacen(r"\b(?P<secret>(?:AKIA", r"\b(?P<secret>(?:(AKIA", 1);
        let error = Corpus::parse(&bad).err().expect("a parenthesis is open").to_string();
        assert!(error.contains("aws-access-key-id"), "{error}");
    }

    #[test]
    fn entropy_is_measured_in_bits_a_byte() {
        assert_eq!(entropy(b"aaaa"), 0.0);
        assert_eq!(entropy(b"abab"), 1.0);
        assert_eq!(entropy(b"abcd"), 2.0);
    }
}
