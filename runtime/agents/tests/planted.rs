//! LINTER, SECURITY and DOCGEN on planted trees and their clean twins, with the tools that are on this machine.
//!
//! What is planted is found with its file and line, the twin is clean, the tree is left as it was, and the counts are the tools' own. A tool that
//! is missing must be told as missing. The simulator has no such tools, so this runs on the real arm alone.
#![cfg(not(madsim))]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use synod_agents::finding::Finding;
use synod_agents::folder::sha256;
use synod_agents::task::{Handoff, Report, Task, Urgency, task_subject};
use synod_agents::{Phase, Post, Role, reading};
use synod_fabric::{Fabric, FabricConfig, Priority};
use synod_platform::files::{self, WalkLimits};
use synod_platform::process::{self, Tool};
use synod_platform::{task, testing, watch};

const WITHIN: Duration = Duration::from_secs(300);

/// A folder with a tree and a run folder in it.
struct Place {
    scratch: files::Scratch,
}

impl Place {
    async fn with(files_in_it: &[(&str, &str)]) -> Place {
        let base = std::env::temp_dir();
        let place = Place { scratch: files::scratch(&base).await.expect("a folder for the while") };
        for (path, text) in files_in_it {
            let whole = place.tree().join(path);
            files::create_directories(whole.parent().expect("below the tree")).await.expect("a folder");
            files::write(&whole, text.as_bytes()).await.expect("a file");
        }
        place
    }

    fn tree(&self) -> PathBuf {
        self.scratch.path().join("tree")
    }

    fn run(&self) -> PathBuf {
        self.scratch.path().join("runs/one")
    }

    /// All files of the tree with what they hold.
    async fn content(&self) -> BTreeMap<PathBuf, String> {
        let limits = WalkLimits { honour_ignores: false, ..WalkLimits::default() };
        let mut content = BTreeMap::new();
        for entry in files::walk(&self.tree(), limits).await.expect("a tree").entries {
            if entry.kind == files::Kind::File {
                let bytes = files::read_below(&self.tree(), &entry.path, 1 << 20).await.expect("small");
                content.insert(entry.path, sha256(&bytes));
            }
        }
        content
    }

    /// Lets an agent do its part on the tree.
    async fn let_work(&self, role: Role) -> (Handoff, Report) {
        let before = self.content().await;
        let listed = reading::walk(self.tree().to_str().expect("UTF-8")).await.expect("a tree");
        files::create_directories(&self.run().join("o")).await.expect("a folder");
        files::write(&self.run().join("o/tree.json"), serde_json::to_vec(&listed).expect("plain data"))
            .await
            .expect("a file");
        let context = Fabric::new(FabricConfig::named("test")).enter("home").expect("the first context");
        let post = Post::open(&context, role).await.expect("its place is free");
        let (_phase, phase) = watch::channel(Phase::Serve);
        let post = task::spawn(post.run(phase));
        let client = context.agent("client").expect("free");
        let order = Task {
            id: "t".into(),
            run: "r".into(),
            goal: "try".into(),
            tree: self.tree().to_string_lossy().into_owned(),
            folder: self.run().to_string_lossy().into_owned(),
            inputs: BTreeMap::from([("tree".to_string(), "o/tree.json".to_string())]),
            within_ms: u64::try_from(WITHIN.as_millis()).expect("short"),
            priority: Urgency::Normal,
            lease: None,
        };
        let payload = serde_json::to_vec(&order).expect("plain data");
        let answer = client
            .request(&task_subject(role.name()), Priority::Normal, payload, WITHIN)
            .await
            .expect("an answer");
        post.abort();
        let handoff: Handoff = serde_json::from_slice(answer.payload()).expect("a handoff");
        let report = self.output(&format!("{}/findings.json", role.name())).await;
        assert_eq!(self.content().await, before, "the tree is left as it was");
        let runs = self.scratch.path().join("runs");
        let mut left = files::list(&runs).await.expect("a folder");
        left.extend(files::list(&runs.join(".scratch")).await.unwrap_or_default());
        left.retain(|name| name != ".scratch");
        assert_eq!(left, ["one"], "nothing is left of a scratch folder");
        (handoff, serde_json::from_str(&report).expect("its form"))
    }

