//! LINTER's calls of outside tools: which files go to which tool, and what becomes of a tool that is not there.
//!
//! Tools run in `/` with absolute paths, so that no version manager takes instructions from the tree, and with nothing of
//! this process's environment but what a version manager needs. Each is bounded in time. None runs code of the tree.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use synod_platform::process::{self, Output, Tool};
use synod_probe::reach;

use crate::finding::Finding;
use crate::linter::{self, tools};
use crate::shell::{Desk, WorkError};
use crate::{language, tree};

/// How long one call may take.
const CALL_MAX: Duration = Duration::from_secs(120);
/// Files given to a parser at once.
const BATCH: usize = 400;
/// Shell scripts are parsed by a process each: at most so many.
const SCRIPTS_MAX: usize = 400;

/// The files that some tool may read, by language.
#[derive(Debug, Default)]
pub struct Scripts {
    python: Vec<String>,
    node: Vec<String>,
    shell: Vec<String>,
    manifests: BTreeMap<String, String>,
    rust_roots: Vec<String>,
}

/// What the tools told.
#[derive(Debug, Default)]
pub struct Told {
    /// Findings, with paths relative to the root.
    pub findings: Vec<Finding>,
    /// Tools that are missing or failed, each told once.
    pub warnings: Vec<String>,
}

impl Scripts {
    /// Remembers a file for the tool that reads it.
    pub fn see(&mut self, path: &str, content: &[u8]) {
        if tree::is_foreign(path) || linter::is_binary(content) || is_template(path, content) {
            return;
        }
        if tree::name(path) == "Cargo.toml" {
            self.manifests.insert(path.into(), String::from_utf8_lossy(content).into_owned());
        }
        let program = language::interpreter(content).unwrap_or_default();
        match language::of(path, content).map(|language| language.name) {
            Some("Python") if program != "python2" && !program.starts_with("python2.") => {
                self.python.push(path.into())
            }
            Some("JavaScript") if tree::extension(path) != "jsx" => self.node.push(path.into()),
            Some("Shell") if is_bash(path, &program) => self.shell.push(path.into()),
            Some("Rust") if is_rust_root(path) => self.rust_roots.push(path.into()),
            _ => {}
        }
    }

    /// Crate roots by package directory and edition, for packages that are not test data.
    fn packages(&self) -> BTreeMap<(String, String), Vec<String>> {
        let mut packages: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for root in &self.rust_roots {
            let package = tree::ancestors(tree::parent(root))
                .find(|directory| self.manifests.contains_key(&tree::join(directory, "Cargo.toml")));
            let Some(package) = package else { continue };
            let within = root.strip_prefix(package).unwrap_or(root).trim_start_matches('/');
            if tree::is_test_data(&tree::join(package, "Cargo.toml")) || !is_target(within) {
                continue;
            }
            if let Some(edition) = tools::edition(root, &|path| self.manifests.get(path).cloned()) {
                packages.entry((package.to_string(), edition)).or_default().push(root.clone());
            }
        }
        packages
    }
}

fn is_template(path: &str, content: &[u8]) -> bool {
    let lower = path.to_ascii_lowercase();
    let text = &content[..content.len().min(64 << 10)];
    let holds = |word: &[u8]| text.windows(word.len()).any(|window| window == word);
    lower.contains("template")
        || lower.contains("cookiecutter")
        || path.contains("{{")
        || holds(b"{%")
        || holds(b"{{ ")
}

fn is_bash(path: &str, program: &str) -> bool {
    matches!(program, "bash" | "sh" | "dash")
        || (program.is_empty() && matches!(tree::extension(path).as_str(), "sh" | "bash"))
}

fn is_rust_root(path: &str) -> bool {
    let folder = tree::name(tree::parent(path));
    matches!(tree::name(path), "lib.rs" | "main.rs" | "build.rs")
        || matches!(folder, "bin" | "tests" | "benches" | "examples")
}

/// Whether a path within a package is one that Cargo makes a target of by itself.
fn is_target(within: &str) -> bool {
    matches!(within, "src/lib.rs" | "src/main.rs" | "build.rs")
        || matches!(tree::parent(within), "src/bin" | "tests" | "benches" | "examples")
}

