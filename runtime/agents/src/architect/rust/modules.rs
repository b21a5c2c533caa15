//! The modules of each crate, and which of them names which.
//!
//! From the roots of a crate its `mod` declarations lead to files; a path leads to the file of its longest beginning that is
//! a module. A `mod` alone is no use of the module. What a glob or a re-export brings in counts as a use of where it is named.

use std::collections::{BTreeMap, BTreeSet};

use super::super::graph::Tie;
use super::super::{Link, paths};
use super::crates::Crates;
use super::scan::Scan;
use crate::tree;

/// What is known of the modules of all crates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Modules {
    /// The module of each file, with its crate first: `synod_wire::frame`.
    pub names: BTreeMap<String, String>,
    /// Files that only tests, benchmarks and examples compile.
    pub tests: BTreeSet<String>,
    /// Who uses whom.
    pub links: Vec<Link>,
    /// Files below `src` that no declaration of their crate names in any way.
    pub orphans: Vec<String>,
}

/// One compilation: a root and what it declares. Modules by path from the root.
struct Unit<'a> {
    owner: usize,
    files: BTreeMap<Vec<String>, &'a str>,
}

/// How deep modules may nest, so that declarations that run in circles end.
const DEEP: usize = 32;

/// Follows the declarations of every crate and resolves the paths named.
pub fn link(crates: &Crates, scans: &BTreeMap<String, Scan>) -> Modules {
    let mut found = Modules::default();
    let mut units = Vec::new();
    let mut compiled: BTreeSet<&str> = BTreeSet::new();
    let mut product: BTreeSet<&str> = BTreeSet::new();
    for (owner, one) in crates.crates.iter().enumerate() {
        for (root, test) in &one.roots {
            let Some((root, _)) = scans.get_key_value(root) else { continue };
            let mut unit = Unit { owner, files: BTreeMap::new() };
            let stem = tree::name(root).trim_end_matches(".rs");
            let name = match (*test, stem) {
                (false, "lib") => one.library.clone(),
                (_, "main") => format!("{}::main", one.library),
                _ => format!("{}::{stem}", one.library),
            };
            // The names of a binary's modules do not clash with those of the library: the first one to name a file wins.
            let head = if stem == "main" { one.library.clone() } else { name.clone() };
            found.names.entry(root.clone()).or_insert(name);
            gather(
                &mut unit,
                scans,
                root,
                (tree::parent(root), *test),
                (Vec::new(), &head),
                &mut |file, name, test| {
                    found.names.entry(file.to_string()).or_insert(name);
                    compiled.insert(file);
                    if !test {
                        product.insert(file);
                    }
                },
            );
            units.push(unit);
        }
    }
    found.tests = compiled.difference(&product).map(|file| (*file).to_string()).collect();
    let libraries: BTreeMap<&str, usize> = units
        .iter()
        .enumerate()
        .filter(|(_, unit)| unit.files.get(&Vec::new()).is_some_and(|root| tree::name(root) == "lib.rs"))
        .map(|(at, unit)| (crates.crates[unit.owner].folder.as_str(), at))
        .collect();
    let mut seen = BTreeSet::new();
    for unit in &units {
        for (module, file) in &unit.files {
            // An inline module has the file of the module it stands in, which resolves its paths by their scope.
            let first = module.is_empty() || unit.files.get(&module[..module.len() - 1]) != Some(file);
            let Some(scan) = scans.get(*file).filter(|_| first) else { continue };
            for named in &scan.named {
                let here: Vec<String> = module.iter().chain(&named.scope).cloned().collect();
                let Some(target) = resolve(unit, &units, crates, &libraries, &here, &named.path) else {
                    continue;
                };
                let test = named.test || found.tests.contains(*file);
                let tie = if test { Tie::Test } else { Tie::Uses };
                if target != *file && seen.insert((*file, target, tie)) {
                    found.links.push(Link { from: (*file).into(), to: target.into(), tie, line: named.line });
                }
            }
        }
    }
    found.orphans = orphans(crates, scans, &compiled);
    found
}

