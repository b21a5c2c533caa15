//! `API.md`: every public item of every package, with its place and the first line of what is said of it.
//!
//! Links are within the document and hold: they lead to the anchors of its own headings.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::docgen::item::{Coverage, Item, Kind, Package};
use crate::docgen::markdown::{Anchors, code, plain};

/// Writes the reference.
pub fn reference(packages: &[Package]) -> String {
    let all = Coverage::of(packages.iter().flat_map(|package| &package.items));
    let mut out = String::from("# API reference\n");
    if packages.is_empty() {
        out.push_str("\nThis tree offers nothing to other programs that could be listed: no library of Rust, Python, JavaScript or C.\n");
        return out;
    }
    let _ = write!(
        out,
        "\nRead from the sources, without building or running them. {} of {} public items are documented ({} %). Conditional parts count as there; what macros or programs make is not listed.\n",
        all.documented,
        all.public,
        all.percent()
    );
    let mut anchors = Anchors::default();
    anchors.next("API reference");
    anchors.next("Contents");
    let mut contents = String::from("\n## Contents\n\n");
    let mut body = String::new();
    for package in packages {
        let title = format!("{} ({})", package.name, package.language);
        let coverage = Coverage::of(&package.items);
        let _ = writeln!(
            contents,
            "- [{}](#{}): {} items, {} % documented",
            plain(&title),
            anchors.next(&title),
            package.items.len(),
            coverage.percent()
        );
        let folder = if package.folder.is_empty() { "." } else { &package.folder };
        let _ = write!(
            body,
            "\n## {}\n\nIn {}: {} of {} documented.\n",
            plain(&title),
            code(folder),
            coverage.documented,
            coverage.public
        );
        for note in &package.notes {
            let _ = write!(body, "\nNot known for sure: {}.\n", plain(note));
        }
        let mut listing = false;
        for item in &package.items {
            if is_heading(item.kind) {
                let title = format!("{} {}", item.kind.word(), item.name);
                let anchor = anchors.next(&title);
                if item.kind == Kind::Module {
                    let _ = writeln!(contents, "  - [{}](#{anchor})", plain(&item.name));
                }
                let level = if item.kind == Kind::Module { "###" } else { "####" };
                let _ = write!(body, "\n{level} {}\n\n{}\n", plain(&title), told(item));
                listing = false;
            } else {
                let _ = writeln!(body, "{}- {}", if listing { "" } else { "\n" }, told(item));
                listing = true;
            }
        }
    }
    out + &contents + &body
}

fn is_heading(kind: Kind) -> bool {
    matches!(kind, Kind::Module | Kind::Trait | Kind::Class | Kind::Struct | Kind::Union | Kind::Enum)
}

fn told(item: &Item) -> String {
    let doc = match &item.doc {
        Some(doc) => plain(doc),
        None if item.counted => "*Not documented.*".into(),
        None => String::new(),
    };
    let name = if is_heading(item.kind) { String::new() } else { format!("{}: ", code(&item.name)) };
    let gap = if doc.is_empty() { "" } else { " " };
    format!("{name}{}{gap}{doc} ({})", code(&item.signature), code(&format!("{}:{}", item.file, item.line)))
}

/// Coverage by file, of all packages.
pub fn by_file(packages: &[Package]) -> BTreeMap<String, Coverage> {
    let mut files: BTreeMap<String, Vec<&Item>> = BTreeMap::new();
    for item in packages.iter().flat_map(|package| &package.items) {
        files.entry(item.file.clone()).or_default().push(item);
    }
    files.into_iter().map(|(file, items)| (file, Coverage::of(items))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docgen::markdown;

    fn item(kind: Kind, name: &str, doc: Option<&str>) -> Item {
        Item {
            kind,
            name: name.into(),
            signature: format!("pub {name}"),
            file: "src/lib.rs".into(),
            line: 3,
            doc: doc.map(String::from),
            counted: kind != Kind::Reexport,
        }
    }

    #[test]
    fn every_item_is_listed_and_every_link_leads_somewhere() {
        let items = vec![
            item(Kind::Module, "a_b", None),
            item(Kind::Struct, "a_b::T<`x`>", Some("A [thing].")),
            item(Kind::Method, "a_b::T::go", None),
            item(Kind::Reexport, "a_b::far", None),
        ];
        let package = Package {
            name: "a_b".into(),
            language: "Rust".into(),
            items: items.clone(),
            ..Package::default()
        };
        let text = reference(&[package.clone(), package]);
        let anchors = markdown::anchors(&text);
        let links: Vec<&str> = text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()).collect();
        assert_eq!(links.len(), 4);
        for link in links {
            assert!(anchors.iter().any(|anchor| anchor == link), "{link} is none of {anchors:?}");
        }
        for item in &items {
            assert_eq!(text.matches(&code(&item.signature)).count(), 2, "{}", item.name);
        }
        assert!(text.contains("2 of 6 public items are documented (33 %)"), "{text}");
        assert!(
            text.contains("- `a_b::T::go`: `pub a_b::T::go` *Not documented.* (`src/lib.rs:3`)"),
            "{text}"
        );
    }

    #[test]
    fn coverage_is_told_by_file() {
        let package = Package {
            items: vec![item(Kind::Function, "f", Some("d")), item(Kind::Function, "g", None)],
            ..Package::default()
        };
        assert_eq!(by_file(&[package])["src/lib.rs"], Coverage { documented: 1, public: 2 });
    }
}
