//! The full publish path between two attached processes: subject, grant, priority, credits and counters on.
//!
//! A third process is the node. It admits both, passes their lanes' memory, grants what they may say, and sleeps while they talk. Where both
//! sides watch, the receiver looks again and again, and lets its executor run now and then.

use super::{Job, Meeting, Pair, Tally, Task, UNDER_WAY, asleep, now, other};
use crate::machine::{Cores, pin_to_both};
use crate::measure::{Plan, Reading, each, quantiles, rate};
use crate::subjects::{CAPACITY_BYTES, check, fill, touch};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use synod_fabric::attach::{AttachOptions, Attachment, DetachReason, Host, HostConfig, attach};
use synod_fabric::{
    Agent, Context, Fabric, FabricConfig, Message, Payload, Priority, PublishError, Publisher, Receipt,
    Subscription,
};
use synod_platform::{task, time};

/// Places of a subscription: more than a lane holds.
const PLACES: usize = 4096;

/// Looks before the executor has its turn.
const LOOKS: usize = 64;

/// How long anything may take that is no measurement.
const SOON: Duration = Duration::from_secs(30);

/// The subject of this file.
pub struct Publish;

/// A node in a process of its own, ended when dropped.
pub struct Node(Child);

impl Node {
    /// Starts one at a socket in `folder`.
    pub fn start(folder: &Path, cores: Cores) -> Self {
        Self(other(&Task::Node(folder.to_owned(), cores), Stdio::null()))
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Its socket.
    pub fn socket(folder: &Path) -> PathBuf {
        folder.join("node")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The node process's whole life: until it is ended.
pub fn node(folder: &Path, cores: Cores) -> Result<(), String> {
    pin_to_both(cores);
    task::block_on(async {
        let context =
            Fabric::new(FabricConfig::named("peers")).enter("home").map_err(|why| why.to_string())?;
        let host = Host::start(&context, HostConfig::at(Node::socket(folder))).await;
        let _host = host.map_err(|why| why.to_string())?;
        std::future::pending().await
    })
}

/// A place in the node's fabric.
pub struct Place {
    /// The one agent.
    pub agent: Agent,
    /// Its context.
    pub context: Context,
    _attachment: Attachment,
}

impl Place {
    /// Attaches once the node is there.
    pub async fn take(folder: &Path, name: &str, lane_bytes: usize) -> Self {
        let attachment = loop {
            let options = AttachOptions { lane_bytes, ..AttachOptions::new(Node::socket(folder), name) };
            match attach(options).await {
                Ok(attachment) => break attachment,
                Err(DetachReason::Socket(_)) => time::sleep(Duration::from_millis(1)).await,
                Err(why) => panic!("{name}: {why}"),
            }
        };
        let context = attachment.fabric().enter(name).expect("a fresh name");
        let agent = context.join(name).await.expect("a fresh name");
        Self { agent, context, _attachment: attachment }
    }
}

/// Nobody but who is warmed up hears of it.
const WARM: u64 = u64::MAX;

/// A way to a subject that so many receive, its lanes made and its grants known.
async fn opened(place: &Place, subject: &str, receivers: usize) -> Publisher {
    let publisher = place.agent.publisher(subject).expect("a good subject");
    let until = Instant::now() + SOON;
    loop {
        let receipt = publisher.publish_wait(Priority::Normal, &WARM.to_ne_bytes(), SOON).await;
        if receipt.expect("there is room").accepted_count() == receivers {
            // Routes may have been made while the last of them came: those that are here got a number more, which says nothing.
            return publisher;
        }
        assert!(Instant::now() < until, "{subject}: nobody receives it");
        time::sleep(Duration::from_micros(200)).await;
    }
}

/// Waits for the first message that warms up.
async fn warmed(events: &mut Subscription) {
    let message = events.recv().await.expect("the fabric lives");
    assert_eq!(**message.payload(), WARM.to_ne_bytes());
}

/// The next message that does not warm up, if one is there.
#[inline(always)]
fn next(events: &mut Subscription) -> Option<Message> {
    loop {
        let message = events.try_recv()?;
        if message.payload().len() != 8 {
            return Some(message);
        }
    }
}

/// Whether everybody took it. Who did not has no room now.
#[inline(always)]
fn taken(outcome: Result<Receipt, PublishError>) -> Option<usize> {
    match outcome {
        Ok(receipt) if receipt.refused().is_empty() => Some(receipt.accepted_count()),
        Ok(receipt) => panic!("some have it and some not: {receipt:?}"),
        Err(PublishError::WouldBlock(_)) => None,
        Err(why) => panic!("{why}"),
    }
}

impl Pair for Publish {
    fn name(&self) -> &'static str {
        "synod publish"
    }

    fn measure(&self, meeting: &Meeting, job: Job, plan: &Plan) -> Reading {
        let _node = Node::start(&meeting.folder, plan.cores);
        task::block_on(async {
            let place = Place::take(&meeting.folder, "parent", lane_bytes(job)).await;
            match job {
                Job::Throughput { size, batch: 1 } => send_all(&place, size, 1, meeting, plan).await,
                Job::Throughput { size, batch } => send_rows(&place, size, batch, meeting, plan).await,
                Job::FanOut { size, receivers } => send_all(&place, size, receivers, meeting, plan).await,
                Job::RoundTrip { size } => trips(&place, size, meeting, plan).await,
                Job::Asleep { size } => asleep_lead(&place, size, meeting, plan).await,
                Job::FanIn { senders, .. } => gather_all(&place, senders, meeting, plan).await,
                Job::Large { size, touch } => long_ones(&place, size, touch, meeting, plan).await,
            }
        })
    }

    fn serve(&self, meeting: &Meeting, job: Job) {
        task::block_on(async {
            let name = format!("child-{}", meeting.number);
            let place = Place::take(&meeting.folder, &name, lane_bytes(job)).await;
            match job {
                Job::Throughput { .. } | Job::FanOut { .. } => receive_all(&place, meeting).await,
                Job::RoundTrip { size } => answers(&place, size, meeting).await,
                Job::Asleep { size } => asleep_follow(&place, size, meeting).await,
                Job::FanIn { size, .. } => send_for(&place, size, meeting).await,
                Job::Large { touch, .. } => take_long_ones(&place, touch, meeting).await,
            }
        });
    }
}

/// As much as the other rings have; for long payloads the usual, which leaves all from 4 KiB on to be passed by name.
fn lane_bytes(job: Job) -> usize {
    if let Job::Large { .. } = job { 16 << 10 } else { CAPACITY_BYTES }
}

async fn send_all(place: &Place, size: usize, receivers: usize, meeting: &Meeting, plan: &Plan) -> Reading {
    let publisher = opened(place, "peers.there", receivers).await;
    meeting.page.gather(receivers);
    let mut message = vec![0; size];
    let (clock, begun, mut sent) = (Instant::now(), now(), 0u64);
    while clock.elapsed() < plan.slice {
        for _ in 0..64 {
            fill(&mut message, sent);
            publish(&publisher, &message, receivers).await;
            sent += 1;
        }
    }
    meeting.page.word(Tally::Total).store(sent, Ordering::Release);
    let (received, ended) = meeting.page.finished(receivers);
    assert!(received.iter().all(|received| *received == sent), "sent is not received");
    rate(received.iter().sum(), ended - begun)
}

/// The same to one, so many at a time.
async fn send_rows(place: &Place, size: usize, batch: usize, meeting: &Meeting, plan: &Plan) -> Reading {
    let publisher = opened(place, "peers.there", 1).await;
    meeting.page.gather(1);
    let mut row = vec![vec![0; size]; batch];
    let (clock, begun, mut sent) = (Instant::now(), now(), 0u64);
    while clock.elapsed() < plan.slice {
        for (message, number) in row.iter_mut().zip(sent..) {
            fill(message, number);
        }
        let mut left = &row[..];
        while !left.is_empty() {
            let published = publisher.publish_all(Priority::Normal, left.iter().map(|message| &message[..]));
            left = &left[published.taken..];
            if published.stopped.is_some_and(|outcome| taken(outcome).is_none()) {
                task::yield_now().await;
            }
        }
        sent += batch as u64;
    }
    meeting.page.word(Tally::Total).store(sent, Ordering::Release);
    let (received, ended) = meeting.page.finished(1);
    assert_eq!(received, [sent], "sent is not received");
    rate(sent, ended - begun)
}

/// Publishes to all; to one without waiting in a future unless it must be.
#[inline(always)]
async fn publish(publisher: &Publisher, message: &[u8], receivers: usize) {
    if receivers == 1 {
        while taken(publisher.publish(Priority::Normal, message)).is_none() {
            task::yield_now().await;
        }
    } else {
        let receipt = publisher.publish_wait(Priority::Normal, message, SOON).await.expect("room in time");
        assert_eq!(receipt.accepted_count(), receivers);
    }
}

async fn receive_all(place: &Place, meeting: &Meeting) {
    let mut events = place.agent.subscribe("peers.there", PLACES).await.expect("a good subject");
    warmed(&mut events).await;
    meeting.page.arrive();
    let total = meeting.page.word(Tally::Total);
    let mut received = 0;
    while let Some(message) = awaited(&mut events, received, total).await {
        check(message.payload(), received);
        received += 1;
    }
    meeting.page.finish(meeting.number, received);
    task::yield_now().await;
    assert!(next(&mut events).is_none(), "more arrived than was sent");
}

async fn trips(place: &Place, size: usize, meeting: &Meeting, plan: &Plan) -> Reading {
    let mut back = place.agent.subscribe("peers.back", PLACES).await.expect("a good subject");
    let there = opened(place, "peers.there", 1).await;
    warmed(&mut back).await;
    meeting.page.gather(1);
    let mut message = vec![0; size];
    let mut samples: Vec<u32> = Vec::with_capacity(1 << 20);
    let begun = Instant::now();
    let (mut number, mut last) = (0, begun);
    while last - begun < plan.slice || samples.is_empty() {
        fill(&mut message, number);
        publish(&there, &message, 1).await;
        let answer = awaited(&mut back, 0, &AtomicU64::new(u64::MAX)).await.expect("an answer");
        check(answer.payload(), number);
        let now = Instant::now();
        samples.push((now - last).as_nanos().min(u128::from(u32::MAX)) as u32);
        (number, last) = (number + 1, now);
    }
    meeting.page.word(Tally::Total).store(number, Ordering::Release);
    let (answered, _) = meeting.page.finished(1);
    assert_eq!(answered, [number], "sent is not received");
    quantiles(samples)
}

/// Looks again and again; nothing once `total` are there.
async fn awaited(events: &mut Subscription, received: u64, total: &AtomicU64) -> Option<Message> {
    loop {
        for _ in 0..LOOKS {
            if let Some(message) = next(events) {
                return Some(message);
            }
            std::hint::spin_loop();
        }
        if received >= total.load(Ordering::Acquire) {
            return None;
        }
        task::yield_now().await;
    }
}

async fn answers(place: &Place, size: usize, meeting: &Meeting) {
    let mut there = place.agent.subscribe("peers.there", PLACES).await.expect("a good subject");
    warmed(&mut there).await;
    let back = opened(place, "peers.back", 1).await;
    meeting.page.arrive();
    let total = meeting.page.word(Tally::Total);
    let (mut number, mut message) = (0, vec![0; size]);
    while let Some(asked) = awaited(&mut there, number, total).await {
        check(asked.payload(), number);
        fill(&mut message, number);
        publish(&back, &message, 1).await;
        number += 1;
    }
    meeting.page.finish(0, number);
}

async fn asleep_lead(place: &Place, size: usize, meeting: &Meeting, plan: &Plan) -> Reading {
    let mut back = place.agent.subscribe("peers.back", PLACES).await.expect("a good subject");
    let there = opened(place, "peers.there", 1).await;
    warmed(&mut back).await;
    asleep::lead(meeting, plan, poster(&there, size), async |number| arrive(&mut back, number).await).await
}

async fn asleep_follow(place: &Place, size: usize, meeting: &Meeting) {
    let mut there = place.agent.subscribe("peers.there", PLACES).await.expect("a good subject");
    warmed(&mut there).await;
    let back = opened(place, "peers.back", 1).await;
    asleep::follow(meeting, async |number| arrive(&mut there, number).await, poster(&back, size)).await;
}

/// Sends a message for which there is room.
fn poster(publisher: &Publisher, size: usize) -> impl FnMut(u64) {
    let mut message = vec![0; size];
    move |number| {
        fill(&mut message, number);
        assert_eq!(
            taken(publisher.publish(Priority::Normal, &message)),
            Some(1),
            "an empty lane is not full"
        );
    }
}

/// Sleeps until the next message is there.
async fn arrive(events: &mut Subscription, number: u64) {
    loop {
        let message = events.recv().await.expect("the fabric lives");
        if message.payload().len() != 8 {
            check(message.payload(), number);
            return;
        }
    }
}

async fn gather_all(place: &Place, senders: usize, meeting: &Meeting, plan: &Plan) -> Reading {
    let mut events = place.agent.subscribe("peers.there", PLACES).await.expect("a good subject");
    while meeting.page.word(Tally::Ready).load(Ordering::Acquire) < senders as u64 {
        time::sleep(Duration::from_micros(200)).await;
    }
    meeting.page.word(Tally::There).store(1, Ordering::Release);
    let (clock, begun, mut next_of) = (Instant::now(), now(), vec![0u64; senders]);
    let (done, mut received, mut ending) = (meeting.page.word(Tally::Done), 0u64, 0);
    loop {
        let before = received;
        while let Some(message) = next(&mut events) {
            let sender = message.source().rsplit('-').next().and_then(|number| number.parse::<usize>().ok());
            let next = &mut next_of[sender.expect("a child's name ends in its number")];
            check(message.payload(), *next);
            (*next, received) = (*next + 1, received + 1);
        }
        if clock.elapsed() >= plan.slice {
            meeting.page.word(Tally::There).store(2, Ordering::Release);
        }
        if received == before && done.load(Ordering::Acquire) >= senders as u64 {
            let sent: u64 = meeting.page.finished(senders).0.iter().sum();
            ending += 1;
            if received >= sent && ending > 2 {
                break;
            }
        }
        task::yield_now().await;
    }
    let ended = now();
    assert_eq!(meeting.page.finished(senders).0, next_of, "sent is not received");
    meeting.page.word(Tally::Back).store(1, Ordering::Release);
    rate(received, ended - begun)
}

async fn send_for(place: &Place, size: usize, meeting: &Meeting) {
    let publisher = opened(place, "peers.there", 1).await;
    meeting.page.arrive();
    let there = meeting.page.word(Tally::There);
    while there.load(Ordering::Acquire) == 0 {
        time::sleep(Duration::from_micros(50)).await;
    }
    let (mut sent, mut message) = (0u64, vec![0; size]);
    while there.load(Ordering::Relaxed) == 1 {
        fill(&mut message, sent);
        let receipt =
            publisher.publish_wait(Priority::Normal, &message[..], SOON).await.expect("room in time");
        assert_eq!(receipt.accepted_count(), 1);
        sent += 1;
    }
    meeting.page.finish(meeting.number, sent);
    while meeting.page.word(Tally::Back).load(Ordering::Acquire) == 0 {
        time::sleep(Duration::from_millis(1)).await;
    }
}

/// Long payloads by name: written into a loan, read where they lie.
async fn long_ones(place: &Place, size: usize, touched: bool, meeting: &Meeting, plan: &Plan) -> Reading {
    let publisher = opened(place, "peers.there", 1).await;
    meeting.page.gather(1);
    let (back, mut sent) = (meeting.page.word(Tally::Back), 0);
    // The first of each slot makes its region known, and its pages.
    for _ in 0..2 * UNDER_WAY {
        send_long(place, &publisher, size, touched, sent).await;
        sent += 1;
        until_fewer(sent, back).await;
    }
    let (first, clock, begun) = (sent, Instant::now(), now());
    while clock.elapsed() < plan.slice || sent == first {
        until_fewer(sent, back).await;
        send_long(place, &publisher, size, touched, sent).await;
        sent += 1;
    }
    meeting.page.word(Tally::Total).store(sent, Ordering::Release);
    let (received, ended) = meeting.page.finished(1);
    assert_eq!(received, [sent], "sent is not received");
    each(sent - first, ended - begun)
}

/// Waits until fewer than the most are under way.
async fn until_fewer(sent: u64, back: &AtomicU64) {
    let mut looks = 0;
    while sent - back.load(Ordering::Acquire) >= UNDER_WAY as u64 {
        std::hint::spin_loop();
        looks += 1;
        if looks % LOOKS == 0 {
            task::yield_now().await;
        }
    }
}

async fn send_long(place: &Place, publisher: &Publisher, size: usize, touched: bool, number: u64) {
    let mut loan = place.agent.loan(size).expect("memory for a few long payloads");
    loan[..8].copy_from_slice(&number.to_ne_bytes());
    if touched {
        loan[64..].iter_mut().step_by(64).for_each(|byte| *byte = number as u8);
    }
    let payload = Payload::from(loan);
    while taken(publisher.publish_by(Priority::Normal, &payload, None)).is_none() {
        task::yield_now().await;
    }
}

async fn take_long_ones(place: &Place, touched: bool, meeting: &Meeting) {
    let mut events = place.agent.subscribe("peers.there", 2 * UNDER_WAY).await.expect("a good subject");
    warmed(&mut events).await;
    meeting.page.arrive();
    let (total, back) = (meeting.page.word(Tally::Total), meeting.page.word(Tally::Back));
    let (mut received, mut part) = (0u64, vec![0; 4096]);
    while let Some(message) = awaited(&mut events, received, total).await {
        let payload = message.payload();
        let mut number = [0; 8];
        payload.copy_to(0..8, &mut number);
        assert_eq!(u64::from_ne_bytes(number), received, "another message than the next");
        if touched {
            // There is no slice over another process's memory: a part at a time is copied, and read.
            for from in (0..payload.len()).step_by(part.len()) {
                let to = (from + part.len()).min(payload.len());
                let part = &mut part[..to - from];
                payload.copy_to(from..to, part);
                touch(part, 0);
            }
        }
        drop(message);
        received += 1;
        back.store(received, Ordering::Release);
    }
    meeting.page.finish(0, received);
}
