//! Which test runners fit a tree, told from its files: the pure part, which reads manifests and looks for tests.
//!
//! A runner is chosen only where there are tests that it would find. What looks like tests of a runner that TESTBED does not know, or that lie
//! below another project, is named in the notes rather than passed over in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use crate::tree::{self, Entry, Kind, Tree};

/// Largest file that is read to choose, in bytes.
pub const READ_MAX: u64 = 512 << 10;
/// How many runners one tree gets at most.
const RUNNERS_MAX: usize = 8;

/// How a project's tests are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runner {
    /// `cargo test` over a whole workspace.
    Cargo,
    /// Python: unittest's discovery from each of these directories (relative to the tree), or pytest where there is one.
    Python {
        /// Directories that stand on the module path, with tests for unittest below.
        tops: Vec<String>,
        /// Files with tests that only pytest can run.
        pytest: Vec<String>,
    },
    /// `node --test`, with these further arguments.
    Node(Vec<String>),
    /// `npm test`.
    Npm,
    /// `make` with this target, perhaps after `./configure`.
    Make {
        /// The target.
        target: String,
        /// Whether `./configure` makes the Makefile.
        configure: bool,
    },
    /// CMake and CTest.
    Cmake,
}

/// A runner and where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// How.
    pub runner: Runner,
    /// The directory, relative to the tree; empty for its root.
    pub directory: String,
}

impl Project {
    /// What runs where, in a few words.
    pub fn label(&self) -> String {
        let place = if self.directory.is_empty() { "." } else { &self.directory };
        format!("{} in {place}", self.command())
    }

    /// The command that a person would give in the directory.
    pub fn command(&self) -> String {
        match &self.runner {
            Runner::Cargo => "cargo test --workspace --no-fail-fast".into(),
            Runner::Python { .. } => "python3 -m unittest discover".into(),
            Runner::Node(more) if more.is_empty() => "node --test".into(),
            Runner::Node(more) => format!("node --test {}", more.join(" ")),
            Runner::Npm => "npm test".into(),
            Runner::Make { target, configure: true } => format!("./configure && make -k {target}"),
            Runner::Make { target, configure: false } => format!("make -k {target}"),
            Runner::Cmake => "cmake . && cmake --build . && ctest".into(),
        }
    }
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chosen {
    /// What will be run, in this order.
    pub projects: Vec<Project>,
    /// What will not, and why.
    pub notes: Vec<String>,
}

/// Whether the content of a file is needed by [`choose`].
pub fn wants(entry: &Entry) -> bool {
    if entry.kind != Kind::File || entry.len > READ_MAX || tree::is_foreign(&entry.path) {
        return false;
    }
    let name = tree::name(&entry.path);
    const MANIFESTS: [&str; 10] = [
        "Cargo.toml",
        "package.json",
        "pyproject.toml",
        "setup.cfg",
        "pytest.ini",
        "Makefile",
        "GNUmakefile",
        "makefile",
        "CMakeLists.txt",
        "meson.build",
    ];
    MANIFESTS.contains(&name) || is_python_test(&entry.path) || is_node_test(&entry.path)
}

fn is_python_test(path: &str) -> bool {
    let name = tree::name(path);
    name.strip_suffix(".py").is_some_and(|stem| stem.starts_with("test") || stem.ends_with("_test"))
}

/// Whether `node --test` would find this file by its name.
fn is_node_test(path: &str) -> bool {
    let name = tree::name(path);
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    matches!(extension, "js" | "mjs" | "cjs")
        && (stem == "test"
            || stem.starts_with("test-")
            || [".test", "-test", "_test"].iter().any(|end| stem.ends_with(end))
            || tree::parent(path).split('/').any(|part| part == "test"))
}

/// Chooses runners for a tree. `texts` has the content of the files that [`wants`] asked for, by path.
pub fn choose(listed: &Tree, texts: &BTreeMap<String, String>) -> Chosen {
    let paths = listed.paths();
    let mut chosen = Chosen::default();
    cargo(texts, &mut chosen);
    python(&paths, texts, &mut chosen);
    node(texts, &mut chosen);
    c(&paths, texts, &mut chosen);
    if chosen.projects.len() > RUNNERS_MAX {
        let left: Vec<String> = chosen.projects.split_off(RUNNERS_MAX).iter().map(Project::label).collect();
        chosen.notes.push(format!("only {RUNNERS_MAX} test runs a tree: left out {}", left.join(", ")));
    }
    chosen
}

/// The directories of the files called `name`, topmost first, without those below another of them.
fn topmost<'a>(texts: &'a BTreeMap<String, String>, name: &str) -> (Vec<&'a str>, Vec<&'a str>) {
    let mut directories: Vec<&str> = texts
        .keys()
        .filter(|path| tree::name(path) == name && !tree::is_test_data(path))
        .map(|path| tree::parent(path))
        .collect();
    directories.sort_by_key(|directory| (directory.matches('/').count(), directory.len(), *directory));
    let (mut top, mut below): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for directory in directories {
        let inside = top.iter().any(|above| above.is_empty() || directory.starts_with(&format!("{above}/")));
        if inside { below.push(directory) } else { top.push(directory) }
    }
    (top, below)
}

