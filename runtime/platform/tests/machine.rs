//! Conformance of `machine` and `topology`: what holds for any machine; then what the real arm can be held to.

use std::collections::BTreeSet;

use synod_platform::topology::{Party, Topology, Waits};
use synod_platform::{machine, testing};

#[test]
fn a_topology_is_consistent_with_itself() {
    testing::run(1, || async {
        let found = Topology::detect().unwrap();
        let all: BTreeSet<_> = found.cores.iter().flat_map(|core| core.processors.iter().copied()).collect();
        assert!(!all.is_empty());
        assert_eq!(all.len(), found.processors(), "no processor is in two cores");
        for core in &found.cores {
            let node = &found.numa_nodes[core.numa_node];
            assert!(core.processors.iter().all(|processor| node.processors.contains(processor)));
        }
        for cache in &found.caches {
            assert!(cache.level >= 1 && !cache.processors.is_empty());
        }
        let one = |n: usize| Party { name: n.to_string(), load: 100, waits: Waits::Awake, pin: None };
        let parties: Vec<Party> = (0..all.len()).map(one).collect();
        let seats = found.place(&parties, &[], 100).unwrap();
        let placed: BTreeSet<_> = seats.iter().filter_map(|seat| seat.processor).collect();
        assert_eq!(placed, all, "there is a processor for each");
    });
}

#[test]
fn a_machine_tells_what_it_is() {
    testing::run(2, || async {
        let machine = machine::look();
        assert!(machine.processors >= 1 && !machine.kernel.is_empty() && !machine.architecture.is_empty());
        for limit in [machine.open_files, machine.locked_memory] {
            if let (Some(soft), Some(hard)) = (limit.soft, limit.hard) {
                assert!(soft <= hard);
            }
        }
    });
}

#[test]
fn what_the_kernel_offers_for_transports_is_told_or_why_it_offers_nothing() {
    testing::run(4, || async {
        match machine::io_uring() {
            Ok(operations) => assert!(operations.iter().any(|(name, there)| *name == "read" && *there)),
            Err(why) => assert!(why.contains("io_uring"), "{why}"),
        }
        if let Err(why) = machine::futex() {
            assert!(!why.is_empty());
        }
    });
}

#[cfg(not(madsim))]
mod real {
    use super::*;
    use synod_platform::process::{self, Tool};
    use synod_platform::task::{self, Context};
    use synod_platform::topology::Talk;

    #[test]
    fn a_described_machine_is_read_as_described() {
        let found = Topology::synthetic("NUMANode:2 Core:8 PU:1").unwrap();
        assert_eq!(Topology { caches: Vec::new(), ..found }, Topology::uniform(2, 8, 1));
        let found = Topology::synthetic("NUMANode:1 L3Cache:1(size=8388608) Core:2 PU:2").unwrap();
        let shared: Vec<_> = found.caches.iter().filter(|cache| cache.level == 3).collect();
        assert_eq!(shared.len(), 1);
        assert_eq!((shared[0].size, &shared[0].processors[..]), (Some(8 << 20), &[0, 1, 2, 3][..]));
        assert_eq!(found.cores.len(), 2);
    }

    #[test]
    fn contexts_that_talk_stay_behind_one_cache_of_a_described_machine() {
        let machine = Topology::synthetic("NUMANode:2 L3Cache:2 Core:4 PU:2").unwrap();
        let party = |n: usize| Party { name: n.to_string(), load: 100, waits: Waits::Awake, pin: None };
        let parties: Vec<Party> = (0..8).map(party).collect();
        // Two rings of four: each fits behind one cache on cores of its own.
        let talks: Vec<Talk> =
            (0..8).map(|n| Talk { between: (n, n / 4 * 4 + (n + 1) % 4), weight: 100 - n as u32 }).collect();
        let seats = machine.place(&parties, &talks, 100).unwrap();
        let core = |n: usize| seats[n].processor.unwrap() / 2;
        let cores: BTreeSet<_> = (0..8).map(core).collect();
        assert_eq!(cores.len(), 8, "nobody shares a core: {seats:?}");
        for n in 0..8 {
            assert_eq!(core(n) / 4, core(n / 4 * 4) / 4, "one cache: {seats:?}");
        }
        assert_ne!(seats[0].numa_node, seats[4].numa_node, "strangers do not crowd one node");
    }

