//! Rust: Cargo builds all test binaries in the jail, then each is run by itself, and the examples of the documentation together.
//!
//! Crates come from the registry that this machine has; nothing is fetched. A binary that dies or hangs is run again test by test, so that
//! the guilty one is named. Tests that failed are run again alone.

use std::path::PathBuf;
use std::time::Duration;

use synod_platform::files;
use synod_platform::process::{self, End, Tool};
use synod_probe::reach;

use super::bench::Bench;
use super::{broke_off, end, outcome, stderr, stdout, tried};
use crate::shell::WorkError;
use crate::testbed::cargo::{self, Binary, Built};
use crate::testbed::case::{Case, Outcome};
use crate::testbed::judge::{self, Broken, Ran};
use crate::testbed::{libtest, make, select::Project};
use crate::tree;

/// How long one test may take when it is run by itself.
const ALONE_MAX: Duration = Duration::from_secs(20);
/// How many tests are run by themselves, of a binary that broke off and of those that failed.
const ALONE_COUNT: usize = 40;
/// Largest source file in which a test's definition is looked for, in bytes.
const SOURCE_MAX: u64 = 1 << 20;
/// Compile errors told by name.
const ERRORS_MAX: usize = 20;

/// The Rust toolchain of this machine, without any version manager before it.
struct Toolchain {
    cargo: PathBuf,
    sysroot: String,
    home: String,
}

impl Toolchain {
    async fn find() -> Option<Self> {
        let rustc = process::which("rustc")?;
        let asked =
            Tool::new(rustc).args(["--print", "sysroot"]).inherit(&["HOME", "RUSTUP_HOME", "CARGO_HOME"]);
        let sysroot = stdout(&asked.run().await.ok().filter(process::Output::is_success)?).trim().to_string();
        let own = PathBuf::from(&sysroot).join("bin/cargo");
        let cargo = if files::exists(&own).await.unwrap_or(false) { own } else { process::which("cargo")? };
        let home = process::variable("CARGO_HOME")
            .or_else(|| Some(format!("{}/.cargo", process::variable("HOME")?)))
            .unwrap_or_default();
        Some(Toolchain { cargo, sysroot, home })
    }

    fn readable(&self) -> Vec<PathBuf> {
        let home = ["registry", "git", "config.toml", "config"].map(|name| format!("{}/{name}", self.home));
        home.into_iter().chain([self.sysroot.clone()]).map(PathBuf::from).collect()
    }

    fn dress(&self, tool: Tool, bench: &Bench<'_>) -> Tool {
        let path = format!("{}/bin:/usr/local/bin:/usr/bin:/bin", self.sysroot);
        let target = bench.beside("target").to_string_lossy().into_owned();
        tool.variable("PATH", path)
            .variable("CARGO_HOME", self.home.as_str())
            .variable("CARGO_TARGET_DIR", target)
            .variable("CARGO_NET_OFFLINE", "true")
            .variable("CARGO_TERM_COLOR", "never")
            .variable("CARGO_INCREMENTAL", "0")
            .variable("CARGO_PROFILE_DEV_DEBUG", "false")
            .variable("RUST_BACKTRACE", "0")
    }

    fn call(&self, bench: &Bench<'_>, project: &Project, args: &[&str]) -> Tool {
        let tool = Tool::new(&self.cargo).args(args.iter().copied());
        self.dress(tool, bench).directory(bench.inside(&project.directory))
    }
}

