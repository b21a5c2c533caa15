//! LINTER's calls of outside tools: which files go to which tool, and what becomes of a tool that is not there.
//!
//! Tools run in `/` with absolute paths, so that no version manager takes instructions from the tree, and with nothing of
//! this process's environment but what a version manager needs. Each is bounded in time. Those that run code of the tree are called by
//! [`foreign`], in a jail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use synod_platform::process::{self, Output, Tool};
use synod_probe::reach;

use crate::finding::Finding;
use crate::linter::{self, foreign, gcc, tools};
use crate::shell::{Desk, WorkError};
use crate::{language, tree};

/// How long one call may take.
const CALL_MAX: Duration = Duration::from_secs(120);
/// Files given to a parser at once.
const BATCH: usize = 400;
/// Shell scripts are parsed by a process each: at most so many.
const SCRIPTS_MAX: usize = 400;
/// Files of C are read by a process each: at most so many, and for so long altogether.
const UNITS_MAX: usize = 600;
const UNITS_WITHIN: Duration = Duration::from_secs(90);
/// How long a tool may take to say its version.
const VERSION_MAX: Duration = Duration::from_secs(10);

/// The files that some tool may read, by language.
#[derive(Debug, Default)]
pub struct Scripts {
    python: Vec<String>,
    node: Vec<String>,
    shell: Vec<String>,
    yaml: Vec<String>,
    pub(super) manifests: BTreeMap<String, String>,
    rust_roots: Vec<String>,
    units: Vec<(String, bool)>,
    header_folders: BTreeSet<String>,
    database: Option<String>,
}

/// What the tools told.
#[derive(Debug, Default)]
pub struct Told {
    /// Findings, with paths relative to the root.
    pub findings: Vec<Finding>,
    /// Tools that are missing or failed, each told once.
    pub warnings: Vec<String>,
    /// The tools that were called.
    pub used: Vec<Used>,
}

