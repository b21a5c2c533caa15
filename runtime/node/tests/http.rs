//! The binary `synod` over HTTP, from outside: its Unix socket, its loopback port, and strangers who mean it no good.
#![cfg(not(madsim))]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside of the node: they start it as a process and speak to its sockets"
)]

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes: a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node in a folder of its own.
struct Up {
    child: Child,
    said: BufReader<ChildStdout>,
    base: TempDir,
    port: u16,
}

impl Up {
    fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    fn start_with(config: &str, environment: &[(&str, &Path)]) -> Self {
        let base = TempDir::new().expect("a temporary folder");
        Self::start_in(base, config, environment)
    }

    fn start_in(base: TempDir, config: &str, environment: &[(&str, &Path)]) -> Self {
        let mut command = up(base.path(), config);
        command.envs(environment.iter().copied());
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it speaks UTF-8");
        let ready: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("it says what is ready: {line}"));
        assert_eq!(ready["event"], "ready");
        let http = ready["http"].as_str().expect("it listens");
        let port = http.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        Up { child, said, base, port }
    }

    fn socket(&self) -> PathBuf {
        self.base.path().join("run/synod/synod.sock")
    }

    fn unix(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream
    }

    fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream
    }

    /// Asks over the Unix socket: status and body.
    fn ask(&self, method: &str, target: &str, body: &str) -> (u16, String) {
        let text = format!(
            "{method} {target} HTTP/1.1\r\nHost: synod\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        exchange(self.unix(), text.as_bytes())
    }

    fn json(&self, method: &str, target: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.ask(method, target, body);
        (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("JSON: {body}")))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_synod"));
        command.args(arguments).env("NO_COLOR", "1");
        surroundings(&mut command, self.base.path());
        command
    }

    fn synod(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary starts")
    }

    fn signal(&self, signal: &str) {
        kill(signal, self.child.id());
    }

    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).expect("it speaks UTF-8");
        (self.child.wait().expect("our own child").code(), rest)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // A test that failed leaves no node behind; one that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn kill(signal: &str, process: u32) {
    let killed = Command::new("kill").args([signal, &process.to_string()]).status().expect("kill is there");
    assert!(killed.success());
}

fn surroundings(command: &mut Command, base: &Path) {
    command
        .env("XDG_RUNTIME_DIR", base.join("run"))
        .env("XDG_STATE_HOME", base.join("state"))
        .env_remove("RUNTIME_DIRECTORY")
        .env_remove("SYNOD_NODE")
        .env_remove("NOTIFY_SOCKET")
        .env_remove("WATCHDOG_USEC");
}

fn up(base: &Path, config: &str) -> Command {
    fs::create_dir_all(base.join("run")).expect("a folder");
    let file = base.join("node.toml");
    fs::write(&file, format!("{config}\n[http]\nlisten = \"127.0.0.1:0\"\n")).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_synod"));
    command.args(["up", "--json", "--config"]).arg(file);
    surroundings(&mut command, base);
    command
}

/// Sends a whole request and reads the answer to its end: status and body, chunks put together.
fn exchange(mut stream: impl Read + Write, text: &[u8]) -> (u16, String) {
    // A node that has heard enough may close before all is sent.
    let _ = stream.write_all(text);
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "an end, not a time-out"),
    }
    parse(&all)
}

fn parse(all: &[u8]) -> (u16, String) {
    let text = String::from_utf8_lossy(all).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return (status, body.to_string());
    }
    let (mut whole, mut rest) = (String::new(), body);
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk's size");
        whole.push_str(&after[..size]);
        rest = after[size..].strip_prefix("\r\n").unwrap_or_default();
        if size == 0 {
            break;
        }
    }
    (status, whole)
}

fn tree(base: &Path) -> PathBuf {
    let tree = base.join("tree");
    fs::create_dir_all(tree.join("src")).expect("directories");
    for (path, text) in
        [("README.md", "# Small\n"), ("LICENSE", "Do as you like.\n"), ("a.json", "{\n  \"a\" 1\n}\n")]
    {
        fs::write(tree.join(path), text).expect("a file");
    }
    tree
}

