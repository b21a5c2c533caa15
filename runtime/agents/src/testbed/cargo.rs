//! Reads Cargo's messages while it builds tests: which test binaries there are, how each wants to be run, and what did not compile.
//!
//! Test binaries are run one by one, as `cargo test` would run them, so that one that hangs or dies takes no other with it.

use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;

/// A test binary, and how Cargo would run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// The package's name, the kind of target and its name: `demo lib`, `demo test outer`.
    pub label: String,
    /// The package's directory, absolute: where it is run.
    pub directory: String,
    /// The program, absolute.
    pub program: String,
    /// Variables that Cargo sets for it.
    pub variables: Vec<(String, String)>,
}

/// What a build gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Built {
    /// Test binaries, in Cargo's order.
    pub binaries: Vec<Binary>,
    /// Whether some library has documentation whose examples can be run.
    pub has_docs: bool,
    /// Directories with libraries that binaries may load, absolute.
    pub libraries: Vec<String>,
    /// Compile errors.
    pub errors: Vec<CompileError>,
    /// Whether everything was built.
    pub complete: bool,
}

/// A compile error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileError {
    /// What the compiler says.
    pub message: String,
    /// The file, as the compiler names it, and the line; `None` for errors without a place.
    pub place: Option<(String, u32)>,
    /// The whole complaint, as people read it.
    pub rendered: String,
}