    async fn output(&self, relative: &str) -> String {
        let bytes = files::read_below(&self.run(), Path::new(relative), 16 << 20).await.expect(relative);
        String::from_utf8(bytes).expect("UTF-8")
    }
}

fn told(findings: &[Finding]) -> Vec<String> {
    let mut told: Vec<String> = findings
        .iter()
        .map(|finding| format!("{} {}:{}", finding.rule, finding.place.path, finding.place.line.unwrap_or(0)))
        .collect();
    told.sort();
    told
}

/// Whether a tool is here; if not, the report must say so.
fn has(tool: &str, report: &Report) -> bool {
    let here = process::which(tool).is_some();
    let said =
        report.warnings.iter().any(|warning| warning.starts_with(&format!("unavailable: needs {tool} ")));
    assert!(here || said, "{tool} is missing and nobody said so: {:?}", report.warnings);
    here
}

const MANIFEST: &str = "[package]\nname = \"planted\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";

/// How many findings there are of each rule of these families.
fn tally(findings: &[Finding], families: &[&str]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for finding in findings.iter().filter(|one| families.iter().any(|family| one.rule.starts_with(family))) {
        *counts.entry(finding.rule.clone()).or_insert(0) += 1;
    }
    counts
}

/// What the report says of a tool that was used.
async fn used(place: &Place, tool: &str) -> serde_json::Value {
    let listed = place.output("linter/lint_report.json").await;
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let tools = listed["tools"].as_array().expect("tools");
    tools.iter().find(|used| used["tool"] == tool).expect("it was used").clone()
}

#[test]
fn clippys_findings_are_its_own_by_number_and_name() {
    testing::run(1, || async {
        let odd = "pub fn twice(x: &Vec<u8>) -> usize {\n    let unused = 1;\n    return x.len() * 2;\n}\n\npub fn again(x: &Vec<u8>) -> usize {\n    if x.len() == 0 {\n        return 0;\n    }\n    return x.len();\n}\n\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn t() {\n        assert_eq!(super::twice(&vec![1]), 2);\n        assert!(true);\n    }\n}\n";
        let files = [
            ("Cargo.toml", MANIFEST),
            ("src/lib.rs", odd),
            (
                "src/main.rs",
                "fn main() {\n    let mut n = 0;\n    n = n + 1;\n    println!(\"{}\", n.clone());\n}\n",
            ),
            (
                "tests/whole.rs",
                "#[test]\nfn t() {\n    let x = planted::again(&vec![]) as usize;\n    assert_eq!(x == 0, true);\n}\n",
            ),
            ("build.rs", "fn main() {\n    let _ = std::fs::write(\"WRITTEN\", \"by the build\");\n}\n"),
        ];
        let place = Place::with(&files).await;
        let (_, report) = place.let_work(Role::Linter).await;
        if !has("cargo-clippy", &report) {
            println!("unavailable: needs clippy");
            return;
        }
        if report.warnings.iter().any(|warning| warning.starts_with("clippy and eslint were not called")) {
            println!("unavailable: needs a jail, which clippy is called in");
            assert_eq!(tally(&report.findings, &["clippy."]), BTreeMap::new());
            return;
        }
        let told = told(&report.findings);
        for wanted in [
            "clippy.ptr_arg src/lib.rs:1",
            "rustc.unused_variables src/lib.rs:2",
            "clippy.needless_return src/lib.rs:3",
            "clippy.assign_op_pattern src/main.rs:3",
            "clippy.bool_assert_comparison tests/whole.rs:4",
        ] {
            assert!(
                told.iter().any(|one| one == wanted),
                "{wanted} is none of {told:?}; {:?}",
                report.warnings
            );
        }
        // The same by hand, on a copy of its own: what cargo tells twice, for a library and for its tests, counts once.
        let copy = place.scratch.path().join("by-hand");
        files::copy_tree(&place.tree(), &copy, files::CopyLimits::default()).await.expect("a copy");
        let by_hand = Tool::new(process::which("cargo").expect("beside clippy"))
            .args(["clippy", "--workspace", "--all-targets", "--offline", "--message-format=json"])
            .inherit(&["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"])
            .directory(&copy)
            .time_limit(WITHIN)
            .run()
            .await
            .expect("clippy runs");
        let said = String::from_utf8(by_hand.stdout).expect("UTF-8");
        let lines = said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        let messages = lines.filter(|line| line["reason"] == "compiler-message");
        let named = messages.filter_map(|line| {
            let code = line["message"]["code"]["code"].as_str()?;
            let rule = match code.strip_prefix("clippy::") {
                Some(lint) => format!("clippy.{lint}"),
                None => format!("rustc.{code}"),
            };
            Some((rule, line["message"]["rendered"].as_str().expect("words").to_string()))
        });
        let mut own = BTreeMap::new();
        for (rule, _) in named.collect::<BTreeSet<_>>() {
            *own.entry(rule).or_insert(0) += 1;
        }
        let ours = tally(&report.findings, &["clippy.", "rustc."]);
        assert_eq!(ours, own, "{told:?}");
        assert!(
            own["clippy.ptr_arg"] == 2 && own["clippy.needless_return"] == 2 && own.len() >= 7,
            "{own:?}"
        );
        let used = used(&place, "cargo-clippy").await;
        assert!(used["version"].as_str().is_some_and(|version| version.starts_with("clippy ")), "{used}");
        assert_eq!(used["findings"], ours.values().sum::<usize>());
    });
}

