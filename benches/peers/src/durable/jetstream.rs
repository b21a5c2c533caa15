//! JetStream: a `nats-server` that syncs each message before it acknowledges it (`sync_interval: always`, from 2.10 on), over loopback. As many
//! publishes are on their way as there are writers; each acknowledgement lets the next one go.

use super::{Appends, Shape, Tally, Watch, nanos};
use crate::subjects::pattern;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The subject of this file.
pub struct JetStream {
    server: Child,
    socket: TcpStream,
    came: BufReader<TcpStream>,
    shape: Shape,
    publish: Vec<u8>,
}

/// What a server is told that listens on a port and keeps its streams in a folder.
fn configuration(folder: &Path, port: u16) -> String {
    format!(
        "listen: 127.0.0.1:{port}\nmax_payload: 1MB\njetstream {{ store_dir: {:?}, sync_interval: always }}\n",
        folder.join("jetstream")
    )
}

impl JetStream {
    /// What is missing for it here.
    pub fn lacks() -> Option<String> {
        let version = Command::new("nats-server").arg("--version").output();
        let Ok(version) = version else {
            return Some("nats-server 2.10 or newer in the search path".to_owned());
        };
        let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
        let folder = crate::processes::Folder::new();
        let file = folder.0.join("nats.conf");
        let knows = std::fs::write(&file, configuration(&folder.0, 4222)).is_ok()
            && Command::new("nats-server")
                .args(["-t".as_ref(), "-c".as_ref(), file.as_os_str()])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success());
        (!knows).then(|| format!("a nats-server that can sync always, 2.10 or newer (there is {version})"))
    }

    /// The next message for this client: its payload.
    fn message(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.came.read_line(&mut line).expect("nats-server answers");
            assert!(!line.is_empty() && !line.starts_with("-ERR"), "nats-server: {line}");
            if line.starts_with("PING") {
                self.socket.write_all(b"PONG\r\n").expect("nats-server listens");
            }
            if line.starts_with("MSG") {
                let len = line.split_whitespace().last().and_then(|len| len.parse::<usize>().ok());
                let mut payload = vec![0; len.expect("a message's length") + 2];
                self.came.read_exact(&mut payload).expect("nats-server answers");
                return String::from_utf8_lossy(&payload).into_owned();
            }
        }
    }

    fn ask(&mut self, subject: &str, payload: &str) -> String {
        let request = format!("PUB {subject} peers.ack {}\r\n{payload}\r\n", payload.len());
        self.socket.write_all(request.as_bytes()).expect("nats-server listens");
        self.message()
    }

    fn publish(&mut self) -> Instant {
        let now = Instant::now();
        self.socket.write_all(&self.publish).expect("nats-server listens");
        now
    }
}

impl Appends for JetStream {
    fn open(folder: &Path, shape: Shape) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        let file = folder.join("nats.conf");
        std::fs::write(&file, configuration(folder, port)).expect("a folder of our own");
        let mut server = Command::new("nats-server")
            .args(["-c".as_ref(), file.as_os_str()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server, which was there");
        let socket = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(socket) => break socket,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
            if let Some(status) = server.try_wait().expect("our own child") {
                panic!("nats-server ended before it listened: {status}");
            }
        };
        socket.set_nodelay(true).expect("an option of TCP");
        let came = BufReader::new(socket.try_clone().expect("a descriptor"));
        let mut publish = format!("PUB peers.log peers.ack {}\r\n", shape.size).into_bytes();
        let from = publish.len();
        publish.resize(from + shape.size, 0);
        pattern(&mut publish[from..]);
        publish.extend_from_slice(b"\r\n");
        let mut stream = Self { server, socket, came, shape, publish };
        let hello = b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB peers.ack 1\r\n";
        stream.socket.write_all(hello).expect("nats-server listens");
        let made = stream.ask(
            "$JS.API.STREAM.CREATE.peers",
            r#"{"name":"peers","subjects":["peers.log"],"storage":"file","num_replicas":1,"retention":"limits","discard":"old"}"#,
        );
        assert!(!made.contains("\"error\""), "nats-server: {made}");
        stream
    }

    fn append_for(&mut self, slice: Duration) -> Tally {
        let watch = Watch::over(self.server.id());
        let mut sent: VecDeque<Instant> = (0..self.shape.writers).map(|_| self.publish()).collect();
        let mut tally = Tally::default();
        while let Some(then) = sent.pop_front() {
            let answer = self.message();
            assert!(answer.contains("\"seq\""), "nats-server: {answer}");
            let now = Instant::now();
            tally.samples.push(nanos(now - then));
            if now - watch.begun < slice {
                sent.push_back(self.publish());
            }
        }
        tally.appends = tally.samples.len() as u64;
        tally.spent = watch.stop();
        tally
    }

    fn held(&mut self) -> u64 {
        let told = self.ask("$JS.API.STREAM.INFO.peers", "");
        let count = told.split_once("\"messages\":").map(|(_, rest)| rest.trim_start());
        let digits = count.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        digits.and_then(|digits| digits.parse().ok()).expect("the stream's length")
    }
}

impl Drop for JetStream {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
