//! The full publish path between attached processes: subject, grant, priority, credits and counters on. From 4 KiB on a payload goes by name: it is
//! written into a loan, and read where it lies.
//!
//! A third process is the node. It admits all, passes their lanes' memory, grants what they may say, and sleeps while they talk. Where both
//! sides watch, the receiver looks again and again, and lets its executor run now and then; where several share its core, it gives that away.

use super::{Job, Meeting, Pair, Tally, Task, UNDER_WAY, asleep, now, other};
use crate::machine::{Cores, pin_to_both};
use crate::measure::{Plan, Reading, each, quantiles, rate};
use crate::subjects::{CAPACITY_BYTES, check, fill, touch};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use synod_fabric::attach::{AttachOptions, Attachment, DetachReason, Host, HostConfig, NoSlot, attach};
use synod_fabric::{
    Agent, Context, Fabric, FabricConfig, Message, Payload, Priority, PublishError, Publisher, Receipt,
    Subscription,
};
use synod_platform::{task, time};

/// Places of a subscription: more than a lane holds; of long payloads twice what may be under way.
fn places(size: usize) -> usize {
    if size < BY_NAME { 4096 } else { 2 * UNDER_WAY }
}

/// The shortest payload that goes by name.
const BY_NAME: usize = 4096;

/// Looks before the executor has its turn.
const LOOKS: usize = 64;

/// How long anything may take that is no measurement.
const SOON: Duration = Duration::from_secs(30);

/// The subject of this file: with nobody else attached, or at the node of a crowd.
pub struct Publish;

/// Messages for a subject, written and sent.
struct Messages<'a> {
    agent: &'a Agent,
    publisher: Publisher,
    short: Vec<u8>,
    /// A long one that found no room.
    filled: Option<Payload>,
    size: usize,
}

impl<'a> Messages<'a> {
    fn of(size: usize, agent: &'a Agent, publisher: Publisher) -> Self {
        let short = vec![0; if size < BY_NAME { size } else { 0 }];
        Self { agent, publisher, short, filled: None, size }
    }

    /// Sends to one receiver, if there is room. What found none waits for the next call, which is for the same.
    #[inline(always)]
    fn sent(&mut self, number: u64) -> bool {
        if self.size < BY_NAME {
            fill(&mut self.short, number);
            return taken(self.publisher.publish(Priority::Normal, &self.short[..])).is_some();
        }
        let Some(payload) = self.filled.take().or_else(|| self.long(number)) else { return false };
        let sent = taken(self.publisher.publish_by(Priority::Normal, &payload, None)).is_some();
        if !sent {
            self.filled = Some(payload);
        }
        sent
    }

    /// A payload to go by name, if there is room for one.
    fn long(&self, number: u64) -> Option<Payload> {
        let mut loan = match self.agent.loan(self.size) {
            Ok(loan) => loan,
            Err(NoSlot::Full { .. }) => return None,
            Err(why) => panic!("{why}"),
        };
        fill(&mut loan, number);
        Some(Payload::from(loan))
    }

    /// Sends to one receiver, asking again and again while there is no room.
    #[inline(always)]
    async fn send(&mut self, number: u64) {
        while !self.sent(number) {
            task::yield_now().await;
        }
    }

    /// The first long ones make their memory known: as many as may be under way.
    async fn warm(&mut self) {
        for _ in 0..UNDER_WAY {
            self.send(WARM).await;
        }
    }

    /// Sends to one receiver; while there is no room, others have the core.
    async fn send_giving_way(&mut self, number: u64) {
        while !self.sent(number) {
            std::thread::yield_now();
            task::yield_now().await;
        }
    }

    /// Sends to so many receivers, asleep while there is no room.
    async fn send_patiently(&mut self, number: u64, receivers: usize) {
        let receipt = if self.size < BY_NAME {
            fill(&mut self.short, number);
            self.publisher.publish_wait(Priority::Normal, &self.short[..], SOON).await
        } else {
            let payload = loop {
                match self.long(number) {
                    Some(payload) => break payload,
                    None => task::yield_now().await,
                }
            };
            self.publisher.publish_wait(Priority::Normal, payload, SOON).await
        };
        assert_eq!(receipt.expect("room in time").accepted_count(), receivers);
    }
}

/// Reads a message that must have that number: a byte of every line.
#[inline(always)]
fn read(message: &Message, number: u64, part: &mut [u8; 4096]) {
    if message.payload().len() < BY_NAME {
        check(message.payload(), number);
    } else {
        read_long(message.payload(), number, true, part);
    }
}

