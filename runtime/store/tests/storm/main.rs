//! A true process that writes to a store with eight writers is killed with SIGKILL again and again; what it said was durable stands in a
//! ledger outside of it, and all of that is there each time, in order, once. `SYNOD_KILLS` asks for more than ten, `SYNOD_SEED`
//! draws the same moments again.
#![cfg(not(madsim))]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this test stands outside of the process that it starts and kills"
)]

mod device;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use synod_platform::random::Rng;
use synod_platform::{disk, task, time};
use synod_store::{Log, Options, Store, WriteError};

const FOLDER: &str = "SYNOD_TEST_FOLDER";
/// Set where the disk is known to fail: what is refused is tried again, and told.
const FAILING: &str = "SYNOD_TEST_FAILING";
/// Set where threads are to make the disk's calls.
const THREADS: &str = "SYNOD_TEST_THREADS";
const WRITERS: u64 = 8;
/// What each log keeps behind its end.
const KEPT: u64 = 200;

fn options() -> Options {
    Options { segment_len: 256 << 10, batch_max: 64 << 10, ..Options::default() }
}

/// The entry of an index follows from log and index.
fn payload(writer: u64, index: u64) -> Bytes {
    let mut bytes = format!("{writer}/{index}/").into_bytes();
    bytes.resize(bytes.len() + (index * 7919 % 3000) as usize, index as u8);
    bytes.into()
}

/// One write of a short line is whole or not there.
fn tell(line: &str) {
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

async fn write(log: Log, writer: u64, failing: bool) {
    // On a device that fails there is always more to write than is free: only who begins makes room.
    let purge_every = if failing { u64::MAX } else { 100 };
    if failing {
        drop(log.purge(log.last().saturating_sub(KEPT).max(log.first() - 1)).await.unwrap());
    }
    loop {
        let (range, durable) = log.append(vec![payload(writer, log.last() + 1)]).await.unwrap();
        match durable.await {
            Ok(()) => tell(&format!("{writer} {}\n", range.start)),
            Err(WriteError::Disk(_)) if failing => {
                tell("refused\n");
                time::sleep(Duration::from_millis(5)).await;
                continue;
            }
            Err(error) => panic!("{error}"),
        }
        if range.start % purge_every == 0 {
            drop(log.purge(range.start.saturating_sub(KEPT)).await.unwrap());
        }
    }
}

/// The process that is killed; a test that has nothing to do otherwise.
#[test]
fn writers() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let is_set = |name| std::env::var(name).is_ok();
    if is_set(THREADS) {
        disk::choose(disk::Choice::ThreadPool);
    }
    let failing = is_set(FAILING);
    task::block_on(async move {
        let (store, _) = Store::open(folder, options()).await.unwrap();
        let writing = (0..WRITERS).map(|writer| {
            let log = store.log(&writer.to_string()).unwrap();
            task::spawn(write(log, writer, failing))
        });
        for ended in writing.collect::<Vec<_>>() {
            ended.await.unwrap();
        }
    });
}

/// A process that writes, and what it told so far.
struct Writers {
    child: Child,
    acknowledged: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    read: JoinHandle<Vec<(u64, u64)>>,
}

impl Writers {
    fn start(folder: &Path, variables: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writers", "--nocapture"])
            .env(FOLDER, folder)
            .envs(variables.iter().map(|name| (name, "1")))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (acknowledged, refused) = <(Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let counts = (acknowledged.clone(), refused.clone());
        let read = std::thread::spawn(move || {
            let lines = output.lines().map_while(Result::ok);
            let told = lines.filter_map(|line| {
                if line == "refused" {
                    counts.1.fetch_add(1, Ordering::Relaxed);
                }
                let (writer, index) = line.split_once(' ')?;
                let told = (writer.parse::<u64>().ok()?, index.parse::<u64>().ok()?);
                counts.0.fetch_add(1, Ordering::Relaxed);
                Some(told)
            });
            told.collect()
        });
        Self { child, acknowledged, refused, read }
    }

    /// Kills it and adds what it acknowledged to the ledger.
    fn kill(mut self, ledger: &mut BTreeMap<u64, u64>) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        for (writer, index) in self.read.join().unwrap() {
            let last = ledger.insert(writer, index);
            assert!(last.is_none_or(|last| last < index), "what was acknowledged is not appended again");
        }
    }
}

/// Everything in the ledger is there, in order, once.
async fn check(folder: &Path, ledger: &BTreeMap<u64, u64>) -> u64 {
    let (store, recovered) = Store::open(folder, options()).await.unwrap();
    for (writer, acknowledged) in ledger {
        let log = store.log(&writer.to_string()).unwrap();
        assert!(log.last() >= *acknowledged, "log {writer} ends at {} of {acknowledged}", log.last());
        let entries = log.read(log.first().., usize::MAX).await.unwrap();
        assert!(entries.iter().map(|entry| entry.index).eq(log.first()..=log.last()));
        for entry in entries {
            assert_eq!(entry.payload, payload(*writer, entry.index));
        }
    }
    store.close().await;
    recovered.segments
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn what_a_killed_process_acknowledged_is_there_in_order_once() {
    let mut draw = Rng::from_seed(number("SYNOD_SEED").unwrap_or(1));
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = BTreeMap::new();
    let kills = number("SYNOD_KILLS").unwrap_or(10);
    for _ in 0..kills {
        let writers = Writers::start(folder.path(), &[]);
        std::thread::sleep(Duration::from_millis(20 + draw.below(150)));
        writers.kill(&mut ledger);
        let path = folder.path().to_owned();
        let acknowledged = ledger.clone();
        let segments = task::block_on(async move { check(&path, &acknowledged).await });
        assert!(segments < 60, "{segments} segments hold what is left of eight short logs");
    }
    let acknowledged: u64 = ledger.values().sum();
    println!("{kills} kills, {acknowledged} acknowledged appends");
    assert!(acknowledged > kills, "the writers hardly came to write");
}
