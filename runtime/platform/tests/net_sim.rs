//! What only the simulated network can show: every line of the network's fault model, crashes, and one seed, one history.
//!
//! | fault | test |
//! |---|---|
//! | latency by distribution | `latency_is_drawn_from_the_links_distribution` |
//! | loss | `lost_stream_pieces_come_late_and_lost_datagrams_never` |
//! | duplication, reordering | `datagrams_are_doubled_and_overtaken_when_asked` |
//! | connection reset | `a_reset_ends_both_sides_at_once`, `a_link_may_reset_by_chance` |
//! | one-way partition | `a_one_way_cut_lets_the_other_way_pass` |
//! | two-way partition | `a_partition_holds_streams_and_healing_delivers_them`, `connecting_waits_out_a_partition` |
//! | flapping | `a_flapping_link_delivers_in_its_up_phases` |
//! | slow link | `a_slow_link_multiplies_its_latency` |
//! | bandwidth cap | `a_bandwidth_cap_spreads_a_large_frame_over_time` |
#![cfg(madsim)]

use std::cell::RefCell;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use synod_platform::net::control::{self, Delay, Direction, LinkFaults};
use synod_platform::net::{Address, Connection, Credentials, Datagram, Listener, NetError, connect};
use synod_platform::simulation::{self, Node, clock};
use synod_platform::{task, time};

const LIMIT: Duration = Duration::from_secs(600);
const MS: Duration = Duration::from_millis(1);

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn at(last: u8, port: u16) -> Address {
    Address::Tcp(SocketAddr::new(ip(last), port))
}

fn creds(name: &str) -> Credentials {
    Credentials::simulated(name, "fleet").unwrap()
}

fn later(after: Duration) -> time::Mono {
    time::now() + after
}

fn exactly(ns: u64) -> LinkFaults {
    LinkFaults { latency: Delay::Fixed { ns }, ..LinkFaults::default() }
}

/// What happened, in order: shared between the nodes' futures and the test.
type Log = Rc<RefCell<Vec<String>>>;

fn note(log: &Log, what: impl Into<String>) {
    log.borrow_mut().push(what.into());
}

fn world<F, Fut, T>(seed: u64, body: F) -> T
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = T>,
    T: Send + 'static,
{
    simulation::run(seed, LIMIT, body).unwrap()
}

/// A node that echoes every frame of every connection, and notes how each ended.
fn echo_server(log: Log) -> Node {
    Node::create("server", ip(1), move || {
        let log = log.clone();
        async move {
            let mut listener = Listener::bind(&at(1, 7000), &creds("server")).await.unwrap();
            loop {
                let mut connection = listener.accept().await.unwrap();
                let log = log.clone();
                task::spawn(async move {
                    let end = loop {
                        match connection.recv().await {
                            Ok(Some(frame)) => {
                                if let Err(error) = connection.send(frame).await {
                                    break format!("{error:?}");
                                }
                            }
                            Ok(None) => break "end".to_owned(),
                            Err(error) => break format!("{error:?}"),
                        }
                    };
                    note(&log, format!("server: {end}"));
                })
                .detach();
            }
        }
    })
}

/// Runs `body` in a node with a connection to the echo server, and waits for its end.
async fn client<F, Fut>(body: F) -> Node
where
    F: Fn(Connection) -> Fut + Clone + 'static,
    Fut: Future<Output = ()>,
{
    Node::create("client", ip(2), move || {
        let body = body.clone();
        async move {
            let connection = connect(&at(1, 7000), &creds("client"), later(60 * 1000 * MS)).await.unwrap();
            body(connection).await;
        }
    })
}

async fn finished(node: Node) {
    assert_eq!(node.exited().await, simulation::Exit::Finished);
}

async fn echo(connection: &mut Connection, text: &'static str) -> Duration {
    let before = clock::elapsed();
    connection.send(Bytes::from_static(text.as_bytes())).await.unwrap();
    assert_eq!(connection.recv().await.unwrap().unwrap(), text);
    clock::elapsed() - before
}

#[test]
fn latency_is_drawn_from_the_links_distribution() {
    world(1, || async {
        control::set_default(LinkFaults { latency: Delay::between(1_000_000, 3_000_000), ..exactly(0) });
        echo_server(Log::default());
        let node = client(|mut connection| async move {
            let trips: Vec<Duration> = {
                let mut trips = Vec::new();
                for _ in 0..50 {
                    trips.push(echo(&mut connection, "x").await);
                }
                trips
            };
            assert!(trips.iter().all(|trip| (2 * MS..=6 * MS + MS / 10).contains(trip)), "{trips:?}");
            assert!(trips.iter().max() > trips.iter().min());
        });
        finished(node.await).await;
    });
}