/// Runs a workspace's tests.
pub async fn run(bench: &Bench<'_>, project: &Project, ran: &mut Ran) -> Result<(), WorkError> {
    let Some(tools) = Toolchain::find().await else {
        ran.warnings.push("unavailable: needs cargo and rustc to run the Rust tests".into());
        return Ok(());
    };
    for name in ["rust-toolchain", "rust-toolchain.toml"] {
        if bench.paths().known.contains(tree::join(&project.directory, name).as_str()) {
            ran.warnings.push(format!("{name} was passed over: tested with the toolchain that is here"));
        }
    }
    let Some(built) = build(bench, &tools, project, ran).await? else { return Ok(()) };
    for (n, binary) in built.binaries.iter().enumerate() {
        let share = (n as f32 + 0.5) / built.binaries.len() as f32;
        bench.desk().progress(0.3 + 0.6 * share, format!("running {}", binary.label));
        if bench.left() < Duration::from_secs(1) {
            let labels: Vec<&str> = built.binaries[n..].iter().map(|left| left.label.as_str()).collect();
            ran.warnings.push(format!("left out for want of time: {}", labels.join(", ")));
            return Ok(());
        }
        one(bench, &tools, project, &built, binary, ran).await?;
    }
    if built.has_docs {
        docs(bench, &tools, project, ran).await?;
    }
    again(bench, &tools, project, &built, ran).await?;
    for case in ran.cases.iter_mut().filter(|case| case.outcome.is_bad() && case.path.is_none()) {
        let at = defined(bench, project, case).await;
        *case = case.clone().at(at);
    }
    Ok(())
}

const BUILD: [&str; 6] =
    ["test", "--workspace", "--no-run", "--no-fail-fast", "--offline", "--message-format=json"];

async fn build(
    bench: &Bench<'_>,
    tools: &Toolchain,
    project: &Project,
    ran: &mut Ran,
) -> Result<Option<Built>, WorkError> {
    bench.desk().progress(0.1, "building the Rust tests");
    let limit = bench.left() * 3 / 4;
    let Some(mut output) =
        bench.call(ran, tools.call(bench, project, &BUILD), &tools.readable(), limit).await?
    else {
        return Ok(None);
    };
    let lock = tree::join(&project.directory, "Cargo.lock");
    if cargo::lacks(&stderr(&output)).is_some() && bench.paths().known.contains(lock.as_str()) {
        reach!("testbed.cargo-lock-dropped");
        let removed = bench.remove(&lock).await;
        let tool = tools.call(bench, project, &BUILD);
        if removed && let Some(second) = bench.call(ran, tool, &tools.readable(), limit).await? {
            output = second;
            ran.warnings.push(format!(
                "{lock} names crates that are not on this machine: tested with the versions that are"
            ));
        }
    }
    let said = stderr(&output);
    if let Some(crates) = cargo::lacks(&said) {
        let what =
            if crates.is_empty() { "crates".into() } else { format!("the crates {}", crates.join(", ")) };
        ran.warnings.push(format!(
            "unavailable: needs {what}, which this machine's registry lacks, and nothing is fetched from the network"
        ));
        return Ok(None);
    }
    let built = cargo::built(&stdout(&output));
    if !matches!(output.end, End::Code(_)) {
        ran.warnings.push(format!("building the Rust tests: {}", end(&output)));
    }
    for error in built.errors.iter().take(ERRORS_MAX) {
        let bases = [project.directory.as_str()];
        let place = error.place.as_ref();
        let path = place.and_then(|(path, _)| bench.paths().resolve(&bases, path));
        let line = path.as_ref().and(place.map(|(_, line)| *line));
        ran.broken.push(Broken { message: error.message.clone(), path, line });
    }
    if !built.complete && built.errors.is_empty() && output.end != End::TimedOut {
        ran.broken.push(Broken {
            message: crate::testbed::case::one_line(&cargo::complaint(&said)),
            path: Some(tree::join(&project.directory, "Cargo.toml")),
            line: None,
        });
    }
    Ok(Some(built))
}

/// The call of a test binary as Cargo would make it.
fn tool(bench: &Bench<'_>, tools: &Toolchain, built: &Built, binary: &Binary, args: &[&str]) -> Tool {
    let target = bench.beside("target/debug").to_string_lossy().into_owned();
    let mut libraries = built.libraries.clone();
    libraries.extend([format!("{target}/deps"), target, format!("{}/lib", tools.sysroot)]);
    let tool = Tool::new(&binary.program).args(args.iter().copied()).directory(&binary.directory);
    let tool = tools.dress(tool, bench).variable("LD_LIBRARY_PATH", libraries.join(":"));
    let tool = tool.variable("CARGO", tools.cargo.to_string_lossy());
    binary.variables.iter().fold(tool, |tool, (name, value)| tool.variable(name, value.as_str()))
}

