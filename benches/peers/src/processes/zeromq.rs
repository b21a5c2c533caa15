//! ZeroMQ: a pair of PAIR sockets over its `ipc` transport. At each end it has a thread of its own on the same core: so whoever waits
//! sleeps.

use super::asleep::{at_once, follow, lead};
use super::link;
use super::{Job, Meeting, Pair};
use crate::measure::{Idle, Plan, Reading, Receiver, Sender};
use crate::subjects::{check, fill};
use std::cell::RefCell;
use zmq::{Context, DONTWAIT, Error, PAIR, Socket};

/// The subject of this file.
pub struct ZeroMq;

/// One end.
struct End {
    socket: Socket,
    message: Vec<u8>,
    _context: Context,
}

impl End {
    fn new(meeting: &Meeting, binds: bool, job: Job) -> Self {
        let (Job::Throughput { size, .. } | Job::Asleep { size }) = job else {
            unreachable!("no group asks ZeroMQ for {job:?}")
        };
        let context = Context::new();
        let socket = context.socket(PAIR).expect("a socket of ZeroMQ");
        let place = format!("ipc://{}", meeting.folder.join("zeromq").display());
        // What connects first goes on until somebody binds.
        if binds { socket.bind(&place) } else { socket.connect(&place) }.expect("a place for ZeroMQ");
        Self { socket, message: vec![0; size], _context: context }
    }

    fn post(&mut self, number: u64, flags: i32) -> bool {
        fill(&mut self.message, number);
        match self.socket.send(&self.message[..], flags) {
            Ok(()) => true,
            Err(Error::EAGAIN) => false,
            Err(error) => panic!("ZeroMQ: {error}"),
        }
    }

    fn take(&mut self, number: u64, flags: i32) -> bool {
        match self.socket.recv_into(&mut self.message, flags) {
            Ok(received) => {
                assert_eq!(received, self.message.len(), "a whole message");
                check(&self.message, number);
                true
            }
            Err(Error::EAGAIN) => false,
            Err(error) => panic!("ZeroMQ: {error}"),
        }
    }
}

impl Sender for End {
    fn send(&mut self, number: u64, count: usize) -> usize {
        (0..count).take_while(|sent| self.post(number + *sent as u64, 0)).count()
    }
}

impl Receiver for End {
    fn receive(&mut self, number: u64, count: usize) -> usize {
        let flags = |taken| if taken == 0 { 0 } else { DONTWAIT };
        (0..count).take_while(|taken| self.take(number + *taken as u64, flags(*taken))).count()
    }
}

impl Pair for ZeroMq {
    fn name(&self) -> &'static str {
        "ZeroMQ ipc"
    }

    fn measure(&self, meeting: &Meeting, job: Job, plan: &Plan) -> Reading {
        let mut end = End::new(meeting, true, job);
        match job {
            Job::Throughput { batch, .. } => link::send_all(&mut end, batch, 1, meeting, plan),
            _ => {
                let end = RefCell::new(end);
                let post = |number| assert!(end.borrow_mut().post(number, 0));
                at_once(lead(meeting, plan, post, async |number| assert!(end.borrow_mut().take(number, 0))))
            }
        }
    }

    fn serve(&self, meeting: &Meeting, job: Job) {
        let mut end = End::new(meeting, false, job);
        match job {
            Job::Throughput { batch, .. } => {
                // The last may be there before it is said that it is the last.
                end.socket.set_rcvtimeo(1).expect("an option of ZeroMQ");
                link::receive_all(&mut end, batch, Idle::default, meeting);
            }
            _ => {
                let end = RefCell::new(end);
                let take = async |number| assert!(end.borrow_mut().take(number, 0));
                at_once(follow(meeting, take, |number| assert!(end.borrow_mut().post(number, 0))));
            }
        }
    }
}
