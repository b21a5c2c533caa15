//! ZeroMQ over its `ipc` transport: PAIR sockets, one for each receiver of one to many, as its PUB sockets drop what a receiver has no room
//! for; PUSH and PULL for many to one. Each process has a thread of ZeroMQ's on the same core: so whoever waits sleeps.

use super::asleep::{Ends, follows, leads};
use super::link::{self, InOrder, Many, Take};
use super::{Job, Meeting, Pair};
use crate::measure::{Idle, Plan, Reading, Sender};
use crate::subjects::{check, fill};
use zmq::{Context, DONTWAIT, Error, PAIR, PULL, PUSH, Socket, SocketType};

/// The subject of this file.
pub struct ZeroMq;

/// One end.
struct End {
    socket: Socket,
    message: Vec<u8>,
    senders: InOrder,
}

/// Milliseconds that who waits sleeps before it looks whether that was all, or whether the other side is there.
const LOOK: i32 = 1;

impl End {
    /// The parent binds, one place for each child it has a socket for.
    fn of(context: &Context, meeting: &Meeting, kind: SocketType, place: Place, job: Job) -> Self {
        let socket = context.socket(kind).expect("a socket of ZeroMQ");
        let (Place::Bound(number) | Place::Connected(number)) = place;
        let path = format!("ipc://{}", meeting.folder.join(format!("zeromq-{number}")).display());
        // What connects first tries again until somebody binds: soon, or a slice would be over before its first message went.
        socket.set_reconnect_ivl(LOOK).expect("an option of ZeroMQ");
        match place {
            Place::Bound(_) => socket.bind(&path),
            Place::Connected(_) => socket.connect(&path),
        }
        .expect("a place for ZeroMQ");
        Self { socket, message: vec![0; job.size()], senders: InOrder::of(job.others()) }
    }

    /// The last may be there before it is said that it is the last.
    fn looking(self) -> Self {
        self.socket.set_rcvtimeo(LOOK).expect("an option of ZeroMQ");
        self
    }

    fn took(&mut self, flags: i32) -> bool {
        match self.socket.recv_into(&mut self.message, flags) {
            Ok(received) => {
                assert_eq!(received, self.message.len(), "a whole message");
                true
            }
            Err(Error::EAGAIN) => false,
            Err(error) => panic!("ZeroMQ: {error}"),
        }
    }
}

/// Which end of which way.
#[derive(Clone, Copy)]
enum Place {
    Bound(usize),
    Connected(usize),
}

impl Ends for End {
    fn post(&mut self, number: u64) {
        fill(&mut self.message, number);
        self.socket.send(&self.message[..], 0).expect("ZeroMQ sends");
    }

    fn arrive(&mut self, number: u64) {
        while !self.took(0) {}
        check(&self.message, number);
    }
}

impl Sender for End {
    fn send(&mut self, number: u64, count: usize) -> usize {
        (0..count as u64).for_each(|offset| self.post(number + offset));
        count
    }
}

impl Take for End {
    fn take(&mut self, count: usize, mut read: impl FnMut(&mut InOrder, &[u8], usize)) -> usize {
        for taken in 0..count {
            if !self.took(if taken == 0 { 0 } else { DONTWAIT }) {
                return taken;
            }
            read(&mut self.senders, &self.message, taken);
        }
        count
    }
}

impl Pair for ZeroMq {
    fn name(&self) -> &'static str {
        "ZeroMQ ipc"
    }

    fn measure(&self, meeting: &Meeting, job: Job, plan: &Plan) -> Reading {
        let context = Context::new();
        let end = |kind, child| End::of(&context, meeting, kind, Place::Bound(child), job);
        match job {
            Job::Throughput { batch, .. } => link::send_all(&mut end(PAIR, 0), batch, 1, meeting, plan),
            Job::Asleep { .. } => leads(end(PAIR, 0), meeting, plan),
            Job::FanOut { receivers, .. } => {
                let mut many = Many::new((0..receivers).map(|child| end(PAIR, child)));
                link::send_all(&mut many, 1, receivers, meeting, plan)
            }
            Job::FanIn { senders, .. } => {
                link::gather_all(&mut end(PULL, 0).looking(), senders, meeting, plan)
            }
            Job::RoundTrip { .. } | Job::Large { .. } => unreachable!("no group asks ZeroMQ for {job:?}"),
        }
    }

    fn serve(&self, meeting: &Meeting, job: Job) {
        let context = Context::new();
        let end = |kind, way| End::of(&context, meeting, kind, Place::Connected(way), job);
        match job {
            Job::Throughput { batch, .. } => {
                link::receive_all(&mut end(PAIR, 0).looking(), batch, Idle::default, meeting);
            }
            Job::Asleep { .. } => follows(end(PAIR, 0), meeting),
            Job::FanOut { .. } => {
                let mut end = end(PAIR, meeting.number).looking();
                link::receive_all(&mut end, 16, Idle::crowded, meeting);
            }
            Job::FanIn { .. } => link::send_for(&mut end(PUSH, 0), meeting),
            Job::RoundTrip { .. } | Job::Large { .. } => unreachable!("no group asks ZeroMQ for {job:?}"),
        }
    }
}
