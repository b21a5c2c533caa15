//! What each process does.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use synod_client::{
    Client, ClientError, Message, Options, Payload, Priority, PublishError, ReplyError, Subscription,
};
use synod_fabric::attach::{Host, HostConfig};
use synod_fabric::{Fabric, FabricConfig};
use synod_platform::{task, time};

use crate::ledger::Ledger;
use crate::requests::{Fate, ending, fate};

/// How long a process waits for what comes at once if all is well.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long nothing comes before one who receives looks for other things to do.
pub const IDLE: Duration = Duration::from_millis(200);

/// The most long messages that a reader keeps.
const KEPT_MAX: usize = 16;

/// All the memory for long payloads that a process has, in slots of the size that leaves none of it over.
const SLOT: usize = 1 << 20;
const SLOTS: usize = 256;

pub struct Play {
    pub name: String,
    pub folder: PathBuf,
    arguments: String,
}

pub fn play(role: &str) {
    let variable = |name: &str| std::env::var(name).expect("whoever starts a role says it");
    let play = Play {
        name: variable("SYNOD_TEST_NAME"),
        folder: variable("SYNOD_TEST_FOLDER").into(),
        arguments: variable("SYNOD_TEST_ARGUMENTS"),
    };
    task::block_on(async {
        match role {
            "node" => play.node().await,
            "reader" => play.reader().await,
            "writer" => play.writer().await,
            "kept-reader" => play.kept_reader().await,
            "kept-writer" => play.kept_writer().await,
            "asker" => play.asker().await,
            "answerer" => play.answerer().await,
            "stream-reader" => play.stream_reader().await,
            "stream-writer" => play.stream_writer().await,
            other => panic!("{other} is no role"),
        }
    });
}

/// A message of a stream: its number, and bytes that follow from it. A long one has 4 KiB to 1 MiB.
pub fn message(subject: &str, number: u64) -> Vec<u8> {
    let vary = (number * 7919 % 700) as usize;
    let len = match subject {
        "long" => ((4 << 10) << (number % 9)).max((4 << 10) + vary) - vary,
        _ => 8 + vary,
    };
    let mut bytes = number.to_le_bytes().to_vec();
    let block: Vec<u8> = (0..251).map(|n| (number as usize * 31 + n) as u8).collect();
    bytes.extend(block.repeat(len / block.len() + 1));
    bytes.truncate(len);
    bytes
}

/// The number of a message.
fn number_of(payload: &Payload) -> u64 {
    let mut number = [0; 8];
    payload.copy_to(0..8, &mut number);
    u64::from_le_bytes(number)
}

/// Payloads are as they should be, byte for byte.
fn is_whole(found: &[u8], wanted: &[u8], what: impl FnOnce() -> String) {
    if found != wanted {
        let (what, same) = (what(), found.iter().zip(wanted).take_while(|(a, b)| a == b).count());
        panic!("{what} has {} bytes of {}, the first {same} right", found.len(), wanted.len());
    }
}