#[test]
fn lost_stream_pieces_come_late_and_lost_datagrams_never() {
    world(2, || async {
        control::set_default(LinkFaults { loss: 0.3, ..exactly(1_000_000) });
        echo_server(Log::default());
        let node = client(|mut connection| async move {
            let mut late = 0;
            for _ in 0..30 {
                late += usize::from(echo(&mut connection, "x").await > 100 * MS);
            }
            assert!(late > 5, "{late}");
            let socket = Datagram::bind(SocketAddr::new(ip(2), 1), &creds("client")).await.unwrap();
            for _ in 0..200 {
                socket.send_to(b"x", SocketAddr::new(ip(3), 1)).await.unwrap();
            }
        });
        let heard = Rc::new(RefCell::new(0));
        let hears = heard.clone();
        Node::create("receiver", ip(3), move || {
            let hears = hears.clone();
            async move {
                let socket = Datagram::bind(SocketAddr::new(ip(3), 1), &creds("receiver")).await.unwrap();
                loop {
                    socket.recv_from().await.unwrap();
                    *hears.borrow_mut() += 1;
                }
            }
        });
        finished(node.await).await;
        time::sleep(100 * MS).await;
        let heard = *heard.borrow();
        assert!((100..180).contains(&heard), "{heard}");
        assert_eq!(control::counts().datagrams_lost, 200 - heard);
    });
}

#[test]
fn datagrams_are_doubled_and_overtaken_when_asked() {
    world(3, || async {
        control::set_default(LinkFaults { duplicate: 0.3, reorder: 0.3, ..exactly(1_000_000) });
        let heard: Rc<RefCell<Vec<u8>>> = Rc::default();
        let hears = heard.clone();
        Node::create("receiver", ip(1), move || {
            let hears = hears.clone();
            async move {
                let socket = Datagram::bind(SocketAddr::new(ip(1), 1), &creds("receiver")).await.unwrap();
                loop {
                    let (payload, from) = socket.recv_from().await.unwrap();
                    assert_eq!(from, SocketAddr::new(ip(2), 9));
                    hears.borrow_mut().push(payload[0]);
                }
            }
        });
        let sender = Node::create("sender", ip(2), || async {
            let socket = Datagram::bind(SocketAddr::new(ip(2), 9), &creds("sender")).await.unwrap();
            time::sleep(MS).await;
            for i in 0..100 {
                socket.send_to(&[i], SocketAddr::new(ip(1), 1)).await.unwrap();
                time::sleep(MS / 10).await;
            }
        });
        finished(sender).await;
        time::sleep(100 * MS).await;
        let heard = heard.borrow();
        assert!(heard.len() > 110, "doubled: {}", heard.len());
        assert!(heard.windows(2).filter(|pair| pair[0] > pair[1]).count() > 10, "overtaken");
        assert!((0..100).all(|i| heard.contains(&i)), "nothing was lost");
    });
}

#[test]
fn a_reset_ends_both_sides_at_once() {
    world(4, || async {
        let log = Log::default();
        let server = echo_server(log.clone());
        let noted = log.clone();
        let node = client(move |mut connection| {
            let noted = noted.clone();
            async move {
                echo(&mut connection, "x").await;
                let error = connection.recv().await.unwrap_err();
                note(&noted, format!("client: {error:?}"));
                assert_eq!(connection.send(Bytes::new()).await, Err(NetError::Reset));
            }
        })
        .await;
        time::sleep(50 * MS).await;
        assert_eq!(control::reset(node.id(), server.id()), 1);
        assert_eq!(control::reset(node.id(), server.id()), 0, "it is reset already");
        finished(node).await;
        time::sleep(MS).await;
        let mut ends = log.borrow().clone();
        ends.sort();
        assert_eq!(ends, ["client: Reset", "server: Reset"]);
    });
}

#[test]
fn a_link_may_reset_by_chance() {
    world(5, || async {
        echo_server(Log::default());
        let node = client(|mut connection| async move {
            control::set_default(LinkFaults { reset: 0.1, ..LinkFaults::default() });
            let mut sent = 0;
            let error = loop {
                sent += 1;
                if let Err(error) = connection.send(Bytes::from_static(b"x")).await {
                    break error;
                }
                if let Err(error) = connection.recv().await {
                    break error;
                }
            };
            assert_eq!(error, NetError::Reset);
            assert!(sent < 200);
        });
        finished(node.await).await;
        assert_eq!(control::counts().resets, 1);
    });
}

