//! A store on a good disk: what is appended is read, found again after the next opening, and one process has it at a time.

use crate::common::{directory, entries, payloads, small};
use bytes::Bytes;
use synod_platform::disk::{self, Buffer, File, OpenOptions};
use synod_platform::{process, testing};
use synod_store::check::{Cut, check, cut, try_cut};
use synod_store::{OpenError, Options, ReadError, Store, WriteError};

#[test]
fn what_is_appended_is_seen_at_once_and_found_again_after_the_next_opening() {
    testing::run(1, || async {
        let place = directory();
        let (store, found) = Store::open(place.path(), small()).await.unwrap();
        assert_eq!((found.records, found.cut), (0, 0));
        let (a, b) = (store.log("a").unwrap(), store.log("b").unwrap());
        let (range, durable) = a.append(payloads(0..3)).await.unwrap();
        assert_eq!(range, 1..4);
        assert_eq!(entries(&a).await, [0, 1, 2]);
        let (_, other) = b.append(payloads(10..11)).await.unwrap();
        durable.await.unwrap();
        other.await.unwrap();
        assert_eq!((a.durable(), b.durable()), (3, 1));
        assert_eq!(entries(&a).await, [0, 1, 2]);
        store.close().await;

        let (store, found) = Store::open(place.path(), small()).await.unwrap();
        assert_eq!(found.records, 6);
        assert_eq!(store.logs(), ["a", "b"]);
        let (a, b) = (store.log("a").unwrap(), store.log("b").unwrap());
        assert_eq!((entries(&a).await, entries(&b).await), (vec![0, 1, 2], vec![10]));
        a.append(payloads(3..4)).await.unwrap().1.await.unwrap();
        assert_eq!(entries(&a).await, [0, 1, 2, 3]);
    });
}

#[test]
fn a_truncated_and_purged_log_goes_on_where_it_was_cut_also_after_the_next_opening() {
    testing::run(2, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let log = store.log("log").unwrap();
        drop(log.append(payloads(0..10)).await.unwrap().1);
        drop(log.truncate(6).await.unwrap());
        assert_eq!((log.first(), log.last()), (1, 6));
        drop(log.append(payloads(20..23)).await.unwrap().1);
        log.purge(2).await.unwrap().await.unwrap();
        let expected = [2, 3, 4, 5, 20, 21, 22];
        assert_eq!(entries(&log).await, expected);
        assert_eq!(log.read(1.., 100).await, Err(ReadError::Purged { index: 1, first: 3 }));
        assert_eq!(log.truncate(1).await.err(), Some(WriteError::Purged { after: 1, first: 3 }));
        store.close().await;

        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let log = store.log("log").unwrap();
        assert_eq!((log.first(), log.last(), entries(&log).await), (3, 9, expected.to_vec()));
        log.purge(100).await.unwrap().await.unwrap();
        assert_eq!((log.first(), log.last()), (101, 100));
        assert_eq!(log.append(payloads(0..1)).await.unwrap().0, 101..102);
        store.close().await;
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        assert_eq!(entries(&store.log("log").unwrap()).await, [0]);
    });
}

#[test]
fn a_named_value_is_the_last_one_put() {
    testing::run(3, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let log = store.log("log").unwrap();
        assert_eq!(log.get("vote"), None);
        drop(log.put("vote", b"1").await.unwrap());
        let durable = log.put("vote", b"2").await.unwrap();
        assert_eq!(log.get("vote").unwrap(), "2");
        durable.await.unwrap();
        log.put("committed", b"").await.unwrap().await.unwrap();
        store.close().await;
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let log = store.log("log").unwrap();
        assert_eq!((log.get("vote"), log.get("committed")), (Some("2".into()), Some(Bytes::new())));
    });
}

