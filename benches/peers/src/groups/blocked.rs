//! Receivers that sleep, and are woken for every message; and what the doorbell costs when nobody sleeps. disruptor has no sleeper: its
//! poller spins.

use super::{Compare, Group, Subject};
use crate::machine::pin;
use crate::measure::{Plan, Reading, quantiles, round_trip, throughput};
#[cfg(feature = "queues")]
use crate::subjects::queues;
use crate::subjects::{channels, check, fill, message, synod};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread::Thread;
use std::time::Instant;
use synod_ring::spsc::Waiters;
use synod_ring::{Consumer, Producer, Waiter};

const SIZE: usize = 64;

/// Round trips asleep, and round trips and throughput awake with the doorbell in place.
pub fn groups() -> Vec<Group> {
    let group = |about, mode, unit, baseline, subjects| Group {
        name: "blocked",
        about,
        size: SIZE,
        mode,
        unit,
        compare: Compare::Ratio,
        baselines: vec![baseline],
        subjects,
    };
    vec![
        group(
            "there and back, both receivers asleep in between",
            "asleep",
            "ns",
            "std sync_channel",
            vec![
                Subject::new("synod ring, doorbell", |plan: &Plan| asleep(ring(), ring(), plan)),
                Subject::new("crossbeam, spins first", |plan: &Plan| asleep(crossbeam(), crossbeam(), plan)),
                Subject::new("std sync_channel", |plan: &Plan| asleep(std_sync(), std_sync(), plan)),
                #[cfg(feature = "queues")]
                Subject::new("kanal", |plan: &Plan| asleep(kanal(), kanal(), plan)),
                #[cfg(feature = "queues")]
                Subject::new("flume", |plan: &Plan| asleep(flume(), flume(), plan)),
                #[cfg(feature = "queues")]
                Subject::new("tokio mpsc", |plan: &Plan| asleep(tokio(), tokio(), plan)),
            ],
        ),
        group(
            "there and back, awake, with a doorbell that is never rung",
            "busy",
            "ns",
            "std sync_channel",
            vec![
                Subject::new("synod ring, doorbell", |plan: &Plan| round_trip(belled(), belled(), plan)),
                Subject::new("synod ring", |plan: &Plan| {
                    round_trip(synod::whole::<SIZE>(), synod::whole::<SIZE>(), plan)
                }),
                Subject::new("std sync_channel", |plan: &Plan| {
                    round_trip(channels::std_sync::<SIZE>(), channels::std_sync::<SIZE>(), plan)
                }),
            ],
        ),
        group(
            "one sender, one receiver awake, with a doorbell that is never rung",
            "batch 16",
            "M/s",
            "std sync_channel",
            vec![
                Subject::new("synod ring, doorbell", |plan: &Plan| throughput(belled(), 16, plan)),
                Subject::new("synod ring", |plan: &Plan| throughput(synod::whole::<SIZE>(), 16, plan)),
                Subject::new("std sync_channel", |plan: &Plan| {
                    throughput(channels::std_sync::<SIZE>(), 16, plan)
                }),
            ],
        ),
    ]
}

/// A thread that parks, known once it said who it is.
#[derive(Default)]
struct Parked(OnceLock<Thread>);

impl Waiter for Parked {
    fn wake(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }
}

fn belled() -> (synod::Whole<Producer, SIZE>, synod::Whole<Consumer, SIZE>) {
    let (producer, consumer) =
        synod::ends(Waiters { records: Some(Arc::new(Parked::default())), space: None });
    (synod::Whole(producer), synod::Whole(consumer))
}

/// One direction whose receiver sleeps until something comes.
struct Way {
    send: Box<dyn FnMut(u64) + Send>,
    receive: Box<dyn FnMut(u64) + Send>,
}

fn ring() -> Way {
    let parked = Arc::new(Parked::default());
    let (mut producer, mut consumer) = synod::ends(Waiters { records: Some(parked.clone()), space: None });
    Way {
        send: Box::new(move |number| {
            let mut claim = producer.claim(SIZE).expect("an empty ring is not full");
            fill(claim.payload(), number);
            claim.commit([0; 4]);
            producer.publish();
        }),
        receive: Box::new(move |number| {
            parked.0.get_or_init(std::thread::current);
            loop {
                if let Some(record) = consumer.peek().expect("the sender keeps the rules") {
                    check(record.payload(), number);
                    record.free();
                    return;
                }
                if consumer.fall_asleep().expect("the sender keeps the rules") {
                    std::thread::park();
                }
            }
        }),
    }
}

/// A bounded channel by value: how it sends, and how it sleeps until something comes.
fn channel<S: Send + 'static, R: Send + 'static>(
    (mut sender, mut receiver): (S, R),
    send: fn(&mut S, [u8; SIZE]),
    receive: fn(&mut R) -> [u8; SIZE],
) -> Way {
    Way {
        send: Box::new(move |number| send(&mut sender, message(number))),
        receive: Box::new(move |number| check(&receive(&mut receiver), number)),
    }
}

macro_rules! channel {
    ($of:path, $send:ident, $receive:ident) => {
        channel(
            $of(),
            |sender, message| sender.$send(message).expect("the receiver lives"),
            |receiver| receiver.$receive().expect("the sender lives"),
        )
    };
}

fn crossbeam() -> Way {
    channel!(channels::crossbeam, send, recv)
}

fn std_sync() -> Way {
    channel!(channels::std_sync, send, recv)
}

#[cfg(feature = "queues")]
fn kanal() -> Way {
    channel!(queues::kanal, send, recv)
}

#[cfg(feature = "queues")]
fn flume() -> Way {
    channel!(queues::flume, send, recv)
}

#[cfg(feature = "queues")]
fn tokio() -> Way {
    channel!(queues::tokio, blocking_send, blocking_recv)
}

/// The number of the message after which the other side stops: known to both before, as both sleep.
const TRIPS_AT_ONCE: u64 = 64;

fn asleep(there: Way, back: Way, plan: &Plan) -> Reading {
    let (mut there, mut back) = (there, back);
    let start = Barrier::new(2);
    let more = Barrier::new(2);
    let going = std::sync::atomic::AtomicBool::new(true);
    let mut samples = Vec::with_capacity(1 << 16);
    std::thread::scope(|scope| {
        let (mut arrive, mut answer) = (there.receive, back.send);
        let (start, more, going) = (&start, &more, &going);
        scope.spawn(move || {
            pin(plan.cores.receiver);
            start.wait();
            let mut number = 0;
            loop {
                more.wait();
                if !going.load(std::sync::atomic::Ordering::Acquire) {
                    return;
                }
                for _ in 0..TRIPS_AT_ONCE {
                    arrive(number);
                    answer(number);
                    number += 1;
                }
            }
        });
        pin(plan.cores.sender);
        start.wait();
        let begun = Instant::now();
        let mut number = 0;
        loop {
            let go = begun.elapsed() < plan.slice || samples.is_empty();
            going.store(go, std::sync::atomic::Ordering::Release);
            more.wait();
            if !go {
                return;
            }
            for _ in 0..TRIPS_AT_ONCE {
                let sent = Instant::now();
                (there.send)(number);
                (back.receive)(number);
                samples.push(sent.elapsed().as_nanos().min(u128::from(u32::MAX)) as u32);
                number += 1;
            }
        }
    });
    quantiles(samples)
}
