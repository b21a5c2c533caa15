//! A README held against its tree: the commands it names, the links within it, and what a reader expects to find there.
//!
//! A command is told as dead only where the tree alone decides: a make target that its Makefile lacks, a script that
//! `package.json` lacks, a file missing from a folder that is there, an example that no package has. Blocks that change
//! directory or fetch things are left alone from that line on. Links to files are LINTER's.

use std::collections::BTreeSet;

use crate::docgen::markdown::{self, Line};
use crate::finding::{Finding, Place, Severity};
use crate::tree;

/// What a README's commands can be held against.
#[derive(Debug, Default)]
pub struct Facts {
    /// Names of Cargo's targets by kind: `bin`, `example`, `test`, `bench`.
    pub targets: BTreeSet<(&'static str, String)>,
    /// Whether there is a Cargo package at all.
    pub cargo: bool,
}

/// The name of the check of commands.
pub const DEAD_COMMAND: &str = "readme.dead-command";

/// Whether a file is a README that can be read here.
pub fn is_readme(path: &str) -> bool {
    matches!(tree::name(path).to_ascii_lowercase().as_str(), "readme.md" | "readme.markdown" | "readme")
        && !tree::is_foreign(path)
        && !tree::is_test_data(path)
}

/// Checks one README. `read` gives the text of a file of the tree, `exists` tells whether a path is there.
pub fn check(
    path: &str,
    text: &str,
    facts: &Facts,
    read: &dyn Fn(&str) -> Option<String>,
    exists: &dyn Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut findings = links(path, text);
    let folder = tree::parent(path);
    let mut moved: Option<usize> = None;
    for (number, line) in (1u32..).zip(markdown::lines(text)) {
        let Line::Code(fenced) = line else { continue };
        let shell = matches!(
            fenced.language,
            "sh" | "bash" | "shell" | "console" | "zsh" | "shell-session" | "terminal"
        );
        let command = match fenced.text.trim().strip_prefix("$ ") {
            Some(command) => command,
            None if shell && fenced.language != "console" && fenced.language != "shell-session" => {
                fenced.text.trim()
            }
            None => continue,
        };
        if moved == Some(fenced.block) || !(shell || fenced.language.is_empty()) {
            continue;
        }
        for part in command.split("&&").map(str::trim) {
            let words: Vec<&str> = part.split_whitespace().collect();
            let leaves = [
                "cd", "pushd", "git", "curl", "wget", "tar", "unzip", "mkdir", "cat", "echo", "cp", "mv",
                "touch", "docker", "ssh",
            ];
            if words.first().is_some_and(|word| leaves.contains(word))
                || part.contains(['<', '|', ';', '`', '$', '*'])
            {
                moved = Some(fenced.block);
                break;
            }
            if let Some(why) = dead(&words, folder, facts, read, exists) {
                findings.push(Finding::new(
                    DEAD_COMMAND,
                    Severity::Low,
                    Place::line(path, number),
                    format!(
                        "the README says to run `{}`, but {why}",
                        part.chars().take(80).collect::<String>()
                    ),
                    "correct the command, or add what it names",
                ));
            }
        }
    }
    if path.split('/').count() == 1 && !points_at_another(text, exists) {
        findings.extend(sections(path, text));
    }
    findings
}

/// Why a command cannot work, if that is sure.
fn dead(
    words: &[&str],
    folder: &str,
    facts: &Facts,
    read: &dyn Fn(&str) -> Option<String>,
    exists: &dyn Fn(&str) -> bool,
) -> Option<String> {
    let (program, rest) = words.split_first()?;
    match *program {
        "make" => {
            let makefile = ["GNUmakefile", "makefile", "Makefile"]
                .iter()
                .map(|name| tree::join(folder, name))
                .find(|path| exists(path))?;
            let targets = make_targets(&read(&makefile)?)?;
            if rest.iter().any(|word| word.starts_with('-') && !word.starts_with("-j")) {
                return None;
            }
            let is_target = |word: &&&str| {
                word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
                    && !word.starts_with('-')
            };
            let numbers = |word: &str| word.chars().all(|c| c.is_ascii_digit());
            let gone =
                rest.iter().take_while(|word| !word.starts_with('#')).filter(is_target).find(|word| {
                    !numbers(word) && !targets.contains(**word) && !exists(&tree::join(folder, word))
                })?;
            Some(format!("{makefile} has no target `{gone}`"))
        }
        "npm" | "pnpm" | "yarn" if rest.first() == Some(&"run") => {
            let script = rest.get(1).filter(|word| !word.starts_with('-'))?;
            let path = tree::join(folder, "package.json");
            let manifest: serde_json::Value = serde_json::from_str(&read(&path)?).ok()?;
            if rest
                .iter()
                .any(|word| matches!(*word, "-w" | "--workspace" | "--prefix" | "-C" | "--if-present"))
            {
                return None;
            }
            let known = manifest.get("scripts").is_some_and(|scripts| scripts.get(*script).is_some());
            (!known).then(|| format!("{path} has no script `{script}`"))
        }
        "cargo" if facts.cargo => {
            let pair = rest
                .windows(2)
                .find(|pair| matches!(pair[0], "--bin" | "--example" | "--test" | "--bench"))?;
            let kind = pair[0].trim_start_matches('-');
            let own = matches!(rest.first().copied(), Some("run" | "build" | "test" | "bench" | "check"));
            let foreign = rest.iter().any(|word| word.starts_with("--manifest-path"));
            let plain = pair[1].chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
            let known = facts.targets.iter().any(|(of, name)| *of == kind && name == pair[1]);
            (own && !foreign && plain && !known)
                .then(|| format!("no package of the tree has the {kind} `{}`", pair[1]))
        }
        "python" | "python3" | "node" | "bash" | "sh" => {
            let script = rest.first().filter(|word| !word.starts_with('-'))?;
            missing_file(script, folder, exists)
        }
        program if program.starts_with("./") => missing_file(program, folder, exists),
        _ => None,
    }
}

/// A script that is not there, although its folder is.
fn missing_file(script: &str, folder: &str, exists: &dyn Fn(&str) -> bool) -> Option<String> {
    let plain = script.trim_start_matches("./");
    let odd = plain.starts_with('/')
        || plain.contains("..")
        || plain.contains(['~', '"', '\'', '=', '{', '[', ':']);
    let known = matches!(tree::extension(plain).as_str(), "py" | "js" | "mjs" | "cjs" | "sh");
    let parent = tree::parent(plain);
    let there = !parent.is_empty() && exists(&tree::join(folder, parent));
    let path = tree::join(folder, plain);
    (!odd && known && there && !exists(&path)).then(|| format!("there is no {path}"))
}

/// The targets of a Makefile; none if some are made up while it runs.
pub fn make_targets(text: &str) -> Option<BTreeSet<String>> {
    let mut targets = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with(['\t', '#', ' ']) {
            continue;
        }
        let word = line.split_whitespace().next().unwrap_or("");
        if matches!(word, "include" | "-include" | "sinclude" | "define" | "$(eval") {
            return None;
        }
        let Some((left, right)) = line.split_once(':') else { continue };
        if right.starts_with('=') || right.starts_with(":=") || left.contains('=') {
            continue;
        }
        for target in left.split_whitespace() {
            if target.contains(['%', '$']) {
                return None;
            }
            targets.insert(target.to_string());
        }
        if left.trim() == ".PHONY" {
            targets.extend(right.split_whitespace().map(String::from));
        }
    }
    Some(targets)
}

