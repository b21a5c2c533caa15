//! Two processes and their node, each made to die at every step that others can see: all prefixes, not a sample.
//!
//! The story: ada and ben attach; ada makes a lane to ben, sends, finds its ring too small and makes it grow, and sends long payloads, which
//! ben gives back; the node takes ada's leave to send away; the idle lane is taken back; both detach. A step is a store into
//! shared memory (rings, counters, slots given back, wishes, the words of sleepers; a record's bytes are one, their every word
//! is `ring/tests/journal.rs`'s), a frame between a process and its node, or a ring of a bell. For each of the three and each of its steps
//! there is one world in which it dies in place of that step. Then nothing of the dead is left in the living: no lane, no grant, no slot, no
//! mapping, no descriptor; what was accepted has come once; and when it is started again, all go through the story to its end.
#![cfg(madsim)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use synod_fabric::attach::foreign::PAGE_LEN;
use synod_fabric::attach::{AttachOptions, Attachment, Host, HostConfig, attach};
use synod_fabric::{Agent, Fabric, FabricConfig, Priority, PublishError, Refusal, Subject};
use synod_platform::memory::control;
use synod_platform::simulation::steps::{self, Taken};
use synod_platform::simulation::{self, Node};
use synod_platform::time;
use tokio::sync::Notify;

const SOCKET: &str = "/run/synod/attach.sock";

/// The smallest ring there is, so that a few records fill it.
const RING: usize = 1024;

/// Records sent in a row, more than the ring takes, and found refused often enough for it to grow.
const FLOOD: usize = 56;

/// A short one takes a line of them.
const SHORT: usize = 48;
/// Memory for payloads of that length comes in regions of a mebibyte, in slots of that size.
const LONG: usize = 5000;
const SLOT: usize = 16 << 10;
const REGION: usize = 1 << 20;

/// Longer than an idle lane is kept, and than one is whose sender may live without its node.
const QUIET: Duration = Duration::from_secs(130);

/// What all know of how far the story is.
#[derive(Default)]
struct Page {
    /// How often the story was begun; who is in an earlier one gives it up.
    round: u64,
    /// The round in which all was sent, in which the leave was taken away, and in which ada was told so.
    sent: u64,
    revoked: u64,
    told: u64,
    over: bool,
    lives: u64,
    /// The life of ben that everybody knows of.
    known: Option<u64>,
    /// By ada's life and ben's: the numbers accepted, and those that came.
    accepted: BTreeMap<(u64, u64), Vec<u64>>,
    came: BTreeMap<(u64, u64), Vec<u64>>,
    host: Weak<Host>,
}

#[derive(Default)]
struct Story {
    page: RefCell<Page>,
    turned: Notify,
}

impl Story {
    /// Writes, unless the writer is dead and does not know it yet.
    fn write(&self, write: impl FnOnce(&mut Page)) {
        if simulation::is_alive(simulation::current()) {
            write(&mut self.page.borrow_mut());
            self.turned.notify_waiters();
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Page) -> T) -> T {
        read(&self.page.borrow())
    }

    async fn until(&self, is_so: impl Fn(&Page) -> bool) {
        loop {
            let turned = self.turned.notified();
            if self.read(&is_so) {
                return;
            }
            turned.await;
        }
    }

    fn is_in(&self, round: u64) -> bool {
        self.read(|page| page.round == round && !page.over)
    }

    fn begin_life(&self) -> u64 {
        self.write(|page| page.lives += 1);
        self.read(|page| page.lives)
    }
}

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn soon() -> Duration {
    Duration::from_millis(200)
}

async fn come_in(name: &str) -> (Attachment, Agent) {
    loop {
        let options = AttachOptions { lane_bytes: RING, ..AttachOptions::new(SOCKET, name) };
        if let Ok(attachment) = attach(options).await {
            let context = attachment.fabric().enter("main").unwrap();
            if let Ok(agent) = context.join(name).await {
                return (attachment, agent);
            }
        }
        time::sleep(Duration::from_millis(5)).await;
    }
}

/// Ada's part: sends, and counts what was accepted.
struct Writer {
    story: Rc<Story>,
    agent: Agent,
    life: u64,
    numbers: u64,
}

impl Writer {
    fn payload(&self, len: usize) -> Vec<u8> {
        let mut payload = [self.life.to_le_bytes(), self.numbers.to_le_bytes()].concat();
        payload.resize(len, 7);
        payload
    }

    fn note(&mut self) {
        let (life, number) = (self.life, self.numbers);
        self.numbers += 1;
        self.story.write(|page| {
            if let Some(known) = page.known {
                page.accepted.entry((life, known)).or_default().push(number);
            }
        });
    }

