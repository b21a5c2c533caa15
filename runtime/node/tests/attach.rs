//! `synod up` and processes that attach to it: the socket's mode and end, who is shown, tokens, a group.
#![cfg(not(madsim))]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside of the node: they start it as a process and look at its files"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use synod_fabric::Priority;
use synod_fabric::attach::{AttachOptions, DetachReason, attach};
use synod_platform::{task, time};
use tempfile::TempDir;

struct Up {
    child: Child,
    _said: BufReader<ChildStdout>,
    socket: PathBuf,
    base: TempDir,
}

impl Up {
    fn start(attach: &str) -> Self {
        let base = TempDir::new().expect("a temporary folder");
        let config = base.path().join("node.toml");
        let attach = attach.replace("BASE", &base.path().to_string_lossy());
        let text = format!("[agents]\non_board = []\n[http]\nlisten = \"off\"\n[attach]\n{attach}\n");
        fs::write(&config, text).expect("a file");
        let mut command = synod(&base, &["up", "--json", "--config", &config.to_string_lossy()]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it speaks UTF-8");
        let ready: Value = serde_json::from_str(&line).expect("it says what is ready");
        let socket = PathBuf::from(ready["attach"].as_str().expect("processes may attach"));
        Up { child, _said: said, socket, base }
    }

    fn synod(&self, arguments: &[&str]) -> Output {
        synod(&self.base, arguments).output().expect("the binary starts")
    }

    fn end(mut self) {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(killed.expect("kill is there").success());
        assert_eq!(self.child.wait().expect("our own child").code(), Some(0));
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // A test that failed leaves no node behind; one that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn synod(base: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synod"));
    command.args(arguments).env("NO_COLOR", "1").env_remove("RUNTIME_DIRECTORY").env_remove("SYNOD_NODE");
    command.env("XDG_RUNTIME_DIR", base.path()).env("XDG_STATE_HOME", base.path().join("state"));
    command
}

#[test]
fn a_process_that_attaches_to_a_node_is_shown_with_its_agents_and_the_socket_goes_with_the_node() {
    let up = Up::start("");
    assert_eq!(up.socket, up.base.path().join("synod/synod.attach"));
    let found = fs::symlink_metadata(&up.socket).expect("it is there");
    assert!(found.file_type().is_socket() && found.mode() & 0o777 == 0o600, "{:o}", found.mode());
    task::block_on(async {
        let attachment = attach(AttachOptions::new(&up.socket, "sensors")).await.expect("it is admitted");
        let context = attachment.fabric().enter("main").expect("a context");
        let _agent = context.join("thermometer").await.expect("its name is free");
        let shown = up.synod(&["agents", "--json"]);
        let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
        let process = &shown["processes"][0];
        assert_eq!((&process["name"], &process["agents"][0]), (&"sensors".into(), &"thermometer".into()));
        assert_eq!(process["pid"], std::process::id());
        let told = String::from_utf8(up.synod(&["agents"]).stdout).expect("UTF-8");
        assert!(told.contains("attached: sensors (process ") && told.contains("with thermometer"), "{told}");
        let doctor = up.synod(&["doctor", "--json"]);
        let doctor: Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
        assert_eq!(doctor["attached"][0], shown["processes"][0], "{}", doctor["attached"]);
    });
    let socket = up.socket.clone();
    up.end();
    assert!(fs::symlink_metadata(&socket).is_err(), "it is gone with its node");
}

#[test]
fn the_doctor_tells_what_the_memory_of_a_live_process_stands_on_once_that_has_something_long_to_say() {
    let up = Up::start("payload_memory = \"local\"");
    task::block_on(async {
        let attachment = attach(AttachOptions::new(&up.socket, "camera")).await.expect("it is admitted");
        let lens = attachment.fabric().enter("main").expect("a context").join("lens").await.expect("a name");
        let doctor = || String::from_utf8(up.synod(&["doctor"]).stdout).expect("UTF-8");
        let told = doctor();
        assert!(told.contains("camera (process ") && !told.contains("payload memory"), "{told}");
        let _picture = lens.loan(1 << 20).expect("memory");
        let mut told = String::new();
        for _ in 0..100 {
            time::sleep(Duration::from_millis(1)).await;
            told = doctor();
            if told.contains("payload memory") {
                break;
            }
        }
        assert!(told.contains("    payload memory: sealed memory: held: 1024 KiB"), "{told}");
        assert!(
            told.contains("payload memory: registered with CUDA: not held: ready: not asked for"),
            "{told}"
        );
    });
    up.end();
}

#[test]
fn who_taps_sees_what_others_publish_if_the_nodes_configuration_opens_it() {
    let up = Up::start("tap = [\"orders.>\"]");
    let refused = up.synod(&["tap", "secrets.>"]);
    assert_eq!(refused.status.code(), Some(3));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("`secrets.>` may not be tapped"), "{said}");
    let mut tap = synod(&up.base, &["tap", "orders.*", "--count", "1", "--json"]);
    let mut tap = tap.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut ready = String::new();
    let mut told = BufReader::new(tap.stderr.take().expect("piped"));
    told.read_line(&mut ready).expect("it speaks UTF-8");
    assert!(ready.starts_with("taps orders.*"), "{ready}");
    task::block_on(async {
        let attachment = attach(AttachOptions::new(&up.socket, "shop")).await.expect("it is admitted");
        let clerk =
            attachment.fabric().enter("main").expect("a context").join("clerk").await.expect("a name");
        let receipt = clerk.publish("orders.eu", Priority::High, "two apples").expect("nobody receives");
        assert_eq!(receipt.accepted_count(), 0, "a tap is no receiver");
        while tap.try_wait().expect("our own child").is_none() {
            time::sleep(Duration::from_millis(1)).await;
        }
    });
    let tapped = tap.wait_with_output().expect("our own child");
    assert_eq!(tapped.status.code(), Some(0));
    let shown: Value = serde_json::from_slice(&tapped.stdout).expect("JSON");
    assert_eq!((&shown["source"], &shown["subject"]), (&"clerk".into(), &"orders.eu".into()));
    assert_eq!((&shown["length"], &shown["head"]["text"]), (&10.into(), &"two apples".into()));
    up.end();
}

#[test]
fn a_node_that_wants_tokens_gives_them_to_its_user_alone_and_a_group_may_be_let_in() {
    let group = fs::metadata("/proc/self").expect("proc").gid();
    let up = Up::start(&format!("tokens = true\ngroup = \"{group}\"\nsocket = \"BASE/here.attach\""));
    let found = fs::symlink_metadata(&up.socket).expect("it is there");
    assert_eq!((found.mode() & 0o777, found.gid()), (0o660, group));
    let token = up.synod(&["token"]);
    let token = String::from_utf8(token.stdout).expect("UTF-8").trim().to_owned();
    task::block_on(async {
        let options = AttachOptions::new(&up.socket, "sensors");
        let refused = attach(options.clone()).await;
        assert!(matches!(refused, Err(DetachReason::Rejected(_))), "{refused:?}");
        attach(AttachOptions { token: Some(token), ..options }).await.expect("it showed its token");
        let kept = up.base.path().join("here.attach.comebacks");
        while !kept.exists() {
            time::sleep(Duration::from_millis(1)).await;
        }
        let mode = fs::metadata(&kept).expect("it is there").mode() & 0o777;
        assert_eq!(mode, 0o600, "what lets it in again is for this user alone");
    });
    up.end();
}
