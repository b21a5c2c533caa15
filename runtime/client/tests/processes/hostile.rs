//! A process that means harm: it speaks the node's language by hand, lies in it, and scribbles over all that it may write.
//!
//! The node and two honest processes go on meanwhile; whoever broke a rule is cut off.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::time::Duration;

use serde_json::{Value, json};
use synod_client::Options;
use synod_fabric::attach::foreign::{PAGE_LEN, receiver_len, sender_len};
use synod_platform::local::{self, Receiver, Sender};
use synod_platform::memory::{self, Bell, Handle, Ringer, SharedRegion};
use synod_platform::{task, time};
use synod_ring::{Cells, Hardware, Waiter};

use crate::world::{Chance, Process, World, listed};

/// How long the node may take to notice.
const SOON: Duration = Duration::from_secs(10);

const RING: u32 = 4096;
const EDGES: u16 = 4;

type Handles = Vec<Handle>;

/// What one of that number says, and what it passes with it.
type Lie<'a> = Box<dyn Fn(u64) -> (Value, Handles) + 'a>;

/// One connection of the hostile process.
struct Mallory {
    sender: Sender,
    receiver: Receiver,
    member: u64,
    /// What the node told so far.
    told: Vec<Value>,
}

impl Mallory {
    /// Connects, and says nothing yet.
    async fn connect(socket: &Path, member: u64) -> Self {
        let (sender, receiver) = local::connect(socket).await.expect("the node listens").split();
        Self { sender, receiver, member, told: Vec::new() }
    }

    /// One that was let in, with a context and an agent.
    async fn admitted(socket: &Path, member: u64) -> Self {
        let mut mallory = Self::connect(socket, member).await;
        let name = format!("mallory-{member}");
        mallory.say(&hello(member)).await;
        mallory.hear(|told| told == "settled").await;
        mallory.say_with(&a_context(mallory.context()), vec![region(PAGE_LEN)]).await;
        mallory.say(&json!({ "agent": { "ask": 1, "name": name, "context": mallory.context() } })).await;
        mallory.hear(|told| told["done"]["ask"] == 1).await;
        mallory
    }

    fn context(&self) -> u64 {
        self.member << 16 | 1
    }

    fn lane(&self) -> u64 {
        self.member << 32
    }

    /// Says something; a node that has cut it off already does not listen.
    async fn say_with(&mut self, what: &Value, handles: Handles) {
        let _ = self.sender.send(what.to_string().as_bytes(), handles).await;
    }

    async fn say(&mut self, what: &Value) {
        self.say_with(what, Vec::new()).await;
    }

    /// Waits for something that the node tells; what came with it.
    async fn hear(&mut self, wanted: impl Fn(&Value) -> bool) -> Handles {
        loop {
            let came = time::timeout(SOON, self.receiver.recv()).await.expect("the node tells it");
            let (frame, handles) = came.expect("a frame").expect("the node goes on with it");
            let told: Value = serde_json::from_slice(&frame).expect("JSON");
            self.told.push(told.clone());
            if wanted(&told) {
                return handles;
            }
        }
    }

    /// The node closes the connection.
    async fn is_cut_off(&mut self, lie: &str) {
        let end = async { while let Ok(Some(_)) = self.receiver.recv().await {} };
        assert!(time::timeout(SOON, end).await.is_ok(), "the node goes on with who {lie}");
    }

    /// The subscription and context of the honest reader.
    fn victim(&self) -> (u64, u64) {
        let of_reader = |told: &&Value| told["subscribed"]["sub"]["owner"] == "reader";
        let sub = &self.told.iter().find(of_reader).expect("the reader subscribes")["subscribed"]["sub"];
        (sub["id"].as_u64().expect("a number"), sub["context"].as_u64().expect("a number"))
    }

    /// Opens a lane to the reader; its own region of it, and the way to ring the reader.
    async fn open(&mut self) -> (Hardware, usize, Ringer, Bell) {
        let (region, len, mut handles, bell) = self.open_lane().await;
        let ringer = memory::ringer(handles.remove(1)).expect("the reader's bell");
        (Hardware::new(region), len, ringer, bell)
    }

    /// The same, with what the reader passed: its region, its bell, its page.
    async fn open_lane(&mut self) -> (SharedRegion, usize, Handles, Bell) {
        let len = sender_len(RING, EDGES).expect("there are such lanes");
        let region = memory::shared(len).expect("memory");
        let bell = Bell::new().expect("a bell");
        let handles = vec![handle(&region), bell.handle().expect("just made")];
        let open = json!({ "open": { "lane": self.lane(), "from": self.context(), "to": self.victim().1,
            "shape": { "ring": RING, "edges": EDGES } } });
        self.say_with(&open, handles).await;
        let handles = self.hear(|told| told["opened"].is_object()).await;
        (region, len, handles, bell)
    }

