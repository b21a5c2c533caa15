//! Which file of the tree an import leads to.
//!
//! An absolute name is looked for where Python would: beside a script, at the root of the importer's own package, then at the
//! places that projects put on the path (the root, `src`, beside a manifest). A name found nowhere is somebody else's. That
//! importing `a.b` runs `a` first is not counted: it would tie every package into a knot.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Link;
use super::super::graph::Tie;
use super::scan::Import;
use crate::tree;

/// What is known of the modules of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Modules {
    /// The dotted name of each file.
    pub names: BTreeMap<String, String>,
    /// Who imports whom.
    pub links: Vec<Link>,
    /// Relative imports that name no file of the tree: file, line, what.
    pub unresolved: Vec<(String, u32, String)>,
}

struct Files<'a> {
    all: BTreeSet<&'a str>,
    /// Every folder that holds a module.
    folders: BTreeSet<&'a str>,
    /// The name by which the tree's root is imported if it is a package itself.
    own: &'a str,
}

impl Files<'_> {
    fn is_package(&self, folder: &str) -> bool {
        ["__init__.py", "__init__.pyi"]
            .iter()
            .any(|file| self.all.contains(tree::join(folder, file).as_str()))
    }

    /// The folder that the path must hold so that a file's own package is found.
    fn base<'f>(&self, file: &'f str) -> Base<'f> {
        let folder = tree::parent(file);
        let top = tree::ancestors(folder).take_while(|above| self.is_package(above)).last();
        match top {
            None => Base::Folder(folder),
            Some("") => Base::Above,
            Some(top) => Base::Folder(tree::parent(top)),
        }
    }

    /// The file of the module with these parts below `folder`.
    fn module(&self, folder: &str, parts: &[String]) -> Option<String> {
        let path = parts.iter().fold(folder.to_string(), |path, part| tree::join(&path, part));
        ["/__init__.py", ".py", "/__init__.pyi", ".pyi"]
            .iter()
            .map(
                |end| {
                    if path.is_empty() { end.trim_start_matches('/').into() } else { format!("{path}{end}") }
                },
            )
            .find(|path| self.all.contains(path.as_str()))
    }

    /// Whether the parts name a folder of modules without an `__init__.py`.
    fn is_namespace(&self, folder: &str, parts: &[String]) -> bool {
        let path = parts.iter().fold(folder.to_string(), |path, part| tree::join(&path, part));
        self.folders.contains(path.as_str())
    }

    /// What `parts`, and `name` taken from them, lead to below `folder`.
    fn target(&self, folder: &str, parts: &[String], name: Option<&str>) -> Target {
        if let Some(name) = name.filter(|name| *name != "*") {
            let mut longer = parts.to_vec();
            longer.push(name.to_string());
            if let Some(file) = self.module(folder, &longer) {
                return Target::File(file);
            }
        }
        match self.module(folder, parts) {
            Some(file) => Target::File(file),
            None if !parts.is_empty() && self.is_namespace(folder, parts) => Target::Folder,
            None => Target::None,
        }
    }
}

enum Base<'f> {
    Folder(&'f str),
    /// The tree's root is a package: its parent would have to be on the path.
    Above,
}

enum Target {
    File(String),
    /// A namespace package: there, but no file of its own.
    Folder,
    None,
}

/// Resolves the imports of every file. `own` is the name of the folder that the tree lies in; `roots` are folders with manifests.
pub fn link(imports: &BTreeMap<String, Vec<Import>>, own: &str, roots: &BTreeSet<String>) -> Modules {
    let all: BTreeSet<&str> = imports.keys().map(String::as_str).collect();
    let folders =
        all.iter().flat_map(|file| tree::ancestors(tree::parent(file))).filter(|f| !f.is_empty()).collect();
    let files = Files { all, folders, own };
    let mut places: Vec<String> = vec![String::new(), "src".into(), "lib".into()];
    for root in roots {
        places.extend([root.clone(), tree::join(root, "src")]);
    }
    let mut found = Modules::default();
    for (file, imports) in imports {
        found.names.insert(file.clone(), name(&files, file));
        let mut seen = BTreeSet::new();
        for import in imports {
            let taken = import.name.as_deref();
            let target = if import.dots > 0 {
                match climb(tree::parent(file), import.dots - 1) {
                    Some(folder) => files.target(folder, &import.module, taken),
                    None => Target::Folder,
                }
            } else {
                absolute(&files, file, &places, &import.module, taken)
            };
            match target {
                Target::File(to) if to != *file && seen.insert((to.clone(), import.tie)) => {
                    found.links.push(Link { from: file.clone(), to, tie: import.tie, line: import.line });
                }
                Target::None if import.dots > 0 && import.tie == Tie::Uses && !import.module.is_empty() => {
                    let what = format!("{}{}", ".".repeat(import.dots), import.module.join("."));
                    found.unresolved.push((file.clone(), import.line, what));
                }
                _ => {}
            }
        }
    }
    found.unresolved.dedup();
    found
}

fn climb(folder: &str, up: usize) -> Option<&str> {
    let mut folder = folder;
    for _ in 0..up {
        if folder.is_empty() {
            return None;
        }
        folder = tree::parent(folder);
    }
    Some(folder)
}

