//! A damaged store mended from another with the same logs: byte for byte what it was, or refused with the reason, and then untouched.

use std::path::{Path, PathBuf};

use synod_platform::disk::{self, Buffer, File, OpenOptions, SyncKind};
use synod_platform::testing;
use synod_store::check::check;
use synod_store::format::{BATCH_HEADER, BLOCK, Batch, Header, Kind, Record};
use synod_store::mend::{MendError, Mended, mend};
use synod_store::{OpenError, Options, Store};

use crate::common::{Directory, bytes_of_all_files, directory, entries, payloads, small};

/// Two stores beside each other.
struct Two {
    place: Directory,
}

impl Two {
    fn new() -> Self {
        Self { place: directory() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }
}

/// Writes entries, in batches of so many.
async fn write(path: &Path, batches: u64, each: u64) {
    disk::create_directories(path).await.unwrap();
    let (store, _) = Store::open(path, small()).await.unwrap();
    let log = store.log("log").unwrap();
    for batch in 0..batches {
        log.append(payloads(batch * each..(batch + 1) * each)).await.unwrap().1.await.unwrap();
    }
    store.close().await;
}

/// Turns a bit of each of so many blocks from a place on.
async fn damage(path: &Path, segment: &str, at: u64, blocks: u64) {
    let file = File::open(path.join(segment), OpenOptions::READ_WRITE).await.unwrap();
    for at in (0..blocks).map(|block| at + 4096 * block) {
        let (read, mut block) = file.read_exact_at(at, Buffer::zeroed(4096)).await;
        read.unwrap();
        block[40] ^= 1;
        file.write_all_at(at, block).await.0.unwrap();
    }
    file.sync(SyncKind::Data).await.unwrap();
    file.close().await.unwrap();
}

async fn segments(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = bytes_of_all_files(path).await;
    files.retain(|(path, _)| path.extension().is_some_and(|extension| extension == "segment"));
    files.sort();
    files
}

#[test]
fn one_damaged_batch_is_byte_for_byte_what_it_was_and_the_copy_is_what_it_became() {
    testing::run(1, || async {
        let two = Two::new();
        let (ours, theirs, backup) = (two.path("ours"), two.path("theirs"), two.path("backup"));
        write(&ours, 40, 10).await;
        write(&theirs, 400, 1).await;
        let before = segments(&ours).await;
        damage(&ours, "00000001.segment", 4 * 4096, 1).await;
        let damaged = segments(&ours).await;
        assert!(matches!(check(&ours).await.unwrap().problem, Some(OpenError::Corrupt { .. })));
        let tried = mend(&ours, &theirs, None).await.unwrap();
        assert!(matches!(&tried[..], [Mended { first, last, .. }] if *last == first + 9), "{tried:?}");
        assert_eq!(segments(&ours).await, damaged, "a trial changes nothing");
        assert_eq!(mend(&ours, &theirs, Some(&backup)).await.unwrap(), tried);
        assert_eq!(segments(&ours).await, before);
        let bytes = |files: Vec<(PathBuf, Vec<u8>)>| files.into_iter().map(|file| file.1).collect::<Vec<_>>();
        assert_eq!(bytes(segments(&backup).await), bytes(damaged));
    });
}

#[test]
fn several_regions_of_several_batches_and_a_lost_seal_are_mended_together() {
    testing::run(2, || async {
        let two = Two::new();
        let (ours, theirs, backup) = (two.path("ours"), two.path("theirs"), two.path("backup"));
        write(&ours, 60, 10).await;
        write(&theirs, 60, 10).await;
        damage(&ours, "00000001.segment", 2 * 4096, 3).await;
        damage(&ours, "00000001.segment", 8 * 4096, 8).await;
        damage(&ours, "00000002.segment", 2 * 4096, 14).await;
        let mended = mend(&ours, &theirs, Some(&backup)).await.unwrap();
        assert!(mended.len() >= 2, "{mended:?}");
        assert_eq!(check(&ours).await.unwrap().problem, None);
        let (store, _) = Store::open(&ours, small()).await.unwrap();
        assert_eq!(entries(&store.log("log").unwrap()).await, (0..600).collect::<Vec<_>>());
    });
}

#[test]
fn what_cannot_be_known_to_be_the_same_is_refused_and_nothing_is_changed() {
    testing::run(3, || async {
        let two = Two::new();
        let (ours, theirs, short) = (two.path("ours"), two.path("theirs"), two.path("short"));
        write(&ours, 40, 10).await;
        write(&short, 2, 10).await;
        // Another log of that name.
        disk::create_directories(&theirs).await.unwrap();
        let (store, _) = Store::open(&theirs, small()).await.unwrap();
        for at in 0..40 {
            let entries = payloads(at * 10 + 1..at * 10 + 11);
            store.log("log").unwrap().append(entries).await.unwrap().1.await.unwrap();
        }
        store.close().await;
        damage(&ours, "00000001.segment", 6 * 4096, 1).await;
        let damaged = segments(&ours).await;
        let backup = two.path("backup");
        let refused = mend(&ours, &theirs, Some(&backup)).await.unwrap_err();
        assert!(matches!(refused, MendError::Differs { .. }), "{refused}");
        let refused = mend(&ours, &short, Some(&backup)).await.unwrap_err();
        assert!(matches!(refused, MendError::Absent { .. } | MendError::Alone { .. }), "{refused}");
        assert_eq!(segments(&ours).await, damaged);
        assert!(disk::list(&backup).await.is_err(), "nothing was copied");
    });
}

#[test]
fn a_lost_value_is_not_made_good_by_entries_of_others() {
    testing::run(4, || async {
        let two = Two::new();
        let (ours, theirs) = (two.path("ours"), two.path("theirs"));
        write(&theirs, 20, 1).await;
        disk::create_directories(&ours).await.unwrap();
        // Nothing is copied forward.
        let options = Options { live_share_min: 0, ..small() };
        let (store, _) = Store::open(&ours, options).await.unwrap();
        let log = store.log("log").unwrap();
        for number in 0..20 {
            log.append(payloads(number..number + 1)).await.unwrap().1.await.unwrap();
            log.put("vote", &number.to_le_bytes()).await.unwrap().await.unwrap();
        }
        store.close().await;
        damage(&ours, "00000001.segment", 5 * 4096, 2).await;
        let refused = mend(&ours, &theirs, None).await.unwrap_err();
        // Of the two the entry may have been copied forward; the value is what cannot be told.
        assert!(matches!(refused, MendError::Unknown { lost: 2, missing: 0 | 1 }), "{refused:?}");
    });
}

#[test]
fn the_later_of_two_batches_on_their_way_is_no_sign_that_the_earlier_was_durable() {
    testing::run(6, || async {
        let two = Two::new();
        let (ours, theirs) = (two.path("ours"), two.path("theirs"));
        write(&ours, 36, 10).await;
        write(&theirs, 40, 10).await;
        let found = check(&ours).await.unwrap();
        let last = found.segments.last().unwrap();
        let file = File::open(&last.file, OpenOptions::READ_WRITE).await.unwrap();
        let bytes = file.read_all(1 << 20).await.unwrap();
        let header = Header::decode(&bytes).unwrap();
        let (number, at) = (header.number + last.records + 1, last.end as u32 + BLOCK as u32);
        let record = Record { log: 1, kind: Kind::Entry, index: 362, stamp: number, payload: b"torn" };
        let batch = Batch {
            len: (BATCH_HEADER + record.size()) as u32,
            records: 1,
            durable: last.end as u32,
            number,
        };
        let mut block = Buffer::zeroed(BLOCK);
        batch.encode(header.seed(), at, &mut block);
        record.encode(header.seed(), at + BATCH_HEADER as u32, &mut block[BATCH_HEADER..]);
        file.write_all_at(at.into(), block).await.0.unwrap();
        file.close().await.unwrap();
        assert_eq!(check(&ours).await.unwrap().problem, None, "it is a torn tail");
        damage(&ours, "00000001.segment", 4 * 4096, 1).await;
        let mended = mend(&ours, &theirs, None).await.unwrap();
        assert!(matches!(&mended[..], [Mended { first, last, .. }] if *last == first + 9), "{mended:?}");
    });
}

#[cfg(madsim)]
mod amid_power_losses {
    use std::cell::RefCell;
    use std::rc::Rc;

