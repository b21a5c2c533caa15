//! Each fault of the simulated disk, shown through the seam by a test that exists because of it; and the append file under all of them.
//!
//! The table in the module `disk` maps the fault model's lines to these tests. Simulated build only.

#![cfg(madsim)]

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use synod_platform::disk::append::{AppendError, AppendFile};
use synod_platform::disk::control::{self, Delay, DiskFaults, PowerLoss};
use synod_platform::disk::{self, Buffer, DiskError, Failure, File, OpenOptions, SyncKind};
use synod_platform::simulation::{self, Node, NodeId};
use synod_platform::{random, testing, time};
use synod_probe::plant;

const MINUTE: Duration = Duration::from_secs(60);

fn address() -> IpAddr {
    [10, 0, 0, 1].into()
}

fn me() -> NodeId {
    simulation::current_node()
}

/// Runs a body in a node whose disk has these faults.
fn with_faults<Fut: Future<Output = ()> + 'static>(
    seed: u64,
    faults: DiskFaults,
    body: impl FnOnce() -> Fut + Send + 'static,
) {
    testing::run(seed, move || async move {
        control::set_faults(me(), faults);
        body().await;
    });
}

/// A world with one node that does `first` in its first life and nothing in later ones, and an engine outside.
fn world<T: Send + 'static, First, Engine>(
    seed: u64,
    first: impl Fn() -> First + Send + 'static,
    engine: impl FnOnce(Node) -> Engine + Send + 'static,
) -> T
where
    First: Future<Output = ()> + 'static,
    Engine: Future<Output = T>,
{
    let outcome = simulation::run(seed, 10 * MINUTE, move || async move {
        let first = Rc::new(first);
        let node = Node::create("disk", address(), move || {
            let first = first.clone();
            async move {
                if simulation::current().number == 1 {
                    first().await;
                }
                std::future::pending::<()>().await;
            }
        });
        engine(node).await
    });
    outcome.unwrap()
}

async fn write(file: &File, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
    file.write_all_at(offset, Buffer::copy_of(bytes)).await.0
}

/// A file with this content, durable with its name.
async fn durable(path: &str, bytes: &[u8]) -> File {
    let file = File::open(path, OpenOptions::CREATE).await.unwrap();
    write(&file, 0, bytes).await.unwrap();
    file.sync(SyncKind::Full).await.unwrap();
    disk::sync_directory("/").await.unwrap();
    file
}

async fn content(path: &str) -> Vec<u8> {
    let file = File::open(path, OpenOptions::READ).await.unwrap();
    file.read_all(1 << 20).await.unwrap()
}

/// What the disk of a node holds after a loss of power now, by seed.
fn after_power_loss<First: Future<Output = ()> + 'static>(
    seed: u64,
    first: impl Fn() -> First + Send + 'static,
) -> Option<Vec<u8>> {
    world(seed, first, |node| async move {
        time::sleep(MINUTE).await;
        control::power_loss(node);
        control::durable(node.id(), "/file")
    })
}

#[test]
fn unsynced_writes_are_lost_with_the_power_and_synced_ones_are_not() {
    let mut lost = 0;
    for seed in 0..40 {
        let found = after_power_loss(seed, || async {
            let file = durable("/file", b"synced").await;
            write(&file, 6, b"unsynced").await.unwrap();
            std::mem::forget(file);
        });
        let found = found.unwrap();
        assert_eq!(&found[..6], b"synced");
        lost += u32::from(&found[6..] != b"unsynced");
    }
    assert!((5..40).contains(&lost), "{lost} of 40 lost it");
}

#[test]
fn a_file_whose_directory_was_not_synced_may_be_gone() {
    let gone = (0..40).filter(|seed| {
        let found = after_power_loss(*seed, || async {
            let file = File::open("/file", OpenOptions::CREATE).await.unwrap();
            write(&file, 0, b"x").await.unwrap();
            file.sync(SyncKind::Full).await.unwrap();
        });
        found.is_none()
    });
    assert!((5..35).contains(&gone.count()));
}