/// A tool that was called, as `lint_report.json` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Its name.
    pub tool: String,
    /// The first line of what it says of its version; empty if it says nothing.
    pub version: String,
    /// How often it was called.
    pub calls: u32,
    /// How long its calls took altogether, in milliseconds.
    pub took_ms: u64,
    /// How many findings it gave.
    pub findings: usize,
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
        if tree::name(path) == "compile_commands.json" {
            self.database = Some(String::from_utf8_lossy(content).into_owned());
        }
        if tree::extension(path) == "h" {
            self.header_folders.insert(tree::parent(path).to_string());
        }
        let program = language::interpreter(content).unwrap_or_default();
        match language::of(path, content).map(|language| language.name) {
            Some("Python") if program != "python2" && !program.starts_with("python2.") => {
                self.python.push(path.into())
            }
            Some("JavaScript") if tree::extension(path) != "jsx" => self.node.push(path.into()),
            Some("YAML") => self.yaml.push(path.into()),
            Some("Shell") if is_bash(path, &program) => self.shell.push(path.into()),
            Some("Rust") if is_rust_root(path) => self.rust_roots.push(path.into()),
            Some("C") if tree::extension(path) == "c" => {
                self.units.push((path.into(), gcc::is_conditional(&String::from_utf8_lossy(content))));
            }
            _ => {}
        }
    }

    /// The files of C with the flags they are read with.
    fn units(&self, root: &str) -> Vec<gcc::Unit> {
        let known = self.database.as_deref().map(|text| gcc::database(text, root)).unwrap_or_default();
        let folders: Vec<&str> = self.header_folders.iter().map(String::as_str).collect();
        let unit = |(path, conditional): &(String, bool)| {
            let own = known.get(path).cloned();
            gcc::Unit {
                path: path.clone(),
                certain: own.is_some(),
                flags: own.unwrap_or_else(|| gcc::guess(path, &folders, root)),
                conditional: *conditional,
            }
        };
        self.units.iter().map(unit).collect()
    }

    /// Whether some file is JavaScript.
    pub(super) fn has_javascript(&self) -> bool {
        !self.node.is_empty()
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
    desk.progress(step(0.1), "asking node");
    let node = ["--no-warnings", "--experimental-vm-modules", "-e", tools::NODE_PARSER];
    parser(desk, &mut told, "node", &node, "lint.javascript-syntax", &scripts.node, &root).await?;
    let yaml = ["-I", "-c", tools::YAML_PARSER];
    parser(desk, &mut told, "python3", &yaml, "lint.yaml-syntax", &scripts.yaml, &root).await?;
    desk.progress(step(0.15), "asking bash");
    bash(desk, &mut told, &scripts.shell, &root).await?;
    desk.progress(step(0.2), "asking rustfmt");
    rustfmt(desk, &mut told, scripts, &root, &relative).await?;
    desk.progress(step(0.3), "asking ruff");
    if !scripts.python.is_empty()
        && let Some(ruff) = told.find(desk, "ruff", "style and bug checks of Python").await?
    {
        let args = ["check", "--no-cache", "--no-fix", "--quiet", "--output-format", "json"];
        let output =
            told.call(desk, "ruff", tool(ruff).args(args).arg(root.clone()).output_limit(64 << 20)).await?;
        if let Some(output) = output {
            match tools::from_ruff(&String::from_utf8_lossy(&output.stdout), &relative) {
                Ok(findings) => told.take("ruff", findings),
                Err(error) => told.warnings.push(format!("ruff said something that cannot be read: {error}")),
            }
        }
    }
    desk.progress(step(0.35), "asking shellcheck");
    if !scripts.shell.is_empty()
        && let Some(shellcheck) = told.find(desk, "shellcheck", "checks of shell scripts").await?
    {
        for batch in scripts.shell.chunks(BATCH) {
            let call = tool(shellcheck.clone()).args(["--format", "json", "--"]).args(absolute(batch, &root));
            let Some(output) = told.call(desk, "shellcheck", call.output_limit(64 << 20)).await? else {
                break;
            };
            match tools::from_shellcheck(&String::from_utf8_lossy(&output.stdout), &relative) {
                Ok(findings) => told.take("shellcheck", findings),
                Err(error) => {
                    told.warnings.push(format!("shellcheck said something that cannot be read: {error}"))
                }
            }
        }
    }
    desk.progress(step(0.4), "asking gcc");
    c_units(desk, &mut told, &scripts.units(&root), &root).await?;
    desk.progress(step(0.5), "asking the linters that build");
    foreign::all(desk, &mut told, scripts).await?;
    // What the compiler says of a line, rustfmt's reader need not say again.
    let broken: BTreeSet<_> = told
        .findings
        .iter()
        .filter(|finding| finding.rule.starts_with("rustc."))
        .map(|finding| (finding.place.path.clone(), finding.place.line))
        .collect();
    told.findings.retain(|finding| {
        finding.rule != "lint.rust-syntax"
            || !broken.contains(&(finding.place.path.clone(), finding.place.line))
    });
    for finding in told.findings.iter_mut().filter(|finding| tree::is_test_data(&finding.place.path)) {
        linter::soften(finding);
    }
    Ok(told)
}

impl Told {
    /// Where a tool is, with its version noted; tells once what cannot be checked without it.
    pub(super) async fn find(
        &mut self,
        desk: &Desk,
        name: &str,
        what: &str,
    ) -> Result<Option<PathBuf>, WorkError> {
        let Some(found) = process::which(name) else {
            reach!("linter.tool-missing");
            self.warnings.push(format!("unavailable: needs {name} ({what})"));
            return Ok(None);
        };
        if self.used.iter().any(|used| used.tool == name) {
            return Ok(Some(found));
        }
        desk.breathe().await?;
        let asked = tool(found.clone()).arg("--version").time_limit(VERSION_MAX.min(desk.left())).run().await;
        let version = asked.map(|output| first_line(&output.stdout)).unwrap_or_default();
        self.used.push(Used { tool: name.into(), version, calls: 0, took_ms: 0, findings: 0 });
        Ok(Some(found))
    }

    /// Notes that a tool was called.
    pub(super) fn note(&mut self, name: &str, took: Duration) {
        if let Some(used) = self.used.iter_mut().find(|used| used.tool == name) {
            used.calls += 1;
            used.took_ms += u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        }
    }

    /// Takes a tool's findings.
    pub(super) fn take(&mut self, name: &str, findings: impl IntoIterator<Item = Finding>) {
        let before = self.findings.len();
        self.findings.extend(findings);
        let more = self.findings.len() - before;
        if let Some(used) = self.used.iter_mut().find(|used| used.tool == name) {
            used.findings += more;
        }
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
            Ok(output) => {
                self.note(name, output.took);
                Ok(Some(output))
            }
            Err(error) => {
                self.warnings.push(format!("{name} is of no use here: {error}"));
                Ok(None)
            }
        }
    }
}

