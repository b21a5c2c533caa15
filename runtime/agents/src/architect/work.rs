//! ARCHITECT at work: reads the sources and manifests of the tree, writes `ARCHITECTURE.md`, `architecture.dot`,
//! `architecture.svg`, `graph.json` and `findings.json`.

use crate::architect::sources::Sources;
use crate::architect::{READ_MAX, documents, dot, draw, judge};
use crate::finding::arrange;
use crate::reading;
use crate::shell::{Desk, WorkError};
use crate::task::{self, Handoff, Report};
use crate::tree::{self, Tree};

/// The share of its time that it reads.
const READING: f32 = 0.7;

/// Does ARCHITECT's part.
pub async fn work(desk: &Desk) -> Result<Handoff, WorkError> {
    let folder = desk.folder();
    let listed: Tree = folder.read_json(desk.input("tree")?).await?;
    let root = desk.task().tree.clone();
    let name = tree::name(root.trim_end_matches('/')).to_string();
    let mut sources = Sources::begin(&listed, &name);
    let (mut large, mut unread) = (0u64, 0u64);
    let mut round = desk.round(&listed, READING, "reading", Sources::wants);
    while let Some(entry) = round.next().await? {
        if entry.len > READ_MAX {
            large += 1;
            continue;
        }
        match reading::read(&root, &entry.path, READ_MAX).await {
            Ok(content) => sources.file(&entry.path, &content),
            Err(_) => unread += 1,
        }
    }
    desk.progress(0.9, "drawing the parts");
    desk.breathe().await?;
    let architecture = sources.finish();
    let mut findings = judge::findings(&architecture);
    arrange(&mut findings);

    let mut warnings = architecture.warnings.clone();
    warnings.extend(round.cut());
    if large > 0 {
        warnings.push(format!("source files above {} MiB that were not read: {large}", READ_MAX >> 20));
    }
    if unread > 0 {
        warnings.push(format!("source files that could not be read: {unread}"));
    }
    let mut handoff = desk.handoff(task::DIRECTOR);
    for (name, count) in [
        ("modules", architecture.modules.nodes.len()),
        ("parts", architecture.parts.nodes.len()),
        ("uses", architecture.modules.edges.len()),
        ("knots", architecture.unit_knots.len() + architecture.module_knots.len()),
        ("findings", findings.len()),
    ] {
        handoff.metrics.insert(name.into(), count as f64);
    }
    let document = documents::document(&name, &architecture, &findings);
    let dot = dot::dot(&architecture.parts, &architecture.part_knots);
    let report = Report { agent: task::ARCHITECT.into(), findings, warnings: warnings.clone() };
    handoff.outputs = vec![
        folder.write("ARCHITECTURE.md", document.as_bytes()).await?,
        folder.write("architecture.dot", dot.as_bytes()).await?,
        folder.write("architecture.svg", draw::svg(&architecture.parts).as_bytes()).await?,
        folder.write_json("graph.json", &architecture).await?,
        folder.write_json("findings.json", &report).await?,
    ];
    handoff.warnings = warnings;
    desk.progress(1.0, format!("{} source files read", architecture.modules.nodes.len()));
    Ok(handoff)
}