/// Directories from which a binary's panics may be told.
fn bases<'p>(bench: &Bench<'_>, project: &'p Project, binary: &Binary) -> Vec<String> {
    let own = binary.directory.strip_prefix(&bench.inside("")).unwrap_or_default();
    let project: &'p str = &project.directory;
    vec![project.to_string(), own.trim_start_matches('/').to_string()]
}

async fn one(
    bench: &Bench<'_>,
    tools: &Toolchain,
    project: &Project,
    built: &Built,
    binary: &Binary,
    ran: &mut Ran,
) -> Result<(), WorkError> {
    let limit = bench.left() / 2;
    let call = tool(bench, tools, built, binary, &[]);
    let Some(output) = bench.call(ran, call, &tools.readable(), limit).await? else { return Ok(()) };
    let bases = bases(bench, project, binary);
    let bases: Vec<&str> = bases.iter().map(String::as_str).collect();
    let text = stdout(&output);
    let mut parsed = libtest::parse(&binary.label, &text, &bench.paths(), &bases);
    if parsed.said.is_none() && !text.lines().any(|line| line.starts_with("running ")) {
        // A harness of its own: its status is all that it tells.
        let said = format!("{text}\n{}", stderr(&output));
        let mut case = Case::new(&binary.label, "the whole program", outcome(&output));
        if case.outcome.is_bad() {
            let place = make::place(&said, &bench.paths(), &bases);
            case = case.because(&format!("{}: {}", end(&output), make::telling(&said))).said(&said).at(place);
        }
        ran.counted.add(case.outcome);
        ran.said.get_or_insert_default().add(case.outcome);
        ran.cases.push(case);
        return Ok(());
    }
    ran.warnings.extend(parsed.disagreement(&binary.label));
    ran.counted.join(parsed.counted);
    match parsed.said {
        Some(said) => ran.said.get_or_insert_default().join(said),
        None => {
            ran.warnings.push(broke_off(&binary.label, &output));
            let rest = rest(bench, tools, built, binary, &parsed.cases, &bases, ran).await?;
            for case in &rest {
                ran.counted.add(case.outcome);
            }
            parsed.cases.extend(rest);
            ran.unsaid = true;
        }
    }
    ran.cases.extend(parsed.cases);
    Ok(())
}

/// Runs each test of a binary that broke off and that has no result yet, by itself.
async fn rest(
    bench: &Bench<'_>,
    tools: &Toolchain,
    built: &Built,
    binary: &Binary,
    done: &[Case],
    bases: &[&str],
    ran: &mut Ran,
) -> Result<Vec<Case>, WorkError> {
    reach!("testbed.run-one-by-one");
    let list = tool(bench, tools, built, binary, &["--list", "--format", "terse"]);
    let Some(listed) = bench.call(ran, list, &tools.readable(), ALONE_MAX).await? else {
        return Ok(Vec::new());
    };
    let names = libtest::listed(&stdout(&listed));
    let missing: Vec<&String> =
        names.iter().filter(|name| done.iter().all(|case| case.name != **name)).collect();
    let mut cases = Vec::new();
    for (n, name) in missing.iter().enumerate() {
        let call = tool(bench, tools, built, binary, &["--exact", name, "--test-threads=1"]);
        let output = match n < ALONE_COUNT {
            true => bench.call(ran, call, &tools.readable(), ALONE_MAX.min(bench.left() / 2)).await?,
            false => None,
        };
        let Some(output) = output else {
            ran.warnings.push(format!("{}: {} tests have no result", binary.label, missing.len() - n));
            break;
        };
        let mut parsed = libtest::parse(&binary.label, &stdout(&output), &bench.paths(), bases);
        let case = parsed.cases.pop().filter(|case| parsed.said.is_some() && case.name == **name);
        cases.push(case.unwrap_or_else(|| {
            let said = stderr(&output);
            let ended = if output.end == End::TimedOut { Outcome::TimedOut } else { Outcome::Error };
            let mut case = Case::new(&binary.label, name.as_str(), ended);
            libtest::explain(&mut case, said.trim(), &bench.paths(), bases);
            case.because(&end(&output))
        }));
    }
    Ok(cases)
}

