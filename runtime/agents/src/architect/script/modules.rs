//! Which file of the tree a relative import leads to, by the rules of Node and of bundlers.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Link, paths};
use super::scan::Import;
use crate::tree;

/// Endings that may be left out, in the order in which they are tried.
const ENDINGS: &[&str] =
    &["", ".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs", ".d.ts", ".vue", ".svelte"];

/// What is known of the imports of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imports {
    /// Who imports whom.
    pub links: Vec<Link>,
    /// Relative imports of code that name no file of the tree: file, line, what.
    pub unresolved: Vec<(String, u32, String)>,
}

/// Resolves the imports of every file; `all` are the paths of the tree.
pub fn link(imports: &BTreeMap<String, Vec<Import>>, all: &BTreeSet<String>) -> Imports {
    let mut found = Imports::default();
    for (file, imports) in imports {
        let mut seen = BTreeSet::new();
        for import in imports.iter().filter(|import| import.name.starts_with('.')) {
            // What a bundler is told behind `?` is not part of the path.
            let name = import.name.split(['?', '#']).next().unwrap_or("");
            let Some(path) = paths::resolve(tree::parent(file), name) else { continue };
            match resolve(&path, all) {
                Some(to) if to != *file && seen.insert((to.clone(), import.tie)) => {
                    found.links.push(Link { from: file.clone(), to, tie: import.tie, line: import.line });
                }
                None => found.unresolved.push((file.clone(), import.line, import.name.clone())),
                _ => {}
            }
        }
    }
    found
}

fn resolve(path: &str, all: &BTreeSet<String>) -> Option<String> {
    let there = |path: String| all.contains(&path).then_some(path);
    let file = |path: &str| ENDINGS.iter().find_map(|end| there(format!("{path}{end}")));
    let typed = |from: &str, to: &[&str]| {
        let stem = path.strip_suffix(from)?;
        to.iter().find_map(|end| there(format!("{stem}{end}")))
    };
    file(path)
        .or_else(|| typed(".js", &[".ts", ".tsx"]))
        .or_else(|| typed(".jsx", &[".tsx"]))
        .or_else(|| typed(".mjs", &[".mts"]))
        .or_else(|| typed(".cjs", &[".cts"]))
        .or_else(|| file(&tree::join(path, "index")))
}

#[cfg(test)]
mod tests {
    use super::super::scan::scan;
    use super::*;

    #[test]
    fn endings_and_index_files_are_found_as_node_and_bundlers_do() {
        let sources = [
            (
                "src/a.ts",
                "import './b'; import './c.js'; import './d'; import '..'; import './e.css?inline'; import './gone'; import 'react';",
            ),
            ("src/b.tsx", ""),
            ("src/c.ts", ""),
            ("src/d/index.js", "require('../a')"),
            ("src/e.css", ""),
            ("index.js", ""),
        ];
        let all = sources.iter().map(|(path, _)| path.to_string()).collect();
        let found =
            link(&sources.iter().map(|(path, text)| (path.to_string(), scan(path, text))).collect(), &all);
        let told: Vec<_> = found.links.iter().map(|l| format!("{} {}", l.from, l.to)).collect();
        assert_eq!(
            told,
            [
                "src/a.ts src/b.tsx",
                "src/a.ts src/c.ts",
                "src/a.ts src/d/index.js",
                "src/a.ts index.js",
                "src/a.ts src/e.css",
                "src/d/index.js src/a.ts"
            ]
        );
        assert_eq!(found.unresolved, [("src/a.ts".to_string(), 1, "./gone".to_string())]);
    }
}
