//! Streams on a good disk: appended once and in order, read from anywhere, kept within limits, deleted for good, found again.

use std::num::NonZeroU64;
use std::sync::Arc;

use synod_platform::time::{Duration, Wall, sleep, wall};
use synod_platform::{disk, task, testing};
use synod_store::Store;
use synod_store::streams::{Append, Appended, LOG, Limits, Start, StreamError, Streams};

use crate::common::{bytes_of_all_files, directory, small};

fn message(text: &str) -> Append {
    Append { expected: None, id: None, subject: "all".into(), payload: text.into() }
}

fn with_id(text: &str, id: &str) -> Append {
    Append { id: Some(Arc::from(id.as_bytes())), ..message(text) }
}

fn first(sequence: u64) -> Appended {
    Appended { sequence, duplicate: false }
}

async fn texts(streams: &Streams, stream: u32, start: Start) -> Vec<(u64, String)> {
    let read = streams.read(stream, start, usize::MAX, u64::MAX).await.unwrap();
    read.into_iter().map(|stored| (stored.sequence, String::from_utf8(stored.payload).unwrap())).collect()
}

fn expect(texts: &[(u64, &str)]) -> Vec<(u64, String)> {
    texts.iter().map(|(sequence, text)| (*sequence, (*text).to_owned())).collect()
}

#[test]
fn a_message_is_appended_once_in_its_place_and_all_is_found_again_after_the_next_opening() {
    testing::run(1, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let streams = Streams::open(&store).await.unwrap();
        let orders = streams.define("orders", &Limits::default()).await.unwrap();
        let events = streams.define("events", &Limits::default()).await.unwrap();
        assert_eq!(streams.append(orders, with_id("a", "1")).await, Ok(first(1)));
        assert_eq!(streams.append(events, with_id("x", "1")).await, Ok(first(1)));
        assert_eq!(
            streams.append(orders, Append { expected: Some(1), ..with_id("b", "2") }).await,
            Ok(first(2))
        );
        let late = Append { expected: Some(1), ..message("c") };
        let refused = Err(StreamError::WrongSequence { expected: 1, present: 2 });
        assert_eq!(streams.append(orders, late).await, refused);
        sleep(Duration::from_millis(5)).await;
        let before_c = wall();
        assert_eq!(streams.append(orders, message("c")).await, Ok(first(3)));
        streams.move_cursor(orders, "mailer", 2).await.unwrap();
        let beyond = Err(StreamError::BeyondEnd { sequence: 4, last: 3 });
        assert_eq!(streams.move_cursor(orders, "mailer", 4).await, beyond);
        streams.delete(orders, 2).await.unwrap();
        drop(streams);
        store.close().await;

        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let streams = Streams::open(&store).await.unwrap();
        assert_eq!(streams.names().await.unwrap(), ["events", "orders"]);
        assert_eq!(streams.find("orders").await, Ok(Some(orders)));
        assert_eq!(texts(&streams, orders, Start::Sequence(1)).await, expect(&[(1, "a"), (3, "c")]));
        assert_eq!(texts(&streams, orders, Start::Time(before_c)).await, expect(&[(3, "c")]));
        assert_eq!(texts(&streams, orders, Start::End).await, []);
        assert_eq!(streams.cursor(orders, "mailer").await, Ok(Some(2)));
        let again = streams.append(orders, Append { expected: Some(0), ..with_id("b", "2") }).await;
        assert_eq!(again, Ok(Appended { sequence: 2, duplicate: true }));
        let gone = StreamError::NoMessage { sequence: 2, first: 1, next: 4 };
        assert_eq!(streams.delete(orders, 2).await, Err(gone));
    });
}

#[test]
fn many_who_send_the_same_message_at_once_are_all_answered_with_the_one_place_it_has() {
    testing::run(2, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let streams = Streams::open(&store).await.unwrap();
        let orders = streams.define("orders", &Limits::default()).await.unwrap();
        let send = |_| {
            let streams = streams.clone();
            task::spawn(async move { streams.append(orders, with_id("once", "same")).await.unwrap() })
        };
        let mut first = 0;
        for sent in (0..20).map(send).collect::<Vec<_>>() {
            let appended = sent.await.unwrap();
            assert_eq!(appended.sequence, 1);
            first += u32::from(!appended.duplicate);
        }
        assert_eq!(first, 1);
        assert_eq!(texts(&streams, orders, Start::Sequence(0)).await, expect(&[(1, "once")]));
    });
}

