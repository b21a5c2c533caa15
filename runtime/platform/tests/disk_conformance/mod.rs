//! What every disk does, whichever arm and whichever backend: bodies that the test files beside this folder run.
//!
//! Each body gets an empty directory of its own. Faults are elsewhere (`disk_faults.rs`): here the disk is good.

use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::Poll;

use futures_util::future::join_all;
use synod_platform::disk::append::{AppendError, AppendFile};
use synod_platform::disk::{self, Buffer, Entry, Failure, File, Kind, OpenOptions, SyncKind};
use synod_platform::task::Context;

/// A file of these bytes, synced.
pub async fn written(path: PathBuf, bytes: &[u8]) -> File {
    let file = File::open(path, OpenOptions::CREATE).await.unwrap();
    file.write_all_at(0, Buffer::copy_of(bytes)).await.0.unwrap();
    file.sync(SyncKind::Full).await.unwrap();
    file
}

/// Polls a future once, so that what it does has begun.
pub async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

pub async fn what_was_written_is_read_back_here_and_after_opening_again(place: PathBuf) {
    let path = place.join("file");
    let bytes: Vec<u8> = (0..100_000u32).map(|i| (i * 7) as u8).collect();
    let file = written(path.clone(), &bytes).await;
    let (read, buffer) = file.read_exact_at(500, Buffer::zeroed(1_000)).await;
    read.unwrap();
    assert_eq!(&*buffer, &bytes[500..1_500]);
    file.close().await.unwrap();
    let again = File::open(&path, OpenOptions::READ).await.unwrap();
    assert_eq!(again.read_all(1 << 20).await.unwrap(), bytes);
    let refused = again.read_all(99_999).await.unwrap_err();
    assert_eq!((refused.failure, refused.path), (Failure::Quota, path));
}

pub async fn reading_beyond_the_end_gives_nothing_and_exact_reading_says_so(place: PathBuf) {
    let file = written(place.join("file"), b"12345").await;
    let (read, _) = file.read_at(5, Buffer::zeroed(10)).await;
    assert_eq!(read.unwrap(), 0);
    let (read, buffer) = file.read_at(3, Buffer::zeroed(10)).await;
    assert_eq!((read.unwrap(), &buffer[..2]), (2, &b"45"[..]));
    let (read, buffer) = file.read_exact_at(3, Buffer::zeroed(10)).await;
    assert_eq!(read.unwrap_err().failure, Failure::EndOfFile);
    assert_eq!(buffer.len(), 10, "the buffer comes back");
}

pub async fn the_ways_to_open_a_file_are_kept_apart(place: PathBuf) {
    let path = place.join("file");
    let open = |options| File::open(path.clone(), options);
    let failure = async |options| open(options).await.unwrap_err().failure;
    assert_eq!(failure(OpenOptions::READ).await, Failure::NotFound);
    assert_eq!(failure(OpenOptions::READ_WRITE).await, Failure::NotFound);
    assert_eq!(failure(OpenOptions::default()).await, Failure::Invalid);
    written(path.clone(), b"content").await.close().await.unwrap();
    assert_eq!(failure(OpenOptions::CREATE_NEW).await, Failure::Exists);
    let reader = open(OpenOptions::READ).await.unwrap();
    let (refused, buffer) = reader.write_at(0, Buffer::copy_of(b"x")).await;
    assert_eq!((refused.unwrap_err().failure, &*buffer), (Failure::NotOpen, &b"x"[..]));
    let writer = open(OpenOptions { read: false, ..OpenOptions::READ_WRITE }).await.unwrap();
    let (refused, _) = writer.read_at(0, Buffer::zeroed(1)).await;
    assert_eq!(refused.unwrap_err().failure, Failure::NotOpen);
    open(OpenOptions { truncate: true, ..OpenOptions::READ_WRITE }).await.unwrap();
    assert_eq!(disk::metadata(&path).await.unwrap().len, 0);
}

