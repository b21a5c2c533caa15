//! What `platform::net` promises, held against all arms: the same bodies run on real loopback sockets, by epoll and by io_uring, and on
//! the simulated network. What only sockets can show (TLS, file modes) stands in `real.rs`, what only the simulator can in `net_sim.rs`.

#[cfg(not(madsim))]
mod real;

use std::time::Duration;

use bytes::Bytes;
use synod_platform::net::{
    Address, Connection, Credentials, DATAGRAM_MAX, Datagram, FRAME_MAX, HANDSHAKES_MAX, Listener, NetError,
    Proof, connect,
};
use synod_platform::{task, time};

use super::run;

fn plain(name: &str) -> Credentials {
    Credentials::plain(name).unwrap()
}

fn loopback() -> Address {
    "127.0.0.1:0".parse().unwrap()
}

fn soon() -> time::Mono {
    time::now() + Duration::from_secs(20)
}

/// A connection from `client` to `server` over loopback, as both see it.
async fn pair() -> (Connection, Connection) {
    let mut listener = Listener::bind(&loopback(), &plain("server")).await.unwrap();
    let at = listener.address().clone();
    let client = task::spawn(async move { connect(&at, &plain("client"), soon()).await });
    let server = listener.accept().await.unwrap();
    (client.await.unwrap().unwrap(), server)
}

#[test]
fn both_ends_learn_the_others_name_and_what_it_is_worth() {
    run(1, || async {
        let (client, server) = pair().await;
        assert_eq!((client.peer().name(), client.peer().proof()), ("server", Proof::Claimed));
        assert_eq!((server.peer().name(), server.peer().proof()), ("client", Proof::Claimed));
    });
}

#[test]
fn frames_of_every_size_arrive_whole_and_in_order_both_ways() {
    run(2, || async {
        let (client, server) = pair().await;
        let sizes = [0, 1, 47, 48, 49, 4096, 4097, 65_535, 65_536, 1 << 20, 3 << 20, 5, 0, FRAME_MAX];
        let frames: Vec<Bytes> =
            sizes.iter().enumerate().map(|(i, size)| Bytes::from(vec![i as u8; *size])).collect();
        let (mut up, mut echoed) = client.split();
        let (mut down, mut heard) = server.split();
        let echo = task::spawn(async move {
            while let Some(frame) = heard.recv().await? {
                down.send(frame).await?;
            }
            down.close().await
        });
        let sent = frames.clone();
        let sending = task::spawn(async move {
            for frame in sent {
                up.send(frame).await?;
            }
            up.close().await
        });
        for frame in &frames {
            assert!(echoed.recv().await.unwrap().unwrap() == *frame, "{} bytes", frame.len());
        }
        assert_eq!(echoed.recv().await, Ok(None));
        assert_eq!(echoed.recv().await, Ok(None), "an end stays an end");
        sending.await.unwrap().unwrap();
        echo.await.unwrap().unwrap();
    });
}

#[test]
fn a_queued_batch_goes_out_in_one_flush_and_in_order() {
    run(3, || async {
        let (client, mut server) = pair().await;
        let (mut sender, _receiver) = client.split();
        for i in 0..100u8 {
            sender.queue(Bytes::from(vec![i; i as usize])).unwrap();
        }
        assert_eq!(sender.queued(), 100 * 4 + 99 * 100 / 2);
        sender.flush().await.unwrap();
        assert_eq!(sender.queued(), 0);
        for i in 0..100u8 {
            assert_eq!(server.recv().await.unwrap().unwrap(), vec![i; i as usize]);
        }
    });
}

#[test]
fn a_frame_over_the_limit_is_refused_and_the_connection_goes_on() {
    run(4, || async {
        let (mut client, mut server) = pair().await;
        let limit = FRAME_MAX as u64;
        let huge = Bytes::from(vec![0; FRAME_MAX + 1]);
        assert_eq!(client.send(huge).await, Err(NetError::TooLarge { size: limit + 1, limit }));
        client.send(Bytes::from_static(b"small")).await.unwrap();
        assert_eq!(server.recv().await.unwrap().unwrap(), "small");
    });
}