/// Links within the document that lead to no heading.
fn links(path: &str, text: &str) -> Vec<Finding> {
    let loose = |anchor: &str| -> String {
        let anchor = anchor.to_lowercase();
        let numbered = anchor.rsplit_once('-').filter(|(_, n)| n.chars().all(|c| c.is_ascii_digit()));
        let base = numbered.map_or(anchor.as_str(), |(base, _)| base);
        base.chars().filter(|c| c.is_alphanumeric()).collect()
    };
    let anchors: BTreeSet<String> =
        markdown::anchors(text).iter().flat_map(|anchor| [loose(anchor), anchor.clone()]).collect();
    let mut findings = Vec::new();
    for (number, line) in (1u32..).zip(markdown::lines(text)) {
        let Line::Prose(raw) = line else { continue };
        if raw.contains("<!--")
            || raw.starts_with("    ")
            || raw.contains('`') && raw.matches('`').count() % 2 == 1
        {
            continue;
        }
        let prose: String = raw.split('`').step_by(2).collect::<Vec<_>>().join("``");
        for part in prose.split("](#").skip(1) {
            let Some((target, _)) = part.split_once(')') else { continue };
            let odd = target.is_empty()
                || target.contains([' ', '%', '{', '$'])
                || matches!(target, "top" | "readme");
            if !odd && !anchors.contains(&target.to_lowercase()) && !anchors.contains(&loose(target)) {
                findings.push(Finding::new(
                    "readme.broken-anchor",
                    Severity::Low,
                    Place::line(path, number),
                    format!("the link to `#{target}` leads to no heading of this document"),
                    "correct the link, or the heading it means",
                ));
            }
        }
    }
    findings
}

