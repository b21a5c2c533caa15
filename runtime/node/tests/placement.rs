//! A running node's threads, seen from outside: they may run where `synod doctor --placement` says, and nowhere else.
#![cfg(not(madsim))]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the node is started as a process, and the kernel is asked about it"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Each thread's name, and the processors that the kernel lets it use, as `taskset -p` would tell.
fn threads(pid: u32) -> BTreeMap<String, String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let told = tasks.filter_map(|task| {
        let task = task.ok()?.path();
        let name = fs::read_to_string(task.join("comm")).ok()?;
        let status = fs::read_to_string(task.join("status")).ok()?;
        let allowed =
            status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim().to_owned();
        Some((name.trim().to_owned(), allowed))
    });
    told.collect()
}

fn synod(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synod"));
    command.env("XDG_RUNTIME_DIR", folder).env("XDG_STATE_HOME", folder);
    command
}

#[test]
fn a_nodes_contexts_run_where_the_plan_says_and_the_others_anywhere() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("node.toml");
    let text = "[http]\nlisten = \"off\"\n[placement]\nprocessors = { work-1 = 0 }\n";
    for (pin, seated) in [("false", ["work-1"].as_slice()), ("true", &["work-0", "work-1"])] {
        fs::write(&config, format!("[node]\npin = {pin}\n{text}")).expect("it can be written");
        let mut doctor = synod(folder.path());
        doctor.args(["doctor", "--placement", "--json", "--config"]).arg(&config);
        let planned = doctor.output().expect("it runs").stdout;
        let planned: Value = serde_json::from_slice(&planned).expect("one JSON document");

        let mut up = synod(folder.path());
        up.args(["up", "--json", "--config"]).arg(&config).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut node = up.spawn().expect("the binary starts");
        let mut ready = String::new();
        BufReader::new(node.stdout.take().expect("piped")).read_line(&mut ready).expect("it speaks UTF-8");
        let found = threads(node.id());
        node.kill().expect("it still runs");
        node.wait().expect("it ends");

        assert!(ready.contains("\"ready\""), "{ready}");
        let free = &found["synod"];
        for context in planned["placement"]["contexts"].as_array().expect("contexts") {
            let name = context["context"].as_str().expect("a name");
            let expected = if seated.contains(&name) { &context["processor"].to_string() } else { free };
            assert_eq!(found.get(name), Some(expected), "pin = {pin}: {found:?}, {context}");
        }
    }
}