pub async fn errors_name_the_operation_the_path_and_the_reason(place: PathBuf) {
    let missing = place.join("missing");
    let error = File::open(&missing, OpenOptions::READ).await.unwrap_err();
    let expected = format!("cannot open {}: there is no such file or directory", missing.display());
    assert_eq!(error.to_string(), expected);
    written(place.join("file"), b"").await;
    disk::create_directory(place.join("directory")).await.unwrap();
    let below = place.join("file").join("below");
    assert_eq!(File::open(below, OpenOptions::CREATE).await.unwrap_err().failure, Failure::NotDirectory);
    for options in [OpenOptions::READ, OpenOptions::READ_WRITE] {
        let opened = File::open(place.join("directory"), options).await;
        assert_eq!(opened.unwrap_err().failure, Failure::IsDirectory);
    }
    let zero = File::open(place.join("a\0b"), OpenOptions::CREATE).await;
    assert_eq!(zero.unwrap_err().failure, Failure::Invalid);
    assert_eq!(disk::list(place.join("file")).await.unwrap_err().failure, Failure::NotDirectory);
    assert_eq!(disk::remove(place.join("directory")).await.unwrap_err().failure, Failure::IsDirectory);
    assert_eq!(disk::sync_directory(missing).await.unwrap_err().failure, Failure::NotFound);
}

pub async fn a_lock_excludes_others_until_its_file_is_closed(place: PathBuf) {
    let first = File::open(place.join("lock"), OpenOptions::CREATE).await.unwrap();
    let second = File::open(place.join("lock"), OpenOptions::CREATE).await.unwrap();
    first.lock().await.unwrap();
    first.lock().await.unwrap();
    assert_eq!(second.lock().await.unwrap_err().failure, Failure::Locked);
    first.close().await.unwrap();
    second.lock().await.unwrap();
}

pub async fn lengths_change_by_truncation_and_allocation_and_the_new_part_is_zero(place: PathBuf) {
    let path = place.join("file");
    let file = written(path.clone(), &[7; 1_000]).await;
    file.truncate(10).await.unwrap();
    assert_eq!(disk::metadata(&path).await.unwrap().len, 10);
    file.truncate(20).await.unwrap();
    file.allocate(0, 5_000).await.unwrap();
    file.allocate(0, 100).await.unwrap();
    assert_eq!(disk::metadata(&path).await.unwrap().len, 5_000, "allocation never shortens");
    let content = file.read_all(1 << 20).await.unwrap();
    assert_eq!(&content[..10], &[7; 10]);
    assert!(content[10..].iter().all(|byte| *byte == 0));
    file.write_all_at(9_000, Buffer::copy_of(b"far")).await.0.unwrap();
    let (read, hole) = file.read_exact_at(5_000, Buffer::zeroed(4_000)).await;
    read.unwrap();
    assert!(hole.iter().all(|byte| *byte == 0));
}

pub async fn names_are_made_listed_renamed_and_removed(place: PathBuf) {
    disk::create_directories(place.join("a/b/c")).await.unwrap();
    disk::create_directories(place.join("a/b/c")).await.unwrap();
    for name in ["a/two", "a/one", "a/three"] {
        written(place.join(name), name.as_bytes()).await.close().await.unwrap();
    }
    let entry = |name: &str, kind| Entry { name: name.into(), kind };
    let expected = [
        entry("b", Kind::Directory),
        entry("one", Kind::File),
        entry("three", Kind::File),
        entry("two", Kind::File),
    ];
    assert_eq!(disk::list(place.join("a")).await.unwrap(), expected);
    disk::rename(place.join("a/one"), place.join("a/two")).await.unwrap();
    let two = File::open(place.join("a/two"), OpenOptions::READ).await.unwrap();
    assert_eq!(two.read_all(100).await.unwrap(), b"a/one", "the rename replaced it");
    disk::remove(place.join("a/two")).await.unwrap();
    assert_eq!(&*two.read_exact_at(0, Buffer::zeroed(5)).await.1, b"a/one", "open files outlive their name");
    assert_eq!(disk::metadata(place.join("a/two")).await.unwrap_err().failure, Failure::NotFound);
    assert_eq!(disk::remove_directory(place.join("a")).await.unwrap_err().failure, Failure::NotEmpty);
    disk::remove_directory(place.join("a/b/c")).await.unwrap();
    disk::rename(place.join("a/b"), place.join("a/d")).await.unwrap();
    disk::sync_directory(place.join("a")).await.unwrap();
    let expected = [entry("d", Kind::Directory), entry("three", Kind::File)];
    assert_eq!(disk::list(place.join("a")).await.unwrap(), expected);
    assert_eq!(disk::create_directory(place.join("a")).await.unwrap_err().failure, Failure::Exists);
}