/// Whether a README is but the name of another one.
fn points_at_another(text: &str, exists: &dyn Fn(&str) -> bool) -> bool {
    let name = text.trim();
    is_readme(name) && !name.contains('/') && exists(name)
}

/// What a reader of a root README looks for and finds no word of. Its licence is looked for among the files, by the survey.
fn sections(path: &str, text: &str) -> Option<Finding> {
    let lower = text.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let mut lacks = Vec::new();
    if !says(&[
        "```",
        "usage",
        "example",
        "how to",
        "getting started",
        "quick",
        "    ",
        "documentation",
        "docs.rs",
        "tutorial",
        "manual",
    ]) {
        lacks.push("how to use it");
    }
    if !says(&[
        "install",
        "build",
        "compil",
        "make",
        "[dependencies]",
        "cargo",
        "pip",
        "npm",
        "yarn",
        "getting started",
        "quick",
    ]) {
        lacks.push("how to install or build it");
    }
    if lacks.is_empty() {
        return None;
    }
    Some(Finding::new(
        "readme.says-nothing",
        Severity::Info,
        Place::file(path),
        format!("the README has no word on {}", lacks.join(", nor on ")),
        "add a few lines",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<String> {
        let mut facts = Facts { cargo: true, ..Facts::default() };
        facts.targets.insert(("example", "tour".into()));
        let read = |path: &str| match path {
            "Makefile" => Some(".PHONY: all clean\nall: x.o\n\tcc\ntest check:\nX := 1\n".to_string()),
            "package.json" => Some(r#"{"scripts": {"build": "x"}}"#.to_string()),
            _ => None,
        };
        let exists =
            |path: &str| matches!(path, "Makefile" | "package.json" | "tools" | "tools/run.sh" | "docs");
        let text = format!("{text}\n\nusage; install.\n");
        check("README.md", &text, &facts, &read, &exists)
            .into_iter()
            .map(|f| format!("{} {}", f.rule, f.place))
            .collect()
    }

    #[test]
    fn commands_that_cannot_work_are_told_with_their_line() {
        let text = "# X\n```sh\nmake test -j4\nmake instal\nnpm run build\nnpm run dist\n./tools/run.sh\n./tools/go.sh --x\npython3 tools/x.py\ncargo run --example tour\ncargo run --example gone\n```\n";
        assert_eq!(
            told(text),
            [
                "readme.dead-command README.md:4",
                "readme.dead-command README.md:6",
                "readme.dead-command README.md:8",
                "readme.dead-command README.md:9",
                "readme.dead-command README.md:11",
            ]
        );
        assert_eq!(
            told("```\n$ make gone\nmake gone too, it said\n```"),
            ["readme.dead-command README.md:2"]
        );
    }

    #[test]
    fn what_the_tree_does_not_decide_is_left_alone() {
        for text in [
            "```sh\ncd build && make gone\n```",
            "```sh\ngit clone x\nmake gone\n```",
            "```sh\nmake -C sub gone\nmake CC=clang all\nmake Makefile\n./built/program\n./target/x.sh\npython3 my.py\npython3 -m x\n```",
            "```rust\n$ make gone\n```",
            "make gone",
            "```console\nmake: no rule for gone\n```",
        ] {
            assert!(told(text).is_empty(), "{text}");
        }
        assert_eq!(make_targets("include x.mk\nall:\n"), None);
        assert_eq!(make_targets("%.o: %.c\n"), None);
    }

    #[test]
    fn a_link_within_the_document_leads_to_a_heading_or_is_told() {
        let text = "# Getting Started 🚀\n[a](#getting-started) [b](#getting-started-) [c](#top)\n[d](#gone) `[e](#no)`\n<a name=\"Own\"></a> [f](#own)\n";
        assert_eq!(told(text), ["readme.broken-anchor README.md:3"]);
    }

    #[test]
    fn a_readme_without_a_word_on_something_is_told_mildly() {
        let findings =
            check("README.md", "# Thing\n\nIt is nice.\n", &Facts::default(), &|_| None, &|_| false);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].severity, Severity::Info);
        assert!(findings[0].message.contains("how to use") && findings[0].message.contains("how to install"));
    }

    #[test]
    fn a_readme_that_but_names_another_is_no_readme_to_judge() {
        let told = |text: &str| {
            check("README", text, &Facts::default(), &|_| None, &|path| path == "README.md").len()
        };
        assert_eq!((told("README.md\n"), told("README.markdown\n")), (0, 1));
    }

    #[test]
    fn any_text_is_read_without_a_panic() {
        proptest::proptest!(|(text in "(```sh\n|```|\n|make |\\$ |npm run |\\]\\(#|\\)|\\[|a|# |&&|`|./|x.py| |==){0,60}")| {
            told(&text);
        });
    }
}
