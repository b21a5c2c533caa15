//! Merge conflicts that were committed unresolved.
//!
//! Reported only when all three marks of one conflict stand in order at the start of a line, so an underline of
//! equals signs is none. Fenced code in Markdown may show a conflict and is passed over.

use crate::finding::{Finding, Place, Severity};
use crate::tree;

/// Finds unresolved conflicts.
pub fn check(path: &str, text: &str) -> Vec<Finding> {
    let markdown = matches!(tree::extension(path).as_str(), "md" | "markdown" | "mdx");
    let patch = matches!(tree::extension(path).as_str(), "patch" | "diff" | "rej" | "orig");
    let mut findings = Vec::new();
    if patch || !text.contains("<<<<<<< ") {
        return findings;
    }
    let mut fenced = false;
    let mut open: Option<(u32, bool)> = None;
    for (number, line) in (1u32..).zip(text.lines()) {
        if markdown && (line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~")) {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        if line.starts_with("<<<<<<< ") {
            open = Some((number, false));
        } else if line == "=======" {
            open = open.map(|(start, _)| (start, true));
        } else if line.starts_with(">>>>>>> ") {
            if let Some((start, true)) = open {
                findings.push(Finding::new(
                    "lint.merge-conflict",
                    Severity::High,
                    Place::line(path, start),
                    format!("a merge conflict was left unresolved (lines {start} to {number})"),
                    "choose a side, or both, and delete the three marker lines",
                ));
            }
            open = None;
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conflict() -> String {
        let (open, middle, close) = ("<".repeat(7), "=".repeat(7), ">".repeat(7));
        format!("a\n{open} HEAD\nmine\n{middle}\nyours\n{close} branch\n")
    }

    #[test]
    fn a_conflict_is_found_at_its_first_line() {
        let findings = check("src/a.rs", &conflict());
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].place, Place::line("src/a.rs", 2));
    }

    #[test]
    fn an_underline_a_patch_and_a_shown_example_are_none() {
        assert!(check("a.md", "Title\n=======\n").is_empty());
        assert!(check("a.patch", &conflict()).is_empty());
        assert!(check("a.md", &format!("```\n{}```\n", conflict())).is_empty());
        let no_middle = conflict().replace("\n=======\n", "\n");
        assert!(check("a.rs", &no_middle).is_empty());
    }
}