#[test]
fn the_compilers_findings_of_c_are_its_own_by_number_and_name() {
    testing::run(1, || async {
        let odd = "#include <stdio.h>\n#include \"a.h\"\n\nstatic int unused(void) { return 1; }\n\nint main(int argc, char **argv)\n{\n    int n, left;\n    unsigned m = 3;\n    printf(\"%s %s\\n\", n, m);\n    if (m = 4)\n        for (int i = 0; i < m; i++) ;\n    return LEVEL;\n}\n";
        let place =
            Place::with(&[("src/a.c", odd), ("include/a.h", "static int spare(void) { return LEVEL; }\n")])
                .await;
        let database = serde_json::json!([{
            "directory": place.tree(), "file": "src/a.c", "arguments": ["cc", "-Iinclude", "-DLEVEL=2", "-c", "src/a.c"],
        }]);
        files::write(&place.tree().join("compile_commands.json"), database.to_string())
            .await
            .expect("a file");
        let (_, report) = place.let_work(Role::Linter).await;
        if !has("gcc", &report) {
            println!("unavailable: needs gcc");
            return;
        }
        let by_hand = Tool::new(process::which("gcc").expect("looked for before"))
            .args(["-Iinclude", "-DLEVEL=2", "-Wall", "-Wextra", "-S", "-o", "/dev/null", "src/a.c"])
            .inherit(&["PATH"])
            .variable("LC_ALL", "C")
            .directory(place.tree())
            .time_limit(WITHIN)
            .run()
            .await
            .expect("gcc runs");
        let said = String::from_utf8(by_hand.stderr).expect("UTF-8");
        let mut own = BTreeMap::new();
        for line in said.lines().filter(|line| line.contains(": warning: ")) {
            let name = line.rsplit_once("[-").expect("its flag").1.trim_end_matches([']', '=']);
            *own.entry(format!("gcc.{name}")).or_insert(0) += 1;
        }
        let ours = tally(&report.findings, &["gcc."]);
        assert_eq!(ours, own, "{said}");
        assert!(own["gcc.Wformat"] == 2 && own["gcc.Wunused-function"] == 2 && own.len() >= 5, "{own:?}");
        assert_eq!(used(&place, "gcc").await["findings"], ours.values().sum::<usize>());
    });
}

