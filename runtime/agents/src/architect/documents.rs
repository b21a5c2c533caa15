//! `ARCHITECTURE.md`: what parts there are, who uses whom, the knots, the files that weigh most.
//!
//! Pure: an architecture in, text out. Long lists are cut, and say how much they leave out; `graph.json` has all of it.

use std::fmt::Write as _;

use super::graph::{Degree, Graph, Kind, Tie};
use super::judge::around;
use super::sources::Architecture;
use crate::finding::{Finding, Severity};
use crate::tree;

/// Rows of the lists of files.
const TOP: usize = 10;
/// Knots and other things that are listed one by one.
const LISTED: usize = 20;

/// The document. `name` is what the tree is called.
pub fn document(name: &str, architecture: &Architecture, findings: &[Finding]) -> String {
    let modules = &architecture.modules;
    let lines: u64 = modules.nodes.iter().map(|node| node.lines).sum();
    let mut out = format!("# Architecture of {}\n\n", text(name));
    if modules.nodes.is_empty() {
        out.push_str("There is no source file in a language whose imports are understood here: Rust, Python, C, C++, JavaScript, TypeScript.\n");
        return out;
    }
    let _ = writeln!(
        out,
        "{} in {}, {}; {} between them. {}\n",
        counted(modules.nodes.len(), "source file", "source files"),
        counted(architecture.parts.nodes.len(), "part", "parts"),
        counted(usize::try_from(lines).unwrap_or(usize::MAX), "line", "lines"),
        counted(modules.edges.len(), "use", "uses"),
        judgement(architecture, findings)
    );
    out.push_str("![Parts and who uses whom](architecture.svg)\n");
    parts(&mut out, architecture);
    uses(&mut out, architecture);
    knots(&mut out, architecture);
    layers(&mut out, architecture);
    weight(&mut out, modules);
    unused(&mut out, architecture);
    unseen(&mut out, architecture);
    out
}

fn judgement(architecture: &Architecture, findings: &[Finding]) -> String {
    let loops =
        architecture.unit_knots.len() + findings.iter().filter(|f| f.rule.ends_with("import-cycle")).count();
    let worst = findings.iter().map(|finding| finding.severity).max();
    match (loops, worst) {
        (0, None) => "Nothing runs in circles that would cost anything.".to_string(),
        (0, Some(_)) => {
            format!("Nothing runs in circles; {} else.", counted(findings.len(), "finding", "findings"))
        }
        (loops, Some(worst)) if worst >= Severity::Low => {
            format!("{} to look at.", counted(loops, "circle", "circles"))
        }
        (loops, _) => format!("{}, harmless so far.", counted(loops, "circle", "circles")),
    }
}

fn parts(out: &mut String, architecture: &Architecture) {
    let graph = &architecture.parts;
    let degrees = graph.degrees();
    out.push_str("\n## Parts\n\nThe highest first: a part stands above all that it uses.\n\n");
    out.push_str("| level | part | where | language | files | lines | used by | uses |\n|--:|---|---|---|--:|--:|--:|--:|\n");
    let mut order: Vec<usize> = (0..graph.nodes.len()).collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(architecture.part_levels[at]), at));
    for at in order {
        let (node, Degree { r#in, out: uses }) = (&graph.nodes[at], degrees[at]);
        let place = if node.path.is_empty() { "." } else { &node.path };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {uses} |",
            architecture.part_levels[at],
            text(&node.name),
            code(place),
            node.language,
            node.files,
            node.lines,
            r#in
        );
    }
}

fn uses(out: &mut String, architecture: &Architecture) {
    let graph = &architecture.parts;
    if graph.edges.is_empty() {
        return;
    }
    out.push_str("\n## Who uses whom\n\n");
    for (at, node) in graph.nodes.iter().enumerate() {
        let list = |tie: &dyn Fn(Tie) -> bool| -> String {
            let edges = graph.edges.iter().filter(|edge| edge.from == at && tie(edge.tie));
            edges.map(|edge| text(&graph.nodes[edge.to].name)).collect::<Vec<_>>().join(", ")
        };
        let kinds = [
            ("uses", list(&|tie| tie == Tie::Uses)),
            ("for its build", list(&|tie| tie == Tie::Build)),
            ("now and then", list(&|tie| tie == Tie::Deferred)),
            ("in tests", list(&|tie| tie == Tie::Test)),
            ("for types", list(&|tie| tie == Tie::Types)),
        ];
        let told: Vec<String> = kinds
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(how, list)| format!("{how} {list}"))
            .collect();
        if !told.is_empty() {
            let _ = writeln!(out, "- **{}** {}.", text(&node.name), told.join("; "));
        }
    }
}

