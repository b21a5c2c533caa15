//! Links under a network that misbehaves: only the simulator can do that on demand.
#![cfg(madsim)]

use std::cell::RefCell;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use synod_fabric::link::{LinkConfig, Links, Peer};
use synod_fabric::{Context, Fabric, FabricConfig, Priority, RequestError};
use synod_platform::net::{Address, Credentials, control};
use synod_platform::simulation::{self, Node};
use synod_platform::{task, time};

const NORMAL: Priority = Priority::Normal;

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn at(last: u8) -> Address {
    Address::Tcp(SocketAddr::new(ip(last), 7000))
}

/// Enters and links one of two nodes.
async fn join(name: &str, own: u8, peer: &str, other: u8) -> (Context, Links) {
    let context = Fabric::new(FabricConfig::named(name)).enter("main").unwrap();
    let mut config = LinkConfig::new(Credentials::simulated(name, "fleet").unwrap());
    config.listen = Some(at(own));
    config.peers.push(Peer { name: peer.into(), address: at(other) });
    let links = Links::start(&context, config).await.unwrap();
    (context, links)
}

/// A node `beta` that answers requests on `echo` in each of its lives.
fn echo_node() -> Node {
    Node::create("beta", ip(2), || async {
        let (context, _links) = join("beta", 2, "alpha", 1).await;
        let mut requests = context.agent("echo").unwrap().serve("echo", 64).await.unwrap();
        while let Some(mut request) = requests.recv().await {
            let payload = request.take_payload();
            let _ = request.reply(payload);
        }
    })
}

/// Runs `asker` on a node `alpha` beside `beta`, and `director` over both.
fn world<A, AFut, D, DFut>(seed: u64, asker: A, director: D)
where
    A: Fn(Context, Links) -> AFut + Send + 'static,
    AFut: Future<Output = ()> + 'static,
    D: FnOnce(Node, Node) -> DFut + Send + 'static,
    DFut: Future<Output = ()> + 'static,
{
    let done = simulation::run(seed, Duration::from_secs(600), move || async move {
        let beta = echo_node();
        let asker = Rc::new(asker);
        let finished = Rc::new(RefCell::new(false));
        let finishes = finished.clone();
        let alpha = Node::create("alpha", ip(1), move || {
            let (asker, finishes) = (asker.clone(), finishes.clone());
            async move {
                let (context, links) = join("alpha", 1, "beta", 2).await;
                asker(context, links).await;
                *finishes.borrow_mut() = true;
            }
        });
        director(alpha, beta).await;
        let exit = alpha.exited().await;
        assert!(*finished.borrow(), "{exit:?}");
    });
    done.unwrap();
}

#[test]
fn a_silent_partition_is_noticed_and_after_healing_the_link_comes_back() {
    world(
        3,
        |context, links| async move {
            let asker = context.agent("asker").unwrap();
            links.wait_for("beta").await;
            let started = time::now();
            // The director cuts after a second and heals after ten.
            loop {
                match asker.request("echo", NORMAL, "x", Duration::from_secs(60)).await {
                    Ok(_) => time::sleep(Duration::from_millis(50)).await,
                    Err(error) => {
                        assert_eq!(error, RequestError::Unreachable("echo".into()));
                        break;
                    }
                }
            }
            let noticed = time::now().since(started);
            assert!(noticed < Duration::from_secs(5), "{noticed:?}");
            let while_down = asker.request("echo", NORMAL, "x", Duration::from_secs(60)).await;
            assert_eq!(while_down.unwrap_err(), RequestError::Unreachable("echo".into()));
            links.wait_for("beta").await;
            assert!(asker.request("echo", NORMAL, "x", Duration::from_secs(5)).await.is_ok());
        },
        |alpha, beta| async move {
            time::sleep(Duration::from_secs(1)).await;
            control::partition(&[alpha.id()], &[beta.id()]);
            time::sleep(Duration::from_secs(9)).await;
            control::heal_all();
        },
    );
}

#[test]
fn a_node_killed_and_restarted_is_linked_again_and_every_request_ended() {
    world(
        4,
        |context, links| async move {
            let asker = context.agent("asker").unwrap();
            links.wait_for("beta").await;
            let mut ends = (0, 0);
            let until = time::now() + Duration::from_secs(20);
            while time::now() < until {
                let asked = time::now();
                match asker.request("echo", NORMAL, "x", Duration::from_secs(2)).await {
                    Ok(_) => ends.0 += 1,
                    Err(_) => ends.1 += 1,
                }
                assert!(time::now().since(asked) <= Duration::from_millis(2010));
                time::sleep(Duration::from_millis(10)).await;
            }
            assert!(ends.0 > 300 && ends.1 > 10, "{ends:?}");
            assert!(asker.request("echo", NORMAL, "x", Duration::from_secs(2)).await.is_ok());
        },
        |_, beta| async move {
            for _ in 0..3 {
                time::sleep(Duration::from_secs(3)).await;
                beta.kill();
                time::sleep(Duration::from_secs(1)).await;
                beta.restart();
            }
        },
    );
}

#[test]
fn under_loss_and_delay_answers_still_match_their_requests() {
    world(
        5,
        |context, links| async move {
            let asker = context.agent("asker").unwrap();
            links.wait_for("beta").await;
            let asked: Vec<_> = (0..40u32)
                .map(|n| {
                    let asker = asker.clone();
                    task::spawn(async move {
                        (n, asker.request("echo", NORMAL, n.to_string(), Duration::from_secs(30)).await)
                    })
                })
                .collect();
            let mut answered = 0;
            for asked in asked {
                let (n, answer) = asked.await.unwrap();
                if let Ok(answer) = answer {
                    assert_eq!(answer.payload().as_ref(), n.to_string().as_bytes());
                    answered += 1;
                }
            }
            assert!(answered >= 30, "{answered}");
        },
        |_, _| async move {
            let latency = control::Delay::Uniform { low_ns: 1_000_000, high_ns: 40_000_000 };
            control::set_default(control::LinkFaults { latency, loss: 0.05, ..Default::default() });
        },
    );
}