    /// Sends until ben has taken it, or the round is given up.
    async fn send(&mut self, round: u64, len: usize) {
        while self.story.is_in(round) {
            let (subject, payload) = (format!("to.ben.{round}"), self.payload(len));
            let sent = self.agent.publish_wait(&subject, Priority::Normal, payload, soon()).await;
            if sent.is_ok_and(|receipt| receipt.accepted_count() == 1) {
                return self.note();
            }
            time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn play(&mut self, round: u64) {
        // All slots are free, also those that who died had: one that is not would make this take more memory.
        drop((0..REGION / SLOT).map(|_| self.agent.loan(LONG).unwrap()).collect::<Vec<_>>());
        self.send(round, SHORT).await;
        for _ in 0..FLOOD {
            let sent = self.agent.publish(&format!("to.ben.{round}"), Priority::Normal, self.payload(SHORT));
            if sent.is_ok_and(|receipt| receipt.accepted_count() == 1) {
                self.note();
            }
        }
        for _ in 0..4 {
            self.send(round, SHORT).await;
        }
        for _ in 0..2 {
            self.send(round, LONG).await;
        }
        self.send(round, SHORT).await;
        // What is under way when the leave is taken away would be withheld.
        let has_come = |page: &Page| {
            let pair = (self.life, page.known.unwrap_or(0));
            page.came.get(&pair).map(Vec::len) == page.accepted.get(&pair).map(Vec::len)
        };
        self.story.until(|page| has_come(page) || page.round != round || page.over).await;
        if self.story.is_in(round) {
            self.story.write(|page| page.sent = round);
        }
        while self.story.is_in(round) {
            self.story.until(|page| page.revoked == round || page.round != round || page.over).await;
            let subject = format!("to.ben.{round}");
            let sent = self.agent.publish_wait(&subject, Priority::Normal, self.payload(SHORT), soon()).await;
            match sent {
                Err(PublishError::Unreachable(receipt))
                    if receipt.refused() == [("ben", Refusal::NotAllowed)] =>
                {
                    self.story.write(|page| page.told = round);
                    return;
                }
                // Before it knew, it was taken, and withheld from ben.
                _ => time::sleep(Duration::from_millis(5)).await,
            }
        }
    }
}

async fn ada(story: Rc<Story>) {
    let life = story.begin_life();
    let (_attachment, agent) = come_in("ada").await;
    let mut writer = Writer { story: story.clone(), agent, life, numbers: 0 };
    let mut played = 0;
    loop {
        story.until(|page| page.over || page.round > played).await;
        if story.read(|page| page.over) {
            return;
        }
        played = story.read(|page| page.round);
        writer.play(played).await;
    }
}

/// Ben's part: takes what comes, and lets it go.
async fn ben(story: Rc<Story>) {
    let life = story.begin_life();
    story.write(|page| page.known = None);
    let (_attachment, agent) = come_in("ben").await;
    let mut news = loop {
        match agent.subscribe("to.ben.*", 64).await {
            Ok(news) => break news,
            Err(_) => time::sleep(Duration::from_millis(5)).await,
        }
    };
    story.write(|page| page.known = Some(life));
    loop {
        let message = tokio::select! {
            biased;
            message = news.recv() => message,
            () = story.until(|page| page.over) => None,
        };
        let Some(message) = message else { return };
        let word = |at: usize| {
            let mut bytes = [0; 8];
            message.payload().copy_to(at..at + 8, &mut bytes);
            u64::from_le_bytes(bytes)
        };
        assert!(message.payload().len() == SHORT || message.payload()[LONG - 1] == 7, "a long one is whole");
        story.write(|page| page.came.entry((word(0), life)).or_default().push(word(8)));
    }
}

/// The node's part: takes ada's leave away when all was sent.
async fn hub(story: Rc<Story>) {
    let context = Fabric::new(FabricConfig::named("hub")).enter("main").unwrap();
    let host = loop {
        match Host::start(&context, HostConfig::at(SOCKET)).await {
            Ok(host) => break Rc::new(host),
            Err(_) => time::sleep(Duration::from_millis(5)).await,
        }
    };
    story.write(|page| page.host = Rc::downgrade(&host));
    loop {
        story.until(|page| page.sent == page.round && page.revoked != page.round).await;
        let round = story.read(|page| page.round);
        host.revoke("ada", &Subject::new(&format!("to.ben.{round}")).unwrap()).await;
        story.write(|page| page.revoked = round);
    }
}

/// Mappings of memory that processes share, and descriptors of it, as this process's kernel knows them.
#[expect(
    clippy::disallowed_methods,
    reason = "asks the kernel what is left in this process, which is all processes of the world"
)]
fn shared_memory() -> (usize, usize) {
    let is_ours = |text: &str| text.contains("/memfd:");
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let open = open.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
    (
        maps.lines().filter(|line| is_ours(line)).count(),
        open.filter(|to| is_ours(&to.to_string_lossy())).count(),
    )
}

struct World {
    story: Rc<Story>,
    nodes: [Node; 3],
}

const HUB: usize = 0;
const ADA: usize = 1;
const BEN: usize = 2;

