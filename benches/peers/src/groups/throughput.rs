//! One thread sends as fast as it can, another receives: messages a second, singly and in batches of sixteen.

use super::{Compare, Group, Subject};
use crate::measure::{Plan, throughput};
use crate::subjects::{channels, rtrb, synod};

/// For each size: a message at a time, and sixteen.
pub fn groups() -> Vec<Group> {
    vec![of::<64>(1), of::<64>(16), of::<1024>(1), of::<1024>(16)]
}

fn of<const N: usize>(batch: usize) -> Group {
    let mut subjects =
        vec![Subject::new("synod ring", move |plan: &Plan| throughput(synod::whole::<N>(), batch, plan))];
    subjects.push(Subject::new("synod ring, header apart", move |plan: &Plan| {
        throughput(synod::apart::<N>(), batch, plan)
    }));
    subjects.push(Subject::new("rtrb", move |plan: &Plan| throughput(rtrb::single::<N>(), batch, plan)));
    if batch > 1 {
        subjects.push(Subject::new("rtrb chunks", move |plan: &Plan| {
            throughput(rtrb::chunk::<N>(), batch, plan)
        }));
    }
    subjects.push(Subject::new("crossbeam", move |plan: &Plan| {
        throughput(channels::crossbeam::<N>(), batch, plan)
    }));
    subjects.push(Subject::new("std sync_channel", move |plan: &Plan| {
        throughput(channels::std_sync::<N>(), batch, plan)
    }));
    #[cfg(feature = "queues")]
    {
        use crate::subjects::queues;
        subjects.push(Subject::new("disruptor", move |plan: &Plan| {
            throughput(queues::disruptor::<N>(), batch, plan)
        }));
        subjects
            .push(Subject::new("kanal", move |plan: &Plan| throughput(queues::kanal::<N>(), batch, plan)));
        subjects
            .push(Subject::new("flume", move |plan: &Plan| throughput(queues::flume::<N>(), batch, plan)));
        subjects.push(Subject::new("tokio mpsc", move |plan: &Plan| {
            throughput(queues::tokio::<N>(), batch, plan)
        }));
    }
    let single = if batch == 1 { "rtrb" } else { "rtrb chunks" };
    Group {
        name: "throughput",
        about: "one sender, one receiver, two cores",
        size: N,
        mode: if batch == 1 { "batch 1" } else { "batch 16" },
        unit: "M/s",
        compare: Compare::Ratio,
        baselines: vec![single, "disruptor"],
        subjects,
    }
}
