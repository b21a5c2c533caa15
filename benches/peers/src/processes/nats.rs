//! NATS: two clients of a `nats-server` on loopback, in NATS's own text protocol over a plain socket. The server is a third process,
//! which shares the two cores: so whoever waits sleeps. A client that reads too slowly is cut off by the server, so no more is under way
//! than it keeps.

use super::asleep::{Ends, follows, leads};
use super::link::{self, Gather, InOrder, first_of};
use super::{Job, Meeting, Pair, Tally};
use crate::machine::{Cores, pin, pin_to_both};
use crate::measure::{Idle, Plan, Reading, Receiver, Sender};
use crate::subjects::{check, fill};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The subject of this file.
pub struct Nats;

/// How long who sleeps for more does so before it looks whether all is done.
const LOOK: Duration = Duration::from_millis(1);

/// Bytes that may be under way, or one message.
const WINDOW: usize = 1 << 20;

/// A server on a free port, ended when dropped.
struct Server(Child);

impl Server {
    /// Starts one, on both cores; its port.
    fn start(cores: Cores) -> (Self, u16) {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        pin_to_both(cores);
        let child = Command::new("nats-server")
            .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        pin(cores.sender);
        (Self(child.expect("nats-server, which was there")), port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A client: publishes to one subject, subscribes to another.
struct Client {
    socket: TcpStream,
    size: usize,
    to: &'static str,
    came: Vec<u8>,
    read: usize,
    /// What a read of the socket gives.
    part: Box<[u8]>,
    out: Vec<u8>,
}

impl Client {
    fn connect(port: u16, [to, from]: [&'static str; 2], size: usize) -> Self {
        let socket = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(socket) => break socket,
                // Not yet there: the run's watch over its children ends what never comes.
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        socket.set_nodelay(true).expect("an option of TCP");
        let mut client = Self {
            socket,
            size,
            to,
            came: Vec::new(),
            read: 0,
            part: vec![0; 64 << 10].into(),
            out: Vec::new(),
        };
        let hello = format!("CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB {from} 1\r\nPING\r\n");
        client.socket.write_all(hello.as_bytes()).expect("the server listens");
        // Its answer says that the subscription stands.
        while client.line(true).is_none_or(|line| line != "PONG") {}
        client.socket.set_read_timeout(Some(LOOK)).expect("an option of TCP");
        client
    }

    /// Sleeps until more is there, for a moment. False: nothing came.
    fn more(&mut self) -> bool {
        if self.read == self.came.len() {
            self.came.clear();
        } else {
            self.came.drain(..self.read);
        }
        self.read = 0;
        let before = self.came.len();
        match self.socket.read(&mut self.part) {
            Ok(0) => panic!("nats-server has closed the connection"),
            Ok(count) => self.came.extend_from_slice(&self.part[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => panic!("nats-server: {error}"),
        }
        self.came.len() > before
    }

    /// The next line, taken out.
    fn line(&mut self, read: bool) -> Option<String> {
        let rest = &self.came[self.read..];
        match rest.windows(2).position(|end| end == b"\r\n") {
            Some(len) => {
                let line = String::from_utf8_lossy(&rest[..len]).into_owned();
                self.read += len + 2;
                Some(line)
            }
            None => {
                if read {
                    self.more();
                }
                None
            }
        }
    }

    fn publish(&mut self, number: u64, count: usize) {
        let mut message = vec![0; self.size];
        for offset in 0..count as u64 {
            fill(&mut message, number + offset);
            write!(self.out, "PUB {} {}\r\n", self.to, self.size).expect("a vector takes all");
            self.out.extend_from_slice(&message);
            self.out.extend_from_slice(b"\r\n");
        }
        self.socket.write_all(&self.out).expect("the server listens");
        self.out.clear();
    }

    /// Takes the next message, if one is there, and reads it.
    fn took(&mut self, read: impl FnOnce(&[u8])) -> bool {
        let rest = &self.came[self.read..];
        let Some(head) = rest.iter().take(128).position(|byte| *byte == b'\n') else { return false };
        if !rest.starts_with(b"MSG") {
            assert!(!rest.starts_with(b"-ERR"), "nats-server: {}", String::from_utf8_lossy(&rest[..head]));
            if rest.starts_with(b"PING") {
                self.out.extend_from_slice(b"PONG\r\n");
            }
            self.read += head + 1;
            return self.took(read);
        }
        let from = head + 1;
        let Some(message) = rest.get(from..from + self.size + 2) else { return false };
        read(&message[..self.size]);
        self.read += from + self.size + 2;
        true
    }
}

/// A client with what it needs to know of the others.
struct End<'a> {
    client: Client,
    meeting: &'a Meeting,
    /// Whose counts say how much is under way.
    takers: std::ops::Range<usize>,
    senders: InOrder,
}

impl Ends for End<'_> {
    fn post(&mut self, number: u64) {
        self.client.publish(number, 1);
    }

    fn arrive(&mut self, number: u64) {
        while !self.client.took(|message| check(message, number)) {
            self.client.more();
        }
    }
}

impl Sender for End<'_> {
    fn send(&mut self, number: u64, count: usize) -> usize {
        let taken = |taker| self.meeting.page.word(Tally::Taken(taker)).load(Ordering::Acquire);
        let sent = number & (first_of(1) - 1);
        let under_way = sent - self.takers.clone().map(taken).min().unwrap_or(0);
        if under_way > 0 && (under_way as usize + count) * self.client.size > WINDOW {
            return 0;
        }
        self.client.publish(number, count);
        count
    }
}

impl Receiver for End<'_> {
    fn receive(&mut self, number: u64, count: usize) -> usize {
        let mut taken = 0;
        while taken < count && self.client.took(|message| check(message, number + taken as u64)) {
            taken += 1;
        }
        if taken == 0 {
            self.client.more();
        }
        let word = self.meeting.page.word(Tally::Taken(self.meeting.number));
        word.store(number + taken as u64, Ordering::Release);
        taken
    }
}

impl Gather for End<'_> {
    fn gather(&mut self) -> usize {
        let Self { client, meeting, senders, .. } = self;
        let mut taken = 0;
        let mut read = |message: &[u8]| {
            let (sender, count) = senders.check(message);
            meeting.page.word(Tally::Taken(sender)).store(count, Ordering::Release);
        };
        while taken < 64 && client.took(&mut read) {
            taken += 1;
        }
        if taken == 0 {
            client.more();
        }
        taken
    }
}

impl Pair for Nats {
    fn name(&self) -> &'static str {
        "NATS"
    }

