//! What of an architecture is a finding: loops that somebody pays for, broken layers, files that nothing compiles.
//!
//! A loop is reported where the language makes it cost something. Modules of one Rust crate use each other freely, ties that hold
//! only in functions, tests or type checkers bind nothing, and test data may be broken on purpose: none of it is a finding.

use super::graph::Graph;
use super::knots::Knot;
use super::sources::Architecture;
use crate::finding::{Finding, Place, Severity};

/// No more knots than this are reported one by one.
const KNOTS: usize = 50;
/// No more names than this are listed of one loop.
const NAMES: usize = 8;

/// Every finding.
pub fn findings(architecture: &Architecture) -> Vec<Finding> {
    let mut findings = architecture.layers_findings.clone();
    findings.extend(units(architecture));
    findings.extend(modules(architecture));
    findings.extend(architecture.breaks.iter().map(|broken| {
        Finding::new(
            "architecture.layer-break",
            Severity::Medium,
            broken.place.clone(),
            format!(
                "{} of layer {} uses {} of the higher layer {}",
                broken.from, broken.from_layer, broken.to, broken.to_layer
            ),
            "turn the dependency round, or move one of the two",
        )
    }));
    findings.extend(architecture.orphans.iter().map(|path| {
        Finding::new(
            "architecture.orphan-module",
            Severity::Low,
            Place::file(path),
            "no module of its crate declares this file, so it is never compiled",
            "declare it with `mod`, or delete it",
        )
    }));
    findings
}

/// Loops among declared crates and packages.
fn units(architecture: &Architecture) -> Vec<Finding> {
    architecture
        .unit_knots
        .iter()
        .take(KNOTS)
        .map(|knot| {
            let graph = &architecture.units;
            Finding::new(
                "architecture.package-cycle",
                Severity::Medium,
                place(graph, knot),
                format!("packages depend on each other in a circle: {}", around(graph, knot)),
                "move what both need into a package of its own",
            )
        })
        .collect()
}

/// Loops among files.
fn modules(architecture: &Architecture) -> Vec<Finding> {
    let graph = &architecture.modules;
    let mut findings = Vec::new();
    for knot in &architecture.module_knots {
        let language = graph.nodes[knot.around[0]].language.as_str();
        // Whoever tests may tie what he likes.
        if knot.around.iter().any(|&at| graph.nodes[at].test) {
            continue;
        }
        let loop_of = around(graph, knot);
        let (severity, message, advice) = match language {
            "Python" => (
                Severity::Low,
                format!(
                    "modules import each other as they load: {loop_of}; whichever comes second sees the other unfinished"
                ),
                "import inside the function that needs it, or move what both need into a third module",
            ),
            "JavaScript" | "Vue" | "Svelte" => (
                Severity::Low,
                format!(
                    "modules import each other as they load: {loop_of}; whichever comes second sees the other unfinished"
                ),
                "move what both need into a third module, or import it where it is called",
            ),
            "TypeScript" => (
                Severity::Info,
                format!("modules import each other: {loop_of}; harmless if only types are taken"),
                "write `import type` where only types are taken, move the rest into a third module",
            ),
            "C" | "C++" => {
                let open =
                    knot.around.iter().all(|&at| architecture.unguarded.contains(&graph.nodes[at].path));
                if open {
                    (
                        Severity::Medium,
                        format!(
                            "headers without guards include each other: {loop_of}; the compiler gives up"
                        ),
                        "guard them, and let one do with a forward declaration",
                    )
                } else {
                    (
                        Severity::Low,
                        format!(
                            "files include each other: {loop_of}; what one sees of the other depends on who comes first"
                        ),
                        "let one of them do with a forward declaration, or move what both need into a third header",
                    )
                }
            }
            _ => continue,
        };
        findings.push(Finding::new(
            "architecture.import-cycle",
            severity,
            place(graph, knot),
            message,
            advice,
        ));
        if findings.len() == KNOTS {
            break;
        }
    }
    findings
}

/// The place of the first edge of a loop.
fn place(graph: &Graph, knot: &Knot) -> Place {
    let (from, to) = (knot.around[0], knot.around[1 % knot.around.len()]);
    match graph.edge(from, to) {
        Some(edge) => edge.place.clone(),
        None => Place::file(&graph.nodes[from].path),
    }
}

/// `a → b → a`, and how much more hangs in the knot.
pub fn around(graph: &Graph, knot: &Knot) -> String {
    let mut names: Vec<&str> =
        knot.around.iter().take(NAMES).map(|&at| graph.nodes[at].name.as_str()).collect();
    if knot.around.len() > NAMES {
        names.push("…");
    }
    names.push(names[0]);
    let mut out = names.join(" → ");
    if knot.members.len() > knot.around.len() {
        out.push_str(&format!(" (a knot of {} in all)", knot.members.len()));
    }
    out
}
