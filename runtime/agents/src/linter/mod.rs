//! LINTER's own checks: what can be said of a file with certainty by reading it.
//!
//! Each check is a small pure file of its own. Tools that fit the tree are called by the shell ([`calls`], and in a jail [`foreign`]) and
//! read by [`tools`], [`clippy`], [`gcc`] and [`eslint`]. A check that cannot be sure stays silent; whatever lies among test data is told as
//! `info`.

pub mod bulk;
pub mod calls;
pub mod clippy;
pub mod conflict;
pub mod eslint;
pub mod foreign;
pub mod format;
pub mod gcc;
pub mod links;
pub mod makefile;
pub mod structured;
pub mod tools;
pub mod work;

use crate::finding::{Finding, Severity};
use crate::tree;

/// Largest file whose text is read by the checks, in bytes.
pub const READ_MAX: u64 = 4 << 20;

/// Whether content is binary: a NUL among its first 8 KiB, as git tells it.
pub fn is_binary(content: &[u8]) -> bool {
    content[..content.len().min(8192)].contains(&0)
}

/// All checks of one file's content. `exists` tells whether a path relative to the root is in the tree.
pub fn file(path: &str, content: &[u8], exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if is_binary(content) {
        return findings;
    }
    let Ok(text) = std::str::from_utf8(content) else {
        return findings;
    };
    findings.extend(conflict::check(path, text));
    if !tree::is_foreign(path) {
        findings.extend(structured::check(path, text));
        findings.extend(links::check(path, text, exists));
        findings.extend(format::check(path, text));
        findings.extend(makefile::check(path, text));
    }
    if tree::is_test_data(path) {
        for finding in &mut findings {
            soften(finding);
        }
    }
    findings
}

/// Lowers a finding in test data to `info` and says why.
pub fn soften(finding: &mut Finding) {
    if finding.severity > Severity::Info {
        finding.severity = Severity::Info;
        finding.message.push_str(" (among test data, so perhaps on purpose)");
    }
}
