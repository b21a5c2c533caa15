//! Which packages a tree has, in four languages, and which of its files make up what each offers to others.
//!
//! Rust: the library of every `Cargo.toml`. Python: the packages beside a manifest, else the modules there. JavaScript: the modules under a
//! `package.json`, with the documents of the declarations beside them. C: the headers under `include`, else all that do not call themselves internal. Tests, examples and other people's code
//! offer nothing. Fed file by file; never touches the disk.

use std::collections::{BTreeMap, BTreeSet};

use crate::docgen::item::{Coverage, Item, Package};
use crate::docgen::readme::Facts;
use crate::docgen::{c, crates, javascript, python, rust};
use crate::finding::{Finding, Place, Severity};
use crate::tree;

/// Below this share of documented items, in percent, a package is told.
pub const THRESHOLD: usize = 50;
/// Packages with fewer public items are not judged.
const FEW: usize = 10;

/// What was read of a tree.
#[derive(Debug, Default)]
pub struct Sources {
    root_name: String,
    rust: BTreeMap<String, rust::Module>,
    python: BTreeMap<String, String>,
    javascript: BTreeMap<String, Vec<Item>>,
    /// What `x.d.ts` documents, by `x`.
    declared: BTreeMap<String, BTreeMap<String, String>>,
    headers: BTreeMap<String, Option<Vec<Item>>>,
    manifests: BTreeMap<String, toml::Table>,
    node: BTreeMap<String, String>,
    python_roots: BTreeSet<String>,
}

impl Sources {
    /// Sources of the tree whose root folder is called `root_name`.
    pub fn of(root_name: &str) -> Self {
        Sources { root_name: root_name.into(), ..Sources::default() }
    }

    /// Whether the content of a file is wanted by [`Sources::see`].
    pub fn wants(path: &str) -> bool {
        if tree::is_foreign(path) {
            return false;
        }
        let name = tree::name(path);
        matches!(tree::extension(path).as_str(), "rs" | "py" | "js" | "mjs" | "cjs" | "h")
            || declared_stem(path).is_some()
            || matches!(name, "Cargo.toml" | "package.json" | "pyproject.toml" | "setup.cfg")
    }

    /// Takes one file into account.
    pub fn see(&mut self, path: &str, text: &str) {
        let apart = tree::is_test_data(path) || in_examples(path);
        match (tree::name(path), tree::extension(path).as_str()) {
            ("Cargo.toml", _) => {
                if let Ok(table) = toml::from_str(text) {
                    self.manifests.insert(path.into(), table);
                }
            }
            ("package.json", _) if !apart => {
                let manifest: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
                let name = manifest.get("name").and_then(serde_json::Value::as_str).unwrap_or("").to_string();
                self.node.insert(tree::parent(path).into(), name);
            }
            ("pyproject.toml" | "setup.cfg", _) if !apart => {
                self.python_roots.insert(tree::parent(path).into());
            }
            ("setup.py", _) if !apart => {
                self.python_roots.insert(tree::parent(path).into());
            }
            (_, "rs") => {
                self.rust.insert(path.into(), rust::scan(text));
            }
            (_, "py") if !apart => {
                self.python.insert(path.into(), text.into());
            }
            (_, "js" | "mjs" | "cjs") if !apart && !is_tooling(path) => {
                self.javascript.insert(path.into(), javascript::scan(text, path));
            }
            _ if let Some(stem) = declared_stem(path) => {
                self.declared.insert(stem.into(), javascript::declarations(text));
            }
            (_, "h") if !apart && !is_internal(path) => {
                self.headers.insert(path.into(), c::scan(text, path));
            }
            _ => {}
        }
    }

    /// All packages that offer something, by language and name.
    pub fn packages(&self) -> Vec<Package> {
        let mut packages = self.crates();
        packages.extend(self.python_packages());
        packages.extend(self.node_packages());
        packages.extend(self.headers());
        packages.retain(|package| !package.items.is_empty());
        packages
    }

