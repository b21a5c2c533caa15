//! Conformance of `queue`, the same bodies on both arms; then what only one of them can show.

use std::path::PathBuf;

use synod_platform::queue::{PAUSE_MAX, PutError, QueueError, Reader, Writer, list, remove_idle, set_aside};
use synod_platform::time::{Duration, Elapsed, timeout};
use synod_platform::{task, testing};

const CAPACITY: usize = 4096;

/// A place for a queue, which goes with the value.
struct Place {
    path: PathBuf,
    #[cfg(not(madsim))]
    _folder: tempfile::TempDir,
}

fn place() -> Place {
    #[cfg(not(madsim))]
    {
        let folder = tempfile::tempdir().unwrap();
        Place { path: folder.path().join("queue"), _folder: folder }
    }
    #[cfg(madsim)]
    Place { path: "/run/synod/queue".into() }
}

fn payload(number: usize) -> Vec<u8> {
    vec![number as u8; number * 7919 % 700]
}

#[test]
fn records_come_in_order_through_many_laps_and_reopenings_of_either_end() {
    testing::run(1, || async {
        let Place { path, .. } = &place();
        let mut writer = Writer::open(path, CAPACITY).await.unwrap();
        let mut reader = Reader::open(path).await.unwrap();
        let mut taken = 0;
        for number in 0..500 {
            while writer.try_put([number as u8; 4], &payload(number)) == Err(PutError::Full) {
                let record = reader.try_next().unwrap().expect("a full queue has a record");
                assert_eq!((record.tag(), record.payload()), ([taken as u8; 4], &payload(taken)[..]));
                record.free();
                taken += 1;
            }
            if number % 17 == 0 {
                let position = writer.position();
                drop(writer);
                writer = Writer::open(path, CAPACITY).await.unwrap();
                assert_eq!(writer.position(), position);
            }
            if number % 23 == 0 {
                drop(reader);
                reader = Reader::open(path).await.unwrap();
            }
        }
        assert!(!writer.is_drained().unwrap());
        while taken < 500 {
            reader.next().await.unwrap().free();
            taken += 1;
        }
        assert!(writer.is_drained().unwrap());
        writer.sync_to_disk().await.unwrap();
    });
}

#[test]
fn a_record_that_was_not_freed_comes_again_to_the_next_reader_under_its_position() {
    testing::run(2, || async {
        let Place { path, .. } = &place();
        let mut writer = Writer::open(path, CAPACITY).await.unwrap();
        for number in 0..3 {
            writer.try_put([number; 4], b"work").unwrap();
        }
        let mut reader = Reader::open(path).await.unwrap();
        reader.next().await.unwrap().free();
        let seen = reader.next().await.unwrap().position();
        drop(reader);
        let mut reader = Reader::open(path).await.unwrap();
        let again = reader.next().await.unwrap();
        assert_eq!((again.position(), again.tag()), (seen, [1; 4]));
    });
}

#[test]
fn who_waits_for_a_record_or_for_room_gets_it() {
    testing::run(3, || async {
        let Place { path, .. } = &place();
        let mut writer = Writer::open(path, 256).await.unwrap();
        let mut reader = Reader::open(path).await.unwrap();
        let silent = timeout(Duration::from_millis(20), reader.next()).await;
        assert_eq!(silent.map(|_| ()), Err(Elapsed));
        let puts = task::spawn(async move {
            for number in 0..40u8 {
                writer.put([number; 4], &[number; 100]).await.unwrap();
            }
        });
        for number in 0..40 {
            let record = timeout(2 * PAUSE_MAX, reader.next()).await.unwrap().unwrap();
            assert_eq!(record.tag(), [number; 4]);
            record.free();
        }
        puts.await.unwrap();
    });
}

#[test]
fn an_end_that_is_taken_is_refused_until_it_is_given_back() {
    testing::run(4, || async {
        let Place { path, .. } = &place();
        let absent = Reader::open(path).await.err().unwrap();
        assert_eq!(absent, QueueError::NotFound { path: path.clone() });
        let writer = Writer::open(path, CAPACITY).await.unwrap();
        let reader = Reader::open(path).await.unwrap();
        let words = Writer::open(path, CAPACITY).await.err().unwrap().to_string();
        assert!(words.contains("has a writer already"), "{words}");
        let words = Reader::open(path).await.err().unwrap().to_string();
        assert!(words.contains("has a reader already"), "{words}");
        drop(writer);
        Writer::open(path, CAPACITY).await.unwrap();
        drop(reader);
        Reader::open(path).await.unwrap();
    });
}

