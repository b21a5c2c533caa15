//! DOCGEN at work: reads the tree, asks git for its history, writes `API.md`, `api.json`, `coverage.json`, `CHANGELOG.md` and
//! `findings.json`. Nothing of the tree is run, and git runs nothing that the repository's configuration names.

use std::collections::BTreeMap;
use std::time::Duration;

use synod_platform::process::{self, End, Tool};

use crate::docgen::item::Coverage;
use crate::docgen::packages::{Sources, judge};
use crate::docgen::{document, history, readme};
use crate::shell::{Desk, WorkError};
use crate::task::{self, Handoff, Report};
use crate::tree::{self, Tree};
use crate::{finding, linter, reading};

/// How long git may take.
const GIT_MAX: Duration = Duration::from_secs(60);
/// The share of the work that is reading.
const READING: f32 = 0.6;

/// Does DOCGEN's part.
pub async fn work(desk: &Desk) -> Result<Handoff, WorkError> {
    let folder = desk.folder();
    let listed: Tree = folder.read_json(desk.input("tree")?).await?;
    let root = desk.task().tree.clone();
    let mut sources = Sources::of(tree::name(root.trim_end_matches('/')));
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut unread = 0u64;
    let is_kept = |path: &str| readme::is_readme(path) || is_held_against(path);
    let mut round = desk.round(&listed, READING, "reading", |entry| {
        entry.len <= linter::READ_MAX && (is_kept(&entry.path) || Sources::wants(&entry.path))
    });
    while let Some(entry) = round.next().await? {
        let Ok(content) = reading::read(&root, &entry.path, linter::READ_MAX).await else {
            unread += 1;
            continue;
        };
        // Names and signatures survive a stray byte in a comment.
        let text = String::from_utf8_lossy(&content).into_owned();
        if Sources::wants(&entry.path) {
            sources.see(&entry.path, &text);
        }
        if is_kept(&entry.path) {
            texts.insert(entry.path.clone(), text);
        }
    }
    let mut warnings = Vec::from_iter(round.cut());
    if unread > 0 {
        warnings.push(format!("files that could not be read: {unread}"));
    }

    desk.progress(READING, "writing the reference");
    desk.breathe().await?;
    let packages = sources.packages();
    let mut findings = judge(&packages);
    findings.extend(readmes(desk, &sources, &listed, &texts).await?);
    finding::arrange(&mut findings);
    let all = Coverage::of(packages.iter().flat_map(|package| &package.items));
    let mut handoff = desk.handoff(task::DIRECTOR);
    handoff.outputs.push(folder.write("API.md", document::reference(&packages).as_bytes()).await?);
    handoff.outputs.push(folder.write_json("api.json", &packages).await?);
    handoff.outputs.push(folder.write_json("coverage.json", &document::by_file(&packages)).await?);

    desk.progress(0.9, "reading the history");
    match history(desk).await? {
        Ok(text) => handoff.outputs.push(folder.write("CHANGELOG.md", text.as_bytes()).await?),
        Err(why) => warnings.push(why),
    }
    handoff.metrics.insert("packages".into(), packages.len() as f64);
    handoff.metrics.insert("public_items".into(), all.public as f64);
    handoff.metrics.insert("documented_items".into(), all.documented as f64);
    handoff.metrics.insert("findings".into(), findings.len() as f64);
    let report = Report { agent: task::DOCGEN.into(), findings, warnings: warnings.clone() };
    handoff.outputs.push(folder.write_json("findings.json", &report).await?);
    handoff.warnings = warnings;
    desk.progress(1.0, format!("{} of {} public items are documented", all.documented, all.public));
    Ok(handoff)
}

fn is_held_against(path: &str) -> bool {
    matches!(tree::name(path), "Makefile" | "makefile" | "GNUmakefile" | "package.json")
        && !tree::is_foreign(path)
}

/// Checks every README.
async fn readmes(
    desk: &Desk,
    sources: &Sources,
    listed: &Tree,
    texts: &BTreeMap<String, String>,
) -> Result<Vec<finding::Finding>, WorkError> {
    let paths = listed.paths();
    let facts = sources.facts();
    let mut findings = Vec::new();
    for (path, text) in texts.iter().filter(|(path, _)| readme::is_readme(path)) {
        desk.breathe().await?;
        let read = |path: &str| texts.get(path).cloned();
        findings.extend(readme::check(path, text, &facts, &read, &|path| paths.contains(path)));
    }
    // A list that was cut short proves no absence.
    findings.retain(|found| !(listed.truncated && found.rule == readme::DEAD_COMMAND));
    Ok(findings)
}

/// The changelog, or why there is none.
async fn history(desk: &Desk) -> Result<Result<String, String>, WorkError> {
    desk.breathe().await?;
    let root = desk.task().tree.clone();
    if !reading::exists(&root, ".git").await {
        return Ok(Err("no changelog: the tree has no history of its own (no .git at its root)".into()));
    }
    let Some(git) = process::which("git") else {
        return Ok(Err("unavailable: needs git (the changelog)".into()));
    };
    let mut tool = Tool::new(git)
        .args(history::arguments(&format!("{}/.git", root.trim_end_matches('/'))))
        .output_limit(16 << 20)
        .time_limit(desk.left().min(GIT_MAX));
    for (name, value) in history::ENVIRONMENT {
        tool = tool.variable(name, value);
    }
    Ok(match tool.run().await {
        Ok(output) if output.is_success() => {
            Ok(history::changelog(&history::parse(&String::from_utf8_lossy(&output.stdout))))
        }
        Ok(output) if output.end == End::TimedOut => Err("no changelog: git did not end in time".into()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("no changelog: git says: {}", said.lines().next().unwrap_or("nothing")))
        }
        Err(error) => Err(format!("no changelog: {error}")),
    })
}