#[test]
fn logs_of_many_segments_are_read_back_in_parts_and_whole() {
    testing::run(4, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let log = store.log("log").unwrap();
        for at in 0..40 {
            log.append(payloads(at * 10..at * 10 + 10)).await.unwrap().1.await.unwrap();
        }
        assert_eq!(entries(&log).await, (0..400).collect::<Vec<_>>());
        let part = log.read(100..=102, usize::MAX).await.unwrap();
        assert_eq!(part.iter().map(|entry| entry.index).collect::<Vec<_>>(), [100, 101, 102]);
        assert_eq!(log.read(5.., 0).await.unwrap().len(), 1);
        assert_eq!(log.read(401.., 100).await.unwrap(), []);
        store.close().await;
        let (store, found) = Store::open(place.path(), small()).await.unwrap();
        assert!(found.segments > 3, "{found:?}");
        assert_eq!(entries(&store.log("log").unwrap()).await, (0..400).collect::<Vec<_>>());
    });
}

#[test]
fn a_store_is_open_once_and_refuses_what_it_cannot_hold() {
    testing::run(5, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let locked = Store::open(place.path(), small()).await.unwrap_err();
        assert_eq!(
            locked,
            OpenError::Locked { directory: place.path().to_owned(), holder: Some(process::pid()) }
        );
        let log = store.log("log").unwrap();
        let large = vec![Bytes::from(vec![0; 1 << 20])];
        assert!(matches!(log.append(large).await, Err(WriteError::TooLong { .. })));
        assert_eq!(store.log("").err(), Some(WriteError::Name { len: 0 }));
        store.close().await;
        assert_eq!(log.append(payloads(0..1)).await.err(), Some(WriteError::Closed));
        assert!(Store::open(place.path(), small()).await.is_ok());
    });
}

#[test]
fn an_append_for_another_place_than_the_logs_end_is_refused_and_gives_its_room_back() {
    testing::run(6, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let log = store.log("log").unwrap();
        let room = small().waiting_max;
        for _ in 0..3 {
            let refused = log
                .reserve(room)
                .await
                .unwrap()
                .append_at_then(2, payloads(0..1), |_| panic!("nothing to tell"));
            assert_eq!(refused, Err(WriteError::Moved { expected: 2, next: 1 }));
        }
        assert_eq!(log.reserve(room).await.unwrap().append_at_then(1, payloads(0..2), drop), Ok(1..3));
        assert_eq!(entries(&log).await, [0, 1]);
    });
}

#[test]
fn an_idle_log_pins_no_segments_and_loses_nothing_when_they_are_used_again() {
    testing::run(6, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let (idle, busy) = (store.log("idle").unwrap(), store.log("busy").unwrap());
        drop(idle.append(payloads(0..5)).await.unwrap());
        drop(idle.truncate(3).await.unwrap());
        drop(idle.put("vote", b"7").await.unwrap());
        for at in 0..200 {
            drop(busy.append(payloads(at * 10..at * 10 + 10)).await.unwrap());
            busy.purge(at * 10).await.unwrap().await.unwrap();
        }
        let expected = (1990..2000).collect::<Vec<_>>();
        assert_eq!((entries(&idle).await, entries(&busy).await), (vec![0, 1, 2], expected.clone()));
        store.close().await;
        let (store, found) = Store::open(place.path(), small()).await.unwrap();
        assert!(found.segments < 8, "the log of about 1 MiB is kept in few segments of 64 KiB: {found:?}");
        let (idle, busy) = (store.log("idle").unwrap(), store.log("busy").unwrap());
        assert_eq!((entries(&idle).await, entries(&busy).await), (vec![0, 1, 2], expected));
        assert_eq!(idle.get("vote").unwrap(), "7");
    });
}

#[cfg(madsim)]
#[test]
fn small_records_that_each_took_a_block_are_packed_once_and_not_again_and_again() {
    use synod_platform::time::{Duration, sleep};
    testing::run(8, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let log = store.log("log").unwrap();
        for _ in 0..150 {
            log.append(vec![Bytes::from_static(b"small")]).await.unwrap().1.await.unwrap();
        }
        // Nobody else writes now, so that copies share their batches with nothing.
        sleep(Duration::from_secs(60)).await;
        store.close().await;
        let found = check(place.path()).await.unwrap();
        assert_eq!((found.problem, found.logs[0].last), (None, 150));
        let lives = found.segments.last().unwrap().epoch;
        assert!(
            lives <= 20,
            "{lives} segments were begun for 150 small records, which fill ten before they are packed"
        );
    });
}