#[test]
fn a_write_is_torn_between_sectors_by_a_loss_of_power() {
    let mut torn = 0;
    for seed in 0..40 {
        let found = after_power_loss(seed, || async {
            let file = durable("/file", &[1; 4_096]).await;
            write(&file, 0, &[2; 4_096]).await.unwrap();
            std::mem::forget(file);
        });
        let found = found.unwrap();
        for sector in found.chunks(512) {
            assert!(sector == [1; 512] || sector == [2; 512], "a sector is never torn in itself");
        }
        torn += u32::from(found.contains(&1) && found.contains(&2));
    }
    assert!(torn > 20, "{torn} of 40 were torn");
}

#[test]
fn a_misdirected_write_is_seen_after_the_cache_is_gone() {
    let found = after_power_loss(3, || async {
        let file = durable("/file", &[1; 4_096]).await;
        control::change(me(), |faults| faults.misdirected = 1.0);
        write(&file, 1_024, &[2; 512]).await.unwrap();
        file.sync(SyncKind::Full).await.unwrap();
        assert_eq!(content("/file").await[1_024..1_536], [2; 512], "until then the cache hides it");
    });
    let found = found.unwrap();
    assert_eq!(found[1_024..1_536], [1; 512]);
    assert_eq!(found.iter().filter(|byte| **byte == 2).count(), 512, "it lies somewhere else");
}

#[test]
fn rot_turns_one_bit_of_a_synced_file() {
    testing::run(4, || async {
        durable("/file", &[0; 2_000]).await;
        assert!(!control::rot(me(), "/missing"));
        assert!(control::rot(me(), "/file"));
        let turned: u32 = content("/file").await.iter().map(|byte| byte.count_ones()).sum();
        assert_eq!(turned, 1);
    });
}

#[test]
fn short_reads_and_writes_are_made_whole_above_the_seam() {
    let faults = DiskFaults { short_write: 1.0, short_read: 1.0, ..DiskFaults::default() };
    with_faults(5, faults, || async {
        let bytes: Vec<u8> = (0..5_000u32).map(|i| (i * 31) as u8).collect();
        let file = durable("/file", &bytes).await;
        let (one, buffer) = file.write_at(0, Buffer::copy_of(&bytes)).await;
        assert!(one.unwrap() < buffer.len(), "one write alone is short here");
        assert_eq!(content("/file").await, bytes);
    });
}

#[test]
fn a_read_or_write_error_is_told_and_the_buffer_comes_back() {
    testing::run(6, || async {
        let file = durable("/file", &[1; 100]).await;
        control::change(me(), |faults| (faults.read_error, faults.write_error) = (1.0, 1.0));
        let (read, buffer) = file.read_at(0, Buffer::zeroed(100)).await;
        assert_eq!(read.unwrap_err().to_string(), format!("cannot read /file: {}", Failure::Io));
        let (written, buffer) = file.write_at(0, buffer).await;
        assert_eq!((written.unwrap_err().failure, buffer.len()), (Failure::Io, 100));
        control::restore(me());
        let found = content("/file").await;
        let taken = found.iter().take_while(|byte| **byte == 0).count();
        assert!(taken < 100 && found[taken..].iter().all(|byte| *byte == 1), "some first part was taken");
    });
}

#[test]
fn a_sync_after_a_failed_sync_succeeds_and_the_data_is_lost() {
    let found = after_power_loss(7, || async {
        let file = durable("/file", b"old").await;
        write(&file, 0, b"new").await.unwrap();
        control::change(me(), |faults| faults.sync_error = 1.0);
        assert_eq!(file.sync(SyncKind::Data).await.unwrap_err().failure, Failure::Io);
        control::restore(me());
        file.sync(SyncKind::Data).await.unwrap();
        assert_eq!(content("/file").await, b"new", "the cache still has it");
    });
    assert_eq!(found.unwrap(), b"old");
}

