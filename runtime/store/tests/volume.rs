//! Much is written while readers are slow, and read again by the next opening: memory stays below the bound that ARCHITECTURE.md states, and
//! an opening is told beside the disk's own sequential speed. 64 MiB by default, `SYNOD_GIB` asks for more, in payloads of
//! `SYNOD_PAYLOAD` bytes; `SYNOD_FOLDER` says on which disk.
#![cfg(not(madsim))]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this test looks at its own process and at the files from outside"
)]

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use synod_platform::task;
use synod_platform::time::{self, Duration};
use synod_store::{Log, Options, Store};

const MIB: u64 = 1 << 20;
const READERS: u64 = 4;
/// What a reader takes at a time, bytes.
const READ: usize = 64 << 10;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// A line of this process's status, bytes.
fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let value = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    value.trim_matches([':', '\t', ' ', 'k', 'B']).parse::<u64>().unwrap() << 10
}

/// The most memory since then is what it is now.
fn forget_the_most() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// Reads behind the writers and never catches up.
async fn read_slowly(log: Log) -> u64 {
    let mut next = 1;
    loop {
        let entries = log.read(next.., READ).await.unwrap();
        next += entries.len() as u64;
        time::sleep(Duration::from_millis(5)).await;
        if entries.last().is_some_and(|entry| entry.payload.is_empty()) || next > log.last() {
            return next;
        }
    }
}

/// Writes as fast as the disk takes it; every fourth log is shortened on the way. Answers how many entries are left.
async fn write(store: &Store, payload: usize, total: u64) -> u64 {
    let logs: Vec<_> = (0..4).map(|log| store.log(&format!("log {log}")).unwrap()).collect();
    let readers: Vec<_> = (0..READERS).map(|_| task::spawn(read_slowly(logs[0].clone()))).collect();
    let each = (MIB as usize / payload).clamp(1, 256);
    let mut last = None;
    for at in 0..total / (payload * each) as u64 {
        let log = &logs[(at % 4) as usize];
        last = Some(log.append((0..each).map(|_| Bytes::from(vec![7; payload])).collect()).await.unwrap().1);
        if at % 64 == 63 {
            drop(log.purge(log.durable()).await.unwrap());
        }
    }
    if let Some(last) = last {
        last.await.unwrap();
    }
    readers.iter().for_each(|reader| reader.abort());
    logs.iter().map(|log| log.last() + 1 - log.first()).sum()
}

/// Has every file of a store written back and dropped from the cache, then reads all of them past it.
fn read_raw(folder: &Path) -> (u64, Duration) {
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let dd = |arguments: &[String]| {
        let done = Command::new("dd").args(arguments).arg("status=none").status().unwrap();
        assert!(done.success(), "dd {arguments:?}");
    };
    let drop_cached = || {
        for file in &files {
            dd(&[
                format!("of={}", file.display()),
                "oflag=nocache".into(),
                "conv=notrunc,fdatasync".into(),
                "count=0".into(),
            ]);
        }
    };
    drop_cached();
    let begun = time::now();
    for file in &files {
        dd(&[format!("if={}", file.display()), "of=/dev/null".into(), "iflag=direct".into(), "bs=4M".into()]);
    }
    let took = time::now() - begun;
    let bytes = files.iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
    drop_cached();
    (bytes, took)
}

fn rate(bytes: u64, took: Duration) -> String {
    format!("{:.0} MiB/s", bytes as f64 / MIB as f64 / took.as_secs_f64())
}

#[test]
fn memory_is_bounded_while_much_is_written_to_slow_readers_and_read_again() {
    let total = number("SYNOD_GIB").map_or(64 * MIB, |gib| gib << 30);
    let payload = number("SYNOD_PAYLOAD").unwrap_or(4096) as usize;
    let place =
        std::env::var("SYNOD_FOLDER").map_or_else(|_| tempfile::tempdir(), tempfile::tempdir_in).unwrap();
    let path = place.path().to_owned();
    let options = Options::default();
    let before = memory("VmRSS");
    forget_the_most();
    let begun = time::now();
    let (folder, entries) = (
        path.clone(),
        task::block_on(async move {
            let (store, _) = Store::open(path, options).await.unwrap();
            let entries = write(&store, payload, total).await;
            store.close().await;
            entries
        }),
    );
    let grown = memory("VmHWM").saturating_sub(before);
    println!(
        "wrote {} MiB at {}: {} MiB of memory at most",
        total / MIB,
        rate(total, time::now() - begun),
        grown / MIB
    );

    let (raw_bytes, raw) = read_raw(&folder);
    println!("the disk's own: {} MiB at {}", raw_bytes / MIB, rate(raw_bytes, raw));
    let before = memory("VmRSS");
    forget_the_most();
    let begun = time::now();
    let (recovered, told) = task::block_on(async move {
        let mut told = Vec::new();
        let (store, recovered) =
            Store::open_with(folder, options, |progress| told.push(progress)).await.unwrap();
        store.close().await;
        (recovered, told)
    });
    let took = time::now() - begun;
    let opening = memory("VmHWM").saturating_sub(before);
    println!(
        "opened: {} MiB at {}, {:.2} of the disk's own; {} records, {entries} of them kept; {} MiB of memory at most, {} B a kept record",
        raw_bytes / MIB,
        rate(raw_bytes, took),
        raw.as_secs_f64() / took.as_secs_f64(),
        recovered.records,
        opening / MIB,
        opening / entries.max(1),
    );
    // 36 bytes a record, and as much again for what the allocator leaves between.
    let bound = 16 * MIB + 72 * recovered.records;
    assert!(opening < bound, "{opening} bytes of memory, {bound} allowed");
    assert!(told.windows(2).all(|two| two[0].read <= two[1].read));
    assert_eq!(told.last().map(|last| last.read), told.last().map(|last| last.total));
}
