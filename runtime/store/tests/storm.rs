//! A true process that writes to a store with eight writers is killed with SIGKILL again and again; what it said was durable stands in a
//! ledger outside of it, and all of that is there each time, in order, once. `SYNOD_KILLS` asks for more than ten, `SYNOD_SEED`
//! draws the same moments again.
#![cfg(not(madsim))]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this test stands outside of the process that it starts and kills"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use synod_platform::random::Rng;
use synod_platform::task;
use synod_store::{Log, Options, Store};

const FOLDER: &str = "SYNOD_TEST_FOLDER";
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

async fn write(log: Log, writer: u64) {
    loop {
        let (range, durable) = log.append(vec![payload(writer, log.last() + 1)]).await.unwrap();
        durable.await.unwrap();
        // One write of a short line is whole or not there.
        let line = format!("{writer} {}\n", range.start);
        std::io::stdout().write_all(line.as_bytes()).unwrap();
        if range.start % 100 == 0 {
            drop(log.purge(range.start.saturating_sub(KEPT)).await.unwrap());
        }
    }
}

/// The process that is killed; a test that has nothing to do otherwise.
#[test]
fn writers() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    task::block_on(async {
        let (store, _) = Store::open(folder, options()).await.unwrap();
        let writing = (0..WRITERS).map(|writer| {
            let log = store.log(&writer.to_string()).unwrap();
            task::spawn(write(log, writer))
        });
        for ended in writing.collect::<Vec<_>>() {
            ended.await.unwrap();
        }
    });
}

/// Starts the process, kills it after a while, and adds what it acknowledged to the ledger.
fn live(folder: &Path, while_ms: u64, ledger: &mut BTreeMap<u64, u64>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writers", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let read = std::thread::spawn(move || {
        let lines = output.lines().map_while(Result::ok);
        let acknowledged = lines.filter_map(|line| {
            let (writer, index) = line.split_once(' ')?;
            Some((writer.parse::<u64>().ok()?, index.parse::<u64>().ok()?))
        });
        acknowledged.collect::<Vec<_>>()
    });
    std::thread::sleep(Duration::from_millis(while_ms));
    child.kill().unwrap();
    child.wait().unwrap();
    for (writer, index) in read.join().unwrap() {
        let last = ledger.insert(writer, index);
        assert!(last.is_none_or(|last| last < index), "what was acknowledged is not appended again");
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

#[test]
fn what_a_killed_process_acknowledged_is_there_in_order_once() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let mut draw = Rng::from_seed(number("SYNOD_SEED").unwrap_or(1));
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = BTreeMap::new();
    let kills = number("SYNOD_KILLS").unwrap_or(10);
    for _ in 0..kills {
        live(folder.path(), 20 + draw.below(150), &mut ledger);
        let path = folder.path().to_owned();
        let acknowledged = ledger.clone();
        let segments = task::block_on(async move { check(&path, &acknowledged).await });
        assert!(segments < 60, "{segments} segments hold what is left of eight short logs");
    }
    let acknowledged: u64 = ledger.values().sum();
    println!("{kills} kills, {acknowledged} acknowledged appends");
    assert!(acknowledged > kills, "the writers hardly came to write");
}
