//! Rare events that the product marks with `reach!`: those that a sweep never reached are holes in the suite.
//!
//! The names are read from the sources of this checkout; a binary taken elsewhere knows none, and says so by listing none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Crates whose rare events a simulated run can reach, and files of them that it cannot: real arms and commands of people.
const CRATES: [&str; 10] = [
    "runtime/agents",
    "runtime/cluster",
    "runtime/fabric",
    "runtime/node",
    "runtime/platform",
    "runtime/resilience",
    "runtime/ring",
    "runtime/store",
    "runtime/wire",
    "sim/model",
];
const NOT_SIMULATED: [&str; 6] = ["/real.rs", "/real/", "/cli/", "/tls.rs", "/tests/", "/tests.rs"];

/// Every source file of those crates with its path.
pub fn sources() -> Vec<(String, PathBuf)> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut found = Vec::new();
    for folder in CRATES {
        read(&root.join(folder).join("src"), &mut found);
    }
    found
}

fn read(folder: &Path, found: &mut Vec<(String, PathBuf)>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            read(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs")
            && let Ok(text) = std::fs::read_to_string(&path)
        {
            found.push((text, path));
        }
    }
}

/// The names of all rare events that a simulated run may reach.
pub fn names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (text, path) in sources() {
        let path = path.to_string_lossy();
        if NOT_SIMULATED.iter().any(|part| path.contains(part)) {
            continue;
        }
        for rest in text.split("reach!(\"").skip(1) {
            names.extend(rest.split('"').next().map(str::to_owned));
        }
    }
    names
}
