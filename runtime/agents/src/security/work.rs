//! SECURITY at work: reads every file of the tree, writes `security_report.md`, `findings.json` and `findings.sarif`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::finding::{Finding, Tally, arrange};
use crate::security::{locks, permissions, secrets::Corpus};
use crate::shell::{Desk, WorkError};
use crate::task::{self, Handoff, Report};
use crate::tree::Tree;
use crate::{reading, sarif};

/// Largest file that is scanned for secrets, in bytes.
pub const SCAN_MAX: u64 = 16 << 20;

/// Does SECURITY's part.
pub async fn work(desk: &Desk) -> Result<Handoff, WorkError> {
    let folder = desk.folder();
    let tree: Tree = folder.read_json(desk.input("tree")?).await?;
    let root = desk.task().tree.clone();
    let corpus = Corpus::built_in();
    let mut findings = permissions::check(&tree);
    let mut manifests: BTreeMap<String, String> = BTreeMap::new();
    let (mut large, mut unread, mut scanned) = (0u64, 0u64, 0u64);
    let total = tree.entries.len().max(1);
    for (n, entry) in tree.entries.iter().enumerate() {
        if n % 128 == 0 {
            desk.progress(n as f32 / total as f32, format!("scanning {}", entry.path));
        }
        if entry.kind != crate::tree::Kind::File {
            continue;
        }
        desk.breathe().await?;
        if entry.len > SCAN_MAX {
            large += 1;
            continue;
        }
        let Ok(content) = reading::read(&root, &entry.path, SCAN_MAX).await else {
            unread += 1;
            continue;
        };
        scanned += 1;
        findings.extend(corpus.scan(&entry.path, &content));
        if locks::wants(&entry.path) {
            let text = String::from_utf8_lossy(&content).into_owned();
            findings.extend(locks::file(&entry.path, &text));
            manifests.insert(entry.path.clone(), text);
        }
    }
    findings.extend(locks::missing(&tree, &|path| manifests.get(path).cloned()));
    arrange(&mut findings);

    let mut warnings = Vec::new();
    if large > 0 {
        warnings
            .push(format!("files above {} MiB that were not scanned for secrets: {large}", SCAN_MAX >> 20));
    }
    if unread > 0 {
        warnings.push(format!("files that could not be read, so were not scanned for secrets: {unread}"));
    }
    let mut handoff = desk.handoff(task::DIRECTOR);
    handoff.metrics.insert("files_scanned".into(), scanned as f64);
    handoff.metrics.insert("findings".into(), findings.len() as f64);
    let text = report(&findings, scanned, &warnings);
    let log = sarif::log("synod-security", &findings);
    let report = Report { agent: task::SECURITY.into(), findings, warnings: warnings.clone() };
    handoff.outputs = vec![
        folder.write("security_report.md", text.as_bytes()).await?,
        folder.write_json("findings.json", &report).await?,
        folder.write_json("findings.sarif", &log).await?,
    ];
    handoff.warnings = warnings;
    desk.progress(1.0, format!("{scanned} files scanned"));
    Ok(handoff)
}

fn report(findings: &[Finding], scanned: u64, warnings: &[String]) -> String {
    let rules = Corpus::built_in().rules().count();
    let mut out = format!(
        "# Security report\n\n{scanned} files scanned for {rules} kinds of secrets, permission bits and lock files: {}.\n",
        Tally::of(findings)
    );
    for finding in findings {
        let _ = write!(
            out,
            "\n## {}: {}\n\n`{}`: {}.\n\n{}.\n",
            finding.severity, finding.rule, finding.place, finding.message, finding.advice
        );
    }
    for warning in warnings {
        let _ = write!(out, "\nNot looked at: {warning}.\n");
    }
    out
}