    fn crates(&self) -> Vec<Package> {
        let mut packages = Vec::new();
        for (path, manifest) in &self.manifests {
            let Some(name) = manifest.get("package").and_then(|package| package.get("name")?.as_str()) else {
                continue;
            };
            if tree::is_test_data(path) || in_examples(path) {
                continue;
            }
            let folder = tree::parent(path);
            let library = manifest.get("lib");
            let of = |key: &str| library.and_then(|library| library.get(key)?.as_str());
            let root = tree::join(folder, of("path").unwrap_or("src/lib.rs"));
            if self.rust.contains_key(&root) {
                packages.push(crates::package(of("name").unwrap_or(name), folder, &root, &self.rust));
            }
        }
        packages
    }

    fn python_packages(&self) -> Vec<Package> {
        let mut packages: BTreeMap<String, Vec<&String>> = BTreeMap::new();
        for path in self.python.keys() {
            let root = tree::ancestors(tree::parent(path))
                .find(|folder| self.python_roots.contains(*folder))
                .unwrap_or("");
            packages.entry(root.to_string()).or_default().push(path);
        }
        let has_init = |folder: &str| self.python.contains_key(&tree::join(folder, "__init__.py"));
        let mut made = Vec::new();
        for (root, paths) in packages {
            let name = if root.is_empty() { self.root_name.clone() } else { tree::name(&root).to_string() };
            let is_package = has_init(&root);
            let in_package = |path: &str| has_init(tree::parent(path));
            let any = paths.iter().any(|path| in_package(path));
            let mut package = Package {
                name: name.clone(),
                language: "Python".into(),
                folder: root.clone(),
                ..Package::default()
            };
            for path in paths {
                let beside = matches!(tree::parent(path), parent if parent == root || parent == tree::join(&root, "src"));
                if is_python_tooling(path) || !(in_package(path) || (!any && beside)) {
                    continue;
                }
                let within = path.strip_prefix(&root).unwrap_or(path).trim_start_matches('/');
                let Some(module) = python::module_name(within) else { continue };
                let module = match (is_package, module.as_str()) {
                    (true, "__init__") => name.clone(),
                    (true, _) => format!("{name}.{module}"),
                    (false, _) => module,
                };
                package.items.extend(python::scan(&self.python[path], &module, path));
            }
            made.push(package);
        }
        made
    }

    fn node_packages(&self) -> Vec<Package> {
        let mut packages: BTreeMap<String, Package> = BTreeMap::new();
        for (path, items) in &self.javascript {
            let root = tree::ancestors(tree::parent(path))
                .find(|folder| self.node.contains_key(*folder))
                .unwrap_or("");
            let named = self.node.get(root).filter(|name| !name.is_empty());
            let package = packages.entry(root.to_string()).or_insert_with(|| Package {
                name: named.cloned().unwrap_or_else(|| self.root_name.clone()),
                language: "JavaScript".into(),
                folder: root.into(),
                ..Package::default()
            });
            let stem = path.rsplit_once('.').map_or(path.as_str(), |(stem, _)| stem);
            let declared = self.declared.get(stem);
            package.items.extend(items.iter().cloned().map(|mut item| {
                let name = item.name.strip_prefix(stem).and_then(|name| name.strip_prefix('.'));
                if item.doc.is_none() {
                    item.doc = name.and_then(|name| declared?.get(name).cloned());
                }
                item
            }));
        }
        packages.into_values().collect()
    }

    fn headers(&self) -> Option<Package> {
        let installed =
            |path: &str| tree::parent(path).split('/').any(|part| matches!(part, "include" | "inc"));
        let some = self.headers.keys().any(|path| installed(path));
        let mut package =
            Package { name: self.root_name.clone(), language: "C".into(), ..Package::default() };
        let mut foreign = 0;
        for (_, items) in self.headers.iter().filter(|(path, _)| !some || installed(path)) {
            match items {
                Some(items) => package.items.extend(items.iter().cloned()),
                None => foreign += 1,
            }
        }
        if foreign > 0 {
            package.notes.push(format!("{foreign} headers are C++ and are not listed"));
        }
        if !some && !package.items.is_empty() {
            package.notes.push("no folder says which headers are installed, so all are listed that do not call themselves internal".into());
        }
        Some(package)
    }

