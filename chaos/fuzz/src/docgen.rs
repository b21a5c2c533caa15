//! What DOCGEN, LINTER and SECURITY read of sources, histories, compilers and advisories: places lie in the file, links hold.

use synod_agents::docgen::item::{Item, Package};
use synod_agents::docgen::{c, crates, document, history, javascript, markdown, python, readme, rust};
use synod_agents::linter::{clippy, eslint, gcc};
use synod_agents::security::advisories::{Advisory, locked};
use synod_agents::tree;

fn point_into(text: &str, items: &[Item]) {
    let lines = text.split('\n').count();
    for item in items {
        assert!((1..=lines).contains(&(item.line as usize)), "{} in a file of {lines} lines", item.name);
        assert!(!item.name.is_empty() && !item.name.contains(|c: char| c.is_ascii_control()), "{item:?}");
        assert!(!item.signature.contains('\n'), "{item:?}");
    }
}

/// Sources of four languages, READMEs and git's words. The first byte chooses which.
pub fn documents(bytes: &[u8]) {
    let Some((choice, content)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(content) else { return };
    let items = match choice % 6 {
        0 => {
            let files = [("src/lib.rs".to_string(), rust::scan(text))].into();
            crates::package("fuzz", "", "src/lib.rs", &files).items
        }
        1 => python::scan(text, "fuzz", "fuzz.py"),
        2 => javascript::scan(text, "fuzz.js"),
        3 => c::scan(text, "fuzz.h").unwrap_or_default(),
        4 => {
            let facts = readme::Facts::default();
            let findings = readme::check("README.md", text, &facts, &|_| Some(text.to_string()), &|_| true);
            let lines = text.split('\n').count();
            assert!(
                findings.iter().all(|finding| finding.place.line.is_none_or(|line| line as usize <= lines))
            );
            return;
        }
        _ => {
            history::changelog(&history::parse(text));
            return;
        }
    };
    point_into(text, &items);
    let package = Package { name: "fuzz".into(), items, ..Package::default() };
    let document = document::reference(&[package]);
    let anchors = markdown::anchors(&document);
    let contents = document.lines().filter(|line| line.trim_start().starts_with("- ["));
    for link in contents.filter_map(|line| line.split_once("](#")?.1.split(')').next()) {
        assert!(anchors.iter().any(|anchor| anchor == link), "{link} leads nowhere");
    }
}

/// What compilers and linters print, and advisories. The first byte chooses which.
pub fn judges(bytes: &[u8]) {
    let Some((choice, content)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(content) else { return };
    let within = |file: &str| tree::within("/t", file);
    let findings = match choice % 4 {
        0 => {
            let refused = clippy::refused(text, text);
            assert!(refused.is_none_or(|why| !why.contains('\n')));
            clippy::read(text, &within)
        }
        1 => {
            let unit = gcc::Unit { path: "a.c".into(), flags: Vec::new(), certain: true, conditional: false };
            gcc::read(&unit, text, &within)
        }
        2 => eslint::read(text, &within).unwrap_or_default(),
        _ => {
            let all = locked(text);
            Advisory::read(text)
                .map(|one| all.iter().map(|locked| one.finding("Cargo.lock", locked)).collect())
                .unwrap_or_default()
        }
    };
    for finding in findings {
        assert!(!finding.rule.is_empty() && !finding.place.path.starts_with('/'));
        assert!(finding.place.line != Some(0) && finding.place.column != Some(0));
    }
}