#[cfg(madsim)]
#[test]
fn a_store_that_was_large_gives_its_space_back_and_goes_on() {
    use synod_platform::time::{Duration, sleep};
    testing::run(9, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let (idle, busy) = (store.log("idle").unwrap(), store.log("busy").unwrap());
        drop(idle.append(payloads(0..5)).await.unwrap());
        for at in 0..100 {
            busy.append(payloads(at * 10..at * 10 + 10)).await.unwrap().1.await.unwrap();
        }
        let large = segments(place.path()).await;
        busy.purge(990).await.unwrap().await.unwrap();
        sleep(Duration::from_secs(60)).await;
        let left = segments(place.path()).await;
        // Two in use, one to go on with, two in reserve.
        assert!(large >= 7 && left <= 5, "{left} of {large} segments are left");
        for at in 100..140 {
            busy.append(payloads(at * 10..at * 10 + 10)).await.unwrap().1.await.unwrap();
        }
        let expected = (990..1400).collect::<Vec<_>>();
        assert_eq!((entries(&idle).await, entries(&busy).await), (vec![0, 1, 2, 3, 4], expected.clone()));
        store.close().await;
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let (idle, busy) = (store.log("idle").unwrap(), store.log("busy").unwrap());
        assert_eq!((entries(&idle).await, entries(&busy).await), (vec![0, 1, 2, 3, 4], expected));
    });
}

/// How many segments there are.
#[cfg(madsim)]
async fn segments(place: &std::path::Path) -> usize {
    let names = disk::list(place).await.unwrap().into_iter().map(|entry| entry.name);
    names.filter(|name| name.to_string_lossy().ends_with(".segment")).count()
}

#[test]
fn a_young_store_takes_little_of_the_disk() {
    testing::run(10, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), Options::default()).await.unwrap();
        let log = store.log("log").unwrap();
        log.append(payloads(0..10)).await.unwrap().1.await.unwrap();
        store.close().await;
        let mut taken = 0;
        for entry in disk::list(place.path()).await.unwrap() {
            taken += disk::metadata(place.path().join(entry.name)).await.unwrap().len;
        }
        assert!(taken <= (8 << 20) + 4096, "{taken} bytes");
        let (store, _) = Store::open(place.path(), Options::default()).await.unwrap();
        assert_eq!(entries(&store.log("log").unwrap()).await, (0..10).collect::<Vec<_>>());
    });
}

#[test]
fn a_damaged_store_is_refused_shown_and_cut_where_it_is_damaged_and_the_copy_is_what_it_was() {
    testing::run(7, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let log = store.log("log").unwrap();
        for at in 0..40 {
            log.append(payloads(at * 10..at * 10 + 10)).await.unwrap().1.await.unwrap();
        }
        store.close().await;
        let sound = check(place.path()).await.unwrap();
        assert_eq!((sound.problem.as_ref(), sound.logs[0].last), (None, 400));

        let name = "00000001.segment";
        let file = File::open(place.path().join(name), OpenOptions::READ_WRITE).await.unwrap();
        file.write_all_at(20_480, Buffer::copy_of(&[7; 4096])).await.0.unwrap();
        file.close().await.unwrap();
        let damaged = Store::open(place.path(), small()).await.unwrap_err();
        let OpenError::Corrupt { file, offset, number } = damaged.clone() else { panic!("{damaged}") };
        assert_eq!(file, place.path().join(name));
        assert!((8_192..=20_480).contains(&offset) && number > 1);
        assert_eq!(check(place.path()).await.unwrap().problem, Some(damaged));

        let here = Cut { segment: name.into(), offset: 20_480 };
        let left = try_cut(place.path(), &here).await.unwrap();
        let last = left.logs[0].last;
        assert!(left.problem.is_none() && (10..400).contains(&last));
        let backup = place.path().join("backup");
        assert_eq!(cut(place.path(), &here, &backup).await.unwrap(), left);
        assert!(check(&backup).await.unwrap().problem.is_some());
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let log = store.log("log").unwrap();
        assert_eq!(entries(&log).await, (0..last).collect::<Vec<_>>());
        log.append(payloads(last..last + 100)).await.unwrap().1.await.unwrap();
        store.close().await;
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        assert_eq!(entries(&store.log("log").unwrap()).await, (0..last + 100).collect::<Vec<_>>());
    });
}
