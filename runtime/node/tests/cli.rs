//! The binary `synod` from outside, as people and CI use it: output, exit codes, signals.
#![cfg(not(madsim))]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside of the node: they start it as a process and look at its files"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

fn synod(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_synod"))
        .args(arguments)
        .env("NO_COLOR", "1")
        .output()
        .expect("the binary under test starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Errors are wrapped to the width of the terminal and framed: compares without that.
fn words(text: &str) -> String {
    text.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
}

fn tree(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("directories");
        fs::write(path, text).expect("a file");
    }
    folder
}

const CLEAN: [(&str, &str); 3] = [
    ("README.md", "# Small\n\nUsage: install it; its licence is beside it.\n"),
    ("LICENSE", "Do as you like.\n"),
    ("src/lib.rs", "#[test]\nfn it_is() {}\n"),
];

fn review(tree: &Path, more: &[&str]) -> Output {
    let out = TempDir::new().expect("a temporary folder");
    let (tree, out) = (tree.to_string_lossy().into_owned(), out.path().to_string_lossy().into_owned());
    let mut arguments = vec!["run", "review", "--path", &tree, "--out", &out];
    arguments.extend(more);
    synod(&arguments)
}

#[test]
fn a_review_tells_the_verdict_first_and_its_exit_status_tells_it_to_ci() {
    let clean = tree(&CLEAN);
    let output = review(clean.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("CLEAN: nothing was found\n"), "{}", stdout(&output));
    assert!(stderr(&output).contains("LINTER: "), "progress in plain lines: {}", stderr(&output));

    let token = format!("{}_{}", ["gh", "p"].concat(), "k3Zp9QwLx7Vt2RnB5YdJ8HsGc4Mf6TbXeAoU");
    fs::write(clean.path().join("src/a.py"), format!("# settings\nTOKEN = '{token}'\n")).expect("a file");
    fs::write(clean.path().join("broken.py"), "def f(:\n    pass\n").expect("a file");
    let output = review(clean.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let told = stdout(&output);
    assert!(told.starts_with("FAIL: 1 of "), "{told}");
    assert!(told.contains("src/a.py:2: a GitHub token (ghp_…, 40 characters)"), "{told}");
    assert!(!told.contains(&token), "a secret is never told in full");
    assert!(
        told.contains("broken.py:1:") || told.contains("unavailable: needs python3"),
        "either python3 says so, or its absence is told: {told}"
    );
}

#[test]
fn a_review_in_json_is_one_object_with_all_findings() {
    let tree = tree(&[("a.json", "{\n  \"a\" 1\n}\n")]);
    let output = review(tree.path(), &["--format", "json", "--fail-on", "critical"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let told: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(told["verdict"]["outcome"], "pass");
    let finding = &told["verdict"]["findings"][0];
    assert_eq!(
        (finding["rule"].as_str(), finding["place"]["line"].as_u64()),
        (Some("lint.json-syntax"), Some(2))
    );
    let folder = told["folder"].as_str().expect("where it lies");
    assert!(folder.contains("review-"), "{folder}");
}

#[test]
fn a_review_that_is_interrupted_ends_at_once_and_takes_its_tools_with_it() {
    let tree = tree(&[
        ("a.py", "pass\n"),
        ("tools/python3", "#!/bin/sh\necho $$ > \"$HOME/pid\"\nexec sleep 600\n"),
    ]);
    let tools = tree.path().join("tools");
    fs::set_permissions(tools.join("python3"), fs::Permissions::from_mode(0o755)).expect("our own file");
    let home = TempDir::new().expect("a temporary folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_synod"))
        .args(["run", "review", "--path"])
        .arg(tree.path())
        .env("PATH", format!("{}:/usr/bin:/bin", tools.display()))
        .env("HOME", home.path())
        .env_remove("XDG_STATE_HOME")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary under test starts");
    let pid = home.path().join("pid");
    let tool = loop {
        match fs::read_to_string(&pid) {
            Ok(text) if text.ends_with('\n') => break text.trim().to_string(),
            _ => std::thread::yield_now(),
        }
        assert!(child.try_wait().expect("our own child").is_none(), "it ended before its tool was started");
    };
    assert!(Path::new("/proc").join(&tool).exists());
    kill("-INT", child.id());
    assert_eq!(child.wait().expect("it ends").code(), Some(4));
    while Path::new("/proc").join(&tool).exists() {
        std::thread::yield_now();
    }
}

#[test]
fn a_wrong_command_line_is_told_with_what_to_do() {
    let output = synod(&["run", "review", "--path", "/no/such/tree"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(words(&stderr(&output)).contains("/no/such/tree"), "{}", stderr(&output));
    assert_eq!(synod(&["run", "review"]).status.code(), Some(2));
    let output = synod(&["run"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(2) && told.contains("run review") && told.contains("--resume"),
        "{told}"
    );
    assert_eq!(synod(&["run", "review", "--path", ".", "--fail-on", "bad"]).status.code(), Some(2));
    let here = tree(&CLEAN);
    let within = here.path().join("runs").to_string_lossy().into_owned();
    let output = synod(&["run", "review", "--path", &here.path().to_string_lossy(), "--out", &within]);
    assert_eq!(output.status.code(), Some(2));
    assert!(words(&stderr(&output)).contains("never written"), "{}", stderr(&output));
    assert!(!here.path().join("runs").exists());
}

#[test]
fn help_teaches_by_example_and_names_the_exit_codes() {
    let help = stdout(&synod(&["--help"]));
    for part in ["synod run review --path .", "Exit codes:", "synod up --example-config"] {
        assert!(help.contains(part), "{part} in {help}");
    }
    let help = stdout(&synod(&["run", "review", "--help"]));
    assert!(help.contains("--fail-on") && help.contains("in a jail without network"), "{help}");
}

#[test]
fn the_quick_test_passes_with_either_kernels() {
    for simd in ["auto", "scalar"] {
        let output = synod(&["--simd", simd, "selftest", "--json"]);
        let told: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
        assert_eq!(told["passed"], true, "{told}");
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn the_doctor_names_the_kernel_in_use_and_obeys_the_switch() {
    let in_use = |simd: &str| {
        let output = synod(&["doctor", "--json", "--simd", simd]);
        let told: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
        let kernels = told["crc32c"].as_array().expect("kernels").clone();
        let used: Vec<Value> = kernels.into_iter().filter(|kernel| kernel["in_use"] == true).collect();
        assert_eq!(used.len(), 1);
        assert!(used[0]["gb_per_s"].as_f64().expect("it can run") > 0.0);
        used[0]["name"].as_str().expect("a name").to_string()
    };
    assert_eq!(in_use("scalar"), "scalar");
    assert_ne!(in_use("auto"), "scalar");
    let told = stdout(&synod(&["doctor"]));
    assert!(told.contains("disk operations") && told.contains("python3"), "{told}");
}

#[test]
fn the_doctor_tells_of_each_transport_whether_it_is_used_and_why() {
    let folder = tree(&[
        ("closed.toml", "[attach]\non = false\n"),
        ("ring.toml", "[links]\nlisten = \"127.0.0.1:0\"\nsockets = \"io-uring\"\n"),
    ]);
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let states = |more: &[&str]| {
        let output = synod(&[&["doctor", "--transports", "--json"], more].concat());
        let told: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
        let all = told["transports"].as_array().expect("transports").clone();
        for one in &all {
            assert!(one["why"].as_str().is_some_and(|why| !why.is_empty()), "{one}");
        }
        move |name: &str| {
            let one = all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name}"));
            (one["state"].as_str().expect("a state").to_owned(), one["why"].as_str().expect("why").to_owned())
        }
    };
    let of = states(&["--simd", "scalar"]);
    let used = [
        "shared-memory rings",
        "doorbells: socket pairs",
        "Unix sockets",
        "memory-mapped queues",
        "SIMD: copy",
    ];
    for used in used {
        assert_eq!(of(used).0, "in-use", "{used}");
    }
    assert!(of("SIMD: copy").1.starts_with("scalar"));
    assert_eq!(
        of("DMA: sealed memory").0,
        "in-use",
        "by long payloads, plain as they are unless told otherwise"
    );
    let (state, why) = of("DMA: populated and locked");
    assert!(state == "ready" && why.contains("attach.payload_memory") || why.starts_with("needs "), "{why}");
    let (state, why) = of("DMA: registered with CUDA");
    assert!(state == "ready" || why.starts_with("needs "), "{why}");
    let (by_itself, why) = of("io_uring: sockets");
    let asked_for = states(&["--config", &file("ring.toml")])("io_uring: sockets").0;
    if by_itself != "unavailable" {
        assert!(why.contains("epoll measured faster"), "{why}");
        assert_eq!((by_itself.as_str(), asked_for.as_str()), ("ready", "in-use"));
    }
    let closed = states(&["--config", &file("closed.toml")]);
    assert_eq!(closed("shared-memory rings").0, "ready", "who admits nobody shares no memory");
    assert_eq!(closed("memory-mapped queues").0, "ready", "nor files");
    assert_eq!(closed("DMA: sealed memory").0, "ready", "nor long payloads");
    let told = stdout(&synod(&["doctor", "--transports"]));
    assert!(told.contains("io_uring: files") && told.contains("DMA: huge pages"), "{told}");
}

#[test]
fn the_doctor_shows_where_contexts_go_and_that_the_kernel_agrees() {
    let folder = tree(&[
        ("node.toml", "[placement]\nload = 10\nprocessors = { work-1 = 0 }\n"),
        ("far.toml", "[placement]\nprocessors = { work-1 = 9999 }\n"),
    ]);
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let output = synod(&["doctor", "--placement", "--json", "--config", &file("node.toml")]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    let contexts = told["placement"]["contexts"].as_array().expect("contexts");
    assert_eq!(contexts.len(), 2, "{told}");
    for context in contexts {
        assert_eq!(context["agrees"], true, "{context}");
        assert_eq!(context["processor"], 0, "both sleep, talk, and need little: {context}");
        assert_eq!(context["allowed"], serde_json::json!([0]));
    }
    assert_eq!(contexts[1]["reason"], "the configuration pins it there");
    let told = stdout(&synod(&["doctor", "--placement", "--config", &file("node.toml")]));
    assert!(told.contains("agrees: runs on 0") && told.contains("both sleep"), "{told}");
    let refused = synod(&["doctor", "--placement", "--config", &file("far.toml")]);
    let told = words(&stderr(&refused));
    assert!(
        !refused.status.success() && told.contains("processor 9999, which this process cannot use"),
        "{told}"
    );
}

#[test]
fn a_wrong_configuration_names_line_key_and_the_nearest_key() {
    let folder = tree(&[
        ("node.toml", "[node]\nname = \"a\"\ncontxts = 3\n"),
        ("right.toml", "[node]\nname = \"a\"\n"),
    ]);
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let output = synod(&["up", "--config", &file("node.toml")]);
    assert_eq!(output.status.code(), Some(2));
    let told = words(&stderr(&output));
    assert!(told.contains("node.toml:3:1"), "{told}");
    assert!(told.contains("contxts") && told.contains("did you mean") && told.contains("contexts"), "{told}");
    assert_eq!(synod(&["up", "--check", "--config", &file("right.toml")]).status.code(), Some(0));
    assert_eq!(synod(&["up", "--config", &file("absent.toml")]).status.code(), Some(2));
}

#[test]
fn the_example_configuration_is_right_as_printed() {
    let example = synod(&["up", "--example-config"]);
    let folder = tree(&[("node.toml", &stdout(&example))]);
    let file = folder.path().join("node.toml").to_string_lossy().into_owned();
    let output = synod(&["up", "--check", "--config", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

fn kill(signal: &str, process: u32) {
    let killed = Command::new("kill").args([signal, &process.to_string()]).status().expect("kill is there");
    assert!(killed.success());
}

/// A node that was started and has said that it is ready.
struct Up {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
    first: String,
    /// Holds the configuration and the Unix socket.
    _folder: TempDir,
}

impl Up {
    fn start(config: &str) -> Self {
        let folder = tree(&[("node.toml", &format!("{config}\n[http]\nlisten = \"off\"\n"))]);
        let file = folder.path().join("node.toml");
        let mut child = Command::new(env!("CARGO_BIN_EXE_synod"))
            .arg("up")
            .arg("--config")
            .arg(file)
            .env("XDG_RUNTIME_DIR", folder.path())
            .env_remove("RUNTIME_DIRECTORY")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary under test starts");
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        let mut first = String::new();
        while !first.contains("ends with") {
            if said.read_line(&mut first).expect("it speaks UTF-8") == 0 {
                panic!("it ended before it was ready: {first}");
            }
        }
        Up { child, said, first, _folder: folder }
    }

    fn signal(&self, signal: &str) {
        let killed = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .expect("kill is there");
        assert!(killed.success());
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("it speaks UTF-8");
        line
    }

    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).expect("it speaks UTF-8");
        (self.child.wait().expect("it ends").code(), rest)
    }
}

#[test]
fn a_node_says_what_is_ready_and_drains_at_a_signal() {
    for signal in ["-TERM", "-INT"] {
        let up = Up::start("[node]\nname = \"alpha\"\n[links]\nlisten = \"127.0.0.1:0\"\n");
        assert!(up.first.starts_with("node alpha is ready\n"), "{}", up.first);
        assert!(
            up.first.contains("DIRECTOR") && up.first.contains("listens for other nodes at 127.0.0.1:"),
            "{}",
            up.first
        );
        up.signal(signal);
        assert_eq!(up.end(), (Some(0), "drained and stopped\n".to_string()));
    }
}

#[test]
fn two_nodes_join_over_loopback_and_the_one_that_stays_tells_that_the_other_went() {
    let peer = "[[peer]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n";
    let mut stays = Up::start(&format!("[node]\nname = \"b\"\n[links]\nlisten = \"127.0.0.1:0\"\n{peer}"));
    let address = stays.first.lines().find_map(|line| line.strip_prefix("listens for other nodes at "));
    let address = address.expect("it listens").to_string();
    let mut goes =
        Up::start(&format!("[node]\nname = \"a\"\n[[peer]]\nname = \"b\"\naddress = \"{address}\"\n"));
    assert_eq!(goes.line(), "linked with b\n");
    assert_eq!(stays.line(), "linked with a\n");
    goes.signal("-TERM");
    assert_eq!(goes.end(), (Some(0), "drained and stopped\n".to_string()));
    assert_eq!(stays.line(), "lost the link to a\n");
    stays.signal("-TERM");
    assert_eq!(stays.end(), (Some(0), "drained and stopped\n".to_string()));
}

#[test]
fn a_damaged_store_is_shown_and_repaired_from_the_command_line_after_a_dry_run_and_a_copy() {
    let folder = TempDir::new().expect("a temporary folder");
    let directory = folder.path().join("store");
    let (path, backup) = (directory.to_string_lossy().into_owned(), folder.path().join("backup"));
    synod_platform::task::block_on(async {
        let options = synod_store::Options { segment_len: 64 << 10, ..Default::default() };
        let (store, _) = synod_store::Store::open(&directory, options).await.expect("a new store");
        let log = store.log("orders").expect("a name");
        for _ in 0..4 {
            let durable = log.append(vec![vec![7; 4000].into()]).await.expect("room").1;
            durable.await.expect("a good disk");
        }
        store.close().await;
    });
    let sound = synod(&["store", "check", &path]);
    assert_eq!(sound.status.code(), Some(0), "{}", stderr(&sound));
    let told = stdout(&sound);
    assert!(told.starts_with("written ") && told.ends_with("log `orders`: 1 to 4\nsound\n"), "{told}");

    let replica = folder.path().join("replica");
    fs::create_dir(&replica).expect("a folder for a replica");
    for file in fs::read_dir(&directory).expect("the store") {
        let file = file.expect("a file of the store");
        fs::copy(file.path(), replica.join(file.file_name())).expect("a copy");
    }

    let segment = directory.join("00000001.segment");
    let mut bytes = fs::read(&segment).expect("the first segment");
    bytes[3 * 4096 + 100] ^= 1;
    fs::write(&segment, bytes).expect("damage");
    let damaged = synod(&["store", "check", &path]);
    assert_eq!(damaged.status.code(), Some(1));
    let place = "00000001.segment:12288";
    assert!(stdout(&damaged).contains(&format!("damaged at {place}, where record ")), "{}", stdout(&damaged));

    let from = ["store", "repair", &path, "--from-store", &replica.to_string_lossy(), "--dry-run"];
    let mended = synod(&from);
    assert_eq!(stdout(&mended), "log `orders`: 2 to 2 would be put back\n", "{}", stderr(&mended));
    let (saved, mended) = (folder.path().join("saved"), folder.path().join("mended"));
    fs::create_dir(&mended).expect("a folder for another");
    fs::copy(&segment, mended.join("00000001.segment")).expect("a copy of the damage");
    let (saved, mended) = (saved.to_string_lossy(), mended.to_string_lossy());
    let repaired = synod(&["store", "repair", &mended, from[3], from[4], "--backup", &saved]);
    assert!(stdout(&repaired).ends_with("log `orders`: 1 to 4\nsound\n"), "{}", stderr(&repaired));

    let repair = ["store", "repair", &path, "--truncate-at", place];
    assert_eq!(synod(&repair).status.code(), Some(2), "a repair needs a copy, or to be tried only");
    let tried = synod(&[&repair[..], &["--dry-run"]].concat());
    assert_eq!(tried.status.code(), Some(0));
    assert_eq!(synod(&["store", "check", &path]).status.code(), Some(1), "nothing was changed");
    let backup = backup.to_string_lossy().into_owned();
    let repaired = synod(&[&repair[..], &["--backup", &backup]].concat());
    assert_eq!((repaired.status.code(), &repaired.stdout), (Some(0), &tried.stdout));
    assert_eq!(synod(&["store", "check", &path]).status.code(), Some(0));
    assert_eq!(synod(&["store", "check", &backup]).status.code(), Some(1), "the copy is what it was");
}

#[test]
fn streams_are_listed_and_read_from_the_command_line_while_nobody_has_the_store_open() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("store").to_string_lossy().into_owned();
    synod_platform::task::block_on(async {
        let (store, _) = synod_store::Store::open(&path, synod_store::Options::default()).await.expect("new");
        let streams = synod_store::streams::Streams::open(&store).await.expect("no streams yet");
        let orders =
            streams.define("orders", &synod_store::streams::Limits::default()).await.expect("a name");
        for number in 1..=5 {
            let append = synod_store::streams::Append {
                expected: None,
                id: None,
                subject: "orders.eu".into(),
                payload: format!("order {number}").into(),
            };
            streams.append(orders, append).await.expect("a good disk");
        }
        streams.move_cursor(orders, "mailer", 2).await.expect("a good disk");
        let busy = synod(&["store", "streams", &path]);
        assert_eq!(busy.status.code(), Some(3));
        let holder = format!("in use by process {}", std::process::id());
        assert!(
            stderr(&busy).replace(['\n', '│'], "").replace("  ", " ").contains(&holder),
            "{}",
            stderr(&busy)
        );
        drop(streams);
        store.close().await;
    });
    let listed = synod(&["store", "streams", &path]);
    let table = "STREAM  FIRST  LAST  MESSAGES  BYTES  CONSUMERS\norders      1     5         5   80 B  mailer at 2, 3 behind\n";
    assert_eq!((listed.status.code(), &*stdout(&listed)), (Some(0), table), "{}", stderr(&listed));
    let told: serde_json::Value =
        serde_json::from_slice(&synod(&["store", "streams", &path, "--json"]).stdout).expect("JSON");
    assert_eq!(told["streams"][0]["consumers"][0]["behind"], 3);

    let read = synod(&["store", "read", &path, "orders", "--from", "2", "--max", "2"]);
    let lines: Vec<_> = stdout(&read).lines().map(str::to_owned).collect();
    assert!(
        lines.len() == 2 && lines[0].starts_with("2  ") && lines[0].ends_with("  orders.eu  order 2"),
        "{lines:?}"
    );
    assert_eq!(stderr(&read), "more follow: --from 4\n");
    let recent = synod(&["store", "read", &path, "orders", "--since", "1h", "--json"]);
    let last: serde_json::Value =
        serde_json::from_str(stdout(&recent).lines().last().expect("five")).expect("JSON");
    assert_eq!((&last["sequence"], &last["payload"]["text"]), (&5.into(), &"order 5".into()));
    assert_eq!(synod(&["store", "read", &path, "bills"]).status.code(), Some(2));
    assert_eq!(synod(&["store", "streams", "/nowhere"]).status.code(), Some(2));
    let other = tempfile::tempdir().expect("a folder that is no store");
    for command in ["check", "streams"] {
        let none = synod(&["store", command, &other.path().display().to_string()]);
        assert_eq!(none.status.code(), Some(2));
        assert!(stderr(&none).contains("holds no store"), "{}", stderr(&none));
        assert_eq!(fs::read_dir(other.path()).expect("a folder").count(), 0, "nothing is made by looking");
    }
    let wrong = stderr(&synod(&["store", "read", &path, "orders", "--from", "q"]));
    assert!(wrong.contains("expected a whole number"), "{wrong}");
}
