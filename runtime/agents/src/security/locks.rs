//! Lock files: missing ones, sources that are not secured, entries without a checksum.
//!
//! Reads Cargo.lock, package-lock.json, yarn.lock, poetry.lock, go.mod and requirements files. A missing lock is told
//! only for what is run (programs), not for libraries, whose users choose the versions.

use serde_json::Value;

use crate::finding::{Finding, Place, Severity};
use crate::tree::{self, Tree};

/// Whether the content of this file is wanted by [`file`] or [`missing`].
pub fn wants(path: &str) -> bool {
    let name = tree::name(path);
    !tree::is_foreign(path)
        && (matches!(
            name,
            "Cargo.lock"
                | "Cargo.toml"
                | "package-lock.json"
                | "npm-shrinkwrap.json"
                | "package.json"
                | "yarn.lock"
                | "poetry.lock"
                | "pyproject.toml"
                | "go.mod"
        ) || is_requirements(name))
}

fn is_requirements(name: &str) -> bool {
    name.starts_with("requirements") && name.ends_with(".txt")
}

/// Judges one lock file or list of requirements by its content.
pub fn file(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = match tree::name(path) {
        "Cargo.lock" => cargo(path, text),
        "package-lock.json" | "npm-shrinkwrap.json" => npm(path, text),
        "yarn.lock" => plain_http(path, text, "resolved \"http://"),
        "poetry.lock" => poetry(path, text),
        name if is_requirements(name) => requirements(path, text),
        _ => Vec::new(),
    };
    if tree::is_test_data(path) {
        findings.iter_mut().for_each(crate::linter::soften);
    }
    findings
}

fn insecure(path: &str, line: u32, what: &str) -> Finding {
    Finding::new(
        "locks.insecure-source",
        Severity::High,
        Place::line(path, line),
        format!("{what} is fetched over an unencrypted connection: whoever is on the way can replace it"),
        "use https",
    )
}

fn line_of(text: &str, needle: &str) -> u32 {
    text.find(needle).map_or(1, |at| tree::position(text, at).0)
}

fn cargo(path: &str, text: &str) -> Vec<Finding> {
    let Ok(table) = toml::from_str::<toml::Table>(text) else { return Vec::new() };
    let old_checksums = table.get("metadata");
    let mut findings = Vec::new();
    for package in table.get("package").and_then(toml::Value::as_array).into_iter().flatten() {
        let word = |key: &str| package.get(key).and_then(toml::Value::as_str);
        let (Some(name), Some(version), Some(source)) = (word("name"), word("version"), word("source"))
        else {
            continue;
        };
        let line = line_of(text, &format!("name = \"{name}\"\nversion = \"{version}\""));
        if source.starts_with("git+http://")
            || source.starts_with("registry+http://")
            || source.starts_with("git+git://")
        {
            findings.push(insecure(path, line, &format!("{name} {version}")));
        }
        let old = format!("checksum {name} {version} ({source})");
        let checked = word("checksum").is_some() || old_checksums.is_some_and(|all| all.get(&old).is_some());
        if source.starts_with("registry+") && !checked {
            findings.push(Finding::new(
                "locks.no-checksum",
                Severity::Medium,
                Place::line(path, line),
                format!("{name} {version} comes from a registry without a checksum"),
                "write the lock anew with `cargo generate-lockfile`",
            ));
        }
    }
    findings
}

fn npm(path: &str, text: &str) -> Vec<Finding> {
    let Ok(lock) = serde_json::from_str::<Value>(text) else { return Vec::new() };
    let mut findings = plain_http(path, text, "\"resolved\": \"http://");
    let mut bare = Vec::new();
    for (place, package) in lock.get("packages").and_then(Value::as_object).into_iter().flatten() {
        let resolved = package.get("resolved").and_then(Value::as_str).unwrap_or("");
        let flag = |key: &str| package.get(key).and_then(Value::as_bool).unwrap_or(false);
        if resolved.starts_with("https://")
            && package.get("integrity").is_none()
            && !flag("link")
            && !flag("inBundle")
        {
            bare.push(place.as_str());
        }
    }
    if let Some(first) = bare.first() {
        findings.push(Finding::new(
            "locks.no-checksum",
            Severity::Medium,
            Place::line(path, line_of(text, &format!("\"{first}\": {{"))),
            match bare.len() {
                1 => format!("{first} is fetched without an integrity hash"),
                n => format!("{n} packages are fetched without an integrity hash, {first} first"),
            },
            "write the lock anew with a present npm: `npm install --package-lock-only`",
        ));
    }
    findings
}

fn plain_http(path: &str, text: &str, mark: &str) -> Vec<Finding> {
    (1u32..)
        .zip(text.lines())
        .filter(|(_, line)| {
            line.contains(mark) && !line.contains("http://localhost") && !line.contains("http://127.")
        })
        .map(|(number, _)| insecure(path, number, "this package"))
        .collect()
}

