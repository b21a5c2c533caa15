//! The C compiler as a reader: which files it is given, with which flags, and which of its words are surely true.
//!
//! It compiles as far as assembly, for what it says of a program's flow it says no sooner; nothing is kept and nothing runs. With a compilation database a file gets its own flags, and everything the compiler says
//! counts. Without one the flags are a guess: a file whose headers are not found is passed over, a file with conditions is believed only
//! where conditions do not matter, and an error only where no missing definition can be behind it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::finding::{Finding, Place, Severity};
use crate::tree;

/// The compiler's arguments before those of a file.
pub const ARGUMENTS: [&str; 7] =
    ["-S", "-o", "/dev/null", "-Wall", "-Wextra", "-fdiagnostics-format=json", "-fno-diagnostics-show-caret"];

/// Warnings that hold whatever is defined elsewhere.
const UNCONDITIONAL: &[&str] = &[
    "-Wformat=",
    "-Wformat-extra-args",
    "-Wparentheses",
    "-Wmisleading-indentation",
    "-Wsizeof-pointer-memaccess",
    "-Wsizeof-array-argument",
    "-Wint-conversion",
    "-Wincompatible-pointer-types",
    "-Wreturn-local-addr",
    "-Wduplicate-decl-specifier",
    "-Wdangling-else",
    "-Wnonnull",
    "-Wbool-compare",
    "-Wtautological-compare",
    "-Wself-assign",
    "-Wreturn-type",
    "-Wint-in-bool-context",
    "-Wempty-body",
    "-Wstringop-overflow=",
    "-Wuse-after-free",
];

/// How a file is given to the compiler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The file, relative to the root of the tree.
    pub path: String,
    /// Its flags: includes (as absolute paths), definitions, the standard.
    pub flags: Vec<String>,
    /// Whether the flags are the tree's own.
    pub certain: bool,
    /// Whether the file has conditions of the preprocessor.
    pub conditional: bool,
}

#[derive(Deserialize)]
struct Command {
    directory: String,
    file: String,
    command: Option<String>,
    arguments: Option<Vec<String>>,
}

/// The flags of each file by a compilation database whose text this is. `root` is the tree's absolute path, with a slash at its end.
pub fn database(text: &str, root: &str) -> BTreeMap<String, Vec<String>> {
    let commands: Vec<Command> = serde_json::from_str(text).unwrap_or_default();
    let mut flags = BTreeMap::new();
    for command in commands {
        let words: Vec<String> = match (command.arguments, command.command) {
            (Some(arguments), _) => arguments,
            (None, Some(line)) => line.split_whitespace().map(String::from).collect(),
            (None, None) => continue,
        };
        let absolute = |path: &str| {
            if path.starts_with('/') {
                path.to_string()
            } else {
                format!("{}/{path}", command.directory.trim_end_matches('/'))
            }
        };
        let file = absolute(&command.file);
        let Some(path) = file.strip_prefix(root).and_then(|path| tree::resolve("", path)) else { continue };
        let mut kept = Vec::new();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            // Nothing but what changes how the text reads: no output, no plug-in, no other program.
            if let Some(include) = ["-I", "-isystem", "-iquote"].iter().find(|flag| word.starts_with(**flag))
            {
                let value = match word.strip_prefix(include) {
                    Some("") | None => words.next().unwrap_or_default(),
                    Some(value) => value.to_string(),
                };
                kept.extend([(*include).to_string(), absolute(&value)]);
            } else if word.starts_with("-D") || word.starts_with("-U") || word.starts_with("-std=") {
                let bare = word.len() == 2;
                kept.push(word);
                if bare {
                    kept.extend(words.next());
                }
            }
        }
        flags.insert(path, kept);
    }
    flags
}

