//! The disk against a plain one, and what may and may not be found after a loss of power.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{Delay, Seeded};

const CREATE: Open =
    Open { read: true, write: true, create: true, create_new: false, truncate: false, direct: false };
const READ: Open =
    Open { read: true, write: false, create: false, create_new: false, truncate: false, direct: false };

fn content(disk: &mut Disk, path: &str) -> Option<Vec<u8>> {
    let mut random = Seeded::new(0);
    let handle = disk.open(path, READ).ok()?;
    let mut bytes = vec![0; disk.length(path).ok()?? as usize];
    let count = disk.read(handle, 0, &mut bytes, &mut random).ok()?;
    assert_eq!(count, bytes.len());
    disk.close(handle).ok()?;
    Some(bytes)
}

fn sync(disk: &mut Disk, handle: Handle, random: &mut Seeded) -> Result<(), Failure> {
    let sync = disk.sync_begin(handle)?;
    disk.sync_end(sync, random)
}

fn sync_root(disk: &mut Disk) {
    let sync = disk.sync_directory_begin("/").unwrap();
    disk.sync_directory_end(sync, &mut Seeded::new(0)).unwrap();
}

fn faulty(faults: DiskFaults) -> (Disk, Handle, Seeded) {
    let mut disk = Disk::default();
    let handle = disk.open("/log", CREATE).unwrap();
    sync_root(&mut disk);
    disk.set_faults(faults);
    (disk, handle, Seeded::new(42))
}

#[derive(Clone, Debug)]
enum Act {
    Write(u8, u16, Vec<u8>),
    Truncate(u8, u16),
    Rename(u8, u8),
    Remove(u8),
    Sync(u8),
    SyncNames,
}

fn act() -> impl Strategy<Value = Act> {
    let name = 0u8..4;
    prop_oneof![
        4 => (name.clone(), 0u16..3_000, prop::collection::vec(any::<u8>(), 0..1_500)).prop_map(|(f, o, b)| Act::Write(f, o, b)),
        1 => (name.clone(), 0u16..3_000).prop_map(|(f, len)| Act::Truncate(f, len)),
        1 => (name.clone(), name.clone()).prop_map(|(a, b)| Act::Rename(a, b)),
        1 => name.clone().prop_map(Act::Remove),
        1 => name.prop_map(Act::Sync),
        1 => Just(Act::SyncNames),
    ]
}

fn path(name: u8) -> String {
    format!("/f{name}")
}

/// Does it to the disk; true where the disk said yes.
fn perform(disk: &mut Disk, act: &Act, random: &mut Seeded) -> bool {
    match act {
        Act::Write(file, offset, bytes) => {
            let handle = disk.open(&path(*file), CREATE).unwrap();
            assert_eq!(disk.write(handle, u64::from(*offset), bytes, random), Ok(bytes.len()));
            disk.close(handle).is_ok()
        }
        Act::Truncate(file, len) => {
            let handle = disk.open(&path(*file), CREATE).unwrap();
            disk.truncate(handle, u64::from(*len)).unwrap();
            disk.close(handle).is_ok()
        }
        Act::Rename(from, to) => disk.rename(&path(*from), &path(*to)).is_ok(),
        Act::Remove(file) => disk.remove(&path(*file)).is_ok(),
        Act::Sync(file) => match disk.open(&path(*file), READ) {
            Ok(handle) => sync(disk, handle, random).is_ok() && disk.close(handle).is_ok(),
            Err(_) => false,
        },
        Act::SyncNames => {
            sync_root(disk);
            true
        }
    }
}

fn perform_plain(plain: &mut BTreeMap<String, Vec<u8>>, act: &Act) {
    match act {
        Act::Write(file, offset, bytes) => {
            let content = plain.entry(path(*file)).or_default();
            let end = usize::from(*offset) + bytes.len();
            if !bytes.is_empty() && content.len() < end {
                content.resize(end, 0);
            }
            if !bytes.is_empty() {
                content[usize::from(*offset)..end].copy_from_slice(bytes);
            }
        }
        Act::Truncate(file, len) => plain.entry(path(*file)).or_default().resize(usize::from(*len), 0),
        Act::Rename(from, to) => {
            if let Some(content) = plain.remove(&path(*from)) {
                plain.insert(path(*to), content);
            }
        }
        Act::Remove(file) => {
            plain.remove(&path(*file));
        }
        Act::Sync(_) | Act::SyncNames => {}
    }
}

