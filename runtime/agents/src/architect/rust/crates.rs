//! The crates of a tree and who depends on whom, from their `Cargo.toml` files alone.
//!
//! An edge is a dependency with a `path`, its own or its workspace's, that leads to another manifest of the tree: the
//! same that `cargo metadata --no-deps` tells with a path. Cargo is not called, and no feature is resolved.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::graph::{Edge, Tie};
use super::super::paths;
use crate::finding::Place;
use crate::tree;

/// A crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crate {
    /// The package's name.
    pub name: String,
    /// The name of its library in code.
    pub library: String,
    /// Its folder; empty for the root of the tree.
    pub folder: String,
    /// The files at which its compilation begins, with whether they are tests, benchmarks or examples.
    pub roots: Vec<(String, bool)>,
    /// Names that code may call other crates of the tree by, with their folders.
    pub externs: BTreeMap<String, String>,
    /// Whether a workspace of the tree names it, or it lies outside of test data.
    pub member: bool,
    /// Whether it is of edition 2015, where a `use` begins at the root of the crate.
    pub rooted: bool,
}

/// All crates of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Crates {
    /// The crates, by folder.
    pub crates: Vec<Crate>,
    /// Their dependencies on each other by index, one for each table that names one: ordinary, for the build script, or for tests.
    pub depends: Vec<Edge>,
    /// Manifests that could not be read, and why.
    pub unread: Vec<(String, String)>,
}

struct Manifest<'a> {
    folder: &'a str,
    path: &'a str,
    text: &'a str,
    table: DeTable<'a>,
}

/// Reads the manifests (text by path); `files` are the paths there are.
pub fn read(manifests: &BTreeMap<String, String>, files: &BTreeSet<String>) -> Crates {
    let mut found = Crates::default();
    let mut all = Vec::new();
    for (path, text) in manifests {
        match DeTable::parse(text) {
            Ok(table) => {
                all.push(Manifest { folder: tree::parent(path), path, text, table: table.into_inner() })
            }
            Err(error) => found.unread.push((path.clone(), error.message().to_string())),
        }
    }
    let workspaces: BTreeMap<&str, &Manifest> =
        all.iter().filter(|m| m.table.contains_key("workspace")).map(|m| (m.folder, m)).collect();
    let mut packages = Vec::new();
    for manifest in &all {
        let Some(package) = table(&manifest.table, "package") else { continue };
        let Some(name) = package.get("name").and_then(|name| name.get_ref().as_str()) else { continue };
        found.crates.push(Crate {
            name: name.to_string(),
            library: library(&manifest.table, name),
            folder: manifest.folder.to_string(),
            roots: roots(manifest, files),
            externs: BTreeMap::new(),
            rooted: package.get("edition").is_none_or(|edition| edition.get_ref().as_str() == Some("2015")),
            member: !tree::is_test_data(manifest.path)
                || workspace_of(&workspaces, manifest).is_some_and(|w| is_member(w, manifest.folder)),
        });
        packages.push(manifest);
    }
    let by_folder: BTreeMap<String, usize> =
        found.crates.iter().enumerate().map(|(at, one)| (one.folder.clone(), at)).collect();
    for (from, manifest) in packages.iter().enumerate() {
        let workspace = workspace_of(&workspaces, manifest);
        for (tie, dependencies) in dependency_tables(&manifest.table) {
            for (key, value) in dependencies {
                let Some(folder) = folder_of(key.get_ref(), value.get_ref(), manifest, workspace) else {
                    continue;
                };
                let Some(&to) = by_folder.get(&folder) else { continue };
                let line = tree::position(manifest.text, key.span().start).0;
                let place = Place::line(manifest.path, line);
                found.depends.push(Edge { from, to, tie, place });
                let renamed = match value.get_ref().get("package") {
                    Some(_) => key.get_ref().replace('-', "_"),
                    None => found.crates[to].library.clone(),
                };
                found.crates[from].externs.insert(renamed, folder);
            }
        }
    }
    found
}