/// Guesses where a file's headers are: beside it, above it, and in folders called `include`, `inc` and `src`. `folders` are those of the tree
/// that hold headers.
pub fn guess(path: &str, folders: &[&str], root: &str) -> Vec<String> {
    let mut flags = vec!["-std=gnu17".to_string()];
    let mut include = |folder: &str| flags.extend(["-I".to_string(), format!("{root}{folder}")]);
    for above in tree::ancestors(tree::parent(path)) {
        include(above);
    }
    for folder in folders
        .iter()
        .filter(|folder| folder.split('/').any(|part| matches!(part, "include" | "inc" | "src")))
        .take(40)
    {
        include(folder);
    }
    flags
}

/// Whether a text has conditions that other definitions could decide: any but an include guard and `__cplusplus`.
pub fn is_conditional(text: &str) -> bool {
    let mut directives =
        text.lines().map(str::trim_start).filter_map(|line| line.strip_prefix('#')).map(str::trim_start);
    directives.any(|line| {
        (line.starts_with("if") || line.starts_with("elif"))
            && !line.contains("__cplusplus")
            && !line.ends_with("_H")
    })
}

#[derive(Deserialize)]
struct Diagnostic {
    kind: String,
    message: String,
    option: Option<String>,
    #[serde(default)]
    locations: Vec<Location>,
}

#[derive(Deserialize)]
struct Location {
    caret: Caret,
}

#[derive(Deserialize)]
struct Caret {
    file: String,
    line: u32,
    #[serde(rename = "byte-column", default)]
    column: u32,
}

/// Turns what the compiler said of a unit into findings; nothing where it is not sure. `within` maps a file to its path in the tree.
pub fn read(unit: &Unit, stderr: &str, within: &dyn Fn(&str) -> Option<String>) -> Vec<Finding> {
    let Some(json) = stderr.lines().find(|line| line.starts_with('[')) else { return Vec::new() };
    let told: Vec<Diagnostic> = serde_json::from_str(json).unwrap_or_default();
    let lost =
        told.iter().any(|one| one.kind == "fatal error" || one.message.contains("No such file or directory"));
    if lost {
        return Vec::new();
    }
    let broken = told.iter().any(|one| one.kind == "error");
    let mut findings = Vec::new();
    for one in told {
        let Some(place) = one.locations.first() else { continue };
        let Some(path) = within(&place.caret.file) else { continue };
        let own = path == unit.path;
        let believed = match one.kind.as_str() {
            "error" => unit.certain || (own && !unit.conditional && is_syntax_error(&one.message)),
            "warning" => {
                let option = one.option.as_deref().unwrap_or("");
                unit.certain
                    || (own
                        && !broken
                        && (!unit.conditional || UNCONDITIONAL.contains(&option))
                        && option != "-Wimplicit-function-declaration")
            }
            _ => false,
        };
        if !believed {
            continue;
        }
        let (rule, severity) = match (&one.option, one.kind.as_str()) {
            (Some(option), "warning") => {
                (format!("gcc.{}", option.trim_start_matches('-').trim_end_matches('=')), Severity::Low)
            }
            (None, "warning") => ("gcc.warning".to_string(), Severity::Low),
            _ => ("gcc.error".to_string(), Severity::Medium),
        };
        let place = Place {
            path,
            line: Some(place.caret.line.max(1)),
            column: (place.caret.column > 0).then_some(place.caret.column),
        };
        let message = one.message.split_whitespace().collect::<Vec<_>>().join(" ");
        findings.push(Finding::new(
            rule,
            severity,
            place,
            message,
            "correct it; `gcc -Wall -Wextra` says the same",
        ));
        if broken && !unit.certain {
            // After a first syntax error the rest is a compiler's guess.
            break;
        }
    }
    findings
}

