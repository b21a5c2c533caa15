//! Which processor each context gets, and so which NUMA node its rings and pages lie on. Pure: the same question has the same answer.
//!
//! Two that sleep between messages belong on one processor: a wake there costs a tenth of one across cores. Two that stay awake
//! belong on cores that share a cache: each takes a processor for itself, and a cache line's way between them is all that is left to save.
//! Everybody is put as near to its peers as the limit on a processor's load allows, the chattiest first; then each moves as long as
//! a move alone brings it nearer. That is no optimum, which would take too long to find. What fits nowhere is left to the scheduler.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Topology;

/// How a party waits for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// It sleeps until a doorbell wakes it, and uses as much of a processor as its work needs.
    Asleep,
    /// It looks again and again, and has a processor for itself.
    Awake,
}

/// Who wants a place: a context, or an attached process's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Its name, for the reasons.
    pub name: String,
    /// The most that it needs, in percent of the machine's fastest processor. Says nothing of who waits awake.
    pub load: u32,
    /// How it waits.
    pub waits: Waits,
    /// The processor that it was told to use.
    pub pin: Option<usize>,
}

/// Two parties that talk, by their places in the list, and how much, in any unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Talk {
    /// The two.
    pub between: (usize, usize),
    /// Messages a second, or whatever else measures all talks alike.
    pub weight: u32,
}

/// Where a party goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The party's name.
    pub name: String,
    /// The logical processor, by the operating system's number; `None` if nothing fits and the scheduler decides.
    pub processor: Option<usize>,
    /// The NUMA node of that processor, by the operating system's number: where rings and pages belong.
    pub numa_node: Option<usize>,
    /// Why there, in a sentence.
    pub reason: String,
}

/// A pin that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// There is no such processor, or this process may not use it.
    #[error("`{party}` is pinned to processor {processor}, which this process cannot use: it has {usable}")]
    NoSuchProcessor {
        /// Who.
        party: String,
        /// To what.
        processor: usize,
        /// What there is.
        usable: String,
    },
    /// Too much is pinned to one processor.
    #[error(
        "`{party}` needs {load} % of processor {processor}, but its other pins leave {room} %: pin it elsewhere"
    )]
    Overloaded {
        /// Who.
        party: String,
        /// To what.
        processor: usize,
        /// What it needs, percent of the fastest processor.
        load: u32,
        /// What is left, percent of the fastest processor.
        room: u32,
    },
}

/// How far two processors are from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Apart {
    Nothing,
    Threads,
    Cache,
    Cores,
    NumaNodes,
}

/// What a message costs at that distance, in tenths of a wake across cores.
fn cost(asleep: bool, apart: Apart) -> u64 {
    match (asleep, apart) {
        // The wake is nearly all of it, and only being on one processor saves it.
        (true, Apart::Nothing) => 1,
        (true, Apart::Threads | Apart::Cache) => 10,
        (true, Apart::Cores) => 11,
        (true, Apart::NumaNodes) => 12,
        // Two that spin on one processor wait for the scheduler; two threads of a core take from each other what the core can do.
        (false, Apart::Nothing) => 1000,
        (false, Apart::Cache) => 1,
        (false, Apart::Cores) => 2,
        (false, Apart::Threads) => 3,
        (false, Apart::NumaNodes) => 4,
    }
}

struct Slot {
    processor: usize,
    core: usize,
    numa_node: usize,
    /// What it offers, and what of that nobody has yet; percent of the fastest processor.
    offers: u32,
    room: u32,
}

impl Slot {
    fn needs(&self, party: &Party) -> u32 {
        match party.waits {
            Waits::Asleep => party.load,
            Waits::Awake => self.offers,
        }
    }

    fn fits(&self, party: &Party) -> bool {
        match party.waits {
            Waits::Asleep => party.load <= self.room,
            Waits::Awake => self.room == self.offers && self.offers > 0,
        }
    }
}

struct Hall<'a> {
    machine: &'a Topology,
    parties: &'a [Party],
    /// Whom each talks with, and how much.
    peers: Vec<BTreeMap<usize, u64>>,
    slots: Vec<Slot>,
    seated: Vec<Option<usize>>,
}

