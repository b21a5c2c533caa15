//! How much unsafe Rust each crate has: a count for people to weigh, not a fault.
//!
//! Counted is the keyword where it is code, in comments and strings it is not. Tests, and other people's code, are left out.

use std::collections::BTreeMap;

use crate::docgen::rust::count_unsafe;
use crate::finding::{Finding, Place, Severity};
use crate::tree;

/// The uses of `unsafe` by file, and the manifests that say which crate a file belongs to.
#[derive(Debug, Default)]
pub struct Uses {
    files: BTreeMap<String, usize>,
    manifests: Vec<String>,
}

impl Uses {
    /// Takes one file into account.
    pub fn see(&mut self, path: &str, content: &[u8]) {
        if tree::is_foreign(path) || tree::is_test_data(path) {
            return;
        }
        if tree::name(path) == "Cargo.toml" {
            self.manifests.push(path.into());
        } else if tree::extension(path) == "rs" {
            let count = count_unsafe(&String::from_utf8_lossy(content));
            if count > 0 {
                self.files.insert(path.into(), count);
            }
        }
    }

    /// One mild finding for each crate that has unsafe code.
    pub fn findings(&self) -> Vec<Finding> {
        let mut crates: BTreeMap<&str, Vec<(&str, usize)>> = BTreeMap::new();
        for (path, count) in &self.files {
            let owner = tree::ancestors(tree::parent(path))
                .map(|folder| tree::join(folder, "Cargo.toml"))
                .find_map(|manifest| self.manifests.iter().find(|known| **known == manifest));
            if let Some(owner) = owner {
                crates.entry(owner).or_default().push((path, *count));
            }
        }
        let finding = |(manifest, files): (&str, Vec<(&str, usize)>)| {
            let total: usize = files.iter().map(|(_, count)| count).sum();
            let most = files.iter().max_by_key(|(_, count)| *count).map_or("", |(path, _)| path);
            Finding::new(
                "unsafe.count",
                Severity::Info,
                Place::file(manifest),
                format!(
                    "`unsafe` stands {total} times in {} files of this crate, most often in {most}",
                    files.len()
                ),
                "make sure that each says why it is sound",
            )
        };
        crates.into_iter().map(finding).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_code_is_counted_by_crate() {
        let mut uses = Uses::default();
        for (path, text) in [
            ("a/Cargo.toml", ""),
            ("b/Cargo.toml", ""),
            ("a/src/lib.rs", "fn f() { unsafe { g() } unsafe { g() } }"),
            ("a/src/x.rs", "unsafe fn g() {}"),
            ("a/tests/t.rs", "unsafe {}"),
            ("b/src/lib.rs", "// unsafe\n#![forbid(unsafe_code)]"),
        ] {
            uses.see(path, text.as_bytes());
        }
        let findings = uses.findings();
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].place, Place::file("a/Cargo.toml"));
        assert!(
            findings[0].message.contains("3 times in 2 files")
                && findings[0].message.contains("a/src/lib.rs")
        );
    }
}