#[test]
fn planted_defects_are_found_in_four_languages_and_clean_twins_are_clean() {
    testing::run(1, || async {
        let rust = "pub fn f() -> u8 {\n    7\n}\n";
        let c = "#include <stdio.h>\n\nint main(void)\n{\n    int n = 3;\n    printf(\"%d\\n\", n);\n    return 0;\n}\n";
        let python = "def f(x):\n    return x\n";
        let javascript = "function f(x) {\n  return x;\n}\nmodule.exports = f;\n";
        let planted = Place::with(&[
            ("Cargo.toml", MANIFEST),
            ("src/lib.rs", &rust.replace("    7", "    7 +")),
            ("c/form.c", &c.replace("n = 3;", "n = 3")),
            ("c/word.c", &c.replace("%d", "%s")),
            ("c/flow.c", &c.replace("n = 3", "n")),
            ("py/a.py", &python.replace("return x", "return (x")),
            ("js/a.js", &javascript.replace("return x;", "return x +;")),
        ])
        .await;
        let (_, report) = planted.let_work(Role::Linter).await;
        let found = told(&report.findings);
        let clippy = found.iter().any(|one| one.starts_with("rustc."));
        for (tool, rule, path, line) in [
            ("rustfmt", if clippy { "rustc.error" } else { "lint.rust-syntax" }, "src/lib.rs", 3),
            ("gcc", "gcc.error", "c/form.c", 6),
            ("gcc", "gcc.Wformat", "c/word.c", 6),
            ("gcc", "gcc.Wuninitialized", "c/flow.c", 6),
            ("python3", "lint.python-syntax", "py/a.py", 2),
            ("node", "lint.javascript-syntax", "js/a.js", 2),
        ] {
            let wanted = format!("{rule} {path}:{line}");
            assert!(!has(tool, &report) || found.contains(&wanted), "{wanted} is none of {found:?}");
        }

        let twin = Place::with(&[
            ("Cargo.toml", MANIFEST),
            ("src/lib.rs", rust),
            ("c/form.c", c),
            ("c/word.c", c),
            ("c/flow.c", c),
            ("py/a.py", python),
            ("js/a.js", javascript),
        ])
        .await;
        let (_, report) = twin.let_work(Role::Linter).await;
        assert_eq!(told(&report.findings), Vec::<String>::new());
    });
}

/// What a tool run by hand in a tree says of it: whether it takes it. Nothing if the tool is not here.
async fn takes(tool: &str, args: &[&str], tree: &Path) -> Option<bool> {
    let Some(found) = process::which(tool) else {
        println!("unavailable: needs {tool}");
        return None;
    };
    let tool = Tool::new(found)
        .args(args.iter().copied())
        .inherit(&["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"])
        .directory(tree)
        .time_limit(WITHIN);
    Some(tool.run().await.expect("it runs").is_success())
}

