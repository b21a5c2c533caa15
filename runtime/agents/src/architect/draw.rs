//! A graph as one SVG picture: boxes in layers, arrows from who uses to who is used, knots in red (but for modules of Rust, where
//! they are usual).
//!
//! The picture needs nothing from outside and can stand in an HTML page as it is; its styles begin with `arch-` and follow the
//! reader's choice of light or dark. Ties of tests and types are left out, and so are arrows that follow from others; what was left
//! out is said below the picture. Meant for graphs of up to [`READABLE`] nodes: fold a larger one first.

use std::fmt::Write as _;

use super::graph::{Edge, Graph, Kind, Tie};
use super::knots::components;
use super::layout::{self, Size};

/// Up to how many nodes a picture can be read.
pub const READABLE: usize = 60;
/// Up to how many arrows a picture can be read.
pub const CLEAR: usize = 110;

/// More boxes than this without any arrow are left out.
const LONELY: usize = 12;
/// Longest name in a box, in characters.
const NAME: usize = 30;
const HEIGHT: f64 = 38.0;

const STYLE: &str = "\
.arch-box{fill:#f6f8fa;stroke:#57606a}.arch-name{fill:#1f2328;font:600 12px sans-serif}\
.arch-more{fill:#57606a;font:10px sans-serif}.arch-arrow{fill:none;stroke:#8c959f;stroke-width:1.2}\
.arch-tip{fill:#8c959f}.arch-knot{stroke:#cf222e;stroke-width:1.8}.arch-knot-tip{fill:#cf222e}.arch-late{stroke-dasharray:4 3}\
.arch-rust{fill:#fff1e5}.arch-python{fill:#ddf4ff}.arch-c{fill:#eaeef2}.arch-script{fill:#fff8c5}\
@media(prefers-color-scheme:dark){.arch-box{fill:#21262d;stroke:#8b949e}.arch-name{fill:#e6edf3}.arch-more{fill:#9198a1}\
.arch-arrow{stroke:#768390}.arch-tip{fill:#768390}.arch-knot{stroke:#ff7b72}.arch-knot-tip{fill:#ff7b72}\
.arch-rust{fill:#3d2516}.arch-python{fill:#12304a}.arch-c{fill:#2d333b}.arch-script{fill:#3a330f}}";

/// The picture of a graph.
pub fn svg(graph: &Graph) -> String {
    let shown = Shown::of(graph);
    let boxes: Vec<(String, String)> = shown.nodes.iter().map(|&at| words(graph, at)).collect();
    let sizes: Vec<Size> = boxes
        .iter()
        .map(|(name, more)| {
            let (name, more) = (name.chars().count() as f64 * 7.3, more.chars().count() as f64 * 5.6);
            Size { width: name.max(more).max(50.0) + 18.0, height: HEIGHT }
        })
        .collect();
    let pairs: Vec<(usize, usize)> = shown.edges.iter().map(|(from, to, _, _)| (*from, *to)).collect();
    let picture = layout::lay(&sizes, &pairs);

    let captions = shown.captions();
    let least = captions.iter().map(|line| line.chars().count() as f64 * 5.6).fold(120.0, f64::max);
    let width = picture.width.max(least + 24.0);
    let height = picture.height + 16.0 * captions.len() as f64 + 10.0;
    let left = (width - picture.width) / 2.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\">\n<title>Parts and who uses whom</title>\n<style>{STYLE}</style>\n<defs>"
    );
    for (id, class) in [("arch-tip", "arch-tip"), ("arch-tip-knot", "arch-knot-tip")] {
        let _ = write!(
            out,
            "<marker id=\"{id}\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path class=\"{class}\" d=\"M0,0.5 L8,4 L0,7.5 z\"/></marker>"
        );
    }
    out.push_str("</defs>\n");
    let _ = writeln!(out, "<g transform=\"translate({left:.0} 0)\">");
    for ((from, to, tie, knotted), points) in shown.edges.iter().zip(&picture.arrows) {
        let knot = if *knotted { " arch-knot" } else { "" };
        let late = if *tie == Tie::Deferred { " arch-late" } else { "" };
        let tip = if *knotted { "arch-tip-knot" } else { "arch-tip" };
        let _ = writeln!(
            out,
            "<path class=\"arch-arrow{knot}{late}\" marker-end=\"url(#{tip})\" d=\"{}\"><title>{} uses {}</title></path>",
            curve(points),
            escaped(&graph.nodes[shown.nodes[*from]].name),
            escaped(&graph.nodes[shown.nodes[*to]].name)
        );
    }
    for (((at, size), (name, more)), (x, y)) in shown.nodes.iter().zip(&sizes).zip(&boxes).zip(&picture.boxes)
    {
        let node = &graph.nodes[*at];
        let _ = writeln!(
            out,
            "<g><title>{}</title><rect class=\"arch-box {}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{HEIGHT}\" rx=\"5\"/><text class=\"arch-name\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text><text class=\"arch-more\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text></g>",
            escaped(if node.path.is_empty() { &node.name } else { &node.path }),
            class(&node.language),
            x - size.width / 2.0,
            y - HEIGHT / 2.0,
            size.width,
            y - 2.0,
            escaped(name),
            y + 12.0,
            escaped(more)
        );
    }
    out.push_str("</g>\n");
    for (at, line) in captions.iter().enumerate() {
        let y = picture.height + 8.0 + 16.0 * at as f64;
        let _ = writeln!(
            out,
            "<text class=\"arch-more\" x=\"{:.0}\" y=\"{y:.0}\" text-anchor=\"middle\">{}</text>",
            width / 2.0,
            escaped(line)
        );
    }
    out.push_str("</svg>\n");
    out
}