fn absolute(
    files: &Files<'_>,
    file: &str,
    places: &[String],
    module: &[String],
    name: Option<&str>,
) -> Target {
    let base = files.base(file);
    if module.first().is_some_and(|first| first == files.own) && files.is_package("") {
        return files.target("", &module[1..], name);
    }
    // A package at the root of the tree is not on its own path: `import types` there is not its module `types`.
    let own = match base {
        Base::Folder(folder) => Some(folder),
        Base::Above => None,
    };
    let usual = places.iter().map(String::as_str).filter(|place| !files.is_package(place));
    for place in own.into_iter().chain(usual) {
        match files.target(place, module, name) {
            Target::None => {}
            target => return target,
        }
        // The first place that has the top name decides, as it does for Python.
        if files.module(place, &module[..1]).is_some() {
            return Target::None;
        }
    }
    Target::None
}

/// The dotted name of a file, as its own package would import it.
fn name(files: &Files<'_>, file: &str) -> String {
    let stem = file.strip_suffix(".pyi").or_else(|| file.strip_suffix(".py")).unwrap_or(file);
    let stem = stem.strip_suffix("/__init__").unwrap_or(stem);
    match files.base(file) {
        Base::Above if stem == "__init__" => files.own.to_string(),
        Base::Above => format!("{}.{}", files.own, stem.replace('/', ".")),
        Base::Folder(base) => {
            let below = stem.strip_prefix(base).unwrap_or(stem).trim_start_matches('/');
            // A script without a package keeps its path: its bare name would say too little.
            if files.is_package(tree::parent(file)) { below.replace('/', ".") } else { file.to_string() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::scan;
    use super::*;

    fn modules(own: &str, sources: &[(&str, &str)]) -> Modules {
        let imports = sources.iter().map(|(path, text)| (path.to_string(), scan(text))).collect();
        link(&imports, own, &BTreeSet::new())
    }

    fn told(found: &Modules) -> Vec<String> {
        found.links.iter().map(|link| format!("{}:{} {}", link.from, link.line, link.to)).collect()
    }

    #[test]
    fn relative_and_absolute_names_lead_to_files() {
        let found = modules(
            "x",
            &[
                ("src/p/__init__.py", "from .core import run\nfrom . import util\n"),
                (
                    "src/p/core.py",
                    "from p.util import x\nimport p.sub.deep\nfrom p import sub\nimport os, json\n",
                ),
                ("src/p/util.py", "from . import VERSION\n"),
                ("src/p/sub/__init__.py", ""),
                (
                    "src/p/sub/deep.py",
                    "from ..core import run\nfrom ...nowhere import a\nfrom .gone import b\n",
                ),
                ("tests/test_p.py", "import p\nfrom p.sub import deep\nimport helper\n"),
                ("tests/helper.py", ""),
                ("json.py", ""),
            ],
        );
        assert_eq!(
            told(&found),
            [
                "src/p/__init__.py:1 src/p/core.py",
                "src/p/__init__.py:2 src/p/util.py",
                "src/p/core.py:1 src/p/util.py",
                "src/p/core.py:2 src/p/sub/deep.py",
                "src/p/core.py:3 src/p/sub/__init__.py",
                "src/p/core.py:4 json.py",
                "src/p/sub/deep.py:1 src/p/core.py",
                "src/p/util.py:1 src/p/__init__.py",
                "tests/test_p.py:1 src/p/__init__.py",
                "tests/test_p.py:2 src/p/sub/deep.py",
                "tests/test_p.py:3 tests/helper.py",
            ]
        );
        assert_eq!(found.names["src/p/sub/deep.py"], "p.sub.deep");
        assert_eq!(found.names["src/p/__init__.py"], "p");
        assert_eq!(found.names["tests/helper.py"], "tests/helper.py");
        let unresolved: Vec<_> =
            found.unresolved.iter().map(|(file, line, what)| (file.as_str(), *line, what.as_str())).collect();
        assert_eq!(unresolved, [("src/p/sub/deep.py", 2, "...nowhere"), ("src/p/sub/deep.py", 3, ".gone")]);
    }

    #[test]
    fn a_tree_that_is_a_package_knows_its_own_name_and_shadows_nothing() {
        let found = modules(
            "asyncio",
            &[
                ("__init__.py", "from .events import *\n"),
                ("events.py", "import types\nimport asyncio.tasks\nfrom asyncio import types as t\n"),
                ("types.py", ""),
                ("tasks.py", "import events\n"),
            ],
        );
        assert_eq!(told(&found), ["__init__.py:1 events.py", "events.py:2 tasks.py", "events.py:3 types.py"]);
        assert_eq!(
            (found.names["__init__.py"].as_str(), found.names["tasks.py"].as_str()),
            ("asyncio", "asyncio.tasks")
        );
    }

    #[test]
    fn a_package_without_an_init_file_is_followed() {
        let found =
            modules("x", &[("ns/a.py", "from ns import b\nimport ns.c\n"), ("ns/b.py", ""), ("ns/c.py", "")]);
        assert_eq!(told(&found), ["ns/a.py:1 ns/b.py", "ns/a.py:2 ns/c.py"]);
    }
}
