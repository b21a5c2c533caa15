//! Our ring between two processes: each side writes a sealed region of its own and maps the other's for reading alone, as two attached
//! processes do; what comes is copied out, for its sender may still change it.

use super::asleep;
use super::link::{AnyOf, Gather, Link, Many, first_of, nth};
use super::{Job, Meeting, Pair};
use crate::measure::{Plan, Reading, Receiver, Sender};
use crate::subjects::synod::{HEADER, TAG, full, send};
use crate::subjects::{CAPACITY_BYTES, check, fill, pattern, touch};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use synod_platform::local::{self, Access, Channel, Listener};
use synod_platform::memory::{self, Bell, ForeignRegion, Handle, SharedRegion};
use synod_platform::{task, time};
use synod_ring::layout::{RECEIVER_LEN, sender_len};
use synod_ring::mailbox::control_len;
use synod_ring::spsc::ForeignConsumer;
use synod_ring::{Class, Delivery, Flow, ForeignRecord, Hardware, Mailbox, Producer, Waiter};

fn socket(meeting: &Meeting, way: &str) -> PathBuf {
    meeting.folder.join(way)
}

async fn accepted(meeting: &Meeting, way: &str) -> Channel {
    let mut listener = Listener::bind(&socket(meeting, way), Access::Owner).await.expect("a fresh socket");
    listener.accept().await.expect("the other process")
}

async fn connected(meeting: &Meeting, way: &str) -> Channel {
    loop {
        match local::connect(&socket(meeting, way)).await {
            Ok(channel) => return channel,
            // Not yet there: the run's watch over its children ends what never comes.
            Err(_) => time::sleep(Duration::from_micros(200)).await,
        }
    }
}

/// Gives the other side handles, and takes its.
async fn swapped(channel: Channel, handles: Vec<Handle>) -> Vec<Handle> {
    let (mut sender, mut receiver) = channel.split();
    sender.send(b"mine", handles).await.expect("the other process lives");
    let (_, handles) = receiver.recv().await.expect("a whole frame").expect("the other process lives");
    handles
}

fn opened(handle: Handle, len: usize) -> Hardware {
    let region: ForeignRegion = memory::open(handle, len).expect("sealed memory of that length");
    Hardware::new(region)
}

fn region(len: usize) -> SharedRegion {
    memory::shared(len).expect("memory to share")
}

fn of(region: &SharedRegion) -> Handle {
    region.handle().expect("a descriptor")
}

/// Never rung: nobody sleeps.
struct Silent;

impl Waiter for Silent {
    fn wake(&self) {
        panic!("the bell of somebody who never sleeps");
    }
}

/// The common capacity, or what takes eight messages.
fn capacity(size: usize) -> usize {
    CAPACITY_BYTES.max((8 * size).next_power_of_two())
}

fn producer(meeting: &Meeting, way: &str, size: usize) -> Producer {
    let own = region(sender_len(capacity(size)));
    let handles = task::block_on(async { swapped(accepted(meeting, way).await, vec![of(&own)]).await });
    let [peer] = <[Handle; 1]>::try_from(handles).expect("one region");
    Producer::over(Hardware::new(own), opened(peer, RECEIVER_LEN), None).expect("regions of a ring")
}

fn consumer(meeting: &Meeting, way: &str, size: usize) -> ForeignConsumer {
    let own = region(RECEIVER_LEN);
    let handles = task::block_on(async { swapped(connected(meeting, way).await, vec![of(&own)]).await });
    let [peer] = <[Handle; 1]>::try_from(handles).expect("one region");
    ForeignConsumer::over(Hardware::new(own), opened(peer, sender_len(capacity(size))), None)
        .expect("regions of a ring")
        .paced()
}

/// The sending end: how many bytes of a message are payload, and whether the ring's own sequence is its number.
///
/// The length of a short message is known when this is compiled, as it is of the peers' typed ones: to call for the copy of 48 bytes
/// takes longer than the ring does.
pub struct Sending {
    producer: Producer,
    payload: usize,
    numbered: bool,
}

/// Bytes of the short messages.
const SHORT: usize = 64;
/// Their payload, if the header counts.
const WITH_HEADER: usize = SHORT - HEADER;

impl Sending {
    #[inline(always)]
    fn send_all(&mut self, number: u64, count: usize, len: usize, numbered: bool) -> usize {
        send(&mut self.producer, count, len, |payload, offset| match numbered {
            true => pattern(&mut payload[..len]),
            false => fill(&mut payload[..len], number + offset),
        })
    }
}