#[test]
fn a_node_is_asked_over_its_socket_and_over_loopback_and_a_second_one_is_refused() {
    let node = Up::start("");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&node.socket()), 0o600);
    assert_eq!(mode(node.socket().parent().expect("a folder")), 0o700);
    assert_eq!(node.json("GET", "/readyz", "").1["ready"], true);
    assert_eq!(node.json("GET", "/livez", "").1["alive"], true);
    let (status, metrics) = node.ask("GET", "/metrics", "");
    assert_eq!(status, 200);
    for part in
        ["synod_agents{agent=\"linter\"", "process_resident_memory_bytes ", "process_open_fds ", "# EOF\n"]
    {
        assert!(metrics.contains(part), "{part} in {metrics}");
    }
    let get = b"GET /runs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let (status, page) = exchange(node.tcp(), get);
    assert!(status == 200 && page.contains("No run yet"), "{status} {page}");

    let second = up(node.base.path(), "").output().expect("the binary starts");
    assert_eq!(second.status.code(), Some(3));
    let told = String::from_utf8_lossy(&second.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("another node serves"), "{told}");
    assert_eq!(node.json("GET", "/readyz", "").0, 200, "the first one is unharmed");

    node.signal("-TERM");
    let socket = node.socket();
    let mut node = node;
    assert_eq!(node.child.wait().expect("it ends").code(), Some(0));
    assert!(!socket.exists(), "the socket goes with its node");
}

#[test]
fn a_node_that_was_killed_leaves_a_stale_socket_that_the_next_one_replaces() {
    let mut node = Up::start("");
    node.child.kill().expect("our own child");
    node.child.wait().expect("it ends");
    assert!(node.socket().exists());
    let base = std::mem::replace(&mut node.base, TempDir::new().expect("a temporary folder"));
    let next = Up::start_in(base, "", &[]);
    assert_eq!(next.json("GET", "/readyz", "").0, 200);
}