fn first_line(output: &[u8]) -> String {
    String::from_utf8_lossy(output).lines().next().unwrap_or("").trim().chars().take(120).collect()
}

pub(super) fn tool(program: PathBuf) -> Tool {
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
    let Some(program) = told.find(desk, name, &format!("parsing {} files", paths.len())).await? else {
        return Ok(());
    };
    for batch in paths.chunks(BATCH) {
        let names = absolute(batch, root).iter().flat_map(|path| [path.as_str(), "\0"]).collect::<String>();
        let call = tool(program.clone()).args(args.iter().copied()).input(names).output_limit(16 << 20);
        let Some(output) = told.call(desk, name, call).await? else { break };
        if !output.is_success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            told.warnings.push(match last {
                lacks if lacks.starts_with("unavailable:") => lacks.to_string(),
                _ => format!("{name} is of no use here: {last}"),
            });
            break;
        }
        let relative = |path: &str| path.strip_prefix(root).unwrap_or(path).to_string();
        told.take(name, tools::from_parser(rule, &String::from_utf8_lossy(&output.stdout), &relative));
    }
    Ok(())
}

/// `bash -n` reads a script and runs nothing of it.
async fn bash(desk: &Desk, told: &mut Told, paths: &[String], root: &str) -> Result<(), WorkError> {
    if paths.is_empty() {
        return Ok(());
    }
    let Some(program) = told.find(desk, "bash", &format!("parsing {} scripts", paths.len())).await? else {
        return Ok(());
    };
    for path in paths.iter().take(SCRIPTS_MAX) {
        let call = tool(program.clone()).args(["-n", "--"]).arg(format!("{root}{path}"));
        let Some(output) = told.call(desk, "bash", call).await? else { return Ok(()) };
        if !output.is_success() {
            told.take("bash", tools::from_bash(path, &String::from_utf8_lossy(&output.stderr)));
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
    let Some(program) = told.find(desk, "rustfmt", "the format of Rust").await? else { return Ok(()) };
    for ((package, edition), roots) in &packages {
        let name = if package.is_empty() { "this package" } else { package.as_str() };
        let call =
            tool(program.clone()).args(["--check", "-l", "--edition", edition]).args(absolute(roots, root));
        let Some(output) = told.call(desk, "rustfmt", call).await? else { break };
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        told.take("rustfmt", tools::from_rustfmt(name, &stdout, relative));
        told.take("rustfmt", tools::from_rustfmt_errors(&stderr, relative));
    }
    Ok(())
}

/// Lets the C compiler read every file of C, one at a time.
async fn c_units(desk: &Desk, told: &mut Told, units: &[gcc::Unit], root: &str) -> Result<(), WorkError> {
    if units.is_empty() {
        return Ok(());
    }
    let Some(program) = told.find(desk, "gcc", &format!("reading {} files of C", units.len())).await? else {
        return Ok(());
    };
    let within = |file: &str| tree::within(root, file);
    let mut spent = Duration::ZERO;
    let mut read = 0;
    for unit in units.iter().take(UNITS_MAX) {
        if spent > UNITS_WITHIN {
            break;
        }
        let call = tool(program.clone())
            .args(gcc::ARGUMENTS)
            .args(unit.flags.iter().cloned())
            .args(["-x", "c"])
            .arg(format!("{root}{}", unit.path))
            .output_limit(4 << 20);
        let Some(output) = told.call(desk, "gcc", call).await? else { break };
        spent += output.took;
        read += 1;
        told.take("gcc", gcc::read(unit, &String::from_utf8_lossy(&output.stderr), &within));
    }
    if read < units.len() {
        told.warnings
            .push(format!("files of C that were not given to gcc, for want of time: {}", units.len() - read));
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
            (".github/a.yml", "on: push\n"),
        ] {
            scripts.see(path, content.as_bytes());
        }
        assert_eq!(
            [scripts.python, scripts.node, scripts.shell, scripts.yaml],
            [["a.py"], ["a.js"], ["run"], [".github/a.yml"]]
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
