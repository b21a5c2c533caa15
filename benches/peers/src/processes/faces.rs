//! The client for who has no futures: the blocking face from Rust, and from C over that. Each call crosses to the client's thread and
//! back, and everything stands as it does for who just attaches: the thread looks a moment longer before it sleeps.
//!
//! What came is copied out before it is read, as is wise with the memory of others.

use super::asleep::{Ends, follows, leads};
use super::publish::Node;
use super::{Job, Meeting, Pair};
use crate::measure::{Plan, Reading};
use crate::subjects::{check, fill};
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};
use synod_client::{Options, Payload, blocking};

/// How a program calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// As Rust does.
    Blocking,
    /// As C does.
    C,
}

/// How long anything may take that is no measurement.
const SOON: Duration = Duration::from_secs(30);

/// What makes the way known; shorter than any message.
const WARM: &[u8] = b"warm";

/// Sends, and copies out what comes next.
enum Calls {
    Blocking(blocking::Client, blocking::Subscription),
    C(capi::Handle, capi::Handle),
}

/// One side.
struct Side {
    calls: Calls,
    to: CString,
    message: Vec<u8>,
    arrived: Vec<u8>,
}

/// Does it again until it is done.
fn insist(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < until, "{what}: not within {SOON:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Calls {
    fn attach(face: Face, meeting: &Meeting, name: &str, from: &str) -> Self {
        let socket = Node::socket(&meeting.folder);
        if face == Face::Blocking {
            let mut attached = None;
            insist("to attach", || {
                attached = Options::new().socket(&socket).attach_blocking(name).ok();
                attached.is_some()
            });
            let client = attached.expect("it insisted");
            let messages = client.subscribe(from).expect("a good pattern");
            return Self::Blocking(client, messages);
        }
        let [socket, name, from] = [socket.as_os_str().as_bytes(), name.as_bytes(), from.as_bytes()]
            .map(|text| CString::new(text).expect("no NUL"));
        let options = capi::Options {
            socket: socket.as_ptr(),
            node: std::ptr::null(),
            token: std::ptr::null(),
            within_ms: 0,
            capacity: 0,
            lane_bytes: 0,
        };
        let (mut client, mut messages) = (0, 0);
        assert_eq!(capi::synod_init(capi::SYNOD_ABI) as i32, 0);
        // SAFETY: the texts end in NUL and live until this returns, as the places do.
        insist(
            "to attach",
            || unsafe { capi::synod_attach(name.as_ptr(), &options, &mut client) as i32 } == 0,
        );
        // SAFETY: as above.
        let subscribed = unsafe { capi::synod_subscribe(client, from.as_ptr(), &mut messages) as i32 };
        assert_eq!(subscribed, 0, "a good pattern");
        Self::C(client, messages)
    }

    /// How many took it.
    fn send(&self, to: &CString, message: &[u8]) -> usize {
        match self {
            Self::Blocking(client, _) => {
                let to = to.to_str().expect("made of a str");
                client.publish(to, Payload::copy_from(message)).expect("room").accepted_count()
            }
            Self::C(client, _) => {
                let mut receipt = capi::Receipt { accepted: 0, refused: 0 };
                let (bytes, within_ms) = (message.as_ptr().cast(), SOON.as_millis() as u64);
                let normal = capi::Priority::Normal as i32;
                // SAFETY: the subject ends in NUL, the bytes are a slice's, and the receipt is ours. Nobody listening is no harm.
                unsafe {
                    capi::synod_send(
                        *client,
                        to.as_ptr(),
                        normal,
                        bytes,
                        message.len(),
                        within_ms,
                        &mut receipt,
                    )
                };
                receipt.accepted
            }
        }
    }

    /// Copies the next message to the front of `into`; says how long it is.
    fn next(&self, into: &mut [u8]) -> usize {
        match self {
            Self::Blocking(_, messages) => {
                let message = messages.recv().expect("the node lives");
                let len = message.payload.len();
                message.payload.copy_to(0..len, &mut into[..len]);
                len
            }
            Self::C(_, messages) => {
                let mut place = std::mem::MaybeUninit::<capi::Message>::uninit();
                // SAFETY: the place is written also when nothing came; what is copied is not more than there is room for.
                unsafe {
                    let received = capi::synod_receive(*messages, capi::SYNOD_FOREVER, place.as_mut_ptr());
                    assert_eq!(received as i32, 0, "the node lives");
                    let message = place.assume_init();
                    assert!(message.len <= into.len());
                    let copied = capi::synod_copy(message.handle, 0, into.as_mut_ptr().cast(), message.len);
                    let released = capi::synod_release(message.handle);
                    assert_eq!([copied as i32, released as i32], [0; 2]);
                    message.len
                }
            }
        }
    }
}

impl Side {
    fn open(face: Face, meeting: &Meeting, job: Job, [name, to, from]: [&str; 3]) -> Self {
        let calls = Calls::attach(face, meeting, name, from);
        let to = CString::new(to).expect("no NUL");
        insist("a receiver", || calls.send(&to, WARM) == 1);
        Self { calls, to, message: vec![0; job.size()], arrived: vec![0; job.size()] }
    }
}

impl Ends for Side {
    fn post(&mut self, number: u64) {
        fill(&mut self.message, number);
        assert_eq!(self.calls.send(&self.to, &self.message), 1, "an empty lane is not full");
    }

    fn arrive(&mut self, number: u64) {
        while self.calls.next(&mut self.arrived) != self.message.len() {}
        check(&self.arrived, number);
    }
}

impl Pair for Face {
    fn name(&self) -> &'static str {
        match self {
            Self::Blocking => "synod client, blocking",
            Self::C => "synod client, C",
        }
    }

    fn measure(&self, meeting: &Meeting, job: Job, plan: &Plan) -> Reading {
        let _node = Node::start(&meeting.folder, plan.cores);
        leads(Side::open(*self, meeting, job, ["parent", "peers.there", "peers.back"]), meeting, plan)
    }

    fn serve(&self, meeting: &Meeting, job: Job) {
        follows(Side::open(*self, meeting, job, ["child", "peers.back", "peers.there"]), meeting);
    }
}