#[test]
fn a_queue_keeps_the_capacity_it_was_made_with_and_takes_no_longer_record() {
    testing::run(5, || async {
        let Place { path, .. } = &place();
        let words = Writer::open(path, 1000).await.err().unwrap().to_string();
        assert!(words.contains("take a power of two"), "{words}");
        drop(Writer::open(path, CAPACITY).await.unwrap());
        let other = Writer::open(path, 2 * CAPACITY).await.err().unwrap();
        assert_eq!(other, QueueError::Capacity { path: path.clone(), found: 4096, asked: 8192 });
        let mut writer = Writer::open(path, CAPACITY).await.unwrap();
        let (len, largest) = (CAPACITY, writer.largest());
        assert_eq!(writer.try_put([0; 4], &[0; CAPACITY]), Err(PutError::TooLarge { len, largest }));
        assert_eq!(writer.try_put([0; 4], &vec![0; largest]), Ok(0));
        assert_eq!(writer.try_put([0; 4], b""), Err(PutError::Full));
    });
}

#[test]
fn a_queue_is_removed_once_nothing_waits_in_it_and_nobody_has_it_open() {
    testing::run(9, || async {
        let Place { path, .. } = &place();
        let folder = path.parent().unwrap();
        assert_eq!(list(&folder.join("absent")).await, Ok(Vec::new()));
        let mut writer = Writer::open(path, CAPACITY).await.unwrap();
        assert!(!remove_idle(path).await.unwrap(), "it has a writer");
        writer.try_put([0; 4], b"work").unwrap();
        drop(writer);
        assert!(!remove_idle(path).await.unwrap(), "something waits");
        let mut reader = Reader::open(path).await.unwrap();
        reader.next().await.unwrap().free();
        assert!(!remove_idle(path).await.unwrap(), "it has a reader");
        drop(reader);
        assert_eq!(list(folder).await.unwrap(), ["queue"]);
        assert!(remove_idle(path).await.unwrap());
        assert_eq!(list(folder).await, Ok(Vec::new()));
        assert_eq!(remove_idle(path).await, Err(QueueError::NotFound { path: path.clone() }));
    });
}

#[test]
fn a_queue_that_is_set_aside_makes_place_for_another() {
    testing::run(10, || async {
        let Place { path, .. } = &place();
        let old = Writer::open(path, CAPACITY).await.unwrap();
        set_aside(path).await.unwrap();
        assert_eq!(list(path.parent().unwrap()).await.unwrap(), ["queue.damaged"]);
        let _another = Writer::open(path, CAPACITY).await.unwrap();
        drop(old);
    });
}

#[cfg(not(madsim))]
mod real {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use synod_platform::queue::OpenError;

    #[test]
    fn all_room_is_allocated_and_no_other_user_may_open_it() {
        use std::os::unix::fs::MetadataExt;
        testing::run(6, || async {
            let Place { path, .. } = &place();
            let _writer = Writer::open(path, 1 << 20).await.unwrap();
            let found = fs::metadata(path).unwrap();
            assert_eq!(found.len(), 384 + (1 << 20));
            assert!(found.blocks() * 512 >= found.len(), "{} blocks", found.blocks());
            assert_eq!(found.permissions().mode() & 0o777, 0o600);
        });
    }

    #[test]
    fn nothing_is_put_into_a_queue_that_is_just_being_removed() {
        testing::run(11, || async {
            let Place { path, .. } = &place();
            let sweeping = path.clone();
            let swept = std::thread::spawn(move || {
                task::block_on(async move {
                    let mut removed = 0;
                    while removed < 200 {
                        // Taken, or not there: it is looked for again.
                        removed += u32::from(remove_idle(&sweeping).await == Ok(true));
                    }
                });
            });
            let mut number = 0u64;
            while !swept.is_finished() {
                let Ok(mut writer) = Writer::open(path, 256).await else { continue };
                let position = writer.try_put([0; 4], &number.to_le_bytes()).unwrap();
                drop(writer);
                let mut reader = loop {
                    match Reader::open(path).await {
                        Ok(reader) => break reader,
                        Err(error) => assert!(matches!(error, QueueError::Taken { .. }), "{number}: {error}"),
                    }
                };
                let record = reader.try_next().unwrap().expect("it was put into the file of that name");
                assert_eq!((record.position(), record.payload()), (position, &number.to_le_bytes()[..]));
                record.free();
                number += 1;
            }
            swept.join().unwrap();
        });
    }

    #[test]
    fn what_is_no_queue_is_refused_by_what_it_is_and_left_as_it_was() {
        testing::run(7, || async {
            let Place { path, .. } = &place();
            let folder = path.parent().unwrap();
            let refused = Writer::open(folder, CAPACITY).await.err().unwrap();
            assert_eq!(refused, QueueError::NotAFile { path: folder.to_owned() });
            let link = folder.join("link");
            std::os::unix::fs::symlink(path, &link).unwrap();
            assert_eq!(Writer::open(&link, CAPACITY).await.err(), Some(QueueError::NotAFile { path: link }));
            let device = PathBuf::from("/dev/null");
            assert_eq!(Reader::open(&device).await.err(), Some(QueueError::NotAFile { path: device }));

            let mut zeros_first = vec![0; 100];
            zeros_first[50] = 1;
            for content in [b"some words of some person".to_vec(), zeros_first] {
                fs::write(path, &content).unwrap();
                let words = Writer::open(path, CAPACITY).await.err().unwrap().to_string();
                assert!(words.contains("is no queue"), "{words}");
                assert!(Reader::open(path).await.is_err());
                assert_eq!(fs::read(path).unwrap(), content);
            }
        });
    }

