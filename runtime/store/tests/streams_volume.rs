//! What streams take of memory, a message and a stream, and how long thousands of them take to open. `SYNOD_MESSAGES` and `SYNOD_STREAMS`
//! ask for more than the defaults.
#![cfg(not(madsim))]
#![expect(clippy::disallowed_methods, reason = "this test looks at its own process from outside")]

use std::sync::Arc;

use synod_platform::task;
use synod_platform::time::{self, Wall};
use synod_store::streams::{Append, Fact, Limits, Machine, Message, Streams};
use synod_store::{Options, Store};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What this process holds, bytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let value = status.lines().find_map(|text| text.strip_prefix("VmRSS:")).unwrap();
    value.trim_matches(['\t', ' ', 'k', 'B']).parse::<u64>().unwrap() << 10
}

/// What `make` leaves behind takes, bytes for each of `count`.
fn each<T>(count: u64, make: impl FnOnce() -> T) -> (u64, T) {
    let before = memory();
    let made = make();
    (memory().saturating_sub(before) / count, made)
}

/// A machine that read so many messages, of few subjects or each of its own, with ids or without.
fn machine(messages: u64, subjects: u64, ids: bool) -> Machine {
    let mut machine = Machine::default();
    let limits = Limits { window_ids: u64::MAX, ..Limits::default() };
    machine.apply(1, machine.define("orders", &limits).unwrap().1.unwrap());
    for sequence in 1..=messages {
        let message = Message {
            stream: 0,
            sequence,
            at: Wall::from_nanos(sequence),
            floor: 0,
            replaced: 0,
            ids_floor: 0,
            id: ids.then(|| Arc::from(sequence.to_be_bytes().repeat(2))),
            subject: format!("orders.{:08}", sequence % subjects).into(),
            payload: Vec::new(),
        };
        // As it is read.
        let fact = Fact::decode(&Fact::Message(message).encode()).unwrap();
        machine.apply(sequence + 1, fact);
    }
    machine
}

/// One after the other, for they look at the same memory.
#[test]
fn streams_take_what_is_stated_and_thousands_open_at_once() {
    // Kept, or the messages would take its place.
    let _streams = a_stream_takes_no_more_memory_than_is_stated();
    a_message_takes_no_more_memory_than_is_stated();
    thousands_of_streams_open_at_once();
}

fn a_message_takes_no_more_memory_than_is_stated() {
    let messages = number("SYNOD_MESSAGES", 100_000);
    // What one gives back the next would take: all stay.
    let mut all = Vec::new();
    for (what, subjects, ids, most) in [
        ("of few subjects", 100, false, 150),
        ("each of its own subject", u64::MAX, false, 350),
        ("of few subjects, with an id", 100, true, 350),
    ] {
        let (taken, machine) = each(messages, || machine(messages, subjects, ids));
        println!("{messages} messages {what}: {taken} bytes each");
        assert!(taken <= most, "{taken} bytes a message {what}");
        all.push(machine);
    }
}

fn a_stream_takes_no_more_memory_than_is_stated() -> Machine {
    let count = number("SYNOD_STREAMS", 10_000);
    let (taken, machine) = each(count, || {
        let mut machine = Machine::default();
        for number in 0..count {
            let name = format!("stream {number}");
            let fact = machine.define(&name, &Limits::default()).unwrap().1.unwrap();
            machine.apply(number + 1, fact);
        }
        machine
    });
    println!("{count} streams without messages: {taken} bytes each");
    assert!(taken <= 1500, "{taken} bytes a stream");
    machine
}

fn thousands_of_streams_open_at_once() {
    let count = number("SYNOD_STREAMS", 2_000);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().to_owned();
    task::block_on(async move {
        let (store, _) = Store::open(&path, Options::default()).await.unwrap();
        let streams = Streams::open(&store).await.unwrap();
        let make = |number: u64| {
            let streams = streams.clone();
            task::spawn(async move {
                let stream = streams.define(&format!("stream {number}"), &Limits::default()).await.unwrap();
                let append =
                    Append { expected: None, id: None, subject: "one".into(), payload: vec![7; 100] };
                streams.append(stream, append).await.unwrap();
            })
        };
        for made in (0..count).map(make).collect::<Vec<_>>() {
            made.await.unwrap();
        }
        drop(streams);
        store.close().await;
        let begun = time::now();
        let (store, _) = Store::open(&path, Options::default()).await.unwrap();
        let opened = time::now() - begun;
        let streams = Streams::open(&store).await.unwrap();
        println!("{count} streams: opened in {opened:?} and {:?}", time::now() - begun - opened);
        assert_eq!(streams.names().await.unwrap().len() as u64, count);
    });
}