impl Topology {
    /// A place for each of the parties, in their order. No processor is given more than `limit` percent of what it can do.
    /// Panics if a talk names a party that there is not.
    pub fn place(&self, parties: &[Party], talks: &[Talk], limit: u32) -> Result<Vec<Seat>, PlaceError> {
        let mut hall = Hall::new(self, parties, talks, limit);
        for (who, party) in parties.iter().enumerate() {
            if let Some(processor) = party.pin {
                hall.pin(who, party, processor)?;
            }
        }
        let mut waiting: Vec<usize> = (0..parties.len()).filter(|&who| parties[who].pin.is_none()).collect();
        // The chattiest first, and after it who has most to say to those that sit already.
        while let Some(next) = (0..waiting.len()).max_by_key(|&n| hall.rank(waiting[n])) {
            let who = waiting.remove(next);
            if let Some(slot) = hall.best(who) {
                hall.sit(who, slot);
            }
        }
        while (0..parties.len()).filter(|&who| parties[who].pin.is_none()).any(|who| hall.moved(who)) {}
        Ok((0..parties.len()).map(|who| hall.seat(who, limit)).collect())
    }
}

impl<'a> Hall<'a> {
    fn new(machine: &'a Topology, parties: &'a [Party], talks: &[Talk], limit: u32) -> Self {
        let mut peers = vec![BTreeMap::new(); parties.len()];
        for talk in talks.iter().filter(|talk| talk.between.0 != talk.between.1 && talk.weight > 0) {
            let (a, b) = talk.between;
            for (one, other) in [(a, b), (b, a)] {
                *peers[one].entry(other).or_default() += u64::from(talk.weight);
            }
        }
        let slots = machine.cores.iter().enumerate().flat_map(|(core, shape)| {
            let offers = (u64::from(limit) * u64::from(shape.capacity) / 1024) as u32;
            let slot =
                move |&processor| Slot { processor, core, numa_node: shape.numa_node, offers, room: offers };
            shape.processors.iter().map(slot)
        });
        Hall { machine, parties, peers, slots: slots.collect(), seated: vec![None; parties.len()] }
    }

    fn pin(&mut self, who: usize, party: &Party, processor: usize) -> Result<(), PlaceError> {
        let name = || party.name.clone();
        let Some(at) = self.slots.iter().position(|slot| slot.processor == processor) else {
            let mut usable: Vec<usize> = self.slots.iter().map(|slot| slot.processor).collect();
            usable.sort_unstable();
            return Err(PlaceError::NoSuchProcessor { party: name(), processor, usable: listed(&usable) });
        };
        let slot = &self.slots[at];
        if !slot.fits(party) {
            let (load, room) = (slot.needs(party), slot.room);
            return Err(PlaceError::Overloaded { party: name(), processor, load, room });
        }
        self.sit(who, at);
        Ok(())
    }

    fn sit(&mut self, who: usize, at: usize) {
        self.slots[at].room -= self.slots[at].needs(&self.parties[who]);
        self.seated[who] = Some(at);
    }

    fn rise(&mut self, who: usize) -> Option<usize> {
        let at = self.seated[who].take()?;
        self.slots[at].room += self.slots[at].needs(&self.parties[who]);
        Some(at)
    }

    /// Who comes first: who says most to those that sit, then who says most at all, then who needs most.
    fn rank(&self, who: usize) -> impl Ord + use<> {
        let all = &self.peers[who];
        let near: u64 = all.iter().filter(|(peer, _)| self.seated[**peer].is_some()).map(|(_, w)| w).sum();
        (near, all.values().sum::<u64>(), self.parties[who].load, Reverse(who))
    }

    /// The processor with room that is nearest to the peers that sit; among equals where most room is: in the NUMA node, in the core, in the
    /// processor.
    fn best(&self, who: usize) -> Option<usize> {
        let room = |of: &dyn Fn(&Slot) -> bool| -> u64 {
            self.slots.iter().filter(|slot| of(slot)).map(|slot| u64::from(slot.room)).sum()
        };
        let fits = (0..self.slots.len()).filter(|&at| self.slots[at].fits(&self.parties[who]));
        fits.min_by_key(|&at| {
            let slot = &self.slots[at];
            let node = room(&|other| other.numa_node == slot.numa_node);
            let core = room(&|other| other.core == slot.core);
            (self.cost(who, at), Reverse(node), Reverse(core), Reverse(slot.room), slot.processor)
        })
    }

