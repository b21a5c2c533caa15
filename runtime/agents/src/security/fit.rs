//! Lock files that do not fit the manifest beside them: `cargo build --locked` and `npm ci` refuse such a tree, and every other build
//! chooses anew.
//!
//! Cargo.lock is held against the packages and requirements of its workspace, package-lock.json against what its own head repeats of
//! package.json. One finding a manifest, at the first line that does not fit. What cannot be told without the registry is left out.

use std::collections::BTreeMap;

use semver::{Version, VersionReq};
use serde_json::Value;

use crate::finding::{Finding, Place, Severity};
use crate::linter;
use crate::tree;

/// Finds manifests that their lock does not fit. `texts` holds manifests and locks by their path in the tree.
pub fn check(texts: &BTreeMap<String, String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (lock, text) in texts {
        let folder = tree::parent(lock);
        let beside = |name: &str| tree::join(folder, name);
        match tree::name(lock) {
            "Cargo.lock" => findings.extend(cargo(lock, text, texts)),
            "package-lock.json" => findings.extend(
                texts
                    .get(&beside("package.json"))
                    .and_then(|manifest| npm(&beside("package.json"), manifest, lock, text)),
            ),
            _ => {}
        }
    }
    findings.iter_mut().filter(|finding| tree::is_test_data(&finding.place.path)).for_each(linter::soften);
    findings
}

/// The finding for all that does not fit of one manifest: each is a line and what is wrong there.
fn finding(manifest: &str, lock: &str, wrong: &[(u32, String)], make: &str) -> Option<Finding> {
    let (line, first) = wrong.iter().min()?;
    let more = match wrong.len() - 1 {
        0 => String::new(),
        n => format!(", and {n} more"),
    };
    Some(Finding::new(
        "locks.mismatch",
        Severity::Medium,
        Place::line(manifest, *line),
        format!("{lock} does not fit this manifest: {first}{more}"),
        format!("commit the result of `{make}`"),
    ))
}

/// What stands in a Cargo.lock: versions by name, and which of the names are packages of the tree itself.
struct Locked {
    versions: BTreeMap<String, Vec<(Version, bool)>>,
}

impl Locked {
    fn read(text: &str) -> Option<Locked> {
        let table: toml::Table = toml::from_str(text).ok()?;
        let mut versions: BTreeMap<String, Vec<(Version, bool)>> = BTreeMap::new();
        for package in table.get("package").and_then(toml::Value::as_array).into_iter().flatten() {
            let word = |key: &str| package.get(key).and_then(toml::Value::as_str);
            let version = Version::parse(word("version")?).ok()?;
            versions.entry(plain(word("name")?)).or_default().push((version, word("source").is_none()));
        }
        Some(Locked { versions })
    }

    fn of(&self, name: &str) -> &[(Version, bool)] {
        self.versions.get(&plain(name)).map_or(&[], Vec::as_slice)
    }
}

/// A crate's name as Cargo compares it.
fn plain(name: &str) -> String {
    name.replace('_', "-")
}

fn cargo(lock: &str, text: &str, texts: &BTreeMap<String, String>) -> Vec<Finding> {
    let folder = tree::parent(lock);
    let Some(locked) = Locked::read(text) else { return Vec::new() };
    let table = |path: &str| texts.get(path).and_then(|text| toml::from_str::<toml::Table>(text).ok());
    let top = tree::join(folder, "Cargo.toml");
    let Some(root) = table(&top) else { return Vec::new() };
    let shared = root.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    // Another lock or workspace between a manifest and this lock takes it away.
    let begins = |above: &&str| {
        let manifest = texts.get(&tree::join(above, "Cargo.toml"));
        texts.contains_key(&tree::join(above, "Cargo.lock"))
            || manifest.is_some_and(|text| text.contains("[workspace"))
    };
    let below = |path: &&String| {
        tree::name(path) == "Cargo.toml" && tree::ancestors(tree::parent(path)).find(begins) == Some(folder)
    };
    let mut findings = Vec::new();
    for path in texts.keys().filter(below) {
        let (Some(manifest), Some(text)) = (table(path), texts.get(path)) else { continue };
        let is_root = *path == top;
        let package = manifest.get("package").and_then(toml::Value::as_table);
        let name = package.and_then(|package| package.get("name")).and_then(toml::Value::as_str);
        let Some(name) = name else { continue };
        let own: Vec<&Version> = locked.of(name).iter().filter(|(_, own)| *own).map(|(v, _)| v).collect();
        let mut wrong = Vec::new();
        if own.is_empty() {
            if !is_root {
                // No member of this workspace, as far as the lock tells.
                continue;
            }
            wrong.push((key_line(text, "package", "name"), format!("it holds no package {name}")));
        }
        let version = package.and_then(|package| package.get("version")).and_then(toml::Value::as_str);
        if let (Some(version), Some(first)) = (version.and_then(|v| Version::parse(v).ok()), own.first())
            && !own.contains(&&version)
        {
            let told = format!("it holds {name} {first}, not {version}");
            wrong.push((key_line(text, "package", "version"), told));
        }
        for (key, wanted) in dependencies(&manifest, is_root) {
            if let Some(told) = lacks(&locked, key, wanted, shared) {
                wrong.push((key_line(text, "dependencies", key), told));
            }
        }
        findings.extend(finding(path, lock, &wrong, "cargo update --workspace"));
    }
    findings
}

