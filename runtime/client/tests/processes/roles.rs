//! What each process does.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use synod_client::{Client, ClientError, Options, Priority, PublishError, Subscription};
use synod_fabric::attach::{Host, HostConfig};
use synod_fabric::{Fabric, FabricConfig};
use synod_platform::{task, time};

use crate::ledger::Ledger;

/// How long a process waits for what comes at once if all is well.
const PATIENCE: Duration = Duration::from_secs(20);

struct Play {
    name: String,
    folder: PathBuf,
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
            "stream-reader" => play.stream_reader().await,
            "stream-writer" => play.stream_writer().await,
            other => panic!("{other} is no role"),
        }
    });
}

/// A message of a stream: its number, and bytes that follow from it.
fn message(number: u64) -> Vec<u8> {
    let len = 8 + (number * 7919 % 700) as usize;
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend((8..len).map(|n| (number as usize * 31 + n) as u8));
    bytes
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
        fs::write(self.folder.join(format!("{}.{what}", self.name)), "").expect("a sign");
    }

    fn is_told(&self, sign: &str) -> bool {
        self.folder.join(sign).exists()
    }

    /// Attaches, whenever the node comes.
    async fn attach(&self) -> Client {
        let until = time::now() + PATIENCE;
        loop {
            match Options::new().patience(PATIENCE).attach(&self.name).await {
                Ok(client) => return client,
                Err(why) if time::now() >= until => panic!("{}: {why}", self.name),
                Err(_) => time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// Subscribes, whenever the node is there. Each attempt has an agent of its own, for what one that failed had accepted is gone with it.
    async fn subscribe(&self, client: &Client) -> (Subscription, String) {
        let until = time::now() + PATIENCE;
        let mut attempt = 0;
        loop {
            let name = format!("{}.{attempt}", self.name);
            let subscribed = async { client.join(&name).await?.subscribe("load").await }.await;
            match subscribed {
                Ok(subscription) => return (subscription, name),
                Err(why) if time::now() >= until => panic!("{name}: {why}"),
                Err(_) => time::timeout_at(until, client.attached()).await.expect("the node comes back"),
            }
            attempt += 1;
        }
    }

    /// Writes down what it receives and from whom, until nobody writes any more.
    async fn reader(&self) {
        let client = self.attach().await;
        let (mut load, agent) = self.subscribe(&client).await;
        let mut ledger = Ledger::open(&self.folder, &self.name);
        ledger.line(&format!("= {agent}\n"));
        self.sign("there");
        loop {
            match time::timeout(Duration::from_millis(200), load.recv()).await {
                Ok(message) => {
                    let message = message.expect("the subscription lives");
                    let number: [u8; 8] = message.payload()[..8].try_into().expect("a number");
                    let number = u64::from_le_bytes(number);
                    assert_eq!(**message.payload(), *self::message(number), "{number} arrived whole");
                    ledger.line(&format!("{number} {}\n", message.source()));
                }
                Err(_) if self.is_told("stop-readers") => return,
                Err(_) => {}
            }
        }
    }

    /// Sends numbers, each once, and writes down who accepted it.
    async fn writer(&self) {
        let client = self.attach().await;
        let mut ledger = Ledger::open(&self.folder, &self.name);
        for number in 1.. {
            let receipt = match client.publish("load", message(number)).await {
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
        client.detach().await.expect("nothing is held back");
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
            assert_eq!(**message.payload(), *self::message(next), "number {next}, whole");
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
            let message = message(next);
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