/// Adds the module at `path`, whose text stands in `file`, and all that it declares.
fn gather<'a>(
    unit: &mut Unit<'a>,
    scans: &'a BTreeMap<String, Scan>,
    file: &'a str,
    (folder, test): (&str, bool),
    (path, head): (Vec<String>, &str),
    tell: &mut dyn FnMut(&'a str, String, bool),
) {
    if path.len() > DEEP || unit.files.contains_key(&path) {
        return;
    }
    let name = path.iter().fold(head.to_string(), |name, part| format!("{name}::{part}"));
    tell(file, name, test);
    unit.files.insert(path.clone(), file);
    let Some(scan) = scans.get(file) else { return };
    for declared in &scan.declared {
        let mut inner = path.clone();
        inner.extend(declared.scope.iter().cloned());
        let within = declared.scope.iter().fold(folder.to_string(), |folder, part| tree::join(&folder, part));
        inner.push(declared.name.clone());
        if declared.inline {
            unit.files.entry(inner).or_insert(file);
            continue;
        }
        let candidates = match &declared.path {
            // From the folder of the file, or of the inline module that it stands in.
            Some(odd) if declared.scope.is_empty() => vec![paths::resolve(tree::parent(file), odd)],
            Some(odd) => vec![paths::resolve(&within, odd)],
            None => vec![
                Some(tree::join(&within, &format!("{}.rs", declared.name))),
                Some(tree::join(&within, &format!("{}/mod.rs", declared.name))),
            ],
        };
        let there = candidates.into_iter().flatten().find_map(|path| scans.get_key_value(&path));
        let Some((next, _)) = there else { continue };
        let below = if tree::name(next) == "mod.rs" || declared.path.is_some() {
            tree::parent(next).to_string()
        } else {
            next.trim_end_matches(".rs").to_string()
        };
        gather(unit, scans, next, (&below, test || declared.test), (inner, head), tell);
    }
}

/// The file that a path named in the module `here` leads to.
fn resolve<'a>(
    unit: &Unit<'a>,
    units: &[Unit<'a>],
    crates: &Crates,
    libraries: &BTreeMap<&str, usize>,
    here: &[String],
    path: &[String],
) -> Option<&'a str> {
    let first = path.first()?.as_str();
    let mut at = here.to_vec();
    let rest = match first {
        "crate" => {
            at.clear();
            &path[1..]
        }
        "self" => &path[1..],
        "super" => {
            let up = path.iter().take_while(|part| *part == "super").count();
            at.truncate(at.len().checked_sub(up)?);
            &path[up..]
        }
        _ => {
            at.push(first.to_string());
            if !first.is_empty() && unit.files.contains_key(&at) {
                &path[1..]
            } else {
                let rest = if first.is_empty() { &path[1..] } else { path };
                let name = rest.first()?;
                let owner = &crates.crates[unit.owner];
                if owner.rooted && unit.files.contains_key(&rest[..1]) {
                    return longest(unit, Vec::new(), rest);
                }
                let folder = match owner.externs.get(name) {
                    Some(folder) => folder,
                    None if *name == owner.library => &owner.folder,
                    None => return None,
                };
                let other = &units[*libraries.get(folder.as_str())?];
                return longest(other, Vec::new(), &rest[1..]);
            }
        }
    };
    longest(unit, at, rest)
}

/// The file of the longest beginning of `rest`, below the module `at`, that is a module.
fn longest<'a>(unit: &Unit<'a>, mut at: Vec<String>, rest: &[String]) -> Option<&'a str> {
    let mut file = *unit.files.get(&at)?;
    for part in rest {
        at.push(part.clone());
        match unit.files.get(&at) {
            Some(next) => file = next,
            None => break,
        }
    }
    Some(file)
}

/// Files below a crate's `src` that nothing in the crate names: no `mod` of that name, no string that ends in it.
fn orphans(crates: &Crates, scans: &BTreeMap<String, Scan>, compiled: &BTreeSet<&str>) -> Vec<String> {
    let mut orphans = Vec::new();
    for one in crates.crates.iter().filter(|one| one.member) {
        if !one.roots.iter().any(|(root, _)| compiled.contains(root.as_str())) {
            continue;
        }
        let below = tree::join(&one.folder, "src/");
        let all = tree::join(&one.folder, "");
        let (mut modules, mut texts, mut patterns) = (BTreeSet::new(), BTreeSet::new(), false);
        for (_, scan) in scans.range(all.clone()..).take_while(|(path, _)| path.starts_with(&all)) {
            modules.extend(scan.declared.iter().map(|declared| declared.name.as_str()));
            texts.extend(scan.files.iter().map(|text| tree::name(text)));
            // A name that is put together, or a pattern, may mean any file.
            patterns |= scan.files.iter().any(|text| text.contains(['{', '*']) || text == ".rs");
        }
        for (path, _) in scans.range(below.clone()..).take_while(|(path, _)| path.starts_with(&below)) {
            if patterns || compiled.contains(path.as_str()) || tree::is_test_data(path) {
                continue;
            }
            let file = tree::name(path);
            let stem = match file {
                "mod.rs" => tree::name(tree::parent(path)),
                file => file.trim_end_matches(".rs"),
            };
            if !modules.contains(stem) && !texts.contains(file) {
                orphans.push(path.clone());
            }
        }
    }
    orphans
}

