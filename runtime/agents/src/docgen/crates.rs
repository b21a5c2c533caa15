//! The public items of one Rust crate: files put together along their `mod` lines, re-exports followed within the crate.
//!
//! As in rustdoc, an item stands where it is declared if that place is public, else where it is first re-exported; further
//! re-exports, and those of other crates, are one line each. A name that cannot be resolved counts as another crate's.

use std::collections::{BTreeMap, BTreeSet};

use crate::docgen::item::{Item, Kind, Package};
use crate::docgen::rust::{Declaration, Member, Module, Use};
use crate::tree;

/// How deep modules and chains of re-exports are followed.
const DEPTH_MAX: usize = 64;

/// Makes the reference of the crate `name` in `folder`, whose root file is `root`. `files` holds all Rust files of the tree.
pub fn package(name: &str, folder: &str, root: &str, files: &BTreeMap<String, Module>) -> Package {
    let mut package =
        Package { name: name.into(), language: "Rust".into(), folder: folder.into(), ..Package::default() };
    let Some(module) = files.get(root) else {
        package.notes.push(format!("{root} was not read"));
        return package;
    };
    let mut krate = Crate { nodes: Vec::new(), notes: Vec::new() };
    krate.add(module, root, None, tree::parent(root).to_string(), files, 0);
    let calls: usize = krate.nodes.iter().map(|node| node.module.calls).sum();
    if calls > 0 {
        krate.notes.push(format!("what {calls} macro calls between items make is not listed"));
    }
    let mut writer = Writer::new(&krate);
    writer.name_public_modules(0, name.replace('-', "_"), 0);
    for (n, name) in writer.order.clone() {
        writer.module(n, &name, true);
    }
    writer.macros(&name.replace('-', "_"));
    package.items = once(writer.items);
    package.notes = krate.notes;
    package
}

/// Keeps the first of items with one name and kind, with the documentation of whichever has some: variants for other platforms.
pub fn once(items: Vec<Item>) -> Vec<Item> {
    let mut places: BTreeMap<(String, Kind), usize> = BTreeMap::new();
    let mut kept: Vec<Item> = Vec::with_capacity(items.len());
    for item in items {
        match places.get(&(item.name.clone(), item.kind)) {
            Some(first) if kept[*first].doc.is_none() => kept[*first].doc = item.doc,
            Some(_) => {}
            None => {
                places.insert((item.name.clone(), item.kind), kept.len());
                kept.push(item);
            }
        }
    }
    kept
}

struct Node<'m> {
    module: &'m Module,
    file: String,
    parent: Option<usize>,
    children: BTreeMap<String, usize>,
}

struct Crate<'m> {
    nodes: Vec<Node<'m>>,
    notes: Vec<String>,
}

/// What a path leads to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Module(usize),
    Item(usize, usize),
}

impl<'m> Crate<'m> {
    /// Adds a module and those below it. `folder` is where the files of its child modules are.
    fn add(
        &mut self,
        module: &'m Module,
        file: &str,
        parent: Option<usize>,
        folder: String,
        files: &'m BTreeMap<String, Module>,
        depth: usize,
    ) -> usize {
        let here = self.nodes.len();
        self.nodes.push(Node { module, file: file.into(), parent, children: BTreeMap::new() });
        for item in module.items.iter().filter(|item| item.kind == Kind::Module) {
            if depth > DEPTH_MAX {
                self.notes.push(format!("modules below {file} nest too deep to be followed"));
                break;
            }
            let below = tree::join(&folder, &item.name);
            let child = if let Some(body) = &item.body {
                self.add(body, file, Some(here), below, files, depth + 1)
            } else {
                let candidates = match &item.path {
                    Some(path) => tree::resolve(tree::parent(file), path).into_iter().collect(),
                    None => vec![format!("{below}.rs"), format!("{below}/mod.rs")],
                };
                let Some((path, module)) = candidates.iter().find_map(|path| files.get_key_value(path))
                else {
                    self.notes
                        .push(format!("module {} ({file}:{}) has no file in the tree", item.name, item.line));
                    continue;
                };
                let own = tree::name(path) == "mod.rs" || item.path.is_some();
                let folder = if own { tree::parent(path).to_string() } else { below };
                self.add(module, path, Some(here), folder, files, depth + 1)
            };
            // Two modules of one name are for two platforms: the first stands for both.
            self.nodes[here].children.entry(item.name.clone()).or_insert(child);
        }
        here
    }