fn poetry(path: &str, text: &str) -> Vec<Finding> {
    let Ok(table) = toml::from_str::<toml::Table>(text) else { return Vec::new() };
    let mut findings = plain_http(path, text, "url = \"http://");
    let shared = table.get("metadata").and_then(|metadata| metadata.get("files"));
    for package in table.get("package").and_then(toml::Value::as_array).into_iter().flatten() {
        let Some(name) = package.get("name").and_then(toml::Value::as_str) else { continue };
        let local = package.get("source").and_then(|source| source.get("type")).is_some();
        let files = package.get("files").or_else(|| shared.and_then(|shared| shared.get(name)));
        if !local && files.and_then(toml::Value::as_array).is_some_and(Vec::is_empty) {
            findings.push(Finding::new(
                "locks.no-checksum",
                Severity::Medium,
                Place::line(path, line_of(text, &format!("name = \"{name}\""))),
                format!("{name} is locked without a hash of any file"),
                "write the lock anew with `poetry lock`",
            ));
        }
    }
    findings
}

fn requirements(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, raw) in (1u32..).zip(text.lines()) {
        let line = raw.split(" #").next().unwrap_or("").trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.contains("http://") && !line.contains("http://localhost") && !line.contains("http://127.") {
            findings.push(insecure(
                path,
                number,
                if line.starts_with('-') { "everything from this index" } else { "this package" },
            ));
        }
        if line.starts_with("--trusted-host") {
            findings.push(Finding::new(
                "locks.trusted-host",
                Severity::Medium,
                Place::line(path, number),
                "the certificate of this host is not checked",
                "give the host a valid certificate and drop the option",
            ));
        }
        if line.starts_with("--extra-index-url") {
            findings.push(Finding::new(
                "locks.extra-index",
                Severity::Low,
                Place::line(path, number),
                "a name that both indexes know is taken from whichever has the higher version",
                "use one index that mirrors the other, or pin by hash",
            ));
        }
        if let Some((_, after)) = line.split_once("git+")
            && !after
                .split_once("://")
                .is_some_and(|(_, address)| address.rsplit('/').next().is_some_and(|last| last.contains('@')))
        {
            findings.push(Finding::new(
                "locks.moving-source",
                Severity::Low,
                Place::line(path, number),
                "a git source without a revision is another program tomorrow",
                "append `@` and a commit",
            ));
        }
    }
    findings
}

/// Programs without a lock file. `text` gives the content of a manifest by its path in the tree.
pub fn missing(tree: &Tree, text: &dyn Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if tree.truncated {
        return findings;
    }
    for entry in tree.files().filter(|entry| wants(&entry.path) && !tree::is_test_data(&entry.path)) {
        let directory = tree::parent(&entry.path);
        let locked = |names: &[&str]| {
            tree::ancestors(directory)
                .any(|above| names.iter().any(|name| tree.contains(&tree::join(above, name))))
        };
        let (lacks, make) = match tree::name(&entry.path) {
            "Cargo.toml"
                if !locked(&["Cargo.lock"])
                    && text(&entry.path).is_some_and(|t| is_program(tree, directory, &t)) =>
            {
                ("Cargo.lock", "cargo generate-lockfile")
            }
            "package.json"
                if !locked(&[
                    "package-lock.json",
                    "npm-shrinkwrap.json",
                    "yarn.lock",
                    "pnpm-lock.yaml",
                    "bun.lock",
                    "bun.lockb",
                    "deno.lock",
                ]) && text(&entry.path).is_some_and(|t| is_node_program(&t)) =>
            {
                ("package-lock.json", "npm install --package-lock-only")
            }
            "pyproject.toml"
                if !locked(&["poetry.lock"]) && text(&entry.path).is_some_and(|t| is_poetry_program(&t)) =>
            {
                ("poetry.lock", "poetry lock")
            }
            "go.mod"
                if !tree.contains(&tree::join(directory, "go.sum"))
                    && text(&entry.path).is_some_and(|t| t.contains("\nrequire")) =>
            {
                ("go.sum", "go mod tidy")
            }
            _ => continue,
        };
        findings.push(Finding::new(
            "locks.missing",
            Severity::Low,
            Place::file(&entry.path),
            format!("this program has no {lacks} in the tree: two builds may differ"),
            format!("commit the result of `{make}`"),
        ));
    }
    findings
}

fn is_program(tree: &Tree, directory: &str, manifest: &str) -> bool {
    let Ok(table) = toml::from_str::<toml::Table>(manifest) else { return false };
    let depends = ["dependencies", "build-dependencies"]
        .iter()
        .any(|key| table.get(*key).and_then(toml::Value::as_table).is_some_and(|all| !all.is_empty()));
    let bin = table.contains_key("bin") || tree.contains(&tree::join(directory, "src/main.rs"));
    table.contains_key("package") && depends && bin
}