#[test]
fn a_send_whose_future_was_dropped_tears_no_frame() {
    run(5, || async {
        let (client, server) = pair().await;
        let (mut sender, _keep) = client.split();
        let (_hold, mut receiver) = server.split();
        // Nobody reads yet: the network's buffers fill up, and the send is dropped in the middle of a frame.
        let mut dropped = 0;
        loop {
            let frame = Bytes::from(vec![dropped as u8; 1 << 20]);
            let sent = time::timeout(Duration::from_millis(200), sender.send(frame)).await;
            dropped += 1;
            if sent.is_err() {
                break;
            }
        }
        assert!(sender.queued() > 0);
        let finish = task::spawn(async move {
            sender.send(Bytes::from_static(b"last")).await.unwrap();
            sender.close().await.unwrap();
        });
        for i in 0..dropped {
            let frame = receiver.recv().await.unwrap().unwrap();
            assert!(frame.len() == 1 << 20 && frame.iter().all(|b| *b == i as u8), "frame {i}");
        }
        assert_eq!(receiver.recv().await.unwrap().unwrap(), "last");
        assert_eq!(receiver.recv().await, Ok(None));
        finish.await.unwrap();
    });
}

#[test]
fn a_receive_whose_future_was_dropped_loses_no_frame() {
    run(6, || async {
        let (mut client, mut server) = pair().await;
        for i in 0..20u32 {
            assert!(time::timeout(Duration::from_millis(2), server.recv()).await.is_err());
            client.send(Bytes::from(i.to_le_bytes().repeat(50_000))).await.unwrap();
            let mut patience = Duration::from_micros(1);
            let frame = loop {
                match time::timeout(patience, server.recv()).await {
                    Ok(frame) => break frame.unwrap().unwrap(),
                    Err(_) => patience *= 2,
                }
            };
            assert!(frame.len() == 200_000 && frame.starts_with(&i.to_le_bytes()));
        }
    });
}

#[test]
fn nobody_listening_is_refused_at_once() {
    run(7, || async {
        let listener = Listener::bind(&loopback(), &plain("server")).await.unwrap();
        let at = listener.address().clone();
        drop(listener);
        let refused = connect(&at, &plain("client"), soon()).await.err();
        assert_eq!(refused, Some(NetError::Refused { address: at }));
    });
}

#[test]
fn a_deadline_that_has_passed_is_told_as_such() {
    run(8, || async {
        // The listener never accepts, so the hello is never answered.
        let listener = Listener::bind(&loopback(), &plain("server")).await.unwrap();
        let at = listener.address().clone();
        let deadline = time::now() + Duration::from_millis(50);
        let late = connect(&at, &plain("client"), deadline).await.err();
        assert_eq!(late, Some(NetError::TimedOut { address: at }));
        assert!(time::now() >= deadline);
    });
}

#[test]
fn an_address_in_use_is_named() {
    run(9, || async {
        let listener = Listener::bind(&loopback(), &plain("one")).await.unwrap();
        let address = listener.address().clone();
        let taken = Listener::bind(&address, &plain("two")).await.err();
        assert_eq!(taken, Some(NetError::AddressInUse { address }));
    });
}

#[test]
fn plain_credentials_do_not_leave_the_machine() {
    run(10, || async {
        for text in ["0.0.0.0:0", "10.0.0.1:0", "[::]:0"] {
            let address: Address = text.parse().unwrap();
            let refused = Some(NetError::NotLoopback { address: address.clone() });
            assert_eq!(Listener::bind(&address, &plain("x")).await.err(), refused);
            assert_eq!(connect(&address, &plain("x"), soon()).await.err(), refused);
            let Address::Tcp(at) = address else { unreachable!() };
            assert_eq!(Datagram::bind(at, &plain("x")).await.err(), refused);
        }
    });
}

