//! Peers that break the rules, and whether anything leaks: descriptors and mappings of this process are counted, so one test at a time.
#![cfg(not(madsim))]

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, sendmsg,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use synod_platform::local::{Access, FRAME_MAX, HANDLES_MAX, Listener, LocalError, Receiver, connect};
use synod_platform::memory::{self, Bell};
use synod_platform::testing::run;
use synod_platform::time;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Descriptors that this process has open, and mappings of shared memory.
fn held() -> (usize, usize) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    (descriptors, maps.lines().filter(|line| line.contains("memfd:synod")).count())
}

/// A peer that speaks to the socket without this crate.
struct Hostile(OwnedFd);

impl Hostile {
    fn connect(path: &Path) -> Self {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        Self(socket)
    }

    /// Sends `frame` with that many descriptors; false when there is no room.
    fn send(&self, frame: &[u8], descriptors: usize) -> bool {
        let passed: Vec<BorrowedFd<'_>> = vec![self.0.as_fd(); descriptors];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if descriptors > 0 {
            assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
        }
        sendmsg(&self.0, &[IoSlice::new(frame)], &mut control, SendFlags::DONTWAIT).is_ok()
    }
}

async fn hostile_and_victim(folder: &Path) -> (Hostile, Receiver) {
    let path = folder.join("node.sock");
    let mut listener = Listener::bind(&path, Access::Owner).await.unwrap();
    let hostile = Hostile::connect(&path);
    (hostile, listener.accept().await.unwrap().split().1)
}

#[test]
fn frames_and_handles_beyond_the_limits_are_named_and_leave_nothing_behind() {
    let _alone = alone();
    run(1, || async {
        let folder = tempfile::tempdir().unwrap();
        let (hostile, mut victim) = hostile_and_victim(folder.path()).await;
        let before = held();
        for _ in 0..50 {
            for many in [HANDLES_MAX + 1, 100, 253] {
                assert!(hostile.send(b"take these", many));
                let refused = victim.recv().await.unwrap_err();
                assert_eq!(refused, LocalError::TooManyHandles { limit: HANDLES_MAX });
            }
            let (size, limit) = (FRAME_MAX + 1000, FRAME_MAX);
            assert!(hostile.send(&vec![1; size], HANDLES_MAX));
            assert_eq!(victim.recv().await.unwrap_err(), LocalError::TooLarge { size, limit });
            assert!(hostile.send(b"", HANDLES_MAX));
            assert!(victim.recv().await.unwrap().is_none(), "a frame without a byte is an end");
            assert!(hostile.send(b"and on", 1));
            let (frame, handles) = victim.recv().await.unwrap().unwrap();
            assert_eq!((&*frame, handles.len()), (&b"and on"[..], 1));
        }
        assert_eq!(held(), before);
    });
}

#[test]
fn handles_that_are_not_what_was_announced_are_closed_with_their_refusal() {
    let _alone = alone();
    run(2, || async {
        let folder = tempfile::tempdir().unwrap();
        let (hostile, mut victim) = hostile_and_victim(folder.path()).await;
        let before = held();
        assert!(hostile.send(b"memory and bell", 2));
        let (_, handles) = victim.recv().await.unwrap().unwrap();
        let mut handles = handles.into_iter();
        memory::open(handles.next().unwrap(), 4096).unwrap_err();
        memory::ringer(handles.next().unwrap()).unwrap_err();
        assert_eq!(held(), before);
    });
}

#[test]
fn what_a_peer_left_in_the_queue_goes_with_the_channel() {
    let _alone = alone();
    run(3, || async {
        let folder = tempfile::tempdir().unwrap();
        let before = held();
        let (hostile, victim) = hostile_and_victim(folder.path()).await;
        let mut sent = 0;
        while sent < 10_000 && hostile.send(b"flood", 8) {
            sent += 1;
        }
        assert!((1..10_000).contains(&sent), "the kernel bounds what is under way: {sent}");
        drop((hostile, victim));
        assert_eq!(held(), before);
    });
}

#[test]
fn a_thousand_regions_bells_and_channels_leave_nothing_behind() {
    let _alone = alone();
    run(4, || async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sock");
        let before = held();
        let mut listener = Listener::bind(&path, Access::Owner).await.unwrap();
        let listening = held();
        for _ in 0..1000 {
            let (mut up, _keep) = connect(&path).await.unwrap().split();
            let (_hold, mut heard) = listener.accept().await.unwrap().split();
            let mut own = memory::shared(10_000).unwrap();
            let bell = Bell::new().unwrap();
            up.send(b"ours", vec![own.handle().unwrap(), bell.handle().unwrap()]).await.unwrap();
            own.close();
            let (_, mut handles) = heard.recv().await.unwrap().unwrap();
            let _ringer = memory::ringer(handles.remove(1)).unwrap();
            let _seen = memory::open(handles.remove(0), 10_000).unwrap();
        }
        assert_eq!(held(), listening);
        drop(listener);
        assert_eq!(held(), before);
    });
}

/// Lets this process open nothing more until it is dropped.
struct NothingLeft(Rlimit);

impl NothingLeft {
    fn new() -> Self {
        let usual = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..usual }).unwrap();
        Self(usual)
    }
}

impl Drop for NothingLeft {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.0).unwrap();
    }
}

#[test]
fn a_process_without_descriptors_says_so_and_goes_on_when_it_has_some() {
    let _alone = alone();
    run(5, || async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sock");
        let mut listener = Listener::bind(&path, Access::Owner).await.unwrap();
        let hostile = Hostile::connect(&path);
        let mut victim = listener.accept().await.unwrap().split().1;
        assert!(hostile.send(b"one", 1));
        let waiting = Hostile::connect(&path);
        let before = held();
        {
            let _nothing = NothingLeft::new();
            assert_eq!(victim.recv().await.unwrap_err(), LocalError::NoDescriptors);
            assert_eq!(connect(&path).await.unwrap_err(), LocalError::NoDescriptors);
            let accepted = time::timeout(Duration::from_millis(50), listener.accept()).await;
            assert!(accepted.is_err(), "it waits for some instead of failing");
        }
        assert_eq!(held(), before);
        let mut second = listener.accept().await.unwrap().split().1;
        assert!(waiting.send(b"two", 0));
        assert_eq!(&*second.recv().await.unwrap().unwrap().0, b"two");
        assert!(hostile.send(b"three", 1));
        assert_eq!(victim.recv().await.unwrap().unwrap().1.len(), 1);
    });
}