    #[test]
    fn a_description_that_is_none_is_an_error() {
        let error = Topology::synthetic("three cows").unwrap_err();
        assert!(error.to_string().starts_with("cannot find the machine's topology"), "{error}");
    }

    #[test]
    fn a_context_is_where_its_seat_says_and_the_kernel_agrees() {
        testing::run(3, || async {
            let machine = Topology::detect().unwrap();
            let last = machine.cores.iter().flat_map(|core| core.processors.clone()).max();
            let pinned = Party { name: "a".into(), load: 50, waits: Waits::Asleep, pin: last };
            let seat = machine.place(&[pinned], &[], 100).unwrap().remove(0);
            let look = || async {
                let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
                let listed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
                (Topology::allowed().unwrap(), listed.trim().to_owned())
            };
            let (allowed, listed) =
                Context::start("seated", seat.processor, look).unwrap().join().await.unwrap();
            assert_eq!(allowed, [last.unwrap()]);
            assert_eq!(listed, last.unwrap().to_string());
            let free = Context::start("free", None, look).unwrap().join().await.unwrap();
            assert_eq!(free.0, Topology::allowed().unwrap(), "who has no seat may run anywhere");
        });
    }

    #[test]
    fn a_pinned_context_is_next_to_the_memory_that_hwloc_says() {
        testing::run(6, || async {
            let machine = Topology::detect().unwrap();
            for node in &machine.numa_nodes {
                let look = || async { Topology::own_numa_node() };
                let seat = node.processors.first().copied();
                let told = Context::start("near", seat, look).unwrap().join().await.unwrap();
                // A kernel built for machines of one node has no numbers to tell.
                assert!(
                    told == Some(node.number) || told.is_none() && machine.numa_nodes.len() == 1,
                    "{told:?}"
                );
            }
        });
    }

    #[test]
    fn what_a_pinned_context_starts_is_not_pinned_with_it() {
        testing::run(5, || async {
            let everywhere = Topology::allowed().unwrap();
            let last = *everywhere.last().unwrap();
            let look = || async {
                let blocking = task::blocking(Topology::allowed).await.unwrap().unwrap();
                let cat = Tool::new(process::which("cat").unwrap()).arg("/proc/self/status");
                let status = cat.run().await.unwrap().stdout;
                let status = String::from_utf8(status).unwrap();
                let listed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
                let beside = Context::start("beside", None, || async { Topology::allowed().unwrap() });
                let beside = beside.unwrap().join().await.unwrap();
                (blocking, listed.trim().to_owned(), beside, Topology::allowed().unwrap())
            };
            let pinned = Context::start("pinned", Some(last), look).unwrap().join().await.unwrap();
            let free = Context::start("free", None, look).unwrap().join().await.unwrap();
            assert_eq!(pinned.0, everywhere, "blocking work");
            assert_eq!(pinned.1, free.1, "a tool");
            assert_eq!(pinned.2, everywhere, "another context");
            assert_eq!(pinned.3, [last], "itself it stays where it was put");
        });
    }

    #[test]
    fn the_kernel_is_the_one_that_runs() {
        let machine = machine::look();
        assert!(machine.kernel.starts_with("Linux "), "{}", machine.kernel);
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert!(machine.kernel.ends_with(release.trim()));
        assert!(machine.memory_kib.unwrap() > 1 << 10);
        assert!(machine.open_files.soft.is_none_or(|files| files > 0));
    }
}