#[test]
fn who_waits_for_a_message_is_woken_when_it_is_durable() {
    testing::run(3, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let streams = Streams::open(&store).await.unwrap();
        let orders = streams.define("orders", &Limits::default()).await.unwrap();
        let waiting = task::spawn({
            let streams = streams.clone();
            async move {
                streams.arrived(orders, 2).await.unwrap();
                texts(&streams, orders, Start::Sequence(2)).await
            }
        });
        streams.append(orders, message("a")).await.unwrap();
        task::yield_now().await;
        assert!(!waiting.is_finished());
        streams.append(orders, message("b")).await.unwrap();
        assert_eq!(waiting.await.unwrap(), expect(&[(2, "b")]));
        let gone = task::spawn({
            let streams = streams.clone();
            async move { streams.arrived(orders, 3).await }
        });
        task::yield_now().await;
        streams.drop_stream(orders).await.unwrap();
        assert_eq!(gone.await.unwrap(), Err(StreamError::Unknown));
    });
}

#[test]
fn what_lies_beyond_the_limits_goes_and_reading_takes_no_more_than_was_asked_for() {
    testing::run(4, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let streams = Streams::open(&store).await.unwrap();
        let values = Limits { per_subject: NonZeroU64::new(1), ..Limits::default() };
        let values = streams.define("values", &values).await.unwrap();
        for (subject, text) in [("a", "1"), ("b", "2"), ("a", "3")] {
            streams.append(values, Append { subject: subject.into(), ..message(text) }).await.unwrap();
        }
        assert_eq!(texts(&streams, values, Start::Sequence(1)).await, expect(&[(2, "2"), (3, "3")]));
        let last = streams.last(values, "a").await.unwrap().unwrap();
        assert_eq!((last.sequence, &last.payload[..]), (3, &b"3"[..]));
        assert_eq!(streams.last(values, "c").await, Ok(None));

        let young = Limits { age: Some(Duration::from_millis(50)), ..Limits::default() };
        let news = streams.define("news", &young).await.unwrap();
        for text in ["old", "older", "oldest"] {
            streams.append(news, message(text)).await.unwrap();
        }
        let some = |messages, bytes| streams.read(news, Start::Sequence(0), messages, bytes);
        assert_eq!(some(2, u64::MAX).await.unwrap().len(), 2);
        assert_eq!(some(9, 15).await.unwrap().len(), 2);
        assert_eq!(some(9, 0).await.unwrap().len(), 1);
        sleep(Duration::from_millis(60)).await;
        streams.maintain().await.unwrap();
        assert_eq!(texts(&streams, news, Start::Sequence(0)).await, []);
        assert_eq!(streams.append(news, message("new")).await, Ok(first(4)));

        let fewer = Limits { messages: NonZeroU64::new(1), ..Limits::default() };
        assert_eq!(streams.define("values", &fewer).await, Ok(values));
        assert_eq!(texts(&streams, values, Start::Sequence(1)).await, expect(&[(3, "3")]));
        assert_eq!(streams.limits(values).await, Ok(fewer));
    });
}

#[test]
fn what_was_erased_is_in_no_entry_and_in_no_file_and_nothing_else_is_gone() {
    testing::run(5, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let streams = Streams::open(&store).await.unwrap();
        let kept = streams.define("kept", &Limits::default()).await.unwrap();
        let cleared = streams.define("cleared", &Limits::default()).await.unwrap();
        for number in 0..50 {
            streams.append(kept, with_id(&format!("kept {number}"), &format!("{number}"))).await.unwrap();
            streams.append(cleared, message(&format!("secret {number}"))).await.unwrap();
        }
        streams.move_cursor(kept, "mailer", 7).await.unwrap();
        streams.delete(kept, 1).await.unwrap();
        streams.drop_stream(cleared).await.unwrap();
        let shortened = streams.erase().await.unwrap();
        assert!(shortened.entries > 100 && shortened.carried < 60, "{shortened:?}");
        let log = store.log(LOG).unwrap();
        for entry in log.read(log.first().., usize::MAX).await.unwrap() {
            let text = String::from_utf8_lossy(&entry.payload);
            assert!(!text.contains("secret") && !text.contains("kept 0"), "{text}");
        }
        for (file, bytes) in bytes_of_all_files(place.path()).await {
            for gone in [&b"secret"[..], b"kept 0"] {
                let found = bytes.windows(gone.len()).any(|bytes| bytes == gone);
                assert!(!found, "{} is in {}", gone.escape_ascii(), file.display());
            }
        }
        assert_eq!(streams.erase().await.unwrap().entries, 0);
        store_again(streams, store, place.path(), kept).await;
    });
}