/// How many arrows the picture of a graph has.
pub fn arrows(graph: &Graph) -> usize {
    Shown::of(graph).edges.len()
}

/// What of a graph is drawn.
struct Shown {
    /// Indices of the nodes drawn.
    nodes: Vec<usize>,
    /// Edges between them, by their position in `nodes`: from, to, tie, whether in red.
    edges: Vec<(usize, usize, Tie, bool)>,
    lonely: usize,
    loose: usize,
    implied: usize,
    late: bool,
}

impl Shown {
    fn of(graph: &Graph) -> Self {
        let drawn: Vec<&Edge> = graph.edges.iter().filter(|edge| edge.tie >= Tie::Deferred).collect();
        let binding = graph.targets(|edge| edge.tie.binds());
        let mut knot = vec![usize::MAX; graph.nodes.len()];
        for (number, members) in
            components(&binding).iter().enumerate().filter(|(_, members)| members.len() > 1)
        {
            members.iter().for_each(|&member| knot[member] = number);
        }
        let knotted = |edge: &Edge| {
            edge.tie.binds() && knot[edge.from] == knot[edge.to] && knot[edge.from] != usize::MAX
        };
        // Modules of Rust use each other freely: nothing to warn of.
        let usual = |at: usize| graph.nodes[at].language == "Rust" && graph.nodes[at].kind != Kind::Crate;
        let red = |edge: &Edge| knotted(edge) && !(usual(edge.from) && usual(edge.to));
        let follows = implied(&binding);
        let (kept, implied): (Vec<&Edge>, Vec<&Edge>) = drawn
            .iter()
            .copied()
            .partition(|edge| knotted(edge) || !edge.tie.binds() || !follows(edge.from, edge.to));
        let mut tied = vec![false; graph.nodes.len()];
        for edge in &kept {
            (tied[edge.from], tied[edge.to]) = (true, true);
        }
        let lonely = tied.iter().filter(|tied| !**tied).count();
        let drop = lonely > LONELY && lonely < graph.nodes.len();
        let nodes: Vec<usize> = (0..graph.nodes.len()).filter(|&at| tied[at] || !drop).collect();
        let position = |node: usize| nodes.binary_search(&node).unwrap_or(0);
        let edges: Vec<_> =
            kept.iter().map(|edge| (position(edge.from), position(edge.to), edge.tie, red(edge))).collect();
        Shown {
            late: edges.iter().any(|(_, _, tie, _)| *tie == Tie::Deferred),
            nodes,
            edges,
            lonely: if drop { lonely } else { 0 },
            loose: graph.edges.len() - drawn.len(),
            implied: implied.len(),
        }
    }

    fn captions(&self) -> Vec<String> {
        let mut lines = vec!["An arrow leads from who uses to who is used.".to_string()];
        if self.edges.iter().any(|(_, _, _, knotted)| *knotted) {
            lines[0].push_str(" Red: a knot, all of it uses itself.");
        }
        if self.late {
            lines[0].push_str(" Dashed: only when a function runs, or under a condition.");
        }
        let mut out = Vec::new();
        for (count, one, many) in [
            (self.implied, "arrow that follows from others", "arrows that follow from others"),
            (self.loose, "tie of tests or types", "ties of tests or types"),
            (self.lonely, "part without ties", "parts without ties"),
        ] {
            if count > 0 {
                out.push(format!("{count} {}", if count == 1 { one } else { many }));
            }
        }
        if !out.is_empty() {
            lines.push(format!("Not drawn: {}.", out.join(", ")));
        }
        lines
    }
}