#[test]
fn a_durable_write_outlives_a_loss_of_power_and_takes_nothing_older_along_over_itself() {
    for seed in 0..40 {
        let found = after_power_loss(seed, || async {
            let file = durable("/file", &[1; 8_192]).await;
            write(&file, 4_000, &[2; 200]).await.unwrap();
            file.write_durably_at(0, Buffer::copy_of(&[3; 4_096]), 4_096).await.0.unwrap();
            std::mem::forget(file);
        });
        let found = found.unwrap();
        assert_eq!(found[..4_096], [3; 4_096], "acknowledged");
        assert!(
            found[4_096..4_200] == [1; 104] || found[4_096..4_200] == [2; 104],
            "not synced: lost or not"
        );
    }
}

#[test]
fn a_failed_durable_write_past_the_cache_leaves_each_sector_old_or_new_and_reads_tell_which() {
    let mut torn = 0;
    for seed in 0..40 {
        torn += testing::run(seed, || async {
            durable("/file", &[1; 4_096]).await;
            let file = File::open("/file", OpenOptions::DIRECT).await.unwrap();
            control::change(me(), |faults| faults.sync_error = 1.0);
            let (failed, _) = file.write_durably_at(0, Buffer::copy_of(&[2; 4_096]), 4_096).await;
            assert_eq!(failed.unwrap_err().failure, Failure::Io);
            let found = content("/file").await;
            assert_eq!(control::durable(me(), "/file").as_deref(), Some(&found[..]));
            for sector in found.chunks(512) {
                assert!(sector == [1; 512] || sector == [2; 512], "a sector is never torn in itself");
            }
            u32::from(found.contains(&1) && found.contains(&2))
        });
    }
    assert!(torn > 20, "{torn} of 40 were torn");
}

#[test]
fn a_write_past_the_cache_that_is_short_ends_at_a_whole_block() {
    let faults = DiskFaults { short_write: 1.0, short_read: 1.0, ..DiskFaults::default() };
    with_faults(11, faults, || async {
        let bytes: Vec<u8> = (0..5 * 4_096u32).map(|i| (i * 31) as u8).collect();
        durable("/file", &[0; 5 * 4_096]).await;
        let file = File::open("/file", OpenOptions::DIRECT).await.unwrap();
        file.write_durably_at(0, Buffer::copy_of(&bytes), 5 * 4_096).await.0.unwrap();
        let (read, found) = file.read_exact_at(0, Buffer::zeroed(5 * 4_096)).await;
        read.unwrap();
        assert_eq!(&*found, &bytes);
    });
}

#[test]
fn a_file_system_that_cannot_go_past_its_cache_or_allocate_says_so() {
    let plain = DiskFaults { no_direct: true, no_allocate: true, ..DiskFaults::default() };
    with_faults(12, plain, || async {
        let file = durable("/file", &[0; 4_096]).await;
        assert_eq!(file.allocate(0, 8_192).await.unwrap_err().failure, Failure::Unsupported);
        let refused = File::open("/file", OpenOptions::DIRECT).await.unwrap_err();
        assert_eq!(refused.failure, Failure::Invalid);
    });
}

#[test]
fn a_full_disk_and_a_used_up_quota_are_named() {
    with_faults(8, DiskFaults { capacity: Some(1_000), ..DiskFaults::default() }, || async {
        let file = durable("/file", &[1; 900]).await;
        assert_eq!(write(&file, 900, &[1; 200]).await.unwrap_err().failure, Failure::NoSpace);
        assert_eq!(content("/file").await.len(), 1_000, "what fitted was taken");
        assert_eq!(file.allocate(0, 1_001).await.unwrap_err().failure, Failure::NoSpace);
        control::change(me(), |faults| faults.quota = true);
        assert_eq!(write(&file, 1_000, &[1]).await.unwrap_err().failure, Failure::Quota);
    });
}

