//! The packages of a tree and who depends on whom, from their `package.json` files.
//!
//! An edge is a dependency on a name that another package of the tree has: a workspace links it, whatever its version says.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::graph::{Edge, Tie};
use crate::finding::Place;
use crate::tree;

/// A package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its folder; empty for the root of the tree.
    pub folder: String,
}

/// The packages, by folder, and their dependencies on each other by index.
pub fn read(manifests: &BTreeMap<String, String>) -> (Vec<Package>, Vec<Edge>) {
    let mut packages = Vec::new();
    let mut tables = Vec::new();
    for (path, text) in manifests {
        let Ok(table) = serde_json::from_str::<Value>(text) else { continue };
        let Some(name) = table.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()) else {
            continue;
        };
        packages.push(Package { name: name.to_string(), folder: tree::parent(path).to_string() });
        tables.push((path, text, table));
    }
    let mut by_name: BTreeMap<&str, Option<usize>> = BTreeMap::new();
    for (at, package) in packages.iter().enumerate() {
        // A name that two packages have names none.
        by_name.entry(&package.name).and_modify(|found| *found = None).or_insert(Some(at));
    }
    let mut depends = Vec::new();
    for (from, (path, text, table)) in tables.iter().enumerate() {
        for (key, tie) in [
            ("dependencies", Tie::Uses),
            ("peerDependencies", Tie::Uses),
            ("optionalDependencies", Tie::Uses),
            ("devDependencies", Tie::Test),
        ] {
            for name in table.get(key).and_then(Value::as_object).into_iter().flat_map(|all| all.keys()) {
                let Some(to) = by_name.get(name.as_str()).copied().flatten() else { continue };
                let section = text.find(&format!("\"{key}\"")).unwrap_or(0);
                let at = text[section..].find(&format!("\"{name}\"")).map_or(section, |at| section + at);
                let place = Place::line(path.as_str(), tree::position(text, at).0);
                depends.push(Edge { from, to, tie, place });
            }
        }
    }
    (packages, depends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_one_tree_depend_by_name() {
        let manifests = [
            ("package.json", "{\"name\": \"root\", \"private\": true}"),
            (
                "packages/a/package.json",
                "{\n\"name\": \"@x/a\",\n\"dependencies\": {\n\"@x/b\": \"^1\",\n\"react\": \"1\"}}",
            ),
            ("packages/b/package.json", "{\"name\": \"@x/b\",\n\"devDependencies\": {\"@x/a\": \"*\"}}"),
            ("broken/package.json", "{"),
        ];
        let (packages, depends) =
            read(&manifests.iter().map(|(p, t)| (p.to_string(), t.to_string())).collect());
        assert_eq!(packages.len(), 3);
        assert_eq!(
            depends,
            [
                Edge { from: 1, to: 2, tie: Tie::Uses, place: Place::line("packages/a/package.json", 4) },
                Edge { from: 2, to: 1, tie: Tie::Test, place: Place::line("packages/b/package.json", 2) },
            ]
        );
    }
}