fn cargo(texts: &BTreeMap<String, String>, chosen: &mut Chosen) {
    let (top, below) = topmost(texts, "Cargo.toml");
    for directory in top {
        let parsed = toml::from_str::<toml::Table>(&texts[&tree::join(directory, "Cargo.toml")]);
        match parsed {
            Ok(table) if table.contains_key("package") || table.contains_key("workspace") => {
                chosen.projects.push(Project { runner: Runner::Cargo, directory: directory.into() });
            }
            Ok(_) => {}
            // LINTER tells that it does not parse.
            Err(_) => chosen.notes.push(format!("{}: not valid TOML", tree::join(directory, "Cargo.toml"))),
        }
    }
    let apart: Vec<&str> = below
        .into_iter()
        .filter(|directory| {
            texts[&tree::join(directory, "Cargo.toml")].lines().any(|line| line.trim() == "[workspace]")
        })
        .collect();
    if !apart.is_empty() {
        chosen.notes.push(format!("workspaces within another one were not tested: {}", apart.join(", ")));
    }
}

static PYTEST_FUNCTION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)^(?:async )?def test_[A-Za-z0-9_]+").expect("the pattern is well-formed")
});
static PYTEST_IMPORT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)^[ \t\n]*(?:import pytest|from pytest|from hypothesis import)")
        .expect("the pattern is well-formed")
});
static DERIVED_CLASS: LazyLock<Regex> = LazyLock::new(|| {
    // Its base may be a test case of unittest; only Python itself could tell.
    Regex::new(r"(?m)^class [A-Za-z0-9_]*Test[A-Za-z0-9_]*\([A-Z][A-Za-z0-9_.]*[,)]")
        .expect("the pattern is well-formed")
});
static PYTEST_CLASS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)^class Test[A-Za-z0-9_]*(?:\(object\)|\(\))?:").expect("the pattern is well-formed")
});

fn python(paths: &BTreeSet<&str>, texts: &BTreeMap<String, String>, chosen: &mut Chosen) {
    let mut projects: BTreeMap<&str, (BTreeSet<String>, Vec<String>)> = BTreeMap::new();
    for (path, text) in texts.iter().filter(|(path, _)| is_python_test(path)) {
        let classes = ["unittest", "TestCase", "doctest"].iter().any(|word| text.contains(word))
            || DERIVED_CLASS.is_match(text);
        let pytest = PYTEST_IMPORT.is_match(text)
            || (!classes && (PYTEST_FUNCTION.is_match(text) || PYTEST_CLASS.is_match(text)));
        if !classes && !pytest {
            continue;
        }
        let project = tree::ancestors(tree::parent(path)).find(|directory| {
            ["pyproject.toml", "setup.py", "setup.cfg"]
                .iter()
                .any(|name| paths.contains(tree::join(directory, name).as_str()))
        });
        let (tops, modern) = projects.entry(project.unwrap_or_default()).or_default();
        if pytest {
            modern.push(path.clone());
        } else if tree::name(path).starts_with("test") {
            tops.insert(top(path, paths));
        }
    }
    for (directory, (tops, pytest)) in projects {
        let runner = Runner::Python { tops: tops.into_iter().collect(), pytest };
        chosen.projects.push(Project { runner, directory: directory.into() });
    }
}

/// The directory that has to stand on Python's module path for a file: the first one above it that is no package.
fn top(path: &str, paths: &BTreeSet<&str>) -> String {
    let above = tree::ancestors(tree::parent(path));
    let mut plain = above.filter(|directory| !paths.contains(tree::join(directory, "__init__.py").as_str()));
    plain.next().unwrap_or_default().to_string()
}