#[test]
fn a_slow_disk_takes_as_much_longer_as_it_was_told() {
    let faults = DiskFaults { sync: Delay::between(1_000_000, 1_000_000), ..DiskFaults::default() };
    with_faults(9, faults, || async {
        let file = durable("/file", b"x").await;
        let took = async |file: &File| {
            let start = time::now();
            file.sync(SyncKind::Full).await.unwrap();
            time::now().since(start)
        };
        let (usual, slack) = (took(&file).await, Duration::from_micros(100));
        control::change(me(), |faults| faults.slow = 50);
        let slow = took(&file).await;
        assert!(usual < Duration::from_millis(1) + slack, "{usual:?}");
        assert!(slow >= Duration::from_millis(50) && slow < Duration::from_millis(50) + slack, "{slow:?}");
    });
}

#[test]
fn a_stalled_disk_completes_nothing_until_it_goes_on() {
    testing::run(10, || async {
        let file = durable("/file", b"x").await;
        control::change(me(), |faults| faults.stalled = true);
        let sync = time::timeout(MINUTE, file.sync(SyncKind::Full)).await;
        assert!(sync.is_err(), "it completed while stalled");
        let mut sync = Box::pin(file.sync(SyncKind::Full));
        assert!(time::timeout(MINUTE, &mut sync).await.is_err());
        control::change(me(), |faults| faults.stalled = false);
        time::timeout(Duration::from_millis(1), sync).await.unwrap().unwrap();
    });
}

#[test]
fn completions_come_out_of_order_and_find_their_futures() {
    let order = |in_order: bool| {
        testing::run(11, move || async move {
            control::change(me(), |faults| faults.in_order = in_order);
            let file = durable("/file", &(0..100).collect::<Vec<u8>>()).await;
            let done = RefCell::new(Vec::new());
            join_all((0..100u8).map(|i| {
                let (file, done) = (&file, &done);
                async move {
                    let (read, buffer) = file.read_at(u64::from(i), Buffer::zeroed(1)).await;
                    assert_eq!((read.unwrap(), buffer[0]), (1, i));
                    done.borrow_mut().push(i);
                }
            }))
            .await;
            done.take()
        })
    };
    assert!(order(true).is_sorted());
    assert!(!order(false).is_sorted());
}

#[test]
fn a_crashed_process_keeps_what_it_wrote_and_loses_its_locks() {
    let found = simulation::run(12, MINUTE, || async {
        let found = Rc::new(RefCell::new(None));
        let seen = found.clone();
        let node = Node::create("disk", address(), move || {
            let seen = seen.clone();
            async move {
                let file = File::open("/file", OpenOptions::CREATE).await.unwrap();
                file.lock().await.unwrap();
                if simulation::current().number == 1 {
                    write(&file, 0, b"unsynced").await.unwrap();
                    std::future::pending::<()>().await;
                }
                *seen.borrow_mut() = Some(content("/file").await);
            }
        });
        time::sleep(Duration::from_secs(1)).await;
        control::process_crash(node);
        assert_eq!(control::durable(node.id(), "/file"), None, "a crash makes nothing durable either");
        node.restart();
        node.exited().await;
        found.take()
    });
    assert_eq!(found.unwrap().unwrap(), b"unsynced");
}

#[test]
fn an_operation_of_an_older_incarnation_changes_nothing() {
    struct WritesLate(Option<File>);
    impl Drop for WritesLate {
        fn drop(&mut self) {
            // What a destructor of the old life starts: after the crash, before the next life.
            if let Some(file) = self.0.take() {
                let mut late = Box::pin(async move { write(&file, 0, b"late!").await });
                let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
                assert!(late.as_mut().poll(&mut nobody).is_pending());
                std::mem::forget(late);
            }
        }
    }
    for seed in 0..10 {
        let found = world(
            seed,
            || async {
                let _late = WritesLate(Some(durable("/file", b"first").await));
                std::future::pending::<()>().await;
            },
            |node| async move {
                time::sleep(MINUTE).await;
                control::process_crash(node);
                node.restart();
                time::sleep(MINUTE).await;
                control::process_crash(node);
                control::durable(node.id(), "/file")
            },
        );
        assert_eq!(found.unwrap(), b"first");
    }
}