#[test]
fn a_partition_holds_streams_and_healing_delivers_them() {
    world(6, || async {
        control::set_default(exactly(1_000_000));
        let server = echo_server(Log::default());
        let node = client(|mut connection| async move {
            echo(&mut connection, "before").await;
            time::sleep(100 * MS).await;
            echo(&mut connection, "through").await;
            let answered = clock::elapsed();
            assert!((5000 * MS..5010 * MS).contains(&answered), "{answered:?}");
        })
        .await;
        time::sleep(50 * MS).await;
        control::partition(&[node.id()], &[server.id()]);
        time::sleep(4_950 * MS).await;
        control::unite(&[node.id()], &[server.id()]);
        finished(node).await;
    });
}

#[test]
fn a_one_way_cut_lets_the_other_way_pass() {
    world(7, || async {
        let log = Log::default();
        let noted = log.clone();
        let server = Node::create("server", ip(1), move || {
            let log = noted.clone();
            async move {
                let mut listener = Listener::bind(&at(1, 7000), &creds("server")).await.unwrap();
                let (mut sender, mut receiver) = listener.accept().await.unwrap().split();
                let hearing = task::spawn(async move {
                    let heard = receiver.recv().await;
                    note(&log, format!("server hears {heard:?}"));
                });
                time::sleep(100 * MS).await;
                sender.send(Bytes::from_static(b"to client")).await.unwrap();
                hearing.await.unwrap();
            }
        });
        let noted = log.clone();
        let node = client(move |mut connection| {
            let log = noted.clone();
            async move {
                time::sleep(100 * MS).await;
                connection.send(Bytes::from_static(b"to server")).await.unwrap();
                note(&log, format!("client hears {:?}", connection.recv().await));
            }
        })
        .await;
        time::sleep(50 * MS).await;
        control::isolate(server.id(), Direction::Inbound, true);
        time::sleep(1000 * MS).await;
        assert_eq!(*log.borrow(), ["client hears Ok(Some(b\"to client\"))"]);
        control::isolate(server.id(), Direction::Inbound, false);
        finished(server).await;
        finished(node).await;
        assert_eq!(log.borrow()[1], "server hears Ok(Some(b\"to server\"))");
    });
}

#[test]
fn a_reader_of_a_held_stream_sleeps_until_it_comes() {
    world(21, || async {
        let polls = Rc::new(std::cell::Cell::new(0_u32));
        let counted = polls.clone();
        let server = Node::create("server", ip(1), move || {
            let counted = counted.clone();
            async move {
                let mut listener = Listener::bind(&at(1, 7000), &creds("server")).await.unwrap();
                let (_sender, mut receiver) = listener.accept().await.unwrap().split();
                let mut hearing = std::pin::pin!(receiver.recv());
                // Something else that the same task waits for makes it look while the stream is held.
                let mut nap = std::pin::pin!(time::sleep(1_000 * MS));
                let mut asleep = true;
                let heard = std::future::poll_fn(|cx| {
                    counted.set(counted.get() + 1);
                    asleep = asleep && nap.as_mut().poll(cx).is_pending();
                    hearing.as_mut().poll(cx)
                });
                assert_eq!(heard.await, Ok(Some(Bytes::from_static(b"held"))));
            }
        });
        let node = client(|mut connection| async move {
            time::sleep(100 * MS).await;
            connection.send(Bytes::from_static(b"held")).await.unwrap();
            time::sleep(10_000 * MS).await;
        })
        .await;
        time::sleep(50 * MS).await;
        control::isolate(server.id(), Direction::Inbound, true);
        time::sleep(5_000 * MS).await;
        control::isolate(server.id(), Direction::Inbound, false);
        finished(server).await;
        finished(node).await;
        assert!(polls.get() < 10, "polled {} times: the reader wakes itself", polls.get());
    });
}

#[test]
fn a_sender_is_not_acknowledged_while_the_way_back_is_cut() {
    world(8, || async {
        let server = echo_server(Log::default());
        let node = client(|connection| async move {
            let (mut sender, mut receiver) = connection.split();
            control::cut(Node::find("server").unwrap().id(), Node::current().unwrap().id());
            let frame = Bytes::from(vec![0; 512 << 10]);
            let filling = async {
                for _ in 0..4 {
                    sender.send(frame.clone()).await.unwrap();
                }
            };
            assert!(
                time::timeout(5_000 * MS, filling).await.is_err(),
                "two frames and their lengths exceed the window of 1 MiB"
            );
            control::heal(Node::find("server").unwrap().id(), Node::current().unwrap().id());
            let flushing = task::spawn(async move { sender.flush().await });
            for _ in 0..2 {
                assert_eq!(receiver.recv().await.unwrap().unwrap().len(), 512 << 10);
            }
            assert_eq!(receiver.recv().await, Ok(None), "the third frame was never begun");
            flushing.await.unwrap().unwrap();
        });
        finished(node.await).await;
        assert!(server.is_up());
    });
}