    /// Answers what the node tells of a lane to itself as an honest receiver would, until a long message can come. Its own region of the lane, its
    /// bell, which it never listens to, and where it would give slots back.
    async fn receive(&mut self) -> (Hardware, usize, Bell) {
        let offered = self.hear(|told| told["offer"].is_object()).await;
        drop(offered);
        let offer = self.told.last().expect("just told")["offer"].clone();
        let number = |value: &Value| value.as_u64().expect("a number");
        let (ring, edges) = (number(&offer["shape"]["ring"]), number(&offer["shape"]["edges"]));
        let (len, returns) = receiver_len(ring as u32, edges as u16).expect("there are such lanes");
        let (region, bell) = (memory::shared(len).expect("memory"), Bell::new().expect("a bell"));
        let handles = vec![handle(&region), bell.handle().expect("just made")];
        self.say_with(&json!({ "ready": { "lane": offer["lane"] } }), handles).await;
        self.hear(|told| told["grant"].is_object()).await;
        self.say(&json!({ "known": { "lane": offer["lane"], "index": 0 } })).await;
        self.hear(|told| told["region"].is_object()).await;
        let region_number = self.told.last().expect("just told")["region"]["region"].clone();
        self.say(&json!({ "mapped": { "lane": offer["lane"], "region": region_number } })).await;
        (Hardware::new(region), returns, bell)
    }

    fn grant(&self, source: &str, subject: &str, to: u64) -> Value {
        let means = json!({ "deliver": { "source": source, "subject": subject, "to": [[to, 0]] } });
        json!({ "grant": { "lane": self.lane(), "index": 0, "means": means } })
    }
}

fn hello(member: u64) -> Value {
    let name = format!("mallory-{member}");
    json!({ "hello": { "oldest": 3, "newest": 3, "member": member, "name": name, "token": null } })
}

fn a_context(id: u64) -> Value {
    json!({ "context": { "id": id, "name": "lair" } })
}

fn a_subscription(id: u64, context: u64) -> Value {
    let sub =
        json!({ "id": id, "context": context, "owner": "x", "capacity": 1, "link": false, "wants": [] });
    json!({ "subscribe": { "ask": 2, "sub": sub } })
}

fn region(len: usize) -> Handle {
    handle(&memory::shared(len).expect("memory"))
}

fn handle(region: &SharedRegion) -> Handle {
    region.handle().expect("just made")
}

/// A bell's end: a descriptor that is no memory.
fn no_memory() -> Handle {
    Bell::new().and_then(|bell| bell.handle()).expect("a bell")
}

/// Lies that are told before or beside any lane, each by somebody new.
async fn lie(socket: &Path) {
    for garbage in [&b"\xff\xfe"[..], b"{", b"[]", b"\"settled\"", &[b'['; 60_000], b"{\"hello\":{}}"] {
        let mut mallory = Mallory::connect(socket, 7).await;
        let _ = mallory.sender.send(garbage, Vec::new()).await;
        mallory.is_cut_off("greets in gibberish").await;
    }
    let (sub, context) = Mallory::admitted(socket, 70).await.victim();
    let other = context >> 16;
    let page = || vec![region(PAGE_LEN)];
    let end = |ring| vec![region(sender_len(ring, EDGES).unwrap_or(64)), no_memory()];
    let open = |n: u64, from, to, ring| {
        let shape = json!({ "ring": ring, "edges": EDGES });
        json!({ "open": { "lane": n << 32, "from": from, "to": to, "shape": shape } })
    };
    let lies: Vec<(&str, Lie<'_>)> = vec![
        ("says hello twice", Box::new(|n| (hello(n), vec![]))),
        ("makes a context for another", Box::new(|_| (a_context(other << 16 | 99), page()))),
        ("makes a context twice", Box::new(|n| (a_context(n << 16 | 1), page()))),
        (
            "passes a page of a wrong size",
            Box::new(|n| (a_context(n << 16 | 2), vec![region(PAGE_LEN + 65_536)])),
        ),
        ("passes what is no memory", Box::new(|n| (a_context(n << 16 | 2), vec![no_memory()]))),
        ("passes nothing", Box::new(|n| (a_context(n << 16 | 2), vec![]))),
        ("passes too much", Box::new(|_| (json!({ "agent_gone": { "name": "x" } }), page()))),
        ("ends another's context", Box::new(|_| (json!({ "context_gone": { "id": context } }), vec![]))),
        ("ends another's subscription", Box::new(|_| (json!({ "unsubscribe": { "sub": sub } }), vec![]))),
        ("subscribes for another", Box::new(|n| (a_subscription(n << 32 | 1, context), vec![]))),
        ("notes what was not told", Box::new(|_| (json!({ "applied": { "change": u64::MAX } }), vec![]))),
        ("opens a lane in another's name", Box::new(|n| (open(n, context, n << 16 | 1, RING), end(RING)))),
        (
            "opens a lane of an impossible shape",
            Box::new(|n| (open(n, n << 16 | 1, context, 4097), end(4097))),
        ),
        ("opens a lane over too little memory", Box::new(|n| (open(n, n << 16 | 1, context, RING), end(0)))),
    ];
    for (n, (what, lie)) in lies.into_iter().enumerate() {
        let member = 100 + n as u64;
        let mut mallory = Mallory::admitted(socket, member).await;
        let (said, handles) = lie(member);
        mallory.say_with(&said, handles).await;
        mallory.is_cut_off(what).await;
    }
}