fn knots(out: &mut String, architecture: &Architecture) {
    let graph = &architecture.modules;
    let usual = |at: usize| graph.nodes[at].language == "Rust";
    let (rust, others): (Vec<_>, Vec<_>) =
        architecture.module_knots.iter().partition(|knot| knot.members.iter().all(|&at| usual(at)));
    out.push_str("\n## Knots\n");
    if architecture.unit_knots.is_empty() && others.is_empty() && rust.is_empty() {
        out.push_str("\nNone: nothing uses itself by a detour.\n");
        return;
    }
    for (graph, knots) in [(&architecture.units, architecture.unit_knots.iter().collect()), (graph, others)] {
        for knot in knots.iter().take(LISTED) {
            let _ = write!(out, "\n{}:\n\n", text(&around(graph, knot)));
            for (at, &from) in knot.around.iter().enumerate() {
                let to = knot.around[(at + 1) % knot.around.len()];
                if let Some(edge) = graph.edge(from, to) {
                    let _ = writeln!(
                        out,
                        "- {} uses {} at {}",
                        text(&graph.nodes[from].name),
                        text(&graph.nodes[to].name),
                        code(&edge.place.to_string())
                    );
                }
            }
        }
        if knots.len() > LISTED {
            let _ = writeln!(out, "\n… and {} more in `graph.json`.", knots.len() - LISTED);
        }
    }
    if !rust.is_empty() {
        let _ = writeln!(
            out,
            "\nWithin Rust crates modules may use each other freely. {} there, by their shortest loops:\n",
            counted(rust.len(), "knot stands", "knots stand")
        );
        for knot in rust.iter().take(TOP) {
            let _ = writeln!(out, "- {}", text(&around(graph, knot)));
        }
        if rust.len() > TOP {
            let _ = writeln!(out, "- … and {} more in `graph.json`", rust.len() - TOP);
        }
    }
}

fn layers(out: &mut String, architecture: &Architecture) {
    if architecture.layers.layers.is_empty() {
        return;
    }
    out.push_str("\n## Declared layers\n\nThe highest first, as `architecture.toml` says.\n\n");
    for layer in &architecture.layers.layers {
        let _ = writeln!(out, "- **{}**: {}", text(&layer.name), text(&layer.parts.join(", ")));
    }
    if architecture.breaks.is_empty() {
        out.push_str("\nNo use breaks them.\n");
        return;
    }
    out.push_str("\nBroken by:\n\n");
    for broken in architecture.breaks.iter().take(LISTED) {
        let _ = writeln!(
            out,
            "- {} ({}) uses {} ({}) at {}",
            text(&broken.from),
            text(&broken.from_layer),
            text(&broken.to),
            text(&broken.to_layer),
            code(&broken.place.to_string())
        );
    }
}

fn weight(out: &mut String, graph: &Graph) {
    let degrees = graph.degrees();
    let mut table = |title: &str, column: &str, key: &dyn Fn(usize) -> u64| {
        let mut order: Vec<usize> =
            (0..graph.nodes.len()).filter(|&at| key(at) > 0 && !graph.nodes[at].test).collect();
        order.sort_by_key(|&at| (std::cmp::Reverse(key(at)), at));
        if order.is_empty() {
            return;
        }
        let _ = write!(out, "\n## {title}\n\n| file | {column} |\n|---|--:|\n");
        for &at in order.iter().take(TOP) {
            let _ = writeln!(out, "| {} | {} |", code(&graph.nodes[at].path), key(at));
        }
    };
    table("The biggest files", "lines", &|at| graph.nodes[at].lines);
    table("The files most used", "files that use it", &|at| degrees[at].r#in as u64);
    table("The files that use most", "files it uses", &|at| degrees[at].out as u64);
}

/// What nothing in the tree uses, where that may mean something.
fn unused(out: &mut String, architecture: &Architecture) {
    let graph = &architecture.modules;
    let degrees = graph.degrees();
    let header = |path: &str| tree::extension(path).starts_with('h');
    let script = |path: &str| {
        matches!(tree::name(path), "setup.py" | "__init__.py" | "__main__.py" | "conftest.py" | "noxfile.py")
    };
    let candidates = graph.nodes.iter().enumerate().filter(|(at, node)| {
        degrees[*at].r#in == 0
            && !node.test
            && !tree::is_documentation(&node.path)
            && match node.language.as_str() {
                "C" | "C++" => header(&node.path),
                "Python" => !script(&node.path),
                _ => false,
            }
    });
    let mut paths: Vec<&str> = candidates.map(|(_, node)| node.path.as_str()).collect();
    paths.extend(architecture.orphans.iter().map(String::as_str));
    if paths.is_empty() {
        return;
    }
    out.push_str(
        "\n## Used by no file of the tree\n\nPrograms and what is meant for others stand here too.\n\n",
    );
    listed(out, &paths);
}

fn unseen(out: &mut String, architecture: &Architecture) {
    let names: Vec<String> =
        architecture.unresolved.iter().map(|one| format!("{}: {}", one.place, one.name)).collect();
    if !names.is_empty() {
        out.push_str("\n## Named, but not in the tree\n\nGenerated when it is built, or from outside.\n\n");
        listed(out, &names.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let mut notes = architecture.warnings.clone();
    if architecture.left_out > 0 {
        notes.push(format!(
            "{} of other people, built or minified, left out",
            counted(
                usize::try_from(architecture.left_out).unwrap_or(usize::MAX),
                "source file",
                "source files"
            )
        ));
    }
    if architecture.parts.nodes.iter().any(|node| node.kind == Kind::Folder) {
        notes.push("folders stand for what lies below them, so that the picture can be read; `graph.json` has every file".into());
    }
    notes.push("imports by a computed name, and what macros and build scripts add, are not seen".into());
    out.push_str("\n## How far this goes\n\n");
    for note in notes {
        let _ = writeln!(out, "- {}", text(&note));
    }
}

fn listed(out: &mut String, all: &[&str]) {
    for one in all.iter().take(LISTED) {
        let _ = writeln!(out, "- {}", code(one));
    }
    if all.len() > LISTED {
        let _ = writeln!(out, "- … and {} more", all.len() - LISTED);
    }
}

fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Text that Markdown takes as it is.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A name as code within a line or a cell.
fn code(name: &str) -> String {
    let clean: String =
        name.chars().map(|c| if c.is_control() || matches!(c, '`' | '|') { '\u{fffd}' } else { c }).collect();
    format!("`{clean}`")
}
