//! A disk that is full, over its quota, read-only, closed to this user or failing: the store refuses writes and says what to do, what
//! was acknowledged is read all the while, and writes are taken again when the cause is gone, without a restart.

use synod_platform::disk::Failure;
use synod_platform::disk::control::{self, DiskFaults};
use synod_platform::{simulation, testing};
use synod_store::{Health, Log, Store, WriteError};

use crate::common::{directory, entries, payload, small};

/// Appends one after the other until one is refused; answers why, and how many were not.
async fn append_until_refused(log: &Log) -> (WriteError, u64) {
    for number in log.last()..10_000 {
        if let Err(error) = log.append(vec![payload(number)]).await.unwrap().1.await {
            return (error, number);
        }
    }
    panic!("nothing is refused")
}

/// One life on a disk that turns bad and good again. `advice` is what the refusal says to do.
fn degraded(seed: u64, turn_bad: fn(&mut DiskFaults), expected: Failure, advice: &'static str) {
    testing::run(seed, move || async move {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let log = store.log("log").unwrap();
        for number in 0..20 {
            log.append(vec![payload(number)]).await.unwrap().1.await.unwrap();
        }
        for _ in 0..2 {
            control::change(simulation::current_node(), turn_bad);
            let (refused, count) = append_until_refused(&log).await;
            assert!(count >= 20 && refused.to_string().contains(advice), "{refused}");
            let WriteError::Disk(error) = refused else { panic!("{refused}") };
            assert_eq!((error.failure, store.health()), (expected, Health::Degraded(error)));
            for _ in 0..3 {
                let again = log.append(vec![payload(count)]).await.unwrap().1.await;
                assert!(matches!(again, Err(WriteError::Disk(_))), "{again:?}");
                assert_eq!(entries(&log).await, (0..count).collect::<Vec<_>>(), "reading goes on");
            }
            control::restore(simulation::current_node());
            for number in count..count + 200 {
                log.append(vec![payload(number)]).await.unwrap().1.await.unwrap();
            }
            assert_eq!(store.health(), Health::Good);
        }
        let count = log.last();
        store.close().await;
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        assert_eq!(entries(&store.log("log").unwrap()).await, (0..count).collect::<Vec<_>>());
    });
}

#[test]
fn a_full_disk_refuses_writes_until_there_is_space() {
    degraded(1, |faults| faults.capacity = Some(0), Failure::NoSpace, "free some");
}

#[test]
fn a_used_up_quota_refuses_writes_until_it_is_raised() {
    let quota = |faults: &mut DiskFaults| (faults.capacity, faults.quota) = (Some(0), true);
    degraded(2, quota, Failure::Quota, "raise the limit");
}

#[test]
fn a_read_only_file_system_refuses_writes_until_it_is_remounted() {
    degraded(3, |faults| faults.read_only = true, Failure::ReadOnly, "remount");
}

#[test]
fn a_directory_closed_to_this_user_refuses_writes_until_it_is_opened_again() {
    degraded(4, |faults| faults.denied = vec!["/store".into()], Failure::Denied, "give this user access");
}

#[test]
fn a_device_that_fails_to_write_refuses_writes_until_it_does_not() {
    degraded(5, |faults| faults.write_error = 1.0, Failure::Io, "the device reported an error");
}

#[test]
fn a_device_that_fails_to_sync_refuses_writes_until_it_does_not() {
    degraded(6, |faults| faults.sync_error = 1.0, Failure::Io, "the device reported an error");
}