    /// What READMEs are held against.
    pub fn facts(&self) -> Facts {
        let mut facts = Facts { cargo: !self.manifests.is_empty(), ..Facts::default() };
        for (path, manifest) in &self.manifests {
            let folder = tree::parent(path);
            if let Some(name) = manifest.get("package").and_then(|package| package.get("name")?.as_str())
                && self.rust.contains_key(&tree::join(folder, "src/main.rs"))
            {
                facts.targets.insert(("bin", name.into()));
            }
            for kind in ["bin", "example", "test", "bench"] {
                for target in manifest.get(kind).and_then(toml::Value::as_array).into_iter().flatten() {
                    if let Some(name) = target.get("name").and_then(toml::Value::as_str) {
                        facts.targets.insert((kind, name.into()));
                    }
                }
            }
        }
        for path in self.rust.keys() {
            let main = tree::name(path) == "main.rs";
            let (folder, stem) = if main {
                (tree::parent(tree::parent(path)), tree::name(tree::parent(path)))
            } else {
                (tree::parent(path), tree::name(path).trim_end_matches(".rs"))
            };
            let kind = match tree::name(folder) {
                "bin" => "bin",
                "examples" => "example",
                "tests" => "test",
                "benches" => "bench",
                _ => continue,
            };
            facts.targets.insert((kind, stem.into()));
        }
        facts
    }
}

/// Packages that say little of themselves, one mild finding each.
pub fn judge(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        let coverage = Coverage::of(&package.items);
        if coverage.public < FEW || coverage.percent() >= THRESHOLD {
            continue;
        }
        let what = match package.language.as_str() {
            "Rust" => "public items",
            "Python" => "public names",
            "JavaScript" => "exports of its modules",
            _ => "declarations of its headers",
        };
        let worst = package.items.iter().find(|item| item.counted && item.doc.is_none());
        findings.push(Finding::new(
            "docs.coverage",
            Severity::Info,
            worst.map_or_else(|| Place::file("."), |item| Place::line(&item.file, item.line)),
            format!(
                "{} ({}): {} of {} {what} are documented ({} %); this is the first that is not",
                package.name,
                package.language,
                coverage.documented,
                coverage.public,
                coverage.percent()
            ),
            "say in a line what each is for; API.md lists those without",
        ));
    }
    findings
}

/// The path of the module that a file of declarations is about, without its extension.
fn declared_stem(path: &str) -> Option<&str> {
    [".d.ts", ".d.mts", ".d.cts"].iter().find_map(|end| path.strip_suffix(end))
}

fn in_examples(path: &str) -> bool {
    tree::parent(path).split('/').any(|part| {
        matches!(
            part.to_ascii_lowercase().as_str(),
            "example" | "examples" | "doc" | "docs" | "demo" | "demos" | "samples" | "fuzz"
        )
    })
}

/// Whether a Python file is of use to its own project alone.
fn is_python_tooling(path: &str) -> bool {
    matches!(
        tree::name(path),
        "setup.py" | "conftest.py" | "noxfile.py" | "tasks.py" | "fabfile.py" | "__main__.py"
    ) || tree::parent(path)
        .split('/')
        .any(|part| matches!(part, "scripts" | "tools" | "ci" | "build") || part.starts_with('.'))
}

/// Whether a JavaScript file configures tools, or is a product of them.
fn is_tooling(path: &str) -> bool {
    let name = tree::name(path);
    let stem = name.split('.').next().unwrap_or(name);
    name.starts_with('.')
        || name.contains(".config.")
        || name.contains(".min.")
        || name.contains(".bundle.")
        || matches!(stem, "gulpfile" | "Gruntfile" | "webpack" | "rollup" | "karma" | "jest" | "build")
        || tree::parent(path).split('/').any(|part| {
            matches!(
                part,
                "bin"
                    | "build"
                    | "coverage"
                    | "scripts"
                    | "tools"
                    | "static"
                    | "public"
                    | "assets"
                    | "website"
                    | "site"
            ) || part.starts_with('.')
        })
}

