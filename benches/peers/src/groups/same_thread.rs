//! One message in and out again on one thread: what the instructions cost when no line moves between cores.

use super::{Compare, Group, Subject};
use crate::measure::{Plan, Reading, Receiver, Sender, alone};
use crate::subjects::{channels, rtrb, synod};

/// For each size: a message at a time, and sixteen.
pub fn groups() -> Vec<Group> {
    let mut groups = Vec::new();
    groups.extend([of::<64>(1), of::<64>(16), of::<1024>(1), of::<1024>(16)]);
    groups
}

fn of<const N: usize>(batch: usize) -> Group {
    let mut subjects = vec![
        Subject::new("synod ring", move |plan: &Plan| cost(synod::whole::<N>(), batch, plan)),
        Subject::new("synod ring, header apart", move |plan: &Plan| cost(synod::apart::<N>(), batch, plan)),
        Subject::new("rtrb", move |plan: &Plan| cost(rtrb::single::<N>(), batch, plan)),
    ];
    if batch > 1 {
        subjects.push(Subject::new("rtrb chunks", move |plan: &Plan| cost(rtrb::chunk::<N>(), batch, plan)));
    }
    subjects
        .push(Subject::new("crossbeam", move |plan: &Plan| cost(channels::crossbeam::<N>(), batch, plan)));
    subjects.push(Subject::new("std sync_channel", move |plan: &Plan| {
        cost(channels::std_sync::<N>(), batch, plan)
    }));
    Group {
        name: "same-thread",
        about: "a message sent and received by one thread",
        size: N,
        mode: if batch == 1 { "batch 1" } else { "batch 16" },
        unit: "ns",
        compare: Compare::Ratio,
        baselines: vec![if batch == 1 { "rtrb" } else { "rtrb chunks" }],
        subjects,
    }
}

fn cost<S: Sender, R: Receiver>((mut sender, mut receiver): (S, R), batch: usize, plan: &Plan) -> Reading {
    let mut number = 0;
    alone(plan, batch as u64, || {
        let sent = sender.send(number, batch);
        let received = receiver.receive(number, batch);
        assert!(sent == batch && received == batch, "an empty queue takes a batch and gives it back");
        number += batch as u64;
    })
}