    /// What the talk of `who` with those that sit costs from there.
    fn cost(&self, who: usize, at: usize) -> u64 {
        let seated =
            self.peers[who].iter().filter_map(|(&peer, &weight)| Some((peer, self.seated[peer]?, weight)));
        seated
            .map(|(peer, its, weight)| {
                weight.saturating_mul(cost(self.asleep(who, peer), self.apart(at, its)))
            })
            .fold(0, u64::saturating_add)
    }

    fn asleep(&self, a: usize, b: usize) -> bool {
        [a, b].iter().all(|&who| self.parties[who].waits == Waits::Asleep)
    }

    fn apart(&self, a: usize, b: usize) -> Apart {
        let (one, other) = (&self.slots[a], &self.slots[b]);
        let shares = |processors: &[usize]| {
            processors.contains(&one.processor) && processors.contains(&other.processor)
        };
        match () {
            () if a == b => Apart::Nothing,
            () if one.core == other.core => Apart::Threads,
            () if self.machine.caches.iter().any(|cache| shares(&cache.processors)) => Apart::Cache,
            () if one.numa_node == other.numa_node => Apart::Cores,
            () => Apart::NumaNodes,
        }
    }

    /// Moves `who` if a move alone brings it nearer to its peers, or seats it if there is room by now. This ends: with each move all
    /// costs together fall, or one less is without a seat.
    fn moved(&mut self, who: usize) -> bool {
        let from = self.rise(who);
        let nearer = |&to: &usize| from.is_none_or(|from| self.cost(who, to) < self.cost(who, from));
        let to = self.best(who).filter(nearer);
        if let Some(at) = to.or(from) {
            self.sit(who, at);
        }
        to.is_some()
    }

    fn seat(&self, who: usize, limit: u32) -> Seat {
        let party = &self.parties[who];
        let slot = self.seated[who].map(|at| &self.slots[at]);
        Seat {
            name: party.name.clone(),
            processor: slot.map(|slot| slot.processor),
            numa_node: slot.map(|slot| self.machine.numa_nodes[slot.numa_node].number),
            reason: self.reason(who, limit),
        }
    }

    fn reason(&self, who: usize, limit: u32) -> String {
        let party = &self.parties[who];
        let Some(at) = self.seated[who] else {
            let wants = match party.waits {
                Waits::Asleep => format!("has room for {} % more under the limit of {limit} %", party.load),
                Waits::Awake => "is free, and it stays awake while it waits".to_owned(),
            };
            return format!("no processor {wants}: the scheduler may run it anywhere");
        };
        if party.pin.is_some() {
            return "the configuration pins it there".to_owned();
        }
        let chattiest = self.peers[who]
            .iter()
            .filter_map(|(&peer, &weight)| {
                Some((weight, Reverse(self.apart(at, self.seated[peer]?)), Reverse(peer)))
            })
            .max();
        let Some((_, Reverse(apart), Reverse(peer))) = chattiest else {
            return "it talks with nobody who has a place: most room was there".to_owned();
        };
        let name = &self.parties[peer].name;
        let asleep = self.asleep(who, peer);
        let near = match apart {
            Apart::Nothing => "on the processor of",
            Apart::Threads => "on the core of",
            Apart::Cache => "on a core that shares a cache with",
            Apart::Cores => "on the NUMA node of",
            Apart::NumaNodes => "on another NUMA node than",
        };
        let why = match (asleep, apart) {
            (true, Apart::Nothing) => {
                "both sleep between messages, and a wake within a processor costs a tenth"
            }
            (false, Apart::Cache) => "one of them stays awake, and cache lines have the shortest way there",
            _ => "as near as the limit and its other peers let it",
        };
        format!("{near} `{name}`, its chattiest peer: {why}")
    }
}