    fn item(&self, node: usize, item: usize) -> &'m Declaration {
        &self.nodes[node].module.items[item]
    }

    /// Where `path` leads from module `at`; none if it leaves the crate.
    fn follow(&self, at: usize, path: &[String], seen: &mut BTreeSet<(usize, String)>) -> Option<Target> {
        let (first, mut rest) = path.split_first()?;
        let mut here = match first.as_str() {
            "crate" | "$crate" => Target::Module(0),
            "self" => Target::Module(at),
            "super" => Target::Module(self.nodes[at].parent?),
            name => self.find(at, name, seen)?,
        };
        while let Some((next, after)) = rest.split_first() {
            here = match (here, next.as_str()) {
                (Target::Module(n), "self") => Target::Module(n),
                (Target::Module(n), "super") => Target::Module(self.nodes[n].parent?),
                (Target::Module(n), name) => self.find(n, name, seen)?,
                (Target::Item(..), _) => return None,
            };
            rest = after;
        }
        Some(here)
    }

    /// What `name` means in module `at`: declared there, brought in by name, or by a glob.
    fn find(&self, at: usize, name: &str, seen: &mut BTreeSet<(usize, String)>) -> Option<Target> {
        if !seen.insert((at, name.to_string())) || seen.len() > 10_000 {
            return None;
        }
        let node = &self.nodes[at];
        if let Some(child) = node.children.get(name) {
            return Some(Target::Module(*child));
        }
        if let Some(n) =
            node.module.items.iter().position(|item| item.name == name && item.kind != Kind::Module)
        {
            return Some(Target::Item(at, n));
        }
        let named =
            node.module.uses.iter().find(|one| one.name == name && one.path.last().is_some_and(|l| l != "*"));
        if let Some(one) = named {
            // `use name::…` as the way to `name` itself would look for itself.
            return self.follow(at, &one.path, seen);
        }
        node.module.uses.iter().filter(|one| one.name == "*").find_map(|glob| {
            let (_, path) = glob.path.split_last()?;
            match self.follow(at, path, seen)? {
                Target::Module(n) => self.find(n, name, seen),
                Target::Item(..) => None,
            }
        })
    }

    fn target(&self, at: usize, path: &[String]) -> Option<Target> {
        self.follow(at, path, &mut BTreeSet::new())
    }

    /// Methods by the item they belong to.
    fn methods(&self) -> BTreeMap<(usize, usize), Vec<(usize, &'m Member)>> {
        let mut by_name: BTreeMap<&str, Vec<(usize, usize)>> = BTreeMap::new();
        for (n, node) in self.nodes.iter().enumerate() {
            for (i, item) in node.module.items.iter().enumerate() {
                if matches!(item.kind, Kind::Struct | Kind::Enum | Kind::Union | Kind::Type | Kind::Trait) {
                    by_name.entry(item.name.as_str()).or_default().push((n, i));
                }
            }
        }
        let mut methods: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (n, node) in self.nodes.iter().enumerate() {
            for (of, member) in &node.module.methods {
                let found = self.find(n, of, &mut BTreeSet::new());
                let owner = match found {
                    Some(Target::Item(node, item)) => Some((node, item)),
                    _ => by_name.get(of.as_str()).filter(|all| all.len() == 1).map(|all| all[0]),
                };
                if let Some(owner) = owner {
                    methods.entry(owner).or_default().push((n, member));
                }
            }
        }
        methods
    }
}