    #[test]
    fn a_writer_killed_while_it_made_its_file_is_followed_by_one_that_makes_it() {
        testing::run(8, || async {
            for left in [0, 1000, 384 + CAPACITY] {
                let Place { path, .. } = &place();
                let mut zeros = vec![0; left];
                if left > 16 {
                    zeros[8..16].copy_from_slice(&(CAPACITY as u64).to_le_bytes());
                }
                fs::write(path, zeros).unwrap();
                let early = Reader::open(path).await.err().unwrap();
                assert_eq!(early, QueueError::Refused { path: path.clone(), reason: OpenError::Unmade });
                Writer::open(path, CAPACITY).await.unwrap().try_put([0; 4], b"made").unwrap();
                assert_eq!(Reader::open(path).await.unwrap().next().await.unwrap().payload(), b"made");
            }
        });
    }

    #[test]
    fn a_file_that_was_cut_or_scribbled_over_is_told_and_not_mapped() {
        testing::run(9, || async {
            let Place { path, .. } = &place();
            Writer::open(path, CAPACITY).await.unwrap().try_put([0; 4], b"work").unwrap();
            let whole = fs::read(path).unwrap();
            fs::write(path, &whole[..1000]).unwrap();
            let words = Reader::open(path).await.err().unwrap().to_string();
            assert!(words.contains("claims 4096 bytes of data and has 1000 in all"), "{words}");
            assert!(Writer::open(path, CAPACITY).await.is_err());

            let mut damaged = whole.clone();
            damaged[384 + 24] ^= 1;
            fs::write(path, &damaged).unwrap();
            let mut reader = Reader::open(path).await.unwrap();
            let words = reader.try_next().err().unwrap().to_string();
            assert!(words.contains("checksum"), "{words}");
            drop(reader);
            damaged[128] = 1;
            fs::write(path, &damaged).unwrap();
            let words = Reader::open(path).await.err().unwrap().to_string();
            assert!(words.contains("head 0 and tail"), "{words}");
        });
    }
}

#[cfg(madsim)]
mod simulated {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;
    use synod_platform::disk::control;
    use synod_platform::simulation::{self, Node, NodeId};
    use synod_platform::time::sleep;

    #[test]
    fn a_queue_outlives_the_node_that_writes_it_and_what_a_dead_one_puts_reaches_nobody() {
        /// Puts once more when it is dropped.
        struct PutsAtTheEnd(Writer);
        impl Drop for PutsAtTheEnd {
            fn drop(&mut self) {
                self.0.try_put([9; 4], b"too late").unwrap();
            }
        }
        let seen = simulation::run(1, Duration::from_secs(60), || async {
            let path = PathBuf::from("/run/synod/queue");
            let writer = Node::create("writer", [10, 0, 0, 1].into(), || async {
                let writer = Writer::open(&PathBuf::from("/run/synod/queue"), CAPACITY).await.unwrap();
                let mut writer = PutsAtTheEnd(writer);
                for number in 0..5 {
                    writer.0.put([number; 4], b"work").await.unwrap();
                }
                std::future::pending::<()>().await
            });
            sleep(Duration::from_secs(1)).await;
            writer.restart();
            sleep(Duration::from_secs(1)).await;
            writer.kill();
            sleep(Duration::from_secs(1)).await;
            let seen = Rc::new(RefCell::new(Vec::new()));
            let sees = seen.clone();
            let reader = Node::create("reader", [10, 0, 0, 2].into(), move || {
                let (path, sees) = (path.clone(), sees.clone());
                async move {
                    let mut reader = Reader::open(&path).await.unwrap();
                    while let Some(record) = reader.try_next().unwrap() {
                        sees.borrow_mut().push(record.tag()[0]);
                        record.free();
                    }
                }
            });
            reader.exited().await;
            seen.borrow().clone()
        });
        assert_eq!(seen.unwrap(), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_full_or_read_only_disk_is_told_when_the_queue_is_made() {
        testing::run(2, || async {
            let path = PathBuf::from("/run/synod/queue");
            let node = simulation::current_node();
            assert_ne!(node, NodeId::OUTSIDE);
            control::change(node, |faults| faults.read_only = true);
            let refused = Writer::open(&path, CAPACITY).await.err().unwrap();
            assert_eq!(refused, QueueError::Denied { path: path.clone() });
            control::restore(node);
            control::change(node, |faults| faults.capacity = Some(1000));
            let refused = Writer::open(&path, CAPACITY).await.err().unwrap();
            assert_eq!(refused, QueueError::NoSpace { path: path.clone(), len: 4480 });
            control::restore(node);
            Writer::open(&path, CAPACITY).await.unwrap();
        });
    }
}
