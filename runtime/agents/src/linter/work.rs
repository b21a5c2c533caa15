//! LINTER at work: reads every file of the tree, calls the tools that fit it, writes `lint_report.json`,
//! `lint_report.sarif` and `findings.json`.

use serde::Serialize;

use crate::finding::{Finding, arrange};
use crate::linter::{self, bulk, calls};
use crate::shell::{Desk, WorkError};
use crate::task::{self, Handoff, Report};
use crate::tree::Tree;
use crate::{reading, sarif};

/// The share of the work that is reading, as told in progress; the rest is tools.
const READING: f32 = 0.6;

/// What stands in `lint_report.json`: the report, and the tools that were called with their versions and times.
#[derive(Serialize)]
struct WithTools<'r> {
    #[serde(flatten)]
    report: &'r Report,
    tools: &'r [calls::Used],
}

/// Does LINTER's part.
pub async fn work(desk: &Desk) -> Result<Handoff, WorkError> {
    let folder = desk.folder();
    let listed: Tree = folder.read_json(desk.input("tree")?).await?;
    let root = desk.task().tree.clone();
    let paths = listed.paths();
    let mut findings = bulk::large(&listed);
    let mut compiled = Vec::new();
    let mut shebangs = calls::Scripts::default();
    let (mut read, mut unread, mut large) = (0u64, Vec::new(), 0u64);
    let mut round = desk.round(&listed, READING, "checking", |_| true);
    while let Some(entry) = round.next().await? {
        if entry.len > linter::READ_MAX {
            large += 1;
            continue;
        }
        let content = match reading::read(&root, &entry.path, linter::READ_MAX).await {
            Ok(content) => content,
            Err(error) => {
                unread.push(error.to_string());
                continue;
            }
        };
        read += 1;
        if let Some(kind) = bulk::compiled(&entry.path, &content) {
            compiled.push((entry.path.clone(), kind));
        }
        shebangs.see(&entry.path, &content);
        let mut found = linter::file(&entry.path, &content, &|path| paths.contains(path));
        leave_ignored(&root, &mut found).await;
        findings.extend(found);
    }
    findings.extend(bulk::grouped(&compiled));

    let mut warnings: Vec<String> = round.cut().into_iter().chain(unread.iter().take(10).cloned()).collect();
    if unread.len() > 10 {
        warnings.push(format!("further files that could not be read: {}", unread.len() - 10));
    }
    if large > 0 {
        warnings
            .push(format!("{large} files above {} MiB were not checked by content", linter::READ_MAX >> 20));
    }
    let mut told = calls::all(desk, &shebangs, READING).await?;
    told.used.retain(|used| used.calls > 0);
    findings.extend(told.findings);
    warnings.extend(told.warnings);
    arrange(&mut findings);

    let mut handoff = desk.handoff(task::DIRECTOR);
    handoff.metrics.insert("files_checked".into(), read as f64);
    handoff.metrics.insert("findings".into(), findings.len() as f64);
    let log = sarif::log("synod-linter", &findings);
    for used in &told.used {
        handoff.metrics.insert(format!("{}_ms", used.tool), used.took_ms as f64);
    }
    let report = Report { agent: task::LINTER.into(), findings, warnings: warnings.clone() };
    let with_tools = WithTools { report: &report, tools: &told.used };
    handoff.outputs = vec![
        folder.write_json("findings.json", &report).await?,
        folder.write_json("lint_report.json", &with_tools).await?,
        folder.write_json("lint_report.sarif", &log).await?,
    ];
    handoff.warnings = warnings;
    desk.progress(1.0, format!("{read} files checked"));
    Ok(handoff)
}

/// Takes back links to files that are there after all, but that git ignores.
async fn leave_ignored(root: &str, findings: &mut Vec<Finding>) {
    let mut kept = Vec::with_capacity(findings.len());
    for finding in findings.drain(..) {
        let target = finding.message.split('`').nth(1).filter(|_| finding.rule == linter::links::RULE);
        let there = match target.and_then(|target| linter::links::target_path(&finding.place.path, target)) {
            Some(path) => reading::exists(root, &path).await,
            None => false,
        };
        if !there {
            kept.push(finding);
        }
    }
    *findings = kept;
}