/// Calls every tool that fits.
pub async fn all(desk: &Desk, scripts: &Scripts, start: f32) -> Result<Told, WorkError> {
    let mut told = Told::default();
    let root = format!("{}/", desk.task().tree.trim_end_matches('/'));
    let relative = |path: &str| path.strip_prefix(&root).unwrap_or(path).to_string();
    let step = |n: f32| start + (1.0 - start) * n;

    desk.progress(step(0.0), "asking python3");
    parser(
        desk,
        &mut told,
        "python3",
        &["-I", "-S", "-c", tools::PYTHON_PARSER],
        "lint.python-syntax",
        &scripts.python,
        &root,
    )
    .await?;
    desk.progress(step(0.2), "asking node");
    let node = ["--no-warnings", "--experimental-vm-modules", "-e", tools::NODE_PARSER];
    parser(desk, &mut told, "node", &node, "lint.javascript-syntax", &scripts.node, &root).await?;
    desk.progress(step(0.4), "asking bash");
    bash(desk, &mut told, &scripts.shell, &root).await?;
    desk.progress(step(0.5), "asking rustfmt");
    rustfmt(desk, &mut told, scripts, &root, &relative).await?;
    desk.progress(step(0.7), "asking ruff");
    if !scripts.python.is_empty()
        && let Some(ruff) = told.find("ruff", "style and bug checks of Python")
    {
        let args = ["check", "--no-cache", "--no-fix", "--quiet", "--output-format", "json"];
        let output =
            told.call(desk, "ruff", tool(ruff).args(args).arg(root.clone()).output_limit(64 << 20)).await?;
        if let Some(output) = output {
            match tools::from_ruff(&String::from_utf8_lossy(&output.stdout), &relative) {
                Ok(findings) => told.findings.extend(findings),
                Err(error) => told.warnings.push(format!("ruff said something that cannot be read: {error}")),
            }
        }
    }
    desk.progress(step(0.85), "asking shellcheck");
    if !scripts.shell.is_empty()
        && let Some(shellcheck) = told.find("shellcheck", "checks of shell scripts")
    {
        for batch in scripts.shell.chunks(BATCH) {
            let call = tool(shellcheck.clone()).args(["--format", "json", "--"]).args(absolute(batch, &root));
            let Some(output) = told.call(desk, "shellcheck", call.output_limit(64 << 20)).await? else {
                break;
            };
            match tools::from_shellcheck(&String::from_utf8_lossy(&output.stdout), &relative) {
                Ok(findings) => told.findings.extend(findings),
                Err(error) => {
                    told.warnings.push(format!("shellcheck said something that cannot be read: {error}"))
                }
            }
        }
    }
    for finding in told.findings.iter_mut().filter(|finding| tree::is_test_data(&finding.place.path)) {
        linter::soften(finding);
    }
    Ok(told)
}

impl Told {
    /// Where a tool is; tells once what cannot be checked without it.
    fn find(&mut self, name: &str, what: &str) -> Option<PathBuf> {
        let found = process::which(name);
        if found.is_none() {
            reach!("linter.tool-missing");
            self.warnings.push(format!("unavailable: needs {name} ({what})"));
        }
        found
    }

    /// Runs a tool; a failure to run it at all, or in time, is told and gives nothing.
    async fn call(&mut self, desk: &Desk, name: &str, tool: Tool) -> Result<Option<Output>, WorkError> {
        desk.breathe().await?;
        let limit = CALL_MAX.min(desk.left());
        match tool.time_limit(limit).run().await {
            Ok(output) if output.end == process::End::TimedOut => {
                self.warnings.push(format!(
                    "{name} was stopped after {} s: what it would have told is missing",
                    limit.as_secs()
                ));
                Ok(None)
            }
            Ok(output) => Ok(Some(output)),
            Err(error) => {
                self.warnings.push(format!("{name} is of no use here: {error}"));
                Ok(None)
            }
        }
    }
}

fn tool(program: PathBuf) -> Tool {
    Tool::new(program).inherit(&[
        "PATH",
        "HOME",
        "PYENV_ROOT",
        "RUSTUP_HOME",
        "CARGO_HOME",
        "RUSTUP_TOOLCHAIN",
    ])
}

fn absolute(paths: &[String], root: &str) -> Vec<String> {
    paths.iter().map(|path| format!("{root}{path}")).collect()
}

