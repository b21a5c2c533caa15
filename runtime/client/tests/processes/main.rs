//! True processes: a node, and those who write, read, ask and answer, killed at any moment; who survives goes on, and nothing is left behind.
//!
//! Each process is this very binary, started again for a role. All keep ledgers in files, which a kill does not take along: what was accepted by
//! whom, what was received from whom, what was asked and answered. `SYNOD_MESSAGES`, `SYNOD_KILLS` and `SYNOD_STORM` ask for more of it.
#![cfg(not(madsim))]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside of the processes: they start and kill them and look at what the system keeps of them"
)]

mod hostile;
mod kept;
mod ledger;
mod requests;
mod roles;
mod storm;
mod world;

use std::time::Duration;

use ledger::Books;
use world::{World, number};

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
        let mut victim = world.start("reader", &format!("victim-{n}"), &["load"]);
        world.wait_for(&format!("victim-{n}.there"));
        std::thread::sleep(Duration::from_millis(n % 7));
        victim.kill();
        writer.lives();
        reader.lives();
    }
    let held = || (reader.holds(), writer.holds());
    // They let go of what the last one left as soon as they hear of its end.
    world::eventually("the living hold nothing of the dead", || {
        held().0.both() <= 24 && held().1.both() <= 24
    });
    let held = held();
    world.tell("stop");
    writer.ends_well();
    reader.ends_well();
    let (sent, came) = (world.read("writer.sum"), world.read("reader.sum"));
    assert_eq!(sent, came, "messages and their checksum");
    eprintln!("{sent} (messages, checksum); reader and writer held {held:?}");
    node.forgets();
}

#[test]
fn processes_find_a_node_again_that_was_killed_and_nothing_that_was_accepted_is_lost() {
    let world = World::new("again");
    let mut node = world.node();
    let mut reader = world.start("reader", "r0-0", &["load"]);
    world.wait_for("r0-0.there");
    let mut writer = world.start("writer", "w0-0", &["load"]);
    for _ in 0..number("SYNOD_KILLS").unwrap_or(30) {
        world.grows("r0-0.ledger");
        node.kill();
        node = world.node();
    }
    world.grows("r0-0.ledger");
    world.tell("stop");
    writer.ends_well();
    world.tell("r0-0.stop");
    reader.ends_well();
    let books = Books::read(world.folder());
    eprintln!("{}", books.check(&["r0-0"]));
    node.forgets();
}
