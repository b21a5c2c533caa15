//! Power is lost after every disk operation that a store makes, with what was unsynced lost or torn: whatever was acknowledged is there,
//! and what is there is what the model holds after some first part of what was asked. Each planted bug breaks that.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use crate::ledger::{Ledger, Script, good_disk, live};
use synod_platform::disk::control::{self, DiskFaults, PowerLoss};
use synod_platform::simulation::{self, Node, Status};
use synod_platform::testing::power_loss_everywhere;
use synod_platform::time::{Duration, sleep};
use synod_probe::reach;
use synod_store::{Store, WriteError};

use crate::common::{TINY, entries, payload};

const SCRIPT: Script = Script { operations: 24, in_flight: 3, options: TINY, faults: |_| {}, plant: None };

/// Cuts the power after each operation of one life, under each of these seeds; answers how many worlds there were.
fn cut_everywhere(seeds: std::ops::Range<u64>, script: Script) -> u64 {
    seeds
        .map(|seed| {
            power_loss_everywhere(seed, &DiskFaults::default(), 1, move |ledger| live(ledger, script))
        })
        .sum()
}

fn failing(faults: &mut DiskFaults) {
    (faults.write_error, faults.sync_error, faults.short_write) = (0.03, 0.05, 0.2);
}

/// Room for one segment.
fn full(faults: &mut DiskFaults) {
    faults.capacity = Some(30 << 10);
}

#[test]
fn acknowledged_is_durable_wherever_power_is_lost() {
    let worlds = cut_everywhere(0..5, SCRIPT);
    // About sixty operations a life: fewer would mean that the enumeration misses some.
    assert!(worlds > 5 * 50, "only {worlds} worlds");
    let whole = DiskFaults { power_loss: PowerLoss::LosesUnsynced, ..DiskFaults::default() };
    power_loss_everywhere(0, &whole, 1, |ledger| live(ledger, SCRIPT));
}

#[test]
fn acknowledged_is_durable_wherever_power_is_lost_while_segments_are_copied_forward_and_used_again() {
    let worlds = cut_everywhere(20..22, Script { operations: 100, ..SCRIPT });
    assert!(worlds > 2 * 150, "only {worlds} worlds");
    let reached = reach::snapshot();
    for rare in
        ["store.copied_forward", "store.segment_used_again", "store.segment_removed", "store.tail_cut"]
    {
        assert!(reached.iter().any(|(name, _)| *name == rare), "{rare} was not reached");
    }
}

#[test]
fn power_lost_again_anywhere_in_the_next_life_changes_nothing() {
    let script = Script { operations: 4, ..SCRIPT };
    let worlds = power_loss_everywhere(100, &DiskFaults::default(), 2, move |ledger| live(ledger, script));
    assert!(worlds > 20 * 20, "only {worlds} worlds");
}

#[test]
fn a_failed_write_or_sync_refuses_what_it_covered_and_the_store_goes_on() {
    let worlds = cut_everywhere(200..205, Script { faults: failing, ..SCRIPT });
    assert!(worlds > 5 * 60, "only {worlds} worlds");
}

/// One life where no write goes past the cache.
async fn live_through_the_cache(ledger: Rc<Ledger>, script: Script) {
    good_disk();
    let (store, _) = Store::open("/store", script.options).await.unwrap();
    assert!(!store.write_path().direct);
    store.close().await;
    live(ledger, script).await;
}

#[test]
fn acknowledged_is_durable_wherever_power_is_lost_on_a_file_system_that_is_written_through_its_cache() {
    let plain = DiskFaults { no_direct: true, no_allocate: true, ..DiskFaults::default() };
    let cut = |seed, script| {
        power_loss_everywhere(seed, &plain, 1, move |ledger| live_through_the_cache(ledger, script))
    };
    let scripts =
        [SCRIPT, Script { operations: 100, ..SCRIPT }, Script { faults: failing, operations: 48, ..SCRIPT }];
    let worlds: u64 = (400..).zip(scripts).map(|(seed, script)| cut(seed, script)).sum();
    assert!(worlds > 60 + 150 + 100, "only {worlds} worlds");
    let bug = Script { plant: Some("wal.ack-before-fsync"), ..SCRIPT };
    let noticed = (0..5).any(|seed| catch_unwind(AssertUnwindSafe(|| cut(seed, bug))).is_err());
    assert!(noticed, "a write that is not synced was not noticed");
}

#[test]
fn a_full_disk_refuses_writes_and_keeps_what_was_acknowledged() {
    let worlds = cut_everywhere(300..303, Script { faults: full, ..SCRIPT });
    assert!(worlds > 3 * 40, "only {worlds} worlds");
}

