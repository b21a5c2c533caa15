//! Permission bits that open a tree to others: world-writable entries, setuid and setgid programs, readable keys.
//!
//! Links have no bits of their own and are passed over, and so are directories with the sticky bit. Where almost
//! everything is world-writable the file system says so of all files, and one finding tells it.

use crate::finding::{Finding, Place, Severity};
use crate::tree::{Kind, Tree};

/// Finds dangerous permission bits.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let judged = || tree.entries.iter().filter(|entry| matches!(entry.kind, Kind::File | Kind::Directory));
    let is_open =
        |mode: u32, kind: Kind| mode & 0o002 != 0 && !(kind == Kind::Directory && mode & 0o1000 != 0);
    let open: Vec<_> = judged().filter(|entry| is_open(entry.mode, entry.kind)).collect();
    let mut findings = Vec::new();
    let advice = "take the right away: `chmod o-w`";
    if open.len() >= 20 && open.len() * 10 >= judged().count() * 9 {
        findings.push(Finding::new(
            "permissions.world-writable",
            Severity::Medium,
            Place::file("."),
            format!("{} of {} entries may be written by every user", open.len(), judged().count()),
            "take the right away (`chmod -R o-w`), or mount the file system with a proper mask",
        ));
    } else {
        for entry in open {
            findings.push(Finding::new(
                "permissions.world-writable",
                Severity::Medium,
                Place::file(&entry.path),
                format!("every user may write this (mode {:04o})", entry.mode),
                advice,
            ));
        }
    }
    for entry in tree.files().filter(|entry| entry.mode & 0o6000 != 0) {
        let bit = if entry.mode & 0o4000 != 0 { "setuid" } else { "setgid" };
        findings.push(Finding::new(
            "permissions.setuid",
            Severity::High,
            Place::file(&entry.path),
            format!("a {bit} file (mode {:04o}) among the sources runs with its owner's rights", entry.mode),
            format!("take the bit away: `chmod {}`", if bit == "setuid" { "u-s" } else { "g-s" }),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Entry;

    fn entry(path: &str, kind: Kind, mode: u32) -> Entry {
        Entry { path: path.into(), kind, len: 1, mode }
    }

    fn told(entries: Vec<Entry>) -> Vec<String> {
        let tree = Tree { entries, ..Tree::default() };
        check(&tree).into_iter().map(|finding| format!("{} {}", finding.rule, finding.place)).collect()
    }

    #[test]
    fn open_files_and_setuid_programs_are_told_by_name() {
        let told = told(vec![
            entry("a", Kind::File, 0o666),
            entry("b", Kind::File, 0o4755),
            entry("c", Kind::File, 0o2755),
            entry("d", Kind::Directory, 0o777),
        ]);
        assert_eq!(
            told,
            [
                "permissions.world-writable a",
                "permissions.world-writable d",
                "permissions.setuid b",
                "permissions.setuid c"
            ]
        );
    }

    #[test]
    fn ordinary_bits_links_and_sticky_folders_are_fine() {
        assert!(
            told(vec![
                entry("a", Kind::File, 0o644),
                entry("b", Kind::File, 0o775),
                entry("l", Kind::Link, 0o777),
                entry("t", Kind::Directory, 0o1777),
                entry("g", Kind::Directory, 0o2775),
            ])
            .is_empty()
        );
    }

    #[test]
    fn a_file_system_without_rights_is_told_once() {
        let all = (0..40).map(|n| entry(&format!("f{n:02}"), Kind::File, 0o777)).collect();
        assert_eq!(told(all), ["permissions.world-writable ."]);
    }
}