/// The dependencies that a lock must hold. What a package needs for its tests, or by choice, is locked for members alone, and only the package
/// beside the lock surely is one.
fn dependencies(manifest: &toml::Table, is_root: bool) -> Vec<(&str, &toml::Value)> {
    let kinds: &[&str] = match is_root {
        true => &["dependencies", "build-dependencies", "dev-dependencies"],
        false => &["dependencies", "build-dependencies"],
    };
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let targets = targets.into_iter().flat_map(|all| all.values()).filter_map(toml::Value::as_table);
    let tables = std::iter::once(manifest).chain(targets);
    tables
        .flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()))
        .flatten()
        .map(|(key, wanted)| (key.as_str(), wanted))
        .filter(|(_, wanted)| is_root || wanted.get("optional").and_then(toml::Value::as_bool) != Some(true))
        .collect()
}

/// What a lock lacks of one dependency. `shared` are the workspace's.
fn lacks(locked: &Locked, key: &str, wanted: &toml::Value, shared: Option<&toml::Value>) -> Option<String> {
    let inherits = wanted.get("workspace").and_then(toml::Value::as_bool) == Some(true);
    let wanted = if inherits { shared?.get(key)? } else { wanted };
    let name = wanted.get("package").and_then(toml::Value::as_str).unwrap_or(key);
    let versions = locked.of(name);
    if versions.is_empty() {
        return Some(format!("it holds no {name}"));
    }
    let text = wanted.as_str().or_else(|| wanted.get("version")?.as_str())?;
    let required = VersionReq::parse(text).ok()?;
    let fits = versions.iter().any(|(version, _)| required.matches(version));
    (!fits).then(|| format!("it holds {name} {}, and {text} is asked for", versions[0].0))
}

/// The line of a key in a table whose name ends so, or of the table `[….dependencies.KEY]`; the first line if there is none.
fn key_line(text: &str, table: &str, key: &str) -> u32 {
    let mut within = false;
    for (number, line) in (1u32..).zip(text.lines()) {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or("").trim();
            within = header.ends_with(table);
            if header.strip_suffix(key).is_some_and(|before| before.ends_with(&format!("{table}."))) {
                return number;
            }
        } else if within {
            let name = line.split(['=', '.']).next().unwrap_or("").trim().trim_matches(['"', '\'']);
            if name == key {
                return number;
            }
        }
    }
    1
}

fn npm(path: &str, manifest: &str, lock: &str, text: &str) -> Option<Finding> {
    let (wanted, locked): (Value, Value) =
        (serde_json::from_str(manifest).ok()?, serde_json::from_str(text).ok()?);
    // Locks of the first form repeat nothing of the manifest.
    let head = locked.get("packages")?.get("")?;
    let (wanted, held) = (required(&wanted), required(head));
    let line =
        |name: &str| manifest.find(&format!("\"{name}\"")).map_or(1, |at| tree::position(manifest, at).0);
    let mut wrong = Vec::new();
    for (name, range) in &wanted {
        match held.get(name) {
            None => wrong.push((line(name), format!("it holds no {name}"))),
            Some(held) if held != range => {
                wrong.push((line(name), format!("it holds {name} for {held}, and {range} is asked for")));
            }
            Some(_) => {}
        }
    }
    for name in held.keys().filter(|name| !wanted.contains_key(*name)) {
        wrong.push((line("name"), format!("it holds {name}, which nothing asks for")));
    }
    finding(path, lock, &wrong, "npm install --package-lock-only")
}