    use synod_platform::disk::control::DiskFaults;
    use synod_platform::simulation;
    use synod_platform::testing::power_loss_everywhere;
    use synod_store::check::{Cut, cut, try_cut};

    use super::*;

    /// How a damaged store is made sound.
    #[derive(Clone, Copy, PartialEq)]
    enum Way {
        Mended,
        Cut,
    }

    /// What is known outside: the damaged segments, and the last entry that will be left.
    type Known = RefCell<Option<(Vec<Vec<u8>>, u64)>>;

    const PLACE: &str = "00000001.segment:20480";

    fn bytes(files: Vec<(PathBuf, Vec<u8>)>) -> Vec<Vec<u8>> {
        files.into_iter().map(|file| file.1).collect()
    }

    fn cut_there() -> Cut {
        let (segment, offset) = PLACE.split_once(':').unwrap();
        Cut { segment: segment.into(), offset: offset.parse().unwrap() }
    }

    /// The first life makes a store and damages it; each then makes it sound, from wherever the one before was interrupted.
    async fn life(known: Rc<Known>, way: Way) {
        let [ours, theirs] = ["/ours", "/theirs"].map(Path::new);
        let number = simulation::current().number;
        if number == 1 {
            write(ours, 20, 10).await;
            write(theirs, 20, 10).await;
            damage(ours, "00000001.segment", 5 * 4096, 1).await;
            let last = match way {
                Way::Mended => 200,
                Way::Cut => try_cut(ours, &cut_there()).await.unwrap().logs[0].last,
            };
            *known.borrow_mut() = Some((bytes(segments(ours).await), last));
        }
        // Power was lost before there was anything to mend.
        let Some((damaged, last)) = known.borrow().clone() else { return };
        if bytes(segments(ours).await) != damaged {
            let kept = bytes(segments(Path::new("/backup1")).await);
            assert!(kept == damaged, "nothing is changed before a copy is durable");
        }
        if check(ours).await.unwrap().problem.is_some() {
            let backup = PathBuf::from(format!("/backup{number}"));
            match way {
                Way::Mended => drop(mend(ours, theirs, Some(&backup)).await.unwrap()),
                Way::Cut => drop(cut(ours, &cut_there(), &backup).await.unwrap()),
            }
        }
        assert_eq!(check(ours).await.unwrap().problem, None);
        let (store, _) = Store::open(ours, small()).await.unwrap();
        assert_eq!(entries(&store.log("log").unwrap()).await, (0..last).collect::<Vec<_>>());
        store.close().await;
    }

    fn worlds(way: Way) -> u64 {
        (0..2)
            .map(|seed| power_loss_everywhere(seed, &DiskFaults::default(), 1, move |known| life(known, way)))
            .sum()
    }

    #[test]
    fn power_lost_anywhere_amid_mending_leaves_what_can_be_mended_and_a_copy_of_what_was() {
        assert!(worlds(Way::Mended) > 2 * 80);
    }

    #[test]
    fn power_lost_anywhere_amid_a_cut_leaves_what_can_be_cut_and_a_copy_of_what_was() {
        assert!(worlds(Way::Cut) > 2 * 80);
    }
}
