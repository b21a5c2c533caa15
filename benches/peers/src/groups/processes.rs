//! Between true processes: throughput, round trips, sleepers, one to many and many to one, long messages by name, and talking among many who
//! are idle; ours, the floor's and other people's in the same rounds.

use super::{Compare, Group, Subject};
use crate::measure::{Plan, Reading, throughput};
use crate::processes::Job;
use crate::processes::awaited::Awaited;
use crate::processes::bare::{CacheLine, Eventfd, Futex};
use crate::processes::copies::Copies;
use crate::processes::faces::Face;
use crate::processes::link::Over;
use crate::processes::nats::Nats;
use crate::processes::publish::Publish;
use crate::processes::ring::{Apart, Belled, IntoMailbox, Whole};
use crate::processes::sockets::Sockets;
use crate::processes::unix::UnixSocket;
use crate::subjects::synod;
use synod_platform::net::Choice;

/// Who else there is, for a job.
const OTHERS: usize = 8;

/// Bytes of messages.
const SIZES: [usize; 4] = [64, 1 << 10, 64 << 10, 1 << 20];

/// All of them; in a smoke run only the shortest of the long messages, as all sizes go the same way, and few idlers.
pub fn groups(smoke: bool) -> Vec<Group> {
    let sizes = if smoke { &SIZES[..1] } else { &SIZES[..] };
    let mut groups =
        vec![stream_of::<64>(1), stream_of::<64>(16), stream_of::<1024>(1), stream_of::<1024>(16)];
    groups.extend([64 << 10, 1 << 20].map(|size| streams(size, 1)));
    groups.extend(sizes.iter().map(|size| trips(*size)));
    groups.extend(sizes.iter().map(|size| sleepers(*size)));
    for size in sizes.iter().copied() {
        let jobs = [Job::FanOut { size, receivers: OTHERS }, Job::FanIn { size, senders: OTHERS }];
        groups.extend(jobs.map(fan));
    }
    for touch in [false, true] {
        let sizes = if smoke { &[4][..] } else { &[4, 64, 1024, 16 * 1024] };
        groups.extend(sizes.iter().map(|kib| large(kib << 10, touch)));
    }
    groups.extend(sizes.iter().map(|size| faces(*size)));
    groups.extend(links());
    let crowds = if smoke { &CROWDS[..2] } else { CROWDS };
    groups.extend([Job::RoundTrip { size: 64 }, Job::Asleep { size: 64 }].map(|job| among(job, crowds)));
    groups
}

fn group(
    name: &'static str,
    about: &'static str,
    size: usize,
    mode: &'static str,
    unit: &'static str,
) -> Group {
    let (compare, baselines, subjects) = (Compare::Ratio, vec!["iceoryx2"], Vec::new());
    Group { name, about, size, mode, unit, compare, baselines, subjects }
}

/// Peers with threads or a server beside the two who talk, on the same two cores: their receivers sleep.
fn brokered(job: Job) -> [Subject; 3] {
    [zeromq(job), Subject::between(Nats, job), zenoh(job)]
}

fn iceoryx2(job: Job) -> Subject {
    #[cfg(feature = "iceoryx2")]
    {
        Subject::between(crate::processes::iceoryx::Iceoryx, job)
    }
    #[cfg(not(feature = "iceoryx2"))]
    {
        let _ = job;
        Subject::lacking("iceoryx2", "`--features iceoryx2`, and libclang to build it")
    }
}

fn aeron(job: Job) -> Subject {
    #[cfg(feature = "aeron")]
    {
        Subject::between(crate::processes::aeron::AeronIpc, job)
    }
    #[cfg(not(feature = "aeron"))]
    {
        let _ = job;
        Subject::lacking("Aeron IPC", "`--features aeron`, and CMake 3.30 and libclang to build it")
    }
}

fn zeromq(job: Job) -> Subject {
    #[cfg(feature = "zmq")]
    {
        Subject::between(crate::processes::zeromq::ZeroMq, job)
    }
    #[cfg(not(feature = "zmq"))]
    {
        let _ = job;
        Subject::lacking("ZeroMQ ipc", "`--features zmq`, and a C++ compiler to build it")
    }
}

fn zenoh(job: Job) -> Subject {
    #[cfg(feature = "zenoh")]
    {
        Subject::between(crate::processes::zenoh::Zenoh, job)
    }
    #[cfg(not(feature = "zenoh"))]
    {
        let _ = job;
        Subject::lacking("zenoh", "`--features zenoh`")
    }
}

/// Ours.
fn ours(job: Job) -> Vec<Subject> {
    match job {
        Job::Asleep { .. } => vec![Subject::between(Belled, job), Subject::between(Publish, job)],
        Job::Large { .. } => vec![Subject::between(Publish, job)],
        Job::FanOut { .. } | Job::FanIn { .. } => vec![
            Subject::between(Over(Apart), job),
            Subject::between(Over(IntoMailbox), job),
            Subject::between(Publish, job),
        ],
        _ => vec![
            Subject::between(Over(Whole), job),
            Subject::between(Over(Apart), job),
            Subject::between(Over(IntoMailbox), job),
            Subject::between(Publish, job),
        ],
    }
}

fn with(mut group: Group, job: Job, more: impl IntoIterator<Item = Subject>) -> Group {
    group.subjects = ours(job);
    group.subjects.extend(more);
    group
}

/// Messages a second, or of long ones their bytes.
fn flow(
    name: &'static str,
    about: &'static str,
    mode: &'static str,
    job: Job,
    more: impl IntoIterator<Item = Subject>,
) -> Group {
    let long = job.size() >= 64 << 10;
    let mut group = with(group(name, about, job.size(), mode, if long { "GB/s" } else { "M/s" }), job, more);
    if long {
        for subject in &mut group.subjects {
            let slice = std::mem::replace(&mut subject.slice, Box::new(|_| Ok(Reading::new())));
            subject.slice = Box::new(move |plan| {
                let bytes = |(_, millions)| ("bytes", millions * job.size() as f64 / 1e3);
                Ok(slice(plan)?.into_iter().map(bytes).collect())
            });
        }
    }
    group
}

