//! ARCHITECT at its post: planted loops are found where they are, their clean twins have none, its files can be read by others.
//!
//! The same bodies run on a real executor and in the simulator. What cargo itself says of this repository is asked for in
//! production's arm alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use synod_agents::architect::sources::Architecture;
use synod_agents::folder::RunFolder;
use synod_agents::task::{Handoff, Report, Task, Urgency, task_subject};
use synod_agents::{Phase, Post, Role, reading};
use synod_fabric::{Context, Fabric, FabricConfig, Priority};
use synod_platform::{files, process, random, task, testing, watch};

const WITHIN: Duration = Duration::from_secs(20);

async fn folder() -> PathBuf {
    let base = process::variable("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    let folder = base.join(format!("synod-architect-{:016x}", random::u64()));
    files::create_directories(&folder).await.expect("a temporary folder");
    folder
}

async fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    files::create_directories(path.parent().expect("it has one")).await.expect("directories");
    files::write(&path, text.as_bytes()).await.expect("a file");
}

/// Lets ARCHITECT look at a tree of these files, and gives what it wrote.
async fn look(sources: &[(&str, &str)]) -> (Report, Architecture, Handoff, BTreeMap<String, String>) {
    let base = folder().await;
    let (tree, run) = (base.join("shop"), base.join("run"));
    for (path, text) in sources {
        put(&tree, path, text).await;
    }
    let root = tree.to_string_lossy().into_owned();
    let listed = reading::walk(&root).await.expect("the tree");
    let surveyed = RunFolder::of(&run, "project_orchestrator");
    let input = surveyed.write_json("tree.json", &listed).await.expect("our own folder");
    let order = Task {
        id: "architect".into(),
        run: "r".into(),
        goal: "look".into(),
        tree: root,
        folder: run.to_string_lossy().into_owned(),
        inputs: BTreeMap::from([("tree".to_string(), input)]),
        within_ms: u64::try_from(WITHIN.as_millis()).expect("short"),
        priority: Urgency::Normal,
        lease: None,
    };
    let context: Context = Fabric::new(FabricConfig::named("test")).enter("home").expect("the first context");
    let post = Post::open(&context, Role::Architect).await.expect("its place is free");
    let (_phase, phase) = watch::channel(Phase::Serve);
    let post = task::spawn(post.run(phase));
    let client = context.agent("client").expect("free");
    let order = serde_json::to_vec(&order).expect("plain data");
    let answer =
        client.request(&task_subject("architect"), Priority::Normal, order, WITHIN).await.expect("an answer");
    let handoff: Handoff = serde_json::from_slice(answer.payload()).expect("a handoff");
    post.abort();

    let folder = RunFolder::of(&run, "architect");
    let mut written = BTreeMap::new();
    for output in &handoff.outputs {
        let bytes = folder.read(output).await.expect("an output that was promised");
        written.insert(output.clone(), String::from_utf8(bytes).expect("text"));
    }
    let report = serde_json::from_str(&written["architect/findings.json"]).expect("its form");
    let graph = serde_json::from_str(&written["architect/graph.json"]).expect("its form");
    files::remove_tree(&base).await.expect("our own folder");
    (report, graph, handoff, written)
}

fn told(report: &Report) -> Vec<String> {
    let tell = |f: &synod_agents::Finding| format!("{} {} {}", f.severity, f.rule, f.place);
    report.findings.iter().map(tell).collect()
}

/// A tree, its clean twin's other files, and what is to be found.
struct Case {
    shared: &'static [(&'static str, &'static str)],
    planted: &'static [(&'static str, &'static str)],
    clean: &'static [(&'static str, &'static str)],
    found: &'static [&'static str],
}