const DOCS: [&str; 5] = ["test", "--workspace", "--doc", "--no-fail-fast", "--offline"];

async fn docs(
    bench: &Bench<'_>,
    tools: &Toolchain,
    project: &Project,
    ran: &mut Ran,
) -> Result<(), WorkError> {
    bench.desk().progress(0.9, "running the examples of the documentation");
    let call = tools.call(bench, project, &DOCS);
    let Some(output) = bench.call(ran, call, &tools.readable(), bench.left()).await? else {
        ran.warnings.push("left out for want of time: the examples of the documentation".into());
        return Ok(());
    };
    let parsed =
        libtest::parse("documentation", &stdout(&output), &bench.paths(), &[project.directory.as_str(), ""]);
    ran.warnings.extend(parsed.disagreement("documentation"));
    if output.end == End::TimedOut || (parsed.said.is_none() && !output.is_success()) {
        ran.warnings.push(broke_off("the examples of the documentation", &output));
        ran.unsaid = true;
    }
    ran.counted.join(parsed.counted);
    ran.said.get_or_insert_default().join(parsed.said.unwrap_or_default());
    ran.cases.extend(parsed.cases);
    Ok(())
}

/// Runs again, up to twice and alone, what failed.
async fn again(
    bench: &Bench<'_>,
    tools: &Toolchain,
    project: &Project,
    built: &Built,
    ran: &mut Ran,
) -> Result<(), WorkError> {
    let (indices, left) = judge::again(&ran.cases, ALONE_COUNT);
    if left > 0 {
        ran.warnings.push(format!("{left} failing tests were not run again"));
    }
    for index in indices {
        for _ in 0..2 {
            let case = &ran.cases[index];
            let name = case.name.clone();
            let binary = built.binaries.iter().find(|binary| binary.label == case.suite);
            let call = match binary {
                Some(binary) => tool(bench, tools, built, binary, &["--exact", &name, "--test-threads=1"]),
                None => tools.call(bench, project, &[&DOCS[..], &["--", "--exact", &name]].concat()),
            };
            let Some(output) = bench.call(ran, call, &tools.readable(), ALONE_MAX).await? else {
                return Ok(());
            };
            let parsed = libtest::parse("again", &stdout(&output), &bench.paths(), &[]);
            let passed = parsed.cases.iter().any(|case| case.name == name && case.outcome == Outcome::Passed);
            let plain = name == "the whole program" && output.is_success();
            tried(&mut ran.cases[index], passed || plain);
            if passed || plain {
                reach!("testbed.flaky");
                break;
            }
        }
    }
    Ok(())
}

/// Where a test is defined, for one whose failure names no place: files named like a part of its name are looked at first.
async fn defined(bench: &Bench<'_>, project: &Project, case: &Case) -> Option<(String, u32)> {
    let parts: Vec<&str> = case.name.split("::").chain(case.suite.split(' ').skip(1)).collect();
    let mut files: Vec<String> = bench
        .paths()
        .known
        .iter()
        .filter(|path| path.starts_with(&project.directory) && tree::extension(path) == "rs")
        .map(ToString::to_string)
        .collect();
    let stem = |path: &String| tree::name(path).trim_end_matches(".rs").to_string();
    files.sort_by_key(|path| !parts.contains(&stem(path).as_str()));
    for path in files.into_iter().take(400) {
        if let Some(text) = bench.read(&path, SOURCE_MAX).await
            && let Some(line) = libtest::definition(&text, &case.name)
        {
            return Some((path, line));
        }
    }
    None
}
