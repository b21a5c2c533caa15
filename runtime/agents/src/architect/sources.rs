//! Reading a tree file by file, and putting together what the files say.
//!
//! Fed by whoever reads the disk; keeps what the scanners found, not the texts. Other people's code, build products and
//! minified scripts are counted and left out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::graph::{Edge, Graph, Kind, Node, Tie};
use super::knots::{self, Knot};
use super::levels;
use super::rules::{self, Layers};
use super::{Link, c, draw, fold, python, rust, script};
use crate::finding::{Finding, Place};
use crate::tree::{self, Entry, Tree};
use crate::{language, linter};

/// Lines longer than this on average are no longer written by people.
const MINIFIED: u64 = 400;

/// What is known of one source file.
#[derive(Debug, Clone)]
struct File {
    language: &'static str,
    lines: u64,
}

/// What was read of a tree so far.
#[derive(Debug, Default)]
pub struct Sources {
    own: String,
    paths: BTreeSet<String>,
    truncated: bool,
    files: BTreeMap<String, File>,
    rust: BTreeMap<String, rust::scan::Scan>,
    crates: BTreeMap<String, String>,
    python: BTreeMap<String, Vec<python::scan::Import>>,
    python_roots: BTreeSet<String>,
    c: BTreeMap<String, c::Scan>,
    script: BTreeMap<String, Vec<script::scan::Import>>,
    packages: BTreeMap<String, String>,
    layers: Option<Result<Layers, Finding>>,
    left_out: u64,
}

/// Something named that no file of the tree answers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unresolved {
    /// Where it is named.
    pub place: Place,
    /// What is named.
    pub name: String,
}

/// What a tree is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Architecture {
    /// The parts: crates and packages, or files folded to folders; what is drawn.
    pub parts: Graph,
    /// The knots among the parts.
    pub part_knots: Vec<Knot>,
    /// For each part, how high it stands above what it uses.
    pub part_levels: Vec<usize>,
    /// The crates and packages that manifests declare, with all their ties.
    pub units: Graph,
    /// The knots among them.
    pub unit_knots: Vec<Knot>,
    /// The source files.
    pub modules: Graph,
    /// The knots among the files.
    pub module_knots: Vec<Knot>,
    /// The layers that the tree declares.
    pub layers: Layers,
    /// Uses that break the declared layers: who, whom, where.
    pub breaks: Vec<Break>,
    /// Relative imports and quoted includes that name no file of the tree: generated, or from outside.
    pub unresolved: Vec<Unresolved>,
    /// Rust files below `src` that no module declaration names.
    pub orphans: Vec<String>,
    /// Headers that keep nobody from including them twice.
    pub unguarded: Vec<String>,
    /// Source files of other people, build products, minified scripts: counted, not looked at.
    pub left_out: u64,
    /// What could not be read, and why.
    pub warnings: Vec<String>,
    /// What is wrong with the declaration of layers itself.
    #[serde(skip)]
    pub layers_findings: Vec<Finding>,
}

/// A use from a lower layer to a higher one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Break {
    /// Who uses.
    pub from: String,
    /// Its layer.
    pub from_layer: String,
    /// Who is used.
    pub to: String,
    /// Its layer.
    pub to_layer: String,
    /// Where.
    pub place: Place,
}

fn is_c(language: &str) -> bool {
    matches!(language, "C" | "C++")
}

fn is_script(language: &str) -> bool {
    matches!(language, "JavaScript" | "TypeScript" | "Vue" | "Svelte")
}

/// The language of a source file whose imports are understood.
fn understood(path: &str) -> Option<&'static str> {
    // Templates that a header takes in have no language of their own.
    if matches!(tree::extension(path).as_str(), "inl" | "inc" | "ipp" | "tpp" | "tcc" | "txx") {
        return Some("C++");
    }
    let language = language::of(path, b"")?.name;
    (matches!(language, "Rust" | "Python") || is_c(language) || is_script(language)).then_some(language)
}

