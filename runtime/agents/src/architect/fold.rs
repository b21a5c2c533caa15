//! Folding a large graph to a readable one: folders stand for what lies below them.
//!
//! Folders are opened one after the other, the one that holds most first, as long as the result stays within its bound; what lies
//! alone in a folder stands for itself. Edges within one group vanish.

use std::collections::BTreeMap;

use super::graph::{Edge, Graph, Kind, Node};
use crate::tree;

/// Nodes that stand together.
struct Group {
    folder: String,
    members: Vec<usize>,
    /// Whether only what lies directly in the folder is meant.
    direct: bool,
}

/// The graph with at most `limit` nodes, and for each old node its new one.
pub fn fold(graph: &Graph, limit: usize) -> (Graph, Vec<usize>) {
    let mut open =
        vec![Group { folder: String::new(), members: (0..graph.nodes.len()).collect(), direct: false }];
    let mut done: Vec<Group> = Vec::new();
    while let Some(at) = (0..open.len()).max_by_key(|&at| (open[at].members.len(), usize::MAX - at)) {
        let group = open.swap_remove(at);
        let room = limit.saturating_sub(open.len() + done.len());
        match split(graph, &group, room) {
            Some(parts) => open.extend(parts),
            None => done.push(group),
        }
    }
    done.sort_by(|a, b| a.members.cmp(&b.members));
    let mut of = vec![0; graph.nodes.len()];
    for (at, group) in done.iter().enumerate() {
        group.members.iter().for_each(|&member| of[member] = at);
    }
    let nodes = done.iter().map(|group| node(graph, group)).collect();
    let edges = graph.edges.iter().map(|edge| Edge { from: of[edge.from], to: of[edge.to], ..edge.clone() });
    (Graph::new(nodes, edges.collect()), of)
}

/// The parts of a group, if it has any and there is room for them.
fn split(graph: &Graph, group: &Group, room: usize) -> Option<Vec<Group>> {
    if group.members.len() < 2 {
        return None;
    }
    let mut below: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut here = Vec::new();
    for &member in &group.members {
        let folder = tree::parent(&graph.nodes[member].path);
        let rest = folder.strip_prefix(group.folder.as_str()).unwrap_or(folder).trim_start_matches('/');
        match rest.split('/').next().filter(|next| !next.is_empty() && !group.direct) {
            Some(next) => below.entry(next).or_default().push(member),
            None => here.push(member),
        }
    }
    let mut parts: Vec<Group> = below
        .into_iter()
        .map(|(name, members)| Group { folder: tree::join(&group.folder, name), members, direct: false })
        .collect();
    if parts.len() + here.len() <= room {
        let alone =
            |&member: &usize| Group { folder: group.folder.clone(), members: vec![member], direct: true };
        parts.extend(here.iter().map(alone));
    } else if !here.is_empty() && !parts.is_empty() {
        parts.push(Group { folder: group.folder.clone(), members: here, direct: true });
    } else if !here.is_empty() {
        return None;
    }
    (parts.len() <= room).then_some(parts)
}

fn node(graph: &Graph, group: &Group) -> Node {
    if let [only] = group.members[..] {
        return graph.nodes[only].clone();
    }
    let members = || group.members.iter().map(|&member| &graph.nodes[member]);
    let mut languages: BTreeMap<&str, u64> = BTreeMap::new();
    for member in members() {
        *languages.entry(&member.language).or_default() += member.lines + 1;
    }
    let language = languages.iter().max_by_key(|(name, lines)| (**lines, std::cmp::Reverse(**name)));
    let name = match (group.folder.as_str(), group.direct) {
        ("", true) => "(root)".to_string(),
        ("", false) => "(all)".to_string(),
        (folder, true) => format!("{folder}/*"),
        (folder, false) => format!("{folder}/"),
    };
    Node {
        name,
        kind: Kind::Folder,
        language: language.map_or(String::new(), |(name, _)| (*name).to_string()),
        path: group.folder.clone(),
        files: members().map(|member| member.files).sum(),
        lines: members().map(|member| member.lines).sum(),
        test: members().all(|member| member.test),
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::tests::plain;
    use super::*;
    use proptest::prelude::*;

    fn at(paths: &[&str], edges: &[(usize, usize)]) -> Graph {
        let mut graph = plain(paths.len(), edges);
        for (node, path) in graph.nodes.iter_mut().zip(paths) {
            (node.path, node.name) = (path.to_string(), path.to_string());
        }
        graph
    }

    fn names(graph: &Graph) -> Vec<&str> {
        graph.nodes.iter().map(|node| node.name.as_str()).collect()
    }

    #[test]
    fn the_fullest_folders_are_opened_first_and_the_bound_holds() {
        let graph = at(
            &["a/x/1", "a/x/2", "a/x/3", "a/y/4", "b/5", "b/6", "c"],
            &[(0, 1), (0, 4), (4, 6), (5, 6), (3, 0)],
        );
        let (folded, of) = fold(&graph, 4);
        assert_eq!(names(&folded), ["a/x/", "a/y/4", "b/", "c"]);
        assert_eq!(of, [0, 0, 0, 1, 2, 2, 3]);
        let edges: Vec<_> = folded.edges.iter().map(|edge| (edge.from, edge.to)).collect();
        assert_eq!(edges, [(0, 2), (1, 0), (2, 3)]);
        assert_eq!((folded.nodes[0].files, folded.nodes[0].lines), (3, 30));
        assert_eq!(names(&fold(&graph, 7).0).len(), 7);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_the_bound_is_kept(
            paths in proptest::collection::vec("[ab](/[abc]){0,3}/[a-z]{3}", 1..40),
            limit in 1usize..12,
        ) {
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            let graph = at(&paths, &[]);
            let (folded, of) = fold(&graph, limit);
            prop_assert!(folded.nodes.len() <= limit);
            prop_assert_eq!(folded.nodes.iter().map(|node| node.files).sum::<u64>(), paths.len() as u64);
            prop_assert!(of.iter().all(|at| *at < folded.nodes.len()));
        }
    }
}