fn node(texts: &BTreeMap<String, String>, chosen: &mut Chosen) {
    let (top, _) = topmost(texts, "package.json");
    let mut covered: Vec<&str> = Vec::new();
    for directory in top {
        let path = tree::join(directory, "package.json");
        let Ok(manifest) = serde_json::from_str::<serde_json::Value>(&texts[&path]) else {
            chosen.notes.push(format!("{path}: not valid JSON"));
            continue;
        };
        let script = manifest["scripts"]["test"].as_str().unwrap_or_default().trim();
        if script.is_empty() || script.contains("no test specified") {
            continue;
        }
        covered.push(directory);
        let plain = !script.contains(['&', '|', ';', '<', '>', '$', '`', '"', '\'', '*', '(']);
        let arguments: Vec<&str> = script.split_whitespace().collect();
        let runner = match arguments.as_slice() {
            ["node", "--test", more @ ..] if plain && more.iter().all(|word| !word.contains("reporter")) => {
                Runner::Node(more.iter().map(ToString::to_string).collect())
            }
            _ => Runner::Npm,
        };
        chosen.projects.push(Project { runner, directory: directory.into() });
    }
    let loose = texts.iter().filter(|(path, _)| is_node_test(path)).find(|(path, text)| {
        let covered = covered.iter().any(|above| above.is_empty() || path.starts_with(&format!("{above}/")));
        !covered && text.contains("node:test")
    });
    if loose.is_some() && covered.is_empty() {
        chosen.projects.push(Project { runner: Runner::Node(Vec::new()), directory: String::new() });
    }
}

static TARGET: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?m)^([A-Za-z0-9_ .%-]*(?-u:\b))?(check|test)(?-u:\b)[A-Za-z0-9_ .-]*:(?:[^=]|$)")
        .expect("the pattern is well-formed")
});

fn c(paths: &BTreeSet<&str>, texts: &BTreeMap<String, String>, chosen: &mut Chosen) {
    let sources = |directory: &str| {
        paths.iter().any(|path| {
            (directory.is_empty() || path.starts_with(&format!("{directory}/")))
                && !tree::is_foreign(path)
                && matches!(tree::extension(path).as_str(), "c" | "cc" | "cpp" | "cxx")
        })
    };
    let is_there = |directory: &str, name: &str| paths.contains(tree::join(directory, name).as_str());
    let mut places: BTreeSet<&str> = BTreeSet::new();
    for name in ["Makefile", "GNUmakefile", "makefile", "CMakeLists.txt", "meson.build"] {
        places.extend(topmost(texts, name).0);
    }
    places.extend(
        paths
            .iter()
            .filter(|path| matches!(tree::name(path), "configure" | "configure.ac"))
            .filter(|path| !tree::is_foreign(path) && !tree::is_test_data(path))
            .map(|path| tree::parent(path)),
    );
    let mut taken: Vec<&str> = Vec::new();
    for directory in places {
        let inside = |above: &&str| above.is_empty() || directory.starts_with(&format!("{above}/"));
        // A Makefile beside another system's manifest only calls that system.
        let other = ["Cargo.toml", "package.json", "pyproject.toml", "setup.py"];
        let other = other.iter().any(|name| is_there(directory, name));
        if other || taken.iter().any(inside) || !sources(directory) {
            continue;
        }
        let text = |name: &str| texts.get(&tree::join(directory, name)).map(String::as_str);
        let makefile = ["GNUmakefile", "makefile", "Makefile"].into_iter().find_map(text);
        let target = makefile.and_then(target);
        let cmake = text("CMakeLists.txt");
        let has_ctest = texts.iter().any(|(path, text)| {
            tree::name(path) == "CMakeLists.txt"
                && (directory.is_empty() || path.starts_with(&format!("{directory}/")))
                && (text.contains("enable_testing")
                    || text.contains("include(CTest)")
                    || text.contains("add_test("))
        });
        let runner = if is_there(directory, "configure") && target.is_none() {
            Runner::Make { target: "check".into(), configure: true }
        } else if let Some(target) = target {
            Runner::Make { target: target.into(), configure: false }
        } else if cmake.is_some() && has_ctest {
            Runner::Cmake
        } else {
            if is_there(directory, "configure.ac") {
                let place = tree::join(directory, "configure.ac");
                chosen.notes.push(format!("unavailable: needs a `configure` beside {place}; run autoreconf"));
            } else if text("meson.build").is_some_and(|text| text.contains("test(")) {
                let place = tree::join(directory, "meson.build");
                chosen.notes.push(format!("{place}: TESTBED does not know how to run Meson's tests"));
            }
            continue;
        };
        taken.push(directory);
        chosen.projects.push(Project { runner, directory: directory.into() });
    }
}