struct Writer<'c, 'm> {
    krate: &'c Crate<'m>,
    methods: BTreeMap<(usize, usize), Vec<(usize, &'m Member)>>,
    /// Modules that are public where they stand, with their names.
    public: BTreeMap<usize, String>,
    order: Vec<(usize, String)>,
    told: BTreeSet<Target>,
    items: Vec<Item>,
}

impl<'c, 'm> Writer<'c, 'm> {
    fn new(krate: &'c Crate<'m>) -> Self {
        Writer {
            krate,
            methods: krate.methods(),
            public: BTreeMap::new(),
            order: Vec::new(),
            told: BTreeSet::new(),
            items: Vec::new(),
        }
    }

    fn name_public_modules(&mut self, node: usize, name: String, depth: usize) {
        self.public.insert(node, name.clone());
        self.order.push((node, name.clone()));
        if depth > DEPTH_MAX {
            return;
        }
        let krate = self.krate;
        for item in
            krate.nodes[node].module.items.iter().filter(|item| item.kind == Kind::Module && item.public)
        {
            if let Some(child) = krate.nodes[node].children.get(&item.name)
                && !self.public.contains_key(child)
            {
                self.name_public_modules(*child, format!("{name}::{}", item.name), depth + 1);
            }
        }
    }

    /// Lists a module under `name` with what it declares and hands on.
    fn module(&mut self, n: usize, name: &str, own: bool) {
        let node = &self.krate.nodes[n];
        let declared = node.parent.and_then(|parent| {
            let short = self.krate.nodes[parent].children.iter().find(|(_, child)| **child == n)?.0;
            let all = &self.krate.nodes[parent].module.items;
            let item = all.iter().find(|item| item.kind == Kind::Module && item.name == *short)?;
            Some((item, &self.krate.nodes[parent].file))
        });
        let outer = declared.and_then(|(item, _)| item.doc.clone());
        let inline = declared.filter(|(item, _)| item.body.is_some()).map_or(1, |(item, _)| item.line);
        self.items.push(Item {
            kind: Kind::Module,
            name: name.into(),
            signature: if node.parent.is_none() {
                format!("crate {name}")
            } else {
                format!("pub mod {}", last(name))
            },
            file: node.file.clone(),
            line: inline,
            doc: node.module.doc.clone().or(outer),
            counted: true,
        });
        self.told.insert(Target::Module(n));
        let mut globs = BTreeSet::new();
        self.contents(n, name, own, &mut globs, 0);
    }

    fn contents(&mut self, n: usize, name: &str, own: bool, globs: &mut BTreeSet<usize>, depth: usize) {
        if !globs.insert(n) || depth > DEPTH_MAX {
            return;
        }
        let krate = self.krate;
        let node = &krate.nodes[n];
        for (i, item) in node.module.items.iter().enumerate() {
            let is_own_macro = item.kind == Kind::Macro && !item.public;
            if item.public && item.kind != Kind::Module && !is_own_macro {
                self.item(n, i, name, &item.name);
            }
            // A public module within a private one is public where the private one is re-exported.
            if item.public
                && item.kind == Kind::Module
                && !own
                && let Some(child) = node.children.get(&item.name)
                && !self.told.contains(&Target::Module(*child))
            {
                self.module(*child, &format!("{name}::{}", item.name), false);
            }
        }
        for one in node.module.uses.iter().filter(|one| one.public) {
            self.reexport(n, one, name, globs, depth);
        }
    }

