//! TESTBED at work: copies the tree, runs its tests in the jail, writes `test_results.xml`, `test_results.json` and `findings.json`.
//!
//! Each runner gets its share of the time that is left, and what did not fit is told. Only a cancel or the end of the time ends the work without
//! results; a runner that is missing does not.

use std::collections::BTreeMap;
use std::time::Duration;

use synod_platform::time;

use super::judge::{self, Ran};
use super::select::{self, Project, Runner};
use super::shell::bench::Bench;
use super::shell::{c, node, python, rust};
use super::{Counts, junit};
use crate::finding;
use crate::reading;
use crate::shell::{Desk, WorkError};
use crate::task::{self, Handoff, Report};
use crate::tree::Tree;

/// What of the time is kept for writing the results.
const WRITING: Duration = Duration::from_secs(5);
/// Bytes of all files together that are read to choose runners.
const TEXTS_MAX: usize = 64 << 20;

/// Does TESTBED's part.
pub async fn work(desk: &Desk) -> Result<Handoff, WorkError> {
    let began = time::wall().to_string().chars().take(19).collect::<String>();
    let folder = desk.folder();
    let listed: Tree = folder.read_json(desk.input("tree")?).await?;
    desk.progress(0.0, "looking for tests");
    let chosen = select::choose(&listed, &texts(desk, &listed).await?);
    let mut warnings = chosen.notes;
    if listed.truncated {
        warnings.push("the tree was not listed whole: some tests may not have been found".into());
    }
    let mut ran = Vec::new();
    if chosen.projects.is_empty() {
        warnings.push("no tests were found that TESTBED knows how to run".into());
    } else {
        desk.progress(0.0, "copying the tree");
        match Bench::set_up(desk, &listed).await {
            Ok((bench, told)) => {
                warnings.extend(told);
                let count = chosen.projects.len();
                for (n, project) in chosen.projects.iter().enumerate() {
                    let left = desk.left().saturating_sub(WRITING);
                    bench.share(left / u32::try_from(count - n).unwrap_or(1));
                    ran.push(one(&bench, project).await?);
                }
                warnings.extend(bench.gaps());
                warnings.extend(bench.clear().await);
            }
            Err(error) => warnings.push(format!("no test was run, for the tree cannot be copied: {error}")),
        }
    }
    write(desk, &began, ran, warnings).await
}

/// The content of the files that the choice of runners depends on.
async fn texts(desk: &Desk, listed: &Tree) -> Result<BTreeMap<String, String>, WorkError> {
    let mut texts = BTreeMap::new();
    let mut bytes = 0;
    for entry in listed.entries.iter().filter(|entry| select::wants(entry)) {
        desk.breathe().await?;
        // A file that cannot be read is told by LINTER, who reads all of them.
        let read = reading::read(&desk.task().tree, &entry.path, select::READ_MAX).await;
        if let Ok(content) = read
            && bytes < TEXTS_MAX
        {
            bytes += content.len();
            texts.insert(entry.path.clone(), String::from_utf8_lossy(&content).into_owned());
        }
    }
    Ok(texts)
}

async fn one(bench: &Bench<'_>, project: &Project) -> Result<Ran, WorkError> {
    let mut ran = Ran {
        label: project.label(),
        directory: project.directory.clone(),
        command: project.command(),
        ..Ran::default()
    };
    let start = time::now();
    match &project.runner {
        Runner::Cargo => rust::run(bench, project, &mut ran).await?,
        Runner::Python { tops, pytest } => python::run(bench, project, tops, pytest, &mut ran).await?,
        Runner::Node(arguments) => node::run(bench, project, arguments, &mut ran).await?,
        Runner::Npm => node::npm(bench, project, &mut ran).await?,
        Runner::Make { target, configure } => c::make(bench, project, target, *configure, &mut ran).await?,
        Runner::Cmake => c::cmake(bench, project, &mut ran).await?,
    }
    if ran.unsaid {
        ran.said = None;
    }
    ran.seconds = time::now().since(start).as_secs_f64();
    Ok(ran)
}

async fn write(
    desk: &Desk,
    began: &str,
    ran: Vec<Ran>,
    mut warnings: Vec<String>,
) -> Result<Handoff, WorkError> {
    for run in &ran {
        warnings.extend(run.warnings.iter().map(|warning| format!("{}: {warning}", run.label)));
    }
    warnings.extend(judge::needs(&ran));
    let mut findings = judge::findings(&ran);
    finding::arrange(&mut findings);
    let mut counts = Counts::default();
    let mut flaky = 0u64;
    for run in &ran {
        counts.join(Counts::of(&run.cases));
        flaky += run.cases.iter().filter(|case| case.flaky).count() as u64;
    }
    let xml = junit::document(&ran, began, "localhost")
        .map_err(|error| WorkError::Task(format!("the results cannot be written as XML: {error}")))?;
    let folder = desk.folder();
    let report = Report { agent: task::TESTBED.into(), findings, warnings: warnings.clone() };
    let mut handoff = desk.handoff(task::DIRECTOR);
    handoff.outputs = vec![
        folder.write_json("findings.json", &report).await?,
        folder.write("test_results.xml", &xml).await?,
        folder.write_json("test_results.json", &ran).await?,
    ];
    for (name, count) in
        [("tests", counts.tests), ("failed", counts.failed), ("skipped", counts.skipped), ("flaky", flaky)]
    {
        handoff.metrics.insert(name.into(), count as f64);
    }
    handoff.warnings = warnings;
    if counts.failed > 0 {
        handoff.next_actions.push("find out why tests fail".into());
    }
    desk.progress(1.0, counts.to_string());
    Ok(handoff)
}
