//! True processes: a node, writers and readers, killed at any moment; who survives goes on, and nothing is left behind.
//!
//! Each process is this very binary, started again for a role. Writers and readers keep ledgers in files, which a kill does not take along:
//! what was accepted by whom, and what was received from whom. `SYNOD_MESSAGES`, `SYNOD_KILLS` and `SYNOD_STORM` ask for more of it.
#![cfg(not(madsim))]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside of the processes: they start and kill them and look at what the system keeps of them"
)]

mod hostile;
mod ledger;
mod roles;
mod world;

use std::time::{Duration, Instant};

use ledger::Books;
use world::{Process, World, number};

/// Plays a role if this process was started for one; a test that has nothing to do otherwise.
#[test]
fn role() {
    if let Ok(role) = std::env::var(world::ROLE) {
        roles::play(&role);
    }
}

#[test]
fn a_stream_between_two_processes_is_whole_while_a_third_is_killed_over_and_over() {
    let world = World::new("stream");
    let messages = number("SYNOD_MESSAGES").unwrap_or(10_000);
    let node = world.node();
    let mut reader = world.start("stream-reader", "reader", &[]);
    world.wait_for("reader.there");
    let mut writer = world.start("stream-writer", "writer", &[&messages.to_string()]);
    for n in 0..number("SYNOD_KILLS").unwrap_or(12) {
        let mut victim = world.start("reader", &format!("victim-{n}"), &[]);
        world.wait_for(&format!("victim-{n}.there"));
        std::thread::sleep(Duration::from_millis(n % 7));
        victim.kill();
        writer.lives();
        reader.lives();
    }
    let held = (reader.holds(), writer.holds());
    world.tell("stop");
    writer.ends_well();
    reader.ends_well();
    let (sent, came) = (world.read("writer.sum"), world.read("reader.sum"));
    assert_eq!(sent, came, "messages and their checksum");
    eprintln!("{sent} (messages, checksum); reader and writer held {held:?}");
    assert!(held.0.both() <= 24 && held.1.both() <= 24, "what the dead left with the living: {held:?}");
    node.forgets();
}

#[test]
fn processes_find_a_node_again_that_was_killed_and_nothing_that_was_accepted_is_lost() {
    let world = World::new("again");
    let mut node = world.node();
    let mut reader = world.start("reader", "r0-0", &[]);
    world.wait_for("r0-0.there");
    let mut writer = world.start("writer", "w0-0", &[]);
    for _ in 0..number("SYNOD_KILLS").unwrap_or(30) {
        world.grows("r0-0.ledger");
        node.kill();
        node = world.node();
    }
    world.grows("r0-0.ledger");
    world.tell("stop");
    writer.ends_well();
    world.tell("stop-readers");
    reader.ends_well();
    let books = Books::read(world.folder());
    eprintln!("{}", books.check(&["r0-0"]));
    node.forgets();
}

#[test]
fn a_storm_of_kills_harms_nobody_who_survives_it() {
    let world = World::new("storm");
    let (kills, until) = match number("SYNOD_STORM") {
        Some(kills) => (kills, None),
        None => (u64::MAX, Some(Instant::now() + Duration::from_secs(8))),
    };
    let mut chance = world::Chance::new();
    let mut node = world.node();
    let mut turns = [0u32; 4];
    let name = |slot: usize, turn: u32| format!("{}{}-{turn}", if slot < 2 { "r" } else { "w" }, slot % 2);
    let start = |slot: usize, turn: u32| -> Process {
        world.start(if slot < 2 { "reader" } else { "writer" }, &name(slot, turn), &[])
    };
    let mut all: Vec<Process> = (0..4).map(|slot| start(slot, 0)).collect();
    let (mut done, mut nodes) = (0, 0);
    while done < kills && until.is_none_or(|until| Instant::now() < until) {
        std::thread::sleep(Duration::from_millis(chance.below(30)));
        let slot = chance.below(9) as usize;
        if slot == 8 {
            node.kill();
            node = world.node();
            nodes += 1;
        } else {
            let slot = slot % 4;
            all[slot].kill();
            turns[slot] += 1;
            all[slot] = start(slot, turns[slot]);
        }
        done += 1;
        all.iter_mut().for_each(Process::lives);
    }
    // Whoever came last takes part, too.
    for (slot, turn) in turns.iter().enumerate() {
        world.grows(&format!("{}.ledger", name(slot, *turn)));
    }
    world.tell("stop");
    all.split_off(2).iter_mut().for_each(Process::ends_well);
    let held: Vec<_> = all.iter().map(Process::holds).collect();
    world.tell("stop-readers");
    all.iter_mut().for_each(Process::ends_well);
    let living = [name(0, turns[0]), name(1, turns[1])];
    let said = Books::read(world.folder()).check(&[&living[0], &living[1]]);
    eprintln!(
        "{done} kills, {nodes} of them the node's; {said}; seed {}; the readers held {held:?}",
        chance.seed
    );
    assert!(held.iter().all(|held| held.both() <= 24), "what the dead left with the living: {held:?}");
    node.forgets();
    let named: Vec<_> = world::listed("/dev/shm").into_iter().filter(|name| name.contains("synod")).collect();
    assert!(named.is_empty(), "nothing of ours has a name: {named:?}");
}
