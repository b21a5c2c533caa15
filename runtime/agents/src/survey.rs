//! What a source tree consists of, and what it lacks: languages, manifests, gaps.
//!
//! The pure core of PROJECT_ORCHESTRATOR's reading. It is fed files one by one and never touches the disk.
//! An absence is reported only when the whole tree was seen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::finding::{Finding, Place, Severity};
use crate::language;
use crate::tree::{self, Kind, Tree};

/// Files, lines and bytes of one language.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Share {
    /// How many files.
    pub files: u64,
    /// How many lines, counted as line feeds (a last line without one counts too).
    pub lines: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Whether it is code rather than prose or data.
    pub code: bool,
}

/// A file that declares a project to some build system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its path in the tree.
    pub path: String,
    /// Which build system reads it.
    pub system: String,
}

/// What was found out about a tree.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Survey {
    /// The languages by name.
    pub languages: BTreeMap<String, Share>,
    /// The manifests, by path.
    pub manifests: Vec<Manifest>,
    /// How many regular files there are.
    pub files: u64,
    /// Their bytes together.
    pub bytes: u64,
    /// Where a first test was seen, if there is any.
    pub first_test: Option<String>,
}

const MANIFESTS: &[(&str, &str)] = &[
    ("Cargo.toml", "cargo"),
    ("package.json", "npm"),
    ("pyproject.toml", "python"),
    ("setup.py", "python"),
    ("setup.cfg", "python"),
    ("requirements.txt", "pip"),
    ("Pipfile", "pipenv"),
    ("go.mod", "go"),
    ("pom.xml", "maven"),
    ("build.gradle", "gradle"),
    ("build.gradle.kts", "gradle"),
    ("CMakeLists.txt", "cmake"),
    ("meson.build", "meson"),
    ("Makefile", "make"),
    ("GNUmakefile", "make"),
    ("configure.ac", "autotools"),
    ("Gemfile", "bundler"),
    ("composer.json", "composer"),
    ("mix.exs", "mix"),
    ("build.zig", "zig"),
    ("Dockerfile", "docker"),
];

impl Survey {
    /// Starts from the list of entries: sizes, manifests, and tests that are told by their path.
    pub fn begin(tree: &Tree) -> Self {
        let mut survey = Survey::default();
        for entry in tree.files() {
            survey.files += 1;
            survey.bytes += entry.len;
            let file = tree::name(&entry.path);
            if let Some((_, system)) = MANIFESTS.iter().find(|(name, _)| *name == file) {
                survey.manifests.push(Manifest { path: entry.path.clone(), system: (*system).into() });
            }
        }
        survey
    }

    /// Whether the content of a file is wanted by [`Survey::file`].
    pub fn wants(entry: &tree::Entry) -> bool {
        entry.kind == Kind::File
            && !tree::is_foreign(&entry.path)
            && (language::of(&entry.path, b"").is_some() || tree::extension(&entry.path).is_empty())
    }

    /// Takes one file's content into account.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        let Some(language) = language::of(path, content) else { return };
        let share = self.languages.entry(language.name.into()).or_default();
        share.code = language.code;
        share.files += 1;
        share.bytes += content.len() as u64;
        share.lines += lines(content);
        if self.first_test.is_none() && language.code && holds_test(path, language.name, content) {
            self.first_test = Some(path.into());
        }
    }

    /// The languages with the most lines first.
    pub fn ranked(&self) -> Vec<(&str, &Share)> {
        let mut ranked: Vec<_> = self.languages.iter().map(|(name, share)| (name.as_str(), share)).collect();
        ranked.sort_by(|a, b| b.1.lines.cmp(&a.1.lines).then(a.0.cmp(b.0)));
        ranked
    }

    /// How many lines of code there are.
    pub fn code_lines(&self) -> u64 {
        self.languages.values().filter(|share| share.code).map(|share| share.lines).sum()
    }

    /// What the tree lacks. Nothing is claimed about a tree that was not seen whole.
    pub fn gaps(&self, tree: &Tree) -> Vec<Finding> {
        let mut gaps = Vec::new();
        if tree.truncated || self.code_lines() == 0 {
            return gaps;
        }
        let at_root = |wanted: &[&str]| {
            tree.entries.iter().any(|entry| {
                let upper = entry.path.to_ascii_uppercase();
                !entry.path.contains('/') && wanted.iter().any(|w| upper.starts_with(w))
            })
        };
        if !at_root(&["README"]) && !self.readme_elsewhere(tree) {
            gaps.push(Finding::new(
                "project.no-readme",
                Severity::Low,
                Place::file("."),
                "the tree has no README",
                "write down what this is, how to build it and how to test it",
            ));
        }
        if !at_root(&["LICEN", "COPYING", "UNLICEN", "COPYRIGHT", "NOTICE"]) {
            gaps.push(Finding::new(
                "project.no-licence",
                Severity::Low,
                Place::file("."),
                "the tree has no licence file at its root",
                "add LICENSE or COPYING, so that others know what they may do",
            ));
        }
        if self.first_test.is_none() {
            gaps.push(Finding::new(
                "project.no-tests",
                Severity::Low,
                Place::file("."),
                format!("no test was found beside {} lines of code", self.code_lines()),
                "add a first test that a program can run",
            ));
        }
        gaps
    }

    fn readme_elsewhere(&self, tree: &Tree) -> bool {
        ["docs/README.md", ".github/README.md"].iter().any(|path| tree.contains(path))
    }
}

