//! Conformance of `local`, the same bodies on both arms; then what only the simulated arm can show.
//! What only the real arm has (modes, other processes, hostile peers) stands in `local_real.rs`.

use std::path::PathBuf;
use std::time::Duration;

use synod_platform::local::{
    Access, Channel, FRAME_MAX, HANDLES_MAX, Listener, LocalError, Receiver, Sender, connect,
};
use synod_platform::memory::{self, Bell, Handle};
use synod_platform::testing::run;
use synod_platform::{task, time};
use synod_ring::{Region, Waiter};

/// A path in a folder of its own, which goes with the guard.
fn path() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("node.sock");
    (folder, path)
}

/// A channel's both ends.
async fn pair() -> (Channel, Channel) {
    let (_folder, path) = path();
    let mut listener = Listener::bind(&path, Access::Owner).await.unwrap();
    let client = connect(&path).await.unwrap();
    (client, listener.accept().await.unwrap())
}

async fn send(sender: &mut Sender, frame: &[u8]) {
    sender.send(frame, Vec::new()).await.unwrap();
}

async fn frame(receiver: &mut Receiver) -> Vec<u8> {
    let (frame, handles) = receiver.recv().await.unwrap().unwrap();
    assert!(handles.is_empty());
    frame.to_vec()
}

#[test]
fn frames_of_every_size_arrive_whole_and_in_order_both_ways() {
    run(1, || async {
        let (client, server) = pair().await;
        let (mut up, mut echoed) = client.split();
        let (mut down, mut heard) = server.split();
        let sizes = [1, 2, 63, 64, 4096, 5000, FRAME_MAX - 1, FRAME_MAX, 3];
        let echo = task::spawn(async move {
            while let Some((frame, _)) = heard.recv().await.unwrap() {
                send(&mut down, &frame).await;
            }
        });
        let sending = task::spawn(async move {
            for (i, size) in sizes.into_iter().enumerate() {
                send(&mut up, &vec![i as u8; size]).await;
            }
            up
        });
        for (i, size) in sizes.into_iter().enumerate() {
            assert!(frame(&mut echoed).await == vec![i as u8; size], "{size} bytes");
        }
        drop((sending.await.unwrap(), echoed));
        echo.await.unwrap();
    });
}

#[test]
fn memory_and_bells_travel_with_their_frame_and_work_at_the_other_end() {
    run(2, || async {
        let (client, server) = pair().await;
        let ((mut up, _keep), (_hold, mut heard)) = (client.split(), server.split());
        let own = memory::shared(5000).unwrap();
        let bell = Bell::new().unwrap();
        up.send(b"first", vec![own.handle().unwrap(), bell.handle().unwrap()]).await.unwrap();
        send(&mut up, b"second").await;
        let (text, handles) = heard.recv().await.unwrap().unwrap();
        assert_eq!((&*text, handles.len()), (&b"first"[..], 2));
        let mut handles = handles.into_iter();
        let seen = memory::open(handles.next().unwrap(), 5000).unwrap();
        // SAFETY: both inside their regions; the first is this test's own.
        unsafe {
            own.base().as_ptr().write_volatile(9);
            assert_eq!(seen.base().as_ptr().read_volatile(), 9);
        }
        memory::ringer(handles.next().unwrap()).unwrap().wake();
        bell.rung().await;
        assert_eq!(frame(&mut heard).await, b"second");
    });
}

#[test]
fn as_many_handles_as_are_allowed_come_in_their_order() {
    run(3, || async {
        let (client, server) = pair().await;
        let ((mut up, _keep), (_hold, mut heard)) = (client.split(), server.split());
        let of = |count: usize| -> Vec<Handle> {
            (1..=count).map(|i| memory::shared(i * 10_000).unwrap().handle().unwrap()).collect()
        };
        up.send(b"full", of(HANDLES_MAX)).await.unwrap();
        let (_, handles) = heard.recv().await.unwrap().unwrap();
        assert_eq!(handles.len(), HANDLES_MAX);
        for (i, handle) in (1..).zip(&handles) {
            memory::check(handle, i * 10_000).unwrap();
        }
        let refused = up.send(b"one more", of(HANDLES_MAX + 1)).await;
        assert_eq!(refused, Err(LocalError::TooManyHandles { limit: HANDLES_MAX }));
        send(&mut up, b"goes on").await;
        assert_eq!(frame(&mut heard).await, b"goes on");
    });
}