impl Sender for Sending {
    #[inline(always)]
    fn send(&mut self, number: u64, count: usize) -> usize {
        match (self.payload, self.numbered) {
            (WITH_HEADER, true) => self.send_all(number, count, WITH_HEADER, true),
            (SHORT, false) => self.send_all(number, count, SHORT, false),
            (payload, numbered) => self.send_all(number, count, payload, numbered),
        }
    }
}

/// Copies a record out and reads the copy, which must have that number.
#[inline(always)]
fn read(record: &ForeignRecord<'_>, copy: &mut [u8], number: u64, numbered: bool) {
    record.copy_into(copy);
    if numbered {
        assert!(record.sequence() == number, "another message than the next");
        touch(copy, 64 - HEADER);
    } else {
        check(copy, number);
    }
}

/// The receiving end.
pub struct Receiving {
    consumer: ForeignConsumer,
    copy: Vec<u8>,
    numbered: bool,
}

impl Receiver for Receiving {
    #[inline(always)]
    fn receive(&mut self, number: u64, count: usize) -> usize {
        for received in 0..count {
            let Some(peeked) = self.consumer.peek().expect("the sender keeps the rules") else {
                return received;
            };
            read(&peeked.record(), &mut self.copy, number + received as u64, self.numbered);
            peeked.free();
        }
        count
    }
}

macro_rules! ring {
    ($(#[$doc:meta])* $name:ident, $title:literal, $header:expr, $numbered:literal) => {
        $(#[$doc])*
        pub struct $name;

        impl Link for $name {
            type Sender = Sending;
            type Receiver = Receiving;
            type Fan = Many<Sending>;
            type Gather = AnyOf<Receiving>;

            fn name(&self) -> &'static str {
                $title
            }

            fn sender(&self, meeting: &Meeting, way: &str, size: usize) -> Sending {
                Sending { producer: producer(meeting, way, size), payload: size - $header, numbered: $numbered }
            }

            fn receiver(&self, meeting: &Meeting, way: &str, size: usize) -> Receiving {
                let copy = vec![0; size - $header];
                Receiving { consumer: consumer(meeting, way, size), copy, numbered: $numbered }
            }

            fn fan(&self, meeting: &Meeting, way: &str, size: usize, receivers: usize) -> Many<Sending> {
                Many::new((0..receivers).map(|number| self.sender(meeting, &nth(way, number), size)))
            }

            fn gather(&self, meeting: &Meeting, way: &str, size: usize, senders: usize) -> AnyOf<Receiving> {
                AnyOf::new((0..senders).map(|number| self.receiver(meeting, &nth(way, number), size)))
            }
        }
    };
}

ring!(
    /// A ring whose N-byte messages include its header.
    Whole, "synod ring", HEADER, true
);
ring!(
    /// A ring whose N-byte messages are payload, with the header on top.
    Apart, "synod ring, header apart", 0, false
);

/// A ring into a mailbox with its doorbell in place, as the fabric has it; N bytes of payload.
pub struct IntoMailbox;

/// The receiving end, over one lane or several.
pub struct Mailed {
    mailbox: Mailbox,
    copy: Vec<u8>,
    /// Numbers that come next, by lane.
    next: Vec<u64>,
}

impl Mailed {
    fn new(meeting: &Meeting, ways: &[String], size: usize) -> Self {
        let control = region(control_len(1, ways.len().max(1)));
        let page = control.handle().expect("a descriptor");
        let mut mailbox =
            Mailbox::new(Hardware::new(control), 1, ways.len(), Arc::new(Silent)).expect("a small mailbox");
        for way in ways {
            let own = region(RECEIVER_LEN);
            let handles = vec![of(&own), page.try_clone().expect("a descriptor")];
            let handles = task::block_on(async { swapped(connected(meeting, way).await, handles).await });
            let [peer] = <[Handle; 1]>::try_from(handles).expect("one region");
            let peer = opened(peer, sender_len(capacity(size)));
            mailbox.admit_foreign(Class(0), Hardware::new(own), peer, None).expect("a place");
        }
        Self { mailbox, copy: vec![0; size], next: (0..ways.len()).map(first_of).collect() }
    }

    fn drain(&mut self, budget: usize) -> usize {
        let Self { mailbox, copy, next } = self;
        let drained = mailbox.drain(budget, |lane, delivery| {
            // A lane that its sender ends says so; what came before was handed out.
            if let Delivery::Foreign(record) = delivery {
                let number = &mut next[usize::from(lane.place)];
                read(&record, copy, *number, false);
                *number += 1;
            }
            Flow::Next
        });
        drained.records
    }
}

impl Receiver for Mailed {
    fn receive(&mut self, number: u64, count: usize) -> usize {
        self.next[0] = number;
        self.drain(count)
    }
}

impl Gather for Mailed {
    fn gather(&mut self) -> usize {
        self.drain(64)
    }
}

impl Link for IntoMailbox {
    type Sender = Sending;
    type Receiver = Mailed;
    type Fan = Many<Sending>;
    type Gather = Mailed;

    fn name(&self) -> &'static str {
        "synod ring into mailbox"
    }

    fn sender(&self, meeting: &Meeting, way: &str, size: usize) -> Sending {
        let own = region(sender_len(capacity(size)));
        let handles = task::block_on(async { swapped(accepted(meeting, way).await, vec![of(&own)]).await });
        let [peer, control] = <[Handle; 2]>::try_from(handles).expect("a region and a control page");
        let control = opened(control, control_len(1, 1));
        let producer =
            Producer::into_mailbox(Hardware::new(own), opened(peer, RECEIVER_LEN), control, Arc::new(Silent));
        Sending { producer: producer.expect("regions of a ring"), payload: size, numbered: false }
    }

    fn receiver(&self, meeting: &Meeting, way: &str, size: usize) -> Mailed {
        Mailed::new(meeting, &[way.to_owned()], size)
    }

    fn fan(&self, meeting: &Meeting, way: &str, size: usize, receivers: usize) -> Many<Sending> {
        Many::new((0..receivers).map(|number| self.sender(meeting, &nth(way, number), size)))
    }

    fn gather(&self, meeting: &Meeting, way: &str, size: usize, senders: usize) -> Mailed {
        let ways: Vec<String> = (0..senders).map(|number| nth(way, number)).collect();
        Mailed::new(meeting, &ways, size)
    }
}

