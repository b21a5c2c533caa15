//! A graph in the language of graphviz, for `dot -Tsvg` and everything else that reads it.
//!
//! All nodes and edges are written, also those that the picture leaves out.

use std::fmt::Write as _;

use super::graph::{Graph, Kind, Tie};
use super::knots::Knot;

/// `architecture.dot`.
pub fn dot(graph: &Graph, knots: &[Knot]) -> String {
    let mut out = String::from(
        "digraph architecture {\n  rankdir=TB;\n  node [shape=box, fontname=\"sans-serif\"];\n  edge [color=\"#777777\"];\n",
    );
    for (at, node) in graph.nodes.iter().enumerate() {
        let shape = match node.kind {
            Kind::Crate | Kind::Package => "box3d",
            Kind::Module => "box",
            Kind::Folder => "folder",
        };
        let size = format!("{} lines", node.lines);
        let _ = writeln!(out, "  n{at} [label={}, shape={shape}];", quoted(&[node.name.as_str(), &size]));
    }
    for edge in &graph.edges {
        let within = |knot: &&Knot| {
            knot.members.binary_search(&edge.from).is_ok() && knot.members.binary_search(&edge.to).is_ok()
        };
        let knotted = edge.tie.binds() && knots.iter().any(|knot| within(&knot));
        let style = match edge.tie {
            Tie::Uses | Tie::Build => "solid",
            Tie::Deferred => "dashed",
            Tie::Test | Tie::Types => "dotted",
        };
        let colour = if knotted { ", color=\"#cc0000\"" } else { "" };
        let _ = writeln!(out, "  n{} -> n{} [style={style}{colour}];", edge.from, edge.to);
    }
    out.push_str("}\n");
    out
}

/// A quoted string of these lines.
fn quoted(lines: &[&str]) -> String {
    let mut out = String::from("\"");
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            out.push_str("\\n");
        }
        for c in line.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                c if c.is_control() => out.push(' '),
                c => out.push(c),
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::super::graph::tests::plain;
    use super::super::knots::knots;
    use super::*;

    /// A strict reader of what graphviz calls its language: one `digraph` of node, edge and attribute statements.
    fn check(text: &str) -> Result<(usize, usize), String> {
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                c if c.is_whitespace() => {}
                '"' => {
                    let mut word = String::from("\"");
                    loop {
                        match chars.next().ok_or("a string without an end")? {
                            '\\' => {
                                let next = chars.next().ok_or("an escape without an end")?;
                                if !matches!(next, 'n' | '"' | '\\') {
                                    return Err(format!("\\{next} is no escape"));
                                }
                            }
                            '"' => break,
                            '\n' => return Err("a line feed in a string".into()),
                            c => word.push(c),
                        }
                    }
                    tokens.push(word);
                }
                '-' if chars.next_if_eq(&'>').is_some() => tokens.push("->".into()),
                '{' | '}' | '[' | ']' | '=' | ';' | ',' => tokens.push(c.to_string()),
                c if c.is_ascii_alphanumeric() => {
                    let mut word = c.to_string();
                    while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                        word.push(c);
                    }
                    tokens.push(word);
                }
                c => return Err(format!("{c:?} stands where nothing may stand")),
            }
        }
        let mut tokens = tokens.iter().map(String::as_str).peekable();
        let want = |tokens: &mut std::iter::Peekable<_>, wanted: &str| match Iterator::next(tokens) {
            Some(found) if found == wanted => Ok(()),
            found => Err(format!("{found:?} instead of {wanted}")),
        };
        for wanted in ["digraph", "architecture", "{"] {
            want(&mut tokens, wanted)?;
        }
        let (mut nodes, mut edges) = (0, 0);
        while let Some(first) = tokens.next() {
            if first == "}" {
                return if tokens.next().is_none() {
                    Ok((nodes, edges))
                } else {
                    Err("text behind the end".into())
                };
            }
            match tokens.next() {
                Some("=") => {
                    tokens.next();
                }
                Some("->") => {
                    edges += 1;
                    tokens.next();
                    want(&mut tokens, "[")?;
                }
                Some("[") => nodes += usize::from(first.starts_with('n') && first != "node"),
                other => return Err(format!("{other:?} behind {first}")),
            }
            while tokens.peek().is_some_and(|token| *token != ";") {
                tokens.next();
            }
            want(&mut tokens, ";")?;
        }
        Err("no end".into())
    }

    #[test]
    fn what_is_written_follows_the_grammar_whatever_the_names() {
        let mut graph = plain(4, &[(0, 1), (1, 0), (1, 2), (2, 3)]);
        graph.nodes[0].name = "a \"quoted\" \\ back\nslash".into();
        graph.nodes[1].name = "ünï → <b>".into();
        graph.edges[3].tie = Tie::Test;
        let text = dot(&graph, &knots(&graph.targets(|edge| edge.tie.binds())));
        assert_eq!(check(&text), Ok((4, 4)));
        assert_eq!(text.matches("#cc0000").count(), 2, "the knot is red");
        assert!(check("digraph architecture { n0 [label=\"x]; }").is_err());
    }
}