#[test]
fn frames_that_are_too_large_or_empty_are_refused_and_the_channel_goes_on() {
    run(4, || async {
        let (client, server) = pair().await;
        let ((mut up, _keep), (_hold, mut heard)) = (client.split(), server.split());
        assert_eq!(up.send(b"", Vec::new()).await, Err(LocalError::Empty));
        let (size, limit) = (FRAME_MAX + 1, FRAME_MAX);
        assert_eq!(up.send(&vec![0; size], Vec::new()).await, Err(LocalError::TooLarge { size, limit }));
        send(&mut up, b"goes on").await;
        assert_eq!(frame(&mut heard).await, b"goes on");
    });
}

#[test]
fn a_sender_waits_while_nobody_reads_and_one_that_gave_up_has_sent_nothing() {
    run(5, || async {
        let (client, server) = pair().await;
        let ((mut up, _keep), (_hold, mut heard)) = (client.split(), server.split());
        let mut sent = 0u8;
        while time::timeout(Duration::from_millis(20), up.send(&[sent; 30_000], Vec::new())).await.is_ok() {
            sent += 1;
        }
        assert!((1..100).contains(&sent), "{sent} frames are under way");
        let rest = task::spawn(async move {
            for i in 0..100 {
                send(&mut up, &[i; 30_000]).await;
            }
        });
        for i in (0..sent).chain(0..100) {
            assert!(frame(&mut heard).await == [i; 30_000], "frame {i}");
        }
        rest.await.unwrap();
    });
}

#[test]
fn a_receive_and_an_accept_that_were_given_up_lose_nothing() {
    run(6, || async {
        let (_folder, path) = path();
        let mut listener = Listener::bind(&path, Access::Owner).await.unwrap();
        assert!(time::timeout(Duration::from_millis(2), listener.accept()).await.is_err());
        let (mut up, _keep) = connect(&path).await.unwrap().split();
        let (_hold, mut heard) = listener.accept().await.unwrap().split();
        for i in 0..20 {
            assert!(time::timeout(Duration::from_millis(2), heard.recv()).await.is_err());
            send(&mut up, &[i; 100]).await;
            assert_eq!(frame(&mut heard).await, [i; 100]);
        }
    });
}

#[test]
fn what_was_sent_before_the_end_is_received_and_then_the_end() {
    run(7, || async {
        let (client, server) = pair().await;
        let ((mut up, unread), (mut down, mut heard)) = (client.split(), server.split());
        send(&mut up, b"one").await;
        send(&mut up, b"two").await;
        // What the peer leaves unread must not hide what it said.
        send(&mut down, b"never read").await;
        drop(up);
        assert_eq!(frame(&mut heard).await, b"one");
        drop(unread);
        assert_eq!(frame(&mut heard).await, b"two");
        for _ in 0..3 {
            assert!(heard.recv().await.unwrap().is_none(), "an end stays an end");
        }
        assert_eq!(down.send(b"anybody?", Vec::new()).await, Err(LocalError::Closed));
    });
}

#[test]
fn who_waits_to_send_or_to_receive_is_told_when_the_peer_goes() {
    run(8, || async {
        let (client, server) = pair().await;
        let (mut up, mut echoed) = client.split();
        let sending = task::spawn(async move { while up.send(&[0; 30_000], Vec::new()).await.is_ok() {} });
        let receiving = task::spawn(async move { echoed.recv().await });
        time::sleep(Duration::from_millis(20)).await;
        drop(server);
        sending.await.unwrap();
        assert!(receiving.await.unwrap().unwrap().is_none());
    });
}