#[test]
fn a_review_by_a_running_node_is_told_like_one_by_an_embedded_node() {
    let node = Up::start("");
    let tree = tree(node.base.path());
    let path = tree.to_string_lossy().into_owned();
    let review = |more: &[&str]| {
        let mut arguments = vec!["run", "review", "--path", &path, "--no-tests", "--format", "json"];
        arguments.extend(more);
        let output = node.synod(&arguments);
        let told: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("JSON: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), told)
    };
    let (by_node, by_itself) = (review(&[]), review(&["--embedded"]));
    assert_eq!(by_node.0, by_itself.0);
    assert_eq!(by_node.1["verdict"], by_itself.1["verdict"]);
    let id = by_node.1["run"].as_str().expect("an id");
    let (status, told) = node.json("GET", &format!("/api/runs/{id}"), "");
    assert_eq!((status, &told["state"]), (200, &Value::from("done")));
    assert!(node.ask("GET", &format!("/runs/{id}/"), "").1.contains("<html"));
    let metrics = node.ask("GET", "/metrics", "").1;
    assert!(metrics.contains("synod_runs_total{outcome="), "{metrics}");
    assert_eq!(node.synod(&["run", "review", "--path", "/no/such/tree"]).status.code(), Some(2));
}

#[test]
fn an_edited_plan_is_run_by_a_running_node_unless_an_own_one_is_asked_for() {
    let node = Up::start("");
    let tree = tree(node.base.path()).to_string_lossy().into_owned();
    let file = node.base.path().join("plan.toml").to_string_lossy().into_owned();
    let planned = node.synod(&["plan", "review", "--path", &tree, "--no-tests", "--out", &file]);
    assert!(planned.status.success());
    let run = |more: &[&str]| {
        let output = node.synod(&[&["run", &file, "--format", "json"], more].concat());
        let told: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("JSON: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), told)
    };
    let (by_node, by_itself) = (run(&[]), run(&["--embedded"]));
    assert_eq!((by_node.0, &by_node.1["verdict"]), (by_itself.0, &by_itself.1["verdict"]));
    let listed = node.json("GET", "/api/runs", "").1;
    let began = |run: &Value| {
        let mut runs = listed["runs"].as_array().expect("a list").iter();
        // Runs of another process are found by their folders, and what they gave is not known.
        let told = runs.find(|told| told["id"] == run["run"]).expect("it is listed");
        told["agents"].as_array().is_some_and(|agents| !agents.is_empty())
    };
    assert!(began(&by_node.1), "{listed}");
    assert!(!began(&by_itself.1), "{listed}");

    let absent = fs::read_to_string(&file).expect("a plan").replace(&tree, "/no/such/tree");
    fs::write(&file, absent).expect("our own file");
    let refused = node.synod(&["run", &file]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && told.contains("/no/such/tree"), "{told}");
}

#[test]
fn an_interrupted_run_is_gone_on_with_by_a_running_node_and_one_under_way_is_not_begun_twice() {
    // LINTER is a program that works until it is told to go on.
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agents/tests/external/program.py");
    let exec = format!("exec = [\"python3\", \"{}\", \"waits\"]", program.display());
    let node = Up::start(&format!("[agents.linter]\n{exec}\n"));
    let tree = tree(node.base.path());
    let order = serde_json::json!({ "workflow": "review", "path": tree, "tests": false }).to_string();
    let begun = node.json("POST", "/api/runs", &order).1;
    let id = begun["id"].as_str().expect("an id");
    let folder = node.base.path().join("state/synod/runs").join(id);
    let happened = |step: &str, event: &str| {
        let text = fs::read_to_string(folder.join("journal.jsonl")).unwrap_or_default();
        let told = |line: &str| {
            // What is being written this moment is no line yet.
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            line["step"] == step && line["event"] == event
        };
        text.lines().filter(|line| told(line)).count()
    };
    let until = |done: &dyn Fn() -> bool| {
        while !done() {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until(&|| happened("lint", "started") == 1);
    let again = serde_json::json!({ "workflow": "resume", "run": id }).to_string();
    let (status, told) = node.json("POST", "/api/runs", &again);
    assert!(status == 409 && told.to_string().contains("is under way"), "{told}");
    assert_eq!(node.ask("DELETE", &format!("/api/runs/{id}"), "").0, 202);
    let state = || node.json("GET", &format!("/api/runs/{id}"), "").1["state"].clone();
    until(&|| state() == "cancelled");

    let mut resumed = node.command(&["run", "--resume", "last", "--format", "json"]);
    let resumed = resumed.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary starts");
    until(&|| happened("lint", "started") == 2);
    assert_eq!(state(), "running", "the node does it");
    fs::write(folder.join("linter/go"), "").expect("our own file");
    let output = resumed.wait_with_output().expect("our own child");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&told["run"], &state()), (&begun["id"], &Value::from("done")), "{told}");
    assert!(told["verdict"]["failures"].as_array().is_some_and(Vec::is_empty), "{told}");
    let finished = ["survey", "lint", "secure", "verdict"].map(|step| happened(step, "done"));
    assert_eq!((finished, happened("", "resumed")), ([1; 4], 1));
    assert_eq!(node.synod(&["run", "--resume", "no-such-run"]).status.code(), Some(2));
}

#[test]
fn messages_cross_a_running_node_byte_for_byte() {
    let node = Up::start("");
    let payload: Vec<u8> = (0..=255).chain(*b"\n\r\n\0").collect();
    let mut reader = node
        .command(&["sub", "orders.>", "--count", "2", "--raw"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut told = BufReader::new(reader.stderr.take().expect("piped"));
    let mut line = String::new();
    told.read_line(&mut line).expect("it speaks UTF-8");
    assert!(line.starts_with("listens to"), "{line}");
    let mut publish = node
        .command(&["pub", "orders.eu.x", "--priority", "high"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("it starts");
    publish.stdin.take().expect("piped").write_all(&payload).expect("it reads");
    assert_eq!(publish.wait().expect("it ends").code(), Some(0));
    let output = node.synod(&["pub", "orders.us", "--text", "apples", "--json"]);
    let receipt: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(receipt["accepted"].as_array().map(Vec::len), Some(1), "{receipt}");
    let output = reader.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stdout), (Some(0), [&payload[..], b"apples"].concat()));

    let pulse = node.synod(&["req", "pulse.work-0", "--text", ""]);
    assert_eq!((pulse.status.code(), pulse.stdout), (Some(0), Vec::new()));
    let nobody = node.synod(&["req", "nobody.here", "--text", ""]);
    assert_eq!(nobody.status.code(), Some(2), "{}", String::from_utf8_lossy(&nobody.stderr));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("nobody listens"));
    assert_eq!(node.synod(&["pub", "a..b", "--text", ""]).status.code(), Some(2));
    let elsewhere = node.synod(&["pub", "a", "--text", "", "--node", "absent"]);
    assert_eq!(elsewhere.status.code(), Some(3));
}

#[test]
fn strangers_are_refused_what_they_try() {
    let node = Up::start("");
    fs::write(node.base.path().join("secret"), "s3cret").expect("a file");
    let host = "Host: localhost\r\nConnection: close\r\n";
    let large = format!("POST /api/pub/a HTTP/1.1\r\n{host}Content-Length: 99999999999\r\n\r\n");
    let order = "{\"workflow\": \"review\", \"path\": \"/\"}";
    let posted = format!(
        "POST /api/runs HTTP/1.1\r\n{host}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{order}",
        order.len()
    );
    let long = format!("GET /{} HTTP/1.1\r\n{host}\r\n", "x".repeat(5000));
    let heavy = format!("GET / HTTP/1.1\r\n{host}X: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\n{host}{}\r\n", "X: y\r\n".repeat(200));
    for (what, text, statuses) in [
        (
            "a name that was rebound",
            "GET /runs HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_string(),
            vec![421],
        ),
        ("no host", "GET /runs HTTP/1.1\r\nConnection: close\r\n\r\n".to_string(), vec![400]),
        ("two hosts", format!("GET /runs HTTP/1.1\r\nHost: evil.example\r\n{host}\r\n"), vec![400]),
        ("an order without a token", posted, vec![403]),
        (
            "a foreign page",
            format!("DELETE /api/runs/x HTTP/1.1\r\n{host}Origin: http://evil.example\r\n\r\n"),
            vec![403],
        ),
        ("listening", format!("GET /api/sub/%3E HTTP/1.1\r\n{host}\r\n"), vec![403]),
        ("a way out", format!("GET /runs/../../secret HTTP/1.1\r\n{host}\r\n"), vec![400]),
        ("an escaped way out", format!("GET /runs/%2e%2e/%2e%2e/secret HTTP/1.1\r\n{host}\r\n"), vec![400]),
        ("a torn escape", format!("GET /runs/%4 HTTP/1.1\r\n{host}\r\n"), vec![400]),
        ("an escaped zero", format!("GET /runs/%00 HTTP/1.1\r\n{host}\r\n"), vec![400]),
        ("a huge body announced", large, vec![403]),
        ("a long address", long, vec![414]),
        ("heavy headers", heavy, vec![400, 431, 0]),
        ("many headers", many, vec![400, 431, 0]),
        ("no HTTP", "\u{16}\u{3}\u{1} hello\r\n\r\n".to_string(), vec![400, 0]),
    ] {
        let (status, body) = exchange(node.tcp(), text.as_bytes());
        assert!(statuses.contains(&status), "{what}: {status} {body}");
        assert!(!body.contains("s3cret"));
    }
    assert_eq!(node.json("GET", "/readyz", "").0, 200, "it lives on");
}

#[test]
fn a_body_that_does_not_end_is_cut_at_its_bound() {
    let node = Up::start("");
    let mut stream = node.unix();
    stream
        .write_all(b"POST /api/runs HTTP/1.1\r\nHost: synod\r\nTransfer-Encoding: chunked\r\n\r\n")
        .expect("it reads");
    let chunk = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
    // It stops reading at the bound: at the latest when the socket's own buffer is full, too, writing fails.
    let mut sent = 0;
    while stream.write_all(&chunk).is_ok() {
        sent += chunk.len();
        assert!(sent < 64 << 20, "it reads for ever");
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let (status, body) = parse(&answer);
    assert!(status == 413 || status == 0, "{status} {body}");
    assert_eq!(node.json("GET", "/readyz", "").0, 200);
}

#[test]
fn a_client_that_says_nothing_is_let_go_and_keeps_nobody_out() {
    let node = Up::start("");
    let mut silent = node.tcp();
    let mut slow = node.tcp();
    slow.write_all(b"GET /readyz HTTP/1.1\r\nHost: local").expect("it reads");
    assert_eq!(node.json("GET", "/readyz", "").0, 200);
    for stream in [&mut silent, &mut slow] {
        let mut rest = Vec::new();
        match stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it was let go"),
        }
    }
}

#[test]
fn a_run_that_is_going_is_cancelled_when_the_drain_s_time_is_over() {
    let base = TempDir::new().expect("a temporary folder");
    let tree = tree(base.path());
    // Enough to be still at work when the signal comes.
    for n in 0..3000 {
        fs::write(tree.join(format!("src/{n}.json")), "{\"a\": [1, 2, 3]}\n").expect("a file");
    }
    let mut node = Up::start_in(base, "[node]\ndrain = \"1ms\"\n", &[]);
    let order = serde_json::json!({ "workflow": "review", "path": tree, "tests": false }).to_string();
    let (status, told) = node.json("POST", "/api/runs", &order);
    assert_eq!(status, 202, "{told}");
    let mut events = node.unix();
    let target = told["events"].as_str().expect("where");
    events.write_all(format!("GET {target} HTTP/1.1\r\nHost: synod\r\n\r\n").as_bytes()).expect("it reads");
    let mut lines = BufReader::new(events).lines();
    assert!(lines.any(|line| line.expect("UTF-8").starts_with("event: progress")));
    node.signal("-TERM");
    let told = lines.map_while(Result::ok).find(|line| line.contains("\"state\":\"cancelled\""));
    assert!(told.expect("the end is told").contains("its node was told to end"));
    assert_eq!(node.child.wait().expect("it ends").code(), Some(4));
}

#[test]
fn a_service_manager_is_told_what_happens_and_fed_while_the_node_lives() {
    let base = TempDir::new().expect("a temporary folder");
    let path = base.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let period = PathBuf::from("300000");
    let node = Up::start_in(base, "", &[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", &period)]);
    let until = |wanted: &str| {
        let mut buffer = [0; 4096];
        loop {
            let length = manager.recv(&mut buffer).expect("it tells");
            if String::from_utf8_lossy(&buffer[..length]).contains(wanted) {
                return;
            }
        }
    };
    until("READY=1");
    until("WATCHDOG=1");
    until("WATCHDOG=1");
    node.signal("-TERM");
    until("STOPPING=1");
    let (code, said) = node.end();
    assert_eq!((code, said.as_str()), (Some(0), "{\"drained\":true,\"event\":\"stopped\"}\n"));
}
