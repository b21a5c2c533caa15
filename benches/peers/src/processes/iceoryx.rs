//! iceoryx2's publish-subscribe over byte slices: written into a loan, read in place; nothing is lost, for its publisher retries until delivered.
//! It has no batches: sixteen are sixteen sends. Where its receiver sleeps, an event service beside it wakes.

use super::asleep::{Ends, follows, leads};
use super::link::{self, InOrder, Link, Take};
use super::{Job, Meeting, Pair, Tally, UNDER_WAY, now};
use crate::measure::{Idle, Plan, Reading, Receiver, Sender, each};
use crate::subjects::{CAPACITY_BYTES, fill, touch};
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{
    BackpressureStrategy, LogLevel, Node, NodeBuilder, PortFactory as _, ServiceName, ipc, set_log_level,
};
use iceoryx2::service::port_factory::event::PortFactory as Events;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory as Messages;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The subject of this file.
#[derive(Clone, Copy)]
pub struct Iceoryx;

/// A node and what it opened; the node goes last.
struct Held {
    messages: Messages<ipc::Service, [u8], ()>,
    _node: Node<ipc::Service>,
}

impl Held {
    fn new(meeting: &Meeting, way: &str, size: usize, most: usize) -> Self {
        let node = node();
        let places = (CAPACITY_BYTES / size).clamp(UNDER_WAY, 1024);
        let messages = node
            .service_builder(&name(meeting, way))
            .publish_subscribe::<[u8]>()
            .enable_safe_overflow(false)
            .history_size(0)
            .subscriber_max_buffer_size(places)
            .max_publishers(most)
            .max_subscribers(most)
            .max_nodes(2 * most + 2)
            .open_or_create()
            .expect("a service of iceoryx2");
        Self { messages, _node: node }
    }
}

/// One of iceoryx2's own nodes. That it finds no configuration is no news.
fn node() -> Node<ipc::Service> {
    set_log_level(LogLevel::Error);
    NodeBuilder::new().create().expect("a node of iceoryx2")
}

/// A service of this meeting alone.
fn name(meeting: &Meeting, way: &str) -> ServiceName {
    let folder = meeting.folder.file_name().map(|name| name.to_string_lossy().into_owned());
    format!("{}/{way}", folder.unwrap_or_default()).as_str().try_into().expect("a good name")
}

/// The sending end.
pub struct Sending {
    publisher: Publisher<ipc::Service, [u8], ()>,
    size: usize,
    receivers: usize,
    _held: Held,
}

/// The receiving end.
pub struct Receiving {
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    senders: InOrder,
    _held: Held,
}

fn sending(meeting: &Meeting, way: &str, size: usize, (senders, receivers): (usize, usize)) -> Sending {
    let held = Held::new(meeting, way, size, senders.max(receivers));
    let publisher = held
        .messages
        .publisher_builder()
        .initial_max_slice_len(size)
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create()
        .expect("a publisher of iceoryx2");
    wait(|| held.messages.dynamic_config().number_of_subscribers() >= receivers);
    Sending { publisher, size, receivers, _held: held }
}

fn receiving(meeting: &Meeting, way: &str, size: usize, (senders, receivers): (usize, usize)) -> Receiving {
    let held = Held::new(meeting, way, size, senders.max(receivers));
    let subscriber = held.messages.subscriber_builder().create().expect("a subscriber of iceoryx2");
    wait(|| held.messages.dynamic_config().number_of_publishers() >= senders);
    // A look connects. Until then its publishers discard what finds the buffer full, whatever they were told.
    subscriber.has_samples().expect("connected");
    Receiving { subscriber, senders: InOrder::of(senders), _held: held }
}

fn wait(there: impl Fn() -> bool) {
    let mut idle = Idle::crowded();
    while !there() {
        idle.wait();
    }
}

/// Bytes that were written before, by whoever had the slot, or are zero.
fn bytes(place: &mut [MaybeUninit<u8>]) -> &mut [u8] {
    // SAFETY: shared memory is initialised, and bytes have no invalid values.
    unsafe { &mut *(std::ptr::from_mut(place) as *mut [u8]) }
}

impl Sending {
    #[inline(always)]
    fn post(&self, write: impl FnOnce(&mut [u8])) {
        let mut sample = self.publisher.loan_slice_uninit(self.size).expect("a loan");
        write(bytes(sample.payload_mut()));
        // SAFETY: written, or initialised as `bytes` says.
        let delivered = unsafe { sample.assume_init() }.send().expect("delivered");
        assert_eq!(delivered, self.receivers, "a message was discarded");
    }
}

impl Sender for Sending {
    #[inline(always)]
    fn send(&mut self, number: u64, count: usize) -> usize {
        (0..count as u64).for_each(|offset| self.post(|payload| fill(payload, number + offset)));
        count
    }
}

impl Take for Receiving {
    #[inline(always)]
    fn take(&mut self, count: usize, mut read: impl FnMut(&mut InOrder, &[u8], usize)) -> usize {
        for taken in 0..count {
            let Some(sample) = self.subscriber.receive().expect("connected") else { return taken };
            read(&mut self.senders, sample.payload(), taken);
        }
        count
    }
}

impl Link for Iceoryx {
    type Sender = Sending;
    type Receiver = Receiving;
    type Fan = Sending;
    type Gather = Receiving;