#[test]
fn broken_manifests_and_lock_files_are_told_and_every_agent_goes_on() {
    testing::run(1, || async {
        let top = format!("{MANIFEST}\n[dependencies]\nlow = {{ path = \"low\", version = \"0.1\" }}\n");
        let low = MANIFEST.replace("planted", "low");
        let apart = format!("{}[workspace]\n", MANIFEST.replace("planted", "apart"));
        let lock = "version = 4\n\n[[package]]\nname = \"low\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"planted\"\nversion = \"0.1.0\"\ndependencies = [\n \"low\",\n]\n";
        let held = "{\n  \"lockfileVersion\": 3,\n  \"packages\": { \"\": { \"dependencies\": { \"a\": \"file:a\" } } }\n}\n";
        let sound = [
            ("Cargo.toml", top.as_str()),
            ("Cargo.lock", lock),
            ("src/lib.rs", "pub fn f() {}\n"),
            ("low/Cargo.toml", low.as_str()),
            ("low/src/lib.rs", "pub fn g() {}\n"),
            ("apart/Cargo.toml", apart.as_str()),
            ("apart/src/lib.rs", "pub fn h() {}\n"),
            ("web/package.json", "{\n  \"private\": true,\n  \"dependencies\": { \"a\": \"file:a\" }\n}\n"),
            ("web/package-lock.json", held),
            ("py/pyproject.toml", "[project]\nname = \"x\"\nversion = \"1\"\n"),
            ("c/Makefile", "all:\n\ttrue\n"),
        ];
        let broken = |path: &str, text: &str| match path {
            "Cargo.lock" => text.replace("0.1.0", "0.2.0"),
            "apart/Cargo.toml" => text.replace("[workspace]", "[workspace"),
            "web/package.json" => text.replace("}\n}", "},\n}"),
            "web/package-lock.json" => text.replace("\"lockfileVersion\": 3,", "<<<<<<< HEAD"),
            "py/pyproject.toml" => text.replace("\"1\"", "1."),
            "c/Makefile" => text.replace('\t', "        "),
            _ => text.to_string(),
        };
        let other: Vec<(&str, String)> =
            sound.iter().map(|(path, text)| (*path, broken(path, text))).collect();
        let other: Vec<(&str, &str)> = other.iter().map(|(path, text)| (*path, text.as_str())).collect();
        let (planted, twin) = (Place::with(&other).await, Place::with(&sound).await);

        // What their own tools say.
        for (tool, args, folder) in [
            ("cargo", &["metadata", "--locked", "--offline", "--format-version=1"][..], ""),
            ("cargo", &["metadata", "--offline", "--format-version=1"][..], "apart"),
            ("make", &["-n"][..], "c"),
        ] {
            let taken = takes(tool, args, &twin.tree().join(folder)).await;
            assert!(taken != Some(false), "{tool} refuses the twin's {folder}");
            assert!(
                takes(tool, args, &planted.tree().join(folder)).await != Some(true),
                "{tool} takes {folder}"
            );
        }

        let told_of = async |place: &Place, role: Role| {
            let (_, report) = place.let_work(role).await;
            let about = |one: &&Finding| ["lint.", "locks."].iter().any(|kind| one.rule.starts_with(kind));
            let told = report
                .findings
                .iter()
                .filter(about)
                .map(|one| format!("{} {} {}", one.severity, one.rule, one.place));
            told.collect::<BTreeSet<String>>()
        };
        assert_eq!(
            told_of(&planted, Role::Linter).await,
            BTreeSet::from(
                [
                    "high lint.toml-syntax apart/Cargo.toml:5:11",
                    "high lint.json-syntax web/package.json:4:1",
                    "high lint.json-syntax web/package-lock.json:2:3",
                    "high lint.toml-syntax py/pyproject.toml:3:13",
                    "high lint.makefile-blanks c/Makefile:2",
                ]
                .map(String::from)
            )
        );
        assert_eq!(
            told_of(&planted, Role::Security).await,
            BTreeSet::from(
                ["medium locks.mismatch Cargo.toml:3", "medium locks.mismatch low/Cargo.toml:3"]
                    .map(String::from)
            )
        );
        assert_eq!(told_of(&twin, Role::Linter).await, BTreeSet::new());
        assert_eq!(told_of(&twin, Role::Security).await, BTreeSet::new());
        for role in [Role::Architect, Role::Docgen, Role::Testbed] {
            planted.let_work(role).await;
        }
    });
}