impl World {
    fn new() -> Self {
        let story = Rc::<Story>::default();
        let (first, second, third) = (story.clone(), story.clone(), story.clone());
        let nodes = [
            Node::create("hub", ip(1), move || hub(first.clone())),
            Node::create("ada", ip(2), move || ada(second.clone())),
            Node::create("ben", ip(3), move || ben(third.clone())),
        ];
        Self { story, nodes }
    }

    /// The story from its beginning until both have detached.
    async fn play(&self) {
        self.story.write(|page| (page.over, page.round) = (false, page.round + 1));
        let round = self.story.read(|page| page.round);
        self.story.until(|page| page.told == round).await;
        // What nobody uses is taken back.
        time::sleep(QUIET).await;
        self.check();
        self.story.write(|page| page.over = true);
        for process in [ADA, BEN] {
            self.nodes[process].exited().await;
        }
        time::sleep(Duration::from_millis(10)).await;
        self.check();
    }

    /// That the living hold nothing but what is theirs, when nothing goes over a lane.
    fn check(&self) {
        let host = self.story.read(|page| page.host.upgrade());
        let guests = [ADA, BEN].into_iter().filter(|guest| self.nodes[*guest].is_up()).count();
        if let Some(host) = &host {
            assert_eq!((host.attached().len(), host.lanes()), (guests, vec![]));
        }
        let (mut contexts, mut regions) = (0, 0);
        for node in self.nodes.iter().filter(|node| node.is_up()) {
            // Who has not found the node yet has no context.
            let held = control::held(node.id()) as usize;
            let beside = held.saturating_sub(PAGE_LEN);
            assert!(
                held == 0 && host.is_none()
                    || held == PAGE_LEN
                    || *node == self.nodes[ADA] && beside == REGION,
                "{} holds {held} bytes, of which a page is {PAGE_LEN}",
                node.name()
            );
            contexts += usize::from(held > 0);
            regions += beside / REGION;
        }
        // A context has its page mapped, open twice, and lent to the node.
        let open = (2 + usize::from(host.is_some())) * contexts + regions;
        assert_eq!(
            shared_memory(),
            (contexts + regions, open),
            "mappings and descriptors of {contexts} contexts"
        );
    }

    /// That what was accepted for a life of ben's that lives has come, all came once, and in order.
    fn check_messages(&self) {
        self.story.read(|page| {
            for ((from, to), numbers) in &page.came {
                assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{from} to {to}: {numbers:?}");
            }
            let lives = |to: &u64| page.known == Some(*to) && self.nodes[BEN].is_up();
            for ((from, to), numbers) in page.accepted.iter().filter(|((_, to), _)| lives(to)) {
                let came = page.came.get(&(*from, *to)).map_or(&[][..], |came| came);
                // The last may have come to one whose sender died before it was told.
                assert!(
                    came.starts_with(numbers) && came.len() <= numbers.len() + 1,
                    "{numbers:?} and {came:?}"
                );
            }
        });
    }
}

/// A world in which one dies after so many steps; how many of what kind it took, and whether it died.
fn world(victim: usize, after: usize) -> (Taken, bool) {
    let done = simulation::run(1, Duration::from_secs(600), move || async move {
        let world = World::new();
        let doomed = world.nodes[victim];
        steps::die_after(doomed.id(), after);
        let died = tokio::select! {
            biased;
            exit = doomed.exited() => exit == simulation::Exit::Killed,
            () = world.play() => false,
        };
        let taken = steps::taken(doomed.id());
        if died {
            time::sleep(QUIET).await;
            world.check_messages();
            world.check();
            world.nodes.iter().filter(|node| !node.is_up()).for_each(|node| node.restart());
            world.play().await;
        }
        world.check_messages();
        (taken, died)
    });
    done.unwrap_or_else(|why| panic!("{} dead after {after} steps: {why}", ["node", "ada", "ben"][victim]))
}

/// Walks through all deaths of one of the three.
fn walk(victim: usize) -> Taken {
    for after in 0.. {
        let (taken, died) = world(victim, after);
        if !died {
            assert_eq!(taken.all(), after, "each of its steps was its last once");
            return taken;
        }
    }
    unreachable!("the story has an end")
}

#[test]
fn whoever_dies_at_whatever_step_leaves_nothing_behind_and_the_others_go_on() {
    // What the story takes of each, a tenth less: with fewer it is no longer the same story.
    for (victim, stores, frames, rings) in [(HUB, 13, 21, 0), (ADA, 225, 8, 23), (BEN, 98, 8, 7)] {
        let taken = walk(victim);
        println!("{victim}: {taken:?}");
        assert!(
            taken.stores >= stores && taken.frames >= frames && taken.rings >= rings,
            "{victim}: {taken:?}"
        );
    }
    for mark in ["attach.grown", "fabric.by_descriptor", "attach.taken_back"] {
        assert!(
            synod_probe::reach::snapshot().iter().any(|(name, _)| *name == mark),
            "{mark} is not in the story"
        );
    }
}