proptest! {
    #[test]
    fn without_faults_it_is_a_plain_disk_and_a_process_crash_loses_nothing(seed: u64, acts in prop::collection::vec(act(), 0..40)) {
        let mut random = Seeded::new(seed);
        let mut disk = Disk::default();
        let mut plain = BTreeMap::new();
        for act in &acts {
            perform(&mut disk, act, &mut random);
            perform_plain(&mut plain, act);
        }
        disk.crash();
        let names: Vec<String> = plain.keys().cloned().collect();
        prop_assert_eq!(disk.files(), names);
        for (name, bytes) in &plain {
            prop_assert_eq!(content(&mut disk, name), Some(bytes.clone()));
        }
    }

    #[test]
    fn what_was_synced_is_there_after_a_loss_of_power(
        seed: u64, torn: bool, before in prop::collection::vec(act(), 0..20), after in prop::collection::vec(act(), 0..20)
    ) {
        let mut random = Seeded::new(seed);
        let power_loss = if torn { PowerLoss::LosesUnsyncedTorn } else { PowerLoss::LosesUnsynced };
        let mut disk = Disk::new(DiskFaults { power_loss, ..DiskFaults::default() });
        for act in &before {
            perform(&mut disk, act, &mut random);
        }
        // One file is written, synced with its name, and then left alone, whatever happens to others.
        let kept = disk.open("/kept", CREATE).unwrap();
        disk.write(kept, 0, &[9; 1_300], &mut random).unwrap();
        sync(&mut disk, kept, &mut random).unwrap();
        sync_root(&mut disk);
        for act in &after {
            perform(&mut disk, act, &mut random);
        }
        prop_assert_eq!(disk.durable("/kept"), Some(&[9; 1_300][..]));
        disk.power_loss(&mut random);
        prop_assert_eq!(content(&mut disk, "/kept"), Some(vec![9; 1_300]));
        // And what is found once is found again: the next loss of power takes nothing more.
        let found: Vec<_> = disk.files().iter().map(|name| content(&mut disk, name)).collect();
        disk.power_loss(&mut random);
        let again: Vec<_> = disk.files().iter().map(|name| content(&mut disk, name)).collect();
        prop_assert_eq!(found, again);
    }

    #[test]
    fn a_sector_after_a_loss_of_power_is_one_that_was_there_once(seed: u64, writes in prop::collection::vec((0u64..4, 1u64..4), 1..12)) {
        let mut random = Seeded::new(seed);
        let (mut disk, handle, _) = faulty(DiskFaults::default());
        let mut versions: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        for (number, (first, count)) in writes.iter().enumerate() {
            let byte = number as u8 + 1;
            disk.write(handle, first * SECTOR, &vec![byte; (count * SECTOR) as usize], &mut random).unwrap();
            for sector in *first..first + count {
                versions.entry(sector).or_insert_with(|| vec![0]).push(byte);
            }
        }
        disk.power_loss(&mut random);
        let found = content(&mut disk, "/log").unwrap();
        for (sector, bytes) in found.chunks(SECTOR as usize).enumerate() {
            prop_assert!(bytes.iter().all(|byte| *byte == bytes[0]), "sector {sector} is mixed");
            let possible = versions.get(&(sector as u64)).cloned().unwrap_or_else(|| vec![0]);
            prop_assert!(possible.contains(&bytes[0]), "sector {sector} holds {}", bytes[0]);
        }
    }

    #[test]
    fn a_rename_survives_whole_or_not_at_all(seed: u64) {
        let mut random = Seeded::new(seed);
        let mut disk = Disk::default();
        for (name, byte) in [("/old", 1), ("/new", 2)] {
            let handle = disk.open(name, CREATE).unwrap();
            disk.write(handle, 0, &[byte; 10], &mut random).unwrap();
            sync(&mut disk, handle, &mut random).unwrap();
        }
        sync_root(&mut disk);
        disk.rename("/new", "/old").unwrap();
        disk.power_loss(&mut random);
        let found = (content(&mut disk, "/old"), content(&mut disk, "/new"));
        prop_assert!(found == (Some(vec![1; 10]), Some(vec![2; 10])) || found == (Some(vec![2; 10]), None), "{found:?}");
    }

    #[test]
    fn the_capacity_is_never_exceeded(seed: u64, capacity in 0u64..5_000, acts in prop::collection::vec((0u64..4_000, 0usize..2_000), 1..30)) {
        let mut random = Seeded::new(seed);
        let (mut disk, handle, _) = faulty(DiskFaults { capacity: Some(capacity), write_error: 0.2, ..DiskFaults::default() });
        for (offset, len) in acts {
            let before = disk.length("/log").unwrap().unwrap();
            match disk.write(handle, offset, &vec![1; len], &mut random) {
                Ok(count) => prop_assert!(count <= len),
                Err(Failure::NoSpace) => prop_assert!(offset + len as u64 > before),
                Err(failure) => prop_assert_eq!(failure, Failure::Io),
            }
            prop_assert!(disk.length("/log").unwrap().unwrap() <= capacity);
        }
    }
}

