//! Aeron's IPC: exclusive publications, written into a claim up to 1 KiB and in fragments above. Its media driver runs on a thread of the process that
//! measures, free to use both cores, and moves each publication's limit: it takes time from whom it serves, where Aeron would give it a core of its
//! own. There are no batches, and nobody sleeps until woken: who has waited long naps for up to a millisecond.

use super::asleep::{Ends, follows, leads};
use super::link::{self, InOrder, Link, Take};
use super::{Job, Meeting, Pair};
use crate::machine::{pin, pin_to_both};
use crate::measure::{Idle, Plan, Reading, Receiver, Sender};
use crate::subjects::fill;
use rusteron_media_driver::bindings::aeron_threading_mode_enum;
use rusteron_media_driver::testing::EmbeddedDriver;
use rusteron_media_driver::{
    AERON_IPC_STREAM, Aeron, AeronCError, AeronExclusivePublication, AeronFragmentClosureAssembler,
    AeronSubscription, BackoffIdleStrategy, Handlers, IdleStrategy, IntoCString,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The subject of this file.
pub struct AeronIpc;

/// Longer messages go in fragments.
const WHOLE: usize = 1024;

/// Bytes of a term: sixteen of the longest messages.
const TERM: usize = 16 << 20;

/// Fragments of long messages taken at once: fewer than any of those has.
const FRAGMENTS: usize = 16;

/// Between two looks at what driver and clients do by themselves.
const A_MOMENT: Duration = Duration::from_micros(500);

/// Where driver and clients meet: in memory, as by default.
fn folder(meeting: &Meeting) -> PathBuf {
    Path::new("/dev/shm").join(meeting.folder.file_name().unwrap_or_default())
}

/// Starts the driver, on both cores.
fn driver(meeting: &Meeting, plan: &Plan) -> EmbeddedDriver {
    pin_to_both(plan.cores);
    let place = folder(meeting).display().to_string();
    let driver = EmbeddedDriver::launch_with(|context| {
        context.set_dir(&place.into_c_string())?;
        context.set_threading_mode(aeron_threading_mode_enum::AERON_THREADING_MODE_SHARED)?;
        context.set_ipc_term_buffer_length(TERM)?;
        context.set_term_buffer_sparse_file(false)?;
        Ok(())
    });
    pin(plan.cores.sender);
    driver.expect("Aeron's driver starts")
}

/// Connects to the driver, once it is there.
fn client(meeting: &Meeting) -> Aeron {
    let folder = folder(meeting);
    while !folder.join("cnc.dat").exists() {
        std::thread::sleep(A_MOMENT);
    }
    Aeron::connect_dir(&folder.display().to_string()).expect("a client of Aeron")
}

/// Waits for what was asked of the driver, asleep, as it may need this core.
fn added<A, T>(adding: Result<A, AeronCError>, poll: impl Fn(&A) -> Result<Option<T>, AeronCError>) -> T {
    let adding = adding.unwrap_or_else(|why| refused(why));
    loop {
        match poll(&adding) {
            Ok(Some(made)) => return made,
            Ok(None) => std::thread::sleep(A_MOMENT),
            Err(why) => refused(why),
        }
    }
}

/// A way's number.
fn stream(way: &str) -> i32 {
    if way.starts_with("there") { 1 } else { 2 }
}

/// What Aeron refused.
fn refused(why: AeronCError) -> ! {
    panic!("Aeron: {why}")
}

/// The sending end.
pub struct Sending {
    publication: AeronExclusivePublication,
    message: Vec<u8>,
    _client: Aeron,
}

impl Sending {
    /// Sends a message, if there is room.
    #[inline(always)]
    fn offer(&mut self, number: u64) -> bool {
        let len = self.message.len();
        let offered = if len <= WHOLE {
            self.publication.try_claim_owned(len).map(|mut claim| {
                fill(claim.data(), number);
                claim.commit().unwrap_or_else(|why| refused(why));
            })
        } else {
            fill(&mut self.message, number);
            self.publication.offer(&self.message).map(|_| ())
        };
        match offered {
            Ok(()) => true,
            Err(why) if why.is_retryable() => false,
            Err(why) => panic!("Aeron: {why}"),
        }
    }
}

impl Sender for Sending {
    #[inline(always)]
    fn send(&mut self, number: u64, count: usize) -> usize {
        (0..count).take_while(|sent| self.offer(number + *sent as u64)).count()
    }
}

/// The receiving end.
pub struct Receiving {
    subscription: AeronSubscription,
    assembler: AeronFragmentClosureAssembler,
    size: usize,
    senders: InOrder,
    _client: Aeron,
}

impl Take for Receiving {
    /// Takes up to `count` messages, or some fragments of a long one.
    #[inline(always)]
    fn take(&mut self, count: usize, mut read: impl FnMut(&mut InOrder, &[u8], usize)) -> usize {
        let Self { subscription, assembler, size, senders, .. } = self;
        let mut taken = 0;
        let mut take = |message: &[u8]| {
            read(senders, message, taken);
            taken += 1;
        };
        let polled = if *size <= WHOLE {
            subscription.poll_fn(|message, _| take(message), count)
        } else {
            assembler.poll(subscription, &mut take, |take, message, _| take(message), FRAGMENTS)
        };
        polled.unwrap_or_else(|why| refused(why));
        taken
    }
}

impl Link for AeronIpc {
    type Sender = Sending;
    type Receiver = Receiving;
    type Fan = Sending;
    type Gather = Receiving;

    fn name(&self) -> &'static str {
        "Aeron IPC"
    }

    fn sender(&self, meeting: &Meeting, way: &str, size: usize) -> Sending {
        let client = client(meeting);
        let adding = client.async_add_exclusive_publication(AERON_IPC_STREAM, stream(way));
        let publication = added(adding, |adding| adding.poll());
        Sending { publication, message: vec![0; size], _client: client }
    }

    fn receiver(&self, meeting: &Meeting, way: &str, size: usize) -> Receiving {
        self.gather(meeting, way, size, 1)
    }

    fn fan(&self, meeting: &Meeting, way: &str, size: usize, _receivers: usize) -> Sending {
        self.sender(meeting, way, size)
    }

    fn gather(&self, meeting: &Meeting, way: &str, size: usize, senders: usize) -> Receiving {
        let client = client(meeting);
        let adding =
            client.async_add_subscription(AERON_IPC_STREAM, stream(way), Handlers::NONE, Handlers::NONE);
        let subscription = added(adding, |adding| adding.poll());
        let seen = || subscription.image_count().unwrap_or_else(|why| refused(why)) as usize;
        while seen() < senders {
            std::thread::sleep(A_MOMENT);
        }
        let assembler = AeronFragmentClosureAssembler::new().unwrap_or_else(|why| refused(why));
        Receiving { subscription, assembler, size, senders: InOrder::of(senders), _client: client }
    }
}