    fn reexport(&mut self, n: usize, one: &'m Use, name: &str, globs: &mut BTreeSet<usize>, depth: usize) {
        let glob = one.path.last().is_some_and(|last| last == "*");
        let path = if glob { &one.path[..one.path.len() - 1] } else { &one.path[..] };
        match self.krate.target(n, path) {
            Some(Target::Module(to)) if glob && !self.public.contains_key(&to) => {
                self.contents(to, name, false, globs, depth + 1);
            }
            Some(Target::Module(to))
                if !glob && !self.told.contains(&Target::Module(to)) && !self.public.contains_key(&to) =>
            {
                self.module(to, &format!("{name}::{}", one.name), false);
            }
            Some(Target::Item(to, i)) if !glob => {
                let item = self.krate.item(to, i);
                // Handed on from a public module that has it from a private one: it stands there.
                let through = path.split_last().and_then(|(_, above)| self.krate.target(n, above));
                if let Some(Target::Module(through)) = through
                    && through != n
                    && through != to
                    && self.public.contains_key(&through)
                {
                    self.line(n, one, name);
                    return;
                }
                if self.public.contains_key(&to) && item.public || self.told.contains(&Target::Item(to, i)) {
                    self.line(n, one, name);
                } else if item.public {
                    self.item(to, i, name, &one.name);
                }
            }
            _ => self.line(n, one, name),
        }
    }

    /// One line for something that is listed elsewhere, or nowhere here.
    fn line(&mut self, n: usize, one: &Use, name: &str) {
        let path = one.path.join("::");
        let renamed = one.name != "*" && one.path.last() != Some(&one.name);
        let alias = if renamed { format!(" as {}", one.name) } else { String::new() };
        let short = if one.name == "*" { path.clone() } else { one.name.clone() };
        self.items.push(Item {
            kind: Kind::Reexport,
            name: format!("{name}::{short}"),
            signature: format!("pub use {path}{alias}"),
            file: self.krate.nodes[n].file.clone(),
            line: one.line,
            doc: None,
            counted: false,
        });
    }

    fn item(&mut self, n: usize, i: usize, prefix: &str, short: &str) {
        self.told.insert(Target::Item(n, i));
        let item = self.krate.item(n, i);
        let file = &self.krate.nodes[n].file;
        let name = format!("{prefix}::{short}");
        self.items.push(Item {
            kind: item.kind,
            name: name.clone(),
            signature: item.signature.clone(),
            file: file.clone(),
            line: item.line,
            doc: item.doc.clone(),
            counted: true,
        });
        let members = item.members.iter().map(|member| (n, member));
        let methods = self.methods.get(&(n, i)).into_iter().flatten().copied();
        let parts: Vec<Item> = members
            .chain(methods)
            .map(|(node, member)| Item {
                kind: member.kind,
                name: format!("{name}::{}", member.name),
                signature: member.signature.clone(),
                file: self.krate.nodes[node].file.clone(),
                line: member.line,
                doc: member.doc.clone(),
                counted: true,
            })
            .collect();
        self.items.extend(parts);
    }