/// The target of a Makefile that runs tests.
fn target(text: &str) -> Option<&'static str> {
    let rules = text.lines().filter(|line| !line.starts_with(['.', '#', '\t']));
    let names: Vec<String> =
        rules.filter_map(|line| TARGET.captures(line).map(|found| found[2].to_string())).collect();
    ["check", "test"].into_iter().find(|wanted| names.iter().any(|name| name == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[(&str, &str)]) -> Chosen {
        let entries: Vec<Entry> = files
            .iter()
            .map(|(path, text)| Entry {
                path: (*path).into(),
                kind: Kind::File,
                len: text.len() as u64,
                mode: 0o644,
            })
            .collect();
        let texts = files
            .iter()
            .zip(&entries)
            .filter(|(_, entry)| wants(entry))
            .map(|((path, text), _)| ((*path).into(), (*text).into()))
            .collect();
        choose(&Tree { entries, ..Tree::default() }, &texts)
    }

    fn labels(files: &[(&str, &str)]) -> Vec<String> {
        chosen(files).projects.iter().map(Project::label).collect()
    }

    #[test]
    fn a_rust_workspace_is_tested_once_from_its_root() {
        let files = [
            ("Cargo.toml", "[workspace]\nmembers = [\"a\"]\n"),
            ("a/Cargo.toml", "[package]\nname = \"a\"\n"),
            ("fuzz/Cargo.toml", "[package]\nname = \"fuzz\"\n[workspace]\n"),
            ("Makefile", "test:\n\tcargo test\n"),
            ("x.c", ""),
        ];
        assert_eq!(labels(&files), ["cargo test --workspace --no-fail-fast in ."]);
        assert_eq!(chosen(&files).notes, ["workspaces within another one were not tested: fuzz"]);
        let two = [("a/Cargo.toml", "[package]\n"), ("b/Cargo.toml", "[package]\n")];
        assert_eq!(labels(&two).len(), 2, "two crates without a common root");
    }

    #[test]
    fn python_tests_are_discovered_from_the_first_directory_that_is_no_package() {
        let case = "import unittest\nclass A(unittest.TestCase): pass\n";
        let files = [
            ("setup.py", ""),
            ("tests/test_a.py", case),
            ("pkg/__init__.py", ""),
            ("pkg/sub/__init__.py", ""),
            ("pkg/sub/test_b.py", case),
            ("tests/test_c.py", "def test_it():\n    pass\n"),
            ("tests/test_data.py", "X = 1\n"),
            (
                "tests/test_d.py",
                "from tests import Case\nclass TestD:\n    pass\nclass TestE(TestD, Case):\n    pass\n",
            ),
        ];
        let chosen = chosen(&files);
        let expected = Runner::Python {
            tops: vec![String::new(), "tests".into()],
            pytest: vec!["tests/test_c.py".into()],
        };
        assert_eq!(chosen.projects, [Project { runner: expected, directory: String::new() }]);
    }

    #[test]
    fn a_package_json_says_what_runs_and_its_placeholder_does_not() {
        let with = |script: &str| format!("{{\"scripts\": {{\"test\": \"{script}\"}}}}");
        assert_eq!(labels(&[("package.json", &with("node --test test/"))]), ["node --test test/ in ."]);
        assert_eq!(labels(&[("package.json", &with("jest --ci"))]), ["npm test in ."]);
        assert_eq!(labels(&[("package.json", &with("node --test && tsc"))]), ["npm test in ."]);
        assert!(labels(&[("package.json", &with("echo no test specified"))]).is_empty());
        let loose = [("test/a.js", "const test = require('node:test');\n")];
        assert_eq!(labels(&loose), ["node --test in ."]);
    }

    #[test]
    fn c_trees_are_tested_by_the_build_system_they_have() {
        let source = ("src/a.c", "int main(void) { return 0; }\n");
        assert_eq!(labels(&[source, ("Makefile", "all: a\ncheck: all\n\t./a\n")]), ["make -k check in ."]);
        assert_eq!(
            labels(&[source, ("Makefile", ".PHONY: test\nall test: a\n\t./a\n")]),
            ["make -k test in ."]
        );
        assert!(labels(&[source, ("Makefile", "test := 3\nall:\n\tcc a.c\n")]).is_empty());
        assert_eq!(
            labels(&[source, ("configure", "#!/bin/sh\n"), ("Makefile.am", "")]),
            ["./configure && make -k check in ."]
        );
        assert_eq!(
            labels(&[source, ("CMakeLists.txt", "enable_testing()\n")]),
            ["cmake . && cmake --build . && ctest in ."]
        );
        let notes = chosen(&[source, ("configure.ac", "AC_INIT\n")]).notes;
        assert!(notes[0].starts_with("unavailable: needs a `configure`"), "{notes:?}");
        assert!(labels(&[("Makefile", "check:\n\ttrue\n")]).is_empty(), "no C here");
    }

    #[test]
    fn a_tree_without_tests_gets_no_runner() {
        assert!(labels(&[("main.py", "print(1)\n"), ("README.md", "")]).is_empty());
    }
}