#[test]
fn connecting_waits_out_a_partition() {
    world(9, || async {
        let server = echo_server(Log::default());
        time::sleep(MS).await;
        let node = Node::create("client", ip(2), || async {
            let early = connect(&at(1, 7000), &creds("client"), later(1000 * MS)).await.err();
            assert_eq!(early, Some(NetError::TimedOut { address: at(1, 7000) }));
            connect(&at(1, 7000), &creds("client"), later(10_000 * MS)).await.unwrap();
            assert!(clock::elapsed() >= 3000 * MS);
        });
        control::partition(&[node.id()], &[server.id()]);
        time::sleep(3000 * MS).await;
        control::heal_all();
        finished(node).await;
    });
}

#[test]
fn a_flapping_link_delivers_in_its_up_phases() {
    world(10, || async {
        control::set_default(exactly(1_000_000));
        echo_server(Log::default());
        let node = client(|mut connection| async move {
            let flapping = Some(control::flapping(100_000_000, 400_000_000));
            control::set_default(LinkFaults { flapping, ..exactly(1_000_000) });
            let began = clock::elapsed();
            for _ in 0..200 {
                echo(&mut connection, "x").await;
                time::sleep(3 * MS).await;
                let phase = (clock::elapsed() - began).as_millis() % 500;
                assert!(phase <= 110, "answered in a down phase: {phase} ms");
            }
            assert!(clock::elapsed() - began > 4000 * MS);
        });
        finished(node.await).await;
    });
}

#[test]
fn a_slow_link_multiplies_its_latency() {
    world(11, || async {
        control::set_default(exactly(1_000_000));
        let server = echo_server(Log::default());
        let node = client(move |mut connection| async move {
            let quick = echo(&mut connection, "x").await;
            let slow = LinkFaults { slow: 20, ..exactly(1_000_000) };
            control::set_link(Node::current().unwrap().id(), server.id(), Some(slow));
            let slowed = echo(&mut connection, "x").await;
            assert!(quick < 3 * MS && (21 * MS..23 * MS).contains(&slowed), "{quick:?} {slowed:?}");
        });
        finished(node.await).await;
    });
}

#[test]
fn a_bandwidth_cap_spreads_a_large_frame_over_time() {
    world(12, || async {
        echo_server(Log::default());
        let node = client(|mut connection| async move {
            let narrow = LinkFaults { bandwidth: Some(1 << 20), ..exactly(0) };
            control::set_link(
                Node::current().unwrap().id(),
                Node::find("server").unwrap().id(),
                Some(narrow),
            );
            let before = clock::elapsed();
            connection.send(Bytes::from(vec![0; 3 << 20])).await.unwrap();
            connection.recv().await.unwrap();
            let took = clock::elapsed() - before;
            assert!((3000 * MS..3200 * MS).contains(&took), "{took:?}");
        });
        finished(node.await).await;
    });
}

#[test]
fn a_killed_nodes_peers_see_a_reset_and_its_next_life_answers() {
    world(13, || async {
        let server = echo_server(Log::default());
        let node = client(|mut connection| async move {
            echo(&mut connection, "x").await;
            assert_eq!(connection.recv().await, Err(NetError::Reset));
            let refused = connect(&at(1, 7000), &creds("client"), later(1000 * MS)).await.err();
            assert_eq!(refused, Some(NetError::Refused { address: at(1, 7000) }));
            time::sleep(100 * MS).await;
            let mut again = connect(&at(1, 7000), &creds("client"), later(1000 * MS)).await.unwrap();
            echo(&mut again, "y").await;
        })
        .await;
        time::sleep(50 * MS).await;
        server.kill();
        time::sleep(50 * MS).await;
        server.restart();
        finished(node).await;
    });
}