    /// Exported macros stand at the root, wherever they are declared.
    fn macros(&mut self, name: &str) {
        for node in &self.krate.nodes {
            for item in node.module.items.iter().filter(|item| item.kind == Kind::Macro && item.exported) {
                self.items.push(Item {
                    kind: Kind::Macro,
                    name: format!("{name}::{}!", item.name),
                    signature: item.signature.clone(),
                    file: node.file.clone(),
                    line: item.line,
                    doc: item.doc.clone(),
                    counted: true,
                });
            }
        }
    }
}

fn last(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docgen::item::Coverage;
    use crate::docgen::rust;

    fn krate(files: &[(&str, &str)]) -> Package {
        let files = files.iter().map(|(path, text)| (path.to_string(), rust::scan(text))).collect();
        package("my-house", "", "src/lib.rs", &files)
    }

    fn listed(package: &Package) -> Vec<String> {
        package
            .items
            .iter()
            .map(|item| format!("{} {} {}:{}", item.kind.word(), item.name, item.file, item.line))
            .collect()
    }

    #[test]
    fn files_are_followed_and_reexports_resolved() {
        let package = krate(&[
            (
                "src/lib.rs",
                "//! A house.\npub mod open;\nmod shut;\nmod other;\npub use shut::{Key, inner::Deep as Deeper};\npub use other::*;\npub use open::Door as Gate;\npub use std::fmt;\nfn own() {}\n",
            ),
            ("src/open.rs", "pub struct Door;\nimpl Door { pub fn push(&self) {} }\npub mod far;\n"),
            ("src/open/far.rs", "//! Far.\npub fn away() {}\n"),
            (
                "src/shut/mod.rs",
                "/// Turns.\npub struct Key { pub teeth: u8 }\npub mod inner;\npub fn unseen() {}\n#[macro_export]\nmacro_rules! lock { () => {} }",
            ),
            (
                "src/shut/inner.rs",
                "pub struct Deep;\nuse super::Key;\nimpl Key { /// Turns it.\n pub fn turn() {} }\n",
            ),
            (
                "src/other.rs",
                "use crate::open::*;\npub enum All { A }\npub(crate) fn not() {}\nimpl Door { pub fn pull() {} }\n",
            ),
        ]);
        assert_eq!(
            listed(&package),
            [
                "module my_house src/lib.rs:1",
                "struct my_house::Key src/shut/mod.rs:2",
                "field my_house::Key::teeth src/shut/mod.rs:2",
                "method my_house::Key::turn src/shut/inner.rs:4",
                "struct my_house::Deeper src/shut/inner.rs:1",
                "enum my_house::All src/other.rs:2",
                "variant my_house::All::A src/other.rs:2",
                "re-export my_house::Gate src/lib.rs:7",
                "re-export my_house::fmt src/lib.rs:8",
                "module my_house::open src/open.rs:1",
                "struct my_house::open::Door src/open.rs:1",
                "method my_house::open::Door::push src/open.rs:2",
                "method my_house::open::Door::pull src/other.rs:4",
                "module my_house::open::far src/open/far.rs:1",
                "function my_house::open::far::away src/open/far.rs:2",
                "macro my_house::lock! src/shut/mod.rs:6",
            ]
        );
        assert_eq!(Coverage::of(&package.items), Coverage { documented: 4, public: 14 });
    }

    #[test]
    fn an_item_stands_in_the_public_module_that_hands_it_on_first() {
        let package = krate(&[
            ("src/lib.rs", "pub mod buf;\npub use crate::buf::Buf;\n"),
            ("src/buf/mod.rs", "mod inner;\npub use self::inner::Buf;\n"),
            ("src/buf/inner.rs", "pub trait Buf { fn chunk(&self); }\n"),
        ]);
        let names: Vec<_> =
            package.items.iter().map(|item| format!("{} {}", item.kind.word(), item.name)).collect();
        assert_eq!(
            names,
            [
                "module my_house",
                "re-export my_house::Buf",
                "module my_house::buf",
                "trait my_house::buf::Buf",
                "method my_house::buf::Buf::chunk",
            ]
        );
    }

    #[test]
    fn circles_of_modules_and_globs_come_to_an_end() {
        let package = krate(&[
            ("src/lib.rs", "mod a; mod b;\npub use a::*; pub use crate::b::*; pub use self::lib::*;\n"),
            ("src/a.rs", "pub use super::b::*; pub use super::*; pub fn one() {}"),
            ("src/b.rs", "pub use crate::a::*; pub fn two() {} mod gone;"),
        ]);
        let names: Vec<_> = package
            .items
            .iter()
            .filter(|item| item.kind == Kind::Function)
            .map(|item| item.name.as_str())
            .collect();
        assert_eq!(names, ["my_house::one", "my_house::two"]);
        assert_eq!(package.notes, ["module gone (src/b.rs:1) has no file in the tree"]);
    }

    #[test]
    fn variants_of_one_item_for_two_platforms_are_one() {
        let package = krate(&[(
            "src/lib.rs",
            "#[cfg(unix)]\npub fn f() {}\n#[cfg(windows)]\n/// Does.\npub fn f() {}\n",
        )]);
        assert_eq!(package.items.len(), 2);
        assert_eq!(package.items[1].doc.as_deref(), Some("Does."));
    }
}