pub async fn more_operations_than_any_queue_holds_find_their_own_futures(place: PathBuf) {
    const COUNT: u64 = 700;
    let file = written(place.join("file"), b"").await;
    let bytes = |i: u64| [i as u8, (i >> 8) as u8, 0xaa];
    let written = join_all((0..COUNT).map(|i| file.write_all_at(i * 3, Buffer::copy_of(&bytes(i))))).await;
    assert!(written.iter().all(|(result, _)| result.is_ok()));
    let read = join_all((0..COUNT).map(|i| file.read_exact_at(i * 3, Buffer::zeroed(3)))).await;
    for (i, (result, buffer)) in (0..COUNT).zip(read) {
        result.unwrap();
        assert_eq!(&*buffer, &bytes(i));
    }
}

pub async fn a_dropped_future_leaves_its_write_to_finish(place: PathBuf) {
    let file = written(place.join("file"), &[0; 8]).await;
    let mut write = Box::pin(file.write_at(0, Buffer::copy_of(b"orphaned")));
    assert!(poll_once(&mut write).await.is_pending());
    drop(write);
    for _ in 0..10_000 {
        let (read, buffer) = file.read_exact_at(0, Buffer::zeroed(8)).await;
        read.unwrap();
        if &*buffer == b"orphaned" {
            return;
        }
    }
    panic!("the write never came");
}

pub async fn a_dropped_file_is_closed_and_frees_its_lock(place: PathBuf) {
    let first = File::open(place.join("lock"), OpenOptions::CREATE).await.unwrap();
    first.lock().await.unwrap();
    drop(first);
    for _ in 0..10_000 {
        let second = File::open(place.join("lock"), OpenOptions::CREATE).await.unwrap();
        if second.lock().await.is_ok() {
            return;
        }
    }
    panic!("the lock was never freed");
}

pub async fn contexts_use_their_disks_side_by_side_and_outlive_each_other(place: PathBuf) {
    let contexts: Vec<_> = (0..3u8)
        .map(|number| {
            let path = place.join(format!("file{number}"));
            Context::start(format!("disk{number}"), None, move || async move {
                let file = written(path, &[number; 10_000]).await;
                for round in 0..u64::from(number) * 20 {
                    file.write_all_at(round, Buffer::copy_of(&[number])).await.0.unwrap();
                }
                file.read_all(1 << 20).await.unwrap().iter().all(|byte| *byte == number)
            })
            .unwrap()
        })
        .collect();
    for context in contexts {
        assert!(context.join().await.unwrap());
    }
}

pub async fn appended_records_are_found_when_the_file_is_opened_again(place: PathBuf) {
    let path = place.join("log");
    let payloads = [&b"first"[..], b"", &[3; 10_000]];
    let (mut log, found) = AppendFile::open(&path, 1 << 20).await.unwrap();
    assert!(found.records.is_empty() && log.is_empty());
    for (payload, number) in payloads.iter().zip(1..) {
        assert_eq!(log.append(payload).await.unwrap(), number);
    }
    match AppendFile::open(&path, 1 << 20).await.unwrap_err() {
        AppendError::Disk(error) => assert_eq!(error.failure, Failure::Locked),
        other => panic!("{other}"),
    }
    let len = log.len();
    log.close().await.unwrap();
    // A record that was torn by whatever ended the last writer.
    let file = File::open(&path, OpenOptions::READ_WRITE).await.unwrap();
    file.write_all_at(len, Buffer::copy_of(&[9, 0, 0, 0, 1, 2, 3])).await.0.unwrap();
    file.close().await.unwrap();
    let (mut log, found) = AppendFile::open(&path, 1 << 20).await.unwrap();
    assert_eq!((&found.records[..], found.cut), (&payloads.map(<[u8]>::to_vec)[..], 7));
    assert_eq!(log.append(b"fourth").await.unwrap(), 4);
    log.close().await.unwrap();
    let (log, found) = AppendFile::open(&path, 1 << 20).await.unwrap();
    assert_eq!((found.records.len(), found.cut, log.records()), (4, 0, 4));
}

