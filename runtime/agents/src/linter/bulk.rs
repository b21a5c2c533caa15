//! Files that weigh a source tree down: very large ones, and compiled programs and libraries.
//!
//! Compiled files are told once a directory, with their number. Whether they belong there is for people to say.

use std::collections::BTreeMap;

use crate::finding::{Finding, Place, Severity};
use crate::tree::{self, Tree};

/// Files above this many bytes are told.
pub const LARGE: u64 = 10 << 20;

/// Finds very large files.
pub fn large(tree: &Tree) -> Vec<Finding> {
    tree.files()
        .filter(|entry| entry.len > LARGE)
        .map(|entry| {
            Finding::new(
                "lint.large-file",
                Severity::Low,
                Place::file(&entry.path),
                format!("{} MiB in one file: every clone carries it for ever", entry.len >> 20),
                "keep it outside of the source tree, or in large-file storage",
            )
        })
        .collect()
}

/// What kind of compiled file begins with these bytes.
pub fn compiled(path: &str, head: &[u8]) -> Option<&'static str> {
    let extension = tree::extension(path);
    if head.starts_with(b"\x7fELF") {
        Some("ELF")
    } else if head.starts_with(b"MZ") && matches!(extension.as_str(), "exe" | "dll" | "sys" | "pyd") {
        Some("Windows")
    } else if head.starts_with(&[0xCF, 0xFA, 0xED, 0xFE]) || head.starts_with(&[0xCE, 0xFA, 0xED, 0xFE]) {
        Some("Mach-O")
    } else if head.starts_with(&[0xCA, 0xFE, 0xBA, 0xBE]) && extension == "class" {
        Some("Java class")
    } else if head.starts_with(b"!<arch>\n") && matches!(extension.as_str(), "a" | "lib") {
        Some("static library")
    } else if extension == "pyc" && head.get(2..4) == Some(b"\r\n") {
        Some("Python bytecode")
    } else {
        None
    }
}

/// Tells compiled files, one finding a directory and kind. `seen` holds path and kind.
pub fn grouped(seen: &[(String, &'static str)]) -> Vec<Finding> {
    let mut groups: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for (path, kind) in seen {
        groups.entry((tree::parent(path), kind)).or_default().push(path);
    }
    groups
        .into_iter()
        .map(|((directory, kind), paths)| {
            let (place, message) = match paths.as_slice() {
                [only] => (Place::file(*only), format!("a compiled file ({kind}) lies among the sources")),
                many => (
                    Place::file(if directory.is_empty() { "." } else { directory }),
                    format!(
                        "{} compiled files ({kind}) lie among the sources, {} first",
                        many.len(),
                        tree::name(many[0])
                    ),
                ),
            };
            let severity = if tree::is_test_data(paths[0]) || tree::is_foreign(paths[0]) {
                Severity::Info
            } else {
                Severity::Low
            };
            Finding::new(
                "lint.compiled-file",
                severity,
                place,
                message,
                "build it from source; add it to .gitignore",
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Entry, Kind};

    #[test]
    fn only_files_above_the_bound_are_large() {
        let entry = |path: &str, len| Entry { path: path.into(), kind: Kind::File, len, mode: 0o644 };
        let tree = Tree { entries: vec![entry("a", LARGE), entry("b", LARGE + 1)], ..Tree::default() };
        let findings = large(&tree);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].place, Place::file("b"));
    }

    #[test]
    fn compiled_files_are_known_by_their_first_bytes_and_told_once_a_directory() {
        assert_eq!(compiled("bin/x", b"\x7fELF\x02"), Some("ELF"));
        assert_eq!(compiled("x.exe", b"MZ\x90"), Some("Windows"));
        assert_eq!(compiled("MZ.txt", b"MZ is a prefix"), None);
        assert_eq!(compiled("a.rs", b"fn main"), None);
        let seen = [("lib/a.so".to_string(), "ELF"), ("lib/b.so".into(), "ELF"), ("x".into(), "ELF")];
        let places: Vec<_> = grouped(&seen).into_iter().map(|finding| finding.place.path).collect();
        assert_eq!(places, ["x", "lib"]);
    }
}
