//! A disk that is full, over its quota, read-only, closed to this user or failing: the store refuses writes and says what to do, what
//! was acknowledged is read all the while, and writes are taken again when the cause is gone, without a restart.

use synod_platform::disk::Failure;
use synod_platform::disk::control::{self, DiskFaults};
use synod_platform::time::{self, Duration};
use synod_platform::{simulation, task, testing};
use synod_store::streams::{Append, Limits, Start, Streams};
use synod_store::{Health, Log, Options, Store, WriteError};

use crate::common::{directory, entries, payload, payloads, small};

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

/// Nothing more is to be had of the disk.
fn fill_up() {
    control::change(simulation::current_node(), |faults| faults.capacity = Some(0));
}

#[test]
fn a_full_disk_takes_purges_again_and_again_and_what_they_free_is_written_to_through_restarts() {
    testing::run(7, || async {
        let place = directory();
        let (mut store, _) = Store::open(place.path(), small()).await.unwrap();
        let log = store.log("log").unwrap();
        for number in 0..400 {
            log.append(vec![payload(number)]).await.unwrap().1.await.unwrap();
        }
        drop(log);
        fill_up();
        let mut written = 400;
        for round in 0..6 {
            // What is left of segments is copied.
            time::sleep(Duration::from_millis(100)).await;
            let log = store.log("log").unwrap();
            let (_, count) = append_until_refused(&log).await;
            assert!(count > written + 20, "{} entries were written in round {round}", count - written);
            written = count;
            log.purge(count - 5).await.unwrap().await.unwrap();
            assert!(matches!(store.health(), Health::Degraded(_)), "appends were not tried yet");
            assert_eq!(entries(&log).await, (count - 5..count).collect::<Vec<_>>());
            drop(log);
            if round % 2 == 1 {
                store.close().await;
                (store, _) = Store::open(place.path(), small()).await.unwrap();
            }
        }
        store.close().await;
    });
}

#[test]
fn a_full_disk_takes_small_values_for_ever_also_when_the_store_is_opened_again_and_again() {
    testing::run(8, || async {
        let place = directory();
        let (mut store, _) = Store::open(place.path(), small()).await.unwrap();
        // Segments that are full of what is needed: nothing of them is copied.
        let full = || vec![vec![7; 14 << 10].into(); 4];
        store.log("log").unwrap().append(full()).await.unwrap().1.await.unwrap();
        // The reserve is made.
        time::sleep(Duration::from_secs(1)).await;
        fill_up();
        for life in 0..8_u64 {
            let log = store.log("log").unwrap();
            while log.append(full()).await.unwrap().1.await.is_ok() {}
            let count = log.last();
            for term in 0..100 {
                log.put("vote", &(life * 100 + term).to_le_bytes()).await.unwrap().await.unwrap();
            }
            drop(log);
            store.close().await;
            (store, _) = Store::open(place.path(), small()).await.unwrap();
            let log = store.log("log").unwrap();
            assert_eq!(log.get("vote").unwrap()[..], (life * 100 + 99).to_le_bytes());
            assert_eq!(log.read(1.., usize::MAX).await.unwrap().len() as u64, count);
        }
        store.close().await;
    });
}

#[test]
fn on_a_full_disk_what_is_left_of_segments_is_copied_into_the_reserve_and_frees_them() {
    testing::run(9, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let (log, kept) = (store.log("log").unwrap(), store.log("kept").unwrap());
        for number in 0..600 {
            log.append(vec![payload(number)]).await.unwrap().1.await.unwrap();
            if number % 20 == 0 {
                kept.append(vec![payload(number)]).await.unwrap().1.await.unwrap();
            }
        }
        fill_up();
        let (_, count) = append_until_refused(&log).await;
        log.purge(count).await.unwrap().await.unwrap();
        let mut again = 0;
        for _ in 0..200 {
            time::sleep(Duration::from_millis(10)).await;
            again += u64::from(log.append(vec![payload(0)]).await.unwrap().1.await.is_ok());
        }
        assert!(again > 100, "{again} entries were taken");
        assert_eq!(entries(&kept).await, (0..600).step_by(20).collect::<Vec<_>>());
        store.close().await;
    });
}

#[test]
fn a_purge_gets_through_however_hard_others_try_to_append_to_a_full_disk() {
    testing::run(10, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let log = store.log("log").unwrap();
        log.append(payloads(0..40)).await.unwrap().1.await.unwrap();
        fill_up();
        append_until_refused(&log).await;
        for _ in 0..4 {
            let other = store.log("other").unwrap();
            task::spawn(async move { while other.append(payloads(0..3)).await.unwrap().1.await.is_err() {} })
                .detach();
        }
        for _ in 0..20 {
            time::sleep(Duration::from_micros(100)).await;
        }
        log.purge(10).await.unwrap().await.unwrap();
        log.purge(log.last()).await.unwrap().await.unwrap();
    });
}

#[test]
fn messages_are_deleted_on_a_full_disk_and_make_room_for_others() {
    testing::run(11, || async {
        let place = directory();
        let options =
            Options { segment_len: 1 << 20, batch_max: 64 << 10, waiting_max: 256 << 10, ..small() };
        let (store, _) = Store::open(place.path(), options).await.unwrap();
        let streams = Streams::open(&store).await.unwrap();
        let stream = streams.define("orders", &Limits::default()).await.unwrap();
        let message =
            || Append { expected: None, id: None, subject: "all".into(), payload: vec![7; 16 << 10] };
        for _ in 0..200 {
            streams.append(stream, message()).await.unwrap();
        }
        fill_up();
        for _ in 0..3 {
            let mut last = 0;
            while let Ok(appended) = streams.append(stream, message()).await {
                last = appended.sequence;
                assert!(last < 10_000, "nothing is refused");
            }
            assert!(last > 0, "nothing is taken");
            streams.delete_below(stream, last).await.unwrap();
            assert!(streams.maintain().await.unwrap().entries > 0);
            let left = streams.read(stream, Start::Sequence(1), usize::MAX, u64::MAX).await.unwrap();
            assert_eq!(left.iter().map(|stored| stored.sequence).collect::<Vec<_>>(), [last]);
        }
    });
}

#[test]
fn a_log_of_messages_of_which_much_is_needed_is_not_shortened_on_a_full_disk_and_says_so_until_there_is_space()
 {
    testing::run(12, || async {
        let place = directory();
        let options =
            Options { segment_len: 1 << 20, batch_max: 64 << 10, waiting_max: 256 << 10, ..small() };
        let (store, _) = Store::open(place.path(), options).await.unwrap();
        let streams = Streams::open(&store).await.unwrap();
        let stream = streams.define("orders", &Limits::default()).await.unwrap();
        let message =
            || Append { expected: None, id: None, subject: "all".into(), payload: vec![7; 12 << 10] };
        for _ in 0..100 {
            streams.append(stream, message()).await.unwrap();
        }
        fill_up();
        while streams.append(stream, message()).await.is_ok() {}
        streams.delete(stream, 50).await.unwrap();
        for _ in 0..100 {
            // It may come some way before it is refused, and what it wrote is not written again and again.
            assert!(streams.erase().await.is_err());
        }
        streams.delete(stream, 51).await.unwrap();
        control::restore(simulation::current_node());
        streams.erase().await.unwrap();
        let left = streams.read(stream, Start::Sequence(48), 3, u64::MAX).await.unwrap();
        assert_eq!(left.iter().map(|stored| stored.sequence).collect::<Vec<_>>(), [48, 49, 52]);
        store.close().await;
    });
}
