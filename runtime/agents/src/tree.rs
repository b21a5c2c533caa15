//! A source tree as the agents see it: a list of entries with sizes and modes, and what a path tells by itself.
//!
//! The list is made once, by the agent that walks the tree, and handed on as JSON; cores never touch the disk.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What kind of thing an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; never followed.
    Link,
    /// A socket, pipe or device.
    Other,
}

/// One entry of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path relative to the root, `/` between parts.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Length in bytes; 0 for anything but a file.
    pub len: u64,
    /// Unix permission bits, with setuid, setgid and sticky (`mode & 0o7777`).
    pub mode: u32,
}

/// An entry that could not be looked at, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Path relative to the root, as far as it is known.
    pub path: String,
    /// Why it was left out.
    pub why: String,
}

/// The whole tree, sorted by path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tree {
    /// All entries that are not ignored by the tree's own `.gitignore` files.
    pub entries: Vec<Entry>,
    /// What was seen but could not be read or named.
    pub skipped: Vec<Skipped>,
    /// True if a bound of the walk cut it short: then an absence proves nothing.
    pub truncated: bool,
}

impl Tree {
    /// The regular files.
    pub fn files(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.kind == Kind::File)
    }

    /// All paths that a relative link may point at: entries and every directory above them.
    pub fn paths(&self) -> BTreeSet<&str> {
        let mut paths = BTreeSet::new();
        for entry in &self.entries {
            let mut path = entry.path.as_str();
            while paths.insert(path) {
                match path.rfind('/') {
                    Some(cut) => path = &path[..cut],
                    None => break,
                }
            }
        }
        paths
    }

    /// Whether `path` is an entry.
    pub fn contains(&self, path: &str) -> bool {
        self.entries.iter().any(|entry| entry.path == path)
    }
}

/// The last part of a path.
pub fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The directory of a path; empty for the root.
pub fn parent(path: &str) -> &str {
    path.rfind('/').map_or("", |cut| &path[..cut])
}

/// The extension in lower case, without its dot; empty if there is none.
pub fn extension(path: &str) -> String {
    let name = name(path);
    match name.rfind('.') {
        Some(dot) if dot > 0 => name[dot + 1..].to_ascii_lowercase(),
        _ => String::new(),
    }
}

/// `name` inside the directory `directory`, where empty is the root.
pub fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_string() } else { format!("{directory}/{name}") }
}