pub async fn a_durable_write_is_read_back_like_any_other(place: PathBuf) {
    let path = place.join("file");
    let file = written(path.clone(), &[1; 10_000]).await;
    let (done, buffer) = file.write_durably_at(5_000, Buffer::copy_of(&[2; 7_000]), 7_000).await;
    done.unwrap();
    assert_eq!(buffer.len(), 7_000, "the buffer comes back");
    let expected = [[1; 5_000].to_vec(), vec![2; 7_000]].concat();
    assert_eq!(file.read_all(1 << 20).await.unwrap(), expected);
}

pub async fn a_file_past_the_cache_takes_whole_blocks_and_is_seen_by_all(place: PathBuf) {
    const BLOCK: usize = disk::ALIGNMENT;
    let path = place.join("file");
    let cached = written(path.clone(), &[1; 4 * BLOCK]).await;
    let direct = match File::open(&path, OpenOptions::DIRECT).await {
        Ok(direct) => direct,
        // Some file systems have no such thing, and say so.
        Err(error) => return assert_eq!(error.failure, Failure::Invalid),
    };
    let blocks = || Buffer::copy_of(&[2; 2 * BLOCK]);
    direct.write_durably_at(BLOCK as u64, blocks(), 2 * BLOCK).await.0.unwrap();
    let expected = [vec![1; BLOCK], vec![2; 2 * BLOCK], vec![1; BLOCK]].concat();
    assert_eq!(cached.read_all(1 << 20).await.unwrap(), expected);
    cached.write_all_at(0, Buffer::copy_of(&[3; 100])).await.0.unwrap();
    let (read, buffer) = direct.read_exact_at(0, Buffer::zeroed(BLOCK)).await;
    read.unwrap();
    assert_eq!(&*buffer, [vec![3; 100], vec![1; BLOCK - 100]].concat());
    for (offset, len) in [(512, BLOCK), (0, 512), (1, 1)] {
        let (refused, buffer) = direct.write_all_at(offset, Buffer::zeroed(len)).await;
        assert_eq!((refused.unwrap_err().failure, buffer.len()), (Failure::Invalid, len));
        let (refused, buffer) = direct.read_at(offset, Buffer::zeroed(len)).await;
        assert_eq!((refused.unwrap_err().failure, buffer.len()), (Failure::Invalid, len));
    }
}

/// Makes a test of each body: `bodies!(run)` where `run(body)` finds a place and an executor for it.
#[macro_export]
macro_rules! bodies {
    ($run:ident: $($body:ident),* $(,)?) => {
        $(#[test]
        fn $body() {
            $run(disk_conformance::$body);
        })*
    };
    ($run:ident) => {
        $crate::bodies!($run:
            what_was_written_is_read_back_here_and_after_opening_again,
            reading_beyond_the_end_gives_nothing_and_exact_reading_says_so,
            the_ways_to_open_a_file_are_kept_apart,
            errors_name_the_operation_the_path_and_the_reason,
            a_lock_excludes_others_until_its_file_is_closed,
            lengths_change_by_truncation_and_allocation_and_the_new_part_is_zero,
            names_are_made_listed_renamed_and_removed,
            more_operations_than_any_queue_holds_find_their_own_futures,
            a_dropped_future_leaves_its_write_to_finish,
            a_dropped_file_is_closed_and_frees_its_lock,
            contexts_use_their_disks_side_by_side_and_outlive_each_other,
            appended_records_are_found_when_the_file_is_opened_again,
            a_durable_write_is_read_back_like_any_other,
            a_file_past_the_cache_takes_whole_blocks_and_is_seen_by_all,
        );
    };
}
