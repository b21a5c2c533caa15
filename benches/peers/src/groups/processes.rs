//! Between two true processes: throughput, round trips, sleepers, one to many and many to one, long messages by name; ours, the floor's and
//! other people's in the same rounds.

use super::{Compare, Group, Subject};
use crate::measure::{Plan, throughput};
use crate::processes::Job;
use crate::processes::bare::{CacheLine, Eventfd, Futex, UnixSocket};
use crate::processes::copies::Copies;
use crate::processes::link::Over;
use crate::processes::nats::Nats;
use crate::processes::publish::Publish;
use crate::processes::ring::{Apart, Belled, IntoMailbox, Whole};
use crate::subjects::synod;

/// Who else there is, for a job.
const OTHERS: usize = 8;

/// All of them; in a smoke run only the shortest of the long messages, as all sizes go the same way.
pub fn groups(smoke: bool) -> Vec<Group> {
    let mut groups = vec![streams::<64>(1), streams::<64>(16), streams::<1024>(1), streams::<1024>(16)];
    groups.extend([trips(64), trips(1024), sleepers(64)]);
    groups.extend([
        fan(
            Job::FanOut { size: 64, receivers: OTHERS },
            "1 to 8",
            "each message to eight processes, deliveries",
        ),
        fan(Job::FanIn { size: 64, senders: OTHERS }, "8 to 1", "eight processes to one"),
    ]);
    for touch in [false, true] {
        let sizes = if smoke { &[4][..] } else { &[4, 64, 1024, 16 * 1024] };
        groups.extend(sizes.iter().map(|kib| large(kib << 10, touch)));
    }
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

/// Peers for streams and sleepers.
fn peers(job: Job) -> Vec<Subject> {
    vec![
        iceoryx2(job),
        zeromq(job),
        Subject::between(Nats, job),
        Subject::lacking(
            "zenoh",
            "packages that nobody maintains (paste, rustls-pemfile), which are refused here",
        ),
        Subject::lacking("Aeron IPC", "CMake 3.30 or newer to build its driver, and is not linked"),
    ]
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

fn with(mut group: Group, job: Job, more: Vec<Subject>) -> Group {
    group.subjects = ours(job);
    group.subjects.extend(more);
    group
}

fn streams<const N: usize>(batch: usize) -> Group {
    let job = Job::Throughput { size: N, batch };
    let mode = if batch == 1 { "batch 1" } else { "batch 16" };
    let about = "one process sends, another receives";
    let mut more = vec![
        Subject::new("synod ring, in process", move |plan: &Plan| {
            throughput(synod::whole::<N>(), batch, plan)
        }),
        Subject::between(UnixSocket, job),
    ];
    #[cfg(feature = "queues")]
    more.push(Subject::new("disruptor, in process", move |plan: &Plan| {
        throughput(crate::subjects::queues::disruptor::<N>(), batch, plan)
    }));
    more.extend(peers(job));
    let mut group = group("processes-throughput", about, N, mode, "M/s");
    group.baselines.push("disruptor, in process");
    with(group, job, more)
}

fn trips(size: usize) -> Group {
    let job = Job::RoundTrip { size };
    let about = "there and back between two processes, both sides watching";
    let mut more = vec![
        Subject::between(CacheLine, job),
        Subject::between(Copies, job),
        Subject::between(UnixSocket, job),
    ];
    // The others have threads or a server between the two: on two cores, nobody may watch beside them.
    more.push(iceoryx2(job));
    let mut group = group("processes-round-trip", about, size, "busy", "ns");
    group.baselines.extend(["cache line", "two copies"]);
    with(group, job, more)
}

fn sleepers(size: usize) -> Group {
    let job = Job::Asleep { size };
    let about = "there and back between two processes, both asleep in between";
    let mut more =
        vec![Subject::between(Futex, job), Subject::between(Eventfd, job), Subject::between(UnixSocket, job)];
    more.extend(peers(job));
    let mut group = group("processes-blocked", about, size, "asleep", "ns");
    group.baselines.extend(["futex", "eventfd", "Unix socket"]);
    with(group, job, more)
}

fn fan(job: Job, mode: &'static str, about: &'static str) -> Group {
    with(group("processes-fan", about, 64, mode, "M/s"), job, vec![iceoryx2(job)])
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
    with(group, job, vec![Subject::between(Copies, job), iceoryx2(job)])
}
