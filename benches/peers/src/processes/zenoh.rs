//! zenoh: peers over a Unix socket, and from 1 KiB on a payload lies in zenoh's shared memory, as it is slower there below. Its publishers wait for
//! room, so nothing is dropped. Each process has threads of zenoh's on the same core: so whoever waits sleeps.

use super::asleep::{Ends, follows, leads};
use super::link::{self, InOrder, Take};
use super::{Job, Meeting, Pair, Tally};
use crate::measure::{Idle, Plan, Reading, Receiver, Sender};
use crate::subjects::fill;
use std::sync::atomic::Ordering;
use std::time::Duration;
use zenoh::handlers::{FifoChannel, FifoChannelHandler};
use zenoh::pubsub::{Publisher, Subscriber};
use zenoh::qos::CongestionControl;
use zenoh::sample::Sample;
use zenoh::shm::{BlockOn, GarbageCollect, PosixShmProviderBackend, ShmProvider, ShmProviderBuilder};
use zenoh::{Config, Session, Wait};

/// The subject of this file.
pub struct Zenoh;

/// The shortest payload in shared memory.
const SHARED: usize = 1024;

/// Bytes of a sender's shared memory, and places of a receiver.
const MEMORY: usize = 32 << 20;
const PLACES: usize = 1024;

/// How long who waits sleeps before it looks whether that was all.
const LOOK: Duration = Duration::from_millis(1);

/// What a subscriber hears first, so that the publisher knows it.
const WARM: &[u8] = b"warm";

/// Opens a session; the parent listens.
fn session(meeting: &Meeting, listens: bool) -> Session {
    let socket = meeting.folder.join("zenoh");
    while !listens && !socket.exists() {
        std::thread::sleep(LOOK);
    }
    let place = format!("[\"unixsock-stream/{}\"]", socket.display());
    let mut config = Config::default();
    let told = [
        ("mode", "\"peer\""),
        ("scouting/multicast/enabled", "false"),
        ("scouting/gossip/enabled", "false"),
        ("transport/shared_memory/mode", "\"init\""),
        ("listen/endpoints", if listens { &place } else { "[]" }),
        ("connect/endpoints", if listens { "[]" } else { &place }),
    ];
    for (key, value) in told {
        config.insert_json5(key, value).expect("a setting of zenoh");
    }
    zenoh::open(config).wait().expect("a session of zenoh")
}

/// The sending end.
struct Sending {
    publisher: Publisher<'static>,
    memory: Option<ShmProvider<PosixShmProviderBackend>>,
    message: Vec<u8>,
}

impl Sending {
    /// To somebody who receives already.
    fn open(session: &Session, way: &'static str, job: Job) -> Self {
        let publisher = session
            .declare_publisher(way)
            .congestion_control(CongestionControl::Block)
            .express(matches!(job, Job::Asleep { .. }))
            .wait()
            .expect("a publisher of zenoh");
        while !publisher.matching_status().wait().expect("its session lives").matching() {
            std::thread::sleep(LOOK);
        }
        let memory = (job.size() >= SHARED)
            .then(|| ShmProviderBuilder::default_backend(MEMORY).wait().expect("memory to share"));
        Self { publisher, memory, message: vec![0; job.size()] }
    }

    /// To so many who receive: each says that it heard.
    fn open_to_all(session: &Session, way: &'static str, job: Job, meeting: &Meeting) -> Self {
        let sending = Self::open(session, way, job);
        while meeting.page.word(Tally::There).load(Ordering::Acquire) < job.others() as u64 {
            sending.warm();
            std::thread::sleep(LOOK);
        }
        sending
    }

    /// Says the word that warms up, by the memory that is to be shared if there is any: a receiver takes tens of milliseconds to map it.
    fn warm(&self) {
        let sent = match &self.memory {
            Some(memory) => {
                let mut loan = memory.alloc(WARM.len()).wait().expect("nothing lies there yet");
                loan.copy_from_slice(WARM);
                self.publisher.put(loan).wait()
            }
            None => self.publisher.put(WARM).wait(),
        };
        sent.expect("zenoh sends");
    }

    fn publish(&mut self, number: u64) {
        let sent = match &self.memory {
            Some(memory) => {
                let loan = memory.alloc(self.message.len()).with_policy::<BlockOn<GarbageCollect>>();
                let mut loan = loan.wait().expect("a receiver gives its memory back");
                fill(&mut loan, number);
                self.publisher.put(loan).wait()
            }
            None => {
                fill(&mut self.message, number);
                self.publisher.put(&self.message[..]).wait()
            }
        };
        sent.expect("zenoh sends");
    }
}