/// Whether an error is one of form, and no macro that is defined elsewhere can be behind it.
fn is_syntax_error(message: &str) -> bool {
    let quoted = message.split(['\u{2018}', '\u{2019}', '\'']).skip(1).step_by(2);
    let is_macro = |word: &str| {
        word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    message.starts_with("expected ") && !quoted.clone().any(is_macro)
        || message.starts_with("missing terminating")
        || message.starts_with("unterminated")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(certain: bool, conditional: bool) -> Unit {
        Unit { path: "a.c".into(), flags: Vec::new(), certain, conditional }
    }

    fn told(unit: &Unit, diagnostics: &[(&str, &str, &str, &str)]) -> Vec<String> {
        let all: Vec<String> = diagnostics
            .iter()
            .map(|(kind, option, message, file)| {
                let option = if option.is_empty() { String::new() } else { format!(r#""option": "{option}", "#) };
                format!(r#"{{"kind": "{kind}", {option}"message": "{message}", "children": [], "locations": [{{"caret": {{"file": "{file}", "line": 3, "byte-column": 5}}}}]}}"#)
            })
            .collect();
        let stderr = format!("[{}]\n", all.join(", "));
        let within = |file: &str| file.strip_prefix("/t/").map(String::from);
        read(unit, &stderr, &within)
            .into_iter()
            .map(|f| format!("{} {} {}", f.severity, f.rule, f.place))
            .collect()
    }

    #[test]
    fn with_the_trees_own_flags_everything_counts() {
        let all = [
            ("warning", "-Wunused-variable", "unused", "/t/a.c"),
            ("error", "", "bad", "/t/a.h"),
            ("note", "", "here", "/t/a.c"),
            ("warning", "-Wx", "m", "/usr/x.h"),
        ];
        assert_eq!(
            told(&unit(true, true), &all),
            ["low gcc.Wunused-variable a.c:3:5", "medium gcc.error a.h:3:5"]
        );
    }

    #[test]
    fn with_guessed_flags_only_what_is_sure_counts() {
        let format = ("warning", "-Wformat=", "format", "/t/a.c");
        let unused = ("warning", "-Wunused-variable", "unused", "/t/a.c");
        let implicit = ("warning", "-Wimplicit-function-declaration", "implicit", "/t/a.c");
        assert_eq!(told(&unit(false, true), &[format, unused]), ["low gcc.Wformat a.c:3:5"]);
        assert_eq!(told(&unit(false, false), &[format, unused, implicit]).len(), 2);
        assert!(
            told(
                &unit(false, false),
                &[format, ("fatal error", "", "x.h: No such file or directory", "/t/a.c")]
            )
            .is_empty()
        );
        let syntax = ("error", "", "expected ';' before 'return'", "/t/a.c");
        assert_eq!(told(&unit(false, false), &[syntax, syntax, format]), ["medium gcc.error a.c:3:5"]);
        assert!(told(&unit(false, true), &[syntax]).is_empty());
        assert!(
            told(&unit(false, false), &[("error", "", "expected ')' before 'VERSION'", "/t/a.c")]).is_empty()
        );
        assert!(told(&unit(false, false), &[("error", "", "'x' undeclared", "/t/a.c")]).is_empty());
    }

    #[test]
    fn a_database_gives_flags_and_nothing_that_acts() {
        let text = r#"[{"directory": "/t/build", "file": "../src/a.c", "command": "gcc -I../inc -DX=1 -fplugin=evil.so -o a.o -c a.c"},
            {"directory": "/t", "file": "b.c", "arguments": ["cc", "-I", "inc", "-D", "Y", "-std=c99", "-include", "z.h", "b.c"]},
            {"directory": "/else", "file": "c.c", "command": "cc c.c"}]"#;
        let flags = database(text, "/t/");
        assert_eq!(flags["b.c"], ["-I", "/t/inc", "-D", "Y", "-std=c99"]);
        assert_eq!(flags["src/a.c"], ["-I", "/t/build/../inc", "-DX=1"]);
        assert_eq!(flags.len(), 2);
    }

    #[test]
    fn guards_are_no_conditions() {
        assert!(!is_conditional("#ifndef A_H\n#define A_H\n#include <x.h>\n# ifdef __cplusplus\n#endif\n"));
        assert!(is_conditional("  #  if HAVE_X\n#endif\n"));
    }
}