const CASES: &[Case] = &[
    // Crates: cargo refuses such a loop when it builds; a loop by tests is allowed.
    Case {
        shared: &[
            ("Cargo.toml", "[workspace]\nmembers = [\"a\", \"b\"]\n"),
            (
                "a/Cargo.toml",
                "[package]\nname = \"a\"\nedition = \"2024\"\n[dependencies]\nb = { path = \"../b\" }\n",
            ),
            ("a/src/lib.rs", "mod x;\nmod y;\n"),
            ("a/src/x.rs", "use crate::y::Y;\npub struct X;\n"),
            ("a/src/y.rs", "use super::x::X;\npub struct Y;\n"),
        ],
        planted: &[
            (
                "b/Cargo.toml",
                "[package]\nname = \"b\"\nedition = \"2024\"\n[build-dependencies]\na = { path = \"../a\" }\n",
            ),
            ("b/src/lib.rs", ""),
            ("b/src/lost.rs", "pub fn lost() {}\n"),
        ],
        clean: &[
            (
                "b/Cargo.toml",
                "[package]\nname = \"b\"\nedition = \"2024\"\n[dev-dependencies]\na = { path = \"../a\" }\n",
            ),
            ("b/src/lib.rs", "#[cfg(test)] mod lost;\n"),
            ("b/src/lost.rs", "pub fn lost() {}\n"),
        ],
        found: &[
            "medium architecture.package-cycle a/Cargo.toml:5",
            "low architecture.orphan-module b/src/lost.rs",
        ],
    },
    // Python: a loop as modules load, and the same loop put off.
    Case {
        shared: &[
            ("pyproject.toml", "[project]\nname = \"shop\"\n"),
            ("shop/__init__.py", "from .cart import Cart\n"),
            ("shop/price.py", "from shop.rate import RATE\n"),
        ],
        planted: &[
            ("shop/cart.py", "\"\"\"Carts.\"\"\"\nimport os\nfrom .price import total\n"),
            ("shop/rate.py", "from . import cart\nRATE = 1\n"),
        ],
        clean: &[
            (
                "shop/cart.py",
                "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .rate import RATE\nfrom .price import total\n",
            ),
            ("shop/rate.py", "RATE = 1\ndef cart():\n    from . import cart\n    return cart\n"),
        ],
        found: &["low architecture.import-cycle shop/cart.py:3"],
    },
    // C: two headers that need each other, and a forward declaration.
    Case {
        shared: &[
            ("include/list.h", "#ifndef LIST_H\n#define LIST_H\n#include \"node.h\"\n#endif\n"),
            ("src/list.c", "#include <list.h>\n#include <stdlib.h>\n"),
        ],
        planted: &[(
            "include/node.h",
            "#pragma once\n#include \"list.h\"\nstruct node { struct list *in; };\n",
        )],
        clean: &[(
            "include/node.h",
            "#pragma once\n// #include \"list.h\"\nstruct list;\nstruct node { struct list *in; };\n",
        )],
        found: &["low architecture.import-cycle include/list.h:3"],
    },
    // Headers without guards: the compiler gives up.
    Case {
        shared: &[("a.h", "#include \"b.h\"\n")],
        planted: &[("b.h", "#include \"a.h\"\n")],
        clean: &[("b.h", "#define B \"a.h\"\n")],
        found: &["medium architecture.import-cycle a.h:1"],
    },
    // JavaScript: as modules load, and when called.
    Case {
        shared: &[
            ("package.json", "{\"name\": \"shop\"}"),
            ("src/cart.js", "import { total } from './price.js';\n"),
        ],
        planted: &[("src/price.js", "\nconst { Cart } = require('./cart');\n")],
        clean: &[("src/price.js", "export const cart = () => import('./cart.js'); // import './cart.js'\n")],
        found: &["low architecture.import-cycle src/cart.js:1"],
    },
    // TypeScript: types alone bind nothing.
    Case {
        shared: &[("src/cart.ts", "import { total } from './price';\n")],
        planted: &[("src/price.ts", "import { Cart } from './cart';\n")],
        clean: &[("src/price.ts", "import type { Cart } from './cart';\n")],
        found: &["info architecture.import-cycle src/cart.ts:1"],
    },
    // Layers that the tree declares.
    Case {
        shared: &[
            (
                "architecture.toml",
                "[[layer]]\nname = \"program\"\nparts = [\"app\"]\n[[layer]]\nname = \"ground\"\nparts = [\"base\"]\n",
            ),
            ("app/main.py", "import base.io\n"),
            ("base/__init__.py", ""),
            ("app/__init__.py", ""),
        ],
        planted: &[("base/io.py", "def f():\n    import app.main\n")],
        clean: &[("base/io.py", "import base\n")],
        found: &["medium architecture.layer-break base/io.py:2"],
    },
];

#[test]
fn a_planted_loop_is_found_where_it_is_and_its_clean_twin_has_none() {
    testing::run(11, || async {
        for case in CASES {
            let planted: Vec<_> = case.shared.iter().chain(case.planted).copied().collect();
            assert_eq!(told(&look(&planted).await.0), case.found, "{planted:?}");
            let clean: Vec<_> = case.shared.iter().chain(case.clean).copied().collect();
            assert_eq!(told(&look(&clean).await.0), [""; 0], "the clean twin: {clean:?}");
        }
    });
}