fn streams(size: usize, batch: usize) -> Group {
    let job = Job::Throughput { size, batch };
    let mode = if batch == 1 { "batch 1" } else { "batch 16" };
    let about = "one process sends, another receives";
    let more = [Subject::between(UnixSocket, job), iceoryx2(job), aeron(job)];
    flow("processes-throughput", about, mode, job, more.into_iter().chain(brokered(job)))
}

/// Short ones beside queues inside one process.
fn stream_of<const N: usize>(batch: usize) -> Group {
    let mut group = streams(N, batch);
    group.subjects.push(Subject::new("synod ring, in process", move |plan: &Plan| {
        throughput(synod::whole::<N>(), batch, plan)
    }));
    #[cfg(feature = "queues")]
    group.subjects.push(Subject::new("disruptor, in process", move |plan: &Plan| {
        throughput(crate::subjects::queues::disruptor::<N>(), batch, plan)
    }));
    group.baselines.push("disruptor, in process");
    group
}

fn trips(size: usize) -> Group {
    let job = Job::RoundTrip { size };
    let about = "there and back between two processes, both sides watching";
    // Who has threads or a server between the two is not here: on two cores, nobody may watch beside them.
    let more = [
        Subject::between(CacheLine, job),
        Subject::between(Copies, job),
        Subject::between(UnixSocket, job),
        iceoryx2(job),
        aeron(job),
    ];
    let mut group = group("processes-round-trip", about, size, "busy", "ns");
    group.baselines.extend(["cache line", "two copies"]);
    with(group, job, more)
}

fn sleepers(size: usize) -> Group {
    let job = Job::Asleep { size };
    let about = "there and back between two processes, both asleep in between";
    let more = [
        Subject::between(Futex, job),
        Subject::between(Eventfd, job),
        Subject::between(UnixSocket, job),
        iceoryx2(job),
        aeron(job),
    ];
    let mut group = group("processes-blocked", about, size, "asleep", "ns");
    group.baselines.extend(["futex", "eventfd", "Unix socket", "socket pair, awaited"]);
    let awaited = Awaited::ALL.into_iter().filter(|_| size == 64).map(|means| Subject::between(means, job));
    with(group, job, more.into_iter().chain(awaited).chain(brokered(job)))
}

fn fan(job: Job) -> Group {
    let (mode, about) = match job {
        Job::FanOut { .. } => ("1 to 8", "each message to eight processes, deliveries"),
        _ => ("8 to 1", "eight processes to one"),
    };
    let more = [Subject::between(UnixSocket, job), iceoryx2(job), aeron(job)];
    flow("processes-fan", about, mode, job, more.into_iter().chain(brokered(job)))
}

fn large(size: usize, touch: bool) -> Group {
    let job = Job::Large { size, touch };
    let (mode, about) = if touch {
        ("by name, touched", "long messages by name, both sides touch every line")
    } else {
        ("by name", "long messages by name, only their numbers written and read")
    };
    let mut group = group("processes-large", about, size, mode, "ns");
    group.baselines.push("two copies");
    with(group, job, [Subject::between(Copies, job), iceoryx2(job)])
}

/// The same way through a client with futures, without, and from C.
fn faces(size: usize) -> Group {
    let job = Job::Asleep { size };
    let about = "there and back between two clients: with futures, blocking, and from C";
    let mut group = group("processes-faces", about, size, "asleep", "ns");
    let faces = [Face::Blocking, Face::C].map(|face| Subject::between(face, job));
    group.subjects = faces.into_iter().chain([Subject::between(Publish, job)]).collect();
    group.baselines = vec!["synod client, blocking", "synod publish"];
    group
}

/// Connections between nodes, by either way to wait for their bytes.
fn links() -> Vec<Group> {
    let streams = [(64, 16), (1 << 10, 16), (64 << 10, 1)];
    let streams = streams.map(|(size, batch)| Job::Throughput { size, batch });
    std::iter::once(Job::Asleep { size: 64 })
        .chain(streams)
        .map(|job| {
            let (mode, about) = match job {
                Job::Throughput { batch: 1, .. } => {
                    ("batch 1", "one node sends, another receives, each message")
                }
                Job::Throughput { .. } => ("batch 16", "one node sends, another receives, each message"),
                _ => ("asleep", "there and back over loopback TCP"),
            };
            let mut group = group("links", about, job.size(), mode, "ns");
            group.subjects =
                [Choice::Epoll, Choice::IoUring].map(|choice| Subject::between(Sockets(choice), job)).into();
            group.baselines = vec![group.subjects[0].name];
            group
        })
        .collect()
}

/// Agents beside those who talk, none first; each crowd at a node of its own.
const CROWDS: &[(&str, usize)] = &[
    ("synod publish, none idle", 0),
    ("synod publish, 1 idle", 1),
    ("synod publish, 64 idle", 64),
    ("synod publish, 256 idle", 256),
    ("synod publish, 1000 idle", 1000),
];

fn among(job: Job, crowds: &[(&'static str, usize)]) -> Group {
    let mode = if let Job::Asleep { .. } = job { "asleep" } else { "busy" };
    let about = "there and back between two processes, among agents of twenty others who do nothing";
    let mut group = group("processes-among", about, job.size(), mode, "ns");
    group.baselines = vec![crowds[0].0];
    group.subjects = crowds.iter().map(|(name, idlers)| Subject::among(name, *idlers, job)).collect();
    group
}