/// After an opening: the first message is gone, its id is known, all else is there.
async fn store_again(streams: Streams, store: Store, path: &std::path::Path, kept: u32) {
    drop(streams);
    store.close().await;
    let (store, _) = Store::open(path, small()).await.unwrap();
    let streams = Streams::open(&store).await.unwrap();
    let expected: Vec<_> = (1..50).map(|number| (number + 1, format!("kept {number}"))).collect();
    assert_eq!(texts(&streams, kept, Start::Sequence(0)).await, expected);
    assert_eq!(streams.cursor(kept, "mailer").await, Ok(Some(7)));
    let known = Appended { sequence: 1, duplicate: true };
    assert_eq!(streams.append(kept, with_id("again", "0")).await, Ok(known));
    assert_eq!(streams.append(kept, message("new")).await, Ok(first(51)));
    assert!(streams.define("new", &Limits::default()).await.unwrap() > kept + 1);
}

#[test]
fn a_log_of_which_little_counts_is_shortened_while_others_append_and_read() {
    testing::run(6, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let streams = Streams::open(&store).await.unwrap();
        let few = Limits { messages: NonZeroU64::new(10), ..Limits::default() };
        let busy = streams.define("busy", &few).await.unwrap();
        let idle = streams.define("idle", &Limits::default()).await.unwrap();
        streams.append(idle, message("still here")).await.unwrap();
        let writer = task::spawn({
            let streams = streams.clone();
            async move {
                for number in 0..150u64 {
                    let payload = vec![number as u8; 16_000];
                    streams.append(busy, Append { payload, ..message("") }).await.unwrap();
                }
            }
        });
        let mut entries = 0;
        while !writer.is_finished() {
            entries += streams.maintain().await.unwrap().entries;
            let read = streams.read(busy, Start::Sequence(0), usize::MAX, u64::MAX).await.unwrap();
            assert!(read.iter().all(|stored| stored.payload == vec![(stored.sequence - 1) as u8; 16_000]));
            assert_eq!(texts(&streams, idle, Start::Sequence(0)).await, expect(&[(1, "still here")]));
            sleep(Duration::from_millis(1)).await;
        }
        writer.await.unwrap();
        entries += streams.maintain().await.unwrap().entries;
        assert!(entries > 50, "{entries}");
        let state = streams.state(busy).await.unwrap();
        assert_eq!((state.first, state.next, state.messages), (141, 151, 10));
    });
}

#[test]
fn thousands_of_streams_need_few_files() {
    testing::run(7, || async {
        let place = directory();
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let streams = Streams::open(&store).await.unwrap();
        let make = |number: u64| {
            let streams = streams.clone();
            task::spawn(async move {
                let stream = streams.define(&format!("stream {number}"), &Limits::default()).await.unwrap();
                streams.append(stream, message(&number.to_string())).await.unwrap();
            })
        };
        for made in (0..3000).map(make).collect::<Vec<_>>() {
            made.await.unwrap();
        }
        let files = disk::list(place.path()).await.unwrap().len();
        assert!(files < 40, "{files}");
        drop(streams);
        store.close().await;
        let (store, _) = Store::open(place.path(), small()).await.unwrap();
        let streams = Streams::open(&store).await.unwrap();
        for number in [0, 17, 2999] {
            let stream = streams.find(&format!("stream {number}")).await.unwrap().unwrap();
            let text = number.to_string();
            assert_eq!(texts(&streams, stream, Start::Time(Wall::default())).await, expect(&[(1, &text)]));
        }
    });
}