/// Lies about what a lane may say.
async fn forge(socket: &Path) {
    for (member, source, subject) in [(200, "writer", "load"), (201, "mallory-201", "other")] {
        let mut mallory = Mallory::admitted(socket, member).await;
        let _lane = mallory.open().await;
        let grant = mallory.grant(source, subject, mallory.victim().0);
        mallory.say(&grant).await;
        mallory.is_cut_off("asks for a grant that is not for it").await;
    }
    let mut mallory = Mallory::admitted(socket, 202).await;
    let _lane = mallory.open().await;
    let answer = json!({ "answer": { "from": mallory.victim().0 } });
    mallory.say(&json!({ "grant": { "lane": mallory.lane(), "index": 0, "means": answer } })).await;
    mallory.is_cut_off("would answer for another").await;
    for (member, source, of_reader) in [(203, "writer", true), (204, "mallory-204", false)] {
        let mut mallory = Mallory::admitted(socket, member).await;
        let _lane = mallory.open().await;
        mallory.say(&a_subscription(member << 32 | 1, mallory.context())).await;
        let to = if of_reader { mallory.victim().0 } else { member << 32 | 1 };
        let keep = json!({ "keep": { "source": source, "to": to } });
        mallory.say(&json!({ "grant": { "lane": mallory.lane(), "index": 0, "means": keep } })).await;
        mallory.is_cut_off("asks for a spool that is not for it").await;
    }
    let mut mallory = Mallory::admitted(socket, 205).await;
    let _lane = mallory.open().await;
    mallory.say(&json!({ "barred": { "lane": mallory.lane(), "index": 0 } })).await;
    mallory.is_cut_off("bars the receiver's end of a lane").await;
}

/// Opens lanes properly and writes what it likes where it may; the reader cuts each.
async fn scribble(socket: &Path, chance: &mut Chance) {
    for round in 0..8 {
        let mut mallory = Mallory::admitted(socket, 300 + round).await;
        let (region, len, ringer, _bell) = mallory.open().await;
        if round % 2 == 0 {
            let grant = mallory.grant(&format!("mallory-{}", mallory.member), "load", mallory.victim().0);
            mallory.say(&grant).await;
            mallory.hear(|told| told["granted"].is_object()).await;
        }
        let words = Cells::own(region, 0, len / 8).expect("its own words");
        let closed = async {
            mallory.hear(|told| told["closed"].is_object()).await;
        };
        let scribbling = async {
            loop {
                for word in 0..len / 8 {
                    // Small numbers are nearer to what could be true.
                    let value = chance.below(u64::MAX) >> (chance.below(4) * 20);
                    words.store(word, value, Relaxed);
                }
                ringer.wake();
                time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            () = closed => {}
            () = scribbling => {}
        }
    }
}

/// Receives long messages of an honest process and gives back what it never held, or that twice, or more than there is. The honest one ends
/// the lane, has its memory back, and is held up by nobody: not by a bell that is never listened to, either.
async fn return_falsely(socket: &Path) {
    const LEN: usize = 1 << 20;
    let honest = Options::new().socket(socket).attach("generous").await.expect("it is admitted");
    for (member, subject, names, count) in
        [(500, "trap.a", [7, 0], 1), (501, "trap.b", [0, 0], 2), (502, "trap.c", [0, 0], 1 << 40)]
    {
        let mut mallory = Mallory::admitted(socket, member).await;
        let mut sub = a_subscription(member << 32 | 1, mallory.context());
        sub["subscribe"]["sub"]["capacity"] = json!(16);
        let takes = json!({ "events": true, "requests": false });
        sub["subscribe"]["sub"]["wants"] = json!([{ "pattern": subject, "takes": takes }]);
        mallory.say(&sub).await;
        mallory.hear(|told| told["done"]["ask"] == 2).await;
        let sending =
            async { honest.publish(subject, vec![1; LEN]).await.expect("it holds as an honest one does") };
        let ((region, returns, _bell), receipt) = futures_util::join!(mallory.receive(), sending);
        assert_eq!(receipt.accepted_count(), 1);
        let own = Cells::own(region, returns, 10).expect("its own words");
        (0..2).for_each(|n| own.store(8 + n, names[n], Relaxed));
        own.store(0, count, Release);
        let refused = honest.publish(subject, vec![2; LEN]).await.map(|receipt| receipt.accepted_count());
        assert!(refused.is_err(), "{refused:?} is sent to one who breaks rules");
        let loans: Vec<_> = std::iter::from_fn(|| honest.loan(LEN).ok()).collect();
        assert_eq!(loans.len(), 256, "all memory of who was cheated is its own");
    }
}

/// Another user opens anew what is not his, and what was passed to somebody and got into his hands. Needs the superuser, who alone can be another.
fn reopen_as_another_user(passed: &[PathBuf], others: &[&Process]) {
    // In a user namespace even the superuser may be nobody else.
    let another = Command::new("/bin/true").uid(65_534).gid(65_534).current_dir("/").status();
    if !another.is_ok_and(|status| status.success()) {
        eprintln!("not tried under another user id: needs the superuser of the machine");
        return;
    }
    let succeeds = |script: &str, path: &Path, stdin: Stdio| {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script, "sh"]).arg(path).uid(65_534).gid(65_534).current_dir("/");
        shell.stdin(stdin).stderr(Stdio::null()).status().expect("there is a shell").success()
    };
    let mut tried = 0;
    for other in others {
        for path in memfds(other.pid()) {
            for script in ["exec 3<\"$1\"", "exec 3<>\"$1\""] {
                assert!(!succeeds(script, &path, Stdio::null()), "another user opens {}", path.display());
                tried += 1;
            }
        }
    }
    assert!(tried > 0, "somebody has such memory open");
    for path in passed {
        let stdin = || Stdio::from(File::open(path).expect("it was passed to us"));
        let own = Path::new("/proc/self/fd/0");
        assert!(succeeds("test -e \"$1\"", own, stdin()), "it is there");
        for script in ["echo spoiled 1<>\"$1\"", ": >\"$1\"", "echo spoiled >>\"$1\""] {
            assert!(!succeeds(script, own, stdin()), "{script}: {} is written", path.display());
        }
    }
}