    fn name(&self) -> &'static str {
        "iceoryx2"
    }

    fn sender(&self, meeting: &Meeting, way: &str, size: usize) -> Sending {
        sending(meeting, way, size, (1, 1))
    }

    fn receiver(&self, meeting: &Meeting, way: &str, size: usize) -> Receiving {
        receiving(meeting, way, size, (1, 1))
    }

    fn fan(&self, meeting: &Meeting, way: &str, size: usize, receivers: usize) -> Sending {
        sending(meeting, way, size, (1, receivers))
    }

    fn gather(&self, meeting: &Meeting, way: &str, size: usize, senders: usize) -> Receiving {
        receiving(meeting, way, size, (senders, 1))
    }
}

/// An event service in one direction.
fn events(node: &Node<ipc::Service>, meeting: &Meeting, way: &str) -> Events<ipc::Service> {
    node.service_builder(&name(meeting, way)).event().open_or_create().expect("an event service")
}

/// Both directions of messages, and the events that wake.
struct Sleepers {
    sending: Sending,
    receiving: Receiving,
    notifier: Notifier<ipc::Service>,
    listener: Listener<ipc::Service>,
    _node: Node<ipc::Service>,
}

impl Sleepers {
    fn new(meeting: &Meeting, [to, from]: [&str; 2], size: usize) -> Self {
        let node = node();
        let rings = |way: &str| events(&node, meeting, &format!("{way}-event"));
        let listener = rings(from).listener_builder().create().expect("a listener");
        let heard = rings(to);
        wait(|| heard.dynamic_config().number_of_listeners() > 0);
        let notifier = heard.notifier_builder().create().expect("a notifier");
        let (sending, receiving) = match to {
            "there" => {
                let sending = sending(meeting, to, size, (1, 1));
                (sending, receiving(meeting, from, size, (1, 1)))
            }
            _ => {
                let receiving = receiving(meeting, from, size, (1, 1));
                (self::sending(meeting, to, size, (1, 1)), receiving)
            }
        };
        Self { sending, receiving, notifier, listener, _node: node }
    }
}

impl Ends for Sleepers {
    fn post(&mut self, number: u64) {
        self.sending.send(number, 1);
        self.notifier.notify().expect("a listener");
    }

    fn arrive(&mut self, number: u64) {
        while self.receiving.receive(number, 1) == 0 {
            self.listener.blocking_wait(|_| ()).expect("an event");
        }
    }
}

impl Pair for Iceoryx {
    fn name(&self) -> &'static str {
        Link::name(self)
    }

    fn measure(&self, meeting: &Meeting, job: Job, plan: &Plan) -> Reading {
        match job {
            Job::Asleep { size } => leads(Sleepers::new(meeting, ["there", "back"], size), meeting, plan),
            Job::Large { size, touch } => {
                let sending = sending(meeting, "there", size, (1, 1));
                long_ones(&sending, touch, meeting, plan)
            }
            _ => link::Over(*self).measure(meeting, job, plan),
        }
    }

    fn serve(&self, meeting: &Meeting, job: Job) {
        match job {
            Job::Asleep { size } => {
                follows(Sleepers::new(meeting, ["back", "there"], size), meeting);
            }
            Job::Large { size, touch } => {
                take_long_ones(&receiving(meeting, "there", size, (1, 1)), touch, meeting);
            }
            // One publisher and many subscribers are one service here, not one for each.
            Job::FanOut { size, receivers } => {
                let mut receiving = receiving(meeting, "there", size, (1, receivers));
                link::receive_all(&mut receiving, 16, Idle::crowded, meeting);
            }
            Job::FanIn { size, senders } => {
                link::send_for(&mut sending(meeting, "there", size, (senders, 1)), meeting);
            }
            _ => link::Over(*self).serve(meeting, job),
        }
    }
}

fn long_ones(sending: &Sending, touched: bool, meeting: &Meeting, plan: &Plan) -> Reading {
    meeting.page.gather(1);
    let back = meeting.page.word(Tally::Back);
    let post = |number: u64| {
        let mut idle = Idle::default();
        while number - back.load(Ordering::Acquire) >= UNDER_WAY as u64 {
            idle.wait();
        }
        sending.post(|payload| {
            payload[..8].copy_from_slice(&number.to_ne_bytes());
            if touched {
                payload[64..].iter_mut().step_by(64).for_each(|byte| *byte = number as u8);
            }
        });
    };
    let first = 2 * UNDER_WAY as u64;
    (0..first).for_each(post);
    let (clock, begun, mut sent) = (Instant::now(), now(), first);
    while clock.elapsed() < plan.slice || sent == first {
        post(sent);
        sent += 1;
    }
    meeting.page.word(Tally::Total).store(sent, Ordering::Release);
    let (received, ended) = meeting.page.finished(1);
    assert_eq!(received, [sent], "sent is not received");
    each(sent - first, ended - begun)
}

fn take_long_ones(receiving: &Receiving, touched: bool, meeting: &Meeting) {
    meeting.page.arrive();
    let (total, back) = (meeting.page.word(Tally::Total), meeting.page.word(Tally::Back));
    let (mut received, mut idle) = (0u64, Idle::default());
    while received < total.load(Ordering::Acquire) {
        let Some(sample) = receiving.subscriber.receive().expect("connected") else {
            idle.wait();
            continue;
        };
        assert_eq!(sample.payload()[..8], received.to_ne_bytes(), "another message than the next");
        if touched {
            touch(sample.payload(), 64);
        }
        drop(sample);
        received += 1;
        back.store(received, Ordering::Release);
        idle.reset();
    }
    meeting.page.finish(0, received);
}
