//! Ours: a store with one log. An opening reads all of it, whether it was closed or not.

use super::{Keeps, Lot, Seen, drop_cached};
use crate::durable::{Spent, Watch};
use bytes::Bytes;
use std::path::{Path, PathBuf};
use synod_platform::task;
use synod_store::{Log, Options, Progress, Store};

/// The subject of this file.
pub struct Ours;

/// A log from this length on tells how far its opening has come, bytes.
const TOLD: u64 = 2 << 30;

/// What one read asks for, bytes.
const READ: usize = 1 << 20;

impl Ours {
    /// Where its files lie.
    pub fn directory(folder: &Path) -> PathBuf {
        folder.join("store")
    }
}

impl Keeps for Ours {
    fn write(folder: &Path, lot: Lot) -> u64 {
        task::block_on(async {
            let (store, _) =
                Store::open(Self::directory(folder), Options::default()).await.expect("an empty folder");
            let log = store.log("peers").expect("a good name");
            let payload = Bytes::from(lot.payload());
            let (mut left, mut last) = (lot.records, None);
            while left > 0 {
                let count = left.min(lot.at_a_time());
                let payloads = vec![payload.clone(); count as usize];
                last = Some(log.append(payloads).await.expect("an open store").1);
                left -= count;
            }
            if let Some(last) = last {
                last.await.expect("room on the disk");
            }
        });
        task::block_on(async {
            let mut total = 0;
            let (store, _) = opened(folder, lot, |progress| total = progress.total).await;
            store.close().await;
            total
        })
    }

    fn open(folder: &Path, lot: Lot, _: u64) -> Spent {
        let mut told = 0;
        task::block_on(async {
            let watch = Watch::here();
            let (store, _) = opened(folder, lot, |progress| {
                let tenth = progress.read * 10 / progress.total.max(1);
                if progress.total >= TOLD && tenth > told {
                    told = tenth;
                    eprintln!(
                        "  opening: {} of {} MiB read, {} MiB/s",
                        progress.read >> 20,
                        progress.total >> 20,
                        progress.rate() >> 20
                    );
                }
            })
            .await;
            let spent = watch.stop();
            store.close().await;
            spent
        })
    }

    fn read(folder: &Path, lot: Lot, _: u64) -> Spent {
        task::block_on(async {
            let (store, log) = opened(folder, lot, |_| {}).await;
            drop_cached(folder).expect("files of our own");
            let mut seen = Seen::of(lot);
            let watch = Watch::here();
            while seen.count < lot.records {
                let entries = log.read(seen.count + 1.., READ).await.expect("a good disk");
                assert!(!entries.is_empty(), "the log ends at {}", seen.count);
                entries.iter().for_each(|entry| seen.take(&entry.payload));
            }
            let spent = watch.stop();
            seen.end(lot);
            store.close().await;
            spent
        })
    }
}

/// The store and its log, which holds all of the lot.
async fn opened(folder: &Path, lot: Lot, progress: impl FnMut(Progress)) -> (Store, Log) {
    let store = Store::open_with(Ours::directory(folder), Options::default(), progress).await;
    let (store, _) = store.expect("a store that was written");
    let log = store.log("peers").expect("a good name");
    assert_eq!(log.durable(), lot.records, "what was told durable is not what is there");
    (store, log)
}
