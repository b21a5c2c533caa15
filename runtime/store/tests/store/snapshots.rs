//! Snapshots: snapshot and log together always give the state of some first part of what was appended, and all of what was
//! acknowledged, wherever power is lost; a damaged snapshot is told.

use synod_store::{Log, Store};

use crate::common::{TINY, number, payload};

/// A state that depends on each number and on their order.
fn apply(state: u64, number: u64) -> u64 {
    (state ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23)
}

/// What the numbers from 1 to this one amount to.
fn expected(last: u64) -> u64 {
    (1..=last).fold(0, apply)
}

/// The state that snapshot and log give.
async fn restore(log: &Log) -> u64 {
    let snapshot = log.snapshot().await.expect("what is purged is in a snapshot");
    let (index, state) = snapshot.map_or((0, 0), |snapshot| {
        (snapshot.index, u64::from_le_bytes(snapshot.content[..8].try_into().unwrap()))
    });
    let entries = log.read(index + 1.., usize::MAX).await.unwrap();
    entries.iter().map(|entry| number(&entry.payload)).fold(state, apply)
}

async fn append(log: &Log) -> u64 {
    let number = log.last() + 1;
    log.append(vec![payload(number)]).await.unwrap().1.await.unwrap();
    number
}

async fn compact(log: &Log) {
    log.compact(log.last(), expected(log.last()).to_le_bytes().to_vec().into()).await.unwrap();
}

mod on_a_good_disk {
    use synod_platform::disk::{self, Buffer, File, OpenOptions};
    use synod_platform::testing;
    use synod_store::{ReadError, SnapshotError};

    use super::{Store, TINY, append, compact, expected, restore};
    use crate::common::directory;

    #[test]
    fn a_snapshot_replaces_the_entries_before_it_and_a_damaged_one_is_told() {
        testing::run(1, || async {
            let place = directory();
            let (store, _) = Store::open(place.path(), TINY).await.unwrap();
            let log = store.log("log").unwrap();
            assert_eq!(log.snapshot().await.unwrap(), None);
            for _ in 0..3 {
                for _ in 0..5 {
                    append(&log).await;
                }
                compact(&log).await;
            }
            append(&log).await;
            assert_eq!((log.first(), log.last(), restore(&log).await), (16, 16, expected(16)));
            store.close().await;
            let (store, _) = Store::open(place.path(), TINY).await.unwrap();
            let log = store.log("log").unwrap();
            assert_eq!(restore(&log).await, expected(16));

            let names = disk::list(place.path()).await.unwrap().into_iter().map(|entry| entry.name);
            let snapshots: Vec<_> =
                names.filter(|name| name.to_string_lossy().ends_with(".snapshot")).collect();
            assert_eq!(snapshots.len(), 1, "older ones are removed");
            let path = place.path().join(&snapshots[0]);
            let file = File::open(&path, OpenOptions::READ_WRITE).await.unwrap();
            file.write_all_at(70, Buffer::copy_of(&[0xff])).await.0.unwrap();
            file.close().await.unwrap();
            let damaged = ReadError::Snapshot { file: path.clone() };
            assert_eq!(log.snapshot().await, Err(SnapshotError::Read(damaged)));
            disk::remove(path).await.unwrap();
            let missing = SnapshotError::Missing { log: "log".into(), first: 16 };
            assert_eq!(log.snapshot().await, Err(missing));
        });
    }
}

#[cfg(madsim)]
mod amid_power_losses {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;

    use synod_platform::disk::control::DiskFaults;
    use synod_platform::testing::power_loss_everywhere;
    use synod_probe::plant;

    use super::{Store, TINY, append, compact, expected, restore};

    async fn live(acknowledged: Rc<Cell<u64>>, planted: Option<&'static str>) {
        if let Some(bug) = planted {
            plant::choose_here(bug);
        }
        let (store, _) = Store::open("/store", TINY).await.unwrap();
        let log = store.log("log").unwrap();
        let state = restore(&log).await;
        assert!(log.last() >= acknowledged.get(), "acknowledged is durable");
        assert_eq!(state, expected(log.last()), "snapshot and log give the state");
        for _ in 0..3 {
            for _ in 0..2 {
                acknowledged.set(append(&log).await);
            }
            compact(&log).await;
        }
        assert_eq!(restore(&log).await, expected(log.last()));
        store.close().await;
    }

    fn worlds(seed: u64, lives: usize, planted: Option<&'static str>) -> u64 {
        power_loss_everywhere(seed, &DiskFaults::default(), lives, move |ledger| live(ledger, planted))
    }

    #[test]
    fn power_lost_after_any_operation_leaves_snapshot_and_log_that_fit() {
        let once: u64 = (0..4).map(|seed| worlds(seed, 1, None)).sum();
        assert!(once > 4 * 70, "only {once} worlds");
    }

    #[test]
    fn purging_before_the_snapshot_is_durable_is_noticed() {
        let noticed =
            |seed| catch_unwind(AssertUnwindSafe(|| worlds(seed, 1, Some("snapshot.purge-first")))).is_err();
        assert!((0..5).any(noticed));
    }
}