#[test]
fn a_write_in_flight_at_a_crash_is_taken_in_part_or_not_at_all() {
    let mut partly = 0;
    for seed in 0..40 {
        let found = world(
            seed,
            || async {
                let file = durable("/file", &[1; 100]).await;
                control::change(me(), |faults| faults.stalled = true);
                write(&file, 0, &[2; 100]).await.unwrap();
            },
            |node| async move {
                time::sleep(MINUTE).await;
                control::change(node.id(), |faults| faults.power_loss = PowerLoss::Keeps);
                control::power_loss(node);
                control::durable(node.id(), "/file")
            },
        );
        let found = found.unwrap();
        let taken = found.iter().take_while(|byte| **byte == 2).count();
        assert!(found[taken..].iter().all(|byte| *byte == 1));
        partly += u32::from(taken > 0 && taken < 100);
    }
    assert!(partly > 20, "{partly} of 40 in part");
}

#[test]
fn a_wiped_disk_is_empty() {
    let found = world(
        13,
        || async {
            durable("/file", b"x").await;
        },
        |node| async move {
            time::sleep(MINUTE).await;
            node.kill();
            assert_eq!(control::files(node.id()), ["/file"]);
            control::wipe(node.id());
            control::files(node.id())
        },
    );
    assert!(found.is_empty());
}

#[test]
fn a_read_only_disk_and_a_denied_path_are_named() {
    testing::run(14, || async {
        disk::create_directory("/secret").await.unwrap();
        let file = durable("/file", b"x").await;
        control::change(me(), |faults| faults.denied = vec!["/secret".to_owned()]);
        let open = File::open("/secret/key", OpenOptions::CREATE).await;
        assert_eq!(open.unwrap_err().failure, Failure::Denied);
        control::change(me(), |faults| faults.read_only = true);
        assert_eq!(write(&file, 0, b"y").await.unwrap_err().failure, Failure::ReadOnly);
        assert_eq!(disk::remove("/file").await.unwrap_err().failure, Failure::ReadOnly);
        assert_eq!(content("/file").await, b"x", "reading goes on");
    });
}