fn is_internal(path: &str) -> bool {
    let stem = tree::name(path).trim_end_matches(".h");
    matches!(stem, "config" | "internal")
        || ["_internal", "-internal", "_private", "_priv", "_p", "_impl", "_int"]
            .iter()
            .any(|end| stem.ends_with(end))
        || tree::parent(path)
            .split('/')
            .any(|part| matches!(part, "internal" | "private" | "priv" | "detail" | "impl" | "contrib"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Sources {
        let mut sources = Sources::of("house");
        for (path, text) in files {
            if Sources::wants(path) {
                sources.see(path, text);
            }
        }
        sources
    }

    fn names(files: &[(&str, &str)]) -> Vec<String> {
        let packages = sources(files).packages();
        packages
            .iter()
            .flat_map(|package| {
                package
                    .items
                    .iter()
                    .map(|item| format!("{} {} {}", package.language, package.name, item.name))
            })
            .collect()
    }

    #[test]
    fn each_language_has_its_packages() {
        let files = [
            ("a/Cargo.toml", "[package]\nname = \"a-b\"\n"),
            ("a/src/lib.rs", "pub fn f() {}\n"),
            ("a/src/main.rs", "pub fn not() {}\n"),
            ("a/examples/x.rs", "pub fn not() {}\n"),
            ("py/pyproject.toml", ""),
            ("py/src/p/__init__.py", "def g(): pass\n"),
            ("py/src/p/_own.py", "def not_(): pass\n"),
            ("py/setup.py", "def not_(): pass\n"),
            ("py/loose.py", "def not_(): pass\n"),
            ("py/tests/test_x.py", "def not_(): pass\n"),
            ("js/package.json", "{\"name\": \"@x/js\"}"),
            ("js/lib/m.js", "export function h() {}\n"),
            ("js/lib/m.test.js", "export function not() {}\n"),
            ("include/x.h", "int i(void);\n"),
            ("src/own.h", "int not(void);\n"),
        ];
        assert_eq!(
            names(&files),
            [
                "Rust a-b a_b",
                "Rust a-b a_b::f",
                "Python py p",
                "Python py p.g",
                "JavaScript @x/js js/lib/m",
                "JavaScript @x/js js/lib/m.h",
                "C house include/x.h",
                "C house i",
            ]
        );
        let facts = sources(&files).facts();
        assert!(
            facts.cargo
                && facts.targets.contains(&("bin", "a-b".into()))
                && facts.targets.contains(&("example", "x".into()))
        );
    }

    #[test]
    fn a_package_that_is_the_tree_itself_has_the_trees_name() {
        let files = [("__init__.py", "def g(): pass\n"), ("part.py", "class P: pass\n")];
        assert_eq!(
            names(&files),
            [
                "Python house house",
                "Python house house.g",
                "Python house house.part",
                "Python house house.part.P"
            ]
        );
        assert_eq!(names(&[("one.py", "def g(): pass\n")]), ["Python house one", "Python house one.g"]);
    }

    #[test]
    fn what_is_documented_in_the_declarations_beside_a_module_counts_as_documented() {
        let sources = sources(&[
            (
                "a/lib.mjs",
                "export function f() {}\n/** Own. */\nexport function g() {}\nexport class C { m() {} }\n",
            ),
            (
                "a/lib.d.mts",
                "/** Typed. */\nexport function f(): void;\n/** Not this. */\nexport function g(): void;\nexport class C {\n  /** Moves. */\n  m(): void;\n}\n",
            ),
            ("b/lib.mjs", "export function f() {}\n"),
        ]);
        let packages = sources.packages();
        let told = packages.iter().flat_map(|package| &package.items).filter(|item| item.counted);
        let told: Vec<_> = told.map(|item| (item.name.as_str(), item.doc.as_deref())).collect();
        assert_eq!(
            told,
            [
                ("a/lib.f", Some("Typed.")),
                ("a/lib.g", Some("Own.")),
                ("a/lib.C", None),
                ("a/lib.C.m", Some("Moves.")),
                ("b/lib.f", None),
            ]
        );
    }

    #[test]
    fn only_a_package_with_many_and_mostly_silent_items_is_told() {
        let package = |documented: usize| {
            let text: String = (0..12)
                .map(|n| format!("{}pub fn f{n}() {{}}\n", if n < documented { "/// D.\n" } else { "" }))
                .collect();
            sources(&[("Cargo.toml", "[package]\nname = \"x\"\n"), ("src/lib.rs", &text)]).packages()
        };
        let findings = judge(&package(2));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.contains("2 of 13 public items"), "{}", findings[0].message);
        assert!(judge(&package(8)).is_empty());
        assert!(judge(&sources(&[("a.h", "int f(void);\n")]).packages()).is_empty());
    }
}