/// Reads a payload in another process's memory. There is no slice over that: a part at a time is copied, and read.
fn read_long(payload: &Payload, number: u64, touched: bool, part: &mut [u8; 4096]) {
    let mut found = [0; 8];
    payload.copy_to(0..8, &mut found);
    assert_eq!(u64::from_ne_bytes(found), number, "another message than the next");
    for from in (0..if touched { payload.len() } else { 0 }).step_by(part.len()) {
        let to = (from + part.len()).min(payload.len());
        let part = &mut part[..to - from];
        payload.copy_to(from..to, part);
        touch(part, 0);
    }
}

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
    pub async fn take(folder: &Path, name: &str, settings: impl Fn(&mut AttachOptions)) -> Self {
        let attachment = loop {
            let mut options = AttachOptions::new(Node::socket(folder), name);
            settings(&mut options);
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
        // Among a crowd its node is there.
        let own = !Node::socket(&meeting.folder).is_symlink();
        let _node = own.then(|| Node::start(&meeting.folder, plan.cores));
        measured(meeting, job, plan)
    }

    fn serve(&self, meeting: &Meeting, job: Job) {
        served(meeting, job);
    }
}

/// A name that nobody had before at the same node.
fn fresh(meeting: &Meeting, role: &str) -> String {
    let meeting = meeting.folder.file_name().map(|name| name.to_string_lossy().into_owned());
    format!("{}-{role}", meeting.unwrap_or_default())
}

/// The side that measures.
fn measured(meeting: &Meeting, job: Job, plan: &Plan) -> Reading {
    task::block_on(async {
        let place = Place::take(&meeting.folder, &fresh(meeting, "parent"), settings(job)).await;
        match job {
            Job::Throughput { size, batch: 1 } => send_all(&place, size, 1, meeting, plan).await,
            Job::Throughput { size, batch } => send_rows(&place, size, batch, meeting, plan).await,
            Job::FanOut { size, receivers } => send_all(&place, size, receivers, meeting, plan).await,
            Job::RoundTrip { size } => trips(&place, size, meeting, plan).await,
            Job::Asleep { size } => asleep_lead(&place, size, meeting, plan).await,
            Job::FanIn { size, senders } => gather_all(&place, size, senders, meeting, plan).await,
            Job::Large { size, touch } => long_ones(&place, size, touch, meeting, plan).await,
        }
    })
}

/// The other side.
fn served(meeting: &Meeting, job: Job) {
    task::block_on(async {
        let name = fresh(meeting, &format!("child-{}", meeting.number));
        let place = Place::take(&meeting.folder, &name, settings(job)).await;
        match job {
            Job::Throughput { size, .. } => receive_all(&place, size, false, meeting).await,
            Job::FanOut { size, .. } => receive_all(&place, size, true, meeting).await,
            Job::RoundTrip { size } => answers(&place, size, meeting).await,
            Job::Asleep { size } => asleep_follow(&place, size, meeting).await,
            Job::FanIn { size, .. } => send_for(&place, size, meeting).await,
            Job::Large { touch, .. } => take_long_ones(&place, touch, meeting).await,
        }
    });
}

/// As much room as the other rings have; for long payloads the usual, which leaves all from 4 KiB on to be passed by name. Who is to
/// be asleep does not spin before.
fn settings(job: Job) -> impl Fn(&mut AttachOptions) {
    move |options| {
        if job.size() < BY_NAME {
            options.lane_bytes = CAPACITY_BYTES;
        }
        if let Job::Asleep { .. } = job {
            options.spin = Duration::ZERO;
        }
    }
}

async fn send_all(place: &Place, size: usize, receivers: usize, meeting: &Meeting, plan: &Plan) -> Reading {
    let publisher = opened(place, "peers.there", receivers).await;
    meeting.page.gather(receivers);
    let mut messages = Messages::of(size, &place.agent, publisher);
    let (clock, begun, mut sent) = (Instant::now(), now(), 0u64);
    // Between two looks at the clock.
    let several = if size < BY_NAME { 64 } else { 1 };
    while clock.elapsed() < plan.slice {
        for _ in 0..several {
            match receivers {
                1 => messages.send(sent).await,
                _ => messages.send_patiently(sent, receivers).await,
            }
            sent += 1;
        }
    }
    meeting.page.word(Tally::Total).store(sent, Ordering::Release);
    let (received, ended) = meeting.page.finished(receivers);
    assert!(received.iter().all(|received| *received == sent), "sent is not received");
    rate(received.iter().sum(), ended - begun)
}

/// The same to one, so many short ones at a time.
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

async fn receive_all(place: &Place, size: usize, crowded: bool, meeting: &Meeting) {
    let mut events = place.agent.subscribe("peers.there", places(size)).await.expect("a good subject");
    warmed(&mut events).await;
    meeting.page.arrive();
    let total = meeting.page.word(Tally::Total);
    let (mut received, mut part) = (0, [0; 4096]);
    while let Some(message) = awaited(&mut events, received, total, crowded).await {
        read(&message, received, &mut part);
        received += 1;
    }
    meeting.page.finish(meeting.number, received);
    task::yield_now().await;
    assert!(next(&mut events).is_none(), "more arrived than was sent");
}