#[test]
fn nobody_listening_and_somebody_listening_already_are_told_apart() {
    run(9, || async {
        let (_folder, path) = path();
        let nobody = || Some(LocalError::NobodyListens { path: path.clone() });
        assert_eq!(connect(&path).await.err(), nobody());
        let first = Listener::bind(&path, Access::Owner).await.unwrap();
        assert_eq!(first.path(), path);
        let second = Listener::bind(&path, Access::Owner).await.err();
        assert_eq!(second, Some(LocalError::InUse { path: path.clone() }));
        connect(&path).await.unwrap();
        drop(first);
        assert_eq!(connect(&path).await.err(), nobody());
        Listener::bind(&path, Access::Owner).await.unwrap();
    });
}

#[test]
fn a_listener_that_goes_ends_the_channels_that_it_had_not_taken() {
    run(10, || async {
        let (_folder, path) = path();
        let listener = Listener::bind(&path, Access::Owner).await.unwrap();
        let (_up, mut heard) = connect(&path).await.unwrap().split();
        drop(listener);
        assert!(heard.recv().await.unwrap().is_none());
    });
}

#[test]
fn more_that_knock_than_the_queue_holds_wait_and_all_come_in() {
    run(11, || async {
        let (_folder, path) = path();
        let mut listener = Listener::bind(&path, Access::Owner).await.unwrap();
        let knocking: Vec<_> = (0..200)
            .map(|_| {
                let path = path.clone();
                task::spawn(async move { connect(&path).await.unwrap() })
            })
            .collect();
        let mut taken = Vec::new();
        for _ in 0..200 {
            taken.push(listener.accept().await.unwrap());
        }
        for one in knocking {
            one.await.unwrap();
        }
    });
}

#[test]
fn a_path_that_no_socket_can_have_is_refused_by_name() {
    run(12, || async {
        let path = PathBuf::from("/tmp").join("x".repeat(110));
        let refused = Some(LocalError::PathTooLong { path: path.clone(), limit: 106 });
        assert_eq!(Listener::bind(&path, Access::Owner).await.err(), refused);
        assert_eq!(connect(&path).await.err(), refused);
    });
}

#[cfg(madsim)]
mod simulated {
    use super::*;
    use std::cell::RefCell;
    use std::path::Path;
    use std::rc::Rc;
    use synod_platform::simulation::{self, Node};
    use synod_platform::time::sleep;

    const PATH: &str = "/run/synod.sock";

    fn world<F: Future<Output = ()>>(seed: u64, body: impl FnOnce() -> F + Send + 'static) {
        simulation::run(seed, Duration::from_secs(60), body).unwrap();
    }

    /// A node that sends `first` and then sleeps with its channel open.
    fn client(name: &str, last: u8) -> Node {
        Node::create(name, [10, 0, 0, last].into(), || async {
            let (mut up, _keep) = connect(Path::new(PATH)).await.unwrap().split();
            send(&mut up, b"first").await;
            std::future::pending::<()>().await;
        })
    }

    #[test]
    fn a_crash_ends_the_channels_of_the_dead_life_after_what_it_sent() {
        world(1, || async {
            let mut listener = Listener::bind(Path::new(PATH), Access::Owner).await.unwrap();
            let node = client("a", 1);
            let channel = listener.accept().await.unwrap();
            assert_eq!(channel.peer().pid, node.id().number());
            let (mut down, mut heard) = channel.split();
            sleep(Duration::from_millis(1)).await;
            node.kill();
            assert_eq!(frame(&mut heard).await, b"first");
            assert!(heard.recv().await.unwrap().is_none());
            assert_eq!(down.send(b"gone?", Vec::new()).await, Err(LocalError::Closed));
        });
    }