#[test]
fn each_node_has_a_disk_of_its_own() {
    let files = simulation::run(15, MINUTE, || async {
        let nodes: Vec<Node> = (1..=2u8)
            .map(|i| {
                Node::create(format!("n{i}"), [10, 0, 0, i].into(), move || async move {
                    durable("/file", &[i]).await;
                })
            })
            .collect();
        time::sleep(Duration::from_secs(1)).await;
        nodes.iter().map(|node| control::durable(node.id(), "/file").unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(files.unwrap(), [[1], [2]]);
}

/// What an append file acknowledged and attempted over its lives, and what each opening found.
#[derive(Default)]
struct History {
    acknowledged: u64,
    attempted: u64,
    violations: Vec<String>,
}

impl History {
    /// Records are their numbers: acknowledged is durable, and what is found is a prefix of what was attempted.
    fn found(&mut self, records: &[Vec<u8>]) {
        let found = records.len() as u64;
        if found < self.acknowledged {
            self.violations.push(format!("{} were acknowledged, {found} are there", self.acknowledged));
        }
        if found > self.attempted {
            self.violations.push(format!("{} were attempted, {found} are there", self.attempted));
        }
        for (record, number) in records.iter().zip(1u64..) {
            let mut expected = number.to_le_bytes().to_vec();
            expected.resize(payload_len(number), number as u8);
            if *record != expected {
                self.violations.push(format!("record {number} is not what was appended"));
            }
        }
        self.acknowledged = found;
        self.attempted = found;
    }
}

fn payload_len(number: u64) -> usize {
    8 + (number as usize * 97) % 1_500
}

/// A writer that appends for ever, and opens its file again after an error.
async fn append_for_ever(history: Rc<RefCell<History>>) {
    loop {
        let opened = AppendFile::open("/log", 64 << 20).await;
        let Ok((mut log, found)) = opened else {
            time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        history.borrow_mut().found(&found.records);
        loop {
            let number = log.records() + 1;
            let mut payload = number.to_le_bytes().to_vec();
            payload.resize(payload_len(number), number as u8);
            history.borrow_mut().attempted = number;
            match log.append(&payload).await {
                Ok(appended) => {
                    assert_eq!(appended, number);
                    history.borrow_mut().acknowledged = number;
                }
                Err(_) => break,
            }
        }
        let again = log.append(b"x").await.unwrap_err();
        assert!(matches!(again, AppendError::Failed { .. }), "{again}");
        drop(log);
    }
}

/// Twenty lives under these faults and with this bug, each ended by a loss of power in mid-work; answers what was violated and how many
/// records there are.
fn lives(seed: u64, faults: DiskFaults, planted: &'static str) -> (Vec<String>, u64) {
    let outcome = simulation::run(seed, 10 * MINUTE, move || async move {
        let history = Rc::new(RefCell::new(History::default()));
        let writer = history.clone();
        let node = Node::create("log", address(), move || {
            let mut writer = Box::pin(append_for_ever(writer.clone()));
            poll_fn(move |cx| plant::with(planted, || writer.as_mut().poll(cx)))
        });
        control::set_faults(node.id(), faults);
        for _ in 0..20 {
            time::sleep(Duration::from_micros(1_000 + random::below(40_000))).await;
            control::power_loss(node);
            time::sleep(Duration::from_millis(1)).await;
            node.restart();
        }
        time::sleep(Duration::from_millis(500)).await;
        let mut history = history.borrow_mut();
        (std::mem::take(&mut history.violations), history.acknowledged)
    });
    outcome.unwrap()
}

#[test]
fn acknowledged_records_survive_and_what_survives_is_a_prefix_under_every_recoverable_fault() {
    let good = DiskFaults::default();
    let plans = [
        good.clone(),
        DiskFaults { power_loss: PowerLoss::LosesUnsynced, ..good.clone() },
        DiskFaults { short_write: 0.3, short_read: 0.3, ..good.clone() },
        DiskFaults { write_error: 0.03, sync_error: 0.05, read_error: 0.001, ..good.clone() },
        DiskFaults { slow: 20, in_order: true, short_write: 0.1, sync_error: 0.02, ..good.clone() },
        DiskFaults { capacity: Some(20_000), ..good },
    ];
    for (plan, faults) in plans.into_iter().enumerate() {
        for seed in 0..10 {
            let (violations, records) = lives(seed, faults.clone(), "none");
            assert_eq!(violations, [] as [String; 0], "plan {plan}, seed {seed}");
            assert!(records > 10, "plan {plan}, seed {seed}: only {records} records");
        }
    }
}

#[test]
fn each_planted_bug_of_the_append_file_is_noticed() {
    let short = DiskFaults { short_write: 0.3, ..DiskFaults::default() };
    for (bug, faults) in [("disk.ack-before-sync", DiskFaults::default()), ("disk.short-write-lost", short)] {
        let noticed = (0..10).filter(|seed| {
            let (violations, _) = lives(*seed, faults.clone(), bug);
            violations.iter().any(|violation| violation.contains("were acknowledged"))
        });
        let noticed = noticed.count();
        assert!(noticed >= 8, "{bug} was noticed in {noticed} of 10 seeds");
    }
}

#[test]
fn one_seed_gives_one_history() {
    let faults = DiskFaults { short_write: 0.2, sync_error: 0.02, ..DiskFaults::default() };
    let histories: Vec<_> = [1, 1, 2].map(|seed| lives(seed, faults.clone(), "none")).into();
    assert_eq!(histories[0], histories[1]);
    assert_ne!(histories[0], histories[2]);
}
