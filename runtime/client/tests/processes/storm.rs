//! The storm: of each role one process lives through all of it, while a second one and the node are killed at any moment, over and over.

use std::time::{Duration, Instant};

use crate::ledger::Books;
use crate::requests;
use crate::world::{self, Chance, Process, World, number};

/// The most descriptors and mappings with which a sender lives: its lanes, grown, and its memory for long payloads.
const SENDER_HOLDS: usize = 200;

/// What is played, on which subject, and under which names. Those who receive come first.
const ROLES: [(&str, &str, &str); 6] = [
    ("reader", "load", "r"),
    ("reader", "long", "rl"),
    ("answerer", "sum", "s"),
    ("writer", "load", "w"),
    ("writer", "long", "wl"),
    ("asker", "sum", "a"),
];
const RECEIVERS: usize = 3;

/// The processes of one role.
struct Pair {
    role: usize,
    steady: Process,
    victim: Process,
    turn: u32,
}

impl Pair {
    fn name(role: usize, place: u32, turn: u32) -> String {
        format!("{}{place}-{turn}", ROLES[role].2)
    }

    fn start(world: &World, role: usize, place: u32, turn: u32) -> Process {
        let (plays, subject, _) = ROLES[role];
        world.start(plays, &Self::name(role, place, turn), &[subject])
    }

    fn kill(&mut self, world: &World) {
        self.victim.kill();
        self.turn += 1;
        self.victim = Self::start(world, self.role, 1, self.turn);
    }

    fn both(&mut self, what: fn(&mut Process)) {
        what(&mut self.steady);
        what(&mut self.victim);
    }

    /// The names of the two that live now.
    fn living(&self) -> [String; 2] {
        [Self::name(self.role, 0, 0), Self::name(self.role, 1, self.turn)]
    }
}

#[test]
fn a_storm_of_kills_harms_nobody_who_survives_it() {
    let world = World::new("storm");
    let (kills, until) = match number("SYNOD_STORM") {
        Some(kills) => (kills, None),
        None => (u64::MAX, Some(Instant::now() + Duration::from_secs(8))),
    };
    let mut chance = Chance::new();
    eprintln!("seed {}", chance.seed);
    let mut node = world.node();
    let mut steady: Vec<_> = (0..RECEIVERS).map(|role| Pair::start(&world, role, 0, 0)).collect();
    (0..RECEIVERS).for_each(|role| world.wait_for(&format!("{}.there", Pair::name(role, 0, 0))));
    // What those who receive hold when nobody sends.
    let quiet: Vec<_> = steady.iter().map(Process::holds).collect();
    steady.extend((RECEIVERS..ROLES.len()).map(|role| Pair::start(&world, role, 0, 0)));
    let pair = |(role, steady)| Pair { role, steady, victim: Pair::start(&world, role, 1, 0), turn: 0 };
    let mut pairs: Vec<_> = steady.into_iter().enumerate().map(pair).collect();

    let (mut done, mut nodes) = (0, 0);
    while done < kills && until.is_none_or(|until| Instant::now() < until) {
        std::thread::sleep(Duration::from_millis(chance.below(30)));
        match pairs.get_mut(chance.below(7) as usize) {
            Some(pair) => pair.kill(&world),
            None => {
                node.kill();
                node = world.node();
                nodes += 1;
            }
        }
        done += 1;
        pairs.iter_mut().for_each(|pair| pair.both(Process::lives));
    }

    // Whoever survived goes on, and whoever came last takes part.
    let living: Vec<_> = pairs.iter().flat_map(Pair::living).collect();
    living.iter().for_each(|name| world.grows(&format!("{name}.ledger")));
    let mut senders = pairs.split_off(RECEIVERS);
    let held: Vec<_> = senders.iter().map(|pair| pair.steady.holds()).collect();
    assert!(held.iter().all(|held| held.both() < SENDER_HOLDS), "what the dead left with senders: {held:?}");
    world.tell("stop");
    senders.iter_mut().for_each(|pair| pair.both(Process::ends_well));
    for pair in &mut pairs {
        world.tell(&format!("{}.stop", pair.living()[1]));
        pair.victim.ends_well();
    }
    for (pair, quiet) in pairs.iter().zip(quiet) {
        pair.steady.comes_down_to(quiet);
    }
    for pair in &mut pairs {
        world.tell(&format!("{}.stop", pair.living()[0]));
        pair.steady.ends_well();
    }
    node.forgets();
    let named: Vec<_> = world::listed("/dev/shm").into_iter().filter(|name| name.contains("synod")).collect();
    assert!(named.is_empty(), "nothing of ours has a name: {named:?}");

    let living: Vec<_> = living.iter().map(String::as_str).collect();
    let (messages, asked) = (Books::read(world.folder()).check(&living), requests::check(world.folder()));
    eprintln!("{done} kills, {nodes} of them the node's; {messages}; {asked}; steady senders held {held:?}");
}
