//! Which language a file is written in, told by its name or its first line.
//!
//! A name that is not known has no language: nothing is guessed from content beyond a `#!` line.

use crate::tree;

/// A programming or markup language this project knows by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Language {
    /// Its usual name.
    pub name: &'static str,
    /// Whether files in it are code (as opposed to prose, data or configuration).
    pub code: bool,
}

const BY_EXTENSION: &[(&[&str], &str, bool)] = &[
    (&["rs"], "Rust", true),
    (&["py", "pyi", "pyw"], "Python", true),
    (&["js", "mjs", "cjs", "jsx"], "JavaScript", true),
    (&["ts", "mts", "cts", "tsx"], "TypeScript", true),
    (&["c", "h"], "C", true),
    (&["cc", "cpp", "cxx", "hpp", "hh", "hxx"], "C++", true),
    (&["go"], "Go", true),
    (&["java"], "Java", true),
    (&["kt", "kts"], "Kotlin", true),
    (&["scala"], "Scala", true),
    (&["cs"], "C#", true),
    (&["rb"], "Ruby", true),
    (&["php"], "PHP", true),
    (&["pl", "pm"], "Perl", true),
    (&["swift"], "Swift", true),
    (&["lua"], "Lua", true),
    (&["hs"], "Haskell", true),
    (&["ml", "mli"], "OCaml", true),
    (&["ex", "exs"], "Elixir", true),
    (&["erl", "hrl"], "Erlang", true),
    (&["clj", "cljs"], "Clojure", true),
    (&["zig"], "Zig", true),
    (&["nim"], "Nim", true),
    (&["jl"], "Julia", true),
    (&["r"], "R", true),
    (&["dart"], "Dart", true),
    (&["sh", "bash", "zsh", "ksh"], "Shell", true),
    (&["ps1"], "PowerShell", true),
    (&["s", "asm"], "Assembly", true),
    (&["sql"], "SQL", true),
    (&["proto"], "Protocol Buffers", true),
    (&["vue"], "Vue", true),
    (&["svelte"], "Svelte", true),
    (&["css", "scss", "sass", "less"], "CSS", false),
    (&["html", "htm", "xhtml"], "HTML", false),
    (&["md", "markdown", "mdx"], "Markdown", false),
    (&["rst"], "reStructuredText", false),
    (&["toml"], "TOML", false),
    (&["json"], "JSON", false),
    (&["yaml", "yml"], "YAML", false),
    (&["xml"], "XML", false),
    (&["tex"], "TeX", false),
];

const BY_NAME: &[(&str, &str, bool)] = &[
    ("Makefile", "Make", true),
    ("GNUmakefile", "Make", true),
    ("makefile", "Make", true),
    ("CMakeLists.txt", "CMake", true),
    ("Dockerfile", "Dockerfile", false),
    ("Rakefile", "Ruby", true),
    ("Gemfile", "Ruby", true),
];

const BY_INTERPRETER: &[(&str, &str)] = &[
    ("python", "Python"),
    ("node", "JavaScript"),
    ("bash", "Shell"),
    ("dash", "Shell"),
    ("zsh", "Shell"),
    ("ksh", "Shell"),
    ("sh", "Shell"),
    ("perl", "Perl"),
    ("ruby", "Ruby"),
    ("lua", "Lua"),
    ("php", "PHP"),
    ("Rscript", "R"),
];

/// The language of a file by its path, else by the `#!` line in `head` (its first bytes).
pub fn of(path: &str, head: &[u8]) -> Option<Language> {
    let file = tree::name(path);
    if let Some((_, name, code)) = BY_NAME.iter().find(|(known, _, _)| *known == file) {
        return Some(Language { name, code: *code });
    }
    let extension = tree::extension(path);
    if let Some((_, name, code)) = BY_EXTENSION.iter().find(|(all, _, _)| all.contains(&extension.as_str())) {
        return Some(Language { name, code: *code });
    }
    let program = interpreter(head)?;
    let (_, name) = BY_INTERPRETER
        .iter()
        .find(|(stem, _)| program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') == *stem)?;
    Some(Language { name, code: true })
}

/// The program named by a `#!` line, without its folder: `python3` for `#!/usr/bin/env -S python3 -u`.
pub fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line.get(..line.len().min(200))?).ok()?;
    let mut words = line.split_whitespace();
    let first = tree::name(words.next()?);
    let program = if first == "env" {
        words.find(|word| !word.starts_with('-') && !word.contains('='))?
    } else {
        first
    };
    Some(tree::name(program).to_string())
}

/// Whether a slash behind this word of JavaScript begins a regular expression, for a value follows the word.
pub fn expects_value(word: &str) -> bool {
    matches!(
        word,
        "return"
            | "typeof"
            | "case"
            | "in"
            | "of"
            | "delete"
            | "void"
            | "throw"
            | "new"
            | "instanceof"
            | "else"
            | "do"
            | "yield"
            | "await"
            | "default"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str, head: &str) -> Option<&'static str> {
        of(path, head.as_bytes()).map(|language| language.name)
    }

    #[test]
    fn a_name_tells_the_language_and_a_first_line_helps_out() {
        assert_eq!(name("src/lib.rs", ""), Some("Rust"));
        assert_eq!(name("a/Makefile", ""), Some("Make"));
        assert_eq!(name("bin/tool", "#!/usr/bin/env python3\nimport os"), Some("Python"));
        assert_eq!(name("bin/tool", "#!/usr/bin/env -S PATH=/x node --flag\n"), Some("JavaScript"));
        assert_eq!(name("bin/tool", "#!/bin/sh\n"), Some("Shell"));
        assert_eq!(name("bin/tool", "#!/usr/bin/python3.11\n"), Some("Python"));
        assert_eq!(name("LICENSE", "Permission is"), None);
        assert_eq!(name("x", "#!"), None);
    }

    #[test]
    fn prose_and_data_are_not_code() {
        assert_eq!(of("README.md", b"").map(|l| l.code), Some(false));
        assert_eq!(of("a.py", b"").map(|l| l.code), Some(true));
    }
}