#[test]
fn a_peer_that_drops_both_halves_ends_the_stream_and_then_resets_it() {
    run(11, || async {
        let (client, mut server) = pair().await;
        drop(client);
        assert_eq!(server.recv().await, Ok(None));
        let error = loop {
            if let Err(error) = server.send(Bytes::from_static(b"anybody?")).await {
                break error;
            }
            task::yield_now().await;
        };
        assert_eq!(error, NetError::Reset);
        assert_eq!(server.send(Bytes::new()).await, Err(NetError::Reset), "it says the same again");
    });
}

#[test]
fn a_closed_sender_says_so_and_its_receiver_still_hears() {
    run(12, || async {
        let (client, mut server) = pair().await;
        let (mut sender, mut receiver) = client.split();
        sender.close().await.unwrap();
        assert_eq!(sender.send(Bytes::new()).await, Err(NetError::Closed));
        assert_eq!(server.recv().await, Ok(None));
        server.send(Bytes::from_static(b"still here")).await.unwrap();
        assert_eq!(receiver.recv().await.unwrap().unwrap(), "still here");
    });
}

#[test]
fn a_slow_reader_holds_up_its_sender_and_loses_nothing() {
    const FRAME: usize = 100_000;
    run(18, || async {
        let (client, mut server) = pair().await;
        let (mut sender, _keep) = client.split();
        let held_up = time::timeout(Duration::from_millis(500), async {
            let mut sent = 0u32;
            loop {
                sender.send(Bytes::from(sent.to_le_bytes().repeat(FRAME / 4))).await.unwrap();
                sent += 1;
                assert!(sent < 2000, "somebody holds 200 MB for a reader that reads nothing");
            }
        });
        assert!(held_up.await.is_err());
        let rest = task::spawn(async move { sender.close().await });
        let mut came = 0u32;
        while let Some(frame) = server.recv().await.unwrap() {
            assert!(frame.len() == FRAME && frame.starts_with(&came.to_le_bytes()), "frame {came}");
            came += 1;
        }
        assert!(came > 0);
        rest.await.unwrap().unwrap();
    });
}

#[test]
fn a_connection_dropped_in_the_middle_of_a_frame_shows_no_frame_of_it() {
    run(19, || async {
        let (client, mut server) = pair().await;
        let (mut sender, receiver) = client.split();
        let huge = Bytes::from(vec![7; FRAME_MAX]);
        let mut whole = 0;
        while time::timeout(Duration::from_millis(200), sender.send(huge.clone())).await.is_ok() {
            whole += 1;
        }
        drop((sender, receiver));
        let ended = loop {
            match server.recv().await {
                Ok(Some(frame)) => {
                    assert!(frame == huge);
                    whole -= 1;
                }
                ended => break ended,
            }
        };
        assert!(matches!(ended, Err(NetError::MidFrame { .. } | NetError::Reset)), "{ended:?}");
        assert_eq!(whole, 0);
    });
}

#[test]
fn many_connections_of_one_context_keep_their_streams_apart() {
    run(20, || async {
        let mut talks = Vec::new();
        for number in 0..20u8 {
            let (mut client, mut server) = pair().await;
            talks.push(task::spawn(async move {
                for round in 0..50u8 {
                    let size = 1 + usize::from(round) * 997;
                    let frame = Bytes::from(vec![number ^ round; size]);
                    client.send(frame.clone()).await.unwrap();
                    assert!(server.recv().await.unwrap().unwrap() == frame, "{number}, round {round}");
                    server.send(frame.clone()).await.unwrap();
                    assert!(client.recv().await.unwrap().unwrap() == frame, "{number}, round {round}");
                }
            }));
        }
        for talk in talks {
            talk.await.unwrap();
        }
    });
}

#[test]
fn strangers_that_leave_early_hold_up_nobody() {
    run(13, || async {
        let mut listener = Listener::bind(&loopback(), &plain("server")).await.unwrap();
        let at = listener.address().clone();
        // Each connects and leaves without finishing its hello's round trip.
        for _ in 0..HANDSHAKES_MAX / 2 {
            let gone = time::timeout(Duration::from_millis(1), connect(&at, &plain("mute"), soon())).await;
            drop(gone);
        }
        let client = task::spawn(async move { connect(&at, &plain("client"), soon()).await });
        let mut accepted = listener.accept().await.unwrap();
        while accepted.peer().name() != "client" {
            accepted = listener.accept().await.unwrap();
        }
        assert!(client.await.unwrap().is_ok());
    });
}