    #[test]
    fn a_listener_that_crashed_listens_no_more_and_its_successor_may_at_once() {
        world(2, || async {
            let node = Node::create("server", [10, 0, 0, 1].into(), || async {
                let mut listener = Listener::bind(Path::new(PATH), Access::Owner).await.unwrap();
                let _taken = listener.accept().await.unwrap();
                std::future::pending::<()>().await;
            });
            sleep(Duration::from_millis(1)).await;
            let taken = connect(Path::new(PATH)).await.unwrap();
            let waiting = connect(Path::new(PATH)).await.unwrap();
            sleep(Duration::from_millis(1)).await;
            node.kill();
            for mut ended in [taken.split().1, waiting.split().1] {
                assert!(ended.recv().await.unwrap().is_none());
            }
            let refused = connect(Path::new(PATH)).await.err();
            assert_eq!(refused, Some(LocalError::NobodyListens { path: PATH.into() }));
            node.restart();
            sleep(Duration::from_millis(1)).await;
            connect(Path::new(PATH)).await.unwrap();
        });
    }

    /// Sends when it is dropped, which a process killed by SIGKILL never does.
    struct LastWords(Option<Sender>);

    impl Drop for LastWords {
        fn drop(&mut self) {
            let mut sender = self.0.take().unwrap();
            let mut sending = Box::pin(async move { sender.send(b"I am dead", Vec::new()).await });
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(sending.as_mut().poll(&mut cx).is_ready());
        }
    }

    #[test]
    fn what_a_dead_life_still_says_is_not_heard() {
        world(3, || async {
            let mut listener = Listener::bind(Path::new(PATH), Access::Owner).await.unwrap();
            let node = Node::create("a", [10, 0, 0, 1].into(), || async {
                let (up, _keep) = connect(Path::new(PATH)).await.unwrap().split();
                let _words = LastWords(Some(up));
                std::future::pending::<()>().await;
            });
            let (_down, mut heard) = listener.accept().await.unwrap().split();
            sleep(Duration::from_millis(1)).await;
            node.kill();
            sleep(Duration::from_millis(1)).await;
            assert!(heard.recv().await.unwrap().is_none());
        });
    }

    #[test]
    fn a_conversation_takes_no_time_and_goes_the_same_way_for_one_seed() {
        let order = |seed| {
            let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
            let kept = heard.clone();
            world(seed, move || async move {
                let mut listener = Listener::bind(Path::new(PATH), Access::Owner).await.unwrap();
                let nodes: Vec<Node> = (1..=8).map(|i| client(&format!("n{i}"), i)).collect();
                for _ in &nodes {
                    let channel = listener.accept().await.unwrap();
                    let pid = channel.peer().pid;
                    frame(&mut channel.split().1).await;
                    kept.lock().unwrap().push(pid);
                }
                // Steps of the simulator take up to 100 ns each.
                assert!(simulation::clock::elapsed() < Duration::from_micros(50));
            });
            std::mem::take(&mut *heard.lock().unwrap())
        };
        let orders: Vec<_> = (0..8).map(order).collect();
        assert_eq!(orders, (0..8).map(order).collect::<Vec<_>>());
        assert!(orders.iter().any(|one| one != &orders[0]), "the seed decides who comes first");
    }

    #[test]
    fn a_handle_in_a_frame_outlives_the_life_that_sent_it() {
        world(4, || async {
            let mut listener = Listener::bind(Path::new(PATH), Access::Owner).await.unwrap();
            let sent = Rc::new(RefCell::new(false));
            let flag = sent.clone();
            let node = Node::create("a", [10, 0, 0, 1].into(), move || {
                let flag = flag.clone();
                async move {
                    let own = memory::shared(100).unwrap();
                    // SAFETY: the region is this node's own.
                    unsafe { own.base().as_ptr().write_volatile(5) };
                    let (mut up, _keep) = connect(Path::new(PATH)).await.unwrap().split();
                    up.send(b"take it", vec![own.handle().unwrap()]).await.unwrap();
                    *flag.borrow_mut() = true;
                    std::future::pending::<()>().await;
                }
            });
            let (_down, mut heard) = listener.accept().await.unwrap().split();
            sleep(Duration::from_millis(1)).await;
            assert!(*sent.borrow());
            node.kill();
            let (_, mut handles) = heard.recv().await.unwrap().unwrap();
            let seen = memory::open(handles.remove(0), 100).unwrap();
            // SAFETY: inside the region.
            assert_eq!(unsafe { seen.base().as_ptr().read_volatile() }, 5);
        });
    }
}