#[cfg(test)]
mod tests {
    use super::super::{crates, scan};
    use super::*;

    fn modules(manifests: &[(&str, &str)], sources: &[(&str, &str)]) -> Modules {
        let files: BTreeSet<String> = sources.iter().map(|(path, _)| path.to_string()).collect();
        let manifests = manifests.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect();
        let scans = sources.iter().map(|(path, text)| (path.to_string(), scan::scan(text))).collect();
        link(&crates::read(&manifests, &files), &scans)
    }

    fn told(modules: &Modules) -> Vec<String> {
        let tell = |link: &Link| format!("{}:{} {} {:?}", link.from, link.line, link.to, link.tie);
        modules.links.iter().map(tell).collect()
    }

    const ONE: &[(&str, &str)] = &[("Cargo.toml", "[package]\nname = \"one-two\"\n")];

    #[test]
    fn paths_lead_to_the_files_of_their_modules() {
        let found = modules(
            ONE,
            &[
                (
                    "src/lib.rs",
                    "mod a;\nmod b;\npub use b::c::Deep;\nmod inner { pub mod d; use super::a::X; }",
                ),
                ("src/a.rs", "use crate::b::{c::Deep, Shallow};\nuse crate::Top;"),
                ("src/b/mod.rs", "pub mod c;\nuse self::c::Deep;"),
                (
                    "src/b/c.rs",
                    "use super::Shallow;\nfn f() { super::super::a::g() }\n#[cfg(test)] mod tests { use crate::inner::d::Y; use super::*; }",
                ),
                ("src/inner/d.rs", ""),
                ("src/main.rs", "use one_two::a;"),
                ("tests/all.rs", "use one_two::b::c::Deep;"),
            ],
        );
        assert_eq!(
            told(&found),
            [
                "src/lib.rs:3 src/b/c.rs Uses",
                "src/lib.rs:4 src/a.rs Uses",
                "src/a.rs:1 src/b/c.rs Uses",
                "src/a.rs:1 src/b/mod.rs Uses",
                "src/a.rs:2 src/lib.rs Uses",
                "src/b/mod.rs:2 src/b/c.rs Uses",
                "src/b/c.rs:1 src/b/mod.rs Uses",
                "src/b/c.rs:2 src/a.rs Uses",
                "src/b/c.rs:3 src/inner/d.rs Test",
                "src/main.rs:1 src/a.rs Uses",
                "tests/all.rs:1 src/b/c.rs Test",
            ]
        );
        assert_eq!(found.names["src/b/c.rs"], "one_two::b::c");
        assert_eq!(found.names["src/inner/d.rs"], "one_two::inner::d");
        assert!(found.orphans.is_empty() && found.tests.contains("tests/all.rs"));
    }

    #[test]
    fn a_path_may_lead_into_another_crate_of_the_tree() {
        let found = modules(
            &[
                (
                    "a/Cargo.toml",
                    "[package]\nname = \"a\"\n[dependencies]\nbee = { path = \"../b\", package = \"b\" }\n",
                ),
                ("b/Cargo.toml", "[package]\nname = \"b\"\n"),
            ],
            &[
                ("a/src/lib.rs", "use bee::x::Y;\nuse b::x::No;\nfn f() { bee::z() }"),
                ("b/src/lib.rs", "pub mod x;"),
                ("b/src/x.rs", ""),
            ],
        );
        assert_eq!(told(&found), ["a/src/lib.rs:1 b/src/x.rs Uses", "a/src/lib.rs:3 b/src/lib.rs Uses"]);
    }

    #[test]
    fn a_file_that_nothing_names_is_an_orphan_and_one_that_is_included_is_not() {
        let found = modules(
            ONE,
            &[
                ("src/lib.rs", "mod a; include!(\"table.rs\"); cfg_if! { if #[cfg(x)] { mod odd; } }"),
                ("src/a.rs", ""),
                ("src/table.rs", ""),
                ("src/odd.rs", ""),
                ("src/lost.rs", "use crate::a;"),
                ("src/bin/tool.rs", ""),
            ],
        );
        assert_eq!(found.orphans, ["src/lost.rs"]);
    }

    #[test]
    fn declarations_that_run_in_circles_end() {
        let found = modules(ONE, &[("src/lib.rs", "#[path = \"lib.rs\"] mod again;")]);
        assert!(found.links.is_empty());
    }
}