/// Shared memory that a process has open.
fn memfds(process: u32) -> Vec<PathBuf> {
    let folder = format!("/proc/{process}/fd");
    let paths = listed(&folder).into_iter().map(|name| Path::new(&folder).join(name));
    let is_memory = |path: &PathBuf| {
        fs::read_link(path).is_ok_and(|target| target.to_string_lossy().contains("/memfd:synod"))
    };
    paths.filter(is_memory).collect()
}

/// Gets another's memory passed, and has another user try it.
async fn pass_on(socket: &Path, others: &[&Process]) {
    let mut mallory = Mallory::admitted(socket, 600).await;
    let before = memfds(std::process::id());
    let (_region, _, _handles, _bell) = mallory.open_lane().await;
    let passed: Vec<_> =
        memfds(std::process::id()).into_iter().filter(|path| !before.contains(path)).collect();
    assert!(passed.len() >= 2, "the reader's region and its page");
    reopen_as_another_user(&passed, others);
}

/// Rings the reader without end.
async fn ring_without_end(socket: &Path) {
    let mut mallory = Mallory::admitted(socket, 601).await;
    let (_region, _, ringer, _bell) = mallory.open().await;
    for _ in 0..200_000 {
        ringer.wake();
    }
}

/// One that notes nothing is cut off, and does not hold up who subscribes.
async fn keep_silent(socket: &Path) {
    let mut mute = Mallory::admitted(socket, 400).await;
    let honest = Options::new().socket(socket).attach("patient").await.expect("it is admitted");
    let subscribed = time::timeout(SOON, honest.subscribe("anything")).await;
    subscribed.expect("the mute one holds nobody up").expect("it is known to all others");
    mute.is_cut_off("notes nothing").await;
}

#[test]
fn a_hostile_process_stops_nobody_but_itself() {
    let world = World::new("hostile");
    let mut node = world.node();
    let mut reader = world.start("stream-reader", "reader", &[]);
    world.wait_for("reader.there");
    let mut writer = world.start("stream-writer", "writer", &["1000"]);
    let mut chance = Chance::new();
    eprintln!("seed {}", chance.seed);
    let socket = world.socket();
    task::block_on(async {
        lie(&socket).await;
        forge(&socket).await;
        scribble(&socket, &mut chance).await;
        return_falsely(&socket).await;
        pass_on(&socket, &[&node, &reader, &writer]).await;
        ring_without_end(&socket).await;
        keep_silent(&socket).await;
    });
    [&mut node, &mut reader, &mut writer].into_iter().for_each(|process| process.lives());
    world.tell("stop");
    writer.ends_well();
    reader.ends_well();
    assert_eq!(world.read("writer.sum"), world.read("reader.sum"), "the honest ones' messages and checksum");
    node.forgets();
}
