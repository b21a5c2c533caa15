//! One message to another core and back, both sides watching; beside it the cache line alone.

use super::{Compare, Group, Subject, floor};
use crate::measure::{Plan, round_trip};
use crate::subjects::{channels, rtrb, synod};

/// For each size.
pub fn groups() -> Vec<Group> {
    vec![of::<64>(), of::<1024>()]
}

fn of<const N: usize>() -> Group {
    Group {
        name: "round-trip",
        about: "there and back between two cores, both sides watching",
        size: N,
        mode: "busy",
        unit: "ns",
        compare: Compare::Ratio,
        baseline: Some("rtrb"),
        subjects: vec![
            Subject::new("cache line", floor::cache_line),
            Subject::new("synod ring", |plan: &Plan| {
                round_trip(synod::whole::<N>(), synod::whole::<N>(), plan)
            }),
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
        ],
    }
}