#[derive(Deserialize)]
struct Line {
    reason: String,
    package_id: Option<String>,
    manifest_path: Option<String>,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<String>,
    message: Option<Diagnostic>,
    out_dir: Option<String>,
    #[serde(default)]
    env: Vec<(String, String)>,
    #[serde(default)]
    linked_paths: Vec<String>,
    success: Option<bool>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
    #[serde(default)]
    doctest: bool,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Diagnostic {
    level: String,
    message: String,
    rendered: Option<String>,
    #[serde(default)]
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Span {
    file_name: String,
    line_start: u32,
    is_primary: bool,
}

/// A build script that ran: its package, its output folder, what it set.
type Script = (String, String, Vec<(String, String)>);

/// Reads the lines of `cargo test --no-run --message-format=json`. Packages that come from a registry are dependencies, whose tests
/// are nobody's business here.
pub fn built(stdout: &str) -> Built {
    let mut built = Built::default();
    let mut scripts: Vec<Script> = Vec::new();
    let mut programs: Vec<(String, String, String)> = Vec::new();
    let mut tests: Vec<(String, Binary)> = Vec::new();
    for line in stdout.lines().filter(|line| line.starts_with('{')) {
        let Ok(line) = serde_json::from_str::<Line>(line) else { continue };
        let package = line.package_id.unwrap_or_default();
        match line.reason.as_str() {
            "build-finished" => built.complete = line.success == Some(true),
            "build-script-executed" => {
                let plain =
                    |path: &String| path.rsplit_once('=').map_or(path.clone(), |(_, path)| path.into());
                built.libraries.extend(line.linked_paths.iter().map(plain));
                scripts.push((package, line.out_dir.unwrap_or_default(), line.env));
            }
            "compiler-message" => {
                let Some(message) = line.message.filter(|message| message.level.starts_with("error")) else {
                    continue;
                };
                if message.message.starts_with("aborting due to") {
                    continue;
                }
                let primary = message.spans.iter().find(|span| span.is_primary);
                built.errors.push(CompileError {
                    message: message.message,
                    place: primary.map(|span| (span.file_name.clone(), span.line_start)),
                    rendered: message.rendered.unwrap_or_default(),
                });
            }
            "compiler-artifact" => {
                let (Some(target), Some(manifest)) = (line.target, line.manifest_path) else { continue };
                let Some(directory) = manifest.strip_suffix("/Cargo.toml") else { continue };
                if !package.starts_with("path+") {
                    continue;
                }
                let test = line.profile.is_some_and(|profile| profile.test);
                built.has_docs |= target.doctest && !test;
                let Some(program) = line.executable else { continue };
                if !test {
                    programs.push((package, target.name, program));
                    continue;
                }
                let (name, version) = name_and_version(&package);
                let kind = target.kind.first().map_or("lib", String::as_str);
                let label = match kind {
                    "bin" | "test" | "example" | "bench" => format!("{name} {kind} {}", target.name),
                    _ => format!("{name} lib"),
                };
                let variables = vec![
                    ("CARGO_MANIFEST_DIR".into(), directory.into()),
                    ("CARGO_MANIFEST_PATH".into(), manifest.clone()),
                    ("CARGO_PKG_NAME".into(), name),
                    ("CARGO_PKG_VERSION".into(), version),
                ];
                tests.push((package, Binary { label, directory: directory.into(), program, variables }));
            }
            _ => {}
        }
    }
    for (package, mut binary) in tests {
        for (_, out, set) in scripts.iter().filter(|(owner, ..)| *owner == package) {
            binary.variables.push(("OUT_DIR".into(), out.clone()));
            binary.variables.extend(set.iter().cloned());
        }
        for (_, name, program) in programs.iter().filter(|(owner, ..)| *owner == package) {
            binary.variables.push((format!("CARGO_BIN_EXE_{name}"), program.clone()));
        }
        built.binaries.push(binary);
    }
    built
}

/// Name and version out of a package's id: `…#name@1.2.3`, or `…/name#1.2.3`.
fn name_and_version(id: &str) -> (String, String) {
    let (before, after) = id.rsplit_once('#').unwrap_or(("", id));
    match after.rsplit_once('@') {
        Some((name, version)) => (name.into(), version.into()),
        None => (before.rsplit('/').next().unwrap_or_default().into(), after.into()),
    }
}

static CRATE: LazyLock<Regex> = LazyLock::new(|| {
    let text = r"(?:no matching package named|failed to download|failed to get|failed to select a version for the requirement) `([^` \t\n=]+)";
    Regex::new(text).expect("the pattern is well-formed")
});

/// What Cargo lacked, if it ended because it may not fetch: names of crates, perhaps none that it told.
pub fn lacks(stderr: &str) -> Option<Vec<String>> {
    let offline = stderr.contains("--offline was specified")
        || stderr.contains("without the offline flag")
        || stderr.contains("no matching package")
        || stderr.contains("offline mode (via `--offline`)")
        || stderr.contains("Could not resolve host");
    if !offline {
        return None;
    }
    let mut names: Vec<String> = CRATE.captures_iter(stderr).map(|found| found[1].to_string()).collect();
    names.sort();
    names.dedup();
    Some(names)
}

/// Cargo's own words on why it did not build: its lines from the first `error` on, without what rustc was told.
pub fn complaint(stderr: &str) -> String {
    let from = stderr.lines().skip_while(|line| !line.starts_with("error")).take(12);
    from.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_binaries_come_with_what_cargo_sets_for_them() {
        let lines = [
            r#"{"reason":"build-script-executed","package_id":"path+file:///s/t#demo@0.1.0","linked_paths":["native=/s/b/out"],"env":[["K","v"]],"out_dir":"/s/b/out"}"#,
            r#"{"reason":"compiler-artifact","package_id":"registry+x#other@1.0.0","manifest_path":"/r/other/Cargo.toml","target":{"kind":["lib"],"name":"other","doctest":true},"profile":{"test":false},"executable":null}"#,
            r#"{"reason":"compiler-artifact","package_id":"path+file:///s/t#demo@0.1.0","manifest_path":"/s/t/Cargo.toml","target":{"kind":["bin"],"name":"run"},"profile":{"test":false},"executable":"/s/b/run"}"#,
            r#"{"reason":"compiler-artifact","package_id":"path+file:///s/t#demo@0.1.0","manifest_path":"/s/t/Cargo.toml","target":{"kind":["test"],"name":"outer"},"profile":{"test":true},"executable":"/s/b/outer"}"#,
            "warning: noise",
            r#"{"reason":"build-finished","success":true}"#,
        ];
        let built = built(&lines.join("\n"));
        assert!(built.complete && !built.has_docs, "the only library lies elsewhere");
        let [binary] = built.binaries.as_slice() else { panic!("one test binary: {built:?}") };
        assert_eq!((binary.label.as_str(), binary.directory.as_str()), ("demo test outer", "/s/t"));
        let has = |name: &str, value: &str| binary.variables.contains(&(name.into(), value.into()));
        assert!(has("CARGO_BIN_EXE_run", "/s/b/run") && has("OUT_DIR", "/s/b/out") && has("K", "v"));
        assert!(has("CARGO_PKG_VERSION", "0.1.0"));
        assert_eq!(built.libraries, ["/s/b/out"]);
    }

    #[test]
    fn a_compile_error_keeps_its_place() {
        let line = r#"{"reason":"compiler-message","package_id":"x","message":{"level":"error","message":"mismatched types","rendered":"error: …","spans":[{"file_name":"a.rs","line_start":1,"is_primary":false},{"file_name":"src/lib.rs","line_start":4,"is_primary":true}]}}"#;
        let built = built(line);
        assert!(!built.complete);
        assert_eq!(built.errors[0].place, Some(("src/lib.rs".into(), 4)));
    }

    #[test]
    fn what_could_not_be_fetched_is_told_apart_from_what_does_not_compile() {
        let stderr = "error: failed to download `serde v1.0.9`\n\nCaused by:\n  attempting to make an HTTP request, but --offline was specified\n";
        assert_eq!(lacks(stderr), Some(vec!["serde".into()]));
        assert_eq!(lacks("error: could not compile `demo` (lib) due to 1 previous error"), None);
        let stderr = "error: no matching package named `rstest` found\nlocation searched: crates.io index\n";
        assert_eq!(lacks(stderr), Some(vec!["rstest".into()]));
    }

    #[test]
    fn ids_of_packages_are_read_in_both_forms() {
        assert_eq!(name_and_version("path+file:///s/demo#0.1.0"), ("demo".into(), "0.1.0".into()));
        assert_eq!(name_and_version("path+file:///s/x#demo@0.1.0"), ("demo".into(), "0.1.0".into()));
    }
}