/// How many losses of power [`as_many_losses_of_power_as_are_asked_for_take_nothing_that_was_acknowledged`] goes on to, and its first seed.
#[expect(clippy::disallowed_methods, reason = "a simulated process has variables of its own")]
fn asked() -> (u64, u64) {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse().expect(name));
    (number("SYNOD_POWER_LOSSES").unwrap_or(100), number("SYNOD_SEED").unwrap_or(1000))
}

#[test]
fn as_many_losses_of_power_as_are_asked_for_take_nothing_that_was_acknowledged() {
    let (asked, first) = asked();
    let scripts = [
        ("on a good disk", 1, SCRIPT),
        ("while segments are used again", 1, Script { operations: 100, ..SCRIPT }),
        ("amid failed writes and syncs", 1, Script { faults: failing, operations: 48, ..SCRIPT }),
        ("on a full disk", 1, Script { faults: full, operations: 48, ..SCRIPT }),
        ("and again in the next life", 2, Script { operations: 3, ..SCRIPT }),
    ];
    let mut losses = 0;
    for (seed, (name, lives, script)) in (first..).zip(scripts.into_iter().cycle()) {
        let worlds =
            power_loss_everywhere(seed, &DiskFaults::default(), lives, move |ledger| live(ledger, script));
        // In each world power is lost once a life, and once more when its last one came to its end.
        losses += worlds * lives as u64;
        println!("seed {seed}: {worlds} worlds {name}; {losses} losses of power so far");
        if losses >= asked {
            break;
        }
    }
}

#[test]
fn each_planted_bug_of_the_log_is_noticed() {
    let short = |faults: &mut DiskFaults| faults.short_write = 0.3;
    let bugs: [(_, fn(&mut DiskFaults)); 5] = [
        ("wal.ack-before-fsync", |_| {}),
        ("wal.torn-tail-append", |_| {}),
        ("wal.fsync-retry-ok", failing),
        ("wal.short-write-after-fsync", short),
        ("wal.enospc-batch-ack", full),
    ];
    for (bug, faults) in bugs {
        let script = Script { faults, plant: Some(bug), operations: 12, ..SCRIPT };
        let two = move |seed| {
            power_loss_everywhere(seed, &DiskFaults::default(), 2, move |ledger| live(ledger, script))
        };
        let noticed = (0..20).position(|seed| catch_unwind(AssertUnwindSafe(|| two(seed))).is_err());
        assert!(noticed.is_some(), "{bug} was not noticed");
        println!("{bug}: noticed under seed {noticed:?}");
    }
}

/// What a node does in its first, second and third life, and what the later ones are shown.
async fn lives(number: u32, shown: Arc<Mutex<Vec<Vec<u64>>>>) {
    let good = |faults: &mut DiskFaults| faults.sync_error = 0.0;
    control::change(simulation::current_node(), good);
    let (store, _) = Store::open("/store", TINY).await.unwrap();
    let log = store.log("log").unwrap();
    if number == 1 {
        log.append(vec![payload(1)]).await.unwrap().1.await.unwrap();
        control::change(simulation::current_node(), |faults| faults.sync_error = 1.0);
        let refused = log.append(vec![payload(2)]).await.unwrap().1.await;
        assert!(matches!(refused, Err(WriteError::Disk(_))));
        assert_eq!(entries(&log).await, [1], "what was refused is not seen any more");
    } else {
        let found = entries(&log).await;
        shown.lock().unwrap().push(found);
    }
    std::future::pending::<()>().await;
}

#[test]
fn what_a_failed_sync_left_in_the_cache_alone_is_durable_when_it_was_shown_again() {
    let mut in_the_cache = 0;
    for seed in 0..10 {
        let shown = Arc::default();
        let seen = Arc::clone(&shown);
        let world = simulation::run(seed, Duration::from_secs(60), move || async move {
            let life = move || lives(simulation::current().number, Arc::clone(&seen));
            let node = Node::create("store", [10, 0, 0, 1].into(), life);
            sleep(Duration::from_secs(1)).await;
            control::process_crash(node);
            node.restart();
            sleep(Duration::from_secs(1)).await;
            control::power_loss(node);
            node.restart();
            sleep(Duration::from_secs(1)).await;
            node.status()
        });
        assert_eq!(world.unwrap(), Status::Running);
        // Whoever was shown what had been refused must find it again.
        let shown = shown.lock().unwrap();
        let [second, third] = &shown[..] else { panic!("{shown:?}") };
        assert!(second == third && second.starts_with(&[1]), "{shown:?} with seed {seed}");
        in_the_cache += usize::from(*second == [1, 2]);
    }
    assert!(in_the_cache > 0, "no world in which the cache alone had it");
}