    fn lacks(&self) -> Option<String> {
        let mut asked = Command::new("nats-server");
        match asked.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
            Ok(status) if status.success() => None,
            _ => Some("nats-server in the search path".to_owned()),
        }
    }

    fn measure(&self, meeting: &Meeting, job: Job, plan: &Plan) -> Reading {
        let (_server, port) = Server::start(plan.cores);
        meeting.page.word(Tally::Port).store(u64::from(port), Ordering::Release);
        let client = Client::connect(port, ["there", "back"], job.size());
        let mut end = End { client, meeting, takers: 0..job.others(), senders: InOrder::of(job.others()) };
        match job {
            Job::Throughput { batch, .. } => link::send_all(&mut end, batch, 1, meeting, plan),
            Job::Asleep { .. } => leads(end, meeting, plan),
            Job::FanOut { receivers, .. } => link::send_all(&mut end, 1, receivers, meeting, plan),
            Job::FanIn { senders, .. } => link::gather_all(&mut end, senders, meeting, plan),
            Job::RoundTrip { .. } | Job::Large { .. } => unreachable!("no group asks NATS for {job:?}"),
        }
    }

    fn serve(&self, meeting: &Meeting, job: Job) {
        let port = loop {
            match meeting.page.word(Tally::Port).load(Ordering::Acquire) {
                0 => std::thread::sleep(Duration::from_millis(1)),
                port => break port as u16,
            }
        };
        let number = meeting.number;
        let client = Client::connect(port, ["back", "there"], job.size());
        let mut end = End { client, meeting, takers: number..number + 1, senders: InOrder::of(0) };
        match job {
            Job::Throughput { batch, .. } => link::receive_all(&mut end, batch, Idle::default, meeting),
            Job::Asleep { .. } => follows(end, meeting),
            Job::FanOut { .. } => link::receive_all(&mut end, 16, Idle::crowded, meeting),
            Job::FanIn { .. } => link::send_for(&mut end, meeting),
            Job::RoundTrip { .. } | Job::Large { .. } => unreachable!("no group asks NATS for {job:?}"),
        }
    }
}