#[test]
fn an_accept_whose_future_was_dropped_loses_no_peer() {
    run(14, || async {
        let mut listener = Listener::bind(&loopback(), &plain("server")).await.unwrap();
        let at = listener.address().clone();
        let client = task::spawn(async move { connect(&at, &plain("client"), soon()).await });
        let mut patience = Duration::from_micros(1);
        let server = loop {
            match time::timeout(patience, listener.accept()).await {
                Ok(accepted) => break accepted.unwrap(),
                Err(_) => patience *= 2,
            }
        };
        assert_eq!(server.peer().name(), "client");
        assert!(client.await.unwrap().is_ok());
    });
}

#[test]
fn datagrams_carry_their_bytes_and_their_senders_address() {
    run(15, || async {
        let Address::Tcp(any) = loopback() else { unreachable!() };
        let one = Datagram::bind(any, &plain("one")).await.unwrap();
        let two = Datagram::bind(any, &plain("two")).await.unwrap();
        for size in [0, 1, DATAGRAM_MAX] {
            one.send_to(&vec![7; size], two.address()).await.unwrap();
            let (payload, from) = two.recv_from().await.unwrap();
            assert_eq!((payload.len(), from), (size, one.address()));
        }
        let limit = DATAGRAM_MAX as u64;
        let error = one.send_to(&[0; DATAGRAM_MAX + 1], two.address()).await;
        assert_eq!(error, Err(NetError::TooLarge { size: limit + 1, limit }));
    });
}

#[test]
fn a_datagram_to_nobody_is_no_error() {
    run(16, || async {
        let Address::Tcp(any) = loopback() else { unreachable!() };
        let one = Datagram::bind(any, &plain("one")).await.unwrap();
        let two = Datagram::bind(any, &plain("two")).await.unwrap();
        let gone = two.address();
        drop(two);
        for _ in 0..3 {
            one.send_to(b"anybody?", gone).await.unwrap();
        }
        let three = Datagram::bind(any, &plain("three")).await.unwrap();
        three.send_to(b"me", one.address()).await.unwrap();
        assert_eq!(one.recv_from().await.unwrap(), (Bytes::from_static(b"me"), three.address()));
    });
}

#[test]
fn unix_sockets_carry_the_kernels_word_for_the_peer() {
    run(17, || async {
        let folder = tempfile::tempdir().unwrap();
        let address = Address::Unix(folder.path().join("node.sock"));
        let mut listener = Listener::bind(&address, &plain("server")).await.unwrap();
        let at = address.clone();
        let client = task::spawn(async move { connect(&at, &plain("client"), soon()).await });
        let mut server = listener.accept().await.unwrap();
        let mut client = client.await.unwrap().unwrap();
        assert_eq!(server.peer().name(), "client");
        assert!(matches!(server.peer().proof(), Proof::Process { .. }), "{:?}", server.peer());
        client.send(Bytes::from_static(b"hello")).await.unwrap();
        assert_eq!(server.recv().await.unwrap().unwrap(), "hello");
        let taken = Listener::bind(&address, &plain("second")).await.err();
        assert_eq!(taken, Some(NetError::AddressInUse { address: address.clone() }));
        drop(listener);
        let refused = connect(&address, &plain("late"), soon()).await.err();
        assert_eq!(refused, Some(NetError::Refused { address: address.clone() }));
        Listener::bind(&address, &plain("again")).await.unwrap();
    });
}

#[test]
fn names_that_no_certificate_could_carry_are_refused() {
    for name in ["", "with space", "ünicode", &"x".repeat(256)] {
        assert!(Credentials::plain(name).is_err(), "{name}");
    }
    assert_eq!(Credentials::plain("node-1.synod_x").unwrap().name(), "node-1.synod_x");
}
