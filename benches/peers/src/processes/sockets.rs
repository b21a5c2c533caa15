//! Links' own connections over loopback TCP, their bytes by the executor's epoll or by an io_uring: framed, unsealed, nothing above them.
//!
//! Beside the time, the processor time that both processes took for a message.

use super::{Job, Meeting, Pair, Tally, now};
use crate::measure::{Idle, Plan, Reading, quantiles};
use crate::subjects::{check, fill};
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use synod_platform::net::{self, Address, Choice, Connection, Credentials, Listener};
use synod_platform::{task, time};

/// How long two processes may take to meet.
const SOON: Duration = Duration::from_secs(20);

/// A connection of which both ends chose alike.
pub struct Sockets(pub Choice);

impl Sockets {
    fn choose(&self) {
        net::choose(self.0).expect("asked before it is measured");
    }

    async fn dial(&self, meeting: &Meeting) -> Connection {
        self.choose();
        let (port, mut idle) = (meeting.page.word(Tally::Port), Idle::crowded());
        while port.load(Ordering::Acquire) == 0 {
            idle.wait();
        }
        let at: Address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.load(Ordering::Acquire) as u16)).into();
        let connected = net::connect(&at, &credentials("parent"), time::now() + SOON).await;
        connected.expect("the child listens")
    }

    async fn listen(&self, meeting: &Meeting) -> Connection {
        self.choose();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into();
        let mut listener = Listener::bind(&any, &credentials("child")).await.expect("loopback");
        let Address::Tcp(at) = listener.address() else { unreachable!("it listens over TCP") };
        meeting.page.word(Tally::Port).store(u64::from(at.port()), Ordering::Release);
        listener.accept().await.expect("the parent dials")
    }
}

fn credentials(name: &str) -> Credentials {
    Credentials::plain(name).expect("a name")
}

/// What this process has used so far, nanoseconds.
fn used() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn frame(number: u64, size: usize) -> Bytes {
    let mut frame = vec![0; size];
    fill(&mut frame, number);
    frame.into()
}

/// As fast as the socket takes them, in batches.
async fn stream(connection: Connection, plan: &Plan, size: usize, batch: usize) -> u64 {
    let (mut sender, _receiver) = connection.split();
    let (mut number, begun) = (0, Instant::now());
    while begun.elapsed() < plan.slice {
        for _ in 0..batch {
            sender.queue(frame(number, size)).expect("the child reads");
            number += 1;
        }
        sender.flush().await.expect("the child reads");
    }
    sender.close().await.expect("the child reads");
    number
}

/// There and back, both asleep in between.
async fn trips(mut connection: Connection, plan: &Plan, size: usize) -> (u64, Vec<u32>) {
    let mut samples = Vec::with_capacity(1 << 16);
    let begun = Instant::now();
    let mut last = begun;
    while last - begun < plan.slice || samples.is_empty() {
        let number = samples.len() as u64;
        connection.send(frame(number, size)).await.expect("the child answers");
        check(&connection.recv().await.expect("an answer").expect("an answer"), number);
        let now = Instant::now();
        samples.push((now - last).as_nanos().min(u128::from(u32::MAX)) as u32);
        last = now;
    }
    (samples.len() as u64, samples)
}

impl Pair for Sockets {
    fn name(&self) -> &'static str {
        match self.0 {
            Choice::IoUring => "synod link, io_uring",
            _ => "synod link, epoll",
        }
    }

    fn lacks(&self) -> Option<String> {
        net::choose(self.0).err().map(|why| why.to_string())
    }

    fn measure(&self, meeting: &Meeting, job: Job, plan: &Plan) -> Reading {
        task::block_on(async {
            let connection = self.dial(meeting).await;
            let (before, begun) = (used(), now());
            let (messages, samples) = match job {
                Job::Throughput { size, batch } => (stream(connection, plan, size, batch).await, Vec::new()),
                job => trips(connection, plan, job.size()).await,
            };
            let here = used() - before;
            let (counted, ended) = meeting.page.finished(1);
            assert_eq!(counted, [messages], "sent is not received");
            let there = meeting.page.word(Tally::Taken(0)).load(Ordering::Acquire);
            let mut reading = if samples.is_empty() {
                vec![("time", (ended - begun) as f64 / messages as f64)]
            } else {
                quantiles(samples)
            };
            reading.push(("cpu", (here + there) as f64 / messages as f64));
            reading
        })
    }

    fn serve(&self, meeting: &Meeting, job: Job) {
        task::block_on(async {
            let mut connection = self.listen(meeting).await;
            let (before, mut number) = (used(), 0);
            while let Some(came) = connection.recv().await.expect("the parent sends") {
                check(&came, number);
                number += 1;
                if !matches!(job, Job::Throughput { .. }) {
                    connection.send(came).await.expect("the parent reads");
                }
            }
            meeting.page.word(Tally::Taken(0)).store(used() - before, Ordering::Release);
            meeting.page.finish(0, number);
        });
    }
}