/// Both directions, napping.
struct Both {
    sending: Sending,
    receiving: Receiving,
}

impl Ends for Both {
    fn post(&mut self, number: u64) {
        while !self.sending.offer(number) {
            std::thread::yield_now();
        }
    }

    fn arrive(&mut self, number: u64) {
        let mut idle = BackoffIdleStrategy::new();
        while self.receiving.receive(number, 1) == 0 {
            idle.idle(0);
        }
    }
}

impl Pair for AeronIpc {
    fn name(&self) -> &'static str {
        Link::name(self)
    }

    fn measure(&self, meeting: &Meeting, job: Job, plan: &Plan) -> Reading {
        let _driver = driver(meeting, plan);
        match job {
            Job::Asleep { size } => {
                let sending = self.sender(meeting, "there", size);
                let receiving = self.receiver(meeting, "back", size);
                leads(Both { sending, receiving }, meeting, plan)
            }
            _ => link::Over(Self).measure(meeting, job, plan),
        }
    }

    fn serve(&self, meeting: &Meeting, job: Job) {
        match job {
            Job::Asleep { size } => {
                let sending = self.sender(meeting, "back", size);
                let receiving = self.receiver(meeting, "there", size);
                follows(Both { sending, receiving }, meeting);
            }
            // One publication for all of them, not one for each.
            Job::FanOut { size, .. } => {
                link::receive_all(&mut self.receiver(meeting, "there", size), 16, Idle::crowded, meeting);
            }
            _ => link::Over(Self).serve(meeting, job),
        }
    }
}
