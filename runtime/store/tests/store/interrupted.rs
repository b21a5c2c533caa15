//! A life is ended after each of its disk operations by the death of its process, which leaves everything that it wrote in the cache, or by a
//! sync that fails there. The next life trusts what it finds; then power is lost, and takes what no sync had put on the device. Whatever
//! that next life was told is durable must be there, and the store undamaged.

use std::cell::Cell;
use std::rc::Rc;

use synod_platform::disk::control;
use synod_platform::simulation::{self, Exit, Node, Status};
use synod_platform::time::{Duration, sleep};
use synod_store::Store;

use crate::common::TINY;
use crate::ledger::{Ledger, Script, go_on, live};

const SCRIPT: Script = Script { operations: 0, in_flight: 3, options: TINY, faults: |_| {}, plant: None };

/// What ends the second life after an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Its process is killed.
    Killed,
    /// No sync succeeds any more, and its process is killed when it was told so.
    SyncsFail,
}

/// What the four lives do: the first, of so many operations, fills segments and uses them again, the second is interrupted, the third
/// goes on with so many operations and loses its power, the last looks.
async fn life(ledger: Rc<Ledger>, (first, operations): (usize, usize), ended: Rc<Cell<u32>>) {
    let number = simulation::current().number;
    match number {
        1 => live(ledger, Script { operations: first, ..SCRIPT }).await,
        // An opening that fails goes no further.
        2 => {
            if let Ok((store, _)) = Store::open("/store", TINY).await {
                go_on(ledger, Script { operations: 30, ..SCRIPT }, store).await;
            }
        }
        3 => live(ledger, Script { operations, ..SCRIPT }).await,
        _ => live(ledger, SCRIPT).await,
    }
    ended.set(number);
    std::future::pending::<()>().await;
}

/// One world, whose second life is interrupted after so many of its operations; whether it had so many.
fn interrupted(seed: u64, end: End, after: u64, operations: (usize, usize)) -> bool {
    let told = format!(
        "seed {seed}, {end:?} after {after} operations, {operations:?} before and after it and no power"
    );
    let world = simulation::run(seed, Duration::from_secs(3600), move || async move {
        let (ledger, ended) = (Rc::new(Ledger::default()), Rc::new(Cell::new(0)));
        let (kept, tell) = (ledger.clone(), ended.clone());
        let node =
            Node::create("store", [10, 0, 0, 1].into(), move || life(kept.clone(), operations, tell.clone()));
        let until = async |done: &dyn Fn() -> bool| {
            while !done() {
                if let Status::Down(Exit::Panicked(message)) = node.status() {
                    return Err(message);
                }
                sleep(Duration::from_micros(100)).await;
            }
            Ok(())
        };
        until(&|| ended.get() == 1).await?;
        control::process_crash(node);
        control::stall_after(node.id(), Some(after));
        node.restart();
        until(&|| control::is_stalled(node.id()) || ended.get() == 2).await?;
        let had = ended.get() < 2;
        if had && end == End::SyncsFail {
            let refused = ledger.refused.get();
            control::change(node.id(), |faults| faults.sync_error = 1.0);
            control::stall_after(node.id(), None);
            until(&|| ended.get() == 2 || ledger.refused.get() > refused).await?;
        }
        control::process_crash(node);
        control::stall_after(node.id(), None);
        node.restart();
        until(&|| ended.get() == 3).await?;
        control::power_loss(node);
        node.restart();
        until(&|| ended.get() == 4).await?;
        Ok(had)
    });
    match world {
        Ok(Ok(had)) => had,
        Ok(Err::<_, String>(message)) => panic!("{told}: {message}"),
        Err(error) => panic!("{told}: {error}"),
    }
}

/// Interrupts the second life everywhere; answers how many worlds there were.
fn interrupted_everywhere(end: End, operations: (usize, usize)) -> u64 {
    (0..3)
        .map(|seed| (0..).take_while(|after| interrupted(seed, end, *after, operations)).count() as u64)
        .sum()
}

#[test]
fn a_store_whose_syncs_failed_anywhere_survives_an_opening_that_changes_no_more_and_a_loss_of_power() {
    assert!(interrupted_everywhere(End::SyncsFail, (100, 0)) > 3 * 40);
}

#[test]
fn a_store_whose_syncs_failed_anywhere_keeps_what_is_acknowledged_later_through_a_loss_of_power() {
    assert!(interrupted_everywhere(End::SyncsFail, (100, 8)) > 3 * 40);
}

#[test]
fn a_store_whose_process_died_anywhere_survives_an_opening_that_changes_no_more_and_a_loss_of_power() {
    assert!(interrupted_everywhere(End::Killed, (100, 0)) > 3 * 40);
}

#[test]
fn a_store_whose_process_died_anywhere_keeps_what_is_acknowledged_later_through_a_loss_of_power() {
    assert!(interrupted_everywhere(End::Killed, (100, 8)) > 3 * 40);
}

#[test]
fn a_segment_whose_maker_died_before_its_name_was_durable_is_not_lost_by_who_uses_it() {
    assert!(interrupted_everywhere(End::Killed, (0, 2)) > 3 * 40);
}