#[test]
fn yaml_that_is_none_is_told_at_its_line_or_its_reader_as_missing() {
    testing::run(1, || async {
        let yaml = "a: 1\nb: [1, 2]\n--- !x\nc: &y 3\n";
        let planted = Place::with(&[("a.yaml", &yaml.replace("2]", "2")), (".ci/b.yml", yaml)]).await;
        let (handoff, report) = planted.let_work(Role::Linter).await;
        if handoff.warnings.iter().any(|told| told.starts_with("unavailable: needs")) {
            assert_eq!(told(&report.findings), Vec::<String>::new());
        } else {
            assert_eq!(told(&report.findings), ["lint.yaml-syntax a.yaml:3"]);
        }
    });
}

#[test]
fn planted_secrets_are_found_in_four_languages_and_clean_twins_are_clean() {
    testing::run(1, || async {
        // Made here, so that no scanner takes this file for a leak.
        let token = format!("ghp_{}", "a8Kd03LmQ9zXv1RtYb7WnE5cPj2HsU6fGo4i");
        let lines = |secret: &str| {
            [
                ("src/lib.rs", format!("pub fn f() {{}}\nconst T: &str = \"{secret}\";\n")),
                ("a.c", format!("int x;\nconst char *t = \"{secret}\";\n")),
                ("a.py", format!("x = 1\nt = \"{secret}\"\n")),
                ("a.js", format!("let x;\nconst t = \"{secret}\";\n")),
            ]
        };
        let files = lines(&token);
        let borrowed: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        let planted = Place::with(&borrowed).await;
        let (_, report) = planted.let_work(Role::Security).await;
        let found: Vec<String> =
            told(&report.findings).into_iter().filter(|one| one.starts_with("secret.")).collect();
        let places: Vec<&str> = found.iter().filter_map(|one| one.split(' ').nth(1)).collect();
        assert_eq!(places, ["a.c:2", "a.js:2", "a.py:2", "src/lib.rs:2"], "{found:?}");

        let files = lines("read from the environment");
        let borrowed: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        let twin = Place::with(&borrowed).await;
        let (_, report) = twin.let_work(Role::Security).await;
        assert_eq!(told(&report.findings), Vec::<String>::new());
    });
}