#[test]
fn everything_promised_is_written_and_two_looks_write_the_same() {
    testing::run(12, || async {
        let sources = [CASES[1].shared, CASES[1].planted, CASES[2].shared, CASES[2].clean].concat();
        let (report, graph, handoff, written) = look(&sources).await;
        assert_eq!(
            handoff.outputs,
            ["ARCHITECTURE.md", "architecture.dot", "architecture.svg", "graph.json", "findings.json"]
                .map(|name| format!("architect/{name}"))
        );
        assert_eq!((report.agent.as_str(), handoff.metrics["findings"]), ("architect", 1.0));
        assert_eq!(graph.modules.nodes.len(), 7);
        let document = &written["architect/ARCHITECTURE.md"];
        assert!(document.starts_with("# Architecture of shop\n"), "{document}");
        assert!(document.contains("shop.cart → shop.price → shop.rate → shop.cart:"), "{document}");
        assert!(document.contains("- shop.rate uses shop.cart at `shop/rate.py:1`"), "{document}");
        assert!(written["architect/architecture.svg"].contains("arch-knot"));
        assert_eq!(look(&sources).await.3, written, "no clock, no path of the machine, no chance");
    });
}

#[test]
fn a_tree_without_sources_is_told_as_such() {
    testing::run(13, || async {
        let (report, graph, _, written) = look(&[("README.md", "# Prose\n")]).await;
        assert!(report.findings.is_empty() && graph.modules.nodes.is_empty());
        assert!(written["architect/ARCHITECTURE.md"].contains("no source file"));
    });
}

/// What cargo itself says of this repository, beside what ARCHITECT reads in it.
#[cfg(not(madsim))]
mod with_cargo {
    use std::collections::BTreeSet;

    use synod_agents::architect::graph::{Edge, Tie};
    use synod_agents::architect::rust::crates;
    use synod_platform::process::Tool;

    use super::*;

    type Edges = BTreeSet<(String, String, &'static str)>;

    /// The dependencies by path of one workspace, as cargo tells them; and the folders of its members.
    async fn asked(root: &Path, manifest: &str) -> (Edges, BTreeSet<String>) {
        let tool = Tool::new(env!("CARGO"))
            .args([
                "metadata",
                "--offline",
                "--no-deps",
                "--format-version",
                "1",
                "--manifest-path",
                manifest,
            ])
            .directory(root)
            .inherit(&["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"])
            .output_limit(16 << 20);
        let output = tool.run().await.expect("cargo runs this test, so it is here");
        assert!(output.is_success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let within = |path: &str| {
            let below = Path::new(path).strip_prefix(root).expect("within the repository");
            below.to_str().expect("UTF-8").to_string()
        };
        let (mut edges, mut members) = (Edges::new(), BTreeSet::new());
        for package in told["packages"].as_array().expect("packages") {
            let manifest = Path::new(package["manifest_path"].as_str().expect("a path"));
            let from = within(manifest.parent().and_then(Path::to_str).expect("a folder"));
            for dependency in package["dependencies"].as_array().expect("dependencies") {
                if let Some(path) = dependency["path"].as_str() {
                    let kind = match dependency["kind"].as_str() {
                        None => "normal",
                        Some("dev") => "dev",
                        Some(_) => "build",
                    };
                    edges.insert((from.clone(), within(path), kind));
                }
            }
            members.insert(from);
        }
        (edges, members)
    }

    #[test]
    fn the_edges_between_crates_are_those_that_cargo_tells() {
        testing::run(14, || async {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
            let root = files::canonical(&root).await.expect("the repository");
            let listed = reading::walk(root.to_str().expect("UTF-8")).await.expect("the repository");
            let mut manifests = BTreeMap::new();
            for entry in listed.files().filter(|entry| entry.path.ends_with("Cargo.toml")) {
                let bytes = files::read(&root.join(&entry.path), 1 << 20).await.expect("a manifest");
                manifests.insert(entry.path.clone(), String::from_utf8(bytes).expect("text"));
            }
            let paths = listed.files().map(|entry| entry.path.clone()).collect();
            let found = crates::read(&manifests, &paths);
            let ours = |edge: &Edge| {
                let kind = match edge.tie {
                    Tie::Test => "dev",
                    Tie::Build => "build",
                    _ => "normal",
                };
                (found.crates[edge.from].folder.clone(), found.crates[edge.to].folder.clone(), kind)
            };
            let ours: Edges = found.depends.iter().map(ours).collect();
            let mut seen = 0;
            for manifest in ["Cargo.toml", "benches/peers/Cargo.toml"] {
                let (theirs, members) = asked(&root, manifest).await;
                let of_members: Edges =
                    ours.iter().filter(|(from, _, _)| members.contains(from)).cloned().collect();
                assert_eq!(of_members, theirs, "{manifest}");
                seen += theirs.len();
            }
            assert_eq!(seen, ours.len(), "every crate belongs to one of the two workspaces");
            assert!(seen > 40, "cargo told {seen} edges");
        });
    }
}
