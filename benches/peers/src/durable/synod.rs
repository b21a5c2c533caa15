//! Ours: a store on a thread of its own, with the writers as tasks beside it; each appends one record, waits until it is durable, and appends the next.
//! What is durable is purged as it goes, as behind a snapshot, so that segments are used again.

use super::{Appends, Shape, Tally, Watch, nanos};
use crate::subjects::pattern;
use bytes::Bytes;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use synod_platform::task;
use synod_store::{Log, Options, Store};

/// The subject of this file.
pub struct Ours {
    ask: Option<SyncSender<Duration>>,
    told: Receiver<(Tally, u64)>,
    thread: Option<JoinHandle<()>>,
    held: u64,
}

/// After so many bytes what is durable is purged.
const PURGED: u64 = 32 << 20;

impl Appends for Ours {
    fn open(folder: &Path, shape: Shape) -> Self {
        let (ask, asked) = sync_channel::<Duration>(1);
        let (tell, told) = sync_channel(1);
        let folder = folder.join("store");
        let thread = std::thread::spawn(move || {
            task::block_on(async {
                let (store, _) = Store::open(folder, Options::default()).await.expect("an empty folder");
                let log = store.log("peers").expect("a good name");
                grow(&log).await;
                let before = log.durable();
                // Nothing is on its way while this thread sleeps for the next slice.
                while let Ok(slice) = asked.recv() {
                    let tally = slice_of(&log, shape, slice).await;
                    tell.send((tally, log.durable() - before)).expect("who asked waits");
                }
                store.close().await;
            });
        });
        Self { ask: Some(ask), told, thread: Some(thread), held: 0 }
    }

    fn append_for(&mut self, slice: Duration) -> Tally {
        let ask = self.ask.as_ref().expect("open until dropped");
        ask.send(slice).expect("the store's thread lives");
        let (tally, held) = self.told.recv().expect("the store's thread lives");
        self.held = held;
        tally
    }

    fn held(&mut self) -> u64 {
        self.held
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Appends and purges until the store has the segments that it will use again: the bare device's file is made before, too.
async fn grow(log: &Log) {
    const LEN: usize = 256 << 10;
    let payload = Bytes::from(vec![0; LEN]);
    for _ in 0..8 {
        for _ in 0..PURGED / LEN as u64 {
            let (_, durable) = log.append(vec![payload.clone()]).await.expect("an open store");
            durable.await.expect("a good disk");
        }
        log.purge(log.durable()).await.expect("an open store").await.expect("a good disk");
    }
}

async fn slice_of(log: &Log, shape: Shape, slice: Duration) -> Tally {
    let mut payload = vec![0; shape.size];
    pattern(&mut payload);
    let payload = Bytes::from(payload);
    let watch = Watch::here();
    let until = watch.begun + slice;
    let writers: Vec<_> =
        (0..shape.writers).map(|_| task::spawn(write(log.clone(), payload.clone(), until))).collect();
    let mut tally = Tally::default();
    for writer in writers {
        tally.samples.extend(writer.await.expect("nobody ends a writer"));
    }
    tally.appends = tally.samples.len() as u64;
    tally.spent = watch.stop();
    tally
}

/// One writer; how long each of its appends took.
async fn write(log: Log, payload: Bytes, until: Instant) -> Vec<u32> {
    let mut samples = Vec::new();
    let mut now = Instant::now();
    while now < until {
        let appended = log.append(vec![payload.clone()]).await;
        let (range, durable) = appended.expect("an open store");
        durable.await.expect("a good disk");
        let then = Instant::now();
        samples.push(nanos(then - now));
        now = then;
        // One of the writers in so many entries; its own append is not kept waiting for that.
        if range.start % (PURGED / payload.len() as u64) == 0 {
            drop(log.purge(range.start - 1).await.expect("an open store"));
        }
    }
    samples
}
