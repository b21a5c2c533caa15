//! Commands of a makefile that begin with blanks instead of a tab: make stops at the first and builds nothing.
//!
//! Told only where make cannot take the line for anything else: no assignment, rule or directive of any make, and words that stand there
//! whatever the variables hold.

use crate::finding::{Finding, Place, Severity};
use crate::tree;

/// Words that begin a line which is no command.
const DIRECTIVES: [&str; 19] = [
    "ifeq", "ifneq", "ifdef", "ifndef", "else", "endif", "include", "-include", "sinclude", "define",
    "endef", "undefine", "export", "unexport", "override", "private", "vpath", "load", "-load",
];

/// Finds the first command without its tab.
pub fn check(path: &str, text: &str) -> Option<Finding> {
    let named = matches!(tree::name(path), "Makefile" | "makefile" | "GNUmakefile");
    if !(named || tree::extension(path) == "mk") || text.contains(".RECIPEPREFIX") {
        return None;
    }
    // BSD's and Microsoft's makes have conditions of their own.
    if text.lines().any(|line| line.starts_with('!') || line.starts_with(".if") || line.starts_with(".for")) {
        return None;
    }
    let (mut in_rule, mut continued, mut defining) = (false, false, false);
    for (number, line) in (1u32..).zip(text.lines()) {
        let continues = line.ends_with('\\');
        if std::mem::replace(&mut continued, continues) {
            continue;
        }
        let words = line.trim_start();
        let first = words.split_whitespace().next().unwrap_or("");
        if defining {
            defining = first != "endef";
        } else if first == "define" || words.starts_with("override define") {
            (defining, in_rule) = (true, false);
        } else if line.starts_with('\t') || words.is_empty() || words.starts_with('#') {
            // A command, or nothing.
        } else if DIRECTIVES.contains(&first) {
            in_rule &= !matches!(first, "include" | "-include" | "sinclude" | "export" | "override");
        } else if line.starts_with(' ') && in_rule && is_command(words) {
            return Some(Finding::new(
                "lint.makefile-blanks",
                Severity::High,
                Place::line(path, number),
                "a command begins with blanks where make wants a tab: it stops here, and builds nothing",
                "begin the line with one tab",
            ));
        } else {
            in_rule = is_rule(words);
        }
    }
    None
}

/// Whether a line names targets: a colon outside of references that no assignment follows.
fn is_rule(line: &str) -> bool {
    let plain = without_references(line);
    plain.split_once(':').is_some_and(|(_, after)| !after.trim_start_matches(':').starts_with('='))
        && !plain.split(':').next().is_some_and(|before| before.contains('='))
}

/// Whether words stand there that are neither assignment nor rule, whatever the variables hold.
fn is_command(line: &str) -> bool {
    let plain = without_references(line);
    plain.bytes().any(|byte| byte.is_ascii_alphanumeric()) && !plain.contains([':', '=', '#', ';'])
}

/// A line without `$(…)`, `${…}` and `$x`; nothing of one whose reference does not end in it.
fn without_references(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c != '$' {
            out.push(c);
            continue;
        }
        let (open, close) = match chars.next() {
            Some('(') => ('(', ')'),
            Some('{') => ('{', '}'),
            _ => continue,
        };
        let mut depth = 1;
        while depth > 0 {
            match chars.next() {
                Some(c) if c == open => depth += 1,
                Some(c) if c == close => depth -= 1,
                Some(_) => {}
                None => return String::new(),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Option<u32> {
        check("Makefile", text).and_then(|finding| finding.place.line)
    }

    #[test]
    fn a_command_with_blanks_is_told_at_its_line() {
        assert_eq!(line("all: a.o\n    cc -o all a.o\n"), Some(2));
        assert_eq!(line("CC = cc\n\nall:\n\techo\n\n  $(CC) -o $@ $<\n"), Some(6));
        assert_eq!(line("a b: c \\\n  d\n\ttrue\nclean::\n        rm -f a\n"), Some(5));
        assert_eq!(check("lib/rules.mk", "x:\n  true\n").map(|f| f.place.path), Some("lib/rules.mk".into()));
    }

    #[test]
    fn what_make_takes_is_silent() {
        for good in [
            "all: a.o\n\tcc -o all a.o\n",
            "SRC = a \\\n    b \\\n    c\n",
            "all:\nifdef X\n    CFLAGS += -g\nendif\n\ttrue\n",
            "all:\n    ifeq ($(X),y)\n\ttrue\n    endif\n",
            "all:\n\ttrue; \\\n    false\n",
            "all:\n    # a remark\n\ttrue\n",
            "all:\n    $(info text)\n    $(eval A = b)\n",
            "define help\nusage:\n    make all\nendef\n",
            "all:\n    other: x\n",
            "A := b:c\n    \n",
            ".RECIPEPREFIX = >\nall:\n> true\n  true\n",
            "a:\n.if X\n  b c\n.endif\n",
            "    words before any rule\n",
            "all: x=1\n",
        ] {
            assert_eq!(line(good), None, "{good}");
        }
        assert_eq!(check("Makefile.am", "x:\n  true\n"), None);
    }
}
