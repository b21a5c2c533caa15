//! What ARCHITECT reads of a foreign tree: manifests, declared layers and sources in every language, several files an input.

use std::collections::BTreeMap;

use synod_agents::architect::sources::Sources;
use synod_agents::architect::{documents, dot, draw, judge};
use synod_agents::finding::Place;
use synod_agents::tree::{Entry, Kind, Tree};

const PATHS: [&str; 24] = [
    "Cargo.toml",
    "a/Cargo.toml",
    "b/Cargo.toml",
    "src/lib.rs",
    "src/a.rs",
    "src/b/mod.rs",
    "a/src/lib.rs",
    "b/src/main.rs",
    "setup.py",
    "p/__init__.py",
    "p/a.py",
    "p/b.py",
    "tests/test_p.py",
    "x.c",
    "x.h",
    "include/y.h",
    "z-inl.h",
    "package.json",
    "q/package.json",
    "q/a.js",
    "q/b.ts",
    "q/c.vue",
    "r.mjs",
    "architecture.toml",
];

/// A tree. Each file begins with a byte that chooses its name and ends with a byte 255, which no text has.
pub fn architecture(bytes: &[u8]) {
    let mut files: BTreeMap<&str, &[u8]> = BTreeMap::new();
    for file in bytes.split(|byte| *byte == u8::MAX) {
        if let Some((choice, content)) = file.split_first() {
            files.insert(PATHS[usize::from(*choice) % PATHS.len()], content);
        }
    }
    let entry = |(path, content): (&&str, &&[u8])| Entry {
        path: (*path).to_string(),
        kind: Kind::File,
        len: content.len() as u64,
        mode: 0o644,
    };
    let tree = Tree { entries: files.iter().map(entry).collect(), ..Tree::default() };
    let read = || {
        let mut sources = Sources::begin(&tree, "p");
        files.iter().for_each(|(path, content)| sources.file(path, content));
        sources.finish()
    };
    let found = read();
    assert_eq!(read(), found, "reading twice finds the same");

    let points_into = |place: &Place| {
        let content = files.get(place.path.as_str()).unwrap_or_else(|| panic!("{place} names no file"));
        let lines = content.split(|byte| *byte == b'\n').count();
        let line = place.line.unwrap_or(1) as usize;
        assert!((1..=lines).contains(&line), "{place} in a file of {lines} lines");
    };
    for graph in [&found.units, &found.modules, &found.parts] {
        for edge in &graph.edges {
            assert!(edge.from != edge.to && edge.from.max(edge.to) < graph.nodes.len());
            points_into(&edge.place);
        }
    }
    let findings = judge::findings(&found);
    for finding in &findings {
        points_into(&finding.place);
    }
    for knot in &found.module_knots {
        for (at, from) in knot.around.iter().enumerate() {
            let to = knot.around[(at + 1) % knot.around.len()];
            assert!(found.modules.edge(*from, to).is_some_and(|edge| edge.tie.binds()), "a loop is closed");
        }
    }
    assert!(documents::document("p", &found, &findings).ends_with('\n'));
    assert!(dot::dot(&found.parts, &found.part_knots).ends_with("}\n"));
    let svg = draw::svg(&found.parts);
    assert_eq!(svg.matches("<g").count(), svg.matches("</g>").count());
}
