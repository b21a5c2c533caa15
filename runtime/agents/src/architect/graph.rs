//! A graph of parts or modules: who uses whom, from which line of which file.
//!
//! Nodes are known by their index. Edges are kept once for each pair, with the strongest tie and its first place;
//! what ties a node to itself is dropped. Nothing here reads files or judges.

use serde::{Deserialize, Serialize};

use crate::finding::Place;

/// What a node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A Rust crate, as its `Cargo.toml` declares it.
    Crate,
    /// A JavaScript package, as its `package.json` declares it.
    Package,
    /// One source file.
    Module,
    /// All source files below a folder, or a source and its header, taken together.
    Folder,
}

/// How one node is tied to another, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tie {
    /// For type checkers alone.
    Types,
    /// In tests, benchmarks and examples alone.
    Test,
    /// Only when some function runs, or under some condition of the preprocessor.
    Deferred,
    /// When the node is built.
    Build,
    /// Whenever the node is loaded.
    Uses,
}

impl Tie {
    /// Whether the tie holds whenever the node is loaded or built: only such ties make knots and levels.
    pub fn binds(self) -> bool {
        self >= Tie::Build
    }
}

/// A part or a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its name, as people of that language say it: `synod-wire`, `json.decoder`, `src/list.c`.
    pub name: String,
    /// What it stands for.
    pub kind: Kind,
    /// The language of its files.
    pub language: String,
    /// Its file, or its folder; relative to the tree, empty for the tree itself.
    pub path: String,
    /// How many source files it holds.
    pub files: u64,
    /// Their lines together.
    pub lines: u64,
    /// Whether it is there for tests, benchmarks or examples alone.
    pub test: bool,
}

/// One node uses another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Index of the node that uses.
    pub from: usize,
    /// Index of the node that is used.
    pub to: usize,
    /// How.
    pub tie: Tie,
    /// Where it says so.
    pub place: Place,
}

/// Nodes and the edges between them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Graph {
    /// The nodes; an edge names them by their index here.
    pub nodes: Vec<Node>,
    /// The edges, by `from`, then `to`.
    pub edges: Vec<Edge>,
}

impl Graph {
    /// A graph of `nodes` and `edges`, each pair once.
    pub fn new(nodes: Vec<Node>, mut edges: Vec<Edge>) -> Self {
        edges.retain(|edge| edge.from != edge.to && edge.from < nodes.len() && edge.to < nodes.len());
        edges.sort_by(|a, b| {
            (a.from, a.to).cmp(&(b.from, b.to)).then(b.tie.cmp(&a.tie)).then_with(|| a.place.cmp(&b.place))
        });
        edges.dedup_by_key(|edge| (edge.from, edge.to));
        Graph { nodes, edges }
    }

    /// For each node, whom it uses by a tie that `counts`, in ascending order.
    pub fn targets(&self, counts: impl Fn(&Edge) -> bool) -> Vec<Vec<usize>> {
        let mut targets = vec![Vec::new(); self.nodes.len()];
        for edge in self.edges.iter().filter(|edge| counts(edge)) {
            targets[edge.from].push(edge.to);
        }
        targets
    }

    /// The edge from one node to another, if there is one.
    pub fn edge(&self, from: usize, to: usize) -> Option<&Edge> {
        let at = self.edges.binary_search_by_key(&(from, to), |edge| (edge.from, edge.to)).ok()?;
        self.edges.get(at)
    }

    /// For each node, how many others use it and how many it uses.
    pub fn degrees(&self) -> Vec<Degree> {
        let mut degrees = vec![Degree::default(); self.nodes.len()];
        for edge in &self.edges {
            degrees[edge.from].out += 1;
            degrees[edge.to].r#in += 1;
        }
        degrees
    }
}

/// How many edges begin and end at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Degree {
    /// Fan-in: how many nodes use it.
    pub r#in: usize,
    /// Fan-out: how many nodes it uses.
    pub out: usize,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A graph of `n` nodes with plain names, every edge on line 1 of its own file.
    pub(crate) fn plain(n: usize, edges: &[(usize, usize)]) -> Graph {
        let node = |at: usize| Node {
            name: format!("n{at}"),
            kind: Kind::Module,
            language: "C".into(),
            path: format!("n{at}.c"),
            files: 1,
            lines: 10,
            test: false,
        };
        let edge = |&(from, to): &(usize, usize)| Edge {
            from,
            to,
            tie: Tie::Uses,
            place: Place::line(format!("n{from}.c"), 1),
        };
        Graph::new((0..n).map(node).collect(), edges.iter().map(edge).collect())
    }

    #[test]
    fn a_pair_is_kept_once_with_its_strongest_tie() {
        let mut graph = plain(2, &[(0, 1)]);
        let weak = Edge { tie: Tie::Test, place: Place::line("a", 1), ..graph.edges[0].clone() };
        let own = Edge { to: 0, ..graph.edges[0].clone() };
        let strong = graph.edges.remove(0);
        let graph = Graph::new(graph.nodes, vec![weak, own, strong.clone()]);
        assert_eq!(graph.edges, [strong]);
        assert_eq!(graph.degrees(), [Degree { r#in: 0, out: 1 }, Degree { r#in: 1, out: 0 }]);
        assert!(graph.edge(0, 1).is_some() && graph.edge(1, 0).is_none());
    }
}
