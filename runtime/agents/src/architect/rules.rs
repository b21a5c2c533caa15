//! Layers that a tree declares for itself in `architecture.toml`, and the uses that break them.
//!
//! Nothing is guessed: a tree without the file has no layers. The form, highest layer first:
//!
//! ```toml
//! [[layer]]
//! name = "program"
//! parts = ["runtime/node", "runtime/agents/src/director/**"]   # folders or files, with * and **
//! ```
//!
//! A part may use its own layer and those below. What no pattern names is free; the longest pattern decides.

use serde::{Deserialize, Serialize};

use super::graph::{Edge, Graph, Tie};
use super::paths;
use crate::finding::{Finding, Place, Severity};
use crate::tree;

/// Where a tree declares its layers.
pub const FILE: &str = "architecture.toml";

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Patterns of paths that belong to it.
    pub parts: Vec<String>,
}

/// The layers of a tree, highest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layers {
    /// The layers.
    #[serde(rename = "layer")]
    pub layers: Vec<Layer>,
}

impl Layers {
    /// Reads the file. A file of that name without any `[[layer]]` is somebody else's.
    pub fn parse(text: &str) -> Option<Result<Layers, Finding>> {
        if !text.lines().any(|line| line.trim_start().starts_with("[[layer]]")) {
            return None;
        }
        Some(toml::from_str(text).map_err(|error| {
            let line = tree::position(text, error.span().map_or(0, |span| span.start)).0;
            Finding::new(
                "architecture.layers-file",
                Severity::Medium,
                Place::line(FILE, line),
                format!("the layers cannot be read: {}", error.message().replace('\n', " ")),
                "each [[layer]] has a name and a list of parts, nothing else",
            )
        }))
    }

    /// The layer of a path, as an index; 0 is the highest.
    pub fn of(&self, path: &str) -> Option<usize> {
        let mut best: Option<(usize, usize)> = None;
        for (at, layer) in self.layers.iter().enumerate() {
            for pattern in layer.parts.iter().map(|pattern| pattern.trim_end_matches('/')) {
                let fits = std::iter::once(path)
                    .chain(tree::ancestors(tree::parent(path)))
                    .any(|path| paths::matches(pattern, path));
                if fits && best.is_none_or(|(longest, _)| pattern.len() > longest) {
                    best = Some((pattern.len(), at));
                }
            }
        }
        best.map(|(_, at)| at)
    }

    /// The edges that lead from a lower layer to a higher one, tests and types apart.
    pub fn breaks<'g>(&self, graph: &'g Graph) -> Vec<&'g Edge> {
        let of: Vec<Option<usize>> = graph.nodes.iter().map(|node| self.of(&node.path)).collect();
        let breaks = |edge: &&Edge| match (of[edge.from], of[edge.to]) {
            (Some(from), Some(to)) => to < from && edge.tie >= Tie::Deferred,
            _ => false,
        };
        graph.edges.iter().filter(breaks).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::tests::plain;
    use super::*;

    const TEXT: &str = "[[layer]]\nname = \"top\"\nparts = [\"app\", \"lib/odd\"]\n[[layer]]\nname = \"low\"\nparts = [\"lib/**\"]\n";

    #[test]
    fn a_lower_layer_must_not_use_a_higher_one() {
        let layers = Layers::parse(TEXT).expect("has layers").expect("well formed");
        assert_eq!(
            (layers.of("app/x.py"), layers.of("lib/a/b.py"), layers.of("lib/odd/c.py")),
            (Some(0), Some(1), Some(0))
        );
        assert_eq!(layers.of("other.py"), None);
        let mut graph = plain(4, &[(0, 1), (1, 0), (1, 2), (0, 3), (3, 0)]);
        for (node, path) in graph.nodes.iter_mut().zip(["app/m.py", "lib/a.py", "lib/odd/c.py", "free.py"]) {
            node.path = path.into();
        }
        let breaks: Vec<_> = layers.breaks(&graph).iter().map(|edge| (edge.from, edge.to)).collect();
        assert_eq!(breaks, [(1, 0), (1, 2)]);
    }

    #[test]
    fn a_strange_file_is_left_alone_and_a_broken_one_is_told_with_its_line() {
        assert!(Layers::parse("title = \"our architecture\"").is_none());
        let finding = Layers::parse("[[layer]]\nname = \"x\"\nparts = []\nmay_use = 1\n")
            .expect("layers")
            .expect_err("unknown");
        assert_eq!(finding.place, Place::line(FILE, 4));
    }
}
