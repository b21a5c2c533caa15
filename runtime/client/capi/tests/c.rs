//! Programs in C beside a node that is a process of its own: compiled as strictly as they can be, and run.
//!
//! `ci/capi` runs the same under sanitizers: SYNOD_CFLAGS adds flags, SYNOD_LIBRARY names another library than the one just built.
#![cfg(not(madsim))]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside of the processes: they compile, start and kill them"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use synod_fabric::attach::{Host, HostConfig};
use synod_fabric::{Fabric, FabricConfig};
use synod_platform::task;
use tempfile::TempDir;

const HOME: &str = env!("CARGO_MANIFEST_DIR");
const NODE: &str = "SYNOD_TEST_NODE";

/// Plays the node if this process was started as one; a test that has nothing to do otherwise.
#[test]
fn node() {
    if let Ok(socket) = std::env::var(NODE) {
        task::block_on(async {
            let context = Fabric::new(FabricConfig::named("node")).enter("home").expect("a context");
            let _host = Host::start(&context, HostConfig::at(socket)).await.expect("nobody else listens");
            eprintln!("listens");
            std::future::pending().await
        })
    }
}

#[test]
fn two_agents_and_six_priorities_work_from_c() {
    for library in libraries() {
        run("quick", &library);
    }
}

#[test]
fn using_every_function_wrongly_from_c_is_an_error_and_does_no_harm() {
    run("misuse", &libraries()[0]);
}

#[test]
fn the_example_in_the_header_works() {
    let header = std::fs::read_to_string(Path::new(HOME).join("include/synod.h")).expect("the header");
    let lines = header.lines().skip_while(|line| !line.contains("#include"));
    let lines = lines.take_while(|line| !line.contains("cc reader.c"));
    let program: Vec<_> = lines.map(|line| line.trim_start_matches("//")).collect();
    let folder = TempDir::new().expect("a temporary folder");
    let source = folder.path().join("reader.c");
    std::fs::write(&source, program.join("\n")).expect("a file");
    let socket = folder.path().join("node.attach");
    let _node = start_node(&socket);
    let mut command = Command::new(compile(&source, &libraries()[0], folder.path()));
    let ended = command.env("SYNOD_ATTACH", &socket).output().expect("it was compiled just now");
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "reader: hello\n", "{ended:?}");
    assert!(ended.status.success());
}

#[test]
fn under_the_address_sanitizer_reading_a_released_message_is_seen() {
    if !flags().contains("address") {
        return;
    }
    let folder = TempDir::new().expect("a temporary folder");
    let socket = folder.path().join("node.attach");
    let _node = start_node(&socket);
    let mut command = Command::new(compile(&source("stale"), &libraries()[0], folder.path()));
    let ended = command.env("SYNOD_ATTACH", &socket).output().expect("it was compiled just now");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("heap-use-after-free"), "{}: {said}", ended.status);
}

/// A process that does not outlive its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a node, which listens by then.
fn start_node(socket: &Path) -> Process {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "node", "--nocapture"]).env(NODE, socket);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut node = Process(command.spawn().expect("this binary starts again"));
    let mut said = BufReader::new(node.0.stderr.take().expect("a pipe")).lines();
    let listens = said.find(|line| line.as_ref().is_ok_and(|line| line == "listens"));
    assert!(listens.is_some(), "the node ended instead of listening");
    node
}

/// The shared and the static library, which lie beside this binary when they are built with it.
fn libraries() -> Vec<PathBuf> {
    if let Ok(other) = std::env::var("SYNOD_LIBRARY") {
        return vec![other.into()];
    }
    let here = std::env::current_exe().expect("this binary");
    ["libsynod.so", "libsynod.a"].map(|name| here.with_file_name(name)).to_vec()
}

/// What the compiler is told besides.
fn flags() -> String {
    std::env::var("SYNOD_CFLAGS").unwrap_or_default()
}

/// A program of these tests.
fn source(program: &str) -> PathBuf {
    Path::new(HOME).join(format!("tests/c/{program}.c"))
}

/// Compiles a program.
fn compile(source: &Path, library: &Path, folder: &Path) -> PathBuf {
    let out = folder.join("program");
    let mut command = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()));
    command.args([
        "-std=c11",
        "-D_POSIX_C_SOURCE=200809L",
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Werror",
        "-g",
    ]);
    command.args(flags().split_whitespace());
    command.arg("-I").arg(Path::new(HOME).join("include")).arg(source).arg(library);
    command.arg(format!("-Wl,-rpath,{}", library.parent().expect("a folder").display()));
    command.args(["-Wl,--gc-sections", "-pthread", "-lm", "-ldl", "-lgcc_s", "-o"]).arg(&out);
    let made = command.output().expect("a C compiler: Debian's build-essential has one");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    out
}

/// Compiles and runs a program, and does with the node what it asks for.
fn run(program: &str, library: &Path) {
    let folder = TempDir::new().expect("a temporary folder");
    let socket = folder.path().join("node.attach");
    let mut node = Some(start_node(&socket));
    let mut command = Command::new(compile(&source(program), library, folder.path()));
    command.env("SYNOD_ATTACH", &socket).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut runs = Process(command.spawn().expect("it was compiled just now"));
    let mut answers = runs.0.stdin.take().expect("a pipe");
    let mut well = false;
    for line in BufReader::new(runs.0.stdout.take().expect("a pipe")).lines() {
        match line.expect("text").as_str() {
            "kill" => node = None,
            "start" => node = Some(start_node(&socket)),
            "well" => well = true,
            other => panic!("{program} says {other}"),
        }
        if !well {
            answers.write_all(b"done\n").expect("it listens");
        }
    }
    let ended = runs.0.wait().expect("our own child");
    assert!(well && ended.success(), "{program} with {}: {ended}", library.display());
    drop(node);
}