fn is_node_program(manifest: &str) -> bool {
    let Ok(Value::Object(table)) = serde_json::from_str::<Value>(manifest) else { return false };
    let depends = table.get("dependencies").and_then(Value::as_object).is_some_and(|all| !all.is_empty());
    let library = ["main", "module", "exports", "types", "files"].iter().any(|key| table.contains_key(*key));
    depends && (!library || table.get("private").and_then(Value::as_bool).unwrap_or(false))
}

fn is_poetry_program(manifest: &str) -> bool {
    let Ok(table) = toml::from_str::<toml::Table>(manifest) else { return false };
    let Some(poetry) = table.get("tool").and_then(|tool| tool.get("poetry")) else { return false };
    let depends = poetry.get("dependencies").and_then(toml::Value::as_table).is_some_and(|all| all.len() > 1);
    let program = poetry.get("scripts").is_some()
        || poetry.get("package-mode").and_then(toml::Value::as_bool) == Some(false);
    depends && program
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Entry, Kind};

    fn told(path: &str, text: &str) -> Vec<String> {
        file(path, text).into_iter().map(|finding| format!("{} {}", finding.rule, finding.place)).collect()
    }

    #[test]
    fn a_cargo_lock_is_judged_by_its_sources_and_checksums() {
        let registry = "registry+https://github.com/rust-lang/crates.io-index";
        let good = format!(
            "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"{registry}\"\nchecksum = \"00\"\n"
        );
        assert!(told("Cargo.lock", &good).is_empty());
        assert_eq!(
            told("Cargo.lock", &good.replace("checksum = \"00\"\n", "")),
            ["locks.no-checksum Cargo.lock:4"]
        );
        let git = good.replace(registry, "git+http://host/a#0123").replace("checksum = \"00\"\n", "");
        assert_eq!(told("Cargo.lock", &git), ["locks.insecure-source Cargo.lock:4"]);
        let first = format!(
            "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"{registry}\"\n\n[metadata]\n\"checksum a 1.0.0 ({registry})\" = \"00\"\n"
        );
        assert!(told("Cargo.lock", &first).is_empty(), "the first form keeps checksums apart");
    }

    #[test]
    fn a_package_lock_is_judged_by_its_sources_and_hashes() {
        let lock = r#"{
  "packages": {
    "": { "name": "x" },
    "node_modules/a": {
      "resolved": "http://registry.npmjs.org/a.tgz",
      "integrity": "sha512-x"
    },
    "node_modules/b": {
      "resolved": "https://registry.npmjs.org/b.tgz"
    },
    "node_modules/c": { "resolved": "packages/c", "link": true }
  }
}"#;
        assert_eq!(
            told("package-lock.json", lock),
            ["locks.insecure-source package-lock.json:5", "locks.no-checksum package-lock.json:8"]
        );
    }

    #[test]
    fn requirements_are_judged_line_by_line() {
        let text = "requests==2.31.0\n--index-url http://pypi.corp/simple\n--trusted-host pypi.corp\ngit+https://github.com/a/b\ngit+https://github.com/a/b@0123abc\n# http://comment\n";
        assert_eq!(
            told("requirements-dev.txt", text),
            [
                "locks.insecure-source requirements-dev.txt:2",
                "locks.trusted-host requirements-dev.txt:3",
                "locks.moving-source requirements-dev.txt:4"
            ]
        );
    }

    #[test]
    fn a_poetry_lock_without_hashes_is_told() {
        let text = "[[package]]\nname = \"a\"\nversion = \"1\"\nfiles = []\n\n[[package]]\nname = \"b\"\nversion = \"1\"\nfiles = [{file = \"b.whl\", hash = \"sha256:0\"}]\n";
        assert_eq!(told("poetry.lock", text), ["locks.no-checksum poetry.lock:2"]);
    }

    #[test]
    fn a_program_without_a_lock_is_told_and_a_library_is_not() {
        let missing_in = |paths: &[&str], manifest: &str| {
            let entries = paths
                .iter()
                .map(|path| Entry { path: (*path).into(), kind: Kind::File, len: 1, mode: 0o644 })
                .collect();
            missing(&Tree { entries, ..Tree::default() }, &|_| Some(manifest.to_string())).len()
        };
        let rust = "[package]\nname = \"a\"\n[dependencies]\nb = \"1\"\n";
        assert_eq!(missing_in(&["Cargo.toml", "src/main.rs"], rust), 1);
        assert_eq!(missing_in(&["Cargo.toml", "src/lib.rs"], rust), 0);
        assert_eq!(
            missing_in(&["Cargo.lock", "x/Cargo.toml", "x/src/main.rs"], rust),
            0,
            "its workspace has one"
        );
        assert_eq!(missing_in(&["package.json"], r#"{"dependencies": {"a": "1"}}"#), 1);
        assert_eq!(missing_in(&["package.json"], r#"{"main": "x", "dependencies": {"a": "1"}}"#), 0);
        assert_eq!(missing_in(&["package.json", "yarn.lock"], r#"{"dependencies": {"a": "1"}}"#), 0);
        assert_eq!(missing_in(&["go.mod"], "module x\n\nrequire a v1\n"), 1);
    }
}