fn table<'t, 'a>(of: &'t DeTable<'a>, key: &str) -> Option<&'t DeTable<'a>> {
    of.get(key).and_then(|value| value.get_ref().as_table())
}

/// The name of the library in code.
fn library(manifest: &DeTable<'_>, package: &str) -> String {
    let own = table(manifest, "lib").and_then(|lib| lib.get("name")).and_then(|name| name.get_ref().as_str());
    own.unwrap_or(package).replace('-', "_")
}

/// The workspace a manifest belongs to: the one it names, else the nearest at or above it.
fn workspace_of<'m, 'a>(
    workspaces: &BTreeMap<&str, &'m Manifest<'a>>,
    manifest: &Manifest<'_>,
) -> Option<&'m Manifest<'a>> {
    let named = table(&manifest.table, "package")
        .and_then(|package| package.get("workspace"))
        .and_then(|path| path.get_ref().as_str())
        .and_then(|path| paths::resolve(manifest.folder, path));
    match named {
        Some(folder) => workspaces.get(folder.as_str()).copied(),
        None => tree::ancestors(manifest.folder).find_map(|above| workspaces.get(above).copied()),
    }
}

/// Whether the members of a workspace name this folder.
fn is_member(workspace: &Manifest<'_>, folder: &str) -> bool {
    let listed = |key: &str| {
        let list = table(&workspace.table, "workspace")
            .and_then(|w| w.get(key))
            .and_then(|l| l.get_ref().as_array());
        list.is_some_and(|list| {
            list.iter().filter_map(|one| one.get_ref().as_str()).any(|pattern| {
                paths::resolve(workspace.folder, pattern)
                    .is_some_and(|pattern| paths::matches(&pattern, folder))
            })
        })
    };
    (workspace.folder == folder || listed("members")) && !listed("exclude")
}

type Dependencies<'t, 'a> = Vec<(Tie, &'t DeTable<'a>)>;

/// Every table of dependencies, also those for one target platform.
fn dependency_tables<'t, 'a>(manifest: &'t DeTable<'a>) -> Dependencies<'t, 'a> {
    const TABLES: [(&str, Tie); 5] = [
        ("dependencies", Tie::Uses),
        ("build-dependencies", Tie::Build),
        ("build_dependencies", Tie::Build),
        ("dev-dependencies", Tie::Test),
        ("dev_dependencies", Tie::Test),
    ];
    let targets = table(manifest, "target").into_iter().flat_map(|all| all.values());
    let targets = targets.filter_map(|target| target.get_ref().as_table());
    std::iter::once(manifest)
        .chain(targets)
        .flat_map(|of| TABLES.iter().filter_map(|(key, tie)| table(of, key).map(|found| (*tie, found))))
        .collect()
}

/// The folder within the tree that a dependency leads to, if it is one by path.
fn folder_of(
    key: &str,
    value: &DeValue<'_>,
    manifest: &Manifest<'_>,
    workspace: Option<&Manifest<'_>>,
) -> Option<String> {
    let path = |value: &DeValue<'_>, base: &str| {
        value.get("path").and_then(|path| path.get_ref().as_str()).and_then(|path| paths::resolve(base, path))
    };
    let inherited = value.get("workspace").and_then(|flag| flag.get_ref().as_bool()).unwrap_or(false);
    if !inherited {
        return path(value, manifest.folder);
    }
    let workspace = workspace?;
    let shared = table(table(&workspace.table, "workspace")?, "dependencies")?.get(key)?;
    path(shared.get_ref(), workspace.folder)
}