/// Runs one of the parsing scripts over files, in batches.
async fn parser(
    desk: &Desk,
    told: &mut Told,
    name: &str,
    args: &[&str],
    rule: &str,
    paths: &[String],
    root: &str,
) -> Result<(), WorkError> {
    if paths.is_empty() {
        return Ok(());
    }
    let Some(program) = told.find(name, &format!("parsing {} files", paths.len())) else { return Ok(()) };
    for batch in paths.chunks(BATCH) {
        let names = absolute(batch, root).iter().flat_map(|path| [path.as_str(), "\0"]).collect::<String>();
        let call = tool(program.clone()).args(args.iter().copied()).input(names).output_limit(16 << 20);
        let Some(output) = told.call(desk, name, call).await? else { break };
        if !output.is_success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            told.warnings.push(format!("{name} is of no use here: {last}"));
            break;
        }
        let relative = |path: &str| path.strip_prefix(root).unwrap_or(path).to_string();
        told.findings.extend(tools::from_parser(rule, &String::from_utf8_lossy(&output.stdout), &relative));
    }
    Ok(())
}

/// `bash -n` reads a script and runs nothing of it.
async fn bash(desk: &Desk, told: &mut Told, paths: &[String], root: &str) -> Result<(), WorkError> {
    if paths.is_empty() {
        return Ok(());
    }
    let Some(program) = told.find("bash", &format!("parsing {} scripts", paths.len())) else { return Ok(()) };
    for path in paths.iter().take(SCRIPTS_MAX) {
        let call = tool(program.clone()).args(["-n", "--"]).arg(format!("{root}{path}"));
        let Some(output) = told.call(desk, "bash", call).await? else { return Ok(()) };
        if !output.is_success() {
            told.findings.extend(tools::from_bash(path, &String::from_utf8_lossy(&output.stderr)));
        }
    }
    if paths.len() > SCRIPTS_MAX {
        told.warnings.push(format!(
            "{} of {} shell scripts were not parsed",
            paths.len() - SCRIPTS_MAX,
            paths.len()
        ));
    }
    Ok(())
}

async fn rustfmt(
    desk: &Desk,
    told: &mut Told,
    scripts: &Scripts,
    root: &str,
    relative: &dyn Fn(&str) -> String,
) -> Result<(), WorkError> {
    let packages = scripts.packages();
    if packages.is_empty() {
        return Ok(());
    }
    let Some(program) = told.find("rustfmt", "the format of Rust") else { return Ok(()) };
    for ((package, edition), roots) in &packages {
        let name = if package.is_empty() { "this package" } else { package.as_str() };
        let call =
            tool(program.clone()).args(["--check", "-l", "--edition", edition]).args(absolute(roots, root));
        let Some(output) = told.call(desk, "rustfmt", call).await? else { break };
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        told.findings.extend(tools::from_rustfmt(name, &stdout, relative));
        told.findings.extend(tools::from_rustfmt_errors(&stderr, relative));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_goes_to_the_tool_that_reads_it() {
        let mut scripts = Scripts::default();
        for (path, content) in [
            ("a.py", ""),
            ("old", "#!/usr/bin/python2\n"),
            ("templates/x.py", ""),
            ("y.py", "{% if a %}"),
            ("a.js", ""),
            ("a.jsx", ""),
            ("node_modules/b.js", ""),
            ("run", "#!/bin/sh\n"),
            ("z.zsh", ""),
            ("x.sh", "#!/bin/zsh\n"),
        ] {
            scripts.see(path, content.as_bytes());
        }
        assert_eq!(
            (scripts.python, scripts.node, scripts.shell),
            (vec!["a.py".into()], vec!["a.js".into()], vec!["run".into()])
        );
    }

    #[test]
    fn rust_is_formatted_by_package_with_its_edition() {
        let mut scripts = Scripts::default();
        scripts.see("a/Cargo.toml", b"[package]\nname = \"a\"\nedition = \"2021\"\n");
        scripts.see("a/tests/data/Cargo.toml", b"[package]\nname = \"d\"\nedition = \"2021\"\n");
        for path in
            ["a/src/lib.rs", "a/src/x/main.rs", "a/tests/t.rs", "a/tests/data/src/lib.rs", "loose/lib.rs"]
        {
            scripts.see(path, b"");
        }
        let packages = scripts.packages();
        assert_eq!(packages.len(), 1);
        assert_eq!(packages[&("a".to_string(), "2021".to_string())], ["a/src/lib.rs", "a/tests/t.rs"]);
    }
}
