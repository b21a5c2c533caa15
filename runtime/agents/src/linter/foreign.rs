//! LINTER's calls of tools that run code of the tree: Clippy (build scripts, procedural macros) and the tree's own ESLint.
//!
//! They run in a jail: Clippy on a copy with a target folder beside it, ESLint where it stands, with nothing writable. Where the jail cannot
//! keep them from writing they are not called, and that is told. Scratch folders lie beside the run folders, and those that a
//! killed process left there are removed first.

use std::path::{Path, PathBuf};
use std::time::Duration;

use synod_platform::files::{self, CopyLimits};
use synod_platform::process::{self, End, Held, Jail, Measure, Output, Tool};
use synod_probe::reach;

use crate::linter::calls::{Scripts, Told, tool};
use crate::linter::{clippy, eslint};
use crate::reading;
use crate::shell::{Desk, WorkError};
use crate::tree;

/// How long Clippy may take for all workspaces of the tree.
const CLIPPY_MAX: Duration = Duration::from_secs(240);
/// How long ESLint may take.
const ESLINT_MAX: Duration = Duration::from_secs(90);
/// What is left of the deadline for others when a tool's time is set.
const RESERVE: Duration = Duration::from_secs(20);
/// Workspaces that Clippy is called for at most.
const WORKSPACES_MAX: usize = 4;

/// Calls what fits the tree.
pub async fn all(desk: &Desk, told: &mut Told, scripts: &Scripts) -> Result<(), WorkError> {
    let roots = clippy::roots(scripts.manifests.keys().map(String::as_str));
    let root = desk.task().tree.trim_end_matches('/').to_string();
    let wants_eslint = scripts.has_javascript() && reading::exists(&root, eslint::PROGRAM).await;
    if roots.is_empty() && !wants_eslint {
        return Ok(());
    }
    let parent = Path::new(&desk.task().folder).parent().unwrap_or(Path::new("/")).to_path_buf();
    if let Err(why) = contained().await {
        told.warnings
            .push(format!("clippy and eslint were not called, since they run code of the tree: {why}"));
        return Ok(());
    }
    let scratch = match sweep_and_make(&parent).await {
        Ok(scratch) => scratch,
        Err(error) => {
            told.warnings.push(format!("clippy and eslint were not called: {error}"));
            return Ok(());
        }
    };
    if !roots.is_empty() {
        run_clippy(desk, told, &root, &roots, scratch.path()).await?;
    }
    if wants_eslint {
        run_eslint(desk, told, &root, scratch.path()).await?;
    }
    if let Err(error) = scratch.remove().await {
        told.warnings.push(format!("a scratch folder could not be removed: {error}"));
    }
    Ok(())
}

async fn sweep_and_make(parent: &Path) -> Result<files::Scratch, files::FilesError> {
    files::sweep_scratch(parent).await?;
    files::scratch(parent).await
}

/// Whether a jail here keeps a tool from writing outside of it.
async fn contained() -> Result<(), String> {
    let contained = process::containment().await.map_err(|error| error.to_string())?;
    match contained.held(Measure::Writes) {
        Some(Held::By(_)) => Ok(()),
        _ => Err("nothing here keeps them from writing outside of their folder (see `synod doctor`)".into()),
    }
}