/// Runs git in a folder, as a person would.
async fn git(directory: &Path, args: &[&str]) {
    let tool = Tool::new(process::which("git").expect("looked for before"))
        .args(["-c", "user.name=A", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"])
        .args(args.iter().copied())
        .variable("GIT_CONFIG_GLOBAL", "/dev/null")
        .directory(directory);
    let output = tool.run().await.expect("git runs");
    assert!(output.is_success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn documents_are_written_from_sources_and_history_and_the_repository_runs_nothing() {
    testing::run(1, || async {
        let place = Place::with(&[
            ("README.md", "# Planted\n\nInstall it; MIT licence. See [below](#usage) and [gone](#nowhere).\n\n## Usage\n\n```sh\nmake check\nmake gone\n```\n"),
            ("Makefile", "check:\n\ttrue\n"),
            ("Cargo.toml", MANIFEST),
            ("src/lib.rs", "//! Planted.\nmod inner;\npub use inner::{Key, turn};\n"),
            ("src/inner.rs", "/// A key.\npub struct Key;\nimpl Key {\n    pub fn fits(&self) {}\n}\npub fn turn() {}\nfn own() {}\n"),
        ])
        .await;
        let evil = place.scratch.path().join("evil");
        if process::which("git").is_some() {
            git(&place.tree(), &["init", "-q"]).await;
            git(&place.tree(), &["add", "."]).await;
            git(&place.tree(), &["commit", "-q", "-m", "feat: plant it"]).await;
            git(&place.tree(), &["tag", "v1"]).await;
            git(&place.tree(), &["commit", "-q", "--allow-empty", "-m", "Fix the door"]).await;
            let trap = format!("touch {}", evil.display());
            for key in ["core.fsmonitor", "core.pager", "gpg.program", "core.sshCommand", "core.editor"] {
                git(&place.tree(), &["config", key, &trap]).await;
            }
            git(&place.tree(), &["config", "log.showSignature", "true"]).await;
        }
        let (handoff, report) = place.let_work(Role::Docgen).await;
        assert!(
            !files::exists(&evil).await.expect("its folder is there"),
            "the repository's configuration was run"
        );
        assert_eq!(
            told(&report.findings),
            ["readme.broken-anchor README.md:3", "readme.dead-command README.md:9"]
        );

        let api = place.output("docgen/API.md").await;
        for wanted in [
            "struct planted::Key",
            "`planted::Key::fits`",
            "`src/inner.rs:4`",
            "`planted::turn`",
            "2 of 4 public items",
        ] {
            assert!(api.contains(wanted), "{wanted} is not in {api}");
        }
        assert!(!api.contains("own"), "what is private is not listed");
        assert_eq!((handoff.metrics["public_items"], handoff.metrics["documented_items"]), (4.0, 2.0));
        if process::which("git").is_some() {
            let changes = place.output("docgen/CHANGELOG.md").await;
            let at = |word: &str| changes.find(word).unwrap_or_else(|| panic!("{word} is not in {changes}"));
            assert!(
                at("Unreleased") < at("Fix the door")
                    && at("Fix the door") < at("## v1")
                    && at("## v1") < at("plant it")
            );
        } else {
            assert!(report.warnings.iter().any(|warning| warning.starts_with("unavailable: needs git")));
        }
    });
}

#[test]
fn every_item_that_rustdoc_lists_is_in_the_reference() {
    testing::run(1, || async {
        let place = Place::with(&[
            ("Cargo.toml", MANIFEST),
            ("src/lib.rs", "pub mod open;\nmod shut;\npub use shut::*;\npub use open::deep::Deep as Low;\n#[macro_export]\nmacro_rules! brick { () => {} }\n"),
            ("src/open.rs", "pub mod deep { pub struct Deep { pub x: u8 } impl Deep { pub fn m(&self) {} } }\npub enum Kind { A, B { f: u8 } }\npub type Short = u8;\n"),
            ("src/shut.rs", "mod lower;\npub use self::lower::{Trait, helper as help};\npub static S: u8 = 1;\npub const C: u8 = 2;\npub union U { pub a: u8, pub b: i8 }\n"),
            ("src/shut/lower.rs", "pub trait Trait { const K: u8; fn t(&self) {} }\npub fn helper() {}\npub fn unseen() {}\n"),
        ])
        .await;
        let Some(rustdoc) = process::which("rustdoc") else {
            println!("unavailable: needs rustdoc");
            return;
        };
        let out = place.scratch.path().join("doc");
        let own = Tool::new(rustdoc)
            .args(["--edition", "2021", "--crate-name", "planted", "-o"])
            .arg(out.to_string_lossy())
            .arg(place.tree().join("src/lib.rs").to_string_lossy())
            .inherit(&["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"])
            .time_limit(WITHIN)
            .run()
            .await
            .expect("rustdoc runs");
        assert!(own.is_success(), "{}", String::from_utf8_lossy(&own.stderr));
        place.let_work(Role::Docgen).await;
        let api = place.output("docgen/API.md").await.replace('\\', "");
        let all = files::read(&out.join("planted/all.html"), 1 << 20).await.expect("rustdoc's list");
        let all = String::from_utf8(all).expect("UTF-8");
        let list = all.split("id=\"main-content\"").nth(1).expect("a list");
        let names: Vec<&str> = list
            .split("<a href=\"")
            .skip(1)
            .filter_map(|part| part.split_once(".html\">")?.1.split_once("</a>").map(|(name, _)| name))
            .collect();
        assert_eq!(names.len(), 9, "{names:?}");
        for name in names {
            let whole = format!("planted::{name}");
            assert!(
                api.contains(&format!("{whole}\n"))
                    || api.contains(&format!("`{whole}`"))
                    || api.contains(&format!("`{whole}!`")),
                "{whole} is not in {api}"
            );
        }
    });
}
