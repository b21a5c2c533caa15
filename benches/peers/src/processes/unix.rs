//! Raw Unix sockets: a connected pair for each two processes, and a system call for each message. Up to 64 KiB the socket keeps messages
//! apart; a longer one is more than it takes at once, and goes as a stream of bytes, with both sides asleep where it stops.

use super::asleep::{Ends, follows, leads};
use super::link::{self, AnyOf, Many};
use super::{Job, Meeting, Pair};
use crate::measure::{Idle, Plan, Reading, Receiver, Sender};
use crate::subjects::{check, fill};
use rustix::io::{Errno, dup};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use std::os::fd::OwnedFd;

/// The subject of this file.
pub struct UnixSocket;

/// The longest message that a socket keeps apart.
const APART: usize = 64 << 10;

/// One end.
struct End {
    socket: OwnedFd,
    message: Vec<u8>,
}

impl End {
    /// Of each pair the parent holds the first, and the child of that number the second.
    fn of(meeting: &Meeting, child: usize, parent: bool, size: usize) -> Self {
        let socket = &meeting.brought[2 * child + usize::from(!parent)];
        Self { socket: dup(socket).expect("a descriptor"), message: vec![0; size] }
    }

    /// Sends the message; false if there is no room and it may not wait. What was begun is brought to its end.
    fn send(&mut self, number: u64, mut flags: SendFlags) -> bool {
        fill(&mut self.message, number);
        let mut sent = 0;
        while sent < self.message.len() {
            match send(&self.socket, &self.message[sent..], flags | SendFlags::NOSIGNAL) {
                Ok(count) => sent += count,
                Err(Errno::AGAIN) => return false,
                Err(error) => panic!("a Unix socket: {error}"),
            }
            flags = SendFlags::empty();
        }
        true
    }

    /// Takes the next message; false if none is there and it may not wait.
    fn take(&mut self, number: u64, mut flags: RecvFlags) -> bool {
        let mut received = 0;
        while received < self.message.len() {
            match recv(&self.socket, &mut self.message[received..], flags) {
                Ok((0, _)) => panic!("a Unix socket: the other process has closed it"),
                Ok((count, _)) => received += count,
                Err(Errno::AGAIN) => return false,
                Err(error) => panic!("a Unix socket: {error}"),
            }
            flags = RecvFlags::WAITALL;
        }
        check(&self.message, number);
        true
    }
}

impl Sender for End {
    fn send(&mut self, number: u64, count: usize) -> usize {
        (0..count).take_while(|sent| self.send(number + *sent as u64, SendFlags::DONTWAIT)).count()
    }
}

impl Receiver for End {
    fn receive(&mut self, number: u64, count: usize) -> usize {
        (0..count).take_while(|taken| self.take(number + *taken as u64, RecvFlags::DONTWAIT)).count()
    }
}

impl Ends for End {
    fn post(&mut self, number: u64) {
        assert!(self.send(number, SendFlags::empty()), "it may wait");
    }

    fn arrive(&mut self, number: u64) {
        assert!(self.take(number, RecvFlags::empty()), "it may wait");
    }
}

impl Pair for UnixSocket {
    fn name(&self) -> &'static str {
        "Unix socket"
    }

    fn bring(&self, job: Job) -> Vec<OwnedFd> {
        let kind = if job.size() > APART { SocketType::STREAM } else { SocketType::SEQPACKET };
        let pair = || socketpair(AddressFamily::UNIX, kind, SocketFlags::empty(), None);
        (0..job.others()).flat_map(|_| <[OwnedFd; 2]>::from(pair().expect("a pair of sockets"))).collect()
    }

    fn measure(&self, meeting: &Meeting, job: Job, plan: &Plan) -> Reading {
        let end = |child| End::of(meeting, child, true, job.size());
        match job {
            Job::Throughput { batch, .. } => link::send_all(&mut end(0), batch, 1, meeting, plan),
            Job::RoundTrip { .. } => link::trips(&mut end(0), &mut end(0), meeting, plan),
            Job::Asleep { .. } => leads(end(0), meeting, plan),
            Job::FanOut { receivers, .. } => {
                link::send_all(&mut Many::new((0..receivers).map(end)), 1, receivers, meeting, plan)
            }
            Job::FanIn { senders, .. } => {
                link::gather_all(&mut AnyOf::new((0..senders).map(end)), senders, meeting, plan)
            }
            Job::Large { .. } => unreachable!("no group asks a Unix socket for {job:?}"),
        }
    }

    fn serve(&self, meeting: &Meeting, job: Job) {
        let end = || End::of(meeting, meeting.number, false, job.size());
        match job {
            Job::Throughput { batch, .. } => link::receive_all(&mut end(), batch, Idle::default, meeting),
            Job::RoundTrip { .. } => link::answers(&mut end(), &mut end(), meeting),
            Job::Asleep { .. } => follows(end(), meeting),
            Job::FanOut { .. } => link::receive_all(&mut end(), 16, Idle::crowded, meeting),
            Job::FanIn { .. } => link::send_for(&mut end(), meeting),
            Job::Large { .. } => unreachable!("no group asks a Unix socket for {job:?}"),
        }
    }
}