/// Folders in which people's toolchains live; they may be read.
fn toolchains(mut jail: Jail) -> Jail {
    let home = process::variable("HOME").map(PathBuf::from);
    for (variable, folder) in
        [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup"), ("PYENV_ROOT", ".pyenv"), ("NVM_DIR", ".nvm")]
    {
        let own = process::variable(variable).map(PathBuf::from);
        if let Some(path) = own.or_else(|| home.as_ref().map(|home| home.join(folder))) {
            jail = jail.read(path);
        }
    }
    jail
}

/// A tool with the folders of its toolchain named, since its home is another one in the jail.
fn with_toolchain(tool: Tool) -> Tool {
    let Some(home) = process::variable("HOME") else { return tool };
    let named = |tool: Tool, name: &str, folder: &str| {
        if process::variable(name).is_some() { tool } else { tool.variable(name, format!("{home}/{folder}")) }
    };
    let tool = named(tool, "CARGO_HOME", ".cargo");
    named(tool, "RUSTUP_HOME", ".rustup")
}

fn time_for(desk: &Desk, most: Duration) -> Duration {
    most.min(desk.left().saturating_sub(RESERVE))
}

async fn run_clippy(
    desk: &Desk,
    told: &mut Told,
    root: &str,
    manifests: &[&str],
    scratch: &Path,
) -> Result<(), WorkError> {
    let Some(cargo) = told.find(desk, "cargo", "clippy's checks of Rust").await? else { return Ok(()) };
    if told.find(desk, "cargo-clippy", "clippy's checks of Rust").await?.is_none() {
        return Ok(());
    }
    let copy = scratch.join("tree");
    desk.breathe().await?;
    if let Err(error) = files::copy_tree(Path::new(root), &copy, CopyLimits::default()).await {
        told.warnings.push(format!("clippy was not called, since the tree could not be copied: {error}"));
        return Ok(());
    }
    let mut left = time_for(desk, CLIPPY_MAX);
    for manifest in manifests.iter().take(WORKSPACES_MAX) {
        desk.breathe().await?;
        let folder = tree::parent(manifest);
        let directory = copy.join(folder);
        let jail = toolchains(Jail::new(scratch));
        let call = with_toolchain(tool(cargo.clone()))
            .args(clippy::ARGUMENTS)
            .directory(&directory)
            .variable("CARGO_TARGET_DIR", scratch.join("target").to_string_lossy())
            .variable("CARGO_INCREMENTAL", "0")
            .variable("CARGO_TERM_COLOR", "never")
            .output_limit(64 << 20)
            .time_limit(left)
            .jail(jail);
        let output = match call.run().await {
            Ok(output) => output,
            Err(error) => {
                told.warnings.push(format!("clippy is of no use here: {error}"));
                break;
            }
        };
        left = left.saturating_sub(output.took);
        told.note("cargo-clippy", output.took);
        let base = copy.to_string_lossy().into_owned();
        let within = |file: &str| match file {
            _ if file.starts_with('/') => tree::within(&base, file),
            _ if file.starts_with('<') => None,
            _ => tree::resolve(folder, file),
        };
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        told.take("cargo-clippy", clippy::read(&stdout, &within));
        if let Some(why) = clippy::refused(&stdout, &stderr) {
            reach!("linter.clippy-refused");
            told.warnings
                .push(format!("unavailable: clippy cannot build {manifest} without the network: {why}"));
        }
        tell_end(told, "clippy", &output);
    }
    if manifests.len() > WORKSPACES_MAX {
        told.warnings
            .push(format!("workspaces that clippy was not called for: {}", manifests.len() - WORKSPACES_MAX));
    }
    Ok(())
}

async fn run_eslint(desk: &Desk, told: &mut Told, root: &str, scratch: &Path) -> Result<(), WorkError> {
    let Some(node) = told.find(desk, "node", "the tree's own ESLint").await? else { return Ok(()) };
    desk.breathe().await?;
    let jail = toolchains(Jail::new(scratch).read(root));
    let call = tool(node)
        .arg(format!("{root}/{}", eslint::PROGRAM))
        .args(eslint::ARGUMENTS)
        .directory(root)
        .output_limit(64 << 20)
        .time_limit(time_for(desk, ESLINT_MAX))
        .jail(jail);
    match call.run().await {
        Ok(output) => {
            told.note("node", output.took);
            let within = |file: &str| tree::within(root, file);
            match eslint::read(&String::from_utf8_lossy(&output.stdout), &within) {
                Ok(findings) => told.take("node", findings),
                Err(_) => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    let why =
                        said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim();
                    told.warnings.push(format!("the tree's own eslint gave no report: {why}"));
                }
            }
            tell_end(told, "eslint", &output);
        }
        Err(error) => told.warnings.push(format!("the tree's own eslint is of no use here: {error}")),
    }
    Ok(())
}

/// Tells an end that cut a tool short, and what of its jail did not hold.
fn tell_end(told: &mut Told, name: &str, output: &Output) {
    match output.end {
        End::TimedOut => told.warnings.push(format!(
            "{name} was stopped after {} s: what it told until then counts, the rest is missing",
            output.took.as_secs()
        )),
        End::Breached(breach) => {
            told.warnings.push(format!("{name} was killed, since the tree's code passed a bound: {breach}"))
        }
        End::Code(_) | End::Signal(_) => {}
    }
    if output.truncated {
        told.warnings.push(format!("{name} said more than is kept: findings are missing"));
    }
    for gap in output.contained.gaps() {
        let told_already = told.warnings.iter().any(|warning| warning.ends_with(&gap));
        if !told_already {
            told.warnings.push(format!("while {name} ran: {gap}"));
        }
    }
}