fn lines(content: &[u8]) -> u64 {
    let feeds = content.iter().filter(|byte| **byte == b'\n').count() as u64;
    feeds + u64::from(content.last().is_some_and(|byte| *byte != b'\n'))
}

/// Whether a file of code is, or holds, a test that a runner of its language would find.
fn holds_test(path: &str, language: &str, content: &[u8]) -> bool {
    let file = tree::name(path);
    let folder_of_tests = tree::parent(path)
        .split('/')
        .any(|part| matches!(part, "test" | "tests" | "spec" | "specs" | "__tests__" | "testing" | "t"));
    let mentions = |words: &[&str]| words.iter().any(|word| find(content, word.as_bytes()));
    match language {
        "Rust" => mentions(&["#[test]", "::test]", "#[cfg(test)]", "::test(", "proptest!"]),
        "Python" => {
            folder_of_tests
                || file.starts_with("test_")
                || file.ends_with("_test.py")
                || mentions(&["unittest.TestCase", "\ndef test_", ">>> "])
        }
        "Go" => file.ends_with("_test.go"),
        "JavaScript" | "TypeScript" | "Vue" | "Svelte" => {
            folder_of_tests || file.contains(".test.") || file.contains(".spec.") || file.contains(".cy.")
        }
        _ => folder_of_tests || file.to_ascii_lowercase().contains("test"),
    }
}

fn find(content: &[u8], word: &[u8]) -> bool {
    content.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Entry;

    fn tree(files: &[(&str, &str)]) -> (Tree, Survey) {
        let entries = files
            .iter()
            .map(|(path, text)| Entry {
                path: (*path).into(),
                kind: Kind::File,
                len: text.len() as u64,
                mode: 0o644,
            })
            .collect();
        let tree = Tree { entries, ..Tree::default() };
        let mut survey = Survey::begin(&tree);
        for ((path, text), entry) in files.iter().zip(&tree.entries) {
            if Survey::wants(entry) {
                survey.file(path, text.as_bytes());
            }
        }
        (tree, survey)
    }

    fn rules(files: &[(&str, &str)]) -> Vec<String> {
        let (tree, survey) = tree(files);
        survey.gaps(&tree).into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn languages_are_counted_by_lines_and_manifests_by_build_system() {
        let (_, survey) = tree(&[
            ("Cargo.toml", "[package]\n"),
            ("src/lib.rs", "fn a() {}\nfn b() {}"),
            ("run", "#!/bin/sh\necho\n"),
            ("LICENSE", "free\n"),
        ]);
        assert_eq!(survey.languages["Rust"], Share { files: 1, lines: 2, bytes: 19, code: true });
        assert_eq!(survey.languages["Shell"].lines, 2);
        assert_eq!(survey.manifests, [Manifest { path: "Cargo.toml".into(), system: "cargo".into() }]);
        assert_eq!((survey.files, survey.code_lines()), (4, 4));
    }

    #[test]
    fn what_a_tree_lacks_is_named_and_what_it_has_is_not() {
        assert_eq!(
            rules(&[("main.py", "print(1)\n")]),
            ["project.no-readme", "project.no-licence", "project.no-tests"]
        );
        let whole = [("README.md", ""), ("LICENSE-MIT", ""), ("a.rs", "#[cfg(test)]\nmod tests {}\n")];
        assert!(rules(&whole).is_empty());
        assert!(
            rules(&[("notes.md", "# only prose\n")]).is_empty(),
            "prose needs no licence, tests or README"
        );
    }

    #[test]
    fn a_tree_that_was_cut_short_proves_no_absence() {
        let (mut tree, survey) = tree(&[("main.py", "print(1)\n")]);
        tree.truncated = true;
        assert!(survey.gaps(&tree).is_empty());
    }
}
