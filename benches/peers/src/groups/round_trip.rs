//! One message to another core and back, both sides watching; beside it the cache line alone.

use super::{Compare, Group, Subject, floor};
use crate::measure::{Plan, round_trip};
use crate::subjects::{channels, rtrb, synod};

/// For each size.
pub fn groups() -> Vec<Group> {
    vec![of::<64>(), of::<1024>()]
}

fn of<const N: usize>() -> Group {
    #[cfg_attr(not(feature = "queues"), expect(unused_mut, reason = "there is nobody to add"))]
    let mut subjects = vec![
        Subject::new("cache line", floor::cache_line),
        Subject::new("synod ring", |plan: &Plan| round_trip(synod::whole::<N>(), synod::whole::<N>(), plan)),
        Subject::new("synod ring, header apart", |plan: &Plan| {
            round_trip(synod::apart::<N>(), synod::apart::<N>(), plan)
        }),
        Subject::new("rtrb", |plan: &Plan| round_trip(rtrb::single::<N>(), rtrb::single::<N>(), plan)),
        Subject::new("crossbeam", |plan: &Plan| {
            round_trip(channels::crossbeam::<N>(), channels::crossbeam::<N>(), plan)
        }),
        Subject::new("std sync_channel", |plan: &Plan| {
            round_trip(channels::std_sync::<N>(), channels::std_sync::<N>(), plan)
        }),
    ];
    #[cfg(feature = "queues")]
    {
        use crate::subjects::queues;
        subjects.push(Subject::new("disruptor", |plan: &Plan| {
            round_trip(queues::disruptor::<N>(), queues::disruptor::<N>(), plan)
        }));
        subjects.push(Subject::new("kanal", |plan: &Plan| {
            round_trip(queues::kanal::<N>(), queues::kanal::<N>(), plan)
        }));
        subjects.push(Subject::new("flume", |plan: &Plan| {
            round_trip(queues::flume::<N>(), queues::flume::<N>(), plan)
        }));
        subjects.push(Subject::new("tokio mpsc", |plan: &Plan| {
            round_trip(queues::tokio::<N>(), queues::tokio::<N>(), plan)
        }));
    }
    Group {
        name: "round-trip",
        about: "there and back between two cores, both sides watching",
        size: N,
        mode: "busy",
        unit: "ns",
        compare: Compare::Ratio,
        baselines: vec!["rtrb", "disruptor"],
        subjects,
    }
}
