//! What an executor can sleep on until another process rings, each in a future on the executor that ours is: a descriptor that it watches, or a
//! word of shared memory that its io_uring waits on. Both go to sleep in epoll: an executor has timers and sockets beside its bell.

use super::asleep::{follow, lead};
use super::{Job, Meeting, Pair, Tally};
use crate::measure::{Plan, Reading};
use io_uring::{IoUring, Probe, opcode};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, dup, read, write};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use rustix::thread::futex;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use synod_platform::task;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// By what it is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// A connected pair of sockets: our bell.
    SocketPair,
    /// An eventfd.
    Eventfd,
    /// A futex that an io_uring waits for.
    Uring,
}

impl Awaited {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::SocketPair, Self::Eventfd, Self::Uring];
}

/// The sleeping side of a way.
enum Sleeper {
    Watched(AsyncFd<OwnedFd>, Awaited),
    Uring(Box<IoUring>, AsyncFd<OwnedFd>),
}

fn watched(descriptor: OwnedFd) -> AsyncFd<OwnedFd> {
    // SAFETY: the owned descriptor moves in, stays open and the same until the AsyncFd is dropped.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    watched.expect("an executor that watches descriptors")
}

fn quiet_eventfd() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd")
}

impl Sleeper {
    /// Of each way the first descriptor hears and the second rings.
    fn of(means: Awaited, meeting: &Meeting, way: usize) -> Self {
        if means != Awaited::Uring {
            return Self::Watched(watched(dup(&meeting.brought[2 * way]).expect("a descriptor")), means);
        }
        let best =
            IoUring::builder().setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().build(4);
        let (ring, bell) = (best.expect("asked before it is measured"), quiet_eventfd());
        ring.submitter().register_eventfd(bell.as_raw_fd()).expect("a ring that rings");
        Self::Uring(Box::new(ring), watched(bell))
    }

    /// Sleeps until that message is there.
    async fn arrived(&mut self, meeting: &Meeting, way: Tally, number: u64) {
        let word = meeting.page.half(way);
        while word.load(Ordering::Acquire) != number as u32 {
            match self {
                Self::Watched(descriptor, means) => rung(descriptor, *means).await,
                Self::Uring(ring, bell) => {
                    let before = (number - 1) as u32;
                    const SHARED_U32: u32 = 2;
                    let mask = u64::from(u32::MAX);
                    let wait = opcode::FutexWait::new(word.as_ptr(), before.into(), mask, SHARED_U32).build();
                    // SAFETY: the word is in a page that is mapped until the meeting is over, and this waits for the answer.
                    unsafe { ring.submission().push(&wait) }.expect("an empty queue");
                    ring.submit().expect("a ring");
                    while ring.completion().next().is_none() {
                        bell.readable().await.expect("an executor").clear_ready();
                        // Runs what the kernel deferred.
                        ring.submit().expect("a ring");
                    }
                }
            }
        }
    }
}

/// Waits for a ring, as our bell does.
async fn rung(descriptor: &AsyncFd<OwnedFd>, means: Awaited) {
    loop {
        let mut guard = descriptor.readable().await.expect("an executor");
        let mut rings = [0; 64];
        let heard = match means {
            Awaited::Eventfd => read(descriptor.get_ref(), &mut rings[..8]).map(|_| 0),
            _ => recv(descriptor.get_ref(), &mut rings, RecvFlags::DONTWAIT).map(|(heard, _)| heard),
        };
        match heard {
            Ok(heard) => {
                // Silent again: the next wait need not ask.
                if heard < rings.len() {
                    guard.clear_ready();
                }
                return;
            }
            Err(Errno::AGAIN) => guard.clear_ready(),
            Err(error) => panic!("a bell: {error}"),
        }
    }
}

/// Rings.
fn ring(means: Awaited, meeting: &Meeting, way: usize, word: Tally, number: u64) {
    let word = meeting.page.half(word);
    word.store(number as u32, Ordering::Release);
    match means {
        Awaited::SocketPair => {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            send(&meeting.brought[2 * way + 1], &[1], flags).expect("a bell");
        }
        Awaited::Eventfd => {
            write(&meeting.brought[2 * way + 1], &1u64.to_ne_bytes()).expect("an eventfd");
        }
        Awaited::Uring => {
            futex::wake(word, futex::Flags::empty(), 1).expect("a futex");
        }
    }
}

impl Pair for Awaited {
    fn name(&self) -> &'static str {
        match self {
            Self::SocketPair => "socket pair, awaited",
            Self::Eventfd => "eventfd, awaited",
            Self::Uring => "io_uring futex, awaited",
        }
    }

    fn lacks(&self) -> Option<String> {
        let needs = "io_uring with the operation `futex wait`, of Linux 6.7";
        let (Self::Uring, mut known) = (self, Probe::new()) else { return None };
        let asked = IoUring::new(2).and_then(|ring| ring.submitter().register_probe(&mut known));
        (asked.is_err() || !known.is_supported(opcode::FutexWait::CODE)).then(|| needs.to_owned())
    }

    fn bring(&self, _job: Job) -> Vec<OwnedFd> {
        let way = || match self {
            Self::SocketPair => {
                let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None)
                    .expect("sockets");
                vec![pair.0, pair.1]
            }
            Self::Eventfd => {
                let bell = eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd");
                vec![dup(&bell).expect("a descriptor"), bell]
            }
            Self::Uring => Vec::new(),
        };
        [way(), way()].into_iter().flatten().collect()
    }

    fn measure(&self, meeting: &Meeting, _job: Job, plan: &Plan) -> Reading {
        task::block_on(async {
            let mut sleeper = Sleeper::of(*self, meeting, 1);
            let post = async |number| ring(*self, meeting, 0, Tally::There, number);
            lead(meeting, plan, post, async |number| sleeper.arrived(meeting, Tally::Back, number).await)
                .await
        })
    }

    fn serve(&self, meeting: &Meeting, _job: Job) {
        task::block_on(async {
            let mut sleeper = Sleeper::of(*self, meeting, 0);
            let arrive = async |number| sleeper.arrived(meeting, Tally::There, number).await;
            follow(meeting, arrive, async |number| ring(*self, meeting, 1, Tally::Back, number)).await;
        });
    }
}
