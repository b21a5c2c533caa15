//! What the fabric adds to the ring: a publish to one subscriber of the same context beside a claim and a publish.
//!
//! Only the sending is timed, in bursts; what was sent is taken out in between, untimed, counted and checked.

use super::{Compare, Group, Subject};
use crate::machine::pin;
use crate::measure::{Plan, Reading, Receiver, Sender, burst};
use crate::subjects::{apart, check, message};
use synod_fabric::{Fabric, FabricConfig, Priority};
use synod_platform::task;

const RING: &str = "synod ring, claim and publish";

/// For each size.
pub fn groups() -> Vec<Group> {
    vec![of::<48>(), of::<256>(), of::<1024>()]
}

fn of<const N: usize>() -> Group {
    Group {
        name: "fabric",
        about: "sending alone, to one subscriber of the same context",
        size: N,
        mode: "same thread",
        unit: "ns",
        compare: Compare::Difference,
        baselines: vec![RING],
        subjects: vec![
            Subject::new(RING, ring::<N>),
            Subject::new("synod fabric, publish", |plan: &Plan| {
                pin(plan.cores.sender);
                task::block_on(fabric::<N>(*plan))
            }),
        ],
    }
}

/// Sends between two drains.
const BURST: usize = 32;

fn ring<const N: usize>(plan: &Plan) -> Reading {
    pin(plan.cores.sender);
    let (mut sender, mut receiver) = apart::<N>();
    let (mut sent, mut received) = (0, 0);
    burst(plan, BURST, |timed| {
        let took = timed(&mut || {
            for _ in 0..BURST {
                assert_eq!(sender.send(sent, 1), 1, "drained each time");
                sent += 1;
            }
        });
        assert_eq!(receiver.receive(received, BURST), BURST, "sent is not received");
        received += BURST as u64;
        took
    })
}

async fn fabric<const N: usize>(plan: Plan) -> Reading {
    let context = Fabric::new(FabricConfig::named("peers")).enter("main").expect("a new fabric");
    let reader = context.agent("reader").expect("a free name");
    let mut events = reader.subscribe("peers.event", BURST).await.expect("a good subject");
    let writer = context.agent("writer").expect("a free name");
    let publisher = writer.publisher("peers.event").expect("a good subject");
    let (mut sent, mut received) = (0, 0);
    burst(&plan, BURST, |timed| {
        let took = timed(&mut || {
            for _ in 0..BURST {
                let receipt =
                    publisher.publish(Priority::Normal, &message::<N>(sent)).expect("there is room");
                assert_eq!(receipt.accepted_count(), 1, "one subscriber");
                sent += 1;
            }
        });
        for _ in 0..BURST {
            check(events.try_recv().expect("it was accepted").payload(), received);
            received += 1;
        }
        took
    })
}