impl Sender for Sending {
    fn send(&mut self, number: u64, count: usize) -> usize {
        (0..count as u64).for_each(|offset| self.publish(number + offset));
        count
    }
}

/// The receiving end.
struct Receiving {
    subscriber: Subscriber<FifoChannelHandler<Sample>>,
    senders: InOrder,
}

impl Receiving {
    fn open(session: &Session, way: &'static str, senders: usize) -> Self {
        let subscriber = session.declare_subscriber(way).with(FifoChannel::new(PLACES));
        Self { subscriber: subscriber.wait().expect("a subscriber of zenoh"), senders: InOrder::of(senders) }
    }

    /// The only one or one of many, once the publisher is heard.
    fn open_as_one(session: &Session, way: &'static str, meeting: &Meeting) -> Self {
        let receiving = Self::open(session, way, 1);
        while receiving.next(true).is_none() {}
        meeting.page.word(Tally::There).fetch_add(1, Ordering::AcqRel);
        receiving
    }

    /// The next message, if one is there or comes in a moment.
    fn next(&self, waits: bool) -> Option<Sample> {
        match waits {
            true => self.subscriber.recv_timeout(LOOK),
            false => self.subscriber.try_recv(),
        }
        .expect("its session lives")
    }
}

impl Take for Receiving {
    /// Only what does not warm up.
    fn take(&mut self, count: usize, mut read: impl FnMut(&mut InOrder, &[u8], usize)) -> usize {
        let mut taken = 0;
        while taken < count {
            let Some(sample) = self.next(taken == 0) else { break };
            let payload = sample.payload().to_bytes();
            if *payload != *WARM {
                read(&mut self.senders, &payload, taken);
                taken += 1;
            }
        }
        taken
    }
}

/// Both directions.
struct Both {
    sending: Sending,
    receiving: Receiving,
}

impl Both {
    fn open(session: &Session, [to, from]: [&'static str; 2], job: Job) -> Self {
        let receiving = Receiving::open(session, from, 1);
        Self { sending: Sending::open(session, to, job), receiving }
    }
}

impl Ends for Both {
    fn post(&mut self, number: u64) {
        self.sending.publish(number);
    }

    fn arrive(&mut self, number: u64) {
        while self.receiving.receive(number, 1) == 0 {}
    }
}

impl Pair for Zenoh {
    fn name(&self) -> &'static str {
        "zenoh"
    }

    fn measure(&self, meeting: &Meeting, job: Job, plan: &Plan) -> Reading {
        let session = session(meeting, true);
        match job {
            Job::Throughput { batch, .. } => {
                let mut sending = Sending::open_to_all(&session, "there", job, meeting);
                link::send_all(&mut sending, batch, 1, meeting, plan)
            }
            Job::Asleep { .. } => leads(Both::open(&session, ["there", "back"], job), meeting, plan),
            Job::FanOut { receivers, .. } => {
                let mut sending = Sending::open_to_all(&session, "there", job, meeting);
                link::send_all(&mut sending, 1, receivers, meeting, plan)
            }
            Job::FanIn { senders, .. } => {
                link::gather_all(&mut Receiving::open(&session, "there", senders), senders, meeting, plan)
            }
            Job::RoundTrip { .. } | Job::Large { .. } => unreachable!("no group asks zenoh for {job:?}"),
        }
    }

    fn serve(&self, meeting: &Meeting, job: Job) {
        let session = session(meeting, false);
        match job {
            Job::Throughput { batch, .. } => {
                let mut receiving = Receiving::open_as_one(&session, "there", meeting);
                link::receive_all(&mut receiving, batch, Idle::default, meeting);
            }
            Job::Asleep { .. } => follows(Both::open(&session, ["back", "there"], job), meeting),
            Job::FanOut { .. } => {
                let mut receiving = Receiving::open_as_one(&session, "there", meeting);
                link::receive_all(&mut receiving, 16, Idle::crowded, meeting);
            }
            Job::FanIn { .. } => link::send_for(&mut Sending::open(&session, "there", job), meeting),
            Job::RoundTrip { .. } | Job::Large { .. } => unreachable!("no group asks zenoh for {job:?}"),
        }
    }
}