#[test]
fn a_sync_covers_only_what_had_completed_when_it_began() {
    let (mut disk, handle, mut random) = faulty(DiskFaults::default());
    disk.write(handle, 0, b"one", &mut random).unwrap();
    let begun = disk.sync_begin(handle).unwrap();
    disk.write(handle, 3, b"two", &mut random).unwrap();
    disk.sync_end(begun, &mut random).unwrap();
    assert_eq!(disk.durable("/log"), Some(&b"one"[..]));
    sync(&mut disk, handle, &mut random).unwrap();
    assert_eq!(disk.durable("/log"), Some(&b"onetwo"[..]));
}

#[test]
fn a_durable_write_takes_lengths_along_but_no_other_write_to_the_file() {
    let (mut disk, handle, mut random) = faulty(DiskFaults::default());
    disk.write(handle, 0, b"cached", &mut random).unwrap();
    disk.truncate(handle, 4).unwrap();
    disk.truncate(handle, 9).unwrap();
    disk.write_durable(handle, 6, b"fast", &mut random).unwrap();
    assert_eq!(disk.durable("/log"), Some(&b"\0\0\0\0\0\0fast"[..]));
    sync(&mut disk, handle, &mut random).unwrap();
    assert_eq!(disk.durable("/log"), Some(&b"cach\0\0fast"[..]));
}

#[test]
fn after_a_failed_sync_the_next_one_succeeds_and_the_data_is_lost_all_the_same() {
    let (mut disk, handle, mut random) = faulty(DiskFaults { sync_error: 1.0, ..DiskFaults::default() });
    disk.write(handle, 0, b"precious", &mut random).unwrap();
    assert_eq!(sync(&mut disk, handle, &mut random), Err(Failure::Io));
    disk.set_faults(DiskFaults::default());
    assert_eq!(sync(&mut disk, handle, &mut random), Ok(()));
    assert_eq!(content(&mut disk, "/log"), Some(b"precious".to_vec()), "the cache still has it");
    disk.power_loss(&mut random);
    assert_eq!(content(&mut disk, "/log"), Some(vec![0; 8]), "the device never had it");
}

#[test]
fn a_name_without_a_sync_of_its_directory_may_be_gone_although_its_file_was_synced() {
    let gone = (0..50).filter(|seed| {
        let mut random = Seeded::new(*seed);
        let mut disk = Disk::default();
        let handle = disk.open("/new", CREATE).unwrap();
        disk.write(handle, 0, b"x", &mut random).unwrap();
        sync(&mut disk, handle, &mut random).unwrap();
        disk.power_loss(&mut random);
        content(&mut disk, "/new").is_none()
    });
    assert!((10..40).contains(&gone.count()));
}

#[test]
fn a_misdirected_write_leaves_the_old_content_and_spoils_another_place() {
    let (mut disk, handle, mut random) = faulty(DiskFaults::default());
    disk.write(handle, 0, &[1; 2_048], &mut random).unwrap();
    sync(&mut disk, handle, &mut random).unwrap();
    disk.set_faults(DiskFaults { misdirected: 1.0, ..DiskFaults::default() });
    disk.write(handle, 512, &[2; 512], &mut random).unwrap();
    sync(&mut disk, handle, &mut random).unwrap();
    assert_eq!(&content(&mut disk, "/log").unwrap()[512..1_024], &[2; 512], "the cache hides it");
    disk.power_loss(&mut random);
    let found = content(&mut disk, "/log").unwrap();
    assert_eq!(&found[512..1_024], &[1; 512]);
    let spoiled = found.chunks(512).filter(|sector| sector.iter().all(|byte| *byte == 2)).count();
    assert_eq!(spoiled, 1);
}

#[test]
fn rot_turns_one_bit_of_what_lies_on_the_device() {
    let (mut disk, handle, mut random) = faulty(DiskFaults::default());
    disk.write(handle, 0, &[0; 4_096], &mut random).unwrap();
    assert!(!disk.rot("/log", &mut random), "nothing is on the device yet");
    sync(&mut disk, handle, &mut random).unwrap();
    assert!(disk.rot("/log", &mut random));
    let turned: u32 = content(&mut disk, "/log").unwrap().iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(turned, 1);
}