/// A ring with the doorbell that attached processes have; both sides sleep.
pub struct Belled;

impl Pair for Belled {
    fn name(&self) -> &'static str {
        "synod ring, doorbell"
    }

    fn measure(&self, meeting: &Meeting, job: Job, plan: &Plan) -> Reading {
        task::block_on(async {
            let mut ends = BelledEnds::new(accepted(meeting, "both").await, job).await;
            let mut posted = ends.producer;
            asleep::lead(
                meeting,
                plan,
                async |number| post(&mut posted, ends.size, number),
                async |number| {
                    ends.receiving.take(number).await;
                },
            )
            .await
        })
    }

    fn serve(&self, meeting: &Meeting, job: Job) {
        task::block_on(async {
            let mut ends = BelledEnds::new(connected(meeting, "both").await, job).await;
            let mut posted = ends.producer;
            asleep::follow(
                meeting,
                async |number| ends.receiving.take(number).await,
                async |number| post(&mut posted, ends.size, number),
            )
            .await;
        });
    }
}

fn post(producer: &mut Producer, size: usize, number: u64) {
    let mut claim = match producer.claim(size) {
        Ok(claim) => claim,
        Err(refused) => {
            full(refused);
            panic!("an empty ring is not full");
        }
    };
    fill(claim.payload(), number);
    claim.commit(TAG);
    producer.publish();
}

struct BelledEnds {
    producer: Producer,
    receiving: BelledReceiving,
    size: usize,
}

struct BelledReceiving {
    consumer: ForeignConsumer,
    bell: Bell,
    copy: Vec<u8>,
}

impl BelledReceiving {
    async fn take(&mut self, number: u64) {
        loop {
            if let Some(peeked) = self.consumer.peek().expect("the sender keeps the rules") {
                read(&peeked.record(), &mut self.copy, number, false);
                peeked.free();
                return;
            }
            if self.consumer.fall_asleep().expect("the sender keeps the rules") {
                self.bell.rung().await;
            }
        }
    }
}

impl BelledEnds {
    /// Both rings, and the bell of the receiving end here.
    async fn new(channel: Channel, job: Job) -> Self {
        let Job::Asleep { size } = job else { unreachable!("no group asks a doorbell for {job:?}") };
        let (sends, receives) = (region(sender_len(capacity(size))), region(RECEIVER_LEN));
        let bell = Bell::new().expect("a bell");
        let handles = vec![of(&sends), of(&receives), bell.handle().expect("a bell's other end")];
        let handles = swapped(channel, handles).await;
        let [theirs, head, rings] = <[Handle; 3]>::try_from(handles).expect("two regions and a bell");
        let ringer: Arc<dyn Waiter> = Arc::new(memory::ringer(rings).expect("a bell"));
        let head = opened(head, RECEIVER_LEN);
        let producer = Producer::over(Hardware::new(sends), head, Some(ringer)).expect("regions of a ring");
        let theirs = opened(theirs, sender_len(capacity(size)));
        let consumer =
            ForeignConsumer::over(Hardware::new(receives), theirs, None).expect("regions of a ring");
        Self { producer, receiving: BelledReceiving { consumer, bell, copy: vec![0; size] }, size }
    }
}