/// The path from the root that `target` names as seen from `directory`; nothing if it leads out of the tree.
pub fn resolve(directory: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The path in the tree of a file that a tool names in full, for a tree (or a copy of one) whose root is `root`.
pub fn within(root: &str, file: &str) -> Option<String> {
    resolve("", file.strip_prefix(root.trim_end_matches('/'))?.strip_prefix('/')?)
}

/// A path as a relative URI reference: what is not plain is written as `%XX`.
pub fn uri(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The directory itself and all above it, nearest first, ending with the root (empty).
pub fn ancestors(directory: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(directory), |d| if d.is_empty() { None } else { Some(parent(d)) })
}

/// Whether a path lies where projects keep data for tests: broken input is often there on purpose.
pub fn is_test_data(path: &str) -> bool {
    const FOLDERS: &[&str] = &[
        "test",
        "tests",
        "testing",
        "testdata",
        "test_data",
        "test-data",
        "test_files",
        "testfiles",
        "fixture",
        "fixtures",
        "__fixtures__",
        "__tests__",
        "spec",
        "specs",
        "corpus",
        "corpora",
        "invalid",
        "malformed",
        "broken",
        "snapshots",
        "__snapshots__",
        "golden",
        "idle_test",
        "ui-tests",
        "examples_invalid",
        "certdata",
        "cryptotestdata",
        "e2e",
        "mock",
        "mocks",
        "bench",
        "benches",
        "benchmarks",
    ];
    let (folders, file) = path.rsplit_once('/').unwrap_or(("", path));
    if folders.split('/').any(|part| {
        let part = part.to_ascii_lowercase();
        FOLDERS.contains(&part.as_str())
            || part.starts_with("test_")
            || part.ends_with("_test")
            || part.ends_with("-tests")
            || part.ends_with("_tests")
    }) {
        return true;
    }
    let stem = file.split('.').next().unwrap_or(file);
    stem.starts_with("test_")
        || stem.ends_with("_test")
        || stem.ends_with("_tests")
        || matches!(stem, "test" | "tests" | "conftest")
        || file.contains(".test.")
        || file.contains(".spec.")
}

/// Whether a path is documentation: its secrets are often examples, made up or long expired.
pub fn is_documentation(path: &str) -> bool {
    const FOLDERS: &[&str] = &["doc", "docs", "documentation", "man", "manual", "examples", "example"];
    matches!(extension(path).as_str(), "md" | "markdown" | "rst" | "adoc" | "mdx")
        || parent(path).split('/').any(|part| FOLDERS.contains(&part.to_ascii_lowercase().as_str()))
}

/// Whether a path lies in a folder of other people's code or of build products.
pub fn is_foreign(path: &str) -> bool {
    const FOLDERS: &[&str] = &[
        "node_modules",
        "vendor",
        "vendored",
        "_vendor",
        "third_party",
        "third-party",
        "thirdparty",
        "external",
        "bower_components",
        "dist",
        "site-packages",
        ".venv",
        "venv",
        "__pycache__",
        "_bundled",
        "deps",
    ];
    parent(path).split('/').any(|part| FOLDERS.contains(&part))
}

/// The position of a byte offset in a text: line and column (in characters), both from 1.
pub fn position(text: &str, offset: usize) -> (u32, u32) {
    let mut cut = offset.min(text.len());
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    let before = &text[..cut];
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (clamp(line), clamp(column))
}

fn clamp(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_apart_and_together() {
        assert_eq!((name("a/b.rs"), parent("a/b.rs"), parent("b.rs")), ("b.rs", "a", ""));
        assert_eq!(
            (extension("a/B.RS"), extension(".env"), extension("Makefile")),
            ("rs".into(), String::new(), String::new())
        );
        assert_eq!((join("", "x"), join("a", "x")), ("x".to_string(), "a/x".to_string()));
        assert_eq!(ancestors("a/b").collect::<Vec<_>>(), ["a/b", "a", ""]);
        assert_eq!(resolve("a/b", "../c/./d"), Some("a/c/d".into()));
        assert_eq!(resolve("a", "../../c"), None);
    }

    #[test]
    fn a_position_counts_lines_and_characters_from_one() {
        assert_eq!(position("äb\ncd", 0), (1, 1));
        assert_eq!(position("äb\ncd", 2), (1, 2));
        assert_eq!(position("äb\ncd", 4), (2, 1));
        assert_eq!(position("äb", 1), (1, 1), "inside a character");
        assert_eq!(position("ab", 99), (1, 3));
    }

    #[test]
    fn test_data_and_foreign_code_are_told_by_their_path() {
        for path in
            ["tests/x.json", "a/testdata/k.pem", "lib/test_ssl.py", "web/a.test.js", "x/invalid/b.toml"]
        {
            assert!(is_test_data(path), "{path}");
        }
        for path in ["src/lib.rs", "contest/main.py", "latest.json", "src/attest.rs"] {
            assert!(!is_test_data(path), "{path}");
        }
        assert!(is_foreign("web/node_modules/a/b.js"));
        assert!(!is_foreign("vendor.rs"));
    }

    #[test]
    fn a_root_with_and_without_its_slash_holds_the_same_files() {
        for root in ["/t", "/t/"] {
            assert_eq!(within(root, "/t/a/b.c"), Some("a/b.c".into()));
            assert_eq!(within(root, "/tt/a.c"), None);
        }
    }

    #[test]
    fn every_directory_above_an_entry_is_a_path() {
        let tree = Tree {
            entries: vec![Entry { path: "a/b/c".into(), kind: Kind::File, len: 1, mode: 0o644 }],
            ..Tree::default()
        };
        assert_eq!(tree.paths().into_iter().collect::<Vec<_>>(), ["a", "a/b", "a/b/c"]);
    }
}