/// What package.json, or its copy in the lock, asks for: ranges by name.
fn required(manifest: &Value) -> BTreeMap<&str, &str> {
    ["dependencies", "devDependencies", "optionalDependencies"]
        .iter()
        .filter_map(|kind| manifest.get(kind)?.as_object())
        .flatten()
        .filter_map(|(name, range)| Some((name.as_str(), range.as_str()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(files: &[(&str, &str)]) -> Vec<String> {
        let texts = files.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect();
        check(&texts).into_iter().map(|one| format!("{}: {}", one.place, one.message)).collect()
    }

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"top\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"low\"\nversion = \"0.2.0\"\n\n[[package]]\nname = \"serde_json\"\nversion = \"1.0.9\"\nsource = \"registry+x\"\n";

    #[test]
    fn what_a_cargo_lock_lacks_is_told_at_the_line_that_asks_for_it() {
        let top = "[package]\nname = \"top\"\nversion = \"0.1.0\"\n\n[dependencies]\nserde-json = \"1\"\n\n[dev-dependencies.rand]\nversion = \"0.9\"\n";
        assert_eq!(
            told(&[("a/Cargo.lock", LOCK), ("a/Cargo.toml", top)]),
            ["a/Cargo.toml:8: a/Cargo.lock does not fit this manifest: it holds no rand"]
        );
        let newer = "[package]\nname = \"top\"\nversion = \"0.2.0\"\n[dependencies]\njson = { package = \"serde_json\", version = \"2\" }\n";
        assert_eq!(
            told(&[("Cargo.lock", LOCK), ("Cargo.toml", newer)]),
            [
                "Cargo.toml:3: Cargo.lock does not fit this manifest: it holds top 0.1.0, not 0.2.0, and 1 more"
            ]
        );
        let other = "[package]\nname = \"other\"\n";
        assert_eq!(
            told(&[("Cargo.lock", LOCK), ("Cargo.toml", other)]),
            ["Cargo.toml:2: Cargo.lock does not fit this manifest: it holds no package other"]
        );
    }

    #[test]
    fn members_are_held_against_the_lock_above_and_others_are_not() {
        let root = "[workspace]\nmembers = [\"low\"]\n[workspace.dependencies]\nserde_json = \"3\"\n";
        let low = "[package]\nname = \"low\"\nversion.workspace = true\n[target.'cfg(unix)'.dependencies]\nserde_json.workspace = true\nmaybe = { version = \"1\", optional = true }\n[dev-dependencies]\nspare = \"1\"\n";
        let alone = "[package]\nname = \"alone\"\n[dependencies]\nspare = \"1\"\n";
        let files = [
            ("Cargo.lock", LOCK),
            ("Cargo.toml", root),
            ("low/Cargo.toml", low),
            ("alone/Cargo.toml", alone),
        ];
        assert_eq!(
            told(&files),
            [
                "low/Cargo.toml:5: Cargo.lock does not fit this manifest: it holds serde_json 1.0.9, and 3 is asked for"
            ]
        );
    }

    #[test]
    fn a_package_lock_has_to_repeat_the_manifest() {
        let manifest = "{\n  \"name\": \"x\",\n  \"dependencies\": { \"a\": \"^1\" },\n  \"devDependencies\": { \"b\": \"2\" }\n}";
        let lock = |held: &str| format!("{{\"packages\": {{\"\": {held}}}}}");
        let of = |held: &str| told(&[("package-lock.json", &lock(held)), ("package.json", manifest)]);
        assert_eq!(
            of(r#"{"dependencies": {"a": "^1"}, "devDependencies": {"b": "2"}}"#),
            Vec::<String>::new()
        );
        assert_eq!(
            of(r#"{"dependencies": {"a": "^1"}}"#),
            ["package.json:4: package-lock.json does not fit this manifest: it holds no b"]
        );
        assert_eq!(
            of(r#"{"dependencies": {"a": "^2", "c": "1"}, "devDependencies": {"b": "2"}}"#),
            [
                "package.json:2: package-lock.json does not fit this manifest: it holds c, which nothing asks for, and 1 more"
            ]
        );
        assert_eq!(
            told(&[("package-lock.json", "{\"lockfileVersion\": 1}"), ("package.json", manifest)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn what_cannot_be_read_is_left_to_who_tells_of_that() {
        assert_eq!(
            told(&[("Cargo.lock", "<<<<"), ("Cargo.toml", "[package]\nname = \"x\"\n")]),
            Vec::<String>::new()
        );
        assert_eq!(told(&[("Cargo.lock", LOCK), ("Cargo.toml", "[package")]), Vec::<String>::new());
        assert_eq!(told(&[("Cargo.lock", LOCK)]), Vec::<String>::new());
    }
}