/// The files at which compilation begins: those the manifest names, and those cargo looks for.
fn roots(manifest: &Manifest<'_>, files: &BTreeSet<String>) -> Vec<(String, bool)> {
    let mut roots = BTreeMap::new();
    let mut root = |path: String, test: bool| {
        if files.contains(&path) {
            roots.entry(path).or_insert(test);
        }
    };
    let within = |path: &str| paths::resolve(manifest.folder, path);
    let named = |value: &Spanned<DeValue<'_>>| {
        value.get_ref().get("path").and_then(|path| path.get_ref().as_str()).and_then(within)
    };
    manifest.table.get("lib").and_then(named).into_iter().for_each(|path| root(path, false));
    for (key, test) in [("bin", false), ("test", true), ("bench", true), ("example", true)] {
        let all = manifest.table.get(key).and_then(|all| all.get_ref().as_array());
        all.into_iter().flatten().filter_map(named).for_each(|path| root(path, test));
    }
    let build = table(&manifest.table, "package")
        .and_then(|package| package.get("build"))
        .and_then(|build| build.get_ref().as_str())
        .unwrap_or("build.rs");
    for fixed in [build, "src/lib.rs", "src/main.rs"] {
        within(fixed).into_iter().for_each(|path| root(path, false));
    }
    for (folder, test) in [("src/bin", false), ("tests", true), ("benches", true), ("examples", true)] {
        let Some(folder) = within(folder) else { continue };
        let begin = format!("{folder}/");
        for path in files.range(begin.clone()..).take_while(|path| path.starts_with(&begin)) {
            let below = &path[begin.len()..];
            let direct = match below.split_once('/') {
                None => below.ends_with(".rs"),
                Some((_, file)) => file == "main.rs",
            };
            if direct {
                root(path.clone(), test);
            }
        }
    }
    roots.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree_of(manifests: &[(&str, &str)]) -> Crates {
        let manifests = manifests.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect();
        read(&manifests, &BTreeSet::new())
    }

    fn told(crates: &Crates) -> Vec<String> {
        crates
            .depends
            .iter()
            .map(|one| {
                let name = |at: usize| crates.crates[at].name.as_str();
                format!("{} -> {} {:?} {}", name(one.from), name(one.to), one.tie, one.place)
            })
            .collect()
    }

    #[test]
    fn every_way_to_name_a_path_dependency_is_an_edge() {
        let crates = tree_of(&[
            (
                "Cargo.toml",
                "[workspace]\nmembers = [\"crates/*\"]\n[workspace.dependencies]\nc = { path = \"crates/c\" }\nserde = \"1\"\n",
            ),
            (
                "crates/a/Cargo.toml",
                "[package]\nname = \"a\"\n[dependencies]\nb = { path = \"../b\" }\nserde.workspace = true\n[dependencies.c]\nworkspace = true\n",
            ),
            (
                "crates/b/Cargo.toml",
                "[package]\nname = \"b\"\n[dev-dependencies]\nsea = { path = \"../c\", package = \"c\" }\n[target.'cfg(unix)'.build-dependencies]\nc = { path = \"./../c/\" }\n",
            ),
            ("crates/c/Cargo.toml", "[package]\nname = \"c\"\n[dependencies]\nb = \"1\"\n"),
        ]);
        assert_eq!(
            told(&crates),
            [
                "a -> b Uses crates/a/Cargo.toml:4",
                "a -> c Uses crates/a/Cargo.toml:6",
                "b -> c Test crates/b/Cargo.toml:4",
                "b -> c Build crates/b/Cargo.toml:6",
            ],
            "a version from the registry is no edge, whatever its name"
        );
        assert_eq!(crates.crates[1].externs.keys().collect::<Vec<_>>(), ["c", "sea"]);
    }

    #[test]
    fn a_manifest_that_does_not_parse_is_told_and_the_others_are_read() {
        let crates = tree_of(&[("a/Cargo.toml", "[package"), ("b/Cargo.toml", "[package]\nname = \"b\"\n")]);
        assert_eq!((crates.crates.len(), crates.unread.len()), (1, 1));
    }

    #[test]
    fn what_lies_outside_of_the_tree_is_no_edge() {
        let crates = tree_of(&[(
            "Cargo.toml",
            "[package]\nname = \"a\"\n[dependencies]\nb = { path = \"../../b\" }\n",
        )]);
        assert!(crates.depends.is_empty());
    }
}