#[test]
fn a_killed_nodes_destructors_say_nothing_more_to_the_network() {
    struct Farewell(Option<Connection>);
    impl Drop for Farewell {
        fn drop(&mut self) {
            let mut connection = self.0.take().unwrap();
            let mut farewell = std::pin::pin!(connection.send(Bytes::from_static(b"farewell")));
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(std::future::Future::poll(farewell.as_mut(), &mut cx).is_pending());
        }
    }
    world(14, || async {
        let log = Log::default();
        echo_server(log.clone());
        let node = client(|connection| async move {
            let _farewell = Farewell(Some(connection));
            std::future::pending::<()>().await;
        })
        .await;
        time::sleep(50 * MS).await;
        let before = control::counts().bytes;
        node.kill();
        time::sleep(50 * MS).await;
        assert_eq!(control::counts().bytes, before);
        assert_eq!(*log.borrow(), ["server: Reset"]);
    });
}

#[test]
fn a_crash_behind_a_partition_is_noticed_only_after_healing() {
    world(15, || async {
        let log = Log::default();
        echo_server(log.clone());
        let node = client(|connection| async move {
            let _open = connection;
            std::future::pending::<()>().await;
        })
        .await;
        time::sleep(50 * MS).await;
        control::isolate(node.id(), Direction::Both, true);
        node.kill();
        time::sleep(10_000 * MS).await;
        assert!(log.borrow().is_empty());
        control::heal_all();
        time::sleep(10 * MS).await;
        assert_eq!(*log.borrow(), ["server: Reset"]);
    });
}

#[test]
fn a_peer_of_another_authority_or_of_none_is_not_believed() {
    world(16, || async {
        echo_server(Log::default());
        let node = Node::create("client", ip(2), || async {
            let foreign = Credentials::simulated("client", "others").unwrap();
            let refused = connect(&at(1, 7000), &foreign, later(1000 * MS)).await.err();
            assert!(matches!(refused, Some(NetError::Untrusted { .. })), "{refused:?}");
            let plain = Credentials::plain("client").unwrap();
            let refused = connect(&at(1, 7000), &plain, later(1000 * MS)).await.err();
            assert_eq!(refused, Some(NetError::NotLoopback { address: at(1, 7000) }));
            assert!(Credentials::from_pem(b"", b"", b"").is_err());
        });
        finished(node).await;
    });
}

#[test]
fn loopback_and_paths_belong_to_their_node_and_addresses_to_everyone() {
    world(17, || async {
        let any = "0.0.0.0:7000".parse::<Address>().unwrap();
        let loopback = "127.0.0.1:7000".parse::<Address>().unwrap();
        let path = Address::Unix("/run/synod.sock".into());
        let (all, local) = (any.clone(), path.clone());
        Node::create("one", ip(1), move || {
            let (any, path) = (all.clone(), local.clone());
            async move {
                let mut open = Listener::bind(&any, &creds("one")).await.unwrap();
                let _local = Listener::bind(&path, &creds("one")).await.unwrap();
                let taken = Listener::bind(&at(1, 7000), &creds("one")).await.err();
                assert_eq!(taken, Some(NetError::AddressInUse { address: at(1, 7000) }));
                loop {
                    open.accept().await.unwrap();
                }
            }
        });
        let two = Node::create("two", ip(2), move || {
            let (loopback, path) = (loopback.clone(), path.clone());
            async move {
                let me = creds("two");
                connect(&at(1, 7000), &me, later(1000 * MS)).await.unwrap();
                for address in [loopback, path] {
                    let refused = connect(&address, &me, later(1000 * MS)).await.err();
                    assert_eq!(refused, Some(NetError::Refused { address }));
                }
                let nowhere = connect(&at(9, 7000), &me, later(1000 * MS)).await.err();
                assert_eq!(nowhere, Some(NetError::Unreachable { address: at(9, 7000) }));
                let foreign = Listener::bind(&at(1, 7001), &me).await.err();
                assert_eq!(foreign, Some(NetError::Unreachable { address: at(1, 7001) }));
            }
        });
        finished(two).await;
    });
}

#[test]
fn one_seed_is_one_history_and_another_seed_another() {
    fn history(seed: u64) -> Vec<Duration> {
        world(seed, || async {
            control::set_default(LinkFaults { loss: 0.1, ..LinkFaults::default() });
            echo_server(Log::default());
            let trips: Rc<RefCell<Vec<Duration>>> = Rc::default();
            let noted = trips.clone();
            let node = client(move |mut connection| {
                let noted = noted.clone();
                async move {
                    for _ in 0..50 {
                        let trip = echo(&mut connection, "x").await;
                        noted.borrow_mut().push(trip);
                    }
                }
            });
            finished(node.await).await;
            trips.take()
        })
    }
    assert_eq!(history(1), history(1));
    assert_ne!(history(1), history(2));
}