/// Whether one can come from one node to another by a third one: then the arrow between them says nothing new. Arrows within
/// a knot are not to be asked for.
fn implied(targets: &[Vec<usize>]) -> impl Fn(usize, usize) -> bool {
    let n = targets.len();
    let mut reach = vec![vec![false; n]; n];
    for members in components(targets) {
        for &member in &members {
            let mut row = vec![false; n];
            let mut stack: Vec<usize> = members.clone();
            stack.iter().for_each(|&other| row[other] = members.len() > 1 || other != member);
            while let Some(node) = stack.pop() {
                for &target in &targets[node] {
                    if !std::mem::replace(&mut row[target], true) {
                        stack.push(target);
                    }
                }
            }
            reach[member] = row;
        }
    }
    let targets = targets.to_vec();
    move |from, to| {
        targets[from]
            .iter()
            .any(|&by| by != to && by != from && reach[by][to] && !reach[by][from] && !reach[to][by])
    }
}

/// The two lines of a box.
fn words(graph: &Graph, at: usize) -> (String, String) {
    let node = &graph.nodes[at];
    let length = node.name.chars().count();
    let name = if length > NAME {
        let tail: String = node.name.chars().skip(length - (NAME - 1)).collect();
        format!("…{tail}")
    } else {
        node.name.clone()
    };
    let lines = if node.lines == 1 { "1 line".to_string() } else { format!("{} lines", node.lines) };
    let more = if node.kind == Kind::Module && node.files <= 1 {
        lines
    } else if node.files == 1 {
        format!("1 file · {lines}")
    } else {
        format!("{} files · {lines}", node.files)
    };
    (name, more)
}

fn class(language: &str) -> &'static str {
    match language {
        "Rust" => "arch-rust",
        "Python" => "arch-python",
        "JavaScript" | "TypeScript" | "Vue" | "Svelte" => "arch-script",
        _ => "arch-c",
    }
}

/// A smooth way through the points, upright wherever it meets one.
fn curve(points: &[(f64, f64)]) -> String {
    let mut out = String::new();
    let mut last: Option<(f64, f64)> = None;
    for &(x, y) in points {
        match last {
            None => {
                let _ = write!(out, "M{x:.1},{y:.1}");
            }
            Some((from_x, from_y)) => {
                let middle = (from_y + y) / 2.0;
                let _ = write!(out, " C{from_x:.1},{middle:.1} {x:.1},{middle:.1} {x:.1},{y:.1}");
            }
        }
        last = Some((x, y));
    }
    out
}

/// Text as it may stand in XML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::graph::tests::plain;
    use super::*;

    /// Every tag that is opened is closed, in order.
    fn well_formed(svg: &str) -> bool {
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let Some((inner, text)) = tag.split_once('>') else { return false };
            if text.contains('"') && !text.contains('{') && text.contains("=\"") {
                return false;
            }
            match inner.strip_prefix('/') {
                Some(name) => {
                    if open.pop() != Some(name) {
                        return false;
                    }
                }
                None if inner.ends_with('/') => {}
                None => open.extend(inner.split_whitespace().next()),
            }
        }
        open.is_empty()
    }

    #[test]
    fn a_picture_is_well_formed_whatever_the_names() {
        let mut graph = plain(3, &[(0, 1), (1, 0), (1, 2)]);
        graph.nodes[0].name = "<script> & \"more\" \u{1}".into();
        let svg = svg(&graph);
        assert!(well_formed(&svg), "{svg}");
        assert!(!svg.contains("<script>") && svg.contains("&lt;script&gt;"));
        assert_eq!(svg.matches("arch-arrow arch-knot\"").count(), 2);
        assert!(well_formed(&super::svg(&Graph::default())), "also an empty one");
    }

    #[test]
    fn an_arrow_that_follows_from_others_is_left_out_and_counted() {
        let mut graph = plain(4, &[(0, 1), (1, 2), (0, 2), (2, 3)]);
        graph.edges[3].tie = Tie::Test;
        let shown = Shown::of(&graph);
        let edges: Vec<_> = shown.edges.iter().map(|(from, to, _, _)| (*from, *to)).collect();
        assert_eq!(edges, [(0, 1), (1, 2)]);
        assert_eq!(
            shown.captions()[1],
            "Not drawn: 1 arrow that follows from others, 1 tie of tests or types."
        );
    }

    #[test]
    fn within_a_knot_every_arrow_is_drawn_and_one_way_into_it_is_enough() {
        let graph = plain(4, &[(0, 1), (1, 2), (2, 1), (0, 2), (2, 3), (1, 3)]);
        let edges: Vec<_> = Shown::of(&graph).edges.iter().map(|(from, to, _, _)| (*from, *to)).collect();
        assert!(edges.contains(&(1, 2)) && edges.contains(&(2, 1)));
        assert!(edges.contains(&(0, 1)) || edges.contains(&(0, 2)), "the knot is still reached");
        assert!(edges.contains(&(2, 3)) || edges.contains(&(1, 3)), "what it uses too");
    }
}