/// Ascending numbers as the kernel lists them: `0-3,8`.
pub(super) fn listed(numbers: &[usize]) -> String {
    let runs = numbers.chunk_by(|a, b| a + 1 == *b);
    let told = runs.map(|run| match run {
        [one] => one.to_string(),
        [first, .., last] => format!("{first}-{last}"),
        [] => String::new(),
    });
    told.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::topology::Cache;

    fn party(name: &str, load: u32, waits: Waits) -> Party {
        Party { name: name.to_owned(), load, waits, pin: None }
    }

    fn sleeper(name: &str, load: u32) -> Party {
        party(name, load, Waits::Asleep)
    }

    fn spinner(name: &str) -> Party {
        party(name, 100, Waits::Awake)
    }

    fn talk(a: usize, b: usize, weight: u32) -> Talk {
        Talk { between: (a, b), weight }
    }

    /// A machine whose cores share a last cache in groups of so many.
    fn machine(numa_nodes: usize, cores: usize, threads: usize, share: usize) -> Topology {
        let mut machine = Topology::uniform(numa_nodes, cores, threads);
        let shared = machine.cores.chunks(share).map(|cores| {
            let processors = cores.iter().flat_map(|core| core.processors.clone()).collect();
            Cache { level: 3, size: None, line: None, processors }
        });
        machine.caches = shared.collect();
        machine
    }

    fn processors(seats: &[Seat]) -> Vec<Option<usize>> {
        seats.iter().map(|seat| seat.processor).collect()
    }

    #[test]
    fn two_that_sleep_share_a_processor_and_two_that_stay_awake_share_a_cache() {
        let machine = machine(2, 8, 1, 4);
        let parties = [sleeper("a", 30), sleeper("b", 30), spinner("c"), spinner("d")];
        let seats = machine.place(&parties, &[talk(0, 1, 10), talk(2, 3, 10)], 90).unwrap();
        assert_eq!(seats[0].processor, seats[1].processor);
        assert!(seats[0].reason.contains("both sleep"), "{}", seats[0].reason);
        let [c, d] = [&seats[2], &seats[3]].map(|seat| seat.processor.unwrap());
        assert_eq!((c / 4, c != d), (d / 4, true), "cores of one cache: {seats:?}");
        assert!(seats[2].reason.contains("shares a cache with `d`"), "{}", seats[2].reason);
        assert_ne!(seats[0].numa_node, seats[2].numa_node, "strangers go where most room is");
    }

    #[test]
    fn what_the_limit_does_not_let_share_a_processor_sits_as_near_as_can_be() {
        let seats =
            machine(2, 2, 1, 2).place(&[sleeper("a", 50), sleeper("b", 50)], &[talk(0, 1, 1)], 80).unwrap();
        assert_eq!(processors(&seats), [Some(0), Some(1)]);
        assert!(seats[1].reason.contains("as near as the limit"), "{}", seats[1].reason);
    }

    #[test]
    fn two_groups_that_talk_among_themselves_get_a_numa_node_each() {
        let parties: Vec<Party> = (0..16).map(|n| spinner(&n.to_string())).collect();
        let within = |a: usize, b: usize| a < b && a % 2 == b % 2;
        let all = (0..16).flat_map(|a| (0..16).map(move |b| (a, b)));
        let talks: Vec<Talk> = all.filter(|&(a, b)| within(a, b)).map(|(a, b)| talk(a, b, 1)).collect();
        let seats = machine(2, 8, 1, 8).place(&parties, &talks, 100).unwrap();
        for (n, seat) in seats.iter().enumerate() {
            assert_eq!(seat.numa_node, seats[n % 2].numa_node, "{seat:?}");
        }
        assert_ne!(seats[0].numa_node, seats[1].numa_node);
    }

    #[test]
    fn who_stays_awake_takes_whole_cores_before_their_other_threads() {
        let parties: Vec<Party> = (0..5).map(|n| spinner(&n.to_string())).collect();
        let seats = Topology::uniform(1, 2, 2).place(&parties, &[], 100).unwrap();
        assert_eq!(processors(&seats), [Some(0), Some(2), Some(1), Some(3), None]);
        assert!(seats[4].reason.starts_with("no processor is free"), "{}", seats[4].reason);
    }

    #[test]
    fn a_small_core_gets_no_more_than_a_small_load() {
        let mut hybrid = machine(1, 4, 1, 4);
        hybrid.cores[0].capacity = 256;
        hybrid.cores[1].capacity = 256;
        let parties = [sleeper("a", 60), sleeper("b", 60), sleeper("c", 20), sleeper("d", 60), spinner("e")];
        let seats = hybrid.place(&parties, &[], 100).unwrap();
        assert_eq!(processors(&seats), [Some(3), None, Some(3), None, Some(2)], "{seats:?}");
    }

    #[test]
    fn one_core_carries_what_it_can_and_the_scheduler_the_rest() {
        let parties = [sleeper("a", 40), sleeper("b", 40), sleeper("c", 40)];
        let seats = Topology::uniform(1, 1, 1).place(&parties, &[talk(1, 2, 9), talk(0, 1, 1)], 100).unwrap();
        assert_eq!(processors(&seats), [None, Some(0), Some(0)], "the pair that talks most stays together");
        assert!(
            seats[0].reason.contains("room for 40 % more under the limit of 100 %"),
            "{}",
            seats[0].reason
        );
        assert_eq!(Topology::uniform(1, 1, 1).place(&[], &[], 100), Ok(Vec::new()));
    }

    #[test]
    fn a_pin_holds_and_draws_its_peers() {
        let pinned = Party { pin: Some(12), ..sleeper("a", 30) };
        let seats = machine(2, 8, 1, 8).place(&[sleeper("b", 30), pinned], &[talk(0, 1, 1)], 100).unwrap();
        assert_eq!(processors(&seats), [Some(12), Some(12)]);
        assert_eq!(seats[0].numa_node, Some(1));
        assert_eq!(seats[1].reason, "the configuration pins it there");
    }

    #[test]
    fn a_pin_that_cannot_be_had_is_an_error_that_says_why() {
        let machine = Topology::uniform(1, 4, 1);
        let to = |processor, name: &str| Party { pin: Some(processor), ..sleeper(name, 60) };
        let error = machine.place(&[to(4, "a")], &[], 100).unwrap_err();
        assert!(error.to_string().ends_with("which this process cannot use: it has 0-3"), "{error}");
        let error = machine.place(&[to(1, "a"), to(1, "b")], &[], 100).unwrap_err();
        let overloaded = PlaceError::Overloaded { party: "b".into(), processor: 1, load: 60, room: 40 };
        assert_eq!(error, overloaded);
    }

    #[test]
    fn numbers_are_listed_as_the_kernel_does() {
        assert_eq!(listed(&[0, 1, 2, 5, 8, 9]), "0-2,5,8-9");
        assert_eq!(listed(&[]), "");
    }

    prop_compose! {
        fn questions()(
            nodes in 1..3usize, cores in 1..9usize, threads in 1..3usize, share in 1..9usize,
            small in prop::collection::vec(any::<bool>(), 16),
            wants in prop::collection::vec((1..100u32, any::<bool>(), prop::option::weighted(0.1, 0..36usize)), 0..14),
            words in prop::collection::vec((0..14usize, 0..14usize, 0..100u32), 0..30),
            limit in 1..101u32,
        ) -> (Topology, Vec<Party>, Vec<Talk>, u32) {
            let mut machine = machine(nodes, cores, threads, share);
            for (core, small) in machine.cores.iter_mut().zip(small) {
                core.capacity = if small { 400 } else { 1024 };
            }
            let parties: Vec<Party> = wants.into_iter().enumerate().map(|(n, (load, awake, pin))| Party {
                pin,
                ..party(&n.to_string(), load, if awake { Waits::Awake } else { Waits::Asleep })
            }).collect();
            let known = |talk: &Talk| talk.between.0.max(talk.between.1) < parties.len();
            let talks = words.into_iter().map(|(a, b, weight)| talk(a, b, weight)).filter(known).collect();
            (machine, parties, talks, limit)
        }
    }

    proptest! {
        #[test]
        fn no_processor_is_overloaded_and_nobody_would_sit_nearer((machine, parties, talks, limit) in questions()) {
            let seats = match machine.place(&parties, &talks, limit) {
                Ok(seats) => seats,
                Err(_) => {
                    prop_assert!(parties.iter().any(|party| party.pin.is_some()));
                    return Ok(());
                }
            };
            prop_assert_eq!(&machine.place(&parties, &talks, limit).unwrap(), &seats, "the same answer again");
            // Seated anew by what was answered: the sums would underflow if it did not fit.
            let mut hall = Hall::new(&machine, &parties, &talks, limit);
            for (who, seat) in seats.iter().enumerate() {
                prop_assert!(!seat.reason.is_empty());
                let Some(processor) = seat.processor else { continue };
                prop_assert!(parties[who].pin.is_none_or(|pin| pin == processor));
                let at = hall.slots.iter().position(|slot| slot.processor == processor).unwrap();
                prop_assert!(hall.slots[at].fits(&parties[who]), "{} overloads {}", who, processor);
                prop_assert_eq!(seat.numa_node, Some(machine.numa_nodes[hall.slots[at].numa_node].number));
                hall.sit(who, at);
            }
            for (who, party) in parties.iter().enumerate() {
                prop_assert!(party.pin.is_some() || !hall.moved(who), "{} would sit nearer, or at all", who);
            }
        }
    }
}