#[test]
fn a_full_disk_takes_what_fits_and_then_refuses() {
    let (mut disk, handle, mut random) = faulty(DiskFaults { capacity: Some(10), ..DiskFaults::default() });
    assert_eq!(disk.write(handle, 0, &[1; 8], &mut random), Ok(8));
    assert_eq!(disk.write(handle, 8, &[1; 8], &mut random), Ok(2));
    assert_eq!(disk.write(handle, 10, &[1; 8], &mut random), Err(Failure::NoSpace));
    assert_eq!(disk.write(handle, 0, &[2; 10], &mut random), Ok(10), "overwriting needs no space");
    disk.set_faults(DiskFaults { capacity: Some(10), quota: true, ..DiskFaults::default() });
    assert_eq!(disk.allocate(handle, 0, 11), Err(Failure::Quota));
}

#[test]
fn locks_exclude_and_end_with_their_handle_or_process() {
    let mut disk = Disk::default();
    let first = disk.open("/lock", CREATE).unwrap();
    let second = disk.open("/lock", CREATE).unwrap();
    disk.lock(first).unwrap();
    assert_eq!(disk.lock(second), Err(Failure::Locked));
    disk.close(first).unwrap();
    disk.lock(second).unwrap();
    disk.crash();
    assert_eq!(disk.lock(second), Err(Failure::BadHandle));
    let third = disk.open("/lock", READ).unwrap();
    disk.lock(third).unwrap();
}

#[test]
fn a_read_only_disk_and_a_denied_path_refuse_by_name() {
    let mut disk = Disk::default();
    disk.create_directory("/secret").unwrap();
    disk.set_faults(DiskFaults { denied: vec!["/secret".to_owned()], ..DiskFaults::default() });
    assert_eq!(disk.open("/secret/key", CREATE), Err(Failure::Denied));
    disk.set_faults(DiskFaults { read_only: true, ..DiskFaults::default() });
    assert_eq!(disk.open("/other", CREATE), Err(Failure::ReadOnly));
    assert_eq!(disk.remove("/secret"), Err(Failure::ReadOnly));
}

#[test]
fn completions_keep_the_order_of_submission_only_where_that_is_promised() {
    let mut random = Seeded::new(5);
    let mut disk = Disk::default();
    let mut times: Vec<u64> = (0..50).map(|now| disk.completes_at(now, Class::Sync, &mut random)).collect();
    assert!(!times.is_sorted());
    disk.set_faults(DiskFaults { in_order: true, ..DiskFaults::default() });
    times = (0..50).map(|now| disk.completes_at(now, Class::Sync, &mut random)).collect();
    assert!(times.is_sorted());
    disk.set_faults(DiskFaults { slow: 100, write: Delay::between(7, 7), ..DiskFaults::default() });
    assert_eq!(disk.completes_at(1_000, Class::Write, &mut random), 1_700);
}

#[test]
fn a_wiped_disk_is_empty_and_knows_no_old_handle() {
    let (mut disk, handle, mut random) = faulty(DiskFaults::default());
    disk.write(handle, 0, b"x", &mut random).unwrap();
    disk.wipe();
    assert!(disk.files().is_empty());
    let new = disk.open("/log", CREATE).unwrap();
    assert_ne!(new, handle);
    assert_eq!(disk.write(handle, 0, b"x", &mut random), Err(Failure::BadHandle));
}

#[test]
fn a_name_survives_only_with_the_directory_above_it() {
    let (mut with_file, mut alone, mut neither) = (0, 0, 0);
    for seed in 0..200 {
        let mut random = Seeded::new(seed);
        let mut disk = Disk::default();
        disk.create_directory("/made").unwrap();
        disk.open("/made/file", CREATE).unwrap();
        disk.rename("/made", "/moved").unwrap();
        disk.power_loss(&mut random);
        let directories: Vec<String> = disk.list("/").unwrap().into_iter().map(|(name, _)| name).collect();
        match (&directories[..], disk.files().len()) {
            ([], 0) => neither += 1,
            ([_], 0) => alone += 1,
            ([name], 1) => {
                with_file += 1;
                assert_eq!(disk.files(), [format!("/{name}/file")]);
            }
            found => panic!("seed {seed}: {found:?}"),
        }
    }
    assert!(with_file > 10 && alone > 10 && neither > 10, "{with_file} {alone} {neither}");
}

#[test]
fn a_sync_of_a_directory_takes_the_directories_above_with_it_and_nothing_else() {
    let mut disk = Disk::default();
    for name in ["/a", "/b"] {
        disk.create_directory(name).unwrap();
        disk.open(&format!("{name}/file"), CREATE).unwrap();
    }
    let begun = disk.sync_directory_begin("/a").unwrap();
    disk.open("/a/later", CREATE).unwrap();
    disk.sync_directory_end(begun, &mut Seeded::new(0)).unwrap();
    assert_eq!(disk.durable("/a/file"), Some(&[][..]));
    assert_eq!((disk.durable("/b/file"), disk.durable("/a/later")), (None, None));
}