async fn trips(place: &Place, size: usize, meeting: &Meeting, plan: &Plan) -> Reading {
    let mut back = place.agent.subscribe("peers.back", places(size)).await.expect("a good subject");
    let there = opened(place, "peers.there", 1).await;
    warmed(&mut back).await;
    meeting.page.gather(1);
    let (mut messages, mut part) = (Messages::of(size, &place.agent, there), [0; 4096]);
    let mut samples: Vec<u32> = Vec::with_capacity(1 << 20);
    let begun = Instant::now();
    let (mut number, mut last) = (0, begun);
    while last - begun < plan.slice || samples.is_empty() {
        messages.send(number).await;
        let answer = awaited(&mut back, 0, &AtomicU64::new(u64::MAX), false).await.expect("an answer");
        read(&answer, number, &mut part);
        drop(answer);
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
#[inline(always)]
async fn awaited(
    events: &mut Subscription,
    received: u64,
    total: &AtomicU64,
    crowded: bool,
) -> Option<Message> {
    loop {
        for _ in 0..if crowded { 1 } else { LOOKS } {
            if let Some(message) = next(events) {
                return Some(message);
            }
            std::hint::spin_loop();
        }
        if received >= total.load(Ordering::Acquire) {
            return None;
        }
        if crowded {
            std::thread::yield_now();
        }
        task::yield_now().await;
    }
}

async fn answers(place: &Place, size: usize, meeting: &Meeting) {
    let mut there = place.agent.subscribe("peers.there", places(size)).await.expect("a good subject");
    warmed(&mut there).await;
    let back = opened(place, "peers.back", 1).await;
    meeting.page.arrive();
    let total = meeting.page.word(Tally::Total);
    let (mut number, mut part) = (0, [0; 4096]);
    let mut messages = Messages::of(size, &place.agent, back);
    while let Some(asked) = awaited(&mut there, number, total, false).await {
        read(&asked, number, &mut part);
        drop(asked);
        messages.send(number).await;
        number += 1;
    }
    meeting.page.finish(0, number);
}

async fn asleep_lead(place: &Place, size: usize, meeting: &Meeting, plan: &Plan) -> Reading {
    let mut back = place.agent.subscribe("peers.back", places(size)).await.expect("a good subject");
    let there = opened(place, "peers.there", 1).await;
    warmed(&mut back).await;
    let mut messages = Messages::of(size, &place.agent, there);
    messages.warm().await;
    // The first may find the slots of what warmed up not back yet.
    let post = async |number| messages.send(number).await;
    asleep::lead(meeting, plan, post, async |number| arrive(&mut back, number).await).await
}

async fn asleep_follow(place: &Place, size: usize, meeting: &Meeting) {
    let mut there = place.agent.subscribe("peers.there", places(size)).await.expect("a good subject");
    warmed(&mut there).await;
    let back = opened(place, "peers.back", 1).await;
    let mut messages = Messages::of(size, &place.agent, back);
    messages.warm().await;
    let post = async |number| messages.send(number).await;
    asleep::follow(meeting, async |number| arrive(&mut there, number).await, post).await;
}

/// Sleeps until the next message is there.
async fn arrive(events: &mut Subscription, number: u64) {
    loop {
        let message = events.recv().await.expect("the fabric lives");
        let mut told = [0; 8];
        message.payload().copy_to(0..8, &mut told);
        if told != WARM.to_ne_bytes() {
            read(&message, number, &mut [0; 4096]);
            return;
        }
    }
}

async fn gather_all(place: &Place, size: usize, senders: usize, meeting: &Meeting, plan: &Plan) -> Reading {
    let mut events = place.agent.subscribe("peers.there", places(size)).await.expect("a good subject");
    while meeting.page.word(Tally::Ready).load(Ordering::Acquire) < senders as u64 {
        time::sleep(Duration::from_micros(200)).await;
    }
    meeting.page.word(Tally::There).store(1, Ordering::Release);
    let (clock, begun, mut next_of) = (Instant::now(), now(), vec![0u64; senders]);
    let (done, mut received, mut ending) = (meeting.page.word(Tally::Done), 0u64, 0);
    let mut part = [0; 4096];
    loop {
        let before = received;
        // Eight never stop sending before they are told to.
        for _ in 0..64 {
            let Some(message) = next(&mut events) else { break };
            let sender = message.source().rsplit('-').next().and_then(|number| number.parse::<usize>().ok());
            let next = &mut next_of[sender.expect("a child's name ends in its number")];
            read(&message, *next, &mut part);
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
    let (mut sent, mut messages) = (0u64, Messages::of(size, &place.agent, publisher));
    while there.load(Ordering::Relaxed) == 1 {
        messages.send_giving_way(sent).await;
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

async fn take_long_ones(place: &Place, touch: bool, meeting: &Meeting) {
    let mut events = place.agent.subscribe("peers.there", 2 * UNDER_WAY).await.expect("a good subject");
    warmed(&mut events).await;
    meeting.page.arrive();
    let (total, back) = (meeting.page.word(Tally::Total), meeting.page.word(Tally::Back));
    let (mut received, mut part) = (0u64, [0; 4096]);
    while let Some(message) = awaited(&mut events, received, total, false).await {
        read_long(message.payload(), received, touch, &mut part);
        drop(message);
        received += 1;
        back.store(received, Ordering::Release);
    }
    meeting.page.finish(0, received);
}