impl Sources {
    /// Starts from the list of entries. `own` is the name of the folder that the tree lies in.
    pub fn begin(tree: &Tree, own: &str) -> Self {
        let paths = tree.files().map(|entry| entry.path.clone()).collect();
        Sources { own: own.into(), paths, truncated: tree.truncated, ..Sources::default() }
    }

    /// Whether the content of a file is wanted by [`Sources::file`].
    pub fn wants(entry: &Entry) -> bool {
        let name = tree::name(&entry.path);
        entry.kind == tree::Kind::File
            && (understood(&entry.path).is_some()
                || matches!(
                    name,
                    "Cargo.toml" | "package.json" | "pyproject.toml" | "setup.py" | "setup.cfg"
                )
                || entry.path == rules::FILE)
    }

    /// Takes one file's content into account.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        let understood = understood(path);
        if tree::is_foreign(path) {
            self.left_out += u64::from(understood.is_some());
            return;
        }
        if linter::is_binary(content) {
            return;
        }
        let text = String::from_utf8_lossy(content);
        match tree::name(path) {
            "Cargo.toml" => {
                self.crates.insert(path.into(), text.into_owned());
                return;
            }
            "package.json" => {
                self.packages.insert(path.into(), text.into_owned());
                return;
            }
            "pyproject.toml" | "setup.cfg" | "setup.py" => {
                self.python_roots.insert(tree::parent(path).into());
            }
            _ => {}
        }
        if path == rules::FILE {
            self.layers = Layers::parse(&text);
        }
        let Some(language) = understood else { return };
        let lines = text.lines().count() as u64;
        if is_script(language)
            && (tree::name(path).contains(".min.") || text.len() as u64 / lines.max(1) > MINIFIED)
        {
            self.left_out += 1;
            return;
        }
        self.files.insert(path.into(), File { language, lines });
        match language {
            "Rust" => drop(self.rust.insert(path.into(), rust::scan::scan(&text))),
            "Python" => drop(self.python.insert(path.into(), python::scan::scan(&text))),
            _ if is_c(language) => drop(self.c.insert(path.into(), c::scan(&text))),
            _ => drop(self.script.insert(path.into(), script::scan::scan(path, &text))),
        }
    }

    /// How many source files were taken into account.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is no source file.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Puts it all together.
    pub fn finish(self) -> Architecture {
        let crates = rust::crates::read(&self.crates, &self.paths);
        let rust = rust::modules::link(&crates, &self.rust);
        let python = python::modules::link(&self.python, &self.own, &self.python_roots);
        let c = c::link(&self.c);
        let script = script::modules::link(&self.script, &self.paths);

        // The files.
        let index: BTreeMap<&str, usize> =
            self.files.keys().enumerate().map(|(at, path)| (path.as_str(), at)).collect();
        let nodes = self
            .files
            .iter()
            .map(|(path, file)| Node {
                name: rust.names.get(path).or_else(|| python.names.get(path)).unwrap_or(path).clone(),
                kind: Kind::Module,
                language: file.language.into(),
                path: path.clone(),
                files: 1,
                lines: file.lines,
                test: tree::is_test_data(path) || rust.tests.contains(path),
            })
            .collect();
        let links = [&rust.links, &python.links, &c.links, &script.links].into_iter().flatten();
        let edges = links.filter_map(|link| edge(&index, link)).collect();
        let modules = Graph::new(nodes, edges);

        // The parts.
        let (units, depends) = self.units(&crates);
        let parts = self.parts(&modules, units, depends);
        let (layers, layers_findings) = match self.layers {
            Some(Ok(layers)) => (layers, Vec::new()),
            Some(Err(finding)) => (Layers::default(), vec![finding]),
            None => (Layers::default(), Vec::new()),
        };
        let breaks = breaks(&layers, &modules, &parts.units);
        let unresolved = [&python.unresolved, &c.unresolved, &script.unresolved].into_iter().flatten();
        let unguarded =
            self.c.iter().filter(|(path, scan)| !scan.guarded && tree::extension(path).starts_with('h'));
        Architecture {
            part_knots: knots::knots(&parts.drawn.targets(|edge| edge.tie.binds())),
            part_levels: levels::levels(&parts.drawn.targets(|edge| edge.tie.binds())),
            parts: parts.drawn,
            unit_knots: knots::knots(&parts.units.targets(|edge| edge.tie.binds())),
            units: parts.units,
            module_knots: knots::knots(&modules.targets(|edge| edge.tie.binds())),
            modules,
            layers,
            breaks,
            unresolved: unresolved
                .map(|(path, line, name)| Unresolved { place: Place::line(path, *line), name: name.clone() })
                .collect(),
            orphans: if self.truncated { Vec::new() } else { rust.orphans },
            unguarded: unguarded.map(|(path, _)| path.clone()).collect(),
            left_out: self.left_out,
            warnings: crates
                .unread
                .iter()
                .map(|(path, why)| format!("{path} could not be read: {why}"))
                .collect(),
            layers_findings,
        }
    }

    /// The declared units, crates and packages, with their dependencies on each other.
    fn units(&self, crates: &rust::crates::Crates) -> (Vec<Node>, Vec<Edge>) {
        let mut units = Vec::new();
        let mut depends = crates.depends.clone();
        let unit = |name: &str, kind, language: &str, folder: &str, test| Node {
            name: name.into(),
            kind,
            language: language.into(),
            path: folder.into(),
            files: 0,
            lines: 0,
            test,
        };
        for one in &crates.crates {
            units.push(unit(&one.name, Kind::Crate, "Rust", &one.folder, !one.member));
        }
        let (packages, between) = script::packages::read(&self.packages);
        let base = units.len();
        for one in &packages {
            let manifest = tree::join(&one.folder, "package.json");
            units.push(unit(
                &one.name,
                Kind::Package,
                "JavaScript",
                &one.folder,
                tree::is_test_data(&manifest),
            ));
        }
        let shifted = |edge: Edge| Edge { from: base + edge.from, to: base + edge.to, ..edge };
        depends.extend(between.into_iter().map(shifted));
        (units, depends)
    }

    /// What is drawn: the units if there are several, and all files that belong to none, folded as far as needed.
    fn parts(&self, modules: &Graph, mut units: Vec<Node>, depends: Vec<Edge>) -> Parts {
        let count =
            |kind: Kind, units: &[Node]| units.iter().filter(|unit| unit.kind == kind && !unit.test).count();
        // A single crate or package is the tree itself: its modules say more.
        let kinds: Vec<Kind> =
            [Kind::Crate, Kind::Package].into_iter().filter(|kind| count(*kind, &units) > 1).collect();
        let owner = |node: &Node| {
            let kind = match node.language.as_str() {
                "Rust" => Kind::Crate,
                language if is_script(language) => Kind::Package,
                _ => return None,
            };
            // The innermost folder decides.
            let below = |unit: &Node| {
                unit.path.is_empty()
                    || node.path.strip_prefix(&unit.path).is_some_and(|rest| rest.starts_with('/'))
            };
            let fits = units.iter().enumerate().filter(|(_, unit)| unit.kind == kind && below(unit));
            fits.max_by_key(|(_, unit)| unit.path.len()).map(|(at, _)| at)
        };
        let owners: Vec<Option<usize>> = modules.nodes.iter().map(owner).collect();
        for (node, owner) in modules.nodes.iter().zip(&owners) {
            if let Some(owner) = owner {
                units[*owner].files += 1;
                units[*owner].lines += node.lines;
            }
        }
        let units = Graph::new(units, depends);

        let mut fine: Vec<Node> = Vec::new();
        let mut of_unit = vec![usize::MAX; units.nodes.len()];
        for (at, unit) in units.nodes.iter().enumerate() {
            // A package without sources of its own only ties others together.
            if kinds.contains(&unit.kind) && !unit.test && unit.files > 0 {
                of_unit[at] = fine.len();
                fine.push(unit.clone());
            }
        }
        let mut of_module = vec![usize::MAX; modules.nodes.len()];
        let mut stems: BTreeMap<(String, bool), usize> = BTreeMap::new();
        for (at, node) in modules.nodes.iter().enumerate().filter(|(_, node)| !node.test) {
            if let Some(owner) = owners[at].filter(|owner| kinds.contains(&units.nodes[*owner].kind)) {
                of_module[at] = of_unit[owner];
                continue;
            }
            // What lies in the folder of a unit is part of it, whatever its language.
            let within = units.nodes.iter().enumerate().filter(|(unit, one)| {
                let below = !one.path.is_empty() && node.path.starts_with(&format!("{}/", one.path));
                below && of_unit[*unit] != usize::MAX
            });
            if let Some((unit, _)) = within.max_by_key(|(_, one)| one.path.len()) {
                of_module[at] = of_unit[unit];
                continue;
            }
            // A source and its header are one part.
            let stem = node.path.rfind('.').map_or(node.path.as_str(), |dot| &node.path[..dot]);
            let key =
                if is_c(&node.language) { (stem.to_string(), true) } else { (node.path.clone(), false) };
            match stems.get(&key) {
                Some(&known) => {
                    let known_node: &mut Node = &mut fine[known];
                    known_node.files += 1;
                    known_node.lines += node.lines;
                    known_node.name = key.0;
                    of_module[at] = known;
                }
                None => {
                    of_module[at] = fine.len();
                    stems.insert(key, fine.len());
                    fine.push(node.clone());
                }
            }
        }
        // Between units their manifests tell; everything else is told by the files.
        let between_units = units.edges.iter().map(|edge| Edge {
            from: of_unit[edge.from],
            to: of_unit[edge.to],
            ..edge.clone()
        });
        let between_files = modules
            .edges
            .iter()
            .filter(|edge| owners[edge.from].is_none() || owners[edge.from] == owners[edge.to])
            .map(|edge| Edge { from: of_module[edge.from], to: of_module[edge.to], ..edge.clone() });
        let edges: Vec<Edge> = between_units.chain(between_files).collect();
        let fine = Graph::new(fine, edges);
        // Many arrows between few boxes are as hard to read as many boxes: then larger folders stand for more.
        let mut drawn = fold::fold(&fine, draw::READABLE).0;
        for limit in [40, 28, 20, 14] {
            if draw::arrows(&drawn) <= draw::CLEAR {
                break;
            }
            let fewer = fold::fold(&fine, limit).0;
            // A folder with more in it than the bound stays shut: a tangle says more than one box.
            if fewer.nodes.len() < limit / 2 {
                break;
            }
            drawn = fewer;
        }
        Parts { drawn, units }
    }
}

struct Parts {
    drawn: Graph,
    units: Graph,
}

fn edge(index: &BTreeMap<&str, usize>, link: &Link) -> Option<Edge> {
    let (from, to) = (*index.get(link.from.as_str())?, *index.get(link.to.as_str())?);
    // What a test uses, it uses for the test.
    let test = tree::is_test_data(&link.from) && link.tie != Tie::Types;
    let tie = if test { Tie::Test } else { link.tie };
    Some(Edge { from, to, tie, place: Place::line(link.from.as_str(), link.line) })
}

fn breaks(layers: &Layers, modules: &Graph, units: &Graph) -> Vec<Break> {
    let mut found: Vec<Break> = Vec::new();
    for graph in [units, modules] {
        for edge in layers.breaks(graph) {
            let name = |at: usize| {
                let node = &graph.nodes[at];
                let layer = layers.of(&node.path).and_then(|layer| layers.layers.get(layer));
                (node.name.clone(), layer.map_or(String::new(), |layer| layer.name.clone()))
            };
            let ((from, from_layer), (to, to_layer)) = (name(edge.from), name(edge.to));
            found.push(Break { from, from_layer, to, to_layer, place: edge.place.clone() });
        }
    }
    found
}
