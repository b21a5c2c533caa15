//! Every committed input through its target, and every target with inputs of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use synod_fuzz::TARGETS;

fn here(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(below)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let listing = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> =
        listing.map(|entry| entry.expect("the folder can be listed").path()).collect();
    paths.sort();
    paths
}

fn content(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn names(folder: &str) -> BTreeSet<String> {
    let stem = |path: &PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    entries(&here(folder)).iter().filter_map(stem).collect()
}

#[test]
fn every_committed_input_keeps_its_targets_promises() {
    for target in TARGETS {
        let folder = here("corpus").join(target.name);
        let inputs = entries(&folder);
        assert!(!inputs.is_empty(), "{} has no inputs", target.name);
        for path in inputs {
            let input = content(&path);
            assert!(input.len() <= 16 << 10, "{} is too large to commit", path.display());
            let kept = std::panic::catch_unwind(|| (target.run)(&input));
            assert!(kept.is_ok(), "{} breaks {}", path.display(), target.name);
        }
    }
}

#[test]
fn every_target_survives_the_shortest_inputs() {
    for target in TARGETS {
        (target.run)(&[]);
        for byte in 0..=u8::MAX {
            (target.run)(&[byte]);
            (target.run)(&[byte; 80]);
        }
    }
}

#[test]
fn every_target_has_a_name_of_its_own_and_a_folder_of_inputs() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(targets.len(), TARGETS.len(), "names are unique");
    assert_eq!(names("corpus"), targets);
}