/// Adds to a checksum (FNV-1a).
fn sum(checksum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(checksum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Play {
    async fn node(&self) {
        let context = Fabric::new(FabricConfig::named("node")).enter("home").expect("a context");
        let path = std::env::var("SYNOD_ATTACH").expect("a socket");
        let config = HostConfig { fence: Duration::from_secs(1), ..HostConfig::at(path) };
        let _host = Host::start(&context, config).await.expect("nobody else listens");
        self.sign("there");
        std::future::pending().await
    }

    fn sign(&self, what: &str) {
        // Whoever sees it counts what this process has open: it is there once it is closed.
        let sign = self.folder.join(format!("{}.{what}", self.name));
        let beside = sign.with_extension("new");
        fs::write(&beside, "").and_then(|()| fs::rename(beside, sign)).expect("a sign");
    }

    pub fn is_told(&self, sign: &str) -> bool {
        self.folder.join(sign).exists()
    }

    /// Attaches, whenever the node comes.
    pub async fn attach(&self) -> Client {
        let until = time::now() + PATIENCE;
        loop {
            match Options::new().patience(PATIENCE).attach(&self.name).await {
                Ok(client) => return client,
                Err(why) if time::now() >= until => panic!("{}: {why}", self.name),
                Err(_) => time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// Subscribes or serves, whenever the node is there. Each attempt has an agent of its own, for what one that failed had accepted is gone with it.
    async fn open(
        &self,
        client: &Client,
        how: impl AsyncFn(&Client) -> Result<Subscription, ClientError>,
    ) -> (Subscription, String) {
        let until = time::now() + PATIENCE;
        let mut attempt = 0;
        loop {
            let name = format!("{}.{attempt}", self.name);
            let opened = async { how(&client.join(&name).await?).await }.await;
            match opened {
                Ok(subscription) => return (subscription, name),
                Err(why) if time::now() >= until => panic!("{name}: {why}"),
                Err(_) => time::timeout_at(until, client.attached()).await.expect("the node comes back"),
            }
            attempt += 1;
        }
    }

    /// A ledger of one who receives, as that agent.
    fn ledger_of(&self, agent: &str) -> Ledger {
        let mut ledger = Ledger::open(&self.folder, &self.name);
        ledger.line(&format!("= {agent}\n"));
        self.sign("there");
        ledger
    }

    /// Whether this process is to stop. Asked when nothing came for a while.
    fn is_to_stop(&self) -> bool {
        self.is_told(&format!("{}.stop", self.name))
    }

    /// Writes down what it receives and from whom, until it is told to stop. Long messages it keeps for a while, some of them, and reads them in
    /// full when it lets go.
    async fn reader(&self) {
        let subject = self.arguments.as_str();
        let client = self.attach().await;
        let (mut messages, agent) = self.open(&client, async |agent| agent.subscribe(subject).await).await;
        let mut ledger = self.ledger_of(&agent);
        let let_go = |message: Message| {
            let (number, from) = (number_of(message.payload()), message.source());
            is_whole(message.payload(), &self::message(subject, number), || format!("{number} of {from}"));
        };
        let mut kept = VecDeque::new();
        loop {
            match time::timeout(IDLE, messages.recv()).await {
                Ok(message) => {
                    let message = message.expect("the subscription lives");
                    let number = number_of(message.payload());
                    ledger.line(&format!("{number} {}\n", message.source()));
                    match subject {
                        "long" if number.is_multiple_of(3) => kept.push_back(message),
                        _ => let_go(message),
                    }
                    if kept.len() > KEPT_MAX {
                        kept.pop_front().into_iter().for_each(let_go);
                    }
                }
                Err(_) if self.is_to_stop() => return,
                Err(_) => kept.drain(..).for_each(let_go),
            }
        }
    }

    /// Sends numbers, each once, and writes down who accepted it. In the end all its memory is its own again.
    async fn writer(&self) {
        let subject = self.arguments.as_str();
        let client = self.attach().await;
        let mut ledger = Ledger::open(&self.folder, &self.name);
        for number in 1.. {
            let receipt = match client.publish(subject, self.payload(&client, number)).await {
                Ok(receipt) => receipt,
                // Nobody took it, or somebody did in time.
                Err(ClientError::Publish(
                    PublishError::Unreachable(receipt) | PublishError::DeadlinePassed(receipt),
                )) => receipt,
                Err(why) => panic!("{}: {why}", self.name),
            };
            let mut line = number.to_string();
            for reader in receipt.accepted() {
                line.push(' ');
                line.push_str(reader);
            }
            match receipt.accepted_count() {
                0 => time::sleep(Duration::from_millis(1)).await,
                _ => ledger.line(&format!("{line}\n")),
            }
            if number % 64 == 0 && self.is_told("stop") {
                break;
            }
        }
        let until = time::now() + PATIENCE;
        while std::iter::from_fn(|| client.loan(SLOT).ok()).collect::<Vec<_>>().len() < SLOTS {
            assert!(time::now() < until, "{}: readers keep what they do not hold", self.name);
            time::sleep(Duration::from_millis(10)).await;
        }
        client.detach().await.expect("nothing is held back");
    }

    /// What is sent under a number: every other long one is written where others read it, if there is room.
    fn payload(&self, client: &Client, number: u64) -> Payload {
        let message = message(&self.arguments, number);
        match client.loan(message.len()) {
            Ok(mut loan) if self.arguments == "long" && number.is_multiple_of(2) => {
                loan.copy_from_slice(&message);
                loan.into()
            }
            _ => message.into(),
        }
    }

    /// Asks, and writes down how each request ended.
    async fn asker(&self) {
        let client = self.attach().await;
        let mut ledger = Ledger::open(&self.folder, &self.name);
        for number in 1u64.. {
            let line = match client.request(&self.arguments, &number.to_le_bytes()).await {
                Ok(answer) => {
                    let Fate::Answered(wanted) = fate(number) else { panic!("{number} was answered") };
                    is_whole(answer.payload(), &wanted, || format!("the answer to {number}"));
                    format!("answered {}", answer.source())
                }
                Err(why) => {
                    time::sleep(Duration::from_millis(1)).await;
                    ending(&why).to_owned()
                }
            };
            ledger.line(&format!("{number} {line}\n"));
            if number % 64 == 0 && self.is_told("stop") {
                break;
            }
        }
        client.detach().await.expect("nothing is held back");
    }

    /// Writes down what it works on, and does with it what is to be done; with some after a while.
    async fn answerer(&self) {
        let client = self.attach().await;
        let subject = self.arguments.as_str();
        let (mut requests, agent) = self.open(&client, async |agent| agent.serve(subject).await).await;
        let mut ledger = self.ledger_of(&agent);
        loop {
            match time::timeout(IDLE, requests.recv()).await {
                Ok(request) => {
                    let request = request.expect("the service lives");
                    let number = number_of(request.payload());
                    ledger.line(&format!("{number} {}\n", request.source()));
                    task::spawn(async move {
                        time::sleep(Duration::from_millis(if number.is_multiple_of(5) { 3 } else { 0 }))
                            .await;
                        let done = match fate(number) {
                            Fate::Answered(answer) => request.reply(answer),
                            Fate::Failed => request.fail("it cannot be done"),
                            Fate::Forgotten => Ok(()),
                        };
                        assert!(matches!(done, Ok(()) | Err(ReplyError::Cancelled)), "{number}: {done:?}");
                    })
                    .detach();
                }
                Err(_) if self.is_to_stop() => return,
                Err(_) => {}
            }
        }
    }

    /// Adds up a stream to its end.
    async fn stream_reader(&self) {
        let client = self.attach().await;
        let mut load = client.subscribe("load").await.expect("the node is there");
        self.sign("there");
        let (mut checksum, mut next) = (0, 0);
        loop {
            let message = time::timeout(PATIENCE, load.recv()).await.expect("it goes on").expect("it lives");
            match &**message.payload() {
                b"end" => break,
                _ if message.source() != "writer" => continue,
                _ => {}
            }
            assert_eq!(**message.payload(), *self::message("load", next), "number {next}, whole");
            checksum = sum(checksum, message.payload());
            next += 1;
        }
        self.write(next, checksum);
    }

    /// Sends a stream that is so long at least and ends when it is told.
    async fn stream_writer(&self) {
        let client = self.attach().await;
        let least: u64 = self.arguments.parse().expect("a number");
        let publisher = client.publisher("load").expect("a subject");
        let (mut checksum, mut next) = (0, 0);
        while next < least || !(next % 256 == 0 && self.is_told("stop")) {
            let message = message("load", next);
            // What some refused at once is sent to those, and to those alone, when they have room.
            let sent =
                publisher.publish_wait(Priority::Normal, &message[..], PATIENCE).await.expect("it goes on");
            assert!(sent.accepted().any(|reader| reader == "reader"), "{sent:?}");
            checksum = sum(checksum, &message);
            next += 1;
        }
        let end = publisher.publish_wait(Priority::Normal, "end", PATIENCE).await.expect("it goes on");
        assert!(end.accepted().any(|reader| reader == "reader"), "{end:?}");
        self.write(next, checksum);
        client.detach().await.expect("nothing is held back");
    }

    fn write(&self, count: u64, checksum: u64) {
        let name = self.folder.join(format!("{}.sum", self.name));
        fs::write(name, format!("{count} {checksum:016x}")).expect("a sum");
    }
}
