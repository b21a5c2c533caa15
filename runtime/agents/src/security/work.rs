//! SECURITY at work: reads every file of the tree, writes `security_report.md`, `findings.json` and `findings.sarif`.
//!
//! Its step's input `vetoes` names the steps whose output a CRITICAL finding vetoes; without it, it tells and stops nothing. A database
//! of advisories is looked for where the input `advisories` or `SYNOD_ADVISORIES` says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use synod_platform::{files, process};

use crate::finding::{Finding, Severity, Tally, arrange};
use crate::security::advisories::{self, Advisory};
use crate::security::unsafe_code::Uses;
use crate::security::{fit, locks, permissions, secrets::Corpus};
use crate::shell::{Desk, WorkError};
use crate::task::{self, Handoff, Report};
use crate::tree::Tree;
use crate::{reading, sarif};

/// Largest file that is scanned for secrets, in bytes.
pub const SCAN_MAX: u64 = 16 << 20;
/// The share of its time that it reads.
const READING: f32 = 0.75;

/// Largest advisory that is read, in bytes.
const ADVISORY_MAX: u64 = 1 << 20;
/// The input that names the steps whose output is vetoed, with commas between.
pub const VETOES: &str = "vetoes";
/// The input that holds the folder of a database of advisories.
pub const ADVISORIES: &str = "advisories";

/// Does SECURITY's part.
pub async fn work(desk: &Desk) -> Result<Handoff, WorkError> {
    let folder = desk.folder();
    let tree: Tree = folder.read_json(desk.input("tree")?).await?;
    let root = desk.task().tree.clone();
    let corpus = Corpus::built_in();
    let mut findings = permissions::check(&tree);
    let mut manifests: BTreeMap<String, String> = BTreeMap::new();
    let mut uses = Uses::default();
    let (mut large, mut unread, mut scanned) = (0u64, 0u64, 0u64);
    let mut round = desk.round(&tree, READING, "scanning", |_| true);
    while let Some(entry) = round.next().await? {
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
        uses.see(&entry.path, &content);
        if locks::wants(&entry.path) {
            let text = String::from_utf8_lossy(&content).into_owned();
            findings.extend(locks::file(&entry.path, &text));
            manifests.insert(entry.path.clone(), text);
        }
    }
    findings.extend(locks::missing(&tree, &|path| manifests.get(path).cloned()));
    findings.extend(fit::check(&manifests));
    findings.extend(uses.findings());
    let mut warnings = Vec::from_iter(round.cut());
    match weaknesses(desk, &manifests).await? {
        Ok(found) => findings.extend(found),
        Err(why) => warnings.push(why),
    }
    arrange(&mut findings);
    veto(desk, &findings)?;

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

/// Vetoes what the task says it may, if something is critical.
fn veto(desk: &Desk, findings: &[Finding]) -> Result<(), WorkError> {
    let Some(worst) = findings.iter().find(|finding| finding.severity == Severity::Critical) else {
        return Ok(());
    };
    let steps = desk.task().inputs.get(VETOES).map_or("", String::as_str);
    for step in steps.split(',').map(str::trim).filter(|step| !step.is_empty()) {
        desk.veto(step, &format!("{} at {}", worst.rule, worst.place))?;
    }
    Ok(())
}

/// Locked crates with known weaknesses, or why nobody looked.
async fn weaknesses(
    desk: &Desk,
    manifests: &BTreeMap<String, String>,
) -> Result<Result<Vec<Finding>, String>, WorkError> {
    let locks: Vec<(&String, &String)> = manifests
        .iter()
        .filter(|(path, _)| crate::tree::name(path) == "Cargo.lock" && !crate::tree::is_test_data(path))
        .collect();
    if locks.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let named = desk.task().inputs.get(ADVISORIES).cloned().or_else(|| process::variable("SYNOD_ADVISORIES"));
    let Some(folder) = named else {
        return Ok(Err("unavailable: needs a database of advisories (locked crates): name a folder in RustSec's form by SYNOD_ADVISORIES".into()));
    };
    let crates = Path::new(&folder).join("crates");
    if !files::exists(&crates).await.unwrap_or(false) {
        return Ok(Err(format!("no database of advisories at {folder}: there is no folder `crates` in it")));
    }
    let mut findings = Vec::new();
    for (path, text) in locks {
        for locked in advisories::locked(text) {
            desk.breathe().await?;
            let plain = locked.name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
            let about = crates.join(&locked.name);
            let Ok(names) = files::list(&about).await else { continue };
            for name in names.iter().filter(|_| plain) {
                let Ok(bytes) = files::read_below(&about, Path::new(name), ADVISORY_MAX).await else {
                    continue;
                };
                let advisory = Advisory::read(&String::from_utf8_lossy(&bytes));
                findings.extend(
                    advisory.filter(|one| one.concerns(&locked)).map(|one| one.finding(path, &locked)),
                );
            }
        }
    }
    Ok(Ok(findings))
}

fn report(findings: &[Finding], scanned: u64, warnings: &[String]) -> String {
    let rules = Corpus::built_in().rules().count();
    let mut out = format!(
        "# Security report\n\n{scanned} files scanned for {rules} kinds of secrets, permission bits, lock files and unsafe code: {}.\n",
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
